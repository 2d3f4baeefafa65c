//! One normaliser for the lines of every list format: a line in, a canonical subject or the reason
//! why it is refused out.

mod field;
mod tidy;

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use field::field;

/// What a list may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accept {
    /// Names; an address among them is an address entry.
    Names,
    /// Addresses and prefixes only.
    Addresses,
    /// Names, addresses, prefixes and URLs.
    Mixed,
    /// URLs only.
    Urls,
}

/// Refusals that a source may switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guards {
    /// Refuse public suffixes, over-broad prefixes, and addresses that are nobody's on the internet.
    pub breadth: bool,
}

impl Guards {
    /// Everything that is refused in a registry.
    pub const ALL: Guards = Guards { breadth: true };
    /// Nothing is refused that can be represented.
    pub const NONE: Guards = Guards { breadth: false };
}

/// A canonical subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A host name in lower-case ASCII without a trailing dot. `suffix`: everything below it too.
    Name {
        /// The name.
        name: Cow<'a, str>,
        /// The line said `*.name` or `.name`.
        suffix: bool,
    },
    /// One address.
    Address(IpAddr),
    /// A prefix shorter than one address, host bits zero.
    Net(IpNet),
    /// A URL of plain HTTP.
    Url {
        /// The host, as [`Subject::Name`] has it, or an address as the URL has it.
        host: Cow<'a, str>,
        /// The path from its first slash on, with the query where there is one.
        path: Cow<'a, str>,
        /// Everything below the path too: the line ends in `*`.
        below: bool,
    },
}

impl Subject<'_> {
    /// Without what it borrows.
    #[must_use]
    pub fn into_owned(self) -> Subject<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Subject::Name { name, suffix } => Subject::Name {
                name: owned(name),
                suffix,
            },
            Subject::Address(address) => Subject::Address(address),
            Subject::Net(net) => Subject::Net(net),
            Subject::Url { host, path, below } => Subject::Url {
                host: owned(host),
                path: owned(path),
                below,
            },
        }
    }
}

/// Why a line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Not a host name.
    NotName,
    /// Longer than 253 characters, or a label longer than 63.
    NameTooLong,
    /// A name in a list of addresses.
    NotAddress,
    /// A prefix in a list of names.
    NotHere,
    /// A URL in a list of names.
    Url,
    /// A URL whose path no network sees.
    NotHttp,
    /// Not a URL.
    NotUrl,
    /// A URL whose path has more parts than are kept of a request.
    TooDeep,
    /// A public suffix: everybody's names.
    PublicSuffix,
    /// A prefix too broad to be meant.
    TooBroad,
    /// Private, loopback, link-local, multicast or otherwise not a host of the internet.
    NotPublic,
    /// A prefix length beyond the address.
    BadPrefix,
    /// A field without a value.
    Empty,
}

impl Refusal {
    /// What is wrong, for a message.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Refusal::NotName => "not a host name",
            Refusal::NameTooLong => "name longer than 253 characters, or a label longer than 63",
            Refusal::NotAddress => "not an address or prefix, in a list of addresses",
            Refusal::NotHere => "prefix in a list of names",
            Refusal::Url => "URL in a list of names",
            Refusal::NotHttp => "URL of another scheme than http: its path is not seen",
            Refusal::NotUrl => "not a host and path",
            Refusal::TooDeep => "everything below a path of more than 14 parts",
            Refusal::PublicSuffix => "public suffix, under which everybody registers names",
            Refusal::TooBroad => "prefix broader than IPv4 /8 or IPv6 /24",
            Refusal::NotPublic => "private, loopback, link-local, multicast or reserved addresses",
            Refusal::BadPrefix => "prefix length does not fit the address",
            Refusal::Empty => "empty",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Refusal::NotName
            | Refusal::NameTooLong
            | Refusal::BadPrefix
            | Refusal::Empty
            | Refusal::NotUrl
            | Refusal::TooDeep => "correct or remove the line",
            Refusal::NotAddress => "move it to a registry of format \"domains\"",
            Refusal::NotHere => "move it to a registry of format \"addresses\" or \"mixed\"",
            Refusal::Url => {
                "move it to a registry of format \"urls\" or \"mixed\", or list the host, if all of it is meant"
            }
            Refusal::NotHttp => "list the host, if all of it is meant",
            Refusal::PublicSuffix => "list the names that are meant",
            Refusal::TooBroad => "list the narrower prefixes that are meant",
            Refusal::NotPublic => {
                "remove the line: such addresses are never filtered by a registry"
            }
        }
    }
}

/// Reads a line: `Ok(None)` for an empty line or a comment.
///
/// # Errors
/// The reason why the line holds no subject that may be loaded.
pub fn line(raw: &[u8], accept: Accept, guards: Guards) -> Result<Option<Subject<'_>>, Refusal> {
    let text = strip(raw);
    if text.is_empty() {
        return Ok(None);
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return Err(Refusal::NotName);
    };
    if accept == Accept::Urls {
        return url(text).map(Some);
    }
    if let Some(subject) = address(text)? {
        if guards.breadth {
            guard_net(&subject)?;
        }
        let net_among_names = accept == Accept::Names && matches!(subject, Subject::Net(_));
        return if net_among_names {
            Err(Refusal::NotHere)
        } else {
            Ok(Some(subject))
        };
    }
    if accept == Accept::Addresses {
        return Err(Refusal::NotAddress);
    }
    if text.contains('/') {
        return match accept {
            Accept::Mixed => url(text).map(Some),
            _ => Err(Refusal::Url),
        };
    }
    name(text).map(Some)
}

/// `http://HOST[:PORT]/PATH[?QUERY][*]`, or the same without the scheme. The port is of no account, and
/// what is behind `#` never leaves the browser.
fn url(text: &str) -> Result<Subject<'_>, Refusal> {
    match tidy::url(text) {
        Cow::Borrowed(text) => tidy_url(text),
        Cow::Owned(text) => tidy_url(&text).map(Subject::into_owned),
    }
}

fn tidy_url(text: &str) -> Result<Subject<'_>, Refusal> {
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            return Err(Refusal::NotHttp);
        }
        _ => text,
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(at).ok_or(Refusal::NotUrl)?;
    // A name and password in front never leave the browser as a part of the URL.
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    let host = match host.parse::<std::net::Ipv4Addr>() {
        Ok(_) => Cow::Borrowed(host),
        Err(_) => canonical_name(host.trim_end_matches('.')).or(Err(Refusal::NotUrl))?,
    };
    let whole = path.strip_suffix('*');
    let below = whole.is_some();
    let path = whole.unwrap_or(path);
    let path = if below {
        path.trim_end_matches('/')
    } else {
        path
    };
    if path.bytes().any(|byte| byte <= b' ') {
        return Err(Refusal::NotUrl);
    }
    let path = match path.as_bytes().first() {
        Some(b'/') => Cow::Borrowed(path),
        None if below => Cow::Borrowed(path),
        _ => Cow::Owned(format!("/{path}")),
    };
    let parts = filter_common::url::hashes(0, path.as_bytes()).0;
    if below && parts >= usize::from(filter_common::url::PARTS_MAX) {
        return Err(Refusal::TooDeep);
    }
    Ok(Subject::Url { host, path, below })
}

/// Without byte-order mark, comment and white space.
fn strip(raw: &[u8]) -> &[u8] {
    let text = raw
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(raw)
        .trim_ascii();
    if text.first() == Some(&b'#') || text.first() == Some(&b';') {
        return &[];
    }
    let comment = text
        .windows(2)
        .position(|pair| matches!(pair, [b' ' | b'\t', b'#']));
    match comment.and_then(|at| text.get(..at)) {
        Some(before) => before.trim_ascii_end(),
        None => text,
    }
}

/// An address or prefix, if the text is one.
fn address(text: &str) -> Result<Option<Subject<'static>>, Refusal> {
    let starts_like_one = text
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_hexdigit() || first == b':');
    if !starts_like_one {
        return Ok(None);
    }
    if let Some((host, length)) = text.split_once('/') {
        let Ok(host) = host.parse::<IpAddr>() else {
            return Ok(None);
        };
        let Ok(length) = length.parse::<u8>() else {
            return Err(Refusal::BadPrefix);
        };
        let Ok(net) = IpNet::new(host, length) else {
            return Err(Refusal::BadPrefix);
        };
        return Ok(Some(canonical_net(net.trunc())));
    }
    Ok(text
        .parse::<IpAddr>()
        .ok()
        .map(|host| Subject::Address(host.to_canonical())))
}

/// A prefix of one address is that address; IPv4 mapped into IPv6 is IPv4.
fn canonical_net(net: IpNet) -> Subject<'static> {
    if net.prefix_len() == net.max_prefix_len() {
        return Subject::Address(net.addr().to_canonical());
    }
    if let IpNet::V6(v6) = net
        && let (Some(host), Some(length)) =
            (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
        && let Ok(v4) = Ipv4Net::new(host, length)
    {
        return Subject::Net(IpNet::V4(v4));
    }
    Subject::Net(net)
}

/// Address space that no registry may block: it is nobody's on the internet, or everybody's at home.
const NOT_PUBLIC_V4: &[(u32, u8)] = &[
    (0x0000_0000, 8),  // this network, RFC 791
    (0x0a00_0000, 8),  // private, RFC 1918
    (0x6440_0000, 10), // shared, RFC 6598
    (0x7f00_0000, 8),  // loopback
    (0xa9fe_0000, 16), // link-local, RFC 3927
    (0xac10_0000, 12), // private, RFC 1918
    (0xc0a8_0000, 16), // private, RFC 1918
    (0xe000_0000, 3),  // multicast, reserved, broadcast
];

/// The same for IPv6.
const NOT_PUBLIC_V6: &[(u128, u8)] = &[
    (0, 96),                // unspecified, loopback, RFC 4291 section 2.5
    (0xfc00 << 112, 7),     // unique local, RFC 4193
    (0xfe80 << 112, 10),    // link-local
    (0xff00 << 112, 8),     // multicast
    (0xffff_0000_0000, 96), // mapped IPv4
];

/// Shortest prefixes that a registry may hold.
const NET4_SHORTEST: u8 = 8;
const NET6_SHORTEST: u8 = 24;

fn guard_net(subject: &Subject<'_>) -> Result<(), Refusal> {
    let net = match subject {
        Subject::Address(host) => IpNet::from(*host),
        Subject::Net(net) => *net,
        Subject::Name { .. } | Subject::Url { .. } => return Ok(()),
    };
    let (shortest, overlaps) = match net {
        IpNet::V4(v4) => (
            NET4_SHORTEST,
            NOT_PUBLIC_V4.iter().any(|special| meets4(&v4, *special)),
        ),
        IpNet::V6(v6) => (
            NET6_SHORTEST,
            NOT_PUBLIC_V6.iter().any(|special| meets6(&v6, *special)),
        ),
    };
    if net.prefix_len() < shortest {
        Err(Refusal::TooBroad)
    } else if overlaps {
        Err(Refusal::NotPublic)
    } else {
        Ok(())
    }
}

fn meets4(net: &Ipv4Net, (base, length): (u32, u8)) -> bool {
    let shared = length.min(net.prefix_len());
    (u32::from(net.addr()) ^ base).leading_zeros() >= u32::from(shared)
}

fn meets6(net: &Ipv6Net, (base, length): (u128, u8)) -> bool {
    let shared = length.min(net.prefix_len());
    (u128::from(net.addr()) ^ base).leading_zeros() >= u32::from(shared)
}

/// Whether `address` is one that a registry may hold.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    guard_net(&Subject::Address(address)).is_ok()
}

/// A host name, with `*.` or `.` in front for a suffix.
///
/// # Errors
/// The reason why it is none.
pub fn name(text: &str) -> Result<Subject<'_>, Refusal> {
    let bare = text.strip_prefix("*.").or_else(|| text.strip_prefix('.'));
    let suffix = bare.is_some();
    let bare = bare.unwrap_or(text);
    let name = canonical_name(bare.trim_end_matches('.'))?;
    Ok(Subject::Name { name, suffix })
}

/// Lower-case ASCII of a name, labels and lengths checked.
fn canonical_name(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
    };
    let name = if text.bytes().all(plain) {
        Cow::Borrowed(text)
    } else if text.is_ascii() {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        let Ok(ascii) = idna::domain_to_ascii(text) else {
            return Err(Refusal::NotName);
        };
        Cow::Owned(ascii.strip_suffix('.').map(str::to_owned).unwrap_or(ascii))
    };
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Refusal::NotName);
    }
    check_labels(&name)?;
    Ok(name)
}

fn check_labels(name: &str) -> Result<(), Refusal> {
    let mut label = 0;
    for byte in name.bytes() {
        if byte != b'.' {
            label += 1;
        } else if label == 0 {
            return Err(Refusal::NotName);
        } else if label > 63 {
            return Err(Refusal::NameTooLong);
        } else {
            label = 0;
        }
    }
    if name.len() > 253 || label > 63 {
        Err(Refusal::NameTooLong)
    } else if label == 0
        || name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        // Digits and dots alone are a mistyped address.
        Err(Refusal::NotName)
    } else {
        Ok(())
    }
}

/// Whether all of `name` is a suffix under which anybody may register names. Suffixes that private
/// owners offer (hosting services) do not count: a registry may mean such a service as a whole.
#[must_use]
pub fn is_public_suffix(name: &str) -> bool {
    use psl::Psl as _;
    if !name.contains('.') {
        return true;
    }
    let Some(suffix) = psl::List.suffix(name.as_bytes()) else {
        return false;
    };
    suffix.as_bytes().len() == name.len() && suffix.typ() == Some(psl::Type::Icann)
}

#[cfg(test)]
#[path = "normalise_tests.rs"]
mod tests;
