//! The walks, with what they need of Python: the rules of custom operations that they will meet are recorded first.

use std::sync::Arc;

use mlgrad_core::ops::{Level, Op};
use mlgrad_core::tape::{NodeId, Tape};
use mlgrad_core::walk;
use mlgrad_core::walk::rules::{self, Met, Template};
use pyo3::prelude::*;

use super::closing;
use super::custom::OnTape;
use super::host::run_pending;
use super::scope::Scope;
use crate::error::OrRaise;
use crate::trace::Trace;

/// The cotangents of `arguments`, given those of `outputs`.
pub fn vjp(
    py: Python<'_>,
    trace: &Arc<Trace>,
    outputs: &[NodeId],
    cotangents: &[NodeId],
    arguments: &[NodeId],
) -> PyResult<Vec<Option<NodeId>>> {
    prepare(py, trace, arguments, outputs, true)?;
    let found = walk::vjp(&mut trace.access().tape, outputs, cotangents, arguments);
    let found = found.or_raise(py)?;
    // rules may call the host
    run_pending(py, trace)?;
    Ok(found)
}

/// The same with zeros in the place of structural ones.
pub fn vjp_filled(
    py: Python<'_>,
    trace: &Arc<Trace>,
    outputs: &[NodeId],
    cotangents: &[NodeId],
    arguments: &[NodeId],
) -> PyResult<Vec<NodeId>> {
    let found = vjp(py, trace, outputs, cotangents, arguments)?;
    filled(py, trace, found, arguments)
}

/// The tangents of `outputs`, given those of `arguments`, with zeros in the place of structural ones.
pub fn jvp_filled(
    py: Python<'_>,
    trace: &Arc<Trace>,
    arguments: &[NodeId],
    tangents: &[Option<NodeId>],
    outputs: &[NodeId],
) -> PyResult<Vec<NodeId>> {
    prepare(py, trace, arguments, outputs, false)?;
    let found = walk::jvp(&mut trace.access().tape, arguments, tangents, outputs);
    let found = found.or_raise(py)?;
    run_pending(py, trace)?;
    filled(py, trace, found, outputs)
}

fn filled(py: Python<'_>, trace: &Trace, found: Vec<Option<NodeId>>, like: &[NodeId]) -> PyResult<Vec<NodeId>> {
    let all: mlgrad_core::Result<Vec<NodeId>> = {
        let t = &mut trace.access().tape;
        found.into_iter().zip(like).map(|(g, &x)| g.map_or_else(|| t.lit_like(0.0, x), Ok)).collect()
    };
    all.or_raise(py)
}

/// Records the rules that a walk between these nodes will ask for, until none is missing.
pub fn prepare(
    py: Python<'_>,
    trace: &Arc<Trace>,
    arguments: &[NodeId],
    outputs: &[NodeId],
    reverse: bool,
) -> PyResult<()> {
    let mut found = rules::met(&trace.access().tape, arguments, outputs, reverse);
    if found.is_empty() {
        return Ok(());
    }
    let _opened = match Trace::current() {
        Some(current) if Arc::ptr_eq(&current, trace) => None,
        _ => Some(trace.open()),
    };
    let mut done = 0;
    while done < found.len() {
        let m = found[done];
        done += 1;
        let op = trace.access().tape.op(m.node).clone();
        if let Op::Control(c) = op {
            closing::close(py, trace, m.node, &c, m.vjp)?;
            continue;
        }
        let known = |t: &Tape| {
            let (vjp, jvp) = t.rules(m.node);
            if m.vjp { vjp } else { jvp }
        };
        let template = known(&trace.access().tape);
        let template = match template {
            Some(t) => Some(t),
            None => {
                record(py, trace, m)?;
                known(&trace.access().tape)
            }
        };
        // a transposed rule is walked through in reverse
        if let (true, Some(rule)) = (m.transposed, template) {
            let outputs: Vec<NodeId> = rule.results.iter().flatten().copied().collect();
            let inside = rules::met(&trace.access().tape, &rule.seeds, &outputs, true);
            found.extend(inside);
        }
    }
    Ok(())
}

/// Records the rule of one operation.
fn record(py: Python<'_>, trace: &Arc<Trace>, m: Met) -> PyResult<()> {
    let (op, inputs, outs) = {
        let state = trace.lock()?;
        let Op::Custom(c) = state.tape.op(m.node).clone() else { return Ok(()) };
        (c, state.tape.inputs(m.node), state.tape.results(m.node))
    };
    let Some(rule) = op.rule.as_any().downcast_ref::<OnTape>() else { return Ok(()) };
    let args = &inputs[op.outs..op.outs + op.args];
    let scope = Scope::open(trace)?;
    let seeds = scope.params(py, if m.vjp { &outs } else { args }, false)?;
    let results = mapped(py, trace, rule, m.vjp, &op.levels, args, &outs, &seeds)?;
    let number = scope.number;
    let effects = trace.lock()?.tape.take_calls(number);
    drop(scope);
    let template = Template { seeds, results, effects, scope: number };
    trace.lock()?.tape.keep_rule(m.node, m.vjp, template);
    Ok(())
}

/// The rule under the vmaps of `levels`, the last of which is the outermost.
#[expect(clippy::too_many_arguments, reason = "one call of a rule")]
pub fn mapped(
    py: Python<'_>,
    trace: &Arc<Trace>,
    rule: &OnTape,
    vjp: bool,
    levels: &[Level],
    args: &[NodeId],
    outs: &[NodeId],
    seeds: &[NodeId],
) -> PyResult<Vec<Option<NodeId>>> {
    let Some((level, rest)) = levels.split_last() else {
        return rule.rule.call(py, trace, vjp, args, outs, seeds);
    };
    let scope = Scope::open(trace)?;
    let arg = |k: usize| level.batched[k];
    let (mut values, mut examples) = (Vec::new(), Vec::new());
    // batched ones are replaced by an example
    let mut one = |nodes: &[NodeId], batched: &dyn Fn(usize) -> bool| -> PyResult<Vec<NodeId>> {
        let picked: Vec<NodeId> = nodes.iter().enumerate().filter(|(k, _)| batched(*k)).map(|(_, &n)| n).collect();
        let made = scope.params(py, &picked, true)?;
        values.extend(&picked);
        examples.extend(&made);
        let mut made = made.into_iter();
        Ok(nodes.iter().enumerate().map(|(k, &n)| if batched(k) { made.next().unwrap_or(n) } else { n }).collect())
    };
    let args_of = one(args, &arg)?;
    let outs_of = one(outs, &|_| true)?;
    let seeds_of = if vjp { one(seeds, &|_| true)? } else { one(seeds, &arg)? };
    let found = mapped(py, trace, rule, vjp, rest, &args_of, &outs_of, &seeds_of)?;
    let some: Vec<NodeId> = found.iter().flatten().copied().collect();
    let results: mlgrad_core::Result<Vec<Option<NodeId>>> = (|| {
        let mut state = trace.access();
        let t = &mut state.tape;
        let mut wanted = some;
        wanted.extend(t.take_calls(scope.number));
        let mut batched = walk::batch(t, &examples, &values, level.size, &wanted)?.into_iter();
        let mut out = Vec::with_capacity(found.len());
        for (k, x) in found.iter().enumerate() {
            let (Some(_), Some((y, is_batched))) = (x, if x.is_some() { batched.next() } else { None }) else {
                out.push(None);
                continue;
            };
            let all = if is_batched {
                y
            } else {
                let mut to = t.shape(y).clone();
                to.insert(0, level.size);
                t.broadcast_to(y, &to)?
            };
            // what all examples share gets the sum of what each sends it
            out.push(Some(if vjp && !level.batched[k] { t.sum(all, &[0])? } else { all }));
        }
        Ok(out)
    })();
    drop(scope);
    results.or_raise(py)
}
