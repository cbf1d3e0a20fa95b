//! The elementwise operations and reductions by name. Their derivative rules are in the core's `ops`.

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

impl Unary {
    /// NumPy's name.
    pub fn label(self) -> &'static str {
        use Unary::*;
        match self {
            Neg => "negative",
            Abs => "absolute",
            Sign => "sign",
            Square => "square",
            Reciprocal => "reciprocal",
            Floor => "floor",
            Ceil => "ceil",
            Trunc => "trunc",
            Rint => "rint",
            Sqrt => "sqrt",
            Cbrt => "cbrt",
            Exp => "exp",
            Exp2 => "exp2",
            Expm1 => "expm1",
            Log => "log",
            Log2 => "log2",
            Log10 => "log10",
            Log1p => "log1p",
            Sin => "sin",
            Cos => "cos",
            Tan => "tan",
            Arcsin => "arcsin",
            Arccos => "arccos",
            Arctan => "arctan",
            Sinh => "sinh",
            Cosh => "cosh",
            Tanh => "tanh",
            Arcsinh => "arcsinh",
            Arccosh => "arccosh",
            Arctanh => "arctanh",
            Erf => "erf",
            Erfc => "erfc",
            Erfinv => "erfinv",
            Expit => "expit",
            LogExpit => "log_expit",
            Gammaln => "gammaln",
            Digamma => "digamma",
            Polygamma(_) => "polygamma",
            IsNan => "isnan",
            IsInf => "isinf",
            IsFinite => "isfinite",
            Signbit => "signbit",
            LogicalNot => "logical_not",
            Invert => "invert",
        }
    }

    /// Whether the result is bool whatever the argument is.
    pub fn is_predicate(self) -> bool {
        matches!(self, Unary::IsNan | Unary::IsInf | Unary::IsFinite | Unary::Signbit | Unary::LogicalNot)
    }
}

impl Binary {
    /// NumPy's name.
    pub fn label(self) -> &'static str {
        use Binary::*;
        match self {
            Add => "add",
            Sub => "subtract",
            Mul => "multiply",
            Div => "divide",
            FloorDivide => "floor_divide",
            Remainder => "remainder",
            Fmod => "fmod",
            Pow => "power",
            Maximum => "maximum",
            Minimum => "minimum",
            Fmax => "fmax",
            Fmin => "fmin",
            Arctan2 => "arctan2",
            Hypot => "hypot",
            Logaddexp => "logaddexp",
            Logaddexp2 => "logaddexp2",
            Copysign => "copysign",
            Nextafter => "nextafter",
            Xlogy => "xlogy",
            Xlog1py => "xlog1py",
            Less => "less",
            LessEqual => "less_equal",
            Greater => "greater",
            GreaterEqual => "greater_equal",
            Equal => "equal",
            NotEqual => "not_equal",
            LogicalAnd => "logical_and",
            LogicalOr => "logical_or",
            LogicalXor => "logical_xor",
            BitAnd => "bitwise_and",
            BitOr => "bitwise_or",
            BitXor => "bitwise_xor",
            ShiftLeft => "left_shift",
            ShiftRight => "right_shift",
            Gcd => "gcd",
            Lcm => "lcm",
        }
    }

    /// Whether the result is bool whatever the arguments are.
    pub fn is_predicate(self) -> bool {
        use Binary::*;
        matches!(
            self,
            Less | LessEqual | Greater | GreaterEqual | Equal | NotEqual | LogicalAnd | LogicalOr | LogicalXor
        )
    }
}

/// Reductions of many elements to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    Sum,
    Prod,
    Max,
    Min,
    /// Of bool.
    Any,
    /// Of bool.
    All,
}
