//! Operations that are one call: products, gathers, scans, sorts, decompositions, windows.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use smallvec::SmallVec;

use super::array::copy::Strided;
use super::array::{Dims, argreduce, copy, elements, elements_mut, gather, nonzero, scan, sort};
use super::buffer::Plain;
use super::control;
use super::gemm::{self, Mat, Steps};
use super::pool;
use super::region::{Bases, Place};
use super::symmetric;
use crate::linalg::{self, Input, Output};
use crate::ops::{Gather, Linalg, Op, Primitive, Scan, Sort, Window, Windowed, disjoint};
use crate::tape::{DType, Shape, shape};
use crate::{Error, Result};

#[derive(Debug)]
pub struct Argument {
    pub place: Place,
    pub shape: Shape,
    pub dtype: DType,
    /// In elements, for operations that follow them; else C-contiguous.
    pub strides: Option<SmallVec<[isize; 4]>>,
}

impl Argument {
    fn size(&self) -> usize {
        shape::size(&self.shape)
    }

    pub(super) fn bytes(&self) -> usize {
        self.size() * self.dtype.size()
    }
}

#[derive(Debug)]
pub struct Call {
    pub op: Op,
    pub arguments: SmallVec<[Argument; 3]>,
    pub dst: Place,
    pub shape: Shape,
    pub dtype: DType,
    /// The result lies where the first argument was, and already holds it.
    pub stolen: bool,
    /// Of an operation with several results: where each goes, `None` where nobody reads it.
    pub results: Vec<Option<Argument>>,
    /// Of control flow: the plans of its bodies.
    pub bodies: Vec<control::Prepared>,
    /// What it leaves to a later call of the plan, or takes from an earlier one.
    pub shared: control::Shared,
}

/// Bytes of a result that several pieces go to while it is in the cache.
const CACHED: usize = 64 << 10;

/// Does a range of rows, given their part of the result.
type Part<'f> = dyn Fn(Range<usize>, &mut [u8]) -> Result<()> + Sync + 'f;

/// Work below this is not shared with other threads, in nanoseconds.
const PARALLEL: usize = 20_000;

impl Call {
    /// A rough estimate, for the decision to share the work.
    pub fn nanoseconds(&self) -> usize {
        let size = |k: usize| self.arguments.get(k).map_or(0, Argument::size);
        let out = shape::size(&self.shape);
        match &self.op {
            Op::MatMul(_) => {
                let k = self.arguments.first().and_then(|a| a.shape.last()).copied().unwrap_or(1);
                50 + out.saturating_mul(k) / 25
            }
            Op::Sort(Sort::Argsort) => 50 + size(0).saturating_mul(60),
            Op::Sort(Sort::Searchsorted { .. }) => 50 + size(1).saturating_mul(40),
            Op::Linalg(_) | Op::Factor(_) => {
                let n = self.arguments.first().and_then(|a| a.shape.last()).copied().unwrap_or(1);
                200 + size(0).saturating_mul(n) / 4
            }
            Op::Control(c) => control::nanoseconds(c, &self.bodies),
            Op::Gather(_) | Op::Scan(_) | Op::ArgReduce(_) | Op::Windowed(_) => 20 + out.max(size(0)).max(size(1)),
            Op::Host(_) => 100_000,
            Op::Leaf(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select(_)
            | Op::Cast(_)
            | Op::Movement(_)
            | Op::Reduce(_)
            | Op::Custom(_)
            | Op::Project(_) => 20 + out,
        }
    }

    /// # Safety
    /// The plan that this call belongs to has laid out memory for its arguments and its result, and `bases` is that memory.
    pub unsafe fn run(&self, bases: Bases<'_>) -> Result<()> {
        let argument = |k: usize| -> &[u8] {
            let a = &self.arguments[k];
            // SAFETY: the caller's; nobody writes to what a call reads, but for a stolen argument, which is not read here.
            unsafe { std::slice::from_raw_parts(bases.at(a.place), a.bytes()) }
        };
        let out = shape::size(&self.shape) * self.dtype.size();
        // SAFETY: the caller's; the result overlaps no argument but a stolen one.
        let dst = unsafe { std::slice::from_raw_parts_mut(bases.at(self.dst), out) };
        match &self.op {
            // SAFETY: the caller's.
            Op::MatMul(_) => unsafe { self.matmul(bases) },
            Op::Gather(g) => self.gather(g, &argument, dst),
            Op::Scan(s) => {
                let (axis, reverse) = match *s {
                    Scan::Cumsum { axis, reverse } | Scan::Recurrence { axis, reverse } => (axis as usize, reverse),
                };
                let dims = Dims::around(&self.shape, axis);
                let dtype = self.dtype;
                self.by_rows(dims.outer, dst, &|rows, dst| match s {
                    Scan::Cumsum { .. } => scan::cumsum(dtype, argument(0), dims, reverse, dst, rows),
                    Scan::Recurrence { .. } => {
                        scan::recurrence(dtype, argument(0), argument(1), dims, reverse, dst, rows)
                    }
                })
            }
            Op::Sort(Sort::Argsort) => {
                let n = self.shape.last().copied().unwrap_or(1);
                let dtype = self.arguments[0].dtype;
                let outer = shape::size(&self.shape).checked_div(n).unwrap_or(0);
                self.by_rows(outer, dst, &|rows, dst| sort::argsort(dtype, argument(0), n, dst, rows))
            }
            Op::Sort(Sort::Searchsorted { right }) => {
                let (dtype, n) = (self.arguments[0].dtype, self.arguments[1].size());
                let item = dtype.size();
                self.by_rows(n, dst, &|rows, dst| {
                    let part = &argument(1)[rows.start * item..rows.end * item];
                    sort::searchsorted(dtype, argument(0), part, *right, dst)
                })
            }
            Op::ArgReduce(r) => {
                let a = &self.arguments[0];
                let dims = Dims::around(&a.shape, r.axis as usize);
                self.by_rows(dims.outer, dst, &|rows, dst| {
                    argreduce::arg_reduce(r.max, a.dtype, argument(0), dims, dst, rows)
                })
            }
            Op::Windowed(Windowed::Update(w)) => {
                if !self.stolen {
                    dst.copy_from_slice(argument(0));
                }
                let item = self.dtype.size();
                copy::write(item, argument(1), dst, &self.window(w, 1))
            }
            Op::Windowed(Windowed::Assemble(ws)) => self.assemble(ws, &argument, dst),
            Op::Linalg(l) => self.linalg(l, &argument, dst),
            // SAFETY: the caller's.
            Op::Control(c) => unsafe { self.control(c, bases) },
            // SAFETY: the caller's.
            Op::Factor(f) => unsafe { self.factor(f, bases) },
            // SAFETY: the caller's.
            Op::Host(h) => unsafe { self.host(h, bases) },
            Op::Leaf(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select(_)
            | Op::Cast(_)
            | Op::Movement(_)
            | Op::Windowed(Windowed::Slice(_))
            | Op::Reduce(_)
            | Op::Custom(_)
            | Op::Project(_) => Err(Error::Internal(format!("{} is no call", self.op.name()))),
        }
    }

    fn window(&self, w: &Window, k: usize) -> Strided {
        Strided::window(&self.shape, self.dtype.size(), &w.start, &w.step, &self.arguments[k].shape)
    }

    /// Runs `f` on ranges of outer rows and their parts of the result, on several threads where it pays.
    fn by_rows(&self, outer: usize, dst: &mut [u8], f: &Part<'_>) -> Result<()> {
        if outer == 0 || dst.is_empty() {
            return Ok(());
        }
        let row = dst.len() / outer;
        let base = pool::Shared::new(dst.as_mut_ptr());
        self.share(outer, &|rows| {
            // SAFETY: tasks have disjoint ranges of rows.
            let part = unsafe { std::slice::from_raw_parts_mut(base.get().add(rows.start * row), rows.len() * row) };
            f(rows, part)
        })
    }

    /// Runs `f` on ranges of outer rows that are disjoint, on several threads where it pays.
    pub(super) fn share(&self, outer: usize, f: &(dyn Fn(Range<usize>) -> Result<()> + Sync)) -> Result<()> {
        if self.nanoseconds() < PARALLEL || pool::num_threads() == 1 || outer <= 1 {
            return f(0..outer);
        }
        let tasks = outer.min(4 * pool::num_threads());
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        pool::parallel(tasks, &|t| {
            if let Err(e) = f(t * outer / tasks..(t + 1) * outer / tasks) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// # Safety
    /// As for `run`.
    unsafe fn matmul(&self, bases: Bases<'_>) -> Result<()> {
        let (product, offsets) = (self.product(bases), self.offsets());
        // SAFETY: the caller's.
        unsafe {
            let dst = bases.at(self.dst);
            let sum = self.arguments.get(2);
            if let Some(sum) = sum
                && !self.stolen
            {
                std::ptr::copy_nonoverlapping(bases.at(sum.place), dst, sum.bytes());
            }
            let [a, b] = product.factors;
            let [x, y] = [offsets[0].steps(), offsets[1].steps()];
            gemm::matmul(self.dtype, product.batch, product.shape, (a, x), (b, y), dst, sum.is_some())
        }
    }

    /// The factors and the shape of a product.
    fn product(&self, bases: Bases<'_>) -> Product {
        let rank = self.shape.len();
        let matrix = |a: &Argument| {
            let strides = a.strides.clone().unwrap_or_else(|| shape::strides(&a.shape));
            Mat::new(bases.at(a.place).cast_const(), strides[rank - 2], strides[rank - 1])
        };
        Product {
            batch: shape::size(&self.shape[..rank - 2]),
            shape: gemm::Shape {
                m: self.shape[rank - 2],
                n: self.shape[rank - 1],
                k: self.arguments[0].shape[rank - 1],
            },
            factors: [matrix(&self.arguments[0]), matrix(&self.arguments[1])],
        }
    }

    /// Of a product: where the matrices of the batch begin.
    pub(super) fn offsets(&self) -> [Offsets; 2] {
        let axes = self.shape.len() - 2;
        [0, 1].map(|k| {
            let a = &self.arguments[k];
            let strides = a.strides.clone().unwrap_or_else(|| shape::strides(&a.shape));
            offsets(&self.shape[..axes], &strides[..axes])
        })
    }

    /// The bytes for which an entry of a product needs room.
    pub fn panels(&self) -> usize {
        let [a, b] = [&self.arguments[0], &self.arguments[1]];
        let rank = self.shape.len();
        let col = b.strides.as_ref().map_or(1, |s| s[rank - 1]);
        let shape = gemm::Shape { m: self.shape[rank - 2], n: self.shape[rank - 1], k: a.shape[rank - 1] };
        gemm::panels(self.dtype, shape, col)
    }

    /// Some entries of a product, on this thread alone.
    ///
    /// # Safety
    /// As for `run`, but only these entries of what this product and others of its unit write need have their places.
    pub(super) unsafe fn entries(
        &self,
        bases: Bases<'_>,
        offsets: &[Offsets; 2],
        range: Range<usize>,
        beside: gemm::Beside,
    ) -> Result<()> {
        let product = self.product(bases);
        let ([a, b], [x, y]) = (product.factors, [offsets[0].steps(), offsets[1].steps()]);
        let dst = bases.at(self.dst);
        // SAFETY: the caller's.
        unsafe {
            if let Some(sum) = self.arguments.get(2) {
                let each = sum.bytes() / product.batch;
                let (from, to) = (bases.at(sum.place), dst.wrapping_add(range.start * each));
                std::ptr::copy_nonoverlapping(from.wrapping_add(range.start * each), to, range.len() * each);
            }
            let accumulate = self.arguments.len() > 2;
            gemm::entries(self.dtype, (range, product.batch), product.shape, (a, x), (b, y), dst, accumulate, beside)
        }
    }

    fn gather<'a>(&self, g: &Gather, argument: &(dyn Fn(usize) -> &'a [u8] + Sync), dst: &mut [u8]) -> Result<()> {
        match *g {
            Gather::Rows => {
                let x = &self.arguments[0];
                let count = x.shape[0];
                let row = shape::size(&x.shape[1..]) * x.dtype.size();
                let n = self.arguments[1].size();
                self.by_rows(n, dst, &|rows, dst| {
                    gather::gather(argument(0), count, row, &argument(1)[rows.start * 8..rows.end * 8], dst)
                })
            }
            Gather::Add { rows: count } => {
                let inner = shape::size(&self.shape[1..]);
                // bytes of 0 are a zero of every dtype
                dst.fill(0);
                gather::scatter_add(self.dtype, argument(0), argument(1), inner, count, dst, 0..count)
            }
            Gather::Set => {
                if !self.stolen {
                    dst.copy_from_slice(argument(0));
                }
                let count = self.shape[0];
                let row = shape::size(&self.shape[1..]) * self.dtype.size();
                gather::scatter_set(argument(1), argument(2), row, count, dst, 0..count)
            }
            Gather::CheckIndex { size } => gather::check_index(argument(0), size, dst),
            Gather::Nonzero { .. } => nonzero::positions(argument(0), dst),
        }
    }

    /// Zeros to which pieces are added, or into which they are written where no two meet: some rows of the result at a time,
    /// so that they stay in the cache until all pieces are in.
    fn assemble<'a>(&self, ws: &[Window], argument: &(dyn Fn(usize) -> &'a [u8] + Sync), dst: &mut [u8]) -> Result<()> {
        let item = self.dtype.size();
        let pieces: SmallVec<[&[usize]; 4]> = self.arguments.iter().map(|a| a.shape.as_slice()).collect();
        let apart = disjoint(ws, &pieces);
        let covered: usize = self.arguments.iter().map(Argument::size).sum();
        let fill = !apart || covered * item < dst.len();
        let Some((&outer, rest)) = self.shape.split_first() else {
            dst.fill(0);
            return (0..ws.len()).try_for_each(|k| copy::add(self.dtype, argument(k), dst, &self.window(&ws[k], k)));
        };
        let row = shape::size(rest) * item;
        let stretch = (CACHED / row.max(1)).max(1);
        self.by_rows(outer, dst, &|rows, dst| {
            let mut first = rows.start;
            for part in dst.chunks_mut(stretch * row) {
                let end = (first + stretch).min(rows.end);
                if fill {
                    part.fill(0);
                }
                let mut lengths = self.shape.clone();
                lengths[0] = end - first;
                for (k, w) in ws.iter().enumerate() {
                    let piece = &self.arguments[k].shape;
                    let inside = rows_inside(w.start[0], w.step[0], piece[0], first..end);
                    if inside.is_empty() {
                        continue;
                    }
                    let mut start = w.start.clone();
                    start[0] += inside.start as i64 * w.step[0] - first as i64;
                    let mut taken = piece.clone();
                    taken[0] = inside.len();
                    let bytes = shape::size(&piece[1..]) * item;
                    let from = &argument(k)[inside.start * bytes..inside.end * bytes];
                    let to = Strided::window(&lengths, item, &start, &w.step, &taken);
                    if apart { copy::write(item, from, part, &to)? } else { copy::add(self.dtype, from, part, &to)? }
                }
                first = end;
            }
            Ok(())
        })
    }

    fn linalg<'a>(&self, l: &Linalg, argument: &(dyn Fn(usize) -> &'a [u8] + Sync), dst: &mut [u8]) -> Result<()> {
        match self.dtype {
            DType::F64 => self.linalg_of::<f64>(l, argument, dst),
            DType::F32 => self.linalg_of::<f32>(l, argument, dst),
            other => Err(Error::Type(format!("{}: needs float32 or float64, got {other}", l.name()))),
        }
    }

    /// One matrix after the other, or a share of them to each thread.
    fn linalg_of<'a, T: linalg::Element + Plain>(
        &self,
        l: &Linalg,
        argument: &(dyn Fn(usize) -> &'a [u8] + Sync),
        dst: &mut [u8],
    ) -> Result<()> {
        let a = &self.arguments[0];
        let rank = a.shape.len();
        let (n, count) = (a.shape[rank - 1], shape::size(&a.shape[..rank - 2]));
        let right = self.arguments.get(1).map_or(0, |b| b.shape[rank - 1]);
        let each = (dst.len() / size_of::<T>()).checked_div(count).unwrap_or(0);
        let one = |k: usize, len: usize, rows: &Range<usize>| {
            let data = &elements::<T>(argument(k))?[rows.start * len..rows.end * len];
            Ok::<_, Error>(Input { data, len, step: len })
        };
        self.by_rows(count, dst, &|rows, dst| {
            let out = Output { data: elements_mut::<T>(dst)?, len: each };
            let a = one(0, n * n, &rows)?;
            let many = rows.len();
            let done: linalg::Result<()> = match *l {
                Linalg::Solve => linalg::batched(many, [a, one(1, n * right, &rows)?], [out], |[a, b], [x]| {
                    linalg::solve(a, b, n, right, x)
                }),
                Linalg::SolveSymmetric => {
                    let mut scratch = symmetric::Scratch::new(n, right);
                    linalg::batched(many, [a, one(1, n * right, &rows)?], [out], |[a, b], [x]| {
                        symmetric::solve(a, 0.0, b, n, right, &mut scratch, x)
                    })
                }
                Linalg::SolveShifted => {
                    let mut scratch = symmetric::Scratch::new(n, right);
                    let (b, shift) = (one(1, n * right, &rows)?, one(2, 1, &rows)?);
                    linalg::batched(many, [a, b, shift], [out], |[a, b, shift], [x]| {
                        symmetric::solve(a, shift[0], b, n, right, &mut scratch, x)
                    })
                }
                Linalg::TriangularSolve { lower, transpose } => {
                    let t = linalg::Triangle { lower, transpose, unit_diagonal: false };
                    linalg::batched(many, [a, one(1, n * right, &rows)?], [out], |[a, b], [x]| {
                        linalg::triangular_solve(a, b, n, right, t, x)
                    })
                }
                Linalg::Inv => linalg::batched(many, [a], [out], |[a], [x]| linalg::inv(a, n, x)),
                Linalg::Cholesky => linalg::batched(many, [a], [out], |[a], [x]| linalg::cholesky(a, n, x)),
                Linalg::Cofactor => linalg::batched(many, [a], [out], |[a], [x]| linalg::cofactor(a, n, x)),
                Linalg::Det => linalg::batched(many, [a], [out], |[a], [x]| {
                    x[0] = linalg::det(a, n)?;
                    Ok(())
                }),
            };
            Ok(done?)
        })
    }
}

/// The i below n for which start + i·step lies in the rows.
fn rows_inside(start: i64, step: i64, n: usize, rows: Range<usize>) -> Range<usize> {
    let (low, high) = (rows.start as i64 - start, rows.end as i64 - start);
    let up = |a: i64, b: i64| a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0);
    let (first, end) = match step {
        0 => (0, if low <= 0 && high > 0 { n as i64 } else { 0 }),
        s if s > 0 => (up(low, s), up(high, s)),
        s => (up(1 - high, -s), up(1 - low, -s)),
    };
    let clamp = |i: i64| i.clamp(0, n as i64) as usize;
    clamp(first)..clamp(end).max(clamp(first))
}

/// A batch of products: their number, the shape of one, and the first factors.
struct Product {
    batch: usize,
    shape: gemm::Shape,
    factors: [Mat<u8>; 2],
}

/// Where the matrices of a batch begin.
pub(super) enum Offsets {
    Every(isize),
    At(Vec<isize>),
}

impl Offsets {
    fn steps(&self) -> Steps<'_> {
        match self {
            Offsets::Every(s) => Steps::Every(*s),
            Offsets::At(list) => Steps::At(list),
        }
    }
}

fn offsets(lengths: &[usize], strides: &[isize]) -> Offsets {
    // axes that follow each other are one
    let mut joined: SmallVec<[(usize, isize); 4]> = SmallVec::new();
    for (&d, &s) in lengths.iter().zip(strides) {
        match joined.last_mut() {
            _ if d == 1 => {}
            Some((length, step)) if *step == s * d as isize => {
                *length *= d;
                *step = s;
            }
            _ => joined.push((d, s)),
        }
    }
    match joined[..] {
        [] => Offsets::Every(0),
        [(_, step)] => Offsets::Every(step),
        _ => {
            let mut list = vec![0];
            for &(d, s) in &joined {
                list = list.iter().flat_map(|&o| (0..d).map(move |i| o + i as isize * s)).collect();
            }
            Offsets::At(list)
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op.name())?;
        for (k, a) in self.arguments.iter().enumerate() {
            write!(f, "{}{}{}", if k == 0 { " " } else { ", " }, a.dtype, shape::show(&a.shape))?;
        }
        write!(f, " -> {}{}", self.dtype, shape::show(&self.shape))?;
        if self.stolen {
            write!(f, " in place")?;
        }
        write!(f, "{}", self.shared)?;
        // what control flow runs
        for body in &self.bodies {
            for line in body.plan.to_string().lines() {
                write!(f, "\n    {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_window() {
        for step in [-3i64, -1, 0, 1, 2, 5] {
            for n in 0..6usize {
                for start in 0..12i64 {
                    for (a, b) in [(0usize, 4usize), (3, 9), (0, 40), (5, 5)] {
                        let want: Vec<usize> =
                            (0..n).filter(|&i| (a as i64..b as i64).contains(&(start + i as i64 * step))).collect();
                        let got: Vec<usize> = rows_inside(start, step, n, a..b).collect();
                        assert_eq!(got, want, "{start} {step} {n} {a} {b}");
                    }
                }
            }
        }
    }
}
