//! Arrays from nested lists of numbers and Arrays: `mlgrad.numpy.array`, and lists as operands.

use std::sync::Arc;

use mlgrad_core::numpy::Operand;
use mlgrad_core::tape::{DType, NodeId, Shape, shape};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::args::{Any, find_trace};
use crate::array::record;
use crate::convert;
use crate::trace::Trace;

/// Deeper than any array has axes.
const MAX_DEPTH: usize = shape::MAX_RANK;

/// What `np.array(object)` would be, as a node. Python numbers count as int64 and float64, as there.
pub fn array(py: Python<'_>, trace: &Arc<Trace>, object: &Any<'_>) -> PyResult<NodeId> {
    nested(py, trace, object, 0)
}

fn nested(py: Python<'_>, trace: &Arc<Trace>, object: &Any<'_>, depth: usize) -> PyResult<NodeId> {
    let items: Vec<Any<'_>> = if let Ok(l) = object.cast::<PyList>() {
        l.iter().collect()
    } else if let Ok(t) = object.cast::<PyTuple>() {
        t.iter().collect()
    } else {
        let x = convert::lift(py, trace, object)?;
        return record(py, trace, |s| x.to_node(&mut s.tape));
    };
    if find_trace(&[object]).is_none() {
        let whole = convert::as_ndarray(object)?;
        let Some(x) = convert::try_lift(py, trace, whole.as_any())? else {
            return Err(PyValueError::new_err("a list that does not make a numeric array"));
        };
        return record(py, trace, |s| x.to_node(&mut s.tape));
    }
    if depth >= MAX_DEPTH {
        return Err(PyValueError::new_err(format!("lists are nested more than {MAX_DEPTH} deep")));
    }
    let mut rows: Vec<Operand> = Vec::with_capacity(items.len());
    for item in &items {
        let is_list = item.is_instance_of::<PyList>() || item.is_instance_of::<PyTuple>();
        rows.push(if is_list { nested(py, trace, item, depth + 1)?.into() } else { convert::lift(py, trace, item)? });
    }
    record(py, trace, |s| {
        let t = &mut s.tape;
        let nodes: Vec<NodeId> = rows.iter().map(|r| r.to_node(t)).collect::<mlgrad_core::Result<_>>()?;
        let dtype = nodes.iter().map(|&n| t.dtype(n)).reduce(DType::promote).unwrap_or(DType::F64);
        let one = t.shape(nodes[0]).clone();
        let mut pieces = Vec::with_capacity(nodes.len());
        for n in nodes {
            if t.shape(n) != &one {
                return Err(mlgrad_core::Error::Value(format!(
                    "setting an array element with a sequence. The items of a list must have one shape, got {} and {}",
                    shape::show(&one),
                    shape::show(t.shape(n))
                )));
            }
            let n = t.cast(n, dtype)?;
            let mut row: Shape = one.clone();
            row.insert(0, 1);
            pieces.push(t.reshape(n, &row)?);
        }
        t.concatenate(&pieces, 0)
    })
}
