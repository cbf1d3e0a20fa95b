//! Matrix–vector products, at the speed of memory: each matrix element is read once.
//!
//! The order of every sum is fixed by the shape alone: long sums are cut into chunks of a fixed length whose results are added
//! in order, and the work is split between threads along rows, columns and these chunks.
#![allow(unsafe_code)]
// loops over registers read best with an index into each
#![allow(clippy::needless_range_loop)]

use super::lanes::{Kernel, Lanes, Real, dispatch};
use super::pool::{Shared, parallel};
use crate::Result;
use crate::exec::buffer::Buffer;
use crate::exec::region::group_rows;

/// Elements of the matrix that one task takes.
const TASK: usize = 1 << 16;
/// Elements of a dot product that are summed in one go.
const DOT_CHUNK: usize = 1 << 16;
/// Columns of a sum of rows that are kept in the first-level cache.
const COLUMNS: usize = 2048;

/// out[i] (+)= Σ_p a[i, p] x[p], the rows of `a` contiguous, `row` elements from one to the next.
///
/// # Safety
/// The pointers are valid for m rows of k, for k and for m elements; `out` overlaps neither of the others.
pub(super) unsafe fn dots<T: Real>(
    (m, k): (usize, usize),
    a: *const T,
    row: isize,
    x: *const T,
    out: *mut T,
    accumulate: bool,
) -> Result<()> {
    let chunks = k.div_ceil(DOT_CHUNK);
    if chunks > 1 {
        let partial = Buffer::new(m * chunks * size_of::<T>())?;
        let (a, x, p) =
            (Shared::new(a.cast_mut()), Shared::new(x.cast_mut()), Shared::new(partial.as_mut_ptr().cast::<T>()));
        parallel(m * chunks, &|task| {
            let (i, chunk) = (task / chunks, task % chunks);
            let (start, len) = (chunk * DOT_CHUNK, DOT_CHUNK.min(k - chunk * DOT_CHUNK));
            // SAFETY: inside row i; each task writes its own element.
            unsafe {
                let a = a.get().offset(i as isize * row).add(start);
                dispatch(Dots {
                    m: 1,
                    k: len,
                    a,
                    row,
                    x: x.get().add(start),
                    out: p.get().add(task),
                    accumulate: false,
                });
            }
        });
        // SAFETY: all tasks are done, and every element of the buffer has been written.
        unsafe { fold((m, chunks), p.get(), out, accumulate) };
        return Ok(());
    }
    let rows = (TASK / k.max(1)).next_multiple_of(4);
    let (a, x, out) = (Shared::new(a.cast_mut()), Shared::new(x.cast_mut()), Shared::new(out));
    let task = |t: usize| {
        let i = t * rows;
        // SAFETY: rows i and on; tasks write different elements.
        unsafe {
            let a = a.get().offset(i as isize * row);
            dispatch(Dots { m: rows.min(m - i), k, a, row, x: x.get(), out: out.get().add(i), accumulate });
        }
    };
    split(m.div_ceil(rows), &task);
    Ok(())
}

/// out[j] (+)= Σ_p x[p] b[p, j], the rows of `b` contiguous, `row` elements from one to the next; `step` elements from one x
/// to the next.
///
/// # Safety
/// The pointers are valid for k rows of n, for k and for n elements; `out` overlaps neither of the others.
pub(super) unsafe fn sum_of_rows<T: Real>(
    (k, n): (usize, usize),
    b: *const T,
    row: isize,
    (x, step): (*const T, isize),
    out: *mut T,
    accumulate: bool,
) -> Result<()> {
    let (x, b, out) = (Shared::new(x.cast_mut()), Shared::new(b.cast_mut()), Shared::new(out));
    if n >= 2 * COLUMNS {
        split(n.div_ceil(COLUMNS), &|t| {
            let j = t * COLUMNS;
            let n = COLUMNS.min(n - j);
            // SAFETY: columns j and on; tasks write different elements.
            unsafe {
                let (b, out) = (b.get().add(j), out.get().add(j));
                dispatch(SumOfRows { k, n, b, row, x: x.get(), step, out, accumulate });
            }
        });
        return Ok(());
    }
    let rows = group_rows(k, n);
    let chunks = k.div_ceil(rows);
    if chunks <= 1 {
        // SAFETY: the caller's.
        unsafe { dispatch(SumOfRows { k, n, b: b.get(), row, x: x.get(), step, out: out.get(), accumulate }) };
        return Ok(());
    }
    let partial = Buffer::new(chunks * n * size_of::<T>())?;
    let p = Shared::new(partial.as_mut_ptr().cast::<T>());
    parallel(chunks, &|t| {
        let start = t * rows;
        let k = rows.min(k - start);
        // SAFETY: rows start and on; each task writes its own row of the buffer.
        unsafe {
            let (b, x) = (b.get().offset(start as isize * row), x.get().offset(start as isize * step));
            dispatch(SumOfRows { k, n, b, row, x, step, out: p.get().add(t * n), accumulate: false });
        }
    });
    for t in 0..chunks {
        for j in 0..n {
            // SAFETY: all tasks are done, and every element of the buffer has been written.
            unsafe {
                let (value, to) = (p.get().add(t * n + j).read(), out.get().add(j));
                *to = if t == 0 && !accumulate { value } else { *to + value };
            }
        }
    }
    Ok(())
}

/// out[i] = Σ_p a[i, p] x[p] for rows that lie one after the other: the bits of [`dots`] where k is at most [`DOT_CHUNK`].
///
/// # Safety
/// `a` has m rows of k elements, x k and out m.
pub(super) unsafe fn dots_of_block<T: Real>(m: usize, k: usize, a: *const u8, x: *const u8, out: *mut u8) {
    let (a, x, out) = (a.cast::<T>(), x.cast(), out.cast());
    // SAFETY: the caller's.
    unsafe { dispatch(Dots { m, k, a, row: k as isize, x, out, accumulate: false }) };
}

/// out[j] += Σ_p x[p] b[p, j] for rows that lie one after the other, in their order.
///
/// # Safety
/// `b` has k rows of n elements, x k and out n.
pub(super) unsafe fn add_weighted_rows<T: Real>(k: usize, n: usize, b: *const u8, x: *const u8, out: *mut u8) {
    let (b, x, out) = (b.cast::<T>(), x.cast(), out.cast());
    // SAFETY: the caller's.
    unsafe { dispatch(SumOfRows { k, n, b, row: n as isize, x, step: 1, out, accumulate: true }) };
}

/// One task runs here and now.
fn split(tasks: usize, f: &(dyn Fn(usize) + Sync)) {
    if tasks == 1 { f(0) } else { parallel(tasks, f) }
}

/// out[i] (+)= Σ_c p[i, c], in order.
unsafe fn fold<T: Real>((m, chunks): (usize, usize), p: *const T, out: *mut T, accumulate: bool) {
    for i in 0..m {
        // SAFETY: p holds m rows of chunks, out m elements.
        unsafe {
            let row = std::slice::from_raw_parts(p.add(i * chunks), chunks);
            let sum = row[1..].iter().fold(row[0], |s, &v| s + v);
            let to = out.add(i);
            *to = if accumulate { *to + sum } else { sum };
        }
    }
}

struct Dots<T> {
    m: usize,
    k: usize,
    a: *const T,
    row: isize,
    x: *const T,
    out: *mut T,
    accumulate: bool,
}

impl<T: Real> Kernel<T> for Dots<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        let mut i = 0;
        // SAFETY: rows i and on of those that dots() gave us.
        unsafe {
            if V::ROWS == 4 {
                while i + 4 <= self.m {
                    self.rows::<V, 4>(i);
                    i += 4;
                }
            }
            while i + 2 <= self.m {
                self.rows::<V, 2>(i);
                i += 2;
            }
            if i < self.m {
                self.rows::<V, 1>(i);
            }
        }
    }
}

impl<T: Real> Dots<T> {
    /// R rows at once; the order within a row does not depend on R.
    #[inline(always)]
    unsafe fn rows<V: Lanes<Elem = T>, const R: usize>(&self, i: usize) {
        // SAFETY: p stays below k; parts are used where fewer than N elements are left.
        unsafe {
            let mut a = [self.a; R];
            for r in 0..R {
                a[r] = self.a.offset((i + r) as isize * self.row);
            }
            let mut sums = [[V::splat(T::default()); 4]; R];
            let mut p = 0;
            while p + 4 * V::N <= self.k {
                for u in 0..4 {
                    let x = V::load(self.x.add(p + u * V::N));
                    for r in 0..R {
                        sums[r][u] = sums[r][u].plus_product(V::load(a[r].add(p + u * V::N)), x);
                    }
                }
                p += 4 * V::N;
            }
            for u in 0..4 {
                if p + V::N <= self.k {
                    let x = V::load(self.x.add(p));
                    for r in 0..R {
                        sums[r][u] = sums[r][u].plus_product(V::load(a[r].add(p)), x);
                    }
                    p += V::N;
                } else if p < self.k {
                    let x = V::load_part(self.x.add(p), self.k - p);
                    for r in 0..R {
                        sums[r][u] = sums[r][u].plus_product(V::load_part(a[r].add(p), self.k - p), x);
                    }
                    p = self.k;
                }
            }
            for r in 0..R {
                let [s, t, u, v] = sums[r];
                let sum = s.add(t).add(u.add(v)).sum();
                let to = self.out.add(i + r);
                *to = if self.accumulate { *to + sum } else { sum };
            }
        }
    }
}

struct SumOfRows<T> {
    k: usize,
    n: usize,
    b: *const T,
    row: isize,
    x: *const T,
    step: isize,
    out: *mut T,
    accumulate: bool,
}

impl<T: Real> Kernel<T> for SumOfRows<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        let (vectors, part) = (self.n / V::N, self.n % V::N);
        // SAFETY: the vectors and the part cover n columns.
        unsafe {
            // few columns: the sums stay in registers
            match (vectors, part) {
                (0, _) => self.narrow::<V, 0>(part),
                (1, 0) => self.narrow::<V, 1>(0),
                (1, _) => self.narrow::<V, 1>(part),
                (2, _) => self.narrow::<V, 2>(part),
                (3, _) => self.narrow::<V, 3>(part),
                (4, 0) => self.narrow::<V, 4>(0),
                _ => self.wide::<V>(),
            }
        }
    }
}

impl<T: Real> SumOfRows<T> {
    #[inline(always)]
    unsafe fn narrow<V: Lanes<Elem = T>, const W: usize>(&self, part: usize) {
        // SAFETY: W vectors and a part are the n columns.
        unsafe {
            let last = self.out.add(W * V::N);
            let (mut sums, mut rest) = ([V::splat(T::default()); W], V::splat(T::default()));
            if self.accumulate {
                for w in 0..W {
                    sums[w] = V::load(self.out.add(w * V::N));
                }
                rest = V::load_part(last, part);
            }
            for p in 0..self.k as isize {
                let b = self.b.offset(p * self.row);
                let x = V::splat(*self.x.offset(p * self.step));
                for w in 0..W {
                    sums[w] = sums[w].plus_product(x, V::load(b.add(w * V::N)));
                }
                if part > 0 {
                    rest = rest.plus_product(x, V::load_part(b.add(W * V::N), part));
                }
            }
            for w in 0..W {
                sums[w].store(self.out.add(w * V::N));
            }
            if part > 0 {
                rest.store_part(last, part);
            }
        }
    }

    #[inline(always)]
    unsafe fn wide<V: Lanes<Elem = T>>(&self) {
        let mut p = 0;
        // SAFETY: rows p and on, below k.
        unsafe {
            if !self.accumulate {
                std::slice::from_raw_parts_mut(self.out, self.n).fill(T::default());
            }
            while p + 8 <= self.k {
                self.add_rows::<V, 8>(p);
                p += 8;
            }
            while p < self.k {
                self.add_rows::<V, 1>(p);
                p += 1;
            }
        }
    }

    /// Adds R rows to the result, in order.
    #[inline(always)]
    unsafe fn add_rows<V: Lanes<Elem = T>, const R: usize>(&self, p: usize) {
        // SAFETY: R rows of n columns.
        unsafe {
            let mut b = [self.b; R];
            for r in 0..R {
                b[r] = self.b.offset((p + r) as isize * self.row);
            }
            let mut x = [V::splat(T::default()); R];
            for r in 0..R {
                x[r] = V::splat(*self.x.offset((p + r) as isize * self.step));
            }
            let mut j = 0;
            while j + V::N <= self.n {
                let mut sum = V::load(self.out.add(j));
                for r in 0..R {
                    sum = sum.plus_product(x[r], V::load(b[r].add(j)));
                }
                sum.store(self.out.add(j));
                j += V::N;
            }
            if j < self.n {
                let part = self.n - j;
                let mut sum = V::load_part(self.out.add(j), part);
                for r in 0..R {
                    sum = sum.plus_product(x[r], V::load_part(b[r].add(j), part));
                }
                sum.store_part(self.out.add(j), part);
            }
        }
    }
}
