//! The straight path of an HTTP/1 request: the whole head in one segment, in the shape that clients send.
//! Everything else is left to the resumable reader in `http`, from the same place.

use crate::bytes::{Packet, View};
use crate::http::line_ends;
use crate::http::progress::{BOUNDARY, GO, VERDICT};
use crate::limits::{NAME_LEN_MAX, REQUEST_WORDS_MAX};
use crate::name::lower_word;
use crate::reason::FIRST_NOT_PASS;
use crate::request::judge_name;
use crate::world::World;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;
/// Shortest request that has a host.
const HEAD_MIN: u32 = 24;

/// The eight bytes at `at`, the first one lowest; behind `end` they are zero. At least eight bytes of the
/// payload stand in front of `end`. Without a branch: a path less for the verifier in every round.
#[inline(always)]
fn word<P: Packet>(packet: P, at: u32, end: u32) -> Option<u64> {
    let over = (at + 8).wrapping_sub(end);
    let over = over & !(over.cast_signed() >> 31).cast_unsigned();
    let bytes = packet.view::<8>(at.wrapping_sub(over))?.le64(0);
    Some(bytes >> ((over & 7) * 8))
}

/// The top bit of the first byte of a word that ends a host: white space, control, a colon; bits above
/// it mean nothing.
#[inline(always)]
fn host_ends(word: u64) -> u64 {
    let colon = word ^ (b':' as u64 * ONES);
    let low = word.wrapping_sub(0x21 * ONES) & !word;
    (low | colon.wrapping_sub(ONES) & !colon) & HIGH
}

/// Reads the request at `facts.request.offset`; see the module. [`BOUNDARY`]: it passes, with the reason
/// above the low byte, and ends at `facts.request.offset`. [`VERDICT`]: it does not. [`GO`]: not read.
#[inline(always)]
pub fn glide<W: World>(world: &mut W) -> u32 {
    let packet = world.packet();
    let facts = world.facts();
    let (payload, len, offset) = (facts.payload, facts.payload_len, facts.request.offset);
    let start = world.forget(payload + offset);
    let end = world.forget(payload + len);
    if start + HEAD_MIN > end || !plain_method(packet, start) {
        return GO;
    }
    world.facts().name_len = 0;
    let Some(end_of_head) = head(world, start, end) else {
        return GO;
    };
    if world.facts().name_len == 0 {
        return GO;
    }
    world.facts().request.offset = end_of_head.wrapping_sub(payload);
    world.call_name_in_packet();
    // Paths are read by the resumable reader only.
    if world.facts().name_has_urls != 0 {
        world.facts().request.offset = offset;
        return GO;
    }
    let reason = judge_name(world);
    if reason >= FIRST_NOT_PASS {
        VERDICT | reason << 8
    } else {
        BOUNDARY | reason << 8
    }
}

/// `GET /`, or another method of at most six letters.
#[inline(always)]
fn plain_method<P: Packet>(packet: P, start: u32) -> bool {
    let Some(view) = packet.view::<8>(start) else {
        return false;
    };
    let word = view.le64(0);
    let target = |letters: u32| word >> (letters * 8) & 0xffff == 0x2f20;
    // Letters of a token in upper case: none of these bytes is below `A` or above `Z`.
    let upper = |letters: u32| {
        let low = word & ((1 << (letters * 8)) - 1) | (0x4141_4141_4141_4141 << (letters * 8));
        let below = low.wrapping_sub(0x41 * ONES);
        let above = low.wrapping_add(0x25 * ONES);
        (below | above | low) & HIGH == 0
    };
    target(3) && upper(3) || target(4) && upper(4) || target(5) && upper(5)
}

/// Where the reading of a head stands.
mod at {
    /// In the request line.
    pub(super) const REQUEST: u32 = 0;
    /// At the start of a header line.
    pub(super) const LINE: u32 = 1;
    /// In a line of which only the end matters.
    pub(super) const REST: u32 = 2;
    /// In the value of Host.
    pub(super) const HOST: u32 = 3;
}

/// Places of what is put aside: everything, or the verifier multiplies states.
mod aside {
    /// Offset of the next byte in the frame.
    pub(super) const AT: usize = 1;
    /// Offset of the request.
    pub(super) const START: usize = 4;
    /// Offset behind the payload.
    pub(super) const END: usize = 5;
    /// One of `at`.
    pub(super) const STAGE: usize = 6;
    /// Offset of the host; 0: not seen.
    pub(super) const HOST: usize = 7;
}

/// Reads the head from the request line on; gives the place behind it, and the host in `facts.name_at`
/// and `facts.name_len`. `None`: not in the shape that is read here.
#[inline(always)]
fn head<W: World>(world: &mut W, start: u32, end: u32) -> Option<u32> {
    world.put_aside(aside::AT, start);
    world.put_aside(aside::START, start);
    world.put_aside(aside::END, end);
    world.put_aside(aside::STAGE, at::REQUEST);
    world.put_aside(aside::HOST, 0);
    for _ in 0..REQUEST_WORDS_MAX {
        let (at, end) = (world.aside(aside::AT), world.aside(aside::END));
        if at >= end {
            return None;
        }
        let packet = world.packet();
        let bytes = word(packet, at, end)?;
        let stage = world.aside(aside::STAGE);
        if stage == at::HOST {
            in_host(world, bytes, at, end)?;
            continue;
        }
        if stage == at::LINE {
            if bytes & 0xffff == 0x0a0d {
                return Some(at + 2);
            }
            if !line(world, bytes, at)? {
                continue;
            }
        }
        in_line(world, packet, bytes, at)?;
    }
    None
}

/// Takes a word of a line of which the end matters.
#[inline(always)]
fn in_line<W: World>(world: &mut W, packet: W::Packet, bytes: u64, at: u32) -> Option<()> {
    let ends = line_ends(bytes);
    if ends == 0 {
        world.put_aside(aside::AT, at + 8);
        return Some(());
    }
    let lf = at + (ends.trailing_zeros() >> 3);
    if world.aside(aside::STAGE) == at::REQUEST {
        version(packet, world.aside(aside::START), lf)?;
    }
    world.put_aside(aside::STAGE, at::LINE);
    world.put_aside(aside::AT, lf + 1);
    Some(())
}

/// A header line starts with these bytes; false: it is Host, and its value comes next.
#[inline(always)]
fn line<W: World>(world: &mut W, bytes: u64, at: u32) -> Option<bool> {
    match field(bytes) {
        Field::Other => {
            world.put_aside(aside::STAGE, at::REST);
            Some(true)
        }
        Field::Host if world.aside(aside::HOST) == 0 => {
            let from = at + 5 + (bytes >> 40 & 0xff == 0x20) as u32;
            world.put_aside(aside::HOST, from);
            world.put_aside(aside::AT, from);
            world.put_aside(aside::STAGE, at::HOST);
            Some(false)
        }
        Field::Host | Field::Unread => None,
    }
}

/// Takes a word of the value of Host.
#[inline(always)]
fn in_host<W: World>(world: &mut W, bytes: u64, at: u32, end: u32) -> Option<()> {
    let ends = host_ends(bytes);
    if ends == 0 {
        world.put_aside(aside::AT, at + 8);
        return Some(());
    }
    let stop = at + (ends.trailing_zeros() >> 3);
    let from = world.aside(aside::HOST);
    let len = stop.wrapping_sub(from);
    // Behind the segment's end zeros end the name: it is not complete there.
    if stop >= end || len == 0 || len >= NAME_LEN_MAX {
        return None;
    }
    let facts = world.facts();
    facts.name_at = from;
    facts.name_len = len;
    world.put_aside(aside::AT, stop);
    world.put_aside(aside::STAGE, at::REST);
    Some(())
}

/// ` HTTP/1.x` and CR in front of the first line's end.
#[inline(always)]
fn version<P: Packet>(packet: P, start: u32, lf: u32) -> Option<()> {
    if lf < start + 15 {
        return None;
    }
    let view = packet.view::<10>(lf.wrapping_sub(10))?;
    let like = view.le64(0) == u64::from_le_bytes(*b" HTTP/1.") && view.u8(9) == 13;
    like.then_some(())
}

/// What a header line is, by its first eight bytes.
enum Field {
    /// Of no account.
    Other,
    /// `Host:`
    Host,
    /// One whose value matters otherwise, or no plain line.
    Unread,
}

#[inline(always)]
fn field(bytes: u64) -> Field {
    let lower = lower_word(bytes);
    let first = lower as u32 & 0xff;
    if first == b'h' as u32 && lower as u32 == u32::from_le_bytes(*b"host") {
        return if lower >> 32 & 0xff == b':' as u64 {
            Field::Host
        } else {
            Field::Unread
        };
    }
    let length = lower == u64::from_le_bytes(*b"content-");
    let coding = lower == u64::from_le_bytes(*b"transfer");
    // An empty or folded line, or the end of the segment, too.
    if length || coding || first <= 0x20 {
        Field::Unread
    } else {
        Field::Other
    }
}
