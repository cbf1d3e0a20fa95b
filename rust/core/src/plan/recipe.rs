//! Recipes: what came of a whole tape once, for the next tape with the same history.
//!
//! The derivative of a recording, its extraction and its plan follow from the structure of the tape. So the second time that a
//! function is recorded with the same structure, the walk is not taken and no program is made: the plan is known, and
//! which nodes of the tape it reads.

use std::sync::{Arc, Weak};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Param, Plan};
use crate::tape::{DType, NodeId, Shape, Tape, Value};

/// A parameter of the plan.
enum Given {
    /// The value of a node of the recording.
    Node(NodeId),
    /// A value that the walk brought with it: it is the same for every tape of this history.
    Value(Value),
}

/// Where a wanted value is found.
enum Found {
    /// Among the results of the plan; `last`: nobody else takes it from there.
    Output { k: usize, last: bool },
    /// It was known before anything ran.
    Given(Given),
}

/// See the module.
pub struct Recipe {
    /// Not kept alive by the recipe: plans are bounded in bytes where they are cached.
    plan: Option<Weak<Plan>>,
    params: Vec<Given>,
    wanted: Vec<(Found, Shape, DType)>,
}

/// A wanted value, with its shape and dtype.
pub type Answer = (Value, Shape, DType);

/// A plan, with the nodes of the tape that its parameters and outputs stand for.
pub struct Ran {
    pub plan: Arc<Plan>,
    pub params: Vec<NodeId>,
    pub outputs: Vec<NodeId>,
}

impl Recipe {
    /// What was done for the `wanted` nodes of a tape whose recording ended at the length `recorded`; without a plan where
    /// all of them were known.
    pub fn new(t: &Tape, recorded: usize, wanted: &[NodeId], ran: Option<&Ran>) -> Option<Recipe> {
        let given = |n: NodeId| match n.index() < recorded {
            true => Some(Given::Node(n)),
            false => t.node(n).value.clone().map(Given::Value),
        };
        // each output with whether it has been met, coming from the end
        let mut outputs: FxHashMap<NodeId, (usize, bool)> =
            ran.iter().flat_map(|r| &r.outputs).enumerate().map(|(k, &n)| (n, (k, false))).collect();
        let mut found = Vec::with_capacity(wanted.len());
        for &n in wanted.iter().rev() {
            let place = match outputs.get_mut(&n) {
                Some((k, met)) => Found::Output { k: *k, last: !std::mem::replace(met, true) },
                None => Found::Given(given(n)?),
            };
            found.push((place, t.shape(n).clone(), t.dtype(n)));
        }
        found.reverse();
        let params = ran.iter().flat_map(|r| &r.params).map(|&p| given(p)).collect::<Option<Vec<_>>>()?;
        Some(Recipe { plan: ran.map(|r| Arc::downgrade(&r.plan)), params, wanted: found })
    }

    /// The plan, if one has to run; `None` where it has been forgotten.
    pub fn plan(&self) -> Option<Option<Arc<Plan>>> {
        match &self.plan {
            None => Some(None),
            Some(plan) => plan.upgrade().map(Some),
        }
    }

    /// The plan's parameters on another tape of this history, `None` where one of them has no value.
    pub fn params<'a>(&'a self, t: &'a Tape, plan: &Plan) -> Option<SmallVec<[Param<'a>; 8]>> {
        let mut out = SmallVec::with_capacity(self.params.len());
        for (given, bytes) in self.params.iter().zip(plan.param_bytes()) {
            out.push(Param::of(given.value(t)?, bytes));
        }
        Some(out)
    }

    /// The same as values that outlive the tape.
    pub fn values(&self, t: &Tape) -> Option<Vec<Value>> {
        self.params.iter().map(|given| given.value(t).cloned()).collect()
    }

    /// The wanted values, from the results of the plan.
    pub fn answers(&self, t: &Tape, mut results: Vec<Value>) -> Option<Vec<Answer>> {
        let mut out = Vec::with_capacity(self.wanted.len());
        for (found, shape, dtype) in &self.wanted {
            let value = match found {
                Found::Output { k, last: true } => std::mem::replace(results.get_mut(*k)?, Value::Scalar(0)),
                Found::Output { k, last: false } => results.get(*k)?.clone(),
                Found::Given(given) => given.value(t)?.clone(),
            };
            out.push((value, shape.clone(), *dtype));
        }
        Some(out)
    }

    /// Rough size, without the plan.
    pub fn bytes(&self) -> usize {
        size_of::<Recipe>()
            + self.params.len() * size_of::<Given>()
            + self.wanted.len() * size_of::<(Found, Shape, DType)>()
    }
}

impl Given {
    fn value<'a>(&'a self, t: &'a Tape) -> Option<&'a Value> {
        match self {
            Given::Node(n) => t.node(*n).value.as_ref(),
            Given::Value(v) => Some(v),
        }
    }
}
