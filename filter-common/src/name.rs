//! Subject keys. One function makes the key of a name on both sides: the kernel walks a name from
//! its right end, eight bytes at a time, and meets the key of every suffix on the way; the compiler
//! asks for the key of one suffix.
//!
//! A suffix is hashed with its leading dot, so that the whole name is no special case, in words of
//! eight bytes counted from the right end, the last one padded on the left with zeros.

use crate::limits::{NAME_LEN_MAX, NAME_WORDS_MAX};
use crate::table::{finish, fold};

const KIND_NAME: u64 = 0x6e61_6d65_0000_0001;
const KIND_IPV4: u64 = 0x6970_7634_0000_0002;
const KIND_IPV6: u64 = 0x6970_7636_0000_0003;
const KIND_NET6: u64 = 0x6e65_7436_0000_0004;
const KIND_ORG6: u64 = 0x6f72_6736_0000_0005;
const KIND_ORG_ID: u64 = 0x6f72_6769_0000_0006;
const KIND_URL: u64 = 0x7572_6c70_0000_0008;

const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const HIGH: u64 = 0x8080_8080_8080_8080;
const DOTS: u64 = 0x2e2e_2e2e_2e2e_2e2e;

/// Eight ASCII bytes in lower case; other bytes unchanged.
#[inline(always)]
#[must_use]
pub fn lower_word(word: u64) -> u64 {
    let low = word & LOW7;
    let from_a = low.wrapping_add(0x3f3f_3f3f_3f3f_3f3f);
    let beyond_z = low.wrapping_add(0x2525_2525_2525_2525);
    word | ((from_a & !beyond_z & !word & HIGH) >> 2)
}

/// The top bit of every byte that is a dot.
#[inline(always)]
#[must_use]
pub fn dots_of_word(word: u64) -> u64 {
    let differs = word ^ DOTS;
    !(((differs & LOW7).wrapping_add(LOW7)) | differs | LOW7)
}

/// State at the right end of every name.
#[inline(always)]
#[must_use]
pub fn name_start(seed: u64) -> u64 {
    seed ^ KIND_NAME
}

/// The key of a suffix whose leading dot is at the byte of `word` that `dot` marks by its top bit.
#[inline(always)]
#[must_use]
pub fn suffix_key(state: u64, word: u64, dot: u64) -> u64 {
    // Bytes are little-endian: those left of the dot are below it.
    finish(state, word & !((dot >> 7).wrapping_sub(1)))
}

/// A name that ends at a known place, read in words from its right end.
pub trait NameWords {
    /// The eight bytes that end `right` bytes before the name's end, as a little-endian word in
    /// lower case, or `None` where they cannot be read. The byte in front of the name reads as a
    /// dot; what is in front of that is of no account.
    fn word(&mut self, right: u32) -> Option<u64>;
}

/// Key of `name` as a subject: lower case, without a leading or trailing dot, at most
/// [`NAME_LEN_MAX`] bytes. `None` for an empty or longer name.
#[must_use]
pub fn name_key(seed: u64, name: &[u8]) -> Option<u64> {
    if name.is_empty() || name.len() > NAME_LEN_MAX as usize {
        return None;
    }
    let mut state = name_start(seed);
    let mut left = name.len() + 1; // with the leading dot
    for _ in 0..=NAME_WORDS_MAX {
        let mut word = [0u8; 8];
        for (back, byte) in word.iter_mut().rev().enumerate() {
            if back < left {
                let at = left - 1 - back;
                *byte = if at == 0 {
                    b'.'
                } else {
                    name.get(at - 1).copied().unwrap_or(0)
                };
            }
        }
        let word = lower_word(u64::from_le_bytes(word));
        if left <= 8 {
            return Some(finish(state, word));
        }
        state = fold(state, word);
        left -= 8;
    }
    None
}

/// State in front of every path of a URL.
#[inline(always)]
#[must_use]
pub fn url_path_start(seed: u64) -> u64 {
    seed ^ KIND_URL
}

/// Key of an IPv4 host.
#[inline(always)]
#[must_use]
pub fn ipv4_key(seed: u64, address: u32) -> u64 {
    finish(seed ^ KIND_IPV4, address as u64)
}

/// Key of an IPv6 host, by its two halves.
#[inline(always)]
#[must_use]
pub fn ipv6_key(seed: u64, high: u64, low: u64) -> u64 {
    finish(fold(seed ^ KIND_IPV6, high), low)
}

/// Key of an IPv6 /32 in which prefix entries lie.
#[inline(always)]
#[must_use]
pub fn net6_key(seed: u64, high: u64) -> u64 {
    finish(seed ^ KIND_NET6, high >> 32)
}

/// Key of an enrolled IPv6 /48 in a realm.
#[inline(always)]
#[must_use]
pub fn org6_key(seed: u64, realm: u32, high: u64) -> u64 {
    finish(seed ^ KIND_ORG6 ^ ((realm as u64) << 48), high >> 16)
}

/// Key of an organisation's id; never 0.
#[must_use]
pub fn org_id_key(seed: u64, id: &[u8]) -> u64 {
    let mut state = seed ^ KIND_ORG_ID;
    for chunk in id.chunks(8) {
        let mut word = [0u8; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        state = fold(state, u64::from_le_bytes(word));
    }
    finish(state, id.len() as u64) | 1
}

/// What an `ORG6` slot holds of a /48: the whole prefix, so that no other /48 of the realm can match,
/// mixed with the realm.
#[inline(always)]
#[must_use]
pub fn org6_tag(realm: u32, high: u64) -> u64 {
    ((high >> 16) ^ (realm as u64).wrapping_mul(0x9e37_79b9_7f4b)) << 16
}
