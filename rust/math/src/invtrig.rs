//! The inverse trigonometric and hyperbolic functions, in f64.

use super::dd::{fast_two_sum, two_prod, two_sum};
use super::log::log_of_sum;
use super::simd::{Element, Simd64, estrin};
use super::tables as t;

/// atan(a / b) for a, b ≥ 0, not both 0 and not both infinite, as a pair (high, low) that still has to be summed.
///
/// a/b is compared with 7/16, 11/16, 19/16, 39/16 and turned by atan 0, 1/2, 1, 3/2 or ∞: one division, and the polynomial's
/// argument stays below 7/16.
#[inline(always)]
fn atan_ratio<V: Simd64>(a: V, b: V) -> (V, V) {
    let step = |from: f64, n: i32, before: V| V::select((b * V::c(from)).le(a), V::c(f64::MAGIC + n as f64), before);
    let at = step(7.0 / 16.0, 1, V::c(f64::MAGIC));
    let at = step(39.0 / 16.0, 4, step(19.0 / 16.0, 3, step(11.0 / 16.0, 2, at))).bits();
    let (cos, sin) = (V::lookup(&t::ATAN_COS, at), V::lookup(&t::ATAN_SIN, at));
    let (hi, lo) = (V::lookup(&t::ATAN_HI, at), V::lookup(&t::ATAN_LO, at));
    // cos is 0 or 1: both products with it are exact.
    let z = (-sin).fma(b, a * cos) / sin.fma(a, b * cos);
    let z2 = z * z;
    let low = (z * z2).mla(estrin(z2, &t::ATAN_POLY), lo);
    let (h, l) = fast_two_sum(hi, z);
    (h, l + low)
}

#[inline(always)]
pub(super) fn atan<V: Simd64>(x: V) -> V {
    let (h, l) = atan_ratio(V::c(1e300).min(x.abs()), V::c(1.0));
    (h + l).copysign(x)
}

#[inline(always)]
pub(super) fn atan2<V: Simd64>(y: V, x: V) -> V {
    let (a, b) = (y.abs(), x.abs());
    let inf = V::c(f64::INFINITY);
    // Both infinite count as both 1; both zero as 0/1.
    let both = V::and(a.eq(inf), b.eq(inf));
    let (a, b) = (V::select(both, V::c(1.0), a), V::select(both, V::c(1.0), b));
    let zero = V::c(0.0);
    let b = V::select(V::and(a.eq(zero), b.eq(zero)), V::c(1.0), b);
    // An infinite one beside a finite one: any ratio beyond the range will do.
    let (ai, bi) = (a.eq(inf), b.eq(inf));
    let (a, b) = (V::select(bi, zero, a), V::select(ai, zero, b));
    let (a, b) = (V::select(ai, V::c(1.0), a), V::select(bi, V::c(1.0), b));
    // Away from overflow and from subnormal denominators.
    let scale = V::select(a.max(b).gt(V::c(1e300)), V::c(2f64.powi(-60)), V::c(1.0));
    let scale = V::select(a.max(b).lt(V::c(1e-280)), V::c(2f64.powi(200)), scale);
    let (h, l) = atan_ratio(a * scale, b * scale);
    let (ph, pe) = fast_two_sum(V::c(2.0 * t::PIO2_1), -h);
    let turned = ph + (pe + (V::c(2.0 * t::PIO2_REST) - l));
    let r = V::select(x.is_negative(), turned, h + l).copysign(y);
    V::select(V::or(x.is_nan(), y.is_nan()), x + y, r)
}

/// asin(s + sl) beyond its first term, with z = s².
#[inline(always)]
fn asin_tail<V: Simd64>(s: V, z: V) -> V {
    s * z * estrin(z, &t::ASIN_POLY)
}

/// For |x| > 1/2: z = (1 - |x|)/2, its root s, and what s lacks.
#[inline(always)]
fn half_angle<V: Simd64>(a: V) -> (V, V, V) {
    let z = (V::c(1.0) - a) * V::c(0.5);
    let (s, half) = z.root();
    let rest = (-s).fma(s, z) * half;
    (z, s, rest)
}

#[inline(always)]
pub(super) fn asin<V: Simd64>(x: V) -> V {
    let a = x.abs();
    let (zb, sb, rest) = half_angle(a);
    let big = a.gt(V::c(0.5));
    let z = V::select(big, zb, a * a);
    let s = V::select(big, sb, a);
    let p = asin_tail(s, z);
    let (d, e) = fast_two_sum(V::c(t::PIO2_1), s * V::c(-2.0));
    let large = d + (e + (p + rest).mla(V::c(-2.0), V::c(t::PIO2_REST)));
    V::select(big, large, s + p).copysign(x)
}

#[inline(always)]
pub(super) fn acos<V: Simd64>(x: V) -> V {
    let a = x.abs();
    let (zb, sb, rest) = half_angle(a);
    let big = a.gt(V::c(0.5));
    let z = V::select(big, zb, a * a);
    let s = V::select(big, sb, x);
    let p = asin_tail(s, z) + V::select(big, rest, V::c(0.0));
    let (d, e) = fast_two_sum(V::c(t::PIO2_1), -s);
    let turned = d + (e + (V::c(t::PIO2_REST) - p));
    let near = (s + p) * V::c(2.0);
    let far = turned * V::c(2.0);
    V::select(big, V::select(x.lt(V::c(0.0)), far, near), turned)
}

#[inline(always)]
pub(super) fn asinh<V: Simd64>(x: V) -> V {
    let a = x.abs();
    let huge = a.gt(V::c(1e9));
    let b = V::select(huge, V::c(0.0), a);
    // asinh a = ln(1 + a + a²/(1 + sqrt(1 + a²)))
    let b2 = b * b;
    let (w, wl) = fast_two_sum(b, b2 / (V::c(1.0) + (V::c(1.0) + b2).sqrt()));
    let (h, l) = two_sum(V::c(1.0), w);
    let y = log_of_sum(V::select(huge, a, h), V::select(huge, V::c(0.0), l + wl), shift(huge));
    let y = V::select(a.lt(V::c(f64::INFINITY)), y, a);
    y.copysign(x)
}

#[inline(always)]
pub(super) fn acosh<V: Simd64>(x: V) -> V {
    let huge = x.gt(V::c(1e9));
    let (u, ul) = two_sum(V::select(huge, V::c(1.0), x), V::c(-1.0));
    // acosh x = ln(1 + u + sqrt(2u + u²)), u = x - 1
    let (w, wl) = fast_two_sum(u.fma(u, u + u).sqrt(), u);
    // The root is the larger one but for rounding.
    let (h, l) = two_sum(V::c(1.0), w);
    let y = log_of_sum(V::select(huge, x, h), V::select(huge, V::c(0.0), l + (wl + ul)), shift(huge));
    let y = V::select(x.lt(V::c(f64::INFINITY)), y, x);
    V::select(x.ge(V::c(1.0)), y, V::c(f64::NAN))
}

/// One more power of two where `huge`: ln(2a) there.
#[inline(always)]
fn shift<V: Simd64>(huge: V::Mask) -> V {
    V::select(huge, V::c(1.0), V::c(0.0))
}

#[inline(always)]
pub(super) fn atanh<V: Simd64>(x: V) -> V {
    let a = x.abs();
    let inside = a.lt(V::c(1.0));
    let b = V::select(inside, a, V::c(0.0));
    let (d, dl) = fast_two_sum(V::c(1.0), -b);
    let n = b + b;
    let r = V::c(1.0) / d;
    let q = n * r;
    let ql = ((-q).fma(d, n) - q * dl) * r;
    let (h, l) = two_sum(V::c(1.0), q);
    let y = log_of_sum(h, l + ql, V::c(0.0)) * V::c(0.5);
    let edge = V::select(a.eq(V::c(1.0)), V::c(f64::INFINITY), V::c(f64::NAN));
    V::select(inside, y, edge).copysign(x)
}

/// sqrt(x² + y²), without overflow or underflow on the way.
#[inline(always)]
pub(super) fn hypot<V: Simd64>(x: V, y: V) -> V {
    let (x, y) = (x.abs(), y.abs());
    let swap = x.lt(y);
    let (a, b) = (V::select(swap, y, x), V::select(swap, x, y));
    let (up, down) = (V::c(2f64.powi(600)), V::c(2f64.powi(-600)));
    let (big, small) = (a.gt(V::c(1e150)), a.lt(V::c(1e-140)));
    let s = V::select(big, down, V::select(small, up, V::c(1.0)));
    let back = V::select(big, up, V::select(small, down, V::c(1.0)));
    let (p, pl) = two_prod(a * s, a * s);
    let (q, ql) = two_prod(b * s, b * s);
    let (h, e) = fast_two_sum(p, q);
    let (r, half) = h.root();
    let rest = ((-r).fma(r, h) + (e + (pl + ql))) * half;
    let y0 = (r + rest) * back;
    let inf = V::c(f64::INFINITY);
    let either = V::or(x.eq(inf), y.eq(inf));
    V::select(either, inf, y0)
}
