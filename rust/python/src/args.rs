//! NumPy's kinds of argument: axes, shapes, and keywords that are accepted only with their default.

use mlgrad_core::tape::{NodeId, Shape};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use smallvec::SmallVec;
use std::sync::Arc;

use crate::array::{Array, record};
use crate::trace::Trace;

pub type Any<'py> = Bound<'py, PyAny>;
/// Axes as they were given: maybe negative, in any order.
pub type Given = SmallVec<[i64; 4]>;

/// An integer, or what has `__index__`.
pub fn integer(what: &str, object: &Any<'_>) -> PyResult<i64> {
    object.extract::<i64>().map_err(|e| {
        if e.is_instance_of::<PyTypeError>(object.py()) {
            let kind = object.get_type().name().map(|n| n.to_string()).unwrap_or_default();
            PyTypeError::new_err(format!("{what} must be an integer, got {kind}"))
        } else {
            e
        }
    })
}

/// One integer or a sequence of them.
pub fn integers(what: &str, object: &Any<'_>) -> PyResult<Given> {
    if object.is_instance_of::<PyTuple>() || object.is_instance_of::<PyList>() {
        return object.try_iter()?.map(|x| integer(what, &x?)).collect();
    }
    if let Ok(v) = object.extract::<i64>() {
        return Ok(std::iter::once(v).collect());
    }
    match object.try_iter() {
        Ok(items) => items.map(|x| integer(what, &x?)).collect(),
        Err(_) => Ok(std::iter::once(integer(what, object)?).collect()),
    }
}

/// `axis=`: `None` is all of them.
pub fn axes(object: Option<&Any<'_>>) -> PyResult<Option<Given>> {
    object.filter(|o| !o.is_none()).map(|o| integers("axis", o)).transpose()
}

/// One axis or `None`.
pub fn axis(object: Option<&Any<'_>>) -> PyResult<Option<i64>> {
    object.filter(|o| !o.is_none()).map(|o| integer("axis", o)).transpose()
}

/// A shape without a length to be found out.
pub fn shape(what: &str, object: &Any<'_>) -> PyResult<Shape> {
    integers("a length", object)?
        .into_iter()
        .map(|d| {
            usize::try_from(d)
                .map_err(|_| PyValueError::new_err(format!("{what}: negative dimensions are not allowed")))
        })
        .collect()
}

/// `order=` where it only says how a copy lies in memory.
pub fn memory_order(what: &str, order: Option<&str>) -> PyResult<()> {
    match order {
        None | Some("C" | "K" | "A") => Ok(()),
        Some(o) => Err(unsupported_order(what, o)),
    }
}

/// `order=` where it says in which order the elements of `a` are taken: C only, under whatever name.
pub fn element_order(what: &str, a: &Array, order: Option<&str>) -> PyResult<()> {
    match order {
        None | Some("C") => Ok(()),
        Some("K" | "A") if a.layout().is_none() => Ok(()),
        Some(o) => Err(unsupported_order(what, o)),
    }
}

fn unsupported_order(what: &str, order: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{what}: order='{order}' is not supported for traced arrays; transpose first, as in {what}(x.T)"
    ))
}

/// Arguments that would change the result and are not supported for traced arrays.
pub fn refuse(what: &str, given: &[(&str, Option<&Any<'_>>)]) -> PyResult<()> {
    match given.iter().find(|(_, v)| v.is_some_and(|v| !v.is_none())) {
        None => Ok(()),
        Some((name, _)) => Err(PyTypeError::new_err(format!(
            "{what}: the argument {name}= is not supported for traced arrays; leave it out"
        ))),
    }
}

/// The trace of the first Array among `objects`, looking into lists and tuples.
pub fn find_trace(objects: &[&Any<'_>]) -> Option<Arc<Trace>> {
    objects.iter().find_map(|o| trace_in(o, 0))
}

fn trace_in(object: &Any<'_>, depth: usize) -> Option<Arc<Trace>> {
    if let Ok(a) = object.cast_exact::<Array>() {
        return Some(a.get().trace().clone());
    }
    if depth > 32 {
        return None;
    }
    if let Ok(items) = object.cast::<PyList>() {
        return items.iter().find_map(|x| trace_in(&x, depth + 1));
    }
    if let Ok(items) = object.cast::<PyTuple>() {
        return items.iter().find_map(|x| trace_in(&x, depth + 1));
    }
    None
}

/// The trace to record on, for a function that was called because one of its arguments is an Array.
pub fn trace_of(what: &str, objects: &[&Any<'_>], kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Arc<Trace>> {
    find_trace(objects)
        .or_else(|| kwargs.and_then(|k| k.iter().find_map(|(_, v)| trace_in(&v, 0))))
        .or_else(Trace::current)
        .ok_or_else(|| {
            PyTypeError::new_err(format!("{what}: none of the arguments is an mlgrad.Array; call NumPy's function"))
        })
}

/// The nodes from `start` on that raise by value, and whose inputs are known at recording: they are to run right away.
pub fn raising(t: &mlgrad_core::tape::Tape, start: usize) -> SmallVec<[NodeId; 2]> {
    use mlgrad_core::ops::{Factor, Gather, Linalg, Op, Project};
    (start..t.len())
        .map(|i| NodeId(i as u32))
        .filter(|&n| {
            t.node(n).scope == 0
                && match t.op(n) {
                    Op::Gather(Gather::CheckIndex { .. })
                    | Op::Linalg(
                        Linalg::Solve
                        | Linalg::SolveSymmetric
                        | Linalg::SolveShifted
                        | Linalg::Inv
                        | Linalg::Cholesky
                        | Linalg::TriangularSolve { .. },
                    ) => true,
                    // one result stands for all
                    Op::Project(Project(0)) => matches!(t.op(t.input(n, 0)), Op::Factor(Factor::Eigh | Factor::Svd)),
                    _ => false,
                }
        })
        .collect()
}

/// `record`, and then what raises by value runs, so that `try: … except LinAlgError:` works in the user's function.
pub fn record_now<R>(
    py: Python<'_>,
    trace: &Trace,
    f: impl FnOnce(&mut crate::trace::State) -> mlgrad_core::Result<R>,
) -> PyResult<R> {
    let (result, nodes) = record(py, trace, |s| {
        let start = s.tape.len();
        let r = f(s)?;
        Ok((r, raising(&s.tape, start)))
    })?;
    if !nodes.is_empty() {
        trace.evaluate(py, &nodes)?;
    }
    Ok(result)
}
