//! The program's twin on the host: the same pipeline over plain vectors. Filled from the desired
//! state by the plainest means, so that a mistake in the diff that fills the kernel's maps shows as a
//! difference.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support: rows are where `Twin::new` put them"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use filter_common::abi::{
    ANSWERS, Addresses, Bucket, Class, Control, FlowSet, FlowSlot, Hello, HelloSlot,
    INTERFACE_ORGANISATIONS, INTERFACE_VLAN_REALMS, Interface, MPLS_REPLY_LABEL, MPLS_REPLY_NONE,
    MPLS_REPLY_UNLABELLED, NetEntry, Org, OrgRate, Outcome, PATHS, Policy, REALM_NONE, Request,
    Scratch, drain_flags, without_drain,
};
use filter_common::bytes::Frame;
use filter_common::identify::interface_row;
use filter_common::limits::{DEAD_ROWS, IDLE_MS, MESSAGE_BUF, MESSAGE_MASK, NAME_BUF};
use filter_common::name::{net6_key, org6_key, org6_tag};
use filter_common::org::{ORG6_SPLIT_MARK, PAGE_WORDS};
use filter_common::pipeline::{Judged, conclude, judge};
use filter_common::table::tag;
use filter_common::url::Paths;
use filter_common::world::World;
use filter_user::desired::{Blocks4, Desired, FlowSizes, MplsReply};
use ipnet::IpNet;

use crate::cases::{Grant, QuicVerdict};
use crate::twin_tables::{Bloom, Buckets, Given, subject_keys, switches};

/// Everything but the frame in hand.
#[derive(Clone, Debug)]
pub struct Twin {
    control: Control,
    interface: Interface,
    interface_row: u32,
    vlan_realms: Vec<u64>,
    org4: BTreeMap<u32, u64>,
    org4_pages: Vec<u64>,
    org6_bloom: Bloom,
    org6: Buckets,
    org6_split: Vec<(u16, IpNet, u32)>,
    orgs: Vec<Org>,
    policies: Vec<Policy>,
    classes: Vec<Class>,
    name_bloom: Bloom,
    address_bloom: Bloom,
    subjects: Buckets,
    nets: Vec<(IpNet, NetEntry)>,
    blocks4: Blocks4,
    net4_bits: BTreeMap<u32, u64>,
    net6_bloom: Bloom,
    flows: Vec<FlowSet>,
    flow_tags: Vec<u64>,
    hellos: Vec<HelloSlot>,
    rates: Vec<OrgRate>,
    given: Given,
    facts: Scratch,
    opened: usize,
    answers: Vec<Addresses>,
    dead: Vec<u32>,
    message: Vec<u8>,
    /// Milliseconds of the clock.
    pub now_ms: u32,
}

/// The twin with a frame in hand.
struct Hand<'a> {
    twin: &'a mut Twin,
    frame: &'a [u8],
    ifindex: u32,
}

fn lane(words: &mut BTreeMap<u32, u64>, word: u32, lane: u32, value: u16) {
    let word = words.entry(word).or_insert(0);
    *word &= !(0xffff << (lane * 16));
    *word |= u64::from(value) << (lane * 16);
}

/// The rows of `ANSWERS`.
fn answers(desired: &Desired) -> Vec<Addresses> {
    let mut rows = vec![Addresses::default(); ANSWERS as usize];
    rows[0] = desired.portal.row();
    for (row, addresses) in &desired.safe_search {
        rows[*row as usize] = addresses.row();
    }
    rows
}

/// A row of `HELLOS` that nothing has used.
fn zeroed_hello() -> HelloSlot {
    HelloSlot {
        key: filter_common::abi::FlowKey::default(),
        stamp: 0,
        hello: Hello::default(),
        name: [0; NAME_BUF],
        request: Request::default(),
        paths: [0; PATHS],
        pad: 0,
    }
}

impl Twin {
    /// The state of the maps, with empty flow tables.
    #[must_use]
    pub fn new(desired: &Desired, sizes: FlowSizes, seed: u64) -> Twin {
        let (interface, multiplier) = (&desired.interfaces[0], 0x9e37_79b1u32);
        let subjects: Vec<_> = (desired.subjects.iter())
            .map(|row| (row.key, tag(row.key), u64::from(row.class), row.entry))
            .collect();
        let mut twin = Twin {
            control: Control {
                abi: filter_common::abi::ABI,
                flags: switches(desired),
                seed,
                interface_multiplier: multiplier,
                flow_set_mask: sizes.flows / 4 - 1,
                hello_set_mask: sizes.hellos / 4 - 1,
                syn_limit: desired.syn_limit,
                idle_ms: IDLE_MS,
                ..Control::default()
            },
            interface: Interface {
                ifindex: interface.ifindex,
                flags: (u32::from(interface.organisations) * INTERFACE_ORGANISATIONS)
                    | (u32::from(!interface.vlan_realms.is_empty()) * INTERFACE_VLAN_REALMS),
                realm: u32::from(interface.realm),
                vlan_base: 0,
                mpls_reply: match interface.mpls_reply {
                    MplsReply::None => MPLS_REPLY_NONE,
                    MplsReply::Unlabelled => MPLS_REPLY_UNLABELLED,
                    MplsReply::Label(label) => MPLS_REPLY_LABEL | label << 8,
                },
                pad: 0,
            },
            interface_row: interface_row(interface.ifindex, multiplier),
            vlan_realms: vlan_words(&interface.vlan_realms),
            org4: BTreeMap::new(),
            org4_pages: vec![0; PAGE_WORDS as usize],
            org6_bloom: Bloom::default(),
            org6: Buckets::default(),
            org6_split: Vec::new(),
            orgs: vec![Org::default()],
            policies: vec![Policy::default()],
            classes: desired.classes.clone(),
            name_bloom: Bloom::fill(subject_keys(desired, false)),
            address_bloom: Bloom::fill(subject_keys(desired, true)),
            subjects: Buckets::fill(&subjects),
            nets: Vec::new(),
            blocks4: desired.blocks4.clone(),
            net4_bits: BTreeMap::new(),
            net6_bloom: Bloom::fill(
                desired
                    .nets6
                    .iter()
                    .flat_map(|row| net6_keys(seed, &row.net)),
            ),
            flows: vec![FlowSet::default(); sizes.flows as usize / 4],
            flow_tags: vec![0; sizes.flows as usize / 4],
            hellos: vec![zeroed_hello(); sizes.hellos as usize],
            rates: Vec::new(),
            given: Given::default(),
            facts: zeroed_scratch(),
            opened: 0,
            answers: answers(desired),
            dead: vec![0; DEAD_ROWS as usize],
            message: vec![0; MESSAGE_BUF],
            now_ms: 5_000_000,
        };
        twin.enrol(desired, seed);
        twin.add_nets(desired);
        twin.control.name_bloom_len = twin.name_bloom.0.len() as u32;
        twin.control.address_bloom_len = twin.address_bloom.0.len() as u32;
        twin.control.bucket_len = twin.subjects.rows.len() as u32;
        twin.control.net6_bloom_len = twin.net6_bloom.0.len() as u32;
        twin
    }

    fn enrol(&mut self, desired: &Desired, seed: u64) {
        let mut slots = Vec::new();
        for organisation in &desired.organisations {
            let number = self.orgs.len() as u32;
            self.orgs.push(Org {
                id_key: filter_common::name::org_id_key(seed, organisation.id.as_bytes()),
                bypass_until_ns: organisation.bypass_until_ns,
                policy: self.policies.len() as u32,
                pad: 0,
            });
            self.policies.push(organisation.policy);
            for prefix in &organisation.prefixes {
                match prefix {
                    IpNet::V4(net) => {
                        let realm = u32::from(organisation.realm);
                        let (from, to) = (u32::from(net.network()), u32::from(net.broadcast()));
                        (from..=to)
                            .for_each(|address| self.enrol_ipv4(realm, address, number as u16));
                    }
                    IpNet::V6(net) => {
                        let high = (u128::from(net.network()) >> 64) as u64;
                        let short = net.prefix_len() <= 48;
                        if !short {
                            self.org6_split.push((organisation.realm, *prefix, number));
                        }
                        let value = if short { number } else { ORG6_SPLIT_MARK };
                        let count = 1u64 << 48u8.saturating_sub(net.prefix_len());
                        for high in (0..count).map(|at| high + (at << 16)) {
                            slots.push((u32::from(organisation.realm), high, u64::from(value)));
                        }
                    }
                }
            }
        }
        slots.sort_unstable();
        slots.dedup();
        let keyed: Vec<_> = (slots.iter())
            .map(|(realm, high, value)| {
                (
                    org6_key(seed, *realm, *high),
                    org6_tag(*realm, *high),
                    *value,
                    0,
                )
            })
            .collect();
        self.org6_bloom = Bloom::fill(keyed.iter().map(|slot| slot.0));
        self.org6 = Buckets::fill(&keyed);
        self.control.org6_bloom_len = self.org6_bloom.0.len() as u32;
        self.control.org6_bucket_len = self.org6.rows.len() as u32;
        self.rates = vec![OrgRate::default(); self.orgs.len()];
    }

    fn enrol_ipv4(&mut self, realm: u32, address: u32, org: u16) {
        let word = realm * PAGE_WORDS + (address >> 18);
        let place = address >> 16 & 3;
        let held = self.org4.get(&word).copied().unwrap_or(0) >> (place * 16) & 0xffff;
        let page = if held == 0 {
            let page = (self.org4_pages.len() / PAGE_WORDS as usize) as u16;
            self.org4_pages
                .resize(self.org4_pages.len() + PAGE_WORDS as usize, 0);
            lane(&mut self.org4, word, place, page);
            page
        } else {
            held as u16
        };
        let at = usize::from(page) * PAGE_WORDS as usize + (address & 0xffff) as usize / 4;
        self.org4_pages[at] |= u64::from(org) << ((address & 3) * 16);
    }

    fn add_nets(&mut self, desired: &Desired) {
        for row in &desired.nets4 {
            let entry = NetEntry {
                class: u32::from(row.class),
                entry: row.entry,
            };
            self.nets.push((IpNet::V4(row.net), entry));
            self.blocks4.add_net(row.net);
            let (from, to) = (u32::from(row.net.network()), u32::from(row.net.broadcast()));
            for page in from >> 8..=to >> 8 {
                *self.net4_bits.entry(page >> 6).or_insert(0) |= 1 << (page & 63);
            }
        }
        for row in &desired.nets6 {
            let entry = NetEntry {
                class: u32::from(row.class),
                entry: row.entry,
            };
            self.nets.push((IpNet::V6(row.net), entry));
        }
    }

    /// Puts the flow tables of another state in place of these: an update keeps them.
    pub fn keep_flows_of(&mut self, other: &Twin) {
        self.flows.clone_from(&other.flows);
        self.flow_tags.clone_from(&other.flow_tags);
        self.hellos.clone_from(&other.hellos);
    }

    /// Whether flows are being handed to a new program.
    pub fn set_drain(&mut self, age_ns: Option<u64>) {
        let now_ns = u64::from(self.now_ms) * 1_000_000;
        let flags = age_ns.map_or(0, |age_ns| drain_flags(now_ns - age_ns));
        self.control.flags = without_drain(self.control.flags) | flags;
    }

    /// Puts these grants in place of those that stand.
    pub fn set_grants(&mut self, grants: &[Grant]) {
        let seed = self.control.seed;
        let keyed = grants.iter().map(|grant| (grant.key(seed), grant.until_ns));
        self.given.grants = keyed.collect();
    }

    /// Puts these verdicts on QUIC flows in place of those that stand, and somebody who reads copies, or
    /// nobody.
    pub fn set_quic(&mut self, flows: &[QuicVerdict], read: bool) {
        let (seed, now) = (self.control.seed, u64::from(self.now_ms) * 1_000_000);
        let keyed = flows
            .iter()
            .map(|flow| (flow.key(seed), (flow.state(now), flow.entry)));
        self.given.quic_flows = keyed.collect();
        self.given.inspector_until = if read { u64::MAX } else { 0 };
    }

    /// Judges a frame; `None`: nobody's.
    pub fn run(&mut self, ifindex: u32, frame: &[u8]) -> Option<Outcome> {
        let mut hand = Hand {
            twin: self,
            frame,
            ifindex,
        };
        match judge(&mut hand) {
            Judged::Untouched => None,
            Judged::Enrolled(reason) => {
                conclude(&mut hand, reason);
                Some(hand.twin.facts.outcome)
            }
        }
    }

    /// The name that the last frame completed, as it lies in the frame or in the row.
    #[must_use]
    pub fn name(&self, frame: &[u8], outcome: &Outcome) -> Vec<u8> {
        let (at, len) = (outcome.name_at as usize, outcome.name_len as usize);
        if at != 0 {
            return crate::dns::name_in_frame(frame, at, len);
        }
        if outcome.name_row == 0 {
            return Vec::new();
        }
        let from = filter_common::limits::NAME_PAD;
        self.hellos[outcome.name_row as usize - 1].name[from..from + len].to_vec()
    }
}

/// Facts of no packet.
#[must_use]
pub fn zeroed_scratch() -> Scratch {
    let bytes = [0u8; size_of::<Scratch>()];
    // SAFETY: `Scratch` is integers without padding that matters: any bytes are a value of it.
    unsafe { std::mem::transmute::<[u8; size_of::<Scratch>()], Scratch>(bytes) }
}

fn vlan_words(realms: &[(u16, u16)]) -> Vec<u64> {
    let mut words = BTreeMap::new();
    for vlan in 0..4_096u16 {
        let listed = realms
            .iter()
            .find(|(listed, _)| *listed == vlan)
            .map(|(_, realm)| *realm);
        let realm = listed.map_or(REALM_NONE, u32::from) as u16;
        lane(&mut words, u32::from(vlan) / 4, u32::from(vlan) & 3, realm);
    }
    words.into_values().collect()
}

/// Keys of the /32s that a prefix meets; as many as there are for one that is shorter than /32.
fn net6_keys(seed: u64, net: &ipnet::Ipv6Net) -> impl Iterator<Item = u64> + Clone {
    let from = (u128::from(net.network()) >> 96) as u32;
    let count = 1u64 << 32u8.saturating_sub(net.prefix_len());
    (0..count).map(move |at| net6_key(seed, (u64::from(from) + at) << 32))
}

fn ipv6(words: [u32; 4]) -> IpAddr {
    let bits = words
        .iter()
        .fold(0u128, |bits, word| bits << 32 | u128::from(*word));
    IpAddr::V6(Ipv6Addr::from(bits))
}

impl Twin {
    fn longest_net(&self, address: IpAddr) -> Option<NetEntry> {
        (self.nets.iter().filter(|(net, _)| net.contains(&address)))
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, entry)| *entry)
    }
}

/// The hashes of a row.
struct RowPaths<'a>(&'a mut [u64; PATHS]);

impl Paths for RowPaths<'_> {
    fn hash(&self, at: usize) -> u64 {
        self.0[at]
    }
    fn put(&mut self, at: usize, hash: u64) {
        self.0[at] = hash;
    }
}

impl<'a> World for Hand<'a> {
    type Packet = Frame<'a>;

    fn packet(&self) -> Frame<'a> {
        Frame(self.frame)
    }
    fn ifindex(&self) -> u32 {
        self.ifindex
    }
    fn now_ms(&self) -> u32 {
        self.twin.now_ms
    }
    fn now_ns(&self) -> u64 {
        u64::from(self.twin.now_ms) * 1_000_000
    }
    fn forget(&mut self, value: u32) -> u32 {
        value
    }
    fn control(&self) -> &Control {
        &self.twin.control
    }
    fn facts(&mut self) -> &mut Scratch {
        &mut self.twin.facts
    }
    fn interface(&self, row: u32) -> Option<Interface> {
        Some(if row == self.twin.interface_row {
            self.twin.interface
        } else {
            Interface::default()
        })
    }
    fn vlan_realms(&self, word: u32) -> Option<u64> {
        self.twin.vlan_realms.get(word as usize).copied()
    }
    fn org4_index(&self, word: u32) -> Option<u64> {
        Some(self.twin.org4.get(&word).copied().unwrap_or(0))
    }
    fn org4_page(&self, word: u32) -> Option<u64> {
        self.twin.org4_pages.get(word as usize).copied()
    }
    fn org6_bloom(&self, word: u32) -> Option<u64> {
        self.twin.org6_bloom.0.get(word as usize).copied()
    }
    fn org6_bucket(&self, bucket: u32) -> Option<&Bucket> {
        self.twin.org6.rows.get(bucket as usize)
    }
    fn org6_split(&mut self, realm: u32) -> u32 {
        let address = ipv6(self.twin.facts.source);
        (self.twin.org6_split.iter())
            .filter(|(held, net, _)| u32::from(*held) == realm && net.contains(&address))
            .max_by_key(|(_, net, _)| net.prefix_len())
            .map_or(0, |(_, _, org)| *org)
    }
    fn org(&self, org: u32) -> Option<&Org> {
        self.twin.orgs.get(org as usize)
    }
    fn policy(&self, row: u32) -> Option<&Policy> {
        self.twin.policies.get(row as usize)
    }
    fn class(&self, row: u32) -> Option<&Class> {
        self.twin.classes.get(row as usize)
    }
    fn name_bloom(&self, word: u32) -> Option<u64> {
        self.twin.name_bloom.0.get(word as usize).copied()
    }
    fn address_bloom(&self, word: u32) -> Option<u64> {
        self.twin.address_bloom.0.get(word as usize).copied()
    }
    fn subject_bucket(&self, bucket: u32) -> Option<&Bucket> {
        self.twin.subjects.rows.get(bucket as usize)
    }
    fn subject_entry(&self, bucket: u32, slot: u32) -> u32 {
        self.twin.subjects.entries[bucket as usize][slot as usize]
    }
    fn block4_bits(&self, word: u32) -> Option<u64> {
        let words = self.twin.blocks4.words();
        Some(words.get(word as usize).copied().unwrap_or(0))
    }
    fn net4_bits(&self, word: u32) -> Option<u64> {
        Some(self.twin.net4_bits.get(&word).copied().unwrap_or(0))
    }
    fn net4(&mut self) -> Option<NetEntry> {
        self.twin
            .longest_net(IpAddr::from(self.twin.facts.destination[3].to_be_bytes()))
    }
    fn net6_bloom(&self, word: u32) -> Option<u64> {
        self.twin.net6_bloom.0.get(word as usize).copied()
    }
    fn net6(&mut self) -> Option<NetEntry> {
        self.twin.longest_net(ipv6(self.twin.facts.destination))
    }
    fn grant_until(&self, key: u64) -> u64 {
        self.twin.given.grants.get(&key).copied().unwrap_or(0)
    }
    fn quic_flow(&self, key: u64) -> (u64, u32) {
        self.twin
            .given
            .quic_flows
            .get(&key)
            .copied()
            .unwrap_or((0, 0))
    }
    fn swap_quic_state(&mut self, key: u64, old: u64, new: u64) {
        if let Some((state, _)) = self.twin.given.quic_flows.get_mut(&key)
            && *state == old
        {
            *state = new;
        }
    }
    fn inspector_until(&self) -> u64 {
        self.twin.given.inspector_until
    }
    fn call_copy(&mut self, _key: u64) -> u32 {
        1
    }
    fn org_rate(&mut self, org: u32) -> Option<&mut OrgRate> {
        self.twin.rates.get_mut(org as usize)
    }
    fn flow_tags(&self, set: u32) -> u64 {
        self.twin.flow_tags[set as usize]
    }
    fn set_flow_tags(&mut self, set: u32, tags: u64) {
        self.twin.flow_tags[set as usize] = tags;
    }
    fn open_flows(&mut self, set: u32) -> bool {
        self.twin.opened = set as usize;
        self.twin.flows.len() > self.twin.opened
    }
    fn flows(&mut self) -> &mut FlowSet {
        &mut self.twin.flows[self.twin.opened]
    }
    fn slot(&mut self, way: usize) -> &mut FlowSlot {
        &mut self.flows().slots[way]
    }
    fn claim_flows(&mut self) -> bool {
        true
    }
    fn release_flows(&mut self) {}
    fn swap_state(&mut self, way: usize, old: u64, new: u64) {
        let slot = &mut self.flows().slots[way];
        if slot.state == old {
            slot.state = new;
        }
    }
    fn answer_word(&self, row: u32, word: u32) -> u32 {
        self.twin.answers[row as usize].words[word as usize]
    }
    fn open_message(&mut self) -> bool {
        true
    }
    fn message_u8(&mut self, at: u32) -> u32 {
        u32::from(self.twin.message[(at & MESSAGE_MASK) as usize])
    }
    fn put_message_u8(&mut self, at: u32, value: u32) {
        self.twin.message[(at & MESSAGE_MASK) as usize] = value as u8;
    }
    fn message_word(&mut self, at: u32) -> u64 {
        let at = (at & MESSAGE_MASK) as usize;
        u64::from_le_bytes(
            self.twin.message[at..at + 8]
                .try_into()
                .expect("eight bytes"),
        )
    }
    fn put_message_word(&mut self, at: u32, word: u64) {
        let at = (at & MESSAGE_MASK) as usize;
        self.twin.message[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    fn hello(&mut self, row: u32) -> Option<&mut HelloSlot> {
        self.twin.hellos.get_mut(row as usize)
    }
    fn hello_and_name(&mut self, row: u32) -> Option<(&mut Hello, &mut [u8; NAME_BUF])> {
        let slot = self.twin.hellos.get_mut(row as usize)?;
        Some((&mut self.twin.facts.hello, &mut slot.name))
    }
    type Paths<'b>
        = RowPaths<'b>
    where
        Self: 'b;
    fn request_and_buffers(
        &mut self,
        row: u32,
    ) -> Option<(&mut Request, &mut [u8; NAME_BUF], RowPaths<'_>)> {
        let slot = self.twin.hellos.get_mut(row as usize)?;
        let paths = RowPaths(&mut slot.paths);
        Some((&mut self.twin.facts.request, &mut slot.name, paths))
    }
    fn path(&mut self, row: u32, place: u32) -> u64 {
        self.twin.hellos[row as usize].paths[place as usize]
    }
    fn dead(&self, row: u32) -> u32 {
        self.twin.dead[row as usize]
    }
    fn set_dead(&mut self, row: u32, second: u32) {
        self.twin.dead[row as usize] = second;
    }
    fn swap_stamp(&mut self, row: u32, old: u64, new: u64) -> bool {
        let stamp = &mut self.twin.hellos[row as usize].stamp;
        let held = *stamp == old;
        if held {
            *stamp = new;
        }
        held
    }
}
