//! Means, variances, medians and quantiles; the same with nan left out.

use super::axes::{distinct, reduced};
use super::operand::{Operand, float_of, materialise, result_dtype};
pub use super::quantile::Method;
use super::reduce::{accumulator, finish, spread};
use super::shape::{part, to_back};
use super::sort::sort;
use crate::ops::{ReduceOp, Unary};
use crate::tape::{Axes, DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// How many elements a reduction over `axes` takes in.
fn count(t: &Tape, x: NodeId, axes: &[u8]) -> f64 {
    axes.iter().map(|&a| t.shape(x)[a as usize] as f64).product()
}

fn as_float(t: &mut Tape, what: &str, x: NodeId) -> Result<NodeId> {
    let dtype = float_of(what, t.dtype(x))?;
    t.cast(x, dtype)
}

fn mean_over(t: &mut Tape, x: NodeId, axes: &[u8]) -> Result<NodeId> {
    let s = t.sum(x, axes)?;
    let n = count(t, x, axes);
    let n = t.lit_like(n, s)?;
    t.div(s, n)
}

pub fn mean(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let axes = reduced("mean", axes, t.rank(x))?;
    let x = as_float(t, "mean", x)?;
    let y = mean_over(t, x, &axes)?;
    finish(t, y, x, &axes, keepdims)
}

pub fn var(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, ddof: f64, keepdims: bool) -> Result<NodeId> {
    let axes = reduced("var", axes, t.rank(x))?;
    let x = as_float(t, "var", x)?;
    let m = mean_over(t, x, &axes)?;
    let m = spread(t, m, x, &axes)?;
    let d = t.sub(x, m)?;
    let d = t.square(d)?;
    let s = t.sum(d, &axes)?;
    let n = (count(t, x, &axes) - ddof).max(0.0);
    let n = t.lit_like(n, s)?;
    let y = t.div(s, n)?;
    finish(t, y, x, &axes, keepdims)
}

/// The square root of `var`, whose derivative at 0 is that of sqrt.
pub fn std(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, ddof: f64, keepdims: bool) -> Result<NodeId> {
    let v = var(t, x, axes, ddof, keepdims)?;
    t.unary(Unary::Sqrt, v)
}

/// The weighted average, and the sum of the weights. Weights have the shape of `x`, or the lengths of `axes`.
pub fn average(
    t: &mut Tape,
    x: NodeId,
    axes: Option<&[i64]>,
    weights: Option<Operand>,
    keepdims: bool,
) -> Result<[NodeId; 2]> {
    let set = reduced("average", axes, t.rank(x))?;
    let Some(w) = weights else {
        let y = mean(t, x, axes, keepdims)?;
        let n = count(t, x, &set);
        let n = t.lit_like(n, y)?;
        return Ok([y, n]);
    };
    let dtype = float_of("average", result_dtype(t, &[x.into(), w])?)?;
    let x = t.cast(x, dtype)?;
    let full = t.shape(x).clone();
    let own = w.shape(t);
    let w = materialise(t, w, dtype, &own)?;
    let w = if own == full {
        w
    } else {
        let Some(axes) = axes else {
            return Err(Error::Type(format!(
                "average: axis must be specified when shapes of a and weights differ: {} and {}",
                shape::show(&full),
                shape::show(&own)
            )));
        };
        let order = distinct("average", axes, full.len())?;
        let lengths: Shape = order.iter().map(|&a| full[a as usize]).collect();
        if own != lengths {
            return Err(Error::Value(format!(
                "average: shape {} of weights must be consistent with shape {} of a along axis {axes:?}",
                shape::show(&own),
                shape::show(&full)
            )));
        }
        let mut perm: Axes = (0..order.len() as u8).collect();
        perm.sort_by_key(|&k| order[k as usize]);
        let w = t.transpose(w, &perm)?;
        let kept: Shape =
            full.iter().enumerate().map(|(a, &n)| if order.contains(&(a as u8)) { n } else { 1 }).collect();
        let w = t.reshape(w, &kept)?;
        t.broadcast_to(w, &full)?
    };
    let p = t.mul(x, w)?;
    let (p, total) = (t.sum(p, &set)?, t.sum(w, &set)?);
    let y = t.div(p, total)?;
    Ok([finish(t, y, x, &set, keepdims)?, finish(t, total, x, &set, keepdims)?])
}

/// The axes that are reduced, as one axis at the end, and how many elements it has.
fn as_last(t: &mut Tape, x: NodeId, axes: &[u8]) -> Result<(NodeId, usize)> {
    let (y, _) = to_back(t, x, axes)?;
    let from = t.shape(y).clone();
    let mut to: Shape = from[..from.len() - axes.len()].into();
    let n = from[to.len()..].iter().product();
    to.push(n);
    Ok((t.reshape(y, &to)?, n))
}

/// Element `k` of the last axis.
fn at_last(t: &mut Tape, x: NodeId, k: usize) -> Result<NodeId> {
    let a = t.rank(x) - 1;
    let y = part(t, x, a, k, 1)?;
    let to: Shape = t.shape(x)[..a].into();
    t.reshape(y, &to)
}

pub fn median(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let set = reduced("median", axes, t.rank(x))?;
    let float = as_float(t, "median", x)?;
    let (flat, n) = as_last(t, float, &set)?;
    if n == 0 {
        let to = shape::without(t.shape(x), &set);
        let y = t.literal(f64::NAN, &to, t.dtype(float))?;
        return finish(t, y, x, &set, keepdims);
    }
    let sorted = sort(t, flat, Some(-1))?;
    let mut y = at_last(t, sorted, n / 2)?;
    if n % 2 == 0 {
        let below = at_last(t, sorted, n / 2 - 1)?;
        let s = t.add(below, y)?;
        y = t.scale(s, 0.5)?;
    }
    let last = at_last(t, sorted, n - 1)?;
    let y = or_nan(t, last, y)?;
    finish(t, y, x, &set, keepdims)
}

/// nan where the last of the sorted elements is nan.
fn or_nan(t: &mut Tape, last: NodeId, y: NodeId) -> Result<NodeId> {
    let nan = t.unary(Unary::IsNan, last)?;
    t.select(nan, last, y)
}

/// Quantiles; the axis of `q`, if there are `many`, comes first, and what is interpolated is then float64.
pub fn quantile(
    t: &mut Tape,
    x: NodeId,
    q: &[f64],
    many: bool,
    method: Method,
    axes: Option<&[i64]>,
    keepdims: bool,
) -> Result<NodeId> {
    if let Some(bad) = q.iter().find(|q| !(0.0..=1.0).contains(*q)) {
        return Err(Error::Value(format!("quantile: quantiles must be in the range [0, 1], got {bad}")));
    }
    if q.is_empty() || (!many && q.len() != 1) {
        return Err(Error::Value(format!("quantile: needs at least one quantile, got {}", q.len())));
    }
    let set = reduced("quantile", axes, t.rank(x))?;
    let float = if method.interpolates() { as_float(t, "quantile", x)? } else { x };
    let (flat, n) = as_last(t, float, &set)?;
    if n == 0 {
        return Err(Error::Value(format!("quantile: nothing along axes {set:?} of shape {}", shape::show(t.shape(x)))));
    }
    let sorted = sort(t, flat, Some(-1))?;
    let mut out = Vec::with_capacity(q.len());
    for &q in q {
        let (low, high, share) = method.place(n, q);
        let mut y = at_last(t, sorted, low)?;
        if method.interpolates() {
            let b = at_last(t, sorted, high)?;
            let d = t.sub(b, y)?;
            // levels in an array are float64, and so is what they multiply; the difference is not
            let to = if many { DType::F64 } else { t.dtype(d) };
            let (b, d) = (t.cast(b, to)?, t.cast(d, to)?);
            y = t.cast(y, to)?;
            // from the nearer end, as NumPy does
            y = if share >= 0.5 {
                let d = t.scale(d, 1.0 - share)?;
                t.sub(b, d)?
            } else {
                let d = t.scale(d, share)?;
                t.add(y, d)?
            };
        }
        if t.dtype(y).is_float() {
            let nan = at_last(t, sorted, n - 1)?;
            let nan = t.cast(nan, t.dtype(y))?;
            y = or_nan(t, nan, y)?;
        }
        out.push(Operand::from(finish(t, y, x, &set, keepdims)?));
    }
    if many { super::join::stack(t, &out, 0) } else { out[0].to_node(t) }
}

/// `x` with nan replaced, and where there was one.
fn without_nan(t: &mut Tape, x: NodeId, instead: f64) -> Result<(NodeId, NodeId)> {
    let at = t.unary(Unary::IsNan, x)?;
    let v = t.lit_like(instead, x)?;
    Ok((t.select(at, v, x)?, at))
}

/// How many elements are not nan.
fn valid(t: &mut Tape, nan: NodeId, axes: &[u8], dtype: DType) -> Result<NodeId> {
    let number = t.unary(Unary::LogicalNot, nan)?;
    let ones = t.cast(number, DType::I64)?;
    let n = t.sum(ones, axes)?;
    t.cast(n, dtype)
}

pub fn nansum(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    nan_fold(t, "nansum", ReduceOp::Sum, 0.0, x, axes, keepdims)
}

pub fn nanprod(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    nan_fold(t, "nanprod", ReduceOp::Prod, 1.0, x, axes, keepdims)
}

fn nan_fold(
    t: &mut Tape,
    what: &str,
    op: ReduceOp,
    instead: f64,
    x: NodeId,
    axes: Option<&[i64]>,
    keepdims: bool,
) -> Result<NodeId> {
    let axes = reduced(what, axes, t.rank(x))?;
    let x = accumulator(t, what, x)?;
    let y = if t.dtype(x).is_float() { without_nan(t, x, instead)?.0 } else { x };
    let y = t.reduce(op, y, &axes)?;
    finish(t, y, x, &axes, keepdims)
}

pub fn nanmean(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let axes = reduced("nanmean", axes, t.rank(x))?;
    let x = as_float(t, "nanmean", x)?;
    let (y, nan) = without_nan(t, x, 0.0)?;
    let s = t.sum(y, &axes)?;
    let n = valid(t, nan, &axes, t.dtype(x))?;
    let y = t.div(s, n)?;
    finish(t, y, x, &axes, keepdims)
}

pub fn nanvar(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, ddof: f64, keepdims: bool) -> Result<NodeId> {
    let axes = reduced("nanvar", axes, t.rank(x))?;
    let x = as_float(t, "nanvar", x)?;
    let (y, nan) = without_nan(t, x, 0.0)?;
    let s = t.sum(y, &axes)?;
    let n = valid(t, nan, &axes, t.dtype(x))?;
    let m = t.div(s, n)?;
    let m = spread(t, m, x, &axes)?;
    let d = t.sub(x, m)?;
    let zero = t.lit_like(0.0, d)?;
    let d = t.select(nan, zero, d)?;
    let d = t.square(d)?;
    let s = t.sum(d, &axes)?;
    let n = t.shift(n, -ddof)?;
    // too few elements give nan
    let none = t.lit_like(0.0, n)?;
    let enough = t.binary(crate::ops::Binary::Greater, n, none)?;
    let y = t.div(s, n)?;
    let unknown = t.lit_like(f64::NAN, y)?;
    let y = t.select(enough, y, unknown)?;
    finish(t, y, x, &axes, keepdims)
}

pub fn nanstd(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, ddof: f64, keepdims: bool) -> Result<NodeId> {
    let v = nanvar(t, x, axes, ddof, keepdims)?;
    t.unary(Unary::Sqrt, v)
}

pub fn nanmax(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    nan_extreme(t, true, x, axes, keepdims)
}

pub fn nanmin(t: &mut Tape, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    nan_extreme(t, false, x, axes, keepdims)
}

fn nan_extreme(t: &mut Tape, max: bool, x: NodeId, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let plain = if max { super::reduce::max } else { super::reduce::min };
    if !t.dtype(x).is_float() {
        return plain(t, x, axes, keepdims);
    }
    let (y, nan) = without_nan(t, x, if max { f64::NEG_INFINITY } else { f64::INFINITY })?;
    let y = plain(t, y, axes, keepdims)?;
    let nothing = super::reduce::all(t, nan, axes, keepdims)?;
    let unknown = t.lit_like(f64::NAN, y)?;
    t.select(nothing, unknown, y)
}
