//! The packet tables: what stands before, the frames in order, and for each frame what must become
//! of it. The same tables run on the host and in the kernel; the counters that may move follow from
//! them, and nothing else may.

#![expect(
    clippy::indexing_slicing,
    reason = "test support: a frame that is too short is a mistake in the case, which a panic shows"
)]

use filter_common::abi::FlowKey;
use filter_common::flow::key_hash;
use filter_common::grant::grant_key;
use filter_common::quic_flow::{ALLOWED_LIFE, BLOCKED_LIFE, quic_key, state_word, units};
use filter_common::reason::Reason;
use filter_common::rule::CATEGORY_NONE;
use filter_common::table::{finish, fold};
use filter_common::verdict::{Action, Verdict};
use filter_user::kernel::grants::halves;

use crate::dns::Told;
use crate::frames::Path;
use crate::reference::{Entry, Profile, Safe, Tier};
use crate::setup::{School, Setup};

pub mod dns;
mod dns_stream;
pub mod flows;
mod grants;
pub mod hidden;
pub mod http;
mod http_hosts;
mod inward;
pub mod links;
pub mod lists;
pub mod network;
pub mod quic;
pub mod safe;
pub mod tcp;
mod ties;

/// What must become of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The reason; `None`: nobody's frame, untouched.
    pub reason: Option<Reason>,
    /// How it is carried out.
    pub action: Action,
    /// The category that is counted.
    pub category: u32,
    /// The school it is counted for.
    pub school: &'static str,
    /// The entry that decides, by its place in the setup; `None`: not looked at.
    pub entry: Option<u32>,
    /// Labels that a reply carries.
    pub labels: Vec<u32>,
    /// What an answer says, and its extended error.
    pub told: Option<(Told, u16)>,
    /// The name read in this frame; `None`: not looked at.
    pub name: Option<String>,
}

impl Want {
    /// A reason carried out as it usually is: a block resets, QUIC is told to turn to TCP.
    #[must_use]
    pub fn of(reason: Reason) -> Want {
        let action = match reason.verdict() {
            Verdict::Pass => Action::Pass,
            Verdict::Block | Verdict::Warn => Action::Reset,
            Verdict::Hold | Verdict::Refuse => Action::Drop,
            Verdict::Fallback => Action::Answer,
        };
        Want {
            reason: Some(reason),
            action,
            category: CATEGORY_NONE,
            school: "one",
            entry: None,
            labels: Vec::new(),
            told: None,
            name: None,
        }
    }

    /// Nobody's frame.
    #[must_use]
    pub fn untouched() -> Want {
        Want {
            reason: None,
            ..Want::of(Reason::PassData)
        }
    }

    /// The same, counted under a category.
    #[must_use]
    pub fn category(self, category: u8) -> Want {
        Want {
            category: u32::from(category),
            ..self
        }
    }

    /// The same, carried out otherwise.
    #[must_use]
    pub fn by(self, action: Action) -> Want {
        Want { action, ..self }
    }

    /// The same, for another school.
    #[must_use]
    pub fn for_school(self, school: &'static str) -> Want {
        Want { school, ..self }
    }

    /// The same, answered with these labels.
    #[must_use]
    pub fn labelled(self, labels: &[u32]) -> Want {
        Want {
            labels: labels.to_vec(),
            ..self
        }
    }

    /// The same, answered with this, and with this extended error where the query has EDNS.
    #[must_use]
    pub fn tells(self, told: Told, error: u16) -> Want {
        Want {
            told: Some((told, error)),
            ..self
        }
    }

    /// The same, with this name read.
    #[must_use]
    pub fn reads(self, name: &str) -> Want {
        Want {
            name: Some(name.to_owned()),
            ..self
        }
    }

    /// The same, decided by this entry of the setup (counted from 0).
    #[must_use]
    pub fn decided_by(self, at: usize) -> Want {
        Want {
            entry: Some(crate::setup::entry_number(at)),
            ..self
        }
    }
}

/// A frame and what must become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The frame.
    pub frame: Vec<u8>,
    /// What must become of it.
    pub want: Want,
}

/// A grant that stands before a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Id of the school.
    pub school: &'static str,
    /// Address of the client.
    pub address: &'static str,
    /// The entry, by its place in the setup.
    pub entry: usize,
    /// Its end by the monotonic clock, in nanoseconds.
    pub until_ns: u64,
}

impl Grant {
    /// Its key in `GRANTS`.
    #[must_use]
    pub fn key(&self, seed: u64) -> u64 {
        let address = self.address.parse().expect("addresses in cases are sound");
        let school = filter_common::name::org_id_key(seed, self.school.as_bytes());
        let entry = crate::setup::entry_number(self.entry);
        grant_key(seed, school, halves(address), entry)
    }
}

/// A verdict on a QUIC flow that stands before a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicVerdict {
    /// The flow.
    pub path: Path,
    /// The reason.
    pub reason: Reason,
    /// Its category.
    pub category: u32,
    /// Its entry.
    pub entry: u32,
    /// Whether its time is over.
    pub over: bool,
}

impl QuicVerdict {
    /// Its key in `QUIC_FLOWS`, for a flow in realm 0.
    #[must_use]
    pub fn key(&self, seed: u64) -> u64 {
        use std::net::IpAddr;
        let ports = u64::from(self.path.sport) << 16 | u64::from(self.path.dport);
        let tail = ports << 32;
        let flow = match (self.path.source, self.path.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => FlowKey {
                a: u64::from(u32::from(source)) << 32 | u64::from(u32::from(destination)),
                b: tail,
            },
            (source, destination) => {
                let (mut a, mut b) = (seed, !seed);
                for address in [source, destination] {
                    let (high, low) = halves(address);
                    for word in [high, low] {
                        a = fold(a, word);
                        b = fold(b, word.rotate_left(29));
                    }
                }
                FlowKey {
                    a: finish(a, tail),
                    b: finish(b, tail) | 1 << 31,
                }
            }
        };
        quic_key(seed, key_hash(seed, flow))
    }

    /// Nanoseconds since it was given.
    #[must_use]
    pub fn age_ns(&self) -> u64 {
        // Longer than either verdict lasts, and not longer than the machine may have run.
        u64::from(self.over) * (u64::from(ALLOWED_LIFE + 2) << 20)
    }

    /// Its state word at a moment.
    #[must_use]
    pub fn state(&self, now_ns: u64) -> u64 {
        let life = if self.reason.verdict() == Verdict::Pass {
            ALLOWED_LIFE
        } else {
            BLOCKED_LIFE
        };
        let born = now_ns.wrapping_sub(self.age_ns());
        state_word(
            self.reason.number(),
            self.category,
            units(born).wrapping_add(life),
        )
    }
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it shows.
    pub what: String,
    /// What stands before. Flows of earlier cases stand too: every case uses ports of its own.
    pub setup: Setup,
    /// Nanoseconds since a hand-over of flows to a new program began; `None`: there is none.
    pub drain: Option<u64>,
    /// Grants that stand.
    pub grants: Vec<Grant>,
    /// Verdicts on QUIC flows that stand.
    pub quic: Vec<QuicVerdict>,
    /// Whether somebody reads the names of QUIC.
    pub inspector: bool,
    /// Frames in order.
    pub steps: Vec<Step>,
}

impl Case {
    /// A case in the usual world.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Case {
        Case {
            what: what.into(),
            setup: world(),
            drain: None,
            grants: Vec::new(),
            quic: Vec::new(),
            inspector: false,
            steps: Vec::new(),
        }
    }

    /// The same in another world.
    #[must_use]
    pub fn in_setup(self, setup: Setup) -> Case {
        Case { setup, ..self }
    }

    /// The same with a grant.
    #[must_use]
    pub fn granting(mut self, grant: Grant) -> Case {
        self.grants.push(grant);
        self
    }

    /// The same with one more frame.
    #[must_use]
    pub fn then(mut self, frame: Vec<u8>, want: Want) -> Case {
        self.steps.push(Step { frame, want });
        self
    }
}

/// All tables.
#[must_use]
pub fn all() -> Vec<Case> {
    let tables = [
        links::table(),
        lists::table(),
        network::table(),
        tcp::table(),
        flows::table(),
        dns::table(),
        grants::table(),
        quic::table(),
        http::table(),
        dns_stream::table(),
        hidden::table(),
        safe::table(),
        inward::table(),
    ];
    tables.into_iter().flatten().collect()
}

/// First sequence number of the flows in the tables; near the wrap on purpose.
pub const FIRST: u32 = 0xffff_ff80;

/// A path of its own for each case: source ports never repeat within a table.
#[must_use]
pub fn path(table: u16, number: u16) -> Path {
    Path {
        sport: table * 4_000 + 1_024 + number,
        ..Path::default()
    }
}

/// The usual profile: every kind of rule once.
#[must_use]
pub fn usual_profile() -> Profile {
    Profile {
        mandatory: vec![9],
        allow: vec![1],
        deny: vec![2],
        block: vec![3],
        age: vec![4],
        warn: vec![5],
        suspicious: vec![6],
        allow_only: false,
        encrypted_dns: true,
        withhold_ech: true,
        safe_search: Safe::Strict,
        bypass: false,
    }
}

/// The usual world: one school, and one entry of each kind for names and for addresses.
#[must_use]
pub fn world() -> Setup {
    let school = School {
        profile: usual_profile(),
        ..School::new("one", &["10.0.0.0/24", "fd01::/48"])
    };
    Setup {
        schools: vec![school],
        entries: lists::entries(),
        ..Setup::default()
    }
}

/// The usual world with a different profile.
#[must_use]
pub fn world_with(change: impl FnOnce(&mut School)) -> Setup {
    let mut setup = world();
    if let Some(school) = setup.schools.first_mut() {
        change(school);
    }
    setup
}

/// An entry that no profile of the tables acts on.
#[must_use]
pub fn idle_entry(name: &str) -> Entry {
    Entry::domain(name, Tier::Nsor(40))
}
