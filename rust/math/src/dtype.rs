//! The element types and NumPy 2's promotion between them.

use std::fmt;

/// An element type. Complex types are here from the start; the operations refuse them for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    Bool,
    U8,
    I32,
    I64,
    F32,
    F64,
    C64,
    C128,
}

impl DType {
    pub const ALL: [DType; 8] =
        [DType::Bool, DType::U8, DType::I32, DType::I64, DType::F32, DType::F64, DType::C64, DType::C128];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 | DType::C64 => 8,
            DType::C128 => 16,
        }
    }

    /// NumPy's name.
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "uint8",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::C64 => "complex64",
            DType::C128 => "complex128",
        }
    }

    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    pub const fn is_complex(self) -> bool {
        matches!(self, DType::C64 | DType::C128)
    }

    /// Real or complex floating point: what can carry a derivative.
    pub const fn is_inexact(self) -> bool {
        self.is_float() || self.is_complex()
    }

    /// Integers without bool.
    pub const fn is_integer(self) -> bool {
        matches!(self, DType::U8 | DType::I32 | DType::I64)
    }

    /// The common dtype of two arrays, as `numpy.promote_types`.
    pub fn promote(self, other: DType) -> DType {
        use DType::*;
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        match (a, b) {
            _ if a == b => a,
            (Bool, _) => b,
            (U8, I32 | I64 | F32 | F64 | C64 | C128) => b,
            (I32, I64) => I64,
            (I32 | I64, F32 | F64) => F64,
            (I32 | I64, C64 | C128) => C128,
            (F32, F64) => F64,
            (F32, C64) => C64,
            (F64, C64) | (_, C128) => C128,
            _ => b,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
