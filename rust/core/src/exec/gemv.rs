//! Matrix–vector products, at the speed of memory: each matrix element is read once.
//!
//! The order of every sum is fixed by the shape alone: long sums are cut into chunks of a fixed length whose results are added
//! in order, and the work is split between threads along rows, columns and these chunks.
#![allow(unsafe_code)]
// loops over registers read best with an index into each
#![allow(clippy::needless_range_loop)]

use std::fmt;
use std::ops::Range;

use smallvec::SmallVec;

use super::buffer::Buffer;
use super::gemm_block::prefetch_far;
use super::lanes::{Kernel, Lanes, Real, dispatch};
use super::pool::{Shared, parallel};
use super::region::{Bases, Place, group_rows};
use crate::tape::DType;
use crate::{Error, Result};

/// Elements of the matrix that one task takes.
const TASK: usize = 1 << 16;
/// Elements of a dot product that are summed in one go.
const DOT_CHUNK: usize = 1 << 16;
/// Elements of long rows that are worked on before the same ones of the next rows: a multiple of four vectors.
const SPAN: usize = 1024;
/// So many rows of them at a time, which are one task if the sums are cut into chunks.
const TOGETHER: usize = 12;
/// Columns of a sum of rows that are kept in the first-level cache.
const COLUMNS: usize = 2048;

/// Products of one matrix with several vectors, which a plan makes together.
#[derive(Debug)]
pub struct Products {
    /// f32 or f64.
    pub dtype: DType,
    pub matrix: Place,
    pub rows: usize,
    /// Elements a row, which follow one another.
    pub row: usize,
    /// Elements from one row to the next.
    pub step: isize,
    /// Each vector, and where its product goes.
    pub vectors: Vec<(Place, Place)>,
}

impl Products {
    /// A rough estimate.
    pub fn nanoseconds(&self) -> usize {
        50 + self.rows.saturating_mul(self.row).saturating_mul(self.vectors.len()) / 25
    }

    /// # Safety
    /// The plan that these belong to has laid out memory for the factors and the products, and `bases` is that memory.
    pub(super) unsafe fn run(&self, bases: Bases<'_>) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            match self.dtype {
                DType::F32 => self.of::<f32>(bases),
                DType::F64 => self.of::<f64>(bases),
                other => Err(Error::Internal(format!("products of {other} with vectors"))),
            }
        }
    }

    /// # Safety
    /// As for `run`.
    unsafe fn of<T: Real>(&self, bases: Bases<'_>) -> Result<()> {
        let vectors: SmallVec<[Vector<T>; 4]> = self
            .vectors
            .iter()
            .map(|&(x, out)| Vector { x: bases.at(x).cast_const().cast(), out: bases.at(out).cast() })
            .collect();
        // SAFETY: the caller's.
        unsafe { dots((self.rows, self.row), bases.at(self.matrix).cast_const().cast(), self.step, &vectors, false) }
    }
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "matmul {}({}, {}) with {} vectors", self.dtype, self.rows, self.row, self.vectors.len())
    }
}

/// A vector that a matrix is multiplied by, and where the product goes.
pub(super) struct Vector<T> {
    pub x: *const T,
    pub out: *mut T,
}

impl<T> Clone for Vector<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Vector<T> {}

// SAFETY: two addresses; whoever reads or writes through them answers for it.
unsafe impl<T> Sync for Vector<T> {}

/// out[i] (+)= Σ_p a[i, p] x[p], the rows of `a` contiguous, `row` elements from one to the next: for each of the vectors,
/// which get the bits that they get alone, in one reading of the matrix for every two of them.
///
/// # Safety
/// The pointers are valid for m rows of k, for k and for m elements; no `out` overlaps anything else.
pub(super) unsafe fn dots<T: Real>(
    (m, k): (usize, usize),
    a: *const T,
    row: isize,
    vectors: &[Vector<T>],
    accumulate: bool,
) -> Result<()> {
    let a = Shared::new(a.cast_mut());
    let chunks = k.div_ceil(DOT_CHUNK);
    if chunks > 1 {
        // for each vector, the sums of all rows over the first chunk, then those over the next
        let partial = Buffer::new(vectors.len() * chunks * m * size_of::<T>())?;
        let sums = Shared::new(partial.as_mut_ptr().cast::<T>());
        let groups = m.div_ceil(TOGETHER);
        parallel(groups * chunks, &|task| {
            let (chunk, i) = (task / groups, task % groups * TOGETHER);
            let (start, len) = (chunk * DOT_CHUNK, DOT_CHUNK.min(k - chunk * DOT_CHUNK));
            // SAFETY: a part of rows i and on; each task writes elements of its own.
            unsafe {
                let part: SmallVec<[Vector<T>; 2]> = vectors
                    .iter()
                    .enumerate()
                    .map(|(v, of)| Vector { x: of.x.add(start), out: sums.get().add((v * chunks + chunk) * m + i) })
                    .collect();
                let a = a.get().offset(i as isize * row).add(start);
                dispatch(Dots { m: TOGETHER.min(m - i), k: len, a, row, vectors: &part, accumulate: false });
            }
        });
        for (v, of) in vectors.iter().enumerate() {
            // SAFETY: all tasks are done, and every element of the buffer has been written.
            unsafe { fold((m, chunks), sums.get().add(v * chunks * m), of.out, accumulate) };
        }
        return Ok(());
    }
    let rows = (TASK / k.max(1)).next_multiple_of(4);
    let task = |t: usize| {
        let i = t * rows;
        // SAFETY: rows i and on; tasks write different elements.
        unsafe {
            let part: SmallVec<[Vector<T>; 2]> =
                vectors.iter().map(|of| Vector { x: of.x, out: of.out.add(i) }).collect();
            let a = a.get().offset(i as isize * row);
            dispatch(Dots { m: rows.min(m - i), k, a, row, vectors: &part, accumulate });
        }
    };
    split(m.div_ceil(rows), &task);
    Ok(())
}

/// Whether a sum of k rows of n elements is made in one go.
pub(super) fn is_one_sum(k: usize, n: usize) -> bool {
    n < 2 * COLUMNS && group_rows(k, n) >= k
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
    let vectors = &[Vector { x: x.cast::<T>(), out: out.cast() }];
    // SAFETY: the caller's.
    unsafe { dispatch(Dots { m, k, a: a.cast(), row: k as isize, vectors, accumulate: false }) };
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

/// out[i] (+)= Σ_c p[c, i], in order.
unsafe fn fold<T: Real>((m, chunks): (usize, usize), p: *const T, out: *mut T, accumulate: bool) {
    for i in 0..m {
        // SAFETY: p holds chunks rows of m, out m elements.
        unsafe {
            let sum = (1..chunks).fold(*p.add(i), |s, c| s + *p.add(c * m + i));
            let to = out.add(i);
            *to = if accumulate { *to + sum } else { sum };
        }
    }
}

pub(super) struct Dots<'v, T> {
    pub m: usize,
    pub k: usize,
    pub a: *const T,
    pub row: isize,
    pub vectors: &'v [Vector<T>],
    pub accumulate: bool,
}

impl<T: Real> Kernel<T> for Dots<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        for two in self.vectors.chunks(2) {
            // SAFETY: rows of those that dots() gave us.
            unsafe {
                match *two {
                    [one, other] => self.all::<V, 2>([one, other]),
                    [one, ..] => self.all::<V, 1>([one]),
                    [] => {}
                }
            }
        }
    }
}

/// Does it for tiles of R rows from row i on, 4 (3 with two vectors), 2 or 1, as the registers have room for.
macro_rules! tiles {
    ($V:ident, $K:ident, $rows:expr, $i:ident, $R:ident => $do:expr) => {{
        let rows = $rows;
        let mut $i = rows.start;
        while $V::ROWS == 4 && $K == 2 && $i + 3 <= rows.end {
            const $R: usize = 3;
            $do;
            $i += 3;
        }
        while $V::ROWS / $K >= 4 && $i + 4 <= rows.end {
            const $R: usize = 4;
            $do;
            $i += 4;
        }
        while $V::ROWS / $K >= 2 && $i + 2 <= rows.end {
            const $R: usize = 2;
            $do;
            $i += 2;
        }
        while $i < rows.end {
            const $R: usize = 1;
            $do;
            $i += 1;
        }
    }};
}

impl<T: Real> Dots<'_, T> {
    #[inline(always)]
    unsafe fn all<V: Lanes<Elem = T>, const K: usize>(&self, vectors: [Vector<T>; K]) {
        let whole = self.k / (4 * V::N) * (4 * V::N);
        // SAFETY: rows of those that dots() gave us, and spans of them.
        unsafe {
            let zeros = [[V::splat(T::default()); 4]; K];
            if self.k <= SPAN || self.m == 1 {
                tiles!(V, K, 0..self.m, i, R => {
                    let mut sums = [zeros; R];
                    self.span::<V, R, K, false>(i, vectors, 0..whole, &mut sums, 0);
                    self.end::<V, R, K>(i, vectors, sums);
                });
                return;
            }
            for first in (0..self.m).step_by(TOGETHER) {
                let rows = first..self.m.min(first + TOGETHER);
                let mut sums = [zeros; TOGETHER];
                for start in (0..whole).step_by(SPAN) {
                    let end = whole.min(start + SPAN);
                    tiles!(V, K, rows.clone(), i, R => {
                        let (next, span) = if i + R < rows.end { (R as isize, 0) } else { (first as isize - i as isize, SPAN) };
                        let next = next * self.row + span as isize;
                        self.span::<V, R, K, true>(i, vectors, start..end, &mut sums[i - first..], next);
                    });
                }
                for i in rows {
                    self.end::<V, 1, K>(i, vectors, [sums[i - first]]);
                }
            }
        }
    }

    /// Adds the products of a span, of four vectors at a time, to the sums of R rows. The order within a row depends neither on
    /// R nor on the number of vectors. With two vectors the rows of the next tile, `next` elements from here, may be fetched
    /// meanwhile: fewer rows are read at a time then, which is not enough to keep the memory busy.
    #[inline(always)]
    unsafe fn span<V: Lanes<Elem = T>, const R: usize, const K: usize, const FETCH: bool>(
        &self,
        i: usize,
        vectors: [Vector<T>; K],
        span: Range<usize>,
        into: &mut [[[V; 4]; K]],
        next: isize,
    ) {
        // SAFETY: the span is a part of R rows.
        unsafe {
            let a = self.from::<R>(i);
            let mut sums = [[[V::splat(T::default()); 4]; K]; R];
            sums.copy_from_slice(&into[..R]);
            for p in span.step_by(4 * V::N) {
                for u in 0..4 {
                    let at = p + u * V::N;
                    let mut x = [V::splat(T::default()); K];
                    for v in 0..K {
                        x[v] = V::load(vectors[v].x.add(at));
                    }
                    for r in 0..R {
                        let row = V::load(a[r].add(at));
                        if FETCH && K > 1 {
                            prefetch_far(a[r].wrapping_add(at).wrapping_offset(next));
                        }
                        for v in 0..K {
                            sums[r][v][u] = sums[r][v][u].plus_product(row, x[v]);
                        }
                    }
                }
            }
            into[..R].copy_from_slice(&sums);
        }
    }

    /// The last products of R rows, and their results.
    #[inline(always)]
    unsafe fn end<V: Lanes<Elem = T>, const R: usize, const K: usize>(
        &self,
        i: usize,
        vectors: [Vector<T>; K],
        mut sums: [[[V; 4]; K]; R],
    ) {
        // SAFETY: p stays below k; parts are used where fewer than N elements are left.
        unsafe {
            let a = self.from::<R>(i);
            let mut p = self.k / (4 * V::N) * (4 * V::N);
            for u in 0..4 {
                let left = self.k - p;
                if left == 0 {
                    break;
                }
                for r in 0..R {
                    for v in 0..K {
                        let (row, x) = (a[r].add(p), vectors[v].x.add(p));
                        let (row, x) = if left >= V::N {
                            (V::load(row), V::load(x))
                        } else {
                            (V::load_part(row, left), V::load_part(x, left))
                        };
                        sums[r][v][u] = sums[r][v][u].plus_product(row, x);
                    }
                }
                p += left.min(V::N);
            }
            for r in 0..R {
                for v in 0..K {
                    let [s, t, u, w] = sums[r][v];
                    let sum = s.add(t).add(u.add(w)).sum();
                    let to = vectors[v].out.add(i + r);
                    *to = if self.accumulate { *to + sum } else { sum };
                }
            }
        }
    }

    /// R rows from row i on.
    #[inline(always)]
    fn from<const R: usize>(&self, i: usize) -> [*const T; R] {
        let mut a = [self.a; R];
        for r in 0..R {
            a[r] = self.a.wrapping_offset((i + r) as isize * self.row);
        }
        a
    }
}

pub(super) struct SumOfRows<T> {
    pub k: usize,
    pub n: usize,
    pub b: *const T,
    pub row: isize,
    pub x: *const T,
    pub step: isize,
    pub out: *mut T,
    pub accumulate: bool,
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
