//! Running control flow: the plans of bodies, over and over, in memory that the call brings. No allocation a step.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::buffer::{ALIGN, Buffer};
use super::node::Call;
use super::pool;
use super::region::Bases;
use super::run::Frame;
use crate::ops::control::body::Body;
use crate::ops::control::{Branch, Control, For, While};
use crate::plan::Plan;
use crate::{Error, Result};

/// The plans of the bodies, for those results that somebody reads.
pub fn prepare(c: &Control, read: &dyn Fn(usize) -> bool) -> Result<Vec<Arc<Plan>>> {
    match c {
        Control::Branch(b) => b.bodies.iter().map(|body| body.plan(&mask(body.outputs().len(), read))).collect(),
        Control::For(f) => {
            let wanted: Vec<bool> = (0..f.body.outputs().len()).map(|k| k < f.carries || read(k)).collect();
            Ok(vec![f.body.plan(&wanted)?])
        }
        Control::While(w) => {
            let whole = |b: &Body| b.plan(&vec![true; b.outputs().len()]);
            let mut plans = vec![whole(&w.condition)?];
            for s in &w.stages {
                plans.push(whole(&s.body)?);
            }
            Ok(plans)
        }
    }
}

fn mask(n: usize, read: &dyn Fn(usize) -> bool) -> Vec<bool> {
    (0..n).map(read).collect()
}

/// Steps of a loop that nobody can count before, for estimates.
const GUESS: usize = 100;

/// A rough estimate of a call with these plans.
pub fn nanoseconds(c: &Control, plans: &[Arc<Plan>]) -> usize {
    let each = |p: &Arc<Plan>| p.nanoseconds().saturating_add(50);
    match c {
        Control::Branch(_) => plans.iter().map(each).max().unwrap_or(0),
        Control::For(f) => plans.iter().map(each).sum::<usize>().saturating_mul(f.length),
        // nobody knows how long: long enough to let others run meanwhile
        Control::While(_) => plans.iter().map(each).sum::<usize>().saturating_mul(GUESS).max(25_000),
    }
}

/// A plan with the memory of its run, which goes back however the loop is left.
struct Step<'a> {
    plan: &'a Plan,
    frame: Option<Box<Frame>>,
    /// So many parameters stay the same from step to step.
    fixed: usize,
    /// The others.
    params: Vec<*const u8>,
    outputs: Vec<*mut u8>,
    /// Where what stands for effects is written, and never read.
    aside: Vec<Buffer>,
}

impl<'a> Step<'a> {
    /// # Safety
    /// The parameters that stay the same can be read, for the lengths that the plan has for them, until the last step.
    unsafe fn new(plan: &'a Plan, fixed: &[*const u8]) -> Result<Step<'a>> {
        let mut frame = plan.runner().frame()?;
        // SAFETY: the caller's.
        unsafe { plan.runner().begin(&mut frame, fixed) };
        let fixed = fixed.len();
        Ok(Step { plan, frame: Some(frame), fixed, params: Vec::new(), outputs: Vec::new(), aside: Vec::new() })
    }

    /// Gives the outputs behind those that are there already a place.
    fn set_effects_aside(&mut self) -> Result<()> {
        for bytes in self.plan.output_bytes().skip(self.outputs.len()) {
            let room = Buffer::new(bytes.next_multiple_of(ALIGN) + ALIGN)?;
            self.outputs.push(room.as_mut_ptr());
            self.aside.push(room);
        }
        Ok(())
    }

    /// # Safety
    /// The parameters can be read and the outputs written, for the lengths that the plan has for them; outputs have room for
    /// whole vectors, or are a whole number of them.
    unsafe fn run(&mut self) -> Result<()> {
        match &mut self.frame {
            // SAFETY: the caller's.
            Some(frame) => unsafe { self.plan.runner().step(frame, self.fixed, &self.params, &self.outputs) },
            None => Err(Error::Internal("a step without memory".into())),
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            self.plan.runner().give_back(frame);
        }
    }
}

/// Looks for Ctrl-C about once a millisecond.
struct Watch {
    every: usize,
    left: usize,
}

impl Watch {
    fn new(nanoseconds: usize) -> Watch {
        let every = (1_000_000 / nanoseconds.max(20)).max(1);
        Watch { every, left: every }
    }

    fn step(&mut self) -> Result<()> {
        self.left -= 1;
        if self.left == 0 {
            self.left = self.every;
            if pool::interrupted() {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }
}

/// Two places for each carry: before and after a step.
struct Carries {
    _memory: Buffer,
    sides: [Vec<*mut u8>; 2],
    bytes: Vec<usize>,
}

impl Carries {
    /// # Safety
    /// `first` points at the initial carries, of so many bytes.
    unsafe fn new(first: &[*const u8], bytes: Vec<usize>) -> Result<Carries> {
        let room = |b: &usize| b.next_multiple_of(ALIGN) + ALIGN;
        let memory = Buffer::new(2 * bytes.iter().map(room).sum::<usize>())?;
        let mut at = memory.as_mut_ptr();
        let mut sides = [Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len())];
        for side in &mut sides {
            for b in &bytes {
                side.push(at);
                at = at.wrapping_add(room(b));
            }
        }
        for ((&to, &from), &n) in sides[0].iter().zip(first).zip(&bytes) {
            // SAFETY: the caller's, and the places were laid out for it.
            unsafe { std::ptr::copy_nonoverlapping(from, to, n) };
        }
        Ok(Carries { _memory: memory, sides, bytes })
    }

    fn swap(&mut self) {
        self.sides.swap(0, 1);
    }

    /// # Safety
    /// The places have room for the carries.
    unsafe fn copy_to(&self, places: impl Iterator<Item = Option<*mut u8>>) {
        for ((&from, &n), to) in self.sides[0].iter().zip(&self.bytes).zip(places) {
            if let Some(to) = to {
                // SAFETY: the caller's.
                unsafe { std::ptr::copy_nonoverlapping(from, to, n) };
            }
        }
    }
}

/// An array that is read or written slice by slice.
struct Slices {
    base: *mut u8,
    bytes: usize,
    /// Where a slice is written that is not a whole number of vectors, so that its neighbours stay as they are.
    aside: Option<Buffer>,
}

impl Slices {
    fn read(base: *mut u8, bytes: usize) -> Slices {
        Slices { base, bytes, aside: None }
    }

    fn written(base: *mut u8, bytes: usize) -> Result<Slices> {
        let aside = if bytes.is_multiple_of(ALIGN) { None } else { Some(Buffer::new(bytes)?) };
        Ok(Slices { base, bytes, aside })
    }

    fn at(&self, i: usize) -> *mut u8 {
        self.base.wrapping_add(i * self.bytes)
    }

    fn target(&self, i: usize) -> *mut u8 {
        self.aside.as_ref().map_or_else(|| self.at(i), Buffer::as_mut_ptr)
    }

    /// # Safety
    /// Slice i lies within the array.
    unsafe fn done(&self, i: usize) {
        if let Some(b) = &self.aside {
            // SAFETY: the caller's.
            unsafe { std::ptr::copy_nonoverlapping(b.as_ptr(), self.at(i), self.bytes) };
        }
    }
}

/// What a stage had in some of its carries before the first step and after each.
struct Stack {
    memory: Buffer,
    bytes: usize,
    len: usize,
}

impl Stack {
    fn new(bytes: usize) -> Result<Stack> {
        Ok(Stack { memory: Buffer::new(bytes * 16)?, bytes, len: 0 })
    }

    /// # Safety
    /// An entry can be read at `from`.
    unsafe fn push(&mut self, from: *const u8) -> Result<()> {
        let used = self.len * self.bytes;
        if used + self.bytes > self.memory.len_bytes() {
            let more = Buffer::new((used + self.bytes) * 2)?;
            // SAFETY: the new buffer is larger.
            unsafe { std::ptr::copy_nonoverlapping(self.memory.as_ptr(), more.as_mut_ptr(), used) };
            self.memory = more;
        }
        // SAFETY: there is room, and the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from, self.memory.as_mut_ptr().add(used), self.bytes) };
        self.len += 1;
        Ok(())
    }

    fn at(&self, i: usize) -> *const u8 {
        self.memory.as_ptr().wrapping_add(i * self.bytes)
    }
}

impl Call {
    /// # Safety
    /// As for `run`.
    pub(super) unsafe fn control(&self, c: &Control, bases: Bases<'_>) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            match c {
                Control::Branch(b) => self.branch(b, bases),
                Control::For(f) => self.for_loop(f, bases),
                Control::While(w) => self.while_loop(w, bases),
            }
        }
    }

    fn input(&self, k: usize, bases: Bases<'_>) -> *mut u8 {
        bases.at(self.arguments[k].place)
    }

    fn result(&self, k: usize, bases: Bases<'_>) -> Option<*mut u8> {
        self.results.get(k).and_then(Option::as_ref).map(|r| bases.at(r.place))
    }

    /// # Safety
    /// As for `run`.
    unsafe fn branch(&self, b: &Branch, bases: Bases<'_>) -> Result<()> {
        let mut first = 0;
        let mut taken = 0;
        if b.bodies.len() > 1 {
            // SAFETY: the first argument is one int64.
            let index = unsafe { self.input(0, bases).cast::<i64>().read_unaligned() };
            taken = index.clamp(0, b.bodies.len() as i64 - 1) as usize;
            first = 1;
        }
        // SAFETY: nothing stays the same.
        let mut step = unsafe { Step::new(&self.bodies[taken], &[])? };
        step.params.extend((first..self.arguments.len()).map(|k| self.input(k, bases).cast_const()));
        step.outputs.extend((0..b.bodies[taken].outputs().len()).filter_map(|k| self.result(k, bases)));
        step.set_effects_aside()?;
        // SAFETY: the arguments and results are those of the body; results of plans have room for whole vectors.
        unsafe { step.run() }
    }

    /// # Safety
    /// As for `run`.
    unsafe fn for_loop(&self, f: &For, bases: Bases<'_>) -> Result<()> {
        let plan = &self.bodies[0];
        let consts: Vec<*const u8> = (0..f.consts).map(|k| self.input(k, bases).cast_const()).collect();
        // SAFETY: the inputs are those of the body.
        let mut step = unsafe { Step::new(plan, &consts)? };
        let bytes: Vec<usize> = plan.param_bytes().collect();
        let (first, end) = (f.consts, f.consts + f.carries);
        let start: Vec<*const u8> = (first..end).map(|k| self.input(k, bases).cast_const()).collect();
        // SAFETY: the inputs are those of the body.
        let mut carries = unsafe { Carries::new(&start, bytes[first..end].to_vec())? };
        let xs: Vec<Slices> =
            (end..self.arguments.len()).map(|k| Slices::read(self.input(k, bases), bytes[k])).collect();
        let count = f.body.outputs().len();
        let size = |k: usize| {
            let (shape, dtype) = &f.body.outputs()[k];
            crate::tape::shape::size(shape) * dtype.size()
        };
        let mut ys = Vec::new();
        for k in f.carries..count {
            if let Some(at) = self.result(k, bases) {
                ys.push(Slices::written(at, size(k))?);
            }
        }
        let history: Vec<(usize, Slices)> =
            (0..f.carries).filter_map(|k| Some((k, Slices::read(self.result(count + k, bases)?, size(k))))).collect();
        step.params.resize(bytes.len() - first, std::ptr::null());
        step.outputs.resize(f.carries + ys.len(), std::ptr::null_mut());
        step.set_effects_aside()?;
        let mut watch = Watch::new(plan.nanoseconds());
        for done in 0..f.length {
            let i = if f.reverse { f.length - 1 - done } else { done };
            watch.step()?;
            for (k, h) in &history {
                // SAFETY: slice i of the history has room for the carry.
                unsafe { std::ptr::copy_nonoverlapping(carries.sides[0][*k], h.at(i), h.bytes) };
            }
            for (k, &at) in carries.sides[0].iter().enumerate() {
                step.params[k] = at;
            }
            for (p, x) in step.params[f.carries..].iter_mut().zip(&xs) {
                *p = x.at(i);
            }
            step.outputs[..f.carries].copy_from_slice(&carries.sides[1]);
            for (o, y) in step.outputs[f.carries..].iter_mut().zip(&ys) {
                *o = y.target(i);
            }
            // SAFETY: constants, carries and slices are as long as the body says; carries have slack, and slices are whole
            // vectors or go aside.
            unsafe {
                step.run()?;
                ys.iter().for_each(|y| y.done(i));
            }
            carries.swap();
        }
        // SAFETY: results are as long as the carries.
        unsafe { carries.copy_to((0..f.carries).map(|k| self.result(k, bases))) };
        Ok(())
    }

    /// # Safety
    /// As for `run`.
    unsafe fn while_loop(&self, w: &While, bases: Bases<'_>) -> Result<()> {
        let consts: Vec<*const u8> = (0..w.consts).map(|k| self.input(k, bases).cast_const()).collect();
        // SAFETY: the inputs are those of the condition.
        let mut condition = unsafe { Step::new(&self.bodies[0], &consts)? };
        let mut holds = 0u64;
        condition.outputs.push(std::ptr::from_mut(&mut holds).cast());
        condition.set_effects_aside()?;
        let mut steps = 0;
        let mut stacks: Vec<Vec<Option<Stack>>> = Vec::with_capacity(w.stages.len());
        let mut at = w.consts;
        for (s, stage) in w.stages.iter().enumerate() {
            let plan = &self.bodies[s + 1];
            // SAFETY: the inputs are those of the body.
            let mut step = unsafe { Step::new(plan, &consts)? };
            let bytes: Vec<usize> = plan.param_bytes().collect();
            let (first, end) = (w.consts, w.consts + stage.carries());
            let start: Vec<*const u8> = (at..at + stage.carries()).map(|k| self.input(k, bases).cast_const()).collect();
            // SAFETY: the inputs are those of the body.
            let mut carries = unsafe { Carries::new(&start, bytes[first..end].to_vec())? };
            let mut kept: Vec<Option<Stack>> = (0..stage.carries()).map(|_| None).collect();
            for later in &w.stages[s + 1..] {
                for r in later.reads.iter().filter(|r| usize::from(r.stage) == s) {
                    let k = usize::from(r.slot);
                    if kept[k].is_none() {
                        kept[k] = Some(Stack::new(bytes[first + k])?);
                    }
                }
            }
            step.params.resize(bytes.len() - first, std::ptr::null());
            step.outputs.resize(stage.carries(), std::ptr::null_mut());
            step.set_effects_aside()?;
            let mut watch = Watch::new(plan.nanoseconds() + self.bodies[0].nanoseconds());
            let mut done = 0;
            loop {
                watch.step()?;
                for (k, stack) in kept.iter_mut().enumerate() {
                    if let Some(stack) = stack {
                        // SAFETY: an entry is as long as the carry.
                        unsafe { stack.push(carries.sides[0][k])? };
                    }
                }
                if s == 0 {
                    condition.params.clear();
                    condition.params.extend(carries.sides[0].iter().map(|p| p.cast_const()));
                    // SAFETY: constants and carries are as long as the condition says; its result is one byte.
                    unsafe { condition.run()? };
                    // SAFETY: it lives until here.
                    if unsafe { condition.outputs[0].read() } == 0 {
                        steps = done;
                        break;
                    }
                } else if done == steps {
                    break;
                }
                let i = if stage.reverse { steps - 1 - done } else { done };
                for (k, &at) in carries.sides[0].iter().enumerate() {
                    step.params[k] = at;
                }
                for (p, r) in step.params[stage.carries()..].iter_mut().zip(&stage.reads) {
                    let from = usize::from(r.stage);
                    let order = if w.stages[from].reverse { steps - 1 - i } else { i };
                    *p = match &stacks[from][usize::from(r.slot)] {
                        Some(stack) => stack.at(order + usize::from(r.after)),
                        None => return Err(Error::Internal("a stack that was not kept".into())),
                    };
                }
                step.outputs[..stage.carries()].copy_from_slice(&carries.sides[1]);
                // SAFETY: as for `for_loop`.
                unsafe { step.run()? };
                carries.swap();
                done += 1;
            }
            let offset = at - w.consts;
            // SAFETY: results are as long as the carries.
            unsafe { carries.copy_to((0..stage.carries()).map(|k| self.result(offset + k, bases))) };
            stacks.push(kept);
            at += stage.carries();
        }
        Ok(())
    }
}
