//! pow, cbrt and the sums of exponentials, in f64.

use super::dd::{fast_two_sum, two_prod, two_sum};
use super::exp::{exp, exp_dd};
use super::log::{log, log_dd, log_pair, log1p};
use super::simd::{Element, Simd64, horner};
use super::tables as t;

/// C's pow: e^(y ln x) with both in pairs.
#[inline(always)]
pub(super) fn pow<V: Simd64>(x: V, y: V) -> V {
    let (h, l) = log_pair(x.abs());
    let (p, pl) = two_prod(y, h);
    let pl = V::select(p.abs().lt(V::c(800.0)), y.mla(l, pl), V::c(0.0));
    let (k, e, el) = exp_dd(p.clamp(-760.0, 720.0), pl);
    pow_fix(x, y, (e + el).scale(k))
}

/// The same for f32 in f64, where no pairs are needed.
#[inline(always)]
pub(super) fn pow_f32<V: Simd64>(x: V, y: V) -> V {
    pow_fix(x, y, exp(y * log(x.abs())))
}

/// C's special cases; r is the result for x positive and finite and y finite, and |x|^y for negative x.
#[inline(always)]
fn pow_fix<V: Simd64>(x: V, y: V, r: V) -> V {
    let (one, zero, inf) = (V::c(1.0), V::c(0.0), V::c(f64::INFINITY));
    let usual = V::and(V::and(x.gt(zero), x.lt(inf)), y.abs().lt(inf));
    if !V::any(V::not(usual)) {
        return r;
    }
    let a = x.abs();
    let whole = y.rint().eq(y);
    // Beyond 2^53 every number is even.
    let half = y * V::c(0.5);
    let odd = V::and(V::and(whole, V::not(half.rint().eq(half))), y.abs().lt(V::c(9_007_199_254_740_992.0)));
    let grows = y.gt(zero);
    // x = 0 or infinite; then y infinite; then nan.
    let at_zero = V::select(grows, zero, inf);
    let at_inf = V::select(grows, inf, zero);
    let r = V::select(a.eq(zero), at_zero, V::select(a.eq(inf), at_inf, r));
    let r = V::select(V::and(x.is_negative(), odd), -r, r);
    let fraction = V::and(x.lt(zero), V::and(a.lt(inf), V::not(whole)));
    let r = V::select(fraction, V::c(f64::NAN), r);
    let to_inf = V::select(a.gt(one), at_inf, V::select(a.lt(one), at_zero, one));
    let r = V::select(y.abs().eq(inf), to_inf, r);
    let r = V::select(V::or(x.is_nan(), y.is_nan()), x + y, r);
    V::select(V::or(y.eq(zero), x.eq(one)), one, r)
}

#[inline(always)]
pub(super) fn cbrt<V: Simd64>(x: V) -> V {
    let a = x.abs();
    let (m, e) = a.split();
    // e = 3q + s, s in -1, 0, 1
    let q = e.mla(V::c(1.0 / 3.0), V::c(f64::MAGIC)) - V::c(f64::MAGIC);
    let at = (q.fma(V::c(-3.0), e) + V::c(f64::MAGIC)).bits();
    // z is about (m 2^s)^(-1/3); one step of order three makes that 32 bits
    let z = horner(m, &t::RCBRT_POLY) * V::lookup(&t::RCBRT_TWO, at);
    let m = m * V::lookup(&t::TWO, at);
    let h = (-(m * z)).fma(z * z, V::c(1.0));
    let z = (z * h).mla(h.mla(V::c(2.0 / 9.0), V::c(1.0 / 3.0)), z);
    // the root to 26 bits, whose square is exact, and what its cube lacks
    let cut = V::c(1.5 * (1u64 << 27) as f64);
    let y = (m * z).mla(z, cut) - cut;
    let rest = (-(y * y)).fma(y, m) * (z * z) * V::c(1.0 / 3.0);
    // z belongs to m, and not to the cube of y: hence the second order
    let y = rest.mla(rest.mla(z, V::c(1.0)), y).scale_roughly(q);
    let plain = V::and(a.gt(V::c(0.0)), a.lt(V::c(f64::INFINITY)));
    V::select(plain, y, a).copysign(x)
}

/// max(a, b) + ln(1 + e^-|a-b|) with everything after the maximum in pairs, for the results near 0; `unit` is the logarithm
/// of the base, as a pair.
#[inline(always)]
fn log_add<V: Simd64>(a: V, b: V, to_natural: (f64, f64), from_natural: (f64, f64), tie: f64) -> V {
    let inf = V::c(f64::INFINITY);
    let most = a.max(b);
    let least = V::select(a.gt(b), b, a);
    let (d, dl) = two_sum(least, -most);
    let finite = d.abs().lt(inf);
    // In units of the natural logarithm.
    let (n, nl) = two_prod(d, V::c(to_natural.0));
    let nl = d.mla(V::c(to_natural.1), dl.mla(V::c(to_natural.0), nl));
    let nl = V::select(n.gt(V::c(-760.0)), nl, V::c(0.0));
    let (k, e, el) = exp_dd(n.clamp(-760.0, 0.0), nl);
    let (e, el) = fast_two_sum(e.scale(k), el.scale(k));
    let (h, hl) = fast_two_sum(V::c(1.0), e);
    let (y, yl) = log_dd(h, hl + el);
    let (z, zl) = two_prod(y, V::c(from_natural.0));
    let zl = y.mla(V::c(from_natural.1), yl.mla(V::c(from_natural.0), zl));
    let (s, sl) = two_sum(most, z);
    let r = s + (sl + zl);
    // One infinite: the larger one; equal ones, infinite or not: a + ln 2.
    let r = V::select(finite, r, V::select(d.is_nan(), a + b, most));
    V::select(a.eq(b), a + V::c(tie), r)
}

#[inline(always)]
pub(super) fn logaddexp<V: Simd64>(a: V, b: V) -> V {
    log_add(a, b, (1.0, 0.0), (1.0, 0.0), std::f64::consts::LN_2)
}

#[inline(always)]
pub(super) fn logaddexp2<V: Simd64>(a: V, b: V) -> V {
    log_add(a, b, (t::LN2, t::LN2_REST), (t::INV_LN2_HI, t::INV_LN2_LO), 1.0)
}

/// x ln y, 0 where x is 0 and y is not nan.
#[inline(always)]
pub(super) fn xlogy<V: Simd64>(x: V, y: V) -> V {
    zero_wins(x, y, x * log(y))
}

/// x ln(1 + y), 0 where x is 0 and y is not nan.
#[inline(always)]
pub(super) fn xlog1py<V: Simd64>(x: V, y: V) -> V {
    zero_wins(x, y, x * log1p(y))
}

#[inline(always)]
fn zero_wins<V: Simd64>(x: V, y: V, product: V) -> V {
    V::select(V::and(x.eq(V::c(0.0)), y.eq(y)), V::c(0.0), product)
}
