//! The kernel of each elementwise operation, and what it costs.
#![allow(unsafe_code)]

use crate::code;
use crate::math::{self, Kernel};
use crate::ops::{Binary, Leaf, Movement, Op, Primitive, Unary, Windowed};
use crate::tape::DType;
use crate::{Error, Result};

/// The kernel of an elementwise operation on inputs of dtype `from` (of `where`: the values).
pub fn elementwise(op: &Op, from: DType, to: DType) -> Result<Kernel> {
    let isa = math::isa();
    let found = match op {
        Op::Unary(u) => math::unary(isa, *u, from),
        Op::Binary(b) => math::binary(isa, *b, from),
        Op::Cast(_) => math::cast::cast(from, to),
        Op::Select(_) => Some(math::select::select(to)),
        Op::Leaf(
            Leaf::Param | Leaf::Literal(_) | Leaf::Iota(_) | Leaf::Eye | Leaf::Alias | Leaf::Stop | Leaf::Dense,
        )
        | Op::Movement(Movement::Broadcast | Movement::Reshape | Movement::Transpose(_))
        | Op::Windowed(Windowed::Slice(_) | Windowed::Update(_) | Windowed::Assemble(_))
        | Op::Reduce(_)
        | Op::ArgReduce(_)
        | Op::MatMul(_)
        | Op::Gather(_)
        | Op::Scan(_)
        | Op::Sort(_)
        | Op::Linalg(_)
        | Op::Project(_)
        | Op::Factor(_)
        | Op::Control(_)
        | Op::Custom(_)
        | Op::Host(_) => return Err(Error::Internal(format!("{} is not elementwise", op.name()))),
    };
    found.ok_or_else(|| {
        Error::Type(format!(
            "{} is not supported for {from}; convert the argument with astype (to float64, say) first",
            op.name()
        ))
    })
}

/// The operation on inputs of dtype `from` as machine code can be made for it.
pub fn generated(op: &Op, from: DType, to: DType) -> Option<code::Op> {
    let found = match op {
        Op::Unary(u) => code::Op::Unary(*u),
        Op::Binary(b) => code::Op::Binary(*b),
        Op::Select(_) => code::Op::Select,
        Op::Cast(_) if from == DType::Bool && matches!(to, DType::F32 | DType::F64) => code::Op::Number,
        _ => return None,
    };
    found.is_known(from).then_some(found)
}

/// Applies a kernel to single numbers.
pub fn on_numbers(kernel: Kernel, bits: &[u64], to: DType) -> u64 {
    #[repr(align(64))]
    struct Line([u64; 16]);
    let mut lines = [Line([0; 16]), Line([0; 16]), Line([0; 16])];
    for (line, &b) in lines.iter_mut().zip(bits) {
        line.0[0] = b;
    }
    let mut dst = Line([0; 16]);
    let [a, b, c] = &lines;
    // SAFETY: every operand has 128 bytes, and one element rounds up to 64.
    unsafe {
        kernel(1, dst.0.as_mut_ptr().cast(), a.0.as_ptr().cast(), b.0.as_ptr().cast(), c.0.as_ptr().cast());
    }
    match to.size() {
        1 => dst.0[0] & 0xff,
        4 => dst.0[0] & 0xffff_ffff,
        _ => dst.0[0],
    }
}

/// Cost of an element in tenths of a nanosecond, roughly, for float64 with wide vectors.
pub fn cost(op: &Op) -> u32 {
    match op {
        Op::Unary(u) => unary_cost(*u),
        Op::Binary(b) => binary_cost(*b),
        Op::Cast(_) | Op::Select(_) => 1,
        Op::Leaf(_) | Op::Movement(_) | Op::Windowed(_) => 2,
        Op::Reduce(_) | Op::ArgReduce(_) | Op::Gather(_) | Op::Scan(_) => 5,
        Op::Project(_) | Op::Custom(_) => 0,
        Op::MatMul(_) | Op::Sort(_) | Op::Linalg(_) | Op::Factor(_) | Op::Control(_) => 100,
        Op::Host(_) => 10_000,
    }
}

fn unary_cost(u: Unary) -> u32 {
    use Unary::*;
    match u {
        Neg | Abs | Sign | Square | Floor | Ceil | Trunc | Rint | IsNan | IsInf | IsFinite | Signbit | LogicalNot
        | Invert => 1,
        Reciprocal | Sqrt => 3,
        Exp | Exp2 => 5,
        Expm1 | Log | Log2 | Log10 | Log1p | Sin | Cos | Tanh | Expit | Cbrt => 8,
        Tan | Arcsin | Arccos | Arctan | Sinh | Cosh | Arcsinh | Arccosh | Arctanh | LogExpit => 12,
        Erf | Erfc | Erfinv => 20,
        Gammaln | Digamma | Polygamma(_) => 100,
    }
}

fn binary_cost(b: Binary) -> u32 {
    use Binary::*;
    match b {
        Add | Sub | Mul | Maximum | Minimum | Fmax | Fmin | Copysign | Less | LessEqual | Greater | GreaterEqual
        | Equal | NotEqual | LogicalAnd | LogicalOr | LogicalXor | BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight => {
            1
        }
        Div => 3,
        Nextafter => 4,
        FloorDivide | Remainder | Fmod => 15,
        Arctan2 | Hypot | Logaddexp | Logaddexp2 | Xlogy | Xlog1py => 20,
        Pow => 25,
        Gcd | Lcm => 100,
    }
}
