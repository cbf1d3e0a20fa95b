//! Sums of rows of some length with AVX-512: the order of additions, and so the bits, of the kernels that reduce, without
//! their copies of what is left at the end of a row.
#![allow(unsafe_code)]

use super::lanes::{Kernel, Lanes, Real, dispatch};
use super::narrow::{NARROW, RowsKernel};
use crate::math::Isa;
use crate::math::reduce::{BLOCK, ReduceKernel};
use crate::ops::ReduceOp;
use crate::tape::DType;

/// Vectors that are summed beside each other, one element in each of their lanes.
const BESIDE: usize = 4;

/// The kernel for one block, where there is one.
pub fn block(isa: Isa, op: ReduceOp, dtype: DType) -> Option<ReduceKernel> {
    Some(match (isa, op, dtype) {
        (Isa::Avx512, ReduceOp::Sum, DType::F32) => add_block::<f32>,
        (Isa::Avx512, ReduceOp::Sum, DType::F64) => add_block::<f64>,
        _ => return None,
    })
}

/// The kernel for rows of one block each.
pub fn rows(isa: Isa, op: ReduceOp, dtype: DType, row: usize) -> Option<RowsKernel> {
    Some(match (isa, op, dtype) {
        _ if !(NARROW..=BLOCK).contains(&row) => return None,
        (Isa::Avx512, ReduceOp::Sum, DType::F32) => sum_rows::<f32>,
        (Isa::Avx512, ReduceOp::Sum, DType::F64) => sum_rows::<f64>,
        _ => return None,
    })
}

/// # Safety
/// As for [`ReduceKernel`].
unsafe fn add_block<T: Real>(n: usize, acc: *mut u8, src: *const u8) {
    let (acc, src) = (acc.cast::<T>(), src.cast::<T>());
    let mut sum = T::default();
    // SAFETY: the caller's; short blocks are summed in order.
    unsafe {
        if n <= 8 {
            for i in 0..n {
                sum += src.add(i).read_unaligned();
            }
        } else {
            dispatch(Sums { rows: 1, row: n, dst: &raw mut sum, src });
        }
        acc.write_unaligned(acc.read_unaligned() + sum);
    }
}

/// # Safety
/// As for [`RowsKernel`], for rows of more than 8 elements.
unsafe fn sum_rows<T: Real>(rows: usize, row: usize, dst: *mut u8, src: *const u8) {
    // SAFETY: the caller's.
    unsafe { dispatch(Sums::<T> { rows, row, dst: dst.cast(), src: src.cast() }) }
}

struct Sums<T> {
    rows: usize,
    row: usize,
    dst: *mut T,
    src: *const T,
}

impl<T: Real> Kernel<T> for Sums<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        let n = self.row;
        for i in 0..self.rows {
            let src = self.src.wrapping_add(i * n);
            // SAFETY: whoever made this says that there are the rows, and room for the sums; the caller has the instruction set.
            unsafe {
                let mut lanes = [V::splat(T::default()); BESIDE];
                let mut j = 0;
                while j + BESIDE * V::N <= n {
                    for (k, lane) in lanes.iter_mut().enumerate() {
                        *lane = lane.add(V::load(src.add(j + k * V::N)));
                    }
                    j += BESIDE * V::N;
                }
                // sums begin with 0, so they are never -0, and adding nothing is adding 0
                for lane in &mut lanes {
                    if j + V::N <= n {
                        *lane = lane.add(V::load(src.add(j)));
                    } else if j < n {
                        *lane = lane.add(V::load_part(src.add(j), n - j));
                    }
                    j += V::N;
                }
                let [a, b, c, d] = lanes;
                self.dst.add(i).write_unaligned(a.add(c).add(b.add(d)).sum());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{self, isa};

    fn same_bits<T: Real>(dtype: DType, number: impl Fn(u64) -> T) {
        let (Some(mine), Some(known)) = (
            block(isa(), ReduceOp::Sum, dtype),
            math::reduce::block(isa(), ReduceOp::Sum, dtype),
        ) else {
            return;
        };
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let x: Vec<T> = (0..3 * BLOCK)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                number(state)
            })
            .collect();
        let read = |f: ReduceKernel, n: usize, from: usize| {
            let mut acc = number(7);
            // SAFETY: n elements from there on.
            unsafe { f(n, (&raw mut acc).cast(), x.as_ptr().wrapping_add(from).cast()) };
            acc
        };
        for n in (0..200).chain([500, 999, 1000, 1003, 1023, BLOCK]) {
            assert_eq!(format!("{:?}", read(mine, n, n % 5)), format!("{:?}", read(known, n, n % 5)), "{dtype} {n}");
            if let Some(rows) = rows(isa(), ReduceOp::Sum, dtype, n) {
                let mut out = [T::default(); 2];
                // SAFETY: two rows, and room for two sums.
                unsafe { rows(2, n, out.as_mut_ptr().cast(), x.as_ptr().cast()) };
                for (i, sum) in out.iter().enumerate() {
                    let mut acc = T::default();
                    // SAFETY: row i.
                    unsafe { known(n, (&raw mut acc).cast(), x.as_ptr().wrapping_add(i * n).cast()) };
                    assert_eq!(format!("{sum:?}"), format!("{acc:?}"), "{dtype} row {i} of {n}");
                }
            }
        }
    }

    #[test]
    fn sums_have_the_bits_of_other_kernels() {
        same_bits(DType::F64, |x| (x as f64 / 3e18 - 2.5) * 10f64.powi((x % 30) as i32));
        same_bits(DType::F32, |x| (x as f32 / 3e18 - 2.5) * 10f32.powi((x % 10) as i32));
        // zeros of both signs
        same_bits(DType::F64, |x| if x % 2 == 0 { 0.0 } else { -0.0 });
    }
}
