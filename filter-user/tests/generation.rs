//! The real program with real maps: what was applied is what it decides by. Needs root and the
//! compiled program; says so and passes where it has not.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect"
)]

use std::net::IpAddr;

use filter_common::abi::{Class, Policy, Tiers};
use filter_common::name::name_key;
use filter_common::reason::Reason;
use filter_common::verdict::Action;
use filter_user::desired::{
    Blocks4, Desired, FlowSizes, InterfaceRow, MplsReply, NetSubject, Organisation, Subject,
    address_key,
};
use filter_user::kernel::run::{XDP_DROP, XDP_PASS};
use filter_user::kernel::{Generation, Grace, KernelError, OBJECT, Seed};

const SEED: Seed = Seed(0x5eed_5eed_5eed_5eed);

/// Why the kernel cannot be asked here, if it cannot.
fn obstacle() -> Option<&'static str> {
    // SAFETY: a call without arguments that touches no memory.
    if unsafe { libc::geteuid() } != 0 {
        return Some("not root");
    }
    OBJECT.is_empty().then_some("built without the XDP program")
}

macro_rules! needs_kernel {
    () => {
        if let Some(why) = obstacle() {
            println!("skipped: {why}");
            return;
        }
    };
}

fn class(category: u32) -> Class {
    let tiers = Tiers {
        unified: 1 << category,
        ..Tiers::default()
    };
    Class {
        exact: tiers,
        suffix: tiers,
    }
}

fn organisation(id: &str, prefixes: &[&str]) -> Organisation {
    Organisation {
        id: id.into(),
        realm: 0,
        prefixes: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
        policy: Policy {
            action: Action::Drop as u32,
            ..Policy::default()
        },
        bypass_until_ns: 0,
    }
}

fn subject(key: u64, entry: u32) -> Subject {
    Subject {
        key,
        address: false,
        class: 1,
        entry,
    }
}

fn address(text: &str, entry: u32) -> Subject {
    Subject {
        address: true,
        ..subject(v4_key(text), entry)
    }
}

fn desired(organisations: Vec<Organisation>, mut subjects: Vec<Subject>) -> Desired {
    subjects.sort_by_key(|subject| subject.key);
    let mut blocks4 = Blocks4::default();
    blocks4.add_net("192.0.2.0/24".parse().unwrap());
    Desired {
        realms: 1,
        interfaces: vec![InterfaceRow {
            name: "lo".into(),
            ifindex: 1,
            organisations: true,
            realm: 0,
            vlan_realms: vec![],
            mpls_reply: MplsReply::None,
        }],
        classes: vec![Class::default(), class(3)],
        subjects: subjects.into(),
        blocks4,
        organisations,
        syn_limit: 1000,
        ..Desired::default()
    }
}

/// A TCP segment without payload.
fn segment(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let tcp = [
        0x30, 0x39, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0,
    ];
    let mut frame = vec![0u8; 12];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => panic!("mixed families"),
    }
    frame.extend(tcp);
    frame
}

fn judged(generation: &Generation, source: &str, destination: &str) -> (u32, u32, u32) {
    let mut runner = generation.runner().unwrap();
    let (run, outcome) = runner.frame(&segment(source, destination), None).unwrap();
    (run.result, outcome.reason, outcome.entry)
}

fn v4_key(text: &str) -> u64 {
    address_key(SEED.0, text.parse().unwrap())
}

#[test]
fn an_enrolled_source_meets_the_entries_and_its_neighbour_does_not() {
    needs_kernel!();
    let schools = vec![
        organisation("a", &["10.0.0.0/30", "2001:db8:1::/48"]),
        organisation("b", &["10.0.0.4/32", "2001:db8:2:40::/64"]),
    ];
    let hosts = vec![address("192.0.2.7", 9), address("2001:db8:ffff::7", 10)];
    let mut state = desired(schools, hosts);
    state.nets4 = vec![NetSubject {
        net: "198.51.100.0/25".parse().unwrap(),
        class: 1,
        entry: 11,
    }];
    state.nets6 = vec![NetSubject {
        net: "2001:db8:eeee::/56".parse().unwrap(),
        class: 1,
        entry: 12,
    }];
    let (generation, applied) =
        Generation::filled(OBJECT, &state, FlowSizes::default(), SEED).unwrap();
    assert_eq!(
        (
            applied.subjects.added,
            applied.nets.added,
            applied.organisations.added
        ),
        (2, 2, 2)
    );
    let blocked = Reason::BlockUnifiedAddress.number();
    let passed = Reason::PassNoPayload.number();
    for (source, destination, want) in [
        ("10.0.0.1", "192.0.2.7", (XDP_DROP, blocked, 9)),
        ("10.0.0.4", "192.0.2.7", (XDP_DROP, blocked, 9)),
        ("10.0.0.5", "192.0.2.7", (XDP_PASS, 0, 0)),
        ("10.0.0.3", "192.0.2.8", (XDP_PASS, passed, 0)),
        ("10.0.0.3", "198.51.100.127", (XDP_DROP, blocked, 11)),
        ("10.0.0.3", "198.51.100.128", (XDP_PASS, passed, 0)),
        (
            "2001:db8:1:ffff::1",
            "2001:db8:ffff::7",
            (XDP_DROP, blocked, 10),
        ),
        (
            "2001:db8:1::1",
            "2001:db8:eeee:ff::9",
            (XDP_DROP, blocked, 12),
        ),
        (
            "2001:db8:1::1",
            "2001:db8:eeee:100::9",
            (XDP_PASS, passed, 0),
        ),
        (
            "2001:db8:2:40::1",
            "2001:db8:ffff::7",
            (XDP_DROP, blocked, 10),
        ),
        ("2001:db8:2:41::1", "2001:db8:ffff::7", (XDP_PASS, 0, 0)),
        ("2001:db8:3::1", "2001:db8:ffff::7", (XDP_PASS, 0, 0)),
    ] {
        assert_eq!(
            judged(&generation, source, destination),
            want,
            "{source} to {destination}"
        );
    }
    let a = generation.organisation_number("a").unwrap();
    let counted = generation.counters().organisation(a).unwrap();
    assert_eq!(counted.iter().sum::<u64>(), 7);
    assert_eq!(generation.counters().untouched().unwrap(), 3);
}

#[test]
fn what_is_removed_passes_and_a_second_application_changes_nothing() {
    needs_kernel!();
    let schools = || {
        vec![
            organisation("a", &["10.0.0.0/30"]),
            organisation("b", &["10.1.0.0/30"]),
        ]
    };
    let before = desired(schools(), vec![address("192.0.2.7", 9)]);
    let (generation, _) = Generation::filled(OBJECT, &before, FlowSizes::default(), SEED).unwrap();
    assert!(
        generation
            .apply(None, &before, Grace::Live)
            .unwrap()
            .is_empty()
    );
    assert_eq!(judged(&generation, "10.1.0.1", "192.0.2.7").0, XDP_DROP);
    let after = desired(schools().into_iter().take(1).collect(), vec![]);
    // Lists and enrolment are not changed under packets that meet one of them and not the other.
    let both = generation.apply(Some(&before), &after, Grace::Live);
    assert!(matches!(both, Err(KernelError::NeedsNewGeneration(_))));
    let between = desired(schools(), vec![]);
    let first = generation
        .apply(Some(&before), &between, Grace::Live)
        .unwrap();
    let second = generation
        .apply(Some(&between), &after, Grace::Live)
        .unwrap();
    assert_eq!(
        (first.subjects.removed, second.organisations.removed),
        (1, 1)
    );
    assert_eq!(
        judged(&generation, "10.0.0.1", "192.0.2.7").1,
        Reason::PassNoPayload.number()
    );
    assert_eq!(
        judged(&generation, "10.1.0.1", "192.0.2.7"),
        (XDP_PASS, 0, 0)
    );
    assert!(
        generation
            .apply(None, &after, Grace::Live)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_million_subjects_load_and_a_delta_is_only_a_delta() {
    needs_kernel!();
    let many = |range: std::ops::Range<u32>| {
        let key = |n: u32| name_key(SEED.0, format!("host-{n}.example").as_bytes()).unwrap();
        range.map(|n| subject(key(n), n)).collect::<Vec<_>>()
    };
    let schools: Vec<_> = (0..40_000u32)
        .map(|n| {
            organisation(
                &format!("school-{n}"),
                &[&format!(
                    "10.{}.{}.{}/30",
                    n >> 14,
                    n >> 6 & 255,
                    n << 2 & 255
                )],
            )
        })
        .collect();
    let first = desired(schools.clone(), many(0..1_000_000));
    let second = desired(schools, many(1_500..1_001_500));
    let (generation, applied) =
        Generation::filled(OBJECT, &first, FlowSizes::default(), SEED).unwrap();
    assert_eq!(applied.subjects.added, 1_000_000);
    let delta = generation
        .apply(Some(&first), &second, Grace::Live)
        .unwrap();
    assert_eq!(
        (delta.subjects.added, delta.subjects.removed),
        (1_500, 1_500)
    );
}
