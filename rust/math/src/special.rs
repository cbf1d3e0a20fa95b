//! Gamma functions and the inverse error function.
//!
//! Scalar code, element by element: tables of polynomials over the quarters of binary octaves, asymptotic series behind
//! them, reflection for negative arguments. float32 is computed in float64. The coefficients and the tests' values come from
//! `tests/tools/special_functions.py`.

mod coefficients;
mod erfinv;
mod gamma;
mod polygamma;
#[cfg(test)]
mod reference;

pub use erfinv::erfinv;
pub use gamma::{digamma, gammaln, trigamma};
pub use polygamma::polygamma;

use super::Kernel;
use crate::dtype::DType;
use crate::ops::Unary;

/// The kernel of Gammaln, Digamma, Polygamma(n ≥ 1) or Erfinv on F32 or F64; None for the rest.
///
/// These kernels read and write nothing past n, and they are the same for every instruction set.
pub fn unary(op: Unary, dtype: DType) -> Option<Kernel> {
    macro_rules! on_floats {
        ($f:ty) => {
            match dtype {
                DType::F32 => each32::<$f>,
                DType::F64 => each64::<$f>,
                _ => return None,
            }
        };
    }
    Some(match op {
        Unary::Gammaln => on_floats!(Gammaln),
        Unary::Digamma => on_floats!(Digamma),
        Unary::Erfinv => on_floats!(Erfinv),
        Unary::Polygamma(0) => return None,
        Unary::Polygamma(1) => on_floats!(Trigamma),
        Unary::Polygamma(n) => {
            let table = match dtype {
                DType::F32 => &POLYGAMMA_F32,
                DType::F64 => &POLYGAMMA_F64,
                _ => return None,
            };
            table[n as usize / 16][n as usize % 16]
        }
        _ => return None,
    })
}

trait Function {
    fn at(x: f64) -> f64;
}

macro_rules! functions {
    ($($name:ident: $f:path;)*) => {$(
        struct $name;
        impl Function for $name {
            #[inline(always)]
            fn at(x: f64) -> f64 {
                $f(x)
            }
        }
    )*};
}

functions! {
    Gammaln: gammaln;
    Digamma: digamma;
    Trigamma: trigamma;
    Erfinv: erfinv;
}

/// A kernel has no room for the order, so that each order is a kernel of its own.
struct Polygamma<const N: u8>;

impl<const N: u8> Function for Polygamma<N> {
    #[inline(always)]
    fn at(x: f64) -> f64 {
        polygamma(N, x)
    }
}

macro_rules! orders {
    ($each:ident) => {
        orders!($each: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($each:ident: $($high:literal)*) => {
        [$([
            $each::<Polygamma<{ 16 * $high }>>,
            $each::<Polygamma<{ 16 * $high + 1 }>>,
            $each::<Polygamma<{ 16 * $high + 2 }>>,
            $each::<Polygamma<{ 16 * $high + 3 }>>,
            $each::<Polygamma<{ 16 * $high + 4 }>>,
            $each::<Polygamma<{ 16 * $high + 5 }>>,
            $each::<Polygamma<{ 16 * $high + 6 }>>,
            $each::<Polygamma<{ 16 * $high + 7 }>>,
            $each::<Polygamma<{ 16 * $high + 8 }>>,
            $each::<Polygamma<{ 16 * $high + 9 }>>,
            $each::<Polygamma<{ 16 * $high + 10 }>>,
            $each::<Polygamma<{ 16 * $high + 11 }>>,
            $each::<Polygamma<{ 16 * $high + 12 }>>,
            $each::<Polygamma<{ 16 * $high + 13 }>>,
            $each::<Polygamma<{ 16 * $high + 14 }>>,
            $each::<Polygamma<{ 16 * $high + 15 }>>,
        ]),*]
    };
}

static POLYGAMMA_F64: [[Kernel; 16]; 16] = orders!(each64);
static POLYGAMMA_F32: [[Kernel; 16]; 16] = orders!(each32);

unsafe fn each64<F: Function>(n: usize, dst: *mut u8, a: *const u8, _b: *const u8, _c: *const u8) {
    let (dst, a) = (dst.cast::<f64>(), a.cast::<f64>());
    for i in 0..n {
        // SAFETY: i is below n; an element is read before it is written, so that dst may be a.
        unsafe { dst.add(i).write_unaligned(F::at(a.add(i).read_unaligned())) };
    }
}

unsafe fn each32<F: Function>(n: usize, dst: *mut u8, a: *const u8, _b: *const u8, _c: *const u8) {
    let (dst, a) = (dst.cast::<f32>(), a.cast::<f32>());
    for i in 0..n {
        // SAFETY: i is below n; an element is read before it is written, so that dst may be a.
        unsafe { dst.add(i).write_unaligned(F::at(a.add(i).read_unaligned() as f64) as f32) };
    }
}

/// A row of a table: centre, low part of the centre, c0, then 14 coefficients.
type Row = [f64; 17];

/// The row for x in a table whose first row starts at `first`, a power of two times 1, 1.25, 1.5 or 1.75.
#[inline(always)]
fn row<const N: usize>(table: &[Row; N], first: f64, x: f64) -> &Row {
    // The exponent and two bits of the fraction, as one number. The bound is for the compiler: callers keep x inside.
    let index = (x.to_bits() >> 50).wrapping_sub(first.to_bits() >> 50) as usize;
    &table[index.min(N - 1)]
}

/// c0 + s (c1 + s (c2 + …)), in the order that has the shortest chain of dependent operations.
#[inline(always)]
fn evaluate(c: &Row, s: f64) -> f64 {
    let s2 = s * s;
    let s4 = s2 * s2;
    let a = |i: usize| c[i] + c[i + 1] * s;
    let low = (a(3) + a(5) * s2) + (a(7) + a(9) * s2) * s4;
    let high = (a(11) + a(13) * s2) + a(15) * s4;
    c[2] + (low + high * (s4 * s4)) * s
}

/// The value of a polynomial, the constant first.
#[inline(always)]
fn horner<const N: usize>(c: &[f64; N], x: f64) -> f64 {
    c.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

#[cfg(test)]
mod tests {
    use super::super::map::testing::run1;
    use super::*;

    #[test]
    fn kernels_of_both_dtypes_and_every_order() {
        let x = [0.3f64, 0.9, 2.5, 11.0, -1.3];
        for (op, f) in [
            (Unary::Gammaln, gammaln as fn(f64) -> f64),
            (Unary::Digamma, digamma),
            (Unary::Polygamma(1), trigamma),
            (Unary::Polygamma(2), |x| polygamma(2, x)),
            (Unary::Polygamma(171), |x| polygamma(171, x)),
            (Unary::Polygamma(255), |x| polygamma(255, x)),
        ] {
            assert_eq!(run1::<f64, f64>(unary(op, DType::F64).unwrap(), &x), x.map(f), "{op:?}");
            let single = x.map(|v| v as f32);
            assert_eq!(run1::<f32, f32>(unary(op, DType::F32).unwrap(), &single), single.map(|v| f(v as f64) as f32));
        }
        assert_eq!(run1::<f64, f64>(unary(Unary::Erfinv, DType::F64).unwrap(), &[0.5])[0], erfinv(0.5));
        assert!(unary(Unary::Polygamma(0), DType::F64).is_none());
        assert!(unary(Unary::Gammaln, DType::I64).is_none());
        assert!(unary(Unary::Exp, DType::F64).is_none());
    }
}
