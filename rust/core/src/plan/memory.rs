//! Places in the arena, given out and taken back in the order in which a plan runs.

use std::collections::BTreeMap;

/// Every place begins at a whole vector.
const LINE: usize = 64;

/// Hands out places from an address on; what is free is used again, neighbours joined.
#[derive(Debug, Default)]
pub struct Places {
    end: usize,
    /// Free places by address, and by size.
    free: BTreeMap<usize, usize>,
    sizes: BTreeMap<(usize, usize), ()>,
}

pub fn padded(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(LINE)
}

impl Places {
    pub fn take(&mut self, bytes: usize) -> usize {
        let need = padded(bytes);
        let found = self.sizes.range((need, 0)..).next().map(|(&k, ())| k);
        if let Some((size, at)) = found {
            self.remove(at, size);
            if size > need {
                self.insert(at + need, size - need);
            }
            return at;
        }
        // the last free place may touch the end: then it only needs to grow
        if let Some((&at, &size)) = self.free.last_key_value()
            && at + size == self.end
        {
            self.remove(at, size);
            self.end = at + need;
            return at;
        }
        let at = self.end;
        self.end += need;
        at
    }

    pub fn give_back(&mut self, at: usize, bytes: usize) {
        let (mut at, mut size) = (at, padded(bytes));
        if let Some((&before, &length)) = self.free.range(..at).next_back()
            && before + length == at
        {
            self.remove(before, length);
            at = before;
            size += length;
        }
        if let Some(&length) = self.free.get(&(at + size)) {
            self.remove(at + size, length);
            size += length;
        }
        self.insert(at, size);
    }

    pub fn end(&self) -> usize {
        self.end
    }

    fn insert(&mut self, at: usize, size: usize) {
        self.free.insert(at, size);
        self.sizes.insert((size, at), ());
    }

    fn remove(&mut self, at: usize, size: usize) {
        self.free.remove(&at);
        self.sizes.remove(&(size, at));
    }
}

/// The same for many small places: a list for each size, nothing joined.
#[derive(Debug, Default)]
pub struct SmallPlaces {
    end: usize,
    free: Vec<Vec<usize>>,
}

impl SmallPlaces {
    pub fn take(&mut self, bytes: usize) -> usize {
        let lines = padded(bytes) / LINE;
        match self.free.get_mut(lines).and_then(Vec::pop) {
            Some(at) => at,
            None => self.fresh(bytes),
        }
    }

    /// A place that nothing was in before, for what must be there from the start.
    pub fn fresh(&mut self, bytes: usize) -> usize {
        let at = self.end;
        self.end += padded(bytes);
        at
    }

    pub fn give_back(&mut self, at: usize, bytes: usize) {
        let lines = padded(bytes) / LINE;
        if self.free.len() <= lines {
            self.free.resize_with(lines + 1, Vec::new);
        }
        self.free[lines].push(at);
    }

    pub fn end(&self) -> usize {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_never_overlap_and_are_used_again() {
        let mut p = Places::default();
        let mut held: Vec<(usize, usize)> = Vec::new();
        let mut x = 12345u64;
        for _ in 0..5000 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let r = (x >> 33) as usize;
            if r.is_multiple_of(3) && !held.is_empty() {
                let (at, bytes) = held.swap_remove(r % held.len());
                p.give_back(at, bytes);
            } else if held.len() < 40 {
                let bytes = r % 5000;
                let at = p.take(bytes);
                for &(other, length) in &held {
                    assert!(at + padded(bytes) <= other || other + padded(length) <= at);
                }
                held.push((at, bytes));
            }
        }
        assert!(p.end() < 400_000, "{}", p.end());
        for (at, bytes) in held {
            p.give_back(at, bytes);
        }
        assert_eq!(p.free.len(), 1, "all free places are joined");
        let mut s = SmallPlaces::default();
        let (a, b) = (s.take(8), s.take(100));
        s.give_back(a, 8);
        assert_eq!(s.take(64), a);
        assert_ne!(s.take(8), b);
    }
}
