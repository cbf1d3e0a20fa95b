//! Kernels over whole C-contiguous arrays: copies between layouts, reductions, scans, sorts, gathers.
//!
//! They run on the calling thread and have no state. Where work can be shared, a function takes the range of outer rows (or
//! of destination rows) to do and the part of the result that belongs to them; the result does not depend on the split.
//! Buffers are byte slices of exact length, aligned for their dtype. A length that does not fit is a bug of the caller and
//! gives [`Error::Internal`](crate::Error::Internal).
#![allow(unsafe_code)]

pub mod argreduce;
pub mod copy;
pub mod gather;
pub mod nonzero;
pub mod reduce;
pub mod scan;
pub mod sort;

use crate::exec::buffer::Plain;
use crate::{Error, Result};
use std::ops::Range;

/// A C-contiguous array seen around one axis (or several adjacent ones): `outer` blocks of `n` rows of `inner` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
}

impl Dims {
    /// Around the axis of that number.
    pub fn around(shape: &[usize], axis: usize) -> Dims {
        Dims { outer: shape[..axis].iter().product(), n: shape[axis], inner: shape[axis + 1..].iter().product() }
    }

    pub fn size(self) -> usize {
        self.outer * self.n * self.inner
    }
}

/// The bytes as elements.
pub(crate) fn elements<T: Plain>(bytes: &[u8]) -> Result<&[T]> {
    if bytes.is_empty() {
        return Ok(&[]);
    }
    if !bytes.len().is_multiple_of(size_of::<T>()) || !bytes.as_ptr().cast::<T>().is_aligned() {
        return Err(misfit::<T>(bytes));
    }
    // SAFETY: aligned, a whole number of elements, and any bits are a T.
    Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}

/// The bytes as elements to write.
pub(crate) fn elements_mut<T: Plain>(bytes: &mut [u8]) -> Result<&mut [T]> {
    if bytes.is_empty() {
        return Ok(&mut []);
    }
    if !bytes.len().is_multiple_of(size_of::<T>()) || !bytes.as_ptr().cast::<T>().is_aligned() {
        return Err(misfit::<T>(bytes));
    }
    // SAFETY: as for `elements`, and borrowed mutably.
    Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) })
}

fn misfit<T>(bytes: &[u8]) -> Error {
    Error::Internal(format!(
        "a buffer of {} bytes at {:p} does not hold elements of {} bytes",
        bytes.len(),
        bytes.as_ptr(),
        size_of::<T>()
    ))
}

/// Fails unless a length is the expected one.
pub(crate) fn expect(what: &str, got: usize, want: usize) -> Result<()> {
    if got == want {
        return Ok(());
    }
    Err(Error::Internal(format!("{what}: a length of {got} where {want} belongs")))
}

/// Fails unless the range lies in 0..count.
pub(crate) fn inside(what: &str, rows: &Range<usize>, count: usize) -> Result<()> {
    if rows.start <= rows.end && rows.end <= count {
        return Ok(());
    }
    Err(Error::Internal(format!("{what}: rows {rows:?} of {count}")))
}

/// Evaluates an expression with `$t` standing for the element type; bool is u8.
macro_rules! by_dtype {
    ($what:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::tape::DType::Bool | $crate::tape::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::tape::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::tape::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::tape::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::tape::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err($crate::Error::Type(format!("{} is not defined for {other}", $what))),
        }
    };
}
pub(crate) use by_dtype;

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub fn bytes<T: Plain>(x: &[T]) -> &[u8] {
        // SAFETY: plain elements are bytes.
        unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), size_of_val(x)) }
    }

    pub fn bytes_mut<T: Plain>(x: &mut [T]) -> &mut [u8] {
        // SAFETY: plain elements are bytes, and any bytes are elements.
        unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), size_of_val(x)) }
    }

    /// Numbers without order, the same at each run.
    pub fn noise(n: usize) -> Vec<f64> {
        let mut state = 0x2545_F491_4F6C_DD1Du64;
        (0..n)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
            })
            .collect()
    }
}
