//! QUIC that is turned to TCP: which datagrams are answered, which are dropped, and which are no QUIC.

use filter_common::reason::Reason;
use filter_common::rule::CATEGORY_NONE;
use filter_common::verdict::{Action, Verdict};
use filter_user::config::Quic;
use filter_user::desired::MplsReply;

use super::{Case, QuicVerdict, Want, links, path, world, world_with};
use crate::frames::{Path, protocol};
use crate::quic::{Long, Type, V1, V2};
use crate::reference::{Entry, Tier};
use crate::setup::Setup;

pub(super) const TABLE: u16 = 12;

fn turned() -> Want {
    Want::of(Reason::FallbackQuicPolicy)
}

fn refused() -> Want {
    Want::of(Reason::RefuseQuic)
}

fn to_port(number: u16, dport: u16) -> Path {
    Path {
        dport,
        ..path(TABLE, number)
    }
}

fn long(version: u32, kind: Type) -> Long {
    Long {
        version,
        kind,
        ..Long::default()
    }
}

fn initials() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [V1, V2] {
        for port in [443, 80, 8_443, 50_000] {
            let path = to_port(0, port);
            let mut case = Case::new(format!("an Initial of version {version:#x} to port {port}"));
            for (to, from) in [(8, 0), (0, 0), (20, 20), (1, 19), (18, 5)] {
                let initial = Long {
                    to: (0..to).map(|at| 0xa0 + at).collect(),
                    from: (0..from).map(|at| 0x40 + at).collect(),
                    ..long(version, Type::Initial)
                };
                case = case.then(path.udp(&initial.bytes()), turned());
            }
            cases.push(case);
        }
    }
    let path = to_port(10, 443);
    let initial = Long::default().bytes();
    let mut greased = initial.clone();
    greased[0] &= !0x40;
    let mut case = Case::new(
        "a client that ignores the answer meets it again, with every bit that may differ",
    );
    for frame in [&initial, &initial, &greased] {
        case = case.then(path.udp(frame), turned());
    }
    cases.push(case);
    cases
}

fn lengths() -> Vec<Case> {
    let path = to_port(20, 443);
    let of_len = |len| Long {
        len,
        ..Long::default()
    };
    let with_ids = |to: usize, from: usize| Long {
        to: vec![1; to],
        from: vec![2; from],
        ..Long::default()
    };
    let initial = of_len(1250).bytes();
    let mut cut =
        Case::new("what no server takes is dropped: a short datagram, long connection ids");
    for len in [7, 20, 60, 1199] {
        cut = cut.then(path.udp(&of_len(len).bytes()), refused());
    }
    cut = cut
        .then(path.udp(&of_len(1200).bytes()), turned())
        .then(path.udp(&of_len(1252).bytes()), turned())
        .then(path.udp(&with_ids(21, 0).bytes()), refused())
        .then(path.udp(&with_ids(0, 21).bytes()), refused())
        .then(path.udp(&with_ids(255, 255).bytes()), refused());
    for len in 1..6 {
        cut = cut.then(path.udp(&initial[..len]), Want::of(Reason::PassUdp));
    }
    let mut wrong = Case::new("a UDP length that does not agree is refused");
    for told in [0u16, 7, 1300] {
        let mut frame = path.udp(&initial);
        frame[14 + 20 + 4..14 + 20 + 6].copy_from_slice(&told.to_be_bytes());
        wrong = wrong.then(frame, Want::of(Reason::RefuseMalformed));
    }
    // The server's stack cuts the datagram to that length.
    let mut frame = path.udp(&initial);
    frame[14 + 20 + 4..14 + 20 + 6].copy_from_slice(&1000u16.to_be_bytes());
    wrong = wrong.then(frame, refused());
    vec![cut, wrong]
}

fn others() -> Vec<Case> {
    let path = to_port(30, 443);
    let pass = || Want::of(Reason::PassUdp);
    let unknown = |version| long(version, Type::Initial).bytes();
    let mut case =
        Case::new("versions that are not read are turned to TCP too, on the port of HTTP/3");
    for version in [
        2,
        0xff00_001d,
        0x5130_3530,
        0xface_b002,
        0x0a0a_0a0a,
        0x5a5a_5a5b,
    ] {
        case = case.then(
            path.udp(&unknown(version)),
            Want::of(Reason::FallbackQuicUnread),
        );
    }
    let mut rtp = unknown(0x1234_5678);
    rtp[0] = 0x90;
    let mut short = unknown(0x1234_5678);
    short.truncate(1_100);
    case = case
        .then(path.udp(&rtp), pass())
        .then(path.udp(&short), pass())
        .then(to_port(30, 3_478).udp(&unknown(0x1234_5678)), pass())
        .then(path.udp(&unknown(0)), pass());
    let mut later = Case::new(
        "later packets of a connection that cannot be are dropped; short headers tell nothing",
    );
    for version in [V1, V2] {
        for kind in [Type::ZeroRtt, Type::Handshake, Type::Retry] {
            later = later.then(path.udp(&long(version, kind).bytes()), refused());
        }
    }
    later = later
        .then(path.udp(&[0x43; 1_300]), pass())
        .then(path.udp(&[0x43]), pass());
    vec![case, later.then(path.udp(&[]), pass())]
}

fn profiles() -> Vec<Case> {
    let path = to_port(40, 443);
    let initial = path.udp(&Long::default().bytes());
    let handshake = path.udp(&long(V1, Type::Handshake).bytes());
    let unknown = path.udp(&long(77, Type::Initial).bytes());
    let unread = || Want::of(Reason::PassQuic);
    let only = || Want::of(Reason::BlockAllowOnly);
    vec![
        Case::new("a profile that allows QUIC lets it pass unread")
            .in_setup(world_with(|school| school.quic = Quic::Allow))
            .then(initial.clone(), unread())
            .then(handshake.clone(), unread())
            .then(unknown.clone(), unread()),
        Case::new("an allow-only profile turns QUIC to TCP, where there is a name")
            .in_setup(world_with(|school| school.profile.allow_only = true))
            .then(initial.clone(), turned())
            .then(unknown, Want::of(Reason::FallbackQuicUnread))
            .then(handshake.clone(), refused()),
        Case::new("an allow-only profile that allows QUIC knows no name of it")
            .in_setup(world_with(|school| {
                school.profile.allow_only = true;
                school.quic = Quic::Allow;
            }))
            .then(initial.clone(), only().by(Action::Answer))
            .then(handshake, only().by(Action::Drop)),
        Case::new("a bypass lifts names, and not what hides them")
            .in_setup(world_with(|school| school.bypass_until_ns = u64::MAX))
            .then(initial, turned()),
    ]
}

fn addresses() -> Vec<Case> {
    let to = |address: &str| Path {
        sport: path(TABLE, 50).sport,
        ..Path::between("10.0.0.5", address)
    };
    let six = Path {
        sport: path(TABLE, 50).sport,
        ..Path::between("fd01::5", "2001:db8:bad::20")
    };
    let initial = Long::default().bytes();
    let blocked = || {
        Want::of(Reason::BlockUnifiedAddress)
            .category(7)
            .by(Action::Answer)
    };
    let later = long(V2, Type::Handshake).bytes();
    let mut own = world();
    own.entries
        .push(Entry::net("198.51.100.7/32", Tier::Infrastructure));
    own.entries
        .push(Entry::net("198.51.100.9/32", Tier::Local(1)));
    vec![
        Case::new("an address decides first, and its QUIC client turns to TCP at once")
            .then(to("203.0.113.20").udp(&initial), blocked())
            .then(six.udp(&initial), blocked())
            .then(to("203.0.113.20").udp(&later), blocked().by(Action::Drop))
            .then(
                to("203.0.113.20").udp(&initial[..1_000]),
                blocked().by(Action::Drop),
            ),
        Case::new("the provider's own addresses are reached; an allowed address shows no name")
            .in_setup(own)
            .then(
                to("198.51.100.7").udp(&initial),
                Want::of(Reason::PassInfrastructure),
            )
            .then(
                to("198.51.100.7").udp(&later),
                Want::of(Reason::PassInfrastructure),
            )
            .then(to("198.51.100.9").udp(&initial), turned()),
    ]
}

fn fragments() -> Vec<Case> {
    let refused = || Want::of(Reason::RefuseFragment);
    let mut cases = Vec::new();
    for base in [
        to_port(60, 8_443),
        Path {
            dport: 8_443,
            sport: path(TABLE, 60).sport,
            ..Path::between("fd01::5", "2001:db8::7")
        },
    ] {
        let content = |payload: &[u8]| {
            let len = u16::try_from(payload.len() + 8).unwrap_or(0);
            let mut content = [
                base.sport.to_be_bytes(),
                base.dport.to_be_bytes(),
                len.to_be_bytes(),
                [0; 2],
            ]
            .concat();
            content.extend(payload);
            content
        };
        let [first, later] = base.fragments(protocol::UDP, &content(&Long::default().bytes()), 600);
        let [tiny, rest] = base.fragments(protocol::UDP, &content(&Long::default().bytes()), 8);
        let [other, more] = base.fragments(protocol::UDP, &content(&[0x90; 1_300]), 600);
        cases.push(
            Case::new(format!("QUIC is never fragmented, {}", base.source))
                .then(first, refused())
                .then(later, Want::of(Reason::PassUdpFragment))
                .then(tiny, refused())
                .then(rest, Want::of(Reason::PassUdpFragment))
                .then(other, Want::of(Reason::PassUdp))
                .then(more, Want::of(Reason::PassUdpFragment)),
        );
    }
    cases
}

fn encapsulations() -> Vec<Case> {
    let base = to_port(70, 443);
    let mut labelled = base.clone();
    labelled.labels = vec![100, 200];
    let initial = Long::default().bytes();
    let mut plain = Case::new("QUIC in every encapsulation");
    for path in links::carried(&base) {
        plain = plain.then(path.udp(&initial), turned());
    }
    let answering = |reply| Setup {
        mpls_reply: reply,
        ..world()
    };
    vec![
        plain,
        Case::new("behind MPLS Version Negotiation carries the return label")
            .in_setup(answering(MplsReply::Label(77)))
            .then(labelled.udp(&initial), turned().labelled(&[77])),
        Case::new("behind MPLS Version Negotiation leaves without labels")
            .in_setup(answering(MplsReply::Unlabelled))
            .then(labelled.udp(&initial), turned()),
        Case::new("behind MPLS without a return label QUIC is dropped").then(
            labelled.udp(&initial),
            Want::of(Reason::BlockMplsNoReturn).by(Action::Drop),
        ),
    ]
}

pub(super) fn verdict(path: &Path, reason: Reason, over: bool) -> QuicVerdict {
    let blocks = reason.verdict() != Verdict::Pass;
    QuicVerdict {
        path: path.clone(),
        reason,
        category: if blocks { 7 } else { CATEGORY_NONE },
        entry: if blocks {
            crate::setup::entry_number(0)
        } else {
            0
        },
        over,
    }
}

/// A world whose profile has the names of QUIC read.
pub(super) fn inspecting(change: impl FnOnce(&mut crate::setup::School)) -> Setup {
    world_with(|school| {
        school.quic = Quic::Inspect;
        change(school);
    })
}

fn inspected() -> Vec<Case> {
    let path = to_port(80, 443);
    let six = Path {
        sport: path.sport,
        ..Path::between("fd01::5", "2001:db8::7")
    };
    let initial = |path: &Path| path.udp(&Long::default().bytes());
    let later = |path: &Path, kind| path.udp(&long(V1, kind).bytes());
    let short = |path: &Path| path.udp(&[0x43; 600]);
    let part = || Want::of(Reason::PassQuicPart);
    let busy = || Want::of(Reason::FallbackQuicBusy);
    let unread =
        Case::new("before its name is read a client gets no further than its first packets");
    let alone = Case::new("where nobody reads names, clients are turned to TCP");
    let (mut unread, mut alone) = (
        Case {
            inspector: true,
            ..unread
        }
        .in_setup(inspecting(|_| {})),
        alone.in_setup(inspecting(|_| {})),
    );
    for path in [&path, &six] {
        unread = unread
            .then(initial(path), part())
            .then(initial(path), part())
            .then(later(path, Type::Handshake), refused())
            .then(later(path, Type::ZeroRtt), refused())
            .then(short(path), Want::of(Reason::PassUdp))
            .then(
                path.udp(&long(77, Type::Initial).bytes()),
                Want::of(Reason::FallbackQuicUnread),
            )
            .then(later(path, Type::Retry), refused());
        alone = alone
            .then(initial(path), busy())
            .then(later(path, Type::Handshake), refused())
            .then(short(path), Want::of(Reason::PassUdp));
    }
    let joined = joined(&path);
    let only = inspecting(|school| school.profile.allow_only = true);
    let limited = Case::new(
        "an allow-only profile lets the first packets through until the name, and nothing else",
    )
    .in_setup(only)
    .then(initial(&path), part())
    .then(later(&path, Type::Handshake), refused())
    .then(
        short(&path),
        Want::of(Reason::BlockAllowOnly).by(Action::Drop),
    );
    let limited = Case {
        inspector: true,
        ..limited
    };
    vec![unread, alone, limited, joined]
}

/// Packets behind an Initial in its datagram.
fn joined(path: &Path) -> Case {
    let of = |version, kind, len| Long {
        version,
        kind,
        len,
        ..Long::default()
    };
    let mut case =
        Case::new("a Handshake packet behind others in a datagram waits for the name too")
            .in_setup(inspecting(|_| {}));
    case.inspector = true;
    for version in [V1, V2] {
        let first = of(version, Type::Initial, 600).bytes();
        let early = of(version, Type::ZeroRtt, 300).bytes();
        let late = of(version, Type::Handshake, 700).bytes();
        let part = || Want::of(Reason::PassQuicPart);
        for (parts, want) in [
            (vec![&first, &late], refused()),
            (vec![&first, &early, &late], refused()),
            (vec![&first, &first, &late], refused()),
            (vec![&first, &early, &early], part()),
            (vec![&first, &first], part()),
        ] {
            let bytes: Vec<u8> = parts.into_iter().flatten().copied().collect();
            case = case.then(path.udp(&bytes), want);
        }
        let padded = [first.clone(), vec![0; 700]].concat();
        let short = [first.clone(), vec![0x43; 700]].concat();
        let mut beyond = of(version, Type::Initial, 1200).bytes();
        let length_at = 1 + 4 + 1 + 8 + 1 + 3 + 1;
        beyond[length_at] |= 0x3f;
        case = case
            .then(path.udp(&padded), part())
            .then(path.udp(&short), part())
            .then(path.udp(&beyond), refused());
    }
    case
}

fn verdicts() -> Vec<Case> {
    let four = to_port(90, 443);
    let six = Path {
        sport: four.sport,
        ..Path::between("fd01::5", "2001:db8::7")
    };
    [four, six].iter().flat_map(verdicts_of).collect()
}

fn verdicts_of(path: &Path) -> Vec<Case> {
    let initial = path.udp(&Long::default().bytes());
    let handshake = path.udp(&long(V2, Type::Handshake).bytes());
    let short = path.udp(&[0x43; 600]);
    let beside = Path {
        sport: path.sport + 1,
        ..path.clone()
    };
    let blocked = |action| {
        let want = Want::of(Reason::BlockUnifiedName).category(7);
        want.by(action).decided_by(0)
    };
    let (allowed, part) = (
        Want::of(Reason::PassQuicName),
        Want::of(Reason::PassQuicPart),
    );
    let unread = Want::of(Reason::FallbackQuicUnread);
    let with = |what: &str, reason, over, inspector| Case {
        inspector,
        quic: vec![verdict(path, reason, over)],
        ..Case::new(format!("{what}, {}", path.source)).in_setup(inspecting(|_| {}))
    };
    let block = Reason::BlockUnifiedName;
    let allow = Reason::PassQuicName;
    vec![
        with(
            "a flow with a blocked name is answered and dropped",
            block,
            false,
            true,
        )
        .then(initial.clone(), blocked(Action::Answer))
        .then(handshake.clone(), blocked(Action::Drop))
        .then(short.clone(), blocked(Action::Drop))
        .then(beside.udp(&Long::default().bytes()), part.clone()),
        with(
            "a flow with an allowed name goes on, another hello on it is read",
            allow,
            false,
            true,
        )
        .then(initial.clone(), part.clone())
        .then(handshake.clone(), allowed.clone())
        .then(short.clone(), allowed.clone()),
        with(
            "an allowed flow needs no daemon, another hello on it does",
            allow,
            false,
            false,
        )
        .then(handshake.clone(), allowed.clone())
        .then(short.clone(), allowed)
        .then(initial.clone(), Want::of(Reason::FallbackQuicBusy)),
        with(
            "an undecidable flow is turned to TCP",
            Reason::FallbackQuicUnread,
            false,
            true,
        )
        .then(initial.clone(), unread.category(7)),
        with("a verdict ends", block, true, true)
            .then(initial, part)
            .then(handshake.clone(), refused()),
        with("an allowing verdict ends", allow, true, true)
            .then(handshake, refused())
            .then(short, Want::of(Reason::PassUdp)),
    ]
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [
        initials(),
        lengths(),
        others(),
        profiles(),
        addresses(),
        fragments(),
        encapsulations(),
        inspected(),
        verdicts(),
    ]
    .concat()
}
