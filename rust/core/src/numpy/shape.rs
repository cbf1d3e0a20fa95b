//! The same elements in another shape or order: reshape, transposes, axes of length 1, broadcasts, flips and rolls.

use smallvec::SmallVec;

use super::axes::{along, axis, distinct, inverse, with_length};
use super::operand::{Operand, broadcast_shape};
use crate::ops::Window;
use crate::tape::{Axes, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// The shape that `to`, of which one length may be -1, means for `size` elements.
pub fn resolve_reshape(size: usize, to: &[i64]) -> Result<Shape> {
    let fail = || {
        let lengths: Vec<String> = to.iter().map(|&d| if d < 0 { "-1".into() } else { d.to_string() }).collect();
        let comma = if to.len() == 1 { "," } else { "" };
        Error::Value(format!("reshape: cannot reshape array of size {size} into shape ({}{comma})", lengths.join(", ")))
    };
    if to.iter().filter(|&&d| d < 0).count() > 1 {
        return Err(Error::Value("reshape: can only specify one unknown dimension".into()));
    }
    let mut known = 1usize;
    for &d in to.iter().filter(|&&d| d >= 0) {
        known = known.checked_mul(d as usize).ok_or_else(fail)?;
    }
    let unknown = to.iter().any(|&d| d < 0);
    let fits = if unknown { known != 0 && size.is_multiple_of(known) } else { known == size };
    if !fits {
        return Err(fail());
    }
    Ok(to.iter().map(|&d| if d < 0 { size / known } else { d as usize }).collect())
}

pub fn reshape(t: &mut Tape, x: NodeId, to: &[i64]) -> Result<NodeId> {
    let to = resolve_reshape(shape::size(t.shape(x)), to)?;
    t.reshape(x, &to)
}

pub fn ravel(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let n = shape::size(t.shape(x));
    t.reshape(x, &[n])
}

/// The permutation that `transpose(axes)` means; reversed for None.
pub fn permutation(rank: usize, axes: Option<&[i64]>) -> Result<Axes> {
    let Some(axes) = axes else { return Ok((0..rank as u8).rev().collect()) };
    if axes.len() != rank {
        return Err(Error::Value(format!("transpose: axes {axes:?} don't match an array of dimension {rank}")));
    }
    distinct("transpose", axes, rank)
}

pub fn transpose(t: &mut Tape, x: NodeId, axes: Option<&[i64]>) -> Result<NodeId> {
    let p = permutation(t.rank(x), axes)?;
    t.transpose(x, &p)
}

pub fn matrix_transpose(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    if t.rank(x) < 2 {
        return Err(Error::Value(format!(
            "matrix_transpose: input array must be at least 2-dimensional, but it is {}",
            t.rank(x)
        )));
    }
    t.matrix_transpose(x)
}

/// The permutation that swaps two axes.
pub fn swap_permutation(rank: usize, a: i64, b: i64) -> Result<Axes> {
    let (a, b) = (shape::axis("swapaxes", a, rank)?, shape::axis("swapaxes", b, rank)?);
    let mut p: Axes = (0..rank as u8).collect();
    p.swap(a, b);
    Ok(p)
}

pub fn swapaxes(t: &mut Tape, x: NodeId, a: i64, b: i64) -> Result<NodeId> {
    let p = swap_permutation(t.rank(x), a, b)?;
    t.transpose(x, &p)
}

/// The permutation that moves the axes `from` to the places `to`, the others in order.
pub fn move_permutation(rank: usize, from: &[i64], to: &[i64]) -> Result<Axes> {
    if from.len() != to.len() {
        return Err(Error::Value(format!(
            "moveaxis: source {from:?} and destination {to:?} must have the same number of elements"
        )));
    }
    let (from, to) = (distinct("moveaxis", from, rank)?, distinct("moveaxis", to, rank)?);
    let mut p: Axes = (0..rank as u8).filter(|a| !from.contains(a)).collect();
    let mut pairs: SmallVec<[(u8, u8); 4]> = to.iter().copied().zip(from.iter().copied()).collect();
    pairs.sort_unstable();
    for (place, a) in pairs {
        p.insert(place as usize, a);
    }
    Ok(p)
}

pub fn moveaxis(t: &mut Tape, x: NodeId, from: &[i64], to: &[i64]) -> Result<NodeId> {
    let p = move_permutation(t.rank(x), from, to)?;
    t.transpose(x, &p)
}

/// The permutation that rolls `axis` backwards until it lies before `start`.
pub fn rollaxis_permutation(rank: usize, axis: i64, start: i64) -> Result<Axes> {
    let a = shape::axis("rollaxis", axis, rank)?;
    let mut s = shape::axis("rollaxis", start, rank + 1)?;
    if a < s {
        s -= 1;
    }
    let mut p: Axes = (0..rank as u8).filter(|&k| k as usize != a).collect();
    p.insert(s, a as u8);
    Ok(p)
}

/// The shape without the axes, which must have length 1; without all such axes for None.
pub fn squeezed(from: &[usize], axes: Option<&[i64]>) -> Result<Shape> {
    let axes: Axes = match axes {
        None => (0..from.len()).filter(|&a| from[a] == 1).map(|a| a as u8).collect(),
        Some(axes) => distinct("squeeze", axes, from.len())?,
    };
    if let Some(&a) = axes.iter().find(|&&a| from[a as usize] != 1) {
        return Err(Error::Value(format!(
            "squeeze: cannot select an axis to squeeze out which has size not equal to one: axis {a} of shape {}",
            shape::show(from)
        )));
    }
    Ok(shape::without(from, &axes))
}

pub fn squeeze(t: &mut Tape, x: NodeId, axes: Option<&[i64]>) -> Result<NodeId> {
    let to = squeezed(t.shape(x), axes)?;
    t.reshape(x, &to)
}

/// The shape with new axes of length 1 at these places of the result.
pub fn expanded(from: &[usize], axes: &[i64]) -> Result<Shape> {
    let rank = from.len() + axes.len();
    let axes = distinct("expand_dims", axes, rank)?;
    let mut rest = from.iter().copied();
    Ok((0..rank as u8).map(|a| if axes.contains(&a) { 1 } else { rest.next().unwrap_or(1) }).collect())
}

pub fn expand_dims(t: &mut Tape, x: NodeId, axes: &[i64]) -> Result<NodeId> {
    let to = expanded(t.shape(x), axes)?;
    t.reshape(x, &to)
}

pub fn broadcast_to(t: &mut Tape, x: NodeId, to: &[usize]) -> Result<NodeId> {
    t.broadcast_to(x, to)
}

pub fn broadcast_arrays(t: &mut Tape, args: &[Operand]) -> Result<Vec<NodeId>> {
    let to = broadcast_shape(t, "broadcast_arrays", args)?;
    args.iter()
        .map(|a| {
            let x = a.to_node(t)?;
            t.broadcast_to(x, &to)
        })
        .collect()
}

/// The shape of `atleast_1d`, `atleast_2d` or `atleast_3d`.
pub fn at_least(from: &[usize], rank: usize) -> Shape {
    match (from, rank) {
        ([n], 3) => [1, *n, 1].as_slice().into(),
        ([m, n], 3) => [*m, *n, 1].as_slice().into(),
        _ => {
            let mut to: Shape = SmallVec::from_elem(1, rank.saturating_sub(from.len()));
            to.extend_from_slice(from);
            to
        }
    }
}

pub fn atleast(t: &mut Tape, x: NodeId, rank: usize) -> Result<NodeId> {
    let to = at_least(t.shape(x), rank);
    t.reshape(x, &to)
}

/// The window of the whole array with these axes (all for None) reversed.
pub fn flip_window(from: &[usize], axes: Option<&[i64]>) -> Result<Window> {
    let axes = super::axes::reduced("flip", axes, from.len())?;
    let mut w = Window::at(&SmallVec::<[i64; 4]>::from_elem(0, from.len()));
    for &a in &axes {
        let n = from[a as usize] as i64;
        if n > 1 {
            w.start[a as usize] = n - 1;
            w.step[a as usize] = -1;
        }
    }
    Ok(w)
}

pub fn flip(t: &mut Tape, x: NodeId, axes: Option<&[i64]>) -> Result<NodeId> {
    let from = t.shape(x).clone();
    let w = flip_window(&from, axes)?;
    t.slice(x, Box::new(w), &from)
}

/// Elements move on by the shifts along the axes, and come in again at the other end. Flattened for no axes.
pub fn roll(t: &mut Tape, x: NodeId, shifts: &[i64], axes: Option<&[i64]>) -> Result<NodeId> {
    let Some(axes) = axes else {
        let from = t.shape(x).clone();
        let (flat, _) = along(t, "roll", x, None)?;
        let y = roll(t, flat, shifts, Some(&[0]))?;
        return t.reshape(y, &from);
    };
    if shifts.len() != axes.len() && shifts.len() != 1 && axes.len() != 1 {
        return Err(Error::Value(format!("roll: {} shifts do not match {} axes", shifts.len(), axes.len())));
    }
    let mut y = x;
    for k in 0..shifts.len().max(axes.len()) {
        let (shift, a) = (shifts[if shifts.len() == 1 { 0 } else { k }], axes[if axes.len() == 1 { 0 } else { k }]);
        let a = axis(t, "roll", x, a)?;
        let n = t.shape(x)[a];
        if n > 0 {
            y = roll_one(t, y, shift.rem_euclid(n as i64) as usize, a)?;
        }
    }
    Ok(y)
}

fn roll_one(t: &mut Tape, x: NodeId, shift: usize, axis: usize) -> Result<NodeId> {
    if shift == 0 {
        return Ok(x);
    }
    let from = t.shape(x).clone();
    let n = from[axis];
    let last = part(t, x, axis, n - shift, shift)?;
    let first = part(t, x, axis, 0, n - shift)?;
    t.concatenate(&[last, first], axis)
}

/// `length` elements of an axis from `start` on.
pub(crate) fn part(t: &mut Tape, x: NodeId, axis: usize, start: usize, length: usize) -> Result<NodeId> {
    let from = t.shape(x).clone();
    let mut w = Window::at(&SmallVec::<[i64; 4]>::from_elem(0, from.len()));
    w.start[axis] = start as i64;
    t.slice(x, Box::new(w), &with_length(&from, axis, length))
}

/// By `k` quarter turns in the plane of two axes, from the first to the second.
pub fn rot90(t: &mut Tape, x: NodeId, k: i64, axes: (i64, i64)) -> Result<NodeId> {
    let (a, b) = (axis(t, "rot90", x, axes.0)?, axis(t, "rot90", x, axes.1)?);
    if a == b {
        return Err(Error::Value(format!("rot90: axes must be different, got {} and {}", axes.0, axes.1)));
    }
    match k.rem_euclid(4) {
        0 => Ok(x),
        1 => {
            let y = flip(t, x, Some(&[b as i64]))?;
            swapaxes(t, y, a as i64, b as i64)
        }
        2 => flip(t, x, Some(&[a as i64, b as i64])),
        _ => {
            let y = swapaxes(t, x, a as i64, b as i64)?;
            flip(t, y, Some(&[b as i64]))
        }
    }
}

/// The axes `back` come last, in order, after the others. And how to undo it.
pub(crate) fn to_back(t: &mut Tape, x: NodeId, back: &[u8]) -> Result<(NodeId, Axes)> {
    let perm: Axes = (0..t.rank(x) as u8).filter(|a| !back.contains(a)).chain(back.iter().copied()).collect();
    let undo = inverse(&perm);
    Ok((t.transpose(x, &perm)?, undo))
}
