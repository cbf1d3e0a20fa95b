//! Regions: elementwise programs over large arrays, run block by block, with reductions at their end.
//!
//! How an array is cut for a reduction depends on its shape alone: rows in leaves of 1024 elements, whose results are joined in
//! the same way; leading axes in groups of rows. Threads take ranges of blocks, and never change a bit.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::buffer::{ALIGN, Buffer};
use super::generated::Entry;
use super::narrow::RowsKernel;
use super::pool;
use super::rows::{Edges, RowInstr};
use super::straight::put;
use super::stream;
use super::strided::Strided;
use crate::math::Kernel;
use crate::math::reduce::{AccumulateKernel, BLOCK, ReduceKernel};
use crate::plan::frame::Frame;
use crate::{Error, Result};

/// A place in memory: a base (the arena, a parameter, an output) and bytes from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub base: u32,
    pub offset: usize,
}

/// What a place is in this run.
#[derive(Clone, Copy)]
pub struct Bases<'a>(pub &'a [*mut u8]);

// SAFETY: pointers are numbers; whoever follows them answers for it.
unsafe impl Sync for Bases<'_> {}

impl Bases<'_> {
    pub fn at(&self, p: Place) -> *mut u8 {
        self.0[p.base as usize].wrapping_add(p.offset)
    }
}

/// An array that the blocks read or write in place.
#[derive(Debug)]
pub struct Mem {
    pub place: Place,
    /// Bytes an element; 0 for one number that serves every block.
    pub step: usize,
    /// No array, but a register that collects the blocks of one leaf of a reduction.
    pub leaf: bool,
    /// The bytes from the place that may be read, where whole vectors may not be read past the end.
    pub readable: Option<usize>,
    /// The elements of the iteration space for which the array has one, where it has not for all: zeros for the others.
    pub inside: Option<(usize, usize)>,
    pub written: bool,
    /// Whether those who use it leave out what they may not touch.
    pub masked: bool,
    /// Written past the caches: large, and not read by the plan again.
    pub streamed: bool,
    /// A register that takes the place of the array in a block where it cannot be used directly.
    pub spill: usize,
}

/// `ptrs[index] + offset`, where ptrs[0] are the registers and the others the arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operand {
    pub index: u32,
    pub offset: u32,
}

#[derive(Debug)]
pub enum Instr {
    Map {
        f: Kernel,
        dst: Operand,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// Several operations, on operands that the code knows.
    Pass(Entry),
    Load {
        place: Place,
        view: Box<Strided>,
        dst: Operand,
    },
    Iota {
        dst: Operand,
    },
    Fold {
        fold: u32,
        src: Operand,
    },
    Row(RowInstr),
    Mask {
        frame: Box<Frame>,
        size: usize,
        dst: Operand,
        src: Operand,
    },
}

#[derive(Debug)]
pub struct BlockFold {
    pub block: ReduceKernel,
    /// Instead, for short rows.
    pub narrow: Option<RowsKernel>,
    pub accumulate: AccumulateKernel,
    pub init: u64,
    pub size: usize,
    /// The elements of a row: those of the region, or if that has one row, perhaps fewer, and the others do not count.
    /// Leading reductions may join several rows of the region at a time.
    pub row: usize,
    pub leading: bool,
    /// To one number, from blocks of rows.
    pub full: bool,
    /// Where in the registers such a reduction collects a leaf, and which one of them it is.
    pub collector: (usize, usize),
    pub dst: Place,
    /// Trailing: the results of the leaves, where a row has several. Leading: those of the groups after the first.
    pub partial: Place,
}

#[derive(Debug)]
pub struct Region {
    pub n: usize,
    pub row: usize,
    /// Elements of a block where rows are longer than that.
    pub piece: usize,
    /// Rows of a block where they fit; else 0.
    pub rows_a_block: usize,
    /// Rows that are joined one after the other by leading reductions.
    pub group: usize,
    pub has_leading: bool,
    pub registers: usize,
    /// Where the registers are if there is one thread.
    pub at: Place,
    pub mems: Vec<Mem>,
    pub prologue: Vec<Instr>,
    pub body: Vec<Instr>,
    /// Reductions of rows that are longer than a block, and what they read: done when a leaf of the row is complete.
    pub epilogue: Vec<(u32, Operand)>,
    pub folds: Vec<BlockFold>,
    pub nanoseconds: usize,
}

/// Rows that a leading reduction joins one after the other: enough for a task, and few enough groups.
pub fn group_rows(rows: usize, row: usize) -> usize {
    let least =
        if row > 1 << 14 { rows.div_ceil(8) } else { rows.div_ceil(64).max((1usize << 14).div_ceil(row.max(1))) };
    least.clamp(1, rows.max(1))
}

/// Regions that take less run on the caller's thread alone.
const PARALLEL: usize = 20_000;

/// Arrays of more bytes lie beyond the second-level cache: while a block is computed, the next one is fetched.
const FAR: usize = 1 << 20;

/// What the next block reads and writes, asked for bit by bit between the instructions of this one: a core waits for some
/// sixteen lines at a time, and stands still where it is asked for more.
struct Ahead {
    /// From where, how many lines, and whether they will be written.
    streams: Vec<(*const u8, usize, bool)>,
    lines: usize,
    instrs: usize,
    quota: usize,
}

impl Ahead {
    fn new(instrs: usize) -> Ahead {
        Ahead { streams: Vec::new(), lines: 0, instrs, quota: 0 }
    }

    fn clear(&mut self) {
        self.streams.clear();
        self.lines = 0;
    }

    fn add(&mut self, p: *const u8, bytes: usize, write: bool) {
        let lines = bytes.div_ceil(ALIGN);
        self.streams.push((p, lines, write));
        self.lines += lines;
    }

    /// All of it has been said: how much to ask for at a time.
    fn begin(&mut self) {
        self.quota = self.lines.div_ceil(self.instrs.max(1));
    }

    /// Asks for some of it.
    #[inline]
    fn fetch(&mut self) {
        let mut left = self.quota;
        while left > 0
            && let Some((p, lines, write)) = self.streams.last_mut()
        {
            let some = left.min(*lines);
            fetch(*p, some, *write);
            *p = p.wrapping_add(some * ALIGN);
            *lines -= some;
            left -= some;
            if *lines == 0 {
                self.streams.pop();
            }
        }
    }
}

/// Asks for so many lines from p on, to read or to write them.
#[inline]
fn fetch(p: *const u8, lines: usize, write: bool) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
        for line in 0..lines {
            let at = p.wrapping_add(line * ALIGN).cast();
            // SAFETY: a hint, which may be of any address.
            unsafe {
                match write {
                    true => _mm_prefetch::<_MM_HINT_ET0>(at),
                    false => _mm_prefetch::<_MM_HINT_T0>(at),
                }
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (p, lines, write);
}

pub(super) struct Block {
    pub start: usize,
    pub len: usize,
    /// The first row and column.
    pub row: usize,
    pub column: usize,
}

impl Block {
    /// Whether its part of an array that begins there is whole lines.
    fn fills_lines(&self, array: *mut u8, step: usize) -> bool {
        (array as usize + self.start * step).is_multiple_of(ALIGN) && (self.len * step).is_multiple_of(ALIGN)
    }
}

impl Region {
    fn rows(&self) -> usize {
        self.n / self.row
    }

    /// The element with which block i begins.
    fn begin(&self, i: usize) -> usize {
        let a_group = self.blocks_a_group();
        let (group, k) = (i / a_group, i % a_group);
        self.block(i).map_or_else(|| ((group + usize::from(k > 0)) * self.group * self.row).min(self.n), |b| b.start)
    }

    fn blocks_a_group(&self) -> usize {
        match self.rows_a_block {
            0 => self.group * self.row.div_ceil(self.piece),
            k => self.group.div_ceil(k),
        }
    }

    fn block(&self, i: usize) -> Option<Block> {
        let a_group = self.blocks_a_group();
        let (group, i) = (i / a_group, i % a_group);
        let first = group * self.group;
        let end = (first + self.group).min(self.rows());
        let (row, column, len) = match self.rows_a_block {
            0 => {
                let pieces = self.row.div_ceil(self.piece);
                let column = i % pieces * self.piece;
                (first + i / pieces, column, self.piece.min(self.row - column))
            }
            k => {
                let row = first + i * k;
                (row, 0, k.min(end.saturating_sub(row)) * self.row)
            }
        };
        (row < end).then_some(Block { start: row * self.row + column, len, row, column })
    }

    /// # Safety
    /// The plan that this region belongs to has laid out memory for it, and `bases` is that memory.
    pub unsafe fn run(&self, bases: Bases<'_>) -> Result<()> {
        let groups = self.rows().div_ceil(self.group);
        let blocks = groups * self.blocks_a_group();
        // a group is one task's: its rows go to one running result. So are a row, or the blocks of a leaf
        let atom = match (self.has_leading, self.epilogue.is_empty()) {
            (true, _) => self.blocks_a_group(),
            (false, true) => 1,
            (false, false) if self.row.is_multiple_of(BLOCK) || self.rows() == 1 => BLOCK / self.piece,
            (false, false) => self.row.div_ceil(self.piece),
        };
        let atoms = blocks.div_ceil(atom);
        let failed = AtomicU8::new(0);
        let threads = if self.nanoseconds < PARALLEL { 1 } else { pool::num_threads() };
        // few atoms are a task each: of tasks of different lengths the last one may keep everybody waiting
        let tasks = if atoms <= 8 * threads { atoms } else { 4 * threads };
        if threads == 1 || tasks <= 1 {
            // SAFETY: the caller's; the arena has room for the registers of one thread.
            unsafe { self.blocks(bases, bases.at(self.at), 0..blocks, None, &failed) };
        } else {
            let first = |t: usize| t * atoms / tasks * atom;
            let full = self.folds.iter().filter(|f| f.full).count();
            let edges = match full {
                0 => None,
                _ => Some(Edges::new((0..tasks).map(|t| self.begin(first(t))).collect(), full)?),
            };
            pool::parallel(tasks, &|t| {
                let range = first(t)..first(t + 1).min(blocks);
                match Buffer::new(self.registers) {
                    // SAFETY: the caller's; tasks write disjoint ranges.
                    Ok(own) => unsafe { self.blocks(bases, own.as_mut_ptr(), range, edges.as_ref(), &failed) },
                    Err(_) => failed.store(2, Relaxed),
                }
            });
            if let Some(edges) = &edges
                && failed.load(Relaxed) == 0
            {
                // SAFETY: the caller's; all tasks are done.
                unsafe { self.close(edges, bases) };
            }
        }
        match failed.load(Relaxed) {
            0 => {}
            1 => return Err(Error::Interrupted),
            _ => return Err(Error::Memory(format!("cannot allocate {} bytes for registers", self.registers))),
        }
        for f in &self.folds {
            // SAFETY: the caller's; all tasks are done.
            unsafe { self.join(f, bases, groups) };
        }
        Ok(())
    }

    /// # Safety
    /// As for `run`; nobody else runs the same blocks, or uses the registers.
    unsafe fn blocks(
        &self,
        bases: Bases<'_>,
        registers: *mut u8,
        range: Range<usize>,
        edges: Option<&Edges>,
        failed: &AtomicU8,
    ) {
        let mut ptrs: Vec<*mut u8> = Vec::with_capacity(self.mems.len() + 1);
        ptrs.push(registers);
        ptrs.extend(self.mems.iter().map(|m| bases.at(m.place)));
        let longest = if self.rows_a_block == 0 { self.piece } else { self.rows_a_block * self.row };
        for instr in &self.prologue {
            if let Instr::Load { place, view, dst } = instr {
                // SAFETY: the register has room for a block, and the view repeats one number.
                unsafe { view.load(bases.at(*place), 0, longest.min(self.n), at(&ptrs, *dst)) };
            }
        }
        let _fence = self.mems.iter().any(|m| m.streamed).then_some(stream::Fence);
        let mut ahead = Ahead::new(self.body.len());
        // how far a task writes: up to where the next one begins, or to the end of the array's last vector
        let next = range.clone().rev().find_map(|i| self.block(i)).map_or(0, |b| b.start + b.len);
        let stop = |step: usize| if next == self.n { (next * step).next_multiple_of(ALIGN) } else { next * step };
        for i in range {
            if i % 64 == 63 && pool::interrupted() {
                failed.fetch_max(1, Relaxed);
            }
            if failed.load(Relaxed) != 0 {
                return;
            }
            let Some(block) = self.block(i) else { continue };
            let (mut spilled, mut streamed) = (false, false);
            ahead.clear();
            for (m, p) in self.mems.iter().zip(&mut ptrs[1..]) {
                if m.step == 0 {
                    continue;
                }
                if m.leaf {
                    *p = registers.wrapping_add(m.spill + block.column % BLOCK * m.step);
                    continue;
                }
                let from = block.start * m.step;
                *p = bases.at(m.place).wrapping_add(from);
                let bytes = block.len * m.step;
                if m.streamed && block.fills_lines(bases.at(m.place), m.step) {
                    *p = registers.wrapping_add(m.spill);
                    streamed = true;
                    continue;
                }
                if self.n * m.step > FAR {
                    ahead.add(p.wrapping_add(bytes), bytes, m.written);
                }
                if m.masked {
                    continue;
                }
                if let Some(inside) = m.inside
                    && (block.start < inside.0 || block.start + block.len > inside.1)
                {
                    let register = registers.wrapping_add(m.spill);
                    // SAFETY: what is inside is in the array; the register has room for the block.
                    unsafe { edge(*p, m.step, &block, inside, register) };
                    *p = register;
                    continue;
                }
                if bytes % ALIGN == 0 {
                    continue;
                }
                let whole = from + bytes.next_multiple_of(ALIGN);
                if m.written {
                    // whole vectors would run into what another thread writes, or past the end of the array
                    if whole > stop(m.step) {
                        *p = registers.wrapping_add(m.spill);
                        spilled = true;
                    }
                    continue;
                }
                // a block that begins within a vector has no padding behind it
                let aligned = (*p as usize).is_multiple_of(ALIGN);
                let there = m.inside.map_or(self.n, |inside| inside.1);
                let readable = m.readable.unwrap_or(if aligned { usize::MAX } else { there * m.step });
                if whole > readable {
                    let register = registers.wrapping_add(m.spill);
                    // SAFETY: the block lies in the array, the register has room for it.
                    unsafe { std::ptr::copy_nonoverlapping(*p, register, bytes) };
                    *p = register;
                }
            }
            ahead.begin();
            for instr in &self.body {
                ahead.fetch();
                // SAFETY: operands are registers of a whole block, or arrays whose vectors may be used as above.
                unsafe {
                    match instr {
                        Instr::Map { f, dst, a, b, c } => {
                            f(block.len, at(&ptrs, *dst), at(&ptrs, *a), at(&ptrs, *b), at(&ptrs, *c));
                        }
                        Instr::Pass(entry) => entry.call(block.len, ptrs.as_ptr().cast(), block.start),
                        Instr::Load { place, view, dst } => {
                            view.load(bases.at(*place), block.start, block.len, at(&ptrs, *dst));
                        }
                        Instr::Iota { dst } => {
                            let dst = at(&ptrs, *dst).cast::<i64>();
                            for k in 0..block.len {
                                dst.add(k).write_unaligned((block.start + k) as i64);
                            }
                        }
                        Instr::Row(instr) => self.row_instr(instr, bases, &block, &ptrs, edges),
                        Instr::Mask { frame, size, dst, src } => {
                            let (dst, src) = (at(&ptrs, *dst), at(&ptrs, *src));
                            if !std::ptr::eq(dst, src) {
                                std::ptr::copy_nonoverlapping(src, dst, block.len * size);
                            }
                            frame.stretches(block.start, block.len, |from, len, inside| {
                                if !inside {
                                    dst.add((from - block.start) * size).write_bytes(0, len * size);
                                }
                            });
                        }
                        Instr::Fold { fold, src } => {
                            self.fold(&self.folds[*fold as usize], bases, &block, at(&ptrs, *src));
                        }
                    }
                }
            }
            if spilled {
                for (m, p) in self.mems.iter().zip(&ptrs[1..]) {
                    let register = registers.wrapping_add(m.spill);
                    let array = bases.at(m.place);
                    let done = m.streamed && block.fills_lines(array, m.step);
                    if m.written && !m.leaf && *p == register && !done {
                        let to = array.wrapping_add(block.start * m.step);
                        // SAFETY: the block lies in the array, whose elements are this task's.
                        unsafe { std::ptr::copy_nonoverlapping(register, to, block.len * m.step) };
                    }
                }
            }
            if streamed {
                for m in &self.mems {
                    let (register, array) = (registers.wrapping_add(m.spill), bases.at(m.place));
                    if m.streamed && block.fills_lines(array, m.step) {
                        let to = array.wrapping_add(block.start * m.step);
                        // SAFETY: as above, both aligned.
                        unsafe { stream::copy(register, to, block.len * m.step) };
                    }
                }
            }
            for (fold, src) in &self.epilogue {
                // SAFETY: tasks begin and end with whole leaves.
                unsafe { self.long_fold(*fold, *src, bases, &block, &ptrs) };
            }
        }
    }

    /// The leaf of a long row that ends with this block.
    ///
    /// # Safety
    /// As for `run`; the blocks of the leaf are this task's, and done.
    unsafe fn long_fold(&self, k: u32, src: Operand, bases: Bases<'_>, b: &Block, ptrs: &[*mut u8]) {
        let end = b.column + b.len;
        let f = &self.folds[k as usize];
        let first = b.column / BLOCK * BLOCK;
        if !end.is_multiple_of(BLOCK) && end != self.row || first >= f.row {
            return;
        }
        let end = end.min(f.row);
        let before = b.column - first;
        let m = &self.mems[src.index as usize - 1];
        let src = match (m.leaf, m.step) {
            (true, _) => ptrs[src.index as usize].wrapping_sub(before * f.size),
            // one number: a block of it is as good as any other
            (false, 0) => ptrs[src.index as usize],
            // a reduction reads nothing past the end, so the array itself will do
            (false, _) => bases.at(m.place).wrapping_add((b.start - before) * f.size),
        };
        let leaves = f.row.div_ceil(BLOCK);
        let results = if leaves == 1 { bases.at(f.dst) } else { bases.at(f.partial) };
        // SAFETY: the caller's; there is a result for each leaf of each row.
        unsafe {
            let acc = results.add((b.row * leaves + first / BLOCK) * f.size);
            put(acc, f.init, f.size);
            (f.block)(end - first, acc, src);
        }
    }

    /// # Safety
    /// As for `run`; `src` is the block's input.
    unsafe fn fold(&self, f: &BlockFold, bases: Bases<'_>, b: &Block, src: *const u8) {
        // a leading reduction may join several rows at a time
        let rows = if self.rows_a_block == 0 { 1 } else { b.len / if f.leading { f.row } else { self.row } };
        let len = (b.len / rows).min(f.row);
        // SAFETY: results have an element for each row (and leaf), or each column (and group).
        unsafe {
            if f.leading {
                let acc = self.running(f, bases, b.row).add(b.column * f.size);
                let joined = f.row / self.row;
                for k in 0..rows {
                    let row = src.add(k * f.row * f.size);
                    if (b.row + k * joined).is_multiple_of(self.group) {
                        for j in 0..len {
                            put(acc.add(j * f.size), f.init, f.size);
                        }
                    }
                    (f.accumulate)(len, acc, row);
                }
                return;
            }
            // rows of several leaves are the business of long_fold
            let results = bases.at(f.dst).add(b.row * f.size);
            if let Some(narrow) = f.narrow {
                return narrow(rows, f.row, results, src);
            }
            for k in 0..rows {
                let acc = results.add(k * f.size);
                put(acc, f.init, f.size);
                (f.block)(len, acc, src.add(k * self.row * f.size));
            }
        }
    }

    /// Joins the results of the tasks.
    ///
    /// # Safety
    /// As for `run`; nobody works on the region any more.
    unsafe fn join(&self, f: &BlockFold, bases: Bases<'_>, groups: usize) {
        let (dst, partial) = (bases.at(f.dst), bases.at(f.partial));
        // SAFETY: partial results were laid out for all groups or leaves.
        unsafe {
            if f.leading {
                for g in 1..groups {
                    (f.accumulate)(f.row, dst, partial.add((g - 1) * f.row * f.size));
                }
                return;
            }
            let leaves = f.row.div_ceil(BLOCK);
            if leaves == 1 {
                return;
            }
            for i in 0..if f.full { 1 } else { self.rows() } {
                let row = partial.add(i * leaves * f.size);
                let mut count = leaves;
                while count > BLOCK {
                    let next = count.div_ceil(BLOCK);
                    for k in 0..next {
                        let mut acc = 0u64;
                        let acc: *mut u8 = (&raw mut acc).cast();
                        put(acc, f.init, f.size);
                        (f.block)(BLOCK.min(count - k * BLOCK), acc, row.add(k * BLOCK * f.size));
                        std::ptr::copy_nonoverlapping(acc, row.add(k * f.size), f.size);
                    }
                    count = next;
                }
                let acc = dst.add(i * f.size);
                put(acc, f.init, f.size);
                (f.block)(count, acc, row);
            }
        }
    }
}

/// Copies the elements of a block that the array has, with zeros for the others.
///
/// # Safety
/// Those inside can be read, counted from `src` for the first of the block; `dst` has room for the block.
unsafe fn edge(src: *const u8, step: usize, b: &Block, inside: (usize, usize), dst: *mut u8) {
    let first = inside.0.clamp(b.start, b.start + b.len) - b.start;
    let end = inside.1.clamp(b.start + first, b.start + b.len) - b.start;
    // SAFETY: the caller's; places in the block.
    unsafe {
        dst.write_bytes(0, first * step);
        let bytes = (end - first) * step;
        std::ptr::copy_nonoverlapping(src.wrapping_add(first * step), dst.add(first * step), bytes);
        dst.add(end * step).write_bytes(0, (b.len - end) * step);
    }
}

#[inline(always)]
pub(super) fn at(ptrs: &[*mut u8], o: Operand) -> *mut u8 {
    ptrs[o.index as usize].wrapping_add(o.offset as usize)
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let loads = self.body.iter().filter(|i| matches!(i, Instr::Load { .. })).count();
        let kernels = self.body.iter().filter(|i| matches!(i, Instr::Map { .. })).count();
        let passes = self.body.iter().filter(|i| matches!(i, Instr::Pass(_))).count();
        let columns = self.body.iter().filter(|i| matches!(i, Instr::Row(_))).count();
        let written = self.mems.iter().filter(|m| m.written).count();
        let read = self.mems.iter().filter(|m| !m.written && m.step != 0).count();
        let block = if self.rows_a_block == 0 { self.piece } else { self.rows_a_block * self.row };
        write!(
            f,
            "region over {} elements (rows of {}) in blocks of {block}: {kernels} operations, {passes} generated passes, {columns} on columns, {read} arrays read, {loads} \
             gathered, {written} written, {} reductions, about {} ns",
            self.n,
            self.row,
            self.folds.len(),
            self.nanoseconds
        )
    }
}
