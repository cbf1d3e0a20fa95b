//! vmap: a function of single examples as a function of batches.

use mlgrad_core::tape::{NodeId, shape};
use mlgrad_core::walk;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::callable::{Held, bind, check_callable, describe};
use super::host::run_pending;
use super::scope::Scope;
use super::session::{Session, any_array};
use crate::array::Array;
use crate::error::{OrRaise, contained};
use crate::tree::Tree;

/// A function that maps over an axis of its arguments.
#[pyclass(frozen, module = "mlgrad", name = "vmap", dict, weakref)]
pub struct Vmap {
    f: Held,
    in_axes: Py<PyAny>,
    out_axes: Py<PyAny>,
}

/// The axis for each leaf below `object`, which `axes` gives for it or for what it is part of.
fn spread(what: &str, axes: &Bound<'_, PyAny>, object: &Bound<'_, PyAny>, out: &mut Vec<Option<i64>>) -> PyResult<()> {
    if axes.is_none() || axes.extract::<i64>().is_ok() {
        let axis = axes.extract::<Option<i64>>()?;
        let mut leaves = Vec::new();
        Tree::flatten(object, &mut leaves)?;
        out.extend(leaves.iter().map(|_| axis));
        return Ok(());
    }
    let mismatch = || {
        PyValueError::new_err(format!(
            "vmap: {what} {axes} does not fit the structure that it is for; give an int or None, or the same containers"
        ))
    };
    if let (Ok(a), Ok(o)) = (axes.cast::<PyDict>(), object.cast::<PyDict>()) {
        // in the order in which a tree has its leaves
        let keys = o.keys();
        let keys = if keys.sort().is_ok() { keys } else { o.keys() };
        for key in keys.iter() {
            let axis = a.get_item(&key)?.ok_or_else(mismatch)?;
            spread(what, &axis, &o.as_any().get_item(&key)?, out)?;
        }
        return Ok(());
    }
    let sequence = |x: &Bound<'_, PyAny>| x.is_instance_of::<PyTuple>() || x.is_instance_of::<PyList>();
    if !sequence(axes) || !sequence(object) || axes.len()? != object.len()? {
        return Err(mismatch());
    }
    for (a, o) in axes.try_iter()?.zip(object.try_iter()?) {
        spread(what, &a?, &o?, out)?;
    }
    Ok(())
}

impl Vmap {
    fn call<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let f = self.f.bind(py);
        let in_axes = self.in_axes.bind(py);
        let mut axes = Vec::new();
        if in_axes.is_instance_of::<PyList>() || in_axes.is_instance_of::<PyTuple>() {
            if in_axes.len()? != args.len() {
                return Err(PyValueError::new_err(format!(
                    "vmap: in_axes {in_axes} has {} entries, but {} was called with {} positional arguments",
                    in_axes.len()?,
                    describe(f),
                    args.len()
                )));
            }
            for (a, x) in in_axes.try_iter()?.zip(args.iter()) {
                spread("in_axes", &a?, &x, &mut axes)?;
            }
        } else {
            spread("in_axes", in_axes, args.as_any(), &mut axes)?;
        }
        let mut session = Session::enter();
        let mut leaves = Vec::new();
        let args_tree = Tree::flatten(args.as_any(), &mut leaves)?;
        let kwargs_tree = kwargs.map(|k| Tree::flatten(k.as_any(), &mut leaves)).transpose()?;
        // keywords are mapped over their first axis
        axes.resize(leaves.len(), Some(0));
        let mut size = None;
        let mut values = Vec::with_capacity(leaves.len());
        for (k, (leaf, axis)) in leaves.iter().zip(&axes).enumerate() {
            let Some(axis) = *axis else {
                values.push(None);
                continue;
            };
            let x = session.node(py, "vmap", leaf)?;
            let mut state = session.trace.lock()?;
            let t = &mut state.tape;
            let s = t.shape(x).clone();
            if s.is_empty() {
                return Err(PyValueError::new_err(format!(
                    "vmap: argument leaf {k} is a scalar and has no axis {axis} to map over; give it in_axes None"
                )));
            }
            let axis = shape::axis("vmap: in_axes", axis, s.len()).or_raise(py)?;
            match size {
                None => size = Some((s[axis], k)),
                Some((n, _)) if n == s[axis] => {}
                Some((n, first)) => {
                    return Err(PyValueError::new_err(format!(
                        "vmap: the mapped axes differ in length: {n} for argument leaf {first}, but {} for argument leaf {k} of \
                         shape {}",
                        s[axis],
                        shape::show(&s)
                    )));
                }
            }
            values.push(Some(t.move_axis(x, axis, 0).or_raise(py)?));
        }
        let Some((size, _)) = size else {
            return Err(PyValueError::new_err("vmap: no argument is mapped; give at least one of in_axes an axis"));
        };
        let scope = Scope::open(&session.trace)?;
        let (mut examples, mut batches, mut handles) = (Vec::new(), Vec::new(), Vec::new());
        for (leaf, value) in leaves.iter().zip(values) {
            let Some(value) = value else {
                handles.push(leaf.clone().unbind());
                continue;
            };
            let example = scope.params(py, &[value], true)?[0];
            examples.push(example);
            batches.push(value);
            handles.push(Array::wrap(py, &session.trace, example)?.into_any());
        }
        let mut handles = handles.into_iter();
        let new_args = args_tree.unflatten(py, &mut handles)?.into_bound(py).cast_into::<PyTuple>()?;
        let new_kwargs = match kwargs_tree {
            Some(tree) => Some(tree.unflatten(py, &mut handles)?.into_bound(py).cast_into::<PyDict>()?),
            None => None,
        };
        let returned = f.call(new_args, new_kwargs.as_ref())?;
        let result = session.result("vmap", &returned)?;
        let mut out_axes = Vec::new();
        spread("out_axes", self.out_axes.bind(py), &returned, &mut out_axes)?;
        let wanted: Vec<NodeId> = {
            let mut state = session.trace.lock()?;
            let t = &mut state.tape;
            // calls of the host are done for every example, whatever becomes of them
            let effects = t.take_calls(scope.number);
            let all: Vec<NodeId> = result.nodes.iter().chain(&effects).copied().collect();
            let mut found = walk::batch(t, &examples, &batches, size, &all).or_raise(py)?;
            found.truncate(result.nodes.len());
            let mut wanted = Vec::with_capacity(found.len());
            for ((y, batched), axis) in found.into_iter().zip(&out_axes) {
                let Some(axis) = *axis else {
                    if batched {
                        return Err(PyValueError::new_err(
                            "vmap: out_axes is None for a result that differs from example to example; give it an axis",
                        ));
                    }
                    wanted.push(y);
                    continue;
                };
                let y = if batched {
                    y
                } else {
                    let mut to = t.shape(y).clone();
                    to.insert(0, size);
                    t.broadcast_to(y, &to).or_raise(py)?
                };
                let rank = t.rank(y);
                let axis = shape::axis("vmap: out_axes", axis, rank).or_raise(py)?;
                wanted.push(t.move_axis(y, 0, axis).or_raise(py)?);
            }
            wanted
        };
        drop(scope);
        run_pending(py, &session.trace)?;
        let arrays = !session.outermost && any_array(args, kwargs)?;
        let mut out = session.deliver(py, &wanted, arrays)?.into_iter();
        Ok(result.tree.unflatten(py, &mut out)?.into_bound(py))
    }
}

#[pymethods]
impl Vmap {
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
        format!("vmap({})", describe(self.f.bind(py)))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<mlgrad {}>", self.__name__(py))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let make = py.import("mlgrad._core")?.getattr("vmap")?;
        let args = (self.f.clone_ref(py), self.in_axes.clone_ref(py), self.out_axes.clone_ref(py));
        Ok((make, args.into_pyobject(py)?))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        self.f.visit(&visit)
    }
}

/// An argument that is 0 where it is not given, and may be None.
struct Axes(Option<Py<PyAny>>);

impl<'a, 'py> FromPyObject<'a, 'py> for Axes {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Axes> {
        Ok(Axes(Some(object.to_owned().unbind())))
    }
}

impl Axes {
    fn or_zero(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.0 {
            Some(axes) => Ok(axes),
            None => Ok(0i64.into_pyobject(py)?.into_any().unbind()),
        }
    }
}

/// `f` over a batch: in_axes and out_axes are ints, None (not mapped), or trees of them.
#[pyfunction]
#[pyo3(signature = (f, in_axes = Axes(None), out_axes = Axes(None)), text_signature = "(f, in_axes=0, out_axes=0)")]
fn vmap(py: Python<'_>, f: Py<PyAny>, in_axes: Axes, out_axes: Axes) -> PyResult<Vmap> {
    check_callable("vmap", f.bind(py))?;
    let in_axes = in_axes.or_zero(py)?;
    if !in_axes.bind(py).is_instance_of::<PyTuple>()
        && !in_axes.bind(py).is_instance_of::<PyList>()
        && in_axes.extract::<i64>(py).is_err()
    {
        return Err(PyTypeError::new_err(format!(
            "vmap: in_axes must be an int, or a tuple with one entry (an int, None or a tree of them) for each positional \
             argument, got {}",
            in_axes.bind(py)
        )));
    }
    let out_axes = out_axes.or_zero(py)?;
    Ok(Vmap { f: f.into(), in_axes, out_axes })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(vmap, m)?)
}
