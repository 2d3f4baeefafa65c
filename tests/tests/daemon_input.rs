//! What the daemon is given: broken files are refused with file and line and change nothing, and the
//! commands answer with what they promise.

use std::net::IpAddr;

use schoolgate_tests::lab::client::Ended;
use schoolgate_tests::lab::daemon::{CONFIG, growth, program_or_skip};
use schoolgate_tests::lab::process::Finished;
use schoolgate_tests::lab::scene::{
    ALLOWED, BELOW, EXACT, ORGANISATION, REGISTRY, REGISTRY_TEXT, Scene, config,
};
use schoolgate_tests::lab::topology::SERVER4;
use serde_json::Value;

const SERVER: IpAddr = IpAddr::V4(SERVER4);

/// What is wrong with a file: the text that is replaced, by what, and what the message must hold.
type Fault = (&'static str, &'static str, &'static str);

const CONFIG_FAULTS: &[Fault] = &[
    (
        "syn_limit = 1000000",
        "syn_limit = = 1",
        "schoolgate.toml:4:",
    ),
    (
        "syn_limit = 1000000",
        "syn_limt = 1",
        "schoolgate.toml:4: [daemon] unknown key syn_limt",
    ),
    (
        "tier = \"unified\"",
        "tier = \"unifed\"",
        "schoolgate.toml:16: [[registries]] tier",
    ),
    ("path = \"law.txt\"", "path = \"lost.txt\"", "lost.txt"),
    (
        "profile = \"pupils\"",
        "profile = \"pupil\"",
        "unknown profile \"pupil\"",
    ),
    ("\"192.0.2.0/28\"", "\"192.0.2.1/28\"", "has host bits set"),
    (
        "\"192.0.2.0/28\"",
        "\"192.0.0.0/19\"",
        "enrols 8192 IPv4 addresses",
    ),
    ("\"2001:db8:100::/48\"", "\"2001:db8::/32\"", "a /40"),
];

const SECOND_SCHOOL: &str = r#"
[[organisations]]
id = "school-2"
prefixes = ["192.0.2.8/29"]
profile = "pupils"
"#;

fn said(answer: &Finished) -> String {
    format!("{}{}", answer.stdout, answer.stderr)
}

/// Line on which `part` stands in `text`, counted from 1.
fn line_of(text: &str, part: &str) -> usize {
    text.lines()
        .position(|line| line.contains(part))
        .map_or(0, |at| at + 1)
}

fn assert_in_force(scene: &Scene, when: &str) {
    let fetch = |name| scene.fetch(&scene.topology.school, SERVER, name);
    let blocked = fetch(EXACT).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(blocked, Ended::Reset, "{when}");
    let allowed = fetch(ALLOWED).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(allowed.is_page_of(ALLOWED), "{when}: {allowed:?}");
}

#[test]
fn broken_configurations_are_refused_by_line_and_what_was_in_force_stays() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let edge = &scene.topology.edge;
    let good = config(&scene.site);
    for (part, fault, wanted) in CONFIG_FAULTS {
        assert!(good.contains(part), "{part}");
        scene
            .site
            .write(CONFIG, &good.replace(part, fault))
            .unwrap();
        let checked = scene.site.ask(edge, &["check"]).unwrap();
        let reloaded = scene.site.ask_daemon(edge, &["reload", "--wait"]).unwrap();
        for answer in [checked, reloaded] {
            assert_eq!(answer.code, Some(1), "{fault}: {answer:?}");
            assert!(said(&answer).contains(wanted), "{fault}: {answer:?}");
        }
        assert_in_force(&scene, fault);
    }
    let status = scene.site.ask_daemon(edge, &["status"]).unwrap();
    assert_eq!(status.code, Some(1), "the last reload failed: {status:?}");
    scene.site.write(CONFIG, &good).unwrap();
    let answer = scene.site.ask(edge, &["reload", "--wait"]).unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let status = scene.site.ask(edge, &["status"]).unwrap();
    assert_eq!(status.code, Some(0), "{status:?}");
}

#[test]
fn overlapping_organisations_are_refused_by_line() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let text = config(&scene.site) + SECOND_SCHOOL;
    scene.site.write(CONFIG, &text).unwrap();
    let line = line_of(&text, "school-2") - 1;
    let answer = scene
        .site
        .ask(&scene.topology.edge, &["reload", "--wait"])
        .unwrap();
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let wanted = format!("{CONFIG}:{line}:");
    assert!(said(&answer).contains(&wanted), "{wanted}: {answer:?}");
    assert!(
        said(&answer).contains("overlaps 192.0.2.0/28"),
        "{answer:?}"
    );
    assert_in_force(&scene, "overlap");
}

#[test]
fn broken_registries_are_refused_by_line_and_what_was_in_force_stays() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let edge = &scene.topology.edge;
    let rubbish = "no name here\n".repeat(5);
    let names = format!("{REGISTRY_TEXT}{rubbish}");
    for (text, wanted) in [
        (names.as_str(), "law.txt:7:"),
        ("", "is empty"),
        ("\0\u{1}", "law.txt"),
    ] {
        scene.site.write(REGISTRY, text).unwrap();
        let answer = scene.site.ask(edge, &["reload", "--wait"]).unwrap();
        assert_eq!(answer.code, Some(1), "{text:?}: {answer:?}");
        assert!(said(&answer).contains(wanted), "{text:?}: {answer:?}");
        assert_in_force(&scene, wanted);
    }
    std::fs::remove_file(scene.site.path(REGISTRY)).unwrap();
    let answer = scene.site.ask(edge, &["reload", "--wait"]).unwrap();
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_in_force(&scene, "a lost file");
}

#[test]
fn a_few_bad_lines_are_left_out_and_told_by_line() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let many: String = (0..40)
        .map(|number| format!("site-{number}.example\n"))
        .collect();
    let text = format!("{many}no name here\n{REGISTRY_TEXT}");
    scene.site.write(REGISTRY, &text).unwrap();
    let answer = scene
        .site
        .ask(&scene.topology.edge, &["reload", "--wait"])
        .unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let checked = scene.site.ask(&scene.topology.edge, &["check"]).unwrap();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(said(&checked).contains("law.txt:41:"), "{checked:?}");
    let ended = scene
        .fetch(&scene.topology.school, SERVER, "site-39.example")
        .unwrap();
    assert_eq!(ended, Ended::Reset);
    assert_in_force(&scene, "a bad line");
}

#[test]
fn broken_files_at_the_start_leave_what_an_earlier_daemon_pinned() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    daemon.kill();
    scene
        .site
        .write(
            CONFIG,
            &config(&scene.site).replace("pupils\"\nage", "pupils\"\nages"),
        )
        .unwrap();
    let refused = scene.site.ask(&scene.topology.edge, &["run"]).unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_in_force(&scene, "a broken configuration at the start");
    scene.site.write(CONFIG, &config(&scene.site)).unwrap();
    scene.site.write(REGISTRY, "no name here\n").unwrap();
    let daemon = scene.site.start(&scene.topology.edge).unwrap();
    assert_in_force(&scene, "a broken registry at the start");
    scene.site.write(REGISTRY, REGISTRY_TEXT).unwrap();
    let answer = scene
        .site
        .ask(&scene.topology.edge, &["reload", "--wait"])
        .unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_in_force(&scene, "mended");
    drop(daemon);
}

#[test]
fn explain_names_the_winning_entry_with_its_list_and_line() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let edge = &scene.topology.edge;
    for (subject, verdict, reason, line) in [
        (EXACT, "block", "block_unified_name", 2),
        (BELOW, "block", "block_unified_name", 3),
        ("203.0.113.66", "block", "block_unified_address", 4),
        ("203.0.113.130", "block", "block_unified_address", 5),
        ("2001:db8:dead::1", "block", "block_unified_address", 6),
    ] {
        let question = ["explain", subject, "--org", ORGANISATION, "--json"];
        for answer in [
            scene.site.ask(edge, &question),
            scene.site.ask_daemon(edge, &question),
        ] {
            let answer = answer.unwrap();
            assert_eq!(answer.code, Some(0), "{answer:?}");
            let told: Value = serde_json::from_str(&answer.stdout).unwrap();
            assert_eq!(
                (&told["verdict"], &told["reason"]),
                (&verdict.into(), &reason.into())
            );
            let entries = told["entries"].as_array().unwrap();
            let winner = entries.iter().find(|entry| entry["wins"] == true).unwrap();
            assert_eq!(winner["line"], line, "{told}");
            assert_eq!(winner["list"], "law", "{told}");
        }
    }
    let question = ["explain", ALLOWED, "--org", ORGANISATION, "--exit-code"];
    assert_eq!(scene.site.ask(edge, &question).unwrap().code, Some(0));
    let question = ["explain", EXACT, "--org", ORGANISATION, "--exit-code"];
    assert_eq!(scene.site.ask(edge, &question).unwrap().code, Some(1));
    let question = ["explain", EXACT, "--org", "nobody"];
    assert_eq!(
        scene.site.ask_daemon(edge, &question).unwrap().code,
        Some(1)
    );
}

#[test]
fn stats_count_one_reason_a_packet_and_nothing_for_the_neighbour() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let edge = &scene.topology.edge;
    let counts = || scene.site.counts(edge, ORGANISATION).unwrap();
    let untouched = || {
        scene.site.ask_json(edge, &["stats"]).unwrap()["untouched"]
            .as_u64()
            .unwrap()
    };
    let (before, others) = (counts(), untouched());
    let ended = scene.fetch(&scene.topology.school, SERVER, EXACT).unwrap();
    assert_eq!(ended, Ended::Reset);
    let grown = growth(&before, &counts());
    // A SYN, the handshake's last ACK, the ClientHello.
    let wanted = [
        ("block_unified_name", 1),
        ("pass_no_payload", 1),
        ("pass_syn", 1),
    ];
    assert_eq!(
        grown,
        wanted
            .map(|(reason, count)| (reason.to_owned(), count))
            .into()
    );
    let before = counts();
    let ended = scene
        .fetch(&scene.topology.neighbour, SERVER, EXACT)
        .unwrap();
    assert!(ended.is_page_of(EXACT), "{ended:?}");
    assert_eq!(growth(&before, &counts()), [].into());
    assert!(
        untouched() >= others + 6,
        "others' packets are told in total only"
    );
}

#[test]
fn status_tells_interfaces_program_and_registries() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let (scene, mut daemon) = Scene::start(&program).unwrap();
    let status = scene
        .site
        .ask_json(&scene.topology.edge, &["status"])
        .unwrap();
    assert_eq!(status["state"], "in_force");
    assert_eq!(status["pid"], daemon.process().id());
    assert_eq!(status["enrolled"]["organisations"], 1);
    // Four of the lists, and the four canary names.
    assert_eq!(
        (&status["subjects"], &status["prefixes"]),
        (&8.into(), &1.into()),
        "{status}"
    );
    let interfaces = status["interfaces"].as_array().unwrap();
    let modes: Vec<_> = interfaces
        .iter()
        .map(|one| (&one["name"], &one["mode"]))
        .collect();
    let native = Value::from("native");
    assert_eq!(
        modes,
        [
            (&"neighbour0".into(), &native),
            (&"school0".into(), &native)
        ]
    );
    let programs: Vec<_> = interfaces.iter().map(|one| &one["program"]).collect();
    assert!(
        programs.iter().all(|one| **one == status["program"]["id"]),
        "{status}"
    );
    assert_eq!(status["registries"][0]["id"], "law", "{status}");
}

#[test]
fn commands_end_with_the_codes_that_are_promised() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let scene = Scene::new(&program).unwrap();
    let edge = &scene.topology.edge;
    let code = |arguments: &[&str]| scene.site.ask(edge, arguments).unwrap().code;
    assert_eq!(code(&["check"]), Some(0));
    assert_eq!(code(&["chekc"]), Some(2), "not understood");
    assert_eq!(code(&["explain"]), Some(2), "no name");
    for command in ["status", "stats", "reload"] {
        assert_eq!(code(&[command]), Some(3), "{command} without a daemon");
    }
    assert_eq!(code(&["detach"]), Some(0), "nothing to detach");
    let daemon = scene.site.start(edge).unwrap();
    assert_eq!(
        code(&["run"]),
        Some(1),
        "a second daemon in the same directory"
    );
    assert_in_force(&scene, "a second daemon");
    drop(daemon);
}

#[test]
fn check_tells_all_problems_at_once_in_json_too() {
    let Some(program) = program_or_skip("daemon_input") else {
        return;
    };
    let scene = Scene::new(&program).unwrap();
    let text = config(&scene.site)
        .replace("syn_limit", "syn_limt")
        .replace("age = 12", "age = 13");
    scene.site.write(CONFIG, &text).unwrap();
    let answer = scene
        .site
        .ask(&scene.topology.edge, &["check", "--json"])
        .unwrap();
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let told: Value = serde_json::from_str(&answer.stdout).unwrap();
    let problems = told["problems"].as_array().unwrap();
    let lines: Vec<_> = problems
        .iter()
        .map(|one| one["line"].as_u64().unwrap())
        .collect();
    let wanted = ["syn_limt", "age = 13"].map(|part| line_of(&text, part) as u64);
    assert_eq!(lines, wanted, "{told}");
    let file = scene.site.path(CONFIG).display().to_string();
    assert!(problems.iter().all(|one| one["file"] == file), "{told}");
}
