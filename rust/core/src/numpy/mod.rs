//! NumPy's calling conventions (broadcasting, promotion, axes, index expressions) over the primitives of `ops`.
//!
//! Every function here records nodes on a tape and computes nothing.

pub mod index;
pub mod operand;
pub mod ufunc;

pub use operand::{Operand, result_dtype};
