//! Running sums and first-order linear recurrences along an axis.

use smallvec::SmallVec;

use super::{Batch, Binary, Cotangents, Primitive, Reverse, Window, Zeros, none};
use crate::Result;
use crate::tape::{DType, NodeId, Tape};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scan {
    /// (x): s_i = s_{i-1} + x_i, from the end if `reverse`.
    Cumsum { axis: u8, reverse: bool },
    /// (a, b): s_i = a_i s_{i-1} + b_i with s_{-1} = 0, from the end if `reverse`.
    Recurrence { axis: u8, reverse: bool },
}

impl Primitive for Scan {
    fn name(&self) -> &'static str {
        match self {
            Scan::Cumsum { .. } => "cumsum",
            Scan::Recurrence { .. } => "recurrence",
        }
    }

    fn attributes(&self) -> String {
        match self {
            Scan::Cumsum { axis, reverse } | Scan::Recurrence { axis, reverse } => {
                format!("axis={axis} reverse={reverse}")
            }
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        match *self {
            Scan::Cumsum { axis, reverse } => {
                let x = r.t.cumsum(g, axis as usize, !reverse)?;
                Ok([Some(x.into())].into_iter().collect())
            }
            Scan::Recurrence { axis, reverse } => {
                let axis = axis as usize;
                let a = r.t.input(node, 0);
                let ahead = r.t.delay(a, axis, !reverse)?;
                let gb = r.t.recurrence(ahead, g, axis, !reverse)?;
                let mut out = none(2);
                if r.want(0) {
                    let before = r.t.delay(node, axis, reverse)?;
                    out[0] = Some(r.t.mul(gb, before)?.into());
                }
                out[1] = Some(gb.into());
                Ok(out)
            }
        }
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        match *self {
            Scan::Cumsum { axis, reverse } => tangents[0].map(|x| t.cumsum(x, axis as usize, reverse)).transpose(),
            Scan::Recurrence { axis, reverse } => {
                let axis = axis as usize;
                let a = t.input(node, 0);
                let mut source = tangents[1];
                if let Some(da) = tangents[0] {
                    let before = t.delay(node, axis, reverse)?;
                    let d = t.mul(da, before)?;
                    source = Some(match source {
                        None => d,
                        Some(s) => t.add(s, d)?,
                    });
                }
                source.map(|s| t.recurrence(a, s, axis, reverse)).transpose()
            }
        }
    }

    fn batch(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<NodeId> {
        match *self {
            Scan::Cumsum { axis, reverse } => t.cumsum(b.inputs[0].0, axis as usize + 1, reverse),
            Scan::Recurrence { axis, reverse } => {
                let (x, y) = (b.full(t, 0)?, b.full(t, 1)?);
                t.recurrence(x, y, axis as usize + 1, reverse)
            }
        }
    }

    fn zeros(&self) -> Zeros {
        Zeros::Stopped
    }
}

impl Tape {
    pub fn cumsum(&mut self, x: NodeId, axis: usize, reverse: bool) -> Result<NodeId> {
        let (shape, dtype) = (self.shape(x).clone(), self.dtype(x));
        self.push(Scan::Cumsum { axis: axis as u8, reverse }.into(), &[x], shape, dtype)
    }

    /// s_i = a_i s_{i-1} + b_i along `axis`, for floating point.
    pub fn recurrence(&mut self, a: NodeId, b: NodeId, axis: usize, reverse: bool) -> Result<NodeId> {
        self.same("recurrence", &[a, b])?;
        let (shape, dtype) = (self.shape(a).clone(), self.dtype(a));
        self.push(Scan::Recurrence { axis: axis as u8, reverse }.into(), &[a, b], shape, dtype)
    }

    /// The running product: the recurrence P_i = x_i P_{i-1} with P_{-1} = 1, whose derivatives are exact at zeros.
    pub fn cumulative_product(&mut self, x: NodeId, axis: usize, reverse: bool) -> Result<NodeId> {
        let shape = self.shape(x).clone();
        let at = self.iota(&shape, axis)?;
        let edge = if reverse { shape[axis] as f64 - 1.0 } else { 0.0 };
        let edge = self.literal(edge, &shape, DType::I64)?;
        let first = self.binary(Binary::Equal, at, edge)?;
        // adding the negative zero changes nothing, not even the sign of a zero
        let zero = self.lit_like(-0.0, x)?;
        let start = self.select(first, x, zero)?;
        let factor = self.select(first, zero, x)?;
        self.recurrence(factor, start, axis, reverse)
    }

    /// Each element moves one place on along `axis` (one place back if `reverse`); a zero comes in.
    pub(crate) fn delay(&mut self, x: NodeId, axis: usize, reverse: bool) -> Result<NodeId> {
        let whole = self.shape(x).clone();
        if whole[axis] < 2 {
            return self.lit_like(0.0, x);
        }
        let mut piece = whole.clone();
        piece[axis] -= 1;
        let origin: SmallVec<[i64; 4]> = SmallVec::from_elem(0, whole.len());
        let mut second = origin.clone();
        second[axis] = 1;
        let (from, to) = if reverse { (second, origin) } else { (origin, second) };
        let kept = self.slice(x, Box::new(Window::at(&from)), &piece)?;
        self.assemble(&whole, vec![Window::at(&to)], &[kept])
    }
}
