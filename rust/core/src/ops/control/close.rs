//! Closing: the rules of users for the custom operations in bodies, as programs.
//!
//! A body is walked on a tape of its own, where no Python code can run. So before a walk meets control flow with custom
//! operations in its bodies, whoever starts the walk has their rules recorded, from arguments without values, and gives them to
//! the operations as programs. What a rule takes from outside (an array in a closure, or what the body had at that place)
//! becomes a further input of the operation, and so of all control flow around it.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::body::{Body, Origin};
use super::{Branch, Control, For, Meta, Stage, While};
use crate::ops::{Closed, Custom, Leaf, Op, Recorded};
use crate::plan::{self, Program};
use crate::tape::NodeId;
use crate::{Error, Result};

/// A node of the tape that the rules were recorded on, which a program needs for them.
type Extra = (NodeId, Meta);

/// The bodies around a rule.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Their scopes on the tape.
    pub scopes: Vec<u32>,
    /// Their parameters on the tape: what a rule takes of a body is computed from these.
    pub params: Vec<NodeId>,
}

impl Around {
    fn within(&self, origin: Option<&Origin>) -> Around {
        let mut next = self.clone();
        if let Some(o) = origin {
            next.scopes.extend(&o.scopes);
            next.params.extend(o.params.iter().flatten());
        }
        next
    }
}

/// Who can record rules apart from a walk.
pub trait RuleRecorder {
    /// All rules that the operation has, for results and arguments like these.
    fn record(&mut self, custom: &Custom, outs: &[Meta], args: &[Meta], around: &Around) -> Result<Arc<Closed>>;
}

/// Control flow whose custom operations have their rules.
#[derive(Clone, Debug)]
pub struct Closing {
    pub control: Control,
    /// What it takes besides the inputs that it had, from place `at` on.
    pub extras: Vec<Extra>,
    pub at: usize,
}

impl Closing {
    pub fn nodes(&self) -> Vec<NodeId> {
        self.extras.iter().map(|e| e.0).collect()
    }
}

/// How a node of a program changes: further inputs from place `at` on.
struct Edit {
    op: Op,
    at: usize,
    more: Vec<Extra>,
}

type Edits = FxHashMap<usize, Edit>;

/// A rule whose rules need rules, and so on without end, is not closed deeper than this.
const DEEPEST: usize = 24;

/// Closes what a walk will meet.
pub struct Closer<'a> {
    recorder: &'a mut dyn RuleRecorder,
    depth: usize,
}

impl<'a> Closer<'a> {
    pub fn new(recorder: &'a mut dyn RuleRecorder) -> Closer<'a> {
        Closer { recorder, depth: 0 }
    }

    /// The operation for a walk in reverse, or forward; `None` where nothing is to be done.
    pub fn control(&mut self, c: &Control, reverse: bool) -> Result<Option<Closing>> {
        self.close(c, &Around::default(), reverse)
    }

    fn close(&mut self, c: &Control, around: &Around, reverse: bool) -> Result<Option<Closing>> {
        let mut found: Vec<(&Body, Edits)> = Vec::new();
        for body in c.bodies() {
            let differentiated = !matches!(c, Control::While(w) if std::ptr::eq(body, &w.condition));
            let edits = match body.has_rules() && differentiated {
                true => {
                    let roots: Vec<bool> = body.params().iter().map(|m| m.1.is_inexact()).collect();
                    self.survey(body, &around.within(body.origin()), reverse, &roots)?
                }
                false => Edits::default(),
            };
            found.push((body, edits));
        }
        if found.iter().all(|f| f.1.is_empty()) {
            return Ok(None);
        }
        let mut extras: Vec<Extra> = Vec::new();
        for (body, edits) in &found {
            for e in missing(body, edits) {
                if !extras.contains(&e) {
                    extras.push(e);
                }
            }
        }
        let (at, first) = match c {
            Control::Branch(b) => (b.bodies[0].params().len(), usize::from(b.bodies.len() > 1)),
            Control::For(f) => (f.consts, 0),
            Control::While(w) => (w.consts, 0),
        };
        let mut bodies = found.into_iter().map(|(body, edits)| Body::new(edited(body, edits, &extras, at)));
        let mut next = || bodies.next().ok_or_else(|| Error::Internal("a body is missing".into()));
        let more = extras.len();
        let control = match c {
            Control::Branch(b) => {
                Control::Branch(Branch { bodies: b.bodies.iter().map(|_| next()).collect::<Result<_>>()? })
            }
            Control::For(f) => Control::For(For { body: next()?, consts: f.consts + more, ..f.clone() }),
            Control::While(w) => {
                let condition = next()?;
                let stage = |s: &Stage| Ok(Stage { body: next()?, ..s.clone() });
                let stages = w.stages.iter().map(stage).collect::<Result<_>>()?;
                Control::While(While { condition, consts: w.consts + more, stages })
            }
        };
        Ok(Some(Closing { control, extras, at: at + first }))
    }

    /// What changes in a body, where derivatives flow from the parameters in `roots`.
    fn survey(&mut self, body: &Body, around: &Around, reverse: bool, roots: &[bool]) -> Result<Edits> {
        let program = body.program();
        let mut depends = vec![false; program.nodes.len()];
        for (&p, &root) in program.params.iter().zip(roots) {
            depends[p as usize] = root;
        }
        let mut edits = Edits::default();
        for (i, n) in program.nodes.iter().enumerate() {
            if !n.inputs.is_empty() {
                let flows = |x: &u32| depends[*x as usize];
                depends[i] = n.op.carries(n.dtype) && n.inputs[n.op.carried()..].iter().any(flows);
            }
            if !depends[i] {
                continue;
            }
            match &n.op {
                Op::Custom(c) => {
                    if let Some(closed) = self.rules(c, program, n, around, reverse)? {
                        let known = c.closed.as_ref().map_or(0, |c| c.extras.len());
                        let more = closed.extras[known..].to_vec();
                        edits.insert(i, Edit { op: c.with(closed).into(), at: n.inputs.len(), more });
                    }
                }
                Op::Control(c) if c.has_rules() => {
                    if let Some(Closing { control, extras, at }) = self.close(c, around, reverse)? {
                        edits.insert(i, Edit { op: Op::Control(control), at, more: extras });
                    }
                }
                _ => {}
            }
        }
        Ok(edits)
    }

    /// The rules of a custom operation, if it does not have what the walk needs yet.
    fn rules(
        &mut self,
        c: &Custom,
        program: &Program,
        n: &plan::Node,
        around: &Around,
        reverse: bool,
    ) -> Result<Option<Arc<Closed>>> {
        let transposed = if reverse { !c.rule.has_vjp() } else { !c.rule.has_jvp() };
        let closed = match &c.closed {
            Some(closed) if closed.transposable || !transposed => return Ok(None),
            Some(closed) => closed.clone(),
            None => {
                let metas = |from: usize, count: usize| -> Vec<Meta> {
                    let inputs = n.inputs[from..from + count].iter();
                    inputs.map(|&x| &program.nodes[x as usize]).map(|x| (x.shape.clone(), x.dtype)).collect()
                };
                self.recorder.record(c, &metas(0, c.outs), &metas(c.outs, c.args), around)?
            }
        };
        if !transposed || closed.transposable {
            return Ok(Some(closed));
        }
        // a transposed rule is walked through in reverse
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Error::Type(format!(
                "the rule of {name} needs the transpose of itself; give {name} a rule for {} mode too",
                if reverse { "reverse" } else { "forward" },
                name = c.rule.name()
            )));
        }
        let mut next = (*closed).clone();
        let first = c.args + c.outs;
        let at = first + closed.extras.len();
        if let Some(rule) = if reverse { &mut next.jvp } else { &mut next.vjp } {
            let roots: Vec<bool> = (0..rule.body.params().len()).map(|k| k >= at).collect();
            let edits = self.survey(&rule.body, &around.within(rule.body.origin()), true, &roots)?;
            let extras = missing(&rule.body, &edits);
            if !edits.is_empty() {
                let body = Body::new(edited(&rule.body, edits, &extras, at));
                *rule = Recorded { body, present: rule.present.clone() };
            }
            next.extras.extend(extras);
        }
        next.transposable = true;
        self.depth -= 1;
        Ok(Some(Arc::new(next)))
    }
}

/// The place of a node of the tape in the program of a body that was recorded from it.
fn place_in(body: &Body, node: NodeId) -> Option<u32> {
    let k = body.origin()?.params.iter().position(|&p| p == Some(node))?;
    body.program().params.get(k).copied()
}

/// What the edits need that the body does not have.
fn missing(body: &Body, edits: &Edits) -> Vec<Extra> {
    let mut all: Vec<&Extra> = edits.values().flat_map(|e| &e.more).filter(|e| place_in(body, e.0).is_none()).collect();
    all.sort_by_key(|e| e.0);
    all.dedup_by_key(|e| e.0);
    all.into_iter().cloned().collect()
}

/// The program of a body with edits, and with further parameters from place `at` on. Parameters come before all else, since an
/// edit may need one that lay behind it.
fn edited(body: &Body, mut edits: Edits, extras: &[Extra], at: usize) -> Program {
    let old = body.program();
    let count = extras.len() as u32;
    let mut nodes: Vec<plan::Node> = Vec::with_capacity(extras.len() + old.nodes.len());
    for (_, (shape, dtype)) in extras {
        nodes.push(plan::Node {
            op: Op::Leaf(Leaf::Param),
            inputs: [].into_iter().collect(),
            shape: shape.clone(),
            dtype: *dtype,
        });
    }
    let mut first = vec![false; old.nodes.len()];
    for &p in &old.params {
        first[p as usize] = true;
    }
    let (params, others): (Vec<usize>, Vec<usize>) = (0..old.nodes.len()).partition(|&i| first[i]);
    let mut moved = vec![0; old.nodes.len()];
    for (k, &i) in params.iter().chain(&others).enumerate() {
        moved[i] = count + k as u32;
    }
    let place = |e: &Extra| {
        let known = place_in(body, e.0).map(|x| moved[x as usize]);
        known.or_else(|| extras.iter().position(|x| x.0 == e.0).map(|k| k as u32)).unwrap_or(0)
    };
    for &i in params.iter().chain(&others) {
        let mut n = old.nodes[i].clone();
        n.inputs.iter_mut().for_each(|x| *x = moved[*x as usize]);
        if let Some(edit) = edits.remove(&i) {
            n.op = edit.op;
            n.inputs.insert_many(edit.at, edit.more.iter().map(place));
        }
        nodes.push(n);
    }
    let places = |list: &[u32]| list.iter().map(|&x| moved[x as usize]).collect::<Vec<u32>>();
    let mut params = places(&old.params);
    params.splice(at..at, 0..count);
    Program { nodes, params, outputs: places(&old.outputs), effects: places(&old.effects), carries: Vec::new() }
}
