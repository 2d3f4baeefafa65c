//! Which updates must come into force in one piece. Packets go on while the tables change, and meet one change and not
//! yet another. Most updates bear that, in the order of [`apply`](super::apply): what is new comes before what is gone, so
//! that entries that block only ever add up. Where something that lifts a block changes together with something that
//! blocks, no order is right for every name: old and new may both pass it, and a moment between them not. Such an update is
//! a new set of maps, which a port's link is switched to at once.

use std::collections::{HashMap, HashSet};

use filter_common::abi::{
    CONTROL_PASS_ALL, Class, LOCAL_ENDPOINT, LOCAL_INFRASTRUCTURE, LOCAL_LISTS,
    POLICY_ENCRYPTED_DNS, Policy, Tiers,
};

use super::Tables;
use super::apply::{self, Plan};
use super::buckets::VALUE_MASK;
use super::subjects;
use crate::desired::Desired;

/// All that local lists and infrastructure can be.
const LOCAL: u64 = ((1 << LOCAL_LISTS) - 1) | LOCAL_INFRASTRUCTURE;

/// A class as it was and as it is to be.
type Pair = (Class, Class);

/// Why `plan` must not be met part by part, if so. `before` as for [`apply::plan`].
pub(crate) fn reason(
    tables: &Tables,
    before: Option<&Desired>,
    desired: &Desired,
    plan: &Plan,
) -> Option<&'static str> {
    let pairs = pairs(tables, plan);
    let enrolment = || match before {
        // Policies change by the clock, and the tables know them.
        Some(before) => plan.enrolment.changes_rows() || moves(before, desired),
        None => plan.enrolment.changes_rows() || plan.enrolment.wrong_words(tables) != 0,
    };
    let interfaces = plan.interfaces.differences() != 0;
    if pairs.is_empty() {
        let moved = plan.interfaces.replaces() && enrolment();
        let lifted = plan.enrolment.changes_policy_and_bypass(tables);
        let reasons = [
            (moved, "ports and organisations"),
            (lifted, "an organisation's policy and bypass"),
        ];
        return reasons
            .into_iter()
            .find(|(so, _)| *so)
            .map(|(_, what)| what);
    }
    let switch = tables.control_row().flags ^ apply::switches(desired);
    let local = pairs.iter().any(|pair| changed(pair).local & LOCAL != 0);
    let mixes = || {
        let organisations = desired.organisations.iter();
        let policies: HashSet<&Policy> = organisations.map(|org| &org.policy).collect();
        policies.into_iter().any(|policy| mixes(&pairs, policy))
    };
    if interfaces {
        Some("lists and ports")
    } else if switch & CONTROL_PASS_ALL != 0 {
        Some("lists and pass_all")
    } else if enrolment() {
        Some("lists and organisations")
    } else if local && mixes() {
        Some("lists that allow and lists that block")
    } else {
        None
    }
}

/// Whether an organisation's addresses are not what they were.
fn moves(before: &Desired, desired: &Desired) -> bool {
    let (before, after) = (&before.organisations, &desired.organisations);
    before.len() != after.len()
        || (before.iter().zip(after)).any(|(old, new)| {
            old.id != new.id || old.realm != new.realm || old.prefixes != new.prefixes
        })
}

/// Every change of a subject's or a prefix's class, once.
fn pairs(tables: &Tables, plan: &Plan) -> HashSet<Pair> {
    let new: HashMap<u32, Class> = plan.classes.iter().copied().collect();
    let class = |row: u64| -> Class {
        let row = u32::try_from(row).unwrap_or(0);
        let known = || tables.classes.get(row);
        new.get(&row).copied().or_else(known).unwrap_or_default()
    };
    let table = subjects::table(tables);
    let slot = |place: u32| table.slot(place) & VALUE_MASK;
    let slots = &plan.subjects.slots;
    let mut rows: HashSet<(u64, u64)> = HashSet::new();
    rows.extend(slots.adds.iter().map(|want| (0, u64::from(want.value))));
    let changes = slots.changes.iter();
    rows.extend(changes.map(|(place, want)| (slot(*place), u64::from(want.value))));
    rows.extend(slots.removals.iter().map(|place| (slot(*place), 0)));
    let (v4, v6) = (&plan.nets.v4, &plan.nets.v6);
    rows.extend(v4.rows(&tables.net4));
    rows.extend(v6.rows(&tables.net6));
    let rows = rows.into_iter().filter(|(old, new)| old != new);
    rows.map(|(old, new)| (class(old), class(new))).collect()
}

/// What a change touches, of the subject alone or with all below it.
fn changed((old, new): &Pair) -> Tiers {
    let of = |get: fn(&Tiers) -> u64| {
        (get(&old.exact) ^ get(&new.exact)) | (get(&old.suffix) ^ get(&new.suffix))
    };
    Tiers {
        unified: of(|tiers| tiers.unified),
        nsor: of(|tiers| tiers.nsor),
        local: of(|tiers| tiers.local),
        suspicious: of(|tiers| tiers.suspicious),
    }
}

/// Whether something that lifts blocks under `policy` changes together with something that blocks under it.
fn mixes(pairs: &HashSet<Pair>, policy: &Policy) -> bool {
    let lift = policy.local_allow | LOCAL_INFRASTRUCTURE;
    let endpoint = if policy.flags & POLICY_ENCRYPTED_DNS == 0 {
        0
    } else {
        LOCAL_ENDPOINT
    };
    let nsor = policy.mandatory | policy.block | policy.age | policy.warn;
    let blocks = |tiers: Tiers| {
        tiers.unified != 0
            || tiers.nsor & nsor != 0
            || tiers.suspicious & policy.suspicious != 0
            || tiers.local & (policy.local_deny | endpoint) != 0
    };
    let mut touched = pairs.iter().map(changed);
    touched.clone().any(|tiers| tiers.local & lift != 0) && touched.any(blocks)
}
