//! Elementary functions, block by block: one kernel per operation, dtype and instruction set, chosen at run time.
//!
//! A kernel is one pass over whole vectors (see [`Kernel`]); there is no tail code, so the bits of a result depend neither
//! on its position nor on the length of the block. Nothing here knows about tapes, shapes or plans.
#![allow(unsafe_code)]

mod basic;
pub mod cast;
mod constants;
mod dd;
pub mod dtype;
mod erf;
mod exp;
mod float;
pub mod integer;
mod invtrig;
pub mod isa;
mod kernel;
mod log;
mod map;
#[cfg(target_arch = "x86_64")]
mod masks;
pub mod ops;
mod power;
pub mod reduce;
pub mod select;
mod simd;
pub mod special;
mod tables;
mod trig;

pub use isa::{Isa, available, isa};

pub use dtype::DType;

/// One pass over n elements: `dst[i] = op(a[i], b[i], c[i])`; operands that the operation lacks are ignored (may be null).
///
/// # Safety
/// Every pointer that is used is valid for n elements rounded up so that their bytes are a multiple of 64: whole vectors are
/// read and written past n. Pointers may be unaligned. `dst` may equal an operand but never overlaps one in part. The
/// instruction set that the kernel was asked for is available on this machine.
pub type Kernel = unsafe fn(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8);

/// The kernel of an operation of one argument, or None where it is not defined for the dtype.
pub fn unary(isa: Isa, op: ops::Unary, dtype: DType) -> Option<Kernel> {
    match dtype {
        DType::F32 | DType::F64 => float::unary(isa, op, dtype),
        DType::Bool | DType::U8 | DType::I32 | DType::I64 => integer::unary_on(isa, op, dtype),
        DType::C64 | DType::C128 => None,
    }
}

/// Two operations of arithmetic in one pass: `second(first(a, b), c)`, or `second(c, first(a, b))` where the first one's result
/// comes `last`, with the bits of the two one after the other. None where there is no such kernel.
pub fn arithmetic(isa: Isa, first: ops::Binary, second: ops::Binary, last: bool, dtype: DType) -> Option<Kernel> {
    float::arithmetic(isa, first, second, last, dtype)
}

/// Sine and cosine of one argument: the sine is written to `dst`, the cosine to where b points, which may be written as dst may
/// and is another place. None where they are not defined for the dtype.
pub fn sin_and_cos(isa: Isa, dtype: DType) -> Option<Kernel> {
    float::sin_and_cos(isa, dtype)
}

/// The kernel of an operation of two arguments, or None where it is not defined for the dtype. Comparisons and logic write
/// one byte (0 or 1) an element.
pub fn binary(isa: Isa, op: ops::Binary, dtype: DType) -> Option<Kernel> {
    match dtype {
        DType::F32 | DType::F64 => float::binary(isa, op, dtype),
        DType::Bool | DType::U8 | DType::I32 | DType::I64 => integer::binary_on(isa, op, dtype),
        DType::C64 | DType::C128 => None,
    }
}
