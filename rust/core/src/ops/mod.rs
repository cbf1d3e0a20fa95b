//! The operations: one file a family.

pub mod elementwise;

pub use elementwise::{Binary, Unary};
