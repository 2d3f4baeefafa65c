//! The directory that extfilter reads: `domains`, `urls`, `ssl_host`, and `hosts` with addresses and ports.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{Rule, Rules, Scope, Syntax};
use crate::normalise::{Accept, Refusal};

/// Files of the directory, with what they hold.
const FILES: [(&str, Accept); 4] = [
    ("domains", Accept::Names),
    ("ssl_host", Accept::Names),
    ("urls", Accept::Urls),
    ("hosts", Accept::Addresses),
];

/// Files that are not applied, and why.
const NOT_APPLIED: [(&str, &str); 3] = [
    ("ssl_ips", "stops TLS without a name only: not applied"),
    ("protocols", "protocols by their traffic: not applied"),
    ("protos", "protocols by their traffic: not applied"),
];

/// The files of a directory that are there.
#[must_use]
pub fn files(directory: &Path) -> Vec<(PathBuf, Accept, Syntax)> {
    let files = FILES.into_iter().map(|(name, accept)| {
        let syntax = match accept {
            Accept::Addresses => Syntax::ExtfilterHosts,
            _ => Syntax::Plain,
        };
        (directory.join(name), accept, syntax)
    });
    files.filter(|(path, _, _)| path.exists()).collect()
}

/// Files that are there and are not applied, and why.
#[must_use]
pub fn not_applied(directory: &Path) -> Vec<(PathBuf, &'static str)> {
    let files = NOT_APPLIED
        .into_iter()
        .map(|(name, why)| (directory.join(name), why));
    files.filter(|(path, _)| path.exists()).collect()
}

/// The rules of a line of `hosts`: an address, or an address and a port.
///
/// # Errors
/// Why it is not applied: an address is filtered on all ports or not at all.
pub fn rules(text: &str, each: Rules<'_>) -> Result<(), Refusal> {
    if text.is_empty() || text.starts_with(['#', ';']) {
        return Ok(());
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (subject, port) = match bracketed {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((address, port)) if !address.contains(':') => (address, Some(port)),
            _ => (text, None),
        },
    };
    let host = subject.split_once('/').map_or(subject, |(host, _)| host);
    if host.parse::<IpAddr>().is_err() {
        return Err(Refusal::NotAddress);
    }
    if port.is_some() {
        return Err(Refusal::Port);
    }
    each(Rule::entry(subject, Scope::Bare));
    Ok(())
}
