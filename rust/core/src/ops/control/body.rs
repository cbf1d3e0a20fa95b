//! Bodies: functions that were recorded once, as position-independent programs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::{Mask, Meta};
use crate::ops::{Leaf, Movement, Op, Project};
use crate::plan::{self, Plan, Program};
use crate::tape::{NodeId, Tape};
use crate::{Error, Result};

/// A program with its hash, with what has been derived from it, and its plans. Two of one structure are one.
#[derive(Clone)]
pub struct Body(Arc<Inner>);

struct Inner {
    program: Program,
    key: u128,
    params: Vec<Meta>,
    outputs: Vec<Meta>,
    /// Where a rule of a user is in it: the same without rules, which is what it is for plans.
    plain: Option<Body>,
    /// Whether something of a user's is in it.
    private: bool,
    /// Such a body only: what it was recorded from.
    origin: Option<Origin>,
    derived: Mutex<FxHashMap<Vec<u64>, Arc<Derived>>>,
    /// By which outputs are wanted; the cache of plans and the calls in other plans own them.
    plans: Mutex<Vec<(Asked, Weak<Plan>)>>,
}

/// Which outputs are wanted, and what becomes of parameters (see `Program::carries`).
type Asked = (Mask, Vec<(u32, u32)>);

/// Where a body was recorded, for the rules of users in it, which may take from there what is not among their arguments.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The scopes of the body and of those around it.
    pub scopes: Vec<u32>,
    /// The parameters of its program as nodes of the tape, as far as there are such.
    pub params: Vec<Option<NodeId>>,
}

/// A body that a walk has made of another one.
pub struct Derived {
    pub body: Body,
    /// Which of its outputs are more than structural zeros (or are batched).
    pub present: Mask,
    /// Which of the parameters that it was offered it has.
    pub used: Mask,
    /// What a loop's rule has found out about its slots.
    pub masks: Vec<Mask>,
}

impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Body {}

impl Hash for Body {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.key as u64);
        state.write_u64((self.0.key >> 64) as u64);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({:x})", self.0.key)
    }
}

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bodies by the hash of their programs, so that what is recorded anew finds its derived bodies and plans.
#[derive(Default)]
struct Known {
    bodies: FxHashMap<u128, Body>,
    bytes: usize,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
const MAX_KNOWN: usize = 1024;
const MAX_BYTES: usize = 64 << 20;

impl Body {
    pub fn new(program: Program) -> Body {
        Body::from(program, None)
    }

    /// A body that was recorded on a tape of Python's.
    pub fn recorded(program: Program, origin: Origin) -> Body {
        Body::from(program, Some(origin))
    }

    fn from(program: Program, origin: Option<Origin>) -> Body {
        let rules = program.nodes.iter().any(|n| match &n.op {
            Op::Custom(_) => true,
            Op::Control(c) => c.has_rules(),
            _ => false,
        });
        // rules and functions of users are told apart by their place in memory: such a body is not found again, and not kept
        // for that
        let host = |n: &plan::Node| match &n.op {
            Op::Host(_) => true,
            Op::Control(c) => c.bodies().any(|b| b.0.private),
            _ => false,
        };
        let private = rules || program.nodes.iter().any(host);
        let plain = rules.then(|| Body::new(by_value(program.clone())));
        let key = plain.as_ref().map_or_else(|| program.key(), Body::key);
        if let (false, Some(known)) = (private, locked(&KNOWN).get_or_insert_default().bodies.get(&key)) {
            return known.clone();
        }
        let meta = |places: &[u32]| -> Vec<Meta> {
            places.iter().map(|&p| &program.nodes[p as usize]).map(|n| (n.shape.clone(), n.dtype)).collect()
        };
        let (params, outputs) = (meta(&program.params), meta(&program.outputs));
        let bytes = program.bytes();
        let body = Body(Arc::new(Inner {
            program,
            key,
            params,
            outputs,
            plain,
            private,
            origin: origin.filter(|_| rules),
            derived: Mutex::default(),
            plans: Mutex::default(),
        }));
        if private {
            return body;
        }
        let mut dropped = Vec::new();
        let mut guard = locked(&KNOWN);
        let known = guard.get_or_insert_default();
        if known.bodies.len() >= MAX_KNOWN || known.bytes + bytes > MAX_BYTES {
            // what no plan and no other body refers to
            known.bodies.retain(|_, b| {
                let kept = Arc::strong_count(&b.0) > 1;
                if !kept {
                    dropped.push(b.clone());
                }
                kept
            });
            known.bytes = known.bodies.values().map(|b| b.0.program.bytes()).sum();
        }
        known.bytes += bytes;
        let body = known.bodies.entry(key).or_insert(body).clone();
        drop(guard);
        drop(dropped);
        body
    }

    /// Whether anything in it depends on parameter `k`.
    pub fn reads(&self, k: usize) -> bool {
        let (p, program) = (self.0.program.params[k], &self.0.program);
        program.outputs.contains(&p) || program.nodes.iter().any(|n| n.inputs.contains(&p))
    }

    /// The same without some of its parameters, none of which anything depends on.
    pub fn keeping(&self, keep: &[bool]) -> Body {
        if keep.iter().all(|&k| k) {
            return self.clone();
        }
        let program = &self.0.program;
        let gone: FxHashSet<u32> = program.params.iter().zip(keep).filter(|(_, k)| !**k).map(|(&p, _)| p).collect();
        let mut place = vec![0; program.nodes.len()];
        let mut nodes = Vec::with_capacity(program.nodes.len() - gone.len());
        for (i, n) in program.nodes.iter().enumerate().filter(|(i, _)| !gone.contains(&(*i as u32))) {
            place[i] = nodes.len() as u32;
            let inputs = n.inputs.iter().map(|&x| place[x as usize]).collect();
            nodes.push(plan::Node { inputs, ..n.clone() });
        }
        let at = |list: &[u32]| list.iter().filter(|x| !gone.contains(x)).map(|&x| place[x as usize]).collect();
        let (params, outputs, effects) = (at(&program.params), at(&program.outputs), at(&program.effects));
        Body::new(Program { nodes, params, outputs, effects, carries: Vec::new() })
    }

    /// Whether a rule of a user is in it.
    pub fn has_rules(&self) -> bool {
        self.0.plain.is_some()
    }

    /// The same by value.
    pub fn plain(&self) -> &Body {
        self.0.plain.as_ref().unwrap_or(self)
    }

    /// Whether a host call for its effect is in it.
    pub fn has_effects(&self) -> bool {
        !self.0.program.effects.is_empty()
    }

    pub fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }

    /// The same body as `from`, but for a batch of those parameters that are batched, as its first ones.
    pub(crate) fn batch_of(self, from: &Body, batched: &[bool]) -> Body {
        let Some(origin) = from.origin().filter(|_| self.has_rules()) else { return self };
        let mut params: Vec<Option<NodeId>> =
            origin.params.iter().zip(batched).map(|(p, batched)| p.filter(|_| !batched)).collect();
        params.resize(self.0.params.len(), None);
        Body::recorded(self.0.program.clone(), Origin { scopes: origin.scopes.clone(), params })
    }

    pub fn params(&self) -> &[Meta] {
        &self.0.params
    }

    pub fn outputs(&self) -> &[Meta] {
        &self.0.outputs
    }

    pub(crate) fn key(&self) -> u128 {
        self.0.key
    }

    pub fn program(&self) -> &Program {
        &self.0.program
    }

    /// The body's operations on `args`, appended to a tape: its outputs. The effects are those of somebody else's.
    pub fn inline(&self, t: &mut Tape, args: &[NodeId]) -> Result<Vec<NodeId>> {
        Ok(self.inline_all(t, args)?.0)
    }

    /// The same, with what stands for the effects.
    pub fn inline_all(&self, t: &mut Tape, args: &[NodeId]) -> Result<(Vec<NodeId>, Vec<NodeId>)> {
        let start = t.len();
        let p = &self.0.program;
        let mut place: Vec<NodeId> = Vec::with_capacity(p.nodes.len());
        let mut args_at: FxHashMap<u32, NodeId> = FxHashMap::default();
        for (&at, &x) in p.params.iter().zip(args) {
            args_at.insert(at, x);
        }
        for (i, n) in p.nodes.iter().enumerate() {
            let id = if let Some(&x) = args_at.get(&(i as u32)) {
                x
            } else if let Op::Project(Project(k)) = n.op {
                t.results(place[n.inputs[0] as usize])[k as usize]
            } else {
                let inputs: SmallVec<[NodeId; 3]> = n.inputs.iter().map(|&x| place[x as usize]).collect();
                match n.op.tuple() {
                    Some(_) => t.push_tuple(n.op.clone(), &inputs)?.0,
                    None => t.push(n.op.clone(), &inputs, n.shape.clone(), n.dtype)?,
                }
            };
            place.push(id);
        }
        t.forget_hosts(start);
        let at = |list: &[u32]| list.iter().map(|&o| place[o as usize]).collect();
        Ok((at(&p.outputs), at(&p.effects)))
    }

    /// The body that `make` derives from this one, made once for each key.
    pub(crate) fn derived(&self, key: Vec<u64>, make: impl FnOnce() -> Result<Derived>) -> Result<Arc<Derived>> {
        if let Some(d) = locked(&self.0.derived).get(&key) {
            return Ok(d.clone());
        }
        // without the lock: a body may be part of itself, derived
        let made = Arc::new(make()?);
        Ok(locked(&self.0.derived).entry(key).or_insert(made).clone())
    }

    /// The plan that computes the wanted outputs, and behind them what stands for the effects.
    pub fn plan(&self, wanted: &[bool]) -> Result<Arc<Plan>> {
        self.plan_of_step(wanted, &[])
    }

    /// The same for a step of a loop: see `Program::carries`.
    pub fn plan_of_step(&self, wanted: &[bool], carries: &[(u32, u32)]) -> Result<Arc<Plan>> {
        if let Some(plain) = &self.0.plain {
            return plain.plan_of_step(wanted, carries);
        }
        let is_asked = |asked: &Asked| asked.0 == wanted && asked.1 == carries;
        let known = locked(&self.0.plans).iter().find(|(a, _)| is_asked(a)).and_then(|(_, plan)| plan.upgrade());
        if let Some(plan) = known {
            return Ok(plan);
        }
        let mut program = self.0.program.clone();
        let mut keep = wanted.iter();
        program.outputs.retain(|_| keep.next() == Some(&true));
        let effects = std::mem::take(&mut program.effects);
        program.outputs.extend(effects);
        program.carries = carries.to_vec();
        let plan = plan::plan_for_body(program)?;
        let mut plans = locked(&self.0.plans);
        plans.retain(|(a, _)| !is_asked(a));
        plans.push(((wanted.to_vec(), carries.to_vec()), Arc::downgrade(&plan)));
        Ok(plan)
    }
}

/// Results of custom operations as what they are by value: a plan knows nothing of their rules, and does not keep them.
fn by_value(mut p: Program) -> Program {
    without_rules(&mut p);
    for i in 0..p.nodes.len() {
        if let Op::Project(Project(k)) = p.nodes[i].op {
            let tuple = &p.nodes[p.nodes[i].inputs[0] as usize];
            if let Op::Custom(_) = tuple.op {
                let value = tuple.inputs[k as usize];
                p.nodes[i].op = Op::Leaf(Leaf::Alias);
                p.nodes[i].inputs = [value].into_iter().collect();
            }
        }
    }
    for n in &mut p.nodes {
        if let Op::Custom(_) = n.op {
            // nobody reads it any more
            n.op = Op::Leaf(Leaf::Literal(0));
            n.inputs.clear();
        }
    }
    p
}

/// Control flow as what it is by value.
pub(crate) fn without_rules(p: &mut Program) {
    for n in &mut p.nodes {
        if let Op::Control(c) = &n.op
            && c.has_rules()
        {
            n.op = Op::Control(c.plain());
        }
    }
}

/// A program cut out of a tape.
pub struct Cut {
    pub program: Program,
    /// What the parameters behind the given ones stand for.
    pub captures: Vec<NodeId>,
    /// Which of the given parameters the outputs depend on.
    pub used: Mask,
}

/// The program of `outputs` (and of `effects`) as a function of `params` and of the nodes that are not `inside`, which become
/// further parameters.
pub fn cut(
    t: &Tape,
    params: &[NodeId],
    outputs: &[NodeId],
    effects: &[NodeId],
    inside: &dyn Fn(NodeId) -> bool,
) -> Result<Cut> {
    let given: FxHashMap<NodeId, usize> = params.iter().enumerate().map(|(k, &p)| (p, k)).collect();
    let mut used = vec![false; params.len()];
    let mut captures: Vec<NodeId> = Vec::new();
    let mut list: Vec<NodeId> = params.to_vec();
    let mut seen: FxHashSet<NodeId> = FxHashSet::default();
    let mut stack: Vec<NodeId> = [outputs, effects].concat();
    while let Some(x) = stack.pop() {
        if !seen.insert(x) {
            continue;
        }
        if let Some(&k) = given.get(&x) {
            used[k] = true;
            continue;
        }
        list.push(x);
        let n = t.node(x);
        if n.value.is_some() || !inside(x) {
            captures.push(x);
        } else if n.op == Op::Leaf(Leaf::Param) {
            return Err(Error::Type(
                "an Array of another function that is being recorded is used in a body of control flow; pass it as an operand"
                    .into(),
            ));
        } else {
            stack.extend(n.inputs.iter().copied());
        }
    }
    captures.sort_unstable();
    list.sort_unstable();
    let place: FxHashMap<NodeId, u32> = list.iter().enumerate().map(|(i, &x)| (x, i as u32)).collect();
    let captured: FxHashSet<NodeId> = captures.iter().copied().collect();
    let mut program = Program::default();
    for &x in &list {
        let n = t.node(x);
        let leaf = given.contains_key(&x) || captured.contains(&x);
        let (op, inputs) = if leaf {
            (Op::Leaf(Leaf::Param), SmallVec::new())
        } else {
            (n.op.clone(), n.inputs.iter().map(|i| place[i]).collect())
        };
        program.nodes.push(plan::Node { op, inputs, shape: n.shape.clone(), dtype: n.dtype });
    }
    program.params = params.iter().chain(&captures).map(|p| place[p]).collect();
    program.outputs = outputs.iter().map(|o| place[o]).collect();
    program.effects = effects.iter().map(|e| place[e]).collect();
    Ok(Cut { program, captures, used })
}

/// Whether a node that depends on nothing in a loop's body is better computed in it: it costs nothing there, and handing it in
/// would need memory.
pub fn stays_inside(op: &Op) -> bool {
    match op {
        Op::Leaf(Leaf::Literal(_) | Leaf::Iota(_) | Leaf::Eye)
        | Op::Movement(Movement::Broadcast | Movement::Transpose(_)) => true,
        // what may raise is left where it may never run
        Op::Linalg(_) | Op::Gather(_) | Op::Factor(_) => true,
        Op::Leaf(Leaf::Param | Leaf::Alias | Leaf::Stop | Leaf::Dense)
        | Op::Movement(Movement::Reshape)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select(_)
        | Op::Cast(_)
        | Op::Windowed(_)
        | Op::Reduce(_)
        | Op::ArgReduce(_)
        | Op::MatMul(_)
        | Op::Scan(_)
        | Op::Sort(_) => false,
        // as one with what it is a result of
        Op::Project(_) | Op::Control(_) | Op::Custom(_) | Op::Host(_) => true,
    }
}

/// A body made on a tape of its own: `make` gets parameters of these shapes and dtypes, and gives the outputs and which of them
/// are present. Parameters that are not kept go if nothing depends on them.
pub(crate) fn derive(
    metas: &[Meta],
    keep: &dyn Fn(usize) -> bool,
    make: impl FnOnce(&mut Tape, &[NodeId]) -> Result<(Vec<NodeId>, Mask)>,
) -> Result<Derived> {
    let mut t = Tape::new();
    let scope = t.open_scope();
    let params: Vec<NodeId> =
        metas.iter().map(|(s, d)| t.abstract_param(scope, s.clone(), *d)).collect::<Result<_>>()?;
    let (outputs, present) = make(&mut t, &params)?;
    let effects = t.take_effects(None);
    let whole = cut(&t, &params, &outputs, &effects, &|_| true)?;
    let used: Mask = whole.used.iter().enumerate().map(|(k, &u)| u || keep(k)).collect();
    let program = match used.iter().all(|&u| u) {
        true => whole.program,
        false => cut(&t, &super::chosen(&params, &used), &outputs, &effects, &|_| true)?.program,
    };
    Ok(Derived { body: Body::new(program), present, used, masks: Vec::new() })
}

/// Everything stays.
pub(crate) fn all(_: usize) -> bool {
    true
}
