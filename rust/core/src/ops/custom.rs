//! Results that are a function of arguments by rules of the user's.
//!
//! The inputs are the results as they were computed, the arguments, and what the computation captured from outside. By value
//! a result is the first of these; derivatives flow through the arguments alone, as the rules say. The rules themselves
//! are recorded before a walk that needs them (see `walk::rules`); here they are only copied into place. In the body of control
//! flow, which is walked on a tape that Python does not know, the operation has them with it as programs (see
//! `control::close`).

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use super::control::{Body, Mask, Meta, scattered};
use super::{Batch, Cotangents, Op, Project, Reverse, Tuple};
use crate::tape::{DType, NodeId, Shape, Tape};
use crate::walk::rules::{self, Template};
use crate::{Error, Result};

/// Who can record the rules of an operation.
pub trait CustomRule: Any + fmt::Debug + Send + Sync {
    /// The function that the rules belong to, for messages.
    fn name(&self) -> &str;

    /// Whether there is a rule for the reverse walk. Without one it is the transpose of that for the forward walk.
    fn has_vjp(&self) -> bool;

    fn has_jvp(&self) -> bool;

    fn as_any(&self) -> &dyn Any;
}

/// One vmap around the operation: the results have the batch as first axis, and so have the arguments with `true`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Level {
    pub size: usize,
    pub batched: Vec<bool>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Custom(Arc<Attached>);

#[derive(Debug)]
pub struct Attached {
    pub rule: Arc<dyn CustomRule>,
    /// How many results there are.
    pub outs: usize,
    /// How many arguments.
    pub args: usize,
    /// The innermost first.
    pub levels: Vec<Level>,
    /// In a body: the rules as programs. What they take from outside are the last inputs.
    pub closed: Option<Arc<Closed>>,
}

/// Rules that were recorded apart from the operation.
#[derive(Clone, Debug)]
pub struct Closed {
    pub vjp: Option<Recorded>,
    pub jvp: Option<Recorded>,
    /// What they take from outside, as nodes of the tape that they were recorded on.
    pub extras: Vec<(NodeId, Meta)>,
    /// Whether they can be walked through.
    pub transposable: bool,
}

/// A program whose parameters are the arguments, the results, what the rules take from outside, and the seeds.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub body: Body,
    /// Which cotangents (or tangents) it gives.
    pub present: Mask,
}

impl std::ops::Deref for Custom {
    type Target = Attached;

    fn deref(&self) -> &Attached {
        &self.0
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Custom) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Custom {}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).cast::<()>().hash(state);
    }
}

impl Custom {
    fn no_capture(&self) -> Error {
        Error::Type(format!(
            "the derivative of {name} with respect to a value that it takes from outside (a closure, a global or an argument in \
             nondiff_argnums) is asked for, but its rule speaks of its arguments alone; pass that value as an argument, or \
             wrap it in mlgrad.stop_gradient",
            name = self.rule.name()
        ))
    }

    fn unresolved(&self) -> Error {
        // whoever walks a tape of Python's has recorded the rules before
        Error::Internal(format!("the rule of {} was not recorded", self.rule.name()))
    }

    /// The same with rules as programs.
    pub(crate) fn with(&self, closed: Arc<Closed>) -> Custom {
        let Attached { rule, outs, args, levels, .. } = &*self.0;
        let (rule, levels) = (rule.clone(), levels.clone());
        Custom(Arc::new(Attached { rule, outs: *outs, args: *args, levels, closed: Some(closed) }))
    }

    /// How many of the inputs are there for the rules alone.
    fn extras(&self) -> usize {
        self.closed.as_ref().map_or(0, |c| c.extras.len())
    }

    /// A rule on these seeds.
    fn inlined(&self, t: &mut Tape, node: NodeId, rule: &Recorded, seeds: &[NodeId]) -> Result<Vec<Option<NodeId>>> {
        let inputs = t.inputs(node);
        let mut given = inputs[self.outs..self.outs + self.args].to_vec();
        given.extend(t.results(node));
        given.extend(&inputs[inputs.len() - self.extras()..]);
        given.extend(seeds);
        let (found, effects) = rule.body.inline_all(t, &given)?;
        effects.into_iter().for_each(|e| t.remember_host(e));
        Ok(scattered(&found, &rule.present))
    }

    /// A rule on seeds without values, to be transposed.
    fn template(&self, t: &mut Tape, node: NodeId, rule: &Recorded, like: &[NodeId]) -> Result<Template> {
        let scope = t.open_scope();
        let mut seeds = Vec::with_capacity(like.len());
        for &x in like {
            let (shape, dtype) = (t.shape(x).clone(), t.dtype(x));
            seeds.push(t.abstract_param(scope, shape, dtype)?);
        }
        let start = t.len();
        let results = self.inlined(t, node, rule, &seeds)?;
        t.forget_hosts(start);
        t.close_scope(scope);
        Ok(Template { seeds, results, effects: Vec::new(), scope })
    }
}

impl Tuple for Custom {
    fn name(&self) -> &'static str {
        "custom"
    }

    fn attributes(&self) -> String {
        self.rule.name().to_string()
    }

    fn carried(&self) -> usize {
        self.outs
    }

    fn results(&self, inputs: &[(Shape, DType)]) -> Result<Vec<(Shape, DType)>> {
        Ok(inputs[..self.outs].to_vec())
    }

    fn vjp_all(&self, r: &mut Reverse<'_>, node: NodeId, cotangents: &[Option<NodeId>]) -> Result<Cotangents> {
        if r.want[self.outs + self.args..r.want.len() - self.extras()].contains(&true) {
            return Err(self.no_capture());
        }
        let t = &mut *r.t;
        let results = t.results(node);
        let inputs = t.inputs(node);
        let args = &inputs[self.outs..self.outs + self.args];
        let name = self.rule.name();
        let found = match (t.rules(node), self.closed.as_deref()) {
            ((Some(vjp), _), _) => {
                let seeds = filled(t, cotangents, &results)?;
                rules::apply(t, &vjp, &seeds)?
            }
            ((None, Some(jvp)), _) => rules::transpose(t, &jvp, cotangents, name)?,
            (_, Some(Closed { vjp: Some(vjp), .. })) => {
                let seeds = filled(t, cotangents, &results)?;
                self.inlined(t, node, vjp, &seeds)?
            }
            (_, Some(Closed { jvp: Some(jvp), .. })) => {
                let template = self.template(t, node, jvp, args)?;
                rules::transpose(t, &template, cotangents, name)?
            }
            _ => return Err(self.unresolved()),
        };
        let mut out: Cotangents = SmallVec::from_elem(None, r.want.len());
        for (slot, g) in out[self.outs..].iter_mut().zip(found) {
            *slot = g.map(Into::into);
        }
        Ok(out)
    }

    fn jvp_all(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        let (args, captured) = tangents[self.outs..tangents.len() - self.extras()].split_at(self.args);
        if captured.iter().any(Option::is_some) {
            return Err(self.no_capture());
        }
        if args.iter().all(Option::is_none) {
            return Ok(vec![None; self.outs]);
        }
        let results = t.results(node);
        let primals: SmallVec<[NodeId; 3]> = t.inputs(node)[self.outs..self.outs + self.args].into();
        match (t.rules(node), self.closed.as_deref()) {
            ((_, Some(jvp)), _) => {
                let seeds = filled(t, args, &primals)?;
                rules::apply(t, &jvp, &seeds)
            }
            ((Some(vjp), None), _) => rules::transpose(t, &vjp, args, self.rule.name()),
            (_, Some(Closed { jvp: Some(jvp), .. })) => {
                let seeds = filled(t, args, &primals)?;
                self.inlined(t, node, jvp, &seeds)
            }
            (_, Some(Closed { vjp: Some(vjp), .. })) => {
                let template = self.template(t, node, vjp, &results)?;
                rules::transpose(t, &template, args, self.rule.name())
            }
            _ => Err(self.unresolved()),
        }
    }

    /// The rules are then vmaps of the rules.
    fn batch_all(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        let mut inputs: SmallVec<[NodeId; 6]> = SmallVec::new();
        for k in 0..self.outs {
            inputs.push(b.full(t, k)?);
        }
        // rules as programs were those of one example
        inputs.extend(b.inputs[self.outs..b.inputs.len() - self.extras()].iter().map(|x| x.0));
        let mut levels = self.levels.clone();
        let batched = b.inputs[self.outs..self.outs + self.args].iter().map(|x| x.1).collect();
        levels.push(Level { size: b.size, batched });
        debug_assert_eq!(b.inputs.len(), t.inputs(node).len());
        let attached = Attached { rule: self.rule.clone(), outs: self.outs, args: self.args, levels, closed: None };
        let results = t.push_custom(attached, &inputs)?;
        Ok(results.into_iter().map(|y| (y, true)).collect())
    }
}

/// Zeros in the place of those that are `None`.
fn filled(t: &mut Tape, given: &[Option<NodeId>], like: &[NodeId]) -> Result<Vec<NodeId>> {
    given.iter().zip(like).map(|(g, &x)| g.map_or_else(|| t.lit_like(0.0, x), Ok)).collect()
}

impl Tape {
    /// What a result of a custom operation is by value.
    pub fn custom_result(&self, x: NodeId) -> Option<NodeId> {
        match *self.op(x) {
            Op::Project(Project(k)) => {
                let tuple = self.input(x, 0);
                matches!(self.op(tuple), Op::Custom(_)).then(|| self.input(tuple, k as usize))
            }
            _ => None,
        }
    }

    fn push_custom(&mut self, attached: Attached, inputs: &[NodeId]) -> Result<Vec<NodeId>> {
        let (_, results) = self.push_tuple(Custom(Arc::new(attached)).into(), inputs)?;
        Ok(results)
    }

    /// `outs` as functions of `args` that `rule` differentiates. Derivatives with respect to `captured` are refused.
    pub fn attach(
        &mut self,
        rule: Arc<dyn CustomRule>,
        outs: &[NodeId],
        args: &[NodeId],
        captured: &[NodeId],
    ) -> Result<Vec<NodeId>> {
        let inputs: Vec<NodeId> = [outs, args, captured].concat();
        let (outs, args) = (outs.len(), args.len());
        self.push_custom(Attached { rule, outs, args, levels: Vec::new(), closed: None }, &inputs)
    }

    /// What `outs` were computed from besides `args`, among the nodes before `start`, as far as derivatives may flow.
    pub fn captured(&self, outs: &[NodeId], args: &[NodeId], start: usize) -> Vec<NodeId> {
        let mut seen = vec![false; self.len().saturating_sub(start)];
        let mut stack: Vec<NodeId> = outs.to_vec();
        let mut found: Vec<NodeId> = Vec::new();
        while let Some(x) = stack.pop() {
            if args.contains(&x) {
                continue;
            }
            let n = self.node(x);
            if x.index() < start {
                // neither numbers nor values from outside depend on anything
                let constant = n.inputs.is_empty() && (n.value.is_some() || n.scope == 0);
                if n.op.carries(n.dtype) && !constant && !found.contains(&x) {
                    found.push(x);
                }
                continue;
            }
            if std::mem::replace(&mut seen[x.index() - start], true) {
                continue;
            }
            if n.op.carries(n.dtype) {
                stack.extend_from_slice(&n.inputs[n.op.carried()..]);
            }
        }
        found
    }
}
