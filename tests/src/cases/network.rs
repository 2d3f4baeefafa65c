//! The network header: lengths, options, padding, fragments, extension headers.

use filter_common::reason::Reason;

use super::links::in_ipv6;
use super::{Case, FIRST, Want, path};
use crate::frames::{ACK, Extension, PSH, Path, protocol};
use crate::hello::Hello;

const TABLE: u16 = 3;

fn hello() -> Vec<u8> {
    Hello::named("unified.example").bytes()
}

fn blocked() -> Want {
    Want::of(Reason::BlockUnifiedName).category(7)
}

/// A hello on this path is read through whatever stands in front of it.
fn read_through(what: String, path: &Path) -> Case {
    Case::new(what)
        .then(path.syn(FIRST), Want::of(Reason::PassSyn))
        .then(path.data(FIRST, &hello()), blocked())
}

fn options() -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, len) in [(0u16, 4), (1, 24), (2, 40)] {
        let path = Path {
            ip_options: vec![1; len],
            ..path(TABLE, number)
        };
        cases.push(read_through(format!("{len} bytes of IPv4 options"), &path));
    }
    for (number, len) in [(3u16, 12), (4, 40)] {
        let mut path = Path {
            tcp_options: vec![1; len],
            ..path(TABLE, number)
        };
        cases.push(read_through(format!("{len} bytes of TCP options"), &path));
        path.sport += 10;
        cases.push(read_through(
            format!("{len} bytes of TCP options"),
            &in_ipv6(&path),
        ));
    }
    cases
}

fn padding() -> Vec<Case> {
    let mut cases = Vec::new();
    for six in [false, true] {
        let path = Path {
            pad_to: 1_400,
            ..path(TABLE, 30)
        };
        let path = if six { in_ipv6(&path) } else { path };
        let case = Case::new(format!("padding is no payload, {}", path.source))
            .then(path.syn(FIRST), Want::of(Reason::PassSyn))
            .then(path.tcp(FIRST, ACK, &[]), Want::of(Reason::PassNoPayload))
            .then(path.data(FIRST, &hello()), blocked());
        cases.push(case);
    }
    cases
}

fn lengths() -> Vec<Case> {
    let malformed = || Want::of(Reason::RefuseMalformed);
    let mut cases = Vec::new();
    for six in [false, true] {
        let fit = |path: Path| if six { in_ipv6(&path) } else { path };
        let long = Path {
            ip_length_error: 1,
            pad_to: 0,
            ..fit(path(TABLE, 40))
        };
        let short = Path {
            ip_length_error: -1_000,
            ..fit(path(TABLE, 41))
        };
        let sound = fit(path(TABLE, 42));
        let mut few = sound.tcp_segment(FIRST, PSH | ACK, &hello());
        few[12] = 0x40;
        let mut many = sound.tcp_segment(FIRST, PSH | ACK, b"abc");
        many[12] = 0xf0;
        let mut case = Case::new(format!("lengths that do not agree, {}", sound.source))
            .then(long.data(FIRST, &hello()), malformed())
            .then(sound.packet(protocol::TCP, few), malformed())
            .then(sound.packet(protocol::TCP, many), malformed())
            .then(sound.packet(protocol::TCP, vec![0; 19]), malformed())
            .then(sound.packet(protocol::UDP, vec![0; 7]), malformed());
        if six {
            let jumbo = Path {
                ip_length_error: -i32::try_from(hello().len() + 20).unwrap_or(0),
                ..sound
            };
            case = case.then(jumbo.data(FIRST, &hello()), malformed());
        } else {
            case = case.then(short.data(FIRST, &hello()), malformed());
            let mut frame = sound.data(FIRST, &hello());
            frame[14] = 0x44;
            case = case.then(frame.clone(), malformed());
            frame[14] = 0x55;
            case = case.then(frame, malformed());
        }
        cases.push(case);
    }
    cases
}

fn fragments() -> Vec<Case> {
    let refused = || Want::of(Reason::RefuseFragment);
    let mut cases = Vec::new();
    for six in [false, true] {
        let base = if six {
            in_ipv6(&path(TABLE, 60))
        } else {
            path(TABLE, 60)
        };
        let [first, later] = base.tcp_fragments(FIRST, &hello(), 64);
        let [tiny, rest] = base.tcp_fragments(FIRST, &hello(), 8);
        let mut case = Case::new(format!("fragments of TCP, {}", base.source));
        for frame in [first, later, tiny, rest] {
            case = case.then(frame, refused());
        }
        cases.push(case);
        let mut case = Case::new(format!("fragments of UDP, {}", base.source));
        for (dport, first) in [
            (53, Reason::RefuseFragment),
            (443, Reason::RefuseFragment),
            (4_433, Reason::PassUdp),
        ] {
            let path = Path {
                dport,
                ..base.clone()
            };
            let mut datagram = vec![0x9c, 0x40, 0, 0, 0, 64, 0, 0];
            datagram[2..4].copy_from_slice(&dport.to_be_bytes());
            datagram.resize(64, 7);
            let [one, two] = path.fragments(protocol::UDP, &datagram, 32);
            case = case
                .then(one, Want::of(first))
                .then(two, Want::of(Reason::PassUdpFragment));
        }
        cases.push(case);
        let [one, two] = base.fragments(protocol::GRE, &[0; 64], 32);
        let other = || Want::of(Reason::PassOtherProtocol);
        let case = Case::new(format!("fragments of another protocol, {}", base.source));
        cases.push(case.then(one, other()).then(two, other()));
    }
    cases
}

fn extensions() -> Vec<Case> {
    use Extension::{Authentication, Destination, Fragment, HopByHop, Routing};
    let six = |number, extensions: Vec<Extension>| Path {
        extensions,
        ..in_ipv6(&path(TABLE, number))
    };
    let rows: Vec<(&str, Vec<Extension>)> = vec![
        ("hop-by-hop options", vec![HopByHop(8)]),
        ("long hop-by-hop options", vec![HopByHop(200)]),
        ("a routing header", vec![Routing(24)]),
        ("destination options", vec![Destination(16)]),
        ("an authentication header", vec![Authentication(24)]),
        ("an odd authentication header", vec![Authentication(12)]),
        ("an atomic fragment", vec![Fragment(0, false)]),
        (
            "destination options behind an atomic fragment",
            vec![Fragment(0, false), Destination(8)],
        ),
        (
            "the seven of RFC 8200",
            vec![
                HopByHop(8),
                Destination(8),
                Routing(8),
                Fragment(0, false),
                Authentication(12),
                Destination(8),
            ],
        ),
        ("eight headers", vec![Destination(8); 8]),
    ];
    let mut cases: Vec<Case> = (100u16..)
        .zip(rows)
        .map(|(number, (what, extensions))| read_through(what.to_owned(), &six(number, extensions)))
        .collect();
    let refused = |number, what: &str, extensions, reason| {
        Case::new(what).then(
            six(number, extensions).data(FIRST, &hello()),
            Want::of(reason),
        )
    };
    let nine = vec![Destination(8); 9];
    cases.push(refused(130, "nine headers", nine, Reason::RefuseHeaders));
    let hidden = vec![Fragment(2, false), Destination(8)];
    let what = "a later fragment whose options hide the protocol";
    cases.push(refused(131, what, hidden, Reason::RefuseFragment));
    let first = vec![Destination(8), Fragment(0, true), Destination(8)];
    cases.push(refused(
        132,
        "a first fragment between options",
        first,
        Reason::RefuseFragment,
    ));
    let mut beyond = six(133, vec![Destination(8)]).data(FIRST, &hello());
    beyond[14 + 40 + 1] = 255;
    let case = Case::new("a header that ends behind the packet");
    cases.push(case.then(beyond, Want::of(Reason::RefuseMalformed)));
    cases
}

fn others() -> Vec<Case> {
    let mut cases = Vec::new();
    for six in [false, true] {
        let path = if six {
            in_ipv6(&path(TABLE, 150))
        } else {
            path(TABLE, 150)
        };
        let other = || Want::of(Reason::PassOtherProtocol);
        let case = Case::new(format!("other protocols, {}", path.source))
            .then(path.ping(), other())
            .then(path.packet(protocol::GRE, vec![0; 40]), other())
            .then(path.packet(59, vec![]), other())
            .then(path.udp(b"datagram"), Want::of(Reason::PassUdp));
        cases.push(case);
    }
    cases
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [
        options(),
        padding(),
        lengths(),
        fragments(),
        extensions(),
        others(),
    ]
    .concat()
}
