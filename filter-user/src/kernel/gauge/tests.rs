//! Whatever a word of the tables is changed to, the comparison sees it, and a repair mends it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use filter_common::abi::{Class, Policy, Tiers};
use filter_common::table::finish;

use super::*;
use crate::desired::{
    FlowSizes, InterfaceRow, MplsReply, NetSubject, Organisation, PageText, PortalAddresses,
    Subject,
};
use crate::kernel::{Grace, Sizes};

const SEED: Seed = Seed(11);

fn organisation(number: u8, prefix6: &str) -> Organisation {
    Organisation {
        id: format!("school-{number}"),
        realm: 1,
        prefixes: vec![
            format!("192.0.2.{}/28", number * 16).parse().unwrap(),
            prefix6.parse().unwrap(),
        ],
        policy: Policy {
            block: u64::from(number) + 1,
            ..Policy::default()
        },
        bypass_until_ns: 0,
    }
}

/// A state with something in every table.
fn state() -> Desired {
    let class = |unified| Class {
        exact: Tiers {
            unified,
            ..Tiers::default()
        },
        ..Class::default()
    };
    let mut keys: Vec<u64> = (1..=400).map(|n| finish(n, 99)).collect();
    keys.sort_unstable();
    let subject = |key: u64| Subject {
        key,
        address: key >> 20 & 1 == 1,
        class: u16::try_from(key >> 30 & 1).unwrap() + 1,
        entry: u32::try_from(key >> 40).unwrap(),
    };
    Desired {
        realms: 2,
        interfaces: vec![InterfaceRow {
            name: "edge".to_owned(),
            ifindex: 7,
            organisations: true,
            realm: 1,
            vlan_realms: vec![(5, 1)],
            mpls_reply: MplsReply::None,
        }],
        classes: vec![Class::default(), class(1), class(2)],
        subjects: Arc::new(keys.into_iter().map(subject).collect()),
        nets4: vec![NetSubject {
            net: "203.0.113.128/27".parse().unwrap(),
            class: 1,
            entry: 900,
        }],
        nets6: vec![NetSubject {
            net: "2001:db8:dead::/48".parse().unwrap(),
            class: 2,
            entry: 901,
        }],
        organisations: vec![
            organisation(1, "2001:db8:100::/48"),
            organisation(2, "2001:db8:200:8000::/56"),
        ],
        portal: PortalAddresses {
            v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            v6: None,
        },
        page: PageText {
            host: Some("filter.example".to_owned()),
        },
        syn_limit: 100,
        ..Desired::default()
    }
}

fn filled(desired: &Desired) -> Tables {
    let tables = Tables::heap(&Sizes::measure(desired, FlowSizes::default()), SEED);
    repair(&tables, desired);
    tables
}

fn repair(tables: &Tables, desired: &Desired) {
    tables.set_control(control(tables, desired, SEED));
    apply::apply(tables, None, desired, SEED, Grace::None, &|_numbers| Ok(())).unwrap();
}

fn differences(tables: &Tables, desired: &Desired) -> BTreeMap<&'static str, u64> {
    measure(tables, desired, SEED).unwrap().differences
}

/// Zeroes each word of an array that is not zero, one at a time.
fn each_word_counts<T: aya::Pod>(tables: &Tables, desired: &Desired, array: &Array<T>, what: &str) {
    let words = array
        .words()
        .iter()
        .map(|word| word.load(Ordering::Relaxed));
    let used: Vec<(usize, u64)> = words.enumerate().filter(|(_, word)| *word != 0).collect();
    assert!(!used.is_empty(), "nothing in {what}");
    // Pages and bit fields have many words alike.
    for (at, _) in used.iter().step_by(used.len().div_ceil(40)) {
        array.words()[*at].store(0, Ordering::Relaxed);
        let found = measure(tables, desired, SEED);
        assert!(
            !found.is_ok_and(|gauge| gauge.is_exact()),
            "word {at} of {what}"
        );
        repair(tables, desired);
        let left = differences(tables, desired);
        assert!(left.is_empty(), "word {at} of {what}: {left:?}");
    }
}

#[test]
fn every_word_that_is_lost_is_seen_and_repaired() {
    let desired = state();
    let tables = filled(&desired);
    let gauge = measure(&tables, &desired, SEED).unwrap();
    assert!(gauge.is_exact(), "{gauge:?}");
    assert_eq!((gauge.expected, gauge.present), (404, 404));
    // Fresh ones for each table: a repair may move a row, and leave words behind that nothing leads to.
    macro_rules! each {
        ($($table:ident)*) => { $(
            let tables = filled(&desired);
            each_word_counts(&tables, &desired, &tables.$table, stringify!($table));
        )* };
    }
    each! {
        control interfaces vlan_realms org4_index org4_pages org6_bloom org6 orgs policies classes
        name_bloom address_bloom subjects subject_entries block4_bits net4_bits net6_bloom answers page
    }
}

#[test]
fn lost_and_foreign_prefixes_and_slots_are_counted() {
    let desired = state();
    let tables = filled(&desired);
    let (prefix, value) = tables.net4.entries().into_iter().next().unwrap();
    tables.net4.remove(&prefix).unwrap();
    assert_eq!(differences(&tables, &desired), [("prefixes", 1)].into());
    tables.net4.insert((8, [10, 0, 0, 0]), value).unwrap();
    assert_eq!(differences(&tables, &desired), [("prefixes", 2)].into());
    let split = tables.org6_split.entries().into_keys().next().unwrap();
    tables.org6_split.remove(&split).unwrap();
    assert_eq!(differences(&tables, &desired)["address pages"], 1);
    repair(&tables, &desired);
    assert!(differences(&tables, &desired).is_empty());

    let free = tables.subjects.words().iter();
    let free = free.filter(|word| word.load(Ordering::Relaxed) == 0);
    free.take(3)
        .for_each(|word| word.store(0xabcd_0001, Ordering::Relaxed));
    let gauge = measure(&tables, &desired, SEED).unwrap();
    assert_eq!(gauge.differences, [("names and addresses", 3)].into());
    assert_eq!(
        gauge.present, gauge.expected,
        "what is too much is missing nowhere"
    );
    repair(&tables, &desired);
    assert!(differences(&tables, &desired).is_empty());
}
