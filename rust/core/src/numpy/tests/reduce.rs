use super::super::{difference, reduce, statistics};
use super::*;
use DType::{Bool, F32, F64, I32, I64, U8};

#[test]
fn shapes_and_axes() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3, 4]);
    for (axes, keepdims, to) in [
        (None, false, vec![]),
        (None, true, vec![1, 1, 1]),
        (Some(&[-1, 0][..]), false, vec![3]),
        (Some(&[1][..]), true, vec![2, 1, 4]),
        (Some(&[][..]), false, vec![2, 3, 4]),
    ] {
        for y in [
            reduce::sum(t, x, axes, keepdims),
            reduce::max(t, x, axes, keepdims),
            reduce::any(t, x, axes, keepdims),
            reduce::logsumexp(t, x, axes, None, keepdims),
            statistics::mean(t, x, axes, keepdims),
            statistics::std(t, x, axes, 1.0, keepdims),
            statistics::median(t, x, axes, keepdims),
            statistics::nanmean(t, x, axes, keepdims),
            statistics::quantile(t, x, &[0.3], false, statistics::Method::Linear, axes, keepdims),
        ] {
            assert_eq!(shape_of(t, y), to, "{axes:?} {keepdims}");
        }
    }
    let e = fails(reduce::sum(t, x, Some(&[3]), false), "axis 3 is out of bounds for array of dimension 3");
    assert!(matches!(e, Error::Axis(_)));
    fails(reduce::sum(t, x, Some(&[0, -3]), false), "duplicate value in 'axis'");
    let y = statistics::quantile(t, x, &[0.1, 0.9], true, statistics::Method::Linear, Some(&[0]), false);
    assert_eq!(shape_of(t, y), [2, 3, 4]);
    fails(
        statistics::quantile(t, x, &[1.5], false, statistics::Method::Linear, None, false),
        "must be in the range [0, 1]",
    );
}

#[test]
fn dtypes() {
    type Function = fn(&mut Tape, NodeId) -> Result<NodeId>;
    let table: &[(&str, Function, [DType; 4])] = &[
        ("sum", |t, x| reduce::sum(t, x, None, false), [I64, I64, I64, F32]),
        ("prod", |t, x| reduce::prod(t, x, None, false), [I64, I64, I64, F32]),
        ("cumsum", |t, x| reduce::cumsum(t, x, None), [I64, I64, I64, F32]),
        ("cumprod", |t, x| reduce::cumprod(t, x, None), [I64, I64, I64, F32]),
        ("max", |t, x| reduce::max(t, x, None, false), [Bool, U8, I32, F32]),
        ("any", |t, x| reduce::any(t, x, None, false), [Bool; 4]),
        ("argmax", |t, x| reduce::argmax(t, x, None, false), [I64; 4]),
        ("mean", |t, x| statistics::mean(t, x, None, false), [F64, F64, F64, F32]),
        ("var", |t, x| statistics::var(t, x, None, 0.0, false), [F64, F64, F64, F32]),
        ("median", |t, x| statistics::median(t, x, None, false), [F64, F64, F64, F32]),
        ("diff", |t, x| difference::diff(t, x, 1, -1), [Bool, U8, I32, F32]),
        ("softmax", |t, x| reduce::softmax(t, x, None), [F64, F64, F64, F32]),
        ("count_nonzero", |t, x| reduce::count_nonzero(t, x, None, false), [I64; 4]),
    ];
    for (name, f, expected) in table {
        for (d, e) in [Bool, U8, I32, F32].into_iter().zip(expected) {
            let t = &mut Tape::new();
            let x = array(t, &[3], d);
            let y = f(t, x);
            if d == U8 && ["sum", "prod", "cumsum", "cumprod"].contains(name) {
                fails(y, "of uint8 is uint64 in NumPy");
                continue;
            }
            assert_eq!(t.dtype(y.unwrap()), *e, "{name} of {d}");
        }
    }
}

#[test]
fn empty_arrays() {
    let t = &mut Tape::new();
    let x = float(t, &[0, 3]);
    fails(reduce::max(t, x, None, false), "reduction operation maximum which has no identity");
    fails(reduce::min(t, x, Some(&[0]), false), "reduction operation minimum which has no identity");
    fails(reduce::argmin(t, x, Some(0), false), "attempt to get argmin of an empty sequence");
    let y = reduce::max(t, x, Some(&[1]), false);
    assert_eq!(shape_of(t, y), [0]);
    let y = reduce::logsumexp(t, x, None, None, false).unwrap();
    assert_eq!(t.literal_value(y), Some(f64::NEG_INFINITY));
    let y = statistics::median(t, x, None, false).unwrap();
    assert!(t.literal_value(y).is_some_and(f64::is_nan));
}

#[test]
fn positions() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3]);
    for (axis, keepdims, to) in [(None, false, vec![]), (None, true, vec![1, 1]), (Some(-1), true, vec![2, 1])] {
        let y = reduce::argmax(t, x, axis, keepdims);
        assert_eq!(shape_of(t, y), to);
    }
}

#[test]
fn weighted_averages() {
    let t = &mut Tape::new();
    let (x, w, full) = (float(t, &[2, 3]), float(t, &[3]), float(t, &[2, 3]));
    let [y, total] = statistics::average(t, x, Some(&[1]), Some(w.into()), false).unwrap();
    assert_eq!((t.shape(y).to_vec(), t.shape(total).to_vec()), (vec![2], vec![2]));
    let [y, _] = statistics::average(t, x, None, Some(full.into()), true).unwrap();
    assert_eq!(t.shape(y).as_slice(), [1, 1]);
    let e = fails(statistics::average(t, x, None, Some(w.into()), false), "axis must be specified");
    assert!(matches!(e, Error::Type(_)));
    fails(statistics::average(t, x, Some(&[0]), Some(w.into()), false), "must be consistent with shape (2, 3)");
}

#[test]
fn differences() {
    let t = &mut Tape::new();
    let (y, x) = (float(t, &[2, 5]), float(t, &[5]));
    for (z, to) in [
        (difference::diff(t, y, 2, -1), vec![2, 3]),
        (difference::diff(t, y, 9, 0), vec![0, 5]),
        (difference::trapezoid(t, y, Some(x), Operand::Float(1.0), -1), vec![2]),
        (difference::trapezoid(t, y, None, Operand::Float(0.5), 0), vec![5]),
        (difference::gradient(t, y, x.into(), 1, 2), vec![2, 5]),
        (difference::gradient(t, y, Operand::Float(0.1), 0, 1), vec![2, 5]),
    ] {
        assert_eq!(shape_of(t, z), to);
    }
    fails(difference::diff(t, y, -1, 0), "order must be non-negative");
    fails(difference::gradient(t, y, Operand::Int(1), 0, 2), "at least 3 elements are required");
    fails(difference::gradient(t, y, x.into(), 0, 1), "spacing of shape (5,) does not match axis 0");
}
