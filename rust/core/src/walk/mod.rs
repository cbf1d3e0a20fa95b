//! The three walks over a tape: each appends nodes to the same tape and computes nothing.

mod batch;
mod forward;
mod reverse;
pub mod rules;

pub use batch::batch;
pub use forward::jvp;
pub use reverse::vjp;

use crate::tape::{NodeId, Tape};

/// The nodes between the first argument and the last output, and which of them depend on an argument.
struct Span {
    base: usize,
    depends: Vec<bool>,
    argument: Vec<bool>,
    /// Dependence by value, not by derivative alone.
    all: bool,
}

impl Span {
    /// `all`: also through nodes of integer dtype, which carry no derivative.
    fn new(t: &Tape, arguments: &[NodeId], outputs: &[NodeId], all: bool) -> Span {
        let base = arguments.iter().map(|a| a.index()).min().unwrap_or(0);
        let end = arguments.iter().chain(outputs).map(|a| a.index() + 1).max().unwrap_or(base);
        let mut depends = vec![false; end.saturating_sub(base)];
        for a in arguments {
            depends[a.index() - base] = true;
        }
        let argument = depends.clone();
        for i in 0..depends.len() {
            if !depends[i] {
                let n = t.node(NodeId((base + i) as u32));
                let first = if all { 0 } else { n.op.carried() };
                depends[i] = (all || n.op.carries(n.dtype))
                    && n.inputs[first..].iter().any(|x| x.index() >= base && depends[x.index() - base]);
            }
        }
        Span { base, depends, argument, all }
    }

    /// Which nodes the outputs are made of: others may belong to scopes that are closed.
    fn needed(&self, t: &Tape, outputs: &[NodeId]) -> Vec<bool> {
        let mut needed = vec![false; self.depends.len()];
        for y in outputs {
            if self.depends(*y) {
                needed[y.index() - self.base] = true;
            }
        }
        for i in (0..needed.len()).rev() {
            if needed[i] && !self.argument[i] {
                let n = t.node(NodeId((self.base + i) as u32));
                let first = if self.all { 0 } else { n.op.carried() };
                for x in &n.inputs[first..] {
                    if self.depends(*x) {
                        needed[x.index() - self.base] = true;
                    }
                }
            }
        }
        needed
    }

    fn depends(&self, x: NodeId) -> bool {
        x.index() >= self.base && self.depends.get(x.index() - self.base).copied().unwrap_or(false)
    }
}
