//! What is asked for by DNS, in the open and hidden, as the precedence says it.

use std::net::IpAddr;

use filter_common::reason::Reason;

use super::{Decided, Entry, Known, Listed, Profile, Safe, Subject, Tier, decide};

/// What the first packet of a connection, or a datagram, to this port meets where the address decides
/// nothing: whether it is DNS that hides what is asked for.
#[must_use]
pub fn hidden(
    entries: &[Entry],
    profile: &Profile,
    destination: IpAddr,
    port: u16,
) -> Option<Decided> {
    let listed = Listed::new(entries, destination, None);
    let lifted = profile.bypass || listed.local(&profile.allow).is_some();
    if lifted || !profile.encrypted_dns {
        return None;
    }
    let endpoint = listed.longest(|tier| tier == Tier::EncryptedDns);
    (port == 853 || port != 53 && endpoint.is_some()).then_some(Decided {
        reason: Reason::BlockEncryptedDns,
        category: None,
        line: endpoint.map(|found| found.line),
    })
}

/// What a DNS query for a name meets: an entry of the resolver's address says nothing of it. A name that may
/// be reached may be answered in another form.
#[must_use]
pub fn asked(
    entries: &[Entry],
    profile: &Profile,
    resolver: IpAddr,
    (name, kind): (&str, u16),
) -> Option<Decided> {
    let names: Vec<Entry> = entries
        .iter()
        .map(|entry| match entry.subject {
            // In its place, so that lines keep their numbers.
            Subject::Net(_) => Entry::host("", entry.tier),
            _ => entry.clone(),
        })
        .collect();
    let decided = decide(&names, profile, resolver, Known::Name(name));
    let reached = decided.is_none_or(|decided| {
        matches!(
            decided.reason,
            Reason::PassLocalAllow | Reason::PassInfrastructure
        )
    });
    let engine = entries.iter().any(|entry| {
        matches!(entry.tier, Tier::Engine(_)) && entry.subject == Subject::Host(name.to_owned())
    });
    let safe = engine && profile.safe_search != Safe::Off && matches!(kind, 1 | 28 | 64 | 65);
    let withheld = profile.withhold_ech && matches!(kind, 64 | 65);
    let form = if safe {
        Reason::PassSafeSearch
    } else {
        Reason::PassDnsWithheld
    };
    if reached && (safe || withheld) {
        return Some(Decided {
            reason: form,
            category: None,
            line: decided.and_then(|decided| decided.line),
        });
    }
    decided
}
