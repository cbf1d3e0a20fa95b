//! scan: a body run over the slices of arrays, with a carry.

use mlgrad_core::ops::control::For;
use mlgrad_core::tape::{NodeId, Shape, shape};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::record::{Slot, Slots, at_least_one, deliver, pair, step};
use crate::error::OrRaise;
use crate::transform::callable::check_callable;
use crate::transform::host::run_pending;
use crate::transform::session::Session;

#[pyfunction]
#[pyo3(signature = (what, f, init, xs, length, reverse))]
fn scan<'py>(
    py: Python<'py>,
    what: &str,
    f: &Bound<'py, PyAny>,
    init: &Bound<'py, PyAny>,
    xs: &Bound<'py, PyAny>,
    length: Option<usize>,
    reverse: bool,
) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    check_callable(what, f)?;
    let mut session = Session::enter();
    let mut carry = Slots::of(&session, &format!("{what}: init"), init)?;
    let xs = Slots::of(&session, &format!("{what}: xs"), xs)?;
    let mut steps = length;
    for (k, x) in xs.list.iter().enumerate() {
        let at = || xs.tree.paths(py).swap_remove(k);
        let Some(&n) = x.shape.first() else {
            return Err(PyValueError::new_err(format!(
                "{what}: xs{} is a scalar and has no axis to run over; pass an array, or let the body take it from outside",
                at()
            )));
        };
        match steps {
            None => steps = Some(n),
            Some(m) if m == n => {}
            Some(m) => {
                return Err(PyValueError::new_err(format!(
                    "{what}: xs{} has shape {}, but the number of steps is {m} (by {}); the first axes of all xs must be equal",
                    at(),
                    shape::show(&x.shape),
                    if length.is_some() { "length" } else { "the xs before it" }
                )));
            }
        }
    }
    let Some(steps) = steps else {
        return Err(PyValueError::new_err(format!("{what}: xs has no arrays; say the number of steps with length")));
    };
    let slices: Vec<Slot> =
        xs.list.iter().map(|x| Slot { shape: Shape::from_slice(&x.shape[1..]), weak: false, ..x.clone() }).collect();
    let stepped = step(&session, py, what, &mut carry, &slices, &|carry, slices| {
        let x = xs.tree.unflatten(py, &mut slices.into_iter())?;
        let returned = f.call1((carry, x))?;
        let (carry, y) = pair(what, &returned)?;
        Ok((carry.unbind(), y.unbind()))
    })?;
    let mut outputs = stepped.carries.clone();
    outputs.extend(stepped.extra.list.iter().map(|s| s.node));
    let count = outputs.len();
    at_least_one(&mut session.trace.lock()?.tape, &mut outputs, stepped.recording.has_effects()).or_raise(py)?;
    let (body, captures) = {
        let state = session.trace.lock()?;
        let captures = stepped.recording.captures(&state.tape, &outputs).or_raise(py)?;
        (stepped.recording.body(&state.tape, &captures, &outputs).or_raise(py)?, captures)
    };
    let (ys, carries) = (stepped.extra.tree, stepped.carries.len());
    drop(stepped.recording);
    let results = {
        let mut state = session.trace.lock()?;
        let op = For { body, length: steps, reverse, consts: captures.len(), carries };
        let inputs: Vec<NodeId> =
            captures.into_iter().chain(carry.list.iter().chain(&xs.list).map(|s| s.node)).collect();
        let mut results = state.tape.push_tuple(op.into(), &inputs).or_raise(py)?.1;
        // the history is for derivatives
        results.truncate(count);
        results
    };
    run_pending(py, &session.trace)?;
    let mut out = deliver(&mut session, py, &results)?.into_iter();
    Ok((carry.tree.unflatten(py, &mut out)?, ys.unflatten(py, &mut out)?))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(scan, m)?)
}
