//! Updates of names and addresses, against a comparison of every key.

use std::sync::Arc;

use filter_common::abi::{Class, Tiers};
use filter_common::table::finish;

use super::*;
use crate::desired::{Desired, FlowSizes};
use crate::kernel::apply::apply;
use crate::kernel::{Seed, Sizes};

const SEED: Seed = Seed(7);

/// A state of about `share` in 256 of 600 keys, with classes and entry numbers drawn from `draw`.
fn state(draw: u64, share: u64) -> Desired {
    let number = |key: u64, of: u64| finish(key, draw) >> 8 & (of - 1);
    let class = |n: u64| Class {
        exact: Tiers {
            unified: n,
            ..Tiers::default()
        },
        ..Class::default()
    };
    let mut keys: Vec<u64> = (1..=600).map(|n| finish(n, 99)).collect();
    keys.sort_unstable();
    keys.retain(|key| number(*key, 256) < share);
    let subject = |key| Subject {
        key,
        address: key >> 20 & 1 == 1,
        class: u16::try_from(number(key ^ 1, 4)).unwrap(),
        entry: u32::try_from(number(key ^ 2, 2)).unwrap() + 1,
    };
    Desired {
        // Class 0 has no categories. Their numbers change with the state, so that rows come and go.
        classes: [0, 1 + draw % 3, 9, 16 + draw % 2].map(class).to_vec(),
        subjects: Arc::new(keys.into_iter().map(subject).collect()),
        ..Desired::default()
    }
}

fn tables() -> Tables {
    let most = state(0, 256);
    Tables::heap(&Sizes::measure(&most, FlowSizes::default()), SEED)
}

fn bring(tables: &Tables, before: Option<&Desired>, after: &Desired) -> crate::kernel::Applied {
    apply(tables, before, after, SEED, Grace::None, &|_numbers| Ok(())).unwrap()
}

fn words(array: &Array<u64>) -> Vec<u64> {
    (0..array.rows()).map(|at| array.word(at)).collect()
}

/// The tables hold `state`, and no bit or slot more. A subject without categories needs none.
fn assert_holds(tables: &Tables, state: &Desired) {
    assert!(bring(tables, None, state).is_empty());
    for (bloom, address) in blooms(tables) {
        let fresh = Array::<u64>::heap(bloom.rows());
        let slotted = state.subjects.iter();
        let slotted = slotted.filter(|subject| subject.class != 0 && subject.address == address);
        raise_bits(&fresh, slotted.map(|subject| subject.key));
        let same = words(bloom) == words(&fresh);
        assert!(same, "bits of {} subjects", state.subjects.len());
    }
}

#[test]
fn a_chain_of_differences_ends_where_comparing_every_key_ends() {
    let tables = tables();
    let mut before = Desired::default();
    let mut seen = [0; 3];
    for draw in 0..400 {
        let share = if draw % 50 == 0 { 0 } else { 128 + draw % 128 };
        // Now and then almost the same state again: most updates are small.
        let after = state(draw / 4 + 1, share);
        let applied = bring(&tables, Some(&before), &after).subjects;
        assert_holds(&tables, &after);
        seen[0] += applied.added;
        seen[1] += applied.changed;
        seen[2] += applied.removed;
        before = after;
    }
    assert!(seen.iter().all(|count| *count > 1_000), "{seen:?}");
}

#[test]
fn tables_that_hold_something_else_are_compared_key_by_key() {
    let (before, after) = (state(1, 200), state(1, 220));
    let row = |tables: &Tables, of: &Desired| {
        let first = of
            .subjects
            .iter()
            .find(|subject| subject.class == 1)
            .unwrap();
        let place = table(tables).find(position(first.key, tables.subjects.rows()), tag(first.key));
        place.unwrap()
    };
    // A slot that is missing, and one too many.
    let (lacking, fuller) = (tables(), tables());
    bring(&lacking, None, &before);
    table(&lacking).clear(&[row(&lacking, &before)]);
    bring(&lacking, Some(&before), &after);
    assert_holds(&lacking, &after);
    bring(&fuller, None, &state(1, 240));
    bring(&fuller, Some(&before), &after);
    assert_holds(&fuller, &after);
}

#[test]
fn a_filter_made_for_few_keys_does_not_take_many() {
    // The table has room for all of them, the filter of the names does not.
    let mut many = state(1, 256);
    let mut subjects = Arc::unwrap_or_clone(many.subjects.clone());
    subjects.iter_mut().for_each(|at| at.address = true);
    many.subjects = Arc::new(subjects.clone());
    let sizes = Sizes {
        name_bloom_words: 16,
        ..Sizes::measure(&many, FlowSizes::default())
    };
    let tables = Tables::heap(&sizes, SEED);
    bring(&tables, None, &many);
    subjects.iter_mut().for_each(|at| at.address = false);
    many.subjects = Arc::new(subjects);
    let refused = apply(&tables, None, &many, SEED, Grace::None, &|_numbers| Ok(()));
    assert!(matches!(
        refused,
        Err(KernelError::NeedsNewGeneration("subjects"))
    ));
}

#[test]
fn slots_that_trade_a_category_hold_both_meanwhile() {
    let class = |nsor| Class {
        suffix: Tiers {
            nsor,
            ..Tiers::default()
        },
        ..Class::default()
    };
    let [one, two] = [finish(1, 99), finish(2, 99)];
    let state = |of_one: u16, of_two: u16| {
        let subject = |(key, class)| Subject {
            key,
            address: false,
            class,
            entry: 1,
        };
        let mut subjects = [(one, of_one), (two, of_two)].map(subject).to_vec();
        subjects.sort_by_key(|subject| subject.key);
        Desired {
            classes: [0, 1, 2].map(class).to_vec(),
            subjects: Arc::new(subjects),
            ..Desired::default()
        }
    };
    let (before, after) = (state(1, 2), state(2, 1));
    let tables = tables();
    bring(&tables, None, &before);
    let held = |key: u64| {
        let table = table(&tables);
        let place = table.find(position(key, table.len()), tag(key)).unwrap();
        let row = u32::try_from(table.slot(place) & VALUE_MASK).unwrap();
        tables.classes.get(row).unwrap().suffix.nsor
    };
    let plan = crate::kernel::apply::plan(&tables, Some(&before), &after, SEED).unwrap();
    for (row, class) in &plan.classes {
        tables.classes.set(*row, *class);
    }
    assert_eq!([held(one), held(two)], [1, 2]);
    let rows: Vec<u16> = Vec::new();
    let rowed = Rowed {
        subjects: &after.subjects,
        class_rows: &rows,
    };
    add(&tables, rowed, &plan.subjects, Grace::None).unwrap();
    assert_eq!([held(one), held(two)], [3, 3]);
    remove(&tables, rowed, &plan.subjects);
    assert_eq!([held(one), held(two)], [2, 1]);
    assert_holds(&tables, &after);
}
