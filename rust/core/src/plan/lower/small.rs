//! Passes of generated code in straight code.

use smallvec::SmallVec;

use super::composer::Composer;
use super::passes::{Arranger, Item, is_tiny};
use super::{Home, Lower, Temporary, misplaced};
use crate::code::{At, Module, Span, Step};
use crate::exec::generated::Entry;
use crate::exec::region::Instr;
use crate::exec::rows::RowInstr;
use crate::exec::straight;
use crate::exec::strided::Strided;
use crate::plan::ir::{DIRECT, Ir, Kind, Ref};
use crate::plan::region::{self, Schedule};
use crate::tape::DType;
use crate::{Error, Result};

/// Operations of passes over one vector, each of which is executed once a run: the code of more than this leaves no room in a
/// first-level cache of 32 KiB, and everything is fetched anew in each run (18 ns for a step of a loop that takes 33).
const ONCE: usize = 2500;

/// How a pass comes to what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From where it lies, so many elements after the first.
    There(isize),
    /// The same, where there are only those from a first to an end: zeros elsewhere.
    Framed(isize, usize, usize),
    /// One element for all.
    Splat(isize),
    /// A whole vector, whose elements then change places.
    Permute,
    /// From a copy in the order of the view.
    Spread,
}

/// What a pass reads that it does not compute, each once.
pub(super) fn reads(ir: &Ir, members: &[u32]) -> Vec<Ref> {
    let all = members.iter().flat_map(|&x| ir.nodes[x as usize].inputs.iter().copied());
    // members are in the order of the program
    let is_outside = |r: &Ref| members.binary_search(&r.node).is_err();
    let is_number = |r: &Ref| matches!(ir.nodes[r.node as usize].kind, Kind::Const(_));
    let mut outside: Vec<Ref> = all.filter(|r| is_outside(r) && !is_number(r)).collect();
    outside.sort_unstable_by_key(|r| (r.node, r.view));
    outside.dedup();
    outside
}

/// How that is read by a pass with vectors of the dtype.
pub(super) fn way(ir: &Ir, r: Ref, dtype: DType, small: usize) -> Way {
    let from = &ir.nodes[r.node as usize];
    if from.n > small {
        return Way::Spread;
    }
    if r.view == DIRECT {
        return Way::There(0);
    }
    let view = &ir.views[r.view as usize];
    if view.frame.is_some() {
        if let Some((first, end)) = Strided::new(view, from.dtype.size()).as_range() {
            return Way::Framed(view.collapsed().offset, first, end);
        }
    } else {
        let v = view.collapsed();
        if v.dims.is_empty() || v.strides.iter().all(|&s| s == 0) && from.dtype != DType::Bool {
            return if from.dtype == DType::Bool { Way::There(v.offset) } else { Way::Splat(v.offset) };
        }
        if view.contiguous() {
            return Way::There(v.offset);
        }
    }
    let tiny = from.dtype == dtype && is_tiny(from.n, dtype) && is_tiny(view.size(), dtype);
    if tiny { Way::Permute } else { Way::Spread }
}

impl Lower<'_> {
    /// Decides which nodes of straight code are passes, and says which are not.
    pub(super) fn arrange(&mut self, schedule: &Schedule) -> Vec<bool> {
        let ir = self.ir;
        let generate = self.generate;
        let may = |_: u32| generate;
        let arrange = |unit: &region::Unit| match unit {
            region::Unit::Small(nodes) if generate => Arranger::new(ir, true, &may, &|_| false).arrange(nodes),
            region::Unit::Small(nodes) => nodes.iter().map(|&x| Item::Node(x)).collect(),
            region::Unit::Region(_) | region::Unit::Call(_) => Vec::new(),
        };
        self.items = schedule.units.iter().map(arrange).collect();
        self.escapes = vec![false; ir.nodes.len()];
        let mut alone = vec![false; ir.nodes.len()];
        if !self.generate {
            return alone;
        }
        self.bound_code();
        // the pass of each node, from 1 on
        let mut of = vec![0u32; ir.nodes.len()];
        let mut passes = 0;
        for item in self.items.iter().flatten() {
            if let Item::Pass(_, members) = item {
                passes += 1;
                for &x in members {
                    of[x as usize] = passes;
                }
            }
            if let Item::Node(x) = item {
                alone[*x as usize] = true;
            }
        }
        for (i, n) in ir.nodes.iter().enumerate() {
            for r in &n.inputs {
                let from = of[r.node as usize];
                self.escapes[r.node as usize] |= from != 0 && from != of[i];
            }
        }
        for &o in &ir.outputs {
            self.escapes[o as usize] = true;
        }
        alone
    }

    /// Leaves passes over one vector to kernels, the shortest first, until the code of the others is short enough.
    fn bound_code(&mut self) {
        let ir = self.ir;
        let is_once = |dtype: DType, members: &[u32]| members.iter().all(|&x| is_tiny(ir.nodes[x as usize].n, dtype));
        let mut lengths: Vec<usize> = Vec::new();
        for item in self.items.iter().flatten() {
            if let Item::Pass(dtype, members) = item
                && is_once(*dtype, members)
            {
                lengths.push(members.len());
            }
        }
        if lengths.iter().sum::<usize>() <= ONCE {
            return;
        }
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let mut room = ONCE;
        let kept = lengths.iter().take_while(|&&n| {
            let fits = n <= room;
            room = room.saturating_sub(n);
            fits
        });
        let mut left = kept.count();
        let least = lengths.get(left).copied().unwrap_or(0);
        let mut split = |item: Item| match item {
            Item::Pass(dtype, members) if is_once(dtype, &members) => {
                // of those of one length the first ones stay
                if members.len() >= least && left > 0 {
                    left -= 1;
                    return vec![Item::Pass(dtype, members)];
                }
                members.into_iter().map(Item::Node).collect()
            }
            other => vec![other],
        };
        for items in &mut self.items {
            *items = std::mem::take(items).into_iter().flat_map(&mut split).collect();
        }
    }

    /// One step that computes the members of a pass.
    pub(super) fn small_pass(&mut self, dtype: DType, members: &[u32]) -> Result<()> {
        let ir = self.ir;
        let most = members.iter().map(|&x| ir.nodes[x as usize].n).max().unwrap_or(0);
        let once = is_tiny(most, dtype);
        let mut temporary: Temporary = SmallVec::new();
        let mut composer = Composer::new(ir, dtype, if once { Span::Once } else { Span::Loop });
        for &x in members {
            composer.member(x, &mut |c, r| self.small_read(c, r, dtype, &mut temporary))?;
        }
        for &x in members {
            if self.escapes[x as usize] {
                let Home::Small(at) = self.settle(x) else { return Err(misplaced()) };
                composer.store(x, At { base: None, offset: offset(at as isize)? }, false)?;
            }
        }
        let cell = self.constant(Box::new([0; 8]));
        self.entries.push((self.code.constants.len() - 1, self.passes.len()));
        self.passes.push(composer.pass);
        self.step(straight::generated, most, [0, 0, 0, cell])?;
        self.code.nanoseconds = self.code.nanoseconds.saturating_add(members.len() * most / 32);
        for (at, bytes) in temporary {
            self.small.give_back(at, bytes);
        }
        for r in reads(ir, members) {
            self.release(r.node);
        }
        for &x in members {
            self.release(x);
        }
        Ok(())
    }

    /// The value of what a pass reads.
    fn small_read(&mut self, c: &mut Composer<'_>, r: Ref, dtype: DType, temporary: &mut Temporary) -> Result<u32> {
        let from = &self.ir.nodes[r.node as usize];
        let size = from.dtype.size() as isize;
        let way = way(self.ir, r, dtype, self.small_limit);
        let home = match self.home[r.node as usize] {
            Home::Small(at) => at as isize,
            _ if way == Way::Spread => 0,
            _ => return Err(misplaced()),
        };
        let at = |from: isize| offset(from).map(|offset| At { base: None, offset });
        Ok(match way {
            Way::There(first) => c.load(at(home + first * size)?, from.dtype),
            Way::Framed(first, from_element, end) => {
                c.load_inside(at(home + first * size)?, from.dtype, (from_element, end))
            }
            Way::Splat(first) => c.pass.push(Step::Splat(at(home + first * size)?)),
            Way::Permute => {
                let whole = c.load(at(home)?, from.dtype);
                c.permute(whole, r)
            }
            Way::Spread => {
                let n = if r.view == DIRECT { from.n } else { self.ir.views[r.view as usize].size() };
                let place = self.spread(r, n, temporary)?;
                c.load(at(place as isize)?, from.dtype)
            }
        })
    }

    /// Makes the code of all passes, and writes down where it lies; whether that could be done.
    pub(super) fn generated(&mut self) -> bool {
        if self.passes.is_empty() {
            return true;
        }
        let Some((module, starts)) = Module::build(&self.passes) else { return false };
        for &(constant, pass) in &self.entries {
            self.code.constants[constant].1 = Box::new(starts[pass].to_ne_bytes());
        }
        for r in self.code.regions_mut() {
            for instr in &mut r.body {
                if let Instr::Pass(entry) | Instr::Row(RowInstr::Pass(entry)) = instr {
                    *entry = Entry(starts[entry.0]);
                }
            }
        }
        self.code.module = Some(module);
        true
    }
}

fn offset(at: isize) -> Result<i32> {
    i32::try_from(at)
        .map_err(|_| Error::Memory("the small arrays of one plan take more than 2 GiB; split the computation".into()))
}
