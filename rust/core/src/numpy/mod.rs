//! NumPy's calling conventions (broadcasting, promotion, axes, index expressions) over the primitives of `ops`.
//!
//! Every function here records nodes on a tape and computes nothing. Arguments that take part in promotion are
//! `Operand`s, other arrays are nodes; `axes: None` means all of them.

pub mod accumulate;
mod axes;
pub mod choose;
pub mod diagonal;
pub mod difference;
pub mod einsum;
pub mod index;
pub mod join;
pub mod linalg;
pub mod norm;
pub mod operand;
pub mod pad;
pub mod product;
mod quantile;
pub mod reduce;
pub mod shape;
pub mod sort;
pub mod statistics;
pub mod ufunc;

pub use operand::{Operand, result_dtype};

#[cfg(test)]
mod tests;
