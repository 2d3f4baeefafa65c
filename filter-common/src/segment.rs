//! The transport header: what needs no flow is decided here, the rest goes to `flow`.

use crate::abi::{CONTROL_DRAIN, Scratch, drain_holds};
use crate::bytes::{Packet, View};
use crate::judge::REQUESTS_NEXT;
use crate::limits::SEGMENT_BYTES_MAX;
use crate::lookup::nameless;
use crate::packet::{FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Protocol, is_extension};
use crate::reason::Reason;
use crate::table::{finish, fold};
use crate::walk::name_in_packet;
use crate::world::World;
use crate::{dns, encrypted, flow, http, quic, request, tls};

/// TCP flags.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u32 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u32 = 2;
    /// Reset.
    pub const RST: u32 = 4;
    /// Push.
    pub const PSH: u32 = 8;
    /// Acknowledgement.
    pub const ACK: u32 = 16;
    /// Urgent pointer.
    pub const URG: u32 = 32;
}

/// In place of a fragment kind: more extension headers than are read.
pub(crate) const TOO_MANY: u32 = 3;

/// From the transport header on.
#[inline(always)]
pub(crate) fn transport<W: World>(world: &mut W, fragment: u32) -> u32 {
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
    if fragment == FRAGMENT_FIRST && (port == dns::PORT || port == 443) {
        return Reason::RefuseFragment.number();
    }
    let facts = world.facts();
    facts.question_end = 0;
    facts.quic = 0;
    if port != dns::PORT {
        let stopped = encrypted::stopped(world, port);
        if stopped != 0 {
            if fragment == FRAGMENT_NONE {
                world.call_mark_answerable();
            }
            return stopped;
        }
        return other_datagram(world, l4, fragment);
    }
    let (ports, len) = (header.be32(0), header.be16(4));
    let facts = world.facts();
    if len < 8 || l4 + len > facts.spare[1] {
        return Reason::RefuseMalformed.number();
    }
    facts.ports = ports;
    facts.payload = l4 + 8;
    facts.payload_len = len - 8;
    world.call_query()
}

/// A datagram to another port than that of DNS: QUIC is told by one of its first two bits.
#[inline(always)]
fn other_datagram<W: World>(world: &mut W, l4: u32, fragment: u32) -> u32 {
    let end = world.facts().spare[1];
    if fragment == FRAGMENT_FIRST && l4 + 16 > end {
        // Cut behind its header, as no sender does (RFC 791 section 3.2: 68 bytes pass everywhere).
        return Reason::RefuseFragment.number();
    }
    let first = world
        .packet()
        .view::<1>(l4 + 8)
        .map_or(0, |view| view.u8(0));
    if first & (quic::LONG | quic::FIXED) != 0 && l4 + 8 < end {
        return world.call_quic(fragment);
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
pub(crate) fn segment_facts<W: World>(world: &mut W) -> bool {
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
    let Some(header) = world.packet().view::<20>(l4) else {
        return Reason::RefuseMalformed.number();
    };
    let Some(segment) = read_segment(header, l4, end) else {
        return Reason::RefuseMalformed.number();
    };
    if segment.payload_len == 0 && segment.flags & tcp::SYN == 0 {
        if !request::without_payload(world, header.be32(0)) {
            return Reason::PassNoPayload.number();
        }
        segment_into_facts(world.facts(), segment, header);
        return world.call_ended();
    }
    segment_into_facts(world.facts(), segment, header);
    if segment.flags & tcp::SYN == 0 {
        return data(world);
    }
    if segment.payload_len != 0 {
        return Reason::RefuseSynData.number();
    }
    let port = world.facts().ports & 0xffff;
    let stopped = encrypted::stopped(world, port);
    if stopped != 0 {
        return stopped;
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
    let (key, tag) = (facts.key, facts.spare[2] as u64);
    let record = tls::starts_record(first);
    let dns = world.facts().ports & 0xffff == dns::PORT;
    let method = http::starts_method(first) || dns;
    // Four tags in one word tell most flows without an entry, at an eighth of the memory of the keys.
    if !record && !method && !flow::has_tag(world.flow_tags(set), tag) {
        return nameless(world, Reason::PassNoFlow);
    }
    if !world.open_flows(set) {
        return Reason::RefuseInternal.number();
    }
    match flow::find(world.flows(), key) {
        Some(way) => {
            let (state, next) = flow::read(world.flows(), way);
            let behind = seq.wrapping_sub(next) < 1 << 31;
            let request = method && state & flow::REQUESTS != 0;
            if record || request || flow::stage(state) != flow::STAGE_DONE || !behind {
                return judge_payload(world);
            }
            if state & flow::LATER == 0 {
                world.swap_state(way, state, state | flow::LATER);
            }
            Reason::PassData.number()
        }
        None if record || method => judge_payload(world),
        None => nameless(world, Reason::PassNoFlow),
    }
}

/// A segment with payload that is to be judged.
#[inline(always)]
fn judge_payload<W: World>(world: &mut W) -> u32 {
    let reason = world.call_payload();
    if reason == REQUESTS_NEXT {
        return world.call_parse_requests();
    }
    reason
}

/// [`tls::glide`] on `facts.hello`. A name that lies whole in the segment is looked up at once: its place
/// is in the facts then, and the parser stands behind it.
#[inline(always)]
pub fn glide_facts<W: World>(world: &mut W) -> u32 {
    let packet = world.packet();
    let facts = world.facts();
    let (payload, len) = (facts.payload, facts.payload_len);
    let outcome = tls::glide(&mut facts.hello, packet, payload, len);
    let outcome = world.forget(outcome);
    if outcome == tls::progress::NAME {
        let facts = world.facts();
        facts.name_at = facts.payload + facts.hello.offset;
        facts.name_len = facts.hello.name_len as u32;
        facts.hello.offset += facts.name_len;
        name_in_packet(world);
    }
    outcome
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

/// Bytes that the hash takes at once.
const BLOCK: u32 = 64;

/// A keyed hash of `len` bytes of payload from `from` on, folded to 32 bits. Bytes behind the frame's
/// end do not come in: the caller has checked the lengths. What is left behind the last whole block, or
/// word, is taken in by a last one that ends with it, and so with bytes that were taken before.
#[inline(always)]
pub fn hash_payload<W: World>(world: &mut W, from: u32, len: u32) -> u32 {
    let packet = world.packet();
    let seed = world.control().seed;
    let base = world.facts().payload + from;
    let mut lanes = [seed, !seed, seed.rotate_left(17), len as u64];
    let mut at = 0;
    if len >= BLOCK {
        for _ in 0..SEGMENT_BYTES_MAX / BLOCK {
            if at + BLOCK > len || !take_block(packet, base + at, &mut lanes) {
                break;
            }
            at += BLOCK;
        }
        at = world.forget(at);
        if at < len {
            take_block(packet, base + len.wrapping_sub(BLOCK), &mut lanes);
        }
    } else {
        for _ in 0..BLOCK / 8 - 1 {
            if at + 8 > len || !take_word(packet, base + at, &mut lanes) {
                break;
            }
            at += 8;
        }
        at = world.forget(at);
        if at < len && len >= 8 {
            take_word(packet, base + len.wrapping_sub(8), &mut lanes);
        } else {
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
        }
    }
    let half = fold(fold(lanes[0], lanes[1]), lanes[2]);
    (finish(half, lanes[3]) >> 32) as u32
}

/// Takes [`BLOCK`] bytes into a hash; false: they are not there.
#[inline(always)]
fn take_block<P: Packet>(packet: P, at: u32, lanes: &mut [u64; 4]) -> bool {
    let Some(view) = packet.view::<{ BLOCK as usize }>(at) else {
        return false;
    };
    for half in [0, 32] {
        lanes[0] = fold(lanes[0], view.le64(half));
        lanes[1] = fold(lanes[1], view.le64(half + 8));
        lanes[2] = fold(lanes[2], view.le64(half + 16));
        lanes[3] = fold(lanes[3], view.le64(half + 24));
    }
    true
}

/// Takes eight bytes into a hash; false: they are not there.
#[inline(always)]
fn take_word<P: Packet>(packet: P, at: u32, lanes: &mut [u64; 4]) -> bool {
    let Some(view) = packet.view::<8>(at) else {
        return false;
    };
    lanes[1] = fold(lanes[1], view.le64(0));
    true
}

/// Whether flows are being handed to a new program.
#[inline(always)]
pub fn draining<W: World>(world: &W) -> bool {
    let flags = world.control().flags;
    // The clock is asked in a hand-over only.
    flags & CONTROL_DRAIN != 0 && drain_holds(flags, world.now_ns())
}
