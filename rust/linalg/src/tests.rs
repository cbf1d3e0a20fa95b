use super::*;
use proptest::prelude::*;

/// Numbers between -1 and 1 without a pattern.
fn numbers(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        })
        .collect()
}

fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for p in 0..k {
            for j in 0..n {
                c[i * n + j] += a[i * k + p] * b[p * n + j];
            }
        }
    }
    c
}

fn transposed(a: &[f64], m: usize, n: usize) -> Vec<f64> {
    (0..m * n).map(|t| a[t % m * n + t / m]).collect()
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|t| f64::from(t / n == t % n)).collect()
}

fn plus_diagonal(mut a: Vec<f64>, n: usize, d: f64) -> Vec<f64> {
    a.iter_mut().step_by(n + 1).for_each(|x| *x += d);
    a
}

#[track_caller]
fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= tolerance, "element {i}: {x} and {y}");
    }
}

/// The sizes at which something changes: by hand, by the library, in blocks.
const SIZES: [usize; 10] = [0, 1, 2, 3, 4, 8, 17, 40, 41, 130];

#[test]
fn solve_and_inv_undo_the_product() {
    for n in SIZES {
        let a = plus_diagonal(numbers(n * n, n as u64), n, 3.0);
        for k in [0, 1, 2, 9] {
            let x = numbers(n * k, 7);
            let b = product(&a, &x, n, n, k);
            let mut out = vec![0.0; n * k];
            solve(&a, &b, n, k, &mut out).unwrap();
            close(&out, &x, 1e-10);
        }
        let mut inverse = vec![0.0; n * n];
        inv(&a, n, &mut inverse).unwrap();
        close(&product(&a, &inverse, n, n, n), &identity(n), 1e-10);
    }
}

#[test]
fn det_and_slogdet_agree_with_each_other_and_with_permutations() {
    assert_eq!(det(&[], 0).unwrap(), 1.0);
    assert_eq!(slogdet(&[], 0).unwrap(), (1.0, 0.0));
    assert_eq!(det(&[1.0, 2.0, 3.0, 4.0], 2).unwrap(), -2.0);
    for n in [1, 2, 3, 5, 40, 41, 90] {
        let a = plus_diagonal(numbers(n * n, 3 + n as u64), n, 0.5);
        let d = det(&a, n).unwrap();
        let (sign, log) = slogdet(&a, n).unwrap();
        assert!((sign * log.exp() - d).abs() <= 1e-10 * d.abs(), "{n}: {d} {sign} {log}");
        // exchanging two rows changes the sign and nothing else
        if n > 1 {
            let mut b = a.clone();
            for j in 0..n {
                b.swap(j, (n - 1) * n + j);
            }
            let exchanged = det(&b, n).unwrap();
            assert!((exchanged + d).abs() <= 1e-9 * d.abs(), "{n}: {d} {exchanged}");
        }
        // a rotation of the rows by one has the sign of a cycle
        let cycle: Vec<f64> = (0..n * n).map(|t| f64::from((t / n + 1) % n == t % n)).collect();
        assert_eq!(det(&cycle, n).unwrap(), if n % 2 == 0 { -1.0 } else { 1.0 });
    }
    // the factors overflow, the product does not
    let diagonal = plus_diagonal(vec![0.0; 16], 4, 0.0);
    let mut extreme = diagonal;
    for (i, x) in [1e200, 1e200, 1e-200, 1e-190].into_iter().enumerate() {
        extreme[i * 5] = x;
    }
    assert!((det(&extreme, 4).unwrap() / 1e10 - 1.0).abs() < 1e-12);
}

#[test]
fn singular_matrices_are_found() {
    for n in [1, 2, 3, 8, 40, 41, 100] {
        for kind in 0..3 {
            let mut a = numbers(n * n, 5);
            match kind {
                0 => a.fill(0.0),
                1 => a.iter_mut().skip(n / 2).step_by(n).for_each(|x| *x = 0.0),
                // in blocks, equal rows need not stay equal to the last bit, in LAPACK neither
                _ if (2..=40).contains(&n) => a.copy_within(0..n, (n - 1) * n),
                _ => continue,
            }
            let mut out = vec![0.0; n * n];
            let solved = solve(&a, &identity(n), n, n, &mut out);
            for error in [solved.expect_err(&format!("{n} {kind}")), inv(&a, n, &mut out).unwrap_err()] {
                assert!(matches!(&error, Error::LinAlg(m) if m.contains("Singular matrix")), "{n} {kind} {error}");
            }
            assert_eq!(det(&a, n).unwrap(), 0.0, "{n} {kind}");
            assert_eq!(slogdet(&a, n).unwrap(), (0.0, f64::NEG_INFINITY));
        }
    }
}

#[test]
fn cholesky_reads_the_lower_triangle_alone() {
    for n in SIZES {
        let g = plus_diagonal(numbers(n * n, 2), n, 1.0);
        let a = plus_diagonal(product(&g, &transposed(&g, n, n), n, n, n), n, 0.1);
        let mut noisy = a.clone();
        for i in 0..n {
            noisy[i * n + i + 1..(i + 1) * n].fill(f64::NAN);
        }
        let mut l = vec![7.0; n * n];
        cholesky(&noisy, n, &mut l).unwrap();
        close(&product(&l, &transposed(&l, n, n), n, n, n), &a, 1e-10 * (n as f64 + 1.0));
        for i in 0..n {
            assert!(l[i * n + i + 1..(i + 1) * n].iter().all(|x| *x == 0.0));
            assert!(l[i * n + i] > 0.0);
        }
        for bad in [-1.0, 0.0, f64::NAN] {
            for at in [0, n / 2, n.max(1) - 1] {
                if n > 0 {
                    let mut a = identity(n);
                    a[at * (n + 1)] = bad;
                    let error = cholesky(&a, n, &mut l).unwrap_err();
                    assert!(matches!(&error, Error::LinAlg(m) if m.contains("not positive definite")), "{error}");
                }
            }
        }
    }
}

#[test]
fn triangular_solve_reads_its_triangle_alone() {
    for n in SIZES {
        for (lower, transpose, unit_diagonal) in (0..8).map(|b| (b & 1 > 0, b & 2 > 0, b & 4 > 0)) {
            let mut a = numbers(n * n, 11);
            a.iter_mut().for_each(|x| *x /= n as f64);
            a = plus_diagonal(a, n, 2.0);
            let mut clean = a.clone();
            for i in 0..n {
                for j in 0..n {
                    if (j > i) == lower && i != j {
                        clean[i * n + j] = 0.0;
                        a[i * n + j] = f64::NAN;
                    }
                }
                if unit_diagonal {
                    clean[i * n + i] = 1.0;
                    a[i * n + i] = 0.0;
                }
            }
            if transpose {
                clean = transposed(&clean, n, n);
            }
            for k in [0, 1, 3, 20] {
                let x = numbers(n * k, 1);
                let b = product(&clean, &x, n, n, k);
                let mut out = vec![0.0; n * k];
                let t = Triangle { lower, transpose, unit_diagonal };
                triangular_solve(&a, &b, n, k, t, &mut out).unwrap();
                close(&out, &x, 1e-10);
            }
        }
    }
    let t = Triangle { lower: true, transpose: false, unit_diagonal: false };
    let error = triangular_solve(&[1.0, 0.0, 1.0, 0.0], &[1.0, 1.0], 2, 1, t, &mut [0.0; 2]).unwrap_err();
    assert!(matches!(error, Error::LinAlg(_)));
}

#[test]
fn qr_is_orthogonal_upper_and_has_lapacks_signs() {
    for (m, n) in [(0, 3), (1, 1), (3, 3), (5, 2), (2, 5), (30, 20), (20, 30), (60, 60), (100, 30), (30, 100)] {
        let s = m.min(n);
        let a = numbers(m * n, 4);
        let (mut q, mut r) = (vec![0.0; m * s], vec![0.0; s * n]);
        qr(&a, m, n, &mut q, &mut r).unwrap();
        close(&product(&q, &r, m, s, n), &a, 1e-12);
        close(&product(&transposed(&q, m, s), &q, s, m, s), &identity(s), 1e-12);
        for i in 0..s {
            assert!(r[i * n..][..i].iter().all(|x| *x == 0.0));
        }
        // the same signs by hand and by the library, as LAPACK has them
        let (mut q2, mut r2) = (vec![0.0; m * s], vec![0.0; s * n]);
        if s > 0 {
            qr::small(&a, m, n, &mut q2, &mut r2);
        }
        close(&q, &q2, 1e-11);
        close(&r, &r2, 1e-11);
    }
    // numpy.linalg.qr([[3., 1.], [4., 2.]])
    let (mut q, mut r) = ([0.0; 4], [0.0; 4]);
    qr(&[3.0, 1.0, 4.0, 2.0], 2, 2, &mut q, &mut r).unwrap();
    close(&q, &[-0.6, -0.8, -0.8, 0.6], 1e-15);
    close(&r, &[-5.0, -2.2, 0.0, 0.4], 1e-15);
    // and of an upper triangle with a negative diagonal, which stays as it is
    qr(&[-2.0, 1.0, 0.0, -3.0], 2, 2, &mut q, &mut r).unwrap();
    assert_eq!((q, r), ([1.0, 0.0, 0.0, 1.0], [-2.0, 1.0, 0.0, -3.0]));
}

#[test]
fn eigh_and_svd_take_matrices_apart() {
    for n in SIZES {
        let g = numbers(n * n, 6);
        let a: Vec<f64> = g.iter().zip(transposed(&g, n, n)).map(|(x, y)| x + y).collect();
        for scale in [1.0, 1e-200, 1e200] {
            let scaled: Vec<f64> = a.iter().map(|x| x * scale).collect();
            let (mut w, mut v) = (vec![0.0; n], vec![0.0; n * n]);
            eigh(&scaled, n, &mut w, &mut v).unwrap();
            assert!(w.is_sorted());
            let vw: Vec<f64> = (0..n * n).map(|t| v[t] * (w[t % n] / scale)).collect();
            close(&product(&vw, &transposed(&v, n, n), n, n, n), &a, 1e-12 * (n as f64 + 1.0));
            close(&product(&transposed(&v, n, n), &v, n, n, n), &identity(n), 1e-12 * (n as f64 + 1.0));
        }
    }
    for (m, n) in [(0, 2), (1, 1), (2, 5), (5, 2), (20, 20), (70, 40), (40, 70)] {
        let s = m.min(n);
        let a = numbers(m * n, 8);
        for scale in [1.0, 1e-200, 1e200] {
            let scaled: Vec<f64> = a.iter().map(|x| x * scale).collect();
            let (mut u, mut values, mut vt) = (vec![0.0; m * s], vec![0.0; s], vec![0.0; s * n]);
            svd(&scaled, m, n, &mut u, &mut values, &mut vt).unwrap();
            assert!(values.iter().rev().is_sorted() && values.iter().all(|x| *x >= 0.0));
            let us: Vec<f64> = (0..m * s).map(|t| u[t] * (values[t % s] / scale)).collect();
            close(&product(&us, &vt, m, s, n), &a, 1e-12 * (m + n) as f64);
            close(&product(&transposed(&u, m, s), &u, s, m, s), &identity(s), 1e-12 * (m + n) as f64);
        }
    }
}

#[test]
fn cofactors_are_those_of_laplace_even_where_singular() {
    let minor = |a: &[f64], n: usize, i: usize, j: usize| -> f64 {
        let rest: Vec<f64> = (0..n * n).filter(|t| t / n != i && t % n != j).map(|t| a[t]).collect();
        det(&rest, n - 1).unwrap() * if (i + j).is_multiple_of(2) { 1.0 } else { -1.0 }
    };
    for n in [1_usize, 2, 3, 4, 5, 8, 45] {
        // what rounding is measured by: of the regular matrix
        let mut size = 1e-3_f64;
        for rank in [n, n - 1, n.saturating_sub(2)] {
            let mut a = numbers(n * n, 9);
            for i in rank..n {
                for j in 0..n {
                    a[i * n + j] = if rank > 0 { 2.0 * a[j] + a[(i % rank) * n + j] } else { 0.0 };
                }
            }
            let mut out = vec![0.0; n * n];
            cofactor(&a, n, &mut out).unwrap();
            let expected: Vec<f64> = (0..n * n).map(|t| minor(&a, n, t / n, t % n)).collect();
            size = expected.iter().fold(size, |m, x| m.max(x.abs()));
            close(&out, &expected, 1e-9 * size);
        }
    }
}

#[test]
fn what_is_not_finite_neither_panics_nor_hangs() {
    for n in [1, 2, 3, 5, 41, 60] {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut a = plus_diagonal(numbers(n * n, 10), n, 3.0);
            a[n * n / 2] = bad;
            let (mut out, mut w, mut v) = (vec![0.0; n * n], vec![0.0; n], vec![0.0; n * n]);
            solve(&a, &identity(n), n, n, &mut out).unwrap();
            assert!(bad.is_infinite() || out.iter().any(|x| x.is_nan()), "{n} {bad}");
            inv(&a, n, &mut out).unwrap();
            det(&a, n).unwrap();
            slogdet(&a, n).unwrap();
            let _ = cholesky(&a, n, &mut out);
            cofactor(&a, n, &mut out).unwrap();
            qr(&a, n, n, &mut out, &mut v).unwrap();
            assert!(out[0].is_nan());
            a[0] = bad;
            assert!(matches!(eigh(&a, n, &mut w, &mut v), Err(Error::LinAlg(_))));
            assert!(matches!(svd(&a, n, n, &mut out, &mut w, &mut v), Err(Error::LinAlg(_))));
        }
        let nan = vec![f64::NAN; n * n];
        assert!(det(&nan, n).unwrap().is_nan());
        let (sign, log) = slogdet(&nan, n).unwrap();
        assert!(sign.is_nan() && log.is_nan());
    }
}

#[test]
fn batches_widen_and_share() {
    let a = [2.0_f32, 0.0, 0.0, 4.0, 1.0, 1.0, 0.0, 1.0];
    let b = [1.0_f32, 2.0];
    let mut out = [0.0_f32; 4];
    let inputs = [Input { data: &a, len: 4, step: 4 }, Input { data: &b, len: 2, step: 0 }];
    let outputs = [Output { data: &mut out, len: 2 }];
    batched(2, inputs, outputs, |[a, b], [x]| solve(a, b, 2, 1, x)).unwrap();
    assert_eq!(out, [0.5, 0.5, -1.0, 2.0]);
    let wide = [2.0, 4.0, 0.0];
    let mut inverses = [0.0; 3];
    let inputs = [Input { data: &wide, len: 1, step: 1 }];
    let run = batched(3, inputs, [Output { data: &mut inverses, len: 1 }], |[a], [x]| inv(a, 1, x));
    assert!(matches!(run, Err(Error::LinAlg(_))));
    assert_eq!(inverses[..2], [0.5, 0.25]);
    let run = batched(4, inputs, [Output { data: &mut inverses, len: 1 }], |[a], [x]| inv(a, 1, x));
    assert!(matches!(run, Err(Error::Internal(_))));
}

proptest! {
    #[test]
    fn repeated_values_and_defects_are_taken_apart_too(
        n in 1_usize..12, entries in proptest::collection::vec(-2_i32..3, 144)
    ) {
        // small integers: singular and repeated values are common
        let mut a: Vec<f64> = entries[..n * n].iter().map(|x| f64::from(*x)).collect();
        let (mut u, mut s, mut vt) = (vec![0.0; n * n], vec![0.0; n], vec![0.0; n * n]);
        svd(&a, n, n, &mut u, &mut s, &mut vt).unwrap();
        let us: Vec<f64> = (0..n * n).map(|t| u[t] * s[t % n]).collect();
        close(&product(&us, &vt, n, n, n), &a, 1e-11);
        let (mut q, mut r) = (vec![0.0; n * n], vec![0.0; n * n]);
        qr(&a, n, n, &mut q, &mut r).unwrap();
        close(&product(&q, &r, n, n, n), &a, 1e-11);
        // |det| is the product of the singular values, and expansion along a row gives it back
        let d = det(&a, n).unwrap();
        prop_assert!((d.abs() - s.iter().product::<f64>()).abs() <= 1e-9 * (1.0 + d.abs()));
        let mut cofactors = vec![0.0; n * n];
        cofactor(&a, n, &mut cofactors).unwrap();
        for i in 0..n {
            let expansion = cholesky::dot(&a[i * n..][..n], &cofactors[i * n..][..n]);
            prop_assert!((expansion - d).abs() <= 1e-8 * (1.0 + d.abs()), "{} {}", expansion, d);
        }
        for i in 0..n {
            for j in 0..i {
                a[j * n + i] = a[i * n + j];
            }
        }
        let (mut w, mut v) = (vec![0.0; n], vec![0.0; n * n]);
        eigh(&a, n, &mut w, &mut v).unwrap();
        let vw: Vec<f64> = (0..n * n).map(|t| v[t] * w[t % n]).collect();
        close(&product(&vw, &transposed(&v, n, n), n, n, n), &a, 1e-11);
    }
}
