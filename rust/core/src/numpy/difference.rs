//! Differences and sums along an axis: diff, trapezoid, gradient.

use super::axes::{axis, with_length};
use super::operand::{Operand, float_of, materialise, result_dtype};
use super::shape::part;
use super::ufunc::ufunc;
use crate::ops::Binary;
use crate::tape::{DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// All elements of an axis but the first, and all but the last.
fn neighbours(t: &mut Tape, x: NodeId, a: usize) -> Result<(NodeId, NodeId)> {
    let n = t.shape(x)[a].saturating_sub(1);
    let start = t.shape(x)[a] - n;
    Ok((part(t, x, a, start, n)?, part(t, x, a, 0, n)?))
}

/// The n-th differences.
pub fn diff(t: &mut Tape, x: NodeId, n: i64, along: i64) -> Result<NodeId> {
    if n < 0 {
        return Err(Error::Value(format!("diff: order must be non-negative but got {n}")));
    }
    if t.rank(x) == 0 {
        return Err(Error::Value("diff requires input that is at least one dimensional".into()));
    }
    let a = axis(t, "diff", x, along)?;
    let mut x = x;
    for _ in 0..n {
        if t.shape(x)[a] == 0 {
            break;
        }
        let (next, this) = neighbours(t, x, a)?;
        let op = if t.dtype(x) == DType::Bool { Binary::NotEqual } else { Binary::Sub };
        x = t.binary(op, next, this)?;
    }
    Ok(x)
}

/// The integral of `y` by the trapezoidal rule, at the places `x` or at steps of `dx`.
pub fn trapezoid(t: &mut Tape, y: NodeId, x: Option<NodeId>, dx: Operand, along: i64) -> Result<NodeId> {
    let a = axis(t, "trapezoid", y, along)?;
    let step: Operand = match x {
        None => dx,
        Some(x) => {
            let d = if t.rank(x) == 1 {
                let d = diff(t, x, 1, 0)?;
                let mut to: Shape = smallvec::SmallVec::from_elem(1, t.rank(y));
                to[a] = t.shape(d)[0];
                t.reshape(d, &to)?
            } else {
                diff(t, x, 1, along)?
            };
            d.into()
        }
    };
    let (next, this) = neighbours(t, y, a)?;
    let s = ufunc(t, "add", &[next.into(), this.into()])?;
    let p = ufunc(t, "multiply", &[step, s.into()])?;
    let p = ufunc(t, "divide", &[p.into(), Operand::Float(2.0)])?;
    // the steps may have brought in axes in front
    t.sum(p, &[(a + t.rank(p) - t.rank(y)) as u8])
}

/// np.gradient along one axis, for a uniform step or at places `x` (a vector).
pub fn gradient(t: &mut Tape, f: NodeId, spacing: Operand, along: i64, edge_order: usize) -> Result<NodeId> {
    let a = axis(t, "gradient", f, along)?;
    let n = t.shape(f)[a];
    if !(1..=2).contains(&edge_order) {
        return Err(Error::Value(format!("gradient: 'edge_order' greater than 2 not supported, got {edge_order}")));
    }
    if n < edge_order + 1 {
        return Err(Error::Value(format!(
            "gradient: shape of array too small to calculate a numerical gradient: axis {a} has length {n}, at least {} \
             elements are required",
            edge_order + 1
        )));
    }
    let dtype = float_of("gradient", result_dtype(t, &[f.into(), spacing])?)?;
    let f = t.cast(f, dtype)?;
    let places = spacing.shape(t);
    let h = match places.as_slice() {
        [] => materialise(t, spacing, dtype, &with_length(t.shape(f), a, n - 1))?,
        &[m] if m == n => {
            let x = materialise(t, spacing, dtype, &[n])?;
            let d = diff(t, x, 1, 0)?;
            let mut to: Shape = smallvec::SmallVec::from_elem(1, t.rank(f));
            to[a] = n - 1;
            let d = t.reshape(d, &to)?;
            t.broadcast_to(d, &with_length(t.shape(f), a, n - 1))?
        }
        _ => {
            return Err(Error::Value(format!(
                "gradient: spacing of shape {} does not match axis {a} of shape {}; give a number or one place an element",
                shape::show(&places),
                shape::show(t.shape(f))
            )));
        }
    };
    // slopes of the n - 1 intervals
    let (next, this) = neighbours(t, f, a)?;
    let rise = t.sub(next, this)?;
    let slope = t.div(rise, h)?;
    let edge = |t: &mut Tape, at: usize, inner: usize| -> Result<NodeId> {
        let s = part(t, slope, a, at, 1)?;
        if edge_order == 1 {
            return Ok(s);
        }
        // the parabola through three points: s₀ - (s₁ - s₀) h₀ / (h₀ + h₁)
        let (s1, h0, h1) = (part(t, slope, a, inner, 1)?, part(t, h, a, at, 1)?, part(t, h, a, inner, 1)?);
        let d = t.sub(s1, s)?;
        let both = t.add(h0, h1)?;
        let w = t.div(h0, both)?;
        let c = t.mul(d, w)?;
        t.sub(s, c)
    };
    let first = edge(t, 0, 1.min(n - 2))?;
    let last = edge(t, n - 2, (n - 2).saturating_sub(1))?;
    if n == 2 {
        return t.concatenate(&[first, last], a);
    }
    // inside, by NumPy's formulas: what is not finite stays where it is
    let (f0, f1, f2) = (part(t, f, a, 0, n - 2)?, part(t, f, a, 1, n - 2)?, part(t, f, a, 2, n - 2)?);
    let (h1, h0) = neighbours(t, h, a)?;
    let both = t.add(h0, h1)?;
    let inside = if places.is_empty() {
        let rise = t.sub(f2, f0)?;
        t.div(rise, both)?
    } else {
        // (h₀/h₁ f₂ - h₁/h₀ f₀) / (h₀ + h₁) + (h₁ - h₀) / (h₀ h₁) f₁
        let (up, down) = (t.div(h0, h1)?, t.div(h1, h0)?);
        let (p, q) = (t.mul(up, f2)?, t.mul(down, f0)?);
        let outer = t.sub(p, q)?;
        let outer = t.div(outer, both)?;
        let (gap, area) = (t.sub(h1, h0)?, t.mul(h0, h1)?);
        let weight = t.div(gap, area)?;
        let middle = t.mul(weight, f1)?;
        t.add(outer, middle)?
    };
    t.concatenate(&[first, inside, last], a)
}
