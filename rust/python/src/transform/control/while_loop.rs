//! while_loop: a body run as long as a condition on the carry holds.

use mlgrad_core::ops::control::{Stage, While};
use mlgrad_core::tape::{DType, NodeId};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::record::{Recording, Slots, deliver, scalar, step, union};
use crate::error::OrRaise;
use crate::transform::callable::check_callable;
use crate::transform::host::run_pending;
use crate::transform::session::Session;

#[pyfunction]
fn while_loop<'py>(
    py: Python<'py>,
    condition: &Bound<'py, PyAny>,
    body: &Bound<'py, PyAny>,
    init: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    check_callable("while_loop", condition)?;
    check_callable("while_loop", body)?;
    let mut session = Session::enter();
    let mut carry = Slots::of(&session, "while_loop: init", init)?;
    let stepped =
        step(&session, py, "while_loop", &mut carry, &[], &|carry, _| Ok((body.call1((carry,))?.unbind(), py.None())))?;
    let mut asked = Recording::open(&session, false)?;
    let handles = asked.arguments(py, &carry.list)?;
    let returned = condition.call1((carry.tree.unflatten(py, &mut handles.into_iter())?,))?;
    let answer = Slots::of(&session, "while_loop: the result of cond_fun", &returned)?;
    let [answer] = &answer.list[..] else {
        return Err(PyTypeError::new_err(format!(
            "while_loop: cond_fun must return one bool, but it returned {}",
            returned.get_type().name()?
        )));
    };
    scalar("while_loop", "the result of cond_fun", answer)?;
    if answer.dtype != DType::Bool {
        return Err(PyTypeError::new_err(format!(
            "while_loop: cond_fun must return a bool, but its result has dtype {}; compare it with something",
            answer.dtype
        )));
    }
    asked.finish();
    let (condition, body, captures) = {
        let state = session.trace.lock()?;
        let t = &state.tape;
        let captures = union(vec![
            stepped.recording.captures(t, &stepped.carries).or_raise(py)?,
            asked.captures(t, &[answer.node]).or_raise(py)?,
        ]);
        let condition = asked.body(t, &captures, &[answer.node]).or_raise(py)?;
        (condition, stepped.recording.body(t, &captures, &stepped.carries).or_raise(py)?, captures)
    };
    drop(asked);
    drop(stepped);
    let results = {
        let mut state = session.trace.lock()?;
        let stages = vec![Stage { body, reverse: false, reads: Vec::new() }];
        let op = While { condition, consts: captures.len(), stages };
        let inputs: Vec<NodeId> = captures.into_iter().chain(carry.list.iter().map(|s| s.node)).collect();
        state.tape.push_tuple(op.into(), &inputs).or_raise(py)?.1
    };
    run_pending(py, &session.trace)?;
    let out = deliver(&mut session, py, &results)?;
    carry.tree.unflatten(py, &mut out.into_iter())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(while_loop, m)?)
}
