//! One vector type per instruction set and width behind one trait, so that each function is written once.
