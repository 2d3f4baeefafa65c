//! Registries in each format, with what is kept of them.
