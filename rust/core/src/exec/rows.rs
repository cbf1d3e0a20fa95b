//! What a block of whole rows can do besides elementwise kernels: reduce its rows to a column of the block, compute with
//! columns and spread them again, multiply rows with a vector, and reduce an array to a number although blocks and the
//! leaves of that reduction do not begin together.
#![allow(unsafe_code)]

use super::buffer::Buffer;
use super::divide::DivideKernel;
use super::gemv;
use super::generated::Entry;
use super::lanes::{self, Lanes, Real};
use super::narrow::RowsKernel;
use super::region::{Bases, Block, BlockFold, Operand, Place, Region, at};
use super::straight::put;
use super::strided::Strided;
use crate::math::Kernel;
use crate::math::reduce::{BLOCK, ReduceKernel};
use crate::tape::DType;
use crate::{Error, Result};

/// Columns have an element for each row of the block.
#[derive(Debug)]
pub enum RowInstr {
    /// Elementwise, on columns.
    Map { f: Kernel, dst: Operand, a: Operand, b: Operand, c: Operand },
    /// Several operations, on columns that the code knows.
    Pass(Entry),
    /// Elements of a view, one a row.
    Load { place: Place, view: Box<Strided>, dst: Operand },
    /// Each row to a number.
    Fold { fold: Box<RowFold>, src: Operand, dst: Operand },
    /// Each number to a row.
    Spread { size: usize, src: Operand, dst: Operand },
    /// The rows, divided by a number each.
    Divide { f: DivideKernel, src: Operand, column: Operand, dst: Operand },
    /// A column to its place in memory.
    Store { size: usize, src: Operand, place: Place },
    /// The product of each row with a vector.
    Dot { product: Products, matrix: Operand, vector: Place, dst: Operand },
    /// Adds rows, each times its element of a column, to the running result of their group.
    Weighted { product: Products, fold: u32, matrix: Operand, column: Operand },
    /// The block's part of a reduction to one number.
    Collect { fold: u32, src: Operand },
}

#[derive(Debug)]
pub struct RowFold {
    pub block: ReduceKernel,
    /// Instead, for short rows.
    pub narrow: Option<RowsKernel>,
    pub init: u64,
    pub size: usize,
}

/// `dots(rows, row, matrix, vector, out)` and `sums(rows, row, matrix, column, acc)`.
///
/// # Safety
/// The matrix has so many rows of that length, one after the other; vector, column and results have the lengths to match.
type ProductKernel = unsafe fn(usize, usize, *const u8, *const u8, *mut u8);

/// The two products of a block of rows with a vector.
#[derive(Clone, Copy, Debug)]
pub struct Products {
    dots: ProductKernel,
    sums: ProductKernel,
}

impl Products {
    pub fn new(dtype: DType) -> Option<Products> {
        Some(match dtype {
            DType::F32 => Products { dots: gemv::dots_of_block::<f32>, sums: gemv::add_weighted_rows::<f32> },
            DType::F64 => Products { dots: gemv::dots_of_block::<f64>, sums: gemv::add_weighted_rows::<f64> },
            _ => return None,
        })
    }
}

/// Leaves of reductions that several tasks have a part of: where the tasks begin, and a leaf of elements for each begin and
/// each reduction.
pub struct Edges {
    starts: Vec<usize>,
    buffer: Buffer,
}

/// Bytes of a leaf.
const LEAF: usize = 8 * BLOCK;

impl Edges {
    /// For tasks that begin at these elements, and `reductions` of them.
    pub fn new(starts: Vec<usize>, reductions: usize) -> Result<Edges> {
        let bytes = starts.len() * reductions * LEAF;
        match Buffer::new(bytes) {
            Ok(buffer) => Ok(Edges { starts, buffer }),
            Err(_) => Err(Error::Memory(format!("cannot allocate {bytes} bytes for the ends of blocks"))),
        }
    }

    /// Where the elements of this leaf are collected by those who have a part of it, if a task begins within.
    fn of(&self, reduction: usize, first: usize, end: usize) -> Option<*mut u8> {
        let t = self.starts.partition_point(|&s| s <= first);
        let inside = *self.starts.get(t)? < end;
        inside.then(|| self.buffer.as_mut_ptr().wrapping_add((reduction * self.starts.len() + t) * LEAF))
    }
}

// SAFETY: tasks write different elements of the leaves.
unsafe impl Sync for Edges {}

impl Region {
    /// # Safety
    /// As for `Region::run`; operands are registers, or arrays that the block may use as the instruction does; `registers` and
    /// the block are the caller's alone.
    pub(super) unsafe fn row_instr(
        &self,
        instr: &RowInstr,
        bases: Bases<'_>,
        block: &Block,
        ptrs: &[*mut u8],
        edges: Option<&Edges>,
    ) {
        let rows = block.len / self.row;
        // SAFETY: the caller's.
        unsafe {
            match instr {
                RowInstr::Map { f, dst, a, b, c } => {
                    f(rows, at(ptrs, *dst), at(ptrs, *a), at(ptrs, *b), at(ptrs, *c));
                }
                RowInstr::Pass(entry) => entry.call(rows, ptrs.as_ptr().cast(), block.row),
                RowInstr::Load { place, view, dst } => view.load(bases.at(*place), block.row, rows, at(ptrs, *dst)),
                RowInstr::Fold { fold, src, dst } => fold.run(rows, self.row, at(ptrs, *src), at(ptrs, *dst)),
                RowInstr::Spread { size, src, dst } => {
                    let (src, dst) = (at(ptrs, *src), at(ptrs, *dst));
                    let row = self.row;
                    // vectors of numbers carry any bits
                    match size {
                        1 => (0..rows).for_each(|i| dst.add(i * row).write_bytes(src.add(i).read(), row)),
                        4 => lanes::dispatch(Spread::<f32> { rows, row, src: src.cast(), dst: dst.cast() }),
                        _ => lanes::dispatch(Spread::<f64> { rows, row, src: src.cast(), dst: dst.cast() }),
                    }
                }
                RowInstr::Divide { f, src, column, dst } => {
                    f(rows, self.row, at(ptrs, *dst), at(ptrs, *src), at(ptrs, *column));
                }
                RowInstr::Store { size, src, place } => {
                    let to = bases.at(*place).add(block.row * size);
                    std::ptr::copy_nonoverlapping(at(ptrs, *src), to, rows * size);
                }
                RowInstr::Dot { product, matrix, vector, dst } => {
                    (product.dots)(rows, self.row, at(ptrs, *matrix), bases.at(*vector), at(ptrs, *dst));
                }
                RowInstr::Weighted { product, fold, matrix, column } => {
                    let f = &self.folds[*fold as usize];
                    let acc = self.running(f, bases, block.row);
                    if block.row.is_multiple_of(self.group) {
                        acc.write_bytes(0, self.row * f.size);
                    }
                    (product.sums)(rows, self.row, at(ptrs, *matrix), at(ptrs, *column), acc);
                }
                RowInstr::Collect { fold, src } => {
                    self.collect(*fold as usize, bases, block, at(ptrs, *src), ptrs[0], edges);
                }
            }
        }
    }

    /// The running result of a row's group.
    pub(super) fn running(&self, f: &BlockFold, bases: Bases<'_>, row: usize) -> *mut u8 {
        match row / self.group {
            0 => bases.at(f.dst),
            g => bases.at(f.partial).wrapping_add((g - 1) * f.row * f.size),
        }
    }

    /// # Safety
    /// As for `row_instr`; there is a result for each leaf.
    unsafe fn collect(
        &self,
        fold: usize,
        bases: Bases<'_>,
        block: &Block,
        src: *const u8,
        registers: *mut u8,
        edges: Option<&Edges>,
    ) {
        let f = &self.folds[fold];
        let results = bases.at(if f.row <= BLOCK { f.dst } else { f.partial });
        let (mut pos, end) = (block.start, (block.start + block.len).min(f.row));
        while pos < end {
            let leaf = pos / BLOCK;
            let first = leaf * BLOCK;
            let leaf_end = (first + BLOCK).min(f.row);
            let until = leaf_end.min(end);
            // SAFETY: the caller's; parts of the leaf, and its result.
            unsafe {
                let from = src.add((pos - block.start) * f.size);
                let shared = edges.and_then(|e| e.of(f.collector.1, first, leaf_end));
                let whole = pos == first && until == leaf_end;
                let to = shared.unwrap_or(registers.wrapping_add(f.collector.0));
                if shared.is_some() || !whole {
                    let to = to.add((pos - first) * f.size);
                    std::ptr::copy_nonoverlapping(from, to, (until - pos) * f.size);
                }
                if shared.is_none() && until == leaf_end {
                    f.leaf(leaf_end - first, if whole { from } else { to }, results.add(leaf * f.size));
                }
            }
            pos = until;
        }
    }

    /// Reduces the leaves that several tasks have filled.
    ///
    /// # Safety
    /// As for `Region::run`; all tasks are done.
    pub(super) unsafe fn close(&self, edges: &Edges, bases: Bases<'_>) {
        for f in self.folds.iter().filter(|f| f.full) {
            let results = bases.at(if f.row <= BLOCK { f.dst } else { f.partial });
            let mut done = None;
            for &start in edges.starts.iter().filter(|&&start| start < f.row) {
                let leaf = start / BLOCK;
                let (first, end) = (leaf * BLOCK, (leaf * BLOCK + BLOCK).min(f.row));
                if done == Some(leaf) {
                    continue;
                }
                done = Some(leaf);
                if let Some(elements) = edges.of(f.collector.1, first, end) {
                    // SAFETY: a whole leaf has been written.
                    unsafe { f.leaf(end - first, elements, results.add(leaf * f.size)) };
                }
            }
        }
    }
}

impl BlockFold {
    /// # Safety
    /// `src` has n elements, `acc` room for one.
    unsafe fn leaf(&self, n: usize, src: *const u8, acc: *mut u8) {
        // SAFETY: the caller's.
        unsafe {
            if let Some(narrow) = self.narrow {
                return narrow(1, n, acc, src);
            }
            put(acc, self.init, self.size);
            (self.block)(n, acc, src);
        }
    }
}

impl RowFold {
    /// # Safety
    /// `src` has so many rows, one after the other, and dst room for a result each.
    unsafe fn run(&self, rows: usize, row: usize, src: *const u8, dst: *mut u8) {
        // SAFETY: the caller's; a row that fits a block has few leaves.
        unsafe {
            if let Some(narrow) = self.narrow {
                return narrow(rows, row, dst, src);
            }
            let mut leaves = [0u64; crate::plan::LONGEST_ROW.div_ceil(BLOCK)];
            let leaves: *mut u8 = (&raw mut leaves).cast();
            for i in 0..rows {
                let (src, acc) = (src.add(i * row * self.size), dst.add(i * self.size));
                put(acc, self.init, self.size);
                if row <= BLOCK {
                    (self.block)(row, acc, src);
                    continue;
                }
                let count = row.div_ceil(BLOCK);
                for k in 0..count {
                    let leaf = leaves.add(k * self.size);
                    put(leaf, self.init, self.size);
                    (self.block)(BLOCK.min(row - k * BLOCK), leaf, src.add(k * BLOCK * self.size));
                }
                (self.block)(count, acc, leaves);
            }
        }
    }
}

/// Each number of a column to a row.
struct Spread<T> {
    rows: usize,
    row: usize,
    src: *const T,
    dst: *mut T,
}

impl<T: Real> lanes::Kernel<T> for Spread<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        // SAFETY: whoever made this says that `src` has a number for each row, and `dst` room for the rows; the caller has the
        // instruction set.
        unsafe {
            for i in 0..self.rows {
                let (x, to) = (V::splat(self.src.add(i).read()), self.dst.add(i * self.row));
                let whole = self.row / V::N * V::N;
                for j in (0..whole).step_by(V::N) {
                    x.store(to.add(j));
                }
                if whole < self.row {
                    x.store_part(to.add(whole), self.row - whole);
                }
            }
        }
    }
}
