//! The real daemon with a registry from a server: what is fetched comes into force, what is broken does not, and
//! what was good stays without the server and over a restart.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use schoolgate_tests::lab::daemon::{CONFIG, program_or_skip};
use schoolgate_tests::lab::patience;
use schoolgate_tests::lab::process::Finished;
use schoolgate_tests::lab::scene::{EXACT, REGISTRY, REGISTRY_TEXT, Scene, config};
use schoolgate_tests::lab::wait;
use schoolgate_tests::lists_server::{Answer, ListsServer};

/// A name that the server's list forbids, and one that its next list forbids.
const FIRST: &str = "first.example";
const SECOND: &str = "second.example";

/// The configuration before the registry that is fetched.
const WITHOUT: &str = "without.toml";

struct Place {
    scene: Scene,
    server: Option<ListsServer>,
    next: Arc<Mutex<Answer>>,
}

impl Place {
    /// `tier`: of the registry that is fetched.
    fn new(tier: &str) -> Option<Place> {
        Place::with(tier, "")
    }

    /// The same with more keys of the registry.
    fn with(tier: &str, keys: &str) -> Option<Place> {
        let program = program_or_skip("daemon_sources")?;
        let scene = Scene::new(&program).unwrap();
        let next = Arc::new(Mutex::new(Answer::file(format!("{FIRST}\n"), "\"1\"")));
        let edge = &scene.topology.edge;
        let listener = edge
            .enter(|| TcpListener::bind("127.0.0.1:0"))
            .unwrap()
            .unwrap();
        let given = Arc::clone(&next);
        let server = ListsServer::start(listener, None, move |asked| {
            let next = given.lock().unwrap().clone();
            let tag = next.fields.first().map(|(_, tag)| tag.clone());
            match asked.field("if-none-match") {
                Some(known) if Some(known) == tag.as_deref() => Answer::status("304 Not Modified"),
                _ => next,
            }
        });
        let server = server.unwrap();
        let text = config(&scene.site);
        scene.site.write(WITHOUT, &text).unwrap();
        let text = text
            + &format!(
                "\n[[registries]]\nid = \"fetched\"\ntier = \"{tier}\"\nformat = \"domains\"\n\
                 semantics = \"exact\"\nurl = \"http://{}/list\"\ninterval_seconds = 10\n{keys}\n",
                server.address
            );
        scene.site.write(CONFIG, &text).unwrap();
        Some(Place {
            scene,
            server: Some(server),
            next,
        })
    }

    fn gives(&self, answer: Answer) {
        *self.next.lock().unwrap() = answer;
    }

    fn ask(&self, arguments: &[&str]) -> Finished {
        self.scene.ask(arguments).unwrap()
    }

    fn is_blocked(&self, name: &str) -> bool {
        self.scene.is_blocked(name).unwrap()
    }

    fn status(&self, wanted: &str) -> bool {
        self.ask(&["status"]).stdout.contains(wanted)
    }
}

#[test]
fn a_fetched_registry_is_in_force_and_follows_its_server() {
    let Some(mut place) = Place::new("unified") else {
        return;
    };
    let daemon = place.scene.site.start(&place.scene.topology.edge).unwrap();
    assert!(place.is_blocked(FIRST) && !place.is_blocked(SECOND));
    assert!(place.status("fresh"));
    // By itself, with the next interval.
    place.gives(Answer::file(format!("{SECOND}\n"), "\"2\""));
    let limit = patience(Duration::from_secs(60));
    wait::until_true("the next list", limit, || place.is_blocked(SECOND)).unwrap();
    // What is new comes before what is old goes.
    wait::until_true("the old list's end", limit, || !place.is_blocked(FIRST)).unwrap();
    // What is broken is told, and what is in force stays; other registries go on.
    place.gives(Answer::file("", "\"3\""));
    let failed = place.ask(&["fetch", "fetched"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stdout.contains("fetched: failed"), "{failed:?}");
    let more = REGISTRY_TEXT.replace(EXACT, "more.example");
    place.scene.site.write(REGISTRY, &more).unwrap();
    place.scene.reload().unwrap();
    assert!(place.is_blocked("more.example") && place.is_blocked(SECOND));
    assert!(place.status("cached after an error"));
    // At an operator's word.
    place.gives(Answer::file(format!("{FIRST}\n"), "\"4\""));
    let fetched = place.ask(&["fetch"]);
    assert_eq!(fetched.code, Some(0), "{fetched:?}");
    assert!(fetched.stdout.contains("fetched: new"), "{fetched:?}");
    assert!(place.is_blocked(FIRST) && !place.is_blocked(SECOND));
    assert_eq!(place.ask(&["fetch", "law"]).code, Some(1), "it has no url");
    // Without the server, and over a restart.
    place.server = None;
    daemon.kill();
    let _daemon = place.scene.site.start(&place.scene.topology.edge).unwrap();
    assert!(place.is_blocked(FIRST));
    assert_eq!(place.ask(&["fetch"]).code, Some(1));
    assert!(place.status("cached after an error"));
    assert!(place.is_blocked(FIRST) && place.is_blocked("more.example"));
}

#[test]
fn what_is_unlawful_is_not_left_out_at_a_first_start() {
    let Some(place) = Place::new("unified") else {
        return;
    };
    place.gives(Answer::status("503 Service Unavailable"));
    let edge = &place.scene.topology.edge;
    let mut daemon = place.scene.site.start_only(edge).unwrap();
    assert!(daemon.wait_for("READY=1").is_err());
    let checked = place.scene.site.ask(edge, &["check"]).unwrap();
    assert_eq!(checked.code, Some(1));
    assert!(
        checked.stderr.contains("nothing has been fetched yet"),
        "{checked:?}"
    );
    drop(daemon);
    place.gives(Answer::file(format!("{FIRST}\n"), "\"1\""));
    let _daemon = place.scene.site.start(edge).unwrap();
    assert!(place.is_blocked(FIRST));
}

#[test]
fn another_registry_is_awaited_while_the_rest_is_in_force() {
    let Some(place) = Place::new("suspicious") else {
        return;
    };
    place.gives(Answer::status("503 Service Unavailable"));
    let _daemon = place.scene.site.start(&place.scene.topology.edge).unwrap();
    assert!(place.is_blocked(EXACT));
    let told = place.ask(&["status"]);
    assert_eq!(told.code, Some(1), "a source without a copy");
    assert!(told.stdout.contains("503"), "{told:?}");
    place.gives(Answer::file(format!("{FIRST}\n"), "\"1\""));
    let limit = patience(Duration::from_secs(90));
    wait::until_true("the first list", limit, || place.status("fresh")).unwrap();
    let explained = place.ask(&["explain", FIRST, "--org", "school-1"]);
    assert!(explained.stdout.contains("fetched"), "{explained:?}");
}

#[test]
fn an_update_is_held_shown_taken_and_taken_back() {
    let Some(place) = Place::with("unified", "hold_updates = true") else {
        return;
    };
    let _daemon = place.scene.site.start(&place.scene.topology.edge).unwrap();
    let old = || place.is_blocked(FIRST) && !place.is_blocked(SECOND);
    assert!(old());
    place.gives(Answer::file(format!("{SECOND}\n"), "\"2\""));
    let told = place.ask(&["fetch", "fetched"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stdout.contains("fetched: held"), "{told:?}");
    assert!(old() && place.status("hold_updates"));
    let nothing = place.ask(&["diff"]);
    assert!(nothing.stdout.contains("nothing would"), "{nothing:?}");
    let shown = place.ask(&["diff", "--accept", "fetched"]).stdout;
    assert!(shown.contains(SECOND) && shown.contains(FIRST), "{shown}");
    assert!(old(), "nothing was applied");
    let taken = place.ask(&["registry", "accept", "fetched"]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    assert!(!place.is_blocked(FIRST) && place.is_blocked(SECOND));
    let back = place.ask(&["registry", "rollback", "fetched"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(old() && place.status("taken back by"));
    let asked = place.ask(&["fetch"]);
    assert!(asked.stdout.contains("fetched: held"), "{asked:?}");
    assert!(old(), "the server still has what was taken back");
    for (id, word) in [("fetched", "no earlier copy"), ("law", "has no url")] {
        let refused = place.ask(&["registry", "rollback", id]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(word), "{refused:?}");
    }
    assert!(old());
    let edge = &place.scene.topology.edge;
    let rows = place.scene.site.ask(edge, &["journal", "show"]).unwrap();
    let rows = rows.stdout;
    assert!(
        rows.contains("accept") && rows.contains("roll_back"),
        "{rows}"
    );
}

#[test]
fn a_registry_with_a_url_comes_into_a_running_daemon() {
    for command in [&["reload", "--wait"][..], &["apply"], &["fetch"]] {
        let Some(place) = Place::new("unified") else {
            return;
        };
        let site = &place.scene.site;
        let with = std::fs::read_to_string(site.path(CONFIG)).unwrap();
        let without = std::fs::read_to_string(site.path(WITHOUT)).unwrap();
        site.write(CONFIG, &without).unwrap();
        let _daemon = site.start(&place.scene.topology.edge).unwrap();
        assert!(!place.is_blocked(FIRST));
        site.write(CONFIG, &with).unwrap();
        place.gives(Answer::status("503 Service Unavailable"));
        let failed = place.ask(&["fetch"]);
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(failed.stdout.contains("503"), "{failed:?}");
        place.gives(Answer::file(format!("{FIRST}\n"), "\"1\""));
        let done = place.ask(command);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(place.is_blocked(FIRST), "{command:?}");
    }
}
