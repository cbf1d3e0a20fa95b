//! Host calls: Python functions that a program calls while it runs.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use mlgrad_core::exec::buffer::Buffer;
use mlgrad_core::ops::{Host, HostCall, HostInput, HostOutput, Method, Op};
use mlgrad_core::tape::{DType, NodeId, Shape, Value, shape};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyFunction, PyInt, PyTuple};

use super::callable::check_callable;
use super::session::Session;
use crate::array::Array;
use crate::error::{OrRaise, keep_foreign};
use crate::grave::Buried;
use crate::trace::{Trace, known, meta};
use crate::tree::Tree;
use crate::{convert, dtypes};

/// A Python function with its arguments taken apart.
struct Callback {
    f: Py<PyAny>,
    /// Of the pair (args, kwargs).
    args: Tree,
    /// `None` for what the program gives.
    fixed: Vec<Option<Py<PyAny>>>,
    out: Tree,
}

struct OnHost {
    name: String,
    method: Method,
    callback: Buried<Callback>,
}

impl fmt::Debug for OnHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call of {}", self.name)
    }
}

impl HostCall for OnHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn method(&self) -> Method {
        self.method
    }

    fn call(&self, inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> mlgrad_core::Result<()> {
        Python::attach(|py| self.run(py, inputs, outputs).map_err(keep_foreign))
    }

    fn same(&self, other: &dyn HostCall) -> bool {
        let Some(other) = other.as_any().downcast_ref::<OnHost>() else { return false };
        Python::attach(|py| {
            let (a, b) = (&*self.callback, &*other.callback);
            self.method == other.method
                && alike(a.f.bind(py), b.f.bind(py))
                && a.args.same(py, &b.args).unwrap_or(false)
                && a.out.same(py, &b.out).unwrap_or(false)
                && a.fixed.len() == b.fixed.len()
                && a.fixed.iter().zip(&b.fixed).all(|pair| match pair {
                    (None, None) => true,
                    (Some(x), Some(y)) => alike(x.bind(py), y.bind(py)),
                    _ => false,
                })
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether a second recording has the same object: equal, or a function that was made by the same code.
fn alike(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> bool {
    let py = a.py();
    if a.is(b) {
        return true;
    }
    if a.is_instance_of::<PyFunction>() && b.is_instance_of::<PyFunction>() {
        let code = intern!(py, "__code__");
        return matches!((a.getattr(code), b.getattr(code)), (Ok(x), Ok(y)) if x.is(&y));
    }
    // an array is not compared element by element: another one is another argument
    a.get_type().is(b.get_type()) && !a.is_instance_of::<PyUntypedArray>() && a.eq(b).unwrap_or(false)
}

impl OnHost {
    fn run(&self, py: Python<'_>, inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> PyResult<()> {
        let c = &*self.callback;
        let mut given = inputs.iter();
        let mut leaves = Vec::with_capacity(c.fixed.len());
        for leaf in &c.fixed {
            leaves.push(match (leaf, if leaf.is_none() { given.next() } else { None }) {
                (Some(o), _) => o.clone_ref(py),
                (None, Some(x)) => {
                    let mut buffer = Buffer::new(x.data.len()).or_raise(py)?;
                    buffer.as_mut_slice::<u8>()[..x.data.len()].copy_from_slice(x.data);
                    convert::export(py, Value::Array(Arc::new(buffer)), x.shape, x.dtype)?
                }
                (None, None) => py.None(),
            });
        }
        let call = c.args.unflatten(py, &mut leaves.into_iter())?;
        let (args, kwargs): (Bound<'_, PyTuple>, Bound<'_, PyDict>) = call.extract(py)?;
        // a transform inside the callback is one of its own
        let hidden = Trace::hide();
        let returned = c.f.bind(py).call(args, Some(&kwargs))?;
        drop(hidden);
        let mut parts = Vec::new();
        let fit = c.out.parts_of(&returned, &mut parts)?;
        let missing = || (String::new(), format!("expected {}, got None", c.out.show(py)));
        let fit = fit.and_then(|()| if parts.iter().all(Option::is_some) { Ok(()) } else { Err(missing()) });
        if let Err((path, misfit)) = fit {
            return Err(PyTypeError::new_err(format!(
                "{}: the result of the callback{}{path} does not have the structure of result_shape_dtypes: {misfit}",
                self.name,
                if path.is_empty() { "" } else { " at " },
            )));
        }
        for (k, (part, out)) in parts.iter().flatten().zip(outputs).enumerate() {
            let at = || c.out.paths(py).swap_remove(k);
            let array = convert::as_ndarray(part)?;
            let numpy = py.import(intern!(py, "numpy"))?;
            let want = dtypes::descr(py, out.dtype);
            let from = array.getattr(intern!(py, "dtype"))?;
            let casts: bool = numpy.call_method1(intern!(py, "can_cast"), (&from, &want, "same_kind"))?.extract()?;
            if !casts {
                return Err(PyTypeError::new_err(format!(
                    "{}: the result{} of the callback has dtype {from}, but result_shape_dtypes says {}",
                    self.name,
                    at(),
                    out.dtype
                )));
            }
            let array = numpy.call_method1(intern!(py, "asarray"), (array, want))?.cast_into::<PyUntypedArray>()?;
            let (value, got, _) = convert::copy_in(py, &array)?;
            if got.as_slice() != out.shape {
                return Err(PyValueError::new_err(format!(
                    "{}: the result{} of the callback has shape {}, but result_shape_dtypes says {}",
                    self.name,
                    at(),
                    shape::show(&got),
                    shape::show(out.shape)
                )));
            }
            let bytes = out.data.len();
            match value {
                Value::Scalar(bits) => out.data.copy_from_slice(&bits.to_le_bytes()[..bytes]),
                Value::Array(b) => out.data.copy_from_slice(&b.as_slice::<u8>()[..bytes]),
            }
        }
        Ok(())
    }
}

/// The shape and dtype that a leaf of result_shape_dtypes says.
fn described(leaf: &Bound<'_, PyAny>) -> PyResult<(Shape, DType)> {
    let py = leaf.py();
    let (shape, dtype) = (intern!(py, "shape"), intern!(py, "dtype"));
    if leaf.hasattr(shape)? && leaf.hasattr(dtype)? {
        let lengths: Vec<usize> = leaf.getattr(shape)?.extract()?;
        return Ok((lengths.into(), dtypes::parse(&leaf.getattr(dtype)?)?));
    }
    if let Ok(array) = convert::as_ndarray(leaf)
        && let Ok(dtype) = dtypes::from_descr(&numpy::PyUntypedArrayMethods::dtype(&array))
    {
        return Ok((numpy::PyUntypedArrayMethods::shape(&array).into(), dtype));
    }
    Err(PyTypeError::new_err(format!(
        "pure_callback: result_shape_dtypes must hold arrays or mlgrad.ShapeDtypeStruct(shape, dtype), got a {}",
        leaf.get_type().name()?
    )))
}

/// Calls `f(*args, **kwargs)` each time that the program runs. Its results have the shapes and dtypes of `out`.
#[pyfunction]
fn host_call(
    py: Python<'_>,
    f: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
    method: &str,
    name: String,
) -> PyResult<Py<PyAny>> {
    check_callable(&name, f)?;
    let method = match method {
        "sequential" => Method::Sequential,
        "expand_dims" => Method::ExpandDims,
        "broadcast_all" => Method::BroadcastAll,
        other => {
            return Err(PyValueError::new_err(format!(
                "{name}: vmap_method must be 'sequential', 'expand_dims' or 'broadcast_all', got {other:?}"
            )));
        }
    };
    let mut leaves = Vec::new();
    let out = Tree::flatten(out, &mut leaves)?;
    let results: Vec<(Shape, DType)> = leaves.iter().map(described).collect::<PyResult<_>>()?;
    let mut leaves = Vec::new();
    let args = Tree::flatten((args, kwargs).into_pyobject(py)?.as_any(), &mut leaves)?;
    let first = leaves.iter().find_map(|l| l.cast_exact::<Array>().ok()).map(|a| a.get().trace().clone());
    let trace = first.or_else(Trace::current);
    let (mut fixed, mut nodes) = (Vec::with_capacity(leaves.len()), Vec::new());
    for leaf in leaves {
        fixed.push(match (leaf.cast_exact::<Array>(), &trace) {
            (Ok(a), Some(trace)) => {
                a.get().check_trace(trace)?;
                nodes.push(a.get().node(py)?);
                None
            }
            // what is mapped together has to be there as an array
            (Err(_), Some(trace)) if method != Method::Sequential && is_numeric(&leaf) => {
                nodes.push(Session::on(trace).node(py, &name, &leaf)?);
                None
            }
            _ => Some(leaf.unbind()),
        });
    }
    let tree = out.clone_ref(py);
    let callback = Callback { f: f.clone().unbind(), args, fixed, out };
    let call = Arc::new(OnHost { name, method, callback: Buried::new(callback) });
    let Some(trace) = trace else {
        let host = Host::new(call, Vec::new(), results.clone());
        let values = host.evaluate(&[]).or_raise(py)?;
        let out: Vec<Py<PyAny>> = values
            .into_iter()
            .zip(&results)
            .map(|(v, (s, d))| convert::export(py, v, s, *d))
            .collect::<PyResult<_>>()?;
        return tree.unflatten(py, &mut out.into_iter());
    };
    if results.is_empty() && trace.lock()?.tape.bodies > 0 {
        return Err(PyTypeError::new_err(
            "debug_print in a body of control flow (cond, scan, while_loop, checkpoint, …) is not supported yet; return the value \
             from the body and print it outside, or write a Python loop or if",
        ));
    }
    let found = trace.lock()?.tape.host_call(call, &nodes, results);
    let (_, found) = found.or_raise(py)?;
    run_pending(py, &trace)?;
    let out: Vec<Py<PyAny>> =
        found.iter().map(|&n| Ok(Array::wrap(py, &trace, n)?.into_any())).collect::<PyResult<_>>()?;
    tree.unflatten(py, &mut out.into_iter())
}

fn is_numeric(leaf: &Bound<'_, PyAny>) -> bool {
    leaf.is_instance_of::<PyUntypedArray>() || leaf.is_instance_of::<PyFloat>() || leaf.is_instance_of::<PyInt>()
}

/// Runs the calls whose arguments can be known, in their order.
pub fn run_pending(py: Python<'_>, trace: &Arc<Trace>) -> PyResult<()> {
    let pending = trace.access().tape.take_hosts(0);
    for node in pending {
        run(py, trace, node)?;
    }
    Ok(())
}

fn run(py: Python<'_>, trace: &Arc<Trace>, node: NodeId) -> PyResult<()> {
    let (host, args) = {
        let state = trace.access();
        let Op::Host(h) = state.tape.op(node).clone() else { return Ok(()) };
        let args: Vec<NodeId> = state.tape.inputs(node)[..h.args.len()].to_vec();
        (h, args)
    };
    trace.evaluate(py, &args)?;
    let mut inputs = Vec::with_capacity(args.len());
    let earlier = {
        let mut state = trace.access();
        for &a in &args {
            let value = known(state.tape.node(a).value.clone())?;
            let (shape, dtype) = meta(&state, a);
            inputs.push((value, shape, dtype));
        }
        state.recorder.as_mut().and_then(|r| r.replayed.pop_front())
    };
    // what a replay has called before a guard failed is not called again
    let done = match earlier {
        Some(done) => done,
        None => host.evaluate(&inputs).or_raise(py),
    };
    let mut state = trace.access();
    let results = state.tape.results(node);
    if let Some(r) = &mut state.recorder {
        let values: Vec<Value> = inputs.into_iter().map(|i| i.0).collect();
        r.called(&host, &args, &values, &results[..results.len() - 1], done.is_ok());
    }
    let values = match done {
        Ok(values) => values,
        Err(e) => {
            drop(state);
            return Err(e);
        }
    };
    for (&n, v) in results.iter().zip(values.into_iter().chain([Value::Scalar(0)])) {
        state.tape.set_value(n, v);
    }
    Ok(())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(host_call, m)?)
}
