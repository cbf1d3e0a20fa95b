//! mlgrad-core: a tape of array operations, its derivatives, and the engine that runs them. No Python in here.

pub mod error;
pub mod exec;
pub mod numpy;
pub mod ops;
pub mod plan;
pub mod tape;
pub mod walk;

pub use error::{Error, Result};
pub use mlgrad_code as code;
pub use mlgrad_linalg as linalg;
pub use mlgrad_math as math;
