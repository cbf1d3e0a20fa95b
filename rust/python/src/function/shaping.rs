//! Functions that give NumPy a view: the same elements in another shape or order. A copy where NumPy makes one.

use mlgrad_core::numpy::join::{Cuts, split_windows};
use mlgrad_core::numpy::shape as shapes;
use mlgrad_core::tape::shape::{self as core_shape, axis as resolve_axis};
use mlgrad_core::tape::{Axes, DType, Shape};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use smallvec::SmallVec;

use crate::args::{self, Any, element_order, integers, memory_order};
use crate::array::{Array, Kind, Made, make, record};
use crate::error::OrRaise;
use crate::layout::{self, Strides};
use crate::view::{self, Step};
use crate::{build, dtypes};

/// `object` as an Array: itself, or a constant on the current tape.
pub fn own<'py>(what: &str, object: &Any<'py>) -> PyResult<Bound<'py, Array>> {
    if let Ok(a) = object.cast_exact::<Array>() {
        return Ok(a.clone());
    }
    let py = object.py();
    let trace = args::trace_of(what, &[object], None)?;
    let node = build::array(py, &trace, object)?;
    Ok(Array::wrap(py, &trace, node)?.into_bound(py))
}

/// `a` seen through `steps`; of a scalar, which nothing shares, a fresh array.
pub fn viewed(
    py: Python<'_>,
    a: &Array,
    steps: impl IntoIterator<Item = Step>,
    shape: Shape,
    strides: Strides,
) -> PyResult<Array> {
    if a.kind == Kind::Array {
        return Ok(a.view(steps, shape, strides));
    }
    let made = record(py, a.trace(), |s| {
        let x = a.node_in(s)?;
        let y = view::read(&mut s.tape, x, &Vec::from_iter(steps))?;
        Ok(Made::keep(s, y))
    })?;
    Ok(made.into_array(a.trace()).with_kind(Kind::Array))
}

fn steps(one: Step) -> std::iter::Once<Step> {
    std::iter::once(one)
}

/// The same elements in C order in the shape `to`.
pub fn reshaped(py: Python<'_>, a: &Array, to: Shape) -> PyResult<Array> {
    if core_shape::checked_size(&to) != Some(a.size()) {
        return Err(PyValueError::new_err(format!(
            "reshape: cannot reshape array of size {} (shape {}) into shape {}",
            a.size(),
            core_shape::show(&a.shape),
            core_shape::show(&to)
        )));
    }
    match layout::reshaped(&a.shape, &a.strides(), &to) {
        Some(strides) => viewed(py, a, steps(Step::Reshape(to.clone())), to, strides),
        None => fresh(py, a, |t, x| t.reshape(x, &to)),
    }
}

/// A new array of its own.
fn fresh(
    py: Python<'_>,
    a: &Array,
    f: impl FnOnce(
        &mut mlgrad_core::tape::Tape,
        mlgrad_core::tape::NodeId,
    ) -> mlgrad_core::Result<mlgrad_core::tape::NodeId>,
) -> PyResult<Array> {
    let made = record(py, a.trace(), |s| {
        let x = a.node_in(s)?;
        let y = f(&mut s.tape, x)?;
        Ok(Made::keep(s, y))
    })?;
    Ok(made.into_array(a.trace()).with_kind(Kind::Array))
}

/// `x.reshape(2, 3)` and `x.reshape((2, 3))`
pub fn reshape_method(py: Python<'_>, a: &Array, shape: &Bound<'_, PyTuple>) -> PyResult<Array> {
    let given = if shape.len() == 1 {
        integers("a length", &shape.get_item(0)?)?
    } else {
        integers("a length", shape.as_any())?
    };
    reshaped(py, a, shapes::resolve_reshape(a.size(), &given).or_raise(py)?)
}

pub fn permuted(py: Python<'_>, a: &Array, perm: Axes) -> PyResult<Array> {
    let shape: Shape = perm.iter().map(|&k| a.shape[k as usize]).collect();
    let old = a.strides();
    let strides: Strides = perm.iter().map(|&k| old[k as usize]).collect();
    viewed(py, a, steps(Step::Transpose(perm)), shape, strides)
}

pub fn reversed(py: Python<'_>, a: &Array) -> PyResult<Array> {
    permuted(py, a, (0..a.ndim() as u8).rev().collect())
}

pub fn matrix_transposed(py: Python<'_>, a: &Array) -> PyResult<Array> {
    let n = a.ndim();
    if n < 2 {
        return Err(PyValueError::new_err(format!(
            "matrix transpose with ndim < 2 is undefined, got shape {}",
            core_shape::show(&a.shape)
        )));
    }
    let mut perm: Axes = (0..n as u8).collect();
    perm.swap(n - 2, n - 1);
    permuted(py, a, perm)
}

/// `x.transpose()`, `x.transpose(1, 0)` and `x.transpose((1, 0))`
pub fn transpose_method(py: Python<'_>, a: &Array, axes: &Bound<'_, PyTuple>) -> PyResult<Array> {
    let given = match axes.len() {
        0 => None,
        1 => args::axes(Some(&axes.get_item(0)?))?,
        _ => Some(integers("axis", axes.as_any())?),
    };
    permuted(py, a, shapes::permutation(a.ndim(), given.as_deref()).or_raise(py)?)
}

pub fn flatten(py: Python<'_>, a: &Array) -> PyResult<Array> {
    let to: Shape = std::iter::once(a.size()).collect();
    fresh(py, a, |t, x| t.reshape(x, &to))
}

/// A copy; in K order it keeps the order of the axes.
pub fn copied(py: Python<'_>, a: &Array, order: &str) -> PyResult<Array> {
    let new = fresh(py, a, |_, x| Ok(x))?;
    if order == "C" || a.ndim() < 2 {
        return Ok(new);
    }
    Ok(new.with_layout(layout::k_order(&a.shape, &[(&a.shape, a.layout())])))
}

pub fn cast(py: Python<'_>, a: &Array, to: DType) -> PyResult<Array> {
    let new = fresh(py, a, |t, x| t.cast(x, to))?;
    let kind = if a.shape.is_empty() { Kind::Scalar } else { Kind::Array };
    Ok(new.with_layout(layout::k_order(&a.shape, &[(&a.shape, a.layout())])).with_kind(kind))
}

/// `x.astype(...)`
pub fn astype(
    slf: &Bound<'_, Array>,
    dtype: &Any<'_>,
    order: Option<&str>,
    casting: &str,
    copy: bool,
) -> PyResult<Py<Array>> {
    let py = slf.py();
    let a = slf.get();
    memory_order("astype", order)?;
    let to = dtypes::parse(dtype)?;
    match casting {
        "unsafe" => {}
        "same_kind" | "safe" | "no" | "equiv" => {
            let fine = if casting == "same_kind" {
                crate::ufunc::check_cast("astype", a.dtype, to).is_ok()
            } else if casting == "safe" {
                a.dtype.promote(to) == to
            } else {
                a.dtype == to
            };
            if !fine {
                return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                    "Cannot cast array data from dtype('{}') to dtype('{to}') according to the rule '{casting}'",
                    a.dtype
                )));
            }
        }
        other => {
            return Err(PyValueError::new_err(format!(
                "casting must be one of 'no', 'equiv', 'safe', 'same_kind' and 'unsafe', got '{other}'"
            )));
        }
    }
    if !copy && to == a.dtype {
        return Ok(slf.clone().unbind());
    }
    Py::new(py, cast(py, a, to)?)
}

/// A view with other lengths of 1.
fn with_ones(py: Python<'_>, a: &Array, to: Shape) -> PyResult<Array> {
    if to == a.shape && a.kind == Kind::Array {
        return viewed(py, a, [], to, a.strides());
    }
    reshaped(py, a, to)
}

/// A view that reads `axes` (all for `None`) backwards.
fn flipped(py: Python<'_>, a: &Array, axes: Option<&[i64]>) -> PyResult<Array> {
    let w = shapes::flip_window(&a.shape, axes).or_raise(py)?;
    let strides: Strides = a.strides().iter().zip(&w.step).map(|(s, &k)| s * k as isize).collect();
    viewed(py, a, steps(Step::Window(Box::new(w), a.shape.clone())), a.shape.clone(), strides)
}

#[pyfunction]
#[pyo3(signature = (a, /, shape, order=None, *, copy=None))]
fn reshape(a: &Any<'_>, shape: &Any<'_>, order: Option<&str>, copy: Option<bool>) -> PyResult<Array> {
    let py = a.py();
    let a = own("reshape", a)?;
    let a = a.get();
    element_order("reshape", a, order)?;
    let given = integers("a length", shape)?;
    let to = shapes::resolve_reshape(a.size(), &given).or_raise(py)?;
    match copy {
        Some(true) => reshaped(py, &copied(py, a, "C")?, to),
        Some(false) if layout::reshaped(&a.shape, &a.strides(), &to).is_none() => {
            Err(PyValueError::new_err("Unable to avoid creating a copy while reshaping."))
        }
        _ => reshaped(py, a, to),
    }
}

#[pyfunction]
#[pyo3(signature = (a, order=None))]
fn ravel(a: &Any<'_>, order: Option<&str>) -> PyResult<Array> {
    let py = a.py();
    let a = own("ravel", a)?;
    let a = a.get();
    element_order("ravel", a, order)?;
    if a.layout().is_none() { reshaped(py, a, std::iter::once(a.size()).collect()) } else { flatten(py, a) }
}

#[pyfunction]
#[pyo3(signature = (a, axes=None))]
fn transpose(a: &Any<'_>, axes: Option<&Any<'_>>) -> PyResult<Array> {
    let py = a.py();
    let a = own("transpose", a)?;
    let a = a.get();
    permuted(py, a, shapes::permutation(a.ndim(), args::axes(axes)?.as_deref()).or_raise(py)?)
}

#[pyfunction]
#[pyo3(signature = (x, /))]
fn matrix_transpose(x: &Any<'_>) -> PyResult<Array> {
    matrix_transposed(x.py(), own("matrix_transpose", x)?.get())
}

#[pyfunction]
fn swapaxes(a: &Any<'_>, axis1: i64, axis2: i64) -> PyResult<Array> {
    let py = a.py();
    let a = own("swapaxes", a)?;
    let a = a.get();
    permuted(py, a, shapes::swap_permutation(a.ndim(), axis1, axis2).or_raise(py)?)
}

#[pyfunction]
fn moveaxis(a: &Any<'_>, source: &Any<'_>, destination: &Any<'_>) -> PyResult<Array> {
    let py = a.py();
    let a = own("moveaxis", a)?;
    let a = a.get();
    let (from, to) = (integers("source", source)?, integers("destination", destination)?);
    permuted(py, a, shapes::move_permutation(a.ndim(), &from, &to).or_raise(py)?)
}

#[pyfunction]
#[pyo3(signature = (a, axis, start=0))]
fn rollaxis(a: &Any<'_>, axis: i64, start: i64) -> PyResult<Array> {
    let py = a.py();
    let a = own("rollaxis", a)?;
    let a = a.get();
    permuted(py, a, shapes::rollaxis_permutation(a.ndim(), axis, start).or_raise(py)?)
}

#[pyfunction]
#[pyo3(signature = (a, axis=None))]
fn squeeze(a: &Any<'_>, axis: Option<&Any<'_>>) -> PyResult<Array> {
    let py = a.py();
    let a = own("squeeze", a)?;
    let a = a.get();
    with_ones(py, a, shapes::squeezed(&a.shape, args::axes(axis)?.as_deref()).or_raise(py)?)
}

#[pyfunction]
fn expand_dims(a: &Any<'_>, axis: &Any<'_>) -> PyResult<Array> {
    let py = a.py();
    let a = own("expand_dims", a)?;
    let a = a.get();
    with_ones(py, a, shapes::expanded(&a.shape, &integers("axis", axis)?).or_raise(py)?)
}

/// `a` spread over `to`: a view that cannot be written.
pub fn broadcasted(py: Python<'_>, a: &Array, to: Shape) -> PyResult<Array> {
    let extra = to.len().wrapping_sub(a.ndim());
    let fits = a.ndim() <= to.len() && a.shape.iter().zip(&to[extra..]).all(|(&d, &n)| d == n || d == 1);
    if !fits {
        return Err(PyValueError::new_err(format!(
            "broadcast_to: shape {} cannot be broadcast to {}; lengths must be equal or 1, aligned at the right",
            core_shape::show(&a.shape),
            core_shape::show(&to)
        )));
    }
    let mut strides: Strides = SmallVec::from_elem(0, to.len());
    for (i, s) in a.strides().into_iter().enumerate() {
        if a.shape[i] != 1 {
            strides[extra + i] = s;
        }
    }
    Ok(viewed(py, a, steps(Step::Broadcast(to.clone())), to, strides)?.read_only())
}

#[pyfunction]
#[pyo3(signature = (array, shape, subok=false))]
fn broadcast_to(array: &Any<'_>, shape: &Any<'_>, subok: bool) -> PyResult<Array> {
    let _ = subok;
    broadcasted(array.py(), own("broadcast_to", array)?.get(), args::shape("broadcast_to", shape)?)
}

#[pyfunction]
#[pyo3(signature = (*args, subok=false))]
fn broadcast_arrays(py: Python<'_>, args: &Bound<'_, PyTuple>, subok: bool) -> PyResult<Py<PyTuple>> {
    let _ = subok;
    let trace = args::trace_of("broadcast_arrays", &[args.as_any()], None)?;
    let mut arrays = Vec::new();
    for x in args.iter() {
        arrays.push(match x.cast_exact::<Array>() {
            Ok(a) => a.clone(),
            Err(_) => {
                let node = build::array(py, &trace, &x)?;
                Array::wrap(py, &trace, node)?.into_bound(py)
            }
        });
    }
    let shapes: Vec<&[usize]> = arrays.iter().map(|a| a.get().shape.as_slice()).collect();
    let to = core_shape::broadcast("broadcast_arrays", &shapes).or_raise(py)?;
    let all: Vec<Py<Array>> =
        arrays.iter().map(|a| Py::new(py, broadcasted(py, a.get(), to.clone())?)).collect::<PyResult<_>>()?;
    Ok(PyTuple::new(py, all)?.unbind())
}

#[pyfunction]
#[pyo3(signature = (m, axis=None))]
fn flip(m: &Any<'_>, axis: Option<&Any<'_>>) -> PyResult<Array> {
    flipped(m.py(), own("flip", m)?.get(), args::axes(axis)?.as_deref())
}

#[pyfunction]
fn flipud(m: &Any<'_>) -> PyResult<Array> {
    flipped(m.py(), own("flipud", m)?.get(), Some(&[0]))
}

#[pyfunction]
fn fliplr(m: &Any<'_>) -> PyResult<Array> {
    flipped(m.py(), own("fliplr", m)?.get(), Some(&[1]))
}

#[pyfunction]
#[pyo3(signature = (m, k=1, axes=None))]
fn rot90(m: &Any<'_>, k: i64, axes: Option<&Any<'_>>) -> PyResult<Array> {
    let py = m.py();
    let a = own("rot90", m)?;
    let a = a.get();
    let given = args::axes(axes)?.unwrap_or_else(|| [0, 1].into_iter().collect());
    if given.len() != 2 {
        return Err(PyValueError::new_err("len(axes) must be 2."));
    }
    let perm = shapes::swap_permutation(a.ndim(), given[0], given[1]).or_raise(py)?;
    match k.rem_euclid(4) {
        0 => viewed(py, a, [], a.shape.clone(), a.strides()),
        1 => permuted(py, &flipped(py, a, Some(&given[1..]))?, perm),
        2 => flipped(py, a, Some(&given)),
        _ => flipped(py, &permuted(py, a, perm)?, Some(&given[1..])),
    }
}

/// `np.split` (`equal`) and `np.array_split`.
fn split_at(py: Python<'_>, a: &Array, sections: &Any<'_>, axis: i64, equal: bool) -> PyResult<Py<PyList>> {
    let cuts = match sections.extract::<i64>() {
        Ok(k) => Cuts::Into(usize::try_from(k).unwrap_or(0)),
        Err(_) => Cuts::At(integers("a place to cut at", sections)?.to_vec()),
    };
    let mut parts = Vec::new();
    for (w, shape) in split_windows(&a.shape, &cuts, axis, equal).or_raise(py)? {
        let part = viewed(py, a, steps(Step::Window(Box::new(w), shape.clone())), shape, a.strides())?;
        parts.push(Py::new(py, part)?);
    }
    Ok(PyList::new(py, parts)?.unbind())
}

#[pyfunction]
#[pyo3(signature = (ary, indices_or_sections, axis=0))]
fn split(ary: &Any<'_>, indices_or_sections: &Any<'_>, axis: i64) -> PyResult<Py<PyList>> {
    split_at(ary.py(), own("split", ary)?.get(), indices_or_sections, axis, true)
}

#[pyfunction]
#[pyo3(signature = (ary, indices_or_sections, axis=0))]
fn array_split(ary: &Any<'_>, indices_or_sections: &Any<'_>, axis: i64) -> PyResult<Py<PyList>> {
    split_at(ary.py(), own("array_split", ary)?.get(), indices_or_sections, axis, false)
}

fn split_along(what: &str, ary: &Any<'_>, sections: &Any<'_>, axis: usize, least: usize) -> PyResult<Py<PyList>> {
    let a = own(what, ary)?;
    let a = a.get();
    if a.ndim() < least {
        return Err(PyValueError::new_err(format!("{what} only works on arrays of {least} or more dimensions")));
    }
    let axis = if what == "hsplit" && a.ndim() == 1 { 0 } else { axis };
    split_at(ary.py(), a, sections, axis as i64, true)
}

#[pyfunction]
fn vsplit(ary: &Any<'_>, indices_or_sections: &Any<'_>) -> PyResult<Py<PyList>> {
    split_along("vsplit", ary, indices_or_sections, 0, 2)
}

#[pyfunction]
fn hsplit(ary: &Any<'_>, indices_or_sections: &Any<'_>) -> PyResult<Py<PyList>> {
    split_along("hsplit", ary, indices_or_sections, 1, 1)
}

#[pyfunction]
fn dsplit(ary: &Any<'_>, indices_or_sections: &Any<'_>) -> PyResult<Py<PyList>> {
    split_along("dsplit", ary, indices_or_sections, 2, 3)
}

/// `np.unstack`: the parts along an axis, which they lack.
#[pyfunction]
#[pyo3(signature = (x, /, *, axis=0))]
fn unstack(x: &Any<'_>, axis: i64) -> PyResult<Py<PyTuple>> {
    let py = x.py();
    let a = own("unstack", x)?;
    let a = a.get();
    let axis = resolve_axis("unstack", axis, a.ndim()).or_raise(py)?;
    let mut perm: Axes = (0..a.ndim() as u8).filter(|&k| k as usize != axis).collect();
    perm.insert(0, axis as u8);
    let front = permuted(py, a, perm)?;
    let n = front.shape[0] as i64;
    let rows: Vec<Py<Array>> =
        (0..n).map(|k| Py::new(py, crate::index::row(py, &front, k)?)).collect::<PyResult<_>>()?;
    Ok(PyTuple::new(py, rows)?.unbind())
}

/// `a` with at least `rank` axes, as `np.atleast_1d` and its kin place them.
pub fn at_least(py: Python<'_>, a: &Array, rank: usize) -> PyResult<Array> {
    let to = shapes::at_least(&a.shape, rank);
    with_ones(py, a, to)
}

fn at_least_all(py: Python<'_>, what: &str, arys: &Bound<'_, PyTuple>, rank: usize) -> PyResult<Py<PyAny>> {
    let trace = args::trace_of(what, &[arys.as_any()], None)?;
    let mut all: Vec<Py<Array>> = Vec::new();
    for x in arys.iter() {
        let a = match x.cast_exact::<Array>() {
            Ok(a) => at_least(py, a.get(), rank)?,
            Err(_) => {
                let node = build::array(py, &trace, &x)?;
                at_least(py, &make(py, &trace, |_| Ok(node))?, rank)?
            }
        };
        all.push(Py::new(py, a)?);
    }
    if all.len() == 1
        && let Some(a) = all.pop()
    {
        return Ok(a.into_any());
    }
    Ok(PyTuple::new(py, all)?.into_any().unbind())
}

#[pyfunction]
#[pyo3(signature = (*arys))]
fn atleast_1d(py: Python<'_>, arys: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    at_least_all(py, "atleast_1d", arys, 1)
}

#[pyfunction]
#[pyo3(signature = (*arys))]
fn atleast_2d(py: Python<'_>, arys: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    at_least_all(py, "atleast_2d", arys, 2)
}

#[pyfunction]
#[pyo3(signature = (*arys))]
fn atleast_3d(py: Python<'_>, arys: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    at_least_all(py, "atleast_3d", arys, 3)
}

#[pyfunction]
#[pyo3(signature = (a, order="K", subok=false))]
fn copy(a: &Any<'_>, order: &str, subok: bool) -> PyResult<Array> {
    let _ = subok;
    memory_order("copy", Some(order))?;
    copied(a.py(), own("copy", a)?.get(), order)
}

#[pyfunction]
#[pyo3(name = "astype", signature = (x, dtype, /, *, copy=true, device=None))]
fn astype_function(x: &Any<'_>, dtype: &Any<'_>, copy: bool, device: Option<&Any<'_>>) -> PyResult<Py<Array>> {
    let _ = device;
    astype(&own("astype", x)?, dtype, None, "unsafe", copy)
}

#[pyfunction]
fn ndim(a: &Any<'_>) -> PyResult<usize> {
    Ok(own("ndim", a)?.get().ndim())
}

#[pyfunction]
fn shape(a: &Any<'_>) -> PyResult<Py<PyTuple>> {
    Ok(PyTuple::new(a.py(), own("shape", a)?.get().shape.iter())?.unbind())
}

#[pyfunction]
#[pyo3(signature = (a, axis=None))]
fn size(a: &Any<'_>, axis: Option<&Any<'_>>) -> PyResult<usize> {
    let py = a.py();
    let a = own("size", a)?;
    let a = a.get();
    let Some(axes) = args::axes(axis)? else { return Ok(a.size()) };
    let mut n = 1;
    for k in axes {
        n *= a.shape[resolve_axis("size", k, a.ndim()).or_raise(py)?];
    }
    Ok(n)
}

#[pyfunction]
fn iscomplexobj(x: &Any<'_>) -> PyResult<bool> {
    Ok(own("iscomplexobj", x)?.get().dtype.is_complex())
}

#[pyfunction]
fn isrealobj(x: &Any<'_>) -> PyResult<bool> {
    Ok(!own("isrealobj", x)?.get().dtype.is_complex())
}

#[pyfunction]
fn shares_memory(a: &Any<'_>, b: &Any<'_>) -> bool {
    match (a.cast_exact::<Array>(), b.cast_exact::<Array>()) {
        (Ok(a), Ok(b)) => a.get().shares(b.get()),
        _ => false,
    }
}

/// Unused arguments of NumPy's that mean nothing here are accepted and ignored.
pub fn table(m: &Bound<'_, PyModule>, add: &mut super::Add<'_>) -> PyResult<()> {
    super::functions!(m, add, {
        reshape: ["reshape"], ravel: ["ravel"], transpose: ["transpose", "permute_dims"],
        matrix_transpose: ["matrix_transpose", "linalg.matrix_transpose"],
        swapaxes: ["swapaxes"], moveaxis: ["moveaxis"], rollaxis: ["rollaxis"], squeeze: ["squeeze"],
        expand_dims: ["expand_dims"], broadcast_to: ["broadcast_to"], broadcast_arrays: ["broadcast_arrays"],
        flip: ["flip"], flipud: ["flipud"], fliplr: ["fliplr"], rot90: ["rot90"],
        split: ["split"], array_split: ["array_split"], vsplit: ["vsplit"], hsplit: ["hsplit"], dsplit: ["dsplit"],
        unstack: ["unstack"], atleast_1d: ["atleast_1d"], atleast_2d: ["atleast_2d"], atleast_3d: ["atleast_3d"],
        copy: ["copy"], astype_function: ["astype"], ndim: ["ndim"], shape: ["shape"], size: ["size"],
        iscomplexobj: ["iscomplexobj"], isrealobj: ["isrealobj"], shares_memory: ["shares_memory", "may_share_memory"],
    });
    Ok(())
}
