//! Replaying recordings.

use std::sync::Arc;

use mlgrad_core::plan::{self, Param, Plan};
use mlgrad_core::tape::Value;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use smallvec::SmallVec;

use super::argument::{Data, Leaf};
use super::record::{Action, Outcome, Source};
use super::replay::{Out, Output, Replay, Step};
use crate::convert;
use crate::error::{OrRaise, raise};
use crate::transform::fresh;

/// How a replay ended.
pub enum End {
    Values(Py<PyAny>),
    /// A guard came out as in no recording so far; the line of the last guard on the way, and what calls of the host came to.
    Unknown(Option<String>, Vec<PyResult<Vec<Value>>>),
}

impl Replay {
    pub fn run(&self, py: Python<'_>, leaves: &[Leaf<'_>]) -> PyResult<End> {
        // arrays that the function holds, copied where they cannot be read in place
        let mut held = Vec::with_capacity(self.held.len());
        for h in &self.held {
            held.push(match Leaf::of(py, h.bind(py))? {
                Leaf::Traced(data) => data,
                Leaf::Static(_) => return Err(PyRuntimeError::new_err("a held array that is none")),
            });
        }
        if let Some(end) = self.run_straight(py, leaves, &held)? {
            return Ok(end);
        }
        let mut computed: Vec<Value> = Vec::new();
        let mut called: Vec<PyResult<Vec<Value>>> = Vec::new();
        let mut at = 0;
        let mut line = None;
        loop {
            let Some(step) = self.steps.get(at) else { return Ok(End::Unknown(line, called)) };
            let (action, children) = match step {
                Step::Return(output) => {
                    let mut values = Vec::with_capacity(output.leaves.len());
                    for leaf in &output.leaves {
                        values.push(match leaf {
                            Out::Object(_) => None,
                            Out::Value { source: Source::Computed(k), last: true, .. } => {
                                Some(std::mem::replace(&mut computed[*k], Value::Scalar(0)))
                            }
                            Out::Value { source, .. } => Some(match source {
                                Source::Computed(k) => computed[*k].clone(),
                                Source::Constant(v) => v.clone(),
                                Source::Argument(k) => match &leaves[*k] {
                                    Leaf::Traced(d) => d.value(py)?,
                                    Leaf::Static(_) => return Err(PyRuntimeError::new_err("a static leaf as a value")),
                                },
                                Source::Held(k) => held[*k].value(py)?,
                            }),
                        });
                    }
                    return output_of(py, output, values).map(End::Values);
                }
                Step::Do { action, children, line: l } => {
                    if l.is_some() {
                        line.clone_from(l);
                    }
                    (action, children)
                }
            };
            let outcome = match action {
                Action::Run { plan, params } => {
                    let mut given = SmallVec::new();
                    put(plan, params, leaves, &held, &computed, &mut given)?;
                    let result = if plan.is_long() { py.detach(|| plan.run(&given)) } else { plan.run(&given) };
                    drop(given);
                    match result {
                        Ok(values) => {
                            computed.extend(values);
                            Outcome::Done
                        }
                        Err(e) if is_fatal(&e) => return Err(raise(py, e)),
                        Err(_) => Outcome::Raised,
                    }
                }
                Action::Call { host, params } => {
                    let mut inputs = Vec::with_capacity(params.len());
                    for (s, (shape, dtype)) in params.iter().zip(host.inputs()) {
                        let value = match s {
                            Source::Computed(k) => computed[*k].clone(),
                            Source::Constant(v) => v.clone(),
                            Source::Held(k) => held[*k].value(py)?,
                            Source::Argument(k) => match &leaves[*k] {
                                Leaf::Traced(d) => d.value(py)?,
                                Leaf::Static(_) => return Err(PyRuntimeError::new_err("a static leaf as an argument")),
                            },
                        };
                        inputs.push((value, shape.clone(), *dtype));
                    }
                    let done = host.evaluate(&inputs).or_raise(py);
                    let outcome = if done.is_ok() { Outcome::Done } else { Outcome::Raised };
                    computed.extend(done.iter().flatten().cloned());
                    called.push(done);
                    outcome
                }
                Action::Read { source, dtype } => Outcome::Bits(match source {
                    Source::Computed(k) => computed[*k].first(*dtype),
                    Source::Constant(v) => v.first(*dtype),
                    Source::Held(k) => held[*k].value(py)?.first(*dtype),
                    Source::Argument(k) => match &leaves[*k] {
                        Leaf::Traced(d) => d.value(py)?.first(*dtype),
                        Leaf::Static(_) => return Err(PyRuntimeError::new_err("a static leaf as a guard")),
                    },
                }),
            };
            match children.iter().find(|(o, _)| *o == outcome) {
                Some(&(_, next)) => at = next,
                None => return Ok(End::Unknown(line, called)),
            }
        }
    }

    /// One plan, of which each result is returned, in order: they go from where the plan has them to NumPy's arrays.
    fn run_straight(&self, py: Python<'_>, leaves: &[Leaf<'_>], held: &[Data<'_>]) -> PyResult<Option<End>> {
        let [Step::Do { action: Action::Run { plan, params }, line, .. }, Step::Return(output)] = self.steps.as_slice()
        else {
            return Ok(None);
        };
        if !self.straight || plan.is_long() {
            return Ok(None);
        }
        let mut given = SmallVec::new();
        put(plan, params, leaves, held, &[], &mut given)?;
        let mut results: SmallVec<[Py<PyAny>; 8]> = SmallVec::with_capacity(output.leaves.len());
        let mut outs = output.leaves.iter();
        let mut failed = None;
        let ran = plan.run_with(&given, &mut |value| {
            let result = loop {
                match outs.next() {
                    Some(Out::Object(o)) => match fresh(o.bind(py)) {
                        Ok(object) => results.push(object),
                        Err(e) => break Err(e),
                    },
                    Some(Out::Value { shape, dtype, .. }) => {
                        break match value {
                            plan::Output::Inside(bytes) => convert::export_bytes(py, bytes, shape, *dtype),
                            plan::Output::Fresh(buffer) => {
                                convert::export(py, Value::Array(Arc::new(buffer)), shape, *dtype)
                            }
                        };
                    }
                    None => break Err(PyRuntimeError::new_err("a result without a place")),
                }
            };
            match result {
                Ok(object) => {
                    results.push(object);
                    Ok(())
                }
                Err(e) => {
                    failed = Some(e);
                    Err(mlgrad_core::Error::Foreign)
                }
            }
        });
        if let Some(e) = failed {
            return Err(e);
        }
        match ran {
            Ok(()) => {}
            Err(e) if is_fatal(&e) => return Err(raise(py, e)),
            Err(_) => return Ok(Some(End::Unknown(line.clone(), Vec::new()))),
        }
        for out in outs {
            if let Out::Object(o) = out {
                results.push(fresh(o.bind(py))?);
            }
        }
        output.tree.unflatten(py, &mut results.drain(..)).map(|r| Some(End::Values(r)))
    }
}

/// Errors that another recording would not mend.
fn is_fatal(e: &mlgrad_core::Error) -> bool {
    use mlgrad_core::Error::{Internal, Interrupted, Memory};
    matches!(e, Memory(_) | Interrupted | Internal(_))
}

/// Puts down the parameters of a plan.
fn put<'a>(
    plan: &Plan,
    params: &'a [Source],
    leaves: &'a [Leaf<'_>],
    held: &'a [Data<'_>],
    computed: &'a [Value],
    given: &mut SmallVec<[Param<'a>; 8]>,
) -> PyResult<()> {
    for (s, bytes) in params.iter().zip(plan.param_bytes()) {
        given.push(match s {
            Source::Computed(k) => Param::of(&computed[*k], bytes),
            Source::Constant(v) => Param::of(v, bytes),
            Source::Held(k) => held[*k].param(),
            Source::Argument(k) => match &leaves[*k] {
                Leaf::Traced(d) => d.param(),
                Leaf::Static(_) => return Err(PyRuntimeError::new_err("a static leaf as a parameter")),
            },
        });
    }
    Ok(())
}

/// The results of a recording, put together.
pub fn output_of(py: Python<'_>, output: &Output, values: Vec<Option<Value>>) -> PyResult<Py<PyAny>> {
    let mut leaves: SmallVec<[Py<PyAny>; 8]> = SmallVec::with_capacity(output.leaves.len());
    for (o, v) in output.leaves.iter().zip(values) {
        leaves.push(match (o, v) {
            (Out::Value { shape, dtype, .. }, Some(v)) => convert::export(py, v, shape, *dtype)?,
            (Out::Object(o), _) => fresh(o.bind(py))?,
            _ => return Err(PyRuntimeError::new_err("a result without value")),
        });
    }
    output.tree.unflatten(py, &mut leaves.drain(..))
}
