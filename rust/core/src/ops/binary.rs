//! Elementwise operations of two arguments: builder with its simplifications, derivatives, batching.

use std::f64::consts::LN_2;

use super::{Batch, Binary, Cotangent, Cotangents, Primitive, Reverse, Unary, Zeros};
use crate::tape::{DType, NodeId, Tape};
use crate::{Error, Result};

/// The derivatives of an elementwise operation of two arguments.
trait Slopes {
    /// Where argument `k` is not the one that was taken: nothing flows there.
    fn loses(self, t: &mut Tape, k: usize, a: NodeId, b: NodeId) -> Result<Option<NodeId>>;

    /// `g · ∂f/∂(argument k)` for y = f(a, b), or `None` where that is zero everywhere. Serves both directions.
    ///
    /// For the operations that `loses` knows, the result counts only where `loses` is false.
    fn slope(self, t: &mut Tape, k: usize, aby: (NodeId, NodeId, NodeId), g: NodeId) -> Result<Option<NodeId>>;
}

impl Slopes for Binary {
    fn loses(self, t: &mut Tape, k: usize, a: NodeId, b: NodeId) -> Result<Option<NodeId>> {
        use Binary::*;
        let (me, other) = if k == 0 { (a, b) } else { (b, a) };
        let worse = match self {
            Maximum | Fmax => t.binary(Less, me, other)?,
            Minimum | Fmin => t.binary(Greater, me, other)?,
            _ => return Ok(None),
        };
        if matches!(self, Maximum | Minimum) {
            return Ok(Some(worse));
        }
        let (nan_me, nan_other) = (t.unary(Unary::IsNan, me)?, t.unary(Unary::IsNan, other)?);
        let other_is_a_number = t.unary(Unary::LogicalNot, nan_other)?;
        let only_me = t.binary(LogicalAnd, nan_me, other_is_a_number)?;
        Ok(Some(t.binary(LogicalOr, worse, only_me)?))
    }

    fn slope(self, t: &mut Tape, k: usize, (a, b, y): (NodeId, NodeId, NodeId), g: NodeId) -> Result<Option<NodeId>> {
        use Binary::*;
        let (me, other) = if k == 0 { (a, b) } else { (b, a) };
        let d = match self {
            Add => g,
            Sub if k == 0 => g,
            Sub => t.neg(g)?,
            Mul => t.mul(g, other)?,
            Div if k == 0 => t.div(g, b)?,
            Div => {
                let q = t.div(g, b)?;
                let p = t.mul(q, y)?;
                t.neg(p)?
            }
            Remainder | Fmod if k == 0 => g,
            Remainder => {
                let q = t.binary(FloorDivide, a, b)?;
                let p = t.mul(g, q)?;
                t.neg(p)?
            }
            Fmod => {
                let q = t.div(a, b)?;
                let q = t.unary(Unary::Trunc, q)?;
                let p = t.mul(g, q)?;
                t.neg(p)?
            }
            Pow if k == 0 => match t.literal_value(b) {
                Some(n) => {
                    let f = t.powf(a, n - 1.0)?;
                    let f = t.scale(f, n)?;
                    t.mul(g, f)?
                }
                None => {
                    let less = t.shift(b, -1.0)?;
                    let p = t.binary(Pow, a, less)?;
                    let f = t.mul(b, p)?;
                    // a⁰ is 1 for every a, also where a⁻¹ is infinite
                    let zero = t.lit_like(0.0, b)?;
                    let flat = t.binary(Equal, b, zero)?;
                    let f = t.select(flat, zero, f)?;
                    t.mul(g, f)?
                }
            },
            Pow => {
                // 0^b is 0 for every b > 0, also where log 0 is infinite
                let zero = t.lit_like(0.0, a)?;
                let one = t.lit_like(1.0, a)?;
                let at_zero = t.binary(Equal, a, zero)?;
                let safe = t.select(at_zero, one, a)?;
                let l = t.unary(Unary::Log, safe)?;
                let f = t.mul(y, l)?;
                t.mul(g, f)?
            }
            Maximum | Minimum | Fmax | Fmin => {
                // ties share equally
                let tie = t.binary(Equal, me, other)?;
                let half = t.scale(g, 0.5)?;
                t.select(tie, half, g)?
            }
            Arctan2 => {
                // other / (a² + b²), in a form that does not overflow
                let h = t.binary(Hypot, a, b)?;
                let f = t.div(other, h)?;
                let f = t.div(f, h)?;
                let d = t.mul(g, f)?;
                if k == 0 { d } else { t.neg(d)? }
            }
            Hypot => {
                let zero = t.lit_like(0.0, y)?;
                let one = t.lit_like(1.0, y)?;
                let at_zero = t.binary(Equal, y, zero)?;
                // a safe divisor, so that the second derivative at 0 stays free of 0/0
                let safe = t.select(at_zero, one, y)?;
                let f = t.div(me, safe)?;
                t.mul(g, f)?
            }
            Logaddexp | Logaddexp2 => {
                // σ(me - other); equal arguments (infinite ones too) share equally
                let tie = t.binary(Equal, me, other)?;
                let zero = t.lit_like(0.0, me)?;
                let d = t.sub(me, other)?;
                let d = if self == Logaddexp2 { t.scale(d, LN_2)? } else { d };
                let d = if t.dtype(d).is_float() {
                    // keep the slope of the difference where it is finite
                    let finite = t.unary(Unary::IsFinite, me)?;
                    let infinite = t.unary(Unary::LogicalNot, finite)?;
                    let both = t.binary(LogicalAnd, tie, infinite)?;
                    t.select(both, zero, d)?
                } else {
                    d
                };
                let f = t.unary(Unary::Expit, d)?;
                t.mul(g, f)?
            }
            Copysign if k == 0 => {
                let one = t.lit_like(1.0, a)?;
                let s = t.unary(Unary::Sign, a)?;
                let r = t.binary(Copysign, one, b)?;
                let f = t.mul(s, r)?;
                t.mul(g, f)?
            }
            Xlogy | Xlog1py => {
                let d = if self == Xlogy { b } else { t.shift(b, 1.0)? };
                if k == 0 {
                    let l = t.unary(if self == Xlogy { Unary::Log } else { Unary::Log1p }, b)?;
                    t.mul(g, l)?
                } else {
                    // 0 · log b is 0 for every b, also where 1/b is infinite
                    let zero = t.lit_like(0.0, a)?;
                    let one = t.lit_like(1.0, a)?;
                    let flat = t.binary(Equal, a, zero)?;
                    let at_zero = t.binary(Equal, d, zero)?;
                    let both = t.binary(LogicalAnd, flat, at_zero)?;
                    let safe = t.select(both, one, d)?;
                    let q = t.div(a, safe)?;
                    t.mul(g, q)?
                }
            }
            Nextafter => {
                return Err(Error::Type(
                    "nextafter has no derivative; wrap its arguments in mlgrad.stop_gradient".to_string(),
                ));
            }
            Copysign | FloorDivide | Less | LessEqual | Greater | GreaterEqual | Equal | NotEqual | LogicalAnd
            | LogicalOr | LogicalXor | BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight | Gcd | Lcm => return Ok(None),
        };
        Ok(Some(d))
    }
}

impl Primitive for Binary {
    fn name(&self) -> &'static str {
        self.label()
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let (a, b) = (r.t.input(node, 0), r.t.input(node, 1));
        let mut out = super::none(2);
        for (k, slot) in out.iter_mut().enumerate() {
            if !r.want(k) {
                continue;
            }
            let Some(d) = self.slope(r.t, k, (a, b, node), g)? else { continue };
            *slot = Some(match self.loses(r.t, k, a, b)? {
                None => d.into(),
                Some(lost) if r.masks => {
                    let mask = r.t.unary(Unary::LogicalNot, lost)?;
                    Cotangent { node: d, mask: Some(mask) }
                }
                Some(lost) => {
                    let zero = r.t.lit_like(0.0, d)?;
                    r.t.select(lost, zero, d)?.into()
                }
            });
        }
        Ok(out)
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let (a, b) = (t.input(node, 0), t.input(node, 1));
        let mut sum = None;
        for (k, g) in tangents.iter().enumerate() {
            let Some(g) = *g else { continue };
            let Some(mut d) = self.slope(t, k, (a, b, node), g)? else { continue };
            if let Some(lost) = self.loses(t, k, a, b)? {
                let zero = t.lit_like(0.0, d)?;
                d = t.select(lost, zero, d)?;
            }
            sum = Some(match sum {
                None => d,
                Some(s) => t.add(s, d)?,
            });
        }
        Ok(sum)
    }

    fn batch(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<NodeId> {
        let (x, y) = (b.full(t, 0)?, b.full(t, 1)?);
        t.binary(*self, x, y)
    }

    fn zeros(&self) -> Zeros {
        Zeros::Elementwise
    }

    fn singular(&self) -> bool {
        // a product too: the other factor may be infinite
        !matches!(self, Binary::Add | Binary::Sub)
    }
}

impl Tape {
    /// An elementwise operation of two arguments of one shape and dtype.
    pub fn binary(&mut self, op: Binary, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.same(op.label(), &[a, b])?;
        if let Some(known) = self.simplified(op, a, b)? {
            return Ok(known);
        }
        let dtype = if op.is_predicate() { DType::Bool } else { self.dtype(a) };
        self.push_like(op.into(), &[a, b], dtype)
    }

    /// What the operation comes to without a node of its own; never changes a bit of the result (nan payloads apart).
    fn simplified(&mut self, op: Binary, a: NodeId, b: NodeId) -> Result<Option<NodeId>> {
        use Binary::*;
        let dtype = self.dtype(a);
        if dtype == DType::Bool {
            return Ok(None);
        }
        let (x, y) = (self.literal_value(a), self.literal_value(b));
        let negative_zero = |v: f64| v == 0.0 && (v.is_sign_negative() || !dtype.is_inexact());
        Ok(match (op, x, y) {
            (Mul, _, Some(1.0)) | (Div, _, Some(1.0)) if op == Mul || dtype.is_inexact() => Some(a),
            (Mul, Some(1.0), _) => Some(b),
            (Mul, _, Some(-1.0)) if dtype.is_inexact() => Some(self.neg(a)?),
            (Mul, Some(-1.0), _) if dtype.is_inexact() => Some(self.neg(b)?),
            (Add, _, Some(v)) if negative_zero(v) => Some(a),
            (Add, Some(v), _) if negative_zero(v) => Some(b),
            (Sub, _, Some(v)) if v == 0.0 && v.is_sign_positive() => Some(a),
            (Pow, _, Some(1.0)) => Some(a),
            (Pow, _, Some(2.0)) => Some(self.square(a)?),
            (Pow, _, Some(-1.0)) if dtype.is_inexact() => Some(self.unary(Unary::Reciprocal, a)?),
            (Pow, _, Some(0.0)) => Some(self.lit_like(1.0, a)?),
            _ => None,
        })
    }

    pub fn add(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(Binary::Add, a, b)
    }

    pub fn sub(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(Binary::Sub, a, b)
    }

    pub fn mul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(Binary::Mul, a, b)
    }

    pub fn div(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(Binary::Div, a, b)
    }

    /// xⁿ for a number n
    pub fn powf(&mut self, x: NodeId, n: f64) -> Result<NodeId> {
        let n = self.lit_like(n, x)?;
        self.binary(Binary::Pow, x, n)
    }

    pub fn equal(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(Binary::Equal, a, b)
    }
}
