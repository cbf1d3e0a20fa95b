//! Elementwise operations of one argument: builder, derivatives, batching.

use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10};

use super::{Batch, Cotangents, Op, Primitive, Reverse, Unary, Zeros};
use crate::tape::{DType, NodeId, Tape};
use crate::{Error, Result};

/// The derivative of an elementwise operation of one argument.
trait Slope {
    /// `g · f'(x)` for y = f(x), or `None` where the derivative is zero everywhere. Serves both directions.
    fn slope(self, t: &mut Tape, x: NodeId, y: NodeId, g: NodeId) -> Result<Option<NodeId>>;
}

impl Slope for Unary {
    fn slope(self, t: &mut Tape, x: NodeId, y: NodeId, g: NodeId) -> Result<Option<NodeId>> {
        use Unary::*;
        let d = match self {
            Neg => t.neg(g)?,
            Abs => {
                let s = t.unary(Sign, x)?;
                t.mul(g, s)?
            }
            Square => {
                let f = t.scale(x, 2.0)?;
                t.mul(g, f)?
            }
            Reciprocal => {
                let y2 = t.square(y)?;
                let gy = t.mul(g, y2)?;
                t.neg(gy)?
            }
            Sqrt => {
                let h = t.scale(g, 0.5)?;
                t.div(h, y)?
            }
            Cbrt => {
                let y2 = t.square(y)?;
                let f = t.scale(y2, 3.0)?;
                t.div(g, f)?
            }
            Exp => t.mul(g, y)?,
            Exp2 => {
                let f = t.scale(y, LN_2)?;
                t.mul(g, f)?
            }
            Expm1 => {
                // exp(x) rather than y + 1, which loses everything for very negative x
                let f = t.unary(Exp, x)?;
                t.mul(g, f)?
            }
            Log => t.div(g, x)?,
            Log2 => {
                let f = t.scale(x, LN_2)?;
                t.div(g, f)?
            }
            Log10 => {
                let f = t.scale(x, LN_10)?;
                t.div(g, f)?
            }
            Log1p => {
                let f = t.shift(x, 1.0)?;
                t.div(g, f)?
            }
            Sin => {
                let f = t.unary(Cos, x)?;
                t.mul(g, f)?
            }
            Cos => {
                let s = t.unary(Sin, x)?;
                let f = t.mul(g, s)?;
                t.neg(f)?
            }
            Tan => {
                let y2 = t.square(y)?;
                let f = t.shift(y2, 1.0)?;
                t.mul(g, f)?
            }
            Arcsin | Arccos => {
                let f = t.one_minus_square(x)?;
                let r = t.unary(Sqrt, f)?;
                let d = t.div(g, r)?;
                if self == Arcsin { d } else { t.neg(d)? }
            }
            Arctan => {
                let x2 = t.square(x)?;
                let f = t.shift(x2, 1.0)?;
                t.div(g, f)?
            }
            Sinh => {
                let f = t.unary(Cosh, x)?;
                t.mul(g, f)?
            }
            Cosh => {
                let f = t.unary(Sinh, x)?;
                t.mul(g, f)?
            }
            Tanh => {
                let y2 = t.square(y)?;
                let one = t.lit_like(1.0, y)?;
                let f = t.sub(one, y2)?;
                t.mul(g, f)?
            }
            Arcsinh => {
                // hypot(1, x) does not overflow where x² would
                let one = t.lit_like(1.0, x)?;
                let r = t.binary(super::Binary::Hypot, one, x)?;
                t.div(g, r)?
            }
            Arccosh => {
                let below = t.shift(x, -1.0)?;
                let above = t.shift(x, 1.0)?;
                let (p, q) = (t.unary(Sqrt, below)?, t.unary(Sqrt, above)?);
                let r = t.mul(p, q)?;
                t.div(g, r)?
            }
            Arctanh => {
                let f = t.one_minus_square(x)?;
                t.div(g, f)?
            }
            Erf | Erfc => {
                let x2 = t.square(x)?;
                let n = t.neg(x2)?;
                let e = t.unary(Exp, n)?;
                let f = t.scale(e, if self == Erf { FRAC_2_SQRT_PI } else { -FRAC_2_SQRT_PI })?;
                t.mul(g, f)?
            }
            Erfinv => {
                let y2 = t.square(y)?;
                let e = t.unary(Exp, y2)?;
                let f = t.scale(e, 1.0 / FRAC_2_SQRT_PI)?;
                t.mul(g, f)?
            }
            Expit => {
                let one = t.lit_like(1.0, y)?;
                let q = t.sub(one, y)?;
                let f = t.mul(y, q)?;
                t.mul(g, f)?
            }
            LogExpit => {
                let n = t.neg(x)?;
                let f = t.unary(Expit, n)?;
                t.mul(g, f)?
            }
            Gammaln => {
                let f = t.unary(Digamma, x)?;
                t.mul(g, f)?
            }
            Digamma => {
                let f = t.unary(Polygamma(1), x)?;
                t.mul(g, f)?
            }
            Polygamma(n) => {
                let next = n.checked_add(1).ok_or_else(|| {
                    Error::Value("polygamma: derivatives beyond order 255 are not available".to_string())
                })?;
                let f = t.unary(Polygamma(next), x)?;
                t.mul(g, f)?
            }
            Sign | Floor | Ceil | Trunc | Rint | IsNan | IsInf | IsFinite | Signbit | LogicalNot | Invert => {
                return Ok(None);
            }
        };
        Ok(Some(d))
    }
}

impl Primitive for Unary {
    fn name(&self) -> &'static str {
        self.label()
    }

    fn attributes(&self) -> String {
        match self {
            Unary::Polygamma(n) => format!("n={n}"),
            _ => String::new(),
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let x = r.t.input(node, 0);
        Ok([self.slope(r.t, x, node, g)?.map(Into::into)].into_iter().collect())
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let x = t.input(node, 0);
        match tangents[0] {
            Some(g) => self.slope(t, x, node, g),
            None => Ok(None),
        }
    }

    fn batch(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<NodeId> {
        t.unary(*self, b.inputs[0].0)
    }

    fn zeros(&self) -> Zeros {
        Zeros::Elementwise
    }

    fn singular(&self) -> bool {
        use Unary::*;
        // exp and its kin are here too: their slope overflows
        !matches!(self, Neg | Abs | Sin | Cos | Tanh | Erf | Erfc | Expit | LogExpit | Arctan | Arcsinh)
    }
}

impl Tape {
    /// An elementwise operation of one argument whose dtype has it.
    pub fn unary(&mut self, op: Unary, x: NodeId) -> Result<NodeId> {
        if op == Unary::Neg && *self.op(x) == Op::Unary(Unary::Neg) {
            return Ok(self.input(x, 0));
        }
        if op == Unary::LogicalNot && self.dtype(x) == DType::Bool && *self.op(x) == Op::Unary(Unary::LogicalNot) {
            let inner = self.input(x, 0);
            if self.dtype(inner) == DType::Bool {
                return Ok(inner);
            }
        }
        let dtype = if op.is_predicate() { DType::Bool } else { self.dtype(x) };
        self.push_like(op.into(), &[x], dtype)
    }

    pub fn neg(&mut self, x: NodeId) -> Result<NodeId> {
        self.unary(Unary::Neg, x)
    }

    pub fn square(&mut self, x: NodeId) -> Result<NodeId> {
        self.unary(Unary::Square, x)
    }

    /// c · x
    pub fn scale(&mut self, x: NodeId, c: f64) -> Result<NodeId> {
        let c = self.lit_like(c, x)?;
        self.mul(x, c)
    }

    /// x + c
    pub fn shift(&mut self, x: NodeId, c: f64) -> Result<NodeId> {
        let c = self.lit_like(c, x)?;
        self.add(x, c)
    }

    /// 1 - x², without cancellation near ±1
    fn one_minus_square(&mut self, x: NodeId) -> Result<NodeId> {
        let one = self.lit_like(1.0, x)?;
        let below = self.sub(one, x)?;
        let above = self.add(one, x)?;
        self.mul(below, above)
    }
}
