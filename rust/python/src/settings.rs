//! What the engine runs on, and the switches that make its layers testable alone.

use mlgrad_core::exec::{buffer, pool};
use mlgrad_core::math::isa;
use mlgrad_core::plan;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The instruction set in use: "avx512", "avx2", "neon" or "scalar".
#[pyfunction(name = "isa")]
fn isa_name() -> &'static str {
    isa::isa().name()
}

#[pyfunction]
fn available_isas() -> Vec<&'static str> {
    isa::available().into_iter().map(|i| i.name()).collect()
}

/// Threads that long computations are split over.
#[pyfunction]
fn num_threads() -> usize {
    pool::num_threads()
}

/// Sets the number of threads; results do not depend on it.
#[pyfunction]
fn set_num_threads(n: isize) -> PyResult<()> {
    match usize::try_from(n) {
        Ok(n) if (1..=1024).contains(&n) => {
            pool::set_num_threads(n);
            Ok(())
        }
        _ => Err(PyValueError::new_err(format!("set_num_threads: expected 1 to 1024 threads, got {n}"))),
    }
}

/// "release" or "debug".
#[pyfunction]
fn build_profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// Plans made, found again, kept and dropped so far, as a dict.
#[pyfunction]
fn cache_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let s = plan::stats();
    let d = PyDict::new(py);
    d.set_item("hits", s.hits)?;
    d.set_item("misses", s.misses)?;
    d.set_item("entries", s.entries)?;
    d.set_item("bytes", s.bytes)?;
    Ok(d)
}

/// Forgets all plans.
#[pyfunction]
fn clear_cache() {
    plan::clear();
}

/// Bytes of the arrays and plans that live now, kept for reuse, and in use at most since the start (or the last reset).
#[pyfunction]
#[pyo3(signature = (*, reset_peak = false))]
fn memory_stats(py: Python<'_>, reset_peak: bool) -> PyResult<Bound<'_, PyDict>> {
    let d = PyDict::new(py);
    d.set_item("in_use", buffer::bytes_in_use())?;
    d.set_item("pooled", buffer::bytes_pooled())?;
    d.set_item("peak", buffer::bytes_peak())?;
    if reset_peak {
        buffer::reset_peak();
    }
    Ok(d)
}

/// Turns layers of the planner off (and on again), and says up to how many elements arrays are straight code, for tests: the
/// results stay the same.
#[pyfunction]
#[pyo3(signature = (*, simplify = true, fuse = true, generate = true, small = None))]
fn set_options(simplify: bool, fuse: bool, generate: bool, small: Option<usize>) {
    let default = plan::Options::default();
    let generate = generate && default.generate;
    plan::set_options(plan::Options { simplify, fuse, generate, small: small.unwrap_or(default.small), ..default });
}

/// Panics, for the test of what becomes of panics.
#[pyfunction]
fn panic() {
    panic!("asked for");
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_function(wrap_pyfunction!(isa_name, m)?)?;
    m.add_function(wrap_pyfunction!(available_isas, m)?)?;
    m.add_function(wrap_pyfunction!(num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(set_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(build_profile, m)?)?;
    m.add_function(wrap_pyfunction!(cache_stats, m)?)?;
    m.add_function(wrap_pyfunction!(clear_cache, m)?)?;
    m.add_function(wrap_pyfunction!(memory_stats, m)?)?;
    m.add_function(wrap_pyfunction!(set_options, m)?)?;
    m.add_function(wrap_pyfunction!(panic, m)?)
}
