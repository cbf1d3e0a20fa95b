//! Decompositions and solvers of one f64 matrix, with NumPy's conventions. Matrices are row-major slices.
//!
//! Small matrices are done here, larger ones by faer on one thread. f32 is computed in f64, a batch is a loop: see [`batched`].
//! A matrix that is singular or not positive definite is [`Error::LinAlg`]; nan and infinity give nan, or for `eigh` and `svd`
//! an error, as in NumPy. No panic of the library leaves this module.

mod cholesky;
mod cofactor;
mod error;
mod lu;
mod qr;
mod spectral;
mod triangular;

pub use cholesky::cholesky;
pub use cofactor::cofactor;
pub use error::{Error, Result};
pub use lu::{det, inv, slogdet, solve};
pub use qr::qr;
pub use spectral::{eigh, svd};
pub use triangular::{Triangle, triangular_solve};

use std::panic::{AssertUnwindSafe, catch_unwind};

/// f64, or what is computed in it.
pub trait Element: Copy {
    /// The elements as they are, if they are f64.
    fn as_f64(slice: &[Self]) -> Option<&[f64]>;
    fn as_f64_mut(slice: &mut [Self]) -> Option<&mut [f64]>;
    fn to_f64(self) -> f64;
    fn from_f64(x: f64) -> Self;
}

impl Element for f64 {
    fn as_f64(slice: &[f64]) -> Option<&[f64]> {
        Some(slice)
    }
    fn as_f64_mut(slice: &mut [f64]) -> Option<&mut [f64]> {
        Some(slice)
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn from_f64(x: f64) -> f64 {
        x
    }
}

impl Element for f32 {
    fn as_f64(_: &[f32]) -> Option<&[f64]> {
        None
    }
    fn as_f64_mut(_: &mut [f32]) -> Option<&mut [f64]> {
        None
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
}

/// An operand of a batch: entry i is the `len` elements from `i * step` on; a step of 0 is one matrix for all.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, T> {
    pub data: &'a [T],
    pub len: usize,
    pub step: usize,
}

/// A result of a batch: entry i is the i-th run of `len` elements.
#[derive(Debug)]
pub struct Output<'a, T> {
    pub data: &'a mut [T],
    pub len: usize,
}

/// Calls f with the matrices of each entry, as f64. Stops at the first error.
pub fn batched<T: Element, const I: usize, const O: usize>(
    count: usize,
    inputs: [Input<T>; I],
    mut outputs: [Output<T>; O],
    mut f: impl FnMut([&[f64]; I], [&mut [f64]; O]) -> Result<()>,
) -> Result<()> {
    let fits = inputs.iter().all(|x| count == 0 || (count - 1) * x.step + x.len <= x.data.len())
        && outputs.iter().all(|x| count * x.len <= x.data.len());
    if !fits {
        return Err(Error::Internal(format!("a batch of {count} matrices is larger than its buffers")));
    }
    let mut wide_in: [Vec<f64>; I] = std::array::from_fn(|_| Vec::new());
    let mut wide_out: [Vec<f64>; O] = std::array::from_fn(|_| Vec::new());
    for i in 0..count {
        for (x, wide) in inputs.iter().zip(&mut wide_in) {
            let entry = &x.data[i * x.step..][..x.len];
            if T::as_f64(entry).is_none() && (i == 0 || x.step > 0) {
                wide.clear();
                wide.extend(entry.iter().map(|v| v.to_f64()));
            }
        }
        let from: [&[f64]; I] = std::array::from_fn(|j| {
            let x = &inputs[j];
            T::as_f64(&x.data[i * x.step..][..x.len]).unwrap_or(&wide_in[j])
        });
        let mut outs = outputs.iter_mut().zip(&mut wide_out).map(|(x, wide)| {
            let entry = &mut x.data[i * x.len..][..x.len];
            match T::as_f64_mut(entry) {
                Some(entry) => entry,
                None => {
                    wide.resize(x.len, 0.0);
                    &mut wide[..]
                }
            }
        });
        f(from, std::array::from_fn(|_| outs.next().unwrap_or_default()))?;
        drop(outs);
        for (x, wide) in outputs.iter_mut().zip(&wide_out) {
            let entry = &mut x.data[i * x.len..][..x.len];
            if T::as_f64_mut(entry).is_none() {
                for (to, v) in entry.iter_mut().zip(wide) {
                    *to = T::from_f64(*v);
                }
            }
        }
    }
    Ok(())
}

/// Checks the lengths of slices against the shapes that they stand for: a mistake of ours, not of the user.
fn lengths<const N: usize>(op: &str, pairs: [(usize, usize); N]) -> Result<()> {
    if pairs.iter().all(|(have, want)| have == want) {
        return Ok(());
    }
    Err(Error::Internal(format!("{op}: slices and shapes differ: (have, want) = {pairs:?}")))
}

fn all_finite(a: &[f64]) -> bool {
    a.iter().all(|x| x.is_finite())
}

/// Runs library code; a panic in it becomes an error.
fn guarded<R>(op: &str, f: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| Error::Internal(format!("{op}: the decomposition library panicked")))
}

/// A power of two by which to multiply, so that squares neither overflow nor vanish; 1 for ordinary matrices.
fn safe_scale(a: &[f64]) -> f64 {
    let largest = a.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if largest == 0.0 || (1e-100..1e100).contains(&largest) {
        return 1.0;
    }
    // of 1/largest, which is subnormal at worst, take the power of two only
    libm::exp2(-libm::floor(libm::log2(largest)).clamp(-1000.0, 1000.0))
}

#[cfg(test)]
mod tests;
