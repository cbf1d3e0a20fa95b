//! Shapes, dtypes and messages; what NumPy says of each case was asked of NumPy 2.4.

mod index;
mod product;
mod reduce;
mod shape;
mod ufunc;

use super::Operand;
use crate::tape::{DType, NodeId, Tape};
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
