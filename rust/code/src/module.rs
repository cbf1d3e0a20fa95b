//! The code of several passes in memory that can be executed.

use memmap2::{Mmap, MmapMut};
use rustc_hash::FxHashMap;

use crate::emit;
use crate::pass::{Pass, has_code};

/// Code begins at lines of the cache.
const LINE: usize = 64;

/// Executable memory; where its passes begin in it is known to those who have built it.
#[derive(Debug)]
pub struct Module {
    memory: Mmap,
}

impl Module {
    /// Code for the passes, and the address of each: of a function of System V's calling convention that takes the number of
    /// elements, the base, or the table of bases, and the place of the first element, and returns nothing. None where there is no code for this machine, or
    /// where the system does not let memory be executed.
    pub fn build(passes: &[Pass]) -> Option<(Module, Vec<usize>)> {
        if passes.is_empty() || !has_code() {
            return None;
        }
        let mut out = Output::default();
        let mut starts = Vec::with_capacity(passes.len());
        for pass in passes {
            out.align();
            starts.push(out.code.len());
            emit::pass(&mut out, pass).ok()?;
        }
        let code = out.finish();
        let mut memory = MmapMut::map_anon(code.len()).ok()?;
        memory.copy_from_slice(&code);
        let memory = memory.make_exec().ok()?;
        let first = memory.as_ptr() as usize;
        Some((Module { memory }, starts.into_iter().map(|s| first + s).collect()))
    }

    pub fn bytes(&self) -> usize {
        self.memory.len()
    }
}

/// What has been written, and the constants that lie behind it.
#[derive(Default)]
pub(crate) struct Output {
    pub code: Vec<u8>,
    constants: Vec<u8>,
    places: FxHashMap<Vec<u8>, usize>,
    /// Where a displacement lies, where its instruction ends, and the constant that it leads to.
    fixes: Vec<(usize, usize, usize)>,
}

impl Output {
    /// Adds instructions, and where they read constants.
    pub fn add(&mut self, code: Vec<u8>, fixes: &[(usize, usize, usize)]) {
        self.code.extend(code);
        self.fixes.extend(fixes);
    }

    /// Writes a number into an instruction.
    pub fn patch(&mut self, at: usize, number: u32) {
        self.code[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }

    /// The place of a constant among the constants. Long ones are aligned to their length.
    pub fn constant(&mut self, bytes: &[u8]) -> usize {
        if let Some(&at) = self.places.get(bytes) {
            return at;
        }
        let at = self.constants.len().next_multiple_of(bytes.len().clamp(1, LINE));
        self.constants.resize(at, 0);
        self.constants.extend(bytes);
        self.places.insert(bytes.to_vec(), at);
        at
    }

    fn align(&mut self) {
        // what nobody gets to traps
        self.code.resize(self.code.len().next_multiple_of(LINE), 0xcc);
    }

    fn finish(mut self) -> Vec<u8> {
        self.align();
        let pool = self.code.len();
        for (at, end, constant) in self.fixes {
            let distance = (pool + constant - end) as u32;
            self.code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        self.code.extend(self.constants);
        self.code
    }
}
