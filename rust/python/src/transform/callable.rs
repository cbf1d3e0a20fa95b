//! What transformed functions have in common as Python callables.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use smallvec::SmallVec;

/// The function that a transformed one holds.
///
/// CPython makes the `__dict__` of an instance, and may run the garbage collector while it does, before the instance has its
/// Rust contents: its memory is zero then. So what `__traverse__` visits must be nothing where the bits are zero.
pub struct Held(Option<Py<PyAny>>);

impl Held {
    pub fn visit(&self, visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.0)
    }
}

impl From<Py<PyAny>> for Held {
    fn from(f: Py<PyAny>) -> Held {
        Held(Some(f))
    }
}

impl std::ops::Deref for Held {
    type Target = Py<PyAny>;

    fn deref(&self) -> &Py<PyAny> {
        match &self.0 {
            Some(f) => f,
            None => unreachable!("Held is made with a function, and only the garbage collector sees it before that"),
        }
    }
}

/// `f`'s name, for messages.
pub fn describe(f: &Bound<'_, PyAny>) -> String {
    f.getattr(intern!(f.py(), "__name__")).map_or_else(|_| f.to_string(), |n| n.to_string())
}

/// Refuses what cannot be called, where the transform is made rather than where it is used.
pub fn check_callable(what: &str, f: &Bound<'_, PyAny>) -> PyResult<()> {
    if f.is_callable() {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "{what}: expected a function, got {}; pass the function itself, not its result",
        f.get_type().name().map_or_else(|_| "an object".into(), |n| n.to_string())
    )))
}

/// A transformed function that is found in a class is a method.
pub fn bind<'py>(this: Bound<'py, PyAny>, instance: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static METHOD: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if instance.is_none() {
        return Ok(this);
    }
    METHOD.import(this.py(), "types", "MethodType")?.call1((this, instance))
}

/// `argnums` as given: one number, or several.
#[derive(Clone)]
pub struct Argnums {
    pub numbers: Vec<isize>,
    pub single: bool,
}

impl Argnums {
    pub fn parse(what: &str, given: &Bound<'_, PyAny>) -> PyResult<Argnums> {
        if let Ok(n) = given.extract::<isize>() {
            return Ok(Argnums { numbers: vec![n], single: true });
        }
        match given.extract::<Vec<isize>>() {
            Ok(numbers) => Ok(Argnums { numbers, single: false }),
            Err(_) => {
                Err(PyTypeError::new_err(format!("{what}: argnums must be an int or a tuple of ints, got {given}")))
            }
        }
    }

    pub fn to_object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.single {
            Ok(self.numbers[0].into_pyobject(py)?.into_any())
        } else {
            Ok(pyo3::types::PyTuple::new(py, &self.numbers)?.into_any())
        }
    }

    /// As positions among `n` positional arguments.
    pub fn resolve(&self, what: &str, n: usize) -> PyResult<SmallVec<[usize; 4]>> {
        self.numbers
            .iter()
            .map(|&k| {
                let i = if k < 0 { k + n as isize } else { k };
                if (0..n as isize).contains(&i) {
                    return Ok(i as usize);
                }
                Err(pyo3::exceptions::PyValueError::new_err(format!(
                    "{what}: argnums={k}, but the function was called with {n} positional argument{}",
                    if n == 1 { "" } else { "s" }
                )))
            })
            .collect()
    }
}
