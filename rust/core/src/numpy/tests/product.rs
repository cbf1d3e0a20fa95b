use super::super::einsum::einsum;
use super::super::norm::{Order, norm};
use super::super::{linalg, product};
use super::*;
use crate::ops::Op;

fn products(t: &Tape) -> usize {
    (0..t.len()).filter(|&i| matches!(t.op(NodeId(i as u32)), Op::MatMul(_))).count()
}

#[test]
fn shapes_of_matmul() {
    let cases: &[(&[usize], &[usize], &[usize])] = &[
        (&[3], &[3], &[]),
        (&[3], &[3, 4], &[4]),
        (&[2, 3], &[3], &[2]),
        (&[5, 2, 3], &[3], &[5, 2]),
        (&[3], &[5, 3, 4], &[5, 4]),
        (&[2, 3], &[3, 4], &[2, 4]),
        (&[5, 2, 3], &[3, 4], &[5, 2, 4]),
        (&[2, 3], &[5, 3, 4], &[5, 2, 4]),
        (&[2, 3], &[5, 3, 1], &[5, 2, 1]),
        (&[6, 1, 2, 3], &[5, 3, 4], &[6, 5, 2, 4]),
        (&[1, 2, 3], &[5, 3, 4], &[5, 2, 4]),
        (&[0, 2, 3], &[3, 4], &[0, 2, 4]),
        (&[2, 0], &[0, 4], &[2, 4]),
    ];
    for (p, q, expected) in cases {
        let t = &mut Tape::new();
        let (a, b) = (float(t, p), float(t, q));
        let y = product::matmul(t, a.into(), b.into());
        assert_eq!(shape_of(t, y), *expected, "{p:?} @ {q:?}");
    }
    let t = &mut Tape::new();
    let (a, b) = (float(t, &[2, 3]), float(t, &[2, 3]));
    fails(product::matmul(t, a.into(), b.into()), "shapes (2, 3) and (2, 3) do not match");
    fails(product::matmul(t, a.into(), Operand::Float(2.0)), "does not have enough dimensions");
}

#[test]
fn dtypes_of_products() {
    let t = &mut Tape::new();
    for (d, e, expected) in [
        (DType::Bool, DType::Bool, DType::Bool),
        (DType::I32, DType::U8, DType::I32),
        (DType::F32, DType::F32, DType::F32),
        (DType::I32, DType::F32, DType::F64),
    ] {
        for (p, q) in [(vec![2], vec![2]), (vec![2, 2], vec![2, 2])] {
            let (a, b) = (array(t, &p, d), array(t, &q, e));
            let y = product::dot(t, a.into(), b.into()).unwrap();
            assert_eq!(t.dtype(y), expected);
        }
    }
    let a = array(t, &[2], DType::F32);
    let y = product::dot(t, a.into(), Operand::Float(2.0)).unwrap();
    assert_eq!(t.dtype(y), DType::F64);
}

#[test]
fn other_products() {
    let t = &mut Tape::new();
    let (a, b, c) = (float(t, &[2, 3]), float(t, &[4, 5, 3, 6]), float(t, &[7, 3]));
    let (u, v) = (float(t, &[2, 3]), float(t, &[4, 1, 3]));
    for (y, to) in [
        (product::dot(t, a.into(), b.into()), vec![2, 4, 5, 6]),
        (product::inner(t, a.into(), c.into()), vec![2, 7]),
        (product::outer(t, a.into(), c.into()), vec![6, 21]),
        (product::tensordot(t, a.into(), b.into(), &[1], &[2]), vec![2, 4, 5, 6]),
        (product::tensordot_n(t, a.into(), c.into(), 0), vec![2, 3, 7, 3]),
        (product::tensordot_n(t, a.into(), a.into(), 2), vec![]),
        (product::kron(t, a.into(), c.into()), vec![14, 9]),
        (product::cross(t, u.into(), v.into(), -1, -1, -1), vec![4, 2, 3]),
        (product::vecdot(t, u.into(), v.into(), -1), vec![4, 2]),
        (product::vdot(t, a.into(), u.into()), vec![]),
    ] {
        assert_eq!(shape_of(t, y), to);
    }
    fails(product::dot(t, a.into(), c.into()), "shapes (2, 3) and (7, 3) not aligned: 3 (dim 1) != 7 (dim 0)");
    fails(product::tensordot_n(t, a.into(), c.into(), 1), "shape-mismatch for sum");
    let w = float(t, &[4]);
    fails(product::cross(t, w.into(), w.into(), -1, -1, -1), "incompatible dimensions for cross product");
}

#[test]
fn chains_multiply_in_the_cheaper_order() {
    let t = &mut Tape::new();
    let (a, b, v) = (float(t, &[50, 40]), float(t, &[40, 60]), float(t, &[60]));
    let y = product::multi_dot(t, &[a.into(), b.into(), v.into()]).unwrap();
    assert_eq!(t.shape(y).as_slice(), [50]);
    // (b v) first: no 50 × 60 product on the way
    assert!((0..t.len()).all(|i| t.shape(NodeId(i as u32)).as_slice() != [50, 60]));
}

#[test]
fn einsums() {
    type Case = (&'static str, &'static [&'static [usize]], &'static [usize]);
    let cases: &[Case] = &[
        ("ij,jk", &[&[2, 3], &[3, 4]], &[2, 4]),
        ("ji", &[&[2, 3]], &[3, 2]),
        ("ij->", &[&[2, 3]], &[]),
        ("ii", &[&[3, 3]], &[]),
        ("ii->i", &[&[3, 3]], &[3]),
        ("i,i", &[&[3], &[3]], &[]),
        ("i,j->ij", &[&[3], &[4]], &[3, 4]),
        ("bij,bjk->bik", &[&[5, 2, 3], &[5, 3, 4]], &[5, 2, 4]),
        ("...ij,...jk->...ik", &[&[5, 2, 3], &[3, 4]], &[5, 2, 4]),
        ("...ij,...jk", &[&[6, 1, 2, 3], &[5, 3, 4]], &[6, 5, 2, 4]),
        ("i...->...", &[&[2, 3]], &[3]),
        ("ij,ij->ij", &[&[1, 3], &[2, 3]], &[2, 3]),
        ("ab,bc,cd,de->ae", &[&[2, 3], &[3, 4], &[4, 5], &[5, 6]], &[2, 6]),
        ("i,ij,j", &[&[2], &[2, 3], &[3]], &[]),
        ("iij,jk->ik", &[&[3, 3, 4], &[4, 2]], &[3, 2]),
        (" i j , j k -> k i ", &[&[2, 3], &[3, 4]], &[4, 2]),
        ("i,->i", &[&[3], &[]], &[3]),
    ];
    for (subscripts, shapes, expected) in cases {
        let t = &mut Tape::new();
        let args: Vec<Operand> = shapes.iter().map(|s| float(t, s).into()).collect();
        let y = einsum(t, subscripts, &args);
        assert_eq!(shape_of(t, y), *expected, "{subscripts}");
    }
    let t = &mut Tape::new();
    let (a, b) = (float(t, &[5, 2, 3]), float(t, &[5, 3, 4]));
    einsum(t, "bij,bjk->bik", &[a.into(), b.into()]).unwrap();
    assert_eq!(products(t), 1);
}

#[test]
fn messages_of_einsum() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3]);
    for (subscripts, n, says) in [
        ("ij,jk", 2, "subscript 'j' has lengths 3 and 2"),
        ("i", 1, "more dimensions (2) than subscripts"),
        ("ijk", 1, "too many subscripts for operand 0"),
        ("ij->k", 1, "output subscript 'k' which never appeared in an input"),
        ("ij->ii", 1, "output subscript 'i' multiple times"),
        ("ij,ij", 1, "fewer operands"),
        ("ij", 2, "more operands"),
        ("i1", 1, "invalid subscript '1'"),
        ("ii", 1, "subscript 'i' has lengths 2 and 3"),
        ("...->", 1, "output has no '...'"),
    ] {
        fails(einsum(t, subscripts, &vec![x.into(); n]), says);
    }
}

#[test]
fn systems() {
    let cases: &[(&[usize], &[usize], &[usize])] = &[
        (&[3, 3], &[3], &[3]),
        (&[3, 3], &[3, 2], &[3, 2]),
        (&[5, 3, 3], &[3], &[5, 3]),
        (&[5, 3, 3], &[3, 2], &[5, 3, 2]),
        (&[3, 3], &[5, 3, 2], &[5, 3, 2]),
        (&[4, 1, 3, 3], &[5, 3, 2], &[4, 5, 3, 2]),
    ];
    for (p, q, expected) in cases {
        let t = &mut Tape::new();
        let (a, b) = (float(t, p), float(t, q));
        let y = linalg::solve(t, a.into(), b.into());
        assert_eq!(shape_of(t, y), *expected, "{p:?}, {q:?}");
        let y = linalg::cho_solve(t, a.into(), true, b.into());
        assert_eq!(shape_of(t, y), *expected, "{p:?}, {q:?}");
    }
    let t = &mut Tape::new();
    let (a, b, i) = (float(t, &[2, 3, 3]), float(t, &[2, 3]), array(t, &[3, 3], DType::I64));
    fails(linalg::solve(t, a.into(), b.into()), "b is a vector only if it has one dimension");
    let e = fails(linalg::solve(t, b.into(), b.into()), "must be square, got shape (2, 3)");
    assert!(matches!(e, Error::LinAlg(_)));
    let v = float(t, &[3]);
    fails(linalg::inv(t, v), "1-dimensional array given. Array must be at least two-dimensional");
    let y = linalg::inv(t, i).unwrap();
    assert_eq!(t.dtype(y), DType::F64);
    for n in [-3, 0, 1, 5] {
        let y = linalg::matrix_power(t, i, n).unwrap();
        assert_eq!((t.shape(y).to_vec(), t.dtype(y)), (vec![3, 3], if n < 0 { DType::F64 } else { DType::I64 }));
    }
    let y = linalg::det(t, a);
    assert_eq!(shape_of(t, y), [2]);
}

#[test]
fn norms() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3, 4]);
    for (order, axes, keepdims, to) in [
        (Order::Default, None, false, vec![]),
        (Order::Default, None, true, vec![1, 1, 1]),
        (Order::Number(3.0), Some(&[1][..]), false, vec![2, 4]),
        (Order::Number(f64::INFINITY), Some(&[-1][..]), true, vec![2, 3, 1]),
        (Order::Frobenius, Some(&[0, 2][..]), false, vec![3]),
        (Order::Number(1.0), Some(&[2, 0][..]), true, vec![1, 3, 1]),
        (Order::Number(f64::NEG_INFINITY), Some(&[2, 0][..]), false, vec![3]),
    ] {
        let y = norm(t, x, order, axes, keepdims);
        assert_eq!(shape_of(t, y), to, "{order:?} {axes:?}");
    }
    fails(norm(t, x, Order::Number(2.0), None, false), "improper number of dimensions to norm");
    fails(norm(t, x, Order::Number(5.0), Some(&[0, 1]), false), "invalid norm order 5 for matrices");
    fails(norm(t, x, Order::Frobenius, Some(&[0]), false), "invalid norm order");
    fails(norm(t, x, Order::Frobenius, Some(&[0, 0]), false), "duplicate axes");
}
