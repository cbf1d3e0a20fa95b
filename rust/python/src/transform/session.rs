//! One call of a transform: on the trace that is open already, or on one of its own.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use mlgrad_core::numpy::Operand;
use mlgrad_core::tape::{DType, NodeId, Value, shape};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use crate::array::{Array, Kind, Made, record};
use crate::convert::{self, Loan};
use crate::error::OrRaise;
use crate::trace::{Opened, State, Trace, known, meta};
use crate::tree::Tree;

pub struct Session {
    pub trace: Arc<Trace>,
    pub outermost: bool,
    /// The length of the tape when the transform began.
    start: usize,
    opened: Option<Opened>,
    keep: bool,
    /// Arguments that are read in place; none where they have to be copied.
    loans: Option<RefCell<Vec<Loan>>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.opened.take());
        if self.outermost && !self.keep {
            self.trace.close();
        }
    }
}

/// The leaves of an argument or a result, and where they go.
pub struct Leaves {
    pub tree: Tree,
    pub nodes: Nodes,
}

/// Of one leaf, most often.
pub type Nodes = SmallVec<[NodeId; 2]>;

impl Session {
    pub fn enter() -> Session {
        match Trace::current() {
            Some(trace) => {
                let start = trace.access().tape.len();
                Session { trace, outermost: false, start, opened: None, keep: false, loans: None }
            }
            None => {
                let trace = Trace::new(false);
                let opened = Some(trace.open());
                Session { trace, outermost: true, start: 0, opened, keep: false, loans: None }
            }
        }
    }

    /// On a trace that somebody else has opened.
    pub fn on(trace: &Arc<Trace>) -> Session {
        Session { trace: trace.clone(), outermost: false, start: 0, opened: None, keep: true, loans: None }
    }

    /// On a trace of its own, which keeps the lines of nodes if `lines`. Refused inside another transform.
    pub fn alone(what: &str, lines: bool) -> PyResult<Session> {
        if Trace::current().is_some() {
            return Err(PyRuntimeError::new_err(format!(
                "{what} needs a tape of its own and cannot be used inside a transform or a Tape; do it outside"
            )));
        }
        let trace = if lines { Trace::with_lines() } else { Trace::new(false) };
        let opened = Some(trace.open());
        Ok(Session { trace, outermost: true, start: 0, opened, keep: false, loans: None })
    }

    /// The trace outlives this call: somebody else closes it.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// From here on large arguments are read in place: for a trace of our own that ends with the session.
    pub fn borrow_arguments(&mut self) {
        self.loans = self.outermost.then(RefCell::default);
    }

    /// A plain array of floating-point numbers: a large one is read in place.
    fn take(&self, leaf: &Bound<'_, PyAny>) -> PyResult<Option<(Value, shape::Shape, DType)>> {
        if !convert::is_ndarray(leaf) {
            return Ok(None);
        }
        if let Some(loans) = &self.loans
            && let Some((value, shape, dtype, loan)) = convert::lend(leaf)?
        {
            loans.borrow_mut().push(loan);
            return Ok(Some((value, shape, dtype)).filter(|_| dtype.is_inexact()));
        }
        match leaf.cast::<PyUntypedArray>() {
            Ok(array) if convert::is_inexact(array) => convert::copy_in(leaf.py(), array).map(Some),
            _ => Ok(None),
        }
    }

    /// The floating-point leaves of `argument` as fresh aliases, and the argument made of them.
    pub fn argument<'py>(
        &self,
        what: &str,
        which: fmt::Arguments<'_>,
        argument: &Bound<'py, PyAny>,
    ) -> PyResult<(Leaves, Bound<'py, PyAny>)> {
        let py = argument.py();
        if Tree::is_leaf(argument) {
            let (alias, handle) = self.leaf(what, which, argument)?;
            return Ok((
                Leaves { tree: Tree::Leaf, nodes: Nodes::from_slice(&[alias]) },
                handle.into_bound(py).into_any(),
            ));
        }
        let mut leaves = Vec::new();
        let tree = Tree::flatten(argument, &mut leaves)?;
        let mut nodes = Nodes::with_capacity(leaves.len());
        let mut handles = Vec::with_capacity(leaves.len());
        for (k, leaf) in leaves.iter().enumerate() {
            let (alias, handle) = match self.leaf(what, which, leaf) {
                // once more, with the path to the leaf
                Err(_) if leaves.len() > 1 || !matches!(tree, Tree::Leaf) => {
                    let at = tree.paths(py).swap_remove(k);
                    self.leaf(what, format_args!("{which}{at}"), leaf)?
                }
                other => other?,
            };
            nodes.push(alias);
            handles.push(handle.into_any());
        }
        let argument = tree.unflatten(py, &mut handles.into_iter())?.into_bound(py);
        Ok((Leaves { tree, nodes }, argument))
    }

    /// A leaf as a fresh alias, and its handle.
    fn leaf(&self, what: &str, which: fmt::Arguments<'_>, leaf: &Bound<'_, PyAny>) -> PyResult<(NodeId, Py<Array>)> {
        let py = leaf.py();
        let aliased = |s: &mut State, node: NodeId| {
            let alias = s.tape.alias(node)?;
            Ok((alias, Made::keep(s, alias)))
        };
        // at once, as these come most often
        if !self.trace.jit
            && let Some((value, shape, dtype)) = self.take(leaf)?
        {
            let (alias, made) = record(py, &self.trace, |s| {
                let node = s.tape.param(value, shape, dtype)?;
                aliased(s, node)
            })?;
            return Ok((alias, Py::new(py, made.into_array(&self.trace))?));
        }
        let (node, weak) = self.lift_float(what, which, leaf)?;
        let (alias, made) = record(py, &self.trace, |s| aliased(s, node))?;
        let array = made.into_array(&self.trace);
        Ok((alias, Py::new(py, if weak { array.with_kind(Kind::Weak) } else { array })?))
    }

    /// A leaf that derivatives are taken with respect to.
    pub fn lift_float(
        &self,
        what: &str,
        which: fmt::Arguments<'_>,
        leaf: &Bound<'_, PyAny>,
    ) -> PyResult<(NodeId, bool)> {
        let py = leaf.py();
        let Some(operand) = convert::try_lift(py, &self.trace, leaf)? else {
            return Err(PyTypeError::new_err(format!(
                "{what}: {which} is a {}, which has no derivative; give arrays and floats alone to what is differentiated, and \
                 the rest in arguments of its own (outside argnums), which reach the function unchanged",
                leaf.get_type().name()?
            )));
        };
        if let Operand::Float(v) = operand {
            let node = self
                .trace
                .lock()?
                .tape
                .param(Value::Scalar(v.to_bits()), shape::Shape::new(), DType::F64)
                .or_raise(py)?;
            return Ok((node, true));
        }
        let dtype = match operand {
            Operand::Node { id, weak } => {
                let dtype = self.trace.lock()?.tape.dtype(id);
                if dtype.is_inexact() {
                    return Ok((id, weak));
                }
                dtype.name()
            }
            Operand::Int(_) => "int",
            _ => "bool",
        };
        Err(PyTypeError::new_err(format!(
            "{what}: {which} has dtype {dtype}, but derivatives need float64 or float32; pass a float (2.0 instead of 2, \
             x.astype(float)), or leave it out of argnums"
        )))
    }

    /// The numeric leaves of a result as nodes. `what` names the transform in messages.
    pub fn result(&self, what: &str, result: &Bound<'_, PyAny>) -> PyResult<Leaves> {
        let py = result.py();
        let mut leaves = Vec::new();
        let tree = Tree::flatten(result, &mut leaves)?;
        let nodes = leaves.iter().map(|leaf| self.node(py, what, leaf)).collect::<PyResult<_>>()?;
        Ok(Leaves { tree, nodes })
    }

    /// A leaf of a result, or a cotangent or tangent, as a node.
    pub fn node(&self, py: Python<'_>, what: &str, leaf: &Bound<'_, PyAny>) -> PyResult<NodeId> {
        let operand = convert::lift(py, &self.trace, leaf).map_err(|e| {
            let message = e.value(py).to_string();
            PyErr::from_type(e.get_type(py), (format!("{what}: {message}"),))
        })?;
        let mut state = self.trace.lock()?;
        operand.to_node(&mut state.tape).or_raise(py)
    }

    /// What `derive` makes of a complete recording, as the caller of the transform gets it. Together with the recording
    /// `question` says all that it depends on.
    pub fn answer(
        &mut self,
        py: Python<'_>,
        question: impl IntoIterator<Item = u64>,
        arrays_given: bool,
        derive: impl FnOnce(&Arc<Trace>) -> PyResult<Vec<NodeId>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        if !self.outermost {
            let nodes = derive(&self.trace)?;
            return self.deliver(py, &nodes, arrays_given);
        }
        let answers = self.trace.solve(py, question, derive)?;
        if !self.keep {
            self.trace.close();
        }
        answers.into_iter().map(|(value, shape, dtype)| convert::export(py, value, &shape, dtype)).collect()
    }

    /// `nodes` as what the caller of the transform gets: Arrays inside another transform, NumPy outside.
    pub fn deliver(&mut self, py: Python<'_>, nodes: &[NodeId], arrays_given: bool) -> PyResult<Vec<Py<PyAny>>> {
        if self.trace.keeps_lines {
            self.trace.note_line(py)?;
        }
        if !self.outermost {
            if arrays_given || self.trace.jit || self.looks_outside(nodes) {
                return nodes.iter().map(|&n| Ok(Array::wrap(py, &self.trace, n)?.into_any())).collect();
            }
            self.trace.finish(py, nodes)?;
            return self.export(py, nodes);
        }
        self.trace.finish(py, nodes)?;
        let out = {
            let state = self.trace.access();
            nodes.iter().map(|&n| (state.tape.node(n).value.clone(), meta(&state, n))).collect::<Vec<_>>()
        };
        if !self.keep {
            self.trace.close();
        }
        out.into_iter().map(|(value, (shape, dtype))| convert::export(py, known(value)?, &shape, dtype)).collect()
    }

    /// NumPy copies of nodes that are known.
    pub fn export(&self, py: Python<'_>, nodes: &[NodeId]) -> PyResult<Vec<Py<PyAny>>> {
        nodes
            .iter()
            .map(|&n| {
                let (value, (shape, dtype)) = {
                    let state = self.trace.access();
                    (state.tape.node(n).value.clone(), meta(&state, n))
                };
                convert::export(py, known(value)?, &shape, dtype)
            })
            .collect()
    }

    /// Whether `nodes` depend on anything that an enclosing transform has recorded.
    fn looks_outside(&self, nodes: &[NodeId]) -> bool {
        let state = self.trace.access();
        let tape = &state.tape;
        let mut seen = vec![false; tape.len().saturating_sub(self.start)];
        let mut stack: Vec<NodeId> = nodes.to_vec();
        while let Some(n) = stack.pop() {
            if n.index() < self.start {
                return true;
            }
            if !std::mem::replace(&mut seen[n.index() - self.start], true) {
                stack.extend(tape.node(n).inputs.iter().copied());
            }
        }
        false
    }
}

/// Whether any leaf is an Array, so that the results have to be Arrays too.
pub fn any_array(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<bool> {
    let mut leaves = Vec::new();
    Tree::flatten(args.as_any(), &mut leaves)?;
    if let Some(k) = kwargs {
        Tree::flatten(k.as_any(), &mut leaves)?;
    }
    Ok(leaves.iter().any(|x| x.is_exact_instance_of::<Array>()))
}

/// The handle for an argument of the user's function; one that was a Python number goes on being one in promotions.
pub fn wrap_argument(py: Python<'_>, trace: &Arc<Trace>, node: NodeId, weak: bool) -> PyResult<Py<Array>> {
    if weak { Array::wrap_as(py, trace, node, Kind::Weak) } else { Array::wrap(py, trace, node) }
}

/// The value of a number or array-like object that is no Array.
pub fn copy_any(py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<(Value, shape::Shape, DType)> {
    convert::copy_in(py, &convert::as_ndarray(object)?)
}

/// A plain array among the results is copied: what the user gets shares memory with nothing.
pub fn fresh(o: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if o.is_instance_of::<PyUntypedArray>() {
        return Ok(o.call_method0(intern!(o.py(), "copy"))?.unbind());
    }
    Ok(o.clone().unbind())
}
