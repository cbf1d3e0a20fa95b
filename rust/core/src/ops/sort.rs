//! Orders: integers that depend on values, without derivatives. Sorted values are a gather by them.

use super::{Batch, Cotangents, Primitive, Reverse, Zeros, none};
use crate::Result;
use crate::tape::{DType, NodeId, Tape};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sort {
    /// (x): the stable permutation that sorts along the last axis, nan last; int64.
    Argsort,
    /// (sorted: (n,), v): where v would go in; int64.
    Searchsorted { right: bool },
}

impl Primitive for Sort {
    fn name(&self) -> &'static str {
        match self {
            Sort::Argsort => "argsort",
            Sort::Searchsorted { .. } => "searchsorted",
        }
    }

    fn attributes(&self) -> String {
        match self {
            Sort::Argsort => String::new(),
            Sort::Searchsorted { right } => format!("right={right}"),
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, _: NodeId) -> Result<Cotangents> {
        Ok(none(r.t.inputs(node).len()))
    }

    fn jvp(&self, _: &mut Tape, _: NodeId, _: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        Ok(None)
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        match *self {
            Sort::Argsort => t.argsort(b.inputs[0].0),
            Sort::Searchsorted { right } => {
                let ((s, bs), (v, _)) = (b.inputs[0], b.inputs[1]);
                if !bs {
                    return t.searchsorted(s, v, right);
                }
                // the place is the number of elements that go before: compare each with each
                let v = b.full(t, 1)?;
                let n = t.shape(s)[1];
                let mut wide = t.shape(v).clone();
                wide.push(n);
                let mut narrow = t.shape(v).clone();
                narrow.push(1);
                let v = t.reshape(v, &narrow)?;
                let v = t.broadcast_to(v, &wide)?;
                let mut column: crate::tape::Shape = smallvec::SmallVec::from_elem(1, wide.len());
                column[0] = b.size;
                column[wide.len() - 1] = n;
                let s = t.reshape(s, &column)?;
                let s = t.broadcast_to(s, &wide)?;
                let op = if right { super::Binary::LessEqual } else { super::Binary::Less };
                let before = t.binary(op, s, v)?;
                let ones = t.cast(before, DType::I64)?;
                let y = t.sum(ones, &[wide.len() as u8 - 1])?;
                let mut to = t.shape(node).clone();
                to.insert(0, b.size);
                t.reshape(y, &to)
            }
        }
    }

    fn zeros(&self) -> Zeros {
        Zeros::Stopped
    }
}

impl Tape {
    pub fn argsort(&mut self, x: NodeId) -> Result<NodeId> {
        let to = self.shape(x).clone();
        self.push(Sort::Argsort.into(), &[x], to, DType::I64)
    }

    pub fn searchsorted(&mut self, sorted: NodeId, v: NodeId, right: bool) -> Result<NodeId> {
        let to = self.shape(v).clone();
        self.push(Sort::Searchsorted { right }.into(), &[sorted, v], to, DType::I64)
    }
}
