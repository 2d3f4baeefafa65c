//! The desired states that the benchmark loads: invented names and addresses in any number.

use std::net::{IpAddr, Ipv4Addr};

use filter_common::abi::{Class, Policy, Tiers};
use filter_common::name::{ipv4_key, name_key};
use filter_common::verdict::Action;
use filter_user::desired::{Desired, InterfaceRow, MplsReply, Organisation, Subject};
use ipnet::{IpNet, Ipv4Net};

use super::Load;

/// The organisation whose packets are measured.
pub const SCHOOL: &str = "100.64.0.0/26";
/// Category of everything that is blocked.
const CATEGORY: u64 = 1 << 5;
/// Suffix that is blocked whatever the load.
pub const BLOCKED: &str = "bad.example";

/// A state of this size; `salt` makes another one with mostly the same entries: the last `changed`
/// of the names differ with it.
#[must_use]
pub fn desired(seed: u64, load: Load, salt: u32, changed: u32) -> Desired {
    let blocked = Tiers {
        nsor: CATEGORY,
        ..Tiers::default()
    };
    Desired {
        realms: 1,
        interfaces: vec![InterfaceRow {
            name: "lo".into(),
            ifindex: 1,
            organisations: true,
            realm: 0,
            vlan_realms: Vec::new(),
            mpls_reply: MplsReply::None,
        }],
        classes: vec![
            Class::default(),
            Class {
                exact: blocked,
                suffix: blocked,
            },
            Class {
                exact: blocked,
                suffix: Tiers::default(),
            },
        ],
        subjects: subjects(seed, load, salt, changed),
        organisations: organisations(load.orgs),
        syn_limit: u32::MAX,
        ..Desired::default()
    }
}

fn subjects(seed: u64, load: Load, salt: u32, changed: u32) -> Vec<Subject> {
    let mut subjects = Vec::new();
    let stable = load.domains.saturating_sub(changed);
    for number in 0..load.domains {
        let salt = if number < stable { 0 } else { salt };
        let name = format!("d{number}-{salt}.bulk.example");
        subjects.extend(name_key(seed, name.as_bytes()).map(|key| (key, 1)));
    }
    for number in 0..load.addresses {
        // Spread over 11.0.0.0 and up, odd addresses only, clear of those the frames go to.
        let address = 0x0b00_0001 + number * 2;
        subjects.push((ipv4_key(seed, address), 2));
    }
    subjects.extend(name_key(seed, BLOCKED.as_bytes()).map(|key| (key, 1)));
    subjects.sort_unstable();
    subjects.dedup_by_key(|(key, _)| *key);
    // Any number that stays with its key will do for an entry's.
    let entry = |(key, class): (u64, u16)| Subject {
        key,
        class,
        entry: 1 + (key >> 40) as u32,
    };
    subjects.into_iter().map(entry).collect()
}

/// `count` schools of 64 addresses each, from 100.64.0.0 on.
fn organisations(count: u32) -> Vec<Organisation> {
    let policy = Policy {
        block: CATEGORY,
        action: Action::Drop as u32,
        ..Policy::default()
    };
    let school = |number: u32| {
        let first = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + number * 64);
        let net = Ipv4Net::new(first, 26).unwrap_or_default();
        Organisation {
            id: format!("school-{number:06}"),
            realm: 0,
            prefixes: vec![IpNet::V4(net)],
            policy,
            bypass_until_ns: 0,
        }
    };
    (0..count).map(school).collect()
}

/// The pupil's device whose packets are measured.
#[must_use]
pub fn device() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(100, 64, 0, 5))
}
