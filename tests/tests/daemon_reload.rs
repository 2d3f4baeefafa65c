//! Reloads while a storm goes on: what was blocked stays blocked at every moment, what was allowed
//! keeps working, and a change is in force when the daemon says so.

use std::fmt::Write as _;
use std::time::Duration;

use schoolgate_tests::lab::client::Ended;
use schoolgate_tests::lab::daemon::program_or_skip;
use schoolgate_tests::lab::scene::{
    ALLOWED, BELOW, EXACT, NEAR_MISS, ORGANISATION, REGISTRY, REGISTRY_TEXT, Scene,
};
use schoolgate_tests::lab::storm::Storm;
use schoolgate_tests::lab::topology::SERVER4;

const LIMIT: Duration = Duration::from_secs(60);
const NOTHING: Vec<String> = Vec::new();

/// The registry with `count` more names, which differ from round to round.
fn registry(round: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 24);
    for number in 0..count {
        let _ = writeln!(text, "site-{round}-{number}.example");
    }
    text + REGISTRY_TEXT
}

#[test]
fn nothing_blocked_gets_through_during_reloads() {
    let Some(program) = program_or_skip("daemon_reload") else {
        return;
    };
    let (scene, mut daemon) = Scene::start(&program).unwrap();
    let storm = Storm::start(&scene.topology.school, &scene.authority, &scene.plan()).unwrap();
    storm.go_on(30, 20, LIMIT).unwrap();
    for round in 0..8 {
        scene.site.write(REGISTRY, &registry(round, 3_000)).unwrap();
        daemon.hang_up().unwrap();
        daemon.wait_for("RELOADING=1").unwrap();
        daemon.wait_for("READY=1").unwrap();
        storm.go_on(20, 10, LIMIT).unwrap();
        let name = format!("site-{round}-2999.example");
        let ended = scene
            .fetch(&scene.topology.school, SERVER4.into(), &name)
            .unwrap();
        assert_eq!(
            ended,
            Ended::Reset,
            "{name} is in force once the daemon is ready"
        );
    }
    let tally = storm.end();
    let counts = scene
        .site
        .counts(&scene.topology.edge, ORGANISATION)
        .unwrap();
    assert_eq!(
        (&tally.leaked, &tally.failed),
        (&NOTHING, &vec![]),
        "{tally:?} {counts:?}"
    );
    assert_eq!(scene.leaks(&[EXACT, BELOW]).unwrap(), NOTHING);
}

#[test]
fn nothing_blocked_gets_through_while_the_maps_grow() {
    let Some(program) = program_or_skip("daemon_reload") else {
        return;
    };
    let (scene, mut daemon) = Scene::start(&program).unwrap();
    let before = generation(&scene);
    let storm = Storm::start(&scene.topology.school, &scene.authority, &scene.plan()).unwrap();
    storm.go_on(30, 20, LIMIT).unwrap();
    scene.site.write(REGISTRY, &registry(1, 300_000)).unwrap();
    daemon.hang_up().unwrap();
    daemon.wait_for("RELOADING=1").unwrap();
    daemon.wait_for("READY=1").unwrap();
    storm.go_on(60, 40, LIMIT).unwrap();
    assert!(
        generation(&scene) > before,
        "300,000 names need larger maps"
    );
    let ended = scene.fetch(
        &scene.topology.school,
        SERVER4.into(),
        "site-1-299999.example",
    );
    assert_eq!(ended.unwrap(), Ended::Reset);
    let tally = storm.end();
    let counts = scene
        .site
        .counts(&scene.topology.edge, ORGANISATION)
        .unwrap();
    assert_eq!(
        (&tally.leaked, &tally.failed),
        (&NOTHING, &vec![]),
        "{tally:?} {counts:?}"
    );
    assert_eq!(scene.leaks(&[EXACT, BELOW]).unwrap(), NOTHING);
}

fn generation(scene: &Scene) -> u64 {
    let status = scene.site.ask_json(&scene.topology.edge, &["status"]);
    let status = status.unwrap_or_else(|error| panic!("{error:#}"));
    let number = status
        .pointer("/program/generation")
        .and_then(serde_json::Value::as_u64);
    number.unwrap_or_else(|| panic!("no generation in {status}"))
}

#[test]
fn names_come_into_force_and_go_out_of_it_by_the_reload_command() {
    let Some(program) = program_or_skip("daemon_reload") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let reload = |text: &str| {
        scene.site.write(REGISTRY, text).unwrap();
        scene
            .site
            .ask(&scene.topology.edge, &["reload", "--wait"])
            .unwrap()
    };
    let fetch = |name| {
        scene
            .fetch(&scene.topology.school, SERVER4.into(), name)
            .unwrap()
    };
    assert!(fetch(ALLOWED).is_page_of(ALLOWED));
    let answer = reload(&format!("{REGISTRY_TEXT}{ALLOWED}\n"));
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(fetch(ALLOWED), Ended::Reset);
    assert!(fetch(NEAR_MISS).is_page_of(NEAR_MISS));
    let answer = reload(REGISTRY_TEXT);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(fetch(ALLOWED).is_page_of(ALLOWED));
    assert_eq!(fetch(EXACT), Ended::Reset);
}
