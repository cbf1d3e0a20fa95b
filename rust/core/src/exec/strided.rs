//! Copies out of strided arrays into contiguous ones.
#![allow(unsafe_code)]

use crate::plan::frame::Frame;
use crate::plan::view::View;

/// A view with joined axes, in bytes.
#[derive(Clone, Debug)]
pub struct Strided {
    pub size: usize,
    pub offset: isize,
    /// At least one axis.
    pub dims: Vec<usize>,
    pub strides: Vec<isize>,
    /// Where there are elements, if not everywhere; elsewhere a load gives zeros.
    pub frame: Option<Box<Frame>>,
}

impl Strided {
    pub fn new(view: &View, size: usize) -> Strided {
        let v = view.collapsed();
        let bytes = size as isize;
        let mut s = Strided {
            size,
            offset: v.offset * bytes,
            dims: v.dims.to_vec(),
            strides: v.strides.iter().map(|&x| x * bytes).collect(),
            frame: v.frame,
        };
        if s.dims.is_empty() {
            s.dims.push(1);
            s.strides.push(bytes);
        }
        s
    }

    /// One number everywhere.
    pub fn is_splat(&self) -> bool {
        self.frame.is_none() && self.dims.len() == 1 && self.strides[0] == 0
    }

    pub fn is_contiguous(&self) -> bool {
        self.frame.is_none() && self.one_after_the_other()
    }

    /// The elements that are there, if these are one stretch of the view, and one of the array.
    pub fn as_range(&self) -> Option<(usize, usize)> {
        self.frame.as_ref().filter(|_| self.one_after_the_other()).and_then(|f| f.as_range())
    }

    fn one_after_the_other(&self) -> bool {
        self.dims.len() == 1 && (self.strides[0] == self.size as isize || self.dims[0] <= 1)
    }

    /// Writes elements start .. start + len of the view to dst, one after the other.
    ///
    /// # Safety
    /// `src` is the first element of the array that the view looks into, all of which is readable; the range lies in the
    /// view; dst is writable for len elements.
    pub unsafe fn load(&self, src: *const u8, start: usize, len: usize, dst: *mut u8) {
        let Some(frame) = &self.frame else {
            // SAFETY: the caller's.
            return unsafe { self.load_all(src, start, len, dst) };
        };
        frame.stretches(start, len, |at, len, inside| {
            let dst = dst.wrapping_add((at - start) * self.size);
            // SAFETY: the caller's; elements in the frame are in the array.
            unsafe {
                if inside {
                    self.load_all(src, at, len, dst);
                } else {
                    dst.write_bytes(0, len * self.size);
                }
            }
        });
    }

    /// # Safety
    /// As for `load`; the range is in the frame.
    unsafe fn load_all(&self, src: *const u8, start: usize, len: usize, dst: *mut u8) {
        if len == 0 {
            return;
        }
        // SAFETY: the caller's; T has the size of an element, and no alignment is asked for.
        unsafe {
            match self.size {
                1 => self.load_as::<u8>(src, start, len, dst),
                4 => self.load_as::<u32>(src, start, len, dst),
                8 => self.load_as::<u64>(src, start, len, dst),
                _ => self.load_as::<u128>(src, start, len, dst),
            }
        }
    }

    unsafe fn load_as<T: Copy>(&self, src: *const u8, start: usize, len: usize, dst: *mut u8) {
        const MAX: usize = crate::tape::shape::MAX_RANK;
        let rank = self.dims.len();
        let inner = rank - 1;
        if inner == 0 {
            // SAFETY: the caller's.
            return unsafe {
                let first = self.offset + start as isize * self.strides[0];
                row::<T>(src.wrapping_offset(first), self.strides[0], len, dst)
            };
        }
        let mut index = [0usize; MAX + 1];
        let mut rest = start;
        let mut at = self.offset;
        for k in (0..rank).rev() {
            index[k] = rest % self.dims[k];
            rest /= self.dims[k];
            at += index[k] as isize * self.strides[k];
        }
        let (length, stride) = (self.dims[inner], self.strides[inner]);
        let mut dst = dst;
        let mut left = len;
        while left > 0 {
            let run = (length - index[inner]).min(left);
            // SAFETY: elements of the view are inside the array; dst has room for what is left.
            unsafe {
                row::<T>(src.wrapping_offset(at), stride, run, dst);
                dst = dst.add(run * size_of::<T>());
            }
            left -= run;
            if left == 0 {
                return;
            }
            // on to the next row
            at -= index[inner] as isize * stride;
            index[inner] = 0;
            let mut k = inner;
            while k > 0 {
                k -= 1;
                index[k] += 1;
                at += self.strides[k];
                if index[k] < self.dims[k] {
                    break;
                }
                at -= index[k] as isize * self.strides[k];
                index[k] = 0;
            }
        }
    }
}

/// # Safety
/// `run` elements at the stride are readable, and so many writable one after the other.
#[inline(always)]
unsafe fn row<T: Copy>(src: *const u8, stride: isize, run: usize, dst: *mut u8) {
    let dst = dst.cast::<T>();
    // SAFETY: the caller's.
    unsafe {
        if stride == size_of::<T>() as isize {
            std::ptr::copy_nonoverlapping(src, dst.cast::<u8>(), run * size_of::<T>());
        } else if stride == 0 {
            let x = src.cast::<T>().read_unaligned();
            for i in 0..run {
                dst.add(i).write_unaligned(x);
            }
        } else {
            let mut from = src;
            for i in 0..run {
                dst.add(i).write_unaligned(from.cast::<T>().read_unaligned());
                from = from.wrapping_offset(stride);
            }
        }
    }
}
