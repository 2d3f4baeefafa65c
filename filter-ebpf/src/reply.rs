//! Replies by `XDP_TX`: the frame in hand becomes the answer to its sender. Tags and the PPPoE header
//! stay; behind MPLS the label stack gives way to the configured return label, or to none.

use aya_ebpf::helpers::generated as helpers;
use filter_common::abi::{MPLS_REPLY_LABEL, Scratch};
use filter_common::bytes::Packet;
use filter_common::limits::DNS_LEN_MAX;
use filter_common::packet::{EtherType, Protocol};
use filter_common::segment::tcp;
use filter_common::world::World;
use filter_common::{dns, quic};

use crate::page::{message_sum, store_message};
use crate::pointer::{bound, pointer};
use crate::world::KernelWorld;

pub(crate) const TCP_LEN: u32 = 20;
const UDP_LEN: u32 = 8;
/// Highest offset of a network header: tags, PPPoE and labels in front of it.
const LINK_MASK: u32 = 0x3f;
/// Where the link's headers stand in the message while they are moved: behind an answer and a cookie.
const LINK_AT: usize = 640;
const HOP_LIMIT: u32 = 64;

/// Writes two bytes in network order.
#[inline(always)]
unsafe fn put16(at: *mut u8, offset: usize, value: u32) {
    // SAFETY: the caller's view holds the place; BPF has unaligned stores.
    unsafe { *at.add(offset).cast::<u16>() = (value as u16).to_be() }
}

/// Writes four bytes in network order.
#[inline(always)]
pub(crate) unsafe fn put32(at: *mut u8, offset: usize, value: u32) {
    // SAFETY: the caller's view holds the place; BPF has unaligned stores.
    unsafe { *at.add(offset).cast::<u32>() = value.to_be() }
}

/// One's complement sum of a word's halves (RFC 1071), not folded yet.
#[inline(always)]
pub(crate) fn halves(word: u32) -> u64 {
    (word >> 16) as u64 + (word & 0xffff) as u64
}

/// Folds and complements a sum.
#[inline(always)]
pub(crate) fn checksum(sum: u64) -> u32 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u32) & 0xffff
}

/// Turns the frame into a TCP reset to its sender (RFC 9293 section 3.10.7).
#[inline(always)]
pub(crate) fn reset(world: &mut KernelWorld) -> Option<()> {
    let l4 = headers(world, Protocol::TCP, TCP_LEN)?;
    segment(world, l4)
}

/// Turns the frame into the answer to its DNS query.
#[inline(always)]
pub(crate) fn answer(world: &mut KernelWorld) -> Option<()> {
    if !world.open_message() {
        return None;
    }
    // Judging the name has changed the copy of the question.
    dns::copy_message(world);
    let len = dns::answer(world) & (DNS_LEN_MAX - 1);
    if len < dns::HEADER_LEN {
        return None;
    }
    let l4 = headers(world, Protocol::UDP, UDP_LEN + len)?;
    datagram(world, l4, len)
}

/// Turns the frame into Version Negotiation to its QUIC client.
#[inline(always)]
pub(crate) fn version_negotiation(world: &mut KernelWorld) -> Option<()> {
    if !world.open_message() {
        return None;
    }
    let len = quic::version_negotiation(world) & (DNS_LEN_MAX - 1);
    let len = world.forget(len);
    let l4 = headers(world, Protocol::UDP, UDP_LEN + len)?;
    datagram(world, l4, len)
}

/// Makes the frame one to its sender with `payload_len` bytes behind the network header; gives the
/// place of the transport header.
#[inline(always)]
pub(crate) fn headers(
    world: &mut KernelWorld,
    protocol: Protocol,
    payload_len: u32,
) -> Option<u32> {
    let l3 = network_offset(world)?;
    let header_len = if world.facts().version == 4 { 20 } else { 40 };
    let frame_len = world.packet().len();
    let delta = (l3 + header_len + payload_len).wrapping_sub(frame_len) as i32;
    // SAFETY: the context is valid; packet pointers are taken anew behind this.
    if delta != 0 && unsafe { helpers::bpf_xdp_adjust_tail(world.ctx(), delta) } != 0 {
        grow_in_front(world, delta, l3)?;
    }
    swap_macs(world)?;
    link(world, l3, header_len + payload_len)?;
    if world.facts().version == 4 {
        ipv4(world, l3, protocol, payload_len)?
    } else {
        ipv6(world, l3, protocol, payload_len)?
    };
    Some(l3 + header_len)
}

/// Makes room in front of the frame where there is none behind it, as in a short packet of a veth
/// pair, and moves the link's headers there. Only an answer grows: the message is open.
#[inline(always)]
fn grow_in_front(world: &mut KernelWorld, delta: i32, l3: u32) -> Option<()> {
    // Kernel 6.1 learns no lower bound of a length from a comparison: it is more than 0 by its making.
    let l3 = bound::<LINK_MASK>(l3.wrapping_sub(1)) as u32 + 1;
    if delta <= 0 || !world.open_message() {
        return None;
    }
    // SAFETY: the message has `LINK_MASK` bytes at `LINK_AT`.
    let link = unsafe { world.message_start().add(LINK_AT) }.cast();
    // SAFETY: the context is valid; the helpers check the frame's bounds (kernel 5.18); packet
    // pointers are taken anew behind this.
    let moved = unsafe {
        helpers::bpf_xdp_adjust_head(world.ctx(), -delta) == 0
            && helpers::bpf_xdp_load_bytes(world.ctx(), delta as u32, link, l3) == 0
            && helpers::bpf_xdp_store_bytes(world.ctx(), 0, link, l3) == 0
    };
    moved.then_some(())
}

/// Where the reply's network header goes: behind MPLS it moves to the front by the labels dropped.
#[inline(always)]
fn network_offset(world: &mut KernelWorld) -> Option<u32> {
    let facts = world.facts();
    let (l3, mpls_at, interface) = (facts.l3, facts.mpls_at, facts.interface);
    if mpls_at == 0 {
        return Some(world.forget(l3) & LINK_MASK);
    }
    let reply = world.interface(interface)?.mpls_reply;
    let label_len = if reply & 0xff == MPLS_REPLY_LABEL {
        4
    } else {
        0
    };
    Some(world.forget(mpls_at + label_len) & LINK_MASK)
}

#[inline(always)]
fn swap_macs(world: &KernelWorld) -> Option<()> {
    let at = pointer::<14>(world.ctx(), 0)?;
    // SAFETY: 14 bytes are there.
    unsafe {
        let (a, b) = (*at.cast::<u32>(), *at.add(4).cast::<u16>());
        let (c, d) = (*at.add(6).cast::<u32>(), *at.add(10).cast::<u16>());
        *at.cast::<u32>() = c;
        *at.add(4).cast::<u16>() = d;
        *at.add(6).cast::<u32>() = a;
        *at.add(10).cast::<u16>() = b;
    }
    Some(())
}

/// The link's own length and type fields: PPPoE's length, the return label, or the EtherType in
/// place of MPLS.
#[inline(always)]
fn link(world: &mut KernelWorld, l3: u32, packet_len: u32) -> Option<()> {
    let facts = world.facts();
    let (pppoe_at, mpls_at, version) = (facts.pppoe_at, facts.mpls_at, facts.version);
    let interface = facts.interface;
    if pppoe_at != 0 {
        let at = pointer::<8>(world.ctx(), pppoe_at)?;
        // SAFETY: eight bytes are there. The length counts the PPP protocol field (RFC 2516).
        unsafe { put16(at, 4, packet_len + 2) };
    }
    if mpls_at != 0 {
        let reply = world.interface(interface)?.mpls_reply;
        if reply & 0xff == MPLS_REPLY_LABEL {
            let at = pointer::<4>(world.ctx(), mpls_at)?;
            // SAFETY: four bytes are there. Label, bottom of stack, time to live (RFC 3032).
            unsafe { put32(at, 0, (reply >> 8) << 12 | 1 << 8 | HOP_LIMIT) };
        } else {
            let kind = if version == 4 {
                EtherType::IPV4
            } else {
                EtherType::IPV6
            };
            let at = pointer::<2>(world.ctx(), l3 - 2)?;
            // SAFETY: two bytes are there: the EtherType in front of the label stack.
            unsafe { put16(at, 0, kind.0) };
        }
    }
    Some(())
}

#[inline(always)]
fn ipv4(world: &mut KernelWorld, l3: u32, protocol: Protocol, len: u32) -> Option<()> {
    let facts = world.facts();
    let (from, to) = (facts.destination[3], facts.source[3]);
    let words = [
        0x4500_0000 | (20 + len),
        0x0000_4000,
        HOP_LIMIT << 24 | protocol.0 << 16,
    ];
    let mut sum = halves(from) + halves(to);
    for word in words {
        sum += halves(word);
    }
    let at = pointer::<20>(world.ctx(), l3)?;
    // SAFETY: 20 bytes are there.
    unsafe {
        put32(at, 0, words[0]);
        put32(at, 4, words[1]);
        put32(at, 8, words[2] | checksum(sum));
        put32(at, 12, from);
        put32(at, 16, to);
    }
    Some(())
}

#[inline(always)]
fn ipv6(world: &mut KernelWorld, l3: u32, protocol: Protocol, len: u32) -> Option<()> {
    let facts = world.facts();
    let (from, to) = (facts.destination, facts.source);
    let at = pointer::<40>(world.ctx(), l3)?;
    // SAFETY: 40 bytes are there.
    unsafe {
        put32(at, 0, 6 << 28);
        put32(at, 4, len << 16 | protocol.0 << 8 | HOP_LIMIT);
        put32(at, 8, from[0]);
        put32(at, 12, from[1]);
        put32(at, 16, from[2]);
        put32(at, 20, from[3]);
        put32(at, 24, to[0]);
        put32(at, 28, to[1]);
        put32(at, 32, to[2]);
        put32(at, 36, to[3]);
    }
    Some(())
}

/// Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[inline(always)]
pub(crate) fn pseudo_header(facts: &Scratch, protocol: Protocol, len: u32) -> u64 {
    let mut sum = halves(facts.source[3]) + halves(facts.destination[3]);
    sum += protocol.0 as u64 + len as u64;
    if facts.version == 6 {
        sum += halves(facts.source[0]) + halves(facts.source[1]) + halves(facts.source[2]);
        sum += halves(facts.destination[0]) + halves(facts.destination[1]);
        sum += halves(facts.destination[2]);
    }
    sum
}

#[inline(always)]
fn segment(world: &mut KernelWorld, l4: u32) -> Option<()> {
    let facts = world.facts();
    let ports = facts.ports.rotate_left(16);
    let seq = if facts.tcp_flags & tcp::ACK != 0 {
        facts.ack
    } else {
        0
    };
    let phantom = (facts.tcp_flags & (tcp::SYN | tcp::FIN)).count_ones();
    let ack = facts
        .seq
        .wrapping_add(facts.payload_len)
        .wrapping_add(phantom);
    let control = 0x5000_0000 | (tcp::RST | tcp::ACK) << 16;
    let sum = pseudo_header(facts, Protocol::TCP, TCP_LEN)
        + halves(ports)
        + halves(seq)
        + halves(ack)
        + halves(control);
    let at = pointer::<20>(world.ctx(), l4)?;
    // SAFETY: 20 bytes are there.
    unsafe {
        put32(at, 0, ports);
        put32(at, 4, seq);
        put32(at, 8, ack);
        put32(at, 12, control);
        put32(at, 16, checksum(sum) << 16);
    }
    Some(())
}

/// The UDP header, and the message behind it (RFC 768).
#[inline(always)]
fn datagram(world: &mut KernelWorld, l4: u32, len: u32) -> Option<()> {
    let facts = world.facts();
    let ports = facts.ports.rotate_left(16);
    let total = UDP_LEN + len;
    let header = pseudo_header(facts, Protocol::UDP, total) + halves(ports) + total as u64;
    let message = message_sum(world, len)?;
    let sum = match checksum(header + message) {
        0 => 0xffff,
        sum => sum,
    };
    let at = pointer::<8>(world.ctx(), l4)?;
    // SAFETY: eight bytes are there.
    unsafe {
        put32(at, 0, ports);
        put16(at, 4, total);
        put16(at, 6, sum);
    }
    store_message(world, l4 + UDP_LEN, len)
}
