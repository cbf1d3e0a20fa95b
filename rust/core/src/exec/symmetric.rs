//! Systems with a symmetric matrix: by Cholesky's factor where there is one, else by elimination.
#![allow(unsafe_code)]

use crate::linalg::{self, Result};
use crate::math::{self, Isa};

/// Beyond this many unknowns the library's blocks are faster than whole rows.
const LARGE: usize = 256;
/// Rows that are taken out of those below them at a time.
const PANEL: usize = 4;

/// Memory for one solution after the other.
pub struct Scratch {
    factor: Vec<f64>,
    half: Vec<f64>,
}

impl Scratch {
    pub fn new(n: usize, right: usize) -> Scratch {
        Scratch { factor: vec![0.0; n * n], half: vec![0.0; n * right] }
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
    s.factor.copy_from_slice(a);
    x.copy_from_slice(b);
    let done = match math::isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this instruction set was found on this machine.
        Isa::Avx512 => unsafe { on_avx512(a, &mut s.factor, n, right, x) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { on_avx2(a, &mut s.factor, n, right, x) },
        _ => run(a, &mut s.factor, n, right, x, |a, b, c| a * b + c),
    };
    if done { Ok(()) } else { linalg::solve(a, b, n, right, x) }
}

/// What a pivot must be larger than, not to be rounding alone: elimination says what is singular.
#[inline(always)]
fn least(a: &[f64], n: usize, k: usize) -> f64 {
    4.0 * f64::EPSILON * n as f64 * a[k * n + k]
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn on_avx512(a: &[f64], u: &mut [f64], n: usize, right: usize, x: &mut [f64]) -> bool {
    run(a, u, n, right, x, f64::mul_add)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn on_avx2(a: &[f64], u: &mut [f64], n: usize, right: usize, x: &mut [f64]) -> bool {
    run(a, u, n, right, x, f64::mul_add)
}

/// Factor and both substitutions in place; false where a pivot is not positive (or is nan).
#[inline(always)]
fn run(
    a: &[f64],
    u: &mut [f64],
    n: usize,
    right: usize,
    x: &mut [f64],
    fma: impl Fn(f64, f64, f64) -> f64 + Copy,
) -> bool {
    if n * right == 0 {
        return true;
    }
    if !factor(a, u, n, fma) {
        return false;
    }
    // uᵀ y = b: each unknown, once known, is taken out of the equations that follow
    for k in 0..n {
        let row = &u[k * n..(k + 1) * n];
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
        let row = &u[k * n..(k + 1) * n];
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

/// The upper triangle becomes u with uᵀ u = a.
#[inline(always)]
fn factor(a: &[f64], u: &mut [f64], n: usize, fma: impl Fn(f64, f64, f64) -> f64 + Copy) -> bool {
    for first in (0..n).step_by(PANEL) {
        let end = (first + PANEL).min(n);
        for k in first..end {
            let (done, below) = u.split_at_mut((k + 1) * n);
            let row = &mut done[k * n..];
            // a nan is not positive either
            if !(row[k] > least(a, n, k) && row[k] < f64::INFINITY) {
                return false;
            }
            let by = 1.0 / row[k].sqrt();
            row[k..].iter_mut().for_each(|v| *v *= by);
            for (i, other) in below.chunks_exact_mut(n).enumerate().take(end - k - 1) {
                let i = k + 1 + i;
                add(&mut other[i..], -row[i], &row[i..], fma);
            }
        }
        let (panel, below) = u[first * n..].split_at_mut((end - first) * n);
        if end - first < PANEL {
            break;
        }
        for (i, other) in below.chunks_exact_mut(n).enumerate() {
            let i = end + i;
            let other = &mut other[i..];
            let len = other.len();
            let [a, b, c, d] = [0, 1, 2, 3].map(|k| &panel[k * n + i..][..len]);
            let [fa, fb, fc, fd] = [-a[0], -b[0], -c[0], -d[0]];
            for j in 0..len {
                other[j] = fma(fd, d[j], fma(fc, c[j], fma(fb, b[j], fma(fa, a[j], other[j]))));
            }
        }
    }
    true
}

/// y += f x
#[inline(always)]
fn add(y: &mut [f64], f: f64, x: &[f64], fma: impl Fn(f64, f64, f64) -> f64) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = fma(f, x, *y);
    }
}

/// Sixteen sums side by side.
#[inline(always)]
fn dot(a: &[f64], b: &[f64], fma: impl Fn(f64, f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 16];
    let (heads, tail) = a.as_chunks::<16>();
    let (others, other_tail) = b.as_chunks::<16>();
    for (x, y) in heads.iter().zip(others) {
        for l in 0..16 {
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
