//! AVX-512: one comparison gives a mask register, and 64 bools are one vector of bytes.
//!
//! Bool pointers are valid to a multiple of 64 bytes, so a group of 64 bools is read and written whole; the other side is
//! touched up to the end of its last vector only.

use crate::Kernel;
use crate::dtype::DType;
use crate::ops::Binary;
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
        (DType::I32, DType::Bool) => nonzero_i32,
        (DType::F32, DType::Bool) => nonzero_f32,
        (DType::I64, DType::Bool) => nonzero_i64,
        (DType::F64, DType::Bool) => nonzero_f64,
        _ => return None,
    })
}

pub(super) fn compare(op: Binary, dtype: DType) -> Option<Kernel> {
    macro_rules! by_dtype {
        ($predicate:expr) => {
            match dtype {
                DType::I32 => compare_i32::<{ $predicate }>,
                DType::I64 => compare_i64::<{ $predicate }>,
                _ => return None,
            }
        };
    }
    Some(match op {
        Binary::Less => by_dtype!(_MM_CMPINT_LT),
        Binary::LessEqual => by_dtype!(_MM_CMPINT_LE),
        Binary::Greater => by_dtype!(_MM_CMPINT_NLE),
        Binary::GreaterEqual => by_dtype!(_MM_CMPINT_NLT),
        Binary::Equal => by_dtype!(_MM_CMPINT_EQ),
        Binary::NotEqual => by_dtype!(_MM_CMPINT_NE),
        _ => return None,
    })
}

/// Calls `group(start, vectors, whole)` for every 64 elements; `whole` is true where all vectors of the group are there, and
/// `vectors` is a constant then.
macro_rules! groups {
    ($n:expr, $lanes:literal, |$i:ident, $vectors:ident| $body:block) => {{
        let mut $i = 0;
        while $i + 64 <= $n {
            let $vectors = 64 / $lanes;
            $body
            $i += 64;
        }
        if $i < $n {
            let $vectors = ($n - $i).div_ceil($lanes);
            $body
        }
    }};
}

macro_rules! select {
    ($name:ident, $lanes:literal, $mask:ty, $load:ident, $blend:ident, $store:ident, $element:ty) => {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
        unsafe fn $name(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
            let (dst, b, c) = (dst.cast::<$element>(), b.cast::<$element>(), c.cast::<$element>());
            groups!(n, $lanes, |i, vectors| {
                // SAFETY: the promises of `Kernel`, as the module says.
                unsafe {
                    let bytes = _mm512_loadu_si512(a.add(i).cast());
                    let mask = _mm512_test_epi8_mask(bytes, bytes);
                    for v in 0..vectors {
                        let at = i + v * $lanes;
                        let k = (mask >> (v * $lanes)) as $mask;
                        let z = $blend(k, $load(c.add(at).cast()), $load(b.add(at).cast()));
                        $store(dst.add(at).cast(), z);
                    }
                }
            })
        }
    };
}

select!(select32, 16, u16, _mm512_loadu_epi32, _mm512_mask_blend_epi32, _mm512_storeu_epi32, i32);
select!(select64, 8, u8, _mm512_loadu_epi64, _mm512_mask_blend_epi64, _mm512_storeu_epi64, i64);

macro_rules! spread {
    ($name:ident, $lanes:literal, $mask:ty, $set:ident, $store:ident, $element:ty) => {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
        unsafe fn $name<const ONE: $element>(n: usize, dst: *mut u8, a: *const u8, _b: *const u8, _c: *const u8) {
            let dst = dst.cast::<$element>();
            groups!(n, $lanes, |i, vectors| {
                // SAFETY: the promises of `Kernel`, as the module says.
                unsafe {
                    let bytes = _mm512_loadu_si512(a.add(i).cast());
                    let mask = _mm512_test_epi8_mask(bytes, bytes);
                    for v in 0..vectors {
                        let k = (mask >> (v * $lanes)) as $mask;
                        $store(dst.add(i + v * $lanes).cast(), $set(k, ONE));
                    }
                }
            })
        }
    };
}

spread!(spread32, 16, u16, _mm512_maskz_set1_epi32, _mm512_storeu_epi32, i32);
spread!(spread64, 8, u8, _mm512_maskz_set1_epi64, _mm512_storeu_epi64, i64);

/// Kernels that write a bool for each element, by an expression that gives the mask of one vector.
macro_rules! to_bool {
    ($name:ident $(<const $p:ident: i32>)?, $lanes:literal, $load:ident, $element:ty, |$x:ident, $y:ident| $mask:expr, $operand:ident) => {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
        unsafe fn $name$(<const $p: i32>)?(n: usize, dst: *mut u8, a: *const u8, b: *const u8, _c: *const u8) {
            let (_, b) = (b, $operand!(a, b));
            let (a, b) = (a.cast::<$element>(), b.cast::<$element>());
            groups!(n, $lanes, |i, vectors| {
                // SAFETY: the promises of `Kernel`, as the module says.
                unsafe {
                    let mut mask = 0u64;
                    for v in 0..vectors {
                        let at = i + v * $lanes;
                        let ($x, $y) = ($load(a.add(at).cast()), $load(b.add(at).cast()));
                        mask |= ($mask as u64) << (v * $lanes);
                    }
                    _mm512_storeu_si512(dst.add(i).cast(), _mm512_maskz_set1_epi8(mask, 1));
                }
            })
        }
    };
}

/// The second operand of a kernel that has one, and of one that has not (where b may be null).
macro_rules! second {
    ($a:ident, $b:ident) => {
        $b
    };
}
macro_rules! none {
    ($a:ident, $b:ident) => {
        $a
    };
}

to_bool!(compare_i32<const P: i32>, 16, _mm512_loadu_epi32, i32, |x, y| _mm512_cmp_epi32_mask::<P>(x, y), second);
to_bool!(compare_i64<const P: i32>, 8, _mm512_loadu_epi64, i64, |x, y| _mm512_cmp_epi64_mask::<P>(x, y), second);
to_bool!(nonzero_i32, 16, _mm512_loadu_epi32, i32, |x, y| _mm512_test_epi32_mask(x, y), none);
to_bool!(nonzero_i64, 8, _mm512_loadu_epi64, i64, |x, y| _mm512_test_epi64_mask(x, y), none);
to_bool!(
    nonzero_f32,
    16,
    _mm512_loadu_ps,
    f32,
    |x, _y| _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(x, _mm512_setzero_ps()),
    none
);
to_bool!(nonzero_f64, 8, _mm512_loadu_pd, f64, |x, _y| _mm512_cmp_pd_mask::<_CMP_NEQ_UQ>(x, _mm512_setzero_pd()), none);
