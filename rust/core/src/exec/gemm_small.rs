//! Matrix products too small for packing to pay: `b` is read in place, four rows of the result at a time.
#![allow(unsafe_code)]
// loops over registers read best with an index into each
#![allow(clippy::needless_range_loop)]

use super::lanes::{Kernel, Lanes, Real};

/// c (+)= a b for any strides of `a`; the rows of `b` and `c` are contiguous.
pub(super) struct Small<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const T,
    pub a_row: isize,
    pub a_col: isize,
    pub b: *const T,
    pub b_row: isize,
    pub c: *mut T,
    pub c_row: usize,
    pub accumulate: bool,
}

impl<T: Real> Kernel<T> for Small<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        let mut j = 0;
        // SAFETY: columns j and on, below n.
        unsafe {
            while self.n - j > V::N {
                let width = (self.n - j).min(2 * V::N) - V::N;
                if width == V::N {
                    self.columns::<V, 2, false>(j, 0)
                } else {
                    self.columns::<V, 2, true>(j, width)
                }
                j += V::N + width;
            }
            if self.n - j == V::N {
                self.columns::<V, 1, false>(j, 0);
            } else if j < self.n {
                self.columns::<V, 1, true>(j, self.n - j);
            }
        }
    }
}

impl<T: Real> Small<T> {
    /// W vectors of columns; the last one has `part` elements if PART.
    #[inline(always)]
    unsafe fn columns<V: Lanes<Elem = T>, const W: usize, const PART: bool>(&self, j: usize, part: usize) {
        let mut i = 0;
        // SAFETY: rows i and on, below m.
        unsafe {
            while i + 4 <= self.m {
                self.tile::<V, 4, W, PART>(i, j, part);
                i += 4;
            }
            match self.m - i {
                1 => self.tile::<V, 1, W, PART>(i, j, part),
                2 => self.tile::<V, 2, W, PART>(i, j, part),
                3 => self.tile::<V, 3, W, PART>(i, j, part),
                _ => {}
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Lanes<Elem = T>, const R: usize, const W: usize, const PART: bool>(
        &self,
        i: usize,
        j: usize,
        part: usize,
    ) {
        // SAFETY: R rows and W vectors of columns, the last of them in part, are inside the matrices.
        unsafe {
            let mut sums = [[V::splat(T::default()); W]; R];
            let mut a = self.a.offset(i as isize * self.a_row);
            let mut b = self.b.add(j);
            for _ in 0..self.k {
                let mut row = [V::splat(T::default()); W];
                for w in 0..W {
                    let from = b.add(w * V::N);
                    row[w] = if PART && w == W - 1 { V::load_part(from, part) } else { V::load(from) };
                }
                for r in 0..R {
                    let x = V::splat(*a.offset(r as isize * self.a_row));
                    for w in 0..W {
                        sums[r][w] = sums[r][w].plus_product(x, row[w]);
                    }
                }
                a = a.wrapping_offset(self.a_col);
                b = b.wrapping_offset(self.b_row);
            }
            for r in 0..R {
                for w in 0..W {
                    let to = self.c.add((i + r) * self.c_row + j + w * V::N);
                    if PART && w == W - 1 {
                        let old = if self.accumulate { V::load_part(to, part) } else { V::splat(T::default()) };
                        sums[r][w].add(old).store_part(to, part);
                    } else {
                        let old = if self.accumulate { V::load(to) } else { V::splat(T::default()) };
                        sums[r][w].add(old).store(to);
                    }
                }
            }
        }
    }
}
