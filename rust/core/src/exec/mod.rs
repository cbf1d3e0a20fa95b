//! (see ARCHITECTURE.md)

pub mod array;
pub mod buffer;
pub mod gemm;
mod memory_limit;
pub mod pool;
