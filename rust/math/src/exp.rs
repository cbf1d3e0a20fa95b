//! The exponential and its kin, in either width.
//!
//! x = n · ln 2 / 16 + r with |r| ≤ ln 2 / 32, so e^x = 2^⌊n/16⌋ · 2^(n mod 16 / 16) · e^r: a table of sixteen and a short
//! polynomial.

use super::constants::Constants;
use super::dd::{fast_two_sum, quotient, two_prod, two_sum};
use super::log::log1p;
use super::simd::{Element, Simd};
use super::tables as t;

/// x / (ln 2 / 16) to the nearest integer n: n as the low bits of a float, and n.
#[inline(always)]
fn sixteenths<V: Simd>(x: V) -> (V, V) {
    let shifted = x.mla(V::c(t::INV_LN2_16), V::c(V::Elem::MAGIC));
    (shifted, shifted - V::c(V::Elem::MAGIC))
}

/// e^x = 2^⌊k⌋ · h · (1 + q) as (k, h, q) with h from the table, to some 58 bits.
#[inline(always)]
fn exp_parts<V: Simd>(x: V) -> (V, V, V) {
    let (shifted, n) = sixteenths(x);
    let r = n.fma(V::c(-V::Elem::LN2_16.1), n.fma(V::c(-V::Elem::LN2_16.0), x));
    (n * V::c(1.0 / 16.0), V::lookup(V::Elem::EXP2, shifted.bits()), short_expm1(shifted, r))
}

/// e^r - 1, and what the table's entry is short of, for |r| ≤ ln 2 / 32.
#[inline(always)]
fn short_expm1<V: Simd>(shifted: V, r: V) -> V {
    (r * r).mla(V::Elem::exp_poly(r), r + V::lookup(V::Elem::EXP2_REST, shifted.bits()))
}

#[inline(always)]
pub(super) fn exp<V: Simd>(x: V) -> V {
    let (k, h, q) = exp_parts(x.clamp(V::Elem::EXP_MIN, V::Elem::EXP_MAX));
    h.mla(q, h).scale(k)
}

#[inline(always)]
pub(super) fn exp2<V: Simd>(x: V) -> V {
    let x = x.clamp(1.5 * V::Elem::EXP_MIN, 1.5 * V::Elem::EXP_MAX);
    let shifted = x.mla(V::c(16.0), V::c(V::Elem::MAGIC));
    let n = shifted - V::c(V::Elem::MAGIC);
    let r = n.fma(V::c(-1.0 / 16.0), x) * V::c(std::f64::consts::LN_2);
    let h = V::lookup(V::Elem::EXP2, shifted.bits());
    h.mla(short_expm1(shifted, r), h).scale(n * V::c(1.0 / 16.0))
}

/// x = n ln 2 / 16 + r and e^r = 1 + r + q as (r, q), where q also holds what r and the table's entry 2^(n/16) are
/// short of. Nothing is lost in r + q, so that subtracting 1 costs nothing.
#[inline(always)]
fn exp_near_one<V: Simd>(x: V, (shifted, n): (V, V)) -> (V, V) {
    let r0 = n.fma(V::c(-V::Elem::LN2_16.0), x);
    let r = n.fma(V::c(-V::Elem::LN2_16.1), r0);
    let rl = n.fma(V::c(-V::Elem::LN2_16.1), r0 - r);
    let rest = V::lookup(V::Elem::EXP2_REST, shifted.bits());
    let q = (r * r).mla(V::Elem::exp_poly(r), rest.mla(r, rest + rl));
    (r, q)
}

/// 2^(n/16) for n in the low bits of `shifted`, where that is a normal number.
#[inline(always)]
fn power<V: Simd>(shifted: V) -> V {
    let root = V::lookup(V::Elem::EXP2_SHIFTED, shifted.bits());
    V::from_bits(V::bits_add(root.bits(), V::bits_shl(shifted.bits(), V::Elem::MANTISSA - 4)))
}

/// e^(x + xl) = 2^⌊k⌋ · (h + l) as (k, h, l), to some 64 bits, for xl small beside x. 1 ≤ h < 2, |l| < 2^-11.
#[inline(always)]
pub(super) fn exp_dd<V: Simd>(x: V, xl: V) -> (V, V, V) {
    let (shifted, n) = sixteenths(x);
    let (r, q) = exp_near_one(x, (shifted, n));
    let root = V::lookup(V::Elem::EXP2, shifted.bits());
    let (p, pl) = two_prod(root, r);
    let (h, e) = fast_two_sum(root, p);
    (n * V::c(1.0 / 16.0), h, h.mla(xl, root.mla(q, e + pl)))
}

#[inline(always)]
pub(super) fn expm1<V: Simd>(x: V) -> V {
    let a = x.clamp(-50.0, V::Elem::EXPM1_EDGE);
    let (shifted, n) = sixteenths(a);
    let (r, q) = exp_near_one(a, (shifted, n));
    let h = power(shifted);
    let (d, e) = two_sum(h, V::c(-1.0));
    // fused everywhere: the product is as large as the result
    let y = d + h.fma(r, h.mla(q, e));
    let large = x.gt(V::c(V::Elem::EXPM1_EDGE));
    let y = if V::any(large) { V::select(large, exp(x), y) } else { y };
    y.copysign(x)
}

/// e^a - 1 = n + nl and e^a = h + l as (n, nl, h, l), for 0 ≤ a < 700; |nl| and l are up to 2^-5 of the sums.
#[inline(always)]
fn expm1_pair<V: Simd>(a: V) -> (V, V, V, V) {
    let (shifted, n) = sixteenths(a);
    let (r, q) = exp_near_one(a, (shifted, n));
    let h = power(shifted);
    let (n, e1) = fast_two_sum(h, V::c(-1.0));
    let p = h * r;
    let (n, e2) = fast_two_sum(n, p);
    // What p lacks, and e1, which is 0 but for huge h.
    let rest = h.fma(r, e1 - p);
    (n, e2 + h.mla(q, rest), h, h.mla(r, h * q))
}

#[inline(always)]
pub(super) fn tanh<V: Simd>(x: V) -> V {
    let a = V::c(22.0).min(x.abs());
    let (n, nl, h, l) = expm1_pair(a + a);
    // e^2a + 1, normalised
    let (d, e) = fast_two_sum(h, V::c(1.0));
    let (d, dl) = fast_two_sum(d, l + e);
    quotient(n, nl, d, dl).copysign(x)
}

/// (e^a ± e^-a) / 2 for a ≥ 0, for `minus` of either sign.
#[inline(always)]
fn half_sum<V: Simd>(a: V, minus: bool) -> V {
    let (k, h, q) = exp_parts(a);
    let k = k.floor();
    // in units of 2^(k-1): nothing overflows before the last step
    let rest = (V::c(1.0) / h.mla(q, h)).scale_roughly(-(k + k));
    (h.mla(q, if minus { -rest } else { rest }) + h).scale(k - V::c(1.0))
}

#[inline(always)]
pub(super) fn sinh<V: Simd>(x: V) -> V {
    let a = V::c(V::Elem::EXP_MAX).min(x.abs());
    let a2 = a * a;
    let small = (a * a2).mla(V::Elem::sinh_poly(a2), a);
    V::select(a.lt(V::c(1.0)), small, half_sum(a, true)).copysign(x)
}

#[inline(always)]
pub(super) fn cosh<V: Simd>(x: V) -> V {
    half_sum(V::c(V::Elem::EXP_MAX).min(x.abs()), false)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn expit<V: Simd>(x: V) -> V {
    let a = V::c(-V::Elem::EXP_MIN).min(x.abs());
    let (k, h, q) = exp_parts(-a);
    let (h, l) = fast_two_sum(h, h * q);
    let (eh, el) = (h.scale(k), l.scale(k));
    let (d, dl) = fast_two_sum(V::c(1.0), eh);
    let negative = x.lt(V::c(0.0));
    let (nh, nl) = (V::select(negative, eh, V::c(1.0)), V::select(negative, el, V::c(0.0)));
    quotient(nh, nl, d, dl + el)
}

/// ln(1 / (1 + e^-x)).
#[inline(always)]
pub(super) fn log_expit<V: Simd>(x: V) -> V {
    -(log1p(exp(-x.abs())) - V::c(0.0).min(x))
}
