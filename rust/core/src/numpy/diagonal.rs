//! Diagonals and triangles.

use smallvec::SmallVec;

use super::axes::axis;
use super::reduce::accumulator;
use super::shape::{ravel, to_back};
use crate::ops::Window;
use crate::tape::{NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// A vector as the k-th diagonal of a matrix of zeros; of a matrix, its k-th diagonal.
pub fn diag(t: &mut Tape, x: NodeId, k: i64) -> Result<NodeId> {
    match t.rank(x) {
        1 => {
            let n = t.shape(x)[0].saturating_add(usize::try_from(k.unsigned_abs()).unwrap_or(usize::MAX));
            let all = shape::checked_size(&[n, n])
                .ok_or_else(|| Error::Memory(format!("diag: a matrix of shape ({n}, {n}) is too large to address")))?;
            let first = if k >= 0 { k } else { -k * n as i64 };
            if t.shape(x)[0] == 0 {
                return t.literal(0.0, &[n, n], t.dtype(x));
            }
            let w = Window { start: SmallVec::from_slice(&[first]), step: SmallVec::from_slice(&[n as i64 + 1]) };
            let flat = t.assemble(&[all], vec![w], &[x])?;
            t.reshape(flat, &[n, n])
        }
        2 => diagonal(t, x, k, 0, 1),
        rank => Err(Error::Value(format!("diag: input must be 1- or 2-d, got {rank} dimensions"))),
    }
}

pub fn diagflat(t: &mut Tape, x: NodeId, k: i64) -> Result<NodeId> {
    let flat = ravel(t, x)?;
    diag(t, flat, k)
}

/// The diagonals of the matrices in two axes, as the last axis of the result.
pub fn diagonal(t: &mut Tape, x: NodeId, offset: i64, axis1: i64, axis2: i64) -> Result<NodeId> {
    if t.rank(x) < 2 {
        return Err(Error::Value("diagonal: requires an array of at least two dimensions".into()));
    }
    let (a, b) = (axis(t, "diagonal", x, axis1)?, axis(t, "diagonal", x, axis2)?);
    if a == b {
        return Err(Error::Value(format!("diagonal: axis1 and axis2 cannot be the same, got {axis1} and {axis2}")));
    }
    let (y, _) = to_back(t, x, &[a as u8, b as u8])?;
    let mut flat: Shape = t.shape(y).clone();
    let (columns, rows) = (flat.pop().unwrap_or(1), flat.pop().unwrap_or(1));
    let (row, column) = if offset >= 0 { (0, offset as usize) } else { (offset.unsigned_abs() as usize, 0) };
    let length = rows.saturating_sub(row).min(columns.saturating_sub(column));
    let mut w = Window::at(&SmallVec::<[i64; 4]>::from_elem(0, flat.len() + 1));
    if length > 0 {
        w.start[flat.len()] = (row * columns + column) as i64;
        w.step[flat.len()] = columns as i64 + 1;
    }
    let mut to = flat.clone();
    flat.push(rows * columns);
    to.push(length);
    let y = t.reshape(y, &flat)?;
    t.slice(y, Box::new(w), &to)
}

pub fn trace(t: &mut Tape, x: NodeId, offset: i64, axis1: i64, axis2: i64) -> Result<NodeId> {
    let d = diagonal(t, x, offset, axis1, axis2)?;
    let d = accumulator(t, "trace", d)?;
    let last = t.rank(d) as u8 - 1;
    t.sum(d, &[last])
}

/// The lower (or upper) triangles, from the k-th diagonal on. A vector is taken as every row of a matrix.
fn triangle(t: &mut Tape, x: NodeId, lower: bool, k: i64) -> Result<NodeId> {
    let x = match t.shape(x).as_slice() {
        [] => {
            return Err(Error::Value(format!("{}: needs at least one dimension", if lower { "tril" } else { "triu" })));
        }
        &[n] => t.broadcast_to(x, &[n, n])?,
        _ => x,
    };
    t.triangle(x, lower, k)
}

pub fn tril(t: &mut Tape, x: NodeId, k: i64) -> Result<NodeId> {
    triangle(t, x, true, k)
}

pub fn triu(t: &mut Tape, x: NodeId, k: i64) -> Result<NodeId> {
    triangle(t, x, false, k)
}
