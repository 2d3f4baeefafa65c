//! The demo: real clients of a school and of its neighbour, filtered or not at the provider's edge.

mod cases;
mod provider;
mod run;
mod table;

pub use run::{Filter, run};
