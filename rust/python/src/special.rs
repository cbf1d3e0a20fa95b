//! Universal functions by name: what `mlgrad.scipy.special` is made of, with or without SciPy.

use mlgrad_core::numpy::Operand;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use crate::args::find_trace;
use crate::array::{Array, make};
use crate::convert;
use crate::tape_api::value;
use crate::trace::Trace;
use crate::ufunc::named;

/// Calls a function of the core's table: recorded where an argument is traced, computed at once where none is.
#[pyfunction]
#[pyo3(signature = (name, *args))]
fn call_ufunc(py: Python<'_>, name: &str, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let f = named(py, name)?;
    let found = find_trace(&[args.as_any()]);
    let traced = found.is_some();
    let trace = found.unwrap_or_else(|| Trace::new(false));
    let operands: SmallVec<[Operand; 3]> =
        args.iter().map(|a| convert::lift(py, &trace, &a)).collect::<PyResult<_>>()?;
    let result: Array = make(py, &trace, |t| Ok(f.call(t, &operands)?[0]))?;
    if traced { Ok(Py::new(py, result)?.into_any()) } else { value(py, &trace, result.node(py)?) }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(call_ufunc, m)?)
}
