//! Recording a body: abstract arguments in a scope of their own, and what it makes of them.

use std::sync::Arc;

use mlgrad_core::Error;
use mlgrad_core::numpy::Operand;
use mlgrad_core::ops::control::body::{Body, Origin, cut, stays_inside};
use mlgrad_core::tape::{DType, NodeId, Shape, Tape, shape};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::array::{Array, record};
use crate::convert;
use crate::error::OrRaise;
use crate::trace::Trace;
use crate::transform::session::{Session, wrap_argument};
use crate::tree::Tree;

/// A numeric leaf on the tape. A weak one is a Python number, which adapts to the dtype of what it meets.
#[derive(Clone, Debug)]
pub struct Slot {
    pub node: NodeId,
    pub shape: Shape,
    pub dtype: DType,
    pub weak: bool,
}

impl Slot {
    pub fn show(&self) -> String {
        format!("{}{}", self.dtype, shape::show(&self.shape))
    }
}

/// The leaves of a tree as slots.
pub struct Slots {
    pub tree: Tree,
    pub list: Vec<Slot>,
}

impl Slots {
    pub fn of(session: &Session, what: &str, object: &Bound<'_, PyAny>) -> PyResult<Slots> {
        let py = object.py();
        let mut leaves = Vec::new();
        let tree = Tree::flatten(object, &mut leaves)?;
        let mut list = Vec::with_capacity(leaves.len());
        for (k, leaf) in leaves.iter().enumerate() {
            let operand = convert::lift(py, &session.trace, leaf).map_err(|e| {
                let at = tree.paths(py).swap_remove(k);
                PyErr::from_type(e.get_type(py), (format!("{what}{at}: {}", e.value(py)),))
            })?;
            list.push(slot(py, &session.trace, operand)?);
        }
        Ok(Slots { tree, list })
    }
}

pub fn slot(py: Python<'_>, trace: &Arc<Trace>, operand: Operand) -> PyResult<Slot> {
    record(py, trace, |s| {
        let t = &mut s.tape;
        let weak = operand.is_weak(t);
        // a number of the caller's is a parameter, not a part of the plan
        let node = match operand {
            Operand::Float(v) => t.param(mlgrad_core::tape::Value::Scalar(v.to_bits()), Shape::new(), DType::F64)?,
            Operand::Int(v) => t.param(mlgrad_core::tape::Value::Scalar(v as u64), Shape::new(), DType::I64)?,
            other => other.to_node(t)?,
        };
        Ok(Slot { node, shape: t.shape(node).clone(), dtype: t.dtype(node), weak })
    })
}

/// The scope of a body. It stays open until this is dropped; the floor until [`Recording::finish`].
pub struct Recording {
    trace: Arc<Trace>,
    scope: u32,
    start: usize,
    floor: bool,
    recording: bool,
    pub params: Vec<NodeId>,
    /// What stands for the effects of the body, once it is recorded.
    effects: Vec<NodeId>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish();
        let mut state = self.trace.access();
        if !state.over {
            state.tape.close_scope(self.scope);
        }
    }
}

impl Recording {
    /// With `floor`, everything that is recorded belongs to the body, because it may never run; without, the body is that of a
    /// loop.
    pub fn open(session: &Session, floor: bool) -> PyResult<Recording> {
        let mut state = session.trace.lock()?;
        let start = state.tape.len();
        let scope = state.tape.open_scope();
        state.tape.bodies.push(scope);
        if floor {
            state.tape.push_floor(scope);
        } else {
            state.loops.push(scope);
        }
        drop(state);
        Ok(Recording {
            trace: session.trace.clone(),
            scope,
            start,
            floor,
            recording: true,
            params: Vec::new(),
            effects: Vec::new(),
        })
    }

    /// Abstract arguments for the slots, as the user's function gets them.
    pub fn arguments(&mut self, py: Python<'_>, slots: &[Slot]) -> PyResult<Vec<Py<PyAny>>> {
        let mut handles = Vec::with_capacity(slots.len());
        for s in slots {
            let node = self.trace.lock()?.tape.abstract_param(self.scope, s.shape.clone(), s.dtype).or_raise(py)?;
            self.params.push(node);
            handles.push(wrap_argument(py, &self.trace, node, s.weak)?.into_any());
        }
        Ok(handles)
    }

    /// What is recorded from here on does not belong to the body.
    pub fn finish(&mut self) {
        let (floor, recording) = (std::mem::take(&mut self.floor), std::mem::take(&mut self.recording));
        let mut state = self.trace.access();
        if !state.over {
            if floor {
                state.tape.pop_floor();
            }
            if recording {
                state.tape.bodies.pop();
                state.loops.retain(|&open| open != self.scope);
                self.effects = state.tape.take_effects(Some(self.scope));
            }
        }
    }

    /// Whether a node is a part of the body, rather than something that it takes from outside.
    fn inside(&self, t: &Tape, x: NodeId) -> bool {
        x.index() >= self.start && (t.node(x).scope >= self.scope || stays_inside(t.op(x)))
    }

    /// Whether the body does something besides its outputs.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// What the body takes from outside.
    pub fn captures(&self, t: &Tape, outputs: &[NodeId]) -> mlgrad_core::Result<Vec<NodeId>> {
        Ok(cut(t, &self.params, outputs, &self.effects, &|x| self.inside(t, x))?.captures)
    }

    /// The body as a function of its captures, which come first, and its arguments.
    pub fn body(&self, t: &Tape, captures: &[NodeId], outputs: &[NodeId]) -> mlgrad_core::Result<Body> {
        let params: Vec<NodeId> = captures.iter().chain(&self.params).copied().collect();
        let cut = cut(t, &params, outputs, &self.effects, &|x| self.inside(t, x))?;
        if !cut.captures.is_empty() {
            return Err(Error::Internal("a body that takes more from outside than was found".into()));
        }
        let params = params.into_iter().map(Some).collect();
        Ok(Body::recorded(cut.program, Origin { scopes: vec![self.scope], params }))
    }
}

/// All captures of several bodies, each once.
pub fn union(lists: Vec<Vec<NodeId>>) -> Vec<NodeId> {
    let mut all: Vec<NodeId> = lists.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// One step of a loop, recorded.
pub struct Stepped {
    pub recording: Recording,
    pub carries: Vec<NodeId>,
    pub extra: Slots,
}

/// The user's body: from a carry and the leaves of a slice to the next carry and whatever else.
type OneStep<'a> = dyn Fn(Bound<'_, PyAny>, Vec<Py<PyAny>>) -> PyResult<(Py<PyAny>, Py<PyAny>)> + 'a;

/// Records `step(carry, x)`, which gives the next carry and whatever else, until the carry comes out as it went in: a Python
/// number that the loop starts from takes the dtype that it gets.
pub fn step(
    session: &Session,
    py: Python<'_>,
    what: &str,
    carry: &mut Slots,
    xs: &[Slot],
    step: &OneStep<'_>,
) -> PyResult<Stepped> {
    loop {
        let mut recording = Recording::open(session, false)?;
        let handles = recording.arguments(py, &carry.list)?;
        let slices = recording.arguments(py, xs)?;
        let argument = carry.tree.unflatten(py, &mut handles.into_iter())?.into_bound(py);
        let (next, extra) = step(argument, slices)?;
        let out = Slots::of(session, &format!("{what}: the carry that the body returns"), next.bind(py))?;
        if !carry.tree.same(py, &out.tree)? {
            return Err(PyTypeError::new_err(format!(
                "{what}: the body must return a carry of the structure that it gets, {}, but it returned {}",
                carry.tree.show(py),
                out.tree.show(py)
            )));
        }
        let mut nodes = Vec::with_capacity(out.list.len());
        let mut again = false;
        for (k, (old, new)) in carry.list.iter_mut().zip(&out.list).enumerate() {
            let changed = || {
                let at = carry.tree.paths(py).swap_remove(k);
                PyTypeError::new_err(format!(
                    "{what}: the carry must keep its shape and dtype, but carry{at} goes into the body as {} and comes out as \
                     {}; start from an array of that shape and dtype, or convert the result with astype or reshape",
                    old.show(),
                    new.show()
                ))
            };
            if old.shape != new.shape {
                return Err(changed());
            }
            if old.dtype == new.dtype && (!old.weak || new.weak) {
                nodes.push(new.node);
                continue;
            }
            let mut state = session.trace.lock()?;
            let t = &mut state.tape;
            if old.weak && !new.weak && (new.dtype.is_float() || !old.dtype.is_float()) && new.dtype != DType::Bool
                || old.weak && new.weak && new.dtype.is_float()
            {
                let node = t.cast(old.node, new.dtype).or_raise(py)?;
                *old = Slot { node, shape: old.shape.clone(), dtype: new.dtype, weak: new.weak };
                again = true;
            } else if new.weak && (old.dtype.is_float() || old.dtype.is_integer() && new.dtype.is_integer()) {
                nodes.push(t.cast(new.node, old.dtype).or_raise(py)?);
            } else {
                drop(state);
                return Err(changed());
            }
        }
        if again {
            continue;
        }
        let extra = Slots::of(session, &format!("{what}: what the body returns"), extra.bind(py))?;
        recording.finish();
        return Ok(Stepped { recording, carries: nodes, extra });
    }
}

/// An operation without results is done by nobody: one that is done for its effects gets one.
pub fn at_least_one(t: &mut Tape, outputs: &mut Vec<NodeId>, effects: bool) -> mlgrad_core::Result<()> {
    if effects && outputs.is_empty() {
        outputs.push(t.literal(0.0, &[], DType::Bool)?);
    }
    Ok(())
}

/// The results as the caller gets them: NumPy where this is the outermost transform.
pub fn deliver(session: &mut Session, py: Python<'_>, results: &[NodeId]) -> PyResult<Vec<Py<PyAny>>> {
    if session.outermost {
        return session.deliver(py, results, false);
    }
    results.iter().map(|&n| Ok(Array::wrap(py, &session.trace, n)?.into_any())).collect()
}

/// The pair that a body must return.
pub fn pair<'py>(what: &str, returned: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    match returned.cast::<PyTuple>() {
        Ok(t) if t.len() == 2 => Ok((t.get_item(0)?, t.get_item(1)?)),
        _ => Err(PyTypeError::new_err(format!(
            "{what}: the body must return a pair (carry, y), but it returned {}; write (carry, None) if there is no y",
            returned.get_type().name()?
        ))),
    }
}

/// A scalar that control flow depends on.
pub fn scalar(what: &str, which: &str, s: &Slot) -> PyResult<()> {
    if s.shape.is_empty() {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{what}: {which} must be a scalar (shape ()), got shape {}; reduce it with np.all or np.any, or choose elementwise with \
         np.where",
        shape::show(&s.shape)
    )))
}
