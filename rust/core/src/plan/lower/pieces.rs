//! Small arrays that are put together, or written into, as straight code: one copy a piece.

use smallvec::SmallVec;

use super::{DIRECT, Home, Kind, Lower, misplaced};
use crate::Result;
use crate::exec::straight;
use crate::math::{self, Kernel};
use crate::ops::{Op, Window, Windowed};
use crate::tape::{DType, Shape, shape};

/// A piece that is one stretch of the whole: its first element there, and how many.
fn stretch(w: &Window, piece: &[usize], whole: &Shape) -> Option<(usize, usize)> {
    let strides = shape::strides(whole);
    let n = shape::size(piece);
    let first: i64 = w.start.iter().zip(&strides).map(|(&s, &by)| s * by as i64).sum();
    let mut next = 1;
    for axis in (0..piece.len()).rev() {
        if piece[axis] == 1 {
            continue;
        }
        if w.step[axis] * strides[axis] as i64 != next {
            return None;
        }
        next *= piece[axis] as i64;
    }
    Some((usize::try_from(first).ok()?, n))
}

impl Lower<'_> {
    /// Emits the steps of node x, if it is made of pieces that are stretches of it; else it is a call.
    pub(super) fn pieces(&mut self, x: u32) -> Result<bool> {
        let ir = self.ir;
        let n = &ir.nodes[x as usize];
        let Kind::Opaque(o) = &n.kind else { return Err(misplaced()) };
        let (windows, first): (&[Window], usize) = match &o.op {
            Op::Windowed(Windowed::Assemble(ws)) => (ws, 0),
            Op::Windowed(Windowed::Update(w)) => (std::slice::from_ref(&**w), 1),
            _ => return Ok(false),
        };
        let size = n.dtype.size();
        let mut from: SmallVec<[usize; 4]> = SmallVec::new();
        for r in &n.inputs {
            let Home::Small(at) = self.home[r.node as usize] else { return Ok(false) };
            let offset = if r.view == DIRECT { 0 } else { ir.views[r.view as usize].collapsed().offset };
            from.push(at.wrapping_add_signed(offset * size as isize));
        }
        let mut found: SmallVec<[(usize, usize, usize); 4]> = SmallVec::new();
        for (k, w) in windows.iter().enumerate() {
            match stretch(w, &o.inputs[first + k].0, &o.shape) {
                Some((_, 0)) => {}
                Some((start, len)) => found.push((start, len, from[first + k])),
                None => return Ok(false),
            }
        }
        let mut sorted = found.clone();
        sorted.sort_unstable();
        let apart = sorted.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0);
        let copy = match (apart, n.dtype) {
            (true, _) => Some((straight::copy_bytes as Kernel, size)),
            (false, DType::F64) => Some((straight::add::<f64> as Kernel, 1)),
            (false, DType::F32) => Some((straight::add::<f32> as Kernel, 1)),
            (false, _) => None,
        };
        let Some((copy, unit)) = copy.filter(|_| n.n <= self.small_limit) else { return Ok(false) };
        // what is written over dies here: its place is the result's
        let (over, last) = (n.inputs[0], self.last[n.inputs[0].node as usize]);
        let stolen = first == 1 && over.view == DIRECT && n.inputs[1].node != over.node && last == self.now;
        if stolen {
            self.home[x as usize] = std::mem::replace(&mut self.home[over.node as usize], Home::Nowhere);
        } else {
            self.settle(x);
        }
        let Home::Small(dst) = self.home[x as usize] else { return Err(misplaced()) };
        let covered: usize = found.iter().map(|f| f.1).sum();
        if stolen {
            // it is there already
        } else if first == 1 {
            self.step(straight::copy_bytes, n.n * size, [dst, from[0], from[0], from[0]])?;
        } else if !apart || covered < n.n {
            let zero = self.constant(vec![0; 64].into());
            self.step(math::select::splat(n.dtype), n.n, [dst, zero, zero, zero])?;
        }
        for (start, len, at) in found {
            self.step(copy, len * unit, [dst + start * size, at, at, at])?;
        }
        for r in &n.inputs {
            self.release(r.node);
        }
        self.release(x);
        Ok(true)
    }
}
