//! The matrix of cofactors: the derivative of the determinant, for singular matrices too.

use super::lu::{Lu, inverse};
use super::{all_finite, det, lengths, svd};
use crate::Result;

/// Below this ratio of the smallest to the largest pivot the inverse is not trusted.
const REGULAR: f64 = 1e-6;

/// out[i, j] = ∂ det(a) / ∂ a[i, j], which is det(a) · a⁻ᵀ where that exists. nan and infinity give nan.
pub fn cofactor(a: &[f64], n: usize, out: &mut [f64]) -> Result<()> {
    lengths("cofactor", [(a.len(), n * n), (out.len(), n * n)])?;
    match *a {
        [] => {}
        [_] => out[0] = 1.0,
        [a, b, c, d] => out.copy_from_slice(&[d, -c, -b, a]),
        _ if !all_finite(a) => out.fill(f64::NAN),
        _ if n == 3 => three(a, out),
        _ => {
            let lu = Lu::new("cofactor", a, n)?;
            let (least, most) = (0..n).map(|i| lu.pivot(i).abs()).fold((f64::INFINITY, 0.0), |(l, m), p: f64| {
                // a pivot after a zero one may be nan
                if p.is_nan() { (0.0, m) } else { (p.min(l), p.max(m)) }
            });
            if least > REGULAR * most {
                regular(&lu, n, out)?;
            } else {
                singular(a, n, out)?;
            }
        }
    }
    Ok(())
}

fn three(a: &[f64], out: &mut [f64]) {
    for i in 0..3 {
        for j in 0..3 {
            let (i1, i2, j1, j2) = ((i + 1) % 3 * 3, (i + 2) % 3 * 3, (j + 1) % 3, (j + 2) % 3);
            out[i * 3 + j] = a[i1 + j1] * a[i2 + j2] - a[i1 + j2] * a[i2 + j1];
        }
    }
}

fn regular(lu: &Lu, n: usize, out: &mut [f64]) -> Result<()> {
    inverse("cofactor", lu, out)?;
    let (mantissa, exponent) = lu.scaled_det();
    // in two steps: the determinant alone may overflow where its product with the inverse does not
    let half = exponent.clamp(-4000, 4000) as i32 / 2;
    let rest = exponent.clamp(-4000, 4000) as i32 - half;
    for i in 0..n {
        for j in 0..i {
            out.swap(i * n + j, j * n + i);
        }
    }
    out.iter_mut().for_each(|x| *x = libm::ldexp(libm::ldexp(*x * mantissa, half), rest));
    Ok(())
}

/// With a = u s vᵀ: det(u) det(v) · u · diag(the product of the other singular values) · vᵀ.
fn singular(a: &[f64], n: usize, out: &mut [f64]) -> Result<()> {
    let (mut u, mut s, mut vt) = (vec![0.0; n * n], vec![0.0; n], vec![0.0; n * n]);
    svd(a, n, n, &mut u, &mut s, &mut vt)?;
    let sign = det(&u, n)?.signum() * det(&vt, n)?.signum();
    let mut others = vec![sign; n];
    let mut before = 1.0;
    for i in 0..n {
        others[i] *= before;
        before *= s[i];
    }
    let mut after = 1.0;
    for i in (0..n).rev() {
        others[i] *= after;
        after *= s[i];
    }
    out.fill(0.0);
    for i in 0..n {
        let row = &mut out[i * n..][..n];
        for p in 0..n {
            let factor = u[i * n + p] * others[p];
            for (to, v) in row.iter_mut().zip(&vt[p * n..]) {
                *to += factor * v;
            }
        }
    }
    Ok(())
}
