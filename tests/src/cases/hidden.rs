//! Ways to hide what is asked for: DNS over TLS, QUIC and HTTPS, and the names by which devices find out
//! whether they may.

use filter_common::reason::Reason;
use filter_common::verdict::Action;
use filter_user::desired::MplsReply;

use super::dns::with_portal;
use super::{Case, FIRST, Want, path, world, world_with};
use crate::dns::{Query, Told, kind, resolver};
use crate::frames::Path;
use crate::hello::Hello;
use crate::reference::{Entry, Tier};
use crate::setup::{School, Setup};

const TABLE: u16 = 8;

/// Port of DNS over TLS and QUIC.
const PORT: u16 = 853;
/// Addresses of resolvers that are asked by encrypted DNS, one within a prefix.
const RESOLVERS: [(&str, &str); 3] = [
    ("10.0.0.5", "203.0.113.200"),
    ("10.0.0.5", "198.18.5.9"),
    ("fd01::5", "2001:db8:53::1"),
];

/// What lists and programs know of hiding places.
fn entries() -> Vec<Entry> {
    let mut entries = vec![
        Entry::domain("doh.example", Tier::EncryptedDns),
        Entry::host("also-denied.example", Tier::EncryptedDns),
        Entry::host("also-denied.example", Tier::Local(2)),
        Entry::host("also-unified.example", Tier::EncryptedDns),
        Entry::host("also-unified.example", Tier::Unified(7)),
        Entry::host("allowed-doh.example", Tier::EncryptedDns),
        Entry::host("allowed-doh.example", Tier::Local(1)),
        Entry::host("canary.example", Tier::Canary),
        Entry::domain("resolver.arpa", Tier::Canary),
        Entry::host("outer.example", Tier::Ech),
        Entry::net("203.0.113.200", Tier::EncryptedDns),
        Entry::net("198.18.5.0/24", Tier::EncryptedDns),
        Entry::net("2001:db8:53::1", Tier::EncryptedDns),
        Entry::net("203.0.113.201", Tier::EncryptedDns),
        Entry::net("203.0.113.201", Tier::Local(1)),
        Entry::net("203.0.113.202", Tier::EncryptedDns),
        Entry::net("203.0.113.202", Tier::Unified(7)),
        Entry::net("203.0.113.203", Tier::Infrastructure),
    ];
    entries.extend(super::lists::entries());
    entries
}

fn hiding_with(change: impl FnOnce(&mut School)) -> Setup {
    Setup {
        entries: entries(),
        ..with_portal(world_with(change))
    }
}

fn case(what: &str) -> Case {
    Case::new(what).in_setup(hiding_with(|_| ()))
}

fn to(number: u16, dport: u16, (source, destination): (&str, &str)) -> Path {
    Path {
        sport: path(TABLE, number).sport,
        dport,
        ..Path::between(source, destination)
    }
}

fn reset() -> Want {
    Want::of(Reason::BlockEncryptedDns)
}

fn dropped() -> Want {
    reset().by(Action::Drop)
}

fn ports() -> Vec<Case> {
    let (four, six) = (("10.0.0.5", "198.51.100.7"), ("fd01::5", "2001:db8::7"));
    let (tls, tls6) = (to(0, PORT, four), to(0, PORT, six));
    let mut labelled = tls.clone();
    labelled.labels = vec![100];
    let mut tagged = tls6.clone();
    tagged.tags = vec![(crate::frames::TPID_CUSTOMER, 5)];
    let allowed = hiding_with(|school| school.profile.encrypted_dns = false);
    let bypassed = hiding_with(|school| {
        school.profile.bypass = true;
        school.bypass_until_ns = u64::MAX;
    });
    let mut mpls = hiding_with(|_| ());
    mpls.mpls_reply = MplsReply::Label(77);
    let quiet = hiding_with(|school| school.action = Action::Drop);
    let free = |what: &str, setup: Setup, number, syn, udp| {
        let path = to(number, PORT, four);
        Case::new(what)
            .in_setup(setup)
            .then(path.syn(FIRST), Want::of(syn))
            .then(path.udp(b"quic"), Want::of(udp))
    };
    vec![
        case("port 853 is reset at the SYN over TCP, and dropped over UDP")
            .then(tls.syn(FIRST), reset())
            .then(tls.syn(FIRST), reset())
            .then(tls6.syn(FIRST), reset())
            .then(tagged.syn(FIRST), reset())
            .then(tls.udp(b"quic"), dropped())
            .then(tls6.udp(b""), dropped())
            .then(
                labelled.syn(FIRST),
                Want::of(Reason::BlockMplsNoReturn).by(Action::Drop),
            ),
        Case::new("behind MPLS the reset carries the return label")
            .in_setup(mpls)
            .then(labelled.syn(FIRST), reset().labelled(&[77])),
        Case::new("a profile that drops drops here too")
            .in_setup(quiet)
            .then(to(1, PORT, four).syn(FIRST), dropped()),
        free(
            "port 853 is like any other where the profile allows it",
            allowed,
            2,
            Reason::PassSyn,
            Reason::PassUdp,
        ),
        free(
            "the bypass of the school lifts it",
            bypassed,
            3,
            Reason::PassSyn,
            Reason::PassBypass,
        ),
        case("the provider's own resolver is asked as it likes to be")
            .then(
                to(4, PORT, ("10.0.0.5", "203.0.113.203")).syn(FIRST),
                Want::of(Reason::PassInfrastructure),
            )
            .then(
                to(4, PORT, ("10.0.0.5", "203.0.113.203")).udp(b"quic"),
                Want::of(Reason::PassInfrastructure),
            ),
        case("a neighbour's is untouched").then(
            to(5, PORT, ("10.9.0.5", "198.51.100.7")).syn(FIRST),
            Want::untouched(),
        ),
    ]
}

fn addresses() -> Vec<Case> {
    let mut all = case("a listed resolver is reached by no other way than plain DNS and ping");
    for (number, pair) in (10..).zip(RESOLVERS) {
        let (https, plain) = (to(number, 443, pair), resolver(to(number, 53, pair)));
        let query = Query::of("fine.example", kind::A).bytes();
        let bad = Query::of("www.unified.example", kind::A).bytes();
        let (protocol, echo) = if https.destination.is_ipv4() {
            (1, vec![8, 0, 0, 0, 0, 0, 0, 0])
        } else {
            (58, vec![128, 0, 0, 0, 0, 0, 0, 0])
        };
        all = all
            .then(https.syn(FIRST), reset())
            .then(https.udp(b"quic"), dropped())
            .then(plain.udp(&query), Want::of(Reason::PassDnsName))
            .then(
                plain.udp(&bad),
                Want::of(Reason::BlockUnifiedName)
                    .category(7)
                    .by(Action::Answer)
                    .tells(Told::V4(super::dns::V4), 16),
            )
            .then(plain.syn(FIRST), Want::of(Reason::PassSyn))
            .then(
                https.packet(protocol, echo),
                Want::of(Reason::PassOtherProtocol),
            );
    }
    let places = entries();
    let place = |tier| {
        let wanted = Entry::net("203.0.113.200", tier);
        places
            .iter()
            .position(|entry| *entry == wanted)
            .unwrap_or_default()
    };
    let one = |number, last: u8| to(number, 443, ("10.0.0.5", &format!("203.0.113.{last}")));
    vec![
        all,
        case("the entry that lists it is told").then(
            one(20, 200).syn(FIRST),
            reset().decided_by(place(Tier::EncryptedDns)),
        ),
        case("a local list allows it; the unified registry names its own reason")
            .then(one(21, 201).syn(FIRST), Want::of(Reason::PassSyn))
            .then(one(21, 201).udp(b"x"), Want::of(Reason::PassLocalAllow))
            .then(
                to(21, PORT, ("10.0.0.5", "203.0.113.201")).syn(FIRST),
                Want::of(Reason::PassSyn),
            )
            .then(
                one(21, 202).syn(FIRST),
                Want::of(Reason::BlockUnifiedAddress).category(7),
            ),
        Case::new("where the profile allows it, such an address is like any other")
            .in_setup(hiding_with(|school| school.profile.encrypted_dns = false))
            .then(one(22, 200).syn(FIRST), Want::of(Reason::PassSyn))
            .then(one(22, 200).udp(b"x"), Want::of(Reason::PassUdp)),
    ]
}

fn asked(name: &str, kind: u16, number: u16) -> Vec<u8> {
    let query = Query::of(name, kind).with_edns(&[]);
    resolver(path(TABLE, number)).udp(&query.bytes())
}

fn none(reason: Reason) -> Want {
    Want::of(reason)
        .by(Action::Answer)
        .tells(Told::NxDomain, 15)
}

fn names() -> Vec<Case> {
    let hello = |number, name: &str| path(TABLE, number).data(FIRST, &Hello::named(name).bytes());
    let doh = || none(Reason::BlockEncryptedDnsName);
    let canary = || none(Reason::BlockCanaryName);
    let portal = |reason| {
        Want::of(reason)
            .by(Action::Answer)
            .tells(Told::V4(super::dns::V4), 15)
    };
    let off = hiding_with(|school| school.profile.encrypted_dns = false);
    vec![
        case("resolvers' and canary names do not exist, whatever is said of others")
            .then(asked("doh.example", kind::A, 30), doh())
            .then(asked("a.b.DOH.example", kind::AAAA, 30), doh())
            .then(asked("doh.example", kind::HTTPS, 30), doh())
            .then(asked("canary.example", kind::A, 30), canary())
            .then(
                asked("www.canary.example", kind::A, 30),
                Want::of(Reason::PassDnsName),
            )
            .then(asked("_dns.resolver.arpa", 64, 30), canary())
            .then(asked("resolver.arpa", 64, 30), canary())
            .then(
                asked("www.denied.example", kind::A, 30),
                portal(Reason::BlockLocalName),
            ),
        case("of several lists the higher step, then the operator's own, names the reason")
            .then(
                asked("also-denied.example", kind::A, 31),
                portal(Reason::BlockLocalName),
            )
            .then(
                asked("also-unified.example", kind::A, 31),
                Want::of(Reason::BlockUnifiedName)
                    .category(7)
                    .by(Action::Answer)
                    .tells(Told::V4(super::dns::V4), 16),
            )
            .then(
                asked("allowed-doh.example", kind::A, 31),
                Want::of(Reason::PassLocalAllow),
            ),
        case("a connection by such a name is reset")
            .then(path(TABLE, 32).syn(FIRST), Want::of(Reason::PassSyn))
            .then(
                hello(32, "dns.doh.example"),
                Want::of(Reason::BlockEncryptedDnsName),
            )
            .then(path(TABLE, 33).syn(FIRST), Want::of(Reason::PassSyn))
            .then(
                hello(33, "canary.example"),
                Want::of(Reason::BlockCanaryName),
            ),
        Case::new("where the profile allows it, such names are like any other")
            .in_setup(off)
            .then(
                asked("doh.example", kind::A, 34),
                Want::of(Reason::PassDnsName),
            )
            .then(
                asked("resolver.arpa", kind::A, 34),
                Want::of(Reason::PassDnsName),
            )
            .then(
                asked("also-denied.example", kind::A, 34),
                portal(Reason::BlockLocalName),
            ),
        Case::new("an allow-only school too learns of canary names that they do not exist")
            .in_setup(hiding_with(|school| school.profile.allow_only = true))
            .then(asked("canary.example", kind::A, 35), canary()),
    ]
}

/// An answer without a record, which says that it is not the name's own.
fn withheld() -> Want {
    Want::of(Reason::PassDnsWithheld)
        .by(Action::Answer)
        .tells(Told::NoData, 4)
}

fn keys() -> Vec<Case> {
    let free = |reason| Want::of(reason);
    let bypassed = hiding_with(|school| {
        school.profile.bypass = true;
        school.bypass_until_ns = u64::MAX;
    });
    let off = hiding_with(|school| school.profile.withhold_ech = false);
    let nothing = hiding_with(|school| school.nxdomain = true);
    let unified = Want::of(Reason::BlockUnifiedName)
        .category(7)
        .by(Action::Answer)
        .tells(Told::NoData, 16);
    vec![
        case("no service binding of any name is given, and addresses are")
            .then(asked("fine.example", kind::HTTPS, 50), withheld())
            .then(
                asked("_x._tcp.fine.example", kind::SVCB, 50),
                withheld().reads("_x._tcp.fine.example"),
            )
            .then(
                asked("fine.example", kind::A, 50),
                free(Reason::PassDnsName),
            )
            .then(
                asked("fine.example", kind::AAAA, 50),
                free(Reason::PassDnsName),
            )
            .then(asked("fine.example", 255, 50), free(Reason::PassDnsName))
            .then(asked("www.allowed.example", kind::HTTPS, 50), withheld())
            .then(
                asked("www.allowed.example", kind::A, 50),
                free(Reason::PassLocalAllow),
            )
            .then(asked("www.unified.example", kind::HTTPS, 50), unified)
            .then(
                asked("doh.example", kind::HTTPS, 50),
                none(Reason::BlockEncryptedDnsName),
            ),
        Case::new("a profile by which forbidden names do not exist says nothing else of others")
            .in_setup(nothing)
            .then(asked("fine.example", kind::HTTPS, 51), withheld()),
        Case::new("the bypass of the school lifts it")
            .in_setup(bypassed)
            .then(
                asked("fine.example", kind::HTTPS, 52),
                free(Reason::PassBypass),
            ),
        Case::new("where the profile allows it, service bindings go on")
            .in_setup(off)
            .then(
                asked("fine.example", kind::HTTPS, 53),
                free(Reason::PassDnsName),
            )
            .then(
                asked("outer.example", kind::A, 53),
                free(Reason::PassDnsName),
            ),
    ]
}

fn outer_names() -> Vec<Case> {
    let free = |reason| Want::of(reason);
    vec![
        case("the name behind which others hide is stopped, and a hello with the extension is not")
            .then(
                asked("outer.example", kind::A, 54),
                none(Reason::BlockEchName),
            )
            .then(path(TABLE, 54).syn(FIRST), free(Reason::PassSyn))
            .then(
                path(TABLE, 54).data(
                    FIRST,
                    &Hello {
                        ech: true,
                        ..Hello::named("outer.example")
                    }
                    .bytes(),
                ),
                Want::of(Reason::BlockEchName),
            )
            .then(path(TABLE, 55).syn(FIRST), free(Reason::PassSyn))
            .then(
                path(TABLE, 55).data(
                    FIRST,
                    &Hello {
                        ech: true,
                        ..Hello::named("fine.example")
                    }
                    .bytes(),
                ),
                free(Reason::PassHelloName),
            ),
    ]
}

/// Answers leave in every encapsulation, as those for forbidden names do.
fn encapsulations() -> Vec<Case> {
    let query = Query::of("fine.example", kind::HTTPS)
        .with_edns(&[])
        .bytes();
    let base = resolver(path(TABLE, 60));
    let mut tagged = resolver(to(60, 53, ("fd01::5", "2001:db8::53")));
    tagged.tags = vec![(crate::frames::TPID_CUSTOMER, 5)];
    let mut session = base.clone();
    session.pppoe = Some(9);
    let mut labelled = base.clone();
    labelled.labels = vec![100, 200];
    let mut all = case("answers that withhold a record leave in every encapsulation");
    for path in [base, tagged, session] {
        all = all.then(path.udp(&query), withheld());
    }
    let dropped = Want::of(Reason::BlockMplsNoReturn).by(Action::Drop);
    let mut mpls = hiding_with(|_| ());
    mpls.mpls_reply = MplsReply::Label(77);
    let label = Case::new("and with the return label")
        .in_setup(mpls)
        .then(labelled.udp(&query), withheld().labelled(&[77]));
    vec![all.then(labelled.udp(&query), dropped), label]
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    let plain = Case::new("names in no list pass").in_setup(world()).then(
        asked("doh.example", kind::A, 40),
        Want::of(Reason::PassDnsName),
    );
    [
        ports(),
        addresses(),
        names(),
        keys(),
        outer_names(),
        encapsulations(),
        vec![plain],
    ]
    .concat()
}
