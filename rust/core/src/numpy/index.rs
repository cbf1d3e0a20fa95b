//! Index expressions: `x[i, 2:5, None, ..., mask]` read, written and added to, by NumPy's rules.
//!
//! An expression is taken apart into a basic part (one window and one reshape: a view) and, where there are index arrays,
//! a gather or scatter of rows of what the basic part leaves.

use smallvec::SmallVec;

use super::operand::{Operand, known_integer, materialise};
use crate::ops::Window;
use crate::tape::{Axes, DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// One entry of an index expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Index {
    Int(i64),
    Slice {
        start: Option<i64>,
        stop: Option<i64>,
        step: Option<i64>,
    },
    NewAxis,
    Ellipsis,
    /// Integers of any shape, traced or not.
    Array(NodeId),
    /// A bool array of any shape, and how many true elements it has. Only `set` gets by without the count, and only where
    /// `set_needs_counts` says so.
    Bool {
        mask: NodeId,
        count: Option<usize>,
    },
}

/// A step from an array to a view of it.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewStep {
    /// The window that has the lengths of the shape.
    Slice(Window, Shape),
    /// Axes of length 1 put in or taken out.
    Reshape(Shape),
    Transpose(Axes),
}

/// Whether the expression gives a view.
pub fn is_basic(index: &[Index]) -> bool {
    !index.iter().any(|i| matches!(i, Index::Array(_) | Index::Bool { .. }))
}

/// The steps from an array of shape `x` to the view that a basic expression gives. At most one slice and one reshape.
pub fn basic_view(x: &[usize], index: &[Index]) -> Result<Vec<ViewStep>> {
    if !is_basic(index) {
        return Err(Error::Internal("a view by index arrays".into()));
    }
    let p = Parsed::new(x, index, |_| Shape::new())?;
    let mut steps = Vec::new();
    if p.cuts(x) {
        steps.push(ViewStep::Slice(p.window.clone(), Shape::from_slice(&p.piece)));
    }
    let to = p.kept();
    if to != p.piece {
        steps.push(ViewStep::Reshape(to));
    }
    Ok(steps)
}

/// `x[index]`
pub fn get(t: &mut Tape, x: NodeId, index: &[Index]) -> Result<NodeId> {
    let p = Parsed::of(t, x, index)?;
    let y = t.slice(x, Box::new(p.window.clone()), &p.piece)?;
    if is_basic(index) {
        return t.reshape(y, &p.kept());
    }
    let rows = Rows::new(t, &p)?;
    let y = rows.arrange(t, y)?;
    t.gather(y, rows.index)
}

/// The array that `x` is after `x[index] = v`.
pub fn set(t: &mut Tape, x: NodeId, index: &[Index], v: impl Into<Operand>) -> Result<NodeId> {
    let v = v.into();
    let dtype = t.dtype(x);
    if dtype.is_float() && v.dtype(t).is_complex() {
        return Err(super::operand::no_complex("assignment"));
    }
    if !set_needs_counts(t, index, v)
        && let Some(mask) = whole_mask(t, x, index)?
    {
        return choose(t, x, mask, v);
    }
    let p = Parsed::of(t, x, index)?;
    let window = Box::new(p.window.clone());
    if is_basic(index) {
        let v = fitted(t, v, dtype, &p.kept())?;
        let v = t.reshape(v, &p.piece)?;
        return t.update(x, v, window);
    }
    let rows = Rows::new(t, &p)?;
    let v = fitted(t, v, dtype, &rows.taken)?;
    let piece = t.slice(x, window.clone(), &p.piece)?;
    let y = rows.arrange(t, piece)?;
    let y = t.scatter_set(y, rows.index, v)?;
    let y = rows.restore(t, y)?;
    let y = t.reshape(y, &p.piece)?;
    t.update(x, y, window)
}

/// The array that `x` is after `np.add.at(x, index, v)`: elements that are named twice are added to twice.
pub fn add_at(t: &mut Tape, x: NodeId, index: &[Index], v: impl Into<Operand>) -> Result<NodeId> {
    let v = v.into();
    let dtype = t.dtype(x);
    let p = Parsed::of(t, x, index)?;
    let window = Box::new(p.window.clone());
    let piece = t.slice(x, window.clone(), &p.piece)?;
    let y = if is_basic(index) {
        let v = fitted(t, v, dtype, &p.kept())?;
        let v = t.reshape(v, &p.piece)?;
        t.add(piece, v)?
    } else {
        let rows = Rows::new(t, &p)?;
        let v = fitted(t, v, dtype, &rows.taken)?;
        let arranged = rows.arrange(t, piece)?;
        let count = t.shape(arranged)[0];
        let y = t.scatter_add(rows.index, v, count)?;
        let y = t.add(arranged, y)?;
        let y = rows.restore(t, y)?;
        t.reshape(y, &p.piece)?
    };
    t.update(x, y, window)
}

/// Whether `set` must be told how many elements its bool arrays select. Not for `x[mask] = number`, which chooses
/// element by element.
pub fn set_needs_counts(t: &Tape, index: &[Index], v: impl Into<Operand>) -> bool {
    let mut masks = 0;
    let mut others = false;
    for i in index {
        match i {
            Index::Bool { mask, .. } => {
                masks += 1;
                others |= t.rank(*mask) == 0;
            }
            Index::Ellipsis => {}
            Index::Slice { start: None, stop: None, step: None | Some(1) } => {}
            _ => others = true,
        }
    }
    masks > 0 && !(masks == 1 && !others && shape::size(&v.into().shape(t)) == 1)
}

/// The one mask of an expression that is otherwise full slices, spread over `x`.
fn whole_mask(t: &mut Tape, x: NodeId, index: &[Index]) -> Result<Option<NodeId>> {
    let Some(&Index::Bool { mask, .. }) = index.iter().find(|i| matches!(i, Index::Bool { .. })) else {
        return Ok(None);
    };
    if t.rank(mask) == 0 {
        return Ok(None);
    }
    let p = Parsed::of(t, x, index)?;
    let from = t.shape(x).clone();
    let mut wide: Shape = SmallVec::new();
    for piece in &p.pieces {
        match piece {
            Piece::Kept(_) => wide.push(1),
            Piece::Advanced(_) => wide.extend(t.shape(mask).iter().copied()),
            Piece::Dropped => {}
        }
    }
    let mask = t.reshape(mask, &wide)?;
    Ok(Some(t.broadcast_to(mask, &from)?))
}

/// `v`, one element, where `mask` holds.
fn choose(t: &mut Tape, x: NodeId, mask: NodeId, v: Operand) -> Result<NodeId> {
    let (dtype, shape) = (t.dtype(x), t.shape(x).clone());
    let v = fitted(t, v, dtype, &[])?;
    let v = t.broadcast_to(v, &shape)?;
    t.select(mask, v, x)
}

/// `v` cast and broadcast for an assignment; leading axes of length 1 may be too many.
fn fitted(t: &mut Tape, v: Operand, dtype: DType, to: &[usize]) -> Result<NodeId> {
    let mut from = v.shape(t);
    let own: Shape = v.shape(t);
    while from.len() > to.len() && from[0] == 1 {
        from.remove(0);
    }
    let spreads = from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(&a, &b)| a == b || a == 1);
    if !spreads {
        return Err(Error::Value(format!(
            "could not broadcast input array from shape {} into shape {}",
            shape::show(&own),
            shape::show(to)
        )));
    }
    // a float number goes into an integer array as NumPy truncates it
    let v = match v {
        Operand::Float(f) if !dtype.is_inexact() && dtype != DType::Bool => {
            if !f.is_finite() {
                return Err(Error::Value(format!("cannot convert float {f} to {dtype}")));
            }
            Operand::Int(f.trunc() as i64)
        }
        v => v,
    };
    let v = materialise(t, v, dtype, &own)?;
    let v = t.reshape(v, &from)?;
    t.broadcast_to(v, to)
}

/// An axis of the piece that the window cuts out, or what stands for one.
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// A slice, or a new axis: stays in the result.
    Kept(usize),
    /// An integer: one element, which goes. Beside index arrays it counts as one of them.
    Dropped,
    /// An index array over an axis of this length (a mask: over all its axes as one).
    Advanced(usize),
}

/// An index expression resolved against a shape.
struct Parsed {
    window: Window,
    /// The lengths of the window: an axis for each of x's.
    piece: Shape,
    /// In the order of the expression.
    pieces: Vec<Piece>,
    /// The index arrays and the axis of x where each begins.
    arrays: Vec<(Index, usize)>,
    /// Between two of these (an index array or an integer) there is a slice, a new axis or an ellipsis.
    apart: bool,
}

impl Parsed {
    fn of(t: &Tape, x: NodeId, index: &[Index]) -> Result<Parsed> {
        for i in index {
            if let Index::Array(a) = i
                && !t.dtype(*a).is_integer()
            {
                return Err(Error::Index(format!(
                    "arrays used as indices must be of integer (or boolean) type, got {}; only integers, slices (`:`), \
                     ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays are valid indices",
                    t.dtype(*a)
                )));
            }
            if let Index::Bool { mask, .. } = i
                && t.dtype(*mask) != DType::Bool
            {
                return Err(Error::Internal(format!("a mask of {}", t.dtype(*mask))));
            }
        }
        Parsed::new(t.shape(x), index, |m| t.shape(m).clone())
    }

    fn new(x: &[usize], index: &[Index], mask_shape: impl Fn(NodeId) -> Shape) -> Result<Parsed> {
        let uses = |i: &Index| match i {
            Index::Int(_) | Index::Slice { .. } | Index::Array(_) => 1,
            Index::Bool { mask, .. } => mask_shape(*mask).len(),
            Index::NewAxis | Index::Ellipsis => 0,
        };
        let used: usize = index.iter().map(uses).sum();
        if used > x.len() {
            return Err(Error::Index(format!(
                "too many indices for array: array is {}-dimensional, but {used} were indexed",
                x.len()
            )));
        }
        if index.iter().filter(|i| matches!(i, Index::Ellipsis)).count() > 1 {
            return Err(Error::Index("an index can only have a single ellipsis ('...')".into()));
        }
        let rest = x.len() - used;
        let mut p = Parsed {
            window: Window::at(&SmallVec::<[i64; 4]>::from_elem(0, x.len())),
            piece: x.into(),
            pieces: Vec::with_capacity(index.len() + rest),
            arrays: Vec::new(),
            apart: false,
        };
        let mut axis = 0;
        // 0 before the first index array, 1 among them, 2 after a gap
        let mut among = 0;
        let mut note = |advanced: bool, apart: &mut bool| match (advanced, among) {
            (true, 2) => *apart = true,
            (true, _) => among = 1,
            (false, 1) => among = 2,
            _ => {}
        };
        let ellipsis = [Index::Ellipsis];
        let tail: &[Index] = if index.contains(&Index::Ellipsis) { &[] } else { &ellipsis };
        for i in index.iter().chain(tail) {
            match *i {
                Index::Int(k) => {
                    note(true, &mut p.apart);
                    let n = x[axis] as i64;
                    if k < -n || k >= n {
                        return Err(out_of_bounds(k, axis, x[axis]));
                    }
                    p.window.start[axis] = if k < 0 { k + n } else { k };
                    p.piece[axis] = 1;
                    p.pieces.push(Piece::Dropped);
                    axis += 1;
                }
                Index::Slice { start, stop, step } => {
                    note(false, &mut p.apart);
                    let (start, step, length) = resolve_slice(start, stop, step, x[axis])?;
                    p.window.start[axis] = start;
                    p.window.step[axis] = step;
                    p.piece[axis] = length;
                    p.pieces.push(Piece::Kept(length));
                    axis += 1;
                }
                Index::NewAxis => {
                    note(false, &mut p.apart);
                    p.pieces.push(Piece::Kept(1));
                }
                Index::Ellipsis => {
                    note(false, &mut p.apart);
                    p.pieces.extend(x[axis..axis + rest].iter().map(|&n| Piece::Kept(n)));
                    axis += rest;
                }
                Index::Array(_) => {
                    note(true, &mut p.apart);
                    p.pieces.push(Piece::Advanced(x[axis]));
                    p.arrays.push((*i, axis));
                    axis += 1;
                }
                Index::Bool { mask, .. } => {
                    note(true, &mut p.apart);
                    let m = mask_shape(mask);
                    if let Some(k) = (0..m.len()).find(|&k| m[k] != x[axis + k]) {
                        return Err(Error::Index(format!(
                            "boolean index did not match indexed array along axis {}; size of axis is {} but size of \
                             corresponding boolean axis is {}",
                            axis + k,
                            x[axis + k],
                            m[k]
                        )));
                    }
                    p.pieces.push(Piece::Advanced(shape::size(&m)));
                    p.arrays.push((*i, axis));
                    axis += m.len();
                }
            }
        }
        Ok(p)
    }

    /// Whether the window is less than the whole, or in another order.
    fn cuts(&self, x: &[usize]) -> bool {
        self.piece.as_slice() != x || self.window.step.iter().zip(x).any(|(&s, &n)| s != 1 && n > 1)
    }

    /// The shape without the integers' axes, with the new ones.
    fn kept(&self) -> Shape {
        let length = |p: &Piece| match *p {
            Piece::Kept(n) | Piece::Advanced(n) => Some(n),
            Piece::Dropped => None,
        };
        self.pieces.iter().filter_map(length).collect()
    }
}

fn out_of_bounds(k: i64, axis: usize, size: usize) -> Error {
    Error::Index(format!("index {k} is out of bounds for axis {axis} with size {size}"))
}

/// Start, step and length of a slice of an axis, as Python's `slice.indices` clips them.
pub fn resolve_slice(start: Option<i64>, stop: Option<i64>, step: Option<i64>, n: usize) -> Result<(i64, i64, usize)> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::Value("slice step cannot be zero".into()));
    }
    // so that the step can be negated
    let step = step.max(-i64::MAX);
    let n = n as i64;
    let (low, high) = if step < 0 { (-1, n - 1) } else { (0, n) };
    let clip = |v: Option<i64>, default: i64| match v {
        None => default,
        Some(v) if v < 0 => v.saturating_add(n).max(low),
        Some(v) => v.min(high),
    };
    let (first, last) = if step < 0 { (high, low) } else { (low, high) };
    let (start, stop) = (clip(start, first), clip(stop, last));
    let span = if step < 0 { start - stop } else { stop - start };
    let length = if span <= 0 { 0 } else { (span - 1) / step.abs() + 1 };
    if length == 0 {
        return Ok((0, 1, 0));
    }
    // a single element has no step to speak of
    Ok((start, if length == 1 { 1 } else { step }, length as usize))
}

/// The advanced part of an expression as a gather of rows.
///
/// Index arrays that stand together are gathered where they stand: the axes before them become part of the index, which
/// spares two transpositions. Those that are apart are brought to the front, where NumPy puts their axes.
struct Rows {
    /// The piece with its integers' axes gone and its new axes there, masks' axes as one.
    laid_out: Shape,
    /// Brings the indexed axes to the front, where they are apart.
    front: Option<Axes>,
    /// (rows, then the axes that stay behind).
    rows: Shape,
    /// Which row, of shape (axes before, broadcast shape).
    index: NodeId,
    /// The shape of the rows that are read or written, which is that of the result.
    taken: Shape,
}

impl Rows {
    fn new(t: &mut Tape, p: &Parsed) -> Result<Rows> {
        let laid_out = p.kept();
        // the index arrays in int64, checked, and the lengths of their axes
        let mut arrays: SmallVec<[NodeId; 4]> = SmallVec::new();
        for &(i, axis) in &p.arrays {
            arrays.push(index_array(t, i, axis, p)?);
        }
        let common = common_shape(t, &arrays)?;
        // positions among the axes that are laid out
        let mut at: SmallVec<[usize; 4]> = SmallVec::new();
        let mut lengths: SmallVec<[usize; 4]> = SmallVec::new();
        let mut position = 0;
        // where the first of the integers and index arrays stands decides where the result's axes go
        let mut first = None;
        for piece in &p.pieces {
            match *piece {
                Piece::Kept(_) => position += 1,
                Piece::Dropped => {
                    first.get_or_insert(position);
                }
                Piece::Advanced(length) => {
                    first.get_or_insert(position);
                    at.push(position);
                    lengths.push(length);
                    position += 1;
                }
            }
        }
        let before = if p.apart { 0 } else { first.unwrap_or(0) };
        let adjacent = at.iter().enumerate().all(|(k, &a)| a == before + k);
        let front: Option<Axes> = (!adjacent).then(|| {
            let rest = (0..laid_out.len()).filter(|a| !at.contains(a));
            at.iter().copied().chain(rest).map(|a| a as u8).collect()
        });
        let lead: Shape = laid_out[..before].into();
        let behind: Shape = match &front {
            Some(perm) => perm[at.len()..].iter().map(|&a| laid_out[a as usize]).collect(),
            None => laid_out[before + at.len()..].into(),
        };
        let mut index_shape = lead.clone();
        index_shape.extend(common.iter().copied());
        // row = ((lead…)·n₁ + i₁)·n₂ + i₂ …
        let mut row: Option<NodeId> = None;
        for (axis, &n) in lead.iter().enumerate() {
            let i = t.iota(&index_shape, axis)?;
            row = Some(next_digit(t, row, n, i)?);
        }
        for (&a, &n) in arrays.iter().zip(&lengths) {
            let i = t.broadcast_to(a, &index_shape)?;
            row = Some(next_digit(t, row, n, i)?);
        }
        let index = row.ok_or_else(|| Error::Internal("advanced indexing without index arrays".into()))?;
        let mut rows: Shape = SmallVec::from_elem(shape::size(&lead) * lengths.iter().product::<usize>(), 1);
        rows.extend(behind.iter().copied());
        let mut taken = index_shape;
        taken.extend(behind);
        Ok(Rows { laid_out, front, rows, index, taken })
    }

    /// The piece as rows.
    fn arrange(&self, t: &mut Tape, piece: NodeId) -> Result<NodeId> {
        let y = t.reshape(piece, &self.laid_out)?;
        let y = match &self.front {
            Some(perm) => t.transpose(y, perm)?,
            None => y,
        };
        t.reshape(y, &self.rows)
    }

    /// The inverse of `arrange`, up to a reshape.
    fn restore(&self, t: &mut Tape, rows: NodeId) -> Result<NodeId> {
        let Some(perm) = &self.front else { return Ok(rows) };
        let to: Shape = perm.iter().map(|&a| self.laid_out[a as usize]).collect();
        let y = t.reshape(rows, &to)?;
        let mut inverse: Axes = SmallVec::from_elem(0, perm.len());
        for (i, &a) in perm.iter().enumerate() {
            inverse[a as usize] = i as u8;
        }
        t.transpose(y, &inverse)
    }
}

fn common_shape(t: &Tape, arrays: &[NodeId]) -> Result<Shape> {
    let shapes: SmallVec<[&[usize]; 4]> = arrays.iter().map(|&a| t.shape(a).as_slice()).collect();
    shape::broadcast("indexing", &shapes).map_err(|_| {
        let all: Vec<String> = shapes.iter().map(|s| shape::show(s)).collect();
        Error::Index(format!(
            "shape mismatch: indexing arrays could not be broadcast together with shapes {}",
            all.join(" ")
        ))
    })
}

/// An index array in int64 whose elements are rows of the axes it stands for.
fn index_array(t: &mut Tape, i: Index, axis: usize, p: &Parsed) -> Result<NodeId> {
    match i {
        Index::Array(a) => {
            let n = p.piece[axis];
            if let Some(k) = known_integer(t, a, |k| k < -(n as i64) || k >= n as i64) {
                return Err(out_of_bounds(k, axis, n));
            }
            let a = t.cast(a, DType::I64)?;
            t.check_index(a, n)
        }
        Index::Bool { mask, count: Some(count) } => {
            if t.rank(mask) == 0 {
                return t.literal(0.0, &[count], DType::I64);
            }
            let n = shape::size(t.shape(mask));
            let flat = t.reshape(mask, &[n])?;
            t.nonzero(flat, count)
        }
        Index::Bool { .. } => Err(Error::Abstract(
            "indexing with a bool array whose values are not known yet has a shape that depends on the data; use np.where \
             to choose between values instead"
                .into(),
        )),
        _ => Err(Error::Internal("not an index array".into())),
    }
}

/// `x` at the places `i` (int64, in range, any shape) of one axis, whose place the axes of `i` take.
pub(crate) fn pick(t: &mut Tape, x: NodeId, i: NodeId, axis: usize) -> Result<NodeId> {
    let from = t.shape(x).clone();
    let mut index_shape: Shape = from[..axis].into();
    index_shape.extend(t.shape(i).iter().copied());
    let mut row: Option<NodeId> = None;
    for (a, &n) in from[..axis].iter().enumerate() {
        let digit = t.iota(&index_shape, a)?;
        row = Some(next_digit(t, row, n, digit)?);
    }
    let digit = t.broadcast_to(i, &index_shape)?;
    let row = next_digit(t, row, from[axis], digit)?;
    let mut rows: Shape = SmallVec::from_elem(from[..=axis].iter().product(), 1);
    rows.extend_from_slice(&from[axis + 1..]);
    let x = t.reshape(x, &rows)?;
    t.gather(x, row)
}

fn next_digit(t: &mut Tape, so_far: Option<NodeId>, base: usize, digit: NodeId) -> Result<NodeId> {
    match so_far {
        None => Ok(digit),
        Some(row) => {
            let row = t.scale(row, base as f64)?;
            t.add(row, digit)
        }
    }
}
