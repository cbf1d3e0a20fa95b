//! Sums of matrix products: a product that is only added to another one is added where that lies, by the product's own
//! kernel. So the gradient of a weight that is used many times is one array, not one for each use.

use super::program::Program;
use crate::exec::gemm::ONE_PASS;
use crate::ops::{Binary, Op};
use crate::tape::DType;

/// An addition as a product that is added to a value.
#[derive(Clone, Copy, Debug)]
pub struct Absorbed {
    /// The product, which nobody else reads.
    pub product: u32,
    /// What it is added to, which nobody else reads either.
    pub to: u32,
}

#[derive(Default)]
pub struct Absorption {
    /// For additions.
    pub additions: Vec<Option<Absorbed>>,
    /// Whether a node is a product that an addition stands for.
    pub absorbed: Vec<bool>,
    /// Whether a product is added to a node, where that lies.
    pub added_to: Vec<bool>,
}

/// Which additions do their products' work. The bits stay: sums of up to [`ONE_PASS`] products are added when they are done.
pub fn absorption(p: &Program) -> Absorption {
    let count = p.nodes.len();
    let products = |i: u32| matches!(p.nodes[i as usize].op, Op::MatMul(_));
    if !(0..count as u32).any(products) {
        let none = vec![false; count];
        return Absorption { additions: vec![None; count], absorbed: none.clone(), added_to: none };
    }
    let mut uses = vec![0u32; count];
    for n in &p.nodes {
        for &x in &n.inputs {
            uses[x as usize] += 1;
        }
    }
    for &o in &p.outputs {
        uses[o as usize] += 2;
    }
    let fits = |i: u32| {
        let n = &p.nodes[i as usize];
        if uses[i as usize] != 1 || !products(i) || !matches!(n.dtype, DType::F32 | DType::F64) {
            return false;
        }
        let from = &p.nodes[n.inputs[0] as usize].shape;
        let rank = n.shape.len();
        // with one row or column the order of the sum is another one
        from[rank - 1] <= ONE_PASS && n.shape[rank - 1] > 1 && n.shape[rank - 2] > 1
    };
    let none = vec![false; count];
    let mut a = Absorption { additions: vec![None; count], absorbed: none.clone(), added_to: none };
    for (i, n) in p.nodes.iter().enumerate() {
        if n.op != Op::Binary(Binary::Add) {
            continue;
        }
        let (x, y) = (n.inputs[0], n.inputs[1]);
        let base = |b: u32, a: &Absorption| {
            uses[b as usize] == 1 && (products(b) && !a.absorbed[b as usize] || a.additions[b as usize].is_some())
        };
        let found = if fits(y) && base(x, &a) {
            Some(Absorbed { product: y, to: x })
        } else if fits(x) && base(y, &a) {
            Some(Absorbed { product: x, to: y })
        } else {
            None
        };
        if let Some(found) = found {
            a.absorbed[found.product as usize] = true;
            a.added_to[found.to as usize] = true;
            a.additions[i] = Some(found);
        }
    }
    a
}
