//! Derivatives of the singular value decomposition.
//!
//! With P = Uᵀ dA V, σ and α its symmetric and skew parts: dS = diag P, dU = U (σ/(s_j - s_i) + α/(s_j + s_i)) + (I - UUᵀ) dA V/S,
//! dV = V (σ/(s_j - s_i) - α/(s_j + s_i)) + (I - VVᵀ) dAᵀ U/S. These are the formulas of J. Townsend, "Differentiating the
//! singular value decomposition" (2016), with 1/(s_j² - s_i²) split so that equal values only matter where they must.

use super::repeated::Values;
use crate::Result;
use crate::ops::Binary;
use crate::tape::{NodeId, Tape};

/// The cotangent (or tangent) of the singular values: shared where they coincide, and 0 at 0, where they have a kink as |x|.
fn of_values(t: &mut Tape, g: NodeId, s: NodeId, v: &Values) -> Result<NodeId> {
    let g = t.shared(g, v)?;
    let shape = t.shape(s).clone();
    let one_row = t.in_columns(s, 1)?;
    let zero = t.within(one_row, v.tolerance)?;
    let zero = t.reshape(zero, &shape)?;
    let nothing = t.lit_like(0.0, g)?;
    t.select(zero, nothing, g)
}

/// x, whose columns belong to the values, over the values.
fn over_values(t: &mut Tape, x: NodeId, s: NodeId, v: &Values) -> Result<NodeId> {
    let rows = t.shape(x)[t.rank(x) - 2];
    let wide = t.in_columns(s, rows)?;
    let zero = t.within(wide, v.tolerance)?;
    t.over(x, wide, zero, x)
}

/// x, skew, over s_j + s_i.
fn over_sums(t: &mut Tape, x: NodeId, v: &Values) -> Result<NodeId> {
    let sum = t.add(v.column, v.row)?;
    let zero = t.within(sum, v.tolerance)?;
    let zero = t.binary(Binary::LogicalAnd, zero, v.equal)?;
    t.over(x, sum, zero, x)
}

/// (I - q qᵀ) x
fn beside(t: &mut Tape, q: NodeId, x: NodeId) -> Result<NodeId> {
    let along = t.transposed_times(q, x)?;
    let along = t.matmul(q, along)?;
    t.sub(x, along)
}

pub(super) fn vjp(t: &mut Tape, a: NodeId, results: &[NodeId], cotangents: &[Option<NodeId>]) -> Result<NodeId> {
    let [u, s, vt] = [results[0], results[1], results[2]];
    let (m, n) = (t.shape(a)[t.rank(a) - 2], t.shape(a)[t.rank(a) - 1]);
    let values = t.repeated(s)?;
    let v = t.matrix_transpose(vt)?;
    let gu = cotangents[0];
    let gv = cotangents[2].map(|g| t.matrix_transpose(g)).transpose()?;
    let mut inner = match cotangents[1] {
        Some(g) => {
            let g = of_values(t, g, s, &values)?;
            t.diagonal_matrix(g, &values)?
        }
        None => t.lit_like(0.0, values.row)?,
    };
    let mu = gu.map(|g| t.transposed_times(u, g)).transpose()?;
    let mv = gv.map(|g| t.transposed_times(v, g)).transpose()?;
    // both bases turn together where values coincide, so their sum decides whether the choice matters
    let sum = match (mu, mv) {
        (Some(x), Some(y)) => Some((t.add(x, y)?, t.sub(x, y)?)),
        (Some(x), None) => Some((x, x)),
        (None, Some(y)) => Some((y, t.neg(y)?)),
        (None, None) => None,
    };
    if let Some((sum, difference)) = sum {
        let skew = t.skew_part(sum)?;
        let test = if cotangents[1].is_some() { sum } else { skew };
        let first = t.over_gaps(skew, test, &values)?;
        let skew = t.skew_part(difference)?;
        let second = over_sums(t, skew, &values)?;
        inner = t.add(inner, first)?;
        inner = t.add(inner, second)?;
    }
    let out = t.matmul(u, inner)?;
    let mut out = t.matmul(out, vt)?;
    if let (Some(g), true) = (gu, m > n) {
        let x = beside(t, u, g)?;
        let x = over_values(t, x, s, &values)?;
        let x = t.matmul(x, vt)?;
        out = t.add(out, x)?;
    }
    if let (Some(g), true) = (gv, n > m) {
        let x = beside(t, v, g)?;
        let x = over_values(t, x, s, &values)?;
        let x = t.times_transposed(u, x)?;
        out = t.add(out, x)?;
    }
    Ok(out)
}

pub(super) fn jvp(t: &mut Tape, results: &[NodeId], da: NodeId) -> Result<[NodeId; 3]> {
    let [u, s, vt] = [results[0], results[1], results[2]];
    let (m, n) = (t.shape(da)[t.rank(da) - 2], t.shape(da)[t.rank(da) - 1]);
    let values = t.repeated(s)?;
    let v = t.matrix_transpose(vt)?;
    let av = t.matmul(da, v)?;
    let p = t.transposed_times(u, av)?;
    let ds = t.diagonal_of(p, &values)?;
    let ds = of_values(t, ds, s, &values)?;
    let even = t.symmetric_part(p)?;
    let even = t.over_gaps(even, even, &values)?;
    let odd = t.skew_part(p)?;
    let odd = over_sums(t, odd, &values)?;
    let (ku, kv) = (t.add(even, odd)?, t.sub(even, odd)?);
    let (mut du, mut dv) = (t.matmul(u, ku)?, t.matmul(v, kv)?);
    if m > n {
        let x = beside(t, u, av)?;
        let x = over_values(t, x, s, &values)?;
        du = t.add(du, x)?;
    }
    if n > m {
        let x = t.transposed_times(da, u)?;
        let x = beside(t, v, x)?;
        let x = over_values(t, x, s, &values)?;
        dv = t.add(dv, x)?;
    }
    Ok([du, ds, t.matrix_transpose(dv)?])
}
