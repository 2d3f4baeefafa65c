//! Every bound of the data plane, each with its reason. Capacities of maps are chosen by the daemon
//! at load time; the numbers here are the ones the program's text depends on.

/// VLAN tags read in front of the network header: customer, provider and one more, as seen on
/// providers' edges.
pub const VLAN_TAGS_MAX: u32 = 3;
/// MPLS labels read in front of the network header: transport, service, and two for fast reroute.
pub const MPLS_LABELS_MAX: u32 = 4;
/// IPv6 extension headers walked before a packet is refused. RFC 8200 section 4.1 lists seven, each
/// once, with destination options twice.
pub const IPV6_EXTENSIONS_MAX: u32 = 8;
/// Longest server name that is looked up. A domain name holds at most 253 characters in dotted form
/// (RFC 1035 section 2.3.4); OpenSSL refuses a server name above 255.
pub const NAME_LEN_MAX: u32 = 255;
/// Bytes kept in front of a buffered name, so that whole words can be read from its start.
pub const NAME_PAD: usize = 8;
/// Room for a buffered name: the pad, 256 bytes addressed by a `u8`, and one word of slack.
pub const NAME_BUF: usize = NAME_PAD + 256 + 8;
/// Eight-byte words of the longest name.
pub const NAME_WORDS_MAX: u32 = NAME_LEN_MAX / 8 + 1;
/// Extension headers read in one go. Present-day browsers send 15 to 19; what is beyond is read by
/// the resumable machine.
pub const EXTENSIONS_MAX: u32 = 32;
/// Parser steps that one segment may take: enough for a segment of one-byte records (six bytes and
/// two steps each) of 1,500 bytes. A segment that needs more is refused with its own reason.
pub const STEPS_MAX: u32 = 640;
/// Longest method of an HTTP request: the longest one registered has 16 letters.
pub const TOKEN_MAX: u8 = 24;
/// Steps of the resumable reader of requests in one segment: a byte each, in the longest frame that is
/// not a jumbo frame.
pub const REQUEST_STEPS_MAX: u32 = 1600;
/// Names judged in one segment: pipelined requests of 30 bytes each fill a segment of 1,500 bytes.
pub const REQUESTS_MAX: u32 = 48;
/// Header lines and words of eight bytes of a request that is read in one go.
pub const REQUEST_WORDS_MAX: u32 = 224;
/// Segments of an unfinished ClientHello whose bytes are remembered by a keyed hash.
pub const SEGMENT_HASHES: usize = 4;
/// Segments of one flow held before its client is reset rather than starved. TCP gives up a segment
/// after 15 retransmissions by default (Linux `tcp_retries2`).
pub const HOLDS_MAX: u32 = 24;
/// Sequence numbers on both sides of a flow's first byte in which a SYN is no new connection: longer
/// than any ClientHello (OpenSSL takes 131,396 bytes, six times that in one-byte records). A sender's
/// clock passes over it in 67 ms (Linux) to 4 s (RFC 6528), sooner than it uses a port again.
pub const SYN_NEAR: u32 = 1 << 20;
/// Rows in which it is noted when a connection was ended last, by its client's address and port.
pub const DEAD_ROWS: u32 = 2048;
/// Seconds (of 1,024 milliseconds) for which its packets without payload are looked at: a client gives
/// up before.
pub const DEAD_SECONDS: u32 = 120;
/// Longest text that a request is answered with.
pub const PAGE_LEN_MAX: u32 = 480;
/// Ways of a set of flow slots and of a set of ClientHello slots.
pub const WAYS: usize = 4;
/// Attempts to claim a set of flow slots before the packet is held: a claim lasts well under a
/// microsecond.
pub const CLAIM_TRIES: u32 = 64;
/// Milliseconds of idleness after which a SYN may reset an unfinished entry, and after which a slot
/// of an unfinished ClientHello may be taken by another organisation.
pub const IDLE_MS: u32 = 10_000;
/// The same for a flow that was blocked, for its SYN only: shorter than the second SYN of a client that
/// takes the port again, which follows the first after a second (RFC 6298 section 2).
pub const BLOCKED_IDLE_MS: u32 = 900;
/// Longest DNS message that is read over UDP (RFC 1035 section 2.3.4): what is longer holds no query that
/// a client sends. A power of two because it is a mask.
pub const DNS_LEN_MAX: u32 = 512;
/// Labels of the longest name: one letter and its length each.
pub const DNS_LABELS_MAX: u32 = 128;
/// EDNS options in front of the cookie that are read over.
pub const DNS_OPTIONS_MAX: u32 = 8;
/// Seconds for which an answer with the portal's address may be kept: as long as a page's reload takes
/// a person.
pub const DNS_TTL: u32 = 10;
/// Least bytes of a datagram with a QUIC client's Initial packet (RFC 9000 section 14.1).
pub const QUIC_INITIAL_MIN: u32 = 1200;
/// Packets of a datagram that are looked through for one that completes a handshake: an Initial, 0-RTT, and
/// one more of each.
pub const QUIC_PACKETS_MAX: u32 = 4;
/// Longest connection id of QUIC versions 1 and 2 (RFC 9000 section 17.2).
pub const QUIC_CID_MAX: u32 = 20;
/// Sets of QUIC flows with a verdict, four in each: 65,536 at once in 2 MiB. Where a set is full the one
/// that ends first gives way; a flow without a row gets no further than its first packets.
pub const QUIC_SETS: u32 = 16_384;
/// Longest frame of which a copy is handed over: Ethernet's, with every header in front of it. A power of
/// two because its lower bits are a mask.
pub const QUIC_FRAME_MAX: usize = 2048;
/// Bytes of the ring of copies: two thousand of them, a tenth of a second of 20,000 Initials a second. A
/// power of two.
pub const QUIC_RING_BYTES: usize = 1 << 22;
/// Where a QUIC packet's connection ids are kept while the answer is built: behind the link's headers of
/// the longest answer.
pub const QUIC_COPY_AT: u32 = 768;
/// Highest place of a message's byte in map memory: twice the longest that is read, for what is kept
/// beside it. A power of two minus one because it is a mask.
pub const MESSAGE_MASK: u32 = 2 * DNS_LEN_MAX - 1;
/// Bytes of a message in map memory, with a word of slack.
pub const MESSAGE_BUF: usize = MESSAGE_MASK as usize + 1 + 8;
/// Slots of a bucket: one cache line of eight-byte slots.
pub const BUCKET_SLOTS: usize = 8;
/// Slots of the table of attached interfaces.
pub const INTERFACES: u32 = 256;
/// Highest organisation number (with segments): numbers are `u16`, 0 is "none" and 65,535 is a mark.
pub const ORGS_MAX: u32 = 65_534;
/// Most pages of the IPv4 enrolment index: one of 128 KiB for each /16 in use in each realm.
pub const ORG4_PAGES_MAX: u32 = 512;
/// Widest enrolment of one organisation, all its IPv4 prefixes together: a /20.
pub const ORG_IPV4_ADDRESSES_MAX: u64 = 1 << 12;
/// Widest enrolment of one organisation, all its IPv6 prefixes together: a /40, counted in /64.
pub const ORG_IPV6_SUBNETS_MAX: u64 = 1 << 24;
/// Sets of grants ("continue"), four in each: 16,384 at once in 256 KiB. A grant lasts a quarter of an hour
/// at most; where a set is full the one that ends first gives way, and its person is asked again.
pub const GRANT_SETS: u32 = 4096;
/// Longest grant in seconds.
pub const GRANT_SECONDS_MAX: u32 = 15 * 60;
/// Room for reason counters of an organisation: reasons in use are fewer (see `reason`).
pub const REASONS: usize = 80;
/// Categories: a number below 64, never reused.
pub const CATEGORIES: usize = 64;
/// Largest packet offset the program addresses, minus one; a power of two because it is a mask.
/// Frames without multi-buffer end before 4 KiB.
pub const OFFSET_MASK: u32 = 0x3fff;
/// Bytes of one segment that are hashed at most: a frame without multi-buffer fits.
pub const SEGMENT_BYTES_MAX: u32 = 4096;

const _: () = assert!(WAYS == 4 && BUCKET_SLOTS * 8 == 64 && REASONS <= 255 && CATEGORIES == 64);
