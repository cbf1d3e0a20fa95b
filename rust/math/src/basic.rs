//! Arithmetic, rounding, signs, comparisons and divisions with remainder: generic over f32 and f64.

use super::simd::{Element, Simd};

#[inline(always)]
pub(super) fn signum<V: Simd>(x: V) -> V {
    let zero = V::c(0.0);
    let one = V::c(1.0).copysign(x);
    // 0 for both zeros; nan stays.
    let y = V::select(x.eq(zero), zero, one);
    V::select(x.is_nan(), x, y)
}

/// The C functions round towards the sign: what they give keeps x's sign, so that -0.0 and -0.3 give -0.0.
#[inline(always)]
pub(super) fn floor<V: Simd>(x: V) -> V {
    x.floor()
}

#[inline(always)]
pub(super) fn ceil<V: Simd>(x: V) -> V {
    x.ceil()
}

#[inline(always)]
pub(super) fn trunc<V: Simd>(x: V) -> V {
    x.trunc()
}

#[inline(always)]
pub(super) fn rint<V: Simd>(x: V) -> V {
    x.rint()
}

#[inline(always)]
pub(super) fn neg<V: Simd>(x: V) -> V {
    -x
}

#[inline(always)]
pub(super) fn abs<V: Simd>(x: V) -> V {
    x.abs()
}

#[inline(always)]
pub(super) fn square<V: Simd>(x: V) -> V {
    x * x
}

#[inline(always)]
pub(super) fn reciprocal<V: Simd>(x: V) -> V {
    V::c(1.0) / x
}

#[inline(always)]
pub(super) fn sqrt<V: Simd>(x: V) -> V {
    x.sqrt()
}

#[inline(always)]
pub(super) fn add<V: Simd>(a: V, b: V) -> V {
    a + b
}

#[inline(always)]
pub(super) fn sub<V: Simd>(a: V, b: V) -> V {
    a - b
}

#[inline(always)]
pub(super) fn mul<V: Simd>(a: V, b: V) -> V {
    a * b
}

#[inline(always)]
pub(super) fn div<V: Simd>(a: V, b: V) -> V {
    a / b
}

/// The larger one; nan if either is.
#[inline(always)]
pub(super) fn maximum<V: Simd>(a: V, b: V) -> V {
    V::select(V::or(a.ge(b), a.is_nan()), a, b)
}

#[inline(always)]
pub(super) fn minimum<V: Simd>(a: V, b: V) -> V {
    V::select(V::or(a.le(b), a.is_nan()), a, b)
}

/// The larger one; the other one if one is nan.
#[inline(always)]
pub(super) fn fmax<V: Simd>(a: V, b: V) -> V {
    V::select(V::or(a.ge(b), b.is_nan()), a, b)
}

#[inline(always)]
pub(super) fn fmin<V: Simd>(a: V, b: V) -> V {
    V::select(V::or(a.le(b), b.is_nan()), a, b)
}

#[inline(always)]
pub(super) fn copysign<V: Simd>(a: V, b: V) -> V {
    a.copysign(b)
}

/// The next number after a towards b.
#[inline(always)]
pub(super) fn nextafter<V: Simd>(a: V, b: V) -> V {
    let zero = V::c(0.0);
    let one = V::bits_splat(1);
    // Away from zero the bits grow by one, towards it they shrink.
    let away = V::or(V::and(a.lt(b), a.gt(zero)), V::and(b.lt(a), a.lt(zero)));
    let grown = V::from_bits(V::bits_add(a.bits(), one));
    let shrunk = V::from_bits(V::bits_sub(a.bits(), one));
    let y = V::select(away, grown, shrunk);
    let y = V::select(a.eq(zero), V::from_bits(one).copysign(b), y);
    let y = V::select(a.eq(b), b, y);
    V::select(V::or(a.is_nan(), b.is_nan()), a + b, y)
}

/// C's fmod: a - b · trunc(a / b), exactly.
#[inline(always)]
pub(super) fn fmod<V: Simd>(a: V, b: V) -> V {
    let (x, y) = (a.abs(), b.abs());
    let q = x / y;
    // Up to here the quotient is off by one at most, and x - q y is exact.
    let near = V::or(q.lt(V::c((1u64 << (V::Elem::MANTISSA - 1)) as f64)), q.is_nan());
    let inf = V::c(f64::INFINITY);
    let r = (-q.trunc()).fma(y, x);
    let r = V::select(r.lt(V::c(0.0)), r + y, r);
    let r = V::select(r.ge(y), r - y, r);
    let r = V::select(V::and(y.eq(inf), x.lt(inf)), x, r);
    let r = r.copysign(a);
    // A divisor of 0 and an infinite dividend give nan.
    let r = V::select(V::or(y.eq(V::c(0.0)), x.eq(inf)), V::c(f64::NAN), r);
    if V::any(V::not(near)) {
        let zero = V::Elem::from_f64(0.0);
        let (mut p, mut d) = ([zero; 16], [zero; 16]);
        // SAFETY: no vector has more than sixteen lanes.
        let slow = unsafe {
            a.store(p.as_mut_ptr().cast());
            b.store(d.as_mut_ptr().cast());
            for i in 0..V::LANES {
                p[i] = p[i].fmod(d[i]);
            }
            V::load(p.as_ptr().cast())
        };
        V::select(near, r, slow)
    } else {
        r
    }
}

/// Python's and NumPy's a % b: the divisor's sign.
#[inline(always)]
pub(super) fn remainder<V: Simd>(a: V, b: V) -> V {
    let zero = V::c(0.0);
    let r = fmod(a, b);
    let wrong = V::and(V::not(r.eq(zero)), V::or(V::and(r.lt(zero), b.gt(zero)), V::and(r.gt(zero), b.lt(zero))));
    let shifted = V::select(wrong, r + b, r);
    V::select(V::and(r.eq(zero), V::not(b.eq(zero))), zero.copysign(b), shifted)
}

/// Python's and NumPy's a // b, as npy_divmod goes about it.
#[inline(always)]
pub(super) fn floor_divide<V: Simd>(a: V, b: V) -> V {
    let zero = V::c(0.0);
    let one = V::c(1.0);
    let r = fmod(a, b);
    let q = (a - r) / b;
    let wrong = V::or(V::and(r.lt(zero), b.gt(zero)), V::and(r.gt(zero), b.lt(zero)));
    let q = V::select(wrong, q - one, q);
    let f = q.floor();
    let f = V::select((q - f).gt(V::c(0.5)), f + one, f);
    let plain = a / b;
    let f = V::select(q.eq(zero), zero.copysign(plain), f);
    V::select(b.eq(zero), plain, f)
}

#[inline(always)]
pub(super) fn is_nan<V: Simd>(x: V) -> V::Mask {
    x.is_nan()
}

#[inline(always)]
pub(super) fn is_inf<V: Simd>(x: V) -> V::Mask {
    x.abs().eq(V::c(f64::INFINITY))
}

#[inline(always)]
pub(super) fn is_finite<V: Simd>(x: V) -> V::Mask {
    x.abs().lt(V::c(f64::INFINITY))
}

#[inline(always)]
pub(super) fn signbit<V: Simd>(x: V) -> V::Mask {
    x.is_negative()
}

/// Nan counts as true.
#[inline(always)]
fn truth<V: Simd>(x: V) -> V::Mask {
    V::not(x.eq(V::c(0.0)))
}

#[inline(always)]
pub(super) fn logical_not<V: Simd>(x: V) -> V::Mask {
    x.eq(V::c(0.0))
}

#[inline(always)]
pub(super) fn logical_and<V: Simd>(a: V, b: V) -> V::Mask {
    V::and(truth(a), truth(b))
}

#[inline(always)]
pub(super) fn logical_or<V: Simd>(a: V, b: V) -> V::Mask {
    V::or(truth(a), truth(b))
}

#[inline(always)]
pub(super) fn logical_xor<V: Simd>(a: V, b: V) -> V::Mask {
    let (p, q) = (truth(a), truth(b));
    V::or(V::and(p, V::not(q)), V::and(q, V::not(p)))
}

#[inline(always)]
pub(super) fn less<V: Simd>(a: V, b: V) -> V::Mask {
    a.lt(b)
}

#[inline(always)]
pub(super) fn less_equal<V: Simd>(a: V, b: V) -> V::Mask {
    a.le(b)
}

#[inline(always)]
pub(super) fn greater<V: Simd>(a: V, b: V) -> V::Mask {
    a.gt(b)
}

#[inline(always)]
pub(super) fn greater_equal<V: Simd>(a: V, b: V) -> V::Mask {
    a.ge(b)
}

#[inline(always)]
pub(super) fn equal<V: Simd>(a: V, b: V) -> V::Mask {
    a.eq(b)
}

#[inline(always)]
pub(super) fn not_equal<V: Simd>(a: V, b: V) -> V::Mask {
    V::not(a.eq(b))
}
