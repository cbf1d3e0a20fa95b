//! The batch walk: the same computation for a whole batch of arguments.

use smallvec::SmallVec;

use super::Span;
use crate::Result;
use crate::ops::{Batch, Primitive};
use crate::tape::{Inputs, NodeId, Tape};

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
    let mut known: Vec<Option<(NodeId, bool)>> = vec![None; span.depends.len()];
    for (a, &v) in arguments.iter().zip(values) {
        known[a.index() - span.base] = Some((v, true));
    }
    let at = |known: &[Option<(NodeId, bool)>], x: NodeId| match span.depends(x) {
        true => known[x.index() - span.base].unwrap_or((x, false)),
        false => (x, false),
    };
    for i in 0..known.len() {
        if !needed[i] || known[i].is_some() {
            continue;
        }
        let id = NodeId((span.base + i) as u32);
        t.cause(Some(id), false);
        let op = t.op(id).clone();
        let inputs: SmallVec<[(NodeId, bool); 3]> = t.node(id).inputs.iter().map(|&x| at(&known, x)).collect();
        if inputs.iter().all(|x| !x.1) {
            // the same for all of the batch, but made of other nodes
            let inputs: Inputs = inputs.iter().map(|x| x.0).collect();
            for (k, y) in t.copy(id, &inputs)?.into_iter().enumerate() {
                let p = i + k;
                if p < known.len() && span.depends[p] {
                    known[p] = Some((y, false));
                }
            }
        } else if let Some(rules) = op.tuple() {
            let results = t.results(id);
            for (p, y) in results.into_iter().zip(rules.batch_all(t, id, &Batch { size, inputs })?) {
                if span.depends(p) {
                    known[p.index() - span.base] = Some(y);
                }
            }
        } else {
            known[i] = Some((op.batch(t, id, &Batch { size, inputs })?, true));
        }
    }
    t.cause(None, false);
    Ok(outputs.iter().map(|&y| at(&known, y)).collect())
}
