//! Products that sum: matmul, dot, inner, outer, tensordot, kron, cross. Their sums stay in the dtype of the operands.

use smallvec::SmallVec;

use super::axes::{axis, distinct};
use super::operand::{Operand, array_dtype, broadcast_shape, materialise};
use super::shape::{at_least, part, ravel, to_back};
use super::ufunc::ufunc;
use crate::ops::{Binary, ReduceOp};
use crate::tape::{Axes, DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// The sum in the operands' own dtype, as products have it.
pub(crate) fn sum_in(t: &mut Tape, x: NodeId, axes: &[u8]) -> Result<NodeId> {
    let op = if t.dtype(x) == DType::Bool { ReduceOp::Any } else { ReduceOp::Sum };
    t.reduce(op, x, axes)
}

/// Both operands in their common dtype, in their own shapes.
fn pair(t: &mut Tape, a: Operand, b: Operand) -> Result<(NodeId, NodeId)> {
    let dtype = array_dtype(t, &[a, b])?;
    let (own_a, own_b) = (a.shape(t), b.shape(t));
    Ok((materialise(t, a, dtype, &own_a)?, materialise(t, b, dtype, &own_b)?))
}

pub fn matmul(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    for (k, o) in [a, b].iter().enumerate() {
        if o.shape(t).is_empty() {
            return Err(Error::Value(format!(
                "matmul: input operand {k} does not have enough dimensions (has 0, needs at least 1); use * to multiply by a \
                 number"
            )));
        }
    }
    let (x, y) = pair(t, a, b)?;
    let (p, q) = (t.shape(x).clone(), t.shape(y).clone());
    let (inner_a, inner_b) = (p[p.len() - 1], q[q.len().saturating_sub(2)]);
    if inner_a != inner_b {
        return Err(Error::Value(format!(
            "matmul: shapes {} and {} do not match: the last axis of the first (length {inner_a}) must be as long as the {} \
             of the second (length {inner_b})",
            shape::show(&p),
            shape::show(&q),
            if q.len() == 1 { "axis" } else { "last but one" }
        )));
    }
    match (p.len(), q.len()) {
        (1, 1) => {
            let m = t.binary(Binary::Mul, x, y)?;
            sum_in(t, m, &[0])
        }
        (1, _) => {
            let row = t.reshape(x, &[1, p[0]])?;
            let y = matrices(t, row, y)?;
            let mut to = t.shape(y).clone();
            to.remove(to.len() - 2);
            t.reshape(y, &to)
        }
        (_, 1) => {
            let column = t.reshape(y, &[q[0], 1])?;
            let y = matrices(t, x, column)?;
            let mut to = t.shape(y).clone();
            to.pop();
            t.reshape(y, &to)
        }
        _ => matrices(t, x, y),
    }
}

/// The product of stacks of matrices, whose batch axes are broadcast.
fn matrices(t: &mut Tape, a: NodeId, b: NodeId) -> Result<NodeId> {
    let (p, q) = (t.shape(a).clone(), t.shape(b).clone());
    let (batch_a, batch_b) = (&p[..p.len() - 2], &q[..q.len() - 2]);
    let (m, k, n) = (p[p.len() - 2], p[p.len() - 1], q[q.len() - 1]);
    let mut batch = shape::broadcast("matmul", &[batch_a, batch_b])?;
    let (count_a, count_b) = (shape::size(batch_a), shape::size(batch_b));
    if count_b == 1 && count_a > 0 {
        // one right-hand matrix for all: one large product
        let left = t.reshape(a, &[count_a * m, k])?;
        let right = t.reshape(b, &[k, n])?;
        let y = t.matmul(left, right)?;
        batch.extend([m, n]);
        return t.reshape(y, &batch);
    }
    // one left-hand matrix for all: the same from the other side, unless the copies that it takes cost more than the
    // broadcast matrix, whose derivative has to be summed over the batch
    if count_a == 1 && count_b > 0 && (n == 1 || m * k > n * (m + k)) {
        let left = t.reshape(a, &[m, k])?;
        let left = t.matrix_transpose(left)?;
        let right = t.matrix_transpose(b)?;
        let right = t.reshape(right, &[count_b * n, k])?;
        let y = t.matmul(right, left)?;
        batch.extend([n, m]);
        let y = t.reshape(y, &batch)?;
        return t.matrix_transpose(y);
    }
    let (mut to_a, mut to_b) = (batch.clone(), batch);
    to_a.extend([m, k]);
    to_b.extend([k, n]);
    let (a, b) = (t.broadcast_to(a, &to_a)?, t.broadcast_to(b, &to_b)?);
    t.matmul(a, b)
}

/// (…, m, k) · (…, k): a matrix and a vector for each of a batch.
pub fn matvec(t: &mut Tape, a: Operand, x: Operand) -> Result<NodeId> {
    let x = column(t, "matvec", x, true)?;
    let y = matmul(t, a, x.into())?;
    let mut to = t.shape(y).clone();
    to.pop();
    t.reshape(y, &to)
}

/// (…, k) · (…, k, n)
pub fn vecmat(t: &mut Tape, x: Operand, a: Operand) -> Result<NodeId> {
    let x = column(t, "vecmat", x, false)?;
    let y = matmul(t, x.into(), a)?;
    let mut to = t.shape(y).clone();
    to.remove(to.len().saturating_sub(2));
    t.reshape(y, &to)
}

fn column(t: &mut Tape, what: &str, x: Operand, behind: bool) -> Result<NodeId> {
    let mut to = x.shape(t);
    if to.is_empty() {
        return Err(Error::Value(format!("{what}: the vector must have at least one dimension")));
    }
    let x = x.to_node(t)?;
    to.insert(to.len() - !behind as usize, 1);
    t.reshape(x, &to)
}

/// Σ a·b along an axis.
pub fn vecdot(t: &mut Tape, a: Operand, b: Operand, along: i64) -> Result<NodeId> {
    let dtype = array_dtype(t, &[a, b])?;
    let to = broadcast_shape(t, "vecdot", &[a, b])?;
    let ax = shape::axis("vecdot", along, to.len())?;
    let (p, q) = (a.shape(t), b.shape(t));
    let length = |s: &Shape| (s.len() + ax).checked_sub(to.len()).map(|k| s[k]);
    if length(&p) != length(&q) {
        return Err(Error::Value(format!(
            "vecdot: shapes {} and {} differ in length along axis {along}",
            shape::show(&p),
            shape::show(&q)
        )));
    }
    let (a, b) = (materialise(t, a, dtype, &to)?, materialise(t, b, dtype, &to)?);
    let m = t.binary(Binary::Mul, a, b)?;
    sum_in(t, m, &[ax as u8])
}

pub fn dot(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    let (p, q) = (a.shape(t), b.shape(t));
    if p.is_empty() || q.is_empty() {
        return scaled(t, a, b);
    }
    aligned("dot", &p, &q, p.len() - 1, q.len().saturating_sub(2))?;
    if q.len() <= 2 {
        return matmul(t, a, b);
    }
    tensordot(t, a, b, &[-1], &[-2])
}

pub fn inner(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    let (p, q) = (a.shape(t), b.shape(t));
    if p.is_empty() || q.is_empty() {
        return scaled(t, a, b);
    }
    aligned("inner", &p, &q, p.len() - 1, q.len() - 1)?;
    tensordot(t, a, b, &[-1], &[-1])
}

/// The product where one of the operands has no axes.
fn scaled(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    let (x, y) = pair(t, a, b)?;
    ufunc(t, "multiply", &[x.into(), y.into()])
}

fn aligned(what: &str, p: &[usize], q: &[usize], i: usize, j: usize) -> Result<()> {
    if p[i] == q[j] {
        return Ok(());
    }
    Err(Error::Value(format!(
        "{what}: shapes {} and {} not aligned: {} (dim {i}) != {} (dim {j})",
        shape::show(p),
        shape::show(q),
        p[i],
        q[j]
    )))
}

/// Of the flattened arrays.
pub fn vdot(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    let (x, y) = (a.to_node(t)?, b.to_node(t)?);
    let (p, q) = (shape::size(t.shape(x)), shape::size(t.shape(y)));
    if p != q {
        return Err(Error::Value(format!(
            "vdot: shapes {} and {} have different numbers of elements",
            shape::show(t.shape(x)),
            shape::show(t.shape(y))
        )));
    }
    let (x, y) = (ravel(t, x)?, ravel(t, y)?);
    matmul(t, x.into(), y.into())
}

/// All products of the flattened arrays, as a matrix.
pub fn outer(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    let (x, y) = (a.to_node(t)?, b.to_node(t)?);
    let (m, n) = (shape::size(t.shape(x)), shape::size(t.shape(y)));
    let (x, y) = (t.reshape(x, &[m, 1])?, t.reshape(y, &[1, n])?);
    ufunc(t, "multiply", &[x.into(), y.into()])
}

/// Summed over pairs of axes.
pub fn tensordot(t: &mut Tape, a: Operand, b: Operand, axes_a: &[i64], axes_b: &[i64]) -> Result<NodeId> {
    let (x, y) = pair(t, a, b)?;
    let (p, q) = (t.shape(x).clone(), t.shape(y).clone());
    let (sum_a, sum_b) = (distinct("tensordot", axes_a, p.len())?, distinct("tensordot", axes_b, q.len())?);
    if sum_a.len() != sum_b.len() || sum_a.iter().zip(&sum_b).any(|(&i, &j)| p[i as usize] != q[j as usize]) {
        return Err(Error::Value(format!(
            "tensordot: shape-mismatch for sum: shapes {} and {} over axes {axes_a:?} and {axes_b:?}",
            shape::show(&p),
            shape::show(&q)
        )));
    }
    let k: usize = sum_a.iter().map(|&i| p[i as usize]).product();
    let free = |s: &Shape, sum: &Axes| -> Shape { shape::without(s, &sorted(sum)) };
    let (free_a, free_b) = (free(&p, &sum_a), free(&q, &sum_b));
    let (m, n) = (shape::size(&free_a), shape::size(&free_b));
    let (x, _) = to_back(t, x, &sum_a)?;
    let front: Axes = sum_b.iter().copied().chain((0..q.len() as u8).filter(|a| !sum_b.contains(a))).collect();
    let y = t.transpose(y, &front)?;
    let mut to = free_a;
    to.extend(free_b);
    if m == 1 && n == 1 {
        let (x, y) = (t.reshape(x, &[k])?, t.reshape(y, &[k])?);
        let z = t.binary(Binary::Mul, x, y)?;
        let z = sum_in(t, z, &[0])?;
        return t.reshape(z, &to);
    }
    let (x, y) = (t.reshape(x, &[m, k])?, t.reshape(y, &[k, n])?);
    let z = t.matmul(x, y)?;
    t.reshape(z, &to)
}

fn sorted(axes: &Axes) -> Axes {
    let mut out = axes.clone();
    out.sort_unstable();
    out
}

/// `tensordot` over the last n axes of the first and the first n of the second.
pub fn tensordot_n(t: &mut Tape, a: Operand, b: Operand, n: usize) -> Result<NodeId> {
    let (p, q) = (a.shape(t), b.shape(t));
    if n > p.len() || n > q.len() {
        return Err(Error::Value(format!(
            "tensordot: {n} axes to sum over, of shapes {} and {}",
            shape::show(&p),
            shape::show(&q)
        )));
    }
    let last: SmallVec<[i64; 4]> = (p.len() - n..p.len()).map(|k| k as i64).collect();
    let first: SmallVec<[i64; 4]> = (0..n as i64).collect();
    tensordot(t, a, b, &last, &first)
}

/// The Kronecker product.
pub fn kron(t: &mut Tape, a: Operand, b: Operand) -> Result<NodeId> {
    let (x, y) = (a.to_node(t)?, b.to_node(t)?);
    let rank = t.rank(x).max(t.rank(y));
    let pad = |s: &Shape| -> Shape {
        let mut to: Shape = SmallVec::from_elem(1, rank - s.len());
        to.extend_from_slice(s);
        to
    };
    let (p, q) = (pad(t.shape(x)), pad(t.shape(y)));
    let (mut wide_p, mut wide_q, mut to) = (Shape::new(), Shape::new(), Shape::new());
    for (&m, &n) in p.iter().zip(&q) {
        wide_p.extend([m, 1]);
        wide_q.extend([1, n]);
        to.push(m * n);
    }
    let (x, y) = (t.reshape(x, &wide_p)?, t.reshape(y, &wide_q)?);
    let z = ufunc(t, "multiply", &[x.into(), y.into()])?;
    t.reshape(z, &to)
}

/// The cross product of vectors of length 3 along the given axes; of vectors of length 2, its one component.
pub fn cross(t: &mut Tape, a: Operand, b: Operand, axis_a: i64, axis_b: i64, axis_c: i64) -> Result<NodeId> {
    let (x, y) = pair(t, a, b)?;
    let (p, q) = (t.shape(x).clone(), t.shape(y).clone());
    let (i, j) = (axis(t, "cross", x, axis_a)?, axis(t, "cross", y, axis_b)?);
    let n = p[i];
    if n != q[j] || !(n == 2 || n == 3) {
        return Err(Error::Value(format!(
            "cross: incompatible dimensions for cross product of shapes {} and {} (dimensions must be both 2 or both 3)",
            shape::show(&p),
            shape::show(&q)
        )));
    }
    let (x, _) = to_back(t, x, &[i as u8])?;
    let (y, _) = to_back(t, y, &[j as u8])?;
    let component = |t: &mut Tape, v: NodeId, k: usize| -> Result<Operand> {
        let last = t.rank(v) - 1;
        let to: Shape = t.shape(v)[..last].into();
        let c = part(t, v, last, k, 1)?;
        Ok(t.reshape(c, &to)?.into())
    };
    let minor = |t: &mut Tape, k: usize, l: usize| -> Result<NodeId> {
        let (xk, xl, yk, yl) = (component(t, x, k)?, component(t, x, l)?, component(t, y, k)?, component(t, y, l)?);
        let first = ufunc(t, "multiply", &[xk, yl])?;
        let second = ufunc(t, "multiply", &[xl, yk])?;
        ufunc(t, "subtract", &[first.into(), second.into()])
    };
    if n == 2 {
        return minor(t, 0, 1);
    }
    let parts: [Operand; 3] = [minor(t, 1, 2)?.into(), minor(t, 2, 0)?.into(), minor(t, 0, 1)?.into()];
    super::join::stack(t, &parts, axis_c)
}

/// The product of a chain of matrices in the order that takes the fewest multiplications.
pub fn multi_dot(t: &mut Tape, args: &[Operand]) -> Result<NodeId> {
    let n = args.len();
    if n < 2 {
        return Err(Error::Value(format!("multi_dot: expecting at least two arrays, got {n}")));
    }
    let dtype = array_dtype(t, args)?;
    let mut xs = Vec::with_capacity(n);
    for (k, &a) in args.iter().enumerate() {
        let own = a.shape(t);
        let end = k == 0 || k == n - 1;
        let wide = match own.len() {
            2 => own.clone(),
            1 if end && k == 0 => at_least(&own, 2),
            1 if end => [own[0], 1].as_slice().into(),
            rank => {
                return Err(Error::LinAlg(format!(
                    "multi_dot: {rank}-dimensional array given; arrays must be 2-dimensional, the first and the last may have \
                     one dimension"
                )));
            }
        };
        let x = materialise(t, a, dtype, &own)?;
        xs.push(t.reshape(x, &wide)?);
    }
    // lengths[k] × lengths[k + 1] is the k-th matrix
    let mut lengths: Vec<usize> = vec![t.shape(xs[0])[0]];
    lengths.extend(xs.iter().map(|&x| t.shape(x)[1]));
    let mut cost = vec![vec![0f64; n]; n];
    let mut cut = vec![vec![0usize; n]; n];
    for span in 1..n {
        for i in 0..n - span {
            let j = i + span;
            cost[i][j] = f64::INFINITY;
            for k in i..j {
                let outer = lengths[i] as f64 * lengths[k + 1] as f64 * lengths[j + 1] as f64;
                let c = cost[i][k] + cost[k + 1][j] + outer;
                if c < cost[i][j] {
                    (cost[i][j], cut[i][j]) = (c, k);
                }
            }
        }
    }
    let y = chain(t, &xs, &cut, 0, n - 1)?;
    let mut to = Shape::new();
    if args[0].shape(t).len() == 2 {
        to.push(lengths[0]);
    }
    if args[n - 1].shape(t).len() == 2 {
        to.push(lengths[n]);
    }
    t.reshape(y, &to)
}

fn chain(t: &mut Tape, xs: &[NodeId], cut: &[Vec<usize>], i: usize, j: usize) -> Result<NodeId> {
    if i == j {
        return Ok(xs[i]);
    }
    let k = cut[i][j];
    let (a, b) = (chain(t, xs, cut, i, k)?, chain(t, xs, cut, k + 1, j)?);
    t.matmul(a, b)
}
