//! Results that are a function of arguments by rules of the user's.
//!
//! The inputs are the results as they were computed, the arguments, and what the computation captured from outside. By value
//! a result is the first of these; derivatives flow through the arguments alone, as the rules say. The rules themselves
//! are recorded before a walk that needs them (see `walk::rules`); here they are only copied into place.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Batch, Cotangents, Op, Project, Reverse, Tuple};
use crate::tape::{DType, NodeId, Shape, Tape};
use crate::walk::rules;
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
        Error::Type(format!(
            "{name} has a derivative rule of its own and is called in a body of control flow (cond, scan, while_loop, checkpoint, \
             …), where such rules are not supported yet; call {name} outside of the body, or write a Python loop or if",
            name = self.rule.name()
        ))
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
        if r.want[self.outs + self.args..].contains(&true) {
            return Err(self.no_capture());
        }
        let found = match r.t.rules(node) {
            (Some(vjp), _) => {
                let seeds = filled(r.t, cotangents, &r.t.results(node))?;
                rules::apply(r.t, &vjp, &seeds)?
            }
            (None, Some(jvp)) => rules::transpose(r.t, &jvp, cotangents, self.rule.name())?,
            (None, None) => return Err(self.unresolved()),
        };
        let mut out: Cotangents = SmallVec::from_elem(None, r.want.len());
        for (slot, g) in out[self.outs..].iter_mut().zip(found) {
            *slot = g.map(Into::into);
        }
        Ok(out)
    }

    fn jvp_all(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        let (args, captured) = tangents[self.outs..].split_at(self.args);
        if captured.iter().any(Option::is_some) {
            return Err(self.no_capture());
        }
        if args.iter().all(Option::is_none) {
            return Ok(vec![None; self.outs]);
        }
        match t.rules(node) {
            (_, Some(jvp)) => {
                let primals: SmallVec<[NodeId; 3]> = t.inputs(node)[self.outs..self.outs + self.args].into();
                let seeds = filled(t, args, &primals)?;
                rules::apply(t, &jvp, &seeds)
            }
            (Some(vjp), None) => rules::transpose(t, &vjp, args, self.rule.name()),
            (None, None) => Err(self.unresolved()),
        }
    }

    /// The rules are then vmaps of the rules.
    fn batch_all(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        let mut inputs: SmallVec<[NodeId; 6]> = SmallVec::new();
        for k in 0..self.outs {
            inputs.push(b.full(t, k)?);
        }
        inputs.extend(b.inputs[self.outs..].iter().map(|x| x.0));
        let mut levels = self.levels.clone();
        let batched = b.inputs[self.outs..self.outs + self.args].iter().map(|x| x.1).collect();
        levels.push(Level { size: b.size, batched });
        debug_assert_eq!(b.inputs.len(), t.inputs(node).len());
        let attached = Attached { rule: self.rule.clone(), outs: self.outs, args: self.args, levels };
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
        self.push_custom(Attached { rule, outs: outs.len(), args: args.len(), levels: Vec::new() }, &inputs)
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
