//! The enforcement gauge: what the maps hold, read from the kernel and not from memory of what was written, against what
//! they shall hold. Read-only.

use std::collections::BTreeMap;

use filter_common::abi::{Control, without_drain};
use filter_common::table::{bloom_bits, position};

use super::apply::{self, Plan};
use super::error::KernelError;
use super::memory::Array;
use super::{Seed, Tables, nets};
use crate::desired::Desired;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Names, addresses, prefixes and organisations that there shall be.
    pub expected: u64,
    /// Those of them that are there, as they shall be.
    pub present: u64,
    /// Rows, slots or words that differ, by what they are; without those that do not.
    pub differences: BTreeMap<&'static str, u64>,
}

impl Gauge {
    /// Whether the maps are what they shall be.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.differences.is_empty()
    }

    pub(crate) fn add(&mut self, what: &'static str, count: usize) {
        if count != 0 {
            *self.differences.entry(what).or_default() += count as u64;
        }
    }
}

/// Compares `tables` with `desired`.
///
/// # Errors
/// The kernel cannot be read, or what differs does not fit: then the tables hold something else altogether.
pub fn measure(tables: &Tables, desired: &Desired, seed: Seed) -> Result<Gauge, KernelError> {
    tables.net4.reread()?;
    tables.net6.reread()?;
    tables.org6_split.reread()?;
    let plan = apply::plan(tables, None, desired, seed)?;
    let mut gauge = Gauge::default();
    entries(&mut gauge, &plan, desired);
    let there = tables.control_row();
    let there = Control {
        flags: without_drain(there.flags),
        ..there
    };
    let wanted = control(tables, desired, seed);
    let page = tables.page.get(0) != Some(desired.page.row());
    let bits = [
        missing_bits(&tables.name_bloom, plan.keys(desired, false)),
        missing_bits(&tables.address_bloom, plan.keys(desired, true)),
        missing_bits(&tables.org6_bloom, plan.enrolment.keys6()),
        nets::missing_words(tables, desired, seed),
    ];
    for (what, count) in [
        ("control", usize::from(there != wanted)),
        ("answers", apply::wrong_answers(tables, desired).count()),
        ("page", usize::from(page)),
        ("classes", plan.classes.len()),
        ("policies", plan.enrolment.policies.len()),
        ("interfaces", plan.interfaces.differences()),
        ("address pages", plan.enrolment.wrong_words(tables)),
        ("bits", bits.iter().sum()),
    ] {
        gauge.add(what, count);
    }
    Ok(gauge)
}

/// Keys whose bits are not all there.
fn missing_bits(bloom: &Array<u64>, keys: impl Iterator<Item = u64>) -> usize {
    let missing = |key: &u64| {
        let bits = bloom_bits(*key);
        bloom.word(position(*key, bloom.rows())) & bits != bits
    };
    keys.filter(missing).count()
}

fn entries(gauge: &mut Gauge, plan: &Plan, desired: &Desired) {
    let slots = &plan.subjects.slots;
    let (v4, v6, of) = (&plan.nets.v4, &plan.nets.v6, &plan.enrolment);
    let kinds = [
        (
            "names and addresses",
            slots.adds.len() + slots.changes.len(),
            slots.removals.len(),
        ),
        (
            "prefixes",
            v4.adds.len() + v4.changes.len() + v6.adds.len() + v6.changes.len(),
            v4.removals.len() + v6.removals.len(),
        ),
        (
            "organisations",
            of.adds.len() + of.changes.len(),
            of.removals.len(),
        ),
    ];
    let [names, addresses] = [false, true].map(|address| plan.keys(desired, address).count());
    let nets = desired.nets4.len() + desired.nets6.len();
    gauge.expected = (names + addresses + nets + desired.organisations.len()) as u64;
    gauge.present = gauge.expected;
    for (what, absent, besides) in kinds {
        gauge.present = gauge.present.saturating_sub(absent as u64);
        gauge.add(what, absent + besides);
    }
}

/// The control row as it shall be, on hold for nobody.
#[must_use]
pub(crate) fn control(tables: &Tables, desired: &Desired, seed: Seed) -> Control {
    let mut prefixes = desired.organisations.iter().flat_map(|org| &org.prefixes);
    let enrolled6 = prefixes.any(|prefix| prefix.addr().is_ipv6());
    let len = |bloom: &Array<u64>, used: bool| if used { bloom.rows() } else { 0 };
    Control {
        flags: apply::switches(desired),
        interface_multiplier: tables.control_row().interface_multiplier,
        syn_limit: desired.syn_limit,
        org6_bloom_len: len(&tables.org6_bloom, enrolled6),
        net6_bloom_len: len(&tables.net6_bloom, !desired.nets6.is_empty()),
        ..tables.blank_control(seed)
    }
}

#[cfg(test)]
mod tests;
