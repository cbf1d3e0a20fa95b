//! A body run while a condition holds, forward and back.
//!
//! The number of steps is known only when the loop has run, so what its derivatives need is not handed from operation to
//! operation as arrays: a loop is one operation of several **stages**. The first runs while the condition holds; each
//! further one runs over the same steps, forward or in reverse, with carries of its own, and reads what the earlier ones
//! had in their carries before or after the step, from stacks that grow while the loop runs and are freed with it. The reverse
//! rule adds to the stages of a loop their adjoints, last stage first; the forward rule gives each stage tangents; so the
//! derivatives of any order are loops of the same kind.

use super::body::{Body, Derived, all, derive};
use super::branch::{batch_body, with_zeros};
use super::{Flow, Mask, Meta, Site, add, chosen, full, key, present, scattered, spread, stacked, zero};
use crate::ops::{Batch, Cotangents, ReduceOp, Reverse, none};
use crate::tape::{Axes, NodeId, Tape};
use crate::{Result, walk};

const VJP: u64 = 20;
const JVP: u64 = 21;
const BATCH: u64 = 22;
const CONDITION: u64 = 23;
const DECIDING: u64 = 24;

/// What a stage reads at each step: carry `slot` of an earlier stage before (or after) that stage did the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    pub stage: u16,
    pub slot: u16,
    pub after: bool,
}

/// The body takes the constants of the loop, the carries of the stage, and what it reads; it gives the carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stage {
    pub body: Body,
    /// From the last step to the first.
    pub reverse: bool,
    pub reads: Vec<Read>,
}

impl Stage {
    pub fn carries(&self) -> usize {
        self.body.outputs().len()
    }
}

/// Inputs: constants, then the first carries of each stage. The condition takes the constants and the carries of the first
/// stage. Results: the last carries of each stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct While {
    pub condition: Body,
    pub consts: usize,
    pub stages: Vec<Stage>,
}

impl While {
    /// The place of the first carry of a stage among the results.
    fn offset(&self, stage: usize) -> usize {
        self.stages[..stage].iter().map(Stage::carries).sum()
    }

    /// The items of `list`, one a carry, by stage.
    fn by_stage<T: Clone>(&self, list: &[T]) -> Vec<Vec<T>> {
        (0..self.stages.len())
            .map(|s| list[self.offset(s)..self.offset(s) + self.stages[s].carries()].to_vec())
            .collect()
    }

    fn read_metas(&self, stage: usize) -> Vec<Meta> {
        let body = &self.stages[stage].body;
        body.params()[self.consts + self.stages[stage].carries()..].to_vec()
    }

    /// The body of the first stage, whose last output is whether the condition holds for the carries that it gives. None where
    /// somebody would see that the one runs with the other.
    pub(crate) fn deciding(&self) -> Result<Option<Body>> {
        let body = &self.stages[0].body;
        if body.has_effects() || self.condition.has_effects() {
            return Ok(None);
        }
        let condition = self.condition.key();
        let words = vec![DECIDING, self.consts as u64, condition as u64, (condition >> 64) as u64];
        let d = body.derived(words, || {
            derive(body.params(), &all, |t, params| {
                let mut out = body.inline(t, params)?;
                let args = [&params[..self.consts], &out].concat();
                out.extend(self.condition.inline(t, &args)?);
                Ok((out, Mask::new()))
            })
        })?;
        Ok(Some(d.body.clone()))
    }

    fn const_metas(&self) -> &[Meta] {
        &self.condition.params()[..self.consts]
    }
}

/// Words for the key of what is derived from one stage, which depends on how it is wired.
fn wired(mut words: Vec<u64>, reads: &[Read]) -> Vec<u64> {
    words.push(reads.len() as u64);
    words.extend(reads.iter().map(|r| u64::from(r.stage) << 32 | u64::from(r.slot) << 1 | u64::from(r.after)));
    words
}

fn inexact(metas: &[Meta]) -> Mask {
    metas.iter().map(|m| m.1.is_inexact()).collect()
}

/// An adjoint stage while it is put together.
struct Adjoint {
    stage: Stage,
    /// Which carries of the stage have cotangents: the first carries of the adjoint.
    flows: Mask,
    /// Which constants get anything from it.
    flows_consts: Mask,
    /// Which reads of the stage get anything: the last carries of the adjoint.
    flows_reads: Mask,
    summed: usize,
}

impl Flow for While {
    fn name(&self) -> &'static str {
        "while_loop"
    }

    fn attributes(&self) -> String {
        match self.stages.len() {
            1 => String::new(),
            n => format!("stages={n}"),
        }
    }

    fn results(&self) -> Vec<Meta> {
        self.stages.iter().flat_map(|s| s.body.outputs().iter().cloned()).collect()
    }

    fn vjp_at(&self, r: &mut Reverse<'_>, site: &Site, cotangents: &[Option<NodeId>]) -> Result<Cotangents> {
        let inputs = &site.inputs;
        let count = self.stages.len();
        let want_consts: Mask =
            self.const_metas().iter().enumerate().map(|(k, m)| r.want(k) && m.1.is_inexact()).collect();
        let given = self.by_stage(cotangents);
        let mut adjoints: Vec<Option<Adjoint>> = (0..count).map(|_| None).collect();
        // last stage first: what it reads of the earlier ones becomes known before their turn
        for s in (0..count).rev() {
            let a = self.adjoint(s, &present(&given[s]), &want_consts, &adjoints)?;
            adjoints[s] = Some(a);
        }
        let t = &mut *r.t;
        let mut stages = self.stages.clone();
        let mut from: Vec<NodeId> = inputs.clone();
        for s in (0..count).rev() {
            let Some(a) = &adjoints[s] else { continue };
            let outputs = self.stages[s].body.outputs();
            for (k, m) in outputs.iter().enumerate().filter(|(k, _)| a.flows[*k]) {
                from.push(match given[s][k] {
                    Some(g) => g,
                    None => zero(t, m)?,
                });
            }
            for m in chosen(self.const_metas(), &want_consts).iter().chain(&chosen(&self.read_metas(s), &a.flows_reads))
            {
                from.push(zero(t, m)?);
            }
            stages.push(a.stage.clone());
        }
        let next = While { stages, ..self.clone() };
        let (_, results) = t.push_tuple(next.clone().into(), &from)?;
        let mut out = none(inputs.len());
        let mut sums: Vec<Option<NodeId>> = vec![None; self.consts];
        for s in 0..count {
            let Some(a) = &adjoints[s] else { continue };
            let at = next.offset(count + (count - 1 - s));
            let flowing = chosen(&a.flows, &a.flows).len();
            for (k, x) in scattered(&results[at..at + flowing], &a.flows).into_iter().enumerate() {
                out[self.consts + self.offset(s) + k] = x.map(Into::into);
            }
            let list = scattered(&results[at + flowing..at + flowing + a.summed], &want_consts);
            for (k, x) in list.into_iter().enumerate() {
                if a.flows_consts[k] {
                    sums[k] = add(t, sums[k], x)?;
                }
            }
        }
        for (k, x) in sums.into_iter().enumerate() {
            out[k] = x.map(Into::into);
        }
        Ok(out)
    }

    fn jvp_at(&self, t: &mut Tape, site: &Site, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        let inputs = &site.inputs;
        let (consts, carries) = tangents.split_at(self.consts);
        let given_consts = present(consts);
        let given = self.by_stage(carries);
        let mut flows: Vec<Mask> = Vec::new();
        let mut stages = Vec::new();
        let mut from: Vec<NodeId> = inputs[..self.consts].to_vec();
        from.extend(consts.iter().flatten());
        for (s, stage) in self.stages.iter().enumerate() {
            let reads: Mask = stage.reads.iter().map(|r| flows[r.stage as usize][r.slot as usize]).collect();
            let start = present(&given[s]);
            let d = stage.body.derived(wired(key(JVP, &[&given_consts, &start, &reads]), &[]), || {
                let mut flows = start.clone();
                loop {
                    let (d, found) = self.forward(stage, &given_consts, &flows, &reads)?;
                    let found: Mask = found.iter().zip(&flows).map(|(a, b)| a | b).collect();
                    if found == flows {
                        return Ok(d);
                    }
                    flows = found;
                }
            })?;
            let mine = d.masks[0].clone();
            let mut wires = stage.reads.clone();
            for r in chosen(&stage.reads, &reads) {
                let mask = &flows[r.stage as usize];
                let before = mask[..r.slot as usize].iter().filter(|m| **m).count();
                wires.push(Read { slot: (self.stages[r.stage as usize].carries() + before) as u16, ..r });
            }
            let at = self.consts + self.offset(s);
            from.extend(&inputs[at..at + stage.carries()]);
            for (k, m) in stage.body.outputs().iter().enumerate().filter(|(k, _)| mine[*k]) {
                from.push(match given[s][k] {
                    Some(d) => d,
                    None => zero(t, m)?,
                });
            }
            stages.push(Stage { body: d.body.clone(), reverse: stage.reverse, reads: wires });
            flows.push(mine);
        }
        // the condition does not look at tangents
        let extra: Vec<Meta> = chosen(self.const_metas(), &given_consts);
        let carried = chosen(self.stages[0].body.outputs(), &flows[0]);
        let condition = self.condition.derived(key(CONDITION, &[&given_consts, &flows[0]]), || {
            let own = self.condition.params();
            let mut metas = own[..self.consts].to_vec();
            metas.extend(extra.iter().cloned());
            metas.extend(own[self.consts..].iter().cloned());
            metas.extend(carried.iter().cloned());
            derive(&metas, &all, |t, params| {
                let mut args = params[..self.consts].to_vec();
                let first = self.consts + extra.len();
                args.extend(&params[first..first + own.len() - self.consts]);
                Ok((self.condition.inline(t, &args)?, Mask::new()))
            })
        })?;
        let next = While { condition: condition.body.clone(), consts: self.consts + extra.len(), stages };
        let (_, results) = t.push_tuple(next.clone().into(), &from)?;
        let mut out = Vec::new();
        for (s, stage) in self.stages.iter().enumerate() {
            let at = next.offset(s) + stage.carries();
            out.extend(scattered(&results[at..next.offset(s) + next.stages[s].carries()], &flows[s]));
        }
        Ok(out)
    }

    fn batch_all(&self, t: &mut Tape, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        let flags: Mask = b.inputs.iter().map(|x| x.1).collect();
        let consts = &flags[..self.consts];
        let mut carried = self.by_stage(&flags[self.consts..]);
        // a fixpoint over all stages: what is batched, and whether lanes stop on their own
        let (mut held, mut stages, mut condition);
        loop {
            condition = self.batched_condition(consts, &carried[0], b.size, false)?;
            held = condition.present[0];
            if held {
                for list in &mut carried {
                    list.fill(true);
                }
                condition = self.batched_condition(consts, &carried[0], b.size, true)?;
            }
            let before = carried.clone();
            stages = Vec::new();
            for s in 0..self.stages.len() {
                loop {
                    let (stage, found) = self.batched_stage(s, consts, &carried, held, b.size)?;
                    if found == carried[s] {
                        stages.push(stage);
                        break;
                    }
                    carried[s] = found;
                }
            }
            if before == carried {
                break;
            }
        }
        let mut inputs: Vec<NodeId> = b.inputs[..self.consts].iter().map(|x| x.0).collect();
        let carried: Mask = carried.concat();
        for (&(x, batched), &want) in b.inputs[self.consts..].iter().zip(&carried) {
            inputs.push(if want { full(t, x, batched, b.size)? } else { x });
        }
        let next = While { condition: condition.body.clone(), consts: self.consts, stages };
        let (_, results) = t.push_tuple(next.into(), &inputs)?;
        Ok(results.into_iter().zip(carried).collect())
    }
}

impl While {
    /// The adjoint of stage `s`, given which of its last carries have cotangents and the adjoints of the later stages. Its
    /// carries: the cotangents of the stage's carries, the sums for the wanted constants, and the cotangents of what the
    /// stage read at the step.
    fn adjoint(&self, s: usize, given: &[bool], want: &[bool], later: &[Option<Adjoint>]) -> Result<Adjoint> {
        let stage = &self.stages[s];
        let count = self.stages.len();
        // what the later stages owe to the carries of this one
        let mut owed: Vec<(Read, usize, bool)> = Vec::new();
        for (l, a) in later.iter().enumerate() {
            let Some(a) = a else { continue };
            let mut slot = a.stage.carries() - chosen(&a.flows_reads, &a.flows_reads).len();
            for (r, &flows) in self.stages[l].reads.iter().zip(&a.flows_reads) {
                if !flows {
                    continue;
                }
                if usize::from(r.stage) == s {
                    let from = Read { stage: (count + count - 1 - l) as u16, slot: slot as u16, after: true };
                    owed.push((from, usize::from(r.slot), r.after));
                }
                slot += 1;
            }
        }
        let mut words = wired(key(VJP, &[given, want]), &stage.reads);
        words.push(s as u64);
        words = wired(words, &owed.iter().map(|o| o.0).collect::<Vec<_>>());
        words.extend(owed.iter().map(|o| (o.1 as u64) << 1 | u64::from(o.2)));
        let d = stage.body.derived(words, || {
            let mut flows = given.to_vec();
            for o in &owed {
                flows[o.1] = true;
            }
            let mut reads = vec![false; stage.reads.len()];
            loop {
                let (d, found, found_reads) = self.backward(stage, &flows, &reads, want, &owed)?;
                if found == flows && found_reads == reads {
                    return Ok(d);
                }
                (flows, reads) = (found, found_reads);
            }
        })?;
        let (flows, flows_consts, flows_reads) = (d.masks[0].clone(), d.masks[1].clone(), d.masks[2].clone());
        // behind the constants and the carries, in the order of `backward`
        let mut wires: Vec<Read> = (0..stage.carries())
            .map(|k| Read { stage: s as u16, slot: k as u16, after: false })
            .chain(stage.reads.iter().copied())
            .chain(owed.iter().map(|o| o.0))
            .collect();
        let first = d.used.len() - wires.len();
        wires = chosen(&wires, &d.used[first..]);
        let summed = chosen(want, want).len();
        let stage = Stage { body: d.body.clone(), reverse: !stage.reverse, reads: wires };
        Ok(Adjoint { stage, flows, flows_consts, flows_reads, summed })
    }

    /// The body of an adjoint. Parameters: constants; cotangents of the carries, sums, cotangents of reads; the carries before
    /// the step, the reads, and what later stages owe.
    #[allow(clippy::type_complexity)]
    fn backward(
        &self,
        stage: &Stage,
        flows: &[bool],
        flows_reads: &[bool],
        want: &[bool],
        owed: &[(Read, usize, bool)],
    ) -> Result<(Derived, Mask, Mask)> {
        let (params, carries) = (stage.body.params(), stage.body.outputs());
        let consts = &params[..self.consts];
        let reads = &params[self.consts + carries.len()..];
        let groups: [Vec<Meta>; 6] = [
            chosen(carries, flows),
            chosen(consts, want),
            chosen(reads, flows_reads),
            carries.to_vec(),
            reads.to_vec(),
            owed.iter().map(|o| carries[o.1].clone()).collect(),
        ];
        let mut metas = consts.to_vec();
        let mut ends = vec![metas.len()];
        for g in groups {
            metas.extend(g);
            ends.push(metas.len());
        }
        // all stages of a loop have the same constants
        let keep = 0..ends[3];
        let (mut masks, mut found, mut found_reads) = (Vec::new(), Mask::new(), Mask::new());
        let mut d = derive(&metas, &|k| keep.contains(&k), |t, params| {
            let group = |k: usize| &params[ends[k]..ends[k + 1]];
            let mut args = params[..self.consts].to_vec();
            args.extend(group(3));
            args.extend(group(4));
            let outputs = stage.body.inline(t, &args)?;
            // the cotangents of the carries after the step
            let mut after = scattered(group(0), flows);
            let mut before: Vec<Option<NodeId>> = vec![None; carries.len()];
            for (&x, o) in group(5).iter().zip(owed) {
                let list = if o.2 { &mut after } else { &mut before };
                list[o.1] = add(t, list[o.1], Some(x))?;
            }
            let seeds: Mask = present(&after);
            let cotangents: Vec<NodeId> = after.into_iter().flatten().collect();
            let (some_carries, some_reads) = (inexact(carries), inexact(reads));
            let wanted: Vec<NodeId> = chosen(&args[..self.consts], want)
                .into_iter()
                .chain(chosen(group(3), &some_carries))
                .chain(chosen(group(4), &some_reads))
                .collect();
            let got = walk::vjp(t, &chosen(&outputs, &seeds), &cotangents, &wanted)?;
            let (for_consts, rest) = got.split_at(group(1).len());
            let (for_carries, for_reads) = rest.split_at(chosen(&some_carries, &some_carries).len());
            let for_carries = scattered(for_carries, &some_carries);
            let for_reads: Vec<Option<NodeId>> =
                scattered(for_reads, &some_reads).into_iter().map(Option::flatten).collect();
            let mut out = Vec::new();
            for (k, m) in carries.iter().enumerate() {
                let total = add(t, for_carries[k].flatten(), before[k])?;
                found.push(flows[k] || total.is_some());
                if flows[k] {
                    out.push(match total {
                        Some(x) => x,
                        None => zero(t, m)?,
                    });
                }
            }
            for (&sum, &x) in group(1).iter().zip(for_consts) {
                out.push(add(t, Some(sum), x)?.unwrap_or(sum));
            }
            found_reads = for_reads.iter().zip(flows_reads).map(|(x, f)| x.is_some() | f).collect();
            out.extend(with_zeros(t, &chosen(&for_reads, flows_reads), &chosen(reads, flows_reads))?.0);
            masks = vec![flows.to_vec(), scattered(for_consts, want).iter().map(|x| x.flatten().is_some()).collect()];
            masks.push(flows_reads.to_vec());
            Ok((out, Mask::new()))
        })?;
        d.masks = masks;
        Ok((d, found, found_reads))
    }

    /// The body of a stage with tangents. Parameters: constants and their tangents; carries and their tangents; reads and
    /// their tangents. Also which carries turn out to have tangents.
    fn forward(&self, stage: &Stage, consts: &[bool], flows: &[bool], reads: &[bool]) -> Result<(Derived, Mask)> {
        let (params, carries) = (stage.body.params(), stage.body.outputs());
        let (const_metas, read_metas) = (&params[..self.consts], &params[self.consts + carries.len()..]);
        let groups: [Vec<Meta>; 5] = [
            chosen(const_metas, consts),
            carries.to_vec(),
            chosen(carries, flows),
            read_metas.to_vec(),
            chosen(read_metas, reads),
        ];
        let mut metas = const_metas.to_vec();
        let mut ends = vec![metas.len()];
        for g in groups {
            metas.extend(g);
            ends.push(metas.len());
        }
        let mut found_flows = Mask::new();
        let mut d = derive(&metas, &all, |t, params| {
            let group = |k: usize| &params[ends[k]..ends[k + 1]];
            let mut args = params[..self.consts].to_vec();
            args.extend(group(1));
            args.extend(group(3));
            let outputs = stage.body.inline(t, &args)?;
            let moving: Vec<NodeId> = chosen(&args[..self.consts], consts)
                .into_iter()
                .chain(chosen(group(1), flows))
                .chain(chosen(group(3), reads))
                .collect();
            let tangents: Vec<Option<NodeId>> =
                group(0).iter().chain(group(2)).chain(group(4)).copied().map(Some).collect();
            let found = walk::jvp(t, &moving, &tangents, &outputs)?;
            found_flows = present(&found);
            let mut out = outputs;
            out.extend(with_zeros(t, &chosen(&found, flows), &chosen(carries, flows))?.0);
            Ok((out, Mask::new()))
        })?;
        d.masks = vec![flows.to_vec()];
        Ok((d, found_flows))
    }

    /// The condition for a batch: one bool if it is the same for all lanes or if `any` lane will do, else one a lane.
    fn batched_condition(
        &self,
        consts: &[bool],
        carries: &[bool],
        size: usize,
        any: bool,
    ) -> Result<std::sync::Arc<Derived>> {
        let mut words = key(BATCH, &[consts, carries, &[any]]);
        words.push(size as u64);
        self.condition.derived(words, || {
            let which = [consts, carries].concat();
            let metas: Vec<Meta> = (self.condition.params().iter().zip(&which))
                .map(|(m, &b)| if b { stacked(m, size) } else { m.clone() })
                .collect();
            derive(&metas, &all, |t, params| {
                let found = batch_body(t, &self.condition, params, &which, size)?;
                let (mut y, batched) = found[0];
                if batched && any {
                    y = t.reduce(ReduceOp::Any, y, &Axes::from_slice(&[0]))?;
                }
                Ok((vec![y], vec![batched]))
            })
        })
    }

    /// A stage for a batch, and which of its carries are batched after a step. With `held`, a lane whose condition does not
    /// hold before the step keeps its carries.
    fn batched_stage(
        &self,
        s: usize,
        consts: &[bool],
        carried: &[Mask],
        held: bool,
        size: usize,
    ) -> Result<(Stage, Mask)> {
        let stage = &self.stages[s];
        let reads: Mask = stage.reads.iter().map(|r| carried[r.stage as usize][r.slot as usize]).collect();
        let mut wires = stage.reads.clone();
        let first = self.stages[0].carries();
        if held && s > 0 {
            wires.extend((0..first).map(|k| Read { stage: 0, slot: k as u16, after: false }));
        }
        let which = [consts, &carried[s], &reads].concat();
        let mut words = wired(key(BATCH, &[&which, consts, &[held], &carried[0]]), &wires[..0]);
        words.extend([size as u64, u64::from(s > 0), if held { self.condition.key() as u64 } else { 0 }]);
        let d = stage.body.derived(words, || {
            let batched = |metas: &[Meta], which: &[bool]| -> Vec<Meta> {
                metas.iter().zip(which).map(|(m, &b)| if b { stacked(m, size) } else { m.clone() }).collect()
            };
            let mut metas = batched(stage.body.params(), &which);
            if held && s > 0 {
                metas.extend(batched(&self.condition.params()[self.consts..], &carried[0]));
            }
            let mut d = derive(&metas, &all, |t, params| {
                let (own, extra) = params.split_at(stage.body.params().len());
                let found = batch_body(t, &stage.body, own, &which, size)?;
                let mut active = None;
                if held {
                    let old = if s > 0 { extra } else { &own[self.consts..self.consts + first] };
                    let args = [&own[..self.consts], old].concat();
                    let found = batch_body(t, &self.condition, &args, &[consts, &carried[0]].concat(), size)?;
                    active = Some(full(t, found[0].0, found[0].1, size)?);
                }
                let (mut out, mut present) = (Vec::new(), Vec::new());
                for (k, (y, batched)) in found.into_iter().enumerate() {
                    let want = carried[s][k];
                    let mut y = if want { full(t, y, batched, size)? } else { y };
                    if let Some(active) = active {
                        let c = spread(t, active, y)?;
                        y = t.select(c, y, own[self.consts + k])?;
                    }
                    out.push(y);
                    present.push(batched || want);
                }
                Ok((out, present))
            })?;
            d.body = d.body.batch_of(&stage.body, &which);
            Ok(d)
        })?;
        Ok((Stage { body: d.body.clone(), reverse: stage.reverse, reads: wires }, d.present.clone()))
    }
}
