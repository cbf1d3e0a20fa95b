//! What a pass computes.

use mlgrad_math::ops::{Binary, Unary};
use mlgrad_math::{DType, Isa, isa};

/// An operation on vectors of floating-point numbers, or on masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Unary(Unary),
    Binary(Binary),
    /// A mask, what it chooses where it is set, and elsewhere.
    Select,
    /// A mask as 0 and 1.
    Number,
}

impl Op {
    /// Whether there is code for it where its arguments are of this dtype (of `Select`: what it chooses from).
    pub fn is_known(self, dtype: DType) -> bool {
        use Binary::*;
        use Unary::*;
        let float = matches!(dtype, DType::F32 | DType::F64);
        match self {
            Op::Unary(Neg | Abs | Square | Reciprocal | Floor | Ceil | Trunc | Rint | Sqrt) => float,
            Op::Unary(IsNan | IsInf | IsFinite | Signbit) => float,
            Op::Unary(LogicalNot) => float || dtype == DType::Bool,
            Op::Binary(Add | Sub | Mul | Div | Maximum | Minimum | Fmax | Fmin | Copysign) => float,
            Op::Binary(Less | LessEqual | Greater | GreaterEqual | Equal | NotEqual) => float,
            Op::Binary(LogicalAnd | LogicalOr | LogicalXor) => dtype == DType::Bool,
            Op::Select => float,
            Op::Number => dtype == DType::Bool,
            Op::Unary(_) | Op::Binary(_) => false,
        }
    }

    /// Whether its result is a mask.
    pub(crate) fn makes_mask(self) -> bool {
        match self {
            Op::Unary(u) => u.is_predicate(),
            Op::Binary(b) => b.is_predicate(),
            Op::Select | Op::Number => false,
        }
    }
}

/// An address: bytes from a base, which is either the one that the code is called with or one of a table of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub base: Option<u32>,
    pub offset: i32,
}

/// The result of a step is a vector of numbers or a mask; steps refer to it by their place in the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The elements of an array of floating-point numbers.
    Load(At),
    /// The elements of an array of bool.
    LoadMask(At),
    /// The one element there, everywhere.
    Splat(At),
    /// A number, by its bits, everywhere.
    Number(u64),
    Op(Op, [u32; 3]),
    /// Element i is element `from[i]` of an earlier vector, or 0 where there is none. For [`Span::Once`] alone.
    Permute(u32, Box<[Option<u8>]>),
    /// The first vector, with element `from[i]` of the second one as element i where there is one. For [`Span::Once`] alone.
    Place(u32, u32, Box<[Option<u8>]>),
    /// A mask: which elements have their place from the first number on and before the second.
    Inside(usize, usize),
    /// A mask: which elements are among those that the code is called for. Whole vectors go further.
    Called,
    /// As `Load` where the mask is set, and zeros elsewhere, where nothing is read.
    LoadWhere(At, u32),
}

/// How far a pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Over the number of elements that the code is called with, which is not 0: whole vectors, one after the other.
    Loop,
    /// One vector.
    Once,
}

/// A value that is written. A mask is written as bytes, 0 or 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub value: u32,
    pub at: At,
    /// The mask of the elements that are written, if not whole vectors: of an earlier step than the value, and
    /// the same for all places that a value is written to.
    pub only: Option<u32>,
}

impl Store {
    /// Of whole vectors.
    pub fn new(value: u32, at: At) -> Store {
        Store { value, at, only: None }
    }
}

#[derive(Clone, Debug)]
pub struct Pass {
    /// F32 or F64: of all vectors.
    pub dtype: DType,
    pub span: Span,
    pub steps: Vec<Step>,
    pub stores: Vec<Store>,
}

impl Pass {
    pub fn new(dtype: DType, span: Span) -> Pass {
        Pass { dtype, span, steps: Vec::new(), stores: Vec::new() }
    }

    pub fn push(&mut self, step: Step) -> u32 {
        self.steps.push(step);
        (self.steps.len() - 1) as u32
    }

    /// Elements of a vector.
    pub fn lanes(dtype: DType) -> usize {
        64 / dtype.size()
    }
}

/// The pointers of a table that code can keep at hand.
pub const BASES: usize = 11;

/// Whether there is code for this machine, with the instruction set in use.
pub fn has_code() -> bool {
    cfg!(target_arch = "x86_64") && isa() == Isa::Avx512
}
