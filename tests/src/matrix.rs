//! Many flows one after another through the program in the running kernel, each cut in its own way.

#![expect(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test support: numbers are small, and what does not fit is a failure, which a panic shows"
)]

use std::fmt::Display;

use filter_user::desired::FlowSizes;

use crate::frames::Path;
use crate::gate::Gate;
use crate::setup::Setup;
use crate::split::{check, segments};

/// Flows between two emptyings of the flow tables: blocked ones stay unfinished in them.
pub const BATCH: usize = 2_000;
/// Tables in which no set fills up with that many flows.
pub const ROOMY: FlowSizes = FlowSizes {
    flows: 65_536,
    hellos: 16_384,
};
/// Failures that are shown.
const SHOWN: usize = 10;

/// Sends flows one after another, each on ports of its own, and gathers what is wrong.
pub struct Matrix {
    gate: Gate,
    /// Where the next flow goes; its source port is chosen here.
    pub path: Path,
    flows: usize,
    wrong: Vec<String>,
}

impl Matrix {
    /// Loads the program, in this setup.
    #[must_use]
    pub fn new(setup: &Setup) -> Matrix {
        let mut gate = Gate::new(ROOMY).unwrap();
        gate.apply(setup).unwrap();
        Matrix {
            gate,
            path: Path::default(),
            flows: 0,
            wrong: Vec::new(),
        }
    }

    /// Sends a stream, cut at these offsets, whose first `decisive` bytes show that it is forbidden;
    /// `None`: it is allowed. `what` is shown if it fails.
    pub fn flow(
        &mut self,
        what: impl Display,
        stream: &[u8],
        cuts: &[usize],
        decisive: Option<usize>,
    ) {
        self.flows += 1;
        if self.flows.is_multiple_of(BATCH) {
            self.gate.tables.forget_flows();
        }
        self.path.sport = 1_024 + (self.flows % 60_000) as u16;
        let first = (self.flows as u32).wrapping_mul(0x9e37_79b1);
        let gate = &self.gate;
        let parts = segments(stream, cuts);
        let found = check(&self.path, first, &parts, decisive, |frame| {
            gate.passes(frame).unwrap()
        });
        self.wrong
            .extend(found.map(|text| format!("{what}: {text}")));
    }

    /// Tells how many flows there were.
    ///
    /// # Panics
    /// If any of them was wrong.
    pub fn end(self) {
        println!("{} flows", self.flows);
        let shown: Vec<&str> = self.wrong.iter().take(SHOWN).map(String::as_str).collect();
        let count = self.wrong.len();
        assert!(count == 0, "{count} wrong:\n{}", shown.join("\n"));
    }
}
