//! `recording`: a function's steps as data, and the ordinary derivative walks over parts of them. What explanations, symbolic
//! expressions and gradient flow are made of.

use mlgrad_core::numpy::Operand;
use mlgrad_core::ops::{
    FormKind, Gather, Leaf, Linalg, Movement, Op, Primitive, Project, Scan, Sort, Unary, Window, Windowed,
};
use mlgrad_core::tape::{Inputs, NodeId, Shape, Tape, Value, value};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rustc_hash::FxHashMap;
use std::sync::Arc;

use crate::convert;
use crate::dtypes;
use crate::error::OrRaise;
use crate::trace::{Trace, known, meta};
use crate::transform::{Session, check_callable, copy_any, prepare_walk, reverse_walk, wrap_argument};
use crate::tree::Tree;

/// A function that was recorded: its nodes, and derivatives of parts of it.
#[pyclass(frozen, module = "mlgrad._core")]
pub struct Recording {
    trace: Arc<Trace>,
    /// The positions of the differentiable leaves among all leaves of `(args, kwargs)`, and their nodes.
    arguments: Vec<(usize, NodeId)>,
    outputs: Vec<NodeId>,
    /// The structure of the result, with the numbers of its nodes as leaves.
    returned: Py<PyAny>,
    /// Which nodes depend on an argument through floating-point values.
    active: Vec<bool>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.trace.close();
    }
}

/// The inputs of a node, but for the values of what has derivative rules of its own.
fn read(t: &Tape, n: NodeId) -> impl Iterator<Item = NodeId> {
    t.node(n).inputs[t.op(n).carried()..].iter().copied()
}

/// A part of the tape on aliases of its inputs.
struct Local {
    output: NodeId,
    aliases: Vec<NodeId>,
    sources: Vec<NodeId>,
}

impl Recording {
    fn id(&self, number: u32) -> PyResult<NodeId> {
        if (number as usize) < self.active.len() {
            return Ok(NodeId(number));
        }
        Err(PyIndexError::new_err(format!("there is no node {number} on a tape of {}", self.active.len())))
    }

    /// The nodes `body`, ascending, once more, each active input from outside of them through an alias of its own.
    fn local(&self, t: &mut Tape, body: &[NodeId]) -> mlgrad_core::Result<Local> {
        let mut copies: FxHashMap<NodeId, NodeId> = FxHashMap::default();
        let (mut aliases, mut sources, mut output) = (Vec::new(), Vec::new(), body[0]);
        for &n in body {
            if let Some(&copy) = copies.get(&n) {
                // a result of an operation that has several came with it
                output = copy;
                continue;
            }
            let mut inputs = t.inputs(n);
            let carried = t.op(n).carried();
            for x in &mut inputs[carried..] {
                if let Some(&copy) = copies.get(x) {
                    *x = copy;
                } else if self.active[x.index()] {
                    sources.push(*x);
                    *x = t.alias(*x)?;
                    aliases.push(*x);
                }
            }
            let originals = [n].into_iter().chain(if t.op(n).tuple().is_some() { t.results(n) } else { Inputs::new() });
            let originals: Vec<NodeId> = originals.collect();
            copies.extend(originals.into_iter().zip(t.copy(n, &inputs)?));
            output = copies[&n];
            t.share_rules(n, output);
        }
        Ok(Local { output, aliases, sources })
    }

    /// Computes `nodes`, gives NumPy copies, and forgets what was recorded since `mark`.
    fn deliver(&self, py: Python<'_>, nodes: &[Option<NodeId>], mark: usize) -> PyResult<Vec<Option<Py<PyAny>>>> {
        let wanted: Vec<NodeId> = nodes.iter().flatten().copied().collect();
        let out = self.trace.finish(py, &wanted).and_then(|()| {
            nodes
                .iter()
                .map(|n| {
                    let Some(n) = *n else { return Ok(None) };
                    let (value, (shape, dtype)) = {
                        let state = self.trace.access();
                        (state.tape.node(n).value.clone(), meta(&state, n))
                    };
                    convert::export(py, known(value)?, &shape, dtype).map(Some)
                })
                .collect::<PyResult<Vec<_>>>()
        });
        self.trace.access().tape.truncate(mark);
        out
    }

    /// A cotangent for `like`: as given, or ones.
    fn seed(&self, py: Python<'_>, given: Option<&Bound<'_, PyAny>>, like: NodeId) -> PyResult<NodeId> {
        let given = given.map(|g| copy_any(py, g)).transpose()?;
        let mut state = self.trace.access();
        let t = &mut state.tape;
        let Some((value, shape, dtype)) = given else { return t.lit_like(1.0, like).or_raise(py) };
        if shape != *t.shape(like) {
            return Err(PyValueError::new_err(format!(
                "a cotangent has shape {}, but what it belongs to has shape {}",
                mlgrad_core::tape::shape::show(&shape),
                mlgrad_core::tape::shape::show(t.shape(like))
            )));
        }
        let node = t.param(value, shape, dtype).or_raise(py)?;
        let to = t.dtype(like);
        t.cast(node, to).or_raise(py)
    }

    fn body(&self, numbers: &[u32]) -> PyResult<Vec<NodeId>> {
        if numbers.is_empty() {
            return Err(PyValueError::new_err("a step without nodes"));
        }
        numbers.iter().map(|&n| self.id(n)).collect()
    }

    fn seeds(&self, py: Python<'_>, given: Option<Vec<Bound<'_, PyAny>>>) -> PyResult<Vec<NodeId>> {
        match given {
            None => self.outputs.iter().map(|&y| self.seed(py, None, y)).collect(),
            Some(g) if g.len() == self.outputs.len() => {
                g.iter().zip(&self.outputs).map(|(g, &y)| self.seed(py, Some(g), y)).collect()
            }
            Some(g) => Err(PyValueError::new_err(format!("{} cotangents for {} outputs", g.len(), self.outputs.len()))),
        }
    }
}

#[pymethods]
impl Recording {
    /// (position among the leaves of (args, kwargs), node) of each leaf that derivatives are taken with respect to.
    #[getter]
    fn arguments(&self) -> Vec<(usize, u32)> {
        self.arguments.iter().map(|&(k, n)| (k, n.0)).collect()
    }

    /// The nodes of the result's leaves.
    #[getter]
    fn outputs(&self) -> Vec<u32> {
        self.outputs.iter().map(|n| n.0).collect()
    }

    /// The result with node numbers as leaves.
    #[getter]
    fn returned(&self, py: Python<'_>) -> Py<PyAny> {
        self.returned.clone_ref(py)
    }

    /// What the outputs depend on, in order: a dict a node.
    fn nodes<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        struct Row {
            id: NodeId,
            op: Op,
            inputs: Vec<u32>,
            shape: Shape,
            dtype: mlgrad_core::tape::DType,
            call: usize,
            line: Option<(String, u32)>,
            known: bool,
        }
        let rows: Vec<Row> = {
            let state = self.trace.access();
            let t = &state.tape;
            let mut needed = vec![false; self.active.len()];
            for n in self.outputs.iter().chain(self.arguments.iter().map(|(_, n)| n)) {
                needed[n.index()] = true;
            }
            for i in (0..needed.len()).rev() {
                if needed[i] {
                    for x in read(t, NodeId(i as u32)) {
                        needed[x.index()] = true;
                    }
                }
            }
            (0..needed.len())
                .filter(|&i| needed[i])
                .map(|i| {
                    let id = NodeId(i as u32);
                    let (call, line) = state.lines.as_ref().map_or((0, None), |lines| lines.of(id));
                    Row {
                        id,
                        op: t.op(id).clone(),
                        inputs: read(t, id).map(|x| x.0).collect(),
                        shape: t.shape(id).clone(),
                        dtype: t.dtype(id),
                        call,
                        line: line.map(|(file, line)| (file.to_string(), line)),
                        known: t.node(id).value.is_some(),
                    }
                })
                .collect()
        };
        rows.into_iter()
            .map(|row| {
                let d = PyDict::new(py);
                d.set_item("id", row.id.0)?;
                d.set_item("op", row.op.name())?;
                d.set_item("attributes", attributes(py, &row.op, row.dtype)?)?;
                d.set_item("inputs", PyTuple::new(py, row.inputs)?)?;
                d.set_item("shape", PyTuple::new(py, row.shape)?)?;
                d.set_item("dtype", dtypes::descr(py, row.dtype))?;
                d.set_item("call", row.call)?;
                d.set_item("line", row.line)?;
                d.set_item("active", self.active[row.id.index()])?;
                d.set_item("known", row.known)?;
                let form = row.op.form().map(|f| {
                    let kind = match f.kind {
                        FormKind::Elementwise => "elementwise",
                        FormKind::Reduction => "reduction",
                        FormKind::Pullback => "pullback",
                    };
                    (f.value, kind, f.partials.to_vec())
                });
                d.set_item("form", form)?;
                Ok(d)
            })
            .collect()
    }

    /// The values of nodes, as NumPy copies.
    fn values(&self, py: Python<'_>, nodes: Vec<u32>) -> PyResult<Vec<Py<PyAny>>> {
        let ids: Vec<NodeId> = nodes.into_iter().map(|n| self.id(n)).collect::<PyResult<_>>()?;
        self.trace.evaluate(py, &ids)?;
        ids.into_iter()
            .map(|n| {
                let (value, (shape, dtype)) = {
                    let state = self.trace.access();
                    (state.tape.node(n).value.clone(), meta(&state, n))
                };
                convert::export(py, known(value)?, &shape, dtype)
            })
            .collect()
    }

    /// For each (nodes of a step in order, cotangent or None for ones): one entry an active input from outside, in the order in
    /// which the nodes read them: the node that is read, and the cotangent that reaches it there, None for zero by structure.
    #[allow(clippy::type_complexity, reason = "the shape that Python gets")]
    fn pull<'py>(
        &self,
        py: Python<'py>,
        requests: Vec<(Vec<u32>, Option<Bound<'py, PyAny>>)>,
    ) -> PyResult<Vec<Vec<(u32, Option<Py<PyAny>>)>>> {
        let mark = self.trace.access().tape.len();
        let (mut found, mut sources) = (Vec::new(), Vec::new());
        for (body, cotangent) in requests {
            let body = self.body(&body)?;
            let seed = self.seed(py, cotangent.as_ref(), body[body.len() - 1])?;
            let local = self.local(&mut self.trace.access().tape, &body);
            let local = local.or_raise(py)?;
            found.extend(reverse_walk(py, &self.trace, &[local.output], &[seed], &local.aliases)?);
            sources.push(local.sources);
        }
        let mut values = self.deliver(py, &found, mark)?.into_iter();
        Ok(sources.into_iter().map(|s| s.into_iter().map(|n| (n.0, values.next().flatten())).collect()).collect())
    }

    /// The adjoints of the last node of each step, and of each argument, by one sweep over the steps in reverse.
    #[allow(clippy::type_complexity, reason = "the shape that Python gets")]
    #[pyo3(signature = (steps, cotangents = None))]
    fn adjoints<'py>(
        &self,
        py: Python<'py>,
        steps: Vec<Vec<u32>>,
        cotangents: Option<Vec<Bound<'py, PyAny>>>,
    ) -> PyResult<(Vec<Option<Py<PyAny>>>, Vec<Option<Py<PyAny>>>)> {
        let mark = self.trace.access().tape.len();
        let bodies: Vec<Vec<NodeId>> = steps.iter().map(|s| self.body(s)).collect::<PyResult<_>>()?;
        let seeds = self.seeds(py, cotangents)?;
        let mut arrived: FxHashMap<NodeId, NodeId> = FxHashMap::default();
        let arrive = |arrived: &mut FxHashMap<NodeId, NodeId>, n: NodeId, g: NodeId| -> PyResult<()> {
            let sum = match arrived.get(&n) {
                Some(&old) => {
                    let sum = self.trace.access().tape.add(old, g);
                    sum.or_raise(py)?
                }
                None => g,
            };
            arrived.insert(n, sum);
            Ok(())
        };
        for (&y, &g) in self.outputs.iter().zip(&seeds) {
            arrive(&mut arrived, y, g)?;
        }
        for body in bodies.iter().rev() {
            let Some(&g) = arrived.get(&body[body.len() - 1]) else { continue };
            let local = self.local(&mut self.trace.access().tape, body);
            let local = local.or_raise(py)?;
            let pulled = reverse_walk(py, &self.trace, &[local.output], &[g], &local.aliases)?;
            for (source, g) in local.sources.into_iter().zip(pulled) {
                if let Some(g) = g {
                    arrive(&mut arrived, source, g)?;
                }
            }
        }
        let last = bodies.iter().map(|b| b[b.len() - 1]);
        let found: Vec<Option<NodeId>> =
            last.chain(self.arguments.iter().map(|&(_, n)| n)).map(|n| arrived.get(&n).copied()).collect();
        let mut all = self.deliver(py, &found, mark)?;
        let of_arguments = all.split_off(bodies.len());
        Ok((all, of_arguments))
    }

    /// The cotangents of the arguments by the reverse walk over the whole tape; None is zero by structure.
    #[pyo3(signature = (cotangents = None))]
    fn gradient(&self, py: Python<'_>, cotangents: Option<Vec<Bound<'_, PyAny>>>) -> PyResult<Vec<Option<Py<PyAny>>>> {
        let mark = self.trace.access().tape.len();
        let seeds = self.seeds(py, cotangents)?;
        let aliases: Vec<NodeId> = self.arguments.iter().map(|&(_, n)| n).collect();
        let found = reverse_walk(py, &self.trace, &self.outputs, &seeds, &aliases)?;
        self.deliver(py, &found, mark)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a recording holds a tape and cannot be pickled; pickle the function and its arguments",
        ))
    }
}

/// The static attributes of an operation, as data.
fn attributes<'py>(py: Python<'py>, op: &Op, dtype: mlgrad_core::tape::DType) -> PyResult<Bound<'py, PyDict>> {
    let d = PyDict::new(py);
    let numbers = |axes: &[u8]| PyTuple::new(py, axes.iter().map(|&a| a as usize));
    let windows = |ws: &[Window]| -> PyResult<Vec<(Vec<i64>, Vec<i64>)>> {
        Ok(ws.iter().map(|w| (w.start.to_vec(), w.step.to_vec())).collect())
    };
    match op {
        Op::Leaf(Leaf::Literal(bits)) => d.set_item("value", value::number_of(*bits, dtype))?,
        Op::Leaf(Leaf::Iota(axis)) => d.set_item("axis", axis)?,
        Op::Unary(Unary::Polygamma(n)) => d.set_item("n", n)?,
        Op::Movement(Movement::Transpose(axes)) => d.set_item("axes", numbers(axes)?)?,
        Op::Reduce(r) => d.set_item("axes", numbers(&r.axes)?)?,
        Op::ArgReduce(r) => d.set_item("axis", r.axis)?,
        Op::Windowed(Windowed::Slice(w) | Windowed::Update(w)) => {
            d.set_item("windows", windows(std::slice::from_ref(&**w))?)?;
        }
        Op::Windowed(Windowed::Assemble(ws)) => d.set_item("windows", windows(ws)?)?,
        Op::Project(Project(k)) => d.set_item("index", k)?,
        Op::Gather(Gather::Add { rows }) => d.set_item("rows", rows)?,
        Op::Gather(Gather::CheckIndex { size }) => d.set_item("size", size)?,
        Op::Gather(Gather::Nonzero { count }) => d.set_item("count", count)?,
        Op::Scan(Scan::Cumsum { axis, reverse } | Scan::Recurrence { axis, reverse }) => {
            d.set_item("axis", axis)?;
            d.set_item("reverse", reverse)?;
        }
        Op::Sort(Sort::Searchsorted { right }) => d.set_item("right", right)?,
        Op::Linalg(Linalg::TriangularSolve { lower, transpose }) => {
            d.set_item("lower", lower)?;
            d.set_item("transpose", transpose)?;
        }
        _ => {
            let text = op.attributes();
            if !text.is_empty() {
                d.set_item("text", text)?;
            }
        }
    }
    Ok(d)
}

/// Calls `f(*args, **kwargs)` once and keeps its tape. `lines`: with the user's line of each node. `abstract_`: the floating-point
/// leaves have no values, so that Python cannot branch on them.
#[pyfunction]
#[pyo3(signature = (f, args, kwargs = None, *, lines = true, r#abstract = false))]
fn recording(
    py: Python<'_>,
    f: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
    lines: bool,
    r#abstract: bool,
) -> PyResult<Recording> {
    check_callable("recording", f)?;
    let mut session = Session::alone("recording a function", lines)?;
    // held until the function has returned, for its address is what lines are kept inside of
    let frame = if lines { py.import("sys")?.call_method1("_getframe", (0,)).ok() } else { None };
    if let Some(frame) = &frame {
        session.trace.lines_inside(frame);
    }
    let kwargs = kwargs.cloned().unwrap_or_else(|| PyDict::new(py));
    let mut leaves = Vec::new();
    let tree = Tree::flatten((args, &kwargs).into_pyobject(py)?.as_any(), &mut leaves)?;
    let scope = if r#abstract { Some(session.trace.lock()?.tape.open_scope()) } else { None };
    let mut arguments = Vec::new();
    let mut handles: Vec<Py<PyAny>> = Vec::with_capacity(leaves.len());
    for (k, leaf) in leaves.iter().enumerate() {
        let operand = convert::try_lift(py, &session.trace, leaf)?;
        let alias = {
            let mut state = session.trace.lock()?;
            let t = &mut state.tape;
            let found = match operand {
                Some(Operand::Float(v)) => {
                    Some((t.param(Value::Scalar(v.to_bits()), Shape::new(), mlgrad_core::tape::DType::F64), true))
                }
                Some(Operand::Node { id, weak }) if t.dtype(id).is_inexact() => Some((Ok(id), weak)),
                _ => None,
            };
            match found {
                None => None,
                Some((node, weak)) => {
                    let mut node = node.or_raise(py)?;
                    if let Some(scope) = scope {
                        let (shape, dtype) = (t.shape(node).clone(), t.dtype(node));
                        node = t.abstract_param(scope, shape, dtype).or_raise(py)?;
                    }
                    Some((t.alias(node).or_raise(py)?, weak))
                }
            }
        };
        handles.push(match alias {
            None => leaf.clone().unbind(),
            Some((alias, weak)) => {
                arguments.push((k, alias));
                wrap_argument(py, &session.trace, alias, weak)?.into_any()
            }
        });
    }
    let whole = tree.unflatten(py, &mut handles.into_iter())?.into_bound(py).cast_into::<PyTuple>()?;
    let new_args = whole.get_item(0)?.cast_into::<PyTuple>()?;
    let new_kwargs = whole.get_item(1)?.cast_into::<PyDict>()?;
    let returned = f.call(new_args, Some(&new_kwargs))?;
    let result = session.result("the recorded function", &returned)?;
    if lines {
        session.trace.note_line(py)?;
    }
    drop(frame);
    let numbers: Vec<Py<PyAny>> =
        result.nodes.iter().map(|n| Ok(n.0.into_pyobject(py)?.into_any().unbind())).collect::<PyResult<_>>()?;
    let structure = result.tree.unflatten(py, &mut numbers.into_iter())?;
    let active = {
        let state = session.trace.access();
        let t = &state.tape;
        let mut active = vec![false; t.len()];
        for (_, n) in &arguments {
            active[n.index()] = true;
        }
        for i in 0..active.len() {
            let n = t.node(NodeId(i as u32));
            active[i] = active[i] || n.op.carries(n.dtype) && read(t, NodeId(i as u32)).any(|x| active[x.index()]);
        }
        active
    };
    if scope.is_none() {
        // rules of custom operations are Python's: they are recorded while its Arrays live
        let aliases: Vec<NodeId> = arguments.iter().map(|&(_, n)| n).collect();
        prepare_walk(py, &session.trace, &aliases, &result.nodes, true)?;
    }
    session.keep();
    session.trace.seal();
    Ok(Recording {
        trace: session.trace.clone(),
        arguments,
        outputs: result.nodes.to_vec(),
        returned: structure,
        active,
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Recording>()?;
    m.add_function(wrap_pyfunction!(recording, m)?)
}
