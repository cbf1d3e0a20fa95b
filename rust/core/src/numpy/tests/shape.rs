use super::super::join::{self, Cuts};
use super::super::operand::integers;
use super::super::pad::{self, PadMode};
use super::super::{choose, diagonal, shape, sort};
use super::*;

#[test]
fn reshapes() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3]);
    let y = shape::reshape(t, x, &[3, -1]);
    assert_eq!(shape_of(t, y), [3, 2]);
    let y = shape::reshape(t, x, &[-1]);
    assert_eq!(shape_of(t, y), [6]);
    fails(shape::reshape(t, x, &[4, -1]), "cannot reshape array of size 6 into shape (4, -1)");
    fails(shape::reshape(t, x, &[7]), "cannot reshape array of size 6 into shape (7,)");
    fails(shape::reshape(t, x, &[-1, -1]), "can only specify one unknown dimension");
    let empty = float(t, &[0, 3]);
    let y = shape::reshape(t, empty, &[-1, 3]);
    assert_eq!(shape_of(t, y), [0, 3]);
    fails(shape::reshape(t, empty, &[-1, 0]), "cannot reshape array of size 0");
}

#[test]
fn axes_move() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3, 4, 5]);
    let y = shape::transpose(t, x, None);
    assert_eq!(shape_of(t, y), [5, 4, 3, 2]);
    let y = shape::transpose(t, x, Some(&[1, 0, -1, 2]));
    assert_eq!(shape_of(t, y), [3, 2, 5, 4]);
    let y = shape::moveaxis(t, x, &[0, -1], &[-1, 0]);
    assert_eq!(shape_of(t, y), [5, 3, 4, 2]);
    let y = shape::swapaxes(t, x, 0, -1);
    assert_eq!(shape_of(t, y), [5, 3, 4, 2]);
    assert_eq!(shape::rollaxis_permutation(4, 3, 1).unwrap().as_slice(), [0, 3, 1, 2]);
    fails(shape::transpose(t, x, Some(&[0, 0, 1, 2])), "duplicate value");
    fails(shape::transpose(t, x, Some(&[0])), "don't match");
    let e = fails(shape::swapaxes(t, x, 0, 4), "axis 4 is out of bounds for array of dimension 4");
    assert!(matches!(e, Error::Axis(_)));
}

#[test]
fn axes_of_length_one() {
    let t = &mut Tape::new();
    let x = float(t, &[1, 3, 1]);
    let y = shape::squeeze(t, x, None);
    assert_eq!(shape_of(t, y), [3]);
    let y = shape::squeeze(t, x, Some(&[-1]));
    assert_eq!(shape_of(t, y), [1, 3]);
    fails(shape::squeeze(t, x, Some(&[1])), "size not equal to one");
    let y = shape::expand_dims(t, x, &[0, -1]);
    assert_eq!(shape_of(t, y), [1, 1, 3, 1, 1]);
    fails(shape::expand_dims(t, x, &[5]), "axis 5 is out of bounds for array of dimension 4");
    let v = float(t, &[4]);
    for (rank, to) in [(1, vec![4]), (2, vec![1, 4]), (3, vec![1, 4, 1])] {
        let y = shape::atleast(t, v, rank);
        assert_eq!(shape_of(t, y), to);
    }
    let m = float(t, &[4, 5]);
    let y = shape::atleast(t, m, 3);
    assert_eq!(shape_of(t, y), [4, 5, 1]);
}

#[test]
fn joins() {
    let t = &mut Tape::new();
    let (x, y) = (float(t, &[2, 3]), array(t, &[2, 1], DType::I32));
    let z = join::concatenate(t, &[x.into(), y.into()], Some(-1)).unwrap();
    assert_eq!((t.shape(z).to_vec(), t.dtype(z)), (vec![2, 4], DType::F64));
    let z = join::concatenate(t, &[x.into(), y.into()], None);
    assert_eq!(shape_of(t, z), [8]);
    fails(join::concatenate(t, &[x.into(), y.into()], Some(0)), "along dimension 1, the array at index 0 has size 3");
    fails(join::concatenate(t, &[], Some(0)), "need at least one array to concatenate");
    fails(join::concatenate(t, &[Operand::Int(1)], Some(0)), "zero-dimensional");
    fails(join::stack(t, &[x.into(), y.into()], 0), "must have the same shape");
    // Python numbers become arrays first, so they are not weak here
    let s = array(t, &[], DType::F32);
    let z = join::stack(t, &[s.into(), Operand::Float(1.0)], 0).unwrap();
    assert_eq!((t.shape(z).to_vec(), t.dtype(z)), (vec![2], DType::F64));
    let (u, v) = (float(t, &[3]), float(t, &[3]));
    let uv = [u.into(), v.into()];
    for (z, to) in [
        (join::vstack(t, &uv), vec![2, 3]),
        (join::hstack(t, &uv), vec![6]),
        (join::dstack(t, &uv), vec![1, 3, 2]),
        (join::column_stack(t, &uv), vec![3, 2]),
        (join::stack(t, &uv, -1), vec![3, 2]),
    ] {
        assert_eq!(shape_of(t, z), to);
    }
}

#[test]
fn splits() {
    let lengths = |n: usize, cuts: Cuts, equal: bool| {
        join::split_windows(&[n], &cuts, 0, equal)
            .map(|ws| ws.iter().map(|(w, s)| (w.start[0], s[0])).collect::<Vec<_>>())
    };
    assert_eq!(lengths(6, Cuts::Into(3), true), Ok(vec![(0, 2), (2, 2), (4, 2)]));
    assert_eq!(lengths(7, Cuts::Into(3), false), Ok(vec![(0, 3), (3, 2), (5, 2)]));
    assert_eq!(lengths(6, Cuts::At(vec![2, 2, -1, 9]), true), Ok(vec![(0, 2), (0, 0), (2, 3), (5, 1), (0, 0)]));
    fails(lengths(7, Cuts::Into(3), true), "array split does not result in an equal division");
    fails(lengths(7, Cuts::Into(0), false), "number sections must be larger than 0");
}

#[test]
fn repeats_and_pads() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3]);
    for (y, to) in [
        (join::tile(t, x, &[2, 1, 2]), vec![2, 2, 6]),
        (join::tile(t, x, &[3]), vec![2, 9]),
        (join::tile(t, x, &[]), vec![2, 3]),
        (join::repeat(t, x, &[2], None), vec![12]),
        (join::repeat(t, x, &[1, 0, 3], Some(1)), vec![2, 4]),
        (pad::pad(t, x, &[[1, 2], [0, 0]], &PadMode::Wrap), vec![5, 3]),
        (pad::pad(t, x, &[[0, 0], [7, 1]], &PadMode::Reflect), vec![2, 11]),
        (pad::pad(t, x, &[[1, 2], [3, 4]], &PadMode::Constant(vec![[Operand::Int(0); 2]; 2])), vec![5, 10]),
        (pad::pad(t, x, &[[1, 0], [0, 1]], &PadMode::Constant(vec![[Operand::Float(2.5); 2]; 2])), vec![3, 4]),
        (shape::roll(t, x, &[1, -5], Some(&[0, 1])), vec![2, 3]),
        (shape::roll(t, x, &[4], None), vec![2, 3]),
        (shape::rot90(t, x, 1, (0, 1)), vec![3, 2]),
        (shape::flip(t, x, None), vec![2, 3]),
    ] {
        assert_eq!(shape_of(t, y), to);
    }
    fails(join::repeat(t, x, &[1, 2], Some(1)), "2 counts do not match axis 1 of shape (2, 3)");
    fails(join::repeat(t, x, &[-1], None), "may not contain negative values");
    let empty = float(t, &[0]);
    fails(pad::pad(t, empty, &[[1, 1]], &PadMode::Edge), "can't extend empty axis 0");
    fails(join::tile(t, x, &[usize::MAX / 8]), "too large");
}

#[test]
fn diagonals() {
    let t = &mut Tape::new();
    let (v, m) = (float(t, &[3]), float(t, &[2, 3, 4]));
    for (y, to) in [
        (diagonal::diag(t, v, 0), vec![3, 3]),
        (diagonal::diag(t, v, -2), vec![5, 5]),
        (diagonal::diagonal(t, m, 1, 1, 2), vec![2, 3]),
        (diagonal::diagonal(t, m, -1, 2, 0), vec![3, 2]),
        (diagonal::diagonal(t, m, 9, 0, 1), vec![4, 0]),
        (diagonal::trace(t, m, 0, 0, 1), vec![4]),
        (diagonal::tril(t, m, 0), vec![2, 3, 4]),
        (diagonal::triu(t, v, 1), vec![3, 3]),
    ] {
        assert_eq!(shape_of(t, y), to);
    }
    fails(diagonal::diag(t, m, 0), "must be 1- or 2-d");
    fails(diagonal::diag(t, v, i64::MIN), "too large");
    fails(diagonal::diagonal(t, m, 0, 1, -2), "cannot be the same");
}

#[test]
fn choices() {
    let t = &mut Tape::new();
    let (c, x) = (array(t, &[4, 1], DType::Bool), array(t, &[3], DType::F32));
    let y = choose::where3(t, c.into(), x.into(), Operand::Float(0.0)).unwrap();
    assert_eq!((t.shape(y).to_vec(), t.dtype(y)), (vec![4, 3], DType::F32));
    let y = choose::select(t, &[c.into(), c.into()], &[x.into(), Operand::Int(2)], Operand::Int(0)).unwrap();
    assert_eq!((t.shape(y).to_vec(), t.dtype(y)), (vec![4, 3], DType::F32));
    fails(choose::select(t, &[], &[], Operand::Int(0)), "empty condition list");
    fails(choose::select(t, &[x.into()], &[x.into()], Operand::Int(0)), "should be boolean ndarray");
    let u = array(t, &[2], DType::U8);
    let y = choose::clip(t, u.into(), Some(Operand::Int(-1)), Some(Operand::Int(300)));
    assert_eq!(y, Ok(u));
    let y = choose::clip(t, u.into(), Some(Operand::Float(0.5)), None).unwrap();
    assert_eq!(t.dtype(y), DType::F64);
    fails(choose::clip(t, u.into(), Some(Operand::Int(300)), None), "out of bounds for uint8");
}

#[test]
fn places() {
    let t = &mut Tape::new();
    let x = float(t, &[2, 3]);
    let i = integers(t, &[0, 2, -1, 1]).unwrap();
    let i22 = t.reshape(i, &[2, 2]).unwrap();
    for (y, to) in [
        (sort::take(t, x, i22.into(), Some(1), sort::Mode::Raise), vec![2, 2, 2]),
        (sort::take(t, x, i22.into(), None, sort::Mode::Clip), vec![2, 2]),
        (sort::take_along_axis(t, x, i22, Some(-1)), vec![2, 2]),
        (sort::sort(t, x, Some(0)), vec![2, 3]),
        (sort::argsort(t, x, None), vec![6]),
    ] {
        assert_eq!(shape_of(t, y), to);
    }
    fails(sort::take(t, x, i.into(), Some(0), sort::Mode::Raise), "index 2 is out of bounds for axis 0 with size 2");
    fails(sort::take_along_axis(t, x, i, Some(1)), "same number of dimensions");
    let (xp, fp) = (float(t, &[3]), float(t, &[2]));
    fails(sort::interp(t, Operand::Float(0.5), xp, fp, None, None), "vectors of the same length");
    let y = sort::interp(t, x.into(), xp, xp, None, None);
    assert_eq!(shape_of(t, y), [2, 3]);
}
