//! A piece of one tape, planted on another.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Inputs, Node, NodeId, Tape};
use crate::ops::{Op, Project};
use crate::{Error, Result};

/// Nodes in an order in which they can be planted; those with a value have no inputs.
pub struct Cutting {
    nodes: Vec<(NodeId, Node)>,
    outputs: Vec<NodeId>,
}

impl Tape {
    /// What `outputs` are made of, down to known values and `given` nodes.
    pub fn cutting(&self, outputs: &[NodeId], given: &[NodeId]) -> Cutting {
        let given: FxHashSet<NodeId> = given.iter().copied().collect();
        let mut seen = FxHashSet::default();
        let mut stack = outputs.to_vec();
        while let Some(x) = stack.pop() {
            if given.contains(&x) || !seen.insert(x) {
                continue;
            }
            let n = self.node(x);
            if n.value.is_none() {
                stack.extend_from_slice(&n.inputs);
            }
        }
        let mut order: Vec<NodeId> = seen.into_iter().collect();
        order.sort_unstable();
        let nodes = order.into_iter().map(|x| (x, self.node(x).clone())).collect();
        Cutting { nodes, outputs: outputs.to_vec() }
    }

    /// The outputs of a cutting on this tape, with these nodes for the given ones.
    pub fn plant(
        &mut self,
        cutting: Cutting,
        given: impl IntoIterator<Item = (NodeId, NodeId)>,
    ) -> Result<Vec<NodeId>> {
        let mut place: FxHashMap<NodeId, NodeId> = given.into_iter().collect();
        let missing = || Error::Internal("a node without value was cut off".into());
        for (x, n) in cutting.nodes {
            let new = if let Some(value) = n.value {
                self.param(value, n.shape, n.dtype)?
            } else {
                let inputs: Option<Inputs> = n.inputs.iter().map(|i| place.get(i).copied()).collect();
                let inputs = inputs.filter(|i| !i.is_empty() || !matches!(n.op, Op::Leaf(crate::ops::Leaf::Param)));
                let inputs = inputs.ok_or_else(missing)?;
                match n.op {
                    Op::Project(Project(k)) => self.results(inputs[0])[k as usize],
                    op if op.tuple().is_some() => self.push_tuple(op, &inputs)?.0,
                    op => self.push(op, &inputs, n.shape, n.dtype)?,
                }
            };
            place.insert(x, new);
        }
        cutting.outputs.iter().map(|o| place.get(o).copied().ok_or_else(missing)).collect()
    }
}
