//! How fast the block kernels are, in nanoseconds an element: `cargo run --release --example kernel_speed [n]`.
#![allow(unsafe_code)]

use mlgrad_math as math;
use mlgrad_math::DType;
use mlgrad_math::ops::{Binary, ReduceOp};
use mlgrad_math::{self, Kernel};
use std::time::Instant;

/// The best of several timings, in nanoseconds an element.
fn best(n: usize, mut f: impl FnMut()) -> f64 {
    let repeats = (200_000 / n).max(1);
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = Instant::now();
        for _ in 0..repeats {
            f();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (repeats * n) as f64);
    }
    best
}

fn main() {
    let n: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1024);
    let buffer = |fill: f64| vec![fill; n + 64];
    let (a, b, mask) = (buffer(1.25), buffer(2.5), vec![1u8; 8 * (n + 64)]);
    let mut dst = buffer(0.0);
    let one = |kernel: Kernel, dst: &mut Vec<f64>, first: *const u8| {
        best(n, || {
            // SAFETY: every buffer has n elements of 8 bytes and 64 more.
            unsafe { kernel(n, dst.as_mut_ptr().cast(), first, b.as_ptr().cast(), a.as_ptr().cast()) }
        })
    };
    println!("{n} elements; ns an element");
    for isa in math::available() {
        let show = |name: &str, ns: f64| println!("{:8} {name:24} {ns:8.4}", isa.name());
        let pa: *const u8 = a.as_ptr().cast();
        for (op, dtype) in [
            (Binary::Add, DType::I64),
            (Binary::Mul, DType::I64),
            (Binary::Less, DType::I64),
            (Binary::FloorDivide, DType::I64),
            (Binary::Add, DType::U8),
            (Binary::Mul, DType::Bool),
        ] {
            let kernel = math::integer::binary_on(isa, op, dtype).expect("a kernel");
            show(&format!("{op:?} {dtype}"), one(kernel, &mut dst, pa));
        }
        for (from, to) in [
            (DType::Bool, DType::F64),
            (DType::F64, DType::Bool),
            (DType::I64, DType::F64),
            (DType::F64, DType::I64),
            (DType::F64, DType::F32),
            (DType::F32, DType::F64),
        ] {
            let kernel = math::cast::cast_on(isa, from, to).expect("a kernel");
            show(&format!("{from} to {to}"), one(kernel, &mut dst, pa));
        }
        show("select float64", one(math::select::select_on(isa, DType::F64), &mut dst, mask.as_ptr()));
        show("splat float64", one(math::select::splat(DType::F64), &mut dst, pa));
        for (op, dtype) in [
            (ReduceOp::Sum, DType::F64),
            (ReduceOp::Sum, DType::F32),
            (ReduceOp::Max, DType::F64),
            (ReduceOp::Sum, DType::I64),
            (ReduceOp::Any, DType::Bool),
        ] {
            let kernel = math::reduce::block(isa, op, dtype).expect("a kernel");
            let mut acc = 0u64;
            // SAFETY: the source has n elements, acc holds one.
            let ns = best(n, || unsafe { kernel(n, (&raw mut acc).cast(), pa) });
            show(&format!("{op:?} {dtype}"), ns);
        }
        let kernel = math::reduce::accumulate(isa, ReduceOp::Sum, DType::F64).expect("a kernel");
        // SAFETY: both rows have n elements.
        let ns = best(n, || unsafe { kernel(n, dst.as_mut_ptr().cast(), pa) });
        show("accumulate rows float64", ns);
    }
}
