//! Positions of extremes.

use super::{Dims, by_dtype, elements, elements_mut, expect, inside};
use crate::exec::buffer::Plain;
use crate::math::isa;
use crate::math::reduce::{block, init};
use crate::ops::ReduceOp;
use crate::tape::DType;
use crate::{Error, Result};
use std::ops::Range;

/// The position along the middle axis of the first largest (or smallest) element; a nan counts as both. The outer `rows` of
/// `src`, the whole array; `dst` holds the int64 results (row, inner) of just those rows.
pub fn arg_reduce(max: bool, dtype: DType, src: &[u8], dims: Dims, dst: &mut [u8], rows: Range<usize>) -> Result<()> {
    let name = if max { "argmax" } else { "argmin" };
    expect(name, src.len(), dims.size() * dtype.size())?;
    inside(name, &rows, dims.outer)?;
    let dst = elements_mut::<i64>(dst)?;
    expect(name, dst.len(), rows.len() * dims.inner)?;
    if dims.n == 0 && !dst.is_empty() {
        return Err(Error::Value(format!("{name} of an empty axis; it needs at least one element")));
    }
    if dtype == DType::Bool && dims.inner == 1 {
        for (row, out) in src[rows.start * dims.n..rows.end * dims.n].chunks_exact(dims.n.max(1)).zip(dst) {
            *out = row.iter().position(|b| (*b != 0) == max).unwrap_or(0) as i64;
        }
        return Ok(());
    }
    by_dtype!(name, dtype, T => {
        let src = elements::<T>(src)?;
        let part = &src[rows.start * dims.n * dims.inner..rows.end * dims.n * dims.inner];
        if dims.inner == 1 {
            lines(max, dtype, part, dims.n, dst)
        } else {
            matrices(max, part, dims, dst);
            Ok(())
        }
    })
}

/// Along the innermost axis: the extreme by the vector kernel, then its first place.
fn lines<T: Plain + PartialOrd>(max: bool, dtype: DType, src: &[T], n: usize, dst: &mut [i64]) -> Result<()> {
    let op = if max { ReduceOp::Max } else { ReduceOp::Min };
    let (Some(kernel), Some(identity)) = (block(isa(), op, dtype), init(op, dtype)) else {
        return Err(Error::Type(format!("{op:?} over an axis is not defined for {dtype}")));
    };
    for (row, out) in src.chunks_exact(n.max(1)).zip(dst) {
        let mut bits = identity;
        // SAFETY: eight bytes hold one element of any of these types at their start.
        let extreme = unsafe {
            kernel(n, (&raw mut bits).cast(), row.as_ptr().cast());
            (&raw const bits).cast::<T>().read()
        };
        let place = match is_nan(extreme) {
            true => row.iter().position(|x| is_nan(*x)),
            false => row.iter().position(|x| *x == extreme),
        };
        *out = place.unwrap_or(0) as i64;
    }
    Ok(())
}

fn is_nan<T: PartialOrd>(x: T) -> bool {
    x.partial_cmp(&x).is_none()
}

/// Across rows of several elements: the best so far of each column, row after row.
fn matrices<T: Plain + PartialOrd>(max: bool, src: &[T], dims: Dims, dst: &mut [i64]) {
    let Dims { n, inner, .. } = dims;
    if inner == 0 {
        return;
    }
    for (matrix, out) in src.chunks_exact((n * inner).max(1)).zip(dst.chunks_exact_mut(inner)) {
        let mut best = matrix[..inner].to_vec();
        out.fill(0);
        for (i, row) in matrix.chunks_exact(inner).enumerate().skip(1) {
            for j in 0..inner {
                let better = if max { row[j] > best[j] } else { row[j] < best[j] };
                let first_nan = is_nan(row[j]) && !is_nan(best[j]);
                if better || first_nan {
                    best[j] = row[j];
                    out[j] = i as i64;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes, bytes_mut, noise};
    use super::*;
    use proptest::prelude::*;

    /// The definition: the first element that no other beats, where a nan beats what is not nan.
    fn naive(max: bool, x: &[f64], d: Dims) -> Vec<i64> {
        let mut out = vec![];
        for o in 0..d.outer {
            for j in 0..d.inner {
                let at = |i: usize| x[(o * d.n + i) * d.inner + j];
                let beats = |a: f64, b: f64| !b.is_nan() && (a.is_nan() || if max { a > b } else { a < b });
                let first = (0..d.n).find(|&i| (0..d.n).all(|k| !beats(at(k), at(i)))).unwrap();
                out.push(first as i64);
            }
        }
        out
    }

    fn run<T: Plain>(max: bool, dtype: DType, x: &[T], d: Dims) -> Vec<i64> {
        let mut got = vec![-1i64; d.outer * d.inner];
        let (first, second) = got.split_at_mut(d.outer / 2 * d.inner);
        arg_reduce(max, dtype, bytes(x), d, bytes_mut(first), 0..d.outer / 2).unwrap();
        arg_reduce(max, dtype, bytes(x), d, bytes_mut(second), d.outer / 2..d.outer).unwrap();
        got
    }

    proptest! {
        #[test]
        fn first_occurrence_and_nan_first(
            outer in 0usize..4, n in 1usize..50, inner in 1usize..6, levels in 1i32..20, nan in 0usize..8, max in any::<bool>(),
        ) {
            let d = Dims { outer, n, inner };
            let mut x: Vec<f64> = noise(d.size()).iter().map(|v| (v * levels as f64).round()).collect();
            for k in 0..nan.saturating_sub(4) {
                if !x.is_empty() {
                    let at = (k * 37 + 11) % x.len();
                    x[at] = f64::NAN;
                }
            }
            prop_assert_eq!(run(max, DType::F64, &x, d), naive(max, &x, d));
            let ints: Vec<i32> = x.iter().map(|v| *v as i32).collect();
            let back: Vec<f64> = ints.iter().map(|v| *v as f64).collect();
            prop_assert_eq!(run(max, DType::I32, &ints, d), naive(max, &back, d));
            let bools: Vec<u8> = ints.iter().map(|v| (*v > 0) as u8).collect();
            let back: Vec<f64> = bools.iter().map(|v| *v as f64).collect();
            prop_assert_eq!(run(max, DType::Bool, &bools, d), naive(max, &back, d));
        }
    }

    #[test]
    fn signed_zeros_are_equal_and_an_empty_axis_is_refused() {
        let d = Dims { outer: 1, n: 3, inner: 1 };
        assert_eq!(run(true, DType::F64, &[-0.0, 0.0, -1.0], d), [0]);
        assert_eq!(run(false, DType::F64, &[0.0, -0.0, 1.0], d), [0]);
        let empty = Dims { outer: 1, n: 0, inner: 1 };
        let mut one = [0i64];
        assert!(matches!(arg_reduce(true, DType::F64, &[], empty, bytes_mut(&mut one), 0..1), Err(Error::Value(_))));
    }
}
