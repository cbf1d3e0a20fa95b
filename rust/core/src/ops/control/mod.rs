//! Control flow: operations that run bodies, functions that were recorded once (see `body`).
//!
//! Their rules derive new bodies with the walks, which is why this family, unlike the others, looks up to `walk` and `plan`.

pub mod body;
mod branch;
pub mod close;
mod for_loop;
mod while_loop;

pub use body::Body;
pub use branch::Branch;
pub use for_loop::For;
pub use while_loop::{Read, Stage, While};

use super::{Batch, Cotangents, Op, Reverse, Tuple};
use crate::tape::{DType, NodeId, Shape, Tape};
use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    Branch(Branch),
    For(For),
    While(While),
}

impl Control {
    /// All bodies.
    pub fn bodies(&self) -> Box<dyn Iterator<Item = &Body> + '_> {
        match self {
            Control::Branch(c) => Box::new(c.bodies.iter()),
            Control::For(c) => Box::new(std::iter::once(&c.body)),
            Control::While(c) => Box::new(std::iter::once(&c.condition).chain(c.stages.iter().map(|s| &s.body))),
        }
    }

    /// Whether a rule of a user is in one of the bodies.
    pub fn has_rules(&self) -> bool {
        self.bodies().any(Body::has_rules)
    }

    /// The same by value.
    pub fn plain(&self) -> Control {
        let plain = |b: &Body| b.plain().clone();
        match self {
            Control::Branch(c) => Control::Branch(Branch { bodies: c.bodies.iter().map(plain).collect() }),
            Control::For(c) => Control::For(For { body: plain(&c.body), ..c.clone() }),
            Control::While(c) => {
                let stages = c.stages.iter().map(|s| Stage { body: plain(&s.body), ..s.clone() }).collect();
                Control::While(While { condition: plain(&c.condition), stages, ..c.clone() })
            }
        }
    }

    /// Whether a host call for its effect is in one of the bodies.
    pub fn has_effects(&self) -> bool {
        self.bodies().any(Body::has_effects)
    }

    fn rules(&self) -> &dyn Flow {
        match self {
            Control::Branch(c) => c,
            Control::For(c) => c,
            Control::While(c) => c,
        }
    }
}

impl From<Branch> for Op {
    fn from(c: Branch) -> Op {
        Op::Control(Control::Branch(c))
    }
}

impl From<For> for Op {
    fn from(c: For) -> Op {
        Op::Control(Control::For(c))
    }
}

impl From<While> for Op {
    fn from(c: While) -> Op {
        Op::Control(Control::While(c))
    }
}

/// The inputs of an operation and its results.
pub(crate) struct Site {
    pub inputs: Vec<NodeId>,
    pub results: Vec<NodeId>,
}

/// What each kind of control flow must say: as `Tuple`, but for an operation whose inputs may be more than those of the node.
trait Flow {
    fn name(&self) -> &'static str;

    fn attributes(&self) -> String {
        String::new()
    }

    fn results(&self) -> Vec<Meta>;

    fn vjp_at(&self, r: &mut Reverse<'_>, site: &Site, cotangents: &[Option<NodeId>]) -> Result<Cotangents>;

    fn jvp_at(&self, t: &mut Tape, site: &Site, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>>;

    fn batch_all(&self, t: &mut Tape, b: &Batch) -> Result<Vec<(NodeId, bool)>>;
}

impl Tuple for Control {
    fn name(&self) -> &'static str {
        self.rules().name()
    }

    fn attributes(&self) -> String {
        self.rules().attributes()
    }

    fn results(&self, _: &[(Shape, DType)]) -> Result<Vec<(Shape, DType)>> {
        Ok(self.rules().results())
    }

    fn vjp_all(&self, r: &mut Reverse<'_>, node: NodeId, cotangents: &[Option<NodeId>]) -> Result<Cotangents> {
        let mut site = Site { inputs: r.t.inputs(node).to_vec(), results: r.t.results(node).to_vec() };
        let Some(closing) = r.t.closing(node, true) else { return self.rules().vjp_at(r, &site, cotangents) };
        let (at, extras) = (closing.at, closing.nodes());
        let gap = at..at + extras.len();
        site.inputs.splice(at..at, extras);
        let mut want = r.want.clone();
        want.insert_many(at, gap.clone().map(|_| false));
        let mut r = Reverse { t: r.t, want, masks: r.masks };
        let mut out = closing.control.rules().vjp_at(&mut r, &site, cotangents)?;
        out.drain(gap);
        Ok(out)
    }

    fn jvp_all(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Vec<Option<NodeId>>> {
        let mut site = Site { inputs: t.inputs(node).to_vec(), results: t.results(node).to_vec() };
        let Some(closing) = t.closing(node, false) else { return self.rules().jvp_at(t, &site, tangents) };
        let (at, extras) = (closing.at, closing.nodes());
        let mut tangents = tangents.to_vec();
        tangents.splice(at..at, extras.iter().map(|_| None));
        site.inputs.splice(at..at, extras);
        closing.control.rules().jvp_at(t, &site, &tangents)
    }

    fn batch_all(&self, t: &mut Tape, _: NodeId, b: &Batch) -> Result<Vec<(NodeId, bool)>> {
        self.rules().batch_all(t, b)
    }
}

/// Which of some inputs, outputs or slots.
pub type Mask = Vec<bool>;
/// The shape and dtype of a value.
pub type Meta = (Shape, DType);

pub(crate) fn present<T>(list: &[Option<T>]) -> Mask {
    list.iter().map(Option::is_some).collect()
}

/// The items where the mask holds.
pub(crate) fn chosen<T: Clone>(list: &[T], mask: &[bool]) -> Vec<T> {
    list.iter().zip(mask).filter(|x| *x.1).map(|x| x.0.clone()).collect()
}

/// `items`, one for each place where the mask holds, at their places.
pub(crate) fn scattered<T: Copy>(items: &[T], mask: &[bool]) -> Vec<Option<T>> {
    let mut items = items.iter().copied();
    mask.iter().map(|&m| if m { items.next() } else { None }).collect()
}

/// Words for the key of a derived body.
pub(crate) fn key(tag: u64, masks: &[&[bool]]) -> Vec<u64> {
    let mut words = vec![tag];
    for m in masks {
        words.push(m.len() as u64);
        for part in m.chunks(64) {
            words.push(part.iter().enumerate().fold(0, |w, (i, &b)| w | u64::from(b) << i));
        }
    }
    words
}

/// The shape with an axis of length `n` in front.
pub(crate) fn stacked((shape, dtype): &Meta, n: usize) -> Meta {
    let mut s = shape.clone();
    s.insert(0, n);
    (s, *dtype)
}

pub(crate) fn add(t: &mut Tape, a: Option<NodeId>, b: Option<NodeId>) -> Result<Option<NodeId>> {
    match (a, b) {
        (Some(a), Some(b)) => t.add(a, b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

pub(crate) fn zero(t: &mut Tape, (shape, dtype): &Meta) -> Result<NodeId> {
    t.literal(0.0, shape, *dtype)
}

/// The condition, one bool a lane (or one for all), spread over `like`, whose first axis are the lanes.
pub(crate) fn spread(t: &mut Tape, c: NodeId, like: NodeId) -> Result<NodeId> {
    let to = t.shape(like).clone();
    let mut wide = t.shape(c).clone();
    wide.resize(to.len(), 1);
    let c = t.reshape(c, &wide)?;
    t.broadcast_to(c, &to)
}

/// `x` with the batch in front, if it is not there yet.
pub(crate) fn full(t: &mut Tape, x: NodeId, batched: bool, size: usize) -> Result<NodeId> {
    if batched {
        return Ok(x);
    }
    let mut shape = t.shape(x).clone();
    shape.insert(0, size);
    t.broadcast_to(x, &shape)
}

pub(crate) fn check(what: &str, want: &[Meta], got: &[Meta]) -> Result<()> {
    if want == got {
        return Ok(());
    }
    Err(Error::Internal(format!("{what}: {got:?} where {want:?} is expected")))
}
