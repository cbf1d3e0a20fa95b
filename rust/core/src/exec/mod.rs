//! (see ARCHITECTURE.md)

pub mod array;
pub mod buffer;
pub mod gemm;
mod gemm_small;
mod gemv;
mod lanes;
mod memory_limit;
pub mod pool;
