//! Rows of arrays by index, a few at a time, as steps of straight code.
//!
//! A step cannot fail: an index that is out of range is written down, nothing is read or written for it, and the error is
//! raised when the steps are done.
#![allow(unsafe_code)]

use super::array::gather::out_of_range;
use crate::Result;

/// An axis that is indexed. The address of the array is in the arena where the array is not.
#[derive(Debug)]
pub struct Indexed {
    /// Of so many rows.
    pub rows: usize,
    /// Of so many bytes.
    pub bytes: usize,
    pub elsewhere: bool,
    /// From the cell that points here to where an index is written down that is out of range.
    pub missed: isize,
}

/// The first index that was out of range, and of how many rows, if any was.
#[repr(C)]
struct Missed {
    is: u64,
    index: i64,
    rows: u64,
}

/// Bytes of such a place.
pub const MISSED: usize = size_of::<Missed>();

/// # Safety
/// The place is one, which nobody else uses.
#[inline(always)]
pub unsafe fn check(at: *mut u8) -> Result<()> {
    let at = at.cast::<Missed>();
    // SAFETY: the caller's.
    unsafe {
        if (*at).is == 0 {
            return Ok(());
        }
        (*at).is = 0;
        Err(out_of_range((*at).index, (*at).rows as usize))
    }
}

impl Indexed {
    /// The description at `c`.
    ///
    /// # Safety
    /// `c` points at the address of one that outlives the call.
    unsafe fn at<'a>(c: *const u8) -> &'a Indexed {
        // SAFETY: the caller's.
        unsafe { &**c.cast::<*const Indexed>() }
    }

    /// # Safety
    /// `c` is the cell that points here.
    #[cold]
    unsafe fn miss(&self, c: *const u8, index: i64) {
        // SAFETY: the plan laid it out, beside the cell in the arena.
        unsafe {
            let missed = c.offset(self.missed).cast_mut().cast::<Missed>();
            if (*missed).is == 0 {
                *missed = Missed { is: 1, index, rows: self.rows as u64 };
            }
        }
    }

    /// # Safety
    /// An array is at `x`, or its address.
    unsafe fn array(&self, x: *const u8) -> *const u8 {
        // SAFETY: the caller's.
        if self.elsewhere { unsafe { x.cast::<*const u8>().read() } } else { x }
    }
}

/// # Safety
/// As for `copy_nonoverlapping`.
#[inline(always)]
unsafe fn copy_row(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the caller's; lengths that the compiler knows need no call.
    unsafe {
        match bytes {
            8 => to.cast::<[u8; 8]>().write(from.cast::<[u8; 8]>().read()),
            16 => to.cast::<[u8; 16]>().write(from.cast::<[u8; 16]>().read()),
            _ => std::ptr::copy_nonoverlapping(from, to, bytes),
        }
    }
}

/// dst = the n indices at a, those below zero counted from the end.
///
/// # Safety
/// n numbers are readable and writable; c is the cell of a description.
pub unsafe fn check_index(n: usize, dst: *mut u8, a: *const u8, _: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe {
        let d = Indexed::at(c);
        let (dst, a, rows) = (dst.cast::<i64>(), a.cast::<i64>(), d.rows as i64);
        for k in 0..n {
            let i = a.add(k).read();
            let wrapped = if i < 0 { i.wrapping_add(rows) } else { i };
            if wrapped as u64 >= d.rows as u64 {
                d.miss(c, i);
            }
            dst.add(k).write(wrapped);
        }
    }
}

/// dst = the rows of the array at a whose n indices are at b.
///
/// # Safety
/// As for `check_index`; the array is as the description says, there is room for n rows at dst.
pub unsafe fn gather(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe {
        let d = Indexed::at(c);
        let x = d.array(a);
        for k in 0..n {
            let i = b.cast::<i64>().add(k).read();
            if i as u64 >= d.rows as u64 {
                d.miss(c, i);
                continue;
            }
            copy_row(x.add(i as usize * d.bytes), dst.add(k * d.bytes), d.bytes);
        }
    }
}

/// The rows of the array at dst whose n indices are at a = those at b.
///
/// # Safety
/// As for `gather`.
pub unsafe fn set(n: usize, dst: *mut u8, a: *const u8, b: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe {
        let d = Indexed::at(c);
        let x = d.array(dst).cast_mut();
        for k in 0..n {
            let i = a.cast::<i64>().add(k).read();
            if i as u64 >= d.rows as u64 {
                d.miss(c, i);
                continue;
            }
            copy_row(b.add(k * d.bytes), x.add(i as usize * d.bytes), d.bytes);
        }
    }
}
