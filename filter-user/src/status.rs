//! What `schoolgate status` and `schoolgate stats` tell. Organisations and sums only: no address of
//! anyone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::Exit;
use crate::config::Enrolled;
use crate::desired::PortalAddresses;
use crate::journal::Head;
use crate::registry::load::Summary;
use crate::sources::{SourceStatus, Updated};

/// How things are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Number of the maps' layout.
    pub abi: u32,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Its configuration file.
    pub config: PathBuf,
    /// `in_force`, or `pinned`: what an earlier daemon left filters on, as ours could not be read.
    pub state: String,
    /// The switch that passes everything is on.
    pub pass_all: bool,
    /// The program; none while an earlier daemon's filters.
    pub program: Option<Program>,
    /// Where it is attached.
    pub interfaces: Vec<Attached>,
    /// Registry by registry.
    pub registries: Vec<Summary>,
    /// Sources of registries, those that are fetched and those that have an alarm.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// How much is enrolled.
    pub enrolled: Enrolled,
    /// Names and addresses in force.
    pub subjects: u64,
    /// Prefixes in force.
    pub prefixes: u64,
    /// How the names of QUIC are read; none: they are not, and QUIC that profiles want read is turned to TCP.
    #[serde(default)]
    pub quic: Option<QuicStatus>,
    /// Targets of search engines that were asked for.
    #[serde(default)]
    pub safe_search: Vec<TargetStatus>,
    /// The last comparison of the maps with what they shall hold; none yet.
    #[serde(default)]
    pub gauge: Option<GaugeStatus>,
    /// The journal's last row; none: it cannot be written.
    #[serde(default)]
    pub journal: Option<Head>,
    /// Why rows of the journal are missing.
    #[serde(default)]
    pub journal_problem: Option<String>,
    /// Fill levels of the maps.
    pub fill: Vec<Level>,
    /// Bytes of kernel memory of the maps.
    pub memory_bytes: u64,
    /// Packets of nobody enrolled, left alone.
    pub untouched: u64,
    /// Bypasses in force.
    #[serde(default)]
    pub bypasses: Vec<Given>,
    /// The update that waits for its confirmation.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// Since when the files hold something else than what is in force, as an update was taken back, in seconds
    /// since 1970.
    #[serde(default)]
    pub undone: Option<i64>,
    /// The update that an earlier daemon left in force without a confirmation.
    #[serde(default)]
    pub unconfirmed: Option<Pending>,
    /// The last start or reload.
    pub last_reload: Option<Reload>,
}

/// What the reader of QUIC did since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuicStatus {
    /// First packets of clients that were handed over.
    pub copies: u64,
    /// Hellos read, with or without a name.
    pub names: u64,
    /// Flows that were stopped and told to use TCP.
    pub stopped: u64,
    /// Flows turned to TCP because too many hellos were open at once.
    pub crowded: u64,
    /// Verdicts given later than a millisecond after the packet.
    pub late: u64,
    /// Hellos held at this moment.
    pub kept: u64,
}

/// The enforcement gauge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaugeStatus {
    /// Seconds since 1970 of the last comparison.
    pub at: u64,
    /// Milliseconds that it took.
    pub milliseconds: u64,
    /// Names, addresses, prefixes and organisations that there shall be.
    pub expected: u64,
    /// Those of them that were there.
    pub present: u64,
    /// What differed, by kind; after a repair nothing should.
    pub differences: BTreeMap<String, u64>,
    /// Comparisons since the start that found a difference.
    pub alarms: u64,
    /// Seconds since 1970 of the last of them; 0: none.
    pub last_alarm: u64,
    /// Why the last difference could not be repaired.
    pub problem: Option<String>,
}

/// What became of a search engine's target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// The name.
    pub target: String,
    /// Where its engine's names lead: what was found, now or before, else what is listed.
    pub addresses: PortalAddresses,
    /// Why it was not found this time.
    pub problem: Option<String>,
}

impl fmt::Display for TargetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            None => write!(f, "{} is at {}", self.target, self.addresses),
            Some(problem) => write!(
                f,
                "{} was not found: {problem}; {} stays",
                self.target, self.addresses
            ),
        }
    }
}

/// A bypass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Of this organisation or segment.
    pub org: String,
    /// When it ends, in seconds since 1970; 0: it was ended.
    pub until: i64,
    /// Why it was given.
    pub reason: String,
}

/// An update that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When it goes back by itself, in seconds since 1970.
    pub until: i64,
    /// Who applied it.
    pub actor: String,
}

/// The program in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    /// Its tag, as `bpftool prog` prints it.
    pub tag: String,
    /// Its number in the kernel.
    pub id: u32,
    /// Instructions that the verifier went through.
    pub verified_instructions: u64,
    /// Number of the pinned generation.
    pub generation: u32,
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attached {
    /// Its name.
    pub name: String,
    /// Its number; 0: it is gone.
    pub ifindex: u32,
    /// `organisations` or `internet`.
    pub side: String,
    /// `native` or `generic`.
    pub mode: String,
    /// Realm of untagged frames.
    pub realm: String,
    /// The kernel's number of the link.
    pub link: u32,
    /// The kernel's number of the program that runs.
    pub program: u32,
}

/// How full a map is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Level {
    /// The map.
    pub map: String,
    /// Rows or slots in use.
    pub used: u64,
    /// Rows or slots that there are.
    pub capacity: u64,
}

/// What fetching came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fetched {
    /// Source by source.
    pub sources: Vec<Updated>,
    /// The reload that brought new copies into force.
    pub reload: Option<Reload>,
}

/// A start or a reload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reload {
    /// Seconds since 1970.
    pub at: u64,
    /// Whether it came into force.
    pub ok: bool,
    /// Exit code of a command that waited for it.
    pub exit: u8,
    /// Milliseconds that reading and compiling took.
    pub read_milliseconds: u64,
    /// Milliseconds that the maps took.
    pub apply_milliseconds: u64,
    /// What changed: added, changed and removed subjects, prefixes and organisations.
    pub changes: BTreeMap<String, [u64; 3]>,
    /// Whether a new set of maps was made.
    pub new_generation: bool,
    /// Whether the filter of an earlier daemon was taken over.
    pub taken_over: bool,
    /// What is wrong.
    pub problems: Vec<String>,
    /// What there is to know.
    pub notes: Vec<String>,
}

impl Reload {
    /// One that changed nothing, and why.
    #[must_use]
    pub fn refused(problem: String) -> Reload {
        Reload {
            exit: Exit::Problem as u8,
            problems: vec![problem],
            ..Reload::default()
        }
    }
}

/// Counters.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Packets of nobody enrolled, left alone.
    pub untouched: u64,
    /// Organisation by organisation.
    pub organisations: Vec<OrgStats>,
    /// Blocked and warned packets of all organisations by reason and category.
    pub reason_categories: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Counters of one organisation with all its segments, or of one segment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OrgStats {
    /// Its id.
    pub org: String,
    /// Its name.
    pub name: String,
    /// Packets by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Packets by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Blocked and warned packets by category.
    pub categories: BTreeMap<String, u64>,
    /// Segment by segment, their packets being among those above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<OrgStats>,
}

impl OrgStats {
    /// Adds a segment, and its packets to the organisation's.
    pub fn add_segment(&mut self, segment: OrgStats) {
        let sums = [
            (&mut self.verdicts, &segment.verdicts),
            (&mut self.reasons, &segment.reasons),
            (&mut self.categories, &segment.categories),
        ];
        for (sum, part) in sums {
            for (label, packets) in part {
                *sum.entry(label.clone()).or_default() += packets;
            }
        }
        self.segments.push(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_summed_into_their_organisation() {
        let of = |org: &str, blocked| OrgStats {
            org: org.to_owned(),
            verdicts: BTreeMap::from([("block".to_owned(), blocked)]),
            ..OrgStats::default()
        };
        let mut whole = of("a", 1);
        whole.add_segment(of("a/x", 2));
        whole.add_segment(of("a/y", 4));
        assert_eq!(whole.verdicts["block"], 7);
        assert_eq!(whole.segments[1].verdicts["block"], 4);
    }
}
