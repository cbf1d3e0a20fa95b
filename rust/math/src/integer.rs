//! Kernels on integers and bool, with NumPy's meaning: arithmetic wraps, division by zero gives 0.

use super::map::{Map1, Map2, map1, map2};
use super::{Isa, Kernel, isa};
use crate::dtype::DType;
use crate::ops::{Binary, Unary};

/// The kernel of an operation of one argument on Bool, U8, I32 or I64; None where NumPy refuses it or changes the dtype.
///
/// Rounding functions are the identity. Predicates give bool.
pub fn unary(op: Unary, dtype: DType) -> Option<Kernel> {
    unary_on(isa(), op, dtype)
}

/// The kernel of an operation of two arguments of dtype Bool, U8, I32 or I64; None where NumPy refuses it or changes the
/// dtype (so `Div` has none: its arguments are cast to float64 first).
pub fn binary(op: Binary, dtype: DType) -> Option<Kernel> {
    binary_on(isa(), op, dtype)
}

/// [`unary`] for a given instruction set.
pub fn unary_on(isa: Isa, op: Unary, dtype: DType) -> Option<Kernel> {
    macro_rules! on_integers {
        ($op:ty) => {
            match dtype {
                DType::U8 => map1::<$op, u8, 64>(isa),
                DType::I32 => map1::<$op, i32, 16>(isa),
                DType::I64 => map1::<$op, i64, 8>(isa),
                _ => return None,
            }
        };
    }
    macro_rules! on_all {
        ($op:ty) => {
            if dtype == DType::Bool { map1::<$op, u8, 64>(isa) } else { on_integers!($op) }
        };
    }
    Some(match op {
        Unary::Neg => on_integers!(Neg),
        Unary::Abs if dtype == DType::Bool => map1::<Same, u8, 64>(isa),
        Unary::Abs => on_integers!(Abs),
        Unary::Sign => on_integers!(Sign),
        Unary::Square => on_integers!(Square),
        Unary::Reciprocal => on_integers!(Reciprocal),
        Unary::Floor | Unary::Ceil | Unary::Trunc => on_all!(Same),
        Unary::Rint => on_integers!(Same),
        Unary::IsNan | Unary::IsInf => on_all!(Never),
        Unary::IsFinite => on_all!(Always),
        Unary::Signbit if dtype == DType::Bool => map1::<Never, u8, 64>(isa),
        Unary::Signbit => on_integers!(Signbit),
        Unary::LogicalNot => on_all!(LogicalNot),
        Unary::Invert if dtype == DType::Bool => map1::<LogicalNot, u8, 64>(isa),
        Unary::Invert => on_integers!(Invert),
        _ => return None,
    })
}

/// [`binary`] for a given instruction set.
pub fn binary_on(isa: Isa, op: Binary, dtype: DType) -> Option<Kernel> {
    if dtype == DType::Bool {
        return on_bool(isa, op);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = super::masks::compare(isa, op, dtype) {
        return Some(kernel);
    }
    macro_rules! on_integers {
        ($op:ty) => {
            match dtype {
                DType::U8 => map2::<$op, u8, 64>(isa),
                DType::I32 => map2::<$op, i32, 16>(isa),
                DType::I64 => map2::<$op, i64, 8>(isa),
                _ => return None,
            }
        };
    }
    Some(match op {
        Binary::Add => on_integers!(Add),
        Binary::Sub => on_integers!(Sub),
        Binary::Mul => on_integers!(Mul),
        Binary::FloorDivide => on_integers!(FloorDivide),
        Binary::Remainder => on_integers!(Remainder),
        Binary::Fmod => on_integers!(Fmod),
        Binary::Pow => on_integers!(Pow),
        Binary::Maximum | Binary::Fmax => on_integers!(Maximum),
        Binary::Minimum | Binary::Fmin => on_integers!(Minimum),
        Binary::Less => on_integers!(Less),
        Binary::LessEqual => on_integers!(LessEqual),
        Binary::Greater => on_integers!(Greater),
        Binary::GreaterEqual => on_integers!(GreaterEqual),
        Binary::Equal => on_integers!(Equal),
        Binary::NotEqual => on_integers!(NotEqual),
        Binary::LogicalAnd => on_integers!(LogicalAnd),
        Binary::LogicalOr => on_integers!(LogicalOr),
        Binary::LogicalXor => on_integers!(LogicalXor),
        Binary::BitAnd => on_integers!(BitAnd),
        Binary::BitOr => on_integers!(BitOr),
        Binary::BitXor => on_integers!(BitXor),
        Binary::ShiftLeft => on_integers!(ShiftLeft),
        Binary::ShiftRight => on_integers!(ShiftRight),
        Binary::Gcd => on_integers!(Gcd),
        Binary::Lcm => on_integers!(Lcm),
        _ => return None,
    })
}

/// On bool, addition is or, multiplication is and. Any byte but 0 counts as true.
fn on_bool(isa: Isa, op: Binary) -> Option<Kernel> {
    Some(match op {
        Binary::Add | Binary::Maximum | Binary::Fmax | Binary::LogicalOr | Binary::BitOr => {
            map2::<LogicalOr, u8, 64>(isa)
        }
        Binary::Mul | Binary::Minimum | Binary::Fmin | Binary::LogicalAnd | Binary::BitAnd => {
            map2::<LogicalAnd, u8, 64>(isa)
        }
        Binary::LogicalXor | Binary::BitXor | Binary::NotEqual => map2::<LogicalXor, u8, 64>(isa),
        Binary::Equal => map2::<BoolEqual, u8, 64>(isa),
        Binary::Less => map2::<BoolLess, u8, 64>(isa),
        Binary::LessEqual => map2::<BoolLessEqual, u8, 64>(isa),
        Binary::Greater => map2::<BoolGreater, u8, 64>(isa),
        Binary::GreaterEqual => map2::<BoolGreaterEqual, u8, 64>(isa),
        _ => return None,
    })
}

/// The integer types, by the few things that the kernels need and `core` has only as inherent methods.
pub(super) trait Int: Copy + Default + Ord {
    const ZERO: Self;
    const ONE: Self;
    const SIGNED: bool;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// Truncating division; the divisor is not 0.
    fn div(self, other: Self) -> Self;
    /// The remainder of truncating division; the divisor is not 0.
    fn rem(self, other: Self) -> Self;
    fn neg(self) -> Self;
    fn not(self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    /// Left shift; 0 where the count is not below the number of bits.
    fn shl(self, count: Self) -> Self;
    /// Right shift; the sign everywhere where the count is not below the number of bits.
    fn shr(self, count: Self) -> Self;
    /// What NumPy's reciprocal gives: 1/x truncated, and for 0 the conversion of infinity.
    const RECIPROCAL_OF_ZERO: Self;
    fn gcd(self, other: Self) -> Self;
}

macro_rules! int {
    ($t:ty, $u:ty, signed: $signed:expr, reciprocal of zero: $r:expr) => {
        impl Int for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const SIGNED: bool = $signed;
            const RECIPROCAL_OF_ZERO: Self = $r;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self.wrapping_div(other)
            }
            #[inline(always)]
            fn rem(self, other: Self) -> Self {
                self.wrapping_rem(other)
            }
            #[inline(always)]
            fn neg(self) -> Self {
                self.wrapping_neg()
            }
            #[inline(always)]
            fn not(self) -> Self {
                !self
            }
            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline(always)]
            fn shl(self, count: Self) -> Self {
                // A negative count is a large unsigned one.
                let in_range = (count as $u) < <$u>::BITS as $u;
                if in_range { self.wrapping_shl(count as u32) } else { 0 }
            }
            #[inline(always)]
            fn shr(self, count: Self) -> Self {
                let in_range = (count as $u) < <$u>::BITS as $u;
                if in_range {
                    self.wrapping_shr(count as u32)
                } else if self < Self::ZERO {
                    Self::ZERO.not()
                } else {
                    0
                }
            }
            #[inline(always)]
            fn gcd(self, other: Self) -> Self {
                let (mut a, mut b) = (magnitude(self) as $u, magnitude(other) as $u);
                if a == 0 || b == 0 {
                    return (a | b) as $t;
                }
                let twos = (a | b).trailing_zeros();
                a >>= a.trailing_zeros();
                while b != 0 {
                    b >>= b.trailing_zeros();
                    if a > b {
                        std::mem::swap(&mut a, &mut b);
                    }
                    b -= a;
                }
                (a << twos) as $t
            }
        }
    };
}

int!(u8, u8, signed: false, reciprocal of zero: 0);
int!(i32, u32, signed: true, reciprocal of zero: i32::MIN);
int!(i64, u64, signed: true, reciprocal of zero: i64::MIN);

/// |a|, wrapping at the smallest number.
#[inline(always)]
fn magnitude<T: Int>(a: T) -> T {
    if a < T::ZERO { a.neg() } else { a }
}

#[inline(always)]
fn floor_divide<T: Int>(a: T, b: T) -> T {
    if b == T::ZERO {
        return T::ZERO;
    }
    let q = a.div(b);
    if T::SIGNED && a.rem(b) != T::ZERO && (a < T::ZERO) != (b < T::ZERO) { q.sub(T::ONE) } else { q }
}

#[inline(always)]
fn remainder<T: Int>(a: T, b: T) -> T {
    if b == T::ZERO {
        return T::ZERO;
    }
    let r = a.rem(b);
    if T::SIGNED && r != T::ZERO && (r < T::ZERO) != (b < T::ZERO) { r.add(b) } else { r }
}

/// By squaring, wrapping. A negative power (NumPy refuses one, and so does the front end where it can see it) is truncated
/// towards zero: 0 but for the bases 1 and -1, and 0 for the base 0.
#[inline(always)]
fn pow<T: Int>(base: T, exponent: T) -> T {
    let (mut base, mut left) = (base, exponent);
    if exponent < T::ZERO {
        return if base == T::ONE {
            T::ONE
        } else if T::SIGNED && base == T::ONE.neg() {
            if exponent.and(T::ONE) == T::ONE { base } else { T::ONE }
        } else {
            T::ZERO
        };
    }
    let mut power = T::ONE;
    loop {
        if left.and(T::ONE) == T::ONE {
            power = power.mul(base);
        }
        left = left.shr(T::ONE);
        if left == T::ZERO {
            return power;
        }
        base = base.mul(base);
    }
}

macro_rules! unary_ops {
    ($($name:ident -> $r:ty: |$a:ident| $body:expr;)*) => {$(
        struct $name;
        impl<T: Int> Map1<T> for $name {
            type R = $r;
            #[inline(always)]
            fn apply($a: T) -> $r {
                $body
            }
        }
    )*};
}

unary_ops! {
    Neg -> T: |a| a.neg();
    Abs -> T: |a| magnitude(a);
    Sign -> T: |a| if a < T::ZERO { T::ONE.neg() } else if a == T::ZERO { T::ZERO } else { T::ONE };
    Square -> T: |a| a.mul(a);
    Reciprocal -> T: |a| if a == T::ZERO { T::RECIPROCAL_OF_ZERO } else { T::ONE.div(a) };
    Same -> T: |a| a;
    Invert -> T: |a| a.not();
    Never -> u8: |_a| 0;
    Always -> u8: |_a| 1;
    Signbit -> u8: |a| (a < T::ZERO) as u8;
    LogicalNot -> u8: |a| (a == T::ZERO) as u8;
}

macro_rules! binary_ops {
    ($($name:ident -> $r:ty: |$a:ident, $b:ident| $body:expr;)*) => {$(
        struct $name;
        impl<T: Int> Map2<T> for $name {
            type R = $r;
            #[inline(always)]
            fn apply($a: T, $b: T) -> $r {
                $body
            }
        }
    )*};
}

binary_ops! {
    Add -> T: |a, b| a.add(b);
    Sub -> T: |a, b| a.sub(b);
    Mul -> T: |a, b| a.mul(b);
    FloorDivide -> T: |a, b| floor_divide(a, b);
    Remainder -> T: |a, b| remainder(a, b);
    Fmod -> T: |a, b| if b == T::ZERO { T::ZERO } else { a.rem(b) };
    Pow -> T: |a, b| pow(a, b);
    Maximum -> T: |a, b| a.max(b);
    Minimum -> T: |a, b| a.min(b);
    Less -> u8: |a, b| (a < b) as u8;
    LessEqual -> u8: |a, b| (a <= b) as u8;
    Greater -> u8: |a, b| (a > b) as u8;
    GreaterEqual -> u8: |a, b| (a >= b) as u8;
    Equal -> u8: |a, b| (a == b) as u8;
    NotEqual -> u8: |a, b| (a != b) as u8;
    LogicalAnd -> u8: |a, b| ((a != T::ZERO) & (b != T::ZERO)) as u8;
    LogicalOr -> u8: |a, b| ((a != T::ZERO) | (b != T::ZERO)) as u8;
    LogicalXor -> u8: |a, b| ((a != T::ZERO) ^ (b != T::ZERO)) as u8;
    BoolEqual -> u8: |a, b| ((a == T::ZERO) == (b == T::ZERO)) as u8;
    BoolLess -> u8: |a, b| ((a == T::ZERO) & (b != T::ZERO)) as u8;
    BoolLessEqual -> u8: |a, b| ((a == T::ZERO) | (b != T::ZERO)) as u8;
    BoolGreater -> u8: |a, b| ((a != T::ZERO) & (b == T::ZERO)) as u8;
    BoolGreaterEqual -> u8: |a, b| ((a != T::ZERO) | (b == T::ZERO)) as u8;
    BitAnd -> T: |a, b| a.and(b);
    BitOr -> T: |a, b| a.or(b);
    BitXor -> T: |a, b| a.xor(b);
    ShiftLeft -> T: |a, b| a.shl(b);
    ShiftRight -> T: |a, b| a.shr(b);
    Gcd -> T: |a, b| a.gcd(b);
    Lcm -> T: |a, b| {
        let g = a.gcd(b);
        if g == T::ZERO { T::ZERO } else { magnitude(magnitude(a).div(g).mul(magnitude(b))) }
    };
}

#[cfg(test)]
mod tests {
    use super::super::available;
    use super::super::map::testing::{pairs, run1, run2};
    use super::*;
    use proptest::prelude::*;

    const MIN: i64 = i64::MIN;

    fn on_i64(op: Binary, a: &[i64], b: &[i64]) -> Vec<i64> {
        let results: Vec<Vec<i64>> =
            available().into_iter().map(|isa| run2(binary_on(isa, op, DType::I64).unwrap(), a, b)).collect();
        assert!(results.iter().all(|r| *r == results[0]), "{op:?} differs between instruction sets");
        results[0].clone()
    }

    #[test]
    fn division_and_its_relatives_as_numpy() {
        // Columns computed by NumPy 2.
        let a = [MIN, MIN, 5, -5, 5, 0, -7, 7];
        let b = [-1, 0, 0, 2, -2, 0, -2, -2];
        assert_eq!(on_i64(Binary::FloorDivide, &a, &b), [MIN, 0, 0, -3, -3, 0, 3, -4]);
        assert_eq!(on_i64(Binary::Remainder, &a, &b), [0, 0, 0, 1, -1, 0, -1, -1]);
        assert_eq!(on_i64(Binary::Fmod, &a, &b), [0, 0, 0, -1, 1, 0, -1, 1]);
        assert_eq!(on_i64(Binary::Gcd, &a, &b), [1, MIN, 5, 1, 1, 0, 1, 1]);
        assert_eq!(on_i64(Binary::Lcm, &a, &b), [MIN, 0, 0, 10, 10, 0, 14, 14]);
        assert_eq!(on_i64(Binary::ShiftLeft, &[1, 1, 1, -8], &[63, 64, -1, 70]), [MIN, 0, 0, 0]);
        assert_eq!(on_i64(Binary::ShiftRight, &[-1, 8, -8, 8], &[63, 64, -1, 70]), [-1, 0, -1, 0]);
        assert_eq!(on_i64(Binary::Pow, &[3, 2, 2, -2, 0, 7], &[4, 63, 64, 3, 0, 1]), [81, MIN, 0, -8, 1, 7]);
        assert_eq!(on_i64(Binary::Pow, &[1, -1, -1, 2, 0], &[-3, -3, -4, -1, -1]), [1, -1, 1, 0, 0]);
    }

    #[test]
    fn all_bytes_against_wide_arithmetic() {
        let every: Vec<u8> = (0..=255).collect();
        let (a, b) = pairs(&every, &every);
        type Model = fn(i32, i32) -> i32;
        let models: [(Binary, Model); 16] = [
            (Binary::Add, |a, b| a + b),
            (Binary::Sub, |a, b| a - b),
            (Binary::Mul, |a, b| a * b),
            (Binary::FloorDivide, |a, b| if b == 0 { 0 } else { a / b }),
            (Binary::Remainder, |a, b| if b == 0 { 0 } else { a % b }),
            (Binary::Maximum, |a, b| a.max(b)),
            (Binary::Minimum, |a, b| a.min(b)),
            (Binary::Less, |a, b| (a < b) as i32),
            (Binary::LessEqual, |a, b| (a <= b) as i32),
            (Binary::Greater, |a, b| (a > b) as i32),
            (Binary::GreaterEqual, |a, b| (a >= b) as i32),
            (Binary::Equal, |a, b| (a == b) as i32),
            (Binary::NotEqual, |a, b| (a != b) as i32),
            (Binary::LogicalXor, |a, b| ((a != 0) != (b != 0)) as i32),
            (Binary::ShiftLeft, |a, b| if b < 8 { a << b } else { 0 }),
            (Binary::BitXor, |a, b| a ^ b),
        ];
        for isa in available() {
            for (op, model) in models {
                let got: Vec<u8> = run2(binary_on(isa, op, DType::U8).unwrap(), &a, &b);
                let want: Vec<u8> = a.iter().zip(&b).map(|(x, y)| model(*x as i32, *y as i32) as u8).collect();
                assert!(got == want, "{op:?} on {isa:?}");
            }
        }
    }

    #[test]
    fn bool_counts_any_byte_as_true() {
        let (a, b) = pairs(&[0u8, 1, 7], &[0u8, 1, 7]);
        type Model = fn(bool, bool) -> bool;
        let models: [(Binary, Model); 10] = [
            (Binary::Add, |a, b| a | b),
            (Binary::Mul, |a, b| a & b),
            (Binary::Maximum, |a, b| a | b),
            (Binary::Minimum, |a, b| a & b),
            (Binary::BitXor, |a, b| a ^ b),
            (Binary::Equal, |a, b| a == b),
            (Binary::Less, |a, b| !a & b),
            (Binary::LessEqual, |a, b| a <= b),
            (Binary::Greater, |a, b| a & !b),
            (Binary::GreaterEqual, |a, b| a >= b),
        ];
        for isa in available() {
            for (op, model) in models {
                let got: Vec<u8> = run2(binary_on(isa, op, DType::Bool).unwrap(), &a, &b);
                let want: Vec<u8> = a.iter().zip(&b).map(|(x, y)| model(*x != 0, *y != 0) as u8).collect();
                assert_eq!(got, want, "{op:?} on {isa:?}");
            }
            let not: Vec<u8> = run1(unary_on(isa, Unary::Invert, DType::Bool).unwrap(), &[0u8, 1, 7]);
            assert_eq!(not, [1, 0, 0]);
        }
    }

    #[test]
    fn what_numpy_refuses_or_promotes_has_no_kernel() {
        for op in [Binary::Sub, Binary::Div, Binary::FloorDivide, Binary::Pow, Binary::ShiftLeft, Binary::Gcd] {
            assert!(binary(op, DType::Bool).is_none(), "{op:?}");
        }
        for dtype in [DType::U8, DType::I32, DType::I64] {
            assert!(binary(Binary::Div, dtype).is_none());
            assert!(binary(Binary::Hypot, dtype).is_none());
            assert!(unary(Unary::Exp, dtype).is_none());
        }
        for op in [Unary::Neg, Unary::Sign, Unary::Square, Unary::Reciprocal] {
            assert!(unary(op, DType::Bool).is_none(), "{op:?}");
        }
        assert!(binary(Binary::Add, DType::F64).is_none());
        assert!(unary(Unary::Neg, DType::F64).is_none());
    }

    #[test]
    fn unary_operations_as_numpy() {
        for isa in available() {
            let on = |op, a: &[i64]| -> Vec<i64> { run1(unary_on(isa, op, DType::I64).unwrap(), a) };
            let a = [0, 1, -1, 2, -7, MIN, i64::MAX];
            assert_eq!(on(Unary::Neg, &a), [0, -1, 1, -2, 7, MIN, -i64::MAX]);
            assert_eq!(on(Unary::Abs, &a), [0, 1, 1, 2, 7, MIN, i64::MAX]);
            assert_eq!(on(Unary::Sign, &a), [0, 1, -1, 1, -1, -1, 1]);
            assert_eq!(on(Unary::Reciprocal, &a), [MIN, 1, -1, 0, 0, 0, 0]);
            assert_eq!(on(Unary::Square, &a), [0, 1, 1, 4, 49, 0, 1]);
            assert_eq!(on(Unary::Invert, &a), [-1, -2, 0, -3, 6, i64::MAX, MIN]);
            assert_eq!(on(Unary::Rint, &a), a);
            let predicate = |op| -> Vec<u8> { run1(unary_on(isa, op, DType::I64).unwrap(), &a) };
            assert_eq!(predicate(Unary::Signbit), [0, 0, 1, 0, 1, 1, 0]);
            assert_eq!(predicate(Unary::LogicalNot), [1, 0, 0, 0, 0, 0, 0]);
            assert_eq!(predicate(Unary::IsFinite), [1; 7]);
            assert_eq!(predicate(Unary::IsNan), [0; 7]);
        }
    }

    proptest! {
        #[test]
        fn i32_against_wide_arithmetic(pairs in proptest::collection::vec((any::<i32>(), -9i32..9), 1..70)) {
            let (a, b): (Vec<i32>, Vec<i32>) = pairs.into_iter().unzip();
            type Model = fn(i64, i64) -> i64;
            let models: [(Binary, Model); 6] = [
                (Binary::Add, |a, b| a + b),
                (Binary::Mul, |a, b| a * b),
                (Binary::FloorDivide, |a, b| if b == 0 { 0 } else { (a as f64 / b as f64).floor() as i64 }),
                (Binary::Remainder, |a, b| {
                    if b == 0 { 0 } else { a - b * (a as f64 / b as f64).floor() as i64 }
                }),
                (Binary::Fmax, |a, b| a.max(b)),
                (Binary::ShiftRight, |a, b| if b < 0 { -((a < 0) as i64) } else { a >> b }),
            ];
            for isa in available() {
                for (op, model) in models {
                    let got: Vec<i32> = run2(binary_on(isa, op, DType::I32).unwrap(), &a, &b);
                    let want: Vec<i32> = a.iter().zip(&b).map(|(x, y)| model(*x as i64, *y as i64) as i32).collect();
                    prop_assert_eq!(&got, &want, "{:?} on {:?}", op, isa);
                }
            }
        }
    }
}
