//! The order in which an elementwise node computes its elements.
//!
//! C order of its shape, unless what it reads lies in another one (a product that is read transposed, a batch axis that was
//! moved) and its readers do not mind: a matrix product follows any strides, and a transpose may put things back. So a
//! value that is transposed there and back is never moved at all.
//!
//! Invariant: what adds up elements in an order that depends on strides finds them in C order, so no sum depends on this.

use smallvec::SmallVec;

use super::ir::{Builder, DIRECT, Ref};
use super::program::Program;
use super::view::View;
use crate::ops::{Leaf, Movement, Op};
use crate::tape::{Shape, shape};

/// Axes that are longer than 1, the outermost first.
type Order = SmallVec<[u8; 4]>;

/// How the readers of a value would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Nobody minds.
    Free,
    /// In this order; another one costs a pass over the array.
    Order(Order),
    /// In C order.
    Fixed,
}

fn long_axes(shape: &[usize]) -> Order {
    (0..shape.len()).filter(|&a| shape[a] != 1).map(|a| a as u8).collect()
}

impl Want {
    /// In C order, of these axes.
    fn natural(shape: &[usize]) -> Want {
        Want::Order(long_axes(shape))
    }

    fn and(&mut self, other: Want, shape: &[usize]) {
        *self = match (std::mem::replace(self, Want::Fixed), other) {
            (Want::Free, x) | (x, Want::Free) => x,
            (Want::Order(a), Want::Order(b)) if a == b => Want::Order(a),
            (Want::Order(_), Want::Order(_)) => Want::natural(shape),
            (Want::Fixed, _) | (_, Want::Fixed) => Want::Fixed,
        };
    }
}

/// What is wanted of each node; nothing where no order but the natural one can come up.
pub(super) fn wants(p: &Program) -> Vec<Want> {
    if !p.nodes.iter().any(|n| matches!(n.op, Op::Movement(Movement::Transpose(_)))) {
        return Vec::new();
    }
    let mut wants = vec![Want::Free; p.nodes.len()];
    for &o in &p.outputs {
        let shape = &p.nodes[o as usize].shape;
        wants[o as usize].and(Want::natural(shape), shape);
    }
    for (i, n) in p.nodes.iter().enumerate().rev() {
        for &x in &n.inputs {
            let from = &p.nodes[x as usize].shape;
            let want = match &n.op {
                Op::Unary(_)
                | Op::Binary(_)
                | Op::Cast(_)
                | Op::Select(_)
                | Op::Leaf(Leaf::Alias | Leaf::Stop | Leaf::Dense) => wants[i].clone(),
                Op::Movement(Movement::Transpose(perm)) => match &wants[i] {
                    Want::Free => Want::Free,
                    Want::Order(o) => Want::Order(o.iter().map(|&a| perm[a as usize]).collect()),
                    Want::Fixed => Want::Order(perm.iter().copied().filter(|&a| from[a as usize] != 1).collect()),
                },
                Op::Movement(Movement::Reshape) => reshaped(&wants[i], from, &n.shape),
                // strides do not matter to the order of its sums
                Op::MatMul(_) if n.shape.len() == 2 && !n.shape.contains(&1) => Want::Free,
                Op::Movement(Movement::Broadcast) => Want::natural(from),
                _ => Want::Fixed,
            };
            wants[x as usize].and(want, from);
        }
    }
    wants
}

/// What is wanted of an array that is wanted in another shape.
fn reshaped(want: &Want, from: &Shape, to: &Shape) -> Want {
    let (old, new) = (long_axes(from), long_axes(to));
    let same = old.len() == new.len() && old.iter().zip(&new).all(|(&a, &b)| from[a as usize] == to[b as usize]);
    match want {
        Want::Fixed => Want::Fixed,
        // but for axes of length 1
        Want::Order(o) if same => {
            Want::Order(o.iter().filter_map(|a| Some(old[new.iter().position(|b| b == a)?])).collect())
        }
        Want::Free if same => Want::Free,
        Want::Free | Want::Order(_) => Want::natural(from),
    }
}

/// The order in which a view goes through all of an array of n elements, if it does.
fn order(v: &View, n: usize) -> Option<Order> {
    let mut axes = long_axes(&v.dims);
    axes.sort_by_key(|&a| std::cmp::Reverse(v.strides[a as usize]));
    let mut step = 1;
    for &a in axes.iter().rev() {
        if v.strides[a as usize] != step {
            return None;
        }
        step *= v.dims[a as usize] as isize;
    }
    (v.offset == 0 && step == n as isize).then_some(axes)
}

impl Builder<'_> {
    /// The inputs of elementwise node i, and the view of what it computes, where another order than that of its shape is
    /// better.
    pub(super) fn laid_out(&mut self, i: usize) -> Option<(SmallVec<[Ref; 3]>, View)> {
        let natural = long_axes(&self.p.nodes[i].shape);
        let want = self.wants.get(i)?.clone();
        if natural.len() < 2 || want == Want::Fixed {
            return None;
        }
        let n = &self.p.nodes[i];
        // each input as it is seen along the axes of the shape, and the order of those that are read whole
        let mut seen: SmallVec<[Option<View>; 3]> = SmallVec::new();
        let mut orders: SmallVec<[Order; 3]> = SmallVec::new();
        for &x in &n.inputs {
            let value = self.values[x as usize];
            if self.is_number(value.node) {
                seen.push(None);
                continue;
            }
            let v = match value.view {
                DIRECT => View::whole(&n.shape),
                v => {
                    let v = &self.ir.views[v as usize];
                    let same = v.frame.is_none() && v.dims == n.shape;
                    if same { v.clone() } else { v.frame.is_none().then(|| v.reshape(&n.shape))?? }
                }
            };
            orders.extend(order(&v, self.ir.nodes[value.node as usize].n));
            seen.push(Some(v));
        }
        let cost = |o: &Order| {
            let moved = orders.iter().filter(|&other| other != o).count();
            moved + usize::from(matches!(&want, Want::Order(w) if w != o))
        };
        let best = orders.iter().min_by_key(|o| cost(o))?;
        if cost(best) >= cost(&natural) {
            return None;
        }
        let rest = (0..n.shape.len() as u8).filter(|&a| n.shape[a as usize] == 1);
        let perm: Order = rest.chain(best.iter().copied()).collect();
        let mut back: Order = SmallVec::from_elem(0, perm.len());
        for (k, &a) in perm.iter().enumerate() {
            back[a as usize] = k as u8;
        }
        let nodes: SmallVec<[u32; 3]> = n.inputs.iter().map(|&x| self.values[x as usize].node).collect();
        let dims: Shape = perm.iter().map(|&a| n.shape[a as usize]).collect();
        let mut inputs = SmallVec::new();
        for (node, v) in nodes.into_iter().zip(seen) {
            inputs.push(match v.map(|v| v.transpose(&perm)) {
                Some(v) if v.contiguous() && v.offset == 0 && shape::size(&dims) == self.ir.nodes[node as usize].n => {
                    Ref::direct(node)
                }
                Some(v) => Ref { node, view: self.view(node, v) },
                None => Ref::direct(node),
            });
        }
        Some((inputs, View::whole(&dims).transpose(&back)))
    }
}
