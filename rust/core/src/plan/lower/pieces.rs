//! Small arrays that are put together from pieces: steps of straight code, one for each piece.

use smallvec::SmallVec;

use super::{Home, Lower};
use crate::Result;
use crate::exec::straight::{self, Runs};
use crate::math;
use crate::ops::{Binary, Op, Window, Windowed, disjoint};
use crate::plan::ir::{DIRECT, Opaque};
use crate::tape::{DType, shape};

impl Lower<'_> {
    /// Writes steps for x if it is a sum of windows over small arrays; else a call has to do it.
    pub(super) fn pieces(&mut self, x: u32, o: &Opaque) -> Result<bool> {
        let Op::Windowed(Windowed::Assemble(windows)) = &o.op else { return Ok(false) };
        let ir = self.ir;
        let n = &ir.nodes[x as usize];
        let (add_runs, size) = match n.dtype {
            DType::F64 => (straight::add_runs::<f64> as math::Kernel, 8),
            DType::F32 => (straight::add_runs::<f32> as math::Kernel, 4),
            _ => return Ok(false),
        };
        let Some(add) = math::binary(math::isa(), Binary::Add, n.dtype) else { return Ok(false) };
        let mut places: SmallVec<[usize; 4]> = SmallVec::new();
        for r in &n.inputs {
            let Home::Small(at) = self.home[r.node as usize] else { return Ok(false) };
            places.push(match r.view {
                DIRECT => at,
                v => at.wrapping_add_signed(ir.views[v as usize].collapsed().offset * size as isize),
            });
        }
        let Home::Small(dst) = self.settle(x) else { return Ok(false) };
        let shapes: SmallVec<[&[usize]; 4]> = o.inputs.iter().map(|(shape, _)| shape.as_slice()).collect();
        let apart = disjoint(windows, &shapes);
        let covered: usize = shapes.iter().map(|s| shape::size(s)).sum();
        if !apart || covered < n.n {
            self.step(straight::clear, n.n * size, [dst, dst, dst, dst])?;
        }
        for ((w, piece), &at) in windows.iter().zip(&shapes).zip(&places) {
            let (starts, run) = runs(w, &o.shape, piece, size);
            if starts.is_empty() {
                continue;
            }
            let description = Box::new(Runs { starts, bytes: run * size, add });
            let c = self.constant(Box::new(straight::pointer_to(&*description)));
            self.code.runs.push(description);
            self.step(if apart { straight::write_runs } else { add_runs }, run, [dst, at, at, c])?;
        }
        for r in &n.inputs {
            self.release(r.node);
        }
        self.release(x);
        Ok(true)
    }
}

/// Where the runs of a piece begin in the whole, in bytes, in the order of the piece, and the elements of each.
fn runs(w: &Window, whole: &[usize], piece: &[usize], size: usize) -> (Vec<u32>, usize) {
    // the last axes whose elements lie together in both
    let (mut axes, mut run) = (piece.len(), 1);
    while axes > 0 && (w.step[axes - 1] == 1 || piece[axes - 1] == 1) {
        axes -= 1;
        run *= piece[axes];
        if piece[axes] != whole[axes] {
            break;
        }
    }
    let strides = shape::strides(whole);
    let count = shape::size(&piece[..axes]) * usize::from(run > 0);
    let first: i64 = w.start.iter().zip(&strides).map(|(&s, &stride)| s * stride as i64).sum();
    let starts = (0..count).map(|mut k| {
        let mut at = first;
        for axis in (0..axes).rev() {
            at += (k % piece[axis]) as i64 * w.step[axis] * strides[axis] as i64;
            k /= piece[axis];
        }
        (at as usize * size) as u32
    });
    (starts.collect(), run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_as_long_as_they_can_be() {
        let w = |start: &[i64], step: &[i64]| Window { start: start.into(), step: step.into() };
        assert_eq!(runs(&w(&[1], &[1]), &[5], &[4], 8), (vec![8], 4));
        assert_eq!(runs(&w(&[4], &[-2]), &[5], &[3], 8), (vec![32, 16, 0], 1));
        assert_eq!(runs(&w(&[1, 0], &[1, 1]), &[3, 4], &[2, 4], 4), (vec![16], 8));
        assert_eq!(runs(&w(&[1, 1], &[1, 1]), &[3, 4], &[2, 2], 4), (vec![20, 36], 2));
        assert_eq!(runs(&w(&[0, 3], &[2, 1]), &[3, 4], &[2, 1], 8), (vec![24, 88], 1));
        assert_eq!(runs(&w(&[], &[]), &[], &[], 8), (vec![0], 1));
        assert_eq!(runs(&w(&[0, 0], &[1, 1]), &[3, 4], &[2, 0], 8), (vec![], 0));
        assert_eq!(runs(&w(&[2, 0], &[0, 1]), &[3, 4], &[3, 4], 8), (vec![64, 64, 64], 4));
    }
}
