//! Stores that pass the caches by: what is large and not read again soon needs not be brought in before it is overwritten, nor
//! push out what is there.
#![allow(unsafe_code)]

use super::lanes::{Kernel, Lanes, Real, dispatch};

struct Copy<T> {
    src: *const T,
    dst: *mut T,
    n: usize,
}

impl<T: Real> Kernel<T> for Copy<T> {
    #[inline(always)]
    unsafe fn run<V: Lanes<Elem = T>>(self) {
        for i in (0..self.n).step_by(V::N) {
            // SAFETY: whole vectors of both, which whoever made this says are there; the caller has the instruction set.
            unsafe { V::load(self.src.add(i)).stream(self.dst.add(i)) };
        }
    }
}

/// Copies whole lines. Others see them after a [`Fence`] is dropped.
///
/// # Safety
/// Both are valid for so many bytes, a multiple of 64, do not overlap, and `dst` is aligned to 64.
pub(super) unsafe fn copy(src: *const u8, dst: *mut u8, bytes: usize) {
    // SAFETY: the caller's; vectors of numbers carry any bits, and divide a line.
    unsafe { dispatch(Copy::<f64> { src: src.cast(), dst: dst.cast(), n: bytes / 8 }) }
}

/// Dropped, it makes what was copied before visible to others before anything that is written later.
pub(super) struct Fence;

impl Drop for Fence {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has it.
        unsafe {
            std::arch::x86_64::_mm_sfence();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffer::Buffer;
    use super::*;

    #[test]
    fn lines_are_copied_and_nothing_beside_them() {
        let (mut src, mut dst) = (Buffer::new(1024).unwrap(), Buffer::new(1024).unwrap());
        src.as_mut_slice::<u8>().iter_mut().enumerate().for_each(|(i, x)| *x = (i * 7) as u8);
        dst.as_mut_slice::<u8>().fill(0xff);
        // SAFETY: lines inside of both.
        unsafe { copy(src.as_ptr(), dst.as_mut_ptr().add(128), 640) };
        drop(Fence);
        let dst = dst.as_slice::<u8>();
        assert_eq!(dst[128..768], src.as_slice::<u8>()[..640]);
        assert!(dst[..128].iter().chain(&dst[768..]).all(|&x| x == 0xff));
    }
}
