//! The recordings of one signature: a tree of steps that branches where a guard came out differently.
//!
//! Invariant: the steps are taken in the order in which they were recorded, so nothing that comes after a guard has any
//! effect before the guard holds.

use mlgrad_core::tape::{DType, Shape};
use pyo3::prelude::*;

use super::record::{Action, Outcome, Recorder, Source, same_source};
use crate::tree::Tree;

/// A leaf of the result.
pub enum Out {
    Value {
        source: Source,
        shape: Shape,
        dtype: DType,
        last: bool,
    },
    /// What is not an Array comes back as it was.
    Object(Py<PyAny>),
}

/// The result of a recording: containers and leaves.
pub struct Output {
    pub tree: Tree,
    pub leaves: Vec<Out>,
}

pub enum Step {
    Do { action: Action, children: Vec<(Outcome, usize)>, line: Option<String> },
    Return(Output),
}

#[derive(Default)]
pub struct Replay {
    pub steps: Vec<Step>,
    pub held: Vec<Py<PyAny>>,
    pub variants: usize,
    /// Whether there is one recording, of one plan, each of whose results is returned once and in order.
    pub straight: bool,
}

fn same_action(a: &Action, b: &Action) -> bool {
    match (a, b) {
        (Action::Run { plan: p, params: x }, Action::Run { plan: q, params: y }) => {
            std::sync::Arc::ptr_eq(p, q) && x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same_source(a, b))
        }
        (Action::Call { host: p, params: x }, Action::Call { host: q, params: y }) => {
            p.same(q) && x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same_source(a, b))
        }
        (Action::Read { source: x, .. }, Action::Read { source: y, .. }) => same_source(x, y),
        _ => false,
    }
}

impl Replay {
    /// This tree with another recording in it. Where the recording does not share the tree's beginning (the function is not
    /// the same from call to call), it replaces the tree.
    pub fn with(&self, py: Python<'_>, recorder: &Recorder, output: Output) -> Replay {
        let mut new = self.clone_ref(py);
        match new.insert(py, recorder, output) {
            Ok(()) => new,
            Err(output) => {
                let mut fresh = Replay { variants: self.variants, ..Replay::default() };
                // an empty tree takes every recording
                let _taken = fresh.insert(py, recorder, output);
                fresh
            }
        }
    }

    fn insert(&mut self, py: Python<'_>, recorder: &Recorder, output: Output) -> Result<(), Output> {
        let mut held = Vec::with_capacity(recorder.held.len());
        for (_, array) in &recorder.held {
            held.push(match self.held.iter().position(|h| h.is(array)) {
                Some(k) => k,
                None => {
                    self.held.push(array.clone_ref(py));
                    self.held.len() - 1
                }
            });
        }
        let place = |s: &Source| match s {
            Source::Held(k) => match &recorder.frozen[*k] {
                Some(value) => Source::Constant(value.clone()),
                None => Source::Held(held[*k]),
            },
            other => other.clone(),
        };
        let steps = recorder.steps.iter().map(|(action, outcome, line)| {
            let action = match action {
                Action::Run { plan, params } => {
                    Action::Run { plan: plan.clone(), params: params.iter().map(place).collect() }
                }
                Action::Call { host, params } => {
                    Action::Call { host: host.clone(), params: params.iter().map(place).collect() }
                }
                Action::Read { source, dtype } => Action::Read { source: place(source), dtype: *dtype },
            };
            (action, *outcome, line.clone())
        });
        let mut at = if self.steps.is_empty() { None } else { Some(0) };
        // where the next new step is to be hung
        let mut hook: Option<(usize, Outcome)> = None;
        for (action, outcome, line) in steps {
            match at {
                Some(i) => {
                    let Step::Do { action: known, children, .. } = &self.steps[i] else { return Err(output) };
                    if !same_action(known, &action) {
                        return Err(output);
                    }
                    at = children.iter().find(|(o, _)| *o == outcome).map(|&(_, next)| next);
                    hook = Some((i, outcome));
                }
                None => {
                    let i = self.push(hook, Step::Do { action, children: Vec::new(), line });
                    hook = Some((i, outcome));
                }
            }
        }
        if at.is_some() {
            // the whole recording was there already
            return Err(output);
        }
        let mut output = output;
        for leaf in &mut output.leaves {
            if let Out::Value { source, .. } = leaf {
                *source = place(source);
            }
        }
        self.push(hook, Step::Return(output));
        self.variants += 1;
        self.straight = self.is_straight();
        Ok(())
    }

    fn is_straight(&self) -> bool {
        let [Step::Do { action: Action::Run { plan, .. }, .. }, Step::Return(output)] = self.steps.as_slice() else {
            return false;
        };
        let mut next = 0;
        let in_order = output.leaves.iter().all(|out| match out {
            Out::Value { source: Source::Computed(k), .. } => {
                next += 1;
                *k == next - 1
            }
            Out::Value { .. } => false,
            Out::Object(_) => true,
        });
        in_order && next == plan.outputs()
    }

    fn push(&mut self, hook: Option<(usize, Outcome)>, step: Step) -> usize {
        self.steps.push(step);
        let new = self.steps.len() - 1;
        if let Some((parent, outcome)) = hook
            && let Step::Do { children, .. } = &mut self.steps[parent]
        {
            children.push((outcome, new));
        }
        new
    }

    fn clone_ref(&self, py: Python<'_>) -> Replay {
        let leaf = |o: &Out| match o {
            Out::Value { source, shape, dtype, last } => {
                Out::Value { source: source.clone(), shape: shape.clone(), dtype: *dtype, last: *last }
            }
            Out::Object(o) => Out::Object(o.clone_ref(py)),
        };
        let step = |s: &Step| match s {
            Step::Do { action, children, line } => {
                Step::Do { action: action.clone(), children: children.clone(), line: line.clone() }
            }
            Step::Return(o) => {
                Step::Return(Output { tree: o.tree.clone_ref(py), leaves: o.leaves.iter().map(leaf).collect() })
            }
        };
        Replay {
            steps: self.steps.iter().map(step).collect(),
            held: self.held.iter().map(|h| h.clone_ref(py)).collect(),
            variants: self.variants,
            straight: self.straight,
        }
    }
}
