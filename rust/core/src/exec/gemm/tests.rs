use super::*;
use crate::exec::pool::{set_num_threads, tests::ALONE};
use proptest::prelude::*;

/// Numbers that repeat late, small enough for exact sums in f64 and f32.
fn numbers<T: Real>(len: usize, seed: usize) -> Vec<T> {
    (0..len).map(|i| T::from(((i * 7919 + seed * 104_729) % 17) as f32 - 8.0)).collect()
}

/// How a matrix lies in memory: row-major, column-major, every other element, backwards, one row for all.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Rows,
    Columns,
    Sparse,
    Backwards,
    SameRow,
}

const LAYOUTS: [Layout; 5] = [Layout::Rows, Layout::Columns, Layout::Sparse, Layout::Backwards, Layout::SameRow];

/// The index of the first element, the strides, and the elements of memory needed.
fn lay(layout: Layout, m: usize, n: usize) -> (usize, isize, isize, usize) {
    let (im, jn) = (m as isize, n as isize);
    match layout {
        Layout::Rows => (0, jn, 1, m * n),
        Layout::Columns => (0, 1, im, m * n),
        Layout::Sparse => (0, 2 * jn + 3, 2, m * (2 * n + 3)),
        Layout::Backwards => ((m * n).saturating_sub(1), -jn, -1, m * n),
        Layout::SameRow => (0, 0, 1, n),
    }
}

fn check<T: Real>(shape: Shape, la: Layout, lb: Layout, batch: usize, accumulate: bool) {
    let Shape { m, n, k } = shape;
    let ((a0, ar, ac, a_len), (b0, br, bc, b_len)) = (lay(la, m, k), lay(lb, k, n));
    let (a, b) = (numbers::<T>(a_len * batch, 1), numbers::<T>(b_len * batch, 2));
    let old = numbers::<T>(batch * m * n, 3);
    let mut c = old.clone();
    // SAFETY: lay() says what is needed; an empty matrix is not read.
    unsafe {
        let (a, b) = (Mat::new(a.as_ptr().wrapping_add(a0), ar, ac), Mat::new(b.as_ptr().wrapping_add(b0), br, bc));
        let (sa, sb) = (Steps::Every(a_len as isize), Steps::Every(b_len as isize));
        batched(batch, shape, (a, sa), (b, sb), c.as_mut_ptr(), accumulate).unwrap();
    }
    for t in 0..batch {
        for i in 0..m {
            for j in 0..n {
                let at = t * m * n + i * n + j;
                let mut sum = if accumulate { old[at] } else { T::default() };
                for p in 0..k {
                    let x = a[((t * a_len + a0) as isize + i as isize * ar + p as isize * ac) as usize];
                    let y = b[((t * b_len + b0) as isize + p as isize * br + j as isize * bc) as usize];
                    sum += x * y;
                }
                assert_eq!(c[at], sum, "{shape:?} {la:?} {lb:?} entry {t}, element {i},{j}");
            }
        }
    }
}

#[test]
fn agrees_with_the_definition_for_all_small_shapes() {
    for m in [0, 1, 2, 3, 5, 9] {
        for n in [0, 1, 2, 7, 8, 9, 16, 17, 33] {
            for k in [0, 1, 2, 5, 31, 65] {
                for (la, lb) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (3, 4), (4, 3)] {
                    for accumulate in [false, true] {
                        check::<f64>(Shape { m, n, k }, LAYOUTS[la], LAYOUTS[lb], 1, accumulate);
                        check::<f32>(Shape { m, n, k }, LAYOUTS[la], LAYOUTS[lb], 1, accumulate);
                    }
                }
            }
        }
    }
}

#[test]
fn agrees_with_the_definition_where_the_work_is_cut() {
    for (m, n, k) in [
        (1, 1, 200_001),
        (3, 1, 70_000),
        (3000, 1, 65),
        (1, 5, 60_000),
        (1, 700, 900),
        (1, 5001, 40),
        (130, 300, 64),
        (300, 40, 200),
        (30, 1500, 70),
        (100, 90, 1000),
    ] {
        for (la, lb) in [(0, 0), (1, 1), (2, 2), (4, 4)] {
            check::<f64>(Shape { m, n, k }, LAYOUTS[la], LAYOUTS[lb], 1, k % 2 == 0);
            check::<f32>(Shape { m, n, k }, LAYOUTS[la], LAYOUTS[lb], 1, k % 2 == 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn agrees_with_the_definition(
        m in 0_usize..40, n in 0_usize..70, k in 0_usize..50, la in 0_usize..5, lb in 0_usize..5, batch in 0_usize..4,
        accumulate: bool,
    ) {
        check::<f64>(Shape { m, n, k }, LAYOUTS[la], LAYOUTS[lb], batch, accumulate);
        check::<f32>(Shape { m, n, k }, LAYOUTS[la], LAYOUTS[lb], batch, accumulate);
    }
}

#[test]
fn batches_share_matrices_and_take_offsets() {
    let shape = Shape { m: 2, n: 3, k: 4 };
    let (a, b) = (numbers::<f64>(6 * 8, 1), numbers::<f64>(2 * 12, 2));
    let product = |a: &[f64], b: &[f64]| -> Vec<f64> {
        (0..6).map(|e| (0..4).map(|p| a[e / 3 * 4 + p] * b[p * 3 + e % 3]).sum()).collect()
    };
    let (am, bm) = (Mat::new(a.as_ptr(), 4, 1), Mat::new(b.as_ptr(), 3, 1));
    let offsets = [0, 12, 0, 12, 12, 0];
    let mut c = vec![0.0; 36];
    // SAFETY: six pairs, as laid out above.
    unsafe {
        batched(6, shape, (am, Steps::Every(8)), (bm, Steps::At(&offsets)), c.as_mut_ptr(), false).unwrap();
    }
    for t in 0..6 {
        assert_eq!(c[t * 6..t * 6 + 6], product(&a[t * 8..], &b[offsets[t] as usize..]));
    }
    // SAFETY: as above, with one matrix on the right.
    unsafe { batched(6, shape, (am, Steps::Every(8)), (bm, Steps::Every(0)), c.as_mut_ptr(), false).unwrap() };
    for t in 0..6 {
        assert_eq!(c[t * 6..t * 6 + 6], product(&a[t * 8..], &b));
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let shapes = [
        (300, 200, 257),
        (7, 1500, 300),
        (2000, 33, 40),
        (1, 5000, 333),
        (1, 37, 20_000),
        (1, 1, 300_000),
        (999, 1, 777),
        (100, 100, 1000),
        (20, 1, 70_000),
    ];
    for (m, n, k) in shapes {
        let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.7).sin()).collect();
        let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 1.3).cos()).collect();
        let run = |threads: usize| {
            set_num_threads(threads);
            let mut c = vec![0.0; m * n];
            let (a, b) = (Mat::new(a.as_ptr(), k as isize, 1), Mat::new(b.as_ptr(), n as isize, 1));
            // SAFETY: contiguous matrices of these shapes.
            unsafe { gemm(Shape { m, n, k }, a, b, c.as_mut_ptr(), false).unwrap() };
            c.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert_eq!(one, run(threads), "{m}x{n}x{k}, {threads} threads");
        }
    }
}

#[test]
fn nan_and_infinity_go_where_they_belong() {
    for (m, n, k) in [(3, 4, 5), (1, 9, 20), (9, 1, 20), (40, 40, 40)] {
        let (a, mut b) = (vec![1.0_f64; m * k], vec![1.0_f64; k * n]);
        b[n - 1] = f64::NAN;
        let mut c = vec![0.0; m * n];
        let (a, b) = (Mat::new(a.as_ptr(), k as isize, 1), Mat::new(b.as_ptr(), n as isize, 1));
        // SAFETY: contiguous matrices of these shapes.
        unsafe { gemm(Shape { m, n, k }, a, b, c.as_mut_ptr(), false).unwrap() };
        for i in 0..m {
            for j in 0..n {
                assert_eq!(c[i * n + j].is_nan(), j == n - 1);
            }
        }
    }
}

#[test]
fn integers_wrap_and_bools_are_any_of_both() {
    let shape = Shape { m: 2, n: 2, k: 2 };
    let run = |dtype: DType, a: *const u8, b: *const u8, c: *mut u8, accumulate: bool| {
        let (a, b) = (Mat::new(a, 2, 1), Mat::new(b, 1, 2));
        // SAFETY: two by two matrices of the dtype, the second one transposed.
        unsafe { matmul(dtype, 1, shape, (a, Steps::Every(0)), (b, Steps::Every(0)), c, accumulate) }
    };
    let (a, b, mut c) = ([i64::MAX, 2, 3, 4], [5_i64, 6, 7, 8], [0_i64; 4]);
    run(DType::I64, a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr().cast(), false).unwrap();
    let first = i64::MAX.wrapping_mul(5).wrapping_add(12);
    assert_eq!(c, [first, i64::MAX.wrapping_mul(7).wrapping_add(16), 39, 53]);
    run(DType::I64, a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr().cast(), true).unwrap();
    assert_eq!(c[2..], [78, 106]);
    let (a, b, mut c) = ([200_u8, 2, 3, 4], [5_u8, 6, 7, 8], [0_u8; 4]);
    run(DType::U8, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), false).unwrap();
    assert_eq!(c, [(1012 % 256) as u8, (1416 % 256) as u8, 39, 53]);
    let (a, b, mut c) = ([1_i32, -2, 3, 4], [5_i32, 6, 7, 8], [0_i32; 4]);
    run(DType::I32, a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr().cast(), false).unwrap();
    assert_eq!(c, [-7, -9, 39, 53]);
    let (a, b, mut c) = ([1_u8, 0, 0, 1], [0_u8, 1, 1, 1], [9_u8; 4]);
    run(DType::Bool, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), false).unwrap();
    assert_eq!(c, [0, 1, 1, 1]);
    assert!(matches!(run(DType::C64, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), false), Err(Error::Type(_))));
}
