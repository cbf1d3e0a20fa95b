//! Control flow through the core's own interface: bodies, loops and branches, their derivatives, batches and plans.

use mlgrad_core::ops::control::body::cut;
use mlgrad_core::ops::control::{Body, For, Stage, While};
use mlgrad_core::ops::{Binary, Unary};
use mlgrad_core::plan::{Options, Plan, extract, extract_exact};
use mlgrad_core::tape::{DType, NodeId, Shape, Tape, Value};
use mlgrad_core::{Result, walk};

/// A body of scalars.
fn body(params: usize, make: impl FnOnce(&mut Tape, &[NodeId]) -> Result<Vec<NodeId>>) -> Body {
    let mut t = Tape::new();
    let scope = t.open_scope();
    let p: Vec<NodeId> = (0..params).map(|_| t.abstract_param(scope, Shape::new(), DType::F64).unwrap()).collect();
    let outputs = make(&mut t, &p).unwrap();
    let cut = cut(&t, &p, &outputs, &|_| true).unwrap();
    assert!(cut.captures.is_empty());
    Body::new(cut.program)
}

fn number(t: &mut Tape, v: f64) -> NodeId {
    t.param(Value::Scalar(v.to_bits()), Shape::new(), DType::F64).unwrap()
}

fn get(t: &Tape, x: NodeId) -> Vec<f64> {
    let e = extract_exact(t, &[x]).unwrap();
    let values: Vec<Value> = e.params.iter().map(|&p| t.node(p).value.clone().unwrap()).collect();
    let plan = Plan::new(e.program, Options::default()).unwrap();
    match &plan.run(&plan.params_of(&values)).unwrap()[0] {
        Value::Scalar(bits) => vec![f64::from_bits(*bits)],
        Value::Array(b) => b.as_slice::<f64>()[..mlgrad_core::tape::shape::size(t.shape(x))].to_vec(),
    }
}

fn near(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (a, b) in got.iter().zip(want) {
        assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{got:?} {want:?}");
    }
}

#[test]
fn bodies_of_one_structure_are_one() {
    let square = || body(1, |t, p| Ok(vec![t.square(p[0])?]));
    assert_eq!(square(), square());
    assert_ne!(square(), body(1, |t, p| Ok(vec![t.neg(p[0])?])));
}

#[test]
fn a_loop_forward_and_back() {
    // c ← w c + 1, y = c before the step
    let step = body(2, |t, p| {
        let c = t.mul(p[0], p[1])?;
        Ok(vec![t.shift(c, 1.0)?, p[1]])
    });
    let mut t = Tape::new();
    let (w, c) = (number(&mut t, 3.0), number(&mut t, 2.0));
    let (w, c) = (t.alias(w).unwrap(), t.alias(c).unwrap());
    let op = For { body: step, length: 3, reverse: false, consts: 1, carries: 1 };
    let (_, results) = t.push_tuple(op.into(), &[w, c]).unwrap();
    let [last, ys, history] = results[..] else { panic!("{results:?}") };
    near(&get(&t, last), &[67.0]);
    near(&get(&t, ys), &[2.0, 7.0, 22.0]);
    near(&get(&t, history), &[2.0, 7.0, 22.0]);
    // w and c are arguments of a transform: what a derivative needs of the steps comes out beside what is asked for
    assert_eq!(extract(&t, &[last]).unwrap().outputs, [last, history]);
    let one = t.lit_like(1.0, last).unwrap();
    let d = walk::vjp(&mut t, &[last], &[one], &[w, c]).unwrap();
    // last = w³c + w² + w + 1
    let (dw, dc) = (d[0].unwrap(), d[1].unwrap());
    near(&get(&t, dw), &[3.0 * 9.0 * 2.0 + 2.0 * 3.0 + 1.0]);
    near(&get(&t, dc), &[27.0]);
    let d = walk::jvp(&mut t, &[w, c], &[Some(one), None], &[last, dw, ys]).unwrap();
    near(&get(&t, d[0].unwrap()), &[61.0]);
    near(&get(&t, d[1].unwrap()), &[6.0 * 3.0 * 2.0 + 2.0]);
    near(&get(&t, d[2].unwrap()), &[0.0, 2.0, 13.0]);
}

#[test]
fn the_history_of_a_loop_that_nobody_differentiates_is_not_kept() {
    let step = body(1, |t, p| Ok(vec![t.square(p[0])?]));
    let mut t = Tape::new();
    let c = number(&mut t, 2.0);
    let op = For { body: step, length: 3, reverse: false, consts: 0, carries: 1 };
    let (_, results) = t.push_tuple(op.into(), &[c]).unwrap();
    assert_eq!(extract(&t, &results[..1]).unwrap().outputs, results[..1]);
}

#[test]
fn a_loop_of_unknown_length_forward_and_back() {
    // while c < 100: c ← w c
    let step = body(2, |t, p| Ok(vec![t.mul(p[0], p[1])?]));
    let condition = body(2, |t, p| {
        let limit = t.lit_like(100.0, p[1])?;
        Ok(vec![t.binary(Binary::Less, p[1], limit)?])
    });
    let mut t = Tape::new();
    let (w, c) = (number(&mut t, 3.0), number(&mut t, 2.0));
    let (w, c) = (t.alias(w).unwrap(), t.alias(c).unwrap());
    let stages = vec![Stage { body: step, reverse: false, reads: Vec::new() }];
    let op = While { condition, consts: 1, stages };
    let last = t.push_tuple(op.into(), &[w, c]).unwrap().1[0];
    near(&get(&t, last), &[162.0]);
    let one = t.lit_like(1.0, last).unwrap();
    let d = walk::vjp(&mut t, &[last], &[one], &[w, c]).unwrap();
    let (dw, dc) = (d[0].unwrap(), d[1].unwrap());
    near(&get(&t, dw), &[4.0 * 27.0 * 2.0]);
    near(&get(&t, dc), &[81.0]);
    // reverse over reverse, and forward over reverse
    let again = walk::vjp(&mut t, &[dw], &[one], &[w, c]).unwrap();
    near(&get(&t, again[0].unwrap()), &[12.0 * 9.0 * 2.0]);
    near(&get(&t, again[1].unwrap()), &[4.0 * 27.0]);
    let again = walk::jvp(&mut t, &[w, c], &[Some(one), None], &[dc]).unwrap();
    near(&get(&t, again[0].unwrap()), &[4.0 * 27.0]);
}

#[test]
fn a_branch_for_each_lane() {
    let bodies = vec![body(1, |t, p| Ok(vec![t.neg(p[0])?])), body(1, |t, p| Ok(vec![t.unary(Unary::Sqrt, p[0])?]))];
    let mut t = Tape::new();
    let x = t.param(Value::Scalar(4f64.to_bits()), Shape::new(), DType::F64).unwrap();
    let x = t.alias(x).unwrap();
    let spread = t.broadcast_to(x, &[3]).unwrap();
    let index = t.iota(&[3], 0).unwrap();
    let scope = t.open_scope();
    let one = t.abstract_param(scope, Shape::new(), DType::F64).unwrap();
    let which = t.abstract_param(scope, Shape::new(), DType::I64).unwrap();
    let y = t.branch(bodies, Some(which), &[one]).unwrap()[0];
    let y = walk::batch(&mut t, &[one, which], &[spread, index], 3, &[y]).unwrap()[0];
    t.close_scope(scope);
    assert!(y.1);
    near(&get(&t, y.0), &[-4.0, 2.0, 2.0]);
    let ones = t.lit_like(1.0, y.0).unwrap();
    let d = walk::vjp(&mut t, &[y.0], &[ones], &[x]).unwrap()[0].unwrap();
    near(&get(&t, d), &[-1.0 + 0.25 + 0.25]);
}
