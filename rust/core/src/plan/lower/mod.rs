//! From a schedule to code: places for all values, instructions with resolved operands.

mod blocks;
mod calls;
mod chains;
mod composer;
mod entries;
mod indexed;
mod loops;
mod passes;
mod pieces;
mod products;
mod rows;
mod small;
mod steps;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use self::blocks::{Blocks, ROW_BLOCK};
use self::chains::Chains;
use self::entries::Together;
use self::passes::{Item, MOST};
use self::small::Way;
use super::Options;
use super::entries::runs;
use super::ir::{DIRECT, Fold, Ir, Kind, NOBODY, Node, Ref};
use super::memory::{Places, SmallPlaces, padded};
use super::region::{self, Schedule};
use super::rows::Role;
use crate::code::{self, Pass};
use crate::exec::region::Place;
use crate::exec::run::{Code, OutputSlot, ParamSlot, Unit};
use crate::exec::straight;
use crate::exec::strided::Strided;
use crate::math;
use crate::math::reduce::{AccumulateKernel, BLOCK, ReduceKernel};
use crate::tape::DType;
use crate::{Error, Result};

/// Bases of places: small arrays, large arrays, then the parameters and the outputs.
const SMALL: u32 = 0;
const LARGE: u32 = 1;
const FIRST: u32 = 2;

/// The registers of a block should take this much of the first-level cache.
const REGISTERS: usize = 24 << 10;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Nowhere,
    Small(usize),
    Large(usize),
    /// A parameter or an output.
    Outside(u32),
    /// One part of it at a time, in each worker of a run: its place in the list of such values, and in their memory.
    Scratch(u32, usize),
}

struct Lower<'a> {
    ir: &'a Ir,
    stored: &'a [bool],
    home_unit: &'a [u32],
    roles: &'a [Role],
    chains: Chains,
    small_limit: usize,
    code: Code,
    small: SmallPlaces,
    large: Places,
    home: Vec<Home>,
    /// The time after which the value is not read.
    last: Vec<u32>,
    /// The output that a node is, if any.
    output: FxHashMap<u32, u32>,
    /// Numbers and counts in the arena.
    consts: FxHashMap<u32, usize>,
    /// How many elements of a number are read.
    lengths: FxHashMap<u32, usize>,
    /// Views that several steps read, by node and view: where they are spread out, once they are, and for how many still.
    spread: FxHashMap<(u32, u32), (Option<usize>, u32)>,
    registers: usize,
    now: u32,
    /// Whether passes are made into code.
    generate: bool,
    /// For each unit of straight code, what it does.
    items: Vec<Vec<Item>>,
    /// Whether the value of a member of such a pass is read by anybody else.
    escapes: Vec<bool>,
    passes: Vec<Pass>,
    /// Constants that are to hold the address of a pass, and which one.
    entries: Vec<(usize, usize)>,
    /// The units that are being lowered to run by parts of a batch.
    together: Option<Together>,
    /// See `Program::carries`.
    carries: &'a [(u32, u32)],
    /// When each node is read for the last time by another one.
    read_until: Vec<u32>,
    /// Outputs that are written where their parameters are.
    in_place: Vec<u32>,
    /// The units of loops, with their nodes.
    loops: Vec<(usize, u32)>,
}

const FOREVER: u32 = u32::MAX;

/// Places, with their lengths in bytes.
type Temporary = SmallVec<[(usize, usize); 2]>;

pub fn lower(ir: &Ir, schedule: &Schedule, options: Options, carries: &[(u32, u32)]) -> Result<Code> {
    let known = ir.nodes.iter().filter(|n| n.op.is_some()).count();
    if options.generate && options.fuse && (1..=MOST).contains(&known) && code::has_code() {
        // where memory may not be executed there are kernels
        if let Some(code) = attempt(ir, schedule, options, carries, true)? {
            return Ok(code);
        }
    }
    attempt(ir, schedule, options, carries, false)?.ok_or_else(misplaced)
}

fn attempt(
    ir: &Ir,
    schedule: &Schedule,
    options: Options,
    carries: &[(u32, u32)],
    generate: bool,
) -> Result<Option<Code>> {
    let (small_limit, fuse) = (options.small.min(1024), options.fuse);
    let count = ir.nodes.len();
    let mut l = Lower {
        ir,
        stored: &schedule.stored,
        home_unit: &schedule.home,
        roles: &schedule.roles,
        chains: Chains::default(),
        generate,
        items: Vec::new(),
        escapes: Vec::new(),
        passes: Vec::new(),
        entries: Vec::new(),
        together: None,
        small_limit,
        code: Code::default(),
        small: SmallPlaces::default(),
        large: Places::default(),
        home: vec![Home::Nowhere; count],
        last: vec![0; count],
        output: ir.outputs.iter().enumerate().map(|(k, &o)| (o, k as u32)).collect(),
        consts: FxHashMap::default(),
        lengths: FxHashMap::default(),
        spread: FxHashMap::default(),
        registers: 0,
        now: 0,
        carries,
        read_until: Vec::new(),
        in_place: Vec::new(),
        loops: Vec::new(),
    };
    let alone = l.arrange(schedule);
    l.chains = Chains::new(ir, schedule, small_limit, fuse, &|x| !generate || alone[x as usize]);
    l.lifetimes(schedule);
    l.read_until.clone_from(&l.last);
    if options.body {
        for &p in &ir.params {
            if l.last[p as usize] > 0 {
                l.last[p as usize] = FOREVER;
            }
        }
    }
    l.readers();
    l.params();
    l.now = 0;
    // a carry that is written where it was read is read to the end before
    let by_entries = fuse && carries.is_empty();
    let mut runs = if by_entries { runs(ir, schedule) } else { Vec::new() }.into_iter().peekable();
    for (u, unit) in schedule.units.iter().enumerate() {
        if let Some(run) = runs.next_if(|run| run.units.start == u) {
            l.begin(&run);
        }
        match unit {
            region::Unit::Small(_) => {
                let mut from = l.code.steps.len();
                for item in std::mem::take(&mut l.items[u]) {
                    l.now += 1;
                    let x = match item {
                        Item::Node(x) => x,
                        Item::Pass(dtype, members) => {
                            l.small_pass(dtype, &members)?;
                            continue;
                        }
                    };
                    if let Kind::Opaque(o) = &l.ir.nodes[x as usize].kind
                        && !l.pieces(x, o)?
                        && !l.small_product(x, o)?
                        && !l.indexed(x, o)?
                    {
                        l.steps_from(from);
                        l.call(x)?;
                        from = l.code.steps.len();
                    } else if !matches!(l.ir.nodes[x as usize].kind, Kind::Opaque(_)) {
                        l.small_node(x)?;
                    }
                }
                l.steps_from(from);
            }
            region::Unit::Region(r) => {
                l.now += 1;
                l.region(r, u as u32)?;
            }
            region::Unit::Call(list) => {
                l.now += 1;
                match list[..] {
                    [x] => {
                        let from = l.code.steps.len();
                        match &l.ir.nodes[x as usize].kind {
                            Kind::Opaque(o) if l.indexed(x, o)? => l.steps_from(from),
                            _ => l.call(x)?,
                        }
                    }
                    _ => l.products(list)?,
                }
            }
        }
        l.end(u)?;
    }
    l.finish()
}

fn bytes(n: &Node) -> usize {
    n.n * n.dtype.size()
}

impl Lower<'_> {
    fn is_number(&self, x: u32) -> bool {
        matches!(self.ir.nodes[x as usize].kind, Kind::Const(_))
    }

    fn use_at(&mut self, r: Ref, n: usize, t: u32) {
        self.last[r.node as usize] = t;
        if self.is_number(r.node) {
            let length = self.lengths.entry(r.node).or_default();
            *length = (*length).max(n);
        }
    }

    /// The results of an operation with several are there from `t` on.
    fn results_at(&mut self, x: u32, t: u32) {
        if let Kind::Opaque(o) = &self.ir.nodes[x as usize].kind {
            for &r in o.results.iter().filter(|&&r| r != NOBODY) {
                self.last[r as usize] = self.last[r as usize].max(t);
            }
        }
    }

    fn lifetimes(&mut self, schedule: &Schedule) {
        let ir = self.ir;
        let mut t = 0;
        let items = std::mem::take(&mut self.items);
        for (u, unit) in schedule.units.iter().enumerate() {
            match unit {
                region::Unit::Small(_) => {
                    for item in &items[u] {
                        t += 1;
                        for &x in item.nodes() {
                            self.last[x as usize] = self.last[x as usize].max(t);
                            self.results_at(x, t);
                            for r in self.chains.inputs(ir, x) {
                                // numbers are part of generated code
                                let n = if let Item::Pass(..) = item { 1 } else { ir.nodes[x as usize].n };
                                self.use_at(r, n, t);
                            }
                        }
                    }
                }
                region::Unit::Region(region) => {
                    t += 1;
                    let most = if region.cut.by_rows() { ROW_BLOCK.max(region.cut.row()) } else { BLOCK };
                    for &x in region.nodes.iter().chain(&region.folds) {
                        self.last[x as usize] = self.last[x as usize].max(t);
                        for r in self.chains.inputs(ir, x) {
                            self.use_at(r, most, t);
                        }
                    }
                }
                region::Unit::Call(list) => {
                    t += 1;
                    for &x in list {
                        self.last[x as usize] = t;
                        self.results_at(x, t);
                        for r in &ir.nodes[x as usize].inputs {
                            self.use_at(*r, 1, t);
                        }
                    }
                }
            }
        }
        for &o in &ir.outputs {
            self.last[o as usize] = FOREVER;
        }
        self.items = items;
    }

    /// Counts the steps of straight code that read a view: it is spread out once for all of them.
    fn readers(&mut self) {
        let ir = self.ir;
        for item in self.items.iter().flatten() {
            match item {
                Item::Node(x) => {
                    if let Kind::Map(_) = ir.nodes[*x as usize].kind {
                        for r in self.chains.inputs(ir, *x).iter().filter(|r| r.view != DIRECT) {
                            self.spread.entry((r.node, r.view)).or_default().1 += 1;
                        }
                    }
                }
                Item::Pass(dtype, members) => {
                    for r in small::reads(ir, members) {
                        if small::way(ir, r, *dtype, self.small_limit) == Way::Spread {
                            self.spread.entry((r.node, r.view)).or_default().1 += 1;
                        }
                    }
                }
            }
        }
    }

    fn params(&mut self) {
        for (k, &p) in self.ir.params.iter().enumerate() {
            let n = &self.ir.nodes[p as usize];
            let mut slot = ParamSlot { bytes: bytes(n), copied: None };
            if n.n <= self.small_limit {
                if self.last[p as usize] > 0 {
                    let at = self.small.take(slot.bytes);
                    slot.copied = Some(at);
                    self.home[p as usize] = Home::Small(at);
                }
            } else {
                self.home[p as usize] = Home::Outside(FIRST + k as u32);
            }
            self.code.params.push(slot);
        }
    }

    fn output_base(&self, k: u32) -> u32 {
        FIRST + self.ir.params.len() as u32 + k
    }

    /// A place for the value of a node that the current unit computes.
    fn settle(&mut self, x: u32) -> Home {
        let n = &self.ir.nodes[x as usize];
        let home = if n.n <= self.small_limit {
            Home::Small(self.small.take(bytes(n)))
        } else if let Some(&k) = self.output.get(&x) {
            Home::Outside(self.output_base(k))
        } else if let Some(home) = self.scratch(x) {
            home
        } else {
            Home::Large(self.large.take(bytes(n)))
        };
        self.home[x as usize] = home;
        home
    }

    fn place(&self, x: u32) -> Result<Place> {
        Ok(match self.home[x as usize] {
            Home::Small(offset) => Place { base: SMALL, offset },
            Home::Large(offset) => Place { base: LARGE, offset },
            Home::Outside(base) => Place { base, offset: 0 },
            Home::Scratch(k, _) => Place { base: self.scratch_base() + k, offset: 0 },
            Home::Nowhere => return Err(Error::Internal(format!("value {x} is read before it is computed"))),
        })
    }

    /// Frees what is read for the last time now.
    fn release(&mut self, x: u32) {
        if self.last[x as usize] != self.now {
            return;
        }
        let bytes = bytes(&self.ir.nodes[x as usize]);
        let home = std::mem::replace(&mut self.home[x as usize], Home::Nowhere);
        self.free(home, bytes);
    }

    /// Frees a place, at the end of the run if one part of its units runs before another.
    fn free(&mut self, home: Home, bytes: usize) {
        if let Some(together) = &mut self.together {
            return together.free(home, bytes);
        }
        match home {
            Home::Small(at) => self.small.give_back(at, bytes),
            Home::Large(at) => self.large.give_back(at, bytes),
            Home::Outside(_) | Home::Scratch(..) | Home::Nowhere => {}
        }
    }

    fn constant(&mut self, contents: Box<[u8]>) -> usize {
        let at = self.small.fresh(contents.len());
        self.code.constants.push((at, contents));
        at
    }

    /// A number, as often as anybody reads it.
    fn number(&mut self, x: u32) -> Result<usize> {
        if let Some(&at) = self.consts.get(&x) {
            return Ok(at);
        }
        let n = &self.ir.nodes[x as usize];
        let Kind::Const(bits) = n.kind else { return Err(Error::Internal("a number that is none".into())) };
        let size = n.dtype.size();
        let length = self.lengths.get(&x).copied().unwrap_or(1).max(1);
        let one = &bits.to_le_bytes()[..size];
        let contents: Vec<u8> = one.iter().copied().cycle().take(padded(length * size)).collect();
        let at = self.constant(contents.into());
        self.consts.insert(x, at);
        Ok(at)
    }

    fn described(&mut self, view: Strided) -> usize {
        let view = Box::new(view);
        let at = self.constant(Box::new(straight::pointer_to(&*view)));
        self.code.views.push(view);
        at
    }

    fn region(&mut self, r: &region::Region, unit: u32) -> Result<()> {
        for &x in &r.nodes {
            if self.stored[x as usize] && self.home_unit[x as usize] == unit {
                self.settle(x);
            }
        }
        for &f in &r.folds {
            self.settle(f);
        }
        let mut b = Blocks::new(self, r, unit);
        b.emit()?;
        let region = b.finish()?;
        self.code.nanoseconds = self.code.nanoseconds.saturating_add(region.nanoseconds);
        self.code.units.push(Unit::Region(Box::new(region)));
        for &x in r.nodes.iter().chain(&r.folds) {
            for input in &self.ir.nodes[x as usize].inputs {
                self.release(input.node);
            }
            self.release(x);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Option<Code>> {
        if !self.generated() {
            return Ok(None);
        }
        // apart from every small array: those of other units live on while a region runs
        let registers = self.small.fresh(self.registers);
        for r in self.code.regions_mut() {
            r.at = Place { base: SMALL, offset: registers };
        }
        for &o in &self.ir.outputs {
            let n = &self.ir.nodes[o as usize];
            let copied = match self.home[o as usize] {
                Home::Small(at) => Some(at),
                Home::Outside(_) => None,
                Home::Large(_) | Home::Scratch(..) | Home::Nowhere => return Err(misplaced()),
            };
            let in_place = self.in_place.contains(&(self.code.outputs.len() as u32));
            self.code.outputs.push(OutputSlot { bytes: bytes(n), copied, scalar: false, in_place });
        }
        self.code.small = self.small.end() + padded(1);
        self.code.arena = self.code.small + self.large.end();
        self.code.nanoseconds = self.code.nanoseconds.saturating_add(4 * self.code.steps.len());
        Ok(Some(self.code))
    }
}

fn misplaced() -> Error {
    Error::Internal("a value in the wrong kind of place".into())
}

fn fold_kernels(fold: &Fold, dtype: DType) -> Result<(ReduceKernel, AccumulateKernel, u64)> {
    let isa = math::isa();
    match (
        math::reduce::block(isa, fold.op, dtype),
        math::reduce::accumulate(isa, fold.op, dtype),
        math::reduce::init(fold.op, dtype),
    ) {
        (Some(block), Some(accumulate), Some(init)) => Ok((block, accumulate, init)),
        _ => Err(Error::Internal(format!("no kernel reduces {dtype} by {:?}", fold.op))),
    }
}
