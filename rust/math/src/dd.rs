//! Error-free transforms: sums and products of two numbers as an unevaluated sum of two.

use super::simd::Simd;

/// a + b and what it lacks, for |a| ≥ |b| or a = 0.
#[inline(always)]
pub(super) fn fast_two_sum<V: Simd>(a: V, b: V) -> (V, V) {
    let s = a + b;
    (s, (a - s) + b)
}

/// a + b and what it lacks.
#[inline(always)]
pub(super) fn two_sum<V: Simd>(a: V, b: V) -> (V, V) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// a · b and what it lacks.
#[inline(always)]
pub(super) fn two_prod<V: Simd>(a: V, b: V) -> (V, V) {
    let p = a * b;
    (p, a.fma(b, -p))
}

/// (nh + nl) / (dh + dl) with one division and a correction.
#[inline(always)]
pub(super) fn quotient<V: Simd>(nh: V, nl: V, dh: V, dl: V) -> V {
    let r = V::c(1.0) / dh;
    let q = nh * r;
    let rest = (-q).fma(dh, nh) + (-q).mla(dl, nl);
    rest.mla(r, q)
}
