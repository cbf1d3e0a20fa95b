//! The Cholesky factor.

use faer::{MatRef, Side};

use super::{guarded, lengths};
use crate::{Error, Result};

const SMALL: usize = 40;

/// out = L with L Lᵀ = a. Only the lower triangle of `a` is read; the upper one of the result is zero.
pub fn cholesky(a: &[f64], n: usize, out: &mut [f64]) -> Result<()> {
    lengths("cholesky", [(a.len(), n * n), (out.len(), n * n)])?;
    let finite = || (0..n).all(|i| super::all_finite(&a[i * n..][..=i]));
    if n <= SMALL || !finite() {
        return small(a, n, out);
    }
    let llt = guarded("cholesky", || MatRef::from_row_major_slice(a, n, n).llt(Side::Lower))?;
    let llt = llt.map_err(|faer::linalg::cholesky::llt::factor::LltError::NonPositivePivot { index }| {
        not_positive(index.min(n - 1), n)
    })?;
    let l = llt.L();
    for (i, row) in out.chunks_exact_mut(n).enumerate() {
        for (j, to) in row.iter_mut().enumerate() {
            *to = if j <= i { l[(i, j)] } else { 0.0 };
        }
    }
    Ok(())
}

fn not_positive(row: usize, n: usize) -> Error {
    Error::LinAlg(format!(
        "cholesky: Matrix is not positive definite: the pivot in row {row} of the {n} by {n} matrix is not positive; only the \
         lower triangle is read; add a small multiple of the identity if rounding is to blame"
    ))
}

fn small(a: &[f64], n: usize, out: &mut [f64]) -> Result<()> {
    out.fill(0.0);
    for i in 0..n {
        let (done, rest) = out.split_at_mut(i * n);
        let row = &mut rest[..n];
        for j in 0..i {
            let other = &done[j * n..][..n];
            row[j] = (a[i * n + j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let square = a[i * n + i] - dot(&row[..i], &row[..i]);
        // a nan is not positive either
        if square.is_nan() || square <= 0.0 {
            return Err(not_positive(i, n));
        }
        row[i] = square.sqrt();
    }
    Ok(())
}

/// Four sums side by side, so that additions need not wait for each other.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (heads, tail) = a.as_chunks::<4>();
    let (other_heads, other_tail) = b.as_chunks::<4>();
    for (x, y) in heads.iter().zip(other_heads) {
        for l in 0..4 {
            sums[l] += x[l] * y[l];
        }
    }
    let rest = tail.iter().zip(other_tail).fold(0.0, |s, (x, y)| s + x * y);
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}
