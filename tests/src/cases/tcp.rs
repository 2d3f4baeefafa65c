//! TCP segments one by one: SYN, urgent data, no payload, what is no TLS, kinds of ClientHello.

use std::net::IpAddr;

use filter_common::reason::Reason;
use filter_common::verdict::Action;

use super::links::in_ipv6;
use super::{Case, FIRST, Want, path, world, world_with};
use crate::frames::{ACK, FIN, Path, RST, SYN, URG};
use crate::hello::{
    ALERT, CHANGE_CIPHER_SPEC, Hello, LAST, interleave, name_of_len, record, rerecord,
};
use crate::setup::Setup;

const TABLE: u16 = 4;

fn syn_passes() -> Want {
    Want::of(Reason::PassSyn)
}

fn blocked() -> Want {
    Want::of(Reason::BlockUnifiedName).category(7)
}

fn plain() -> Vec<Case> {
    let p = path(TABLE, 0);
    let none = || Want::of(Reason::PassNoPayload);
    let data = || Want::of(Reason::PassData);
    let request: &[u8; 41] = b"\x01GE / HTTP/1.1\r\nHost: unified.example\r\n\r\n";
    let end = FIRST.wrapping_add(41);
    let mut cases = vec![
        Case::new("segments without payload")
            .then(p.syn(FIRST), syn_passes())
            .then(p.tcp(FIRST, ACK, &[]), none())
            .then(p.tcp(FIRST, FIN | ACK, &[]), none())
            .then(p.tcp(FIRST, RST, &[]), none()),
        Case::new("a stream that is no TLS")
            .then(path(TABLE, 1).syn(FIRST), syn_passes())
            .then(
                path(TABLE, 1).data(FIRST, request),
                Want::of(Reason::PassNotTls),
            )
            .then(path(TABLE, 1).data(end, b"more"), data())
            .then(path(TABLE, 1).tcp(end, FIN | ACK, b"more"), data()),
        Case::new("the server speaks first, as in SMTP")
            .then(path(TABLE, 2).syn(FIRST), syn_passes())
            .then(path(TABLE, 2).tcp(FIRST, ACK, &[]), none())
            .then(
                path(TABLE, 2).data(FIRST, b"EHLO school\r\n"),
                Want::of(Reason::PassNotTls),
            ),
        Case::new("data of a flow whose start was not seen").then(
            path(TABLE, 3).data(FIRST, b"data"),
            Want::of(Reason::PassNoFlow),
        ),
        Case::new("a hello of a flow whose start was not seen").then(
            path(TABLE, 4).data(FIRST, &Hello::named("unified.example").bytes()),
            blocked(),
        ),
        Case::new("a SYN and acknowledgement of a simultaneous open")
            .then(
                path(TABLE, 5).tcp(FIRST.wrapping_sub(1), SYN | ACK, &[]),
                syn_passes(),
            )
            .then(
                path(TABLE, 5).data(FIRST, &Hello::named("unified.example").bytes()),
                blocked(),
            ),
    ];
    let data = Path {
        tcp_options: vec![1; 12],
        ..path(TABLE, 6)
    };
    let case = Case::new("data in a SYN").then(
        data.tcp(FIRST.wrapping_sub(1), SYN, b"early"),
        Want::of(Reason::RefuseSynData),
    );
    cases.push(case.then(data.syn(FIRST), syn_passes()));
    cases
}

fn urgent() -> Vec<Case> {
    let hello = Hello::named("harmless.example").bytes();
    let p = Path {
        urgent: 1,
        ..path(TABLE, 10)
    };
    let end = FIRST.wrapping_add(u32::try_from(hello.len()).unwrap_or(0));
    vec![
        Case::new("urgent data before and after the flow was judged")
            .then(p.syn(FIRST), syn_passes())
            .then(
                p.tcp(FIRST, ACK | URG, &hello),
                Want::of(Reason::RefuseUrgent),
            )
            .then(p.data(FIRST, &hello), Want::of(Reason::PassHelloName))
            .then(p.tcp(end, ACK | URG, b"!"), Want::of(Reason::PassData)),
    ]
}

/// A hello and what it meets, in one segment.
fn one(what: impl Into<String>, number: u16, bytes: &[u8], want: Want) -> Case {
    let p = path(TABLE, number);
    Case::new(what)
        .then(p.syn(FIRST), syn_passes())
        .then(p.data(FIRST, bytes), want)
}

fn hellos() -> Vec<Case> {
    let mut cases = Vec::new();
    for position in [0, 1, 7, 14, LAST] {
        for post_quantum in [false, true] {
            let hello = Hello {
                position,
                post_quantum,
                ..Hello::named("www.unified.example")
            };
            let number = 100 + u16::try_from(cases.len()).unwrap_or(0);
            let what = format!("name at {position}, post-quantum {post_quantum}");
            cases.push(one(
                what,
                number,
                &hello.bytes(),
                blocked().reads("www.unified.example"),
            ));
        }
    }
    cases.extend(counts());
    cases
}

/// Hellos with few and with many extensions, and every length of session id that matters.
fn counts() -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, extensions) in [
        (120u16, 0),
        (121, 31),
        (122, 32),
        (123, 33),
        (124, 60),
        (125, 200),
    ] {
        let hello = Hello {
            extensions,
            position: LAST,
            ..Hello::named("unified.example")
        };
        cases.push(one(
            format!("{extensions} extensions"),
            number,
            &hello.bytes(),
            blocked(),
        ));
    }
    for (number, session_id) in [(130u16, 0), (131, 1), (132, 32)] {
        let hello = Hello {
            session_id,
            ..Hello::named("unified.example")
        };
        cases.push(one(
            format!("session id of {session_id}"),
            number,
            &hello.bytes(),
            blocked(),
        ));
    }
    let ech = Hello {
        ech: true,
        position: LAST,
        ..Hello::named("unified.example")
    };
    cases.push(one("an ECH extension", 140, &ech.bytes(), blocked()));
    let second = Hello {
        second: true,
        ..Hello::named("unified.example")
    };
    cases.push(one(
        "a change-cipher-spec record in front",
        141,
        &second.bytes(),
        blocked(),
    ));
    let nameless = Want::of(Reason::PassHelloNoName);
    cases.push(one(
        "no name",
        142,
        &Hello::default().bytes(),
        nameless.clone(),
    ));
    let bare = Hello {
        extensions: 0,
        ..Hello::default()
    };
    cases.push(one("no extensions", 143, &bare.bytes(), nameless.clone()));
    cases.push(one(
        "an empty name",
        144,
        &Hello::named("").bytes(),
        nameless,
    ));
    cases
}

fn names() -> Vec<Case> {
    let mut cases = Vec::new();
    let suffix = "unified.example";
    for len in (15..=255u16).filter(|len| *len != 16) {
        let name = name_of_len(usize::from(len), suffix);
        let hello = Hello {
            position: usize::from(len % 16),
            ..Hello::named(&name)
        };
        let number = 200 + len;
        cases.push(one(
            format!("a name of {len}"),
            number,
            &hello.bytes(),
            blocked().reads(&name),
        ));
    }
    let labels = format!("{}unified.example", "a.".repeat(120));
    cases.push(one(
        "a label a byte",
        500,
        &Hello::named(&labels).bytes(),
        blocked(),
    ));
    let refused = || Want::of(Reason::RefuseHelloName);
    let long = Hello::named(&name_of_len(256, suffix)).bytes();
    cases.push(one("a name above 255", 501, &long, refused()));
    let mut kind = Hello::named(suffix).bytes();
    let at = kind
        .windows(suffix.len())
        .position(|bytes| bytes == suffix.as_bytes())
        .unwrap_or(3);
    kind[at - 3] = 1;
    cases.push(one("a name of another type", 502, &kind, refused()));
    let odd = Hello {
        name: Some(b"\xd0\xbf.\x00.unified.example".to_vec()),
        ..Hello::default()
    };
    cases.push(one(
        "bytes that no name holds",
        503,
        &odd.bytes(),
        blocked(),
    ));
    let nothing = one(
        "one letter",
        504,
        &Hello::named("x").bytes(),
        Want::of(Reason::PassHelloName),
    );
    cases.push(nothing);
    cases
}

fn records() -> Vec<Case> {
    let hello = Hello {
        position: 9,
        ..Hello::named("www.unified.example")
    }
    .bytes();
    let mut cases = Vec::new();
    for (number, size) in [(600u16, 1usize), (601, 2), (602, 5), (603, 40), (604, 200)] {
        let want = blocked().reads("www.unified.example");
        cases.push(one(
            format!("records of {size}"),
            number,
            &rerecord(&hello, size),
            want,
        ));
    }
    let rows = [
        ("empty handshake records between", record(22, &[])),
        ("warning alerts between", record(ALERT, &[1, 90])),
        (
            "change-cipher-spec records between",
            CHANGE_CIPHER_SPEC.to_vec(),
        ),
    ];
    for (number, (what, between)) in (620u16..).zip(rows) {
        cases.push(one(
            what,
            number,
            &interleave(&hello, 60, &between),
            blocked(),
        ));
    }
    let mut front = record(22, &[]);
    front.extend(&hello);
    cases.push(one(
        "an empty handshake record in front",
        630,
        &front,
        blocked(),
    ));
    let mut front = record(ALERT, &[1, 90]);
    front.extend(&hello);
    cases.push(one("a warning alert in front", 631, &front, blocked()));
    let tiny: Vec<u8> = [vec![CHANGE_CIPHER_SPEC.to_vec(); 330].concat(), hello].concat();
    cases.push(one(
        "more records in front than a segment may hold",
        632,
        &tiny,
        Want::of(Reason::RefuseStepLimit),
    ));
    cases
}

/// What becomes of TCP to a listed address: answered where it can be.
fn to_address() -> Vec<Case> {
    let listed = Path {
        destination: IpAddr::from([203, 0, 113, 20]),
        ..path(TABLE, 700)
    };
    let want = || Want::of(Reason::BlockUnifiedAddress).category(7);
    let mut six = in_ipv6(&listed);
    six.destination = Path::between("::1", "2001:db8:bad::20").destination;
    let mut cases = Vec::new();
    for path in [listed, six] {
        let [first, later] = path.tcp_fragments(FIRST, &[7; 200], 64);
        let case = Case::new(format!("TCP to a listed address, {}", path.source))
            .then(path.syn(FIRST), want())
            .then(path.data(FIRST, b"some data"), want())
            .then(path.tcp(FIRST, ACK, &[]), want())
            .then(path.tcp(FIRST, FIN | ACK, &[]), want())
            .then(path.tcp(FIRST, RST, &[]), want().by(Action::Drop))
            .then(path.packet(6, vec![0; 12]), want().by(Action::Drop))
            .then(first, want().by(Action::Drop))
            .then(later, want().by(Action::Drop));
        cases.push(case);
    }
    cases
}

/// Switches that stand above everything else.
fn switches() -> Vec<Case> {
    let pass_all = Setup {
        pass_all: true,
        ..world()
    };
    let p = path(TABLE, 800);
    let all = || Want::of(Reason::PassAll);
    let hello = Hello::named("unified.example").bytes();
    let listed = Path {
        destination: IpAddr::from([203, 0, 113, 20]),
        ..path(TABLE, 801)
    };
    let mut short = p.data(FIRST, &hello);
    short.truncate(40);
    let passing = Case::new("the operator's switch")
        .in_setup(pass_all)
        .then(p.data(FIRST, &hello), all())
        .then(listed.syn(FIRST), all())
        .then(short, all());
    let limited = Setup {
        syn_limit: 0,
        ..world()
    };
    let p = path(TABLE, 802);
    let limit = Case::new("above the limit of new flows")
        .in_setup(limited)
        .then(p.syn(FIRST), Want::of(Reason::HoldSynLimit));
    let bypass = world_with(|school| school.bypass_until_ns = u64::MAX);
    let q = path(TABLE, 803);
    let bypassed = Case::new("a bypass passes what shows no name")
        .in_setup(bypass)
        .then(q.udp(b"x"), Want::of(Reason::PassBypass))
        .then(q.syn(FIRST), syn_passes())
        .then(
            q.data(FIRST, b"GET / HTTP/1.1\r\n\r\n"),
            Want::of(Reason::PassBypass),
        );
    vec![passing, limit, bypassed]
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [
        plain(),
        urgent(),
        hellos(),
        names(),
        records(),
        to_address(),
        switches(),
    ]
    .concat()
}
