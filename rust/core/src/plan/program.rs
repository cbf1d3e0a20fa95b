//! A program: the pending part of a tape as a position-independent list.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;

use crate::ops::control::Control;
use crate::ops::{Leaf, Op, Primitive};
use crate::tape::{DType, NodeId, Shape, Tape, shape, value};
use crate::{Error, Result};

/// One operation; inputs are places in the program, all before this one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub op: Op,
    pub inputs: SmallVec<[u32; 3]>,
    pub shape: Shape,
    pub dtype: DType,
}

/// Nodes in an order in which they can be computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    pub nodes: Vec<Node>,
    /// The places of the parameters, in the order in which a run gets them.
    pub params: Vec<u32>,
    /// What a run returns, in this order.
    pub outputs: Vec<u32>,
}

/// A program, and the nodes of the tape that its parameters and outputs stand for.
#[derive(Debug)]
pub struct Extracted {
    pub program: Program,
    pub params: Vec<NodeId>,
    pub outputs: Vec<NodeId>,
}

/// What has to run to know the targets, with everything worth keeping as outputs: the targets that are not known yet, the
/// ancestors that a handle looks at, and the results of dear operations.
pub fn extract(t: &Tape, targets: &[NodeId]) -> Result<Extracted> {
    collect(t, targets, true)
}

/// What has to run to know the targets, which alone are the outputs.
pub fn extract_exact(t: &Tape, targets: &[NodeId]) -> Result<Extracted> {
    collect(t, targets, false)
}

/// The same as one of these two, with the node of the tape behind each node of the program.
pub fn extract_listed(t: &Tape, targets: &[NodeId], keep: bool) -> Result<(Extracted, Vec<NodeId>)> {
    let mut scratch = Scratch::default();
    let extracted = scratch.collect(t, targets, keep)?;
    Ok((extracted, scratch.list.into_iter().map(NodeId).collect()))
}

/// Marks by node of a tape, valid where the epoch is the current one: nothing is cleared between calls, so that a call costs
/// what the pending part costs, however long the tape is.
#[derive(Default)]
struct Scratch {
    epoch: u32,
    seen: Vec<(u32, u32)>,
    stack: Vec<NodeId>,
    list: Vec<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn collect(t: &Tape, targets: &[NodeId], keep: bool) -> Result<Extracted> {
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut scratch) => scratch.collect(t, targets, keep),
        Err(_) => Scratch::default().collect(t, targets, keep),
    })
}

impl Scratch {
    fn collect(&mut self, t: &Tape, targets: &[NodeId], keep: bool) -> Result<Extracted> {
        if self.seen.len() < t.len() {
            self.seen.resize(t.len(), (0, 0));
        }
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.seen.fill((0, 0));
            self.epoch = 1;
        }
        let epoch = self.epoch;
        self.stack.clear();
        self.list.clear();
        for &target in targets {
            if t.node(target).value.is_none() && self.seen[target.index()].0 != epoch {
                self.seen[target.index()] = (epoch, 0);
                self.stack.push(target);
            }
        }
        let mut outputs: Vec<NodeId> = self.stack.clone();
        while let Some(id) = self.stack.pop() {
            self.list.push(id.0);
            let n = t.node(id);
            if n.value.is_some() {
                continue;
            }
            if n.op == Op::Leaf(Leaf::Param) {
                return Err(unknown(n.scope));
            }
            let custom = t.custom_result(id);
            for &x in custom.as_slice().iter().chain(if custom.is_some() { &[] } else { n.inputs.as_slice() }) {
                let mark = &mut self.seen[x.index()];
                if mark.0 != epoch {
                    *mark = (epoch, 1);
                    self.stack.push(x);
                }
            }
            if keep && n.op.tuple().is_some() {
                // what is still looked at comes out too: it would have to run again for it
                for p in t.results(id) {
                    let (n, mark) = (t.node(p), &mut self.seen[p.index()]);
                    if n.handles > 0 && n.value.is_none() && mark.0 != epoch {
                        *mark = (epoch, 1);
                        self.stack.push(p);
                    }
                }
            }
        }
        if keep {
            self.histories(t);
        }
        // the order of the tape; what is popped comes in runs, so this is close to linear
        self.list.sort_unstable();
        let mut program = Program::default();
        program.nodes.reserve_exact(self.list.len());
        let mut params = Vec::new();
        for (local, &i) in self.list.iter().enumerate() {
            let n = t.node(NodeId(i));
            let target = self.seen[i as usize].1 == 0;
            self.seen[i as usize].1 = local as u32;
            let known = n.value.is_some();
            let (op, inputs) = if known {
                program.params.push(local as u32);
                params.push(NodeId(i));
                (Op::Leaf(Leaf::Param), SmallVec::new())
            } else {
                match t.custom_result(NodeId(i)) {
                    // by value it is what was computed
                    Some(x) => (Op::Leaf(Leaf::Alias), [self.seen[x.index()].1].into_iter().collect()),
                    None => (n.op.clone(), n.inputs.iter().map(|x| self.seen[x.index()].1).collect()),
                }
            };
            if keep
                && !known
                && !target
                && (n.handles > 0 || dear(&op))
                && !matches!(n.op, Op::Leaf(_))
                && n.op.tuple().is_none()
            {
                outputs.push(NodeId(i));
            }
            program.nodes.push(Node { op, inputs, shape: n.shape.clone(), dtype: n.dtype });
        }
        program.outputs = outputs.iter().map(|o| self.seen[o.index()].1).collect();
        Ok(Extracted { program, params, outputs })
    }
}

impl Scratch {
    /// A loop that depends on the argument of a transform is likely to be walked through later. What a derivative needs of
    /// its steps comes out too: else it would have to run once more.
    fn histories(&mut self, t: &Tape) {
        let node = |&i: &u32| t.node(NodeId(i));
        if !self.list.iter().any(|i| node(i).value.is_none() && node(i).op == Op::Leaf(Leaf::Alias)) {
            return;
        }
        for k in 0..self.list.len() {
            let id = NodeId(self.list[k]);
            let Op::Control(c) = &t.node(id).op else { continue };
            let Control::For(f) = c else { continue };
            for p in t.results(id).into_iter().skip(f.body.outputs().len()) {
                let mark = &mut self.seen[p.index()];
                if t.node(p).value.is_none() && mark.0 != self.epoch {
                    *mark = (self.epoch, 1);
                    self.list.push(p.0);
                }
            }
        }
    }
}

/// Whether a result is worth its memory: computing it again would cost more.
fn dear(op: &Op) -> bool {
    match op {
        Op::Reduce(_)
        | Op::ArgReduce(_)
        | Op::MatMul(_)
        | Op::Scan(_)
        | Op::Sort(_)
        | Op::Linalg(_)
        | Op::Project(_) => true,
        Op::Leaf(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select(_)
        | Op::Cast(_)
        | Op::Movement(_)
        | Op::Windowed(_)
        | Op::Gather(_)
        // nothing to keep: the results are
        | Op::Factor(_)
        | Op::Custom(_)
        | Op::Host(_)
        | Op::Control(_) => false,
    }
}

#[cold]
fn unknown(scope: u32) -> Error {
    if scope == 0 {
        return Error::Internal("a parameter without a value".into());
    }
    Error::Abstract(
        "the value of an argument of a vmapped function (or of a loop body) is not known while the function is recorded; \
         use np.where, select or cond to choose between values instead of if, bool(), int() or a shape that depends on it"
            .into(),
    )
}

/// Two independent 64-bit streams over the same words.
#[derive(Clone, Copy)]
struct Streams(u64, u64);

impl Streams {
    fn word(&mut self, x: u64) {
        self.0 = (self.0.rotate_left(5) ^ x).wrapping_mul(0x517c_c1b7_2722_0a95);
        self.1 = (self.1 ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.1 ^= self.1 >> 29;
    }
}

impl Hasher for Streams {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, x: u8) {
        self.word(u64::from(x));
    }

    fn write_u32(&mut self, x: u32) {
        self.word(u64::from(x));
    }

    fn write_u64(&mut self, x: u64) {
        self.word(x);
    }

    fn write_usize(&mut self, x: usize) {
        self.word(x as u64);
    }

    fn write_isize(&mut self, x: isize) {
        self.word(x as u64);
    }

    fn write_i64(&mut self, x: i64) {
        self.word(x as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Program {
    /// 128 bits over the structure: operations, attributes, inputs, shapes and dtypes.
    pub fn key(&self) -> u128 {
        let mut h = Streams(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
        for n in &self.nodes {
            n.op.hash(&mut h);
            for &x in &n.inputs {
                h.word(u64::from(x));
            }
            // lengths in front, so that neighbours cannot trade places
            h.word(((n.inputs.len() as u64) << 32) | ((n.shape.len() as u64) << 8) | n.dtype as u64);
            for &d in &n.shape {
                h.word(d as u64);
            }
        }
        h.word(self.nodes.len() as u64);
        for &o in &self.outputs {
            h.word(u64::from(o));
        }
        for &p in &self.params {
            h.word(u64::from(p) | 1 << 40);
        }
        let mix = |x: u64| {
            let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            x ^ (x >> 32)
        };
        u128::from(mix(h.0)) << 64 | u128::from(mix(h.1))
    }

    /// A rough size, to bound caches.
    pub fn bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>() + 4 * (self.params.len() + self.outputs.len())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, n) in self.nodes.iter().enumerate() {
            write!(f, "%{i}: {}{} = {}", n.dtype, shape::show(&n.shape), n.op.name())?;
            if let Op::Leaf(Leaf::Literal(bits)) = n.op {
                write!(f, " {}", value::number_of(bits, n.dtype))?;
            }
            let attributes = n.op.attributes();
            if !attributes.is_empty() {
                write!(f, " [{attributes}]")?;
            }
            for (k, x) in n.inputs.iter().enumerate() {
                write!(f, "{}%{x}", if k == 0 { " " } else { ", " })?;
            }
            writeln!(f)?;
        }
        let all: Vec<String> = self.outputs.iter().map(|o| format!("%{o}")).collect();
        writeln!(f, "return {}", all.join(", "))
    }
}
