//! Index expressions from Python: `x[...]`, `x[...] = v` and `np.add.at`.

use std::sync::Arc;

use mlgrad_core::numpy::Operand;
use mlgrad_core::numpy::index::{self, Index, ViewStep};
use mlgrad_core::tape::{DType, Shape, Tape, shape as tape_shape};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyList, PySlice, PyTuple};
use smallvec::SmallVec;

use crate::args::{Any, record_now};
use crate::array::{Array, Kind, Made, record};
use crate::convert;
use crate::error::OrRaise;
use crate::layout::{self, Layout, Strides};
use crate::leave;
use crate::trace::Trace;
use crate::view::Step;

pub type Expression = SmallVec<[Index; 4]>;

const INVALID: &str = "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays are \
                       valid indices";

impl From<ViewStep> for Step {
    fn from(s: ViewStep) -> Step {
        match s {
            ViewStep::Slice(w, to) => Step::Window(Box::new(w), to),
            ViewStep::Reshape(to) => Step::Reshape(to),
            ViewStep::Transpose(p) => Step::Transpose(p),
        }
    }
}

/// The expression between the brackets. The counts of masks are left open.
pub fn parse(py: Python<'_>, trace: &Arc<Trace>, key: &Any<'_>) -> PyResult<Expression> {
    match key.cast::<PyTuple>() {
        Ok(items) => items.iter().map(|k| entry(py, trace, &k)).collect(),
        Err(_) => Ok(std::iter::once(entry(py, trace, key)?).collect()),
    }
}

fn entry(py: Python<'_>, trace: &Arc<Trace>, key: &Any<'_>) -> PyResult<Index> {
    if key.is_exact_instance_of::<PyInt>() {
        return Ok(Index::Int(key.extract()?));
    }
    if let Ok(s) = key.cast::<PySlice>() {
        let part = |name: &Bound<'_, pyo3::types::PyString>| -> PyResult<Option<i64>> {
            let v = s.getattr(name)?;
            if v.is_none() { Ok(None) } else { bound(&v).map(Some) }
        };
        return Ok(Index::Slice {
            start: part(pyo3::intern!(py, "start"))?,
            stop: part(pyo3::intern!(py, "stop"))?,
            step: part(pyo3::intern!(py, "step"))?,
        });
    }
    if key.is_none() {
        return Ok(Index::NewAxis);
    }
    if key.is(PyEllipsis::get(py)) {
        return Ok(Index::Ellipsis);
    }
    if let Ok(a) = key.cast_exact::<Array>() {
        let a = a.get();
        a.check_trace(trace)?;
        let node = a.node(py)?;
        return match a.dtype {
            DType::Bool => Ok(Index::Bool { mask: node, count: None }),
            d if d.is_integer() => Ok(Index::Array(node)),
            d => Err(PyIndexError::new_err(format!(
                "arrays used as indices must be of integer (or boolean) type, got {d}; {INVALID}"
            ))),
        };
    }
    if key.is_instance_of::<PyBool>() {
        let v = key.is_truthy()? as u8 as f64;
        let mask = record(py, trace, |s| s.tape.literal(v, &[], DType::Bool))?;
        return Ok(Index::Bool { mask, count: None });
    }
    if let Ok(array) = key.cast::<PyUntypedArray>() {
        return constant(py, trace, array);
    }
    if key.is_instance_of::<PyList>() || key.is_instance_of::<PyTuple>() {
        if crate::args::find_trace(&[key]).is_some() {
            let node = crate::build::array(py, trace, key)?;
            let dtype = record(py, trace, |s| Ok(s.tape.dtype(node)))?;
            return Ok(if dtype == DType::Bool { Index::Bool { mask: node, count: None } } else { Index::Array(node) });
        }
        return sequence(py, trace, key);
    }
    if key.hasattr(pyo3::intern!(py, "__index__"))? {
        return Ok(Index::Int(bound(key)?));
    }
    if key.hasattr(pyo3::intern!(py, "__array__"))? {
        return constant(py, trace, &convert::as_ndarray(key)?);
    }
    // a range, or another sequence
    if key.hasattr(pyo3::intern!(py, "__len__"))? && key.hasattr(pyo3::intern!(py, "__getitem__"))? {
        return sequence(py, trace, key);
    }
    Err(PyIndexError::new_err(format!("{INVALID}; got {}", key.get_type().name()?)))
}

fn sequence(py: Python<'_>, trace: &Arc<Trace>, key: &Any<'_>) -> PyResult<Index> {
    let array = convert::as_ndarray(key)?;
    // an empty one is an index array of no entries
    if array.len() == 0 && array.dtype().kind() == b'f' {
        let node = record(py, trace, |s| s.tape.literal(0.0, array.shape(), DType::I64))?;
        return Ok(Index::Array(node));
    }
    constant(py, trace, &array)
}

fn bound(key: &Any<'_>) -> PyResult<i64> {
    key.extract::<i64>().map_err(|e| {
        if e.is_instance_of::<PyTypeError>(key.py()) && !key.is_instance_of::<Array>() {
            PyTypeError::new_err("slice indices must be integers or None or have an __index__ method")
        } else {
            e
        }
    })
}

fn constant(py: Python<'_>, trace: &Arc<Trace>, array: &Bound<'_, PyUntypedArray>) -> PyResult<Index> {
    match array.dtype().kind() {
        b'b' => Ok(Index::Bool { mask: trace.constant(py, array)?, count: None }),
        b'i' | b'u' => {
            let small = crate::dtypes::from_descr(&array.dtype()).is_err();
            let node = if small {
                // int8, uint16 and their like: only their values count here
                let wide = array.call_method1(pyo3::intern!(py, "astype"), (crate::dtypes::descr(py, DType::I64),))?;
                trace.constant(py, wide.cast::<PyUntypedArray>()?)?
            } else {
                trace.constant(py, array)?
            };
            Ok(Index::Array(node))
        }
        _ => Err(PyIndexError::new_err(format!(
            "arrays used as indices must be of integer (or boolean) type, got {}; {INVALID}",
            array.dtype().str()?
        ))),
    }
}

/// Computes how many elements each mask selects.
pub fn count_masks(py: Python<'_>, trace: &Trace, expression: &mut Expression) -> PyResult<()> {
    for i in expression {
        if let Index::Bool { mask, count } = i {
            *count = Some(leave::count(py, trace, *mask)?);
        }
    }
    Ok(())
}

/// The view that a basic expression shows of `a`.
pub fn view(py: Python<'_>, a: &Array, expression: &[Index]) -> PyResult<Array> {
    let steps: Vec<Step> = index::basic_view(&a.shape, expression).or_raise(py)?.into_iter().map(Step::from).collect();
    let (shape, strides) = shown(a, &steps);
    crate::function::shaping::viewed(py, a, steps, shape, strides)
}

/// Shape and strides of `a` after `steps`, none of which needs a copy.
fn shown(a: &Array, steps: &[Step]) -> (Shape, Strides) {
    let (mut shape, mut strides) = (a.shape.clone(), a.strides());
    for s in steps {
        match s {
            Step::Window(w, to) => {
                for (s, &k) in strides.iter_mut().zip(&w.step) {
                    *s *= k as isize;
                }
                shape = to.clone();
            }
            Step::Reshape(to) => {
                strides = layout::reshaped(&shape, &strides, to).unwrap_or_else(|| tape_shape::strides(to));
                shape = to.clone();
            }
            Step::Transpose(p) => {
                strides = p.iter().map(|&k| strides[k as usize]).collect();
                shape = p.iter().map(|&k| shape[k as usize]).collect();
            }
            Step::Broadcast(to) => shape = to.clone(),
        }
    }
    (shape, strides)
}

/// Whether NumPy gives a scalar, which is a copy: every axis by an integer.
fn is_element(a: &Array, expression: &[Index]) -> bool {
    expression.len() == a.ndim() && expression.iter().all(|i| matches!(i, Index::Int(_)))
}

/// `a[key]`
pub fn get(py: Python<'_>, a: &Array, key: &Any<'_>) -> PyResult<Array> {
    let trace = a.trace();
    let mut expression = parse(py, trace, key)?;
    if is_element(a, &expression) {
        return crate::array::record(py, trace, |s| {
            let x = a.node_in(s)?;
            let y = index::get(&mut s.tape, x, &expression)?;
            Ok(Made::keep(s, y))
        })
        .map(|m| m.into_array(trace));
    }
    if index::is_basic(&expression) {
        return view(py, a, &expression);
    }
    count_masks(py, trace, &mut expression)?;
    let (made, layout) = record_now(py, trace, |s| {
        let x = a.node_in(s)?;
        let y = index::get(&mut s.tape, x, &expression)?;
        let layout = gathered_layout(&s.tape, a, &expression, s.tape.shape(y));
        Ok((Made::keep(s, y), layout))
    })?;
    Ok(made.into_array(trace).with_layout(layout))
}

/// How NumPy lays out what index arrays gather: their axes outermost, then the others in the order of the source.
fn gathered_layout(t: &Tape, a: &Array, expression: &[Index], result: &[usize]) -> Layout {
    if result.len() < 2 {
        return None;
    }
    let strides = a.strides();
    let uses = |i: &Index| match i {
        Index::Int(_) | Index::Slice { .. } | Index::Array(_) => 1,
        Index::Bool { mask, .. } => t.rank(*mask),
        Index::NewAxis | Index::Ellipsis => 0,
    };
    let rest = a.ndim() - expression.iter().map(uses).sum::<usize>();
    let open = !expression.contains(&Index::Ellipsis);
    // strides of the axes that stay, and where among them the gathered ones belong
    let (mut kept, mut place, mut apart, mut after) = (Strides::new(), None, false, false);
    let mut axis = 0;
    for i in expression.iter().chain(open.then_some(&Index::Ellipsis)) {
        let advanced = matches!(i, Index::Int(_) | Index::Array(_) | Index::Bool { .. });
        if advanced {
            apart |= after;
            place.get_or_insert(kept.len());
        } else {
            after = place.is_some();
        }
        let n = if *i == Index::Ellipsis { rest } else { uses(i) };
        match i {
            Index::Slice { step, .. } => kept.push(strides[axis] * step.unwrap_or(1) as isize),
            Index::NewAxis => kept.push(0),
            Index::Ellipsis => kept.extend_from_slice(&strides[axis..axis + n]),
            _ => {}
        }
        axis += n;
    }
    let place = if apart { 0 } else { place.unwrap_or(0) };
    let count = result.len() - kept.len();
    let others: Shape = result[..place].iter().chain(&result[place + count..]).copied().collect();
    let inner = layout::of(&layout::k_order(&others, &[(&others, &layout::pack(&others, kept))]), &others);
    let size: usize = others.iter().product();
    let outer = tape_shape::strides(&result[place..place + count]);
    let all: Strides = inner[..place]
        .iter()
        .copied()
        .chain(outer.iter().map(|s| s * size as isize))
        .chain(inner[place..].iter().copied())
        .collect();
    layout::pack(result, all)
}

/// `a[k]` for iteration.
pub fn row(py: Python<'_>, a: &Array, k: i64) -> PyResult<Array> {
    let expression = [Index::Int(k)];
    if a.ndim() == 1 {
        return record(py, a.trace(), |s| {
            let x = a.node_in(s)?;
            let y = index::get(&mut s.tape, x, &expression)?;
            Ok(Made::keep(s, y))
        })
        .map(|m| m.into_array(a.trace()));
    }
    view(py, a, &expression)
}

/// `a[key] = v`, or with `add` `np.add.at(a, key, v)`.
pub fn set(py: Python<'_>, a: &Array, key: &Any<'_>, v: &Any<'_>, add: bool) -> PyResult<()> {
    if a.kind != Kind::Array {
        return Err(PyTypeError::new_err(format!(
            "a {} scalar does not support item assignment; make a new value instead",
            a.dtype
        )));
    }
    let trace = a.trace();
    let mut expression = parse(py, trace, key)?;
    let v = convert::lift(py, trace, v)?;
    let counts = add || record(py, trace, |s| Ok(index::set_needs_counts(&s.tape, &expression, v)))?;
    if counts {
        count_masks(py, trace, &mut expression)?;
    }
    assign(py, a, &expression, v, add)
}

/// The same for an expression and a value that are on the tape.
pub fn assign(py: Python<'_>, a: &Array, expression: &[Index], v: Operand, add: bool) -> PyResult<()> {
    if add {
        let from = record(py, a.trace(), |s| Ok(v.dtype(&s.tape)))?;
        crate::ufunc::check_cast("add", from, a.dtype)?;
    }
    if !a.writeable {
        return Err(crate::array::read_only());
    }
    let new = record_now(py, a.trace(), |s| {
        let x = a.node_in(s)?;
        if add { index::add_at(&mut s.tape, x, expression, v) } else { index::set(&mut s.tape, x, expression, v) }
    })?;
    a.store(py, new)
}
