//! The writing side of the two-choice bucket table: what `filter_common::table` looks up, while the
//! kernel goes on looking it up. A slot's entry number is written before the slot, a moved slot is
//! copied first and cleared after a grace time, so that no look-up misses a key that stays.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use filter_common::abi::{Bucket, BucketEntries};
use filter_common::limits::BUCKET_SLOTS;
use filter_common::table::other_bucket;

use super::apply::Grace;
use super::memory::Array;

/// Low bits of a slot: the class, or the organisation's number.
pub const VALUE_MASK: u64 = 0xffff;
/// Rounds of moves before the table counts as full.
const MOVE_ROUNDS: usize = 32;
/// With more free slots than this in the first bucket, the second is not looked at.
const FIRST_FREE: usize = 2;
/// Share of the slots that may be taken, in percent, before larger maps are asked for.
const FULL_PERCENT: usize = 96;

/// A key that the table shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its first bucket.
    pub first: u32,
    /// Its tag; the low 16 bits are zero.
    pub tag: u64,
    /// Its class or organisation; not 0.
    pub value: u16,
    /// Its entry number.
    pub entry: u32,
}

/// A bucket table with the entry numbers beside it, if it has them.
#[derive(Clone, Copy, Debug)]
pub struct Buckets<'a> {
    slots: &'a [AtomicU64],
    entries: Option<&'a Array<BucketEntries>>,
    len: u32,
}

/// What is to be done to a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotPlan {
    /// Slots whose value or entry changes.
    pub changes: Vec<(u32, Wanted)>,
    /// Keys that are not there yet.
    pub adds: Vec<Wanted>,
    /// Slots to be cleared.
    pub removals: Vec<u32>,
}

/// The table has no room for all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<'a> Buckets<'a> {
    /// The table in `table`, with `entries` of as many rows.
    #[must_use]
    pub fn new(table: &'a Array<Bucket>, entries: Option<&'a Array<BucketEntries>>) -> Self {
        Buckets {
            slots: table.words(),
            entries,
            len: table.rows(),
        }
    }

    /// Number of buckets.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no buckets at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot at a place (bucket times eight plus slot).
    #[must_use]
    pub fn slot(&self, place: u32) -> u64 {
        self.slots
            .get(place as usize)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// All slots in order.
    pub fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots.iter().map(|word| word.load(Ordering::Relaxed))
    }

    /// The entry number beside a place; 0 where there is none.
    #[must_use]
    pub fn entry(&self, place: u32) -> u32 {
        let Some(entries) = self.entries else {
            return 0;
        };
        let word = entries.word(place / 2);
        u32::try_from(word >> lane(place) & 0xffff_ffff).unwrap_or(0)
    }

    /// Place of a tag.
    #[must_use]
    pub fn find(&self, first: u32, tag: u64) -> Option<u32> {
        let found = |bucket| self.find_in(bucket, tag);
        found(first).or_else(|| found(other_bucket(first, tag, self.len)))
    }

    fn find_in(&self, bucket: u32, tag: u64) -> Option<u32> {
        // The tag is equal exactly when nothing is left above the value; 0 is a free slot.
        let holds = |slot: u64| slot & VALUE_MASK != 0 && (slot ^ tag) & !VALUE_MASK == 0;
        let mut slots = places(bucket).zip(self.bucket(bucket));
        slots
            .find(|(_, word)| holds(word.load(Ordering::Relaxed)))
            .map(|(place, _)| place)
    }

    /// The slots of a bucket.
    fn bucket(&self, bucket: u32) -> &'a [AtomicU64] {
        let places = places(bucket);
        self.slots
            .get(places.start as usize..places.end as usize)
            .unwrap_or_default()
    }

    /// Compares the table with what it shall hold.
    #[must_use]
    pub fn plan(&self, wanted: impl Iterator<Item = Wanted>) -> SlotPlan {
        let mut plan = SlotPlan::default();
        if self.used() == 0 {
            plan.adds = wanted.collect();
            return plan;
        }
        let mut kept = vec![false; self.slots.len()];
        for want in wanted {
            let Some(place) = self.find(want.first, want.tag) else {
                plan.adds.push(want);
                continue;
            };
            let Some(kept) = kept.get_mut(place as usize) else {
                continue;
            };
            // A second key with the same tag and bucket cannot be told from the first.
            if !std::mem::replace(kept, true) && !self.equals(place, want) {
                plan.changes.push((place, want));
            }
        }
        let stale = (0u32..).zip(self.all().zip(kept));
        plan.removals = stale
            .filter(|(_, (slot, kept))| *slot != 0 && !kept)
            .map(|(place, _)| place)
            .collect();
        plan
    }

    fn equals(&self, place: u32, want: Wanted) -> bool {
        self.slot(place) & VALUE_MASK == u64::from(want.value)
            && (self.entries.is_none() || self.entry(place) == want.entry)
    }

    /// Whether the keys of `plan` have room beside those that are removed only after them.
    #[must_use]
    pub fn has_room(&self, plan: &SlotPlan) -> bool {
        if plan.adds.is_empty() {
            return true;
        }
        (self.used() + plan.adds.len()) * 100 <= self.slots.len() * FULL_PERCENT
    }

    /// Slots in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.all().filter(|slot| *slot != 0).count()
    }

    /// Changes slots in place.
    pub fn change(&self, changes: impl IntoIterator<Item = (u32, Wanted)>) {
        for (place, want) in changes {
            self.write(place, want.tag | u64::from(want.value), want.entry);
        }
    }

    /// Adds keys, moving others where both buckets are full.
    ///
    /// # Errors
    /// [`Full`] if some found no place; those added before stay.
    pub fn add(&self, adds: &[Wanted], grace: Grace) -> Result<(), Full> {
        let mut left: Vec<Wanted> = adds
            .iter()
            .filter(|want| !self.put(**want))
            .copied()
            .collect();
        for _ in 0..MOVE_ROUNDS {
            if left.is_empty() {
                return Ok(());
            }
            let moved = self.make_room(&left);
            if moved.is_empty() {
                return Err(Full);
            }
            grace.wait();
            self.clear(&moved);
            left.retain(|want| !self.put(*want));
        }
        if left.is_empty() { Ok(()) } else { Err(Full) }
    }

    /// Clears slots.
    pub fn clear(&self, at: &[u32]) {
        for place in at {
            self.store(*place, 0);
        }
    }

    /// Puts a key into a free slot of its emptier bucket, if there is one.
    fn put(&self, want: Wanted) -> bool {
        let second = || other_bucket(want.first, want.tag, self.len);
        let (free, count) = self.free(want.first);
        let place = if count > FIRST_FREE {
            free
        } else {
            let (other, other_count) = self.free(second());
            if other_count > count { other } else { free }
        };
        let Some(place) = place else {
            return false;
        };
        self.write(place, want.tag | u64::from(want.value), want.entry);
        true
    }

    /// The first free place of a bucket and the number of free ones.
    fn free(&self, bucket: u32) -> (Option<u32>, usize) {
        let (mut first, mut count) = (None, 0);
        for (place, word) in places(bucket).zip(self.bucket(bucket)) {
            if word.load(Ordering::Relaxed) == 0 {
                first = first.or(Some(place));
                count += 1;
            }
        }
        (first, count)
    }

    /// Copies keys out of the full buckets of `left`; gives the places to clear after a grace time.
    fn make_room(&self, left: &[Wanted]) -> Vec<u32> {
        let mut moved = HashSet::new();
        for want in left {
            let buckets = [want.first, other_bucket(want.first, want.tag, self.len)];
            if !buckets
                .iter()
                .any(|bucket| self.move_out(*bucket, &mut moved))
            {
                // No neighbour has room: make some there, and come back in the next round.
                let neighbours = buckets.iter().flat_map(|bucket| self.neighbours(*bucket));
                for bucket in neighbours {
                    if self.move_out(bucket, &mut moved) {
                        break;
                    }
                }
            }
        }
        moved.into_iter().collect()
    }

    /// The other buckets of the keys in a bucket.
    fn neighbours(&self, bucket: u32) -> impl Iterator<Item = u32> + '_ {
        places(bucket)
            .map(move |place| other_bucket(bucket, self.slot(place) & !VALUE_MASK, self.len))
    }

    /// Copies one key of a bucket to its other bucket, if that has room.
    fn move_out(&self, bucket: u32, moved: &mut HashSet<u32>) -> bool {
        for place in places(bucket) {
            let slot = self.slot(place);
            let target = other_bucket(bucket, slot & !VALUE_MASK, self.len);
            if slot == 0 || target == bucket || moved.contains(&place) {
                continue;
            }
            if let (Some(free), _) = self.free(target) {
                self.write(free, slot, self.entry(place));
                moved.insert(place);
                return true;
            }
        }
        false
    }

    /// Writes the entry number, then the slot.
    fn write(&self, place: u32, slot: u64, entry: u32) {
        if let Some(entries) = self.entries {
            let others = entries.word(place / 2) & !(0xffff_ffff << lane(place));
            entries.set_word(place / 2, others | u64::from(entry) << lane(place));
        }
        self.store(place, slot);
    }

    fn store(&self, place: u32, slot: u64) {
        if let Some(word) = self.slots.get(place as usize) {
            word.store(slot, Ordering::Release);
        }
    }
}

/// The places of a bucket.
fn places(bucket: u32) -> std::ops::Range<u32> {
    const SLOTS: u32 = 8;
    const _: () = assert!(BUCKET_SLOTS == SLOTS as usize);
    let start = bucket.saturating_mul(SLOTS);
    start..start.saturating_add(SLOTS)
}

/// Bit position of a place's entry number in its word.
fn lane(place: u32) -> u32 {
    place % 2 * 32
}

#[cfg(test)]
mod tests {
    use filter_common::table::{find_in_bucket, finish, position, tag};

    use super::*;

    fn want(key: u64, len: u32, value: u16) -> Wanted {
        let entry = u32::try_from(key & 0xffff).unwrap();
        Wanted {
            first: position(key, len),
            tag: tag(key),
            value,
            entry,
        }
    }

    fn keys(range: std::ops::Range<u64>) -> Vec<u64> {
        range.map(|n| finish(n, 99)).collect()
    }

    /// Looks a key up as the kernel does.
    fn look_up(table: &Array<Bucket>, key: u64) -> u32 {
        let len = table.rows();
        let first = position(key, len);
        let (class, _) = find_in_bucket(&table.get(first).unwrap(), tag(key));
        if class != 0 {
            return class;
        }
        let other = other_bucket(first, tag(key), len);
        find_in_bucket(&table.get(other).unwrap(), tag(key)).0
    }

    #[test]
    fn every_key_is_found_at_a_high_load() {
        let (table, entries) = (
            Array::<Bucket>::heap(128),
            Array::<BucketEntries>::heap(128),
        );
        let buckets = Buckets::new(&table, Some(&entries));
        let keys = keys(0..970); // 94.7 % of 1,024 slots
        let adds: Vec<Wanted> = keys.iter().map(|key| want(*key, 128, 7)).collect();
        buckets.add(&adds, Grace::None).unwrap();
        for key in &keys {
            assert_eq!(look_up(&table, *key), 7);
            let place = buckets.find(position(*key, 128), tag(*key)).unwrap();
            assert_eq!(buckets.entry(place), u32::try_from(key & 0xffff).unwrap());
        }
        assert_eq!(buckets.all().filter(|slot| *slot != 0).count(), 970);
    }

    #[test]
    fn a_full_table_says_so() {
        let table = Array::<Bucket>::heap(4);
        let buckets = Buckets::new(&table, None);
        let adds: Vec<Wanted> = keys(0..40).iter().map(|key| want(*key, 4, 1)).collect();
        assert_eq!(buckets.add(&adds, Grace::None), Err(Full));
        assert!(!buckets.has_room(&SlotPlan {
            adds,
            ..SlotPlan::default()
        }));
    }

    #[test]
    fn plan_tells_adds_changes_and_removals() {
        let table = Array::<Bucket>::heap(64);
        let buckets = Buckets::new(&table, None);
        let keys = keys(0..100);
        let adds: Vec<Wanted> = keys.iter().map(|key| want(*key, 64, 1)).collect();
        buckets.add(&adds, Grace::None).unwrap();
        let wanted = keys
            .iter()
            .skip(10)
            .map(|key| want(*key, 64, if *key == keys[20] { 2 } else { 1 }));
        let extra = want(finish(7, 12_345), 64, 3);
        let plan = buckets.plan(wanted.chain([extra]));
        assert_eq!(
            (plan.adds.len(), plan.changes.len(), plan.removals.len()),
            (1, 1, 10)
        );
        buckets.add(&plan.adds, Grace::None).unwrap();
        buckets.change(plan.changes.iter().copied());
        buckets.clear(&plan.removals);
        assert_eq!(look_up(&table, keys[0]), 0);
        assert_eq!(look_up(&table, keys[20]), 2);
        assert_eq!(look_up(&table, keys[21]), 1);
        assert_eq!(look_up(&table, finish(7, 12_345)), 3);
    }

    #[test]
    fn a_copy_left_by_a_crash_is_removed() {
        let table = Array::<Bucket>::heap(64);
        let buckets = Buckets::new(&table, None);
        let key = finish(1, 12_345);
        let (first, tag) = (position(key, 64), tag(key));
        let other = other_bucket(first, tag, 64);
        assert_ne!(first, other);
        table.set_word(first * 8, tag | 5);
        table.set_word(other * 8 + 3, tag | 5);
        let plan = buckets.plan([want(key, 64, 5)].into_iter());
        assert_eq!(plan.removals, [other * 8 + 3]);
        assert!(plan.adds.is_empty() && plan.changes.is_empty());
    }
}
