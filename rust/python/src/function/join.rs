//! Arrays put together: concatenate, stack and their kin, tile, repeat, roll, pad.

use mlgrad_core::numpy::join;
use mlgrad_core::numpy::pad::{self as padding, PadMode, Statistic};
use mlgrad_core::numpy::shape;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{on_one, on_trace, sequence};
use crate::args::{self, Any, integers};
use crate::array::Array;
use crate::ufunc::deliver;
use crate::{convert, dtypes};

type Object = PyResult<Py<PyAny>>;

/// What they have in common: a sequence of arrays, `out`, `dtype`, `casting`.
fn joined<'py>(
    what: &str,
    arrays: &Any<'py>,
    out: Option<&Any<'py>>,
    dtype: Option<&Any<'py>>,
    casting: &str,
    f: impl FnOnce(
        &mut mlgrad_core::tape::Tape,
        &[mlgrad_core::numpy::Operand],
    ) -> mlgrad_core::Result<mlgrad_core::tape::NodeId>,
) -> Object {
    let py = arrays.py();
    if casting != "same_kind" {
        return Err(PyTypeError::new_err(format!("{what}: casting= is not supported for traced arrays; use .astype")));
    }
    let more: Vec<&Any<'_>> = out.into_iter().collect();
    let (trace, operands) = sequence(what, arrays, &more)?;
    let y = on_trace(py, &trace, |t| f(t, &operands))?;
    let dtype = dtypes::parse_optional(dtype)?;
    if let Some(d) = dtype {
        crate::ufunc::check_cast(what, y.dtype, d)?;
    }
    let out = out.filter(|o| !o.is_none()).map(|o| crate::ufunc::output(what, o)).transpose()?;
    deliver(py, what, y, out, dtype)
}

#[pyfunction]
#[pyo3(signature = (arrays, /, axis=Some(0), out=None, *, dtype=None, casting="same_kind"))]
fn concatenate(
    arrays: &Any<'_>,
    axis: Option<i64>,
    out: Option<&Any<'_>>,
    dtype: Option<&Any<'_>>,
    casting: &str,
) -> Object {
    joined("concatenate", arrays, out, dtype, casting, |t, xs| join::concatenate(t, xs, axis))
}

#[pyfunction]
#[pyo3(signature = (arrays, axis=0, out=None, *, dtype=None, casting="same_kind"))]
fn stack(arrays: &Any<'_>, axis: i64, out: Option<&Any<'_>>, dtype: Option<&Any<'_>>, casting: &str) -> Object {
    joined("stack", arrays, out, dtype, casting, |t, xs| join::stack(t, xs, axis))
}

#[pyfunction]
#[pyo3(signature = (tup, *, dtype=None, casting="same_kind"))]
fn vstack(tup: &Any<'_>, dtype: Option<&Any<'_>>, casting: &str) -> Object {
    joined("vstack", tup, None, dtype, casting, join::vstack)
}

#[pyfunction]
#[pyo3(signature = (tup, *, dtype=None, casting="same_kind"))]
fn hstack(tup: &Any<'_>, dtype: Option<&Any<'_>>, casting: &str) -> Object {
    joined("hstack", tup, None, dtype, casting, join::hstack)
}

#[pyfunction]
fn dstack(tup: &Any<'_>) -> Object {
    joined("dstack", tup, None, None, "same_kind", join::dstack)
}

#[pyfunction]
fn column_stack(tup: &Any<'_>) -> Object {
    joined("column_stack", tup, None, None, "same_kind", join::column_stack)
}

#[pyfunction]
#[pyo3(signature = (arr, values, axis=None))]
fn append(arr: &Any<'_>, values: &Any<'_>, axis: Option<i64>) -> Object {
    let pair = PyTuple::new(arr.py(), [arr, values])?;
    joined("append", pair.as_any(), None, None, "same_kind", |t, xs| join::concatenate(t, xs, axis))
}

#[pyfunction]
fn tile(a: &Bound<'_, PyAny>, reps: &Any<'_>) -> PyResult<Array> {
    let reps = args::shape("tile", reps)?;
    on_one("tile", a, |t, x| join::tile(t, x, &reps))
}

#[pyfunction]
#[pyo3(signature = (a, repeats, axis=None))]
fn repeat(a: &Any<'_>, repeats: &Any<'_>, axis: Option<i64>) -> PyResult<Array> {
    let counts = integers("repeats", repeats)?;
    on_one("repeat", a, |t, x| join::repeat(t, x, &counts, axis))
}

#[pyfunction]
#[pyo3(signature = (a, shift, axis=None))]
fn roll(a: &Any<'_>, shift: &Any<'_>, axis: Option<&Any<'_>>) -> PyResult<Array> {
    let shifts = integers("shift", shift)?;
    let axes = args::axes(axis)?;
    on_one("roll", a, |t, x| shape::roll(t, x, &shifts, axes.as_deref()))
}

/// `pad_width`: a number, a pair, or a pair for each axis.
fn pairs<'py>(what: &str, object: &Any<'py>, rank: usize) -> PyResult<Vec<[Any<'py>; 2]>> {
    let items = |o: &Any<'py>| -> Option<Vec<Any<'py>>> { o.try_iter().ok()?.collect::<PyResult<_>>().ok() };
    let single = |o: &Any<'py>| match items(o) {
        None => Ok([o.clone(), o.clone()]),
        Some(v) if v.len() == 1 => Ok([v[0].clone(), v[0].clone()]),
        Some(v) if v.len() == 2 => Ok([v[0].clone(), v[1].clone()]),
        Some(v) => Err(PyValueError::new_err(format!(
            "pad: {what} must be a number or pairs (before, after), got {} numbers",
            v.len()
        ))),
    };
    match items(object) {
        Some(rows) if rows.iter().any(|r| items(r).is_some()) => {
            if rows.len() == 1 {
                return Ok(vec![single(&rows[0])?; rank]);
            }
            if rows.len() != rank {
                return Err(PyValueError::new_err(format!(
                    "pad: {what} has {} pairs for an array of {rank} axes",
                    rows.len()
                )));
            }
            rows.iter().map(single).collect()
        }
        _ => Ok(vec![single(object)?; rank]),
    }
}

#[pyfunction]
#[pyo3(signature = (array, pad_width, mode="constant", **kwargs))]
fn pad(array: &Any<'_>, pad_width: &Any<'_>, mode: &str, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Array> {
    let py = array.py();
    let trace = args::trace_of("pad", &[array], kwargs)?;
    let x = convert::lift(py, &trace, array)?;
    let x = crate::array::record(py, &trace, |s| x.to_node(&mut s.tape))?;
    let rank = crate::array::record(py, &trace, |s| Ok(s.tape.rank(x)))?;
    let mut widths: Vec<[usize; 2]> = Vec::with_capacity(rank);
    let rows = match pad_width.cast::<PyDict>() {
        Err(_) => pairs("pad_width", pad_width, rank)?,
        Ok(by_axis) => {
            let zero = 0i64.into_pyobject(py)?.into_any();
            let mut rows = vec![[zero.clone(), zero]; rank];
            for (axis, pair) in by_axis.iter() {
                let k = args::integer("axis", &axis)?;
                let k = crate::error::OrRaise::or_raise(mlgrad_core::tape::shape::axis("pad", k, rank), py)?;
                rows[k] = pairs("pad_width", &pair, 1)?.swap_remove(0);
            }
            rows
        }
    };
    for [before, after] in rows {
        let width = |o: Any<'_>| {
            usize::try_from(args::integer("pad_width", &o)?)
                .map_err(|_| PyValueError::new_err("pad: index can't contain negative values"))
        };
        widths.push([width(before)?, width(after)?]);
    }
    let zeros = || vec![[mlgrad_core::numpy::Operand::Int(0); 2]; rank];
    let mut mode = match mode {
        "constant" => PadMode::Constant(zeros()),
        "linear_ramp" => PadMode::LinearRamp(zeros()),
        "empty" => {
            return Err(PyValueError::new_err(
                "pad: mode 'empty' leaves the margin undefined, and so its derivatives; use mode='constant'",
            ));
        }
        _ => PadMode::by_name(mode)
            .or_else(|| Some(PadMode::Statistic(Statistic::by_name(mode)?, vec![[None; 2]; rank])))
            .ok_or_else(|| {
                PyValueError::new_err(format!(
                    "pad: mode '{mode}' is not supported for traced arrays; there are 'constant', 'edge', 'reflect', 'symmetric', \
                     'wrap', 'linear_ramp', 'maximum', 'minimum', 'mean' and 'median'"
                ))
            })?,
    };
    for (key, v) in kwargs.into_iter().flat_map(|k| k.iter()) {
        let key = key.extract::<String>()?;
        match (key.as_str(), &mut mode) {
            ("constant_values", PadMode::Constant(values)) | ("end_values", PadMode::LinearRamp(values)) => {
                for (slot, [before, after]) in values.iter_mut().zip(pairs(&key, &v, rank)?) {
                    *slot = [convert::lift(py, &trace, &before)?, convert::lift(py, &trace, &after)?];
                }
            }
            ("stat_length", PadMode::Statistic(_, lengths)) if !v.is_none() => {
                let length = |o: Any<'_>| {
                    usize::try_from(args::integer("stat_length", &o)?)
                        .map(Some)
                        .map_err(|_| PyValueError::new_err("pad: stat_length must not be negative"))
                };
                for (slot, [before, after]) in lengths.iter_mut().zip(pairs("stat_length", &v, rank)?) {
                    *slot = [length(before)?, length(after)?];
                }
            }
            ("stat_length", PadMode::Statistic(..)) => {}
            ("reflect_type", PadMode::Reflect | PadMode::Symmetric) if v.eq("even")? => {}
            ("reflect_type", PadMode::Reflect) if v.eq("odd")? => mode = PadMode::OddReflect,
            ("reflect_type", PadMode::Symmetric) if v.eq("odd")? => mode = PadMode::OddSymmetric,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "pad: unsupported keyword argument for this mode: {key}={}",
                    v.repr()?
                )));
            }
        }
    }
    on_trace(py, &trace, |t| padding::pad(t, x, &widths, &mode))
}

pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        concatenate: ["concatenate", "concat"], stack: ["stack"], vstack: ["vstack"], hstack: ["hstack"],
        dstack: ["dstack"], column_stack: ["column_stack"], append: ["append"], tile: ["tile"], repeat: ["repeat"],
        roll: ["roll"], pad: ["pad"],
    });
    Ok(())
}
