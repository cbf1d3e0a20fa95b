//! Choices between values: where, select, clip, nan_to_num, isclose and what asks whether arrays are equal.

use mlgrad_core::numpy::{Operand, choose};
use mlgrad_core::ops::ReduceOp;
use mlgrad_core::tape::Axes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{finish, on, on_trace, optional, sequence};
use crate::args::{self, Any};
use crate::{convert, leave};

#[pyfunction]
#[pyo3(name = "where", signature = (condition, x=None, y=None, /))]
fn where_(condition: &Any<'_>, x: Option<&Any<'_>>, y: Option<&Any<'_>>) -> PyResult<Py<PyAny>> {
    let py = condition.py();
    match (x, y) {
        (Some(x), Some(y)) => {
            Ok(Py::new(py, on("where", [condition, x, y], |t, [c, x, y]| choose::where3(t, c, x, y))?)?.into_any())
        }
        (None, None) => super::order::nonzero_of(condition),
        _ => Err(PyValueError::new_err("either both or neither of x and y should be given")),
    }
}

#[pyfunction]
#[pyo3(signature = (condlist, choicelist, default=None))]
fn select(condlist: &Any<'_>, choicelist: &Any<'_>, default: Option<&Any<'_>>) -> PyResult<Py<PyAny>> {
    let py = condlist.py();
    let more: Vec<&Any<'_>> = [Some(choicelist), default].into_iter().flatten().collect();
    let (trace, conditions) = sequence("select", condlist, &more)?;
    let (_, choices) = sequence("select", choicelist, &[condlist, choicelist])?;
    let default = optional(py, &trace, default)?.unwrap_or(Operand::Int(0));
    let y = on_trace(py, &trace, |t| choose::select(t, &conditions, &choices, default))?;
    Ok(Py::new(py, y)?.into_any())
}

#[pyfunction]
#[pyo3(signature = (a, a_min=None, a_max=None, out=None, *, min=None, max=None, **kwargs))]
fn clip(
    a: &Any<'_>,
    a_min: Option<&Any<'_>>,
    a_max: Option<&Any<'_>>,
    out: Option<&Any<'_>>,
    min: Option<&Any<'_>>,
    max: Option<&Any<'_>>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    if let Some((key, _)) = kwargs.and_then(|k| k.iter().next()) {
        return Err(PyTypeError::new_err(format!(
            "clip: the argument {key} is not supported for traced arrays; leave it out"
        )));
    }
    let py = a.py();
    let (low, high) = (a_min.or(min), a_max.or(max));
    let all: Vec<&Any<'_>> = [Some(a), low, high].into_iter().flatten().collect();
    let trace = args::trace_of("clip", &all, None)?;
    let x = convert::lift(py, &trace, a)?;
    let (low, high) = (optional(py, &trace, low)?, optional(py, &trace, high)?);
    let y = on_trace(py, &trace, |t| choose::clip(t, x, low, high))?;
    finish(py, "clip", y, out)
}

#[pyfunction]
#[pyo3(signature = (x, copy=true, nan=None, posinf=None, neginf=None))]
fn nan_to_num(
    x: &Bound<'_, PyAny>,
    copy: bool,
    nan: Option<&Any<'_>>,
    posinf: Option<&Any<'_>>,
    neginf: Option<&Any<'_>>,
) -> PyResult<Py<PyAny>> {
    let py = x.py();
    let trace = args::trace_of("nan_to_num", &[x], None)?;
    let a = convert::lift(py, &trace, x)?;
    let nan = optional(py, &trace, nan)?.unwrap_or(Operand::Float(0.0));
    let (p, n) = (optional(py, &trace, posinf)?, optional(py, &trace, neginf)?);
    let y = on_trace(py, &trace, |t| {
        let a = a.to_node(t)?;
        choose::nan_to_num(t, a, nan, p, n)
    })?;
    finish(py, "nan_to_num", y, (!copy).then_some(x))
}

#[pyfunction]
#[pyo3(signature = (a, b, rtol=1e-5, atol=1e-8, equal_nan=false))]
fn isclose(a: &Any<'_>, b: &Any<'_>, rtol: f64, atol: f64, equal_nan: bool) -> PyResult<crate::array::Array> {
    on("isclose", [a, b], |t, [a, b]| choose::isclose(t, a, b, rtol, atol, equal_nan))
}

/// All of a bool result, as a Python bool: control flow, and so a guard under jit.
fn all_of(py: Python<'_>, a: &crate::array::Array) -> PyResult<bool> {
    let x = a.node(py)?;
    let all = on_trace(py, a.trace(), |t| {
        let axes: Axes = (0..t.rank(x) as u8).collect();
        t.reduce(ReduceOp::All, x, &axes)
    })?;
    leave::truth(py, &all)
}

#[pyfunction]
#[pyo3(signature = (a, b, rtol=1e-5, atol=1e-8, equal_nan=false))]
fn allclose(a: &Any<'_>, b: &Any<'_>, rtol: f64, atol: f64, equal_nan: bool) -> PyResult<bool> {
    all_of(a.py(), &isclose(a, b, rtol, atol, equal_nan)?)
}

fn shapes_of(a: &Any<'_>, b: &Any<'_>) -> PyResult<(mlgrad_core::tape::Shape, mlgrad_core::tape::Shape)> {
    let py = a.py();
    let trace = args::trace_of("array_equal", &[a, b], None)?;
    let (x, y) = (convert::lift(py, &trace, a)?, convert::lift(py, &trace, b)?);
    crate::array::record(py, &trace, |s| Ok((x.shape(&s.tape), y.shape(&s.tape))))
}

#[pyfunction]
#[pyo3(signature = (a1, a2, equal_nan=false))]
fn array_equal(a1: &Any<'_>, a2: &Any<'_>, equal_nan: bool) -> PyResult<bool> {
    let (x, y) = shapes_of(a1, a2)?;
    if x != y {
        return Ok(false);
    }
    let equal = on("array_equal", [a1, a2], |t, pair| {
        if equal_nan { choose::isclose(t, pair[0], pair[1], 0.0, 0.0, true) } else { equal_nodes(t, pair) }
    })?;
    all_of(a1.py(), &equal)
}

fn equal_nodes(t: &mut mlgrad_core::tape::Tape, pair: [Operand; 2]) -> mlgrad_core::Result<mlgrad_core::tape::NodeId> {
    let f = mlgrad_core::numpy::ufunc::Ufunc::by_name("equal")
        .ok_or_else(|| mlgrad_core::Error::Internal("no ufunc equal".into()))?;
    Ok(f.call(t, &pair)?[0])
}

#[pyfunction]
fn array_equiv(a1: &Any<'_>, a2: &Any<'_>) -> PyResult<bool> {
    let (x, y) = shapes_of(a1, a2)?;
    if mlgrad_core::tape::shape::broadcast("array_equiv", &[&x, &y]).is_err() {
        return Ok(false);
    }
    all_of(a1.py(), &on("array_equiv", [a1, a2], equal_nodes)?)
}

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        where_: ["where"], select: ["select"], clip: ["clip"], nan_to_num: ["nan_to_num"],
        isclose: ["isclose"], allclose: ["allclose"], array_equal: ["array_equal"], array_equiv: ["array_equiv"],
    });
    Ok(())
}
