//! The rules of custom operations in the bodies of control flow: recorded on the tape, apart from the operations, and cut out
//! as programs.

use std::sync::Arc;

use mlgrad_core::Error;
use mlgrad_core::ops::control::body::{Body, Origin, cut, stays_inside};
use mlgrad_core::ops::control::close::{Around, Closer, RuleRecorder};
use mlgrad_core::ops::control::{Control, Meta};
use mlgrad_core::ops::{Closed, Custom, Recorded};
use mlgrad_core::tape::{NodeId, Tape};
use pyo3::prelude::*;

use super::custom::OnTape;
use super::scope::Scope;
use super::walks::mapped;
use crate::error::{OrRaise, keep_foreign};
use crate::trace::{Trace, meta};

/// Records the rules that a walk will ask for in the bodies of a node.
pub fn close(py: Python<'_>, trace: &Arc<Trace>, node: NodeId, control: &Control, reverse: bool) -> PyResult<()> {
    if trace.access().tape.closing(node, reverse).is_some() {
        return Ok(());
    }
    let mut recorder = Recorder { py, trace };
    if let Some(closing) = Closer::new(&mut recorder).control(control, reverse).or_raise(py)? {
        trace.access().tape.keep_closing(node, reverse, closing);
    }
    Ok(())
}

struct Recorder<'a, 'py> {
    py: Python<'py>,
    trace: &'a Arc<Trace>,
}

impl RuleRecorder for Recorder<'_, '_> {
    fn record(
        &mut self,
        custom: &Custom,
        outs: &[Meta],
        args: &[Meta],
        around: &Around,
    ) -> mlgrad_core::Result<Arc<Closed>> {
        let known = self.trace.access().tape.closed(custom);
        if let Some(closed) = known {
            return Ok(closed);
        }
        let closed = Arc::new(recorded(self.py, self.trace, custom, outs, args, around).map_err(keep_foreign)?);
        self.trace.access().tape.keep_closed(custom.clone(), closed.clone());
        Ok(closed)
    }
}

/// The scopes of the bodies around, open again: a rule may take what was recorded in them.
struct Reopened<'a> {
    trace: &'a Trace,
    was: Vec<(u32, bool)>,
}

impl<'a> Reopened<'a> {
    fn new(trace: &'a Trace, scopes: &[u32]) -> Reopened<'a> {
        let t = &mut trace.access().tape;
        Reopened { trace, was: scopes.iter().map(|&s| (s, t.reopen_scope(s, true))).collect() }
    }
}

impl Drop for Reopened<'_> {
    fn drop(&mut self) {
        let mut state = self.trace.access();
        if !state.over {
            for &(scope, was) in self.was.iter().rev() {
                state.tape.reopen_scope(scope, was);
            }
        }
    }
}

/// Everything that is recorded meanwhile belongs to a scope.
struct Floor<'a>(&'a Trace);

impl Drop for Floor<'_> {
    fn drop(&mut self) {
        self.0.access().tape.pop_floor();
    }
}

/// A rule on the tape: between abstract nodes, and what it gives.
struct Raw {
    args: Vec<NodeId>,
    outs: Vec<NodeId>,
    seeds: Vec<NodeId>,
    found: Vec<Option<NodeId>>,
    effects: Vec<NodeId>,
    scope: u32,
    start: usize,
}

impl Raw {
    /// Whether a node is a part of the rule, or of a body around it.
    fn inside(&self, t: &Tape, x: NodeId, around: &Around) -> bool {
        let scope = t.node(x).scope;
        let own = x.index() >= self.start && (scope >= self.scope || stays_inside(t.op(x)));
        own || around.scopes.contains(&scope)
    }

    fn outputs(&self) -> Vec<NodeId> {
        self.found.iter().flatten().copied().collect()
    }

    /// The parameters of the program, with these for what it takes from outside.
    fn params(&self, extras: &[NodeId]) -> Vec<NodeId> {
        [&self.args[..], &self.outs, extras, &self.seeds].concat()
    }

    /// What the rule takes from outside: parameters of the bodies around it, or nodes outside of them.
    fn extras(&self, t: &Tape, around: &Around) -> mlgrad_core::Result<Vec<NodeId>> {
        let params = self.params(&around.params);
        let found = cut(t, &params, &self.outputs(), &self.effects, &|x| self.inside(t, x, around))?;
        let first = self.args.len() + self.outs.len();
        let used = around.params.iter().zip(&found.used[first..]).filter(|(_, used)| **used).map(|(&p, _)| p);
        Ok(used.chain(found.captures).collect())
    }

    fn program(&self, t: &Tape, extras: &[NodeId], around: &Around) -> mlgrad_core::Result<Recorded> {
        let params = self.params(extras);
        let found = cut(t, &params, &self.outputs(), &self.effects, &|x| self.inside(t, x, around))?;
        if !found.captures.is_empty() {
            return Err(Error::Internal("a rule that takes more from outside than was found".into()));
        }
        let params = params.into_iter().map(Some).collect();
        let body = Body::recorded(found.program, Origin { scopes: vec![self.scope], params });
        Ok(Recorded { body, present: self.found.iter().map(Option::is_some).collect() })
    }
}

fn recorded(
    py: Python<'_>,
    trace: &Arc<Trace>,
    custom: &Custom,
    outs: &[Meta],
    args: &[Meta],
    around: &Around,
) -> PyResult<Closed> {
    let mut closed = Closed { vjp: None, jvp: None, extras: Vec::new(), transposable: false };
    let Some(rule) = custom.rule.as_any().downcast_ref::<OnTape>() else { return Ok(closed) };
    let _reopened = Reopened::new(trace, &around.scopes);
    let mut raws = Vec::new();
    for (vjp, has) in [(true, custom.rule.has_vjp()), (false, custom.rule.has_jvp())] {
        if has {
            raws.push((vjp, raw(py, trace, rule, custom, vjp, (outs, args))?));
        }
    }
    let state = trace.access();
    let mut extras: Vec<NodeId> = Vec::new();
    for (_, raw) in &raws {
        let found = raw.extras(&state.tape, around).map_err(|_| {
            Error::Type(format!(
                "the rule of {name} reads, from a closure or in nondiff_argnums, an array of the body around it that differs from \
                 example to example under vmap; pass it as a differentiable argument of {name}, or take the derivative inside of \
                 the vmap",
                name = custom.rule.name()
            ))
        });
        extras.extend(found.or_raise(py)?);
    }
    extras.sort_unstable();
    extras.dedup();
    for (vjp, raw) in &raws {
        let program = raw.program(&state.tape, &extras, around).or_raise(py)?;
        *(if *vjp { &mut closed.vjp } else { &mut closed.jvp }) = Some(program);
    }
    closed.extras = extras.into_iter().map(|x| (x, meta(&state, x))).collect();
    Ok(closed)
}

fn raw(
    py: Python<'_>,
    trace: &Arc<Trace>,
    rule: &OnTape,
    custom: &Custom,
    vjp: bool,
    (outs, args): (&[Meta], &[Meta]),
) -> PyResult<Raw> {
    let scope = Scope::open(trace)?;
    let params = |metas: &[Meta]| -> PyResult<Vec<NodeId>> {
        let t = &mut trace.lock()?.tape;
        metas.iter().map(|(s, d)| t.abstract_param(scope.number, s.clone(), *d).or_raise(py)).collect()
    };
    let start = trace.access().tape.len();
    let (args, outs, seeds) = (params(args)?, params(outs)?, params(if vjp { outs } else { args })?);
    trace.access().tape.push_floor(scope.number);
    let floor = Floor(trace);
    let found = mapped(py, trace, rule, vjp, &custom.levels, &args, &outs, &seeds)?;
    drop(floor);
    let effects = trace.access().tape.take_effects(Some(scope.number));
    Ok(Raw { args, outs, seeds, found, effects, scope: scope.number, start })
}
