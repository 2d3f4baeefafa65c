//! From a frame to one reason and one action: the stages in order, over a [`World`] that holds the
//! maps. The kernel program and its twin on the host are two worlds around this one text.

use crate::abi::{CONTROL_PAGE, CONTROL_PASS_ALL, INTERFACE_ORGANISATIONS, Outcome};
use crate::bytes::{Packet, View};
use crate::dns;
use crate::identify::{arrival, begin_outcome, identify};
use crate::lookup::{POLICY_UNKNOWN, decide_into_outcome, need_policy, probe_address};
use crate::name::{ipv4_key, ipv6_key, net6_key};
use crate::packet::{
    EXTENSIONS_BROKEN, EXTENSIONS_TOO_MANY, FRAGMENT_NONE, Protocol, ipv6_words, is_extension,
    read_ipv4, read_ipv6,
};
use crate::quic::is_answerable;
use crate::reason::{FIRST_ANSWERED, FIRST_NOT_PASS, LAST_BLOCK, Reason};
use crate::rule::{CATEGORY_NONE, Moment};
use crate::segment::{TOO_MANY, segment_facts, tcp, transport};
use crate::table::{bloom_bits, position};
use crate::verdict::Action;
use crate::world::World;

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
    let Some((row, interface)) = arrival(world) else {
        return Judged::Untouched;
    };
    if interface.flags & INTERFACE_ORGANISATIONS == 0 {
        return judge_inward(world, row);
    }
    let Some(org) = identify(world, row, interface) else {
        return Judged::Untouched;
    };
    begin_outcome(world, org);
    Judged::Enrolled(judge_enrolled(world))
}

/// From the internet side.
#[inline(always)]
fn judge_inward<W: World>(world: &mut W, row: u32) -> Judged {
    match world.call_inward(row) {
        0 => Judged::Untouched,
        reason if world.open_facts() => Judged::Enrolled(reason),
        _ => Judged::Untouched,
    }
}

#[inline(always)]
fn judge_enrolled<W: World>(world: &mut W) -> u32 {
    if world.control().flags & CONTROL_PASS_ALL != 0 {
        return Reason::PassAll.number();
    }
    let facts = world.facts();
    facts.policy = POLICY_UNKNOWN;
    let (l3, version) = (facts.l3, facts.version);
    let l3 = if l3 == ETHERNET_LEN {
        ETHERNET_LEN
    } else {
        world.forget(l3)
    };
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
        // A resolver of the provider's is asked for names all the same.
        let asked = reason == Reason::PassInfrastructure.number()
            && world.facts().protocol == Protocol::UDP.0;
        if reason != 0 && !asked {
            let decided = address_decided(world, fragment, reason);
            if decided != 0 {
                return decided;
            }
        }
    }
    transport(world, fragment)
}

/// The address decided before the transport header was read: a reset needs its facts. 0: it is a resolver
/// of the provider's, asked over TCP.
#[inline(always)]
fn address_decided<W: World>(world: &mut W, fragment: u32, reason: u32) -> u32 {
    let tcp = world.facts().protocol == Protocol::TCP.0 && fragment == FRAGMENT_NONE;
    if !tcp || !segment_facts(world) {
        // Nobody answers a reset: the action is to drop, but for QUIC.
        let facts = world.facts();
        facts.tcp_flags = tcp::RST;
        facts.question_end = 0;
        facts.quic = 0;
        if facts.protocol == Protocol::UDP.0 && fragment == FRAGMENT_NONE {
            world.call_mark_answerable();
        }
        return reason;
    }
    let asked = world.facts().ports & 0xffff == dns::PORT;
    if asked && reason == Reason::PassInfrastructure.number() {
        0
    } else {
        reason
    }
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
    let blocks = world.block4_bits(destination >> 18)?;
    if blocks >> (destination >> 12 & 63) & 1 != 0 {
        listed_block4(world, destination)?;
    }
    Some(network.fragment)
}

/// The destination lies in a /20 with entries. From short to long subjects: the prefix first, then
/// the host.
#[inline(always)]
fn listed_block4<W: World>(world: &mut W, destination: u32) -> Option<()> {
    let bits = world.net4_bits(destination >> 14)?;
    if bits >> (destination >> 8 & 63) & 1 != 0 {
        need_policy(world);
        world.call_net();
    }
    probe_address(world, ipv4_key(world.control().seed, destination));
    Some(())
}

/// As [`ipv4`], for IPv6 with its extension headers.
#[inline(always)]
fn ipv6<W: World>(world: &mut W, l3: u32) -> Option<u32> {
    let packet = world.packet();
    let header = packet.view::<40>(l3)?;
    let network = read_ipv6(header, l3, packet.len())?;
    let (high, low) = (header.be64(24), header.be64(32));
    let facts = world.facts();
    facts.source = ipv6_words(header, 8);
    facts.destination = ipv6_words(header, 24);
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

/// How a reason is carried out, and the reason that is counted: behind MPLS without a return label no
/// reply can leave. The outcome gets both.
#[inline(always)]
pub fn conclude<W: World>(world: &mut W, reason: u32) -> u32 {
    let action = action_of(world, reason);
    let mut reason = reason;
    let mut action = action as u32;
    let replies = action >= Action::Reset as u32;
    if replies && world.facts().mpls_at != 0 {
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
    if reason < FIRST_ANSWERED {
        return Action::Pass;
    }
    let facts = world.facts();
    let tcp = facts.protocol == Protocol::TCP.0 && facts.tcp_flags & tcp::RST == 0;
    if is_told(reason) {
        return if tcp { Action::Reset } else { Action::Drop };
    }
    let udp = facts.protocol == Protocol::UDP.0;
    let quic = udp && is_answerable(facts);
    if reason > LAST_BLOCK {
        let fallback = (Reason::FallbackQuicPolicy.number()..=Reason::FallbackQuicBusy.number())
            .contains(&reason);
        return if fallback && quic {
            Action::Answer
        } else {
            Action::Drop
        };
    }
    if udp && (facts.question_end != 0 || quic) {
        return Action::Answer;
    }
    if reason < FIRST_NOT_PASS {
        // Over TCP nothing is answered by one packet: the client shall ask by UDP.
        return Action::Reset;
    }
    if !tcp {
        return Action::Drop;
    }
    if facts.outcome.http != 0 && world.control().flags & CONTROL_PAGE != 0 {
        return Action::Redirect;
    }
    need_policy(world);
    let row = world.facts().policy;
    Action::from_number(world.policy(row).map_or(1, |policy| policy.action))
}

/// Refusals that the client is told of by a reset: nothing that it sends again would get through.
#[inline(always)]
fn is_told(reason: u32) -> bool {
    let starved = Reason::RefuseStateLost.number()..=Reason::RefuseStarved.number();
    // A DNS message that is not sound: over UDP there is nobody to tell.
    let requests = Reason::RefuseDnsMalformed.number()..=Reason::RefuseDnsForm.number();
    starved.contains(&reason) || requests.contains(&reason)
}

/// Length of an Ethernet header without tags.
const ETHERNET_LEN: u32 = 14;

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
        http: 0,
        pad: 0,
    };
}
