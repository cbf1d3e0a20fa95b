//! How a job is shared between its caller and the helpers: the protocol, apart from how many threads there should be and
//! what becomes of a pool in the child of a fork. `rust/loom` checks this very file.
//!
//! A job is a function and a number of tasks. Whoever takes part draws the next task from a counter. The caller publishes the
//! job in `state`, works, closes the job and waits for the helpers that joined: a helper that is late or not there at all
//! costs time and never progress.

#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::*;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Mutex, Thread, UnsafeCell, park, spawn, spin, spin_loop, yield_now,
};

/// A job as the helpers see it.
#[derive(Clone, Copy)]
struct Job {
    run: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    /// Helpers with an index below this may join.
    helpers: usize,
}

#[repr(align(128))]
struct Line<T>(T);

/// A helper thread as the callers see it.
struct Helper {
    asleep: Arc<Line<AtomicBool>>,
    thread: Thread,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It is done, and helpers were in it to the end.
    Together,
    /// It is done; helpers had left again by its end, or never came.
    Alone,
    /// Nothing has been done: the crew is in use, by another thread or by a job that we are part of, or belongs to the
    /// parent of a fork.
    Not,
}

pub struct Crew {
    process: u32,
    /// Whether a job is being run; whoever sets it owns `job` and `helpers`.
    busy: AtomicBool,
    /// The number of the job (from bit 32 up), whether it can be joined ([`OPEN`]) and how many helpers are in it.
    state: Line<AtomicU64>,
    next: Line<AtomicUsize>,
    job: UnsafeCell<Option<Job>>,
    helpers: UnsafeCell<Vec<Helper>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// How long a helper looks for the next job before it sleeps.
    patience: fn() -> Duration,
}

const OPEN: u64 = 1 << 31;
const JOINED: u64 = OPEN - 1;
/// The state that sends the helpers home; only tests do.
const OVER: u64 = u64::MAX;

// SAFETY: `job` is written by the owner of `busy` while `state` is closed and nobody is in it, and read by who joined while it
// was open; `helpers` is the owner's alone.
unsafe impl Sync for Crew {}
// SAFETY: the function in a job is Sync, and outlives the job.
unsafe impl Send for Crew {}

impl Crew {
    pub fn new(patience: fn() -> Duration) -> Crew {
        Crew {
            process: std::process::id(),
            busy: AtomicBool::new(false),
            state: Line(AtomicU64::new(0)),
            next: Line(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            helpers: UnsafeCell::new(Vec::new()),
            panic: Mutex::new(None),
            patience,
        }
    }

    /// Whether we are in the child of a fork, without the helpers.
    #[cold]
    pub fn left_behind(&self) -> bool {
        self.process != std::process::id()
    }

    /// Runs f(0) … f(tasks - 1), each once, on up to that many threads, this one included; a panic in a task goes on here
    /// once nobody works any more.
    pub fn run(&'static self, tasks: usize, threads: usize, f: &(dyn Fn(usize) + Sync)) -> Ran {
        if self.busy.load(Relaxed) || self.busy.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            return Ran::Not;
        }
        // SAFETY: we own `busy`.
        let hired = self.helpers.with(|h| unsafe { (*h).len() });
        if hired < threads - 1 {
            if self.left_behind() {
                self.busy.store(false, Release);
                return Ran::Not;
            }
            // SAFETY: as above.
            self.helpers.with_mut(|h| self.hire(unsafe { &mut *h }, threads - 1));
        }
        // SAFETY: only the lifetime changes; the job is closed, and everybody out of it, before this function returns.
        let run = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(f)
        };
        // SAFETY: we own `busy`, and the last job is closed and left by all.
        self.job.with_mut(|job| unsafe { *job = Some(Job { run, tasks, helpers: threads - 1 }) });
        self.next.0.store(0, Relaxed);
        let number = (self.state.0.load(Relaxed) >> 32).wrapping_add(1);
        // sequentially consistent, as is reading `asleep`: either we see a helper asleep, or it sees the job
        self.state.0.store(number << 32 | OPEN, SeqCst);
        // SAFETY: we own `busy`.
        self.helpers.with(|h| wake(unsafe { &*h }, threads - 1));
        let mut joined = false;
        let mine = catch_unwind(AssertUnwindSafe(|| self.work(f, tasks)));
        if let Err(payload) = mine {
            self.stop(payload, tasks);
        }
        let mut state = self.state.0.fetch_and(!OPEN, AcqRel) & !OPEN;
        let mut turns = 0_u32;
        while state & JOINED != 0 {
            joined = true;
            turns += 1;
            if turns < 4000 {
                spin_loop()
            } else {
                yield_now()
            }
            state = self.state.0.load(Acquire);
        }
        let payload = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.busy.store(false, Release);
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
        if joined { Ran::Together } else { Ran::Alone }
    }

    fn work(&self, f: &(dyn Fn(usize) + Sync), tasks: usize) {
        loop {
            let i = self.next.0.fetch_add(1, Relaxed);
            if i >= tasks {
                return;
            }
            f(i);
        }
    }

    /// Keeps the tasks that have not begun from running.
    #[cold]
    fn stop(&self, payload: Box<dyn Any + Send>, tasks: usize) {
        self.next.0.fetch_max(tasks, Relaxed);
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
    }

    #[cold]
    fn hire(&'static self, helpers: &mut Vec<Helper>, wanted: usize) {
        while helpers.len() < wanted {
            let index = helpers.len();
            let asleep = Arc::new(Line(AtomicBool::new(false)));
            let own = Arc::clone(&asleep);
            match spawn(format!("mlgrad-{}", index + 1), move || self.help(index, &own.0)) {
                Ok(thread) => helpers.push(Helper { asleep, thread }),
                // fewer threads are slower, not wrong
                Err(_) => return,
            }
        }
    }

    /// The life of a helper.
    fn help(&self, index: usize, asleep: &AtomicBool) {
        let mut seen = 0;
        loop {
            let state = self.wait(seen, asleep);
            if state == OVER {
                return;
            }
            seen = state >> 32;
            self.join(state, index);
        }
    }

    /// Takes part in the job if it is still open.
    fn join(&self, mut state: u64, index: usize) {
        let number = state >> 32;
        while state >> 32 == number && state & OPEN != 0 {
            match self.state.0.compare_exchange_weak(state, state + 1, AcqRel, Acquire) {
                Ok(_) => {
                    // SAFETY: the job was open when we joined, so it is written and stays until we leave.
                    if let Some(job) = self.job.with(|job| unsafe { *job })
                        && index < job.helpers
                    {
                        // SAFETY: as above: the caller waits for us before the function goes away.
                        let f = unsafe { &*job.run };
                        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.work(f, job.tasks))) {
                            self.stop(payload, job.tasks);
                        }
                    }
                    self.state.0.fetch_sub(1, Release);
                    return;
                }
                Err(other) => state = other,
            }
        }
    }

    /// The state once it shows a job other than the last one seen.
    fn wait(&self, seen: u64, asleep: &AtomicBool) -> u64 {
        let fresh = |state: u64| (state >> 32 != seen && state & OPEN != 0).then_some(state);
        loop {
            if let Some(state) = spin((self.patience)(), || fresh(self.state.0.load(Acquire))) {
                return state;
            }
            asleep.store(true, SeqCst);
            loop {
                if let Some(state) = fresh(self.state.0.load(SeqCst)) {
                    asleep.store(false, Release);
                    return state;
                }
                if !asleep.load(Acquire) {
                    // woken for a job that is over by now: more may follow
                    break;
                }
                park();
            }
        }
    }

    /// Sends the helpers home; no job may follow.
    #[cfg(test)]
    pub fn dismiss(&self) {
        while self.busy.load(Acquire) {
            yield_now();
        }
        self.state.0.store(OVER, SeqCst);
        // SAFETY: the last job is over, and its owner gone.
        self.helpers.with(|h| unsafe { &*h }.iter().for_each(|helper| helper.thread.unpark()));
    }
}

/// Wakes those of the first `count` helpers that are asleep.
fn wake(helpers: &[Helper], count: usize) {
    for helper in &helpers[..helpers.len().min(count)] {
        if helper.asleep.0.load(SeqCst) && helper.asleep.0.swap(false, AcqRel) {
            helper.thread.unpark();
        }
    }
}
