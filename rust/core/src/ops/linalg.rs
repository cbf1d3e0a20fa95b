//! Linear algebra over the last two axes; the axes before them are a batch.
//!
//! The rules are those of Giles, "Collected matrix derivative results for forward and reverse mode" (2008).

use super::{Batch, Binary, Cotangents, Primitive, Reverse, Zeros, none};
use crate::tape::{Axes, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Linalg {
    /// (a: n×n, b: n×k): a⁻¹ b
    Solve,
    /// The same for a symmetric a, by Cholesky's factor where it has one.
    SolveSymmetric,
    /// (a: n×n, b: n×k, s: a number): (a + s)⁻¹ b, with s on the diagonal of a symmetric a.
    SolveShifted,
    /// (l: n×n, b: n×k): the same for a triangular l (or its transpose), whose other triangle is not read.
    TriangularSolve {
        lower: bool,
        transpose: bool,
    },
    Inv,
    Det,
    /// The matrix of cofactors, det(a) a⁻ᵀ where a is regular.
    Cofactor,
    /// The lower Cholesky factor; only the lower triangle of a is read.
    Cholesky,
}

impl Linalg {
    fn label(&self) -> &'static str {
        match self {
            Linalg::Solve => "solve",
            Linalg::SolveSymmetric => "solve_symmetric",
            Linalg::SolveShifted => "solve_shifted",
            Linalg::TriangularSolve { .. } => "solve_triangular",
            Linalg::Inv => "inv",
            Linalg::Det => "det",
            Linalg::Cofactor => "cofactor",
            Linalg::Cholesky => "cholesky",
        }
    }
}

impl Primitive for Linalg {
    fn name(&self) -> &'static str {
        self.label()
    }

    fn attributes(&self) -> String {
        match self {
            Linalg::TriangularSolve { lower, transpose } => format!("lower={lower} transpose={transpose}"),
            _ => String::new(),
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, y: NodeId, g: NodeId) -> Result<Cotangents> {
        let inputs = r.t.inputs(y);
        let a = inputs[0];
        let (want_a, t) = (r.want(0), &mut *r.t);
        let mut out = none(inputs.len());
        match *self {
            Linalg::Solve | Linalg::SolveSymmetric | Linalg::SolveShifted => {
                let gb = match *self {
                    Linalg::SolveSymmetric => t.solve_symmetric(a, g)?,
                    Linalg::SolveShifted => t.solve_shifted(a, g, inputs[2])?,
                    _ => {
                        let at = t.matrix_transpose(a)?;
                        t.solve(at, g)?
                    }
                };
                if want_a {
                    let yt = t.matrix_transpose(y)?;
                    let p = t.matmul(gb, yt)?;
                    out[0] = Some(t.neg(p)?.into());
                }
                out[1] = Some(gb.into());
                if let Some(shift) = out.get_mut(2) {
                    let p = t.mul(gb, y)?;
                    let p = t.sum_matrix(p)?;
                    *shift = Some(t.neg(p)?.into());
                }
            }
            Linalg::TriangularSolve { lower, transpose } => {
                let gb = t.triangular_solve(a, g, lower, !transpose)?;
                if want_a {
                    let (left, right) = if transpose { (y, gb) } else { (gb, y) };
                    let rt = t.matrix_transpose(right)?;
                    let p = t.matmul(left, rt)?;
                    let p = t.neg(p)?;
                    out[0] = Some(t.triangle(p, lower, 0)?.into());
                }
                out[1] = Some(gb.into());
            }
            Linalg::Inv => {
                let yt = t.matrix_transpose(y)?;
                let p = t.matmul(yt, g)?;
                let p = t.matmul(p, yt)?;
                out[0] = Some(t.neg(p)?.into());
            }
            Linalg::Det => {
                let c = t.linalg(Linalg::Cofactor, a)?;
                let wide = t.over_matrix(g, c)?;
                out[0] = Some(t.mul(wide, c)?.into());
            }
            Linalg::Cofactor => {
                // the transpose of dC = tr(Pᵀ dA) C - det · P dAᵀ P with P = a⁻ᵀ
                let inverse = t.linalg(Linalg::Inv, a)?;
                let p = t.matrix_transpose(inverse)?;
                let gp = t.mul(g, p)?;
                let trace = t.sum_matrix(gp)?;
                let trace = t.over_matrix(trace, y)?;
                let first = t.mul(trace, y)?;
                let gt = t.matrix_transpose(g)?;
                let m = t.matmul(p, gt)?;
                let m = t.matmul(m, p)?;
                let det = t.linalg(Linalg::Det, a)?;
                let det = t.over_matrix(det, m)?;
                let second = t.mul(det, m)?;
                out[0] = Some(t.sub(first, second)?.into());
            }
            Linalg::Cholesky => {
                // S = L⁻ᵀ Φ(Lᵀ g) L⁻¹, of which the lower triangle of a gets S + Sᵀ, its diagonal once
                let lt = t.matrix_transpose(y)?;
                let g = t.triangle(g, true, 0)?;
                let m = t.matmul(lt, g)?;
                let m = t.half_triangle(m)?;
                let m = t.triangular_solve(y, m, true, true)?;
                let mt = t.matrix_transpose(m)?;
                let s = t.triangular_solve(y, mt, true, true)?;
                let st = t.matrix_transpose(s)?;
                let both = t.add(s, st)?;
                out[0] = Some(t.half_triangle(both)?.into());
            }
        }
        Ok(out)
    }

    fn jvp(&self, t: &mut Tape, y: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let a = t.input(y, 0);
        let da = tangents[0];
        Ok(Some(match *self {
            Linalg::Solve | Linalg::SolveSymmetric | Linalg::SolveShifted | Linalg::TriangularSolve { .. } => {
                let mut source = tangents[1];
                let less = |t: &mut Tape, source: Option<NodeId>, p: NodeId| match source {
                    Some(b) => t.sub(b, p),
                    None => t.neg(p),
                };
                if let Some(da) = da {
                    let da = match *self {
                        Linalg::TriangularSolve { lower, transpose } => {
                            let da = t.triangle(da, lower, 0)?;
                            if transpose { t.matrix_transpose(da)? } else { da }
                        }
                        _ => da,
                    };
                    let p = t.matmul(da, y)?;
                    source = Some(less(t, source, p)?);
                }
                if let Some(&Some(ds)) = tangents.get(2) {
                    let wide = t.over_matrix(ds, y)?;
                    let p = t.mul(wide, y)?;
                    source = Some(less(t, source, p)?);
                }
                let Some(source) = source else { return Ok(None) };
                match *self {
                    Linalg::TriangularSolve { lower, transpose } => t.triangular_solve(a, source, lower, transpose)?,
                    Linalg::SolveSymmetric => t.solve_symmetric(a, source)?,
                    Linalg::SolveShifted => {
                        let shift = t.input(y, 2);
                        t.solve_shifted(a, source, shift)?
                    }
                    _ => t.solve(a, source)?,
                }
            }
            _ => {
                let Some(da) = da else { return Ok(None) };
                match *self {
                    Linalg::Inv => {
                        let p = t.matmul(y, da)?;
                        let p = t.matmul(p, y)?;
                        t.neg(p)?
                    }
                    Linalg::Det => {
                        let c = t.linalg(Linalg::Cofactor, a)?;
                        let p = t.mul(c, da)?;
                        t.sum_matrix(p)?
                    }
                    Linalg::Cofactor => {
                        let inverse = t.linalg(Linalg::Inv, a)?;
                        let p = t.matrix_transpose(inverse)?;
                        let pd = t.mul(p, da)?;
                        let trace = t.sum_matrix(pd)?;
                        let trace = t.over_matrix(trace, y)?;
                        let first = t.mul(trace, y)?;
                        let dt = t.matrix_transpose(da)?;
                        let m = t.matmul(p, dt)?;
                        let m = t.matmul(m, p)?;
                        let det = t.linalg(Linalg::Det, a)?;
                        let det = t.over_matrix(det, m)?;
                        let second = t.mul(det, m)?;
                        t.sub(first, second)?
                    }
                    _ => {
                        // Cholesky: L Φ(L⁻¹ dA L⁻ᵀ), dA symmetric with the lower triangle of da
                        let low = t.triangle(da, true, 0)?;
                        let strict = t.triangle(da, true, -1)?;
                        let strict = t.matrix_transpose(strict)?;
                        let da = t.add(low, strict)?;
                        let m = t.triangular_solve(y, da, true, false)?;
                        let mt = t.matrix_transpose(m)?;
                        let m = t.triangular_solve(y, mt, true, false)?;
                        let f = t.half_triangle(m)?;
                        t.matmul(y, f)?
                    }
                }
            }
        }))
    }

    fn batch(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<NodeId> {
        match *self {
            Linalg::Solve => {
                let (x, y) = (b.full(t, 0)?, b.full(t, 1)?);
                t.solve(x, y)
            }
            Linalg::SolveSymmetric => {
                let (x, y) = (b.full(t, 0)?, b.full(t, 1)?);
                t.solve_symmetric(x, y)
            }
            Linalg::SolveShifted => {
                let (x, y, s) = (b.full(t, 0)?, b.full(t, 1)?, b.full(t, 2)?);
                t.solve_shifted(x, y, s)
            }
            Linalg::TriangularSolve { lower, transpose } => {
                let (x, y) = (b.full(t, 0)?, b.full(t, 1)?);
                t.triangular_solve(x, y, lower, transpose)
            }
            _ => t.linalg(self.clone(), b.inputs[0].0),
        }
    }

    fn zeros(&self) -> Zeros {
        Zeros::Stopped
    }
}

impl Tape {
    pub(super) fn square_matrix(&self, what: &str, a: NodeId) -> Result<usize> {
        let s = self.shape(a);
        if s.len() < 2 || s[s.len() - 1] != s[s.len() - 2] {
            return Err(Error::LinAlg(format!(
                "{what}: last 2 dimensions of the array must be square, got shape {}",
                shape::show(s)
            )));
        }
        if !self.dtype(a).is_float() {
            return Err(Error::Type(format!("{what}: needs float32 or float64, got {}", self.dtype(a))));
        }
        Ok(s.len())
    }

    /// An operation of one square matrix.
    pub fn linalg(&mut self, op: Linalg, a: NodeId) -> Result<NodeId> {
        let rank = self.square_matrix(op.label(), a)?;
        let (s, dtype) = (self.shape(a), self.dtype(a));
        let to: Shape = match op {
            Linalg::Det => s[..rank - 2].into(),
            _ => s.clone(),
        };
        self.push(op.into(), &[a], to, dtype)
    }

    fn system(&mut self, op: Linalg, inputs: &[NodeId]) -> Result<NodeId> {
        let (a, b) = (inputs[0], inputs[1]);
        let rank = self.square_matrix(op.label(), a)?;
        let (x, y) = (self.shape(a), self.shape(b));
        if y.len() != rank || x[..rank - 1] != y[..rank - 1] || self.dtype(a) != self.dtype(b) {
            return Err(Error::Value(format!(
                "{}: a matrix of shape {} and right-hand sides of shape {} do not match",
                op.label(),
                shape::show(x),
                shape::show(y)
            )));
        }
        let (to, dtype) = (y.clone(), self.dtype(a));
        self.push(op.into(), inputs, to, dtype)
    }

    /// a⁻¹ b for matrices with equal batch axes.
    pub fn solve(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.system(Linalg::Solve, &[a, b])
    }

    /// The same for symmetric matrices, whose lower triangles are enough.
    pub fn solve_symmetric(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.system(Linalg::SolveSymmetric, &[a, b])
    }

    /// The same with a number, one for each matrix, added to its diagonal.
    pub fn solve_shifted(&mut self, a: NodeId, b: NodeId, shift: NodeId) -> Result<NodeId> {
        let rank = self.square_matrix("solve_shifted", a)?;
        if self.shape(shift)[..] != self.shape(a)[..rank - 2] || self.dtype(shift) != self.dtype(a) {
            return Err(Error::Value(format!(
                "solve_shifted: shifts of shape {} and {} for matrices of shape {} and {}; there must be one for each",
                shape::show(self.shape(shift)),
                self.dtype(shift),
                shape::show(self.shape(a)),
                self.dtype(a)
            )));
        }
        self.system(Linalg::SolveShifted, &[a, b, shift])
    }

    /// l⁻¹ b, or l⁻ᵀ b, for a triangular l.
    pub fn triangular_solve(&mut self, l: NodeId, b: NodeId, lower: bool, transpose: bool) -> Result<NodeId> {
        self.system(Linalg::TriangularSolve { lower, transpose }, &[l, b])
    }

    /// The lower (or upper) triangle from diagonal `k` on, zeros elsewhere.
    pub fn triangle(&mut self, x: NodeId, lower: bool, k: i64) -> Result<NodeId> {
        let s = self.shape(x).clone();
        let (rows, columns) = (self.iota(&s, s.len() - 2)?, self.iota(&s, s.len() - 1)?);
        let shifted = self.shift(rows, k as f64)?;
        let op = if lower { Binary::GreaterEqual } else { Binary::LessEqual };
        let keep = self.binary(op, shifted, columns)?;
        let zero = self.lit_like(0.0, x)?;
        self.select(keep, x, zero)
    }

    /// The lower triangle with half the diagonal.
    pub(super) fn half_triangle(&mut self, x: NodeId) -> Result<NodeId> {
        let s = self.shape(x).clone();
        let (rows, columns) = (self.iota(&s, s.len() - 2)?, self.iota(&s, s.len() - 1)?);
        let diagonal = self.equal(rows, columns)?;
        let half = self.scale(x, 0.5)?;
        let low = self.triangle(x, true, 0)?;
        self.select(diagonal, half, low)
    }

    /// `v`, one number a matrix, spread over the matrices of `like`.
    pub(super) fn over_matrix(&mut self, v: NodeId, like: NodeId) -> Result<NodeId> {
        let mut s = self.shape(v).clone();
        s.extend([1, 1]);
        let v = self.reshape(v, &s)?;
        let to = self.shape(like).clone();
        self.broadcast_to(v, &to)
    }

    pub(super) fn sum_matrix(&mut self, x: NodeId) -> Result<NodeId> {
        let n = self.rank(x) as u8;
        let axes: Axes = [n - 2, n - 1].into_iter().collect();
        self.sum(x, &axes)
    }
}
