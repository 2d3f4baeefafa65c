//! The names of QUIC, end to end but for the wire: real Initial packets through the program in the running
//! kernel, its copies through the reader, its verdicts back into the program.

#![expect(
    clippy::indexing_slicing,
    clippy::single_range_in_vec_init,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::net::IpAddr;
use std::ops::Range;

use filter_common::limits::QUIC_FRAME_MAX;
use filter_common::reason::Reason;
use filter_common::verdict::{Action, Verdict};
use filter_user::config::Quic;
use filter_user::desired::MplsReply;
use filter_user::inspect::copy::Copy;
use filter_user::inspect::{Finding, Inspector, answer};
use filter_user::kernel::quic::Copies;
use schoolgate_tests::cases;
use schoolgate_tests::evasion::Random;
use schoolgate_tests::frames::{Extension, Path, TPID_CUSTOMER, TPID_PROVIDER};
use schoolgate_tests::gate::{Gate, SMALL, scaled};
use schoolgate_tests::hello::Hello;
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::quic::{Long, Sender, Type, V1, V2, check_negotiation, client_hello};
use schoolgate_tests::setup::Setup;

/// The program with its reader in line.
struct Line {
    gate: Gate,
    copies: Copies,
    inspector: Inspector,
}

/// What became of a datagram.
struct Met {
    reason: Reason,
    action: u32,
    category: u32,
    entry: u32,
    reply: Vec<u8>,
    finding: Option<Finding>,
    answer: Option<Vec<u8>>,
    unreachable: Option<Vec<u8>>,
}

impl Line {
    fn new(setup: &Setup) -> Line {
        let mut gate = Gate::new(SMALL).unwrap();
        gate.apply(setup).unwrap();
        gate.set_quic(&[], true);
        let copies = gate.copies().unwrap();
        Line {
            gate,
            copies,
            inspector: Inspector::new(),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Met {
        let ran = self.gate.run(frame).unwrap();
        let outcome = ran.outcome.unwrap();
        let (mut finding, mut told, mut unreachable) = (None, None, None);
        self.copies.next(|record| {
            let copy = Copy::read(record).unwrap();
            assert_eq!(copy.frame, frame);
            finding = self.inspector.read(&copy, &self.gate.tables, copy.at_ns);
            told = answer::frame(&copy);
            unreachable = answer::unreachable(&copy);
        });
        Met {
            reason: Reason::from_number(outcome.reason).unwrap(),
            action: outcome.action,
            category: outcome.category,
            entry: outcome.entry,
            reply: ran.frame,
            finding,
            answer: told,
            unreachable,
        }
    }
}

fn inspecting() -> Setup {
    cases::world_with(|school| school.quic = Quic::Inspect)
}

/// Sends a hello cut up as told; gives what the last datagram met.
fn hello(
    line: &mut Line,
    path: &Path,
    sender: &Sender,
    stream: &[u8],
    cuts: &[Vec<Range<usize>>],
) -> Vec<Met> {
    let datagrams = sender.hello(stream, cuts);
    datagrams
        .iter()
        .map(|bytes| line.send(&path.udp(bytes)))
        .collect()
}

/// Sends a hello in one datagram.
fn whole(line: &mut Line, path: &Path, sender: &Sender, stream: &[u8]) -> Vec<Met> {
    hello(line, path, sender, stream, &[vec![0..stream.len()]])
}

/// The verdict that a name met, by the datagram that completed it.
fn verdict(met: &[Met]) -> (Reason, Option<String>) {
    let found: Vec<&Finding> = met.iter().filter_map(|met| met.finding.as_ref()).collect();
    assert_eq!(found.len(), 1, "one verdict a hello");
    (
        Reason::from_number(found[0].verdict.reason).unwrap(),
        found[0].name.clone(),
    )
}

fn cuts_of(len: usize) -> Vec<Vec<Vec<Range<usize>>>> {
    let half = len / 2;
    vec![
        vec![vec![0..len]],
        vec![vec![0..half], vec![half..len]],
        vec![vec![half..len], vec![0..half]],
        // As Chromium mixes them: in small parts, behind one another in no order, some twice.
        vec![
            vec![half..half + 20, 0..9, half + 40..len, 9..30],
            vec![60..half, 30..60, 0..10, half + 20..half + 40],
        ],
        (0..len)
            .step_by(100)
            .map(|at| vec![at..(at + 100).min(len)])
            .rev()
            .collect(),
    ]
}

#[test]
fn a_name_meets_its_verdict_whatever_its_parts_and_the_flow_obeys() {
    if !root_or_skip("a_name_meets_its_verdict_whatever_its_parts_and_the_flow_obeys") {
        return;
    }
    let mut line = Line::new(&inspecting());
    let mut port = 0;
    let rows = [
        ("www.unified.example", Reason::BlockUnifiedName, 7),
        ("www.NSOR.example", Reason::BlockNsorName, 3),
        ("denied.example", Reason::BlockLocalName, 255),
        ("warned.example", Reason::WarnName, 5),
        ("fine.example", Reason::PassQuicName, 255),
        ("notunified.example", Reason::PassQuicName, 255),
        ("allowed.example", Reason::PassLocalAllow, 255),
    ];
    for version in [V1, V2] {
        for (name, reason, category) in rows {
            let stream = client_hello(name);
            for cuts in cuts_of(stream.len()) {
                port += 1;
                let path = cases::path(13, port);
                let sender = Sender {
                    version,
                    ..Sender::default()
                };
                let met = hello(&mut line, &path, &sender, &stream, &cuts);
                assert!(
                    met.iter()
                        .all(|met| met.finding.is_none() || met.reason == Reason::PassQuicPart)
                );
                assert_eq!(
                    verdict(&met),
                    (reason, Some(name.to_lowercase())),
                    "{cuts:?}"
                );
                let frame = path.udp(&sender.initial(9, &[1]));
                let again = line.send(&frame);
                let handshake = line.send(
                    &path.udp(
                        &Long {
                            version,
                            kind: Type::Handshake,
                            ..Long::default()
                        }
                        .bytes(),
                    ),
                );
                let stops = reason.verdict() != Verdict::Pass;
                if stops {
                    assert_eq!((again.reason, again.category), (reason, category));
                    assert!(again.entry != 0 && again.action == Action::Answer as u32);
                    check_negotiation(&frame, &again.reply, &[]).unwrap();
                    assert_eq!(
                        (handshake.reason, handshake.action),
                        (reason, Action::Drop as u32)
                    );
                } else {
                    assert_eq!(again.reason, Reason::PassQuicPart);
                    assert_eq!(
                        (handshake.reason, handshake.action),
                        (reason, Action::Pass as u32)
                    );
                }
            }
        }
    }
}

#[test]
fn the_verdict_on_the_name_is_that_of_tcp() {
    if !root_or_skip("the_verdict_on_the_name_is_that_of_tcp") {
        return;
    }
    let mut setup = inspecting();
    setup.entries.push(schoolgate_tests::reference::Entry::net(
        "198.51.100.9/32",
        schoolgate_tests::reference::Tier::Local(1),
    ));
    let mut line = Line::new(&setup);
    let mut names: Vec<String> = setup
        .entries
        .iter()
        .filter_map(|entry| match &entry.subject {
            schoolgate_tests::reference::Subject::Host(name)
            | schoolgate_tests::reference::Subject::Domain(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    names.extend(["a.b.c.example".to_owned(), "example".to_owned()]);
    for (at, name) in (0u16..).zip(&names) {
        for (prefix, to) in [
            ("", "198.51.100.7"),
            ("www.", "198.51.100.7"),
            ("x", "198.51.100.7"),
            ("", "198.51.100.9"),
        ] {
            let name = format!("{prefix}{name}");
            let path = Path {
                sport: cases::path(14, at).sport,
                ..Path::between("10.0.0.5", to)
            };
            let tcp = Path {
                sport: path.sport,
                ..path.clone()
            };
            line.gate.tables.forget_flows();
            line.gate.tables.quic_flows.clear();
            line.inspector = Inspector::new();
            line.gate.run(&tcp.syn(1_000)).unwrap();
            let over_tcp = line
                .gate
                .run(&tcp.data(1_000, &Hello::named(&name).bytes()))
                .unwrap()
                .outcome
                .unwrap();
            let stream = client_hello(&name);
            let met = whole(&mut line, &path, &Sender::default(), &stream);
            let over_quic = met[0].finding.as_ref().unwrap().verdict;
            let plain = |reason: u32| {
                if reason == Reason::PassHelloName.number() {
                    Reason::PassQuicName.number()
                } else {
                    reason
                }
            };
            assert_eq!(
                (over_quic.reason, over_quic.category, over_quic.entry),
                (plain(over_tcp.reason), over_tcp.category, over_tcp.entry),
                "{name}"
            );
        }
    }
}

#[test]
fn the_client_is_told_in_every_encapsulation() {
    if !root_or_skip("the_client_is_told_in_every_encapsulation") {
        return;
    }
    let setup = Setup {
        mpls_reply: MplsReply::Label(77),
        ..inspecting()
    };
    let mut line = Line::new(&setup);
    let base = cases::path(15, 1);
    let six = Path {
        sport: base.sport,
        ..Path::between("fd01::5", "2001:db8::53")
    };
    let mut options = Path {
        sport: base.sport + 1,
        ..base.clone()
    };
    options.ip_options = vec![1; 12];
    let mut tagged = Path {
        sport: base.sport + 2,
        ..six.clone()
    };
    tagged.tags = vec![(TPID_PROVIDER, 7), (TPID_CUSTOMER, 5)];
    let mut session = Path {
        sport: base.sport + 3,
        ..base.clone()
    };
    session.pppoe = Some(9);
    let mut extended = Path {
        sport: base.sport + 4,
        ..six.clone()
    };
    extended.extensions = vec![Extension::Destination(8)];
    let mut labelled = Path {
        sport: base.sport + 5,
        ..six.clone()
    };
    labelled.labels = vec![100, 200];
    let stream = client_hello("www.unified.example");
    for path in [base, six, options, tagged, session, extended, labelled] {
        let frame = path.udp(&Sender::default().hello(&stream, &[vec![0..stream.len()]])[0]);
        let met = line.send(&frame);
        assert!(met.finding.unwrap().is_answered(), "{path:?}");
        let labels: &[u32] = if path.labels.is_empty() { &[] } else { &[77] };
        check_negotiation(&frame, &met.answer.unwrap(), labels)
            .unwrap_or_else(|wrong| panic!("{path:?}: {wrong}"));
        check_unreachable(&frame, &met.unreachable.unwrap());
    }
    let mut line = Line::new(&inspecting());
    let unanswered = Path {
        labels: vec![100],
        ..cases::path(15, 100)
    };
    let met =
        line.send(&unanswered.udp(&Sender::default().hello(&stream, &[vec![0..stream.len()]])[0]));
    assert!(met.finding.is_some() && met.answer.is_none() && met.unreachable.is_none());
}

/// That nobody is at the port (ICMP), as the client's kernel would read it: sums that are right, and a
/// quotation that starts with the client's own packet.
fn check_unreachable(frame: &[u8], told: &[u8]) {
    let sum = |bytes: &[u8]| {
        let words = bytes
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
        let sum: u32 = words.sum();
        (sum & 0xffff) + (sum >> 16)
    };
    let head = |bytes: &[u8], first: &[u8]| bytes.windows(first.len()).position(|at| at == first);
    let quoted = |kind: &[u8]| {
        // The message's head is eight bytes, of which two are its sum and four are zero.
        let mut places = (0..told.len() - 8).filter(|at| told[*at..].starts_with(kind));
        places.find(|at| {
            let rest = &told[at + 8..];
            told[at + 4..at + 8] == [0; 4] && head(frame, rest).is_some()
        })
    };
    let (at, pseudo) = match quoted(&[3, 3]) {
        Some(at) => (at, Vec::new()),
        None => {
            let at = quoted(&[1, 4]).unwrap();
            let length = u32::try_from(told.len() - at).unwrap().to_be_bytes();
            (at, [&told[at - 32..at], &length, &[0, 0, 0, 58]].concat())
        }
    };
    assert_eq!(sum(&[&pseudo, &told[at..]].concat()), 0xffff, "{told:?}");
    assert!(told.len() - at <= 8 + 128);
    let version = told[at + 8] >> 4;
    assert_eq!(version, if pseudo.is_empty() { 4 } else { 6 });
}

fn handshake(path: &Path) -> Vec<u8> {
    let packet = Long {
        kind: Type::Handshake,
        ..Long::default()
    };
    path.udp(&packet.bytes())
}

#[test]
fn what_hides_a_name_opens_nothing() {
    if !root_or_skip("what_hides_a_name_opens_nothing") {
        return;
    }
    let mut line = Line::new(&inspecting());
    let (fine, bad) = (
        client_hello("fine.example"),
        client_hello("www.unified.example"),
    );
    let len = fine.len().min(bad.len());
    let sender = Sender::default();
    let other = Sender {
        to: vec![7; 8],
        ..Sender::default()
    };
    // Another hello on an allowed flow, under another connection id and under the same.
    for (at, second) in [(1, &other), (2, &sender)] {
        let path = cases::path(15, 200 + at);
        let met = whole(&mut line, &path, &sender, &fine);
        assert_eq!(verdict(&met).0, Reason::PassQuicName);
        hello(
            &mut line,
            &path,
            second,
            &bad,
            &[vec![0..60], vec![60..bad.len()]],
        );
        assert_ne!(
            line.send(&handshake(&path)).action,
            Action::Pass as u32,
            "{at}"
        );
    }
    // Parts that contradict one another: a server may take either.
    let path = cases::path(15, 210);
    hello(&mut line, &path, &sender, &fine, &[vec![0..150]]);
    hello(&mut line, &path, &sender, &bad, &[vec![100..len]]);
    assert_eq!(
        line.send(&handshake(&path)).reason,
        Reason::FallbackQuicUnread
    );
}

#[test]
fn no_name_and_no_hello_open_nothing_that_asks_for_one() {
    if !root_or_skip("no_name_and_no_hello_open_nothing_that_asks_for_one") {
        return;
    }
    let mut line = Line::new(&inspecting());
    let sender = Sender::default();
    let bad = client_hello("www.unified.example");
    // A hello that never ends, and one that is none.
    let path = cases::path(15, 211);
    hello(&mut line, &path, &sender, &bad, &[vec![0..100]]);
    assert_eq!(line.send(&handshake(&path)).reason, Reason::RefuseQuic);
    let path = cases::path(15, 212);
    let met = whole(&mut line, &path, &sender, &[2; 300]);
    assert_eq!(verdict(&met).0, Reason::FallbackQuicUnread);
    // No name at all: allowed, but for a profile that asks for one.
    let nameless = Hello::default().handshake();
    let path = cases::path(15, 213);
    let met = whole(&mut line, &path, &sender, &nameless);
    assert_eq!(verdict(&met), (Reason::PassQuicName, None));
    let mut only = inspecting();
    only.schools[0].profile.allow_only = true;
    let mut line = Line::new(&only);
    let met = whole(&mut line, &path, &sender, &nameless);
    assert_eq!(verdict(&met), (Reason::BlockAllowOnly, None));
}

#[test]
fn a_crowd_of_open_hellos_is_turned_to_tcp_and_bounded() {
    if !root_or_skip("a_crowd_of_open_hellos_is_turned_to_tcp_and_bounded") {
        return;
    }
    let mut line = Line::new(&inspecting());
    let stream = client_hello("www.unified.example");
    let part = Sender::default().hello(&stream, &[vec![0..100]]);
    let mut crowded = 0;
    for number in 0..600 {
        let met = line.send(&cases::path(15, 300 + number).udp(&part[0]));
        crowded +=
            u32::from(met.finding.is_some_and(|finding| {
                finding.verdict.reason == Reason::FallbackQuicBusy.number()
            }));
    }
    assert_eq!((crowded, line.inspector.kept()), (88, 512));
}

#[test]
fn mutated_initials_harm_nobody() {
    if !root_or_skip("mutated_initials_harm_nobody") {
        return;
    }
    let mut line = Line::new(&inspecting());
    let mut random = Random::new(29);
    let stream = client_hello("www.unified.example");
    let (mut found, mut passed) = (0, 0);
    for number in 0..scaled(30_000) {
        let version = *random.pick(&[V1, V2]);
        let to: Vec<u8> = (0..random.below(21))
            .map(|_| u8::try_from(random.below(256)).unwrap())
            .collect();
        let sender = Sender {
            version,
            to,
            ..Sender::default()
        };
        let mut stream = stream.clone();
        let mut frames = Vec::new();
        for _ in 0..random.below(4) {
            let at = random.below(stream.len());
            stream[at] = u8::try_from(random.below(256)).unwrap();
        }
        for _ in 0..1 + random.below(6) {
            let (from, to) = (random.below(stream.len()), random.below(stream.len() + 1));
            frames.extend(schoolgate_tests::quic::crypto(
                &stream,
                from.min(to)..from.max(to),
            ));
            if random.once_in(4) {
                frames.push(u8::try_from(random.below(256)).unwrap());
            }
        }
        frames.truncate(1_000);
        let mut bytes = sender.initial(u8::try_from(random.below(4)).unwrap(), &frames);
        if random.once_in(3) {
            let at = random.below(bytes.len());
            bytes[at] = u8::try_from(random.below(256)).unwrap();
        }
        let path = cases::path(11, u16::try_from(number % 3_000).unwrap());
        let frame = path.udp(&bytes);
        assert!(frame.len() <= QUIC_FRAME_MAX && matches!(path.source, IpAddr::V4(_)));
        let met = line.send(&frame);
        found += u32::from(met.finding.is_some());
        if met
            .finding
            .as_ref()
            .is_some_and(|finding| finding.name.as_deref() == Some("www.unified.example"))
        {
            assert!(met.finding.unwrap().is_answered());
        }
        passed += u32::from(met.reason == Reason::PassQuicPart);
        assert!(line.inspector.kept() <= 16_384 + 512);
    }
    assert!(found > 0 && passed > 0, "{found} verdicts, {passed} parts");
}
