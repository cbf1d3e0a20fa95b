//! Regions of whole rows: columns, rows that repeat, products with vectors, and reductions of every kind beside them.

use super::*;

/// A program over arrays of the shape (rows, row), with columns, rows and numbers that come from them and go back into them.
fn over_rows(seed: u64, steps: usize, (rows, row): (usize, usize), dtype: DType) -> Tape {
    let (mut t, mut r) = (Tape::new(), Noise(seed));
    let noise = |n: usize, r: &mut Noise| -> Vec<f64> { (0..n).map(|_| r.number() / 4.0).collect() };
    let shape = [rows, row];
    let mut make = |s: &[usize], t: &mut Tape| {
        let x = noise(shape::size(s), &mut r);
        param(t, &x, s, dtype)
    };
    let mut wide = vec![make(&shape, &mut t), make(&shape, &mut t)];
    let mut columns = vec![make(&[rows], &mut t)];
    let mut lines = vec![make(&[row], &mut t)];
    let mut numbers = vec![make(&[], &mut t)];
    let mut r = Noise(seed ^ 0x55);
    for _ in 0..steps {
        let any = |list: &[NodeId], r: &mut Noise| list[r.below(list.len())];
        let (x, c, l, n) = (any(&wide, &mut r), any(&columns, &mut r), any(&lines, &mut r), any(&numbers, &mut r));
        let op = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Maximum][r.below(4)];
        let scaled = |t: &mut Tape, x: NodeId, by: usize| {
            let x = t.scale(x, 1.0 / (by as f64).sqrt()).unwrap();
            t.unary(Unary::Sin, x).unwrap()
        };
        match r.below(16) {
            0 => wide.push(t.unary([Unary::Tanh, Unary::Cos, Unary::Neg][r.below(3)], x).unwrap()),
            1 => {
                let y = any(&wide, &mut r);
                let y = t.binary(op, x, y).unwrap();
                wide.push(t.unary(Unary::Tanh, y).unwrap());
            }
            2 | 3 => {
                let y = t.reduce([ReduceOp::Sum, ReduceOp::Max][r.below(2)], x, &[1]).unwrap();
                columns.push(scaled(&mut t, y, row));
            }
            4..=6 => {
                let up = t.reshape(c, &[rows, 1]).unwrap();
                let up = t.broadcast_to(up, &shape).unwrap();
                let y = t.binary(op, x, up).unwrap();
                wide.push(t.unary(Unary::Sin, y).unwrap());
            }
            7 | 8 => {
                let d = any(&columns, &mut r);
                let d = t.binary(op, c, d).unwrap();
                columns.push(t.unary(Unary::Tanh, d).unwrap());
            }
            9 => {
                let y = t.sum(x, &[0]).unwrap();
                lines.push(scaled(&mut t, y, rows));
            }
            10 => {
                let up = t.broadcast_to(l, &shape).unwrap();
                wide.push(t.binary(op, x, up).unwrap());
            }
            11 => {
                let s = t.total([x, c, l][r.below(3)]).unwrap();
                numbers.push(scaled(&mut t, s, rows * row));
            }
            12 => {
                let to = [&shape[..], &shape[..1]][r.below(2)];
                let up = t.broadcast_to(n, to).unwrap();
                if to.len() == 2 {
                    wide.push(t.binary(op, x, up).unwrap());
                } else {
                    columns.push(t.binary(op, c, up).unwrap());
                }
            }
            13 => {
                let v = t.reshape(l, &[row, 1]).unwrap();
                let y = t.matmul(x, v).unwrap();
                let y = t.reshape(y, &[rows]).unwrap();
                columns.push(scaled(&mut t, y, row));
            }
            14 => {
                let v = t.reshape(c, &[1, rows]).unwrap();
                let flipped = t.transpose(x, &[1, 0]).unwrap();
                let y = if r.below(2) == 0 {
                    t.matmul(v, x).unwrap()
                } else {
                    let v = t.reshape(c, &[rows, 1]).unwrap();
                    t.matmul(flipped, v).unwrap()
                };
                let y = t.reshape(y, &[row]).unwrap();
                lines.push(scaled(&mut t, y, rows));
            }
            _ if row.is_multiple_of(2) => {
                // rows of half the length
                let y = t.reshape(x, &[rows, 2, row / 2]).unwrap();
                let s = t.reduce(ReduceOp::Max, y, &[2]).unwrap();
                let s = t.reshape(s, &[rows, 2, 1]).unwrap();
                let s = t.broadcast_to(s, &[rows, 2, row / 2]).unwrap();
                let y = t.sub(y, s).unwrap();
                wide.push(t.reshape(y, &shape).unwrap());
            }
            _ => {}
        }
    }
    t
}

const SHAPES: [(usize, usize); 24] = [
    (2, 3),
    (3, 2),
    (5, 7),
    (17, 4),
    (9, 31),
    (8, 32),
    (4, 33),
    (40, 64),
    (300, 3),
    (1025, 2),
    (500, 20),
    (37, 100),
    (3, 1000),
    (12, 1023),
    (12, 1024),
    (12, 1025),
    (5, 2047),
    (4, 2049),
    (3, 5000),
    (2, 8192),
    (2, 8193),
    (1300, 11),
    (130, 128),
    (70, 257),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn row_programs_agree(seed in any::<u64>(), steps in 1usize..30, which in 0..SHAPES.len(), single in any::<bool>()) {
        let dtype = if single { DType::F32 } else { DType::F64 };
        agree(&over_rows(seed, steps, SHAPES[which], dtype), seed);
    }
}

/// Programs whose sums were once overwritten by a block that began within a vector.
#[test]
fn blocks_that_begin_within_a_vector() {
    for seed in [7619313259437557111, 8544130267095841816] {
        for steps in 1..30 {
            for dtype in [DType::F64, DType::F32] {
                agree(&over_rows(seed, steps, (70, 257), dtype), seed);
            }
        }
    }
}

/// A value that a kernel computes, a reduction joins and a pass reads was once added by both.
#[test]
fn what_a_pass_adds_up_is_added_once() {
    for dtype in [DType::F64, DType::F32] {
        agree(&over_rows(13501589052788015739, 18, (3, 1000), dtype), 13501589052788015739);
        let mut t = Tape::new();
        let x = param(&mut t, &(0..6000).map(|i| f64::from(i % 97) / 50.0).collect::<Vec<_>>(), &[4, 1500], dtype);
        let (y, c) = (t.unary(Unary::Sin, x).unwrap(), t.sum(x, &[1]).unwrap());
        let c = t.reshape(c, &[4, 1]).unwrap();
        let c = t.broadcast_to(c, &[4, 1500]).unwrap();
        let z = t.sub(y, c).unwrap();
        let z = t.square(z).unwrap();
        t.sum(y, &[0]).unwrap();
        t.sum(z, &[0]).unwrap();
        agree(&t, 1);
    }
}

#[test]
fn arrays_without_rows_or_columns() {
    for shape in [(0, 5), (5, 0), (0, 0), (1, 4), (4, 1), (1, 3000), (3000, 1)] {
        for seed in 0..6 {
            let mut t = Tape::new();
            let (rows, row) = shape;
            let x = param(&mut t, &vec![0.25; rows * row], &[rows, row], DType::F64);
            let s = t.sum(x, &[1]).unwrap();
            let s = t.reshape(s, &[rows, 1]).unwrap();
            let s = t.broadcast_to(s, &[rows, row]).unwrap();
            let y = t.sub(x, s).unwrap();
            let mut out = vec![y, t.sum(y, &[0]).unwrap(), t.total(y).unwrap()];
            out.rotate_left(seed % 3);
            agree(&t, seed as u64);
            assert_eq!(run_with(&t, &out, Options::default()).len(), 3);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits_by_rows() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let old = pool::num_threads();
    for (seed, shape) in [(1, (3001, 100)), (2, (700, 333)), (3, (20_000, 12)), (4, (90, 3000)), (5, (5000, 64))] {
        let t = over_rows(seed, 25, shape, DType::F64);
        let targets: Vec<NodeId> =
            (0..t.len() as u32).map(NodeId).filter(|&i| t.node(i).value.is_none()).rev().step_by(3).collect();
        let mut first = None;
        for threads in [1, 2, 3, 8] {
            pool::set_num_threads(threads);
            for _ in 0..2 {
                let out = run_with(&t, &targets, Options::default());
                match &first {
                    None => first = Some(out),
                    Some(f) => assert!(*f == out, "{threads} threads, {shape:?}"),
                }
            }
        }
    }
    pool::set_num_threads(old);
}

/// The plan for the value of a program and its gradient with respect to one parameter.
fn plan_of_gradient(t: &mut Tape, y: NodeId, a: NodeId) -> String {
    let one = t.lit_like(1.0, y).unwrap();
    let g = walk::vjp(t, &[y], &[one], &[a]).unwrap()[0].unwrap();
    let e = extract_exact(t, &[y, g]).unwrap();
    Plan::new(e.program, Options::default()).unwrap().to_string()
}

#[test]
fn softmax_is_one_pass() {
    let mut t = Tape::new();
    let shape = [2000, 50];
    let x = param(&mut t, &vec![0.5; 100_000], &shape, DType::F64);
    let w = param(&mut t, &vec![0.5; 100_000], &shape, DType::F64);
    let a = t.alias(x).unwrap();
    let spread = |t: &mut Tape, c: NodeId| {
        let c = t.reshape(c, &[2000, 1]).unwrap();
        t.broadcast_to(c, &shape).unwrap()
    };
    let top = t.reduce(ReduceOp::Max, a, &[1]).unwrap();
    let top = spread(&mut t, top);
    let e = t.sub(a, top).unwrap();
    let e = t.unary(Unary::Exp, e).unwrap();
    let s = t.sum(e, &[1]).unwrap();
    let s = spread(&mut t, s);
    let p = t.div(e, s).unwrap();
    let p = t.mul(p, w).unwrap();
    let y = t.total(p).unwrap();
    let text = plan_of_gradient(&mut t, y, a);
    assert_eq!(text.matches("region").count(), 1, "{text}");
}

#[test]
fn a_linear_model_reads_its_matrix_once() {
    let mut t = Tape::new();
    let (rows, row) = (5000, 30);
    let x = param(&mut t, &vec![0.5; rows * row], &[rows, row], DType::F64);
    let y = param(&mut t, &vec![0.5; rows], &[rows, 1], DType::F64);
    let w = param(&mut t, &vec![0.5; row], &[row, 1], DType::F64);
    let w = t.alias(w).unwrap();
    let z = t.matmul(x, w).unwrap();
    let loss = t.unary(Unary::Tanh, z).unwrap();
    let yz = t.mul(y, z).unwrap();
    let loss = t.sub(loss, yz).unwrap();
    let loss = t.total(loss).unwrap();
    let loss = t.scale(loss, 1.0 / rows as f64).unwrap();
    let text = plan_of_gradient(&mut t, loss, w);
    assert!(!text.contains("matmul"), "{text}");
    assert_eq!(text.matches(&format!("region over {} elements", rows * row)).count(), 1, "{text}");
}
