//! Two operations of arithmetic as one kernel: where a sum, difference, product or quotient is read by one other and by
//! nobody else, the second does the work of both, and nothing is stored and loaded in between. Each is rounded by itself.

use smallvec::SmallVec;

use crate::code::Op;
use crate::math::{self, Kernel};
use crate::ops::{Binary, Unary};
use crate::plan::ir::{DIRECT, Ir, Node, Ref};
use crate::plan::region::Schedule;
use crate::plan::rows::{Role, divisor};

/// Which nodes are computed by their readers.
#[derive(Default)]
pub struct Chains {
    /// For each node: the one that does its work.
    reader: Vec<u32>,
    /// For each node: its input whose work it does.
    first: Vec<u32>,
}

const NONE: u32 = u32::MAX;

/// The arithmetic that a node is; the square of x is the product of x and x.
fn arithmetic(n: &Node) -> Option<Binary> {
    match n.op? {
        Op::Binary(b @ (Binary::Add | Binary::Sub | Binary::Mul | Binary::Div)) => Some(b),
        Op::Unary(Unary::Square) => Some(Binary::Mul),
        _ => None,
    }
}

impl Chains {
    /// Among the nodes that `free` allows.
    pub fn new(ir: &Ir, schedule: &Schedule, small_limit: usize, fuse: bool, free: &dyn Fn(u32) -> bool) -> Chains {
        let count = ir.nodes.len();
        let mut c = Chains { reader: vec![NONE; count], first: vec![NONE; count] };
        if !fuse {
            return c;
        }
        let mut uses = vec![0u8; count];
        for n in &ir.nodes {
            for r in &n.inputs {
                let u = &mut uses[r.node as usize];
                *u = u.saturating_add(1);
            }
        }
        for &o in &ir.outputs {
            uses[o as usize] = 2;
        }
        for (i, n) in ir.nodes.iter().enumerate() {
            // what divides rows by a number each has a kernel of its own
            let by_row = |x: usize| divisor(ir, &schedule.roles, x as u32).is_some();
            let alone = schedule.roles[i] != Role::None || by_row(i) || !free(i as u32);
            if arithmetic(n).is_none() || n.inputs.len() != 2 || alone {
                continue;
            }
            let fits = |r: &Ref| {
                let x = r.node as usize;
                let from = &ir.nodes[x];
                // small arrays are in one place each; a region computes again what it does not store
                let at_hand = n.n <= small_limit || schedule.home[x] == schedule.home[i] && !schedule.stored[x];
                r.view == DIRECT
                    && arithmetic(from).is_some()
                    && free(r.node)
                    && uses[x] == 1
                    && c.first[x] == NONE
                    && from.n == n.n
                    && schedule.roles[x] == Role::None
                    && !by_row(x)
                    && at_hand
            };
            if let Some(r) = n.inputs.iter().find(|r| fits(r)) {
                c.reader[r.node as usize] = i as u32;
                c.first[i] = r.node;
            }
        }
        c
    }

    /// Whether somebody else does the work of x.
    pub fn skips(&self, x: u32) -> bool {
        self.reader[x as usize] != NONE
    }

    /// What is read where x is computed: nothing if somebody else does its work.
    pub fn inputs(&self, ir: &Ir, x: u32) -> SmallVec<[Ref; 3]> {
        let n = &ir.nodes[x as usize];
        if self.skips(x) {
            return SmallVec::new();
        }
        match self.first[x as usize] {
            NONE => n.inputs.clone(),
            first => {
                let from = &ir.nodes[first as usize].inputs;
                let other = n.inputs[usize::from(n.inputs[0].node == first)];
                [from[0], from[from.len() - 1], other].into_iter().collect()
            }
        }
    }

    /// The kernel of x, whose own is given, for these inputs.
    pub fn kernel(&self, ir: &Ir, x: u32, own: Kernel) -> Option<Kernel> {
        let n = &ir.nodes[x as usize];
        match self.first[x as usize] {
            NONE => Some(own),
            first => {
                let from = arithmetic(&ir.nodes[first as usize])?;
                math::arithmetic(math::isa(), from, arithmetic(n)?, n.inputs[0].node != first, n.dtype)
            }
        }
    }
}
