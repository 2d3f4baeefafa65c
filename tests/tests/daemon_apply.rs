//! Updates of the real daemon that are looked at before, confirmed, and taken back, met by a real client.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::time::Duration;

use schoolgate_tests::lab::daemon::{CONFIG, Daemon, program_or_skip};
use schoolgate_tests::lab::patience;
use schoolgate_tests::lab::process::Finished;
use schoolgate_tests::lab::scene::{
    ALLOWED, EXACT, REGISTRY, REGISTRY_TEXT, SHOPS_CONFIG, Scene, config,
};
use schoolgate_tests::lab::wait;
use serde_json::Value;

/// A list of what is allowed, and a profile that allows it.
const LIBRARY: &str = r#"
[[registries]]
id = "library"
tier = "local"
format = "domains"
semantics = "suffix"
path = "library.txt"
"#;

fn scene() -> Option<(Scene, Daemon)> {
    let program = program_or_skip("daemon_apply")?;
    let scene = Scene::new(&program).unwrap();
    let text = config(&scene.site).replace("age = 12", "age = 12\nallow = [\"library\"]");
    scene
        .site
        .write("library.txt", "www.open.example\n")
        .unwrap();
    scene.site.write(CONFIG, &(text + LIBRARY)).unwrap();
    let daemon = scene.site.start(&scene.topology.edge).unwrap();
    Some((scene, daemon))
}

fn ask(scene: &Scene, arguments: &[&str]) -> Finished {
    scene.ask(arguments).unwrap()
}

/// Asks for what must succeed.
fn fine(scene: &Scene, arguments: &[&str]) -> String {
    let answer = ask(scene, arguments);
    assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
    answer.stdout
}

fn status(scene: &Scene) -> Value {
    serde_json::from_str(&ask(scene, &["status", "--json"]).stdout).unwrap()
}

fn is_blocked(scene: &Scene, name: &str) -> bool {
    scene.is_blocked(name).unwrap()
}

/// Lets the name through that was blocked, and blocks the one that passed.
fn turn(scene: &Scene) {
    let text = REGISTRY_TEXT.replace(EXACT, &format!("*.{ALLOWED}"));
    scene.site.write(REGISTRY, &text).unwrap();
}

fn assert_is(scene: &Scene, turned: bool) {
    assert_eq!(is_blocked(scene, EXACT), !turned);
    assert_eq!(is_blocked(scene, ALLOWED), turned);
}

fn actions(scene: &Scene) -> Vec<String> {
    let text = std::fs::read_to_string(scene.site.path("state/journal.jsonl")).unwrap();
    let rows = text.lines().map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        let word = |field: &str| {
            row.get(field)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        format!("{} {}", word("actor"), word("action"))
    });
    rows.collect()
}

#[test]
fn a_diff_tells_what_an_update_does_and_changes_nothing() {
    let Some((scene, _daemon)) = scene() else {
        return;
    };
    assert!(fine(&scene, &["diff"]).contains("nothing would change"));
    turn(&scene);
    let told = fine(&scene, &["diff"]);
    let told_json: Value = serde_json::from_str(&fine(&scene, &["diff", "--json"])).unwrap();
    assert_is(&scene, false);
    assert_eq!(
        told_json.pointer("/entries"),
        Some(&serde_json::json!([1, 0, 1]))
    );
    assert_eq!(
        told_json.pointer("/groups/0/effects"),
        Some(&serde_json::json!([1, 0, 1]))
    );
    assert_eq!(
        told_json.pointer("/unnamed"),
        Some(&1.into()),
        "{told_json}"
    );
    assert_eq!(
        told_json.pointer("/touched/0/subject"),
        Some(&"www.open.example".into()),
        "{told_json}"
    );
    for part in [
        "open.example",
        "unlawful",
        "law.txt:2",
        "touches 1 allow-listed",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(fine(&scene, &["apply"]).contains("in force"));
    assert_is(&scene, true);
    assert!(fine(&scene, &["diff"]).contains("nothing would change"));
    // What could not be brought into force has no effects, but problems.
    scene.site.write(REGISTRY, "").unwrap();
    let refused = ask(&scene, &["diff"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("registry law is empty"),
        "{refused:?}"
    );
}

#[test]
fn an_update_that_nobody_confirms_goes_back() {
    let Some((scene, daemon)) = scene() else {
        return;
    };
    turn(&scene);
    let told = fine(&scene, &["apply", "--confirm", "3s"]);
    assert!(told.contains("goes back at"), "{told}");
    assert_is(&scene, true);
    let limit = patience(Duration::from_secs(30));
    let back = || !is_blocked(&scene, ALLOWED);
    wait::until_true("the way back", limit, back).unwrap();
    assert_is(&scene, false);
    let now = ask(&scene, &["status"]);
    assert_eq!(now.code, Some(1), "files and maps differ");
    assert!(now.stdout.contains("TAKEN BACK"), "{now:?}");
    assert!(
        status(&scene)
            .pointer("/pending")
            .is_some_and(Value::is_null)
    );
    assert_eq!(
        actions(&scene),
        [
            "daemon load",
            "uid 0 load",
            "uid 0 confirm_by",
            "daemon undo"
        ]
    );
    // An operator's word brings what the files hold, and ends the difference.
    daemon.hang_up().unwrap();
    wait::until_true("the reload", limit, || is_blocked(&scene, ALLOWED)).unwrap();
    let settled = || ask(&scene, &["status"]).code == Some(0);
    wait::until_true("status", limit, settled).unwrap();
}

#[test]
fn while_an_update_waits_nothing_else_comes_into_force() {
    let Some((scene, daemon)) = scene() else {
        return;
    };
    turn(&scene);
    fine(&scene, &["apply", "--confirm", "10m"]);
    let pending = status(&scene);
    assert_eq!(
        pending.pointer("/pending/actor").and_then(Value::as_str),
        Some("uid 0")
    );
    scene.site.write(REGISTRY, REGISTRY_TEXT).unwrap();
    for arguments in [
        &["apply"][..],
        &["reload", "--wait"],
        &["apply", "--confirm", "1m"],
    ] {
        let refused = ask(&scene, arguments);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains("waits for its confirmation"),
            "{refused:?}"
        );
    }
    daemon.hang_up().unwrap();
    assert!(fine(&scene, &["status"]).contains("NOT CONFIRMED"));
    assert_is(&scene, true);
    assert!(fine(&scene, &["confirm"]).contains("confirmed"));
    assert_is(&scene, true);
    assert_eq!(
        ask(&scene, &["confirm"]).code,
        Some(1),
        "nothing waits any more"
    );
    // What was confirmed can still be taken back, one step.
    fine(&scene, &["undo"]);
    assert_is(&scene, false);
    let nothing = ask(&scene, &["undo"]);
    assert_eq!(nothing.code, Some(1));
    assert!(
        nothing.stderr.contains("nothing to go back to"),
        "{nothing:?}"
    );
    fine(&scene, &["apply"]);
    assert_is(&scene, false);
}

#[test]
fn an_update_that_fails_waits_for_nothing() {
    let Some((scene, _daemon)) = scene() else {
        return;
    };
    scene.site.write(REGISTRY, "").unwrap();
    let refused = ask(&scene, &["apply", "--confirm", "1m"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_is(&scene, false);
    assert!(
        status(&scene)
            .pointer("/pending")
            .is_some_and(Value::is_null)
    );
    assert!(!scene.site.path("state/unconfirmed.json").exists());
    assert_eq!(ask(&scene, &["undo"]).code, Some(1));
    turn(&scene);
    fine(&scene, &["apply"]);
    assert_is(&scene, true);
}

#[test]
fn a_daemon_that_was_killed_tells_of_what_was_never_confirmed() {
    let Some((scene, daemon)) = scene() else {
        return;
    };
    turn(&scene);
    fine(&scene, &["apply", "--confirm", "10m"]);
    daemon.kill();
    assert_is(&scene, true);
    let _daemon = scene.site.start(&scene.topology.edge).unwrap();
    assert_is(&scene, true);
    let now = ask(&scene, &["status"]);
    assert_eq!(now.code, Some(1));
    assert!(now.stdout.contains("NEVER CONFIRMED"), "{now:?}");
    fine(&scene, &["confirm"]);
    assert_eq!(ask(&scene, &["status"]).code, Some(0));
    assert!(!scene.site.path("state/unconfirmed.json").exists());
}

#[test]
fn a_policy_that_is_taken_back_is_the_one_of_this_moment() {
    let Some((scene, _daemon)) = scene() else {
        return;
    };
    let edge = &scene.topology.edge;
    let text = std::fs::read_to_string(scene.site.path(CONFIG)).unwrap();
    let text = text.replace("age = 12", "age = 12\nblock = [\"shopping\"]") + SHOPS_CONFIG;
    scene.site.write("shops.txt", "shop.example\n").unwrap();
    scene.site.write(CONFIG, &text).unwrap();
    fine(&scene, &["apply"]);
    assert!(is_blocked(&scene, "shop.example"));
    let open = text.replace("[daemon]", "[daemon]\npass_all = true");
    scene.site.write(CONFIG, &open).unwrap();
    fine(&scene, &["apply", "--confirm", "10m"]);
    assert!(!is_blocked(&scene, EXACT), "everything passes");
    // Given while the update waits, a bypass is in force behind the way back too.
    let given = ["bypass", "school-1", "--for", "10m", "--reason", "a lesson"];
    assert_eq!(scene.site.ask_daemon(edge, &given).unwrap().code, Some(0));
    fine(&scene, &["undo"]);
    assert!(is_blocked(&scene, EXACT));
    assert!(!is_blocked(&scene, "shop.example"), "the bypass");
    let ended = ["bypass", "school-1", "--end"];
    assert_eq!(scene.site.ask_daemon(edge, &ended).unwrap().code, Some(0));
    assert!(is_blocked(&scene, "shop.example"));
}
