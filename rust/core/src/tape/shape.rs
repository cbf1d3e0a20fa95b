//! Shapes, strides of C-contiguous arrays, and NumPy's broadcasting rule.

use smallvec::SmallVec;

use crate::{Error, Result};

/// The lengths of the axes.
pub type Shape = SmallVec<[usize; 4]>;
/// Axis numbers, ascending where they name a set.
pub type Axes = SmallVec<[u8; 4]>;

/// NumPy's own limit.
pub const MAX_RANK: usize = 64;

/// The number of elements, or `None` where it does not fit.
pub fn checked_size(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= isize::MAX as usize / 16)
}

/// The number of elements of a shape that was checked when it was made.
pub fn size(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// A shape as NumPy prints it.
pub fn show(shape: &[usize]) -> String {
    match shape {
        [n] => format!("({n},)"),
        _ => format!("({})", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Element strides of a C-contiguous array.
pub fn strides(shape: &[usize]) -> SmallVec<[isize; 4]> {
    let mut out: SmallVec<[isize; 4]> = SmallVec::from_elem(0, shape.len());
    let mut step = 1isize;
    for (s, &d) in out.iter_mut().zip(shape).rev() {
        *s = step;
        step *= d.max(1) as isize;
    }
    out
}

/// The common shape of the operands of `what`.
pub fn broadcast(what: &str, shapes: &[&[usize]]) -> Result<Shape> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out: Shape = SmallVec::from_elem(1, rank);
    for s in shapes {
        for (o, &d) in out[rank - s.len()..].iter_mut().zip(s.iter()) {
            if *o == 1 {
                *o = d;
            } else if d != 1 && d != *o {
                let all: Vec<String> = shapes.iter().map(|s| show(s)).collect();
                return Err(Error::Value(format!(
                    "{what}: operands could not be broadcast together with shapes {}; make the lengths of each axis equal or 1",
                    all.join(" ")
                )));
            }
        }
    }
    Ok(out)
}

/// `axis`, which may be negative, as an index below `rank`.
pub fn axis(what: &str, axis: i64, rank: usize) -> Result<usize> {
    let shifted = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&shifted) {
        return Ok(shifted as usize);
    }
    Err(Error::Axis(format!("{what}: axis {axis} is out of bounds for array of dimension {rank}")))
}

/// The shape that is left when `axes` (ascending) are dropped.
pub fn without(shape: &[usize], axes: &[u8]) -> Shape {
    shape.iter().enumerate().filter(|(i, _)| !axes.contains(&(*i as u8))).map(|(_, &d)| d).collect()
}

/// The shape with `axes` set to 1, as with keepdims.
pub fn keep(shape: &[usize], axes: &[u8]) -> Shape {
    shape.iter().enumerate().map(|(i, &d)| if axes.contains(&(i as u8)) { 1 } else { d }).collect()
}
