//! The core's errors as Python's, and Python's own while they pass through the core.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use mlgrad_core::Error;
use pyo3::exceptions::{
    PyIndexError, PyKeyboardInterrupt, PyMemoryError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// A class of NumPy's, imported once.
fn numpy_class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<Bound<'py, PyType>> {
    cell.import(py, module, name).cloned()
}

/// `error` as a Python exception.
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    static AXIS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static LINALG: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let of_numpy = |cell, module, name, message: String| match numpy_class(py, cell, module, name) {
        Ok(class) => PyErr::from_type(class, (message,)),
        Err(e) => e,
    };
    match error {
        Error::Value(m) => PyValueError::new_err(m),
        Error::Type(m) | Error::Abstract(m) => PyTypeError::new_err(m),
        Error::Index(m) => PyIndexError::new_err(m),
        Error::Overflow(m) => PyOverflowError::new_err(m),
        Error::Memory(m) => PyMemoryError::new_err(m),
        Error::Axis(m) => of_numpy(&AXIS, "numpy.exceptions", "AxisError", m),
        Error::LinAlg(m) => of_numpy(&LINALG, "numpy.linalg", "LinAlgError", m),
        Error::Interrupted => PENDING
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or_else(|| PyKeyboardInterrupt::new_err(())),
        Error::Foreign => FOREIGN
            .with(|e| e.borrow_mut().take())
            .unwrap_or_else(|| PyRuntimeError::new_err("a host call failed, and its exception was lost")),
        e @ Error::Internal(_) => PyRuntimeError::new_err(e.to_string()),
    }
}

thread_local! {
    /// What a host call raised in this thread while the core ran.
    static FOREIGN: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Keeps an exception while the core returns from a host call.
pub fn keep_foreign(e: PyErr) -> Error {
    let old = FOREIGN.with(|slot| slot.borrow_mut().replace(e));
    drop(old);
    Error::Foreign
}

/// What a signal handler raised while a plan ran.
static PENDING: Mutex<Option<PyErr>> = Mutex::new(None);

/// Whether Ctrl-C was pressed: asked between instructions of long plans, which run without the interpreter.
pub fn interrupted() -> bool {
    Python::attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(e) => {
            let old = PENDING.lock().unwrap_or_else(PoisonError::into_inner).replace(e);
            drop(old);
            true
        }
    })
}

/// Runs what a user calls: a panic, which is an error of ours, becomes a RuntimeError.
pub fn contained<T>(py: Python<'_>, f: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    let report = |what: &str| {
        PyRuntimeError::new_err(format!(
            "mlgrad met a state that it should never be in ({what}); please report it with the function that was called"
        ))
    };
    match catch_unwind(AssertUnwindSafe(f)) {
        // from further inside, where a Python function was in between
        Ok(Err(e)) if e.is_instance_of::<PanicException>(py) => Err(report(&e.value(py).to_string())),
        Ok(result) => result,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            Err(report(text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic")))
        }
    }
}

/// `?` for results of the core.
pub trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for mlgrad_core::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|e| raise(py, e))
    }
}
