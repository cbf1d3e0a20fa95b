//! Strided views: the elements of an array in another order, some of them left out or repeated.

use smallvec::SmallVec;

use super::frame::Frame;
use crate::ops::Window;
use crate::tape::shape;

pub type Dims = SmallVec<[usize; 4]>;
pub type Strides = SmallVec<[isize; 4]>;

/// Element (i, j, …) is element `offset + i·strides[0] + j·strides[1] + …` of the array that it looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub offset: isize,
    pub dims: Dims,
    pub strides: Strides,
    /// Where there are elements, if not everywhere: elsewhere nothing is read, and a zero is as good as anything. Only inputs
    /// of elementwise nodes have such views.
    pub frame: Option<Box<Frame>>,
}

impl View {
    /// All of an array.
    pub fn whole(dims: &[usize]) -> View {
        View { offset: 0, dims: dims.into(), strides: shape::strides(dims), frame: None }
    }

    pub fn size(&self) -> usize {
        shape::size(&self.dims)
    }

    /// By NumPy's rule.
    pub fn broadcast(&self, to: &[usize]) -> View {
        let extra = to.len() - self.dims.len();
        let strides = (0..to.len())
            .map(|i| if i < extra || (self.dims[i - extra] == 1 && to[i] != 1) { 0 } else { self.strides[i - extra] })
            .collect();
        View { offset: self.offset, dims: to.into(), strides, frame: None }
    }

    pub fn transpose(&self, perm: &[u8]) -> View {
        View {
            offset: self.offset,
            dims: perm.iter().map(|&a| self.dims[a as usize]).collect(),
            strides: perm.iter().map(|&a| self.strides[a as usize]).collect(),
            frame: None,
        }
    }

    pub fn slice(&self, w: &Window, piece: &[usize]) -> View {
        let mut v = View { offset: self.offset, dims: piece.into(), strides: Strides::new(), frame: None };
        let empty = piece.contains(&0);
        for (i, &stride) in self.strides.iter().enumerate() {
            if !empty {
                v.offset += w.start[i] as isize * stride;
            }
            v.strides.push(w.step[i] as isize * stride);
        }
        v
    }

    /// The view counted in the space of a whole that it is a window of: element (start) is where (0, …) was. Only elements of
    /// the window are there.
    pub fn back(&self, start: &[usize], whole: &[usize]) -> View {
        let back: isize = start.iter().zip(&self.strides).map(|(&o, &s)| o as isize * s).sum();
        View { offset: self.offset - back, dims: whole.into(), strides: self.strides.clone(), frame: None }
    }

    /// The view without axes of length 1, and with axes that follow each other joined.
    pub fn collapsed(&self) -> View {
        let mut v = View { offset: self.offset, dims: Dims::new(), strides: Strides::new(), frame: self.frame.clone() };
        if self.size() == 0 {
            v.dims.push(0);
            v.strides.push(1);
            return v;
        }
        for (&d, &s) in self.dims.iter().zip(&self.strides) {
            if d == 1 {
                continue;
            }
            match (v.dims.last_mut(), v.strides.last_mut()) {
                (Some(last), Some(step)) if *step == s * d as isize => {
                    *last *= d;
                    *step = s;
                }
                _ => {
                    v.dims.push(d);
                    v.strides.push(s);
                }
            }
        }
        v
    }

    /// Whether the elements lie one after the other, all of them there.
    pub fn contiguous(&self) -> bool {
        if self.frame.is_some() {
            return false;
        }
        let v = self.collapsed();
        v.dims.is_empty() || v.dims[0] == 0 || (v.dims.len() == 1 && v.strides[0] == 1)
    }

    /// The same elements with other axes, where strides can say that.
    pub fn reshape(&self, to: &[usize]) -> Option<View> {
        if self.size() == 0 {
            return Some(View::whole(to));
        }
        let from = self.collapsed();
        let mut strides: Strides = SmallVec::from_elem(0, to.len());
        // from the right: each run of new axes must fill one joined axis exactly
        let mut axes = from.dims.iter().zip(&from.strides).rev();
        let (mut left, mut step) = (1usize, 0isize);
        for i in (0..to.len()).rev() {
            if to[i] == 1 {
                continue;
            }
            if left == 1 {
                let (&d, &s) = axes.next()?;
                left = d;
                step = s;
            }
            if left % to[i] != 0 {
                return None;
            }
            strides[i] = step;
            step *= to[i] as isize;
            left /= to[i];
        }
        Some(View { offset: from.offset, dims: to.into(), strides, frame: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(v: &View) -> Vec<isize> {
        let mut out = vec![v.offset];
        for (&d, &s) in v.dims.iter().zip(&v.strides) {
            out = out.iter().flat_map(|&o| (0..d).map(move |i| o + i as isize * s)).collect();
        }
        out
    }

    #[test]
    fn collapsing_and_reshaping_keep_the_elements() {
        let whole = View::whole(&[2, 3, 4]);
        let views = [
            whole.clone(),
            whole.transpose(&[2, 0, 1]),
            whole
                .slice(&Window { start: [1, 2, 3].as_slice().into(), step: [1, -1, -2].as_slice().into() }, &[1, 3, 2]),
            View::whole(&[3, 1]).broadcast(&[2, 3, 4]),
            View::whole(&[]).broadcast(&[6]),
        ];
        for v in &views {
            assert_eq!(elements(v), elements(&v.collapsed()), "{v:?}");
            let n = v.size();
            for to in [vec![n], vec![1, n], vec![2, n / 2], vec![n / 2, 2], vec![n / 6, 3, 1, 2]] {
                if to.iter().product::<usize>() == n
                    && let Some(r) = v.reshape(&to)
                {
                    assert_eq!(elements(v), elements(&r), "{v:?} {to:?}");
                    assert_eq!(r.dims.as_slice(), to.as_slice());
                }
            }
        }
        assert!(whole.transpose(&[2, 0, 1]).reshape(&[24]).is_none());
        assert!(whole.transpose(&[2, 0, 1]).reshape(&[4, 6]).is_some());
        assert!(whole.contiguous() && !views[1].contiguous());
        assert!(View::whole(&[0, 3]).transpose(&[1, 0]).contiguous());
    }
}
