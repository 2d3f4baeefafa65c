//! Random senders against the program's twin on the host: no order of segments, copies, decoys and
//! forged SYNs lets a blocked name through. The kernel meets the same in `flows_kernel`.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use filter_user::desired::FlowSizes;
use schoolgate_tests::cases::world;
use schoolgate_tests::evasion::{Random, attempt, describe, succeeds};
use schoolgate_tests::frames::Path;
use schoolgate_tests::gate::{SEED, scaled};
use schoolgate_tests::setup::LOOPBACK;
use schoolgate_tests::twin::Twin;

#[test]
fn no_random_sender_gets_a_blocked_name_through() {
    let sizes = FlowSizes {
        flows: 65_536,
        hellos: 16_384,
    };
    let mut twin = Twin::new(&world().desired(SEED), sizes, SEED);
    let mut lost = Vec::new();
    let count = scaled(60_000);
    for number in 0..count {
        let mut random = Random::new(number as u64 + 1);
        let attempt = attempt(&mut random, "www.unified.example");
        let path = Path {
            sport: 1_024 + (number % 60_000) as u16,
            ..Path::default()
        };
        let first = random.bits() as u32;
        let mut log = Vec::new();
        let through = succeeds(&attempt, &path, first, |frame| {
            let outcome = twin.run(LOOPBACK, frame).unwrap();
            log.push(filter_common::reason::Reason::from_number(outcome.reason).unwrap());
            outcome.action == 0
        });
        // Time passes between flows: a port that comes again meets an old flow.
        twin.now_ms = twin.now_ms.wrapping_add(20);
        if through {
            lost.push(format!("{number}: {}; met {log:?}", describe(&attempt)));
        }
    }
    println!("{count} senders");
    let shown = lost.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        lost.is_empty(),
        "{} of {count} got through:\n{shown}",
        lost.len()
    );
}
