//! The very file `crew.rs` of mlgrad-core over loom's threads, atomics and cells: loom runs each test through the orders in
//! which the threads can get on, and the values that each atomic read may see, and reports data races, deadlocks and panics.
//!
//! loom takes a sequentially consistent access for an acquiring or releasing one. So what it cannot show is that a helper
//! that falls asleep while a job is published always wakes for it; by the protocol that costs time and never progress, and
//! these tests hold without it.
#![cfg(test)]

#[path = "../../core/src/exec/pool/crew.rs"]
mod crew;
mod sync;
mod tests;
