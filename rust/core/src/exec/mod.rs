//! (see ARCHITECTURE.md)

pub mod array;
pub mod buffer;
pub mod control;
pub mod divide;
pub mod entries;
mod factor;
pub mod gemm;
mod gemm_block;
pub mod gemv;
pub mod generated;
mod host;
pub mod indexed;
mod lanes;
mod memory_limit;
pub mod narrow;
pub mod node;
pub mod pool;
pub mod region;
pub mod rows;
pub mod run;
pub mod small_product;
pub mod straight;
mod stream;
pub mod strided;
mod symmetric;
