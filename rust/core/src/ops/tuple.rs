//! Operations with several results.
//!
//! A node has one shape and dtype. So such an operation is a node of its own that nobody computes with (shape (), bool), and
//! each of its results is a `Project` node with that node as its only input. The projects follow their tuple on the tape.

use super::{Batch, Cotangents, Op, Primitive, Reverse, Zeros};
use crate::tape::{DType, Inputs, NodeId, Shape, Tape};
use crate::{Error, Result};

/// What a family of operations with several results must say, in the place of `Primitive`.
pub trait Tuple {
    /// The name in messages and printed tapes.
    fn name(&self) -> &'static str;

    /// Static attributes as text.
    fn attributes(&self) -> String {
        String::new()
    }

    /// The shapes and dtypes of the results.
    fn results(&self, inputs: &[(Shape, DType)]) -> Result<Vec<(Shape, DType)>>;

    /// The first input that derivatives flow to.
    fn carried(&self) -> usize {
        0
    }

    /// The cotangents of the inputs, given those of the results (at least one is not `None`). Structural zeros have been
    /// applied.
    fn vjp_all(&self, r: &mut Reverse<'_>, node: NodeId, cotangents: &[Option<NodeId>]) -> Result<Cotangents>;

    /// The tangents of the results, given those of the inputs (at least one is not `None`).
    fn jvp_all(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>>;

    /// The results for a whole batch; of those with `true` it is the first axis, the others are the same for all of it.
    fn batch_all(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<Vec<(NodeId, bool)>>;
}

/// Result `k` of the operation that is the only input. The walks treat it together with that operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Project(pub u32);

fn alone(what: &str) -> Error {
    Error::Internal(format!("{what} of one result of an operation that has several"))
}

impl Primitive for Project {
    fn name(&self) -> &'static str {
        "result"
    }

    fn attributes(&self) -> String {
        self.0.to_string()
    }

    fn vjp(&self, _: &mut Reverse<'_>, _: NodeId, _: NodeId) -> Result<Cotangents> {
        Err(alone("vjp"))
    }

    fn jvp(&self, _: &mut Tape, _: NodeId, _: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        Err(alone("jvp"))
    }

    fn batch(&self, _: &mut Tape, _: NodeId, _: &Batch) -> Result<NodeId> {
        Err(alone("batch"))
    }

    fn zeros(&self) -> Zeros {
        Zeros::Stopped
    }
}

impl Tape {
    /// An operation with several results: its node, and those of the results.
    pub fn push_tuple(&mut self, op: Op, inputs: &[NodeId]) -> Result<(NodeId, Vec<NodeId>)> {
        let Some(rules) = op.tuple() else {
            return Err(Error::Internal(format!("{} has one result", op.name())));
        };
        let given: Vec<(Shape, DType)> = inputs.iter().map(|&x| (self.shape(x).clone(), self.dtype(x))).collect();
        let results = rules.results(&given)?;
        let start = self.len();
        let node = self.push(op, inputs, Shape::new(), DType::Bool)?;
        let mut projects = Vec::with_capacity(results.len());
        for (k, (shape, dtype)) in results.into_iter().enumerate() {
            match self.push(Op::Project(Project(k as u32)), &[node], shape, dtype) {
                Ok(p) => projects.push(p),
                Err(e) => {
                    self.truncate(start);
                    return Err(e);
                }
            }
        }
        Ok((node, projects))
    }

    /// The operation `node` on other inputs of the same shapes and dtypes: its node, followed by those of its results where
    /// it has several.
    pub fn copy(&mut self, node: NodeId, inputs: &[NodeId]) -> Result<Inputs> {
        let n = self.node(node);
        let (op, shape, dtype) = (n.op.clone(), n.shape.clone(), n.dtype);
        if op.tuple().is_none() {
            return Ok([self.push(op, inputs, shape, dtype)?].into_iter().collect());
        }
        let (tuple, results) = self.push_tuple(op, inputs)?;
        Ok([tuple].into_iter().chain(results).collect())
    }

    /// The results of an operation that has several.
    pub fn results(&self, tuple: NodeId) -> Inputs {
        (tuple.0 + 1..self.len() as u32)
            .map(NodeId)
            .take_while(|&p| matches!(self.op(p), Op::Project(_)) && self.input(p, 0) == tuple)
            .collect()
    }
}
