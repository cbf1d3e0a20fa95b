//! close_over: a function of Arrays as it was recorded, with what it takes from outside made into further arguments. Implicit
//! functions need it: their rules differentiate a user's function with respect to both.

use std::sync::Arc;

use mlgrad_core::tape::{NodeId, shape};
use mlgrad_core::walk::rules::{self, Template};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::callable::check_callable;
use super::session::Session;
use crate::array::Array;
use crate::error::OrRaise;
use crate::trace::{Trace, meta};
use crate::tree::Tree;

/// The recorded function; its arguments are those that it was recorded with, then what it takes from outside.
#[pyclass(frozen, module = "mlgrad")]
struct Closed {
    trace: Arc<Trace>,
    template: Template,
    result: Tree,
}

/// `f(*args)` for Arrays: its result; the Arrays that it takes from outside, as far as derivatives may flow to them; and f as
/// a function of both (`None` where there are none).
#[allow(clippy::type_complexity, reason = "the tuple that Python gets")]
#[pyfunction]
#[pyo3(signature = (f, *args))]
fn close_over<'py>(
    py: Python<'py>,
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<(Bound<'py, PyAny>, Vec<Py<Array>>, Option<Closed>)> {
    check_callable("close_over", f)?;
    let trace = Trace::current().ok_or_else(|| PyRuntimeError::new_err("close_over: no transform is open"))?;
    let session = Session::on(&trace);
    let start = trace.access().tape.len();
    let (mut seeds, mut handles) = (Vec::new(), Vec::new());
    for arg in args {
        let node = session.node(py, "close_over", &arg)?;
        let seed = trace.lock()?.tape.alias(node).or_raise(py)?;
        seeds.push(seed);
        handles.push(Array::wrap(py, &trace, seed)?);
    }
    let returned = f.call1(PyTuple::new(py, handles)?)?;
    let mut leaves = Vec::new();
    let result = Tree::flatten(&returned, &mut leaves)?;
    let nodes = leaves.iter().map(|leaf| session.node(py, "close_over", leaf)).collect::<PyResult<Vec<NodeId>>>()?;
    let outside = trace.lock()?.tape.captured(&nodes, &seeds, start);
    let captured = outside.iter().map(|&n| Array::wrap(py, &trace, n)).collect::<PyResult<Vec<_>>>()?;
    if outside.is_empty() {
        return Ok((returned, captured, None));
    }
    seeds.extend(outside);
    let template = Template { seeds, results: nodes.into_iter().map(Some).collect(), effects: Vec::new(), scope: 0 };
    Ok((returned, captured, Some(Closed { trace, template, result })))
}

#[pymethods]
impl Closed {
    #[pyo3(signature = (*args))]
    fn __call__(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let session = Session::on(&self.trace);
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(session.node(py, "close_over", &arg)?);
        }
        let found = {
            let mut state = self.trace.lock()?;
            if values.len() != self.template.seeds.len() {
                return Err(PyValueError::new_err(format!(
                    "a recorded function of {} arguments was called with {}",
                    self.template.seeds.len(),
                    values.len()
                )));
            }
            for (&seed, &value) in self.template.seeds.iter().zip(&values) {
                let ((want, dtype), (got, given)) = (meta(&state, seed), meta(&state, value));
                if (&want, dtype) != (&got, given) {
                    return Err(PyValueError::new_err(format!(
                        "a recorded function got an argument of shape {} and dtype {given}; it was recorded with {} and {dtype}",
                        shape::show(&got),
                        shape::show(&want)
                    )));
                }
            }
            rules::apply(&mut state.tape, &self.template, &values)
        }
        .or_raise(py)?;
        let mut handles = Vec::with_capacity(found.len());
        for node in found.into_iter().flatten() {
            handles.push(Array::wrap(py, &self.trace, node)?.into_any());
        }
        self.result.unflatten(py, &mut handles.into_iter())
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(close_over, m)?)
}
