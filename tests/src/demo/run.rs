//! The course of the demo.

use std::sync::Arc;
use std::time::Instant;

use super::cases::{Case, GROUPS};
use super::table::{Row, heading};
use crate::lab::pki::Authority;
use crate::lab::server::Server;
use crate::lab::topology::Topology;

/// Whether the filter is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// As a provider would have it.
    Attached,
    /// Not at all: every request gets its page. Shows that the lab itself is sound.
    Absent,
}

struct Stage {
    topology: Topology,
    authority: Arc<Authority>,
    _servers: [Server; 2],
}

/// Runs the demo and prints its table. Gives the number of requests that did not end as expected.
///
/// # Errors
/// The stage cannot be set: a program is missing, a right, or the daemon does not start.
pub fn run(filter: Filter) -> anyhow::Result<usize> {
    let started = Instant::now();
    let stage = Stage::set()?;
    say("asking, as the school and as its neighbour");
    say(&format!("\n{}", heading()));
    let mut wrong = 0;
    for group in GROUPS {
        say(&format!("  {}", group.title));
        for case in group.cases {
            let case = if filter == Filter::Absent {
                case.unfiltered()
            } else {
                *case
            };
            wrong += usize::from(!stage.show(&case)?);
        }
    }
    drop(stage);
    say(&format!(
        "\n{}, {:.0} s",
        verdict(wrong),
        started.elapsed().as_secs_f64()
    ));
    Ok(wrong)
}

fn verdict(wrong: usize) -> String {
    let all: usize = GROUPS.iter().map(|group| group.cases.len()).sum();
    match wrong {
        0 => format!("all {all} requests ended as expected"),
        _ => format!("{wrong} of {all} requests did not end as expected, marked by !"),
    }
}

impl Stage {
    fn set() -> anyhow::Result<Stage> {
        say("making the namespaces school, neighbour, edge and internet");
        let topology = Topology::new()?;
        say("starting a TLS server that answers to every name, and an HTTP server");
        let authority = Authority::new()?;
        let tls = Server::tls(&topology.internet, 443, Arc::clone(&authority))?;
        let http = Server::http(&topology.internet, 80)?;
        Ok(Stage {
            topology,
            authority,
            _servers: [tls, http],
        })
    }

    /// Runs a case and prints its row; tells whether it ended as expected.
    fn show(&self, case: &Case) -> anyhow::Result<bool> {
        let (ended, took) = case.run(&self.topology, &self.authority)?;
        let right = case.is_met_by(&ended);
        let row = Row {
            case,
            ended: &ended,
            counted: String::new(),
            right,
            took,
        };
        say(&row.text());
        Ok(right)
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the demo speaks to the person who started it"
)]
pub(super) fn say(text: &str) {
    println!("{text}");
}
