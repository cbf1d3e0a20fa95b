//! Which function computes which operation on f32 and f64, and in which kind of loop.

use super::kernel::{
    self, Check1, Check2, Fn1, Fn1Pair, Fn2, Fn3, Map1, Map2, Map3, Pair1, Test1, Test2, Wide1, Wide2, WidePair1,
};
#[cfg(target_arch = "aarch64")]
use super::simd::neon;
use super::simd::{Simd, Simd64, scalar};
#[cfg(target_arch = "x86_64")]
use super::simd::{avx2, avx512};
use super::{Isa, Kernel, basic, erf, exp, invtrig, log, ops, power, special, trig};
use crate::dtype::DType;
use std::marker::PhantomData;

/// The kernel of one pass for the instruction set: `$pass<vector, operation, unroll>`.
macro_rules! pick {
    ($isa:expr, $pass:ident, $op:ident, $unroll:expr, $x1:ident, $x256:ident, $x512:ident, $x128:ident) => {
        match $isa {
            Isa::Scalar => Some(kernel::scalar::<$pass<scalar::$x1, $op, $unroll>> as Kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some(kernel::avx2::<$pass<avx2::$x256, $op, $unroll>> as Kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Some(kernel::avx512::<$pass<avx512::$x512, $op, $unroll>> as Kernel),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => None,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(kernel::scalar::<$pass<neon::$x128, $op, $unroll>> as Kernel),
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon => None,
        }
    };
}

/// A function made into a type, so that a loop can be compiled around it.
macro_rules! operation {
    ($trait:ident, $bound:ident, $f:path, ($($x:ident),*) -> $out:ty) => {
        struct Op;
        impl<V: $bound> $trait<V> for Op {
            #[inline(always)]
            fn call($($x: V),*) -> $out {
                $f($($x),*)
            }
        }
    };
}

macro_rules! both {
    ($isa:expr, $dtype:expr, $pass:ident, $unroll:expr) => {
        match $dtype {
            DType::F64 => pick!($isa, $pass, Op, $unroll, F64x1, F64x4, F64x8, F64x2),
            DType::F32 => pick!($isa, $pass, Op, $unroll, F32x1, F32x8, F32x16, F32x4),
            _ => None,
        }
    };
}

/// Generic over the element: native in both widths.
macro_rules! light {
    (1, $isa:expr, $dtype:expr, $f:path, $unroll:expr) => {{
        operation!(Fn1, Simd, $f, (x) -> V);
        both!($isa, $dtype, Map1, $unroll)
    }};
    (2, $isa:expr, $dtype:expr, $f:path, $unroll:expr) => {{
        operation!(Fn2, Simd, $f, (a, b) -> V);
        both!($isa, $dtype, Map2, $unroll)
    }};
}

/// A predicate: one byte an element.
macro_rules! test {
    (1, $isa:expr, $dtype:expr, $f:path) => {{
        operation!(Test1, Simd, $f, (x) -> V::Mask);
        both!($isa, $dtype, Check1, 4)
    }};
    (2, $isa:expr, $dtype:expr, $f:path) => {{
        operation!(Test2, Simd, $f, (a, b) -> V::Mask);
        both!($isa, $dtype, Check2, 4)
    }};
}

/// Written for f64; f32 goes through f64, where its result is almost always the correctly rounded one. A second function is
/// for f32 alone: one that may be a little less exact in f64.
macro_rules! heavy {
    (1, $isa:expr, $dtype:expr, $f:path) => {
        heavy!(1, $isa, $dtype, $f, $f)
    };
    (2, $isa:expr, $dtype:expr, $f:path) => {
        heavy!(2, $isa, $dtype, $f, $f)
    };
    (1, $isa:expr, $dtype:expr, $f:path, $for_f32:path) => {
        match $dtype {
            DType::F64 => {
                operation!(Fn1, Simd64, $f, (x) -> V);
                pick!($isa, Map1, Op, 1, F64x1, F64x4, F64x8, F64x2)
            }
            DType::F32 => {
                operation!(Fn1, Simd64, $for_f32, (x) -> V);
                pick!($isa, Wide1, Op, 1, F64x1, F64x4, F64x8, F64x2)
            }
            _ => None,
        }
    };
    (2, $isa:expr, $dtype:expr, $f:path, $for_f32:path) => {
        match $dtype {
            DType::F64 => {
                operation!(Fn2, Simd64, $f, (a, b) -> V);
                pick!($isa, Map2, Op, 1, F64x1, F64x4, F64x8, F64x2)
            }
            DType::F32 => {
                operation!(Fn2, Simd64, $for_f32, (a, b) -> V);
                pick!($isa, Wide2, Op, 1, F64x1, F64x4, F64x8, F64x2)
            }
            _ => None,
        }
    };
}

/// Sine and cosine in one pass, for f32 or f64.
pub(super) fn sin_and_cos(isa: Isa, dtype: DType) -> Option<Kernel> {
    operation!(Fn1Pair, Simd64, trig::sin_and_cos, (x) -> (V, V));
    match dtype {
        DType::F64 => pick!(isa, Pair1, Op, 2, F64x1, F64x4, F64x8, F64x2),
        DType::F32 => pick!(isa, WidePair1, Op, 1, F64x1, F64x4, F64x8, F64x2),
        _ => None,
    }
}

/// One of the four operations of arithmetic on two vectors.
trait Arithmetic {
    fn of<V: Simd>(a: V, b: V) -> V;
}

macro_rules! arithmetic {
    ($name:ident, $a:ident, $b:ident, $f:expr) => {
        struct $name;
        impl Arithmetic for $name {
            #[inline(always)]
            fn of<V: Simd>($a: V, $b: V) -> V {
                $f
            }
        }
    };
}

arithmetic!(Sum, a, b, a + b);
arithmetic!(Difference, a, b, a - b);
arithmetic!(Subtrahend, a, b, b - a);
arithmetic!(Product, a, b, a * b);
arithmetic!(Quotient, a, b, a / b);
arithmetic!(Divisor, a, b, b / a);

/// The second of F(a, b) and c.
struct Then<F, G>(PhantomData<(F, G)>);

impl<V: Simd, F: Arithmetic, G: Arithmetic> Fn3<V> for Then<F, G> {
    #[inline(always)]
    fn call(a: V, b: V, c: V) -> V {
        G::of(F::of(a, b), c)
    }
}

/// Two operations of arithmetic in one pass, each rounded by itself: `second(first(a, b), c)`, or `second(c, first(a, b))` if
/// the first one's result comes `last`. None for other operations and dtypes.
pub(super) fn arithmetic(
    isa: Isa,
    first: ops::Binary,
    second: ops::Binary,
    last: bool,
    dtype: DType,
) -> Option<Kernel> {
    use ops::Binary::{Add, Div, Mul, Sub};
    macro_rules! then {
        ($first:ident) => {
            match (second, last) {
                (Add, _) => then!($first, Sum),
                (Sub, false) => then!($first, Difference),
                (Sub, true) => then!($first, Subtrahend),
                (Mul, _) => then!($first, Product),
                (Div, false) => then!($first, Quotient),
                (Div, true) => then!($first, Divisor),
                _ => None,
            }
        };
        ($first:ident, $second:ident) => {{
            type Op = Then<$first, $second>;
            both!(isa, dtype, Map3, 2)
        }};
    }
    match first {
        Add => then!(Sum),
        Sub => then!(Difference),
        Mul => then!(Product),
        Div => then!(Quotient),
        _ => None,
    }
}

/// The kernel for f32 or f64; None for other dtypes and for operations on integers and bool.
pub(super) fn unary(isa: Isa, op: ops::Unary, dtype: DType) -> Option<Kernel> {
    use ops::Unary::*;
    match op {
        Neg => light!(1, isa, dtype, basic::neg, 4),
        Abs => light!(1, isa, dtype, basic::abs, 4),
        Sign => light!(1, isa, dtype, basic::signum, 4),
        Square => light!(1, isa, dtype, basic::square, 4),
        Reciprocal => light!(1, isa, dtype, basic::reciprocal, 4),
        Floor => light!(1, isa, dtype, basic::floor, 4),
        Ceil => light!(1, isa, dtype, basic::ceil, 4),
        Trunc => light!(1, isa, dtype, basic::trunc, 4),
        Rint => light!(1, isa, dtype, basic::rint, 4),
        Sqrt => light!(1, isa, dtype, basic::sqrt, 4),
        Cbrt => heavy!(1, isa, dtype, power::cbrt),
        Exp => light!(1, isa, dtype, exp::exp, 1),
        Exp2 => light!(1, isa, dtype, exp::exp2, 1),
        Expm1 => light!(1, isa, dtype, exp::expm1, 1),
        Log => light!(1, isa, dtype, log::log, 1),
        Log2 => light!(1, isa, dtype, log::log2, 1),
        Log10 => light!(1, isa, dtype, log::log10, 1),
        Log1p => light!(1, isa, dtype, log::log1p, 2),
        Sin => heavy!(1, isa, dtype, trig::sin),
        Cos => heavy!(1, isa, dtype, trig::cos),
        Tan => heavy!(1, isa, dtype, trig::tan),
        Arcsin => heavy!(1, isa, dtype, invtrig::asin),
        Arccos => heavy!(1, isa, dtype, invtrig::acos),
        Arctan => heavy!(1, isa, dtype, invtrig::atan),
        Sinh => light!(1, isa, dtype, exp::sinh, 1),
        Cosh => light!(1, isa, dtype, exp::cosh, 1),
        Tanh => light!(1, isa, dtype, exp::tanh, 2),
        Arcsinh => heavy!(1, isa, dtype, invtrig::asinh),
        Arccosh => heavy!(1, isa, dtype, invtrig::acosh),
        Arctanh => heavy!(1, isa, dtype, invtrig::atanh),
        Erf => heavy!(1, isa, dtype, erf::erf),
        Erfc => heavy!(1, isa, dtype, erf::erfc),
        Expit => light!(1, isa, dtype, exp::expit, 2),
        LogExpit => light!(1, isa, dtype, exp::log_expit, 1),
        IsNan => test!(1, isa, dtype, basic::is_nan),
        IsInf => test!(1, isa, dtype, basic::is_inf),
        IsFinite => test!(1, isa, dtype, basic::is_finite),
        Signbit => test!(1, isa, dtype, basic::signbit),
        LogicalNot => test!(1, isa, dtype, basic::logical_not),
        // Scalar code, the same for every instruction set.
        Erfinv | Gammaln | Digamma | Polygamma(_) => special::unary(op, dtype),
        Invert => None,
    }
}

/// The kernel for f32 or f64; None for other dtypes and for operations on integers and bool.
pub(super) fn binary(isa: Isa, op: ops::Binary, dtype: DType) -> Option<Kernel> {
    use ops::Binary::*;
    match op {
        Add => light!(2, isa, dtype, basic::add, 4),
        Sub => light!(2, isa, dtype, basic::sub, 4),
        Mul => light!(2, isa, dtype, basic::mul, 4),
        Div => light!(2, isa, dtype, basic::div, 4),
        FloorDivide => light!(2, isa, dtype, basic::floor_divide, 1),
        Remainder => light!(2, isa, dtype, basic::remainder, 1),
        Fmod => light!(2, isa, dtype, basic::fmod, 1),
        Pow => heavy!(2, isa, dtype, power::pow, power::pow_f32),
        Maximum => light!(2, isa, dtype, basic::maximum, 4),
        Minimum => light!(2, isa, dtype, basic::minimum, 4),
        Fmax => light!(2, isa, dtype, basic::fmax, 4),
        Fmin => light!(2, isa, dtype, basic::fmin, 4),
        Arctan2 => heavy!(2, isa, dtype, invtrig::atan2),
        Hypot => heavy!(2, isa, dtype, invtrig::hypot),
        Logaddexp => heavy!(2, isa, dtype, power::logaddexp),
        Logaddexp2 => heavy!(2, isa, dtype, power::logaddexp2),
        Copysign => light!(2, isa, dtype, basic::copysign, 4),
        Nextafter => light!(2, isa, dtype, basic::nextafter, 1),
        Xlogy => heavy!(2, isa, dtype, power::xlogy),
        Xlog1py => heavy!(2, isa, dtype, power::xlog1py),
        Less => test!(2, isa, dtype, basic::less),
        LessEqual => test!(2, isa, dtype, basic::less_equal),
        Greater => test!(2, isa, dtype, basic::greater),
        GreaterEqual => test!(2, isa, dtype, basic::greater_equal),
        Equal => test!(2, isa, dtype, basic::equal),
        NotEqual => test!(2, isa, dtype, basic::not_equal),
        LogicalAnd => test!(2, isa, dtype, basic::logical_and),
        LogicalOr => test!(2, isa, dtype, basic::logical_or),
        LogicalXor => test!(2, isa, dtype, basic::logical_xor),
        BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight | Gcd | Lcm => None,
    }
}
