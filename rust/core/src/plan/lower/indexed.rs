//! Rows by index, few of them: steps of straight code.

use super::{Home, Lower};
use crate::Result;
use crate::exec::indexed::{self, Indexed, MISSED};
use crate::exec::run::Unit;
use crate::exec::straight;
use crate::ops::{Gather, Op};
use crate::plan::ir::{DIRECT, Opaque, Ref};
use crate::tape::shape;

/// So many indices.
const FEW: usize = 16;
/// Bytes of a row.
const SHORT: usize = 2048;

impl Lower<'_> {
    /// Writes steps for x if it reads or replaces a few rows; else a call has to do it.
    pub(super) fn indexed(&mut self, x: u32, o: &Opaque) -> Result<bool> {
        let Op::Gather(gather) = &o.op else { return Ok(false) };
        let ir = self.ir;
        let n = &ir.nodes[x as usize];
        let small = |l: &Self, r: Ref| {
            let Home::Small(at) = l.home[r.node as usize] else { return None };
            let size = ir.nodes[r.node as usize].dtype.size() as isize;
            Some(match r.view {
                DIRECT => at,
                v => at.wrapping_add_signed(ir.views[v as usize].collapsed().offset * size),
            })
        };
        let array = &o.inputs[0].0;
        let rows = array.first().copied().unwrap_or(0);
        let bytes = array.get(1..).map_or(0, shape::size) * o.inputs[0].1.size();
        let count = |k: usize| shape::size(&o.inputs[k].0);
        match gather {
            Gather::CheckIndex { size } => {
                let Some(a) = small(self, n.inputs[0]).filter(|_| count(0) <= FEW && n.n <= self.small_limit) else {
                    return Ok(false);
                };
                let Home::Small(dst) = self.settle(x) else { return Err(super::misplaced()) };
                let c = self.described_rows(*size, 8, false);
                self.step(indexed::check_index, n.n, [dst, a, a, c])?;
            }
            Gather::Rows => {
                let Some(b) = small(self, n.inputs[1]) else { return Ok(false) };
                if count(1) > FEW || bytes > SHORT || n.n > self.small_limit {
                    return Ok(false);
                }
                let (a, elsewhere) = self.array_at(n.inputs[0])?;
                let Home::Small(dst) = self.settle(x) else { return Err(super::misplaced()) };
                let c = self.described_rows(rows, bytes, elsewhere);
                self.step(indexed::gather, count(1), [dst, a, b, c])?;
            }
            Gather::Set => {
                let (Some(a), Some(b)) = (small(self, n.inputs[1]), small(self, n.inputs[2])) else { return Ok(false) };
                if count(1) > FEW || bytes > SHORT {
                    return Ok(false);
                }
                let whole = n.inputs[0];
                if self.is_next_of(x, whole) {
                    self.home[x as usize] = match self.home[whole.node as usize] {
                        Home::Outside(_) => Home::Outside(self.output_base(self.output[&x])),
                        home => home,
                    };
                    self.in_place.push(self.output[&x]);
                } else if n.n <= self.small_limit {
                    let Some(old) = small(self, whole) else { return Ok(false) };
                    let Home::Small(dst) = self.settle(x) else { return Err(super::misplaced()) };
                    let all = n.n * n.dtype.size();
                    self.step(straight::copy_bytes, all, [dst, old, old, old])?;
                } else {
                    return Ok(false);
                }
                let (dst, elsewhere) = self.array_at(Ref::direct(x))?;
                let c = self.described_rows(rows, bytes, elsewhere);
                self.step(indexed::set, count(1), [dst, a, b, c])?;
            }
            Gather::Add { .. } | Gather::Nonzero { .. } => return Ok(false),
        }
        for r in &n.inputs {
            self.release(r.node);
        }
        self.release(x);
        Ok(true)
    }

    /// Whether x, which is all of `r` but for some elements, can be written over it: the next step gets it in its place, and
    /// nobody reads `r` any more.
    fn is_next_of(&self, x: u32, r: Ref) -> bool {
        let reads = self.ir.nodes[x as usize].inputs.iter().filter(|other| other.node == r.node).count();
        let pair = self
            .carries
            .iter()
            .any(|&(param, output)| self.ir.params[param as usize] == r.node && self.ir.outputs[output as usize] == x);
        pair && reads == 1 && r.view == DIRECT && self.read_until[r.node as usize] == self.now
    }

    /// Where an array lies in the arena, or its address.
    fn array_at(&mut self, r: Ref) -> Result<(usize, bool)> {
        let mut place = self.place(r.node)?;
        if r.view != DIRECT {
            let size = self.ir.nodes[r.node as usize].dtype.size() as isize;
            place.offset = place.offset.wrapping_add_signed(self.ir.views[r.view as usize].collapsed().offset * size);
        }
        if place.base == super::SMALL {
            return Ok((place.offset, false));
        }
        let cell = self.small.fresh(8);
        self.code.addresses.push((cell, place));
        Ok((cell, true))
    }

    /// A cell that describes such rows.
    fn described_rows(&mut self, rows: usize, bytes: usize, elsewhere: bool) -> usize {
        let missed = match self.code.missed {
            Some(at) => at,
            None => self.constant(Box::new([0; MISSED])),
        };
        self.code.missed = Some(missed);
        let mut description = Box::new(Indexed { rows, bytes, elsewhere, missed: 0 });
        let cell = self.constant(Box::new(straight::pointer_to(&*description)));
        description.missed = missed as isize - cell as isize;
        self.code.indexed.push(description);
        cell
    }

    /// The steps from `from` on are a unit, or more of the last one.
    pub(super) fn steps_from(&mut self, from: usize) {
        let to = self.code.steps.len();
        match self.code.units.last_mut() {
            _ if to == from => {}
            Some(Unit::Steps(_, end)) if *end == from => *end = to,
            _ => self.code.units.push(Unit::Steps(from, to)),
        }
    }
}
