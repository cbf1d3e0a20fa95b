//! Products of a batch of matrices and the regions between them, some entries at a time through all of them.
//!
//! Each task has some parts of the batch, one after the other. Values that nobody else reads are scratch: there is memory for one
//! part of them in each task, and their base is moved so that each part finds its own where it would be in the whole array.
#![allow(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::buffer::Buffer;
use super::node::{Call, Offsets};
use super::pool;
use super::region::{Bases, Region};
use super::rows::Edges;
use crate::{Error, Result};

#[derive(Debug)]
pub enum Member {
    /// A product, and which of its operands and its result come from memory.
    Product(Box<Call>, [bool; 3]),
    /// A region, and where in the memory of a task its registers are: what they collect stays there from part to part.
    Region(Box<Region>, usize),
}

/// Memory of a task for one part of an array.
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
    /// Memory of a task: scratch and registers.
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
        let stopped = AtomicU8::new(0);
        pool::parallel(tasks, &|t| {
            // SAFETY: the caller's; each part is one task's.
            if let Err(error) = unsafe { self.task(bases, starts[t]..starts[t + 1], &prepared, &stopped) } {
                stopped.store(1, Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
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
    /// As for `run`; nobody else has these parts.
    unsafe fn task(
        &self,
        bases: Bases<'_>,
        parts: std::ops::Range<usize>,
        prepared: &[Prepared],
        stopped: &AtomicU8,
    ) -> Result<()> {
        let own = Buffer::new(self.bytes)?;
        let mut table = bases.0.to_vec();
        table.resize(self.base + self.scratch.len(), std::ptr::null_mut());
        for part in parts {
            if pool::interrupted() {
                return Err(Error::Interrupted);
            }
            if stopped.load(Relaxed) != 0 {
                return Ok(());
            }
            for (base, s) in table[self.base..].iter_mut().zip(&self.scratch) {
                *base = own.as_mut_ptr().wrapping_add(s.offset).wrapping_sub(part * s.bytes);
            }
            let bases = Bases(&table);
            for (member, prepared) in self.members.iter().zip(prepared) {
                // SAFETY: the caller's; scratch has room for this part of what members write to it.
                unsafe {
                    match (member, prepared) {
                        (Member::Product(call, far), Prepared::Product(offsets)) => {
                            call.entries(bases, offsets, part * self.each..(part + 1) * self.each, *far)?;
                        }
                        (Member::Region(region, at), Prepared::Region(edges)) => {
                            let registers = own.as_mut_ptr().wrapping_add(*at);
                            region.part(bases, registers, (part, self.parts), edges.as_ref())?;
                        }
                        _ => return Err(Error::Internal("what was prepared for another member".into())),
                    }
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
