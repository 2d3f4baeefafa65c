//! The sequences of the flow rules against a stock server: the very frames that the filter judges go
//! over a real link to a Linux TCP stack and OpenSSL. What these understood, the filter judged.

use std::time::Duration;

use schoolgate_tests::cases::world;
use schoolgate_tests::evasion::{Random, attempt};
use schoolgate_tests::frames::{ACK, Path, RST};
use schoolgate_tests::gate::{Gate, SEED, SMALL, scaled};
use schoolgate_tests::hello::{Hello, rerecord};
use schoolgate_tests::lab::commands::OpensslServer;
use schoolgate_tests::lab::pki::Authority;
use schoolgate_tests::lab::{device, root_or_skip, wait};
use schoolgate_tests::wire::{Connection, Link, Wire, attach};

const PORT: u16 = 443;

/// A piece of a stream: where it stands, its bytes, and whether its checksum is right.
type Piece = (usize, Vec<u8>, bool);

struct Stand {
    wire: Wire,
    server: OpensslServer,
    six: bool,
    flows: u16,
    _link: Link,
    _attached: std::os::fd::OwnedFd,
    _gate: Gate,
}

impl Stand {
    fn new(six: bool) -> Stand {
        let link = Link::new().unwrap();
        let mut gate = Gate::new(SMALL).unwrap();
        let mut desired = world().desired(SEED);
        desired.interfaces[0].ifindex = device::index(&link.server, "edge").unwrap();
        gate.apply_desired(&desired).unwrap();
        let attached = attach(gate.program().fd(), &link.server, "edge").unwrap();
        let authority = Authority::new().unwrap();
        let server = OpensslServer::start(&link.server, PORT, &authority).unwrap();
        let wire = Wire::open(&link.client, "out").unwrap();
        Stand { wire, server, six, flows: 0, _link: link, _attached: attached, _gate: gate }
    }

    /// A path on a port of its own.
    fn path(&mut self) -> Path {
        self.flows += 1;
        Link::path(self.six, 20_000 + self.flows, PORT).unwrap()
    }

    fn heard(&self, name: &str) -> bool {
        self.server.heard().iter().any(|heard| heard.eq_ignore_ascii_case(name))
    }

    /// Sends a stream's pieces; the connection ends with a reset, so that the server takes the next.
    fn send(&mut self, pieces: &[Piece]) {
        let path = self.path();
        let first = u32::from(self.flows) << 20;
        let connection = Connection::open(&self.wire, path, first).unwrap();
        for (at, bytes, right) in pieces {
            let seq = first.wrapping_add(*at as u32);
            let mut frame = if bytes.is_empty() {
                connection.path.syn(seq)
            } else {
                connection.path.data(seq, bytes)
            };
            if !right {
                // The last byte is payload: the server's TCP sees a wrong checksum.
                let last = frame.len() - 1;
                frame[last] ^= 0xff;
            }
            self.wire.send(&frame).unwrap();
        }
        // An answer of the server tells that it has read what came.
        let answered = |segment: &schoolgate_tests::frame_reader::Segment| !segment.payload.is_empty();
        let answer = connection.wait(Duration::from_millis(60), answered);
        let seen = answer.map_or(0, |segment| segment.seq.wrapping_add(segment.payload.len() as u32));
        let path = Path { ack: seen, ..connection.path.clone() };
        for (at, bytes, _) in pieces.iter().rev() {
            let end = first.wrapping_add((at + bytes.len()) as u32);
            self.wire.send(&path.tcp(end, RST | ACK, &[])).unwrap();
        }
        for offset in [0, 1, 2] {
            self.wire.send(&path.tcp(first.wrapping_add(offset), RST | ACK, &[])).unwrap();
        }
    }
}

fn hello(name: &str) -> Vec<u8> {
    Hello { position: 12, ..Hello::named(name) }.bytes()
}

/// Honest ways to send a hello.
fn honest(name: &str) -> Vec<(&'static str, Vec<Piece>)> {
    let whole = hello(name);
    let piece = |from: usize, to: usize| (from, whole[from..to].to_vec(), true);
    let end = whole.len();
    let records = rerecord(&whole, 60);
    vec![
        ("whole", vec![piece(0, end)]),
        ("in two", vec![piece(0, 100), piece(100, end)]),
        ("in two, each again, joined", vec![
            piece(0, 100), piece(0, 100), piece(100, end), piece(100, end), piece(0, end),
        ]),
        ("the second overtakes and comes again", vec![
            piece(100, end), piece(0, 100), piece(100, end),
        ]),
        ("joined from the next byte", vec![piece(0, 100), piece(0, end)]),
        ("in records of 60 bytes", vec![(0, records, true)]),
        ("in tens", (0..end).step_by(10).map(|at| piece(at, (at + 10).min(end))).collect()),
    ]
}

/// Ways to hide a blocked name, sent twice over by the caller.
fn dishonest(name: &str, decoy: &str) -> Vec<(&'static str, Vec<Piece>)> {
    let (whole, other) = (hello(name), hello(decoy));
    let end = whole.len();
    let piece = |from: usize, to: usize| (from, whole[from..to].to_vec(), true);
    let fake = |from: usize| (from, other[from..].to_vec(), false);
    let junk = (0usize, vec![0x55; 200], false);
    let syn = |at: usize| (at, Vec::new(), true);
    let mut version = whole.clone();
    version[9] = 5;
    vec![
        ("second part first", vec![piece(100, end), piece(0, 100), piece(100, end)]),
        ("a decoy, then the hello", vec![fake(0), piece(0, end)]),
        ("a decoy, then the hello in two", vec![fake(0), piece(0, 100), piece(100, end)]),
        ("a part, a decoy, the rest", vec![piece(0, 100), fake(0), piece(100, end)]),
        ("a part, a decoy of the rest, the rest", vec![piece(0, 100), fake(100), piece(100, end)]),
        ("junk, the late part, the early part", vec![junk.clone(), piece(100, end), piece(0, 100)]),
        ("junk, then the hello in two", vec![junk, piece(0, 100), piece(100, end)]),
        ("a forged SYN in the middle", vec![piece(0, 100), syn(100), piece(100, end)]),
        ("a decoy of the rest and a forged SYN", vec![
            piece(0, 100), fake(100), syn(100), piece(100, end),
        ]),
        ("a client version of no known kind", vec![(0, version, true)]),
        ("in single bytes", (0..end).map(|at| piece(at, at + 1)).collect()),
    ]
}

#[test]
fn stock_server_understands_honest_clients_and_no_blocked_name() {
    let test = "stock_server_understands_honest_clients_and_no_blocked_name";
    if !root_or_skip(test) {
        return;
    }
    let mut sent = 0;
    for six in [false, true] {
        let mut stand = Stand::new(six);
        for (number, (what, _)) in honest("").iter().enumerate() {
            let name = format!("h{number}.harmless.example");
            stand.send(&honest(&name)[number].1);
            let heard = || stand.heard(&name);
            wait::until_true(&format!("the server to read a hello sent {what}"), Duration::from_secs(5), heard)
                .unwrap();
            sent += 1;
        }
        for (number, (what, _)) in dishonest("unified.example", "d.example").iter().enumerate() {
            let name = format!("b{number}.unified.example");
            stand.send(&dishonest(&name, "d.example")[number].1);
            assert!(!stand.heard(&name), "{what}: the server understood {name}");
            sent += 1;
        }
        sent += fragments(&mut stand);
        sent += random_senders(&mut stand);
        // The server still serves: what it did not understand was kept from it.
        stand.send(&honest("last.harmless.example")[0].1);
        wait::until_true("the server to serve on", Duration::from_secs(5), || stand.heard("last.harmless.example"))
            .unwrap();
        let blocked = stand.server.heard().into_iter().filter(|name| name.ends_with("unified.example"));
        assert_eq!(blocked.collect::<Vec<_>>(), Vec::<String>::new());
    }
    println!("{sent} connections");
}

/// Fragments that the server would put together are refused, whatever name they hold.
fn fragments(stand: &mut Stand) -> usize {
    let name = "fragments.harmless.example";
    let path = stand.path();
    let connection = Connection::open(&stand.wire, path, 77).unwrap();
    for frame in connection.path.tcp_fragments(77, &hello(name), 128) {
        stand.wire.send(&frame).unwrap();
    }
    assert!(connection.wait(Duration::from_millis(200), |segment| !segment.payload.is_empty()).is_none());
    stand.wire.send(&connection.path.tcp(77, RST | ACK, &[])).unwrap();
    assert!(!stand.heard(name), "the server put fragments together that the filter must refuse");
    1
}

fn random_senders(stand: &mut Stand) -> usize {
    let count = scaled(60);
    for number in 0..count {
        let mut random = Random::new(9_000 + number as u64);
        let name = format!("r{number}.unified.example");
        let attempt = attempt(&mut random, &name);
        let pieces: Vec<Piece> = (attempt.pieces.iter())
            .flat_map(|piece| match piece.bytes.len() {
                0 => vec![(piece.at, Vec::new(), true)],
                _ => (piece.bytes.chunks(1_400).enumerate())
                    .map(|(at, bytes)| (piece.at + at * 1_400, bytes.to_vec(), piece.seen))
                    .collect(),
            })
            .collect();
        stand.send(&pieces);
        assert!(!stand.heard(&name), "random sender {number}: the server understood {name}");
    }
    count
}
