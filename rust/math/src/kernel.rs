//! The loops around the functions, and the functions that carry an instruction set's features.

use super::simd::{Simd, Simd64};
use std::marker::PhantomData;

/// A function of one vector.
pub(super) trait Fn1<V> {
    fn call(x: V) -> V;
}

/// A function of two vectors.
pub(super) trait Fn2<V> {
    fn call(a: V, b: V) -> V;
}

/// Two functions of one vector.
pub(super) trait Fn1Pair<V> {
    fn call(x: V) -> (V, V);
}

/// A function of three vectors.
pub(super) trait Fn3<V> {
    fn call(a: V, b: V, c: V) -> V;
}

/// A predicate of one vector.
pub(super) trait Test1<V: Simd> {
    fn call(x: V) -> V::Mask;
}

/// A predicate of two vectors.
pub(super) trait Test2<V: Simd> {
    fn call(a: V, b: V) -> V::Mask;
}

/// One pass over a block.
pub(super) trait Pass {
    /// # Safety
    /// As [`super::Kernel`]; besides, it has to be inlined into a function with the features of its vectors.
    unsafe fn run(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8);
}

/// dst = F(a), U vectors at a time: U > 1 where the loop itself would cost more than the function.
pub(super) struct Map1<V, F, const U: usize>(PhantomData<(V, F)>);
/// dst = F(a, b), U vectors at a time.
pub(super) struct Map2<V, F, const U: usize>(PhantomData<(V, F)>);
/// dst = F(a, b, c), U vectors at a time.
pub(super) struct Map3<V, F, const U: usize>(PhantomData<(V, F)>);
/// The two results of F(a): the first to dst, the second to where b points.
pub(super) struct Pair1<V, F, const U: usize>(PhantomData<(V, F)>);
/// dst = F(a) as bytes.
pub(super) struct Check1<V, F, const U: usize>(PhantomData<(V, F)>);
/// dst = F(a, b) as bytes.
pub(super) struct Check2<V, F, const U: usize>(PhantomData<(V, F)>);
/// dst = F(a) with a and dst in f32 and F in f64.
pub(super) struct Wide1<V, F, const U: usize>(PhantomData<(V, F)>);
/// The two results of F(a) with a and the results in f32 and F in f64.
pub(super) struct WidePair1<V, F, const U: usize>(PhantomData<(V, F)>);
/// dst = F(a, b) with a, b and dst in f32 and F in f64.
pub(super) struct Wide2<V, F, const U: usize>(PhantomData<(V, F)>);

/// The loop of a pass: `$load` makes the result of the vector at element i, `$store` writes it. All reads of a step come before
/// its writes, and no write reaches past what has been read: in place is fine.
macro_rules! pass {
    ($name:ident: $vector:ident, $function:ident, |$i:ident, $a:ident, $b:ident, $c:ident| $load:expr, |$j:ident, $y:ident, $dst:ident| $store:expr) => {
        impl<V: $vector, F: $function<V>, const U: usize> Pass for $name<V, F, U> {
            #[inline(always)]
            unsafe fn run(n: usize, $dst: *mut u8, $a: *const u8, $b: *const u8, $c: *const u8) {
                let mut at = 0;
                while U > 1 && at + U * V::LANES <= n {
                    let $i = at;
                    // SAFETY: the U vectors from `at` are within n.
                    unsafe {
                        let mut results = [$load; U];
                        let mut u = 1;
                        while u < U {
                            let $i = at + u * V::LANES;
                            results[u] = $load;
                            u += 1;
                        }
                        let mut u = 0;
                        while u < U {
                            let ($j, $y) = (at + u * V::LANES, results[u]);
                            $store;
                            u += 1;
                        }
                    }
                    at += U * V::LANES;
                }
                while at < n {
                    let $i = at;
                    // SAFETY: the caller's pointers are valid up to whole vectors.
                    unsafe {
                        let ($j, $y) = (at, $load);
                        $store;
                    }
                    at += V::LANES;
                }
            }
        }
    };
}

/// The address of element i.
#[inline(always)]
unsafe fn at<T>(p: *const u8, i: usize) -> *const u8 {
    // SAFETY: the caller's promise.
    unsafe { p.add(i * size_of::<T>()) }
}

/// The address of element i.
#[inline(always)]
unsafe fn at_mut<T>(p: *mut u8, i: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { p.add(i * size_of::<T>()) }
}

pass!(Map1: Simd, Fn1, |i, a, _b, _c| F::call(V::load(at::<V::Elem>(a, i))), |i, y, dst| y.store(at_mut::<V::Elem>(dst, i)));
pass!(
    Map2: Simd, Fn2,
    |i, a, b, _c| F::call(V::load(at::<V::Elem>(a, i)), V::load(at::<V::Elem>(b, i))),
    |i, y, dst| y.store(at_mut::<V::Elem>(dst, i))
);
pass!(
    Map3: Simd, Fn3,
    |i, a, b, c| F::call(V::load(at::<V::Elem>(a, i)), V::load(at::<V::Elem>(b, i)), V::load(at::<V::Elem>(c, i))),
    |i, y, dst| y.store(at_mut::<V::Elem>(dst, i))
);
pass!(
    Pair1: Simd, Fn1Pair,
    |i, a, b, _c| F::call(V::load(at::<V::Elem>(a, i))),
    |i, y, dst| {
        y.0.store(at_mut::<V::Elem>(dst, i));
        y.1.store(at_mut::<V::Elem>(b.cast_mut(), i));
    }
);
pass!(Check1: Simd, Test1, |i, a, _b, _c| F::call(V::load(at::<V::Elem>(a, i))), |i, y, dst| V::store_mask(y, dst.add(i)));
pass!(
    Check2: Simd, Test2,
    |i, a, b, _c| F::call(V::load(at::<V::Elem>(a, i)), V::load(at::<V::Elem>(b, i))),
    |i, y, dst| V::store_mask(y, dst.add(i))
);
pass!(Wide1: Simd64, Fn1, |i, a, _b, _c| F::call(V::load_f32(at::<f32>(a, i))), |i, y, dst| y.store_f32(at_mut::<f32>(dst, i)));
pass!(
    WidePair1: Simd64, Fn1Pair,
    |i, a, b, _c| F::call(V::load_f32(at::<f32>(a, i))),
    |i, y, dst| {
        y.0.store_f32(at_mut::<f32>(dst, i));
        y.1.store_f32(at_mut::<f32>(b.cast_mut(), i));
    }
);
pass!(
    Wide2: Simd64, Fn2,
    |i, a, b, _c| F::call(V::load_f32(at::<f32>(a, i)), V::load_f32(at::<f32>(b, i))),
    |i, y, dst| y.store_f32(at_mut::<f32>(dst, i))
);

/// A pass with what the target guarantees.
/// # Safety
/// As [`super::Kernel`].
pub(super) unsafe fn scalar<P: Pass>(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
    // SAFETY: the caller's promise.
    unsafe { P::run(n, dst, a, b, c) }
}

/// A pass with AVX2 and FMA.
/// # Safety
/// As [`super::Kernel`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn avx2<P: Pass>(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
    // SAFETY: the caller's promise.
    unsafe { P::run(n, dst, a, b, c) }
}

/// A pass with AVX-512.
/// # Safety
/// As [`super::Kernel`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")]
pub(super) unsafe fn avx512<P: Pass>(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
    // SAFETY: the caller's promise.
    unsafe { P::run(n, dst, a, b, c) }
}
