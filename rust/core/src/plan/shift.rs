//! Sums of windows as elementwise nodes.
//!
//! The transpose of offset reads (x[1:], x[:-1], a stencil's neighbours) adds pieces into windows of a whole. Counted in the
//! space of the whole, a piece that is elementwise is elementwise too: its operations once more, with every read moved to
//! where the window lies, and zero outside of it. So each element of the whole is written once, in the region of its
//! neighbours, and what the pieces have in common is computed once.
//!
//! Only what is cheaper than storing and loading is computed again; the rest is stored where it was and read at an offset.
//!
//! A sum over all of an array of the windows' size moves to the space of the whole in the same way, where the windows are
//! stretches: value and gradient are then one region.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::frame::Frame;
use super::ir::{Builder, DIRECT, Kind, Ref};
use super::kernel;
use super::program::{Node, Program};
use super::view::View;
use crate::Result;
use crate::code;
use crate::math::Kernel;
use crate::math::reduce::BLOCK;
use crate::ops::{Binary, Op, Window, Windowed};
use crate::tape::{DType, Shape, shape};

/// What may be computed again for all pieces together, in tenths of a nanosecond an element, before storing is cheaper.
const AGAIN: u32 = 96;
/// Operations that are repeated on top of a value that is stored.
const ABOVE: u32 = 4;
const NEVER: u32 = u32::MAX / 4;

type Inputs = SmallVec<[Ref; 3]>;

pub(super) struct Shifts {
    /// Arrays of so many elements are left alone.
    over: usize,
    /// What computing a node again costs, by node; as far as anybody has asked.
    costs: Vec<u32>,
    /// Nodes made here, by what they are.
    maps: FxHashMap<(usize, Inputs, usize, DType), u32>,
    pub(super) views: FxHashMap<(u32, View), u32>,
    /// A window and its whole, by the size of the window, where it is a stretch of the whole.
    hosts: FxHashMap<usize, (Shape, Shape)>,
}

impl Shifts {
    pub fn new(p: &Program, over: usize) -> Shifts {
        let (maps, views) = (FxHashMap::default(), FxHashMap::default());
        let mut s = Shifts { over, costs: Vec::new(), maps, views, hosts: FxHashMap::default() };
        for n in &p.nodes {
            let Op::Windowed(Windowed::Assemble(windows)) = &n.op else { continue };
            if !s.fits(p, n, windows) {
                continue;
            }
            for (w, &x) in windows.iter().zip(&n.inputs) {
                let piece = &p.nodes[x as usize].shape;
                if Frame::new(&n.shape, &starts(w), piece).as_range().is_some() {
                    s.hosts.entry(shape::size(piece)).or_insert_with(|| (piece.clone(), n.shape.clone()));
                }
            }
        }
        s
    }

    /// Whether this is a sum of windows that each take more than half of the whole, so that little is computed in vain; two
    /// of them always overlap.
    fn fits(&self, p: &Program, n: &Node, windows: &[Window]) -> bool {
        let size = shape::size(&n.shape);
        // straight code knows stretches alone
        let stretch = |(w, &x): (&Window, &u32)| {
            Frame::new(&n.shape, &starts(w), &p.nodes[x as usize].shape).as_range().is_some()
        };
        size > self.over
            && (size > BLOCK || windows.iter().zip(&n.inputs).all(stretch))
            && windows.iter().zip(&n.inputs).all(|(w, &x)| {
                let piece = &p.nodes[x as usize].shape;
                w.step.iter().zip(piece).all(|(&s, &d)| s == 1 || d == 1)
                    && 2 * shape::size(piece) > size
                    && *piece != n.shape
            })
    }
}

fn starts(w: &Window) -> SmallVec<[usize; 4]> {
    w.start.iter().map(|&s| s as usize).collect()
}

/// A window and the whole that it is part of.
struct Target<'a> {
    whole: &'a [usize],
    piece: &'a [usize],
    start: SmallVec<[usize; 4]>,
    /// What a value may cost that is computed again.
    limit: u32,
}

impl Builder<'_> {
    /// Zeros with pieces added in windows, as an elementwise node; None where a call does it better.
    pub(super) fn assembled(&mut self, i: usize, windows: &[Window]) -> Result<Option<u32>> {
        let p = self.p;
        let node = &p.nodes[i];
        let (whole, size) = (&node.shape, shape::size(&node.shape));
        if !self.shifts.fits(p, node, windows) {
            return Ok(None);
        }
        let limit = (AGAIN / windows.len() as u32).max(ABOVE);
        let mut sum: Option<Ref> = None;
        let op = Op::Binary(if node.dtype == DType::Bool { Binary::LogicalOr } else { Binary::Add });
        let add = kernel::elementwise(&op, node.dtype, node.dtype)?;
        let add = (add, kernel::generated(&op, node.dtype, node.dtype));
        for (w, &x) in windows.iter().zip(&node.inputs) {
            let piece = &p.nodes[x as usize].shape;
            let t = Target { whole, piece, start: starts(w), limit };
            let r = self.shifted(self.reference(x), &t, 0, &mut FxHashMap::default());
            let masked = self.masked(r, Frame::new(whole, &t.start, piece), size, node.dtype);
            sum = Some(match sum {
                None => masked,
                Some(s) => {
                    Ref::direct(self.map(add, kernel::cost(&op), [s, masked].as_slice().into(), size, node.dtype))
                }
            });
        }
        let Some(sum) = sum else { return Ok(None) };
        if windows.len() > 1 && matches!(node.dtype, DType::F32 | DType::F64) {
            // the sum begins with a zero: -0 is left nowhere
            let zero = Ref::direct(self.number(0, node.dtype));
            return Ok(Some(self.map(add, kernel::cost(&op), [sum, zero].as_slice().into(), size, node.dtype)));
        }
        if sum.view == DIRECT {
            return Ok(Some(sum.node));
        }
        Ok(Some(self.push(Kind::Copy, [sum].as_slice().into(), size, node.dtype, 2)))
    }

    /// What a sum over all n elements behind `r` can read in the space of a whole that they are windows of.
    pub(super) fn hosted(&mut self, r: Ref, n: usize) -> Option<Ref> {
        let (piece, whole) = self.shifts.hosts.get(&n)?.clone();
        let cheap = n > self.shifts.over
            && r.view == DIRECT
            && matches!(self.ir.nodes[r.node as usize].kind, Kind::Map(_))
            && self.again(r.node as usize) <= AGAIN;
        if !cheap {
            return None;
        }
        // the first elements of the whole
        let start = SmallVec::from_elem(0, whole.len());
        let t = Target { whole: &whole, piece: &piece, start, limit: AGAIN };
        Some(self.shifted(r, &t, 0, &mut FxHashMap::default()))
    }

    /// An elementwise node, the same one for the same inputs.
    fn map(&mut self, (f, op): (Kernel, Option<code::Op>), cost: u32, inputs: Inputs, n: usize, dtype: DType) -> u32 {
        let key = (f as usize, inputs, n, dtype);
        if let Some(&at) = self.shifts.maps.get(&key) {
            return at;
        }
        let at = self.push(Kind::Map(f), key.1.clone(), n, dtype, cost);
        self.ir.nodes[at as usize].op = op;
        self.shifts.maps.insert(key, at);
        at
    }

    /// Zero outside of the frame.
    fn masked(&mut self, r: Ref, frame: Frame, size: usize, dtype: DType) -> Ref {
        // what is read outside of a frame is zero
        let zero = r.view != DIRECT && self.ir.views[r.view as usize].frame.as_deref() == Some(&frame);
        if zero {
            return r;
        }
        Ref::direct(self.push(Kind::Mask(Box::new(frame)), [r].as_slice().into(), size, dtype, 1))
    }

    /// What is read through `r`, an array of the window's size, in the space of the whole: right inside the window, and
    /// anything elsewhere. `above` counts the operations on the way here that are repeated though something below is stored.
    fn shifted(&mut self, r: Ref, t: &Target<'_>, above: u32, seen: &mut FxHashMap<u32, Ref>) -> Ref {
        let x = r.node as usize;
        if self.is_number(r.node) {
            return r;
        }
        let Kind::Map(f) = self.ir.nodes[x].kind else { return self.moved_read(r, t) };
        if r.view != DIRECT {
            return self.moved_read(r, t);
        }
        if let Some(&done) = seen.get(&r.node) {
            return done;
        }
        let mut above = above;
        if self.again(x) > t.limit {
            let node = &self.ir.nodes[x];
            let costs: SmallVec<[u32; 3]> = node.inputs.iter().map(|r| self.input_again(*r)).collect();
            let dear = costs.iter().filter(|&&c| c > t.limit).count();
            // a read with a frame of its own cannot be moved
            let fixed = node.inputs.iter().zip(&costs).any(|(r, &c)| r.view != DIRECT && c == NEVER);
            above += 1;
            if dear != 1 || fixed || above > ABOVE || node.cost > t.limit {
                return self.moved_read(r, t);
            }
        }
        let inputs: Inputs = self.ir.nodes[x].inputs.clone();
        let inputs = inputs.into_iter().map(|r| self.shifted(r, t, above, seen)).collect();
        let node = &self.ir.nodes[x];
        let (cost, dtype, op) = (node.cost, node.dtype, node.op);
        let done = Ref::direct(self.map((f, op), cost, inputs, shape::size(t.whole), dtype));
        seen.insert(r.node, done);
        done
    }

    /// What computing a node again costs, with all that it is made of.
    fn again(&mut self, x: usize) -> u32 {
        while self.shifts.costs.len() <= x {
            let n = &self.ir.nodes[self.shifts.costs.len()];
            let cost = match n.kind {
                Kind::Map(_) => n.inputs.iter().fold(n.cost, |sum, r| (sum + self.input_again(*r)).min(NEVER)),
                Kind::Const(_) => 0,
                Kind::Mask(_) => NEVER,
                Kind::Param | Kind::Iota | Kind::Copy | Kind::Fold(_) | Kind::Opaque(_) | Kind::Project(_) => 1,
            };
            self.shifts.costs.push(cost);
        }
        self.shifts.costs[x]
    }

    /// The same for an input of a node that comes after it.
    fn input_again(&self, r: Ref) -> u32 {
        if r.view == DIRECT {
            return self.shifts.costs[r.node as usize];
        }
        let v = &self.ir.views[r.view as usize];
        match (&v.frame, v.dims.len()) {
            (Some(_), 2..) => NEVER,
            (Some(_), _) => 1,
            (None, _) => 1 + u32::from(!v.contiguous()),
        }
    }

    /// What is read through `r` in memory of its own.
    fn copied_piece(&mut self, r: Ref, t: &Target<'_>) -> Ref {
        let dtype = self.ir.nodes[r.node as usize].dtype;
        Ref::direct(self.push(Kind::Copy, [r].as_slice().into(), shape::size(t.piece), dtype, 2))
    }

    /// A read of memory, moved to where the window lies in the whole.
    fn moved_read(&mut self, r: Ref, t: &Target<'_>) -> Ref {
        let size = shape::size(t.whole);
        let found = match r.view {
            DIRECT => Some(View::whole(t.piece)),
            v => {
                let v = &self.ir.views[v as usize];
                // a frame here is a range, which is all of an array
                View { frame: None, ..v.clone() }.reshape(t.piece)
            }
        };
        let (node, v) = match found {
            Some(v) => (r.node, v),
            None => (self.copied_piece(r, t).node, View::whole(t.piece)),
        };
        let mut v = v.back(&t.start, t.whole);
        let c = v.collapsed();
        let flat = c.dims.len() == 1 && c.strides[0] == 1;
        if !flat && r.view != DIRECT && self.ir.views[r.view as usize].frame.is_some() {
            // the zeros around what the array has are to come along
            let copy = self.copied_piece(r, t);
            return self.moved_read(copy, t);
        }
        if flat {
            // one after the other: all that the array has may be read
            let source = self.ir.nodes[node as usize].n as isize;
            let start = (-v.offset).clamp(0, size as isize) as usize;
            let end = (source - v.offset).clamp(start as isize, size as isize) as usize;
            if (start, end, source) == (0, size, size as isize) {
                return Ref::direct(node);
            }
            v = c;
            v.frame = Some(Box::new(Frame::range(size, start, end)));
        } else {
            // along an axis that repeats one element there is always one
            let still = |i: usize| v.strides[i] == 0;
            let start: SmallVec<[usize; 4]> =
                (0..t.whole.len()).map(|i| if still(i) { 0 } else { t.start[i] }).collect();
            let len: SmallVec<[usize; 4]> =
                (0..t.whole.len()).map(|i| if still(i) { t.whole[i] } else { t.piece[i] }).collect();
            v.frame = Some(Box::new(Frame::new(t.whole, &start, &len)));
        }
        v.frame = v.frame.filter(|f| !f.is_whole());
        Ref { node, view: self.view(node, v) }
    }
}
