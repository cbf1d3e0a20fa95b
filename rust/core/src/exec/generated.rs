//! Calls of generated code.
#![allow(unsafe_code)]

/// The address of a pass of `mlgrad-code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub usize);

impl Entry {
    /// # Safety
    /// The module that the code belongs to is alive. For n elements, n > 0, whole vectors can be read and written at all
    /// addresses of the pass, counted from `base`, which is what the pass was made for: an address, or a table of them. The
    /// first of them is element `first` of the whole.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub unsafe fn call(self, n: usize, base: *const u8, first: usize) {
        type Pass = unsafe extern "sysv64" fn(usize, *const u8, usize);
        // SAFETY: the caller's: code of that convention.
        unsafe { std::mem::transmute::<usize, Pass>(self.0)(n, base, first) }
    }

    /// # Safety
    /// There is no code for this machine, so nobody can have an entry.
    #[cfg(not(target_arch = "x86_64"))]
    pub unsafe fn call(self, _: usize, _: *const u8, _: usize) {}
}
