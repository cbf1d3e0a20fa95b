//! Running sums and first-order linear recurrences along the middle axis, one step after the other.

use super::{Dims, by_dtype, elements, elements_mut, expect, inside};
use crate::exec::buffer::Plain;
use crate::tape::DType;
use crate::{Error, Result};
use std::ops::Range;

trait Number: Plain {
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

macro_rules! numbers {
    ($($t:ty: |$a:ident, $b:ident| $sum:expr, $product:expr;)*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn plus(self, $b: $t) -> $t {
                let $a = self;
                $sum
            }
            #[inline(always)]
            fn times(self, $b: $t) -> $t {
                let $a = self;
                $product
            }
        }
    )*};
}

numbers! {
    u8: |a, b| a.wrapping_add(b), a.wrapping_mul(b);
    i32: |a, b| a.wrapping_add(b), a.wrapping_mul(b);
    i64: |a, b| a.wrapping_add(b), a.wrapping_mul(b);
    f32: |a, b| a + b, a * b;
    f64: |a, b| a + b, a * b;
}

/// s_i = s_{i-1} + x_i along the middle axis, from its end if `reverse`, of the outer `rows` of `src`, the whole array; `dst`
/// holds just those rows. Integers wrap; bool must be cast first.
pub fn cumsum(dtype: DType, src: &[u8], dims: Dims, reverse: bool, dst: &mut [u8], rows: Range<usize>) -> Result<()> {
    if dtype == DType::Bool {
        return Err(Error::Type("cumsum is not defined for bool; cast to an integer type first".into()));
    }
    by_dtype!("cumsum", dtype, T => {
        let x = part::<T>("cumsum", src, dims, &rows)?;
        let y = elements_mut::<T>(dst)?;
        expect("cumsum", y.len(), x.len())?;
        for (x, y) in blocks(x, y, dims) {
            if dims.inner == 1 {
                along(x, reverse, |i, s| s.plus(x[i]), y);
            } else {
                across(x, dims, reverse, |i, s| s.plus(x[i]), y);
            }
        }
        Ok(())
    })
}

/// s_i = a_i s_{i-1} + b_i along the middle axis, which starts with b (at its end if `reverse`) whatever a is there; otherwise
/// as [`cumsum`].
pub fn recurrence(
    dtype: DType,
    a: &[u8],
    b: &[u8],
    dims: Dims,
    reverse: bool,
    dst: &mut [u8],
    rows: Range<usize>,
) -> Result<()> {
    if dtype == DType::Bool {
        return Err(Error::Type("a linear recurrence is not defined for bool; cast to a number type first".into()));
    }
    by_dtype!("a linear recurrence", dtype, T => {
        let (a, b) = (part::<T>("recurrence", a, dims, &rows)?, part::<T>("recurrence", b, dims, &rows)?);
        let y = elements_mut::<T>(dst)?;
        expect("recurrence", y.len(), a.len())?;
        for ((a, y), b) in blocks(a, y, dims).zip(b.chunks_exact((dims.n * dims.inner).max(1))) {
            if dims.inner == 1 {
                along(b, reverse, |i, s| a[i].times(s).plus(b[i]), y);
            } else {
                across(b, dims, reverse, |i, s| a[i].times(s).plus(b[i]), y);
            }
        }
        Ok(())
    })
}

fn part<'a, T: Plain>(what: &str, bytes: &'a [u8], dims: Dims, rows: &Range<usize>) -> Result<&'a [T]> {
    let x = elements::<T>(bytes)?;
    expect(what, x.len(), dims.size())?;
    inside(what, rows, dims.outer)?;
    Ok(&x[rows.start * dims.n * dims.inner..rows.end * dims.n * dims.inner])
}

fn blocks<'a, T>(x: &'a [T], y: &'a mut [T], dims: Dims) -> impl Iterator<Item = (&'a [T], &'a mut [T])> {
    let size = (dims.n * dims.inner).max(1);
    x.chunks_exact(size).zip(y.chunks_exact_mut(size))
}

/// One line, which starts with the first element itself.
#[inline(always)]
fn along<T: Number>(first: &[T], reverse: bool, step: impl Fn(usize, T) -> T, y: &mut [T]) {
    let n = y.len();
    if n == 0 {
        return;
    }
    let start = if reverse { n - 1 } else { 0 };
    let mut s = first[start];
    y[start] = s;
    if reverse {
        for i in (0..start).rev() {
            s = step(i, s);
            y[i] = s;
        }
    } else {
        for (i, y) in y.iter_mut().enumerate().skip(1) {
            s = step(i, s);
            *y = s;
        }
    }
}

/// Rows of several elements: each from the one before it.
#[inline(always)]
fn across<T: Number>(first: &[T], dims: Dims, reverse: bool, step: impl Fn(usize, T) -> T, y: &mut [T]) {
    let inner = dims.inner;
    for k in 0..dims.n {
        let i = if reverse { dims.n - 1 - k } else { k };
        let row = i * inner..(i + 1) * inner;
        if k == 0 {
            y[row.clone()].copy_from_slice(&first[row]);
        } else if reverse {
            let (now, before) = y[i * inner..].split_at_mut(inner);
            for (j, (now, before)) in row.zip(now.iter_mut().zip(&before[..inner])) {
                *now = step(j, *before);
            }
        } else {
            let (before, now) = y[(i - 1) * inner..].split_at_mut(inner);
            for (j, (now, before)) in row.zip(now.iter_mut().zip(&*before)) {
                *now = step(j, *before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes, bytes_mut, noise};
    use super::*;
    use proptest::prelude::*;

    fn naive(a: &[f64], b: &[f64], d: Dims, reverse: bool) -> Vec<f64> {
        let mut y = vec![0.0; d.size()];
        for o in 0..d.outer {
            for j in 0..d.inner {
                let mut s = 0.0;
                for k in 0..d.n {
                    let i = if reverse { d.n - 1 - k } else { k };
                    let at = (o * d.n + i) * d.inner + j;
                    s = a[at] * s + b[at];
                    y[at] = s;
                }
            }
        }
        y
    }

    proptest! {
        #[test]
        fn both_scans_in_every_layout(outer in 0usize..4, n in 0usize..20, inner in 0usize..6, reverse in any::<bool>()) {
            let d = Dims { outer, n, inner };
            let (a, b) = (noise(2 * d.size())[d.size()..].to_vec(), noise(d.size()));
            let half = outer / 2;
            let mut got = vec![0.0; d.size()];
            let (first, second) = got.split_at_mut(half * n * inner);
            recurrence(DType::F64, bytes(&a), bytes(&b), d, reverse, bytes_mut(first), 0..half).unwrap();
            recurrence(DType::F64, bytes(&a), bytes(&b), d, reverse, bytes_mut(second), half..outer).unwrap();
            prop_assert_eq!(&got, &naive(&a, &b, d, reverse));
            cumsum(DType::F64, bytes(&b), d, reverse, bytes_mut(&mut got), 0..outer).unwrap();
            prop_assert_eq!(&got, &naive(&vec![1.0; d.size()], &b, d, reverse));
            let ints: Vec<i32> = b.iter().map(|v| (v * 1000.0) as i32).collect();
            let mut got = vec![0i32; d.size()];
            cumsum(DType::I32, bytes(&ints), d, reverse, bytes_mut(&mut got), 0..outer).unwrap();
            let wide: Vec<f64> = ints.iter().map(|v| *v as f64).collect();
            let want: Vec<i32> = naive(&vec![1.0; d.size()], &wide, d, reverse).iter().map(|v| *v as i32).collect();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn the_first_element_comes_through_as_it_is() {
        let d = Dims { outer: 1, n: 2, inner: 1 };
        let mut got = [0.0f64; 2];
        cumsum(DType::F64, bytes(&[-0.0, -0.0]), d, false, bytes_mut(&mut got), 0..1).unwrap();
        assert!(got[0].is_sign_negative() && got[1].is_sign_negative());
        recurrence(DType::F64, bytes(&[f64::INFINITY, 2.0]), bytes(&[3.0, 1.0]), d, false, bytes_mut(&mut got), 0..1)
            .unwrap();
        assert_eq!(got, [3.0, 7.0]);
    }

    #[test]
    fn integers_wrap_and_bool_is_refused() {
        let mut got = [0i64; 2];
        let d = Dims { outer: 1, n: 2, inner: 1 };
        cumsum(DType::I64, bytes(&[i64::MAX, 1]), d, false, bytes_mut(&mut got), 0..1).unwrap();
        assert_eq!(got, [i64::MAX, i64::MIN]);
        assert!(matches!(cumsum(DType::Bool, &[0, 1], d, false, &mut [0, 0], 0..1), Err(Error::Type(_))));
        assert!(cumsum(DType::F64, bytes(&[1.0]), d, false, bytes_mut(&mut [0.0f64; 2]), 0..1).is_err());
    }
}
