//! Which operations are one pass of generated code.
//!
//! What machine code can be made for waits until something else needs a result: then all that waits with it, over as many
//! elements of the same width, is one pass. Nothing else changes its place.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::code::{self, Pass};
use crate::ops::{Op, ReduceOp, Windowed};
use crate::plan::ir::{DIRECT, Ir, Kind, Node, Ref};
use crate::tape::{DType, shape};

/// What a unit does, in order.
pub enum Item {
    Node(u32),
    /// With vectors of this dtype.
    Pass(DType, Vec<u32>),
}

impl Item {
    pub fn nodes(&self) -> &[u32] {
        match self {
            Item::Node(x) => std::slice::from_ref(x),
            Item::Pass(_, members) => members,
        }
    }
}

/// Operations of one pass, at most.
const LONGEST: usize = 512;
/// Arrays that a pass over blocks reads and writes, at most: their addresses are at hand, beside that of the registers.
pub const ARRAYS: usize = crate::code::BASES - 1;
/// Plans of more operations stay without code.
pub const MOST: usize = 1 << 16;

/// What the members of a pass have in common: the number of elements, or 0 where everything fits one vector, and the dtype of
/// its vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    n: usize,
    dtype: DType,
}

/// Whether an array fits one vector.
pub fn is_tiny(n: usize, dtype: DType) -> bool {
    n <= Pass::lanes(dtype)
}

/// Whether a node only moves the elements of one vector, or adds some of them up.
fn is_tiny_movement(ir: &Ir, x: u32) -> bool {
    let n = &ir.nodes[x as usize];
    let tiny = |n: &Node| is_tiny(n.n, n.dtype);
    let all = |n: &Node| n.inputs.iter().all(|r| ir.nodes[r.node as usize].dtype == n.dtype);
    let small = |n: &Node| n.inputs.iter().all(|r| tiny(&ir.nodes[r.node as usize]));
    match &n.kind {
        Kind::Copy => tiny(n) && all(n),
        Kind::Fold(fold) => {
            matches!(fold.op, ReduceOp::Sum | ReduceOp::Prod)
                && is_tiny(fold.rows * fold.row, n.dtype)
                && all(n)
                && small(n)
        }
        Kind::Opaque(o) => {
            matches!(o.op, Op::Windowed(Windowed::Assemble(_)))
                && tiny(n)
                && all(n)
                && o.inputs.iter().all(|(piece, _)| is_tiny(shape::size(piece), n.dtype))
        }
        _ => false,
    }
}

struct Waiting {
    class: Class,
    members: Vec<u32>,
    /// Arrays that they read or write.
    arrays: Vec<(u32, u32)>,
}

pub struct Arranger<'a> {
    pub ir: &'a Ir,
    /// Straight code; else the blocks of a region.
    pub small: bool,
    /// Whether a node may be part of a pass.
    pub may: &'a dyn Fn(u32) -> bool,
    /// Whether the value lies in memory, in a region.
    pub is_array: &'a dyn Fn(u32) -> bool,
    waiting: Vec<Waiting>,
    /// For each node that waits: with whom.
    at: FxHashMap<u32, usize>,
    items: Vec<Item>,
}

impl<'a> Arranger<'a> {
    pub fn new(
        ir: &'a Ir,
        small: bool,
        may: &'a dyn Fn(u32) -> bool,
        is_array: &'a dyn Fn(u32) -> bool,
    ) -> Arranger<'a> {
        Arranger { ir, small, may, is_array, waiting: Vec::new(), at: FxHashMap::default(), items: Vec::new() }
    }

    /// The nodes of a unit, in the order in which each comes after what it reads.
    pub fn arrange(mut self, nodes: &[u32]) -> Vec<Item> {
        for &x in nodes {
            let class = if (self.may)(x) { self.class(x) } else { None };
            let k = class.map(|c| self.with(c));
            for r in &self.ir.nodes[x as usize].inputs {
                if let Some(&other) = self.at.get(&r.node)
                    && (k != Some(other) || !self.joins(x, *r))
                {
                    self.flush(other);
                }
            }
            let Some(k) = k else {
                self.items.push(Item::Node(x));
                continue;
            };
            let arrays = if self.small { SmallVec::new() } else { self.arrays(x) };
            let more = arrays.iter().filter(|a| !self.waiting[k].arrays.contains(a)).count();
            if self.waiting[k].members.len() >= LONGEST || self.waiting[k].arrays.len() + more > ARRAYS {
                self.flush(k);
            }
            let w = &mut self.waiting[k];
            w.members.push(x);
            for a in arrays {
                if !w.arrays.contains(&a) {
                    w.arrays.push(a);
                }
            }
            self.at.insert(x, k);
        }
        for k in 0..self.waiting.len() {
            self.flush(k);
        }
        self.items
    }

    fn class(&self, x: u32) -> Option<Class> {
        let n = &self.ir.nodes[x as usize];
        let dtype = match &n.kind {
            Kind::Map(_) => self.width(n)?,
            Kind::Mask(frame) => frame.as_range().filter(|r| i32::try_from(r.1).is_ok()).map(|_| n.dtype)?,
            _ if self.small && is_tiny_movement(self.ir, x) => n.dtype,
            _ => return None,
        };
        let known = matches!(dtype, DType::F32 | DType::F64);
        known.then_some(Class { n: if self.small && is_tiny(n.n, dtype) { 0 } else { n.n }, dtype })
    }

    /// The dtype of the vectors that an operation works on.
    fn width(&self, n: &Node) -> Option<DType> {
        let dtype = match n.op? {
            code::Op::Unary(u) if u.is_predicate() => self.ir.nodes[n.inputs[0].node as usize].dtype,
            code::Op::Binary(b) if b.is_predicate() => self.ir.nodes[n.inputs[0].node as usize].dtype,
            code::Op::Unary(_) | code::Op::Binary(_) | code::Op::Select | code::Op::Number => n.dtype,
        };
        match dtype {
            // masks alone have no width: that of who waits
            DType::Bool => n.inputs.iter().find_map(|r| {
                let class = self.waiting[*self.at.get(&r.node)?].class;
                (r.view == DIRECT).then_some(class.dtype)
            }),
            other => Some(other),
        }
    }

    fn with(&mut self, class: Class) -> usize {
        self.waiting.iter().position(|w| w.class == class).unwrap_or_else(|| {
            self.waiting.push(Waiting { class, members: Vec::new(), arrays: Vec::new() });
            self.waiting.len() - 1
        })
    }

    /// Whether x can read what waits with it in registers.
    fn joins(&self, x: u32, r: Ref) -> bool {
        let (from, n) = (&self.ir.nodes[r.node as usize], &self.ir.nodes[x as usize]);
        r.view == DIRECT && from.n == n.n
            || self.small && from.dtype != DType::Bool && is_tiny(from.n, from.dtype) && is_tiny(n.n, from.dtype)
    }

    /// The arrays that a member of a region reads and writes.
    fn arrays(&self, x: u32) -> SmallVec<[(u32, u32); 4]> {
        let is_number = |r: &Ref| matches!(self.ir.nodes[r.node as usize].kind, Kind::Const(_));
        let outside = |r: &&Ref| !is_number(r) && (r.view != DIRECT || (self.is_array)(r.node));
        let reads = self.ir.nodes[x as usize].inputs.iter().filter(outside).map(|r| (r.node, r.view));
        reads.chain((self.is_array)(x).then_some((x, DIRECT))).collect()
    }

    fn flush(&mut self, k: usize) {
        let w = &mut self.waiting[k];
        w.arrays.clear();
        let members = std::mem::take(&mut w.members);
        for x in &members {
            self.at.remove(x);
        }
        match members.as_slice() {
            [] => {}
            // a kernel does as well
            [x] => self.items.push(Item::Node(*x)),
            _ => self.items.push(Item::Pass(w.class.dtype, members)),
        }
    }
}

/// For the members of passes: whether anybody but their own pass reads them. `others` are read from outside.
pub fn escaping<'a>(
    items: &'a [Item],
    ir: &'a Ir,
    is_kept: impl Fn(u32) -> bool,
    others: impl Iterator<Item = u32>,
) -> FxHashMap<u32, bool> {
    let mut escapes: FxHashMap<u32, bool> = FxHashMap::default();
    let mut item_of: FxHashMap<u32, usize> = FxHashMap::default();
    for (k, item) in items.iter().enumerate() {
        if let Item::Pass(_, members) = item {
            for &x in members {
                item_of.insert(x, k);
                escapes.insert(x, is_kept(x));
            }
        }
    }
    for (k, item) in items.iter().enumerate() {
        for &x in item.nodes() {
            for r in &ir.nodes[x as usize].inputs {
                if item_of.get(&r.node).is_some_and(|&from| from != k) {
                    escapes.insert(r.node, true);
                }
            }
        }
    }
    for x in others {
        if let Some(e) = escapes.get_mut(&x) {
            *e = true;
        }
    }
    escapes
}
