//! The NumPy boundary of mlgrad: the extension module `mlgrad._core`.

mod args;
mod array;
mod build;
mod convert;
mod debug;
mod dtypes;
mod error;
mod function;
mod grave;
mod index;
mod inside;
mod jit;
mod layout;
mod leave;
mod lines;
mod methods;
mod recording;
mod settings;
mod tape_api;
mod trace;
mod transform;
mod tree;
mod tree_parts;
mod ufunc;
mod view;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    mlgrad_core::exec::pool::set_interrupt_check(error::interrupted);
    methods::register(m)?;
    transform::register(m)?;
    jit::register(m)?;
    debug::register(m)?;
    tape_api::register(m)?;
    recording::register(m)?;
    inside::register(m)?;
    tree::register(m)?;
    settings::register(m)?;
    function::register(m)
}
