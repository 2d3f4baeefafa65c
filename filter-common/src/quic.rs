//! QUIC (RFC 9000, RFC 9369): which datagrams are a client's first packets, what becomes of them, and
//! the Version Negotiation packet that turns a client to TCP.
//!
//! The name in an Initial packet is encrypted, by keys that everybody can derive, but not this program.
//! What it can do without the name is to answer the Initial: a browser that learns that the server
//! speaks another version only opens TCP at once, where its name is judged. The answer needs no state:
//! a client that ignores it sends its Initial again, and meets the same answer. A server that never saw
//! an Initial has no connection that later packets could belong to.

use crate::abi::{POLICY_QUIC_ALLOW, POLICY_QUIC_INSPECT, Scratch};
use crate::bytes::{Packet, View};
use crate::dns::put32;
use crate::limits::{QUIC_CID_MAX, QUIC_COPY_AT, QUIC_INITIAL_MIN, QUIC_PACKETS_MAX};
use crate::lookup::{decide_into_outcome, nameless, need_policy};
use crate::packet::FRAGMENT_NONE;
use crate::quic_flow::inspect;
use crate::reason::Reason;
use crate::rule::{Moment, Step};
use crate::world::World;

/// Port of HTTP/3.
pub const PORT: u32 = 443;
/// Long header form (RFC 8999 section 5.1).
pub const LONG: u32 = 0x80;
/// The fixed bit (RFC 9000 section 17.2), which tells QUIC from RTP (RFC 9443 section 3).
pub const FIXED: u32 = 0x40;
/// QUIC version 1 (RFC 9000 section 15).
pub const VERSION_1: u32 = 1;
/// QUIC version 2 (RFC 9369 section 3.1).
pub const VERSION_2: u32 = 0x6b33_43cf;
/// Versions that no server has (RFC 9000 section 15), but for the upper halves of their bytes.
const RESERVED: u32 = 0x0a0a_0a0a;
/// Bytes in front of the first connection id: flags, version, and its length.
const HEAD: u32 = 6;
/// Longest header up to the end of the second connection id.
pub const IDS_END_MAX: u32 = HEAD + 1 + 2 * QUIC_CID_MAX;

/// What a datagram is, by its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// No QUIC.
    Other = 0,
    /// An Initial packet of version 1 or 2, in a datagram as long as a server demands.
    Initial = 1,
    /// A 0-RTT or Handshake packet of version 1 or 2.
    Later = 2,
    /// A client's first packet of a version that is not read.
    Unknown = 3,
    /// A packet that no server takes: an Initial of version 1 or 2 in a short datagram, a Retry from a
    /// client; or connection ids longer than any version has.
    Unsound = 4,
    /// A short header, or what looks like one: QUIC behind the handshake.
    Short = 5,
}

/// Packet type bits of an Initial, 0-RTT and Handshake packet of this version (RFC 9000 section 17.2,
/// RFC 9369 section 3.2).
#[inline(always)]
const fn kind_of_type(version: u32, bits: u32) -> Kind {
    let bits = if version == VERSION_2 {
        bits.wrapping_sub(1) & 3
    } else {
        bits
    };
    match bits {
        0 => Kind::Initial,
        1 | 2 => Kind::Later,
        _ => Kind::Unsound,
    }
}

/// Puts where the datagram's payload lies, how long it is and its ports into the facts; false: lengths do
/// not agree.
#[inline(always)]
fn datagram_into_facts<W: World>(world: &mut W) -> bool {
    let facts = world.facts();
    let (l4, end) = (facts.l4, facts.spare[1]);
    let l4 = world.forget(l4);
    let Some(header) = world.packet().view::<8>(l4) else {
        return false;
    };
    let (ports, len) = (header.be32(0), header.be16(4));
    if len < 8 || l4 + len > end {
        return false;
    }
    let facts = world.facts();
    facts.ports = ports;
    facts.payload = l4 + 8;
    facts.payload_len = len - 8;
    true
}

/// What the datagram in the facts is.
#[inline(always)]
fn kind<W: World>(world: &mut W) -> Kind {
    let facts = world.facts();
    let (payload, len, port) = (facts.payload, facts.payload_len, facts.ports & 0xffff);
    let payload = world.forget(payload);
    let packet = world.packet();
    let Some(head) = packet.view::<{ HEAD as usize }>(payload) else {
        return Kind::Other;
    };
    let (flags, version, first_len) = (head.u8(0), head.be32(1), head.u8(5));
    if len < HEAD {
        return Kind::Other;
    }
    if flags & LONG == 0 {
        return if flags & FIXED != 0 {
            Kind::Short
        } else {
            Kind::Other
        };
    }
    if version == 0 {
        return Kind::Other;
    }
    let long_enough = len >= QUIC_INITIAL_MIN;
    let known = version == VERSION_1 || version == VERSION_2;
    // Any protocol may have such bytes: what is no HTTP/3 by its port and length is left alone.
    if !known && (flags & FIXED == 0 || !long_enough || port != PORT) {
        return Kind::Other;
    }
    let second = packet.view::<1>(payload + HEAD + first_len);
    let second_len = second.map_or(u32::MAX, |view| view.u8(0));
    if first_len > QUIC_CID_MAX || second_len > QUIC_CID_MAX {
        return Kind::Unsound;
    }
    if !known {
        return Kind::Unknown;
    }
    let kind = kind_of_type(version, flags >> 4 & 3);
    if kind as u32 == Kind::Initial as u32 && !long_enough {
        // RFC 9000 section 14.1: a server discards it.
        return Kind::Unsound;
    }
    kind
}

/// Judges a UDP datagram to another port than that of DNS whose payload starts like QUIC.
/// `fragment` is what it is a part of.
#[inline(always)]
pub fn datagram<W: World>(world: &mut W, fragment: u32) -> u32 {
    if fragment != FRAGMENT_NONE {
        return first_fragment(world);
    }
    if !datagram_into_facts(world) {
        return Reason::RefuseMalformed.number();
    }
    let kind = kind(world) as u32;
    let kind = world.forget(kind);
    if kind == Kind::Other as u32 {
        return nameless(world, Reason::PassUdp);
    }
    if kind == Kind::Initial as u32 || kind == Kind::Unknown as u32 {
        world.facts().quic = 1;
    }
    need_policy(world);
    let facts = world.facts();
    let (row, step) = (facts.policy, facts.best.step);
    if step == Step::Infrastructure as u32 {
        return decide_into_outcome(world, Moment::Nameless);
    }
    let flags = world.policy(row).map_or(0, |policy| policy.flags);
    let read = flags & POLICY_QUIC_INSPECT != 0;
    if kind == Kind::Short as u32 && !read {
        return nameless(world, Reason::PassUdp);
    }
    if flags & POLICY_QUIC_ALLOW != 0 {
        return nameless(world, Reason::PassQuic);
    }
    if kind == Kind::Unknown as u32 {
        return Reason::FallbackQuicUnread.number();
    }
    if kind == Kind::Unsound as u32 {
        return Reason::RefuseQuic.number();
    }
    if read {
        return inspect(world, kind);
    }
    if kind == Kind::Initial as u32 {
        Reason::FallbackQuicPolicy.number()
    } else {
        Reason::RefuseQuic.number()
    }
}

/// Whether a Handshake packet stands behind the Initial in the datagram in the facts (RFC 9000 section
/// 12.2), as in a client's answer to the server; also where that cannot be told.
#[inline(always)]
pub fn carries_handshake<W: World>(world: &mut W) -> bool {
    let facts = world.facts();
    let (payload, len) = (facts.payload, facts.payload_len);
    let end = payload + len;
    // Where the next packet begins is kept in map memory: one state for the verifier.
    world.facts().name_left = payload;
    for _ in 0..QUIC_PACKETS_MAX {
        let at = world.facts().name_left;
        let at = world.forget(at);
        if at >= end {
            return false;
        }
        let Some(next) = next_packet(world, at) else {
            return false;
        };
        if next == HANDSHAKE || next <= at || next > end {
            return true;
        }
        world.facts().name_left = next;
    }
    true
}

/// Given for a Handshake packet, and for lengths that cannot be: no offset of a frame.
const HANDSHAKE: u32 = u32::MAX;

/// The end of the Initial or 0-RTT packet at a place; `None`: what begins there is no packet with a long
/// header that a server would read.
#[inline(always)]
fn next_packet<W: World>(world: &mut W, at: u32) -> Option<u32> {
    let packet = world.packet();
    let head = packet.view::<{ HEAD as usize }>(at)?;
    let (flags, version, first_len) = (head.u8(0), head.be32(1), head.u8(5));
    if flags & LONG == 0 || (version != VERSION_1 && version != VERSION_2) {
        return None;
    }
    let kind = kind_of_type(version, flags >> 4 & 3) as u32;
    let second_at = at + HEAD + first_len;
    let second_at = world.forget(second_at);
    let second_len = packet.view::<1>(second_at)?.u8(0);
    let mut behind = second_at + 1 + second_len;
    if kind == Kind::Initial as u32 {
        let token = varint(world, behind);
        behind = behind.wrapping_add(token.0).wrapping_add(token.1);
    } else if !is_zero_rtt(version, flags) {
        return Some(HANDSHAKE);
    }
    let behind = world.forget(behind);
    let (len, width) = varint(world, behind);
    if len >= LENGTH_MAX {
        return Some(HANDSHAKE);
    }
    Some(behind + width + len)
}

/// Longest packet that is followed: longer than any datagram in a frame.
const LENGTH_MAX: u32 = 1 << 14;

#[inline(always)]
fn is_zero_rtt(version: u32, flags: u32) -> bool {
    let bits = flags >> 4 & 3;
    bits == if version == VERSION_2 { 2 } else { 1 }
}

/// A variable-length integer (RFC 9000 section 16) and its width; [`LENGTH_MAX`] for any that is longer,
/// or does not end within the frame.
#[inline(always)]
fn varint<W: World>(world: &mut W, at: u32) -> (u32, u32) {
    // Eight bytes from the place on are there: a packet's tag alone has sixteen.
    let Some(view) = world.packet().view::<8>(at) else {
        return (LENGTH_MAX, 0);
    };
    let word = view.be64(0);
    let width = 1u32 << (word >> 62);
    let value = (word & u64::MAX >> 2) >> (64 - 8 * width);
    if value >= LENGTH_MAX as u64 {
        (LENGTH_MAX, width)
    } else {
        (value as u32, width)
    }
}

/// The first fragment of a datagram: QUIC is never fragmented (RFC 9000 section 14), so that what looks
/// like it hides its rest.
#[inline(always)]
fn first_fragment<W: World>(world: &mut W) -> u32 {
    let l4 = world.facts().l4;
    let l4 = world.forget(l4);
    let version = match world.packet().view::<5>(l4 + 8) {
        Some(head) => head.be32(1),
        None => VERSION_1,
    };
    if version == VERSION_1 || version == VERSION_2 {
        return Reason::RefuseFragment.number();
    }
    nameless(world, Reason::PassUdp)
}

/// The address has decided on a datagram: marks a client's first packet, which is answered.
#[inline(always)]
pub fn mark_answerable<W: World>(world: &mut W) {
    if !datagram_into_facts(world) {
        return;
    }
    let kind = kind(world) as u32;
    let answerable = kind == Kind::Initial as u32 || kind == Kind::Unknown as u32;
    world.facts().quic = answerable as u32;
}

/// Whether the packet in hand is answered by Version Negotiation once something forbids it.
#[inline(always)]
#[must_use]
pub fn is_answerable(facts: &Scratch) -> bool {
    facts.quic != 0
}

/// The one version of the answer: one that no server has, and not the client's own, for which the client
/// would discard the answer (RFC 9000 sections 6.2 and 15).
#[inline(always)]
#[must_use]
pub const fn other_version(version: u32) -> u32 {
    RESERVED | (version ^ 0x5050_5050) & 0xf0f0_f0f0
}

/// Builds the Version Negotiation packet (RFC 9000 section 17.2.1) to the packet in hand in the message,
/// which is open; gives its length, at most [`IDS_END_MAX`] + 4. It is shorter than what it answers.
#[inline(always)]
pub fn version_negotiation<W: World>(world: &mut W) -> u32 {
    let payload = world.facts().payload;
    let payload = world.forget(payload);
    let packet = world.packet();
    for word in 0..(IDS_END_MAX + 1).div_ceil(8) {
        if let Some(view) = packet.view::<8>(payload + 8 * word) {
            world.put_message_word(QUIC_COPY_AT + 8 * word, view.le64(0));
        }
    }
    let version = message32(world, QUIC_COPY_AT + 1);
    let to_len = bounded(world.message_u8(QUIC_COPY_AT + 5));
    let from_len = bounded(world.message_u8(QUIC_COPY_AT + HEAD + to_len));
    let to_len = world.forget(to_len);
    let from_len = world.forget(from_len);
    world.put_message_u8(0, LONG | FIXED);
    put32(world, 1, 0);
    world.put_message_u8(5, from_len);
    copy_id(world, QUIC_COPY_AT + HEAD + 1 + to_len, HEAD);
    world.put_message_u8(HEAD + from_len, to_len);
    copy_id(world, QUIC_COPY_AT + HEAD, HEAD + 1 + from_len);
    let end = HEAD + 1 + from_len + to_len;
    put32(world, end, other_version(version));
    end + 4
}

/// A connection id's length. No longer one is answered; the verifier wants it said.
#[inline(always)]
fn bounded(len: u32) -> u32 {
    if len > QUIC_CID_MAX {
        QUIC_CID_MAX
    } else {
        len
    }
}

#[inline(always)]
fn message32<W: World>(world: &mut W, at: u32) -> u32 {
    (world.message_word(at) as u32).swap_bytes()
}

/// Copies the longest id in whole words; what is behind its end is written over afterwards.
#[inline(always)]
fn copy_id<W: World>(world: &mut W, from: u32, to: u32) {
    for word in 0..QUIC_CID_MAX.div_ceil(8) {
        let value = world.message_word(from + 8 * word);
        world.put_message_word(to + 8 * word, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_differ_between_the_versions() {
        let kinds = |version| [0, 1, 2, 3].map(|bits| kind_of_type(version, bits));
        use Kind::{Initial, Later, Unsound};
        assert_eq!(kinds(VERSION_1), [Initial, Later, Later, Unsound]);
        assert_eq!(kinds(VERSION_2), [Unsound, Initial, Later, Later]);
    }

    #[test]
    fn the_answer_never_names_a_version_that_somebody_has() {
        for version in [
            VERSION_1,
            VERSION_2,
            0,
            0x0a0a_0a0a,
            0x5a5a_5a5a,
            0xff00_001d,
            u32::MAX,
        ] {
            let other = other_version(version);
            assert_ne!(other, version);
            assert_eq!(other & 0x0f0f_0f0f, RESERVED);
        }
    }
}
