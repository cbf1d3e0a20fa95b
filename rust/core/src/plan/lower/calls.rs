//! Operations that are a call each.

use smallvec::SmallVec;

use super::{Home, Lower, misplaced};
use crate::Result;
use crate::exec::control;
use crate::exec::node::{Argument, Call};
use crate::exec::run::Unit;
use crate::ops::{Gather, Op, Windowed};
use crate::plan::ir::{DIRECT, Kind, NOBODY};

impl Lower<'_> {
    pub(super) fn call(&mut self, x: u32) -> Result<()> {
        let ir = self.ir;
        let n = &ir.nodes[x as usize];
        let Kind::Opaque(o) = &n.kind else { return Err(misplaced()) };
        let mut arguments: SmallVec<[Argument; 3]> = SmallVec::new();
        for (r, (shape, dtype)) in n.inputs.iter().zip(&o.inputs) {
            let mut place = self.place(r.node)?;
            let mut strides = None;
            if r.view != DIRECT {
                let v = &ir.views[r.view as usize];
                if let Op::MatMul(_) = o.op {
                    place.offset = place.offset.wrapping_add_signed(v.offset * dtype.size() as isize);
                    strides = Some(v.strides.clone());
                } else {
                    let offset = v.collapsed().offset * dtype.size() as isize;
                    place.offset = place.offset.wrapping_add_signed(offset);
                }
            }
            arguments.push(Argument { place, shape: shape.clone(), dtype: *dtype, strides });
        }
        // what is written over dies here: its place is the result's
        let written = match o.op {
            Op::Windowed(Windowed::Update(_)) | Op::Gather(Gather::Set) => 0,
            // the sum that a product is added to
            Op::MatMul(_) => 2,
            _ => usize::MAX,
        };
        let first = n.inputs.get(written).map_or(x, |r| r.node);
        let stolen = n.inputs.get(written).is_some_and(|r| r.view == DIRECT)
            && n.inputs.iter().filter(|r| r.node == first).count() == 1
            && self.last[first as usize] == self.now
            && matches!(self.home[first as usize], Home::Small(_) | Home::Large(_))
            && self.together.is_none()
            && !(self.output.contains_key(&x) && n.n > self.small_limit);
        if stolen {
            self.home[x as usize] = std::mem::replace(&mut self.home[first as usize], Home::Nowhere);
        } else {
            self.settle(x);
        }
        let dst = self.place(x)?;
        let mut results = Vec::new();
        for &r in &o.results {
            let Some(result) = ir.nodes.get(r as usize) else {
                results.push(None);
                continue;
            };
            let Kind::Project(shape) = &result.kind else { return Err(misplaced()) };
            self.settle(r);
            results.push(Some(Argument {
                place: self.place(r)?,
                shape: shape.clone(),
                dtype: result.dtype,
                strides: None,
            }));
        }
        let bodies = match &o.op {
            Op::Control(c) => control::prepare(c, &|k| matches!(results.get(k), Some(Some(_))))?,
            _ => Vec::new(),
        };
        let shared = self.shared(x, &o.op, &results, &bodies);
        let (op, shape, dtype) = (o.op.clone(), o.shape.clone(), n.dtype);
        let call = Call { op, arguments, dst, shape, dtype, stolen, results, bodies, shared };
        self.code.nanoseconds = self.code.nanoseconds.saturating_add(call.nanoseconds());
        self.code.units.push(Unit::Call(Box::new(call)));
        for r in &n.inputs {
            self.release(r.node);
        }
        for &r in o.results.iter().filter(|&&r| r != NOBODY) {
            self.release(r);
        }
        self.release(x);
        Ok(())
    }
}
