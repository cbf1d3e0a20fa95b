//! grad and value_and_grad.

use mlgrad_core::tape::{NodeId, shape};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use super::callable::{Argnums, Held, bind, check_callable, describe};
use super::session::{Leaves, Nodes, Session, any_array, fresh};
use super::walks;
use crate::array::{Array, record};
use crate::error::contained;
use crate::tree::Tree;

/// The first word of what this transform asks of a recording.
const GRADIENT: u64 = 1;

/// The gradient of a function as a function.
#[pyclass(frozen, module = "mlgrad", name = "grad", dict, weakref)]
pub struct Grad {
    f: Held,
    argnums: Argnums,
    argnames: Vec<String>,
    one_name: bool,
    has_aux: bool,
    value: bool,
}

impl Grad {
    fn label(&self) -> &'static str {
        if self.value { "value_and_grad" } else { "grad" }
    }

    fn make(
        f: Py<PyAny>,
        argnums: Option<&Bound<'_, PyAny>>,
        argnames: Option<&Bound<'_, PyAny>>,
        has_aux: bool,
        value: bool,
        py: Python<'_>,
    ) -> PyResult<Grad> {
        let what = if value { "value_and_grad" } else { "grad" };
        check_callable(what, f.bind(py))?;
        let (argnames, one_name) = match argnames {
            None => (Vec::new(), false),
            Some(n) => match n.extract::<String>() {
                Ok(name) => (vec![name], true),
                Err(_) => (
                    n.extract::<Vec<String>>().map_err(|_| {
                        PyTypeError::new_err(format!("{what}: argnames must be a str or a tuple of str, got {n}"))
                    })?,
                    false,
                ),
            },
        };
        let argnums = match argnums {
            Some(a) => Argnums::parse(what, a)?,
            None if argnames.is_empty() => Argnums { numbers: vec![0], single: true },
            None => Argnums { numbers: Vec::new(), single: false },
        };
        Ok(Grad { f: f.into(), argnums, argnames, one_name, has_aux, value })
    }

    /// A keyword that `f` takes by position counts as that position would.
    fn call<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let what = self.label();
        let f = self.f.bind(py);
        let positions = self.argnums.resolve(what, args.len())?;
        if let Some(i) = (1..positions.len()).find(|&i| positions[..i].contains(&positions[i])) {
            return Err(PyValueError::new_err(format!("{what}: argnums names argument {} twice", positions[i])));
        }
        let mut session = Session::enter();
        session.borrow_arguments();
        let mut new_args: SmallVec<[Bound<'py, PyAny>; 4]> = args.iter().collect();
        let mut inputs: SmallVec<[Leaves; 1]> = SmallVec::with_capacity(positions.len() + self.argnames.len());
        let mut aliases = Nodes::new();
        for &k in &positions {
            let (leaves, argument) = session.argument(what, format_args!("argument {k}"), &args.get_item(k)?)?;
            aliases.extend_from_slice(&leaves.nodes);
            new_args[k] = argument;
            inputs.push(leaves);
        }
        let mut new_kwargs = kwargs.cloned();
        if !self.argnames.is_empty() {
            let d = kwargs.map_or_else(|| Ok(PyDict::new(py)), |k| k.copy())?;
            for name in &self.argnames {
                let (place, given) = match d.get_item(name)? {
                    Some(x) => (None, x),
                    None => match position_of(f, name)?.filter(|&k| k < args.len()) {
                        Some(k) => (Some(k), args.get_item(k)?),
                        None => {
                            return Err(PyValueError::new_err(format!(
                                "{what}: argnames names {name:?}, which {} was not called with",
                                describe(f)
                            )));
                        }
                    },
                };
                let (leaves, argument) = session.argument(what, format_args!("argument {name:?}"), &given)?;
                aliases.extend_from_slice(&leaves.nodes);
                match place {
                    Some(k) => new_args[k] = argument,
                    None => d.set_item(name, argument)?,
                }
                inputs.push(leaves);
            }
            new_kwargs = Some(d);
        }
        let returned = f.call(PyTuple::new(py, new_args)?, new_kwargs.as_ref())?;
        let (value, aux) = self.split(&returned)?;
        let y = self.scalar(&session, &value)?;
        let mut more = if self.value { vec![y] } else { Vec::new() };
        let grads_and_value = aliases.len() + more.len();
        let aux = aux.map(|aux| Aux::take(&aux, &mut more)).transpose()?;
        let arrays = !session.outermost && any_array(args, kwargs)?;
        let question = [GRADIENT, u64::from(y.0), aliases.len() as u64];
        let question = question.into_iter().chain(aliases.iter().chain(&more).map(|n| u64::from(n.0)));
        // everything that is asked for runs as one program
        let mut out = session.answer(py, question, arrays, |trace| {
            let one = record(py, trace, |s| s.tape.lit_like(1.0, y))?;
            let mut wanted = walks::vjp_filled(py, trace, &[y], &[one], &aliases)?;
            wanted.extend(&more);
            Ok(wanted)
        })?;
        let aux = match aux {
            Some(a) => Some(a.put(py, out.split_off(grads_and_value))?),
            None => None,
        };
        let value = if self.value { out.pop() } else { None };
        let mut leaves = out.into_iter();
        let mut results: SmallVec<[Py<PyAny>; 1]> = SmallVec::with_capacity(inputs.len());
        for i in &inputs {
            results.push(i.tree.unflatten(py, &mut leaves)?);
        }
        let grads = match results.pop() {
            Some(only) if results.is_empty() && (self.argnums.single || (self.one_name && positions.is_empty())) => {
                only.into_bound(py)
            }
            last => PyTuple::new(py, results.into_iter().chain(last).collect::<SmallVec<[_; 4]>>())?.into_any(),
        };
        Ok(match (value, aux) {
            (None, None) => grads,
            (None, Some(aux)) => (grads, aux).into_pyobject(py)?.into_any(),
            (Some(value), None) => (value, grads).into_pyobject(py)?.into_any(),
            (Some(value), Some(aux)) => ((value, aux), grads).into_pyobject(py)?.into_any(),
        })
    }

    fn split<'py>(&self, returned: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        if !self.has_aux {
            return Ok((returned.clone(), None));
        }
        match returned.cast::<PyTuple>() {
            Ok(t) if t.len() == 2 => Ok((t.get_item(0)?, Some(t.get_item(1)?))),
            _ => Err(PyTypeError::new_err(format!(
                "{}: with has_aux=True the function must return (value, aux), but it returned {}",
                self.label(),
                returned.get_type().name()?
            ))),
        }
    }

    /// The scalar that the function returned.
    fn scalar(&self, session: &Session, value: &Bound<'_, PyAny>) -> PyResult<NodeId> {
        let what = self.label();
        let py = value.py();
        if value.is_none() || value.cast::<PyTuple>().is_ok() {
            return Err(PyTypeError::new_err(format!(
                "{what}: the function returned {}, but a scalar is needed; return one number (has_aux=True for further results)",
                if value.is_none() { "None".to_string() } else { format!("a tuple of {}", value.len()?) }
            )));
        }
        let y = session.node(py, what, value)?;
        let state = session.trace.lock()?;
        let (shape, dtype) = (state.tape.shape(y), state.tape.dtype(y));
        if !shape.is_empty() {
            return Err(PyValueError::new_err(format!(
                "{what}: the function returned an array of shape {}, but a scalar is needed; use np.sum or np.mean, or jacobian, \
                 vjp or elementwise_grad for the derivative of an array",
                shape::show(shape)
            )));
        }
        if !dtype.is_inexact() {
            return Err(PyTypeError::new_err(format!(
                "{what}: the function returned a value of dtype {dtype}, whose derivative is not defined; return a float"
            )));
        }
        Ok(y)
    }
}

/// The place of the parameter `name` of `f`, if it has one that can be given by position.
fn position_of(f: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<usize>> {
    let py = f.py();
    let signature = match py.import("inspect")?.call_method1(intern!(py, "signature"), (f,)) {
        Ok(s) => s,
        // builtins have none
        Err(e) if e.is_instance_of::<PyValueError>(py) || e.is_instance_of::<PyTypeError>(py) => return Ok(None),
        Err(e) => return Err(e),
    };
    for (k, p) in signature.getattr("parameters")?.try_iter()?.enumerate() {
        if p?.extract::<String>()? == name {
            return Ok(Some(k));
        }
    }
    Ok(None)
}

/// Auxiliary results: Arrays among them are computed, the rest passes through.
struct Aux<'py> {
    tree: Tree,
    leaves: Vec<Option<Bound<'py, PyAny>>>,
}

impl<'py> Aux<'py> {
    fn take(aux: &Bound<'py, PyAny>, wanted: &mut Vec<NodeId>) -> PyResult<Aux<'py>> {
        let mut leaves = Vec::new();
        let tree = Tree::flatten(aux, &mut leaves)?;
        let mut kept = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            kept.push(match leaf.cast::<Array>() {
                Ok(a) => {
                    wanted.push(a.get().node(aux.py())?);
                    None
                }
                Err(_) => Some(leaf),
            });
        }
        Ok(Aux { tree, leaves: kept })
    }

    fn put(self, py: Python<'_>, computed: Vec<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let mut computed = computed.into_iter();
        let leaves: Vec<Py<PyAny>> = self
            .leaves
            .into_iter()
            .filter_map(|l| match l {
                Some(leaf) => Some(fresh(&leaf)),
                None => computed.next().map(Ok),
            })
            .collect::<PyResult<_>>()?;
        self.tree.unflatten(py, &mut leaves.into_iter())
    }
}

#[pymethods]
impl Grad {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        contained(py, || self.call(py, args, kwargs))
    }

    fn __get__<'py>(
        slf: Bound<'py, Self>,
        instance: Bound<'py, PyAny>,
        _owner: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        bind(slf.into_any(), instance)
    }

    #[getter]
    fn __wrapped__(&self, py: Python<'_>) -> Py<PyAny> {
        self.f.clone_ref(py)
    }

    #[getter]
    fn __name__(&self, py: Python<'_>) -> String {
        format!("{}({})", self.label(), describe(self.f.bind(py)))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<mlgrad {}>", self.__name__(py))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let make = py.import("mlgrad._core")?.getattr(self.label())?;
        let argnums =
            if self.argnums.numbers.is_empty() { py.None().into_bound(py) } else { self.argnums.to_object(py)? };
        let names = match (self.argnames.len(), self.one_name) {
            (0, _) => py.None().into_bound(py),
            (_, true) => self.argnames[0].clone().into_pyobject(py)?.into_any(),
            _ => PyTuple::new(py, &self.argnames)?.into_any(),
        };
        let args = (self.f.clone_ref(py), argnums, names, self.has_aux).into_pyobject(py)?;
        Ok((make, args))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        self.f.visit(&visit)
    }
}

/// The gradient of a scalar function.
#[pyfunction]
#[pyo3(signature = (f, argnums = None, argnames = None, has_aux = false))]
fn grad(
    py: Python<'_>,
    f: Py<PyAny>,
    argnums: Option<&Bound<'_, PyAny>>,
    argnames: Option<&Bound<'_, PyAny>>,
    has_aux: bool,
) -> PyResult<Grad> {
    Grad::make(f, argnums, argnames, has_aux, false, py)
}

/// The value of a scalar function and its gradient.
#[pyfunction]
#[pyo3(signature = (f, argnums = None, argnames = None, has_aux = false))]
fn value_and_grad(
    py: Python<'_>,
    f: Py<PyAny>,
    argnums: Option<&Bound<'_, PyAny>>,
    argnames: Option<&Bound<'_, PyAny>>,
    has_aux: bool,
) -> PyResult<Grad> {
    Grad::make(f, argnums, argnames, has_aux, true, py)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(grad, m)?)?;
    m.add_function(wrap_pyfunction!(value_and_grad, m)?)
}
