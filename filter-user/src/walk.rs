//! The walk of the data path to a subject, over a compiled state: the entries of an address, of a name from its
//! shortest suffix on, of a URL from its host on. What decides on it follows the data path's rule.

use std::net::IpAddr;

use filter_common::abi::{Class, LOCAL_ENDPOINT, POLICY_ENCRYPTED_DNS, Policy, Tiers};
use filter_common::lookup::url_len;
use filter_common::name::name_key;
use filter_common::rule::{Best, Moment, Step, decide, judge_entry};
use filter_common::url;
use ipnet::IpNet;

use crate::compile::nets_around;
use crate::desired::{Desired, address_key};
use crate::normalise::Subject;

/// Where an entry stands in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Among names, addresses and URLs.
    Key(u64),
    /// Among prefixes: the longest one that is met.
    Net(IpNet),
}

/// An entry on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// The suffix, address, prefix or URL.
    pub subject: String,
    /// Where it stands.
    pub place: Place,
    /// Index of its class.
    pub class: u16,
    /// Whether the entry is of the subject itself, not of what it lies below.
    pub whole: bool,
    /// As the data path counts: 0 for an address, else the length with the leading dot.
    pub len: u32,
}

impl Met {
    /// What it means.
    #[must_use]
    pub fn link(&self, classes: &[Class]) -> Link {
        let class = classes.get(usize::from(self.class)).copied();
        Link::new(class.unwrap_or_default(), self.whole, self.len)
    }
}

/// What an entry on the way means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// What the subject itself is listed for; `None` where only something above it is.
    pub exact: Option<Tiers>,
    /// What it and everything below it is listed for.
    pub suffix: Tiers,
    /// As [`Met::len`].
    pub len: u32,
}

impl Link {
    /// An entry with this class.
    #[must_use]
    pub fn new(class: Class, whole: bool, len: u32) -> Link {
        Link {
            exact: whole.then_some(class.exact),
            suffix: class.suffix,
            len,
        }
    }
}

/// The entries on the way to a subject, in the data path's order.
#[must_use]
pub fn walk(desired: &Desired, seed: u64, subject: &Subject<'_>) -> Vec<Met> {
    match subject {
        Subject::Name { name, .. } => names(desired, seed, name),
        Subject::Address(address) => addresses(desired, seed, *address),
        Subject::Net(net) => longest(desired, *net).into_iter().collect(),
        Subject::Url { host, path, .. } => {
            let mut met = names(desired, seed, host);
            met.extend(urls(desired, seed, host, path));
            met
        }
    }
}

/// The longest prefix around an address, whose class holds those of the prefixes around it, and the address.
#[must_use]
pub fn addresses(desired: &Desired, seed: u64, address: IpAddr) -> Vec<Met> {
    let mut met: Vec<Met> = longest(desired, IpNet::from(address)).into_iter().collect();
    let key = address_key(seed, address);
    met.extend(class_of(desired, key).map(|class| Met {
        subject: address.to_string(),
        place: Place::Key(key),
        class,
        whole: true,
        len: 0,
    }));
    met
}

fn longest(desired: &Desired, net: IpNet) -> Option<Met> {
    let (net, class, _) = nets_around(desired, net).pop()?;
    Some(Met {
        subject: net.to_string(),
        place: Place::Net(net),
        class,
        whole: true,
        len: 0,
    })
}

fn names(desired: &Desired, seed: u64, name: &str) -> Vec<Met> {
    let dots = name.rmatch_indices('.');
    let suffixes = dots.filter_map(|(at, _)| name.get(at + 1..));
    let met = suffixes.chain(std::iter::once(name)).filter_map(|suffix| {
        let key = name_key(seed, suffix.as_bytes())?;
        Some(Met {
            subject: suffix.to_owned(),
            place: Place::Key(key),
            class: class_of(desired, key)?,
            whole: suffix.len() == name.len(),
            len: u32::try_from(suffix.len() + 1).ok()?,
        })
    });
    met.collect()
}

/// The beginnings of a path, then the path with its query.
fn urls(desired: &Desired, seed: u64, host: &str, path: &str) -> Vec<Met> {
    let Some(host_key) = name_key(seed, host.as_bytes()) else {
        return Vec::new();
    };
    let (parts, paths) = url::hashes(seed, path.as_bytes());
    let places = (0..parts).chain([url::PATH_AT, url::FULL_AT]);
    let met = places.filter_map(|place| {
        let key = url::url_key(host_key, *paths.get(place)?);
        Some(Met {
            subject: format!("http://{host}{path}"),
            place: Place::Key(key),
            class: class_of(desired, key)?,
            whole: place == url::FULL_AT,
            len: url_len(place),
        })
    });
    met.collect()
}

fn class_of(desired: &Desired, key: u64) -> Option<u16> {
    let subjects = &desired.subjects;
    let at = subjects.binary_search_by_key(&key, |subject| subject.key);
    subjects.get(at.ok()?).map(|subject| subject.class)
}

/// Runs entries through the data path's rule. The deciding one has its place, counted from 1, as number.
#[must_use]
pub fn best(links: &[Link], policy: &Policy) -> Best {
    let mut best = Best::NONE;
    for (number, link) in (1u32..).zip(links) {
        for tiers in std::iter::once(&link.suffix).chain(&link.exact) {
            best.consider(judge_entry(tiers, policy), number, link.len);
        }
    }
    best
}

/// The entry by which a connection to an address is stopped as encrypted DNS: what the data path asks at a SYN
/// or a datagram, where the address has decided nothing by itself (see `filter_common::encrypted`).
#[must_use]
pub fn stopped_endpoint(links: &[Link], policy: &Policy) -> Option<usize> {
    if policy.flags & POLICY_ENCRYPTED_DNS == 0 {
        return None;
    }
    let listed = |link: &Link| {
        link.exact
            .is_some_and(|tiers| tiers.local & LOCAL_ENDPOINT != 0)
    };
    let at = links.iter().rposition(|link| link.len == 0 && listed(link));
    let at = at?;
    let own: Vec<Link> = links.iter().filter(|link| link.len == 0).copied().collect();
    let best = best(&own, policy);
    let decided = decide(&best, policy, false, Moment::Address)
        .reason
        .is_some();
    let allowed = best.step == Step::LocalAllow as u32;
    (!allowed && !decided).then_some(at)
}
