//! What the pool is made of: the standard library's threads, atomics and cells. `rust/loom` puts loom's in their place, and
//! runs the pool through every order in which its threads can get on.

use std::time::{Duration, Instant};

pub use std::hint::spin_loop;
pub use std::sync::Mutex;
pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub use std::thread::{Thread, park, yield_now};

/// A cell whose accesses have a beginning and an end.
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

thread_local! {
    /// Whether this thread is a helper.
    pub static HELPER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Starts a helper; nobody waits for its end.
pub fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
    let helper = move || {
        HELPER.set(true);
        run()
    };
    std::thread::Builder::new().name(name).spawn(helper).map(|handle| handle.thread().clone())
}

/// Looks again and again until there is something to see or the time is over.
pub fn spin<T>(limit: Duration, look: impl Fn() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    while start.elapsed() < limit {
        for _ in 0..64 {
            let seen = look();
            if seen.is_some() {
                return seen;
            }
            spin_loop();
        }
    }
    None
}
