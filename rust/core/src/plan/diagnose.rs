//! Where a nan comes from: a program run node by node.

use std::fmt;

use smallvec::SmallVec;

use super::program::{Node, Program};
use super::{Options, Plan};
use crate::Result;
use crate::ops::{Leaf, Op, Primitive};
use crate::tape::{DType, Shape, Value, shape};

/// The first operation whose result is not finite although its arguments are.
#[derive(Debug)]
pub struct Found {
    /// The node of the program. A parameter: the nan was there before.
    pub place: usize,
    pub operation: String,
    pub given: bool,
    arguments: Vec<Seen>,
}

/// What an array holds, in a few numbers.
#[derive(Debug)]
struct Seen {
    shape: Shape,
    dtype: DType,
    range: Option<(f64, f64)>,
    nans: usize,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, shape::show(&self.shape))?;
        match self.range {
            Some((low, high)) if low == high => write!(f, " of {low:?}")?,
            Some((low, high)) => write!(f, " from {low:?} to {high:?}")?,
            None => {}
        }
        if self.nans > 0 { write!(f, " with {} nan", self.nans) } else { Ok(()) }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.given {
            return write!(f, "an argument (or an array that the function holds) of {}", self.arguments[0]);
        }
        write!(f, "{} of ", self.operation)?;
        for (k, a) in self.arguments.iter().enumerate() {
            write!(f, "{}{a}", if k == 0 { "" } else { " and " })?;
        }
        Ok(())
    }
}

fn numbers(v: &Value, shape: &[usize], dtype: DType) -> Vec<f64> {
    let size = shape::size(shape);
    match (v, dtype) {
        (Value::Scalar(bits), d) => vec![crate::tape::value::number_of(*bits, d); size.min(1)],
        (Value::Array(b), DType::F64) => b.as_slice::<f64>()[..size].to_vec(),
        (Value::Array(b), DType::F32) => b.as_slice::<f32>()[..size].iter().map(|&x| f64::from(x)).collect(),
        (Value::Array(b), DType::I64) => b.as_slice::<i64>()[..size].iter().map(|&x| x as f64).collect(),
        (Value::Array(b), DType::I32) => b.as_slice::<i32>()[..size].iter().map(|&x| f64::from(x)).collect(),
        (Value::Array(b), DType::U8 | DType::Bool) => {
            b.as_slice::<u8>()[..size].iter().map(|&x| f64::from(x)).collect()
        }
        (Value::Array(_), DType::C64 | DType::C128) => Vec::new(),
    }
}

/// Whether a value holds a nan, or with `infs` an infinity.
pub fn is_bad(v: &Value, shape: &[usize], dtype: DType, infs: bool) -> bool {
    dtype.is_float() && numbers(v, shape, dtype).iter().any(|x| x.is_nan() || infs && x.is_infinite())
}

fn seen(v: &Value, n: &Node) -> Seen {
    let all = numbers(v, &n.shape, n.dtype);
    let finite = all.iter().copied().filter(|x| !x.is_nan());
    let range = finite.fold(None, |r: Option<(f64, f64)>, x| Some(r.map_or((x, x), |(a, b)| (a.min(x), b.max(x)))));
    Seen { shape: n.shape.clone(), dtype: n.dtype, range, nans: all.iter().filter(|x| x.is_nan()).count() }
}

/// Runs the program node by node until a result is bad.
pub fn first_bad(p: &Program, params: &[Value], infs: bool) -> Result<Option<Found>> {
    let mut values: Vec<Option<Value>> = vec![None; p.nodes.len()];
    for (&at, v) in p.params.iter().zip(params) {
        values[at as usize] = Some(v.clone());
    }
    for (i, n) in p.nodes.iter().enumerate() {
        if n.op.tuple().is_some() {
            continue;
        }
        let given = values[i].is_some();
        if !given {
            values[i] = match n.op {
                Op::Leaf(Leaf::Alias | Leaf::Stop | Leaf::Dense) => values[n.inputs[0] as usize].clone(),
                _ => Some(single(p, i, &values)?),
            };
        }
        let bad = values[i].as_ref().is_some_and(|v| is_bad(v, &n.shape, n.dtype, infs));
        if bad {
            let (of, inputs) = operation(p, i);
            let mut arguments: Vec<Seen> =
                inputs.iter().filter_map(|&x| Some(seen(values[x as usize].as_ref()?, &p.nodes[x as usize]))).collect();
            if given {
                arguments = values[i].iter().map(|v| seen(v, n)).collect();
            }
            return Ok(Some(Found { place: i, operation: of.op.name().to_string(), given, arguments }));
        }
    }
    Ok(None)
}

/// The operation behind a node, which for one of several results is its tuple, and its inputs.
fn operation(p: &Program, i: usize) -> (&Node, SmallVec<[u32; 3]>) {
    let n = &p.nodes[i];
    let of = if matches!(n.op, Op::Project(_)) { &p.nodes[n.inputs[0] as usize] } else { n };
    (of, of.inputs.clone())
}

/// The value of one node, from those of its inputs.
fn single(p: &Program, i: usize, values: &[Option<Value>]) -> Result<Value> {
    let (of, inputs) = operation(p, i);
    let mut one = Program::default();
    let mut given = Vec::new();
    for (k, &x) in inputs.iter().enumerate() {
        let n = &p.nodes[x as usize];
        one.nodes.push(Node {
            op: Op::Leaf(Leaf::Param),
            inputs: SmallVec::new(),
            shape: n.shape.clone(),
            dtype: n.dtype,
        });
        one.params.push(k as u32);
        given.extend(values[x as usize].clone());
    }
    one.nodes.push(Node { inputs: (0..inputs.len() as u32).collect(), ..of.clone() });
    if !std::ptr::eq(of, &p.nodes[i]) {
        let tuple = one.nodes.len() as u32 - 1;
        one.nodes.push(Node { inputs: [tuple].into_iter().collect(), ..p.nodes[i].clone() });
    }
    one.outputs.push(one.nodes.len() as u32 - 1);
    let plan = Plan::new(one, Options::default())?;
    let mut out = plan.run(&plan.params_of(&given))?;
    out.pop().ok_or_else(|| crate::Error::Internal("a program without result".into()))
}
