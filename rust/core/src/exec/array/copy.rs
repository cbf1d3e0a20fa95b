//! Copies between layouts: transposes, slices, flips, broadcasts, pieces of a whole.

use super::{expect, inside};
use crate::tape::{DType, Shape, shape};
use crate::{Error, Result};
use smallvec::SmallVec;
use std::ops::Range;

/// Where the elements of an array of that shape lie in a buffer, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Strided {
    pub shape: Shape,
    pub strides: SmallVec<[isize; 4]>,
    pub offset: isize,
}

impl Strided {
    /// C order from the buffer's start.
    pub fn contiguous(of: &[usize], item: usize) -> Strided {
        let mut strides = shape::strides(of);
        strides.iter_mut().for_each(|s| *s *= item as isize);
        Strided { shape: of.into(), strides, offset: 0 }
    }

    /// The window of shape `piece` in a C-ordered array: element i along an axis is element start + i·step.
    pub fn window(whole: &[usize], item: usize, start: &[i64], step: &[i64], piece: &[usize]) -> Strided {
        let mut w = Strided::contiguous(whole, item);
        for i in 0..whole.len() {
            w.offset += w.strides[i] * start[i] as isize;
            w.strides[i] *= step[i] as isize;
        }
        w.shape = piece.into();
        w
    }

    /// Axis i is axis `perm[i]` of a C-ordered array.
    pub fn transposed(whole: &[usize], item: usize, perm: &[u8]) -> Strided {
        let c = Strided::contiguous(whole, item);
        Strided {
            shape: perm.iter().map(|&p| whole[p as usize]).collect(),
            strides: perm.iter().map(|&p| c.strides[p as usize]).collect(),
            offset: 0,
        }
    }

    /// A C-ordered array spread to a larger shape by NumPy's rule.
    pub fn broadcast(from: &[usize], item: usize, to: &[usize]) -> Strided {
        let c = Strided::contiguous(from, item);
        let new = to.len() - from.len();
        let strides =
            (0..to.len()).map(|i| if i < new || from[i - new] == 1 { 0 } else { c.strides[i - new] }).collect();
        Strided { shape: to.into(), strides, offset: 0 }
    }

    /// The number of rows along the outermost axis; an array without axes is one row.
    pub fn outer(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    fn rows(&self, rows: &Range<usize>) -> Result<Strided> {
        inside("copy", rows, self.outer())?;
        let mut part = self.clone();
        if !part.shape.is_empty() {
            part.offset += part.strides[0] * rows.start as isize;
            part.shape[0] = rows.len();
        } else if rows.is_empty() {
            part.shape.push(0);
            part.strides.push(0);
        }
        Ok(part)
    }

    /// Fails unless every element lies inside a buffer of so many bytes.
    fn check(&self, item: usize, bytes: usize) -> Result<()> {
        if self.strides.len() != self.shape.len() {
            return Err(Error::Internal(format!(
                "{} strides for shape {}",
                self.strides.len(),
                shape::show(&self.shape)
            )));
        }
        if self.shape.contains(&0) {
            return Ok(());
        }
        let (mut low, mut high) = (self.offset, self.offset + item as isize);
        for (&n, &s) in self.shape.iter().zip(&self.strides) {
            let reach = s * (n as isize - 1);
            if reach < 0 { low += reach } else { high += reach }
        }
        if low < 0 || high > bytes as isize {
            return Err(Error::Internal(format!("a copy reaches bytes {low}..{high} of a buffer of {bytes}")));
        }
        Ok(())
    }

    /// Fails where two elements share bytes through a stride of 0.
    fn check_distinct(&self) -> Result<()> {
        if self.shape.iter().zip(&self.strides).any(|(&n, &s)| n > 1 && s == 0) {
            return Err(Error::Internal("a copy writes one element several times".into()));
        }
        Ok(())
    }
}

/// Gathers the outer `rows` of a strided array into `dst`, which holds just those rows in C order.
pub fn read(item: usize, src: &[u8], from: &Strided, dst: &mut [u8], rows: Range<usize>) -> Result<()> {
    let from = from.rows(&rows)?;
    let to = Strided::contiguous(&from.shape, item);
    expect("copy", dst.len(), shape::size(&from.shape) * item)?;
    copy(item, src, &from, dst, &to)
}

/// Writes a C-ordered array into a strided part of `dst`.
pub fn write(item: usize, src: &[u8], dst: &mut [u8], to: &Strided) -> Result<()> {
    expect("copy", src.len(), shape::size(&to.shape) * item)?;
    copy(item, src, &Strided::contiguous(&to.shape, item), dst, to)
}

/// Adds a C-ordered array to a strided part of `dst`: integers wrap, bool takes `or`.
pub fn add(dtype: DType, src: &[u8], dst: &mut [u8], to: &Strided) -> Result<()> {
    let item = dtype.size();
    expect("copy", src.len(), shape::size(&to.shape) * item)?;
    let from = Strided::contiguous(&to.shape, item);
    match dtype {
        DType::Bool => run::<u8, Or>(src, &from, dst, to),
        DType::U8 => run::<u8, Add>(src, &from, dst, to),
        DType::I32 => run::<i32, Add>(src, &from, dst, to),
        DType::I64 => run::<i64, Add>(src, &from, dst, to),
        DType::F32 => run::<f32, Add>(src, &from, dst, to),
        DType::F64 => run::<f64, Add>(src, &from, dst, to),
        DType::C64 | DType::C128 => Err(Error::Type(format!("adding a piece to an array is not defined for {dtype}"))),
    }
}

/// Copies elements of `item` bytes between two layouts of one shape.
pub fn copy(item: usize, src: &[u8], from: &Strided, dst: &mut [u8], to: &Strided) -> Result<()> {
    match item {
        1 => run::<u8, Set>(src, from, dst, to),
        4 => run::<u32, Set>(src, from, dst, to),
        8 => run::<u64, Set>(src, from, dst, to),
        16 => run::<u128, Set>(src, from, dst, to),
        _ => Err(Error::Internal(format!("a copy of elements of {item} bytes"))),
    }
}

/// What happens to the element at the destination.
trait Put<T: Copy> {
    fn put(old: T, new: T) -> T;
    /// Whether the old value is irrelevant.
    const OVERWRITES: bool;
}

struct Set;
struct Add;
struct Or;

impl<T: Copy> Put<T> for Set {
    const OVERWRITES: bool = true;
    #[inline(always)]
    fn put(_: T, new: T) -> T {
        new
    }
}

impl Put<u8> for Or {
    const OVERWRITES: bool = false;
    #[inline(always)]
    fn put(old: u8, new: u8) -> u8 {
        ((old | new) != 0) as u8
    }
}

macro_rules! add {
    ($($t:ty: |$a:ident, $b:ident| $sum:expr;)*) => {$(
        impl Put<$t> for Add {
            const OVERWRITES: bool = false;
            #[inline(always)]
            fn put($a: $t, $b: $t) -> $t {
                $sum
            }
        }
    )*};
}

add! {
    u8: |a, b| a.wrapping_add(b);
    i32: |a, b| a.wrapping_add(b);
    i64: |a, b| a.wrapping_add(b);
    f32: |a, b| a + b;
    f64: |a, b| a + b;
}

/// An axis of a copy: its length and what a step means at either end.
#[derive(Clone, Copy, Debug)]
struct Axis {
    n: usize,
    dst: isize,
    src: isize,
}

const NO_AXIS: Axis = Axis { n: 1, dst: 0, src: 0 };

fn run<T: Copy, P: Put<T>>(src: &[u8], from: &Strided, dst: &mut [u8], to: &Strided) -> Result<()> {
    if from.shape != to.shape {
        return Err(Error::Internal(format!(
            "a copy from shape {} to shape {}",
            shape::show(&from.shape),
            shape::show(&to.shape)
        )));
    }
    from.check(size_of::<T>(), src.len())?;
    to.check(size_of::<T>(), dst.len())?;
    to.check_distinct()?;
    if from.shape.contains(&0) {
        return Ok(());
    }
    let mut axes = merged(from, to);
    // The innermost axis is the destination's. Where the source runs along another one, that comes next to it.
    let inner = axes.pop().unwrap_or(NO_AXIS);
    let mut second = NO_AXIS;
    if let Some(k) = (0..axes.len()).min_by_key(|&k| (axes[k].src.unsigned_abs(), axes.len() - k)) {
        let along = if axes[k].src.unsigned_abs() < inner.src.unsigned_abs() { k } else { axes.len() - 1 };
        second = axes.remove(along);
    }
    let mut counter: SmallVec<[usize; 4]> = SmallVec::from_elem(0, axes.len());
    let (mut d, mut s) = (to.offset, from.offset);
    loop {
        // SAFETY: both layouts were checked against their buffers, and the counters stay below the lengths. The buffers do
        // not overlap: one of them is borrowed mutably.
        unsafe { plane::<T, P>(second, inner, dst.as_mut_ptr().offset(d), src.as_ptr().offset(s)) };
        let mut k = axes.len();
        loop {
            if k == 0 {
                return Ok(());
            }
            k -= 1;
            counter[k] += 1;
            d += axes[k].dst;
            s += axes[k].src;
            if counter[k] < axes[k].n {
                break;
            }
            d -= axes[k].dst * axes[k].n as isize;
            s -= axes[k].src * axes[k].n as isize;
            counter[k] = 0;
        }
    }
}

/// The axes longer than 1, those that continue one another at both ends as one.
fn merged(from: &Strided, to: &Strided) -> SmallVec<[Axis; 4]> {
    let mut axes: SmallVec<[Axis; 4]> = SmallVec::new();
    for i in 0..from.shape.len() {
        let axis = Axis { n: from.shape[i], dst: to.strides[i], src: from.strides[i] };
        if axis.n == 1 {
            continue;
        }
        match axes.last_mut() {
            Some(last) if last.dst == axis.dst * axis.n as isize && last.src == axis.src * axis.n as isize => {
                *last = Axis { n: last.n * axis.n, ..axis };
            }
            _ => axes.push(axis),
        }
    }
    axes
}

/// Copies a plane: `b` is the inner axis.
///
/// # Safety
/// Every element of both sides is valid, and the sides do not overlap.
unsafe fn plane<T: Copy, P: Put<T>>(a: Axis, b: Axis, dst: *mut u8, src: *const u8) {
    let item = size_of::<T>() as isize;
    // SAFETY (the whole function): i < a.n and j < b.n throughout.
    unsafe {
        if b.dst == item && (b.src == item || b.n == 1) {
            for i in 0..a.n as isize {
                row::<T, P>(b.n, dst.offset(i * a.dst).cast(), src.offset(i * a.src).cast());
            }
        } else if b.dst == item && b.src == 0 {
            for i in 0..a.n as isize {
                let value = src.offset(i * a.src).cast::<T>().read_unaligned();
                let to = dst.offset(i * a.dst).cast::<T>();
                for j in 0..b.n {
                    let at = to.add(j);
                    at.write_unaligned(P::put(at.read_unaligned(), value));
                }
            }
        } else if b.dst == item && b.src == -item {
            for i in 0..a.n as isize {
                let (to, from) = (dst.offset(i * a.dst).cast::<T>(), src.offset(i * a.src).cast::<T>());
                for j in 0..b.n {
                    let at = to.add(j);
                    at.write_unaligned(P::put(at.read_unaligned(), from.sub(j).read_unaligned()));
                }
            }
        } else if b.dst == item && a.src == item && a.n >= 8 && b.n >= 8 {
            transpose::<T, P>(a, b, dst, src);
        } else {
            for i in 0..a.n as isize {
                let (to, from) = (dst.offset(i * a.dst), src.offset(i * a.src));
                for j in 0..b.n as isize {
                    let at = to.offset(j * b.dst).cast::<T>();
                    at.write_unaligned(P::put(
                        at.read_unaligned(),
                        from.offset(j * b.src).cast::<T>().read_unaligned(),
                    ));
                }
            }
        }
    }
}

/// # Safety
/// n elements are valid on both sides, which do not overlap.
#[inline(always)]
unsafe fn row<T: Copy, P: Put<T>>(n: usize, dst: *mut T, src: *const T) {
    // SAFETY: the caller's promise.
    unsafe {
        // A call of memcpy pays from some length on.
        if P::OVERWRITES && n * size_of::<T>() > 64 {
            std::ptr::copy_nonoverlapping(src.cast::<u8>(), dst.cast::<u8>(), n * size_of::<T>());
        } else {
            for j in 0..n {
                let at = dst.add(j);
                at.write_unaligned(P::put(at.read_unaligned(), src.add(j).read_unaligned()));
            }
        }
    }
}

/// Elements along a side of a tile.
const TILE: usize = 8;
/// Elements along a side of a block of tiles: few enough pages and cache sets that neighbouring lines, which the processor
/// fetches along, are still there when their tile comes.
const SIDE: usize = 64;

/// The source runs along `a`, the destination along `b`: tiles, so that each cache line is used whole on both sides.
///
/// # Safety
/// As for [`plane`].
unsafe fn transpose<T: Copy, P: Put<T>>(a: Axis, b: Axis, dst: *mut u8, src: *const u8) {
    for i0 in (0..a.n).step_by(SIDE) {
        for j0 in (0..b.n).step_by(SIDE) {
            for i in (i0..a.n.min(i0 + SIDE)).step_by(TILE) {
                for j in (j0..b.n.min(j0 + SIDE)).step_by(TILE) {
                    let (height, width) = (TILE.min(a.n - i), TILE.min(b.n - j));
                    // SAFETY: the tile lies below a.n and b.n.
                    unsafe {
                        let to = dst.offset(i as isize * a.dst + j as isize * b.dst);
                        let from = src.offset(i as isize * a.src + j as isize * b.src);
                        if height == TILE && width == TILE {
                            whole_tile::<T, P>(a.dst, b.src, to, from);
                        } else {
                            part_of_tile::<T, P>(Axis { n: height, ..a }, Axis { n: width, ..b }, to, from);
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// Rows of TILE elements are valid on either side, `dst_step` and `src_step` bytes apart.
#[inline(always)]
unsafe fn whole_tile<T: Copy, P: Put<T>>(dst_step: isize, src_step: isize, dst: *mut u8, src: *const u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let columns: [[T; TILE]; TILE] =
            std::array::from_fn(|q| src.offset(q as isize * src_step).cast::<[T; TILE]>().read_unaligned());
        let rows: [[T; TILE]; TILE] = std::array::from_fn(|p| std::array::from_fn(|q| columns[q][p]));
        for (p, row) in rows.iter().enumerate() {
            let at = dst.offset(p as isize * dst_step).cast::<[T; TILE]>();
            let old = at.read_unaligned();
            at.write_unaligned(std::array::from_fn(|q| P::put(old[q], row[q])));
        }
    }
}

/// # Safety
/// As for [`plane`].
unsafe fn part_of_tile<T: Copy, P: Put<T>>(a: Axis, b: Axis, dst: *mut u8, src: *const u8) {
    for p in 0..a.n as isize {
        for q in 0..b.n as isize {
            // SAFETY: p and q are below the lengths.
            unsafe {
                let at = dst.offset(p * a.dst + q * b.dst).cast::<T>();
                let new = src.offset(p * a.src + q * b.src).cast::<T>().read_unaligned();
                at.write_unaligned(P::put(at.read_unaligned(), new));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes, bytes_mut, noise};
    use super::*;
    use proptest::prelude::*;

    /// The flat element numbers of a layout, in C order of its shape.
    fn positions(l: &Strided, item: usize) -> Vec<usize> {
        let mut all = vec![l.offset];
        for (&n, &s) in l.shape.iter().zip(&l.strides) {
            all = all.iter().flat_map(|&p| (0..n as isize).map(move |i| p + i * s)).collect();
        }
        all.into_iter().map(|p| p as usize / item).collect()
    }

    fn check_read<T: crate::exec::buffer::Plain + PartialEq + std::fmt::Debug>(src: &[T], from: &Strided) {
        let item = size_of::<T>();
        let want: Vec<T> = positions(from, item).into_iter().map(|p| src[p]).collect();
        let mut got = vec![src[0]; want.len()];
        read(item, bytes(src), from, bytes_mut(&mut got), 0..from.outer()).unwrap();
        assert_eq!(got, want, "{from:?}");
        // The same by two halves.
        let (half, row) = (from.outer() / 2, want.len() / from.outer().max(1));
        let mut got = vec![src[0]; want.len()];
        let (first, second) = got.split_at_mut(half * row);
        read(item, bytes(src), from, bytes_mut(first), 0..half).unwrap();
        read(item, bytes(src), from, bytes_mut(second), half..from.outer()).unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn transposes_of_every_size() {
        for (m, n) in [(1, 1), (8, 8), (3, 40), (40, 3), (17, 23), (64, 65)] {
            let x = noise(m * n * 2);
            check_read(&x[..m * n], &Strided::transposed(&[m, n], 8, &[1, 0]));
            let single: Vec<f32> = x.iter().map(|v| *v as f32).collect();
            check_read(&single[..m * n], &Strided::transposed(&[m, n], 4, &[1, 0]));
            let byte: Vec<u8> = x.iter().map(|v| (v * 255.0) as i8 as u8).collect();
            check_read(&byte[..m * n], &Strided::transposed(&[m, n], 1, &[1, 0]));
            for perm in [[0u8, 2, 1], [1, 0, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
                check_read(&x, &Strided::transposed(&[m, n, 2], 8, &perm));
                check_read(&x, &Strided::transposed(&[2, m, n], 8, &perm));
            }
        }
    }

    #[test]
    fn elements_of_sixteen_bytes() {
        let src: Vec<f64> = noise(2 * 12 * 10);
        let mut dst = vec![0.0; src.len()];
        let from = Strided::transposed(&[12, 10], 16, &[1, 0]);
        read(16, bytes(&src), &from, bytes_mut(&mut dst), 0..10).unwrap();
        for i in 0..10 {
            for j in 0..12 {
                for k in 0..2 {
                    assert_eq!(dst[(i * 12 + j) * 2 + k], src[(j * 10 + i) * 2 + k]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn windows_read_written_and_added(
            axes in proptest::collection::vec((1usize..9, 0usize..9, -3i64..4), 0..4),
        ) {
            // a window of length `piece` with that step somewhere in the axis
            let (mut whole, mut start, mut step, mut piece) = (vec![], vec![], vec![], vec![]);
            for (length, wanted, s) in axes {
                let s = if s == 0 { 1 } else { s };
                let most = length.div_ceil(s.unsigned_abs() as usize);
                let p = wanted.min(most);
                whole.push(length);
                step.push(s);
                piece.push(p);
                start.push(if s > 0 { 0 } else { length as i64 - 1 });
            }
            let n = shape::size(&whole);
            let x = noise(n.max(1));
            let w = Strided::window(&whole, 8, &start, &step, &piece);
            let places = positions(&w, 8);
            check_read(&x, &w);
            let v: Vec<f64> = noise(places.len()).iter().map(|v| v + 7.0).collect();
            let (mut set, mut added) = (x[..n].to_vec(), x[..n].to_vec());
            write(8, bytes(&v), bytes_mut(&mut set), &w).unwrap();
            add(DType::F64, bytes(&v), bytes_mut(&mut added), &w).unwrap();
            let (mut want_set, mut want_added) = (x[..n].to_vec(), x[..n].to_vec());
            for (p, v) in places.iter().zip(&v) {
                want_set[*p] = *v;
                want_added[*p] += *v;
            }
            prop_assert_eq!(set, want_set);
            prop_assert_eq!(added, want_added);
        }

        #[test]
        fn broadcasts(axes in proptest::collection::vec((1usize..6, any::<bool>()), 0..5), new in 0usize..3) {
            let to: Vec<usize> = axes.iter().map(|a| a.0).collect();
            let from: Vec<usize> = axes[new.min(axes.len())..].iter().map(|a| if a.1 { 1 } else { a.0 }).collect();
            let x = noise(shape::size(&from));
            check_read(&x, &Strided::broadcast(&from, 8, &to));
            let single: Vec<f32> = x.iter().map(|v| *v as f32).collect();
            check_read(&single, &Strided::broadcast(&from, 4, &to));
        }
    }

    #[test]
    fn bool_adds_as_or_and_bytes_wrap() {
        let to = Strided::window(&[4], 1, &[3], &[-1], &[4]);
        let mut dst = [0u8, 1, 0, 1];
        add(DType::Bool, &[0, 0, 1, 1], &mut dst, &to).unwrap();
        assert_eq!(dst, [1, 1, 0, 1]);
        let mut dst = [250u8, 0, 0, 1];
        add(DType::U8, &[1, 2, 3, 10], &mut dst, &to).unwrap();
        assert_eq!(dst, [4, 3, 2, 2]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = [0u8; 64];
        let mut y = [0u8; 64];
        let outside = Strided::window(&[8], 8, &[1], &[1], &[8]);
        assert!(matches!(read(8, &x, &outside, &mut y, 0..8), Err(Error::Internal(_))));
        let before = Strided::window(&[8], 8, &[6], &[-1], &[8]);
        assert!(read(8, &x, &before, &mut y, 0..8).is_err());
        let whole = Strided::contiguous(&[8], 8);
        assert!(read(8, &x, &whole, &mut y[..56], 0..8).is_err());
        assert!(read(8, &x, &whole, &mut y[..0], 8..9).is_err());
        assert!(read(3, &x, &whole, &mut y[..24], 0..8).is_err());
        assert!(write(8, &x, &mut y, &Strided::broadcast(&[1], 8, &[8])).is_err());
    }
}
