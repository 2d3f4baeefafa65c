//! The way into the kernel: loading, the diff of map operations, reading back.
