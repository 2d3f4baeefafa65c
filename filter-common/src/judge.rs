//! A segment's payload that is to be parsed: its reading, the verdict on the name, and what is kept in
//! the flow's slot and in `HELLOS`.

use crate::bytes::{Packet, View};
use crate::flow::{
    BLOCKED, CHUNKED, HOLDS_SHIFT, LATER, REQUESTS, SEGMENTS_OVER, STAGE_BETWEEN, STAGE_CUT,
    STAGE_DONE, STAGE_OPEN, STAGE_SYN, key_hash, segments, stage, state_word,
};
use crate::limits::{SEGMENT_HASHES, WAYS};
use crate::lookup::{decide_into_outcome, nameless};
use crate::reason::{FIRST_NOT_PASS, LAST_BLOCK, Reason};
use crate::resend::hold;
use crate::rule::Moment;
use crate::segment::glide_facts;
use crate::tls::{progress, starts_record};
use crate::world::World;
use crate::{dns, http};

/// How a payload is to be parsed.
#[derive(Clone, Copy)]
pub(crate) struct Parse {
    /// Way of the flow's slot.
    pub(crate) way: usize,
    /// Its state word.
    pub(crate) state: u64,
    /// Bytes of the payload in front of the part to be parsed.
    pub(crate) from: u32,
    /// Row of `HELLOS` with the state to go on from, plus one; 0: a fresh hello.
    pub(crate) row: u32,
}

/// The unfinished hello of this flow is gone: nothing of the flow passes any more.
#[inline(always)]
pub(crate) fn lost<W: World>(world: &mut W, way: usize) -> u32 {
    let now_ms = world.now_ms();
    world.slot(way).state = state_word(STAGE_CUT, 0, now_ms);
    Reason::RefuseStateLost.number()
}

/// Parses the payload, decides where the name is complete, and keeps what is to be kept.
#[inline(always)]
pub(crate) fn parse<W: World>(world: &mut W, how: Parse) -> u32 {
    let requests = is_request(world, how) as u32;
    if world.forget(requests) != 0 {
        return put_aside(world, how);
    }
    let how = begin_hello(world, how);
    // Every plan comes here with something else known of these: one state for the verifier.
    let how = Parse {
        way: world.forget(how.way as u32) as usize,
        state: (world.forget((how.state >> 32) as u32) as u64) << 32
            | world.forget(how.state as u32) as u64,
        from: world.forget(how.from),
        row: world.forget(how.row),
    };
    parse_hello(world, how)
}

/// What [`parse`] gives in place of a reason: the payload goes to the reader of requests, which stands
/// beside this function and not below it, or their stacks would not fit together.
pub(crate) const REQUESTS_NEXT: u32 = u32::MAX;

/// Places where a [`Parse`] is put aside.
const ASIDE: [usize; 5] = [1, 4, 5, 6, 7];

#[inline(always)]
fn put_aside<W: World>(world: &mut W, how: Parse) -> u32 {
    let Parse {
        way,
        state,
        from,
        row,
    } = how;
    let words = [way as u32, (state >> 32) as u32, state as u32, from, row];
    for (place, word) in ASIDE.into_iter().zip(words) {
        world.put_aside(place, word);
    }
    REQUESTS_NEXT
}

/// What [`parse`] put aside.
#[inline(always)]
pub(crate) fn aside<W: World>(world: &mut W) -> Parse {
    let [way, upper, lower, from, row] = ASIDE.map(|place| world.aside(place));
    Parse {
        way: way as usize,
        state: (upper as u64) << 32 | lower as u64,
        from,
        row,
    }
}

/// Whether the payload goes to the reader of requests: by what the flow carries, else by its first byte.
#[inline(always)]
fn is_request<W: World>(world: &mut W, how: Parse) -> bool {
    if how.row != 0 {
        return how.state & REQUESTS != 0;
    }
    let between = stage(how.state) == STAGE_BETWEEN;
    if between && how.state & CHUNKED != 0 {
        return true;
    }
    let at = world.facts().payload.wrapping_add(how.from);
    let Some(first) = world.packet().view::<1>(at) else {
        return between;
    };
    let first = first.u8(0);
    let dns = world.facts().ports & 0xffff == dns::PORT;
    !starts_record(first) && (between || dns || http::starts_request(first))
}

#[inline(always)]
fn parse_hello<W: World>(world: &mut W, how: Parse) -> u32 {
    let mut stamp = 0;
    if how.row == 0 {
        world.start_hello();
    } else {
        stamp = load_stamp(world, how.row - 1);
        if stamp == 0 {
            return lost(world, how.way);
        }
        world.load_hello(how.row - 1);
    }
    world.facts().hello.offset = how.from;
    let mut row = how.row;
    let mut outcome = glide_facts(world);
    let facts = world.facts();
    if outcome == progress::GO && facts.hello.offset >= facts.payload_len {
        outcome = progress::MORE;
    } else if outcome == progress::GO {
        if row == 0 {
            row = take_row(world);
        }
        if row == 0 {
            return Reason::HoldNoSlot.number();
        }
        outcome = world.call_steps(row - 1);
        let facts = world.facts();
        facts.name_at = 0;
        facts.name_len = facts.hello.name_len as u32;
    }
    // The row may have been taken by another flow meanwhile: then what was read is of no account.
    if how.row != 0
        && world
            .hello(how.row - 1)
            .is_none_or(|hello| hello.stamp != stamp)
    {
        return lost(world, how.way);
    }
    conclude_segment(world, how, row, outcome)
}

/// A hello behind requests (CONNECT, an upgrade) starts the flow anew.
#[inline(always)]
fn begin_hello<W: World>(world: &mut W, how: Parse) -> Parse {
    if stage(how.state) != STAGE_BETWEEN {
        return how;
    }
    let now_ms = world.now_ms();
    let start = world.facts().seq.wrapping_add(how.from);
    let state = state_word(STAGE_SYN, 0, now_ms);
    let slot = world.slot(how.way);
    slot.first = start;
    slot.next = start;
    slot.state = state;
    Parse { state, ..how }
}

/// The stamp of a row of `HELLOS`; 0 if the row is not the flow's.
#[inline(always)]
pub(crate) fn load_stamp<W: World>(world: &mut W, row: u32) -> u64 {
    let key = world.facts().key;
    let Some(hello) = world.hello(row) else {
        return 0;
    };
    if hello.key != key {
        return 0;
    }
    hello.stamp
}

/// What the segment meets, and what is kept of it. `row` is the hello's row plus one, or 0.
#[inline(always)]
fn conclude_segment<W: World>(world: &mut W, how: Parse, row: u32, outcome: u32) -> u32 {
    if outcome == progress::MORE {
        return keep(world, how, row);
    }
    let reason = match outcome {
        progress::NAME => judge_name(world, row),
        progress::NO_NAME => nameless(world, Reason::PassHelloNoName),
        progress::NOT_TLS => nameless(world, Reason::PassNotTls),
        progress::BAD_NAME => Reason::RefuseHelloName.number(),
        _ => Reason::RefuseStepLimit.number(),
    };
    let pass = reason < FIRST_NOT_PASS;
    if pass {
        settle(world, how, outcome == progress::NOT_TLS);
    } else if reason <= LAST_BLOCK {
        world.slot(how.way).state |= BLOCKED;
    }
    // A row that this segment took, or that is not needed any more. A block leaves the state as it
    // was, so that a retransmission of the segment meets the same verdict.
    if row != 0 && (pass || how.row == 0) {
        give_row(world, row - 1);
    }
    reason
}

/// Looks the name up and decides.
#[inline(always)]
fn judge_name<W: World>(world: &mut W, row: u32) -> u32 {
    let facts = world.facts();
    let (at, len) = (facts.name_at, facts.name_len);
    facts.outcome.name_at = at;
    facts.outcome.name_len = len;
    facts.outcome.name_row = if at == 0 { row } else { 0 };
    // A name that lies whole in the segment was looked up where it was read.
    if at == 0 {
        world.call_name_in_row(row.wrapping_sub(1));
    }
    match decide_into_outcome(world, Moment::Name) {
        0 => Reason::PassHelloName.number(),
        reason => reason,
    }
}

/// The hello is not finished: remembers the segment and lets it through.
#[inline(always)]
fn keep<W: World>(world: &mut W, how: Parse, row: u32) -> u32 {
    let Parse {
        way, state, from, ..
    } = how;
    // A flow that was judged, with later data passed, does not become unfinished again.
    if state & LATER != 0 {
        return hold(world, way, state, Reason::HoldAltered);
    }
    let row = if row == 0 { take_row(world) } else { row };
    if row == 0 {
        return Reason::HoldNoSlot.number();
    }
    let now_ms = world.now_ms();
    let org = world.facts().outcome.org;
    world.save_hello(row - 1);
    let stamp = world.hello(row - 1).map_or(0, |hello| hello.stamp);
    let fresh = row_stamp(now_ms, org);
    if !world.swap_stamp(row - 1, stamp, fresh) {
        return lost(world, way);
    }
    let facts = world.facts();
    let next = facts.seq.wrapping_add(facts.payload_len);
    let len = facts.payload_len - from;
    let count = if stage(state) == STAGE_OPEN {
        segments(state)
    } else {
        0
    };
    let count = remember(world, way, count, from, len);
    let slot = world.slot(way);
    slot.next = next;
    slot.hello = row - 1;
    slot.state = state_word(STAGE_OPEN, count, now_ms) | state & 0xff << HOLDS_SHIFT;
    Reason::PassHelloPart.number()
}

/// Remembers `len` bytes from `from` on by a keyed hash; gives the new number of segments.
#[inline(always)]
fn remember<W: World>(world: &mut W, way: usize, count: u64, from: u32, len: u32) -> u64 {
    if count >= SEGMENT_HASHES as u64 {
        return SEGMENTS_OVER;
    }
    let hash = world.call_hash(from, len);
    let slot = world.slot(way);
    if let (Some(place), Some(length)) = (
        slot.hashes.get_mut(count as usize & 3),
        slot.lengths.get_mut(count as usize & 3),
    ) {
        *place = hash;
        *length = len as u16;
    }
    count + 1
}

/// The flow was judged and passes: the decisive byte is the boundary, and only moves back.
#[inline(always)]
fn settle<W: World>(world: &mut W, how: Parse, plain: bool) {
    let Parse {
        way, state, from, ..
    } = how;
    let now_ms = world.now_ms();
    let facts = world.facts();
    let offset = facts.hello.offset;
    let end = facts.seq.wrapping_add(offset);
    let mut count = 0;
    if stage(state) == STAGE_OPEN {
        count = remember(world, way, segments(state), from, offset.wrapping_sub(from));
    }
    let judged_before = stage(state) == STAGE_DONE;
    let slot = world.slot(way);
    if !judged_before || end.wrapping_sub(slot.next) > 1 << 31 {
        slot.next = end;
    }
    let marks = if plain { REQUESTS } else { 0 };
    slot.state = state_word(STAGE_DONE, count, now_ms) | state & LATER | marks;
}

/// Stamp of a row of `HELLOS`: never 0.
#[inline(always)]
pub(crate) fn row_stamp(now_ms: u32, org: u32) -> u64 {
    (now_ms as u64) << 32 | org as u64
}

/// How readily a row of `HELLOS` is given up for `org`; 0: not at all. An organisation pushes out its
/// own oldest hello before it meets another's, and another's only when it is idle.
#[inline(always)]
fn row_rank(stamp: u64, now_ms: u32, org: u32, idle_ms: u32) -> u64 {
    let age = now_ms.wrapping_sub((stamp >> 32) as u32) as u64;
    if stamp == 0 {
        1 << 40
    } else if age >= idle_ms as u64 {
        1 << 33 | age
    } else if stamp as u32 == org {
        1 << 32 | age
    } else {
        0
    }
}

/// Takes a row of `HELLOS` for the flow in hand; its number plus one, or 0.
#[inline(always)]
pub(crate) fn take_row<W: World>(world: &mut W) -> u32 {
    let control = world.control();
    let (seed, mask, idle_ms) = (control.seed, control.hello_set_mask, control.idle_ms);
    let facts = world.facts();
    let (key, org) = (facts.key, facts.outcome.org);
    let now_ms = world.now_ms();
    let first = (key_hash(seed, key) as u32 & mask) * WAYS as u32;
    let (mut best, mut best_row, mut best_stamp) = (0, 0, 0);
    for way in 0..WAYS as u32 {
        let Some(hello) = world.hello(first + way) else {
            return 0;
        };
        let stamp = hello.stamp;
        let mut rank = row_rank(stamp, now_ms, org, idle_ms);
        if stamp != 0 && hello.key == key {
            rank = 1 << 41;
        }
        if rank > best {
            best = rank;
            best_row = first + way;
            best_stamp = stamp;
        }
    }
    if best == 0 || !world.swap_stamp(best_row, best_stamp, row_stamp(now_ms, org)) {
        return 0;
    }
    let Some(hello) = world.hello(best_row) else {
        return 0;
    };
    hello.key = key;
    best_row + 1
}

/// Gives a row of `HELLOS` back. Its name stays readable for replay until it is taken again.
#[inline(always)]
pub(crate) fn give_row<W: World>(world: &mut W, row: u32) {
    if let Some(hello) = world.hello(row) {
        hello.stamp = 0;
    }
}
