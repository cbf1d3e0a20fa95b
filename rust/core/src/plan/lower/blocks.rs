//! The code of one region: registers, operands, loads at the edges, reductions at the end.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::composer::Composer;
use super::passes::{ARRAYS, Arranger, Item, escaping};
use super::rows::RowDraft;
use super::{Home, LARGE, Lower, REGISTERS, SMALL, bytes, fold_kernels, misplaced};
use crate::Result;
use crate::code::{At, Pass, Span, Step};
use crate::exec::buffer::ALIGN;
use crate::exec::divide;
use crate::exec::generated::Entry;
use crate::exec::narrow;
use crate::exec::region::{BlockFold, Instr, Mem, Operand, Place, Region};
use crate::exec::rows::RowInstr;
use crate::exec::strided::Strided;
use crate::math::reduce::BLOCK;
use crate::math::{self, Kernel};
use crate::ops::ReduceOp;
use crate::plan::frame::Frame;
use crate::plan::ir::{DIRECT, Fold, Ir, Kind, Node, Ref, Twin};
use crate::plan::memory::padded;
use crate::plan::region;
use crate::plan::rows::{Role, divisor, repeats};
use crate::plan::view::View;
use crate::tape::DType;

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

    /// What the blocks do, in order.
    fn items(&self) -> Arranged {
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

    /// The members of a pass as one instruction.
    fn pass(
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
