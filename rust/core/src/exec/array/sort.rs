//! Orders: stable argsort and binary search. nan comes last, as in NumPy.

use super::{by_dtype, elements, elements_mut, expect, inside};
use crate::Result;
use crate::exec::buffer::Plain;
use crate::tape::DType;
use std::ops::Range;

/// Elements by keys that compare as unsigned integers in NumPy's order: -0.0 equals 0.0, every nan equals every other and
/// exceeds the rest.
trait Key: Plain {
    type Key: Ord + Copy;
    fn key(self) -> Self::Key;
}

macro_rules! integer_keys {
    ($($t:ty),*) => {$(
        impl Key for $t {
            type Key = $t;
            #[inline(always)]
            fn key(self) -> $t {
                self
            }
        }
    )*};
}

integer_keys!(u8, i32, i64);

macro_rules! float_keys {
    ($($t:ty, $u:ty;)*) => {$(
        impl Key for $t {
            type Key = $u;
            #[inline(always)]
            fn key(self) -> $u {
                const SIGN: $u = 1 << (<$u>::BITS - 1);
                // + 0.0 makes -0.0 positive; a negative number's bits are turned round.
                let bits = (self + 0.0).to_bits();
                let ordered = if bits & SIGN != 0 { !bits } else { bits | SIGN };
                if self.is_nan() { <$u>::MAX } else { ordered }
            }
        }
    )*};
}

float_keys! { f32, u32; f64, u64; }

/// The stable permutation (int64) that sorts each of the `rows` of length n of `src`, the whole array; `dst` holds just those
/// rows.
pub fn argsort(dtype: DType, src: &[u8], n: usize, dst: &mut [u8], rows: Range<usize>) -> Result<()> {
    let dst = elements_mut::<i64>(dst)?;
    expect("argsort", dst.len(), rows.len() * n)?;
    by_dtype!("argsort", dtype, T => {
        let src = elements::<T>(src)?;
        inside("argsort", &(rows.start * n..rows.end * n), src.len())?;
        let src = &src[rows.start * n..rows.end * n];
        if n <= u32::MAX as usize { sort_rows::<T, u32>(src, n, dst) } else { sort_rows::<T, u64>(src, n, dst) }
        Ok(())
    })
}

/// Positions next to their keys: half the memory where 32 bits do.
trait Place: Copy {
    fn of(i: usize) -> Self;
    fn int64(self) -> i64;
}

impl Place for u32 {
    fn of(i: usize) -> u32 {
        i as u32
    }
    fn int64(self) -> i64 {
        self as i64
    }
}

impl Place for u64 {
    fn of(i: usize) -> u64 {
        i as u64
    }
    fn int64(self) -> i64 {
        self as i64
    }
}

fn sort_rows<T: Key, P: Place>(src: &[T], n: usize, dst: &mut [i64]) {
    if n == 0 {
        return;
    }
    let mut pairs: Vec<(T::Key, P)> = Vec::with_capacity(n);
    for (row, out) in src.chunks_exact(n).zip(dst.chunks_exact_mut(n)) {
        pairs.clear();
        pairs.extend(row.iter().enumerate().map(|(i, x)| (x.key(), P::of(i))));
        pairs.sort_by_key(|p| p.0);
        for (o, p) in out.iter_mut().zip(&pairs) {
            *o = p.1.int64();
        }
    }
}

/// Where each of `values` would go into the sorted array: before its equals, or (`right`) behind them. int64.
pub fn searchsorted(dtype: DType, sorted: &[u8], values: &[u8], right: bool, dst: &mut [u8]) -> Result<()> {
    let dst = elements_mut::<i64>(dst)?;
    by_dtype!("searchsorted", dtype, T => {
        let (sorted, values) = (elements::<T>(sorted)?, elements::<T>(values)?);
        expect("searchsorted", dst.len(), values.len())?;
        for (out, v) in dst.iter_mut().zip(values) {
            let v = v.key();
            let place = if right { sorted.partition_point(|x| x.key() <= v) } else { sorted.partition_point(|x| x.key() < v) };
            *out = place as i64;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes, bytes_mut, noise};
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn order(a: f64, b: f64) -> Ordering {
        a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    }

    fn argsort_of<T: Plain>(dtype: DType, x: &[T], n: usize) -> Vec<i64> {
        let mut got = vec![-1i64; x.len()];
        let rows = x.len() / n;
        let (first, second) = got.split_at_mut(rows / 2 * n);
        argsort(dtype, bytes(x), n, bytes_mut(first), 0..rows / 2).unwrap();
        argsort(dtype, bytes(x), n, bytes_mut(second), rows / 2..rows).unwrap();
        got
    }

    fn naive(x: &[f64], n: usize) -> Vec<i64> {
        x.chunks_exact(n)
            .flat_map(|row| {
                let mut p: Vec<i64> = (0..n as i64).collect();
                p.sort_by(|a, b| order(row[*a as usize], row[*b as usize]).then(a.cmp(b)));
                p
            })
            .collect()
    }

    proptest! {
        #[test]
        fn stable_with_nan_last(rows in 1usize..4, n in 1usize..200, levels in 1i32..50, nan in any::<bool>()) {
            let mut x: Vec<f64> = noise(rows * n).iter().map(|v| (v * levels as f64).round()).collect();
            if nan {
                x.iter_mut().step_by(7).for_each(|v| *v = f64::NAN);
                x.iter_mut().skip(3).step_by(11).for_each(|v| *v = f64::INFINITY);
                x.iter_mut().skip(2).step_by(9).for_each(|v| *v = -f64::NAN);
            }
            prop_assert_eq!(argsort_of(DType::F64, &x, n), naive(&x, n));
            let single: Vec<f32> = x.iter().map(|v| *v as f32).collect();
            prop_assert_eq!(argsort_of(DType::F32, &single, n), naive(&x, n));
            let ints: Vec<i64> = x.iter().map(|v| *v as i64).collect();
            let back: Vec<f64> = ints.iter().map(|v| *v as f64).collect();
            prop_assert_eq!(argsort_of(DType::I64, &ints, n), naive(&back, n));
        }

        #[test]
        fn places_in_a_sorted_array(n in 0usize..60, m in 0usize..40, levels in 1i32..30, right in any::<bool>()) {
            let mut sorted: Vec<f64> = noise(n).iter().map(|v| (v * levels as f64).round()).collect();
            if n > 5 {
                sorted[2] = f64::NAN;
            }
            sorted.sort_by(|a, b| order(*a, *b));
            let mut values: Vec<f64> = noise(m + n)[n..].iter().map(|v| (v * levels as f64).round()).collect();
            if m > 0 {
                values[0] = f64::NAN;
            }
            let mut got = vec![0i64; m];
            searchsorted(DType::F64, bytes(&sorted), bytes(&values), right, bytes_mut(&mut got)).unwrap();
            for (v, g) in values.iter().zip(got) {
                let before = |x: &&f64| order(**x, *v) == Ordering::Less || right && order(**x, *v) == Ordering::Equal;
                prop_assert_eq!(g as usize, sorted.iter().filter(before).count());
            }
        }
    }

    #[test]
    fn zeros_of_either_sign_keep_their_order() {
        assert_eq!(argsort_of(DType::F64, &[0.0, -0.0, 0.0, -0.0, -1.0], 5), [4, 0, 1, 2, 3]);
    }
}
