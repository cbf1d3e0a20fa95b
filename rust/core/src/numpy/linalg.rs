//! Linear systems, determinants and factors over the last two axes, as in numpy.linalg.

use super::operand::{Operand, float_of, materialise, result_dtype};
use crate::ops::{Factor, Linalg, Window};
use crate::tape::{NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// A stack of square matrices in floating point.
fn square(t: &mut Tape, what: &str, a: NodeId) -> Result<NodeId> {
    square_shape(what, t.shape(a))?;
    let dtype = float_of(what, t.dtype(a))?;
    t.cast(a, dtype)
}

fn square_shape(what: &str, s: &[usize]) -> Result<()> {
    if s.len() < 2 {
        return Err(Error::LinAlg(format!(
            "{what}: {}-dimensional array given. Array must be at least two-dimensional",
            s.len()
        )));
    }
    if s[s.len() - 1] != s[s.len() - 2] {
        return Err(Error::LinAlg(format!(
            "{what}: last 2 dimensions of the array must be square, got shape {}",
            shape::show(s)
        )));
    }
    Ok(())
}

/// How a system of equations is to be solved.
#[derive(Clone, Copy, Debug, PartialEq)]
enum System {
    General,
    Symmetric,
    /// Symmetric, and with these numbers on the diagonals.
    Shifted(NodeId),
    Triangular {
        lower: bool,
        transpose: bool,
    },
}

impl System {
    fn name(self) -> &'static str {
        match self {
            System::General => "solve",
            System::Symmetric => "solve_symmetric",
            System::Shifted(_) => "solve_shifted",
            System::Triangular { .. } => "solve_triangular",
        }
    }

    fn solve(self, t: &mut Tape, a: NodeId, b: NodeId) -> Result<NodeId> {
        match self {
            System::General => t.solve(a, b),
            System::Symmetric => t.solve_symmetric(a, b),
            System::Shifted(shift) => {
                let batch: Shape = t.shape(a)[..t.rank(a) - 2].into();
                let one = shape::size(t.shape(shift)) == 1;
                let shift = if one { t.reshape(shift, &[])? } else { shift };
                let shift = t.broadcast_to(shift, &batch)?;
                t.solve_shifted(a, b, shift)
            }
            System::Triangular { lower, transpose } => t.triangular_solve(a, b, lower, transpose),
        }
    }

    /// With `b` a vector if it has one dimension, else a stack of matrices; batch axes are broadcast.
    fn call(self, t: &mut Tape, a: NodeId, b: NodeId) -> Result<NodeId> {
        let what = self.name();
        let (p, q) = (t.shape(a).clone(), t.shape(b).clone());
        let n = p[p.len() - 1];
        let rows = match q.as_slice() {
            [] => {
                return Err(Error::Value(format!("{what}: the right-hand side must have at least one dimension")));
            }
            [rows] => *rows,
            [.., rows, _] => *rows,
        };
        if rows != n {
            return Err(Error::Value(format!(
                "{what}: a matrix of shape {} and a right-hand side of shape {} do not match: {n} equations, {rows} right-hand \
                 values{}",
                shape::show(&p),
                shape::show(&q),
                if q.len() > 1 { "; b is a vector only if it has one dimension, else use b[..., None]" } else { "" }
            )));
        }
        let batch_a = &p[..p.len() - 2];
        if q.len() == 1 {
            let mut to: Shape = batch_a.into();
            to.push(n);
            let b = t.broadcast_to(b, &to)?;
            to.push(1);
            let b = t.reshape(b, &to)?;
            let y = self.solve(t, a, b)?;
            to.pop();
            return t.reshape(y, &to);
        }
        let batch_b = &q[..q.len() - 2];
        let k = q[q.len() - 1];
        if shape::size(batch_a) == 1 && !batch_b.is_empty() {
            // one matrix for all right-hand sides: factored once
            let mut batch = shape::broadcast(what, &[batch_a, batch_b])?;
            let count = shape::size(batch_b);
            let flat_a = t.reshape(a, &[n, n])?;
            let b = t.reshape(b, &[count, n, k])?;
            let b = t.transpose(b, &[1, 0, 2])?;
            let b = t.reshape(b, &[n, count * k])?;
            let y = self.solve(t, flat_a, b)?;
            let y = t.reshape(y, &[n, count, k])?;
            let y = t.transpose(y, &[1, 0, 2])?;
            batch.extend([n, k]);
            return t.reshape(y, &batch);
        }
        let batch = shape::broadcast(what, &[batch_a, batch_b])?;
        let (mut to_a, mut to_b) = (batch.clone(), batch);
        to_a.extend([n, n]);
        to_b.extend([n, k]);
        let (a, b) = (t.broadcast_to(a, &to_a)?, t.broadcast_to(b, &to_b)?);
        self.solve(t, a, b)
    }
}

/// The operands of a system in their common floating-point dtype.
fn system(t: &mut Tape, how: System, a: Operand, b: Operand) -> Result<(NodeId, NodeId)> {
    let (p, q) = (a.shape(t), b.shape(t));
    square_shape(how.name(), &p)?;
    let dtype = float_of(how.name(), result_dtype(t, &[a, b])?)?;
    Ok((materialise(t, a, dtype, &p)?, materialise(t, b, dtype, &q)?))
}

/// a⁻¹ b
pub fn solve(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    let (a, b) = system(t, System::General, a, b)?;
    System::General.call(t, a, b)
}

/// a⁻¹ b for a symmetric a, of which the lower triangle may be all that is read.
pub fn solve_symmetric(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    let (a, b) = system(t, System::Symmetric, a, b)?;
    System::Symmetric.call(t, a, b)
}

/// (a + shift)⁻¹ b for symmetric matrices, with a number for each of them on its diagonal.
pub fn solve_shifted(t: &mut Tape, a: Operand, b: Operand, shift: Operand) -> Result<NodeId> {
    let what = "solve_shifted";
    let (p, q, s) = (a.shape(t), b.shape(t), shift.shape(t));
    square_shape(what, &p)?;
    let dtype = float_of(what, result_dtype(t, &[a, b, shift])?)?;
    let (a, b, shift) =
        (materialise(t, a, dtype, &p)?, materialise(t, b, dtype, &q)?, materialise(t, shift, dtype, &s)?);
    // as many matrices as there are shifts
    let mut to = shape::broadcast(what, &[&p[..p.len() - 2], &s])?;
    to.extend_from_slice(&p[p.len() - 2..]);
    let a = t.broadcast_to(a, &to)?;
    System::Shifted(shift).call(t, a, b)
}

/// a⁻¹ b (or a⁻ᵀ b) for a triangular a, as scipy.linalg.solve_triangular; `unit`: its diagonal is taken as 1.
pub fn solve_triangular(
    t: &mut Tape,
    a: Operand,
    b: Operand,
    lower: bool,
    transpose: bool,
    unit: bool,
) -> Result<NodeId> {
    let how = System::Triangular { lower, transpose };
    let (mut a, b) = system(t, how, a, b)?;
    if unit {
        let s = t.shape(a).clone();
        let on = on_diagonal(t, &s)?;
        let one = t.lit_like(1.0, a)?;
        a = t.select(on, one, a)?;
    }
    how.call(t, a, b)
}

/// The solution for a matrix whose Cholesky factor is `c`.
pub fn cho_solve(t: &mut Tape, c: Operand, lower: bool, b: Operand) -> Result<NodeId> {
    let first = System::Triangular { lower, transpose: !lower };
    let (c, b) = system(t, first, c, b)?;
    let vector = t.rank(b) == 1;
    let b = if vector { super::shape::expand_dims(t, b, &[-1])? } else { b };
    let y = first.call(t, c, b)?;
    let y = System::Triangular { lower, transpose: lower }.call(t, c, y)?;
    if vector { super::shape::squeeze(t, y, Some(&[-1])) } else { Ok(y) }
}

pub fn inv(t: &mut Tape, a: NodeId) -> Result<NodeId> {
    let a = square(t, "inv", a)?;
    t.linalg(Linalg::Inv, a)
}

pub fn det(t: &mut Tape, a: NodeId) -> Result<NodeId> {
    let a = square(t, "det", a)?;
    t.linalg(Linalg::Det, a)
}

/// The sign of the determinant, and the logarithm of its absolute value.
pub fn slogdet(t: &mut Tape, a: NodeId) -> Result<[NodeId; 2]> {
    let a = square(t, "slogdet", a)?;
    let [sign, log] = several(t.factor(Factor::Slogdet, a)?)?;
    Ok([sign, log])
}

fn several<const N: usize>(results: Vec<NodeId>) -> Result<[NodeId; N]> {
    results.try_into().map_err(|_| Error::Internal("a factorisation without its results".into()))
}

/// Matrices of floating point, square or not.
fn matrices(t: &mut Tape, what: &str, a: NodeId) -> Result<NodeId> {
    if t.rank(a) < 2 {
        return Err(Error::LinAlg(format!(
            "{what}: {}-dimensional array given. Array must be at least two-dimensional",
            t.rank(a)
        )));
    }
    let dtype = float_of(what, t.dtype(a))?;
    t.cast(a, dtype)
}

/// Eigenvalues in ascending order, and eigenvectors as columns, of symmetric matrices of which only the lower (or upper)
/// triangle is read.
pub fn eigh(t: &mut Tape, a: NodeId, upper: bool) -> Result<[NodeId; 2]> {
    let mut a = square(t, "eigh", a)?;
    if upper {
        a = t.matrix_transpose(a)?;
    }
    several(t.factor(Factor::Eigh, a)?)
}

/// u, the singular values in descending order, and vᵀ.
pub fn svd(t: &mut Tape, a: NodeId) -> Result<[NodeId; 3]> {
    let a = matrices(t, "svd", a)?;
    several(t.factor(Factor::Svd, a)?)
}

/// q and r, for s = min(m, n) of shapes m by s and s by n.
pub fn qr(t: &mut Tape, a: NodeId) -> Result<[NodeId; 2]> {
    let a = matrices(t, "qr", a)?;
    let s = t.shape(a).clone();
    let (m, n) = (s[s.len() - 2], s[s.len() - 1]);
    if m >= n {
        return several(t.factor(Factor::Qr, a)?);
    }
    // the first columns decide q; the others are seen in its basis
    let last = s.len() - 1;
    let (mut start, mut piece) = (vec![0; s.len()], s.clone());
    piece[last] = m;
    let first = t.slice(a, Box::new(Window::at(&start)), &piece)?;
    (start[last], piece[last]) = (m as i64, n - m);
    let rest = t.slice(a, Box::new(Window::at(&start)), &piece)?;
    let [q, r] = several(t.factor(Factor::Qr, first)?)?;
    let qt = t.matrix_transpose(q)?;
    let seen = t.matmul(qt, rest)?;
    Ok([q, t.concatenate(&[r, seen], last)?])
}

/// The lower (or upper) Cholesky factor. Only that triangle of `a` is read.
pub fn cholesky(t: &mut Tape, a: NodeId, upper: bool) -> Result<NodeId> {
    let a = square(t, "cholesky", a)?;
    if !upper {
        return t.linalg(Linalg::Cholesky, a);
    }
    let a = t.matrix_transpose(a)?;
    let l = t.linalg(Linalg::Cholesky, a)?;
    t.matrix_transpose(l)
}

/// Where row and column are equal.
fn on_diagonal(t: &mut Tape, s: &[usize]) -> Result<NodeId> {
    let (rows, columns) = (t.iota(s, s.len() - 2)?, t.iota(s, s.len() - 1)?);
    t.equal(rows, columns)
}

/// aⁿ for a Python int n.
pub fn matrix_power(t: &mut Tape, a: NodeId, n: i64) -> Result<NodeId> {
    square_shape("matrix_power", t.shape(a))?;
    if n == 0 {
        let s = t.shape(a).clone();
        let on = on_diagonal(t, &s)?;
        let dtype = t.dtype(a);
        return t.cast(on, dtype);
    }
    let mut square = if n < 0 { inv(t, a)? } else { a };
    let mut k = n.unsigned_abs();
    let mut result = None;
    while k > 0 {
        if k % 2 == 1 {
            result = Some(match result {
                None => square,
                Some(r) => t.matmul(r, square)?,
            });
        }
        k /= 2;
        if k > 0 {
            square = t.matmul(square, square)?;
        }
    }
    result.ok_or_else(|| Error::Internal("matrix_power without a factor".into()))
}
