//! Enrolment: an organisation may not be broader than an organisation can be, and no address may be
//! of two.

use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_common::limits::{ORG_IPV4_ADDRESSES_MAX, ORG_IPV6_SUBNETS_MAX, ORGS_MAX};
use ipnet::IpNet;

use super::reader::Source;
use super::{Organisation, Place};

/// How much is enrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Enrolled {
    /// Organisations.
    pub organisations: u64,
    /// Segments of them.
    #[serde(default)]
    pub segments: u64,
    /// IPv4 addresses of all of them.
    pub ipv4_addresses: u64,
    /// IPv6 networks of /64 of all of them; a longer prefix counts as one.
    pub ipv6_subnets: u64,
}

impl Enrolled {
    fn add(&mut self, net: &IpNet) {
        match net {
            IpNet::V4(v4) => {
                self.ipv4_addresses = self
                    .ipv4_addresses
                    .saturating_add(1 << (32 - v4.prefix_len()))
            }
            IpNet::V6(v6) => {
                let bits = u32::from(64u8.saturating_sub(v6.prefix_len()));
                self.ipv6_subnets = self
                    .ipv6_subnets
                    .saturating_add(1u64.checked_shl(bits).unwrap_or(u64::MAX));
            }
        }
    }
}

/// Checks all enrolments and sums them up.
pub(super) fn check(source: &mut Source, organisations: &[Organisation]) -> Enrolled {
    let segments = (organisations.iter())
        .filter(|row| row.parent().is_some())
        .count();
    let mut total = Enrolled {
        organisations: (organisations.len() - segments) as u64,
        segments: segments as u64,
        ..Enrolled::default()
    };
    if organisations.len() > ORGS_MAX as usize {
        let what = format!("{} organisations and segments", organisations.len());
        source.problem(
            0,
            what,
            format!("at most {ORGS_MAX} are possible: split the filter"),
        );
    }
    let mut whole: BTreeMap<&str, (&Organisation, Enrolled)> = BTreeMap::new();
    for row in organisations {
        let id = row.parent().unwrap_or(&row.id);
        let (_, own) = whole.entry(id).or_insert((row, Enrolled::default()));
        row.prefixes.iter().for_each(|net| own.add(net));
    }
    for (id, (organisation, own)) in whole {
        check_breadth(source, id, organisation, &own);
        total.ipv4_addresses = total.ipv4_addresses.saturating_add(own.ipv4_addresses);
        total.ipv6_subnets = total.ipv6_subnets.saturating_add(own.ipv6_subnets);
    }
    check_overlaps(source, organisations);
    total
}

fn check_breadth(source: &mut Source, id: &str, organisation: &Organisation, own: &Enrolled) {
    let Place {
        file,
        line,
        section,
    } = &organisation.place;
    let remedy = "enrol the organisation's own prefixes only, or enrol several organisations";
    if own.ipv4_addresses > ORG_IPV4_ADDRESSES_MAX {
        let what = format!(
            "{section} prefixes: \"{id}\" enrols {} IPv4 addresses, more than {ORG_IPV4_ADDRESSES_MAX} (a /20)",
            own.ipv4_addresses
        );
        source.problem_in(file, *line, what, remedy);
    }
    if own.ipv6_subnets > ORG_IPV6_SUBNETS_MAX {
        let what = format!(
            "{section} prefixes: \"{id}\" enrols {} IPv6 networks of /64, more than {ORG_IPV6_SUBNETS_MAX} (a /40)",
            own.ipv6_subnets
        );
        source.problem_in(file, *line, what, remedy);
    }
}

/// One pass over the prefixes in the order of their first address: a prefix overlaps an earlier one
/// exactly if it starts before the furthest end so far.
fn check_overlaps(source: &mut Source, organisations: &[Organisation]) {
    let mut prefixes: Vec<(&str, IpNet, &Organisation)> = organisations
        .iter()
        .flat_map(|org| {
            org.prefixes
                .iter()
                .map(move |net| (org.realm.as_str(), *net, org))
        })
        .collect();
    prefixes.sort_by_key(|(realm, net, _)| (*realm, net.network(), net.prefix_len()));
    let mut holder: Option<(&str, IpNet, &Organisation)> = None;
    for current in prefixes {
        let (realm, net, organisation) = current;
        match holder {
            Some((held_realm, held, other))
                if realm == held_realm && reaches(&held, net.network()) =>
            {
                let order = |row: &'_ Organisation| (row.place.file.clone(), row.place.line);
                let (late, early) = if order(organisation) >= order(other) {
                    (organisation, other)
                } else {
                    (other, organisation)
                };
                let what = format!(
                    "{} prefixes: {net} of \"{}\" overlaps {held} of \"{}\" in realm \"{realm}\"",
                    late.place.section, organisation.id, other.id
                );
                let remedy = if std::ptr::eq(late, early) {
                    "remove the inner one".to_owned()
                } else {
                    let place = if early.place.file == late.place.file {
                        format!("on line {}", early.place.line)
                    } else {
                        format!("in {}:{}", early.place.file.display(), early.place.line)
                    };
                    format!("take it out of one: \"{}\" is {place}", early.id)
                };
                source.problem_in(&late.place.file, late.place.line, what, remedy);
            }
            _ => holder = Some(current),
        }
    }
}

/// Whether `net` holds `address`, given that it does not start behind it.
fn reaches(net: &IpNet, address: IpAddr) -> bool {
    net.contains(&address)
}
