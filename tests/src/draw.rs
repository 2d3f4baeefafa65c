//! Random worlds for the precedence: schools with random policies over lists of entries that hold and
//! neighbour each other, and random packets at them, with what the naive reference makes of each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::abi::Outcome;
use filter_common::reason::Reason;
use filter_common::rule::CATEGORY_NONE;
use ipnet::IpNet;

use crate::dns::{Query, kind};
use crate::evasion::Random;
use crate::frames::Path;
use crate::hello::Hello;
use crate::reference::{
    Decided, Entry, Known, Profile, Safe, Subject, Tier, asked, decide, hidden,
};
use crate::setup::{School, Setup, entry_number};

mod update;

pub use update::{Change, Probe};

/// The schools: id, a source in each family, and the prefixes around them.
const SCHOOLS: [(&str, &str, &str, [&str; 2]); 3] = [
    ("one", "10.0.0.5", "fd01::5", ["10.0.0.0/24", "fd01::/48"]),
    ("two", "10.0.1.5", "fd02::5", ["10.0.1.0/24", "fd02::/48"]),
    ("three", "10.0.2.5", "fd03::5", ["10.0.2.0/24", "fd03::/48"]),
];

/// Labels of names: shorter and longer than the words that a name is walked in.
const LABELS: [&str; 8] = [
    "a",
    "b",
    "www",
    "not",
    "schools",
    "exactly8",
    "cdn-number-14",
    "x-1",
];
/// Numbers of categories and lists: few, so that they meet, and those at the ends of the masks.
const CATEGORIES: [u8; 6] = [0, 1, 2, 31, 32, 63];
const LISTS: [u8; 5] = [0, 1, 2, 31, 52];
/// First sequence number of the flows.
const FIRST: u32 = 0xffff_ff80;

/// What must become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its reason.
    pub reason: Reason,
    /// The category it is counted under.
    pub category: u32,
    /// The number of the entry that decided; 0: none.
    pub entry: u32,
}

impl Told {
    fn of(decided: Decided) -> Told {
        Told {
            reason: decided.reason,
            category: decided.category.map_or(CATEGORY_NONE, u32::from),
            entry: decided.line.map_or(0, entry_number),
        }
    }

    fn nothing(otherwise: Reason) -> Told {
        Told {
            reason: otherwise,
            category: CATEGORY_NONE,
            entry: 0,
        }
    }

    /// Whether this became of a frame.
    #[must_use]
    pub fn is(&self, outcome: Option<Outcome>) -> bool {
        let wanted = (self.reason.number(), self.category, self.entry);
        outcome.is_some_and(|seen| (seen.reason, seen.category, seen.entry) == wanted)
    }
}

/// A frame of a random flow.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The frame.
    pub frame: Vec<u8>,
    /// What must become of it.
    pub want: Told,
    /// What it asks, for a failure's report.
    pub asks: String,
}

/// A random world.
#[derive(Debug)]
pub struct World {
    random: Random,
    /// Schools and lists.
    pub setup: Setup,
    flows: u16,
}

impl World {
    /// The world of a seed; the same for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let schools = SCHOOLS
            .iter()
            .map(|(id, _, _, prefixes)| {
                let profile = profile(&mut random);
                School {
                    bypass_until_ns: if profile.bypass { u64::MAX } else { 0 },
                    profile,
                    ..School::new(id, prefixes)
                }
            })
            .collect();
        let count = 1 + random.below(30);
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < count {
            let subject = if entries.is_empty() || !random.once_in(3) {
                subject(&mut random)
            } else {
                again(&mut random, &entries)
            };
            let tier = match (tier(&mut random), &subject) {
                // No address is a canary, hides a name, or is a search engine's.
                (Tier::Canary | Tier::Ech | Tier::Engine(_), Subject::Net(_)) => Tier::EncryptedDns,
                (tier, _) => tier,
            };
            entries.push(Entry { subject, tier });
        }
        let setup = Setup {
            schools,
            entries,
            ..Setup::default()
        };
        World {
            random,
            setup,
            flows: 0,
        }
    }

    /// The world in a few lines, for a failure's report.
    #[must_use]
    pub fn describe(&self) -> String {
        let schools = self.setup.schools.iter();
        let schools = schools.map(|school| format!("{}: {:?}\n", school.id, school.profile));
        let entries = self.setup.entries.iter().enumerate();
        let entries = entries.map(|(at, Entry { subject, tier })| {
            format!("{}: {subject:?} {tier:?}\n", entry_number(at))
        });
        schools.chain(entries).collect()
    }

    /// The frames of one more flow: its first packet, and what shows its name or that it has none.
    pub fn flow(&mut self) -> Vec<Shot> {
        self.flows += 1;
        let random = &mut self.random;
        let at = random.below(SCHOOLS.len());
        let (Some((id, four, six, _)), Some(school)) =
            (SCHOOLS.get(at), self.setup.schools.get(at))
        else {
            return Vec::new();
        };
        let destination = destination(random, &self.setup.entries);
        let source = if destination.is_ipv4() { four } else { six };
        let shape = random.below(9);
        // Streams to port 53 are queries, of which tables of their own tell.
        let ports: &[u16] = if shape < 2 || shape == 8 {
            &[443, 53, 53, 53, 853]
        } else {
            &[443, 443, 443, 8443, 853]
        };
        let dport = *random.pick(ports);
        let path = Path {
            sport: 1_024 + self.flows,
            dport,
            ..Path::between(source, &destination.to_string())
        };
        let aim = Aim {
            entries: &self.setup.entries,
            profile: &school.profile,
            destination,
            port: dport,
            asks: format!("{id} asks {destination} port {dport}"),
        };
        match shape {
            0 if dport != 53 => vec![aim.datagram(path.udp(b"question"))],
            0 | 8 => {
                let name = name(random, &self.setup.entries);
                let kind = *random.pick(&[kind::A, kind::AAAA, kind::SVCB, kind::HTTPS, kind::MX]);
                let query = Query::of(&spelling(random, &name), kind).bytes();
                let resolver = Path { dport: 53, ..path };
                vec![aim.query(resolver.udp(&query), &name, kind)]
            }
            1 => vec![aim.nameless(path.packet(47, vec![0; 40]), Reason::PassOtherProtocol)],
            // Nothing comes behind a SYN without an entry but what a client makes up.
            2.. if aim.first(path.syn(FIRST)).want.reason == Reason::BlockEncryptedDns => {
                vec![aim.first(path.syn(FIRST))]
            }
            2 => vec![
                aim.first(path.syn(FIRST)),
                aim.nameless(
                    path.data(FIRST, &Hello::default().bytes()),
                    Reason::PassHelloNoName,
                ),
            ],
            3 => vec![
                aim.first(path.syn(FIRST)),
                aim.nameless(
                    path.data(FIRST, b"GET / HTTP/1.0\r\n\r\n"),
                    Reason::PassRequestNoName,
                ),
            ],
            _ => aim.hello(random, &path),
        }
    }
}

/// A flow's destination, with everything that is asked of it.
struct Aim<'a> {
    entries: &'a [Entry],
    profile: &'a Profile,
    destination: IpAddr,
    port: u16,
    asks: String,
}

impl Aim<'_> {
    /// A flow that shows its name in a hello of one or two segments.
    fn hello(&self, random: &mut Random, path: &Path) -> Vec<Shot> {
        let name = name(random, self.entries);
        let sent = spelling(random, &name);
        let hello = Hello::named(&sent).bytes();
        let first = self.first(path.syn(FIRST));
        if !random.once_in(4) {
            return vec![first, self.named(path.data(FIRST, &hello), &name)];
        }
        // Cut in the name: the row of an unfinished hello is walked then.
        let place = hello
            .windows(sent.len())
            .position(|bytes| bytes == sent.as_bytes())
            .unwrap_or_default();
        let (one, two) = hello.split_at(place + sent.len() / 2);
        let seq = FIRST.wrapping_add(u32::try_from(one.len()).unwrap_or_default());
        // A client whose SYN meets a reset sends nothing more; here it does.
        vec![
            first,
            self.waiting(path.data(FIRST, one), Reason::PassHelloPart),
            self.named(path.data(seq, two), &name),
        ]
    }

    /// Every packet is judged by its address first; one that opens something, by what it opens next.
    fn shot(&self, frame: Vec<u8>, opens: bool, known: Known<'_>, otherwise: Reason) -> Shot {
        let ask = |known| decide(self.entries, self.profile, self.destination, known);
        let hidden =
            || hidden(self.entries, self.profile, self.destination, self.port).filter(|_| opens);
        let decided = ask(Known::Destination)
            .or_else(hidden)
            .or_else(|| ask(known));
        Shot {
            frame,
            want: decided.map_or(Told::nothing(otherwise), Told::of),
            asks: format!("{}, {known:?}", self.asks),
        }
    }

    /// A SYN.
    fn first(&self, frame: Vec<u8>) -> Shot {
        self.shot(frame, true, Known::Destination, Reason::PassSyn)
    }

    /// A datagram to another port than that of plain DNS.
    fn datagram(&self, frame: Vec<u8>) -> Shot {
        self.shot(frame, true, Known::NoName, Reason::PassUdp)
    }

    fn waiting(&self, frame: Vec<u8>, otherwise: Reason) -> Shot {
        self.shot(frame, false, Known::Destination, otherwise)
    }

    fn nameless(&self, frame: Vec<u8>, otherwise: Reason) -> Shot {
        self.shot(frame, false, Known::NoName, otherwise)
    }

    fn named(&self, frame: Vec<u8>, name: &str) -> Shot {
        self.shot(frame, false, Known::Name(name), Reason::PassHelloName)
    }

    /// A DNS query, to a resolver of the provider's too.
    fn query(&self, frame: Vec<u8>, name: &str, kind: u16) -> Shot {
        let address = decide(
            self.entries,
            self.profile,
            self.destination,
            Known::Destination,
        );
        let address = address.filter(|told| told.reason != Reason::PassInfrastructure);
        let decided =
            address.or_else(|| asked(self.entries, self.profile, self.destination, (name, kind)));
        Shot {
            frame,
            want: decided.map_or(Told::nothing(Reason::PassDnsName), Told::of),
            asks: format!("{}, query {name} {kind}", self.asks),
        }
    }
}

/// Each of these numbers once in `n` times.
fn some(random: &mut Random, of: &[u8], n: usize) -> Vec<u8> {
    of.iter().copied().filter(|_| random.once_in(n)).collect()
}

fn profile(random: &mut Random) -> Profile {
    Profile {
        mandatory: some(random, &CATEGORIES, 6),
        allow: some(random, &LISTS, 4),
        deny: some(random, &LISTS, 3),
        block: some(random, &CATEGORIES, 4),
        age: some(random, &CATEGORIES, 3),
        warn: some(random, &CATEGORIES, 3),
        suspicious: some(random, &CATEGORIES, 2),
        allow_only: random.once_in(4),
        encrypted_dns: random.once_in(2),
        withhold_ech: random.once_in(2),
        safe_search: *random.pick(&[Safe::Off, Safe::Moderate, Safe::Strict]),
        bypass: random.once_in(5),
    }
}

fn tier(random: &mut Random) -> Tier {
    let category = *random.pick(&CATEGORIES);
    match random.below(21) {
        16 | 17 => Tier::EncryptedDns,
        18 => Tier::Canary,
        19 => Tier::Ech,
        // One number: a name is of one engine.
        20 => Tier::Engine(21),
        0 => Tier::Infrastructure,
        1..=2 => Tier::Unified(category),
        3..=7 => Tier::Nsor(category),
        8..=11 => Tier::Suspicious(category),
        _ => Tier::Local(*random.pick(&LISTS)),
    }
}

fn subject(random: &mut Random) -> Subject {
    match random.below(6) {
        0 | 1 => Subject::Domain(fresh_name(random)),
        2 => Subject::Host(fresh_name(random)),
        3 => Subject::Net(IpNet::from(fresh_address(random))),
        _ => Subject::Net(net_around(random)),
    }
}

/// The subject of an entry in another list; of a name, perhaps with what is below it.
fn again(random: &mut Random, entries: &[Entry]) -> Subject {
    match &random.pick(entries).subject {
        Subject::Host(name) | Subject::Domain(name) if random.once_in(2) => {
            Subject::Domain(name.clone())
        }
        Subject::Domain(name) => Subject::Host(name.clone()),
        subject => subject.clone(),
    }
}

/// A prefix around an address of the corner that all come from.
fn net_around(random: &mut Random) -> IpNet {
    let near = |random: &mut Random, from: u8, to: u8| {
        from + u8::try_from(random.below(usize::from(to - from) + 1)).unwrap_or_default()
    };
    let address = fresh_address(random);
    let len = if address.is_ipv4() {
        near(random, 18, 31)
    } else {
        near(random, 29, 127)
    };
    IpNet::new(address, len).map_or_else(|_| IpNet::from(address), |net| net.trunc())
}

/// An address of a small corner, so that entries meet: few bits vary, at both ends.
fn fresh_address(random: &mut Random) -> IpAddr {
    let bits = |random: &mut Random, end| u32::try_from(random.below(end)).unwrap_or_default();
    if random.once_in(3) {
        let high = *random.pick(&[0, 1, 0x8000]);
        let word = *random.pick(&[0, 1, 0xffff]);
        let last = u16::try_from(bits(random, 4)).unwrap_or_default();
        IpAddr::V6(Ipv6Addr::new(
            0x2001,
            0xdb8 | high,
            word,
            0,
            0,
            word,
            0,
            last,
        ))
    } else {
        let page = *random.pick(&[0, 1, 15, 16]);
        IpAddr::V4(Ipv4Addr::from(0xcb00_7000 | page << 8 | bits(random, 6)))
    }
}

/// A label, the first ones more often, so that names meet.
fn label(random: &mut Random) -> &'static str {
    let end = 1 + random.below(LABELS.len());
    LABELS.get(random.below(end)).copied().unwrap_or("a")
}

fn fresh_name(random: &mut Random) -> String {
    let mut name = (*random.pick(&["example", "test"])).to_owned();
    for _ in 0..random.below(4) {
        name = format!("{}.{name}", label(random));
    }
    name
}

/// Half of all destinations are those of an entry or lie at its ends.
fn destination(random: &mut Random, entries: &[Entry]) -> IpAddr {
    match &random.pick(entries).subject {
        Subject::Net(net) if random.once_in(2) => {
            if random.once_in(2) {
                net.network()
            } else {
                net.broadcast()
            }
        }
        _ => fresh_address(random),
    }
}

/// A name: of an entry, below it, one that only ends alike, or any.
fn name(random: &mut Random, entries: &[Entry]) -> String {
    match &random.pick(entries).subject {
        Subject::Host(name) | Subject::Domain(name) => match random.below(6) {
            0 | 1 => name.clone(),
            2 => format!("{}.{name}", label(random)),
            3 => format!("{}.{}.{name}", label(random), label(random)),
            4 => format!("{}{name}", label(random)),
            _ => fresh_name(random),
        },
        Subject::Net(_) | Subject::Url(..) => fresh_name(random),
    }
}

/// A name as a client may send it.
fn spelling(random: &mut Random, name: &str) -> String {
    match random.below(6) {
        0 => name.to_uppercase(),
        1 => format!("{name}."),
        _ => name.to_owned(),
    }
}
