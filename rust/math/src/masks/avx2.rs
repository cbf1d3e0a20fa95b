//! AVX2: a bool is widened to the size of an element and compared with 0.

use crate::Kernel;
use crate::dtype::DType;
use crate::kernel::{self, Check1, Test1};
use crate::simd::Simd;
use crate::simd::avx2::{F32x8, F64x4};
use std::arch::x86_64::*;

pub(super) fn select(item: usize) -> Option<Kernel> {
    match item {
        4 => Some(select32),
        8 => Some(select64),
        _ => None,
    }
}

pub(super) fn cast(from: DType, to: DType) -> Option<Kernel> {
    Some(match (from, to) {
        (DType::Bool, DType::I32) => spread32::<1>,
        (DType::Bool, DType::F32) => spread32::<{ 1.0f32.to_bits() as i32 }>,
        (DType::Bool, DType::I64) => spread64::<1>,
        (DType::Bool, DType::F64) => spread64::<{ 1.0f64.to_bits() as i64 }>,
        (DType::F32, DType::Bool) => kernel::avx2::<Check1<F32x8, NotZero, 2>>,
        (DType::F64, DType::Bool) => kernel::avx2::<Check1<F64x4, NotZero, 2>>,
        _ => return None,
    })
}

struct NotZero;

impl<V: Simd> Test1<V> for NotZero {
    #[inline(always)]
    fn call(x: V) -> V::Mask {
        V::not(x.eq(V::c(0.0)))
    }
}

/// All ones in the 64-bit lanes whose bool is 0, of the four bools at p.
///
/// # Safety
/// AVX2 is available and four bytes are valid.
#[inline(always)]
unsafe fn zeros64(p: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let bools = _mm_cvtsi32_si128(p.cast::<i32>().read_unaligned());
        _mm256_cmpeq_epi64(_mm256_cvtepu8_epi64(bools), _mm256_setzero_si256())
    }
}

/// All ones in the 32-bit lanes whose bool is 0, of the eight bools at p.
///
/// # Safety
/// AVX2 is available and eight bytes are valid.
#[inline(always)]
unsafe fn zeros32(p: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_cmpeq_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())), _mm256_setzero_si256()) }
}

macro_rules! kernels {
    ($select:ident, $spread:ident, $lanes:literal, $zeros:ident, $set:ident, $element:ty) => {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $select(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
            let (dst, b, c) = (dst.cast::<$element>(), b.cast::<$element>(), c.cast::<$element>());
            for i in (0..n).step_by($lanes) {
                // SAFETY: the promises of `Kernel`.
                unsafe {
                    let (yes, no) = (_mm256_loadu_si256(b.add(i).cast()), _mm256_loadu_si256(c.add(i).cast()));
                    _mm256_storeu_si256(dst.add(i).cast(), _mm256_blendv_epi8(yes, no, $zeros(a.add(i))));
                }
            }
        }

        #[target_feature(enable = "avx2,fma")]
        unsafe fn $spread<const ONE: $element>(n: usize, dst: *mut u8, a: *const u8, _b: *const u8, _c: *const u8) {
            let dst = dst.cast::<$element>();
            for i in (0..n).step_by($lanes) {
                // SAFETY: the promises of `Kernel`.
                unsafe {
                    let one = _mm256_andnot_si256($zeros(a.add(i)), $set(ONE));
                    _mm256_storeu_si256(dst.add(i).cast(), one);
                }
            }
        }
    };
}

kernels!(select32, spread32, 8, zeros32, _mm256_set1_epi32, i32);
kernels!(select64, spread64, 4, zeros64, _mm256_set1_epi64x, i64);
