//! Several entries at once, and how a verdict is carried out.

use std::net::IpAddr;

use filter_common::reason::Reason;
use filter_common::verdict::Action;

use super::lists::{TABLE, allow_only, hello, syn};
use super::{Case, FIRST, Want, path, usual_profile, world, world_with};
use crate::frames::Path;
use crate::hello::Hello;
use crate::reference::{Entry, Tier};

/// Longer subjects of the same step decide: their category and entry are told.
pub(super) fn longest() -> Vec<Case> {
    let mut setup = world();
    let start = setup.entries.len();
    setup.entries.extend([
        Entry::domain("org.example", Tier::Unified(11)),
        Entry::domain("b.org.example", Tier::Unified(12)),
        Entry::host("a.b.org.example", Tier::Unified(13)),
        Entry::domain("wide.example", Tier::Nsor(3)),
        Entry::domain("narrow.wide.example", Tier::Local(1)),
    ]);
    let unified = |category: u8, at: usize| {
        Want::of(Reason::BlockUnifiedName)
            .category(category)
            .decided_by(start + at)
    };
    vec![
        hello(
            "the longest suffix",
            500,
            setup.clone(),
            "x.b.org.example",
            unified(12, 1),
        ),
        hello(
            "the exact name",
            501,
            setup.clone(),
            "a.b.org.example",
            unified(13, 2),
        ),
        hello(
            "the shorter suffix",
            502,
            setup.clone(),
            "c.org.example",
            unified(11, 0),
        ),
        hello(
            "below the exact name",
            503,
            setup.clone(),
            "y.a.b.org.example",
            unified(12, 1),
        ),
        hello(
            "allow below a block",
            504,
            setup,
            "www.narrow.wide.example",
            Want::of(Reason::PassLocalAllow),
        ),
    ]
}

/// Decisions without a name, and an address together with a name.
pub(super) fn together() -> Vec<Case> {
    let only = world_with(allow_only);
    let mut case = Case::new("allow-only: no name, no passage").in_setup(only.clone());
    for (number, payload) in [
        (600, Hello::default().bytes()),
        (601, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ] {
        let path = path(TABLE, number);
        case = case
            .then(path.syn(FIRST), Want::of(Reason::PassSyn))
            .then(path.data(FIRST, &payload), Want::of(Reason::BlockAllowOnly));
    }
    let udp = Case::new("allow-only: UDP shows no name")
        .in_setup(only)
        .then(
            path(TABLE, 602).udp(b"x"),
            Want::of(Reason::BlockAllowOnly).by(Action::Drop),
        );
    let mut allowed = world();
    allowed
        .entries
        .push(Entry::net("203.0.113.20", Tier::Local(1)));
    let mut rescue = syn(
        "an allow of the address does not rescue it from the unified registry",
        603,
        allowed,
        "203.0.113.20",
        Want::of(Reason::BlockUnifiedAddress).category(7),
    );
    rescue.steps.truncate(1);
    let address: IpAddr = IpAddr::from([203, 0, 113, 2]);
    let path = Path {
        destination: address,
        ..path(TABLE, 604)
    };
    let named = Case::new("an allowed address rescues a name of the education registry")
        .then(path.syn(FIRST), Want::of(Reason::PassSyn))
        .then(
            path.data(FIRST, &Hello::named("nsor.example").bytes()),
            Want::of(Reason::PassLocalAllow),
        );
    vec![case, udp, rescue, named]
}

/// How a school's blocks are carried out.
pub(super) fn actions() -> Vec<Case> {
    let drops = world_with(|school| {
        school.action = Action::Drop;
        school.profile = usual_profile();
    });
    let want = Want::of(Reason::BlockUnifiedName)
        .category(7)
        .by(Action::Drop);
    let name = hello(
        "a school that drops",
        700,
        drops.clone(),
        "unified.example",
        want,
    );
    let want = Want::of(Reason::BlockUnifiedAddress)
        .category(7)
        .by(Action::Drop);
    vec![
        name,
        syn("a school that drops", 701, drops, "203.0.113.20", want),
    ]
}
