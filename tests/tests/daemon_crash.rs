//! The daemon killed without warning, at rest, in its start and in a reload: filtering goes on by the
//! pinned links, and the next daemon takes it over without a gap.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use schoolgate_tests::lab::client::Ended;
use schoolgate_tests::lab::daemon::program_or_skip;
use schoolgate_tests::lab::scene::{ALLOWED, BELOW, EXACT, REGISTRY, REGISTRY_TEXT, Scene};
use schoolgate_tests::lab::storm::Storm;
use schoolgate_tests::lab::topology::SERVER4;
use schoolgate_tests::lab::wait;

const LIMIT: Duration = Duration::from_secs(60);
const NOTHING: Vec<String> = Vec::new();

fn end_without_a_leak(scene: &Scene, storm: Storm) {
    let tally = storm.end();
    assert_eq!(
        (&tally.leaked, &tally.failed),
        (&NOTHING, &vec![]),
        "{tally:?}"
    );
    let leaks = scene
        .leaks(&[EXACT, BELOW])
        .unwrap_or_else(|error| vec![error.to_string()]);
    assert_eq!(leaks, NOTHING);
}

#[test]
fn filtering_goes_on_without_the_daemon_and_is_taken_over() {
    let Some(program) = program_or_skip("daemon_crash") else {
        return;
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    let storm = Storm::start(&scene.topology.school, &scene.authority, &scene.plan()).unwrap();
    storm.go_on(30, 20, LIMIT).unwrap();
    daemon.kill();
    storm.go_on(60, 40, LIMIT).unwrap();
    let daemon = scene.site.start(&scene.topology.edge).unwrap();
    storm.go_on(60, 40, LIMIT).unwrap();
    let stopped = daemon.stop().unwrap();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    storm.go_on(60, 40, LIMIT).unwrap();
    end_without_a_leak(&scene, storm);
}

#[test]
fn daemon_killed_at_any_moment_of_its_start_leaves_the_filter_in_force() {
    let Some(program) = program_or_skip("daemon_crash") else {
        return;
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    let storm = Storm::start(&scene.topology.school, &scene.authority, &scene.plan()).unwrap();
    daemon.kill();
    for age in [1, 5, 10, 20, 40, 80, 160, 320, 640, 1_280] {
        let daemon = scene.site.start_only(&scene.topology.edge).unwrap();
        // The age at which it dies is what the rounds vary.
        thread::sleep(Duration::from_millis(age));
        daemon.kill();
        storm.go_on(10, 5, LIMIT).unwrap();
    }
    let _daemon = scene.site.start(&scene.topology.edge).unwrap();
    storm.go_on(30, 20, LIMIT).unwrap();
    end_without_a_leak(&scene, storm);
}

#[test]
fn daemon_killed_in_a_reload_leaves_old_names_blocked_and_the_next_one_finishes() {
    let Some(program) = program_or_skip("daemon_crash") else {
        return;
    };
    let (scene, mut daemon) = Scene::start(&program).unwrap();
    let storm = Storm::start(&scene.topology.school, &scene.authority, &scene.plan()).unwrap();
    for (round, age) in [0, 10, 30, 100, 200, 400].into_iter().enumerate() {
        let mut text = REGISTRY_TEXT.to_owned();
        for number in 0..20_000 * round {
            let _ = writeln!(text, "site-{round}-{number}.example");
        }
        let name = format!("last-{round}.example");
        let _ = writeln!(text, "{name}");
        scene.site.write(REGISTRY, &text).unwrap();
        daemon.hang_up().unwrap();
        daemon.wait_for("RELOADING=1").unwrap();
        // The age at which it dies is what the rounds vary.
        thread::sleep(Duration::from_millis(age));
        daemon.kill();
        storm.go_on(10, 5, LIMIT).unwrap();
        daemon = scene.site.start(&scene.topology.edge).unwrap();
        let ended = scene
            .fetch(&scene.topology.school, SERVER4.into(), &name)
            .unwrap();
        assert_eq!(ended, Ended::Reset, "{name} is in force after the restart");
    }
    end_without_a_leak(&scene, storm);
}

#[test]
fn detached_filter_lets_everything_through() {
    let Some(program) = program_or_skip("daemon_crash") else {
        return;
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    let edge = &scene.topology.edge;
    let fetch = |name| {
        scene
            .fetch(&scene.topology.school, SERVER4.into(), name)
            .unwrap()
    };
    assert_eq!(fetch(EXACT), Ended::Reset);
    let running = scene.site.ask(edge, &["detach"]).unwrap();
    assert_eq!(
        running.code,
        Some(1),
        "a running daemon is not detached: {running:?}"
    );
    assert_eq!(fetch(EXACT), Ended::Reset);
    daemon.stop().unwrap();
    let detached = scene.site.ask(edge, &["detach"]).unwrap();
    assert_eq!(detached.code, Some(0), "{detached:?}");
    // The kernel lets go of a program a moment after its last link.
    let gone = || fetch(EXACT).is_page_of(EXACT);
    wait::until_true("the filter to be gone", LIMIT, gone).unwrap();
    assert!(fetch(ALLOWED).is_page_of(ALLOWED));
}
