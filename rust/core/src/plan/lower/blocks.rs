//! The code of one region: registers, operands, loads at the edges, reductions at the end.

mod encode;
mod passes;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::passes::Item;
use super::rows::RowDraft;
use super::{Home, Lower, SMALL, bytes, misplaced};
use crate::Result;
use crate::code::Pass;
use crate::exec::region::{Mem, Place};
use crate::exec::strided::Strided;
use crate::math::reduce::BLOCK;
use crate::math::{self, Kernel};
use crate::ops::ReduceOp;
use crate::plan::frame::Frame;
use crate::plan::ir::{DIRECT, Fold, Ir, Kind, Node, Ref, Twin};
use crate::plan::region;
use crate::plan::rows::{Role, repeats};
use crate::plan::view::View;

/// Whether rows of several leaves are reduced where blocks are no whole rows.
fn has_long(ir: &Ir, r: &region::Region) -> bool {
    let trailing = |&f: &u32| matches!(ir.nodes[f as usize].kind, Kind::Fold(f) if !f.leading);
    r.cut.row() > BLOCK && !r.cut.by_rows() && r.folds.iter().any(trailing)
}

/// Elements of a block of one kernel.
const ALONE: usize = 4 * BLOCK;

/// The registers of a block of several rows may take more: there is more to do before and after each.
const ROW_REGISTERS: usize = 40 << 10;

/// Rows of more elements than this are a block each.
const ONE_ROW: usize = 512;

/// Elements of a block of several rows, at most.
pub(super) const ROW_BLOCK: usize = 2048;

/// Arrays of more bytes lie beyond the second-level cache.
const FAR: usize = 1 << 20;

/// Results of this many bytes are hardly in a cache any more when somebody reads them.
const STREAMED: usize = 32 << 20;

/// A value while a region is lowered.
#[derive(Clone, Copy)]
pub(super) enum Local {
    /// A register, by the place of the value in the list of lives.
    Register(usize),
    /// A register for the whole run of a task.
    Fixed(usize),
    Mem(usize),
}

pub(super) enum Draft {
    Map {
        f: Kernel,
        dst: Local,
        inputs: SmallVec<[Local; 3]>,
        reuse: bool,
    },
    /// A kernel of one argument with two results.
    Pair {
        f: Kernel,
        dst: [Local; 2],
        src: Local,
    },
    Load {
        place: Place,
        view: Box<Strided>,
        dst: Local,
    },
    Iota {
        dst: Local,
    },
    Fold {
        fold: u32,
        src: Local,
    },
    Row(RowDraft),
    /// Generated code: addresses are places in the list of operands, whose last ones are written.
    Pass {
        pass: Box<Pass>,
        operands: SmallVec<[Local; 8]>,
        reads: usize,
        /// On columns.
        columns: bool,
    },
    Mask {
        frame: Box<Frame>,
        size: usize,
        dst: Local,
        src: Local,
    },
}

/// One region on its way to code.
pub(super) struct Blocks<'l, 'a> {
    pub(super) l: &'l mut Lower<'a>,
    pub(super) r: &'l region::Region,
    pub(super) unit: u32,
    pub(super) locals: FxHashMap<u32, Local>,
    pub(super) column_views: FxHashMap<(u32, u32), Local>,
    views: FxHashMap<(u32, u32), Local>,
    mems: Vec<Mem>,
    mem_at: FxHashMap<(Place2, usize, Inside), usize>,
    pub(super) drafts: Vec<Draft>,
    pub(super) prologue: Vec<Draft>,
    /// The reductions over rows that passes do as they go.
    running: SmallVec<[u32; 4]>,
    /// The last draft that reads each register value, and whether it is a column.
    lives: Vec<(usize, bool)>,
    fixed: usize,
    pub(super) cost: usize,
    /// Tenths of a nanosecond a row.
    pub(super) column_cost: usize,
}

/// What the blocks do.
struct Arranged {
    items: Vec<Item>,
    /// Which members of passes are read by others.
    escapes: FxHashMap<u32, bool>,
    /// For each item the reductions over rows that it does as it goes.
    running: Vec<SmallVec<[u32; 2]>>,
}

type Place2 = (u32, usize);
/// The elements that an array has, if not all.
type Inside = Option<(usize, usize)>;

impl<'l, 'a> Blocks<'l, 'a> {
    pub fn new(l: &'l mut Lower<'a>, r: &'l region::Region, unit: u32) -> Blocks<'l, 'a> {
        Blocks {
            l,
            r,
            unit,
            locals: FxHashMap::default(),
            column_views: FxHashMap::default(),
            views: FxHashMap::default(),
            mems: Vec::new(),
            mem_at: FxHashMap::default(),
            drafts: Vec::new(),
            prologue: Vec::new(),
            running: SmallVec::new(),
            lives: Vec::new(),
            fixed: 0,
            cost: 0,
            column_cost: 0,
        }
    }

    fn mem(&mut self, place: Place, step: usize, readable: Option<usize>, written: bool) -> Local {
        self.mem_inside(place, step, readable, None, written)
    }

    fn mem_inside(
        &mut self,
        place: Place,
        step: usize,
        readable: Option<usize>,
        inside: Inside,
        written: bool,
    ) -> Local {
        let next = self.mems.len();
        let at = *self.mem_at.entry(((place.base, place.offset), step, inside)).or_insert(next);
        if at == next {
            self.mems.push(Mem {
                place,
                step,
                leaf: false,
                readable,
                inside,
                written,
                masked: false,
                streamed: false,
                running: None,
                far: self.r.n * step > FAR && !self.l.is_scratch(place),
                spill: 0,
            });
        }
        Local::Mem(at)
    }

    pub(super) fn register(&mut self) -> Local {
        self.lives.push((0, false));
        Local::Register(self.lives.len() - 1)
    }

    pub(super) fn column_register(&mut self) -> Local {
        self.lives.push((0, true));
        Local::Register(self.lives.len() - 1)
    }

    pub(super) fn fixed_register(&mut self) -> Local {
        self.fixed += 1;
        Local::Fixed(self.fixed - 1)
    }

    pub(super) fn read(&mut self, l: Local) -> Local {
        if let Local::Register(k) = l {
            self.lives[k].0 = self.drafts.len();
        }
        l
    }

    /// The bytes that may be read from the start of a value that is not padded.
    fn readable(&self, x: u32) -> Option<usize> {
        let n = &self.l.ir.nodes[x as usize];
        (matches!(n.kind, Kind::Param) && matches!(self.l.home[x as usize], Home::Outside(_))).then(|| bytes(n))
    }

    pub(super) fn operand(&mut self, r: Ref) -> Result<Local> {
        let ir = self.l.ir;
        let from = &ir.nodes[r.node as usize];
        let size = from.dtype.size();
        if self.l.is_number(r.node) {
            let offset = self.l.number(r.node)?;
            return Ok(self.mem(Place { base: SMALL, offset }, 0, None, false));
        }
        if r.view == DIRECT {
            if let Some(&local) = self.locals.get(&r.node) {
                return Ok(local);
            }
            let place = self.l.place(r.node)?;
            let readable = self.readable(r.node);
            return Ok(self.mem(place, size, readable, false));
        }
        if let Some(&local) = self.views.get(&(r.node, r.view)) {
            return Ok(local);
        }
        if let Some(local) = self.spread(r) {
            self.views.insert((r.node, r.view), local);
            return Ok(local);
        }
        let place = self.l.place(r.node)?;
        let view = Strided::new(&ir.views[r.view as usize], size);
        let same_rows = self.r.cut.by_rows() && repeats(&ir.views[r.view as usize], self.r.cut.row());
        let inside = view.as_range();
        let local = if view.is_contiguous() || inside.is_some() {
            let readable = self.readable(r.node).map(|end| end.wrapping_add_signed(-view.offset));
            let place = Place { offset: place.offset.wrapping_add_signed(view.offset), ..place };
            self.mem_inside(place, size, readable, inside, false)
        } else if view.is_splat() || same_rows {
            let dst = self.fixed_register();
            self.prologue.push(Draft::Load { place, view: Box::new(view), dst });
            dst
        } else {
            let dst = self.register();
            self.cost += if view.strides[view.strides.len() - 1].unsigned_abs() <= size { 3 } else { 12 };
            self.drafts.push(Draft::Load { place, view: Box::new(view), dst });
            dst
        };
        self.views.insert((r.node, r.view), local);
        Ok(local)
    }

    pub fn emit(&mut self) -> Result<()> {
        let ir = self.l.ir;
        let mut folds: FxHashMap<u32, SmallVec<[u32; 2]>> = FxHashMap::default();
        for (k, &f) in self.r.folds.iter().enumerate() {
            if let Role::Weighted { .. } = self.l.roles[f as usize] {
                continue;
            }
            folds.entry(ir.nodes[f as usize].inputs[0].node).or_default().push(k as u32);
        }
        let long = has_long(ir, self.r);
        let Arranged { items, escapes, running } = self.items();
        self.running = running.iter().flatten().copied().collect();
        for (item, running) in items.iter().zip(&running) {
            let x = match item {
                Item::Node(x) => *x,
                Item::Pass(dtype, members) if self.l.roles[members[0] as usize] != Role::None => {
                    self.column_pass(*dtype, members, &escapes)?;
                    continue;
                }
                Item::Pass(dtype, members) => {
                    self.pass(*dtype, members, (&escapes, running), long, &folds)?;
                    continue;
                }
            };
            let n = &ir.nodes[x as usize];
            if self.l.chains.skips(x) {
                continue;
            }
            let role = self.l.roles[x as usize];
            if role != Role::None {
                self.column(x, role)?;
                continue;
            }
            let dst = |b: &mut Self, x: u32| b.result(x, long && folds.contains_key(&x));
            let local = match &n.kind {
                // computed with its twin
                Kind::Map(_) if let Some(&local) = self.locals.get(&x) => local,
                Kind::Map(_) if let Some(twin) = self.twin(x) => {
                    let src = self.operand(n.inputs[0])?;
                    self.read(src);
                    let (own, other) = (dst(self, x)?, dst(self, twin.other)?);
                    self.locals.insert(twin.other, other);
                    let dst = if twin.is_sine { [own, other] } else { [other, own] };
                    self.drafts.push(Draft::Pair { f: twin.kernel, dst, src });
                    self.cost += n.cost as usize;
                    own
                }
                Kind::Map(_) if let Some((column, f)) = self.divisor(x) => {
                    self.cost += 2;
                    let operands = [self.operand(n.inputs[0])?, column];
                    for o in operands {
                        self.read(o);
                    }
                    let dst = dst(self, x)?;
                    self.drafts.push(Draft::Row(RowDraft::Divide { f, operands, dst }));
                    dst
                }
                Kind::Map(f) => {
                    self.cost += n.cost as usize;
                    let f = self.l.chains.kernel(ir, x, *f).ok_or_else(misplaced)?;
                    let refs = self.l.chains.inputs(ir, x);
                    let mut inputs: SmallVec<[Local; 3]> = SmallVec::new();
                    for r in &refs {
                        inputs.push(self.operand(*r)?);
                    }
                    for &i in &inputs {
                        self.read(i);
                    }
                    let size = n.dtype.size();
                    let reuse = refs.iter().all(|r| ir.nodes[r.node as usize].dtype.size() == size);
                    let dst = dst(self, x)?;
                    self.drafts.push(Draft::Map { f, dst, inputs, reuse });
                    dst
                }
                Kind::Iota => {
                    self.cost += n.cost as usize;
                    let dst = dst(self, x)?;
                    self.drafts.push(Draft::Iota { dst });
                    dst
                }
                Kind::Copy => {
                    self.cost += n.cost as usize;
                    let dst = dst(self, x)?;
                    let r = n.inputs[0];
                    match self.source(r, n)? {
                        Ok((place, view)) => self.drafts.push(Draft::Load { place, view: Box::new(view), dst }),
                        Err(src) => {
                            // a register or a number: through a kernel that copies
                            self.read(src);
                            let f = math::select::select(n.dtype);
                            let inputs = [src, src, src].into_iter().collect();
                            self.drafts.push(Draft::Map { f, dst, inputs, reuse: false });
                        }
                    }
                    dst
                }
                Kind::Mask(frame) => {
                    self.cost += n.cost as usize;
                    let src = self.operand(n.inputs[0])?;
                    self.read(src);
                    let dst = dst(self, x)?;
                    self.drafts.push(Draft::Mask { frame: frame.clone(), size: n.dtype.size(), dst, src });
                    dst
                }
                Kind::Param | Kind::Const(_) | Kind::Fold(_) | Kind::Opaque(_) | Kind::Project(_) => {
                    return Err(misplaced());
                }
            };
            self.locals.insert(x, local);
            for &k in folds.get(&x).into_iter().flatten() {
                // a pass that reads x later may do it
                if !self.running.contains(&k) {
                    self.reduce(k, local);
                }
            }
        }
        for (k, &f) in self.r.folds.iter().enumerate() {
            if let Role::Weighted { matrix, .. } = self.l.roles[f as usize] {
                self.weighted(k as u32, f, matrix)?;
                continue;
            }
            self.cost += 3;
            let input = ir.nodes[f as usize].inputs[0];
            if self.running.contains(&(k as u32)) {
                continue;
            }
            if !self.locals.contains_key(&input.node) {
                let src = self.operand(input)?;
                self.reduce(k as u32, src);
            }
        }
        Ok(())
    }

    /// Whether each block is one row, whose element of a column is a number for all of it.
    fn one_row(&self) -> bool {
        let cut = self.r.cut;
        cut.by_rows() && cut.joined() == 1 && cut.row() > ONE_ROW
    }

    /// Where the blocks of a value go: to memory if it is stored; to a whole leaf if a reduction wants that.
    fn result(&mut self, x: u32, leaf: bool) -> Result<Local> {
        let step = self.l.ir.nodes[x as usize].dtype.size();
        if self.l.stored[x as usize] && self.l.home_unit[x as usize] == self.unit {
            let place = self.l.place(x)?;
            let local = self.mem(place, step, None, true);
            if let Local::Mem(k) = local {
                // a reduction of long rows reads the array itself
                self.mems[k].streamed = !leaf && self.is_streamed(x);
            }
            return Ok(local);
        }
        if leaf {
            let place = Place { base: SMALL, offset: 0 };
            self.mems.push(Mem {
                place,
                step,
                leaf: true,
                readable: None,
                inside: None,
                written: true,
                masked: false,
                streamed: false,
                running: None,
                far: false,
                spill: 0,
            });
            return Ok(Local::Mem(self.mems.len() - 1));
        }
        Ok(self.register())
    }

    /// Whether a value is written past the caches: a large result that nobody else in the plan reads.
    fn is_streamed(&self, x: u32) -> bool {
        let ir = self.l.ir;
        let here = |j: u32| self.r.nodes.binary_search(&j).is_ok() || self.r.folds.contains(&j);
        matches!(self.l.home[x as usize], Home::Outside(_))
            && bytes(&ir.nodes[x as usize]) >= STREAMED
            && !ir.nodes.iter().enumerate().any(|(j, n)| n.inputs.iter().any(|r| r.node == x) && !here(j as u32))
    }

    /// The twin of a node that is computed in this region as well, from here on.
    fn twin(&self, x: u32) -> Option<Twin> {
        let twin = *self.l.ir.twins.get(&x)?;
        let here = twin.other > x
            && self.r.nodes.binary_search(&twin.other).is_ok()
            && self.l.roles[twin.other as usize] == Role::None;
        here.then_some(twin)
    }

    fn reduce(&mut self, fold: u32, src: Local) {
        self.read(src);
        self.drafts.push(match self.r.cut.by_rows() && !self.is_leading(fold) {
            true => Draft::Row(RowDraft::Collect { fold, src }),
            false => Draft::Fold { fold, src },
        });
    }

    /// What a copy reads: memory, or else a value of the block.
    fn source(&mut self, r: Ref, n: &Node) -> Result<std::result::Result<(Place, Strided), Local>> {
        if self.l.is_number(r.node) || (r.view == DIRECT && self.locals.contains_key(&r.node)) {
            return Ok(Err(self.operand(r)?));
        }
        let view = match r.view {
            DIRECT => View::whole(&[n.n]),
            v => self.l.ir.views[v as usize].clone(),
        };
        Ok(Ok((self.l.place(r.node)?, Strided::new(&view, n.dtype.size()))))
    }

    fn is_leading(&self, fold: u32) -> bool {
        self.fold(self.r.folds[fold as usize]).is_ok_and(|f| f.leading)
    }

    /// What a reduction of this region, or a product that joins its rows, comes to.
    fn fold(&self, x: u32) -> Result<Fold> {
        match (self.l.roles[x as usize], &self.l.ir.nodes[x as usize].kind) {
            (Role::Weighted { row, .. }, _) => Ok(Fold { op: ReduceOp::Sum, rows: self.r.n / row, row, leading: true }),
            (_, Kind::Fold(fold)) => Ok(*fold),
            _ => Err(misplaced()),
        }
    }
}
