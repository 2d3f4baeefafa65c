//! Grants: what a person who was warned may go on to, and what no grant lifts.

use filter_common::reason::Reason;

use super::lists::{allow_only, hello, syn};
use super::{Case, FIRST, Grant, Want, path, world, world_with};
use crate::dns::{Query, kind, resolver};
use crate::frames::Path;
use crate::hello::Hello;
use crate::reference::{Entry, Tier};

const TABLE: u16 = 7;

/// Places of entries in the usual world: of the warned name, its IPv4 and its IPv6 address, the
/// suspicious name, and names and addresses that no grant lifts.
const WARNED: usize = 12;
const WARNED4: usize = 13;
const WARNED6: usize = 14;
const SUSPICIOUS: usize = 15;
const UNIFIED: usize = 0;
const BLOCKED: usize = 3;
const MANDATORY: usize = 18;

/// The client of the usual path.
const CLIENT: &str = "10.0.0.5";
/// A moment that never comes.
const LASTING: u64 = u64::MAX;

fn grant(entry: usize) -> Grant {
    Grant {
        school: "one",
        address: CLIENT,
        entry,
        until_ns: LASTING,
    }
}

/// A hello for `name` under `grant`.
fn named(what: &str, number: u16, name: &str, grant: Grant, want: Want) -> Case {
    hello(what, 900 + number, world(), name, want).granting(grant)
}

fn names() -> Vec<Case> {
    let warned = || Want::of(Reason::WarnName).category(5);
    let goes_on = |entry| Want::of(Reason::PassGrant).decided_by(entry);
    let other = |change: fn(&mut Grant)| {
        let mut other = grant(WARNED);
        change(&mut other);
        other
    };
    let (name, below) = ("warned.example", "www.warned.example");
    let suspicious = "suspicious.example";
    let expired = other(|grant| grant.until_ns = 1);
    let address = other(|grant| grant.address = "10.0.0.6");
    let ipv6 = other(|grant| grant.address = "::10.0.0.5");
    let school = other(|grant| grant.school = "two");
    let rows = [
        ("granted", name, grant(WARNED), goes_on(WARNED)),
        ("granted below", below, grant(WARNED), goes_on(WARNED)),
        (
            "granted",
            suspicious,
            grant(SUSPICIOUS),
            goes_on(SUSPICIOUS),
        ),
        ("expired", name, expired, warned()),
        ("granted to another address", name, address, warned()),
        ("granted to an IPv6 address", name, ipv6, warned()),
        ("granted to another school", name, school, warned()),
        ("granted another entry", name, grant(SUSPICIOUS), warned()),
    ];
    let rows = (0..).zip(rows);
    rows.map(|(number, (what, name, grant, want))| named(what, number, name, grant, want))
        .collect()
}

/// What stands above a warning decides as if there were no grant.
fn precedence() -> Vec<Case> {
    let unified = Want::of(Reason::BlockUnifiedName).category(7);
    let mandatory = Want::of(Reason::BlockNsorName).category(9);
    let blocked = Want::of(Reason::BlockNsorName).category(3);
    let what = "granted, but forbidden";
    let mut only = world_with(allow_only);
    only.entries
        .push(Entry::domain("case.example", Tier::Suspicious(6)));
    let place = only.entries.len() - 1;
    let want = Want::of(Reason::BlockAllowOnly);
    vec![
        named(what, 50, "unified.example", grant(UNIFIED), unified),
        named(what, 51, "mandatory.example", grant(MANDATORY), mandatory),
        named(what, 52, "nsor.example", grant(BLOCKED), blocked),
        hello("granted under allow-only", 953, only, "case.example", want).granting(grant(place)),
    ]
}

/// A granted address: flows to it go on to their names.
fn addresses() -> Vec<Case> {
    let four = Path {
        sport: path(TABLE, 100).sport,
        ..Path::between(CLIENT, "203.0.113.29")
    };
    let six = Path {
        sport: path(TABLE, 101).sport,
        ..Path::between("fd01::5", "2001:db8:bad::29")
    };
    let granted = |entry| Want::of(Reason::PassGrant).decided_by(entry);
    let through = |what: &str, path: Path, grant: Grant, entry| {
        Case::new(what)
            .granting(grant)
            .then(path.syn(FIRST), Want::of(Reason::PassSyn))
            .then(
                path.data(FIRST, &Hello::named("harmless.example").bytes()),
                granted(entry),
            )
    };
    let six_grant = Grant {
        address: "fd01::5",
        ..grant(WARNED6)
    };
    let blocked = Path {
        sport: path(TABLE, 102).sport,
        ..four.clone()
    };
    let forbidden = Case::new("a granted address and a name of the unified registry")
        .granting(grant(WARNED4))
        .then(blocked.syn(FIRST), Want::of(Reason::PassSyn))
        .then(
            blocked.data(FIRST, &Hello::named("unified.example").bytes()),
            Want::of(Reason::BlockUnifiedName).category(7),
        );
    let udp = Case::new("a granted address by UDP")
        .granting(grant(WARNED4))
        .then(
            Path {
                sport: path(TABLE, 103).sport,
                ..four.clone()
            }
            .udp(b"question"),
            granted(WARNED4),
        );
    let expired = Grant {
        until_ns: 1,
        ..grant(WARNED4)
    };
    let warned = Want::of(Reason::WarnAddress).category(5);
    vec![
        through("a granted IPv4 address", four, grant(WARNED4), WARNED4),
        through("a granted IPv6 address", six, six_grant, WARNED6),
        forbidden,
        udp,
        syn("an expired grant", 299, world(), "203.0.113.29", warned).granting(expired),
    ]
}

/// A granted name is resolved, as nothing forbids it meanwhile.
fn queries() -> Vec<Case> {
    let name = "www.warned.example";
    let frame = resolver(path(TABLE, 200)).udp(&Query::of(name, kind::A).bytes());
    let want = Want::of(Reason::PassGrant).decided_by(WARNED).reads(name);
    let case = Case::new("a query for a granted name").granting(grant(WARNED));
    vec![case.then(frame, want)]
}

/// The table.
#[must_use]
pub(super) fn table() -> Vec<Case> {
    [names(), addresses(), queries(), precedence()].concat()
}
