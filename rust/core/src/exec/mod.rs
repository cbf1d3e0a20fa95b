//! (see ARCHITECTURE.md)

pub mod array;
pub mod buffer;
pub mod gemm;
mod gemm_block;
mod gemv;
mod lanes;
mod memory_limit;
pub mod pool;
