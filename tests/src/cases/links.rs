//! Encapsulations: every combination of tags, PPPoE and labels, for both IP versions, with its reset.

use std::net::IpAddr;

use filter_common::reason::Reason;
use filter_common::verdict::Action;
use filter_user::desired::MplsReply;

use super::{Case, FIRST, Want, path, world};
use crate::frames::{Extension, Path, TPID_CUSTOMER, TPID_OLD, TPID_PROVIDER};
use crate::hello::Hello;
use crate::setup::{School, Setup};

const TABLE: u16 = 2;

/// Tags in front of the network header, as providers' edges carry them.
#[must_use]
pub fn tag_stacks() -> Vec<Vec<(u16, u16)>> {
    vec![
        vec![],
        vec![(TPID_CUSTOMER, 0)],
        vec![(TPID_CUSTOMER, 5)],
        vec![(TPID_PROVIDER, 7)],
        vec![(TPID_OLD, 7)],
        vec![(TPID_PROVIDER, 7), (TPID_CUSTOMER, 5)],
        vec![(TPID_CUSTOMER, 7), (TPID_CUSTOMER, 5)],
        vec![(TPID_OLD, 7), (TPID_CUSTOMER, 4_095)],
        vec![(TPID_PROVIDER, 9), (TPID_PROVIDER, 7), (TPID_CUSTOMER, 5)],
        vec![(TPID_CUSTOMER, 9), (TPID_OLD, 7), (TPID_PROVIDER, 5)],
    ]
}

/// Every encapsulation that is read: tags, then nothing, a PPPoE session, or one to four labels.
#[must_use]
pub fn encapsulations() -> Vec<Path> {
    let stacks: [&[u32]; 5] = [&[], &[100], &[100, 0xf_ffff], &[1, 2, 3], &[16, 17, 18, 19]];
    let mut paths = Vec::new();
    for tags in tag_stacks() {
        for labels in stacks {
            paths.push(Path {
                tags: tags.clone(),
                labels: labels.to_vec(),
                ..Path::default()
            });
        }
        paths.push(Path {
            tags,
            pppoe: Some(0x1234),
            ..Path::default()
        });
    }
    paths
}

/// The same path with IPv6 addresses.
#[must_use]
pub fn in_ipv6(path: &Path) -> Path {
    let six = Path::between("fd01::5", "2001:db8::7");
    Path {
        source: six.source,
        destination: six.destination,
        ..path.clone()
    }
}

/// A datagram's path as it is carried: plain, by IPv6, behind IP options and extension headers, in two and
/// three tags, and in a PPPoE session.
pub(super) fn carried(base: &Path) -> Vec<Path> {
    let six = Path {
        sport: base.sport,
        dport: base.dport,
        ..Path::between("fd01::5", "2001:db8::53")
    };
    let tags = [(TPID_PROVIDER, 7), (TPID_CUSTOMER, 5), (TPID_CUSTOMER, 6)];
    let mut options = base.clone();
    options.ip_options = vec![1; 12];
    let mut tagged = six.clone();
    tagged.tags = tags[..2].to_vec();
    let mut three = base.clone();
    three.tags = tags.to_vec();
    let mut session = base.clone();
    session.pppoe = Some(9);
    let mut extended = six.clone();
    extended.extensions = vec![Extension::Destination(8)];
    vec![base.clone(), six, options, tagged, three, session, extended]
}

fn combinations() -> Vec<Case> {
    let mut cases = Vec::new();
    for link in encapsulations() {
        for six in [false, true] {
            let number = u16::try_from(cases.len()).unwrap_or(u16::MAX);
            let link = Path {
                sport: path(TABLE, number).sport,
                ..link.clone()
            };
            cases.push(combination(&if six { in_ipv6(&link) } else { link }));
        }
    }
    cases
}

fn combination(path: &Path) -> Case {
    let setup = Setup {
        mpls_reply: MplsReply::Label(0x7_1234),
        ..world()
    };
    let labels: &[u32] = if path.labels.is_empty() {
        &[]
    } else {
        &[0x7_1234]
    };
    let blocked = Want::of(Reason::BlockUnifiedName)
        .category(7)
        .labelled(labels)
        .reads("unified.example");
    let hello = Hello::named("unified.example").bytes();
    let what = format!(
        "{:x?} labels {:?} PPPoE {:?} {}",
        path.tags, path.labels, path.pppoe, path.source
    );
    Case::new(what)
        .in_setup(setup)
        .then(path.syn(FIRST), Want::of(Reason::PassSyn))
        .then(
            path.tcp(FIRST, crate::frames::ACK, &[]),
            Want::of(Reason::PassNoPayload),
        )
        .then(path.data(FIRST, &hello), blocked)
        .then(path.udp(b"datagram"), Want::of(Reason::PassUdp))
        .then(
            Path {
                source: foreign(path),
                ..path.clone()
            }
            .data(FIRST, &hello),
            Want::untouched(),
        )
}

fn foreign(path: &Path) -> IpAddr {
    if path.source.is_ipv4() {
        IpAddr::from([10, 0, 1, 5])
    } else {
        Path::between("fd02::5", "::1").source
    }
}

fn mpls_replies() -> Vec<Case> {
    let hello = Hello::named("unified.example").bytes();
    let reset = || Want::of(Reason::BlockUnifiedName).category(7);
    let silent = Want::of(Reason::BlockMplsNoReturn)
        .category(7)
        .by(Action::Drop);
    let rows = [
        (MplsReply::None, silent),
        (MplsReply::Unlabelled, reset()),
        (MplsReply::Label(16), reset().labelled(&[16])),
        (MplsReply::Label(0xf_ffff), reset().labelled(&[0xf_ffff])),
    ];
    let mut cases = Vec::new();
    for (number, (reply, want)) in (900u16..).zip(rows) {
        for six in [false, true] {
            let path = Path {
                labels: vec![77, 78],
                tags: vec![(TPID_PROVIDER, 3)],
                ..path(TABLE, number)
            };
            let path = if six { in_ipv6(&path) } else { path };
            let case = Case::new(format!("blocked behind MPLS, {reply:?}, {}", path.source))
                .in_setup(Setup {
                    mpls_reply: reply,
                    ..world()
                })
                .then(path.syn(FIRST), Want::of(Reason::PassSyn))
                .then(path.data(FIRST, &hello), want.clone());
            cases.push(case);
        }
    }
    cases
}

/// Frames in which no enrolled source can be found: untouched, whatever they hold.
fn unread() -> Vec<Case> {
    let hello = Hello::named("unified.example").bytes();
    let four_tags = Path {
        tags: vec![(TPID_CUSTOMER, 5); 4],
        ..path(TABLE, 950)
    };
    let five_labels = Path {
        labels: vec![1, 2, 3, 4, 5],
        ..path(TABLE, 951)
    };
    let plain = path(TABLE, 952);
    let mut arp = plain.data(FIRST, &hello);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut discovery = Path {
        pppoe: Some(1),
        ..plain.clone()
    }
    .data(FIRST, &hello);
    discovery[12..14].copy_from_slice(&[0x88, 0x63]);
    let mut lcp = Path {
        pppoe: Some(1),
        ..plain.clone()
    }
    .data(FIRST, &hello);
    lcp[20..22].copy_from_slice(&[0xc0, 0x21]);
    let mut wire = Path {
        labels: vec![5],
        ..plain
    }
    .data(FIRST, &hello);
    wire[18] = 0;
    [
        ("four tags", four_tags.data(FIRST, &hello)),
        ("five labels", five_labels.data(FIRST, &hello)),
        ("ARP", arp),
        ("PPPoE discovery", discovery),
        ("PPP link control", lcp),
        ("a pseudowire behind a label", wire),
        ("an empty frame", vec![0; 14]),
    ]
    .into_iter()
    .map(|(what, frame)| Case::new(format!("not read: {what}")).then(frame, Want::untouched()))
    .collect()
}

/// The same addresses in two realms, told by the outermost tag.
fn realms() -> Vec<Case> {
    let mut setup = world();
    setup.vlan_realms = vec![(100, 1), (200, 2)];
    let other = |id, realm| School {
        realm,
        ..School::new(id, &["10.0.0.0/24", "10.9.0.0/28", "fd01::/48"])
    };
    let mut second = other("two", 1);
    second.profile.block = vec![4];
    setup.schools.extend([second, other("three", 2)]);
    let on = |vlan: &[u16], path: &Path| Path {
        tags: vlan.iter().map(|vlan| (TPID_CUSTOMER, *vlan)).collect(),
        ..path.clone()
    };
    let hello = Hello::named("age.example").bytes();
    let mut cases = Vec::new();
    for (number, six) in [(970, false), (971, true)] {
        let base = if six {
            in_ipv6(&path(TABLE, number))
        } else {
            path(TABLE, number)
        };
        let mut case =
            Case::new(format!("realms by VLAN, {}", base.source)).in_setup(setup.clone());
        let rows: [(&[u16], &'static str, Reason); 5] = [
            (&[], "one", Reason::BlockAgeName),
            (&[0], "one", Reason::BlockAgeName),
            (&[100], "two", Reason::BlockNsorName),
            (&[100, 200], "two", Reason::BlockNsorName),
            (&[200, 100], "three", Reason::PassHelloName),
        ];
        for (at, (vlan, school, reason)) in (0u16..).zip(rows) {
            let path = Path {
                sport: base.sport + 2_000 + at,
                ..on(vlan, &base)
            };
            let want = Want::of(reason).for_school(school);
            let want = if reason == Reason::PassHelloName {
                want
            } else {
                want.category(4)
            };
            case = case
                .then(
                    path.syn(FIRST),
                    Want::of(Reason::PassSyn).for_school(school),
                )
                .then(path.data(FIRST, &hello), want);
        }
        cases.push(case.then(on(&[300], &base).data(FIRST, &hello), Want::untouched()));
    }
    cases.push(forged(setup));
    cases
}

/// A source that is enrolled in another realm.
fn forged(setup: Setup) -> Case {
    let hello = Hello::named("unified.example").bytes();
    let forged = Path {
        source: IpAddr::from([10, 9, 0, 5]),
        ..path(TABLE, 972)
    };
    let blocked = Path {
        destination: IpAddr::from([203, 0, 113, 20]),
        ..forged.clone()
    };
    let tagged = Path {
        tags: vec![(TPID_CUSTOMER, 100)],
        ..blocked.clone()
    };
    let answered = Want::of(Reason::BlockUnifiedAddress)
        .category(7)
        .for_school("two");
    Case::new("a source of another realm is nobody's: no reply leaves for it")
        .in_setup(setup)
        .then(forged.data(FIRST, &hello), Want::untouched())
        .then(blocked.syn(FIRST), Want::untouched())
        .then(tagged.syn(FIRST), answered)
}

/// The internet side: sources are not matched there.
fn other_side() -> Vec<Case> {
    let setup = Setup {
        organisations: false,
        ..world()
    };
    let path = path(TABLE, 990);
    let hello = Hello::named("unified.example").bytes();
    let case = Case::new("an interface that is not the organisations' side").in_setup(setup);
    vec![
        case.then(path.syn(FIRST), Want::untouched())
            .then(path.data(FIRST, &hello), Want::untouched()),
    ]
}

/// The table.
#[must_use]
pub fn table() -> Vec<Case> {
    [
        combinations(),
        mpls_replies(),
        unread(),
        realms(),
        other_side(),
    ]
    .concat()
}
