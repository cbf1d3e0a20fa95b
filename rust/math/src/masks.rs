//! Loops between masks and elements. The compiler does these badly by itself: it packs eight bools into an integer and takes
//! them apart again.

mod avx2;
mod avx512;

use super::{Isa, Kernel};
use crate::dtype::DType;
use crate::ops::Binary;

/// `dst = a ? b : c` for elements of 4 or 8 bytes.
pub(super) fn select(isa: Isa, item: usize) -> Option<Kernel> {
    match isa {
        Isa::Avx512 => avx512::select(item),
        Isa::Avx2 => avx2::select(item),
        _ => None,
    }
}

/// Bool to a number, or a number to bool.
pub(super) fn cast(isa: Isa, from: DType, to: DType) -> Option<Kernel> {
    match isa {
        Isa::Avx512 => avx512::cast(from, to),
        Isa::Avx2 => avx2::cast(from, to),
        _ => None,
    }
}

/// A comparison of int32 or int64.
pub(super) fn compare(isa: Isa, op: Binary, dtype: DType) -> Option<Kernel> {
    match isa {
        Isa::Avx512 => avx512::compare(op, dtype),
        _ => None,
    }
}
