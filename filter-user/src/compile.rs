//! Configuration and registries in, the state that the maps are to be in out. Pure: no file, no
//! clock, no map.

mod classes;
mod nets;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use filter_common::abi::{
    LOCAL_CANARY, LOCAL_ECH, LOCAL_ENCRYPTED_DNS, LOCAL_ENDPOINT, LOCAL_INFRASTRUCTURE,
    POLICY_SAFE_MODERATE, Tiers,
};
use filter_common::dns::answer_row;
use filter_common::limits::CATEGORIES;
use filter_common::name::name_key;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::bypass::Moment;
use crate::config::{Config, Tier};
use crate::desired::{
    Blocks4, Desired, InterfaceRow, Organisation, PortalAddresses, Subject, address_key,
};
use crate::numbers::Numbers;
use crate::policy::{page, portal};
use crate::problem::Problem;
use crate::registry::{RECORD_ADDRESS, RECORD_IPV4, RECORD_SUFFIX, RECORD_URLS, Source};
use crate::safe_search::{self, Engine};

use classes::Classes;
pub use nets::Rejected;
pub use rules::{Rule, Rules};

/// What compilation takes.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// All files of its registries.
    pub sources: &'a [Source],
    /// Numbers in force and new ones.
    pub numbers: &'a Numbers,
    /// Interfaces that there are.
    pub interfaces: &'a [InterfaceRow],
    /// Seed of the keys; the one that the sources were read with.
    pub seed: u64,
    /// The moment that policies are compiled for.
    pub moment: &'a Moment,
    /// The state before: its entries keep their numbers, so that the diff holds what changed only.
    pub before: Option<&'a Compiled>,
}

/// What compilation gives.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// The state that the maps are to be in.
    pub desired: Desired,
    /// Prefixes that are not applied, because they hold what must never be filtered.
    pub rejected: Vec<Rejected>,
    /// The next entry number that was never used.
    next_entry: u32,
}

impl Compiled {
    /// Gives no entry number again that another state has given already.
    pub fn continue_from(&mut self, other: &Compiled) {
        self.next_entry = self.next_entry.max(other.next_entry);
    }
}

/// What the names of one file mean; for its addresses see [`of_address`].
#[must_use]
pub fn tiers_of(source: &Source, config: &Config, numbers: &Numbers) -> Tiers {
    let categories = source.spec.categories;
    match source.spec.tier {
        Tier::Unified => Tiers {
            unified: categories,
            ..Tiers::default()
        },
        Tier::Nsor => Tiers {
            nsor: categories,
            ..Tiers::default()
        },
        Tier::Suspicious => Tiers {
            suspicious: categories,
            ..Tiers::default()
        },
        Tier::Ech => Tiers {
            local: LOCAL_ECH,
            ..Tiers::default()
        },
        Tier::EncryptedDns => Tiers {
            local: LOCAL_ENCRYPTED_DNS,
            ..Tiers::default()
        },
        Tier::Local => {
            let registry = config.registries.get(source.spec.registry);
            let number = registry.and_then(|registry| numbers.local(&registry.id));
            Tiers {
                local: number.map_or(0, |number| 1 << number),
                ..Tiers::default()
            }
        }
    }
}

/// What an address or a prefix means in a file whose names mean `tiers`.
#[must_use]
pub fn of_address(tiers: Tiers) -> Tiers {
    let endpoint = if tiers.local & LOCAL_ENCRYPTED_DNS != 0 {
        LOCAL_ENDPOINT
    } else {
        0
    };
    Tiers {
        local: tiers.local & !(LOCAL_ENCRYPTED_DNS | LOCAL_ECH) | endpoint,
        ..tiers
    }
}

/// Adds the registries of one entry to those of another.
#[must_use]
pub fn join(left: Tiers, right: Tiers) -> Tiers {
    Tiers {
        unified: left.unified | right.unified,
        nsor: left.nsor | right.nsor,
        local: left.local | right.local,
        suspicious: left.suspicious | right.suspicious,
    }
}

/// Compiles.
///
/// # Errors
/// More distinct combinations of registries and categories than a slot can tell.
pub fn compile(input: &Input<'_>) -> Result<Compiled, Problem> {
    let mut classes = Classes::new();
    let mut entries = Entries::new(input.before);
    let tiers: Vec<Tiers> = input
        .sources
        .iter()
        .map(|source| tiers_of(source, input.config, input.numbers))
        .collect();
    let subjects = subjects(input, &tiers, &mut classes, &mut entries);
    let (nets, rejected) = nets::fold(input, &tiers);
    let (nets4, nets6) = nets::rows(&nets, &mut classes, &mut entries, input.before);
    let Some(classes) = classes.finish() else {
        let what = "more than 65,535 distinct combinations of registries and categories";
        return Err(Problem::of_file(
            &input.config.file,
            what,
            "join registries or categories",
        ));
    };
    let desired = Desired {
        realms: input.numbers.realm_count(),
        interfaces: input.interfaces.to_vec(),
        classes,
        subjects: Arc::new(subjects),
        blocks4: blocks4(input),
        nets4,
        nets6,
        organisations: organisations(input),
        profiles: input.config.profiles.len(),
        portal: portal(input.config),
        page: page(input.config),
        safe_search: safe_forms(input.config, input.numbers),
        syn_limit: input.config.daemon.syn_limit,
        pass_all: input.config.daemon.pass_all,
    };
    Ok(Compiled {
        desired,
        rejected,
        next_entry: entries.next,
    })
}

/// Entry numbers: an entry that stays keeps its number.
struct Entries {
    next: u32,
}

impl Entries {
    fn new(before: Option<&Compiled>) -> Self {
        Entries {
            next: before.map_or(1, |before| before.next_entry.max(1)),
        }
    }

    fn fresh(&mut self) -> u32 {
        let number = self.next;
        // Four thousand million entries of updates later numbers start over.
        self.next = self.next.checked_add(1).unwrap_or(1);
        number
    }
}

/// One record with the file it came from, small enough to sort millions.
#[derive(Clone, Copy)]
struct Found {
    key: u64,
    /// Index of the source, above the bits of `RECORD_KIND`.
    source: u32,
}

fn subjects(
    input: &Input<'_>,
    tiers: &[Tiers],
    classes: &mut Classes,
    entries: &mut Entries,
) -> Vec<Subject> {
    let found = gather(input);
    let mut before = input
        .before
        .map_or(&[][..], |before| before.desired.subjects.as_slice())
        .iter()
        .peekable();
    let mut subjects: Vec<Subject> = Vec::with_capacity(found.len());
    for group in found.chunk_by(|left, right| left.key == right.key) {
        let Some(first) = group.first() else { continue };
        let class = classes.of_group(group.iter().map(|found| found.source), tiers);
        while before.next_if(|subject| subject.key < first.key).is_some() {}
        let known = before.next_if(|subject| subject.key == first.key);
        let entry = known.map_or_else(|| entries.fresh(), |subject| subject.entry);
        subjects.push(Subject {
            key: first.key,
            address: first.source & RECORD_ADDRESS != 0,
            class,
            entry,
        });
    }
    subjects
}

/// The /20s of all IPv4 addresses.
fn blocks4(input: &Input<'_>) -> Blocks4 {
    let mut blocks = Blocks4::default();
    let records = input.sources.iter().flat_map(Source::records);
    for record in records.filter(|record| record.flags & RECORD_IPV4 != 0) {
        blocks.add(record.flags);
    }
    for infrastructure in &input.config.infrastructure {
        if let IpAddr::V4(address) = infrastructure.address {
            blocks.add(u32::from(address));
        }
    }
    blocks
}

/// Names by which devices find out whether they may hide what they ask for: Firefox and its DNS over HTTPS,
/// iCloud Private Relay, and the discovery of designated resolvers (RFC 9462 section 6.1, with all below).
const CANARY_NAMES: [(&str, bool); 4] = [
    ("use-application-dns.net", false),
    ("mask.icloud.com", false),
    ("mask-h2.icloud.com", false),
    ("resolver.arpa", true),
];

/// Source number of the provider's own addresses.
const INFRASTRUCTURE_SOURCE: u32 = u32::MAX;
/// Source number of [`CANARY_NAMES`], above the bits of `RECORD_KIND`.
const CANARY_SOURCE: u32 = (u32::MAX >> RECORD_BITS) - 1;
/// Source number of a search engine's names, less the engine's number; above the bits of `RECORD_KIND`.
const ENGINE_SOURCE: u32 = CANARY_SOURCE;
/// Bits of a record's flags below a source's number.
const RECORD_BITS: u32 = 3;
/// These bits.
const RECORD_KIND: u32 = RECORD_SUFFIX | RECORD_ADDRESS | RECORD_URLS;
const _: () = assert!(RECORD_KIND >> RECORD_BITS == 0);

/// All records, sorted by key.
fn gather(input: &Input<'_>) -> Vec<Found> {
    let records = input
        .sources
        .iter()
        .map(|source| source.file.records.len())
        .sum::<usize>();
    let mut found = Vec::with_capacity(records + input.config.infrastructure.len());
    for (number, source) in (0u32..).zip(input.sources) {
        found.extend(source.records().map(|record| Found {
            key: record.key,
            source: number << RECORD_BITS | record.flags & RECORD_KIND,
        }));
    }
    for infrastructure in &input.config.infrastructure {
        let key = address_key(input.seed, infrastructure.address);
        found.push(Found {
            key,
            source: INFRASTRUCTURE_SOURCE,
        });
    }
    let hiding_is_blocked = (input.config.profiles.iter()).any(|profile| profile.encrypted_dns);
    for (name, suffix) in CANARY_NAMES.iter().filter(|_| hiding_is_blocked) {
        let kind = if *suffix { RECORD_SUFFIX } else { 0 };
        found.extend(name_key(input.seed, name.as_bytes()).map(|key| Found {
            key,
            source: CANARY_SOURCE << RECORD_BITS | kind,
        }));
    }
    for (number, engine) in engines(input.config, input.numbers) {
        let names = engine.names.iter();
        let keys = names.filter_map(|name| name_key(input.seed, name.as_bytes()));
        found.extend(keys.map(|key| Found {
            key,
            source: (ENGINE_SOURCE - number) << RECORD_BITS,
        }));
    }
    // The stable sort takes advantage of the files' being sorted already.
    found.sort_by_key(|found| found.key);
    found
}

/// The search engines with their numbers, where a profile leads to their safe form.
fn engines<'a>(
    config: &'a Config,
    numbers: &'a Numbers,
) -> impl Iterator<Item = (u32, &'a Engine)> {
    let wanted = safe_search::wanted(config);
    let engines = config.engines.iter().filter(move |_| wanted);
    engines.filter_map(|engine| Some((numbers.engine(&engine.id)?, engine)))
}

/// Where names of search engines lead, by row of `ANSWERS`.
#[must_use]
pub fn safe_forms(config: &Config, numbers: &Numbers) -> BTreeMap<u32, PortalAddresses> {
    engines(config, numbers)
        .flat_map(|(number, engine)| {
            [
                (answer_row(number, 0), engine.strict.addresses()),
                (
                    answer_row(number, POLICY_SAFE_MODERATE),
                    engine.moderate().addresses(),
                ),
            ]
        })
        .collect()
}

fn organisations(input: &Input<'_>) -> Vec<Organisation> {
    let rules = Rules::at(input.config, input.numbers, input.moment);
    let organisations = input.config.organisations.iter();
    organisations
        .zip(rules.rules)
        .filter_map(|(organisation, rule)| {
            Some(Organisation {
                id: organisation.id.clone(),
                realm: input.numbers.realm(&organisation.realm)?,
                prefixes: organisation.prefixes.clone(),
                policy: rule.policy,
                bypass_until_ns: rule.bypass_until_ns,
            })
        })
        .collect()
}

/// The prefixes around a prefix or an address, and itself, from short to long, with their rows.
#[must_use]
pub fn nets_around(desired: &Desired, net: IpNet) -> Vec<(IpNet, u16, u32)> {
    match net {
        IpNet::V4(net) => {
            let rows = &desired.nets4;
            let around = (0..=net.prefix_len()).filter_map(|length| {
                let place = |net: &Ipv4Net| (net.network(), net.prefix_len());
                let outer = Ipv4Net::new(net.addr(), length).ok()?.trunc();
                let at = rows.binary_search_by_key(&place(&outer), |row| place(&row.net));
                let row = rows.get(at.ok()?)?;
                Some((IpNet::V4(row.net), row.class, row.entry))
            });
            around.collect()
        }
        IpNet::V6(net) => {
            let rows = &desired.nets6;
            let around = (0..=net.prefix_len()).filter_map(|length| {
                let place = |net: &Ipv6Net| (net.network(), net.prefix_len());
                let outer = Ipv6Net::new(net.addr(), length).ok()?.trunc();
                let at = rows.binary_search_by_key(&place(&outer), |row| place(&row.net));
                let row = rows.get(at.ok()?)?;
                Some((IpNet::V6(row.net), row.class, row.entry))
            });
            around.collect()
        }
    }
}

/// Tiers of the provider's own addresses.
const INFRASTRUCTURE: Tiers = Tiers {
    unified: 0,
    nsor: 0,
    local: LOCAL_INFRASTRUCTURE,
    suspicious: 0,
};

/// Tiers of the canary names.
const CANARY: Tiers = Tiers {
    unified: 0,
    nsor: 0,
    local: LOCAL_CANARY,
    suspicious: 0,
};

const _: () = assert!(CATEGORIES == u64::BITS as usize);

type NetTiers = HashMap<IpNet, Tiers>;

#[cfg(test)]
mod tests;
