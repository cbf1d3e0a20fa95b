//! Orders and places: sort, argsort, take, take_along_axis, searchsorted, interp.

use super::axes::along;
use super::index::{self, Index, pick};
use super::operand::{Operand, float_of, known_integer, materialise, result_dtype};
use super::shape::to_back;
use crate::ops::{Binary, Unary};
use crate::tape::{DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// The stable permutation that sorts along an axis; of the flattened array for None.
pub fn argsort(t: &mut Tape, x: NodeId, axis: Option<i64>) -> Result<NodeId> {
    let (x, a) = along(t, "argsort", x, axis)?;
    let (y, undo) = to_back(t, x, &[a as u8])?;
    let order = t.argsort(y)?;
    t.transpose(order, &undo)
}

/// Sorted along an axis, nan last; of the flattened array for None.
pub fn sort(t: &mut Tape, x: NodeId, axis: Option<i64>) -> Result<NodeId> {
    let (x, a) = along(t, "sort", x, axis)?;
    let (y, undo) = to_back(t, x, &[a as u8])?;
    let order = t.argsort(y)?;
    let sorted = pick_last(t, y, order)?;
    t.transpose(sorted, &undo)
}

/// Element i of each last axis, for indices in range whose other axes are those of `x`.
fn pick_last(t: &mut Tape, x: NodeId, i: NodeId) -> Result<NodeId> {
    let to = t.shape(i).clone();
    let n = t.shape(x)[to.len() - 1];
    let mut row: Option<NodeId> = None;
    for (a, &d) in to[..to.len() - 1].iter().enumerate() {
        let lane = t.iota(&to, a)?;
        row = Some(match row {
            None => lane,
            Some(r) => {
                let r = t.scale(r, d as f64)?;
                t.add(r, lane)?
            }
        });
    }
    let row = match row {
        None => i,
        Some(r) => {
            let r = t.scale(r, n as f64)?;
            t.add(r, i)?
        }
    };
    let flat = super::shape::ravel(t, x)?;
    t.gather(flat, row)
}

/// What `take` does with indices out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Raise,
    Wrap,
    Clip,
}

impl Mode {
    pub fn by_name(name: &str) -> Option<Mode> {
        Some(match name {
            "raise" => Mode::Raise,
            "wrap" => Mode::Wrap,
            "clip" => Mode::Clip,
            _ => return None,
        })
    }
}

/// Integer indices in int64.
fn indices(t: &mut Tape, what: &str, i: Operand) -> Result<NodeId> {
    if !i.dtype(t).is_integer() {
        return Err(Error::Type(format!(
            "{what}: indices must be integers, got {}; use .astype(np.int64)",
            i.dtype(t)
        )));
    }
    let own = i.shape(t);
    materialise(t, i, DType::I64, &own)
}

/// Elements of an axis (of the flattened array for None) by index.
pub fn take(t: &mut Tape, x: NodeId, i: Operand, axis: Option<i64>, mode: Mode) -> Result<NodeId> {
    let (x, a) = along(t, "take", x, axis)?;
    let n = t.shape(x)[a];
    let i = indices(t, "take", i)?;
    if n == 0 && shape::size(t.shape(i)) > 0 {
        return Err(Error::Index(format!("take: cannot do a non-empty take from axis {a} of length 0")));
    }
    let i = match mode {
        Mode::Raise => {
            let whole = Index::Slice { start: None, stop: None, step: None };
            let mut expression = vec![whole; a];
            expression.push(Index::Array(i));
            return index::get(t, x, &expression);
        }
        Mode::Wrap => {
            let size = t.lit_like(n as f64, i)?;
            t.binary(Binary::Remainder, i, size)?
        }
        Mode::Clip => {
            let (zero, last) = (t.lit_like(0.0, i)?, t.lit_like(n as f64 - 1.0, i)?);
            let i = t.binary(Binary::Maximum, i, zero)?;
            t.binary(Binary::Minimum, i, last)?
        }
    };
    pick(t, x, i, a)
}

/// Elements by indices of the same number of axes, which are broadcast against `x` but for one axis.
pub fn take_along_axis(t: &mut Tape, x: NodeId, i: NodeId, axis: Option<i64>) -> Result<NodeId> {
    if !t.dtype(i).is_integer() {
        return Err(Error::Index(format!("take_along_axis: `indices` must be an integer array, got {}", t.dtype(i))));
    }
    let (x, a) = along(t, "take_along_axis", x, axis)?;
    let (from, is) = (t.shape(x).clone(), t.shape(i).clone());
    if from.len() != is.len() {
        return Err(Error::Value(format!(
            "take_along_axis: `indices` and `arr` must have the same number of dimensions, got {} and {}",
            is.len(),
            from.len()
        )));
    }
    let (mut one, mut other) = (from.clone(), is.clone());
    one[a] = 1;
    other[a] = 1;
    let mut common = shape::broadcast("take_along_axis", &[&one, &other])?;
    let n = from[a];
    if let Some(k) = known_integer(t, i, |k| k < -(n as i64) || k >= n as i64) {
        return Err(Error::Index(format!("index {k} is out of bounds for axis {a} with size {n}")));
    }
    common[a] = n;
    let x = t.broadcast_to(x, &common)?;
    common[a] = is[a];
    let i = t.broadcast_to(i, &common)?;
    let i = t.cast(i, DType::I64)?;
    let i = t.check_index(i, n)?;
    let (x, undo) = to_back(t, x, &[a as u8])?;
    let (i, _) = to_back(t, i, &[a as u8])?;
    let y = pick_last(t, x, i)?;
    t.transpose(y, &undo)
}

/// Where the elements of `v` would go into the ascending vector `sorted`.
pub fn searchsorted(t: &mut Tape, sorted: NodeId, v: Operand, right: bool) -> Result<NodeId> {
    if t.rank(sorted) != 1 {
        return Err(Error::Value(format!(
            "searchsorted: the sorted array must be 1-dimensional, got shape {}",
            shape::show(t.shape(sorted))
        )));
    }
    let dtype = match result_dtype(t, &[sorted.into(), v])? {
        DType::Bool => DType::U8,
        d => d,
    };
    let sorted = t.cast(sorted, dtype)?;
    let own = v.shape(t);
    let v = materialise(t, v, dtype, &own)?;
    t.searchsorted(sorted, v, right)
}

/// Piecewise linear interpolation through (xp, fp), xp ascending; `left` and `right` outside, the end values for None.
pub fn interp(
    t: &mut Tape,
    x: Operand,
    xp: NodeId,
    fp: NodeId,
    left: Option<Operand>,
    right: Option<Operand>,
) -> Result<NodeId> {
    let (p, f) = (t.shape(xp).clone(), t.shape(fp).clone());
    if p.len() != 1 || p != f {
        return Err(Error::Value(format!(
            "interp: fp and xp must be vectors of the same length, got shapes {} and {}",
            shape::show(&f),
            shape::show(&p)
        )));
    }
    let n = p[0];
    if n == 0 {
        return Err(Error::Value("interp: array of sample points is empty".into()));
    }
    // NumPy interpolates in float64 always
    for d in [x.dtype(t), t.dtype(xp), t.dtype(fp)] {
        float_of("interp", d)?;
    }
    let to: Shape = x.shape(t);
    let x = materialise(t, x, DType::F64, &to)?;
    let (xp, fp) = (t.cast(xp, DType::F64)?, t.cast(fp, DType::F64)?);
    let end = |t: &mut Tape, at: usize| -> Result<NodeId> {
        let y = super::shape::part(t, fp, 0, at, 1)?;
        let y = t.reshape(y, &[])?;
        t.broadcast_to(y, &to)
    };
    let mut y = if n == 1 {
        end(t, 0)?
    } else {
        let place = t.searchsorted(xp, x, true)?;
        let (zero, one) = (t.lit_like(0.0, place)?, t.lit_like(1.0, place)?);
        let last = t.lit_like(n as f64 - 2.0, place)?;
        let low = t.sub(place, one)?;
        let low = t.binary(Binary::Maximum, low, zero)?;
        let low = t.binary(Binary::Minimum, low, last)?;
        let high = t.add(low, one)?;
        let (x0, x1, y0, y1) = (t.gather(xp, low)?, t.gather(xp, high)?, t.gather(fp, low)?, t.gather(fp, high)?);
        let (run, rise, at) = (t.sub(x1, x0)?, t.sub(y1, y0)?, t.sub(x, x0)?);
        let slope = t.div(rise, run)?;
        let step = t.mul(slope, at)?;
        let y = t.add(y0, step)?;
        // a jump at the last point
        let nothing = t.lit_like(0.0, run)?;
        let jump = t.equal(run, nothing)?;
        t.select(jump, y1, y)?
    };
    for (at, op, given) in [(n - 1, Binary::Greater, right), (0, Binary::Less, left)] {
        let edge = super::shape::part(t, xp, 0, at, 1)?;
        let edge = t.reshape(edge, &[])?;
        let edge = t.broadcast_to(edge, &to)?;
        let beyond = t.binary(op, x, edge)?;
        let v = match given {
            None => end(t, at)?,
            Some(v) => materialise(t, v, DType::F64, &to)?,
        };
        y = t.select(beyond, v, y)?;
    }
    let nan = t.unary(Unary::IsNan, x)?;
    t.select(nan, x, y)
}

/// Where elements differ from 0, one int64 vector an axis; `count` is how many do.
pub fn nonzero(t: &mut Tape, x: NodeId, count: usize) -> Result<Vec<NodeId>> {
    let from = t.shape(x).clone();
    if from.is_empty() {
        return Err(Error::Value("nonzero: calling nonzero on 0d arrays is not allowed; use np.atleast_1d".into()));
    }
    let mask = super::ufunc::truth(t, x.into(), &from)?;
    let flat = super::shape::ravel(t, mask)?;
    let mut rest = t.nonzero(flat, count)?;
    let mut out = Vec::with_capacity(from.len());
    for &n in from.iter().rev() {
        let n = t.lit_like(n.max(1) as f64, rest)?;
        out.push(t.binary(Binary::Remainder, rest, n)?);
        rest = t.binary(Binary::FloorDivide, rest, n)?;
    }
    out.reverse();
    Ok(out)
}
