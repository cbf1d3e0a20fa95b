//! A body run a known number of times, over the slices of arrays.

use super::moves::{self, Length};
use super::repeat::Repeat;
use super::{Slices, Watch};
use crate::Result;
use crate::exec::node::Call;
use crate::exec::region::Bases;
use crate::exec::run::Frame;
use crate::ops::control::For;

/// A slice that is copied in each step, where the next one is, and how much.
struct Stream {
    from: *const u8,
    to: *mut u8,
    step: isize,
    length: Length,
}

impl Call {
    /// # Safety
    /// As for `run`.
    pub(super) unsafe fn for_loop(&self, f: &For, bases: Bases<'_>) -> Result<()> {
        let prepared = &self.bodies[0];
        let input = |k: usize| self.input(k, bases).cast_const();
        let consts: Vec<*const u8> = (0..f.consts).map(input).collect();
        let end = f.consts + f.carries;
        let start: Vec<*const u8> = (f.consts..end).map(input).collect();
        // SAFETY: the inputs are those of the body.
        let mut body = unsafe { Repeat::new(prepared, &consts, &start)? };
        let (params, outputs) = prepared.plan.slots();
        let count = f.body.outputs().len();
        let first = if f.reverse { f.length.saturating_sub(1) } else { 0 };
        let way = if f.reverse { -1 } else { 1 };
        let place = |base: *mut u8, bytes: usize| base.wrapping_add(first * bytes);
        let (mut read, mut read_there) = (Vec::new(), Vec::new());
        for (k, slot) in params.iter().enumerate().skip(end) {
            let (from, step) = (place(self.input(k, bases), slot.bytes), way * slot.bytes as isize);
            match body.param(k) {
                Some(to) => read.push(Stream { from: from.cast_const(), to, step, length: Length::new(slot.bytes) }),
                None => read_there.push((Frame::param(k), Slices::read(self.input(k, bases), slot.bytes))),
            }
        }
        // results behind the carries, of those that the plan computes
        let mut next = prepared.computed();
        let (mut written, mut written_there) = (Vec::new(), Vec::new());
        for k in f.carries..count {
            let Some(at) = self.result(k, bases) else { continue };
            let bytes = outputs[next].bytes;
            match body.output(next) {
                Some(from) => {
                    let (to, step) = (place(at, bytes), way * bytes as isize);
                    written.push(Stream { from: from.cast_const(), to, step, length: Length::new(bytes) });
                }
                None => written_there.push((Frame::output(params.len(), next), Slices::written(at, bytes)?)),
            }
            next += 1;
        }
        body.set_aside(next)?;
        let mut history = Vec::new();
        for k in 0..f.carries {
            if let Some(at) = self.result(count + k, bases) {
                let length = body.length(k);
                history.push((k, place(at, length.bytes()), way * length.bytes() as isize));
            }
        }
        let mut watch = Watch::new(prepared.plan.nanoseconds());
        for done in 0..f.length {
            let i = if f.reverse { f.length - 1 - done } else { done };
            watch.step()?;
            // SAFETY: slices are as long as the body says and lie in their arrays; places in the arena have room for whole
            // vectors; large slices are whole vectors or go aside.
            unsafe {
                moves::put(history.iter().map(|&(k, to, _)| (body.carry(k), to, body.length(k))));
                for h in &mut history {
                    h.1 = h.1.wrapping_offset(h.2);
                }
                moves::fill(read.iter_mut().map(|s| {
                    let from = s.from;
                    s.from = from.wrapping_offset(s.step);
                    (from, s.to, s.length)
                }));
                for (base, x) in &read_there {
                    body.set_base(*base, x.at(i));
                }
                for (base, y) in &written_there {
                    body.set_base(*base, y.target(i));
                }
                body.run()?;
                moves::put(written.iter_mut().map(|s| {
                    let to = s.to;
                    s.to = to.wrapping_offset(s.step);
                    (s.from, to, s.length)
                }));
                written_there.iter().for_each(|(_, y)| y.done(i));
                body.advance();
            }
        }
        // SAFETY: results are as long as the carries.
        unsafe { body.copy_to((0..f.carries).map(|k| self.result(k, bases))) };
        Ok(())
    }
}
