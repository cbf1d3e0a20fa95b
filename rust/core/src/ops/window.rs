//! Regular windows of an array: read (slices, flips), written, and put together (concatenate, pad, the transpose of reads).

use smallvec::SmallVec;

use super::{Batch, Cotangents, Leaf, Op, Primitive, Reverse, Zeros, none};
use crate::tape::{NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// Element i of the window along an axis is element `start + i·step` of the array. Its lengths are those of the piece.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Window {
    pub start: SmallVec<[i64; 4]>,
    pub step: SmallVec<[i64; 4]>,
}

impl Clone for Window {
    fn clone(&self) -> Window {
        // as a whole: the clone of a SmallVec goes element by element
        Window { start: SmallVec::from_slice(&self.start), step: SmallVec::from_slice(&self.step) }
    }
}

impl Window {
    /// Where the elements of a piece, in C order, are in the whole.
    pub fn elements<'a>(&'a self, whole: &[usize], piece: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        let strides = shape::strides(whole);
        (0..shape::size(piece)).map(move |mut k| {
            let mut at = 0;
            for axis in (0..piece.len()).rev() {
                at += (self.start[axis] + (k % piece[axis]) as i64 * self.step[axis]) * strides[axis] as i64;
                k /= piece[axis];
            }
            at as usize
        })
    }
}

/// Whether no two windows share an element. Sorted by the first axis that tells them apart; a few pieces only.
pub fn disjoint(ws: &[Window], pieces: &[&[usize]]) -> bool {
    if ws.len() == 1 {
        // a step of 0 would write one element twice
        return ws[0].step.iter().zip(pieces[0]).all(|(&s, &n)| s != 0 || n <= 1);
    }
    // bounds along each axis
    let span = |k: usize, axis: usize| {
        let (start, step, n) = (ws[k].start[axis], ws[k].step[axis], pieces[k][axis] as i64);
        let end = start + (n - 1) * step;
        (start.min(end), start.max(end))
    };
    let rank = ws.first().map_or(0, |w| w.start.len());
    let regular = |k: usize| ws[k].step.iter().zip(pieces[k]).all(|(&s, &n)| s != 0 || n <= 1);
    if !(0..ws.len()).all(regular) {
        return false;
    }
    (0..rank).any(|axis| {
        let mut spans: Vec<(i64, i64)> =
            (0..ws.len()).filter(|&k| shape::size(pieces[k]) > 0).map(|k| span(k, axis)).collect();
        spans.sort_unstable();
        spans.windows(2).all(|w| w[0].1 < w[1].0)
    })
}

impl Window {
    /// The window that begins at `start` and takes every element.
    pub fn at(start: &[i64]) -> Window {
        Window { start: start.into(), step: SmallVec::from_elem(1, start.len()) }
    }

    /// Whether a window of the whole's shape has all of its elements, along some axes from the last to the first: so it is
    /// its own inverse.
    pub fn turns(&self, whole: &[usize]) -> bool {
        (0..whole.len()).all(|i| match self.step[i] {
            _ if whole[i] == 1 => self.start[i] == 0,
            1 => self.start[i] == 0,
            -1 => self.start[i] == whole[i] as i64 - 1,
            _ => false,
        })
    }

    fn check(&self, what: &str, whole: &[usize], piece: &[usize]) -> Result<()> {
        let fits = self.start.len() == whole.len()
            && self.step.len() == whole.len()
            && piece.len() == whole.len()
            && (0..whole.len()).all(|i| {
                let inside = |p: i64| (0..whole[i] as i64).contains(&p);
                piece[i] == 0 || inside(self.start[i]) && inside(self.start[i] + (piece[i] as i64 - 1) * self.step[i])
            });
        if fits {
            return Ok(());
        }
        Err(Error::Internal(format!(
            "{what}: window {:?} step {:?} of shape {} in {}",
            self.start,
            self.step,
            shape::show(piece),
            shape::show(whole)
        )))
    }

    fn batched(&self) -> Window {
        let mut w = self.clone();
        w.start.insert(0, 0);
        w.step.insert(0, 1);
        w
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Windowed {
    /// (x): the window of x.
    Slice(Box<Window>),
    /// (x, v): x with the window replaced by v.
    Update(Box<Window>),
    /// (pieces…): zeros, to which each piece is added in its window. A bool takes `or`.
    Assemble(Vec<Window>),
}

impl Primitive for Windowed {
    fn name(&self) -> &'static str {
        match self {
            Windowed::Slice(_) => "slice",
            Windowed::Update(_) => "update_slice",
            Windowed::Assemble(_) => "assemble",
        }
    }

    fn attributes(&self) -> String {
        let show = |w: &Window| format!("start={:?} step={:?}", w.start.as_slice(), w.step.as_slice());
        match self {
            Windowed::Slice(w) | Windowed::Update(w) => show(w),
            Windowed::Assemble(ws) => ws.iter().map(show).collect::<Vec<_>>().join("; "),
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let inputs = r.t.inputs(node);
        let mut out = none(inputs.len());
        match self {
            Windowed::Slice(w) => {
                let whole = r.t.shape(inputs[0]).clone();
                out[0] = Some(r.t.assemble(&whole, vec![(**w).clone()], &[g])?.into());
            }
            Windowed::Update(w) => {
                let piece = r.t.shape(inputs[1]).clone();
                if r.want(0) {
                    let zero = r.t.literal(0.0, &piece, r.t.dtype(g))?;
                    out[0] = Some(r.t.update(g, zero, w.clone())?.into());
                }
                if r.want(1) {
                    out[1] = Some(r.t.slice(g, w.clone(), &piece)?.into());
                }
            }
            Windowed::Assemble(ws) => {
                for (k, w) in ws.iter().enumerate() {
                    if r.want(k) {
                        let piece = r.t.shape(inputs[k]).clone();
                        out[k] = Some(r.t.slice(g, Box::new(w.clone()), &piece)?.into());
                    }
                }
            }
        }
        Ok(out)
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let inputs = t.inputs(node);
        let out = match self {
            Windowed::Slice(w) => {
                let piece = t.shape(node).clone();
                match tangents[0] {
                    Some(x) => t.slice(x, w.clone(), &piece)?,
                    None => return Ok(None),
                }
            }
            Windowed::Update(w) => {
                let x = match tangents[0] {
                    Some(x) => x,
                    None => t.lit_like(0.0, inputs[0])?,
                };
                let v = match tangents[1] {
                    Some(v) => v,
                    None => t.lit_like(0.0, inputs[1])?,
                };
                t.update(x, v, w.clone())?
            }
            Windowed::Assemble(ws) => {
                let whole = t.shape(node).clone();
                let (ws, pieces): (Vec<Window>, Vec<NodeId>) =
                    ws.iter().zip(tangents).filter_map(|(w, x)| x.map(|x| (w.clone(), x))).unzip();
                if pieces.is_empty() {
                    return Ok(None);
                }
                t.assemble(&whole, ws, &pieces)?
            }
        };
        Ok(Some(out))
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        let mut to = t.shape(node).clone();
        to.insert(0, b.size);
        match self {
            Windowed::Slice(w) => t.slice(b.inputs[0].0, Box::new(w.batched()), &to),
            Windowed::Update(w) => {
                let (x, v) = (b.full(t, 0)?, b.full(t, 1)?);
                t.update(x, v, Box::new(w.batched()))
            }
            Windowed::Assemble(ws) => {
                let pieces: Vec<NodeId> = (0..ws.len()).map(|k| b.full(t, k)).collect::<Result<_>>()?;
                t.assemble(&to, ws.iter().map(Window::batched).collect(), &pieces)
            }
        }
    }

    fn zeros(&self) -> Zeros {
        match self {
            Windowed::Slice(_) | Windowed::Update(_) => Zeros::Marks,
            Windowed::Assemble(_) => Zeros::Moved,
        }
    }
}

impl Tape {
    /// The window of `x` that has the lengths `piece`.
    pub fn slice(&mut self, x: NodeId, w: Box<Window>, piece: &[usize]) -> Result<NodeId> {
        w.check("slice", self.shape(x), piece)?;
        if self.shape(x).as_slice() == piece && w.step.iter().zip(piece).all(|(&s, &n)| s == 1 || n <= 1) {
            return Ok(x);
        }
        let dtype = self.dtype(x);
        if let Op::Leaf(super::Leaf::Literal(bits)) = *self.op(x) {
            return self.push(Op::Leaf(super::Leaf::Literal(bits)), &[], piece.into(), dtype);
        }
        if let Op::Windowed(Windowed::Slice(outer)) = self.op(x) {
            let mut both = outer.clone();
            for i in 0..piece.len() {
                both.start[i] += w.start[i] * both.step[i];
                both.step[i] *= w.step[i];
            }
            let inner = self.input(x, 0);
            return self.push(Windowed::Slice(both).into(), &[inner], piece.into(), dtype);
        }
        self.push(Windowed::Slice(w).into(), &[x], piece.into(), dtype)
    }

    /// `x` with the window replaced by `v`.
    pub fn update(&mut self, x: NodeId, v: NodeId, w: Box<Window>) -> Result<NodeId> {
        w.check("update_slice", self.shape(x), self.shape(v))?;
        if self.dtype(x) != self.dtype(v) {
            return Err(Error::Internal(format!("update_slice of {} with {}", self.dtype(x), self.dtype(v))));
        }
        if shape::size(self.shape(v)) == 0 {
            return Ok(x);
        }
        if self.shape(x) == self.shape(v) && w.step.iter().zip(self.shape(v)).all(|(&s, &n)| s == 1 || n <= 1) {
            return Ok(v);
        }
        let (to, dtype) = (self.shape(x).clone(), self.dtype(x));
        self.push(Windowed::Update(w).into(), &[x, v], to, dtype)
    }

    /// Zeros of shape `to`, to which each piece is added in its window.
    pub fn assemble(&mut self, to: &[usize], windows: Vec<Window>, pieces: &[NodeId]) -> Result<NodeId> {
        let Some(&first) = pieces.first() else {
            return Err(Error::Internal("assemble without pieces".into()));
        };
        let dtype = self.dtype(first);
        for (w, &p) in windows.iter().zip(pieces) {
            w.check("assemble", to, self.shape(p))?;
            if self.dtype(p) != dtype {
                return Err(Error::Internal(format!("assemble of {dtype} and {}", self.dtype(p))));
            }
        }
        if let (Op::Leaf(Leaf::Literal(bits)), [w]) = (self.op(first).clone(), &windows[..])
            && self.shape(first).as_slice() == to
            && w.turns(to)
        {
            return self.push(Op::Leaf(Leaf::Literal(bits)), &[], to.into(), dtype);
        }
        self.push(Windowed::Assemble(windows).into(), pieces, to.into(), dtype)
    }

    /// The pieces one after the other along `axis`; all of one dtype, their other lengths equal.
    pub fn concatenate(&mut self, pieces: &[NodeId], axis: usize) -> Result<NodeId> {
        let Some(&first) = pieces.first() else {
            return Err(Error::Value("concatenate: need at least one array to concatenate".into()));
        };
        let mut to: Shape = self.shape(first).clone();
        let mut windows = Vec::with_capacity(pieces.len());
        let mut at = 0usize;
        for &p in pieces {
            let s = self.shape(p);
            if s.len() != to.len() || (0..to.len()).any(|i| i != axis && s[i] != to[i]) {
                return Err(Error::Value(format!(
                    "concatenate: shapes {} and {} differ on an axis other than {axis}",
                    shape::show(&to),
                    shape::show(s)
                )));
            }
            let mut start: SmallVec<[i64; 4]> = SmallVec::from_elem(0, to.len());
            start[axis] = at as i64;
            windows.push(Window::at(&start));
            at += s[axis];
        }
        to[axis] = at;
        if pieces.len() == 1 {
            return Ok(first);
        }
        self.assemble(&to, windows, pieces)
    }
}
