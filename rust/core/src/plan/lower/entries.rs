//! Units that run by parts of a batch: lowered one after the other as always, then put together.
//!
//! Until the last of them is lowered no place in the arena is given to another value: while one part of the batch is at the end
//! of the run, another one is at its beginning. Scratch is for one part alone, and is used again at once.

use super::{Home, Lower, misplaced};
use crate::Result;
use crate::exec::entries::{Entries, Member, Scratch};
use crate::exec::region::Place;
use crate::exec::run::Unit;
use crate::plan::entries::Run;
use crate::plan::memory::{Places, padded};

pub(super) struct Together {
    /// The last unit of the schedule, and the time when it runs.
    last: usize,
    until: u32,
    /// The first unit of the code.
    first: usize,
    parts: usize,
    each: usize,
    places: Places,
    scratch: Vec<Scratch>,
    held: Vec<(Home, usize)>,
}

impl Together {
    pub fn free(&mut self, home: Home, bytes: usize) {
        match home {
            Home::Scratch(_, at) => self.places.give_back(at, room(bytes / self.parts)),
            home => self.held.push((home, bytes)),
        }
    }
}

/// What a part of an array takes: whole vectors from anywhere in its last one on are in its room.
fn room(bytes: usize) -> usize {
    padded(bytes) + padded(1)
}

impl Lower<'_> {
    /// The units from here on are a run.
    pub(super) fn begin(&mut self, run: &Run) {
        self.together = Some(Together {
            last: run.units.end - 1,
            // each of them is one step of time
            until: self.now + run.units.len() as u32,
            first: self.code.units.len(),
            parts: run.parts,
            each: run.each,
            places: Places::default(),
            scratch: Vec::new(),
            held: Vec::new(),
        });
    }

    pub(super) fn scratch_base(&self) -> u32 {
        self.output_base(self.ir.outputs.len() as u32)
    }

    pub(super) fn is_scratch(&self, place: Place) -> bool {
        place.base >= self.scratch_base()
    }

    /// Scratch for a value that no unit outside of the run reads.
    pub(super) fn scratch(&mut self, x: u32) -> Option<Home> {
        let n = &self.ir.nodes[x as usize];
        let together =
            self.together.as_mut().filter(|t| self.last[x as usize] <= t.until && n.n.is_multiple_of(t.parts))?;
        let bytes = super::bytes(n) / together.parts;
        let offset = together.places.take(room(bytes));
        together.scratch.push(Scratch { offset, bytes });
        Some(Home::Scratch(together.scratch.len() as u32 - 1, offset))
    }

    /// Puts a run together, if unit u of the schedule is its last one.
    pub(super) fn end(&mut self, u: usize) -> Result<()> {
        let Some(together) = self.together.take_if(|t| t.last == u) else { return Ok(()) };
        let mut bytes = together.places.end();
        let (mut members, mut nanoseconds, mut packed) = (Vec::new(), 0usize, 0);
        for unit in self.code.units.split_off(together.first) {
            members.push(match unit {
                Unit::Call(call) => {
                    nanoseconds = nanoseconds.saturating_add(call.nanoseconds());
                    packed = packed.max(call.panels());
                    let far = |place: Place| !self.is_scratch(place);
                    let [a, b] = [0, 1].map(|k| far(call.arguments[k].place));
                    let result = far(call.dst);
                    Member::Product(call, [a, b, result])
                }
                Unit::Region(mut region) => {
                    nanoseconds = nanoseconds.saturating_add(region.nanoseconds);
                    region.cut_into(together.parts);
                    let at = bytes;
                    bytes += padded(region.registers);
                    Member::Region(region, at)
                }
                Unit::Steps(..) | Unit::Products(_) | Unit::Entries(_) => return Err(misplaced()),
            });
        }
        let entries = Entries {
            members,
            parts: together.parts,
            each: together.each,
            base: self.scratch_base() as usize,
            scratch: together.scratch,
            panels: bytes,
            bytes: bytes + packed,
            nanoseconds,
        };
        self.code.units.push(Unit::Entries(Box::new(entries)));
        for (home, bytes) in together.held {
            self.free(home, bytes);
        }
        Ok(())
    }
}
