//! cond and switch: one of several functions, by a value that is known only when the plan runs. And checkpoint, whose one
//! function runs again for its derivative.

use mlgrad_core::ops::control::Body;
use mlgrad_core::tape::{DType, NodeId};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::record::{Recording, Slot, Slots, at_least_one, deliver, scalar, slot, union};
use crate::array::Array;
use crate::convert;
use crate::error::OrRaise;
use crate::trace::Trace;
use crate::transform::callable::check_callable;
use crate::transform::host::run_pending;
use crate::transform::session::Session;
use crate::tree::Tree;

/// `branches[index](*operands)`; with `what` "cond" the index is a bool, and the branches are false and true.
#[pyfunction]
fn switch<'py>(
    py: Python<'py>,
    what: &str,
    index: &Bound<'py, PyAny>,
    branches: Vec<Bound<'py, PyAny>>,
    operands: &Bound<'py, PyTuple>,
) -> PyResult<Py<PyAny>> {
    for f in &branches {
        check_callable(what, f)?;
    }
    if branches.is_empty() {
        return Err(PyValueError::new_err("switch: there are no branches; give at least one function"));
    }
    let mut session = Session::enter();
    let choice = slot(py, &session.trace, convert::lift(py, &session.trace, index)?)?;
    let name = if what == "cond" { "pred" } else { "index" };
    scalar(what, name, &choice)?;
    if what != "cond" && !choice.dtype.is_integer() {
        return Err(PyTypeError::new_err(format!(
            "switch: index must be an integer, got {}; use astype(int), or cond for a bool",
            choice.dtype
        )));
    }
    // leaves that are no numbers reach the functions as they are
    let mut leaves = Vec::new();
    let tree = Tree::flatten(operands.as_any(), &mut leaves)?;
    let mut slots: Vec<Option<Slot>> = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        slots.push(match convert::try_lift(py, &session.trace, leaf)? {
            Some(operand) => Some(slot(py, &session.trace, operand)?),
            None => None,
        });
    }
    let numeric: Vec<Slot> = slots.iter().flatten().cloned().collect();
    let mut recorded: Vec<(Recording, Slots)> = Vec::with_capacity(branches.len());
    for f in &branches {
        let mut recording = Recording::open(&session, true)?;
        let mut handles = recording.arguments(py, &numeric)?.into_iter();
        let mut args = Vec::with_capacity(leaves.len());
        for (leaf, s) in leaves.iter().zip(&slots) {
            args.push(match s {
                Some(_) => handles.next().ok_or_else(|| PyTypeError::new_err("switch: too few arguments"))?,
                None => leaf.clone().unbind(),
            });
        }
        let args = tree.unflatten(py, &mut args.into_iter())?.into_bound(py).cast_into::<PyTuple>()?;
        let returned = f.call1(args)?;
        let out = Slots::of(&session, &format!("{what}: the result of a branch"), &returned)?;
        recording.finish();
        recorded.push((recording, out));
    }
    agree(py, what, &session, &mut recorded)?;
    let effects = recorded.iter().any(|(r, _)| r.has_effects());
    let mut outputs: Vec<Vec<NodeId>> = Vec::with_capacity(recorded.len());
    for (_, out) in &recorded {
        let mut nodes = out.list.iter().map(|s| s.node).collect();
        at_least_one(&mut session.trace.lock()?.tape, &mut nodes, effects).or_raise(py)?;
        outputs.push(nodes);
    }
    let (bodies, captures) = {
        let state = session.trace.lock()?;
        let t = &state.tape;
        let each = || recorded.iter().zip(&outputs).map(|((r, _), o)| (r, o));
        let captures = union(each().map(|(r, o)| r.captures(t, o)).collect::<Result<_, _>>().or_raise(py)?);
        let bodies: Vec<Body> = each().map(|(r, o)| r.body(t, &captures, o)).collect::<Result<_, _>>().or_raise(py)?;
        (bodies, captures)
    };
    let Some((_, Slots { tree, list })) = recorded.pop() else {
        return Err(PyValueError::new_err("switch: there are no branches"));
    };
    // closes their scopes: what has escaped from one is found out below
    drop(recorded);
    let results = {
        let mut state = session.trace.lock()?;
        let t = &mut state.tape;
        let mut index = None;
        if bodies.len() > 1 {
            let x = t.cast(choice.node, if what == "cond" { DType::Bool } else { DType::I64 }).or_raise(py)?;
            index = Some(t.cast(x, DType::I64).or_raise(py)?);
        }
        let args: Vec<NodeId> = captures.into_iter().chain(numeric.iter().map(|s| s.node)).collect();
        t.branch(bodies, index, &args).or_raise(py)?
    };
    run_pending(py, &session.trace)?;
    tree.unflatten(py, &mut deliver(&mut session, py, &results[..list.len()])?.into_iter())
}

/// All branches must give the same structure, shapes and dtypes; Python numbers adapt.
fn agree(py: Python<'_>, what: &str, session: &Session, recorded: &mut [(Recording, Slots)]) -> PyResult<()> {
    let name = |k: usize| match (what, k) {
        ("cond", 0) => "false_fun".to_string(),
        ("cond", _) => "true_fun".to_string(),
        _ => format!("branch {k}"),
    };
    let Some((first, rest)) = recorded.split_first() else { return Ok(()) };
    for (k, (_, other)) in rest.iter().enumerate() {
        if !first.1.tree.same(py, &other.tree)? {
            return Err(PyTypeError::new_err(format!(
                "{what}: the branches must return the same structure, but {} returns {} and {} returns {}",
                name(0),
                first.1.tree.show(py),
                name(k + 1),
                other.tree.show(py)
            )));
        }
    }
    for i in 0..first.1.list.len() {
        let strong = recorded.iter().map(|r| &r.1.list[i]).find(|s| !s.weak);
        let float = recorded.iter().map(|r| &r.1.list[i]).find(|s| s.dtype.is_float());
        let Some(model) = strong.or(float).or(recorded.first().map(|r| &r.1.list[i])).cloned() else { continue };
        for k in 0..recorded.len() {
            let s = recorded[k].1.list[i].clone();
            let adapts = s.weak && (model.dtype.is_float() || model.dtype.is_integer() && s.dtype.is_integer());
            if s.shape != model.shape || s.dtype != model.dtype && !adapts {
                let at = recorded[k].1.tree.paths(py).swap_remove(i);
                let from = recorded.iter().position(|r| r.1.list[i].node == model.node).unwrap_or(0);
                return Err(PyTypeError::new_err(format!(
                    "{what}: the branches must return the same shapes and dtypes, but result{at} of {} is {} and that of {} is \
                     {}; use astype, np.broadcast_to or reshape in one of them",
                    name(from),
                    model.show(),
                    name(k),
                    s.show()
                )));
            }
            let node = session.trace.lock()?.tape.cast(s.node, model.dtype).or_raise(py)?;
            recorded[k].1.list[i].node = node;
        }
    }
    Ok(())
}

/// `f(*args, **kwargs)` as one operation that keeps nothing but the Arrays that it takes.
#[pyfunction]
#[pyo3(signature = (f, args, kwargs))]
fn checkpointed<'py>(
    py: Python<'py>,
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Py<PyAny>> {
    check_callable("checkpoint", f)?;
    if Trace::current().is_none() {
        return Ok(f.call(args, Some(kwargs))?.unbind());
    }
    let mut session = Session::enter();
    let mut leaves = Vec::new();
    let args_tree = Tree::flatten(args.as_any(), &mut leaves)?;
    let kwargs_tree = Tree::flatten(kwargs.as_any(), &mut leaves)?;
    let mut slots = Vec::new();
    for leaf in &leaves {
        if leaf.is_instance_of::<Array>() {
            slots.push(slot(py, &session.trace, convert::lift(py, &session.trace, leaf)?)?);
        }
    }
    let mut recording = Recording::open(&session, true)?;
    let mut handles = recording.arguments(py, &slots)?.into_iter();
    let mut inner = leaves.iter().map(|leaf| match leaf.is_instance_of::<Array>() {
        true => handles.next().unwrap_or_else(|| leaf.clone().unbind()),
        false => leaf.clone().unbind(),
    });
    let args = args_tree.unflatten(py, &mut inner)?.into_bound(py).cast_into::<PyTuple>()?;
    let kwargs = kwargs_tree.unflatten(py, &mut inner)?.into_bound(py).cast_into::<PyDict>()?;
    let returned = f.call(args, Some(&kwargs))?;
    let out = Slots::of(&session, "checkpoint: the result", &returned)?;
    recording.finish();
    let mut outputs: Vec<NodeId> = out.list.iter().map(|s| s.node).collect();
    at_least_one(&mut session.trace.lock()?.tape, &mut outputs, recording.has_effects()).or_raise(py)?;
    let (body, captures) = {
        let state = session.trace.lock()?;
        let captures = recording.captures(&state.tape, &outputs).or_raise(py)?;
        (recording.body(&state.tape, &captures, &outputs).or_raise(py)?, captures)
    };
    drop(recording);
    let args: Vec<NodeId> = captures.into_iter().chain(slots.iter().map(|s| s.node)).collect();
    let results = session.trace.lock()?.tape.branch(vec![body], None, &args).or_raise(py)?;
    run_pending(py, &session.trace)?;
    out.tree.unflatten(py, &mut deliver(&mut session, py, &results[..out.list.len()])?.into_iter())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(switch, m)?)?;
    m.add_function(wrap_pyfunction!(checkpointed, m)?)
}
