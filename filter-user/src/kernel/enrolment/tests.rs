//! Changes of policies alone, and what becomes of those that there is no room for.

use filter_common::abi::Policy;

use super::super::apply::apply;
use super::super::sizes::Sizes;
use super::*;
use crate::desired::FlowSizes;

const SEED: Seed = Seed(3);
const ORGANISATIONS: u16 = 300;

fn policy(block: u64) -> Policy {
    Policy {
        block,
        ..Policy::default()
    }
}

/// Organisations under the policies that `block` gives by their place.
fn desired(block: impl Fn(u16) -> u64) -> Desired {
    let organisations = (0..ORGANISATIONS).map(|at| {
        let [high, low] = at.to_be_bytes();
        Organisation {
            id: format!("org-{at}"),
            realm: 0,
            prefixes: vec![format!("10.{high}.{low}.0/24").parse().unwrap()],
            policy: policy(block(at)),
            bypass_until_ns: 0,
        }
    });
    Desired {
        realms: 1,
        profiles: 1,
        organisations: organisations.collect(),
        ..Desired::default()
    }
}

fn tables_of(desired: &Desired) -> Tables {
    let tables = Tables::heap(&Sizes::measure(desired, FlowSizes::default()), SEED);
    apply(&tables, None, desired, SEED, Grace::None, &|_| Ok(())).unwrap();
    tables
}

/// Of each organisation what it blocks.
fn blocks(tables: &Tables) -> Vec<u64> {
    let numbers = numbers(tables);
    let block = |at| {
        let key = org_id_key(SEED.0, format!("org-{at}").as_bytes());
        let row = tables.orgs.get(numbers[&key]).unwrap();
        tables.policies.get(row.policy).unwrap().block
    };
    (0..ORGANISATIONS).map(block).collect()
}

fn change_to(tables: &Tables, wanted: &Desired) -> Result<usize, KernelError> {
    let changes = wanted.organisations.iter().map(|org| Change {
        id: &org.id,
        policy: org.policy,
        bypass_until_ns: org.bypass_until_ns,
    });
    change(tables, &changes.collect::<Vec<_>>(), SEED, Grace::None)
}

#[test]
fn policies_change_alone_or_nothing_is_written_where_they_have_no_room() {
    let tables = tables_of(&desired(|_| 1));
    let few = desired(|at| u64::from(at % 3) + 1);
    assert_eq!(change_to(&tables, &few).unwrap(), 200);
    let held = blocks(&tables);
    assert_eq!(held[..4], [1, 2, 3, 1]);
    let many = desired(|at| u64::from(at) + 1);
    assert!(matches!(
        change_to(&tables, &many),
        Err(KernelError::NeedsNewGeneration("policies"))
    ));
    assert_eq!(blocks(&tables), held);
    // All applied anew: the same state needs new maps, and has room in those.
    assert!(matches!(
        apply(&tables, Some(&few), &many, SEED, Grace::None, &|_| Ok(())),
        Err(KernelError::NeedsNewGeneration("policies"))
    ));
    assert_eq!(blocks(&tables), held);
    let wanted: Vec<u64> = (1..=u64::from(ORGANISATIONS)).collect();
    assert_eq!(blocks(&tables_of(&many)), wanted);
    let stranger = Change {
        id: "nobody",
        policy: policy(1),
        bypass_until_ns: 0,
    };
    assert!(matches!(
        change(&tables, &[stranger], SEED, Grace::None),
        Err(KernelError::NeedsNewGeneration("organisations"))
    ));
}
