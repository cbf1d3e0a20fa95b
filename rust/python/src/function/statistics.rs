//! Means, variances, quantiles, and their kin that leave nan out.

use mlgrad_core::numpy::statistics;
use mlgrad_core::tape::{DType, NodeId, Tape};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{finish, on_one, on_trace, optional};
use crate::args::{self, Any, refuse};
use crate::array::{Array, Made, record};
use crate::{convert, dtypes};

type Object = PyResult<Py<PyAny>>;

/// `x` in the dtype that the statistic is to be computed in.
fn in_dtype(t: &mut Tape, x: NodeId, dtype: Option<DType>) -> mlgrad_core::Result<NodeId> {
    dtype.map_or(Ok(x), |d| t.cast(x, d))
}

/// The mean of the elements that `where=` names: a sum over a count.
fn mean_where(
    a: &Any<'_>,
    axis: Option<&Any<'_>>,
    dtype: Option<DType>,
    keepdims: bool,
    only: &Any<'_>,
) -> PyResult<Array> {
    use super::reduce::{How, Reduction, reduced};
    let py = a.py();
    let how = |dtype, only| PyResult::Ok(How { axes: args::axes(axis)?, keepdims, dtype, initial: None, only });
    let trace = args::trace_of("mean", &[a, only], None)?;
    let x = convert::lift(py, &trace, a)?;
    let (from, to) = record(py, &trace, |s| Ok((x.dtype(&s.tape), x.shape(&s.tape))))?;
    let float = dtype.unwrap_or(if from.is_inexact() { from } else { DType::F64 });
    let total = reduced(a, Reduction::Sum, &how(Some(float), Some(only))?)?;
    let mask = convert::lift(py, &trace, only)?;
    let ones =
        Py::new(py, on_trace(py, &trace, |t| mlgrad_core::numpy::operand::materialise(t, mask, DType::Bool, &to))?)?;
    let count = reduced(ones.bind(py).as_any(), Reduction::Sum, &how(Some(float), None)?)?;
    let (p, q) = (total.node(py)?, count.node(py)?);
    on_trace(py, &trace, |t| t.div(p, q))
}

#[pyfunction]
#[pyo3(signature = (a, axis=None, dtype=None, out=None, keepdims=false, *, r#where=None))]
fn mean(
    a: &Any<'_>,
    axis: Option<&Any<'_>>,
    dtype: Option<&Any<'_>>,
    out: Option<&Any<'_>>,
    keepdims: bool,
    r#where: Option<&Any<'_>>,
) -> Object {
    let dtype = dtypes::parse_optional(dtype)?;
    let y = match r#where.filter(|w| !w.is_none()) {
        Some(only) => mean_where(a, axis, dtype, keepdims, only)?,
        None => {
            let axes = args::axes(axis)?;
            on_one("mean", a, |t, x| {
                let x = in_dtype(t, x, dtype)?;
                statistics::mean(t, x, axes.as_deref(), keepdims)
            })?
        }
    };
    finish(a.py(), "mean", y, out)
}

macro_rules! spreads {
    ($($name:ident $python:literal $rust:ident;)*) => {$(
        #[pyfunction]
        #[pyo3(name = $python, signature = (a, axis=None, dtype=None, out=None, ddof=0.0, keepdims=false, *, r#where=None, mean=None, correction=None))]
        #[expect(clippy::too_many_arguments, reason = "they are NumPy's")]
        fn $name(
            a: &Any<'_>,
            axis: Option<&Any<'_>>,
            dtype: Option<&Any<'_>>,
            out: Option<&Any<'_>>,
            ddof: f64,
            keepdims: bool,
            r#where: Option<&Any<'_>>,
            mean: Option<&Any<'_>>,
            correction: Option<f64>,
        ) -> Object {
            // a mean that is given only saves work
            let _ = mean;
            refuse($python, &[("where", r#where)])?;
            let (axes, dtype) = (args::axes(axis)?, dtypes::parse_optional(dtype)?);
            let ddof = correction.unwrap_or(ddof);
            let y = on_one($python, a, |t, x| {
                let x = in_dtype(t, x, dtype)?;
                statistics::$rust(t, x, axes.as_deref(), ddof, keepdims)
            })?;
            finish(a.py(), $python, y, out)
        }
    )*};
}

spreads! {
    variance "var" var;
    deviation "std" std;
    nan_variance "nanvar" nanvar;
    nan_deviation "nanstd" nanstd;
}

macro_rules! plain {
    ($($name:ident)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, axis=None, dtype=None, out=None, keepdims=false, initial=None, r#where=None))]
        fn $name(
            a: &Any<'_>,
            axis: Option<&Any<'_>>,
            dtype: Option<&Any<'_>>,
            out: Option<&Any<'_>>,
            keepdims: bool,
            initial: Option<&Any<'_>>,
            r#where: Option<&Any<'_>>,
        ) -> Object {
            refuse(stringify!($name), &[("initial", initial), ("where", r#where)])?;
            let (axes, dtype) = (args::axes(axis)?, dtypes::parse_optional(dtype)?);
            let y = on_one(stringify!($name), a, |t, x| {
                let x = in_dtype(t, x, dtype)?;
                statistics::$name(t, x, axes.as_deref(), keepdims)
            })?;
            finish(a.py(), stringify!($name), y, out)
        }
    )*};
}

plain! { nansum nanprod nanmean }

macro_rules! nan_extremes {
    ($($name:ident)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, axis=None, out=None, keepdims=false, initial=None, r#where=None))]
        fn $name(
            a: &Any<'_>,
            axis: Option<&Any<'_>>,
            out: Option<&Any<'_>>,
            keepdims: bool,
            initial: Option<&Any<'_>>,
            r#where: Option<&Any<'_>>,
        ) -> Object {
            refuse(stringify!($name), &[("initial", initial), ("where", r#where)])?;
            let axes = args::axes(axis)?;
            let y = on_one(stringify!($name), a, |t, x| statistics::$name(t, x, axes.as_deref(), keepdims))?;
            finish(a.py(), stringify!($name), y, out)
        }
    )*};
}

nan_extremes! { nanmax nanmin }

#[pyfunction]
#[pyo3(signature = (a, axis=None, weights=None, returned=false, *, keepdims=false))]
fn average(a: &Any<'_>, axis: Option<&Any<'_>>, weights: Option<&Any<'_>>, returned: bool, keepdims: bool) -> Object {
    let py = a.py();
    let all: Vec<&Any<'_>> = [Some(a), weights].into_iter().flatten().collect();
    let trace = args::trace_of("average", &all, None)?;
    let x = convert::lift(py, &trace, a)?;
    let w = optional(py, &trace, weights)?;
    let axes = args::axes(axis)?;
    let [y, total] = record(py, &trace, |s| {
        let x = x.to_node(&mut s.tape)?;
        let pair = statistics::average(&mut s.tape, x, axes.as_deref(), w, keepdims)?;
        Ok(pair.map(|n| Made::keep(s, n)))
    })?;
    let y = Py::new(py, y.into_array(&trace))?;
    let total = total.into_array(&trace);
    if returned { Ok(PyTuple::new(py, [y, Py::new(py, total)?])?.into_any().unbind()) } else { Ok(y.into_any()) }
}

#[pyfunction]
#[pyo3(signature = (a, axis=None, out=None, overwrite_input=false, keepdims=false))]
fn median(a: &Any<'_>, axis: Option<&Any<'_>>, out: Option<&Any<'_>>, overwrite_input: bool, keepdims: bool) -> Object {
    // leave to overwrite is no duty
    let _ = overwrite_input;
    let axes = args::axes(axis)?;
    finish(a.py(), "median", on_one("median", a, |t, x| statistics::median(t, x, axes.as_deref(), keepdims))?, out)
}

/// `np.quantile` for levels that are numbers; `scale` is 100 for percentiles.
fn levels(
    what: &str,
    a: &Any<'_>,
    q: &Any<'_>,
    scale: f64,
    axis: Option<&Any<'_>>,
    method: &str,
    keepdims: bool,
) -> PyResult<Array> {
    if q.is_instance_of::<Array>() {
        return Err(PyTypeError::new_err(format!(
            "{what}: the levels decide which elements are taken and cannot be traced; pass numbers or a NumPy array"
        )));
    }
    let method = statistics::Method::by_name(method).ok_or_else(|| {
        let names = statistics::Method::ALL.map(|(name, _)| format!("'{name}'")).join(", ");
        PyValueError::new_err(format!("{what}: '{method}' is not a valid method; use one of {names}"))
    })?;
    let given = convert::as_ndarray(q)?;
    let many = numpy::PyUntypedArrayMethods::ndim(&given) > 0;
    if numpy::PyUntypedArrayMethods::ndim(&given) > 1 {
        return Err(PyValueError::new_err(format!("{what}: the levels must be a number or a vector")));
    }
    let q: Vec<f64> = if many { given.extract()? } else { vec![given.call_method0("item")?.extract()?] };
    let q: Vec<f64> = q.into_iter().map(|v| v / scale).collect();
    if q.iter().any(|v| !(0.0..=1.0).contains(v)) {
        return Err(PyValueError::new_err(format!("{what}: levels must be in the range [0, {scale}]")));
    }
    let axes = args::axes(axis)?;
    on_one(what, a, |t, x| statistics::quantile(t, x, &q, many, method, axes.as_deref(), keepdims))
}

macro_rules! quantiles {
    ($($name:ident $scale:literal;)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, q, axis=None, out=None, overwrite_input=false, method="linear", keepdims=false, *, weights=None))]
        #[expect(clippy::too_many_arguments, reason = "they are NumPy's")]
        fn $name(
            a: &Any<'_>,
            q: &Any<'_>,
            axis: Option<&Any<'_>>,
            out: Option<&Any<'_>>,
            overwrite_input: bool,
            method: &str,
            keepdims: bool,
            weights: Option<&Any<'_>>,
        ) -> Object {
            let _ = overwrite_input;
            refuse(stringify!($name), &[("weights", weights)])?;
            finish(a.py(), stringify!($name), levels(stringify!($name), a, q, $scale, axis, method, keepdims)?, out)
        }
    )*};
}

quantiles! { quantile 1.0; percentile 100.0; }

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        mean: ["mean"], variance: ["var"], deviation: ["std"], average: ["average"], median: ["median"],
        quantile: ["quantile"], percentile: ["percentile"],
        nansum: ["nansum"], nanprod: ["nanprod"], nanmean: ["nanmean"], nan_variance: ["nanvar"], nan_deviation: ["nanstd"],
        nanmax: ["nanmax"], nanmin: ["nanmin"],
    });
    Ok(())
}
