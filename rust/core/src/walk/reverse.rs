//! The reverse walk: cotangents of arguments from cotangents of outputs.

use smallvec::SmallVec;

use super::Span;
use crate::ops::{Binary, Cotangent, Op, Primitive, Reverse, Tuple, Window, Windowed, Zeros};
use crate::tape::{DType, Node, NodeId, Tape};
use crate::{Error, Result};

/// What has arrived at a node so far.
type Arrivals = SmallVec<[Cotangent; 1]>;

/// The cotangents of the `arguments` (aliases), given those of the `outputs`. `None` is a structural zero.
pub fn vjp(
    t: &mut Tape,
    outputs: &[NodeId],
    cotangents: &[NodeId],
    arguments: &[NodeId],
) -> Result<Vec<Option<NodeId>>> {
    let span = Span::new(t, arguments, outputs, false);
    let start = t.len();
    // masks matter at a node where a rule between it and the arguments can be singular
    let mut singular = vec![false; span.depends.len()];
    for i in 0..singular.len() {
        if span.depends[i] {
            let n = t.node(NodeId((span.base + i) as u32));
            singular[i] =
                is_singular(t, n) || n.inputs.iter().any(|&x| span.depends(x) && singular[x.index() - span.base]);
        }
    }
    let mut arrived: Vec<Arrivals> = vec![Arrivals::new(); span.depends.len()];
    for (&y, &g) in outputs.iter().zip(cotangents) {
        if t.shape(y) != t.shape(g) || t.dtype(y) != t.dtype(g) {
            return Err(Error::Value(format!(
                "vjp: the cotangent {}{} does not match the output {}{}",
                t.dtype(g),
                crate::tape::shape::show(t.shape(g)),
                t.dtype(y),
                crate::tape::shape::show(t.shape(y))
            )));
        }
        if span.depends(y) {
            arrived[y.index() - span.base].push(g.into());
        }
    }
    for i in (0..arrived.len()).rev() {
        let id = NodeId((span.base + i) as u32);
        if let (true, Some(rules)) = (span.depends[i], t.op(id).clone().tuple()) {
            t.cause(Some(id), true);
            several(t, rules, id, &span, &singular, start, &mut arrived)?;
            continue;
        }
        if arrived[i].is_empty() || span.argument[i] || matches!(t.op(id), Op::Project(_)) {
            continue;
        }
        t.cause(Some(id), true);
        let total = gather(t, &std::mem::take(&mut arrived[i]), start)?;
        let op = t.op(id).clone();
        let inputs = t.inputs(id);
        let want: SmallVec<[bool; 3]> = inputs.iter().map(|&x| span.depends(x)).collect();
        let masks = inputs.iter().any(|&x| span.depends(x) && singular[x.index() - span.base]);
        let zeros = op.zeros();
        let g = if zeros == Zeros::Elementwise { total.node } else { clean(t, total)? };
        let incoming = if masks { mask_below(t, zeros, total, id)? } else { None };
        let mut r = Reverse { t, want: want.clone(), masks };
        let out = op.vjp(&mut r, id, g)?;
        let moved = match incoming {
            Some(m) if zeros != Zeros::Elementwise => Some(op.vjp(&mut r, id, m)?),
            _ => None,
        };
        for (k, c) in out.into_iter().enumerate() {
            let (Some(c), true) = (c, want[k]) else { continue };
            let mask = match (zeros, &moved) {
                (Zeros::Elementwise, _) if masks => both(t, total.mask, c.mask)?,
                // a mask that holds everywhere is none
                (_, Some(m)) => m[k].map(|m| m.node).filter(|&m| t.literal_value(m) != Some(1.0)),
                _ => c.mask,
            };
            let mut c = Cotangent { node: c.node, mask };
            if zeros == Zeros::Elementwise && !masks {
                // nothing singular further up: what is masked out must be a zero from here on
                c = Cotangent { node: clean(t, Cotangent { node: c.node, mask: total.mask })?, mask: None };
            }
            arrived[inputs[k].index() - span.base].push(c);
        }
    }
    t.cause(None, true);
    arguments
        .iter()
        .map(|a| match std::mem::take(&mut arrived[a.index() - span.base]) {
            list if list.is_empty() => Ok(None),
            list => {
                let total = gather(t, &list, start)?;
                clean(t, total).map(Some)
            }
        })
        .collect()
}

/// An operation with several results: what has arrived at each of them goes to its inputs together.
fn several(
    t: &mut Tape,
    rules: &dyn Tuple,
    id: NodeId,
    span: &Span,
    singular: &[bool],
    start: usize,
    arrived: &mut [Arrivals],
) -> Result<()> {
    let mut cotangents: SmallVec<[Option<NodeId>; 4]> = SmallVec::new();
    for p in t.results(id) {
        let list = match span.depends(p) && !span.argument[p.index() - span.base] {
            true => std::mem::take(&mut arrived[p.index() - span.base]),
            false => Arrivals::new(),
        };
        cotangents.push(if list.is_empty() {
            None
        } else {
            let total = gather(t, &list, start)?;
            Some(clean(t, total)?)
        });
    }
    if cotangents.iter().all(Option::is_none) {
        return Ok(());
    }
    let inputs = t.inputs(id);
    let want: SmallVec<[bool; 3]> = inputs.iter().map(|&x| span.depends(x)).collect();
    let masks = inputs.iter().any(|&x| span.depends(x) && singular[x.index() - span.base]);
    let mut r = Reverse { t, want: want.clone(), masks };
    for (k, c) in rules.vjp_all(&mut r, id, &cotangents)?.into_iter().enumerate() {
        if let (Some(c), true) = (c, want[k]) {
            arrived[inputs[k].index() - span.base].push(c);
        }
    }
    Ok(())
}

/// Whether the rule of this node can turn a zero into nan. A finite number as factor or divisor cannot.
fn is_singular(t: &Tape, n: &Node) -> bool {
    let number = |k: usize| t.literal_value(n.inputs[k]).filter(|v| v.is_finite());
    match n.op {
        Op::Binary(Binary::Mul) => number(0).is_none() && number(1).is_none(),
        Op::Binary(Binary::Div) => number(1).is_none_or(|v| v == 0.0),
        _ => n.op.singular(),
    }
}

/// The mask that a moving operation is to move, if any.
fn mask_below(t: &mut Tape, zeros: Zeros, total: Cotangent, node: NodeId) -> Result<Option<NodeId>> {
    Ok(match (zeros, total.mask) {
        (Zeros::Stopped, _) => None,
        (Zeros::Marks, None) => {
            let shape = t.shape(node).clone();
            Some(t.literal(1.0, &shape, DType::Bool)?)
        }
        (_, mask) => mask,
    })
}

/// Where both flow.
fn both(t: &mut Tape, a: Option<NodeId>, b: Option<NodeId>) -> Result<Option<NodeId>> {
    Ok(match (a, b) {
        (Some(a), Some(b)) if a != b => Some(t.binary(Binary::LogicalAnd, a, b)?),
        (a, b) => a.or(b),
    })
}

/// The adjoint with zeros where nothing flows.
fn clean(t: &mut Tape, c: Cotangent) -> Result<NodeId> {
    match c.mask {
        None => Ok(c.node),
        Some(mask) => {
            let zero = t.lit_like(0.0, c.node)?;
            t.select(mask, c.node, zero)
        }
    }
}

/// The sum of all arrivals. Pieces of one array (the transposes of reads) are put together in one go.
fn gather(t: &mut Tape, list: &[Cotangent], start: usize) -> Result<Cotangent> {
    if let [only] = list {
        return Ok(*only);
    }
    let same = list.iter().all(|c| c.mask == list[0].mask);
    let mask = if same {
        list[0].mask
    } else {
        let masks: Option<Vec<NodeId>> = list.iter().map(|c| c.mask).collect();
        match masks {
            None => None,
            Some(mut masks) => {
                masks.dedup();
                Some(joined(t, &masks, start, Binary::LogicalOr)?)
            }
        }
    };
    let nodes: Vec<NodeId> = if same {
        list.iter().map(|c| c.node).collect()
    } else {
        list.iter().map(|&c| clean(t, c)).collect::<Result<_>>()?
    };
    Ok(Cotangent { node: joined(t, &nodes, start, Binary::Add)?, mask })
}

fn joined(t: &mut Tape, nodes: &[NodeId], start: usize, op: Binary) -> Result<NodeId> {
    let mut windows: Vec<Window> = Vec::new();
    let mut pieces: Vec<NodeId> = Vec::new();
    let mut assembled = None;
    let mut sum: Option<NodeId> = None;
    for &x in nodes {
        // one read each: what has been put together before may be on its way to others too, and in a loop would grow
        // with every step
        if x.index() >= start
            && let Op::Windowed(Windowed::Assemble(ws)) = t.op(x)
            && ws.len() == 1
        {
            windows.extend(ws.iter().cloned());
            pieces.extend(t.node(x).inputs.iter().copied());
            assembled = Some(x);
            continue;
        }
        sum = Some(match sum {
            None => x,
            Some(s) => t.binary(op, s, x)?,
        });
    }
    let whole = match assembled {
        None => None,
        Some(x) if pieces.len() == t.node(x).inputs.len() => Some(x),
        Some(x) => {
            let shape = t.shape(x).clone();
            Some(t.assemble(&shape, windows, &pieces)?)
        }
    };
    match (sum, whole) {
        (Some(s), Some(w)) => t.binary(op, s, w),
        (s, w) => s.or(w).ok_or_else(|| Error::Internal("a sum of nothing".into())),
    }
}
