//! The benchmark: nanoseconds a packet by `BPF_PROG_TEST_RUN` for every path of the program, beside
//! the empty program in the same run, and time and memory of filling the maps.
//!
//! Rounds are interleaved, so that a slow moment of the machine meets every path alike; the least of
//! the rounds is the figure, the median stands beside it. A path that changes a flow's state, or that
//! is measured with random keys, runs behind a program that restores the state and draws the keys
//! before every iteration; the same program in front of the empty one gives the cost of that, which
//! is subtracted.

pub mod daemon;
pub mod fill;
pub mod paths;
pub mod quic;
pub mod rig;
pub mod state;

/// How much is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Names on the lists.
    pub domains: u32,
    /// Addresses on the lists.
    pub addresses: u32,
    /// Enrolled organisations.
    pub orgs: u32,
}
