//! The walk of a name from its right end, in words of eight bytes: every dot gives the key of a suffix.

use crate::bytes::{Packet, View};
use crate::dns::HEADER_LEN;
use crate::limits::{NAME_PAD, NAME_WORDS_MAX};
use crate::lookup::{WHOLE_NAME, probe_name};
use crate::name::{dots_of_word, lower_word, name_start, suffix_key};
use crate::table::fold;
use crate::world::World;

/// Looks up the name at `facts.name_at`, `facts.name_len` bytes long, in the frame.
#[inline(always)]
pub fn name_in_packet<W: World>(world: &mut W) {
    walk(world, |world, left| {
        let at = world.facts().name_at.wrapping_add(left).wrapping_sub(8);
        Some(world.packet().view::<8>(at)?.le64(0))
    });
}

/// Looks up the name of `facts.name_len` bytes in a row of `HELLOS`.
#[inline(always)]
pub fn name_in_row<W: World>(world: &mut W, row: u32) {
    walk(world, |world, left| {
        let from = (left & 0xff) as usize + NAME_PAD - 8;
        let bytes = world
            .hello(row)?
            .name
            .get(from..from + 8)?
            .first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes))
    });
}

/// Looks up the name of `facts.name_len` bytes behind the header of the DNS message.
#[inline(always)]
pub fn name_in_message<W: World>(world: &mut W) {
    walk(world, |world, left| {
        // The header in front of the name is longer than a word.
        Some(world.message_word(left.wrapping_add(HEADER_LEN + 1 - 8)))
    });
}

/// Walks a name from its right end in words of eight bytes; `read` gives the word that ends at the
/// name's first `left` bytes. What is left stands in map memory, or the verifier multiplies states.
#[inline(always)]
fn walk<W: World>(world: &mut W, read: impl Fn(&mut W, u32) -> Option<u64>) {
    let mut state = name_start(world.control().seed);
    let name_len = world.facts().name_len;
    let name_len = world.forget(name_len);
    // A trailing dot is the root's label: stock servers take the name without it for the same host.
    let Some(last) = read(world, name_len) else {
        return;
    };
    let name_len = name_len.wrapping_sub((last >> 56 == b'.' as u64) as u32);
    world.facts().name_len = name_len;
    world.facts().name_left = name_len;
    for _ in 0..NAME_WORDS_MAX {
        let left = world.facts().name_left;
        let left = world.forget(left);
        if left < 8 {
            break;
        }
        let Some(word) = read(world, left) else {
            return;
        };
        let word = lower_word(word);
        let dots = dots_of_word(word);
        probe_dots(world, state, word, dots, left);
        state = fold(state, word);
        world.facts().name_left = left - 8;
    }
    let left = world.facts().name_left;
    let left = world.forget(left) & 7;
    let Some(word) = read(world, left) else {
        return;
    };
    probe_last(world, state, lower_word(word), left);
}

/// The name's first word: bytes in front of the name are cleared, a dot is set in front of it.
#[inline(always)]
fn probe_last<W: World>(world: &mut W, state: u64, word: u64, left: u32) {
    let front = (7 - left) * 8;
    let word = (((word >> front) | 0xff) ^ (0xff ^ b'.' as u64)) << front;
    let whole = 0x80 << front;
    let key = suffix_key(state, word, whole);
    world.facts().name_key = key;
    world.facts().name_has_urls = 0;
    probe_name(world, key, whole, left | WHOLE_NAME);
    probe_dots(world, state, word, dots_of_word(word) & !whole, left);
}

#[inline(always)]
fn probe_dots<W: World>(world: &mut W, state: u64, word: u64, mut dots: u64, left: u32) {
    for _ in 0..8 {
        if dots == 0 {
            break;
        }
        let dot = dots & dots.wrapping_neg();
        dots ^= dot;
        probe_one(world, state, word, dot, left);
    }
}

#[inline(always)]
fn probe_one<W: World>(world: &mut W, state: u64, word: u64, dot: u64, left: u32) {
    probe_name(world, suffix_key(state, word, dot), dot, left);
}
