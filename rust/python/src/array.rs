//! The traced array: a handle to a storage cell on a tape.
//!
//! A cell points to the node that is its present content. A write appends a functional update to the tape and moves the
//! cell; a view is a path from the cell's content to what the handle shows, read again when the cell has moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mlgrad_core::numpy::Operand;
use mlgrad_core::tape::{DType, NodeId, Shape, Tape, shape};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::error::OrRaise;
use crate::layout::{self, Layout, Strides};
use crate::trace::{State, Trace};
use crate::view::{self, Path, Step};

/// What NumPy would have in the place of a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Array,
    /// A NumPy scalar: `a += 1` makes a new one, and items cannot be assigned.
    Scalar,
    /// A Python scalar: it adapts to the dtype of what it meets.
    Weak,
}

impl Kind {
    /// Of a fresh result: NumPy gives a scalar where the shape is ().
    pub fn of(shape: &[usize]) -> Kind {
        if shape.is_empty() { Kind::Scalar } else { Kind::Array }
    }
}

/// A node and how often the cell has moved, read and written as one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    node: NodeId,
    version: u32,
}

impl Place {
    fn pack(self) -> u64 {
        (self.node.0 as u64) << 32 | self.version as u64
    }

    fn unpack(bits: u64) -> Place {
        Place { node: NodeId((bits >> 32) as u32), version: bits as u32 }
    }
}

/// No node has this place: the tape is full before.
const NEVER: u64 = u64::MAX;

/// Storage that handles share. It counts as one handle of its node.
struct Cell {
    trace: Arc<Trace>,
    place: AtomicU64,
    /// The scope that was opened last when the cell was made: what is younger was opened afterwards.
    born: u32,
}

impl Cell {
    fn place(&self) -> Place {
        Place::unpack(self.place.load(Relaxed))
    }

    fn move_to(&self, s: &mut State, node: NodeId) -> Place {
        let old = self.place();
        s.tape.node_mut(old.node).handles -= 1;
        s.tape.node_mut(node).handles += 1;
        let new = Place { node, version: old.version.wrapping_add(1) };
        self.place.store(new.pack(), Relaxed);
        new
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.trace.release(self.place().node);
    }
}

/// An array whose operations are recorded: what the functions under grad, vmap, jit and Tape receive in the place of NumPy
/// arrays. It has the operators and methods of numpy.ndarray, and NumPy's functions take it.
#[pyclass(frozen, mapping, name = "Array", module = "mlgrad")]
pub struct Array {
    cell: Arc<Cell>,
    path: Path,
    /// The last place that a view was read at, with the node that it gave in the place of the cell's.
    seen: AtomicU64,
    pub shape: Shape,
    pub dtype: DType,
    layout: Layout,
    pub kind: Kind,
    pub writeable: bool,
}

/// A node with what a handle needs to know of it, already counted as one handle.
pub struct Made {
    node: NodeId,
    born: u32,
    shape: Shape,
    dtype: DType,
}

impl Made {
    pub fn keep(s: &mut State, node: NodeId) -> Made {
        let born = s.tape.latest_scope();
        let n = s.tape.node_mut(node);
        n.handles += 1;
        Made { node, born, shape: Shape::from_slice(&n.shape), dtype: n.dtype }
    }

    /// The results of an operation: one, or two.
    pub fn all(s: &mut State, nodes: &[NodeId]) -> mlgrad_core::Result<(Made, Option<Made>)> {
        match *nodes {
            [one] => Ok((Made::keep(s, one), None)),
            [one, two] => Ok((Made::keep(s, one), Some(Made::keep(s, two)))),
            _ => Err(mlgrad_core::Error::Internal(format!("an operation of {} results", nodes.len()))),
        }
    }

    pub fn into_array(self, trace: &Arc<Trace>) -> Array {
        let place = AtomicU64::new(Place { node: self.node, version: 0 }.pack());
        Array {
            cell: Arc::new(Cell { trace: trace.clone(), place, born: self.born }),
            path: None,
            seen: AtomicU64::new(NEVER),
            kind: Kind::of(&self.shape),
            shape: self.shape,
            dtype: self.dtype,
            layout: None,
            writeable: true,
        }
    }
}

/// Runs `f` on the tape. No Python object is made or dropped while the lock is held.
pub fn record<R>(py: Python<'_>, trace: &Trace, f: impl FnOnce(&mut State) -> mlgrad_core::Result<R>) -> PyResult<R> {
    let result = f(&mut *trace.lock()?);
    if trace.keeps_lines {
        trace.note_line(py)?;
    }
    result.or_raise(py)
}

/// A handle for the node that `f` makes.
pub fn make(
    py: Python<'_>,
    trace: &Arc<Trace>,
    f: impl FnOnce(&mut Tape) -> mlgrad_core::Result<NodeId>,
) -> PyResult<Array> {
    let made = record(py, trace, |s| {
        let node = f(&mut s.tape)?;
        Ok(Made::keep(s, node))
    })?;
    Ok(made.into_array(trace))
}

pub fn read_only() -> PyErr {
    PyValueError::new_err("assignment destination is read-only")
}

impl Array {
    /// A handle of its own for `node`.
    pub fn wrap(py: Python<'_>, trace: &Arc<Trace>, node: NodeId) -> PyResult<Py<Array>> {
        Py::new(py, make(py, trace, |_| Ok(node))?)
    }

    /// The same for an argument of the user's function.
    pub fn wrap_as(py: Python<'_>, trace: &Arc<Trace>, node: NodeId, kind: Kind) -> PyResult<Py<Array>> {
        Py::new(py, make(py, trace, |_| Ok(node))?.with_kind(kind))
    }

    pub fn with_kind(mut self, kind: Kind) -> Array {
        self.kind = kind;
        self
    }

    pub fn with_layout(mut self, layout: Layout) -> Array {
        self.layout = layout;
        self
    }

    pub fn read_only(mut self) -> Array {
        self.writeable = false;
        self
    }

    pub fn trace(&self) -> &Arc<Trace> {
        &self.cell.trace
    }

    pub fn weak(&self) -> bool {
        self.kind == Kind::Weak
    }

    /// Whether this is a whole array that nothing was written to since the handle was made.
    pub fn is_unwritten(&self) -> bool {
        self.path.is_none() && self.cell.place().version == 0
    }

    /// The node that holds the present content.
    pub fn node(&self, py: Python<'_>) -> PyResult<NodeId> {
        record(py, self.trace(), |s| self.node_in(s))
    }

    pub fn node_in(&self, s: &mut State) -> mlgrad_core::Result<NodeId> {
        let place = self.cell.place();
        let Some(steps) = &self.path else { return Ok(place.node) };
        let seen = self.seen.load(Relaxed);
        if seen != NEVER && Place::unpack(seen).version == place.version {
            return Ok(Place::unpack(seen).node);
        }
        let node = view::read(&mut s.tape, place.node, steps)?;
        self.seen.store(Place { node, version: place.version }.pack(), Relaxed);
        Ok(node)
    }

    /// For recording on this tape at once, which is when it shows whether the tape is still open.
    pub fn operand(&self, py: Python<'_>) -> PyResult<Operand> {
        let id = if self.path.is_none() { self.cell.place().node } else { self.node(py)? };
        Ok(Operand::Node { id, weak: self.weak() })
    }

    /// Whether the value is only known when a plan runs (inside vmap, or a loop's body).
    pub fn is_abstract(&self, py: Python<'_>) -> PyResult<bool> {
        record(py, self.trace(), |s| {
            let node = self.node_in(s)?;
            Ok(s.tape.node(node).scope != 0)
        })
    }

    pub fn size(&self) -> usize {
        shape::size(&self.shape)
    }

    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Element strides, as NumPy would have them.
    pub fn strides(&self) -> Strides {
        layout::of(&self.layout, &self.shape)
    }

    /// A handle that shares the storage, `steps` further on.
    pub fn view(&self, steps: impl IntoIterator<Item = Step>, shape: Shape, strides: Strides) -> Array {
        let path = view::extended(&self.path, steps);
        Array {
            cell: self.cell.clone(),
            path,
            seen: AtomicU64::new(NEVER),
            dtype: self.dtype,
            layout: layout::pack(&shape, strides),
            shape,
            kind: Kind::Array,
            writeable: self.writeable,
        }
    }

    /// Replaces what this handle shows by `v`, of the same shape and dtype.
    pub fn store(&self, py: Python<'_>, v: NodeId) -> PyResult<()> {
        if !self.writeable {
            return Err(read_only());
        }
        record(py, self.trace(), |s| {
            if s.loops.last().is_some_and(|&body| self.cell.born < body) {
                return Err(mlgrad_core::Error::Type(
                    "the body of a loop (scan, fori_loop, while_loop) writes into an array from outside; it is recorded once, so \
                     that the write would not be repeated by each step. Carry the array through the loop and return the changed \
                     one, or write into a copy that is made in the body (y = y.copy())"
                        .into(),
                ));
            }
            let base = self.cell.place().node;
            let new = match &self.path {
                None => v,
                Some(steps) => view::write(&mut s.tape, base, steps, v)?,
            };
            let place = self.cell.move_to(s, new);
            self.seen.store(Place { node: v, version: place.version }.pack(), Relaxed);
            Ok(())
        })
    }

    /// Whether two handles share storage.
    pub fn shares(&self, other: &Array) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }

    /// `other` must lie on the tape `trace`.
    pub fn check_trace(&self, trace: &Arc<Trace>) -> PyResult<()> {
        if Arc::ptr_eq(self.trace(), trace) {
            return Ok(());
        }
        // says so if one of them is over
        drop(self.trace().lock()?);
        drop(trace.lock()?);
        Err(PyRuntimeError::new_err(
            "Arrays of two different tapes meet in one operation; an Array must not leave the Tape or the transform that it was \
             made in. Take its value (mlgrad.stop_gradient, or y.value of a Tape) or do both computations on one tape",
        ))
    }
}
