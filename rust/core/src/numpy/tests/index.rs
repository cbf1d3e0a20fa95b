use super::super::index::{self, Index, ViewStep, basic_view, resolve_slice};
use super::super::operand::integers;
use super::*;
use crate::ops::{Op, Windowed};
use crate::tape::Value;
use Index::{Ellipsis, Int, NewAxis};

const ALL: Index = Index::Slice { start: None, stop: None, step: None };

fn slice(start: i64, stop: i64, step: i64) -> Index {
    Index::Slice { start: Some(start), stop: Some(stop), step: Some(step) }
}

fn places(t: &mut Tape, shape: &[usize]) -> Index {
    let n = shape.iter().product();
    let x = integers(t, &vec![0; n]).unwrap();
    Index::Array(t.reshape(x, shape).unwrap())
}

fn mask(t: &mut Tape, shape: &[usize], count: usize) -> Index {
    Index::Bool { mask: array(t, shape, DType::Bool), count: Some(count) }
}

#[test]
fn slices_clip_as_in_python() {
    // (start, stop, step, n) against len(range(n)[start:stop:step]) and its first element
    let cases = [
        ((None, None, None), 5, (0, 1, 5)),
        ((Some(-2), None, None), 5, (3, 1, 2)),
        ((Some(7), None, None), 5, (0, 1, 0)),
        ((None, None, Some(-1)), 5, (4, -1, 5)),
        ((Some(3), Some(-9), Some(-2)), 5, (3, -2, 2)),
        ((Some(1), Some(10), Some(3)), 5, (1, 3, 2)),
        ((Some(-9), Some(2), None), 5, (0, 1, 2)),
        ((None, None, Some(i64::MIN)), 5, (4, 1, 1)),
        ((Some(i64::MIN), Some(i64::MAX), Some(i64::MAX)), 5, (0, 1, 1)),
        ((None, None, Some(-1)), 0, (0, 1, 0)),
    ];
    for ((start, stop, step), n, expected) in cases {
        assert_eq!(resolve_slice(start, stop, step, n), Ok(expected), "{start:?}:{stop:?}:{step:?} of {n}");
    }
    fails(resolve_slice(None, None, Some(0), 3), "slice step cannot be zero");
}

#[test]
fn shapes_of_mixed_expressions() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3, 4]);
    let (five, two_five) = (places(t, &[5]), places(t, &[2, 5]));
    let m = mask(t, &[2, 3], 4);
    let (yes, m3) = (mask(t, &[], 1), mask(t, &[3], 2));
    let cases: Vec<(Vec<Index>, Vec<usize>)> = vec![
        (vec![], vec![2, 3, 4]),
        (vec![Int(-1)], vec![3, 4]),
        (vec![Int(0), Int(1), Int(2)], vec![]),
        (vec![Ellipsis, Int(0)], vec![2, 3]),
        (vec![NewAxis, Ellipsis, NewAxis, Int(0)], vec![1, 2, 3, 1]),
        (vec![ALL, slice(2, 0, -1)], vec![2, 2, 4]),
        (vec![slice(5, 9, 1)], vec![0, 3, 4]),
        (vec![five], vec![5, 3, 4]),
        (vec![ALL, five], vec![2, 5, 4]),
        (vec![ALL, ALL, two_five], vec![2, 3, 2, 5]),
        (vec![ALL, five, Ellipsis, five], vec![5, 2]),
        (vec![five, Ellipsis, five], vec![5, 3]),
        (vec![Int(0), ALL, five], vec![5, 3]),
        (vec![ALL, Int(0), five], vec![2, 5]),
        (vec![five, NewAxis, two_five], vec![2, 5, 1, 4]),
        (vec![ALL, five, two_five], vec![2, 2, 5]),
        (vec![slice(0, 1, 1), five, Int(2)], vec![1, 5]),
        (vec![m], vec![4, 4]),
        (vec![m, Int(0)], vec![4]),
        (vec![yes], vec![1, 2, 3, 4]),
        (vec![ALL, yes, five], vec![2, 5, 4]),
        (vec![ALL, m3], vec![2, 2, 4]),
        (vec![ALL, m3, NewAxis], vec![2, 2, 1, 4]),
    ];
    for (expression, expected) in cases {
        let y = index::get(t, x, &expression);
        assert_eq!(shape_of(t, y), expected, "{expression:?}");
        // the same elements can be written, and added to
        let v = float(t, &expected);
        for y in [index::set(t, x, &expression, v), index::add_at(t, x, &expression, v)] {
            assert_eq!(shape_of(t, y), [2, 3, 4], "{expression:?}");
        }
        let y = index::set(t, x, &expression, Operand::Float(0.5));
        assert_eq!(shape_of(t, y), [2, 3, 4], "{expression:?}");
    }
}

#[test]
fn views_are_a_slice_and_a_reshape() {
    let steps = basic_view(&[4, 5], &[Int(1), slice(4, 0, -2)]).unwrap();
    let [ViewStep::Slice(w, piece), ViewStep::Reshape(to)] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((w.start.as_slice(), w.step.as_slice()), ([1, 4].as_slice(), [1, -2].as_slice()));
    assert_eq!((piece.as_slice(), to.as_slice()), ([1, 2].as_slice(), [2].as_slice()));
    assert_eq!(basic_view(&[4, 5], &[Ellipsis]), Ok(vec![]));
    assert_eq!(basic_view(&[4, 5], &[slice(0, 4, 1), ALL]), Ok(vec![]));
    assert!(matches!(basic_view(&[4, 1], &[ALL, Int(0)]).unwrap().as_slice(), [ViewStep::Reshape(_)]));
}

#[test]
fn bounds() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3, 4]);
    fails(index::get(t, x, &[Int(2)]), "index 2 is out of bounds for axis 0 with size 2");
    fails(index::get(t, x, &[ALL, Int(-4)]), "index -4 is out of bounds for axis 1 with size 3");
    fails(index::get(t, x, &[Int(0); 4]), "too many indices for array: array is 3-dimensional, but 4 were indexed");
    fails(index::get(t, x, &[Ellipsis, Ellipsis]), "an index can only have a single ellipsis ('...')");
    let far = integers(t, &[0, -7]).unwrap();
    let e = fails(index::get(t, x, &[ALL, Index::Array(far)]), "index -7 is out of bounds for axis 1 with size 3");
    assert!(matches!(e, Error::Index(_)));
    let (two, three) = (places(t, &[2]), places(t, &[3]));
    fails(
        index::get(t, x, &[two, three]),
        "shape mismatch: indexing arrays could not be broadcast together with shapes (2,) (3,)",
    );
    let m = mask(t, &[2, 2], 1);
    fails(
        index::get(t, x, &[m]),
        "boolean index did not match indexed array along axis 1; size of axis is 3 but size of corresponding boolean axis is 2",
    );
    let f = Index::Array(float(t, &[1]));
    fails(index::get(t, x, &[f]), "must be of integer (or boolean) type");
    let v = float(t, &[3]);
    let e = fails(
        index::set(t, x, &[Int(0), Int(0), slice(0, 2, 1)], v),
        "could not broadcast input array from shape (3,) into shape (2,)",
    );
    assert!(matches!(e, Error::Value(_)));
    // leading axes of length 1 may be too many
    let v = float(t, &[1, 1, 1, 4]);
    assert!(index::set(t, x, &[Int(0), Int(0)], v).is_ok());
}

#[test]
fn a_whole_window_needs_no_node() {
    let t = &mut Tape::new();
    let x = float(t, &[3]);
    assert_eq!(index::get(t, x, &[ALL]), Ok(x));
    let v = float(t, &[3]);
    assert_eq!(index::set(t, x, &[Ellipsis], v), Ok(v));
    let y = index::get(t, x, &[slice(0, 2, 1)]).unwrap();
    assert!(matches!(t.op(y), Op::Windowed(Windowed::Slice(_))));
}

#[test]
fn masks_with_a_number_choose() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3]);
    let m = Index::Bool { mask: array(t, &[2], DType::Bool), count: None };
    let zero = Operand::Int(0);
    assert!(!index::set_needs_counts(t, &[m], zero));
    assert!(!index::set_needs_counts(t, &[m, ALL], zero));
    let y = index::set(t, x, &[m], zero).unwrap();
    assert!(matches!(t.op(y), Op::Select(_)));
    let v = float(t, &[3]);
    assert!(index::set_needs_counts(t, &[m], v));
    assert!(index::set_needs_counts(t, &[m, Int(0)], zero));
    fails(index::set(t, x, &[m], v), "use np.where");
    fails(index::get(t, x, &[m]), "use np.where");
}

#[test]
fn assigned_numbers_take_the_dtype_of_the_array() {
    let t = &mut Tape::new();
    let x = array(t, &[3], DType::I32);
    let y = index::set(t, x, &[Int(0)], Operand::Float(2.7)).unwrap();
    assert_eq!(t.dtype(y), DType::I32);
    let known = t.input(t.input(y, 1), 0);
    assert!(matches!(t.node(known).value, Some(Value::Scalar(2))));
    fails(index::set(t, x, &[Int(0)], Operand::Float(f64::NAN)), "cannot convert float NaN to int32");
    fails(index::set(t, x, &[Int(0)], Operand::Int(1 << 40)), "out of bounds for int32");
}
