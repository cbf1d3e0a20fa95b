//! What lies inside control flow, as functions: for explanations.

use mlgrad_core::ops::control::{Body, Control};
use mlgrad_core::ops::{Op, Primitive};
use mlgrad_core::tape::NodeId;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::array::Array;
use crate::error::OrRaise;
use crate::trace::{Trace, meta};
use crate::transform::Session;

/// A body as a function of Arrays, to be called inside a transform; it returns all of its results.
#[pyclass(frozen, module = "mlgrad._core")]
pub struct BodyFunction(Body);

#[pymethods]
impl BodyFunction {
    /// Which of its parameters anything in it depends on.
    #[getter]
    fn reads(&self) -> Vec<bool> {
        (0..self.0.params().len()).map(|k| self.0.reads(k)).collect()
    }

    #[pyo3(signature = (*args))]
    fn __call__(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<Vec<Py<Array>>> {
        let trace =
            Trace::current().ok_or_else(|| PyRuntimeError::new_err("a body is called outside of a transform"))?;
        let session = Session::on(&trace);
        let params = self.0.params();
        if args.len() != params.len() {
            return Err(PyValueError::new_err(format!("a body of {} parameters got {}", params.len(), args.len())));
        }
        let mut nodes = Vec::with_capacity(params.len());
        for (arg, (shape, dtype)) in args.iter().zip(params) {
            let node = session.node(py, "a body", &arg)?;
            let mut state = trace.lock()?;
            if meta(&state, node).0 != *shape {
                return Err(PyValueError::new_err("a body got an array of another shape than it was recorded with"));
            }
            nodes.push(state.tape.cast(node, *dtype).or_raise(py)?);
        }
        let found = self.0.inline(&mut trace.lock()?.tape, &nodes).or_raise(py)?;
        if trace.keeps_lines {
            trace.note_line(py)?;
        }
        found.into_iter().map(|n| Array::wrap(py, &trace, n)).collect()
    }
}

/// What is inside the control flow that `node` is, or is a result of; `None` where it is neither.
pub fn inside<'py>(py: Python<'py>, trace: &Trace, node: NodeId) -> PyResult<Option<Bound<'py, PyDict>>> {
    let (op, inputs) = {
        let t = &trace.access().tape;
        let tuple = match t.op(node) {
            Op::Project(_) => t.input(node, 0),
            _ => node,
        };
        (t.op(tuple).clone(), t.inputs(tuple))
    };
    let Op::Control(c) = &op else { return Ok(None) };
    let d = PyDict::new(py);
    d.set_item("kind", op.name())?;
    d.set_item("inputs", inputs.iter().map(|x| x.0).collect::<Vec<_>>())?;
    let function = |b: &Body| Py::new(py, BodyFunction(b.clone()));
    match c {
        Control::Branch(b) => {
            d.set_item("bodies", b.bodies.iter().map(function).collect::<PyResult<Vec<_>>>()?)?;
        }
        Control::For(f) => {
            d.set_item("bodies", vec![function(&f.body)?])?;
            d.set_item("consts", f.consts)?;
            d.set_item("carries", f.carries)?;
            d.set_item("length", f.length)?;
            d.set_item("reverse", f.reverse)?;
        }
        // the derivative of a loop goes over its steps twice: there is no one body to show
        Control::While(w) if w.stages.len() > 1 => return Ok(None),
        Control::While(w) => {
            d.set_item("bodies", vec![function(&w.stages[0].body)?])?;
            d.set_item("condition", function(&w.condition)?)?;
            d.set_item("consts", w.consts)?;
            d.set_item("carries", w.stages[0].carries())?;
        }
    }
    Ok(Some(d))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<BodyFunction>()
}
