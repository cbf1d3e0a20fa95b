//! Which units run entry by entry of a batch.
//!
//! A product of a batch of small matrices writes an array that its readers find in memory, although entry i of what they
//! compute needs entry i of it alone: attention is six products with a softmax between them. Units that follow each other and
//! pass entries on in this way are one: each thread takes some entries at a time through all of them, and what is between
//! stays in its second-level cache.

use std::ops::Range;

use super::ir::{DIRECT, Ir, Kind, Ref};
use super::region::{Region, Schedule, Unit};
use super::rows::Role;
use super::view::View;
use crate::math::reduce::BLOCK;
use crate::ops::Op;
use crate::tape::{DType, shape};

/// Units that run together.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub units: Range<usize>,
    /// Parts of the batch, which are taken through all units one after the other, and the entries of a part.
    pub parts: usize,
    pub each: usize,
}

/// Multiplications of a product of one entry: larger ones share their work themselves.
const LARGEST: usize = 1 << 21;
/// The multiplications of a product of one part: its matrices lie in the second-level cache.
const PART: usize = 1 << 18;
/// Parts of a batch, at least: all threads should have some.
const PARTS: usize = 8;
/// Parts of more entries than one only if there are so many of them.
const MANY: usize = 32;
/// Bytes that the units write, at least: fewer stay in the cache anyway.
const BYTES: usize = 1 << 20;

/// The runs of a schedule, in order.
pub fn runs(ir: &Ir, schedule: &Schedule) -> Vec<Run> {
    let units = &schedule.units;
    // for each unit: the entries of the next product, if only regions come before it
    let mut next = vec![0; units.len() + 1];
    for (u, unit) in units.iter().enumerate().rev() {
        next[u] = match unit {
            Unit::Region(_) => next[u + 1],
            Unit::Call(list) => product(ir, list).map_or(0, |(entries, _)| entries),
            Unit::Small(_) => 0,
        };
    }
    let mut found = Vec::new();
    let mut u = 0;
    while u < units.len() {
        let mut g = Growing { ir, schedule, entries: next[u], units: u..u, linked: false, most: 0, bytes: 0 };
        if g.entries > 1 {
            while g.units.end < units.len() && g.joins() {
                g.units.end += 1;
            }
        }
        u = g.units.end.max(u + 1);
        found.extend(g.finish());
    }
    found
}

/// The entries of a batch of products, and the multiplications of one.
fn product(ir: &Ir, list: &[u32]) -> Option<(usize, usize)> {
    let &[x] = list else { return None };
    let n = &ir.nodes[x as usize];
    let Kind::Opaque(o) = &n.kind else { return None };
    if !matches!(o.op, Op::MatMul(_)) || !matches!(n.dtype, DType::F32 | DType::F64) {
        return None;
    }
    let split = o.shape.len().checked_sub(2)?;
    let k = o.inputs[0].0[split + 1];
    let work = o.shape[split].checked_mul(o.shape[split + 1])?.checked_mul(k)?;
    let entries = shape::size(&o.shape[..split]);
    (entries > 1 && (1..=LARGEST).contains(&work)).then_some((entries, work))
}

struct Growing<'a> {
    ir: &'a Ir,
    schedule: &'a Schedule,
    entries: usize,
    units: Range<usize>,
    /// Whether a unit reads what one before it has made.
    linked: bool,
    /// The multiplications of the largest product.
    most: usize,
    bytes: usize,
}

impl Growing<'_> {
    /// Whether the unit after the last one can be one more; if so, it is taken note of.
    fn joins(&mut self) -> bool {
        let unit = &self.schedule.units[self.units.end];
        match unit {
            Unit::Small(_) => return false,
            Unit::Call(list) => match product(self.ir, list) {
                Some((entries, work)) if entries == self.entries => self.most = self.most.max(work),
                _ => return false,
            },
            Unit::Region(r) if !self.can_be_cut(r) => return false,
            Unit::Region(_) => {}
        }
        let (nodes, folds): (&[u32], &[u32]) = match unit {
            Unit::Region(r) => (&r.nodes, &r.folds),
            Unit::Call(list) => (list, &[]),
            Unit::Small(_) => return false,
        };
        let mut linked = false;
        for &x in nodes.iter().chain(folds) {
            for (k, &r) in self.ir.nodes[x as usize].inputs.iter().enumerate() {
                if !self.is_made_before(r.node) {
                    continue;
                }
                linked = true;
                let whole = matches!(self.schedule.roles[x as usize], Role::Dot { matrix, .. } if matrix != k);
                if whole || !self.keeps_entries(x, k, r) {
                    return false;
                }
            }
        }
        self.linked |= linked;
        let made = |x: &&u32| {
            self.schedule.stored[**x as usize] && self.schedule.home[**x as usize] as usize == self.units.end
        };
        self.bytes +=
            nodes.iter().filter(made).map(|&x| &self.ir.nodes[x as usize]).map(|n| n.n * n.dtype.size()).sum::<usize>();
        true
    }

    /// Whether the blocks of a region can begin and end with the entries.
    fn can_be_cut(&self, r: &Region) -> bool {
        let leads = |&f: &u32| match self.ir.nodes[f as usize].kind {
            Kind::Fold(fold) => fold.leading || fold.rows != 1,
            _ => true,
        };
        if r.n == 0 || !r.n.is_multiple_of(self.entries) || r.folds.iter().any(leads) {
            return false;
        }
        let each = r.n / self.entries;
        if r.cut.by_rows() {
            return each.is_multiple_of(r.cut.row());
        }
        // the leaves of a reduction to one number
        r.cut.row() == r.n && (r.folds.is_empty() || each.is_multiple_of(BLOCK))
    }

    /// Whether a value is in memory when a unit of this run has made it.
    fn is_made_before(&self, x: u32) -> bool {
        let home = self.schedule.home[x as usize] as usize;
        self.schedule.stored[x as usize] && self.units.contains(&home)
    }

    /// Whether entry i of what node x reads as its k-th input lies in entry i of a value that this run makes.
    fn keeps_entries(&self, x: u32, k: usize, r: Ref) -> bool {
        let n = self.ir.nodes[r.node as usize].n;
        if r.view != DIRECT {
            let v = &self.ir.views[r.view as usize];
            return keeps_entries(v, self.entries, n);
        }
        match &self.ir.nodes[x as usize].kind {
            Kind::Opaque(o) => keeps_entries(&View::whole(&o.inputs[k].0), self.entries, n),
            _ => n.is_multiple_of(self.entries),
        }
    }

    fn finish(self) -> Option<Run> {
        let most = (PART / self.most.max(1)).min(self.entries / MANY).max(1);
        let each = (1..=most).rev().find(|&each| self.entries.is_multiple_of(each))?;
        let parts = self.entries / each;
        (self.linked && self.most > 0 && parts >= PARTS && self.bytes >= BYTES).then_some(Run {
            units: self.units,
            parts,
            each,
        })
    }
}

/// Whether entry i of a view, of so many, lies in part i of the n elements that it looks at.
fn keeps_entries(v: &View, entries: usize, n: usize) -> bool {
    if v.frame.is_some() || n == 0 || v.size() == 0 || !n.is_multiple_of(entries) {
        return false;
    }
    let (v, part) = (v.collapsed(), n / entries);
    let (mut left, mut low, mut high) = (entries, v.offset, v.offset);
    for (&d, &s) in v.dims.iter().zip(&v.strides) {
        let taken = d.min(left);
        if !left.is_multiple_of(taken) || !d.is_multiple_of(taken) {
            return false;
        }
        left /= taken;
        let rest = d / taken;
        if taken > 1 && s * rest as isize != (part * left) as isize {
            return false;
        }
        let reach = (rest as isize - 1) * s;
        low += reach.min(0);
        high += reach.max(0);
    }
    left == 1 && low >= 0 && high < part as isize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_that_stay_in_their_entries() {
        let whole = View::whole(&[6, 4, 5]);
        let stays = |v: &View| keeps_entries(v, 6, 120);
        assert!(stays(&whole) && stays(&whole.transpose(&[0, 2, 1])));
        assert!(!stays(&whole.transpose(&[1, 0, 2])));
        // a part of each entry, and a part of the entries
        let part = |start: [i64; 3], piece: &[usize]| {
            let w = crate::ops::Window { start: start.as_slice().into(), step: [1, 1, 1].as_slice().into() };
            whole.slice(&w, piece)
        };
        assert!(stays(&part([0, 1, 0], &[6, 2, 5])) && !stays(&part([1, 0, 0], &[5, 4, 5])));
        // batches of several axes
        assert!(stays(&View::whole(&[2, 3, 20])) && stays(&View::whole(&[3, 2, 5, 4]).transpose(&[0, 1, 3, 2])));
        assert!(!stays(&View::whole(&[2, 3, 20]).transpose(&[1, 0, 2])));
        // one row for all of an entry, and one entry for all
        assert!(keeps_entries(&View::whole(&[6, 4, 1]).broadcast(&[6, 4, 5]), 6, 24));
        assert!(!keeps_entries(&View::whole(&[4, 5]).broadcast(&[6, 4, 5]), 6, 20));
        assert!(!keeps_entries(&View::whole(&[1]).broadcast(&[6, 4, 5]), 6, 1));
        // entries that are cut otherwise
        assert!(!keeps_entries(&View::whole(&[4, 30]).transpose(&[1, 0]), 6, 120) && !keeps_entries(&whole, 7, 120));
    }
}
