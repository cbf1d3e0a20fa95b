//! What must hold of a computed value: under jit it is looked at when something runs, rather than made to run by being asked for.

use mlgrad_core::tape::{DType, NodeId};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::array::Array;
use crate::trace::{Trace, current_line};

/// See the module.
pub struct Expected {
    /// A bool, and a number that says how far off it is.
    pub nodes: [NodeId; 2],
    /// Keep their nodes on the tape.
    _handles: [Py<PyAny>; 2],
    /// Raises, given the number.
    failed: Py<PyAny>,
    line: Option<String>,
}

/// Notes that `ok` must be true: when the recording next runs something, `failed(residual)` is called if it is not. Returns
/// whether that was noted, which it is only under jit for values that are not those of vmap or of a body.
#[pyfunction]
fn expect(py: Python<'_>, ok: &Bound<'_, PyAny>, residual: &Bound<'_, PyAny>, failed: Py<PyAny>) -> PyResult<bool> {
    let (Ok(a), Ok(b)) = (ok.cast::<Array>(), residual.cast::<Array>()) else { return Ok(false) };
    let (a, b) = (a.get(), b.get());
    let trace = a.trace();
    let is_one = a.size() == 1 && b.size() == 1 && a.dtype == DType::Bool && b.dtype.is_float();
    if !trace.jit || !std::ptr::eq(&**trace, &**b.trace()) || !is_one || a.is_abstract(py)? || b.is_abstract(py)? {
        return Ok(false);
    }
    let nodes = [a.node(py)?, b.node(py)?];
    let line = current_line(py)?;
    let _handles = [ok.clone().unbind(), residual.clone().unbind()];
    let mut state = trace.lock()?;
    let Some(recorder) = &mut state.recorder else { return Ok(false) };
    recorder.expected.push(Expected { nodes, _handles, failed, line });
    Ok(true)
}

impl Trace {
    /// What was expected of values that are known now: the first that is not so raises.
    pub fn meet(&self, py: Python<'_>) -> PyResult<()> {
        // they hold Arrays, which are not to be dropped under the lock
        let expected = match &mut self.access().recorder {
            Some(recorder) => std::mem::take(&mut recorder.expected),
            None => Vec::new(),
        };
        for e in expected {
            let (holds, residual) = {
                let mut state = self.access();
                let first = |n: NodeId| {
                    let node = state.tape.node(n);
                    node.value.as_ref().map(|v| (v.first(node.dtype), node.dtype))
                };
                let (Some((bits, dtype)), Some((residual, float))) = (first(e.nodes[0]), first(e.nodes[1])) else {
                    return Err(PyRuntimeError::new_err("a value that was not computed"));
                };
                if let Some(recorder) = &mut state.recorder {
                    recorder.read(e.nodes[0], dtype, bits, e.line);
                }
                (bits != 0, mlgrad_core::tape::value::number_of(residual, float))
            };
            if !holds {
                e.failed.call1(py, (residual,))?;
                return Err(PyRuntimeError::new_err("what is to raise has not raised"));
            }
        }
        Ok(())
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(expect, m)?)
}
