//! The packet tables through the program's twin on the host, and the precedence against the naive
//! reference. The kernel meets the same tables in `packets_kernel`.

use std::collections::BTreeSet;

use filter_common::abi::Outcome;
use filter_common::reason::Reason;
use filter_user::desired::FlowSizes;
use schoolgate_tests::cases::{self, Case, Want};
use schoolgate_tests::setup::LOOPBACK;
use schoolgate_tests::twin::Twin;

const SEED: u64 = 0x5eed_0000_1234_5678;
const SIZES: FlowSizes = FlowSizes {
    flows: 4_096,
    hellos: 1_024,
};

/// Compares what became of a frame with what must.
fn differs(
    case: &Case,
    at: usize,
    seen: Option<Outcome>,
    name: &[u8],
    want: &Want,
) -> Option<String> {
    let number = |outcome: Outcome| (outcome.reason, outcome.action, outcome.category);
    let wanted = want
        .reason
        .map(|reason| (reason.number(), want.action as u32, want.category));
    let entry = seen
        .zip(want.entry)
        .is_none_or(|(seen, entry)| seen.entry == entry);
    let read = want.name.as_ref().is_none_or(|wanted| {
        name.to_ascii_lowercase()
            .strip_suffix(b".")
            .unwrap_or(&name.to_ascii_lowercase())
            == wanted.as_bytes()
    });
    if seen.map(number) == wanted && entry && read {
        return None;
    }
    let reason = seen.and_then(|outcome| Reason::from_number(outcome.reason));
    Some(format!(
        "{}, frame {}: {reason:?} {seen:?} name {:?}, not {want:?}",
        case.what,
        at + 1,
        String::from_utf8_lossy(name)
    ))
}

#[test]
fn tables_give_what_they_say() {
    let mut wrong = Vec::new();
    let mut frames = 0;
    for case in cases::all() {
        let mut twin = Twin::new(&case.setup.desired(SEED), SIZES, SEED);
        twin.set_drain(case.drain);
        twin.set_grants(&case.grants);
        twin.set_quic(&case.quic, case.inspector);
        for (at, step) in case.steps.iter().enumerate() {
            let seen = twin.run(LOOPBACK, &step.frame);
            let name = seen
                .map(|outcome| twin.name(&step.frame, &outcome))
                .unwrap_or_default();
            wrong.extend(differs(&case, at, seen, &name, &step.want));
            frames += 1;
        }
    }
    println!("{frames} frames");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_reason_has_a_case() {
    let shown: BTreeSet<u32> = (cases::all().iter())
        .flat_map(|case| case.steps.iter().filter_map(|step| step.want.reason))
        .map(Reason::number)
        .collect();
    let missing: Vec<Reason> = Reason::ALL
        .iter()
        .filter(|reason| !shown.contains(&reason.number()))
        .copied()
        .collect();
    // A table cannot show these: full tables and lost state need tables of a special size
    // (`flows_kernel`), and a frame that changes while it is read does not exist.
    assert_eq!(
        missing,
        [
            Reason::HoldNoSlot,
            Reason::RefuseStateLost,
            Reason::RefuseInternal
        ]
    );
}
