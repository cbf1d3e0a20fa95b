//! Factorisations of matrices, the last two axes, that have several results.

mod eigh;
mod qr;
mod repeated;
mod svd;

use super::{Batch, Cotangents, Linalg, Reverse, Tuple, none};
use crate::tape::{DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Factor {
    /// The sign of the determinant (-1, 0 or 1), and log |det|.
    Slogdet,
    /// Eigenvalues in ascending order, and eigenvectors as columns, of a symmetric matrix; only its lower triangle is read.
    Eigh,
    /// u (m by s), the singular values in descending order and vᵀ (s by n), s = min(m, n).
    Svd,
    /// q (m by s) and r (s by n), s = min(m, n).
    Qr,
}

impl Tuple for Factor {
    fn name(&self) -> &'static str {
        match self {
            Factor::Slogdet => "slogdet",
            Factor::Eigh => "eigh",
            Factor::Svd => "svd",
            Factor::Qr => "qr",
        }
    }

    fn results(&self, inputs: &[(Shape, DType)]) -> Result<Vec<(Shape, DType)>> {
        let (a, dtype) = &inputs[0];
        let (batch, m, n) = (&a[..a.len() - 2], a[a.len() - 2], a[a.len() - 1]);
        let s = m.min(n);
        let with = |tail: &[usize]| (batch.iter().chain(tail).copied().collect(), *dtype);
        Ok(match self {
            Factor::Slogdet => vec![with(&[]), with(&[])],
            Factor::Eigh => vec![with(&[n]), with(&[n, n])],
            Factor::Svd => vec![with(&[m, s]), with(&[s]), with(&[s, n])],
            Factor::Qr => vec![with(&[m, s]), with(&[s, n])],
        })
    }

    fn vjp_all(&self, r: &mut Reverse<'_>, node: NodeId, cotangents: &[Option<NodeId>]) -> Result<Cotangents> {
        let t = &mut *r.t;
        let a = t.input(node, 0);
        let mut out = none(1);
        if shape::size(t.shape(a)) == 0 {
            return Ok(out);
        }
        let results = t.results(node);
        out[0] = match self {
            Factor::Slogdet => match cotangents[1] {
                Some(g) => {
                    let inverse = t.linalg(Linalg::Inv, a)?;
                    let f = t.matrix_transpose(inverse)?;
                    let wide = t.over_matrix(g, f)?;
                    Some(t.mul(wide, f)?.into())
                }
                None => None,
            },
            Factor::Eigh => Some(eigh::vjp(t, &results, cotangents)?.into()),
            Factor::Svd => Some(svd::vjp(t, a, &results, cotangents)?.into()),
            Factor::Qr => Some(qr::vjp(t, &results, cotangents)?.into()),
        };
        Ok(out)
    }

    fn jvp_all(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        let (a, results) = (t.input(node, 0), t.results(node));
        let nothing = Ok(vec![None; results.len()]);
        let Some(da) = tangents[0] else { return nothing };
        if shape::size(t.shape(a)) == 0 {
            return nothing;
        }
        Ok(match self {
            Factor::Slogdet => {
                let inverse = t.linalg(Linalg::Inv, a)?;
                let f = t.matrix_transpose(inverse)?;
                let p = t.mul(f, da)?;
                vec![None, Some(t.sum_matrix(p)?)]
            }
            Factor::Eigh => eigh::jvp(t, &results, da)?.map(Some).into(),
            Factor::Svd => svd::jvp(t, &results, da)?.map(Some).into(),
            Factor::Qr => qr::jvp(t, &results, da)?.map(Some).into(),
        })
    }

    fn batch_all(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        let results = t.factor(self.clone(), b.inputs[0].0)?;
        Ok(results.into_iter().map(|r| (r, true)).collect())
    }
}

impl Tape {
    /// A factorisation of the matrices in the last two axes.
    pub fn factor(&mut self, op: Factor, a: NodeId) -> Result<Vec<NodeId>> {
        let (s, dtype) = (self.shape(a).clone(), self.dtype(a));
        match op {
            Factor::Slogdet | Factor::Eigh => {
                self.square_matrix(op.name(), a)?;
            }
            Factor::Svd | Factor::Qr if s.len() < 2 || !dtype.is_float() => {
                return Err(Error::LinAlg(format!(
                    "{}: needs matrices of float32 or float64 in the last two axes, got {dtype}{}",
                    op.name(),
                    shape::show(&s)
                )));
            }
            Factor::Svd | Factor::Qr => {}
        }
        Ok(self.push_tuple(op.into(), &[a])?.1)
    }

    /// xᵀ y of matrices.
    fn transposed_times(&mut self, x: NodeId, y: NodeId) -> Result<NodeId> {
        let xt = self.matrix_transpose(x)?;
        self.matmul(xt, y)
    }

    /// x yᵀ of matrices.
    fn times_transposed(&mut self, x: NodeId, y: NodeId) -> Result<NodeId> {
        let yt = self.matrix_transpose(y)?;
        self.matmul(x, yt)
    }

    /// (x + xᵀ)/2
    fn symmetric_part(&mut self, x: NodeId) -> Result<NodeId> {
        let xt = self.matrix_transpose(x)?;
        let sum = self.add(x, xt)?;
        self.scale(sum, 0.5)
    }

    /// (x - xᵀ)/2
    fn skew_part(&mut self, x: NodeId) -> Result<NodeId> {
        let xt = self.matrix_transpose(x)?;
        let difference = self.sub(x, xt)?;
        self.scale(difference, 0.5)
    }
}
