//! Which value is in which register. A value that is needed later than all others makes room first (Belady).

/// Values of one kind (vectors or masks) in `COUNT` registers.
pub(crate) struct File<const COUNT: usize> {
    holds: [Option<u32>; COUNT],
    /// For each value: its register, from 1 on.
    at: Vec<u8>,
}

impl<const COUNT: usize> File<COUNT> {
    pub fn new(values: usize) -> Self {
        File { holds: [None; COUNT], at: vec![0; values] }
    }

    pub fn of(&self, value: u32) -> Option<usize> {
        usize::from(self.at[value as usize]).checked_sub(1)
    }

    /// A register for a value: a free one, or that of the value whose next use is furthest away, and which value that was. The
    /// values in `pinned` stay.
    pub fn take(&mut self, value: u32, pinned: &[u32], next: impl Fn(u32) -> u32) -> (usize, Option<u32>) {
        if let Some(free) = self.holds.iter().position(Option::is_none) {
            self.put(value, free);
            return (free, None);
        }
        let mut found = (0, 0, None);
        for (r, &held) in self.holds.iter().enumerate() {
            if let Some(x) = held
                && !pinned.contains(&x)
                && (found.2.is_none() || next(x) > found.1)
            {
                found = (r, next(x), held);
            }
        }
        if let Some(x) = found.2 {
            self.at[x as usize] = 0;
        }
        self.put(value, found.0);
        (found.0, found.2)
    }

    fn put(&mut self, value: u32, register: usize) {
        self.holds[register] = Some(value);
        self.at[value as usize] = register as u8 + 1;
    }

    /// Forgets a value.
    pub fn free(&mut self, value: u32) {
        if let Some(r) = self.of(value) {
            self.holds[r] = None;
            self.at[value as usize] = 0;
        }
    }
}

/// When each value is used, in order of time.
pub(crate) struct Uses {
    first: Vec<u32>,
    times: Vec<u32>,
    /// How many of the uses of each are over.
    done: Vec<u32>,
}

pub(crate) const NEVER: u32 = u32::MAX;

impl Uses {
    /// From pairs of values and times, sorted by time.
    pub fn new(values: usize, pairs: &[(u32, u32)]) -> Uses {
        let mut first = vec![0u32; values + 1];
        for &(v, _) in pairs {
            first[v as usize + 1] += 1;
        }
        for v in 0..values {
            first[v + 1] += first[v];
        }
        let mut times = vec![0; pairs.len()];
        let mut done = vec![0u32; values];
        for &(v, t) in pairs {
            times[(first[v as usize] + done[v as usize]) as usize] = t;
            done[v as usize] += 1;
        }
        done.fill(0);
        Uses { first, times, done }
    }

    /// The next use of a value.
    pub fn next(&self, v: u32) -> u32 {
        let at = self.first[v as usize] + self.done[v as usize];
        if at < self.first[v as usize + 1] { self.times[at as usize] } else { NEVER }
    }

    /// The first use of a value after a time.
    pub fn after(&self, v: u32, time: u32) -> u32 {
        let (from, end) = (self.first[v as usize] + self.done[v as usize], self.first[v as usize + 1]);
        self.times[from as usize..end as usize].iter().copied().find(|&t| t > time).unwrap_or(NEVER)
    }

    /// The uses up to this time are over.
    pub fn pass(&mut self, v: u32, time: u32) {
        while self.next(v) <= time {
            self.done[v as usize] += 1;
        }
    }
}
