//! Prints what decompositions cost here: `cargo run --release --example linalg_figures`.

use std::time::Instant;

use mlgrad_core::linalg::{Triangle, cholesky, cofactor, det, eigh, inv, qr, solve, svd, triangular_solve};

fn time(mut f: impl FnMut()) -> f64 {
    let (mut best, start) = (f64::INFINITY, Instant::now());
    while start.elapsed().as_secs_f64() < 0.1 {
        let each = Instant::now();
        for _ in 0..3 {
            f();
        }
        best = best.min(each.elapsed().as_secs_f64() / 3.0);
    }
    best * 1e6
}

fn main() {
    println!("us     solve1      inv      det     chol     tri1       qr     eigh      svd cofactor");
    for n in [2, 3, 4, 8, 16, 32, 40, 48, 64, 100, 200, 500] {
        let a: Vec<f64> = (0..n * n)
            .map(|t| {
                let (i, j): (usize, usize) = (t / n, t % n);
                1.0 / (1.0 + i.abs_diff(j) as f64) + if i == j { 2.0 } else { 0.0 }
            })
            .collect();
        let (mut out, mut v, mut w) = (vec![0.0; n * n], vec![0.0; n * n], vec![0.0; n]);
        let b = vec![1.0; n];
        let t = Triangle { lower: true, transpose: false, unit_diagonal: false };
        let figures = [
            time(|| solve(&a, &b, n, 1, &mut w).unwrap()),
            time(|| inv(&a, n, &mut out).unwrap()),
            time(|| assert!(det(&a, n).unwrap() > 0.0)),
            time(|| cholesky(&a, n, &mut out).unwrap()),
            time(|| triangular_solve(&a, &b, n, 1, t, &mut w).unwrap()),
            time(|| qr(&a, n, n, &mut out, &mut v).unwrap()),
            time(|| eigh(&a, n, &mut w, &mut v).unwrap()),
            time(|| svd(&a, n, n, &mut out, &mut w, &mut v).unwrap()),
            time(|| cofactor(&a, n, &mut out).unwrap()),
        ];
        println!("{n:3} {}", figures.map(|f| format!("{f:9.2}")).join(""));
    }
}
