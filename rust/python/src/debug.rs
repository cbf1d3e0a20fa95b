//! debug_nans: each evaluation is looked at, and where a nan comes out, the operation that it comes from is named.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use mlgrad_core::plan;
use mlgrad_core::plan::diagnose;
use mlgrad_core::tape::{NodeId, Value};
use pyo3::exceptions::{PyFloatingPointError, PyValueError};
use pyo3::prelude::*;

use crate::error::OrRaise;
use crate::trace::Trace;

/// 0: off; 1: nan; 2: nan and infinity.
static MODE: AtomicU8 = AtomicU8::new(0);

pub fn is_on() -> bool {
    MODE.load(Relaxed) != 0
}

/// Sets what is looked for: "off", "nan" or "inf"; gives what it was.
#[pyfunction]
fn set_debug_nans(mode: &str) -> PyResult<&'static str> {
    let new = match mode {
        "off" => 0,
        "nan" => 1,
        "inf" => 2,
        other => return Err(PyValueError::new_err(format!("debug_nans: unknown mode {other:?}"))),
    };
    Ok(match MODE.swap(new, Relaxed) {
        0 => "off",
        1 => "nan",
        _ => "inf",
    })
}

impl Trace {
    /// Looks at what an evaluation of `targets` has given; called before the results are put on the tape.
    pub fn check_results(
        &self,
        py: Python<'_>,
        targets: &[NodeId],
        exact: bool,
        params: &[Value],
        results: &[Value],
    ) -> PyResult<()> {
        // the same program once more
        let extracted = plan::extract_listed(&self.access().tape, targets, !exact);
        let (extracted, list) = extracted.or_raise(py)?;
        let infs = MODE.load(Relaxed) == 2;
        let p = &extracted.program;
        let bad = p.outputs.iter().zip(results).any(|(&o, v)| {
            let n = &p.nodes[o as usize];
            diagnose::is_bad(v, &n.shape, n.dtype, infs)
        });
        if !bad {
            return Ok(());
        }
        let what = if infs { "nan or an infinity" } else { "nan" };
        let Some(found) = diagnose::first_bad(p, params, infs).or_raise(py)? else {
            return Err(PyFloatingPointError::new_err(format!("debug_nans: a result holds {what}")));
        };
        Err(PyFloatingPointError::new_err(if found.given {
            format!("debug_nans: {what} was there from the beginning, in {found}")
        } else {
            let at = list.get(found.place).and_then(|&n| self.place_of(n)).unwrap_or_default();
            format!("debug_nans: {what} came first out of {found}{at}")
        }))
    }

    /// Where in the user's code a node comes from, as the end of a sentence.
    fn place_of(&self, node: NodeId) -> Option<String> {
        let state = self.access();
        let (mut node, mut derivative) = (node, false);
        while let Some(cause) = state.tape.cause_of(node) {
            (node, derivative) = (cause.node, derivative || cause.derivative);
        }
        let (file, line) = state.lines.as_ref()?.of(node).1?;
        Some(format!(", in {}line {line} of {file}", if derivative { "the derivative of " } else { "" }))
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(set_debug_nans, m)?)
}
