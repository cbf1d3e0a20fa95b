//! The program in the terms of the machine: flat arrays of n elements, views of them, and kernels.
//!
//! Shapes are gone but for views and opaque operations. Movement costs nothing until somebody reads: it becomes a view on
//! the reader's side. A reshape is never anything at all, since elements are counted in C order.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::absorb::{self, Absorbed, Absorption};
use super::frame::Frame;
use super::kernel;
use super::layout::{self, Want};
use super::program::Program;
use super::shift::Shifts;
use super::view::View;
use crate::code;
use crate::math::{self, Kernel};
use crate::ops::{Binary, Cast, Leaf, Movement, Op, Primitive, Project, Reduce, ReduceOp, Unary, Windowed};
use crate::tape::{Axes, DType, Shape, shape};
use crate::{Error, Result};

/// Rows shorter than this are joined several at a time, as rows of about so many elements.
const NARROW: usize = 128;
const WIDE: usize = 256;

/// No view: the input as it lies.
pub const DIRECT: u32 = u32::MAX;

/// How a node reads another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ref {
    pub node: u32,
    /// A place in the table of views, or [`DIRECT`].
    pub view: u32,
}

impl Ref {
    pub fn direct(node: u32) -> Ref {
        Ref { node, view: DIRECT }
    }
}

/// An operation that is one call: not fused with anything, but for a product, which may be added to a third input.
#[derive(Debug)]
pub struct Opaque {
    pub op: Op,
    pub inputs: SmallVec<[(Shape, DType); 3]>,
    pub shape: Shape,
    /// Of an operation with several results: the node of each, [`NOBODY`] where nobody reads it.
    pub results: SmallVec<[u32; 2]>,
}

pub const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub struct Fold {
    pub op: ReduceOp,
    /// The input is `rows` rows of `row` elements. Trailing: one result a row. Leading: the rows are joined into one. An input
    /// of a single row may be longer: what comes after it does not count.
    pub rows: usize,
    pub row: usize,
    pub leading: bool,
}

#[derive(Debug)]
pub enum Kind {
    Param,
    /// One number everywhere. Serves readers of any size.
    Const(u64),
    /// 0, 1, 2, … as int64
    Iota,
    Map(Kernel),
    /// The input's elements in the order of the view.
    Copy,
    /// The input inside the frame, zero outside.
    Mask(Box<Frame>),
    Fold(Fold),
    Opaque(Box<Opaque>),
    /// A result, in this shape, of the operation with several that is the only input, which computes it.
    Project(Shape),
}

#[derive(Debug)]
pub struct Node {
    pub kind: Kind,
    pub inputs: SmallVec<[Ref; 3]>,
    pub n: usize,
    pub dtype: DType,
    /// Tenths of a nanosecond an element.
    pub cost: u32,
    /// The operation, where machine code can be made for it.
    pub op: Option<code::Op>,
}

#[derive(Debug, Default)]
pub struct Ir {
    pub nodes: Vec<Node>,
    pub views: Vec<View>,
    /// The node of each output: computed, and no two the same.
    pub outputs: Vec<u32>,
    pub params: Vec<u32>,
    /// Where both the sine and the cosine of something are wanted: what becomes of either.
    pub twins: FxHashMap<u32, Twin>,
}

/// One of two nodes that one kernel can compute together: the first result is the sine's.
#[derive(Clone, Copy, Debug)]
pub struct Twin {
    pub other: u32,
    pub is_sine: bool,
    pub kernel: Kernel,
}

/// What a node of the program has become.
#[derive(Clone, Copy)]
pub(super) struct Value {
    pub(super) node: u32,
    /// A view whose elements in C order are the value; its axes need not be those of the shape.
    pub(super) view: u32,
}

pub(super) struct Builder<'a> {
    pub(super) p: &'a Program,
    pub(super) ir: Ir,
    pub(super) values: Vec<Value>,
    consts: FxHashMap<(u64, DType), u32>,
    iotas: FxHashMap<usize, u32>,
    /// Sines and cosines, by what they are of.
    angles: FxHashMap<(Ref, bool), u32>,
    absorption: Absorption,
    pub(super) shifts: Shifts,
    pub(super) wants: Vec<Want>,
}

/// Arrays of more than `over` elements that are put together from pieces become elementwise nodes where that pays.
pub fn build(p: &Program, over: usize) -> Result<Ir> {
    let mut b = Builder {
        p,
        ir: Ir::default(),
        values: Vec::with_capacity(p.nodes.len()),
        consts: FxHashMap::default(),
        iotas: FxHashMap::default(),
        angles: FxHashMap::default(),
        absorption: absorb::absorption(p),
        shifts: Shifts::new(p, over),
        wants: layout::wants(p),
    };
    b.ir.nodes.reserve(p.nodes.len() + p.outputs.len());
    let mut param = vec![u32::MAX; 0];
    if !p.params.is_empty() {
        param.resize(p.nodes.len(), u32::MAX);
        for (k, &at) in p.params.iter().enumerate() {
            param[at as usize] = k as u32;
        }
    }
    b.ir.params = vec![u32::MAX; p.params.len()];
    for i in 0..p.nodes.len() {
        let v = b.node(i, &param)?;
        b.values.push(v);
    }
    b.outputs();
    Ok(b.ir)
}

impl Builder<'_> {
    pub(super) fn push(&mut self, kind: Kind, inputs: SmallVec<[Ref; 3]>, n: usize, dtype: DType, cost: u32) -> u32 {
        self.ir.nodes.push(Node { kind, inputs, n, dtype, cost, op: None });
        (self.ir.nodes.len() - 1) as u32
    }

    fn node(&mut self, i: usize, param: &[u32]) -> Result<Value> {
        let n = &self.p.nodes[i];
        let (size, dtype) = (shape::size(&n.shape), n.dtype);
        if dtype.is_complex() {
            return Err(Error::Type(format!(
                "{}: {dtype} is not supported; split into real and imaginary parts",
                n.op.name()
            )));
        }
        let whole = |node: u32| Value { node, view: DIRECT };
        Ok(match &n.op {
            Op::Leaf(Leaf::Param) => {
                let k = *param.get(i).unwrap_or(&u32::MAX);
                if k == u32::MAX {
                    return Err(Error::Internal("a parameter that the program does not list".into()));
                }
                let at = self.push(Kind::Param, SmallVec::new(), size, dtype, 0);
                self.ir.params[k as usize] = at;
                whole(at)
            }
            Op::Leaf(Leaf::Literal(bits)) => whole(self.number(*bits, dtype)),
            Op::Leaf(Leaf::Iota(axis)) => self.iota(&n.shape, *axis as usize),
            Op::Leaf(Leaf::Eye) => {
                let places: SmallVec<[Ref; 3]> =
                    (0..2).map(|axis| self.iota(&n.shape, axis)).map(|v| Ref { node: v.node, view: v.view }).collect();
                let same = kernel::elementwise(&Op::Binary(Binary::Equal), DType::I64, DType::Bool)?;
                let on = self.push(Kind::Map(same), places, size, DType::Bool, 1);
                let cast = kernel::elementwise(&Op::Cast(Cast), DType::Bool, dtype)?;
                whole(self.push(Kind::Map(cast), [Ref::direct(on)].into_iter().collect(), size, dtype, 1))
            }
            Op::Leaf(Leaf::Alias | Leaf::Stop | Leaf::Dense) => self.values[n.inputs[0] as usize],
            Op::Binary(_) if let Some(Absorbed { product, to }) = self.absorption.additions[i] => {
                let factors = self.p.nodes[product as usize].inputs.clone();
                let mut inputs: SmallVec<[Ref; 3]> = factors.iter().map(|&x| self.strided(x)).collect();
                inputs.push(self.reference(to));
                self.opaque(product as usize, &[factors[0], factors[1], to], inputs)
            }
            Op::Unary(_) | Op::Binary(_) | Op::Cast(_) | Op::Select(_) => {
                let last = *n.inputs.last().unwrap_or(&0);
                let k = kernel::elementwise(&n.op, self.p.nodes[last as usize].dtype, dtype)?;
                let (inputs, view) = match self.laid_out(i) {
                    Some((inputs, view)) => (inputs, Some(view)),
                    None => (n.inputs.iter().map(|&x| self.reference(x)).collect(), None),
                };
                let node = self.push(Kind::Map(k), inputs, size, dtype, kernel::cost(&n.op));
                match n.op {
                    Op::Unary(u @ (Unary::Sin | Unary::Cos)) => self.angle(node, u == Unary::Sin),
                    _ => {
                        self.ir.nodes[node as usize].op =
                            kernel::generated(&n.op, self.p.nodes[last as usize].dtype, dtype)
                    }
                }
                let view = view.map_or(DIRECT, |v| self.view(node, v));
                Value { node, view }
            }
            Op::Movement(Movement::Broadcast) => self.moved(n.inputs[0], |v| v.broadcast(&n.shape)),
            Op::Movement(Movement::Reshape) => self.values[n.inputs[0] as usize],
            Op::Movement(Movement::Transpose(perm)) => self.moved(n.inputs[0], |v| v.transpose(perm)),
            Op::Windowed(Windowed::Slice(w)) => self.moved(n.inputs[0], |v| v.slice(w, &n.shape)),
            Op::Reduce(r) => whole(self.reduce(r, n.inputs[0], size, dtype)?),
            // its addition does the work
            Op::MatMul(_) if self.absorption.absorbed[i] => whole(NOBODY),
            Op::MatMul(_) if self.is_wanted_transposed(i) => self.transposed_product(i),
            Op::MatMul(_) => {
                // strides are for the kernel to follow
                let inputs = n.inputs.iter().map(|&x| self.strided(x)).collect();
                self.opaque(i, &n.inputs, inputs)
            }
            Op::Windowed(Windowed::Assemble(ws))
                if ws.len() == 1 && self.p.nodes[n.inputs[0] as usize].shape == n.shape && ws[0].turns(&n.shape) =>
            {
                self.moved(n.inputs[0], |v| v.slice(&ws[0], &n.shape))
            }
            Op::Windowed(Windowed::Assemble(ws)) => match self.assembled(i, ws)? {
                Some(at) => whole(at),
                None => {
                    let inputs = n.inputs.iter().map(|&x| self.contiguous(x)).collect();
                    self.opaque(i, &n.inputs, inputs)
                }
            },
            Op::Windowed(Windowed::Update(_))
            | Op::ArgReduce(_)
            | Op::Gather(_)
            | Op::Scan(_)
            | Op::Sort(_)
            | Op::Linalg(_)
            | Op::Factor(_)
            | Op::Host(_)
            | Op::Control(_) => {
                let inputs = n.inputs.iter().map(|&x| self.contiguous(x)).collect();
                self.opaque(i, &n.inputs, inputs)
            }
            Op::Custom(_) => return Err(Error::Internal("a custom operation in a program".into())),
            Op::Project(Project(k)) => {
                let tuple = self.values[n.inputs[0] as usize].node;
                let inputs = [Ref::direct(tuple)].into_iter().collect();
                let at = self.push(Kind::Project(n.shape.clone()), inputs, size, dtype, 0);
                match &mut self.ir.nodes[tuple as usize].kind {
                    Kind::Opaque(o) => {
                        let k = *k as usize;
                        if o.results.len() <= k {
                            o.results.resize(k + 1, NOBODY);
                        }
                        // the same result may stand in a program twice
                        if o.results[k] != NOBODY {
                            let from = [Ref::direct(o.results[k])].into_iter().collect();
                            self.ir.nodes[at as usize].kind = Kind::Copy;
                            self.ir.nodes[at as usize].inputs = from;
                        } else {
                            o.results[k] = at;
                        }
                    }
                    _ => return Err(Error::Internal("a result of what has one result".into())),
                }
                whole(at)
            }
        })
    }

    /// Remembers a sine or cosine, and its twin if that is there.
    fn angle(&mut self, at: u32, is_sine: bool) {
        let (of, dtype) = (self.ir.nodes[at as usize].inputs[0], self.ir.nodes[at as usize].dtype);
        self.angles.insert((of, is_sine), at);
        if let Some(&other) = self.angles.get(&(of, !is_sine))
            && let Some(kernel) = math::sin_and_cos(math::isa(), dtype)
            && self.ir.nodes[other as usize].n == self.ir.nodes[at as usize].n
        {
            self.ir.twins.insert(at, Twin { other, is_sine, kernel });
            self.ir.twins.insert(other, Twin { other: at, is_sine: !is_sine, kernel });
        }
    }

    /// Whether whoever reads a product would have its matrices transposed in memory.
    fn is_wanted_transposed(&self, i: usize) -> bool {
        let shape = &self.p.nodes[i].shape;
        let rank = shape.len();
        let Some(Want::Order(want)) = self.wants.get(i) else { return false };
        if rank < 2 || shape[rank - 2] == 1 || shape[rank - 1] == 1 || self.absorption.added_to[i] {
            return false;
        }
        let mut order: SmallVec<[u8; 4]> = (0..rank as u8).filter(|&a| shape[a as usize] != 1).collect();
        let last = order.len() - 1;
        order.swap(last - 1, last);
        *want == order
    }

    /// Bᵀ Aᵀ for A B: the same sums in the same order, in the order in memory that is wanted.
    fn transposed_product(&mut self, i: usize) -> Value {
        let n = &self.p.nodes[i];
        let rank = n.shape.len();
        let mut perm: Axes = (0..rank as u8).collect();
        perm.swap(rank - 2, rank - 1);
        let turned = |shape: &Shape| -> Shape { perm.iter().map(|&a| shape[a as usize]).collect() };
        let factors = [n.inputs[1], n.inputs[0]];
        let inputs = factors
            .iter()
            .map(|&x| {
                // where strides will not do, a copy takes the place of the value
                self.strided(x);
                let value = self.moved(x, |v| v.transpose(&perm));
                Ref { node: value.node, view: value.view }
            })
            .collect();
        let shape = turned(&n.shape);
        let opaque = Opaque {
            op: n.op.clone(),
            inputs: factors.iter().map(|&x| &self.p.nodes[x as usize]).map(|x| (turned(&x.shape), x.dtype)).collect(),
            shape: shape.clone(),
            results: SmallVec::new(),
        };
        let cost = kernel::cost(&n.op);
        let node = self.push(Kind::Opaque(Box::new(opaque)), inputs, shape::size(&shape), n.dtype, cost);
        self.viewed(node, View::whole(&shape).transpose(&perm))
    }

    /// A call of the operation of node i, on these nodes.
    fn opaque(&mut self, i: usize, from: &[u32], inputs: SmallVec<[Ref; 3]>) -> Value {
        let n = &self.p.nodes[i];
        let opaque = Opaque {
            op: n.op.clone(),
            inputs: from.iter().map(|&x| &self.p.nodes[x as usize]).map(|x| (x.shape.clone(), x.dtype)).collect(),
            shape: n.shape.clone(),
            results: SmallVec::new(),
        };
        let node =
            self.push(Kind::Opaque(Box::new(opaque)), inputs, shape::size(&n.shape), n.dtype, kernel::cost(&n.op));
        Value { node, view: DIRECT }
    }

    pub(super) fn number(&mut self, bits: u64, dtype: DType) -> u32 {
        if let Some(&at) = self.consts.get(&(bits, dtype)) {
            return at;
        }
        let at = self.push(Kind::Const(bits), SmallVec::new(), 1, dtype, 0);
        self.consts.insert((bits, dtype), at);
        at
    }

    pub(super) fn is_number(&self, node: u32) -> bool {
        matches!(self.ir.nodes[node as usize].kind, Kind::Const(_))
    }

    /// A count along one axis is a view of 0, 1, 2, …
    fn iota(&mut self, to: &[usize], axis: usize) -> Value {
        let len = to[axis];
        let node = match self.iotas.get(&len) {
            Some(&at) => at,
            None => {
                let at = self.push(Kind::Iota, SmallVec::new(), len, DType::I64, 1);
                self.iotas.insert(len, at);
                at
            }
        };
        let mut v = View { offset: 0, dims: to.into(), strides: SmallVec::from_elem(0, to.len()), frame: None };
        v.strides[axis] = 1;
        self.viewed(node, v)
    }

    pub(super) fn viewed(&mut self, node: u32, v: View) -> Value {
        if self.is_number(node) {
            return Value { node, view: DIRECT };
        }
        let whole = v.offset == 0 && v.size() == self.ir.nodes[node as usize].n && v.contiguous();
        if whole {
            return Value { node, view: DIRECT };
        }
        self.ir.views.push(v);
        Value { node, view: (self.ir.views.len() - 1) as u32 }
    }

    /// The place of a view in the table, the same one for the same view of the same node.
    pub(super) fn view(&mut self, node: u32, v: View) -> u32 {
        let next = self.ir.views.len() as u32;
        *self.shifts.views.entry((node, v)).or_insert_with_key(|(_, v)| {
            self.ir.views.push(v.clone());
            next
        })
    }

    pub(super) fn reference(&self, x: u32) -> Ref {
        let v = self.values[x as usize];
        Ref { node: v.node, view: v.view }
    }

    /// The value as a view with the axes of its shape, materialised where there is none.
    fn axes(&mut self, x: u32) -> (u32, View) {
        let value = self.values[x as usize];
        let shape = &self.p.nodes[x as usize].shape;
        if value.view == DIRECT {
            return (value.node, View::whole(shape));
        }
        let v = &self.ir.views[value.view as usize];
        if v.dims == *shape {
            return (value.node, v.clone());
        }
        if let Some(v) = v.reshape(shape) {
            return (value.node, v);
        }
        let node = self.copied(x);
        (node, View::whole(shape))
    }

    /// The value in an array of its own; whoever reads it next finds it there.
    fn copied(&mut self, x: u32) -> u32 {
        let n = &self.p.nodes[x as usize];
        let from = self.reference(x);
        let at = self.push(Kind::Copy, [from].into_iter().collect(), shape::size(&n.shape), n.dtype, 2);
        self.values[x as usize] = Value { node: at, view: DIRECT };
        at
    }

    fn moved(&mut self, x: u32, f: impl FnOnce(&View) -> View) -> Value {
        let value = self.values[x as usize];
        if self.is_number(value.node) {
            return value;
        }
        let (node, v) = self.axes(x);
        self.viewed(node, f(&v))
    }

    fn strided(&mut self, x: u32) -> Ref {
        let value = self.values[x as usize];
        if self.is_number(value.node) {
            return Ref::direct(self.copied(x));
        }
        if value.view == DIRECT {
            return Ref::direct(value.node);
        }
        let (node, v) = self.axes(x);
        let value = self.viewed(node, v);
        Ref { node: value.node, view: value.view }
    }

    fn contiguous(&mut self, x: u32) -> Ref {
        let value = self.values[x as usize];
        let lies = value.view == DIRECT || self.ir.views[value.view as usize].contiguous();
        if lies && !self.is_number(value.node) {
            return self.reference(x);
        }
        Ref::direct(self.copied(x))
    }

    fn reduce(&mut self, r: &Reduce, x: u32, size: usize, dtype: DType) -> Result<u32> {
        let from = &self.p.nodes[x as usize];
        let isa = math::isa();
        if math::reduce::block(isa, r.op, dtype).is_none() {
            return Err(Error::Type(format!(
                "{} of {dtype} is not supported; convert the argument with astype first",
                r.name()
            )));
        }
        // axes of length 1 do not matter
        let mut lengths: SmallVec<[(usize, bool); 4]> = SmallVec::new();
        for (i, &d) in from.shape.iter().enumerate() {
            if d != 1 {
                lengths.push((d, r.axes.contains(&(i as u8))));
            }
        }
        let changes = lengths.windows(2).filter(|w| w[0].1 != w[1].1).count();
        let product = |reduced: bool| lengths.iter().filter(|l| l.1 == reduced).map(|l| l.0).product::<usize>();
        let (summed, kept) = (product(true), product(false));
        debug_assert_eq!(kept, size);
        if summed == 0
            && let Some(bits) = math::reduce::init(r.op, dtype)
        {
            // over nothing: the same number everywhere
            return Ok(self.number(bits, dtype));
        }
        let leading = changes == 1 && lengths[0].1 && kept != 1;
        let (input, leading) = if changes <= 1 {
            (self.reference(x), leading)
        } else {
            // the reduced axes to the end
            let perm: Axes =
                (0..from.shape.len() as u8).filter(|a| !r.axes.contains(a)).chain(r.axes.iter().copied()).collect();
            let moved = self.moved(x, |v| v.transpose(&perm));
            (Ref { node: moved.node, view: moved.view }, false)
        };
        let fold = if leading {
            Fold { op: r.op, rows: summed, row: kept, leading: true }
        } else {
            Fold { op: r.op, rows: kept, row: summed, leading: false }
        };
        if kept == 1
            && let Some(input) = self.hosted(input, summed)
        {
            let fold = Fold { op: r.op, rows: 1, row: summed, leading: false };
            return Ok(self.push(Kind::Fold(fold), [input].into_iter().collect(), 1, dtype, 3));
        }
        // a reduction reads an array of its own size
        let input = if self.is_number(input.node) || input.view != DIRECT {
            let n = summed * kept;
            Ref::direct(self.push(Kind::Copy, [input].into_iter().collect(), n, dtype, 2))
        } else {
            input
        };
        // short rows are joined several at a time, so that vectors fill up, and what comes out once more
        if fold.leading && kept < NARROW && summed * kept > WIDE * 16 {
            let most = WIDE / kept;
            if let Some(k) = (2..=most).rev().find(|k| summed % k == 0) {
                let wide = Fold { rows: summed / k, row: kept * k, ..fold };
                let first = self.push(Kind::Fold(wide), [input].into_iter().collect(), kept * k, dtype, 3);
                let rest = Fold { rows: k, ..fold };
                return Ok(self.push(Kind::Fold(rest), [Ref::direct(first)].into_iter().collect(), size, dtype, 3));
            }
        }
        Ok(self.push(Kind::Fold(fold), [input].into_iter().collect(), size, dtype, 3))
    }

    /// Each output gets a node that nobody else returns and that is no parameter, number or view.
    fn outputs(&mut self) {
        let mut taken = rustc_hash::FxHashSet::default();
        for &o in &self.p.outputs {
            let v = self.values[o as usize];
            let n = &self.p.nodes[o as usize];
            let own = v.view == DIRECT
                && !matches!(self.ir.nodes[v.node as usize].kind, Kind::Param | Kind::Const(_) | Kind::Iota)
                && taken.insert(v.node);
            let node = if own {
                v.node
            } else {
                let from = Ref { node: v.node, view: v.view };
                self.push(Kind::Copy, [from].into_iter().collect(), shape::size(&n.shape), n.dtype, 2)
            };
            self.ir.outputs.push(node);
        }
    }
}
