//! jit: record once, replay without Python.

mod argument;
mod expect;
mod record;
mod replay;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mlgrad_core::plan::Param;
use mlgrad_core::tape::{NodeId, Value};
use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use self::argument::{Data, Kind, Leaf};
pub use self::expect::Expected;
pub use self::record::Recorder;
use self::record::{Action, Outcome, Source};
use self::replay::{Out, Output, Replay, Step};
use self::watch::Watch;
use crate::array::Array;
use crate::convert;
use crate::error::{OrRaise, contained, raise};
use crate::trace::{Trace, known, meta};
use crate::transform::{Held, bind, check_callable, describe, fresh, wrap_argument};
use crate::tree::Tree;

create_exception!(mlgrad, PerformanceWarning, PyUserWarning, "Something works, but more slowly than it could.");

/// Recordings of one signature that differ in what Python saw.
const MAX_VARIANTS: usize = 32;
/// Signatures that one function keeps; the least recently used goes first.
const MAX_ENTRIES: usize = 128;

/// What is kept for one signature.
struct Entry {
    /// Whether calls can be compared without being taken apart.
    plain: bool,
    args: Tree,
    keywords: Option<Tree>,
    leaves: Vec<Kind>,
    watch: Watch,
    replay: Mutex<Arc<Replay>>,
    warned: Mutex<bool>,
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

/// How a replay ended.
enum End {
    Values(Py<PyAny>),
    /// A guard came out as in no recording so far; the line of the last guard on the way, and what calls of the host came to.
    Unknown(Option<String>, Vec<PyResult<Vec<Value>>>),
}

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
    ) -> PyResult<Option<(Arc<Entry>, Given<'py>)>> {
        if kwargs.is_some() {
            return Ok(None);
        }
        let first = locked(&self.entries).first().cloned();
        let Some(entry) = first.filter(|e| e.plain) else { return Ok(None) };
        let mut leaves = Given::with_capacity(entry.leaves.len());
        let matches = entry.args.matches(args.as_any(), &mut |object| {
            let leaf = Leaf::of(py, object)?;
            let fits = match entry.leaves.get(leaves.len()) {
                Some(kind) => leaf.is(kind)?,
                None => false,
            };
            leaves.push(leaf);
            Ok(fits)
        })?;
        if !matches || leaves.len() != entry.leaves.len() || !entry.watch.holds(py)? {
            return Ok(None);
        }
        Ok(Some((entry, leaves)))
    }

    /// The entry that this call fits, moved to the front.
    fn find(&self, py: Python<'_>, call: &Call<'_>) -> PyResult<Option<Arc<Entry>>> {
        // comparing may run Python code: not under the lock
        let first = locked(&self.entries).first().cloned();
        let Some(first) = first else { return Ok(None) };
        if first.fits(py, call)? {
            return Ok(Some(first));
        }
        drop(first);
        let rest: Vec<Arc<Entry>> = locked(&self.entries).iter().skip(1).cloned().collect();
        for e in rest {
            if e.fits(py, call)? {
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
        let mut called = Vec::new();
        let (entry, call) = match self.recent(py, args, kwargs)? {
            Some((entry, leaves)) => (Some((entry, leaves)), None),
            None => {
                let mut call = self.take(py, args, kwargs)?;
                let entry = self.find(py, &call)?;
                (entry.map(|e| (e, std::mem::take(&mut call.leaves))), Some(call))
            }
        };
        let (entry, leaves) = match entry {
            Some((entry, leaves)) => {
                let replay = locked(&entry.replay).clone();
                match replay.run(py, &leaves)? {
                    End::Values(out) => {
                        self.hits.fetch_add(1, Ordering::Relaxed);
                        return Ok(out);
                    }
                    End::Unknown(line, done) => {
                        called = done;
                        if replay.variants >= MAX_VARIANTS {
                            entry.warn(py, f, line)?;
                            return Ok(f.call(args, kwargs)?.unbind());
                        }
                        (Some(entry), Some(leaves))
                    }
                }
            }
            None => (None, None),
        };
        let mut call = match call {
            Some(call) => call,
            None => self.take(py, args, kwargs)?,
        };
        if let Some(leaves) = leaves {
            call.leaves = leaves;
        }
        self.recordings.fetch_add(1, Ordering::Relaxed);
        let (recorder, output, values) = self.record(py, &call, called)?;
        if self.check {
            let (again, _, _) = self.record(py, &call, Vec::new())?;
            recorder.compare(&again).map_err(PyValueError::new_err)?;
        }
        let result = output_of(py, &output, values)?;
        log_recording(f, &call, &recorder);
        let entry = match entry {
            Some(e) => e,
            None => {
                let plain = self.static_argnums.is_empty() && call.keywords.is_none() && call.args.is_plain();
                let e = Arc::new(Entry {
                    plain,
                    args: call.args,
                    keywords: call.keywords,
                    leaves: call.leaves.iter().map(Leaf::kind).collect(),
                    watch: Watch::of(f, &recorder.arrays(py))?,
                    replay: Mutex::default(),
                    warned: Mutex::new(false),
                });
                let old = {
                    let mut entries = locked(&self.entries);
                    entries.insert(0, e.clone());
                    if entries.len() > MAX_ENTRIES { entries.pop() } else { None }
                };
                drop(old);
                e
            }
        };
        // comparing calls of the host may run Python code: not under the lock
        let known = locked(&entry.replay).clone();
        let new = Arc::new(known.with(py, &recorder, output));
        drop(known);
        let old = std::mem::replace(&mut *locked(&entry.replay), new);
        drop(old);
        Ok(result)
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
                Leaf::Traced(data, weak) => {
                    let (value, shape, dtype) = match data {
                        Data::Lent(a, ..) => match convert::lend(a)? {
                            Some((value, shape, dtype, loan)) => {
                                loans.push(loan);
                                (value, shape, dtype)
                            }
                            None => convert::copy_in(py, a)?,
                        },
                        Data::Owned(v, d, s) => (v.clone(), s.clone(), *d),
                    };
                    let node = {
                        let mut state = trace.lock()?;
                        let node = state.tape.param(value, shape, dtype).or_raise(py)?;
                        if let Some(r) = &mut state.recorder {
                            r.argument(node, k);
                        }
                        node
                    };
                    wrap_argument(py, &trace, node, *weak)?.into_any()
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

fn output_of(py: Python<'_>, output: &Output, values: Vec<Option<Value>>) -> PyResult<Py<PyAny>> {
    let mut leaves: SmallVec<[Py<PyAny>; 8]> = SmallVec::with_capacity(output.leaves.len());
    for (o, v) in output.leaves.iter().zip(values) {
        leaves.push(match (o, v) {
            (Out::Value { shape, dtype, .. }, Some(v)) => convert::export(py, v, shape, *dtype)?,
            (Out::Object(o), _) => fresh(o.bind(py))?,
            _ => return Err(PyRuntimeError::new_err("a result without value")),
        });
    }
    output.tree.unflatten(py, &mut leaves.into_iter())
}

impl Entry {
    fn fits(&self, py: Python<'_>, call: &Call<'_>) -> PyResult<bool> {
        if self.leaves.len() != call.leaves.len() || !self.args.same(py, &call.args)? {
            return Ok(false);
        }
        match (&self.keywords, &call.keywords) {
            (None, None) => {}
            (Some(a), Some(b)) if a.same(py, b)? => {}
            _ => return Ok(false),
        }
        for (leaf, kind) in call.leaves.iter().zip(&self.leaves) {
            if !leaf.is(kind)? {
                return Ok(false);
            }
        }
        self.watch.holds(py)
    }

    /// Says once that the recordings of this signature have grown too many.
    fn warn(&self, py: Python<'_>, f: &Bound<'_, PyAny>, line: Option<String>) -> PyResult<()> {
        if std::mem::replace(&mut *locked(&self.warned), true) {
            return Ok(());
        }
        let message = format!(
            "{} has been recorded {MAX_VARIANTS} times for one signature, because what Python sees of a traced value at {} keeps \
             changing; further values run without jit. Use np.where instead of if, or a loop of fixed length",
            describe(f),
            line.as_deref().unwrap_or("an unknown line")
        );
        let message = std::ffi::CString::new(message).map_err(|e| PyValueError::new_err(e.to_string()))?;
        PyErr::warn(py, &py.get_type::<PerformanceWarning>(), &message, 1)
    }
}

impl Replay {
    fn run(&self, py: Python<'_>, leaves: &[Leaf<'_>]) -> PyResult<End> {
        // arrays that the function holds, copied where they cannot be read in place
        let mut held = Vec::with_capacity(self.held.len());
        for h in &self.held {
            held.push(match Leaf::of(py, h.bind(py))? {
                Leaf::Traced(data, _) => data,
                Leaf::Static(_) => return Err(PyRuntimeError::new_err("a held array that is none")),
            });
        }
        let mut computed: Vec<Value> = Vec::new();
        let mut called: Vec<PyResult<Vec<Value>>> = Vec::new();
        let mut at = 0;
        let mut line = None;
        loop {
            let Some(step) = self.steps.get(at) else { return Ok(End::Unknown(line, called)) };
            let (action, children) = match step {
                Step::Return(output) => {
                    let mut values = Vec::with_capacity(output.leaves.len());
                    for leaf in &output.leaves {
                        values.push(match leaf {
                            Out::Object(_) => None,
                            Out::Value { source: Source::Computed(k), last: true, .. } => {
                                Some(std::mem::replace(&mut computed[*k], Value::Scalar(0)))
                            }
                            Out::Value { source, .. } => Some(match source {
                                Source::Computed(k) => computed[*k].clone(),
                                Source::Constant(v) => v.clone(),
                                Source::Argument(k) => match &leaves[*k] {
                                    Leaf::Traced(d, _) => d.value(py)?,
                                    Leaf::Static(_) => return Err(PyRuntimeError::new_err("a static leaf as a value")),
                                },
                                Source::Held(k) => held[*k].value(py)?,
                            }),
                        });
                    }
                    return output_of(py, output, values).map(End::Values);
                }
                Step::Do { action, children, line: l } => {
                    if l.is_some() {
                        line.clone_from(l);
                    }
                    (action, children)
                }
            };
            let outcome = match action {
                Action::Run { plan, params } => {
                    let mut given: SmallVec<[Param<'_>; 8]> = SmallVec::with_capacity(params.len());
                    for (s, bytes) in params.iter().zip(plan.param_bytes()) {
                        given.push(match s {
                            Source::Computed(k) => Param::of(&computed[*k], bytes),
                            Source::Constant(v) => Param::of(v, bytes),
                            Source::Held(k) => held[*k].param(),
                            Source::Argument(k) => match &leaves[*k] {
                                Leaf::Traced(d, _) => d.param(),
                                Leaf::Static(_) => return Err(PyRuntimeError::new_err("a static leaf as a parameter")),
                            },
                        });
                    }
                    let result = if plan.is_long() { py.detach(|| plan.run(&given)) } else { plan.run(&given) };
                    drop(given);
                    match result {
                        Ok(values) => {
                            computed.extend(values);
                            Outcome::Done
                        }
                        Err(
                            e @ (mlgrad_core::Error::Memory(_)
                            | mlgrad_core::Error::Interrupted
                            | mlgrad_core::Error::Internal(_)),
                        ) => return Err(raise(py, e)),
                        Err(_) => Outcome::Raised,
                    }
                }
                Action::Call { host, params } => {
                    let mut inputs = Vec::with_capacity(params.len());
                    for (s, (shape, dtype)) in params.iter().zip(host.inputs()) {
                        let value = match s {
                            Source::Computed(k) => computed[*k].clone(),
                            Source::Constant(v) => v.clone(),
                            Source::Held(k) => held[*k].value(py)?,
                            Source::Argument(k) => match &leaves[*k] {
                                Leaf::Traced(d, _) => d.value(py)?,
                                Leaf::Static(_) => return Err(PyRuntimeError::new_err("a static leaf as an argument")),
                            },
                        };
                        inputs.push((value, shape.clone(), *dtype));
                    }
                    let done = host.evaluate(&inputs).or_raise(py);
                    let outcome = if done.is_ok() { Outcome::Done } else { Outcome::Raised };
                    computed.extend(done.iter().flatten().cloned());
                    called.push(done);
                    outcome
                }
                Action::Read { source, dtype } => Outcome::Bits(match source {
                    Source::Computed(k) => computed[*k].first(*dtype),
                    Source::Constant(v) => v.first(*dtype),
                    Source::Held(k) => held[*k].value(py)?.first(*dtype),
                    Source::Argument(k) => match &leaves[*k] {
                        Leaf::Traced(d, _) => d.value(py)?.first(*dtype),
                        Leaf::Static(_) => return Err(PyRuntimeError::new_err("a static leaf as a guard")),
                    },
                }),
            };
            match children.iter().find(|(o, _)| *o == outcome) {
                Some(&(_, next)) => at = next,
                None => return Ok(End::Unknown(line, called)),
            }
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
        let variants: usize = entries.iter().map(|e| locked(&e.replay).variants).sum();
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
            let replay = locked(&e.replay).clone();
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
