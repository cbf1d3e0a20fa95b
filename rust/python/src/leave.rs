//! Leaving the tape: what a traced array says where Python or NumPy asks for its value.

use mlgrad_core::ops::{Leaf, Op, ReduceOp};
use mlgrad_core::tape::{DType, NodeId, shape};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use rustc_hash::FxHashSet;

use crate::array::{Array, record};
use crate::convert;

/// The error for taking a floating-point value off the tape.
pub fn refused(what: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{what} would take a traced value off the tape, and its derivative would be lost. Keep it an mlgrad.Array: use NumPy's \
         functions (np.sin, not math.sin). For a buffer to write traced values into, use np.zeros_like(x) or \
         mlgrad.numpy.zeros; for np.array([x[0], x[1]]), use np.stack or mlgrad.numpy.array. To take the value on purpose, use \
         mlgrad.stop_gradient(x)"
    ))
}

/// Whether no derivative flows through the value: between it and the arguments of the transforms stands `stop_gradient`, or
/// it does not depend on them at all. Then it may leave the tape.
fn is_detached(py: Python<'_>, a: &Array) -> PyResult<bool> {
    record(py, a.trace(), |s| {
        let mut todo = vec![a.node_in(s)?];
        let mut seen = FxHashSet::default();
        while let Some(n) = todo.pop() {
            match s.tape.op(n) {
                Op::Leaf(Leaf::Alias) => return Ok(false),
                Op::Leaf(Leaf::Stop) => {}
                _ => todo.extend(s.tape.node(n).inputs.iter().filter(|&&i| seen.insert(i))),
            }
        }
        Ok(true)
    })
}

/// Refuses to hand out a floating-point value that carries a derivative.
pub fn check_leaving(py: Python<'_>, a: &Array, what: &str) -> PyResult<()> {
    if a.trace().jit && a.dtype.is_inexact() {
        return Err(PyTypeError::new_err(format!(
            "{what}: a {} value cannot leave a jitted function while it is recorded; keep it an mlgrad.Array: use \
             NumPy's functions, np.zeros_like(x) or mlgrad.numpy.zeros for a buffer, np.stack or mlgrad.numpy.array for \
             np.array([x[0], x[1]]); or hand it to Python with mlgrad.pure_callback",
            a.dtype
        )));
    }
    if a.dtype.is_inexact() && !is_detached(py, a)? { Err(refused(what)) } else { Ok(()) }
}

/// `np.asarray(x)` of what may leave.
pub fn as_array<'py>(py: Python<'py>, a: &Array, dtype: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    check_leaving(py, a, "making a NumPy array of it")?;
    if a.trace().jit || a.is_abstract(py)? {
        return Err(PyTypeError::new_err(format!(
            "making a NumPy array of a traced {} array: its values are not known here (inside jit, vmap or a body of control \
             flow). Use NumPy's functions on the Array itself, mlgrad.numpy.asarray(table)[i] to read a NumPy array at traced \
             indices, and mlgrad.numpy.zeros for a buffer to write into",
            a.dtype
        )));
    }
    let numpy = py.import("numpy")?;
    numpy.call_method1("asarray", (value(py, a)?, dtype))
}

/// `float(x)`
pub fn float(py: Python<'_>, a: &Array, what: &str) -> PyResult<f64> {
    if a.size() != 1 {
        return Err(not_single(a, what));
    }
    if !a.dtype.is_inexact() {
        return integer(py, a, what).map(|v| v as f64);
    }
    check_leaving(py, a, what)?;
    Ok(f64::from_bits(single(py, a, |t, x| t.cast(x, DType::F64))?))
}

fn not_single(a: &Array, what: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "only length-1 arrays can be converted to Python scalars; {what} got shape {}",
        shape::show(&a.shape)
    ))
}

/// The node as a scalar of the same dtype, if it has one element.
fn single(
    py: Python<'_>,
    a: &Array,
    node: impl FnOnce(&mut mlgrad_core::tape::Tape, NodeId) -> mlgrad_core::Result<NodeId>,
) -> PyResult<u64> {
    let id = record(py, a.trace(), |s| {
        let x = a.node_in(s)?;
        let x = s.tape.reshape(x, &[])?;
        node(&mut s.tape, x)
    })?;
    a.trace().bits(py, id)
}

/// `bool(x)`: control flow.
pub fn truth(py: Python<'_>, a: &Array) -> PyResult<bool> {
    match a.size() {
        1 => Ok(single(py, a, |t, x| t.cast(x, DType::Bool))? != 0),
        0 => Err(PyValueError::new_err(
            "The truth value of an empty array is ambiguous. Use `array.size > 0` to check that an array is not empty.",
        )),
        _ => Err(PyValueError::new_err(
            "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()",
        )),
    }
}

/// `int(x)`: of integers and bool, and of floats that may leave.
pub fn integer(py: Python<'_>, a: &Array, what: &str) -> PyResult<i64> {
    if a.size() != 1 {
        return Err(not_single(a, what));
    }
    check_leaving(py, a, what)?;
    let bits = single(py, a, |t, x| t.cast(x, DType::I64))?;
    Ok(bits as i64)
}

/// `x.item()`
pub fn item(py: Python<'_>, a: &Array) -> PyResult<Py<PyAny>> {
    if a.size() != 1 {
        return Err(PyValueError::new_err("can only convert an array of size 1 to a Python scalar"));
    }
    if a.dtype == DType::Bool {
        return Ok(truth(py, a)?.into_pyobject(py)?.to_owned().into_any().unbind());
    }
    if a.dtype.is_inexact() {
        return Ok(float(py, a, "x.item()")?.into_pyobject(py)?.into_any().unbind());
    }
    Ok(integer(py, a, "x.item()")?.into_pyobject(py)?.into_any().unbind())
}

/// How many elements of a bool node are true: the length of what a mask selects. Under jit it is a guard.
pub fn count(py: Python<'_>, trace: &crate::trace::Trace, mask: NodeId) -> PyResult<usize> {
    let total = record(py, trace, |s| {
        s.tape.release(mask);
        if s.tape.node(mask).scope != 0 {
            return Err(mlgrad_core::Error::Abstract(
                "the length of what a bool array selects depends on values, which are not known inside vmap or a loop's body; use \
                 np.where(mask, a, b) to choose between values"
                    .into(),
            ));
        }
        let ones = s.tape.cast(mask, DType::I64)?;
        let axes: mlgrad_core::tape::Axes = (0..s.tape.rank(ones) as u8).collect();
        s.tape.reduce(ReduceOp::Sum, ones, &axes)
    })?;
    Ok(trace.bits(py, total)? as usize)
}

/// The present value as a NumPy array or scalar: for printing, and for what needs integers at once.
pub fn value(py: Python<'_>, a: &Array) -> PyResult<Py<PyAny>> {
    let node = a.node(py)?;
    a.trace().evaluate(py, &[node])?;
    let value = record(py, a.trace(), |s| Ok(s.tape.node(node).value.clone()))?;
    match value {
        Some(v) => convert::export(py, v, &a.shape, a.dtype),
        None => {
            Err(PyRuntimeError::new_err("internal error in mlgrad, please report it: a value that was not computed"))
        }
    }
}

/// Whether printing may show the value.
fn shows_value(py: Python<'_>, a: &Array) -> PyResult<bool> {
    Ok(!a.trace().jit && !a.is_abstract(py)?)
}

fn outline(a: &Array) -> String {
    format!("Array(shape={}, dtype={})", shape::show(&a.shape), a.dtype)
}

pub fn repr(py: Python<'_>, a: &Array) -> PyResult<String> {
    // printing an Array that escaped must not fail
    match shows_value(py, a) {
        Ok(true) => {}
        _ => return Ok(outline(a)),
    }
    let v = value(py, a)?;
    let text = if a.shape.is_empty() { v.bind(py).str()? } else { v.bind(py).repr()? };
    let text = text.to_str()?;
    Ok(match text.strip_prefix("array(") {
        // the lines of an array are aligned below its first number
        Some(rest) => format!("Array({}", rest),
        None => format!("Array({text})"),
    })
}

pub fn str(py: Python<'_>, a: &Array) -> PyResult<String> {
    match shows_value(py, a) {
        Ok(true) => Ok(value(py, a)?.bind(py).str()?.to_str()?.to_owned()),
        _ => Ok(outline(a)),
    }
}

pub fn format(py: Python<'_>, a: &Array, spec: &str) -> PyResult<String> {
    match shows_value(py, a) {
        Ok(true) => {}
        _ => return Ok(outline(a)),
    }
    let v = value(py, a)?;
    let v = v.bind(py).call_method1(pyo3::intern!(py, "__format__"), (spec,))?;
    v.extract::<String>()
}
