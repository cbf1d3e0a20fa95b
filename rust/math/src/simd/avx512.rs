//! AVX-512: eight f64 or sixteen f32.

use super::{Simd, Simd64};
use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Neg, Sub};

macro_rules! avx512 {
    (
        $name:ident, $elem:ty, $vec:ty, $mask:ty, $lanes:expr, $load:ident, $store:ident, $set1:ident, $add:ident, $sub:ident,
        $mul:ident, $div:ident, $fma:ident, $sqrt:ident, $round:ident, $min:ident, $max:ident, $cmp:ident, $blend:ident,
        $tobits:ident, $frombits:ident, $iset1:ident, $int:ty, $iadd:ident, $isub:ident, $shl:ident, $shr:ident, $scalef:ident,
        $getexp:ident, $getmant:ident, $topbit:ident, $storemask:expr, $lookup:expr
    ) => {
        #[derive(Clone, Copy)]
        pub struct $name($vec);

        avx512!(@op $name, Add, add, $add);
        avx512!(@op $name, Sub, sub, $sub);
        avx512!(@op $name, Mul, mul, $mul);
        avx512!(@op $name, Div, div, $div);

        impl Neg for $name {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                self.flip(Self::bits_splat(<$elem as super::Element>::SIGN_BIT))
            }
        }

        // SAFETY of every intrinsic below: a value of this type, or the caller, shows that AVX-512 is available (see the
        // invariant of the module above); loads and stores have the caller's promise.
        impl Simd for $name {
            type Elem = $elem;
            type Mask = $mask;
            type Bits = __m512i;
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
                $name(unsafe { $set1(x) })
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $fma(self.0, b.0, c.0) })
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
                $name(unsafe { $round::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0) })
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $round::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(self.0) })
            }
            #[inline(always)]
            fn trunc(self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $round::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(self.0) })
            }
            #[inline(always)]
            fn rint(self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $round::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
            }
            #[inline(always)]
            fn min(self, b: Self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $min(self.0, b.0) })
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $max(self.0, b.0) })
            }
            #[inline(always)]
            fn lt(self, b: Self) -> $mask {
                // SAFETY: see above.
                unsafe { $cmp::<_CMP_LT_OQ>(self.0, b.0) }
            }
            #[inline(always)]
            fn le(self, b: Self) -> $mask {
                // SAFETY: see above.
                unsafe { $cmp::<_CMP_LE_OQ>(self.0, b.0) }
            }
            #[inline(always)]
            fn eq(self, b: Self) -> $mask {
                // SAFETY: see above.
                unsafe { $cmp::<_CMP_EQ_OQ>(self.0, b.0) }
            }
            #[inline(always)]
            fn is_nan(self) -> $mask {
                // SAFETY: see above.
                unsafe { $cmp::<_CMP_UNORD_Q>(self.0, self.0) }
            }
            #[inline(always)]
            fn select(m: $mask, yes: Self, no: Self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $blend(m, no.0, yes.0) })
            }
            #[inline(always)]
            fn and(m: $mask, n: $mask) -> $mask {
                m & n
            }
            #[inline(always)]
            fn or(m: $mask, n: $mask) -> $mask {
                m | n
            }
            #[inline(always)]
            fn not(m: $mask) -> $mask {
                !m
            }
            #[inline(always)]
            fn any(m: $mask) -> bool {
                m != 0
            }
            #[inline(always)]
            unsafe fn store_mask(m: $mask, p: *mut u8) {
                // SAFETY: see above.
                unsafe { $storemask(m, p) }
            }
            #[inline(always)]
            fn bits(self) -> __m512i {
                // SAFETY: see above.
                unsafe { $tobits(self.0) }
            }
            #[inline(always)]
            fn from_bits(b: __m512i) -> Self {
                // SAFETY: see above.
                $name(unsafe { $frombits(b) })
            }
            #[inline(always)]
            fn bits_splat(x: u64) -> __m512i {
                // SAFETY: see above.
                unsafe { $iset1(x as $int) }
            }
            #[inline(always)]
            fn bits_add(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: see above.
                unsafe { $iadd(a, b) }
            }
            #[inline(always)]
            fn bits_sub(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: see above.
                unsafe { $isub(a, b) }
            }
            #[inline(always)]
            fn bits_and(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: see above.
                unsafe { _mm512_and_si512(a, b) }
            }
            #[inline(always)]
            fn bits_or(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: see above.
                unsafe { _mm512_or_si512(a, b) }
            }
            #[inline(always)]
            fn bits_xor(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: see above.
                unsafe { _mm512_xor_si512(a, b) }
            }
            #[inline(always)]
            fn bits_shl(a: __m512i, n: u32) -> __m512i {
                // SAFETY: see above.
                unsafe { $shl(a, _mm_cvtsi32_si128(n as i32)) }
            }
            #[inline(always)]
            fn bits_shr(a: __m512i, n: u32) -> __m512i {
                // SAFETY: see above.
                unsafe { $shr(a, _mm_cvtsi32_si128(n as i32)) }
            }
            #[inline(always)]
            fn top_bit(a: __m512i) -> $mask {
                // SAFETY: see above.
                unsafe { $topbit(a) }
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                // SAFETY: see above. 0xca is: first operand ? second : third.
                unsafe {
                    let top = Self::bits_splat(<$elem as super::Element>::SIGN_BIT);
                    Self::from_bits(_mm512_ternarylogic_epi64::<0xca>(top, sign.bits(), self.bits()))
                }
            }
            #[inline(always)]
            fn scale_roughly(self, k: Self) -> Self {
                self.scale(k)
            }
            #[inline(always)]
            fn lookup(table: &'static [$elem; 16], index: __m512i) -> Self {
                // SAFETY: see above; the table has sixteen entries, and only the index's low four bits count.
                $name(unsafe { $lookup(table, index) })
            }
            #[inline(always)]
            fn scale(self, k: Self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $scalef(self.0, k.0) })
            }
            #[inline(always)]
            fn split(self) -> (Self, Self) {
                // SAFETY: see above.
                unsafe {
                    let m = $getmant::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_SRC>(self.0);
                    ($name(m), $name($sub($getexp(self.0), $getexp(m))))
                }
            }
        }
    };
    (@op $name:ident, $trait:ident, $method:ident, $intrinsic:ident) => {
        impl $trait for $name {
            type Output = Self;
            #[inline(always)]
            fn $method(self, b: Self) -> Self {
                // SAFETY: both values show that AVX-512 is available.
                $name(unsafe { $intrinsic(self.0, b.0) })
            }
        }
    };
}

#[inline(always)]
unsafe fn lookup_pd(table: &'static [f64; 16], index: __m512i) -> __m512d {
    // SAFETY: AVX-512 is available, and the table has sixteen entries.
    unsafe {
        let p = table.as_ptr();
        _mm512_permutex2var_pd(_mm512_loadu_pd(p), index, _mm512_loadu_pd(p.add(8)))
    }
}

#[inline(always)]
unsafe fn lookup_ps(table: &'static [f32; 16], index: __m512i) -> __m512 {
    // SAFETY: AVX-512 is available, and the table has sixteen entries.
    unsafe { _mm512_permutexvar_ps(index, _mm512_loadu_ps(table.as_ptr())) }
}

#[inline(always)]
unsafe fn store_mask8(m: __mmask8, p: *mut u8) {
    // SAFETY: AVX-512 BW and VL are available; the caller has room for eight bytes.
    unsafe { _mm_storel_epi64(p.cast(), _mm_maskz_set1_epi8(m as __mmask16, 1)) }
}

#[inline(always)]
unsafe fn store_mask16(m: __mmask16, p: *mut u8) {
    // SAFETY: AVX-512 BW and VL are available; the caller has room for sixteen bytes.
    unsafe { _mm_storeu_si128(p.cast(), _mm_maskz_set1_epi8(m, 1)) }
}

avx512!(
    F64x8,
    f64,
    __m512d,
    __mmask8,
    8,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_set1_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_mul_pd,
    _mm512_div_pd,
    _mm512_fmadd_pd,
    _mm512_sqrt_pd,
    _mm512_roundscale_pd,
    _mm512_min_pd,
    _mm512_max_pd,
    _mm512_cmp_pd_mask,
    _mm512_mask_blend_pd,
    _mm512_castpd_si512,
    _mm512_castsi512_pd,
    _mm512_set1_epi64,
    i64,
    _mm512_add_epi64,
    _mm512_sub_epi64,
    _mm512_sll_epi64,
    _mm512_srl_epi64,
    _mm512_scalef_pd,
    _mm512_getexp_pd,
    _mm512_getmant_pd,
    _mm512_movepi64_mask,
    store_mask8,
    lookup_pd
);
avx512!(
    F32x16,
    f32,
    __m512,
    __mmask16,
    16,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_fmadd_ps,
    _mm512_sqrt_ps,
    _mm512_roundscale_ps,
    _mm512_min_ps,
    _mm512_max_ps,
    _mm512_cmp_ps_mask,
    _mm512_mask_blend_ps,
    _mm512_castps_si512,
    _mm512_castsi512_ps,
    _mm512_set1_epi32,
    i32,
    _mm512_add_epi32,
    _mm512_sub_epi32,
    _mm512_sll_epi32,
    _mm512_srl_epi32,
    _mm512_scalef_ps,
    _mm512_getexp_ps,
    _mm512_getmant_ps,
    _mm512_movepi32_mask,
    store_mask16,
    lookup_ps
);

impl Simd64 for F64x8 {
    #[inline(always)]
    unsafe fn load_f32(p: *const u8) -> Self {
        // SAFETY: AVX-512 is available; the caller's promise.
        F64x8(unsafe { _mm512_cvtps_pd(_mm256_loadu_ps(p.cast())) })
    }
    #[inline(always)]
    unsafe fn store_f32(self, p: *mut u8) {
        // SAFETY: AVX-512 is available; the caller's promise.
        unsafe { _mm256_storeu_ps(p.cast(), _mm512_cvtpd_ps(self.0)) }
    }
    #[inline(always)]
    fn root(self) -> (Self, Self) {
        // SAFETY: AVX-512 is available. The reciprocal root of 0, infinity, is left out.
        let r = F64x8(unsafe {
            _mm512_maskz_rsqrt14_pd(_mm512_cmp_pd_mask::<_CMP_NEQ_UQ>(self.0, _mm512_setzero_pd()), self.0)
        });
        // Goldschmidt's iteration for both.
        let half = Self::c(0.5);
        let (mut root, mut h) = (self * r, r * half);
        for _ in 0..2 {
            let e = (-root).fma(h, half);
            root = root.fma(e, root);
            h = h.fma(e, h);
        }
        (root, h)
    }
}
