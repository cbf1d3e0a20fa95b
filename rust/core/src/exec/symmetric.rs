//! Systems with a symmetric matrix: by Cholesky's factor where there is one, else by elimination.
#![allow(unsafe_code)]

use crate::linalg::{self, Result};
use crate::math::{self, Isa};

/// Beyond this many unknowns the library's blocks are faster than whole rows.
const LARGE: usize = 256;
/// Rows that are taken out of those below them at a time.
const PANEL: usize = 4;

/// Elements of a row that are worked on together: a whole vector of the widest kind.
const WIDE: usize = 8;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([f64; WIDE]);

/// Memory for one solution after the other.
pub struct Scratch {
    /// The upper triangle, each row in whole lines; what lies below the diagonal means nothing.
    rows: Vec<Line>,
    factor: Vec<f64>,
    half: Vec<f64>,
}

impl Scratch {
    pub fn new(n: usize, right: usize) -> Scratch {
        let (lines, large) = if n > LARGE { (0, n) } else { (n * n.div_ceil(WIDE), 0) };
        Scratch {
            rows: vec![Line([0.0; WIDE]); lines],
            factor: vec![0.0; large * large],
            half: vec![0.0; large * right],
        }
    }
}

/// x = a⁻¹ b for a symmetric n by n matrix and `right` right-hand sides; all row-major.
pub fn solve(a: &[f64], b: &[f64], n: usize, right: usize, s: &mut Scratch, x: &mut [f64]) -> Result<()> {
    if n > LARGE {
        let definite = |l: &[f64]| (0..n).all(|k| l[k * n + k] * l[k * n + k] > least(a, n, k));
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
    let width = n.div_ceil(WIDE);
    for (row, from) in s.rows.chunks_exact_mut(width.max(1)).zip(a.chunks_exact(n.max(1))) {
        for (line, from) in row.iter_mut().zip(from.chunks(WIDE)) {
            line.0[..from.len()].copy_from_slice(from);
        }
    }
    x.copy_from_slice(b);
    let m = Matrix { a, u: &mut s.rows, n, width };
    let done = match math::isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this instruction set was found on this machine.
        Isa::Avx512 => unsafe { on_avx512(m, right, x) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { on_avx2(m, right, x) },
        _ => run(m, right, x, |a, b, c| a * b + c),
    };
    if done { Ok(()) } else { linalg::solve(a, b, n, right, x) }
}

/// What a pivot must be larger than, not to be rounding alone: elimination says what is singular.
#[inline(always)]
fn least(a: &[f64], n: usize, k: usize) -> f64 {
    4.0 * f64::EPSILON * n as f64 * a[k * n + k]
}

/// A matrix, and its rows in lines, which become those of its factor.
struct Matrix<'a> {
    a: &'a [f64],
    u: &'a mut [Line],
    n: usize,
    /// Lines a row.
    width: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn on_avx512(m: Matrix<'_>, right: usize, x: &mut [f64]) -> bool {
    run(m, right, x, f64::mul_add)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn on_avx2(m: Matrix<'_>, right: usize, x: &mut [f64]) -> bool {
    run(m, right, x, f64::mul_add)
}

/// Factor and both substitutions, in place; false where a pivot is not positive (or is nan).
#[inline(always)]
fn run(mut m: Matrix<'_>, right: usize, x: &mut [f64], fma: impl Fn(f64, f64, f64) -> f64 + Copy) -> bool {
    let n = m.n;
    if n * right == 0 {
        return true;
    }
    if !factor(&mut m, fma) {
        return false;
    }
    // uᵀ y = b: each unknown, once known, is taken out of the equations that follow
    for k in 0..n {
        let row = &flat(&m.u[k * m.width..(k + 1) * m.width])[..n];
        let (known, rest) = x.split_at_mut((k + 1) * right);
        let known = &mut known[k * right..];
        let by = 1.0 / row[k];
        known.iter_mut().for_each(|v| *v *= by);
        if right == 1 {
            add(rest, -known[0], &row[k + 1..], fma);
        } else {
            for (other, &f) in rest.chunks_exact_mut(right).zip(&row[k + 1..]) {
                add(other, -f, known, fma);
            }
        }
    }
    // u x = y: from the last to the first
    for k in (0..n).rev() {
        let row = &flat(&m.u[k * m.width..(k + 1) * m.width])[..n];
        let (rest, known) = x.split_at_mut((k + 1) * right);
        let unknown = &mut rest[k * right..];
        if right == 1 {
            unknown[0] -= dot(&row[k + 1..], known, fma);
        } else {
            for (other, &f) in known.chunks_exact(right).zip(&row[k + 1..]) {
                add(unknown, -f, other, fma);
            }
        }
        let by = 1.0 / row[k];
        unknown.iter_mut().for_each(|v| *v *= by);
    }
    true
}

/// u with uᵀ u = a, in the place of a's rows.
#[inline(always)]
fn factor(m: &mut Matrix<'_>, fma: impl Fn(f64, f64, f64) -> f64 + Copy) -> bool {
    let (n, width) = (m.n, m.width);
    for first in (0..n).step_by(PANEL) {
        let end = (first + PANEL).min(n);
        for k in first..end {
            let (done, below) = m.u.split_at_mut((k + 1) * width);
            let row = &mut done[k * width..];
            let pivot = row[k / WIDE].0[k % WIDE];
            // a nan is not positive either
            if !(pivot > least(m.a, n, k) && pivot < f64::INFINITY) {
                return false;
            }
            let by = 1.0 / pivot.sqrt();
            row[k / WIDE..].iter_mut().for_each(|l| l.0.iter_mut().for_each(|v| *v *= by));
            for (i, other) in (k + 1..end).zip(below.chunks_exact_mut(width)) {
                let f = -row[i / WIDE].0[i % WIDE];
                for (to, from) in other[i / WIDE..].iter_mut().zip(&row[i / WIDE..]) {
                    for e in 0..WIDE {
                        to.0[e] = fma(f, from.0[e], to.0[e]);
                    }
                }
            }
        }
        if end - first < PANEL {
            break;
        }
        let (panel, below) = m.u[first * width..].split_at_mut(PANEL * width);
        let (a, rest) = panel.split_at(width);
        let (b, rest) = rest.split_at(width);
        let (c, d) = rest.split_at(width);
        for (i, other) in (end..n).zip(below.chunks_exact_mut(width)) {
            let (l, e) = (i / WIDE, i % WIDE);
            let (fa, fb, fc, fd) = (-a[l].0[e], -b[l].0[e], -c[l].0[e], -d[l].0[e]);
            let four = a[l..].iter().zip(&b[l..]).zip(c[l..].iter().zip(&d[l..]));
            for (to, ((a, b), (c, d))) in other[l..].iter_mut().zip(four) {
                for e in 0..WIDE {
                    to.0[e] = fma(fd, d.0[e], fma(fc, c.0[e], fma(fb, b.0[e], fma(fa, a.0[e], to.0[e]))));
                }
            }
        }
    }
    true
}

/// The elements of some lines.
#[inline(always)]
fn flat(lines: &[Line]) -> &[f64] {
    // SAFETY: a line is its elements, as many as make up its alignment: there is nothing between them.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * WIDE) }
}

/// y += f x
#[inline(always)]
fn add(y: &mut [f64], f: f64, x: &[f64], fma: impl Fn(f64, f64, f64) -> f64) {
    let (heads, tail) = y.as_chunks_mut::<WIDE>();
    let (others, other_tail) = x.as_chunks::<WIDE>();
    for (y, x) in heads.iter_mut().zip(others) {
        for e in 0..WIDE {
            y[e] = fma(f, x[e], y[e]);
        }
    }
    for (y, &x) in tail.iter_mut().zip(other_tail) {
        *y = fma(f, x, *y);
    }
}

/// Sixteen sums side by side.
#[inline(always)]
fn dot(a: &[f64], b: &[f64], fma: impl Fn(f64, f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 2 * WIDE];
    let (heads, tail) = a.as_chunks::<{ 2 * WIDE }>();
    let (others, other_tail) = b.as_chunks::<{ 2 * WIDE }>();
    for (x, y) in heads.iter().zip(others) {
        for l in 0..2 * WIDE {
            sums[l] = fma(x[l], y[l], sums[l]);
        }
    }
    let rest = tail.iter().zip(other_tail).fold(0.0, |s, (&x, &y)| fma(x, y, s));
    sums.iter().sum::<f64>() + rest
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
                    let mut x = vec![f64::NAN; n * right];
                    solve(&a, &b, n, right, &mut Scratch::new(n, right), &mut x).unwrap();
                    let off = x.iter().zip(&want).map(|(x, w)| (x - w).abs()).fold(0.0, f64::max);
                    assert!(off < 1e-12, "{n} {right} {definite}: {off}");
                }
            }
        }
        let mut x = [0.0; 2];
        assert!(solve(&[3.0, 3.0, 3.0, 3.0], &[1.0, 2.0], 2, 1, &mut Scratch::new(2, 1), &mut x).is_err());
        solve(&[1.0, 0.0, 0.0, f64::NAN], &[1.0, 2.0], 2, 1, &mut Scratch::new(2, 1), &mut x).unwrap();
        assert!(x[1].is_nan());
    }
}
