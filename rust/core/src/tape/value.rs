//! The value of a node, once it is known.

use std::sync::Arc;

use super::DType;
use crate::exec::buffer::Buffer;

/// A C-contiguous array, or one element. Shape and dtype are those of the node.
#[derive(Clone, Debug)]
pub enum Value {
    /// The bits of one element, zero-extended.
    Scalar(u64),
    Array(Arc<Buffer>),
}

impl Value {
    /// The bits of the first element.
    pub fn first(&self, dtype: DType) -> u64 {
        match self {
            Value::Scalar(bits) => *bits,
            Value::Array(b) => {
                let mut word = [0u8; 8];
                let n = dtype.size().min(8);
                word[..n].copy_from_slice(&b.as_slice::<u8>()[..n]);
                u64::from_le_bytes(word)
            }
        }
    }
}

/// The bits of `v` converted to `dtype`.
pub fn bits_of(v: f64, dtype: DType) -> u64 {
    match dtype {
        DType::Bool => (v != 0.0) as u64,
        DType::U8 => v as i64 as u8 as u64,
        DType::I32 => v as i64 as i32 as u32 as u64,
        DType::I64 => v as i64 as u64,
        DType::F32 => (v as f32).to_bits() as u64,
        DType::F64 => v.to_bits(),
        DType::C64 => (v as f32).to_bits() as u64,
        DType::C128 => v.to_bits(),
    }
}

/// The number behind `bits`, exact but for int64 beyond 2^53.
pub fn number_of(bits: u64, dtype: DType) -> f64 {
    match dtype {
        DType::Bool | DType::U8 => bits as u8 as f64,
        DType::I32 => bits as u32 as i32 as f64,
        DType::I64 => bits as i64 as f64,
        DType::F32 | DType::C64 => f32::from_bits(bits as u32) as f64,
        DType::F64 | DType::C128 => f64::from_bits(bits),
    }
}
