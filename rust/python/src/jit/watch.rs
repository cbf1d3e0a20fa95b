//! What a jitted function reaches from outside: closure cells and globals that its code names, through the plain Python
//! functions that it calls. Each jitted call checks that they are still what they were at the recording.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyCFunction, PyComplex, PyDict, PyFloat, PyFunction, PyInt, PyList, PyModule, PyString, PyTuple,
    PyType,
};
use rustc_hash::FxHashSet;

/// The code of these packages does not change under a running program.
const SETTLED: [&str; 3] = ["numpy", "scipy", "mlgrad"];

/// Arrays of so many bytes are compared.
const SMALL: usize = 4096;

/// Containers are looked into so deep.
const DEEPEST: usize = 8;

enum Place {
    Global { of: Py<PyDict>, name: Py<PyString> },
    Cell(Py<PyAny>),
}

/// How a value is compared.
enum Seen {
    /// There was none.
    Nothing,
    Same(Py<PyAny>),
    /// A number or str: the same type and value.
    Equal(Py<PyAny>),
    /// An array that is on no tape, so that what NumPy takes out of it is part of the recording: with its bytes.
    Content(Py<PyAny>, Py<PyBytes>),
    /// A container, item by item.
    Items(Py<PyType>, Vec<(Option<Py<PyAny>>, Seen)>),
}

#[derive(Default)]
pub struct Watch {
    places: Vec<(Place, Seen)>,
}

impl Watch {
    /// What `f` reaches now.
    /// The arrays in `held` are read at each replay, the others are compared.
    pub fn of(f: &Bound<'_, PyAny>, held: &[Py<PyAny>]) -> PyResult<Watch> {
        let mut watch = Watch::default();
        watch.function(f, &mut FxHashSet::default())?;
        for (_, seen) in &mut watch.places {
            seen.keep_content(f.py(), held)?;
        }
        Ok(watch)
    }

    fn function(&mut self, f: &Bound<'_, PyAny>, done: &mut FxHashSet<usize>) -> PyResult<()> {
        let py = f.py();
        if !done.insert(f.as_ptr() as usize) {
            return Ok(());
        }
        if f.is_instance_of::<PyFunction>() {
            // the code of these packages stays, but not that of a user's function in their hands (jacfwd(f), compose(f, g))
            let settled = is_settled(f)?;
            if !settled {
                let globals = f.getattr(intern!(py, "__globals__"))?.cast_into::<PyDict>()?;
                let code = f.getattr(intern!(py, "__code__"))?;
                self.names(&code, &globals, done)?;
            }
            if let Ok(cells) = f.getattr(intern!(py, "__closure__"))?.cast::<PyTuple>() {
                for c in cells {
                    let content = c.getattr(intern!(py, "cell_contents")).ok();
                    match content {
                        Some(content) if settled => self.follow(&content, done)?,
                        None if settled => {}
                        content => self.add(Place::Cell(c.unbind()), content, done)?,
                    }
                }
            }
            for attribute in [intern!(py, "__defaults__"), intern!(py, "__kwdefaults__")] {
                self.follow(&f.getattr(attribute)?, done)?;
            }
        } else if f.get_type().getattr(intern!(py, "__call__")).is_ok_and(|call| call.is_instance_of::<PyFunction>()) {
            self.function(&f.get_type().getattr(intern!(py, "__call__"))?, done)?;
            // such as the rules of a custom_vjp
            if is_settled(f.get_type().as_any())?
                && let Ok(attributes) = f.getattr(intern!(py, "__dict__"))
            {
                self.follow(&attributes, done)?;
            }
        }
        // what wraps a function: our own transforms, functools.wraps, partial, bound methods
        for name in ["__wrapped__", "func", "__func__"] {
            if let Ok(inner) = f.getattr(name) {
                self.function(&inner, done)?;
            }
        }
        // of a partial
        for name in ["args", "keywords"] {
            if let Ok(given) = f.getattr(name) {
                self.follow(&given, done)?;
            }
        }
        Ok(())
    }

    /// The globals that `code` and the functions inside it name.
    fn names(
        &mut self,
        code: &Bound<'_, PyAny>,
        globals: &Bound<'_, PyDict>,
        done: &mut FxHashSet<usize>,
    ) -> PyResult<()> {
        let py = code.py();
        for name in code.getattr(intern!(py, "co_names"))?.cast_into::<PyTuple>()? {
            let name = name.cast_into::<PyString>()?;
            let value = globals.get_item(&name)?;
            let text = name.to_str()?;
            let mut known = false;
            for (place, _) in &self.places {
                if let Place::Global { of, name: n } = place {
                    known |= of.is(globals) && n.bind(py).to_str()? == text;
                }
            }
            if !known {
                self.add(Place::Global { of: globals.clone().unbind(), name: name.unbind() }, value, done)?;
            }
        }
        for constant in code.getattr(intern!(py, "co_consts"))?.cast_into::<PyTuple>()? {
            if constant.hasattr(intern!(py, "co_names"))? {
                self.names(&constant, globals, done)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, place: Place, value: Option<Bound<'_, PyAny>>, done: &mut FxHashSet<usize>) -> PyResult<()> {
        let seen = match &value {
            None => Seen::Nothing,
            Some(v) => Seen::of(v, 0)?,
        };
        self.places.push((place, seen));
        match value {
            Some(v) => self.follow(&v, done),
            None => Ok(()),
        }
    }

    /// The functions that a value is or holds.
    fn follow(&mut self, value: &Bound<'_, PyAny>, done: &mut FxHashSet<usize>) -> PyResult<()> {
        self.follow_items(value, done, 0)
    }

    fn follow_items(&mut self, value: &Bound<'_, PyAny>, done: &mut FxHashSet<usize>, depth: usize) -> PyResult<()> {
        if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyDict>() {
            if depth < DEEPEST {
                let items = match value.cast::<PyDict>() {
                    Ok(d) => d.values().into_any(),
                    Err(_) => value.clone(),
                };
                for x in items.try_iter()? {
                    self.follow_items(&x?, done, depth + 1)?;
                }
            }
            return Ok(());
        }
        let plain = value.is_instance_of::<PyModule>()
            || value.is_instance_of::<PyType>()
            || value.is_instance_of::<PyCFunction>()
            || !value.is_callable();
        if plain { Ok(()) } else { self.function(value, done) }
    }

    /// Whether everything is still what it was.
    pub fn holds(&self, py: Python<'_>) -> PyResult<bool> {
        for (place, seen) in &self.places {
            let now = match place {
                Place::Global { of, name } => of.bind(py).get_item(name)?,
                Place::Cell(c) => c.bind(py).getattr(intern!(py, "cell_contents")).ok(),
            };
            let same = match (now, seen) {
                (None, Seen::Nothing) => true,
                (Some(v), seen) => seen.is(&v)?,
                _ => false,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether a function or class is of a package that does not change.
fn is_settled(f: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Ok(module) = f.getattr(intern!(f.py(), "__module__"))?.extract::<String>() else { return Ok(false) };
    Ok(SETTLED.iter().any(|s| module.split('.').next() == Some(s)))
}

fn content(array: &Bound<'_, PyAny>) -> PyResult<Py<PyBytes>> {
    Ok(array.call_method0(intern!(array.py(), "tobytes"))?.cast_into::<PyBytes>()?.unbind())
}

fn is_number(v: &Bound<'_, PyAny>) -> bool {
    v.is_exact_instance_of::<PyFloat>()
        || v.is_exact_instance_of::<PyInt>()
        || v.is_exact_instance_of::<PyBool>()
        || v.is_exact_instance_of::<PyComplex>()
        || v.is_exact_instance_of::<PyString>()
        || v.is_instance_of::<PyFloat>()
}

impl Seen {
    fn of(v: &Bound<'_, PyAny>, depth: usize) -> PyResult<Seen> {
        if is_number(v) {
            return Ok(Seen::Equal(v.clone().unbind()));
        }
        if depth < DEEPEST {
            if let Ok(d) = v.cast_exact::<PyDict>() {
                let items =
                    d.iter().map(|(k, x)| Ok((Some(k.unbind()), Seen::of(&x, depth + 1)?))).collect::<PyResult<_>>()?;
                return Ok(Seen::Items(v.get_type().unbind(), items));
            }
            if v.is_exact_instance_of::<PyList>() || v.is_instance_of::<PyTuple>() {
                let items = v.try_iter()?.map(|x| Ok((None, Seen::of(&x?, depth + 1)?))).collect::<PyResult<_>>()?;
                return Ok(Seen::Items(v.get_type().unbind(), items));
            }
        }
        Ok(Seen::Same(v.clone().unbind()))
    }

    /// Keeps what is in small arrays.
    fn keep_content(&mut self, py: Python<'_>, held: &[Py<PyAny>]) -> PyResult<()> {
        match self {
            Seen::Same(x) => {
                if let Ok(a) = x.bind(py).cast::<PyUntypedArray>()
                    && a.len() * a.dtype().itemsize() <= SMALL
                    && b"biufcmM".contains(&a.dtype().kind())
                    && !held.iter().any(|h| h.is(&*x))
                {
                    *self = Seen::Content(x.clone_ref(py), content(a.as_any())?);
                }
                Ok(())
            }
            Seen::Items(_, items) => items.iter_mut().try_for_each(|(_, seen)| seen.keep_content(py, held)),
            Seen::Nothing | Seen::Equal(_) | Seen::Content(..) => Ok(()),
        }
    }

    fn is(&self, v: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = v.py();
        Ok(match self {
            Seen::Nothing => false,
            Seen::Same(x) => x.is(v),
            Seen::Content(x, bytes) => x.is(v) && content(v)?.bind(py).as_bytes() == bytes.bind(py).as_bytes(),
            Seen::Equal(x) => {
                let x = x.bind(py);
                // a nan is itself only; 0.0 and -0.0 are equal, but not the same number
                x.is(v)
                    || x.get_type().is(v.get_type())
                        && x.eq(v)?
                        && (!x.is_instance_of::<PyFloat>()
                            || x.extract::<f64>()?.is_sign_negative() == v.extract::<f64>()?.is_sign_negative())
            }
            Seen::Items(class, items) => {
                if !v.get_type().is(class) || v.len()? != items.len() {
                    return Ok(false);
                }
                if let Ok(d) = v.cast_exact::<PyDict>() {
                    for ((key, seen), (k, x)) in items.iter().zip(d.iter()) {
                        let same_key = match key {
                            Some(key) => key.is(&k) || key.bind(py).eq(&k)?,
                            None => false,
                        };
                        if !same_key || !seen.is(&x)? {
                            return Ok(false);
                        }
                    }
                    return Ok(true);
                }
                for ((_, seen), x) in items.iter().zip(v.try_iter()?) {
                    if !seen.is(&x?)? {
                        return Ok(false);
                    }
                }
                true
            }
        })
    }
}
