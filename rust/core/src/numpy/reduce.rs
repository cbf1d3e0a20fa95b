//! Reductions over axes: sums, products, extremes and their positions, truth, log-sum-exp; running sums and products.
//!
//! Sums and products of uint8 are uint64 in NumPy, which there is not: they ask for a dtype.

use super::axes::{along, reduced};
use super::operand::{Operand, float_of, materialise, no_complex, result_dtype};
use super::ufunc::truth;
use crate::ops::{ReduceOp, Unary};
use crate::tape::{Axes, DType, NodeId, Tape, shape};
use crate::{Error, Result};

/// The reduced axes come back with length 1 if they are to be kept.
pub(crate) fn finish(t: &mut Tape, y: NodeId, x: NodeId, axes: &[u8], keepdims: bool) -> Result<NodeId> {
    if !keepdims {
        return Ok(y);
    }
    let to = shape::keep(t.shape(x), axes);
    t.reshape(y, &to)
}

/// `y`, reduced over `axes`, spread over the shape of `x` again.
pub(crate) fn spread(t: &mut Tape, y: NodeId, x: NodeId, axes: &[u8]) -> Result<NodeId> {
    let kept = finish(t, y, x, axes, true)?;
    let to = t.shape(x).clone();
    t.broadcast_to(kept, &to)
}

/// `x` in the dtype that sums are made in: bool and signed integers become int64.
pub(crate) fn accumulator(t: &mut Tape, what: &str, x: NodeId) -> Result<NodeId> {
    match t.dtype(x) {
        d if d.is_complex() => Err(no_complex(what)),
        d if d.is_float() => Ok(x),
        DType::U8 => Err(Error::Type(format!(
            "{what} of uint8 is uint64 in NumPy, a dtype that mlgrad does not have; say {what}(x.astype(np.int64)), or a float \
             dtype"
        ))),
        _ => t.cast(x, DType::I64),
    }
}

pub fn sum(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    fold(t, "sum", ReduceOp::Sum, x, axes, keepdims)
}

pub fn prod(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    fold(t, "prod", ReduceOp::Prod, x, axes, keepdims)
}

fn fold(t: &mut Tape, what: &str, op: ReduceOp, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let axes = reduced(what, axes, t.rank(x))?;
    let wide = accumulator(t, what, x)?;
    let y = t.reduce(op, wide, &axes)?;
    finish(t, y, x, &axes, keepdims)
}

pub fn max(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    extreme(t, true, x, axes, keepdims)
}

pub fn min(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    extreme(t, false, x, axes, keepdims)
}

fn extreme(t: &mut Tape, max: bool, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let what = if max { "max" } else { "min" };
    let axes = reduced(what, axes, t.rank(x))?;
    if axes.iter().any(|&a| t.shape(x)[a as usize] == 0) {
        return Err(Error::Value(format!(
            "{what}: zero-size array of shape {} to reduction operation {what}imum which has no identity",
            shape::show(t.shape(x))
        )));
    }
    let op = match (max, t.dtype(x)) {
        (_, d) if d.is_complex() => return Err(no_complex(what)),
        (true, DType::Bool) => ReduceOp::Any,
        (false, DType::Bool) => ReduceOp::All,
        (true, _) => ReduceOp::Max,
        (false, _) => ReduceOp::Min,
    };
    let y = t.reduce(op, x, &axes)?;
    finish(t, y, x, &axes, keepdims)
}

pub fn any(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    holds(t, "any", ReduceOp::Any, x, axes, keepdims)
}

pub fn all(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    holds(t, "all", ReduceOp::All, x, axes, keepdims)
}

fn holds(t: &mut Tape, what: &str, op: ReduceOp, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let axes = reduced(what, axes, t.rank(x))?;
    let own = t.shape(x).clone();
    let b = truth(t, x.into(), &own)?;
    let y = t.reduce(op, b, &axes)?;
    finish(t, y, x, &axes, keepdims)
}

/// How many elements differ from 0.
pub fn count_nonzero(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let own = t.shape(x).clone();
    let b = truth(t, x.into(), &own)?;
    sum(t, b, axes, keepdims)
}

pub fn argmax(t: &mut Tape, x: NodeId, axis: Option<i64>, keepdims: bool) -> Result<NodeId> {
    position(t, true, x, axis, keepdims)
}

pub fn argmin(t: &mut Tape, x: NodeId, axis: Option<i64>, keepdims: bool) -> Result<NodeId> {
    position(t, false, x, axis, keepdims)
}

fn position(t: &mut Tape, max: bool, x: NodeId, axis: Option<i64>, keepdims: bool) -> Result<NodeId> {
    let what = if max { "argmax" } else { "argmin" };
    let (y, a) = along(t, what, x, axis)?;
    if t.shape(y)[a] == 0 {
        return Err(Error::Value(format!(
            "attempt to get {what} of an empty sequence: axis {a} of shape {}",
            shape::show(t.shape(x))
        )));
    }
    let y = t.arg_reduce(max, y, a)?;
    let axes: Axes = match axis {
        Some(_) => [a as u8].into_iter().collect(),
        None => (0..t.rank(x) as u8).collect(),
    };
    finish(t, y, x, &axes, keepdims)
}

/// The largest element less the smallest.
pub fn ptp(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let (high, low) = (max(t, x, axes, keepdims)?, min(t, x, axes, keepdims)?);
    super::ufunc::ufunc(t, "subtract", &[high.into(), low.into()])
}

/// `x` less its largest element along `axes` (0 where that is infinite), and that element; for exponentials.
fn shifted(t: &mut Tape, x: NodeId, axes: &[u8]) -> Result<(NodeId, NodeId)> {
    let m = t.reduce(ReduceOp::Max, x, axes)?;
    let m = t.stop_gradient(m)?;
    let finite = t.unary(Unary::IsFinite, m)?;
    let zero = t.lit_like(0.0, m)?;
    let m = t.select(finite, m, zero)?;
    let wide = spread(t, m, x, axes)?;
    Ok((t.sub(x, wide)?, m))
}

/// log Σ b·exp(x) without overflow. Where nothing is added up (rows of -inf) the derivative is 0.
pub fn logsumexp(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, b: Option<Operand>, keepdims: bool) -> Result<NodeId> {
    let mut args = vec![Operand::from(x)];
    args.extend(b);
    let dtype = float_of("logsumexp", result_dtype(t, &args)?)?;
    let to = super::operand::broadcast_shape(t, "logsumexp", &args)?;
    let x = materialise(t, x.into(), dtype, &to)?;
    let axes = reduced("logsumexp", axes, t.rank(x))?;
    if axes.iter().any(|&a| to[a as usize] == 0) {
        let kept = shape::without(&to, &axes);
        let y = t.literal(f64::NEG_INFINITY, &kept, dtype)?;
        return finish(t, y, x, &axes, keepdims);
    }
    let (d, m) = shifted(t, x, &axes)?;
    let mut e = t.unary(Unary::Exp, d)?;
    if let Some(b) = b {
        let b = materialise(t, b, dtype, &to)?;
        e = t.mul(b, e)?;
    }
    let s = t.sum(e, &axes)?;
    let l = t.unary(Unary::Log, s)?;
    let y = t.add(l, m)?;
    let zero = t.lit_like(0.0, s)?;
    let nothing = t.equal(s, zero)?;
    let lowest = t.lit_like(f64::NEG_INFINITY, s)?;
    let y = t.select(nothing, lowest, y)?;
    finish(t, y, x, &axes, keepdims)
}

/// exp(x) / Σ exp(x)
pub fn softmax(t: &mut Tape, x: NodeId, axes: Option<&[i64]>) -> Result<NodeId> {
    let (x, axes) = exponents(t, "softmax", x, axes)?;
    let (d, _) = shifted(t, x, &axes)?;
    let e = t.unary(Unary::Exp, d)?;
    let s = t.sum(e, &axes)?;
    let s = spread(t, s, x, &axes)?;
    t.div(e, s)
}

/// x - log Σ exp(x)
pub fn log_softmax(t: &mut Tape, x: NodeId, axes: Option<&[i64]>) -> Result<NodeId> {
    let (x, axes) = exponents(t, "log_softmax", x, axes)?;
    let (d, _) = shifted(t, x, &axes)?;
    let e = t.unary(Unary::Exp, d)?;
    let s = t.sum(e, &axes)?;
    let l = t.unary(Unary::Log, s)?;
    let l = spread(t, l, x, &axes)?;
    t.sub(d, l)
}

fn exponents(t: &mut Tape, what: &str, x: NodeId, axes: Option<&[i64]>) -> Result<(NodeId, Axes)> {
    let dtype = float_of(what, t.dtype(x))?;
    let x = t.cast(x, dtype)?;
    let axes = reduced(what, axes, t.rank(x))?;
    if axes.iter().any(|&a| t.shape(x)[a as usize] == 0) {
        return Err(Error::Value(format!("{what}: nothing along axes {axes:?} of shape {}", shape::show(t.shape(x)))));
    }
    Ok((x, axes))
}

/// Running sums; of the flattened array for None.
pub fn cumsum(t: &mut Tape, x: NodeId, axis: Option<i64>) -> Result<NodeId> {
    let (x, a) = along(t, "cumsum", x, axis)?;
    let x = accumulator(t, "cumsum", x)?;
    t.cumsum(x, a, false)
}

/// Running products; of the flattened array for None.
pub fn cumprod(t: &mut Tape, x: NodeId, axis: Option<i64>) -> Result<NodeId> {
    let (x, a) = along(t, "cumprod", x, axis)?;
    let x = accumulator(t, "cumprod", x)?;
    t.cumulative_product(x, a, false)
}
