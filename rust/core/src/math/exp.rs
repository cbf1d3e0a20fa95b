//! The exponential and its kin, in f64.
//!
//! x = n · ln 2 / 16 + r with |r| ≤ ln 2 / 32, so e^x = 2^⌊n/16⌋ · 2^(n mod 16 / 16) · e^r: a table of sixteen and a short
//! polynomial.

use super::dd::{fast_two_sum, quotient, two_sum};
use super::log::log1p;
use super::simd::{Element, Simd64, even_odd};
use super::tables as t;

#[inline(always)]
pub(super) fn exp<V: Simd64>(x: V) -> V {
    let x = x.clamp(-760.0, 720.0);
    let shifted = x.mla(V::c(t::INV_LN2_16), V::c(f64::MAGIC));
    let n = shifted - V::c(f64::MAGIC);
    let r = n.fma(V::c(-t::LN2_16_MID), n.fma(V::c(-t::LN2_16_HI), x));
    finish(shifted, n, r)
}

#[inline(always)]
pub(super) fn exp2<V: Simd64>(x: V) -> V {
    let x = x.clamp(-1100.0, 1040.0);
    let shifted = x.mla(V::c(16.0), V::c(f64::MAGIC));
    let n = shifted - V::c(f64::MAGIC);
    let r = n.fma(V::c(-1.0 / 16.0), x) * V::c(std::f64::consts::LN_2);
    finish(shifted, n, r)
}

/// 2^(n/16) · e^r.
#[inline(always)]
fn finish<V: Simd64>(shifted: V, n: V, r: V) -> V {
    let q = (r * r).mla(even_odd(r, &t::EXP_POLY), r);
    let hi = V::lookup(&t::EXP2_HI, shifted.bits());
    let lo = V::lookup(&t::EXP2_LO, shifted.bits());
    (hi + hi.mla(q, lo)).scale(n * V::c(1.0 / 16.0))
}

/// e^(x + xl) = 2^⌊k⌋ · (h + l) as (k, h, l) to some 64 bits, for |x| up to a few thousand and xl small beside it.
/// 1 ≤ h < 2, |l| < 2^-11 h; for x in ln 2 / 32 around 0, h + l - 1 keeps its relative precision.
#[inline(always)]
pub(super) fn exp_dd<V: Simd64>(x: V, xl: V) -> (V, V, V) {
    let shifted = x.mla(V::c(t::INV_LN2_16), V::c(f64::MAGIC));
    let n = shifted - V::c(f64::MAGIC);
    let r0 = n.fma(V::c(-t::LN2_16_HI), x);
    let r = n.fma(V::c(-t::LN2_16_MID), r0);
    let rl = n.fma(V::c(-t::LN2_16_MID), r0 - r) + n.mla(V::c(-t::LN2_16_LO), xl);
    let q = (r * r).mla(even_odd(r, &t::EXP_POLY), rl.mla(r, rl));
    let hi = V::lookup(&t::EXP2_HI, shifted.bits());
    let lo = V::lookup(&t::EXP2_LO, shifted.bits());
    let p = hi * r;
    let pl = hi.fma(r, -p);
    let (h, e) = fast_two_sum(hi, p);
    let l = hi.mla(q, e + (pl + lo.mla(r, lo)));
    (n * V::c(1.0 / 16.0), h, l)
}

/// e^x - 1 as a normalised pair, for -50 ≤ x ≤ 709.
#[inline(always)]
pub(super) fn expm1_dd<V: Simd64>(x: V) -> (V, V) {
    let (k, h, l) = exp_dd(x, V::c(0.0));
    let s = V::pow2(k.floor());
    let (d, e) = two_sum(h * s, V::c(-1.0));
    fast_two_sum(d, l.mla(s, e))
}

#[inline(always)]
pub(super) fn expm1<V: Simd64>(x: V) -> V {
    let (k, h, l) = exp_dd(x.clamp(-50.0, 709.8), V::c(0.0));
    let s = V::pow2(k.floor());
    let (d, e) = two_sum(h * s, V::c(-1.0));
    let y = d + l.mla(s, e);
    // 709.78… is where e^x leaves the range.
    let y = V::select(x.gt(V::c(709.782_712_893_384)), V::c(f64::INFINITY), y);
    y.copysign(x)
}

#[inline(always)]
pub(super) fn tanh<V: Simd64>(x: V) -> V {
    let a = V::c(22.0).min(x.abs());
    let (h, l) = expm1_dd(a + a);
    let (d, dl) = two_sum(h, V::c(2.0));
    quotient(h, l, d, dl + l).copysign(x)
}

#[inline(always)]
pub(super) fn sinh<V: Simd64>(x: V) -> V {
    let a = V::c(720.0).min(x.abs());
    let (h, l) = expm1_dd(V::c(30.0).min(a));
    let small = (h + (l + h / (h + V::c(1.0)))) * V::c(0.5);
    let (k, eh, el) = exp_dd(a, V::c(0.0));
    let large = (eh + el).scale(k - V::c(1.0));
    V::select(a.lt(V::c(25.0)), small, large).copysign(x)
}

#[inline(always)]
pub(super) fn cosh<V: Simd64>(x: V) -> V {
    let a = V::c(720.0).min(x.abs());
    let (k, h, l) = exp_dd(a, V::c(0.0));
    let half = (h + l).scale(k - V::c(1.0));
    half + V::c(0.25) / half
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn expit<V: Simd64>(x: V) -> V {
    let a = V::c(760.0).min(x.abs());
    let (k, h, l) = exp_dd(-a, V::c(0.0));
    let (h, l) = fast_two_sum(h, l);
    let (eh, el) = (h.scale(k), l.scale(k));
    let (d, dl) = fast_two_sum(V::c(1.0), eh);
    let negative = x.lt(V::c(0.0));
    let (nh, nl) = (V::select(negative, eh, V::c(1.0)), V::select(negative, el, V::c(0.0)));
    quotient(nh, nl, d, dl + el)
}

/// ln(1 / (1 + e^-x)).
#[inline(always)]
pub(super) fn log_expit<V: Simd64>(x: V) -> V {
    V::c(0.0).min(x) - log1p(exp(-x.abs()))
}
