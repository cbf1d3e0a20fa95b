//! What calls of one kind have in common: containers, dtypes and shapes, and what the function reaches from outside.

use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::argument::{Kind, Leaf};
use super::watch::Watch;
use super::{Call, Given, MAX_VARIANTS, PerformanceWarning, locked};
use crate::transform::describe;
use crate::tree::Tree;

pub struct Signature {
    /// Whether calls can be compared without being taken apart.
    pub plain: bool,
    args: Tree,
    keywords: Option<Tree>,
    leaves: Vec<Kind>,
    watch: Watch,
    warned: Mutex<bool>,
}

impl Signature {
    pub fn new(plain: bool, call: Call<'_>, watch: Watch) -> Signature {
        let leaves = call.leaves.iter().map(Leaf::kind).collect();
        Signature { plain, args: call.args, keywords: call.keywords, leaves, watch, warned: Mutex::new(false) }
    }

    /// Whether these arguments are of this plain signature, whose leaves they give.
    pub fn take<'py>(&self, py: Python<'py>, args: &Bound<'py, PyTuple>, leaves: &mut Given<'py>) -> PyResult<bool> {
        let matches = self.args.matches(args.as_any(), &mut |object| {
            leaves.push(Leaf::of(py, object)?);
            match (leaves.last(), self.leaves.get(leaves.len() - 1)) {
                (Some(leaf), Some(kind)) => leaf.is(kind),
                _ => Ok(false),
            }
        })?;
        Ok(matches && leaves.len() == self.leaves.len() && self.watch.holds(py)?)
    }

    pub fn fits(&self, py: Python<'_>, call: &Call<'_>) -> PyResult<bool> {
        if self.leaves.len() != call.leaves.len() || !self.args.same(py, &call.args)? {
            return Ok(false);
        }
        match (&self.keywords, &call.keywords) {
            (None, None) => {}
            (Some(a), Some(b)) if a.same(py, b)? => {}
            _ => return Ok(false),
        }
        for (leaf, kind) in call.leaves.iter().zip(&self.leaves) {
            if !leaf.is(kind)? {
                return Ok(false);
            }
        }
        self.watch.holds(py)
    }

    /// Says once that the recordings of this signature have grown too many.
    pub fn warn(&self, py: Python<'_>, f: &Bound<'_, PyAny>, line: Option<String>) -> PyResult<()> {
        if std::mem::replace(&mut *locked(&self.warned), true) {
            return Ok(());
        }
        let message = format!(
            "{} has been recorded {MAX_VARIANTS} times for one signature, because what Python sees of a traced value at {} keeps \
             changing; further values run without jit. Use np.where instead of if, or a loop of fixed length",
            describe(f),
            line.as_deref().unwrap_or("an unknown line")
        );
        let message = std::ffi::CString::new(message).map_err(|e| PyValueError::new_err(e.to_string()))?;
        PyErr::warn(py, &py.get_type::<PerformanceWarning>(), &message, 1)
    }
}
