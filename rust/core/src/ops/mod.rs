//! The operations: one file a family, each with its builder (the shape rule), its derivative rules and its batching rule.
//!
//! Derivative rules are written in primitives, so that a derivative can be differentiated again. A family that forgets a
//! rule does not compile.

mod binary;
mod cast;
mod gather;
mod leaf;
mod linalg;
mod matmul;
mod movement;
mod reduce;
mod scan;
mod select;
mod sort;
mod unary;
mod window;

pub use cast::Cast;
pub use gather::Gather;
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
pub use window::{Window, Windowed};

use crate::Result;
use crate::tape::{NodeId, Tape};

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

macro_rules! families {
    ($($family:ident),*) => {
        /// An operation: a family and its static attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Op {
            $($family($family),)*
        }

        impl Op {
            fn rules(&self) -> &dyn Primitive {
                match self { $(Op::$family(o) => o,)* }
            }
        }

        $(impl From<$family> for Op {
            fn from(o: $family) -> Op {
                Op::$family(o)
            }
        })*
    };
}

families!(Leaf, Unary, Binary, Select, Cast, Movement, Windowed, Reduce, ArgReduce, MatMul, Gather, Scan, Sort, Linalg);

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
            | Op::Linalg(_) => true,
        }
    }
}

impl Primitive for Op {
    fn name(&self) -> &'static str {
        self.rules().name()
    }

    fn attributes(&self) -> String {
        self.rules().attributes()
    }

    fn vjp(&self, r: &mut Reverse<'_>, node: NodeId, g: NodeId) -> Result<Cotangents> {
        self.rules().vjp(r, node, g)
    }

    fn jvp(&self, t: &mut Tape, node: NodeId, tangents: &[Option<NodeId>]) -> Result<Option<NodeId>> {
        self.rules().jvp(t, node, tangents)
    }

    fn batch(&self, t: &mut Tape, node: NodeId, b: &Batch) -> Result<NodeId> {
        self.rules().batch(t, node, b)
    }

    fn zeros(&self) -> Zeros {
        self.rules().zeros()
    }

    fn singular(&self) -> bool {
        self.rules().singular()
    }
}

/// `Cotangents` of an operation of `n` inputs that nothing flows through.
pub(crate) fn none(n: usize) -> Cotangents {
    SmallVec::from_elem(None, n)
}
