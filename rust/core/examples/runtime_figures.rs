//! Prints what buffers, thread pool and matrix products cost here: `cargo run --release --example runtime_figures`.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use mlgrad_core::exec::gemm::{Mat, Real, Shape, gemm};
use mlgrad_core::exec::{buffer, buffer::Buffer, pool};

/// The best of several rounds, in nanoseconds a call.
fn time(calls: usize, mut f: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..calls {
            f();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / calls as f64);
    }
    best
}

fn main() {
    for bytes in [64, 4096, 1 << 20, 64 << 20] {
        let ns = time(10_000, || {
            black_box(Buffer::new(black_box(bytes)).unwrap());
        });
        println!("buffer of {bytes:9} bytes, new and drop      {ns:8.1} ns");
    }
    println!("pooled {} in use {} peak {}", buffer::bytes_pooled(), buffer::bytes_in_use(), buffer::bytes_peak());
    for threads in [1, 2] {
        pool::set_num_threads(threads);
        for tasks in [1, 2, 16] {
            let ns = time(20_000, || {
                pool::parallel(tasks, &|i| {
                    black_box(i);
                });
            });
            println!("parallel, {threads} threads, {tasks:2} empty tasks       {ns:8.1} ns");
        }
    }
    let spun = time(2000, || {
        pool::parallel(2, &|_| {
            let start = Instant::now();
            while start.elapsed().as_nanos() < 10_000 {}
        });
    });
    println!("parallel, 2 threads, 2 tasks of 10 us      {spun:8.1} ns");
    let asleep = (0..50)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            let start = Instant::now();
            pool::parallel(2, &|_| {});
            start.elapsed().as_secs_f64() * 1e9
        })
        .sum::<f64>()
        / 50.0;
    println!("parallel after a pause of 1 ms             {asleep:8.1} ns");

    for threads in [1, 2] {
        pool::set_num_threads(threads);
        products::<f64>("f64", threads);
        products::<f32>("f32", threads);
    }
}

/// Products `a @ b`, and `a.T @ b` with `a` transposed in place.
fn products<T: Real>(name: &str, threads: usize) {
    let squares = [2, 4, 8, 16, 24, 32, 48, 64, 128, 256, 512, 1024].map(|n| (n, n, n));
    let others = [
        (10_000, 20, 20),
        (20, 20, 10_000),
        (64, 64, 784),
        (2000, 64, 64),
        (1000, 1, 1000),
        (1, 1000, 1000),
        (100_000, 1, 20),
        (20, 1, 100_000),
        (100, 1, 100),
        (1, 1, 10_000_000),
        (1000, 1000, 1),
    ];
    for (m, n, k) in squares.into_iter().chain(others) {
        let (a, b) = (vec![T::from(1.0); m * k], vec![T::from(1.0); k * n]);
        let mut c = vec![T::from(0.0); m * n];
        let calls = (20_000_000 / (m * n * k)).clamp(1, 10_000);
        let mut run = |row: usize, col: usize| {
            let (a, b) = (Mat::new(a.as_ptr(), row as isize, col as isize), Mat::new(b.as_ptr(), n as isize, 1));
            // SAFETY: matrices of these shapes.
            time(calls, || unsafe { gemm(Shape { m, n, k }, a, b, c.as_mut_ptr(), false).unwrap() }) / 1e3
        };
        let (plain, transposed) = (run(k, 1), run(1, m));
        let gflops = |us: f64| 2e-3 * (m * n * k) as f64 / us;
        println!(
            "{name} {threads} threads {:>18} {plain:10.3} us {:6.1} GFLOP/s   a.T {transposed:10.3} us {:6.1} GFLOP/s",
            format!("{m}x{n}x{k}"),
            gflops(plain),
            gflops(transposed)
        );
    }
}
