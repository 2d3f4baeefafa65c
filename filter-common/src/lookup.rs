//! Entries: from a key to the deciding entry so far, and from that to a decision.

use crate::abi::{
    ENGINES_MAX, LOCAL_ENDPOINT, LOCAL_ENGINE_SHIFT, LOCAL_URLS, NetEntry, POLICY_ALLOW_ONLY,
};
use crate::reason::Reason;
use crate::rule::{Moment, Step, decide, judge_entry};
use crate::table::{bloom_bits, find_in_bucket, other_bucket, position, tag};
use crate::world::World;

/// `Scratch::policy` while nothing has asked for it: most packets need no policy.
pub(crate) const POLICY_UNKNOWN: u32 = u32::MAX;

/// Puts the organisation's policy and bypass into the facts, and clears the deciding entry, once a
/// packet.
#[inline(always)]
pub fn need_policy<W: World>(world: &mut W) {
    let facts = world.facts();
    if facts.policy != POLICY_UNKNOWN {
        return;
    }
    let org = facts.outcome.org;
    let Some(row) = world.org(org) else { return };
    let (policy, until) = (row.policy, row.bypass_until_ns);
    let bypass = until != 0 && world.now_ns() < until;
    let facts = world.facts();
    facts.policy = policy;
    facts.bypass = bypass as u32;
    facts.endpoint = 0;
    facts.best.clear();
}

/// The Bloom bits of a name's suffix; where they are set, the table. `dot` and `left` as in
/// [`subject_found`].
#[inline(always)]
pub(crate) fn probe_name<W: World>(world: &mut W, key: u64, dot: u64, left: u32) {
    let word = position(key, world.control().name_bloom_len);
    if has_bits(world.name_bloom(word), key) {
        world.call_subject(key, dot, left);
    }
}

/// The Bloom bits of a destination address; where they are set, the table.
#[inline(always)]
pub(crate) fn probe_address<W: World>(world: &mut W, key: u64) {
    let word = position(key, world.control().address_bloom_len);
    if has_bits(world.address_bloom(word), key) {
        need_policy(world);
        world.call_subject(key, 0, 0);
    }
}

/// The Bloom bits of a URL; where they are set, the table. `place` is that of the path's hash; `whole`: it
/// is the hash of the path with its query.
#[inline(always)]
pub(crate) fn probe_url<W: World>(world: &mut W, key: u64, place: u32, whole: bool) {
    let word = position(key, world.control().name_bloom_len);
    if has_bits(world.name_bloom(word), key) {
        let whole = if whole { WHOLE_NAME } else { 0 };
        world.call_subject(key, 0, (URL_LEN + place) << URL_SHIFT | whole);
    }
}

/// Whether a Bloom filter's word has all bits of a key.
#[inline(always)]
fn has_bits(word: Option<u64>, key: u64) -> bool {
    let bits = bloom_bits(key);
    word.is_some_and(|word| word & bits == bits)
}

/// Looks a key up in the table behind the Bloom filter and takes the entry into account. `dot` is the
/// mark of the suffix's leading dot in its word and `left` the bytes of the name up to that word's
/// end, with [`WHOLE_NAME`] added where the dot stands in front of the whole name. For a URL `dot` is 0 and
/// `left` holds its length (see [`probe_url`]), for an address both are 0.
#[inline(always)]
pub fn subject_found<W: World>(world: &mut W, key: u64, dot: u64, left: u32) {
    let bucket_len = world.control().bucket_len;
    let tag = tag(key);
    let mut bucket = position(key, bucket_len);
    let mut found = match world.subject_bucket(bucket) {
        Some(slots) => find_in_bucket(slots, tag),
        None => (0, 0),
    };
    if found.0 == 0 {
        bucket = other_bucket(bucket, tag, bucket_len);
        if let Some(slots) = world.subject_bucket(bucket) {
            found = find_in_bucket(slots, tag);
        }
    }
    if found.0 == 0 {
        return;
    }
    let entry = world.subject_entry(bucket, found.1);
    let whole = left & WHOLE_NAME != 0;
    let len = if dot == 0 {
        left >> URL_SHIFT
    } else {
        let right = world.facts().name_len.wrapping_sub(left & !WHOLE_NAME);
        right.wrapping_add(8 - (dot.trailing_zeros() >> 3))
    };
    if dot != 0 && whole {
        note_urls(world, found.0);
    }
    consider_class(world, found.0, entry, len, len == 0 || whole);
}

/// Notes whether the host in hand has entries for URLs.
#[inline(always)]
fn note_urls<W: World>(world: &mut W, class: u32) {
    let local = world.class(class).map_or(0, |class| class.exact.local);
    world.facts().name_has_urls = (local & LOCAL_URLS != 0) as u32;
}

/// Length of a URL as precedence counts it, by the place of its hash: more than any name's.
#[must_use]
pub fn url_len(place: usize) -> u32 {
    URL_LEN + place as u32
}

const URL_LEN: u32 = 256;
/// Where the length of a URL stands in `left` of [`subject_found`].
const URL_SHIFT: u32 = 20;

/// Added to `left` of [`subject_found`]: the suffix is the whole name.
pub const WHOLE_NAME: u32 = 1 << 16;

/// Takes the destination's longest matching prefix entry into account.
#[inline(always)]
pub fn net_found<W: World>(world: &mut W) {
    let found = if world.facts().version == 4 {
        world.net4()
    } else {
        world.net6()
    };
    if let Some(NetEntry { class, entry }) = found {
        consider_class(world, class, entry, 0, true);
    }
}

#[inline(always)]
fn consider_class<W: World>(world: &mut W, class: u32, entry: u32, len: u32, exact: bool) {
    let policy = world.facts().policy;
    let (Some(class), Some(policy)) = (world.class(class), world.policy(policy)) else {
        return;
    };
    let suffix = judge_entry(&class.suffix, policy);
    let local = class.exact.local;
    let exact = exact.then(|| judge_entry(&class.exact, policy));
    if len == 0 && local & LOCAL_ENDPOINT != 0 {
        world.facts().endpoint = entry;
    } else if len != 0 && exact.is_some() {
        world.facts().engine = (local >> LOCAL_ENGINE_SHIFT) as u32 & ENGINES_MAX;
    }
    let best = &mut world.facts().best;
    best.consider(suffix, entry, len);
    // Of two subjects of one length the host alone is the narrower: it comes last.
    if let Some(exact) = exact {
        best.consider(exact, entry, len);
    }
}

/// Asks for the decision; the outcome gets its category and entry. 0: nothing decides yet. Where the
/// decision is a warning, and only there, a grant of the client lifts it.
#[inline(always)]
pub fn decide_into_outcome<W: World>(world: &mut W, moment: Moment) -> u32 {
    let facts = world.facts();
    let (best, row, bypass) = (facts.best, facts.policy, facts.bypass != 0);
    let Some(policy) = world.policy(row) else {
        return Reason::RefuseInternal.number();
    };
    let decision = decide(&best, policy, bypass, moment);
    if best.step == Step::Warn as u32
        && let Some(Reason::WarnAddress | Reason::WarnName) = decision.reason
        && world.call_granted(decision.entry) != 0
    {
        // A name may follow, and meet another entry.
        if moment as u8 == Moment::Address as u8 {
            return 0;
        }
        world.facts().outcome.entry = decision.entry;
        return Reason::PassGrant.number();
    }
    let outcome = &mut world.facts().outcome;
    match decision.reason {
        Some(reason) => {
            outcome.category = decision.category;
            outcome.entry = decision.entry;
            reason.number()
        }
        None => 0,
    }
}

/// A decision where no name will come, `otherwise` if nothing forbids it.
#[inline(always)]
pub fn nameless<W: World>(world: &mut W, otherwise: Reason) -> u32 {
    need_policy(world);
    let facts = world.facts();
    let row = facts.policy;
    let quiet = facts.best.step == Step::Pass as u32 && facts.bypass == 0;
    if quiet && !allow_only(world, row) {
        return otherwise.number();
    }
    match decide_into_outcome(world, Moment::Nameless) {
        0 => otherwise.number(),
        reason => reason,
    }
}

#[inline(always)]
fn allow_only<W: World>(world: &W, policy: u32) -> bool {
    world
        .policy(policy)
        .is_some_and(|policy| policy.flags & POLICY_ALLOW_ONLY != 0)
}
