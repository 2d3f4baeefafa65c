//! Flows whose ClientHello comes in parts: the rules one by one (design, section 6).

use filter_common::limits::HOLDS_MAX;
use filter_common::reason::Reason;

use super::{Case, FIRST, Want, path};
use crate::frames::Path;
use crate::hello::Hello;

const TABLE: u16 = 5;
/// Where the hellos of this table are cut: in front of the name.
const CUT: usize = 100;

/// A hello whose name comes late.
fn late(name: &str) -> Vec<u8> {
    Hello {
        position: 12,
        ..Hello::named(name)
    }
    .bytes()
}

fn at(offset: usize) -> u32 {
    FIRST.wrapping_add(u32::try_from(offset).unwrap_or(0))
}

fn blocked() -> Want {
    Want::of(Reason::BlockUnifiedName).category(7)
}

/// A case of one flow: its SYN, then pieces at offsets of the stream.
fn flow(what: &str, number: u16, pieces: Vec<(usize, &[u8], Want)>) -> Case {
    let path = path(TABLE, number);
    let start = Case::new(what).then(path.syn(FIRST), Want::of(Reason::PassSyn));
    pieces
        .into_iter()
        .fold(start, |case, (offset, bytes, want)| {
            case.then(path.data(at(offset), bytes), want)
        })
}

fn honest() -> Vec<Case> {
    let part = || Want::of(Reason::PassHelloPart);
    let passes = || Want::of(Reason::PassHelloName);
    let again = || Want::of(Reason::PassRetransmission);
    let early = || Want::of(Reason::HoldOutOfOrder);
    let data = || Want::of(Reason::PassData);
    let good = late("harmless.example");
    let (one, two) = good.split_at(CUT);
    let bad = late("www.unified.example");
    let (bad_one, bad_two) = bad.split_at(CUT);
    vec![
        flow(
            "two segments, blocked, and its retransmission",
            0,
            vec![
                (0, bad_one, part()),
                (CUT, bad_two, blocked().reads("www.unified.example")),
                (CUT, bad_two, blocked().reads("www.unified.example")),
                (0, bad_one, again()),
                (0, &bad, blocked()),
            ],
        ),
        flow(
            "two segments, each again, joined, then data",
            1,
            vec![
                (0, one, part()),
                (0, one, again()),
                (CUT, two, passes().reads("harmless.example")),
                (CUT, two, again()),
                (0, one, again()),
                (0, &good, again()),
                (good.len(), b"\x17\x03\x03\x00\x04data", data()),
            ],
        ),
        flow(
            "joined retransmission parsed on from the next byte",
            2,
            vec![
                (0, one, part()),
                (0, &good, passes()),
                (good.len(), b"\x17\x03\x03\x00\x04data", data()),
            ],
        ),
        flow(
            "the second overtakes",
            3,
            vec![(CUT, two, early()), (0, one, part()), (CUT, two, passes())],
        ),
        flow(
            "one segment, again, then data",
            4,
            vec![
                (0, &good, passes()),
                (0, &good, passes()),
                (good.len(), b"\x17\x03\x03\x00\x04data", data()),
                (0, &good, passes()),
            ],
        ),
    ]
}

fn dishonest() -> Vec<Case> {
    let part = || Want::of(Reason::PassHelloPart);
    let altered = || Want::of(Reason::HoldAltered);
    let bad = late("www.unified.example");
    let (one, two) = bad.split_at(CUT);
    let decoy = late("harmless.example");
    let mut other = one.to_vec();
    other[70] ^= 0x55;
    let path = path(TABLE, 20);
    let forged = Case::new("a forged SYN in the middle")
        .then(path.syn(FIRST), Want::of(Reason::PassSyn))
        .then(path.data(FIRST, one), part())
        .then(path.syn(at(CUT)), Want::of(Reason::HoldSyn))
        .then(path.data(at(CUT), two), blocked());
    vec![
        flow(
            "an altered retransmission",
            21,
            vec![
                (0, &other, part()),
                (0, one, altered()),
                (50, &one[50..], altered()),
                (0, &other, Want::of(Reason::PassRetransmission)),
            ],
        ),
        flow(
            "a whole decoy, then the real hello",
            22,
            vec![
                (0, &decoy, Want::of(Reason::PassHelloName)),
                (0, &bad, blocked()),
            ],
        ),
        flow(
            "a whole decoy, then the real hello in parts",
            23,
            vec![
                (0, &decoy, Want::of(Reason::PassHelloName)),
                (0, one, part()),
                (CUT, two, blocked()),
            ],
        ),
        flow(
            "part of the real hello, a whole decoy, the rest",
            24,
            vec![
                (0, one, part()),
                (0, &decoy, altered()),
                (CUT, two, blocked()),
            ],
        ),
        flow(
            "later data, then an unfinished copy",
            25,
            vec![
                (0, &decoy, Want::of(Reason::PassHelloName)),
                (
                    decoy.len(),
                    b"\x17\x03\x03\x00\x04data",
                    Want::of(Reason::PassData),
                ),
                (0, one, altered()),
            ],
        ),
        forged,
    ]
}

fn second_hello() -> Vec<Case> {
    let first = late("harmless.example");
    let second = Hello {
        second: true,
        ..Hello::named("unified.example")
    }
    .bytes();
    let tls: &[u8] = b"CONNECT harmless.example:443 HTTP/1.1\r\n\r\n";
    let bare = Hello::named("unified.example").bytes();
    vec![
        flow(
            "a second hello after a HelloRetryRequest",
            40,
            vec![
                (0, &first, Want::of(Reason::PassHelloName)),
                (first.len(), &second, blocked()),
            ],
        ),
        flow(
            "a hello behind plain text",
            41,
            vec![
                (0, tls, Want::of(Reason::PassRequestName)),
                (tls.len(), &bare, blocked()),
            ],
        ),
    ]
}

fn starved() -> Vec<Case> {
    let hello = late("harmless.example");
    let (one, two) = hello.split_at(CUT);
    let path = path(TABLE, 60);
    let mut case = Case::new("too many held segments: reset rather than starved")
        .then(path.syn(FIRST), Want::of(Reason::PassSyn))
        .then(
            path.data(FIRST, &one[..50]),
            Want::of(Reason::PassHelloPart),
        );
    for _ in 0..HOLDS_MAX {
        case = case.then(path.data(at(CUT), two), Want::of(Reason::HoldOutOfOrder));
    }
    let want = Want::of(Reason::RefuseStarved).by(filter_common::verdict::Action::Reset);
    vec![case.then(path.data(at(CUT), two), want)]
}

fn drained() -> Vec<Case> {
    let busy = || Want::of(Reason::HoldBusy);
    let hello = late("harmless.example");
    let path = path(TABLE, 80);
    let case = Case::new("while flows are handed over, nothing changes a flow")
        .then(path.syn(FIRST), busy())
        .then(path.data(FIRST, &hello), busy())
        .then(
            path.tcp(FIRST, crate::frames::ACK, &[]),
            Want::of(Reason::PassNoPayload),
        )
        .then(path.data(FIRST, b"data"), Want::of(Reason::PassNoFlow));
    let [first, ..] = Path::default().tcp_fragments(FIRST, &hello, 64);
    let case = case.then(first, Want::of(Reason::RefuseFragment));
    let ended = Case::new("a hand-over that nobody ended holds nothing for long")
        .then(path.syn(FIRST), Want::of(Reason::PassSyn))
        .then(path.data(FIRST, &hello), Want::of(Reason::PassHelloName));
    vec![
        Case {
            drain: Some(0),
            ..case
        },
        Case {
            drain: Some(10_000_000_000),
            ..ended
        },
    ]
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [honest(), dishonest(), second_hello(), starved(), drained()].concat()
}
