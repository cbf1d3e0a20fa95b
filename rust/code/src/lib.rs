//! Machine code for chains of elementwise operations: one pass over the arrays, with everything between in registers.
//!
//! A [`Pass`] says what is computed for each vector of elements. A [`Module`] holds the code of several passes. Code is made for
//! AVX-512 on x86-64 alone; elsewhere [`Module::build`] gives None, and whoever asks calls kernels one after the other. Each
//! operation is rounded by itself, with the bits of its kernel in `mlgrad-math`.

#[cfg(target_arch = "x86_64")]
mod emit;
#[cfg(target_arch = "x86_64")]
mod module;
#[cfg(not(target_arch = "x86_64"))]
#[path = "module_none.rs"]
mod module;
mod pass;
#[cfg(target_arch = "x86_64")]
mod registers;
#[cfg(target_arch = "x86_64")]
mod select;
#[cfg(test)]
#[allow(unsafe_code)]
mod tests;

pub use module::Module;
pub use pass::{At, BASES, Op, Pass, Span, Step, Store, has_code};
