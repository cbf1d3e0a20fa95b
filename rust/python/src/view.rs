//! Views: how an Array that shares its cell with others sees the cell's node, and how a write finds its way back.

use std::sync::Arc;

use mlgrad_core::Result;
use mlgrad_core::ops::Window;
use mlgrad_core::tape::{Axes, NodeId, Shape, Tape};
use smallvec::SmallVec;

/// One step from the storage towards what the handle shows, with the shape after it.
#[derive(Clone, Debug)]
pub enum Step {
    Window(Box<Window>, Shape),
    Transpose(Axes),
    Reshape(Shape),
    /// Read-only: no write ever comes back through it.
    Broadcast(Shape),
}

impl Step {
    fn forward(&self, t: &mut Tape, x: NodeId) -> Result<NodeId> {
        match self {
            Step::Window(w, to) => t.slice(x, w.clone(), to),
            Step::Transpose(p) => t.transpose(x, p),
            Step::Reshape(to) => t.reshape(x, to),
            Step::Broadcast(to) => t.broadcast_to(x, to),
        }
    }

    /// `whole` with what this step shows of it replaced by `piece`.
    fn back(&self, t: &mut Tape, whole: NodeId, piece: NodeId) -> Result<NodeId> {
        match self {
            Step::Window(w, _) => t.update(whole, piece, w.clone()),
            Step::Transpose(p) => {
                let mut inverse: Axes = SmallVec::from_elem(0, p.len());
                for (i, &a) in p.iter().enumerate() {
                    inverse[a as usize] = i as u8;
                }
                t.transpose(piece, &inverse)
            }
            Step::Reshape(_) => {
                let to = t.shape(whole).clone();
                t.reshape(piece, &to)
            }
            Step::Broadcast(_) => Err(mlgrad_core::Error::Internal("a write through a broadcast".into())),
        }
    }
}

/// The steps from the storage to the handle; shared, since views of views are common and the path is read-only.
pub type Path = Option<Arc<Vec<Step>>>;

pub fn extended(path: &Path, more: impl IntoIterator<Item = Step>) -> Path {
    let mut steps = path.as_deref().cloned().unwrap_or_default();
    steps.extend(more);
    if steps.is_empty() { None } else { Some(Arc::new(steps)) }
}

/// What the path shows of `base`.
pub fn read(t: &mut Tape, base: NodeId, steps: &[Step]) -> Result<NodeId> {
    steps.iter().try_fold(base, |x, s| s.forward(t, x))
}

/// `base` with what the path shows of it replaced by `v`.
pub fn write(t: &mut Tape, base: NodeId, steps: &[Step], v: NodeId) -> Result<NodeId> {
    let mut before = Vec::with_capacity(steps.len());
    let mut x = base;
    for (k, s) in steps.iter().enumerate() {
        before.push(x);
        if k + 1 < steps.len() {
            x = s.forward(t, x)?;
        }
    }
    steps.iter().zip(before).rev().try_fold(v, |piece, (s, whole)| s.back(t, whole, piece))
}
