//! The real daemon and lists whose size changes by too much: what was in force stays until somebody accepts them.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::fmt::Write as _;

use schoolgate_tests::lab::daemon::{CONFIG, Daemon, program_or_skip};
use schoolgate_tests::lab::process::Finished;
use schoolgate_tests::lab::scene::{ALLOWED, EXACT, REGISTRY, REGISTRY_TEXT, Scene, config};

/// A second list, large enough to be guarded.
const LARGE: &str = r#"
[[registries]]
id = "large"
tier = "unified"
format = "domains"
semantics = "exact"
path = "large.txt"
"#;

/// A list of this many names.
fn names(number: u32, more: &str) -> String {
    let mut text = format!("{more}\n");
    for at in 1..number {
        writeln!(text, "n{at}.example").unwrap();
    }
    text
}

fn scene() -> Option<(Scene, Daemon)> {
    let program = program_or_skip("daemon_guards")?;
    let scene = Scene::new(&program).unwrap();
    let text = config(&scene.site) + LARGE;
    scene
        .site
        .write("large.txt", &names(2_000, "first.example"))
        .unwrap();
    scene.site.write(CONFIG, &text).unwrap();
    let daemon = scene.site.start(&scene.topology.edge).unwrap();
    Some((scene, daemon))
}

fn ask(scene: &Scene, arguments: &[&str]) -> Finished {
    scene.ask(arguments).unwrap()
}

fn is_blocked(scene: &Scene, name: &str) -> bool {
    scene.is_blocked(name).unwrap()
}

#[test]
fn a_list_that_shrinks_or_grows_too_much_waits_and_the_others_do_not() {
    let Some((scene, _daemon)) = scene() else {
        return;
    };
    for (number, word) in [(900, "are gone"), (4_100, "have come")] {
        scene
            .site
            .write("large.txt", &names(number, "second.example"))
            .unwrap();
        let law = REGISTRY_TEXT.replace(EXACT, &format!("law{number}.example"));
        scene.site.write(REGISTRY, &law).unwrap();
        let told = ask(&scene, &["reload", "--wait"]);
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.stdout.contains(word), "{told:?}");
        assert!(is_blocked(&scene, "first.example") && !is_blocked(&scene, "second.example"));
        assert!(
            is_blocked(&scene, &format!("law{number}.example")),
            "the other list"
        );
        let status = ask(&scene, &["status"]);
        assert_eq!(status.code, Some(1));
        assert!(
            status
                .stdout
                .contains("HELD: registry large: 2 000 entries"),
            "{status:?}"
        );
    }
    let diff = ask(&scene, &["diff"]);
    assert!(diff.stdout.contains("nothing would change"), "{diff:?}");
    let diff = ask(&scene, &["diff", "--accept", "large"]);
    assert!(diff.stdout.contains("4 100"), "{diff:?}");
    assert!(is_blocked(&scene, "first.example"));
    let taken = ask(&scene, &["registry", "accept", "large"]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    assert!(!is_blocked(&scene, "first.example") && is_blocked(&scene, "second.example"));
    assert_eq!(ask(&scene, &["status"]).code, Some(0));
    let journal = std::fs::read_to_string(scene.site.path("state/journal.jsonl")).unwrap();
    assert!(journal.contains("\"accept\""), "{journal}");
    // Once means once.
    scene
        .site
        .write("large.txt", &names(1_000, "first.example"))
        .unwrap();
    scene.reload().unwrap();
    assert!(is_blocked(&scene, "second.example"));
    assert_eq!(
        ask(&scene, &["registry", "accept", "nothing"]).code,
        Some(1)
    );
}

#[test]
fn over_a_restart_the_state_in_the_kernel_stays_until_somebody_accepts() {
    let Some((scene, daemon)) = scene() else {
        return;
    };
    scene.site.write("large.txt", &names(900, ALLOWED)).unwrap();
    daemon.kill();
    let _daemon = scene.site.start(&scene.topology.edge).unwrap();
    assert!(is_blocked(&scene, "first.example") && !is_blocked(&scene, ALLOWED));
    let status = ask(&scene, &["status"]);
    assert_eq!(status.code, Some(1));
    assert!(
        status.stdout.contains("registry accept large"),
        "{status:?}"
    );
    let taken = ask(&scene, &["registry", "accept", "large"]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    assert!(!is_blocked(&scene, "first.example") && is_blocked(&scene, ALLOWED));
}

#[test]
fn after_a_reboot_another_size_is_better_than_no_filter_and_an_empty_list_is_not() {
    let Some((scene, daemon)) = scene() else {
        return;
    };
    let edge = &scene.topology.edge;
    // As after a reboot: the state directory is there, and nothing in the kernel.
    let detach = |daemon: Daemon| {
        daemon.stop().unwrap();
        let detached = scene.site.ask(edge, &["detach"]).unwrap();
        assert_eq!(detached.code, Some(0), "{detached:?}");
    };
    detach(daemon);
    scene.site.write("large.txt", &names(900, ALLOWED)).unwrap();
    let daemon = scene.site.start(edge).unwrap();
    assert!(is_blocked(&scene, EXACT) && is_blocked(&scene, ALLOWED));
    detach(daemon);
    scene.site.write("large.txt", "").unwrap();
    let mut daemon = scene.site.start_only(edge).unwrap();
    assert!(daemon.wait_for("READY=1").is_err());
}
