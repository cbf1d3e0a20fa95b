//! Fresh arrays that traced values can be written into.

use std::sync::Arc;

use mlgrad_core::numpy::Operand;
use mlgrad_core::numpy::operand::materialise;
use mlgrad_core::tape::{DType, Shape};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::shaping::own;
use crate::args::{self, Any, memory_order};
use crate::array::{Array, Kind, make};
use crate::trace::Trace;
use crate::{build, convert, dtypes, layout};

/// An array that is `v` everywhere.
pub fn filled(py: Python<'_>, trace: &Arc<Trace>, shape: &[usize], v: f64, dtype: DType) -> PyResult<Array> {
    Ok(make(py, trace, |t| t.literal(v, shape, dtype))?.with_kind(Kind::Array))
}

/// Shape, dtype and layout of `zeros_like(a, dtype, order, subok, shape)`.
fn like<'py>(
    what: &str,
    a: &Any<'py>,
    dtype: Option<&Any<'py>>,
    order: Option<&str>,
    shape: Option<&Any<'py>>,
) -> PyResult<(Bound<'py, Array>, Shape, DType, layout::Layout)> {
    memory_order(what, order)?;
    let source = own(what, a)?;
    let d = dtypes::parse_optional(dtype)?.unwrap_or(source.get().dtype);
    let (to, layout) = match shape.filter(|s| !s.is_none()) {
        Some(s) => (args::shape(what, s)?, None),
        None => {
            let a = source.get();
            let layout = if order == Some("C") { None } else { layout::k_order(&a.shape, &[(&a.shape, a.layout())]) };
            (a.shape.clone(), layout)
        }
    };
    Ok((source, to, d, layout))
}

macro_rules! likes {
    ($($name:ident $what:literal $v:literal;)*) => {$(
        #[pyfunction]
        #[pyo3(signature = (a, dtype=None, order=None, subok=true, shape=None, *, device=None))]
        fn $name(
            a: &Any<'_>,
            dtype: Option<&Any<'_>>,
            order: Option<&str>,
            subok: bool,
            shape: Option<&Any<'_>>,
            device: Option<&Any<'_>>,
        ) -> PyResult<Array> {
            // of a subclass or a device there is only one here
            let _ = (subok, device);
            let (source, to, d, layout) = like($what, a, dtype, order, shape)?;
            Ok(filled(a.py(), source.get().trace(), &to, $v, d)?.with_layout(layout))
        }
    )*};
}

likes! {
    zeros_like "zeros_like" 0.0;
    ones_like "ones_like" 1.0;
    empty_like "empty_like" 0.0;
}

#[pyfunction]
#[pyo3(signature = (a, fill_value, dtype=None, order=None, subok=true, shape=None, *, device=None))]
fn full_like(
    a: &Any<'_>,
    fill_value: &Any<'_>,
    dtype: Option<&Any<'_>>,
    order: Option<&str>,
    subok: bool,
    shape: Option<&Any<'_>>,
    device: Option<&Any<'_>>,
) -> PyResult<Array> {
    let _ = (subok, device);
    let py = a.py();
    let (source, to, d, layout) = like("full_like", a, dtype, order, shape)?;
    let trace = source.get().trace();
    let v = convert::lift(py, trace, fill_value)?;
    Ok(spread(py, trace, v, d, &to)?.with_layout(layout))
}

fn spread(py: Python<'_>, trace: &Arc<Trace>, v: Operand, dtype: DType, to: &[usize]) -> PyResult<Array> {
    let y = make(py, trace, |t| {
        let v = match v {
            // as NumPy truncates
            Operand::Float(f) if dtype.is_integer() && f.is_finite() => Operand::Int(f.trunc() as i64),
            v => v,
        };
        materialise(t, v, dtype, to)
    })?;
    Ok(y.with_kind(Kind::Array))
}

/// Zeros on the tape that is being recorded, or `None` where there is none.
#[pyfunction]
#[pyo3(signature = (shape, dtype=None))]
fn zeros(py: Python<'_>, shape: &Any<'_>, dtype: Option<&Any<'_>>) -> PyResult<Option<Array>> {
    constant(py, shape, dtype, 0.0)
}

/// Ones on the tape that is being recorded, or `None` where there is none.
#[pyfunction]
#[pyo3(signature = (shape, dtype=None))]
fn ones(py: Python<'_>, shape: &Any<'_>, dtype: Option<&Any<'_>>) -> PyResult<Option<Array>> {
    constant(py, shape, dtype, 1.0)
}

/// The unit vectors of the space of arrays of `shape`, stacked along a new first axis, on the tape that is being recorded.
#[pyfunction]
fn basis(py: Python<'_>, shape: &Any<'_>, dtype: &Any<'_>) -> PyResult<Array> {
    let trace = Trace::current().ok_or_else(|| PyRuntimeError::new_err("basis: no transform is open"))?;
    let shape = args::shape("basis", shape)?;
    let d = dtypes::parse_optional(Some(dtype))?.unwrap_or(DType::F64);
    let n = mlgrad_core::tape::shape::size(&shape);
    let mut to: Shape = shape;
    to.insert(0, n);
    let y = make(py, &trace, |t| {
        let eye = t.eye(n, d)?;
        t.reshape(eye, &to)
    })?;
    Ok(y.with_kind(Kind::Array))
}

/// A number that is part of the plan's key, on the tape that is being recorded: for what is never another one.
#[pyfunction]
fn literal(py: Python<'_>, value: f64, dtype: &Any<'_>) -> PyResult<Array> {
    let trace = Trace::current().ok_or_else(|| PyRuntimeError::new_err("literal: no transform is open"))?;
    let d = dtypes::parse_optional(Some(dtype))?.unwrap_or(DType::F64);
    filled(py, &trace, &[], value, d)
}

fn constant(py: Python<'_>, shape: &Any<'_>, dtype: Option<&Any<'_>>, v: f64) -> PyResult<Option<Array>> {
    let Some(trace) = Trace::current() else { return Ok(None) };
    let d = dtypes::parse_optional(dtype)?.unwrap_or(DType::F64);
    filled(py, &trace, &args::shape("zeros", shape)?, v, d).map(Some)
}

/// `fill_value` everywhere, on the tape of the value or the one that is being recorded; `None` where there is neither.
#[pyfunction]
#[pyo3(signature = (shape, fill_value, dtype=None))]
fn full(py: Python<'_>, shape: &Any<'_>, fill_value: &Any<'_>, dtype: Option<&Any<'_>>) -> PyResult<Option<Array>> {
    let Some(trace) = args::find_trace(&[fill_value]).or_else(Trace::current) else { return Ok(None) };
    let v = convert::lift(py, &trace, fill_value)?;
    let own = crate::array::record(py, &trace, |s| Ok(v.dtype(&s.tape)))?;
    let d = dtypes::parse_optional(dtype)?.unwrap_or(own);
    spread(py, &trace, v, d, &args::shape("full", shape)?).map(Some)
}

/// A new array from (nested lists of) numbers and Arrays, or `None` where no Array is among them.
#[pyfunction]
#[pyo3(signature = (object, dtype=None))]
fn array(py: Python<'_>, object: &Any<'_>, dtype: Option<&Any<'_>>) -> PyResult<Option<Array>> {
    let Some(trace) = args::find_trace(&[object]) else { return Ok(None) };
    let node = build::array(py, &trace, object)?;
    let d = dtypes::parse_optional(dtype)?;
    let y = make(py, &trace, |t| match d {
        Some(d) => t.cast(node, d),
        None => Ok(node),
    })?;
    Ok(Some(y.with_kind(Kind::Array)))
}

/// What `mlgrad.numpy` makes arrays with.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(zeros, m)?)?;
    m.add_function(wrap_pyfunction!(ones, m)?)?;
    m.add_function(wrap_pyfunction!(full, m)?)?;
    m.add_function(wrap_pyfunction!(basis, m)?)?;
    m.add_function(wrap_pyfunction!(literal, m)?)?;
    m.add_function(wrap_pyfunction!(super::linear::solve_symmetric, m)?)?;
    m.add_function(wrap_pyfunction!(super::linear::solve_shifted, m)?)?;
    m.add_function(wrap_pyfunction!(array, m)?)
}

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        zeros_like: ["zeros_like"], ones_like: ["ones_like"], empty_like: ["empty_like"], full_like: ["full_like"],
    });
    Ok(())
}
