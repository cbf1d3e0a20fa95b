//! Writes down what a pass of generated code computes.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::misplaced;
use crate::Result;
use crate::code::{self, At, Pass, Span, Step, Store};
use crate::ops::{Binary, Op, ReduceOp, Windowed, disjoint};
use crate::plan::ir::{DIRECT, Fold, Ir, Kind, Node, Opaque, Ref};
use crate::plan::view::View;
use crate::tape::DType;

pub(super) struct Composer<'a> {
    ir: &'a Ir,
    pub pass: Pass,
    /// The values of members, and of what is read through views or from outside.
    members: FxHashMap<u32, u32>,
    reads: FxHashMap<(u32, u32), u32>,
    /// Masks of ranges of elements.
    ranges: FxHashMap<(usize, usize), u32>,
    /// The mask of those that are to be computed.
    called: Option<u32>,
}

/// The elements that a view of a tiny array reads.
fn places(view: &View) -> Box<[Option<u8>]> {
    let n = view.size();
    let place = |mut k: usize| {
        let mut at = view.offset;
        for (&d, &s) in view.dims.iter().zip(&view.strides).rev() {
            at += (k % d) as isize * s;
            k /= d;
        }
        u8::try_from(at).ok()
    };
    let mut places: Vec<Option<u8>> = (0..n).map(place).collect();
    if let Some(frame) = &view.frame {
        frame.stretches(0, n, |from, len, inside| {
            if !inside {
                places[from..from + len].fill(None);
            }
        });
    }
    places.into()
}

impl<'a> Composer<'a> {
    pub fn new(ir: &'a Ir, dtype: DType, span: Span) -> Composer<'a> {
        let pass = Pass::new(dtype, span);
        Composer {
            ir,
            pass,
            members: FxHashMap::default(),
            reads: FxHashMap::default(),
            ranges: FxHashMap::default(),
            called: None,
        }
    }

    /// All elements at an address.
    pub fn load(&mut self, at: At, dtype: DType) -> u32 {
        self.pass.push(if dtype == DType::Bool { Step::LoadMask(at) } else { Step::Load(at) })
    }

    /// Those in a range, zeros elsewhere.
    pub fn load_inside(&mut self, at: At, dtype: DType, range: (usize, usize)) -> u32 {
        let mask = self.inside(range);
        match dtype {
            DType::Bool => {
                let all = self.pass.push(Step::LoadMask(at));
                self.pass.push(Step::Op(code::Op::Binary(Binary::LogicalAnd), [all, mask, 0]))
            }
            _ => self.pass.push(Step::LoadWhere(at, mask)),
        }
    }

    /// The elements of a vector that `r` reads.
    pub fn permute(&mut self, whole: u32, r: Ref) -> u32 {
        self.pass.push(Step::Permute(whole, places(&self.ir.views[r.view as usize])))
    }

    fn inside(&mut self, range: (usize, usize)) -> u32 {
        let pass = &mut self.pass;
        *self.ranges.entry(range).or_insert_with(|| pass.push(Step::Inside(range.0, range.1)))
    }

    /// A number; of bool, a comparison that has that result.
    fn number(&mut self, bits: u64, dtype: DType) -> u32 {
        if dtype != DType::Bool {
            return self.pass.push(Step::Number(bits));
        }
        let zero = self.pass.push(Step::Number(0));
        let test = if bits & 0xff == 0 { Binary::Less } else { Binary::Equal };
        self.pass.push(Step::Op(code::Op::Binary(test), [zero, zero, 0]))
    }

    /// Computes a member; `read` brings what the pass does not compute.
    pub fn member(&mut self, x: u32, read: &mut dyn FnMut(&mut Self, Ref) -> Result<u32>) -> Result<()> {
        let ir = self.ir;
        let n = &ir.nodes[x as usize];
        let mut inputs = [0; 3];
        for (k, r) in n.inputs.iter().enumerate() {
            let value = self.input(*r, read)?;
            // what is put together may be of more pieces
            if let Some(input) = inputs.get_mut(k) {
                *input = value;
            }
        }
        let value = match &n.kind {
            Kind::Copy => inputs[0],
            Kind::Mask(frame) => {
                let inside = self.inside(frame.as_range().ok_or_else(misplaced)?);
                let zero = self.pass.push(Step::Number(0));
                self.pass.push(Step::Op(code::Op::Select, [inside, inputs[0], zero]))
            }
            Kind::Fold(fold) => self.folded(inputs[0], fold, n.dtype),
            Kind::Opaque(o) => self.assembled(n, o)?,
            _ => self.pass.push(Step::Op(n.op.ok_or_else(misplaced)?, inputs)),
        };
        self.members.insert(x, value);
        Ok(())
    }

    fn input(&mut self, r: Ref, read: &mut dyn FnMut(&mut Self, Ref) -> Result<u32>) -> Result<u32> {
        let member = self.members.get(&r.node).copied();
        if let (Some(v), DIRECT) = (member, r.view) {
            return Ok(v);
        }
        let from = &self.ir.nodes[r.node as usize];
        let number = matches!(from.kind, Kind::Const(_));
        let key = (r.node, if number { DIRECT } else { r.view });
        if let Some(&v) = self.reads.get(&key) {
            return Ok(v);
        }
        let value = match (&from.kind, member) {
            (Kind::Const(bits), _) => self.number(*bits, from.dtype),
            (_, Some(whole)) => self.permute(whole, r),
            (_, None) => read(self, r)?,
        };
        self.reads.insert(key, value);
        Ok(value)
    }

    /// Writes the value of a member; of the elements `called` for alone, or of whole vectors.
    pub fn store(&mut self, x: u32, at: At, called: bool) -> Result<()> {
        let value = *self.members.get(&x).ok_or_else(misplaced)?;
        let only = if called { self.called } else { None };
        self.pass.stores.push(Store { value, at, only });
        Ok(())
    }

    /// Adds a value that the pass has, a member's or one that it reads as it lies, to what is at an address.
    pub fn add_to(&mut self, x: u32, at: At) -> Result<()> {
        let value = *self.members.get(&x).or_else(|| self.reads.get(&(x, DIRECT))).ok_or_else(misplaced)?;
        let sum = self.pass.push(Step::Load(at));
        let sum = self.pass.push(Step::Op(code::Op::Binary(Binary::Add), [sum, value, 0]));
        self.pass.stores.push(Store::new(sum, at));
        Ok(())
    }

    /// Members that are computed from here on can be written for the elements alone that the code is called for.
    pub fn call(&mut self) {
        self.called = Some(self.pass.push(Step::Called));
    }

    /// A reduction of a tiny array, one element after the other as `straight::fold` does it.
    fn folded(&mut self, x: u32, fold: &Fold, dtype: DType) -> u32 {
        let (results, count) = if fold.leading { (fold.row, fold.rows) } else { (fold.rows, fold.row) };
        let (op, first) = match (fold.op, dtype) {
            (ReduceOp::Prod, DType::F32) => (Binary::Mul, u64::from(1f32.to_bits())),
            (ReduceOp::Prod, _) => (Binary::Mul, 1f64.to_bits()),
            _ => (Binary::Add, 0),
        };
        let mut sum = self.pass.push(Step::Number(first));
        for k in 0..count {
            let place = |i: usize| if fold.leading { k * fold.row + i } else { i * fold.row + k };
            let places = (0..results).map(|i| u8::try_from(place(i)).ok()).collect();
            let element = self.pass.push(Step::Permute(x, places));
            sum = self.pass.push(Step::Op(code::Op::Binary(op), [sum, element, 0]));
        }
        sum
    }

    /// Zeros with pieces added in windows, as `straight::{clear, write_runs, add_runs}` do it.
    fn assembled(&mut self, n: &Node, o: &Opaque) -> Result<u32> {
        let Op::Windowed(Windowed::Assemble(windows)) = &o.op else { return Err(misplaced()) };
        let shapes: SmallVec<[&[usize]; 4]> = o.inputs.iter().map(|(shape, _)| shape.as_slice()).collect();
        let apart = disjoint(windows, &shapes);
        let mut whole = self.pass.push(Step::Number(0));
        for ((w, piece), r) in windows.iter().zip(&shapes).zip(&n.inputs) {
            let value = self.input(*r, &mut |_, _| Err(misplaced()))?;
            let mut from = vec![None; n.n];
            for (k, at) in w.elements(&o.shape, piece).enumerate() {
                from[at] = u8::try_from(k).ok();
            }
            whole = if apart {
                self.pass.push(Step::Place(whole, value, from.into()))
            } else {
                let placed = self.pass.push(Step::Permute(value, from.into()));
                self.pass.push(Step::Op(code::Op::Binary(Binary::Add), [whole, placed, 0]))
            };
        }
        Ok(whole)
    }
}
