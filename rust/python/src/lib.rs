//! The NumPy boundary of mlgrad: the extension module `mlgrad._core`.

mod error;
mod jit;
mod settings;
mod tape_api;
mod trace;
mod transform;
mod tree;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    mlgrad_core::exec::pool::set_interrupt_check(error::interrupted);
    transform::register(m)?;
    jit::register(m)?;
    tape_api::register(m)?;
    tree::register(m)?;
    settings::register(m)
}
