//! What eigenvalues and singular values that coincide do to derivatives.
//!
//! Where two values coincide, the basis that belongs to them is arbitrary. What does not depend on that choice has a first
//! derivative: it comes out here. What does (or may) depend on it has none, and gets nan rather than a number; so do its second
//! derivatives. Values count as equal if they differ by rounding only.

use crate::Result;
use crate::ops::{Binary, ReduceOp, Unary};
use crate::tape::{DType, NodeId, Tape};

/// The values of a factorisation, compared with each other.
pub(super) struct Values {
    values: NodeId,
    /// Element (i, j) of these matrices is value i, value j.
    pub row: NodeId,
    pub column: NodeId,
    /// Whether values i and j coincide.
    pub equal: NodeId,
    /// Whether i is j.
    pub diagonal: NodeId,
    /// By how much they may differ, one number a matrix.
    pub tolerance: NodeId,
}

impl Tape {
    /// `x`, one number a column, in each of `rows` rows.
    pub(super) fn in_columns(&mut self, x: NodeId, rows: usize) -> Result<NodeId> {
        let (mut s, n) = (self.shape(x).clone(), self.rank(x));
        s.insert(n - 1, 1);
        let x = self.reshape(x, &s)?;
        s[n - 1] = rows;
        self.broadcast_to(x, &s)
    }

    /// `x`, one number a row, in each of `columns` columns.
    pub(super) fn in_rows(&mut self, x: NodeId, columns: usize) -> Result<NodeId> {
        let (mut s, n) = (self.shape(x).clone(), self.rank(x));
        s.push(1);
        let x = self.reshape(x, &s)?;
        s[n] = columns;
        self.broadcast_to(x, &s)
    }

    /// `x` as a diagonal matrix.
    pub(super) fn diagonal_matrix(&mut self, x: NodeId, v: &Values) -> Result<NodeId> {
        let n = self.shape(x)[self.rank(x) - 1];
        let wide = self.in_columns(x, n)?;
        let zero = self.lit_like(0.0, wide)?;
        self.select(v.diagonal, wide, zero)
    }

    /// The diagonal of `m`.
    pub(super) fn diagonal_of(&mut self, m: NodeId, v: &Values) -> Result<NodeId> {
        let zero = self.lit_like(0.0, m)?;
        let only = self.select(v.diagonal, m, zero)?;
        self.sum(only, &[self.rank(m) as u8 - 1])
    }

    /// The values `x` (last axis), of which there is at least one.
    pub(super) fn repeated(&mut self, x: NodeId) -> Result<Values> {
        let n = self.shape(x)[self.rank(x) - 1];
        let epsilon = if self.dtype(x) == DType::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let size = self.unary(Unary::Abs, x)?;
        let largest = self.reduce(ReduceOp::Max, size, &[self.rank(x) as u8 - 1])?;
        let tolerance = self.scale(largest, n as f64 * epsilon)?;
        let (row, column) = (self.in_rows(x, n)?, self.in_columns(x, n)?);
        let s = self.shape(row).clone();
        let (i, j) = (self.iota(&s, s.len() - 2)?, self.iota(&s, s.len() - 1)?);
        let diagonal = self.equal(i, j)?;
        let gap = self.sub(column, row)?;
        let equal = self.within(gap, tolerance)?;
        Ok(Values { values: x, row, column, equal, diagonal, tolerance })
    }

    /// Where |x| is at most the tolerance of its matrix.
    pub(super) fn within(&mut self, x: NodeId, tolerance: NodeId) -> Result<NodeId> {
        let tolerance = self.over_matrix(tolerance, x)?;
        let size = self.unary(Unary::Abs, x)?;
        self.binary(Binary::LessEqual, size, tolerance)
    }

    /// The mean of `g` over values that coincide: as at the ties of a maximum, they share. Where they do, its derivative is nan.
    pub(super) fn shared(&mut self, g: NodeId, v: &Values) -> Result<NodeId> {
        let n = self.shape(g)[self.rank(g) - 1];
        let last = self.rank(g) as u8;
        let wide = self.in_columns(g, n)?;
        let zero = self.lit_like(0.0, wide)?;
        let mine = self.select(v.equal, wide, zero)?;
        let sum = self.sum(mine, &[last])?;
        let dtype = self.dtype(g);
        let counted = self.cast(v.equal, dtype)?;
        let count = self.sum(counted, &[last])?;
        let mean = self.div(sum, count)?;
        // the values part ways at once when the matrix moves, so there is no second derivative: sqrt(0·x) is 0 with derivative nan
        let zero = self.lit_like(0.0, mean)?;
        let nowhere = self.scale(v.values, 0.0)?;
        let nowhere = self.unary(Unary::Sqrt, nowhere)?;
        let one = self.lit_like(1.0, count)?;
        let alone = self.binary(Binary::LessEqual, count, one)?;
        let nowhere = self.select(alone, zero, nowhere)?;
        self.add(mean, nowhere)
    }

    /// x / d, and where `forbidden`: 0 if `test` is zero up to rounding, else nan. The derivative there is nan.
    pub(super) fn over(&mut self, x: NodeId, d: NodeId, forbidden: NodeId, test: NodeId) -> Result<NodeId> {
        let (one, nan) = (self.lit_like(1.0, d)?, self.lit_like(f64::NAN, x)?);
        let safe = self.select(forbidden, one, d)?;
        let quotient = self.div(x, safe)?;
        // rounding is relative to the largest element of the matrix
        let n = self.shape(test)[self.rank(test) - 1].max(1);
        let epsilon = if self.dtype(x) == DType::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let size = self.unary(Unary::Abs, test)?;
        let axes = [self.rank(test) as u8 - 2, self.rank(test) as u8 - 1];
        let largest = self.reduce(ReduceOp::Max, size, &axes)?;
        let rounding = self.scale(largest, 8.0 * n as f64 * epsilon)?;
        let nothing = self.within(test, rounding)?;
        // sqrt(0·x): the value is 0, the derivative nan
        let zero = self.scale(x, 0.0)?;
        let zero = self.unary(Unary::Sqrt, zero)?;
        let there = self.select(nothing, zero, nan)?;
        self.select(forbidden, there, quotient)
    }

    /// Element (i, j) of `x` over value j less value i; 0 on the diagonal.
    pub(super) fn over_gaps(&mut self, x: NodeId, test: NodeId, v: &Values) -> Result<NodeId> {
        let gap = self.sub(v.column, v.row)?;
        let zero = self.lit_like(0.0, x)?;
        let test = self.select(v.diagonal, zero, test)?;
        let y = self.over(x, gap, v.equal, test)?;
        self.select(v.diagonal, zero, y)
    }
}
