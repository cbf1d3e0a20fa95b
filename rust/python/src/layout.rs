//! Element strides as NumPy would have them. Nothing is stored that way here; they decide where NumPy gives a view and
//! where a copy, and so whether a later write is seen.

use mlgrad_core::tape::shape;
use smallvec::SmallVec;

pub type Strides = SmallVec<[isize; 4]>;
/// `None` is C order, by far the most common.
pub type Layout = Option<Box<Strides>>;

pub fn of(layout: &Layout, shape: &[usize]) -> Strides {
    match layout {
        Some(s) => (**s).clone(),
        None => shape::strides(shape),
    }
}

/// Whether the strides are those of C order, where lengths of 1 do not count.
pub fn is_c(shape: &[usize], strides: &[isize]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut step = 1isize;
    for (&d, &s) in shape.iter().zip(strides).rev() {
        if d != 1 {
            if s != step {
                return false;
            }
            step *= d as isize;
        }
    }
    true
}

pub fn pack(shape: &[usize], strides: Strides) -> Layout {
    if is_c(shape, &strides) { None } else { Some(Box::new(strides)) }
}

/// The strides after a reshape without a copy, where there is one: NumPy's `_attempt_nocopy_reshape`.
pub fn reshaped(from: &[usize], strides: &[isize], to: &[usize]) -> Option<Strides> {
    if is_c(from, strides) {
        return Some(shape::strides(to));
    }
    let (mut dims, mut steps) = (SmallVec::<[usize; 4]>::new(), Strides::new());
    for (&d, &s) in from.iter().zip(strides) {
        if d != 1 {
            dims.push(d);
            steps.push(s);
        }
    }
    let mut out: Strides = SmallVec::from_elem(0, to.len());
    let (mut oi, mut oj, mut ni, mut nj) = (0, 1, 0, 1);
    while ni < to.len() && oi < dims.len() {
        let (mut np, mut op) = (to[ni], dims[oi]);
        while np != op {
            if np < op {
                np *= to[nj];
                nj += 1;
            } else {
                op *= dims[oj];
                oj += 1;
            }
        }
        if (oi..oj - 1).any(|k| steps[k] != dims[k + 1] as isize * steps[k + 1]) {
            return None;
        }
        out[nj - 1] = steps[oj - 1];
        for k in (ni + 1..nj).rev() {
            out[k - 1] = out[k] * to[k] as isize;
        }
        (ni, oi) = (nj, oj);
        nj += 1;
        oj += 1;
    }
    let last = if ni >= 1 { out[ni - 1] } else { 1 };
    out[ni..].fill(last);
    Some(out)
}

/// The layout of a fresh result of an elementwise operation: its axes in the order of the operands' strides, as NumPy's
/// iterator sorts them. Operands are aligned at the right; 0 marks an axis that is broadcast.
pub fn k_order(shape: &[usize], operands: &[(&[usize], &Layout)]) -> Layout {
    let rank = shape.len();
    if rank < 2 || operands.iter().all(|(_, l)| l.is_none()) {
        return None;
    }
    let aligned: SmallVec<[Strides; 3]> = operands
        .iter()
        .map(|(s, l)| {
            let mut out: Strides = SmallVec::from_elem(0, rank);
            for (i, (&d, step)) in s.iter().zip(of(l, s)).enumerate() {
                if d != 1 {
                    out[rank - s.len() + i] = step;
                }
            }
            out
        })
        .collect();
    // innermost first
    let mut order: SmallVec<[usize; 4]> = (0..rank).rev().collect();
    for i in 1..rank {
        let axis = order[i];
        let mut place = i;
        for j in (0..i).rev() {
            let (mut ambiguous, mut swap) = (true, false);
            for s in &aligned {
                let (mine, other) = (s[axis].abs(), s[order[j]].abs());
                if mine != 0 && other != 0 {
                    if other <= mine {
                        swap = false;
                    } else if ambiguous {
                        swap = true;
                    }
                    ambiguous = false;
                }
            }
            if !ambiguous {
                if !swap {
                    break;
                }
                place = j;
            }
        }
        order.remove(i);
        order.insert(place, axis);
    }
    let mut out: Strides = SmallVec::from_elem(0, rank);
    let mut step = 1isize;
    for axis in order {
        out[axis] = step;
        step *= shape[axis].max(1) as isize;
    }
    pack(shape, out)
}
