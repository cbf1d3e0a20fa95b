//! LU with partial pivoting: solve, inv, det, slogdet.

use faer::linalg::solvers::{DenseSolveCore, PartialPivLu, Solve};
use faer::{MatMut, MatRef};

use super::{all_finite, guarded, lengths};
use crate::{Error, Result};

/// Up to this size elimination here is faster than the library's set-up.
const SMALL: usize = 40;

/// A factored matrix.
pub(super) enum Lu {
    Small(Small),
    Large(PartialPivLu<f64>),
    /// A large matrix with nan or infinity in it.
    NotFinite(usize),
}

/// L (its unit diagonal left out) and U in one row-major matrix; row i of it is row `rows[i]` of the original.
pub(super) struct Small {
    n: usize,
    lu: Vec<f64>,
    rows: Vec<usize>,
    odd: bool,
}

impl Lu {
    pub(super) fn new(op: &str, a: &[f64], n: usize) -> Result<Lu> {
        if n <= SMALL {
            return Ok(Lu::Small(Small::new(a, n)));
        }
        if !all_finite(a) {
            return Ok(Lu::NotFinite(n));
        }
        Ok(Lu::Large(guarded(op, || MatRef::from_row_major_slice(a, n, n).partial_piv_lu())?))
    }

    fn n(&self) -> usize {
        match self {
            Lu::Small(s) => s.n,
            Lu::Large(lu) => lu.U().nrows(),
            Lu::NotFinite(n) => *n,
        }
    }

    pub(super) fn pivot(&self, i: usize) -> f64 {
        match self {
            Lu::Small(s) => s.lu[i * s.n + i],
            Lu::Large(lu) => lu.U()[(i, i)],
            Lu::NotFinite(_) => f64::NAN,
        }
    }

    /// The column of the first pivot that is exactly zero.
    pub(super) fn zero_pivot(&self) -> Option<usize> {
        (0..self.n()).find(|&i| self.pivot(i) == 0.0)
    }

    /// Whether the determinant of the permutation is -1.
    fn odd(&self) -> bool {
        match self {
            Lu::Small(s) => s.odd,
            Lu::NotFinite(_) => false,
            Lu::Large(lu) => {
                let rows = lu.P().arrays().0;
                let mut seen = vec![false; rows.len()];
                let mut odd = false;
                for start in 0..rows.len() {
                    let mut i = rows[start];
                    // a cycle of length l is l - 1 exchanges
                    while !seen[start] && i != start {
                        seen[i] = true;
                        odd = !odd;
                        i = rows[i];
                    }
                    seen[start] = true;
                }
                odd
            }
        }
    }

    /// The determinant as mantissa · 2^exponent, so that its factors do not overflow on the way.
    pub(super) fn scaled_det(&self) -> (f64, i64) {
        if self.zero_pivot().is_some() {
            return (0.0, 0);
        }
        let (mut mantissa, mut exponent) = (if self.odd() { -1.0 } else { 1.0 }, 0_i64);
        for i in 0..self.n() {
            let (m, e) = libm::frexp(mantissa * self.pivot(i));
            (mantissa, exponent) = (m, exponent + i64::from(e));
        }
        (mantissa, exponent)
    }

    fn regular(&self, op: &str) -> Result<()> {
        let n = self.n();
        match self.zero_pivot() {
            None => Ok(()),
            Some(i) => Err(Error::LinAlg(format!(
                "{op}: Singular matrix: elimination of the {n} by {n} matrix meets a pivot that is exactly zero in column {i}; \
                 remove dependent rows or columns, or add a small multiple of the identity"
            ))),
        }
    }

    /// Solves in place for k right-hand sides.
    fn solve(&self, op: &str, b: &mut [f64], k: usize) -> Result<()> {
        match self {
            Lu::Small(s) => s.solve(b, k),
            Lu::NotFinite(_) => b.fill(f64::NAN),
            Lu::Large(lu) => guarded(op, || lu.solve_in_place(MatMut::from_row_major_slice_mut(b, lu.U().nrows(), k)))?,
        }
        Ok(())
    }
}

impl Small {
    fn new(a: &[f64], n: usize) -> Small {
        let (mut lu, mut rows, mut odd) = (a.to_vec(), (0..n).collect::<Vec<_>>(), false);
        for j in 0..n {
            // the first of the largest, as in LAPACK; a nan is taken as it comes
            let mut best = j;
            for i in j + 1..n {
                if lu[i * n + j].abs() > lu[best * n + j].abs() {
                    best = i;
                }
            }
            if best != j {
                rows.swap(best, j);
                odd = !odd;
                let (head, tail) = lu.split_at_mut(best * n);
                head[j * n..][..n].swap_with_slice(&mut tail[..n]);
            }
            let (head, tail) = lu.split_at_mut((j + 1) * n);
            let top = &head[j * n..];
            let pivot = top[j];
            if pivot == 0.0 {
                continue;
            }
            for row in tail.chunks_exact_mut(n) {
                let factor = row[j] / pivot;
                row[j] = factor;
                for (x, u) in row[j + 1..].iter_mut().zip(&top[j + 1..]) {
                    *x -= factor * u;
                }
            }
        }
        Small { n, lu, rows, odd }
    }

    fn solve(&self, b: &mut [f64], k: usize) {
        let n = self.n;
        if k == 1 {
            return self.solve_one(b);
        }
        let old = b.to_vec();
        for (to, &from) in b.chunks_exact_mut(k).zip(&self.rows) {
            to.copy_from_slice(&old[from * k..][..k]);
        }
        for i in 0..n {
            let (done, rest) = b.split_at_mut(i * k);
            for (factor, x) in self.lu[i * n..][..i].iter().zip(done.chunks_exact(k)) {
                subtract(&mut rest[..k], *factor, x);
            }
        }
        for i in (0..n).rev() {
            let (rest, done) = b.split_at_mut((i + 1) * k);
            let row = &mut rest[i * k..];
            for (factor, x) in self.lu[i * n + i + 1..(i + 1) * n].iter().zip(done.chunks_exact(k)) {
                subtract(row, *factor, x);
            }
            let pivot = self.lu[i * n + i];
            row.iter_mut().for_each(|x| *x /= pivot);
        }
    }

    fn solve_one(&self, b: &mut [f64]) {
        let n = self.n;
        let mut x = [0.0; SMALL];
        let x = &mut x[..n];
        for i in 0..n {
            let known = self.lu[i * n..][..i].iter().zip(&*x).fold(b[self.rows[i]], |s, (l, x)| s - l * x);
            x[i] = known;
        }
        for i in (0..n).rev() {
            let row = &self.lu[i * n..][..n];
            let known = row[i + 1..].iter().zip(&x[i + 1..]).fold(x[i], |s, (u, x)| s - u * x);
            x[i] = known / row[i];
        }
        b.copy_from_slice(x);
    }
}

/// row -= factor · x
fn subtract(row: &mut [f64], factor: f64, x: &[f64]) {
    for (r, x) in row.iter_mut().zip(x) {
        *r -= factor * x;
    }
}

/// out = a⁻¹ b for a of n by n and b of n by k.
pub fn solve(a: &[f64], b: &[f64], n: usize, k: usize, out: &mut [f64]) -> Result<()> {
    lengths("solve", [(a.len(), n * n), (b.len(), n * k), (out.len(), n * k)])?;
    if n * k == 0 {
        return Ok(());
    }
    let lu = Lu::new("solve", a, n)?;
    lu.regular("solve")?;
    out.copy_from_slice(b);
    lu.solve("solve", out, k)
}

/// out = a⁻¹
pub fn inv(a: &[f64], n: usize, out: &mut [f64]) -> Result<()> {
    lengths("inv", [(a.len(), n * n), (out.len(), n * n)])?;
    if n == 0 {
        return Ok(());
    }
    let lu = Lu::new("inv", a, n)?;
    lu.regular("inv")?;
    inverse("inv", &lu, out)
}

/// The inverse from a factorisation without zero pivots.
pub(super) fn inverse(op: &str, lu: &Lu, out: &mut [f64]) -> Result<()> {
    let n = lu.n();
    if let Lu::Large(plu) = lu {
        let inverse = guarded(op, || plu.inverse())?;
        for (i, row) in out.chunks_exact_mut(n).enumerate() {
            for (j, to) in row.iter_mut().enumerate() {
                *to = inverse[(i, j)];
            }
        }
        return Ok(());
    }
    out.fill(0.0);
    out.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
    lu.solve(op, out, n)
}

/// The determinant; 0 for a singular matrix.
pub fn det(a: &[f64], n: usize) -> Result<f64> {
    lengths("det", [(a.len(), n * n)])?;
    let (mantissa, exponent) = Lu::new("det", a, n)?.scaled_det();
    Ok(libm::ldexp(mantissa, exponent.clamp(-5000, 5000) as i32))
}

/// The sign of the determinant, and the logarithm of its absolute value; (0, -inf) for a singular matrix.
pub fn slogdet(a: &[f64], n: usize) -> Result<(f64, f64)> {
    lengths("slogdet", [(a.len(), n * n)])?;
    let lu = Lu::new("slogdet", a, n)?;
    if lu.zero_pivot().is_some() {
        return Ok((0.0, f64::NEG_INFINITY));
    }
    let (mut sign, mut log) = (if lu.odd() { -1.0 } else { 1.0 }, 0.0);
    for i in 0..n {
        let pivot = lu.pivot(i);
        sign *= if pivot.is_nan() { pivot } else { pivot.signum() };
        log += libm::log(pivot.abs());
    }
    Ok((sign, log))
}
