//! Factorisations with several results: one matrix after the other, or a share of them to each thread.
#![allow(unsafe_code)]

use super::array::{elements, elements_mut};
use super::buffer::{Buffer, Plain};
use super::node::Call;
use super::pool::Shared;
use super::region::Bases;
use crate::linalg::{self, Input, Output};
use crate::ops::{Factor, Primitive};
use crate::tape::{DType, shape};
use crate::{Error, Result};

impl Call {
    /// # Safety
    /// As for `run`.
    pub(super) unsafe fn factor(&self, f: &Factor, bases: Bases<'_>) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            match self.arguments[0].dtype {
                DType::F64 => self.factor_of::<f64>(f, bases),
                DType::F32 => self.factor_of::<f32>(f, bases),
                other => Err(Error::Type(format!("{}: needs float32 or float64, got {other}", self.op.name()))),
            }
        }
    }

    /// # Safety
    /// As for `run`.
    unsafe fn factor_of<T: linalg::Element + Plain + Sync>(&self, f: &Factor, bases: Bases<'_>) -> Result<()> {
        let a = &self.arguments[0];
        let rank = a.shape.len();
        let (m, n, count) = (a.shape[rank - 2], a.shape[rank - 1], shape::size(&a.shape[..rank - 2]));
        let s = m.min(n);
        // SAFETY: the caller's.
        let from = elements::<T>(unsafe { std::slice::from_raw_parts(bases.at(a.place), a.bytes()) })?;
        // elements of each result for one matrix
        let lengths: &[usize] = match f {
            Factor::Slogdet => &[1, 1],
            Factor::Eigh => &[n, n * n],
            Factor::Svd => &[m * s, s, s * n],
            Factor::Qr => &[m * s, s * n],
        };
        // what nobody reads goes to memory that is dropped
        let mut unread: Vec<Buffer> = Vec::new();
        let mut to = Vec::with_capacity(lengths.len());
        for (k, len) in lengths.iter().enumerate() {
            to.push(Shared::new(match self.results.get(k).and_then(Option::as_ref) {
                Some(r) => bases.at(r.place),
                None => {
                    let b = Buffer::new(count * len * size_of::<T>())?;
                    let at = b.as_mut_ptr();
                    unread.push(b);
                    at
                }
            }));
        }
        self.share(count, &|rows| {
            let many = rows.len();
            let data = Input { data: &from[rows.start * m * n..rows.end * m * n], len: m * n, step: m * n };
            let part = |k: usize| {
                let (to, len) = (&to[k], lengths[k]);
                // SAFETY: a result is as long as the plan says, and each task has rows of its own.
                let bytes = unsafe {
                    let first = to.get().add(rows.start * len * size_of::<T>());
                    std::slice::from_raw_parts_mut(first, many * len * size_of::<T>())
                };
                Ok::<_, Error>(Output { data: elements_mut::<T>(bytes)?, len })
            };
            match f {
                Factor::Slogdet => linalg::batched(many, [data], [part(0)?, part(1)?], |[a], [sign, log]| {
                    (sign[0], log[0]) = linalg::slogdet(a, n)?;
                    Ok(())
                })?,
                Factor::Eigh => {
                    linalg::batched(many, [data], [part(0)?, part(1)?], |[a], [w, v]| linalg::eigh(a, n, w, v))?;
                }
                Factor::Svd => {
                    let to = [part(0)?, part(1)?, part(2)?];
                    linalg::batched(many, [data], to, |[a], [u, values, vt]| linalg::svd(a, m, n, u, values, vt))?;
                }
                Factor::Qr => {
                    linalg::batched(many, [data], [part(0)?, part(1)?], |[a], [q, r]| linalg::qr(a, m, n, q, r))?;
                }
            }
            Ok(())
        })
    }
}
