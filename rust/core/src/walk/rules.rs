//! Rules of custom operations, as pieces of the tape.
//!
//! A rule is recorded once for a node, from abstract seeds (cotangents of the results, or tangents of the arguments) in a
//! scope of their own. Walks copy the nodes between the seeds and what the rule gives, with what is known in the place of
//! the seeds. What does not depend on the seeds (residuals) is there already and shared.

use std::sync::Arc;

use super::Span;
use crate::ops::Op;
use crate::tape::{Inputs, NodeId, Tape};
use crate::{Error, Result};

/// A recorded rule.
#[derive(Debug)]
pub struct Template {
    /// Abstract nodes: one a result (or argument) of the operation.
    pub seeds: Vec<NodeId>,
    /// What comes out for each argument (or result); `None` is a structural zero.
    pub results: Vec<Option<NodeId>>,
    /// Nodes with an effect, which every copy has too.
    pub effects: Vec<NodeId>,
    pub scope: u32,
}

/// What has been recorded for a node: the rule of the reverse walk, and that of the forward walk.
pub type Rules = (Option<Arc<Template>>, Option<Arc<Template>>);

/// A custom operation that a walk will meet, or control flow with such in its bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    pub node: NodeId,
    /// Whether it is the reverse rule that is asked for (or has to stand in).
    pub vjp: bool,
    /// Whether the walk goes the other way, so that the rule is transposed.
    pub transposed: bool,
}

/// What a walk from `arguments` to `outputs`, or back, will meet that needs rules of users; the newest first.
pub fn met(t: &Tape, arguments: &[NodeId], outputs: &[NodeId], reverse: bool) -> Vec<Met> {
    if t.customs() == 0 {
        return Vec::new();
    }
    let span = Span::new(t, arguments, outputs, false);
    let needed = span.needed(t, outputs);
    let mut found = Vec::new();
    for i in (0..needed.len()).rev() {
        let node = NodeId((span.base + i) as u32);
        if !needed[i] {
            continue;
        }
        match t.op(node) {
            Op::Custom(c) => {
                let vjp = if reverse { c.rule.has_vjp() } else { !c.rule.has_jvp() };
                found.push(Met { node, vjp, transposed: vjp != reverse });
            }
            Op::Control(c) if c.has_rules() => found.push(Met { node, vjp: reverse, transposed: false }),
            _ => {}
        }
    }
    found
}

impl Template {
    /// The first node after everything that belongs to the rule.
    fn end(&self) -> usize {
        self.seeds
            .iter()
            .chain(self.results.iter().flatten())
            .chain(&self.effects)
            .map(|n| n.index() + 1)
            .max()
            .unwrap_or(0)
    }

    fn start(&self) -> usize {
        self.seeds.iter().map(|n| n.index()).min().unwrap_or(self.end())
    }

    /// Whether all of it lies before `len`.
    pub(crate) fn before(&self, len: usize) -> bool {
        self.end() <= len
    }

    /// Which nodes of the rule depend on its seeds.
    fn dependent(&self, t: &Tape) -> Vec<bool> {
        let start = self.start();
        let mut depends = vec![false; self.end() - start];
        for s in &self.seeds {
            depends[s.index() - start] = true;
        }
        for i in 0..depends.len() {
            depends[i] |= t.inputs_of(start + i).iter().any(|x| x.index() >= start && depends[x.index() - start]);
        }
        depends
    }
}

/// The rule with `values` for its seeds.
pub fn apply(t: &mut Tape, rule: &Template, values: &[NodeId]) -> Result<Vec<Option<NodeId>>> {
    let (start, depends) = (rule.start(), rule.dependent(t));
    let at = |x: NodeId| x.index().checked_sub(start).filter(|&i| i < depends.len() && depends[i]);
    let mut needed = vec![false; depends.len()];
    for i in rule.results.iter().flatten().chain(&rule.effects).filter_map(|&x| at(x)) {
        needed[i] = true;
    }
    for i in (0..needed.len()).rev() {
        if needed[i] {
            for j in t.inputs_of(start + i).iter().filter_map(|&x| at(x)) {
                needed[j] = true;
            }
        }
    }
    let mut copy: Vec<Option<NodeId>> = vec![None; depends.len()];
    for (s, &v) in rule.seeds.iter().zip(values) {
        copy[s.index() - start] = Some(v);
    }
    for i in 0..copy.len() {
        if !needed[i] || copy[i].is_some() {
            continue;
        }
        let id = NodeId((start + i) as u32);
        let inputs: Inputs = t.node(id).inputs.iter().map(|&x| at(x).and_then(|j| copy[j]).unwrap_or(x)).collect();
        // an operation with several results is followed by them
        for (k, new) in t.copy(id, &inputs)?.into_iter().enumerate() {
            if let Some(slot) = copy.get_mut(i + k) {
                *slot = Some(new);
            }
        }
    }
    Ok(rule.results.iter().map(|r| r.map(|x| at(x).and_then(|i| copy[i]).unwrap_or(x))).collect())
}

/// The transpose of a rule, which is linear in its seeds: what flows to them when `given` arrives at its results.
pub fn transpose(t: &mut Tape, rule: &Template, given: &[Option<NodeId>], name: &str) -> Result<Vec<Option<NodeId>>> {
    let (mut outputs, mut cotangents) = (Vec::new(), Vec::new());
    for (r, g) in rule.results.iter().zip(given) {
        if let (Some(r), Some(g)) = (r, g) {
            outputs.push(*r);
            cotangents.push(*g);
        }
    }
    let from = t.len();
    let was = t.reopen_scope(rule.scope, true);
    let found = super::vjp(t, &outputs, &cotangents, &rule.seeds);
    t.reopen_scope(rule.scope, was);
    let found = found?;
    // what was recorded now may refer to the rule's nodes, but not where the rule is linear
    let (start, depends) = (rule.start(), rule.dependent(t));
    let mut new = vec![false; t.len() - from];
    let tainted = |new: &[bool], x: NodeId| match x.index().checked_sub(from) {
        Some(i) => new[i],
        None => x.index() >= start && depends.get(x.index() - start).copied().unwrap_or(false),
    };
    for i in 0..new.len() {
        new[i] = t.inputs_of(from + i).iter().any(|&x| tainted(&new, x));
    }
    if found.iter().flatten().any(|&x| tainted(&new, x)) {
        return Err(Error::Type(format!(
            "the rule of {name} is not linear in its cotangents (or tangents), so that it cannot be used in the other mode; give \
             {name} a rule for that mode too (mlgrad.custom_jvp gives both modes)"
        )));
    }
    Ok(found)
}
