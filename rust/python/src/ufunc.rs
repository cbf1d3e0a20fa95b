//! `__array_ufunc__`: NumPy's and scipy.special's universal functions on traced arrays.

use std::sync::{Arc, Mutex, PoisonError};

use mlgrad_core::numpy::Operand;
use mlgrad_core::numpy::ufunc::Ufunc;
use mlgrad_core::tape::{DType, NodeId, shape};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::args::{self, Any};
use crate::array::{Array, Made, record};
use crate::error::{OrRaise, raise};
use crate::function::{linear, reduce as reductions};
use crate::layout::{self, Layout};
use crate::trace::Trace;
use crate::{convert, dtypes, leave};

/// What stands behind a ufunc object.
#[derive(Clone, Copy)]
pub enum Known {
    Elementwise(Ufunc),
    /// A generalised one: matrix products.
    Product(linear::Product),
    Unknown,
}

/// Ufunc objects by address, which stays theirs since the object is held.
type Seen = FxHashMap<usize, (Py<PyAny>, Known)>;

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

fn lookup(ufunc: &Any<'_>) -> PyResult<Known> {
    let key = ufunc.as_ptr() as usize;
    {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = seen.as_ref().and_then(|m| m.get(&key)) {
            return Ok(*known);
        }
    }
    let known = identify(ufunc)?;
    if matches!(known, Known::Unknown) {
        // an error follows; nothing is gained by keeping the object alive
        return Ok(known);
    }
    let held = ufunc.clone().unbind();
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(key, (held, known));
    Ok(known)
}

/// By name, and only where NumPy's or scipy.special's function of that name is this very object: others may share a name.
fn identify(ufunc: &Any<'_>) -> PyResult<Known> {
    let py = ufunc.py();
    let name = ufunc.getattr(pyo3::intern!(py, "__name__"))?.extract::<String>()?;
    let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
    let mut ours = false;
    for module in ["numpy", "scipy.special"] {
        if let Some(m) = modules.get_item(module)? {
            ours = ours || m.getattr_opt(name.as_str())?.is_some_and(|f| f.is(ufunc));
        }
    }
    if !ours {
        return Ok(Known::Unknown);
    }
    Ok(match (Ufunc::by_name(&name), linear::Product::by_name(&name)) {
        (Some(f), _) => Known::Elementwise(f),
        (_, Some(p)) => Known::Product(p),
        _ => Known::Unknown,
    })
}

/// A ufunc of the core's table.
pub fn named(py: Python<'_>, name: &str) -> PyResult<Ufunc> {
    Ufunc::by_name(name).ok_or_else(|| raise(py, mlgrad_core::Error::Internal(format!("no ufunc {name}"))))
}

/// `can_cast(from, to, 'same_kind')`
fn same_kind(from: DType, to: DType) -> bool {
    let kind = |d: DType| match d {
        DType::Bool => 0,
        DType::U8 => 1,
        DType::I32 | DType::I64 => 2,
        DType::F32 | DType::F64 => 3,
        DType::C64 | DType::C128 => 4,
    };
    kind(from) <= kind(to)
}

/// NumPy's rule for what a ufunc writes into an array that is there already.
pub fn check_cast(name: &str, from: DType, to: DType) -> PyResult<()> {
    if same_kind(from, to) {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "Cannot cast ufunc '{name}' output from dtype('{from}') to dtype('{to}') with casting rule 'same_kind'; write the result \
         to a new array, or convert it with .astype(np.{to}) first"
    )))
}

/// Writes the result of `name` into `out`, as `out=` and the in-place operators do.
pub fn write_out(py: Python<'_>, name: &str, out: &Array, result: NodeId, only: Option<NodeId>) -> PyResult<()> {
    let (from, dtype) = record(py, out.trace(), |s| Ok((s.tape.shape(result).clone(), s.tape.dtype(result))))?;
    check_cast(name, dtype, out.dtype)?;
    let fits =
        from.len() <= out.shape.len() && from.iter().rev().zip(out.shape.iter().rev()).all(|(&a, &b)| a == b || a == 1);
    if !fits {
        return Err(PyValueError::new_err(format!(
            "non-broadcastable output operand with shape {} doesn't match the broadcast shape {}",
            shape::show(&out.shape),
            shape::show(&from)
        )));
    }
    let node = record(py, out.trace(), |s| {
        let v = s.tape.cast(result, out.dtype)?;
        let v = s.tape.broadcast_to(v, &out.shape)?;
        match only {
            None => Ok(v),
            Some(mask) => {
                let mask = s.tape.broadcast_to(mask, &out.shape)?;
                let old = out.node_in(s)?;
                s.tape.select(mask, v, old)
            }
        }
    })?;
    out.store(py, node)
}

/// The keywords of a ufunc call.
#[derive(Default)]
struct Keywords<'py> {
    out: SmallVec<[Option<Any<'py>>; 2]>,
    only: Option<Any<'py>>,
    dtype: Option<DType>,
    axis: Option<Any<'py>>,
    keepdims: bool,
    initial: Option<Any<'py>>,
}

impl<'py> Keywords<'py> {
    fn parse(name: &str, kwargs: Option<&Bound<'py, PyDict>>) -> PyResult<Keywords<'py>> {
        let mut k = Keywords::default();
        let Some(kwargs) = kwargs else { return Ok(k) };
        for (key, v) in kwargs.iter() {
            let key = key.cast::<PyString>()?.to_str()?;
            match key {
                "out" => match v.cast::<PyTuple>() {
                    Ok(t) => k.out = t.iter().map(|o| (!o.is_none()).then_some(o)).collect(),
                    Err(_) => k.out = std::iter::once((!v.is_none()).then_some(v)).collect(),
                },
                "where" => k.only = (!v.is(pyo3::types::PyBool::new(v.py(), true))).then_some(v),
                "dtype" => k.dtype = dtypes::parse_optional(Some(&v))?,
                "axis" => k.axis = Some(v),
                "keepdims" => k.keepdims = v.is_truthy()?,
                "initial" => k.initial = (!v.repr()?.to_str()?.contains("no value")).then_some(v),
                "casting" if v.eq("same_kind")? => {}
                "order" if v.eq("K")? || v.eq("C")? => {}
                "subok" if v.is_truthy()? => {}
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "{name}: the argument {key}={} is not supported for traced arrays; leave it out",
                        v.repr()?
                    )));
                }
            }
        }
        Ok(k)
    }

    /// The one output array, if there is one.
    fn target(&self, name: &str) -> PyResult<Option<Py<Array>>> {
        self.out.first().and_then(|o| o.as_ref()).map(|o| output(name, o)).transpose()
    }
}

/// `out=` must be a traced array: an ndarray cannot hold a traced value.
pub fn output(name: &str, out: &Any<'_>) -> PyResult<Py<Array>> {
    if let Ok(a) = out.cast_exact::<Array>() {
        return Ok(a.clone().unbind());
    }
    if out.is_instance_of::<PyUntypedArray>() {
        return Err(leave::refused(&format!(
            "{name}: writing the result into a plain ndarray (out=, or an in-place operator)"
        )));
    }
    Err(PyTypeError::new_err(format!(
        "{name}: return arrays must be of mlgrad.Array type, got {}",
        out.get_type().name()?
    )))
}

/// `Array.__array_ufunc__`
pub fn array_ufunc<'py>(
    py: Python<'py>,
    ufunc: &Any<'py>,
    method: &str,
    inputs: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let known = lookup(ufunc)?;
    if let (Known::Elementwise(f), "__call__", None) = (known, method, kwargs) {
        return call(py, f, inputs, &Keywords::default());
    }
    let name = || ufunc.getattr(pyo3::intern!(py, "__name__")).and_then(|n| n.extract::<String>());
    match (known, method) {
        (Known::Unknown, _) => Err(PyTypeError::new_err(format!(
            "the ufunc {} is not supported for traced arrays; write it with NumPy's functions, or give it a derivative with \
             mlgrad.custom_vjp",
            name()?
        ))),
        (Known::Elementwise(f), "__call__") => call(py, f, inputs, &Keywords::parse(f.name(), kwargs)?),
        (Known::Product(p), "__call__") => {
            let k = Keywords::parse(p.name(), kwargs)?;
            args::refuse(p.name(), &[("where", k.only.as_ref()), ("axis", k.axis.as_ref())])?;
            let (a, b) = inputs.extract::<(Any<'_>, Any<'_>)>()?;
            let result = linear::product_of(p, &a, &b)?;
            deliver(py, p.name(), result, k.target(p.name())?, k.dtype)
        }
        (Known::Elementwise(f), _) => {
            let k = Keywords::parse(f.name(), kwargs)?;
            match method {
                "reduce" => reduce(py, f, inputs, &k),
                "accumulate" => accumulate(py, f, inputs, &k),
                "outer" => outer(py, f, inputs, &k),
                "at" => at(py, f, inputs),
                _ => Err(unsupported(f, method)),
            }
        }
        (Known::Product(p), _) => Err(PyTypeError::new_err(format!("np.{}.{method} is not supported", p.name()))),
    }
}

fn unsupported(f: Ufunc, method: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "np.{}.{method} is not supported for traced arrays; the methods are: __call__ and outer of every ufunc, reduce of add, \
         multiply, maximum, minimum, logaddexp, logical_and and logical_or, accumulate of add, multiply, maximum, minimum, \
         fmax, fmin, logaddexp and logaddexp2, at of add",
        f.name()
    ))
}

/// `array` as the result, cast to `dtype`, or written into `out`.
pub fn deliver(
    py: Python<'_>,
    name: &str,
    array: Array,
    out: Option<Py<Array>>,
    dtype: Option<DType>,
) -> PyResult<Py<PyAny>> {
    let array = match dtype {
        Some(d) if d != array.dtype => {
            let trace = array.trace();
            crate::array::record(py, trace, |s| {
                let x = array.node_in(s)?;
                let y = s.tape.cast(x, d)?;
                Ok(Made::keep(s, y))
            })?
            .into_array(trace)
        }
        _ => array,
    };
    match out {
        None => Ok(Py::new(py, array)?.into_any()),
        Some(out) => {
            write_out(py, name, out.get(), array.node(py)?, None)?;
            Ok(out.into_any())
        }
    }
}

/// The layout of the result of an elementwise operation on `inputs`.
fn result_layout<'a>(shape: &[usize], inputs: impl Iterator<Item = &'a Array> + Clone) -> Layout {
    if inputs.clone().all(|a| a.layout().is_none()) {
        return None;
    }
    let all: SmallVec<[(&[usize], &Layout); 3]> = inputs.map(|a| (a.shape.as_slice(), a.layout())).collect();
    layout::k_order(shape, &all)
}

/// Applies `f`, and makes the results into arrays.
pub fn apply(py: Python<'_>, f: Ufunc, trace: &Arc<Trace>, operands: &[Operand]) -> PyResult<(Made, Option<Made>)> {
    record(py, trace, |s| {
        let nodes = f.call(&mut s.tape, operands)?;
        Made::all(s, &nodes)
    })
}

fn call(py: Python<'_>, f: Ufunc, inputs: &Bound<'_, PyTuple>, k: &Keywords<'_>) -> PyResult<Py<PyAny>> {
    let first = |a: &Any<'_>| a.cast_exact::<Array>().ok().map(|a| a.get().trace().clone());
    let trace = inputs
        .iter_borrowed()
        .find_map(|a| first(&a))
        .or_else(|| k.out.iter().flatten().find_map(first))
        .or_else(|| k.only.as_ref().and_then(first))
        .ok_or_else(|| PyTypeError::new_err(format!("{}: none of the arguments is an mlgrad.Array", f.name())))?;
    let mut operands: SmallVec<[Operand; 3]> = SmallVec::new();
    for a in inputs.iter_borrowed() {
        operands.push(convert::lift(py, &trace, &a)?);
    }
    if k.out.is_empty() && k.only.is_none() && k.dtype.is_none() {
        let (one, two) = apply(py, f, &trace, &operands)?;
        let finish = |m: Made| {
            let a = m.into_array(&trace);
            let arrays = inputs.iter_borrowed().filter_map(|x| x.cast_exact::<Array>().ok().map(|x| x.to_owned()));
            if a.ndim() < 2 {
                return Py::new(py, a);
            }
            let arrays: SmallVec<[Bound<'_, Array>; 3]> = arrays.collect();
            let layout = result_layout(&a.shape, arrays.iter().map(|x| x.get()));
            Py::new(py, a.with_layout(layout))
        };
        return match two {
            None => Ok(finish(one)?.into_any()),
            Some(two) => Ok((finish(one)?, finish(two)?).into_pyobject(py)?.into_any().unbind()),
        };
    }
    // the outputs are checked before anything is recorded
    let mut targets: SmallVec<[Option<Py<Array>>; 2]> = SmallVec::new();
    for o in &k.out {
        targets.push(o.as_ref().map(|o| output(f.name(), o)).transpose()?);
    }
    let only = match &k.only {
        None => None,
        Some(_) if targets.iter().flatten().next().is_none() => {
            return Err(PyValueError::new_err(format!(
                "{}: where= without out= leaves the other elements undefined; use np.where(mask, a, b)",
                f.name()
            )));
        }
        Some(w) => {
            let mask = convert::lift(py, &trace, w)?;
            Some(record(py, &trace, |s| {
                let m = mask.to_node(&mut s.tape)?;
                s.tape.cast(m, DType::Bool)
            })?)
        }
    };
    if let Some(d) = k.dtype {
        for o in &mut operands {
            if let Operand::Node { id, .. } = *o {
                let from = record(py, &trace, |s| Ok(s.tape.dtype(id)))?;
                if !same_kind(from, d) && d != DType::Bool {
                    return Err(PyTypeError::new_err(format!(
                        "Cannot cast ufunc '{}' input from dtype('{from}') to dtype('{d}') with casting rule 'same_kind'",
                        f.name()
                    )));
                }
                if d != DType::Bool {
                    *o = record(py, &trace, |s| s.tape.cast(id, d))?.into();
                }
            }
        }
    }
    let made = apply(py, f, &trace, &operands)?;
    let mut results: SmallVec<[Py<PyAny>; 2]> = SmallVec::new();
    for (i, m) in std::iter::once(made.0).chain(made.1).enumerate() {
        let a = m.into_array(&trace);
        let dtype = k.dtype.filter(|_| a.dtype != DType::Bool);
        results.push(match targets.get(i).and_then(|t| t.as_ref()) {
            None => deliver(py, f.name(), a, None, dtype)?,
            Some(out) => {
                write_out(py, f.name(), out.get(), a.node(py)?, only)?;
                out.clone_ref(py).into_any()
            }
        });
    }
    if results.len() == 1
        && let Some(r) = results.pop()
    {
        return Ok(r);
    }
    Ok(PyTuple::new(py, results)?.into_any().unbind())
}

fn one_input<'py>(f: Ufunc, method: &str, inputs: &Bound<'py, PyTuple>) -> PyResult<Any<'py>> {
    if inputs.len() != 1 {
        return Err(PyTypeError::new_err(format!("np.{}.{method} takes one array; pass axis= by keyword", f.name())));
    }
    inputs.get_item(0)
}

fn reduce(py: Python<'_>, f: Ufunc, inputs: &Bound<'_, PyTuple>, k: &Keywords<'_>) -> PyResult<Py<PyAny>> {
    use reductions::Reduction;
    let x = one_input(f, "reduce", inputs)?;
    let what = match f.name() {
        "add" => Reduction::Sum,
        "multiply" => Reduction::Prod,
        "maximum" => Reduction::Max,
        "minimum" => Reduction::Min,
        "logical_and" => Reduction::All,
        "logical_or" => Reduction::Any,
        "logaddexp" => Reduction::Logaddexp,
        _ => return Err(unsupported(f, "reduce")),
    };
    let axes = match &k.axis {
        None => Some(std::iter::once(0).collect()),
        Some(a) => args::axes(Some(a))?,
    };
    let how = reductions::How {
        axes,
        keepdims: k.keepdims,
        dtype: k.dtype,
        initial: k.initial.as_ref(),
        only: k.only.as_ref(),
    };
    let result = reductions::reduced(&x, what, &how)?;
    deliver(py, f.name(), result, k.target(f.name())?, None)
}

fn accumulate(py: Python<'_>, f: Ufunc, inputs: &Bound<'_, PyTuple>, k: &Keywords<'_>) -> PyResult<Py<PyAny>> {
    let x = one_input(f, "accumulate", inputs)?;
    let axis = args::axis(k.axis.as_ref())?.unwrap_or(0);
    let result = match f.name() {
        "add" => reductions::running(&x, false, Some(axis), k.dtype)?,
        "multiply" => reductions::running(&x, true, Some(axis), k.dtype)?,
        "maximum" | "minimum" | "fmax" | "fmin" | "logaddexp" | "logaddexp2" => {
            reductions::accumulated(&x, f, axis, k.dtype)?
        }
        _ => return Err(unsupported(f, "accumulate")),
    };
    deliver(py, f.name(), result, k.target(f.name())?, None)
}

fn outer(py: Python<'_>, f: Ufunc, inputs: &Bound<'_, PyTuple>, k: &Keywords<'_>) -> PyResult<Py<PyAny>> {
    let (a, b) = inputs
        .extract::<(Any<'_>, Any<'_>)>()
        .map_err(|_| PyTypeError::new_err(format!("np.{}.outer takes two arrays", f.name())))?;
    let trace = args::trace_of(f.name(), &[&a, &b], None)?;
    let (x, y) = (convert::lift(py, &trace, &a)?, convert::lift(py, &trace, &b)?);
    let made = record(py, &trace, |s| {
        let mut wide = x.shape(&s.tape);
        let rank = y.shape(&s.tape).len();
        let x = if rank == 0 {
            x
        } else {
            wide.extend(std::iter::repeat_n(1, rank));
            let id = x.to_node(&mut s.tape)?;
            Operand::Node { id: s.tape.reshape(id, &wide)?, weak: false }
        };
        let nodes = f.call(&mut s.tape, &[x, y])?;
        Ok(Made::keep(s, nodes[0]))
    })?;
    if f.nout() != 1 {
        return Err(unsupported(f, "outer"));
    }
    deliver(py, f.name(), made.into_array(&trace), k.target(f.name())?, k.dtype)
}

fn at(py: Python<'_>, f: Ufunc, inputs: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    if f.name() != "add" {
        return Err(unsupported(f, "at"));
    }
    let (target, key, v) = inputs
        .extract::<(Any<'_>, Any<'_>, Any<'_>)>()
        .map_err(|_| PyTypeError::new_err("np.add.at takes an array, indices and values"))?;
    let out = output("np.add.at", &target)?;
    crate::index::set(py, out.get(), &key, &v, true)?;
    Ok(py.None())
}

/// An operator between an Array and something else; `NotImplemented` where NumPy could not compute with that.
pub fn operator(py: Python<'_>, name: &str, me: &Array, other: &Any<'_>, reflected: bool) -> PyResult<Py<PyAny>> {
    let trace = me.trace();
    let theirs = other.cast_exact::<Array>().ok().map(|a| a.get());
    let Some(y) = convert::try_lift(py, trace, other)? else { return Ok(py.NotImplemented()) };
    let f = named(py, name)?;
    let weak = me.weak()
        && match y {
            Operand::Node { weak, .. } => weak || theirs.is_some_and(Array::weak),
            _ => true,
        };
    let result = {
        let mut s = trace.lock()?;
        me.node_in(&mut s).and_then(|id| {
            let x = Operand::Node { id, weak: me.weak() };
            let nodes = if reflected { f.call(&mut s.tape, &[y, x]) } else { f.call(&mut s.tape, &[x, y]) }?;
            Made::all(&mut s, &nodes)
        })
    };
    if trace.keeps_lines {
        trace.note_line(py)?;
    }
    let (one, two) = result.or_raise(py)?;
    let finish = |m: Made| {
        let a = m.into_array(trace);
        if weak {
            return Py::new(py, a.with_kind(crate::array::Kind::Weak));
        }
        if a.ndim() < 2 {
            return Py::new(py, a);
        }
        let layout = result_layout(&a.shape, std::iter::once(me).chain(theirs));
        Py::new(py, a.with_layout(layout))
    };
    match two {
        None => Ok(finish(one)?.into_any()),
        Some(two) => Ok((finish(one)?, finish(two)?).into_pyobject(py)?.into_any().unbind()),
    }
}

/// An operator of one operand.
pub fn unary(py: Python<'_>, name: &str, me: &Array) -> PyResult<Array> {
    let x = me.operand(py)?;
    let (made, _) = apply(py, named(py, name)?, me.trace(), &[x])?;
    let a = made.into_array(me.trace());
    if me.weak() {
        return Ok(a.with_kind(crate::array::Kind::Weak));
    }
    let layout = result_layout(&a.shape, std::iter::once(me));
    Ok(a.with_layout(layout))
}

/// `x += other` and its kin: for scalars `NotImplemented`, which makes Python rebind the name.
pub fn in_place(py: Python<'_>, name: &str, me: &Bound<'_, Array>, other: &Any<'_>) -> PyResult<Py<PyAny>> {
    let a = me.get();
    if a.kind != crate::array::Kind::Array {
        return Ok(py.NotImplemented());
    }
    let trace = a.trace();
    let Some(y) = convert::try_lift(py, trace, other)? else { return Ok(py.NotImplemented()) };
    let f = named(py, name)?;
    let node = record(py, trace, |s| {
        let x = a.node_in(s)?;
        Ok(f.call(&mut s.tape, &[x.into(), y])?[0])
    })?;
    write_out(py, f.name(), a, node, None)?;
    Ok(me.clone().into_any().unbind())
}

/// The ufunc `name` of the core's table, on Arrays, or on NumPy arrays and numbers, of which it gives NumPy's kind of result.
#[pyfunction]
#[pyo3(signature = (name, *args))]
pub fn call_ufunc(py: Python<'_>, name: &str, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let f = Ufunc::by_name(name).ok_or_else(|| PyValueError::new_err(format!("there is no ufunc '{name}'")))?;
    if args::find_trace(&[args.as_any()]).is_some() {
        return call(py, f, args, &Keywords::default());
    }
    let trace = Trace::new(false);
    let operands = args.iter().map(|a| convert::lift(py, &trace, &a)).collect::<PyResult<SmallVec<[Operand; 3]>>>()?;
    let nodes = record(py, &trace, |s| f.call(&mut s.tape, &operands))?;
    trace.finish(py, &nodes)?;
    let mut results: SmallVec<[Py<PyAny>; 2]> = SmallVec::new();
    for n in nodes {
        let (value, shape, dtype) = record(py, &trace, |s| {
            let node = s.tape.node(n);
            Ok((node.value.clone(), node.shape.clone(), node.dtype))
        })?;
        let value = value.ok_or_else(|| raise(py, mlgrad_core::Error::Internal(format!("{name} was not computed"))))?;
        results.push(convert::export(py, value, &shape, dtype)?);
    }
    trace.close();
    match results.pop() {
        Some(only) if results.is_empty() => Ok(only),
        Some(last) => {
            results.push(last);
            Ok(PyTuple::new(py, results)?.into_any().unbind())
        }
        None => Err(raise(py, mlgrad_core::Error::Internal(format!("{name} has no result")))),
    }
}
