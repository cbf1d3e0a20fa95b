//! Choices between values: where, select, clip, nan_to_num, isclose.

use super::operand::{Operand, broadcast_shape, fits, materialise, result_dtype};
use super::ufunc::truth;
use crate::ops::{Binary, Unary};
use crate::tape::{DType, NodeId, Tape};
use crate::{Error, Result};

/// `a` where `condition` holds, else `b`.
pub fn where3(t: &mut Tape, condition: Operand, a: Operand, b: Operand) -> Result<NodeId> {
    let dtype = result_dtype(t, &[a, b])?;
    let to = broadcast_shape(t, "where", &[condition, a, b])?;
    let c = truth(t, condition, &to)?;
    let (a, b) = (materialise(t, a, dtype, &to)?, materialise(t, b, dtype, &to)?);
    t.select(c, a, b)
}

/// Of the `choices`, the one whose condition is the first to hold; else `default`.
pub fn select(t: &mut Tape, conditions: &[Operand], choices: &[Operand], default: Operand) -> Result<NodeId> {
    if conditions.len() != choices.len() {
        return Err(Error::Value(format!(
            "select: list of cases must be same length as list of conditions, got {} and {}",
            choices.len(),
            conditions.len()
        )));
    }
    if conditions.is_empty() {
        return Err(Error::Value("select with an empty condition list is not possible".into()));
    }
    if let Some(k) = conditions.iter().position(|c| c.dtype(t) != DType::Bool) {
        return Err(Error::Type(format!(
            "select: invalid entry {k} in condlist: should be boolean ndarray, got {}",
            conditions[k].dtype(t)
        )));
    }
    let mut values = choices.to_vec();
    values.push(default);
    let dtype = result_dtype(t, &values)?;
    let all: Vec<Operand> = conditions.iter().chain(&values).copied().collect();
    let to = broadcast_shape(t, "select", &all)?;
    let mut y = materialise(t, default, dtype, &to)?;
    for (&c, &v) in conditions.iter().zip(choices).rev() {
        let (c, v) = (truth(t, c, &to)?, materialise(t, v, dtype, &to)?);
        y = t.select(c, v, y)?;
    }
    Ok(y)
}

/// `x` kept within bounds. Its derivative is 1 on the closed interval; outside, that of the bound.
pub fn clip(t: &mut Tape, x: Operand, low: Option<Operand>, high: Option<Operand>) -> Result<NodeId> {
    let args: Vec<Operand> = [Some(x), low, high].into_iter().flatten().collect();
    let dtype = result_dtype(t, &args)?;
    let to = broadcast_shape(t, "clip", &args)?;
    let mut y = materialise(t, x, dtype, &to)?;
    // the upper bound comes last: it wins where the bounds cross, as in NumPy
    for (bound, outside) in [(low, Binary::Less), (high, Binary::Greater)] {
        let Some(bound) = bound else { continue };
        if beyond_range(bound, dtype, outside) {
            continue;
        }
        let b = materialise(t, bound, dtype, &to)?;
        let mut beyond = t.binary(outside, y, b)?;
        if dtype.is_float() && bound.number().is_none_or(f64::is_nan) {
            // a nan bound gives nan
            let nan = t.unary(Unary::IsNan, b)?;
            beyond = t.binary(Binary::LogicalOr, beyond, nan)?;
        }
        y = t.select(beyond, b, y)?;
    }
    Ok(y)
}

/// Whether a Python int lies beyond all numbers of an integer dtype, so that it bounds nothing.
fn beyond_range(bound: Operand, dtype: DType, outside: Binary) -> bool {
    match bound {
        Operand::Int(v) => !fits(v, dtype) && (v < 0) == (outside == Binary::Less),
        _ => false,
    }
}

/// `x` with nan and the infinities replaced; by 0 and the largest and smallest finite numbers where None.
pub fn nan_to_num(
    t: &mut Tape,
    x: NodeId,
    nan: Operand,
    positive: Option<Operand>,
    negative: Option<Operand>,
) -> Result<NodeId> {
    let (dtype, to) = (t.dtype(x), t.shape(x).clone());
    if !dtype.is_float() {
        return Ok(x);
    }
    let most = if dtype == DType::F32 { f32::MAX as f64 } else { f64::MAX };
    let (zero, one) = (t.lit_like(f64::INFINITY, x)?, t.lit_like(f64::NEG_INFINITY, x)?);
    let mut y = x;
    let at = t.unary(Unary::IsNan, x)?;
    let v = materialise(t, nan, dtype, &to)?;
    y = t.select(at, v, y)?;
    for (infinity, v, default) in [(zero, positive, most), (one, negative, -most)] {
        let at = t.equal(x, infinity)?;
        let v = materialise(t, v.unwrap_or(Operand::Float(default)), dtype, &to)?;
        y = t.select(at, v, y)?;
    }
    Ok(y)
}

/// |a - b| ≤ atol + rtol·|b|, and equal infinities; nan counts as equal to nan only if so asked.
pub fn isclose(t: &mut Tape, a: Operand, b: Operand, rtol: f64, atol: f64, equal_nan: bool) -> Result<NodeId> {
    let dtype = match result_dtype(t, &[a, b])? {
        d if d.is_float() => d,
        _ => DType::F64,
    };
    let to = broadcast_shape(t, "isclose", &[a, b])?;
    let (a, b) = (materialise(t, a, dtype, &to)?, materialise(t, b, dtype, &to)?);
    let d = t.sub(a, b)?;
    let d = t.unary(Unary::Abs, d)?;
    let size = t.unary(Unary::Abs, b)?;
    let rtol = materialise(t, Operand::Float(rtol), dtype, &to)?;
    let atol = materialise(t, Operand::Float(atol), dtype, &to)?;
    let bound = t.mul(rtol, size)?;
    let bound = t.add(atol, bound)?;
    let near = t.binary(Binary::LessEqual, d, bound)?;
    let finite = t.unary(Unary::IsFinite, b)?;
    let near = t.binary(Binary::LogicalAnd, near, finite)?;
    let same = t.equal(a, b)?;
    let mut close = t.binary(Binary::LogicalOr, near, same)?;
    if equal_nan {
        let (p, q) = (t.unary(Unary::IsNan, a)?, t.unary(Unary::IsNan, b)?);
        let both = t.binary(Binary::LogicalAnd, p, q)?;
        close = t.binary(Binary::LogicalOr, close, both)?;
    }
    Ok(close)
}
