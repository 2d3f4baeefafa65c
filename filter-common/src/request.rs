//! Streams of requests (HTTP/1, see `http`; DNS over TCP, see `dns_stream`): every request of a connection is judged, however it is cut
//! and however many follow each other.
//!
//! Between requests a flow stands at [`STAGE_BETWEEN`]: `next` is where the next request starts, behind
//! the body of the last one; the remembered segments from `first` on are the heads that passed last.
//! A request that is blocked is answered once, and the connection is dead.

use crate::bytes::{Packet, View};
use crate::flow::{
    BLOCKED, CHUNKED, Plan, REQUESTS, SEGMENTS_OVER, STAGE_BETWEEN, STAGE_CUT, STAGE_DONE,
    STAGE_OPEN, known, segments, stage, state_word,
};
use crate::http::progress::{
    BOUNDARY, GO, HTTP2, MALFORMED, MORE, NAME, NO_NAME, NOT_HTTP, VERDICT,
};
use crate::http::{self, mark, progress};
use crate::judge::{Parse, aside, give_row, load_stamp, lost, row_stamp, take_row};
use crate::limits::{DEAD_ROWS, DEAD_SECONDS, REQUESTS_MAX, SEGMENT_HASHES};
use crate::lookup::{decide_into_outcome, nameless, probe_url};
use crate::reason::{FIRST_NOT_PASS, LAST_BLOCK, Reason};
use crate::resend::{UNCHANGED_ALL, hold, unchanged};
use crate::rule::Moment;
use crate::segment::{draining, tcp};
use crate::url::{self, PARTS_MAX, url_key};
use crate::world::World;
use crate::{dns, dns_stream, http_glide};

/// Reads the requests of the payload that [`crate::flow::payload`] has left to it, keeps what is to be
/// kept of them, and gives the claim of the flow's set back.
#[inline(always)]
pub fn parse_claimed<W: World>(world: &mut W) -> u32 {
    let how = aside(world);
    let reason = parse(world, how);
    world.release_flows();
    reason
}

#[inline(always)]
fn parse<W: World>(world: &mut W, how: Parse) -> u32 {
    let mut stamp = 0;
    if how.row == 0 {
        world.start_request();
        if how.state & CHUNKED != 0 && stage(how.state) == STAGE_BETWEEN {
            let request = &mut world.facts().request;
            request.stage = http::stage::CHUNK;
            request.marks = mark::CHUNKED;
        }
    } else {
        stamp = load_stamp(world, how.row - 1);
        if stamp == 0 {
            return lost(world, how.way);
        }
        world.load_request(how.row - 1);
    }
    let facts = world.facts();
    let dns = facts.ports & 0xffff == dns::PORT;
    facts.outcome.http = !dns as u32;
    facts.request.offset = how.from;
    if dns && how.row == 0 {
        facts.request.stage = dns_stream::stage::LENGTH;
    }
    facts.best_address = facts.best;
    let mut row = how.row;
    let mut outcome = GO;
    if row == 0 && facts.request.stage == http::stage::START {
        outcome = http_glide::glide(world);
        outcome = world.forget(outcome);
        let facts = world.facts();
        // What follows in the same segment is the next request.
        if outcome & 0xff == BOUNDARY && facts.request.offset < facts.payload_len {
            facts.request.stage = http::stage::START;
            outcome = GO;
        }
    }
    if outcome == GO {
        if row == 0 {
            row = take_row(world);
        }
        if row == 0 {
            return Reason::HoldNoSlot.number();
        }
        outcome = requests(world, row - 1);
        outcome = world.forget(outcome);
    }
    if how.row != 0
        && world
            .hello(how.row - 1)
            .is_none_or(|hello| hello.stamp != stamp)
    {
        return lost(world, how.way);
    }
    conclude(world, how, row, outcome)
}

/// What the segment meets, and what is kept of it.
#[inline(always)]
fn conclude<W: World>(world: &mut W, how: Parse, row: u32, outcome: u32) -> u32 {
    let passed = outcome >> 8;
    let reason = match outcome & 0xff {
        MORE => return keep(world, how, row, passed),
        BOUNDARY => passed,
        NOT_HTTP if passed != 0 => passed,
        NOT_HTTP => {
            world.facts().outcome.http = 0;
            nameless(world, Reason::PassNotTls)
        }
        VERDICT => passed,
        HTTP2 => Reason::RefuseHttp2.number(),
        MALFORMED if world.facts().outcome.http == 0 => Reason::RefuseDnsMalformed.number(),
        MALFORMED => Reason::RefuseHttpMalformed.number(),
        _ => Reason::RefuseStepLimit.number(),
    };
    if row != 0 {
        give_row(world, row - 1);
    }
    if reason >= FIRST_NOT_PASS {
        end_flow(world, how, reason);
    } else if outcome & 0xff == NOT_HTTP {
        settle(world, how, STAGE_DONE);
    } else {
        settle(world, how, STAGE_BETWEEN);
    }
    reason
}

/// Nothing more of the flow passes. Where a page was the answer, the same segment is answered again.
#[inline(always)]
fn end_flow<W: World>(world: &mut W, how: Parse, reason: u32) {
    let now_ms = world.now_ms();
    let facts = world.facts();
    let (seq, ports, source) = (facts.seq, facts.ports, facts.source[3]);
    let blocked = if reason <= LAST_BLOCK { BLOCKED } else { 0 };
    let slot = world.slot(how.way);
    slot.next = seq;
    slot.state = state_word(STAGE_CUT, 0, now_ms) | blocked | REQUESTS;
    world.set_dead(dead_row(ports, source), (now_ms >> 10).wrapping_add(1));
}

/// Row of `DEAD` of a client's address and port.
#[inline(always)]
#[must_use]
pub(crate) fn dead_row(ports: u32, source: u32) -> u32 {
    ((ports >> 16) ^ source.wrapping_mul(0x9e37)) & (DEAD_ROWS - 1)
}

/// A segment without payload: of a connection that was ended, perhaps. Cheap for all others.
#[inline(always)]
pub(crate) fn without_payload<W: World>(world: &mut W, ports: u32) -> bool {
    let source = world.facts().source[3];
    let ended = world.dead(dead_row(ports, source));
    ended != 0 && (world.now_ms() >> 10).wrapping_sub(ended).wrapping_add(1) < DEAD_SECONDS
}

/// A segment without payload whose client has ended connections: of one of them, or of another flow.
#[inline(always)]
pub fn ended<W: World>(world: &mut W) -> u32 {
    if is_ended(world) {
        Reason::RefuseEnded.number()
    } else {
        Reason::PassNoPayload.number()
    }
}

#[inline(always)]
fn is_ended<W: World>(world: &mut W) -> bool {
    let set = crate::flow::key_into_facts(world);
    if !world.open_flows(set) {
        return false;
    }
    let key = world.facts().key;
    let Some(way) = crate::flow::find(world.flows(), key) else {
        return false;
    };
    let (state, _) = crate::flow::read(world.flows(), way);
    stage(state) == STAGE_CUT && state & REQUESTS != 0
}

/// A flow of requests, between two of them or within a body.
#[inline(always)]
pub(crate) fn between<W: World>(world: &mut W, way: usize, state: u64, next: u32) -> Plan {
    let facts = world.facts();
    let (seq, len, flags) = (facts.seq, facts.payload_len, facts.tcp_flags);
    if flags & tcp::URG != 0 {
        return known(Reason::RefuseUrgent);
    }
    let slot = world.slot(way);
    let (first, lengths) = (slot.first, slot.lengths);
    let heads = lengths.iter().fold(0, |sum, len| sum + *len as u32);
    let body = first.wrapping_add(heads);
    let ahead = next.wrapping_sub(seq);
    if ahead >= 1 << 31 {
        return Plan::Known(hold(world, way, state, Reason::HoldOutOfOrder));
    }
    if seq.wrapping_sub(body) >= 1 << 31 {
        let same = unchanged(world, way, state);
        if same == UNCHANGED_ALL {
            return known(Reason::PassRetransmission);
        }
        if same == 0 || seq.wrapping_add(same) != body {
            return Plan::Known(hold(world, way, state, Reason::HoldAltered));
        }
    }
    if ahead >= len {
        return known(Reason::PassData);
    }
    if draining(world) {
        return known(Reason::HoldBusy);
    }
    Plan::Parse(Parse {
        way,
        state,
        from: ahead,
        row: 0,
    })
}

/// A segment that ends within a request: remembers it and lets it through.
#[inline(always)]
fn keep<W: World>(world: &mut W, how: Parse, row: u32, passed: u32) -> u32 {
    let Parse {
        way, state, from, ..
    } = how;
    let row = if row == 0 { take_row(world) } else { row };
    if row == 0 {
        return Reason::HoldNoSlot.number();
    }
    let now_ms = world.now_ms();
    let org = world.facts().outcome.org;
    world.save_request(row - 1);
    let stamp = world.hello(row - 1).map_or(0, |hello| hello.stamp);
    if !world.swap_stamp(row - 1, stamp, row_stamp(now_ms, org)) {
        return lost(world, way);
    }
    let facts = world.facts();
    let len = facts.payload_len;
    let next = facts.seq.wrapping_add(len);
    let count = remember(world, way, state, from, len - from);
    let slot = world.slot(way);
    slot.next = next;
    slot.hello = row - 1;
    slot.state = state_word(STAGE_OPEN, count, now_ms) | state & 0xff << 8 | REQUESTS;
    if passed == 0 {
        Reason::PassRequestPart.number()
    } else {
        passed
    }
}

/// Remembers `len` bytes from `from` on as the last of the heads that passed; gives their number. Where
/// bytes that are not remembered lie in front of them, or they are too many, the older ones go.
#[inline(always)]
fn remember<W: World>(world: &mut W, way: usize, state: u64, from: u32, len: u32) -> u64 {
    let hash = world.call_hash(from, len);
    let start = world.facts().seq.wrapping_add(from);
    let slot = world.slot(way);
    let heads = slot.lengths.iter().fold(0, |sum, len| sum + *len as u32);
    let mut count = segments(state);
    let follows = slot.first.wrapping_add(heads) == start;
    if count == 0 || count >= SEGMENTS_OVER || !follows {
        slot.first = start;
        slot.lengths = [0; SEGMENT_HASHES];
        count = 0;
    }
    if count == SEGMENT_HASHES as u64 {
        let [gone, l1, l2, l3] = slot.lengths;
        let [_, h1, h2, h3] = slot.hashes;
        slot.first = slot.first.wrapping_add(gone as u32);
        slot.lengths = [l1, l2, l3, 0];
        slot.hashes = [h1, h2, h3, 0];
        count -= 1;
    }
    if let (Some(place), Some(length)) = (
        slot.hashes.get_mut(count as usize & 3),
        slot.lengths.get_mut(count as usize & 3),
    ) {
        *place = hash;
        *length = len as u16;
    }
    count + 1
}

/// Every request of the segment passes. What is behind its end is a body.
#[inline(always)]
fn settle<W: World>(world: &mut W, how: Parse, to: u64) {
    let Parse {
        way, state, from, ..
    } = how;
    let now_ms = world.now_ms();
    let facts = world.facts();
    let (offset, len, seq) = (facts.request.offset, facts.payload_len, facts.seq);
    let chunked = facts.request.stage == http::stage::CHUNK;
    // Between requests all of the segment is remembered: bodies of several may lie in it.
    let to_here = if to == STAGE_DONE { offset } else { len };
    let count = remember(world, way, state, from, to_here.wrapping_sub(from));
    let slot = world.slot(way);
    slot.next = seq.wrapping_add(offset);
    let marks = if chunked { CHUNKED } else { 0 };
    slot.state = state_word(to, count, now_ms) | REQUESTS | marks;
}

/// Steps and verdicts on the requests of a segment, with the row's buffers; gives how it ended, with the
/// reason of the last name that passed above the low byte.
#[inline(always)]
fn requests<W: World>(world: &mut W, row: u32) -> u32 {
    let mut passed = 0;
    for _ in 0..REQUESTS_MAX {
        let outcome = world.call_request_steps(row);
        if outcome != NAME && outcome != NO_NAME {
            return outcome & 0xff | passed << 8;
        }
        let facts = world.facts();
        facts.best = facts.best_address;
        if outcome == NAME {
            facts.name_at = 0;
            facts.name_len = facts.request.name_len as u32;
            facts.engine = 0;
            if facts.outcome.http == 0 {
                // What is listed for the resolver's address says nothing of the name that is asked for.
                facts.best.clear();
            }
            // From here and not from the verdict: kernel 6.1 adds stacks up in steps of 32 bytes.
            world.call_name_in_row(row);
        }
        passed = world.call_judge_request(row, outcome);
        if passed >= FIRST_NOT_PASS {
            return VERDICT | (passed & 0xff) << 8;
        }
    }
    progress::GO
}

/// One [`http::step`] on `facts.request` with the buffers of a row of `HELLOS`.
#[inline(always)]
pub fn step_facts<W: World>(world: &mut W, row: u32) -> u32 {
    let packet = world.packet();
    let seed = world.control().seed;
    let facts = world.facts();
    let (payload, len) = (facts.payload, facts.payload_len);
    let Some((request, name, mut paths)) = world.request_and_buffers(row) else {
        return NOT_HTTP;
    };
    if request.stage >= dns_stream::stage::LENGTH {
        return dns_stream::step(request, name, packet, payload, len);
    }
    http::step(request, name, &mut paths, seed, packet, payload, len)
}

/// Judges a request whose name was read into the row's buffer and looked up, or which has none.
#[inline(always)]
pub fn judge_request<W: World>(world: &mut W, row: u32, outcome: u32) -> u32 {
    let facts = world.facts();
    if facts.outcome.http == 0 {
        return if outcome == NAME {
            dns_stream::judge(world, row)
        } else {
            Reason::PassDnsOther.number()
        };
    }
    if outcome == NO_NAME {
        return nameless(world, Reason::PassRequestNoName);
    }
    let no_path = facts.request.marks & mark::CONNECT != 0;
    if world.facts().name_has_urls != 0 && !no_path {
        world.call_urls(row);
    }
    let facts = world.facts();
    facts.outcome.name_row = row + 1;
    judge_name(world)
}

/// The decision on the name that was looked up last.
#[inline(always)]
pub fn judge_name<W: World>(world: &mut W) -> u32 {
    let facts = world.facts();
    let (at, len) = (facts.name_at, facts.name_len);
    facts.outcome.name_at = at;
    facts.outcome.name_len = len;
    if at != 0 {
        facts.outcome.name_row = 0;
    }
    match decide_into_outcome(world, Moment::Name) {
        0 => Reason::PassRequestName.number(),
        reason => reason,
    }
}

/// Looks the URLs of the host in hand up: what lies below each beginning of the path, then the path.
#[inline(always)]
pub fn urls<W: World>(world: &mut W, row: u32) {
    let host = world.facts().name_key;
    let parts = world.facts().request.parts as u32;
    for part in 0..PARTS_MAX as u32 {
        if part >= parts {
            break;
        }
        let path = world.path(row, part);
        probe_url(world, url_key(host, path), part, false);
    }
    for place in [url::PATH_AT as u32, url::FULL_AT as u32] {
        let path = world.path(row, place);
        let full = place == url::FULL_AT as u32;
        probe_url(world, url_key(host, path), place, full);
    }
}

/// Whether the payload at `from` starts a request in the middle of a stream that is not followed.
#[inline(always)]
pub(crate) fn looks_like_request<W: World>(world: &mut W) -> bool {
    let facts = world.facts();
    let (at, len) = (facts.payload, facts.payload_len);
    if len < 4 {
        return false;
    }
    let Some(view) = world.packet().view::<4>(at) else {
        return false;
    };
    http::looks_like_request(view.be32(0))
}
