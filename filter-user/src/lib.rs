//! The daemon's parts. Registry files and configuration flow into one [`desired::Desired`] state;
//! `kernel` makes the maps equal to it by a diff. Effects live in `kernel`, `daemon` and `cli`.

pub mod desired;
pub mod kernel;
pub mod replay;
