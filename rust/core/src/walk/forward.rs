//! The forward walk: tangents of outputs from tangents of arguments.

use smallvec::SmallVec;

use super::Span;
use crate::Result;
use crate::ops::{Op, Primitive};
use crate::tape::{NodeId, Tape};

/// The tangents of `outputs`, given those of the `arguments` (aliases). `None` is a structural zero.
pub fn jvp(
    t: &mut Tape,
    arguments: &[NodeId],
    tangents: &[Option<NodeId>],
    outputs: &[NodeId],
) -> Result<Vec<Option<NodeId>>> {
    let span = Span::new(t, arguments, outputs, false);
    let needed = span.needed(t, outputs);
    let mut known: Vec<Option<NodeId>> = vec![None; span.depends.len()];
    for (a, &tangent) in arguments.iter().zip(tangents) {
        known[a.index() - span.base] = tangent;
    }
    let at = |known: &[Option<NodeId>], x: NodeId| if span.depends(x) { known[x.index() - span.base] } else { None };
    // the walk appends to the tape, but looks only at what was there before
    for i in 0..known.len() {
        let id = NodeId((span.base + i) as u32);
        // results come with the operation that they are of
        if !needed[i] || span.argument[i] || matches!(t.op(id), Op::Project(_)) {
            continue;
        }
        let ins: SmallVec<[Option<NodeId>; 3]> = t.node(id).inputs.iter().map(|&x| at(&known, x)).collect();
        if ins.iter().any(Option::is_some) {
            t.cause(Some(id), true);
            let op = t.op(id).clone();
            match op.tuple() {
                None => known[i] = op.jvp(t, id, &ins)?,
                Some(rules) => {
                    let results = t.results(id);
                    for (p, d) in results.into_iter().zip(rules.jvp_all(t, id, &ins)?) {
                        if span.depends(p) {
                            known[p.index() - span.base] = d;
                        }
                    }
                }
            }
        }
    }
    t.cause(None, true);
    Ok(outputs.iter().map(|&y| at(&known, y)).collect())
}
