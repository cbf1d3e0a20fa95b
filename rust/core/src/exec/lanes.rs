//! The few vector operations that matrix products need, for each instruction set.
//!
//! Everything is `inline(always)`: intrinsics become instructions once they are inlined into a function with the features, and
//! [`dispatch`] is what calls such functions. All methods are unsafe for that one reason: the instruction set must be there.
#![allow(unsafe_code)]

use crate::math::{Isa, isa};

/// A vector of elements.
pub(super) trait Lanes: Copy {
    type Elem: Real;
    const N: usize;
    /// Rows that a matrix–vector kernel takes at a time: with four accumulators each they must fit the registers.
    const ROWS: usize;
    /// Rows of a tile of a matrix product: with three accumulators each they must fit the registers.
    const MR: usize;

    unsafe fn splat(x: Self::Elem) -> Self;
    unsafe fn load(p: *const Self::Elem) -> Self;
    /// The first n elements, and zeros; n is below N.
    unsafe fn load_part(p: *const Self::Elem, n: usize) -> Self;
    unsafe fn store(self, p: *mut Self::Elem);
    unsafe fn store_part(self, p: *mut Self::Elem, n: usize);
    /// Past the caches where the machine can; p is aligned to the vector.
    #[inline(always)]
    unsafe fn stream(self, p: *mut Self::Elem) {
        // SAFETY: the caller's.
        unsafe { self.store(p) }
    }
    unsafe fn add(self, other: Self) -> Self;
    /// self + a · b, rounded once where the instruction set can.
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;
    /// The sum of the lanes, halves first.
    unsafe fn sum(self) -> Self::Elem;
    /// to[p · step + r] = rows[r][p] for p below N: eight rows become columns.
    #[inline(always)]
    unsafe fn transpose(rows: [*const Self::Elem; 8], to: *mut Self::Elem, step: usize) {
        for p in 0..Self::N {
            for (r, row) in rows.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe { *to.add(p * step + r) = *row.add(p) };
            }
        }
    }
}

/// f32 or f64.
pub trait Real:
    Copy
    + Send
    + Sync
    + PartialEq
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::AddAssign
    + Default
    + From<f32>
    + 'static
{
    #[doc(hidden)]
    #[allow(private_bounds)]
    type Vectors: Vectors<Self>;
}

/// The vector types of an element type.
pub(super) trait Vectors<T> {
    type Scalar: Lanes<Elem = T>;
    #[cfg(target_arch = "x86_64")]
    type Avx2: Lanes<Elem = T>;
    #[cfg(target_arch = "x86_64")]
    type Avx512: Lanes<Elem = T>;
    #[cfg(target_arch = "aarch64")]
    type Neon: Lanes<Elem = T>;
}

/// A kernel, with its arguments, over any vector type.
pub(super) trait Kernel<T: Real> {
    /// # Safety
    /// The instruction set of `V` is available, and the arguments are as the kernel says.
    unsafe fn run<V: Lanes<Elem = T>>(self);
}

/// Runs a kernel with the instruction set in use.
///
/// # Safety
/// The arguments are as the kernel says.
#[inline]
pub(super) unsafe fn dispatch<T: Real, K: Kernel<T>>(kernel: K) {
    // SAFETY: isa() names only what is available.
    unsafe {
        match isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => on_avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => on_avx2(kernel),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => kernel.run::<<T::Vectors as Vectors<T>>::Neon>(),
            _ => kernel.run::<<T::Vectors as Vectors<T>>::Scalar>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
unsafe fn on_avx512<T: Real, K: Kernel<T>>(kernel: K) {
    // SAFETY: the caller's, and we have the features.
    unsafe { kernel.run::<<T::Vectors as Vectors<T>>::Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn on_avx2<T: Real, K: Kernel<T>>(kernel: K) {
    // SAFETY: the caller's, and we have the features.
    unsafe { kernel.run::<<T::Vectors as Vectors<T>>::Avx2>() }
}

macro_rules! real {
    ($t:ty, $vectors:ident, $avx2:ty, $avx512:ty, $neon:ty) => {
        pub struct $vectors;
        impl Real for $t {
            type Vectors = $vectors;
        }
        impl Vectors<$t> for $vectors {
            type Scalar = [$t; 4];
            #[cfg(target_arch = "x86_64")]
            type Avx2 = $avx2;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = $avx512;
            #[cfg(target_arch = "aarch64")]
            type Neon = $neon;
        }
    };
}
real!(f64, Vectors64, x86::__m256d, x86::__m512d, neon::float64x2_t);
real!(f32, Vectors32, x86::__m256, x86::__m512, neon::float32x4_t);

/// What the compiler makes of four elements.
impl<T: Real> Lanes for [T; 4] {
    type Elem = T;
    const N: usize = 4;
    const ROWS: usize = 2;
    const MR: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller's.
        unsafe { p.cast::<[T; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const T, n: usize) -> Self {
        let mut v = [T::default(); 4];
        // SAFETY: the caller's, n < 4.
        unsafe { std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n) };
        v
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: the caller's.
        unsafe { p.cast::<[T; 4]>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut T, n: usize) {
        // SAFETY: the caller's, n < 4.
        unsafe { std::ptr::copy_nonoverlapping(self.as_ptr(), p, n) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        [self[0] + o[0], self[1] + o[1], self[2] + o[2], self[3] + o[3]]
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        [self[0] + a[0] * b[0], self[1] + a[1] * b[1], self[2] + a[2] * b[2], self[3] + a[3] * b[3]]
    }
    #[inline(always)]
    unsafe fn sum(self) -> T {
        (self[0] + self[2]) + (self[1] + self[3])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    pub use std::arch::x86_64::*;

    macro_rules! avx512 {
        ($v:ty, $t:ty, $n:expr, $mask:ty, $splat:ident, $load:ident, $loadm:ident, $store:ident, $storem:ident, $stream:ident, $add:ident, $fma:ident, $sum:ident, $transpose:ident) => {
            impl Lanes for $v {
                type Elem = $t;
                const N: usize = $n;
                const ROWS: usize = 4;
                const MR: usize = 8;
                #[inline(always)]
                unsafe fn transpose(rows: [*const $t; 8], to: *mut $t, step: usize) {
                    // SAFETY: the trait's.
                    unsafe { $transpose(rows, to, step) }
                }
                #[inline(always)]
                unsafe fn splat(x: $t) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(p: *const $t) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn load_part(p: *const $t, n: usize) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $loadm(((1_u32 << n) - 1) as $mask, p) }
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut $t) {
                    // SAFETY: the trait's.
                    unsafe { $store(p, self) }
                }
                #[inline(always)]
                unsafe fn stream(self, p: *mut $t) {
                    // SAFETY: the trait's.
                    unsafe { $stream(p, self) }
                }
                #[inline(always)]
                unsafe fn store_part(self, p: *mut $t, n: usize) {
                    // SAFETY: the trait's.
                    unsafe { $storem(p, ((1_u32 << n) - 1) as $mask, self) }
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $add(self, o) }
                }
                #[inline(always)]
                unsafe fn plus_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> $t {
                    // SAFETY: the trait's.
                    unsafe { $sum(self) }
                }
            }
        };
    }
    #[rustfmt::skip]
    avx512!(__m512d, f64, 8, u8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_maskz_loadu_pd, _mm512_storeu_pd, _mm512_mask_storeu_pd, _mm512_stream_pd, _mm512_add_pd, _mm512_fmadd_pd, sum512d, transpose512d);
    #[rustfmt::skip]
    avx512!(__m512, f32, 16, u16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_storeu_ps, _mm512_mask_storeu_ps, _mm512_stream_ps, _mm512_add_ps, _mm512_fmadd_ps, sum512, transpose512);

    macro_rules! avx2 {
        ($v:ty, $t:ty, $n:expr, $splat:ident, $load:ident, $loadm:ident, $store:ident, $storem:ident, $stream:ident, $add:ident, $fma:ident, $sum:ident, $mask:ident) => {
            impl Lanes for $v {
                type Elem = $t;
                const N: usize = $n;
                const ROWS: usize = 2;
                const MR: usize = 4;
                #[inline(always)]
                unsafe fn splat(x: $t) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(p: *const $t) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn load_part(p: *const $t, n: usize) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $loadm(p, $mask(n)) }
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut $t) {
                    // SAFETY: the trait's.
                    unsafe { $store(p, self) }
                }
                #[inline(always)]
                unsafe fn stream(self, p: *mut $t) {
                    // SAFETY: the trait's.
                    unsafe { $stream(p, self) }
                }
                #[inline(always)]
                unsafe fn store_part(self, p: *mut $t, n: usize) {
                    // SAFETY: the trait's.
                    unsafe { $storem(p, $mask(n), self) }
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $add(self, o) }
                }
                #[inline(always)]
                unsafe fn plus_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> $t {
                    // SAFETY: the trait's.
                    unsafe { $sum(self) }
                }
            }
        };
    }
    #[rustfmt::skip]
    avx2!(__m256d, f64, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_maskload_pd, _mm256_storeu_pd, _mm256_maskstore_pd, _mm256_stream_pd, _mm256_add_pd, _mm256_fmadd_pd, sum256d, mask64);
    #[rustfmt::skip]
    avx2!(__m256, f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_storeu_ps, _mm256_maskstore_ps, _mm256_stream_ps, _mm256_add_ps, _mm256_fmadd_ps, sum256, mask32);

    /// Eight rows of eight: pairs of rows first, then their quarters.
    #[inline(always)]
    unsafe fn transpose512d(rows: [*const f64; 8], to: *mut f64, step: usize) {
        // SAFETY: the caller has AVX-512, eight elements in every row, and room for them.
        unsafe {
            let r = rows.map(|p| _mm512_loadu_pd(p));
            let even = [0, 2, 4, 6].map(|i| _mm512_unpacklo_pd(r[i], r[i + 1]));
            let odd = [0, 2, 4, 6].map(|i| _mm512_unpackhi_pd(r[i], r[i + 1]));
            for (first, t) in [even, odd].into_iter().enumerate() {
                // quarters 0 and 2, and 1 and 3
                let (a, b) = (_mm512_shuffle_f64x2::<0x88>(t[0], t[1]), _mm512_shuffle_f64x2::<0x88>(t[2], t[3]));
                let (c, d) = (_mm512_shuffle_f64x2::<0xdd>(t[0], t[1]), _mm512_shuffle_f64x2::<0xdd>(t[2], t[3]));
                _mm512_storeu_pd(to.add(first * step), _mm512_shuffle_f64x2::<0x88>(a, b));
                _mm512_storeu_pd(to.add((first + 2) * step), _mm512_shuffle_f64x2::<0x88>(c, d));
                _mm512_storeu_pd(to.add((first + 4) * step), _mm512_shuffle_f64x2::<0xdd>(a, b));
                _mm512_storeu_pd(to.add((first + 6) * step), _mm512_shuffle_f64x2::<0xdd>(c, d));
            }
        }
    }
    /// Eight rows of sixteen: fours within each quarter, then the quarters of both fours.
    #[inline(always)]
    unsafe fn transpose512(rows: [*const f32; 8], to: *mut f32, step: usize) {
        // SAFETY: the caller has AVX-512, sixteen elements in every row, and room for them.
        unsafe {
            let r = rows.map(|p| _mm512_loadu_ps(p));
            // column c of every quarter, of four rows
            let fours = |i: usize| {
                let pair = |i: usize| {
                    let (low, high) = (_mm512_unpacklo_ps(r[i], r[i + 1]), _mm512_unpackhi_ps(r[i], r[i + 1]));
                    (_mm512_castps_pd(low), _mm512_castps_pd(high))
                };
                let ((a, b), (c, d)) = (pair(i), pair(i + 2));
                [_mm512_unpacklo_pd(a, c), _mm512_unpackhi_pd(a, c), _mm512_unpacklo_pd(b, d), _mm512_unpackhi_pd(b, d)]
            };
            let (upper, lower) = (fours(0), fours(4));
            let (first, last) =
                (_mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15));
            for c in 0..4 {
                for (quarter, which) in [(0, first), (2, last)] {
                    let both = _mm512_castpd_ps(_mm512_permutex2var_pd(upper[c], which, lower[c]));
                    _mm256_storeu_ps(to.add((4 * quarter + c) * step), _mm512_castps512_ps256(both));
                    _mm256_storeu_ps(to.add((4 * quarter + 4 + c) * step), _mm512_extractf32x8_ps::<1>(both));
                }
            }
        }
    }

    /// Ones in the first n of four lanes.
    #[inline(always)]
    unsafe fn mask64(n: usize) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_cmpgt_epi64(_mm256_set1_epi64x(n as i64), _mm256_setr_epi64x(0, 1, 2, 3)) }
    }
    /// Ones in the first n of eight lanes.
    #[inline(always)]
    unsafe fn mask32(n: usize) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }
    #[inline(always)]
    unsafe fn sum256d(v: __m256d) -> f64 {
        // SAFETY: the caller has AVX2.
        unsafe {
            let v = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
            _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)))
        }
    }
    #[inline(always)]
    unsafe fn sum512d(v: __m512d) -> f64 {
        // SAFETY: the caller has AVX-512.
        unsafe { sum256d(_mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd::<1>(v))) }
    }
    #[inline(always)]
    unsafe fn sum256(v: __m256) -> f32 {
        // SAFETY: the caller has AVX2.
        unsafe {
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
        }
    }
    #[inline(always)]
    unsafe fn sum512(v: __m512) -> f32 {
        // SAFETY: the caller has AVX-512.
        unsafe { sum256(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v))) }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::Lanes;
    pub use std::arch::aarch64::*;

    macro_rules! neon {
        ($v:ty, $t:ty, $n:expr, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident, $sum:ident) => {
            impl Lanes for $v {
                type Elem = $t;
                const N: usize = $n;
                const ROWS: usize = 4;
                const MR: usize = 8;
                #[inline(always)]
                unsafe fn splat(x: $t) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(p: *const $t) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn load_part(p: *const $t, n: usize) -> Self {
                    let mut v = [0.0; $n];
                    // SAFETY: the trait's, n < N.
                    unsafe {
                        std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n);
                        $load(v.as_ptr())
                    }
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut $t) {
                    // SAFETY: the trait's.
                    unsafe { $store(p, self) }
                }
                #[inline(always)]
                unsafe fn store_part(self, p: *mut $t, n: usize) {
                    let mut v = [0.0; $n];
                    // SAFETY: the trait's, n < N.
                    unsafe {
                        $store(v.as_mut_ptr(), self);
                        std::ptr::copy_nonoverlapping(v.as_ptr(), p, n);
                    }
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $add(self, o) }
                }
                #[inline(always)]
                unsafe fn plus_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: the trait's.
                    unsafe { $fma(self, a, b) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> $t {
                    // SAFETY: the trait's.
                    unsafe { $sum(self) }
                }
            }
        };
    }
    neon!(float64x2_t, f64, 2, vdupq_n_f64, vld1q_f64, vst1q_f64, vaddq_f64, vfmaq_f64, vaddvq_f64);
    neon!(float32x4_t, f32, 4, vdupq_n_f32, vld1q_f32, vst1q_f32, vaddq_f32, vfmaq_f32, vaddvq_f32);
}
