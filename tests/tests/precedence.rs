//! The precedence against its naive reference: random policies, lists and packets give the same
//! reason, category and entry by walking plain lists, in the program's twin on the host, and in the
//! program in the running kernel.

#![expect(
    clippy::print_stdout,
    reason = "a test: how much was compared is shown"
)]

use std::collections::BTreeSet;

use filter_common::abi::Outcome;
use filter_common::reason::Reason;
use schoolgate_tests::draw::{Shot, World};
use schoolgate_tests::gate::{Gate, SEED, SMALL, scaled};
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::setup::LOOPBACK;
use schoolgate_tests::twin::Twin;

/// Seed of the first world; the worlds behind it have the numbers behind it.
const FIRST_SEED: u64 = 20_000;
const HOST_WORLDS: usize = 800;
const KERNEL_WORLDS: usize = 100;
const FLOWS: usize = 60;

/// Everything that decides by an entry or a policy.
const DECIDED: [Reason; 20] = [
    Reason::PassInfrastructure,
    Reason::PassBypass,
    Reason::PassLocalAllow,
    Reason::BlockUnifiedAddress,
    Reason::BlockUnifiedName,
    Reason::BlockNsorAddress,
    Reason::BlockNsorName,
    Reason::BlockLocalAddress,
    Reason::BlockLocalName,
    Reason::BlockAgeAddress,
    Reason::BlockAgeName,
    Reason::BlockAllowOnly,
    Reason::BlockEncryptedDns,
    Reason::BlockEncryptedDnsName,
    Reason::BlockCanaryName,
    Reason::BlockEchName,
    Reason::PassDnsWithheld,
    Reason::PassSafeSearch,
    Reason::WarnAddress,
    Reason::WarnName,
];

/// What was compared so far.
#[derive(Default)]
struct Compared {
    frames: usize,
    decided: BTreeSet<u32>,
    wrong: Vec<String>,
}

impl Compared {
    fn frame(&mut self, seed: u64, world: &World, shot: &Shot, who: &str, seen: Option<Outcome>) {
        self.frames += 1;
        self.decided.insert(shot.want.reason.number());
        if !shot.want.is(seen) {
            let seen = seen.map(|seen| (Reason::from_number(seen.reason), seen));
            self.wrong.push(format!(
                "seed {seed}: {}\n{who} {seen:?}\nreference {:?}\n{}",
                shot.asks,
                shot.want,
                world.describe()
            ));
        }
    }

    fn end(self) {
        println!("{} frames", self.frames);
        let first = self.wrong.first().map_or("", String::as_str);
        assert!(
            self.wrong.is_empty(),
            "{} of {} differ; the first:\n{first}",
            self.wrong.len(),
            self.frames
        );
        let missing: Vec<&Reason> = (DECIDED.iter())
            .filter(|reason| !self.decided.contains(&reason.number()))
            .collect();
        assert!(
            missing.is_empty() || scaled(100) < 100,
            "never drawn: {missing:?}"
        );
    }
}

fn seeds(worlds: usize) -> impl Iterator<Item = u64> {
    (FIRST_SEED..).take(scaled(worlds))
}

#[test]
fn host_decides_as_the_naive_reference() {
    let mut compared = Compared::default();
    for seed in seeds(HOST_WORLDS) {
        let mut world = World::new(seed);
        let mut twin = Twin::new(&world.setup.desired(SEED), SMALL, SEED);
        for _ in 0..FLOWS {
            for shot in world.flow() {
                let seen = twin.run(LOOPBACK, &shot.frame);
                compared.frame(seed, &world, &shot, "host", seen);
            }
        }
    }
    assert!(compared.frames > 50_000 || scaled(100) < 100);
    compared.end();
}

#[test]
fn kernel_decides_as_the_naive_reference() {
    if !root_or_skip("kernel_decides_as_the_naive_reference") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    let mut compared = Compared::default();
    for seed in seeds(KERNEL_WORLDS) {
        let mut world = World::new(seed);
        gate.tables.forget_flows();
        gate.apply(&world.setup).unwrap();
        for _ in 0..FLOWS {
            for shot in world.flow() {
                let seen = gate.run(&shot.frame).unwrap().outcome;
                compared.frame(seed, &world, &shot, "kernel", seen);
            }
        }
    }
    compared.end();
}
