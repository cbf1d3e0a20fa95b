//! Two steps of arithmetic as one: a sum, difference or product that only another one reads is computed by that one's kernel,
//! so that it is neither stored nor loaded. Each is rounded as before: the bits stay.

use super::absorb::Absorption;
use super::program::Program;
use crate::math::ops::Step;
use crate::math::{self, Kernel};
use crate::ops::{Binary, Op, Unary};
use crate::tape::DType;

/// What an operation comes to.
#[derive(Clone, Debug)]
pub struct Pair {
    pub kernel: Kernel,
    /// In the order of the kernel.
    pub inputs: [u32; 3],
}

#[derive(Default)]
pub struct Pairs {
    /// For the operations that do another one's work too.
    pub pairs: Vec<Option<Pair>>,
    /// Whether somebody else does the work of an operation.
    pub done: Vec<bool>,
}

pub fn pairs(p: &Program, absorption: &Absorption) -> Pairs {
    let count = p.nodes.len();
    let mut uses = vec![0u32; count];
    for n in &p.nodes {
        for &x in &n.inputs {
            uses[x as usize] += 1;
        }
    }
    for &o in &p.outputs {
        uses[o as usize] += 2;
    }
    let mut found = Pairs { pairs: vec![None; count], done: vec![false; count] };
    for (i, n) in p.nodes.iter().enumerate() {
        let Op::Binary(op) = n.op else { continue };
        if !matches!(n.dtype, DType::F32 | DType::F64) || absorption.additions[i].is_some() {
            continue;
        }
        let (x, y) = (n.inputs[0], n.inputs[1]);
        let inner = |x: u32| {
            let free = uses[x as usize] == 1 && found.pairs[x as usize].is_none();
            if !free || absorption.additions[x as usize].is_some() {
                return None;
            }
            let n = &p.nodes[x as usize];
            match n.op {
                Op::Binary(Binary::Mul) => Some((Step::Mul, n.inputs[0], n.inputs[1])),
                Op::Unary(Unary::Square) => Some((Step::Mul, n.inputs[0], n.inputs[0])),
                Op::Binary(Binary::Add) => Some((Step::Add, n.inputs[0], n.inputs[1])),
                Op::Binary(Binary::Sub) => Some((Step::Sub, n.inputs[0], n.inputs[1])),
                _ => None,
            }
        };
        let (first, second) = match op {
            Binary::Add => (Step::Add, Step::Add),
            Binary::Sub => (Step::Sub, Step::From),
            Binary::Mul => (Step::Mul, Step::Mul),
            _ => continue,
        };
        // what comes later is more likely waited for
        let mut ways = [(x, first, y), (y, second, x)];
        if y > x {
            ways.swap(0, 1);
        }
        let way = ways.into_iter().find_map(|(at, outer, other)| {
            let (step, a, b) = inner(at)?;
            let kernel = math::two_steps(math::isa(), step, outer, n.dtype)?;
            Some((at, Pair { kernel, inputs: [a, b, other] }))
        });
        if let Some((at, pair)) = way {
            found.done[at as usize] = true;
            found.pairs[i] = Some(pair);
        }
    }
    found
}
