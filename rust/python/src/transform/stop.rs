//! stop_gradient: a value as a constant.

use pyo3::prelude::*;

use crate::array::Array;
use crate::error::OrRaise;
use crate::tree::Tree;

/// `x` as a constant for derivatives of every order. Its value may be taken out with float() or np.asarray().
#[pyfunction]
fn stop_gradient(py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let mut leaves = Vec::new();
    let tree = Tree::flatten(x, &mut leaves)?;
    let stopped: Vec<Py<PyAny>> = leaves
        .into_iter()
        .map(|leaf| {
            let Ok(a) = leaf.cast::<Array>() else { return Ok(leaf.unbind()) };
            let a = a.get();
            let node = a.node(py)?;
            let node = a.trace().lock()?.tape.stop_gradient(node).or_raise(py)?;
            Ok(Array::wrap_as(py, a.trace(), node, a.kind)?.into_any())
        })
        .collect::<PyResult<_>>()?;
    tree.unflatten(py, &mut stopped.into_iter())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(stop_gradient, m)?)
}
