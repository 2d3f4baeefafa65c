//! How large each map is made: computed from a desired state, with room to grow in place.

use std::collections::BTreeSet;

use filter_common::limits::{ORG4_PAGES_MAX, ORGS_MAX, WAYS};
use filter_common::org::PAGE_WORDS;
use ipnet::IpNet;

use super::error::KernelError;
use crate::desired::{Desired, FlowSizes, InterfaceRow};

/// Words of an interface's VLAN table: 4,096 `u16`.
pub const VLAN_WORDS: u32 = 1024;
/// Share of the slots of a bucket table that is used at most, in percent: above it, moves get long.
const FILL_PERCENT: u64 = 85;
/// Spare pages of the IPv4 enrolment index.
const PAGES_SPARE: u32 = 4;

/// `max_entries` of the maps whose size is chosen at load time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Words of `VLAN_REALMS`.
    pub vlan_words: u32,
    /// Words of `ORG4_INDEX`.
    pub org4_index_words: u32,
    /// Words of `ORG4_PAGES`.
    pub org4_page_words: u32,
    /// Words of `ORG6_BLOOM`.
    pub org6_bloom_words: u32,
    /// Buckets of `ORG6`.
    pub org6_buckets: u32,
    /// Prefixes of `ORG6_SPLIT`.
    pub org6_splits: u32,
    /// Rows of `ORGS`, `ORG_RATES`, `COUNTERS`, `CATEGORY_COUNTERS`.
    pub orgs: u32,
    /// Rows of `POLICIES`.
    pub policies: u32,
    /// Words of `NAME_BLOOM`.
    pub name_bloom_words: u32,
    /// Words of `ADDRESS_BLOOM`.
    pub address_bloom_words: u32,
    /// Buckets of `SUBJECTS` and `SUBJECT_ENTRIES`.
    pub subject_buckets: u32,
    /// Prefixes of `NET4`.
    pub nets4: u32,
    /// Prefixes of `NET6`.
    pub nets6: u32,
    /// Words of `NET6_BLOOM`.
    pub net6_bloom_words: u32,
    /// Sets of `FLOWS`.
    pub flow_sets: u32,
    /// Rows of `HELLOS`; four in a line are a set.
    pub hello_rows: u32,
}

impl Sizes {
    /// Sizes for `desired` with a quarter of room, and the flow tables as configured.
    #[must_use]
    pub fn measure(desired: &Desired, flows: FlowSizes) -> Sizes {
        let enrolled = Enrolled::measure(desired);
        let subjects = desired.subjects.len() as u64;
        let addresses = desired.subjects.iter().filter(|subject| subject.address);
        let addresses = addresses.count() as u64;
        let policies: BTreeSet<_> = desired.organisations.iter().map(policy_key).collect();
        Sizes {
            vlan_words: vlan_blocks(desired)
                .saturating_add(1)
                .saturating_mul(VLAN_WORDS),
            org4_index_words: u32::from(desired.realms.max(1)).saturating_mul(PAGE_WORDS),
            org4_page_words: (enrolled.pages + 1 + PAGES_SPARE).saturating_mul(PAGE_WORDS),
            org6_bloom_words: bloom_words(enrolled.blocks6),
            org6_buckets: buckets(enrolled.blocks6, 64),
            org6_splits: with_room(enrolled.splits6, 1024),
            orgs: with_room(desired.organisations.len() as u64, 1023).min(ORGS_MAX) + 1,
            // A change of every policy at once needs the old rows and the new ones.
            policies: rows(2 * policies.len().max(desired.profiles) as u64, 64),
            name_bloom_words: bloom_words(subjects - addresses),
            address_bloom_words: bloom_words(addresses),
            subject_buckets: buckets(subjects, 1024),
            nets4: with_room(desired.nets4.len() as u64, 1024),
            nets6: with_room(desired.nets6.len() as u64, 1024),
            net6_bloom_words: bloom_words(desired.nets6.len() as u64),
            flow_sets: sets(flows.flows, 4096),
            hello_rows: flows.hellos.max(1024).next_power_of_two(),
        }
    }

    /// Refuses what no generation may hold.
    ///
    /// # Errors
    /// [`KernelError::OverLimit`] for too many organisations or too many IPv4 /16s in use.
    pub fn check(&self, desired: &Desired) -> Result<(), KernelError> {
        let over = |what, wanted: u64, limit: u64| {
            if wanted <= limit {
                return Ok(());
            }
            Err(KernelError::OverLimit {
                what,
                wanted,
                limit,
            })
        };
        let pages = (self.org4_page_words / PAGE_WORDS).saturating_sub(1 + PAGES_SPARE);
        over(
            "organisations",
            desired.organisations.len() as u64,
            u64::from(ORGS_MAX),
        )?;
        over(
            "IPv4 /16s with organisations",
            u64::from(pages),
            u64::from(ORG4_PAGES_MAX),
        )?;
        over("classes", desired.classes.len() as u64, 65_536)
    }

    /// Map names with their `max_entries`.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, u32); 22] {
        [
            ("VLAN_REALMS", self.vlan_words),
            ("ORG4_INDEX", self.org4_index_words),
            ("ORG4_PAGES", self.org4_page_words),
            ("ORG6_BLOOM", self.org6_bloom_words),
            ("ORG6", self.org6_buckets),
            ("ORG6_SPLIT", self.org6_splits),
            ("ORGS", self.orgs),
            ("ORG_RATES", self.orgs),
            ("COUNTERS", self.orgs),
            ("CATEGORY_COUNTERS", self.orgs),
            ("POLICIES", self.policies),
            ("NAME_BLOOM", self.name_bloom_words),
            ("ADDRESS_BLOOM", self.address_bloom_words),
            ("SUBJECTS", self.subject_buckets),
            ("SUBJECT_ENTRIES", self.subject_buckets),
            ("NET4", self.nets4),
            ("NET6", self.nets6),
            ("NET6_BLOOM", self.net6_bloom_words),
            ("FLOWS", self.flow_sets),
            ("FLOW_TAGS", self.flow_sets),
            ("HELLOS", self.hello_rows),
            ("CONTROL", 1),
        ]
    }
}

/// What the enrolment takes.
struct Enrolled {
    /// IPv4 /16s in use, realm by realm.
    pages: u32,
    /// IPv6 /48s.
    blocks6: u64,
    /// IPv6 prefixes longer than /48.
    splits6: u64,
}

impl Enrolled {
    fn measure(desired: &Desired) -> Enrolled {
        let mut pages = BTreeSet::new();
        let (mut blocks6, mut splits6) = (0u64, 0u64);
        for org in &desired.organisations {
            for prefix in &org.prefixes {
                match prefix {
                    IpNet::V4(net) => {
                        let first = u32::from(net.network()) >> 16;
                        let last = u32::from(net.broadcast()) >> 16;
                        pages.extend((first..=last).map(|page| (org.realm, page)));
                    }
                    IpNet::V6(net) if net.prefix_len() > 48 => {
                        splits6 += 1;
                        blocks6 += 1;
                    }
                    IpNet::V6(net) => blocks6 += 1 << (48 - net.prefix_len()).min(32),
                }
            }
        }
        Enrolled {
            pages: u32::try_from(pages.len()).unwrap_or(u32::MAX),
            blocks6,
            splits6,
        }
    }
}

/// Interfaces that have a VLAN table.
pub(crate) fn vlan_blocks(desired: &Desired) -> u32 {
    let with_vlans = |row: &&InterfaceRow| !row.vlan_realms.is_empty();
    u32::try_from(desired.interfaces.iter().filter(with_vlans).count()).unwrap_or(u32::MAX)
}

/// A policy as something that sorts.
fn policy_key(org: &crate::desired::Organisation) -> [u64; 8] {
    let policy = &org.policy;
    [
        policy.mandatory,
        policy.local_allow,
        policy.local_deny,
        policy.block,
        policy.age,
        policy.warn,
        policy.suspicious,
        u64::from(policy.flags) << 32 | u64::from(policy.action),
    ]
}

/// A quarter more than `count`, at least `least`.
fn with_room(count: u64, least: u32) -> u32 {
    u32::try_from(count + count / 4)
        .unwrap_or(u32::MAX)
        .max(least)
}

/// `count` and a few more.
fn rows(count: u64, more: u32) -> u32 {
    u32::try_from(count)
        .unwrap_or(u32::MAX)
        .saturating_add(more)
}

/// Keys of a Bloom filter's word at most: eight bits a key, of which four are set. Beyond that too many
/// packets would go on to the table for nothing.
pub(crate) const KEYS_OF_WORD_MAX: usize = 8;

/// Words of a Bloom filter: 16 bits a key.
fn bloom_words(keys: u64) -> u32 {
    with_room(keys / 4, 1024)
}

/// Buckets of eight slots that hold `keys` with room.
fn buckets(keys: u64, least: u32) -> u32 {
    u32::try_from((keys + keys / 4) * 100 / (8 * FILL_PERCENT))
        .unwrap_or(u32::MAX)
        .max(least)
}

/// Sets of `WAYS` slots; a power of two.
fn sets(slots: u32, least: u32) -> u32 {
    let ways = u32::try_from(WAYS).unwrap_or(4);
    slots.max(least).next_power_of_two() / ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Organisation;
    use filter_common::abi::Policy;

    fn org(id: &str, prefixes: &[&str]) -> Organisation {
        Organisation {
            id: id.into(),
            realm: 0,
            prefixes: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
            policy: Policy::default(),
            bypass_until_ns: 0,
        }
    }

    #[test]
    fn there_is_room_for_the_policy_of_every_profile() {
        let desired = Desired {
            profiles: 200,
            ..Desired::default()
        };
        let sizes = Sizes::measure(&desired, FlowSizes::default());
        assert!(sizes.policies > 400, "{}", sizes.policies);
    }

    #[test]
    fn pages_are_counted_by_slash16() {
        let desired = Desired {
            realms: 1,
            organisations: vec![
                org("a", &["10.0.0.0/24", "10.0.1.0/24"]),
                org("b", &["10.1.0.0/28"]),
            ],
            ..Desired::default()
        };
        let sizes = Sizes::measure(&desired, FlowSizes::default());
        assert_eq!(sizes.org4_page_words, (2 + 1 + PAGES_SPARE) * PAGE_WORDS);
    }

    #[test]
    fn too_many_pages_are_refused() {
        let many = (0..=ORG4_PAGES_MAX).map(|n| format!("{}.{}.0.0/24", 1 + n / 256, n % 256));
        let prefixes: Vec<String> = many.collect();
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let desired = Desired {
            realms: 1,
            organisations: vec![org("a", &prefixes)],
            ..Desired::default()
        };
        let sizes = Sizes::measure(&desired, FlowSizes::default());
        assert!(matches!(
            sizes.check(&desired),
            Err(KernelError::OverLimit { .. })
        ));
    }

    #[test]
    fn a_short_ipv6_prefix_takes_many_blocks() {
        let desired = Desired {
            realms: 1,
            organisations: vec![org("a", &["2001:db8::/40", "2001:db9::/56"])],
            ..Desired::default()
        };
        let enrolled = Enrolled::measure(&desired);
        assert_eq!((enrolled.blocks6, enrolled.splits6), (257, 1));
    }

    #[test]
    fn flow_sets_are_powers_of_two() {
        let sizes = Sizes::measure(
            &Desired::default(),
            FlowSizes {
                flows: 5000,
                hellos: 10,
            },
        );
        assert_eq!((sizes.flow_sets, sizes.hello_rows), (2048, 1024));
    }
}
