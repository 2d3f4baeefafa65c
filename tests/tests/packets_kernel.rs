//! The packet tables through the program in the running kernel: each frame's reason, action and
//! reset, the very counters that move, and the same outcome as its twin's on the host.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use filter_common::verdict::{Action, Verdict};
use filter_user::kernel::run::{XDP_DROP, XDP_PASS, XDP_TX};
use schoolgate_tests::cases::{self, Case, Step};
use schoolgate_tests::dns::check_answer;
use schoolgate_tests::frame_reader::{check_redirect, check_reset};
use schoolgate_tests::gate::{Gate, Ran, SEED, SMALL, Totals};
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::quic::check_negotiation;
use schoolgate_tests::setup::LOOPBACK;
use schoolgate_tests::twin::Twin;

/// What is wrong with a frame's outcome; empty: nothing.
fn judge(gate: &Gate, step: &Step, ran: &Ran) -> Vec<String> {
    let mut wrong = Vec::new();
    let want = &step.want;
    let wanted = want
        .reason
        .map(|reason| (reason.number(), want.action as u32, want.category));
    let seen = ran
        .outcome
        .map(|outcome| (outcome.reason, outcome.action, outcome.category));
    if seen != wanted {
        wrong.push(format!("{seen:?}, not {wanted:?} {:?}", want.reason));
    }
    let result = match want.action {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
        Action::Reset | Action::Answer | Action::Redirect => XDP_TX,
    };
    if ran.result != result {
        wrong.push(format!("XDP result {}, not {result}", ran.result));
    }
    if result == XDP_TX && ran.result == XDP_TX {
        let checked = match &want.told {
            None if want.action == Action::Answer => {
                check_negotiation(&step.frame, &ran.frame, &want.labels)
            }
            None if want.action == Action::Redirect => redirected(gate, step, ran),
            None => check_reset(&step.frame, &ran.frame, &want.labels),
            Some((told, error)) => {
                check_answer(&step.frame, &ran.frame, &want.labels, told, *error)
            }
        };
        wrong.extend(checked.err());
    }
    if result == XDP_PASS && ran.frame != step.frame {
        wrong.push("the frame was changed".to_owned());
    }
    if let (Some(outcome), Some(_)) = (ran.outcome, want.reason) {
        if Some(outcome.org) != gate.number(want.school) {
            wrong.push(format!("counted for organisation {}", outcome.org));
        }
        if want.entry.is_some_and(|entry| entry != outcome.entry) {
            wrong.push(format!("entry {}, not {:?}", outcome.entry, want.entry));
        }
    }
    wrong
}

/// Checks where a redirect leads: to the page, with the numbers of what decided.
fn redirected(gate: &Gate, step: &Step, ran: &Ran) -> Result<(), String> {
    let location = check_redirect(&step.frame, &ran.frame, &step.want.labels)?;
    let outcome = ran.outcome.ok_or("no outcome")?;
    let warned = step
        .want
        .reason
        .is_some_and(|reason| reason.verdict() == Verdict::Warn);
    let kind = if warned { 'w' } else { 'b' };
    let org = gate.number(step.want.school).unwrap_or(0);
    let wanted = format!(
        "http://portal.example/{kind}?e={:010}&o={org:05}&r={:03}",
        outcome.entry, outcome.reason
    );
    if location == wanted {
        Ok(())
    } else {
        Err(format!("leads to {location}, not {wanted}"))
    }
}

/// What differs between the kernel and its twin on the host.
fn compare(twin: &mut Twin, step: &Step, ran: &Ran) -> Option<String> {
    let host = twin.run(LOOPBACK, &step.frame);
    // Organisations have numbers of their own on each side, and so have rows of hellos.
    let plain = |outcome: filter_common::abi::Outcome| {
        let name_at = if outcome.name_len == 0 {
            0
        } else {
            outcome.name_at
        };
        let how = (
            outcome.reason,
            outcome.action,
            outcome.category,
            outcome.entry,
        );
        (how, name_at, outcome.name_len)
    };
    let name = host
        .map(|outcome| twin.name(&step.frame, &outcome))
        .unwrap_or_default();
    let same = host.map(plain) == ran.outcome.map(plain) && name == ran.name;
    (!same).then(|| {
        format!(
            "host {host:?} {name:x?}, kernel {:?} {:x?}",
            ran.outcome, ran.name
        )
    })
}

fn run_case(gate: &mut Gate, case: &Case) -> Vec<String> {
    gate.tables.forget_flows();
    gate.apply(&case.setup).unwrap();
    gate.set_drain(case.drain);
    gate.set_grants(&case.grants);
    gate.set_quic(&case.quic, case.inspector);
    let mut twin = Twin::new(&case.setup.desired(SEED), SMALL, SEED);
    twin.set_drain(case.drain);
    twin.set_grants(&case.grants);
    twin.set_quic(&case.quic, case.inspector);
    let before = gate.totals().unwrap();
    let mut expected = Totals::default();
    let mut wrong = Vec::new();
    for (at, step) in case.steps.iter().enumerate() {
        let ran = gate.run(&step.frame).unwrap();
        let mut found = judge(gate, step, &ran);
        found.extend(compare(&mut twin, step, &ran));
        wrong.extend(
            found
                .into_iter()
                .map(|text| format!("{}, frame {}: {text}", case.what, at + 1)),
        );
        expected.expect(&step.want, gate.number(step.want.school).unwrap_or(0));
    }
    let moved = gate.totals().unwrap().since(&before);
    if moved != expected {
        wrong.push(format!(
            "{}: counters {moved:?}, not {expected:?}",
            case.what
        ));
    }
    wrong
}

#[test]
fn tables_give_what_they_say_and_count_nothing_else() {
    if !root_or_skip("tables_give_what_they_say_and_count_nothing_else") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    let cases = cases::all();
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|case| run_case(&mut gate, case))
        .collect();
    let frames: usize = cases.iter().map(|case| case.steps.len()).sum();
    println!("{} cases, {frames} frames", cases.len());
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
