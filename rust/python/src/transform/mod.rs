//! The transforms: each calls the user's function on Arrays and walks the tape that this leaves.

mod callable;
mod closing;
mod closure;
mod control;
mod custom;
mod grad;
mod host;
mod jvp;
mod linearize;
mod recorded;
mod scope;
mod session;
mod stop;
mod traced;
mod vjp;
mod vmap;
mod walks;

use pyo3::prelude::*;

pub use callable::{Held, bind, check_callable, describe};
pub use session::{Session, copy_any, fresh, wrap_argument};
pub use walks::{prepare as prepare_walk, vjp as reverse_walk};

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    grad::register(m)?;
    vjp::register(m)?;
    control::register(m)?;
    jvp::register(m)?;
    linearize::register(m)?;
    stop::register(m)?;
    traced::register(m)?;
    closure::register(m)?;
    vmap::register(m)?;
    custom::register(m)?;
    host::register(m)
}
