//! QUIC flows whose name the daemon reads: the program hands copies of Initial packets over, the daemon
//! writes the verdict on the flow, the program carries it out.
//!
//! No connection is completed without a verdict that allows it: an Initial without one passes, as the
//! server cannot answer half a hello and the daemon needs less than a millisecond for a whole one; what
//! the client sends next, a Handshake packet, passes only behind an allowing verdict. Where no copy can
//! be handed over, because no daemon is alive or there is no room, the Initial is answered as a profile
//! without inspection would.
//!
//! Only the daemon makes rows; the program moves the end of one in use. A row names nobody: a keyed
//! hash of the flow, and the verdict.

use crate::abi::QuicSet;
use crate::flow::{key_hash, key_into_facts};
use crate::limits::{QUIC_SETS, WAYS};
use crate::lookup::nameless;
use crate::quic::Kind;
use crate::reason::{FIRST_NOT_PASS, Reason};
use crate::table::{finish, position};
use crate::world::World;

const KIND_QUIC: u64 = 0x7175_6963_0000_0008;
/// A unit of time in a row: 2^20 nanoseconds, about a millisecond.
pub const TIME_SHIFT: u32 = 20;
/// Units that a verdict which allows lasts without use: ten minutes.
pub const ALLOWED_LIFE: u32 = 600_000;
/// Units that a verdict which blocks lasts: longer than a server waits for a handshake (RFC 9000 section
/// 10.1: idle time-outs of half a minute are usual).
pub const BLOCKED_LIFE: u32 = 120_000;

/// Key of a flow by its keyed hash (`flow::key_hash`); never 0.
#[inline(always)]
#[must_use]
pub fn quic_key(seed: u64, hash: u64) -> u64 {
    finish(seed ^ KIND_QUIC, hash) | 1
}

/// Set of `QUIC_FLOWS` that a key belongs to.
#[inline(always)]
#[must_use]
pub fn quic_set(key: u64) -> u32 {
    position(key, QUIC_SETS)
}

/// State word of a row: from the lowest bit reason (8), category (8), zero (16), and its end in units of
/// the clock.
#[inline(always)]
#[must_use]
pub const fn state_word(reason: u32, category: u32, until: u32) -> u64 {
    (reason & 0xff) as u64 | ((category & 0xff) as u64) << 8 | (until as u64) << 32
}

/// Reason in a state word.
#[inline(always)]
#[must_use]
pub const fn reason_of(state: u64) -> u32 {
    state as u32 & 0xff
}

/// Category in a state word.
#[inline(always)]
#[must_use]
pub const fn category_of(state: u64) -> u32 {
    state as u32 >> 8 & 0xff
}

/// End of a state word.
#[inline(always)]
#[must_use]
pub const fn until_of(state: u64) -> u32 {
    (state >> 32) as u32
}

/// The clock in units of a row.
#[inline(always)]
#[must_use]
pub const fn units(now_ns: u64) -> u32 {
    (now_ns >> TIME_SHIFT) as u32
}

/// Units left of a state word.
#[inline(always)]
#[must_use]
pub const fn left_of(state: u64, now: u32) -> u32 {
    let left = until_of(state).wrapping_sub(now);
    if left < 1 << 31 { left } else { 0 }
}

/// State word and entry of the row with this key in its set; (0, 0): there is none. `read` reads a word
/// of the set, in the order of the calls: the key comes last, as the writer clears it first.
#[inline(always)]
pub fn find_quic(key: u64, read: impl Fn(usize) -> u64) -> (u64, u32) {
    for way in 0..WAYS {
        let (state, entry) = (read(way * 4 + 1), read(way * 4 + 2));
        if read(way * 4) == key {
            return (state, entry as u32);
        }
    }
    (0, 0)
}

/// Judges a QUIC packet under a profile whose names the daemon reads. Ports are in the facts.
#[inline(always)]
pub(crate) fn inspect<W: World>(world: &mut W, kind: u32) -> u32 {
    key_into_facts(world);
    let seed = world.control().seed;
    let flow = world.facts().key;
    let key = quic_key(seed, key_hash(seed, flow));
    let (state, entry) = world.quic_flow(key);
    let now = if state == 0 { 0 } else { units(world.now_ns()) };
    let left = left_of(state, now);
    let reason = reason_of(state);
    if left != 0 && reason >= FIRST_NOT_PASS {
        let outcome = &mut world.facts().outcome;
        outcome.category = category_of(state);
        outcome.entry = entry;
        return reason;
    }
    let allowed = left != 0 && reason != 0;
    if kind == Kind::Initial as u32 {
        // A server would read what is behind the Initial too.
        if !allowed && world.call_carries_handshake() != 0 {
            return Reason::RefuseQuic.number();
        }
        // On an allowed flow another connection may begin: its name is read too.
        return hand_over(world, key);
    }
    if !allowed {
        return if kind == Kind::Later as u32 {
            Reason::RefuseQuic.number()
        } else {
            nameless(world, Reason::PassUdp)
        };
    }
    if left < ALLOWED_LIFE / 2 {
        let category = category_of(state);
        world.swap_quic_state(
            key,
            state,
            state_word(reason, category, now.wrapping_add(ALLOWED_LIFE)),
        );
    }
    reason
}

/// Hands a copy of an Initial to the daemon; the Initial passes if it was taken.
#[inline(always)]
fn hand_over<W: World>(world: &mut W, key: u64) -> u32 {
    let until = world.inspector_until();
    if until != 0 && world.now_ns() < until && world.call_copy(key) != 0 {
        return Reason::PassQuicPart.number();
    }
    Reason::FallbackQuicBusy.number()
}

const _: () = assert!(size_of::<QuicSet>() == WAYS * 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_word_gives_back_what_it_was_made_of() {
        let state = state_word(36, 7, u32::MAX);
        assert_eq!(
            (reason_of(state), category_of(state), until_of(state)),
            (36, 7, u32::MAX)
        );
    }

    #[test]
    fn time_goes_on_over_the_wrap() {
        let state = state_word(1, 0, 5);
        assert_eq!(left_of(state, u32::MAX), 6);
        assert_eq!(left_of(state, 5), 0);
        assert_eq!(left_of(state, 6), 0);
    }
}
