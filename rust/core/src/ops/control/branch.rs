//! One of several bodies, by an index: cond and switch. With one body it is a plain call, which is what checkpoint is.

use super::body::{Body, all, derive};
use super::{Flow, Meta, Site, chosen, full, key, present, scattered, spread, zero};
use crate::ops::{Batch, Binary, Cotangents, Reverse, none};
use crate::tape::{DType, NodeId, Shape, Tape};
use crate::{Result, walk};

const VJP: u64 = 0;
const JVP: u64 = 1;
const BATCH: u64 = 2;

/// Inputs: the index (int64, clamped) where there are several bodies, then what the bodies take. All bodies have the same
/// parameters and outputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Branch {
    pub bodies: Vec<Body>,
}

impl Branch {
    /// The derived operation on these inputs, without those that none of its bodies reads.
    fn push(bodies: Vec<Body>, inputs: &[NodeId], t: &mut Tape) -> Result<Vec<NodeId>> {
        let first = usize::from(bodies.len() > 1);
        let count = inputs.len() - first;
        let read: Vec<bool> = (0..count).map(|k| bodies.iter().any(|b| b.reads(k))).collect();
        let bodies = bodies.iter().map(|b| b.keeping(&read)).collect();
        let mut from = inputs[..first].to_vec();
        from.extend(chosen(&inputs[first..], &read));
        Ok(t.push_tuple(Branch { bodies }.into(), &from)?.1)
    }

    /// The place of the first argument of the bodies.
    fn first(&self) -> usize {
        usize::from(self.bodies.len() > 1)
    }

    fn outputs(&self) -> &[Meta] {
        self.bodies.first().map_or(&[], |b| b.outputs())
    }
}

fn batched(body: &Body, size: usize, which: &[bool], force: &[bool]) -> Result<std::sync::Arc<super::body::Derived>> {
    let mut words = key(BATCH, &[which, force]);
    words.push(size as u64);
    body.derived(words, || {
        let metas: Vec<Meta> = body
            .params()
            .iter()
            .zip(which)
            .map(|(m, &b)| if b { super::stacked(m, size) } else { m.clone() })
            .collect();
        let mut d = derive(&metas, &all, |t, params| {
            let found = batch_body(t, body, params, which, size)?;
            let mut out = Vec::new();
            let mut present = Vec::new();
            for ((y, b), &force) in found.into_iter().zip(force) {
                out.push(if force { full(t, y, b, size)? } else { y });
                present.push(b || force);
            }
            Ok((out, present))
        })?;
        d.body = d.body.batch_of(body, which);
        Ok(d)
    })
}

/// The outputs of the body for a batch of those arguments that are batched.
pub(super) fn batch_body(
    t: &mut Tape,
    body: &Body,
    args: &[NodeId],
    which: &[bool],
    size: usize,
) -> Result<Vec<(NodeId, bool)>> {
    let scope = t.open_scope();
    let (mut inner, mut examples, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for ((&x, &b), (shape, dtype)) in args.iter().zip(which).zip(body.params()) {
        if b {
            let one = t.abstract_param(scope, shape.clone(), *dtype)?;
            examples.push(one);
            values.push(x);
            inner.push(one);
        } else {
            inner.push(x);
        }
    }
    let (mut wanted, effects) = body.inline_all(t, &inner)?;
    let count = wanted.len();
    wanted.extend(effects);
    let mut found = walk::batch(t, &examples, &values, size, &wanted)?;
    t.close_scope(scope);
    for (&effect, &(now, _)) in wanted[count..].iter().zip(&found[count..]) {
        // the same for all of the batch: once
        if effect == now {
            t.remember_host(now);
        }
    }
    found.truncate(count);
    Ok(found)
}

impl Flow for Branch {
    fn name(&self) -> &'static str {
        match self.bodies.len() {
            1 => "checkpoint",
            2 => "cond",
            _ => "switch",
        }
    }

    fn results(&self) -> Vec<Meta> {
        self.outputs().to_vec()
    }

    fn vjp_at(&self, r: &mut Reverse<'_>, site: &Site, cotangents: &[Option<NodeId>]) -> Result<Cotangents> {
        let inputs = &site.inputs;
        let args = &inputs[self.first()..];
        let want: Vec<bool> =
            (0..args.len()).map(|k| r.want(k + self.first()) && r.t.dtype(args[k]).is_inexact()).collect();
        let given = present(cotangents);
        let mut bodies = Vec::new();
        let mut flows = vec![false; chosen(args, &want).len()];
        for body in &self.bodies {
            let d = body.derived(key(VJP, &[&given, &want]), || {
                let metas: Vec<Meta> = body.params().iter().cloned().chain(chosen(body.outputs(), &given)).collect();
                derive(&metas, &all, |t, params| {
                    let (args, cotangents) = params.split_at(body.params().len());
                    let outputs = chosen(&body.inline(t, args)?, &given);
                    let found = walk::vjp(t, &outputs, cotangents, &chosen(args, &want))?;
                    with_zeros(t, &found, &chosen(body.params(), &want))
                })
            })?;
            flows.iter_mut().zip(&d.present).for_each(|(f, &p)| *f |= p);
            bodies.push(d.body.clone());
        }
        let given: Vec<NodeId> = cotangents.iter().flatten().copied().collect();
        let mut from: Vec<NodeId> = inputs.clone();
        from.extend(given);
        let results = Branch::push(bodies, &from, r.t)?;
        let mut out = none(inputs.len());
        for (k, x) in scattered(&results.into_iter().zip(flows).collect::<Vec<_>>(), &want).into_iter().enumerate() {
            out[k + self.first()] = x.filter(|x| x.1).map(|x| x.0.into());
        }
        Ok(out)
    }

    fn jvp_at(&self, t: &mut Tape, site: &Site, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        let inputs = &site.inputs;
        let tangents = &tangents[self.first()..];
        let given = present(tangents);
        let inexact: Vec<bool> = self.outputs().iter().map(|m| m.1.is_inexact()).collect();
        let mut bodies = Vec::new();
        let mut flows = vec![false; chosen(&inexact, &inexact).len()];
        for body in &self.bodies {
            let d = body.derived(key(JVP, &[&given]), || {
                let metas: Vec<Meta> = body.params().iter().cloned().chain(chosen(body.params(), &given)).collect();
                derive(&metas, &all, |t, params| {
                    let (args, tangents) = params.split_at(body.params().len());
                    let outputs = chosen(&body.inline(t, args)?, &inexact);
                    let some: Vec<Option<NodeId>> = tangents.iter().copied().map(Some).collect();
                    let found = walk::jvp(t, &chosen(args, &given), &some, &outputs)?;
                    with_zeros(t, &found, &chosen(body.outputs(), &inexact))
                })
            })?;
            flows.iter_mut().zip(&d.present).for_each(|(f, &p)| *f |= p);
            bodies.push(d.body.clone());
        }
        let mut from: Vec<NodeId> = inputs.clone();
        from.extend(tangents.iter().flatten());
        let results = Branch::push(bodies, &from, t)?;
        let results: Vec<(NodeId, bool)> = results.into_iter().zip(flows).collect();
        Ok(scattered(&results, &inexact).into_iter().map(|x| x.filter(|x| x.1).map(|x| x.0)).collect())
    }

    fn batch_all(&self, t: &mut Tape, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        let args = &b.inputs[self.first()..];
        let which: Vec<bool> = args.iter().map(|a| a.1).collect();
        let nodes: Vec<NodeId> = args.iter().map(|a| a.0).collect();
        if self.first() == 1 && b.inputs[0].1 {
            // each lane has its own: all bodies, and a choice among their results
            let index = b.inputs[0].0;
            let mut out: Vec<NodeId> = Vec::new();
            for (k, body) in self.bodies.iter().enumerate().rev() {
                let found = batch_body(t, body, &nodes, &which, b.size)?;
                let found =
                    found.into_iter().map(|(y, batched)| full(t, y, batched, b.size)).collect::<Result<Vec<_>>>()?;
                if k + 1 == self.bodies.len() {
                    out = found;
                    continue;
                }
                let number = t.lit_like(k as f64, index)?;
                let here = t.binary(if k == 0 { Binary::LessEqual } else { Binary::Equal }, index, number)?;
                for (old, new) in out.iter_mut().zip(found) {
                    let c = spread(t, here, new)?;
                    *old = t.select(c, new, *old)?;
                }
            }
            return Ok(out.into_iter().map(|y| (y, true)).collect());
        }
        let mut force = vec![false; self.outputs().len()];
        for body in &self.bodies {
            let d = batched(body, b.size, &which, &force)?;
            force.iter_mut().zip(&d.present).for_each(|(f, &p)| *f |= p);
        }
        let mut bodies = Vec::new();
        for body in &self.bodies {
            bodies.push(batched(body, b.size, &which, &force)?.body.clone());
        }
        let from: Vec<NodeId> = b.inputs.iter().map(|x| x.0).collect();
        let (_, results) = t.push_tuple(Branch { bodies }.into(), &from)?;
        Ok(results.into_iter().zip(force).collect())
    }
}

/// What a walk has found, with zeros for what is not there.
pub(super) fn with_zeros(t: &mut Tape, found: &[Option<NodeId>], metas: &[Meta]) -> Result<(Vec<NodeId>, Vec<bool>)> {
    let mut out = Vec::with_capacity(found.len());
    for (x, m) in found.iter().zip(metas) {
        out.push(match x {
            Some(x) => *x,
            None => zero(t, m)?,
        });
    }
    Ok((out, present(found)))
}

impl Tape {
    /// The results of the body that the index (int64, clamped) says, or of the only one.
    pub fn branch(&mut self, bodies: Vec<Body>, index: Option<NodeId>, args: &[NodeId]) -> Result<Vec<NodeId>> {
        let metas: Vec<(Shape, DType)> = args.iter().map(|&x| (self.shape(x).clone(), self.dtype(x))).collect();
        for b in &bodies {
            super::check("a branch", b.params(), &metas)?;
            super::check("a branch", bodies[0].outputs(), b.outputs())?;
        }
        let inputs: Vec<NodeId> = index.into_iter().chain(args.iter().copied()).collect();
        Ok(self.push_tuple(Branch { bodies }.into(), &inputs)?.1)
    }
}
