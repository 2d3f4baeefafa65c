//! The `schoolgate` binary.

fn main() {}
