//! What is written down while a jitted function is recorded: which plans ran on what, and what Python looked at.

use std::sync::Arc;

use mlgrad_core::plan::Plan;
use mlgrad_core::tape::{DType, NodeId, Value};
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use rustc_hash::FxHashMap;

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
    pub steps: Vec<(Action, Outcome)>,
    sources: FxHashMap<NodeId, Source>,
    pub held: Vec<(NodeId, Py<PyAny>)>,
    computed: usize,
}

impl Recorder {
    pub fn argument(&mut self, node: NodeId, k: usize) {
        self.sources.insert(node, Source::Argument(k));
    }

    /// The node that stands for an array that was seen before.
    pub fn held_node(&self, array: &Bound<'_, PyUntypedArray>) -> Option<NodeId> {
        self.held.iter().rev().find(|(_, a)| a.is(array)).map(|(n, _)| *n)
    }

    pub fn hold(&mut self, node: NodeId, array: Py<PyAny>) {
        self.sources.insert(node, Source::Held(self.held.len()));
        self.held.push((node, array));
    }

    pub fn ran(&mut self, plan: &Arc<Plan>, params: &[NodeId], values: &[Value], outputs: &[NodeId], done: bool) {
        let params = params.iter().zip(values).map(|(&n, v)| self.source(n, v)).collect();
        let outcome = if done { Outcome::Done } else { Outcome::Raised };
        self.steps.push((Action::Run { plan: plan.clone(), params }, outcome));
        if done {
            for &n in outputs {
                self.sources.insert(n, Source::Computed(self.computed));
                self.computed += 1;
            }
        }
    }

    pub fn read(&mut self, node: NodeId, dtype: DType, bits: u64) {
        let source = self.source(node, &Value::Scalar(bits));
        if matches!(source, Source::Constant(_)) {
            return;
        }
        self.steps.push((Action::Read { source, dtype }, Outcome::Bits(bits)));
    }

    /// Where the value of a known node comes from.
    pub fn source(&self, node: NodeId, value: &Value) -> Source {
        self.sources.get(&node).cloned().unwrap_or_else(|| Source::Constant(value.clone()))
    }
}
