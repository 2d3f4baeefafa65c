//! The naive reference: reads a whole stream at once for the server name, and decides by walking
//! plain lists, straight from the text of the precedence. Shares no code with the program.

use std::net::IpAddr;

use filter_common::reason::Reason;
use ipnet::IpNet;

use crate::hello::HANDSHAKE;

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
            (_, None) => None,
        }
    }

    fn is_address(&self) -> bool {
        matches!(self.subject, Subject::Net(_))
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

/// The entries that match, with what they are asked for.
struct Listed<'a> {
    entries: Vec<(&'a Entry, usize)>,
}

impl Listed<'_> {
    /// Whether any of these entries matches, and then whether the longest is an address. Names are
    /// longer subjects than addresses: what is known last is the narrowest.
    fn longest(&self, wanted: impl Fn(Tier) -> bool) -> Option<bool> {
        (self.entries.iter().filter(|(entry, _)| wanted(entry.tier)))
            .max_by_key(|(entry, len)| (!entry.is_address(), *len))
            .map(|(entry, _)| entry.is_address())
    }

    fn nsor(&self, categories: &[u8]) -> Option<bool> {
        self.longest(|tier| matches!(tier, Tier::Nsor(category) if categories.contains(&category)))
    }

    fn local(&self, lists: &[u8]) -> Option<bool> {
        self.longest(|tier| matches!(tier, Tier::Local(list) if lists.contains(&list)))
    }

    /// Step 3. Statistics name the education registry first, by whichever category it blocks.
    fn mandatory(&self, profile: &Profile) -> Option<Reason> {
        let unified = self.longest(|tier| matches!(tier, Tier::Unified(_)));
        let forbidden = self.nsor(&profile.mandatory);
        unified.or(forbidden)?;
        let blocked = self.nsor(&[profile.mandatory.clone(), profile.block.clone()].concat());
        Some(match (blocked, unified) {
            (Some(true), _) => Reason::BlockNsorAddress,
            (Some(false), _) => Reason::BlockNsorName,
            (None, Some(true)) => Reason::BlockUnifiedAddress,
            (None, _) => Reason::BlockUnifiedName,
        })
    }

    /// Steps 6 to 8.
    fn denied(&self, profile: &Profile) -> Option<Reason> {
        [
            (
                self.local(&profile.deny),
                Reason::BlockLocalAddress,
                Reason::BlockLocalName,
            ),
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
        .find_map(|(found, address, name)| Some(if found? { address } else { name }))
    }

    /// Step 10.
    fn warned(&self, profile: &Profile) -> Option<Reason> {
        let warns = |tier| match tier {
            Tier::Nsor(category) => profile.warn.contains(&category),
            Tier::Suspicious(category) => profile.suspicious.contains(&category),
            _ => false,
        };
        Some(if self.longest(warns)? {
            Reason::WarnAddress
        } else {
            Reason::WarnName
        })
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
) -> Option<Reason> {
    let name = if let Known::Name(name) = known {
        Some(name)
    } else {
        None
    };
    let matching = |entry| Some((entry, Entry::matches(entry, destination, name)?));
    let listed = Listed {
        entries: entries.iter().filter_map(matching).collect(),
    };
    let later = |reason| {
        if known == Known::Destination {
            None
        } else {
            Some(reason)
        }
    };
    if listed
        .longest(|tier| tier == Tier::Infrastructure)
        .is_some()
    {
        return Some(Reason::PassInfrastructure);
    }
    if let Some(reason) = listed.mandatory(profile) {
        return Some(reason);
    }
    if profile.bypass {
        return later(Reason::PassBypass);
    }
    if listed.local(&profile.allow).is_some() {
        return later(Reason::PassLocalAllow);
    }
    if let Some(reason) = listed.denied(profile) {
        return Some(reason);
    }
    if profile.allow_only && known != Known::Destination {
        return Some(Reason::BlockAllowOnly);
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
        assert_eq!(found, Some(Reason::BlockUnifiedName));
        let other = decide(
            &entries,
            &profile,
            destination,
            Known::Name("notexample.com"),
        );
        assert_eq!(other, Some(Reason::PassBypass));
    }
}
