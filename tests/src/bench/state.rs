//! The desired states that the benchmark loads: invented names and addresses in any number.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use filter_common::abi::{Class, Policy, Tiers};
use filter_common::name::{ipv4_key, name_key};
use filter_common::table::finish;
use filter_common::verdict::Action;
use filter_user::desired::{
    Blocks4, Desired, InterfaceRow, MplsReply, Organisation, PageText, PortalAddresses, Subject,
};
use ipnet::{IpNet, Ipv4Net};

use super::Load;

/// The organisation whose packets are measured.
pub const SCHOOL: &str = "100.64.0.0/26";
/// Category of everything that is blocked.
const CATEGORY: u64 = 1 << 5;
/// Listed addresses in a /20 that has any.
const ADDRESSES_IN_BLOCK: u32 = 64;
/// A /8 in which every /20 has listed addresses, once 262,144 are loaded.
pub const LISTED: u32 = 11 << 24;
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
        subjects: Arc::new(subjects(seed, load, salt, changed)),
        blocks4: blocks4(load),
        page: PageText {
            host: Some("portal.example".into()),
        },
        portal: PortalAddresses {
            v4: Some(Ipv4Addr::new(198, 51, 100, 80)),
            v6: None,
        },
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
        subjects.extend(name_key(seed, name.as_bytes()).map(|key| (key, false)));
    }
    subjects.extend((0..load.addresses).map(|number| (ipv4_key(seed, address(number)), true)));
    subjects.extend(name_key(seed, BLOCKED.as_bytes()).map(|key| (key, false)));
    subjects.sort_unstable();
    subjects.dedup_by_key(|(key, _)| *key);
    // Any number that stays with its key will do for an entry's.
    let entry = |(key, address): (u64, bool)| Subject {
        key,
        address,
        class: 1 + u16::from(address),
        entry: 1 + (key >> 40) as u32,
    };
    subjects.into_iter().map(entry).collect()
}

fn blocks4(load: Load) -> Blocks4 {
    let mut blocks = Blocks4::default();
    (0..load.addresses).for_each(|number| blocks.add(address(number)));
    blocks
}

/// The listed addresses: odd ones, 64 in a /20, as they lie with hosting providers. The /20s fill
/// [`LISTED`] first, then lie in 16.0.0.0 to 111.255.255.255.
fn address(number: u32) -> u32 {
    let (block, host) = (number / ADDRESSES_IN_BLOCK, number % ADDRESSES_IN_BLOCK);
    let in_listed = 1 << 12;
    let block = if block < in_listed {
        LISTED >> 12 | block
    } else {
        let drawn = finish(u64::from(block), 0) % (0x60 << 12);
        (0x10 << 12) + u32::try_from(drawn).unwrap_or(0)
    };
    block << 12 | host << 1 | 1
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
