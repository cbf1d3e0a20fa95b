//! where(condition, a, b), elementwise.

use super::{Batch, Cotangent, Cotangents, Op, Primitive, Reverse, Unary, Zeros};
use crate::tape::{DType, NodeId, Tape, shape};
use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Select;

impl Primitive for Select {
    fn name(&self) -> &'static str {
        "where"
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let c = r.t.input(node, 0);
        let mut out = super::none(3);
        for k in 1..3 {
            if !r.want(k) {
                continue;
            }
            out[k] = Some(if r.masks {
                let mask = if k == 1 { c } else { r.t.unary(Unary::LogicalNot, c)? };
                Cotangent { node: g, mask: Some(mask) }
            } else {
                let zero = r.t.lit_like(0.0, g)?;
                if k == 1 { r.t.select(c, g, zero)? } else { r.t.select(c, zero, g)? }.into()
            });
        }
        Ok(out)
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        if tangents[1].is_none() && tangents[2].is_none() {
            return Ok(None);
        }
        let c = t.input(node, 0);
        let zero = t.lit_like(0.0, node)?;
        Ok(Some(t.select(c, tangents[1].unwrap_or(zero), tangents[2].unwrap_or(zero))?))
    }

    fn batch(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<NodeId> {
        let (c, x, y) = (b.full(t, 0)?, b.full(t, 1)?, b.full(t, 2)?);
        t.select(c, x, y)
    }

    fn zeros(&self) -> Zeros {
        Zeros::Elementwise
    }
}

impl Tape {
    /// `a` where the bool `c` holds, else `b`; all of one shape.
    pub fn select(&mut self, c: NodeId, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.same("where", &[a, b])?;
        if self.dtype(c) != DType::Bool || self.shape(c) != self.shape(a) {
            return Err(Error::Internal(format!(
                "where on {}{} and {}",
                self.dtype(c),
                shape::show(self.shape(c)),
                shape::show(self.shape(a))
            )));
        }
        if a == b {
            return Ok(a);
        }
        if let Some(v) = self.literal_value(c) {
            return Ok(if v != 0.0 { a } else { b });
        }
        let (shape, dtype) = (self.shape(a).clone(), self.dtype(a));
        self.push(Op::Select(Select), &[c, a, b], shape, dtype)
    }
}
