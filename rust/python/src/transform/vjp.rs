//! vjp: the value of a function, and the map from cotangents of the result to those of the arguments.

use std::sync::Arc;

use mlgrad_core::tape::{NodeId, shape};
use mlgrad_core::walk;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::callable::check_callable;
use super::session::{Leaves, Session, any_array, copy_any};
use crate::array::Array;
use crate::convert;
use crate::error::OrRaise;
use crate::trace::{Trace, known, meta};
use crate::tree::Tree;

/// Maps a cotangent of the result to a tuple with one cotangent a primal. May be called any number of times.
#[pyclass(frozen, module = "mlgrad")]
pub struct VjpFunction {
    trace: Arc<Trace>,
    outermost: bool,
    arguments: Vec<Leaves>,
    result: Leaves,
}

impl Drop for VjpFunction {
    fn drop(&mut self) {
        if self.outermost {
            self.trace.close();
        }
    }
}

impl VjpFunction {
    /// A leaf of the cotangent as a node like the output `y`.
    fn cotangent(&self, py: Python<'_>, leaf: &Bound<'_, PyAny>, y: NodeId) -> PyResult<NodeId> {
        let (want, dtype) = meta(&self.trace.access(), y);
        let given = match leaf.cast::<Array>() {
            Ok(a) if !self.outermost => a.get().node(py)?,
            Ok(_) => {
                return Err(PyTypeError::new_err(
                    "vjp: the cotangent is an Array of a transform that began after this vjp; call vjp inside that transform",
                ));
            }
            Err(_) => {
                let (value, shape, dtype) = copy_any(py, leaf)?;
                self.trace.access().tape.param(value, shape, dtype).or_raise(py)?
            }
        };
        let mut state = self.trace.access();
        let t = &mut state.tape;
        if *t.shape(given) != want {
            return Err(PyValueError::new_err(format!(
                "vjp: the cotangent has shape {}, but the result that it belongs to has shape {}",
                shape::show(t.shape(given)),
                shape::show(&want)
            )));
        }
        t.cast(given, dtype).or_raise(py)
    }
}

#[pymethods]
impl VjpFunction {
    fn __call__<'py>(&self, py: Python<'py>, cotangent: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
        let mut leaves = Vec::new();
        let tree = Tree::flatten(cotangent, &mut leaves)?;
        if !tree.same(py, &self.result.tree)? {
            return Err(PyValueError::new_err(
                "vjp: the cotangent is not the same tree of containers as the result of the function",
            ));
        }
        let start = self.trace.access().tape.len();
        let mut outputs = Vec::new();
        let mut given = Vec::new();
        for (leaf, &y) in leaves.iter().zip(&self.result.nodes) {
            if self.trace.access().tape.dtype(y).is_inexact() {
                given.push(self.cotangent(py, leaf, y)?);
                outputs.push(y);
            }
        }
        let aliases: Vec<NodeId> = self.arguments.iter().flat_map(|a| a.nodes.iter().copied()).collect();
        let found: Vec<NodeId> = {
            let mut state = self.trace.access();
            let t = &mut state.tape;
            let found = walk::vjp(t, &outputs, &given, &aliases).or_raise(py)?;
            let zeros = |(g, &a): (Option<NodeId>, &NodeId)| g.map_or_else(|| t.lit_like(0.0, a), Ok);
            found.into_iter().zip(&aliases).map(zeros).collect::<mlgrad_core::Result<_>>().or_raise(py)?
        };
        let leaves: Vec<Py<PyAny>> = if self.outermost {
            let out = self.trace.finish(py, &found).and_then(|()| {
                found
                    .iter()
                    .map(|&n| {
                        let (value, (shape, dtype)) = {
                            let state = self.trace.access();
                            (state.tape.node(n).value.clone(), meta(&state, n))
                        };
                        convert::export(py, known(value)?, &shape, dtype)
                    })
                    .collect::<PyResult<Vec<_>>>()
            });
            // nobody refers to what this call has recorded
            self.trace.access().tape.truncate(start);
            out?
        } else {
            found.iter().map(|&n| Ok(Array::wrap(py, &self.trace, n)?.into_any())).collect::<PyResult<_>>()?
        };
        let mut leaves = leaves.into_iter();
        let parts: Vec<Py<PyAny>> =
            self.arguments.iter().map(|a| a.tree.unflatten(py, &mut leaves)).collect::<PyResult<_>>()?;
        PyTuple::new(py, parts)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a vjp function holds a tape and cannot be pickled; pickle the function and its arguments"))
    }
}

/// `(f(*primals), vjp_fn)`; with has_aux, f returns (out, aux) and the result is `(out, vjp_fn, aux)`.
#[pyfunction]
#[pyo3(signature = (f, *primals, has_aux = false))]
fn vjp<'py>(
    py: Python<'py>,
    f: &Bound<'py, PyAny>,
    primals: &Bound<'py, PyTuple>,
    has_aux: bool,
) -> PyResult<Bound<'py, PyAny>> {
    check_callable("vjp", f)?;
    let mut session = Session::enter();
    let (mut arguments, mut args) = (Vec::new(), Vec::new());
    for (k, p) in primals.iter().enumerate() {
        let (leaves, argument) = session.argument("vjp", &format!("primal {k}"), &p)?;
        arguments.push(leaves);
        args.push(argument);
    }
    let returned = f.call1(PyTuple::new(py, args)?)?;
    let (out, aux) = if has_aux {
        match returned.cast::<PyTuple>() {
            Ok(t) if t.len() == 2 => (t.get_item(0)?, Some(t.get_item(1)?)),
            _ => {
                return Err(PyTypeError::new_err(format!(
                    "vjp: with has_aux=True the function must return (out, aux), but it returned {}",
                    returned.get_type().name()?
                )));
            }
        }
    } else {
        (returned, None)
    };
    let result = session.result("vjp", &out)?;
    let aux = aux.map(|a| session.result("vjp", &a)).transpose()?;
    let wanted: Vec<NodeId> = result.nodes.iter().chain(aux.iter().flat_map(|a| &a.nodes)).copied().collect();
    let leaves = if session.outermost {
        // intermediate results stay for the calls of vjp_fn
        session.trace.evaluate(py, &wanted)?;
        session.export(py, &wanted)?
    } else {
        let arrays = any_array(primals, None)?;
        session.deliver(py, &wanted, arrays)?
    };
    let mut leaves = leaves.into_iter();
    let value = result.tree.unflatten(py, &mut leaves)?;
    let aux = aux.map(|a| a.tree.unflatten(py, &mut leaves)).transpose()?;
    if session.outermost {
        session.keep();
        session.trace.seal();
    }
    let back = VjpFunction { trace: session.trace.clone(), outermost: session.outermost, arguments, result };
    Ok(match aux {
        None => (value, back).into_pyobject(py)?.into_any(),
        Some(aux) => (value, back, aux).into_pyobject(py)?.into_any(),
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(vjp, m)?)
}
