//! Einstein summation: subscripts to labels, then contraction pair by pair, the cheapest first.

use smallvec::SmallVec;

use super::diagonal::diagonal;
use super::operand::{Operand, array_dtype, materialise};
use super::product::sum_in;
use crate::ops::Binary;
use crate::tape::{Axes, NodeId, Shape, Tape, shape};
use crate::{Error, Result};

/// An axis: a letter, or the k-th of an ellipsis (counted from the right) beyond all letters.
type Label = u32;
type Labels = SmallVec<[Label; 6]>;

/// The first label of an ellipsis.
const DOTS: Label = 0x11_0000;

struct Term {
    node: NodeId,
    labels: Labels,
}

pub fn einsum(t: &mut Tape, subscripts: &str, args: &[Operand]) -> Result<NodeId> {
    let dtype = array_dtype(t, args)?;
    let ranks: Vec<usize> = args.iter().map(|a| a.shape(t).len()).collect();
    let (inputs, output) = parse(subscripts, &ranks)?;
    let mut terms = Vec::with_capacity(args.len());
    for (&a, labels) in args.iter().zip(inputs) {
        let own = a.shape(t);
        terms.push(Term { node: materialise(t, a, dtype, &own)?, labels });
    }
    lengths_agree(t, subscripts, &terms)?;
    for term in &mut terms {
        take_diagonals(t, term)?;
    }
    drop_spread(t, &mut terms)?;
    let rest = |terms: &[Term], skip: &[usize]| -> Labels {
        let others = terms.iter().enumerate().filter(|(k, _)| !skip.contains(k)).flat_map(|(_, x)| x.labels.clone());
        others.chain(output.iter().copied()).collect()
    };
    for k in 0..terms.len() {
        let needed = rest(&terms, &[k]);
        sum_out(t, &mut terms[k], &needed)?;
    }
    while terms.len() > 1 {
        let (i, j) = cheapest(t, &terms, |skip| rest(&terms, skip));
        let needed = rest(&terms, &[i, j]);
        // j > i
        let b = terms.remove(j);
        let a = terms.remove(i);
        let made = contract(t, a, b, &needed)?;
        terms.push(made);
    }
    let Some(last) = terms.pop() else {
        return Err(Error::Value("einsum: must specify at least one operand".into()));
    };
    arrange(t, last, &output)
}

/// The labels of each operand and of the result.
fn parse(subscripts: &str, ranks: &[usize]) -> Result<(Vec<Labels>, Labels)> {
    let fail = |m: String| Err(Error::Value(format!("einsum {subscripts:?}: {m}")));
    let text: String = subscripts.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((l, r)) => (l.to_string(), Some(r.to_string())),
        None => (text, None),
    };
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != ranks.len() {
        let which = if parts.len() > ranks.len() { "fewer" } else { "more" };
        return fail(format!("{which} operands ({}) were provided than subscripts ({})", ranks.len(), parts.len()));
    }
    let mut inputs = Vec::with_capacity(parts.len());
    let mut dots = 0;
    for (k, (part, &rank)) in parts.iter().zip(ranks).enumerate() {
        let letters = part.replacen("...", "", 1);
        let spread = letters.len() != part.len();
        if let Some(c) = letters.chars().find(|c| !c.is_ascii_alphabetic()) {
            return fail(format!(
                "invalid subscript '{c}' in einstein sum subscripts string, subscripts must be letters, with at most one '...' \
                 an operand"
            ));
        }
        if letters.len() > rank {
            return fail(format!(
                "einstein sum subscripts string contains too many subscripts for operand {k}, which has {rank} dimensions"
            ));
        }
        if letters.len() < rank && !spread {
            return fail(format!(
                "operand {k} has more dimensions ({rank}) than subscripts given in einstein sum, but no '...' ellipsis \
                 provided to broadcast the extra dimensions"
            ));
        }
        let extra = rank - letters.len();
        dots = dots.max(extra);
        let mut labels = Labels::new();
        expand(part, extra, &mut labels);
        inputs.push(labels);
    }
    let output = match right {
        Some(r) => {
            let letters = r.replacen("...", "", 1);
            if let Some(c) = letters.chars().find(|c| !c.is_ascii_alphabetic()) {
                return fail(format!("invalid subscript '{c}' in the output"));
            }
            if letters.len() == r.len() && dots > 0 {
                return fail(
                    "output has no '...' ellipsis, but the operands have ellipsis dimensions; write '...' where they are to go"
                        .into(),
                );
            }
            let mut labels = Labels::new();
            expand(&r, dots, &mut labels);
            for (k, l) in labels.iter().enumerate() {
                let c = char::from_u32(*l).unwrap_or('.');
                if labels[..k].contains(l) {
                    return fail(format!(
                        "einstein sum subscripts string includes output subscript '{c}' multiple times"
                    ));
                }
                if !inputs.iter().any(|i| i.contains(l)) {
                    return fail(format!(
                        "einstein sum subscripts string included output subscript '{c}' which never appeared in an input"
                    ));
                }
            }
            labels
        }
        None => {
            let mut labels = Labels::new();
            expand("...", dots, &mut labels);
            let all: Vec<Label> = inputs.iter().flatten().copied().filter(|&l| l < DOTS).collect();
            let mut once: Vec<Label> =
                all.iter().copied().filter(|l| all.iter().filter(|m| *m == l).count() == 1).collect();
            once.sort_unstable();
            labels.extend(once);
            labels
        }
    };
    Ok((inputs, output))
}

/// The labels of one term, with an ellipsis of so many axes.
fn expand(part: &str, extra: usize, labels: &mut Labels) {
    let (before, after) = part.split_once("...").unwrap_or((part, ""));
    labels.extend(before.chars().map(|c| c as Label));
    if part.contains("...") {
        labels.extend((0..extra as Label).rev().map(|k| DOTS + k));
    }
    labels.extend(after.chars().map(|c| c as Label));
}

fn lengths_agree(t: &Tape, subscripts: &str, terms: &[Term]) -> Result<()> {
    let mut known: SmallVec<[(Label, usize); 8]> = SmallVec::new();
    for x in terms {
        for (&l, &n) in x.labels.iter().zip(t.shape(x.node)) {
            match known.iter_mut().find(|(k, _)| *k == l) {
                None => known.push((l, n)),
                Some((_, m)) if *m == n || n == 1 => {}
                Some((_, m)) if *m == 1 => *m = n,
                Some((_, m)) => {
                    let all: Vec<String> = terms.iter().map(|x| shape::show(t.shape(x.node))).collect();
                    let name = if l < DOTS { char::from_u32(l).unwrap_or('?').to_string() } else { "...".into() };
                    return Err(Error::Value(format!(
                        "einsum {subscripts:?}: operands of shapes {} could not be broadcast together: subscript '{name}' has \
                         lengths {m} and {n}",
                        all.join(" ")
                    )));
                }
            }
        }
    }
    Ok(())
}

/// A label twice in one operand is the diagonal of its axes.
fn take_diagonals(t: &mut Tape, x: &mut Term) -> Result<()> {
    while let Some((i, j)) = repeated(&x.labels) {
        let (m, n) = (t.shape(x.node)[i], t.shape(x.node)[j]);
        if m != n {
            return Err(Error::Value(format!(
                "einsum: dimensions in one operand for collapsing index '{}' don't match ({m} != {n})",
                char::from_u32(x.labels[i]).unwrap_or('?')
            )));
        }
        x.node = diagonal(t, x.node, 0, i as i64, j as i64)?;
        let label = x.labels.remove(j);
        x.labels.remove(i);
        x.labels.push(label);
    }
    Ok(())
}

fn repeated(labels: &Labels) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|i| (i + 1..labels.len()).find(|&j| labels[j] == labels[i]).map(|j| (i, j)))
}

/// Axes of length 1 that are longer in another operand go.
fn drop_spread(t: &mut Tape, terms: &mut [Term]) -> Result<()> {
    let mut long: SmallVec<[Label; 8]> = SmallVec::new();
    for x in terms.iter() {
        long.extend(x.labels.iter().zip(t.shape(x.node)).filter(|&(_, &n)| n != 1).map(|(&l, _)| l));
    }
    for x in terms.iter_mut() {
        let (mut to, mut labels) = (Shape::new(), Labels::new());
        for (&l, &n) in x.labels.iter().zip(t.shape(x.node)) {
            if n != 1 || !long.contains(&l) {
                to.push(n);
                labels.push(l);
            }
        }
        x.node = t.reshape(x.node, &to)?;
        x.labels = labels;
    }
    Ok(())
}

/// Sums over what nobody else needs.
fn sum_out(t: &mut Tape, x: &mut Term, needed: &[Label]) -> Result<()> {
    let axes: Axes = x.labels.iter().enumerate().filter(|(_, l)| !needed.contains(l)).map(|(k, _)| k as u8).collect();
    x.node = sum_in(t, x.node, &axes)?;
    x.labels.retain(|l| needed.contains(l));
    Ok(())
}

fn length(t: &Tape, a: &Term, b: &Term, l: Label) -> f64 {
    for x in [a, b] {
        if let Some(k) = x.labels.iter().position(|&m| m == l) {
            return t.shape(x.node)[k] as f64;
        }
    }
    1.0
}

/// The pair that takes the fewest multiplications, and leaves the smaller result.
fn cheapest(t: &Tape, terms: &[Term], needed: impl Fn(&[usize]) -> Labels) -> (usize, usize) {
    let mut best = (0, 1);
    let mut least = (f64::INFINITY, f64::INFINITY);
    for i in 0..terms.len() {
        for j in i + 1..terms.len() {
            let (a, b) = (&terms[i], &terms[j]);
            let keep = needed(&[i, j]);
            let mut cost = (1.0, 1.0);
            for &l in a.labels.iter().chain(b.labels.iter().filter(|l| !a.labels.contains(l))) {
                let n = length(t, a, b, l);
                cost.0 *= n;
                if keep.contains(&l) {
                    cost.1 *= n;
                }
            }
            if cost < least {
                (least, best) = (cost, (i, j));
            }
        }
    }
    best
}

/// One term of two: a product over the labels that both have and nobody needs, a batch over those that are needed.
fn contract(t: &mut Tape, a: Term, b: Term, needed: &[Label]) -> Result<Term> {
    let both = |l: &Label| b.labels.contains(l);
    let batch: Labels = a.labels.iter().copied().filter(|l| both(l) && needed.contains(l)).collect();
    let summed: Labels = a.labels.iter().copied().filter(|l| both(l) && !needed.contains(l)).collect();
    let own_a: Labels = a.labels.iter().copied().filter(|l| !both(l)).collect();
    let own_b: Labels = b.labels.iter().copied().filter(|l| !a.labels.contains(l)).collect();
    let lengths = |t: &Tape, x: &Term, ls: &Labels| -> Shape {
        ls.iter().map(|l| x.labels.iter().position(|m| m == l).map_or(1, |k| t.shape(x.node)[k])).collect()
    };
    let (batch_shape, summed_shape) = (lengths(t, &a, &batch), lengths(t, &a, &summed));
    let (a_shape, b_shape) = (lengths(t, &a, &own_a), lengths(t, &b, &own_b));
    let (m, n, k) = (shape::size(&a_shape), shape::size(&b_shape), shape::size(&summed_shape));
    let mut labels = batch.clone();
    labels.extend(own_a.iter().copied());
    labels.extend(own_b.iter().copied());
    let mut to = batch_shape.clone();
    to.extend(a_shape.iter().copied());
    to.extend(b_shape.iter().copied());
    let order_a: Labels = batch.iter().chain(&own_a).chain(&summed).copied().collect();
    if summed.is_empty() || (own_a.is_empty() && own_b.is_empty()) {
        // no matrix product: multiply, then sum
        let order_b: Labels = batch.iter().chain(&own_b).chain(&summed).copied().collect();
        let (x, y) = (permuted(t, a, &order_a)?, permuted(t, b, &order_b)?);
        let mut wide = to.clone();
        wide.extend(summed_shape.iter().copied());
        let ones = |n: usize| -> Shape { SmallVec::from_elem(1, n) };
        let narrow_a: Shape =
            batch_shape.iter().chain(&a_shape).chain(&ones(own_b.len())).chain(&summed_shape).copied().collect();
        let narrow_b: Shape =
            batch_shape.iter().chain(&ones(own_a.len())).chain(&b_shape).chain(&summed_shape).copied().collect();
        let (x, y) = (t.reshape(x, &narrow_a)?, t.reshape(y, &narrow_b)?);
        let (x, y) = (t.broadcast_to(x, &wide)?, t.broadcast_to(y, &wide)?);
        let z = t.binary(Binary::Mul, x, y)?;
        let axes: Axes = (to.len()..wide.len()).map(|a| a as u8).collect();
        return Ok(Term { node: sum_in(t, z, &axes)?, labels });
    }
    let order_b: Labels = batch.iter().chain(&summed).chain(&own_b).copied().collect();
    let (x, y) = (permuted(t, a, &order_a)?, permuted(t, b, &order_b)?);
    let mut flat_a = Shape::new();
    if !batch.is_empty() {
        flat_a.push(shape::size(&batch_shape));
    }
    let mut flat_b = flat_a.clone();
    flat_a.extend([m, k]);
    flat_b.extend([k, n]);
    let (x, y) = (t.reshape(x, &flat_a)?, t.reshape(y, &flat_b)?);
    let z = t.matmul(x, y)?;
    Ok(Term { node: t.reshape(z, &to)?, labels })
}

fn permuted(t: &mut Tape, x: Term, order: &Labels) -> Result<NodeId> {
    let perm: Option<Axes> = order.iter().map(|l| x.labels.iter().position(|m| m == l).map(|k| k as u8)).collect();
    let perm = perm.ok_or_else(|| Error::Internal("einsum: a label went missing".into()))?;
    t.transpose(x.node, &perm)
}

fn arrange(t: &mut Tape, x: Term, output: &Labels) -> Result<NodeId> {
    permuted(t, x, output)
}
