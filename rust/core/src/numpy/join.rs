//! Arrays put together and taken apart: concatenate, stack and their kin, split, tile, repeat.

use smallvec::SmallVec;

use super::axes::{along, axis, with_length};
use super::index::{pick, resolve_slice};
use super::operand::{Operand, array_dtype, integers, materialise};
use super::shape::{at_least, ravel};
use crate::ops::Window;
use crate::tape::{NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// The operands in their common dtype, each in its own shape.
fn promoted(t: &mut Tape, what: &str, args: &[Operand]) -> Result<Vec<NodeId>> {
    if args.is_empty() {
        return Err(Error::Value(format!("{what}: need at least one array to {what}")));
    }
    let dtype = array_dtype(t, args)?;
    args.iter()
        .map(|&a| {
            let own = a.shape(t);
            materialise(t, a, dtype, &own)
        })
        .collect()
}

/// One after the other along an axis; flattened for None.
pub fn concatenate(t: &mut Tape, args: &[Operand], along: Option<i64>) -> Result<NodeId> {
    let mut pieces = promoted(t, "concatenate", args)?;
    if along.is_none() {
        for p in &mut pieces {
            *p = ravel(t, *p)?;
        }
    }
    joined(t, &pieces, along.unwrap_or(0))
}

fn joined(t: &mut Tape, pieces: &[NodeId], along: i64) -> Result<NodeId> {
    let first = t.shape(pieces[0]).clone();
    if first.is_empty() {
        return Err(Error::Value("concatenate: zero-dimensional arrays cannot be concatenated; use stack".into()));
    }
    let a = shape::axis("concatenate", along, first.len())?;
    for (k, &p) in pieces.iter().enumerate() {
        let s = t.shape(p);
        if s.len() != first.len() {
            return Err(Error::Value(format!(
                "concatenate: all the input arrays must have same number of dimensions, but the array at index 0 has {} \
                 dimension(s) and the array at index {k} has {} dimension(s)",
                first.len(),
                s.len()
            )));
        }
        if let Some(d) = (0..s.len()).find(|&d| d != a && s[d] != first[d]) {
            return Err(Error::Value(format!(
                "concatenate: all the input array dimensions except for the concatenation axis must match exactly, but \
                 along dimension {d}, the array at index 0 has size {} and the array at index {k} has size {}",
                first[d], s[d]
            )));
        }
    }
    t.concatenate(pieces, a)
}

/// Joined along a new axis.
pub fn stack(t: &mut Tape, args: &[Operand], along: i64) -> Result<NodeId> {
    let pieces = promoted(t, "stack", args)?;
    let first = t.shape(pieces[0]).clone();
    if let Some(&p) = pieces.iter().find(|&&p| *t.shape(p) != first) {
        return Err(Error::Value(format!(
            "stack: all input arrays must have the same shape, got {} and {}",
            shape::show(&first),
            shape::show(t.shape(p))
        )));
    }
    let a = shape::axis("stack", along, first.len() + 1)?;
    let mut to = first;
    to.insert(a, 1);
    let pieces: Vec<NodeId> = pieces.into_iter().map(|p| t.reshape(p, &to)).collect::<Result<_>>()?;
    t.concatenate(&pieces, a)
}

fn joined_at_least(t: &mut Tape, what: &str, args: &[Operand], rank: usize, along: Option<i64>) -> Result<NodeId> {
    let pieces = promoted(t, what, args)?;
    let mut wide = Vec::with_capacity(pieces.len());
    for p in pieces {
        let to = at_least(t.shape(p), rank);
        wide.push(t.reshape(p, &to)?);
    }
    let along = along.unwrap_or(if t.rank(wide[0]) == 1 { 0 } else { 1 });
    joined(t, &wide, along)
}

pub fn vstack(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    joined_at_least(t, "vstack", args, 2, Some(0))
}

pub fn hstack(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    joined_at_least(t, "hstack", args, 1, None)
}

pub fn dstack(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    joined_at_least(t, "dstack", args, 3, Some(2))
}

/// Vectors become columns.
pub fn column_stack(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    let mut pieces = promoted(t, "column_stack", args)?;
    for p in &mut pieces {
        if t.rank(*p) < 2 {
            let n = shape::size(t.shape(*p));
            *p = t.reshape(*p, &[n, 1])?;
        }
    }
    joined(t, &pieces, 1)
}

/// Where `split` cuts.
#[derive(Clone, Debug, PartialEq)]
pub enum Cuts {
    /// Into so many pieces.
    Into(usize),
    /// Before these places.
    At(Vec<i64>),
}

/// The windows and shapes of the pieces. `equal`: as `split`, which refuses pieces of different lengths.
pub fn split_windows(from: &[usize], cuts: &Cuts, along: i64, equal: bool) -> Result<Vec<(Window, Shape)>> {
    let what = if equal { "split" } else { "array_split" };
    let a = shape::axis(what, along, from.len())?;
    let n = from[a];
    let places: Vec<i64> = match cuts {
        Cuts::Into(0) => return Err(Error::Value(format!("{what}: number sections must be larger than 0"))),
        Cuts::Into(k) if equal && !n.is_multiple_of(*k) => {
            return Err(Error::Value(format!(
                "split: array split does not result in an equal division: axis {a} has length {n}, which is not a \
                 multiple of {k}; use array_split"
            )));
        }
        Cuts::Into(k) => (1..*k).map(|i| (i * (n / k) + i.min(n % k)) as i64).collect(),
        Cuts::At(places) => places.clone(),
    };
    let mut out = Vec::with_capacity(places.len() + 1);
    let mut start = Some(0);
    for stop in places.into_iter().map(Some).chain([None]) {
        let (first, _, length) = resolve_slice(start, stop, None, n)?;
        let mut w = Window::at(&SmallVec::<[i64; 4]>::from_elem(0, from.len()));
        w.start[a] = first;
        out.push((w, with_length(from, a, length)));
        start = stop;
    }
    Ok(out)
}

pub fn split(t: &mut Tape, x: NodeId, cuts: &Cuts, along: i64, equal: bool) -> Result<Vec<NodeId>> {
    let windows = split_windows(t.shape(x), cuts, along, equal)?;
    windows.into_iter().map(|(w, to)| t.slice(x, Box::new(w), &to)).collect()
}

/// `x` repeated as a whole, `reps` times along each axis.
pub fn tile(t: &mut Tape, x: NodeId, reps: &[usize]) -> Result<NodeId> {
    let rank = t.rank(x).max(reps.len());
    let mut from: Shape = SmallVec::from_elem(1, rank - t.rank(x));
    from.extend_from_slice(t.shape(x));
    let mut times: Shape = SmallVec::from_elem(1, rank - reps.len());
    times.extend_from_slice(reps);
    let (mut narrow, mut wide, mut to) = (Shape::new(), Shape::new(), Shape::new());
    for (&n, &r) in from.iter().zip(&times) {
        narrow.extend([1, n]);
        wide.extend([r, n]);
        to.push(r * n);
    }
    spread(t, x, &narrow, &wide, &to)
}

fn spread(t: &mut Tape, x: NodeId, narrow: &[usize], wide: &[usize], to: &[usize]) -> Result<NodeId> {
    if shape::checked_size(to).is_none() {
        return Err(Error::Memory(format!("an array of shape {} is too large to address", shape::show(to))));
    }
    let x = t.reshape(x, narrow)?;
    let x = t.broadcast_to(x, wide)?;
    t.reshape(x, to)
}

/// Each element `counts` times in a row: one count for all, or one for each place of the axis.
pub fn repeat(t: &mut Tape, x: NodeId, counts: &[i64], on: Option<i64>) -> Result<NodeId> {
    if let Some(c) = counts.iter().find(|&&c| c < 0) {
        return Err(Error::Value(format!("repeat: repeats may not contain negative values, got {c}")));
    }
    let (x, a) = along(t, "repeat", x, on)?;
    let from = t.shape(x).clone();
    if let [count] = *counts {
        let count = count as usize;
        let (mut narrow, mut wide) = (from.clone(), from.clone());
        narrow.insert(a + 1, 1);
        wide.insert(a + 1, count);
        return spread(t, x, &narrow, &wide, &with_length(&from, a, from[a] * count));
    }
    if counts.len() != from[a] {
        return Err(Error::Value(format!(
            "repeat: {} counts do not match axis {a} of shape {}; give one count, or one for each element",
            counts.len(),
            shape::show(&from)
        )));
    }
    let places: Vec<i64> =
        counts.iter().enumerate().flat_map(|(i, &c)| std::iter::repeat_n(i as i64, c as usize)).collect();
    let places = integers(t, &places)?;
    pick(t, x, places, a)
}

/// Elements of `x` along `on` are those at `places`, given as numbers.
pub fn take_places(t: &mut Tape, x: NodeId, places: &[i64], on: i64) -> Result<NodeId> {
    let a = axis(t, "take", x, on)?;
    let places = integers(t, places)?;
    pick(t, x, places, a)
}
