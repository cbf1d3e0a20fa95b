//! Systems with a triangular matrix.

use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_unit_lower_triangular_in_place, solve_unit_upper_triangular_in_place,
    solve_upper_triangular_in_place,
};
use faer::{MatMut, MatRef, Par};

use super::{guarded, lengths};
use crate::{Error, Result};

/// Which half of the matrix is read, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Triangle {
    /// The lower half is read, before any transposition.
    pub lower: bool,
    /// The transposed system is solved.
    pub transpose: bool,
    /// The diagonal is taken to be 1, and is not read.
    pub unit_diagonal: bool,
}

/// Multiplications above which the library's blocks pay.
const SMALL_WORK: usize = 32 * 32;

/// out = t⁻¹ b for the triangle `t` of `a` (n by n), b of n by k.
pub fn triangular_solve(a: &[f64], b: &[f64], n: usize, k: usize, t: Triangle, out: &mut [f64]) -> Result<()> {
    const OP: &str = "triangular_solve";
    lengths(OP, [(a.len(), n * n), (b.len(), n * k), (out.len(), n * k)])?;
    if n * k == 0 {
        return Ok(());
    }
    if !t.unit_diagonal
        && let Some(i) = (0..n).find(|&i| a[i * n + i] == 0.0)
    {
        return Err(Error::LinAlg(format!(
            "{OP}: Singular matrix: element {i} of the diagonal of the {n} by {n} triangle is zero"
        )));
    }
    out.copy_from_slice(b);
    if n * n * k > SMALL_WORK {
        return guarded(OP, || {
            let matrix = MatRef::from_row_major_slice(a, n, n);
            let matrix = if t.transpose { matrix.transpose() } else { matrix };
            let rhs = MatMut::from_row_major_slice_mut(out, n, k);
            match (t.lower != t.transpose, t.unit_diagonal) {
                (true, false) => solve_lower_triangular_in_place(matrix, rhs, Par::Seq),
                (true, true) => solve_unit_lower_triangular_in_place(matrix, rhs, Par::Seq),
                (false, false) => solve_upper_triangular_in_place(matrix, rhs, Par::Seq),
                (false, true) => solve_unit_upper_triangular_in_place(matrix, rhs, Par::Seq),
            }
        });
    }
    // each unknown, once known, is taken out of the equations that follow
    let forward = t.lower != t.transpose;
    for step in 0..n {
        let i = if forward { step } else { n - 1 - step };
        let (before, rest) = out.split_at_mut(i * k);
        let (row, after) = rest.split_at_mut(k);
        if !t.unit_diagonal {
            row.iter_mut().for_each(|x| *x /= a[i * n + i]);
        }
        let (others, first) = if forward { (after, i + 1) } else { (before, 0) };
        for (r, other) in others.chunks_exact_mut(k).enumerate() {
            let j = first + r;
            let factor = if t.transpose { a[i * n + j] } else { a[j * n + i] };
            for (x, y) in other.iter_mut().zip(&*row) {
                *x -= factor * y;
            }
        }
    }
    Ok(())
}
