//! Conversion to another dtype, elementwise.

use super::{Batch, Cotangents, Op, Primitive, Reverse, Zeros, none};
use crate::tape::{DType, NodeId, Tape};
use crate::{Error, Result};

/// The target is the node's dtype.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cast;

impl Primitive for Cast {
    fn name(&self) -> &'static str {
        "astype"
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let from = r.t.dtype(r.t.input(node, 0));
        if from.is_inexact() && (r.t.dtype(node).is_inexact() || r.t.dtype(g) == DType::Bool) {
            let to = if r.t.dtype(g) == DType::Bool { DType::Bool } else { from };
            return Ok([Some(r.t.cast(g, to)?.into())].into_iter().collect());
        }
        Ok(none(1))
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let to = t.dtype(node);
        match tangents[0] {
            Some(g) if to.is_inexact() => Ok(Some(t.cast(g, to)?)),
            _ => Ok(None),
        }
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        let to = t.dtype(node);
        t.cast(b.inputs[0].0, to)
    }

    fn zeros(&self) -> Zeros {
        Zeros::Elementwise
    }
}

impl Tape {
    pub fn cast(&mut self, x: NodeId, to: DType) -> Result<NodeId> {
        let from = self.dtype(x);
        if from == to {
            return Ok(x);
        }
        if from.is_complex() || to.is_complex() {
            return Err(Error::Type(format!(
                "astype: {from} to {to} is not supported; split into real and imaginary parts"
            )));
        }
        let shape = self.shape(x).clone();
        if let Some(v) = self.literal_value(x)
            && v.abs() < 9e15
        {
            let v = match to {
                DType::Bool => (v != 0.0) as u8 as f64,
                _ if to.is_inexact() => v,
                _ => v.trunc(),
            };
            return self.literal(v, &shape, to);
        }
        self.push(Op::Cast(Cast), &[x], shape, to)
    }
}
