//! What the tests, the demo and the benchmark share.

pub mod cases;
pub mod demo;
pub mod frame_reader;
pub mod frames;
pub mod hello;
pub mod lab;
pub mod reference;
pub mod setup;
