//! Hostile QUIC: random and mutated first packets. The kernel and its twin on the host say the same of
//! each, whatever is answered is an answer that a stock client takes, and nothing that a server would
//! take for a client's Initial passes.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use filter_common::reason::Reason;
use filter_common::verdict::Verdict;
use filter_user::kernel::run::{XDP_PASS, XDP_TX};
use schoolgate_tests::cases;
use schoolgate_tests::evasion::Random;
use schoolgate_tests::frames::Path;
use schoolgate_tests::gate::{Gate, SEED, SMALL, scaled};
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::quic::{Long, Type, V1, V2, check_negotiation, is_initial};
use schoolgate_tests::setup::LOOPBACK;
use schoolgate_tests::twin::Twin;

fn draw(random: &mut Random) -> Vec<u8> {
    let id = |random: &mut Random| -> Vec<u8> {
        let len = if random.once_in(8) {
            random.below(256)
        } else {
            random.below(21)
        };
        (0..len).map(|_| random.bits() as u8).collect()
    };
    let any = random.bits() as u32;
    let long = Long {
        version: *random.pick(&[V1, V1, V2, V2, 0, 2, 0x0a1a_2a3a, any]),
        kind: *random.pick(&[
            Type::Initial,
            Type::Initial,
            Type::ZeroRtt,
            Type::Handshake,
            Type::Retry,
        ]),
        to: id(random),
        from: id(random),
        len: *random.pick(&[1200, 1200, 1201, 1252, 1350, 1199, 100, 20, 7]),
    };
    let mut bytes = long.bytes();
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len().min(60));
        bytes[at] = random.bits() as u8;
    }
    bytes
}

#[test]
fn answers_to_mutated_initials_are_sound_and_none_passes() {
    if !root_or_skip("answers_to_mutated_initials_are_sound_and_none_passes") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    gate.apply(&cases::world()).unwrap();
    let mut twin = Twin::new(&cases::world().desired(SEED), SMALL, SEED);
    let mut random = Random::new(23);
    let (mut answers, mut passed, mut wrong) = (0, 0, Vec::new());
    for number in 0..scaled(60_000) {
        let bytes = draw(&mut random);
        let base = if random.once_in(2) {
            cases::path(12, (number % 1_000) as u16)
        } else {
            Path {
                sport: cases::path(12, (number % 1_000) as u16).sport,
                ..Path::between("fd01::5", "2001:db8::7")
            }
        };
        let path = Path {
            dport: *random.pick(&[443, 443, 8_443]),
            ..base
        };
        let frame = path.udp(&bytes);
        let ran = gate.run(&frame).unwrap();
        let host = twin.run(LOOPBACK, &frame);
        let plain = |outcome: filter_common::abi::Outcome| (outcome.reason, outcome.action);
        if host.map(plain) != ran.outcome.map(plain) {
            wrong.push(format!("host {host:?}, kernel {:?}", ran.outcome));
        }
        let verdict = (ran.outcome)
            .and_then(|outcome| Reason::from_number(outcome.reason))
            .map(Reason::verdict);
        if (verdict == Some(Verdict::Fallback)) != (ran.result == XDP_TX) {
            wrong.push(format!("{verdict:?} and XDP result {}", ran.result));
        }
        if ran.result == XDP_TX {
            answers += 1;
            wrong.extend(check_negotiation(&frame, &ran.frame, &[]).err());
        }
        if ran.result == XDP_PASS {
            passed += 1;
            if is_initial(&bytes) {
                wrong.push(format!("an Initial passed: {:x?}", &bytes[..60]));
            }
        }
    }
    println!("{answers} answers, {passed} passed");
    assert!(wrong.is_empty(), "{}: {:?}", wrong.len(), wrong.first());
    assert!(
        answers > scaled(60_000) / 6 && passed > 0,
        "{answers} answers, {passed} passed"
    );
}
