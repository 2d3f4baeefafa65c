//! The attached filter in namespaces, with nothing but `ip`, this program and the daemon: it runs in
//! the test machines too.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use schoolgate_tests::lab::capture::{self, Capture, Frame};
use schoolgate_tests::lab::client::{Ended, connect};
use schoolgate_tests::lab::daemon::{CONFIG, Counts, Site, program_or_skip};
use schoolgate_tests::lab::patience;
use schoolgate_tests::lab::scene::{ALLOWED, BELOW, EXACT, NEAR_MISS, ORGANISATION, Scene, config};
use schoolgate_tests::lab::stream::segment;
use schoolgate_tests::lab::topology::{
    EDGE_NEIGHBOUR, LISTED_NET4, LISTED4, LISTED6, NARROW4, NEIGHBOUR4, NEIGHBOUR6, SCHOOL4,
    SCHOOL6, SERVER4, SERVER6, UPLINK,
};

const SERVERS: [IpAddr; 3] = [
    IpAddr::V4(SERVER4),
    IpAddr::V4(NARROW4),
    IpAddr::V6(SERVER6),
];
/// A reset that takes longer is a timeout in disguise.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn allowed_names_pass_whole_and_split() {
    let Some(program) = program_or_skip("netns") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    for to in SERVERS {
        for name in [ALLOWED, NEAR_MISS] {
            let whole = scene.fetch(&scene.topology.school, to, name).unwrap();
            assert!(whole.is_page_of(name), "{name} at {to}: {whole:?}");
            let split = scene.fetch_split(&scene.topology.school, to, name).unwrap();
            assert!(split.is_page_of(name), "{name} at {to} split: {split:?}");
        }
    }
    assert_eq!(scene.tls.log().count(SCHOOL4.into(), ALLOWED), 4);
    assert_eq!(scene.tls.log().count(SCHOOL6.into(), ALLOWED), 2);
}

#[test]
fn blocked_names_are_reset_at_once_and_never_reach_the_server() {
    let Some(program) = program_or_skip("netns") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    for to in SERVERS {
        for name in [EXACT, BELOW] {
            let started = Instant::now();
            let whole = scene.fetch(&scene.topology.school, to, name).unwrap();
            assert_eq!(whole, Ended::Reset, "{name} at {to}");
            let split = scene.fetch_split(&scene.topology.school, to, name).unwrap();
            assert_eq!(split, Ended::Reset, "{name} at {to} split");
            assert!(
                started.elapsed() < patience(AT_ONCE),
                "{:?}",
                started.elapsed()
            );
        }
    }
    assert_eq!(scene.leaks(&[EXACT, BELOW]).unwrap(), Vec::<String>::new());
    assert!(scene.tls.log().all().is_empty());
}

#[test]
fn listed_addresses_are_refused_at_the_first_packet() {
    let Some(program) = program_or_skip("netns") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    for to in [
        IpAddr::V4(LISTED4),
        IpAddr::V4(LISTED_NET4),
        IpAddr::V6(LISTED6),
    ] {
        let started = Instant::now();
        let ended = scene.fetch(&scene.topology.school, to, ALLOWED).unwrap();
        assert_eq!(ended, Ended::Refused, "{to}");
        assert!(
            started.elapsed() < patience(AT_ONCE),
            "{:?}",
            started.elapsed()
        );
    }
    assert!(scene.tls.log().all().is_empty());
}

#[test]
fn the_neighbour_is_not_touched() {
    let Some(program) = program_or_skip("netns") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let listed = [IpAddr::V4(LISTED4), IpAddr::V6(LISTED6)];
    for to in SERVERS.into_iter().chain(listed) {
        for name in [EXACT, BELOW] {
            let whole = scene.fetch(&scene.topology.neighbour, to, name).unwrap();
            assert!(whole.is_page_of(name), "{name} at {to}: {whole:?}");
            let split = scene
                .fetch_split(&scene.topology.neighbour, to, name)
                .unwrap();
            assert!(split.is_page_of(name), "{name} at {to} split: {split:?}");
        }
    }
    assert_eq!(scene.tls.log().count(NEIGHBOUR4.into(), EXACT), 6);
    assert_eq!(scene.tls.log().count(NEIGHBOUR6.into(), EXACT), 4);
}

/// The neighbour's line as an address space of its own.
fn neighbour_in_its_own_realm(site: &Site) -> String {
    let line = format!("name = \"{EDGE_NEIGHBOUR}\"\n");
    config(site).replace(&line, &format!("{line}realm = \"street\"\n"))
}

#[test]
fn a_source_forged_in_another_realm_is_neither_judged_nor_answered() {
    let Some(program) = program_or_skip("netns") else {
        return;
    };
    let scene = Scene::new(&program).unwrap();
    let text = neighbour_in_its_own_realm(&scene.site);
    scene.site.write(CONFIG, &text).unwrap();
    let _daemon = scene.site.start(&scene.topology.edge).unwrap();
    let ended = scene.fetch(&scene.topology.school, LISTED4.into(), ALLOWED);
    assert_eq!(ended.unwrap(), Ended::Refused, "the school itself");
    let before = scene
        .site
        .counts(&scene.topology.edge, ORGANISATION)
        .unwrap();

    // The school is off, or it would answer what the listed server says to it.
    scene
        .topology
        .school
        .ip(&format!("link set {UPLINK} down"))
        .unwrap();

    // The neighbour sends in the school's name: the listed address must be reached, and no reset
    // may come back on the neighbour's line.
    let neighbour = &scene.topology.neighbour;
    let answers = Capture::start(neighbour, UPLINK).unwrap();
    neighbour
        .ip(&format!("addr add {SCHOOL4}/32 dev lo"))
        .unwrap();
    neighbour
        .ip(&format!(
            "route add {LISTED4}/32 via 192.0.2.17 src {SCHOOL4}"
        ))
        .unwrap();
    let forged = neighbour.handle();
    let sender = thread::spawn(move || {
        let to = SocketAddr::new(LISTED4.into(), 443);
        forged.enter(|| connect(to, Duration::from_millis(800)).map(drop))
    });
    let reached = |frames: &[Frame]| {
        let segments = frames.iter().filter_map(|frame| segment(&frame.bytes));
        let mut forged = segments.filter(|s| s.to.ip() == LISTED4 && s.from.ip() == SCHOOL4);
        forged.next().is_some()
    };
    let limit = patience(Duration::from_secs(10));
    capture::wait_for(&scene.capture, "the forged SYN", limit, reached).unwrap();
    sender.join().unwrap().unwrap().unwrap_err();
    let frames = answers.frames();
    let mut segments = frames.iter().filter_map(|frame| segment(&frame.bytes));
    assert_eq!(
        segments.find(|s| s.to.ip() == SCHOOL4),
        None,
        "no reply leaves the realm"
    );
    let after = scene
        .site
        .counts(&scene.topology.edge, ORGANISATION)
        .unwrap();
    let blocked = |counts: &Counts| counts.get("block_unified_address").copied();
    assert_eq!(
        blocked(&after),
        blocked(&before),
        "nothing is counted for the school"
    );
}
