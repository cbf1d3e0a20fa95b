//! where: selection by a mask, and one value over a whole block.

use super::map::{Map3, map3};
use super::{Isa, Kernel, isa};
use crate::dtype::DType;

/// `dst = a ? b : c`, with a an array of bool bytes and b, c of the dtype.
pub fn select(dtype: DType) -> Kernel {
    select_on(isa(), dtype)
}

/// [`select`] for a given instruction set.
pub fn select_on(isa: Isa, dtype: DType) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = super::masks::select(isa, dtype.size()) {
        return kernel;
    }
    match dtype.size() {
        1 => map3::<Select, u8, u8, 64>(isa),
        4 => map3::<Select, u8, u32, 16>(isa),
        8 => map3::<Select, u8, u64, 8>(isa),
        _ => map3::<Select, u8, u128, 4>(isa),
    }
}

/// Writes the one element that a points at over the whole block, to the end of its last vector.
///
/// Only that one element of a is read.
pub fn splat(dtype: DType) -> Kernel {
    match dtype.size() {
        1 => splat_of::<u8, 64>,
        4 => splat_of::<u32, 16>,
        8 => splat_of::<u64, 8>,
        _ => splat_of::<u128, 4>,
    }
}

struct Select;

impl<T: Copy + Default> Map3<u8, T> for Select {
    type R = T;
    #[inline(always)]
    fn apply(m: u8, a: T, b: T) -> T {
        if m != 0 { a } else { b }
    }
}

unsafe fn splat_of<T: Copy, const L: usize>(n: usize, dst: *mut u8, a: *const u8, _b: *const u8, _c: *const u8) {
    // SAFETY: a points at one element, and dst is valid to the end of its last 64 bytes: L elements.
    unsafe {
        let chunk = [a.cast::<T>().read_unaligned(); L];
        let dst = dst.cast::<T>();
        let mut i = 0;
        while i < n {
            dst.add(i).cast::<[T; L]>().write_unaligned(chunk);
            i += L;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::available;
    use super::super::map::testing::{run, run1};
    use super::*;

    fn check<T: Copy + Default + PartialEq + std::fmt::Debug>(dtype: DType, value: fn(usize) -> T) {
        for n in [0, 1, 7, 64, 100] {
            let mask: Vec<u8> = (0..n).map(|i| [0u8, 1, 0, 255][i % 4]).collect();
            let a: Vec<T> = (0..n).map(value).collect();
            let b: Vec<T> = (0..n).map(|i| value(i + 101)).collect();
            let want: Vec<T> = (0..n).map(|i| if mask[i] != 0 { a[i] } else { b[i] }).collect();
            for isa in available() {
                assert_eq!(run::<T, u8, T, T>(select_on(isa, dtype), n, &mask, &a, &b), want, "{dtype} on {isa:?}");
            }
            let one = run::<T, T, u8, u8>(splat(dtype), n, &[value(5)], &[], &[]);
            assert_eq!(one, vec![value(5); n]);
        }
    }

    #[test]
    fn every_size_of_element() {
        check::<u8>(DType::U8, |i| i as u8);
        check::<f32>(DType::F32, |i| i as f32);
        check::<i64>(DType::I64, |i| i as i64);
        check::<u128>(DType::C128, |i| i as u128);
        let nan = run1::<f64, f64>(splat(DType::F64), &[f64::NAN]);
        assert!(nan[0].is_nan());
    }
}
