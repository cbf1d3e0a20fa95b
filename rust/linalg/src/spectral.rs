//! Eigenvalues of symmetric matrices, and singular values.

use faer::{MatRef, Scale, Side};

use super::{all_finite, guarded, lengths, safe_scale};
use crate::{Error, Result};

/// Eigenvalues in ascending order, and the eigenvectors as columns. Only the lower triangle of `a` is read.
pub fn eigh(a: &[f64], n: usize, w: &mut [f64], v: &mut [f64]) -> Result<()> {
    lengths("eigh", [(a.len(), n * n), (w.len(), n), (v.len(), n * n)])?;
    if n == 0 {
        return Ok(());
    }
    let mut symmetric = a.to_vec();
    for i in 0..n {
        for j in 0..i {
            symmetric[j * n + i] = a[i * n + j];
        }
    }
    let failed = || {
        Error::LinAlg(format!(
            "eigh: Eigenvalues did not converge for the {n} by {n} matrix; look for nan or infinity in it"
        ))
    };
    if !all_finite(&symmetric) {
        return Err(failed());
    }
    if n == 1 {
        (w[0], v[0]) = (a[0], 1.0);
        return Ok(());
    }
    let scale = safe_scale(&symmetric);
    symmetric.iter_mut().for_each(|x| *x *= scale);
    let eigen = guarded("eigh", || MatRef::from_row_major_slice(&symmetric, n, n).self_adjoint_eigen(Side::Lower))?;
    let eigen = eigen.map_err(|_| failed())?;
    for (to, value) in w.iter_mut().zip(eigen.S().column_vector().iter()) {
        *to = value / scale;
    }
    for (i, row) in v.chunks_exact_mut(n).enumerate() {
        for (j, to) in row.iter_mut().enumerate() {
            *to = eigen.U()[(i, j)];
        }
    }
    Ok(())
}

/// u (m by s), the singular values in descending order and vᵀ (s by n) of a, s = min(m, n).
pub fn svd(a: &[f64], m: usize, n: usize, u: &mut [f64], values: &mut [f64], vt: &mut [f64]) -> Result<()> {
    let s = m.min(n);
    lengths("svd", [(a.len(), m * n), (u.len(), m * s), (values.len(), s), (vt.len(), s * n)])?;
    if s == 0 {
        return Ok(());
    }
    let failed = || {
        Error::LinAlg(format!("svd: SVD did not converge for the {m} by {n} matrix; look for nan or infinity in it"))
    };
    if !all_finite(a) {
        return Err(failed());
    }
    let scale = safe_scale(a);
    let svd = guarded("svd", || (Scale(scale) * MatRef::from_row_major_slice(a, m, n)).thin_svd())?;
    let svd = svd.map_err(|_| failed())?;
    for (to, value) in values.iter_mut().zip(svd.S().column_vector().iter()) {
        *to = value / scale;
    }
    for (i, row) in u.chunks_exact_mut(s).enumerate() {
        for (j, to) in row.iter_mut().enumerate() {
            *to = svd.U()[(i, j)];
        }
    }
    for (i, row) in vt.chunks_exact_mut(n).enumerate() {
        for (j, to) in row.iter_mut().enumerate() {
            *to = svd.V()[(j, i)];
        }
    }
    Ok(())
}
