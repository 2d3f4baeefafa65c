//! The daemon's parts. Registry files and configuration flow into one [`desired::Desired`] state;
//! `kernel` makes the maps equal to it by a diff. Effects live in `kernel`, `daemon` and `cli`.

pub mod bypass;
pub mod categories;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod daemon;
pub mod desired;
pub mod difference;
pub mod digest;
mod encoding;
pub mod entries;
pub mod explain;
pub mod inspect;
pub mod journal;
pub mod kernel;
pub mod load;
pub mod normalise;
pub mod numbers;
pub mod output;
pub mod policy;
mod portal;
pub mod problem;
pub mod registry;
pub mod replay;
pub mod safe_search;
pub mod schedule;
pub mod services;
pub mod signature;
pub mod sources;
pub mod state;
pub mod status;
#[cfg(test)]
mod testing;
pub mod walk;
