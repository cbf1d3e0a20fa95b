//! What loops of one plan share: the derivative of a loop begins with what the loop itself has done.
//!
//! A loop that runs while a condition holds has stages, of which its derivative has more (see `ops::control`); where the first
//! stages of two are the same, on the same inputs, the later one takes the stacks of the earlier one. The derivative of a
//! scan runs the scan's body again, on its history; the loops in it take what the scan's have left.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use super::Lower;
use crate::exec::control::{Prepared, Shared};
use crate::exec::node::{Argument, Call};
use crate::exec::run::Unit;
use crate::ops::control::{For, While};
use crate::ops::{Control, Leaf, Op};
use crate::plan::Program;
use crate::plan::ir::{DIRECT, Kind, Ref};

type Inputs = SmallVec<[u32; 3]>;

/// Whether the first stages of `w` are all those of `first`.
fn extends(w: &While, first: &While) -> bool {
    let count = first.stages.len();
    first.condition == w.condition
        && first.consts == w.consts
        && count < w.stages.len()
        && first.stages == w.stages[..count]
}

/// The inputs of a loop, by their number: constants, and carries of all stages.
fn inputs_of(w: &While) -> usize {
    w.consts + carries_of(w)
}

fn carries_of(w: &While) -> usize {
    w.stages.iter().map(|s| s.carries()).sum()
}

/// The loop that runs while a condition holds that this is, if it is one.
fn while_of(op: &Op) -> Option<&While> {
    match op {
        Op::Control(Control::While(w)) => Some(w),
        _ => None,
    }
}

impl Lower<'_> {
    /// What node x, a loop, shares with an earlier one.
    pub(super) fn shared(&mut self, x: u32, op: &Op, results: &[Option<Argument>], bodies: &[Prepared]) -> Shared {
        let found = match op {
            Op::Control(Control::While(w)) => self.continued(x, w, results),
            Op::Control(Control::For(f)) => self.retraced(x, f, bodies),
            _ => return Shared::No,
        };
        let free = |k: &mut usize| {
            *k += 1;
            Shared::Free(*k - 1)
        };
        match (found, op) {
            (Some(shared), _) => shared,
            (None, op) => {
                self.loops.push((self.code.units.len(), x));
                if while_of(op).is_some() { free(&mut self.code.kept) } else { Shared::No }
            }
        }
    }

    /// Whether two nodes read the same.
    fn same(&self, a: Ref, b: Ref) -> bool {
        let (m, n) = (&self.ir.nodes[a.node as usize], &self.ir.nodes[b.node as usize]);
        let copies = matches!((&m.kind, &n.kind), (Kind::Copy, Kind::Copy));
        a == b || a.view == b.view && copies && m.n == n.n && m.dtype == n.dtype && m.inputs == n.inputs
    }

    fn continued(&mut self, x: u32, w: &While, results: &[Option<Argument>]) -> Option<Shared> {
        let inputs = &self.ir.nodes[x as usize].inputs;
        let fits = |&&(unit, before): &&(usize, u32)| {
            let Some(Unit::Call(call)) = self.code.units.get(unit) else { return false };
            let known = &self.ir.nodes[before as usize].inputs;
            matches!(call.shared, Shared::Free(_))
                && while_of(&call.op).is_some_and(|first| {
                    extends(w, first) && results.iter().take(carries_of(first)).all(Option::is_none)
                })
                && known.iter().zip(inputs).all(|(&a, &b)| self.same(a, b))
        };
        let unit = self.loops.iter().rev().find(fits)?.0;
        let Some(Unit::Call(call)) = self.code.units.get_mut(unit) else { return None };
        let Shared::Free(k) = call.shared else { return None };
        call.shared = Shared::Leaves(k, Box::new(w.clone()));
        Some(Shared::Takes(k))
    }

    /// A scan that runs the body of an earlier one again.
    fn retraced(&mut self, x: u32, f: &For, bodies: &[Prepared]) -> Option<Shared> {
        let later = bodies.first()?;
        for at in (0..self.loops.len()).rev() {
            let (unit, before) = self.loops[at];
            let Some(Unit::Call(call)) = self.code.units.get(unit) else { continue };
            let Op::Control(Control::For(first)) = &call.op else { continue };
            if first.length != f.length || !matches!(call.shared, Shared::No) {
                continue;
            }
            let (own, same_as) = self.parameters(x, f, before, first);
            let pairs = pairs(first, &call.bodies[0], f, later, (&own, &same_as));
            if pairs.is_empty() {
                continue;
            }
            let k = self.code.kept;
            self.code.kept += 1;
            let (gives, gets) = pairs.into_iter().map(|(a, w, b)| ((a, Arc::new(w)), b)).unzip();
            if let Some(Unit::Call(call)) = self.code.units.get_mut(unit) {
                call.shared = Shared::Gives(k, gives);
            }
            return Some(Shared::Gets(k, gets));
        }
        None
    }

    /// For each parameter of the body of `first`, and of that of f, which is the first one of the body of `first` that has the
    /// same value in the same step.
    fn parameters(&self, x: u32, f: &For, before: u32, first: &For) -> (Vec<usize>, Vec<Option<usize>>) {
        let (inputs, known) = (&self.ir.nodes[x as usize].inputs, &self.ir.nodes[before as usize].inputs);
        let Kind::Opaque(o) = &self.ir.nodes[before as usize].kind else { return (Vec::new(), Vec::new()) };
        let history = first.body.outputs().len();
        let find = |r: Ref, among: std::ops::Range<usize>| among.into_iter().find(|&k| self.same(known[k], r));
        let slices = first.consts + first.carries..known.len();
        let one = |(k, &r): (usize, &Ref)| {
            if k < f.consts {
                return find(r, 0..first.consts);
            }
            if k < f.consts + f.carries {
                return None;
            }
            let carry = (0..first.carries).find(|&c| o.results.get(history + c) == Some(&r.node) && r.view == DIRECT);
            carry.map(|c| first.consts + c).or_else(|| find(r, slices.clone()))
        };
        let own = |k: usize| match k {
            _ if k < first.consts => find(known[k], 0..first.consts).unwrap_or(k),
            _ if k < slices.start => k,
            _ => find(known[k], slices.clone()).unwrap_or(k),
        };
        ((0..known.len()).map(own).collect(), inputs.iter().enumerate().map(one).collect())
    }
}

/// The loops in the body of f that begin with what loops in the body of `first` do: the place of the earlier one in its plan,
/// the later one, and its place.
fn pairs(
    first: &For,
    earlier: &Prepared,
    f: &For,
    later: &Prepared,
    (own, same_as): (&[usize], &[Option<usize>]),
) -> Vec<(usize, While, usize)> {
    let (before, after) = (first.body.plain().program(), f.body.plain().program());
    // a body without loops is not looked at
    if !after.nodes.iter().any(|n| while_of(&n.op).is_some()) {
        return Vec::new();
    }
    let twins = Twins::new(before, after, own, same_as);
    let mut found: Vec<(usize, While, usize)> = Vec::new();
    for (b, n) in after.nodes.iter().enumerate() {
        let Some(w) = while_of(&n.op) else { continue };
        for (a, m) in before.nodes.iter().enumerate() {
            let Some(v) = while_of(&m.op).filter(|v| extends(w, v)) else { continue };
            let count = inputs_of(v);
            if !(0..count).all(|k| twins.same(before.nodes[a].inputs[k], after.nodes[b].inputs[k])) {
                continue;
            }
            let is_unread = |c: &Call| c.results.iter().take(carries_of(v)).all(Option::is_none);
            if let (Some((p, _)), Some((q, call))) = (only(earlier, &m.op), only(later, &n.op))
                && is_unread(call)
                && found.iter().all(|x| x.0 != p && x.2 != q)
            {
                found.push((p, w.clone(), q));
            }
        }
    }
    found
}

/// The only call of this operation in a plan, if nobody in the plan shares with it: its place.
fn only<'a>(p: &'a Prepared, op: &Op) -> Option<(usize, &'a Call)> {
    let mut calls = p.plan.calls().filter(|c| c.op == *op);
    match (calls.next(), calls.next()) {
        (Some(call), None) => match call.shared {
            Shared::Free(k) => Some((k, call)),
            _ => None,
        },
        _ => None,
    }
}

/// Which nodes of two programs, some of whose parameters are the same, are made in the same way from the same.
struct Twins {
    /// For each node of the first program the first one that is so made.
    before: Vec<u32>,
    /// For each node of the second one the same, if there is any.
    after: Vec<Option<u32>>,
}

impl Twins {
    fn new(before: &Program, after: &Program, own: &[usize], same_as: &[Option<usize>]) -> Twins {
        let place =
            |p: &Program| -> FxHashMap<u32, usize> { p.params.iter().enumerate().map(|(k, &p)| (p, k)).collect() };
        let mine = place(before);
        let mut table: FxHashMap<u64, u32> = FxHashMap::default();
        let hash = |op: &Op, inputs: &[u32]| {
            let mut h = FxHasher::default();
            (op, inputs).hash(&mut h);
            h.finish()
        };
        let mut first: Vec<u32> = Vec::with_capacity(before.nodes.len());
        for (i, n) in before.nodes.iter().enumerate() {
            let at = before.value(i as u32);
            let found = match n.op {
                _ if at != i as u32 => first[at as usize],
                Op::Leaf(Leaf::Param) => {
                    let k = mine.get(&at).and_then(|&k| own.get(k).copied());
                    k.map_or(at, |k| before.params[k])
                }
                Op::Host(_) => at,
                _ => {
                    let inputs: Inputs = n.inputs.iter().map(|&x| first[x as usize]).collect();
                    let known = *table.entry(hash(&n.op, &inputs)).or_insert(at);
                    let m = &before.nodes[known as usize];
                    let theirs = m.inputs.iter().map(|&x| first[x as usize]);
                    let same =
                        m.op == n.op && m.shape == n.shape && m.dtype == n.dtype && inputs.iter().copied().eq(theirs);
                    if same { known } else { at }
                }
            };
            first.push(found);
        }
        let theirs = place(after);
        let mut second: Vec<Option<u32>> = Vec::with_capacity(after.nodes.len());
        for (i, n) in after.nodes.iter().enumerate() {
            let at = after.value(i as u32);
            let found = match n.op {
                _ if at != i as u32 => second[at as usize],
                Op::Leaf(Leaf::Param) => {
                    let of = theirs.get(&at).and_then(|&k| same_as.get(k).copied().flatten());
                    of.map(|k| before.params[k])
                }
                Op::Host(_) => None,
                _ => {
                    let inputs: Option<Inputs> = n.inputs.iter().map(|&x| second[x as usize]).collect();
                    inputs.and_then(|inputs| {
                        let known = *table.get(&hash(&n.op, &inputs))?;
                        let m = &before.nodes[known as usize];
                        let theirs = m.inputs.iter().map(|&x| first[x as usize]);
                        let same = m.op == n.op
                            && m.shape == n.shape
                            && m.dtype == n.dtype
                            && inputs.iter().copied().eq(theirs);
                        same.then_some(known)
                    })
                }
            };
            second.push(found);
        }
        Twins { before: first, after: second }
    }

    fn same(&self, a: u32, b: u32) -> bool {
        self.after[b as usize] == Some(self.before[a as usize])
    }
}
