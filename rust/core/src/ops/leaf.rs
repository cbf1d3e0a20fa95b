//! Nodes that bring values in, and the two identities that transforms use.

use super::{Batch, Cotangents, Primitive, Reverse, Zeros, none};
use crate::tape::{NodeId, Tape};
use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// A value from outside, which a plan reads anew at each run.
    Param,
    /// One number everywhere, as bits of the node's dtype.
    Literal(u64),
    /// The index along an axis.
    Iota(u8),
    /// The identity matrix, as the unit vectors of a basis: the zeros beside its diagonal are structural.
    Eye,
    /// The argument of a transform: an identity that is not looked through while the transform is open.
    Alias,
    /// An identity that derivatives do not pass.
    Stop,
    /// An identity where structural zeros of a cotangent become numbers: what lies before it is not masked.
    Dense,
}

impl Primitive for Leaf {
    fn name(&self) -> &'static str {
        match self {
            Leaf::Param => "param",
            Leaf::Literal(_) => "literal",
            Leaf::Iota(_) => "iota",
            Leaf::Eye => "eye",
            Leaf::Alias => "alias",
            Leaf::Stop => "stop_gradient",
            Leaf::Dense => "dense",
        }
    }

    fn attributes(&self) -> String {
        match self {
            Leaf::Iota(axis) => format!("axis={axis}"),
            _ => String::new(),
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        Ok(match self {
            Leaf::Alias | Leaf::Dense => [Some(g.into())].into_iter().collect(),
            _ => none(r.t.inputs(node).len()),
        })
    }

    fn jvp(&self, _: &mut Tape, _: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        Ok(match self {
            Leaf::Alias | Leaf::Dense => tangents[0],
            _ => None,
        })
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        match self {
            Leaf::Alias => Ok(b.inputs[0].0),
            Leaf::Stop => t.stop_gradient(b.inputs[0].0),
            Leaf::Dense => t.dense(b.inputs[0].0),
            _ => Err(Error::Internal(format!("batching the leaf %{}", node.0))),
        }
    }

    fn zeros(&self) -> Zeros {
        match self {
            Leaf::Dense => Zeros::Stopped,
            _ => Zeros::Elementwise,
        }
    }
}
