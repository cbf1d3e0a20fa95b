//! Factorisations of numpy.linalg with several results, which come in NumPy's named tuples.

use mlgrad_core::Result;
use mlgrad_core::numpy::linalg;
use mlgrad_core::tape::{NodeId, Tape};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use super::on_one;
use crate::args::{self, Any, record_now};
use crate::array::{Array, Made};
use crate::convert;

type Object = PyResult<Py<PyAny>>;

/// The results of a factorisation as Arrays.
fn several<const N: usize>(
    what: &str,
    a: &Any<'_>,
    f: impl FnOnce(&mut Tape, NodeId) -> Result<[NodeId; N]>,
) -> PyResult<[Py<Array>; N]> {
    let py = a.py();
    let trace = args::trace_of(what, &[a], None)?;
    let x = convert::lift(py, &trace, a)?;
    let made = record_now(py, &trace, |s| {
        let x = x.to_node(&mut s.tape)?;
        Ok(f(&mut s.tape, x)?.map(|node| Made::keep(s, node)))
    })?;
    let mut arrays = Vec::with_capacity(N);
    for m in made {
        arrays.push(Py::new(py, m.into_array(&trace))?);
    }
    arrays.try_into().map_err(|_| PyValueError::new_err(format!("{what}: results are missing")))
}

/// The results in the named tuple that NumPy's function returns.
fn named<const N: usize>(
    py: Python<'_>,
    function: &str,
    class: &PyOnceLock<Py<PyType>>,
    results: [Py<Array>; N],
) -> Object {
    let class = class.get_or_try_init(py, || -> PyResult<_> {
        let identity = py.import("numpy")?.call_method1("eye", (1,))?;
        let example = py.import("numpy.linalg")?.call_method1(function, (identity,))?;
        Ok(example.get_type().unbind())
    })?;
    Ok(class.bind(py).call1(PyTuple::new(py, results)?)?.unbind())
}

#[pyfunction]
fn slogdet(a: &Any<'_>) -> Object {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    named(a.py(), "slogdet", &CLASS, several("slogdet", a, linalg::slogdet)?)
}

/// Whether `UPLO` asks for the upper triangle.
fn upper(what: &str, uplo: &str) -> PyResult<bool> {
    match uplo {
        "L" | "l" => Ok(false),
        "U" | "u" => Ok(true),
        _ => Err(PyValueError::new_err(format!("{what}: UPLO must be 'L' or 'U', got {uplo:?}"))),
    }
}

#[pyfunction]
#[pyo3(signature = (a, UPLO="L"))]
#[allow(non_snake_case)]
fn eigh(a: &Any<'_>, UPLO: &str) -> Object {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let upper = upper("eigh", UPLO)?;
    named(a.py(), "eigh", &CLASS, several("eigh", a, |t, x| linalg::eigh(t, x, upper))?)
}

#[pyfunction]
#[pyo3(signature = (a, UPLO="L"))]
#[allow(non_snake_case)]
fn eigvalsh(a: &Any<'_>, UPLO: &str) -> PyResult<Array> {
    let upper = upper("eigvalsh", UPLO)?;
    on_one("eigvalsh", a, |t, x| Ok(linalg::eigh(t, x, upper)?[0]))
}

#[pyfunction]
#[pyo3(signature = (a, full_matrices=true, compute_uv=true, hermitian=false))]
fn svd(a: &Any<'_>, full_matrices: bool, compute_uv: bool, hermitian: bool) -> Object {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = a.py();
    if hermitian {
        return Err(PyValueError::new_err(
            "svd: hermitian=True is not supported for an mlgrad.Array; use np.linalg.eigh, or leave it out",
        ));
    }
    if !compute_uv {
        return Ok(Py::new(py, svdvals(a)?)?.into_any());
    }
    let results = several("svd", a, |t, x| {
        let s = t.shape(x);
        if full_matrices && s.len() >= 2 && s[s.len() - 1] != s[s.len() - 2] {
            return Err(mlgrad_core::Error::Value(format!(
                "svd: full_matrices=True of shape {} has columns that the matrix does not determine, and so no derivative; \
                 use full_matrices=False",
                mlgrad_core::tape::shape::show(s)
            )));
        }
        linalg::svd(t, x)
    })?;
    named(py, "svd", &CLASS, results)
}

#[pyfunction]
#[pyo3(signature = (x, /))]
fn svdvals(x: &Any<'_>) -> PyResult<Array> {
    on_one("svdvals", x, |t, x| Ok(linalg::svd(t, x)?[1]))
}

#[pyfunction]
#[pyo3(signature = (a, mode="reduced"))]
fn qr(a: &Any<'_>, mode: &str) -> Object {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = a.py();
    if mode == "r" {
        let r = on_one("qr", a, |t, x| Ok(linalg::qr(t, x)?[1]))?;
        return Ok(Py::new(py, r)?.into_any());
    }
    if mode != "reduced" {
        return Err(PyValueError::new_err(format!(
            "qr: an mlgrad.Array supports mode='reduced' and mode='r', got {mode:?}; the further columns of 'complete' are not \
             determined by the matrix, and so have no derivative"
        )));
    }
    named(py, "qr", &CLASS, several("qr", a, linalg::qr)?)
}

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        slogdet: ["linalg.slogdet"], eigh: ["linalg.eigh"], eigvalsh: ["linalg.eigvalsh"], svd: ["linalg.svd"],
        svdvals: ["linalg.svdvals"], qr: ["linalg.qr"],
    });
    Ok(())
}
