//! Differences and integrals of samples, rounding, parts of numbers, diagonals and triangles, grids.

use mlgrad_core::Result;
use mlgrad_core::numpy::{Operand, diagonal as diagonals, difference};
use mlgrad_core::ops::{Unary, Window};
use mlgrad_core::tape::{Axes, NodeId, Shape, Tape};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use super::shaping::{own, viewed};
use super::{finish, on, on_one, on_trace, optional, sequence};
use crate::args::{self, Any};
use crate::array::Array;
use crate::layout::Strides;
use crate::view::Step;
use crate::{convert, dtypes};

type Object = PyResult<Py<PyAny>>;

/// As NumPy rounds: half to even, decimals by a power of ten. The derivative is 0.
fn round_node(t: &mut Tape, x: NodeId, decimals: i64) -> Result<NodeId> {
    if !t.dtype(x).is_float() {
        if decimals >= 0 {
            return Ok(x);
        }
        return Err(mlgrad_core::Error::Type(
            "round: negative decimals of integers are not supported for traced arrays; convert with .astype(np.float64)".into(),
        ));
    }
    if decimals == 0 {
        return t.unary(Unary::Rint, x);
    }
    let power = 10f64.powi(decimals.unsigned_abs().min(400) as i32);
    let factor = t.lit_like(power, x)?;
    if decimals > 0 {
        let y = t.mul(x, factor)?;
        let y = t.unary(Unary::Rint, y)?;
        t.div(y, factor)
    } else {
        let y = t.div(x, factor)?;
        let y = t.unary(Unary::Rint, y)?;
        t.mul(y, factor)
    }
}

/// `round(x, n)`
pub fn rounded(py: Python<'_>, a: &Array, decimals: i64) -> PyResult<Array> {
    let x = a.node(py)?;
    on_trace(py, a.trace(), |t| round_node(t, x, decimals))
}

#[pyfunction]
#[pyo3(signature = (a, decimals=0, out=None))]
fn round(a: &Any<'_>, decimals: i64, out: Option<&Any<'_>>) -> Object {
    finish(a.py(), "round", on_one("round", a, |t, x| round_node(t, x, decimals))?, out)
}

#[pyfunction]
#[pyo3(signature = (x, out=None))]
fn fix(x: &Any<'_>, out: Option<&Any<'_>>) -> Object {
    let y = on_one("fix", x, |t, x| if t.dtype(x).is_float() { t.unary(Unary::Trunc, x) } else { Ok(x) })?;
    finish(x.py(), "fix", y, out)
}

#[pyfunction]
fn real<'py>(val: &Any<'py>) -> PyResult<Bound<'py, Array>> {
    own("real", val)
}

#[pyfunction]
fn imag(val: &Any<'_>) -> PyResult<Array> {
    let a = own("imag", val)?;
    let a = a.get();
    super::create::filled(val.py(), a.trace(), &a.shape, 0.0, a.dtype)
}

/// The conjugate of a real array is a copy of it.
#[pyfunction]
fn conj(x: &Any<'_>) -> PyResult<Array> {
    on_one("conjugate", x, |_, x| Ok(x))
}

#[pyfunction]
fn iscomplex(x: &Any<'_>) -> PyResult<Array> {
    let a = own("iscomplex", x)?;
    super::create::filled(x.py(), a.get().trace(), &a.get().shape, 0.0, mlgrad_core::tape::DType::Bool)
}

#[pyfunction]
fn isreal(x: &Any<'_>) -> PyResult<Array> {
    let a = own("isreal", x)?;
    super::create::filled(x.py(), a.get().trace(), &a.get().shape, 1.0, mlgrad_core::tape::DType::Bool)
}

/// Infinities of one sign.
fn infinite(what: &str, x: &Any<'_>, v: f64, out: Option<&Any<'_>>) -> Object {
    let y = on_one(what, x, |t, x| {
        if !t.dtype(x).is_float() {
            let to = t.shape(x).clone();
            return t.literal(0.0, &to, mlgrad_core::tape::DType::Bool);
        }
        let v = t.lit_like(v, x)?;
        t.equal(x, v)
    })?;
    finish(x.py(), what, y, out)
}

#[pyfunction]
#[pyo3(signature = (x, out=None))]
fn isposinf(x: &Any<'_>, out: Option<&Any<'_>>) -> Object {
    infinite("isposinf", x, f64::INFINITY, out)
}

#[pyfunction]
#[pyo3(signature = (x, out=None))]
fn isneginf(x: &Any<'_>, out: Option<&Any<'_>>) -> Object {
    infinite("isneginf", x, f64::NEG_INFINITY, out)
}

#[pyfunction]
fn sinc(x: &Any<'_>) -> PyResult<Array> {
    let f = crate::ufunc::named(x.py(), "sinc")?;
    on("sinc", [x], |t, args| Ok(f.call(t, &args)?[0]))
}

#[pyfunction]
#[pyo3(signature = (a, n=1, axis=-1, prepend=None, append=None))]
fn diff(a: &Any<'_>, n: i64, axis: i64, prepend: Option<&Any<'_>>, append: Option<&Any<'_>>) -> PyResult<Array> {
    let py = a.py();
    let all: Vec<&Any<'_>> = [Some(a), prepend, append].into_iter().flatten().collect();
    let trace = args::trace_of("diff", &all, None)?;
    let x = convert::lift(py, &trace, a)?;
    let (before, after) = (optional(py, &trace, prepend)?, optional(py, &trace, append)?);
    on_trace(py, &trace, |t| {
        let from = x.shape(t);
        let along = mlgrad_core::tape::shape::axis("diff", axis, from.len())?;
        let mut pieces = Vec::with_capacity(3);
        for piece in [before, Some(x), after].into_iter().flatten() {
            // a number stands for one of the lengths of x
            pieces.push(if piece.shape(t).is_empty() && !from.is_empty() {
                let v = piece.to_node(t)?;
                let mut to: Shape = from.clone();
                to[along] = 1;
                t.broadcast_to(v, &to)?.into()
            } else {
                piece
            });
        }
        let x = match pieces.as_slice() {
            [x] => x.to_node(t)?,
            _ => mlgrad_core::numpy::join::concatenate(t, &pieces, Some(axis))?,
        };
        difference::diff(t, x, n, axis)
    })
}

#[pyfunction]
#[pyo3(signature = (y, x=None, dx=None, axis=-1))]
fn trapezoid(y: &Any<'_>, x: Option<&Any<'_>>, dx: Option<&Any<'_>>, axis: i64) -> PyResult<Array> {
    let py = y.py();
    let all: Vec<&Any<'_>> = [Some(y), x, dx].into_iter().flatten().collect();
    let trace = args::trace_of("trapezoid", &all, None)?;
    let y = convert::lift(py, &trace, y)?;
    let (x, dx) = (optional(py, &trace, x)?, optional(py, &trace, dx)?.unwrap_or(Operand::Float(1.0)));
    on_trace(py, &trace, |t| {
        let y = y.to_node(t)?;
        let x = x.map(|x| x.to_node(t)).transpose()?;
        difference::trapezoid(t, y, x, dx, axis)
    })
}

#[pyfunction]
#[pyo3(signature = (f, *varargs, axis=None, edge_order=1))]
fn gradient(f: &Any<'_>, varargs: &Bound<'_, PyTuple>, axis: Option<&Any<'_>>, edge_order: usize) -> Object {
    let py = f.py();
    let trace = args::trace_of("gradient", &[f, varargs.as_any()], None)?;
    let x = convert::lift(py, &trace, f)?;
    let rank = crate::array::record(py, &trace, |s| Ok(x.shape(&s.tape).len()))?;
    let axes = args::axes(axis)?.unwrap_or_else(|| (0..rank as i64).collect());
    let steps: Vec<Operand> = match varargs.len() {
        0 => vec![Operand::Float(1.0); axes.len()],
        1 => vec![convert::lift(py, &trace, &varargs.get_item(0)?)?; axes.len()],
        n if n == axes.len() => varargs.iter().map(|v| convert::lift(py, &trace, &v)).collect::<PyResult<_>>()?,
        n => return Err(PyTypeError::new_err(format!("gradient: {n} spacings for {} axes", axes.len()))),
    };
    let mut parts: Vec<Py<Array>> = Vec::with_capacity(axes.len());
    for (&k, &h) in axes.iter().zip(&steps) {
        let y = on_trace(py, &trace, |t| {
            let x = x.to_node(t)?;
            difference::gradient(t, x, h, k, edge_order)
        })?;
        parts.push(Py::new(py, y)?);
    }
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return Ok(only.into_any());
    }
    Ok(PyTuple::new(py, parts)?.into_any().unbind())
}

#[pyfunction]
#[pyo3(signature = (v, k=0))]
fn diag(v: &Any<'_>, k: i64) -> PyResult<Array> {
    let v = own("diag", v)?;
    match v.get().ndim() {
        2 => diagonal_view("diag", v.as_any(), k, 0, 1),
        _ => on_one("diag", v.as_any(), |t, x| diagonals::diag(t, x, k)),
    }
}

#[pyfunction]
#[pyo3(signature = (v, k=0))]
fn diagflat(v: &Any<'_>, k: i64) -> PyResult<Array> {
    on_one("diagflat", v, |t, x| diagonals::diagflat(t, x, k))
}

/// Read-only, as in NumPy.
#[pyfunction]
#[pyo3(signature = (a, offset=0, axis1=0, axis2=1))]
fn diagonal(a: &Any<'_>, offset: i64, axis1: i64, axis2: i64) -> PyResult<Array> {
    diagonal_view("diagonal", a, offset, axis1, axis2)
}

/// A read-only view, which sees later writes to `a`.
fn diagonal_view(what: &str, a: &Any<'_>, offset: i64, axis1: i64, axis2: i64) -> PyResult<Array> {
    let a = own(what, a)?;
    let x = a.get();
    let rank = x.ndim() as i64;
    let place = |k: i64| (-rank..rank).contains(&k).then(|| k.rem_euclid(rank) as usize);
    let (i, j) = match (place(axis1), place(axis2)) {
        (Some(i), Some(j)) if i != j => (i, j),
        // the builder says what is wrong
        _ => return on_one(what, a.as_any(), |t, x| diagonals::diagonal(t, x, offset, axis1, axis2)),
    };
    let others = (0..x.ndim()).filter(|&k| k != i && k != j);
    let (rows, columns) = (x.shape[i], x.shape[j]);
    let (row, column) = if offset >= 0 { (0, offset as usize) } else { (offset.unsigned_abs() as usize, 0) };
    let length = rows.saturating_sub(row).min(columns.saturating_sub(column));
    let mut flat: Shape = others.clone().map(|k| x.shape[k]).collect();
    let mut to = flat.clone();
    flat.push(rows * columns);
    to.push(length);
    let mut window = Window::at(&SmallVec::<[i64; 4]>::from_elem(0, flat.len()));
    if length > 0 {
        window.start[flat.len() - 1] = (row * columns + column) as i64;
        window.step[flat.len() - 1] = columns as i64 + 1;
    }
    let from = x.strides();
    let strides: Strides = others.clone().map(|k| from[k]).chain([from[i] + from[j]]).collect();
    let perm: Axes = others.chain([i, j]).map(|k| k as u8).collect();
    let steps = [Step::Transpose(perm), Step::Reshape(flat), Step::Window(Box::new(window), to.clone())];
    Ok(viewed(a.py(), x, steps, to, strides)?.read_only())
}

#[pyfunction]
#[pyo3(name = "linalg_diagonal", signature = (x, /, *, offset=0))]
fn last_diagonal(x: &Any<'_>, offset: i64) -> PyResult<Array> {
    diagonal_view("diagonal", x, offset, -2, -1)
}

#[pyfunction]
#[pyo3(signature = (a, offset=0, axis1=0, axis2=1, dtype=None, out=None))]
fn trace(a: &Any<'_>, offset: i64, axis1: i64, axis2: i64, dtype: Option<&Any<'_>>, out: Option<&Any<'_>>) -> Object {
    let dtype = dtypes::parse_optional(dtype)?;
    let y = on_one("trace", a, |t, x| {
        let x = dtype.map_or(Ok(x), |d| t.cast(x, d))?;
        diagonals::trace(t, x, offset, axis1, axis2)
    })?;
    finish(a.py(), "trace", y, out)
}

#[pyfunction]
#[pyo3(name = "linalg_trace", signature = (x, /, *, offset=0, dtype=None))]
fn last_trace(x: &Any<'_>, offset: i64, dtype: Option<&Any<'_>>) -> PyResult<Array> {
    let dtype = dtypes::parse_optional(dtype)?;
    on_one("trace", x, |t, x| {
        let x = dtype.map_or(Ok(x), |d| t.cast(x, d))?;
        diagonals::trace(t, x, offset, -2, -1)
    })
}

#[pyfunction]
#[pyo3(signature = (m, k=0))]
fn tril(m: &Any<'_>, k: i64) -> PyResult<Array> {
    on_one("tril", m, |t, x| diagonals::tril(t, x, k))
}

#[pyfunction]
#[pyo3(signature = (m, k=0))]
fn triu(m: &Any<'_>, k: i64) -> PyResult<Array> {
    on_one("triu", m, |t, x| diagonals::triu(t, x, k))
}

#[pyfunction]
#[pyo3(signature = (*xi, copy=true, sparse=false, indexing="xy"))]
fn meshgrid(py: Python<'_>, xi: &Bound<'_, PyTuple>, copy: bool, sparse: bool, indexing: &str) -> Object {
    // the grids are always copies: a view of one axis could not be written either
    let _ = copy;
    let swapped = match indexing {
        "xy" => xi.len() > 1,
        "ij" => false,
        _ => return Err(PyValueError::new_err("Valid values for `indexing` are 'xy' and 'ij'.")),
    };
    let (trace, operands) = sequence("meshgrid", xi.as_any(), &[])?;
    let rank = operands.len();
    let place = |k: usize| if swapped && k < 2 { 1 - k } else { k };
    let mut grids: Vec<Py<Array>> = Vec::with_capacity(rank);
    let lengths = crate::array::record(py, &trace, |s| {
        Ok(operands.iter().map(|x| x.shape(&s.tape).iter().product::<usize>()).collect::<Vec<_>>())
    })?;
    let mut whole: Shape = lengths.iter().copied().collect();
    if swapped {
        whole.swap(0, 1);
    }
    for (k, x) in operands.iter().enumerate() {
        let y = on_trace(py, &trace, |t| {
            let x = x.to_node(t)?;
            let mut to: Shape = std::iter::repeat_n(1, rank).collect();
            to[place(k)] = lengths[k];
            let x = t.reshape(x, &to)?;
            if sparse { Ok(x) } else { t.broadcast_to(x, &whole) }
        })?;
        grids.push(Py::new(py, y)?);
    }
    Ok(PyTuple::new(py, grids)?.into_any().unbind())
}

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        round: ["round", "around"], fix: ["fix"], real: ["real"], imag: ["imag"], conj: ["conj", "conjugate"],
        iscomplex: ["iscomplex"], isreal: ["isreal"], isposinf: ["isposinf"], isneginf: ["isneginf"], sinc: ["sinc"], diff: ["diff"],
        trapezoid: ["trapezoid"], gradient: ["gradient"], diag: ["diag"], diagflat: ["diagflat"], diagonal: ["diagonal"],
        last_diagonal: ["linalg.diagonal"], trace: ["trace"], last_trace: ["linalg.trace"], tril: ["tril"], triu: ["triu"],
        meshgrid: ["meshgrid"],
    });
    Ok(())
}
