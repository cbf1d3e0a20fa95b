//! Broadcast, reshape and transpose: the same elements in another shape.

use smallvec::SmallVec;

use super::{Batch, Cotangents, Op, Primitive, ReduceOp, Reverse, Unary, Zeros};
use crate::tape::{Axes, DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Movement {
    /// To the node's shape, by NumPy's rule: axes are aligned at the right, lengths of 1 are spread.
    Broadcast,
    /// To the node's shape, in C order.
    Reshape,
    /// Axis i of the result is axis `[i]` of the input.
    Transpose(Axes),
}

impl Movement {
    /// The linear map on `x`, which may have the dtype of a tangent or of a mask.
    fn apply(&self, t: &mut Tape, x: NodeId, to: &Shape) -> Result<NodeId> {
        match self {
            Movement::Broadcast => t.broadcast_to(x, to),
            Movement::Reshape => t.reshape(x, to),
            Movement::Transpose(p) => t.transpose(x, p),
        }
    }
}

impl Primitive for Movement {
    fn name(&self) -> &'static str {
        match self {
            Movement::Broadcast => "broadcast_to",
            Movement::Reshape => "reshape",
            Movement::Transpose(_) => "transpose",
        }
    }

    fn attributes(&self) -> String {
        match self {
            Movement::Transpose(p) => format!("axes={p:?}"),
            _ => String::new(),
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let from = r.t.shape(r.t.input(node, 0)).clone();
        let x = match self {
            Movement::Broadcast => r.t.unbroadcast(g, &from)?,
            Movement::Reshape => r.t.reshape(g, &from)?,
            Movement::Transpose(p) => {
                let mut inverse: Axes = SmallVec::from_elem(0, p.len());
                for (i, &a) in p.iter().enumerate() {
                    inverse[a as usize] = i as u8;
                }
                r.t.transpose(g, &inverse)?
            }
        };
        Ok([Some(x.into())].into_iter().collect())
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let to = t.shape(node).clone();
        tangents[0].map(|x| self.apply(t, x, &to)).transpose()
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        let x = b.inputs[0].0;
        let mut to = t.shape(node).clone();
        let rank = to.len();
        to.insert(0, b.size);
        match self {
            Movement::Broadcast => {
                let mut from = t.shape(x).clone();
                while from.len() < rank + 1 {
                    from.insert(1, 1);
                }
                let x = t.reshape(x, &from)?;
                t.broadcast_to(x, &to)
            }
            Movement::Reshape => t.reshape(x, &to),
            Movement::Transpose(p) => {
                let p: Axes = std::iter::once(0).chain(p.iter().map(|a| a + 1)).collect();
                t.transpose(x, &p)
            }
        }
    }

    fn zeros(&self) -> Zeros {
        Zeros::Moved
    }
}

impl Tape {
    pub fn broadcast_to(&mut self, x: NodeId, to: &[usize]) -> Result<NodeId> {
        let from = self.shape(x);
        if from.as_slice() == to {
            return Ok(x);
        }
        let fits = from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(&a, &b)| a == b || a == 1);
        if !fits {
            return Err(Error::Value(format!(
                "broadcast_to: shape {} cannot be broadcast to {}; lengths must be equal or 1, aligned at the right",
                shape::show(from),
                shape::show(to)
            )));
        }
        let dtype = self.dtype(x);
        if let Op::Leaf(super::Leaf::Literal(bits)) = *self.op(x) {
            return self.push(Op::Leaf(super::Leaf::Literal(bits)), &[], to.into(), dtype);
        }
        if *self.op(x) == Op::Movement(Movement::Broadcast) {
            let inner = self.input(x, 0);
            return self.push(Movement::Broadcast.into(), &[inner], to.into(), dtype);
        }
        self.push(Movement::Broadcast.into(), &[x], to.into(), dtype)
    }

    /// The transpose of broadcasting `to` -> shape of `g`: a sum (of a mask: any), then a reshape.
    pub fn unbroadcast(&mut self, g: NodeId, to: &[usize]) -> Result<NodeId> {
        let from = self.shape(g).clone();
        let extra = from.len() - to.len();
        let axes: Axes =
            (0..from.len()).filter(|&i| i < extra || (to[i - extra] == 1 && from[i] != 1)).map(|i| i as u8).collect();
        let op = if self.dtype(g) == DType::Bool { ReduceOp::Any } else { ReduceOp::Sum };
        // what is many becomes one first, and changes its sign afterwards
        let negative = !axes.is_empty() && *self.op(g) == Op::Unary(Unary::Neg);
        let g = if negative { self.input(g, 0) } else { g };
        let s = self.reduce(op, g, &axes)?;
        let s = if negative { self.neg(s)? } else { s };
        self.reshape(s, to)
    }

    pub fn reshape(&mut self, x: NodeId, to: &[usize]) -> Result<NodeId> {
        let from = self.shape(x);
        if from.as_slice() == to {
            return Ok(x);
        }
        if shape::checked_size(from) != shape::checked_size(to) {
            return Err(Error::Value(format!(
                "reshape: cannot reshape array of size {} (shape {}) into shape {}",
                shape::size(from),
                shape::show(from),
                shape::show(to)
            )));
        }
        let dtype = self.dtype(x);
        let x = match *self.op(x) {
            Op::Leaf(super::Leaf::Literal(bits)) => {
                return self.push(Op::Leaf(super::Leaf::Literal(bits)), &[], to.into(), dtype);
            }
            Op::Movement(Movement::Reshape) => self.input(x, 0),
            _ => x,
        };
        if self.shape(x).as_slice() == to {
            return Ok(x);
        }
        self.push(Movement::Reshape.into(), &[x], to.into(), dtype)
    }

    /// `perm` is a permutation of the axes.
    pub fn transpose(&mut self, x: NodeId, perm: &[u8]) -> Result<NodeId> {
        let rank = self.rank(x);
        if perm.len() != rank || (0..rank).any(|a| !perm.contains(&(a as u8))) {
            return Err(Error::Value(format!(
                "transpose: axes {perm:?} are not a permutation of the {rank} axes of shape {}",
                shape::show(self.shape(x))
            )));
        }
        if perm.iter().enumerate().all(|(i, &a)| i == a as usize) {
            return Ok(x);
        }
        let (x, perm): (NodeId, Axes) = match self.op(x).clone() {
            Op::Movement(Movement::Transpose(first)) => {
                (self.input(x, 0), perm.iter().map(|&a| first[a as usize]).collect())
            }
            _ => (x, perm.into()),
        };
        if perm.iter().enumerate().all(|(i, &a)| i == a as usize) {
            return Ok(x);
        }
        let to: Shape = perm.iter().map(|&a| self.shape(x)[a as usize]).collect();
        let dtype = self.dtype(x);
        self.push(Movement::Transpose(perm).into(), &[x], to, dtype)
    }

    /// Swaps the last two axes.
    pub fn matrix_transpose(&mut self, x: NodeId) -> Result<NodeId> {
        let mut p: Axes = (0..self.rank(x) as u8).collect();
        let n = p.len();
        if n < 2 {
            return Err(Error::Internal("matrix_transpose of fewer than two axes".into()));
        }
        p.swap(n - 2, n - 1);
        self.transpose(x, &p)
    }

    /// Axis `from` becomes axis `to`.
    pub fn move_axis(&mut self, x: NodeId, from: usize, to: usize) -> Result<NodeId> {
        let mut p: Axes = (0..self.rank(x) as u8).filter(|&a| a as usize != from).collect();
        p.insert(to, from as u8);
        self.transpose(x, &p)
    }
}
