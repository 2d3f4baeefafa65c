//! Lists in the formats of other programs, and the education registry, before a running daemon: what they list
//! is stopped, `explain` and `registry` tell where it stands and what is not applied, and a broken one leaves
//! what was in force.

use std::net::IpAddr;

use anyhow::ensure;
use schoolgate_tests::lab::client::Ended;
use schoolgate_tests::lab::daemon::{CONFIG, Daemon, program_or_skip};
use schoolgate_tests::lab::process::Finished;
use schoolgate_tests::lab::scene::{ALLOWED, ORGANISATION, Scene, config};
use schoolgate_tests::lab::topology::SERVER4;
use serde_json::Value;

const SERVER: IpAddr = IpAddr::V4(SERVER4);

/// A registry: its file, its format with what belongs to it, its text, and a name that it stops.
type List = (&'static str, &'static str, &'static str, &'static str);

const LISTS: [List; 7] = [
    (
        "hosts.txt",
        "format = \"hosts\"",
        "127.0.0.1 localhost\n0.0.0.0 by-hosts.example\n",
        "by-hosts.example",
    ),
    (
        "adguard.txt",
        "format = \"adguard\"",
        "! list\n||by-adguard.example^\n||only.example^$client=192.0.2.7\n",
        "www.by-adguard.example",
    ),
    (
        "zone.rpz",
        "format = \"rpz\"",
        "$ORIGIN rpz.example.\n@ 60 SOA a. b. 1 2 3 4 5\nby-rpz.example CNAME .\n*.by-rpz.example CNAME .\n",
        "www.by-rpz.example",
    ),
    (
        "dnsmasq.conf",
        "format = \"dnsmasq\"",
        "address=/by-dnsmasq.example/other.example/#\n",
        "www.by-dnsmasq.example",
    ),
    (
        "unbound.conf",
        "format = \"unbound\"",
        "server:\nlocal-zone: \"by-unbound.example.\" always_nxdomain\n",
        "www.by-unbound.example",
    ),
    (
        "sets/data/all",
        "format = \"v2fly\"\nsets = [\"all\"]",
        "include:part @kept\n",
        "www.by-v2fly.example",
    ),
    (
        "ministry.csv",
        "format = \"education\"",
        "id;subject;type;categories;age;decision_date;decision_number;decision_body\n\
         E-1;by-ministry.example;suffix;drugs;18;2026-03-02;17;Body A\n",
        "www.by-ministry.example",
    ),
];

/// What is broken, how, and what is told of it.
const FAULTS: [(&str, &str, &str); 7] = [
    ("hosts.txt", "", "is empty"),
    ("adguard.txt", "\0\u{1}||x\n/x/\n", "adguard.txt:1:"),
    ("zone.rpz", "by-rpz.example CNAME\n", "zone.rpz:1:"),
    ("dnsmasq.conf", "server=8.8.8.8\n", "dnsmasq.conf:1:"),
    (
        "sets/data/part",
        "include:all\n",
        "part:1: all includes itself: all -> part -> all",
    ),
    (
        "ministry.csv",
        "id;subject;kind\n",
        "ministry.csv:1: unknown column \"kind\"",
    ),
    (
        "ministry.csv",
        "[{\"id\": \"1\",",
        "ministry.csv:1: no JSON array of records",
    ),
];

fn path(file: &str) -> &str {
    file.strip_suffix("/data/all").unwrap_or(file)
}

fn start() -> anyhow::Result<Option<(Scene, Daemon)>> {
    let Some(program) = program_or_skip("daemon_registries") else {
        return Ok(None);
    };
    let scene = Scene::new(&program)?;
    let mut text = config(&scene.site);
    std::fs::create_dir_all(scene.site.path("sets/data"))?;
    for (file, format, content, _) in LISTS {
        scene.site.write(file, content)?;
        let tier = if format.contains("education") {
            "nsor"
        } else {
            "unified"
        };
        let id = file.split(['.', '/']).next().unwrap_or(file);
        text += &format!(
            "\n[[registries]]\nid = \"{id}\"\ntier = \"{tier}\"\n{format}\npath = \"{}\"\nrejected_max_percent = 60\n",
            path(file)
        );
    }
    let part = "by-v2fly.example @kept\nother.example\n";
    scene.site.write("sets/data/part", part)?;
    scene.site.write(CONFIG, &text)?;
    let daemon = scene.site.start(&scene.topology.edge)?;
    Ok(Some((scene, daemon)))
}

fn check_in_force(scene: &Scene, when: &str) -> anyhow::Result<()> {
    for (_, _, _, name) in LISTS {
        let ended = scene.fetch(&scene.topology.school, SERVER, name)?;
        ensure!(ended == Ended::Reset, "{name} {when}: {ended:?}");
    }
    let allowed = scene.fetch(&scene.topology.school, SERVER, ALLOWED)?;
    ensure!(allowed.is_page_of(ALLOWED), "{when}: {allowed:?}");
    Ok(())
}

fn rows(answer: &Finished) -> anyhow::Result<Vec<Value>> {
    ensure!(answer.code == Some(0), "{answer:?}");
    let rows = answer.stdout.lines();
    Ok(rows.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[test]
fn lists_of_every_format_are_in_force_and_broken_ones_change_nothing() {
    let Some((scene, _daemon)) = start().unwrap() else {
        return;
    };
    let edge = &scene.topology.edge;
    check_in_force(&scene, "at the start").unwrap();
    for (file, fault, wanted) in FAULTS {
        let good = std::fs::read_to_string(scene.site.path(file)).unwrap();
        scene.site.write(file, fault).unwrap();
        let answer = scene.site.ask_daemon(edge, &["reload", "--wait"]).unwrap();
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert_eq!(answer.code, Some(1), "{fault:?}: {said}");
        assert!(said.contains(wanted), "{fault:?}: {said}");
        check_in_force(&scene, wanted).unwrap();
        scene.site.write(file, &good).unwrap();
    }
    let answer = scene.site.ask_daemon(edge, &["reload", "--wait"]).unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
    check_in_force(&scene, "mended").unwrap();
}

#[test]
fn what_is_loaded_and_what_is_not_applied_is_told() {
    let Some((scene, _daemon)) = start().unwrap() else {
        return;
    };
    let edge = &scene.topology.edge;
    let listed = scene
        .site
        .ask_daemon(edge, &["registry", "list", "--json"])
        .and_then(|answer| rows(&answer))
        .unwrap();
    let of = |id: &str| {
        listed
            .iter()
            .find(|row| row["id"] == id)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(listed.len(), LISTS.len() + 1, "with the scene's own");
    assert_eq!(of("adguard")["counts"]["rejected"], 1);
    assert_eq!(of("sets")["files"], 2);
    assert!(of("ministry")["modified"].as_u64() > Some(1_700_000_000));
    let told = scene
        .site
        .ask(edge, &["registry", "problems", "--json"])
        .and_then(|answer| rows(&answer))
        .unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["registry"], &told[0]["line"]),
        (&"adguard".into(), &3.into())
    );
    let question = [
        "explain",
        "www.by-ministry.example",
        "--org",
        ORGANISATION,
        "--json",
    ];
    let answer = scene.site.ask_daemon(edge, &question).unwrap();
    let told: Value = serde_json::from_str(&answer.stdout).unwrap();
    let entry = &told["entries"][0];
    assert_eq!(entry["decision"]["body"], "Body A", "{told}");
    assert_eq!(
        (&entry["list"], &entry["line"]),
        (&"ministry".into(), &2.into()),
        "{told}"
    );
    assert_eq!(
        entry["categories"],
        serde_json::json!(["drugs", "age_18"]),
        "{told}"
    );
}
