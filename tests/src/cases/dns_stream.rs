//! DNS over TCP: every query of a connection, however it is cut.

#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths and numbers in tables are small"
)]

use filter_common::reason::Reason;
use filter_common::verdict::Action;

use super::http::{ended, part, stream_on};
use super::{Case, FIRST, Want, path, world};
use crate::dns::{Query, kind};
use crate::frames::Path;

const TABLE: u16 = 11;

/// A query behind its length.
fn query(name: &str) -> Vec<u8> {
    message(&Query::of(name, kind::A).bytes())
}

fn message(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes(), bytes].concat()
}

fn to_resolver(number: u16) -> Path {
    Path {
        dport: 53,
        ..path(TABLE, number)
    }
}

fn blocked() -> Want {
    Want::of(Reason::BlockUnifiedName).category(7)
}

fn passes() -> Want {
    Want::of(Reason::PassDnsName)
}

fn stream(what: &str, number: u16, payloads: &[(&[u8], Want)]) -> Case {
    stream_on(&to_resolver(number), what, world(), payloads)
}

/// A query cut at `at`: the segment with the question's last byte decides.
fn cut(number: u16, at: usize) -> Case {
    let query = query("www.unified.example");
    // Behind the question: nothing.
    let (front, rest) = query.split_at(at);
    stream(
        "a query in two segments",
        number,
        &[(front, part()), (rest, blocked())],
    )
}

#[expect(clippy::too_many_lines, reason = "a table: a row for each case")]
fn plain() -> Vec<Case> {
    let good = query("harmless.example");
    let bad = query("WWW.Unified.example");
    let malformed = || Want::of(Reason::RefuseDnsMalformed).by(Action::Reset);
    let mut two = Query::of("harmless.example", kind::A).bytes();
    two[5] = 2;
    let mut pointer = Query::of("harmless.example", kind::A).bytes();
    pointer[12] = 0xc0;
    let mut answer = Query::of("unified.example", kind::A).bytes();
    answer[2] |= 0x80;
    vec![
        stream(
            "a harmless query",
            0,
            &[(&good, passes().reads("harmless.example"))],
        ),
        stream(
            "a forbidden query",
            1,
            &[
                (&bad, blocked().reads("www.unified.example")),
                (&good, ended()),
            ],
        ),
        stream("a second query", 2, &[(&good, passes()), (&bad, blocked())]),
        stream(
            "queries in one segment",
            3,
            &[(&[good.clone(), bad.clone()].concat(), blocked())],
        ),
        stream("several questions", 4, &[(&message(&two), malformed())]),
        stream(
            "compression in the question",
            5,
            &[(&message(&pointer), malformed())],
        ),
        stream(
            "a message that is too short",
            6,
            &[(b"\x00\x04abcd", malformed())],
        ),
        stream(
            "the root",
            7,
            &[
                (&query("."), Want::of(Reason::PassDnsOther)),
                (&bad, blocked()),
            ],
        ),
        stream(
            "an answer",
            8,
            &[
                (&message(&answer), Want::of(Reason::PassDnsOther)),
                (&bad, blocked()),
            ],
        ),
        stream(
            "a length alone",
            9,
            &[
                (&good, passes()),
                (&bad[..1], part()),
                (&bad[1..], blocked()),
            ],
        ),
        Case::new("a connection whose start was not seen")
            .in_setup(world())
            .then(to_resolver(10).data(FIRST, &bad), blocked()),
        Case::new("a segment ahead")
            .in_setup(world())
            .then(to_resolver(11).syn(FIRST), Want::of(Reason::PassSyn))
            .then(to_resolver(11).data(FIRST, &good), passes())
            .then(
                to_resolver(11).data(FIRST.wrapping_add(good.len() as u32 + 1), &bad),
                Want::of(Reason::HoldOutOfOrder),
            )
            .then(
                to_resolver(11).data(FIRST, &good),
                Want::of(Reason::PassRetransmission),
            ),
    ]
}

/// What depends on the resolver, and on the answer's form.
fn forms() -> Vec<Case> {
    let (good, bad) = (query("harmless.example"), query("WWW.Unified.example"));
    let (own, form) = (
        Path {
            destination: "203.0.113.1".parse().expect("an address"),
            ..to_resolver(12)
        },
        Want::of(Reason::RefuseDnsForm).by(Action::Reset),
    );
    let binding = message(&Query::of("fine.example", kind::HTTPS).bytes());
    let searched = |number: u16, bytes: &[u8], want| {
        let path = to_resolver(number);
        Case::new("a query whose answer has another form")
            .in_setup(super::safe::searching(|school| {
                school.profile.withhold_ech = true
            }))
            .then(path.syn(FIRST), Want::of(Reason::PassSyn))
            .then(path.data(FIRST, bytes), want)
    };
    vec![
        Case::new("the provider's own resolver")
            .in_setup(world())
            .then(own.syn(FIRST), Want::of(Reason::PassSyn))
            .then(
                own.data(FIRST, &[good.clone(), bad.clone()].concat()),
                blocked(),
            ),
        searched(13, &query("www.search.example"), form.clone()),
        searched(14, &binding, form),
        searched(15, &query("fine.example"), passes()),
    ]
}

/// The table.
#[must_use]
pub(super) fn table() -> Vec<Case> {
    let len = query("www.unified.example").len();
    let cuts = (1..len).map(|at| cut(100 + at as u16, at));
    plain().into_iter().chain(forms()).chain(cuts).collect()
}
