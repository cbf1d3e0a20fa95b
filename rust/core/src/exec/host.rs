//! Host calls inside a plan.
#![allow(unsafe_code)]

use super::buffer::Buffer;
use super::node::Call;
use super::region::Bases;
use crate::ops::{Host, HostInput, HostOutput};
use crate::tape::shape;
use crate::{Error, Result};

impl Call {
    /// # Safety
    /// As for `run`.
    pub(super) unsafe fn host(&self, h: &Host, bases: Bases<'_>) -> Result<()> {
        let mut inputs = Vec::with_capacity(h.args.len());
        for a in &self.arguments[..h.args.len()] {
            // SAFETY: the caller's.
            let data = unsafe { std::slice::from_raw_parts(bases.at(a.place), a.bytes()) };
            inputs.push(HostInput { data, shape: &a.shape, dtype: a.dtype });
        }
        let metas = h.outcomes();
        // what nobody reads goes to memory that is dropped
        let mut unread: Vec<Buffer> = Vec::new();
        let mut outputs = Vec::with_capacity(metas.len());
        for (k, (s, dtype)) in metas.iter().enumerate() {
            let bytes = shape::size(s) * dtype.size();
            let at = match self.results.get(k).and_then(Option::as_ref) {
                Some(r) if r.bytes() != bytes => return Err(Error::Internal("a result of another size".into())),
                Some(r) => bases.at(r.place),
                None => {
                    let b = Buffer::new(bytes)?;
                    let at = b.as_mut_ptr();
                    unread.push(b);
                    at
                }
            };
            // SAFETY: results have places of their own, of this length.
            let data = unsafe { std::slice::from_raw_parts_mut(at, bytes) };
            outputs.push(HostOutput { data, shape: s, dtype: *dtype });
        }
        h.run(&inputs, &mut outputs)?;
        if let Some(token) = self.results.get(metas.len()).and_then(Option::as_ref) {
            // SAFETY: one byte of its own.
            unsafe { bases.at(token.place).write(0) };
        }
        Ok(())
    }
}
