//! Steps of straight code: what is computed by a kernel, copied, spread out or reduced.

use smallvec::SmallVec;

use super::{FOREVER, Home, Lower, Temporary, fold_kernels, misplaced};
use crate::exec::narrow;
use crate::exec::straight::{self, Outside, SmallFold, Step};
use crate::exec::strided::Strided;
use crate::math::{self, Kernel};
use crate::plan::ir::{DIRECT, Kind, Ref};
use crate::plan::view::View;
use crate::tape::DType;
use crate::{Error, Result};

impl Lower<'_> {
    pub(super) fn step(&mut self, f: Kernel, n: usize, [dst, a, b, c]: [usize; 4]) -> Result<()> {
        let small = |at: usize| {
            u32::try_from(at).map_err(|_| {
                Error::Memory("the small arrays of one plan take more than 4 GiB; split the computation".into())
            })
        };
        let step = Step { f, n: n as u32, dst: small(dst)?, a: small(a)?, b: small(b)?, c: small(c)? };
        self.code.steps.push(step);
        Ok(())
    }

    /// Steps that write what `r` reads to dst.
    pub(super) fn copy_to(&mut self, r: Ref, n: usize, dtype: DType, dst: usize) -> Result<()> {
        if self.is_number(r.node) {
            let at = self.number(r.node)?;
            return self.step(math::select::splat(dtype), n, [dst, at, at, at]);
        }
        let view = match r.view {
            DIRECT => View::whole(&[n]),
            v => self.ir.views[v as usize].clone(),
        };
        let strided = Strided::new(&view, dtype.size());
        if let Home::Small(at) = self.home[r.node as usize] {
            let first = at.wrapping_add_signed(strided.offset);
            if strided.is_splat() && n > 0 {
                return self.step(math::select::splat(dtype), n, [dst, first, first, first]);
            }
            if strided.is_contiguous() {
                return self.step(straight::copy_bytes, n * dtype.size(), [dst, first, first, first]);
            }
            let c = self.described(strided);
            return self.step(straight::copy, n, [dst, at, at, c]);
        }
        let place = self.place(r.node)?;
        let cell = self.small.fresh(8);
        self.code.addresses.push((cell, place));
        let c = self.described(strided);
        self.step(straight::copy_from_address, n, [dst, cell, cell, c])
    }

    /// Where the n elements that `r` reads lie one after the other; places that nobody needs afterwards are noted.
    pub(super) fn spread(&mut self, r: Ref, n: usize, temporary: &mut Temporary) -> Result<usize> {
        let dtype = self.ir.nodes[r.node as usize].dtype;
        let (known, left) = match self.spread.get_mut(&(r.node, r.view)) {
            Some((at, left)) => {
                *left -= 1;
                (*at, *left)
            }
            None => (None, 0),
        };
        let at = match known {
            Some(at) => at,
            None => {
                let at = self.small.take(n * dtype.size());
                self.copy_to(r, n, dtype, at)?;
                at
            }
        };
        if left == 0 {
            temporary.push((at, n * dtype.size()));
        } else if let Some(entry) = self.spread.get_mut(&(r.node, r.view)) {
            entry.0 = Some(at);
        }
        Ok(at)
    }

    pub(super) fn small_node(&mut self, x: u32) -> Result<()> {
        let ir = self.ir;
        let n = &ir.nodes[x as usize];
        if self.chains.skips(x) {
            return Ok(());
        }
        let inputs = self.chains.inputs(ir, x);
        match &n.kind {
            Kind::Iota => {
                let contents: Vec<u8> = (0..n.n as i64).flat_map(i64::to_le_bytes).collect();
                let at = self.constant(contents.into());
                self.home[x as usize] = Home::Small(at);
                // constants stay
                self.last[x as usize] = FOREVER;
                return Ok(());
            }
            Kind::Copy => {
                let Home::Small(dst) = self.settle(x) else { return Err(misplaced()) };
                self.copy_to(n.inputs[0], n.n, n.dtype, dst)?;
            }
            Kind::Fold(fold) => {
                let Home::Small(dst) = self.settle(x) else { return Err(misplaced()) };
                let input = n.inputs[0].node;
                let Home::Small(a) = self.home[input as usize] else { return Err(misplaced()) };
                let (block, accumulate, init) = fold_kernels(fold, n.dtype)?;
                let description = Box::new(SmallFold {
                    block,
                    narrow: narrow::kernel(fold.op, n.dtype, fold.row),
                    accumulate,
                    init,
                    size: n.dtype.size(),
                    rows: fold.rows,
                    row: fold.row,
                    leading: fold.leading,
                });
                let c = self.constant(Box::new(straight::pointer_to(&*description)));
                self.code.folds.push(description);
                self.step(straight::fold, n.n, [dst, a, a, c])?;
            }
            // computed with its twin
            Kind::Map(_) if self.home[x as usize] != Home::Nowhere => {}
            Kind::Map(kernel) => {
                let mut temporary: Temporary = SmallVec::new();
                let mut operands: SmallVec<[usize; 3]> = SmallVec::new();
                let mut in_place = true;
                for r in &inputs {
                    let from = &ir.nodes[r.node as usize];
                    let size = from.dtype.size();
                    if self.is_number(r.node) {
                        operands.push(self.number(r.node)?);
                        continue;
                    }
                    in_place &= size == n.dtype.size() && r.view == DIRECT;
                    match (self.home[r.node as usize], r.view) {
                        (Home::Small(at), DIRECT) => operands.push(at),
                        (Home::Small(at), v) if ir.views[v as usize].contiguous() => {
                            let offset = ir.views[v as usize].collapsed().offset * size as isize;
                            operands.push(at.wrapping_add_signed(offset));
                        }
                        _ => operands.push(self.spread(*r, n.n, &mut temporary)?),
                    }
                }
                if in_place {
                    for r in &inputs {
                        self.release(r.node);
                    }
                }
                let Home::Small(dst) = self.settle(x) else { return Err(misplaced()) };
                let first = operands.first().copied().unwrap_or(dst);
                let second = operands.get(1).copied().unwrap_or(first);
                let third = operands.get(2).copied().unwrap_or(first);
                match ir.twins.get(&x).filter(|twin| twin.other > x) {
                    Some(twin) => {
                        let Home::Small(other) = self.settle(twin.other) else { return Err(misplaced()) };
                        let (sine, cosine) = if twin.is_sine { (dst, other) } else { (other, dst) };
                        self.step(twin.kernel, n.n, [sine, first, cosine, first])?;
                    }
                    None => {
                        let kernel = self.chains.kernel(ir, x, *kernel).ok_or_else(misplaced)?;
                        self.step(kernel, n.n, [dst, first, second, third])?;
                    }
                }
                for (at, bytes) in temporary {
                    self.small.give_back(at, bytes);
                }
            }
            Kind::Mask(frame) => {
                let r = n.inputs[0];
                let Home::Small(dst) = self.settle(x) else { return Err(misplaced()) };
                self.copy_to(r, n.n, n.dtype, dst)?;
                let outside = Box::new(Outside { frame: frame.clone(), n: n.n, size: n.dtype.size() });
                let c = self.constant(Box::new(straight::pointer_to(&*outside)));
                self.code.outside.push(outside);
                self.step(straight::clear_outside, n.n, [dst, dst, dst, c])?;
            }
            Kind::Param | Kind::Const(_) | Kind::Opaque(_) | Kind::Project(_) => {
                return Err(misplaced());
            }
        }
        for r in &inputs {
            self.release(r.node);
        }
        self.release(x);
        Ok(())
    }
}
