//! A trace: the tape of one outermost transform (or of a `Tape`), and what is being learned while it is recorded.
//!
//! Invariants:
//! - no Python code runs, and no Python object is dropped, while the lock of a trace is held;
//! - the traces that are open on a thread are a stack, popped on every exit.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlgrad_core::plan::{self, Answer, Plan, Ran, Recipe};
use mlgrad_core::tape::DType;
use mlgrad_core::tape::{NodeId, Shape, Tape, Value};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::convert;
use crate::debug;
use crate::error::OrRaise;
use crate::jit::Recorder;
use crate::lines::Lines;

/// See the module.
pub struct Trace {
    thread: u64,
    state: Mutex<State>,
    /// Whether this is the recording of a jitted function.
    pub jit: bool,
    /// Whether the user's line of each node is kept.
    pub keeps_lines: bool,
}

/// What the lock guards.
pub struct State {
    pub tape: Tape,
    /// The outermost transform has returned: handles are dead.
    pub over: bool,
    sealed: bool,
    /// Under jit: how each value was come by.
    pub recorder: Option<Box<Recorder>>,
    /// The leaves of a `Tape`, with what has been accumulated for them.
    pub gradients: FxHashMap<NodeId, Option<NodeId>>,
    pub lines: Option<Box<Lines>>,
    /// The scopes of the loop bodies that are being recorded, one in the other.
    pub loops: Vec<u32>,
}

/// A number of its own for each thread; cheaper than `std::thread::current`, which counts references.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static MINE: Cell<u64> = const { Cell::new(0) };
    }
    MINE.with(|mine| {
        if mine.get() == 0 {
            mine.set(NEXT.fetch_add(1, Relaxed));
        }
        mine.get()
    })
}

thread_local! {
    static OPEN: RefCell<Vec<Option<Arc<Trace>>>> = const { RefCell::new(Vec::new()) };
}

/// Takes the trace off the stack when the transform is left, however it is left.
pub struct Opened;

impl Drop for Opened {
    fn drop(&mut self) {
        // the trace may own Python objects: it is dropped after the borrow has ended
        let last = OPEN.with(|open| open.borrow_mut().pop());
        drop(last);
    }
}

impl Trace {
    pub fn new(jit: bool) -> Arc<Trace> {
        Trace::with(jit, false)
    }

    /// A trace that keeps the user's line of each node, which costs some microseconds a call.
    pub fn with_lines() -> Arc<Trace> {
        Trace::with(false, true)
    }

    fn with(jit: bool, lines: bool) -> Arc<Trace> {
        let keeps_lines = lines || debug::is_on();
        // made in place, as it is large
        let mut trace = Arc::new(Trace {
            thread: this_thread(),
            state: Mutex::new(State {
                tape: Tape::default(),
                over: false,
                sealed: false,
                recorder: None,
                gradients: FxHashMap::default(),
                lines: None,
                loops: Vec::new(),
            }),
            jit,
            keeps_lines,
        });
        if let Some(trace) = Arc::get_mut(&mut trace) {
            let state = trace.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            state.tape.begin();
            if jit {
                // a replay never sees another number
                state.tape.make_numbers_literal();
                state.recorder = Some(Box::default());
            }
            if keeps_lines {
                state.tape.keep_causes();
                state.lines = Some(Box::default());
            }
        }
        trace
    }

    /// The innermost trace that is open on this thread.
    pub fn current() -> Option<Arc<Trace>> {
        OPEN.with(|open| open.borrow().last().cloned().flatten())
    }

    /// Makes none the current trace until the result is dropped: for code on the host that is not part of what is recorded.
    pub fn hide() -> Opened {
        OPEN.with(|open| open.borrow_mut().push(None));
        Opened
    }

    /// Makes this the current trace until the result is dropped.
    pub fn open(self: &Arc<Trace>) -> Opened {
        OPEN.with(|open| open.borrow_mut().push(Some(self.clone())));
        Opened
    }

    /// The state, for a handle: refused where the trace is over or belongs to another thread.
    pub fn lock(&self) -> PyResult<MutexGuard<'_, State>> {
        let state = self.access();
        if state.over || state.sealed {
            return Err(PyRuntimeError::new_err(
                "this mlgrad.Array escaped: the transform (grad, vjp, jit, …) that it was made in has returned. Return the value \
                 from the transformed function (has_aux=True for extra outputs) instead of storing the Array",
            ));
        }
        if self.thread != this_thread() {
            return Err(PyRuntimeError::new_err(
                "this mlgrad.Array is used in another thread than the one that made it; call the transform inside that thread, or \
                 pass NumPy arrays between threads",
            ));
        }
        Ok(state)
    }

    /// The state whoever asks: for transforms that outlive their function, and for handles that are dropped.
    pub fn access(&self) -> MutexGuard<'_, State> {
        // a panic never happens halfway through a change of the tape, which is append-only
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function has returned, but the transform goes on: handles are dead, the tape lives.
    pub fn seal(&self) {
        self.access().sealed = true;
    }

    /// Ends the trace and frees its tape.
    pub fn close(&self) {
        let remains = {
            let mut state = self.access();
            state.over = true;
            state.gradients.clear();
            (state.recorder.take(), state.tape.end())
        };
        drop(remains);
        crate::grave::bury();
    }

    /// A handle was made for `node`.
    pub fn retain(state: &mut State, node: NodeId) {
        state.tape.node_mut(node).handles += 1;
    }

    /// A handle for `node` was dropped.
    pub fn release(&self, node: NodeId) {
        let mut state = self.access();
        if !state.over {
            state.tape.node_mut(node).handles -= 1;
        }
    }

    /// Computes `nodes`, and keeps them and whatever of their ancestors is worth it.
    pub fn evaluate(&self, py: Python<'_>, nodes: &[NodeId]) -> PyResult<()> {
        self.compute(py, nodes, false).map(drop)
    }

    /// Computes `nodes` as the last thing that this tape is for: nothing else is kept.
    pub fn finish(&self, py: Python<'_>, nodes: &[NodeId]) -> PyResult<()> {
        self.compute(py, nodes, true).map(drop)
    }

    /// The values of the nodes that `derive` makes of a complete recording, as the last thing that this tape is for.
    /// Together with the tape `question` says all that they depend on: what was done for it once is remembered.
    pub fn solve(
        self: &Arc<Trace>,
        py: Python<'_>,
        question: impl IntoIterator<Item = u64>,
        derive: impl FnOnce(&Arc<Trace>) -> PyResult<Vec<NodeId>>,
    ) -> PyResult<Vec<Answer>> {
        // where each evaluation is to be looked at, nothing is taken from memory
        let key = if self.jit || debug::is_on() { None } else { self.lock()?.tape.key(question) };
        if let Some((recipe, plan)) = key.and_then(plan::recall)
            && let Some(answers) = self.follow(py, &recipe, plan.as_deref())?
        {
            return Ok(answers);
        }
        let recorded = self.lock()?.tape.len();
        let wanted = derive(self)?;
        let ran = self.compute(py, &wanted, true)?;
        let state = self.access();
        if let Some(key) = key
            && let Some(recipe) = Recipe::new(&state.tape, recorded, &wanted, ran.as_ref())
        {
            plan::remember(key, recipe);
        }
        let answer = |&n: &NodeId| {
            let n = state.tape.node(n);
            Ok((known(n.value.clone())?, n.shape.clone(), n.dtype))
        };
        wanted.iter().map(answer).collect()
    }

    /// What a recipe gives on this tape; `None` if the tape does not have what it takes.
    fn follow(&self, py: Python<'_>, recipe: &Recipe, plan: Option<&Plan>) -> PyResult<Option<Vec<Answer>>> {
        let results = match plan {
            None => Vec::new(),
            // the values are read in place, under the lock, where nothing can look for signals meanwhile
            Some(plan) if plan.is_brief() => {
                let state = self.access();
                let Some(params) = recipe.params(&state.tape, plan) else { return Ok(None) };
                let answers = plan.run(&params).map(|results| recipe.answers(&state.tape, results));
                drop(params);
                drop(state);
                return answers.or_raise(py);
            }
            Some(plan) => {
                let Some(values) = recipe.values(&self.access().tape) else { return Ok(None) };
                run(py, plan, &values).or_raise(py)?
            }
        };
        Ok(recipe.answers(&self.access().tape, results))
    }

    /// Says what ran, if anything had to.
    fn compute(&self, py: Python<'_>, nodes: &[NodeId], exact: bool) -> PyResult<Option<Ran>> {
        let mut nodes: SmallVec<[NodeId; 4]> = nodes.into();
        let (ran, values) = {
            let state = self.access();
            if !exact && nodes.iter().all(|&n| state.tape.node(n).value.is_some()) {
                return Ok(None);
            }
            if let Some(recorder) = &state.recorder {
                nodes.extend(recorder.expected.iter().flat_map(|e| e.nodes));
            }
            if nodes.iter().all(|&n| state.tape.node(n).value.is_some()) {
                drop(state);
                return self.meet(py).map(|()| None);
            }
            let ran = plan::plan_of(&state.tape, &nodes, !exact).or_raise(py)?;
            let mut values: SmallVec<[Value; 8]> = SmallVec::with_capacity(ran.params.len());
            for &p in &ran.params {
                values.push(known(state.tape.node(p).value.clone())?);
            }
            (ran, values)
        };
        let nodes = nodes.as_slice();
        let result = run(py, &ran.plan, &values);
        if let (true, Ok(results)) = (debug::is_on(), &result) {
            self.check_results(py, nodes, exact, &values, results)?;
        }
        let mut state = self.access();
        if let Some(recorder) = &mut state.recorder {
            recorder.ran(&ran.plan, &ran.params, &values, &ran.outputs, result.is_ok());
        }
        let results = match result {
            Ok(r) => r,
            Err(e) => {
                drop(state);
                return Err(crate::error::raise(py, e));
            }
        };
        for (&node, value) in ran.outputs.iter().zip(results) {
            state.tape.set_value(node, value);
            state.tape.release(node);
        }
        drop(state);
        self.meet(py)?;
        Ok(Some(ran))
    }

    /// The bits of an array of one element. Under jit this is a guard: another value there means another recording.
    pub fn bits(&self, py: Python<'_>, node: NodeId) -> PyResult<u64> {
        let dtype = self.access().tape.dtype(node);
        if self.jit && dtype.is_inexact() {
            return Err(PyTypeError::new_err(format!(
                "a {dtype} value cannot leave a jitted function while it is recorded; keep it an Array, or hand it to Python with \
                 mlgrad.pure_callback"
            )));
        }
        self.evaluate(py, &[node])?;
        let line = if self.jit { current_line(py)? } else { None };
        let mut state = self.access();
        let bits = match &state.tape.node(node).value {
            Some(v) => v.first(dtype),
            None => return Err(PyRuntimeError::new_err("a value that was not computed")),
        };
        if let Some(recorder) = &mut state.recorder {
            recorder.read(node, dtype, bits, line);
        }
        Ok(bits)
    }

    /// An ndarray that the function holds. Copied, since it may change; under jit also held and read again at each replay.
    pub fn constant(&self, py: Python<'_>, array: &Bound<'_, PyUntypedArray>) -> PyResult<NodeId> {
        if !self.jit {
            let (value, shape, dtype) = convert::copy_in(py, array)?;
            return self.lock()?.tape.param(value, shape, dtype).or_raise(py);
        }
        let known = match &self.lock()?.recorder {
            Some(r) => r.held_node(array),
            None => None,
        };
        let (value, shape, dtype) = convert::copy_in(py, array)?;
        // under jit an array that has not changed since it was held stays one parameter
        if let Some(node) = known
            && same_content(&self.access().tape, node, &value, dtype)
        {
            return Ok(node);
        }
        let held = array.clone().into_any().unbind();
        let mut state = self.lock()?;
        let node = state.tape.param(value, shape, dtype).or_raise(py)?;
        if let Some(recorder) = &mut state.recorder {
            recorder.hold(node, held);
        }
        Ok(node)
    }
}

impl Trace {
    /// Under jit: held arrays that the function has overwritten since they were recorded become constants, for a replay
    /// does not overwrite them.
    pub fn freeze_overwritten(&self, py: Python<'_>) -> PyResult<()> {
        let held: Vec<(NodeId, Py<PyAny>)> = match &self.access().recorder {
            Some(r) => r.held.iter().map(|(n, a)| (*n, a.clone_ref(py))).collect(),
            None => return Ok(()),
        };
        for (k, (node, array)) in held.iter().enumerate() {
            let (now, _, dtype) = convert::copy_in(py, array.bind(py).cast::<PyUntypedArray>()?)?;
            let mut state = self.access();
            let changed = !same_content(&state.tape, *node, &now, dtype)
                || held[k + 1..].iter().any(|(_, later)| later.is(array));
            if changed {
                let value = state.tape.node(*node).value.clone();
                if let Some(r) = &mut state.recorder {
                    r.frozen[k] = value;
                }
            }
        }
        Ok(())
    }
}

fn same_content(tape: &Tape, node: NodeId, value: &Value, dtype: DType) -> bool {
    let bytes = mlgrad_core::tape::shape::size(tape.shape(node)) * dtype.size();
    match (&tape.node(node).value, value) {
        (Some(Value::Scalar(a)), Value::Scalar(b)) => tape.dtype(node) == dtype && a == b,
        (Some(Value::Array(a)), Value::Array(b)) => {
            tape.dtype(node) == dtype && a.as_slice::<u8>()[..bytes] == b.as_slice::<u8>()[..bytes]
        }
        _ => false,
    }
}

/// Runs a plan, without the interpreter where it takes long enough to matter.
pub fn run(py: Python<'_>, plan: &Plan, values: &[Value]) -> mlgrad_core::Result<Vec<Value>> {
    let params = plan.params_of(values);
    if plan.is_long() { py.detach(|| plan.run(&params)) } else { plan.run(&params) }
}

/// The dtype and shape of a node.
pub fn meta(state: &State, node: NodeId) -> (Shape, DType) {
    (state.tape.shape(node).clone(), state.tape.dtype(node))
}

/// The line of Python that is being run, for messages.
pub fn current_line(py: Python<'_>) -> PyResult<Option<String>> {
    // there is no frame below when the call came from outside Python
    let Ok(frame) = py.import("sys")?.call_method1("_getframe", (0,)) else { return Ok(None) };
    let file: String = frame.getattr("f_code")?.getattr("co_filename")?.extract()?;
    let line: u32 = frame.getattr("f_lineno")?.extract()?;
    Ok(Some(format!("{file}:{line}")))
}

/// A value that has been computed.
pub fn known(value: Option<Value>) -> PyResult<Value> {
    value.ok_or_else(|| {
        PyRuntimeError::new_err("internal error in mlgrad, please report it: a value that was not computed")
    })
}
