//! QUIC between a stock client and a stock server through the attached filter: what the daemon reads, and
//! what becomes of it without the daemon.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use schoolgate_tests::lab::daemon::{CONFIG, Daemon, program_or_skip};
use schoolgate_tests::lab::quic::{Ended, Quic};
use schoolgate_tests::lab::scene::{ALLOWED, EXACT, ORGANISATION, Scene, config};
use schoolgate_tests::lab::topology::{
    EDGE_INTERNET, LISTED4, NEIGHBOUR4, SCHOOL4, SCHOOL6, SERVER4, SERVER6,
};
use schoolgate_tests::lab::{patience, wait};

const LIMIT: Duration = Duration::from_secs(60);
/// Longer than a connection takes, with a packet that is sent again.
const WAIT: Duration = Duration::from_secs(8);
const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];

fn ask(quic: &Quic, scene: &Scene, to: IpAddr, name: &str) -> Ended {
    let to = SocketAddr::new(to, 443);
    let school = &scene.topology.school;
    quic.ask(school, to, name, &scene.authority, patience(WAIT))
        .unwrap()
}

/// The daemon, and a server of QUIC on the internet's side.
fn serving(program: &Path) -> (Scene, Daemon, Quic) {
    let (scene, daemon) = Scene::start(program).unwrap();
    let quic = Quic::new().unwrap();
    quic.serve(&scene.topology.internet, 443, &scene.authority, ALLOWED)
        .unwrap();
    (scene, daemon, quic)
}

/// Names that the server completed a connection for, asked for by the school.
fn of_school(quic: &Quic) -> Vec<String> {
    let school = [IpAddr::from(SCHOOL4), IpAddr::from(SCHOOL6)];
    let completed = quic.completed().into_iter();
    completed
        .filter(|(client, _)| school.contains(client))
        .map(|(_, name)| name)
        .collect()
}

#[test]
fn names_are_read_and_who_is_stopped_is_told_at_once() {
    let Some(program) = program_or_skip("daemon_quic") else {
        return;
    };
    let (scene, _daemon, quic) = serving(&program);
    for to in SERVERS {
        assert_eq!(ask(&quic, &scene, to, ALLOWED), Ended::Answered, "{to}");
        assert_eq!(ask(&quic, &scene, to, EXACT), Ended::Negotiated, "{to}");
    }
    assert_eq!(
        ask(&quic, &scene, LISTED4.into(), ALLOWED),
        Ended::Negotiated
    );
    assert_eq!(of_school(&quic), [ALLOWED, ALLOWED]);
    let neighbour = &scene.topology.neighbour;
    let to = SocketAddr::new(LISTED4.into(), 443);
    let ended = quic
        .ask(neighbour, to, ALLOWED, &scene.authority, patience(WAIT))
        .unwrap();
    assert_eq!(ended, Ended::Answered, "the neighbour at a listed address");
    assert!(
        quic.completed()
            .contains(&(NEIGHBOUR4.into(), ALLOWED.to_owned()))
    );
    let counts = scene
        .site
        .counts(&scene.topology.edge, ORGANISATION)
        .unwrap();
    let count = |reason: &str| counts.get(reason).copied().unwrap_or(0);
    assert!(
        count("pass_quic_part") >= 4 && count("pass_quic_name") >= 2,
        "{counts:?}"
    );
    let status = scene
        .site
        .ask_json(&scene.topology.edge, &["status"])
        .unwrap();
    assert_eq!(status["quic"]["names"], 4, "{}", status["quic"]);
    assert_eq!(status["quic"]["stopped"], 2, "{}", status["quic"]);
}

#[test]
fn without_the_daemon_clients_are_told_to_use_tcp_and_the_next_daemon_reads_again() {
    let Some(program) = program_or_skip("daemon_quic") else {
        return;
    };
    let (scene, daemon, quic) = serving(&program);
    assert_eq!(ask(&quic, &scene, SERVER4.into(), ALLOWED), Ended::Answered);
    daemon.kill();
    let told = || {
        // Its promise to read lasts for half a second: who comes meanwhile gets no further than that.
        let ended = ask(&quic, &scene, SERVER4.into(), ALLOWED);
        assert_ne!(ended, Ended::Answered);
        ended == Ended::Negotiated
    };
    wait::until_true("clients are told", LIMIT, told).unwrap();
    assert_eq!(ask(&quic, &scene, SERVER6.into(), EXACT), Ended::Negotiated);
    assert_eq!(of_school(&quic), [ALLOWED]);
    let _daemon = scene.site.start(&scene.topology.edge).unwrap();
    assert_eq!(ask(&quic, &scene, SERVER4.into(), ALLOWED), Ended::Answered);
    assert_eq!(ask(&quic, &scene, SERVER4.into(), EXACT), Ended::Negotiated);
    assert_eq!(of_school(&quic), [ALLOWED, ALLOWED]);
}

#[test]
fn a_profile_turns_every_client_to_tcp_or_none() {
    let Some(program) = program_or_skip("daemon_quic") else {
        return;
    };
    let scene = Scene::new(&program).unwrap();
    let with = |word: &str| {
        config(&scene.site).replace("age = 12\n", &format!("age = 12\nquic = \"{word}\"\n"))
    };
    scene.site.write(CONFIG, &with("fallback")).unwrap();
    let daemon = scene.site.start(&scene.topology.edge).unwrap();
    let quic = Quic::new().unwrap();
    quic.serve(&scene.topology.internet, 443, &scene.authority, ALLOWED)
        .unwrap();
    for name in [ALLOWED, EXACT] {
        assert_eq!(
            ask(&quic, &scene, SERVER4.into(), name),
            Ended::Negotiated,
            "{name}"
        );
    }
    scene.site.write(CONFIG, &with("allow")).unwrap();
    scene.reload().unwrap();
    assert_eq!(ask(&quic, &scene, SERVER4.into(), ALLOWED), Ended::Answered);
    assert_eq!(
        ask(&quic, &scene, LISTED4.into(), ALLOWED),
        Ended::Negotiated
    );
    drop(daemon);
}

#[test]
fn a_stopped_flow_gets_nothing_from_its_server_where_the_internet_side_is_attached() {
    let Some(program) = program_or_skip("daemon_quic") else {
        return;
    };
    let scene = Scene::new(&program).unwrap();
    let internet = format!("\n[[interfaces]]\nname = \"{EDGE_INTERNET}\"\nside = \"internet\"\n");
    scene
        .site
        .write(CONFIG, &(config(&scene.site) + &internet))
        .unwrap();
    let _daemon = scene.site.start(&scene.topology.edge).unwrap();
    let quic = Quic::new().unwrap();
    quic.serve(&scene.topology.internet, 443, &scene.authority, ALLOWED)
        .unwrap();
    let count = |reason: &str| {
        let edge = &scene.topology.edge;
        let counts = scene.site.counts(edge, ORGANISATION).unwrap();
        counts.get(reason).copied().unwrap_or(0)
    };
    for to in SERVERS {
        assert_eq!(ask(&quic, &scene, to, ALLOWED), Ended::Answered, "{to}");
        assert!(count("pass_inward") > 0, "{to}");
        let before = count("refuse_inward");
        assert_eq!(ask(&quic, &scene, to, EXACT), Ended::Negotiated, "{to}");
        // The packet that completed the name passed, and its server answers it.
        let answered = || count("refuse_inward") > before;
        wait::until_true("the server's answer is stopped", LIMIT, answered).unwrap();
    }
    assert_eq!(of_school(&quic), [ALLOWED, ALLOWED]);
    // Nobody else's packets are counted or stopped.
    let neighbour = &scene.topology.neighbour;
    let to = SocketAddr::new(SERVER4.into(), 443);
    let before = (count("pass_inward"), count("refuse_inward"));
    let ended = quic
        .ask(neighbour, to, ALLOWED, &scene.authority, patience(WAIT))
        .unwrap();
    assert_eq!(ended, Ended::Answered, "the neighbour");
    assert_eq!(before, (count("pass_inward"), count("refuse_inward")));
}
