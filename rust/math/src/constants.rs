//! What the exponential and the logarithm need to know about an element type.

use super::simd::{Simd, estrin};
use super::tables as t;

/// Tables, reductions and polynomials in one width.
pub(super) trait Constants: Sized + 'static {
    /// Where e^x has long overflowed and underflowed to 0.
    const EXP_MAX: f64;
    const EXP_MIN: f64;
    /// Beyond it e^x - 1 is e^x, and up to it 2^(n/16) does not overflow.
    const EXPM1_EDGE: f64;
    /// ln 2 / 16 in two parts: products of the first with the n that occur, taken from x, are exact.
    const LN2_16: (f64, f64);
    /// 2^(j/16), by how much of itself it is short, and its bits less j times the bit of 1/16 in the exponent's field.
    const EXP2: &'static [Self; 16];
    const EXP2_REST: &'static [Self; 16];
    const EXP2_SHIFTED: &'static [Self; 16];
    /// ln 2 in two parts: products of the first with exponents, plus `LOG_HI`, are exact.
    const LN2: (f64, f64);
    /// 1 / ln 2 and 1 / ln 10 in two parts.
    const INV_LN2: (f64, f64);
    const INV_LN10: (f64, f64);
    /// 1/m in few bits, its -ln and what that lacks, by the first four bits of m's fraction.
    const LOG_R: &'static [Self; 16];
    const LOG_HI: &'static [Self; 16];
    const LOG_LO: &'static [Self; 16];
    /// (e^r - 1 - r) / r² for |r| ≤ ln 2 / 32.
    fn exp_poly<V: Simd<Elem = Self>>(r: V) -> V;
    /// (ln(1 + z) - z + z²/2) / z³ for -0.045 ≤ z ≤ 0.0625.
    fn log_poly<V: Simd<Elem = Self>>(z: V) -> V;
    /// (sinh x - x) / x³ in x², for |x| ≤ 1.
    fn sinh_poly<V: Simd<Elem = Self>>(x2: V) -> V;
}

impl Constants for f64 {
    const EXP_MAX: f64 = 720.0;
    const EXP_MIN: f64 = -760.0;
    const EXPM1_EDGE: f64 = 709.0;
    const LN2_16: (f64, f64) = (t::LN2_16_HI, t::LN2_16_LO);
    const EXP2: &'static [f64; 16] = &t::EXP2;
    const EXP2_REST: &'static [f64; 16] = &t::EXP2_REST;
    const EXP2_SHIFTED: &'static [f64; 16] = &t::EXP2_SHIFTED;
    const LN2: (f64, f64) = (t::LN2_HI, t::LN2_LO);
    const INV_LN2: (f64, f64) = (t::INV_LN2_HI, t::INV_LN2_LO);
    const INV_LN10: (f64, f64) = (t::INV_LN10_HI, t::INV_LN10_LO);
    const LOG_R: &'static [f64; 16] = &t::LOG_R;
    const LOG_HI: &'static [f64; 16] = &t::LOG_HI;
    const LOG_LO: &'static [f64; 16] = &t::LOG_LO;
    #[inline(always)]
    fn exp_poly<V: Simd<Elem = f64>>(r: V) -> V {
        estrin(r, &t::EXP_POLY)
    }
    #[inline(always)]
    fn log_poly<V: Simd<Elem = f64>>(z: V) -> V {
        estrin(z, &t::LOG_POLY)
    }
    #[inline(always)]
    fn sinh_poly<V: Simd<Elem = f64>>(x2: V) -> V {
        estrin(x2, &t::SINH_POLY)
    }
}

impl Constants for f32 {
    const EXP_MAX: f64 = 95.0;
    const EXP_MIN: f64 = -110.0;
    const EXPM1_EDGE: f64 = 88.0;
    const LN2_16: (f64, f64) = (t::LN2_16_HI_F32, t::LN2_16_LO_F32);
    const EXP2: &'static [f32; 16] = &t::EXP2_F32;
    const EXP2_REST: &'static [f32; 16] = &t::EXP2_REST_F32;
    const EXP2_SHIFTED: &'static [f32; 16] = &t::EXP2_SHIFTED_F32;
    const LN2: (f64, f64) = (t::LN2_HI_F32, t::LN2_LO_F32);
    const INV_LN2: (f64, f64) = (t::INV_LN2_HI_F32, t::INV_LN2_LO_F32);
    const INV_LN10: (f64, f64) = (t::INV_LN10_HI_F32, t::INV_LN10_LO_F32);
    const LOG_R: &'static [f32; 16] = &t::LOG_R_F32;
    const LOG_HI: &'static [f32; 16] = &t::LOG_HI_F32;
    const LOG_LO: &'static [f32; 16] = &t::LOG_LO_F32;
    #[inline(always)]
    fn exp_poly<V: Simd<Elem = f32>>(r: V) -> V {
        estrin(r, &t::EXP_POLY_F32)
    }
    #[inline(always)]
    fn log_poly<V: Simd<Elem = f32>>(z: V) -> V {
        estrin(z, &t::LOG_POLY_F32)
    }
    #[inline(always)]
    fn sinh_poly<V: Simd<Elem = f32>>(x2: V) -> V {
        estrin(x2, &t::SINH_POLY_F32)
    }
}
