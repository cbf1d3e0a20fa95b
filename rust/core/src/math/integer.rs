//! Kernels on integers and bool.
