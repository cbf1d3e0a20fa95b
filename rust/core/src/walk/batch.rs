//! The batch walk: the same computation for a whole batch of arguments.

use super::Span;
use crate::Result;
use crate::ops::{Batch, Primitive};
use crate::tape::{NodeId, Tape};

/// The `outputs`, computed for all of the `values` of the `arguments` at once (batch axis first, length `size`).
/// An output that does not depend on the arguments comes back as it is, with `false`.
pub fn batch(
    t: &mut Tape,
    arguments: &[NodeId],
    values: &[NodeId],
    size: usize,
    outputs: &[NodeId],
) -> Result<Vec<(NodeId, bool)>> {
    let span = Span::new(t, arguments, outputs, true);
    let needed = span.needed(t, outputs);
    let mut known: Vec<Option<NodeId>> = vec![None; span.depends.len()];
    for (a, &v) in arguments.iter().zip(values) {
        known[a.index() - span.base] = Some(v);
    }
    let at = |known: &[Option<NodeId>], x: NodeId| match span.depends(x) {
        true => known[x.index() - span.base].map_or((x, false), |v| (v, true)),
        false => (x, false),
    };
    for i in 0..known.len() {
        if !needed[i] || known[i].is_some() {
            continue;
        }
        let id = NodeId((span.base + i) as u32);
        let b = Batch { size, inputs: t.node(id).inputs.iter().map(|&x| at(&known, x)).collect() };
        let op = t.op(id).clone();
        known[i] = Some(op.batch(t, id, &b)?);
    }
    Ok(outputs.iter().map(|&y| at(&known, y)).collect())
}
