//! vjp: the value of a function, and the map from cotangents of the result to those of the arguments.

use mlgrad_core::tape::NodeId;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::recorded::{Recorded, Returned};
use super::walks;
use crate::error::contained;
use crate::tree::Tree;

/// Maps a cotangent of the result to a tuple with one cotangent a primal. May be called any number of times.
#[pyclass(frozen, module = "mlgrad")]
pub struct VjpFunction(Recorded);

#[pymethods]
impl VjpFunction {
    fn __call__<'py>(&self, py: Python<'py>, cotangent: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
        contained(py, || self.pull(py, cotangent))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(self.0.refuse_pickle())
    }
}

impl VjpFunction {
    fn pull<'py>(&self, py: Python<'py>, cotangent: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
        let r = &self.0;
        let mark = r.mark()?;
        let mut leaves = Vec::new();
        let tree = Tree::flatten(cotangent, &mut leaves)?;
        if !tree.same(py, &r.result.tree)? {
            return Err(PyValueError::new_err(
                "vjp: the cotangent has another structure (of lists, tuples, dicts) than the result of the function",
            ));
        }
        let (mut outputs, mut inexact) = (Vec::new(), Vec::new());
        for (leaf, &y) in leaves.into_iter().zip(&r.result.nodes) {
            if r.trace.access().tape.dtype(y).is_inexact() {
                inexact.push(leaf);
                outputs.push(y);
            }
        }
        let aliases = r.aliases();
        let walk = |given: &[NodeId]| walks::vjp_filled(py, &r.trace, &outputs, given, &aliases);
        let leaves = match r.visitor(&inexact) {
            Some(visitor) => r.walk_for(py, &visitor, "cotangent", &inexact, &outputs, mark, walk)?,
            None => {
                let mut given = Vec::with_capacity(outputs.len());
                for (leaf, &y) in inexact.iter().zip(&outputs) {
                    given.push(r.seed(py, "cotangent", leaf, y)?);
                }
                r.deliver(py, &walk(&given)?, mark)?
            }
        };
        let mut leaves = leaves.into_iter();
        let parts: Vec<Py<PyAny>> =
            r.arguments.iter().map(|a| a.tree.unflatten(py, &mut leaves)).collect::<PyResult<_>>()?;
        PyTuple::new(py, parts)
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
    let (recorded, Returned { value, aux }) = contained(py, || Recorded::new("vjp", f, primals, has_aux, true))?;
    Ok(match aux {
        None => (value, VjpFunction(recorded)).into_pyobject(py)?.into_any(),
        Some(aux) => (value, VjpFunction(recorded), aux).into_pyobject(py)?.into_any(),
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(vjp, m)?)
}
