//! linearize: the value of a function, and its derivative at that point as a map of tangents.

use mlgrad_core::tape::NodeId;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::recorded::{Recorded, Returned};
use super::walks;
use crate::error::contained;
use crate::tree::Tree;

/// Maps one tangent a primal to the tangent of the result. May be called any number of times.
#[pyclass(frozen, module = "mlgrad")]
pub struct JvpFunction(Recorded);

#[pymethods]
impl JvpFunction {
    #[pyo3(signature = (*tangents))]
    fn __call__(&self, py: Python<'_>, tangents: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        contained(py, || self.push(py, tangents))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(self.0.refuse_pickle())
    }
}

impl JvpFunction {
    fn push(&self, py: Python<'_>, tangents: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let r = &self.0;
        let mark = r.mark()?;
        if tangents.len() != r.arguments.len() {
            return Err(PyValueError::new_err(format!(
                "linearize: the function was recorded with {} primals, but {} tangents are given",
                r.arguments.len(),
                tangents.len()
            )));
        }
        let (mut all, aliases) = (Vec::new(), r.aliases());
        for (k, (tangent, argument)) in tangents.iter().zip(&r.arguments).enumerate() {
            let mut leaves = Vec::new();
            if !Tree::flatten(&tangent, &mut leaves)?.same(py, &argument.tree)? {
                return Err(PyValueError::new_err(format!(
                    "linearize: tangent {k} has another structure (of lists, tuples, dicts) than primal {k}"
                )));
            }
            all.extend(leaves);
        }
        let walk = |given: &[NodeId]| {
            let directions: Vec<Option<NodeId>> = given.iter().copied().map(Some).collect();
            walks::jvp_filled(py, &r.trace, &aliases, &directions, &r.result.nodes)
        };
        let leaves = match r.visitor(&all) {
            Some(visitor) => r.walk_for(py, &visitor, "tangent", &all, &aliases, mark, walk)?,
            None => {
                let mut given = Vec::with_capacity(all.len());
                for (leaf, &alias) in all.iter().zip(&aliases) {
                    given.push(r.seed(py, "tangent", leaf, alias)?);
                }
                r.deliver(py, &walk(&given)?, mark)?
            }
        };
        let mut leaves = leaves.into_iter();
        r.result.tree.unflatten(py, &mut leaves)
    }
}

/// `(f(*primals), jvp_fn)`: jvp_fn(*tangents) is the derivative at primals in that direction; f is recorded once.
#[pyfunction]
#[pyo3(signature = (f, *primals))]
fn linearize<'py>(
    py: Python<'py>,
    f: &Bound<'py, PyAny>,
    primals: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let (recorded, Returned { value, .. }) = contained(py, || Recorded::new("linearize", f, primals, false, false))?;
    Ok((value, JvpFunction(recorded)).into_pyobject(py)?.into_any())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(linearize, m)?)
}
