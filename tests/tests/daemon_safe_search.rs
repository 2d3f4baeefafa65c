//! Search engines whose safe form is found by a name: the daemon asks a real resolver, follows it, and keeps what it
//! found last.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::net::IpAddr;
use std::time::Duration;

use schoolgate_tests::lab::daemon::{CONFIG, program_or_skip};
use schoolgate_tests::lab::dns_tools::{Dnsmasq, kdig};
use schoolgate_tests::lab::patience;
use schoolgate_tests::lab::scene::{ORGANISATION, PORTAL, PORTAL6, Scene, config};
use schoolgate_tests::lab::topology::SERVER4;
use schoolgate_tests::lab::wait;

/// An engine without listed addresses, and one with.
const NAME: &str = "www.ecosia.org";
const TARGET: &str = "strict-safe-search.ecosia.org";
const LISTED_NAME: &str = "www.bing.com";
const LISTED_AT: &str = "204.79.197.220";
const FIRST: [&str; 2] = ["203.0.113.80", "2001:db8:ffff::80"];
const SECOND: [&str; 2] = ["203.0.113.81", "2001:db8:ffff::81"];

fn scene() -> Option<Scene> {
    let program = program_or_skip("daemon_safe_search")?;
    let scene = Scene::new(&program).unwrap();
    let text = config(&scene.site).replace("age = 12", "age = 12\nsafe_search = \"strict\"");
    let infrastructure =
        format!("[infrastructure]\nportal = [\"{PORTAL}\"]\nresolvers = [\"{SERVER4}\"]\n");
    scene.site.write(CONFIG, &(text + &infrastructure)).unwrap();
    Some(scene)
}

/// A resolver that finds [`TARGET`] at these addresses, and refuses all other names.
fn resolver(scene: &Scene, at: &[&str]) -> Dnsmasq {
    let at: Vec<IpAddr> = at.iter().map(|at| at.parse().unwrap()).collect();
    Dnsmasq::authority(&scene.topology.internet, TARGET, &at, SERVER4.into()).unwrap()
}

/// What the school is told of a name's addresses; an empty text where there is none.
fn told(scene: &Scene, name: &str) -> [String; 2] {
    ["A", "AAAA"].map(|kind| {
        let done = kdig(&scene.topology.school, SERVER4.into(), &[name, kind]).unwrap();
        assert!(done.stdout.contains("status: NOERROR"), "{done:?}");
        let column = format!("\t{kind}\t");
        let mut lines = done.stdout.lines().filter(|line| !line.starts_with(';'));
        let address = lines.find_map(|line| line.split_once(&column));
        address.map_or_else(String::new, |(_, address)| address.trim().to_owned())
    })
}

/// Waits until the daemon has asked with this outcome for [`TARGET`], as `status` tells it.
fn wait_for(scene: &Scene, outcome: &str) {
    let edge = &scene.topology.edge;
    let mut shown = String::new();
    let limit = patience(Duration::from_secs(20));
    let waited = wait::until_true(outcome, limit, || {
        shown = scene.site.ask(edge, &["status"]).unwrap().stdout;
        let mut lines = shown
            .lines()
            .filter(|line| line.contains("safe search: ") && line.contains(TARGET));
        lines.any(|line| line.contains(outcome))
    });
    assert!(waited.is_ok(), "{waited:?}: {shown}");
}

#[test]
fn names_follow_their_target_and_its_last_address_outlives_resolver_and_daemon() {
    let Some(scene) = scene() else { return };
    let edge = &scene.topology.edge;
    let first = resolver(&scene, &FIRST);
    let daemon = scene.site.start(edge).unwrap();
    wait_for(&scene, "is at 203.0.113.80 and 2001:db8:ffff::80");
    assert_eq!(told(&scene, NAME), FIRST);
    assert_eq!(told(&scene, LISTED_NAME), [LISTED_AT, ""]);

    drop(first);
    let second = resolver(&scene, &SECOND);
    scene.reload().unwrap();
    wait_for(&scene, "is at 203.0.113.81 and 2001:db8:ffff::81");
    assert_eq!(told(&scene, NAME), SECOND);

    // A resolver that blocks the engine says its page's address, or nowhere.
    drop(second);
    for (sink, sink6) in [(PORTAL, PORTAL6), ("0.0.0.0", "::")] {
        let sinkhole = resolver(&scene, &[sink, sink6]);
        scene.reload().unwrap();
        wait_for(&scene, &format!("the resolver says {sink}, which is no"));
        assert_eq!(told(&scene, NAME), SECOND);
        drop(sinkhole);
    }

    daemon.kill();
    assert_eq!(told(&scene, NAME), SECOND);
    let daemon = scene.site.start(edge).unwrap();
    assert_eq!(told(&scene, NAME), SECOND);
    wait_for(&scene, "; 203.0.113.81 and 2001:db8:ffff::81 stays");
    assert_eq!(told(&scene, NAME), SECOND);
    let explained = scene
        .site
        .ask_daemon(edge, &["explain", NAME, "--org", ORGANISATION])
        .unwrap();
    let wanted = "203.0.113.81 (safe search of Ecosia)";
    assert!(explained.stdout.contains(wanted), "{explained:?}");
    daemon.stop().unwrap();
}

#[test]
fn a_name_whose_target_was_never_found_has_no_address() {
    let Some(scene) = scene() else { return };
    let daemon = scene.site.start(&scene.topology.edge).unwrap();
    wait_for(&scene, "; no address stays");
    assert_eq!(told(&scene, NAME), ["", ""]);
    assert_eq!(told(&scene, LISTED_NAME), [LISTED_AT, ""]);
    daemon.stop().unwrap();
}
