//! Reductions of a block.
