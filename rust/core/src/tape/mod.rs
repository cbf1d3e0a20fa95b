//! The tape: an append-only list of nodes in SSA order.
//!
//! Invariants:
//! - the inputs of a node come before it;
//! - the inputs of an elementwise node have exactly its shape: broadcasts and casts are nodes of their own;
//! - an `Alias` is never merged, folded or looked through while its transform is open.

mod history;
mod print;
pub mod shape;
mod transplant;
pub mod value;

use std::cell::Cell;
use std::sync::Arc;

pub(crate) use history::Streams;
pub use mlgrad_math::DType;
use rustc_hash::FxHashMap;
pub use shape::{Axes, Shape};
use smallvec::SmallVec;
pub use value::Value;

use self::history::{Event, History};
use crate::ops::{Leaf, Op, Primitive};
use crate::walk::rules::{Rules, Template};
use crate::{Error, Result};

/// The place of a node on its tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl NodeId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

pub type Inputs = SmallVec<[NodeId; 3]>;

/// A primitive operation applied to earlier nodes.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub inputs: Inputs,
    pub shape: Shape,
    pub dtype: DType,
    /// Known for parameters, and for whatever has been computed and kept.
    pub value: Option<Value>,
    /// How many Python handles look at this node.
    pub handles: u32,
    /// 0, or the innermost vmap (or loop body) whose abstract arguments this node depends on.
    pub scope: u32,
}

#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    /// Whether each abstract scope is still open; scope k is at k - 1.
    scopes: Vec<bool>,
    history: History,
    /// The bodies that are being recorded and may never run: all that is recorded now belongs to them.
    floors: Vec<u32>,
    /// How many custom operations there are.
    customs: usize,
    /// How many bodies of control flow are being recorded, one in the other.
    pub bodies: u32,
    /// Host calls that were recorded and have not run.
    hosts: Vec<NodeId>,
    /// The rules that have been recorded for custom operations.
    rules: FxHashMap<NodeId, Rules>,
}

/// Longer lists of nodes are not kept for the next tape.
const KEPT: usize = 1 << 15;

thread_local! {
    /// The memory of the last tape of this thread.
    static NODES: Cell<Vec<Node>> = const { Cell::new(Vec::new()) };
}

impl Drop for Tape {
    fn drop(&mut self) {
        let mut nodes = std::mem::take(&mut self.nodes);
        if (1..=KEPT).contains(&nodes.capacity()) {
            nodes.clear();
            // while a thread ends there is nothing left to keep it in
            let _ = NODES.try_with(|kept| kept.set(nodes));
        }
    }
}

impl Tape {
    pub fn new() -> Tape {
        let mut tape = Tape::default();
        tape.nodes = NODES.try_with(Cell::take).unwrap_or_default();
        tape
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    pub fn op(&self, id: NodeId) -> &Op {
        &self.nodes[id.index()].op
    }

    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.nodes[id.index()].shape
    }

    /// A copy of the shape, which is made faster so than by `clone`, element by element.
    pub fn shape_of(&self, id: NodeId) -> Shape {
        Shape::from_slice(self.shape(id))
    }

    pub fn rank(&self, id: NodeId) -> usize {
        self.shape(id).len()
    }

    pub fn dtype(&self, id: NodeId) -> DType {
        self.nodes[id.index()].dtype
    }

    pub fn input(&self, id: NodeId, k: usize) -> NodeId {
        self.nodes[id.index()].inputs[k]
    }

    pub fn inputs(&self, id: NodeId) -> Inputs {
        self.nodes[id.index()].inputs.clone()
    }

    /// Appends a node. Shapes are the business of the caller, which is the builder beside each operation.
    pub fn push(&mut self, op: Op, inputs: &[NodeId], shape: Shape, dtype: DType) -> Result<NodeId> {
        if shape::checked_size(&shape).is_none() || shape.len() > shape::MAX_RANK {
            return Err(Error::Memory(format!(
                "{}: an array of shape {} and dtype {dtype} is too large to address",
                op.name(),
                shape::show(&shape)
            )));
        }
        let scope = self.scope_of(&op, inputs)?;
        self.append(op, inputs, shape, dtype, scope)
    }

    /// `push` with the shape of the first input.
    pub(crate) fn push_like(&mut self, op: Op, inputs: &[NodeId], dtype: DType) -> Result<NodeId> {
        let scope = self.scope_of(&op, inputs)?;
        self.append(op, inputs, self.shape_of(inputs[0]), dtype, scope)
    }

    /// The scope that whatever is recorded now belongs to.
    fn floor(&self) -> u32 {
        self.floors.last().copied().unwrap_or(0)
    }

    /// The scope that a node of these inputs belongs to, if all of them are still open.
    fn scope_of(&self, op: &Op, inputs: &[NodeId]) -> Result<u32> {
        let mut scope = self.floor();
        for &i in inputs {
            let s = self.nodes[i.index()].scope;
            if s != 0 {
                if !self.scopes[s as usize - 1] {
                    return Err(Error::Type(format!(
                        "{}: an Array is used outside the function that it was made in (one under vmap, the body of a loop or \
                         branch, or a derivative rule), whose arguments have no values; return it from that function \
                         instead of storing it",
                        op.name()
                    )));
                }
                scope = scope.max(s);
            }
        }
        Ok(scope)
    }

    fn append(&mut self, op: Op, inputs: &[NodeId], shape: Shape, dtype: DType, scope: u32) -> Result<NodeId> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| {
            Error::Memory(
                "the tape is full: it holds 2^32 nodes; split the computation with jit or a loop primitive".into(),
            )
        })?;
        self.history.push(&op, inputs, &shape, dtype);
        if scope != 0 {
            self.history.event(Event::Abstract, scope);
        }
        self.customs += usize::from(matches!(op, Op::Custom(_)));
        if matches!(op, Op::Host(_)) {
            self.hosts.push(NodeId(id));
        }
        self.nodes.push(Node { op, inputs: Inputs::from_slice(inputs), shape, dtype, value: None, handles: 0, scope });
        Ok(NodeId(id))
    }

    /// A value from outside: never part of a plan's key.
    pub fn param(&mut self, value: Value, shape: Shape, dtype: DType) -> Result<NodeId> {
        let id = self.push(Op::Leaf(Leaf::Param), &[], shape, dtype)?;
        // a value is known whatever is being recorded
        self.nodes[id.index()].scope = 0;
        self.set_value(id, value);
        Ok(id)
    }

    /// The node has been computed.
    pub fn set_value(&mut self, id: NodeId, value: Value) {
        self.history.event(Event::Known, id.0);
        self.nodes[id.index()].value = Some(value);
    }

    /// A key of everything that has been recorded, but for the values of parameters: what was recorded on another tape of
    /// this key, and what follows from it, is the same node by node. `more` is what is asked of the tape.
    pub fn key(&self, more: impl IntoIterator<Item = u64>) -> Option<u128> {
        let mut streams = self.history.streams()?;
        streams.word(self.nodes.len() as u64);
        more.into_iter().for_each(|word| streams.word(word));
        Some(streams.finish128())
    }

    /// A value that will be known only when the plan runs, such as the argument of a vmapped function.
    pub fn abstract_param(&mut self, scope: u32, shape: Shape, dtype: DType) -> Result<NodeId> {
        let id = self.push(Op::Leaf(Leaf::Param), &[], shape, dtype)?;
        self.history.event(Event::Abstract, scope);
        self.nodes[id.index()].scope = scope;
        Ok(id)
    }

    /// Opens a scope for abstract arguments.
    pub fn open_scope(&mut self) -> u32 {
        self.scopes.push(true);
        self.scopes.len() as u32
    }

    /// From here on whatever is recorded belongs to the scope, whether or not it depends on its arguments: in a branch that is
    /// not taken nothing is computed.
    pub fn push_floor(&mut self, scope: u32) {
        self.floors.push(scope);
    }

    pub fn pop_floor(&mut self) {
        self.floors.pop();
    }

    /// Whatever depends on the scope's arguments can no longer be used.
    pub fn close_scope(&mut self, scope: u32) {
        self.scopes[scope as usize - 1] = false;
    }

    /// A number that is part of a plan's key, spread over `shape`.
    pub fn literal(&mut self, v: f64, shape: &[usize], dtype: DType) -> Result<NodeId> {
        self.push(Op::Leaf(Leaf::Literal(value::bits_of(v, dtype))), &[], shape.into(), dtype)
    }

    /// The literal `v` in the shape and dtype of `x`.
    pub fn lit_like(&mut self, v: f64, x: NodeId) -> Result<NodeId> {
        let (shape, dtype) = (self.shape_of(x), self.dtype(x));
        self.append(Op::Leaf(Leaf::Literal(value::bits_of(v, dtype))), &[], shape, dtype, self.floor())
    }

    /// The number that `x` is known to be everywhere.
    pub fn literal_value(&self, x: NodeId) -> Option<f64> {
        match *self.op(x) {
            Op::Leaf(Leaf::Literal(bits)) => Some(value::number_of(bits, self.dtype(x))),
            _ => None,
        }
    }

    /// A fresh node that stands for `x` as the argument of a transform.
    pub fn alias(&mut self, x: NodeId) -> Result<NodeId> {
        self.push_like(Op::Leaf(Leaf::Alias), &[x], self.dtype(x))
    }

    /// `x` as a constant for derivatives.
    pub fn stop_gradient(&mut self, x: NodeId) -> Result<NodeId> {
        self.push_like(Op::Leaf(Leaf::Stop), &[x], self.dtype(x))
    }

    /// `x`, where structural zeros of its cotangent become numbers.
    pub fn dense(&mut self, x: NodeId) -> Result<NodeId> {
        let (shape, dtype) = (self.shape(x).clone(), self.dtype(x));
        self.push(Op::Leaf(Leaf::Dense), &[x], shape, dtype)
    }

    /// Index along `axis`, in int64.
    pub fn iota(&mut self, shape: &[usize], axis: usize) -> Result<NodeId> {
        self.push(Op::Leaf(Leaf::Iota(axis as u8)), &[], shape.into(), DType::I64)
    }

    /// The unit vectors of a space of n dimensions, as the rows of a matrix.
    pub fn eye(&mut self, n: usize, dtype: DType) -> Result<NodeId> {
        self.push(Op::Leaf(Leaf::Eye), &[], [n, n].as_slice().into(), dtype)
    }

    pub(crate) fn same(&self, what: &str, xs: &[NodeId]) -> Result<()> {
        let (s, d) = (self.shape(xs[0]), self.dtype(xs[0]));
        match xs[1..].iter().find(|&&x| self.shape(x) != s || self.dtype(x) != d) {
            None => Ok(()),
            Some(&x) => Err(Error::Internal(format!(
                "{what} of {d}{} and {}{}",
                shape::show(s),
                self.dtype(x),
                shape::show(self.shape(x))
            ))),
        }
    }

    /// Drops every node after the first `len`, for a recording that failed half way.
    pub fn truncate(&mut self, len: usize) {
        self.history.lose();
        let dropped = self.nodes.get(len..).unwrap_or(&[]);
        let customs = dropped.iter().filter(|n| matches!(n.op, Op::Custom(_))).count();
        self.nodes.truncate(len);
        self.hosts.retain(|h| h.index() < len);
        if self.customs > 0 {
            self.customs -= customs;
            let stays = |r: &mut Option<Arc<Template>>| {
                *r = r.take().filter(|r| r.before(len));
                r.is_some()
            };
            self.rules.retain(|node, (vjp, jvp)| node.index() < len && stays(vjp) | stays(jvp));
        }
    }

    /// Opens or closes a scope for as long as somebody works inside; says what it was.
    pub(crate) fn reopen_scope(&mut self, scope: u32, open: bool) -> bool {
        std::mem::replace(&mut self.scopes[scope as usize - 1], open)
    }

    /// The inputs of the node at a place.
    pub(crate) fn inputs_of(&self, at: usize) -> &[NodeId] {
        &self.nodes[at].inputs
    }

    pub(crate) fn customs(&self) -> usize {
        self.customs
    }

    /// The pending host calls of a scope in their order; they are somebody's now. Outside of scopes, scope 0, they can run.
    pub fn take_hosts(&mut self, scope: u32) -> Vec<NodeId> {
        if self.hosts.is_empty() {
            return Vec::new();
        }
        let (taken, rest) = self.hosts.iter().partition(|h| self.nodes[h.index()].scope == scope);
        self.hosts = rest;
        taken
    }

    /// What stands for the effects of the pending host calls of a scope; they are somebody's now.
    pub fn take_effects(&mut self, scope: u32) -> Vec<NodeId> {
        let hosts = self.take_hosts(scope);
        hosts.into_iter().filter_map(|h| self.results(h).last().copied()).collect()
    }

    /// The rules that have been recorded for a custom operation.
    pub fn rules(&self, node: NodeId) -> Rules {
        self.rules.get(&node).cloned().unwrap_or_default()
    }

    /// Keeps the rule of a custom operation: that for the reverse walk (`vjp`), or that for the forward walk.
    pub fn keep_rule(&mut self, node: NodeId, vjp: bool, rule: Template) {
        let slot = self.rules.entry(node).or_default();
        *(if vjp { &mut slot.0 } else { &mut slot.1 }) = Some(Arc::new(rule));
    }

    /// Gives a copy of a custom operation, at the same values, the rules of the original.
    pub fn share_rules(&mut self, from: NodeId, to: NodeId) {
        if let Some(rules) = self.rules.get(&from).cloned() {
            self.rules.insert(to, rules);
        }
    }
}
