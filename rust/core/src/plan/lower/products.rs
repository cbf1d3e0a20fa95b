//! Products of one matrix with several vectors, and of small matrices.

use super::{Home, Lower, misplaced};
use crate::Result;
use crate::exec::gemm;
use crate::exec::gemv::Products;
use crate::exec::run::Unit;
use crate::exec::small_product::{self, SmallProduct};
use crate::exec::straight;
use crate::ops::Op;
use crate::plan::ir::{DIRECT, Opaque};
use crate::plan::together;
use crate::tape::shape;

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

    /// A product of two small matrices as one step; false where it is none, or takes more.
    pub(super) fn small_product(&mut self, x: u32, o: &Opaque) -> Result<bool> {
        let ir = self.ir;
        let n = &ir.nodes[x as usize];
        let rank = o.shape.len();
        let (Op::MatMul(_), [a, b]) = (&o.op, n.inputs.as_slice()) else { return Ok(false) };
        if shape::size(&o.shape[..rank - 2]) != 1 {
            return Ok(false);
        }
        let mut places = [0; 2];
        let mut strides = [(0, 0); 2];
        for (k, r) in [a, b].into_iter().enumerate() {
            let Home::Small(at) = self.home[r.node as usize] else { return Ok(false) };
            let (own, first) = match r.view {
                DIRECT => (shape::strides(&o.inputs[k].0), 0),
                v => (ir.views[v as usize].strides.clone(), ir.views[v as usize].offset),
            };
            places[k] = at.wrapping_add_signed(first * n.dtype.size() as isize);
            strides[k] = (own[rank - 2], own[rank - 1]);
        }
        let shape = gemm::Shape { m: o.shape[rank - 2], n: o.shape[rank - 1], k: o.inputs[0].0[rank - 1] };
        let Some(product) = SmallProduct::new(n.dtype, shape, strides[0], strides[1]) else { return Ok(false) };
        let Home::Small(dst) = self.settle(x) else { return Err(misplaced()) };
        let product = Box::new(product);
        let c = self.constant(Box::new(straight::pointer_to(&*product)));
        self.code.products.push(product);
        self.step(small_product::product, n.n, [dst, places[0], places[1], c])?;
        self.code.nanoseconds = self.code.nanoseconds.saturating_add(10 + shape.m * shape.n * shape.k / 25);
        for r in &n.inputs {
            self.release(r.node);
        }
        self.release(x);
        Ok(true)
    }
}
