//! The types that cross into maps, declared once. Integers only, padding written out, sizes asserted.
//!
//! A change of any of them, or of a map's meaning, needs a new [`ABI`]: the daemon that finds another
//! number in pinned maps builds a new set of maps beside them and switches over without a gap.

mod drain;
mod page;
mod quic;

use crate::limits::{
    BUCKET_SLOTS, CATEGORIES, MESSAGE_BUF, NAME_BUF, QUIC_FRAME_MAX, REASONS, SEGMENT_HASHES, WAYS,
};

pub use drain::{drain_flags, drain_holds, without_drain};
pub use page::{PAGE_BUF, Page};
pub use quic::{QUIC_COPY_HEAD, QuicCopy, QuicFlow, QuicSet, QuicWatch};

/// Number of the layout below.
pub const ABI: u32 = if cfg!(feature = "abi-next") { 4 } else { 3 };

/// `Control::flags`: everything passes, whatever the entries say.
pub const CONTROL_PASS_ALL: u32 = 1 << 0;
/// `Control::flags`: flows are being handed to a new program; nothing may change a flow's state up to
/// the moment in the bits from [`CONTROL_DRAIN_SHIFT`] on. It ends by itself: a daemon that dies
/// meanwhile must not leave every new connection held.
pub const CONTROL_DRAIN: u32 = 1 << 1;
/// `Control::flags`: there is a page that requests can be sent to.
pub const CONTROL_PAGE: u32 = 1 << 2;
/// Lowest of the 24 bits of `Control::flags` that hold the end of a hand-over, in units of 2^28
/// nanoseconds of the monotonic clock.
pub const CONTROL_DRAIN_SHIFT: u32 = 8;
/// Longest hand-over in these units: 4 seconds. A million flows are copied in a fraction of one.
pub const DRAIN_UNITS: u32 = 15;

/// The one row of `CONTROL`: what the program needs for every packet, and the words that switch
/// regions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// [`ABI`] of the program that made the maps.
    pub abi: u32,
    /// `CONTROL_*` bits.
    pub flags: u32,
    /// Seed of every key and hash; secret, made once per installation.
    pub seed: u64,
    /// Milliseconds of a tick of the kernel's clock (1,000 / `CONFIG_HZ`), at least 1.
    pub ms_per_tick: u32,
    /// Words of `NAME_BLOOM`.
    pub name_bloom_len: u32,
    /// Buckets of `SUBJECTS`.
    pub bucket_len: u32,
    /// Odd multiplier that spreads interface numbers over `INTERFACES` without a collision.
    pub interface_multiplier: u32,
    /// Sets of `FLOWS`, minus one; the number of sets is a power of two.
    pub flow_set_mask: u32,
    /// Sets of four rows of `HELLOS`, minus one; the number of sets is a power of two.
    pub hello_set_mask: u32,
    /// Words of the IPv6 enrolment Bloom filter in `ORG6_BLOOM`; 0: no IPv6 organisations.
    pub org6_bloom_len: u32,
    /// Buckets of `ORG6`.
    pub org6_bucket_len: u32,
    /// New flows (SYNs) that one organisation may open in a second.
    pub syn_limit: u32,
    /// Words of `ADDRESS_BLOOM`.
    pub address_bloom_len: u32,
    /// Words of the IPv6 prefix Bloom filter in `NET6_BLOOM`; 0: no IPv6 prefix entries.
    pub net6_bloom_len: u32,
    /// Milliseconds of idleness after which a SYN may reset an unfinished entry (normally
    /// [`crate::limits::IDLE_MS`]).
    pub idle_ms: u32,
}

/// `Interface::flags`: source addresses behind this interface are matched against organisations.
pub const INTERFACE_ORGANISATIONS: u32 = 1 << 0;
/// `Interface::flags`: the outermost VLAN tag selects the realm, by `VLAN_REALMS`.
pub const INTERFACE_VLAN_REALMS: u32 = 1 << 1;
/// `Interface::mpls_reply`: no reply behind MPLS.
pub const MPLS_REPLY_NONE: u32 = 0;
/// `Interface::mpls_reply`: reply without labels.
pub const MPLS_REPLY_UNLABELLED: u32 = 1;
/// `Interface::mpls_reply`: set beside a 20-bit label in the bits above: reply with that label.
pub const MPLS_REPLY_LABEL: u32 = 2;

/// A row of `INTERFACES`, at `(ifindex * multiplier) >> 24`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Number of the interface; 0: the row is empty.
    pub ifindex: u32,
    /// `INTERFACE_*` bits.
    pub flags: u32,
    /// Realm of untagged frames, and of all frames without `INTERFACE_VLAN_REALMS`.
    pub realm: u32,
    /// First row of this interface in `VLAN_REALMS` (4,096 `u16` in 1,024 words).
    pub vlan_base: u32,
    /// `MPLS_REPLY_*`, for `MPLS_REPLY_LABEL` with `label << 8`.
    pub mpls_reply: u32,
    /// Zero.
    pub pad: u32,
}

/// Realm number of a VLAN that belongs to no realm: its frames are untouched.
pub const REALM_NONE: u32 = 0xffff;

/// A row of `ORGS`, at the organisation's number. Row 0 stands for "not enrolled".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Org {
    /// Keyed hash of the organisation's id, by which a daemon that takes the maps over finds the
    /// organisation's number again; 0: the row is free.
    pub id_key: u64,
    /// Monotonic clock in nanoseconds up to which everything but mandatory entries passes; 0: none.
    pub bypass_until_ns: u64,
    /// Row of `POLICIES`; changed by one write, so that a policy changes all at once.
    pub policy: u32,
    /// Zero.
    pub pad: u32,
}

/// `Policy::flags`: what is not allowed is blocked.
pub const POLICY_ALLOW_ONLY: u32 = 1 << 0;
/// `Policy::flags`: a forbidden name does not exist in DNS; without it the portal's address is given.
pub const POLICY_DNS_NXDOMAIN: u32 = 1 << 1;
/// `Policy::flags`: QUIC passes unread. Without it a client's first packets are turned to TCP.
pub const POLICY_QUIC_ALLOW: u32 = 1 << 2;
/// `Policy::flags`: the daemon reads the name of QUIC.
pub const POLICY_QUIC_INSPECT: u32 = 1 << 3;
/// `Policy::flags`: DNS that hides what is asked for is blocked, by port and by address; by name it is a
/// matter of [`Policy::local_deny`].
pub const POLICY_ENCRYPTED_DNS: u32 = 1 << 8;
/// `Policy::flags`: no HTTPS or SVCB record is given, so that no key of Encrypted ClientHello is learnt.
pub const POLICY_ECH_WITHHELD: u32 = 1 << 9;
/// `Policy::flags`: names of search engines lead to their safe form.
pub const POLICY_SAFE_SEARCH: u32 = 1 << 10;
/// `Policy::flags`, beside [`POLICY_SAFE_SEARCH`]: in the moderate form.
pub const POLICY_SAFE_MODERATE: u32 = 1 << 11;

/// A row of `POLICIES`: a profile compiled for this moment. Masks have bit n for category n, or for local
/// list n where the field says local.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Education registry categories that are forbidden for children everywhere.
    pub mandatory: u64,
    /// Local lists and services that are allowed.
    pub local_allow: u64,
    /// Local lists and services that are denied, and what is denied by a bit of its own
    /// ([`LOCAL_ENCRYPTED_DNS`] and those beside it).
    pub local_deny: u64,
    /// Education registry categories that are blocked.
    pub block: u64,
    /// Education registry categories above the age mark.
    pub age: u64,
    /// Education registry categories that are warned of.
    pub warn: u64,
    /// Categories of the suspicious registry that are warned of.
    pub suspicious: u64,
    /// `POLICY_*` bits.
    pub flags: u32,
    /// [`crate::verdict::Action`] for a blocked TCP flow: drop or reset.
    pub action: u32,
}

/// `Tiers::local`: the subject is the provider's own portal, resolver or other infrastructure.
pub const LOCAL_INFRASTRUCTURE: u64 = 1 << 63;
/// `Tiers::local` of a host's own half: there are entries for URLs of this host. No list of its own.
pub const LOCAL_URLS: u64 = 1 << 53;
/// `Tiers::local`: the subject is a name of a resolver that is asked by encrypted DNS.
pub const LOCAL_ENCRYPTED_DNS: u64 = 1 << 62;
/// `Tiers::local`: the subject is a name by which devices find out whether they may hide what they ask.
pub const LOCAL_CANARY: u64 = 1 << 61;
/// `Tiers::local`: the subject is the public name behind which Encrypted ClientHello hides the real one.
pub const LOCAL_ECH: u64 = 1 << 60;
/// `Tiers::local`: the subject is an address of a resolver that is asked by encrypted DNS. No policy denies
/// the address as such: plain DNS on port 53 is judged by the name that is asked for (see `encrypted`).
pub const LOCAL_ENDPOINT: u64 = 1 << 59;
/// `Tiers::local` of a name alone: the lowest bit of the search engine's number, 1 to [`ENGINES_MAX`].
pub const LOCAL_ENGINE_SHIFT: u32 = 54;
/// Highest number of a search engine.
pub const ENGINES_MAX: u32 = 31;
/// Numbers of local lists are below this: the bits from here on mean something of their own.
pub const LOCAL_LISTS: u32 = 53;

/// Categories of one subject by registry. A subject is in a registry if its mask is not zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tiers {
    /// Unified registry: categories.
    pub unified: u64,
    /// Education registry: categories.
    pub nsor: u64,
    /// Local lists and services: list numbers below [`LOCAL_LISTS`], and `LOCAL_*` bits.
    pub local: u64,
    /// Suspicious registry: categories.
    pub suspicious: u64,
}

/// A row of `CLASSES`: a distinct combination of registries and categories. Row 0 is empty.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class {
    /// What the subject itself is listed for: a name without its subdomains, an address, a prefix.
    pub exact: Tiers,
    /// What the subject and everything below it is listed for: a domain suffix.
    pub suffix: Tiers,
}

/// A bucket of `SUBJECTS`, `ORG6`: eight slots of `key << 16 | class`; 0 is free. See `table`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The slots.
    pub slots: [u64; BUCKET_SLOTS],
}

/// A row of `SUBJECT_ENTRIES`, beside the bucket with the same number: the entries' numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketEntries {
    /// Entry numbers, slot by slot; read on block and warn only.
    pub entries: [u32; BUCKET_SLOTS],
}

/// Value of `NET4` and `NET6`: a prefix entry. Its class holds those of all prefixes around it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetEntry {
    /// Row of `CLASSES` (its `exact` half).
    pub class: u32,
    /// Entry number.
    pub entry: u32,
}

/// Key of `ORG6_SPLIT`: an organisation's prefix that is longer than a /48.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Org6SplitKey {
    /// Realm, in network byte order.
    pub realm: [u8; 4],
    /// Address, in network byte order.
    pub address: [u8; 16],
}

/// Key of a flow. IPv4: the whole 5-tuple, protocol TCP. IPv6: two independent keyed hashes of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowKey {
    /// IPv4: source address in the upper half, destination in the lower.
    pub a: u64,
    /// IPv4: ports in the upper half, realm in the lower, with bit 31 clear.
    pub b: u64,
}

/// State of a flow. What the fields mean is told in `flow`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSlot {
    /// Milliseconds (upper half), held segments, remembered segments, marks, stage.
    pub state: u64,
    /// Sequence number of the first byte of the ClientHello.
    pub first: u32,
    /// Next sequence number while unfinished; the decisive byte's end when done.
    pub next: u32,
    /// Keyed hashes of the segments let through.
    pub hashes: [u32; SEGMENT_HASHES],
    /// Lengths of these segments.
    pub lengths: [u16; SEGMENT_HASHES],
    /// Row of `HELLOS` (set * ways + way) while unfinished.
    pub hello: u32,
    /// In the first slot of a set: 1 while a processor has claimed the set. Elsewhere 0.
    pub claim: u32,
    /// Room of the layout that the upgrade tests build.
    #[cfg(feature = "abi-next")]
    pub room: [u64; 2],
}

/// A set of flow slots: the keys in one cache line, the states behind.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSet {
    /// Keys, way by way; all zero is free.
    pub keys: [FlowKey; WAYS],
    /// States, way by way.
    pub slots: [FlowSlot; WAYS],
}

/// State of the resumable ClientHello parser. What the fields mean is told in `tls`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Bytes so far of a field that segments or records cut.
    pub field: u64,
    /// Bytes so far of a record header that segments cut.
    pub record_header: u64,
    /// Offset of the next byte in the segment's payload.
    pub offset: u32,
    /// Bytes left in the TLS record.
    pub record_left: u32,
    /// Bytes of the current field left to skip.
    pub skip: u32,
    /// Bytes of the extension block behind the current extension.
    pub extensions_left: u32,
    /// Bytes of `field` read.
    pub field_got: u8,
    /// Bytes of `record_header` read.
    pub record_header_got: u8,
    /// `tls::Field` that comes next.
    pub stage: u8,
    /// Length of the name.
    pub name_len: u8,
    /// Bytes of the name read.
    pub name_got: u8,
    /// Content type of the record; only handshake records hold the ClientHello.
    pub record_type: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// State of the resumable reader of requests (HTTP/1, DNS over TCP). What the fields mean is told in
/// `http`, `url` and `dns_stream`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Running hash of the path.
    pub path: u64,
    /// The last eight bytes of a word that is read (method, header name), lower case.
    pub word: u64,
    /// The eight bytes in front of them.
    pub word_front: u64,
    /// Offset of the next byte in the segment's payload; beyond it where a body is jumped over.
    pub offset: u32,
    /// Bytes of the body, or of the chunk, behind the head.
    pub body: u32,
    /// `http::stage` or `dns_stream::stage`: what comes next.
    pub stage: u8,
    /// `http::mark`s.
    pub marks: u8,
    /// Bytes of the word, field or white space so far.
    pub count: u8,
    /// Length of the name so far.
    pub name_len: u8,
    /// `url`: parts of the path that are closed.
    pub parts: u8,
    /// `url`: what the open part is.
    pub part: u8,
    /// `url`: how much of a percent-encoded byte was read.
    pub percent: u8,
    /// `url`: its first digit.
    pub digit: u8,
}

/// Hashes of a path's beginnings that are kept: see `url`.
pub const PATHS: usize = 16;

/// A row of `HELLOS`: an unfinished ClientHello or request. Four rows in a line are a set.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloSlot {
    /// The flow it belongs to.
    pub key: FlowKey,
    /// Milliseconds of the last use (upper half), organisation (lower half); 0: free.
    pub stamp: u64,
    /// Parser state.
    pub hello: Hello,
    /// The name so far, lower case, behind [`crate::limits::NAME_PAD`] bytes that end in a dot.
    pub name: [u8; NAME_BUF],
    /// The reader's state, where it is a request.
    pub request: Request,
    /// Hashes of the beginnings of the request's path.
    pub paths: [u64; PATHS],
    /// Zero.
    pub pad: u64,
}

/// A row of `ANSWERS`: where an answer leads. Row 0 is the portal; a search engine has two, its safe form at
/// twice its number and its moderate form behind. Addresses are in network order, read as big-endian words; all
/// zero: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv6 address, then three words of zero, then the IPv4 address.
    pub words: [u32; ADDRESS_WORDS],
}

/// Rows of `ANSWERS`: a power of two because its mask is used.
pub const ANSWERS: u32 = 2 * (ENGINES_MAX + 1);
/// Words of [`Addresses`].
pub const ADDRESS_WORDS: usize = 8;

/// The row of `MESSAGE`, per processor: a message that is read or built.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its bytes.
    pub bytes: [u8; MESSAGE_BUF],
}

/// A row of `ORG_RATES`: new flows of an organisation in the current second.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrgRate {
    /// The second, of the coarse monotonic clock.
    pub second: u32,
    /// SYNs counted in it. Processors may lose counts to each other; the limit is no contract.
    pub syns: u32,
    /// The second in which QUIC packets were counted.
    pub quic_second: u32,
    /// Copies of QUIC packets handed over in it.
    pub copies: u32,
}

/// A row of `GRANTS`: see `grant`. Only the daemon writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantSet {
    /// Grants, way by way; a key of 0 is free.
    pub ways: [Grant; WAYS],
}

/// A grant. The client's address is in it only as a part of the keyed hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// `grant::grant_key`.
    pub key: u64,
    /// Monotonic clock in nanoseconds at which it ends.
    pub until_ns: u64,
}

/// What became of the last packet of an enrolled organisation, on this processor: replay and tests
/// read it back after each run. Holds no address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Reason number; 0: the packet was of nobody enrolled.
    pub reason: u32,
    /// [`crate::verdict::Action`].
    pub action: u32,
    /// Category number, or [`crate::rule::CATEGORY_NONE`].
    pub category: u32,
    /// Entry number, 0 if none decided.
    pub entry: u32,
    /// Organisation number.
    pub org: u32,
    /// Length of the name read; 0: none, and the two fields below mean nothing.
    pub name_len: u32,
    /// Offset in the frame of the name read; 0: not in this frame.
    pub name_at: u32,
    /// Row of `HELLOS` (set * ways + way), plus one, where a name cut by segments or records lies.
    pub name_row: u32,
    /// 1 if the packet belongs to an HTTP request: a person may be shown a page.
    pub http: u32,
    /// Zero.
    pub pad: u32,
}

/// The row of `SCRATCH`, per processor: facts gathered of the packet in hand, each by one stage.
/// Kept in map memory and not in registers, so that the verifier does not multiply states.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// What became of the packet.
    pub outcome: Outcome,
    /// The deciding entry so far.
    pub best: crate::rule::Best,
    /// The flow.
    pub key: FlowKey,
    /// Source address, network byte order read as big-endian words; IPv4 in the last.
    pub source: [u32; 4],
    /// Destination address likewise.
    pub destination: [u32; 4],
    /// Offset of the network header.
    pub l3: u32,
    /// Offset of the transport header.
    pub l4: u32,
    /// Offset of the TCP payload.
    pub payload: u32,
    /// Bytes of TCP payload, by the network header.
    pub payload_len: u32,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// TCP flags.
    pub tcp_flags: u32,
    /// TCP ports, source in the upper half.
    pub ports: u32,
    /// IP version, 4 or 6.
    pub version: u32,
    /// Offset of the PPPoE header; 0: none.
    pub pppoe_at: u32,
    /// Offset of the MPLS label stack; 0: none.
    pub mpls_at: u32,
    /// EtherType or next protocol found so far.
    pub protocol: u32,
    /// Row of `INTERFACES`.
    pub interface: u32,
    /// Realm number.
    pub realm: u32,
    /// Row of `POLICIES`.
    pub policy: u32,
    /// Offset of a name under look-up.
    pub name_at: u32,
    /// Length of a name under look-up.
    pub name_len: u32,
    /// Bytes of the name that the walk has still in front of it.
    pub name_left: u32,
    /// Offset of the end of a DNS query's question in its message; 0: the packet is none.
    pub question_end: u32,
    /// 1 while the organisation's bypass is in force.
    pub bypass: u32,
    /// 1 if the packet is a QUIC client's first: answered by Version Negotiation where something forbids it.
    pub quic: u32,
    /// Zero.
    pub pad: u32,
    /// 1 if the name looked up last has entries for paths below it.
    pub name_has_urls: u32,
    /// Entry number by which the destination is an address of an encrypted DNS resolver; 0: it is none.
    /// Means something once the policy is known.
    pub endpoint: u32,
    /// Number of the search engine whose name is asked for, 0: it is none; once it is judged, the row of
    /// `ANSWERS` that the answer leads to.
    pub engine: u32,
    /// Words for values that the verifier shall forget.
    pub spare: [u32; 9],
    /// Parser state of a hello that is read without a slot.
    pub hello: Hello,
    /// Reader's state of a request.
    pub request: Request,
    /// What the address says: the deciding entry before any of a segment's names.
    pub best_address: crate::rule::Best,
    /// Key of the whole name looked up last.
    pub name_key: u64,
}

/// A row of `COUNTERS`, per processor: packets of an organisation by reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrgCounters {
    /// Packets, by reason number.
    pub packets: [u64; REASONS],
}

/// A row of `CATEGORY_COUNTERS`, shared: blocked and warned packets of an organisation by category.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CategoryCounters {
    /// Packets, by category number.
    pub packets: [u64; CATEGORIES],
}

const _: () = {
    assert!(ANSWERS.is_power_of_two() && LOCAL_LISTS <= LOCAL_ENGINE_SHIFT);
    assert!((ENGINES_MAX as u64) << LOCAL_ENGINE_SHIFT < LOCAL_ENDPOINT);
    assert!(size_of::<Control>() == 64);
    assert!(size_of::<Interface>() == 24);
    assert!(size_of::<Org>() == 24);
    assert!(size_of::<Policy>() == 64);
    assert!(size_of::<Class>() == 64);
    assert!(size_of::<Bucket>() == 64);
    assert!(size_of::<BucketEntries>() == 32);
    assert!(size_of::<NetEntry>() == 8);
    assert!(size_of::<Org6SplitKey>() == 20);
    assert!(size_of::<FlowSlot>() == if cfg!(feature = "abi-next") { 64 } else { 48 });
    assert!(size_of::<FlowSet>() == if cfg!(feature = "abi-next") { 320 } else { 256 });
    assert!(size_of::<Hello>() == 40);
    assert!(size_of::<Request>() == 40);
    assert!(size_of::<HelloSlot>() == 512);
    assert!(size_of::<OrgRate>() == 16);
    assert!(size_of::<Addresses>() == 32);
    assert!(size_of::<Page>() == 504);
    assert!(size_of::<Message>() == 1032);
    assert!(size_of::<GrantSet>() == 64);
    assert!(size_of::<QuicSet>() == 128);
    assert!(size_of::<QuicWatch>() == 16);
    assert!(size_of::<QuicCopy>() == QUIC_COPY_HEAD + QUIC_FRAME_MAX);
    assert!(size_of::<Outcome>() == 40);
    assert!(size_of::<Scratch>() == 392);
    assert!(size_of::<OrgCounters>() == 640);
    assert!(size_of::<CategoryCounters>() == 512);
};
