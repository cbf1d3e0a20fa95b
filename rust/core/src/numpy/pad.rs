//! Arrays with a margin, by NumPy's modes.

use smallvec::SmallVec;

use super::axes::with_length;
use super::index::pick;
use super::operand::{Operand, integers, materialise};
use super::shape::part;
use super::statistics;
use crate::ops::{Binary, Unary, Window};
use crate::tape::{DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// What `pad` puts around an array.
#[derive(Clone, Debug, PartialEq)]
pub enum PadMode {
    /// Numbers: one pair (before, after) for each axis.
    Constant(Vec<[Operand; 2]>),
    Edge,
    Reflect,
    Symmetric,
    Wrap,
    /// Like `Reflect` and `Symmetric`, but turned about the edge: twice the edge minus the mirrored elements.
    OddReflect,
    OddSymmetric,
    /// A statistic of as many elements at each end; of all for None.
    Statistic(Statistic, Vec<[Option<usize>; 2]>),
    /// From the edge in equal steps to these numbers: one pair (before, after) for each axis.
    LinearRamp(Vec<[Operand; 2]>),
}

/// What `pad` takes of the elements at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    Maximum,
    Minimum,
    Mean,
    Median,
}

impl Statistic {
    pub fn by_name(name: &str) -> Option<Statistic> {
        Some(match name {
            "maximum" => Statistic::Maximum,
            "minimum" => Statistic::Minimum,
            "mean" => Statistic::Mean,
            "median" => Statistic::Median,
            _ => return None,
        })
    }

    /// Of `x` along an axis, which is kept; rounded where the elements are integers.
    fn of(self, t: &mut Tape, x: NodeId, a: usize) -> Result<NodeId> {
        let (dtype, axes) = (t.dtype(x), [a as i64]);
        let extreme = matches!(self, Statistic::Maximum | Statistic::Minimum);
        if extreme && t.shape(x)[a] == 0 {
            return Err(Error::Value("pad: stat_length of 0 yields no value for padding".into()));
        }
        let y = match self {
            Statistic::Maximum => super::reduce::max(t, x, Some(&axes), true)?,
            Statistic::Minimum => super::reduce::min(t, x, Some(&axes), true)?,
            Statistic::Mean => statistics::mean(t, x, Some(&axes), true)?,
            Statistic::Median => statistics::median(t, x, Some(&axes), true)?,
        };
        let y = if dtype.is_inexact() || extreme { y } else { t.unary(Unary::Rint, y)? };
        t.cast(y, dtype)
    }
}

impl PadMode {
    /// By NumPy's name, for those that take no values.
    pub fn by_name(name: &str) -> Option<PadMode> {
        Some(match name {
            "edge" => PadMode::Edge,
            "reflect" => PadMode::Reflect,
            "symmetric" => PadMode::Symmetric,
            "wrap" => PadMode::Wrap,
            _ => return None,
        })
    }

    /// Which element of an axis of length n lies at place i, which may be outside.
    fn source(&self, i: i64, n: i64) -> i64 {
        match self {
            PadMode::Wrap => i.rem_euclid(n),
            PadMode::Symmetric => {
                let k = i.rem_euclid(2 * n);
                k.min(2 * n - 1 - k)
            }
            PadMode::Reflect if n > 1 => {
                let k = i.rem_euclid(2 * n - 2);
                k.min(2 * n - 2 - k)
            }
            _ => i.clamp(0, n - 1),
        }
    }
}

/// `widths`: (before, after) for each axis.
pub fn pad(t: &mut Tape, x: NodeId, widths: &[[usize; 2]], mode: &PadMode) -> Result<NodeId> {
    let from = t.shape(x).clone();
    if widths.len() != from.len() {
        return Err(Error::Value(format!(
            "pad: {} pairs of widths do not match an array of shape {}",
            widths.len(),
            shape::show(&from)
        )));
    }
    let given = match mode {
        PadMode::Statistic(_, lengths) => lengths.len(),
        PadMode::LinearRamp(ends) => ends.len(),
        _ => from.len(),
    };
    if given != from.len() {
        return Err(Error::Value(format!("pad: {given} pairs for {} axes", from.len())));
    }
    if let PadMode::Constant(values) = mode {
        return pad_constant(t, x, widths, values);
    }
    let mut y = x;
    for (a, &[before, after]) in widths.iter().enumerate() {
        if before + after == 0 {
            continue;
        }
        let n = from[a] as i64;
        if n == 0 {
            return Err(Error::Value(format!(
                "pad: can't extend empty axis {a} using modes other than 'constant' or 'empty'"
            )));
        }
        match mode {
            PadMode::Statistic(kind, lengths) => {
                y = pad_statistic(t, y, a, [before, after], *kind, lengths[a])?;
                continue;
            }
            PadMode::LinearRamp(ends) => {
                y = pad_ramp(t, y, a, [before, after], ends[a])?;
                continue;
            }
            PadMode::OddReflect | PadMode::OddSymmetric if n > 1 => {
                y = pad_odd(t, y, a, [before, after], *mode == PadMode::OddSymmetric)?;
                continue;
            }
            _ => (),
        }
        let places: Vec<i64> = (-(before as i64)..n + after as i64).map(|i| mode.source(i, n)).collect();
        let places = integers(t, &places)?;
        y = pick(t, y, places, a)?;
    }
    Ok(y)
}

fn pad_constant(t: &mut Tape, x: NodeId, widths: &[[usize; 2]], values: &[[Operand; 2]]) -> Result<NodeId> {
    if values.len() != widths.len() {
        return Err(Error::Value(format!("pad: {} pairs of values for {} axes", values.len(), widths.len())));
    }
    let (dtype, from) = (t.dtype(x), t.shape(x).clone());
    if values.iter().flatten().all(|v| v.number() == Some(0.0)) {
        let start: SmallVec<[i64; 4]> = widths.iter().map(|w| w[0] as i64).collect();
        let to: Shape = from.iter().zip(widths).map(|(n, w)| w[0] + n + w[1]).collect();
        if to == from {
            return Ok(x);
        }
        return t.assemble(&to, vec![Window::at(&start)], &[x]);
    }
    // axis by axis, so that the last axis decides the corners
    let mut y = x;
    for (a, (&w, v)) in widths.iter().zip(values).enumerate() {
        let mut pieces: SmallVec<[NodeId; 3]> = SmallVec::new();
        let side = |t: &mut Tape, k: usize, y: NodeId| {
            let to = with_length(t.shape(y), a, w[k]);
            let own = v[k].shape(t);
            if !own.is_empty() {
                return Err(Error::Value(format!("pad: a constant of shape {}", shape::show(&own))));
            }
            materialise(t, v[k], dtype, &to)
        };
        if w[0] > 0 {
            pieces.push(side(t, 0, y)?);
        }
        pieces.push(y);
        if w[1] > 0 {
            pieces.push(side(t, 1, y)?);
        }
        y = t.concatenate(&pieces, a)?;
    }
    Ok(y)
}

/// `y` between what lies in front of it and behind it, where there is something.
fn between(t: &mut Tape, before: Option<NodeId>, y: NodeId, after: Option<NodeId>, a: usize) -> Result<NodeId> {
    let pieces: SmallVec<[NodeId; 3]> = [before, Some(y), after].into_iter().flatten().collect();
    t.concatenate(&pieces, a)
}

fn pad_statistic(
    t: &mut Tape,
    y: NodeId,
    a: usize,
    widths: [usize; 2],
    kind: Statistic,
    lengths: [Option<usize>; 2],
) -> Result<NodeId> {
    let n = t.shape(y)[a];
    let mut sides = [None; 2];
    for (k, side) in sides.iter_mut().enumerate().filter(|(k, _)| widths[*k] > 0) {
        let length = lengths[k].map_or(n, |l| l.min(n));
        let end = part(t, y, a, if k == 0 { 0 } else { n - length }, length)?;
        let value = kind.of(t, end, a)?;
        let to = with_length(t.shape(y), a, widths[k]);
        *side = Some(t.broadcast_to(value, &to)?);
    }
    between(t, sides[0], y, sides[1], a)
}

/// By `linspace`: computed in float64, and rounded down for integers.
fn pad_ramp(t: &mut Tape, y: NodeId, a: usize, widths: [usize; 2], ends: [Operand; 2]) -> Result<NodeId> {
    let (n, dtype) = (t.shape(y)[a], t.dtype(y));
    let float = if dtype.is_complex() { dtype } else { DType::F64 };
    let mut sides = [None; 2];
    for (k, side) in sides.iter_mut().enumerate().filter(|(k, _)| widths[*k] > 0) {
        let width = widths[k];
        let own = ends[k].shape(t);
        if !own.is_empty() {
            return Err(Error::Value(format!("pad: an end value of shape {}", shape::show(&own))));
        }
        let edge = part(t, y, a, if k == 0 { 0 } else { n - 1 }, 1)?;
        let edge = t.cast(edge, float)?;
        let to = with_length(t.shape(y), a, width);
        let end = materialise(t, ends[k], float, t.shape(edge).clone().as_slice())?;
        let step = t.sub(edge, end)?;
        let steps = t.lit_like(width as f64, step)?;
        let step = t.div(step, steps)?;
        // counted from the outer end
        let count = t.iota(&to, a)?;
        let mut count = t.cast(count, float)?;
        if k == 1 {
            let from_end = t.neg(count)?;
            count = t.shift(from_end, (width - 1) as f64)?;
        }
        let (step, end) = (t.broadcast_to(step, &to)?, t.broadcast_to(end, &to)?);
        let ramp = t.mul(count, step)?;
        let ramp = t.add(ramp, end)?;
        let ramp = if dtype.is_inexact() { ramp } else { t.unary(Unary::Floor, ramp)? };
        *side = Some(t.cast(ramp, dtype)?);
    }
    between(t, sides[0], y, sides[1], a)
}

/// As NumPy does it: each turn mirrors as much as there is about the edges that there are.
fn pad_odd(t: &mut Tape, y: NodeId, a: usize, widths: [usize; 2], with_edge: bool) -> Result<NodeId> {
    let dtype = t.dtype(y);
    let original = t.shape(y)[a];
    let (mut y, mut left) = (y, widths);
    while left != [0, 0] {
        let n = t.shape(y)[a];
        // whole periods of the original array
        let longest = if with_edge { n / original * original } else { (n - 1) / (original - 1) * (original - 1) };
        let skip = usize::from(!with_edge);
        let mut sides = [None; 2];
        for (k, side) in sides.iter_mut().enumerate() {
            if left[k] == 0 {
                continue;
            }
            let length = longest.min(left[k]);
            let mirrored = part(t, y, a, if k == 0 { skip } else { n - skip - length }, length)?;
            let mirrored = super::shape::flip(t, mirrored, Some(&[a as i64]))?;
            let edge = part(t, y, a, if k == 0 { 0 } else { n - 1 }, 1)?;
            let to = t.shape(mirrored).clone();
            let edge = t.broadcast_to(edge, &to)?;
            let turned = if dtype == DType::Bool {
                // 2 edge - mirrored, as a truth value: whether they are not both 0
                t.binary(Binary::LogicalOr, edge, mirrored)?
            } else {
                let twice = t.add(edge, edge)?;
                t.sub(twice, mirrored)?
            };
            *side = Some(turned);
            left[k] -= length;
        }
        y = between(t, sides[0], y, sides[1], a)?;
    }
    Ok(y)
}
