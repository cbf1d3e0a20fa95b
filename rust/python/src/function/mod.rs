//! `__array_function__`: NumPy's functions on traced arrays.
//!
//! Each is a Python function with NumPy's signature, found by the object that it stands for. Python code can add more
//! (`register_array_function`). The files follow the modules of `mlgrad_core::numpy`.

pub mod asking;
pub mod choose;
pub mod create;
pub mod factor;
pub mod join;
pub mod linear;
pub mod numeric;
pub mod order;
pub mod reduce;
pub mod shaping;
pub mod statistics;

use std::sync::{Arc, Mutex, PoisonError};

use mlgrad_core::numpy::Operand;
use mlgrad_core::tape::{NodeId, Tape};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use rustc_hash::FxHashMap;

use crate::args::{self, Any, record_now};
use crate::array::{Array, Made};
use crate::convert;
use crate::trace::Trace;

/// The implementations by the name that NumPy gives the function.
static BY_NAME: PyOnceLock<FxHashMap<&'static str, Py<PyAny>>> = PyOnceLock::new();

/// A NumPy function, held so that its address stays its own, and what stands for it.
type Known = FxHashMap<usize, (Py<PyAny>, Py<PyAny>)>;

/// By address; filled when the first function is called, and by `register_array_function`.
static BY_OBJECT: Mutex<Option<Known>> = Mutex::new(None);

/// Collects the implementations.
pub struct Add<'a>(&'a mut FxHashMap<&'static str, Py<PyAny>>);

impl Add<'_> {
    pub fn function(&mut self, f: &Bound<'_, PyCFunction>, names: &[&'static str]) {
        for name in names {
            self.0.insert(name, f.clone().into_any().unbind());
        }
    }
}

/// `functions!(module, add, { rust_name: ["numpy_name", …], … })`
macro_rules! functions {
    ($m:expr, $add:expr, { $($f:ident : [$($name:literal),*]),* $(,)? }) => {
        $( $add.function(&pyo3::wrap_pyfunction!($f, $m)?, &[$($name),*]); )*
    };
}
pub(crate) use functions;

/// Adds the implementations as the module `_core.functions`.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    let module = PyModule::new(py, "functions")?;
    let mut table = FxHashMap::default();
    let mut add = Add(&mut table);
    asking::table(&module, &mut add)?;
    shaping::table(&module, &mut add)?;
    join::table(&module, &mut add)?;
    choose::table(&module, &mut add)?;
    create::table(&module, &mut add)?;
    reduce::table(&module, &mut add)?;
    order::table(&module, &mut add)?;
    statistics::table(&module, &mut add)?;
    numeric::table(&module, &mut add)?;
    factor::table(&module, &mut add)?;
    linear::table(&module, &mut add)?;
    for (name, f) in &table {
        module.add(*name, f)?;
    }
    // filled once; a second import of the module keeps the first table
    let _ = BY_NAME.set(py, table);
    m.add_submodule(&module)?;
    m.add_function(pyo3::wrap_pyfunction!(register_array_function, m)?)?;
    m.add_function(pyo3::wrap_pyfunction!(crate::ufunc::call_ufunc, m)?)?;
    create::register(m)
}

/// The implementation behind a method of the same name.
pub fn method<'py>(
    name: &'static str,
    slf: &Bound<'py, Array>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    let f = BY_NAME.get(py).and_then(|t| t.get(name)).ok_or_else(|| {
        PyTypeError::new_err(format!("internal error in mlgrad, please report it: no function {name}"))
    })?;
    if args.is_empty() {
        return Ok(f.bind(py).call((slf,), kwargs)?.unbind());
    }
    let all = std::iter::once(slf.clone().into_any()).chain(args.iter());
    Ok(f.bind(py).call(PyTuple::new(py, all.collect::<Vec<_>>())?, kwargs)?.unbind())
}

/// Makes `implementation` answer for `function` of NumPy (or of a library that uses NumPy's protocol) on traced arrays.
#[pyfunction]
fn register_array_function(py: Python<'_>, function: Py<PyAny>, implementation: Py<PyAny>) -> PyResult<()> {
    fill(py)?;
    let key = function.as_ptr() as usize;
    let before = with_known(|known| known.insert(key, (function, implementation)));
    drop(before);
    Ok(())
}

/// Runs `f` on the table; no Python code runs meanwhile.
fn with_known<R>(f: impl FnOnce(&mut Known) -> R) -> R {
    f(BY_OBJECT.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Enters NumPy's functions, once.
fn fill(py: Python<'_>) -> PyResult<()> {
    static DONE: PyOnceLock<()> = PyOnceLock::new();
    DONE.get_or_try_init(py, || {
        let Some(table) = BY_NAME.get(py) else { return Ok(()) };
        let numpy = py.import("numpy")?;
        let mut found = Vec::with_capacity(table.len());
        for (name, implementation) in table {
            let mut at = numpy.clone().into_any();
            let mut there = true;
            for part in name.split('.') {
                match at.getattr_opt(part)? {
                    Some(next) => at = next,
                    // an older NumPy lacks it
                    None => there = false,
                }
            }
            if there {
                found.push((at.unbind(), implementation.clone_ref(py)));
            }
        }
        with_known(|known| {
            for (function, implementation) in found {
                known.entry(function.as_ptr() as usize).or_insert((function, implementation));
            }
        });
        PyResult::Ok(())
    })?;
    Ok(())
}

/// Enters what is written in Python, once, when a function is asked for that is not known so far.
fn fill_rare(py: Python<'_>) -> PyResult<()> {
    static DONE: PyOnceLock<()> = PyOnceLock::new();
    if DONE.get(py).is_some() {
        return Ok(());
    }
    // it adds to the table of the other
    py.import("mlgrad._linalg")?;
    let table = py.import("mlgrad._rare")?.getattr("TABLE")?.cast_into::<PyDict>()?;
    let found: Vec<_> = table.iter().map(|(function, f)| (function.unbind(), f.unbind())).collect();
    with_known(|known| {
        for (function, implementation) in found {
            // what the user has entered stays
            known.entry(function.as_ptr() as usize).or_insert((function, implementation));
        }
    });
    // a second thread in here finds everything entered
    let _ = DONE.set(py, ());
    Ok(())
}

/// `Array.__array_function__`
pub fn array_function<'py>(
    py: Python<'py>,
    function: &Any<'py>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Py<PyAny>> {
    fill(py)?;
    let key = function.as_ptr() as usize;
    let look = || with_known(|known| known.get(&key).map(|(_, f)| f.clone_ref(py)));
    let found = match look() {
        None => {
            fill_rare(py)?;
            look()
        }
        found => found,
    };
    match found {
        Some(f) => Ok(f.bind(py).call(args, (!kwargs.is_empty()).then_some(kwargs))?.unbind()),
        None => {
            let module = function.getattr("__module__").and_then(|m| m.extract::<String>()).unwrap_or_default();
            let name = function.getattr("__name__").and_then(|m| m.extract::<String>()).unwrap_or_default();
            Err(PyTypeError::new_err(format!(
                "{module}.{name} is not supported for traced arrays. Write it with functions that are (arithmetic, sums, products, \
                 indexing, np.where, …), give it a derivative with mlgrad.custom_vjp, or call it on mlgrad.stop_gradient(x) where \
                 no derivative is wanted"
            )))
        }
    }
}

/// Records what `f` makes of the operands, and runs what raises by value.
pub fn on<'py, const N: usize>(
    what: &str,
    objects: [&Any<'py>; N],
    f: impl FnOnce(&mut Tape, [Operand; N]) -> mlgrad_core::Result<NodeId>,
) -> PyResult<Array> {
    let py = objects[0].py();
    let trace = args::trace_of(what, &objects, None)?;
    let mut operands = [Operand::Bool(false); N];
    for (o, x) in operands.iter_mut().zip(objects) {
        *o = convert::lift(py, &trace, x)?;
    }
    on_trace(py, &trace, |t| f(t, operands))
}

/// The same for operands that are on the tape.
pub fn on_trace(
    py: Python<'_>,
    trace: &Arc<Trace>,
    f: impl FnOnce(&mut Tape) -> mlgrad_core::Result<NodeId>,
) -> PyResult<Array> {
    let made = record_now(py, trace, |s| {
        let y = f(&mut s.tape)?;
        Ok(Made::keep(s, y))
    })?;
    Ok(made.into_array(trace))
}

/// `on` for the functions of one array.
pub fn on_one<'py>(
    what: &str,
    object: &Any<'py>,
    f: impl FnOnce(&mut Tape, NodeId) -> mlgrad_core::Result<NodeId>,
) -> PyResult<Array> {
    on(what, [object], |t, [x]| {
        let x = x.to_node(t)?;
        f(t, x)
    })
}

/// The items of a list of arrays (or of an array), as operands.
pub fn sequence(what: &str, object: &Any<'_>, more: &[&Any<'_>]) -> PyResult<(Arc<Trace>, Vec<Operand>)> {
    let py = object.py();
    let items: Vec<Any<'_>> = object
        .try_iter()
        .map_err(|_| PyTypeError::new_err(format!("{what}: expected a sequence of arrays, got {}", object.get_type())))?
        .collect::<PyResult<_>>()?;
    let all: Vec<&Any<'_>> = items.iter().chain(more.iter().copied()).collect();
    let trace = args::trace_of(what, &all, None)?;
    let operands = items.iter().map(|x| convert::lift(py, &trace, x)).collect::<PyResult<_>>()?;
    Ok((trace, operands))
}

/// An operand that may be absent.
pub fn optional(py: Python<'_>, trace: &Arc<Trace>, object: Option<&Any<'_>>) -> PyResult<Option<Operand>> {
    object.filter(|o| !o.is_none()).map(|o| convert::lift(py, trace, o)).transpose()
}

/// The result of a function that takes `out=`.
pub fn finish(py: Python<'_>, what: &str, result: Array, out: Option<&Any<'_>>) -> PyResult<Py<PyAny>> {
    let out = out.filter(|o| !o.is_none()).map(|o| crate::ufunc::output(what, o)).transpose()?;
    crate::ufunc::deliver(py, what, result, out, None)
}
