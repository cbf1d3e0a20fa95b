//! Products of one matrix with several vectors.

use super::{Lower, misplaced};
use crate::Result;
use crate::exec::gemv::Products;
use crate::exec::run::Unit;
use crate::plan::together;

impl Lower<'_> {
    pub(super) fn products(&mut self, list: &[u32]) -> Result<()> {
        let ir = self.ir;
        let mut found = None;
        let mut vectors = Vec::with_capacity(list.len());
        for &x in list {
            let (matrix, vector) = together::product(ir, x).ok_or_else(misplaced)?;
            let from = self.place(vector.node)?;
            self.settle(x);
            vectors.push((from, self.place(x)?));
            found = Some((matrix, ir.nodes[x as usize].dtype));
        }
        let (matrix, dtype) = found.ok_or_else(misplaced)?;
        let mut place = self.place(matrix.array)?;
        place.offset = place.offset.wrapping_add_signed(matrix.start * dtype.size() as isize);
        let products =
            Products { dtype, matrix: place, rows: matrix.rows, row: matrix.row, step: matrix.step, vectors };
        self.code.nanoseconds = self.code.nanoseconds.saturating_add(products.nanoseconds());
        self.code.units.push(Unit::Products(Box::new(products)));
        for &x in list {
            for r in &ir.nodes[x as usize].inputs {
                self.release(r.node);
            }
            self.release(x);
        }
        Ok(())
    }
}
