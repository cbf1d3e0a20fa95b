//! Products of one matrix with several vectors, none of which waits for another, are one call: it reads the matrix once for
//! every two of them. So a function of `X @ w` and its derivative along a direction share a reading of X.

use smallvec::SmallVec;

use super::ir::{DIRECT, Ir, Kind, Opaque, Ref};
use crate::ops::Op;
use crate::tape::{DType, shape};

/// A matrix whose rows are summed over: its array, how far into it the rows begin, in elements, how many there are, how long
/// they are, and how far it is from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matrix {
    pub array: u32,
    pub start: isize,
    pub rows: usize,
    pub row: usize,
    pub step: isize,
}

/// The matrix and the vector that node x multiplies, where both lie as such a call reads them.
pub fn product(ir: &Ir, x: u32) -> Option<(Matrix, Ref)> {
    let node = &ir.nodes[x as usize];
    let Kind::Opaque(o) = &node.kind else { return None };
    if !matches!(o.op, Op::MatMul(_)) || !matches!(node.dtype, DType::F32 | DType::F64) {
        return None;
    }
    let (rank, count) = (o.shape.len(), o.inputs.len());
    let (m, n) = (o.shape[rank - 2], o.shape[rank - 1]);
    if rank != 2 || count != 2 || (m == 1) == (n == 1) {
        return None;
    }
    let matrix = usize::from(n != 1);
    let (start, strides) = lies(ir, o, node.inputs[matrix], matrix)?;
    let (along, step) = if matrix == 0 { (strides[1], strides[0]) } else { (strides[0], strides[1]) };
    let (vector, row) = (node.inputs[1 - matrix], o.inputs[0].0[1]);
    let (first, steps) = lies(ir, o, vector, 1 - matrix)?;
    let next = if matrix == 0 { steps[0] } else { steps[1] };
    let fits = along == 1 && next == 1 && first == 0 && row > 0;
    fits.then_some((Matrix { array: node.inputs[matrix].node, start, rows: m.max(n), row, step }, vector))
}

/// Where the k-th factor begins in its array, and its strides.
fn lies(ir: &Ir, o: &Opaque, r: Ref, k: usize) -> Option<(isize, SmallVec<[isize; 4]>)> {
    if r.view == DIRECT {
        return Some((0, shape::strides(&o.inputs[k].0)));
    }
    let v = &ir.views[r.view as usize];
    v.frame.is_none().then(|| (v.offset, v.strides.clone()))
}
