//! Control flow: bodies are recorded once with abstract values, and become one operation.

mod branch;
mod record;
mod scan;
mod while_loop;

use pyo3::prelude::*;

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    branch::register(m)?;
    scan::register(m)?;
    while_loop::register(m)
}
