//! What NumPy functions are called with, and the dtype that several of them have in common.

use std::sync::Arc;

use crate::tape::{DType, NodeId, Shape, Tape, Value, shape, value};
use crate::{Error, Result};

/// An argument of a NumPy function. Exact Python numbers, and weak nodes (traced Python numbers), adapt to the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operand {
    Node { id: NodeId, weak: bool },
    Bool(bool),
    Int(i64),
    Float(f64),
}

impl From<NodeId> for Operand {
    fn from(id: NodeId) -> Operand {
        Operand::Node { id, weak: false }
    }
}

/// How much an operand says about a common dtype.
enum Say {
    Strong(DType),
    WeakInt,
    WeakFloat,
}

impl Operand {
    /// The shape, which is () for a number.
    pub fn shape(&self, t: &Tape) -> Shape {
        match self {
            Operand::Node { id, .. } => t.shape_of(*id),
            _ => Shape::new(),
        }
    }

    /// The dtype that the operand has alone.
    pub fn dtype(&self, t: &Tape) -> DType {
        match self {
            Operand::Node { id, .. } => t.dtype(*id),
            Operand::Bool(_) => DType::Bool,
            Operand::Int(_) => DType::I64,
            Operand::Float(_) => DType::F64,
        }
    }

    /// Whether the operand leaves the dtype to the others.
    pub fn is_weak(&self, t: &Tape) -> bool {
        !matches!(self.say(t), Say::Strong(_))
    }

    fn say(&self, t: &Tape) -> Say {
        match *self {
            Operand::Node { id, weak } => match t.dtype(id) {
                d if weak && d.is_integer() => Say::WeakInt,
                d if weak && d.is_float() => Say::WeakFloat,
                d => Say::Strong(d),
            },
            // a Python bool promotes as NumPy's
            Operand::Bool(_) => Say::Strong(DType::Bool),
            Operand::Int(_) => Say::WeakInt,
            Operand::Float(_) => Say::WeakFloat,
        }
    }

    /// The number, where it is a Python number.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Operand::Node { .. } => None,
            Operand::Bool(v) => Some(v as u8 as f64),
            Operand::Int(v) => Some(v as f64),
            Operand::Float(v) => Some(v),
        }
    }

    /// A node of the operand's own shape and dtype.
    pub fn to_node(&self, t: &mut Tape) -> Result<NodeId> {
        if let Operand::Node { id, .. } = *self {
            return Ok(id);
        }
        let (dtype, shape) = (self.dtype(t), self.shape(t));
        materialise(t, *self, dtype, &shape)
    }
}

/// The dtype of an operation on all of `args`, as NumPy 2 promotes them. Python numbers alone are int64 or float64.
pub fn result_dtype(t: &Tape, args: &[Operand]) -> Result<DType> {
    let mut strong: Option<DType> = None;
    let (mut int, mut float) = (false, false);
    for a in args {
        match a.say(t) {
            Say::Strong(d) => strong = Some(strong.map_or(d, |s| s.promote(d))),
            Say::WeakInt => int = true,
            Say::WeakFloat => float = true,
        }
    }
    let dtype = match strong {
        None | Some(DType::Bool) if float => DType::F64,
        None | Some(DType::Bool) if int || strong.is_none() => DType::I64,
        None => DType::I64,
        Some(d) if float && !d.is_inexact() => DType::F64,
        Some(d) => d,
    };
    if dtype.is_complex() {
        return Err(no_complex("this operation"));
    }
    Ok(dtype)
}

/// The common dtype where NumPy makes arrays of Python numbers first, so that none of them is weak.
pub fn array_dtype(t: &Tape, args: &[Operand]) -> Result<DType> {
    let all = args.iter().map(|a| a.dtype(t)).reduce(DType::promote).unwrap_or(DType::F64);
    if all.is_complex() { Err(no_complex("this operation")) } else { Ok(all) }
}

pub(crate) fn no_complex(what: &str) -> Error {
    Error::Type(format!(
        "{what}: complex numbers are not supported yet; work on the real and imaginary parts as two arrays"
    ))
}

/// The common shape of the operands.
pub fn broadcast_shape(t: &Tape, what: &str, args: &[Operand]) -> Result<Shape> {
    let mut all: smallvec::SmallVec<[&[usize]; 4]> = smallvec::SmallVec::new();
    for a in args {
        all.push(match a {
            Operand::Node { id, .. } => t.shape(*id),
            _ => &[],
        });
    }
    shape::broadcast(what, &all)
}

/// Whether a Python int has a place in `dtype`.
pub(crate) fn fits(v: i64, dtype: DType) -> bool {
    match dtype {
        DType::U8 => u8::try_from(v).is_ok(),
        DType::I32 => i32::try_from(v).is_ok(),
        _ => true,
    }
}

/// The operand as a node of the given dtype and shape.
///
/// Only numbers that a simplification looks at become part of a plan's key; others are parameters, so that a changing
/// learning rate keeps its plan.
pub fn materialise(t: &mut Tape, a: Operand, dtype: DType, shape: &[usize]) -> Result<NodeId> {
    let node = match a {
        Operand::Node { id, .. } => t.cast(id, dtype)?,
        Operand::Bool(v) => return t.literal(v as u8 as f64, shape, dtype),
        Operand::Int(v) => {
            if !fits(v, dtype) {
                return Err(Error::Overflow(format!("Python integer {v} out of bounds for {dtype}")));
            }
            if (-1..=1).contains(&v) || dtype == DType::Bool {
                return t.literal(if dtype == DType::Bool { (v != 0) as u8 as f64 } else { v as f64 }, shape, dtype);
            }
            let bits = if dtype.is_integer() { integer_bits(v, dtype) } else { value::bits_of(v as f64, dtype) };
            t.param(Value::Scalar(bits), Shape::new(), dtype)?
        }
        Operand::Float(v) => {
            if dtype == DType::Bool {
                return t.literal((v != 0.0) as u8 as f64, shape, dtype);
            }
            if v == 0.0 || v.abs() == 1.0 {
                return t.literal(v, shape, dtype);
            }
            t.param(Value::Scalar(value::bits_of(v, dtype)), Shape::new(), dtype)?
        }
    };
    t.broadcast_to(node, shape)
}

/// The bits of an integer that fits, exact also beyond 2^53.
fn integer_bits(v: i64, dtype: DType) -> u64 {
    match dtype {
        DType::U8 => v as u8 as u64,
        DType::I32 => v as i32 as u32 as u64,
        _ => v as u64,
    }
}

/// int64 numbers that are known here: part of the program's data, not of its key.
pub(crate) fn integers(t: &mut Tape, values: &[i64]) -> Result<NodeId> {
    let mut buffer = crate::exec::buffer::Buffer::new(size_of_val(values))?;
    buffer.as_mut_slice::<i64>().copy_from_slice(values);
    t.param(Value::Array(Arc::new(buffer)), [values.len()].as_slice().into(), DType::I64)
}

fn integer_of(bits: u64, dtype: DType) -> i64 {
    match dtype {
        DType::U8 => bits as u8 as i64,
        DType::I32 => bits as u32 as i32 as i64,
        _ => bits as i64,
    }
}

/// The first of the integers behind `id` that `wanted` holds for, as far as their values are known.
pub(crate) fn known_integer(t: &Tape, id: NodeId, wanted: impl Fn(i64) -> bool) -> Option<i64> {
    let node = t.node(id);
    if !node.dtype.is_integer() {
        return None;
    }
    match &node.value {
        None => t.literal_value(id).map(|v| v as i64).filter(|&v| wanted(v)),
        Some(Value::Scalar(bits)) => Some(integer_of(*bits, node.dtype)).filter(|&v| wanted(v)),
        Some(Value::Array(buffer)) => match node.dtype {
            DType::U8 => buffer.as_slice::<u8>().iter().map(|&v| v as i64).find(|&v| wanted(v)),
            DType::I32 => buffer.as_slice::<i32>().iter().map(|&v| v as i64).find(|&v| wanted(v)),
            _ => buffer.as_slice::<i64>().iter().copied().find(|&v| wanted(v)),
        },
    }
}

/// float32 and float64 stay, integers become float64: what NumPy's mean, norm, solve and their like do.
pub(crate) fn float_of(what: &str, dtype: DType) -> Result<DType> {
    match dtype {
        d if d.is_complex() => Err(no_complex(what)),
        d if d.is_float() => Ok(d),
        _ => Ok(DType::F64),
    }
}
