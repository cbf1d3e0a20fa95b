//! Products of small matrices as steps of straight code: one kernel, chosen when the plan is made, with the bits of
//! [`gemm`](super::gemm::gemm).
#![allow(unsafe_code)]

use super::gemm::{Mat, ONE_PASS, SMALL_COPY, SMALL_WORK, Shape, small};
use super::gemv::{Dots, SumOfRows, Vector, is_one_sum};
use super::lanes::{Real, dispatch};
use super::straight::description;
use crate::tape::DType;

/// Elements from one row to the next, and from one column to the next.
pub type Strides = (isize, isize);

#[derive(Debug)]
pub struct SmallProduct {
    f: unsafe fn(&SmallProduct, *mut u8, *const u8, *const u8),
    shape: Shape,
    a: Strides,
    b: Strides,
}

/// The product described at c: dst = a b.
///
/// # Safety
/// The matrices are where the description says, whole vectors can be written at dst, and c points to the address of a
/// [`SmallProduct`] that outlives the call.
pub unsafe fn product(_: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe {
        let p = description::<SmallProduct>(c);
        (p.f)(p, dst, a, b);
    }
}

impl SmallProduct {
    /// None where it takes more than one kernel.
    pub fn new(dtype: DType, shape: Shape, a: Strides, b: Strides) -> Option<SmallProduct> {
        let mut p = SmallProduct { f: block::<f64>, shape, a, b };
        p.f = match dtype {
            DType::F64 => p.way::<f64>()?,
            DType::F32 => p.way::<f32>()?,
            _ => return None,
        };
        Some(p)
    }

    /// As [`gemm`](super::gemm::gemm) goes about it.
    fn way<T: Real>(&self) -> Option<unsafe fn(&SmallProduct, *mut u8, *const u8, *const u8)> {
        let Shape { m, n, k } = self.shape;
        if m == 0 || n == 0 || k == 0 || k > ONE_PASS || m.saturating_mul(n).saturating_mul(k) > SMALL_WORK {
            return None;
        }
        if m == 1 || n == 1 {
            let (rows, (along, across), step) = self.of_vector();
            if along == 1 || k == 1 {
                return if step == 1 || k == 1 { Some(dots::<T>) } else { None };
            }
            if across == 1 || rows == 1 {
                return if is_one_sum(k, rows) { Some(sum_of_rows::<T>) } else { None };
            }
        }
        if n * k <= SMALL_COPY { Some(block::<T>) } else { None }
    }

    /// With one row or one column: how many sums there are, the elements from one of their terms and from one of them to the
    /// next in the matrix, and from one term to the next in the vector.
    fn of_vector(&self) -> (usize, Strides, isize) {
        let Shape { m, n, .. } = self.shape;
        if n == 1 { (m, (self.a.1, self.a.0), self.b.0) } else { (n, self.b, self.a.1) }
    }

    /// The matrix, then the vector.
    fn in_order<T>(&self, a: *const u8, b: *const u8) -> (*const T, *const T) {
        if self.shape.n == 1 { (a.cast(), b.cast()) } else { (b.cast(), a.cast()) }
    }
}

/// # Safety
/// As for [`product`]; one of the two is a vector, and the matrix has its sums in rows.
unsafe fn dots<T: Real>(p: &SmallProduct, dst: *mut u8, a: *const u8, b: *const u8) {
    let (rows, (_, across), _) = p.of_vector();
    let (matrix, x) = p.in_order::<T>(a, b);
    let vectors = &[Vector { x, out: dst.cast() }];
    // SAFETY: the caller's.
    unsafe { dispatch(Dots { m: rows, k: p.shape.k, a: matrix, row: across, vectors, accumulate: false }) }
}

/// # Safety
/// As for [`product`]; one of the two is a vector, and the matrix has its sums in columns.
unsafe fn sum_of_rows<T: Real>(p: &SmallProduct, dst: *mut u8, a: *const u8, b: *const u8) {
    let (rows, (along, _), step) = p.of_vector();
    let (matrix, x) = p.in_order::<T>(a, b);
    let (k, out) = (p.shape.k, dst.cast());
    // SAFETY: the caller's.
    unsafe { dispatch(SumOfRows { k, n: rows, b: matrix, row: along, x, step, out, accumulate: false }) }
}

/// # Safety
/// As for [`product`].
unsafe fn block<T: Real>(p: &SmallProduct, dst: *mut u8, a: *const u8, b: *const u8) {
    let (a, b) = (Mat::new(a.cast::<T>(), p.a.0, p.a.1), Mat::new(b.cast(), p.b.0, p.b.1));
    // SAFETY: the caller's.
    unsafe { small(p.shape, a, b, dst.cast(), false) }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::gemm;
    use super::*;

    /// A matrix of whole vectors more than it needs, and its strides.
    fn layouts(rows: usize, cols: usize) -> [Strides; 3] {
        [(cols as isize, 1), (1, rows as isize), (2 * cols as isize + 1, 2)]
    }

    fn compare<T: Real>(dtype: DType) {
        let numbers: Vec<T> = (0..4096).map(|i| T::from(((i * 37 % 101) as f32 - 50.0) / 7.0)).collect();
        let mut one_kernel = 0;
        for (m, n, k) in
            (0..9 * 9 * 9).map(|i| (1 + i / 81, 1 + i / 9 % 9, 1 + i % 9)).chain([(1, 40, 33), (40, 1, 33)])
        {
            for a in layouts(m, k) {
                for b in layouts(k, n) {
                    let shape = Shape { m, n, k };
                    let Some(p) = SmallProduct::new(dtype, shape, a, b) else { continue };
                    one_kernel += 1;
                    let (mut got, mut want) = (vec![T::default(); m * n + 64], vec![T::default(); m * n + 64]);
                    let (x, y) = (numbers.as_ptr(), numbers[700..].as_ptr());
                    let cell = &raw const p;
                    // SAFETY: there are enough numbers for all layouts, and room for whole vectors.
                    unsafe {
                        product(0, got.as_mut_ptr().cast(), x.cast(), y.cast(), (&raw const cell).cast());
                        gemm(shape, Mat::new(x, a.0, a.1), Mat::new(y, b.0, b.1), want.as_mut_ptr(), false).unwrap();
                    }
                    assert_eq!(got[..m * n], want[..m * n], "{m} {n} {k} {a:?} {b:?}");
                }
            }
        }
        assert!(one_kernel > 5000, "{one_kernel}");
    }

    #[test]
    fn steps_have_the_bits_of_products() {
        compare::<f64>(DType::F64);
        compare::<f32>(DType::F32);
    }
}
