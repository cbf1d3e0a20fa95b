//! Short copies, many of them in each step of a loop: a vector each where the machine can.

use crate::exec::buffer::ALIGN;

/// So many bytes, with the mask of those of the last vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    bytes: usize,
    mask: u64,
}

impl Length {
    pub fn new(bytes: usize) -> Length {
        let last = bytes % ALIGN;
        Length { bytes, mask: if last == 0 { u64::MAX } else { (1 << last) - 1 } }
    }

    pub fn bytes(self) -> usize {
        self.bytes
    }
}

/// From, to, and how much.
pub type Copy = (*const u8, *mut u8, Length);

/// Copies to places of whole vectors. Behind the end of what is copied the last vector holds 1.0, which no kernel is slow at,
/// or what it held before.
///
/// # Safety
/// Each can be read for its length, and written in whole vectors; no two overlap.
#[inline(always)]
pub unsafe fn fill(copies: impl Iterator<Item = Copy>) {
    #[cfg(target_arch = "x86_64")]
    if crate::math::isa() == crate::math::Isa::Avx512 {
        // SAFETY: the caller's, and the instructions are there.
        return unsafe { wide::fill(copies) };
    }
    // SAFETY: the caller's.
    unsafe { put_bytes(copies) }
}

/// Copies, and leaves what is behind as it is.
///
/// # Safety
/// Each can be read and written for its length; no two overlap.
#[inline(always)]
pub unsafe fn put(copies: impl Iterator<Item = Copy>) {
    #[cfg(target_arch = "x86_64")]
    if crate::math::isa() == crate::math::Isa::Avx512 {
        // SAFETY: the caller's, and the instructions are there.
        return unsafe { wide::put(copies) };
    }
    // SAFETY: the caller's.
    unsafe { put_bytes(copies) }
}

/// # Safety
/// As for `put`.
#[inline(always)]
unsafe fn put_bytes(copies: impl Iterator<Item = Copy>) {
    for (from, to, length) in copies {
        // SAFETY: the caller's.
        unsafe {
            // lengths that the compiler knows need no call
            match length.bytes {
                8 => to.cast::<[u8; 8]>().write(from.cast::<[u8; 8]>().read()),
                16 => to.cast::<[u8; 16]>().write(from.cast::<[u8; 16]>().read()),
                1 => to.write(from.read()),
                bytes => std::ptr::copy_nonoverlapping(from, to, bytes),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use super::{ALIGN, Copy};

    /// Longer ones are left to `memcpy`.
    const LONG: usize = 4 * ALIGN;

    /// # Safety
    /// As for `super::fill`.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn fill(copies: impl Iterator<Item = Copy>) {
        let ones = _mm512_castpd_si512(_mm512_set1_pd(1.0));
        for (mut from, mut to, length) in copies {
            let mut left = length.bytes;
            // SAFETY: the caller's; what a mask leaves out is not read.
            unsafe {
                if left > LONG {
                    std::ptr::copy_nonoverlapping(from, to, left);
                    continue;
                }
                while left > ALIGN {
                    _mm512_storeu_epi8(to.cast(), _mm512_loadu_epi8(from.cast()));
                    (from, to, left) = (from.add(ALIGN), to.add(ALIGN), left - ALIGN);
                }
                if left > 0 {
                    _mm512_storeu_epi8(to.cast(), _mm512_mask_loadu_epi8(ones, length.mask, from.cast()));
                }
            }
        }
    }

    /// # Safety
    /// As for `super::put`.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn put(copies: impl Iterator<Item = Copy>) {
        for (mut from, mut to, length) in copies {
            let mut left = length.bytes;
            // SAFETY: the caller's; what a mask leaves out is neither read nor written.
            unsafe {
                if left > LONG {
                    std::ptr::copy_nonoverlapping(from, to, left);
                    continue;
                }
                while left > ALIGN {
                    _mm512_storeu_epi8(to.cast(), _mm512_loadu_epi8(from.cast()));
                    (from, to, left) = (from.add(ALIGN), to.add(ALIGN), left - ALIGN);
                }
                if left > 0 {
                    _mm512_mask_storeu_epi8(to.cast(), length.mask, _mm512_maskz_loadu_epi8(length.mask, from.cast()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_exact_and_filled_up_with_ones() {
        for bytes in [0usize, 1, 8, 12, 24, 63, 64, 65, 100, 128, 200, 256, 300, 2048] {
            let from: Vec<u8> = (0..bytes).map(|k| (k % 251) as u8).collect();
            let mut to = vec![7u8; bytes.next_multiple_of(ALIGN) + ALIGN];
            let copy = (from.as_ptr(), to.as_mut_ptr(), Length::new(bytes));
            // SAFETY: there is room for whole vectors.
            unsafe { put([copy].into_iter()) };
            assert_eq!(&to[..bytes], &from[..]);
            assert!(to[bytes..].iter().all(|&b| b == 7));
            // SAFETY: as above.
            unsafe { fill([copy].into_iter()) };
            assert_eq!(&to[..bytes], &from[..]);
            let end = bytes.next_multiple_of(ALIGN);
            assert!(to[end..].iter().all(|&b| b == 7));
            let ones = 1f64.to_ne_bytes();
            assert!((bytes..end).all(|k| to[k] == 7 || to[k] == ones[k % 8]), "{bytes}");
        }
    }
}
