//! Plans by the structure of their programs, and recipes by the history of their tapes.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::program::Program;
use super::recipe::Recipe;
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

/// 128 bits are compared, so two structures are as good as never taken for each other.
type Key = (u128, Options);

/// What is kept, with how much it weighs and when it was last used.
trait Kept {
    fn bytes(&self) -> usize;
    fn used(&self) -> u64;
}

impl Kept for Arc<Plan> {
    fn bytes(&self) -> usize {
        Plan::bytes(self)
    }

    /// In the plan itself, because recipes use it too.
    fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

impl Kept for (Arc<Recipe>, u64) {
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn used(&self) -> u64 {
        self.1
    }
}

/// Entries bounded in number and bytes: the least recently used go first.
struct Bounded<T> {
    entries: FxHashMap<Key, T>,
    bytes: usize,
}

impl<T> Default for Bounded<T> {
    fn default() -> Bounded<T> {
        Bounded { entries: FxHashMap::default(), bytes: 0 }
    }
}

impl<T: Kept> Bounded<T> {
    /// Returns what is to be dropped, outside the lock.
    fn insert(&mut self, key: Key, entry: T, limits: (usize, usize)) -> Vec<T> {
        self.bytes += entry.bytes();
        let old = self.entries.insert(key, entry);
        self.bytes -= old.as_ref().map_or(0, Kept::bytes);
        let mut dropped = self.shrink(limits);
        dropped.extend(old);
        dropped
    }

    /// Takes out the least recently used entries until the bounds hold with room to spare.
    fn shrink(&mut self, (most, bytes): (usize, usize)) -> Vec<T> {
        let mut dropped = Vec::new();
        if self.entries.len() <= most && self.bytes <= bytes {
            return dropped;
        }
        let mut by_use: Vec<_> = self.entries.iter().map(|(k, e)| (e.used(), *k)).collect();
        by_use.sort_unstable_by_key(|e| e.0);
        // a quarter at a time, so that this is not done at every miss; the newest always stays
        by_use.pop();
        let (most, bytes) = (most - most / 4, bytes - bytes / 4);
        for (_, key) in by_use {
            if self.entries.len() <= most.max(1) && self.bytes <= bytes {
                break;
            }
            if let Some(e) = self.entries.remove(&key) {
                self.bytes -= e.bytes();
                dropped.push(e);
            }
        }
        dropped
    }
}

#[derive(Default)]
struct Cache {
    plans: Bounded<Arc<Plan>>,
    recipes: Bounded<(Arc<Recipe>, u64)>,
    /// Counts look-ups: the time of last use.
    clock: u64,
    hits: u64,
    misses: u64,
    limits: Option<(usize, usize)>,
}

const MAX_ENTRIES: usize = 4096;
const MAX_BYTES: usize = 512 << 20;
/// Recipes are small, and made again without planning.
const RECIPES: (usize, usize) = (1024, 32 << 20);

static CACHE: Mutex<Option<Cache>> = Mutex::new(None);

fn locked() -> MutexGuard<'static, Option<Cache>> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn limits(&self) -> (usize, usize) {
        self.limits.unwrap_or((MAX_ENTRIES, MAX_BYTES))
    }
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
    match look_up(key) {
        Some(plan) => Ok(plan),
        None => make(key, program),
    }
}

/// The plan of the programs of this key, if there is one.
pub(super) fn find(key: u128) -> Option<Arc<Plan>> {
    look_up((key, options()))
}

fn look_up(key: Key) -> Option<Arc<Plan>> {
    let mut guard = locked();
    let cache = guard.get_or_insert_default();
    let now = cache.now();
    let Some(plan) = cache.plans.entries.get(&key) else {
        cache.misses += 1;
        return None;
    };
    plan.used.store(now, Relaxed);
    cache.hits += 1;
    Some(Arc::clone(plan))
}

/// The plan of a program of this key that has none.
pub(super) fn make_for(key: u128, program: Program) -> Result<Arc<Plan>> {
    make((key, options()), program)
}

fn make(key: Key, program: Program) -> Result<Arc<Plan>> {
    // planned without the lock; of two threads with one program the later one wins
    let plan = Arc::new(Plan::new(program, key.1)?);
    let mut guard = locked();
    let cache = guard.get_or_insert_default();
    plan.used.store(cache.now(), Relaxed);
    let limits = cache.limits();
    let dropped = cache.plans.insert(key, Arc::clone(&plan), limits);
    drop(guard);
    drop(dropped);
    Ok(plan)
}

/// The recipe for tapes of this key, with its plan, if one has to run.
pub fn recall(key: u128) -> Option<(Arc<Recipe>, Option<Arc<Plan>>)> {
    let mut guard = locked();
    let cache = guard.as_mut()?;
    let now = cache.now();
    let (recipe, used) = cache.recipes.entries.get_mut(&(key, options()))?;
    *used = now;
    let plan = recipe.plan()?;
    if let Some(plan) = &plan {
        plan.used.store(now, Relaxed);
    }
    cache.hits += 1;
    Some((Arc::clone(recipe), plan))
}

/// Keeps a recipe for the next tape of this key.
pub fn remember(key: u128, recipe: Recipe) {
    let mut guard = locked();
    let cache = guard.get_or_insert_default();
    let now = cache.now();
    let dropped = cache.recipes.insert((key, options()), (Arc::new(recipe), now), RECIPES);
    drop(guard);
    drop(dropped);
}

/// Bounds the cache of plans, in entries and bytes.
pub fn set_limits(entries: usize, bytes: usize) {
    let dropped = {
        let mut guard = locked();
        let cache = guard.get_or_insert_default();
        cache.limits = Some((entries, bytes));
        cache.plans.shrink((entries, bytes))
    };
    drop(dropped);
}

/// Forgets all plans and recipes, and the counts.
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
        Some(c) => Stats { hits: c.hits, misses: c.misses, entries: c.plans.entries.len(), bytes: c.plans.bytes },
    }
}
