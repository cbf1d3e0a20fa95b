//! How operations and their local derivatives are written: what explanations, symbolic expressions and printed steps show.
//!
//! The texts are Python expressions with NumPy's names. `a`, `b`, `c` stand for the inputs, `y` for the result, `n` for the order
//! of a polygamma function, and `g` for an adjoint. The derivative rules themselves are in the files of the families; tests hold
//! the two against each other.

use super::{ArgReduce, Binary, Gather, Leaf, Linalg, Movement, Op, ReduceOp, Scan, Sort, Unary, Windowed};

/// What the derivatives of a form are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Element by element: the derivative of an element of the result by that element of the input.
    Elementwise,
    /// The derivative of the result by each element that is reduced.
    Reduction,
    /// What becomes of an adjoint `g` on its way back to the input.
    Pullback,
}

#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub value: &'static str,
    pub kind: Kind,
    /// One an input; "0" where nothing flows.
    pub partials: &'static [&'static str],
}

const fn elementwise(value: &'static str, partials: &'static [&'static str]) -> Form {
    Form { value, kind: Kind::Elementwise, partials }
}

const fn pullback(value: &'static str, partials: &'static [&'static str]) -> Form {
    Form { value, kind: Kind::Pullback, partials }
}

impl Op {
    /// The form of the operation; `None` where it has no inputs, or is written by its name alone.
    pub fn form(&self) -> Option<Form> {
        Some(match self {
            Op::Leaf(Leaf::Param | Leaf::Literal(_) | Leaf::Iota(_) | Leaf::Eye)
            | Op::Project(_)
            | Op::Factor(_)
            | Op::Custom(_)
            | Op::Host(_)
            | Op::Control(_) => {
                return None;
            }
            Op::Leaf(Leaf::Alias) => elementwise("a", &["1"]),
            Op::Leaf(Leaf::Dense) => elementwise("a", &["1"]),
            Op::Leaf(Leaf::Stop) => elementwise("stop_gradient(a)", &["0"]),
            Op::Unary(u) => unary(*u),
            Op::Binary(b) => binary(*b),
            Op::Select(_) => elementwise("where(a, b, c)", &["0", "where(a, 1, 0)", "where(a, 0, 1)"]),
            Op::Cast(_) => elementwise("astype(a)", &["1"]),
            Op::Movement(Movement::Broadcast) => pullback("broadcast_to(a)", &["sum(g)"]),
            Op::Movement(Movement::Reshape) => pullback("reshape(a)", &["reshape(g)"]),
            Op::Movement(Movement::Transpose(_)) => pullback("transpose(a)", &["transpose(g)"]),
            Op::Windowed(Windowed::Slice(_)) => pullback("slice(a)", &["embed(g)"]),
            Op::Windowed(Windowed::Update(_)) => pullback("update(a, b)", &["update(g, 0)", "slice(g)"]),
            Op::Windowed(Windowed::Assemble(_)) => pullback("concatenate(a)", &["slice(g)"]),
            Op::Reduce(r) => {
                let (value, partials): (_, &'static [&'static str]) = match r.op {
                    ReduceOp::Sum => ("sum(a)", &["1"]),
                    ReduceOp::Prod => ("prod(a)", &["y/a"]),
                    ReduceOp::Max => ("max(a)", &["(a == y)/sum(a == y)"]),
                    ReduceOp::Min => ("min(a)", &["(a == y)/sum(a == y)"]),
                    ReduceOp::Any => ("any(a)", &["0"]),
                    ReduceOp::All => ("all(a)", &["0"]),
                };
                Form { value, kind: Kind::Reduction, partials }
            }
            Op::ArgReduce(ArgReduce { max: true, .. }) => pullback("argmax(a)", &["0"]),
            Op::ArgReduce(ArgReduce { max: false, .. }) => pullback("argmin(a)", &["0"]),
            Op::MatMul(_) => pullback("a @ b", &["g @ b.T", "a.T @ g"]),
            Op::Gather(Gather::Rows) => pullback("a[b]", &["scatter_add(b, g)", "0"]),
            Op::Gather(Gather::Add { .. }) => pullback("scatter_add(a, b)", &["0", "g[a]"]),
            Op::Gather(Gather::Set) => pullback("scatter(a, b, c)", &["scatter(g, b, 0)", "0", "g[b]"]),
            Op::Gather(Gather::CheckIndex { .. }) => pullback("a", &["0"]),
            Op::Gather(Gather::Nonzero { .. }) => pullback("nonzero(a)", &["0"]),
            Op::Scan(Scan::Cumsum { .. }) => pullback("cumsum(a)", &["cumsum(g[::-1])[::-1]"]),
            Op::Scan(Scan::Recurrence { .. }) => {
                pullback("recurrence(a, b)", &["delay(y)*recurrence(a, g)", "recurrence(a, g)"])
            }
            Op::Sort(Sort::Argsort) => pullback("argsort(a)", &["0"]),
            Op::Sort(Sort::Searchsorted { .. }) => pullback("searchsorted(a, b)", &["0", "0"]),
            Op::Linalg(l) => linalg(l),
        })
    }
}

fn unary(op: Unary) -> Form {
    use Unary::*;
    let (value, partial): (_, &'static [&'static str]) = match op {
        Neg => ("-a", &["-1"]),
        Abs => ("abs(a)", &["sign(a)"]),
        Sign => ("sign(a)", &["0"]),
        Square => ("a**2", &["2*a"]),
        Reciprocal => ("1/a", &["-1/a**2"]),
        Floor => ("floor(a)", &["0"]),
        Ceil => ("ceil(a)", &["0"]),
        Trunc => ("trunc(a)", &["0"]),
        Rint => ("rint(a)", &["0"]),
        Sqrt => ("sqrt(a)", &["1/(2*sqrt(a))"]),
        Cbrt => ("cbrt(a)", &["1/(3*cbrt(a)**2)"]),
        Exp => ("exp(a)", &["exp(a)"]),
        Exp2 => ("exp2(a)", &["exp2(a)*log(2)"]),
        Expm1 => ("expm1(a)", &["exp(a)"]),
        Log => ("log(a)", &["1/a"]),
        Log2 => ("log2(a)", &["1/(a*log(2))"]),
        Log10 => ("log10(a)", &["1/(a*log(10))"]),
        Log1p => ("log1p(a)", &["1/(1 + a)"]),
        Sin => ("sin(a)", &["cos(a)"]),
        Cos => ("cos(a)", &["-sin(a)"]),
        Tan => ("tan(a)", &["1 + tan(a)**2"]),
        Arcsin => ("arcsin(a)", &["1/sqrt(1 - a**2)"]),
        Arccos => ("arccos(a)", &["-1/sqrt(1 - a**2)"]),
        Arctan => ("arctan(a)", &["1/(1 + a**2)"]),
        Sinh => ("sinh(a)", &["cosh(a)"]),
        Cosh => ("cosh(a)", &["sinh(a)"]),
        Tanh => ("tanh(a)", &["1 - tanh(a)**2"]),
        Arcsinh => ("arcsinh(a)", &["1/sqrt(1 + a**2)"]),
        Arccosh => ("arccosh(a)", &["1/(sqrt(a - 1)*sqrt(a + 1))"]),
        Arctanh => ("arctanh(a)", &["1/(1 - a**2)"]),
        Erf => ("erf(a)", &["2*exp(-a**2)/sqrt(pi)"]),
        Erfc => ("erfc(a)", &["-2*exp(-a**2)/sqrt(pi)"]),
        Erfinv => ("erfinv(a)", &["sqrt(pi)*exp(erfinv(a)**2)/2"]),
        Expit => ("expit(a)", &["expit(a)*(1 - expit(a))"]),
        LogExpit => ("log_expit(a)", &["expit(-a)"]),
        Gammaln => ("gammaln(a)", &["digamma(a)"]),
        Digamma => ("digamma(a)", &["polygamma(1, a)"]),
        Polygamma(_) => ("polygamma(n, a)", &["polygamma(n + 1, a)"]),
        IsNan => ("isnan(a)", &["0"]),
        IsInf => ("isinf(a)", &["0"]),
        IsFinite => ("isfinite(a)", &["0"]),
        Signbit => ("signbit(a)", &["0"]),
        LogicalNot => ("logical_not(a)", &["0"]),
        Invert => ("~a", &["0"]),
    };
    elementwise(value, partial)
}

fn binary(op: Binary) -> Form {
    use Binary::*;
    let (value, partials): (_, &'static [&'static str]) = match op {
        Add => ("a + b", &["1", "1"]),
        Sub => ("a - b", &["1", "-1"]),
        Mul => ("a*b", &["b", "a"]),
        Div => ("a/b", &["1/b", "-a/b**2"]),
        FloorDivide => ("a//b", &["0", "0"]),
        Remainder => ("a % b", &["1", "-(a//b)"]),
        Fmod => ("fmod(a, b)", &["1", "-trunc(a/b)"]),
        Pow => ("a**b", &["b*a**(b - 1)", "log(a)*a**b"]),
        Maximum => {
            ("maximum(a, b)", &["where(a > b, 1, where(a < b, 0, 0.5))", "where(b > a, 1, where(b < a, 0, 0.5))"])
        }
        Minimum => {
            ("minimum(a, b)", &["where(a < b, 1, where(a > b, 0, 0.5))", "where(b < a, 1, where(b > a, 0, 0.5))"])
        }
        Fmax => ("fmax(a, b)", &["where(a > b, 1, where(a < b, 0, 0.5))", "where(b > a, 1, where(b < a, 0, 0.5))"]),
        Fmin => ("fmin(a, b)", &["where(a < b, 1, where(a > b, 0, 0.5))", "where(b < a, 1, where(b > a, 0, 0.5))"]),
        Arctan2 => ("arctan2(a, b)", &["b/(a**2 + b**2)", "-a/(a**2 + b**2)"]),
        Hypot => ("hypot(a, b)", &["a/hypot(a, b)", "b/hypot(a, b)"]),
        Logaddexp => ("logaddexp(a, b)", &["expit(a - b)", "expit(b - a)"]),
        Logaddexp2 => ("logaddexp2(a, b)", &["expit(log(2)*(a - b))", "expit(log(2)*(b - a))"]),
        Copysign => ("copysign(a, b)", &["sign(a)*copysign(1, b)", "0"]),
        Nextafter => ("nextafter(a, b)", &["0", "0"]),
        Xlogy => ("xlogy(a, b)", &["log(b)", "a/b"]),
        Xlog1py => ("xlog1py(a, b)", &["log1p(b)", "a/(1 + b)"]),
        Less => ("a < b", &["0", "0"]),
        LessEqual => ("a <= b", &["0", "0"]),
        Greater => ("a > b", &["0", "0"]),
        GreaterEqual => ("a >= b", &["0", "0"]),
        Equal => ("a == b", &["0", "0"]),
        NotEqual => ("a != b", &["0", "0"]),
        LogicalAnd => ("logical_and(a, b)", &["0", "0"]),
        LogicalOr => ("logical_or(a, b)", &["0", "0"]),
        LogicalXor => ("logical_xor(a, b)", &["0", "0"]),
        BitAnd => ("a & b", &["0", "0"]),
        BitOr => ("a | b", &["0", "0"]),
        BitXor => ("a ^ b", &["0", "0"]),
        ShiftLeft => ("a << b", &["0", "0"]),
        ShiftRight => ("a >> b", &["0", "0"]),
        Gcd => ("gcd(a, b)", &["0", "0"]),
        Lcm => ("lcm(a, b)", &["0", "0"]),
    };
    elementwise(value, partials)
}

fn linalg(op: &Linalg) -> Form {
    match op {
        Linalg::Solve => pullback("solve(a, b)", &["-solve(a.T, g) @ y.T", "solve(a.T, g)"]),
        Linalg::SolveSymmetric => pullback("solve(a, b)", &["-solve(a, g) @ y.T", "solve(a, g)"]),
        Linalg::SolveShifted => pullback(
            "solve(a + s*eye, b)",
            &["-solve(a + s*eye, g) @ y.T", "solve(a + s*eye, g)", "-sum(solve(a + s*eye, g)*y)"],
        ),
        Linalg::TriangularSolve { transpose: false, .. } => {
            pullback("solve_triangular(a, b)", &["-solve_triangular(a.T, g) @ y.T", "solve_triangular(a.T, g)"])
        }
        Linalg::TriangularSolve { transpose: true, .. } => {
            pullback("solve_triangular(a.T, b)", &["-y @ solve_triangular(a, g).T", "solve_triangular(a, g)"])
        }
        Linalg::Inv => pullback("inv(a)", &["-y.T @ g @ y.T"]),
        Linalg::Det => pullback("det(a)", &["g*y*inv(a).T"]),
        Linalg::Cofactor => pullback("cofactor(a)", &["sum(g*inv(a).T)*y - y @ g.T @ inv(a).T"]),
        Linalg::Cholesky => pullback("cholesky(a)", &["inv(y).T @ phi(y.T @ g) @ inv(y)"]),
    }
}
