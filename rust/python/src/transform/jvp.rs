//! jvp: the value of a function and its derivative in one direction.

use mlgrad_core::tape::{NodeId, shape};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::callable::{check_callable, describe};
use super::session::{Session, any_array};
use super::walks;
use crate::error::{OrRaise, contained};
use crate::tree::Tree;

/// A direction for `alias`: a leaf of the tangents, in the shape and dtype of the primal.
pub fn direction(
    session: &Session,
    py: Python<'_>,
    what: &str,
    which: &str,
    like: NodeId,
    leaf: &Bound<'_, PyAny>,
) -> PyResult<NodeId> {
    let x = session.node(py, what, leaf)?;
    let mut state = session.trace.lock()?;
    let t = &mut state.tape;
    if t.shape(x) != t.shape(like) {
        return Err(PyValueError::new_err(format!(
            "{what}: {which} has shape {}, but it must have that of what it belongs to, {}",
            shape::show(t.shape(x)),
            shape::show(t.shape(like))
        )));
    }
    let to = t.dtype(like);
    t.cast(x, to).or_raise(py)
}

/// The items of a tuple or list of primals or tangents.
fn items<'py>(what: &str, name: &str, given: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if given.is_instance_of::<PyTuple>() || given.is_instance_of::<PyList>() {
        return given.try_iter()?.collect();
    }
    Err(PyTypeError::new_err(format!(
        "{what}: {name} must be a tuple with one entry an argument of the function, got {}; write (x,) for one argument",
        given.get_type().name()?
    )))
}

/// `(f(*primals), derivative of f at primals in the direction of tangents)`.
#[pyfunction]
fn jvp<'py>(
    py: Python<'py>,
    f: &Bound<'py, PyAny>,
    primals: &Bound<'py, PyAny>,
    tangents: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    contained(py, || forward(py, f, primals, tangents))
}

fn forward<'py>(
    py: Python<'py>,
    f: &Bound<'py, PyAny>,
    primals: &Bound<'py, PyAny>,
    tangents: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    check_callable("jvp", f)?;
    let primals = items("jvp", "primals", primals)?;
    let tangents = items("jvp", "tangents", tangents)?;
    if primals.len() != tangents.len() {
        return Err(PyValueError::new_err(format!(
            "jvp: {} primals but {} tangents; give one tangent for each primal of {}",
            primals.len(),
            tangents.len(),
            describe(f)
        )));
    }
    let mut session = Session::enter();
    let (mut aliases, mut directions, mut args) = (Vec::new(), Vec::new(), Vec::new());
    for (k, (p, d)) in primals.iter().zip(&tangents).enumerate() {
        let (leaves, argument) = session.argument("jvp", format_args!("primal {k}"), p)?;
        let mut parts = Vec::new();
        let tree = Tree::flatten(d, &mut parts)?;
        if !tree.same(py, &leaves.tree)? {
            return Err(PyValueError::new_err(format!(
                "jvp: tangent {k} has another structure (of lists, tuples, dicts) than primal {k}"
            )));
        }
        for (part, &alias) in parts.iter().zip(&leaves.nodes) {
            directions.push(Some(direction(&session, py, "jvp", &format!("tangent {k}"), alias, part)?));
        }
        aliases.extend(leaves.nodes);
        args.push(argument);
    }
    let args = PyTuple::new(py, args)?;
    let returned = f.call1(&args)?;
    let result = session.result("jvp", &returned)?;
    let mut wanted = result.nodes.clone();
    wanted.extend(walks::jvp_filled(py, &session.trace, &aliases, &directions, &result.nodes)?);
    let given = PyTuple::new(py, primals.iter().chain(&tangents).collect::<Vec<_>>())?;
    let arrays = !session.outermost && any_array(&given, None)?;
    let mut out = session.deliver(py, &wanted, arrays)?.into_iter();
    let value = result.tree.unflatten(py, &mut out)?;
    let tangent = result.tree.unflatten(py, &mut out)?;
    Ok((value, tangent).into_pyobject(py)?.into_any())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(jvp, m)?)
}
