//! How fast plans are made and run: `cargo run --release --example plan_figures [TEXT]`, of those with the
//! text in their names. Times with one thread are of the processor,
//! so that other work on the machine matters less.
#![allow(unsafe_code)]

use std::time::Instant;

use mlgrad_core::exec::buffer::Buffer;
use mlgrad_core::exec::pool;
use mlgrad_core::ops::{Unary, Window};
use mlgrad_core::plan::{self, Options, Plan, extract_exact};
use mlgrad_core::tape::{DType, NodeId, Tape, Value};
use mlgrad_core::walk;

fn array(n: usize, f: impl Fn(usize) -> f64) -> Value {
    let mut b = Buffer::new(8 * n).expect("memory");
    for (i, x) in b.as_mut_slice::<f64>().iter_mut().enumerate() {
        *x = f(i);
    }
    Value::Array(b.into())
}

#[cfg(unix)]
fn processor_time() -> u64 {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }
    const THREAD: i32 = if cfg!(target_os = "macos") { 16 } else { 3 };
    let mut t = Time { seconds: 0, nanoseconds: 0 };
    // SAFETY: writes one struct of this layout.
    unsafe { clock_gettime(THREAD, &raw mut t) };
    (t.seconds * 1_000_000_000 + t.nanoseconds) as u64
}

#[cfg(not(unix))]
fn processor_time() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos() as u64)
}

/// The best of several timings of a run, in nanoseconds.
fn best(processor: bool, mut f: impl FnMut()) -> f64 {
    let clock = || {
        if processor { processor_time() } else { std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos() as u64) }
    };
    f();
    let start = Instant::now();
    f();
    let once = start.elapsed().as_nanos().max(1) as usize;
    let repeats = (2_000_000 / once).clamp(1, 10_000);
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = clock();
        for _ in 0..repeats {
            f();
        }
        best = best.min((clock() - start) as f64 / repeats as f64);
    }
    best
}

fn report(name: &str, t: &Tape, targets: &[NodeId], elements: usize) {
    if std::env::args().nth(1).is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let start = Instant::now();
    let e = extract_exact(t, targets).expect("a program");
    let extracted = start.elapsed();
    let values: Vec<Value> = e.params.iter().map(|&p| t.node(p).value.clone().expect("a value")).collect();
    let nodes = e.program.nodes.len();
    let start = Instant::now();
    let plan = Plan::new(e.program, Options::default()).expect("a plan");
    let planned = start.elapsed();
    let params = plan.params_of(&values);
    println!(
        "{name}: {nodes} nodes, extracted in {:.0} ns and planned in {:.0} ns a node",
        extracted.as_nanos() as f64 / nodes as f64,
        planned.as_nanos() as f64 / nodes as f64
    );
    if plan.to_string().len() < 3000 {
        print!("{plan}");
    }
    for threads in [1, 2] {
        pool::set_num_threads(threads);
        let ns = best(threads == 1, || drop(plan.run(&params).expect("results")));
        println!("  {threads} threads: {ns:.0} ns, {:.3} ns an element", ns / elements as f64);
    }
}

fn gradient(t: &mut Tape, y: NodeId, a: &[NodeId]) -> Vec<NodeId> {
    let one = t.lit_like(1.0, y).expect("a number");
    walk::vjp(t, &[y], &[one], a).expect("a gradient").into_iter().map(|g| g.expect("not zero")).collect()
}

fn fused(n: usize) {
    let mut t = Tape::new();
    let p = t.param(array(n, |i| i as f64 / n as f64 * 4.0 - 2.0), [n].as_slice().into(), DType::F64).unwrap();
    let x = t.alias(p).unwrap();
    let s = t.unary(Unary::Sin, x).unwrap();
    let x2 = t.square(x).unwrap();
    let m = t.neg(x2).unwrap();
    let e = t.unary(Unary::Exp, m).unwrap();
    let se = t.mul(s, e).unwrap();
    let one = t.shift(x2, 1.0).unwrap();
    let l = t.unary(Unary::Log, one).unwrap();
    let inner = t.add(se, l).unwrap();
    let h = t.unary(Unary::Tanh, inner).unwrap();
    let y = t.total(h).unwrap();
    let g = gradient(&mut t, y, &[x]);
    report(&format!("value and gradient of sum(tanh(sin x exp(-x²) + log(1 + x²))), n = {n}"), &t, &[y, g[0]], n);
}

fn rosenbrock(n: usize) {
    let mut t = Tape::new();
    let p = t.param(array(n, |i| (i as f64 * 0.37).sin()), [n].as_slice().into(), DType::F64).unwrap();
    let x = t.alias(p).unwrap();
    let head = t.slice(x, Box::new(Window::at(&[0])), &[n - 1]).unwrap();
    let tail = t.slice(x, Box::new(Window::at(&[1])), &[n - 1]).unwrap();
    let square = t.square(head).unwrap();
    let gap = t.sub(tail, square).unwrap();
    let gap = t.square(gap).unwrap();
    let gap = t.scale(gap, 100.0).unwrap();
    let rest = t.neg(head).unwrap();
    let rest = t.shift(rest, 1.0).unwrap();
    let rest = t.square(rest).unwrap();
    let y = t.add(gap, rest).unwrap();
    let y = t.total(y).unwrap();
    let g = gradient(&mut t, y, &[x]);
    report(&format!("value and gradient of Rosenbrock's function, n = {n}"), &t, &[y, g[0]], n);
}

fn laplacian(n: usize) {
    let mut t = Tape::new();
    let p = t.param(array(n * n, |i| (i as f64 * 0.37).sin()), [n, n].as_slice().into(), DType::F64).unwrap();
    let x = t.alias(p).unwrap();
    let mut read = |i: i64, j: i64| t.slice(x, Box::new(Window::at(&[i, j])), &[n - 2, n - 2]).unwrap();
    let [middle, up, down, left, right] = [read(1, 1), read(0, 1), read(2, 1), read(1, 0), read(1, 2)];
    let mut y = t.add(down, up).unwrap();
    y = t.add(y, right).unwrap();
    y = t.add(y, left).unwrap();
    let middle = t.scale(middle, 4.0).unwrap();
    y = t.sub(y, middle).unwrap();
    y = t.square(y).unwrap();
    let y = t.total(y).unwrap();
    let g = gradient(&mut t, y, &[x]);
    report(&format!("value and gradient of the energy of a Laplacian, {n} by {n}"), &t, &[y, g[0]], n * n);
}

fn scalar() {
    let mut t = Tape::new();
    let p = t.param(Value::Scalar(1.3f64.to_bits()), [].as_slice().into(), DType::F64).unwrap();
    let x = t.alias(p).unwrap();
    let x2 = t.square(x).unwrap();
    let y = t.unary(Unary::Sin, x2).unwrap();
    let g = gradient(&mut t, y, &[x]);
    report("gradient of sin(x²) at a number", &t, &[g[0]], 1);
}

fn chain(n: usize, cheap: bool) {
    let mut t = Tape::new();
    let x = t.param(Value::Scalar(0.5f64.to_bits()), [].as_slice().into(), DType::F64).unwrap();
    let mut y = x;
    for k in 0..n / 2 {
        y = t.add(y, x).unwrap();
        y = if cheap || k % 2 == 0 { t.mul(y, x).unwrap() } else { t.unary(Unary::Sin, y).unwrap() };
    }
    report(&format!("chain of {n} operations on numbers"), &t, &[y], n);
}

fn vectors(n: usize) {
    let mut t = Tape::new();
    let x = t.param(array(4, |i| 0.1 * i as f64), [4].as_slice().into(), DType::F64).unwrap();
    let mut y = x;
    for _ in 0..n / 10 {
        let s = t.total(y).unwrap();
        let w = t.broadcast_to(s, &[4]).unwrap();
        for _ in 0..4 {
            y = t.add(y, w).unwrap();
            y = t.unary(Unary::Tanh, y).unwrap();
        }
    }
    report(&format!("loop over a 4-vector, {n} operations"), &t, &[y], n);
}

fn softmax(n: usize, m: usize) {
    let mut t = Tape::new();
    let p = t.param(array(n * m, |i| (i as f64 * 0.7).sin()), [n, m].as_slice().into(), DType::F64).unwrap();
    let x = t.alias(p).unwrap();
    let spread = |t: &mut Tape, v: NodeId| {
        let v = t.reshape(v, &[n, 1]).unwrap();
        t.broadcast_to(v, &[n, m]).unwrap()
    };
    let top = t.reduce(mlgrad_core::ops::ReduceOp::Max, x, &[1]).unwrap();
    let top = t.stop_gradient(top).unwrap();
    let top = spread(&mut t, top);
    let d = t.sub(x, top).unwrap();
    let e = t.unary(Unary::Exp, d).unwrap();
    let s = t.sum(e, &[1]).unwrap();
    let l = t.unary(Unary::Log, s).unwrap();
    let y = t.total(l).unwrap();
    let g = gradient(&mut t, y, &[x]);
    report(&format!("value and gradient of sum(logsumexp), {n} by {m}"), &t, &[y, g[0]], n * m);
}

fn mlp(batch: usize, width: usize) {
    let mut t = Tape::new();
    let matrix = |t: &mut Tape, r: usize, c: usize| {
        let p = t.param(array(r * c, |i| (i as f64 * 0.37).sin() * 0.1), [r, c].as_slice().into(), DType::F64).unwrap();
        t.alias(p).unwrap()
    };
    let (x, w1, w2, w3) = (
        matrix(&mut t, batch, width),
        matrix(&mut t, width, width),
        matrix(&mut t, width, width),
        matrix(&mut t, width, 10),
    );
    let b = t.param(array(width, |i| i as f64 * 1e-3), [width].as_slice().into(), DType::F64).unwrap();
    let b = t.alias(b).unwrap();
    let mut h = x;
    for w in [w1, w2] {
        h = t.matmul(h, w).unwrap();
        let wide = t.broadcast_to(b, &[batch, width]).unwrap();
        h = t.add(h, wide).unwrap();
        h = t.unary(Unary::Tanh, h).unwrap();
    }
    let o = t.matmul(h, w3).unwrap();
    let o = t.square(o).unwrap();
    let y = t.total(o).unwrap();
    let g = gradient(&mut t, y, &[w1, w2, w3, b]);
    let gemm = 2.0 * (batch * width * width * 5 + batch * width * 10 * 3) as f64;
    println!("GEMM alone at 90 GFLOP/s a thread: {:.0} ns", gemm / 90.0);
    report(
        &format!("value and gradient of a network, batch {batch}, width {width}"),
        &t,
        &[&[y], g.as_slice()].concat(),
        batch,
    );
}

fn main() {
    fused(1_000_000);
    fused(100_000);
    fused(10_000);
    fused(1_000);
    rosenbrock(1_000_000);
    laplacian(1_000);
    scalar();
    chain(10_000, true);
    chain(10_000, false);
    vectors(10_000);
    chain(1_000_000, true);
    softmax(10_000, 100);
    mlp(256, 256);
    mlp(32, 64);
    let mut t = Tape::new();
    let x = t.param(Value::Scalar(0.5f64.to_bits()), [].as_slice().into(), DType::F64).unwrap();
    let mut y = x;
    for _ in 0..20 {
        y = t.unary(Unary::Sin, y).unwrap();
    }
    let found = best(true, || {
        let e = extract_exact(&t, &[y]).unwrap();
        drop(plan::plan_for(e.program).unwrap());
    });
    println!("20 nodes extracted and found in the cache: {found:.0} ns");
}
