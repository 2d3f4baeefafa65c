//! Entries and precedence: what is listed, and what becomes of it.

use filter_common::reason::Reason;
use filter_common::verdict::Action;

use super::ties;
use super::{Case, FIRST, Want, path, world, world_with};
use crate::frames::Path;
use crate::hello::Hello;
use crate::reference::{Entry, Tier};
use crate::setup::{School, Setup};

pub(super) const TABLE: u16 = 1;

/// A row of the list of kinds: name, IPv4 host, tier, and what a name and an address of it meet.
type Kind = (
    &'static str,
    &'static str,
    &'static str,
    Tier,
    Reason,
    Reason,
    Option<u8>,
);

/// Every kind of entry once: as a domain, as an IPv4 and an IPv6 host.
const KINDS: [Kind; 7] = [
    (
        "unified.example",
        "203.0.113.20",
        "2001:db8:bad::20",
        Tier::Unified(7),
        Reason::BlockUnifiedName,
        Reason::BlockUnifiedAddress,
        Some(7),
    ),
    (
        "nsor.example",
        "203.0.113.21",
        "2001:db8:bad::21",
        Tier::Nsor(3),
        Reason::BlockNsorName,
        Reason::BlockNsorAddress,
        Some(3),
    ),
    (
        "denied.example",
        "203.0.113.22",
        "2001:db8:bad::22",
        Tier::Local(2),
        Reason::BlockLocalName,
        Reason::BlockLocalAddress,
        None,
    ),
    (
        "age.example",
        "203.0.113.23",
        "2001:db8:bad::23",
        Tier::Nsor(4),
        Reason::BlockAgeName,
        Reason::BlockAgeAddress,
        Some(4),
    ),
    (
        "warned.example",
        "203.0.113.29",
        "2001:db8:bad::29",
        Tier::Nsor(5),
        Reason::WarnName,
        Reason::WarnAddress,
        Some(5),
    ),
    (
        "suspicious.example",
        "203.0.113.30",
        "2001:db8:bad::30",
        Tier::Suspicious(6),
        Reason::WarnName,
        Reason::WarnAddress,
        Some(6),
    ),
    (
        "mandatory.example",
        "203.0.113.31",
        "2001:db8:bad::31",
        Tier::Nsor(9),
        Reason::BlockNsorName,
        Reason::BlockNsorAddress,
        Some(9),
    ),
];

/// Entries of the usual world.
#[must_use]
pub fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = (KINDS.iter())
        .flat_map(|(name, four, six, tier, ..)| {
            [
                Entry::domain(name, *tier),
                Entry::net(four, *tier),
                Entry::net(six, *tier),
            ]
        })
        .collect();
    entries.extend([
        Entry::domain("allowed.example", Tier::Local(1)),
        Entry::domain("portal.example", Tier::Infrastructure),
        Entry::host("exact.example", Tier::Unified(8)),
        Entry::net("203.0.113.1", Tier::Infrastructure),
        Entry::net("203.0.113.2", Tier::Local(1)),
        Entry::net("203.0.114.0/24", Tier::Unified(7)),
        Entry::net("203.0.116.0/22", Tier::Nsor(3)),
        Entry::net("203.0.116.64/26", Tier::Local(2)),
        Entry::net("203.0.116.65", Tier::Unified(7)),
        Entry::net("2001:db8:bad0::/44", Tier::Unified(7)),
        Entry::net("2001:db8:bad1:5::/64", Tier::Infrastructure),
        Entry::net("2001:db9::/32", Tier::Nsor(3)),
    ]);
    entries
}

fn counted(want: Want, category: Option<u8>) -> Want {
    match category {
        Some(category) => want.category(category),
        None => want,
    }
}

/// A hello for `name` in one segment, and what it meets.
pub(super) fn hello(what: &str, number: u16, setup: Setup, name: &str, want: Want) -> Case {
    let path = path(TABLE, number);
    let want = want.reads(name.to_lowercase().trim_end_matches('.'));
    Case::new(format!("{what}: {name}"))
        .in_setup(setup)
        .then(path.syn(FIRST), Want::of(Reason::PassSyn))
        .then(path.data(FIRST, &Hello::named(name).bytes()), want)
}

/// The SYN to `address`, and what it meets.
pub(super) fn syn(what: &str, number: u16, setup: Setup, address: &str, want: Want) -> Case {
    let source = if address.contains(':') {
        "fd01::5"
    } else {
        "10.0.0.5"
    };
    let path = Path {
        sport: path(TABLE, number).sport,
        ..Path::between(source, address)
    };
    Case::new(format!("{what}: {address}"))
        .in_setup(setup)
        .then(path.syn(FIRST), want)
}

fn names() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, (name, _, _, _, reason, _, category)) in (0u16..).zip(KINDS) {
        let want = counted(Want::of(reason), category).decided_by(usize::from(at) * 3);
        for (form, listed) in [
            ("the name itself", name.to_owned()),
            ("below the suffix", format!("www.{name}")),
            ("in upper case", name.to_uppercase()),
            ("with a trailing dot", format!("a.b.{name}.")),
        ] {
            let number = u16::try_from(cases.len()).unwrap_or(u16::MAX);
            cases.push(hello(form, number, world(), &listed, want.clone()));
        }
        let other = format!("not{name}");
        let passes = Want::of(Reason::PassHelloName);
        cases.push(hello(
            "only ends alike",
            100 + at,
            world(),
            &other,
            passes.clone(),
        ));
        cases.push(hello(
            "goes on behind",
            120 + at,
            world(),
            &format!("{name}.org"),
            passes,
        ));
    }
    let blocked = Want::of(Reason::BlockUnifiedName).category(8);
    let passes = Want::of(Reason::PassHelloName);
    cases.push(hello(
        "an exact entry",
        140,
        world(),
        "exact.example",
        blocked,
    ));
    cases.push(hello(
        "below an exact entry",
        141,
        world(),
        "www.exact.example",
        passes.clone(),
    ));
    cases.push(hello(
        "in no list",
        142,
        world(),
        "harmless.example",
        passes,
    ));
    let allowed = Want::of(Reason::PassLocalAllow);
    cases.push(hello(
        "allowed",
        143,
        world(),
        "cdn.allowed.example",
        allowed,
    ));
    let portal = Want::of(Reason::PassInfrastructure);
    cases.push(hello(
        "infrastructure",
        144,
        world(),
        "portal.example",
        portal,
    ));
    cases
}

fn addresses() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, (_, four, six, _, _, reason, category)) in (0u16..).zip(KINDS) {
        let want = counted(Want::of(reason), category);
        let place = usize::from(at) * 3;
        let number = 200 + at * 2;
        cases.push(syn(
            "a host",
            number,
            world(),
            four,
            want.clone().decided_by(place + 1),
        ));
        cases.push(syn(
            "a host",
            number + 1,
            world(),
            six,
            want.decided_by(place + 2),
        ));
    }
    let unified = || Want::of(Reason::BlockUnifiedAddress).category(7);
    let nsor = || Want::of(Reason::BlockNsorAddress).category(3);
    let free = || Want::of(Reason::PassSyn);
    let portal = || Want::of(Reason::PassInfrastructure);
    for (at, (what, address, want)) in (240u16..).zip([
        ("infrastructure", "203.0.113.1", portal()),
        (
            "an allowed address waits for the name",
            "203.0.113.2",
            free(),
        ),
        ("first of a /24", "203.0.114.0", unified()),
        ("last of a /24", "203.0.114.255", unified()),
        ("behind a /24", "203.0.115.0", free()),
        ("in a /22", "203.0.119.255", nsor()),
        ("behind a /22", "203.0.120.0", free()),
        (
            "in a /26 inside it",
            "203.0.116.64",
            Want::of(Reason::BlockLocalAddress),
        ),
        ("a host inside both", "203.0.116.65", nsor_first()),
        ("beside the /26", "203.0.116.63", nsor()),
        ("first of a /44", "2001:db8:bad0::", unified()),
        (
            "last of a /44",
            "2001:db8:badf:ffff:ffff:ffff:ffff:ffff",
            unified(),
        ),
        ("behind a /44", "2001:db8:bae0::", free()),
        (
            "a /64 of infrastructure inside it",
            "2001:db8:bad1:5::77",
            portal(),
        ),
        ("in a /32", "2001:db9:ffff::1", nsor()),
        ("beside a /32", "2001:dba::1", free()),
    ]) {
        cases.push(syn(what, at, world(), address, want));
    }
    cases
}

/// A unified host inside a prefix of the education registry: statistics name the latter.
fn nsor_first() -> Want {
    Want::of(Reason::BlockNsorAddress).category(3)
}

fn protocols() -> Vec<Case> {
    let four = Path {
        sport: path(TABLE, 300).sport,
        ..Path::between("10.0.0.5", "203.0.113.20")
    };
    let six = Path {
        sport: four.sport,
        ..Path::between("fd01::5", "2001:db8:bad::20")
    };
    let dropped = || {
        Want::of(Reason::BlockUnifiedAddress)
            .category(7)
            .by(Action::Drop)
    };
    let mut case = Case::new("what is not TCP to a listed address is dropped");
    for path in [four, six] {
        case = case
            .then(path.udp(b"question"), dropped())
            .then(path.ping(), dropped())
            .then(path.packet(47, vec![0; 40]), dropped());
    }
    vec![case]
}

/// A row of the precedence: the tiers of one name, a profile's change, what wins.
struct Rival {
    what: &'static str,
    tiers: &'static [Tier],
    change: fn(&mut School),
    reason: Reason,
    category: Option<u8>,
}

const fn rival(
    what: &'static str,
    tiers: &'static [Tier],
    change: fn(&mut School),
    reason: Reason,
    category: Option<u8>,
) -> Rival {
    Rival {
        what,
        tiers,
        change,
        reason,
        category,
    }
}

/// The steps of the precedence against each other.
const RIVALS: [Rival; 23] = {
    use Reason::{
        BlockAgeName as Age, BlockAllowOnly as Only, BlockLocalName as Deny,
        BlockNsorName as School, BlockUnifiedName as State, PassBypass, PassHelloName as Free,
        PassInfrastructure as Portal, PassLocalAllow as Allow,
    };
    use Tier::{Infrastructure, Local, Nsor, Suspicious, Unified};
    [
        rival(
            "infrastructure over unified",
            &[Infrastructure, Unified(7)],
            usual,
            Portal,
            None,
        ),
        rival(
            "unified over allow",
            &[Unified(7), Local(1)],
            usual,
            State,
            Some(7),
        ),
        rival(
            "unified over bypass",
            &[Unified(7)],
            bypassed,
            State,
            Some(7),
        ),
        rival(
            "mandatory over allow",
            &[Nsor(9), Local(1)],
            usual,
            School,
            Some(9),
        ),
        rival(
            "mandatory over bypass",
            &[Nsor(9)],
            bypassed,
            School,
            Some(9),
        ),
        rival(
            "education first in statistics",
            &[Unified(7), Nsor(3)],
            usual,
            School,
            Some(3),
        ),
        rival(
            "the same under bypass",
            &[Unified(7), Nsor(3)],
            bypassed,
            School,
            Some(3),
        ),
        rival(
            "bypass over education",
            &[Nsor(3)],
            bypassed,
            PassBypass,
            None,
        ),
        rival("bypass over deny", &[Local(2)], bypassed, PassBypass, None),
        rival(
            "bypass over allow-only",
            &[],
            allow_only_bypassed,
            PassBypass,
            None,
        ),
        rival("an expired bypass", &[Nsor(3)], expired, School, Some(3)),
        rival("allow over deny", &[Local(1), Local(2)], usual, Allow, None),
        rival(
            "allow over education",
            &[Local(1), Nsor(3)],
            usual,
            Allow,
            None,
        ),
        rival("allow over age", &[Local(1), Nsor(4)], usual, Allow, None),
        rival(
            "deny over education",
            &[Local(2), Nsor(3)],
            usual,
            Deny,
            None,
        ),
        rival(
            "education over age",
            &[Nsor(3), Nsor(4)],
            usual,
            School,
            Some(3),
        ),
        rival("age over warn", &[Nsor(4), Nsor(5)], usual, Age, Some(4)),
        rival("age over allow-only", &[Nsor(4)], allow_only, Age, Some(4)),
        rival(
            "allow-only over warn",
            &[Suspicious(6)],
            allow_only,
            Only,
            None,
        ),
        rival("allow-only and not listed", &[], allow_only, Only, None),
        rival(
            "allow-only and allowed",
            &[Local(1)],
            allow_only,
            Allow,
            None,
        ),
        rival(
            "a category that the profile does not name",
            &[Nsor(40)],
            usual,
            Free,
            None,
        ),
        rival(
            "a local list that the profile does not name",
            &[Local(40)],
            usual,
            Free,
            None,
        ),
    ]
};

fn precedence() -> Vec<Case> {
    (400u16..)
        .zip(RIVALS)
        .map(|(number, rival)| {
            let mut setup = world_with(rival.change);
            let listed = |tier: &Tier| Entry::domain("case.example", *tier);
            setup.entries.extend(rival.tiers.iter().map(listed));
            let want = counted(Want::of(rival.reason), rival.category);
            hello(rival.what, number, setup, "www.case.example", want)
        })
        .collect()
}

fn usual(_school: &mut School) {}

fn expired(school: &mut School) {
    school.bypass_until_ns = 1;
}

fn bypassed(school: &mut School) {
    school.bypass_until_ns = u64::MAX;
}

pub(super) fn allow_only(school: &mut School) {
    school.profile.allow_only = true;
}

fn allow_only_bypassed(school: &mut School) {
    allow_only(school);
    bypassed(school);
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [
        names(),
        addresses(),
        protocols(),
        precedence(),
        ties::longest(),
        ties::together(),
        ties::actions(),
    ]
    .concat()
}
