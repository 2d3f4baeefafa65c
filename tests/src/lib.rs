//! What the tests, the demo and the benchmark share.

pub mod demo;
pub mod lab;
