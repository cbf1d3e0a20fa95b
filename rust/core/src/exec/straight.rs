//! Straight code over small arrays: one kernel call after the other, all operands at fixed places in the arena.
//!
//! What is not a plain kernel (copies, reductions) is called in the same way, with a description as its third operand.
#![allow(unsafe_code)]

use super::buffer::ALIGN;
use super::generated::Entry;
use super::narrow::RowsKernel;
use super::strided::Strided;
use crate::math::Kernel;
use crate::math::reduce::{AccumulateKernel, ReduceKernel};
use crate::plan::frame::Frame;

/// A call; operands are bytes from the start of the arena.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub f: Kernel,
    pub n: u32,
    pub dst: u32,
    pub a: u32,
    pub b: u32,
    pub c: u32,
}

impl Step {
    /// Whether this is a pass of generated code.
    pub fn is_generated(&self) -> bool {
        std::ptr::fn_addr_eq(self.f, generated as Kernel)
    }
}

/// # Safety
/// The operands of each step lie in the arena and are what its function expects.
pub unsafe fn run(steps: &[Step], arena: *mut u8) {
    for s in steps {
        // SAFETY: the caller's.
        unsafe {
            (s.f)(
                s.n as usize,
                arena.add(s.dst as usize),
                arena.add(s.a as usize),
                arena.add(s.b as usize),
                arena.add(s.c as usize),
            );
        }
    }
}

/// A pass of generated code over the arena, whose entry is at c.
///
/// # Safety
/// As for [`Entry::call`], with the arena at dst.
pub unsafe fn generated(n: usize, dst: *mut u8, _: *const u8, _: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe { c.cast::<Entry>().read().call(n, dst, 0) }
}

/// A description in the arena: its address, as bytes that frames are filled with. The plan owns what it points at.
pub fn pointer_to<T>(description: &T) -> [u8; 8] {
    (std::ptr::from_ref(description) as usize).to_ne_bytes()
}

/// # Safety
/// `c` points at the address of a `T` that outlives the call.
pub(super) unsafe fn description<'a, T>(c: *const u8) -> &'a T {
    // SAFETY: the caller's.
    unsafe { &**c.cast::<*const T>() }
}

/// dst = the view (described at c) of the array at a.
///
/// # Safety
/// As for [`Strided::load`], for all n elements of the view.
pub unsafe fn copy(n: usize, dst: *mut u8, a: *const u8, _: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe { description::<Strided>(c).load(a, 0, n, dst) }
}

/// The same with the address of the array at a.
///
/// # Safety
/// As for [`copy`].
pub unsafe fn copy_from_address(n: usize, dst: *mut u8, a: *const u8, _: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe { description::<Strided>(c).load(*a.cast::<*const u8>(), 0, n, dst) }
}

/// dst = a, n bytes.
///
/// # Safety
/// n bytes are readable and writable, and do not overlap.
pub unsafe fn copy_bytes(n: usize, dst: *mut u8, a: *const u8, _: *const u8, _: *const u8) {
    // SAFETY: the caller's.
    unsafe { std::ptr::copy_nonoverlapping(a, dst, n) }
}

/// dst = 0, n bytes.
///
/// # Safety
/// n bytes are writable.
pub unsafe fn clear(n: usize, dst: *mut u8, _: *const u8, _: *const u8, _: *const u8) {
    // SAFETY: the caller's.
    unsafe { dst.write_bytes(0, n) }
}

/// What is to be zero of a small array.
#[derive(Debug)]
pub struct Outside {
    pub frame: Box<Frame>,
    pub n: usize,
    pub size: usize,
}

/// The elements at dst outside of a frame (described at c) = 0.
///
/// # Safety
/// The array has as many elements as the description says.
pub unsafe fn clear_outside(_: usize, dst: *mut u8, _: *const u8, _: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    let outside = unsafe { description::<Outside>(c) };
    outside.frame.stretches(0, outside.n, |from, len, inside| {
        if !inside {
            // SAFETY: a stretch of the array.
            unsafe { dst.add(from * outside.size).write_bytes(0, len * outside.size) };
        }
    });
}

/// Where the elements of a piece go in a small array: runs of elements that lie together.
#[derive(Debug)]
pub struct Runs {
    /// The first byte of each run in the array.
    pub starts: Vec<u32>,
    /// Bytes of a run.
    pub bytes: usize,
    /// The kernel that adds whole vectors.
    pub add: Kernel,
}

/// The runs of the array at dst (described at c) = the piece at a.
///
/// # Safety
/// The runs lie in the array, and the piece has as many elements as they.
pub unsafe fn write_runs(_: usize, dst: *mut u8, a: *const u8, _: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe {
        let runs = description::<Runs>(c);
        for (k, &start) in runs.starts.iter().enumerate() {
            std::ptr::copy_nonoverlapping(a.add(k * runs.bytes), dst.add(start as usize), runs.bytes);
        }
    }
}

/// The runs of the array at dst (described at c) += the piece at a.
///
/// # Safety
/// As for [`write_runs`], of elements of type `T`, for which the kernel is.
pub unsafe fn add_runs<T: Copy + std::ops::Add<Output = T>>(
    _: usize,
    dst: *mut u8,
    a: *const u8,
    _: *const u8,
    c: *const u8,
) {
    // SAFETY: the caller's; the kernel works on whole vectors inside the run.
    unsafe {
        let runs = description::<Runs>(c);
        for (k, &start) in runs.starts.iter().enumerate() {
            let (dst, a) = (dst.add(start as usize), a.add(k * runs.bytes));
            let whole = runs.bytes / ALIGN * ALIGN;
            if whole > 0 {
                (runs.add)(whole / size_of::<T>(), dst, dst, a, a);
            }
            for at in (whole..runs.bytes).step_by(size_of::<T>()) {
                let to = dst.add(at).cast::<T>();
                to.write_unaligned(to.read_unaligned() + a.add(at).cast::<T>().read_unaligned());
            }
        }
    }
}

/// A reduction of a small array.
#[derive(Debug)]
pub struct SmallFold {
    pub block: ReduceKernel,
    /// Instead, for short rows.
    pub narrow: Option<RowsKernel>,
    pub accumulate: AccumulateKernel,
    pub init: u64,
    pub size: usize,
    pub rows: usize,
    pub row: usize,
    pub leading: bool,
}

/// One element, from bits.
///
/// # Safety
/// `size` bytes are writable.
#[inline(always)]
pub unsafe fn put(dst: *mut u8, bits: u64, size: usize) {
    // SAFETY: the caller's; the low bytes come first on every machine that this is built for.
    unsafe {
        match size {
            1 => dst.write(bits as u8),
            4 => dst.cast::<u32>().write_unaligned(bits as u32),
            _ => dst.cast::<u64>().write_unaligned(bits),
        }
    }
}

/// A reduction, described at c.
///
/// # Safety
/// The array at a and the result at dst have the lengths of the description.
pub unsafe fn fold(_: usize, dst: *mut u8, a: *const u8, _: *const u8, c: *const u8) {
    // SAFETY: the caller's.
    unsafe {
        let f = description::<SmallFold>(c);
        if let (Some(narrow), false) = (f.narrow, f.leading) {
            return narrow(f.rows, f.row, dst, a);
        }
        if !f.leading {
            for i in 0..f.rows {
                let acc = dst.add(i * f.size);
                put(acc, f.init, f.size);
                // rows of a small array are one block each
                (f.block)(f.row, acc, a.add(i * f.row * f.size));
            }
            return;
        }
        for j in 0..f.row {
            put(dst.add(j * f.size), f.init, f.size);
        }
        for i in 0..f.rows {
            (f.accumulate)(f.row, dst, a.add(i * f.row * f.size));
        }
    }
}
