//! A program: the pending part of a tape as a position-independent list.

use std::cell::RefCell;
use std::fmt;
use std::hash::Hash;

use smallvec::SmallVec;

use super::cache;
use super::recipe::Ran;
use crate::ops::control::Control;
use crate::ops::{Leaf, Op, Primitive, Project};
use crate::tape::{DType, NodeId, Shape, Streams, Tape, shape, value};
use crate::{Error, Result};

/// One operation; inputs are places in the program, all before this one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub op: Op,
    pub inputs: SmallVec<[u32; 3]>,
    pub shape: Shape,
    pub dtype: DType,
}

/// Nodes in an order in which they can be computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    pub nodes: Vec<Node>,
    /// The places of the parameters, in the order in which a run gets them.
    pub params: Vec<u32>,
    /// What a run returns, in this order.
    pub outputs: Vec<u32>,
    /// What is computed besides, for its effect: results of host calls. Of bodies only.
    pub effects: Vec<u32>,
    /// Of a loop's step: parameters (by their place among those) that are not read after the run, each with the output that a
    /// next step gets in its place.
    pub carries: Vec<(u32, u32)>,
}

/// A program, and the nodes of the tape that its parameters and outputs stand for.
#[derive(Debug)]
pub struct Extracted {
    pub program: Program,
    pub params: Vec<NodeId>,
    pub outputs: Vec<NodeId>,
}

/// What has to run to know the targets, with everything worth keeping as outputs: the targets that are not known yet, the
/// ancestors that a handle looks at, and the results of dear operations.
pub fn extract(t: &Tape, targets: &[NodeId]) -> Result<Extracted> {
    whole(t, targets, true)
}

/// What has to run to know the targets, which alone are the outputs.
pub fn extract_exact(t: &Tape, targets: &[NodeId]) -> Result<Extracted> {
    whole(t, targets, false)
}

fn whole(t: &Tape, targets: &[NodeId], keep: bool) -> Result<Extracted> {
    with_scratch(|scratch| {
        let (params, outputs) = scratch.collect(t, targets, keep)?;
        Ok(Extracted { program: scratch.program(t, &outputs), params, outputs })
    })
}

/// The plan of what [`extract`] gives (with `keep`) or [`extract_exact`]. The program itself is only made where there is no
/// plan for it yet.
pub fn plan_of(t: &Tape, targets: &[NodeId], keep: bool) -> Result<Ran> {
    let (params, outputs, found) = with_scratch(|scratch| {
        let (params, outputs) = scratch.collect(t, targets, keep)?;
        let key = scratch.key(t, &params, &outputs);
        let found = cache::find(key).ok_or_else(|| (key, scratch.program(t, &outputs)));
        Ok::<_, Error>((params, outputs, found))
    })?;
    let plan = match found {
        Ok(plan) => plan,
        Err((key, program)) => cache::make_for(key, program)?,
    };
    Ok(Ran { plan, params, outputs })
}

/// The same as one of these two, with the node of the tape behind each node of the program.
pub fn extract_listed(t: &Tape, targets: &[NodeId], keep: bool) -> Result<(Extracted, Vec<NodeId>)> {
    let mut scratch = Scratch::default();
    let (params, outputs) = scratch.collect(t, targets, keep)?;
    let extracted = Extracted { program: scratch.program(t, &outputs), params, outputs };
    Ok((extracted, scratch.list.into_iter().map(NodeId).collect()))
}

/// Marks by node of a tape, valid where the epoch is the current one: nothing is cleared between calls, so that a call costs
/// what the pending part costs, however long the tape is.
#[derive(Default)]
struct Scratch {
    epoch: u32,
    seen: Vec<(u32, u32)>,
    stack: Vec<NodeId>,
    list: Vec<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut scratch) => f(&mut scratch),
        Err(_) => f(&mut Scratch::default()),
    })
}

impl Scratch {
    /// Leaves the nodes of the program in the list, in the order of the tape, and beside each mark its place there; gives the
    /// parameters and the outputs.
    fn collect(&mut self, t: &Tape, targets: &[NodeId], keep: bool) -> Result<(Vec<NodeId>, Vec<NodeId>)> {
        if self.seen.len() < t.len() {
            self.seen.resize(t.len(), (0, 0));
        }
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.seen.fill((0, 0));
            self.epoch = 1;
        }
        let epoch = self.epoch;
        self.stack.clear();
        self.list.clear();
        for &target in targets {
            if t.node(target).value.is_none() && self.seen[target.index()].0 != epoch {
                self.seen[target.index()] = (epoch, 0);
                self.stack.push(target);
            }
        }
        let mut outputs: Vec<NodeId> = self.stack.clone();
        let mut loops = false;
        while let Some(id) = self.stack.pop() {
            self.list.push(id.0);
            let n = t.node(id);
            if n.value.is_some() {
                continue;
            }
            if n.op == Op::Leaf(Leaf::Param) {
                return Err(unknown(n.scope));
            }
            let custom = t.custom_result(id);
            for &x in custom.as_slice().iter().chain(if custom.is_some() { &[] } else { n.inputs.as_slice() }) {
                let mark = &mut self.seen[x.index()];
                if mark.0 != epoch {
                    *mark = (epoch, 1);
                    self.stack.push(x);
                }
            }
            if keep && n.op.tuple().is_some() {
                loops |= matches!(n.op, Op::Control(Control::For(_)));
                // what is still looked at comes out too: it would have to run again for it
                for p in t.results(id) {
                    let (n, mark) = (t.node(p), &mut self.seen[p.index()]);
                    if n.handles > 0 && n.value.is_none() && mark.0 != epoch {
                        *mark = (epoch, 1);
                        self.stack.push(p);
                    }
                }
            }
        }
        if loops {
            self.histories(t);
        }
        // the order of the tape; what is popped comes in runs, so this is close to linear
        self.list.sort_unstable();
        let mut params = Vec::new();
        for (local, &i) in self.list.iter().enumerate() {
            let n = t.node(NodeId(i));
            let target = self.seen[i as usize].1 == 0;
            self.seen[i as usize].1 = local as u32;
            if n.value.is_some() {
                params.push(NodeId(i));
            } else if keep
                && !target
                && (n.handles > 0 || dear(taken(t, NodeId(i)).0))
                && !matches!(n.op, Op::Leaf(_))
                && n.op.tuple().is_none()
            {
                outputs.push(NodeId(i));
            }
        }
        Ok((params, outputs))
    }

    /// The place in the program.
    fn local(&self, id: NodeId) -> u32 {
        self.seen[id.index()].1
    }

    /// [`Program::key`] of the program, without making it.
    fn key(&self, t: &Tape, params: &[NodeId], outputs: &[NodeId]) -> u128 {
        let mut h = Streams::default();
        for &i in &self.list {
            let (n, (op, inputs)) = (t.node(NodeId(i)), taken(t, NodeId(i)));
            h.node(op, inputs.iter().map(|&x| self.local(x)), &n.shape, n.dtype);
        }
        let locals = |ids: &[NodeId]| ids.iter().map(|&x| self.local(x)).collect::<SmallVec<[u32; 16]>>();
        finish(h, self.list.len(), &locals(outputs), &locals(params))
    }

    fn program(&self, t: &Tape, outputs: &[NodeId]) -> Program {
        let mut program = Program::default();
        program.nodes.reserve_exact(self.list.len());
        for (local, &i) in self.list.iter().enumerate() {
            let (n, (op, inputs)) = (t.node(NodeId(i)), taken(t, NodeId(i)));
            if n.value.is_some() {
                program.params.push(local as u32);
            }
            program.nodes.push(Node {
                op: op.clone(),
                inputs: inputs.iter().map(|&x| self.local(x)).collect(),
                shape: Shape::from_slice(&n.shape),
                dtype: n.dtype,
            });
        }
        program.outputs = outputs.iter().map(|&o| self.local(o)).collect();
        program
    }
}

/// What a node is in a program: a parameter where its value is known.
fn taken(t: &Tape, id: NodeId) -> (&Op, &[NodeId]) {
    static PARAM: Op = Op::Leaf(Leaf::Param);
    static ALIAS: Op = Op::Leaf(Leaf::Alias);
    let n = t.node(id);
    match n.op {
        _ if n.value.is_some() => (&PARAM, &[]),
        // by value the result of a custom operation is what was computed
        Op::Project(Project(k)) if t.custom_result(id).is_some() => {
            (&ALIAS, &t.node(n.inputs[0]).inputs[k as usize..][..1])
        }
        _ => (&n.op, &n.inputs),
    }
}

impl Scratch {
    /// A loop that depends on the argument of a transform is likely to be walked through later. What a derivative needs of
    /// its steps comes out too: else it would have to run once more.
    fn histories(&mut self, t: &Tape) {
        let node = |&i: &u32| t.node(NodeId(i));
        if !self.list.iter().any(|i| node(i).value.is_none() && node(i).op == Op::Leaf(Leaf::Alias)) {
            return;
        }
        for k in 0..self.list.len() {
            let id = NodeId(self.list[k]);
            let Op::Control(c) = &t.node(id).op else { continue };
            let Control::For(f) = c else { continue };
            for p in t.results(id).into_iter().skip(f.body.outputs().len()) {
                let mark = &mut self.seen[p.index()];
                if t.node(p).value.is_none() && mark.0 != self.epoch {
                    *mark = (self.epoch, 1);
                    self.list.push(p.0);
                }
            }
        }
    }
}

/// Whether a result is worth its memory: computing it again would cost more.
fn dear(op: &Op) -> bool {
    match op {
        Op::Reduce(_)
        | Op::ArgReduce(_)
        | Op::MatMul(_)
        | Op::Scan(_)
        | Op::Sort(_)
        | Op::Linalg(_)
        | Op::Project(_) => true,
        Op::Leaf(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select(_)
        | Op::Cast(_)
        | Op::Movement(_)
        | Op::Windowed(_)
        | Op::Gather(_)
        // nothing to keep: the results are
        | Op::Factor(_)
        | Op::Custom(_)
        | Op::Host(_)
        | Op::Control(_) => false,
    }
}

#[cold]
fn unknown(scope: u32) -> Error {
    if scope == 0 {
        return Error::Internal("a parameter without a value".into());
    }
    Error::Abstract(
        "the value of an argument of a vmapped function (or of a loop body) is not known while the function is recorded; \
         use np.where, select or cond to choose between values instead of if, bool(), int() or a shape that depends on it"
            .into(),
    )
}

/// The key, once the nodes have been taken in.
fn finish(mut h: Streams, nodes: usize, outputs: &[u32], params: &[u32]) -> u128 {
    h.word(nodes as u64);
    for &o in outputs {
        h.word(u64::from(o));
    }
    for &p in params {
        h.word(u64::from(p) | 1 << 40);
    }
    h.finish128()
}

impl Program {
    /// 128 bits over the structure: operations, attributes, inputs, shapes and dtypes.
    pub fn key(&self) -> u128 {
        let mut h = Streams::default();
        for n in &self.nodes {
            h.node(&n.op, n.inputs.iter().copied(), &n.shape, n.dtype);
        }
        for &e in &self.effects {
            h.word(u64::from(e) | 1 << 41);
        }
        for &(param, output) in &self.carries {
            h.word(u64::from(param) << 32 | u64::from(output) | 1 << 63);
        }
        finish(h, self.nodes.len(), &self.outputs, &self.params)
    }

    /// The node that has the value of node `x`: under names for it.
    pub fn value(&self, mut x: u32) -> u32 {
        while let Op::Leaf(Leaf::Alias | Leaf::Stop | Leaf::Dense) = self.nodes[x as usize].op {
            x = self.nodes[x as usize].inputs[0];
        }
        x
    }

    /// A rough size, to bound caches.
    pub fn bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>() + 4 * (self.params.len() + self.outputs.len())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, n) in self.nodes.iter().enumerate() {
            write!(f, "%{i}: {}{} = {}", n.dtype, shape::show(&n.shape), n.op.name())?;
            if let Op::Leaf(Leaf::Literal(bits)) = n.op {
                write!(f, " {}", value::number_of(bits, n.dtype))?;
            }
            let attributes = n.op.attributes();
            if !attributes.is_empty() {
                write!(f, " [{attributes}]")?;
            }
            for (k, x) in n.inputs.iter().enumerate() {
                write!(f, "{}%{x}", if k == 0 { " " } else { ", " })?;
            }
            writeln!(f)?;
        }
        let all: Vec<String> = self.outputs.iter().map(|o| format!("%{o}")).collect();
        writeln!(f, "return {}", all.join(", "))
    }
}
