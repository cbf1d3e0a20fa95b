//! Gamma functions and the inverse error function.
