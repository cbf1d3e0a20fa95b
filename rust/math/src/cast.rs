//! Conversions between dtypes, as NumPy's `astype`.

use super::map::{Map1, map1};
use super::{Isa, Kernel, isa};
use crate::dtype::DType;

/// The kernel that converts between two of Bool, U8, I32, I64, F32, F64; None for the complex types.
///
/// To bool: not 0 (nan is true). Integers wrap. A float is truncated; one that the integer type cannot hold (or nan) gives
/// what NumPy gives on x86, the smallest integer; to uint8 it goes through int32.
pub fn cast(from: DType, to: DType) -> Option<Kernel> {
    cast_on(isa(), from, to)
}

/// [`cast`] for a given instruction set.
pub fn cast_on(isa: Isa, from: DType, to: DType) -> Option<Kernel> {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = super::masks::cast(isa, from, to) {
        return Some(kernel);
    }
    macro_rules! lanes {
        ($a:ty, $b:ty) => {{
            const A: usize = size_of::<$a>();
            const B: usize = size_of::<$b>();
            64 / if A > B { A } else { B }
        }};
    }
    macro_rules! to {
        ($a:ty) => {
            match to {
                DType::Bool => map1::<ToBool, $a, { lanes!($a, u8) }>(isa),
                DType::U8 => map1::<To<u8>, $a, { lanes!($a, u8) }>(isa),
                DType::I32 => map1::<To<i32>, $a, { lanes!($a, i32) }>(isa),
                DType::I64 => map1::<To<i64>, $a, { lanes!($a, i64) }>(isa),
                DType::F32 => map1::<To<f32>, $a, { lanes!($a, f32) }>(isa),
                DType::F64 => map1::<To<f64>, $a, { lanes!($a, f64) }>(isa),
                DType::C64 | DType::C128 => return None,
            }
        };
    }
    Some(match from {
        DType::Bool => to!(Truth),
        DType::U8 => to!(u8),
        DType::I32 => to!(i32),
        DType::I64 => to!(i64),
        DType::F32 => to!(f32),
        DType::F64 => to!(f64),
        DType::C64 | DType::C128 => return None,
    })
}

/// A byte of a bool array: any byte but 0 is true.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Truth(u8);

struct ToBool;
struct To<R>(std::marker::PhantomData<R>);

macro_rules! conversions {
    ($($a:ty => $r:ty: |$x:ident| $body:expr;)*) => {$(
        impl Map1<$a> for To<$r> {
            type R = $r;
            #[inline(always)]
            fn apply($x: $a) -> $r {
                $body
            }
        }
    )*};
}

macro_rules! to_bool {
    ($($a:ty: |$x:ident| $body:expr;)*) => {$(
        impl Map1<$a> for ToBool {
            type R = u8;
            #[inline(always)]
            fn apply($x: $a) -> u8 {
                ($body) as u8
            }
        }
    )*};
}

to_bool! {
    Truth: |x| x.0 != 0;
    u8: |x| x != 0;
    i32: |x| x != 0;
    i64: |x| x != 0;
    f32: |x| x != 0.0;
    f64: |x| x != 0.0;
}

macro_rules! truncate {
    ($x:ident, $float:ty => $int:ty) => {
        if $x.abs() < -(<$int>::MIN as $float) {
            // SAFETY: it is in range, and not nan. (The safe conversion would do a second test, and not become a vector.)
            unsafe { $x.to_int_unchecked::<$int>() }
        } else {
            <$int>::MIN
        }
    };
}

conversions! {
    Truth => u8: |x| (x.0 != 0) as u8;
    Truth => i32: |x| (x.0 != 0) as i32;
    Truth => i64: |x| (x.0 != 0) as i64;
    Truth => f32: |x| (x.0 != 0) as u8 as f32;
    Truth => f64: |x| (x.0 != 0) as u8 as f64;
    u8 => u8: |x| x;
    u8 => i32: |x| x as i32;
    u8 => i64: |x| x as i64;
    u8 => f32: |x| x as f32;
    u8 => f64: |x| x as f64;
    i32 => u8: |x| x as u8;
    i32 => i32: |x| x;
    i32 => i64: |x| x as i64;
    i32 => f32: |x| x as f32;
    i32 => f64: |x| x as f64;
    i64 => u8: |x| x as u8;
    i64 => i32: |x| x as i32;
    i64 => i64: |x| x;
    i64 => f32: |x| x as f32;
    i64 => f64: |x| x as f64;
    f32 => u8: |x| truncate!(x, f32 => i32) as u8;
    f32 => i32: |x| truncate!(x, f32 => i32);
    f32 => i64: |x| truncate!(x, f32 => i64);
    f32 => f32: |x| x;
    f32 => f64: |x| x as f64;
    f64 => u8: |x| truncate!(x, f64 => i32) as u8;
    f64 => i32: |x| truncate!(x, f64 => i32);
    f64 => i64: |x| truncate!(x, f64 => i64);
    f64 => f32: |x| x as f32;
    f64 => f64: |x| x;
}

#[cfg(test)]
mod tests {
    use super::super::available;
    use super::super::map::testing::run1;
    use super::*;

    #[test]
    fn floats_out_of_range_as_numpy_on_x86() {
        // Columns computed by NumPy 2.
        let x = [300.0, -1.0, f64::NAN, 1e10, -1e10, f64::INFINITY, 255.9, -0.5, 1e19, 3e9];
        let m = i32::MIN;
        let x32 = x.map(|v| v as f32);
        for isa in available() {
            let (u, i, l) = (DType::U8, DType::I32, DType::I64);
            let bytes = [44u8, 255, 0, 0, 0, 0, 255, 0, 0, 0];
            assert_eq!(run1::<u8, f64>(cast_on(isa, DType::F64, u).unwrap(), &x), bytes);
            assert_eq!(run1::<u8, f32>(cast_on(isa, DType::F32, u).unwrap(), &x32), bytes);
            let ints = [300, -1, m, m, m, m, 255, 0, m, m];
            assert_eq!(run1::<i32, f64>(cast_on(isa, DType::F64, i).unwrap(), &x), ints);
            assert_eq!(run1::<i32, f32>(cast_on(isa, DType::F32, i).unwrap(), &x32), ints);
            let m = i64::MIN;
            let longs = [300, -1, m, 10_000_000_000, -10_000_000_000, m, 255, 0, m, 3_000_000_000];
            assert_eq!(run1::<i64, f64>(cast_on(isa, DType::F64, l).unwrap(), &x), longs);
            assert_eq!(run1::<i64, f32>(cast_on(isa, DType::F32, l).unwrap(), &x32), longs);
            let zeros = [0.0, -0.0, f64::NAN, 1e-320];
            assert_eq!(run1::<u8, f64>(cast_on(isa, DType::F64, DType::Bool).unwrap(), &zeros), [0, 0, 1, 1]);
        }
    }

    #[test]
    fn integers_wrap_and_bools_are_0_or_1() {
        for isa in available() {
            let x = [0i64, -1, 256, 1 << 40, i64::MAX, i64::MIN];
            assert_eq!(run1::<u8, i64>(cast_on(isa, DType::I64, DType::U8).unwrap(), &x), [0, 255, 0, 0, 255, 0]);
            assert_eq!(run1::<i32, i64>(cast_on(isa, DType::I64, DType::I32).unwrap(), &x), [0, -1, 256, 0, -1, 0]);
            let as_float: Vec<f64> = run1(cast_on(isa, DType::I64, DType::F64).unwrap(), &x);
            assert_eq!(as_float, x.map(|v| v as f64));
            let b = [0u8, 1, 2, 255];
            assert_eq!(run1::<f64, u8>(cast_on(isa, DType::Bool, DType::F64).unwrap(), &b), [0.0, 1.0, 1.0, 1.0]);
            assert_eq!(run1::<u8, u8>(cast_on(isa, DType::Bool, DType::Bool).unwrap(), &b), [0, 1, 1, 1]);
            assert_eq!(run1::<i32, u8>(cast_on(isa, DType::U8, DType::I32).unwrap(), &b), [0, 1, 2, 255]);
        }
    }

    #[test]
    fn every_pair_keeps_small_numbers() {
        let real = [DType::Bool, DType::U8, DType::I32, DType::I64, DType::F32, DType::F64];
        let n = 131;
        let bits: Vec<u8> = (0..n).map(|i| (i % 3 == 0) as u8).collect();
        for isa in available() {
            for from in real {
                for to in real {
                    // bool -> from -> to -> bool is the identity on 0 and 1.
                    let mut buffers = [vec![0u64; n + 64], vec![0; n + 64], vec![0; n + 64]];
                    let mut source = bits.clone();
                    source.resize(n + 64, 0);
                    let mut at: *const u8 = source.as_ptr();
                    for (buffer, (a, b)) in buffers.iter_mut().zip([(DType::Bool, from), (from, to), (to, DType::Bool)])
                    {
                        let dst = buffer.as_mut_ptr().cast::<u8>();
                        // SAFETY: every buffer has room for n + 64 elements of 8 bytes, the source n + 64 bytes.
                        unsafe { cast_on(isa, a, b).unwrap()(n, dst, at, std::ptr::null(), std::ptr::null()) };
                        at = dst;
                    }
                    // SAFETY: the last kernel wrote n bytes.
                    let back = unsafe { std::slice::from_raw_parts(at, n) };
                    assert_eq!(back, bits, "{from} to {to} on {isa:?}");
                }
            }
        }
        assert!(cast(DType::C64, DType::F64).is_none() && cast(DType::F64, DType::C128).is_none());
    }
}
