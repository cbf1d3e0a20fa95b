//! Reductions of many short rows: a call a row would cost more than its elements.
#![allow(unsafe_code)]

use crate::ops::ReduceOp;
use crate::tape::DType;

/// `dst[i] = op over src[i·row .. (i+1)·row]`, in the order of the elements.
///
/// # Safety
/// `src` is readable for rows · row elements, `dst` writable for `rows`; neither need be aligned.
pub type RowsKernel = unsafe fn(rows: usize, row: usize, dst: *mut u8, src: *const u8);

/// Rows of fewer elements than this are reduced so.
pub const NARROW: usize = 32;

trait Join {
    type Item: Copy;
    const FIRST: Self::Item;
    fn join(a: Self::Item, b: Self::Item) -> Self::Item;
}

/// # Safety
/// As for [`RowsKernel`].
unsafe fn rows<J: Join>(rows: usize, row: usize, dst: *mut u8, src: *const u8) {
    let (dst, mut src) = (dst.cast::<J::Item>(), src.cast::<J::Item>());
    for i in 0..rows {
        let mut acc = J::FIRST;
        for _ in 0..row {
            // SAFETY: the caller's.
            unsafe {
                acc = J::join(acc, src.read_unaligned());
                src = src.add(1);
            }
        }
        // SAFETY: the caller's.
        unsafe { dst.add(i).write_unaligned(acc) };
    }
}

macro_rules! joins {
    ($($name:ident, $item:ty, $first:expr, |$a:ident, $b:ident| $join:expr;)*) => {$(
        struct $name;
        impl Join for $name {
            type Item = $item;
            const FIRST: $item = $first;
            #[inline(always)]
            fn join($a: $item, $b: $item) -> $item {
                $join
            }
        }
    )*};
}

// nan stays wherever it is
joins! {
    SumU8, u8, 0, |a, b| a.wrapping_add(b);
    SumI32, i32, 0, |a, b| a.wrapping_add(b);
    SumI64, i64, 0, |a, b| a.wrapping_add(b);
    SumF32, f32, 0.0, |a, b| a + b;
    SumF64, f64, 0.0, |a, b| a + b;
    ProdU8, u8, 1, |a, b| a.wrapping_mul(b);
    ProdI32, i32, 1, |a, b| a.wrapping_mul(b);
    ProdI64, i64, 1, |a, b| a.wrapping_mul(b);
    ProdF32, f32, 1.0, |a, b| a * b;
    ProdF64, f64, 1.0, |a, b| a * b;
    MaxU8, u8, 0, |a, b| if a > b { a } else { b };
    MaxI32, i32, i32::MIN, |a, b| if a > b { a } else { b };
    MaxI64, i64, i64::MIN, |a, b| if a > b { a } else { b };
    MaxF32, f32, f32::NEG_INFINITY, |a, b| if (b > a) | b.is_nan() { b } else { a };
    MaxF64, f64, f64::NEG_INFINITY, |a, b| if (b > a) | b.is_nan() { b } else { a };
    MinU8, u8, u8::MAX, |a, b| if a < b { a } else { b };
    MinI32, i32, i32::MAX, |a, b| if a < b { a } else { b };
    MinI64, i64, i64::MAX, |a, b| if a < b { a } else { b };
    MinF32, f32, f32::INFINITY, |a, b| if (b < a) | b.is_nan() { b } else { a };
    MinF64, f64, f64::INFINITY, |a, b| if (b < a) | b.is_nan() { b } else { a };
    Or, u8, 0, |a, b| u8::from((a | b) != 0);
    And, u8, 1, |a, b| u8::from(a != 0 && b != 0);
}

/// The kernel for rows of that length, if they are short and the reduction is defined.
pub fn kernel(op: ReduceOp, dtype: DType, row: usize) -> Option<RowsKernel> {
    if row >= NARROW {
        return None;
    }
    Some(match (op, dtype) {
        (ReduceOp::Sum, DType::U8) => rows::<SumU8>,
        (ReduceOp::Sum, DType::I32) => rows::<SumI32>,
        (ReduceOp::Sum, DType::I64) => rows::<SumI64>,
        (ReduceOp::Sum, DType::F32) => rows::<SumF32>,
        (ReduceOp::Sum, DType::F64) => rows::<SumF64>,
        (ReduceOp::Prod, DType::U8) => rows::<ProdU8>,
        (ReduceOp::Prod, DType::I32) => rows::<ProdI32>,
        (ReduceOp::Prod, DType::I64) => rows::<ProdI64>,
        (ReduceOp::Prod, DType::F32) => rows::<ProdF32>,
        (ReduceOp::Prod, DType::F64) => rows::<ProdF64>,
        (ReduceOp::Max, DType::U8) => rows::<MaxU8>,
        (ReduceOp::Max, DType::I32) => rows::<MaxI32>,
        (ReduceOp::Max, DType::I64) => rows::<MaxI64>,
        (ReduceOp::Max, DType::F32) => rows::<MaxF32>,
        (ReduceOp::Max, DType::F64) => rows::<MaxF64>,
        (ReduceOp::Min, DType::U8) => rows::<MinU8>,
        (ReduceOp::Min, DType::I32) => rows::<MinI32>,
        (ReduceOp::Min, DType::I64) => rows::<MinI64>,
        (ReduceOp::Min, DType::F32) => rows::<MinF32>,
        (ReduceOp::Min, DType::F64) => rows::<MinF64>,
        (ReduceOp::Any | ReduceOp::Max, DType::Bool) => rows::<Or>,
        (ReduceOp::All | ReduceOp::Min, DType::Bool) => rows::<And>,
        (ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Any | ReduceOp::All, _) => return None,
        (ReduceOp::Max | ReduceOp::Min, DType::C64 | DType::C128) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_numbers_and_of_nan() {
        let x = [1.0f64, -2.0, 3.0, 4.0, f64::NAN, 0.5];
        let run = |op| {
            let mut out = [0.0f64; 2];
            // SAFETY: two rows of three elements.
            unsafe { kernel(op, DType::F64, 3).unwrap()(2, 3, out.as_mut_ptr().cast(), x.as_ptr().cast()) };
            out
        };
        assert_eq!(run(ReduceOp::Sum)[0], 2.0);
        assert_eq!(run(ReduceOp::Prod)[0], -6.0);
        assert_eq!(run(ReduceOp::Max)[0], 3.0);
        assert_eq!(run(ReduceOp::Min)[0], -2.0);
        assert!([ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min].iter().all(|&op| run(op)[1].is_nan()));
        assert!(kernel(ReduceOp::Sum, DType::F64, NARROW).is_none());
        for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min, ReduceOp::Any, ReduceOp::All] {
            for dtype in DType::ALL {
                let defined = crate::math::reduce::block(crate::math::isa(), op, dtype).is_some();
                assert_eq!(kernel(op, dtype, 3).is_some(), defined, "{op:?} {dtype}");
            }
        }
    }
}
