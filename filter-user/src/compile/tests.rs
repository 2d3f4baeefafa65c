//! Compilation against a naive reference.
