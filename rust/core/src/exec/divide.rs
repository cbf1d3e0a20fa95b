//! Rows divided by a number each, faster than the machine divides, and with the same bits.
//!
//! With r = 1/y rounded, q = x·r is off by less than two units in the last place; q + (x - q·y)·r is then off by less than one,
//! and once more the same is x/y as rounded by a division: Markstein's theorem, where the difference is exact, because it comes
//! from one fused operation, and nothing over- or underflows. A vector with an element outside of the range in which that is
//! so is divided.
#![allow(unsafe_code)]

use crate::math::Isa;
use crate::tape::DType;

/// `dst[i, j] = src[i, j] / column[i]` for `rows` rows of `row` elements.
///
/// # Safety
/// `src` and `dst` are valid for the rows and may be the same, `column` has an element for each.
pub type DivideKernel = unsafe fn(rows: usize, row: usize, dst: *mut u8, src: *const u8, column: *const u8);

/// The kernel, where it is faster than a division.
pub fn kernel(isa: Isa, dtype: DType) -> Option<DivideKernel> {
    match (isa, dtype) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, DType::F64) => Some(x86::divide),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Numerators and divisors between 1/LARGE and LARGE have quotients and differences that are normal, and for divisors
    /// reciprocals.
    const LARGE: f64 = f64::from_bits((1023 + 450) << 52);
    const SMALL: f64 = f64::from_bits((1023 - 450) << 52);
    /// Classes of [`_mm512_fpclass_pd_mask`]: both nan, both zeros, both infinities. Their products with 1/y are the quotients.
    const SPECIAL: i32 = 0x01 | 0x80 | 0x02 | 0x04 | 0x08 | 0x10;

    #[target_feature(enable = "avx512f,avx512dq,fma")]
    #[inline]
    fn quotient(x: __m512d, y: __m512d, r: __m512d) -> __m512d {
        let size = _mm512_and_si512(_mm512_castpd_si512(x), _mm512_set1_epi64(i64::MAX));
        let above = _mm512_sub_epi64(size, _mm512_set1_epi64(SMALL.to_bits() as i64));
        let normal = _mm512_cmple_epu64_mask(above, _mm512_set1_epi64((LARGE.to_bits() - SMALL.to_bits()) as i64));
        let q = _mm512_mul_pd(x, r);
        let nearly = _mm512_fmadd_pd(_mm512_fnmadd_pd(q, y, x), r, q);
        let left = _mm512_fnmadd_pd(nearly, y, x);
        let exact = _mm512_fmadd_pd(left, r, nearly);
        if normal == 0xff {
            return exact;
        }
        if normal | _mm512_fpclass_pd_mask::<SPECIAL>(x) != 0xff {
            return _mm512_div_pd(x, y);
        }
        _mm512_mask_blend_pd(normal, q, exact)
    }

    /// # Safety
    /// As for [`super::DivideKernel`], with AVX-512.
    #[target_feature(enable = "avx512f,avx512dq,fma")]
    pub unsafe fn divide(rows: usize, row: usize, dst: *mut u8, src: *const u8, column: *const u8) {
        let (dst, src, column) = (dst.cast::<f64>(), src.cast::<f64>(), column.cast::<f64>());
        for i in 0..rows {
            // SAFETY: the caller's; row i of both, whose last vector has no more elements than are left.
            unsafe {
                let y = column.add(i).read();
                let (from, to) = (src.add(i * row), dst.add(i * row));
                let possible = (SMALL..=LARGE).contains(&y.abs());
                let (divisor, r) = (_mm512_set1_pd(y), _mm512_set1_pd(1.0 / y));
                let mut j = 0;
                while j + 8 <= row {
                    let x = _mm512_loadu_pd(from.add(j));
                    let q = if possible { quotient(x, divisor, r) } else { _mm512_div_pd(x, divisor) };
                    _mm512_storeu_pd(to.add(j), q);
                    j += 8;
                }
                if j < row {
                    let rest = (1 << (row - j)) - 1;
                    let x = _mm512_maskz_loadu_pd(rest, from.add(j));
                    _mm512_mask_storeu_pd(to.add(j), rest, _mm512_div_pd(x, divisor));
                }
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::math::isa;

    /// Numbers of all kinds: every exponent, few bits and many, and what is no number.
    fn numbers() -> Vec<f64> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut x =
            vec![0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE, 5e-324, -5e-324, f64::MAX];
        x.extend((0..2000).map(|_| f64::from_bits(random())));
        // near one another, where quotients are hard to round
        x.extend((0..4000).map(|_| f64::from_bits((1023 << 52) | (random() >> 12))));
        x.extend((0..4000).map(|k| f64::from_bits((1024 << 52) - 1 - k)));
        x.extend((0..1000).map(|_| f64::from_bits((1023 << 52) | (random() >> 12 & !0xffff_ffff)) * -1e-3));
        x
    }

    #[test]
    fn quotients_have_the_bits_of_a_division() {
        let Some(divide) = kernel(isa(), DType::F64) else { return };
        let x = numbers();
        let divisors: Vec<f64> =
            x.iter().copied().step_by(7).chain([3.0, 1.0 + f64::EPSILON, 2.0 - f64::EPSILON]).collect();
        let mut out = vec![0.0f64; x.len()];
        for y in divisors {
            // SAFETY: one row.
            unsafe {
                divide(1, x.len(), out.as_mut_ptr().cast(), x.as_ptr().cast(), (&raw const y).cast());
            }
            for (x, q) in x.iter().zip(&out) {
                let expected = x / y;
                assert!(
                    q.to_bits() == expected.to_bits() || (q.is_nan() && expected.is_nan()),
                    "{x:e} / {y:e} = {q:e}"
                );
            }
        }
    }

    #[test]
    fn rows_may_end_within_a_vector_and_be_divided_in_place() {
        let Some(divide) = kernel(isa(), DType::F64) else { return };
        for row in 1..40 {
            let mut x: Vec<f64> = (0..3 * row + 1).map(|i| i as f64 - 17.0).collect();
            let before = x.clone();
            let column = [3.0, 0.0, -7.0];
            // SAFETY: three rows.
            unsafe { divide(3, row, x.as_mut_ptr().cast(), x.as_ptr().cast(), column.as_ptr().cast()) };
            for (i, (now, before)) in x.iter().zip(&before).enumerate() {
                let expected = column.get(i / row).map_or(*before, |y| before / y);
                assert!(now.to_bits() == expected.to_bits() || (now.is_nan() && expected.is_nan()), "{i} of {row}");
            }
        }
    }
}
