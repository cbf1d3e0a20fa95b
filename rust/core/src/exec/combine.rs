//! a·b + c and its like in one pass, rounded after the product and after the sum: the bits of two passes.
#![allow(unsafe_code)]

use crate::math::{self, Isa, Kernel};
use crate::tape::DType;

/// What happens to the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// a·b + c
    Add,
    /// a·b - c
    Less,
    /// c - a·b
    From,
}

/// The kernel for this instruction set, if the dtype is a float.
pub fn kernel(how: Combine, dtype: DType) -> Option<Kernel> {
    let table: [Kernel; 6] = match math::isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::AVX512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::AVX2,
        _ => [add::<f64>, less::<f64>, from::<f64>, add::<f32>, less::<f32>, from::<f32>],
    };
    let first = match dtype {
        DType::F64 => 0,
        DType::F32 => 3,
        DType::Bool | DType::U8 | DType::I32 | DType::I64 | DType::C64 | DType::C128 => return None,
    };
    Some(table[first + how as usize])
}

/// f32 or f64.
trait Float: Copy + std::ops::Mul<Output = Self> + std::ops::Add<Output = Self> + std::ops::Sub<Output = Self> {}
impl Float for f32 {}
impl Float for f64 {}

macro_rules! plain {
    ($($name:ident |$x:ident, $c:ident| $value:expr;)*) => {$(
        /// # Safety
        /// As [`Kernel`].
        unsafe fn $name<T: Float>(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
            let (dst, a, b, c) = (dst.cast::<T>(), a.cast::<T>(), b.cast::<T>(), c.cast::<T>());
            for i in 0..n {
                // SAFETY: the caller's; no alignment is asked for.
                unsafe {
                    let $x = a.add(i).read_unaligned() * b.add(i).read_unaligned();
                    let $c = c.add(i).read_unaligned();
                    dst.add(i).write_unaligned($value);
                }
            }
        }
    )*};
}

plain! {
    add |x, c| x + c;
    less |x, c| x - c;
    from |x, c| c - x;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Kernel;

    macro_rules! passes {
        ($features:literal: $($name:ident $t:ty, $lanes:literal, $load:ident, $store:ident, $mul:ident,
          |$x:ident, $c:ident| $value:expr;)*) => {$(
            /// # Safety
            /// As [`Kernel`], with the features.
            #[target_feature(enable = $features)]
            unsafe fn $name(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
                let (dst, a, b, c) = (dst.cast::<$t>(), a.cast::<$t>(), b.cast::<$t>(), c.cast::<$t>());
                let mut i = 0;
                while i < n {
                    // SAFETY: the caller's: whole vectors are readable and writable, at any alignment.
                    unsafe {
                        let $x = $mul($load(a.add(i)), $load(b.add(i)));
                        let $c = $load(c.add(i));
                        $store(dst.add(i), $value);
                    }
                    i += $lanes;
                }
            }
        )*};
    }

    passes! {"avx512f":
        add_pd_512 f64, 8, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_mul_pd, |x, c| _mm512_add_pd(x, c);
        less_pd_512 f64, 8, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_mul_pd, |x, c| _mm512_sub_pd(x, c);
        from_pd_512 f64, 8, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_mul_pd, |x, c| _mm512_sub_pd(c, x);
        add_ps_512 f32, 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_mul_ps, |x, c| _mm512_add_ps(x, c);
        less_ps_512 f32, 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_mul_ps, |x, c| _mm512_sub_ps(x, c);
        from_ps_512 f32, 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_mul_ps, |x, c| _mm512_sub_ps(c, x);
    }

    passes! {"avx2":
        add_pd_256 f64, 4, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_mul_pd, |x, c| _mm256_add_pd(x, c);
        less_pd_256 f64, 4, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_mul_pd, |x, c| _mm256_sub_pd(x, c);
        from_pd_256 f64, 4, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_mul_pd, |x, c| _mm256_sub_pd(c, x);
        add_ps_256 f32, 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_mul_ps, |x, c| _mm256_add_ps(x, c);
        less_ps_256 f32, 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_mul_ps, |x, c| _mm256_sub_ps(x, c);
        from_ps_256 f32, 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_mul_ps, |x, c| _mm256_sub_ps(c, x);
    }

    pub const AVX512: [Kernel; 6] = [add_pd_512, less_pd_512, from_pd_512, add_ps_512, less_ps_512, from_ps_512];
    pub const AVX2: [Kernel; 6] = [add_pd_256, less_pd_256, from_pd_256, add_ps_256, less_ps_256, from_ps_256];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_rounds_twice() {
        // 1 + 2^-30 squared needs more digits than there are: a fused product would give 2^-60
        let x = 1.0 + 2f64.powi(-30);
        let (a, c) = ([x; 8], [x * x; 8]);
        for (how, want) in [(Combine::Add, x * x + x * x), (Combine::Less, 0.0), (Combine::From, 0.0)] {
            let mut dst = [f64::NAN; 8];
            let k = kernel(how, DType::F64).unwrap();
            // SAFETY: eight elements are one whole vector.
            unsafe { k(8, dst.as_mut_ptr().cast(), a.as_ptr().cast(), a.as_ptr().cast(), c.as_ptr().cast()) };
            assert_eq!(dst, [want; 8], "{how:?}");
        }
        assert!(kernel(Combine::Add, DType::I64).is_none());
    }
}
