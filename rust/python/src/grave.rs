//! Python objects that the tape or a plan holds. They may be let go while a lock is held, where no Python code may run: so
//! they wait here until somebody who holds none buries them.

use std::any::Any;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Mutex, PoisonError};

static WAITING: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
static ANY: AtomicBool = AtomicBool::new(false);

/// A value whose drop is put off.
pub struct Buried<T: Send + 'static>(Option<Box<T>>);

impl<T: Send> Buried<T> {
    pub fn new(value: T) -> Buried<T> {
        Buried(Some(Box::new(value)))
    }
}

impl<T: Send> Deref for Buried<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("only drop takes the value"),
        }
    }
}

impl<T: Send> Drop for Buried<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            WAITING.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            ANY.store(true, Release);
        }
    }
}

/// Drops what waits. To be called where no lock is held.
pub fn bury() {
    if ANY.load(Relaxed) && ANY.swap(false, AcqRel) {
        let all = std::mem::take(&mut *WAITING.lock().unwrap_or_else(PoisonError::into_inner));
        drop(all);
    }
}
