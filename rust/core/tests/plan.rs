//! Plans against a plain evaluator, against each other, and at their limits.

#[path = "plan/products.rs"]
mod products;
#[path = "plan/rows.rs"]
mod rows;

use std::sync::Mutex;

use mlgrad_core::exec::buffer::Buffer;
use mlgrad_core::exec::pool;
use mlgrad_core::ops::{Binary, Gather, Leaf, Movement, Op, Reduce, ReduceOp, Unary, Window, Windowed};
use mlgrad_core::plan::{self, Options, Plan, extract, extract_exact};
use mlgrad_core::tape::{Axes, DType, NodeId, Tape, Value, shape};
use mlgrad_core::walk;
use proptest::prelude::*;

#[path = "plan/shift.rs"]
mod shift;

/// For tests that set the number of threads, or options of the process.
static ALONE: Mutex<()> = Mutex::new(());

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let x = self.0 ^ (self.0 >> 31);
        x.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn number(&mut self) -> f64 {
        (self.below(4001) as f64 - 2000.0) / 500.0
    }
}

fn value_of(x: &[f64], dtype: DType) -> Value {
    let bytes: Vec<u8> = x
        .iter()
        .flat_map(|&v| match dtype {
            DType::Bool => vec![u8::from(v != 0.0)],
            DType::I64 => (v as i64).to_le_bytes().to_vec(),
            DType::F32 => (v as f32).to_le_bytes().to_vec(),
            _ => v.to_le_bytes().to_vec(),
        })
        .collect();
    let mut b = Buffer::new(bytes.len()).unwrap();
    b.as_mut_slice::<u8>().copy_from_slice(&bytes);
    Value::Array(b.into())
}

fn param(t: &mut Tape, x: &[f64], shape: &[usize], dtype: DType) -> NodeId {
    t.param(value_of(x, dtype), shape.into(), dtype).unwrap()
}

fn bytes_of(v: &Value, dtype: DType) -> Vec<u8> {
    match v {
        Value::Scalar(bits) => bits.to_le_bytes()[..dtype.size()].to_vec(),
        Value::Array(b) => b.as_slice::<u8>()[..b.len_bytes()].to_vec(),
    }
}

fn numbers(bytes: &[u8], dtype: DType) -> Vec<f64> {
    bytes
        .chunks_exact(dtype.size())
        .map(|c| match dtype {
            DType::Bool => f64::from(c[0] != 0),
            DType::I64 => i64::from_le_bytes(c.try_into().unwrap()) as f64,
            DType::F32 => f32::from_le_bytes(c.try_into().unwrap()) as f64,
            _ => f64::from_le_bytes(c.try_into().unwrap()),
        })
        .collect()
}

fn run_with(t: &Tape, targets: &[NodeId], options: Options) -> Vec<Vec<u8>> {
    let e = extract_exact(t, targets).unwrap();
    let values: Vec<Value> = e.params.iter().map(|&p| t.node(p).value.clone().unwrap()).collect();
    let p = Plan::new(e.program, options).unwrap();
    let out = p.run(&p.params_of(&values)).unwrap();
    e.outputs.iter().zip(&out).map(|(&o, v)| bytes_of(v, t.dtype(o))).collect()
}

fn get(t: &Tape, x: NodeId) -> Vec<f64> {
    if let Some(known) = &t.node(x).value {
        return numbers(&bytes_of(known, t.dtype(x)), t.dtype(x));
    }
    numbers(&run_with(t, &[x], Options::default())[0], t.dtype(x))
}

fn index_of(mut flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut out = vec![0; dims.len()];
    for i in (0..dims.len()).rev() {
        out[i] = flat % dims[i];
        flat /= dims[i];
    }
    out
}

fn flat_of(index: &[usize], dims: &[usize]) -> usize {
    index.iter().zip(dims).fold(0, |f, (&i, &d)| f * d + i)
}

/// What every node is, element by element, in float64.
fn plain(t: &Tape) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for k in 0..t.len() {
        let id = NodeId(k as u32);
        let n = t.node(id);
        let size = shape::size(&n.shape);
        let input = |j: usize| &all[n.inputs[j].index()];
        let round = |v: f64| if n.dtype == DType::F32 { v as f32 as f64 } else { v };
        let out: Vec<f64> = match &n.op {
            Op::Leaf(Leaf::Param) => numbers(&bytes_of(n.value.as_ref().unwrap(), n.dtype), n.dtype),
            Op::Leaf(Leaf::Literal(bits)) => vec![mlgrad_core::tape::value::number_of(*bits, n.dtype); size],
            Op::Leaf(Leaf::Iota(axis)) => (0..size).map(|i| index_of(i, &n.shape)[*axis as usize] as f64).collect(),
            Op::Leaf(Leaf::Eye) => (0..size).map(|i| f64::from(i % (n.shape[0] + 1) == 0)).collect(),
            Op::Leaf(Leaf::Alias | Leaf::Stop | Leaf::Dense) => input(0).clone(),
            Op::Unary(u) => input(0)
                .iter()
                .map(|&x| {
                    round(match u {
                        Unary::Neg => -x,
                        Unary::Square => x * x,
                        Unary::Abs => x.abs(),
                        Unary::Exp => x.exp(),
                        Unary::Sin => x.sin(),
                        Unary::Cos => x.cos(),
                        Unary::Tanh => x.tanh(),
                        Unary::LogicalNot => f64::from(x == 0.0),
                        other => panic!("{other:?}"),
                    })
                })
                .collect(),
            Op::Binary(b) => input(0)
                .iter()
                .zip(input(1))
                .map(|(&x, &y)| {
                    round(match b {
                        Binary::Add => x + y,
                        Binary::Sub => x - y,
                        Binary::Mul => x * y,
                        Binary::Maximum => x.max(y),
                        Binary::Less => f64::from(x < y),
                        Binary::Equal => f64::from(x == y),
                        Binary::LogicalAnd => f64::from(x != 0.0 && y != 0.0),
                        Binary::LogicalOr => f64::from(x != 0.0 || y != 0.0),
                        other => panic!("{other:?}"),
                    })
                })
                .collect(),
            Op::Select(_) => (0..size).map(|i| if input(0)[i] != 0.0 { input(1)[i] } else { input(2)[i] }).collect(),
            Op::Cast(_) => input(0).iter().map(|&x| round(x)).collect(),
            Op::Movement(m) => {
                let from = t.shape(n.inputs[0]).clone();
                (0..size)
                    .map(|i| {
                        let at = index_of(i, &n.shape);
                        let j = match m {
                            Movement::Reshape => i,
                            Movement::Broadcast => {
                                let extra = n.shape.len() - from.len();
                                let index: Vec<usize> =
                                    (0..from.len()).map(|a| if from[a] == 1 { 0 } else { at[a + extra] }).collect();
                                flat_of(&index, &from)
                            }
                            Movement::Transpose(p) => {
                                let mut index = vec![0; from.len()];
                                for (a, &q) in p.iter().enumerate() {
                                    index[q as usize] = at[a];
                                }
                                flat_of(&index, &from)
                            }
                        };
                        input(0)[j]
                    })
                    .collect()
            }
            Op::Windowed(w) => {
                let place = |w: &Window, i: usize, piece: &[usize], whole: &[usize]| {
                    let at = index_of(i, piece);
                    let index: Vec<usize> =
                        (0..at.len()).map(|a| (w.start[a] + at[a] as i64 * w.step[a]) as usize).collect();
                    flat_of(&index, whole)
                };
                match w {
                    Windowed::Slice(w) => {
                        (0..size).map(|i| input(0)[place(w, i, &n.shape, t.shape(n.inputs[0]))]).collect()
                    }
                    Windowed::Update(w) => {
                        let mut out = input(0).clone();
                        for (i, &v) in input(1).iter().enumerate() {
                            out[place(w, i, t.shape(n.inputs[1]), &n.shape)] = v;
                        }
                        out
                    }
                    Windowed::Assemble(ws) => {
                        let mut out = vec![0.0; size];
                        for (k, w) in ws.iter().enumerate() {
                            for (i, &v) in input(k).iter().enumerate() {
                                out[place(w, i, t.shape(n.inputs[k]), &n.shape)] += v;
                            }
                        }
                        out.into_iter().map(round).collect()
                    }
                }
            }
            Op::Reduce(Reduce { op, axes }) => {
                let from = t.shape(n.inputs[0]).clone();
                let mut out = vec![if *op == ReduceOp::Max { f64::NEG_INFINITY } else { 0.0 }; size];
                for (i, &v) in input(0).iter().enumerate() {
                    let at = index_of(i, &from);
                    let kept: Vec<usize> =
                        (0..from.len()).filter(|a| !axes.contains(&(*a as u8))).map(|a| at[a]).collect();
                    let o = &mut out[flat_of(&kept, &n.shape)];
                    *o = if *op == ReduceOp::Max { o.max(v) } else { *o + v };
                }
                out.into_iter().map(round).collect()
            }
            Op::MatMul(_) => {
                let (a, b) = (t.shape(n.inputs[0]), t.shape(n.inputs[1]));
                let r = n.shape.len();
                let (m, k, c) = (a[r - 2], a[r - 1], b[r - 1]);
                (0..size)
                    .map(|i| {
                        let (batch, row, col) = (i / (m * c), i / c % m, i % c);
                        (0..k).map(|j| input(0)[(batch * m + row) * k + j] * input(1)[(batch * k + j) * c + col]).sum()
                    })
                    .map(round)
                    .collect()
            }
            Op::Gather(Gather::Rows) => {
                let x = t.shape(n.inputs[0]);
                let row = shape::size(&x[1..]);
                input(1).iter().flat_map(|&i| input(0)[i as usize * row..][..row].to_vec()).collect()
            }
            Op::Gather(Gather::Add { .. }) => {
                let row = shape::size(&n.shape[1..]);
                let mut out = vec![0.0; size];
                for (k, &i) in input(0).iter().enumerate() {
                    for j in 0..row {
                        out[i as usize * row + j] += input(1)[k * row + j];
                    }
                }
                out.into_iter().map(round).collect()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(out.len(), size);
        all.push(out);
    }
    all
}

/// A random program over arrays of a few related shapes.
fn random(seed: u64, steps: usize, lengths: &[usize]) -> Tape {
    let mut t = Tape::new();
    let mut r = Noise(seed.wrapping_mul(0x9e37_79b9).wrapping_add(7));
    let shapes: Vec<Vec<usize>> = (0..3)
        .map(|_| {
            let rank = r.below(4);
            let mut s: Vec<usize> = (0..rank).map(|_| lengths[r.below(lengths.len())]).collect();
            while shape::size(&s) > 20_000 {
                s.pop();
            }
            s
        })
        .collect();
    let mut floats: Vec<NodeId> = Vec::new();
    for s in &shapes {
        for dtype in [DType::F64, DType::F64, DType::F32] {
            let x: Vec<f64> = (0..shape::size(s)).map(|_| r.number()).collect();
            floats.push(param(&mut t, &x, s, dtype));
        }
    }
    let like = |t: &Tape, list: &[NodeId], x: NodeId, r: &mut Noise| -> NodeId {
        let fits: Vec<NodeId> =
            list.iter().copied().filter(|&y| t.shape(y) == t.shape(x) && t.dtype(y) == t.dtype(x)).collect();
        fits[r.below(fits.len())]
    };
    for _ in 0..steps {
        let x = floats[r.below(floats.len())];
        let (s, rank) = (t.shape(x).clone(), t.rank(x));
        let new = match r.below(20) {
            0 | 1 => t.unary([Unary::Neg, Unary::Square, Unary::Abs][r.below(3)], x),
            2 => t.unary([Unary::Sin, Unary::Cos, Unary::Tanh][r.below(3)], x),
            3..=6 => {
                let y = like(&t, &floats, x, &mut r);
                t.binary([Binary::Add, Binary::Sub, Binary::Mul, Binary::Maximum][r.below(4)], x, y)
            }
            7 => {
                let y = like(&t, &floats, x, &mut r);
                let c = t.binary(Binary::Less, x, y).unwrap();
                let c = if r.below(2) == 0 { t.not(c).unwrap() } else { c };
                let z = like(&t, &floats, x, &mut r);
                t.select(c, z, y)
            }
            8 => {
                let to = if t.dtype(x) == DType::F64 { DType::F32 } else { DType::F64 };
                t.cast(x, to)
            }
            9 => {
                let mut to = s.to_vec();
                to.insert(0, lengths[r.below(lengths.len())].min(5));
                if shape::size(&to) < 40_000 { t.broadcast_to(x, &to) } else { continue }
            }
            10 => {
                let axes: Axes = (0..rank as u8).filter(|_| r.below(2) == 0).collect();
                t.sum(x, &axes)
            }
            11 if !s.contains(&0) => {
                let axes: Axes = (0..rank as u8).filter(|_| r.below(2) == 0).collect();
                t.reduce(ReduceOp::Max, x, &axes)
            }
            12 => {
                let mut p: Vec<u8> = (0..rank as u8).collect();
                for i in (1..rank).rev() {
                    p.swap(i, r.below(i + 1));
                }
                t.transpose(x, &p)
            }
            13 => {
                // merge or split axes
                let n = shape::size(&s);
                let to: Vec<usize> = match r.below(3) {
                    0 => vec![n],
                    1 if n.is_multiple_of(2) && n > 0 => vec![n / 2, 2],
                    _ => s.iter().copied().chain([1]).collect(),
                };
                t.reshape(x, &to)
            }
            14 if rank > 0 && !s.contains(&0) => {
                let mut start = Vec::new();
                let mut step = Vec::new();
                let mut piece = Vec::new();
                for &d in &s {
                    let k = 1 + r.below(d);
                    let reverse = r.below(3) == 0;
                    let stride = if k > 1 && r.below(2) == 0 { (d - 1) / (k - 1) } else { 1 } as i64;
                    let span = (k as i64 - 1) * stride;
                    let low = r.below(d - span as usize) as i64;
                    start.push(if reverse { low + span } else { low });
                    step.push(if reverse { -stride } else { stride });
                    piece.push(k);
                }
                let w = Window { start: start.as_slice().into(), step: step.as_slice().into() };
                if r.below(3) == 0 {
                    let part = t.slice(x, Box::new(w.clone()), &piece).unwrap();
                    let twice = t.add(part, part).unwrap();
                    if r.below(2) == 0 {
                        t.update(x, twice, Box::new(w))
                    } else {
                        t.assemble(&s, vec![w.clone(), w], &[twice, part])
                    }
                } else {
                    t.slice(x, Box::new(w), &piece)
                }
            }
            15 if rank == 2 => {
                let xt = t.matrix_transpose(x).unwrap();
                if s[0] * s[0] < 40_000 && s[0] * s[1] < 4000 { t.matmul(x, xt) } else { continue }
            }
            16 if rank > 0 && s[0] > 0 => {
                let k = r.below(7);
                let i: Vec<f64> = (0..k).map(|_| r.below(s[0]) as f64).collect();
                let i = param(&mut t, &i, &[k], DType::I64);
                let rows = t.gather(x, i).unwrap();
                if r.below(2) == 0 { t.scatter_add(i, rows, s[0]) } else { Ok(rows) }
            }
            17 if rank > 0 => {
                let i = t.iota(&s, r.below(rank)).unwrap();
                let i = t.cast(i, DType::F64).unwrap();
                let i = t.scale(i, 0.25).unwrap();
                Ok(i)
            }
            18 => t.lit_like(1.5, x).and_then(|c| t.mul(x, c)),
            19 => t.alias(x),
            _ => continue,
        }
        .unwrap();
        // keep numbers in range, so that rounding is all that differs
        let new = if matches!(t.op(new), Op::Binary(Binary::Mul) | Op::MatMul(_) | Op::Unary(Unary::Square)) {
            t.unary(Unary::Tanh, new).unwrap()
        } else {
            new
        };
        if shape::size(t.shape(new)) < 50_000 {
            floats.push(new);
        }
    }
    t
}

const CHOICES: [Options; 6] = [
    Options { simplify: false, fuse: false, small: 1024, body: false, generate: false },
    Options { simplify: false, fuse: false, small: 0, body: false, generate: true },
    Options { simplify: false, fuse: true, small: 0, body: false, generate: true },
    Options { simplify: true, fuse: true, small: 16, body: true, generate: true },
    Options { simplify: true, fuse: true, small: 0, body: false, generate: true },
    Options { simplify: true, fuse: true, small: 1024, body: false, generate: true },
];

/// Every choice of options gives the same bits, close to what the plain evaluator gives.
fn agree(t: &Tape, seed: u64) {
    let expected = plain(t);
    let pending: Vec<NodeId> = (0..t.len() as u32).map(NodeId).filter(|&i| t.node(i).value.is_none()).collect();
    let mut r = Noise(seed);
    // all nodes, then a few, so that the others may be fused away
    let few: Vec<NodeId> =
        pending.iter().rev().take(3).chain(pending.iter().filter(|_| r.below(6) == 0)).copied().collect();
    let mut seen: Vec<Option<Vec<u8>>> = vec![None; t.len()];
    for targets in [&pending, &few] {
        let targets: Vec<NodeId> =
            targets.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        if targets.is_empty() {
            continue;
        }
        for options in CHOICES {
            for (&id, out) in targets.iter().zip(run_with(t, &targets, options)) {
                let (i, dtype) = (id.index(), t.dtype(id));
                let tolerance = if dtype == DType::F32 { 2e-3 } else { 1e-9 };
                // a cast to float32 on the way leaves its rounding in float64 values
                let loose = if has_single(t) { 2e-3 } else { tolerance };
                let x = numbers(&out, dtype);
                assert_eq!(x.len(), expected[i].len(), "%{i} {options:?}\n{t}");
                for (a, b) in x.iter().zip(&expected[i]) {
                    let close = dtype == DType::Bool || (a - b).abs() <= loose * (1.0 + b.abs()) || a == b;
                    assert!(close, "%{i} {options:?}: {a} for {b}\n{t}");
                }
                match &seen[i] {
                    None => seen[i] = Some(out),
                    Some(first) => {
                        assert!(*first == out, "%{i} {options:?}: other bits {x:?} {:?}\n{t}", numbers(first, dtype))
                    }
                }
            }
        }
    }
}

fn has_single(t: &Tape) -> bool {
    (0..t.len() as u32).any(|i| t.dtype(NodeId(i)) == DType::F32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn small_programs_agree(seed in any::<u64>(), steps in 1usize..40) {
        agree(&random(seed, steps, &[0, 1, 2, 3, 4, 7, 9]), seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn large_programs_agree(seed in any::<u64>(), steps in 1usize..25) {
        agree(&random(seed, steps, &[1, 2, 3, 65, 100, 1023, 1024, 1025, 5000]), seed);
    }
}

#[test]
fn lengths_around_a_block() {
    for n in [1usize, 63, 64, 65, 1023, 1024, 1025, 5000, 70_001] {
        let mut t = Tape::new();
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin()).collect();
        let a = param(&mut t, &x, &[n], DType::F64);
        let b = t.unary(Unary::Exp, a).unwrap();
        let c = t.mul(a, b).unwrap();
        let s = t.total(c).unwrap();
        let wide = t.broadcast_to(s, &[n]).unwrap();
        let d = t.sub(c, wide).unwrap();
        let e = t.total(d).unwrap();
        let expected: f64 = x.iter().map(|v| v * v.exp()).sum();
        let out = run_with(&t, &[s, d, e], Options::default());
        assert!((numbers(&out[0], DType::F64)[0] - expected).abs() < 1e-12 * n as f64);
        for options in CHOICES {
            assert_eq!(run_with(&t, &[s, d, e], options), out, "{n} {options:?}");
        }
    }
}

/// Two operations of arithmetic are one kernel's work, with the bits of one after the other.
#[test]
fn arithmetic_in_one_pass() {
    use Binary::{Add, Div, Mul, Sub};
    for n in [1, 5, 1024, 1500] {
        for dtype in [DType::F64, DType::F32] {
            let (mut t, mut r) = (Tape::new(), Noise(n as u64));
            let special = [0.0, -0.0, f64::INFINITY, f64::NAN, 1e-320, 1e300];
            let mut some = |t: &mut Tape| {
                let x: Vec<f64> = (0..n).map(|i| *special.get(i % 40).unwrap_or(&r.number())).collect();
                param(t, &x, &[n], dtype)
            };
            let (a, b, c) = (some(&mut t), some(&mut t), some(&mut t));
            let mut targets = Vec::new();
            for first in [None, Some(Add), Some(Sub), Some(Mul), Some(Div)] {
                for second in [Add, Sub, Mul, Div] {
                    for last in [false, true] {
                        let x = match first {
                            Some(first) => t.binary(first, a, b).unwrap(),
                            None => t.unary(Unary::Square, a).unwrap(),
                        };
                        targets.push(t.binary(second, if last { c } else { x }, if last { x } else { c }).unwrap());
                    }
                }
            }
            let one_by_one = Options { simplify: false, fuse: false, ..Options::default() };
            let together = run_with(&t, &targets, Options { simplify: false, ..Options::default() });
            for (k, (got, want)) in together.iter().zip(run_with(&t, &targets, one_by_one)).enumerate() {
                let (got, want) = (numbers(got, dtype), numbers(&want, dtype));
                let same = |(x, y): (&f64, &f64)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
                assert!(got.iter().zip(&want).all(same), "{dtype} {n}: target {k}");
            }
        }
    }
}

/// Sine and cosine of one thing are one kernel's work, with the bits that each has alone.
#[test]
fn sines_and_cosines_together() {
    for n in [1, 3, 8, 100, 1024, 1025, 5000] {
        for dtype in [DType::F64, DType::F32] {
            for cosine_first in [false, true] {
                let (mut t, mut r) = (Tape::new(), Noise(n as u64));
                let x: Vec<f64> = (0..n).map(|i| if i % 7 == 6 { -0.0 } else { 1e3 * r.number() }).collect();
                let x = param(&mut t, &x, &[n], dtype);
                let y = t.scale(x, 0.5).unwrap();
                let w = Window { start: [n as i64 - 1][..].into(), step: [-1][..].into() };
                let flipped = t.slice(y, Box::new(w), &[n]).unwrap();
                let mut both = [Unary::Sin, Unary::Cos];
                both.rotate_left(usize::from(cosine_first));
                let mut targets: Vec<NodeId> = Vec::new();
                for of in [y, flipped] {
                    let [a, b] = both.map(|u| t.unary(u, of).unwrap());
                    let product = t.mul(a, b).unwrap();
                    let twice = t.add(b, b).unwrap();
                    targets.extend([b, t.total(a).unwrap(), product, t.total(twice).unwrap()]);
                }
                let together = run_with(&t, &targets, Options::default());
                for (&one, bytes) in targets.iter().zip(&together) {
                    let n = t.node(one);
                    if let Op::Unary(_) = n.op {
                        assert_eq!(run_with(&t, &[one], Options::default())[0], *bytes, "{dtype} {:?}", n.shape);
                    }
                }
                agree(&t, n as u64);
            }
        }
    }
}

/// Blocks that begin within a vector must not write past the end of their array, nor share registers with small values.
#[test]
fn rows_that_are_no_whole_vectors() {
    for (rows, row) in [(70, 257), (33, 129), (65, 1023), (9, 1025), (127, 65), (300, 3), (5, 4099)] {
        for dtype in [DType::F64, DType::F32] {
            let (mut t, mut r) = (Tape::new(), Noise(rows as u64 * 8191 + row as u64));
            let mut some = |t: &mut Tape, shape: &[usize]| {
                let x: Vec<f64> = (0..shape.iter().product()).map(|_| r.number() / 4.0).collect();
                param(t, &x, shape, dtype)
            };
            let (x, column) = (some(&mut t, &[rows, row]), some(&mut t, &[rows]));
            let up = t.reshape(column, &[rows, 1]).unwrap();
            let up = t.broadcast_to(up, &[rows, row]).unwrap();
            let y = t.binary(Binary::Maximum, x, up).unwrap();
            let y = t.unary(Unary::Sin, y).unwrap();
            let down = t.sum(y, &[0]).unwrap();
            let down = t.scale(down, 0.1).unwrap();
            let tanh = t.unary(Unary::Tanh, column).unwrap();
            let z = t.broadcast_to(down, &[rows, row]).unwrap();
            let z = t.mul(x, z).unwrap();
            let across = t.sum(z, &[1]).unwrap();
            let both = t.add(across, tanh).unwrap();
            let spread = t.reshape(both, &[rows, 1]).unwrap();
            let spread = t.broadcast_to(spread, &[rows, row]).unwrap();
            let last = t.sub(y, spread).unwrap();
            t.total(last).unwrap();
            agree(&t, 1);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut t = Tape::new();
    let mut r = Noise(3);
    let (n, m) = (3001, 100);
    let x: Vec<f64> = (0..n * m).map(|_| r.number()).collect();
    let a = param(&mut t, &x, &[n, m], DType::F64);
    let b = t.unary(Unary::Sin, a).unwrap();
    let rows = t.sum(b, &[1]).unwrap();
    let columns = t.sum(b, &[0]).unwrap();
    let all = t.total(b).unwrap();
    let wide = t.broadcast_to(columns, &[n, m]).unwrap();
    let c = t.mul(wide, b).unwrap();
    let c = t.unary(Unary::Tanh, c).unwrap();
    let long = t.reshape(c, &[n * m]).unwrap();
    let most = t.reduce(ReduceOp::Max, long, &[0]).unwrap();
    let flipped = t.transpose(c, &[1, 0]).unwrap();
    let flipped = t.sum(flipped, &[1]).unwrap();
    let targets = [rows, columns, all, c, most, flipped];
    let old = pool::num_threads();
    let mut first = None;
    for threads in [1, 2, 3, 8] {
        pool::set_num_threads(threads);
        for _ in 0..3 {
            let out = run_with(&t, &targets, Options::default());
            match &first {
                None => first = Some(out),
                Some(f) => assert!(*f == out, "{threads} threads"),
            }
        }
    }
    pool::set_num_threads(old);
}

#[test]
fn gradients_of_a_long_sum() {
    let mut t = Tape::new();
    let n = 3000;
    let x: Vec<f64> = (0..n).map(|i| i as f64 / 1000.0 - 1.5).collect();
    let p = param(&mut t, &x, &[n], DType::F64);
    let a = t.alias(p).unwrap();
    let s = t.unary(Unary::Sin, a).unwrap();
    let q = t.square(s).unwrap();
    let y = t.total(q).unwrap();
    let one = t.lit_like(1.0, y).unwrap();
    let g = walk::vjp(&mut t, &[y], &[one], &[a]).unwrap()[0].unwrap();
    let out = get(&t, g);
    for (g, x) in out.iter().zip(&x) {
        assert!((g - 2.0 * x.sin() * x.cos()).abs() < 1e-13);
    }
    let e = extract_exact(&t, &[y, g]).unwrap();
    let plan = Plan::new(e.program, Options::default()).unwrap();
    let text = plan.to_string();
    assert_eq!(text.matches("region").count(), 1, "forward and backward are one region:\n{text}");
}

#[test]
fn two_million_nodes() {
    let mut t = Tape::new();
    let x = param(&mut t, &[0.5], &[], DType::F64);
    let mut y = x;
    for _ in 0..1_000_000 {
        y = t.add(y, x).unwrap();
        y = t.unary(Unary::Sin, y).unwrap();
    }
    let mut expected = 0.5f64;
    for _ in 0..1_000_000 {
        expected = (expected + 0.5).sin();
    }
    let out = get(&t, y);
    assert!((out[0] - expected).abs() < 1e-12);
}

#[test]
fn what_is_worth_keeping_is_returned() {
    let mut t = Tape::new();
    let x = param(&mut t, &[1.0, 2.0, 3.0], &[3], DType::F64);
    let y = t.square(x).unwrap();
    let z = t.neg(y).unwrap();
    let s = t.total(z).unwrap();
    let u = t.unary(Unary::Exp, s).unwrap();
    t.node_mut(y).handles = 1;
    let e = extract(&t, &[u, u]).unwrap();
    assert_eq!(e.outputs, vec![u, y, s]);
    assert_eq!(e.params, vec![x]);
    assert_eq!(extract_exact(&t, &[u, u]).unwrap().outputs, vec![u]);
    assert!(extract(&t, &[x]).unwrap().outputs.is_empty());
    let scope = t.open_scope();
    let a = t.abstract_param(scope, [3].as_slice().into(), DType::F64).unwrap();
    let b = t.neg(a).unwrap();
    let error = extract(&t, &[b]).unwrap_err();
    assert!(matches!(error, mlgrad_core::Error::Abstract(_)), "{error}");
}

#[test]
fn plans_are_shared_by_structure_and_bounded() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    plan::clear();
    let program = |v: f64, n: usize, c: f64| {
        let mut t = Tape::new();
        for _ in 0..n % 3 {
            // other places on the tape, same structure
            t.literal(1.0, &[], DType::F64).unwrap();
        }
        let x = param(&mut t, &vec![v; n], &[n], DType::F64);
        let y = t.scale(x, c).unwrap();
        let y = t.unary(Unary::Sin, y).unwrap();
        extract(&t, &[y]).unwrap().program
    };
    let a = plan::plan_for(program(1.0, 4, 3.0)).unwrap();
    let b = plan::plan_for(program(2.0, 4, 3.0)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&a, &b));
    assert!(!std::sync::Arc::ptr_eq(&a, &plan::plan_for(program(2.0, 5, 3.0)).unwrap()));
    assert!(!std::sync::Arc::ptr_eq(&a, &plan::plan_for(program(2.0, 4, 3.5)).unwrap()));
    assert_eq!((plan::stats().hits, plan::stats().misses, plan::stats().entries), (1, 3, 3));
    plan::set_limits(8, 1 << 30);
    for n in 10..60 {
        plan::plan_for(program(2.0, n, 3.0)).unwrap();
        assert!(plan::stats().entries <= 8);
    }
    plan::set_limits(4096, 512 << 20);
    plan::clear();
}

#[test]
fn a_plan_runs_in_several_threads_at_once() {
    let mut t = Tape::new();
    let n = 4000;
    let x = param(&mut t, &vec![0.0; n], &[n], DType::F64);
    let y = t.unary(Unary::Sin, x).unwrap();
    let s = t.total(y).unwrap();
    let w = t.broadcast_to(s, &[n]).unwrap();
    let z = t.add(w, y).unwrap();
    let e = extract_exact(&t, &[z]).unwrap();
    let plan = Plan::new(e.program, Options::default()).unwrap();
    std::thread::scope(|scope| {
        for k in 0..4 {
            let plan = &plan;
            scope.spawn(move || {
                let v = [value_of(&vec![f64::from(k) * 0.1; n], DType::F64)];
                for _ in 0..200 {
                    let out = plan.run(&plan.params_of(&v)).unwrap();
                    let out = numbers(&bytes_of(&out[0], DType::F64), DType::F64);
                    let one = (f64::from(k) * 0.1).sin();
                    assert!(out.iter().all(|z| (z - one * (n as f64 + 1.0)).abs() < 1e-9));
                }
            });
        }
    });
}

#[test]
fn an_operation_without_a_kernel_says_so() {
    let mut t = Tape::new();
    let x = param(&mut t, &[1.0], &[1], DType::I64);
    let y = t.unary(Unary::Sin, x).unwrap();
    let e = extract_exact(&t, &[y]).unwrap();
    let error = Plan::new(e.program, Options::default()).unwrap_err();
    assert!(error.to_string().contains("sin is not supported for int64"), "{error}");
}

fn rows(t: &mut Tape, x: &[f64], shape: &[usize]) -> NodeId {
    param(t, x, shape, DType::F64)
}

/// The same whether arrays are small or not.
fn check(t: &Tape, x: NodeId, expected: &[f64]) {
    for options in CHOICES {
        let out = numbers(&run_with(t, &[x], options)[0], t.dtype(x));
        assert_eq!(out.len(), expected.len());
        for (a, b) in out.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{options:?}: {out:?} for {expected:?}\n{t}");
        }
    }
}

#[test]
fn scans_sorts_positions_and_writes() {
    let mut t = Tape::new();
    let x = rows(&mut t, &[3.0, 1.0, 2.0, -1.0, 5.0, 5.0], &[2, 3]);
    let y = t.cumsum(x, 1, false).unwrap();
    check(&t, y, &[3.0, 4.0, 6.0, -1.0, 4.0, 9.0]);
    let y = t.cumsum(x, 0, true).unwrap();
    check(&t, y, &[2.0, 6.0, 7.0, -1.0, 5.0, 5.0]);
    let y = t.recurrence(x, x, 1, false).unwrap();
    check(&t, y, &[3.0, 4.0, 10.0, -1.0, 0.0, 5.0]);
    let y = t.cumulative_product(x, 1, false).unwrap();
    check(&t, y, &[3.0, 3.0, 6.0, -1.0, -5.0, -25.0]);
    let y = t.argsort(x).unwrap();
    check(&t, y, &[1.0, 2.0, 0.0, 0.0, 1.0, 2.0]);
    let y = t.arg_reduce(true, x, 1).unwrap();
    check(&t, y, &[0.0, 1.0]);
    let y = t.arg_reduce(false, x, 0).unwrap();
    check(&t, y, &[1.0, 0.0, 0.0]);
    let sorted = rows(&mut t, &[0.0, 1.0, 2.0], &[3]);
    let y = t.searchsorted(sorted, x, true).unwrap();
    check(&t, y, &[3.0, 2.0, 3.0, 0.0, 3.0, 3.0]);
    let zero = t.lit_like(0.0, x).unwrap();
    let mask = t.binary(Binary::Less, zero, x).unwrap();
    let mask = t.reshape(mask, &[6]).unwrap();
    let y = t.nonzero(mask, 5).unwrap();
    check(&t, y, &[0.0, 1.0, 2.0, 4.0, 5.0]);
    let i = param(&mut t, &[-1.0, 0.0], &[2], DType::I64);
    let i = t.check_index(i, 2).unwrap();
    check(&t, i, &[1.0, 0.0]);
    let twice = t.add(x, x).unwrap();
    let v = t.gather(x, i).unwrap();
    let y = t.scatter_set(twice, i, v).unwrap();
    check(&t, y, &[3.0, 1.0, 2.0, -1.0, 5.0, 5.0]);
    // what is written over is still there for whoever needs it
    let z = t.add(y, twice).unwrap();
    check(&t, z, &[9.0, 3.0, 6.0, -3.0, 15.0, 15.0]);
    let bad = param(&mut t, &[2.0], &[1], DType::I64);
    let bad = t.check_index(bad, 2).unwrap();
    let e = extract_exact(&t, &[bad]).unwrap();
    let plan = Plan::new(e.program, Options::default()).unwrap();
    let error = plan.run(&plan.params_of(&[value_of(&[2.0], DType::I64)])).unwrap_err();
    assert!(matches!(error, mlgrad_core::Error::Index(_)), "{error}");
}

#[test]
fn decompositions_of_a_batch() {
    use mlgrad_core::ops::Linalg;
    let mut t = Tape::new();
    let a = rows(&mut t, &[4.0, 2.0, 2.0, 3.0, 1.0, 0.0, 0.0, 9.0], &[2, 2, 2]);
    let b = rows(&mut t, &[8.0, 7.0, 5.0, 18.0], &[2, 2, 1]);
    let y = t.solve(a, b).unwrap();
    check(&t, y, &[1.25, 1.5, 5.0, 2.0]);
    let inverse = t.linalg(Linalg::Inv, a).unwrap();
    check(&t, inverse, &[0.375, -0.25, -0.25, 0.5, 1.0, 0.0, 0.0, 1.0 / 9.0]);
    let det = t.linalg(Linalg::Det, a).unwrap();
    check(&t, det, &[8.0, 9.0]);
    let [sign, log] = t.factor(mlgrad_core::ops::Factor::Slogdet, a).unwrap()[..] else { panic!() };
    check(&t, log, &[8f64.ln(), 9f64.ln()]);
    check(&t, sign, &[1.0, 1.0]);
    let l = t.linalg(Linalg::Cholesky, a).unwrap();
    check(&t, l, &[2.0, 0.0, 1.0, 2f64.sqrt(), 1.0, 0.0, 0.0, 3.0]);
    let y = t.triangular_solve(l, b, true, false).unwrap();
    check(&t, y, &[4.0, 3.0 / 2f64.sqrt(), 5.0, 6.0]);
    let c = t.linalg(Linalg::Cofactor, a).unwrap();
    check(&t, c, &[3.0, -2.0, -2.0, 4.0, 9.0, 0.0, 0.0, 1.0]);
    let zero = t.lit_like(0.0, a).unwrap();
    let bad = t.linalg(Linalg::Inv, zero).unwrap();
    let e = extract_exact(&t, &[bad]).unwrap();
    let error = Plan::new(e.program, Options::default()).unwrap().run(&[]).unwrap_err();
    assert!(matches!(error, mlgrad_core::Error::LinAlg(_)), "{error}");
}

#[test]
fn narrow_columns_of_a_long_array() {
    for n in [5000usize, 5003, 8192] {
        let mut t = Tape::new();
        let x: Vec<f64> = (0..3 * n).map(|i| ((i * 7) % 13) as f64).collect();
        let p = rows(&mut t, &x, &[n, 3]);
        let y = t.sum(p, &[0]).unwrap();
        let expected: Vec<f64> = (0..3).map(|c| x.iter().skip(c).step_by(3).sum()).collect();
        check(&t, y, &expected);
        let y = t.sum(p, &[1]).unwrap();
        let expected: Vec<f64> = x.chunks(3).map(|r| r.iter().sum()).collect();
        check(&t, y, &expected);
    }
}

#[test]
fn an_operation_with_several_results() {
    let matrices = [4.0, 2.0, 2.0, 3.0, 1.0, 0.0, 0.0, -9.0];
    let mut t = Tape::new();
    let p = rows(&mut t, &matrices, &[2, 2, 2]);
    let a = t.alias(p).unwrap();
    let [sign, log] = t.factor(mlgrad_core::ops::Factor::Slogdet, a).unwrap()[..] else { panic!() };
    // both are outputs of one run
    let both = t.mul(sign, log).unwrap();
    check(&t, both, &[8f64.ln(), -(9f64.ln())]);
    let e = extract_exact(&t, &[sign, both, log]).unwrap();
    assert_eq!(e.program.nodes.iter().filter(|n| n.op.tuple().is_some()).count(), 1);
    // one of them, and what is kept besides
    assert_eq!(extract(&t, &[sign]).unwrap().outputs, [sign]);
    t.node_mut(log).handles = 1;
    assert_eq!(extract(&t, &[sign]).unwrap().outputs, [sign, log]);
    assert_eq!(extract(&t, &[both]).unwrap().outputs, [both, sign, log]);
    t.node_mut(log).handles = 0;
    // reverse: the transposed inverse
    let g = param(&mut t, &[2.0, 3.0], &[2], DType::F64);
    let d = walk::vjp(&mut t, &[sign, log], &[g, g], &[a]).unwrap()[0].unwrap();
    let inverse = [0.375, -0.25, -0.25, 0.5, 1.0, 0.0, 0.0, -1.0 / 9.0];
    let expected: Vec<f64> = inverse.iter().zip([2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]).map(|(x, g)| x * g).collect();
    check(&t, d, &expected);
    assert!(walk::vjp(&mut t, &[sign], &[g], &[a]).unwrap()[0].is_none_or(|d| get(&t, d).iter().all(|&x| x == 0.0)));
    // forward
    let ones = t.lit_like(1.0, p).unwrap();
    let d = walk::jvp(&mut t, &[a], &[Some(ones)], &[sign, both, log]).unwrap();
    assert!(d[0].is_none());
    check(&t, d[2].unwrap(), &[0.375, 8.0 / 9.0]);
    check(&t, d[1].unwrap(), &[0.375, -8.0 / 9.0]);
    // batched: the same through a scope
    let scope = t.open_scope();
    let one = t.abstract_param(scope, [2, 2].as_slice().into(), DType::F64).unwrap();
    let [sign, log] = t.factor(mlgrad_core::ops::Factor::Slogdet, one).unwrap()[..] else { panic!() };
    let y = t.mul(sign, log).unwrap();
    let batched = walk::batch(&mut t, &[one], &[p], 2, &[y, sign, log]).unwrap();
    t.close_scope(scope);
    assert!(batched.iter().all(|b| b.1));
    check(&t, batched[0].0, &[8f64.ln(), -(9f64.ln())]);
    check(&t, batched[1].0, &[1.0, -1.0]);
    // many matrices, on several threads, some of the results unread
    let many: Vec<f64> = (0..3000).flat_map(|k| [1.0 + k as f64, 0.0, 5.0, -1.0]).collect();
    let p = rows(&mut t, &many, &[3000, 2, 2]);
    let [sign, log] = t.factor(mlgrad_core::ops::Factor::Slogdet, p).unwrap()[..] else { panic!() };
    check(&t, sign, &vec![-1.0; 3000]);
    check(&t, log, &(0..3000).map(|k| (1.0 + f64::from(k)).ln()).collect::<Vec<_>>());
}
