//! Flows through the program in the running kernel: every way to cut a ClientHello, random senders
//! that try to get past, full tables, lost state, idle flows, two processors at once.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use filter_common::abi::FlowKey;
use filter_common::flow::{STAGE_OPEN, stage};
use filter_common::limits::{IDLE_MS, WAYS};
use filter_common::reason::Reason;
use filter_user::desired::FlowSizes;
use filter_user::kernel::run::{XDP_PASS, run};
use schoolgate_tests::cases::{links, world};
use schoolgate_tests::evasion::{Random, attempt, describe, succeeds};
use schoolgate_tests::frames::Path;
use schoolgate_tests::gate::{Gate, SMALL, scaled, stay_on};
use schoolgate_tests::hello::Hello;
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::matrix::{BATCH, Matrix, ROOMY};
use schoolgate_tests::setup::{School, Setup};
use schoolgate_tests::split::{ALLOWED, BLOCKED, decisive, hellos, in_records};

/// Every `step`th number below `end`, from 1; the step grows where random cases are to be fewer.
fn offsets(end: usize) -> Vec<usize> {
    let step = (end / scaled(end)).max(1);
    (1..end).step_by(step).collect()
}

fn of(blocked: bool, stream: &[u8]) -> Option<usize> {
    blocked.then(|| decisive(stream))
}

#[test]
fn hello_cut_in_two_at_every_offset() {
    if !root_or_skip("hello_cut_in_two_at_every_offset") {
        return;
    }
    let mut matrix = Matrix::new(&world());
    for six in [false, true] {
        matrix.path = if six {
            links::in_ipv6(&Path::default())
        } else {
            Path::default()
        };
        for (number, (hello, blocked)) in hellos().iter().enumerate() {
            let end = of(*blocked, hello);
            matrix.flow(format_args!("hello {number} whole"), hello, &[], end);
            for cut in offsets(hello.len()) {
                matrix.flow(format_args!("hello {number} at {cut}"), hello, &[cut], end);
            }
        }
    }
    matrix.end();
}

#[test]
fn hello_cut_in_two_in_every_encapsulation() {
    if !root_or_skip("hello_cut_in_two_in_every_encapsulation") {
        return;
    }
    let mut matrix = Matrix::new(&world());
    let blocked = Hello {
        position: 3,
        ..Hello::named(BLOCKED)
    }
    .bytes();
    let allowed = Hello {
        position: 3,
        ..Hello::named(ALLOWED)
    }
    .bytes();
    for link in links::encapsulations() {
        for six in [false, true] {
            matrix.path = if six {
                links::in_ipv6(&link)
            } else {
                link.clone()
            };
            matrix.path.tcp_options = vec![1; 12];
            let what = format!("{:x?} {:?} {:?}", link.tags, link.labels, link.pppoe);
            for cut in offsets(blocked.len()) {
                matrix.flow(
                    format_args!("{what} at {cut}"),
                    &blocked,
                    &[cut],
                    of(true, &blocked),
                );
            }
            for cut in offsets(allowed.len()).into_iter().step_by(7) {
                matrix.flow(format_args!("{what} at {cut}"), &allowed, &[cut], None);
            }
        }
    }
    matrix.end();
}

#[test]
fn hello_in_records_cut_at_every_offset() {
    if !root_or_skip("hello_in_records_cut_at_every_offset") {
        return;
    }
    let mut matrix = Matrix::new(&world());
    for (number, (hello, blocked)) in hellos().iter().enumerate() {
        for size in [40, 50, 64, 100, 150, 200, 300, 500] {
            let stream = in_records(hello, size);
            let end = of(*blocked, &stream);
            for cut in offsets(stream.len()) {
                matrix.flow(
                    format_args!("hello {number} records {size} at {cut}"),
                    &stream,
                    &[cut],
                    end,
                );
            }
        }
        for size in 1..520 {
            let stream = in_records(hello, size);
            let mss = if size < 16 { 600 } else { 1_400 };
            let cuts: Vec<usize> = (mss..stream.len()).step_by(mss).collect();
            let end = of(*blocked, &stream);
            matrix.flow(
                format_args!("hello {number} records {size}"),
                &stream,
                &cuts,
                end,
            );
        }
    }
    matrix.end();
}

#[test]
fn hello_cut_many_times() {
    if !root_or_skip("hello_cut_many_times") {
        return;
    }
    let mut matrix = Matrix::new(&world());
    let mut random = Random::new(42);
    for (number, (hello, blocked)) in hellos().iter().enumerate() {
        let end = of(*blocked, hello);
        for _ in 0..scaled(2_000) {
            let cuts: Vec<usize> = (0..2 + random.below(8))
                .map(|_| 1 + random.below(hello.len() - 1))
                .collect();
            matrix.flow(
                format_args!("hello {number} at {cuts:?}"),
                hello,
                &cuts,
                end,
            );
        }
        let every: Vec<usize> = (1..hello.len()).collect();
        matrix.flow(format_args!("hello {number} in bytes"), hello, &every, end);
        let tiny = in_records(hello, 1);
        let every: Vec<usize> = (1..tiny.len()).collect();
        let end = of(*blocked, &tiny);
        matrix.flow(
            format_args!("hello {number} in records of a byte, in bytes"),
            &tiny,
            &every,
            end,
        );
    }
    matrix.end();
}

#[test]
fn second_part_first_never_completes_a_blocked_name() {
    if !root_or_skip("second_part_first_never_completes_a_blocked_name") {
        return;
    }
    let mut gate = Gate::new(ROOMY).unwrap();
    gate.apply(&world()).unwrap();
    let mut flows = 0usize;
    for (hello, blocked) in hellos() {
        for cut in offsets(hello.len()) {
            flows += 1;
            if flows.is_multiple_of(BATCH) {
                gate.tables.forget_flows();
            }
            let path = Path {
                sport: 1_024 + (flows % 60_000) as u16,
                ..Path::default()
            };
            let first = 7_000 + flows as u32;
            let at = |offset: usize| first + offset as u32;
            assert!(gate.passes(&path.syn(first)).unwrap());
            let (one, two) = hello.split_at(cut);
            assert!(
                !gate.passes(&path.data(at(cut), two)).unwrap(),
                "the second part first, cut {cut}"
            );
            let known = decisive(&hello) <= cut;
            let passed = gate.passes(&path.data(at(0), one)).unwrap();
            assert_eq!(passed, !(blocked && known), "the first part, cut {cut}");
            let again = gate.passes(&path.data(at(cut), two)).unwrap();
            assert_eq!(again, !blocked, "the second part again, cut {cut}");
        }
    }
    println!("{flows} flows");
}

/// A second hello on the same connection: after a HelloRetryRequest, and behind plain text.
#[test]
fn second_hello_cut_in_two() {
    if !root_or_skip("second_hello_cut_in_two") {
        return;
    }
    let mut gate = Gate::new(ROOMY).unwrap();
    gate.apply(&world()).unwrap();
    let text = b"CONNECT www.example:443 HTTP/1.1\r\n\r\n".to_vec();
    let first_hello = Hello::named(ALLOWED).bytes();
    let mut flows = 0usize;
    for (front, second) in [(&first_hello, true), (&text, false)] {
        for name in [BLOCKED, ALLOWED] {
            let hello = Hello {
                second,
                position: 9,
                ..Hello::named(name)
            }
            .bytes();
            // A dummy record in front is known by its six bytes, a hello by its first two.
            for cut in offsets(hello.len())
                .into_iter()
                .filter(|cut| *cut >= if second { 8 } else { 2 })
            {
                flows += 1;
                if flows.is_multiple_of(BATCH) {
                    gate.tables.forget_flows();
                }
                let path = Path {
                    sport: 1_024 + (flows % 60_000) as u16,
                    ..Path::default()
                };
                let start = 5_000u32;
                let at = |offset: usize| start + (front.len() + offset) as u32;
                assert!(gate.passes(&path.syn(start)).unwrap());
                assert!(gate.passes(&path.data(start, front)).unwrap());
                let decisive = decisive(&hello);
                let (one, two) = hello.split_at(cut);
                let blocked = name == BLOCKED;
                let passed = gate.passes(&path.data(at(0), one)).unwrap();
                assert_eq!(
                    passed,
                    !blocked || cut < decisive,
                    "{name}, cut {cut}, first part"
                );
                let passed = gate.passes(&path.data(at(cut), two)).unwrap();
                assert_eq!(passed, !blocked, "{name}, cut {cut}, second part");
            }
        }
    }
    println!("{flows} flows");
}

#[test]
fn no_random_sender_gets_a_blocked_name_through() {
    if !root_or_skip("no_random_sender_gets_a_blocked_name_through") {
        return;
    }
    let mut gate = Gate::new(ROOMY).unwrap();
    gate.apply(&world()).unwrap();
    let count = scaled(60_000);
    let mut lost = Vec::new();
    for number in 0..count {
        let mut random = Random::new(1_000_000 + number as u64);
        let attempt = attempt(&mut random, "www.unified.example");
        let path = Path {
            sport: 1_024 + (number % 60_000) as u16,
            ..Path::default()
        };
        let first = random.bits() as u32;
        if number % 2_000 == 0 {
            gate.tables.forget_flows();
        }
        if succeeds(&attempt, &path, first, |frame| gate.passes(frame).unwrap()) {
            lost.push(format!("{number}: {}", describe(&attempt)));
        }
    }
    println!("{count} senders");
    assert!(
        lost.is_empty(),
        "{} got through:\n{}",
        lost.len(),
        lost.join("\n")
    );
}

/// A hello whose name comes in its second half, and the place where the tests cut it.
fn halves() -> (Vec<u8>, usize) {
    (
        Hello {
            position: 12,
            ..Hello::named("www.unified.example")
        }
        .bytes(),
        100,
    )
}

fn reason(gate: &mut Gate, frame: &[u8]) -> Option<Reason> {
    gate.run(frame)
        .unwrap()
        .outcome
        .and_then(|outcome| Reason::from_number(outcome.reason))
}

#[test]
fn flood_of_one_school_pushes_out_no_hello_of_another() {
    if !root_or_skip("flood_of_one_school_pushes_out_no_hello_of_another") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    let mut setup = world();
    setup.schools.push(School::new("two", &["10.0.1.0/24"]));
    gate.apply(&Setup {
        syn_limit: 100_000,
        ..setup
    })
    .unwrap();
    let (hello, cut) = halves();
    let paths: Vec<Path> = (0..64)
        .map(|n| Path {
            sport: 2_000 + n,
            ..Path::default()
        })
        .collect();
    for path in &paths {
        assert_eq!(reason(&mut gate, &path.syn(1)), Some(Reason::PassSyn));
        assert_eq!(
            reason(&mut gate, &path.data(1, &hello[..cut])),
            Some(Reason::PassHelloPart)
        );
    }
    for number in 0..30_000u32 {
        let flood = Path {
            sport: 1_024 + (number % 60_000) as u16,
            ..Path::between("10.0.1.9", "198.51.100.8")
        };
        gate.passes(&flood.syn(number)).unwrap();
        gate.passes(&flood.data(number, &hello[..cut])).unwrap();
    }
    for path in &paths {
        let met = reason(&mut gate, &path.data(1 + cut as u32, &hello[cut..]));
        assert_eq!(met, Some(Reason::BlockUnifiedName));
    }
}

#[test]
fn full_tables_hold_and_never_pass_without_an_entry() {
    if !root_or_skip("full_tables_hold_and_never_pass_without_an_entry") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    gate.apply(&world()).unwrap();
    let (hello, cut) = halves();
    let (mut held, mut passed) = (0, 0);
    for number in 0..12_000u32 {
        let path = Path {
            sport: 1_024 + number as u16,
            ..Path::default()
        };
        match reason(&mut gate, &path.syn(1)) {
            Some(Reason::PassSyn) => passed += 1,
            Some(Reason::HoldNoSlot) => held += 1,
            other => panic!("a SYN met {other:?}"),
        }
        // With an entry or without, a blocked name does not complete.
        let first = reason(&mut gate, &path.data(1, &hello[..cut])).unwrap();
        let second = reason(&mut gate, &path.data(1 + cut as u32, &hello[cut..])).unwrap();
        let both = first == Reason::PassHelloPart
            && second.verdict() == filter_common::verdict::Verdict::Pass;
        assert!(!both, "{first:?} and {second:?}");
    }
    println!("{passed} entries, {held} held");
    assert!(
        held > 0 && passed <= SMALL.flows,
        "{passed} entries in {} slots",
        SMALL.flows
    );
}

#[test]
fn lost_state_resets_the_client() {
    if !root_or_skip("lost_state_resets_the_client") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    gate.apply(&world()).unwrap();
    let (hello, cut) = halves();
    let path = Path::default();
    assert!(gate.passes(&path.syn(1)).unwrap());
    assert!(gate.passes(&path.data(1, &hello[..cut])).unwrap());
    for word in gate.tables.hellos.words() {
        word.store(0, Ordering::Relaxed);
    }
    for _ in 0..2 {
        let frame = path.data(1 + cut as u32, &hello[cut..]);
        let ran = gate.run(&frame).unwrap();
        let outcome = ran.outcome.unwrap();
        assert_eq!(outcome.reason, Reason::RefuseStateLost.number());
        schoolgate_tests::frame_reader::check_reset(&frame, &ran.frame, &[]).unwrap();
    }
}

/// Makes every flow look `ms` milliseconds older.
fn age(gate: &Gate, ms: u32) {
    for row in 0..gate.tables.flows.rows() {
        let mut set = gate.tables.flows.get(row).unwrap();
        if set.keys.iter().all(|key| *key == FlowKey::default()) {
            continue;
        }
        for way in 0..WAYS {
            let state = set.slots[way].state;
            let then = ((state >> 32) as u32).wrapping_sub(ms);
            set.slots[way].state = state & 0xffff_ffff | u64::from(then) << 32;
        }
        gate.tables.flows.set(row, set);
    }
}

#[test]
fn idle_flow_gives_way_to_a_new_connection_only() {
    if !root_or_skip("idle_flow_gives_way_to_a_new_connection_only") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    gate.apply(&world()).unwrap();
    let (hello, cut) = halves();
    let path = Path::default();
    assert!(gate.passes(&path.syn(1)).unwrap());
    assert!(gate.passes(&path.data(1, &hello[..cut])).unwrap());
    let far = 0x5000_0000;
    assert_eq!(reason(&mut gate, &path.syn(far)), Some(Reason::HoldSyn));
    age(&gate, IDLE_MS + 1);
    // A SYN in the middle of what was read splits the hello for us and not for the server.
    assert_eq!(
        reason(&mut gate, &path.syn(1 + cut as u32)),
        Some(Reason::HoldSyn)
    );
    assert_eq!(reason(&mut gate, &path.syn(far)), Some(Reason::PassSyn));
    assert_eq!(
        reason(&mut gate, &path.data(far, &hello)),
        Some(Reason::BlockUnifiedName)
    );
}

/// A client that was reset takes its port again: its SYN is held, the one a second later is not.
#[test]
fn port_of_a_blocked_flow_opens_again_after_a_second() {
    if !root_or_skip("port_of_a_blocked_flow_opens_again_after_a_second") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    gate.apply(&world()).unwrap();
    let (hello, _) = halves();
    let path = Path::default();
    let far = 0x5000_0000;
    let mut meets = |frame: &[u8]| reason(&mut gate, frame);
    assert_eq!(meets(&path.syn(1)), Some(Reason::PassSyn));
    assert_eq!(meets(&path.data(1, &hello)), Some(Reason::BlockUnifiedName));
    assert_eq!(meets(&path.syn(far)), Some(Reason::HoldSyn));
    age(&gate, 1_000);
    assert_eq!(reason(&mut gate, &path.syn(far)), Some(Reason::PassSyn));
    assert_eq!(
        reason(&mut gate, &path.data(far, &hello)),
        Some(Reason::BlockUnifiedName)
    );
}

/// Two processors on the same flows: each flow has one entry, and no blocked name completes.
#[test]
fn two_processors_at_once_make_no_entry_twice() {
    if !root_or_skip("two_processors_at_once_make_no_entry_twice") {
        return;
    }
    let mut gate = Gate::new(FlowSizes {
        flows: 131_072,
        hellos: 32_768,
    })
    .unwrap();
    gate.apply(&world()).unwrap();
    let flows = scaled(8_000);
    // What passed of each flow, on either processor: bit 0 its first half, bit 1 its second.
    let passed: Vec<AtomicU8> = (0..flows).map(|_| AtomicU8::new(0)).collect();
    std::thread::scope(|scope| {
        for processor in 0..2 {
            let (gate, passed) = (gate.program().fd(), &passed);
            scope.spawn(move || send_all(gate, processor, passed));
        }
    });
    let both = passed
        .iter()
        .filter(|passed| passed.load(Ordering::Relaxed) == 3)
        .count();
    assert_eq!(both, 0, "blocked names completed");
    let entries = count_entries(&gate);
    println!("{flows} flows, {entries} entries");
    assert_eq!(entries, flows);
}

fn send_all(program: BorrowedFd<'_>, processor: usize, passed: &[AtomicU8]) {
    let (hello, cut) = halves();
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    stay_on(processor % available).unwrap();
    let passes = |frame: &[u8]| run(program, frame, None, 1).unwrap().result == XDP_PASS;
    for (number, passed) in passed.iter().enumerate() {
        let path = Path {
            sport: 1_024 + number as u16,
            ..Path::default()
        };
        passes(&path.syn(1));
        let first = u8::from(passes(&path.data(1, &hello[..cut])));
        let second = u8::from(passes(&path.data(1 + cut as u32, &hello[cut..])));
        passed.fetch_or(first | second << 1, Ordering::Relaxed);
    }
}

/// Entries in the flow table; none is there twice, and no set is still claimed.
fn count_entries(gate: &Gate) -> usize {
    let mut keys = HashSet::new();
    let mut entries = 0;
    for row in 0..gate.tables.flows.rows() {
        let set = gate.tables.flows.get(row).unwrap();
        assert_eq!(set.slots[0].claim, 0, "set {row} is still claimed");
        for way in (0..WAYS).filter(|way| set.keys[*way] != FlowKey::default()) {
            entries += 1;
            assert!(
                keys.insert((set.keys[way].a, set.keys[way].b)),
                "a flow twice in set {row}"
            );
            assert!(stage(set.slots[way].state) <= STAGE_OPEN);
        }
    }
    entries
}
