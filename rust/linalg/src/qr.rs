//! The reduced QR decomposition, with LAPACK's signs.

use faer::MatRef;

use super::cholesky::dot;
use super::{all_finite, guarded, lengths, safe_scale};
use crate::Result;

/// Multiplications up to which the reflections are done here.
const SMALL_WORK: usize = 40 * 40 * 40;

/// q (m by s) and r (s by n) with q r = a, s = min(m, n). nan and infinity give nan.
pub fn qr(a: &[f64], m: usize, n: usize, q: &mut [f64], r: &mut [f64]) -> Result<()> {
    let s = m.min(n);
    lengths("qr", [(a.len(), m * n), (q.len(), m * s), (r.len(), s * n)])?;
    if s == 0 {
        return Ok(());
    }
    if !all_finite(a) {
        q.fill(f64::NAN);
        r.fill(f64::NAN);
        return Ok(());
    }
    if m * n * s <= SMALL_WORK {
        small(a, m, n, q, r);
        return Ok(());
    }
    let scale = safe_scale(a);
    let (basis, upper) = guarded("qr", || {
        let qr = (faer::Scale(scale) * MatRef::from_row_major_slice(a, m, n)).qr();
        (qr.compute_thin_Q(), qr.thin_R().to_owned())
    })?;
    for (i, row) in q.chunks_exact_mut(s).enumerate() {
        for (j, to) in row.iter_mut().enumerate() {
            *to = basis[(i, j)];
        }
    }
    for (i, row) in r.chunks_exact_mut(n).enumerate() {
        for (j, to) in row.iter_mut().enumerate() {
            *to = if j >= i { upper[(i, j)] / scale } else { 0.0 };
        }
    }
    Ok(())
}

pub(super) fn small(a: &[f64], m: usize, n: usize, q: &mut [f64], r: &mut [f64]) {
    let (s, scale) = (m.min(n), safe_scale(a));
    // columns one after the other
    let mut columns: Vec<f64> = (0..n * m).map(|c| a[c % m * n + c / m] * scale).collect();
    let mut taus = vec![0.0; s];
    for j in 0..s {
        let (head, rest) = columns.split_at_mut((j + 1) * m);
        let v = &mut head[j * m + j..];
        let below = dot(&v[1..], &v[1..]).sqrt();
        if below == 0.0 {
            // nothing to eliminate: no reflection, and the sign stays
            continue;
        }
        let alpha = v[0];
        let beta = -libm::hypot(alpha, below).copysign(alpha);
        taus[j] = (beta - alpha) / beta;
        v[1..].iter_mut().for_each(|x| *x /= alpha - beta);
        v[0] = beta;
        for column in rest.chunks_exact_mut(m) {
            reflect(&v[1..], taus[j], &mut column[j..]);
        }
    }
    for i in 0..s {
        for j in 0..n {
            r[i * n + j] = if j >= i { columns[j * m + i] / scale } else { 0.0 };
        }
    }
    // the reflections of the unit vectors, last one first
    let mut unit = vec![0.0; s * m];
    for j in 0..s {
        unit[j * m + j] = 1.0;
    }
    for j in (0..s).rev() {
        let v = &columns[j * m + j + 1..][..m - j - 1];
        for column in unit[j * m..].chunks_exact_mut(m) {
            reflect(v, taus[j], &mut column[j..]);
        }
    }
    for i in 0..m {
        for j in 0..s {
            q[i * s + j] = unit[j * m + i];
        }
    }
}

/// x -= tau · (1, v) · ((1, v) · x)
fn reflect(v: &[f64], tau: f64, x: &mut [f64]) {
    let along = tau * (x[0] + dot(v, &x[1..]));
    x[0] -= along;
    for (x, v) in x[1..].iter_mut().zip(v) {
        *x -= along * v;
    }
}
