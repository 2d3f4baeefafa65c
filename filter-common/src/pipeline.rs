//! From a frame to one reason and one action: the stages in order, over a [`World`] that holds the
//! maps. The kernel program and its twin on the host are two worlds around this one text.

use crate::abi::{
    Bucket, CONTROL_DRAIN, CONTROL_PASS_ALL, Class, Control, FlowSet, Hello, HelloSlot,
    INTERFACE_ORGANISATIONS, INTERFACE_VLAN_REALMS, Interface, NetEntry, Org, OrgRate, Outcome,
    POLICY_ALLOW_ONLY, Policy, REALM_NONE, Scratch,
};
use crate::bytes::{Packet, View};
use crate::limits::{INTERFACES, NAME_BUF, NAME_PAD, NAME_WORDS_MAX};
use crate::name::{
    dots_of_word, ipv4_key, ipv6_key, lower_word, name_start, net6_key, org6_key, org6_tag,
    suffix_key,
};
use crate::org::{ORG6_SPLIT_MARK, index_lane, index_word, page_lane, page_word};
use crate::packet::{
    EXTENSIONS_BROKEN, EXTENSIONS_TOO_MANY, EtherType, FRAGMENT_FIRST, FRAGMENT_LATER,
    FRAGMENT_NONE, Protocol, is_extension, read_extensions, read_ipv4, read_ipv6, read_link,
};
use crate::reason::Reason;
use crate::rule::{CATEGORY_NONE, Moment, Step, decide, judge_entry};
use crate::table::{bloom_bits, find_in_bucket, fold, other_bucket, position, tag};
use crate::verdict::Action;
use crate::{flow, tls};

/// TCP flags.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u32 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u32 = 2;
    /// Reset.
    pub const RST: u32 = 4;
    /// Acknowledgement.
    pub const ACK: u32 = 16;
    /// Urgent pointer.
    pub const URG: u32 = 32;
}

/// Everything around the pipeline: the frame, the maps, the clock, and the places where the kernel
/// cuts the text into separately verified functions (the `call_*` methods).
pub trait World: Sized {
    /// The frame.
    type Packet: Packet;

    /// The frame in hand.
    fn packet(&self) -> Self::Packet;
    /// Number of the interface it came from.
    fn ifindex(&self) -> u32;
    /// Milliseconds (of 2^20 nanoseconds: a shift, not a division) of a coarse monotonic clock.
    fn now_ms(&self) -> u32;
    /// Nanoseconds of the monotonic clock.
    fn now_ns(&self) -> u64;
    /// The same value; the kernel's verifier forgets what it knew of it.
    fn forget(&mut self, value: u32) -> u32;

    /// Puts [`Hello::START`] into the facts. The kernel writes word by word: LLVM makes a call of it
    /// otherwise, which the verifier refuses.
    fn start_hello(&mut self) {
        self.facts().hello = Hello::START;
    }

    /// Copies the parser's state of a row of `HELLOS` into the facts.
    fn load_hello(&mut self, row: u32) {
        if let Some(hello) = self.hello(row).map(|slot| slot.hello) {
            self.facts().hello = hello;
        }
    }
    /// Copies the parser's state from the facts into a row of `HELLOS`.
    fn save_hello(&mut self, row: u32) {
        let hello = self.facts().hello;
        if let Some(slot) = self.hello(row) {
            slot.hello = hello;
        }
    }
    /// The parser's state in the facts, and the name of a row of `HELLOS`.
    fn hello_and_name(&mut self, row: u32) -> Option<(&mut Hello, &mut [u8; NAME_BUF])>;

    /// The row of `CONTROL`.
    fn control(&self) -> &Control;
    /// Finds the row of `SCRATCH`; false: there is none. Before it, [`World::facts`] must not be asked for:
    /// the packet of an address that is not enrolled does not pay for it.
    fn open_facts(&mut self) -> bool {
        true
    }
    /// The row of `SCRATCH`.
    fn facts(&mut self) -> &mut Scratch;
    /// A row of `INTERFACES`.
    fn interface(&self, row: u32) -> Option<Interface>;
    /// A word of `VLAN_REALMS`.
    fn vlan_realms(&self, word: u32) -> Option<u64>;
    /// A word of `ORG4_INDEX`.
    fn org4_index(&self, word: u32) -> Option<u64>;
    /// A word of `ORG4_PAGES`.
    fn org4_page(&self, word: u32) -> Option<u64>;
    /// A word of `ORG6_BLOOM`.
    fn org6_bloom(&self, word: u32) -> Option<u64>;
    /// A bucket of `ORG6`.
    fn org6_bucket(&self, bucket: u32) -> Option<&Bucket>;
    /// The longest match of the source address (`facts.source`) in `ORG6_SPLIT`, 0 if there is none.
    fn org6_split(&mut self, realm: u32) -> u32;
    /// A row of `ORGS`.
    fn org(&self, org: u32) -> Option<&Org>;
    /// A row of `POLICIES`.
    fn policy(&self, row: u32) -> Option<&Policy>;
    /// A row of `CLASSES`.
    fn class(&self, row: u32) -> Option<&Class>;
    /// A word of `SUBJECT_BLOOM`.
    fn subject_bloom(&self, word: u32) -> Option<u64>;
    /// A bucket of `SUBJECTS`.
    fn subject_bucket(&self, bucket: u32) -> Option<&Bucket>;
    /// The entry number beside a slot.
    fn subject_entry(&self, bucket: u32, slot: u32) -> u32;
    /// A word of `NET4_BITS`.
    fn net4_bits(&self, word: u32) -> Option<u64>;
    /// The longest match of the destination address in `NET4`.
    fn net4(&mut self) -> Option<NetEntry>;
    /// A word of `NET6_BLOOM`.
    fn net6_bloom(&self, word: u32) -> Option<u64>;
    /// The longest match of the destination address in `NET6`.
    fn net6(&mut self) -> Option<NetEntry>;
    /// A row of `ORG_RATES`.
    fn org_rate(&mut self, org: u32) -> Option<&mut OrgRate>;

    /// Makes `set` of `FLOWS` the one that [`World::flows`] gives. False: there is no such set.
    fn open_flows(&mut self, set: u32) -> bool;
    /// The set of flows opened last.
    fn flows(&mut self) -> &mut FlowSet;
    /// Claims the opened set for this processor; false if that did not succeed soon.
    fn claim_flows(&mut self) -> bool;
    /// Gives the claim back.
    fn release_flows(&mut self);
    /// Replaces the state word of `way` if it still is `old`.
    fn swap_state(&mut self, way: usize, old: u64, new: u64);
    /// A row of `HELLOS`.
    fn hello(&mut self, row: u32) -> Option<&mut HelloSlot>;
    /// Replaces the stamp of a row of `HELLOS` if it still is `old`; true if it was.
    fn swap_stamp(&mut self, row: u32, old: u64, new: u64) -> bool;

    /// [`read_link`] for a frame with tags; fills `l3`, `pppoe_at`, `mpls_at`, `version` and
    /// `spare[0]` (VLAN id) of the facts.
    fn call_link(&mut self) {
        link_into_facts(self);
    }
    /// [`read_extensions`].
    fn call_extensions(&mut self) -> u32 {
        let packet = self.packet();
        read_extensions(packet, self.facts())
    }
    /// [`subject_found`].
    fn call_subject(&mut self, key: u64, dot: u64, left: u32) {
        subject_found(self, key, dot, left);
    }
    /// [`net_found`].
    fn call_net(&mut self) {
        net_found(self);
    }
    /// [`flow::syn`].
    fn call_syn(&mut self) -> u32 {
        flow::syn(self)
    }
    /// [`flow::payload`].
    fn call_payload(&mut self) -> u32 {
        flow::payload(self)
    }
    /// [`tls::glide`] on `facts.hello`.
    fn call_glide(&mut self) -> u32 {
        glide_facts(self)
    }
    /// [`tls::step`] on `facts.hello` and the name of a row of `HELLOS`, until it is not
    /// `progress::GO` or the budget is used up.
    fn call_steps(&mut self, row: u32) -> u32 {
        for _ in 0..crate::limits::STEPS_MAX {
            let outcome = step_facts(self, row);
            if outcome != tls::progress::GO {
                return outcome;
            }
        }
        tls::progress::GO
    }
    /// [`name_in_packet`].
    fn call_name_in_packet(&mut self) {
        name_in_packet(self);
    }
    /// [`name_in_row`].
    fn call_name_in_row(&mut self, row: u32) {
        name_in_row(self, row);
    }
    /// [`hash_payload`].
    fn call_hash(&mut self, from: u32, len: u32) -> u32 {
        hash_payload(self, from, len)
    }
}

/// The result of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Nobody enrolled: untouched.
    Untouched,
    /// A packet of the organisation in `facts.outcome`, with this reason.
    Enrolled(u32),
}

/// Judges the frame in hand. An enrolled packet's facts are in `facts`; count and act on it next
/// (see [`conclude`]).
#[inline(always)]
pub fn judge<W: World>(world: &mut W) -> Judged {
    let Some(org) = identify(world) else {
        return Judged::Untouched;
    };
    let outcome = &mut world.facts().outcome;
    outcome.org = org;
    outcome.name_len = 0;
    outcome.category = CATEGORY_NONE;
    outcome.entry = 0;
    Judged::Enrolled(judge_enrolled(world))
}

/// Whose packet is it: reads no further than the source address. `facts` gets the link's facts.
#[inline(always)]
fn identify<W: World>(world: &mut W) -> Option<u32> {
    let ifindex = world.ifindex();
    let row = interface_row(ifindex, world.control().interface_multiplier);
    let interface = world.interface(row)?;
    if interface.ifindex != ifindex || interface.flags & INTERFACE_ORGANISATIONS == 0 {
        return None;
    }
    let kind = EtherType(world.packet().view::<14>(0)?.be16(12));
    if kind != EtherType::IPV4 && kind != EtherType::IPV6 {
        return identify_tagged(world, row, interface);
    }
    // Nothing is written before the address is known to be enrolled.
    let version = if kind == EtherType::IPV4 { 4 } else { 6 };
    let org = identify_address(world, version, 14, interface.realm)?;
    if !world.open_facts() {
        return None;
    }
    let facts = world.facts();
    facts.l3 = 14;
    facts.version = version;
    facts.pppoe_at = 0;
    facts.mpls_at = 0;
    facts.realm = interface.realm;
    facts.interface = row;
    Some(org)
}

/// As [`identify`], behind tags, labels or PPPoE.
#[inline(always)]
fn identify_tagged<W: World>(world: &mut W, row: u32, interface: Interface) -> Option<u32> {
    if !world.open_facts() {
        return None;
    }
    world.call_link();
    let facts = world.facts();
    let (vlan, l3, version) = (facts.spare[0], facts.l3, facts.version);
    let mut realm = interface.realm;
    if interface.flags & INTERFACE_VLAN_REALMS != 0 && vlan != 0 {
        let word = world.vlan_realms(interface.vlan_base + (vlan >> 2))?;
        realm = (word >> ((vlan & 3) * 16)) as u32 & 0xffff;
        if realm == REALM_NONE {
            return None;
        }
    }
    let l3 = world.forget(l3);
    let org = identify_address(world, version, l3, realm)?;
    let facts = world.facts();
    facts.realm = realm;
    facts.interface = row;
    Some(org)
}

/// The organisation of the source address behind `l3`.
#[inline(always)]
fn identify_address<W: World>(world: &mut W, version: u32, l3: u32, realm: u32) -> Option<u32> {
    let org = if version == 4 {
        identify_ipv4(world, l3, realm)?
    } else if version == 6 {
        identify_ipv6(world, l3, realm)?
    } else {
        0
    };
    if org == 0 { None } else { Some(org) }
}

/// Row of `INTERFACES` of an interface.
#[inline(always)]
#[must_use]
pub fn interface_row(ifindex: u32, multiplier: u32) -> u32 {
    ifindex.wrapping_mul(multiplier) >> (32 - INTERFACES.trailing_zeros())
}

/// [`read_link`] into the facts: see [`World::call_link`].
#[inline(always)]
pub fn link_into_facts<W: World>(world: &mut W) {
    let link = read_link(world.packet());
    let facts = world.facts();
    facts.l3 = link.l3;
    facts.pppoe_at = link.pppoe_at;
    facts.mpls_at = link.mpls_at;
    facts.version = link.version;
    facts.spare[0] = link.vlan;
}

#[inline(always)]
fn identify_ipv4<W: World>(world: &mut W, l3: u32, realm: u32) -> Option<u32> {
    let source = world.packet().view::<20>(l3)?.be32(12);
    let page = index_lane(world.org4_index(index_word(realm, source))?, source);
    if page == 0 {
        return None;
    }
    Some(page_lane(world.org4_page(page_word(page, source))?, source))
}

#[inline(always)]
fn identify_ipv6<W: World>(world: &mut W, l3: u32, realm: u32) -> Option<u32> {
    let header = world.packet().view::<40>(l3)?;
    let control = world.control();
    let (seed, bloom_len, bucket_len) = (
        control.seed,
        control.org6_bloom_len,
        control.org6_bucket_len,
    );
    let high = header.be64(8);
    let key = org6_key(seed, realm, high);
    let bits = bloom_bits(key);
    if world.org6_bloom(position(key, bloom_len))? & bits != bits {
        return None;
    }
    let tag = org6_tag(realm, high);
    let first = position(key, bucket_len);
    let (mut org, _) = find_in_bucket(world.org6_bucket(first)?, tag);
    if org == 0 {
        let second = other_bucket(first, tag, bucket_len);
        org = find_in_bucket(world.org6_bucket(second)?, tag).0;
    }
    if org != ORG6_SPLIT_MARK {
        return Some(org);
    }
    if !world.open_facts() {
        return None;
    }
    let facts = world.facts();
    facts.source = [
        header.be32(8),
        header.be32(12),
        header.be32(16),
        header.be32(20),
    ];
    Some(world.org6_split(realm))
}

#[inline(always)]
fn judge_enrolled<W: World>(world: &mut W) -> u32 {
    if world.control().flags & CONTROL_PASS_ALL != 0 {
        return Reason::PassAll.number();
    }
    let facts = world.facts();
    facts.policy = POLICY_UNKNOWN;
    let (l3, version) = (facts.l3, facts.version);
    let l3 = world.forget(l3);
    let network = if version == 4 {
        ipv4(world, l3)
    } else {
        ipv6(world, l3)
    };
    let Some(fragment) = network else {
        return Reason::RefuseMalformed.number();
    };
    // Only an entry that matched has made the policy known.
    if world.facts().policy != POLICY_UNKNOWN {
        let reason = decide_into_outcome(world, Moment::Address);
        if reason != 0 {
            return address_decided(world, fragment, reason);
        }
    }
    transport(world, fragment)
}

/// `Scratch::policy` while nothing has asked for it: most packets need no policy.
const POLICY_UNKNOWN: u32 = u32::MAX;

/// Puts the organisation's policy and bypass into the facts, and clears the deciding entry, once a
/// packet.
#[inline(always)]
pub fn need_policy<W: World>(world: &mut W) {
    let facts = world.facts();
    if facts.policy != POLICY_UNKNOWN {
        return;
    }
    let org = facts.outcome.org;
    let Some(row) = world.org(org) else { return };
    let (policy, until) = (row.policy, row.bypass_until_ns);
    let bypass = until != 0 && world.now_ns() < until;
    let facts = world.facts();
    facts.policy = policy;
    facts.bypass = bypass as u32;
    facts.best.clear();
}

/// The address decided before the transport header was read: a reset needs its facts.
#[inline(always)]
fn address_decided<W: World>(world: &mut W, fragment: u32, reason: u32) -> u32 {
    let tcp = world.facts().protocol == Protocol::TCP.0 && fragment == FRAGMENT_NONE;
    if !tcp || !segment_facts(world) {
        // Nobody answers a reset: the action is to drop.
        world.facts().tcp_flags = tcp::RST;
    }
    reason
}

/// Reads the IPv4 header, looks its destination up; `facts` gets addresses, protocol, `l4` and, in
/// `spare[1]`, the packet's end. Gives the fragment kind.
#[inline(always)]
fn ipv4<W: World>(world: &mut W, l3: u32) -> Option<u32> {
    let packet = world.packet();
    let header = packet.view::<20>(l3)?;
    let network = read_ipv4(header, l3, packet.len())?;
    let (source, destination) = (header.be32(12), header.be32(16));
    let facts = world.facts();
    facts.source[3] = source;
    facts.destination[3] = destination;
    facts.protocol = network.protocol.0;
    facts.l4 = network.l4;
    facts.spare[1] = network.end;
    let control = world.control();
    let (seed, net4_used) = (control.seed, control.net4_used);
    // From short to long subjects: the prefix first, then the host.
    if net4_used != 0 {
        let bits = world.net4_bits(destination >> 14)?;
        if bits >> (destination >> 8 & 63) & 1 != 0 {
            need_policy(world);
            world.call_net();
        }
    }
    probe_address(world, ipv4_key(seed, destination));
    Some(network.fragment)
}

/// As [`ipv4`], for IPv6 with its extension headers.
#[inline(always)]
fn ipv6<W: World>(world: &mut W, l3: u32) -> Option<u32> {
    let packet = world.packet();
    let header = packet.view::<40>(l3)?;
    let network = read_ipv6(header, l3, packet.len())?;
    let (high, low) = (header.be64(24), header.be64(32));
    let facts = world.facts();
    facts.source = [
        header.be32(8),
        header.be32(12),
        header.be32(16),
        header.be32(20),
    ];
    facts.destination = [
        header.be32(24),
        header.be32(28),
        header.be32(32),
        header.be32(36),
    ];
    facts.protocol = network.protocol.0;
    facts.l4 = network.l4;
    facts.spare[1] = network.end;
    let control = world.control();
    let (seed, net6_len) = (control.seed, control.net6_bloom_len);
    if net6_len != 0 {
        let key = net6_key(seed, high);
        let bits = bloom_bits(key);
        if world.net6_bloom(position(key, net6_len))? & bits == bits {
            need_policy(world);
            world.call_net();
        }
    }
    probe_address(world, ipv6_key(seed, high, low));
    if !is_extension(network.protocol) {
        return Some(FRAGMENT_NONE);
    }
    match world.call_extensions() {
        EXTENSIONS_BROKEN => None,
        EXTENSIONS_TOO_MANY => Some(TOO_MANY),
        _ => Some(world.facts().spare[2]),
    }
}

/// In place of a fragment kind: more extension headers than are read.
const TOO_MANY: u32 = 3;

/// A key's Bloom bits; where they are set, the table. `dot` and `left` tell a name's suffix (see
/// [`subject_found`]), both 0 tell an address.
#[inline(always)]
fn probe<W: World>(world: &mut W, key: u64, dot: u64, left: u32) {
    if in_bloom(world, key) {
        world.call_subject(key, dot, left);
    }
}

/// [`probe`] for a destination address.
#[inline(always)]
fn probe_address<W: World>(world: &mut W, key: u64) {
    if in_bloom(world, key) {
        need_policy(world);
        world.call_subject(key, 0, 0);
    }
}

/// Whether the Bloom filter of names and addresses may hold a key.
#[inline(always)]
fn in_bloom<W: World>(world: &W, key: u64) -> bool {
    let control = world.control();
    let word = control
        .bloom_base
        .wrapping_add(position(key, control.bloom_len));
    let bits = bloom_bits(key);
    world
        .subject_bloom(word)
        .is_some_and(|word| word & bits == bits)
}

/// Looks a key up in the table behind the Bloom filter and takes the entry into account. `dot` is the
/// mark of the suffix's leading dot in its word and `left` the bytes of the name up to that word's
/// end, with [`WHOLE_NAME`] added where the dot stands in front of the whole name.
#[inline(always)]
pub fn subject_found<W: World>(world: &mut W, key: u64, dot: u64, left: u32) {
    let bucket_len = world.control().bucket_len;
    let tag = tag(key);
    let mut bucket = position(key, bucket_len);
    let mut found = match world.subject_bucket(bucket) {
        Some(slots) => find_in_bucket(slots, tag),
        None => (0, 0),
    };
    if found.0 == 0 {
        bucket = other_bucket(bucket, tag, bucket_len);
        if let Some(slots) = world.subject_bucket(bucket) {
            found = find_in_bucket(slots, tag);
        }
    }
    if found.0 == 0 {
        return;
    }
    let entry = world.subject_entry(bucket, found.1);
    let whole = left & WHOLE_NAME != 0;
    let len = if dot == 0 {
        0
    } else {
        let right = world.facts().name_len.wrapping_sub(left & !WHOLE_NAME);
        right.wrapping_add(8 - (dot.trailing_zeros() >> 3))
    };
    consider_class(world, found.0, entry, len, dot == 0 || whole);
}

/// Added to `left` of [`subject_found`]: the suffix is the whole name.
pub const WHOLE_NAME: u32 = 1 << 16;

/// Takes the destination's longest matching prefix entry into account.
#[inline(always)]
pub fn net_found<W: World>(world: &mut W) {
    let found = if world.facts().version == 4 {
        world.net4()
    } else {
        world.net6()
    };
    if let Some(NetEntry { class, entry }) = found {
        consider_class(world, class, entry, 0, true);
    }
}

#[inline(always)]
fn consider_class<W: World>(world: &mut W, class: u32, entry: u32, len: u32, exact: bool) {
    let policy = world.facts().policy;
    let (Some(class), Some(policy)) = (world.class(class), world.policy(policy)) else {
        return;
    };
    let suffix = judge_entry(&class.suffix, policy);
    if exact {
        let exact = judge_entry(&class.exact, policy);
        world.facts().best.consider(exact, entry, len);
    }
    world.facts().best.consider(suffix, entry, len);
}

/// Asks for the decision; the outcome gets its category and entry. 0: nothing decides yet.
#[inline(always)]
pub fn decide_into_outcome<W: World>(world: &mut W, moment: Moment) -> u32 {
    let facts = world.facts();
    let (best, row, bypass) = (facts.best, facts.policy, facts.bypass != 0);
    let Some(policy) = world.policy(row) else {
        return Reason::RefuseInternal.number();
    };
    let decision = decide(&best, policy, bypass, moment);
    let outcome = &mut world.facts().outcome;
    match decision.reason {
        Some(reason) => {
            outcome.category = decision.category;
            outcome.entry = decision.entry;
            reason.number()
        }
        None => 0,
    }
}

/// A decision where no name will come, `otherwise` if nothing forbids it.
#[inline(always)]
pub fn nameless<W: World>(world: &mut W, otherwise: Reason) -> u32 {
    need_policy(world);
    let facts = world.facts();
    let row = facts.policy;
    let quiet = facts.best.step == Step::Pass as u32 && facts.bypass == 0;
    if quiet && !allow_only(world, row) {
        return otherwise.number();
    }
    match decide_into_outcome(world, Moment::Nameless) {
        0 => otherwise.number(),
        reason => reason,
    }
}

#[inline(always)]
fn allow_only<W: World>(world: &W, policy: u32) -> bool {
    world
        .policy(policy)
        .is_some_and(|policy| policy.flags & POLICY_ALLOW_ONLY != 0)
}

/// From the transport header on.
#[inline(always)]
fn transport<W: World>(world: &mut W, fragment: u32) -> u32 {
    let protocol = Protocol(world.facts().protocol);
    if fragment == TOO_MANY {
        return Reason::RefuseHeaders.number();
    }
    if protocol == Protocol::TCP {
        if fragment != FRAGMENT_NONE {
            return Reason::RefuseFragment.number();
        }
        return segment(world);
    }
    if fragment == FRAGMENT_LATER {
        // Behind a later fragment's header may stand options and TCP: told by no byte of this packet.
        return if is_extension(protocol) {
            Reason::RefuseFragment.number()
        } else if protocol == Protocol::UDP {
            Reason::PassUdpFragment.number()
        } else {
            nameless(world, Reason::PassOtherProtocol)
        };
    }
    if protocol == Protocol::UDP {
        return datagram(world, fragment);
    }
    if protocol == Protocol::ICMP || protocol == Protocol::ICMPV6 {
        return Reason::PassOtherProtocol.number();
    }
    nameless(world, Reason::PassOtherProtocol)
}

#[inline(always)]
fn datagram<W: World>(world: &mut W, fragment: u32) -> u32 {
    let l4 = world.facts().l4;
    let l4 = world.forget(l4);
    let Some(header) = world.packet().view::<8>(l4) else {
        return Reason::RefuseMalformed.number();
    };
    if l4 + 8 > world.facts().spare[1] {
        return Reason::RefuseMalformed.number();
    }
    let port = header.be16(2);
    if fragment == FRAGMENT_FIRST && (port == 53 || port == 443) {
        return Reason::RefuseFragment.number();
    }
    nameless(world, Reason::PassUdp)
}

/// What a TCP header says (RFC 9293 section 3.1), once it is sound.
#[derive(Clone, Copy)]
struct Segment {
    payload: u32,
    payload_len: u32,
    flags: u32,
}

/// Checks the TCP header; `None`: its lengths do not agree with the packet's.
#[inline(always)]
fn read_segment<V: View>(header: V, l4: u32, end: u32) -> Option<Segment> {
    let payload = l4 + (header.u8(12) >> 4) * 4;
    if header.u8(12) < 0x50 || payload > end {
        return None;
    }
    Some(Segment {
        payload,
        payload_len: end - payload,
        flags: header.u8(13),
    })
}

#[inline(always)]
fn segment_into_facts<V: View>(facts: &mut Scratch, segment: Segment, header: V) {
    facts.payload = segment.payload;
    facts.payload_len = segment.payload_len;
    facts.tcp_flags = segment.flags;
    facts.seq = header.be32(4);
    facts.ack = header.be32(8);
    facts.ports = header.be32(0);
}

/// Reads the TCP header of a packet that its address has decided; false: it is broken.
#[inline(always)]
fn segment_facts<W: World>(world: &mut W) -> bool {
    let facts = world.facts();
    let (l4, end) = (facts.l4, facts.spare[1]);
    let l4 = world.forget(l4);
    let Some(header) = world.packet().view::<20>(l4) else {
        return false;
    };
    let Some(segment) = read_segment(header, l4, end) else {
        return false;
    };
    segment_into_facts(world.facts(), segment, header);
    true
}

/// A TCP segment: SYN, without payload, of a judged flow, or one to be judged.
#[inline(always)]
fn segment<W: World>(world: &mut W) -> u32 {
    let facts = world.facts();
    let (l4, end) = (facts.l4, facts.spare[1]);
    let l4 = world.forget(l4);
    let Some(header) = world.packet().view::<20>(l4) else {
        return Reason::RefuseMalformed.number();
    };
    let Some(segment) = read_segment(header, l4, end) else {
        return Reason::RefuseMalformed.number();
    };
    if segment.payload_len == 0 && segment.flags & tcp::SYN == 0 {
        return Reason::PassNoPayload.number();
    }
    segment_into_facts(world.facts(), segment, header);
    if segment.flags & tcp::SYN == 0 {
        return data(world);
    }
    if segment.payload_len != 0 {
        return Reason::RefuseSynData.number();
    }
    world.call_syn()
}

/// A segment with payload: the straight path of a judged flow, else [`flow::payload`].
#[inline(always)]
fn data<W: World>(world: &mut W) -> u32 {
    let facts = world.facts();
    let (payload, seq) = (facts.payload, facts.seq);
    let payload = world.forget(payload);
    let Some(first) = world.packet().view::<1>(payload) else {
        return Reason::RefuseMalformed.number();
    };
    let first = first.u8(0);
    let set = flow::key_into_facts(world);
    let facts = world.facts();
    facts.spare[0] = set;
    let key = facts.key;
    if !world.open_flows(set) {
        return Reason::RefuseInternal.number();
    }
    let record = tls::starts_record(first);
    match flow::find(world.flows(), key) {
        Some(way) => {
            let (state, next) = flow::read(world.flows(), way);
            let behind = seq.wrapping_sub(next) < 1 << 31;
            if record || flow::stage(state) != flow::STAGE_DONE || !behind {
                return world.call_payload();
            }
            if state & flow::LATER == 0 {
                world.swap_state(way, state, state | flow::LATER);
            }
            Reason::PassData.number()
        }
        None if record => world.call_payload(),
        None => nameless(world, Reason::PassNoFlow),
    }
}

/// [`tls::glide`] on `facts.hello`.
#[inline(always)]
pub fn glide_facts<W: World>(world: &mut W) -> u32 {
    let packet = world.packet();
    let facts = world.facts();
    let (payload, len) = (facts.payload, facts.payload_len);
    tls::glide(&mut facts.hello, packet, payload, len)
}

/// One [`tls::step`] on `facts.hello` with the name of a row of `HELLOS`.
#[inline(always)]
pub fn step_facts<W: World>(world: &mut W, row: u32) -> u32 {
    let packet = world.packet();
    let facts = world.facts();
    let (payload, len) = (facts.payload, facts.payload_len);
    let Some((hello, name)) = world.hello_and_name(row) else {
        return tls::progress::NOT_TLS;
    };
    tls::step(hello, name, packet, payload, len)
}

/// Looks up the name at `facts.name_at`, `facts.name_len` bytes long, in the frame.
#[inline(always)]
pub fn name_in_packet<W: World>(world: &mut W) {
    walk(world, |world, left| {
        let at = world.facts().name_at.wrapping_add(left).wrapping_sub(8);
        Some(world.packet().view::<8>(at)?.le64(0))
    });
}

/// Looks up the name of `facts.name_len` bytes in a row of `HELLOS`.
#[inline(always)]
pub fn name_in_row<W: World>(world: &mut W, row: u32) {
    walk(world, |world, left| {
        let from = (left & 0xff) as usize + NAME_PAD - 8;
        let bytes = world
            .hello(row)?
            .name
            .get(from..from + 8)?
            .first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes))
    });
}

/// Walks a name from its right end in words of eight bytes; `read` gives the word that ends at the
/// name's first `left` bytes. What is left stands in map memory, or the verifier multiplies states.
#[inline(always)]
fn walk<W: World>(world: &mut W, read: impl Fn(&mut W, u32) -> Option<u64>) {
    let mut state = name_start(world.control().seed);
    let name_len = world.facts().name_len;
    let name_len = world.forget(name_len);
    // A trailing dot is the root's label: stock servers take the name without it for the same host.
    let Some(last) = read(world, name_len) else {
        return;
    };
    let name_len = name_len.wrapping_sub((last >> 56 == b'.' as u64) as u32);
    world.facts().name_len = name_len;
    world.facts().name_left = name_len;
    for _ in 0..NAME_WORDS_MAX {
        let left = world.facts().name_left;
        let left = world.forget(left);
        if left < 8 {
            break;
        }
        let Some(word) = read(world, left) else {
            return;
        };
        let word = lower_word(word);
        let dots = dots_of_word(word);
        probe_dots(world, state, word, dots, left);
        state = fold(state, word);
        world.facts().name_left = left - 8;
    }
    let left = world.facts().name_left;
    let left = world.forget(left) & 7;
    let Some(word) = read(world, left) else {
        return;
    };
    probe_last(world, state, lower_word(word), left);
}

/// The name's first word: bytes in front of the name are cleared, a dot is set in front of it.
#[inline(always)]
fn probe_last<W: World>(world: &mut W, state: u64, word: u64, left: u32) {
    let front = (7 - left) * 8;
    let word = (((word >> front) | 0xff) ^ (0xff ^ b'.' as u64)) << front;
    let whole = 0x80 << front;
    probe_one(world, state, word, whole, left | WHOLE_NAME);
    probe_dots(world, state, word, dots_of_word(word) & !whole, left);
}

#[inline(always)]
fn probe_dots<W: World>(world: &mut W, state: u64, word: u64, mut dots: u64, left: u32) {
    for _ in 0..8 {
        if dots == 0 {
            break;
        }
        let dot = dots & dots.wrapping_neg();
        dots ^= dot;
        probe_one(world, state, word, dot, left);
    }
}

#[inline(always)]
fn probe_one<W: World>(world: &mut W, state: u64, word: u64, dot: u64, left: u32) {
    probe(world, suffix_key(state, word, dot), dot, left);
}

/// A keyed hash of `len` bytes of payload from `from` on, folded to 32 bits. Bytes behind the frame's
/// end do not come in: the caller has checked the lengths.
#[inline(always)]
pub fn hash_payload<W: World>(world: &mut W, from: u32, len: u32) -> u32 {
    let packet = world.packet();
    let seed = world.control().seed;
    let base = world.facts().payload + from;
    let mut lanes = [seed, !seed, seed.rotate_left(17), len as u64];
    let mut at = 0;
    for _ in 0..crate::limits::SEGMENT_BYTES_MAX / 64 {
        if at + 64 > len {
            break;
        }
        let Some(view) = packet.view::<64>(base + at) else {
            break;
        };
        for half in [0, 32] {
            lanes[0] = fold(lanes[0], view.le64(half));
            lanes[1] = fold(lanes[1], view.le64(half + 8));
            lanes[2] = fold(lanes[2], view.le64(half + 16));
            lanes[3] = fold(lanes[3], view.le64(half + 24));
        }
        at += 64;
    }
    at = world.forget(at);
    for _ in 0..7 {
        if at + 8 > len {
            break;
        }
        let Some(view) = packet.view::<8>(base + at) else {
            break;
        };
        lanes[1] = fold(lanes[1], view.le64(0));
        at += 8;
    }
    at = world.forget(at);
    for _ in 0..7 {
        if at >= len {
            break;
        }
        let Some(view) = packet.view::<1>(base + at) else {
            break;
        };
        lanes[0] = fold(lanes[0], view.u8(0) as u64);
        at += 1;
    }
    let half = fold(fold(lanes[0], lanes[1]), lanes[2]);
    (crate::table::finish(half, lanes[3]) >> 32) as u32
}

/// How a reason is carried out, and the reason that is counted: behind MPLS without a return label no
/// reset can leave. The outcome gets both.
#[inline(always)]
pub fn conclude<W: World>(world: &mut W, reason: u32) -> u32 {
    let action = action_of(world, reason);
    let mut reason = reason;
    let mut action = action as u32;
    if action == Action::Reset as u32 && world.facts().mpls_at != 0 {
        let row = world.facts().interface;
        let reply = world
            .interface(row)
            .map_or(0, |interface| interface.mpls_reply);
        if reply == crate::abi::MPLS_REPLY_NONE {
            reason = Reason::BlockMplsNoReturn.number();
            action = Action::Drop as u32;
        }
    }
    let outcome = &mut world.facts().outcome;
    outcome.reason = reason;
    outcome.action = action;
    reason
}

#[inline(always)]
fn action_of<W: World>(world: &mut W, reason: u32) -> Action {
    if reason < FIRST_BLOCK {
        return Action::Pass;
    }
    let facts = world.facts();
    let tcp = facts.protocol == Protocol::TCP.0 && facts.tcp_flags & tcp::RST == 0;
    if reason == Reason::RefuseStateLost.number() || reason == Reason::RefuseStarved.number() {
        return Action::Reset;
    }
    if reason > LAST_BLOCK || !tcp {
        return Action::Drop;
    }
    need_policy(world);
    let row = world.facts().policy;
    Action::from_number(world.policy(row).map_or(1, |policy| policy.action))
}

const FIRST_BLOCK: u32 = 20;
const LAST_BLOCK: u32 = 31;

/// Whether flows are being handed to a new program.
#[inline(always)]
pub fn draining<W: World>(world: &W) -> bool {
    world.control().flags & CONTROL_DRAIN != 0
}

impl Outcome {
    /// Nothing has happened.
    pub const NONE: Outcome = Outcome {
        reason: 0,
        action: 0,
        category: CATEGORY_NONE,
        entry: 0,
        org: 0,
        name_at: 0,
        name_len: 0,
        name_row: 0,
    };
}
