//! The unified registry as published and its deltas before a running daemon: what they list is stopped for real
//! clients, and what a delta removes is free again.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use schoolgate_tests::lab::daemon::{CONFIG, program_or_skip};
use schoolgate_tests::lab::process::Finished;
use schoolgate_tests::lab::scene::{ALLOWED, ORGANISATION, Scene, config};

const REMOVED: &str = "removed.example";
const STAYS: &str = "stays.example";
const ADDED: &str = "added.example";

const DUMP_CONFIG: &str = r#"
[[registries]]
id = "register"
tier = "unified"
format = "dump"
path = "dump.xml"
deltas = "deltas"
"#;

/// A register or delta, made so many minutes after noon.
fn made_at(minute: u32, records: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<reg:register xmlns:reg=\"http://rsoc.ru\" \
         updateTime=\"2026-01-15T12:{minute:02}:00+03:00\" formatVersion=\"2.4\">\n{records}</reg:register>\n"
    )
}

fn record(id: u32, name: &str) -> String {
    format!(
        "<content id=\"{id}\" includeTime=\"2026-01-10T09:15:00\" entryType=\"1\" blockType=\"domain\" hash=\"A\">\
         <decision date=\"2026-01-09\" number=\"2/1\" org=\"O\"/><domain>{name}</domain></content>\n"
    )
}

fn assert_blocked(scene: &Scene, wanted: [(&str, bool); 4]) {
    for (name, blocked) in wanted {
        assert_eq!(scene.is_blocked(name).unwrap(), blocked, "{name}");
    }
}

fn explain(scene: &Scene, name: &str) -> Finished {
    scene
        .ask(&["explain", name, "--org", ORGANISATION])
        .unwrap()
}

#[test]
fn a_delta_stops_what_it_adds_and_frees_what_it_removes() {
    let Some(program) = program_or_skip("daemon_dump") else {
        return;
    };
    let scene = Scene::new(&program).unwrap();
    let records = record(1, REMOVED) + &record(2, STAYS);
    scene.site.write("dump.xml", &made_at(0, &records)).unwrap();
    std::fs::create_dir(scene.site.path("deltas")).unwrap();
    let text = config(&scene.site) + DUMP_CONFIG;
    scene.site.write(CONFIG, &text).unwrap();
    let _daemon = scene.site.start(&scene.topology.edge).unwrap();
    let before = [
        (REMOVED, true),
        (STAYS, true),
        (ADDED, false),
        (ALLOWED, false),
    ];
    assert_blocked(&scene, before);
    let told = explain(&scene, STAYS).stdout;
    assert!(told.contains("dump.xml, record 2 "), "{told}");
    let changes = record(3, ADDED) + "<delete id=\"1\"/>\n";
    let delta = made_at(1, &changes);
    scene.site.write("deltas/1.xml", &delta).unwrap();
    // Nothing of it is in force until it is loaded.
    assert_blocked(&scene, before);
    scene.reload().unwrap();
    let after = [
        (REMOVED, false),
        (STAYS, true),
        (ADDED, true),
        (ALLOWED, false),
    ];
    assert_blocked(&scene, after);
    let told = explain(&scene, ADDED).stdout;
    assert!(told.contains("deltas/1.xml, record 3 "), "{told}");
}
