//! Products of a batch of matrices and the regions between them, some entries at a time through all of them.
//!
//! Each worker takes parts of the batch, one after the other. Values that nobody else reads are scratch: a worker has memory for
//! one part of them, and their base is moved so that each part finds its own where it would be in the whole array.
#![allow(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::buffer::{ALIGN, Buffer};
use super::gemm::Beside;
use super::node::{Call, Offsets};
use super::pool;
use super::region::{Bases, Region};
use super::rows::Edges;
use crate::{Error, Result};

#[derive(Debug)]
pub enum Member {
    /// A product, and which of its operands and its result come from memory.
    Product(Box<Call>, [bool; 3]),
    /// A region, and where in the memory of a worker its registers are: what they collect stays there from part to part.
    Region(Box<Region>, usize),
}

/// Memory of a worker for one part of an array.
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    pub offset: usize,
    /// Bytes of a part.
    pub bytes: usize,
}

#[derive(Debug)]
pub struct Entries {
    pub members: Vec<Member>,
    pub parts: usize,
    /// Entries of a part.
    pub each: usize,
    /// The first base of a place in scratch; one for each follows.
    pub base: usize,
    pub scratch: Vec<Scratch>,
    /// Where in the memory of a worker products pack their operands.
    pub panels: usize,
    /// Memory of a worker: scratch, registers and panels.
    pub bytes: usize,
    pub nanoseconds: usize,
}

/// What takes less runs on the caller's thread alone.
const PARALLEL: usize = 20_000;

/// What all tasks use of a member.
enum Prepared {
    Product([Offsets; 2]),
    Region(Option<Edges>),
}

impl Entries {
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.members.iter().filter_map(|m| match m {
            Member::Region(r, _) => Some(&**r),
            Member::Product(..) => None,
        })
    }

    pub fn regions_mut(&mut self) -> impl Iterator<Item = &mut Region> {
        self.members.iter_mut().filter_map(|m| match m {
            Member::Region(r, _) => Some(&mut **r),
            Member::Product(..) => None,
        })
    }

    /// # Safety
    /// The plan that this belongs to has laid out memory for it, and `bases` is that memory, without the scratch.
    pub unsafe fn run(&self, bases: Bases<'_>) -> Result<()> {
        let threads = if self.nanoseconds < PARALLEL { 1 } else { pool::num_threads() };
        let starts = if threads == 1 { vec![0, self.parts] } else { pool::shares(self.parts, threads) };
        let tasks = starts.len() - 1;
        let mut prepared = Vec::with_capacity(self.members.len());
        for member in &self.members {
            prepared.push(match member {
                Member::Product(call, _) => Prepared::Product(call.offsets()),
                Member::Region(region, _) => {
                    let firsts = || starts[..tasks].iter().map(|part| part * (region.n / self.parts)).collect();
                    Prepared::Region(region.edges(tasks, firsts)?)
                }
            });
        }
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let stopped = AtomicBool::new(false);
        let room = self.bytes.next_multiple_of(ALIGN);
        let own = Buffer::new(threads.min(tasks) * room)?;
        pool::in_shares(&starts, threads, &|worker, shares| {
            let own = own.as_mut_ptr().wrapping_add(worker * room);
            let mut table = bases.extended(self.base + self.scratch.len());
            for part in shares.flat_map(|t| starts[t]..starts[t + 1]) {
                if stopped.load(Relaxed) {
                    return;
                }
                // SAFETY: the caller's; each part is one worker's.
                if let Err(error) = unsafe { self.part(&mut table, own, part, &prepared) } {
                    stopped.store(true, Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return;
                }
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        for (member, prepared) in self.members.iter().zip(&prepared) {
            if let (Member::Region(region, _), Prepared::Region(edges)) = (member, prepared) {
                // SAFETY: the caller's; all tasks are done.
                unsafe { region.conclude(bases, edges.as_ref()) };
            }
        }
        Ok(())
    }

    /// # Safety
    /// As for `run`; nobody else has this part, or uses the worker's memory.
    unsafe fn part(&self, table: &mut [*mut u8], own: *mut u8, part: usize, prepared: &[Prepared]) -> Result<()> {
        if pool::interrupted() {
            return Err(Error::Interrupted);
        }
        for (base, s) in table[self.base..].iter_mut().zip(&self.scratch) {
            *base = own.wrapping_add(s.offset).wrapping_sub(part * s.bytes);
        }
        let bases = Bases(table);
        for (member, prepared) in self.members.iter().zip(prepared) {
            // SAFETY: the caller's; scratch has room for this part of what members write to it.
            unsafe {
                match (member, prepared) {
                    (Member::Product(call, far), Prepared::Product(offsets)) => {
                        let room = Some(own.wrapping_add(self.panels));
                        call.entries(
                            bases,
                            offsets,
                            part * self.each..(part + 1) * self.each,
                            Beside { far: *far, room },
                        )?;
                    }
                    (Member::Region(region, at), Prepared::Region(edges)) => {
                        region.part(bases, own.wrapping_add(*at), (part, self.parts), edges.as_ref())?;
                    }
                    _ => return Err(Error::Internal("what was prepared for another member".into())),
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, each, kept) = (self.parts, self.each, self.scratch.len());
        write!(f, "{parts} parts of a batch, {each} entries at a time, {kept} arrays between them not in memory:")?;
        for member in &self.members {
            match member {
                Member::Product(call, _) => write!(f, "\n    {call}")?,
                Member::Region(region, _) => write!(f, "\n    {region}")?,
            }
        }
        Ok(())
    }
}
