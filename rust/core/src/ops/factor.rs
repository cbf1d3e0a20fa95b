//! Factorisations of matrices, the last two axes, that have several results.

use super::{Batch, Cotangents, Linalg, Reverse, Tuple, none};
use crate::tape::{DType, NodeId, Shape, Tape};
use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Factor {
    /// The sign of the determinant (-1, 0 or 1), and log |det|.
    Slogdet,
}

impl Tuple for Factor {
    fn name(&self) -> &'static str {
        match self {
            Factor::Slogdet => "slogdet",
        }
    }

    fn results(&self, inputs: &[(Shape, DType)]) -> Result<Vec<(Shape, DType)>> {
        let (shape, dtype) = &inputs[0];
        match self {
            Factor::Slogdet => {
                let each = (Shape::from_slice(&shape[..shape.len() - 2]), *dtype);
                Ok(vec![each.clone(), each])
            }
        }
    }

    fn vjp_all(&self, r: &mut Reverse<'_>, node: NodeId, cotangents: &[Option<NodeId>]) -> Result<Cotangents> {
        let t = &mut *r.t;
        let mut out = none(1);
        if let Some(g) = cotangents[1] {
            let a = t.input(node, 0);
            let inverse = t.linalg(Linalg::Inv, a)?;
            let f = t.matrix_transpose(inverse)?;
            let wide = t.over_matrix(g, f)?;
            out[0] = Some(t.mul(wide, f)?.into());
        }
        Ok(out)
    }

    fn jvp_all(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        let Some(da) = tangents[0] else { return Ok(vec![None; 2]) };
        let a = t.input(node, 0);
        let inverse = t.linalg(Linalg::Inv, a)?;
        let f = t.matrix_transpose(inverse)?;
        let p = t.mul(f, da)?;
        Ok(vec![None, Some(t.sum_matrix(p)?)])
    }

    fn batch_all(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        let [sign, log] = t.slogdet(b.inputs[0].0)?;
        Ok(vec![(sign, true), (log, true)])
    }
}

impl Tape {
    /// The sign of the determinant, and the logarithm of its absolute value.
    pub fn slogdet(&mut self, a: NodeId) -> Result<[NodeId; 2]> {
        self.square_matrix("slogdet", a)?;
        let (_, results) = self.push_tuple(Factor::Slogdet.into(), &[a])?;
        match results[..] {
            [sign, log] => Ok([sign, log]),
            _ => Err(Error::Internal("slogdet without its two results".into())),
        }
    }
}
