//! A body run a known number of times, over the slices of arrays.

use super::moves::{self, Length};
use super::repeat::Repeat;
use super::{Kept, Left, Shared, Slices, TRAIL, Trail, Watch};
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
    pub(super) unsafe fn for_loop(&self, f: &For, bases: Bases<'_>, kept: &mut [Option<Left>]) -> Result<()> {
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
        let mut trails = Vec::new();
        match &self.shared {
            Shared::Gives(_, orders) => {
                let none = || Trail { kept: None, runs: (0..f.length).map(|_| None).collect() };
                trails.extend(orders.iter().map(|_| none()));
            }
            Shared::Gets(k, _) => {
                if let Some(Left::Steps(found)) = kept.get_mut(*k).and_then(Option::take) {
                    trails = found;
                }
            }
            _ => {}
        }
        let mut watch = Watch::new(prepared.plan.nanoseconds());
        for done in 0..f.length {
            let i = if f.reverse { f.length - 1 - done } else { done };
            watch.step()?;
            // SAFETY: slices are as long as the body says and lie in their arrays; places in the arena have room for whole
            // vectors; large slices are whole vectors or go aside.
            unsafe {
                if !history.is_empty() {
                    moves::put(history.iter().map(|&(k, to, _)| (body.carry(k), to, body.length(k))));
                    for h in &mut history {
                        h.1 = h.1.wrapping_offset(h.2);
                    }
                }
                if !read.is_empty() {
                    moves::fill(read.iter_mut().map(|s| {
                        let from = s.from;
                        s.from = from.wrapping_offset(s.step);
                        (from, s.to, s.length)
                    }));
                }
                for (base, x) in &read_there {
                    body.set_base(*base, x.at(i));
                }
                for (base, y) in &written_there {
                    body.set_base(*base, y.target(i));
                }
                if trails.is_empty() {
                    body.run()?;
                } else {
                    trace(&self.shared, &mut trails, &body, i)?;
                }
                if !written.is_empty() {
                    moves::put(written.iter_mut().map(|s| {
                        let to = s.to;
                        s.to = to.wrapping_offset(s.step);
                        (s.from, to, s.length)
                    }));
                }
                written_there.iter().for_each(|(_, y)| y.done(i));
                body.advance();
            }
        }
        if let Shared::Gives(k, _) = &self.shared
            && let Some(place) = kept.get_mut(*k)
        {
            *place = Some(Left::Steps(trails));
        }
        // SAFETY: results are as long as the carries.
        unsafe { body.copy_to((0..f.carries).map(|k| self.result(k, bases))) };
        Ok(())
    }
}

/// Step i of a body, with what its loops do ordered or brought.
///
/// # Safety
/// As for `Repeat::run`.
unsafe fn trace(shared: &Shared, trails: &mut [Trail], body: &Repeat<'_>, i: usize) -> Result<()> {
    match shared {
        Shared::Gives(_, orders) => {
            let is_full = trails.iter().filter_map(|t| t.kept.as_ref()).map(Kept::bytes).sum::<usize>() > TRAIL;
            if is_full {
                // SAFETY: the caller's.
                return unsafe { body.run() };
            }
            for ((place, reader), t) in orders.iter().zip(&mut *trails) {
                body.exchange(*place, Some(Left::Once(Kept::wanted(reader, t.kept.take()))));
            }
            // SAFETY: the caller's.
            unsafe { body.run()? };
            for ((place, _), t) in orders.iter().zip(trails) {
                // a loop that was not reached has left the order as it was
                if let Some(Left::Once(kept)) = body.exchange(*place, None) {
                    t.runs[i] = kept.is_done().then(|| kept.run());
                    t.kept = Some(kept);
                }
            }
        }
        Shared::Gets(_, places) => {
            for (place, t) in places.iter().zip(&mut *trails) {
                if let (Some(run), Some(mut kept)) = (&t.runs[i], t.kept.take_if(|_| t.runs[i].is_some())) {
                    kept.turn_to(run);
                    body.exchange(*place, Some(Left::Once(kept)));
                }
            }
            // SAFETY: the caller's.
            unsafe { body.run()? };
            for (place, t) in places.iter().zip(trails) {
                if let Some(Left::Once(kept)) = body.exchange(*place, None) {
                    t.kept = Some(kept);
                }
            }
        }
        // SAFETY: the caller's.
        _ => unsafe { body.run()? },
    }
    Ok(())
}
