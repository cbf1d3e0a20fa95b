//! Prints what buffers, thread pool and matrix products cost here: `cargo run --release --example runtime_figures`.

use std::hint::black_box;
use std::time::Instant;

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
}
