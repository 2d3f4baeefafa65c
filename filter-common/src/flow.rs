//! What a flow may send while its ClientHello is not judged: the rules that keep the judged stream
//! and the server's stream the same. Each rule was found by a sequence that got through without it.
//!
//! An entry is made at the SYN, so that the first byte of the stream is known. The first segments of
//! a hello pass: the server cannot answer half a hello. The segment that completes the name meets
//! the verdict. A block leaves the state as it was, so that a retransmission meets the same verdict.
//!
//! State word of a slot: milliseconds in the upper half; below, from the lowest bit, the stage (4),
//! [`LATER`] (1), the number of remembered segments (3), the number of held segments (8), [`BLOCKED`] (1),
//! [`REQUESTS`] (1), [`CHUNKED`] (1).

use crate::abi::{FlowKey, FlowSet};
use crate::bytes::{Packet, View};
use crate::judge::{Parse, REQUESTS_NEXT, parse};
use crate::limits::{BLOCKED_IDLE_MS, SEGMENT_HASHES, SYN_NEAR};
use crate::lookup::{nameless, need_policy};
use crate::reason::Reason;
use crate::resend::{UNCHANGED_ALL, hold, unchanged};
use crate::segment::{draining, tcp};
use crate::table::{finish, fold};
use crate::world::World;
use crate::{dns, request};

/// The slot is free.
pub const STAGE_FREE: u64 = 0;

/// The SYN was seen; `first` and `next` are the sequence number of the stream's first byte.
pub const STAGE_SYN: u64 = 1;

/// Part of a ClientHello passed; `hello` is its row in `HELLOS`, `next` the next expected byte.
pub const STAGE_OPEN: u64 = 2;

/// The flow was judged and passed; `next` is the end of the decisive byte.
pub const STAGE_DONE: u64 = 3;

/// The state of an unfinished hello was lost, or a request was answered: every later segment with payload
/// is reset.
pub const STAGE_CUT: u64 = 4;

/// The flow carries requests, and stands between two of them or in a body: `next` is where the next one
/// starts. See `request`. Its lower two bits are those of [`STAGE_DONE`]: judged, by one comparison.
pub const STAGE_BETWEEN: u64 = 7;

/// Data behind the decisive byte passed.
pub const LATER: u64 = 1 << 4;

/// The verdict on the flow was a block: its client was told, and may open the port again soon.
pub const BLOCKED: u64 = 1 << 16;

/// The flow carries requests, or nothing that is known: not TLS.
pub const REQUESTS: u64 = 1 << 17;

/// What comes next is a chunk of a request's body.
pub const CHUNKED: u64 = 1 << 18;

const SEGMENTS_SHIFT: u32 = 5;

pub(crate) const HOLDS_SHIFT: u32 = 8;

/// A remembered segment's number that stands for "more than can be remembered".
pub(crate) const SEGMENTS_OVER: u64 = SEGMENT_HASHES as u64 + 1;

/// The stage in a state word.
#[inline(always)]
#[must_use]
pub fn stage(state: u64) -> u64 {
    state & 15
}

/// Remembered segments in a state word; [`SEGMENT_HASHES`] + 1: more passed than are remembered.
#[inline(always)]
#[must_use]
pub fn segments(state: u64) -> u64 {
    state >> SEGMENTS_SHIFT & 7
}

/// Held segments in a state word.
#[inline(always)]
#[must_use]
pub fn holds(state: u64) -> u64 {
    state >> HOLDS_SHIFT & 0xff
}

/// Milliseconds in a state word.
#[inline(always)]
#[must_use]
pub fn stamp_ms(state: u64) -> u32 {
    (state >> 32) as u32
}

/// A state word without marks and held segments.
#[inline(always)]
#[must_use]
pub fn state_word(stage: u64, segments: u64, now_ms: u32) -> u64 {
    stage | segments << SEGMENTS_SHIFT | (now_ms as u64) << 32
}

/// What `FLOW_TAGS` holds of a flow, by its key's hash: 16 bits, not 0.
#[inline(always)]
#[must_use]
pub fn tag_of(hash: u64) -> u64 {
    hash >> 20 & 0xffff | 1
}

/// The tags of a set with that of `way` replaced.
#[inline(always)]
#[must_use]
pub fn with_tag(tags: u64, way: usize, tag: u64) -> u64 {
    let lane = (way as u32 & 3) * 16;
    tags & !(0xffff << lane) | tag << lane
}

/// Whether one of a set's four tags is `tag`.
#[inline(always)]
#[must_use]
pub fn has_tag(tags: u64, tag: u64) -> bool {
    const ONES: u64 = 0x0001_0001_0001_0001;
    let differs = tags ^ tag.wrapping_mul(ONES);
    differs.wrapping_sub(ONES) & !differs & ONES << 15 != 0
}

/// Makes the flow's key from the addresses, ports and realm in the facts; gives its set of `FLOWS`,
/// which stands in `spare[0]` too, and puts its tag into `spare[2]`.
#[inline(always)]
pub fn key_into_facts<W: World>(world: &mut W) -> u32 {
    let control = world.control();
    let (seed, mask) = (control.seed, control.flow_set_mask);
    let facts = world.facts();
    let tail = (facts.ports as u64) << 32 | facts.realm as u64;
    let destination = facts.destination[3] as u64;
    if facts.version == 4 {
        facts.key = FlowKey {
            a: (facts.source[3] as u64) << 32 | destination,
            b: tail,
        };
    } else {
        let words = [
            (facts.source[0] as u64) << 32 | facts.source[1] as u64,
            (facts.source[2] as u64) << 32 | facts.source[3] as u64,
            (facts.destination[0] as u64) << 32 | facts.destination[1] as u64,
            (facts.destination[2] as u64) << 32 | destination,
        ];
        let (mut a, mut b) = (seed, !seed);
        for word in words {
            a = fold(a, word);
            b = fold(b, word.rotate_left(29));
        }
        // Bit 31 tells a hashed key from a plain one: a realm number is below it.
        facts.key = FlowKey {
            a: finish(a, tail),
            b: finish(b, tail) | 1 << 31,
        };
    }
    let key = facts.key;
    let hash = key_hash(seed, key);
    let set = (hash >> 40) as u32 & mask;
    let facts = world.facts();
    facts.spare[0] = set;
    facts.spare[2] = tag_of(hash) as u32;
    set
}

/// Keyed hash of a flow's key: its upper bits choose the set of `FLOWS`, lower ones that of `HELLOS`.
#[inline(always)]
#[must_use]
pub fn key_hash(seed: u64, key: FlowKey) -> u64 {
    finish(fold(seed, key.a), key.b)
}

/// The way of a set that holds `key`.
#[inline(always)]
pub fn find(set: &FlowSet, key: FlowKey) -> Option<usize> {
    let [k0, k1, k2, k3] = &set.keys;
    if k0.a == key.a && k0.b == key.b {
        return Some(0);
    }
    if k1.a == key.a && k1.b == key.b {
        return Some(1);
    }
    if k2.a == key.a && k2.b == key.b {
        return Some(2);
    }
    if k3.a == key.a && k3.b == key.b {
        return Some(3);
    }
    None
}

/// State word and `next` of a way.
#[inline(always)]
pub fn read(set: &FlowSet, way: usize) -> (u64, u32) {
    match set.slots.get(way) {
        Some(slot) => (slot.state, slot.next),
        None => (0, 0),
    }
}

/// Makes `way` the entry of `key` with the stream's first byte at `first`.
#[inline(always)]
fn enter<W: World>(world: &mut W, way: usize, first: u32, now_ms: u32) {
    let facts = world.facts();
    let (key, row, tag) = (facts.key, facts.spare[0], facts.spare[2] as u64);
    let tags = with_tag(world.flow_tags(row), way, tag);
    let set = world.flows();
    let (Some(slot), Some(place)) = (set.slots.get_mut(way), set.keys.get_mut(way)) else {
        return;
    };
    // A reader that meets the new key with the old state must not take it for the new flow's.
    slot.state = STAGE_FREE;
    *place = key;
    slot.first = first;
    slot.next = first;
    slot.hello = 0;
    slot.state = state_word(STAGE_SYN, 0, now_ms);
    world.set_flow_tags(row, tags);
}

/// Whether what a flow showed so far was judged and passed.
#[inline(always)]
fn is_judged(stage: u64) -> bool {
    stage & STAGE_DONE == STAGE_DONE
}

/// How readily the entry with `state` is given up for a new flow; 0: not at all.
#[inline(always)]
fn eviction_rank(state: u64, now_ms: u32, idle_ms: u32) -> u64 {
    let age = now_ms.wrapping_sub(stamp_ms(state)) as u64;
    let stage = stage(state);
    if stage == STAGE_FREE {
        1 << 40
    } else if is_judged(stage) {
        1 << 32 | age
    } else if age >= idle_ms as u64 {
        age
    } else {
        0
    }
}

/// The way for a new flow, if one may be given up: a free one, else the oldest judged flow, else the oldest
/// that is idle. An unfinished hello in use is never pushed out.
#[inline(always)]
fn victim(set: &FlowSet, now_ms: u32, idle_ms: u32) -> Option<usize> {
    let mut best = 0;
    let mut way = 0;
    for (at, slot) in set.slots.iter().enumerate() {
        let rank = eviction_rank(slot.state, now_ms, idle_ms);
        if rank > best {
            best = rank;
            way = at;
        }
    }
    if best == 0 { None } else { Some(way) }
}

/// A SYN (or SYN-ACK, for a simultaneous open): makes the flow's entry.
#[inline(always)]
pub fn syn<W: World>(world: &mut W) -> u32 {
    if draining(world) {
        return Reason::HoldBusy.number();
    }
    let now_ms = world.now_ms();
    if over_limit(world, now_ms) {
        return Reason::HoldSynLimit.number();
    }
    let set = key_into_facts(world);
    if !world.open_flows(set) {
        return Reason::RefuseInternal.number();
    }
    if !world.claim_flows() {
        return Reason::HoldBusy.number();
    }
    let reason = syn_claimed(world, now_ms);
    world.release_flows();
    reason.number()
}

/// Whether the organisation has opened too many flows in this second (1,024 milliseconds).
#[inline(always)]
fn over_limit<W: World>(world: &mut W, now_ms: u32) -> bool {
    let limit = world.control().syn_limit;
    let org = world.facts().outcome.org;
    let Some(rate) = world.org_rate(org) else {
        return false;
    };
    let second = now_ms >> 10;
    if rate.second != second {
        rate.second = second;
        rate.syns = 0;
    }
    rate.syns += 1;
    rate.syns > limit
}

#[inline(always)]
fn syn_claimed<W: World>(world: &mut W, now_ms: u32) -> Reason {
    let idle_ms = world.control().idle_ms;
    let facts = world.facts();
    let (key, first) = (facts.key, facts.seq.wrapping_add(1));
    let way = match find(world.flows(), key) {
        Some(way) => {
            let (state, next) = read(world.flows(), way);
            // A client that was reset may take the port again at once: its second SYN gets through.
            let idle_ms = if state & BLOCKED != 0 {
                BLOCKED_IDLE_MS
            } else {
                idle_ms
            };
            let idle = now_ms.wrapping_sub(stamp_ms(state)) >= idle_ms;
            let stage = stage(state);
            let again = stage == STAGE_SYN && next == first;
            // A forged SYN in the middle of an unfinished hello would split it for us and not for
            // the server.
            if stage > STAGE_FREE && !is_judged(stage) && !again && !idle {
                return Reason::HoldSyn;
            }
            // So would one near what was read, once a decoy has ended the reading or time has
            // passed. A new connection starts elsewhere.
            let start = world.slot(way).first;
            if !again && first.wrapping_sub(start).wrapping_add(SYN_NEAR) < 2 * SYN_NEAR {
                return Reason::HoldSyn;
            }
            way
        }
        None => match victim(world.flows(), now_ms, idle_ms) {
            Some(way) => way,
            None => return Reason::HoldNoSlot,
        },
    };
    enter(world, way, first, now_ms);
    Reason::PassSyn
}

/// A segment with payload that the straight path of a judged flow did not take. The facts hold the
/// flow's key, and its set in `spare[0]`.
#[inline(always)]
pub fn payload<W: World>(world: &mut W) -> u32 {
    need_policy(world);
    let set = world.facts().spare[0];
    if !world.open_flows(set) {
        return Reason::RefuseInternal.number();
    }
    if !world.claim_flows() {
        return Reason::HoldBusy.number();
    }
    let reason = payload_claimed(world);
    if reason != REQUESTS_NEXT {
        world.release_flows();
    }
    reason
}

/// What is to be done with a segment: its reason is known, or its payload is to be parsed.
pub(crate) enum Plan {
    /// The reason's number.
    Known(u32),
    /// Parse the payload.
    Parse(Parse),
}

#[inline(always)]
pub(crate) fn known(reason: Reason) -> Plan {
    Plan::Known(reason.number())
}

#[inline(always)]
fn payload_claimed<W: World>(world: &mut W) -> u32 {
    match plan(world) {
        Plan::Known(reason) => reason,
        Plan::Parse(how) => parse(world, how),
    }
}

#[inline(always)]
fn plan<W: World>(world: &mut W) -> Plan {
    let key = world.facts().key;
    let Some(way) = find(world.flows(), key) else {
        return unknown(world);
    };
    let (state, next) = read(world.flows(), way);
    match stage(state) {
        STAGE_DONE => done(world, way, state, next),
        STAGE_SYN | STAGE_OPEN => unfinished(world, way, state, next),
        STAGE_BETWEEN => request::between(world, way, state, next),
        STAGE_CUT if state & REQUESTS != 0 => ended(world, way, state, next),
        STAGE_CUT => known(Reason::RefuseStateLost),
        _ => unknown(world),
    }
}

/// A connection that was ended. The request that was answered is answered again where it comes again.
#[inline(always)]
fn ended<W: World>(world: &mut W, way: usize, state: u64, next: u32) -> Plan {
    if state & BLOCKED == 0 || world.facts().seq != next || draining(world) {
        return known(Reason::RefuseEnded);
    }
    Plan::Parse(Parse {
        way,
        state,
        from: 0,
        row: 0,
    })
}

/// No entry: it was evicted, or the flow is older than the program. A segment that starts a hello is
/// a start all the same.
#[inline(always)]
fn unknown<W: World>(world: &mut W) -> Plan {
    let dns = world.facts().ports & 0xffff == dns::PORT;
    if !dns && !starts_hello(world, 0) && !request::looks_like_request(world) {
        return Plan::Known(nameless(world, Reason::PassNoFlow));
    }
    if draining(world) {
        return known(Reason::HoldBusy);
    }
    let (now_ms, idle_ms) = (world.now_ms(), world.control().idle_ms);
    let Some(way) = victim(world.flows(), now_ms, idle_ms) else {
        return known(Reason::HoldNoSlot);
    };
    let seq = world.facts().seq;
    enter(world, way, seq, now_ms);
    Plan::Parse(Parse {
        way,
        state: state_word(STAGE_SYN, 0, now_ms),
        from: 0,
        row: 0,
    })
}

/// Whether the payload at `from` looks like the start of a ClientHello's record: as much as there is
/// of `16 03 xx xx xx 01`, at least two bytes.
#[inline(always)]
fn starts_hello<W: World>(world: &mut W, from: u32) -> bool {
    let facts = world.facts();
    let (at, len) = (facts.payload + from, facts.payload_len);
    let packet = world.packet();
    if len >= from + 6 {
        let Some(view) = packet.view::<6>(at) else {
            return false;
        };
        return view.be16(0) == 0x1603 && view.u8(5) == 1;
    }
    if len < from + 2 {
        return false;
    }
    let Some(view) = packet.view::<2>(at) else {
        return false;
    };
    view.be16(0) == 0x1603
}

/// Bytes of a dummy change-cipher-spec record in front of a second ClientHello (RFC 8446 appendix
/// D.4), or 0.
#[inline(always)]
fn dummy_record<W: World>(world: &mut W) -> u32 {
    let facts = world.facts();
    let (at, len) = (facts.payload, facts.payload_len);
    if len < 6 {
        return 0;
    }
    let Some(view) = world.packet().view::<6>(at) else {
        return 0;
    };
    if view.be32(0) & 0xffff_00ff == 0x1403_0000 && view.be16(4) == 0x0101 {
        6
    } else {
        0
    }
}

/// A judged flow: a retransmission from in front of the decisive byte, or a second hello behind it.
#[inline(always)]
fn done<W: World>(world: &mut W, way: usize, state: u64, end: u32) -> Plan {
    let facts = world.facts();
    let (seq, urgent) = (facts.seq, facts.tcp_flags & tcp::URG != 0);
    if seq.wrapping_sub(end) < 1 << 31 {
        return behind(world, way, state, urgent);
    }
    if segments(state) != 0 {
        let same = unchanged(world, way, state);
        let known_to_the_end = same == UNCHANGED_ALL || seq.wrapping_add(same) == end;
        return Plan::Known(if known_to_the_end {
            Reason::PassRetransmission.number()
        } else {
            hold(world, way, state, Reason::HoldAltered)
        });
    }
    if draining(world) {
        return known(Reason::HoldBusy);
    }
    let first = world.slot(way).first;
    // A hello judged from a single segment is judged again when a new copy comes.
    if seq != first || urgent {
        return Plan::Known(hold(world, way, state, Reason::HoldAltered));
    }
    Plan::Parse(Parse {
        way,
        state,
        from: 0,
        row: 0,
    })
}

/// Data behind the decisive byte. A hello after a HelloRetryRequest, or behind CONNECT, SOCKS or
/// STARTTLS, is judged like the first.
#[inline(always)]
fn behind<W: World>(world: &mut W, way: usize, state: u64, urgent: bool) -> Plan {
    let from = dummy_record(world);
    let request = state & REQUESTS != 0 && request::looks_like_request(world);
    if !request && !starts_hello(world, from) {
        world.swap_state(way, state, state | LATER);
        return known(Reason::PassData);
    }
    if draining(world) {
        return known(Reason::HoldBusy);
    }
    if urgent {
        return known(Reason::RefuseUrgent);
    }
    let now_ms = world.now_ms();
    let seq = world.facts().seq;
    let state = state_word(STAGE_SYN, 0, now_ms);
    let slot = world.slot(way);
    slot.first = seq;
    slot.next = seq;
    slot.state = state;
    Plan::Parse(Parse {
        way,
        state,
        from,
        row: 0,
    })
}

/// A flow whose hello is not judged yet.
#[inline(always)]
fn unfinished<W: World>(world: &mut W, way: usize, state: u64, next: u32) -> Plan {
    let facts = world.facts();
    let (seq, flags) = (facts.seq, facts.tcp_flags);
    if draining(world) {
        return known(Reason::HoldBusy);
    }
    if flags & tcp::URG != 0 {
        return known(Reason::RefuseUrgent);
    }
    let ahead = seq.wrapping_sub(next);
    let mut from = 0;
    if ahead != 0 {
        if ahead < 1 << 31 {
            return Plan::Known(hold(world, way, state, Reason::HoldOutOfOrder));
        }
        from = ahead.wrapping_neg();
        let same = unchanged(world, way, state);
        if same == UNCHANGED_ALL {
            return known(Reason::PassRetransmission);
        }
        if same != from {
            return Plan::Known(hold(world, way, state, Reason::HoldAltered));
        }
    }
    if stage(state) == STAGE_SYN {
        return Plan::Parse(Parse {
            way,
            state,
            from,
            row: 0,
        });
    }
    let row = world.slot(way).hello;
    Plan::Parse(Parse {
        way,
        state,
        from,
        row: row.wrapping_add(1),
    })
}
