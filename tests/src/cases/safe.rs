//! Safe search: names of search engines lead to their safe form.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use filter_common::reason::Reason;
use filter_common::verdict::Action;
use filter_user::desired::{MplsReply, PortalAddresses};

use super::dns::with_portal;
use super::{Case, FIRST, Want, path, world_with};
use crate::dns::{Query, Told, kind, resolver};
use crate::frames::{Path, TPID_CUSTOMER};
use crate::hello::Hello;
use crate::reference::{Entry, Safe, Tier};
use crate::setup::{School, Setup};

const TABLE: u16 = 9;

const STRICT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 120);
const MODERATE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 119);
const STRICT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x5afe, 0, 0, 0, 0, 0x78);
const MODERATE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x5afe, 0, 0, 0, 0, 0x77);
/// The engine with the highest number, of IPv4 alone.
const LAST: u8 = 31;
const LAST4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 220);

fn rows() -> BTreeMap<u32, PortalAddresses> {
    let both = |v4, v6| PortalAddresses {
        v4: Some(v4),
        v6: Some(v6),
    };
    let alone = PortalAddresses {
        v4: Some(LAST4),
        v6: None,
    };
    BTreeMap::from([
        (2, both(STRICT, STRICT6)),
        (3, both(MODERATE, MODERATE6)),
        (62, alone),
        (63, alone),
    ])
}

pub(super) fn searching(change: impl FnOnce(&mut School)) -> Setup {
    let mut setup = with_portal(world_with(change));
    setup.safe_search = rows();
    setup.entries.extend([
        Entry::host("www.search.example", Tier::Engine(1)),
        Entry::host("last.example", Tier::Engine(LAST)),
        Entry::host("searching.allowed.example", Tier::Engine(1)),
        Entry::host("searching.unified.example", Tier::Engine(1)),
        Entry::host("searching.warned.example", Tier::Engine(1)),
        Entry::domain("search.example", Tier::Suspicious(40)),
    ]);
    setup
}

fn case(what: &str) -> Case {
    Case::new(what).in_setup(searching(|_| ()))
}

fn asked(number: u16, name: &str, kind: u16) -> Vec<u8> {
    let query = Query::of(name, kind).with_edns(&[(10, b"12345678")]);
    resolver(path(TABLE, number)).udp(&query.bytes())
}

/// Answered with the safe form, which is said to be forged.
fn safe(told: Told) -> Want {
    Want::of(Reason::PassSafeSearch)
        .by(Action::Answer)
        .tells(told, 4)
}

fn forms() -> Vec<Case> {
    let name = "www.search.example";
    let moderate = searching(|school| school.profile.safe_search = Safe::Moderate);
    let off = searching(|school| school.profile.safe_search = Safe::Off);
    let bypassed = searching(|school| {
        school.profile.bypass = true;
        school.bypass_until_ns = u64::MAX;
    });
    let nxdomain = searching(|school| school.nxdomain = true);
    let passes = |reason| Want::of(reason);
    vec![
        case("a search engine's name leads to its safe form, and no binding is given")
            .then(asked(0, name, kind::A), safe(Told::V4(STRICT)))
            .then(asked(0, name, kind::AAAA), safe(Told::V6(STRICT6)))
            .then(asked(0, name, kind::HTTPS), safe(Told::NoData))
            .then(asked(0, name, kind::SVCB), safe(Told::NoData))
            .then(asked(0, name, kind::MX), passes(Reason::PassDnsName))
            .then(
                asked(0, "WWW.Search.Example", kind::A),
                safe(Told::V4(STRICT)).reads("www.search.example"),
            )
            .then(
                asked(0, "search.example", kind::A),
                passes(Reason::PassDnsName),
            )
            .then(
                asked(0, "a.www.search.example", kind::A),
                passes(Reason::PassDnsName),
            ),
        case("a family without an address gets none")
            .then(asked(1, "last.example", kind::A), safe(Told::V4(LAST4)))
            .then(asked(1, "last.example", kind::AAAA), safe(Told::NoData)),
        Case::new("in its moderate form where the profile says so")
            .in_setup(moderate)
            .then(asked(2, name, kind::A), safe(Told::V4(MODERATE)))
            .then(asked(2, name, kind::AAAA), safe(Told::V6(MODERATE6))),
        Case::new("as it is where the profile says nothing")
            .in_setup(off)
            .then(asked(3, name, kind::A), passes(Reason::PassDnsName))
            .then(
                asked(3, name, kind::HTTPS),
                Want::of(Reason::PassDnsWithheld)
                    .by(Action::Answer)
                    .tells(Told::NoData, 4),
            ),
        Case::new("the bypass of the school lifts it")
            .in_setup(bypassed)
            .then(asked(4, name, kind::A), passes(Reason::PassBypass)),
        Case::new("where forbidden names do not exist, those of search engines do")
            .in_setup(nxdomain)
            .then(asked(5, name, kind::A), safe(Told::V4(STRICT))),
    ]
}

fn precedence() -> Vec<Case> {
    let portal = Told::V4(super::dns::V4);
    vec![
        case("what is blocked stays blocked; what is allowed is allowed in its safe form")
            .then(
                asked(10, "searching.unified.example", kind::A),
                Want::of(Reason::BlockUnifiedName)
                    .category(7)
                    .by(Action::Answer)
                    .tells(portal.clone(), 16),
            )
            .then(
                asked(10, "searching.warned.example", kind::A),
                Want::of(Reason::WarnName)
                    .category(5)
                    .by(Action::Answer)
                    .tells(portal, 15),
            )
            .then(
                asked(10, "searching.allowed.example", kind::A),
                safe(Told::V4(STRICT)),
            ),
        case("a connection by the name goes on: it leads to the address that was given")
            .then(path(TABLE, 11).syn(FIRST), Want::of(Reason::PassSyn))
            .then(
                path(TABLE, 11).data(FIRST, &Hello::named("www.search.example").bytes()),
                Want::of(Reason::PassHelloName),
            ),
    ]
}

fn encapsulations() -> Vec<Case> {
    let query = |kind| Query::of("www.search.example", kind).bytes();
    let six = Path {
        sport: path(TABLE, 20).sport,
        dport: 53,
        ..Path::between("fd01::5", "2001:db8::53")
    };
    let base = resolver(path(TABLE, 20));
    let mut tagged = six.clone();
    tagged.tags = vec![(TPID_CUSTOMER, 5), (TPID_CUSTOMER, 6), (TPID_CUSTOMER, 7)];
    let mut session = base.clone();
    session.pppoe = Some(9);
    let mut labelled = base.clone();
    labelled.labels = vec![100, 200];
    let mut all = case("in every encapsulation");
    for path in [&base, &six, &tagged, &session] {
        all = all
            .then(path.udp(&query(kind::A)), safe(Told::V4(STRICT)))
            .then(path.udp(&query(kind::AAAA)), safe(Told::V6(STRICT6)));
    }
    let mut mpls = searching(|_| ());
    mpls.mpls_reply = MplsReply::Unlabelled;
    let unlabelled = Case::new("and without labels where the way back has none")
        .in_setup(mpls)
        .then(labelled.udp(&query(kind::A)), safe(Told::V4(STRICT)));
    let dropped = case("behind MPLS without a way back it is dropped").then(
        labelled.udp(&query(kind::A)),
        Want::of(Reason::BlockMplsNoReturn).by(Action::Drop),
    );
    vec![all, unlabelled, dropped]
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [forms(), precedence(), encapsulations()].concat()
}
