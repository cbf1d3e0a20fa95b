//! Rows by index: read, added to, written. And the integers that indexing needs.

use super::{Batch, Binary, Cotangents, Primitive, Reverse, Zeros, none};
use crate::tape::{DType, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// Indices are int64 and lie in 0..rows: `CheckIndex` has seen to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Gather {
    /// (x: (rows, *rest), i: (*k)) -> (*k, *rest)
    Rows,
    /// (i: (*k), v: (*k, *rest)) -> (rows, *rest): zeros, to which the rows of v are added. A bool takes `or`.
    Add { rows: usize },
    /// (x: (rows, *rest), i: (*k), v: (*k, *rest)): x with rows replaced; of several with one index the last stays.
    Set,
    /// (i): negative indices count from the end; others out of 0..size raise.
    CheckIndex { size: usize },
    /// (m: bool (n,)) -> int64 (count,): the positions of the true elements, of which there must be `count`.
    Nonzero { count: usize },
}

/// Indices of a whole batch into rows that are stacked: index + batch number · rows.
fn stacked(t: &mut Tape, i: NodeId, rows: usize) -> Result<NodeId> {
    let s = t.shape(i).clone();
    let lane = t.iota(&s, 0)?;
    let offset = t.scale(lane, rows as f64)?;
    t.add(i, offset)
}

/// The first two axes as one.
fn merge(t: &mut Tape, x: NodeId) -> Result<NodeId> {
    let s = t.shape(x);
    let mut to: Shape = s[1..].into();
    to[0] = s[0] * s[1];
    t.reshape(x, &to)
}

impl Primitive for Gather {
    fn name(&self) -> &'static str {
        match self {
            Gather::Rows => "gather",
            Gather::Add { .. } => "scatter_add",
            Gather::Set => "scatter",
            Gather::CheckIndex { .. } => "check_index",
            Gather::Nonzero { .. } => "nonzero",
        }
    }

    fn attributes(&self) -> String {
        match self {
            Gather::Add { rows } => format!("rows={rows}"),
            Gather::CheckIndex { size } => format!("size={size}"),
            Gather::Nonzero { count } => format!("count={count}"),
            _ => String::new(),
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        let inputs = r.t.inputs(node);
        let mut out = none(inputs.len());
        match self {
            Gather::Rows => {
                let rows = r.t.shape(inputs[0])[0];
                out[0] = Some(r.t.scatter_add(inputs[1], g, rows)?.into());
            }
            Gather::Add { .. } => out[1] = Some(r.t.gather(g, inputs[0])?.into()),
            Gather::Set => {
                let (x, i, v) = (inputs[0], inputs[1], inputs[2]);
                if r.want(0) {
                    let zero = r.t.literal(0.0, &r.t.shape(v).clone(), r.t.dtype(g))?;
                    out[0] = Some(r.t.scatter_set(g, i, zero)?.into());
                }
                if r.want(2) && shape::size(r.t.shape(i)) == 1 {
                    out[2] = Some(r.t.gather(g, i)?.into());
                } else if r.want(2) {
                    // only the last write of each row is in the result
                    let (k, rows) = (r.t.shape(i).clone(), r.t.shape(x)[0]);
                    let n = shape::size(&k);
                    let order = r.t.iota(&[n], 0)?;
                    let order = r.t.reshape(order, &k)?;
                    let nobody = r.t.literal(-1.0, &[rows], DType::I64)?;
                    let last = r.t.scatter_set(nobody, i, order)?;
                    let winner = r.t.gather(last, i)?;
                    let won = r.t.equal(winner, order)?;
                    let mut wide = k.clone();
                    wide.resize(r.t.rank(v), 1);
                    let won = r.t.reshape(won, &wide)?;
                    let won = r.t.broadcast_to(won, &r.t.shape(v).clone())?;
                    let taken = r.t.gather(g, i)?;
                    let zero = r.t.lit_like(0.0, taken)?;
                    out[2] = Some(r.t.select(won, taken, zero)?.into());
                }
            }
            Gather::CheckIndex { .. } | Gather::Nonzero { .. } => {}
        }
        Ok(out)
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        let inputs = t.inputs(node);
        Ok(match self {
            Gather::Rows => tangents[0].map(|x| t.gather(x, inputs[1])).transpose()?,
            Gather::Add { rows } => tangents[1].map(|v| t.scatter_add(inputs[0], v, *rows)).transpose()?,
            Gather::Set => {
                let zero = |t: &mut Tape, k: usize| match tangents[k] {
                    Some(x) => Ok(x),
                    None => t.lit_like(0.0, inputs[k]),
                };
                let (x, v) = (zero(t, 0)?, zero(t, 2)?);
                Some(t.scatter_set(x, inputs[1], v)?)
            }
            Gather::CheckIndex { .. } | Gather::Nonzero { .. } => None,
        })
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        match self {
            Gather::Rows => {
                let ((x, bx), (i, bi)) = (b.inputs[0], b.inputs[1]);
                match (bx, bi) {
                    (false, _) => t.gather(x, i),
                    (true, false) => {
                        let side = t.move_axis(x, 0, 1)?;
                        let k = t.rank(i);
                        let y = t.gather(side, i)?;
                        t.move_axis(y, k, 0)
                    }
                    (true, true) => {
                        let rows = t.shape(x)[1];
                        let i = stacked(t, i, rows)?;
                        let x = merge(t, x)?;
                        t.gather(x, i)
                    }
                }
            }
            Gather::Add { rows } => {
                let (i, v) = (b.full(t, 0)?, b.full(t, 1)?);
                let i = stacked(t, i, *rows)?;
                let y = t.scatter_add(i, v, rows * b.size)?;
                let mut to = t.shape(node).clone();
                to.insert(0, b.size);
                t.reshape(y, &to)
            }
            Gather::Set => {
                let (x, i, v) = (b.full(t, 0)?, b.full(t, 1)?, b.full(t, 2)?);
                let to = t.shape(x).clone();
                let i = stacked(t, i, to[1])?;
                let x = merge(t, x)?;
                let y = t.scatter_set(x, i, v)?;
                t.reshape(y, &to)
            }
            Gather::CheckIndex { size } => t.check_index(b.inputs[0].0, *size),
            Gather::Nonzero { .. } => Err(Error::Abstract(
                "nonzero, or indexing with a bool array, inside vmap has a shape that depends on the data; use np.where \
                 to choose between values instead"
                    .into(),
            )),
        }
    }

    fn zeros(&self) -> Zeros {
        match self {
            Gather::Rows => Zeros::Marks,
            Gather::Add { .. } => Zeros::Moved,
            Gather::Set => Zeros::Marks,
            Gather::CheckIndex { .. } | Gather::Nonzero { .. } => Zeros::Stopped,
        }
    }
}

impl Tape {
    /// Rows of `x` by the checked int64 indices `i`.
    pub fn gather(&mut self, x: NodeId, i: NodeId) -> Result<NodeId> {
        self.index_dtype("gather", i)?;
        let to: Shape = self.shape(i).iter().chain(&self.shape(x)[1..]).copied().collect();
        let dtype = self.dtype(x);
        self.push(Gather::Rows.into(), &[x, i], to, dtype)
    }

    /// Zeros of `rows` rows, to which the rows of `v` are added.
    pub fn scatter_add(&mut self, i: NodeId, v: NodeId, rows: usize) -> Result<NodeId> {
        self.index_dtype("scatter_add", i)?;
        let k = self.rank(i);
        let to: Shape = std::iter::once(rows).chain(self.shape(v)[k..].iter().copied()).collect();
        let dtype = self.dtype(v);
        self.push(Gather::Add { rows }.into(), &[i, v], to, dtype)
    }

    /// `x` with rows replaced by those of `v`.
    pub fn scatter_set(&mut self, x: NodeId, i: NodeId, v: NodeId) -> Result<NodeId> {
        self.index_dtype("scatter", i)?;
        let k = self.rank(i);
        if self.shape(v)[..k] != self.shape(i)[..] || self.shape(v)[k..] != self.shape(x)[1..] {
            return Err(Error::Internal(format!(
                "scatter of {} at {} into {}",
                shape::show(self.shape(v)),
                shape::show(self.shape(i)),
                shape::show(self.shape(x))
            )));
        }
        let (to, dtype) = (self.shape(x).clone(), self.dtype(x));
        self.push(Gather::Set.into(), &[x, i, v], to, dtype)
    }

    /// int64 indices into an axis of length `size`, wrapped and checked when they run.
    pub fn check_index(&mut self, i: NodeId, size: usize) -> Result<NodeId> {
        self.index_dtype("index", i)?;
        let to = self.shape(i).clone();
        self.push(Gather::CheckIndex { size }.into(), &[i], to, DType::I64)
    }

    /// The positions of the `count` true elements of a bool vector.
    pub fn nonzero(&mut self, mask: NodeId, count: usize) -> Result<NodeId> {
        if self.dtype(mask) != DType::Bool || self.rank(mask) != 1 {
            return Err(Error::Internal("nonzero of what is not a bool vector".into()));
        }
        self.push(Gather::Nonzero { count }.into(), &[mask], [count].as_slice().into(), DType::I64)
    }

    fn index_dtype(&self, what: &str, i: NodeId) -> Result<()> {
        match self.dtype(i) {
            DType::I64 => Ok(()),
            d => Err(Error::Internal(format!("{what} with indices of {d}"))),
        }
    }

    /// Where the int64 `i` equals the number `k`.
    pub fn is_index(&mut self, i: NodeId, k: usize) -> Result<NodeId> {
        let k = self.lit_like(k as f64, i)?;
        self.binary(Binary::Equal, i, k)
    }
}
