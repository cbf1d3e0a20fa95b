//! Passes of generated code in the blocks of a region, and the reductions over rows that they do as they go.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::super::SMALL;
use super::super::composer::Composer;
use super::super::passes::{ARRAYS, Arranger, Item, escaping};
use super::{Arranged, Blocks, Draft, Local};
use crate::Result;
use crate::code::{At, Span, Step};
use crate::exec::buffer::ALIGN;
use crate::exec::divide;
use crate::exec::region::{Mem, Place};
use crate::math;
use crate::math::reduce::BLOCK;
use crate::ops::ReduceOp;
use crate::plan::ir::{DIRECT, Fold, Kind};
use crate::plan::rows::{Role, divisor};
use crate::tape::DType;

impl Blocks<'_, '_> {
    /// What the blocks do, in order.
    pub(super) fn items(&self) -> Arranged {
        let (ir, nodes) = (self.l.ir, &self.r.nodes);
        if !self.l.generate {
            let items = nodes.iter().map(|&x| Item::Node(x)).collect();
            return Arranged { items, escapes: FxHashMap::default(), running: vec![SmallVec::new(); nodes.len()] };
        }
        // what divides rows by a number each has a kernel of its own
        let by_row = |x: u32| {
            divisor(ir, self.l.roles, x).is_some() && divide::kernel(math::isa(), ir.nodes[x as usize].dtype).is_some()
        };
        let may = |x: u32| match self.l.roles[x as usize] {
            Role::None => !by_row(x),
            // beside each other, on columns
            Role::Map { .. } => true,
            Role::Fold { .. } | Role::Dot { .. } | Role::Weighted { .. } => false,
        };
        let kept = |x: u32| self.l.stored[x as usize] && self.l.home_unit[x as usize] == self.unit;
        // what is reduced may go to a leaf
        let of_fold = |f: u32| ir.nodes[f as usize].inputs.iter().map(|r| r.node);
        let folded: SmallVec<[u32; 8]> = self.r.folds.iter().flat_map(|&f| of_fold(f)).collect();
        let is_array = |x: u32| kept(x) || folded.contains(&x) || nodes.binary_search(&x).is_err();
        let items = Arranger::new(ir, false, &may, &is_array).arrange(nodes);
        // a pass need not write what it alone reduces
        let running = self.running(&items, &is_array);
        let others = (0..self.r.folds.len()).filter(|&k| !running.iter().any(|list| list.contains(&(k as u32))));
        let folded: SmallVec<[u32; 8]> = others.flat_map(|k| of_fold(self.r.folds[k])).collect();
        let escapes = escaping(&items, ir, kept, folded.iter().copied());
        Arranged { items, escapes, running }
    }

    /// For each item: the reductions over rows that it does as it goes, since it has what they reduce.
    fn running(&self, items: &[Item], is_array: &dyn Fn(u32) -> bool) -> Vec<SmallVec<[u32; 2]>> {
        let ir = self.l.ir;
        let mut left: SmallVec<[u32; 4]> = (0..self.r.folds.len() as u32).filter(|&k| self.can_run(k)).collect();
        let mut taken = vec![SmallVec::new(); items.len()];
        for (item, taken) in items.iter().zip(&mut taken) {
            let Item::Pass(dtype, members) = item else { continue };
            if self.l.roles[members[0] as usize] != Role::None {
                continue;
            }
            let mut arrays: SmallVec<[(u32, u32); 16]> =
                members.iter().filter(|&&x| is_array(x)).map(|&x| (x, DIRECT)).collect();
            for r in members.iter().flat_map(|&x| &ir.nodes[x as usize].inputs) {
                let read = (r.node, r.view);
                if !self.l.is_number(r.node) && !members.contains(&r.node) && !arrays.contains(&read) {
                    arrays.push(read);
                }
            }
            left.retain(|k| {
                let n = &ir.nodes[self.r.folds[*k as usize] as usize];
                let from = n.inputs[0].node;
                let here = members.contains(&from) || arrays.contains(&(from, DIRECT));
                let fits = here && n.dtype == *dtype && arrays.len() + taken.len() < ARRAYS;
                if fits {
                    taken.push(*k);
                }
                !fits
            });
        }
        taken
    }

    /// The members of a pass as one instruction.
    pub(super) fn pass(
        &mut self,
        dtype: DType,
        members: &[u32],
        (escapes, running): (&FxHashMap<u32, bool>, &[u32]),
        long: bool,
        folds: &FxHashMap<u32, SmallVec<[u32; 2]>>,
    ) -> Result<()> {
        let ir = self.l.ir;
        let mut operands: SmallVec<[Local; 8]> = SmallVec::new();
        let mut composer = Composer::new(ir, dtype, Span::Loop);
        // short arrays would be copied for their last elements: these are left out instead
        let short = self.r.n <= BLOCK;
        if short {
            composer.call();
        }
        let mut cost = 0;
        for &x in members {
            cost += ir.nodes[x as usize].cost as usize;
            composer.member(x, &mut |c, r| {
                if let Some(column) = self.one_row().then(|| self.spread_column(r)).flatten()
                    && ir.nodes[r.node as usize].dtype == dtype
                {
                    operands.push(column);
                    let at = At { base: Some(operands.len() as u32 - 1), offset: 0 };
                    return Ok(c.pass.push(Step::Splat(at)));
                }
                let local = self.operand(r)?;
                operands.push(local);
                let at = At { base: Some(operands.len() as u32 - 1), offset: 0 };
                let from = ir.nodes[r.node as usize].dtype;
                let range = match local {
                    Local::Mem(k) if short => match &self.mems[k] {
                        m if m.step == 0 || m.leaf => None,
                        m => Some(m.inside.unwrap_or((0, self.r.n))),
                    },
                    _ => None,
                };
                Ok(match range {
                    Some(range) if from != DType::Bool => c.load_inside(at, from, range),
                    _ => c.load(at, from),
                })
            })?;
        }
        for &local in &operands {
            self.read(local);
        }
        for &k in running {
            let results = self.running_results(k, dtype.size());
            operands.push(results);
            let at = At { base: Some(operands.len() as u32 - 1), offset: 0 };
            composer.add_to(ir.nodes[self.r.folds[k as usize] as usize].inputs[0].node, at)?;
        }
        let reads = operands.len();
        for &x in members {
            if escapes.get(&x).copied().unwrap_or(true) {
                let local = self.result(x, long && folds.contains_key(&x))?;
                self.locals.insert(x, local);
                operands.push(local);
                let at = At { base: Some(operands.len() as u32 - 1), offset: 0 };
                composer.store(x, at, short && matches!(local, Local::Mem(_)))?;
            }
        }
        let pass = composer.pass;
        // loads and stores are most of what an operation costs
        self.cost += cost.div_ceil(3);
        self.drafts.push(Draft::Pass { pass: Box::new(pass), operands, reads, columns: false });
        for &x in members {
            for &k in folds.get(&x).into_iter().flatten() {
                if self.running.contains(&k) {
                    continue;
                }
                let local = self.locals[&x];
                self.reduce(k, local);
            }
        }
        Ok(())
    }

    /// Whether a pass can do a reduction over rows as it goes: each block is a row, which is whole vectors, and so are results.
    fn can_run(&self, k: u32) -> bool {
        let f = self.r.folds[k as usize];
        let n = &self.l.ir.nodes[f as usize];
        self.one_row()
            && matches!(n.kind, Kind::Fold(Fold { op: ReduceOp::Sum, leading: true, .. }))
            && matches!(n.dtype, DType::F32 | DType::F64)
            && (n.n * n.dtype.size()).is_multiple_of(ALIGN)
            && self.r.n > BLOCK
    }

    fn running_results(&mut self, k: u32, step: usize) -> Local {
        let place = Place { base: SMALL, offset: 0 };
        self.mems.push(Mem {
            place,
            step,
            leaf: false,
            readable: None,
            inside: None,
            written: true,
            masked: false,
            streamed: false,
            running: Some(k),
            far: false,
            spill: 0,
        });
        Local::Mem(self.mems.len() - 1)
    }
}
