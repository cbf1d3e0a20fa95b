//! NumPy's and scipy.special's universal functions: one row each.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

use super::operand::{self, Operand, broadcast_shape, materialise, no_complex, result_dtype};
use crate::ops::{Binary, Unary};
use crate::tape::{DType, NodeId, Tape};
use crate::{Error, Result};

/// The results of a ufunc: nearly always one.
pub type Outputs = SmallVec<[NodeId; 2]>;

/// How the dtype to compute in follows from the operands.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// The common dtype.
    Any,
    /// The same; bool is refused with NumPy's advice.
    NoBool(&'static str),
    /// The same; NumPy gives int8 for bool, which is not supported.
    Int8ForBool,
    /// Bool and integers.
    Bits,
    /// Integers; NumPy gives int8 for bool.
    Shift,
    /// Integers without bool.
    Integers,
    /// float32, float64; larger integers become float64; NumPy gives float16 for bool and uint8, which is not supported.
    Float,
    /// float32, float64; everything else becomes float64.
    Widen,
    /// The same, but bool and uint8 become float32.
    Narrow,
    /// float64 always.
    Double,
    /// The common dtype, but a Python int that does not fit it is compared all the same.
    Compare,
    /// Each operand as bool.
    Truth,
}

/// What the nodes are.
#[derive(Clone, Copy)]
enum Make {
    Same,
    One(Unary),
    Two(Binary),
    From1(fn(&mut Tape, NodeId) -> Result<NodeId>),
    From2(fn(&mut Tape, NodeId, NodeId) -> Result<NodeId>),
    Pair1(fn(&mut Tape, NodeId) -> Result<[NodeId; 2]>),
    Pair2(fn(&mut Tape, NodeId, NodeId) -> Result<[NodeId; 2]>),
    /// Has its own way with the operands.
    Own(usize, fn(&mut Tape, &[Operand]) -> Result<NodeId>),
}

struct Row {
    name: &'static str,
    rule: Rule,
    make: Make,
}

/// A universal function.
#[derive(Clone, Copy)]
pub struct Ufunc(&'static Row);

const NEGATIVE: &str = "the numpy boolean negative, the `-` operator, is not supported, use the `~` operator or the logical_not \
                        function instead";
const SUBTRACT: &str = "numpy boolean subtract, the `-` operator, is not supported, use the bitwise_xor, the `^` operator, or the \
                        logical_xor function instead";
const NO_LOOP: &str = "has no version for bool; use x.astype(np.int64) first";

macro_rules! rows {
    ($($rule:expr => { $($name:literal $make:expr),* $(,)? })*) => {
        &[$($(Row { name: $name, rule: $rule, make: $make },)*)*]
    };
}

use Make::{From1, From2, One, Own, Pair1, Pair2, Same, Two};

#[rustfmt::skip]
static TABLE: &[Row] = rows! {
    Rule::Any => {
        "add" Two(Binary::Add), "multiply" Two(Binary::Mul),
        "maximum" Two(Binary::Maximum), "minimum" Two(Binary::Minimum), "fmax" Two(Binary::Fmax), "fmin" Two(Binary::Fmin),
        "absolute" From1(absolute), "abs" From1(absolute),
        "floor" From1(floor), "ceil" From1(ceil), "trunc" From1(trunc), "fix" From1(trunc),
        "isnan" One(Unary::IsNan), "isinf" One(Unary::IsInf), "isfinite" One(Unary::IsFinite),
        "signbit" One(Unary::Signbit), "logical_not" One(Unary::LogicalNot),
    }
    Rule::NoBool(NEGATIVE) => { "negative" One(Unary::Neg) }
    Rule::NoBool(SUBTRACT) => { "subtract" Two(Binary::Sub) }
    Rule::NoBool(NO_LOOP) => { "positive" Same, "sign" One(Unary::Sign) }
    Rule::Int8ForBool => {
        "square" One(Unary::Square), "reciprocal" One(Unary::Reciprocal), "conjugate" Same, "conj" Same,
        "floor_divide" Two(Binary::FloorDivide), "remainder" Two(Binary::Remainder), "mod" Two(Binary::Remainder),
        "fmod" Two(Binary::Fmod), "divmod" Pair2(divmod), "power" Own(2, power), "pow" Own(2, power),
    }
    Rule::Bits => {
        "bitwise_and" Two(Binary::BitAnd), "bitwise_or" Two(Binary::BitOr), "bitwise_xor" Two(Binary::BitXor),
        "invert" One(Unary::Invert), "bitwise_not" One(Unary::Invert), "bitwise_invert" One(Unary::Invert),
    }
    Rule::Shift => {
        "left_shift" Two(Binary::ShiftLeft), "bitwise_left_shift" Two(Binary::ShiftLeft),
        "right_shift" Two(Binary::ShiftRight), "bitwise_right_shift" Two(Binary::ShiftRight),
    }
    Rule::Integers => { "gcd" Two(Binary::Gcd), "lcm" Two(Binary::Lcm) }
    Rule::Compare => {
        "less" Two(Binary::Less), "less_equal" Two(Binary::LessEqual), "greater" Two(Binary::Greater),
        "greater_equal" Two(Binary::GreaterEqual), "equal" Two(Binary::Equal), "not_equal" Two(Binary::NotEqual),
    }
    Rule::Truth => {
        "logical_and" Two(Binary::LogicalAnd), "logical_or" Two(Binary::LogicalOr), "logical_xor" Two(Binary::LogicalXor),
    }
    Rule::Widen => {
        "divide" Two(Binary::Div), "true_divide" Two(Binary::Div),
        // scipy.special
        "erf" One(Unary::Erf), "erfc" One(Unary::Erfc), "expit" One(Unary::Expit), "log_expit" One(Unary::LogExpit),
        "logit" From1(logit), "gammaln" One(Unary::Gammaln), "loggamma" From1(loggamma),
        "digamma" One(Unary::Digamma), "psi" One(Unary::Digamma), "xlogy" Two(Binary::Xlogy), "xlog1py" Two(Binary::Xlog1py),
        "exp10" From1(exp10), "ndtr" From1(ndtr), "betaln" From2(betaln), "sinc" From1(sinc),
        "gamma" From1(gamma), "gammasgn" From1(gamma_sign), "beta" From2(beta), "log_ndtr" From1(log_ndtr),
        "huber" From2(huber), "pseudo_huber" From2(pseudo_huber),
    }
    Rule::Narrow => {
        "erfinv" One(Unary::Erfinv), "entr" From1(entr), "rel_entr" From2(rel_entr), "kl_div" From2(kl_div),
    }
    Rule::Double => { "float_power" Own(2, float_power), "polygamma" Own(2, polygamma) }
    Rule::Float => {
        "sqrt" One(Unary::Sqrt), "cbrt" One(Unary::Cbrt), "exp" One(Unary::Exp), "exp2" One(Unary::Exp2),
        "expm1" One(Unary::Expm1), "log" One(Unary::Log), "log2" One(Unary::Log2), "log10" One(Unary::Log10),
        "log1p" One(Unary::Log1p), "sin" One(Unary::Sin), "cos" One(Unary::Cos), "tan" One(Unary::Tan),
        "arcsin" One(Unary::Arcsin), "asin" One(Unary::Arcsin), "arccos" One(Unary::Arccos), "acos" One(Unary::Arccos),
        "arctan" One(Unary::Arctan), "atan" One(Unary::Arctan), "sinh" One(Unary::Sinh), "cosh" One(Unary::Cosh),
        "tanh" One(Unary::Tanh), "arcsinh" One(Unary::Arcsinh), "asinh" One(Unary::Arcsinh),
        "arccosh" One(Unary::Arccosh), "acosh" One(Unary::Arccosh), "arctanh" One(Unary::Arctanh),
        "atanh" One(Unary::Arctanh), "rint" One(Unary::Rint), "fabs" One(Unary::Abs),
        "degrees" From1(degrees), "rad2deg" From1(degrees), "radians" From1(radians), "deg2rad" From1(radians),
        "arctan2" Two(Binary::Arctan2), "atan2" Two(Binary::Arctan2), "hypot" Two(Binary::Hypot),
        "logaddexp" Two(Binary::Logaddexp), "logaddexp2" Two(Binary::Logaddexp2),
        "copysign" Two(Binary::Copysign), "nextafter" Two(Binary::Nextafter), "heaviside" From2(heaviside),
        "modf" Pair1(modf), "ldexp" Own(2, ldexp), "softplus" From1(softplus),
    }
};

impl std::fmt::Debug for Ufunc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<ufunc {}>", self.0.name)
    }
}

impl Ufunc {
    /// By the name that NumPy or scipy.special gives it.
    pub fn by_name(name: &str) -> Option<Ufunc> {
        static NAMES: OnceLock<FxHashMap<&'static str, Ufunc>> = OnceLock::new();
        NAMES.get_or_init(|| TABLE.iter().map(|row| (row.name, Ufunc(row))).collect()).get(name).copied()
    }

    /// Every name there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.name)
    }

    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// How many operands it takes.
    pub fn nin(self) -> usize {
        match self.0.make {
            Same | One(_) | From1(_) | Pair1(_) => 1,
            Two(_) | From2(_) | Pair2(_) => 2,
            Own(n, _) => n,
        }
    }

    /// How many results it gives.
    pub fn nout(self) -> usize {
        if matches!(self.0.make, Pair1(_) | Pair2(_)) { 2 } else { 1 }
    }

    pub fn call(self, t: &mut Tape, args: &[Operand]) -> Result<Outputs> {
        let Row { name, rule, make } = self.0;
        if args.len() != self.nin() {
            return Err(Error::Type(format!("{name}() takes {} arguments but {} were given", self.nin(), args.len())));
        }
        if let Own(_, f) = make {
            return Ok(smallvec![f(t, args)?]);
        }
        if let Some(result) = self.plain(t, args)? {
            return Ok(smallvec![result]);
        }
        let dtype = resolve(t, name, *rule, args)?;
        let shape = broadcast_shape(t, name, args)?;
        let operand = |t: &mut Tape, a: Operand| -> Result<NodeId> {
            match rule {
                Rule::Truth => truth(t, a, &shape),
                _ => materialise(t, a, dtype, &shape),
            }
        };
        let x = operand(t, args[0])?;
        if let [_, second] = *args {
            let y = operand(t, second)?;
            return Ok(match make {
                Two(op) => smallvec![t.binary(*op, x, y)?],
                From2(f) => smallvec![f(t, x, y)?],
                Pair2(f) => SmallVec::from_buf(f(t, x, y)?),
                _ => return Err(Error::Internal(format!("{name} called with two operands"))),
            });
        }
        Ok(match make {
            Same => smallvec![x],
            One(op) => smallvec![t.unary(*op, x)?],
            From1(f) => smallvec![f(t, x)?],
            Pair1(f) => SmallVec::from_buf(f(t, x)?),
            _ => return Err(Error::Internal(format!("{name} called with one operand"))),
        })
    }

    /// The common case, where there is nothing to promote or broadcast: floating-point nodes of one dtype and shape, and
    /// Python floats beside them.
    fn plain(self, t: &mut Tape, args: &[Operand]) -> Result<Option<NodeId>> {
        let keeps_floats = match self.0.rule {
            Rule::Any
            | Rule::NoBool(_)
            | Rule::Int8ForBool
            | Rule::Float
            | Rule::Widen
            | Rule::Narrow
            | Rule::Compare => true,
            Rule::Bits | Rule::Shift | Rule::Integers | Rule::Double | Rule::Truth => false,
        };
        let float = |t: &Tape, id: NodeId| keeps_floats && t.dtype(id).is_float();
        Ok(match (self.0.make, args) {
            (One(op), &[Operand::Node { id, .. }]) if float(t, id) => Some(t.unary(op, id)?),
            (Two(op), &[Operand::Node { id: a, .. }, Operand::Node { id: b, .. }])
                if float(t, a) && t.dtype(a) == t.dtype(b) && t.shape(a) == t.shape(b) =>
            {
                Some(t.binary(op, a, b)?)
            }
            (Two(op), &[Operand::Node { id, .. }, number @ Operand::Float(_)]) if float(t, id) => {
                let (dtype, shape) = (t.dtype(id), t.shape_of(id));
                let y = materialise(t, number, dtype, &shape)?;
                Some(t.binary(op, id, y)?)
            }
            (Two(op), &[number @ Operand::Float(_), Operand::Node { id, .. }]) if float(t, id) => {
                let (dtype, shape) = (t.dtype(id), t.shape_of(id));
                let x = materialise(t, number, dtype, &shape)?;
                Some(t.binary(op, x, id)?)
            }
            _ => None,
        })
    }

    /// `call` for what has one result.
    pub(crate) fn one(self, t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
        Ok(self.call(t, args)?[0])
    }
}

/// Records the ufunc `name` of the table.
pub(crate) fn ufunc(t: &mut Tape, name: &str, args: &[Operand]) -> Result<NodeId> {
    let f = Ufunc::by_name(name).ok_or_else(|| Error::Internal(format!("no ufunc {name}")))?;
    f.one(t, args)
}

/// The dtype to compute in.
fn resolve(t: &Tape, name: &str, rule: Rule, args: &[Operand]) -> Result<DType> {
    if args.iter().any(|a| a.dtype(t).is_complex()) {
        return Err(no_complex(name));
    }
    let common = result_dtype(t, args)?;
    let small = matches!(common, DType::Bool | DType::U8);
    let fail = |m: String| Err(Error::Type(m));
    match rule {
        Rule::Any | Rule::Truth => Ok(common),
        Rule::NoBool(advice) if common == DType::Bool => fail(format!("{name}: {advice}")),
        Rule::Int8ForBool | Rule::Shift if common == DType::Bool => {
            fail(format!("{name}: NumPy gives int8 for bool, which mlgrad does not have; use x.astype(np.int64) first"))
        }
        Rule::Bits | Rule::Shift | Rule::Integers if common.is_float() => fail(format!(
            "ufunc '{name}' not supported for {common}: it is for {}; convert with x.astype(np.int64)",
            if rule == Rule::Bits { "bool and integers" } else { "integers" }
        )),
        Rule::Integers if common == DType::Bool => fail(format!("{name}: {NO_LOOP}")),
        Rule::NoBool(_) | Rule::Int8ForBool | Rule::Bits | Rule::Shift | Rule::Integers => Ok(common),
        Rule::Float if small => fail(format!(
            "{name}: NumPy gives float16 for {common}, which mlgrad does not have; use x.astype(np.float64) first"
        )),
        Rule::Narrow if small => Ok(DType::F32),
        Rule::Float | Rule::Widen | Rule::Narrow => Ok(if common.is_float() { common } else { DType::F64 }),
        Rule::Double => Ok(DType::F64),
        Rule::Compare => {
            let outside = args.iter().any(|a| matches!(a, Operand::Int(v) if !operand::fits(*v, common)));
            Ok(if outside { DType::I64 } else { common })
        }
    }
}

/// The operand as bool: whether it differs from 0.
pub(crate) fn truth(t: &mut Tape, a: Operand, shape: &[usize]) -> Result<NodeId> {
    match a.number() {
        Some(v) => t.literal((v != 0.0) as u8 as f64, shape, DType::Bool),
        None => {
            let x = a.to_node(t)?;
            let b = t.cast(x, DType::Bool)?;
            t.broadcast_to(b, shape)
        }
    }
}

fn absolute(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    if matches!(t.dtype(x), DType::Bool | DType::U8) { Ok(x) } else { t.unary(Unary::Abs, x) }
}

fn rounded(t: &mut Tape, op: Unary, x: NodeId) -> Result<NodeId> {
    if t.dtype(x).is_float() { t.unary(op, x) } else { Ok(x) }
}

fn floor(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    rounded(t, Unary::Floor, x)
}

fn ceil(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    rounded(t, Unary::Ceil, x)
}

fn trunc(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    rounded(t, Unary::Trunc, x)
}

fn degrees(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    t.scale(x, 180.0 / PI)
}

fn radians(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    t.scale(x, PI / 180.0)
}

fn divmod(t: &mut Tape, x: NodeId, y: NodeId) -> Result<[NodeId; 2]> {
    Ok([t.binary(Binary::FloorDivide, x, y)?, t.binary(Binary::Remainder, x, y)?])
}

/// The fraction, with the sign of x, and the integer part.
fn modf(t: &mut Tape, x: NodeId) -> Result<[NodeId; 2]> {
    let one = t.lit_like(1.0, x)?;
    let zero = t.lit_like(0.0, x)?;
    let fraction = t.binary(Binary::Fmod, x, one)?;
    let infinite = t.unary(Unary::IsInf, x)?;
    let nothing = t.binary(Binary::Copysign, zero, x)?;
    Ok([t.select(infinite, nothing, fraction)?, t.unary(Unary::Trunc, x)?])
}

fn heaviside(t: &mut Tape, x: NodeId, at_zero: NodeId) -> Result<NodeId> {
    let (zero, one) = (t.lit_like(0.0, x)?, t.lit_like(1.0, x)?);
    let below = t.binary(Binary::Less, x, zero)?;
    let step = t.select(below, zero, one)?;
    let equal = t.equal(x, zero)?;
    let step = t.select(equal, at_zero, step)?;
    let nan = t.unary(Unary::IsNan, x)?;
    let unknown = t.lit_like(f64::NAN, x)?;
    t.select(nan, unknown, step)
}

fn softplus(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let zero = t.lit_like(0.0, x)?;
    t.binary(Binary::Logaddexp, zero, x)
}

fn logit(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let negative = t.neg(x)?;
    let (p, q) = (t.unary(Unary::Log, x)?, t.unary(Unary::Log1p, negative)?);
    t.sub(p, q)
}

/// The real branch: nan below 0, unlike gammaln.
fn loggamma(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let y = t.unary(Unary::Gammaln, x)?;
    let zero = t.lit_like(0.0, x)?;
    let below = t.binary(Binary::Less, x, zero)?;
    let nan = t.lit_like(f64::NAN, x)?;
    t.select(below, nan, y)
}

fn exp10(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let ten = t.lit_like(10.0, x)?;
    t.binary(Binary::Pow, ten, x)
}

/// The normal distribution function.
fn ndtr(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let z = t.scale(x, -FRAC_1_SQRT_2)?;
    let y = t.unary(Unary::Erfc, z)?;
    t.scale(y, 0.5)
}

/// log of the normal distribution function. Far out on the left, where that itself would be 0, by its asymptotic series.
fn log_ndtr(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let (zero, far) = (t.lit_like(0.0, x)?, t.lit_like(-20.0, x)?);
    let z = t.scale(x, FRAC_1_SQRT_2)?;
    let upper = t.unary(Unary::Erfc, z)?;
    let upper = t.scale(upper, -0.5)?;
    let right = t.unary(Unary::Log1p, upper)?;
    let z = t.neg(z)?;
    let lower = t.unary(Unary::Erfc, z)?;
    let lower = t.scale(lower, 0.5)?;
    let middle = t.unary(Unary::Log, lower)?;
    let is_far = t.binary(Binary::Less, x, far)?;
    let safe = t.select(is_far, x, far)?;
    let square = t.square(safe)?;
    let u = t.unary(Unary::Reciprocal, square)?;
    // 1 - u (1 - 3u (1 - 5u (1 - …)))
    let mut series = t.lit_like(1.0, x)?;
    for k in (1..=9).rev() {
        let term = t.mul(u, series)?;
        let term = t.scale(term, -(2.0 * k as f64 - 1.0))?;
        series = t.shift(term, 1.0)?;
    }
    let size = t.neg(safe)?;
    let (log_series, log_size) = (t.unary(Unary::Log, series)?, t.unary(Unary::Log, size)?);
    let half = t.scale(square, -0.5)?;
    let left = t.sub(half, log_size)?;
    let left = t.shift(left, -0.5 * (2.0 * PI).ln())?;
    let left = t.add(left, log_series)?;
    let positive = t.binary(Binary::Greater, x, zero)?;
    let y = t.select(positive, right, middle)?;
    t.select(is_far, left, y)
}

/// The sign of Γ(x): nan at the negative integers, 1 at 0.
fn gamma_sign(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let (zero, one) = (t.lit_like(0.0, x)?, t.lit_like(1.0, x)?);
    let two = t.lit_like(2.0, x)?;
    let whole = t.unary(Unary::Floor, x)?;
    let odd = t.binary(Binary::Remainder, whole, two)?;
    let twice = t.add(odd, odd)?;
    let sign = t.sub(one, twice)?;
    let pole = t.equal(whole, x)?;
    let nan = t.lit_like(f64::NAN, x)?;
    let sign = t.select(pole, nan, sign)?;
    let below = t.binary(Binary::Less, x, zero)?;
    t.select(below, sign, one)
}

/// Γ(x) by way of its logarithm, to about |log Γ(x)| rounding errors.
fn gamma(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let size = t.unary(Unary::Gammaln, x)?;
    let size = t.unary(Unary::Exp, size)?;
    let sign = gamma_sign(t, x)?;
    t.mul(size, sign)
}

fn beta(t: &mut Tape, a: NodeId, b: NodeId) -> Result<NodeId> {
    let size = betaln(t, a, b)?;
    let size = t.unary(Unary::Exp, size)?;
    let sum = t.add(a, b)?;
    let (p, q, r) = (gamma_sign(t, a)?, gamma_sign(t, b)?, gamma_sign(t, sum)?);
    let sign = t.mul(p, q)?;
    let sign = t.mul(sign, r)?;
    t.mul(size, sign)
}

/// r²/2 up to |r| = δ, then δ (|r| - δ/2); inf for δ < 0.
fn huber(t: &mut Tape, delta: NodeId, r: NodeId) -> Result<NodeId> {
    let size = t.unary(Unary::Abs, r)?;
    let square = t.square(r)?;
    let inside = t.scale(square, 0.5)?;
    let half = t.scale(delta, 0.5)?;
    let beyond = t.sub(size, half)?;
    let outside = t.mul(delta, beyond)?;
    let near = t.binary(Binary::LessEqual, size, delta)?;
    let y = t.select(near, inside, outside)?;
    negative_is_infinite(t, delta, y)
}

/// δ² (√(1 + (r/δ)²) - 1); 0 for δ = 0, inf for δ < 0.
fn pseudo_huber(t: &mut Tape, delta: NodeId, r: NodeId) -> Result<NodeId> {
    let (zero, one) = (t.lit_like(0.0, r)?, t.lit_like(1.0, r)?);
    let flat = t.equal(delta, zero)?;
    let safe = t.select(flat, one, delta)?;
    let q = t.div(r, safe)?;
    // √(1 + q²) - 1 without cancellation
    let h = t.binary(Binary::Hypot, one, q)?;
    let above = t.add(h, one)?;
    let square = t.square(q)?;
    let f = t.div(square, above)?;
    let delta2 = t.square(safe)?;
    let y = t.mul(delta2, f)?;
    let y = t.select(flat, zero, y)?;
    negative_is_infinite(t, delta, y)
}

fn negative_is_infinite(t: &mut Tape, delta: NodeId, y: NodeId) -> Result<NodeId> {
    let zero = t.lit_like(0.0, delta)?;
    let below = t.binary(Binary::Less, delta, zero)?;
    let infinity = t.lit_like(f64::INFINITY, y)?;
    t.select(below, infinity, y)
}

fn betaln(t: &mut Tape, a: NodeId, b: NodeId) -> Result<NodeId> {
    let sum = t.add(a, b)?;
    let (p, q, r) = (t.unary(Unary::Gammaln, a)?, t.unary(Unary::Gammaln, b)?, t.unary(Unary::Gammaln, sum)?);
    let d = t.sub(q, r)?;
    t.add(p, d)
}

/// sin(πx)/(πx); up to |πx| = 1 as a series, since the derivatives of the quotient cancel near 0.
fn sinc(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let (zero, one) = (t.lit_like(0.0, x)?, t.lit_like(1.0, x)?);
    let y = t.scale(x, PI)?;
    let size = t.unary(Unary::Abs, y)?;
    let near = t.binary(Binary::Less, size, one)?;
    let far = t.select(near, one, y)?;
    let s = t.unary(Unary::Sin, far)?;
    let quotient = t.div(s, far)?;
    let small = t.select(near, y, zero)?;
    let y2 = t.square(small)?;
    // Σ (-y²)^k / (2k + 1)!, by Horner's rule: each term is -y² / (2k (2k + 1)) times the one before
    let mut series = one;
    for k in (1..=10).rev() {
        let term = t.mul(series, y2)?;
        let term = t.scale(term, -1.0 / f64::from(2 * k * (2 * k + 1)))?;
        series = t.shift(term, 1.0)?;
    }
    t.select(near, series, quotient)
}

/// -x log x: 0 at 0, -inf below.
fn entr(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let y = t.binary(Binary::Xlogy, x, x)?;
    let y = t.neg(y)?;
    let zero = t.lit_like(0.0, x)?;
    let below = t.binary(Binary::Less, x, zero)?;
    let lowest = t.lit_like(f64::NEG_INFINITY, x)?;
    t.select(below, lowest, y)
}

/// x log(x/y): 0 at x = 0 ≤ y, inf where it is undefined.
fn rel_entr(t: &mut Tape, x: NodeId, y: NodeId) -> Result<NodeId> {
    let zero = t.lit_like(0.0, x)?;
    let (x_low, y_low) = (t.binary(Binary::LessEqual, x, zero)?, t.binary(Binary::LessEqual, y, zero)?);
    let either = t.binary(Binary::LogicalOr, x_low, y_low)?;
    let one = t.lit_like(1.0, x)?;
    let (safe_x, safe_y) = (t.select(either, one, x)?, t.select(either, one, y)?);
    let q = t.div(safe_x, safe_y)?;
    // the quotient of a large and a small number may be none
    let (least, infinity) = (t.lit_like(f64::from(f32::MIN_POSITIVE), q)?, t.lit_like(f64::INFINITY, q)?);
    let (above, below) = (t.binary(Binary::Greater, q, least)?, t.binary(Binary::Less, q, infinity)?);
    let fine = t.binary(Binary::LogicalAnd, above, below)?;
    let safe_q = t.select(fine, q, one)?;
    let l = t.unary(Unary::Log, safe_q)?;
    let (log_x, log_y) = (t.unary(Unary::Log, safe_x)?, t.unary(Unary::Log, safe_y)?);
    let apart = t.sub(log_x, log_y)?;
    let l = t.select(fine, l, apart)?;
    let p = t.mul(safe_x, l)?;
    let x_zero = t.equal(x, zero)?;
    let y_fine = t.binary(Binary::GreaterEqual, y, zero)?;
    let flat = t.binary(Binary::LogicalAnd, x_zero, y_fine)?;
    let highest = t.lit_like(f64::INFINITY, x)?;
    let edge = t.select(flat, zero, highest)?;
    let r = t.select(either, edge, p)?;
    let (nan_x, nan_y) = (t.unary(Unary::IsNan, x)?, t.unary(Unary::IsNan, y)?);
    let nan = t.binary(Binary::LogicalOr, nan_x, nan_y)?;
    let unknown = t.lit_like(f64::NAN, x)?;
    t.select(nan, unknown, r)
}

/// x log(x/y) - x + y
fn kl_div(t: &mut Tape, x: NodeId, y: NodeId) -> Result<NodeId> {
    let r = rel_entr(t, x, y)?;
    let d = t.sub(r, x)?;
    t.add(d, y)
}

/// x · 2ⁿ in two steps, since 2ⁿ alone may overflow.
fn ldexp(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    let dtype = resolve(t, "ldexp", Rule::Float, &args[..1])?;
    let n = args[1].dtype(t);
    if n.is_inexact() {
        return Err(Error::Type(format!("ldexp: the exponents must be integers, got {n}")));
    }
    let shape = broadcast_shape(t, "ldexp", args)?;
    let x = materialise(t, args[0], dtype, &shape)?;
    let n = materialise(t, args[1], DType::I64, &shape)?;
    let two = t.lit_like(2.0, n)?;
    let half = t.binary(Binary::FloorDivide, n, two)?;
    let rest = t.sub(n, half)?;
    let (half, rest) = (t.cast(half, dtype)?, t.cast(rest, dtype)?);
    let (p, q) = (t.unary(Unary::Exp2, half)?, t.unary(Unary::Exp2, rest)?);
    let y = t.mul(x, p)?;
    t.mul(y, q)
}

/// The derivative of order n of digamma, for a Python int n.
fn polygamma(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    let n = match args[0] {
        Operand::Int(n) => n,
        Operand::Float(n) if n.fract() == 0.0 => n as i64,
        _ => {
            return Err(Error::Type("polygamma: the order must be a Python int, since it decides the function".into()));
        }
    };
    let op = match u8::try_from(n) {
        Ok(0) => Unary::Digamma,
        Ok(n) => Unary::Polygamma(n),
        Err(_) => return Err(Error::Value(format!("polygamma: the order must be from 0 to 255, got {n}"))),
    };
    resolve(t, "polygamma", Rule::Double, &args[1..])?;
    let shape = args[1].shape(t);
    let x = materialise(t, args[1], DType::F64, &shape)?;
    t.unary(op, x)
}

fn power(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    // the common case: an array of floats to a number
    if let (Operand::Node { id, .. }, Some(n)) = (args[0], args[1].number())
        && t.dtype(id).is_float()
        && is_special_exponent(n)
    {
        return special_power(t, id, n);
    }
    let dtype = resolve(t, "power", Rule::Int8ForBool, args)?;
    power_in(t, args[0], args[1], dtype)
}

fn float_power(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    resolve(t, "float_power", Rule::Double, args)?;
    power_in(t, args[0], args[1], DType::F64)
}

/// Exponents that a derivative or a kernel looks at are part of a plan's key.
fn is_special_exponent(n: f64) -> bool {
    n.abs() == 0.5 || (n.fract() == 0.0 && n.abs() <= 32.0)
}

fn power_in(t: &mut Tape, base: Operand, exponent: Operand, dtype: DType) -> Result<NodeId> {
    let shape = broadcast_shape(t, "power", &[base, exponent])?;
    if dtype.is_integer() && has_negative(t, exponent) {
        return Err(Error::Value(
            "Integers to negative integer powers are not allowed; make one of them a float".into(),
        ));
    }
    let x = materialise(t, base, dtype, &shape)?;
    match exponent.number() {
        Some(n) if is_special_exponent(n) => special_power(t, x, n),
        _ => {
            let n = materialise(t, exponent, dtype, &shape)?;
            t.binary(Binary::Pow, x, n)
        }
    }
}

fn special_power(t: &mut Tape, x: NodeId, n: f64) -> Result<NodeId> {
    if n == 0.5 && t.dtype(x).is_float() {
        return t.unary(Unary::Sqrt, x);
    }
    let n = t.lit_like(n, x)?;
    t.binary(Binary::Pow, x, n)
}

/// Whether integer exponents, as far as they are known, have a negative one among them.
fn has_negative(t: &Tape, exponent: Operand) -> bool {
    match exponent {
        Operand::Int(n) => n < 0,
        Operand::Node { id, .. } => operand::known_integer(t, id, |n| n < 0).is_some(),
        _ => false,
    }
}
