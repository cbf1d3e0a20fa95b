//! Which nodes run together.
//!
//! Every node gets a level: a node that can have its inputs at hand in the same unit has their level, else it is one above
//! them. Nodes of one level over arrays of one size form a region, which runs block by block; so units never wait for each
//! other in a circle, since whatever comes from another unit comes from a lower level. Small arrays are a unit of their
//! own, straight code in the order of the program, in which everything is at hand.
//!
//! The reductions of rows are no end: what depends on them, row by row, stays in the region (see `rows`).
//!
//! A value that another unit needs is stored, unless it is cheap to compute there again from what is stored anyway.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::ir::{DIRECT, Fold, Ir, Kind, NOBODY, Node, Ref};
use super::rows::{self, Cut, Need, Role};
use super::together::{self, Matrix};

/// Elements of an array that takes little memory.
const SHORT: usize = 1 << 19;

/// A value is computed again, rather than stored and loaded, up to this cost (in tenths of a nanosecond an element).
const CHEAP: u32 = 6;

pub struct Region {
    pub n: usize,
    pub cut: Cut,
    /// What is computed in each block, in order.
    pub nodes: Vec<u32>,
    pub folds: Vec<u32>,
}

pub enum Unit {
    /// Straight code over small arrays.
    Small(Vec<u32>),
    Region(Region),
    /// One operation, or products of one matrix with several vectors.
    Call(SmallVec<[u32; 1]>),
}

pub struct Schedule {
    pub units: Vec<Unit>,
    /// Whether the value lies in memory after its unit has run.
    pub stored: Vec<bool>,
    /// The unit that computes and, if need be, stores a node.
    pub home: Vec<u32>,
    pub roles: Vec<Role>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Parameters and numbers: there from the start.
    Free,
    Small,
    /// Elementwise in a region.
    Block,
    /// One element for each row of a region.
    Column,
    /// A reduction of what is in a region.
    Fold,
    Call,
}

const NOWHERE: u32 = u32::MAX;

struct Partition<'a> {
    ir: &'a Ir,
    roles: Vec<Role>,
    class: Vec<Class>,
    level: Vec<u32>,
    home: Vec<u32>,
    units: Vec<(u32, Unit)>,
    small: FxHashMap<u32, u32>,
    regions: FxHashMap<(usize, u32), SmallVec<[u32; 1]>>,
    /// Calls of products with vectors.
    products: FxHashMap<(Matrix, u32), u32>,
    fuse: bool,
}

/// Arrays of up to `small` elements run as straight code; without `fuse`, every other node is a unit of its own.
pub fn partition(ir: &Ir, small: usize, fuse: bool) -> Schedule {
    let count = ir.nodes.len();
    let mut p = Partition {
        ir,
        roles: rows::roles(ir, small, fuse),
        class: Vec::with_capacity(count),
        level: Vec::with_capacity(count),
        home: Vec::with_capacity(count),
        units: Vec::new(),
        small: FxHashMap::default(),
        regions: FxHashMap::default(),
        products: FxHashMap::default(),
        fuse,
    };
    for (i, n) in ir.nodes.iter().enumerate() {
        if let Kind::Project(_) = n.kind {
            // computed where the operation is
            let tuple = n.inputs[0].node as usize;
            let (class, level, home) = (p.class[tuple], p.level[tuple], p.home[tuple]);
            p.class.push(class);
            p.level.push(level);
            p.home.push(home);
            continue;
        }
        let class = classify(ir, n, p.roles[i], small);
        let mut level = (0..n.inputs.len()).map(|k| p.after(class, i, k)).max().unwrap_or(0);
        let home = match class {
            Class::Free => NOWHERE,
            Class::Small => p.small_unit(level, i as u32),
            Class::Block => p.region(n.n, &mut level, Need::Nothing),
            Class::Column => p.region(n.n * p.roles[i].column().unwrap_or(1), &mut level, p.need(i)),
            Class::Fold => p.fold(i, &mut level),
            Class::Call => p.call(level, i as u32),
        };
        p.class.push(class);
        p.level.push(level);
        p.home.push(home);
    }
    p.finish()
}

fn classify(ir: &Ir, n: &Node, role: Role, small: usize) -> Class {
    match role {
        Role::Fold { .. } | Role::Dot { .. } | Role::Map { .. } => return Class::Column,
        Role::Weighted { .. } => return Class::Fold,
        Role::None => {}
    }
    let inputs_small = || n.inputs.iter().all(|r| size(ir, n, *r) <= small);
    match &n.kind {
        Kind::Param | Kind::Const(_) => Class::Free,
        Kind::Iota | Kind::Map(_) | Kind::Copy | Kind::Mask(_) if n.n <= small => Class::Small,
        Kind::Iota | Kind::Map(_) | Kind::Copy | Kind::Mask(_) => Class::Block,
        Kind::Fold(_) if inputs_small() => Class::Small,
        Kind::Fold(_) => Class::Fold,
        Kind::Opaque(o) => {
            let results_small = o.results.iter().all(|&r| r == NOBODY || ir.nodes[r as usize].n <= small);
            if n.n <= small && results_small && inputs_small() { Class::Small } else { Class::Call }
        }
        Kind::Project(_) => Class::Call,
    }
}

/// The number of elements that `n` reads through `r`.
fn size(ir: &Ir, n: &Node, r: Ref) -> usize {
    if r.view != DIRECT {
        return ir.views[r.view as usize].size();
    }
    match ir.nodes[r.node as usize].kind {
        Kind::Const(_) => n.n,
        _ => ir.nodes[r.node as usize].n,
    }
}

impl Partition<'_> {
    /// The level at which node i, of the class, can have its k-th input.
    fn after(&self, class: Class, i: usize, k: usize) -> u32 {
        let (n, r) = (&self.ir.nodes[i], self.ir.nodes[i].inputs[k]);
        let (from, level) = (self.class[r.node as usize], self.level[r.node as usize]);
        let at_hand = match (from, class) {
            (Class::Free, _) => return 0,
            (Class::Small, Class::Small) => true,
            (Class::Block, Class::Block) => r.view == DIRECT && self.ir.nodes[r.node as usize].n == n.n,
            (Class::Block, Class::Column | Class::Fold) => self.array(i) == Some(k),
            (Class::Column, Class::Block | Class::Column | Class::Fold) => self.has_column(i, k),
            _ => false,
        };
        level + u32::from(!at_hand || !(self.fuse || class == Class::Small))
    }

    /// Which input is the array that a reduction or a product goes through.
    fn array(&self, i: usize) -> Option<usize> {
        match self.roles[i] {
            Role::Fold { .. } => Some(0),
            Role::Dot { matrix, .. } | Role::Weighted { matrix, .. } => Some(matrix),
            Role::Map { .. } => None,
            Role::None => matches!(self.ir.nodes[i].kind, Kind::Fold(_)).then_some(0),
        }
    }

    /// Whether node i can read its k-th input, a column, in the blocks of rows that this is a column of.
    fn has_column(&self, i: usize, k: usize) -> bool {
        let r = self.ir.nodes[i].inputs[k];
        let Some(row) = self.roles[r.node as usize].column() else { return false };
        let rows = self.ir.nodes[r.node as usize].n;
        match self.roles[i] {
            Role::Map { row: mine } => mine == row && r.view == DIRECT,
            Role::Weighted { row: mine, matrix } => mine == row && k != matrix && r.view == DIRECT,
            Role::Fold { .. } | Role::Dot { .. } => false,
            Role::None => {
                matches!(self.ir.nodes[i].kind, Kind::Map(_))
                    && r.view != DIRECT
                    && rows::spreads(&self.ir.views[r.view as usize], rows, row)
                    && self.ir.nodes[i].n == rows * row
            }
        }
    }

    fn need(&self, i: usize) -> Need {
        match (self.roles[i], &self.ir.nodes[i].kind) {
            (Role::Fold { row } | Role::Dot { row, .. } | Role::Map { row }, _) => Need::Row(row),
            (Role::Weighted { row, .. }, _) => Need::Weighted(row),
            (Role::None, Kind::Fold(Fold { row, leading: true, .. })) => Need::Lead(*row),
            (Role::None, Kind::Fold(Fold { rows: 1, .. })) => Need::Full,
            (Role::None, Kind::Fold(Fold { row, .. })) => Need::Long(*row),
            (Role::None, _) => Need::Nothing,
        }
    }

    fn small_unit(&mut self, level: u32, node: u32) -> u32 {
        let next = self.units.len() as u32;
        let unit = *self.small.entry(level).or_insert(next);
        if unit == next {
            self.units.push((level, Unit::Small(Vec::new())));
        }
        if let Unit::Small(list) = &mut self.units[unit as usize].1 {
            list.push(node);
        }
        unit
    }

    fn call(&mut self, level: u32, node: u32) -> u32 {
        let next = self.units.len() as u32;
        if self.fuse
            && let Some((matrix, _)) = together::product(self.ir, node)
        {
            let unit = *self.products.entry((matrix, level)).or_insert(next);
            if let Some((_, Unit::Call(list))) = self.units.get_mut(unit as usize) {
                list.push(node);
                return unit;
            }
        }
        self.units.push((level, Unit::Call([node].into_iter().collect())));
        next
    }

    /// A region over n elements, at the level or, where none there can be cut as is needed, above it.
    fn region(&mut self, n: usize, level: &mut u32, need: Need) -> u32 {
        loop {
            let here = self.regions.entry((n, *level)).or_default();
            if self.fuse
                && let Some(&unit) = here.first()
                && let Unit::Region(region) = &mut self.units[unit as usize].1
            {
                if region.cut.admits(need) {
                    return unit;
                }
                *level += 1;
                continue;
            }
            let unit = self.units.len() as u32;
            here.push(unit);
            let mut cut = Cut::new(n);
            cut.admits(need);
            self.units.push((*level, Unit::Region(Region { n, cut, nodes: Vec::new(), folds: Vec::new() })));
            return unit;
        }
    }

    fn fold(&mut self, i: usize, level: &mut u32) -> u32 {
        let Some(array) = self.array(i) else { return NOWHERE };
        let size = self.ir.nodes[self.ir.nodes[i].inputs[array].node as usize].n;
        let unit = self.region(size, level, self.need(i));
        if let Unit::Region(region) = &mut self.units[unit as usize].1 {
            region.folds.push(i as u32);
        }
        unit
    }

    fn finish(mut self) -> Schedule {
        let ir = self.ir;
        if self.fuse {
            self.sink();
        }
        let stored = self.store();
        // what each region computes: what it stores and reduces, and what leads there
        let mut roots: Vec<SmallVec<[u32; 4]>> = vec![SmallVec::new(); self.units.len()];
        for i in 0..ir.nodes.len() {
            if matches!(self.class[i], Class::Block | Class::Column) && stored[i] {
                roots[self.home[i] as usize].push(i as u32);
            }
        }
        // the inputs that a node can have in its region
        let inside: Vec<SmallVec<[u32; 3]>> = (0..ir.nodes.len()).map(|i| self.inside(i)).collect();
        let mut seen = vec![NOWHERE; ir.nodes.len()];
        let mut stack = Vec::new();
        for (unit, (_, u)) in self.units.iter_mut().enumerate() {
            let Unit::Region(region) = u else { continue };
            let unit = unit as u32;
            stack.clear();
            let mut visit = |x: u32, stack: &mut Vec<u32>| {
                let at = x as usize;
                let here = match self.class[at] {
                    Class::Block => self.home[at] == unit || !stored[at],
                    Class::Column => self.home[at] == unit,
                    _ => false,
                };
                if here && seen[at] != unit {
                    seen[at] = unit;
                    stack.push(x);
                }
            };
            for &r in &roots[unit as usize] {
                visit(r, &mut stack);
            }
            for &f in &region.folds {
                for k in inside[f as usize].iter() {
                    visit(ir.nodes[f as usize].inputs[*k as usize].node, &mut stack);
                }
            }
            while let Some(x) = stack.pop() {
                region.nodes.push(x);
                for k in inside[x as usize].iter() {
                    visit(ir.nodes[x as usize].inputs[*k as usize].node, &mut stack);
                }
            }
            region.nodes.sort_unstable();
        }
        let mut order: Vec<u32> = (0..self.units.len() as u32).collect();
        order.retain(|&u| match &self.units[u as usize].1 {
            Unit::Region(r) => !r.nodes.is_empty() || !r.folds.is_empty(),
            Unit::Small(_) | Unit::Call(_) => true,
        });
        order.sort_by_key(|&u| self.units[u as usize].0);
        if self.fuse {
            self.delay(&stored, &mut order);
        }
        let mut place = vec![NOWHERE; self.units.len()];
        for (k, &u) in order.iter().enumerate() {
            place[u as usize] = k as u32;
        }
        let mut units: Vec<Option<Unit>> = self.units.into_iter().map(|u| Some(u.1)).collect();
        let units = order.iter().filter_map(|&u| units[u as usize].take()).collect();
        let home = self.home.iter().map(|&h| if h == NOWHERE { h } else { place[h as usize] }).collect();
        Schedule { units, stored, home, roles: self.roles }
    }

    /// Moves regions right before the first unit that reads what they make: it is still in the caches then. Not those that
    /// reduce long arrays, which would lie in memory for longer.
    fn delay(&self, stored: &[bool], order: &mut [u32]) {
        let ir = self.ir;
        let mut readers: Vec<SmallVec<[u32; 2]>> = vec![SmallVec::new(); self.units.len()];
        for &u in order.iter() {
            let (nodes, folds): (&[u32], &[u32]) = match &self.units[u as usize].1 {
                Unit::Region(r) => (&r.nodes, &r.folds),
                Unit::Small(list) => (list, &[]),
                Unit::Call(list) => (list, &[]),
            };
            for r in nodes.iter().chain(folds).flat_map(|&x| &ir.nodes[x as usize].inputs) {
                let home = self.home[r.node as usize];
                if home != NOWHERE && home != u && stored[r.node as usize] && readers[home as usize].last() != Some(&u)
                {
                    readers[home as usize].push(u);
                }
            }
        }
        let mut place = vec![0; self.units.len()];
        for (k, &u) in order.iter().enumerate() {
            place[u as usize] = k;
        }
        for k in (0..order.len()).rev() {
            let unit = order[k] as usize;
            let first = readers[unit].iter().map(|&u| place[u as usize]).min();
            if let (Unit::Region(region), Some(first)) = (&self.units[unit].1, first)
                && (region.folds.is_empty() || region.n <= SHORT)
                && first > k + 1
            {
                order[k..first].rotate_left(1);
                for (k, &u) in order.iter().enumerate().take(first).skip(k) {
                    place[u as usize] = k;
                }
            }
        }
    }

    /// The inputs that node i can have in the blocks of its region.
    fn inside(&self, i: usize) -> SmallVec<[u32; 3]> {
        let n = &self.ir.nodes[i];
        let at_hand = |k: &u32| {
            let (k, r) = (*k as usize, n.inputs[*k as usize]);
            match (self.class[r.node as usize], self.class[i]) {
                (Class::Block, Class::Block) => r.view == DIRECT && self.ir.nodes[r.node as usize].n == n.n,
                (Class::Block, Class::Column | Class::Fold) => self.array(i) == Some(k),
                (Class::Column, Class::Block | Class::Column | Class::Fold) => self.has_column(i, k),
                _ => false,
            }
        };
        (0..n.inputs.len() as u32).filter(at_hand).collect()
    }

    /// Moves nodes that only one later region of their size needs into that region, where this does not store more than it
    /// saves: what they read has to be stored anyway, but for one value.
    fn sink(&mut self) {
        const SEVERAL: u32 = NOWHERE - 1;
        let ir = self.ir;
        // the one region that needs a value, and whether it has to lie in memory
        let mut user = vec![NOWHERE; ir.nodes.len()];
        let mut hard = vec![false; ir.nodes.len()];
        for &o in &ir.outputs {
            hard[o as usize] = true;
        }
        for (i, n) in ir.nodes.iter().enumerate().rev() {
            if self.class[i] == Class::Block && !hard[i] && user[i] < SEVERAL && user[i] != self.home[i] {
                let mut apart: SmallVec<[u32; 3]> = SmallVec::new();
                for r in &n.inputs {
                    let p = r.node as usize;
                    if self.class[p] == Class::Block && r.view == DIRECT && !hard[p] && !apart.contains(&r.node) {
                        apart.push(r.node);
                    }
                }
                if apart.len() <= 1 {
                    self.home[i] = user[i];
                    self.level[i] = self.units[user[i] as usize].0;
                }
            }
            for (k, r) in n.inputs.iter().enumerate() {
                let p = r.node as usize;
                if self.class[p] != Class::Block {
                    continue;
                }
                let soft = match self.class[i] {
                    Class::Block => r.view == DIRECT,
                    Class::Column | Class::Fold => self.array(i) == Some(k),
                    Class::Free | Class::Small | Class::Call => false,
                };
                if !soft {
                    hard[p] = true;
                } else if user[p] == NOWHERE || user[p] == self.home[i] {
                    user[p] = self.home[i];
                } else {
                    user[p] = SEVERAL;
                }
            }
        }
    }

    /// Decides what is stored.
    fn store(&self) -> Vec<bool> {
        let ir = self.ir;
        // who needs a value of a region elsewhere: as it lies (2), or in a region of the same size, which could compute it (1)
        let mut need = vec![0u8; ir.nodes.len()];
        for (i, n) in ir.nodes.iter().enumerate() {
            for (k, r) in n.inputs.iter().enumerate() {
                let p = r.node as usize;
                let soft = match (self.class[p], self.class[i]) {
                    (Class::Block, Class::Block) => r.view == DIRECT && n.n == ir.nodes[p].n,
                    (Class::Block, Class::Column | Class::Fold) => self.array(i) == Some(k),
                    // a column is computed in its own region alone
                    (Class::Column, _) => self.home[i] == self.home[p] && self.has_column(i, k),
                    (Class::Block, _) => false,
                    _ => continue,
                };
                if !soft {
                    need[p] = 2;
                } else if self.home[i] != self.home[p] {
                    need[p] = need[p].max(1);
                }
            }
        }
        for &o in &ir.outputs {
            need[o as usize] = 2;
        }
        let mut stored: Vec<bool> = self.class.iter().map(|c| !matches!(c, Class::Block | Class::Column)).collect();
        // the cost of computing a value wherever it is needed, if it is not stored
        let mut again = vec![0u32; ir.nodes.len()];
        for (i, n) in ir.nodes.iter().enumerate() {
            if self.class[i] == Class::Column {
                stored[i] = need[i] != 0 || !self.fuse;
            }
            if self.class[i] != Class::Block {
                continue;
            }
            let mut cost = n.cost;
            for r in &n.inputs {
                let p = r.node as usize;
                cost = cost.saturating_add(match self.class[p] {
                    Class::Free if r.view == DIRECT => u32::from(!matches!(ir.nodes[p].kind, Kind::Const(_))),
                    _ if r.view != DIRECT => 2,
                    _ if need[p] == 2 || stored[p] => 1,
                    _ => again[p],
                });
            }
            again[i] = cost;
            stored[i] = need[i] == 2 || need[i] == 1 && (cost > CHEAP || !self.fuse);
        }
        // what is computed again elsewhere needs its columns in memory
        let mut elsewhere: Vec<bool> = (0..ir.nodes.len()).map(|i| need[i] == 1 && !stored[i]).collect();
        for (i, n) in ir.nodes.iter().enumerate().rev() {
            if !elsewhere[i] {
                continue;
            }
            for r in &n.inputs {
                let p = r.node as usize;
                match self.class[p] {
                    Class::Column => stored[p] = true,
                    Class::Block if r.view == DIRECT && !stored[p] => elsewhere[p] = true,
                    _ => {}
                }
            }
        }
        stored
    }
}
