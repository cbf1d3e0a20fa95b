//! stop_gradient: a value as a constant.

use pyo3::prelude::*;

use crate::array::Array;
use crate::error::OrRaise;
use crate::tree::Tree;
use mlgrad_core::tape::{NodeId, Tape};

/// The tree with each Array in it taken through `f`.
fn mapped(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    f: impl Fn(&mut Tape, NodeId) -> mlgrad_core::Result<NodeId>,
) -> PyResult<Py<PyAny>> {
    let mut leaves = Vec::new();
    let tree = Tree::flatten(x, &mut leaves)?;
    let found: Vec<Py<PyAny>> = leaves
        .into_iter()
        .map(|leaf| {
            let Ok(a) = leaf.cast::<Array>() else { return Ok(leaf.unbind()) };
            let a = a.get();
            let node = a.node(py)?;
            let node = f(&mut a.trace().lock()?.tape, node).or_raise(py)?;
            Ok(Array::wrap_as(py, a.trace(), node, a.kind)?.into_any())
        })
        .collect::<PyResult<_>>()?;
    tree.unflatten(py, &mut found.into_iter())
}

/// `x` as a constant for derivatives of every order. Its value may be taken out with float() or np.asarray().
#[pyfunction]
fn stop_gradient(py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    mapped(py, x, |t, node| t.stop_gradient(node))
}

/// `x`, where structural zeros of its cotangent become numbers.
#[pyfunction]
fn dense(py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    mapped(py, x, |t, node| t.dense(node))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(stop_gradient, m)?)?;
    m.add_function(wrap_pyfunction!(dense, m)?)
}
