//! The journal of the real daemon: what it tells, whether it survives a kill, and that a change of it shows.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::time::Duration;

use schoolgate_tests::lab::client::Ended;
use schoolgate_tests::lab::daemon::{CONFIG, program_or_skip};
use schoolgate_tests::lab::patience;
use schoolgate_tests::lab::process::Finished;
use schoolgate_tests::lab::scene::{EXACT, REGISTRY, REGISTRY_TEXT, Scene};
use schoolgate_tests::lab::topology::SERVER4;
use schoolgate_tests::lab::wait;
use serde_json::Value;

fn journal(scene: &Scene, arguments: &[&str]) -> Finished {
    let edge = &scene.topology.edge;
    scene
        .site
        .ask(edge, &[&["journal"], arguments].concat())
        .unwrap()
}

fn rows(scene: &Scene) -> Vec<Value> {
    let shown = journal(scene, &["show", "--json", "--last", "1000"]);
    let rows = serde_json::Deserializer::from_str(&shown.stdout).into_iter();
    rows.map(Result::unwrap).collect()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Actor and action of all rows.
fn acts(scene: &Scene) -> Vec<String> {
    let rows = rows(scene);
    let act = |row: &Value| format!("{} {}", text(row, "actor"), text(row, "action"));
    rows.iter().map(act).collect()
}

#[test]
fn every_change_is_a_row_with_its_actor_and_registries() {
    let Some(program) = program_or_skip("daemon_journal") else {
        return;
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    scene.reload().unwrap();
    let more = format!("{REGISTRY_TEXT}more.example\n");
    scene.site.write(REGISTRY, &more).unwrap();
    daemon.hang_up().unwrap();
    let limit = patience(Duration::from_secs(20));
    wait::until_true("the signal's row", limit, || acts(&scene).len() == 3).unwrap();
    scene.site.write(REGISTRY, "").unwrap();
    assert!(scene.reload().is_err(), "an empty registry is refused");
    daemon.stop().unwrap();
    let wanted = [
        "daemon load",
        "uid 0 load",
        "signal load",
        "uid 0 load_refused",
        "daemon stop",
    ];
    assert_eq!(acts(&scene), wanted);
    let rows = rows(&scene);
    let entries = |at: usize| {
        rows.get(at)
            .and_then(|row| row.pointer("/detail/registries/0/entries"))
    };
    assert_eq!(entries(1).and_then(Value::as_u64), Some(5));
    assert_eq!(entries(2).and_then(Value::as_u64), Some(6));
    let revision = |at: usize| {
        let row = rows.get(at);
        let revision = row.and_then(|row| row.pointer("/detail/registries/0/revision"));
        revision.and_then(Value::as_str).unwrap_or_default()
    };
    assert_eq!(revision(0).len(), 64);
    assert_eq!(revision(0), revision(1), "the file is the same");
    assert_ne!(revision(1), revision(2), "the file has one line more");
    assert_eq!(revision(2), revision(3), "what was refused is not in force");
    let config = rows
        .get(2)
        .and_then(|row| row.pointer("/detail/config_sha256"));
    let sum = std::process::Command::new("sha256sum")
        .arg(scene.site.path(CONFIG))
        .output()
        .unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(config.and_then(Value::as_str), sum.split(' ').next());
    let refused = rows
        .get(3)
        .and_then(|row| row.pointer("/detail/problems/0"));
    let refused = refused.and_then(Value::as_str).unwrap();
    assert!(refused.contains("registry law is empty"), "{refused}");
    assert_eq!(journal(&scene, &["verify"]).code, Some(0));
}

#[test]
fn a_daemon_killed_at_any_moment_leaves_an_unbroken_journal() {
    let Some(program) = program_or_skip("daemon_journal") else {
        return;
    };
    let scene = Scene::new(&program).unwrap();
    let edge = &scene.topology.edge;
    for round in 0..12u64 {
        let daemon = scene.site.start(edge).unwrap();
        for _ in 0..3 {
            assert_eq!(
                scene.site.ask_daemon(edge, &["reload"]).unwrap().code,
                Some(0)
            );
        }
        std::thread::sleep(Duration::from_millis(round));
        daemon.kill();
    }
    let daemon = scene.site.start(edge).unwrap();
    let checked = journal(&scene, &["verify"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(acts(&scene).len() > 12);
    daemon.stop().unwrap();
}

#[test]
fn a_changed_journal_shows_and_an_unwritable_one_stops_nothing() {
    let Some(program) = program_or_skip("daemon_journal") else {
        return;
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    scene.reload().unwrap();
    let edge = &scene.topology.edge;
    let path = scene.site.path("state/journal.jsonl");
    let written = std::fs::read_to_string(&path).unwrap();
    let head = rows(&scene).last().map(|row| text(row, "hash").to_owned());
    let head = head.unwrap();
    let status = scene.site.ask(edge, &["status"]).unwrap();
    assert!(status.stdout.contains(&head), "{status:?}");
    assert_eq!(journal(&scene, &["verify", "--head", &head]).code, Some(0));

    std::fs::write(&path, written.replacen("\"daemon\"", "\"uid 7\"", 1)).unwrap();
    let altered = journal(&scene, &["verify"]);
    assert_eq!(altered.code, Some(1));
    assert!(
        altered
            .stderr
            .contains("journal.jsonl:1: seq 1: hash is not"),
        "{altered:?}"
    );
    let first = written.lines().next().unwrap();
    std::fs::write(&path, format!("{first}\n")).unwrap();
    assert_eq!(journal(&scene, &["verify"]).code, Some(0));
    let cut = journal(&scene, &["verify", "--head", &head]);
    assert_eq!(cut.code, Some(1));
    assert!(cut.stderr.contains("rows were cut off"), "{cut:?}");
    daemon.kill();

    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let daemon = scene.site.start(edge).unwrap();
    let ended = scene.fetch(&scene.topology.school, SERVER4.into(), EXACT);
    assert_eq!(ended.unwrap(), Ended::Reset);
    scene.reload().unwrap();
    let status = scene.site.ask(edge, &["status"]).unwrap();
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.contains("ROWS ARE MISSING"), "{status:?}");
    std::fs::remove_dir(&path).unwrap();
    scene.reload().unwrap();
    assert_eq!(scene.site.ask(edge, &["status"]).unwrap().code, Some(0));
    assert_eq!(journal(&scene, &["verify"]).code, Some(0));
    daemon.stop().unwrap();
}
