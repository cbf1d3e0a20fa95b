//! The inner part of a matrix product: packing, and blocks of the result from registers.
//!
//! A tile of the result, up to [`Lanes::MR`] rows by [`WIDTH`] vectors, is summed in registers over at most [`KC`] products and
//! then stored or added. Every element is summed in the same order whatever tile it falls into and whether or not its operands
//! were packed, so blocks may be cut anywhere.
#![allow(unsafe_code)]
// loops over registers read best with an index into each
#![allow(clippy::needless_range_loop)]

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::arch::asm;
use std::ops::Range;

use super::gemm::Mat;
use super::lanes::{Kernel, Lanes, Real};

/// Products that are summed in registers before they go to memory.
pub(super) const KC: usize = 256;
/// Bytes of `b` up to which it stays in the first-level cache as it lies.
pub(super) const SMALL_BYTES: usize = 32 << 10;
/// Products whose loop is one turn.
const UNROLL: usize = 4;
/// Vectors in a row of a tile.
const WIDTH: usize = 3;
/// Rows of the packed matrix on the left come in multiples of this, columns of the right one in multiples of [`COLS`].
pub(super) const ROWS: usize = 8;
pub(super) const COLS: usize = WIDTH * 16;

/// c (+)= a b for k ≤ KC, the rows of b contiguous.
#[derive(Clone, Copy)]
pub(super) struct Block<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Mat<T>,
    /// `a` points at panels of MR rows, column after column; its strides are ignored.
    pub a_packed: bool,
    pub b: Mat<T>,
    /// `b` points at panels of WIDTH vectors, row after row; its strides are ignored.
    pub b_packed: bool,
    pub c: *mut T,
    pub c_row: usize,
    pub accumulate: bool,
    /// What will be wanted next.
    pub next: Lines,
}

/// Lines of memory that are brought to the second cache beside a product whose rows on the left are read in place: small
/// matrices pass by faster than the machine would fetch them by itself.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub from: [*const u8; 3],
    pub counts: [usize; 3],
}

// SAFETY: addresses that nobody reads or writes at.
unsafe impl Sync for Lines {}

impl Lines {
    pub const NONE: Lines = Lines { from: [std::ptr::null(); 3], counts: [0; 3] };

    fn is_none(&self) -> bool {
        self.counts == [0; 3]
    }

    /// Line i of all, and how far it is from there to the next one; `otherwise` if there are not so many.
    #[inline(always)]
    fn at(&self, mut i: usize, otherwise: *const u8) -> (*const u8, usize) {
        for (from, &count) in self.from.iter().zip(&self.counts) {
            if i < count {
                return (from.wrapping_add(i * LINE), LINE);
            }
            i -= count;
        }
        (otherwise, 0)
    }
}

/// Bytes of a line.
const LINE: usize = 64;

impl<T: Real> Kernel<T> for Block<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        let wide = WIDTH * V::N;
        let (b_row, b_panel) = if self.b_packed { (wide as isize, wide * self.k) } else { (self.b.row, wide) };
        // where all of b stays in the first-level cache, a few rows of a pass by all of its columns
        let small = self.n * self.k * size_of::<T>() <= SMALL_BYTES;
        let height = if small && !self.a_packed { V::MR } else { self.m.max(1) };
        for i in (0..self.m).step_by(height) {
            let rows = i..self.m.min(i + height);
            for panel in 0..self.n.div_ceil(wide) {
                let (j, b) = (panel * wide, self.b.ptr.wrapping_add(panel * b_panel));
                let left = (self.n - j).min(wide);
                let part = (left - 1) % V::N + 1;
                // SAFETY: columns j to j + left, in full vectors and a last one with `part` elements.
                unsafe {
                    match left.div_ceil(V::N) {
                        1 => self.columns::<V, 1>(rows.clone(), j, (b, b_row), part),
                        2 => self.columns::<V, 2>(rows.clone(), j, (b, b_row), part),
                        _ => self.columns::<V, WIDTH>(rows.clone(), j, (b, b_row), part),
                    }
                }
            }
        }
    }
}

impl<T: Real> Block<T> {
    #[inline(always)]
    unsafe fn columns<V: Lanes<Elem = T>, const W: usize>(
        &self,
        rows: Range<usize>,
        j: usize,
        b: (*const T, isize),
        part: usize,
    ) {
        // SAFETY: the caller's; part is below N only where PART is.
        unsafe {
            if part == V::N {
                self.rows::<V, W, false>(rows, j, b, part);
            } else {
                self.rows::<V, W, true>(rows, j, b, part);
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<V: Lanes<Elem = T>, const W: usize, const PART: bool>(
        &self,
        Range { start: mut i, end }: Range<usize>,
        j: usize,
        b: (*const T, isize),
        part: usize,
    ) {
        // SAFETY: rows i and on, below m.
        unsafe {
            if V::MR == 8 {
                while i + 8 <= end {
                    self.tile::<V, 8, W, PART>(i, j, b, part);
                    i += 8;
                }
            }
            while i + 4 <= end {
                self.tile::<V, 4, W, PART>(i, j, b, part);
                i += 4;
            }
            if i + 2 <= end {
                self.tile::<V, 2, W, PART>(i, j, b, part);
                i += 2;
            }
            if i < end {
                self.tile::<V, 1, W, PART>(i, j, b, part);
            }
        }
    }

    /// R rows and W vectors of columns, the last one with `part` elements if PART.
    #[inline(always)]
    unsafe fn tile<V: Lanes<Elem = T>, const R: usize, const W: usize, const PART: bool>(
        &self,
        i: usize,
        j: usize,
        b: (*const T, isize),
        part: usize,
    ) {
        // SAFETY: R rows of a, k rows of b and R rows of c have the columns that are read or written.
        unsafe {
            let mut sums = [[V::splat(T::default()); W]; R];
            if R == V::MR && self.next.is_none() {
                // the result's lines are on their way while the sums are made, if nobody has asked for them before
                for r in 0..R {
                    for w in 0..W {
                        prefetch(self.c.wrapping_add((i + r) * self.c_row + j + w * V::N));
                    }
                }
            }
            if self.a_packed {
                let a = self.a.ptr.wrapping_add(i / V::MR * V::MR * self.k + i % V::MR);
                if self.b_packed {
                    // the next panel of b comes to the second cache, a part of it beside each tile of this one
                    let panel = WIDTH * V::N * self.k;
                    let line = 64 / size_of::<T>();
                    let done = i / V::MR * (self.k / UNROLL) * line;
                    let ahead = b.0.wrapping_add(if done < panel { panel + done } else { 0 });
                    let b = (b.0, (WIDTH * V::N) as isize);
                    self.sum::<V, R, W, PART, true>(&mut sums, (a, 1, V::MR as isize), b, part, ahead);
                } else {
                    self.sum::<V, R, W, PART, false>(&mut sums, (a, 1, V::MR as isize), b, part, a);
                }
            } else {
                let a = self.a.ptr.wrapping_offset(i as isize * self.a.row);
                let tile = j / (WIDTH * V::N) * (self.m / V::MR) + i / V::MR;
                let ahead = self.next.at(tile * self.k, b.0.cast());
                self.sum_in_place::<V, R, W, PART>(&mut sums, a, b, part, ahead);
            }
            for r in 0..R {
                for w in 0..W {
                    let (to, mut sum) = (self.c.add((i + r) * self.c_row + j + w * V::N), sums[r][w]);
                    if PART && w == W - 1 {
                        if self.accumulate {
                            sum = V::load_part(to, part).add(sum);
                        }
                        sum.store_part(to, part);
                    } else {
                        if self.accumulate {
                            sum = V::load(to).add(sum);
                        }
                        sum.store(to);
                    }
                }
            }
        }
    }

    /// Adds the products of R rows of a panel, `a_row` elements apart, and W vectors of columns.
    #[inline(always)]
    unsafe fn sum<V: Lanes<Elem = T>, const R: usize, const W: usize, const PART: bool, const AHEAD: bool>(
        &self,
        sums: &mut [[V; W]; R],
        (mut a, a_row, a_col): (*const T, isize, isize),
        (mut b, b_row): (*const T, isize),
        part: usize,
        mut ahead: *const T,
    ) {
        let mut k = self.k;
        // SAFETY: the caller's.
        unsafe {
            while k >= UNROLL {
                if AHEAD {
                    prefetch_far(ahead);
                    ahead = ahead.wrapping_add(64 / size_of::<T>());
                }
                for u in 0..UNROLL as isize {
                    let a = a.wrapping_offset(u * a_col);
                    let rows = std::array::from_fn(|r| a.wrapping_offset(r as isize * a_row));
                    step::<V, R, W, PART>(sums, rows, b.wrapping_offset(u * b_row), part);
                }
                a = a.wrapping_offset(UNROLL as isize * a_col);
                b = b.wrapping_offset(UNROLL as isize * b_row);
                k -= UNROLL;
            }
            for _ in 0..k {
                let rows = std::array::from_fn(|r| a.wrapping_offset(r as isize * a_row));
                step::<V, R, W, PART>(sums, rows, b, part);
                a = a.wrapping_offset(a_col);
                b = b.wrapping_offset(b_row);
            }
        }
    }

    /// The same with rows of any strides.
    #[inline(always)]
    unsafe fn sum_in_place<V: Lanes<Elem = T>, const R: usize, const W: usize, const PART: bool>(
        &self,
        sums: &mut [[V; W]; R],
        mut a: *const T,
        (mut b, b_row): (*const T, isize),
        part: usize,
        (mut ahead, line): (*const u8, usize),
    ) {
        // A row is found by one register and a factor that an instruction can have: additions of addresses would take the
        // place of products, and the compiler would make them of what it sees to be multiples.
        let row = self.a.row * size_of::<T>() as isize;
        let [three, five, seven] = [3 * row, 5 * row, 7 * row];
        let distance = |r: usize| match r {
            3 => three,
            5 => five,
            6 => 2 * three,
            7 => seven,
            // 0, 1, 2 and 4
            r => r as isize * row,
        };
        for _ in 0..self.k {
            if R == V::MR {
                prefetch_far(ahead);
                ahead = ahead.wrapping_add(line);
            }
            // SAFETY: the caller's.
            unsafe {
                step::<V, R, W, PART>(sums, std::array::from_fn(|r| a.wrapping_byte_offset(distance(r))), b, part)
            };
            a = opaque(a.wrapping_offset(self.a.col));
            b = b.wrapping_offset(b_row);
        }
    }
}

/// The same address, of which the compiler does not know that: it would keep eight of them instead.
#[inline(always)]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(unused_mut))]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read through it there")]
fn opaque<T>(mut p: *const T) -> *const T {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: no instruction.
    unsafe {
        asm!("/* {0} */", inout(reg) p, options(pure, nomem, nostack, preserves_flags));
    }
    p
}

/// Adds one product to every sum of a tile.
#[inline(always)]
unsafe fn step<V: Lanes, const R: usize, const W: usize, const PART: bool>(
    sums: &mut [[V; W]; R],
    a: [*const V::Elem; R],
    b: *const V::Elem,
    part: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut row = [V::splat(V::Elem::default()); W];
        for w in 0..W {
            let from = b.wrapping_add(w * V::N);
            row[w] = if PART && w == W - 1 { V::load_part(from, part) } else { V::load(from) };
        }
        for r in 0..R {
            let x = V::splat(*a[r]);
            for w in 0..W {
                sums[r][w] = sums[r][w].plus_product(x, row[w]);
            }
        }
    }
}

#[inline(always)]
fn prefetch<T>(_to: *const T) {
    // SAFETY: a hint for any address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(_to.cast());
    }
}

/// To the second cache.
#[inline(always)]
pub(super) fn prefetch_far<T>(_to: *const T) {
    // SAFETY: a hint for any address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(_to.cast());
    }
}

/// Copies m rows of k, m a multiple of ROWS or the last rows, into panels of MR rows.
#[derive(Clone, Copy)]
pub(super) struct PackRows<T> {
    pub m: usize,
    pub k: usize,
    pub a: Mat<T>,
    pub to: *mut T,
}

impl<T: Real> Kernel<T> for PackRows<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        // SAFETY: the panels of m rows are inside of `to`.
        unsafe { panels::<V>(self.m, self.k, V::MR, self.a, self.to) }
    }
}

/// Copies k rows of n columns, n a multiple of COLS or the last columns, into panels of WIDTH vectors.
#[derive(Clone, Copy)]
pub(super) struct PackColumns<T> {
    pub n: usize,
    pub k: usize,
    pub b: Mat<T>,
    pub to: *mut T,
}

impl<T: Real> Kernel<T> for PackColumns<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        let Mat { ptr, row, col } = self.b;
        // SAFETY: the panels of n columns are inside of `to`.
        unsafe { panels::<V>(self.n, self.k, WIDTH * V::N, Mat { ptr, row: col, col: row }, self.to) }
    }
}

/// Copies k rows of n columns of any strides, one row after the other.
#[derive(Clone, Copy)]
pub(super) struct CopyRows<T> {
    pub n: usize,
    pub k: usize,
    pub b: Mat<T>,
    pub to: *mut T,
}

impl<T: Real> Kernel<T> for CopyRows<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        let Mat { ptr, row, col } = self.b;
        // SAFETY: one panel of all columns, inside of `to`.
        unsafe { panels::<V>(self.n, self.k, self.n, Mat { ptr, row: col, col: row }, self.to) }
    }
}

/// to[panel][p][r] = a[panel · wide + r, p]
#[inline(always)]
unsafe fn panels<V: Lanes>(m: usize, k: usize, wide: usize, a: Mat<V::Elem>, to: *mut V::Elem) {
    for first in (0..m).step_by(wide) {
        let (rows, panel, from) = (wide.min(m - first), to.wrapping_add(first * k), a.at(first as isize, 0));
        // SAFETY: element p of row r of this panel, in both.
        unsafe {
            if a.row == 1 && rows == wide {
                for p in 0..k {
                    let (from, to) = (from.offset(p as isize * a.col), panel.add(p * wide));
                    std::ptr::copy_nonoverlapping(from, to, wide);
                }
            } else if a.col == 1 {
                let mut r = 0;
                while r + 8 <= rows {
                    let from: [_; 8] = std::array::from_fn(|i| from.wrapping_offset((r + i) as isize * a.row));
                    let mut p = 0;
                    while p + V::N <= k {
                        V::transpose(from.map(|row| row.add(p)), panel.add(p * wide + r), wide);
                        p += V::N;
                    }
                    while p < k {
                        for i in 0..8 {
                            *panel.add(p * wide + r + i) = *from[i].add(p);
                        }
                        p += 1;
                    }
                    r += 8;
                }
                scattered(r..rows, k, wide, (from, a.row, 1), panel);
            } else {
                scattered(0..rows, k, wide, (from, a.row, a.col), panel);
            }
        }
    }
}

/// Some rows of a panel, element by element.
#[inline(always)]
unsafe fn scattered<T: Copy>(
    rows: std::ops::Range<usize>,
    k: usize,
    wide: usize,
    (from, row, col): (*const T, isize, isize),
    panel: *mut T,
) {
    for p in 0..k {
        for r in rows.clone() {
            // SAFETY: the caller's.
            unsafe { *panel.add(p * wide + r) = *from.offset(p as isize * col + r as isize * row) };
        }
    }
}
