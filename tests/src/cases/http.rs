//! HTTP/1: the hosts and paths of requests, however they are written, cut and queued, and what a blocked
//! one is answered with.

#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths and numbers in tables are small"
)]

use filter_common::reason::Reason;
use filter_common::verdict::Action;
use filter_user::desired::MplsReply;

use super::http_hosts;
use super::{Case, FIRST, Want, path, world, world_with};
use crate::frames::{ACK, FIN, PSH, Path, RST, TPID_CUSTOMER, TPID_PROVIDER, URG};
use crate::hello::Hello;
use crate::setup::Setup;

pub(super) const TABLE: u16 = 10;

/// The same with a page.
#[must_use]
pub fn with_page(setup: Setup) -> Setup {
    Setup {
        page: Some("portal.example"),
        ..setup
    }
}

/// A request as curl sends it.
#[must_use]
pub fn get(host: &str, target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
    )
    .into_bytes()
}

pub(super) fn page(reason: Reason, category: u8) -> Want {
    Want::of(reason).category(category).by(Action::Redirect)
}

/// Blocked by the unified registry.
pub(super) fn unified() -> Want {
    page(Reason::BlockUnifiedName, 7)
}

pub(super) fn passes() -> Want {
    Want::of(Reason::PassRequestName)
}

pub(super) fn part() -> Want {
    Want::of(Reason::PassRequestPart)
}

pub(super) fn ended() -> Want {
    Want::of(Reason::RefuseEnded).by(Action::Reset)
}

/// A connection whose first segment is `payload`.
pub(super) fn one(what: &str, number: u16, setup: Setup, payload: &[u8], want: Want) -> Case {
    stream(what, number, setup, &[(payload, want)])
}

/// A connection that carries these payloads one behind the other.
fn stream(what: &str, number: u16, setup: Setup, payloads: &[(&[u8], Want)]) -> Case {
    stream_on(&path(TABLE, number), what, setup, payloads)
}

/// The same on this path.
pub(super) fn stream_on(path: &Path, what: &str, setup: Setup, payloads: &[(&[u8], Want)]) -> Case {
    let mut case = Case::new(what)
        .in_setup(with_page(setup))
        .then(path.syn(FIRST), Want::of(Reason::PassSyn));
    let mut seq = FIRST;
    for (payload, want) in payloads {
        case = case.then(path.data(seq, payload), want.clone());
        seq = seq.wrapping_add(payload.len() as u32);
    }
    case
}

#[expect(clippy::too_many_lines, reason = "a table: a row for each case")]
fn connections() -> Vec<Case> {
    let good = get("harmless.example", "/");
    let bad = get("unified.example", "/");
    let both = [good.clone(), bad.clone()].concat();
    let post =
        b"POST /f HTTP/1.1\r\nHost: harmless.example\r\nContent-Length: 20\r\n\r\n0123456789"
            .to_vec();
    let rest = b"GET / HTTP".to_vec();
    let chunks = b"POST /f HTTP/1.1\r\nHost: harmless.example\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nHost:\r\n1".to_vec();
    let chunks_end = [
        b"0\r\n0123456789abcdef\r\n0\r\nHost: x\r\n\r\n".to_vec(),
        bad.clone(),
    ]
    .concat();
    let upgrade =
        b"GET / HTTP/1.1\r\nHost: harmless.example\r\nUpgrade: websocket\r\n\r\n".to_vec();
    let connect = b"CONNECT harmless.example:443 HTTP/1.1\r\n\r\n".to_vec();
    let hello = Hello::named("unified.example").bytes();
    let data = || Want::of(Reason::PassData);
    vec![
        stream(
            "a second request",
            200,
            world(),
            &[
                (&good, passes()),
                (&good, passes()),
                (&bad, unified()),
                (&bad, ended()),
            ],
        ),
        stream(
            "requests in one segment",
            201,
            world(),
            &[(&both, unified()), (&good, ended())],
        ),
        stream(
            "harmless requests in one segment",
            202,
            world(),
            &[(&good.repeat(3), passes()), (&both, unified())],
        ),
        stream(
            "behind a body",
            203,
            world(),
            &[(&post, passes()), (&rest, data()), (&bad, unified())],
        ),
        stream(
            "a body that looks like a request",
            204,
            world(),
            &[(&post, passes()), (&bad[..10], data()), (&bad, unified())],
        ),
        stream(
            "behind chunks",
            205,
            world(),
            &[(&chunks, passes()), (&chunks_end, unified())],
        ),
        stream(
            "behind an upgrade",
            206,
            world(),
            &[
                (&upgrade, passes()),
                (b"\x81\x05hello", Want::of(Reason::PassNotTls)),
                (b"\x82\x01x", data()),
                (&bad, unified()),
            ],
        ),
        stream(
            "TLS behind CONNECT",
            207,
            world(),
            &[
                (&connect, passes()),
                (&hello, Want::of(Reason::BlockUnifiedName).category(7)),
            ],
        ),
        stream(
            "harmless TLS behind CONNECT",
            208,
            world(),
            &[
                (&connect, passes()),
                (
                    &Hello::named("harmless.example").bytes(),
                    Want::of(Reason::PassHelloName),
                ),
                (b"data", data()),
            ],
        ),
        stream(
            "behind SOCKS",
            209,
            world(),
            &[
                (b"\x05\x01\x00", Want::of(Reason::PassNotTls)),
                (b"\x05\x01\x00\x01abcdef", data()),
                (&bad, unified()),
            ],
        ),
        stream("byte by byte", 210, world(), &bytes(&bad)),
        stream(
            "a letter, then the rest",
            211,
            world(),
            &[(&good, passes()), (b"G", part()), (&bad[1..], unified())],
        ),
        stream(
            "no request behind a request",
            212,
            world(),
            &[
                (&good, passes()),
                (b"\x00\x01", Want::of(Reason::PassNotTls)),
                (&good, passes()),
            ],
        ),
    ]
}

/// Each byte of a blocked request in a segment of its own: the one behind the name decides.
fn bytes(request: &[u8]) -> Vec<(&[u8], Want)> {
    let line = b"Host: unified.example";
    let at = request.windows(line.len()).position(|part| part == line);
    let end = at.map_or(0, |at| at + line.len());
    let (front, rest) = request.split_at(end);
    let mut steps: Vec<(&[u8], Want)> = front.chunks(1).map(|byte| (byte, part())).collect();
    steps.push((&rest[..1], unified()));
    steps.push((&rest[1..], ended()));
    steps
}

#[expect(clippy::too_many_lines, reason = "a table: a row for each case")]
fn segments() -> Vec<Case> {
    let path = path(TABLE, 300);
    let setup = || with_page(world());
    let bad = get("unified.example", "/");
    let good = get("harmless.example", "/");
    let start = |what: &str, path: &Path| {
        Case::new(what)
            .in_setup(setup())
            .then(path.syn(FIRST), Want::of(Reason::PassSyn))
    };
    let at = |offset: usize| FIRST.wrapping_add(offset as u32);
    let later = |number: u16| Path {
        sport: path.sport + number,
        ..path.clone()
    };
    let altered: Vec<u8> = good
        .iter()
        .map(|byte| byte ^ u8::from(*byte == b'/'))
        .collect();
    let (first, second) = (&bad[..30], &bad[30..]);
    vec![
        start(
            "the answered request is answered again, all else is reset",
            &path,
        )
        .then(path.data(FIRST, &bad), unified())
        .then(path.data(FIRST, &bad), unified())
        .then(path.tcp(at(bad.len()), ACK, &[]), ended())
        .then(path.tcp(at(bad.len()), ACK | FIN, &[]), ended())
        .then(path.tcp(at(bad.len()), RST, &[]), ended().by(Action::Drop))
        .then(path.data(at(bad.len()), &good), ended())
        .then(
            later(40).tcp(FIRST, ACK, &[]),
            Want::of(Reason::PassNoPayload),
        ),
        start("second part first", &later(1))
            .then(
                later(1).data(at(30), second),
                Want::of(Reason::HoldOutOfOrder),
            )
            .then(later(1).data(FIRST, first), part())
            .then(later(1).data(at(30), second), unified()),
        start("a retransmission that joins two segments", &later(2))
            .then(later(2).data(FIRST, first), part())
            .then(later(2).data(FIRST, &bad), unified()),
        start("an altered first part", &later(3))
            .then(later(3).data(FIRST, &good[..30]), part())
            .then(later(3).data(FIRST, first), Want::of(Reason::HoldAltered)),
        start("a request again, and altered", &later(4))
            .then(later(4).data(FIRST, &good), passes())
            .then(
                later(4).data(FIRST, &good),
                Want::of(Reason::PassRetransmission),
            )
            .then(
                later(4).data(FIRST, &altered),
                Want::of(Reason::HoldAltered),
            )
            .then(
                later(4).data(FIRST, &[good.clone(), bad.clone()].concat()),
                unified(),
            ),
        start("urgent data", &later(5)).then(
            later(5).tcp(FIRST, PSH | ACK | URG, &good),
            Want::of(Reason::RefuseUrgent),
        ),
        start("requests ahead of the next", &later(6))
            .then(later(6).data(FIRST, &good), passes())
            .then(
                later(6).data(at(good.len() + 5), &bad),
                Want::of(Reason::HoldOutOfOrder),
            ),
        start("a port that is taken again at once", &later(9))
            .then(later(9).data(FIRST, &good), passes())
            .then(
                later(9).syn(FIRST.wrapping_add(1 << 24)),
                Want::of(Reason::PassSyn),
            )
            .then(later(9).data(FIRST.wrapping_add(1 << 24), &bad), unified()),
        start("a SYN near the request that was read", &later(10))
            .then(later(10).data(FIRST, &good), passes())
            .then(later(10).syn(at(good.len() + 7)), Want::of(Reason::HoldSyn)),
        one(
            "allow-only, another protocol: no page",
            331,
            world_with(|school| school.profile.allow_only = true),
            b"EHLO school.example\r\n",
            Want::of(Reason::BlockAllowOnly),
        ),
        Case::new("in a stream whose start was not seen")
            .in_setup(setup())
            .then(later(7).data(FIRST, &bad), unified()),
        Case::new("no page: the profile's action")
            .in_setup(world())
            .then(later(8).syn(FIRST), Want::of(Reason::PassSyn))
            .then(later(8).data(FIRST, &bad), unified().by(Action::Reset)),
        one(
            "allow-only, no host",
            330,
            world_with(|school| school.profile.allow_only = true),
            b"GET / HTTP/1.0\r\n\r\n",
            Want::of(Reason::BlockAllowOnly).by(Action::Redirect),
        ),
    ]
}

fn encapsulations() -> Vec<Case> {
    let six = Path::between("fd01::5", "2001:db8::7");
    let four = Path::default();
    let stamps = vec![1, 1, 8, 10, 0xde, 0xad, 0xbe, 0xef, 0x12, 0x34, 0x56, 0x78];
    let mixed = vec![5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 8, 10, 9, 8, 7, 6, 5, 4, 3, 2];
    let mut rows = Vec::new();
    for base in [four, six] {
        let change = |change: &dyn Fn(&mut Path)| {
            let mut path = base.clone();
            change(&mut path);
            path
        };
        rows.extend([
            base.clone(),
            change(&|path| path.tags = vec![(TPID_CUSTOMER, 7)]),
            change(&|path| path.tags = vec![(TPID_PROVIDER, 8), (TPID_CUSTOMER, 7)]),
            change(&|path| path.pppoe = Some(9)),
            change(&|path| path.labels = vec![100, 200]),
            change(&|path| path.tcp_options.clone_from(&stamps)),
            change(&|path| path.tcp_options.clone_from(&mixed)),
        ]);
    }
    let setup = Setup {
        mpls_reply: MplsReply::Label(77),
        ..with_page(world())
    };
    let rows = (400..).zip(rows);
    rows.map(|(number, path)| {
        let path = Path {
            sport: super::path(TABLE, number).sport,
            ..path
        };
        let labels: &[u32] = if path.labels.is_empty() { &[] } else { &[77] };
        Case::new("a page in every encapsulation")
            .in_setup(setup.clone())
            .then(path.syn(FIRST), Want::of(Reason::PassSyn))
            .then(path.data(FIRST, b"GET / HTTP/1.1\r\nHo"), part())
            .then(
                path.data(FIRST.wrapping_add(18), b"st: unified.example\r\n\r\n"),
                unified().labelled(labels),
            )
    })
    .collect()
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [
        http_hosts::hosts(),
        http_hosts::urls(),
        connections(),
        segments(),
        encapsulations(),
    ]
    .concat()
}
