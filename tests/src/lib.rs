//! What the tests, the demo and the benchmark share.

pub mod bench;
pub mod cases;
pub mod corpus;
pub mod demo;
pub mod dns;
pub mod draw;
pub mod evasion;
pub mod fetched;
pub mod frame_reader;
pub mod frames;
pub mod gate;
pub mod hello;
pub mod lab;
pub mod lists_server;
pub mod matrix;
pub mod quic;
pub mod reference;
pub mod register;
pub mod setup;
pub mod split;
pub mod twin;
mod twin_tables;
pub mod wire;
