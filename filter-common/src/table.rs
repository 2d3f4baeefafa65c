//! Look-up structures in plain arrays, alike in the kernel and on the host: a Bloom filter of one
//! word a key, and a two-choice table of eight-slot buckets.
//!
//! A key is 64 bits. Its bits 32.. choose the first bucket and the Bloom word, its low 24 bits the
//! four bits of the Bloom word, its low 48 bits are kept in the slot beside the 16-bit class.

use crate::abi::Bucket;

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX: u64 = 0xbf58_476d_1ce4_e5b9;

/// Folds one word into a running hash.
#[inline(always)]
#[must_use]
pub fn fold(state: u64, word: u64) -> u64 {
    let mixed = (state ^ word).wrapping_mul(SPREAD);
    mixed ^ (mixed >> 32)
}

/// Finishes a running hash with its last word.
#[inline(always)]
#[must_use]
pub fn finish(state: u64, word: u64) -> u64 {
    let mut mixed = (state ^ word).wrapping_mul(MIX);
    mixed ^= mixed >> 32;
    mixed = mixed.wrapping_mul(SPREAD);
    mixed ^ (mixed >> 29)
}

/// Position in `0..len` for the upper half of `key`. `len` must not be 0 for the result to be a
/// position.
#[inline(always)]
#[must_use]
pub fn position(key: u64, len: u32) -> u32 {
    ((key >> 32).wrapping_mul(len as u64) >> 32) as u32
}

/// The four bits of a key in its Bloom word.
#[inline(always)]
#[must_use]
pub fn bloom_bits(key: u64) -> u64 {
    1 << (key & 63) | 1 << (key >> 6 & 63) | 1 << (key >> 12 & 63) | 1 << (key >> 18 & 63)
}

/// What a slot holds of a key: its low 48 bits above 16 bits for the class.
#[inline(always)]
#[must_use]
pub fn tag(key: u64) -> u64 {
    key << 16
}

/// The other bucket of a tag: an involution for any number of buckets.
#[inline(always)]
#[must_use]
pub fn other_bucket(bucket: u32, tag: u64, len: u32) -> u32 {
    let sum = ((tag.wrapping_mul(SPREAD) >> 32).wrapping_mul(len as u64) >> 32) as u32;
    if sum < bucket {
        sum.wrapping_sub(bucket).wrapping_add(len)
    } else {
        sum - bucket
    }
}

/// Class and slot of a tag in a bucket; class 0: not there.
#[inline(always)]
#[must_use]
pub fn find_in_bucket(bucket: &Bucket, tag: u64) -> (u32, u32) {
    for (at, slot) in bucket.slots.iter().enumerate() {
        // The tag is equal exactly when nothing is left above the class.
        let class = slot ^ tag;
        if class >> 16 == 0 && class != 0 {
            return (class as u32, at as u32);
        }
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bucket_is_an_involution() {
        for len in [1u32, 2, 3, 7, 1000, 65_537] {
            for key in 0..2_000u64 {
                let key = finish(key, 77);
                let first = position(key, len);
                let second = other_bucket(first, tag(key), len);
                assert!(second < len);
                assert_eq!(other_bucket(second, tag(key), len), first);
            }
        }
    }
}
