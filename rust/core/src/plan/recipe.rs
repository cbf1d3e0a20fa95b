//! Recipes: what came of a whole tape once, for the next tape with the same history.
//!
//! The derivative of a recording, its extraction and its plan follow from the structure of the tape. So the second time that a
//! function is recorded with the same structure, the walk is not taken and no program is made: the plan is known, and
//! which nodes of the tape it reads.

use std::sync::{Arc, Weak};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Param, Plan};
use crate::tape::{DType, NodeId, Shape, Tape, Value};

/// A parameter of the plan.
enum Given {
    /// The value of a node of the recording.
    Node(NodeId),
    /// A value that the walk brought with it: it is the same for every tape of this history.
    Value(Value),
}

/// Where a wanted value is found.
enum Found {
    /// Among the results of the plan; `last`: nobody else takes it from there.
    Output { k: usize, last: bool },
    /// It was known before anything ran.
    Given(Given),
}

/// See the module.
pub struct Recipe {
    /// Not kept alive by the recipe: plans are bounded in bytes where they are cached.
    plan: Option<Weak<Plan>>,
    params: Vec<Given>,
    wanted: Vec<(Found, Shape, DType)>,
}

/// A wanted value, with its shape and dtype.
pub type Answer = (Value, Shape, DType);

/// A plan, with the nodes of the tape that its parameters and outputs stand for.
pub struct Ran {
    pub plan: Arc<Plan>,
    pub params: Vec<NodeId>,
    pub outputs: Vec<NodeId>,
}

impl Recipe {
    /// What was done for the `wanted` nodes of a tape whose recording ended at the length `recorded`; without a plan where
    /// all of them were known.
    pub fn new(t: &Tape, recorded: usize, wanted: &[NodeId], ran: Option<&Ran>) -> Option<Recipe> {
        let given = |n: NodeId| match n.index() < recorded {
            true => Some(Given::Node(n)),
            false => t.node(n).value.clone().map(Given::Value),
        };
        // each output with whether it has been met, coming from the end
        let mut outputs: FxHashMap<NodeId, (usize, bool)> =
            ran.iter().flat_map(|r| &r.outputs).enumerate().map(|(k, &n)| (n, (k, false))).collect();
        let mut found = Vec::with_capacity(wanted.len());
        for &n in wanted.iter().rev() {
            let place = match outputs.get_mut(&n) {
                Some((k, met)) => Found::Output { k: *k, last: !std::mem::replace(met, true) },
                None => Found::Given(given(n)?),
            };
            found.push((place, t.shape(n).clone(), t.dtype(n)));
        }
        found.reverse();
        let params = ran.iter().flat_map(|r| &r.params).map(|&p| given(p)).collect::<Option<Vec<_>>>()?;
        Some(Recipe { plan: ran.map(|r| Arc::downgrade(&r.plan)), params, wanted: found })
    }

    /// The plan, if one has to run; `None` where it has been forgotten.
    pub fn plan(&self) -> Option<Option<Arc<Plan>>> {
        match &self.plan {
            None => Some(None),
            Some(plan) => plan.upgrade().map(Some),
        }
    }

    /// The plan's parameters on another tape of this history, `None` where one of them has no value.
    pub fn params<'a>(&'a self, t: &'a Tape, plan: &Plan) -> Option<SmallVec<[Param<'a>; 8]>> {
        let mut out = SmallVec::with_capacity(self.params.len());
        for (given, bytes) in self.params.iter().zip(plan.param_bytes()) {
            out.push(Param::of(given.value(t)?, bytes));
        }
        Some(out)
    }

    /// The same as values that outlive the tape.
    pub fn values(&self, t: &Tape) -> Option<Vec<Value>> {
        self.params.iter().map(|given| given.value(t).cloned()).collect()
    }

    /// The wanted values, from the results of the plan.
    pub fn answers(&self, t: &Tape, mut results: Vec<Value>) -> Option<Vec<Answer>> {
        let mut out = Vec::with_capacity(self.wanted.len());
        for (found, shape, dtype) in &self.wanted {
            let value = match found {
                Found::Output { k, last: true } => std::mem::replace(results.get_mut(*k)?, Value::Scalar(0)),
                Found::Output { k, last: false } => results.get(*k)?.clone(),
                Found::Given(given) => given.value(t)?.clone(),
            };
            out.push((value, shape.clone(), *dtype));
        }
        Some(out)
    }

    /// Rough size, without the plan.
    pub fn bytes(&self) -> usize {
        size_of::<Recipe>()
            + self.params.len() * size_of::<Given>()
            + self.wanted.len() * size_of::<(Found, Shape, DType)>()
    }
}

impl Given {
    fn value<'a>(&'a self, t: &'a Tape) -> Option<&'a Value> {
        match self {
            Given::Node(n) => t.node(*n).value.as_ref(),
            Given::Value(v) => Some(v),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::buffer::Buffer;
    use crate::ops::{Binary, Unary};
    use crate::plan::{Options, extract_exact};
    use crate::walk;

    fn array(values: &[f64]) -> Value {
        let mut buffer = Buffer::new(size_of_val(values)).unwrap();
        buffer.as_mut_slice::<f64>().copy_from_slice(values);
        Value::Array(Arc::new(buffer))
    }

    /// sum(op(x) · scale) for an alias x of the values.
    fn recording(values: &[f64], op: Unary, scale: f64) -> (Tape, NodeId, NodeId) {
        let mut t = Tape::new();
        let p = t.param(array(values), [values.len()].as_slice().into(), DType::F64).unwrap();
        let x = t.alias(p).unwrap();
        let y = t.unary(op, x).unwrap();
        let c = t.param(Value::Scalar(scale.to_bits()), Shape::new(), DType::F64).unwrap();
        let c = t.broadcast_to(c, &[values.len()]).unwrap();
        let y = t.binary(Binary::Mul, y, c).unwrap();
        let y = t.sum(y, &[0]).unwrap();
        (t, x, y)
    }

    fn numbers(value: &Value, n: usize) -> Vec<f64> {
        match value {
            Value::Scalar(bits) => vec![f64::from_bits(*bits)],
            Value::Array(b) => b.as_slice::<f64>()[..n].to_vec(),
        }
    }

    #[test]
    fn a_recipe_serves_other_values_without_a_walk() {
        let (mut t, x, y) = recording(&[0.5, -1.0], Unary::Sin, 2.0);
        let (key, recorded) = (t.key([1]).unwrap(), t.len());
        let one = t.lit_like(1.0, y).unwrap();
        let g = walk::vjp(&mut t, &[y], &[one], &[x]).unwrap()[0].unwrap();
        // the value twice: it is given away only once
        let wanted = [g, y, y];
        let e = extract_exact(&t, &wanted).unwrap();
        let plan = Arc::new(Plan::new(e.program, Options::default()).unwrap());
        let ran = Ran { plan, params: e.params, outputs: e.outputs };
        let recipe = Recipe::new(&t, recorded, &wanted, Some(&ran)).unwrap();

        let (other, ..) = recording(&[1.5, 0.25], Unary::Sin, -3.0);
        assert_eq!(other.key([1]), Some(key));
        let plan = recipe.plan().unwrap().unwrap();
        let results = plan.run(&recipe.params(&other, &plan).unwrap()).unwrap();
        let answers = recipe.answers(&other, results).unwrap();
        let expected = [1.5_f64, 0.25].map(|v| -3.0 * v.cos());
        for (got, want) in numbers(&answers[0].0, 2).iter().zip(expected) {
            assert!((got - want).abs() < 1e-15, "{got} {want}");
        }
        let value = -3.0 * (1.5_f64.sin() + 0.25_f64.sin());
        for answer in &answers[1..] {
            assert!((numbers(&answer.0, 1)[0] - value).abs() < 1e-15);
            assert!(answer.1.is_empty());
        }
        drop((plan, ran));
        assert!(recipe.plan().is_none(), "plans are not kept alive");
    }

    #[test]
    fn keys_tell_histories_and_questions_apart() {
        let key = |(t, ..): (Tape, NodeId, NodeId)| t.key([]).unwrap();
        let same = key(recording(&[1.0, 2.0], Unary::Sin, 2.0));
        assert_eq!(same, key(recording(&[3.0, 4.0], Unary::Sin, 5.0)));
        let (asked, ..) = recording(&[1.0, 2.0], Unary::Sin, 2.0);
        let (mut known, x, _) = recording(&[1.0, 2.0], Unary::Sin, 2.0);
        known.set_value(NodeId(x.0 + 1), array(&[0.0, 0.0]));
        let (mut longer, x, _) = recording(&[1.0, 2.0], Unary::Sin, 2.0);
        longer.alias(x).unwrap();
        let others = [
            key(recording(&[1.0, 2.0], Unary::Cos, 2.0)),
            key(recording(&[1.0, 2.0, 3.0], Unary::Sin, 2.0)),
            asked.key([1]).unwrap(),
            asked.key([1, 1]).unwrap(),
            known.key([]).unwrap(),
            longer.key([]).unwrap(),
        ];
        for (i, k) in others.iter().enumerate() {
            assert_ne!(*k, same);
            assert!(!others[..i].contains(k));
        }
        // what has been cut back has no history
        let len = longer.len();
        longer.truncate(len - 1);
        assert_eq!(longer.key([]), None);
    }
}
