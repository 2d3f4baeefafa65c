//! Packets from the internet side: matched by their destination, and stopped where a QUIC flow is.

use filter_common::reason::Reason;
use filter_common::verdict::Action;
use filter_user::config::Quic;

use super::quic::{inspecting, verdict};
use super::{Case, Want, world};
use crate::frames::{Extension, Path, TPID_CUSTOMER, TPID_PROVIDER, protocol};
use crate::setup::{School, Setup};

/// The flow whose answers come, as the client sends it.
fn flow(client: &str, server: &str) -> Path {
    Path {
        sport: 65_400,
        ..Path::between(client, server)
    }
}

/// The way back.
fn back(path: &Path) -> Path {
    Path {
        source: path.destination,
        destination: path.source,
        sport: path.dport,
        dport: path.sport,
        ..path.clone()
    }
}

/// The internet side of a world whose profile has the names of QUIC read.
fn internet_side(change: impl FnOnce(&mut School)) -> Setup {
    Setup {
        organisations: false,
        ..inspecting(change)
    }
}

fn passes() -> Want {
    Want::of(Reason::PassInward)
}

fn stopped() -> Want {
    Want::of(Reason::RefuseInward).by(Action::Drop)
}

fn flows() -> [Path; 2] {
    [
        flow("10.0.0.5", "198.51.100.7"),
        flow("fd01::5", "2001:db8::7"),
    ]
}

/// A case after a verdict on the flow.
fn after(what: &str, path: &Path, reason: Reason, over: bool) -> Case {
    Case {
        quic: vec![verdict(path, reason, over)],
        ..Case::new(format!("{what}, {}", path.source)).in_setup(internet_side(|_| {}))
    }
}

fn verdicts() -> Vec<Case> {
    let datagram = [0xc3; 1_200];
    let cases = |path: &Path| {
        let answer = back(path);
        let beside = Path {
            dport: answer.dport + 1,
            ..answer.clone()
        };
        let elsewhere = Path {
            sport: 444,
            ..answer.clone()
        };
        let block = Reason::BlockUnifiedName;
        [
            after("a stopped flow's answers are dropped", path, block, false)
                .then(answer.udp(&datagram), stopped())
                .then(answer.udp(b"x"), stopped())
                .then(answer.tcp(1, 0x10, b"data"), passes())
                .then(beside.udp(&datagram), passes())
                .then(elsewhere.udp(&datagram), passes()),
            after(
                "so are those of a flow turned to TCP",
                path,
                Reason::FallbackQuicUnread,
                false,
            )
            .then(answer.udp(&datagram), stopped()),
            after(
                "an allowed flow's answers pass",
                path,
                Reason::PassQuicName,
                false,
            )
            .then(answer.udp(&datagram), passes()),
            after("a verdict ends for answers too", path, block, true)
                .then(answer.udp(&datagram), passes()),
        ]
    };
    flows().iter().flat_map(cases).collect()
}

fn switches() -> Vec<Case> {
    let cases = |path: &Path| {
        let stop = || after("", path, Reason::BlockUnifiedName, false).quic;
        let answer = back(path).udp(&[0xc3; 1_200]);
        let case = |what: &str, setup| Case {
            quic: stop(),
            ..Case::new(format!("{what}, {}", path.source)).in_setup(setup)
        };
        let everything = Setup {
            pass_all: true,
            ..internet_side(|_| {})
        };
        [
            case(
                "a profile that does not have names read stops no answers",
                internet_side(|school| school.quic = Quic::Allow),
            )
            .then(answer.clone(), passes()),
            case("the operator's switch passes answers", everything)
                .then(answer, Want::of(Reason::PassAll)),
        ]
    };
    flows().iter().flat_map(cases).collect()
}

/// Whose packet it is: by its destination, in the interface's realm.
fn destinations() -> Vec<Case> {
    let [four, six] = flows();
    let to = |path: &Path, destination: &str| {
        let answer = Path {
            destination: destination.parse().expect("addresses in cases are sound"),
            ..back(path)
        };
        answer.udp(b"answer")
    };
    let other_realm = internet_side(|school| school.realm = 3);
    vec![
        Case::new("the internet side is matched by destination")
            .in_setup(internet_side(|_| {}))
            .then(to(&four, "10.0.0.200"), passes())
            .then(to(&four, "10.0.1.5"), Want::untouched())
            .then(to(&six, "fd01::99"), passes())
            .then(to(&six, "fd02::5"), Want::untouched())
            // By the source nobody is matched there.
            .then(four.udp(b"question"), Want::untouched())
            .then(six.udp(b"question"), Want::untouched()),
        Case::new("the internet side is matched in its own realm")
            .in_setup(other_realm)
            .then(to(&four, "10.0.0.200"), Want::untouched())
            .then(to(&six, "fd01::99"), Want::untouched()),
        Case::new("the organisations' side is not matched by destination")
            .in_setup(world())
            .then(to(&four, "10.0.0.200"), Want::untouched())
            .then(to(&six, "fd01::99"), Want::untouched()),
    ]
}

fn forms() -> Vec<Case> {
    let cases = |path: &Path| {
        let answer = back(path);
        let mut tagged = answer.clone();
        tagged.tags = vec![(TPID_PROVIDER, 7), (TPID_CUSTOMER, 5)];
        let mut session = answer.clone();
        session.pppoe = Some(9);
        let mut labelled = answer.clone();
        labelled.labels = vec![100, 200];
        let mut optional = answer.clone();
        if optional.source.is_ipv4() {
            optional.ip_options = vec![1; 12];
        }
        let mut case = after(
            "a stopped flow's answers, in every encapsulation",
            path,
            Reason::BlockUnifiedName,
            false,
        );
        for form in [&tagged, &session, &labelled, &optional] {
            case = case.then(form.udp(&[0xc3; 1_200]), stopped());
        }
        // What no server of QUIC sends is left to its receiver.
        let mut extended = answer.clone();
        extended.extensions = vec![Extension::Destination(8)];
        if path.source.is_ipv6() {
            case = case.then(extended.udp(&[0xc3; 1_200]), passes());
        }
        let [first, later] = answer.fragments(protocol::UDP, &[0xc3; 1_200], 600);
        let cut = answer
            .udp(b"")
            .get(..if path.source.is_ipv4() { 34 } else { 54 })
            .map(<[u8]>::to_vec);
        case = case.then(first, passes()).then(later, passes());
        case.then(cut.unwrap_or_default(), passes())
    };
    flows().iter().map(cases).collect()
}

/// The table.
#[must_use]
pub(super) fn table() -> Vec<Case> {
    [verdicts(), switches(), destinations(), forms()].concat()
}
