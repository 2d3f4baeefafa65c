//! Segments that come again: what is held, and whether bytes that passed are still the same.

use crate::flow::{HOLDS_SHIFT, holds, segments};
use crate::limits::HOLDS_MAX;
use crate::reason::Reason;
use crate::world::World;

/// Counts a held segment; a flow with too many is reset rather than starved.
#[inline(always)]
pub(crate) fn hold<W: World>(world: &mut W, way: usize, state: u64, reason: Reason) -> u32 {
    if holds(state) >= HOLDS_MAX as u64 {
        return Reason::RefuseStarved.number();
    }
    world.slot(way).state = state + (1 << HOLDS_SHIFT);
    reason.number()
}

/// [`unchanged`]: the whole segment is known.
pub(crate) const UNCHANGED_ALL: u32 = u32::MAX;

/// How many bytes of the segment in hand, from its first on, are remembered segments with the same
/// bytes; [`UNCHANGED_ALL`] if that is all of it; 0 if any of them differs.
#[inline(always)]
pub(crate) fn unchanged<W: World>(world: &mut W, way: usize, state: u64) -> u32 {
    let facts = world.facts();
    let (seq, len) = (facts.seq, facts.payload_len);
    let slot = world.slot(way);
    let (mut piece, hashes, lengths) = (slot.first, slot.hashes, slot.lengths);
    let count = segments(state);
    let mut same = 0u32;
    let mut number = 0;
    for (hash, piece_len) in hashes.into_iter().zip(lengths) {
        let piece_len = piece_len as u32;
        number += 1;
        if number > count {
            break;
        }
        if piece == seq.wrapping_add(same) && same + piece_len <= len {
            if world.call_hash(same, piece_len) != hash {
                return 0;
            }
            same += piece_len;
        }
        piece = piece.wrapping_add(piece_len);
    }
    if same == len { UNCHANGED_ALL } else { same }
}
