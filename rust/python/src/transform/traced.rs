//! traced and lift: how transforms that are composed of others share one tape.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::callable::check_callable;
use super::session::{Session, fresh, wrap_argument};
use crate::array::Array;
use crate::convert;
use crate::error::{OrRaise, contained};
use crate::trace::Trace;
use crate::tree::Tree;

/// `f(*args, **kwargs)` with a trace open: the Arrays that it returns are computed together, as one program. Inside another
/// transform it is a plain call.
#[pyfunction]
#[pyo3(signature = (f, *args, **kwargs))]
fn traced<'py>(
    py: Python<'py>,
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    check_callable("traced", f)?;
    if Trace::current().is_some() {
        return f.call(args, kwargs);
    }
    contained(py, || computed(py, f, args, kwargs))
}

fn computed<'py>(
    py: Python<'py>,
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut session = Session::enter();
    let returned = f.call(args, kwargs)?;
    let mut leaves = Vec::new();
    let tree = Tree::flatten(&returned, &mut leaves)?;
    let mut nodes = Vec::new();
    for leaf in &leaves {
        if let Ok(a) = leaf.cast::<Array>() {
            nodes.push(a.get().node(py)?);
        }
    }
    let mut computed = session.deliver(py, &nodes, false)?.into_iter();
    let leaves: Vec<Py<PyAny>> = leaves
        .into_iter()
        .filter_map(|leaf| if leaf.is_instance_of::<Array>() { computed.next().map(Ok) } else { Some(fresh(&leaf)) })
        .collect::<PyResult<_>>()?;
    Ok(tree.unflatten(py, &mut leaves.into_iter())?.into_bound(py))
}

/// `f(*args, **kwargs)` as if no trace were open: for code that is not part of what is recorded, such as a black-box solver.
#[pyfunction]
#[pyo3(signature = (f, *args, **kwargs))]
fn untraced<'py>(
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let _hidden = Trace::hide();
    f.call(args, kwargs)
}

/// The numeric leaves of a tree as Arrays on the trace that is open.
#[pyfunction]
fn lift(py: Python<'_>, tree: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let trace = Trace::current().ok_or_else(|| PyRuntimeError::new_err("lift: no transform is open"))?;
    let mut leaves = Vec::new();
    let structure = Tree::flatten(tree, &mut leaves)?;
    let mut lifted = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        if leaf.is_instance_of::<Array>() {
            lifted.push(leaf.unbind());
            continue;
        }
        lifted.push(match convert::try_lift(py, &trace, &leaf)? {
            None => leaf.unbind(),
            Some(operand) => {
                let (node, weak) = {
                    let mut state = trace.lock()?;
                    let weak = operand.is_weak(&state.tape);
                    (operand.to_node(&mut state.tape).or_raise(py)?, weak)
                };
                wrap_argument(py, &trace, node, weak)?.into_any()
            }
        });
    }
    structure.unflatten(py, &mut lifted.into_iter())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(traced, m)?)?;
    m.add_function(wrap_pyfunction!(untraced, m)?)?;
    m.add_function(wrap_pyfunction!(lift, m)?)
}
