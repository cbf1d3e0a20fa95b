//! attach: results that are a function of arguments by rules of the user's. custom_vjp, custom_jvp and implicit functions
//! are built on it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use mlgrad_core::ops::CustomRule;
use mlgrad_core::tape::{NodeId, shape};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyFloat;

use super::callable::check_callable;
use super::session::Session;
use crate::array::{Array, Kind};
use crate::error::OrRaise;
use crate::grave::Buried;
use crate::trace::{Trace, meta};
use crate::tree::Tree;

/// A leaf of the arguments.
pub enum Leaf {
    /// An Array: an argument for derivatives.
    Traced(Kind),
    /// Anything else reaches the rules as it is.
    Fixed(Py<PyAny>),
}

/// The rules of one call of a function, as Python has them.
pub struct Rule {
    pub name: String,
    pub args: Tree,
    pub leaves: Vec<Leaf>,
    pub outs: Tree,
    pub out_kinds: Vec<Kind>,
    vjp: Option<Py<PyAny>>,
    jvp: Option<Py<PyAny>>,
}

/// A rule on the tape. Its Python objects are let go where no lock is held.
pub struct OnTape {
    name: String,
    has: (bool, bool),
    pub rule: Buried<Rule>,
}

impl fmt::Debug for OnTape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule of {}", self.name)
    }
}

impl CustomRule for OnTape {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_vjp(&self) -> bool {
        self.has.0
    }

    fn has_jvp(&self) -> bool {
        self.has.1
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `outs` as a function of `args`, whose derivative is what the rules say: vjp(args, outs, cotangents) gives the cotangents of
/// args, jvp(args, outs, tangents) the tangents of outs. With `since` (a place on the tape), derivatives with respect to what
/// the outs were computed from besides args are refused.
#[pyfunction]
#[pyo3(signature = (outs, args, vjp = None, jvp = None, *, name = None, since = None))]
fn attach(
    py: Python<'_>,
    outs: &Bound<'_, PyAny>,
    args: &Bound<'_, PyAny>,
    vjp: Option<Py<PyAny>>,
    jvp: Option<Py<PyAny>>,
    name: Option<String>,
    since: Option<usize>,
) -> PyResult<Py<PyAny>> {
    let rule = vjp.as_ref().or(jvp.as_ref());
    let Some(rule) = rule else {
        return Err(PyTypeError::new_err("attach: give a rule: vjp, jvp, or both"));
    };
    for f in vjp.iter().chain(&jvp) {
        check_callable("attach", f.bind(py))?;
    }
    let name = name.unwrap_or_else(|| super::callable::describe(rule.bind(py)));
    let mut leaves = Vec::new();
    let args_tree = Tree::flatten(args, &mut leaves)?;
    let first = leaves.iter().find_map(|l| l.cast_exact::<Array>().ok()).map(|a| a.get().trace().clone());
    let Some(trace) = first else { return Ok(outs.clone().unbind()) };
    let mut arg_nodes = Vec::new();
    let mut arg_leaves = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        arg_leaves.push(match leaf.cast_exact::<Array>() {
            Ok(a) => {
                a.get().check_trace(&trace)?;
                arg_nodes.push(a.get().node(py)?);
                Leaf::Traced(a.get().kind)
            }
            Err(_) => Leaf::Fixed(leaf.unbind()),
        });
    }
    let session = Session::on(&trace);
    let mut leaves = Vec::new();
    let outs_tree = Tree::flatten(outs, &mut leaves)?;
    let (mut out_nodes, mut out_kinds) = (Vec::new(), Vec::new());
    for leaf in &leaves {
        let node = session.node(py, &name, leaf)?;
        let kind = match leaf.cast_exact::<Array>() {
            Ok(a) => a.get().kind,
            Err(_) => Kind::of(&meta(&*trace.lock()?, node).0),
        };
        out_nodes.push(node);
        out_kinds.push(kind);
    }
    let tree = outs_tree.clone_ref(py);
    let kinds = out_kinds.clone();
    let has = (vjp.is_some(), jvp.is_some());
    let rule = Rule { name: name.clone(), args: args_tree, leaves: arg_leaves, outs: outs_tree, out_kinds, vjp, jvp };
    let rule = Arc::new(OnTape { name, has, rule: Buried::new(rule) });
    let results = {
        let mut state = trace.lock()?;
        let t = &mut state.tape;
        let captured = since.map_or_else(Vec::new, |s| t.captured(&out_nodes, &arg_nodes, s));
        t.attach(rule, &out_nodes, &arg_nodes, &captured)
    }
    .or_raise(py)?;
    let handles = handles(py, &trace, &results, &kinds)?;
    tree.unflatten(py, &mut handles.into_iter())
}

/// What a call of a custom function begins with: the end of the tape, for `since`, and the arguments twice, for the function
/// and for `attach`: as fresh aliases, so that a use of the same Array from a closure can be told apart, and with handles of
/// their own, so that what is written to them is not seen outside. `None` where no tape is open.
#[pyfunction]
fn begin_call(py: Python<'_>, args: &Bound<'_, PyAny>) -> PyResult<Option<(usize, Py<PyAny>, Py<PyAny>)>> {
    let Some(trace) = Trace::current() else { return Ok(None) };
    let mut leaves = Vec::new();
    let tree = Tree::flatten(args, &mut leaves)?;
    let (mut own, mut kept) = (Vec::with_capacity(leaves.len()), Vec::with_capacity(leaves.len()));
    for leaf in leaves {
        let Ok(a) = leaf.cast_exact::<Array>() else {
            own.push(leaf.clone().unbind());
            kept.push(leaf.unbind());
            continue;
        };
        let (a, node) = (a.get(), a.get().node(py)?);
        let alias = a.trace().lock()?.tape.alias(node);
        let alias = alias.or_raise(py)?;
        own.push(Array::wrap_as(py, a.trace(), alias, a.kind)?.into_any());
        kept.push(Array::wrap_as(py, a.trace(), alias, a.kind)?.into_any());
    }
    let place = trace.access().tape.len();
    let built = |leaves: Vec<Py<PyAny>>| tree.unflatten(py, &mut leaves.into_iter());
    Ok(Some((place, built(own)?, built(kept)?)))
}

/// Whether an Array shows what it showed when it was made: nothing was written to it.
#[pyfunction]
fn is_unwritten(x: &Bound<'_, PyAny>) -> bool {
    x.cast_exact::<Array>().map_or(true, |a| a.get().is_unwritten())
}

fn handles(py: Python<'_>, trace: &Arc<Trace>, nodes: &[NodeId], kinds: &[Kind]) -> PyResult<Vec<Py<PyAny>>> {
    nodes.iter().zip(kinds).map(|(&n, &k)| Ok(Array::wrap_as(py, trace, n, k)?.into_any())).collect()
}

impl Rule {
    /// The arguments as the rules get them, with `traced` for the Arrays among them.
    fn arguments(&self, py: Python<'_>, trace: &Arc<Trace>, traced: &[NodeId]) -> PyResult<Py<PyAny>> {
        let mut traced = traced.iter();
        let mut leaves = Vec::with_capacity(self.leaves.len());
        for leaf in &self.leaves {
            leaves.push(match leaf {
                Leaf::Fixed(o) => o.clone_ref(py),
                Leaf::Traced(kind) => match traced.next() {
                    Some(&n) => Array::wrap_as(py, trace, n, *kind)?.into_any(),
                    None => py.None(),
                },
            });
        }
        self.args.unflatten(py, &mut leaves.into_iter())
    }

    /// One seed a leaf; `None` for integers.
    fn seeds(&self, py: Python<'_>, trace: &Arc<Trace>, seeds: &[NodeId], vjp: bool) -> PyResult<Py<PyAny>> {
        let seed = |n: NodeId, kind: Kind| -> PyResult<Py<PyAny>> {
            let (_, dtype) = meta(&*trace.lock()?, n);
            if dtype.is_inexact() { Ok(Array::wrap_as(py, trace, n, kind)?.into_any()) } else { Ok(py.None()) }
        };
        if vjp {
            let leaves: Vec<_> =
                seeds.iter().zip(&self.out_kinds).map(|(&n, &k)| seed(n, k)).collect::<PyResult<_>>()?;
            return self.outs.unflatten(py, &mut leaves.into_iter());
        }
        let mut seeds = seeds.iter();
        let mut leaves = Vec::with_capacity(self.leaves.len());
        for leaf in &self.leaves {
            leaves.push(match leaf {
                Leaf::Fixed(o) => constant_tangent(o.bind(py))?,
                Leaf::Traced(kind) => match seeds.next() {
                    Some(&n) => seed(n, *kind)?,
                    None => py.None(),
                },
            });
        }
        self.args.unflatten(py, &mut leaves.into_iter())
    }

    /// Calls the rule: what it gives for each traced argument (vjp), or for each result.
    pub fn call(
        &self,
        py: Python<'_>,
        trace: &Arc<Trace>,
        vjp: bool,
        args: &[NodeId],
        outs: &[NodeId],
        seeds: &[NodeId],
    ) -> PyResult<Vec<Option<NodeId>>> {
        let Some(f) = (if vjp { &self.vjp } else { &self.jvp }) else {
            return Err(PyTypeError::new_err(format!("{} has no rule for this mode", self.name)));
        };
        let outs_given = handles(py, trace, outs, &self.out_kinds)?;
        let outs_given = self.outs.unflatten(py, &mut outs_given.into_iter())?;
        let given = (self.arguments(py, trace, args)?, outs_given, self.seeds(py, trace, seeds, vjp)?);
        let returned = f.bind(py).call1(given)?;
        let (tree, what) = if vjp { (&self.args, "cotangent of argument") } else { (&self.outs, "tangent of result") };
        let mut parts = Vec::new();
        if let Err((path, misfit)) = tree.parts_of(&returned, &mut parts)? {
            return Err(PyTypeError::new_err(format!(
                "the rule of {} returned a {} of the wrong structure{}{path}: {misfit} (* is an array, and None may stand \
                 for a part without derivative)",
                self.name,
                if vjp { "tree of cotangents" } else { "tree of tangents" },
                if path.is_empty() { "" } else { " at " },
            )));
        }
        let paths = tree.paths(py);
        let session = Session::on(trace);
        let is_traced = |k: usize| !vjp || matches!(self.leaves[k], Leaf::Traced(_));
        let mut like = if vjp { args.iter() } else { outs.iter() };
        let mut found = Vec::new();
        for (k, part) in parts.into_iter().enumerate() {
            if !is_traced(k) {
                continue;
            }
            let (Some(part), Some(&like)) = (part, like.next()) else {
                found.push(None);
                continue;
            };
            let (want, dtype) = meta(&*trace.lock()?, like);
            if !dtype.is_inexact() {
                found.push(None);
                continue;
            }
            let path = &paths[k];
            let what = if path.is_empty() {
                what.split(" of").next().unwrap_or(what).into()
            } else {
                format!("{what} {path}")
            };
            let x = session.node(py, &format!("the rule of {}: the {what}", self.name), &part)?;
            let x = {
                let mut state = trace.lock()?;
                let (got, from) = meta(&state, x);
                if got != want || from.is_complex() {
                    drop(state);
                    return Err(PyValueError::new_err(format!(
                        "the rule of {}: the {what} is {from}{}, but it must have the shape of what it belongs to, {dtype}{}",
                        self.name,
                        shape::show(&got),
                        shape::show(&want)
                    )));
                }
                state.tape.cast(x, dtype)
            }
            .or_raise(py)?;
            found.push(Some(x));
        }
        Ok(found)
    }
}

/// The tangent of an argument that is no Array: zero where it is a number.
fn constant_tangent(o: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = o.py();
    if o.is_instance_of::<PyFloat>() {
        return Ok(PyFloat::new(py, 0.0).into_any().unbind());
    }
    if let Ok(a) = o.cast::<PyUntypedArray>() {
        use numpy::PyUntypedArrayMethods;
        let float = a.dtype().getattr(intern!(py, "kind"))?.extract::<String>()? == "f";
        let numpy = py.import("numpy")?;
        let zeros = if float {
            numpy.call_method1(intern!(py, "zeros_like"), (a,))?
        } else {
            numpy.call_method1(intern!(py, "zeros"), (a.getattr(intern!(py, "shape"))?,))?
        };
        return Ok(zeros.unbind());
    }
    if o.is_instance_of::<pyo3::types::PyInt>() {
        return Ok(PyFloat::new(py, 0.0).into_any().unbind());
    }
    Ok(py.None())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(attach, m)?)?;
    m.add_function(wrap_pyfunction!(begin_call, m)?)?;
    m.add_function(wrap_pyfunction!(is_unwritten, m)?)
}
