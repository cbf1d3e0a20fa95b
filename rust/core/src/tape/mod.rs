//! The tape: an append-only list of nodes in SSA order.

pub mod dtype;

pub use dtype::DType;
