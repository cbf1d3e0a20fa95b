//! Sorting, searching, and elements by index.

use mlgrad_core::numpy::index::Index;
use mlgrad_core::numpy::sort::{self, Mode};
use mlgrad_core::ops::Binary;
use mlgrad_core::tape::DType;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{finish, on, on_one, on_trace, optional};
use crate::args::{self, Any, refuse};
use crate::array::{Array, Made, record};
use crate::{convert, leave};

type Object = PyResult<Py<PyAny>>;

#[pyfunction]
#[pyo3(name = "sort", signature = (a, axis=Some(-1), kind=None, order=None, *, stable=None))]
fn sorted(
    a: &Any<'_>,
    axis: Option<i64>,
    kind: Option<&Any<'_>>,
    order: Option<&Any<'_>>,
    stable: Option<&Any<'_>>,
) -> PyResult<Array> {
    // every kind of sort is a stable one here
    let _ = (kind, stable);
    refuse("sort", &[("order", order)])?;
    on_one("sort", a, |t, x| sort::sort(t, x, axis))
}

/// `x.sort()`
pub fn sort_in_place(py: Python<'_>, a: &Array, axis: i64) -> PyResult<()> {
    let node = record(py, a.trace(), |s| {
        let x = a.node_in(s)?;
        sort::sort(&mut s.tape, x, Some(axis))
    })?;
    a.store(py, node)
}

#[pyfunction]
#[pyo3(signature = (a, axis=Some(-1), kind=None, order=None, *, stable=None))]
fn argsort(
    a: &Any<'_>,
    axis: Option<i64>,
    kind: Option<&Any<'_>>,
    order: Option<&Any<'_>>,
    stable: Option<&Any<'_>>,
) -> PyResult<Array> {
    let _ = (kind, stable);
    refuse("argsort", &[("order", order)])?;
    on_one("argsort", a, |t, x| sort::argsort(t, x, axis))
}

/// The arrays that `nonzero` gives: their length depends on values, so the count is taken at once (a guard under jit).
fn nonzero_arrays(a: &Any<'_>) -> PyResult<Vec<Py<Array>>> {
    let py = a.py();
    let trace = args::trace_of("nonzero", &[a], None)?;
    let x = convert::lift(py, &trace, a)?;
    let (x, mask) = record(py, &trace, |s| {
        let t = &mut s.tape;
        let x = x.to_node(t)?;
        let zero = t.lit_like(0.0, x)?;
        let mask = if t.dtype(x) == DType::Bool { x } else { t.binary(Binary::NotEqual, x, zero)? };
        Ok((x, mask))
    })?;
    let count = leave::count(py, &trace, mask)?;
    let made: Vec<Made> = record(py, &trace, |s| {
        let nodes = sort::nonzero(&mut s.tape, x, count)?;
        Ok(nodes.into_iter().map(|n| Made::keep(s, n)).collect())
    })?;
    made.into_iter().map(|m| Py::new(py, m.into_array(&trace))).collect()
}

pub fn nonzero_of(a: &Any<'_>) -> Object {
    Ok(PyTuple::new(a.py(), nonzero_arrays(a)?)?.into_any().unbind())
}

#[pyfunction]
fn nonzero(a: &Any<'_>) -> Object {
    nonzero_of(a)
}

#[pyfunction]
fn flatnonzero(a: &Any<'_>) -> Object {
    let flat = super::shaping::flatten(a.py(), super::shaping::own("flatnonzero", a)?.get())?;
    let flat = Py::new(a.py(), flat)?;
    let mut all = nonzero_arrays(flat.bind(a.py()).as_any())?;
    Ok(all.swap_remove(0).into_any())
}

#[pyfunction]
fn argwhere(a: &Any<'_>) -> PyResult<Array> {
    let all = nonzero_arrays(a)?;
    let py = a.py();
    let trace = args::trace_of("argwhere", &[a], None)?;
    let operands = all.iter().map(|x| x.get().operand(py)).collect::<PyResult<Vec<_>>>()?;
    on_trace(py, &trace, |t| mlgrad_core::numpy::join::stack(t, &operands, 1))
}

#[pyfunction]
#[pyo3(signature = (a, v, side="left", sorter=None))]
fn searchsorted(a: &Any<'_>, v: &Any<'_>, side: &str, sorter: Option<&Any<'_>>) -> PyResult<Array> {
    refuse("searchsorted", &[("sorter", sorter)])?;
    let right = match side {
        "left" => false,
        "right" => true,
        other => {
            return Err(PyValueError::new_err(format!("searchsorted: side must be 'left' or 'right', got '{other}'")));
        }
    };
    on("searchsorted", [a, v], |t, [a, v]| {
        let a = a.to_node(t)?;
        sort::searchsorted(t, a, v, right)
    })
}

fn mode(name: &str) -> PyResult<Mode> {
    match name {
        "raise" => Ok(Mode::Raise),
        "wrap" => Ok(Mode::Wrap),
        "clip" => Ok(Mode::Clip),
        _ => Err(PyValueError::new_err(format!("take: mode must be 'raise', 'wrap' or 'clip', got '{name}'"))),
    }
}

#[pyfunction]
#[pyo3(signature = (a, indices, axis=None, out=None, mode="raise"))]
fn take(a: &Any<'_>, indices: &Any<'_>, axis: Option<i64>, out: Option<&Any<'_>>, mode: &str) -> Object {
    let how = self::mode(mode)?;
    let y = on("take", [a, indices], |t, [a, i]| {
        let a = a.to_node(t)?;
        sort::take(t, a, i, axis, how)
    })?;
    finish(a.py(), "take", y, out)
}

#[pyfunction]
#[pyo3(signature = (arr, indices, axis=Some(-1)))]
fn take_along_axis(arr: &Any<'_>, indices: &Any<'_>, axis: Option<i64>) -> PyResult<Array> {
    on("take_along_axis", [arr, indices], |t, [a, i]| {
        let (a, i) = (a.to_node(t)?, i.to_node(t)?);
        sort::take_along_axis(t, a, i, axis)
    })
}

#[pyfunction]
#[pyo3(signature = (condition, a, axis=None, out=None))]
fn compress(condition: &Any<'_>, a: &Any<'_>, axis: Option<i64>, out: Option<&Any<'_>>) -> Object {
    let py = a.py();
    let trace = args::trace_of("compress", &[condition, a], None)?;
    let a = super::shaping::own("compress", a)?;
    let flat;
    let (target, axis) = match axis {
        None => {
            flat = super::shaping::flatten(py, a.get())?;
            (&flat, 0)
        }
        Some(k) => {
            let k = crate::error::OrRaise::or_raise(mlgrad_core::tape::shape::axis("compress", k, a.get().ndim()), py)?;
            (a.get(), k)
        }
    };
    let mask = convert::lift(py, &trace, condition)?;
    let mask = record(py, &trace, |s| {
        let m = mask.to_node(&mut s.tape)?;
        s.tape.cast(m, DType::Bool)
    })?;
    let count = leave::count(py, &trace, mask)?;
    let x = target.node(py)?;
    let y = on_trace(py, &trace, |t| {
        let places = sort::nonzero(t, mask, count)?;
        let whole = Index::Slice { start: None, stop: None, step: None };
        let mut expression = vec![whole; axis];
        expression.extend(places.into_iter().map(Index::Array));
        mlgrad_core::numpy::index::get(t, x, &expression)
    })?;
    finish(py, "compress", y, out)
}

#[pyfunction]
fn extract(condition: &Any<'_>, arr: &Any<'_>) -> Object {
    let py = arr.py();
    let flat = |what: &str, x: &Any<'_>| super::shaping::flatten(py, super::shaping::own(what, x)?.get());
    let mask = match condition.cast_exact::<Array>() {
        Ok(_) => Py::new(py, flat("extract", condition)?)?.into_any(),
        Err(_) => convert::as_ndarray(condition)?.call_method0("ravel")?.unbind(),
    };
    let arr = match arr.cast_exact::<Array>() {
        Ok(_) => arr.clone(),
        Err(_) => convert::as_ndarray(arr)?.into_any(),
    };
    compress(mask.bind(py), &arr, None, None)
}

/// The elements that remain: NumPy itself says which.
#[pyfunction]
#[pyo3(signature = (arr, obj, axis=None))]
fn delete(arr: &Any<'_>, obj: &Any<'_>, axis: Option<i64>) -> PyResult<Array> {
    let py = arr.py();
    if obj.is_instance_of::<Array>() {
        return Err(PyTypeError::new_err(
            "delete: what is deleted cannot be a traced array; for a mask write x[~mask], for a number int(k)",
        ));
    }
    let a = super::shaping::own("delete", arr)?;
    let a = a.get();
    let n = match axis {
        None => a.size(),
        Some(k) => a.shape[crate::error::OrRaise::or_raise(mlgrad_core::tape::shape::axis("delete", k, a.ndim()), py)?],
    };
    let numpy = py.import("numpy")?;
    let rest = numpy.call_method1("delete", (numpy.call_method1("arange", (n,))?, obj))?;
    let i = convert::lift(py, a.trace(), &rest)?;
    let x = a.node(py)?;
    on_trace(py, a.trace(), |t| sort::take(t, x, i, axis, Mode::Raise))
}

#[pyfunction]
#[pyo3(signature = (x, xp, fp, left=None, right=None, period=None))]
fn interp(
    x: &Any<'_>,
    xp: &Any<'_>,
    fp: &Any<'_>,
    left: Option<&Any<'_>>,
    right: Option<&Any<'_>>,
    period: Option<&Any<'_>>,
) -> PyResult<Array> {
    refuse("interp", &[("period", period)])?;
    let py = x.py();
    let all: Vec<&Any<'_>> = [Some(x), Some(xp), Some(fp), left, right].into_iter().flatten().collect();
    let trace = args::trace_of("interp", &all, None)?;
    let (x, xp, fp) = (convert::lift(py, &trace, x)?, convert::lift(py, &trace, xp)?, convert::lift(py, &trace, fp)?);
    let (left, right) = (optional(py, &trace, left)?, optional(py, &trace, right)?);
    on_trace(py, &trace, |t| {
        let (xp, fp) = (xp.to_node(t)?, fp.to_node(t)?);
        sort::interp(t, x, xp, fp, left, right)
    })
}

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        sorted: ["sort"], argsort: ["argsort"], nonzero: ["nonzero"], flatnonzero: ["flatnonzero"], argwhere: ["argwhere"],
        searchsorted: ["searchsorted"], take: ["take"], take_along_axis: ["take_along_axis"],
        compress: ["compress"], extract: ["extract"], delete: ["delete"], interp: ["interp"],
    });
    Ok(())
}
