//! The naive reference: reads a whole stream at once for the server name, and decides by walking
//! plain lists, straight from the text of the precedence. Shares no code with the program.

use std::net::IpAddr;

use filter_common::reason::Reason;
use ipnet::IpNet;

use crate::hello::HANDSHAKE;

mod hidden;
pub mod policies;

pub use hidden::{asked, hidden};

/// What a TLS server makes of the first bytes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Understood {
    /// The bytes are no TLS handshake.
    NotTls,
    /// The ClientHello is not whole, and its name cannot be known.
    Unfinished,
    /// A name, as sent.
    Name(Vec<u8>),
    /// A whole ClientHello without a name.
    NoName,
    /// A ClientHello that no server accepts.
    Broken,
}

/// Reads a stream from its first byte.
#[must_use]
pub fn understand(stream: &[u8]) -> Understood {
    let mut message = Vec::new();
    let mut rest = stream;
    while let Some((head, behind)) = rest.split_first_chunk::<5>() {
        if !matches!(head[0], 20 | 21 | HANDSHAKE) || head[1] != 3 {
            return if message.is_empty() {
                Understood::NotTls
            } else {
                Understood::Broken
            };
        }
        let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let content = behind.get(..len).unwrap_or(behind);
        if head[0] == HANDSHAKE {
            message.extend(content);
        }
        rest = behind.get(len..).unwrap_or_default();
    }
    understand_message(&message)
}

fn understand_message(message: &[u8]) -> Understood {
    let Some((head, body)) = message.split_first_chunk::<4>() else {
        return Understood::Unfinished;
    };
    if head[0] != 1 {
        return Understood::NotTls;
    }
    let len = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
    let whole = body.len() >= len;
    match name_in_hello(body.get(..len).unwrap_or(body)) {
        Some(found) => found,
        None if whole => Understood::NoName,
        None => Understood::Unfinished,
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn take_number(bytes: &mut &[u8], width: usize) -> Option<usize> {
    Some(
        take(bytes, width)?
            .iter()
            .fold(0, |value, byte| value << 8 | usize::from(*byte)),
    )
}

/// Reads fields as OpenSSL does: a session id above 32 bytes, or an extension that does not fit into
/// their block, ends the connection.
fn name_in_hello(mut body: &[u8]) -> Option<Understood> {
    take(&mut body, 34)?;
    let session_id = take_number(&mut body, 1)?;
    if session_id > 32 {
        return Some(Understood::Broken);
    }
    take(&mut body, session_id)?;
    for width in [2, 1] {
        let len = take_number(&mut body, width)?;
        take(&mut body, len)?;
    }
    let mut block = take_number(&mut body, 2)?;
    while block >= 4 {
        let kind = take_number(&mut body, 2)?;
        let len = take_number(&mut body, 2)?;
        let Some(left) = block.checked_sub(4 + len) else {
            return Some(Understood::Broken);
        };
        if kind == 0 {
            take(&mut body, 3)?;
            let len = take_number(&mut body, 2)?;
            return Some(Understood::Name(take(&mut body, len)?.to_vec()));
        }
        take(&mut body, len)?;
        block = left;
    }
    Some(Understood::NoName)
}

/// A registry that an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Infrastructure of the provider.
    Infrastructure,
    /// The unified registry, with a category.
    Unified(u8),
    /// The education registry, with a category.
    Nsor(u8),
    /// A local list, by its number.
    Local(u8),
    /// The suspicious registry, with a category.
    Suspicious(u8),
    /// The list of resolvers that are asked by encrypted DNS.
    EncryptedDns,
    /// The names by which devices find out whether they may hide what they ask.
    Canary,
    /// The public names behind which Encrypted ClientHello hides the real ones.
    Ech,
    /// The names of a search engine, by its number.
    Engine(u8),
}

/// How much search engines filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Safe {
    /// Nothing.
    #[default]
    Off,
    /// In their moderate form.
    Moderate,
    /// In their strict form.
    Strict,
}

/// What an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A host name alone.
    Host(String),
    /// A domain and everything below it.
    Domain(String),
    /// An address or a prefix.
    Net(IpNet),
    /// A URL: its host, its path with the query, and whether everything below it is meant too.
    Url(String, String, bool),
}

impl Subject {
    fn name(&self) -> Option<&str> {
        match self {
            Subject::Host(name) | Subject::Domain(name) => Some(name),
            Subject::Net(_) | Subject::Url(..) => None,
        }
    }
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it names.
    pub subject: Subject,
    /// Where it stands.
    pub tier: Tier,
}

impl Entry {
    /// A host name alone.
    #[must_use]
    pub fn host(name: &str, tier: Tier) -> Entry {
        Entry {
            subject: Subject::Host(name.to_owned()),
            tier,
        }
    }

    /// A domain and everything below it.
    #[must_use]
    pub fn domain(name: &str, tier: Tier) -> Entry {
        Entry {
            subject: Subject::Domain(name.to_owned()),
            tier,
        }
    }

    /// A URL without its scheme; with `*` at its end everything below it.
    ///
    /// # Panics
    /// If it has no path.
    #[must_use]
    pub fn url(text: &str, tier: Tier) -> Entry {
        let Some(at) = text.find('/') else {
            panic!("{text} has no path");
        };
        let (host, path) = text.split_at(at);
        let below = path.strip_suffix('*');
        let path = below.map_or(path, |path| path.trim_end_matches('/'));
        Entry {
            subject: Subject::Url(host.to_owned(), path.to_owned(), below.is_some()),
            tier,
        }
    }

    /// An address or a prefix, as text.
    ///
    /// # Panics
    /// If it is neither.
    #[must_use]
    pub fn net(text: &str, tier: Tier) -> Entry {
        let net = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match net {
            Ok(net) => Entry {
                subject: Subject::Net(net),
                tier,
            },
            Err(error) => panic!("{text} is no prefix: {error}"),
        }
    }

    /// How long the match is: names in bytes, prefixes in bits. `None`: no match.
    fn matches(&self, destination: IpAddr, name: Option<&str>) -> Option<usize> {
        match (&self.subject, name) {
            (Subject::Net(net), _) => net
                .contains(&destination)
                .then(|| usize::from(net.prefix_len())),
            (Subject::Host(host), Some(name)) => (host == name).then_some(host.len() * 2 + 1),
            (Subject::Domain(domain), Some(name)) => {
                let below = name
                    .strip_suffix(domain.as_str())
                    .is_some_and(|rest| rest.ends_with('.'));
                (domain == name || below).then_some(domain.len() * 2)
            }
            (_, None) | (Subject::Url(..), _) => None,
        }
    }
}

/// A profile, as lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Education registry categories forbidden everywhere.
    pub mandatory: Vec<u8>,
    /// Local lists allowed.
    pub allow: Vec<u8>,
    /// Local lists denied.
    pub deny: Vec<u8>,
    /// Education registry categories blocked.
    pub block: Vec<u8>,
    /// Education registry categories above the age mark.
    pub age: Vec<u8>,
    /// Education registry categories warned of.
    pub warn: Vec<u8>,
    /// Suspicious categories warned of.
    pub suspicious: Vec<u8>,
    /// Only what is allowed passes.
    pub allow_only: bool,
    /// DNS that hides what is asked for is blocked.
    pub encrypted_dns: bool,
    /// The keys of Encrypted ClientHello are withheld.
    pub withhold_ech: bool,
    /// Names of search engines lead to their safe form.
    pub safe_search: Safe,
    /// The organisation's bypass is in force.
    pub bypass: bool,
}

/// What is known of a flow when it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Its first packet: the destination alone, a name may follow.
    Destination,
    /// A name, in lower case and without a trailing dot.
    Name(&'a str),
    /// There will be no name.
    NoName,
}

/// What the precedence decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The reason.
    pub reason: Reason,
    /// The category that it is counted under; `None`: none explains it.
    pub category: Option<u8>,
    /// The line that is told for the subject that decided, by its place in the list.
    pub line: Option<usize>,
}

/// How much an entry tells of a destination, least first: the prefixes around it, which are one
/// subject (a look-up finds the longest alone, told with what all of them say); its address; what
/// is known of its name, by length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Prefixes,
    Address,
    Name(usize),
}

/// The subject that a step found: whether it is an address, its lowest category, and its line.
#[derive(Clone, Copy, Debug)]
struct Found {
    address: bool,
    category: Option<u8>,
    line: usize,
}

impl Found {
    fn decides(self, address: Reason, name: Reason) -> Decided {
        Decided {
            reason: if self.address { address } else { name },
            category: self.category,
            line: Some(self.line),
        }
    }
}

/// The entries that match, with their rank and the line that is told for their subject.
struct Listed {
    entries: Vec<(Tier, Rank, usize)>,
}

impl Listed {
    fn new(entries: &[Entry], destination: IpAddr, name: Option<&str>) -> Listed {
        let longest_net = (entries.iter())
            .filter_map(|entry| match &entry.subject {
                Subject::Net(net) if net.prefix_len() < net.max_prefix_len() => Some(net),
                _ => None,
            })
            .filter(|net| net.contains(&destination))
            .max_by_key(|net| net.prefix_len());
        let rank = |entry: &Entry| {
            let len = entry.matches(destination, name)?;
            Some(match &entry.subject {
                Subject::Net(net) if net.prefix_len() == net.max_prefix_len() => Rank::Address,
                Subject::Net(_) => Rank::Prefixes,
                _ => Rank::Name(len),
            })
        };
        // Entries of one subject are told by the first of them.
        let line = |entry: &Entry, rank| {
            let same = |other: &Entry| match (&other.subject, &entry.subject) {
                (Subject::Net(other), _) if rank == Rank::Prefixes => {
                    longest_net.is_some_and(|net| net.trunc() == other.trunc())
                }
                (Subject::Net(other), Subject::Net(net)) => net == other,
                (other, subject) => other.name().is_some() && other.name() == subject.name(),
            };
            entries.iter().position(same)
        };
        let listed = |entry: &Entry| {
            let rank = rank(entry)?;
            Some((entry.tier, rank, line(entry, rank)?))
        };
        Listed {
            entries: entries.iter().filter_map(listed).collect(),
        }
    }

    /// The longest subject among these entries. Of several categories the lowest is told, those of
    /// the education registry first.
    fn longest(&self, wanted: impl Fn(Tier) -> bool) -> Option<Found> {
        let wanted = |(tier, ..): &&(Tier, Rank, usize)| wanted(*tier);
        let (_, longest, line) = (self.entries.iter())
            .filter(wanted)
            .max_by_key(|(_, rank, _)| *rank)?;
        let tiers = (self.entries.iter())
            .filter(wanted)
            .filter(|(_, rank, _)| rank == longest)
            .map(|(tier, ..)| *tier);
        let category = |tier| match tier {
            Tier::Nsor(category) => Some((0, category)),
            Tier::Unified(category) | Tier::Suspicious(category) => Some((1, category)),
            Tier::Local(_)
            | Tier::Infrastructure
            | Tier::EncryptedDns
            | Tier::Canary
            | Tier::Ech
            | Tier::Engine(_) => None,
        };
        Some(Found {
            address: !matches!(longest, Rank::Name(_)),
            category: tiers.filter_map(category).min().map(|(_, lowest)| lowest),
            line: *line,
        })
    }

    fn nsor(&self, categories: &[u8]) -> Option<Found> {
        self.longest(|tier| matches!(tier, Tier::Nsor(category) if categories.contains(&category)))
    }

    fn local(&self, lists: &[u8]) -> Option<Found> {
        self.longest(|tier| matches!(tier, Tier::Local(list) if lists.contains(&list)))
    }

    /// Step 3. Statistics name the education registry first, by whichever category it blocks.
    fn mandatory(&self, profile: &Profile) -> Option<Decided> {
        let unified = self.longest(|tier| matches!(tier, Tier::Unified(_)));
        let forbidden = self.nsor(&profile.mandatory);
        let either = unified.or(forbidden)?;
        let blocked = self.nsor(&[profile.mandatory.clone(), profile.block.clone()].concat());
        Some(match blocked {
            Some(found) => found.decides(Reason::BlockNsorAddress, Reason::BlockNsorName),
            None => either.decides(Reason::BlockUnifiedAddress, Reason::BlockUnifiedName),
        })
    }

    /// Step 6: an operator's list, or a name by which what is asked for is hidden. Of several entries of one
    /// subject the operator's own is told, then the canary.
    fn refused(&self, profile: &Profile) -> Option<Decided> {
        let own = |tier| matches!(tier, Tier::Local(list) if profile.deny.contains(&list));
        let hides = |tier| match tier {
            Tier::EncryptedDns | Tier::Canary => profile.encrypted_dns,
            Tier::Ech => profile.withhold_ech,
            _ => false,
        };
        let all = (self.entries.iter())
            .filter(|(tier, rank, _)| own(*tier) || hides(*tier) && matches!(rank, Rank::Name(_)));
        let (_, longest, line) = all.clone().max_by_key(|(_, rank, _)| *rank)?;
        let of_it = || all.clone().filter(|(_, rank, _)| rank == longest);
        let reason = if of_it().any(|(tier, ..)| own(*tier)) {
            match longest {
                Rank::Name(_) => Reason::BlockLocalName,
                _ => Reason::BlockLocalAddress,
            }
        } else if of_it().any(|(tier, ..)| *tier == Tier::Canary) {
            Reason::BlockCanaryName
        } else if of_it().any(|(tier, ..)| *tier == Tier::Ech) {
            Reason::BlockEchName
        } else {
            Reason::BlockEncryptedDnsName
        };
        Some(Decided {
            reason,
            category: None,
            line: Some(*line),
        })
    }

    /// Steps 6 to 8.
    fn denied(&self, profile: &Profile) -> Option<Decided> {
        if let Some(decided) = self.refused(profile) {
            return Some(decided);
        }
        [
            (
                self.nsor(&profile.block),
                Reason::BlockNsorAddress,
                Reason::BlockNsorName,
            ),
            (
                self.nsor(&profile.age),
                Reason::BlockAgeAddress,
                Reason::BlockAgeName,
            ),
        ]
        .into_iter()
        .find_map(|(found, address, name)| Some(found?.decides(address, name)))
    }

    /// Step 10.
    fn warned(&self, profile: &Profile) -> Option<Decided> {
        let warns = |tier| match tier {
            Tier::Nsor(category) => profile.warn.contains(&category),
            Tier::Suspicious(category) => profile.suspicious.contains(&category),
            _ => false,
        };
        Some((self.longest(warns)?).decides(Reason::WarnAddress, Reason::WarnName))
    }
}

/// Decides as the precedence says (design, section 3), step by step. `None`: nothing decides, the
/// packet passes by what it is.
#[must_use]
pub fn decide(
    entries: &[Entry],
    profile: &Profile,
    destination: IpAddr,
    known: Known<'_>,
) -> Option<Decided> {
    let name = if let Known::Name(name) = known {
        Some(name)
    } else {
        None
    };
    let listed = Listed::new(entries, destination, name);
    let later = |decided| {
        if known == Known::Destination {
            None
        } else {
            Some(decided)
        }
    };
    let by_policy = |reason| Decided {
        reason,
        category: None,
        line: None,
    };
    if let Some(found) = listed.longest(|tier| tier == Tier::Infrastructure) {
        return Some(found.decides(Reason::PassInfrastructure, Reason::PassInfrastructure));
    }
    if let Some(decided) = listed.mandatory(profile) {
        return Some(decided);
    }
    if profile.bypass {
        return later(by_policy(Reason::PassBypass));
    }
    if let Some(found) = listed.local(&profile.allow) {
        return later(found.decides(Reason::PassLocalAllow, Reason::PassLocalAllow));
    }
    if let Some(decided) = listed.denied(profile) {
        return Some(decided);
    }
    if profile.allow_only && known != Known::Destination {
        return Some(by_policy(Reason::BlockAllowOnly));
    }
    listed.warned(profile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::{Hello, LAST, rerecord};

    #[test]
    fn the_name_is_known_with_its_last_byte() {
        let hello = Hello {
            position: LAST,
            ..Hello::named("www.example.com")
        }
        .bytes();
        let end = hello.len();
        assert_eq!(
            understand(&hello),
            Understood::Name(b"www.example.com".to_vec())
        );
        assert_eq!(understand(&hello[..end - 1]), Understood::Unfinished);
        assert_eq!(
            understand(&rerecord(&hello, 9)),
            Understood::Name(b"www.example.com".to_vec())
        );
        assert_eq!(understand(&Hello::default().bytes()), Understood::NoName);
        assert_eq!(understand(b"GET / HTTP/1.1\r\n"), Understood::NotTls);
    }

    #[test]
    fn mandatory_beats_allow_and_bypass() {
        let entries = [
            Entry::domain("example.com", Tier::Unified(3)),
            Entry::host("www.example.com", Tier::Local(1)),
        ];
        let profile = Profile {
            allow: vec![1],
            bypass: true,
            ..Profile::default()
        };
        let destination = IpAddr::from([192, 0, 2, 1]);
        let known = Known::Name("www.example.com");
        let found = decide(&entries, &profile, destination, known);
        let found = found.map(|found| (found.reason, found.category, found.line));
        assert_eq!(found, Some((Reason::BlockUnifiedName, Some(3), Some(0))));
        let other = decide(
            &entries,
            &profile,
            destination,
            Known::Name("notexample.com"),
        );
        assert_eq!(other.map(|other| other.reason), Some(Reason::PassBypass));
    }
}
