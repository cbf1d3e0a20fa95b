//! Products that are only added to something, or subtracted: one pass makes both, and the product is never stored.

use super::absorb::Absorption;
use super::program::Program;
use crate::exec::combine::{Combine, kernel};
use crate::math::Kernel;
use crate::ops::{Binary, Op, Unary};

/// A sum or difference as one pass over the factors of a product and the other operand.
#[derive(Clone, Copy, Debug)]
pub struct Combined {
    pub kernel: Kernel,
    pub operands: [u32; 3],
}

#[derive(Default)]
pub struct Combinations {
    /// For sums and differences.
    pub sums: Vec<Option<Combined>>,
    /// Whether a node is a product that has gone into one.
    pub inside: Vec<bool>,
}

pub fn combinations(p: &Program, absorption: &Absorption) -> Combinations {
    let count = p.nodes.len();
    let mut c = Combinations { sums: vec![None; count], inside: vec![false; count] };
    let mut uses = vec![0u32; count];
    for &x in p.nodes.iter().flat_map(|n| &n.inputs).chain(&p.outputs) {
        uses[x as usize] += 1;
    }
    let factors = |x: u32| {
        let n = &p.nodes[x as usize];
        match n.op {
            _ if uses[x as usize] != 1 => None,
            Op::Binary(Binary::Mul) => Some([n.inputs[0], n.inputs[1]]),
            Op::Unary(Unary::Square) => Some([n.inputs[0]; 2]),
            _ => None,
        }
    };
    for (i, n) in p.nodes.iter().enumerate() {
        let forms = match n.op {
            Op::Binary(Binary::Add) if absorption.additions[i].is_none() => [Combine::Add, Combine::Add],
            Op::Binary(Binary::Sub) => [Combine::Less, Combine::From],
            _ => continue,
        };
        let found = [1, 0].into_iter().find_map(|k| {
            let [a, b] = factors(n.inputs[k])?;
            let kernel = kernel(forms[k], n.dtype)?;
            Some((n.inputs[k], Combined { kernel, operands: [a, b, n.inputs[1 - k]] }))
        });
        if let Some((product, combined)) = found {
            c.inside[product as usize] = true;
            c.sums[i] = Some(combined);
        }
    }
    c
}
