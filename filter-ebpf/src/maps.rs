//! Every map of the program. Sizes here are the smallest that load; the daemon sets them when it
//! loads the program (`filter_user::kernel`). What the rows mean is told in `filter_common::abi`.
//!
//! Plain arrays that the daemon maps into its memory (`BPF_F_MMAPABLE`) wherever the data path meets
//! them: their look-up is inlined and costs about a nanosecond, a hash map's helper call 14 and more.

use aya_ebpf::btf_maps::{Array, LpmTrie, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use filter_common::abi::{
    ANSWERS as ANSWER_ROWS, Addresses, Bucket, BucketEntries, CategoryCounters, Class, Control,
    FlowSet, GrantSet, HelloSlot, Interface, Message, NetEntry, Org, Org6SplitKey, OrgCounters,
    OrgRate, Page, Policy, QuicSet, QuicWatch, Scratch,
};
use filter_common::limits::{
    DEAD_ROWS, GRANT_SETS, INTERFACES as INTERFACE_ROWS, QUIC_RING_BYTES, QUIC_SETS, REASONS,
};

/// `BPF_F_MMAPABLE`, `linux/bpf.h`, kernel 5.5.
const MMAPABLE: usize = 1 << 10;

/// Words that steer everything else.
#[btf_map]
pub(crate) static CONTROL: Array<Control, 1, MMAPABLE> = Array::new();
/// Attached interfaces.
#[btf_map]
pub(crate) static INTERFACES: Array<Interface, { INTERFACE_ROWS as usize }, MMAPABLE> =
    Array::new();
/// Realm numbers by VLAN, 4,096 `u16` an interface, four in a word.
#[btf_map]
pub(crate) static VLAN_REALMS: Array<u64, 1024, MMAPABLE> = Array::new();
/// IPv4 enrolment: page numbers, 65,536 `u16` a realm, four in a word.
#[btf_map]
pub(crate) static ORG4_INDEX: Array<u64, 16384, MMAPABLE> = Array::new();
/// IPv4 enrolment: organisation numbers, 65,536 `u16` a page, four in a word; page 0 is unused.
#[btf_map]
pub(crate) static ORG4_PAGES: Array<u64, 16384, MMAPABLE> = Array::new();
/// IPv6 enrolment: Bloom filter of the /48s.
#[btf_map]
pub(crate) static ORG6_BLOOM: Array<u64, 1024, MMAPABLE> = Array::new();
/// IPv6 enrolment: the /48s, `org6_tag | organisation`.
#[btf_map]
pub(crate) static ORG6: Array<Bucket, 64, MMAPABLE> = Array::new();
/// IPv6 enrolment: longer prefixes, below a /48 marked `ORG6_SPLIT_MARK`.
#[btf_map]
pub(crate) static ORG6_SPLIT: LpmTrie<Org6SplitKey, u32, 1024> = LpmTrie::new();
/// Organisations by number.
#[btf_map]
pub(crate) static ORGS: Array<Org, 1024, MMAPABLE> = Array::new();
/// Policies.
#[btf_map]
pub(crate) static POLICIES: Array<Policy, 1024, MMAPABLE> = Array::new();
/// Classes; rows by the 16 bits of a slot.
#[btf_map]
pub(crate) static CLASSES: Array<Class, 65536, MMAPABLE> = Array::new();
/// Bloom filter of the names. Apart from that of the addresses, so that the words which packets to
/// any destination meet lie close together.
#[btf_map]
pub(crate) static NAME_BLOOM: Array<u64, 1024, MMAPABLE> = Array::new();
/// Bloom filter of the addresses.
#[btf_map]
pub(crate) static ADDRESS_BLOOM: Array<u64, 1024, MMAPABLE> = Array::new();
/// Names and addresses: `table::tag(key) | class`.
#[btf_map]
pub(crate) static SUBJECTS: Array<Bucket, 1024, MMAPABLE> = Array::new();
/// Entry numbers beside `SUBJECTS`.
#[btf_map]
pub(crate) static SUBJECT_ENTRIES: Array<BucketEntries, 1024, MMAPABLE> = Array::new();
/// A bit for each IPv4 /20 that holds an address entry or meets a prefix entry: bit `address >> 12 & 63`
/// of word `address >> 18`. Entries lie in few of them; it stays in the processor's nearest cache.
#[btf_map]
pub(crate) static BLOCK4_BITS: Array<u64, 16384, MMAPABLE> = Array::new();
/// A bit for each IPv4 /24 that a prefix entry meets: bit `address >> 8 & 63` of word `address >> 14`.
#[btf_map]
pub(crate) static NET4_BITS: Array<u64, 262144, MMAPABLE> = Array::new();
/// IPv4 prefix entries.
#[btf_map]
pub(crate) static NET4: LpmTrie<[u8; 4], NetEntry, 65536> = LpmTrie::new();
/// Bloom filter of the IPv6 /32s that a prefix entry meets.
#[btf_map]
pub(crate) static NET6_BLOOM: Array<u64, 1024, MMAPABLE> = Array::new();
/// IPv6 prefix entries.
#[btf_map]
pub(crate) static NET6: LpmTrie<[u8; 16], NetEntry, 65536> = LpmTrie::new();
/// Flows; the number of sets is a power of two.
#[btf_map]
pub(crate) static FLOWS: Array<FlowSet, 1024, MMAPABLE> = Array::new();
/// Four tags of 16 bits for each set of `FLOWS`: what tells at once that a flow has no entry.
#[btf_map]
pub(crate) static FLOW_TAGS: Array<u64, 1024, MMAPABLE> = Array::new();
/// Unfinished ClientHellos, four rows a set; the number of sets is a power of two.
#[btf_map]
pub(crate) static HELLOS: Array<HelloSlot, 1024, MMAPABLE> = Array::new();
/// Grants: who was warned and goes on, until when.
#[btf_map]
pub(crate) static GRANTS: Array<GrantSet, { GRANT_SETS as usize }, MMAPABLE> = Array::new();
/// Verdicts on QUIC flows.
#[btf_map]
pub(crate) static QUIC_FLOWS: Array<QuicSet, { QUIC_SETS as usize }, MMAPABLE> = Array::new();
/// Whether somebody reads the names of QUIC.
#[btf_map]
pub(crate) static QUIC_WATCH: Array<QuicWatch, 1, MMAPABLE> = Array::new();
/// Initial packets whose name the daemon reads.
#[btf_map]
pub(crate) static QUIC_COPIES: RingBuf<(), QUIC_RING_BYTES> = RingBuf::new();
/// Where answers lead: to the portal, or to the safe form of a search engine.
#[btf_map]
pub(crate) static ANSWERS: Array<Addresses, { ANSWER_ROWS as usize }, MMAPABLE> = Array::new();
/// The answer to a request that is blocked or warned of.
#[btf_map]
pub(crate) static PAGE: Array<Page, 1, MMAPABLE> = Array::new();
/// When a connection was ended last, by its client's address and port: seconds of the coarse clock.
#[btf_map]
pub(crate) static DEAD: Array<u32, { DEAD_ROWS as usize }, MMAPABLE> = Array::new();
/// A message that is read or built.
#[btf_map]
pub(crate) static MESSAGE: PerCpuArray<Message, 1> = PerCpuArray::new();
/// New flows of each organisation in this second.
#[btf_map]
pub(crate) static ORG_RATES: Array<OrgRate, 1024, MMAPABLE> = Array::new();
/// Packets by organisation and reason.
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<OrgCounters, 1024> = PerCpuArray::new();
/// Blocked and warned packets by organisation and category.
#[btf_map]
pub(crate) static CATEGORY_COUNTERS: Array<CategoryCounters, 1024, MMAPABLE> = Array::new();
/// Blocked and warned packets by reason and category, all organisations together.
#[btf_map]
pub(crate) static REASON_CATEGORIES: PerCpuArray<CategoryCounters, REASONS> = PerCpuArray::new();
/// Packets of nobody enrolled: only this total is kept.
#[btf_map]
pub(crate) static UNTOUCHED: PerCpuArray<u64, 1> = PerCpuArray::new();
/// Facts of the packet in hand.
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
