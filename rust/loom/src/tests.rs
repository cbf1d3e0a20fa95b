#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::crew::{Crew, Ran};
use crate::sync::UnsafeCell;

/// Plain cells that tasks write: loom reports a write that is not ordered before the caller's read, or that comes after it.
struct Slots(Vec<UnsafeCell<usize>>);

// SAFETY: loom checks what the protocol promises, that no two threads are in one cell at a time.
unsafe impl Sync for Slots {}
// SAFETY: numbers.
unsafe impl Send for Slots {}

impl Slots {
    fn new(n: usize) -> Slots {
        Slots((0..n).map(|_| UnsafeCell::new(0)).collect())
    }

    fn add(&self, i: usize, amount: usize) {
        // SAFETY: as above.
        self.0[i].with_mut(|p| unsafe { *p += amount });
    }

    fn get(&self, i: usize) -> usize {
        // SAFETY: as above.
        self.0[i].with(|p| unsafe { *p })
    }
}

/// Explores up to this many switches away from a thread that could go on.
fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

fn crew() -> &'static Crew {
    Box::leak(Box::new(Crew::new(|| Duration::ZERO)))
}

/// A job whose every task runs once, and is seen by the caller to have run.
fn job(crew: &'static Crew, tasks: usize, threads: usize) -> Ran {
    let slots = Slots::new(tasks);
    let ran = crew.run(tasks, threads, &|i| slots.add(i, 1));
    let wanted = usize::from(ran != Ran::Not);
    for i in 0..tasks {
        assert_eq!(slots.get(i), wanted, "task {i}");
    }
    ran
}

#[test]
fn a_job_is_done_once_and_seen() {
    model(3, || {
        let crew = crew();
        assert_ne!(job(crew, 2, 2), Ran::Not);
        crew.dismiss();
    });
}

#[test]
fn a_helper_may_come_late_and_into_the_next_job() {
    model(3, || {
        let crew = crew();
        for tasks in [1, 2] {
            assert_ne!(job(crew, tasks, 2), Ran::Not);
        }
        crew.dismiss();
    });
}

#[test]
fn two_helpers() {
    model(2, || {
        let crew = crew();
        assert_ne!(job(crew, 2, 3), Ran::Not);
        crew.dismiss();
    });
}

#[test]
fn a_job_for_fewer_helpers_than_there_are() {
    model(2, || {
        let crew = crew();
        assert_ne!(job(crew, 1, 3), Ran::Not);
        assert_ne!(job(crew, 2, 2), Ran::Not);
        crew.dismiss();
    });
}

#[test]
fn one_of_two_callers_is_turned_away_or_waits_for_nobody() {
    model(3, || {
        let crew = crew();
        let other = loom::thread::spawn(move || job(crew, 1, 2));
        let mine = job(crew, 1, 2);
        let theirs = other.join().unwrap();
        assert!(mine != Ran::Not || theirs != Ran::Not);
        crew.dismiss();
    });
}

#[test]
fn a_nested_job_is_turned_away() {
    model(3, || {
        let crew = crew();
        let ran = crew.run(2, 2, &|_| assert_eq!(crew.run(1, 2, &|_| unreachable!()), Ran::Not));
        assert_ne!(ran, Ran::Not);
        crew.dismiss();
    });
}

#[test]
fn a_panic_comes_back_once_nobody_works() {
    model(3, || {
        let crew = crew();
        let slots = Arc::new(Slots::new(2));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            crew.run(2, 2, &|i| {
                slots.add(i, 1);
                // not by panic!, whose message would be printed for each order
                std::panic::resume_unwind(Box::new(i));
            })
        }));
        let first = *caught.unwrap_err().downcast::<usize>().unwrap();
        assert!(first < 2);
        assert_eq!(slots.get(first), 1);
        assert!(slots.get(1 - first) <= 1);
        assert_ne!(job(crew, 1, 2), Ran::Not);
        crew.dismiss();
    });
}
