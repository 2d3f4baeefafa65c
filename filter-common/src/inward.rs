//! Packets that come from the internet side: matched by their destination, counted, and stopped where
//! they belong to a QUIC flow that is stopped. What a server still sends, or answers to the packet that
//! completed a forbidden name, does not reach the client then.
//!
//! The packet is read as the answer that it is: its destination is the `source` of the facts and its source
//! the `destination`, so that both directions of a flow have one key.

use crate::abi::{CONTROL_PASS_ALL, POLICY_QUIC_INSPECT};
use crate::bytes::{Packet, View};
use crate::flow::{key_hash, key_into_facts};
use crate::identify::{Side, begin_outcome, identify_behind_link};
use crate::lookup::{POLICY_UNKNOWN, need_policy};
use crate::packet::{FRAGMENT_NONE, Network, Protocol, ipv6_words, read_ipv4, read_ipv6};
use crate::quic_flow::{left_of, quic_key, reason_of, units};
use crate::reason::{FIRST_NOT_PASS, Reason};
use crate::world::World;

/// Judges the frame in hand, which came from the interface of this row, in the organisations' direction;
/// 0: it goes to nobody enrolled.
#[inline(always)]
pub fn inward<W: World>(world: &mut W, row: u32) -> u32 {
    let Some(interface) = world.interface(row) else {
        return 0;
    };
    let Some(org) = identify_behind_link(world, row, interface, Side::Internet) else {
        return 0;
    };
    begin_outcome(world, org);
    if world.control().flags & CONTROL_PASS_ALL != 0 {
        return Reason::PassAll.number();
    }
    if is_stopped(world) {
        Reason::RefuseInward.number()
    } else {
        Reason::PassInward.number()
    }
}

/// Whether the packet belongs to a QUIC flow whose name is forbidden.
#[inline(always)]
fn is_stopped<W: World>(world: &mut W) -> bool {
    let Some(network) = addresses_into_facts(world) else {
        return false;
    };
    // Behind a fragment's or another extension header nothing is looked for: no server sends QUIC there
    // (RFC 9000 section 14), and its client reads nothing that its own packets did not lead to.
    if network.protocol != Protocol::UDP || network.fragment != FRAGMENT_NONE {
        return false;
    }
    let l4 = world.forget(network.l4);
    let Some(header) = world.packet().view::<8>(l4) else {
        return false;
    };
    let facts = world.facts();
    facts.ports = header.be32(0).rotate_left(16);
    facts.policy = POLICY_UNKNOWN;
    need_policy(world);
    let row = world.facts().policy;
    let flags = world.policy(row).map_or(0, |policy| policy.flags);
    if flags & POLICY_QUIC_INSPECT == 0 {
        return false;
    }
    key_into_facts(world);
    let seed = world.control().seed;
    let flow = world.facts().key;
    let (state, _) = world.quic_flow(quic_key(seed, key_hash(seed, flow)));
    reason_of(state) >= FIRST_NOT_PASS && left_of(state, units(world.now_ns())) != 0
}

/// Reads the network header behind the link's; the facts get the addresses, each in the other's place.
#[inline(always)]
fn addresses_into_facts<W: World>(world: &mut W) -> Option<Network> {
    let facts = world.facts();
    let (l3, version) = (facts.l3, facts.version);
    let l3 = world.forget(l3);
    let packet = world.packet();
    if version == 4 {
        let header = packet.view::<20>(l3)?;
        let facts = world.facts();
        facts.source[3] = header.be32(16);
        facts.destination[3] = header.be32(12);
        return read_ipv4(header, l3, packet.len());
    }
    let header = packet.view::<40>(l3)?;
    let facts = world.facts();
    facts.source = ipv6_words(header, 24);
    facts.destination = ipv6_words(header, 8);
    read_ipv6(header, l3, packet.len())
}
