//! What depends on shapes and dtypes alone, and text.

use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyTuple};

use super::shaping::own;
use crate::args::Any;
use crate::array::Array;
use crate::{dtypes, leave};

type Object = PyResult<Py<PyAny>>;

/// NumPy's function on what stands for the arguments: the dtype of an Array, a number for a weak one.
fn by_dtype(py: Python<'_>, name: &str, args: &Bound<'_, PyTuple>) -> Object {
    let stand_in = |x: Any<'_>| -> PyResult<Py<PyAny>> {
        let Ok(a) = x.cast_exact::<Array>() else { return Ok(x.unbind()) };
        let a = a.get();
        Ok(match (a.weak(), a.dtype.is_inexact()) {
            (false, _) => dtypes::descr(py, a.dtype).into_any().unbind(),
            (true, true) => PyFloat::new(py, 1.0).into_any().unbind(),
            (true, false) => PyInt::new(py, 1).into_any().unbind(),
        })
    };
    let all: Vec<Py<PyAny>> = args.iter().map(stand_in).collect::<PyResult<_>>()?;
    Ok(py.import("numpy")?.getattr(name)?.call1(PyTuple::new(py, all)?)?.unbind())
}

#[pyfunction]
#[pyo3(signature = (*arrays_and_dtypes))]
fn result_type(py: Python<'_>, arrays_and_dtypes: &Bound<'_, PyTuple>) -> Object {
    by_dtype(py, "result_type", arrays_and_dtypes)
}

/// float64, or float32 where all are.
#[pyfunction]
#[pyo3(signature = (*arrays))]
fn common_type(py: Python<'_>, arrays: &Bound<'_, PyTuple>) -> Object {
    let stand_in = |x: Any<'_>| -> PyResult<Py<PyAny>> {
        let Ok(a) = x.cast_exact::<Array>() else { return Ok(x.unbind()) };
        let empty = py.import("numpy")?.call_method1("empty", (0, dtypes::descr(py, a.get().dtype)))?;
        Ok(empty.unbind())
    };
    let all: Vec<Py<PyAny>> = arrays.iter().map(stand_in).collect::<PyResult<_>>()?;
    Ok(py.import("numpy")?.getattr("common_type")?.call1(PyTuple::new(py, all)?)?.unbind())
}

/// Index arrays of a triangle, which are NumPy's own.
fn triangle(arr: &Any<'_>, name: &str, k: i64) -> Object {
    let a = own(name, arr)?;
    let s = &a.get().shape;
    if s.len() != 2 {
        return Err(pyo3::exceptions::PyValueError::new_err("input array must be 2-d"));
    }
    Ok(arr.py().import("numpy")?.getattr(name)?.call1((s[0], k, s[1]))?.unbind())
}

#[pyfunction]
#[pyo3(signature = (arr, k=0))]
fn tril_indices_from(arr: &Any<'_>, k: i64) -> Object {
    triangle(arr, "tril_indices", k)
}

#[pyfunction]
#[pyo3(signature = (arr, k=0))]
fn triu_indices_from(arr: &Any<'_>, k: i64) -> Object {
    triangle(arr, "triu_indices", k)
}

#[pyfunction]
fn diag_indices_from(arr: &Any<'_>) -> Object {
    let a = own("diag_indices_from", arr)?;
    let s = &a.get().shape;
    if s.len() < 2 || s.iter().any(|&n| n != s[0]) {
        return Err(pyo3::exceptions::PyValueError::new_err("All dimensions of input must be of equal length"));
    }
    Ok(arr.py().import("numpy")?.getattr("diag_indices")?.call1((s[0], s.len()))?.unbind())
}

#[pyfunction]
#[pyo3(signature = (arr, *_options, **_more))]
fn array_repr(
    arr: &Any<'_>,
    _options: &Bound<'_, PyTuple>,
    _more: Option<&Bound<'_, pyo3::types::PyDict>>,
) -> PyResult<String> {
    leave::repr(arr.py(), own("array_repr", arr)?.get())
}

#[pyfunction]
#[pyo3(signature = (a, *_options, **_more))]
fn array_str(
    a: &Any<'_>,
    _options: &Bound<'_, PyTuple>,
    _more: Option<&Bound<'_, pyo3::types::PyDict>>,
) -> PyResult<String> {
    leave::str(a.py(), own("array_str", a)?.get())
}

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        result_type: ["result_type"], common_type: ["common_type"], tril_indices_from: ["tril_indices_from"],
        triu_indices_from: ["triu_indices_from"], diag_indices_from: ["diag_indices_from"], array_repr: ["array_repr"],
        array_str: ["array_str", "array2string"],
    });
    Ok(())
}
