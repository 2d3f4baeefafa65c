//! Captures through the real program, against what is in them. Needs root and the compiled program;
//! says so and passes where it has not.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it does not expect"
)]

use std::path::PathBuf;
use std::sync::Arc;

use filter_common::abi::{Class, Policy, Tiers};
use filter_common::name::name_key;
use filter_common::verdict::Action;
use filter_user::desired::{Desired, FlowSizes, Subject};
use filter_user::kernel::{OBJECT, Seed};
use filter_user::replay::{Options, Replayer, Summary};

const SEED: Seed = Seed(77);

/// A TLS ClientHello record with this server name.
fn client_hello(name: &str) -> Vec<u8> {
    let be = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let list = [&[0u8][..], &be(name.len()), name.as_bytes()].concat();
    let extension = [&[0u8, 0][..], &be(list.len() + 2), &be(list.len()), &list].concat();
    let mut hello = vec![3, 3];
    hello.extend([7u8; 32]);
    hello.push(0);
    hello.extend([0, 2, 0x13, 1, 1, 0]);
    hello.extend(be(extension.len()));
    hello.extend(extension);
    let handshake = [&[1u8, 0][..], &be(hello.len()), &hello].concat();
    [&[0x16u8, 3, 1][..], &be(handshake.len()), &handshake].concat()
}

struct Capture(Vec<u8>);

impl Capture {
    /// A pcap of raw IP packets.
    fn new() -> Capture {
        let words = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 101];
        Capture(words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    fn segment(
        &mut self,
        seconds: u32,
        source: [u8; 4],
        port: u16,
        seq: u32,
        flags: u8,
        payload: &[u8],
    ) {
        let length = u16::try_from(40 + payload.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(source);
        packet.extend([192, 0, 2, 1]);
        packet.extend(port.to_be_bytes());
        packet.extend(443u16.to_be_bytes());
        packet.extend(seq.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        packet.extend(payload);
        let captured = u32::try_from(packet.len()).unwrap();
        self.0.extend(
            [seconds, 0, captured, captured]
                .iter()
                .flat_map(|word| word.to_le_bytes()),
        );
        self.0.extend(packet);
    }
}

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn replayed(capture: &Capture, test: &str) -> Option<(Vec<serde_json::Value>, Summary)> {
    replayed_by(&mut Replayer::default(), capture, test)
}

fn replayed_by(
    replayer: &mut Replayer,
    capture: &Capture,
    test: &str,
) -> Option<(Vec<serde_json::Value>, Summary)> {
    // SAFETY: a call without arguments that touches no memory.
    if unsafe { libc::geteuid() } != 0 || OBJECT.is_empty() {
        println!("skipped: not root, or built without the XDP program");
        return None;
    }
    let path = std::env::temp_dir().join(format!("schoolgate-{test}-{}.pcap", std::process::id()));
    let file = File(path);
    std::fs::write(&file.0, &capture.0).unwrap();
    let tiers = Tiers {
        unified: 1 << 5,
        ..Tiers::default()
    };
    let key = name_key(SEED.0, b"blocked.example").unwrap();
    let desired = Desired {
        realms: 1,
        classes: vec![
            Class::default(),
            Class {
                exact: tiers,
                suffix: tiers,
            },
        ],
        subjects: Arc::new(vec![Subject {
            key,
            address: false,
            class: 1,
            entry: 4,
        }]),
        ..Desired::default()
    };
    let policy = Policy {
        action: Action::Reset as u32,
        ..Policy::default()
    };
    let options = Options {
        file: file.0.clone(),
        desired,
        seed: SEED,
        interface: None,
        enrol_all_sources: true,
        source_policy: policy,
        all: true,
        json: true,
        flows: FlowSizes {
            flows: 4096,
            hellos: 1024,
        },
    };
    let mut out = Vec::new();
    let mut warn = |warning| panic!("{warning}");
    let summary = replayer.run(options, &(), &mut out, &mut warn).unwrap();
    let rows = String::from_utf8(out).unwrap();
    Some((
        rows.lines()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect(),
        summary,
    ))
}

const SYN: u8 = 2;
const ACK: u8 = 16;

#[test]
fn a_blocked_name_is_reset_whole_and_in_two_segments() {
    let mut capture = Capture::new();
    let hello = client_hello("www.blocked.example");
    let (front, back) = hello.split_at(70);
    capture.segment(1, [10, 0, 0, 1], 1000, 99, SYN, &[]);
    capture.segment(1, [10, 0, 0, 1], 1000, 100, ACK, &hello);
    capture.segment(1, [10, 0, 0, 2], 1000, 99, SYN, &[]);
    capture.segment(1, [10, 0, 0, 2], 1000, 100, ACK, front);
    capture.segment(1, [10, 0, 0, 2], 1000, 170, ACK, back);
    capture.segment(
        1,
        [10, 0, 0, 3],
        1000,
        100,
        ACK,
        &client_hello("fine.example"),
    );
    let Some((rows, summary)) = replayed(&capture, "blocked") else {
        return;
    };
    assert_eq!(
        (summary.frames, summary.decisions, summary.skipped),
        (6, 3, 0)
    );
    assert_eq!(rows[0]["program"], "schoolgate");
    assert_eq!(rows[0]["tag"].as_str().unwrap().len(), 16);
    let told = |row: usize, key: &str| rows[row][key].as_str().unwrap_or("-").to_string();
    let reasons: Vec<String> = (1..7).map(|row| told(row, "reason")).collect();
    let expected = [
        "pass_syn",
        "block_unified_name",
        "pass_syn",
        "pass_hello_part",
        "block_unified_name",
        "pass_hello_name",
    ];
    assert_eq!(reasons, expected);
    for row in [2, 5] {
        assert_eq!(
            (told(row, "verdict"), told(row, "action")),
            ("block".into(), "reset".into())
        );
        assert_eq!(told(row, "name"), "www.blocked.example");
        assert_eq!(
            (told(row, "proto"), told(row, "category")),
            ("tls".into(), "5".into())
        );
        assert!(
            told(row, "reply").starts_with("020000000002020000000001")
                || told(row, "reply").starts_with("020000000001020000000002")
        );
    }
    assert_eq!(
        (told(2, "org"), told(5, "org")),
        ("10.0.0.1".into(), "10.0.0.2".into())
    );
    assert_eq!(rows[5]["sport"], 1000);
}

#[test]
fn a_hello_that_offload_joined_with_more_is_judged() {
    let mut capture = Capture::new();
    let mut stream = client_hello("www.blocked.example");
    stream.resize(9_000, 0x17);
    capture.segment(1, [10, 0, 0, 1], 1000, 99, SYN, &[]);
    capture.segment(1, [10, 0, 0, 1], 1000, 100, ACK, &stream);
    let Some((rows, summary)) = replayed(&capture, "offload") else {
        return;
    };
    assert_eq!((summary.frames, summary.runs), (2, 8));
    assert_eq!(rows[2]["reason"], "block_unified_name");
}

#[test]
fn a_port_used_again_after_a_pause_of_the_capture_is_a_new_flow() {
    let mut capture = Capture::new();
    capture.segment(1, [10, 0, 0, 1], 1000, 99, SYN, &[]);
    capture.segment(2, [10, 0, 0, 1], 1000, 5_000, SYN, &[]);
    // Far from the first: a SYN near a flow's first byte is no new connection.
    capture.segment(60, [10, 0, 0, 1], 1000, 90_000_000, SYN, &[]);
    capture.segment(
        60,
        [10, 0, 0, 1],
        1000,
        90_000_001,
        ACK,
        &client_hello("blocked.example"),
    );
    let Some((rows, _)) = replayed(&capture, "pause") else {
        return;
    };
    let reasons: Vec<_> = rows[1..]
        .iter()
        .map(|row| row["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        ["pass_syn", "hold_syn", "pass_syn", "block_unified_name"]
    );
}

#[test]
fn captures_by_one_load_of_the_program_do_not_meet() {
    let hello = client_hello("www.blocked.example");
    let (front, back) = hello.split_at(70);
    let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let source = [10, 0, 0, 1];
    let capture = |segments: &[(u32, u8, &[u8])]| {
        let mut capture = Capture::new();
        for (seq, flags, payload) in segments {
            capture.segment(1, source, 1000, *seq, *flags, payload);
        }
        capture
    };
    let (blocked, fine) = (request("blocked.example"), request("fine.example"));
    // Each leaves what would change the next one's verdicts: half a hello, a flow, an ended connection.
    let captures = [
        capture(&[(99, SYN, &[]), (100, ACK, front)]),
        capture(&[(170, ACK, back)]),
        capture(&[(99, SYN, &[]), (100, ACK, &blocked)]),
        capture(&[(100, ACK, &fine)]),
        capture(&[(99, SYN, &[]), (100, ACK, &hello)]),
        capture(&[(100, ACK, &fine), (99, SYN, &[]), (100, ACK, front)]),
    ];
    let mut replayer = Replayer::default();
    let mut loads = std::collections::BTreeSet::new();
    for (number, capture) in captures.iter().enumerate() {
        let Some((alone, _)) = replayed(capture, "alone") else {
            return;
        };
        let (after, _) = replayed_by(&mut replayer, capture, "after").unwrap();
        assert_eq!(alone[1..], after[1..], "capture {number}");
        loads.insert(after[0]["id"].as_u64().unwrap());
    }
    assert_eq!(loads.len(), 1, "{loads:?}");
}
