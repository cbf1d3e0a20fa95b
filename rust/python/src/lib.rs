//! The NumPy boundary of mlgrad: the extension module `mlgrad._core`.
