//! Matrix products with equal batch axes: (…, m, k) @ (…, k, n) -> (…, m, n).

use super::{Batch, Cotangents, Leaf, Movement, Op, Primitive, Reverse, Zeros, none};
use crate::tape::{NodeId, Shape, Tape, shape};
use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatMul;

impl Primitive for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let (a, b) = (r.t.input(node, 0), r.t.input(node, 1));
        let mut out = none(2);
        if r.want(0) {
            let bt = r.t.matrix_transpose(b)?;
            out[0] = Some(r.t.matmul(g, bt)?.into());
        }
        if r.want(1) {
            let at = r.t.matrix_transpose(a)?;
            out[1] = Some(r.t.matmul(at, g)?.into());
        }
        Ok(out)
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let (a, b) = (t.input(node, 0), t.input(node, 1));
        let first = tangents[0].map(|x| t.matmul(x, b)).transpose()?;
        let second = tangents[1].map(|x| t.matmul(a, x)).transpose()?;
        Ok(match (first, second) {
            (Some(x), Some(y)) => Some(t.add(x, y)?),
            (x, y) => x.or(y),
        })
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        let rank = t.rank(node);
        let [(x, bx), (y, by)] = [b.inputs[0], b.inputs[1]];
        if rank == 2 && bx && !by {
            // one large product instead of many
            let s = t.shape(x).clone();
            let flat = t.reshape(x, &[s[0] * s[1], s[2]])?;
            let p = t.matmul(flat, y)?;
            let n = t.shape(p)[1];
            return t.reshape(p, &[s[0], s[1], n]);
        }
        if rank == 2 && by && !bx {
            let s = t.shape(y).clone();
            let side = t.transpose(y, &[1, 0, 2])?;
            let flat = t.reshape(side, &[s[1], s[0] * s[2]])?;
            let p = t.matmul(x, flat)?;
            let m = t.shape(p)[0];
            let p = t.reshape(p, &[m, s[0], s[2]])?;
            return t.transpose(p, &[1, 0, 2]);
        }
        let (x, y) = (b.full(t, 0)?, b.full(t, 1)?);
        t.matmul(x, y)
    }

    fn zeros(&self) -> Zeros {
        Zeros::Stopped
    }
}

impl Tape {
    /// The product over the last two axes; the axes before them must be equal.
    pub fn matmul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        let (x, y) = (self.shape(a), self.shape(b));
        let n = x.len();
        if n < 2 || y.len() != n || x[..n - 2] != y[..n - 2] || x[n - 1] != y[n - 2] || self.dtype(a) != self.dtype(b) {
            return Err(Error::Value(format!(
                "matmul: shapes {} and {} of {} and {} do not match; the last axis of the first must be as long as the last \
                 but one of the second",
                shape::show(x),
                shape::show(y),
                self.dtype(a),
                self.dtype(b)
            )));
        }
        // as a basis of tangents passes a product; its zeros are structural
        if self.is_eye(b) {
            return Ok(a);
        }
        if self.is_eye(a) {
            return Ok(b);
        }
        let mut to: Shape = x.clone();
        to[n - 1] = y[n - 1];
        let dtype = self.dtype(a);
        self.push(MatMul.into(), &[a, b], to, dtype)
    }

    /// Whether this is [`Leaf::Eye`], perhaps transposed, with axes of length 1 put in and taken out.
    fn is_eye(&self, x: NodeId) -> bool {
        let n = self.node(x);
        if n.shape.len() != 2 || n.shape[0] != n.shape[1] || n.shape[0] < 2 {
            return false;
        }
        let mut at = x;
        loop {
            let n = self.node(at);
            let square = n.shape.iter().filter(|&&d| d != 1).eq([&self.node(x).shape[0]; 2]);
            match n.op {
                Op::Leaf(Leaf::Eye) => return true,
                Op::Movement(Movement::Reshape | Movement::Transpose(_)) if square => at = n.inputs[0],
                _ => return false,
            }
        }
    }
}
