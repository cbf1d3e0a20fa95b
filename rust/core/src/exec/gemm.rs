//! Matrix products of any strides, dtypes and batches, into row-major results.
//!
//! Invariant: where a sum is cut depends on shapes and strides alone, and its parts are added in order; other cuts do not touch
//! the order of any sum. So the bits are the same for any number of threads.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::buffer::{ALIGN, Buffer};
use super::gemm_block::{Block, COLS, CopyRows, KC, Lines, PackColumns, PackRows, ROWS, SMALL_BYTES};
use super::gemv;
pub use super::lanes::Real;
use super::lanes::dispatch;
use super::pool::{Shared, interrupted, num_threads, parallel};
use crate::tape::DType;
use crate::{Error, Result};

/// A matrix: its first element, and the elements from one row and one column to the next.
#[derive(Debug)]
pub struct Mat<T> {
    pub ptr: *const T,
    pub row: isize,
    pub col: isize,
}

impl<T> Clone for Mat<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Mat<T> {}

// SAFETY: three numbers; whoever reads through the pointer answers for it.
unsafe impl<T> Sync for Mat<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Mat<T> {}

impl<T> Mat<T> {
    pub fn new(ptr: *const T, row: isize, col: isize) -> Mat<T> {
        Mat { ptr, row, col }
    }

    pub fn cast<U>(self) -> Mat<U> {
        Mat { ptr: self.ptr.cast(), row: self.row, col: self.col }
    }

    pub(super) fn at(&self, i: isize, j: isize) -> *const T {
        self.ptr.wrapping_offset(i * self.row + j * self.col)
    }

    /// The part that begins at element i, j.
    fn offset_to(self, i: usize, j: usize) -> Mat<T> {
        Mat { ptr: self.at(i as isize, j as isize), ..self }
    }

    /// Whether m rows of n have nothing between them.
    fn is_dense(&self, m: usize, n: usize) -> bool {
        (self.col == 1 && self.row == n as isize) || (self.row == 1 && self.col == m as isize)
    }

    fn offset(self, elements: isize) -> Mat<T> {
        Mat { ptr: self.ptr.wrapping_offset(elements), ..self }
    }
}

/// Where the matrices of a batch begin, in elements from the first.
#[derive(Clone, Copy, Debug)]
pub enum Steps<'a> {
    /// So many elements from one to the next; 0 where one matrix serves all.
    Every(isize),
    /// At these offsets, one an entry of the batch.
    At(&'a [isize]),
}

impl Steps<'_> {
    fn at(self, i: usize) -> isize {
        match self {
            Steps::Every(step) => i as isize * step,
            Steps::At(offsets) => offsets[i],
        }
    }
}

/// The shape of a product: m by n, with sums over k.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Sums of up to so many products are made in one go, before they are added to what is there.
pub const ONE_PASS: usize = KC;

/// c = a b, or c += a b, for each of `batch` pairs; the results follow one another in `c`, row-major. Any dtype but complex;
/// integers wrap around, and bool is "any of both".
///
/// # Safety
/// The matrices are readable in full and hold elements of the dtype, `Steps::At` has an offset for each entry, `c` is writable
/// for batch · m · n elements and overlaps no operand.
pub unsafe fn matmul(
    dtype: DType,
    batch: usize,
    shape: Shape,
    (a, a_steps): (Mat<u8>, Steps),
    (b, b_steps): (Mat<u8>, Steps),
    c: *mut u8,
    accumulate: bool,
) -> Result<()> {
    // SAFETY: the caller's.
    unsafe {
        match dtype {
            DType::F64 => batched::<f64>(batch, shape, (a.cast(), a_steps), (b.cast(), b_steps), c.cast(), accumulate)?,
            DType::F32 => batched::<f32>(batch, shape, (a.cast(), a_steps), (b.cast(), b_steps), c.cast(), accumulate)?,
            DType::C64 | DType::C128 => {
                return Err(Error::Type(format!("matmul: complex arrays are not supported yet, got {dtype}")));
            }
            _ => {
                for i in 0..batch {
                    let (a, b) = (a.item(dtype, a_steps.at(i)), b.item(dtype, b_steps.at(i)));
                    let c = c.add(i * shape.m * shape.n * dtype.size());
                    match dtype {
                        DType::I64 => plain(shape, a.cast(), b.cast(), c.cast(), accumulate, |s, a: i64, b: i64| {
                            s.wrapping_add(a.wrapping_mul(b))
                        }),
                        DType::I32 => plain(shape, a.cast(), b.cast(), c.cast(), accumulate, |s, a: i32, b: i32| {
                            s.wrapping_add(a.wrapping_mul(b))
                        }),
                        DType::U8 => {
                            plain(shape, a, b, c, accumulate, |s, a: u8, b: u8| s.wrapping_add(a.wrapping_mul(b)))
                        }
                        _ => plain(shape, a, b, c, accumulate, |s, a: u8, b: u8| s | (a & b)),
                    }
                }
            }
        }
    }
    Ok(())
}

impl Mat<u8> {
    /// The matrix so many elements of the dtype further on.
    fn item(self, dtype: DType, elements: isize) -> Mat<u8> {
        self.offset(elements * dtype.size() as isize)
    }
}

/// [`matmul`] for f32 and f64.
///
/// # Safety
/// As for [`matmul`].
pub unsafe fn batched<T: Real>(
    batch: usize,
    shape: Shape,
    (a, a_steps): (Mat<T>, Steps),
    (b, b_steps): (Mat<T>, Steps),
    c: *mut T,
    accumulate: bool,
) -> Result<()> {
    let Shape { m, n, k } = shape;
    if let (Steps::Every(a_step), Steps::Every(0)) = (a_steps, b_steps)
        && (a_step == m as isize * a.row || batch == 1)
    {
        // one matrix on the right, and the left ones follow one another: a single tall product
        // SAFETY: the caller's.
        return unsafe { gemm(Shape { m: batch * m, ..shape }, a, b, c, accumulate) };
    }
    let all = Batch { len: batch, shape, a: (a, a_steps), b: (b, b_steps), c, accumulate };
    let failed = Mutex::new(None);
    let one = |i: usize, next: Lines| {
        // SAFETY: the caller's; each entry has its own part of c.
        if let Err(error) = unsafe { all.one(i, next, None) } {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    };
    let work = m.saturating_mul(n).saturating_mul(k.max(1)).max(1);
    if work > TASK_WORK {
        (0..batch).for_each(|i| one(i, Lines::NONE));
    } else {
        let group = TASK_WORK / work;
        // the entry that the same thread will probably come to next
        let far = (num_threads() - 1) * group;
        let next = |i: usize| if (i + 1).is_multiple_of(group) { i + 1 + far } else { i + 1 };
        parallel(batch.div_ceil(group), &|g| {
            (g * group..batch.min((g + 1) * group)).for_each(|i| one(i, all.lines(next(i), [true; 3])));
        });
    }
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// What goes with entries of a batch that run on one thread.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    /// Which operands come from memory, the result last: of those the next entry is fetched beside each.
    pub far: [bool; 3],
    /// Room for as many bytes as [`panels`] says, if there is some.
    pub room: Option<*mut u8>,
}

/// The bytes into which a product packs its operands, where `col` is the distance of two columns of b.
pub fn panels(dtype: DType, shape: Shape, col: isize) -> usize {
    let Packing { a, b, .. } = Packing::new(shape, col, dtype.size());
    a + b
}

/// Some entries of [`matmul`], for f32 and f64, one after the other on this thread.
///
/// # Safety
/// As for [`matmul`], for these entries; the room is the caller's, aligned to 64.
#[expect(clippy::too_many_arguments, reason = "those of matmul, and two more")]
pub unsafe fn entries(
    dtype: DType,
    (range, batch): (Range<usize>, usize),
    shape: Shape,
    (a, a_steps): (Mat<u8>, Steps),
    (b, b_steps): (Mat<u8>, Steps),
    c: *mut u8,
    accumulate: bool,
    beside: Beside,
) -> Result<()> {
    // SAFETY: the caller's.
    unsafe {
        match dtype {
            DType::F64 => {
                let (a, b) = ((a.cast::<f64>(), a_steps), (b.cast(), b_steps));
                Batch { len: batch, shape, a, b, c: c.cast(), accumulate }.some(range, beside)
            }
            DType::F32 => {
                let (a, b) = ((a.cast::<f32>(), a_steps), (b.cast(), b_steps));
                Batch { len: batch, shape, a, b, c: c.cast(), accumulate }.some(range, beside)
            }
            _ => Err(Error::Type(format!("matmul: entries of a batch are float32 or float64, got {dtype}"))),
        }
    }
}

/// A batch of products.
struct Batch<'a, T> {
    len: usize,
    shape: Shape,
    a: (Mat<T>, Steps<'a>),
    b: (Mat<T>, Steps<'a>),
    c: *mut T,
    accumulate: bool,
}

// SAFETY: numbers; whoever reads and writes through them answers for it.
unsafe impl<T> Sync for Batch<'_, T> {}

impl<T: Real> Batch<'_, T> {
    fn entry(&self, i: usize) -> (Mat<T>, Mat<T>, *mut T) {
        let ((a, a_steps), (b, b_steps)) = (self.a, self.b);
        let c = self.c.wrapping_add(i * self.shape.m * self.shape.n);
        (a.offset(a_steps.at(i)), b.offset(b_steps.at(i)), c)
    }

    /// # Safety
    /// As for [`matmul`], for entry i.
    unsafe fn one(&self, i: usize, next: Lines, room: Option<*mut T>) -> Result<()> {
        let (a, b, c) = self.entry(i);
        // SAFETY: the caller's.
        unsafe { product(self.shape, a, b, c, self.accumulate, next, room) }
    }

    /// # Safety
    /// As for [`matmul`], for these entries.
    unsafe fn some(&self, range: Range<usize>, Beside { far, room }: Beside) -> Result<()> {
        for i in range {
            // SAFETY: the caller's.
            unsafe { self.one(i, self.lines(i + 1, far), room.map(<*mut u8>::cast))? };
        }
        Ok(())
    }

    /// The lines of those matrices of entry i that are wanted and lie in one piece.
    fn lines(&self, i: usize, wanted: [bool; 3]) -> Lines {
        if i >= self.len {
            return Lines::NONE;
        }
        let Shape { m, n, k } = self.shape;
        let (a, b, c) = self.entry(i);
        let lines = |elements: usize, lies: bool| if lies { elements * size_of::<T>() / ALIGN } else { 0 };
        Lines {
            from: [a.ptr.cast(), b.ptr.cast(), c.cast_const().cast()],
            counts: [
                lines(m * k, wanted[0] && a.is_dense(m, k)),
                lines(k * n, wanted[1] && b.is_dense(k, n)),
                lines(m * n, wanted[2]),
            ],
        }
    }
}

/// Multiplications worth a task of their own, in f64: some 25 µs.
const TASK_WORK: usize = 1 << 20;
/// Multiplications from which on a product is shared with other threads: with half of them products of size 96 take twice as long.
const SHARED_WORK: usize = 2 * TASK_WORK;
/// Columns of `b` and rows of `a` that are packed at a time: some MiB.
const PACKED_COLS: usize = 64 * COLS;
const PACKED_ROWS: usize = 256 * ROWS;
/// Rows up to which packing `b`, and columns up to which packing `a` does not pay.
const FEW_ROWS: usize = 32;
const FEW_COLS: usize = 2 * COLS;
/// Elements of `b` that are copied to the stack to make its rows contiguous.
pub(super) const SMALL_COPY: usize = 1024;
/// Multiplications of a small product.
pub(super) const SMALL_WORK: usize = 1 << 15;

/// c = a b, or c += a b, for one pair of f32 or f64.
///
/// # Safety
/// As for [`matmul`].
pub unsafe fn gemm<T: Real>(shape: Shape, a: Mat<T>, b: Mat<T>, c: *mut T, accumulate: bool) -> Result<()> {
    // SAFETY: the caller's.
    unsafe { product(shape, a, b, c, accumulate, Lines::NONE, None) }
}

/// [`gemm`], what to fetch beside it, and room for panels if there is some.
unsafe fn product<T: Real>(
    shape: Shape,
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    accumulate: bool,
    next: Lines,
    room: Option<*mut T>,
) -> Result<()> {
    let Shape { m, n, k } = shape;
    // SAFETY: the caller's.
    unsafe {
        if m == 0 || n == 0 {
            return Ok(());
        }
        if k == 0 {
            if !accumulate {
                std::slice::from_raw_parts_mut(c, m * n).fill(T::default());
            }
            return Ok(());
        }
        if (m == 1 || n == 1) && vector(shape, a, b, c, accumulate)? {
            return Ok(());
        }
        if k <= KC && n * k <= SMALL_COPY && m * n * k <= SMALL_WORK {
            small(shape, a, b, c, accumulate);
            return Ok(());
        }
        let work = m.saturating_mul(n).saturating_mul(k);
        let parts = k.div_ceil(KC);
        // the sums of many parts take more memory
        let most = if parts <= 32 { 128 * 128 } else { 64 * 64 };
        if parts >= 4 && m * n <= most && work >= 2 * TASK_WORK {
            return deep(shape, a, b, c, accumulate);
        }
        blocked(shape, a, b, c, accumulate, next, room)
    }
}

/// A small product at once, b read in place or copied to the stack.
///
/// # Safety
/// As for [`matmul`]; k is at most [`ONE_PASS`], and n · k at most [`SMALL_COPY`].
pub(super) unsafe fn small<T: Real>(Shape { m, n, k }: Shape, a: Mat<T>, mut b: Mat<T>, c: *mut T, accumulate: bool) {
    let mut copy = [const { std::mem::MaybeUninit::<T>::uninit() }; SMALL_COPY];
    // SAFETY: the caller's; the copy holds k rows of n.
    unsafe {
        if b.col != 1 && n > 1 {
            let to = copy.as_mut_ptr().cast();
            dispatch(CopyRows { n, k, b, to });
            b = Mat::new(to, n as isize, 1);
        }
        dispatch(Block { m, n, k, a, a_packed: false, b, b_packed: false, c, c_row: n, accumulate, next: Lines::NONE });
    }
}

/// A product with few results of long sums: parts of KC products each, added in order, as [`blocked`] adds them.
unsafe fn deep<T: Real>(Shape { m, n, k }: Shape, a: Mat<T>, b: Mat<T>, c: *mut T, accumulate: bool) -> Result<()> {
    let (parts, size) = (k.div_ceil(KC), m * n);
    let sums = Buffer::new(parts * size * size_of::<T>())?;
    let to = Shared::new(sums.as_mut_ptr().cast::<T>());
    let failed = Mutex::new(None);
    // SAFETY: the caller's; part p writes the p-th matrix of the buffer, and all are written before they are read.
    unsafe {
        let group = (TASK_WORK / 4 / (size * KC)).max(1);
        parallel(parts.div_ceil(group), &|task| {
            for part in task * group..parts.min((task + 1) * group) {
                let (p, c) = (part * KC, to.get().add(part * size));
                let (a, b) = (a.offset(p as isize * a.col), b.offset(p as isize * b.row));
                if let Err(error) = blocked(Shape { m, n, k: KC.min(k - p) }, a, b, c, false, Lines::NONE, None) {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let c = std::slice::from_raw_parts_mut(c, size);
        for part in 0..parts {
            let sum = std::slice::from_raw_parts(to.get().add(part * size), size);
            if part == 0 && !accumulate {
                c.copy_from_slice(sum);
            } else {
                c.iter_mut().zip(sum).for_each(|(c, s)| *c += *s);
            }
        }
    }
    Ok(())
}

/// Which operands of a product are packed, and how much of them at a time.
struct Packing {
    /// The bytes of the panels of a and of b; 0 where it is read as it lies.
    a: usize,
    b: usize,
    most_rows: usize,
    most_cols: usize,
}

impl Packing {
    fn new(Shape { m, n, k }: Shape, b_col: isize, size: usize) -> Packing {
        let deepest = k.min(KC);
        let in_place = b_col == 1 || n == 1;
        let b_packed = !(in_place && (m <= FEW_ROWS || n * deepest * size <= SMALL_BYTES));
        let a_packed = n > FEW_COLS;
        let most_cols = if b_packed { n.min(PACKED_COLS) } else { n };
        let most_rows = if a_packed { m.min(PACKED_ROWS) } else { m };
        let room = |needed: bool, wide: usize, step: usize| {
            if needed { (wide.next_multiple_of(step) * deepest * size).next_multiple_of(ALIGN) } else { 0 }
        };
        let (a, b) = (room(a_packed, most_rows, ROWS), room(b_packed, most_cols, COLS));
        Packing { a, b, most_rows, most_cols }
    }
}

/// Any product: blocks of KC products, packed where their elements are used often enough, cut into tasks by rows and columns.
unsafe fn blocked<T: Real>(
    Shape { m, n, k }: Shape,
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    accumulate: bool,
    next: Lines,
    room: Option<*mut T>,
) -> Result<()> {
    let c_row = n;
    let packing = Packing::new(Shape { m, n, k }, b.col, size_of::<T>());
    let Packing { most_rows, most_cols, .. } = packing;
    let (a_packed, b_packed) = (packing.a > 0, packing.b > 0);
    let own = if room.is_none() && a_packed | b_packed { Some(Buffer::new(packing.a + packing.b)?) } else { None };
    let room = room.unwrap_or_else(|| own.as_ref().map_or(std::ptr::null_mut(), Buffer::as_mut_ptr).cast());
    let (b_to, a_to) = (Shared::new(room), Shared::new(room.wrapping_byte_add(packing.b)));
    let c = Shared::new(c);
    for j0 in (0..n).step_by(most_cols) {
        let cols = most_cols.min(n - j0);
        for p0 in (0..k).step_by(KC) {
            let depth = KC.min(k - p0);
            let accumulate = accumulate || p0 > 0;
            for i0 in (0..m).step_by(most_rows) {
                if interrupted() {
                    return Err(Error::Interrupted);
                }
                let rows = most_rows.min(m - i0);
                let (a, b) = (a.offset_to(i0, p0), b.offset_to(p0, j0));
                // a vector that is not full takes as long as one that is
                let full = cols.next_multiple_of(ALIGN / size_of::<T>());
                let work = rows.saturating_mul(full).saturating_mul(depth);
                let (height, width) = match work < SHARED_WORK {
                    true => (TASK_ROWS, cols),
                    false => tile(rows, cols, depth * size_of::<T>() / 4),
                };
                let across = cols.div_ceil(width);
                // rows that one task alone needs are packed by it, right before it reads them
                let pack_along = a_packed && across == 1;
                let pack_rows = |i: usize, m: usize| {
                    // SAFETY: panels inside the matrix and the buffer; each task has its own.
                    unsafe {
                        let to = a_to.get().add(i * depth);
                        dispatch(PackRows { m, k: depth, a: a.offset_to(i, 0), to });
                    }
                };
                // panels to pack, in tasks of some ten µs
                let (a_step, b_step) = (16 * ROWS, 2 * COLS);
                let a_tasks = if a_packed && !pack_along { rows.div_ceil(a_step) } else { 0 };
                let b_tasks = if b_packed && i0 == 0 { cols.div_ceil(b_step) } else { 0 };
                let pack = |task: usize| {
                    if task < a_tasks {
                        pack_rows(task * a_step, a_step.min(rows - task * a_step));
                    } else {
                        let j = (task - a_tasks) * b_step;
                        // SAFETY: as above.
                        unsafe {
                            let to = b_to.get().add(j * depth);
                            dispatch(PackColumns { n: b_step.min(cols - j), k: depth, b: b.offset_to(0, j), to });
                        }
                    }
                };
                run((rows * a_tasks.min(1) + cols * b_tasks.min(1)) * depth * 16, a_tasks + b_tasks, &pack);
                let block = |task: usize| {
                    let (i, j) = (task / across * height, task % across * width);
                    let (m, n) = (height.min(rows - i), width.min(cols - j));
                    if pack_along {
                        pack_rows(i, m);
                    }
                    // SAFETY: a block inside the matrices; each task has its own part of c.
                    unsafe {
                        let a = if a_packed { Mat::new(a_to.get().add(i * depth), 0, 0) } else { a.offset_to(i, 0) };
                        let b = if b_packed { Mat::new(b_to.get().add(j * depth), 0, 0) } else { b.offset_to(0, j) };
                        let to = c.get().add((i0 + i) * c_row + j0 + j);
                        dispatch(Block { m, n, k: depth, a, a_packed, b, b_packed, c: to, c_row, accumulate, next });
                    }
                };
                run(work, rows.div_ceil(height) * across, &block);
            }
        }
    }
    Ok(())
}

/// Runs tasks with so many multiplications in all, on other threads too if that pays.
fn run(work: usize, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
    if work < SHARED_WORK || tasks == 1 { (0..tasks).for_each(f) } else { parallel(tasks, f) }
}

/// Rows of a task: its packed rows stay in the second cache while all columns pass by.
const TASK_ROWS: usize = 16 * ROWS;

/// The blocks that are tasks: a few for each thread, and none too small. The bits do not depend on this.
fn tile(rows: usize, cols: usize, work: usize) -> (usize, usize) {
    let threads = num_threads();
    if threads == 1 {
        return (TASK_ROWS, cols);
    }
    let (mut height, mut width) = (TASK_ROWS, cols);
    let all = rows.saturating_mul(cols).saturating_mul(work);
    let wanted = (all / (2 * threads)).clamp(SHARED_WORK / 8, TASK_WORK);
    while rows.div_ceil(height) < 2 * threads && height > 4 * ROWS && height * cols * work > wanted {
        height /= 2;
    }
    let tasks = |width: usize| rows.div_ceil(height) * cols.div_ceil(width);
    while tasks(width) < 2 * threads && width > 2 * COLS && height.min(rows) * width * work > wanted / 2 {
        width = (width / 2).next_multiple_of(COLS);
    }
    (height, width)
}

/// A product with one row or one column; false if the strides suit neither kernel.
unsafe fn vector<T: Real>(Shape { m, n, k }: Shape, a: Mat<T>, b: Mat<T>, c: *mut T, accumulate: bool) -> Result<bool> {
    // the matrix as `rows` sums over k, and the vector
    let (rows, along, across, matrix, x, step) =
        if n == 1 { (m, a.col, a.row, a.ptr, b.ptr, b.row) } else { (n, b.row, b.col, b.ptr, a.ptr, a.col) };
    // SAFETY: the caller's; the copy holds k elements.
    unsafe {
        if along == 1 || k == 1 {
            if step == 1 || k == 1 {
                gemv::dots((rows, k), matrix, across, &[gemv::Vector { x, out: c }], accumulate)?;
            } else {
                let copy = Buffer::new(k * size_of::<T>())?;
                let to = copy.as_mut_ptr().cast::<T>();
                for p in 0..k {
                    to.add(p).write(*x.offset(p as isize * step));
                }
                gemv::dots((rows, k), matrix, across, &[gemv::Vector { x: to, out: c }], accumulate)?;
            }
        } else if across == 1 || rows == 1 {
            gemv::sum_of_rows((k, rows), matrix, along, (x, step), c, accumulate)?;
        } else {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The product by its definition, row by row; `step` adds a product to a sum.
unsafe fn plain<T: Copy + Default>(
    Shape { m, n, k }: Shape,
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    accumulate: bool,
    step: impl Fn(T, T, T) -> T + Sync,
) {
    let (c, b_col) = (Shared::new(c), b.col);
    let rows = (TASK_WORK / (n * k).max(1)).max(1);
    parallel(m.div_ceil(rows), &|task| {
        for i in task * rows..m.min((task + 1) * rows) {
            // SAFETY: row i of a and c, row p of b; each task writes its own rows.
            unsafe {
                let c = std::slice::from_raw_parts_mut(c.get().add(i * n), n);
                if !accumulate {
                    c.fill(T::default());
                }
                for p in 0..k as isize {
                    let x = *a.at(i as isize, p);
                    let row = b.at(p, 0);
                    for (j, to) in c.iter_mut().enumerate() {
                        *to = step(*to, x, *row.offset(j as isize * b_col));
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests;
