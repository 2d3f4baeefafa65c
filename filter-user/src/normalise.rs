//! One normaliser for the lines of every list format: a line in, a canonical subject or the reason
//! why it is refused out.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

mod field;
mod guards;
mod refusal;
mod tidy;

pub use field::field;
pub use guards::{is_public, is_public_suffix};
pub use refusal::Refusal;

use guards::guard_net;

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
        return Err(Refusal::NotUtf8);
    };
    subject(text, accept, guards).map(Some)
}

/// The subject that a text without white space around it names: what every format has in common.
///
/// # Errors
/// The reason why it is none that may be loaded.
pub fn subject(text: &str, accept: Accept, guards: Guards) -> Result<Subject<'_>, Refusal> {
    let subject = unguarded(text, accept)?;
    if guards.breadth {
        guard_net(&subject)?;
    }
    Ok(subject)
}

fn unguarded(text: &str, accept: Accept) -> Result<Subject<'_>, Refusal> {
    if accept == Accept::Urls {
        return url(text);
    }
    match (address(text)?, accept) {
        (Some(Subject::Net(_)), Accept::Names) => Err(Refusal::NotHere),
        (Some(subject), _) => Ok(subject),
        (None, Accept::Addresses) => Err(Refusal::NotAddress),
        (None, Accept::Mixed) if text.contains('/') => url(text),
        (None, _) if text.contains('/') => Err(Refusal::Url),
        (None, _) => name(text),
    }
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
pub(crate) fn strip(raw: &[u8]) -> &[u8] {
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

#[cfg(test)]
#[path = "normalise_tests.rs"]
mod tests;
