//! Reductions of a block.
//!
//! Element i of a block goes to virtual lane i mod L, and the lanes are joined by halves. L is the same for every instruction
//! set, so all of them give the same bits.

#[cfg(target_arch = "x86_64")]
mod vector;

use super::Isa;
use crate::dtype::DType;
use crate::ops::ReduceOp;

/// `acc[0] = op(acc[0], reduce(src[0..n]))`.
///
/// A float sum has the error of n / L additions in a row: callers cut long rows into blocks of at most [`BLOCK`] elements
/// and join those pairwise.
///
/// # Safety
/// `src` is valid for n elements (nothing past n is read), `acc` for one. Neither need be aligned. The instruction set that
/// the kernel was asked for is available.
pub type ReduceKernel = unsafe fn(n: usize, acc: *mut u8, src: *const u8);

/// `acc[i] = op(acc[i], src[i])` for i in 0..n: adds a row to a row of running results.
///
/// # Safety
/// As [`ReduceKernel`], but `acc` is valid for n elements and may not overlap `src`.
pub type AccumulateKernel = unsafe fn(n: usize, acc: *mut u8, src: *const u8);

/// `acc[j] = op(acc[j], src[i * stride + j])` for i in 0..rows in this order and j in 0..width: a matrix, reduced over its
/// rows.
///
/// # Safety
/// `acc` is valid for `width` elements, `src` for the matrix, whose rows begin `stride` elements apart; they do not overlap.
pub type ColumnsKernel = unsafe fn(rows: usize, width: usize, stride: usize, acc: *mut u8, src: *const u8);

/// The longest block that is summed without a further pairwise split.
pub const BLOCK: usize = 1024;

macro_rules! by_op_and_dtype {
    ($op:expr, $dtype:expr, $fold:ident) => {
        Some(match ($op, $dtype) {
            (ReduceOp::Sum, DType::U8) => $fold!(Sum, u8),
            (ReduceOp::Sum, DType::I32) => $fold!(Sum, i32),
            (ReduceOp::Sum, DType::I64) => $fold!(Sum, i64),
            (ReduceOp::Sum, DType::F32) => $fold!(Sum, f32),
            (ReduceOp::Sum, DType::F64) => $fold!(Sum, f64),
            (ReduceOp::Prod, DType::U8) => $fold!(Prod, u8),
            (ReduceOp::Prod, DType::I32) => $fold!(Prod, i32),
            (ReduceOp::Prod, DType::I64) => $fold!(Prod, i64),
            (ReduceOp::Prod, DType::F32) => $fold!(Prod, f32),
            (ReduceOp::Prod, DType::F64) => $fold!(Prod, f64),
            (ReduceOp::Max, DType::U8) => $fold!(Max, u8),
            (ReduceOp::Max, DType::I32) => $fold!(Max, i32),
            (ReduceOp::Max, DType::I64) => $fold!(Max, i64),
            (ReduceOp::Max, DType::F32) => $fold!(Max, f32),
            (ReduceOp::Max, DType::F64) => $fold!(Max, f64),
            (ReduceOp::Min, DType::U8) => $fold!(Min, u8),
            (ReduceOp::Min, DType::I32) => $fold!(Min, i32),
            (ReduceOp::Min, DType::I64) => $fold!(Min, i64),
            (ReduceOp::Min, DType::F32) => $fold!(Min, f32),
            (ReduceOp::Min, DType::F64) => $fold!(Min, f64),
            (ReduceOp::Any | ReduceOp::Max, DType::Bool) => $fold!(Or, u8),
            (ReduceOp::All | ReduceOp::Min, DType::Bool) => $fold!(And, u8),
            _ => return None,
        })
    };
}
/// The kernel that reduces a block. Any and All take Bool (any byte but 0 is true) and Max and Min take every dtype but the
/// complex ones; Sum and Prod refuse Bool, and integers wrap in their own dtype (callers cast first, as NumPy does).
pub fn block(isa: Isa, op: ReduceOp, dtype: DType) -> Option<ReduceKernel> {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = vector::block(isa, op, dtype) {
        return Some(kernel);
    }
    // With AVX-512 the compiler takes several iterations of the integer loops at once and spends its time on shuffles.
    let isa = if isa == Isa::Avx512 { Isa::Avx2 } else { isa };
    macro_rules! fold {
        ($f:ty, $t:ty) => {
            choose_block::<$f, $t, { LANE_BYTES / size_of::<$t>() }>(isa)
        };
    }
    by_op_and_dtype!(op, dtype, fold)
}

/// The kernel that joins a row to a row of running results, for the same operations and dtypes as [`block`].
pub fn accumulate(isa: Isa, op: ReduceOp, dtype: DType) -> Option<AccumulateKernel> {
    macro_rules! fold {
        ($f:ty, $t:ty) => {
            choose_rows::<$f, $t, { 64 / size_of::<$t>() }>(isa)
        };
    }
    by_op_and_dtype!(op, dtype, fold)
}

/// The kernel that reduces a matrix over its rows, for the same operations and dtypes as [`block`].
pub fn columns(isa: Isa, op: ReduceOp, dtype: DType) -> Option<ColumnsKernel> {
    macro_rules! fold {
        ($f:ty, $t:ty) => {
            choose_columns::<$f, $t, { LANE_BYTES / size_of::<$t>() }>(isa)
        };
    }
    by_op_and_dtype!(op, dtype, fold)
}

/// The bits of the result over no elements, in the low bytes; None where [`block`] gives None.
///
/// Max and Min of integers start from the smallest and the largest number (NumPy refuses an empty maximum, the front end
/// does too).
pub fn init(op: ReduceOp, dtype: DType) -> Option<u64> {
    macro_rules! fold {
        ($f:ty, $t:ty) => {
            <$f as Fold<$t>>::IDENTITY.bits()
        };
    }
    by_op_and_dtype!(op, dtype, fold)
}

/// Bytes of virtual lanes: four vectors of AVX-512, enough to hide the latency of an addition.
const LANE_BYTES: usize = 256;

trait Bits: Copy {
    fn bits(self) -> u64;
}

/// An associative operation (for floats nearly so) with its identity.
trait Fold<T: Copy> {
    const IDENTITY: T;
    fn join(a: T, b: T) -> T;
    /// The result of a block: a nan of an extreme becomes the usual one, whichever it was.
    #[inline(always)]
    fn finish(x: T) -> T {
        x
    }
}

struct Sum;
struct Prod;
struct Max;
struct Min;
struct Or;
struct And;

macro_rules! integer {
    ($($t:ty, $u:ty;)*) => {$(
        impl Bits for $t {
            fn bits(self) -> u64 {
                self as $u as u64
            }
        }
        impl Fold<$t> for Sum {
            const IDENTITY: $t = 0;
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                a.wrapping_add(b)
            }
        }
        impl Fold<$t> for Prod {
            const IDENTITY: $t = 1;
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                a.wrapping_mul(b)
            }
        }
        impl Fold<$t> for Max {
            const IDENTITY: $t = <$t>::MIN;
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                if a > b { a } else { b }
            }
        }
        impl Fold<$t> for Min {
            const IDENTITY: $t = <$t>::MAX;
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                if a < b { a } else { b }
            }
        }
    )*};
}

integer! { u8, u8; i32, u32; i64, u64; }

macro_rules! float {
    ($($t:ty;)*) => {$(
        impl Bits for $t {
            fn bits(self) -> u64 {
                self.to_bits() as u64
            }
        }
        impl Fold<$t> for Sum {
            const IDENTITY: $t = 0.0;
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                a + b
            }
        }
        impl Fold<$t> for Prod {
            const IDENTITY: $t = 1.0;
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                a * b
            }
        }
        // A nan on either side stays: b is taken where it is larger or nan, and nothing is larger than a nan in a.
        impl Fold<$t> for Max {
            const IDENTITY: $t = <$t>::NEG_INFINITY;
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                if (b > a) | b.is_nan() { b } else { a }
            }
            #[inline(always)]
            fn finish(x: $t) -> $t {
                if x.is_nan() { <$t>::NAN } else { x }
            }
        }
        impl Fold<$t> for Min {
            const IDENTITY: $t = <$t>::INFINITY;
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                if (b < a) | b.is_nan() { b } else { a }
            }
            #[inline(always)]
            fn finish(x: $t) -> $t {
                if x.is_nan() { <$t>::NAN } else { x }
            }
        }
    )*};
}

float! { f32; f64; }

impl Fold<u8> for Or {
    const IDENTITY: u8 = 0;
    #[inline(always)]
    fn join(a: u8, b: u8) -> u8 {
        ((a | b) != 0) as u8
    }
}

impl Fold<u8> for And {
    const IDENTITY: u8 = 1;
    #[inline(always)]
    fn join(a: u8, b: u8) -> u8 {
        ((a != 0) & (b != 0)) as u8
    }
}

/// Up to here a block is reduced in order: cheaper than filling the lanes.
const SHORT: usize = 8;

/// A short block, reduced in order.
///
/// # Safety
/// As [`ReduceKernel`].
#[inline(always)]
unsafe fn short<F: Fold<T>, T: Copy>(n: usize, acc: *mut T, src: *const T) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut total = F::IDENTITY;
        for i in 0..n {
            total = F::join(total, src.add(i).read_unaligned());
        }
        acc.write_unaligned(F::join(acc.read_unaligned(), F::finish(total)));
    }
}

#[inline(always)]
unsafe fn fold_block<F: Fold<T>, T: Copy, const L: usize>(n: usize, acc: *mut u8, src: *const u8) {
    let (acc, src) = (acc.cast::<T>(), src.cast::<T>());
    // SAFETY: n elements of src and one of acc are valid; chunks and the tail stay below n.
    unsafe {
        if n <= SHORT {
            return short::<F, T>(n, acc, src);
        }
        let mut lanes = [F::IDENTITY; L];
        let mut i = 0;
        while i + L <= n {
            let x = src.add(i).cast::<[T; L]>().read_unaligned();
            for k in 0..L {
                lanes[k] = F::join(lanes[k], x[k]);
            }
            i += L;
        }
        if i < n {
            let mut x = [F::IDENTITY; L];
            std::ptr::copy_nonoverlapping(src.add(i).cast::<u8>(), x.as_mut_ptr().cast(), (n - i) * size_of::<T>());
            for k in 0..L {
                lanes[k] = F::join(lanes[k], x[k]);
            }
        }
        let mut width = L / 2;
        while width > 0 {
            for k in 0..width {
                lanes[k] = F::join(lanes[k], lanes[k + width]);
            }
            width /= 2;
        }
        acc.write_unaligned(F::join(acc.read_unaligned(), F::finish(lanes[0])));
    }
}

#[inline(always)]
unsafe fn fold_rows<F: Fold<T>, T: Copy, const L: usize>(n: usize, acc: *mut u8, src: *const u8) {
    let (acc, src) = (acc.cast::<T>(), src.cast::<T>());
    let mut i = 0;
    // SAFETY: n elements of both are valid, and chunks stay below n.
    unsafe {
        while i + L <= n {
            let mut x = acc.add(i).cast::<[T; L]>().read_unaligned();
            let y = src.add(i).cast::<[T; L]>().read_unaligned();
            for k in 0..L {
                x[k] = F::join(x[k], y[k]);
            }
            acc.add(i).cast::<[T; L]>().write_unaligned(x);
            i += L;
        }
        while i < n {
            acc.add(i).write_unaligned(F::join(acc.add(i).read_unaligned(), src.add(i).read_unaligned()));
            i += 1;
        }
    }
}

#[inline(always)]
unsafe fn fold_columns<F: Fold<T>, T: Copy, const L: usize>(
    rows: usize,
    width: usize,
    stride: usize,
    acc: *mut u8,
    src: *const u8,
) {
    /// One strip of W columns, its results in registers.
    ///
    /// # Safety
    /// As for the kernel, with width W.
    #[inline(always)]
    unsafe fn strip<F: Fold<T>, T: Copy, const W: usize>(rows: usize, stride: usize, acc: *mut T, src: *const T) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut lanes = acc.cast::<[T; W]>().read_unaligned();
            for i in 0..rows {
                let x = src.add(i * stride).cast::<[T; W]>().read_unaligned();
                for k in 0..W {
                    lanes[k] = F::join(lanes[k], x[k]);
                }
            }
            acc.cast::<[T; W]>().write_unaligned(lanes);
        }
    }
    let (acc, src) = (acc.cast::<T>(), src.cast::<T>());
    let mut j = 0;
    // SAFETY: strips stay below width.
    unsafe {
        while j + L <= width {
            strip::<F, T, L>(rows, stride, acc.add(j), src.add(j));
            j += L;
        }
        while j + 8 <= width {
            strip::<F, T, 8>(rows, stride, acc.add(j), src.add(j));
            j += 8;
        }
        while j < width {
            strip::<F, T, 1>(rows, stride, acc.add(j), src.add(j));
            j += 1;
        }
    }
}

macro_rules! instantiate {
    ($choose:ident, $body:ident, $kernel:ty, $($arg:ident: $t:ty),*) => {
        fn $choose<F: Fold<T>, T: Copy, const L: usize>(isa: Isa) -> $kernel {
            unsafe fn plain<F: Fold<T>, T: Copy, const L: usize>($($arg: $t),*) {
                // SAFETY: the promises of the kernel's type.
                unsafe { $body::<F, T, L>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2<F: Fold<T>, T: Copy, const L: usize>($($arg: $t),*) {
                // SAFETY: the promises of the kernel's type.
                unsafe { $body::<F, T, L>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
            unsafe fn avx512<F: Fold<T>, T: Copy, const L: usize>($($arg: $t),*) {
                // SAFETY: the promises of the kernel's type.
                unsafe { $body::<F, T, L>($($arg),*) }
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512::<F, T, L>,
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2::<F, T, L>,
                _ => plain::<F, T, L>,
            }
        }
    };
}

instantiate!(choose_block, fold_block, ReduceKernel, n: usize, acc: *mut u8, src: *const u8);
instantiate!(choose_rows, fold_rows, AccumulateKernel, n: usize, acc: *mut u8, src: *const u8);
instantiate!(choose_columns, fold_columns, ColumnsKernel, rows: usize, width: usize, stride: usize, acc: *mut u8, src: *const u8);

#[cfg(test)]
mod tests {
    use super::super::available;
    use super::*;

    fn reduce<T: Copy>(isa: Isa, op: ReduceOp, dtype: DType, start: T, x: &[T]) -> T {
        let mut acc = start;
        // SAFETY: acc is one element, x is as long as it says.
        unsafe { block(isa, op, dtype).unwrap()(x.len(), (&raw mut acc).cast(), x.as_ptr().cast()) };
        acc
    }

    const LENGTHS: [usize; 12] = [0, 1, 2, 7, 8, 9, 31, 32, 33, 64, 1000, 1024];

    #[test]
    fn float_sums_are_accurate_and_the_same_everywhere() {
        for n in LENGTHS {
            let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin() + 1e-3).collect();
            let y: Vec<f32> = x.iter().map(|v| *v as f32).collect();
            let exact: f64 = x.iter().sum();
            let results: Vec<u64> =
                available().into_iter().map(|isa| reduce(isa, ReduceOp::Sum, DType::F64, 0.5, &x).to_bits()).collect();
            assert!(results.iter().all(|r| *r == results[0]));
            assert!((f64::from_bits(results[0]) - 0.5 - exact).abs() < 1e-13);
            let results: Vec<u32> =
                available().into_iter().map(|isa| reduce(isa, ReduceOp::Sum, DType::F32, 0.5, &y).to_bits()).collect();
            assert!(results.iter().all(|r| *r == results[0]));
            assert!((f32::from_bits(results[0]) as f64 - 0.5 - exact).abs() < 1e-4);
        }
    }

    #[test]
    fn integers_wrap_and_extremes_are_found_anywhere() {
        for isa in available() {
            for n in LENGTHS {
                let x: Vec<i64> = (0..n as i64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64)).collect();
                let sum = x.iter().fold(3i64, |a, b| a.wrapping_add(*b));
                assert_eq!(reduce(isa, ReduceOp::Sum, DType::I64, 3, &x), sum);
                let prod = x.iter().fold(1i64, |a, b| a.wrapping_mul(b | 1));
                let odd: Vec<i64> = x.iter().map(|v| v | 1).collect();
                assert_eq!(reduce(isa, ReduceOp::Prod, DType::I64, 1, &odd), prod);
                assert_eq!(
                    reduce(isa, ReduceOp::Max, DType::I64, i64::MIN, &x),
                    x.iter().copied().max().unwrap_or(i64::MIN)
                );
                let y: Vec<i32> = x.iter().map(|v| (v >> 32) as i32).collect();
                assert_eq!(
                    reduce(isa, ReduceOp::Min, DType::I32, i32::MAX, &y),
                    y.iter().copied().min().unwrap_or(i32::MAX)
                );
                let z: Vec<u8> = x.iter().map(|v| (v >> 56) as u8).collect();
                assert_eq!(reduce(isa, ReduceOp::Max, DType::U8, 0, &z), z.iter().copied().max().unwrap_or(0));
            }
        }
    }

    #[test]
    fn a_nan_stays_wherever_it_is() {
        for isa in available() {
            for n in [1usize, 5, 9, 40, 100] {
                for at in 0..n {
                    let mut x: Vec<f64> = (0..n).map(|i| i as f64).collect();
                    x[at] = f64::NAN;
                    assert!(reduce(isa, ReduceOp::Max, DType::F64, f64::NEG_INFINITY, &x).is_nan());
                    assert!(reduce(isa, ReduceOp::Min, DType::F64, f64::INFINITY, &x).is_nan());
                    x[at] = -1.0;
                    assert_eq!(reduce(isa, ReduceOp::Min, DType::F64, f64::INFINITY, &x), -1.0);
                    assert!(reduce(isa, ReduceOp::Min, DType::F64, f64::NAN, &x).is_nan());
                    x[at] = 1e9;
                    assert_eq!(reduce(isa, ReduceOp::Max, DType::F64, f64::NEG_INFINITY, &x), 1e9);
                }
            }
        }
    }

    #[test]
    fn any_and_all_over_bytes() {
        for isa in available() {
            for n in LENGTHS {
                let mut x = vec![0u8; n];
                assert_eq!(reduce(isa, ReduceOp::Any, DType::Bool, 0, &x), 0);
                if n > 0 {
                    x[n - 1] = 2;
                    assert_eq!(reduce(isa, ReduceOp::Any, DType::Bool, 0, &x), 1);
                }
                let mut x = vec![3u8; n];
                assert_eq!(reduce(isa, ReduceOp::All, DType::Bool, 1, &x), 1);
                if n > 0 {
                    x[n / 2] = 0;
                    assert_eq!(reduce(isa, ReduceOp::All, DType::Bool, 1, &x), 0);
                }
            }
        }
    }

    #[test]
    fn rows_accumulate_element_by_element() {
        for isa in available() {
            for n in LENGTHS {
                let mut acc: Vec<f64> = (0..n).map(|i| i as f64).collect();
                let row: Vec<f64> = (0..n).map(|i| (i * i) as f64).collect();
                // SAFETY: both have n elements.
                unsafe {
                    let add = accumulate(isa, ReduceOp::Sum, DType::F64).unwrap();
                    add(n, acc.as_mut_ptr().cast(), row.as_ptr().cast());
                }
                assert_eq!(acc, (0..n).map(|i| (i + i * i) as f64).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn every_float_reduction_has_the_same_bits_on_every_instruction_set() {
        for n in 0..300 {
            let mut x: Vec<f64> = (0..n).map(|i| 1.0 + 0.1 * (i as f64 * 1.7).sin()).collect();
            for special in [None, Some(-0.0), Some(f64::NAN), Some(-f64::NAN), Some(f64::INFINITY)] {
                if let (Some(v), true) = (special, n > 0) {
                    x[n / 2] = v;
                }
                let y: Vec<f32> = x.iter().map(|v| *v as f32).collect();
                for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min] {
                    let start = f64::from_bits(init(op, DType::F64).unwrap());
                    let want = reduce(Isa::Scalar, op, DType::F64, start, &x).to_bits();
                    let want32 = reduce(Isa::Scalar, op, DType::F32, start as f32, &y).to_bits();
                    for isa in available() {
                        assert_eq!(reduce(isa, op, DType::F64, start, &x).to_bits(), want, "{op:?} {n} {special:?}");
                        assert_eq!(reduce(isa, op, DType::F32, start as f32, &y).to_bits(), want32, "{op:?} {n} f32");
                    }
                }
            }
        }
    }

    #[test]
    fn matrices_over_their_rows() {
        for isa in available() {
            for (rows, width) in [(0, 3), (1, 1), (5, 7), (9, 40), (100, 65)] {
                let stride = width + 2;
                let x: Vec<f64> = (0..(rows + 1) * stride).map(|i| (i as f64 * 0.37).sin()).collect();
                let mut got = vec![0.25; width];
                let mut want = got.clone();
                for i in 0..rows {
                    for j in 0..width {
                        want[j] += x[i * stride + j];
                    }
                }
                let sum = columns(isa, ReduceOp::Sum, DType::F64).unwrap();
                // SAFETY: x has rows + 1 rows of that stride.
                unsafe { sum(rows, width, stride, got.as_mut_ptr().cast(), x.as_ptr().cast()) };
                assert_eq!(got, want, "{rows} by {width} on {isa:?}");
            }
        }
    }

    #[test]
    fn identities() {
        assert_eq!(init(ReduceOp::Sum, DType::F64), Some(0));
        assert_eq!(init(ReduceOp::Prod, DType::F32), Some(1.0f32.to_bits() as u64));
        assert_eq!(init(ReduceOp::Max, DType::F64), Some(f64::NEG_INFINITY.to_bits()));
        assert_eq!(init(ReduceOp::Min, DType::I32), Some(i32::MAX as u64));
        assert_eq!(init(ReduceOp::Max, DType::I64), Some(i64::MIN as u64));
        assert_eq!(init(ReduceOp::All, DType::Bool), Some(1));
        assert_eq!(init(ReduceOp::Sum, DType::Bool), None);
        assert_eq!(init(ReduceOp::Any, DType::F64), None);
    }
}
