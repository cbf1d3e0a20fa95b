//! The operations: one file a family, each with its builder (the shape rule), its derivative rules and its batching rule.
//!
//! Derivative rules are written in primitives, so that a derivative can be differentiated again. A family that forgets a
//! rule does not compile.

mod binary;
mod cast;
pub mod control;
mod custom;
mod factor;
mod form;
mod gather;
mod host;
mod leaf;
mod linalg;
mod matmul;
mod movement;
mod reduce;
mod scan;
mod select;
mod sort;
mod tuple;
mod unary;
mod window;

pub use cast::Cast;
pub use control::Control;
pub use custom::{Attached, Custom, CustomRule, Level};
pub use factor::Factor;
pub use form::{Form, Kind as FormKind};
pub use gather::Gather;
pub use host::{Host, HostCall, HostInput, HostOutput, Method};
pub use leaf::Leaf;
pub use linalg::Linalg;
pub use matmul::MatMul;
pub use mlgrad_math::ops::{Binary, ReduceOp, Unary};
pub use movement::Movement;
pub use reduce::{ArgReduce, Reduce};
pub use scan::Scan;
pub use select::Select;
use smallvec::SmallVec;
pub use sort::Sort;
pub use tuple::{Project, Tuple};
pub use window::{Window, Windowed, disjoint};

use crate::tape::{NodeId, Tape};
use crate::{Error, Result};

/// The adjoint of one input: `node`, which means nothing where `mask` is false, because nothing flows there.
///
/// A mask keeps a structural zero (the branch that `where` did not take) a zero even where a local derivative further up
/// is infinite. It is applied once, where the adjoint leaves elementwise territory.
#[derive(Clone, Copy, Debug)]
pub struct Cotangent {
    pub node: NodeId,
    pub mask: Option<NodeId>,
}

impl From<NodeId> for Cotangent {
    fn from(node: NodeId) -> Self {
        Cotangent { node, mask: None }
    }
}

/// One an input; `None` is a structural zero.
pub type Cotangents = SmallVec<[Option<Cotangent>; 3]>;

/// What a reverse rule may look at.
pub struct Reverse<'a> {
    pub t: &'a mut Tape,
    /// Which inputs the walk is interested in.
    pub want: SmallVec<[bool; 3]>,
    /// Whether masks make a difference further up.
    pub masks: bool,
}

impl Reverse<'_> {
    pub fn want(&self, k: usize) -> bool {
        self.want[k]
    }
}

/// The inputs of a node under vmap: batched ones have the batch as their first axis.
pub struct Batch {
    pub size: usize,
    pub inputs: SmallVec<[(NodeId, bool); 3]>,
}

impl Batch {
    /// Input `k` with the batch axis in front, broadcast if it had none.
    pub fn full(&self, t: &mut Tape, k: usize) -> Result<NodeId> {
        let (x, batched) = self.inputs[k];
        if batched {
            return Ok(x);
        }
        let mut shape = t.shape(x).clone();
        shape.insert(0, self.size);
        t.broadcast_to(x, &shape)
    }
}

/// How masks of structural zeros pass an operation in the reverse walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// The mask of the result is the mask of every input.
    Elementwise,
    /// The reverse rule moves a bool mask as it moves a cotangent.
    Moved,
    /// The same, and elements that the rule leaves out are structural zeros themselves.
    Marks,
    /// The mask is applied here and forgotten.
    Stopped,
}

/// What every family of operations must say.
pub trait Primitive {
    /// The name in messages and printed tapes.
    fn name(&self) -> &'static str;

    /// Static attributes as text.
    fn attributes(&self) -> String {
        String::new()
    }

    /// The cotangents of the inputs of `node`, given that of the node. Linear in `g`; transposed, never conjugated.
    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents>;

    /// The tangent of `node`, given those of its inputs (at least one is not `None`).
    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>>;

    /// The node computed for a whole batch, which becomes the first axis of the result.
    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId>;

    fn zeros(&self) -> Zeros;

    /// Whether a local derivative can be infinite or nan at a finite point.
    fn singular(&self) -> bool {
        false
    }
}

/// The rules of a family with one result, or of one with several.
enum Rules<'a> {
    One(&'a dyn Primitive),
    Many(&'a dyn Tuple),
}

macro_rules! families {
    (one: $($one:ident),*; many: $($many:ident),*) => {
        /// An operation: a family and its static attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Op {
            $($one($one),)*
            $($many($many),)*
        }

        impl Op {
            fn rules(&self) -> Rules<'_> {
                match self {
                    $(Op::$one(o) => Rules::One(o),)*
                    $(Op::$many(o) => Rules::Many(o),)*
                }
            }
        }

        $(impl From<$one> for Op {
            fn from(o: $one) -> Op {
                Op::$one(o)
            }
        })*
        $(impl From<$many> for Op {
            fn from(o: $many) -> Op {
                Op::$many(o)
            }
        })*
    };
}

families!(
    one: Leaf, Unary, Binary, Select, Cast, Movement, Windowed, Reduce, ArgReduce, MatMul, Gather, Scan, Sort, Linalg, Project;
    many: Factor, Custom, Host, Control
);

impl Op {
    /// The rules of an operation with several results.
    pub fn tuple(&self) -> Option<&dyn Tuple> {
        match self.rules() {
            Rules::One(_) => None,
            Rules::Many(o) => Some(o),
        }
    }

    /// The first input that derivatives flow to.
    pub fn carried(&self) -> usize {
        self.tuple().map_or(0, Tuple::carried)
    }

    /// Whether derivatives flow through a node with this operation and dtype.
    pub fn carries(&self, dtype: crate::tape::DType) -> bool {
        // an operation with several results has no dtype: they have
        (dtype.is_inexact() || self.tuple().is_some()) && *self != Op::Leaf(Leaf::Stop)
    }

    fn single(&self) -> Result<&dyn Primitive> {
        match self.rules() {
            Rules::One(o) => Ok(o),
            Rules::Many(o) => Err(Error::Internal(format!("{} has several results", o.name()))),
        }
    }
}

impl Op {
    /// Whether its derivatives, and what a plan makes of it, follow from its attributes alone.
    pub fn is_structural(&self) -> bool {
        match self {
            Op::Leaf(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select(_)
            | Op::Cast(_)
            | Op::Movement(_)
            | Op::Windowed(_)
            | Op::Reduce(_)
            | Op::ArgReduce(_)
            | Op::MatMul(_)
            | Op::Gather(_)
            | Op::Scan(_)
            | Op::Sort(_)
            | Op::Linalg(_)
            | Op::Project(_)
            | Op::Factor(_) => true,
            // its rules are Python's; and how long a loop runs, and what its body calls, is not seen from outside
            Op::Custom(_) | Op::Control(_) | Op::Host(_) => false,
        }
    }
}

impl Primitive for Op {
    fn name(&self) -> &'static str {
        match self.rules() {
            Rules::One(o) => o.name(),
            Rules::Many(o) => o.name(),
        }
    }

    fn attributes(&self) -> String {
        match self.rules() {
            Rules::One(o) => o.attributes(),
            Rules::Many(o) => o.attributes(),
        }
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        self.single()?.vjp(r, node, g)
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        self.single()?.jvp(t, node, tangents)
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        self.single()?.batch(t, node, b)
    }

    fn zeros(&self) -> Zeros {
        match self.rules() {
            Rules::One(o) => o.zeros(),
            Rules::Many(_) => Zeros::Stopped,
        }
    }

    fn singular(&self) -> bool {
        match self.rules() {
            Rules::One(o) => o.singular(),
            Rules::Many(_) => false,
        }
    }
}

/// `Cotangents` of an operation of `n` inputs that nothing flows through.
pub(crate) fn none(n: usize) -> Cotangents {
    SmallVec::from_elem(None, n)
}
