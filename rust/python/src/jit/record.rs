//! What is written down while a jitted function is recorded: which plans ran on what, and what Python looked at.

use std::collections::VecDeque;
use std::sync::Arc;

use mlgrad_core::ops::Host;
use mlgrad_core::plan::Plan;
use mlgrad_core::tape::{DType, NodeId, Value};
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use rustc_hash::FxHashMap;

use super::Expected;

/// Where a replay finds a value.
#[derive(Clone, Debug)]
pub enum Source {
    /// A numeric leaf of the arguments.
    Argument(usize),
    /// An array that the function holds, read anew.
    Held(usize),
    /// A value that is the same at every replay.
    Constant(Value),
    /// What an earlier plan of the same replay has computed.
    Computed(usize),
}

/// One step of a replay, in recording order.
#[derive(Clone)]
pub enum Action {
    /// Runs a plan; its results are the next computed values.
    Run { plan: Arc<Plan>, params: Vec<Source> },
    /// Calls the host; its results are the next computed values.
    Call { host: Host, params: Vec<Source> },
    /// Python saw this value.
    Read { source: Source, dtype: DType },
}

/// How a step came out: another outcome leads to another recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Raised,
    Bits(u64),
}

/// See the module.
#[derive(Default)]
pub struct Recorder {
    /// Each step with its outcome, and for a guard the line of Python that looked.
    pub steps: Vec<(Action, Outcome, Option<String>)>,
    sources: FxHashMap<NodeId, Source>,
    pub held: Vec<(NodeId, Py<PyAny>)>,
    /// The content of a held array that the function itself has overwritten since: it is a constant of the recording.
    pub frozen: Vec<Option<Value>>,
    computed: usize,
    /// What is to be looked at when something runs next.
    pub expected: Vec<Expected>,
    /// What calls of the host came to in a replay that this recording takes over from.
    pub replayed: VecDeque<PyResult<Vec<Value>>>,
}

impl Recorder {
    pub fn argument(&mut self, node: NodeId, k: usize) {
        self.sources.insert(node, Source::Argument(k));
    }

    /// The arrays that replays read.
    pub fn arrays(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.held.iter().map(|(_, a)| a.clone_ref(py)).collect()
    }

    /// The node that stands for an array that was seen before.
    pub fn held_node(&self, array: &Bound<'_, PyUntypedArray>) -> Option<NodeId> {
        self.held.iter().rev().find(|(_, a)| a.is(array)).map(|(n, _)| *n)
    }

    pub fn hold(&mut self, node: NodeId, array: Py<PyAny>) {
        self.sources.insert(node, Source::Held(self.held.len()));
        self.held.push((node, array));
        self.frozen.push(None);
    }

    pub fn ran(&mut self, plan: &Arc<Plan>, params: &[NodeId], values: &[Value], outputs: &[NodeId], done: bool) {
        let params = params.iter().zip(values).map(|(&n, v)| self.source(n, v)).collect();
        let outcome = if done { Outcome::Done } else { Outcome::Raised };
        self.steps.push((Action::Run { plan: plan.clone(), params }, outcome, None));
        if done {
            self.computes(outputs);
        }
    }

    pub fn called(&mut self, host: &Host, params: &[NodeId], values: &[Value], results: &[NodeId], done: bool) {
        let params = params.iter().zip(values).map(|(&n, v)| self.source(n, v)).collect();
        let outcome = if done { Outcome::Done } else { Outcome::Raised };
        self.steps.push((Action::Call { host: host.clone(), params }, outcome, None));
        if done {
            self.computes(results);
        }
    }

    fn computes(&mut self, results: &[NodeId]) {
        for &n in results {
            self.sources.insert(n, Source::Computed(self.computed));
            self.computed += 1;
        }
    }

    pub fn read(&mut self, node: NodeId, dtype: DType, bits: u64, line: Option<String>) {
        let source = self.source(node, &Value::Scalar(bits));
        if matches!(source, Source::Constant(_)) {
            return;
        }
        self.steps.push((Action::Read { source, dtype }, Outcome::Bits(bits), line));
    }

    /// Where the value of a known node comes from.
    pub fn source(&self, node: NodeId, value: &Value) -> Source {
        self.sources.get(&node).cloned().unwrap_or_else(|| Source::Constant(value.clone()))
    }

    /// What differs in another recording of the same function on the same arguments.
    pub fn compare(&self, other: &Recorder) -> Result<(), String> {
        let different = |what: &str| {
            Err(format!(
                "jit(check=True): two recordings of the function differ in {what}; it draws random numbers, reads a clock, or \
                 changes state that it uses. Pass such values as arguments"
            ))
        };
        if self.steps.len() != other.steps.len() {
            return different("the number of steps");
        }
        for ((a, x, line), (b, y, _)) in self.steps.iter().zip(&other.steps) {
            if x != y {
                return different(&format!("what is seen at {}", line.as_deref().unwrap_or("a guard")));
            }
            match (a, b) {
                (Action::Run { plan: p, params: u }, Action::Run { plan: q, params: v }) => {
                    if !Arc::ptr_eq(p, q) {
                        return different("the operations");
                    }
                    if u.len() != v.len() || !u.iter().zip(v).all(|(a, b)| same_source(a, b)) {
                        return different("the constants");
                    }
                }
                (Action::Call { host: h, params: u }, Action::Call { host: g, params: v }) => {
                    if !h.same(g) {
                        return different("the calls of the host");
                    }
                    if u.len() != v.len() || !u.iter().zip(v).all(|(a, b)| same_source(a, b)) {
                        return different("the constants");
                    }
                }
                (Action::Read { .. }, Action::Read { .. }) => {}
                _ => return different("the order of steps"),
            }
        }
        Ok(())
    }
}

/// Whether a replay finds the same value in both.
pub fn same_source(a: &Source, b: &Source) -> bool {
    match (a, b) {
        (Source::Argument(i), Source::Argument(j))
        | (Source::Held(i), Source::Held(j))
        | (Source::Computed(i), Source::Computed(j)) => i == j,
        (Source::Constant(Value::Scalar(x)), Source::Constant(Value::Scalar(y))) => x == y,
        (Source::Constant(Value::Array(x)), Source::Constant(Value::Array(y))) => {
            Arc::ptr_eq(x, y) || x.as_slice::<u8>() == y.as_slice::<u8>()
        }
        _ => false,
    }
}
