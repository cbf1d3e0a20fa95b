//! The elementwise operations by name. Their derivative rules are in `unary.rs` and `binary.rs`, their kernels in `math`.

/// Elementwise operations of one argument.
///
/// The result has the argument's dtype, but for the predicates (`IsNan` … `LogicalNot`), which give bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum Unary {
    // any number
    Neg, Abs, Sign, Square, Reciprocal, Floor, Ceil, Trunc, Rint,
    // floating point
    Sqrt, Cbrt, Exp, Exp2, Expm1, Log, Log2, Log10, Log1p,
    Sin, Cos, Tan, Arcsin, Arccos, Arctan, Sinh, Cosh, Tanh, Arcsinh, Arccosh, Arctanh,
    Erf, Erfc, Erfinv, Expit, LogExpit, Gammaln, Digamma,
    /// The n-th derivative of digamma, n ≥ 1.
    Polygamma(u8),
    // predicates: bool out
    IsNan, IsInf, IsFinite, Signbit, LogicalNot,
    // bool and integers
    Invert,
}

/// Elementwise operations of two arguments of the same dtype.
///
/// The result has the arguments' dtype, but for the comparisons and the logic (`Less` … `LogicalXor`), which give bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum Binary {
    // any number (on bool, Add is or, Mul is and, Maximum is or, Minimum is and, as in NumPy)
    Add, Sub, Mul, Div, FloorDivide, Remainder, Fmod, Pow, Maximum, Minimum, Fmax, Fmin,
    // floating point
    Arctan2, Hypot, Logaddexp, Logaddexp2, Copysign, Nextafter, Xlogy, Xlog1py,
    // comparisons and logic: bool out
    Less, LessEqual, Greater, GreaterEqual, Equal, NotEqual, LogicalAnd, LogicalOr, LogicalXor,
    // bool and integers
    BitAnd, BitOr, BitXor, ShiftLeft, ShiftRight, Gcd, Lcm,
}
