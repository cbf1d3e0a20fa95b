//! AVX2 with FMA: four f64 or eight f32. A mask is a vector whose lanes are all ones or all zeros.

use super::{Simd, Simd64};
use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Neg, Sub};

macro_rules! avx2 {
    (
        $name:ident, $elem:ty, $vec:ty, $lanes:expr, $load:ident, $store:ident, $set1:ident, $add:ident, $sub:ident,
        $mul:ident, $div:ident, $fma:ident, $sqrt:ident, $round:ident, $min:ident, $max:ident, $cmp:ident, $blend:ident,
        $and:ident, $or:ident, $xor:ident, $movemask:ident, $tobits:ident, $frombits:ident, $iset1:ident, $int:ty,
        $iadd:ident, $isub:ident, $shl:ident, $shr:ident, $gt:ident, $storemask:expr, $lookup:expr
    ) => {
        #[derive(Clone, Copy)]
        pub struct $name($vec);

        avx2!(@op $name, Add, add, $add);
        avx2!(@op $name, Sub, sub, $sub);
        avx2!(@op $name, Mul, mul, $mul);
        avx2!(@op $name, Div, div, $div);

        impl Neg for $name {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                self.flip(Self::bits_splat(<$elem as super::Element>::SIGN_BIT))
            }
        }

        // SAFETY of every intrinsic below: a value of this type, or the caller, shows that AVX2 and FMA are available (see
        // the invariant of the module above); loads and stores have the caller's promise.
        impl Simd for $name {
            type Elem = $elem;
            type Mask = $vec;
            type Bits = __m256i;
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
            fn lt(self, b: Self) -> $vec {
                // SAFETY: see above.
                unsafe { $cmp::<_CMP_LT_OQ>(self.0, b.0) }
            }
            #[inline(always)]
            fn le(self, b: Self) -> $vec {
                // SAFETY: see above.
                unsafe { $cmp::<_CMP_LE_OQ>(self.0, b.0) }
            }
            #[inline(always)]
            fn eq(self, b: Self) -> $vec {
                // SAFETY: see above.
                unsafe { $cmp::<_CMP_EQ_OQ>(self.0, b.0) }
            }
            #[inline(always)]
            fn is_nan(self) -> $vec {
                // SAFETY: see above.
                unsafe { $cmp::<_CMP_UNORD_Q>(self.0, self.0) }
            }
            #[inline(always)]
            fn select(m: $vec, yes: Self, no: Self) -> Self {
                // SAFETY: see above.
                $name(unsafe { $blend(no.0, yes.0, m) })
            }
            #[inline(always)]
            fn and(m: $vec, n: $vec) -> $vec {
                // SAFETY: see above.
                unsafe { $and(m, n) }
            }
            #[inline(always)]
            fn or(m: $vec, n: $vec) -> $vec {
                // SAFETY: see above.
                unsafe { $or(m, n) }
            }
            #[inline(always)]
            fn not(m: $vec) -> $vec {
                // SAFETY: see above.
                unsafe { $xor(m, $frombits(_mm256_set1_epi64x(-1))) }
            }
            #[inline(always)]
            fn any(m: $vec) -> bool {
                // SAFETY: see above.
                unsafe { $movemask(m) != 0 }
            }
            #[inline(always)]
            unsafe fn store_mask(m: $vec, p: *mut u8) {
                // SAFETY: see above.
                unsafe { $storemask($tobits(m), p) }
            }
            #[inline(always)]
            fn bits(self) -> __m256i {
                // SAFETY: see above.
                unsafe { $tobits(self.0) }
            }
            #[inline(always)]
            fn from_bits(b: __m256i) -> Self {
                // SAFETY: see above.
                $name(unsafe { $frombits(b) })
            }
            #[inline(always)]
            fn bits_splat(x: u64) -> __m256i {
                // SAFETY: see above.
                unsafe { $iset1(x as $int) }
            }
            #[inline(always)]
            fn bits_add(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: see above.
                unsafe { $iadd(a, b) }
            }
            #[inline(always)]
            fn bits_sub(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: see above.
                unsafe { $isub(a, b) }
            }
            #[inline(always)]
            fn bits_and(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: see above.
                unsafe { _mm256_and_si256(a, b) }
            }
            #[inline(always)]
            fn bits_or(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: see above.
                unsafe { _mm256_or_si256(a, b) }
            }
            #[inline(always)]
            fn bits_xor(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: see above.
                unsafe { _mm256_xor_si256(a, b) }
            }
            #[inline(always)]
            fn bits_shl(a: __m256i, n: u32) -> __m256i {
                // SAFETY: see above.
                unsafe { $shl(a, _mm_cvtsi32_si128(n as i32)) }
            }
            #[inline(always)]
            fn bits_shr(a: __m256i, n: u32) -> __m256i {
                // SAFETY: see above.
                unsafe { $shr(a, _mm_cvtsi32_si128(n as i32)) }
            }
            #[inline(always)]
            fn top_bit(a: __m256i) -> $vec {
                // SAFETY: see above.
                unsafe { $frombits($gt(_mm256_setzero_si256(), a)) }
            }
            #[inline(always)]
            fn lookup(table: &'static [$elem; 16], index: __m256i) -> Self {
                // SAFETY: see above; the table has sixteen entries, and only the index's low four bits count.
                $name(unsafe { $lookup(table, index) })
            }
        }
    };
    (@op $name:ident, $trait:ident, $method:ident, $intrinsic:ident) => {
        impl $trait for $name {
            type Output = Self;
            #[inline(always)]
            fn $method(self, b: Self) -> Self {
                // SAFETY: both values show that AVX2 is available.
                $name(unsafe { $intrinsic(self.0, b.0) })
            }
        }
    };
}

#[inline(always)]
unsafe fn lookup_pd(table: &'static [f64; 16], index: __m256i) -> __m256d {
    // SAFETY: AVX2 is available; the masked index stays inside the table.
    unsafe { _mm256_i64gather_pd::<8>(table.as_ptr(), _mm256_and_si256(index, _mm256_set1_epi64x(15))) }
}

#[inline(always)]
unsafe fn lookup_ps(table: &'static [f32; 16], index: __m256i) -> __m256 {
    // SAFETY: AVX2 is available; both halves of the table are read whole, and bit 3 chooses between them.
    unsafe {
        let p = table.as_ptr();
        let low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p), index);
        let high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p.add(8)), index);
        _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index)))
    }
}

#[inline(always)]
unsafe fn store_mask4(m: __m256i, p: *mut u8) {
    // SAFETY: AVX2 is available; the caller has room for four bytes.
    unsafe {
        // The low byte of each lane, side by side in each half.
        let pick = _mm256_setr_epi8(
            0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, //
            -1, -1, 0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
        );
        let bytes = _mm256_shuffle_epi8(_mm256_and_si256(m, _mm256_set1_epi8(1)), pick);
        let both = _mm_or_si128(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        p.cast::<i32>().write_unaligned(_mm_cvtsi128_si32(both));
    }
}

#[inline(always)]
unsafe fn store_mask8(m: __m256i, p: *mut u8) {
    // SAFETY: AVX2 is available; the caller has room for eight bytes.
    unsafe {
        let pick = _mm256_setr_epi8(
            0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, //
            -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1,
        );
        let bytes = _mm256_shuffle_epi8(_mm256_and_si256(m, _mm256_set1_epi8(1)), pick);
        let both = _mm_or_si128(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        _mm_storel_epi64(p.cast(), both);
    }
}

avx2!(
    F64x4,
    f64,
    __m256d,
    4,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_set1_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_div_pd,
    _mm256_fmadd_pd,
    _mm256_sqrt_pd,
    _mm256_round_pd,
    _mm256_min_pd,
    _mm256_max_pd,
    _mm256_cmp_pd,
    _mm256_blendv_pd,
    _mm256_and_pd,
    _mm256_or_pd,
    _mm256_xor_pd,
    _mm256_movemask_pd,
    _mm256_castpd_si256,
    _mm256_castsi256_pd,
    _mm256_set1_epi64x,
    i64,
    _mm256_add_epi64,
    _mm256_sub_epi64,
    _mm256_sll_epi64,
    _mm256_srl_epi64,
    _mm256_cmpgt_epi64,
    store_mask4,
    lookup_pd
);
avx2!(
    F32x8,
    f32,
    __m256,
    8,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_fmadd_ps,
    _mm256_sqrt_ps,
    _mm256_round_ps,
    _mm256_min_ps,
    _mm256_max_ps,
    _mm256_cmp_ps,
    _mm256_blendv_ps,
    _mm256_and_ps,
    _mm256_or_ps,
    _mm256_xor_ps,
    _mm256_movemask_ps,
    _mm256_castps_si256,
    _mm256_castsi256_ps,
    _mm256_set1_epi32,
    i32,
    _mm256_add_epi32,
    _mm256_sub_epi32,
    _mm256_sll_epi32,
    _mm256_srl_epi32,
    _mm256_cmpgt_epi32,
    store_mask8,
    lookup_ps
);

impl Simd64 for F64x4 {
    #[inline(always)]
    unsafe fn load_f32(p: *const u8) -> Self {
        // SAFETY: AVX2 is available; the caller's promise.
        F64x4(unsafe { _mm256_cvtps_pd(_mm_loadu_ps(p.cast())) })
    }
    #[inline(always)]
    unsafe fn store_f32(self, p: *mut u8) {
        // SAFETY: AVX2 is available; the caller's promise.
        unsafe { _mm_storeu_ps(p.cast(), _mm256_cvtpd_ps(self.0)) }
    }
}
