//! Names and addresses: the Bloom filter and the bucket table.

use filter_common::table::{bloom_bits, position, tag};

use super::Tables;
use super::apply::Grace;
use super::buckets::{Buckets, SlotPlan, Wanted};
use super::error::KernelError;
use super::memory::Array;
use crate::desired::Subject;

/// What is to be done to the subjects.
#[derive(Debug)]
pub(crate) struct SubjectPlan {
    pub(crate) slots: SlotPlan,
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

/// Compares the table with `subjects`, whose classes have the rows `class_rows`.
pub(crate) fn plan(
    tables: &Tables,
    subjects: &[Subject],
    class_rows: &[u16],
) -> Result<SubjectPlan, KernelError> {
    let table = table(tables);
    let wanted = subjects.iter().map(|subject| Wanted {
        first: position(subject.key, table.len()),
        tag: tag(subject.key),
        value: class_rows
            .get(usize::from(subject.class))
            .copied()
            .unwrap_or(0),
        entry: subject.entry,
    });
    // A class without categories refers to nothing: it needs no slot.
    let slots = table.plan(wanted.filter(|want| want.value != 0));
    if !table.has_room(&slots) {
        return Err(KernelError::NeedsNewGeneration("subjects"));
    }
    Ok(SubjectPlan { slots })
}

/// First half: what is new or changed, Bloom bits first.
pub(crate) fn add(
    tables: &Tables,
    subjects: &[Subject],
    plan: &SubjectPlan,
    grace: Grace,
) -> Result<(), KernelError> {
    if !plan.slots.adds.is_empty() {
        raise_bits(
            &tables.subject_bloom,
            subjects.iter().map(|subject| subject.key),
        );
    }
    let mut control = tables.control_row();
    if control.bloom_len == 0 && !subjects.is_empty() {
        control.bloom_len = tables.subject_bloom.rows();
        tables.set_control(control);
    }
    let table = table(tables);
    table
        .add(&plan.slots.adds, grace)
        .map_err(|super::buckets::Full| KernelError::NeedsNewGeneration("subjects"))?;
    table.change(&plan.slots.changes);
    Ok(())
}

/// Second half: what is gone, Bloom bits last.
pub(crate) fn remove(tables: &Tables, subjects: &[Subject], plan: &SubjectPlan) {
    if plan.slots.removals.is_empty() {
        return;
    }
    table(tables).clear(&plan.slots.removals);
    lower_bits(
        &tables.subject_bloom,
        subjects.iter().map(|subject| subject.key),
    );
    if subjects.is_empty() {
        tables.set_control(filter_common::abi::Control {
            bloom_len: 0,
            ..tables.control_row()
        });
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

/// Stores the words of `image` that differ.
pub(crate) fn store_image(array: &Array<u64>, image: &[u64]) {
    for (at, word) in (0u32..).zip(image) {
        if array.word(at) != *word {
            array.set_word(at, *word);
        }
    }
}
