//! The thread pool: one job at a time, shared between the caller and a few helpers that spin for a while and then sleep.
//!
//! Nothing waits for a helper to wake (`crew.rs` says how), nested and concurrent jobs run inline, and in the child of a fork
//! (where the helpers are gone) a job still completes; a changed process id is looked for only where a helper was missing,
//! and then a new crew is made.
//!
//! Which thread runs a task is chance; results must not depend on it.
#![allow(unsafe_code)]

mod crew;
mod sync;

use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

use crew::{Crew, Ran};
use sync::HELPER;

/// How long a helper looks for the next job before it sleeps.
const SPIN: Duration = Duration::from_micros(80);
/// The same where there are more threads than cores, and a spinning helper keeps others from working.
const SPIN_CROWDED: Duration = Duration::from_micros(3);
/// More threads than this are never made.
const MAX_THREADS: usize = 256;

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that work at a time, the caller included: `MLGRAD_NUM_THREADS`, or the cores that this process may
/// use.
pub fn num_threads() -> usize {
    match THREADS.load(Relaxed) {
        0 => {
            let wanted = std::env::var("MLGRAD_NUM_THREADS").ok();
            let n = threads_from(wanted.as_deref());
            // a lost race against set_num_threads must not overwrite its value
            match THREADS.compare_exchange(0, n, Relaxed, Relaxed) {
                Ok(_) => n,
                Err(set) => set,
            }
        }
        n => n,
    }
}

/// Sets the number of threads, the caller included; 0 is taken as 1.
pub fn set_num_threads(n: usize) {
    THREADS.store(n.clamp(1, MAX_THREADS), Relaxed);
}

fn threads_from(variable: Option<&str>) -> usize {
    let Some(text) = variable.map(str::trim).filter(|v| !v.is_empty()) else { return cores().min(MAX_THREADS) };
    match text.parse::<usize>() {
        Ok(n) if n > 0 => n.min(MAX_THREADS),
        _ => {
            eprintln!("mlgrad: MLGRAD_NUM_THREADS={text} is not a positive number; using {} threads", cores());
            cores().min(MAX_THREADS)
        }
    }
}

fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Runs f(0), f(1), … f(tasks - 1), each once, in any order, on any of the threads; returns when all are done. A panic in a
/// task keeps those that have not begun from running, and goes on in the caller once nobody works any more.
pub fn parallel(tasks: usize, f: &(dyn Fn(usize) + Sync)) {
    let threads = num_threads().min(tasks);
    if threads > 1 && pooled(tasks, threads, f) {
        return;
    }
    for i in 0..tasks {
        f(i);
    }
}

/// Cuts so many items into tasks for so many threads: where each begins, and the end. The first are large, so that each thread
/// goes on where it was, the last ones small, so that all end together although they may have begun at different times. Few
/// items are a task each.
pub fn shares(items: usize, threads: usize) -> Vec<usize> {
    if items <= 8 * threads {
        return (0..=items).collect();
    }
    let mut starts = vec![0];
    let least = items.div_ceil(32 * threads).max(1);
    let mut next = 0;
    while next < items {
        next = items.min(next + ((items - next) / (2 * threads)).max(least));
        starts.push(next);
    }
    starts
}

/// Runs the shares that begin at these places on so many threads: f(worker, shares) on each of them, with the numbers of the
/// shares that fall to it, so that a worker's memory stays with it.
pub fn in_shares(starts: &[usize], threads: usize, f: &(dyn Fn(usize, &mut dyn Iterator<Item = usize>) + Sync)) {
    let (count, next) = (starts.len() - 1, AtomicUsize::new(0));
    parallel(threads.min(count), &|worker| {
        let draw = || Some(next.fetch_add(1, Relaxed)).filter(|&share| share < count);
        f(worker, &mut std::iter::from_fn(draw));
    });
}

/// A pointer that tasks may share; what they do with it is the business of whoever wraps it.
#[derive(Clone, Copy)]
pub struct Shared<T>(*mut T);

// SAFETY: a pointer is a number; using it is unsafe anyway.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(ptr: *mut T) -> Shared<T> {
        Shared(ptr)
    }

    pub fn get(&self) -> *mut T {
        self.0
    }
}

static POOL: AtomicPtr<Crew> = AtomicPtr::new(null_mut());

fn current() -> &'static Crew {
    let crew = POOL.load(Acquire);
    if crew.is_null() {
        return replace(crew);
    }
    // SAFETY: crews are never freed.
    unsafe { &*crew }
}

/// A new crew in place of the old one, which is leaked: helpers may look at it for ever.
#[cold]
fn replace(old: *mut Crew) -> &'static Crew {
    let new = Box::into_raw(Box::new(Crew::new(patience)));
    match POOL.compare_exchange(old, new, AcqRel, Acquire) {
        // SAFETY: never freed from here on.
        Ok(_) => unsafe { &*new },
        Err(other) => {
            // SAFETY: nobody has seen `new`; `other` is a crew, and those are never freed.
            unsafe {
                drop(Box::from_raw(new));
                &*other
            }
        }
    }
}

/// Runs the job with helpers, or returns false: the crew is in use.
fn pooled(tasks: usize, threads: usize, f: &(dyn Fn(usize) + Sync)) -> bool {
    let crew = current();
    let ran = crew.run(tasks, threads, f);
    if ran == Ran::Together || !crew.left_behind() {
        return ran != Ran::Not;
    }
    // in the child of a fork: this job, or else the next one, gets a new crew
    let new = replace(std::ptr::from_ref(crew).cast_mut());
    ran == Ran::Alone || new.run(tasks, threads, f) != Ran::Not
}

fn patience() -> Duration {
    if num_threads() > cores() { SPIN_CROWDED } else { SPIN }
}

static INTERRUPT: AtomicPtr<()> = AtomicPtr::new(null_mut());
/// Between two calls of the check: it may have to wait for the interpreter.
const INTERRUPT_EVERY_MS: u64 = 20;

/// Sets what [`interrupted`] asks: whether the user wants the work to stop.
pub fn set_interrupt_check(check: fn() -> bool) {
    INTERRUPT.store(check as *mut (), Release);
}

/// Whether to stop work in progress. Cheap enough to call between instructions: the check that was set is asked at most every
/// 20 ms. Helpers never ask: the check may want a lock that their caller holds.
pub fn interrupted() -> bool {
    let check = INTERRUPT.load(Acquire);
    if check.is_null() || HELPER.get() {
        return false;
    }
    static START: OnceLock<Instant> = OnceLock::new();
    static LAST: AtomicU64 = AtomicU64::new(0);
    // counted from one interval before the start, so that the first call asks
    let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64 + INTERRUPT_EVERY_MS;
    let last = LAST.load(Relaxed);
    if now.wrapping_sub(last) < INTERRUPT_EVERY_MS || LAST.compare_exchange(last, now, Relaxed, Relaxed).is_err() {
        return false;
    }
    // SAFETY: only set_interrupt_check stores here, and it stores functions of this type.
    let check: fn() -> bool = unsafe { std::mem::transmute(check) };
    check()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::panic::catch_unwind;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// For tests that set the number of threads.
    pub static ALONE: Mutex<()> = Mutex::new(());

    fn each_task_once(tasks: usize) {
        let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        parallel(tasks, &|i| {
            counts[i].fetch_add(1, Relaxed);
        });
        assert!(counts.iter().all(|c| c.load(Relaxed) == 1), "{tasks} tasks");
    }

    #[test]
    fn every_task_runs_once_with_any_number_of_threads() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        for threads in [1, 2, 3, 8, 2] {
            set_num_threads(threads);
            assert_eq!(num_threads(), threads);
            for round in 0..300 {
                each_task_once(round % 20);
                if round % 100 == 0 {
                    // long enough for the helpers to fall asleep
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn shares_are_all_items_in_order() {
        assert_eq!(shares(0, 2), [0]);
        assert_eq!(shares(1, 4), [0, 1]);
        for items in 2..300 {
            for threads in [1, 2, 3, 8] {
                let starts = shares(items, threads);
                let sizes: Vec<usize> = starts.windows(2).map(|w| w[1] - w[0]).collect();
                assert_eq!((starts[0], sizes.iter().sum::<usize>()), (0, items));
                assert!(sizes.iter().all(|&s| s > 0) && sizes[0] <= items.div_ceil(2 * threads));
                assert!(sizes.len() <= 32 * threads, "{items} {threads}: {}", sizes.len());
            }
        }
    }

    #[test]
    fn helpers_do_take_part() {
        // a crew of its own: where another test has the pool, the tasks would run here one after the other, and wait for ever
        let crew: &'static Crew = Box::leak(Box::new(Crew::new(patience)));
        let me = std::thread::current().id();
        let others = AtomicUsize::new(0);
        // one task waits for the other, so that they cannot both run here
        let met = AtomicUsize::new(0);
        let ran = crew.run(2, 2, &|_| {
            met.fetch_add(1, SeqCst);
            while met.load(SeqCst) < 2 {
                std::thread::yield_now();
            }
            if std::thread::current().id() != me {
                others.fetch_add(1, Relaxed);
            }
        });
        assert_ne!(ran, Ran::Not);
        assert_eq!(others.load(Relaxed), 1);
        crew.dismiss();
    }

    #[test]
    fn dismissed_helpers_end() {
        static LEFT: AtomicUsize = AtomicUsize::new(0);
        struct Guard;
        impl Drop for Guard {
            fn drop(&mut self) {
                LEFT.fetch_add(1, SeqCst);
            }
        }
        thread_local!(static GUARD: Guard = const { Guard });
        let crew: &'static Crew = Box::leak(Box::new(Crew::new(patience)));
        let met = AtomicUsize::new(0);
        let ran = crew.run(2, 2, &|_| {
            if HELPER.get() {
                GUARD.with(|_| ());
            }
            met.fetch_add(1, SeqCst);
            while met.load(SeqCst) < 2 {
                std::thread::yield_now();
            }
        });
        assert_ne!(ran, Ran::Not);
        assert_eq!(LEFT.load(SeqCst), 0);
        crew.dismiss();
        let start = Instant::now();
        while LEFT.load(SeqCst) == 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "the helper is still there");
            std::thread::yield_now();
        }
    }

    #[test]
    fn nested_and_concurrent_jobs_run_inline() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        set_num_threads(3);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        parallel(5, &|_| {
                            parallel(4, &|_| {
                                total.fetch_add(1, Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Relaxed), 3 * 200 * 5 * 4);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        for threads in [1, 2, 8] {
            set_num_threads(threads);
            for bad in 0..10 {
                let caught = catch_unwind(|| parallel(10, &|i| assert!(i != bad, "task {i}")));
                let payload = caught.unwrap_err();
                assert_eq!(payload.downcast_ref::<String>(), Some(&format!("task {bad}")));
                each_task_once(10);
            }
        }
    }

    #[test]
    fn the_variable_is_read_with_sense() {
        assert_eq!(threads_from(Some(" 3 ")), 3);
        assert_eq!(threads_from(Some("100000")), MAX_THREADS);
        for nonsense in [None, Some(""), Some("0"), Some("-1"), Some("many")] {
            assert_eq!(threads_from(nonsense), cores());
        }
    }

    #[test]
    fn the_interrupt_check_is_asked_now_and_then() {
        // other tests run meanwhile: they are not to stop, but may be the ones that ask
        thread_local!(static STOPS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
        fn asked_within(limit: Duration) -> bool {
            let start = Instant::now();
            while start.elapsed() < limit {
                if interrupted() {
                    return true;
                }
                std::thread::yield_now();
            }
            false
        }
        let asked = || asked_within(Duration::from_secs(60));
        STOPS.set(true);
        assert!(!interrupted());
        set_interrupt_check(|| STOPS.get());
        assert!(asked());
        assert!((0..1000).any(|_| !interrupted()), "asked each time");
        let by_helper = std::thread::spawn(|| {
            HELPER.set(true);
            STOPS.set(true);
            asked_within(Duration::from_millis(5 * INTERRUPT_EVERY_MS))
        });
        assert!(!by_helper.join().unwrap());
        assert!(asked());
        INTERRUPT.store(null_mut(), Release);
        assert!(!interrupted());
    }

    #[cfg(unix)]
    #[test]
    fn the_child_of_a_fork_gets_helpers_of_its_own() {
        unsafe extern "C" {
            fn fork() -> i32;
            fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
            fn _exit(status: i32) -> !;
            fn alarm(seconds: u32) -> u32;
        }
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        set_num_threads(3);
        each_task_once(50);
        // fork both from outside and in the middle of a job
        for inside in [false, true] {
            let check = |_: usize| {
                // SAFETY: the child uses atomics, threads and the allocator, all of which survive a fork here, and leaves by
                // _exit; a child that hangs is ended by its alarm.
                let child = unsafe { fork() };
                if child == 0 {
                    // SAFETY: only sets a timer.
                    unsafe { alarm(30) };
                    let done = AtomicUsize::new(0);
                    for _ in 0..100 {
                        parallel(20, &|_| {
                            done.fetch_add(1, Relaxed);
                        });
                    }
                    let hired = !current().left_behind();
                    // SAFETY: leaves without running destructors of the parent's threads.
                    unsafe { _exit(if done.load(Relaxed) == 2000 && hired { 0 } else { 1 }) };
                }
                let mut status = -1;
                // SAFETY: our own child.
                unsafe { waitpid(child, &raw mut status, 0) };
                assert_eq!(status, 0);
            };
            if inside { parallel(4, &check) } else { check(0) }
        }
        each_task_once(50);
    }
}
