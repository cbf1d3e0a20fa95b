//! What a tape has become so far, as a number: two tapes with the same history are the same up to the values of their
//! parameters, node by node, so whatever follows from the structure of one follows from that of the other.

use std::hash::{Hash, Hasher};

use super::{DType, NodeId};
use crate::ops::Op;

/// Two independent 64-bit streams over the same words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams(u64, u64);

impl Default for Streams {
    fn default() -> Streams {
        Streams(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
    }
}

impl Streams {
    #[inline]
    pub fn word(&mut self, x: u64) {
        self.0 = (self.0.rotate_left(5) ^ x).wrapping_mul(0x517c_c1b7_2722_0a95);
        self.1 = (self.1 ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.1 ^= self.1 >> 29;
    }

    /// An operation with its inputs, shape and dtype.
    #[inline]
    pub fn node(&mut self, op: &Op, inputs: impl ExactSizeIterator<Item = u32>, shape: &[usize], dtype: DType) {
        // lengths in front, so that neighbours cannot trade places
        self.word(((inputs.len() as u64) << 32) | ((shape.len() as u64) << 8) | dtype as u64);
        op.hash(self);
        for x in inputs {
            self.word(u64::from(x));
        }
        for &d in shape {
            self.word(d as u64);
        }
    }

    pub fn finish128(&self) -> u128 {
        let mix = |x: u64| {
            let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            x ^ (x >> 32)
        };
        u128::from(mix(self.0)) << 64 | u128::from(mix(self.1))
    }
}

impl Hasher for Streams {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, x: u8) {
        self.word(u64::from(x));
    }

    fn write_u32(&mut self, x: u32) {
        self.word(u64::from(x));
    }

    fn write_u64(&mut self, x: u64) {
        self.word(x);
    }

    fn write_usize(&mut self, x: usize) {
        self.word(x as u64);
    }

    fn write_isize(&mut self, x: isize) {
        self.word(x as u64);
    }

    fn write_i64(&mut self, x: i64) {
        self.word(x as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Followed by nothing: what is said of a node besides its structure.
#[derive(Clone, Copy)]
pub(super) enum Event {
    /// Its value is known from here on.
    Known = 1,
    /// It belongs to a scope of abstract arguments.
    Abstract = 2,
}

/// The structure of a tape as it is appended to.
#[derive(Debug, Default)]
pub(super) struct History {
    streams: Streams,
    /// The tape holds something that is more than its structure, or has been cut back.
    lost: bool,
}

impl History {
    #[inline]
    pub fn push(&mut self, op: &Op, inputs: &[NodeId], shape: &[usize], dtype: DType) {
        if !op.is_structural() {
            self.lost = true;
        }
        self.streams.node(op, inputs.iter().map(|x| x.0), shape, dtype);
    }

    #[inline]
    pub fn event(&mut self, what: Event, of: u32) {
        self.streams.word(1 << 63 | (what as u64) << 40 | u64::from(of));
    }

    pub fn lose(&mut self) {
        self.lost = true;
    }

    pub fn streams(&self) -> Option<Streams> {
        (!self.lost).then_some(self.streams)
    }
}
