//! erf and erfc, in f64, by polynomials in pieces.

use super::dd::{fast_two_sum, two_prod};
use super::exp::exp_dd;
use super::simd::{Element, Simd64};
use super::tables as t;

/// erf around the nearest multiple of 25/64; beyond 6 it is 1.
#[inline(always)]
pub(super) fn erf<V: Simd64>(x: V) -> V {
    let a = V::c(6.0).min(x.abs());
    let shifted = a.mla(V::c(64.0 / 25.0), V::c(f64::MAGIC));
    let n = shifted - V::c(f64::MAGIC);
    let h = n.fma(V::c(-25.0 / 64.0), a);
    let at = shifted.bits();
    const N: usize = t::ERF_PIECES.len();
    let mut p: V = row(&t::ERF_PIECES, N - 1, at);
    let mut i = N - 1;
    while i > 4 {
        i -= 1;
        p = p.mla(h, row(&t::ERF_PIECES, i, at));
    }
    // c0 + h c1 + (rest of c0 + h (rest of c1 + h p))
    let low = h.mla(h.mla(p, row(&t::ERF_PIECES, 3, at)), row(&t::ERF_PIECES, 1, at));
    let first: V = row(&t::ERF_PIECES, 0, at);
    (first + h.fma(row(&t::ERF_PIECES, 2, at), low)).copysign(x)
}

/// erfc x = e^(-x²) g(4/(x+4)), 2 less that for negative x.
#[inline(always)]
pub(super) fn erfc<V: Simd64>(x: V) -> V {
    let a = V::c(28.0).min(x.abs());
    let (d, dl) = fast_two_sum(V::c(4.0), a);
    let d_swapped = fast_two_sum(a, V::c(4.0)).1;
    let dl = V::select(a.gt(V::c(4.0)), d_swapped, dl);
    let u = V::c(4.0) / d;
    let ul = ((-u).fma(d, V::c(4.0)) - u * dl) * u * V::c(0.25);
    let shifted = u.mla(V::c(16.0), V::c(f64::MAGIC));
    let n = shifted - V::c(f64::MAGIC);
    let h = n.fma(V::c(-1.0 / 16.0), u) + ul;
    let at = V::bits_sub(shifted.bits(), V::bits_splat(1));
    const N: usize = t::ERFCX_PIECES.len();
    let mut p: V = row(&t::ERFCX_PIECES, N - 1, at);
    let mut i = N - 1;
    while i > 2 {
        i -= 1;
        p = p.mla(h, row(&t::ERFCX_PIECES, i, at));
    }
    let (g, gl) = fast_two_sum(row(&t::ERFCX_PIECES, 0, at), h.mla(p, row(&t::ERFCX_PIECES, 1, at)));
    let (s, sl) = two_prod(a, a);
    let (k, e, el) = exp_dd(-s, -sl);
    let (y, yl) = two_prod(e, g);
    let y = (y + (e.mla(gl, el.mla(g, yl)))).scale(k);
    V::select(x.lt(V::c(0.0)), V::c(2.0) - y, y)
}

/// Coefficient i of each lane's piece.
#[inline(always)]
fn row<V: Simd64>(pieces: &'static [[f64; 16]], i: usize, at: V::Bits) -> V {
    V::lookup(&pieces[i], at)
}
