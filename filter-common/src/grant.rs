//! Grants: a person was warned and goes on. A grant is a keyed hash of organisation, client address and
//! entry beside the moment it ends; the portal makes it, and it is asked for only where the verdict
//! would be a warning.

use crate::abi::GrantSet;
use crate::limits::{GRANT_SETS, WAYS};
use crate::table::{finish, fold, position};
use crate::world::World;

const KIND_GRANT: u64 = 0x6772_6e74_0000_0007;
/// Upper half of an IPv4 address that stands as an IPv6 one, RFC 4291 section 2.5.5.2.
const MAPPED: u64 = 0xffff_0000_0000;

/// Key of a grant; never 0. `organisation` is the keyed hash of its id (`Org::id_key`), so that a row
/// that is used again carries no grant over. An address is its two halves (see [`mapped`]).
#[inline(always)]
#[must_use]
pub fn grant_key(seed: u64, organisation: u64, (high, low): (u64, u64), entry: u32) -> u64 {
    let state = fold(seed ^ KIND_GRANT, organisation);
    finish(fold(fold(state, high), low), entry as u64) | 1
}

/// The halves of an IPv4 address mapped into IPv6.
#[inline(always)]
#[must_use]
pub fn mapped(address: u32) -> (u64, u64) {
    (0, MAPPED | address as u64)
}

/// Set of `GRANTS` that a key belongs to.
#[inline(always)]
#[must_use]
pub fn grant_set(key: u64) -> u32 {
    position(key, GRANT_SETS)
}

/// The end of the grant with this key in its set, by the monotonic clock in nanoseconds; 0: there is
/// none. `read` reads a word of the set, in the order of the calls: the end comes before the key,
/// as the writer clears the key before it changes the end.
#[inline(always)]
pub fn find_grant(key: u64, read: impl Fn(usize) -> u64) -> u64 {
    for way in 0..WAYS {
        let until = read(way * 2 + 1);
        if read(way * 2) == key {
            return until;
        }
    }
    0
}

/// Whether the client of the packet in hand has a grant for `entry` that has not ended.
#[inline(always)]
pub fn granted<W: World>(world: &mut W, entry: u32) -> bool {
    let seed = world.control().seed;
    let facts = world.facts();
    let (org, version, [w0, w1, w2, w3]) = (facts.outcome.org, facts.version, facts.source);
    let Some(organisation) = world.org(org).map(|row| row.id_key) else {
        return false;
    };
    let address = if version == 4 {
        mapped(w3)
    } else {
        ((w0 as u64) << 32 | w1 as u64, (w2 as u64) << 32 | w3 as u64)
    };
    let until = world.grant_until(grant_key(seed, organisation, address, entry));
    until != 0 && world.now_ns() < until
}

const _: () = assert!(size_of::<GrantSet>() == WAYS * 16);
