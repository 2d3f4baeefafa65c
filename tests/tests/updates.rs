//! Verdicts while the maps change: random worlds are brought from one state to another and back, over and over, while
//! packets go through the program in the running kernel. What both states pass is passed at every moment, and what both
//! stop (block, or warn of) is stopped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use filter_common::reason::Reason;
use filter_common::verdict::Verdict;
use filter_user::desired::Desired;
use filter_user::kernel::apply::apply;
use filter_user::kernel::{Grace, KernelError, Seed, Tables};
use schoolgate_tests::draw::{Change, Probe, World};
use schoolgate_tests::gate::{Gate, SEED, SMALL, scaled};
use schoolgate_tests::lab::root_or_skip;

/// Seed of the first world; the worlds behind it have the numbers behind it.
const FIRST_SEED: u64 = 70_000;
const WORLDS: usize = 100;
const PROBES: usize = 60;
/// Times that a world goes to its other state and comes back.
const ROUNDS: usize = 12;

/// What becomes of a probe under the two states.
struct Case {
    probe: Probe,
    passes: [bool; 2],
}

fn passes(reason: Reason) -> bool {
    reason.verdict() == Verdict::Pass
}

fn cases(world: &mut World, later: &schoolgate_tests::setup::Setup) -> Vec<Case> {
    let setup = world.setup.clone();
    let probes = std::iter::from_fn(|| world.probe()).take(PROBES);
    let case = |probe: Probe| {
        let passes = [probe.want(&setup)?, probe.want(later)?].map(|told| passes(told.reason));
        Some(Case { probe, passes })
    };
    probes.filter_map(case).collect()
}

/// Brings the maps from `before` to `after` as the daemon does.
fn bring(tables: &Tables, before: &Desired, after: &Desired) -> Result<(), KernelError> {
    let forget = |_numbers: &[u32]| Ok(());
    apply(
        tables,
        Some(before),
        after,
        Seed(SEED),
        Grace::Live,
        &forget,
    )
    .map(|_| ())
}

#[test]
fn no_moment_of_an_update_stops_or_passes_what_neither_state_does() {
    if !root_or_skip("updates") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    let tables = gate.second_tables().unwrap();
    let mut frames = 0usize;
    let mut in_place: BTreeMap<Change, usize> = BTreeMap::new();
    let mut whole: BTreeMap<Change, usize> = BTreeMap::new();
    for (number, change) in (0..scaled(WORLDS)).zip(Change::ALL.into_iter().cycle()) {
        let seed = FIRST_SEED + number as u64;
        let mut world = World::new(seed);
        let later = world.later(change);
        let states = [world.setup.desired(SEED), later.desired(SEED)];
        let [before, after] = &states;
        apply(&tables, None, before, Seed(SEED), Grace::None, &|_| Ok(())).unwrap();
        match bring(&tables, before, after).and_then(|()| bring(&tables, after, before)) {
            Ok(()) => *in_place.entry(change).or_default() += 1,
            Err(KernelError::NeedsNewGeneration(_)) => {
                *whole.entry(change).or_default() += 1;
                continue;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
        let cases = cases(&mut world, &later);
        let (ended, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    bring(&tables, before, after).unwrap();
                    bring(&tables, after, before).unwrap();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                ended.store(true, Ordering::Release);
            });
            while !ended.load(Ordering::Acquire) {
                for Case {
                    probe,
                    passes: wanted,
                } in &cases
                {
                    let outcome = gate.run(&probe.frame).unwrap().outcome;
                    let reason = outcome.and_then(|seen| Reason::from_number(seen.reason));
                    frames += 1;
                    assert!(
                        reason.is_some_and(|reason| wanted.contains(&passes(reason))),
                        "seed {seed}, {change:?}: {}\nmet {reason:?}, passes {wanted:?}\n{}\nto\n{later:?}",
                        probe.asks(),
                        world.describe()
                    );
                }
            }
        });
        assert_eq!(rounds.load(Ordering::Relaxed), ROUNDS);
    }
    println!("{frames} frames; in place {in_place:?}, whole {whole:?}");
    if scaled(100) == 100 {
        assert!(frames > 100_000, "{frames} frames");
        for change in [Change::Blocks, Change::Profiles] {
            assert!(in_place.get(&change) > whole.get(&change), "{change:?}");
        }
        for change in [Change::Locals, Change::Lists] {
            assert!(in_place.contains_key(&change), "{change:?}");
            assert!(whole.contains_key(&change), "{change:?}");
        }
    }
}
