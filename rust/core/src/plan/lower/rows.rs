//! The code of columns, and of what else a block of whole rows can do (see `exec::rows`).

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::blocks::{Blocks, Draft, Local};
use super::composer::Composer;
use super::{fold_kernels, misplaced};
use crate::Result;
use crate::code::{At, Span};
use crate::exec::divide::{self, DivideKernel};
use crate::exec::narrow;
use crate::exec::region::Place;
use crate::exec::rows::{Products, RowFold};
use crate::exec::strided::Strided;
use crate::math::{self, Kernel};
use crate::plan::ir::{DIRECT, Kind, Ref};
use crate::plan::rows::{Role, divisor, spreads};
use crate::plan::view::View;
use crate::tape::DType;

/// An instruction on columns, with values in place of operands.
pub(super) enum RowDraft {
    Map { f: Kernel, dst: Local, inputs: SmallVec<[Local; 3]>, reuse: bool },
    Load { place: Place, view: Box<Strided>, dst: Local },
    Fold { fold: Box<RowFold>, src: Local, dst: Local },
    Spread { size: usize, src: Local, dst: Local },
    Divide { f: DivideKernel, operands: [Local; 2], dst: Local },
    Store { size: usize, src: Local, place: Place },
    Dot { product: Products, matrix: Local, vector: Place, dst: Local },
    Weighted { product: Products, fold: u32, operands: [Local; 2] },
    Collect { fold: u32, src: Local },
}

impl RowDraft {
    /// What it reads, what it writes, and whether the result may lie where something was read for the last time.
    pub fn uses(&self) -> (&[Local], &[Local], bool) {
        let one = std::slice::from_ref::<Local>;
        match self {
            RowDraft::Map { inputs, dst, reuse, .. } => (inputs, one(dst), *reuse),
            RowDraft::Load { dst, .. } => (&[], one(dst), false),
            RowDraft::Fold { src, dst, .. } | RowDraft::Spread { src, dst, .. } => (one(src), one(dst), false),
            // in place where nobody else reads the rows
            RowDraft::Divide { operands, dst, .. } => (operands, one(dst), true),
            RowDraft::Store { src, .. } | RowDraft::Collect { src, .. } => (one(src), &[], false),
            RowDraft::Dot { matrix, dst, .. } => (one(matrix), one(dst), false),
            RowDraft::Weighted { operands, .. } => (operands, &[], false),
        }
    }
}

impl Blocks<'_, '_> {
    /// Computes a column.
    pub(super) fn column(&mut self, x: u32, role: Role) -> Result<()> {
        let ir = self.l.ir;
        let n = &ir.nodes[x as usize];
        let size = n.dtype.size();
        let draft = match (role, &n.kind) {
            (Role::Fold { row }, Kind::Fold(fold)) => {
                let src = self.operand(n.inputs[0])?;
                self.read(src);
                let (block, _, init) = fold_kernels(fold, n.dtype)?;
                let fold = RowFold { block, narrow: narrow::kernel(fold.op, n.dtype, row), init, size };
                self.cost += 3;
                RowDraft::Fold { fold: Box::new(fold), src, dst: self.column_register() }
            }
            (Role::Dot { matrix, .. }, _) => {
                let a = self.operand(Ref::direct(n.inputs[matrix].node))?;
                self.read(a);
                self.cost += 2;
                let vector = self.l.place(n.inputs[1 - matrix].node)?;
                let product = Products::new(n.dtype).ok_or_else(misplaced)?;
                RowDraft::Dot { product, matrix: a, vector, dst: self.column_register() }
            }
            (Role::Map { .. }, Kind::Map(f)) => {
                let mut inputs: SmallVec<[Local; 3]> = SmallVec::new();
                for r in &n.inputs {
                    inputs.push(self.column_operand(*r, n.n)?);
                }
                for &i in &inputs {
                    self.read(i);
                }
                self.column_cost += n.cost as usize;
                let reuse = n.inputs.iter().all(|r| ir.nodes[r.node as usize].dtype.size() == size);
                RowDraft::Map { f: *f, dst: self.column_register(), inputs, reuse }
            }
            _ => return Err(misplaced()),
        };
        let &[dst] = draft.uses().1 else { return Err(misplaced()) };
        self.drafts.push(Draft::Row(draft));
        self.have_column(x, dst)
    }

    /// Notes where a column is, and stores it if it is wanted in memory.
    fn have_column(&mut self, x: u32, column: Local) -> Result<()> {
        self.locals.insert(x, column);
        if self.l.stored[x as usize] && self.l.home_unit[x as usize] == self.unit {
            let (size, place) = (self.l.ir.nodes[x as usize].dtype.size(), self.l.place(x)?);
            self.read(column);
            self.drafts.push(Draft::Row(RowDraft::Store { size, src: column, place }));
        }
        Ok(())
    }

    /// Columns as one pass.
    pub(super) fn column_pass(&mut self, dtype: DType, members: &[u32], escapes: &FxHashMap<u32, bool>) -> Result<()> {
        let ir = self.l.ir;
        let mut operands: SmallVec<[Local; 8]> = SmallVec::new();
        let mut composer = Composer::new(ir, dtype, Span::Loop);
        for &x in members {
            let n = &ir.nodes[x as usize];
            self.column_cost += n.cost as usize;
            composer.member(x, &mut |c, r| {
                operands.push(self.column_operand(r, n.n)?);
                let at = At { base: Some(operands.len() as u32 - 1), offset: 0 };
                Ok(c.load(at, ir.nodes[r.node as usize].dtype))
            })?;
        }
        for &local in &operands {
            self.read(local);
        }
        let reads = operands.len();
        let mut wanted: SmallVec<[(u32, Local); 4]> = SmallVec::new();
        for &x in members.iter().filter(|x| escapes.get(x).copied().unwrap_or(true)) {
            let dst = self.column_register();
            wanted.push((x, dst));
            operands.push(dst);
            composer.store(x, At { base: Some(operands.len() as u32 - 1), offset: 0 }, false)?;
        }
        self.drafts.push(Draft::Pass { pass: Box::new(composer.pass), operands, reads, columns: true });
        wanted.into_iter().try_for_each(|(x, dst)| self.have_column(x, dst))
    }

    /// What an operation on columns of `rows` elements reads.
    pub(super) fn column_operand(&mut self, r: Ref, rows: usize) -> Result<Local> {
        let ir = self.l.ir;
        if self.l.is_number(r.node) {
            return self.operand(r);
        }
        if r.view == DIRECT
            && let Some(&local) = self.locals.get(&r.node)
        {
            return Ok(local);
        }
        if let Some(&local) = self.column_views.get(&(r.node, r.view)) {
            return Ok(local);
        }
        let place = self.l.place(r.node)?;
        let view = match r.view {
            DIRECT => View::whole(&[rows]),
            v => ir.views[v as usize].clone(),
        };
        let view = Box::new(Strided::new(&view, ir.nodes[r.node as usize].dtype.size()));
        let local = if view.is_splat() {
            let dst = self.fixed_register();
            self.prologue.push(Draft::Load { place, view, dst });
            dst
        } else {
            let dst = self.column_register();
            self.drafts.push(Draft::Row(RowDraft::Load { place, view, dst }));
            dst
        };
        self.column_views.insert((r.node, r.view), local);
        Ok(local)
    }

    /// The column of this region that `r` reads as rows.
    pub(super) fn spread_column(&self, r: Ref) -> Option<Local> {
        let column = *self.locals.get(&r.node)?;
        let rows = self.l.ir.nodes[r.node as usize].n;
        let row = self.l.roles[r.node as usize].column()?;
        let spread = r.view != DIRECT && spreads(&self.l.ir.views[r.view as usize], rows, row);
        (spread && row == self.r.cut.row()).then_some(column)
    }

    /// A column of this region, as rows.
    pub(super) fn spread(&mut self, r: Ref) -> Option<Local> {
        let column = self.spread_column(r)?;
        self.read(column);
        let dst = self.register();
        self.cost += 1;
        let size = self.l.ir.nodes[r.node as usize].dtype.size();
        self.drafts.push(Draft::Row(RowDraft::Spread { size, src: column, dst }));
        Some(dst)
    }

    /// The column by which an operation divides the rows of this region, and the kernel that does it.
    pub(super) fn divisor(&self, x: u32) -> Option<(Local, DivideKernel)> {
        let ir = self.l.ir;
        let r = divisor(ir, self.l.roles, x)?;
        let f = divide::kernel(math::isa(), ir.nodes[x as usize].dtype)?;
        let here = self.l.roles[r.node as usize].column() == Some(self.r.cut.row());
        here.then(|| Some((*self.locals.get(&r.node)?, f)))?
    }

    /// The product of the rows with a column, which all have their values by now.
    pub(super) fn weighted(&mut self, fold: u32, x: u32, matrix: usize) -> Result<()> {
        let n = &self.l.ir.nodes[x as usize];
        let rows = self.l.ir.nodes[n.inputs[1 - matrix].node as usize].n;
        let a = self.operand(Ref::direct(n.inputs[matrix].node))?;
        let operands = [a, self.column_operand(n.inputs[1 - matrix], rows)?];
        for o in operands {
            self.read(o);
        }
        self.cost += 2;
        let product = Products::new(n.dtype).ok_or_else(misplaced)?;
        self.drafts.push(Draft::Row(RowDraft::Weighted { product, fold, operands }));
        Ok(())
    }
}
