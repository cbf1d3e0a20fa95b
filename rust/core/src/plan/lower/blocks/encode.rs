//! From drafts to instructions: a register for each value, an operand for each place, and what the reductions need.

use smallvec::SmallVec;

use super::super::rows::RowDraft;
use super::super::{Home, LARGE, REGISTERS, SMALL, fold_kernels};
use super::{ALONE, Blocks, Draft, Local, ROW_BLOCK, ROW_REGISTERS, has_long};
use crate::Result;
use crate::code::{At, Step};
use crate::exec::generated::Entry;
use crate::exec::narrow;
use crate::exec::region::{BlockFold, Instr, Operand, Place, Region};
use crate::exec::rows::RowInstr;
use crate::math::reduce::BLOCK;
use crate::plan::memory::padded;

impl Blocks<'_, '_> {
    pub fn finish(mut self) -> Result<Region> {
        // registers by the order of drafts
        // wide ones and columns, each of one length
        let mut free: [Vec<usize>; 2] = Default::default();
        let mut counts = [self.fixed, 0];
        let mut at: Vec<usize> = vec![usize::MAX; self.lives.len()];
        let mut body = Vec::with_capacity(self.drafts.len());
        let drafts = std::mem::take(&mut self.drafts);
        for m in &mut self.mems {
            // a mask of bool is read in whole vectors
            m.masked = self.r.n <= BLOCK && m.step > 1 && !m.leaf && self.l.generate;
        }
        for (t, d) in drafts.iter().enumerate() {
            let one = std::slice::from_ref::<Local>;
            let (reads, writes, reuse): (&[Local], &[Local], bool) = match d {
                Draft::Map { inputs, dst, reuse, .. } => (inputs, one(dst), *reuse),
                Draft::Pair { dst, src, .. } => (one(src), dst, true),
                Draft::Load { dst, .. } | Draft::Iota { dst } => (&[], one(dst), false),
                Draft::Fold { src, .. } => (one(src), &[], false),
                Draft::Row(d) => d.uses(),
                Draft::Pass { operands, reads, .. } => (&operands[..*reads], &operands[*reads..], false),
                // in place where nobody else reads the input
                Draft::Mask { src, dst, .. } => (one(src), one(dst), true),
            };
            if !matches!(d, Draft::Pass { .. }) {
                for l in reads.iter().chain(writes) {
                    if let Local::Mem(k) = *l {
                        self.mems[k].masked = false;
                    }
                }
            }
            let mut dying: SmallVec<[(usize, usize); 3]> = SmallVec::new();
            for &r in reads {
                if let Local::Register(k) = r
                    && self.lives[k].0 == t
                {
                    let place = (usize::from(self.lives[k].1), at[k]);
                    if !dying.contains(&place) {
                        dying.push(place);
                    }
                }
            }
            if reuse {
                dying.drain(..).for_each(|(kind, place)| free[kind].push(place));
            }
            for &w in writes {
                let Local::Register(k) = w else { continue };
                let kind = usize::from(self.lives[k].1);
                at[k] = free[kind].pop().unwrap_or_else(|| {
                    counts[kind] += 1;
                    counts[kind] - 1
                });
            }
            dying.drain(..).for_each(|(kind, place)| free[kind].push(place));
            // what nobody reads
            for &w in writes {
                if let Local::Register(k) = w
                    && self.lives[k].0 <= t
                {
                    free[usize::from(self.lives[k].1)].push(at[k]);
                }
            }
        }
        let cut = self.r.cut;
        let row = cut.row().max(1);
        let n = self.r.n;
        let has_leading = (0..self.r.folds.len() as u32).any(|k| self.is_leading(k));
        let streams = self.mems.iter().filter(|m| m.step != 0).count();
        let [count, columns] = counts;
        let room = if cut.by_rows() { ROW_REGISTERS } else { REGISTERS };
        let fit = room / (8 * (count + streams).max(1));
        // a power of two, so that blocks fill leaves
        // what goes through one kernel, from memory to memory, need not fit a cache
        let alone = matches!(drafts.as_slice(), [Draft::Map { .. }])
            && self.prologue.is_empty()
            && self.r.folds.is_empty()
            && self.mems.iter().all(|m| m.step != 0);
        let piece = if alone { ALONE } else { 1 << fit.clamp(64, BLOCK).ilog2() };
        let rows_a_block = if self.one_row() {
            1
        } else if cut.by_rows() {
            (fit.min(ROW_BLOCK) / row / cut.joined()).max(1) * cut.joined()
        } else if row <= BLOCK {
            (piece / row).max(1)
        } else {
            0
        };
        let size = padded(8 * piece.max(row * rows_a_block));
        let column_size = padded(8 * rows_a_block);
        let first_column = count * size;
        let mut registers = first_column + columns * column_size;
        for m in &mut self.mems {
            if m.step != 0 {
                m.spill = registers;
                registers += if m.leaf { padded(8 * BLOCK) } else { size };
            }
        }
        let operand = |l: Local| match l {
            Local::Fixed(k) => Operand { index: 0, offset: (k * size) as u32 },
            Local::Register(k) => match self.lives[k].1 {
                false => Operand { index: 0, offset: (at[k] * size) as u32 },
                true => Operand { index: 0, offset: (first_column + at[k] * column_size) as u32 },
            },
            Local::Mem(k) => Operand { index: k as u32 + 1, offset: 0 },
        };
        let mut passes = std::mem::take(&mut self.l.passes);
        let mut encode = |d: Draft| match d {
            Draft::Map { f, dst, inputs, .. } => {
                let a = inputs.first().map_or(operand(dst), |&x| operand(x));
                let b = inputs.get(1).map_or(a, |&x| operand(x));
                let c = inputs.get(2).map_or(a, |&x| operand(x));
                Instr::Map { f, dst: operand(dst), a, b, c }
            }
            Draft::Pair { f, dst: [first, second], src } => {
                let a = operand(src);
                Instr::Map { f, dst: operand(first), a, b: operand(second), c: a }
            }
            Draft::Load { place, view, dst } => Instr::Load { place, view, dst: operand(dst) },
            Draft::Iota { dst } => Instr::Iota { dst: operand(dst) },
            Draft::Fold { fold, src } => Instr::Fold { fold, src: operand(src) },
            Draft::Row(d) => Instr::Row(match d {
                RowDraft::Map { f, dst, inputs, .. } => {
                    let a = inputs.first().map_or(operand(dst), |&x| operand(x));
                    let b = inputs.get(1).map_or(a, |&x| operand(x));
                    let c = inputs.get(2).map_or(a, |&x| operand(x));
                    RowInstr::Map { f, dst: operand(dst), a, b, c }
                }
                RowDraft::Load { place, view, dst } => RowInstr::Load { place, view, dst: operand(dst) },
                RowDraft::Fold { fold, src, dst } => RowInstr::Fold { fold, src: operand(src), dst: operand(dst) },
                RowDraft::Spread { size, src, dst } => RowInstr::Spread { size, src: operand(src), dst: operand(dst) },
                RowDraft::Divide { f, operands: [src, column], dst } => {
                    RowInstr::Divide { f, src: operand(src), column: operand(column), dst: operand(dst) }
                }
                RowDraft::Store { size, src, place } => RowInstr::Store { size, src: operand(src), place },
                RowDraft::Dot { product, matrix, vector, dst } => {
                    RowInstr::Dot { product, matrix: operand(matrix), vector, dst: operand(dst) }
                }
                RowDraft::Weighted { product, fold, operands: [matrix, column] } => {
                    RowInstr::Weighted { product, fold, matrix: operand(matrix), column: operand(column) }
                }
                RowDraft::Collect { fold, src } => RowInstr::Collect { fold, src: operand(src) },
            }),
            Draft::Pass { mut pass, operands, columns, .. } => {
                let place = |at: &mut At| {
                    if let Some(k) = at.base {
                        let o = operand(operands[k as usize]);
                        *at = At { base: Some(o.index), offset: o.offset as i32 };
                    }
                };
                for step in &mut pass.steps {
                    if let Step::Load(at) | Step::LoadWhere(at, _) | Step::LoadMask(at) | Step::Splat(at) = step {
                        place(at);
                    }
                }
                pass.stores.iter_mut().for_each(|s| place(&mut s.at));
                passes.push(*pass);
                let entry = Entry(passes.len() - 1);
                if columns { Instr::Row(RowInstr::Pass(entry)) } else { Instr::Pass(entry) }
            }
            Draft::Mask { frame, size, dst, src } => Instr::Mask { frame, size, dst: operand(dst), src: operand(src) },
        };
        let long = has_long(self.l.ir, self.r);
        let mut epilogue = Vec::new();
        for d in drafts {
            match encode(d) {
                Instr::Fold { fold, src } if long && !self.is_leading(fold) => epilogue.push((fold, src)),
                other => body.push(other),
            }
        }
        let prologue = std::mem::take(&mut self.prologue).into_iter().map(encode).collect();
        self.l.passes = passes;
        let group = cut.group();
        let mut folds = Vec::new();
        let mut collectors = 0;
        for (k, &f) in self.r.folds.iter().enumerate() {
            let node = &self.l.ir.nodes[f as usize];
            let (fold, size) = (self.fold(f)?, node.dtype.size());
            let (block, accumulate, init) = fold_kernels(&fold, node.dtype)?;
            let full = cut.by_rows() && !fold.leading;
            let scratch = if fold.leading {
                ((n / row).div_ceil(group) - 1) * fold.row * size
            } else if fold.row > BLOCK {
                fold.rows * fold.row.div_ceil(BLOCK) * size
            } else {
                0
            };
            let mut collector = (0, 0);
            if full {
                collector = (registers, collectors);
                registers += padded(8 * BLOCK);
                collectors += 1;
            }
            debug_assert_eq!(fold.leading, self.is_leading(k as u32));
            let offset = self.l.large.take(scratch);
            let partial = Place { base: LARGE, offset };
            let dst = self.l.place(f)?;
            let narrow = if fold.leading { None } else { narrow::kernel(fold.op, node.dtype, fold.row) };
            let leading = fold.leading;
            let f = BlockFold {
                block,
                narrow,
                accumulate,
                init,
                size,
                row: fold.row,
                leading,
                full,
                collector,
                dst,
                partial,
            };
            folds.push((f, scratch));
        }
        for (f, scratch) in &folds {
            self.l.free(Home::Large(f.partial.offset), *scratch);
        }
        self.l.registers = self.l.registers.max(registers);
        let nanoseconds = (n.saturating_mul(self.cost + 3 * streams)).saturating_add(n / row * self.column_cost) / 10;
        Ok(Region {
            n,
            row,
            piece,
            rows_a_block,
            group,
            has_leading,
            registers,
            at: Place { base: SMALL, offset: 0 },
            mems: self.mems,
            prologue,
            body,
            epilogue,
            folds: folds.into_iter().map(|f| f.0).collect(),
            nanoseconds,
        })
    }
}
