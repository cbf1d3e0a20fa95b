//! AArch64 Advanced SIMD: two f64 or four f32.

use super::{Simd, Simd64};
use std::arch::aarch64::*;
use std::ops::{Add, Div, Mul, Neg, Sub};

macro_rules! neon {
    (
        $name:ident, $elem:ty, $vec:ty, $bits:ty, $uint:ty, $lanes:expr, $load:ident, $store:ident, $dup:ident, $add:ident,
        $sub:ident, $mul:ident, $div:ident, $fma:ident, $sqrt:ident, $floor:ident, $ceil:ident, $trunc:ident, $rint:ident,
        $lt:ident, $le:ident, $eq:ident, $blend:ident, $and:ident, $or:ident, $xor:ident, $maxv:expr, $tobits:ident,
        $frombits:ident, $idup:ident, $sdup:ident, $sint:ty, $iadd:ident, $isub:ident, $shift:ident, $storebits:ident,
        $fromstore:ident, $signed:ident, $negative:ident
    ) => {
        #[derive(Clone, Copy)]
        pub struct $name($vec);

        neon!(@op $name, Add, add, $add);
        neon!(@op $name, Sub, sub, $sub);
        neon!(@op $name, Mul, mul, $mul);
        neon!(@op $name, Div, div, $div);

        impl Neg for $name {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                self.flip(Self::bits_splat(<$elem as super::Element>::SIGN_BIT))
            }
        }

        // SAFETY of every intrinsic below: Advanced SIMD is part of every AArch64 target that Rust's std supports; loads and
        // stores have the caller's promise.
        impl Simd for $name {
            type Elem = $elem;
            type Mask = $bits;
            type Bits = $bits;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn load(p: *const u8) -> Self {
                // SAFETY: see above.
                $name(unsafe { $load(p.cast()) })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut u8) {
                // SAFETY: see above.
                unsafe { $store(p.cast(), self.0) }
            }
            #[inline(always)]
            fn splat(x: $elem) -> Self {
                // SAFETY: see above.
                $name(unsafe { $dup(x) })
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $fma(c.0, self.0, b.0) })
            }
            #[inline(always)]
            fn mla(self, b: Self, c: Self) -> Self {
                self.fma(b, c)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $sqrt(self.0) })
            }
            #[inline(always)]
            fn floor(self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $floor(self.0) })
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $ceil(self.0) })
            }
            #[inline(always)]
            fn trunc(self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $trunc(self.0) })
            }
            #[inline(always)]
            fn rint(self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $rint(self.0) })
            }
            #[inline(always)]
            fn min(self, b: Self) -> Self {
                Self::select(self.lt(b), self, b)
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                Self::select(b.lt(self), self, b)
            }
            #[inline(always)]
            fn lt(self, b: Self) -> $bits {
                // SAFETY: see above.
                unsafe { $lt(self.0, b.0) }
            }
            #[inline(always)]
            fn le(self, b: Self) -> $bits {
                // SAFETY: see above.
                unsafe { $le(self.0, b.0) }
            }
            #[inline(always)]
            fn eq(self, b: Self) -> $bits {
                // SAFETY: see above.
                unsafe { $eq(self.0, b.0) }
            }
            #[inline(always)]
            fn select(m: $bits, yes: Self, no: Self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $blend(m, yes.0, no.0) })
            }
            #[inline(always)]
            fn and(m: $bits, n: $bits) -> $bits {
                Self::bits_and(m, n)
            }
            #[inline(always)]
            fn or(m: $bits, n: $bits) -> $bits {
                Self::bits_or(m, n)
            }
            #[inline(always)]
            fn not(m: $bits) -> $bits {
                Self::bits_xor(m, Self::bits_splat(u64::MAX))
            }
            #[inline(always)]
            fn any(m: $bits) -> bool {
                // SAFETY: see above.
                unsafe { $maxv(m) != 0 }
            }
            #[inline(always)]
            unsafe fn store_mask(m: $bits, p: *mut u8) {
                let mut lanes: [$uint; $lanes] = [0; $lanes];
                // SAFETY: the array has room for the vector, and the caller for the bytes.
                unsafe {
                    $storebits(lanes.as_mut_ptr(), m);
                    for (i, lane) in lanes.iter().enumerate() {
                        p.add(i).write((*lane & 1) as u8);
                    }
                }
            }
            #[inline(always)]
            fn bits(self) -> $bits {
                // SAFETY: see above.
                unsafe { $tobits(self.0) }
            }
            #[inline(always)]
            fn from_bits(b: $bits) -> Self {
                // SAFETY: see above.
                $name(unsafe { $frombits(b) })
            }
            #[inline(always)]
            fn bits_splat(x: u64) -> $bits {
                // SAFETY: see above.
                unsafe { $idup(x as $uint) }
            }
            #[inline(always)]
            fn bits_add(a: $bits, b: $bits) -> $bits {
                // SAFETY: see above.
                unsafe { $iadd(a, b) }
            }
            #[inline(always)]
            fn bits_sub(a: $bits, b: $bits) -> $bits {
                // SAFETY: see above.
                unsafe { $isub(a, b) }
            }
            #[inline(always)]
            fn bits_and(a: $bits, b: $bits) -> $bits {
                // SAFETY: see above.
                unsafe { $and(a, b) }
            }
            #[inline(always)]
            fn bits_or(a: $bits, b: $bits) -> $bits {
                // SAFETY: see above.
                unsafe { $or(a, b) }
            }
            #[inline(always)]
            fn bits_xor(a: $bits, b: $bits) -> $bits {
                // SAFETY: see above.
                unsafe { $xor(a, b) }
            }
            #[inline(always)]
            fn bits_shl(a: $bits, n: u32) -> $bits {
                // SAFETY: see above.
                unsafe { $shift(a, $sdup(n as $sint)) }
            }
            #[inline(always)]
            fn bits_shr(a: $bits, n: u32) -> $bits {
                // SAFETY: see above; a negative count shifts right.
                unsafe { $shift(a, $sdup(-(n as $sint))) }
            }
            #[inline(always)]
            fn top_bit(a: $bits) -> $bits {
                // SAFETY: see above.
                unsafe { $negative($signed(a)) }
            }
            #[inline(always)]
            fn lookup(table: &'static [$elem; 16], index: $bits) -> Self {
                let mut at: [$uint; $lanes] = [0; $lanes];
                let mut found: [$elem; $lanes] = [0.0; $lanes];
                // SAFETY: both arrays have room for a vector.
                unsafe {
                    $storebits(at.as_mut_ptr(), index);
                    for i in 0..$lanes {
                        found[i] = table[(at[i] & 15) as usize];
                    }
                    $name($fromstore(found.as_ptr()))
                }
            }
        }
    };
    (@op $name:ident, $trait:ident, $method:ident, $intrinsic:ident) => {
        impl $trait for $name {
            type Output = Self;
            #[inline(always)]
            fn $method(self, b: Self) -> Self {
                // SAFETY: Advanced SIMD is always available.
                $name(unsafe { $intrinsic(self.0, b.0) })
            }
        }
    };
}

#[inline(always)]
unsafe fn max_u64(m: uint64x2_t) -> u32 {
    // SAFETY: Advanced SIMD is always available.
    unsafe { vmaxvq_u32(vreinterpretq_u32_u64(m)) }
}

neon!(
    F64x2,
    f64,
    float64x2_t,
    uint64x2_t,
    u64,
    2,
    vld1q_f64,
    vst1q_f64,
    vdupq_n_f64,
    vaddq_f64,
    vsubq_f64,
    vmulq_f64,
    vdivq_f64,
    vfmaq_f64,
    vsqrtq_f64,
    vrndmq_f64,
    vrndpq_f64,
    vrndq_f64,
    vrndnq_f64,
    vcltq_f64,
    vcleq_f64,
    vceqq_f64,
    vbslq_f64,
    vandq_u64,
    vorrq_u64,
    veorq_u64,
    max_u64,
    vreinterpretq_u64_f64,
    vreinterpretq_f64_u64,
    vdupq_n_u64,
    vdupq_n_s64,
    i64,
    vaddq_u64,
    vsubq_u64,
    vshlq_u64,
    vst1q_u64,
    vld1q_f64,
    vreinterpretq_s64_u64,
    vcltzq_s64
);
neon!(
    F32x4,
    f32,
    float32x4_t,
    uint32x4_t,
    u32,
    4,
    vld1q_f32,
    vst1q_f32,
    vdupq_n_f32,
    vaddq_f32,
    vsubq_f32,
    vmulq_f32,
    vdivq_f32,
    vfmaq_f32,
    vsqrtq_f32,
    vrndmq_f32,
    vrndpq_f32,
    vrndq_f32,
    vrndnq_f32,
    vcltq_f32,
    vcleq_f32,
    vceqq_f32,
    vbslq_f32,
    vandq_u32,
    vorrq_u32,
    veorq_u32,
    vmaxvq_u32,
    vreinterpretq_u32_f32,
    vreinterpretq_f32_u32,
    vdupq_n_u32,
    vdupq_n_s32,
    i32,
    vaddq_u32,
    vsubq_u32,
    vshlq_u32,
    vst1q_u32,
    vld1q_f32,
    vreinterpretq_s32_u32,
    vcltzq_s32
);

impl Simd64 for F64x2 {
    #[inline(always)]
    unsafe fn load_f32(p: *const u8) -> Self {
        // SAFETY: Advanced SIMD is always available; the caller's promise.
        F64x2(unsafe { vcvt_f64_f32(vld1_f32(p.cast())) })
    }
    #[inline(always)]
    unsafe fn store_f32(self, p: *mut u8) {
        // SAFETY: Advanced SIMD is always available; the caller's promise.
        unsafe { vst1_f32(p.cast(), vcvt_f32_f64(self.0)) }
    }
}
