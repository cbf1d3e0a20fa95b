//! Boxes in an iteration space: where a window's elements are, once they are counted in the space of the whole array.

use smallvec::SmallVec;

use super::view::Dims;

/// The elements whose place along each axis is in start .. start + len; the space is in C order, and never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    dims: Dims,
    start: Dims,
    len: Dims,
}

impl Frame {
    /// Axes that are covered from end to end are joined with the one before, so that equal sets are equal frames.
    pub fn new(dims: &[usize], start: &[usize], len: &[usize]) -> Frame {
        let mut f = Frame { dims: Dims::new(), start: Dims::new(), len: Dims::new() };
        for i in 0..dims.len() {
            debug_assert!(start[i] + len[i] <= dims[i]);
            if len[i] == dims[i]
                && let (Some(d), Some(s), Some(l)) = (f.dims.last_mut(), f.start.last_mut(), f.len.last_mut())
            {
                *d *= dims[i];
                *s *= dims[i];
                *l *= dims[i];
                continue;
            }
            f.dims.push(dims[i]);
            f.start.push(start[i]);
            f.len.push(len[i]);
        }
        // an axis of which there is only one place says nothing
        while f.dims.len() > 1 && f.dims[0] == 1 {
            f.dims.remove(0);
            f.start.remove(0);
            f.len.remove(0);
        }
        f
    }

    /// The elements from `start` up to `end` of an array of n.
    pub fn range(n: usize, start: usize, end: usize) -> Frame {
        Frame::new(&[n], &[start], &[end - start])
    }

    pub fn is_whole(&self) -> bool {
        self.len == self.dims
    }

    /// Start and end, where the frame is one stretch of the array.
    pub fn as_range(&self) -> Option<(usize, usize)> {
        match (self.start.as_slice(), self.len.as_slice()) {
            ([], _) => Some((0, 1)),
            ([s], [l]) => Some((*s, s + l)),
            _ => None,
        }
    }

    /// Cuts elements start .. start + len into stretches inside and outside: their place, their length and which.
    pub fn stretches(&self, start: usize, len: usize, mut f: impl FnMut(usize, usize, bool)) {
        let (mut at, end) = (start, start + len);
        let mut cut = |at: &mut usize, to: usize, inside: bool| {
            let to = to.min(end);
            if to > *at {
                f(*at, to - *at, inside);
                *at = to;
            }
        };
        let Some(inner) = self.dims.len().checked_sub(1) else {
            return cut(&mut at, end, true);
        };
        let row = self.dims[inner];
        let (first, last) = (self.start[inner], self.start[inner] + self.len[inner]);
        let mut index: SmallVec<[usize; 4]> = SmallVec::from_elem(0, inner);
        let mut rest = at / row;
        for k in (0..inner).rev() {
            index[k] = rest % self.dims[k];
            rest /= self.dims[k];
        }
        while at < end {
            let base = at / row * row;
            let inside = (0..inner).all(|k| (self.start[k]..self.start[k] + self.len[k]).contains(&index[k]));
            if inside {
                cut(&mut at, base + first, false);
                cut(&mut at, base + last, true);
            }
            cut(&mut at, base + row, false);
            for k in (0..inner).rev() {
                index[k] += 1;
                if index[k] < self.dims[k] {
                    break;
                }
                index[k] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_cover_a_range_and_know_what_is_inside() {
        let boxes: [(&[usize], &[usize], &[usize]); 7] = [
            (&[7], &[2], &[4]),
            (&[1], &[0], &[1]),
            (&[], &[], &[]),
            (&[3, 4, 5], &[1, 1, 1], &[1, 2, 3]),
            (&[3, 4, 5], &[1, 0, 0], &[2, 4, 5]),
            (&[3, 4, 5], &[0, 2, 0], &[3, 1, 5]),
            (&[1, 4, 1, 5], &[0, 2, 0, 4], &[1, 2, 1, 1]),
        ];
        for (dims, start, len) in boxes {
            let f = Frame::new(dims, start, len);
            let n: usize = dims.iter().product();
            let inside = |mut flat: usize| {
                (0..dims.len()).rev().all(|k| {
                    let i = flat % dims[k];
                    flat /= dims[k];
                    (start[k]..start[k] + len[k]).contains(&i)
                })
            };
            for from in 0..n {
                for count in 0..=n - from {
                    let mut at = from;
                    f.stretches(from, count, |s, l, within| {
                        assert_eq!(s, at);
                        assert!(l > 0 && (s..s + l).all(|i| inside(i) == within), "{f:?} {s} {l}");
                        at += l;
                    });
                    assert_eq!(at, from + count);
                }
            }
            assert_eq!(f.is_whole(), (0..n).all(inside));
            if let Some((a, b)) = f.as_range() {
                assert!((0..n).all(|i| inside(i) == (a..b).contains(&i)));
            }
        }
    }
}
