//! Axis arguments: negative ones, tuples, None.

use smallvec::SmallVec;

use crate::tape::{Axes, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// An axis of `x`.
pub(crate) fn axis(t: &Tape, what: &str, x: NodeId, axis: i64) -> Result<usize> {
    shape::axis(what, axis, t.rank(x))
}

/// The axes in the order given, below `rank`, none twice.
pub(crate) fn distinct(what: &str, axes: &[i64], rank: usize) -> Result<Axes> {
    let mut out = Axes::new();
    for &a in axes {
        let a = shape::axis(what, a, rank)? as u8;
        if out.contains(&a) {
            return Err(Error::Value(format!("{what}: duplicate value in 'axis': {axes:?}")));
        }
        out.push(a);
    }
    Ok(out)
}

/// The axes that a reduction runs over, ascending; all of them for None.
pub(crate) fn reduced(what: &str, axes: Option<&[i64]>, rank: usize) -> Result<Axes> {
    match axes {
        None => Ok((0..rank as u8).collect()),
        Some(axes) => {
            let mut out = distinct(what, axes, rank)?;
            out.sort_unstable();
            Ok(out)
        }
    }
}

/// `x` and the axis to work along: flattened for None.
pub(crate) fn along(t: &mut Tape, what: &str, x: NodeId, along: Option<i64>) -> Result<(NodeId, usize)> {
    match along {
        Some(a) => Ok((x, axis(t, what, x, a)?)),
        None => {
            let n = shape::size(t.shape(x));
            Ok((t.reshape(x, &[n])?, 0))
        }
    }
}

/// The inverse of a permutation.
pub(crate) fn inverse(perm: &[u8]) -> Axes {
    let mut out: Axes = SmallVec::from_elem(0, perm.len());
    for (i, &a) in perm.iter().enumerate() {
        out[a as usize] = i as u8;
    }
    out
}

/// `shape` with the length of `axis` replaced.
pub(crate) fn with_length(shape: &[usize], axis: usize, n: usize) -> Shape {
    let mut out: Shape = shape.into();
    out[axis] = n;
    out
}
