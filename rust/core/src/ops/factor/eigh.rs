//! Derivatives of eigenvalues and eigenvectors of symmetric matrices.
//!
//! With D = Vᵀ dA V: dw = diag D, dV = V (D / (w_j - w_i)) off the diagonal (Giles 2008, section 3.1).

use crate::Result;
use crate::tape::{NodeId, Tape};

/// The cotangent of the lower triangle of the matrix.
pub(super) fn vjp(t: &mut Tape, results: &[NodeId], cotangents: &[Option<NodeId>]) -> Result<NodeId> {
    let (w, v) = (results[0], results[1]);
    let values = t.repeated(w)?;
    let mut inner = match cotangents[0] {
        Some(g) => {
            let g = t.shared(g, &values)?;
            Some(t.diagonal_matrix(g, &values)?)
        }
        None => None,
    };
    if let Some(g) = cotangents[1] {
        let m = t.transposed_times(v, g)?;
        let skew = t.skew_part(m)?;
        // what depends on the vectors alone and not on their choice has no skew part; with the values in play the
        // symmetric part may hide a share of the derivative
        let test = if cotangents[0].is_some() { m } else { skew };
        let off = t.over_gaps(skew, test, &values)?;
        inner = Some(match inner {
            Some(d) => t.add(d, off)?,
            None => off,
        });
    }
    let Some(inner) = inner else { return t.lit_like(0.0, v) };
    let x = t.matmul(v, inner)?;
    let x = t.times_transposed(x, v)?;
    // element (i, j) of the lower triangle stands for (j, i) as well
    let xt = t.matrix_transpose(x)?;
    let both = t.add(x, xt)?;
    t.half_triangle(both)
}

pub(super) fn jvp(t: &mut Tape, results: &[NodeId], da: NodeId) -> Result<[NodeId; 2]> {
    let (w, v) = (results[0], results[1]);
    let values = t.repeated(w)?;
    let low = t.triangle(da, true, 0)?;
    let strict = t.triangle(da, true, -1)?;
    let strict = t.matrix_transpose(strict)?;
    let da = t.add(low, strict)?;
    let d = t.transposed_times(v, da)?;
    let d = t.matmul(d, v)?;
    let dw = t.diagonal_of(d, &values)?;
    let dw = t.shared(dw, &values)?;
    let k = t.over_gaps(d, d, &values)?;
    Ok([dw, t.matmul(v, k)?])
}
