//! Calls of the host: code outside the tape, which runs once for each execution and in the order of recording.
//!
//! Such a call is an operation with several results: the host's own, and a token, which stands for the effect. It has no
//! derivative. It is never merged, folded or dropped.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Batch, Cotangents, Reverse, Tuple};
use crate::exec::buffer::Buffer;
use crate::tape::{DType, NodeId, Shape, Tape, Value, shape};
use crate::{Error, Result};

/// How a call does a whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One call an example.
    Sequential,
    /// One call; what is not batched has an axis of length 1 in front.
    ExpandDims,
    /// One call; what is not batched is repeated.
    BroadcastAll,
}

/// A C-contiguous array that a call reads.
#[derive(Clone, Copy, Debug)]
pub struct HostInput<'a> {
    pub data: &'a [u8],
    pub shape: &'a [usize],
    pub dtype: DType,
}

/// One that it writes.
#[derive(Debug)]
pub struct HostOutput<'a> {
    pub data: &'a mut [u8],
    pub shape: &'a [usize],
    pub dtype: DType,
}

/// The code.
pub trait HostCall: Any + fmt::Debug + Send + Sync {
    fn name(&self) -> &str;

    fn method(&self) -> Method;

    fn call(&self, inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<()>;

    /// Whether another recording of the same program has this call in the place of `self`.
    fn same(&self, other: &dyn HostCall) -> bool;

    fn as_any(&self) -> &dyn Any;
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Host(Arc<Called>);

#[derive(Debug)]
pub struct Called {
    pub call: Arc<dyn HostCall>,
    /// The inputs that the call reads; after them comes the token of the call before, where order matters.
    pub args: Vec<(Shape, DType)>,
    /// The results of one call.
    pub results: Vec<(Shape, DType)>,
    /// Batches that are done one example after the other, the innermost first: length, and which arguments have the axis.
    pub lanes: Vec<(usize, Vec<bool>)>,
}

impl std::ops::Deref for Host {
    type Target = Called;

    fn deref(&self) -> &Called {
        &self.0
    }
}

impl PartialEq for Host {
    fn eq(&self, other: &Host) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Host {}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).cast::<()>().hash(state);
    }
}

impl Host {
    /// A call that reads arrays of these shapes and dtypes.
    pub fn new(call: Arc<dyn HostCall>, args: Vec<(Shape, DType)>, results: Vec<(Shape, DType)>) -> Host {
        Host(Arc::new(Called { call, args, results, lanes: Vec::new() }))
    }

    fn no_derivative(&self) -> Error {
        Error::Type(format!(
            "{name}: what a host call computes has no derivative; give the function around it a rule with mlgrad.custom_vjp (or \
             custom_jvp), or wrap the arguments of the call in mlgrad.stop_gradient",
            name = self.call.name()
        ))
    }

    /// Whether a replay may take `other` for this call.
    pub fn same(&self, other: &Host) -> bool {
        self.results == other.results && self.lanes == other.lanes && self.call.same(&*other.call)
    }

    /// The shapes and dtypes of what it reads.
    pub fn inputs(&self) -> &[(Shape, DType)] {
        &self.args
    }

    /// The shapes and dtypes of all results but the token.
    pub fn outcomes(&self) -> Vec<(Shape, DType)> {
        let sizes: Shape = self.lanes.iter().rev().map(|l| l.0).collect();
        self.results.iter().map(|(s, d)| (sizes.iter().chain(s).copied().collect(), *d)).collect()
    }

    /// Makes the call, or one an example.
    pub fn run(&self, inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<()> {
        self.lane(&self.lanes, inputs, outputs)
    }

    fn lane(
        &self,
        lanes: &[(usize, Vec<bool>)],
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
    ) -> Result<()> {
        let Some(((size, batched), rest)) = lanes.split_last() else { return self.call.call(inputs, outputs) };
        for i in 0..*size {
            let inputs: SmallVec<[HostInput<'_>; 4]> = inputs
                .iter()
                .zip(batched)
                .map(|(x, &batched)| {
                    let each = x.data.len() / size;
                    if batched {
                        HostInput { data: &x.data[i * each..(i + 1) * each], shape: &x.shape[1..], ..*x }
                    } else {
                        *x
                    }
                })
                .collect();
            let mut outputs: SmallVec<[HostOutput<'_>; 4]> = outputs
                .iter_mut()
                .map(|y| {
                    let each = y.data.len() / size;
                    HostOutput { data: &mut y.data[i * each..(i + 1) * each], shape: &y.shape[1..], dtype: y.dtype }
                })
                .collect();
            self.lane(rest, &inputs, &mut outputs)?;
        }
        Ok(())
    }

    /// The results as values, from arguments that are.
    pub fn evaluate(&self, inputs: &[(Value, Shape, DType)]) -> Result<Vec<Value>> {
        let words: SmallVec<[[u8; 8]; 4]> = inputs
            .iter()
            .map(|(v, ..)| if let Value::Scalar(bits) = v { bits.to_le_bytes() } else { [0; 8] })
            .collect();
        let read: SmallVec<[HostInput<'_>; 4]> = inputs
            .iter()
            .zip(&words)
            .map(|((v, s, d), word)| {
                let bytes = shape::size(s) * d.size();
                let data = match v {
                    Value::Array(b) => &b.as_slice::<u8>()[..bytes],
                    Value::Scalar(_) => &word[..bytes.min(8)],
                };
                HostInput { data, shape: s, dtype: *d }
            })
            .collect();
        let metas = self.outcomes();
        let mut buffers =
            metas.iter().map(|(s, d)| Buffer::new(shape::size(s) * d.size())).collect::<Result<Vec<Buffer>>>()?;
        {
            let mut write: SmallVec<[HostOutput<'_>; 4]> = buffers
                .iter_mut()
                .zip(&metas)
                .map(|(b, (s, d))| {
                    let bytes = shape::size(s) * d.size();
                    HostOutput { data: &mut b.as_mut_slice::<u8>()[..bytes], shape: s, dtype: *d }
                })
                .collect();
            self.run(&read, &mut write)?;
        }
        Ok(buffers
            .into_iter()
            .zip(&metas)
            .map(|(b, (s, d))| {
                let value = Value::Array(Arc::new(b));
                if s.is_empty() { Value::Scalar(value.first(*d)) } else { value }
            })
            .collect())
    }
}

impl Tuple for Host {
    fn name(&self) -> &'static str {
        "host call"
    }

    fn attributes(&self) -> String {
        self.call.name().to_string()
    }

    fn results(&self, _: &[(Shape, DType)]) -> Result<Vec<(Shape, DType)>> {
        let mut all = self.outcomes();
        all.push((Shape::new(), DType::Bool));
        Ok(all)
    }

    fn vjp_all(&self, _: &mut Reverse<'_>, _: NodeId, _: &[Option<NodeId>]) -> Result<Cotangents> {
        Err(self.no_derivative())
    }

    fn jvp_all(&self, _: &mut Tape, _: NodeId, _: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        Err(self.no_derivative())
    }

    fn batch_all(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        let mut inputs: SmallVec<[NodeId; 4]> = SmallVec::new();
        for k in 0..self.args.len() {
            let (x, batched) = b.inputs[k];
            inputs.push(match self.call.method() {
                Method::Sequential => x,
                Method::BroadcastAll => b.full(t, k)?,
                Method::ExpandDims if batched => x,
                Method::ExpandDims => {
                    let mut s = t.shape(x).clone();
                    s.insert(0, 1);
                    t.reshape(x, &s)?
                }
            });
        }
        let args = inputs.iter().map(|&x| (t.shape(x).clone(), t.dtype(x))).collect();
        inputs.extend(b.inputs[self.args.len()..].iter().map(|x| x.0));
        debug_assert_eq!(inputs.len(), t.inputs(node).len());
        let mut called =
            Called { call: self.call.clone(), args, results: self.results.clone(), lanes: self.lanes.clone() };
        match self.call.method() {
            Method::Sequential => {
                called.lanes.push((b.size, b.inputs[..self.args.len()].iter().map(|x| x.1).collect()))
            }
            Method::ExpandDims | Method::BroadcastAll => {
                for (s, _) in &mut called.results {
                    s.insert(0, b.size);
                }
            }
        }
        let (_, results) = t.push_tuple(Host(Arc::new(called)).into(), &inputs)?;
        // the token is one for all
        let last = results.len() - 1;
        Ok(results.into_iter().enumerate().map(|(k, y)| (y, k != last)).collect())
    }
}

impl Tape {
    /// Records a call; it is pending until somebody runs it, or takes it into a rule, a batch or a body.
    pub fn host_call(
        &mut self,
        call: Arc<dyn HostCall>,
        args: &[NodeId],
        results: Vec<(Shape, DType)>,
    ) -> Result<(NodeId, Vec<NodeId>)> {
        let metas = args.iter().map(|&x| (self.shape(x).clone(), self.dtype(x))).collect();
        let (node, mut results) = self.push_tuple(Host::new(call, metas, results).into(), args)?;
        results.pop();
        Ok((node, results))
    }
}
