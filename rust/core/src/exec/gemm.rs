//! Matrix products of any strides, dtypes and batches, into row-major results.
//!
//! Invariant: how the work is cut depends on shapes and strides alone, never on the number of threads, and where a sum is cut
//! its parts are added in order. So the bits are the same for any number of threads.
#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use super::buffer::Buffer;
use super::gemm_small::Small;
use super::gemv;
pub use super::lanes::Real;
use super::lanes::dispatch;
use super::pool::{Shared, parallel};
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

    fn at(&self, i: isize, j: isize) -> *const T {
        self.ptr.wrapping_offset(i * self.row + j * self.col)
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
    let (out, failed) = (Shared::new(c), Mutex::new(None));
    let one = |i: usize| {
        // SAFETY: entry i of the batch; each has its own part of c.
        let done = unsafe {
            let c = out.get().add(i * m * n);
            gemm(shape, a.offset(a_steps.at(i)), b.offset(b_steps.at(i)), c, accumulate)
        };
        if let Err(error) = done {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    };
    let work = m.saturating_mul(n).saturating_mul(k.max(1)).max(1);
    if work > TASK_WORK {
        (0..batch).for_each(one);
    } else {
        let group = TASK_WORK / work;
        parallel(batch.div_ceil(group), &|g| (g * group..batch.min((g + 1) * group)).for_each(one));
    }
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Multiplications worth a task of their own, in f64: some 25 µs.
const TASK_WORK: usize = 1 << 20;
/// Up to so many products of numbers, packing does not pay.
const SMALL_WORK: usize = 24 * 24 * 24;
/// Elements of `b` that are copied to the stack to make its rows contiguous.
const SMALL_COPY: usize = 1024;

/// c = a b, or c += a b, for one pair of f32 or f64.
///
/// # Safety
/// As for [`matmul`].
pub unsafe fn gemm<T: Real>(shape: Shape, a: Mat<T>, b: Mat<T>, c: *mut T, accumulate: bool) -> Result<()> {
    let Shape { m, n, k } = shape;
    // SAFETY: the caller's; the tiles are inside the matrices, and write different parts of c.
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
        if m * n * k <= SMALL_WORK && small(shape, a, b, (c, n), accumulate) {
            return Ok(());
        }
        let (rows, cols) = tile(shape, size_of::<T>());
        let (down, across) = (m.div_ceil(rows), n.div_ceil(cols));
        if down * across == 1 {
            packed(shape, a, b, (c, n), accumulate);
            return Ok(());
        }
        let c = Shared::new(c);
        parallel(down * across, &|task| {
            let (i, j) = (task / across * rows, task % across * cols);
            let part = Shape { m: rows.min(m - i), n: cols.min(n - j), k };
            let (a, b) = (a.offset(i as isize * a.row), b.offset(j as isize * b.col));
            packed(part, a, b, (c.get().add(i * n + j), n), accumulate);
        });
    }
    Ok(())
}

/// The tiles of the result that are tasks: columns are cut first, because rows are what packing is shared by.
fn tile(Shape { m, n, k }: Shape, size: usize) -> (usize, usize) {
    let work = m.saturating_mul(n).saturating_mul(k) / (8 / size);
    // enough tiles for a few threads, and for more where each tile stays large
    let wanted = (work / TASK_WORK).min((work >> 26).clamp(8, 64));
    let (mut rows, mut cols) = (m, n);
    while m.div_ceil(rows) * n.div_ceil(cols) < wanted {
        if cols >= 1024 / size {
            cols = (cols / 2).next_multiple_of(256 / size);
        } else if rows >= 96 {
            rows = (rows / 2).next_multiple_of(6);
        } else {
            break;
        }
    }
    (rows, cols)
}

/// One tile by the library's packing kernels, on this thread.
unsafe fn packed<T: Real>(
    Shape { m, n, k }: Shape,
    a: Mat<T>,
    b: Mat<T>,
    (c, c_row): (*mut T, usize),
    accumulate: bool,
) {
    let one = T::from(1.0);
    // SAFETY: the caller's.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            c_row as isize,
            accumulate,
            a.ptr,
            a.col,
            a.row,
            b.ptr,
            b.col,
            b.row,
            one,
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// A small product; false if `b` would have to be copied and is too large.
unsafe fn small<T: Real>(shape: Shape, a: Mat<T>, b: Mat<T>, (c, c_row): (*mut T, usize), accumulate: bool) -> bool {
    let Shape { m, n, k } = shape;
    let mut args =
        Small { m, n, k, a: a.ptr, a_row: a.row, a_col: a.col, b: b.ptr, b_row: b.row, c, c_row, accumulate };
    // SAFETY: the caller's; the copy holds k rows of n.
    unsafe {
        if b.col == 1 || n == 1 {
            dispatch(args);
        } else if n * k <= SMALL_COPY {
            let mut copy = [const { std::mem::MaybeUninit::<T>::uninit() }; SMALL_COPY];
            for p in 0..k {
                for j in 0..n {
                    copy[p * n + j].write(*b.ptr.offset(p as isize * b.row + j as isize * b.col));
                }
            }
            args.b = copy.as_ptr().cast();
            args.b_row = n as isize;
            dispatch(args);
        } else {
            return false;
        }
    }
    true
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
                gemv::dots((rows, k), matrix, across, x, c, accumulate)?;
            } else {
                let copy = Buffer::new(k * size_of::<T>())?;
                let to = copy.as_mut_ptr().cast::<T>();
                for p in 0..k {
                    to.add(p).write(*x.offset(p as isize * step));
                }
                gemv::dots((rows, k), matrix, across, to, c, accumulate)?;
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
