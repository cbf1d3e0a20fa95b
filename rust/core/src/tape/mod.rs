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
use rustc_hash::{FxHashMap, FxHashSet};
pub use shape::{Axes, Shape};
use smallvec::SmallVec;
pub use value::Value;

use self::history::{Event, History};
use crate::ops::control::close::Closing;
use crate::ops::{Closed, Custom, Leaf, Op, Primitive};
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
    /// How many custom operations there are, and control flow with such in its bodies.
    customs: usize,
    /// The scopes of the bodies of control flow that are being recorded, one in the other.
    pub bodies: Vec<u32>,
    /// Host calls that were recorded and have not run, and control flow with effects.
    hosts: Vec<NodeId>,
    /// The rules that have been recorded for custom operations.
    rules: FxHashMap<NodeId, Rules>,
    /// Whether all numbers of the user's code are literals.
    literal_numbers: bool,
    /// Control flow with the rules of the custom operations in its bodies, for the reverse walk (`true`) and the forward walk.
    closings: Closings,
    /// The rules of custom operations in bodies, recorded once for each.
    closed: FxHashMap<Custom, Arc<Closed>>,
    /// Where it is asked for: from which node on the nodes are there because of which other, in the order of the tape.
    causes: Option<Vec<(usize, Option<Cause>)>>,
}

/// What a walk has pushed a node for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    pub node: NodeId,
    /// Its derivative, rather than a batch of it.
    pub derivative: bool,
}

/// Whether it is done for its effect.
fn has_effects(op: &Op) -> bool {
    match op {
        Op::Host(h) => h.results.is_empty(),
        Op::Control(c) => c.has_effects(),
        _ => false,
    }
}

/// Whether a walk may need rules of users for it.
fn has_rules(op: &Op) -> bool {
    match op {
        Op::Custom(_) => true,
        Op::Control(c) => c.has_rules(),
        _ => false,
    }
}

/// Longer lists of nodes are not kept for the next tape.
const KEPT: usize = 1 << 15;

thread_local! {
    /// The memory of the last tape of this thread.
    static NODES: Cell<Vec<Node>> = const { Cell::new(Vec::new()) };
}

/// What a tape leaves behind that may belong to others as well: to be dropped where no lock is held.
pub struct Remains {
    nodes: Vec<Node>,
    _rules: Option<Box<AllRules>>,
}

type Closings = FxHashMap<(NodeId, bool), Arc<Closing>>;
type AllRules = (FxHashMap<NodeId, Rules>, Closings, FxHashMap<Custom, Arc<Closed>>);

impl Drop for Remains {
    fn drop(&mut self) {
        let mut nodes = std::mem::take(&mut self.nodes);
        if (1..=KEPT).contains(&nodes.capacity()) {
            nodes.clear();
            // while a thread ends there is nothing left to keep it in
            let _ = NODES.try_with(|kept| kept.set(nodes));
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl Tape {
    pub fn new() -> Tape {
        let mut tape = Tape::default();
        tape.begin();
        tape
    }

    /// Takes over the memory of the last tape of this thread.
    pub fn begin(&mut self) {
        self.nodes = NODES.try_with(Cell::take).unwrap_or_default();
    }

    /// Empties the tape, which nobody records on any more.
    pub fn end(&mut self) -> Remains {
        let none = self.rules.is_empty() && self.closings.is_empty() && self.closed.is_empty();
        let rules = (!none).then(|| {
            let (rules, closings) = (std::mem::take(&mut self.rules), std::mem::take(&mut self.closings));
            Box::new((rules, closings, std::mem::take(&mut self.closed)))
        });
        Remains { nodes: std::mem::take(&mut self.nodes), _rules: rules }
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
        if shape.len() > shape::MAX_RANK {
            return Err(Error::Value(format!(
                "{}: an array has at most {} axes, got {}: {}; put axes together with np.reshape",
                op.name(),
                shape::MAX_RANK,
                shape.len(),
                shape::show(&shape)
            )));
        }
        if shape::checked_size(&shape).is_none() {
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

    fn append(&mut self, op: Op, inputs: &[NodeId], shape: Shape, dtype: DType, mut scope: u32) -> Result<NodeId> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| {
            Error::Memory(
                "the tape is full: it holds 2^32 nodes; split the computation with jit or a loop primitive".into(),
            )
        })?;
        self.history.push(&op, inputs, &shape, dtype);
        self.customs += usize::from(has_rules(&op));
        let effects = has_effects(&op);
        if effects || matches!(op, Op::Host(_)) {
            self.hosts.push(NodeId(id));
        }
        if let (true, Some(&body)) = (effects, self.bodies.last()) {
            // in a loop once a step, whether or not it depends on the step
            scope = scope.max(body);
        }
        if scope != 0 {
            self.history.event(Event::Abstract, scope);
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

    /// From here on every number of the user's code is a literal, part of a plan's key: for tapes whose plans never see
    /// another number.
    pub fn make_numbers_literal(&mut self) {
        self.literal_numbers = true;
    }

    /// A number of the user's code that no simplification looks at, spread over `shape`: a parameter, so that one that
    /// changes keeps its plan.
    pub fn number(&mut self, bits: u64, dtype: DType, shape: &[usize]) -> Result<NodeId> {
        if self.literal_numbers {
            return self.push(Op::Leaf(Leaf::Literal(bits)), &[], shape.into(), dtype);
        }
        let id = self.param(Value::Scalar(bits), Shape::new(), dtype)?;
        self.broadcast_to(id, shape)
    }

    /// The node has been computed.
    pub fn set_value(&mut self, id: NodeId, value: Value) {
        self.history.event(Event::Known, id.0);
        self.nodes[id.index()].value = Some(value);
    }

    /// A value is asked for: if what it is computed from depends on no abstract argument, it does not belong to the body in
    /// which it was recorded any more. A custom operation may have a known result and arguments without values; that stays.
    pub fn release(&mut self, id: NodeId) {
        if self.nodes[id.index()].scope == 0 {
            return;
        }
        let mut seen: FxHashSet<NodeId> = FxHashSet::default();
        let mut list = vec![id];
        let mut at = 0;
        while at < list.len() {
            let n = &self.nodes[list[at].index()];
            if n.op == Op::Leaf(Leaf::Param) && n.value.is_none() || has_effects(&n.op) {
                return;
            }
            let bound = n.inputs.iter().copied().filter(|x| self.nodes[x.index()].scope != 0);
            list.extend(bound.filter(|&x| seen.insert(x)));
            at += 1;
        }
        for x in list {
            self.nodes[x.index()].scope = 0;
        }
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

    /// The scope that was opened last, open or not; 0 before the first.
    pub fn latest_scope(&self) -> u32 {
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
        let customs = dropped.iter().filter(|n| has_rules(&n.op)).count();
        self.nodes.truncate(len);
        if let Some(causes) = &mut self.causes {
            causes.retain(|c| c.0 < len);
        }
        self.hosts.retain(|h| h.index() < len);
        if self.customs > 0 {
            self.customs -= customs;
            let stays = |r: &mut Option<Arc<Template>>| {
                *r = r.take().filter(|r| r.before(len));
                r.is_some()
            };
            self.rules.retain(|node, (vjp, jvp)| node.index() < len && stays(vjp) | stays(jvp));
            self.closings.retain(|(node, _), c| node.index() < len && c.nodes().iter().all(|x| x.index() < len));
            self.closed.retain(|_, c| c.extras.iter().all(|x| x.0.index() < len));
        }
    }

    /// From here on the tape knows for which node a walk has pushed another.
    pub fn keep_causes(&mut self) {
        self.causes.get_or_insert_default();
    }

    /// What a walk pushes from here on belongs to the derivative (or to a batch) of `node`.
    pub(crate) fn cause(&mut self, node: Option<NodeId>, derivative: bool) {
        let len = self.nodes.len();
        if let Some(causes) = &mut self.causes {
            // what has pushed nothing has caused nothing
            causes.pop_if(|c| c.0 == len);
            causes.push((len, node.map(|node| Cause { node, derivative })));
        }
    }

    /// What a walk has pushed this node for.
    pub fn cause_of(&self, node: NodeId) -> Option<Cause> {
        let causes = self.causes.as_ref()?;
        let k = causes.partition_point(|c| c.0 <= node.index()).checked_sub(1)?;
        causes[k].1
    }

    /// Opens or closes a scope for as long as somebody works inside; says what it was.
    pub fn reopen_scope(&mut self, scope: u32, open: bool) -> bool {
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

    /// What stands for the pending host calls of a scope; they are somebody's now.
    pub fn take_calls(&mut self, scope: u32) -> Vec<NodeId> {
        let hosts = self.take_hosts(scope);
        hosts.into_iter().filter_map(|h| self.results(h).last().copied()).collect()
    }

    /// The same for those alone that are done for their effect; the others are forgotten. `None` are all scopes.
    pub fn take_effects(&mut self, scope: Option<u32>) -> Vec<NodeId> {
        let hosts = match scope {
            Some(scope) => self.take_hosts(scope),
            None => std::mem::take(&mut self.hosts),
        };
        let hosts = hosts.into_iter().filter(|h| has_effects(self.op(*h)));
        hosts.filter_map(|h| self.results(h).last().copied()).collect()
    }

    /// Whatever was pushed from `start` on, somebody else does.
    pub(crate) fn forget_hosts(&mut self, start: usize) {
        self.hosts.retain(|h| h.index() < start);
    }

    /// The operation that `result` is of is to be done.
    pub(crate) fn remember_host(&mut self, result: NodeId) {
        let host = self.input(result, 0);
        self.hosts.push(host);
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

    /// What has been recorded for control flow with rules of users in it.
    pub fn closing(&self, node: NodeId, reverse: bool) -> Option<Arc<Closing>> {
        self.closings.get(&(node, reverse)).cloned()
    }

    pub fn keep_closing(&mut self, node: NodeId, reverse: bool, closing: Closing) {
        self.closings.insert((node, reverse), Arc::new(closing));
    }

    /// The rules that have been recorded for a custom operation in a body.
    pub fn closed(&self, custom: &Custom) -> Option<Arc<Closed>> {
        self.closed.get(custom).cloned()
    }

    pub fn keep_closed(&mut self, custom: Custom, closed: Arc<Closed>) {
        self.closed.insert(custom, closed);
    }

    /// Gives a copy of an operation, at the same values, the rules that were recorded for the original.
    pub fn share_rules(&mut self, from: NodeId, to: NodeId) {
        if let Some(rules) = self.rules.get(&from).cloned() {
            self.rules.insert(to, rules);
        }
        for reverse in [false, true] {
            if let Some(closing) = self.closing(from, reverse) {
                self.closings.insert((to, reverse), closing);
            }
        }
    }
}
