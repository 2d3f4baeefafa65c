//! Another daemon put in place of the running one while a storm goes on: the same layout of maps,
//! larger flow tables, and a layout with another number.

use std::path::Path;
use std::time::Duration;

use schoolgate_tests::lab::daemon::{CONFIG, program_abi_next, program_or_skip};
use schoolgate_tests::lab::scene::{BELOW, EXACT, Scene, config};
use schoolgate_tests::lab::skip;
use schoolgate_tests::lab::storm::{Storm, Tally};

const LIMIT: Duration = Duration::from_secs(60);
const NOTHING: Vec<String> = Vec::new();

/// A storm over daemons that follow each other, each killed before the next one starts. Gives what
/// became of its connections; that none leaked has been seen to.
fn storm_over(scene: &Scene, daemons: &[&Path]) -> anyhow::Result<Tally> {
    let storm = Storm::start(&scene.topology.school, &scene.authority, &scene.plan())?;
    for program in daemons {
        let daemon = scene.site.start_program(&scene.topology.edge, program)?;
        storm.go_on(60, 40, LIMIT)?;
        daemon.kill();
        storm.go_on(20, 10, LIMIT)?;
    }
    let tally = storm.end();
    assert_eq!(tally.leaked, NOTHING);
    assert_eq!(scene.leaks(&[EXACT, BELOW])?, NOTHING);
    Ok(tally)
}

fn abi(scene: &Scene) -> u64 {
    let status = scene.site.ask_json(&scene.topology.edge, &["status"]);
    let status = status.unwrap_or_else(|error| panic!("{error:#}"));
    status
        .get("abi")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_default()
}

#[test]
fn larger_flow_tables_take_the_flows_over() {
    let Some(program) = program_or_skip("daemon_upgrade") else {
        return;
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    daemon.kill();
    let tally = {
        let larger = config(&scene.site).replace("[daemon]\n", "[daemon]\nflows = 524288\n");
        scene.site.write(CONFIG, &larger).unwrap();
        storm_over(&scene, &[&program]).unwrap()
    };
    assert_eq!(tally.failed, vec![], "flows of the same layout are kept");
}

#[test]
fn next_layout_is_put_in_place_and_taken_back_without_a_leak() {
    let Some(program) = program_or_skip("daemon_upgrade") else {
        return;
    };
    let Some(next) = program_abi_next() else {
        return skip(
            "daemon_upgrade",
            "no daemon with the next layout: run `cargo xtask build`",
        );
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    let before = abi(&scene);
    daemon.kill();
    let upgraded = scene
        .site
        .start_program(&scene.topology.edge, &next)
        .unwrap();
    assert_ne!(abi(&scene), before, "the other daemon has another layout");
    upgraded.kill();
    let tally = storm_over(&scene, &[&program, &next, &program, &next]).unwrap();
    // Unfinished flows are reset in a change of layout: each of the storm's senders has at most one.
    assert!(tally.failed.len() <= 4 * 6, "{:?}", tally.failed);
    assert!(
        tally.failed.iter().all(|(_, how)| how.ends_with("Reset")),
        "{:?}",
        tally.failed
    );
}
