//! Shapes, dtypes and messages; what NumPy says of each case was asked of NumPy 2.4.

mod index;
mod product;
mod reduce;
mod shape;
mod ufunc;
mod values;

use super::Operand;
use crate::exec::buffer::Buffer;
use crate::plan;
use crate::tape::{DType, NodeId, Tape, Value};
use crate::{Error, Result};

/// An array whose values do not matter.
fn array(t: &mut Tape, shape: &[usize], dtype: DType) -> NodeId {
    t.abstract_param(0, shape.into(), dtype).unwrap()
}

fn float(t: &mut Tape, shape: &[usize]) -> NodeId {
    array(t, shape, DType::F64)
}

fn shape_of(t: &Tape, x: Result<NodeId>) -> Vec<usize> {
    t.shape(x.unwrap()).to_vec()
}

#[track_caller]
fn fails<T: std::fmt::Debug>(r: Result<T>, says: &str) -> Error {
    let e = r.expect_err("must be refused");
    assert!(e.to_string().contains(says), "{e} does not say {says:?}");
    e
}

fn weak(id: NodeId) -> Operand {
    Operand::Node { id, weak: true }
}

fn known(t: &mut Tape, shape: &[usize], values: &[f64]) -> NodeId {
    let mut buffer = Buffer::new(size_of_val(values)).unwrap();
    buffer.as_mut_slice::<f64>().copy_from_slice(values);
    t.param(Value::Array(std::sync::Arc::new(buffer)), shape.into(), DType::F64).unwrap()
}

/// The numbers behind a float64 or int64 node.
fn values(t: &Tape, x: NodeId) -> Vec<f64> {
    let e = plan::extract_exact(t, &[x]).unwrap();
    let p = plan::plan_for(e.program).unwrap();
    let given: Vec<Value> = e.params.iter().map(|&x| t.node(x).value.clone().unwrap()).collect();
    let result = if e.outputs.is_empty() {
        t.node(x).value.clone().unwrap()
    } else {
        p.run(&p.params_of(&given)).unwrap().remove(0)
    };
    match (result, t.dtype(x)) {
        (Value::Scalar(bits), d) => vec![crate::tape::value::number_of(bits, d)],
        (Value::Array(b), DType::I64) => b.as_slice::<i64>().iter().map(|&v| v as f64).collect(),
        (Value::Array(b), _) => b.as_slice::<f64>().to_vec(),
    }
}

#[track_caller]
fn near(t: &Tape, x: NodeId, expected: &[f64]) {
    let got = values(t, x);
    let close = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-13 * (1.0 + b.abs()) || a.is_nan() && b.is_nan();
    assert!(
        got.len() == expected.len() && got.iter().zip(expected).all(|(&a, &b)| close(a, b)),
        "{got:?} is not {expected:?}"
    );
}

/// The derivative of the sum of f(x).
fn slope(t: &mut Tape, x: NodeId, f: impl Fn(&mut Tape, NodeId) -> Result<NodeId>) -> NodeId {
    let x = t.alias(x).unwrap();
    let y = f(t, x).unwrap();
    let one = t.lit_like(1.0, y).unwrap();
    crate::walk::vjp(t, &[y], &[one], &[x]).unwrap()[0].unwrap()
}
