//! A body that runs over and over, with its carries in the memory of its plan.
//!
//! A small carry lives where the body reads it, in the arena: after each step the body's result is copied there, one vector
//! from the arena to the arena. A large one has two places that change roles. What a step gives as it was costs nothing.

use super::moves::{self, Length};
use super::{Left, Prepared, Source};
use crate::exec::buffer::{ALIGN, Buffer};
use crate::exec::run::Frame;
use crate::plan::Plan;
use crate::{Error, Result};

/// From, to, how much.
type Move = (*const u8, *mut u8, Length);

/// A large carry that a step writes anew: the bases of the parameter and of the output, and the place that is neither.
struct Turning {
    carry: usize,
    param: usize,
    output: usize,
    other: *mut u8,
}

/// A place, or what a base will point at by then.
struct Late {
    base: usize,
    to: *mut u8,
    length: Length,
}

/// Where the carries are. It stays with the frame for the next run of the loop, if nothing in it is outside.
#[derive(Default)]
pub struct Setup {
    /// Where each carry is before the next step.
    at: Vec<*mut u8>,
    lengths: Vec<Length>,
    consts: usize,
    sources: Vec<Source>,
    /// What is copied after a step, in this order.
    moves: Vec<Move>,
    late: Vec<Late>,
    turning: Vec<Turning>,
    /// Whether there are addresses in it that another run may have elsewhere.
    is_outside: bool,
    _memory: Vec<Buffer>,
}

/// See the module. The memory goes back however the loop is left.
pub struct Repeat<'a> {
    pub plan: &'a Plan,
    frame: Option<Box<Frame>>,
    arena: *mut u8,
    consts: usize,
    setup: Setup,
}

/// Room for a value, and for whole vectors.
pub fn room(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN) + ALIGN
}

/// Hands out places of a buffer.
struct Places {
    memory: Option<Buffer>,
    used: usize,
}

impl Places {
    fn take(&mut self, length: Length) -> Result<*mut u8> {
        let at = self.used;
        self.used += room(length.bytes());
        match &self.memory {
            // places begin at whole vectors
            Some(memory) if self.used <= memory.len_bytes() => Ok(memory.as_mut_ptr().wrapping_add(at)),
            _ => Err(Error::Internal("a loop with more carries than it has memory for".into())),
        }
    }
}

impl<'a> Repeat<'a> {
    /// # Safety
    /// `consts` and `first`, the first carries, can be read for the lengths that the plan has for them until the last step, and
    /// are aligned for their dtypes.
    pub unsafe fn new(prepared: &'a Prepared, consts: &[*const u8], first: &[*const u8]) -> Result<Repeat<'a>> {
        let plan = &*prepared.plan;
        let sources = &prepared.sources;
        let (params, outputs) = plan.slots();
        if consts.len() + first.len() > params.len() || sources.len() != first.len() {
            return Err(Error::Internal("a body with other parameters than its loop".into()));
        }
        let mut frame = plan.runner().frame()?;
        // SAFETY: the caller's.
        unsafe { plan.runner().begin(&mut frame, consts) };
        let arena = frame.arena();
        // loops that differ may have one plan
        let known = frame.take_setup().filter(|s| s.consts == consts.len() && s.sources == *sources);
        if let Some(setup) = known {
            // SAFETY: the caller's; places have room for whole vectors.
            unsafe {
                let places = setup.at.iter().zip(&setup.lengths);
                moves::fill(first.iter().zip(places).map(|(&from, (&at, &length))| (from, at, length)));
            }
            let mut r = Repeat { plan, frame: Some(frame), arena, consts: consts.len(), setup };
            for k in 0..first.len() {
                r.set_base(Frame::param(r.consts + k), r.setup.at[k]);
            }
            return Ok(r);
        }
        let lengths = (0..first.len()).map(|k| Length::new(prepared.carry_bytes[k])).collect();
        let setup = Setup { at: Vec::with_capacity(first.len()), lengths, ..Setup::default() };
        let setup = Setup { consts: consts.len(), sources: sources.clone(), ..setup };
        let mut r = Repeat { plan, frame: Some(frame), arena, consts: consts.len(), setup };
        let mut places = Places { memory: None, used: 0 };
        if prepared.room > 0 {
            places.memory = Some(Buffer::new(prepared.room)?);
        }
        for (k, &from) in first.iter().enumerate() {
            let (slot, length) = (&params[r.consts + k], r.setup.lengths[k]);
            let base = Frame::param(r.consts + k);
            let is_large =
                matches!(sources[k], Source::Output(o) if outputs[o].copied.is_none() && !outputs[o].in_place);
            let at = if let Some(at) = slot.copied {
                arena.wrapping_add(at)
            } else if is_large || sources[k] == Source::Param(r.consts + k) {
                r.setup.is_outside = true;
                from.cast_mut()
            } else {
                places.take(length)?
            };
            if !std::ptr::eq(at, from) {
                // SAFETY: the caller's; places have room for whole vectors.
                unsafe { moves::fill([(from, at, length)].into_iter()) };
            }
            r.set_base(base, at);
            r.setup.at.push(at);
        }
        for (k, source) in sources.iter().enumerate() {
            let source = match source {
                Source::Same(other) => &sources[*other],
                source => source,
            };
            let base = match *source {
                Source::Output(o) => Frame::output(params.len(), o),
                Source::Param(p) => Frame::param(p),
                Source::Same(_) => return Err(Error::Internal("a carry that is as one that is as another".into())),
            };
            let from = match *source {
                Source::Param(p) if p == r.consts + k => continue,
                Source::Param(p) if p < r.consts => match params[p].copied {
                    Some(at) => arena.wrapping_add(at),
                    None => {
                        r.setup.is_outside = true;
                        consts[p].cast_mut()
                    }
                },
                Source::Param(p) => match sources[p - r.consts] {
                    Source::Output(o) if outputs[o].copied.is_none() => {
                        r.setup.late.push(Late { base, to: r.setup.at[k], length: r.setup.lengths[k] });
                        continue;
                    }
                    _ => r.setup.at[p - r.consts],
                },
                Source::Output(o) if outputs[o].in_place && matches!(sources[k], Source::Output(_)) => {
                    r.setup.is_outside |= outputs[o].copied.is_none();
                    r.set_base(base, r.setup.at[k]);
                    continue;
                }
                Source::Output(o) => match (outputs[o].copied, &sources[k]) {
                    (Some(at), _) => arena.wrapping_add(at),
                    (None, Source::Output(_)) if params[r.consts + k].copied.is_some() => {
                        return Err(Error::Internal("a small carry that becomes a large one".into()));
                    }
                    (None, Source::Output(_)) => {
                        let one = places.take(r.setup.lengths[k])?;
                        let other = places.take(r.setup.lengths[k])?;
                        r.set_base(base, one);
                        r.setup.turning.push(Turning {
                            carry: k,
                            param: Frame::param(r.consts + k),
                            output: base,
                            other,
                        });
                        continue;
                    }
                    (None, _) => {
                        r.setup.late.push(Late { base, to: r.setup.at[k], length: r.setup.lengths[k] });
                        continue;
                    }
                },
                Source::Same(_) => continue,
            };
            r.setup.moves.push((from.cast_const(), r.setup.at[k], r.setup.lengths[k]));
        }
        r.order(&mut places)?;
        r.setup._memory.extend(places.memory);
        Ok(r)
    }

    /// What another move overwrites goes to a place of its own first.
    fn order(&mut self, places: &mut Places) -> Result<()> {
        let is_target = |from: *const u8, list: &[Move]| list.iter().any(|m| std::ptr::eq(m.1, from));
        if !self.setup.moves.iter().any(|m| is_target(m.0, &self.setup.moves)) {
            return Ok(());
        }
        let (mut first, mut then, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for &(from, to, length) in &self.setup.moves {
            if is_target(from, &self.setup.moves) {
                let aside = places.take(length)?;
                first.push((from, aside, length));
                last.push((aside.cast_const(), to, length));
            } else {
                then.push((from, to, length));
            }
        }
        self.setup.moves = [first, then, last].concat();
        Ok(())
    }

    /// Gives the outputs from `first` on, which nobody reads, places where they need such.
    pub fn set_aside(&mut self, first: usize) -> Result<()> {
        let (params, outputs) = self.plan.slots();
        for (o, slot) in outputs.iter().enumerate().skip(first).filter(|(_, slot)| slot.copied.is_none()) {
            self.setup.is_outside = true;
            let room = Buffer::new(room(slot.bytes))?;
            self.set_base(Frame::output(params.len(), o), room.as_mut_ptr());
            self.setup._memory.push(room);
        }
        Ok(())
    }

    pub fn set_base(&mut self, base: usize, at: *mut u8) {
        if let Some(frame) = &mut self.frame {
            frame.set_base(base, at);
        }
    }

    /// Takes what is in a place for loops of the body, and puts something else there.
    pub fn exchange(&self, place: usize, new: Option<Left>) -> Option<Left> {
        self.frame.as_ref().and_then(|frame| frame.exchange(place, new))
    }

    /// Where the arena has a parameter, if it is small and read.
    pub fn param(&self, p: usize) -> Option<*mut u8> {
        self.plan.slots().0[p].copied.map(|at| self.arena.wrapping_add(at))
    }

    /// Where the arena has an output after a step, if it is small.
    pub fn output(&self, o: usize) -> Option<*mut u8> {
        self.plan.slots().1[o].copied.map(|at| self.arena.wrapping_add(at))
    }

    pub fn carry(&self, k: usize) -> *const u8 {
        self.setup.at[k]
    }

    pub fn carries(&self) -> &[*mut u8] {
        &self.setup.at
    }

    pub fn length(&self, k: usize) -> Length {
        self.setup.lengths[k]
    }

    /// One step; the carries are still those from before.
    ///
    /// # Safety
    /// The parameters behind the carries are where the plan has them, and all bases that it uses are set.
    #[inline(always)]
    pub unsafe fn run(&self) -> Result<()> {
        match &self.frame {
            Some(frame) => self.plan.runner().again(frame),
            None => Err(Error::Internal("a step without memory".into())),
        }
    }

    /// The carries become those after the step.
    ///
    /// # Safety
    /// After `run`.
    #[inline(always)]
    pub unsafe fn advance(&mut self) {
        // SAFETY: places were laid out for the carries, in whole vectors.
        unsafe { moves::fill(self.setup.moves.iter().copied()) };
        if self.setup.turning.is_empty() && self.setup.late.is_empty() {
            return;
        }
        let Some(frame) = &mut self.frame else { return };
        for l in &self.setup.late {
            // SAFETY: as above.
            unsafe { moves::fill([(frame.base(l.base).cast_const(), l.to, l.length)].into_iter()) };
        }
        for t in &mut self.setup.turning {
            let new = frame.base(t.output);
            frame.set_base(t.param, new);
            frame.set_base(t.output, std::mem::replace(&mut t.other, new));
            self.setup.at[t.carry] = new;
        }
    }

    /// # Safety
    /// The places have room for the carries.
    pub unsafe fn copy_to(&self, places: impl Iterator<Item = Option<*mut u8>>) {
        let copies = self.setup.at.iter().zip(&self.setup.lengths).zip(places);
        // SAFETY: the caller's.
        unsafe { moves::put(copies.filter_map(|((&from, &length), to)| Some((from.cast_const(), to?, length)))) };
    }
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        if let Some(mut frame) = self.frame.take() {
            if !self.setup.is_outside {
                frame.keep_setup(std::mem::take(&mut self.setup));
            }
            self.plan.runner().give_back(frame);
        }
    }
}
