//! Reductions over axes, and the positions of extremes.

use smallvec::SmallVec;

use super::{Batch, Binary, Cotangent, Cotangents, Primitive, ReduceOp, Reverse, Unary, Zeros, none};
use crate::tape::{Axes, DType, NodeId, Tape, shape};
use crate::{Error, Result};

/// A reduction over `axes` (ascending), which the result lacks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    pub op: ReduceOp,
    pub axes: Axes,
}

impl Reduce {
    /// `v`, of the reduced shape, spread over the shape of `x`.
    fn spread(&self, t: &mut Tape, v: NodeId, x: NodeId) -> Result<NodeId> {
        let kept = shape::keep(t.shape(x), &self.axes);
        let v = t.reshape(v, &kept)?;
        let to = t.shape(x).clone();
        t.broadcast_to(v, &to)
    }

    /// For max and min: where `x` attains the result `y`, and how often it does.
    fn attained(&self, t: &mut Tape, x: NodeId, y: NodeId) -> Result<(NodeId, NodeId)> {
        let wide = self.spread(t, y, x)?;
        let at = t.equal(x, wide)?;
        let dtype = t.dtype(x);
        let ones = t.cast(at, dtype)?;
        let count = t.reduce(ReduceOp::Sum, ones, &self.axes)?;
        Ok((at, count))
    }

    /// The product of all other elements along the reduced axes, by exclusive products from both sides: exact at zeros.
    fn others(&self, t: &mut Tape, x: NodeId) -> Result<NodeId> {
        let full = t.shape(x).clone();
        // the reduced axes behind the others, as one
        let perm: Axes =
            (0..full.len() as u8).filter(|a| !self.axes.contains(a)).chain(self.axes.iter().copied()).collect();
        let moved = t.transpose(x, &perm)?;
        let moved_shape = t.shape(moved).clone();
        let n: usize = self.axes.iter().map(|&a| full[a as usize]).product();
        let mut flat = shape::without(&full, &self.axes);
        flat.push(n);
        let axis = flat.len() - 1;
        let flat_x = t.reshape(moved, &flat)?;
        let before = t.exclusive_product(flat_x, axis, false)?;
        let after = t.exclusive_product(flat_x, axis, true)?;
        let both = t.mul(before, after)?;
        let both = t.reshape(both, &moved_shape)?;
        let mut inverse: Axes = SmallVec::from_elem(0, perm.len());
        for (i, &a) in perm.iter().enumerate() {
            inverse[a as usize] = i as u8;
        }
        t.transpose(both, &inverse)
    }
}

impl Primitive for Reduce {
    fn name(&self) -> &'static str {
        match self.op {
            ReduceOp::Sum => "sum",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::Any => "any",
            ReduceOp::All => "all",
        }
    }

    fn attributes(&self) -> String {
        format!("axes={:?}", self.axes)
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let x = r.t.input(node, 0);
        let c: Cotangent = match self.op {
            ReduceOp::Sum => self.spread(r.t, g, x)?.into(),
            ReduceOp::Prod => {
                let wide = self.spread(r.t, g, x)?;
                let f = self.others(r.t, x)?;
                r.t.mul(wide, f)?.into()
            }
            ReduceOp::Max | ReduceOp::Min => {
                let (at, count) = self.attained(r.t, x, node)?;
                let share = r.t.div(g, count)?;
                // a result of nan is attained nowhere: then all elements get nan, as forward
                let unknown = r.t.unary(Unary::IsNan, node)?;
                let nan = r.t.lit_like(f64::NAN, share)?;
                if r.masks {
                    let share = r.t.select(unknown, nan, share)?;
                    let (wide, unknown) = (self.spread(r.t, share, x)?, self.spread(r.t, unknown, x)?);
                    Cotangent { node: wide, mask: Some(r.t.binary(Binary::LogicalOr, at, unknown)?) }
                } else {
                    let zero = r.t.lit_like(0.0, share)?;
                    let rest = r.t.select(unknown, nan, zero)?;
                    let (wide, rest) = (self.spread(r.t, share, x)?, self.spread(r.t, rest, x)?);
                    r.t.select(at, wide, rest)?.into()
                }
            }
            ReduceOp::Any | ReduceOp::All => return Ok(none(1)),
        };
        Ok([Some(c)].into_iter().collect())
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let Some(g) = tangents[0] else { return Ok(None) };
        let x = t.input(node, 0);
        Ok(Some(match self.op {
            ReduceOp::Sum => t.reduce(ReduceOp::Sum, g, &self.axes)?,
            ReduceOp::Prod => {
                let f = self.others(t, x)?;
                let d = t.mul(g, f)?;
                t.reduce(ReduceOp::Sum, d, &self.axes)?
            }
            ReduceOp::Max | ReduceOp::Min => {
                let (at, count) = self.attained(t, x, node)?;
                let zero = t.lit_like(0.0, g)?;
                let d = t.select(at, g, zero)?;
                let d = t.reduce(ReduceOp::Sum, d, &self.axes)?;
                t.div(d, count)?
            }
            ReduceOp::Any | ReduceOp::All => return Ok(None),
        }))
    }

    fn batch(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<NodeId> {
        let axes: Axes = self.axes.iter().map(|a| a + 1).collect();
        t.reduce(self.op, b.inputs[0].0, &axes)
    }

    fn zeros(&self) -> Zeros {
        if self.op == ReduceOp::Sum { Zeros::Moved } else { Zeros::Stopped }
    }

    fn singular(&self) -> bool {
        self.op == ReduceOp::Prod
    }
}

/// The position of the first largest (or smallest) element along an axis, which the result lacks; int64.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArgReduce {
    pub max: bool,
    pub axis: u8,
}

impl Primitive for ArgReduce {
    fn name(&self) -> &'static str {
        if self.max { "argmax" } else { "argmin" }
    }

    fn attributes(&self) -> String {
        format!("axis={}", self.axis)
    }

    fn vjp(&self, _: &mut Reverse<'_>, _: NodeId, _: NodeId) -> Result<Cotangents> {
        Ok(none(1))
    }

    fn jvp(&self, _: &mut Tape, _: NodeId, _: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        Ok(None)
    }

    fn batch(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<NodeId> {
        t.arg_reduce(self.max, b.inputs[0].0, self.axis as usize + 1)
    }

    fn zeros(&self) -> Zeros {
        Zeros::Stopped
    }
}

impl Tape {
    /// Reduces over `axes` (ascending). The dtype stays; `Any` and `All` are for bool.
    pub fn reduce(&mut self, op: ReduceOp, x: NodeId, axes: &[u8]) -> Result<NodeId> {
        if axes.is_empty() {
            return Ok(x);
        }
        let (from, dtype) = (self.shape(x), self.dtype(x));
        if matches!(op, ReduceOp::Any | ReduceOp::All) && dtype != DType::Bool {
            return Err(Error::Internal(format!("any/all of {dtype}")));
        }
        let n: usize = axes.iter().map(|&a| from[a as usize]).product();
        if n == 0 && matches!(op, ReduceOp::Max | ReduceOp::Min) {
            return Err(Error::Value(format!(
                "{}: zero-size array of shape {} has no extreme value",
                if op == ReduceOp::Max { "max" } else { "min" },
                shape::show(from)
            )));
        }
        let to = shape::without(from, axes);
        if n == 1 {
            return self.reshape(x, &to);
        }
        self.push(Reduce { op, axes: axes.into() }.into(), &[x], to, dtype)
    }

    pub fn sum(&mut self, x: NodeId, axes: &[u8]) -> Result<NodeId> {
        self.reduce(ReduceOp::Sum, x, axes)
    }

    /// The sum over all axes.
    pub fn total(&mut self, x: NodeId) -> Result<NodeId> {
        let axes: Axes = (0..self.rank(x) as u8).collect();
        self.sum(x, &axes)
    }

    pub fn arg_reduce(&mut self, max: bool, x: NodeId, axis: usize) -> Result<NodeId> {
        let from = self.shape(x);
        if from[axis] == 0 {
            return Err(Error::Value(format!(
                "{}: attempt to get the position of the extreme value of an empty sequence, shape {}",
                if max { "argmax" } else { "argmin" },
                shape::show(from)
            )));
        }
        let to = shape::without(from, &[axis as u8]);
        self.push(ArgReduce { max, axis: axis as u8 }.into(), &[x], to, DType::I64)
    }

    /// 1 along `axis` at the first element (or the last), then the running product of those before.
    fn exclusive_product(&mut self, x: NodeId, axis: usize, reverse: bool) -> Result<NodeId> {
        let p = self.cumulative_product(x, axis, reverse)?;
        let moved = self.delay(p, axis, reverse)?;
        let from = self.shape(x).clone();
        let at = self.iota(&from, axis)?;
        let edge = if reverse { from[axis] as f64 - 1.0 } else { 0.0 };
        let edge = self.literal(edge, &from, DType::I64)?;
        let first = self.binary(Binary::Equal, at, edge)?;
        let one = self.lit_like(1.0, x)?;
        self.select(first, one, moved)
    }

    /// The logical negation of a bool.
    pub fn not(&mut self, x: NodeId) -> Result<NodeId> {
        self.unary(Unary::LogicalNot, x)
    }
}
