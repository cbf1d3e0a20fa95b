//! The transforms: each calls the user's function on Arrays and walks the tape that this leaves.

mod callable;
mod grad;
mod jvp;
mod session;
mod vjp;
mod vmap;

use pyo3::prelude::*;

pub use callable::{bind, check_callable, describe};
pub use session::Session;

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    grad::register(m)?;
    vjp::register(m)?;
    jvp::register(m)?;
    vmap::register(m)
}
