//! What the pool is made of, as `exec/pool/sync.rs` of mlgrad-core has it, from loom.

use std::time::Duration;

pub use loom::cell::UnsafeCell;
pub use loom::hint::spin_loop;
pub use loom::sync::Mutex;
pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub use loom::thread::{Thread, park, yield_now};

pub fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
    loom::thread::Builder::new().name(name).spawn(run).map(|handle| handle.thread().clone())
}

/// Looks once: looking again sees nothing that the helper does not see when it is asleep.
pub fn spin<T>(_limit: Duration, look: impl Fn() -> Option<T>) -> Option<T> {
    look()
}
