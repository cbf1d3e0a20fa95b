//! Systems with a symmetric matrix: by Cholesky's factor where there is one, else by elimination.
//!
//! The factor is made in blocks of as many rows as a vector has lanes: what the rows above take away from a tile of it is
//! summed in registers, and the tile is finished before it is stored. The matrix is read once, where it lies.
#![allow(unsafe_code)]
// loops over registers read best with an index into each
#![allow(clippy::needless_range_loop)]

use std::borrow::Cow;

use super::lanes::{Kernel, Lanes, dispatch};
use crate::linalg::{self, Result};

/// Beyond this many unknowns the library's blocks are faster than whole rows.
const LARGE: usize = 256;
/// Elements that sizes are rounded up to: a whole vector of the widest kind.
const WIDE: usize = 8;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as numbers, from where lines begin")] [f64; WIDE]);

/// Memory for one solution after the other.
pub struct Scratch {
    /// The upper triangle with whole vectors a row, and as many rows; what lies below the diagonal means nothing.
    rows: Vec<Line>,
    /// One over the diagonal of the factor, and then a right-hand side.
    vectors: Vec<Line>,
    factor: Vec<f64>,
    half: Vec<f64>,
}

impl Scratch {
    pub fn new(n: usize, right: usize) -> Scratch {
        let (lines, large) = if n > LARGE { (0, n) } else { (n.div_ceil(WIDE), 0) };
        let zeros = Line([0.0; WIDE]);
        Scratch {
            rows: vec![zeros; lines * lines * WIDE],
            vectors: vec![zeros; 2 * lines],
            factor: vec![0.0; large * large],
            half: vec![0.0; large * right],
        }
    }
}

/// x = (a + shift)⁻¹ b for a symmetric n by n matrix, with the shift on its diagonal, and `right` right-hand sides; all
/// row-major.
pub fn solve(a: &[f64], shift: f64, b: &[f64], n: usize, right: usize, s: &mut Scratch, x: &mut [f64]) -> Result<()> {
    if n > LARGE {
        let a = &shifted(a, shift, n)[..];
        let definite = |l: &[f64]| (0..n).all(|k| l[k * n + k] * l[k * n + k] > least(a[k * n + k], n));
        return match linalg::cholesky(a, n, &mut s.factor) {
            Ok(()) if definite(&s.factor) => {
                let l = linalg::Triangle { lower: true, transpose: false, unit_diagonal: false };
                linalg::triangular_solve(&s.factor, b, n, right, l, &mut s.half)?;
                linalg::triangular_solve(&s.factor, &s.half, n, right, linalg::Triangle { transpose: true, ..l }, x)
            }
            Ok(()) | Err(linalg::Error::LinAlg(_)) => linalg::solve(a, b, n, right, x),
            Err(error) => Err(error),
        };
    }
    if n * right == 0 {
        return Ok(());
    }
    let (inverse, vector) = s.vectors.split_at_mut(n.div_ceil(WIDE));
    let mut definite = false;
    let (rows, inverse, vector) = (s.rows.as_mut_ptr().cast(), inverse.as_mut_ptr().cast(), vector.as_mut_ptr().cast());
    let factor = Factor { a, shift, n, rows, inverse };
    // SAFETY: the scratch was made for matrices of this size.
    unsafe { dispatch(Definite { factor, b, x: &mut *x, right, vector, definite: &mut definite }) };
    if definite { Ok(()) } else { linalg::solve(&shifted(a, shift, n), b, n, right, x) }
}

/// The matrix with the shift on its diagonal.
fn shifted(a: &[f64], shift: f64, n: usize) -> Cow<'_, [f64]> {
    let mut a = Cow::Borrowed(a);
    if shift != 0.0 {
        a.to_mut().iter_mut().step_by(n + 1).for_each(|v| *v += shift);
    }
    a
}

/// What a pivot, where so much was on the diagonal, must be larger than, not to be rounding alone: elimination says what is
/// singular.
#[inline(always)]
fn least(diagonal: f64, n: usize) -> f64 {
    4.0 * f64::EPSILON * n as f64 * diagonal
}

/// u with uᵀ u = a + shift for n by n elements of `a`: they and their factor are taken to go on, to whole blocks, like the unit matrix.
struct Factor<'a> {
    a: &'a [f64],
    /// What is added to the diagonal of `a`.
    shift: f64,
    n: usize,
    /// Rows of u, as many as there are in whole blocks, and each as long.
    rows: *mut f64,
    /// One over its diagonal, as long.
    inverse: *mut f64,
}

/// Factor and both substitutions.
struct Definite<'a> {
    factor: Factor<'a>,
    b: &'a [f64],
    x: &'a mut [f64],
    right: usize,
    /// One right-hand side, as long as the rows of the factor.
    vector: *mut f64,
    /// Whether there is a solution: false where a pivot is not positive (or is nan).
    definite: &'a mut bool,
}

impl Kernel<f64> for Definite<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = f64>>(self) {
        // SAFETY: the caller's; blocks are as long as vectors.
        unsafe {
            match V::N {
                8 => self.in_blocks::<V, 8>(),
                4 => self.in_blocks::<V, 4>(),
                _ => self.in_blocks::<V, 2>(),
            }
        }
    }
}

impl Definite<'_> {
    #[inline(always)]
    unsafe fn in_blocks<V: Lanes<Elem = f64>, const B: usize>(self) {
        let (n, right) = (self.factor.n, self.right);
        // SAFETY: a column of the right-hand sides has n elements, and the vector as many as whole blocks.
        unsafe {
            if !self.factor.make::<V, B>() {
                return;
            }
            let vector = std::slice::from_raw_parts_mut(self.vector, self.factor.blocks::<B>() * B);
            for column in 0..right {
                for (k, to) in vector.iter_mut().enumerate() {
                    *to = if k < n { self.b[k * right + column] } else { 0.0 };
                }
                self.factor.substitute::<V, B>(vector.as_mut_ptr());
                for (k, from) in vector[..n].iter().enumerate() {
                    self.x[k * right + column] = *from;
                }
            }
        }
        *self.definite = true;
    }
}

impl Factor<'_> {
    #[inline(always)]
    fn blocks<const B: usize>(&self) -> usize {
        self.n.div_ceil(B)
    }

    /// The row r of block k, from its block j on.
    #[inline(always)]
    fn at<const B: usize>(&self, k: usize, r: usize, j: usize) -> *mut f64 {
        self.rows.wrapping_add((k * B + r) * self.blocks::<B>() * B + j * B)
    }

    /// False where a pivot is not positive.
    #[inline(always)]
    unsafe fn make<V: Lanes<Elem = f64>, const B: usize>(&self) -> bool {
        let blocks = self.blocks::<B>();
        for k in 0..blocks {
            // SAFETY: blocks below the number of blocks.
            unsafe {
                if !self.pivots::<V, B>(k) {
                    return false;
                }
                let mut j = k + 1;
                while j + 3 <= blocks {
                    self.beside::<V, B, 3>(k, j);
                    j += 3;
                }
                match blocks - j {
                    2 => self.beside::<V, B, 2>(k, j),
                    1 => self.beside::<V, B, 1>(k, j),
                    _ => {}
                }
            }
        }
        true
    }

    /// Block k of rows of `a` in its blocks j and on, less what the blocks above take away.
    #[inline(always)]
    unsafe fn tile<V: Lanes<Elem = f64>, const B: usize, const W: usize>(&self, k: usize, j: usize) -> [[V; W]; B] {
        // SAFETY: rows above block k are done, and elements of a are read where it has them.
        unsafe {
            let zero = V::splat(0.0);
            let mut sums = [[zero; W]; B];
            for p in 0..k * B {
                let (left, right) = (self.at::<B>(0, p, k), self.at::<B>(0, p, j));
                let mut row = [zero; W];
                for w in 0..W {
                    row[w] = V::load(right.add(w * B));
                }
                for r in 0..B {
                    let f = V::splat(*left.add(r));
                    for w in 0..W {
                        sums[r][w] = sums[r][w].plus_product(f, row[w]);
                    }
                }
            }
            for r in 0..B.min(self.n - k * B) {
                let from = self.a.as_ptr().add((k * B + r) * self.n);
                for w in 0..W {
                    let (from, left) = (from.add((j + w) * B), self.n - (j + w) * B);
                    let own = if left >= B { V::load(from) } else { V::load_part(from, left) };
                    sums[r][w] = own.plus_product(sums[r][w], V::splat(-1.0));
                }
            }
            sums
        }
    }

    /// The block of the factor on the diagonal.
    #[inline(always)]
    unsafe fn pivots<V: Lanes<Elem = f64>, const B: usize>(&self, k: usize) -> bool {
        // SAFETY: block k is inside.
        unsafe {
            let mut rows = self.tile::<V, B, 1>(k, k);
            for r in 0..B {
                let to = self.at::<B>(k, r, k);
                rows[r][0].store(to);
                let at = k * B + r;
                let mut by = 1.0;
                if at < self.n {
                    // the element of the row itself is not read again
                    let pivot = *to.add(r) + self.shift;
                    // a nan is not positive either
                    if !(pivot > least(self.a[at * (self.n + 1)] + self.shift, self.n) && pivot < f64::INFINITY) {
                        return false;
                    }
                    by = 1.0 / pivot.sqrt();
                }
                *self.inverse.add(at) = by;
                let row = V::splat(0.0).plus_product(rows[r][0], V::splat(by));
                row.store(to);
                for s in r + 1..B {
                    rows[s][0] = rows[s][0].plus_product(V::splat(-*to.add(s)), row);
                }
            }
        }
        true
    }

    /// Blocks j and on of the rows beside block k of the diagonal, which is done.
    #[inline(always)]
    unsafe fn beside<V: Lanes<Elem = f64>, const B: usize, const W: usize>(&self, k: usize, j: usize) {
        // SAFETY: W blocks from j on are inside.
        unsafe {
            let mut rows = self.tile::<V, B, W>(k, j);
            for r in 0..B {
                let by = V::splat(*self.inverse.add(k * B + r));
                for w in 0..W {
                    rows[r][w] = V::splat(0.0).plus_product(rows[r][w], by);
                    rows[r][w].store(self.at::<B>(k, r, j + w));
                }
                let diagonal = self.at::<B>(k, r, k);
                for s in r + 1..B {
                    let f = V::splat(-*diagonal.add(s));
                    for w in 0..W {
                        rows[s][w] = rows[s][w].plus_product(f, rows[r][w]);
                    }
                }
            }
        }
    }

    /// x becomes a⁻¹ x.
    #[inline(always)]
    unsafe fn substitute<V: Lanes<Elem = f64>, const B: usize>(&self, x: *mut f64) {
        let blocks = self.blocks::<B>();
        // SAFETY: x is as long as a row.
        unsafe {
            // uᵀ y = x: a block, once known, is taken out of the equations that follow
            for k in 0..blocks {
                let mut known = [0.0; B];
                for r in 0..B {
                    known[r] = *x.add(k * B + r);
                }
                for r in 0..B {
                    known[r] *= *self.inverse.add(k * B + r);
                    *x.add(k * B + r) = known[r];
                    for s in r + 1..B {
                        known[s] -= *self.at::<B>(k, r, k).add(s) * known[r];
                    }
                }
                for j in k + 1..blocks {
                    let mut sum = V::load(x.add(j * B));
                    for r in 0..B {
                        sum = sum.plus_product(V::splat(-known[r]), V::load(self.at::<B>(k, r, j)));
                    }
                    sum.store(x.add(j * B));
                }
            }
            // u x = y: from the last to the first
            for k in (0..blocks).rev() {
                let mut sums = [V::splat(0.0); B];
                for j in k + 1..blocks {
                    let known = V::load(x.add(j * B));
                    for r in 0..B {
                        sums[r] = sums[r].plus_product(V::load(self.at::<B>(k, r, j)), known);
                    }
                }
                let mut unknown = [0.0; B];
                for r in 0..B {
                    unknown[r] = *x.add(k * B + r) - sums[r].sum();
                }
                for r in (0..B).rev() {
                    unknown[r] *= *self.inverse.add(k * B + r);
                    *x.add(k * B + r) = unknown[r];
                    for s in 0..r {
                        unknown[s] -= *self.at::<B>(k, s, k).add(r) * unknown[r];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definite_indefinite_and_singular_systems() {
        for n in [1usize, 2, 3, 4, 5, 7, 8, 33, 100, 300] {
            for right in [1usize, 3] {
                for definite in [true, false] {
                    // a diagonal that outweighs its rows, with signs
                    let entry = |i: usize, j: usize| ((i * j + i + j) % 7) as f64 / 7.0;
                    let sign = |i: usize| if definite || i.is_multiple_of(2) { 1.0 } else { -1.0 };
                    let a: Vec<f64> = (0..n * n)
                        .map(|k| (k / n, k % n))
                        .map(|(i, j)| if i == j { sign(i) * (n as f64 + 1.0) } else { entry(i.min(j), i.max(j)) })
                        .collect();
                    let want: Vec<f64> = (0..n * right).map(|k| (k as f64 * 0.7).sin()).collect();
                    let mut b = vec![0.0; n * right];
                    for i in 0..n {
                        for k in 0..right {
                            b[i * right + k] = (0..n).map(|j| a[i * n + j] * want[j * right + k]).sum();
                        }
                    }
                    // the shift is a part of the diagonal
                    for shift in [0.0, 0.5, -100.0] {
                        let mut a = a.clone();
                        a.iter_mut().step_by(n + 1).for_each(|v| *v -= shift);
                        let mut x = vec![f64::NAN; n * right];
                        solve(&a, shift, &b, n, right, &mut Scratch::new(n, right), &mut x).unwrap();
                        let off = x.iter().zip(&want).map(|(x, w)| (x - w).abs()).fold(0.0, f64::max);
                        assert!(off < 1e-12, "{n} {right} {definite} {shift}: {off}");
                    }
                }
            }
        }
        let mut x = [0.0; 2];
        assert!(solve(&[3.0, 3.0, 3.0, 3.0], 0.0, &[1.0, 2.0], 2, 1, &mut Scratch::new(2, 1), &mut x).is_err());
        solve(&[1.0, 0.0, 0.0, f64::NAN], 0.0, &[1.0, 2.0], 2, 1, &mut Scratch::new(2, 1), &mut x).unwrap();
        assert!(x[1].is_nan());
    }
}
