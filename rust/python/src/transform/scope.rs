//! A scope of abstract nodes on a tape: the arguments of a vmapped function, the seeds of a rule.

use std::sync::Arc;

use mlgrad_core::tape::{NodeId, Shape};
use pyo3::prelude::*;

use crate::error::OrRaise;
use crate::trace::Trace;

/// Closes the scope however the function that it is for is left.
pub struct Scope {
    trace: Arc<Trace>,
    pub number: u32,
}

impl Scope {
    pub fn open(trace: &Arc<Trace>) -> PyResult<Scope> {
        let number = trace.lock()?.tape.open_scope();
        Ok(Scope { trace: trace.clone(), number })
    }

    /// An abstract node like each of `like`; `examples` have one axis less, the first.
    pub fn params(&self, py: Python<'_>, like: &[NodeId], examples: bool) -> PyResult<Vec<NodeId>> {
        let made: mlgrad_core::Result<Vec<NodeId>> = {
            let mut state = self.trace.lock()?;
            let t = &mut state.tape;
            like.iter()
                .map(|&x| {
                    let shape: Shape = t.shape(x)[usize::from(examples)..].into();
                    let dtype = t.dtype(x);
                    t.abstract_param(self.number, shape, dtype)
                })
                .collect()
        };
        made.or_raise(py)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let mut state = self.trace.access();
        if !state.over {
            state.tape.close_scope(self.number);
        }
    }
}
