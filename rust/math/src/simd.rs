//! One vector type per instruction set and width behind one trait, so that each function is written once.
//!
//! Invariant: values of a vector type are made only inside kernels of its instruction set (through [`Simd::splat`] and
//! [`Simd::load`]), which run only where that set is available. That is why the arithmetic on them is safe to call. Everything
//! is `inline(always)`: intrinsics compile to instructions only once they are inlined into a function with the features.

use super::constants::Constants;
use std::ops::{Add, Div, Mul, Neg, Sub};

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// A floating-point element and the layout of its bits.
pub(super) trait Element: Constants + Copy + PartialOrd {
    /// Stored bits of the significand.
    const MANTISSA: u32;
    /// Bias of the exponent.
    const BIAS: i64;
    /// 1.5 · 2^MANTISSA: adding it rounds to an integer that is then found in the low bits.
    const MAGIC: f64;
    const SIGN_BIT: u64;
    /// The smallest normal number.
    const TINY: f64;
    fn from_f64(x: f64) -> Self;
    /// The C library's fmod, for the rare lane.
    fn fmod(self, other: Self) -> Self;
}

impl Element for f64 {
    const MANTISSA: u32 = 52;
    const BIAS: i64 = 1023;
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    const SIGN_BIT: u64 = 1 << 63;
    const TINY: f64 = f64::MIN_POSITIVE;
    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }
    fn fmod(self, other: f64) -> f64 {
        self % other
    }
}

impl Element for f32 {
    const MANTISSA: u32 = 23;
    const BIAS: i64 = 127;
    const MAGIC: f64 = 12_582_912.0;
    const SIGN_BIT: u64 = 1 << 31;
    const TINY: f64 = f32::MIN_POSITIVE as f64;
    #[inline(always)]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    fn fmod(self, other: f32) -> f32 {
        self % other
    }
}

/// A vector of floating-point lanes.
pub(super) trait Simd:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    type Elem: Element;
    /// One truth value a lane.
    type Mask: Copy;
    /// The lanes' bits as integers.
    type Bits: Copy;
    const LANES: usize;

    /// # Safety
    /// `p` is valid for reads of a whole vector, at any alignment.
    unsafe fn load(p: *const u8) -> Self;
    /// # Safety
    /// `p` is valid for writes of a whole vector, at any alignment.
    unsafe fn store(self, p: *mut u8);
    fn splat(x: Self::Elem) -> Self;

    /// self · b + c, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// self · b + c, rounded once or twice, whichever is cheap.
    fn mla(self, b: Self, c: Self) -> Self;
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn trunc(self) -> Self;
    /// To the nearest integer, ties to even.
    fn rint(self) -> Self;
    /// self < b ? self : b, so b where either is nan.
    fn min(self, b: Self) -> Self;
    /// self > b ? self : b, so b where either is nan.
    fn max(self, b: Self) -> Self;

    fn lt(self, b: Self) -> Self::Mask;
    fn le(self, b: Self) -> Self::Mask;
    fn eq(self, b: Self) -> Self::Mask;
    fn select(m: Self::Mask, yes: Self, no: Self) -> Self;
    fn and(m: Self::Mask, n: Self::Mask) -> Self::Mask;
    fn or(m: Self::Mask, n: Self::Mask) -> Self::Mask;
    fn not(m: Self::Mask) -> Self::Mask;
    fn any(m: Self::Mask) -> bool;
    /// Writes one byte, 0 or 1, a lane.
    /// # Safety
    /// `p` is valid for writes of `LANES` bytes.
    unsafe fn store_mask(m: Self::Mask, p: *mut u8);

    fn bits(self) -> Self::Bits;
    fn from_bits(b: Self::Bits) -> Self;
    fn bits_splat(x: u64) -> Self::Bits;
    fn bits_add(a: Self::Bits, b: Self::Bits) -> Self::Bits;
    fn bits_sub(a: Self::Bits, b: Self::Bits) -> Self::Bits;
    fn bits_and(a: Self::Bits, b: Self::Bits) -> Self::Bits;
    fn bits_or(a: Self::Bits, b: Self::Bits) -> Self::Bits;
    fn bits_xor(a: Self::Bits, b: Self::Bits) -> Self::Bits;
    fn bits_shl(a: Self::Bits, n: u32) -> Self::Bits;
    fn bits_shr(a: Self::Bits, n: u32) -> Self::Bits;
    /// Where the top bit is set.
    fn top_bit(a: Self::Bits) -> Self::Mask;
    /// table[index mod 16]
    fn lookup(table: &'static [Self::Elem; 16], index: Self::Bits) -> Self;

    // What follows is made of the above; an instruction set overrides what it has an instruction for.

    #[inline(always)]
    fn c(x: f64) -> Self {
        Self::splat(Self::Elem::from_f64(x))
    }
    #[inline(always)]
    fn gt(self, b: Self) -> Self::Mask {
        b.lt(self)
    }
    #[inline(always)]
    fn ge(self, b: Self) -> Self::Mask {
        b.le(self)
    }
    #[inline(always)]
    fn is_nan(self) -> Self::Mask {
        Self::not(self.eq(self))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self::from_bits(Self::bits_and(self.bits(), Self::bits_splat(Self::Elem::SIGN_BIT - 1)))
    }
    /// The sign bit alone.
    #[inline(always)]
    fn sign(self) -> Self::Bits {
        Self::bits_and(self.bits(), Self::bits_splat(Self::Elem::SIGN_BIT))
    }
    /// self with its sign bit flipped where `sign` has one.
    #[inline(always)]
    fn flip(self, sign: Self::Bits) -> Self {
        Self::from_bits(Self::bits_xor(self.bits(), sign))
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        Self::from_bits(Self::bits_or(self.abs().bits(), sign.sign()))
    }
    /// Where the sign bit is set, of zeros and nans too.
    #[inline(always)]
    fn is_negative(self) -> Self::Mask {
        Self::top_bit(self.bits())
    }
    /// Between lo and hi; nan stays.
    #[inline(always)]
    fn clamp(self, lo: f64, hi: f64) -> Self {
        Self::c(hi).min(Self::c(lo).max(self))
    }
    /// 2^k for integral k from 1-BIAS to BIAS; infinity for BIAS+1, 0 for -BIAS.
    #[inline(always)]
    fn pow2(k: Self) -> Self {
        let shifted = k + Self::c(Self::Elem::MAGIC + Self::Elem::BIAS as f64);
        Self::from_bits(Self::bits_shl(shifted.bits(), Self::Elem::MANTISSA))
    }
    /// self · 2^floor(k), rounded once; |k| up to twice the range of exponents.
    #[inline(always)]
    fn scale(self, k: Self) -> Self {
        let k = k.floor();
        let half = (k * Self::c(0.5)).floor();
        self * Self::pow2(half) * Self::pow2(k - half)
    }
    /// self · 2^k for integral k; beyond ±BIAS, where self is 0 or counts for nothing, with k cut off there.
    #[inline(always)]
    fn scale_roughly(self, k: Self) -> Self {
        self * Self::pow2(k.clamp(-Self::Elem::BIAS as f64, Self::Elem::BIAS as f64))
    }
    /// (m, e) with self = m · 2^e and 0.75 ≤ m < 1.5, for self positive and finite; subnormals included.
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        let digits = Self::Elem::MANTISSA;
        let small = self.lt(Self::c(Self::Elem::TINY));
        let lift = (digits + 2) as f64;
        let x = Self::select(small, self * Self::pow2(Self::c(lift)), self);
        let low = Self::bits_splat((1 << digits) - 1);
        let one = (Self::Elem::BIAS as u64) << digits;
        let b = Self::bits_add(x.bits(), Self::bits_splat(1 << (digits - 1)));
        let m = Self::bits_add(Self::bits_and(b, low), Self::bits_splat(one - (1 << (digits - 1))));
        // The biased exponent as the low bits of 2^digits.
        let two = Self::bits_splat((Self::Elem::BIAS as u64 + digits as u64) << digits);
        let e = Self::from_bits(Self::bits_or(Self::bits_shr(b, digits), two));
        let bias = (1u64 << digits) as f64 + Self::Elem::BIAS as f64;
        let e = Self::select(small, e - Self::c(bias + lift), e - Self::c(bias));
        (Self::from_bits(m), e)
    }
}

/// A vector of f64, which also carries the functions of f32 that are computed in f64.
pub(super) trait Simd64: Simd<Elem = f64> {
    /// Reads LANES f32.
    /// # Safety
    /// `p` is valid for reads of LANES f32, at any alignment.
    unsafe fn load_f32(p: *const u8) -> Self;
    /// Writes LANES f32.
    /// # Safety
    /// `p` is valid for writes of LANES f32, at any alignment.
    unsafe fn store_f32(self, p: *mut u8);
    /// The root to about an ulp, and half its reciprocal (any finite number at 0), for self finite.
    #[inline(always)]
    fn root(self) -> (Self, Self) {
        let root = self.sqrt();
        (root, Self::c(0.5) / Self::c(f64::MIN_POSITIVE).max(root))
    }
}

/// c[0] + c[1] x + c[2] x² + …, by Horner's rule.
#[inline(always)]
pub(super) fn horner<V: Simd, const N: usize>(x: V, c: &'static [f64; N]) -> V {
    let mut p = V::c(c[N - 1]);
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        p = p.mla(x, V::c(c[i]));
    }
    p
}

/// The same by Estrin's scheme: pairs of coefficients, which do not wait for each other, joined by Horner's rule in x².
#[inline(always)]
pub(super) fn estrin<V: Simd, const N: usize>(x: V, c: &'static [f64; N]) -> V {
    let x2 = x * x;
    let pair = |i: usize| x.mla(V::c(c[i + 1]), V::c(c[i]));
    let mut i = N - 2 + N % 2;
    let mut p = if N.is_multiple_of(2) { pair(i) } else { V::c(c[i]) };
    while i > 0 {
        i -= 2;
        p = p.mla(x2, pair(i));
    }
    p
}
