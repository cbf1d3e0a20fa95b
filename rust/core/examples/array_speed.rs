//! How fast the whole-array kernels are, on one thread: `cargo run --release --example array_speed`.

use mlgrad_core::exec::array::{Dims, argreduce, copy, gather, nonzero, reduce, scan, sort};
use mlgrad_core::exec::buffer::Buffer;
use mlgrad_core::ops::ReduceOp;
use mlgrad_core::tape::DType;
use mlgrad_core::{Error, Result};
use std::time::Instant;

/// Prints the best of several timings, in nanoseconds an element.
fn show(name: &str, n: usize, mut f: impl FnMut() -> Result<()>) -> Result<()> {
    let repeats = (2_000_000 / n.max(1)).max(1);
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..repeats {
            f()?;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (repeats * n) as f64);
    }
    println!("{name:44} {best:8.3} ns an element, {:10.2} µs", best * n as f64 / 1e3);
    Ok(())
}

fn floats(n: usize) -> Result<Buffer> {
    let mut b = Buffer::new(n * 8)?;
    let mut state = 1u64;
    for x in b.as_mut_slice::<f64>() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *x = (state >> 11) as f64 / (1u64 << 53) as f64;
    }
    Ok(b)
}

fn main() -> Result<()> {
    for side in [64usize, 1000, 1024] {
        let n = side * side;
        let x = floats(n)?;
        let mut y = Buffer::new(n * 8)?;
        let (src, dst) = (x.as_slice::<u8>(), y.as_mut_slice::<u8>());
        println!("{side} by {side} float64");
        let transposed = copy::Strided::transposed(&[side, side], 8, &[1, 0]);
        show("transpose", n, || copy::read(8, src, &transposed, dst, 0..side))?;
        let single = copy::Strided::transposed(&[side, side], 4, &[1, 0]);
        show("transpose float32", n, || copy::read(4, &src[..n * 4], &single, &mut dst[..n * 4], 0..side))?;
        let whole = copy::Strided::contiguous(&[side, side], 8);
        show("copy", n, || copy::read(8, src, &whole, dst, 0..side))?;
        let flip = copy::Strided::window(&[side, side], 8, &[0, side as i64 - 1], &[1, -1], &[side, side]);
        show("flip of the last axis", n, || copy::read(8, src, &flip, dst, 0..side))?;
        let row = copy::Strided::broadcast(&[side], 8, &[side, side]);
        show("broadcast of a row", n, || copy::read(8, &src[..side * 8], &row, dst, 0..side))?;
        let column = copy::Strided::broadcast(&[side, 1], 8, &[side, side]);
        show("broadcast of a column", n, || copy::read(8, &src[..side * 8], &column, dst, 0..side))?;
        let half = side / 2;
        let even = copy::Strided::window(&[side, side], 8, &[0, 0], &[1, 2], &[side, half]);
        show("every second column", n / 2, || copy::read(8, src, &even, &mut dst[..n / 2 * 8], 0..side))?;
        let inside = copy::Strided::window(&[side, side], 8, &[1, 1], &[1, 1], &[side - 1, side - 1]);
        let m = (side - 1) * (side - 1);
        show("add into a window", m, || copy::add(DType::F64, &src[..m * 8], dst, &inside))?;

        for (name, outer, n, inner) in [
            ("sum of all", 1, n, 1),
            ("sum of each row", side, side, 1),
            ("sum of each column", 1, side, side),
            ("sum over 3 columns", 1, n / 3, 3),
        ] {
            let d = Dims { outer, n, inner };
            let out = &mut dst[..outer * inner * 8];
            let part = &src[..d.size() * 8];
            show(name, d.size(), || reduce::reduce(ReduceOp::Sum, DType::F64, part, d, out, 0..outer))?;
        }
        let rows = Dims { outer: side, n: side, inner: 1 };
        let columns = Dims { outer: 1, n: side, inner: side };
        let out = &mut dst[..side * 8];
        show("max of each row", n, || reduce::reduce(ReduceOp::Max, DType::F64, src, rows, out, 0..side))?;
        show("argmax of each row", n, || argreduce::arg_reduce(true, DType::F64, src, rows, out, 0..side))?;
        show("argmax of each column", n, || argreduce::arg_reduce(true, DType::F64, src, columns, out, 0..1))?;
        show("cumsum along rows", n, || scan::cumsum(DType::F64, src, rows, false, dst, 0..side))?;
        show("cumsum along columns", n, || scan::cumsum(DType::F64, src, columns, false, dst, 0..1))?;
        show("recurrence along rows", n, || scan::recurrence(DType::F64, src, src, rows, true, dst, 0..side))?;
        show("argsort of each row", n, || sort::argsort(DType::F64, src, side, dst, 0..side))?;
        show("argsort of all", n, || sort::argsort(DType::F64, src, n, dst, 0..1))?;

        let mut index = Buffer::new(n * 8)?;
        for (i, x) in index.as_mut_slice::<i64>().iter_mut().zip(x.as_slice::<f64>()) {
            *i = (x * n as f64) as i64;
        }
        let index = index.as_slice::<u8>();
        show("check_index", n, || gather::check_index(index, n, dst))?;
        show("gather of elements", n, || gather::gather(src, n, 8, index, dst))?;
        show("scatter_add of elements", n, || gather::scatter_add(DType::F64, index, src, 1, n, dst, 0..n))?;
        let few = floats(side)?;
        let mut rows_index = Buffer::new(side * 8)?;
        for (i, x) in rows_index.as_mut_slice::<i64>().iter_mut().zip(few.as_slice::<f64>()) {
            *i = (x * side as f64) as i64;
        }
        let rows_index = rows_index.as_slice::<u8>();
        show("gather of rows", n, || gather::gather(src, side, side * 8, rows_index, dst))?;
        show("scatter_add of rows", n, || gather::scatter_add(DType::F64, rows_index, src, side, side, dst, 0..side))?;
        let mask: Vec<u8> = x.as_slice::<f64>().iter().map(|v| (*v < 0.3) as u8).collect();
        let found = nonzero::count(&mask);
        show("count of a mask", n, || (nonzero::count(&mask) == found).then_some(()).ok_or(Error::Interrupted))?;
        show("positions of a mask", n, || nonzero::positions(&mask, &mut dst[..found * 8]))?;
        show("iota", n, || nonzero::iota(rows, dst, 0..side))?;
    }
    Ok(())
}
