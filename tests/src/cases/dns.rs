//! DNS over UDP: what is asked, and what is answered.

use std::net::{Ipv4Addr, Ipv6Addr};

use filter_common::reason::Reason;
use filter_common::verdict::Action;
use filter_user::desired::{MplsReply, PortalAddresses};

use super::{Case, Want, links, path, world, world_with};
use crate::dns::{Query, Told, kind, resolver};
use crate::frames::Path;
use crate::reference::Entry;
use crate::setup::Setup;

pub(super) const TABLE: u16 = 6;

pub(super) const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x80, 0, 0, 0, 0x80);
/// Cookie of a client, and of a server behind it.
const COOKIE: &[u8] = b"\x01\x02\x03\x04\x05\x06\x07\x08server cookie!!!";

/// The same with a portal of both families.
#[must_use]
pub fn with_portal(setup: Setup) -> Setup {
    Setup {
        portal: PortalAddresses {
            v4: Some(V4),
            v6: Some(V6),
        },
        ..setup
    }
}

fn case(what: &str) -> Case {
    Case::new(what).in_setup(with_portal(world()))
}

/// Answered as the unified registry demands.
fn answered(told: Told) -> Want {
    Want::of(Reason::BlockUnifiedName)
        .category(7)
        .by(Action::Answer)
        .tells(told, 16)
        .reads("www.unified.example")
}

fn types() -> Vec<Case> {
    let path = resolver(path(TABLE, 0));
    let ask = |kind| path.udp(&Query::of("www.unified.example", kind).bytes());
    let portal = case("a forbidden name leads to the portal, other types to nothing")
        .then(ask(kind::A), answered(Told::V4(V4)))
        .then(ask(kind::AAAA), answered(Told::V6(V6)))
        .then(ask(kind::HTTPS), answered(Told::NoData))
        .then(ask(kind::MX), answered(Told::NoData))
        .then(ask(255), answered(Told::NoData));
    let only_v4 = Setup {
        portal: PortalAddresses {
            v4: Some(V4),
            v6: None,
        },
        ..world()
    };
    let half = Case::new("a portal without an IPv6 address answers no IPv6 address")
        .in_setup(only_v4)
        .then(ask(kind::A), answered(Told::V4(V4)))
        .then(ask(kind::AAAA), answered(Told::NoData));
    let none = with_portal(world_with(|school| school.nxdomain = true));
    let nxdomain = Case::new("a forbidden name does not exist where the profile says so")
        .in_setup(none)
        .then(ask(kind::A), answered(Told::NxDomain))
        .then(ask(kind::AAAA), answered(Told::NxDomain))
        .then(ask(kind::HTTPS), answered(Told::NxDomain));
    vec![portal, half, nxdomain]
}

fn edns() -> Vec<Case> {
    let path = resolver(path(TABLE, 10));
    let ask = |options: &[(u16, &[u8])]| {
        let query = Query::of("www.unified.example", kind::A).with_edns(options);
        path.udp(&query.bytes())
    };
    let other = Query::of("nsor.example", kind::AAAA).with_edns(&[(10, &COOKIE[..8])]);
    vec![
        case("an extended error and the cookie go back")
            .then(ask(&[]), answered(Told::V4(V4)))
            .then(ask(&[(10, COOKIE)]), answered(Told::V4(V4)))
            .then(ask(&[(10, &COOKIE[..8])]), answered(Told::V4(V4)))
            .then(ask(&[(12, &[0; 60]), (10, COOKIE)]), answered(Told::V4(V4)))
            .then(
                path.udp(&other.bytes()),
                Want::of(Reason::BlockNsorName)
                    .category(3)
                    .by(Action::Answer)
                    .tells(Told::V6(V6), 15)
                    .reads("nsor.example"),
            ),
    ]
}

fn names() -> Vec<Case> {
    let path = resolver(path(TABLE, 20));
    let ask = |name: &str| path.udp(&Query::of(name, kind::A).bytes());
    let long = format!("{}.unified.example", ["a23456789b"; 20].join("."));
    let label = format!("{}.unified.example", "x".repeat(63));
    let free = || Want::of(Reason::PassDnsName);
    let mut cases = vec![
        case("letters of any case, and every length of a name")
            .then(ask("wWw.UnIfIeD.eXaMpLe"), answered(Told::V4(V4)))
            .then(ask(&long), answered(Told::V4(V4)).reads(&long))
            .then(ask(&label), answered(Told::V4(V4)).reads(&label))
            .then(ask("fine.example"), free().reads("fine.example"))
            .then(
                ask("notunified.example"),
                free().reads("notunified.example"),
            )
            .then(ask("example"), free().reads("example"))
            .then(ask("a"), free().reads("a")),
        case("a local allow list and a warning hold for queries too")
            .then(
                ask("www.denied.example"),
                Want::of(Reason::BlockLocalName)
                    .by(Action::Answer)
                    .tells(Told::V4(V4), 15),
            )
            .then(
                ask("warned.example"),
                Want::of(Reason::WarnName)
                    .category(5)
                    .by(Action::Answer)
                    .tells(Told::V4(V4), 15),
            ),
    ];
    let mut drawn = case("names of one to thirty letters in front of a forbidden one");
    for len in 1..=30 {
        let name = format!("{}.unified.example", "q".repeat(len));
        drawn = drawn.then(ask(&name), answered(Told::V4(V4)).reads(&name));
    }
    cases.push(drawn);
    cases
}

fn resolvers() -> Vec<Case> {
    let own = Entry::net("198.51.100.7/32", crate::reference::Tier::Infrastructure);
    let mut setup = with_portal(world());
    setup.entries.push(own);
    let path = resolver(path(TABLE, 30));
    let ask = |name: &str| path.udp(&Query::of(name, kind::A).bytes());
    let other = Path {
        dport: 5353,
        ..path.clone()
    };
    vec![
        Case::new("the provider's own resolver is asked like any other")
            .in_setup(setup)
            .then(ask("www.unified.example"), answered(Told::V4(V4)))
            .then(ask("fine.example"), Want::of(Reason::PassDnsName))
            .then(other.udp(b"x"), Want::of(Reason::PassInfrastructure)),
    ]
}

fn unsound() -> Vec<Case> {
    let path = resolver(path(TABLE, 40));
    let good = Query::of("www.unified.example", kind::A);
    let bytes = good.bytes();
    let malformed = || Want::of(Reason::RefuseDnsMalformed);
    let mut pointer = bytes[..12].to_vec();
    pointer.extend([3, b'w', b'w', b'w', 0xc0, 12, 0, 1, 0, 1]);
    let mut two = bytes.clone();
    two[5] = 2;
    two.extend(Query::of("fine.example", kind::A).question());
    let mut cut = case("a query cut at any byte is refused");
    for len in 0..bytes.len() {
        cut = cut.then(path.udp(&bytes[..len]), malformed());
    }
    let other = |query: Query| path.udp(&query.bytes());
    let pass = || Want::of(Reason::PassDnsOther);
    let too_long = [bytes.clone(), vec![0; 520]].concat();
    let name = [".a"; 128].concat();
    vec![
        cut,
        case("compression, a name or a message too long, and several questions are refused")
            .then(path.udp(&pointer), malformed())
            .then(path.udp(&too_long), malformed())
            .then(other(Query::of(&name, kind::A)), malformed())
            .then(path.udp(&two), Want::of(Reason::RefuseDnsQuestions)),
        case("what asks for no name of the Internet passes")
            .then(other(Query::of("", 2)), pass())
            .then(
                other(Query {
                    class: 3,
                    ..good.clone()
                }),
                pass(),
            )
            .then(
                other(Query {
                    flags: 0x8180,
                    ..good.clone()
                }),
                pass(),
            )
            .then(
                other(Query {
                    flags: 0x2800,
                    ..good.clone()
                }),
                pass(),
            ),
    ]
}

fn encapsulations() -> Vec<Case> {
    let base = resolver(path(TABLE, 50));
    let mut labelled = base.clone();
    labelled.labels = vec![100, 200];
    let query = Query::of("www.unified.example", kind::AAAA)
        .with_edns(&[(10, COOKIE)])
        .bytes();
    let mut plain = case("queries in every encapsulation");
    for path in links::carried(&base) {
        plain = plain.then(path.udp(&query), answered(Told::V6(V6)));
    }
    let mut setup = with_portal(world());
    setup.mpls_reply = MplsReply::Label(77);
    let labels = Case::new("behind MPLS the answer carries the return label")
        .in_setup(setup)
        .then(labelled.udp(&query), answered(Told::V6(V6)).labelled(&[77]));
    let without = case("behind MPLS without a return label the query is dropped").then(
        labelled.udp(&query),
        Want::of(Reason::BlockMplsNoReturn)
            .category(7)
            .by(Action::Drop),
    );
    vec![plain, labels, without]
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [
        types(),
        edns(),
        names(),
        resolvers(),
        unsound(),
        encapsulations(),
    ]
    .concat()
}
