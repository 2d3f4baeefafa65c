//! The attached filter in namespaces, with nothing but `ip`, this program and the daemon: it runs in
//! the test machines too.

use std::net::IpAddr;
use std::time::Instant;

use schoolgate_tests::lab::client::Ended;
use schoolgate_tests::lab::daemon::program_or_skip;
use schoolgate_tests::lab::patience;
use schoolgate_tests::lab::scene::{ALLOWED, BELOW, EXACT, NEAR_MISS, Scene};
use schoolgate_tests::lab::topology::{
    LISTED_NET4, LISTED4, LISTED6, NARROW4, NEIGHBOUR4, NEIGHBOUR6, SCHOOL4, SCHOOL6, SERVER4,
    SERVER6,
};

const SERVERS: [IpAddr; 3] = [
    IpAddr::V4(SERVER4),
    IpAddr::V4(NARROW4),
    IpAddr::V6(SERVER6),
];
/// A reset that takes longer is a timeout in disguise.
const AT_ONCE: std::time::Duration = std::time::Duration::from_secs(2);

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
