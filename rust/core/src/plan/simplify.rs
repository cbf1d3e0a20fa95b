//! Identities, common subexpressions, numbers folded, dead nodes: what can go without changing a bit of any result.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use super::kernel;
use super::program::{Node, Program};
use crate::ops::{Leaf, Movement, Op, Unary, Windowed};

/// The same outputs from fewer nodes. Parameters stay, all of them and apart. Effects are outputs by now.
pub fn simplify(p: Program) -> Program {
    let mut out = Builder { nodes: Vec::with_capacity(p.nodes.len()), table: FxHashMap::default() };
    let mut place: Vec<u32> = Vec::with_capacity(p.nodes.len());
    for mut n in p.nodes {
        for x in &mut n.inputs {
            *x = place[*x as usize];
        }
        place.push(out.add(n));
    }
    let outputs = p.outputs.iter().map(|&o| place[o as usize]).collect();
    let params = p.params.iter().map(|&o| place[o as usize]).collect();
    sweep(Program { nodes: out.nodes, params, outputs, effects: Vec::new(), carries: p.carries })
}

struct Builder {
    nodes: Vec<Node>,
    /// Nodes by the hash of their structure.
    table: FxHashMap<u64, u32>,
}

impl Builder {
    fn add(&mut self, n: Node) -> u32 {
        match n.op {
            Op::Leaf(Leaf::Alias | Leaf::Stop | Leaf::Dense) => return n.inputs[0],
            // calls of the host run as often as they were recorded
            Op::Leaf(Leaf::Param) | Op::Host(_) => return self.append(n),
            _ => {}
        }
        let n = match self.folded(n) {
            Ok(place) => return place,
            Err(n) => n,
        };
        let mut h = FxHasher::default();
        n.hash(&mut h);
        let key = h.finish();
        match self.table.get(&key) {
            Some(&at) if self.nodes[at as usize] == n => at,
            Some(_) => self.append(n),
            None => {
                let at = self.append(n);
                self.table.insert(key, at);
                at
            }
        }
    }

    fn append(&mut self, n: Node) -> u32 {
        self.nodes.push(n);
        (self.nodes.len() - 1) as u32
    }

    fn literal(&self, x: u32) -> Option<u64> {
        match self.nodes[x as usize].op {
            Op::Leaf(Leaf::Literal(bits)) => Some(bits),
            _ => None,
        }
    }

    /// Where a node comes to something simpler: its place, or the node (perhaps another one) to be added.
    fn folded(&mut self, n: Node) -> Result<u32, Node> {
        let as_literal = |n: Node, bits| Node { op: Op::Leaf(Leaf::Literal(bits)), inputs: SmallVec::new(), ..n };
        match &n.op {
            Op::Movement(Movement::Broadcast | Movement::Reshape | Movement::Transpose(_))
            | Op::Windowed(Windowed::Slice(_)) => {
                let x = &self.nodes[n.inputs[0] as usize];
                match x.op {
                    Op::Leaf(Leaf::Literal(bits)) => Err(as_literal(n, bits)),
                    _ if x.shape == n.shape
                        && matches!(n.op, Op::Movement(Movement::Broadcast | Movement::Reshape)) =>
                    {
                        Ok(n.inputs[0])
                    }
                    _ => Err(n),
                }
            }
            Op::Select(_) => match self.literal(n.inputs[0]) {
                Some(c) => Ok(n.inputs[if c & 0xff != 0 { 1 } else { 2 }]),
                None if n.inputs[1] == n.inputs[2] => Ok(n.inputs[1]),
                None => Err(n),
            },
            Op::Unary(Unary::Neg) if self.nodes[n.inputs[0] as usize].op == Op::Unary(Unary::Neg) => {
                Ok(self.nodes[n.inputs[0] as usize].inputs[0])
            }
            Op::Unary(_) | Op::Binary(_) | Op::Cast(_) => {
                let mut bits: SmallVec<[u64; 2]> = SmallVec::new();
                for &x in &n.inputs {
                    match self.literal(x) {
                        Some(b) => bits.push(b),
                        None => return Err(n),
                    }
                }
                let from = self.nodes[n.inputs[0] as usize].dtype;
                // with the very kernel that would run: the same bits. Without one, planning says so later
                match kernel::elementwise(&n.op, from, n.dtype) {
                    Ok(k) => {
                        let value = kernel::on_numbers(k, &bits, n.dtype);
                        Err(as_literal(n, value))
                    }
                    Err(_) => Err(n),
                }
            }
            Op::Leaf(_)
            | Op::Windowed(Windowed::Update(_) | Windowed::Assemble(_))
            | Op::Reduce(_)
            | Op::ArgReduce(_)
            | Op::MatMul(_)
            | Op::Gather(_)
            | Op::Scan(_)
            | Op::Sort(_)
            | Op::Linalg(_)
            | Op::Project(_)
            | Op::Factor(_)
            | Op::Custom(_)
            | Op::Host(_)
            | Op::Control(_) => Err(n),
        }
    }
}

/// Drops what no output needs.
fn sweep(p: Program) -> Program {
    let mut place = vec![0u32; p.nodes.len()];
    for &o in p.outputs.iter().chain(&p.params) {
        place[o as usize] = 1;
    }
    for (i, n) in p.nodes.iter().enumerate().rev() {
        if place[i] != 0 {
            for &x in &n.inputs {
                place[x as usize] = 1;
            }
        }
    }
    let mut nodes = Vec::with_capacity(p.nodes.len());
    for (i, mut n) in p.nodes.into_iter().enumerate() {
        if place[i] != 0 {
            for x in &mut n.inputs {
                *x = place[*x as usize];
            }
            place[i] = nodes.len() as u32;
            nodes.push(n);
        }
    }
    let moved = |list: Vec<u32>| list.into_iter().map(|o| place[o as usize]).collect();
    Program { nodes, params: moved(p.params), outputs: moved(p.outputs), effects: Vec::new(), carries: p.carries }
}
