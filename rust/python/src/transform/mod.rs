//! The transforms: each calls the user's function on Arrays and walks the tape that this leaves.

mod callable;
mod control;
mod grad;
mod jvp;
mod linearize;
mod recorded;
mod session;
mod stop;
mod traced;
mod vjp;
mod vmap;

use pyo3::prelude::*;

pub use callable::{Held, bind, check_callable, describe};
pub use session::{Session, copy_any, fresh, wrap_argument};

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    grad::register(m)?;
    vjp::register(m)?;
    control::register(m)?;
    jvp::register(m)?;
    linearize::register(m)?;
    stop::register(m)?;
    traced::register(m)?;
    vmap::register(m)
}
