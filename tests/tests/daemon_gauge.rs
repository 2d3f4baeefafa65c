//! The enforcement gauge of the real daemon: entries that are lost from the maps, a link that is taken away, a port that
//! is made anew.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::time::Duration;

use filter_user::kernel::Tables;
use filter_user::kernel::load::pinned_maps;
use schoolgate_tests::lab::client::Ended;
use schoolgate_tests::lab::daemon::{CONFIG, Daemon, program_or_skip};
use schoolgate_tests::lab::patience;
use schoolgate_tests::lab::scene::{BELOW, EXACT, Scene, config};
use schoolgate_tests::lab::topology::SERVER4;
use schoolgate_tests::lab::wait;
use serde_json::Value;

/// A port with nobody behind it.
const SPARE: &str = "spare0";

fn start(seconds: u32) -> Option<(Scene, Daemon)> {
    let program = program_or_skip("daemon_gauge")?;
    let scene = Scene::new(&program).unwrap();
    make_spare(&scene);
    let text =
        config(&scene.site).replace("[daemon]", &format!("[daemon]\ngauge_seconds = {seconds}"));
    let spare = format!("[[interfaces]]\nname = \"{SPARE}\"\n");
    scene.site.write(CONFIG, &(text + &spare)).unwrap();
    let daemon = scene.site.start(&scene.topology.edge).unwrap();
    Some((scene, daemon))
}

fn make_spare(scene: &Scene) {
    let edge = &scene.topology.edge;
    edge.ip(&format!("link add {SPARE} type veth peer name spare1"))
        .unwrap();
}

fn status(scene: &Scene) -> Value {
    let edge = &scene.topology.edge;
    let told = scene.site.ask(edge, &["status", "--json"]).unwrap();
    serde_json::from_str(&told.stdout).unwrap()
}

fn gauge(scene: &Scene, field: &str) -> u64 {
    let status = status(scene);
    let value = status.get("gauge").and_then(|gauge| gauge.get(field));
    value.and_then(Value::as_u64).unwrap_or(0)
}

/// Waits until the gauge has told of so many alarms, and everything is in force after them.
fn wait_for_alarm(scene: &Scene, alarms: u64) {
    let limit = patience(Duration::from_secs(20));
    wait::until_true("the alarm", limit, || gauge(scene, "alarms") >= alarms).unwrap();
    assert_eq!(gauge(scene, "present"), gauge(scene, "expected"));
    let told = scene.site.ask(&scene.topology.edge, &["status"]).unwrap();
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("alarms, repaired"), "{told:?}");
}

fn is_blocked(scene: &Scene, name: &str) -> bool {
    let ended = scene.fetch(&scene.topology.school, SERVER4.into(), name);
    !matches!(ended.unwrap(), Ended::Page { .. })
}

/// The maps in force, written to behind the daemon's back.
fn tables(scene: &Scene) -> Tables {
    let status = status(scene);
    let generation = status.pointer("/program/generation").unwrap();
    let directory = scene.site.pins().join(format!("gen-{generation}"));
    Tables::kernel(&pinned_maps(&directory).unwrap()).unwrap()
}

#[test]
fn entries_that_are_lost_come_back_and_are_told() {
    let Some((scene, daemon)) = start(2) else {
        return;
    };
    assert!(is_blocked(&scene, EXACT) && is_blocked(&scene, BELOW));
    wait::until_true("a comparison", patience(Duration::from_secs(20)), || {
        gauge(&scene, "expected") > 0
    })
    .unwrap();
    assert_eq!(gauge(&scene, "alarms"), 0);
    let tables = tables(&scene);
    tables.subjects.zero();
    tables.name_bloom.zero();
    tables.net4.remove(&(27, [203, 0, 113, 128])).unwrap();
    wait_for_alarm(&scene, 1);
    assert!(is_blocked(&scene, EXACT) && is_blocked(&scene, BELOW));
    tables.net4.reread().unwrap();
    assert!(tables.net4.exact(&(27, [203, 0, 113, 128])).is_some());
    // The bits alone make a name pass as surely as its entry.
    let alarms = gauge(&scene, "alarms");
    tables.name_bloom.zero();
    wait_for_alarm(&scene, alarms + 1);
    assert!(is_blocked(&scene, EXACT) && is_blocked(&scene, BELOW));
    daemon.stop().unwrap();
}

#[test]
fn a_lost_link_and_a_port_made_anew_are_attached_again() {
    let Some((scene, daemon)) = start(1) else {
        return;
    };
    assert!(is_blocked(&scene, EXACT));
    std::fs::remove_file(scene.site.pins().join("link-school0")).unwrap();
    wait_for_alarm(&scene, 1);
    assert!(is_blocked(&scene, EXACT));

    let number = |scene: &Scene| {
        let status = status(scene);
        let interfaces = status.get("interfaces").and_then(Value::as_array).cloned();
        let mut interfaces = interfaces.unwrap_or_default().into_iter();
        let spare = interfaces.find(|one| one.get("name").is_some_and(|name| name == SPARE));
        spare
            .and_then(|one| one.get("ifindex")?.as_u64())
            .unwrap_or(0)
    };
    let before = number(&scene);
    assert_ne!(before, 0);
    let edge = &scene.topology.edge;
    edge.ip(&format!("link delete {SPARE}")).unwrap();
    make_spare(&scene);
    let limit = patience(Duration::from_secs(20));
    wait::until_true("the new port's link", limit, || {
        let now = number(&scene);
        now != 0 && now != before
    })
    .unwrap();
    assert!(is_blocked(&scene, EXACT));
    daemon.stop().unwrap();
}
