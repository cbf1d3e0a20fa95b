//! A function that was recorded once and is walked any number of times: what vjp and linearize give back.

use std::sync::Arc;

use mlgrad_core::tape::{NodeId, shape};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::callable::check_callable;
use super::host::run_pending;
use super::session::{Leaves, Session, any_array, copy_any};
use super::walks;
use crate::array::Array;
use crate::convert;
use crate::error::OrRaise;
use crate::trace::{Trace, known, meta};

pub struct Recorded {
    what: &'static str,
    pub trace: Arc<Trace>,
    outermost: bool,
    pub arguments: Vec<Leaves>,
    pub result: Leaves,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.outermost {
            self.trace.close();
        }
    }
}

/// What the function returned, as the caller gets it, with the auxiliary results where it has them.
pub struct Returned {
    pub value: Py<PyAny>,
    pub aux: Option<Py<PyAny>>,
}

impl Recorded {
    /// Calls `f` and keeps its tape, to be walked in reverse or forward.
    pub fn new(
        what: &'static str,
        f: &Bound<'_, PyAny>,
        primals: &Bound<'_, PyTuple>,
        has_aux: bool,
        reverse: bool,
    ) -> PyResult<(Recorded, Returned)> {
        let py = f.py();
        check_callable(what, f)?;
        let mut session = Session::enter();
        let (mut arguments, mut args) = (Vec::new(), Vec::new());
        for (k, p) in primals.iter().enumerate() {
            let (leaves, argument) = session.argument(what, format_args!("primal {k}"), &p)?;
            arguments.push(leaves);
            args.push(argument);
        }
        let returned = f.call1(PyTuple::new(py, args)?)?;
        let (out, aux) = if has_aux {
            match returned.cast::<PyTuple>() {
                Ok(t) if t.len() == 2 => (t.get_item(0)?, Some(t.get_item(1)?)),
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "{what}: with has_aux=True the function must return (out, aux), but it returned {}",
                        returned.get_type().name()?
                    )));
                }
            }
        } else {
            (returned, None)
        };
        let result = session.result(what, &out)?;
        let aux = aux.map(|a| session.result(what, &a)).transpose()?;
        let wanted: Vec<NodeId> = result.nodes.iter().chain(aux.iter().flat_map(|a| &a.nodes)).copied().collect();
        let leaves = if session.outermost {
            // rules of custom operations are Python's: they are recorded while its Arrays live
            let aliases: Vec<NodeId> = arguments.iter().flat_map(|a: &Leaves| a.nodes.iter().copied()).collect();
            walks::prepare(py, &session.trace, &aliases, &result.nodes, reverse)?;
            // intermediate results stay for the walks
            session.trace.evaluate(py, &wanted)?;
            session.export(py, &wanted)?
        } else {
            let arrays = any_array(primals, None)?;
            session.deliver(py, &wanted, arrays)?
        };
        let mut leaves = leaves.into_iter();
        let value = result.tree.unflatten(py, &mut leaves)?;
        let aux = aux.map(|a| a.tree.unflatten(py, &mut leaves)).transpose()?;
        if session.outermost {
            session.keep();
            session.trace.seal();
        }
        let recorded = Recorded { what, trace: session.trace.clone(), outermost: session.outermost, arguments, result };
        Ok((recorded, Returned { value, aux }))
    }

    /// The aliases of all arguments.
    pub fn aliases(&self) -> Vec<NodeId> {
        self.arguments.iter().flat_map(|a| a.nodes.iter().copied()).collect()
    }

    /// A leaf of a cotangent or tangent as a node like `like`.
    pub fn seed(&self, py: Python<'_>, name: &str, leaf: &Bound<'_, PyAny>, like: NodeId) -> PyResult<NodeId> {
        let what = self.what;
        let (want, dtype) = meta(&self.trace.access(), like);
        let given = match leaf.cast::<Array>() {
            Ok(a) if Arc::ptr_eq(a.get().trace(), &self.trace) => a.get().node(py)?,
            Ok(_) => {
                return Err(PyTypeError::new_err(format!(
                    "{what}: the {name} is an Array of a transform that this {what} is not part of; call {what} inside that \
                     transform"
                )));
            }
            Err(_) => {
                let (value, shape, dtype) = copy_any(py, leaf)?;
                self.trace.access().tape.param(value, shape, dtype).or_raise(py)?
            }
        };
        let mut state = self.trace.access();
        let t = &mut state.tape;
        if *t.shape(given) != want {
            return Err(PyValueError::new_err(format!(
                "{what}: the {name} has shape {}, but what it belongs to has shape {}",
                shape::show(t.shape(given)),
                shape::show(&want)
            )));
        }
        if t.dtype(given).is_complex() {
            return Err(PyTypeError::new_err(format!(
                "{what}: the {name} has dtype {}; give a real one",
                t.dtype(given)
            )));
        }
        t.cast(given, dtype).or_raise(py)
    }

    /// Where this is the outermost transform, and one of these leaves is an Array of another trace: that trace.
    pub fn visitor(&self, leaves: &[Bound<'_, PyAny>]) -> Option<Arc<Trace>> {
        let other = leaves.iter().filter_map(|l| l.cast_exact::<Array>().ok()).map(|a| a.get().trace().clone());
        other.filter(|_| self.outermost).find(|t| !Arc::ptr_eq(t, &self.trace))
    }

    /// A walk whose seeds (like `like`) are of another trace: it is done here from abstract seeds, and planted there.
    #[expect(clippy::too_many_arguments, reason = "one call of a recorded function")]
    pub fn walk_for(
        &self,
        py: Python<'_>,
        visitor: &Arc<Trace>,
        name: &str,
        leaves: &[Bound<'_, PyAny>],
        like: &[NodeId],
        mark: usize,
        walk: impl FnOnce(&[NodeId]) -> PyResult<Vec<NodeId>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let session = Session::on(visitor);
        let what = self.what;
        let mut seeds = Vec::with_capacity(like.len());
        for (leaf, &like) in leaves.iter().zip(like) {
            let x = session.node(py, what, leaf)?;
            let (want, dtype) = meta(&self.trace.access(), like);
            let mut state = visitor.lock()?;
            let got = state.tape.shape(x).clone();
            if got != want {
                drop(state);
                return Err(PyValueError::new_err(format!(
                    "{what}: the {name} has shape {}, but what it belongs to has shape {}",
                    shape::show(&got),
                    shape::show(&want)
                )));
            }
            let x = state.tape.cast(x, dtype);
            drop(state);
            seeds.push(x.or_raise(py)?);
        }
        let abstracts: mlgrad_core::Result<Vec<NodeId>> = {
            let t = &mut self.trace.access().tape;
            let scope = t.open_scope();
            like.iter()
                .map(|&x| {
                    let (shape, dtype) = (t.shape(x).clone(), t.dtype(x));
                    t.abstract_param(scope, shape, dtype)
                })
                .collect()
        };
        let abstracts = abstracts.or_raise(py)?;
        let found = walk(&abstracts)?;
        let cutting = {
            let t = &mut self.trace.access().tape;
            let cutting = t.cutting(&found, &abstracts);
            // nobody refers to what the walk has recorded
            t.truncate(mark);
            cutting
        };
        let planted = visitor.lock()?.tape.plant(cutting, abstracts.into_iter().zip(seeds));
        let planted = planted.or_raise(py)?;
        run_pending(py, visitor)?;
        planted.iter().map(|&n| Ok(Array::wrap(py, visitor, n)?.into_any())).collect()
    }

    /// Where the tape ends before a walk.
    pub fn mark(&self) -> PyResult<usize> {
        let state = self.trace.access();
        if state.over {
            return Err(PyRuntimeError::new_err(format!(
                "the function that {} returned is used after the transform around it has returned; use it inside, or return its \
                 results",
                self.what
            )));
        }
        Ok(state.tape.len())
    }

    /// What a walk that began at `mark` has found, as the caller gets it.
    pub fn deliver(&self, py: Python<'_>, found: &[NodeId], mark: usize) -> PyResult<Vec<Py<PyAny>>> {
        if !self.outermost {
            return found.iter().map(|&n| Ok(Array::wrap(py, &self.trace, n)?.into_any())).collect();
        }
        let out = self.trace.finish(py, found).and_then(|()| {
            found
                .iter()
                .map(|&n| {
                    let (value, (shape, dtype)) = {
                        let state = self.trace.access();
                        (state.tape.node(n).value.clone(), meta(&state, n))
                    };
                    convert::export(py, known(value)?, &shape, dtype)
                })
                .collect::<PyResult<Vec<_>>>()
        });
        // nobody refers to what the walk has recorded
        self.trace.access().tape.truncate(mark);
        out
    }

    /// Tapes stay in their process.
    pub fn refuse_pickle(&self) -> PyErr {
        PyTypeError::new_err(format!(
            "the function that {} returns holds a tape and cannot be pickled; pickle the function and its arguments",
            self.what
        ))
    }
}
