//! jit: record once, replay without Python.

mod argument;
mod expect;
mod record;
mod replay;
mod run;
mod signature;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mlgrad_core::tape::{NodeId, Shape, Value};
use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use self::argument::{Data, Leaf};
pub use self::expect::Expected;
pub use self::record::Recorder;
use self::record::{Action, Source};
use self::replay::{Out, Output, Replay, Step};
use self::run::{End, output_of};
use self::signature::Signature;
use self::watch::Watch;
use crate::array::Array;
use crate::convert;
use crate::error::{OrRaise, contained};
use crate::trace::{Trace, known, meta};
use crate::transform::{Held, bind, check_callable, describe, wrap_argument};
use crate::tree::Tree;

create_exception!(mlgrad, PerformanceWarning, PyUserWarning, "Something works, but more slowly than it could.");

/// Recordings of one signature that differ in what Python saw.
const MAX_VARIANTS: usize = 32;
/// Signatures that one function keeps; the least recently used goes first.
const MAX_ENTRIES: usize = 128;

/// What is kept for one signature. Another recording makes another entry.
struct Entry {
    signature: Arc<Signature>,
    replay: Arc<Replay>,
}

/// A function that is recorded at the first call of each signature and replayed after that.
#[pyclass(frozen, module = "mlgrad", name = "jit", dict, weakref)]
pub struct Jit {
    f: Held,
    static_argnums: Vec<isize>,
    static_argnames: Vec<String>,
    check: bool,
    /// The most recently used first.
    entries: Mutex<Vec<Arc<Entry>>>,
    hits: AtomicU64,
    recordings: AtomicU64,
}

/// The arguments of one call, taken apart.
struct Call<'py> {
    args: Tree,
    keywords: Option<Tree>,
    leaves: Given<'py>,
}

/// The leaves of one call.
type Given<'py> = SmallVec<[Leaf<'py>; 4]>;

fn locked<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jit {
    fn is_static(&self, k: usize, n: usize) -> bool {
        self.static_argnums.iter().any(|&s| s == k as isize || s + n as isize == k as isize)
    }

    fn take<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Call<'py>> {
        let mut leaves = Given::with_capacity(args.len());
        let mut objects = Vec::new();
        let mut flatten = |x: &Bound<'py, PyAny>, fixed: bool| -> PyResult<Tree> {
            if fixed {
                leaves.push(Leaf::key(x)?);
                return Ok(Tree::Leaf);
            }
            objects.clear();
            let tree = Tree::flatten(x, &mut objects)?;
            for o in &objects {
                leaves.push(Leaf::of(py, o)?);
            }
            Ok(tree)
        };
        let n = args.len();
        let parts = args.iter().enumerate().map(|(k, x)| flatten(&x, self.is_static(k, n))).collect::<PyResult<_>>()?;
        let keywords = match kwargs {
            None => None,
            Some(d) => {
                // the order in which keywords are given makes no difference
                let keys = d.keys();
                keys.sort()?;
                let mut parts = Vec::with_capacity(keys.len());
                for key in keys.iter() {
                    let name: String = key.extract()?;
                    parts.push(flatten(&d.as_any().get_item(&key)?, self.static_argnames.contains(&name))?);
                }
                Some(Tree::Dict(keys.iter().map(Bound::unbind).collect(), parts))
            }
        };
        Ok(Call { args: Tree::Tuple(parts), keywords, leaves })
    }

    /// The entry used last, where this call fits it, with the leaves of the call: without building its tree.
    fn recent<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        leaves: &mut Given<'py>,
    ) -> PyResult<Option<Arc<Entry>>> {
        if kwargs.is_some() {
            return Ok(None);
        }
        let first = locked(&self.entries).first().cloned();
        let Some(entry) = first.filter(|e| e.signature.plain) else { return Ok(None) };
        Ok(if entry.signature.take(py, args, leaves)? { Some(entry) } else { None })
    }

    /// The entry that this call fits, moved to the front.
    fn find(&self, py: Python<'_>, call: &Call<'_>) -> PyResult<Option<Arc<Entry>>> {
        // comparing may run Python code: not under the lock
        let first = locked(&self.entries).first().cloned();
        let Some(first) = first else { return Ok(None) };
        if first.signature.fits(py, call)? {
            return Ok(Some(first));
        }
        drop(first);
        let rest: Vec<Arc<Entry>> = locked(&self.entries).iter().skip(1).cloned().collect();
        for e in rest {
            if e.signature.fits(py, call)? {
                let mut entries = locked(&self.entries);
                if let Some(k) = entries.iter().position(|x| Arc::ptr_eq(x, &e)) {
                    entries[..=k].rotate_right(1);
                }
                return Ok(Some(e));
            }
        }
        Ok(None)
    }

    fn call<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let f = self.f.bind(py);
        if Trace::current().is_some() {
            // inside another transform the function is simply recorded there
            return Ok(f.call(args, kwargs)?.unbind());
        }
        if crate::debug::is_on() {
            // recorded anew, so that each evaluation is looked at and lines are known
            let call = self.take(py, args, kwargs)?;
            let (_, output, values) = self.record(py, &call, Vec::new())?;
            return output_of(py, &output, values);
        }
        let mut leaves = Given::new();
        let (entry, call) = match self.recent(py, args, kwargs, &mut leaves)? {
            Some(entry) => (Some(entry), None),
            None => {
                let call = self.take(py, args, kwargs)?;
                (self.find(py, &call)?, Some(call))
            }
        };
        let mut called = Vec::new();
        if let Some(entry) = &entry {
            let given = call.as_ref().map_or(&leaves, |c| &c.leaves);
            match entry.replay.run(py, given)? {
                End::Values(out) => {
                    // counted under the interpreter's lock
                    self.hits.store(self.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    return Ok(out);
                }
                End::Unknown(line, done) => {
                    called = done;
                    if entry.replay.variants >= MAX_VARIANTS {
                        entry.signature.warn(py, f, line)?;
                        return Ok(f.call(args, kwargs)?.unbind());
                    }
                }
            }
        }
        let call = match call {
            Some(call) => call,
            None => Call { leaves, ..self.take(py, args, kwargs)? },
        };
        self.recordings.fetch_add(1, Ordering::Relaxed);
        let (recorder, output, values) = self.record(py, &call, called)?;
        if self.check {
            let (again, _, _) = self.record(py, &call, Vec::new())?;
            recorder.compare(&again).map_err(PyValueError::new_err)?;
        }
        let result = output_of(py, &output, values)?;
        log_recording(f, &call, &recorder);
        let signature = match entry {
            Some(e) => e.signature.clone(),
            None => {
                let plain = self.static_argnums.is_empty() && call.keywords.is_none() && call.args.is_plain();
                Arc::new(Signature::new(plain, call, Watch::of(f, &recorder.arrays(py))?))
            }
        };
        self.keep(py, signature, &recorder, output);
        Ok(result)
    }

    /// Adds a recording to what is known of its signature.
    fn keep(&self, py: Python<'_>, signature: Arc<Signature>, recorder: &Recorder, output: Output) {
        let place = |entries: &[Arc<Entry>]| entries.iter().position(|e| Arc::ptr_eq(&e.signature, &signature));
        let known = {
            let entries = locked(&self.entries);
            place(&entries).map_or_else(Arc::default, |k| entries[k].replay.clone())
        };
        // comparing calls of the host may run Python code: not under the lock
        let replay = Arc::new(known.with(py, recorder, output));
        let entry = Arc::new(Entry { signature: signature.clone(), replay });
        let old = {
            let mut entries = locked(&self.entries);
            match place(&entries) {
                Some(k) => Some(std::mem::replace(&mut entries[k], entry)),
                None => {
                    entries.insert(0, entry);
                    if entries.len() > MAX_ENTRIES { entries.pop() } else { None }
                }
            }
        };
        // dropping Python objects may run code: not under the lock either
        drop((old, known));
    }

    /// Calls f on Arrays and writes down what happens.
    fn record(
        &self,
        py: Python<'_>,
        call: &Call<'_>,
        called: Vec<PyResult<Vec<Value>>>,
    ) -> PyResult<(Recorder, Output, Vec<Option<Value>>)> {
        let trace = Trace::new(true);
        if let Some(r) = &mut trace.access().recorder {
            r.replayed = called.into();
        }
        let opened = trace.open();
        // arguments that are read in place, given back after the trace has ended
        let mut loans = Vec::new();
        let done = Finally(trace.clone());
        let mut handles = Vec::with_capacity(call.leaves.len());
        for (k, leaf) in call.leaves.iter().enumerate() {
            handles.push(match leaf {
                Leaf::Static(o) => o.clone().unbind(),
                Leaf::Traced(data) => {
                    let (value, shape, dtype) = match data {
                        Data::Lent(a, ..) => match convert::lend(a)? {
                            Some((value, shape, dtype, loan)) => {
                                loans.push(loan);
                                (value, shape, dtype)
                            }
                            None => convert::copy_in(py, a)?,
                        },
                        Data::Number(bits, dtype) => (Value::Scalar(*bits), Shape::new(), *dtype),
                        Data::Owned(owned) => (**owned).clone(),
                    };
                    let weak = matches!(data, Data::Number(..));
                    let node = {
                        let mut state = trace.lock()?;
                        let node = state.tape.param(value, shape, dtype).or_raise(py)?;
                        if let Some(r) = &mut state.recorder {
                            r.argument(node, k);
                        }
                        node
                    };
                    wrap_argument(py, &trace, node, weak)?.into_any()
                }
            });
        }
        let mut handles = handles.into_iter();
        let args = call.args.unflatten(py, &mut handles)?.into_bound(py).cast_into::<PyTuple>()?;
        let kwargs = match &call.keywords {
            Some(t) => Some(t.unflatten(py, &mut handles)?.into_bound(py).cast_into::<PyDict>()?),
            None => None,
        };
        let returned = self.f.bind(py).call(args, kwargs.as_ref())?;
        let mut leaves = Vec::new();
        let tree = Tree::flatten(&returned, &mut leaves)?;
        let mut nodes: Vec<Option<NodeId>> = Vec::with_capacity(leaves.len());
        for leaf in &leaves {
            nodes.push(match leaf.cast::<Array>() {
                Ok(a) => Some(a.get().node(py)?),
                Err(_) => None,
            });
        }
        let wanted: Vec<NodeId> = nodes.iter().flatten().copied().collect();
        trace.finish(py, &wanted)?;
        trace.freeze_overwritten(py)?;
        let (outs, values) = {
            let state = trace.access();
            let Some(recorder) = &state.recorder else {
                return Err(PyRuntimeError::new_err("a jitted recording without recorder"));
            };
            let mut outs = Vec::with_capacity(leaves.len());
            let mut values = Vec::with_capacity(leaves.len());
            for (leaf, node) in leaves.iter().zip(&nodes) {
                match node {
                    Some(n) => {
                        let value = known(state.tape.node(*n).value.clone())?;
                        let (shape, dtype) = meta(&state, *n);
                        outs.push(Out::Value { source: recorder.source(*n, &value), shape, dtype, last: false });
                        values.push(Some(value));
                    }
                    None => {
                        outs.push(Out::Object(leaf.clone().unbind()));
                        values.push(None);
                    }
                }
            }
            (outs, values)
        };
        let mut outs = outs;
        mark_last(&mut outs);
        let recorder = trace.access().recorder.take();
        let Some(recorder) = recorder else {
            return Err(PyRuntimeError::new_err("a jitted recording without recorder"));
        };
        drop(opened);
        drop(done);
        Ok((*recorder, Output { tree, leaves: outs }, values))
    }
}

/// Closes a trace however its recording ends.
struct Finally(Arc<Trace>);

impl Drop for Finally {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The last leaf that gives a computed value may give its buffer away.
fn mark_last(outs: &mut [Out]) {
    let mut seen = Vec::new();
    for out in outs.iter_mut().rev() {
        if let Out::Value { source: Source::Computed(k), last, .. } = out
            && !seen.contains(k)
        {
            seen.push(*k);
            *last = true;
        }
    }
}

/// With MLGRAD_LOG_RECORDINGS set, each recording of a jitted function leaves a line on stderr.
fn log_recording(f: &Bound<'_, PyAny>, call: &Call<'_>, recorder: &Recorder) {
    if std::env::var_os("MLGRAD_LOG_RECORDINGS").is_none() {
        return;
    }
    let guards: Vec<&str> = recorder.steps.iter().filter_map(|(_, _, line)| line.as_deref()).collect();
    eprintln!("mlgrad: recorded {} for {} leaves, guards at {guards:?}", describe(f), call.leaves.len());
}

#[pymethods]
impl Jit {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        contained(py, || self.call(py, args, kwargs))
    }

    /// Hits, recordings, signatures and variants so far, as a dict.
    fn cache_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let entries: Vec<Arc<Entry>> = locked(&self.entries).clone();
        let variants: usize = entries.iter().map(|e| e.replay.variants).sum();
        let d = PyDict::new(py);
        d.set_item("hits", self.hits.load(Ordering::Relaxed))?;
        d.set_item("recordings", self.recordings.load(Ordering::Relaxed))?;
        d.set_item("signatures", entries.len())?;
        d.set_item("variants", variants)?;
        Ok(d)
    }

    /// The plans that replays run, as text, with the guards between them.
    fn explain_plan(&self) -> String {
        let entries: Vec<Arc<Entry>> = locked(&self.entries).clone();
        let mut text = String::new();
        for (k, e) in entries.iter().enumerate() {
            let replay = &e.replay;
            text += &format!("signature {k}: {} recordings\n", replay.variants);
            for (i, step) in replay.steps.iter().enumerate() {
                match step {
                    Step::Do { action: Action::Run { plan, .. }, .. } => text += &format!("step {i}: run\n{plan}\n"),
                    Step::Do { action: Action::Call { host, .. }, .. } => {
                        text += &format!("step {i}: call of {}\n", host.call.name());
                    }
                    Step::Do { action: Action::Read { .. }, children, line } => {
                        text += &format!(
                            "step {i}: guard at {}, {} outcomes\n",
                            line.as_deref().unwrap_or("an unknown line"),
                            children.len()
                        );
                    }
                    Step::Return(o) => text += &format!("step {i}: return {} leaves\n", o.leaves.len()),
                }
            }
        }
        text
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
        format!("jit({})", describe(self.f.bind(py)))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<mlgrad {}>", self.__name__(py))
    }

    /// Plans stay behind: they are made again.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let make = py.import("mlgrad._core")?.getattr("jit")?;
        let args = (
            self.f.clone_ref(py),
            PyTuple::new(py, &self.static_argnums)?,
            PyTuple::new(py, &self.static_argnames)?,
            self.check,
        );
        Ok((make, args.into_pyobject(py)?))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        self.f.visit(&visit)
    }

    fn __clear__(&self) {
        let old = std::mem::take(&mut *locked(&self.entries));
        drop(old);
    }
}

/// One or several of `T`.
fn several<'py, T: for<'a> FromPyObject<'a, 'py>>(what: &str, given: &Bound<'py, PyAny>) -> PyResult<Vec<T>> {
    if let Ok(one) = given.extract::<T>() {
        return Ok(vec![one]);
    }
    let items: Vec<Bound<'py, PyAny>> = given.try_iter()?.collect::<PyResult<_>>()?;
    items
        .iter()
        .map(|x| x.extract::<T>().map_err(|_| PyTypeError::new_err(format!("jit: {what} has the wrong type: {given}"))))
        .collect()
}

/// `f`, recorded at the first call of each signature and replayed after that.
#[pyfunction]
#[pyo3(signature = (f, static_argnums = None, static_argnames = None, check = false))]
fn jit(
    py: Python<'_>,
    f: Py<PyAny>,
    static_argnums: Option<&Bound<'_, PyAny>>,
    static_argnames: Option<&Bound<'_, PyAny>>,
    check: bool,
) -> PyResult<Jit> {
    check_callable("jit", f.bind(py))?;
    let static_argnums = static_argnums.map_or_else(|| Ok(Vec::new()), |x| several("static_argnums", x))?;
    let static_argnames = static_argnames.map_or_else(|| Ok(Vec::new()), |x| several("static_argnames", x))?;
    Ok(Jit {
        f: f.into(),
        static_argnums,
        static_argnames,
        check,
        entries: Mutex::default(),
        hits: AtomicU64::new(0),
        recordings: AtomicU64::new(0),
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Jit>()?;
    expect::register(m)?;
    m.add("PerformanceWarning", m.py().get_type::<PerformanceWarning>())?;
    m.add_function(wrap_pyfunction!(jit, m)?)
}
