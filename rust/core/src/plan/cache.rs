//! Plans by the structure of their programs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::program::Program;
use super::{Options, Plan, options};
use crate::Result;

/// How the cache has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub hits: u64,
    pub misses: u64,
    pub entries: usize,
    pub bytes: usize,
}

struct Entry {
    plan: Arc<Plan>,
    used: u64,
}

/// 128 bits are compared, so two programs are as good as never taken for each other.
#[derive(Default)]
struct Cache {
    entries: FxHashMap<(u128, Options), Entry>,
    /// Counts look-ups: the time of last use.
    clock: u64,
    bytes: usize,
    hits: u64,
    misses: u64,
    limits: Option<(usize, usize)>,
}

const MAX_ENTRIES: usize = 4096;
const MAX_BYTES: usize = 512 << 20;

static CACHE: Mutex<Option<Cache>> = Mutex::new(None);

fn locked() -> MutexGuard<'static, Option<Cache>> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The plan of a program of this structure, made now if there is none.
pub fn plan_for(program: Program) -> Result<Arc<Plan>> {
    plan_with(program, options())
}

/// The same for what is run step by step.
pub fn plan_for_body(program: Program) -> Result<Arc<Plan>> {
    plan_with(program, Options { body: true, ..options() })
}

fn plan_with(program: Program, options: Options) -> Result<Arc<Plan>> {
    let key = (program.key(), options);
    {
        let mut guard = locked();
        let cache = guard.get_or_insert_default();
        cache.clock += 1;
        let now = cache.clock;
        if let Some(e) = cache.entries.get_mut(&key) {
            e.used = now;
            cache.hits += 1;
            return Ok(Arc::clone(&e.plan));
        }
        cache.misses += 1;
    }
    // planned without the lock; of two threads with one program the later one wins
    let plan = Arc::new(Plan::new(program, options)?);
    let mut guard = locked();
    let cache = guard.get_or_insert_default();
    cache.clock += 1;
    let entry = Entry { plan: Arc::clone(&plan), used: cache.clock };
    cache.bytes += plan.bytes();
    if let Some(old) = cache.entries.insert(key, entry) {
        cache.bytes -= old.plan.bytes();
    }
    let dropped = cache.shrink();
    drop(guard);
    drop(dropped);
    Ok(plan)
}

impl Cache {
    /// Takes out the least recently used entries until the bounds hold with room to spare.
    fn shrink(&mut self) -> Vec<Entry> {
        let (most, bytes) = self.limits.unwrap_or((MAX_ENTRIES, MAX_BYTES));
        let mut dropped = Vec::new();
        if self.entries.len() <= most && self.bytes <= bytes {
            return dropped;
        }
        let mut by_use: Vec<_> = self.entries.iter().map(|(k, e)| (e.used, *k)).collect();
        by_use.sort_unstable_by_key(|e| e.0);
        // a quarter at a time, so that this is not done at every miss; the newest always stays
        by_use.pop();
        let (most, bytes) = (most - most / 4, bytes - bytes / 4);
        for (_, key) in by_use {
            if self.entries.len() <= most.max(1) && self.bytes <= bytes {
                break;
            }
            if let Some(e) = self.entries.remove(&key) {
                self.bytes -= e.plan.bytes();
                dropped.push(e);
            }
        }
        dropped
    }
}

/// Bounds the cache, in entries and bytes.
pub fn set_limits(entries: usize, bytes: usize) {
    let dropped = {
        let mut guard = locked();
        let cache = guard.get_or_insert_default();
        cache.limits = Some((entries, bytes));
        cache.shrink()
    };
    drop(dropped);
}

/// Forgets all plans, and the counts.
pub fn clear() {
    let old = {
        let mut guard = locked();
        let limits = guard.as_ref().and_then(|c| c.limits);
        guard.replace(Cache { limits, ..Cache::default() })
    };
    drop(old);
}

pub fn stats() -> Stats {
    match locked().as_ref() {
        None => Stats::default(),
        Some(c) => Stats { hits: c.hits, misses: c.misses, entries: c.entries.len(), bytes: c.bytes },
    }
}
