//! What a jitted function reaches from outside: closure cells and globals that its code names, through the plain Python
//! functions that it calls. Each jitted call checks that they are still what they were at the recording.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyCFunction, PyComplex, PyDict, PyFloat, PyFunction, PyInt, PyList, PyModule, PyString, PyTuple, PyType,
};
use rustc_hash::FxHashSet;

/// Functions of these packages do not change under a running program.
const SETTLED: [&str; 3] = ["numpy", "scipy", "mlgrad"];

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
    /// A container, item by item.
    Items(Py<PyType>, Vec<(Option<Py<PyAny>>, Seen)>),
}

#[derive(Default)]
pub struct Watch {
    places: Vec<(Place, Seen)>,
}

impl Watch {
    /// What `f` reaches now.
    pub fn of(f: &Bound<'_, PyAny>) -> PyResult<Watch> {
        let mut watch = Watch::default();
        watch.function(f, &mut FxHashSet::default())?;
        Ok(watch)
    }

    fn function(&mut self, f: &Bound<'_, PyAny>, done: &mut FxHashSet<usize>) -> PyResult<()> {
        let py = f.py();
        if !done.insert(f.as_ptr() as usize) {
            return Ok(());
        }
        if f.is_instance_of::<PyFunction>() {
            if let Ok(module) = f.getattr(intern!(py, "__module__"))?.extract::<String>()
                && SETTLED.iter().any(|s| module.split('.').next() == Some(s))
            {
                return Ok(());
            }
            let globals = f.getattr(intern!(py, "__globals__"))?.cast_into::<PyDict>()?;
            let code = f.getattr(intern!(py, "__code__"))?;
            self.names(&code, &globals, done)?;
            for attribute in [intern!(py, "__closure__"), intern!(py, "__defaults__")] {
                let cells = f.getattr(attribute)?;
                if let Ok(cells) = cells.cast::<PyTuple>() {
                    for c in cells {
                        if attribute == "__closure__" {
                            let content = c.getattr(intern!(py, "cell_contents")).ok();
                            self.add(Place::Cell(c.unbind()), content, done)?;
                        } else {
                            self.follow(&c, done)?;
                        }
                    }
                }
            }
            return Ok(());
        }
        // what wraps a function: our own transforms, functools.wraps, partial, bound methods
        for name in ["__wrapped__", "func", "__func__"] {
            if let Ok(inner) = f.getattr(name) {
                self.function(&inner, done)?;
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

    fn follow(&mut self, value: &Bound<'_, PyAny>, done: &mut FxHashSet<usize>) -> PyResult<()> {
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
        if depth < 8 {
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

    fn is(&self, v: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = v.py();
        Ok(match self {
            Seen::Nothing => false,
            Seen::Same(x) => x.is(v),
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
