//! The course of the demo.

use std::time::{Duration, Instant};

use super::cases::{ALLOWED, Case, GROUPS, QUIC_PORT, RESOLVED, Who};
use super::provider::{Counted, Provider};
use super::table::{Row, heading};
use crate::lab::client::Ended;
use crate::lab::daemon::Counts;
use crate::lab::pki::Authority;
use crate::lab::quic::Quic;
use crate::lab::resolver::Resolver;
use crate::lab::server::Server;
use crate::lab::topology::{Topology, UPLINK};

/// Whether the filter is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// As a provider would have it.
    Attached,
    /// Not at all: every request gets its page. Shows that the lab itself is sound.
    Absent,
}

struct Stage {
    provider: Option<Provider>,
    topology: Topology,
    authority: Authority,
    _servers: [Server; 3],
    _resolver: Resolver,
    quic: Quic,
}

/// Runs the demo and prints its table. Gives the number of requests that did not end as expected.
///
/// # Errors
/// The stage cannot be set: a program is missing, a right, or the daemon does not start.
pub fn run(filter: Filter) -> anyhow::Result<usize> {
    let started = Instant::now();
    let stage = Stage::set(filter)?;
    say(&format!("\n{}", heading()));
    let mut wrong = 0;
    for group in GROUPS {
        say(&format!("  {}", group.title));
        if group.cases.iter().all(|case| case.who == Who::Neighbour) {
            // Whatever is counted from here on, late packets of the school are not.
            stage
                .topology
                .school
                .ip(&format!("link set {UPLINK} down"))?;
        }
        for case in group.cases {
            wrong += usize::from(!stage.show(case)?);
        }
    }
    say("\nremoving the filter, the servers and the namespaces");
    stage.strike()?;
    say(&verdict(wrong, started.elapsed()));
    Ok(wrong)
}

fn verdict(wrong: usize, took: Duration) -> String {
    let all: usize = GROUPS.iter().map(|group| group.cases.len()).sum();
    let text = match wrong {
        0 => format!("all {all} requests ended as expected"),
        _ => format!("{wrong} of {all} requests did not end as expected: they are marked by !"),
    };
    // The last line is the one that the task runner counts by.
    let passed = all - wrong;
    let seconds = took.as_secs_f64();
    format!("{text}, in {seconds:.0} s\n{passed} passed, {wrong} failed, 0 skipped")
}

impl Stage {
    fn set(filter: Filter) -> anyhow::Result<Stage> {
        say("making the namespaces school, neighbour, edge and internet");
        let topology = Topology::new()?;
        say(
            "starting a TLS server that answers to every name, servers of HTTP and QUIC, and a resolver",
        );
        let authority = Authority::new()?;
        let tls = Server::tls(&topology.internet, 443, &authority)?;
        let dot = Server::tls(&topology.internet, 853, &authority)?;
        let http = Server::http(&topology.internet, 80)?;
        let resolver = Resolver::new(&topology.internet, RESOLVED.parse()?)?;
        let quic = Quic::new()?;
        quic.serve(&topology.internet, QUIC_PORT, &authority, ALLOWED)?;
        let provider = match filter {
            Filter::Absent => None,
            Filter::Attached => {
                say("starting schoolgate at the edge, native XDP, with the sample registries");
                Some(Provider::start(&topology.edge)?)
            }
        };
        Ok(Stage {
            provider,
            topology,
            authority,
            _servers: [tls, dot, http],
            _resolver: resolver,
            quic,
        })
    }

    /// Runs a case and prints its row; tells whether it ended as expected.
    fn show(&self, case: &Case) -> anyhow::Result<bool> {
        let case = if self.provider.is_some() {
            *case
        } else {
            case.unfiltered()
        };
        let before = self.counts()?;
        let (ended, took) = case.run(&self.topology, &self.authority, &self.quic)?;
        let counted = Counted::between(&before, &self.counts()?);
        let right = case.is_met_by(&ended) && counted.is_right_for(&case);
        let counted = if self.provider.is_some() {
            counted.text(&case)
        } else {
            String::new()
        };
        say(&Row {
            case: &case,
            ended: &ended,
            counted,
            right,
            took,
        }
        .text());
        if let Ended::Other(told) = &ended {
            say(&format!("    {told}"));
        }
        Ok(right)
    }

    fn counts(&self) -> anyhow::Result<Counts> {
        self.provider
            .as_ref()
            .map_or(Ok(Counts::new()), |one| one.counts(&self.topology.edge))
    }

    /// Takes everything down, the filter by its own command.
    fn strike(self) -> anyhow::Result<()> {
        self.provider
            .map_or(Ok(()), |provider| provider.detach(&self.topology.edge))
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the demo speaks to the person who started it"
)]
fn say(text: &str) {
    println!("{text}");
}
