//! `Tape`: gradients in the style of PyTorch, by `y.backward()` and `x.grad`.

use std::sync::{Arc, Mutex, PoisonError};

use mlgrad_core::tape::{NodeId, shape};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::array::Array;
use crate::convert;
use crate::error::OrRaise;
use crate::trace::{Opened, Trace, known, meta};
use crate::transform::{Session, reverse_walk, wrap_argument};

/// Records what is computed from its variables.
#[pyclass(frozen, module = "mlgrad")]
pub struct Tape {
    trace: Arc<Trace>,
    opened: Mutex<Option<Opened>>,
}

#[pymethods]
impl Tape {
    /// `lines`: keep the line of Python behind each node, which print(tape) shows.
    #[new]
    #[pyo3(signature = (lines = false))]
    fn new(lines: bool) -> Tape {
        let trace = if lines { Trace::with_lines() } else { Trace::new(false) };
        Tape { trace, opened: Mutex::new(None) }
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        if Trace::current().is_some() {
            return Err(PyRuntimeError::new_err(
                "a Tape cannot be opened inside a transform or another Tape; use mlgrad.vjp there",
            ));
        }
        drop(slf.get().trace.lock()?);
        *slf.get().opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(slf.get().trace.open());
        Ok(slf)
    }

    fn __exit__(&self, _class: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _traceback: &Bound<'_, PyAny>) {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(opened);
    }

    /// A variable with this value (float64 or float32), with respect to which backward differentiates.
    fn variable(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<Array>> {
        let session = Session::on(&self.trace);
        let (node, weak) = session.lift_float("Tape.variable", format_args!("the value"), value)?;
        let alias = {
            let mut state = self.trace.lock()?;
            let alias = state.tape.alias(node).or_raise(py)?;
            state.gradients.insert(alias, None);
            alias
        };
        wrap_argument(py, &self.trace, alias, weak)
    }

    /// Forgets the gradients of all variables.
    fn zero_grad(&self) {
        let mut state = self.trace.access();
        let variables: Vec<NodeId> = state.gradients.keys().copied().collect();
        for v in variables {
            set(&mut state, v, None);
        }
    }

    fn __len__(&self) -> usize {
        self.trace.access().tape.len()
    }

    fn __str__(&self) -> String {
        let state = self.trace.access();
        let text = state.tape.to_string();
        let Some(lines) = &state.lines else { return text };
        let mut out = String::new();
        for (k, row) in text.lines().enumerate() {
            out.push_str(row);
            if let (_, Some((file, line))) = lines.of(NodeId(k as u32)) {
                out.push_str(&format!("  # {file}:{line}"));
            }
            out.push('\n');
        }
        out
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Tape cannot be pickled; pickle the values of its variables"))
    }
}

/// The gradient of a variable, counted as a handle so that it is kept once it is computed.
fn set(state: &mut crate::trace::State, variable: NodeId, gradient: Option<NodeId>) {
    if let Some(g) = gradient {
        state.tape.node_mut(g).handles += 1;
    }
    if let Some(Some(old)) = state.gradients.insert(variable, gradient) {
        state.tape.node_mut(old).handles -= 1;
    }
}

/// Adds the derivative of `y` to the gradient of every variable.
pub fn backward(py: Python<'_>, trace: &Arc<Trace>, y: NodeId, gradient: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let (shape, dtype) = {
        let state = trace.lock()?;
        if state.gradients.is_empty() {
            return Err(PyRuntimeError::new_err(
                "backward: there are no variables; make them with Tape.variable, or use mlgrad.grad",
            ));
        }
        meta(&state, y)
    };
    if !dtype.is_inexact() {
        return Err(PyTypeError::new_err(format!("backward: a value of dtype {dtype} has no derivative")));
    }
    let seed = match gradient {
        Some(g) => Session::on(trace).node(py, "backward", g)?,
        None if shape.is_empty() => trace.lock()?.tape.lit_like(1.0, y).or_raise(py)?,
        None => {
            return Err(PyValueError::new_err(format!(
                "backward: the value has shape {}; give gradient= of that shape, or call backward on a scalar",
                shape::show(&shape)
            )));
        }
    };
    let mut state = trace.lock()?;
    if *state.tape.shape(seed) != shape {
        let given = state.tape.shape(seed).clone();
        drop(state);
        return Err(PyValueError::new_err(format!(
            "backward: gradient has shape {}, the value {}",
            shape::show(&given),
            shape::show(&shape)
        )));
    }
    let seed = state.tape.cast(seed, dtype).or_raise(py)?;
    let variables: Vec<NodeId> = state.gradients.keys().copied().collect();
    drop(state);
    let found = reverse_walk(py, trace, &[y], &[seed], &variables)?;
    let mut state = trace.lock()?;
    for (v, g) in variables.into_iter().zip(found) {
        let g = match g {
            Some(g) => g,
            None => state.tape.lit_like(0.0, v).or_raise(py)?,
        };
        let sum = match state.gradients.get(&v).copied().flatten() {
            Some(old) => state.tape.add(old, g).or_raise(py)?,
            None => g,
        };
        set(&mut state, v, Some(sum));
    }
    Ok(())
}

/// What backward has accumulated for a variable, as NumPy.
pub fn gradient(py: Python<'_>, trace: &Arc<Trace>, variable: NodeId) -> PyResult<Option<Py<PyAny>>> {
    let found = trace.access().gradients.get(&variable).copied();
    match found {
        None => Err(PyTypeError::new_err(
            "grad: only variables (made with Tape.variable) have a gradient; this Array was computed",
        )),
        Some(None) => Ok(None),
        Some(Some(g)) => value(py, trace, g).map(Some),
    }
}

/// Forgets the gradient of one variable.
pub fn zero_gradient(trace: &Arc<Trace>, variable: NodeId) {
    let mut state = trace.access();
    if state.gradients.contains_key(&variable) {
        set(&mut state, variable, None);
    }
}

/// The value of a node as NumPy.
pub fn value(py: Python<'_>, trace: &Arc<Trace>, node: NodeId) -> PyResult<Py<PyAny>> {
    trace.evaluate(py, &[node])?;
    let (value, (shape, dtype)) = {
        let state = trace.access();
        (state.tape.node(node).value.clone(), meta(&state, node))
    };
    convert::export(py, known(value)?, &shape, dtype)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Tape>()
}
