//! The operations: one file a family.

pub mod elementwise;
pub mod reduction;

pub use elementwise::{Binary, Unary};
pub use reduction::ReduceOp;
