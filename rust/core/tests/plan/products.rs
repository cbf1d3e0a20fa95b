//! Sums of matrix products: added in place, with the bits of separate additions.

use super::*;

#[test]
fn products_are_added_where_the_sum_lies() {
    let cases: [(&[usize], &[usize]); 5] = [
        (&[20, 30], &[30, 40]),
        (&[16, 256], &[256, 64]),
        (&[5, 300], &[300, 7]),
        (&[3, 4, 5], &[3, 5, 6]),
        (&[1, 9], &[9, 30]),
    ];
    for (seed, (left, right)) in cases.iter().enumerate() {
        for dtype in [DType::F64, DType::F32] {
            let (mut t, mut r) = (Tape::new(), Noise(seed as u64));
            let mut product = |t: &mut Tape| {
                let mut make = |s: &[usize]| {
                    let x: Vec<f64> = (0..shape::size(s)).map(|_| r.number() / 8.0).collect();
                    param(t, &x, s, dtype)
                };
                let (a, b) = (make(left), make(right));
                t.matmul(a, b).unwrap()
            };
            let (p, q, s, u) = (product(&mut t), product(&mut t), product(&mut t), product(&mut t));
            let sum = t.add(p, q).unwrap();
            let sum = t.add(s, sum).unwrap();
            // read twice: stays a product of its own
            let sum = t.add(sum, u).unwrap();
            let last = t.mul(sum, u).unwrap();
            agree(&t, seed as u64);
            let expected = plain(&t);
            let scale = expected[last.index()].iter().fold(1.0f64, |m, x| m.max(x.abs()));
            let out = numbers(&run_with(&t, &[last], Options::default())[0], dtype);
            let tolerance = if dtype == DType::F32 { 1e-4 } else { 1e-12 };
            assert!(out.iter().zip(&expected[last.index()]).all(|(a, b)| (a - b).abs() <= tolerance * scale));
        }
    }
}

#[test]
fn a_sum_of_many_products_takes_one_place() {
    let mut t = Tape::new();
    let noise = vec![0.5; 64 * 64];
    let mut sum = None;
    for _ in 0..30 {
        let a = param(&mut t, &noise, &[64, 64], DType::F64);
        let p = t.matmul(a, a).unwrap();
        sum = Some(sum.map_or(p, |s| t.add(s, p).unwrap()));
    }
    let e = extract_exact(&t, &[sum.unwrap()]).unwrap();
    let plan = Plan::new(e.program, Options::default()).unwrap();
    let text = plan.to_string();
    assert!(!text.contains("region"), "{text}");
    assert!(plan.arena_bytes() < 3 * 64 * 64 * 8, "{text}");
}

#[test]
fn products_of_one_matrix_with_several_vectors_are_one_call_with_the_bits_of_each() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let old = pool::num_threads();
    for (rows, row) in [(3, 9001), (20, 8999), (1100, 8200), (17, 70_003), (50, 131_072)] {
        for dtype in [DType::F64, DType::F32] {
            let (mut t, mut r) = (Tape::new(), Noise(row as u64));
            let mut make = |t: &mut Tape, s: &[usize]| {
                let x: Vec<f64> = (0..shape::size(s)).map(|_| r.number() / 8.0).collect();
                param(t, &x, s, dtype)
            };
            let matrix = make(&mut t, &[rows, row]);
            let turned = t.matrix_transpose(matrix).unwrap();
            let mut products = Vec::new();
            for _ in 0..2 {
                let v = make(&mut t, &[row, 1]);
                products.push(t.matmul(matrix, v).unwrap());
            }
            // a row of sums is the same product
            let v = make(&mut t, &[1, row]);
            products.push(t.matmul(v, turned).unwrap());
            let e = extract_exact(&t, &products).unwrap();
            let text = Plan::new(e.program, Options::default()).unwrap().to_string();
            assert!(text.contains("with 3 vectors"), "{text}");
            for threads in [1, 2, 3] {
                pool::set_num_threads(threads);
                let together = run_with(&t, &products, Options::default());
                for (p, got) in products.iter().zip(&together) {
                    assert!(run_with(&t, &[*p], Options::default())[0] == *got, "{rows} {row} {threads}");
                }
            }
        }
    }
    pool::set_num_threads(old);
}

#[test]
fn a_product_that_waits_for_another_is_a_call_of_its_own() {
    let mut t = Tape::new();
    let (rows, row) = (4, 9000);
    let noise: Vec<f64> = (0..rows * row).map(|i| (i as f64 * 0.7).sin()).collect();
    let matrix = param(&mut t, &noise, &[rows, row], DType::F64);
    let v = param(&mut t, &noise[..row], &[row, 1], DType::F64);
    let first = t.matmul(matrix, v).unwrap();
    let turned = t.matrix_transpose(matrix).unwrap();
    let back = t.matmul(turned, first).unwrap();
    let second = t.matmul(matrix, back).unwrap();
    let e = extract_exact(&t, &[first, second]).unwrap();
    let text = Plan::new(e.program, Options::default()).unwrap().to_string();
    assert_eq!(text.matches("matmul").count(), 3, "{text}");
    let expected = plain(&t);
    for (got, want) in get(&t, second).iter().zip(&expected[second.index()]) {
        assert!((got - want).abs() <= 1e-10 * want.abs(), "{got} {want}");
    }
}
