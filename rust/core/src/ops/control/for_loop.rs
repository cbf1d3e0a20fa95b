//! A body run a known number of times: scan, and fori_loop with known bounds.
//!
//! Its history (the carry before each step) is an ordinary result, stored only where somebody reads it. The derivatives are
//! loops of the same kind over that history: forward in the same direction, reverse in the other, each step computing its
//! part of the body again. So what a derivative needs is the carries, not what lies within the steps.

use super::body::{Body, Derived, all, derive};
use super::branch::{batch_body, with_zeros};
use super::{Flow, Mask, Meta, Site, add, chosen, full, key, present, scattered, stacked, zero};
use crate::ops::{Batch, Cotangents, Reverse, none};
use crate::tape::{NodeId, Tape};
use crate::{Result, walk};

const VJP: u64 = 10;
const JVP: u64 = 11;
const BATCH: u64 = 12;

/// Inputs: constants, carries, and arrays whose slices along the first axis are read step by step. The body takes constants,
/// carries and slices, and gives carries and slices of the stacked results. Results: the last carries, the stacked ones,
/// and the history of each carry. With `reverse` the last slice comes first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct For {
    pub body: Body,
    pub length: usize,
    pub reverse: bool,
    pub consts: usize,
    pub carries: usize,
}

impl For {
    fn consts_of<'a, T>(&self, list: &'a [T]) -> &'a [T] {
        &list[..self.consts]
    }

    fn carries_of<'a, T>(&self, list: &'a [T]) -> &'a [T] {
        &list[self.consts..self.consts + self.carries]
    }

    fn xs_of<'a, T>(&self, list: &'a [T]) -> &'a [T] {
        &list[self.consts + self.carries..]
    }

    /// How many stacked results there are.
    pub fn ys(&self) -> usize {
        self.body.outputs().len() - self.carries
    }

    fn inexact(metas: &[Meta]) -> Mask {
        metas.iter().map(|m| m.1.is_inexact()).collect()
    }
}

impl Flow for For {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn attributes(&self) -> String {
        format!("length={}{}", self.length, if self.reverse { " reverse" } else { "" })
    }

    fn results(&self) -> Vec<Meta> {
        let (carries, ys) = self.body.outputs().split_at(self.carries);
        let mut out = carries.to_vec();
        out.extend(ys.iter().chain(carries).map(|m| stacked(m, self.length)));
        out
    }

    fn vjp_at(&self, r: &mut Reverse<'_>, site: &Site, cotangents: &[Option<NodeId>]) -> Result<Cotangents> {
        let inputs = &site.inputs;
        let metas = self.body.params();
        let inexact = For::inexact(metas);
        let want: Mask = (0..inputs.len()).map(|k| r.want(k) && inexact[k]).collect();
        let (want_consts, want_xs) = (self.consts_of(&want), self.xs_of(&want));
        let (last, rest) = cotangents.split_at(self.carries);
        let (stack, history) = rest.split_at(self.ys());
        let (given_last, given_ys, given_history) = (present(last), present(stack), present(history));
        let words = key(VJP, &[&given_last, &given_ys, &given_history, want_consts, want_xs]);
        let d = self.body.derived(words, || {
            // which carries have a cotangent at any step
            let mut flows: Mask = given_last.iter().zip(&given_history).map(|(a, b)| a | b).collect();
            loop {
                let (d, found) = self.backward(&flows, &given_ys, &given_history, want_consts, want_xs)?;
                if found == flows {
                    return Ok(d);
                }
                flows = found;
            }
        })?;
        let (flows, flows_consts, flows_xs) = (&d.masks[0], &d.masks[1], &d.masks[2]);
        let t = &mut *r.t;
        let results = &site.results;
        // what the new body is offered, in the order in which `backward` has its parameters
        let mut offered: Vec<NodeId> = self.consts_of(inputs).to_vec();
        for (k, x) in last.iter().enumerate() {
            if flows[k] {
                offered.push(match x {
                    Some(x) => *x,
                    None => zero(t, &self.carries_of(metas)[k])?,
                });
            }
        }
        for m in chosen(self.consts_of(metas), want_consts) {
            offered.push(zero(t, &m)?);
        }
        offered.extend(&results[self.carries + self.ys()..]);
        offered.extend(self.xs_of(inputs));
        offered.extend(stack.iter().chain(history).flatten());
        let consts = d.used[..self.consts].iter().filter(|u| **u).count();
        let summed = chosen(want_consts, want_consts).len();
        let carries = chosen(flows, flows).len() + summed;
        let next = For { body: d.body.clone(), length: self.length, reverse: !self.reverse, consts, carries };
        let (_, results) = t.push_tuple(next.into(), &chosen(&offered, &d.used))?;
        let mut out = none(inputs.len());
        let (first, rest) = results.split_at(carries - summed);
        let (sums, rest) = rest.split_at(summed);
        let put = |out: &mut Cotangents, at: usize, list: Vec<Option<NodeId>>| {
            for (k, x) in list.into_iter().enumerate() {
                out[at + k] = x.map(Into::into);
            }
        };
        let flowing = |list: &[NodeId], flows: &[bool], mask: &[bool]| -> Vec<Option<NodeId>> {
            let pairs: Vec<(NodeId, bool)> = list.iter().copied().zip(flows.iter().copied()).collect();
            scattered(&pairs, mask).into_iter().map(|x| x.filter(|x| x.1).map(|x| x.0)).collect()
        };
        put(&mut out, 0, flowing(sums, flows_consts, want_consts));
        put(&mut out, self.consts, scattered(first, flows));
        put(&mut out, self.consts + self.carries, flowing(rest, flows_xs, want_xs));
        Ok(out)
    }

    fn jvp_at(&self, t: &mut Tape, site: &Site, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        let inputs = &site.inputs;
        let metas = self.body.params();
        let (given_consts, given_carries, given_xs) =
            (present(self.consts_of(tangents)), present(self.carries_of(tangents)), present(self.xs_of(tangents)));
        let d = self.body.derived(key(JVP, &[&given_consts, &given_carries, &given_xs]), || {
            let mut flows = given_carries.clone();
            loop {
                let (d, found) = self.forward(&given_consts, &flows, &given_xs)?;
                let found: Mask = found.iter().zip(&flows).map(|(a, b)| a | b).collect();
                if found == flows {
                    return Ok(d);
                }
                flows = found;
            }
        })?;
        let flows = &d.masks[0];
        let results = &site.results;
        let mut offered: Vec<NodeId> = self.consts_of(inputs).to_vec();
        offered.extend(self.consts_of(tangents).iter().flatten());
        let constants = offered.len();
        for (k, x) in self.carries_of(tangents).iter().enumerate() {
            if flows[k] {
                offered.push(match x {
                    Some(x) => *x,
                    None => zero(t, &self.carries_of(metas)[k])?,
                });
            }
        }
        offered.extend(&results[self.carries + self.ys()..]);
        offered.extend(self.xs_of(inputs));
        offered.extend(self.xs_of(tangents).iter().flatten());
        let consts = d.used[..constants].iter().filter(|u| **u).count();
        let carries = chosen(flows, flows).len();
        let next = For { body: d.body.clone(), length: self.length, reverse: self.reverse, consts, carries };
        let (_, found) = t.push_tuple(next.into(), &chosen(&offered, &d.used))?;
        let (last, rest) = found.split_at(carries);
        let stack_mask = For::inexact(&self.body.outputs()[self.carries..]);
        let (stack, history) = rest.split_at(chosen(&stack_mask, &stack_mask).len());
        let mut out = scattered(last, flows);
        let pairs: Vec<(NodeId, bool)> = stack.iter().copied().zip(d.masks[1].iter().copied()).collect();
        out.extend(scattered(&pairs, &stack_mask).into_iter().map(|x| x.filter(|x| x.1).map(|x| x.0)));
        out.extend(scattered(history, flows));
        Ok(out)
    }

    fn batch_all(&self, t: &mut Tape, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        let which: Mask = b.inputs.iter().map(|x| x.1).collect();
        let mut words = key(BATCH, &[&which]);
        words.extend([b.size as u64, self.consts as u64, self.carries as u64]);
        let d = self.body.derived(words, || {
            let mut which = which.clone();
            loop {
                let d = self.batched(&which, b.size)?;
                let carries = &mut which[self.consts..self.consts + self.carries];
                if *carries == d.present[..self.carries] {
                    return Ok(d);
                }
                carries.iter_mut().zip(&d.present).for_each(|(c, &p)| *c |= p);
            }
        })?;
        let mut inputs = Vec::with_capacity(b.inputs.len());
        for (k, &(x, batched)) in b.inputs.iter().enumerate() {
            inputs.push(if k < self.consts {
                x
            } else if k < self.consts + self.carries {
                if d.present[k - self.consts] { full(t, x, batched, b.size)? } else { x }
            } else if batched {
                t.move_axis(x, 0, 1)?
            } else {
                x
            });
        }
        let next = For { body: d.body.clone(), ..self.clone() };
        let (_, results) = t.push_tuple(next.into(), &inputs)?;
        let mut out = Vec::with_capacity(results.len());
        for (k, &y) in results.iter().enumerate() {
            let slot = if k < self.body.outputs().len() { k } else { k - self.body.outputs().len() };
            let batched = d.present[slot];
            out.push((if batched && k >= self.carries { t.move_axis(y, 0, 1)? } else { y }, batched));
        }
        Ok(out)
    }
}

impl For {
    /// The body of the reverse loop, where the carries in `flows` have cotangents. Parameters: constants; the cotangents of
    /// the carries and the sums for the wanted constants; the history, the slices, and the cotangents of the stacked results
    /// and of the history. Also which carries turn out to have cotangents.
    fn backward(
        &self,
        flows: &[bool],
        given_ys: &[bool],
        given_history: &[bool],
        want_consts: &[bool],
        want_xs: &[bool],
    ) -> Result<(Derived, Mask)> {
        let (params, outputs) = (self.body.params(), self.body.outputs());
        let (consts, carries, xs) = (self.consts_of(params), self.carries_of(params), self.xs_of(params));
        let (carried, stack) = outputs.split_at(self.carries);
        let mut metas = consts.to_vec();
        let groups: [Vec<Meta>; 6] = [
            chosen(carries, flows),
            chosen(consts, want_consts),
            carries.to_vec(),
            xs.to_vec(),
            chosen(stack, given_ys),
            chosen(carried, given_history),
        ];
        let mut ends = vec![metas.len()];
        for g in groups {
            metas.extend(g);
            ends.push(metas.len());
        }
        let keep = ends[0]..ends[2];
        let mut masks = Vec::new();
        let mut found_flows = Mask::new();
        let mut d = derive(&metas, &|k| keep.contains(&k), |t, params| {
            let group = |k: usize| &params[ends[k]..ends[k + 1]];
            let mut args = params[..self.consts].to_vec();
            args.extend(group(2));
            args.extend(group(3));
            let outputs = self.body.inline(t, &args)?;
            let (carried, stack) = outputs.split_at(self.carries);
            let mut seeds = chosen(carried, flows);
            seeds.extend(chosen(stack, given_ys));
            let mut cotangents = group(0).to_vec();
            cotangents.extend(group(4));
            let inexact = For::inexact(carries);
            let wanted: Vec<NodeId> = chosen(&args[..self.consts], want_consts)
                .into_iter()
                .chain(chosen(group(2), &inexact))
                .chain(chosen(group(3), want_xs))
                .collect();
            let found = walk::vjp(t, &seeds, &cotangents, &wanted)?;
            let summed = group(1).len();
            let (for_consts, rest) = found.split_at(summed);
            let count = chosen(&inexact, &inexact).len();
            let (for_carries, for_xs) = rest.split_at(count);
            let for_carries: Vec<Option<NodeId>> =
                scattered(for_carries, &inexact).into_iter().map(Option::flatten).collect();
            let histories = scattered(group(5), given_history);
            let mut out = Vec::new();
            for (k, &f) in flows.iter().enumerate() {
                let total = add(t, for_carries[k], histories[k])?;
                found_flows.push(f || total.is_some());
                if f {
                    out.push(match total {
                        Some(x) => x,
                        None => zero(t, &carries[k])?,
                    });
                }
            }
            for (&sum, &x) in group(1).iter().zip(for_consts) {
                out.push(add(t, Some(sum), x)?.unwrap_or(sum));
            }
            let (slices, flows_xs) = with_zeros(t, for_xs, &chosen(xs, want_xs))?;
            out.extend(slices);
            masks = vec![flows.to_vec(), present(for_consts), flows_xs];
            Ok((out, Mask::new()))
        })?;
        d.masks = masks;
        Ok((d, found_flows))
    }

    /// The body of the forward loop, where the carries in `flows` have tangents. Parameters: constants and their tangents; the
    /// tangents of the carries; the history, the slices and their tangents. Also which carries turn out to have tangents.
    fn forward(&self, given_consts: &[bool], flows: &[bool], given_xs: &[bool]) -> Result<(Derived, Mask)> {
        let (params, outputs) = (self.body.params(), self.body.outputs());
        let (consts, carries, xs) = (self.consts_of(params), self.carries_of(params), self.xs_of(params));
        let mut metas = consts.to_vec();
        let mut ends = vec![metas.len()];
        let groups: [Vec<Meta>; 5] =
            [chosen(consts, given_consts), chosen(carries, flows), carries.to_vec(), xs.to_vec(), chosen(xs, given_xs)];
        for g in groups {
            metas.extend(g);
            ends.push(metas.len());
        }
        let keep = ends[1]..ends[2];
        let (mut masks, mut found_flows) = (Vec::new(), Mask::new());
        let mut d = derive(&metas, &|k| keep.contains(&k), |t, params| {
            let group = |k: usize| &params[ends[k]..ends[k + 1]];
            let mut args = params[..self.consts].to_vec();
            args.extend(group(2));
            args.extend(group(3));
            let made = self.body.inline(t, &args)?;
            let moving: Vec<NodeId> = chosen(&args[..self.consts], given_consts)
                .into_iter()
                .chain(chosen(group(2), flows))
                .chain(chosen(group(3), given_xs))
                .collect();
            let tangents: Vec<Option<NodeId>> =
                group(0).iter().chain(group(1)).chain(group(4)).copied().map(Some).collect();
            let stack = For::inexact(&outputs[self.carries..]);
            let mut wanted = made[..self.carries].to_vec();
            wanted.extend(chosen(&made[self.carries..], &stack));
            let found = walk::jvp(t, &moving, &tangents, &wanted)?;
            let (for_carries, for_stack) = found.split_at(self.carries);
            found_flows = present(for_carries);
            let mut out = with_zeros(t, &chosen(for_carries, flows), &chosen(carries, flows))?.0;
            let (stacked, present) = with_zeros(t, for_stack, &chosen(&outputs[self.carries..], &stack))?;
            out.extend(stacked);
            masks = vec![flows.to_vec(), present];
            Ok((out, Mask::new()))
        })?;
        d.masks = masks;
        Ok((d, found_flows))
    }

    /// The body for a batch, where the inputs of the mask are batched; such carries are so after each step too.
    fn batched(&self, which: &[bool], size: usize) -> Result<Derived> {
        let metas: Vec<Meta> =
            self.body.params().iter().zip(which).map(|(m, &b)| if b { stacked(m, size) } else { m.clone() }).collect();
        let carries = self.carries_of(which);
        let mut d = derive(&metas, &all, |t, params| {
            let found = batch_body(t, &self.body, params, which, size)?;
            let (mut out, mut present) = (Vec::new(), Vec::new());
            for (k, (y, batched)) in found.into_iter().enumerate() {
                let forced = k < self.carries && carries[k];
                out.push(if forced { full(t, y, batched, size)? } else { y });
                present.push(batched || forced);
            }
            Ok((out, present))
        })?;
        d.body = d.body.batch_of(&self.body, which);
        Ok(d)
    }
}
