//! sin, cos and tan, in f64.
//!
//! x = n π/2 + r with |r| ≤ π/4 and π/2 = P1 + P2 + P3. x - n P1 is exact in one FMA: a multiple of 2^-53, below 1. P2 has 33
//! bits, so that n P2 is exact, and x - n P1 - n P2 is exactly r plus what r lacks, even where x is next to a multiple of
//! π/2 and r1 is smaller than n P2. Beyond 2^20 the lanes are reduced one by one with integers.

use super::dd::{fast_two_sum, quotient};
use super::simd::{Element, Simd64, estrin};
use super::tables as t;

/// x reduced: r, what it lacks, and the bits whose last two count the quarter turns.
#[inline(always)]
fn reduce<V: Simd64>(x: V) -> (V, V, V::Bits) {
    let shifted = x.mla(V::c(t::TWO_OVER_PI), V::c(f64::MAGIC));
    let n = shifted - V::c(f64::MAGIC);
    let r1 = n.fma(V::c(-t::PIO2_1), x);
    let r = n.fma(V::c(-t::PIO2_2), r1);
    let rl = n.mla(V::c(-t::PIO2_3), n.fma(V::c(-t::PIO2_2), r1 - r));
    if V::any(V::not(x.abs().lt(V::c(REACH)))) {
        // through memory, and by one call alone, so that all stays in registers where it is not needed
        let mut far = Far { at: [0.0; 8], r: [0.0; 8], rl: [0.0; 8], shifted: [0.0; 8] };
        // SAFETY: no vector has more than eight f64.
        unsafe {
            x.store(far.at.as_mut_ptr().cast());
            r.store(far.r.as_mut_ptr().cast());
            rl.store(far.rl.as_mut_ptr().cast());
            shifted.store(far.shifted.as_mut_ptr().cast());
            far.reduce(V::LANES);
            let load = |from: &[f64; 8]| V::load(from.as_ptr().cast());
            (load(&far.r), load(&far.rl), load(&far.shifted).bits())
        }
    } else {
        (r, rl, shifted.bits())
    }
}

/// The lanes of a vector, some of them beyond `REACH`.
struct Far {
    at: [f64; 8],
    r: [f64; 8],
    rl: [f64; 8],
    shifted: [f64; 8],
}

impl Far {
    /// Reduces those.
    #[cold]
    #[inline(never)]
    fn reduce(&mut self, lanes: usize) {
        for i in 0..lanes {
            let x = self.at[i];
            if x.is_nan() || x.abs() >= REACH {
                let turns;
                (self.r[i], self.rl[i], turns) = reduce_huge(x);
                self.shifted[i] = turns + f64::MAGIC;
            }
        }
    }
}

/// Where the reduction by three parts of π/2 ends.
const REACH: f64 = (1u64 << 20) as f64;

/// Payne and Hanek's reduction of one number beyond `REACH`: the bits of 2/π that matter, times the significand, in integers.
fn reduce_huge(x: f64) -> (f64, f64, f64) {
    if !x.is_finite() {
        return (f64::NAN, f64::NAN, 0.0);
    }
    let bits = x.to_bits();
    let significand = ((bits & ((1 << 52) - 1)) | (1 << 52)) as u128;
    // |x| = significand · 2^exponent. Bits of 2/π worth 2^(2 - exponent) and more give whole turns. The table starts with a
    // word of zeros, so that the first bit that matters has an index of 0 or more: REACH makes exponent -32 at least.
    let exponent = ((bits >> 52) & 0x7ff) as i64 - 1075;
    let first = (exponent + 62) as usize;
    let (word, shift) = (first / 64, first % 64);
    let pick = |i: usize| -> u128 {
        let two = ((t::TWO_OVER_PI_BITS[word + i] as u128) << 64) | t::TWO_OVER_PI_BITS[word + i + 1] as u128;
        (two << shift) >> 64
    };
    // The product modulo 2^192: two bits of quarter turns, then the fraction.
    let (p0, p1, p2) = (significand * pick(0), significand * pick(1), significand * pick(2));
    let mid = (p2 >> 64) + (p1 & u64::MAX as u128);
    let top = (mid >> 64) + (p1 >> 64) + (p0 & u64::MAX as u128);
    let product = (top << 64) | (mid & u64::MAX as u128);
    let fraction = ((product << 2) | ((p2 as u64 >> 62) as u128)) as i128;
    let turns = (product >> 126) as f64 + if fraction < 0 { 1.0 } else { 0.0 };
    let (high, unit) = (fraction as f64, 2f64.powi(-128));
    let low = fraction.wrapping_sub(high as i128) as f64 * unit;
    let high = high * unit;
    let r = high * t::PIO2_1;
    let rl = high.mul_add(t::PIO2_1, -r) + high * t::PIO2_REST + low * t::PIO2_1;
    if x < 0.0 { (-r, -rl, -turns) } else { (r, rl, turns) }
}

/// sin(r + rl) and cos(r + rl), as pairs of which the first part of the sine is r.
#[inline(always)]
fn sin_cos<V: Simd64>(r: V, rl: V) -> ((V, V), (V, V)) {
    let r2 = r * r;
    let half = r2 * V::c(0.5);
    let (w, e) = fast_two_sum(V::c(1.0), -half);
    let sin_low = (r * r2).mla(estrin(r2, &t::SIN_POLY), rl * w);
    let cos_low = (r2 * r2).mla(estrin(r2, &t::COS_POLY), (-r).mla(rl, e));
    ((r, sin_low), (w, cos_low))
}

/// Where bit 0 of `turns` is set.
#[inline(always)]
fn odd<V: Simd64>(turns: V::Bits) -> V::Mask {
    V::top_bit(V::bits_shl(turns, 63))
}

/// Bit 1 of `turns` as a sign.
#[inline(always)]
fn half_turn<V: Simd64>(turns: V::Bits) -> V::Bits {
    V::bits_and(V::bits_shl(turns, 62), V::bits_splat(f64::SIGN_BIT))
}

#[inline(always)]
pub(super) fn sin<V: Simd64>(x: V) -> V {
    let (r, rl, turns) = reduce(x);
    let y = sine(r, rl, turns);
    // The sum in a pair loses the sign of zero.
    V::select(x.eq(V::c(0.0)), x, y)
}

/// Both, with the bits that each has alone.
#[inline(always)]
pub(super) fn sin_and_cos<V: Simd64>(x: V) -> (V, V) {
    let (r, rl, turns) = reduce(x);
    let s = V::select(x.eq(V::c(0.0)), x, sine(r, rl, turns));
    (s, sine(r, rl, V::bits_add(turns, V::bits_splat(1))))
}

#[inline(always)]
pub(super) fn cos<V: Simd64>(x: V) -> V {
    let (r, rl, turns) = reduce(x);
    sine(r, rl, V::bits_add(turns, V::bits_splat(1)))
}

/// sin(r + rl + turns · π/2)
#[inline(always)]
fn sine<V: Simd64>(r: V, rl: V, turns: V::Bits) -> V {
    let ((s, sl), (c, cl)) = sin_cos(r, rl);
    let m = odd::<V>(turns);
    (V::select(m, c, s) + V::select(m, cl, sl)).flip(half_turn::<V>(turns))
}

#[inline(always)]
pub(super) fn tan<V: Simd64>(x: V) -> V {
    let (r, rl, turns) = reduce(x);
    let ((s, sl), (c, cl)) = sin_cos(r, rl);
    let (s, sl) = fast_two_sum(s, sl);
    let (c, cl) = fast_two_sum(c, cl);
    let m = odd::<V>(turns);
    let (n, nl) = (V::select(m, c, s), V::select(m, cl, sl));
    let (d, dl) = (V::select(m, s, c), V::select(m, sl, cl));
    let sign = V::bits_and(V::bits_shl(turns, 63), V::bits_splat(f64::SIGN_BIT));
    let y = quotient(n, nl, d, dl).flip(sign);
    V::select(x.eq(V::c(0.0)), x, y)
}
