//! The names of QUIC (RFC 9000, RFC 9001, RFC 9369): copies of Initial packets come in, verdicts on flows
//! come out.
//!
//! [`copy`] is what the program tells, [`initial`] decrypts, [`stream`] puts the hello together,
//! [`hello`] reads its name by the data path's own parser, [`decide`] looks it up in the data path's own
//! tables and decides by its rule, [`answer`] builds what the client is told. [`Inspector`] holds the
//! flows that are not complete yet: a few kilobytes each, for a few seconds, bounded in number and by
//! organisation. Nothing is logged or written, and no address is kept: a flow is a keyed hash.

pub mod answer;
pub mod copy;
mod decide;
mod hello;
mod initial;
mod stream;

use std::collections::{HashMap, VecDeque};

use filter_common::quic_flow::{left_of, reason_of, units};
use filter_common::reason::{FIRST_NOT_PASS, Reason};
use filter_common::rule::CATEGORY_NONE;

use crate::kernel::Tables;
use crate::kernel::quic::QuicVerdict;
use copy::Copy;
use hello::ServerName;
use initial::{Client, Packet};
use stream::Stream;

/// Hellos without a verdict at once: 8 KiB each at most.
const UNREAD_MAX: usize = 4096;
/// The same of one organisation.
const UNREAD_OF_ORG_MAX: usize = 512;
/// Hellos kept in all, with those that have their verdict: for packets that come late or twice.
const KEPT_MAX: usize = 16_384;
/// Nanoseconds after which a hello is forgotten: longer than a client goes on sending it.
const LIFE_NS: u64 = 5_000_000_000;

/// What became of a copy that completed a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `QuicCopy::key`.
    pub key: u64,
    /// The verdict on the flow.
    pub verdict: QuicVerdict,
    /// The name, in lower case; none: the hello has none, or is none.
    pub name: Option<String>,
}

impl Finding {
    /// Whether the client is to be told at once.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.verdict.reason >= FIRST_NOT_PASS
    }
}

/// What tells the hellos of a flow apart: the flow's key, and what the packets' keys are made from.
type Which = (u64, u32, Vec<u8>);

/// A hello.
struct Open {
    org: u32,
    since_ns: u64,
    client: Client,
    stream: Stream,
    /// Whether the flow has its verdict; what still comes must not contradict what was read.
    read: bool,
}

/// How much was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Copies read.
    pub copies: u64,
    /// Hellos read, with or without a name.
    pub names: u64,
    /// Flows that got a verdict which blocks, warns or turns to TCP.
    pub stopped: u64,
    /// Flows turned to TCP because too many hellos were open at once.
    pub crowded: u64,
}

/// Reads the names of QUIC.
#[derive(Default)]
pub struct Inspector {
    open: HashMap<Which, Open>,
    /// Hellos in the order in which they came.
    order: VecDeque<(u64, Which)>,
    /// Hellos without a verdict by organisation.
    unread: HashMap<u32, usize>,
    unread_all: usize,
    totals: Totals,
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Inspector")
            .field("open", &self.open.len())
            .field("totals", &self.totals)
            .finish_non_exhaustive()
    }
}

impl Inspector {
    /// One that has seen nothing.
    #[must_use]
    pub fn new() -> Inspector {
        Inspector::default()
    }

    /// What was done.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Hellos that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.open.len()
    }

    /// Reads a copy and writes the verdict, if there is one now, into `tables`.
    pub fn read(&mut self, copy: &Copy<'_>, tables: &Tables, now_ns: u64) -> Option<Finding> {
        self.totals.copies += 1;
        self.forget_old(tables, now_ns);
        let finding = self.find(copy, tables, now_ns)?;
        tables.quic_flows.set(copy.key, finding.verdict, now_ns);
        self.totals.stopped += u64::from(finding.is_answered());
        Some(finding)
    }

    fn find(&mut self, copy: &Copy<'_>, tables: &Tables, now_ns: u64) -> Option<Finding> {
        let packets = initial::packets(copy.datagram);
        let first = packets.first()?;
        let which = (copy.key, first.version, first.to.to_vec());
        let fresh = !self.open.contains_key(&which);
        if fresh && !self.begin(copy, first, &packets, &which, now_ns)? {
            self.totals.crowded += 1;
            return Some(finding(copy.key, turned(Reason::FallbackQuicBusy), None));
        }
        let open = self.open.get_mut(&which)?;
        if !fresh {
            open.take(copy.datagram, &packets);
        }
        let was_read = open.read;
        let name = hello::server_name(&open.stream);
        if name == ServerName::Unfinished || was_read && name != ServerName::Unreadable {
            return None;
        }
        open.read = true;
        if !was_read {
            self.totals.names += 1;
            self.leave(copy.org);
        }
        if self.open.len() > KEPT_MAX {
            self.open.remove(&which);
        }
        Some(match name {
            ServerName::Name(name) => {
                let verdict = decide::named(copy, tables, &name, now_ns);
                finding(copy.key, verdict, Some(&name))
            }
            ServerName::None => finding(copy.key, decide::nameless(copy, tables, now_ns), None),
            ServerName::Unfinished | ServerName::Unreadable => {
                finding(copy.key, turned(Reason::FallbackQuicUnread), None)
            }
        })
    }

    /// Begins a hello; `None`: the packets hold none that a server could read, `Some(false)`: too many are
    /// open.
    fn begin(
        &mut self,
        copy: &Copy<'_>,
        first: &Packet<'_>,
        packets: &[Packet<'_>],
        which: &Which,
        now_ns: u64,
    ) -> Option<bool> {
        let mut open = Open {
            org: copy.org,
            since_ns: now_ns,
            client: Client::new(first.version, first.to)?,
            stream: Stream::default(),
            read: false,
        };
        if !open.take(copy.datagram, packets) {
            return None;
        }
        let of_org = self.unread.entry(copy.org).or_insert(0);
        if self.unread_all >= UNREAD_MAX || *of_org >= UNREAD_OF_ORG_MAX {
            return Some(false);
        }
        *of_org += 1;
        self.unread_all += 1;
        self.order.push_back((now_ns, which.clone()));
        self.open.insert(which.clone(), open);
        Some(true)
    }

    /// A hello has its verdict, or is forgotten.
    fn leave(&mut self, org: u32) {
        self.unread_all = self.unread_all.saturating_sub(1);
        if let Some(count) = self.unread.get_mut(&org) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.unread.remove(&org);
            }
        }
    }

    fn forget_old(&mut self, tables: &Tables, now_ns: u64) {
        while let Some((since, _)) = self.order.front()
            && now_ns.saturating_sub(*since) >= LIFE_NS
            && let Some((since, which)) = self.order.pop_front()
        {
            let same = self
                .open
                .get(&which)
                .is_some_and(|open| open.since_ns == since);
            if same && let Some(open) = self.open.remove(&which) {
                self.forget(which.0, &open, tables, now_ns);
            }
        }
    }

    /// Forgets a hello. What allowed another one of its flow does not allow it: its rest would not be seen
    /// to belong to it.
    fn forget(&mut self, key: u64, open: &Open, tables: &Tables, now_ns: u64) {
        if open.read {
            return;
        }
        self.leave(open.org);
        let (state, _) = tables.quic_flows.get(key);
        if left_of(state, units(now_ns)) != 0 && reason_of(state) < FIRST_NOT_PASS {
            tables.quic_flows.remove(key);
        }
    }
}

impl Open {
    /// Takes the packets that are this client's; whether one of them held a part of the hello. What cannot
    /// be opened here no server can open either.
    fn take(&mut self, datagram: &[u8], packets: &[Packet<'_>]) -> bool {
        let mut seen = false;
        for packet in packets {
            if let Some(frames) = self.client.open(datagram, packet) {
                seen |= self.stream.read(&frames);
            }
        }
        seen
    }
}

fn finding(key: u64, verdict: QuicVerdict, name: Option<&[u8]>) -> Finding {
    Finding {
        key,
        verdict,
        name: name.map(|name| String::from_utf8_lossy(name).into_owned()),
    }
}

/// A verdict that no entry explains.
fn turned(reason: Reason) -> QuicVerdict {
    QuicVerdict {
        reason: reason.number(),
        category: CATEGORY_NONE,
        entry: 0,
    }
}
