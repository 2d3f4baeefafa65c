//! Names and addresses: the Bloom filter and the bucket table.

use std::collections::HashMap;

use filter_common::abi::{Class, ENGINES_MAX, LOCAL_ENGINE_SHIFT, Tiers};
use filter_common::table::{bloom_bits, position, tag};

use super::Tables;
use super::apply::Grace;
use super::buckets::{Buckets, SlotPlan, VALUE_MASK, Wanted};
use super::classes::RowsByValue;
use super::error::KernelError;
use super::memory::Array;
use super::sizes::KEYS_OF_WORD_MAX;
use crate::desired::Subject;

/// What is to be done to the subjects.
#[derive(Debug)]
pub(crate) struct SubjectPlan {
    pub(crate) slots: SlotPlan,
    /// Slots of `slots.changes` that lose something: what they hold until everything else has its place, which is what
    /// they held and what they are to hold.
    pub(crate) between: Vec<(u32, Wanted)>,
    bits: BitPlan,
}

impl SubjectPlan {
    /// Finds the slots that lose something, with a row for what they hold meanwhile.
    pub(crate) fn soften(
        &mut self,
        tables: &Tables,
        rows: &mut RowsByValue<Class>,
    ) -> Result<(), KernelError> {
        let table = table(tables);
        let class = |rows: &RowsByValue<Class>, row: u16| -> Class {
            let row = u32::from(row);
            let known = || tables.classes.get(row);
            rows.new_value(row).or_else(known).unwrap_or_default()
        };
        // Few pairs of classes, however many slots: the row between each, if one is needed.
        let mut known: HashMap<(u16, u16), Option<u16>> = HashMap::new();
        for (place, want) in &self.slots.changes {
            let old = u16::try_from(table.slot(*place) & VALUE_MASK).unwrap_or(0);
            let between = match known.get(&(old, want.value)) {
                Some(row) => *row,
                None => {
                    let new = class(rows, want.value);
                    let both = joined(class(rows, old), new);
                    let row = if both == new {
                        None
                    } else {
                        Some(rows.row(both)?)
                    };
                    let row = row.map(u16::try_from).transpose();
                    let row = row.map_err(|_beyond| KernelError::NeedsNewGeneration("classes"))?;
                    known.insert((old, want.value), row);
                    row
                }
            };
            let soft = between.map(|value| (*place, Wanted { value, ..*want }));
            self.between.extend(soft);
        }
        Ok(())
    }
}

/// All that two classes hold. The number of a search engine is no set: it is that of the second.
fn joined(old: Class, new: Class) -> Class {
    const ENGINE: u64 = (ENGINES_MAX as u64) << LOCAL_ENGINE_SHIFT;
    let of = |old: Tiers, new: Tiers| Tiers {
        unified: old.unified | new.unified,
        nsor: old.nsor | new.nsor,
        local: old.local & !ENGINE | new.local,
        suspicious: old.suspicious | new.suspicious,
    };
    Class {
        exact: of(old.exact, new.exact),
        suffix: of(old.suffix, new.suffix),
    }
}

/// Which words of the Bloom filter are to be looked at.
#[derive(Debug, PartialEq, Eq)]
enum BitPlan {
    /// Those of all keys.
    All,
    /// Those of these keys; the others are as they shall be.
    Of { added: Keys, removed: Keys },
}

/// Keys of names, and of addresses.
type Keys = [Vec<u64>; 2];

/// The Bloom filters of names and of addresses, with what tells their subjects.
fn blooms(tables: &Tables) -> [(&Array<u64>, bool); 2] {
    [(&tables.name_bloom, false), (&tables.address_bloom, true)]
}

/// Subjects with the rows that their classes have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rowed<'a> {
    pub(crate) subjects: &'a [Subject],
    pub(crate) class_rows: &'a [u16],
}

impl<'a> Rowed<'a> {
    /// Row of a subject's class; 0: the class has no categories, the subject needs no slot.
    fn row(self, subject: &Subject) -> u16 {
        let row = self.class_rows.get(usize::from(subject.class));
        row.copied().unwrap_or(0)
    }

    /// Those that need a slot.
    fn with_slot(self) -> impl Iterator<Item = &'a Subject> {
        self.subjects
            .iter()
            .filter(move |subject| self.row(subject) != 0)
    }

    /// Keys of those with a slot, of the addresses or of the names.
    pub(crate) fn keys(self, address: bool) -> impl Iterator<Item = u64> {
        self.with_slot()
            .filter(move |subject| subject.address == address)
            .map(|subject| subject.key)
    }

    fn wanted(self, subject: &Subject, len: u32) -> Wanted {
        Wanted {
            first: position(subject.key, len),
            tag: tag(subject.key),
            value: self.row(subject),
            entry: subject.entry,
        }
    }
}

/// The table of subjects.
pub(crate) fn table(tables: &Tables) -> Buckets<'_> {
    Buckets::new(&tables.subjects, Some(&tables.subject_entries))
}

/// Marks the class rows that slots refer to.
pub(crate) fn mark_classes(tables: &Tables, used: &mut [bool]) {
    for slot in table(tables).all() {
        if let Ok(row) = usize::try_from(slot & super::buckets::VALUE_MASK)
            && let Some(used) = used.get_mut(row)
        {
            *used = true;
        }
    }
}

/// Compares the table with `after`. What it holds need not be looked at key by key where `before` is
/// known to be it.
pub(crate) fn plan(
    tables: &Tables,
    before: Option<Rowed<'_>>,
    after: Rowed<'_>,
) -> Result<SubjectPlan, KernelError> {
    let table = table(tables);
    let short = before.and_then(|before| plan_between(&table, before, after));
    let plan = short.unwrap_or_else(|| SubjectPlan {
        slots: table.plan(
            after
                .with_slot()
                .map(|subject| after.wanted(subject, table.len())),
        ),
        between: Vec::new(),
        bits: BitPlan::All,
    });
    let crowded = |(bloom, address): (&Array<u64>, bool)| {
        after.keys(address).count() > bloom.rows() as usize * KEYS_OF_WORD_MAX
    };
    if !table.has_room(&plan.slots) || blooms(tables).into_iter().any(crowded) {
        return Err(KernelError::NeedsNewGeneration("subjects"));
    }
    Ok(plan)
}

/// What leads from `before`, which the table holds, to `after`; both are sorted by key. `None`: the
/// table holds something else.
fn plan_between(table: &Buckets<'_>, before: Rowed<'_>, after: Rowed<'_>) -> Option<SubjectPlan> {
    let mut slots = SlotPlan::default();
    let (mut added, mut removed) = (Keys::default(), Keys::default());
    let place =
        |subject: &Subject| table.find(position(subject.key, table.len()), tag(subject.key));
    let mut remove = |gone: &Subject| -> Option<u32> {
        of_kind(&mut removed, gone).push(gone.key);
        place(gone)
    };
    let mut count = 0;
    let mut old = before.with_slot().inspect(|_| count += 1).peekable();
    for subject in after.with_slot() {
        while let Some(gone) = old.next_if(|old| old.key < subject.key) {
            slots.removals.push(remove(gone)?);
        }
        let want = after.wanted(subject, table.len());
        match old.next_if(|old| old.key == subject.key) {
            None => {
                slots.adds.push(want);
                of_kind(&mut added, subject).push(subject.key);
            }
            Some(old) if before.row(old) == want.value && old.entry == want.entry => {}
            Some(_) => slots.changes.push((place(subject)?, want)),
        }
    }
    for gone in old {
        slots.removals.push(remove(gone)?);
    }
    (table.used() == count).then_some(SubjectPlan {
        slots,
        between: Vec::new(),
        bits: BitPlan::Of { added, removed },
    })
}

fn of_kind<'a>(keys: &'a mut Keys, subject: &Subject) -> &'a mut Vec<u64> {
    let [names, addresses] = keys;
    if subject.address { addresses } else { names }
}

/// First half: what is new or changed, Bloom bits first.
pub(crate) fn add(
    tables: &Tables,
    subjects: Rowed<'_>,
    plan: &SubjectPlan,
    grace: Grace,
) -> Result<(), KernelError> {
    match &plan.bits {
        BitPlan::All => {
            for (bloom, address) in blooms(tables) {
                raise_bits(bloom, subjects.keys(address));
            }
        }
        BitPlan::Of { added, .. } => {
            for ((bloom, _), keys) in blooms(tables).into_iter().zip(added) {
                raise_bits(bloom, keys.iter().copied());
            }
        }
    }
    let table = table(tables);
    table
        .add(&plan.slots.adds, grace)
        .map_err(|super::buckets::Full| KernelError::NeedsNewGeneration("subjects"))?;
    let between: HashMap<u32, Wanted> = plan.between.iter().copied().collect();
    let changes = plan.slots.changes.iter();
    let changes = changes.map(|(place, want)| (*place, *between.get(place).unwrap_or(want)));
    table.change(changes);
    Ok(())
}

/// Second half: what is gone, Bloom bits last.
pub(crate) fn remove(tables: &Tables, subjects: Rowed<'_>, plan: &SubjectPlan) {
    if !plan.between.is_empty() {
        table(tables).change(plan.slots.changes.iter().copied());
    }
    if plan.slots.removals.is_empty() {
        return;
    }
    table(tables).clear(&plan.slots.removals);
    match &plan.bits {
        BitPlan::All => {
            for (bloom, address) in blooms(tables) {
                lower_bits(bloom, subjects.keys(address));
            }
        }
        BitPlan::Of { removed, .. } => {
            for ((bloom, address), keys) in blooms(tables).into_iter().zip(removed) {
                lower_words(bloom, subjects, address, keys);
            }
        }
    }
}

/// Sets the bits of `keys` where they are missing.
pub(crate) fn raise_bits(bloom: &Array<u64>, keys: impl Iterator<Item = u64>) {
    for key in keys {
        let at = position(key, bloom.rows());
        let (old, bits) = (bloom.word(at), bloom_bits(key));
        if old & bits != bits {
            bloom.set_word(at, old | bits);
        }
    }
}

/// Leaves only the bits of `keys`. All bits of a key lie in one word, and a word changes by one
/// store from a superset to what is needed: no look-up misses a key meanwhile.
pub(crate) fn lower_bits(bloom: &Array<u64>, keys: impl Iterator<Item = u64>) {
    let mut image = vec![0u64; bloom.rows() as usize];
    for key in keys {
        if let Some(word) = image.get_mut(position(key, bloom.rows()) as usize) {
            *word |= bloom_bits(key);
        }
    }
    store_image(bloom, &image);
}

/// As [`lower_bits`], for the words of the `removed` keys only. The keys of one word stand side by
/// side in `subjects`, which are sorted: a word is chosen by a key's upper bits.
fn lower_words(bloom: &Array<u64>, subjects: Rowed<'_>, address: bool, removed: &[u64]) {
    let word_of = |key| position(key, bloom.rows());
    for at in removed.iter().map(|key| word_of(*key)) {
        let all = subjects.subjects;
        let from = all.partition_point(|subject| word_of(subject.key) < at);
        let stay = Rowed {
            subjects: all.get(from..).unwrap_or_default(),
            ..subjects
        };
        let bits = stay
            .keys(address)
            .take_while(|key| word_of(*key) == at)
            .fold(0, |bits, key| bits | bloom_bits(key));
        bloom.set_word(at, bits);
    }
}

/// Stores the words of `image` that differ.
pub(crate) fn store_image(array: &Array<u64>, image: &[u64]) {
    for (at, word) in (0u32..).zip(image) {
        if array.word(at) != *word {
            array.set_word(at, *word);
        }
    }
}

#[cfg(test)]
mod tests;
