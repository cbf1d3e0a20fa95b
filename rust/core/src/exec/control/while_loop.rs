//! Stages that run while a condition holds, with what the later ones read of the earlier ones.

use std::sync::Arc;

use smallvec::SmallVec;

use super::moves::{self, Length};
use super::repeat::Repeat;
use super::{Left, Once, Shared, Watch};
use crate::exec::buffer::{ALIGN, Buffer};
use crate::exec::node::Call;
use crate::exec::region::Bases;
use crate::exec::run::Frame;
use crate::ops::control::{Stage, While};
use crate::{Error, Result};

/// What a stage had in some of its carries before the first step and after each: one entry after the other, each with all of
/// these carries.
struct Stack {
    /// The carries, where they begin in an entry, and how much of it they are.
    kept: Vec<(usize, usize, Length)>,
    memory: Option<Buffer>,
    /// Of an entry.
    bytes: usize,
    len: usize,
    /// The entry before the first step, behind those of earlier runs.
    first: usize,
}

/// Entries that a stack begins with, and bytes, at most.
const ENTRIES: usize = 64;
const START: usize = 16 << 10;

impl Stack {
    /// For the carries of stage `s` that somebody reads, with their lengths.
    fn new(w: &While, s: usize, length: impl Fn(usize) -> Length) -> Result<Stack> {
        let mut kept: Vec<(usize, usize, Length)> = Vec::new();
        let mut bytes = 0;
        for r in w.stages[s + 1..].iter().flat_map(|later| &later.reads).filter(|r| usize::from(r.stage) == s) {
            let k = usize::from(r.slot);
            if kept.iter().any(|x| x.0 == k) {
                continue;
            }
            let length = length(k);
            // what is read in place begins with a whole vector
            if length.bytes() > ALIGN {
                bytes = usize::next_multiple_of(bytes, ALIGN);
            }
            kept.push((k, bytes, length));
            bytes += length.bytes().next_multiple_of(8);
        }
        if kept.iter().any(|x| x.2.bytes() > ALIGN) {
            bytes = bytes.next_multiple_of(ALIGN);
        }
        let memory = if kept.is_empty() { None } else { Some(Buffer::new((bytes * ENTRIES).min(START).max(bytes))?) };
        Ok(Stack { kept, memory, bytes, len: 0, first: 0 })
    }

    /// # Safety
    /// The carries can be read.
    #[inline(always)]
    unsafe fn push(&mut self, body: &Repeat<'_>) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let used = self.len * self.bytes;
        let mut end = memory.as_mut_ptr().wrapping_add(used);
        if used + self.bytes > memory.len_bytes() {
            let more = Buffer::new((used + self.bytes) * 2)?;
            // SAFETY: the new buffer is larger.
            unsafe { std::ptr::copy_nonoverlapping(memory.as_ptr(), more.as_mut_ptr(), used) };
            end = more.as_mut_ptr().wrapping_add(used);
            self.memory = Some(more);
        }
        // SAFETY: there is room, and the caller's.
        unsafe { moves::put(self.kept.iter().map(|&(k, at, length)| (body.carry(k), end.wrapping_add(at), length))) };
        self.len += 1;
        Ok(())
    }

    fn at(&self, i: usize) -> *mut u8 {
        self.memory
            .as_ref()
            .map_or(std::ptr::null_mut(), |m| m.as_mut_ptr().wrapping_add((self.first + i) * self.bytes))
    }

    /// Where carry k begins in an entry.
    fn place(&self, k: usize) -> Result<usize> {
        let found = self.kept.iter().find(|x| x.0 == k);
        found.map(|x| x.1).ok_or_else(|| Error::Internal("a stack that was not kept".into()))
    }
}

/// Where the entries of a run begin in each stack, and its steps.
pub type Run = (SmallVec<[usize; 2]>, usize);

/// What stages have done, for a later call; or that it is to be kept.
pub struct Kept {
    /// Somebody wants it, who reads what this loop does.
    reader: Option<Arc<While>>,
    stacks: Vec<Stack>,
    steps: usize,
}

impl Kept {
    /// An order, with the stacks of earlier runs.
    pub fn wanted(reader: &Arc<While>, before: Option<Kept>) -> Kept {
        Kept { reader: Some(reader.clone()), stacks: before.map_or_else(Vec::new, |k| k.stacks), steps: 0 }
    }

    /// Whether a loop has filled the order.
    pub fn is_done(&self) -> bool {
        self.reader.is_none()
    }

    /// Where the entries of the last run begin, and its steps.
    pub fn run(&self) -> Run {
        (self.stacks.iter().map(|s| s.first).collect(), self.steps)
    }

    /// The same as if that had been the last run.
    pub fn turn_to(&mut self, (first, steps): &Run) {
        for (s, &first) in self.stacks.iter_mut().zip(first) {
            s.first = first;
        }
        self.steps = *steps;
    }

    pub fn bytes(&self) -> usize {
        self.stacks.iter().map(|s| s.len * s.bytes).sum()
    }
}

/// What a stage reads at a step from one entry of one stack.
struct Reads {
    stage: usize,
    after: bool,
    /// Copied: from where in the entry, where to, how much.
    small: SmallVec<[(usize, *mut u8, Length); 24]>,
    /// Read in place: from where in the entry, and the base.
    large: SmallVec<[(usize, usize); 2]>,
}

impl Call {
    /// # Safety
    /// As for `run`.
    pub(super) unsafe fn while_loop(&self, w: &While, bases: Bases<'_>, kept: &mut [Option<Left>]) -> Result<()> {
        let input = |k: usize| self.input(k, bases).cast_const();
        let consts: SmallVec<[*const u8; 16]> = (0..w.consts).map(input).collect();
        let mut steps = 0;
        let mut stacks: Vec<Stack> = Vec::with_capacity(w.stages.len());
        let mut at = w.consts;
        let mut before = Vec::new().into_iter();
        // who reads what is kept, and how many stages are done
        let (mut reader, mut ordered, mut first) = (w, None, 0);
        match &self.shared {
            Shared::Leaves(_, later) => reader = later,
            Shared::Takes(k) | Shared::Free(k) => match kept.get_mut(*k).and_then(Option::take) {
                Some(Left::Once(found)) if found.is_done() => {
                    (first, stacks, steps) = (found.stacks.len(), found.stacks, found.steps);
                    at += w.stages[..first].iter().map(Stage::carries).sum::<usize>();
                }
                Some(Left::Once(order)) => {
                    before = order.stacks.into_iter();
                    ordered = order.reader;
                }
                Some(Left::Steps(_)) | None => {}
            },
            Shared::No | Shared::Gives(..) | Shared::Gets(..) => {}
        }
        if let Some(later) = &ordered {
            reader = later;
        }
        let mut holds = [0u8; 2 * ALIGN];
        let mut condition = None;
        if first == 0 {
            // SAFETY: the inputs are those of the condition.
            let mut c = unsafe { Once::new(&self.bodies[0].plan, &consts)? };
            c.outputs.push(holds.as_mut_ptr());
            c.set_effects_aside()?;
            condition = Some(c);
        }
        for (s, stage) in w.stages.iter().enumerate().skip(first) {
            let prepared = &self.bodies[s + 1];
            let start: SmallVec<[*const u8; 32]> = (at..at + stage.carries()).map(input).collect();
            // SAFETY: the inputs are those of the body.
            let mut body = unsafe { Repeat::new(prepared, &consts, &start)? };
            let decides = prepared.decides;
            let decision = if decides { body.output(prepared.computed()) } else { None };
            body.set_aside(prepared.computed() + usize::from(decision.is_some()))?;
            let mut stack = match before.next() {
                Some(stack) => Stack { first: stack.len, ..stack },
                None => Stack::new(reader, s, |k| body.length(k))?,
            };
            let reads = reads(w, s, &stacks, &body)?;
            let mut watch = Watch::new(prepared.plan.nanoseconds());
            let mut done = 0;
            loop {
                watch.step()?;
                // SAFETY: the carries are there.
                unsafe { stack.push(&body)? };
                if s > 0 {
                    if done == steps {
                        break;
                    }
                } else if let (Some(decision), true) = (decision, done > 0) {
                    // SAFETY: one byte, which the step before has written.
                    if unsafe { decision.read() } == 0 {
                        break;
                    }
                } else if let Some(condition) = &mut condition {
                    condition.params.clear();
                    condition.params.extend(body.carries().iter().map(|p| p.cast_const()));
                    // SAFETY: constants and carries are as long as the condition says; its result is one byte.
                    unsafe { condition.run()? };
                    // SAFETY: it lives until here.
                    if unsafe { condition.outputs[0].read() } == 0 {
                        break;
                    }
                }
                let i = if stage.reverse { steps - 1 - done } else { done };
                for r in &reads {
                    let order = if w.stages[r.stage].reverse { steps - 1 - i } else { i };
                    let entry = stacks[r.stage].at(order + usize::from(r.after));
                    for &(place, base) in &r.large {
                        body.set_base(base, entry.wrapping_add(place));
                    }
                    // SAFETY: entries hold what is read; places in the arena have room for whole vectors.
                    unsafe {
                        let small = r.small.iter();
                        moves::fill(
                            small.map(|&(from, to, length)| (entry.wrapping_add(from).cast_const(), to, length)),
                        );
                    }
                }
                // SAFETY: all that the body reads is where its plan has it.
                unsafe {
                    body.run()?;
                    body.advance();
                }
                done += 1;
            }
            if s == 0 {
                steps = done;
            }
            let offset = at - w.consts;
            // SAFETY: results are as long as the carries.
            unsafe { body.copy_to((0..stage.carries()).map(|k| self.result(offset + k, bases))) };
            stacks.push(stack);
            at += stage.carries();
        }
        let place = match &self.shared {
            Shared::Leaves(k, _) => kept.get_mut(*k),
            Shared::Free(k) if ordered.is_some() || first > 0 => {
                // what was there before goes back to where it came from
                stacks.truncate(if first > 0 { first } else { stacks.len() });
                kept.get_mut(*k)
            }
            _ => None,
        };
        if let Some(place) = place {
            *place = Some(Left::Once(Kept { reader: None, stacks, steps }));
        }
        Ok(())
    }
}

/// What stage `s` reads, by the entries in which it finds it.
fn reads(w: &While, s: usize, stacks: &[Stack], body: &Repeat<'_>) -> Result<SmallVec<[Reads; 2]>> {
    let mut list: SmallVec<[Reads; 2]> = SmallVec::new();
    for (n, r) in w.stages[s].reads.iter().enumerate() {
        let stage = usize::from(r.stage);
        let place = stacks[stage].place(usize::from(r.slot))?;
        let known = list.iter().position(|x| x.stage == stage && x.after == r.after);
        let k = known.unwrap_or_else(|| {
            list.push(Reads { stage, after: r.after, small: SmallVec::new(), large: SmallVec::new() });
            list.len() - 1
        });
        let param = w.consts + w.stages[s].carries() + n;
        match body.param(param) {
            Some(to) => list[k].small.push((place, to, Length::new(body.plan.slots().0[param].bytes))),
            None => list[k].large.push((place, Frame::param(param))),
        }
    }
    Ok(list)
}
