//! The logarithms, in either width; in pairs in f64.
//!
//! x = m · 2^e with 0.75 ≤ m < 1.5; a table gives r ≈ 1/m to eight bits (exactly 1 around 1), so that z = m r - 1 is exact
//! enough and small, and ln x = e ln 2 - ln r + ln(1 + z).

use super::constants::Constants;
use super::dd::{fast_two_sum, two_prod};
use super::simd::{Element, Simd, Simd64, estrin};
use super::tables as t;

#[inline(always)]
pub(super) fn log<V: Simd>(x: V) -> V {
    let (s, low) = log_parts(x);
    fix(x, s + low)
}

/// ln x as a sum whose second part counts little, for x positive and finite.
#[inline(always)]
fn log_parts<V: Simd>(x: V) -> (V, V) {
    let (m, e) = x.split();
    let at = V::bits_shr(m.bits(), V::Elem::MANTISSA - 4);
    let z = m.fma(V::lookup(V::Elem::LOG_R, at), V::c(-1.0));
    let base = e.fma(V::c(V::Elem::LN2.0), V::lookup(V::Elem::LOG_HI, at));
    let (s, err) = fast_two_sum(base, z);
    let low = e.mla(V::c(V::Elem::LN2.1), V::lookup(V::Elem::LOG_LO, at)) + err;
    let q = z.mla(V::Elem::log_poly(z), V::c(-0.5));
    (s, (z * z).mla(q, low))
}

/// y where x is positive and finite, else the logarithm's special values.
#[inline(always)]
fn fix<V: Simd>(x: V, y: V) -> V {
    let ordinary = V::and(x.gt(V::c(0.0)), x.lt(V::c(f64::INFINITY)));
    if V::any(V::not(ordinary)) {
        let y = V::select(ordinary, y, x);
        let y = V::select(x.lt(V::c(0.0)), V::c(f64::NAN), y);
        V::select(x.eq(V::c(0.0)), V::c(f64::NEG_INFINITY), y)
    } else {
        y
    }
}

/// ln((h + l) · 2^shift) for h positive and finite, |l| at most half an ulp of h.
#[inline(always)]
pub(super) fn log_of_sum<V: Simd>(h: V, l: V, shift: V) -> V {
    let (m, e) = h.split();
    let at = V::bits_shr(m.bits(), V::Elem::MANTISSA - 4);
    let r = V::lookup(V::Elem::LOG_R, at);
    let ml = l.scale_roughly(-e);
    let (z, zl) = fast_two_sum(m.fma(r, V::c(-1.0)), ml * r);
    let e = e + shift;
    let base = e.fma(V::c(V::Elem::LN2.0), V::lookup(V::Elem::LOG_HI, at));
    let (s, err) = fast_two_sum(base, z);
    let low = e.mla(V::c(V::Elem::LN2.1), V::lookup(V::Elem::LOG_LO, at)) + (err + zl);
    let q = z.mla(V::Elem::log_poly(z), V::c(-0.5));
    s + (z * z).mla(q, low)
}

#[inline(always)]
pub(super) fn log1p<V: Simd>(x: V) -> V {
    let (most, least) = (V::c(1.0).max(x), V::c(1.0).min(x));
    let (h, l) = fast_two_sum(most, least);
    let y = log_of_sum(h, l, V::c(0.0));
    let ordinary = V::and(x.gt(V::c(-1.0)), x.lt(V::c(f64::INFINITY)));
    let y = if V::any(V::not(ordinary)) {
        let y = V::select(ordinary, y, x);
        let y = V::select(x.lt(V::c(-1.0)), V::c(f64::NAN), y);
        V::select(x.eq(V::c(-1.0)), V::c(f64::NEG_INFINITY), y)
    } else {
        y
    };
    y.copysign(x)
}

/// ln x as a pair good to some 62 bits, for x positive and finite.
#[inline(always)]
pub(super) fn log_pair<V: Simd64>(x: V) -> (V, V) {
    let (m, e) = x.split();
    let at = V::bits_shr(m.bits(), 48);
    let (p, zl) = two_prod(m, V::lookup(&t::LOG_R, at));
    // exact; where zl is not small beside z, the table's entry is large beside both
    let z = p - V::c(1.0);
    let (z2, z2l) = two_prod(z, z);
    let (z3, z3l) = two_prod(z2, z);
    let third = z.mla(estrin(z, &t::LOG_TAIL), V::c(1.0 / 3.0));
    let (s, e1) = fast_two_sum(z, z2 * V::c(-0.5));
    let (s, e2) = fast_two_sum(s, z3 * third);
    let (s, e3) = fast_two_sum(e.fma(V::c(t::LN2_HI), V::lookup(&t::LOG_HI, at)), s);
    let cubic = z3.fma(third, -(z3 * third)) + z2l.mla(z, z3l) * third;
    let small = e.mla(V::c(t::LN2_LO), V::lookup(&t::LOG_LO, at)) + zl.mla(z2 - z, z2l.mla(V::c(-0.5), zl));
    fast_two_sum(s, (e1 + e2) + (e3 + (cubic + small)))
}

/// ln(h + l) as a pair good to some 66 bits, for h positive and finite, |l| at most half an ulp of h.
#[inline(always)]
pub(super) fn log_dd<V: Simd64>(h: V, l: V) -> (V, V) {
    let (m, e) = h.split();
    let at = V::bits_shr(m.bits(), 48);
    let r = V::lookup(&t::LOG_R, at);
    let ml = l.scale_roughly(-e);
    let (p, pl) = two_prod(m, r);
    // p is within 1/16 of 1: the difference is exact.
    let (z, zl) = fast_two_sum(p - V::c(1.0), ml.mla(r, pl));
    let (z2, z2l) = two_prod(z, z);
    let z2l = (z + z).mla(zl, z2l);
    let (z3, z3l) = two_prod(z2, z);
    let z3l = z3l + z2l.mla(z, z2 * zl);
    let third = V::c(1.0 / 3.0);
    let (c, cl) = two_prod(z3, third);
    let cl = cl + z3.mla(V::c(t::THIRD_LO), z3l * third);
    let tail = z2 * z2 * estrin(z, &t::LOG_TAIL);
    let (s, e1) = fast_two_sum(z, z2 * V::c(-0.5));
    let (s, e2) = fast_two_sum(s, c);
    let (s, e3) = fast_two_sum(e.fma(V::c(t::LN2_HI), V::lookup(&t::LOG_HI, at)), s);
    let low = (e1 + e2) + (z2l.mla(V::c(-0.5), zl) + (cl + tail));
    let low = low + e3 + e.mla(V::c(t::LN2_LO), V::lookup(&t::LOG_LO, at));
    fast_two_sum(s, low)
}

#[inline(always)]
pub(super) fn log2<V: Simd>(x: V) -> V {
    in_base(x, V::Elem::INV_LN2)
}

#[inline(always)]
pub(super) fn log10<V: Simd>(x: V) -> V {
    in_base(x, V::Elem::INV_LN10)
}

/// ln x times a constant given in two parts.
#[inline(always)]
fn in_base<V: Simd>(x: V, (high, rest): (f64, f64)) -> V {
    let (s, low) = log_parts(x);
    let (p, pl) = two_prod(s, V::c(high));
    fix(x, p + low.mla(V::c(high), s.mla(V::c(rest), pl)))
}
