//! Reductions over one axis of (outer, n, inner), in an order that depends on the dimensions alone.
//!
//! A row of blocks is cut into segments of fixed size; a segment is reduced block by block, and its blocks, then the segments,
//! are joined pairwise. So the bits are the same whoever reduces which segment, and float sums have the error of pairwise
//! summation.

use super::{Dims, expect, inside};
use crate::math::isa;
use crate::math::reduce::{AccumulateKernel, BLOCK, ColumnsKernel, ReduceKernel, accumulate, block, columns, init};
use crate::ops::ReduceOp;
use crate::tape::DType;
use crate::{Error, Result};
use smallvec::SmallVec;
use std::ops::Range;

/// Elements of a segment, more or less: enough work to be worth handing to another thread.
const SEGMENT: usize = 1 << 16;
/// Rows that are added one after the other before they are joined pairwise.
const ROWS: usize = 64;
/// A row shorter than this is taken together with its successors.
const NARROW: usize = 32;

/// A reduction over the middle axis, with its kernels.
#[derive(Clone, Copy)]
pub struct Reduction {
    item: usize,
    dims: Dims,
    identity: u64,
    block: ReduceKernel,
    columns: ColumnsKernel,
    accumulate: AccumulateKernel,
    /// Rows of `inner` elements that are treated as one row, so that vectors fill up.
    group: usize,
}

impl Reduction {
    /// Any, All (bool) and Max, Min, Sum, Prod as [`block`] has them.
    pub fn new(op: ReduceOp, dtype: DType, dims: Dims) -> Result<Reduction> {
        let isa = isa();
        let (Some(block), Some(columns), Some(accumulate), Some(identity)) =
            (block(isa, op, dtype), columns(isa, op, dtype), accumulate(isa, op, dtype), init(op, dtype))
        else {
            return Err(Error::Type(format!("{op:?} over an axis is not defined for {dtype}")));
        };
        let group = if dims.inner < NARROW { NARROW.div_ceil(dims.inner.max(1)) } else { 1 };
        Ok(Reduction { item: dtype.size(), dims, identity, block, columns, accumulate, group })
    }

    /// Elements of the middle axis in a segment.
    fn segment_rows(&self) -> usize {
        if self.dims.inner == 1 {
            return SEGMENT;
        }
        let step = ROWS * self.group;
        (SEGMENT / self.dims.inner.max(1)).next_multiple_of(step).max(step)
    }

    /// The number of segments of one outer row, at least 1.
    pub fn segments(&self) -> usize {
        self.dims.n.div_ceil(self.segment_rows()).max(1)
    }

    /// Bytes of the result of one outer row (or of one segment of it).
    pub fn result_bytes(&self) -> usize {
        self.dims.inner * self.item
    }

    /// Reduces the outer `rows` of `src`, the whole array, into `dst`, which holds the results of just those rows.
    pub fn rows(&self, src: &[u8], dst: &mut [u8], rows: Range<usize>) -> Result<()> {
        inside("reduce", &rows, self.dims.outer)?;
        expect("reduce", dst.len(), rows.len() * self.result_bytes())?;
        if self.result_bytes() == 0 {
            return Ok(());
        }
        let segments = self.segments();
        let mut partial = vec![0u8; if segments > 1 { segments * self.result_bytes() } else { 0 }];
        for (row, out) in rows.zip(dst.chunks_exact_mut(self.result_bytes())) {
            if segments == 1 {
                self.segment(src, row, 0, out)?;
                continue;
            }
            for (k, part) in partial.chunks_exact_mut(self.result_bytes()).enumerate() {
                self.segment(src, row, k, part)?;
            }
            self.join(&partial, out)?;
        }
        Ok(())
    }

    /// Reduces one segment of one outer row into `dst`, a row of `inner` elements.
    pub fn segment(&self, src: &[u8], row: usize, k: usize, dst: &mut [u8]) -> Result<()> {
        let Dims { outer, n, inner } = self.dims;
        expect("reduce", src.len(), self.dims.size() * self.item)?;
        expect("reduce", dst.len(), self.result_bytes())?;
        inside("reduce", &(row..row + 1), outer)?;
        inside("reduce", &(k..k + 1), self.segments())?;
        let from = k * self.segment_rows();
        let count = self.segment_rows().min(n - from);
        let part = &src[(row * n + from) * inner * self.item..][..count * inner * self.item];
        if inner == 1 { self.line(part, dst) } else { self.matrix(part, dst) }
    }

    /// Joins the results of the segments of one outer row.
    pub fn join(&self, partial: &[u8], dst: &mut [u8]) -> Result<()> {
        expect("reduce", dst.len(), self.result_bytes())?;
        expect("reduce", partial.len(), self.segments() * self.result_bytes())?;
        let mut tree = Tree::new(self, self.dims.inner);
        for part in partial.chunks_exact(self.result_bytes()) {
            tree.leaf().copy_from_slice(part);
            tree.grow();
        }
        tree.finish(dst);
        Ok(())
    }

    /// A segment where the axis is the innermost.
    fn line(&self, src: &[u8], dst: &mut [u8]) -> Result<()> {
        if src.len() <= BLOCK * self.item {
            self.fill(dst);
            // SAFETY: dst is one element, src is as long as it says.
            unsafe { (self.block)(src.len() / self.item, dst.as_mut_ptr(), src.as_ptr()) };
            return Ok(());
        }
        let mut tree = Tree::new(self, 1);
        for part in src.chunks(BLOCK * self.item) {
            let leaf = tree.leaf();
            self.fill(leaf);
            // SAFETY: the leaf is one element, part is as long as it says.
            unsafe { (self.block)(part.len() / self.item, leaf.as_mut_ptr(), part.as_ptr()) };
            tree.grow();
        }
        tree.finish(dst);
        Ok(())
    }

    /// A segment of rows of several elements. Groups of narrow rows are wide rows; what is left over joins at the end.
    fn matrix(&self, src: &[u8], dst: &mut [u8]) -> Result<()> {
        let inner = self.dims.inner;
        let count = src.len() / (inner * self.item);
        let width = inner * self.group;
        let wide = count / self.group;
        self.fill(dst);
        if wide > 0 {
            let mut tree = Tree::new(self, width);
            let mut at = 0;
            while at < wide {
                let rows = ROWS.min(wide - at);
                let leaf = tree.leaf();
                self.fill(leaf);
                // SAFETY: the leaf has `width` elements, and the rows lie in src.
                unsafe {
                    (self.columns)(rows, width, width, leaf.as_mut_ptr(), src[at * width * self.item..].as_ptr())
                };
                tree.grow();
                at += rows;
            }
            if self.group == 1 {
                tree.finish(dst);
            } else {
                let mut row = vec![0u8; width * self.item];
                tree.finish(&mut row);
                // SAFETY: dst has `inner` elements, row `group` times as many.
                unsafe { (self.columns)(self.group, inner, inner, dst.as_mut_ptr(), row.as_ptr()) };
            }
        }
        let rest = &src[wide * width * self.item..];
        // SAFETY: the rest has count % group rows of `inner` elements.
        unsafe { (self.columns)(count - wide * self.group, inner, inner, dst.as_mut_ptr(), rest.as_ptr()) };
        Ok(())
    }

    /// The result over nothing.
    fn fill(&self, dst: &mut [u8]) {
        let bits = self.identity.to_le_bytes();
        for element in dst.chunks_exact_mut(self.item) {
            element.copy_from_slice(&bits[..self.item]);
        }
    }
}

/// Rows joined pairwise as they come: the level of a row says how many leaves it stands for, and two of one level make one of
/// the next.
struct Tree<'a> {
    reduction: &'a Reduction,
    width: usize,
    rows: Vec<u8>,
    levels: SmallVec<[u8; 32]>,
}

impl<'a> Tree<'a> {
    fn new(reduction: &'a Reduction, width: usize) -> Tree<'a> {
        Tree { reduction, width, rows: Vec::new(), levels: SmallVec::new() }
    }

    fn bytes(&self) -> usize {
        self.width * self.reduction.item
    }

    /// Room for the next leaf.
    fn leaf(&mut self) -> &mut [u8] {
        let at = self.levels.len() * self.bytes();
        let end = at + self.bytes();
        if self.rows.len() < end {
            self.rows.resize(end, 0);
        }
        &mut self.rows[at..end]
    }

    /// Takes the leaf in and joins what has become a pair.
    fn grow(&mut self) {
        self.levels.push(0);
        while let [.., a, b] = self.levels[..]
            && a == b
        {
            self.levels.pop();
            let top = self.levels.len();
            self.levels[top - 1] += 1;
            self.join_into(top - 1);
        }
    }

    /// Adds row k + 1 to row k.
    fn join_into(&mut self, k: usize) {
        let bytes = self.bytes();
        let (low, high) = self.rows.split_at_mut((k + 1) * bytes);
        // SAFETY: both are rows of `width` elements.
        unsafe { (self.reduction.accumulate)(self.width, low[k * bytes..].as_mut_ptr(), high[..bytes].as_ptr()) };
    }

    /// Joins the rows of different levels that are left, the smallest first. There is at least one leaf.
    fn finish(mut self, dst: &mut [u8]) {
        for k in (1..self.levels.len()).rev() {
            self.join_into(k - 1);
        }
        dst.copy_from_slice(&self.rows[..self.width * self.reduction.item]);
    }
}

/// Reduces the outer `rows` of (outer, n, inner) over n into `dst`, which holds the results of just those rows.
pub fn reduce(op: ReduceOp, dtype: DType, src: &[u8], dims: Dims, dst: &mut [u8], rows: Range<usize>) -> Result<()> {
    Reduction::new(op, dtype, dims)?.rows(src, dst, rows)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes, bytes_mut, noise};
    use super::*;
    use proptest::prelude::*;

    fn sum(x: &[f64], dims: Dims) -> Vec<f64> {
        let mut got = vec![f64::NAN; dims.outer * dims.inner];
        reduce(ReduceOp::Sum, DType::F64, bytes(x), dims, bytes_mut(&mut got), 0..dims.outer).unwrap();
        got
    }

    fn naive<T: Copy>(x: &[T], d: Dims, start: T, f: impl Fn(T, T) -> T) -> Vec<T> {
        let at = |o: usize, i: usize, j: usize| x[(o * d.n + i) * d.inner + j];
        (0..d.outer)
            .flat_map(|o| (0..d.inner).map(move |j| (o, j)))
            .map(|(o, j)| (0..d.n).fold(start, |s, i| f(s, at(o, i, j))))
            .collect()
    }

    #[test]
    fn long_sums_in_every_layout() {
        let shapes = [(1, 300_000, 1), (3, 70_000, 1), (1, 100_000, 3), (2, 3000, 40), (1, 10, 5000), (1, 2500, 64)];
        for (outer, n, inner) in shapes {
            let d = Dims { outer, n, inner };
            let x = noise(d.size());
            let (got, want) = (sum(&x, d), naive(&x, d, 0.0, |a, b| a + b));
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w).abs() < 1e-11 * (n as f64).sqrt(), "{d:?}: {g} {w}");
            }
        }
    }

    #[test]
    fn a_sum_of_ones_is_exact_in_single_precision() {
        // One after the other this would stop at 2^24.
        let ones = vec![1.0f32; (1 << 24) + 4096];
        let mut got = [0.0f32];
        let d = Dims { outer: 1, n: ones.len(), inner: 1 };
        reduce(ReduceOp::Sum, DType::F32, bytes(&ones), d, bytes_mut(&mut got), 0..1).unwrap();
        assert_eq!(got[0], ones.len() as f32);
        let d = Dims { outer: 1, n: ones.len() / 2, inner: 2 };
        let mut got = [0.0f32; 2];
        reduce(ReduceOp::Sum, DType::F32, bytes(&ones), d, bytes_mut(&mut got), 0..1).unwrap();
        assert_eq!(got, [d.n as f32; 2]);
    }

    #[test]
    fn segments_by_themselves_give_the_same_bits() {
        for (n, inner) in [(1_000_003, 1), (50_000, 7), (5000, 100)] {
            let d = Dims { outer: 1, n, inner };
            let x = noise(d.size());
            let r = Reduction::new(ReduceOp::Sum, DType::F64, d).unwrap();
            assert!(r.segments() > 1);
            let mut partial = vec![0u8; r.segments() * r.result_bytes()];
            for (k, part) in partial.chunks_exact_mut(r.result_bytes()).enumerate().rev() {
                r.segment(bytes(&x), 0, k, part).unwrap();
            }
            let mut got = vec![0.0; inner];
            r.join(&partial, bytes_mut(&mut got)).unwrap();
            assert_eq!(got, sum(&x, d));
        }
    }

    #[test]
    fn an_empty_axis_gives_the_identity() {
        let d = Dims { outer: 2, n: 0, inner: 3 };
        assert_eq!(sum(&[], d), [0.0; 6]);
        assert_eq!(sum(&[], Dims { outer: 1, n: 5, inner: 0 }), []);
        let mut got = [0.0f64; 6];
        reduce(ReduceOp::Prod, DType::F64, &[], d, bytes_mut(&mut got), 0..2).unwrap();
        assert_eq!(got, [1.0; 6]);
        assert!(matches!(Reduction::new(ReduceOp::Any, DType::F64, d), Err(Error::Type(_))));
    }

    proptest! {
        #[test]
        fn every_operation(outer in 0usize..4, n in 0usize..90, inner in 0usize..40, nan in any::<bool>()) {
            let d = Dims { outer, n, inner };
            let mut x = noise(d.size());
            if nan && !x.is_empty() {
                let at = x.len() / 2;
                x[at] = f64::NAN;
            }
            let on_floats = |op, start, f: fn(f64, f64) -> f64, tolerance: f64| {
                let mut got = vec![0.0; outer * inner];
                reduce(op, DType::F64, bytes(&x), d, bytes_mut(&mut got), 0..outer).unwrap();
                let want = naive(&x, d, start, f);
                got.iter().zip(&want).all(|(g, w)| g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= tolerance)
            };
            prop_assert!(on_floats(ReduceOp::Sum, 0.0, |a, b| a + b, 1e-13));
            prop_assert!(on_floats(ReduceOp::Prod, 1.0, |a, b| a * b, 1e-13));
            let larger: fn(f64, f64) -> f64 = |a, b| if a.is_nan() || a > b { a } else { b };
            let smaller: fn(f64, f64) -> f64 = |a, b| if a.is_nan() || a < b { a } else { b };
            prop_assert!(on_floats(ReduceOp::Max, f64::NEG_INFINITY, larger, 0.0));
            prop_assert!(on_floats(ReduceOp::Min, f64::INFINITY, smaller, 0.0));
            let ints: Vec<i64> = x.iter().map(|v| (v * 1e18) as i64).collect();
            let mut got = vec![0i64; outer * inner];
            reduce(ReduceOp::Sum, DType::I64, bytes(&ints), d, bytes_mut(&mut got), 0..outer).unwrap();
            prop_assert_eq!(&got, &naive(&ints, d, 0, i64::wrapping_add));
            let bools: Vec<u8> = ints.iter().map(|v| (v % 8 == 0) as u8).collect();
            let mut got = vec![7u8; outer * inner];
            reduce(ReduceOp::Any, DType::Bool, &bools, d, &mut got, 0..outer).unwrap();
            prop_assert_eq!(&got, &naive(&bools, d, 0, |a, b| a | b));
            reduce(ReduceOp::All, DType::Bool, &bools, d, &mut got, 0..outer).unwrap();
            prop_assert_eq!(&got, &naive(&bools, d, 1, |a, b| a & b));
            // Rows in two parts.
            let mut halves = vec![0i64; outer * inner];
            let (first, second) = halves.split_at_mut(outer / 2 * inner);
            reduce(ReduceOp::Sum, DType::I64, bytes(&ints), d, bytes_mut(first), 0..outer / 2).unwrap();
            reduce(ReduceOp::Sum, DType::I64, bytes(&ints), d, bytes_mut(second), outer / 2..outer).unwrap();
            prop_assert_eq!(halves, naive(&ints, d, 0, i64::wrapping_add));
        }
    }
}
