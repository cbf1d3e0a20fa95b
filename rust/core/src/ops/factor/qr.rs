//! Derivatives of the QR decomposition of matrices with at least as many rows as columns, of full rank.
//!
//! S. Walter and L. Lehmann, "Algorithmic differentiation of linear algebra functions with application in optimum experimental
//! design" (2010). The NumPy layer splits wider matrices into a square part and the rest.

use crate::Result;
use crate::tape::{NodeId, Tape};

/// x r⁻¹
fn over_upper(t: &mut Tape, x: NodeId, r: NodeId) -> Result<NodeId> {
    let xt = t.matrix_transpose(x)?;
    // rᵀ yᵀ = xᵀ
    let y = t.triangular_solve(r, xt, false, true)?;
    t.matrix_transpose(y)
}

pub(super) fn vjp(t: &mut Tape, results: &[NodeId], cotangents: &[Option<NodeId>]) -> Result<NodeId> {
    let (q, r) = (results[0], results[1]);
    // m = r grᵀ - gqᵀ q, of which the lower triangle is mirrored
    let first = match cotangents[1] {
        Some(g) => {
            let g = t.triangle(g, false, 0)?;
            Some(t.times_transposed(r, g)?)
        }
        None => None,
    };
    let second = cotangents[0].map(|g| t.transposed_times(g, q)).transpose()?;
    let m = match (first, second) {
        (Some(x), Some(y)) => t.sub(x, y)?,
        (Some(x), None) => x,
        (None, Some(y)) => t.neg(y)?,
        (None, None) => return t.lit_like(0.0, q),
    };
    let (low, strict) = (t.triangle(m, true, 0)?, t.triangle(m, true, -1)?);
    let strict = t.matrix_transpose(strict)?;
    let mirrored = t.add(low, strict)?;
    let mut x = t.matmul(q, mirrored)?;
    if let Some(g) = cotangents[0] {
        x = t.add(x, g)?;
    }
    // x r⁻ᵀ
    let xt = t.matrix_transpose(x)?;
    let y = t.triangular_solve(r, xt, false, false)?;
    t.matrix_transpose(y)
}

pub(super) fn jvp(t: &mut Tape, results: &[NodeId], da: NodeId) -> Result<[NodeId; 2]> {
    let (q, r) = (results[0], results[1]);
    let x = over_upper(t, da, r)?;
    let along = t.transposed_times(q, x)?;
    let low = t.triangle(along, true, -1)?;
    let upper = t.matrix_transpose(low)?;
    // the skew matrix qᵀ dq
    let turn = t.sub(low, upper)?;
    let rest = t.sub(along, turn)?;
    let inside = t.matmul(q, rest)?;
    let dr = t.matmul(rest, r)?;
    Ok([t.sub(x, inside)?, dr])
}
