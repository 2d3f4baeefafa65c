//! A small world for tests: schools, profiles and lists, as text. Turned into the state of the maps
//! for the program, and into plain lists for the naive reference.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use filter_common::abi::{
    Class, LOCAL_CANARY, LOCAL_ECH, LOCAL_ENCRYPTED_DNS, LOCAL_ENDPOINT, LOCAL_ENGINE_SHIFT,
    LOCAL_INFRASTRUCTURE, LOCAL_URLS, POLICY_ALLOW_ONLY, POLICY_DNS_NXDOMAIN, POLICY_ECH_WITHHELD,
    POLICY_ENCRYPTED_DNS, POLICY_SAFE_MODERATE, POLICY_SAFE_SEARCH, Policy, Tiers,
};
use filter_common::url::{path_hash, url_key};
use filter_common::verdict::Action;
use filter_user::config::Quic;
use filter_user::desired::{
    Desired, InterfaceRow, MplsReply, NetSubject, Organisation, PageText, PortalAddresses,
    Subject as Row, address_key,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::reference::{Entry, Profile, Safe, Subject, Tier};

/// An enrolled organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct School {
    /// Its id.
    pub id: &'static str,
    /// Its realm.
    pub realm: u16,
    /// Its prefixes.
    pub prefixes: Vec<&'static str>,
    /// What it restricts.
    pub profile: Profile,
    /// How a block is carried out.
    pub action: Action,
    /// Whether a forbidden name does not exist in DNS, or leads to the portal.
    pub nxdomain: bool,
    /// What becomes of QUIC.
    pub quic: Quic,
    /// Monotonic nanoseconds up to which its bypass holds.
    pub bypass_until_ns: u64,
}

impl School {
    /// A school in realm 0 that blocks category 1 of the education registry, and resets.
    #[must_use]
    pub fn new(id: &'static str, prefixes: &[&'static str]) -> School {
        School {
            id,
            realm: 0,
            prefixes: prefixes.to_vec(),
            profile: Profile::default(),
            action: Action::Reset,
            nxdomain: false,
            quic: Quic::Fallback,
            bypass_until_ns: 0,
        }
    }
}

/// The state of the world that a case starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Enrolled schools.
    pub schools: Vec<School>,
    /// All lists.
    pub entries: Vec<Entry>,
    /// Realm by outermost VLAN; empty: all in realm 0.
    pub vlan_realms: Vec<(u16, u16)>,
    /// Whether sources are matched on the interface.
    pub organisations: bool,
    /// Answer behind MPLS.
    pub mpls_reply: MplsReply,
    /// Where forbidden names lead.
    pub portal: PortalAddresses,
    /// Host of the page that requests are sent to.
    pub page: Option<&'static str>,
    /// Where search engines lead, by row of the map: a pair of rows for each number.
    pub safe_search: BTreeMap<u32, PortalAddresses>,
    /// New flows of a school in a second.
    pub syn_limit: u32,
    /// The operator's switch.
    pub pass_all: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            schools: vec![School::new("one", &["10.0.0.0/24", "fd01::/48"])],
            entries: Vec::new(),
            vlan_realms: Vec::new(),
            organisations: true,
            mpls_reply: MplsReply::None,
            portal: PortalAddresses::default(),
            page: None,
            safe_search: BTreeMap::new(),
            syn_limit: 1_000_000,
            pass_all: false,
        }
    }
}

/// Number of the loopback interface, through which `BPF_PROG_TEST_RUN` sends frames.
pub const LOOPBACK: u32 = 1;

fn mask(numbers: &[u8]) -> u64 {
    numbers.iter().fold(0, |mask, number| mask | 1 << number)
}

/// The compiled form of a profile.
#[must_use]
pub fn policy(school: &School) -> Policy {
    let (profile, action) = (&school.profile, school.action);
    let ech = if profile.withhold_ech { LOCAL_ECH } else { 0 };
    let hidden = if profile.encrypted_dns {
        LOCAL_ENCRYPTED_DNS | LOCAL_CANARY
    } else {
        0
    };
    Policy {
        mandatory: mask(&profile.mandatory),
        local_allow: mask(&profile.allow),
        local_deny: mask(&profile.deny) | hidden | ech,
        block: mask(&profile.block),
        age: mask(&profile.age),
        warn: mask(&profile.warn),
        suspicious: mask(&profile.suspicious),
        flags: (u32::from(profile.allow_only) * POLICY_ALLOW_ONLY)
            | (u32::from(school.nxdomain) * POLICY_DNS_NXDOMAIN)
            | filter_user::policy::quic(school.quic)
            | (u32::from(profile.encrypted_dns) * POLICY_ENCRYPTED_DNS)
            | (u32::from(profile.withhold_ech) * POLICY_ECH_WITHHELD)
            | (u32::from(profile.safe_search != Safe::Off) * POLICY_SAFE_SEARCH)
            | (u32::from(profile.safe_search == Safe::Moderate) * POLICY_SAFE_MODERATE),
        action: action as u32,
    }
}

/// Masks of one tier.
#[must_use]
pub fn tiers(tier: Tier) -> Tiers {
    let none = Tiers::default();
    match tier {
        Tier::Infrastructure => Tiers {
            local: LOCAL_INFRASTRUCTURE,
            ..none
        },
        Tier::Engine(number) => Tiers {
            local: u64::from(number) << LOCAL_ENGINE_SHIFT,
            ..none
        },
        Tier::Ech => Tiers {
            local: LOCAL_ECH,
            ..none
        },
        Tier::EncryptedDns => Tiers {
            local: LOCAL_ENCRYPTED_DNS,
            ..none
        },
        Tier::Canary => Tiers {
            local: LOCAL_CANARY,
            ..none
        },
        Tier::Unified(category) => Tiers {
            unified: 1 << category,
            ..none
        },
        Tier::Nsor(category) => Tiers {
            nsor: 1 << category,
            ..none
        },
        Tier::Local(list) => Tiers {
            local: 1 << list,
            ..none
        },
        Tier::Suspicious(category) => Tiers {
            suspicious: 1 << category,
            ..none
        },
    }
}

fn join(to: &mut Tiers, from: Tiers) {
    to.unified |= from.unified;
    to.nsor |= from.nsor;
    to.local |= from.local;
    to.suspicious |= from.suspicious;
}

fn key_of_name(seed: u64, name: &str) -> u64 {
    filter_common::name::name_key(seed, name.as_bytes()).expect("names in cases are short enough")
}

/// Rows of one kind by what they are keyed with: class and number of the entry.
#[derive(Default)]
struct Rows {
    classes: Vec<Class>,
    /// By key; beside it whether it is an address.
    subjects: BTreeMap<(u64, bool), (Class, u32)>,
    nets: BTreeMap<IpNet, (Tiers, u32)>,
}

impl Rows {
    fn class(&mut self, class: Class) -> u16 {
        let at = self
            .classes
            .iter()
            .position(|known| *known == class)
            .unwrap_or_else(|| {
                self.classes.push(class);
                self.classes.len() - 1
            });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    fn add(&mut self, seed: u64, entry: &Entry, number: u32) {
        let mut wanted = tiers(entry.tier);
        if matches!(entry.subject, Subject::Net(_)) && entry.tier == Tier::EncryptedDns {
            wanted.local = LOCAL_ENDPOINT;
        }
        match &entry.subject {
            Subject::Host(host) => {
                let row = self
                    .subjects
                    .entry((key_of_name(seed, host), false))
                    .or_insert((Class::default(), number));
                join(&mut row.0.exact, wanted);
            }
            Subject::Domain(domain) => {
                let key = (key_of_name(seed, domain), false);
                let row = self
                    .subjects
                    .entry(key)
                    .or_insert((Class::default(), number));
                join(&mut row.0.suffix, wanted);
            }
            Subject::Url(host, path, below) => {
                let host = key_of_name(seed, host);
                let mark = self.subjects.entry((host, false));
                mark.or_insert((Class::default(), number)).0.exact.local |= LOCAL_URLS;
                let key = url_key(host, path_hash(seed, path.as_bytes()));
                let row = self.subjects.entry((key, false));
                let class = &mut row.or_insert((Class::default(), number)).0;
                let half = if *below {
                    &mut class.suffix
                } else {
                    &mut class.exact
                };
                join(half, wanted);
            }
            Subject::Net(net) if net.prefix_len() == net.max_prefix_len() => {
                let key = (address_key(seed, net.addr()), true);
                let row = self
                    .subjects
                    .entry(key)
                    .or_insert((Class::default(), number));
                join(&mut row.0.exact, wanted);
            }
            Subject::Net(net) => {
                join(
                    &mut self
                        .nets
                        .entry(net.trunc())
                        .or_insert((Tiers::default(), number))
                        .0,
                    wanted,
                );
            }
        }
    }

    /// Tiers of a prefix with those of all prefixes around it.
    fn around(&self, net: &IpNet) -> Tiers {
        let mut all = Tiers::default();
        for (other, (tiers, _)) in &self.nets {
            if other.contains(net) {
                join(&mut all, *tiers);
            }
        }
        all
    }
}

impl Setup {
    /// The state of the maps for this setup.
    #[must_use]
    pub fn desired(&self, seed: u64) -> Desired {
        let mut rows = Rows {
            classes: vec![Class::default()],
            ..Rows::default()
        };
        for (at, entry) in self.entries.iter().enumerate() {
            rows.add(seed, entry, entry_number(at));
        }
        let mut desired = Desired {
            realms: 1 + self
                .vlan_realms
                .iter()
                .map(|(_, realm)| *realm)
                .max()
                .unwrap_or(0),
            interfaces: vec![self.interface()],
            portal: self.portal,
            page: PageText {
                host: self.page.map(str::to_owned),
            },
            safe_search: self.safe_search.clone(),
            syn_limit: self.syn_limit,
            pass_all: self.pass_all,
            organisations: self.schools.iter().map(organisation).collect(),
            ..Desired::default()
        };
        desired.organisations.sort_by(|a, b| a.id.cmp(&b.id));
        let subjects = std::mem::take(&mut rows.subjects).into_iter();
        let subjects = subjects.map(|((key, address), (class, entry))| Row {
            key,
            address,
            class: rows.class(class),
            entry,
        });
        desired.subjects = Arc::new(subjects.collect());
        for entry in &self.entries {
            if let Subject::Net(IpNet::V4(net)) = entry.subject
                && net.prefix_len() == 32
            {
                desired.blocks4.add(u32::from(net.addr()));
            }
        }
        let nets: Vec<(IpNet, u32)> = rows.nets.iter().map(|(net, row)| (*net, row.1)).collect();
        for (net, entry) in nets {
            let exact = rows.around(&net);
            let class = rows.class(Class {
                exact,
                suffix: Tiers::default(),
            });
            match net {
                IpNet::V4(net) => desired
                    .nets4
                    .push(NetSubject::<Ipv4Net> { net, class, entry }),
                IpNet::V6(net) => desired
                    .nets6
                    .push(NetSubject::<Ipv6Net> { net, class, entry }),
            }
        }
        desired.classes = rows.classes;
        desired
    }

    fn interface(&self) -> InterfaceRow {
        InterfaceRow {
            name: "lo".to_owned(),
            ifindex: LOOPBACK,
            organisations: self.organisations,
            realm: 0,
            vlan_realms: self.vlan_realms.clone(),
            mpls_reply: self.mpls_reply,
        }
    }

    /// The school that an address of a realm belongs to, by a plain search.
    #[must_use]
    pub fn school_of(&self, realm: u16, address: IpAddr) -> Option<&School> {
        let covers = |text: &&'static str| {
            text.parse::<IpNet>()
                .is_ok_and(|net| net.contains(&address))
        };
        let holds = |school: &&School| school.realm == realm && school.prefixes.iter().any(covers);
        self.schools.iter().find(holds)
    }
}

/// Number of the entry at this place of [`Setup::entries`].
#[must_use]
pub fn entry_number(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

fn organisation(school: &School) -> Organisation {
    Organisation {
        id: school.id.to_owned(),
        realm: school.realm,
        prefixes: school
            .prefixes
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        policy: policy(school),
        bypass_until_ns: school.bypass_until_ns,
    }
}
