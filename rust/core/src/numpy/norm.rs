//! Norms of vectors and matrices. At zero the derivative of a norm is 0.

use super::axes::reduced;
use super::operand::float_of;
use super::reduce::finish;
use crate::ops::{Binary, ReduceOp, Unary};
use crate::tape::{Axes, NodeId, Tape, shape};
use crate::{Error, Result};

/// Which norm: `ord` of np.linalg.norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// 2 for vectors, Frobenius for matrices.
    Default,
    Frobenius,
    Nuclear,
    /// A number, infinities among them.
    Number(f64),
}

impl Order {
    pub fn by_name(name: &str) -> Option<Order> {
        Some(match name {
            "fro" => Order::Frobenius,
            "nuc" => Order::Nuclear,
            _ => return None,
        })
    }
}

/// np.linalg.norm: of a vector along one axis, of a matrix in two; of all elements for neither order nor axes.
pub fn norm(t: &mut Tape, x: NodeId, order: Order, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let dtype = float_of("norm", t.dtype(x))?;
    let x = t.cast(x, dtype)?;
    let rank = t.rank(x);
    if axes.is_none() && order == Order::Default {
        return vector_norm(t, x, 2.0, None, keepdims);
    }
    let set: Vec<i64> = match axes {
        Some(axes) => axes.to_vec(),
        None => (0..rank as i64).collect(),
    };
    match (set.as_slice(), order) {
        ([_], Order::Default) => vector_norm(t, x, 2.0, Some(&set), keepdims),
        ([_], Order::Number(p)) => vector_norm(t, x, p, Some(&set), keepdims),
        ([_], _) => Err(Error::Value(format!(
            "norm: invalid norm order {order:?} for vectors; use a number or None (shape {})",
            shape::show(t.shape(x))
        ))),
        (&[rows, columns], _) => matrix_norm(t, x, order, (rows, columns), keepdims),
        _ => Err(Error::Value(format!(
            "norm: improper number of dimensions to norm: {}; give an axis, or two for a matrix norm",
            set.len()
        ))),
    }
}

/// (Σ |x|^p)^(1/p), and its limits; over all of the `axes` as one.
pub fn vector_norm(t: &mut Tape, x: NodeId, p: f64, axes: Option<&[i64]>, keepdims: bool) -> Result<NodeId> {
    let dtype = float_of("vector_norm", t.dtype(x))?;
    let x = t.cast(x, dtype)?;
    let set = reduced("norm", axes, t.rank(x))?;
    let y = if p == 2.0 {
        let s = t.square(x)?;
        let s = t.sum(s, &set)?;
        rooted(t, s, |t, s| t.unary(Unary::Sqrt, s))?
    } else if p.is_infinite() {
        let a = t.unary(Unary::Abs, x)?;
        return if p > 0.0 {
            super::reduce::max(t, a, axes, keepdims)
        } else {
            super::reduce::min(t, a, axes, keepdims)
        };
    } else if p == 0.0 {
        let zero = t.lit_like(0.0, x)?;
        let other = t.binary(Binary::NotEqual, x, zero)?;
        let ones = t.cast(other, dtype)?;
        t.sum(ones, &set)?
    } else if p == 1.0 {
        let a = t.unary(Unary::Abs, x)?;
        t.sum(a, &set)?
    } else if p.is_nan() {
        return Err(Error::Value("norm: invalid norm order nan for vectors".into()));
    } else {
        let a = t.unary(Unary::Abs, x)?;
        let s = t.powf(a, p)?;
        let s = t.sum(s, &set)?;
        rooted(t, s, |t, s| t.powf(s, 1.0 / p))?
    };
    finish(t, y, x, &set, keepdims)
}

/// A root of `s`, whose derivative is taken as 0 where s is 0.
fn rooted(t: &mut Tape, s: NodeId, root: impl Fn(&mut Tape, NodeId) -> Result<NodeId>) -> Result<NodeId> {
    let zero = t.lit_like(0.0, s)?;
    let one = t.lit_like(1.0, s)?;
    let at_zero = t.equal(s, zero)?;
    let safe = t.select(at_zero, one, s)?;
    let y = root(t, safe)?;
    t.select(at_zero, zero, y)
}

/// Norms of the matrices in two axes.
pub fn matrix_norm(t: &mut Tape, x: NodeId, order: Order, axes: (i64, i64), keepdims: bool) -> Result<NodeId> {
    let dtype = float_of("matrix_norm", t.dtype(x))?;
    let x = t.cast(x, dtype)?;
    let rank = t.rank(x);
    let (rows, columns) = (shape::axis("norm", axes.0, rank)?, shape::axis("norm", axes.1, rank)?);
    if rows == columns {
        return Err(Error::Value(format!("norm: duplicate axes given: {} and {}", axes.0, axes.1)));
    }
    let both: Axes = [rows.min(columns) as u8, rows.max(columns) as u8].into_iter().collect();
    let y = match order {
        Order::Default | Order::Frobenius => {
            let s = t.square(x)?;
            let s = t.sum(s, &both)?;
            rooted(t, s, |t, s| t.unary(Unary::Sqrt, s))?
        }
        Order::Number(p) if p.abs() == 1.0 || p.is_infinite() => {
            // the largest (or smallest) sum down the columns, or along the rows
            let (down, across) = if p.is_infinite() { (columns, rows) } else { (rows, columns) };
            let a = t.unary(Unary::Abs, x)?;
            let s = t.sum(a, &[down as u8])?;
            let left = (across - (across > down) as usize) as u8;
            if t.shape(s)[left as usize] == 0 {
                return Err(Error::Value(format!("norm: no rows or columns in shape {}", shape::show(t.shape(x)))));
            }
            t.reduce(if p > 0.0 { ReduceOp::Max } else { ReduceOp::Min }, s, &[left])?
        }
        Order::Nuclear | Order::Number(2.0 | -2.0) => {
            let mut perm: Axes = (0..rank as u8).filter(|a| !both.contains(a)).collect();
            perm.extend([rows as u8, columns as u8]);
            let x = t.transpose(x, &perm)?;
            let [_, s, _] = super::linalg::svd(t, x)?;
            let last = [t.rank(s) as u8 - 1];
            if t.shape(s)[last[0] as usize] == 0 && order != Order::Nuclear {
                return Err(Error::Value(format!("norm: no singular values in shape {}", shape::show(t.shape(x)))));
            }
            match order {
                Order::Nuclear => t.sum(s, &last)?,
                Order::Number(p) if p > 0.0 => t.reduce(ReduceOp::Max, s, &last)?,
                _ => t.reduce(ReduceOp::Min, s, &last)?,
            }
        }
        Order::Number(p) => {
            return Err(Error::Value(format!(
                "norm: invalid norm order {p} for matrices; use 'fro', 'nuc', 1, -1, 2, -2 or ±np.inf"
            )));
        }
    };
    finish(t, y, x, &both, keepdims)
}
