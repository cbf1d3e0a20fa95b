//! Values, computed by NumPy 2.4 and SciPy 1.17, and derivatives where they are not those of a formula.

use super::super::pad::{self, PadMode};
use super::super::ufunc::Ufunc;
use super::super::{diagonal, difference, einsum, join, linalg, norm, product, reduce, shape, sort, statistics};
use super::*;

fn x(t: &mut Tape) -> NodeId {
    known(t, &[2, 3], &[1.0, 2.0, 4.0, 0.5, -1.0, 3.0])
}

fn call(t: &mut Tape, name: &str, args: &[Operand]) -> NodeId {
    Ufunc::by_name(name).unwrap().call(t, args).unwrap()[0]
}

#[test]
fn padding() {
    let t = &mut Tape::new();
    let v = known(t, &[3], &[0.0, 1.0, 2.0]);
    for (name, expected) in [
        ("edge", [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
        ("reflect", [0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0]),
        ("symmetric", [2.0, 2.0, 1.0, 0.0, 0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 0.0, 1.0]),
        ("wrap", [2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0]),
    ] {
        let y = pad::pad(t, v, &[[4, 5]], &PadMode::by_name(name).unwrap()).unwrap();
        near(t, y, &expected);
    }
    // the last axis decides the corners
    let row = known(t, &[1, 2], &[1.0, 2.0]);
    let sides = [[5.0, 6.0], [7.0, 8.0]].map(|s| s.map(Operand::Float));
    let y = pad::pad(t, row, &[[1, 0], [0, 1]], &PadMode::Constant(sides.to_vec())).unwrap();
    near(t, y, &[5.0, 5.0, 8.0, 1.0, 2.0, 8.0]);
}

#[test]
fn moves() {
    let t = &mut Tape::new();
    let x = x(t);
    let y = shape::roll(t, x, &[1, -1], Some(&[0, 1])).unwrap();
    near(t, y, &[-1.0, 3.0, 0.5, 2.0, 4.0, 1.0]);
    let y = shape::rot90(t, x, 1, (0, 1)).unwrap();
    near(t, y, &[4.0, 3.0, 2.0, -1.0, 1.0, 0.5]);
    let y = shape::rot90(t, x, -1, (0, 1)).unwrap();
    near(t, y, &[0.5, 1.0, -1.0, 2.0, 3.0, 4.0]);
    let y = join::repeat(t, x, &[2, 0, 1], Some(1)).unwrap();
    near(t, y, &[1.0, 1.0, 4.0, 0.5, 0.5, 3.0]);
    let y = diagonal::tril(t, x, -1).unwrap();
    near(t, y, &[0.0, 0.0, 0.0, 0.5, 0.0, 0.0]);
    let y = diagonal::diagonal(t, x, 1, 0, 1).unwrap();
    near(t, y, &[2.0, 3.0]);
    let v = known(t, &[2], &[1.0, 2.0]);
    let y = diagonal::diag(t, v, -1).unwrap();
    near(t, y, &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
}

#[test]
fn sums_and_orders() {
    let t = &mut Tape::new();
    let x = x(t);
    let y = reduce::logsumexp(t, x, Some(&[1]), None, false).unwrap();
    near(t, y, &[4.169846019556286, 3.0956743294143823]);
    let w = known(t, &[3], &[1.0, 2.0, 3.0]);
    let [y, total] = statistics::average(t, x, Some(&[1]), Some(w.into()), false).unwrap();
    near(t, y, &[2.8333333333333335, 1.25]);
    near(t, total, &[6.0, 6.0]);
    let y = statistics::quantile(t, x, &[0.3, 0.9], true, statistics::Method::Linear, None, false).unwrap();
    near(t, y, &[0.75, 3.5]);
    let y = statistics::median(t, x, Some(&[0]), false).unwrap();
    near(t, y, &[0.75, 0.5, 3.5]);
    let (xp, fp) = (known(t, &[3], &[0.0, 1.0, 3.0]), known(t, &[3], &[1.0, 2.0, 4.0]));
    let at = known(t, &[5], &[-1.0, 0.5, 3.0, 4.0, f64::NAN]);
    let y = sort::interp(t, at.into(), xp, fp, None, Some(Operand::Int(9))).unwrap();
    near(t, y, &[1.0, 1.5, 4.0, 9.0, f64::NAN]);
    let y = difference::gradient(t, fp, xp.into(), 0, 2).unwrap();
    near(t, y, &[1.0, 1.0, 1.0]);
}

#[test]
fn products() {
    let t = &mut Tape::new();
    let x = x(t);
    let w = known(t, &[2], &[1.0, 2.0]);
    let y = einsum::einsum(t, "ij,kj,k->i", &[x.into(), x.into(), w.into()]).unwrap();
    near(t, y, &[42.0, 31.0]);
    let (a, b) = (known(t, &[3], &[1.0, 2.0, 4.0]), known(t, &[3], &[0.5, -1.0, 3.0]));
    let y = product::cross(t, a.into(), b.into(), -1, -1, -1).unwrap();
    near(t, y, &[10.0, -1.0, -2.0]);
    let y = product::kron(t, w.into(), a.into()).unwrap();
    near(t, y, &[1.0, 2.0, 4.0, 2.0, 4.0, 8.0]);
    // one left-hand matrix for a batch, folded into one product or broadcast
    let left = known(t, &[1, 2], &[1.0, 10.0]);
    let batch = known(t, &[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let y = product::matmul(t, left.into(), batch.into()).unwrap();
    near(t, y, &[31.0, 42.0, 75.0, 86.0]);
    let tall = known(t, &[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let column = known(t, &[2, 2, 1], &[1.0, 2.0, 3.0, 4.0]);
    let y = product::matmul(t, tall.into(), column.into()).unwrap();
    near(t, y, &[1.0, 2.0, 3.0, 3.0, 4.0, 7.0]);
}

#[test]
fn functions() {
    let t = &mut Tape::new();
    let at = known(t, &[8], &[-300.0, -40.0, -20.5, -19.5, -3.0, 0.0, 2.0, 9.0]);
    let y = call(t, "log_ndtr", &[at.into()]);
    let expected = [
        -45006.62273211866,
        -804.6084420137539,
        -214.06672896326387,
        -194.01696577749752,
        -6.60772622151035,
        -std::f64::consts::LN_2,
        -0.023012909328963476,
        -1.1285884059538324e-19,
    ];
    near(t, y, &expected);
    let at = known(t, &[6], &[-2.5, -0.5, 0.5, 5.0, -1.0, 0.0]);
    let y = call(t, "gamma", &[at.into()]);
    near(t, y, &[-0.9453087204829419, -3.5449077018110318, 1.7724538509055159, 24.0, f64::NAN, f64::INFINITY]);
    let (a, b) = (known(t, &[2], &[-0.5, 2.0]), known(t, &[2], &[2.25, 3.0]));
    let y = call(t, "beta", &[a.into(), b.into()]);
    near(t, y, &[-4.370095923820199, 0.08333333333333333]);
    let r = known(t, &[3], &[-1.0, 2.0, -3.0]);
    let y = call(t, "huber", &[Operand::Float(1.5), r.into()]);
    near(t, y, &[0.5, 1.875, 3.375]);
    let y = call(t, "pseudo_huber", &[Operand::Float(1.5), r.into()]);
    near(t, y, &[0.45416345659799195, 1.5, 2.7811529493745266]);
    let y = call(t, "ldexp", &[Operand::Float(1e-300), Operand::Int(1500)]);
    let got = values(t, y)[0];
    assert!((got / 3.507466211043404e151 - 1.0).abs() < 1e-15, "{got}");
    let v = known(t, &[4], &[-2.5, 3.0, f64::INFINITY, f64::NEG_INFINITY]);
    let parts = Ufunc::by_name("modf").unwrap().call(t, &[v.into()]).unwrap();
    let fractions = values(t, parts[0]);
    assert_eq!(fractions, [-0.5, 0.0, 0.0, 0.0]);
    assert!(fractions[3].is_sign_negative());
    near(t, parts[1], &[-2.0, 3.0, f64::INFINITY, f64::NEG_INFINITY]);
}

#[test]
fn derivatives_that_a_formula_would_not_give() {
    let t = &mut Tape::new();
    let low = f64::NEG_INFINITY;
    let rows = known(t, &[3, 2], &[1.0, 1.0, low, low, low, 3.0]);
    let g = slope(t, rows, |t, x| reduce::logsumexp(t, x, Some(&[1]), None, false));
    near(t, g, &[0.5, 0.5, 0.0, 0.0, 0.0, 1.0]);
    let zero = known(t, &[2, 2], &[0.0; 4]);
    for order in [norm::Order::Default, norm::Order::Frobenius, norm::Order::Number(1.0)] {
        let g = slope(t, zero, |t, x| norm::norm(t, x, order, None, false));
        assert_eq!(values(t, g).iter().map(|v| v.abs()).sum::<f64>(), 0.0, "{order:?}");
    }
    let v = known(t, &[5], &[-1.0, 0.0, 0.5, 1.0, 2.0]);
    let g = slope(t, v, |t, x| super::super::choose::clip(t, x.into(), Some(Operand::Int(0)), Some(Operand::Int(1))));
    near(t, g, &[0.0, 1.0, 1.0, 1.0, 0.0]);
    let steps = known(t, &[3], &[-1.0, 0.0, 2.0]);
    let half = known(t, &[3], &[0.5; 3]);
    let g = slope(t, half, |t, h| Ok(call(t, "heaviside", &[steps.into(), h.into()])));
    near(t, g, &[0.0, 1.0, 0.0]);
    let far = known(t, &[4], &[-300.0, -1.0, 0.0, 30.0]);
    let g = slope(t, far, |t, x| Ok(call(t, "log_ndtr", &[x.into()])));
    // φ(x) / Φ(x)
    near(t, g, &[300.00333325926337, 1.525135276160981, (2.0 / std::f64::consts::PI).sqrt(), 1.4736461348785476e-196]);
}

#[test]
fn systems() {
    let t = &mut Tape::new();
    let l = known(t, &[2, 2], &[2.0, 9.0, 1.0, 3.0]);
    let b = known(t, &[2], &[2.0, 7.0]);
    let y = linalg::solve_triangular(t, l.into(), b.into(), true, false, false).unwrap();
    near(t, y, &[1.0, 2.0]);
    let y = linalg::solve_triangular(t, l.into(), b.into(), true, false, true).unwrap();
    near(t, y, &[2.0, 5.0]);
    // a = l lᵀ = [[4, 2], [2, 10]]
    let y = linalg::cho_solve(t, l.into(), true, b.into()).unwrap();
    near(t, y, &[1.0 / 6.0, 2.0 / 3.0]);
    let a = known(t, &[2, 2], &[4.0, 2.0, 2.0, 10.0]);
    let y = linalg::solve(t, a.into(), b.into()).unwrap();
    near(t, y, &[1.0 / 6.0, 2.0 / 3.0]);
    let y = linalg::cholesky(t, a, true).unwrap();
    near(t, y, &[2.0, 1.0, 0.0, 3.0]);
    let y = linalg::matrix_power(t, a, -2).unwrap();
    near(t, y, &[104.0 / 1296.0, -28.0 / 1296.0, -28.0 / 1296.0, 20.0 / 1296.0]);
}
