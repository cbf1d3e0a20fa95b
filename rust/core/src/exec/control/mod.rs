//! Running control flow: the plans of bodies, over and over, in memory that the call brings. No allocation a step.
#![allow(unsafe_code)]

mod for_loop;
mod moves;
mod repeat;
mod while_loop;

pub use repeat::Setup;
pub use while_loop::{Kept, Run};

use std::sync::Arc;

use smallvec::SmallVec;

use super::buffer::{ALIGN, Buffer};
use super::node::Call;
use super::pool;
use super::region::Bases;
use super::run::Frame;
use crate::ops::Op;
use crate::ops::control::body::Body;
use crate::ops::control::{Branch, Control, While};
use crate::plan::Plan;
use crate::{Error, Result};

/// What a loop leaves to a later call of its plan, or takes from an earlier one, in a place of the frame.
#[derive(Debug, Default)]
pub enum Shared {
    #[default]
    No,
    /// What a loop has done that runs while a condition holds, for another one whose first stages are those of this one.
    Leaves(usize, Box<While>),
    Takes(usize),
    /// Nobody in the plan: whoever runs the plan may order it, or bring it.
    Free(usize),
    /// What loops in the body have done in each step: their places in the frame of the body, with who reads it.
    Gives(usize, Vec<(usize, Arc<While>)>),
    Gets(usize, Vec<usize>),
}

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shared::No | Shared::Free(_) => Ok(()),
            Shared::Leaves(..) | Shared::Gives(..) => write!(f, ", kept for its derivative"),
            Shared::Takes(..) | Shared::Gets(..) => write!(f, ", from what was kept"),
        }
    }
}

/// What a plan keeps for a later call of the same run.
pub enum Left {
    Once(Kept),
    /// For each of some loops in a body.
    Steps(Vec<Trail>),
}

/// What a loop in a body has done in each step of the loop around it, in one list of stacks.
pub struct Trail {
    pub kept: Option<Kept>,
    /// By step; None where it is to be done again.
    pub runs: Vec<Option<Run>>,
}

/// Bytes of trails, at most: what is more is computed again.
const TRAIL: usize = 64 << 20;

/// Where a carry comes from in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// An output of the plan.
    Output(usize),
    /// A parameter, as it is: the carry itself, another one, or a constant.
    Param(usize),
    /// An earlier carry, whose source is an output.
    Same(usize),
}

/// The plan of a body with what its loop knows about it.
#[derive(Debug)]
pub struct Prepared {
    pub plan: Arc<Plan>,
    /// Of a loop: one a carry.
    sources: Vec<Source>,
    carry_bytes: Vec<usize>,
    /// Bytes that the carries need besides the arena.
    room: usize,
    /// Of a loop that runs while a condition holds: its condition for the next step is the output behind the carries.
    decides: bool,
}

/// A carry of more bytes is copied by the body's plan if it becomes another one.
const SHORT: usize = 2048;

impl Prepared {
    fn once(plan: Arc<Plan>) -> Prepared {
        Prepared { plan, sources: Vec::new(), carry_bytes: Vec::new(), room: 0, decides: false }
    }

    /// A body with so many carries behind so many constants, and which of its other outputs are wanted.
    fn looping(body: &Body, consts: usize, carries: usize, read: &dyn Fn(usize) -> bool) -> Result<Prepared> {
        let body = body.plain();
        let (program, metas) = (body.program(), body.outputs());
        let mut sources = Vec::with_capacity(carries);
        let mut wanted = vec![false; metas.len()];
        let (mut known, mut count) = (Vec::<u32>::with_capacity(carries), 0);
        for k in 0..carries {
            let at = program.value(program.outputs[k]);
            let (shape, dtype) = &metas[k];
            let is_short = crate::tape::shape::size(shape) * dtype.size() <= SHORT;
            let param = program
                .params
                .iter()
                .position(|&p| p == at)
                .filter(|&p| p < consts + carries && (is_short || p == consts + k));
            let twin = known.iter().position(|&o| o == at).filter(|_| is_short);
            sources.push(match (param, twin) {
                (Some(p), _) => Source::Param(p),
                (None, Some(other)) => Source::Same(other),
                (None, None) => {
                    wanted[k] = true;
                    count += 1;
                    Source::Output(count - 1)
                }
            });
            // a carry that is as another one is no one's twin
            known.push(if wanted[k] { at } else { u32::MAX });
        }
        for (k, w) in wanted.iter_mut().enumerate().skip(carries) {
            *w = read(k);
        }
        // what nobody reads once the step is done
        let is_read = |p: usize| sources.iter().enumerate().any(|(k, s)| *s == Source::Param(p) && p != consts + k);
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (k, source) in sources.iter().enumerate() {
            if let Source::Output(o) = source
                && !is_read(consts + k)
            {
                pairs.push(((consts + k) as u32, *o as u32));
            }
        }
        let plan = body.plan_of_step(&wanted, &pairs)?;
        let (params, outputs) = plan.slots();
        let carry_bytes: Vec<usize> = params[consts..consts + carries].iter().map(|p| p.bytes).collect();
        let places = |k: usize| match sources[k] {
            Source::Output(o) if outputs[o].copied.is_none() => 2 - usize::from(outputs[o].in_place),
            Source::Param(p) if p == consts + k => 0,
            // one for the carry, and one to get out of the way
            Source::Param(_) => 2,
            Source::Output(_) | Source::Same(_) => usize::from(params[consts + k].copied.is_none()),
        };
        let room = (0..carries).map(|k| places(k) * repeat::room(carry_bytes[k])).sum();
        Ok(Prepared { plan, sources, carry_bytes, room, decides: false })
    }
}

impl Prepared {
    /// How many carries are outputs of the plan: those are its first ones.
    fn computed(&self) -> usize {
        self.sources.iter().filter(|s| matches!(s, Source::Output(_))).count()
    }
}

/// The plans of the bodies, for those results that somebody reads.
pub fn prepare(c: &Control, read: &dyn Fn(usize) -> bool) -> Result<Vec<Prepared>> {
    match c {
        Control::Branch(b) => {
            let mask = |body: &Body| (0..body.outputs().len()).map(read).collect::<Vec<bool>>();
            b.bodies.iter().map(|body| Ok(Prepared::once(body.plan(&mask(body))?))).collect()
        }
        Control::For(f) => Ok(vec![Prepared::looping(&f.body, f.consts, f.carries, read)?]),
        Control::While(w) => {
            let mut plans = vec![Prepared::once(w.condition.plan(&[true])?)];
            for (s, stage) in w.stages.iter().enumerate() {
                let deciding = if s == 0 { w.deciding()? } else { None };
                let body = deciding.as_ref().unwrap_or(&stage.body);
                let mut prepared = Prepared::looping(body, w.consts, stage.carries(), &|_| true)?;
                prepared.decides = deciding.is_some();
                plans.push(prepared);
            }
            Ok(plans)
        }
    }
}

/// Steps of a loop that nobody can count before, for estimates.
const GUESS: usize = 100;

/// A rough estimate of a call with these plans.
pub fn nanoseconds(c: &Control, plans: &[Prepared]) -> usize {
    let each = |p: &Prepared| p.plan.nanoseconds().saturating_add(20);
    match c {
        Control::Branch(_) => plans.iter().map(each).max().unwrap_or(0),
        Control::For(f) => plans.iter().map(each).sum::<usize>().saturating_mul(f.length),
        // nobody knows how long: long enough to let others run meanwhile
        Control::While(_) => plans.iter().map(each).sum::<usize>().saturating_mul(GUESS).max(25_000),
    }
}

/// A plan that runs with the memory of a run, which goes back however that ends.
struct Once<'a> {
    plan: &'a Plan,
    frame: Option<Box<Frame>>,
    /// So many parameters stay the same from step to step.
    fixed: usize,
    /// The others.
    params: SmallVec<[*const u8; 32]>,
    outputs: SmallVec<[*mut u8; 4]>,
    /// Where what stands for effects is written, and never read.
    aside: Vec<Buffer>,
}

impl<'a> Once<'a> {
    /// # Safety
    /// The parameters that stay the same can be read, for the lengths that the plan has for them, until the last step.
    unsafe fn new(plan: &'a Plan, fixed: &[*const u8]) -> Result<Once<'a>> {
        let mut frame = plan.runner().frame()?;
        // SAFETY: the caller's.
        unsafe { plan.runner().begin(&mut frame, fixed) };
        let fixed = fixed.len();
        Ok(Once {
            plan,
            frame: Some(frame),
            fixed,
            params: SmallVec::new(),
            outputs: SmallVec::new(),
            aside: Vec::new(),
        })
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

impl Drop for Once<'_> {
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

/// An array that is read or written slice by slice, in place.
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

impl Call {
    /// # Safety
    /// As for `run`.
    pub(super) unsafe fn control(&self, c: &Control, bases: Bases<'_>) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            match c {
                Control::Branch(b) => self.branch(b, bases),
                Control::For(f) => self.for_loop(f, bases, &mut []),
                Control::While(w) => self.while_loop(w, bases, &mut []),
            }
        }
    }

    /// The same, with what calls of a plan leave to each other.
    ///
    /// # Safety
    /// As for `run`.
    pub(super) unsafe fn sharing(&self, bases: Bases<'_>, kept: &mut [Option<Left>]) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            match &self.op {
                Op::Control(Control::While(w)) => self.while_loop(w, bases, kept),
                Op::Control(Control::For(f)) => self.for_loop(f, bases, kept),
                _ => self.run(bases),
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
        let mut step = unsafe { Once::new(&self.bodies[taken].plan, &[])? };
        step.params.extend((first..self.arguments.len()).map(|k| self.input(k, bases).cast_const()));
        step.outputs.extend((0..b.bodies[taken].outputs().len()).filter_map(|k| self.result(k, bases)));
        step.set_effects_aside()?;
        // SAFETY: the arguments and results are those of the body; results of plans have room for whole vectors.
        unsafe { step.run() }
    }
}
