//! The NumPy boundary of mlgrad: the extension module `mlgrad._core`.

mod error;
mod trace;
mod transform;
mod tree;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    transform::register(m)?;
    tree::register(m)?;
    Ok(())
}
