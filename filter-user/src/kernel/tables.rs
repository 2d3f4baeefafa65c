//! All arrays and tries of one set of maps. The kernel's maps or plain memory lie behind them, so
//! that the diff, the host twin and the tests share every line above.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use aya::Pod;
use aya::maps::MapData;
use filter_common::abi::{
    ABI, ANSWERS, Addresses, Bucket, BucketEntries, CategoryCounters, Class, Control, FlowSet,
    HelloSlot, Interface, NetEntry, Org, Org6SplitKey, OrgRate, Page, Policy, QuicWatch,
};
use filter_common::limits::{GRANT_SETS, IDLE_MS, INTERFACES, QUIC_SETS, WAYS};

use super::Seed;
use super::error::KernelError;
use super::grants::Grants;
use super::memory::Array;
use super::quic::QuicFlows;
use super::sizes::Sizes;
use super::trie::Trie;
use crate::desired::Blocks4;

/// Rows of `CLASSES`: every value of a slot's 16 bits.
pub const CLASS_ROWS: u32 = 65_536;
/// Words of `NET4_BITS`: one bit for each /24.
pub const NET4_WORDS: u32 = 262_144;

/// Rows of `HELLOS` in a set.
const HELLO_WAYS: u32 = 4;
const _: () = assert!(WAYS == HELLO_WAYS as usize);

/// Every map of a generation by name.
pub const MAP_NAMES: [&str; 37] = [
    "CONTROL",
    "INTERFACES",
    "VLAN_REALMS",
    "ORG4_INDEX",
    "ORG4_PAGES",
    "ORG6_BLOOM",
    "ORG6",
    "ORG6_SPLIT",
    "ORGS",
    "POLICIES",
    "CLASSES",
    "NAME_BLOOM",
    "ADDRESS_BLOOM",
    "SUBJECTS",
    "SUBJECT_ENTRIES",
    "BLOCK4_BITS",
    "NET4_BITS",
    "NET4",
    "NET6_BLOOM",
    "NET6",
    "FLOWS",
    "FLOW_TAGS",
    "HELLOS",
    "GRANTS",
    "ORG_RATES",
    "ANSWERS",
    "PAGE",
    "DEAD",
    "QUIC_FLOWS",
    "QUIC_WATCH",
    "QUIC_COPIES",
    "MESSAGE",
    "COUNTERS",
    "CATEGORY_COUNTERS",
    "REASON_CATEGORIES",
    "UNTOUCHED",
    "SCRATCH",
];

/// Maps of the kernel by name.
pub type Maps = BTreeMap<&'static str, MapData>;

/// Realm (network byte order) and address of an `ORG6_SPLIT` prefix.
pub type SplitBytes = [u8; 20];

/// Every array and trie. The field's name is the map's, in lower case.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each field is the map of its name; maps.rs tells what it holds"
)]
pub struct Tables {
    pub control: Array<Control>,
    pub interfaces: Array<Interface>,
    pub vlan_realms: Array<u64>,
    pub org4_index: Array<u64>,
    pub org4_pages: Array<u64>,
    pub org6_bloom: Array<u64>,
    pub org6: Array<Bucket>,
    pub org6_split: Trie<SplitBytes, u32>,
    pub orgs: Array<Org>,
    pub policies: Array<Policy>,
    pub classes: Array<Class>,
    pub name_bloom: Array<u64>,
    pub address_bloom: Array<u64>,
    pub subjects: Array<Bucket>,
    pub subject_entries: Array<BucketEntries>,
    pub block4_bits: Array<u64>,
    pub net4_bits: Array<u64>,
    pub net4: Trie<[u8; 4], [u32; 2]>,
    pub net6_bloom: Array<u64>,
    pub net6: Trie<[u8; 16], [u32; 2]>,
    pub flows: Array<FlowSet>,
    pub flow_tags: Array<u64>,
    pub hellos: Array<HelloSlot>,
    pub grants: Grants,
    pub quic_flows: QuicFlows,
    pub quic_watch: Array<QuicWatch>,
    pub org_rates: Array<OrgRate>,
    pub answers: Array<Addresses>,
    pub page: Array<Page>,
    pub category_counters: Array<CategoryCounters>,
}

/// A `NetEntry` as the tries hold it: class row, entry number.
#[must_use]
pub fn net_value(value: NetEntry) -> [u32; 2] {
    [value.class, value.entry]
}

const _: () = assert!(size_of::<Org6SplitKey>() == size_of::<SplitBytes>());

/// Milliseconds of a tick of the kernel's clock: the resolution of its coarse clocks is one tick
/// (`LOW_RES_NSEC`, `linux/jiffies.h`).
fn ms_per_tick() -> u32 {
    let mut tick = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `tick` lives through the call and is written whole.
    let result = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    if result != 0 {
        return 4;
    }
    u32::try_from((tick.tv_nsec + 500_000) / 1_000_000)
        .unwrap_or(4)
        .max(1)
}

impl Tables {
    /// Empty ones on the heap, for a host twin and for tests.
    #[must_use]
    pub fn heap(sizes: &Sizes, seed: Seed) -> Tables {
        let tables = Tables {
            control: Array::heap(1),
            interfaces: Array::heap(INTERFACES),
            vlan_realms: Array::heap(sizes.vlan_words),
            org4_index: Array::heap(sizes.org4_index_words),
            org4_pages: Array::heap(sizes.org4_page_words),
            org6_bloom: Array::heap(sizes.org6_bloom_words),
            org6: Array::heap(sizes.org6_buckets),
            org6_split: Trie::heap(sizes.org6_splits),
            orgs: Array::heap(sizes.orgs),
            policies: Array::heap(sizes.policies),
            classes: Array::heap(CLASS_ROWS),
            name_bloom: Array::heap(sizes.name_bloom_words),
            address_bloom: Array::heap(sizes.address_bloom_words),
            subjects: Array::heap(sizes.subject_buckets),
            subject_entries: Array::heap(sizes.subject_buckets),
            block4_bits: Array::heap(Blocks4::WORDS),
            net4_bits: Array::heap(NET4_WORDS),
            net4: Trie::heap(sizes.nets4),
            net6_bloom: Array::heap(sizes.net6_bloom_words),
            net6: Trie::heap(sizes.nets6),
            flows: Array::heap(sizes.flow_sets),
            flow_tags: Array::heap(sizes.flow_sets),
            hellos: Array::heap(sizes.hello_rows),
            grants: Grants::new(Array::heap(GRANT_SETS)),
            quic_flows: QuicFlows::new(Array::heap(QUIC_SETS)),
            quic_watch: Array::heap(1),
            org_rates: Array::heap(sizes.orgs),
            answers: Array::heap(ANSWERS),
            page: Array::heap(1),
            category_counters: Array::heap(sizes.orgs),
        };
        tables.initialise(seed);
        tables
    }

    /// Those of the kernel's `maps`.
    ///
    /// # Errors
    /// If a map is missing, has rows of another size, or cannot be mapped.
    pub fn kernel(maps: &Maps) -> Result<Tables, KernelError> {
        Ok(Tables {
            control: array(maps, "CONTROL")?,
            interfaces: array(maps, "INTERFACES")?,
            vlan_realms: array(maps, "VLAN_REALMS")?,
            org4_index: array(maps, "ORG4_INDEX")?,
            org4_pages: array(maps, "ORG4_PAGES")?,
            org6_bloom: array(maps, "ORG6_BLOOM")?,
            org6: array(maps, "ORG6")?,
            org6_split: trie(maps, "ORG6_SPLIT")?,
            orgs: array(maps, "ORGS")?,
            policies: array(maps, "POLICIES")?,
            classes: array(maps, "CLASSES")?,
            name_bloom: array(maps, "NAME_BLOOM")?,
            address_bloom: array(maps, "ADDRESS_BLOOM")?,
            subjects: array(maps, "SUBJECTS")?,
            subject_entries: array(maps, "SUBJECT_ENTRIES")?,
            block4_bits: array(maps, "BLOCK4_BITS")?,
            net4_bits: array(maps, "NET4_BITS")?,
            net4: trie(maps, "NET4")?,
            net6_bloom: array(maps, "NET6_BLOOM")?,
            net6: trie(maps, "NET6")?,
            flows: array(maps, "FLOWS")?,
            flow_tags: array(maps, "FLOW_TAGS")?,
            hellos: array(maps, "HELLOS")?,
            grants: Grants::new(array(maps, "GRANTS")?),
            quic_flows: QuicFlows::new(array(maps, "QUIC_FLOWS")?),
            quic_watch: array(maps, "QUIC_WATCH")?,
            org_rates: array(maps, "ORG_RATES")?,
            answers: array(maps, "ANSWERS")?,
            page: array(maps, "PAGE")?,
            category_counters: array(maps, "CATEGORY_COUNTERS")?,
        })
    }

    /// The control row.
    #[must_use]
    pub fn control_row(&self) -> Control {
        self.control.get(0).unwrap_or_default()
    }

    /// Writes the control row; fields that belong together share a word and change together.
    pub fn set_control(&self, control: Control) {
        self.control.set(0, control);
    }

    /// Forgets all flows, with their unfinished messages, and the counts of new ones. Verdicts on QUIC
    /// stay, and so does `DEAD`, which says nothing of a flow that is forgotten. For tables that no
    /// packets run through.
    pub fn forget_flows(&self) {
        self.flows.zero();
        self.flow_tags.zero();
        self.hellos.zero();
        self.org_rates.zero();
    }

    /// Fills the control row of fresh tables.
    pub fn initialise(&self, seed: Seed) {
        self.set_control(self.blank_control(seed));
    }

    /// The control row of tables of this shape that hold nothing.
    #[must_use]
    pub(crate) fn blank_control(&self, seed: Seed) -> Control {
        Control {
            abi: ABI,
            flags: 0,
            seed: seed.0,
            ms_per_tick: ms_per_tick(),
            name_bloom_len: self.name_bloom.rows(),
            bucket_len: self.subjects.rows(),
            interface_multiplier: 1,
            flow_set_mask: self.flows.rows().saturating_sub(1),
            hello_set_mask: (self.hellos.rows() / HELLO_WAYS).saturating_sub(1),
            org6_bloom_len: 0,
            org6_bucket_len: self.org6.rows(),
            syn_limit: 0,
            address_bloom_len: self.address_bloom.rows(),
            net6_bloom_len: 0,
            idle_ms: IDLE_MS,
        }
    }
}

/// The map `name`.
pub(crate) fn map_of<'a>(maps: &'a Maps, name: &'static str) -> Result<&'a MapData, KernelError> {
    maps.get(name).ok_or(KernelError::MissingMap(name))
}

/// Maps the array `name` after its shape was checked.
pub(crate) fn array<T: Pod>(maps: &Maps, name: &'static str) -> Result<Array<T>, KernelError> {
    let map = map_of(maps, name)?;
    let info = map
        .info()
        .map_err(KernelError::bpf(format!("reading the map {name}")))?;
    let expected = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
    if info.value_size() != expected {
        return Err(KernelError::MapShape {
            map: name,
            found: info.value_size(),
            expected,
        });
    }
    Array::map(map.fd().as_fd(), info.max_entries())
}

/// Opens the trie `name`.
fn trie<K: Pod + Ord, V: Pod + PartialEq>(
    maps: &Maps,
    name: &'static str,
) -> Result<Trie<K, V>, KernelError> {
    let map = map_of(maps, name)?;
    let fd = map
        .fd()
        .as_fd()
        .try_clone_to_owned()
        .map_err(KernelError::io("sharing a map"))?;
    Trie::kernel(MapData::from_fd(fd).map_err(KernelError::bpf(format!("opening {name}")))?)
}
