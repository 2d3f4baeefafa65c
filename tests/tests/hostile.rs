//! Hostile input: frames truncated at every byte, random and mutated ones. The kernel and its twin on
//! the host say the same of each, and neither falls.

#![expect(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use filter_common::abi::Outcome;
use filter_common::reason::Reason;
use filter_user::kernel::run::XDP_TX;
use schoolgate_tests::cases;
use schoolgate_tests::dns::{Query, check_datagram, resolver};
use schoolgate_tests::evasion::Random;
use schoolgate_tests::gate::{Gate, Ran, SEED, SMALL, runs, scaled};
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::setup::{LOOPBACK, Setup};
use schoolgate_tests::twin::Twin;

const BLOCKED: Reason = Reason::BlockUnifiedName;

/// What must be the same on both sides. Rows of hellos are numbered alike, but named nowhere.
fn plain(outcome: Outcome) -> [u32; 6] {
    let Outcome {
        reason,
        action,
        category,
        entry,
        name_len,
        ..
    } = outcome;
    let name_at = if name_len == 0 { 0 } else { outcome.name_at };
    [reason, action, category, entry, name_at, name_len]
}

struct Both {
    gate: Gate,
    twin: Twin,
    frames: usize,
    wrong: Vec<String>,
}

impl Both {
    fn new() -> Both {
        Both::of(&cases::world())
    }

    fn of(setup: &Setup) -> Both {
        let mut gate = Gate::new(SMALL).unwrap();
        gate.apply(setup).unwrap();
        let twin = Twin::new(&setup.desired(SEED), SMALL, SEED);
        Both {
            gate,
            twin,
            frames: 0,
            wrong: Vec::new(),
        }
    }

    fn forget_flows(&mut self) {
        self.gate.tables.forget_flows();
        let fresh = Twin::new(&cases::world().desired(SEED), SMALL, SEED);
        self.twin.keep_flows_of(&fresh);
    }

    fn frame(&mut self, what: &str, frame: &[u8]) {
        if !runs(frame) {
            return;
        }
        self.frames += 1;
        let Ran { outcome, .. } = self.gate.run(frame).unwrap();
        let host = self.twin.run(LOOPBACK, frame);
        if host.map(plain) != outcome.map(plain) {
            let text: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
            self.wrong.push(format!(
                "{what}: host {host:?}, kernel {outcome:?}, frame {text}"
            ));
        }
    }

    fn end(self) {
        println!("{} frames", self.frames);
        let shown = self
            .wrong
            .iter()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n");
        assert!(
            self.wrong.is_empty(),
            "{} differ:\n{shown}",
            self.wrong.len()
        );
    }
}

/// Frames of every kind that the tables know, without those that differ in ports only.
fn seeds() -> Vec<Vec<u8>> {
    let all = cases::all().into_iter().flat_map(|case| case.steps);
    all.step_by(5).map(|step| step.frame).collect()
}

#[test]
fn frames_truncated_at_every_byte() {
    if !root_or_skip("frames_truncated_at_every_byte") {
        return;
    }
    let mut both = Both::new();
    let seeds = seeds();
    let step = (seeds.len() / scaled(seeds.len())).max(1);
    for frame in seeds.iter().step_by(step) {
        for len in 0..frame.len() {
            both.frame("truncated", &frame[..len]);
        }
        both.forget_flows();
    }
    both.end();
}

/// Changes some bytes of a frame, and cuts it now and then.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        // Most of what decides stands in the first hundred bytes.
        let end = if random.once_in(3) {
            frame.len()
        } else {
            frame.len().min(110)
        };
        let at = random.below(end);
        let Some(byte) = frame.get_mut(at) else {
            continue;
        };
        *byte = match random.below(4) {
            0 => *byte ^ 1 << random.below(8),
            1 => 0,
            2 => 0xff,
            _ => random.bits() as u8,
        };
    }
    if random.once_in(4) {
        frame.truncate(1 + random.below(frame.len()));
    }
}

#[test]
fn mutated_frames() {
    if !root_or_skip("mutated_frames") {
        return;
    }
    let mut both = Both::new();
    let seeds = seeds();
    let mut random = Random::new(7);
    for number in 0..scaled(120_000) {
        let mut frame = random.pick(&seeds).clone();
        mutate(&mut random, &mut frame);
        both.frame("mutated", &frame);
        if number % 200 == 199 {
            both.forget_flows();
        }
    }
    both.end();
}

#[test]
fn mutated_frames_of_the_internet_side() {
    if !root_or_skip("mutated_frames_of_the_internet_side") {
        return;
    }
    let inward = cases::all().into_iter().filter(|case| {
        let stopped = case
            .quic
            .iter()
            .any(|flow| flow.reason == BLOCKED && !flow.over);
        !case.setup.organisations && stopped
    });
    for case in inward {
        let mut both = Both::of(&case.setup);
        both.gate.set_quic(&case.quic, case.inspector);
        both.twin.set_quic(&case.quic, case.inspector);
        let mut random = Random::new(13);
        for _ in 0..scaled(8_000) {
            let mut frame = random.pick(&case.steps).frame.clone();
            mutate(&mut random, &mut frame);
            both.frame(&case.what, &frame);
        }
        both.end();
    }
}

#[test]
fn random_bytes() {
    if !root_or_skip("random_bytes") {
        return;
    }
    let mut both = Both::new();
    let mut random = Random::new(11);
    let kinds: [[u8; 2]; 8] = [
        [8, 0],
        [0x86, 0xdd],
        [0x81, 0],
        [0x88, 0xa8],
        [0x91, 0],
        [0x88, 0x64],
        [0x88, 0x47],
        [0, 0],
    ];
    for number in 0..scaled(60_000) {
        let mut frame: Vec<u8> = (0..14 + random.below(200))
            .map(|_| random.bits() as u8)
            .collect();
        let kind: &[u8; 2] = random.pick(&kinds);
        frame[12..14].copy_from_slice(kind);
        // An enrolled source now and then, so that more than the first stage is met.
        if frame.len() > 40 && random.once_in(2) {
            frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
            frame[26..30].copy_from_slice(&[10, 0, 0, 9]);
            let len = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&len.to_be_bytes());
            frame[20..22].copy_from_slice(&[0x40, 0]);
            frame[23] = *random.pick(&[6, 6, 17, 1, 47]);
        }
        both.frame("random", &frame);
        if number % 500 == 499 {
            both.forget_flows();
        }
    }
    both.end();
}

#[test]
fn answers_to_mutated_queries_are_sound() {
    if !root_or_skip("answers_to_mutated_queries_are_sound") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    gate.apply(&cases::dns::with_portal(cases::world()))
        .unwrap();
    let mut random = Random::new(11);
    let name = b"www.unified.example";
    let (mut answers, mut wrong) = (0, Vec::new());
    for number in 0..scaled(60_000) {
        let cookie: Vec<u8> = (0..random.below(48)).map(|_| random.bits() as u8).collect();
        let mut query = Query::of("www.unified.example", random.below(70) as u16)
            .with_edns(&[(random.below(16) as u16, &cookie)])
            .bytes();
        for _ in 0..random.below(4) {
            // The header and what is behind the name: most of these still ask for it.
            let at = random.below(query.len());
            if !(12..12 + 2 + name.len()).contains(&at) {
                query[at] = random.bits() as u8;
            }
        }
        query.truncate(query.len() - random.below(4) * random.below(12));
        let path = resolver(cases::path(7, (number % 1_000) as u16));
        let frame = path.udp(&query);
        let ran = gate.run(&frame).unwrap();
        if ran.result == XDP_TX {
            answers += 1;
            wrong.extend(check_datagram(&frame, &ran.frame, &[]).err());
        }
    }
    println!("{answers} answers");
    assert!(
        wrong.is_empty(),
        "{} of {answers}: {:?}",
        wrong.len(),
        wrong.first()
    );
    assert!(answers > scaled(60_000) / 4, "{answers} answers");
}
