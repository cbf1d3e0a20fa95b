//! Running results of a function of two arguments that may be taken together in any order, such as maximum and logaddexp.

use super::operand::float_of;
use super::ufunc::Ufunc;
use crate::Result;
use crate::ops::Window;
use crate::tape::{NodeId, Tape, shape};

/// `f.accumulate(x, along)`, by doubling: every step joins stretches of twice the length.
pub fn accumulate(t: &mut Tape, f: Ufunc, x: NodeId, along: i64) -> Result<NodeId> {
    let axis = shape::axis(f.name(), along, t.rank(x))?;
    let n = t.shape(x)[axis];
    let mut y = x;
    if f.name().starts_with("logaddexp") {
        let dtype = float_of(f.name(), t.dtype(x))?;
        y = t.cast(x, dtype)?;
    }
    let part = |t: &mut Tape, y: NodeId, from: usize, to: usize| {
        let mut piece = t.shape(y).clone();
        let mut start = vec![0; piece.len()];
        (start[axis], piece[axis]) = (from as i64, to - from);
        t.slice(y, Box::new(Window::at(&start)), &piece)
    };
    let mut k = 1;
    while k < n {
        let done = part(t, y, 0, k)?;
        let (before, here) = (part(t, y, 0, n - k)?, part(t, y, k, n)?);
        let joined = f.call(t, &[before.into(), here.into()])?[0];
        y = t.concatenate(&[done, joined], axis)?;
        k *= 2;
    }
    Ok(y)
}
