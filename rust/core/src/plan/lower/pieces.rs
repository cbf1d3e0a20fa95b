//! Small arrays that are put together from pieces, each of them one stretch of the whole: straight code too.

use smallvec::SmallVec;

use super::super::frame::Frame;
use super::super::ir::{DIRECT, Kind};
use super::{Home, Lower, misplaced};
use crate::Result;
use crate::exec::straight;
use crate::math;
use crate::ops::{Binary, Op, Windowed};
use crate::tape::DType;

/// Kernels write whole lines.
const LINE: usize = 64;

/// Where a piece goes, in elements, and where it lies.
struct Piece {
    start: usize,
    end: usize,
    at: usize,
}

impl Lower<'_> {
    /// Steps for node x, if it is such an array.
    pub(super) fn pieces(&mut self, x: u32) -> Result<bool> {
        let ir = self.ir;
        let n = &ir.nodes[x as usize];
        let Some(pieces) = self.stretches(x) else { return Ok(false) };
        let size = n.dtype.size();
        // where no two overlap they are copied, which keeps the signs of zeros
        let apart = pieces.iter().enumerate().all(|(i, p)| {
            let before = |q: &Piece| p.end <= q.start || q.end <= p.start;
            pieces[..i].iter().all(before)
        });
        let tail = match n.dtype {
            _ if apart => straight::copy_bytes,
            DType::F64 => straight::add_exactly::<f64>,
            DType::F32 => straight::add_exactly::<f32>,
            _ => return Ok(false),
        };
        let add = if apart { None } else { math::binary(math::isa(), Binary::Add, n.dtype) };
        let Home::Small(dst) = self.settle(x) else { return Err(misplaced()) };
        let covered: usize = pieces.iter().map(|p| p.end - p.start).sum();
        if !apart || covered < n.n {
            self.step(straight::zeros, n.n * size, [dst; 4])?;
        }
        for p in pieces.iter().filter(|p| p.end > p.start) {
            let (to, len) = (dst + p.start * size, p.end - p.start);
            let Some(add) = add else {
                self.step(tail, len * size, [to, p.at, p.at, p.at])?;
                continue;
            };
            // whole vectors by the kernel, which would write past the end of the last one
            let whole = len * size / LINE * LINE / size;
            if whole > 0 {
                self.step(add, whole, [to, to, p.at, to])?;
            }
            if whole < len {
                let (to, from) = (to + whole * size, p.at + whole * size);
                self.step(tail, len - whole, [to, to, from, to])?;
            }
        }
        for r in &n.inputs {
            self.release(r.node);
        }
        self.release(x);
        Ok(true)
    }

    /// The pieces of node x, if all of them are stretches of a small array.
    fn stretches(&self, x: u32) -> Option<SmallVec<[Piece; 4]>> {
        let n = &self.ir.nodes[x as usize];
        let Kind::Opaque(o) = &n.kind else { return None };
        let Op::Windowed(Windowed::Assemble(windows)) = &o.op else { return None };
        if n.n == 0 || n.n > self.small_limit {
            return None;
        }
        let mut pieces = SmallVec::new();
        for ((w, r), (shape, _)) in windows.iter().zip(&n.inputs).zip(&o.inputs) {
            let one = |(&step, &d): (&i64, &usize)| step == 1 || d == 1;
            if !w.step.iter().zip(shape).all(one) {
                return None;
            }
            let start: SmallVec<[usize; 4]> = w.start.iter().map(|&s| s as usize).collect();
            let (start, end) = Frame::new(&o.shape, &start, shape).as_range()?;
            let Home::Small(at) = self.home[r.node as usize] else { return None };
            let offset = match r.view {
                DIRECT => 0,
                v => self.ir.views[v as usize].collapsed().offset * n.dtype.size() as isize,
            };
            pieces.push(Piece { start, end, at: at.wrapping_add_signed(offset) });
        }
        Some(pieces)
    }
}
