//! Policies that change without a reload: a bypass given through the control socket, and a schedule's
//! boundary, met by real clients; and how long both take with forty thousand organisations.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use schoolgate_tests::lab::client::Ended;
use schoolgate_tests::lab::daemon::Site;
use schoolgate_tests::lab::daemon::{CONFIG, program_or_skip};
use schoolgate_tests::lab::namespace::Namespace;
use schoolgate_tests::lab::scene::{EXACT, ORGANISATION, SHOPS_CONFIG, Scene, config};
use schoolgate_tests::lab::topology::{SCHOOL4, SERVER4, SERVER6};

/// Longest wait for a boundary, which is never more than 75 seconds away.
const PATIENCE: Duration = Duration::from_secs(120);
const SHOP: &str = "shop.example";

/// Schedules in UTC whose only range begins with the first minute that is at least 15 seconds away.
fn soon(profile: &str) -> String {
    let begin = Timestamp::now() + SignedDuration::from_secs(75);
    let clock = begin.strftime("%H:%M");
    let end = (begin + SignedDuration::from_hours(6))
        .strftime("%H:%M")
        .to_string();
    format!(
        "[[schedules]]\nid = \"soon\"\nranges = [{{ from = \"{clock}\", to = \"{end}\", profile = \"{profile}\" }}]\n"
    )
}

fn scene(schedule: &str, more: &str) -> Option<Scene> {
    let program = program_or_skip("daemon_policy")?;
    let scene = Scene::new(&program).unwrap_or_else(|error| panic!("{error:#}"));
    let text = config(&scene.site).replace(
        "profile = \"pupils\"",
        &format!("profile = \"pupils\"\n{schedule}"),
    );
    let text = text.replace("[daemon]", "[daemon]\ngauge_seconds = 1");
    let text = text.replace("age = 12", "age = 12\nblock = [\"shopping\"]") + SHOPS_CONFIG + more;
    let written = (scene.site.write(CONFIG, &text))
        .and_then(|()| scene.site.write("shops.txt", "shop.example\n"));
    written.unwrap_or_else(|error| panic!("{error:#}"));
    Some(scene)
}

#[test]
fn a_bypass_lifts_all_but_what_is_unlawful_and_outlives_a_restart() {
    let Some(scene) = scene("", "") else { return };
    let edge = &scene.topology.edge;
    let fetch = |name| {
        scene
            .fetch(&scene.topology.school, SERVER4.into(), name)
            .unwrap()
    };
    let daemon = scene.site.start(edge).unwrap();
    assert_eq!(fetch(SHOP), Ended::Reset);
    let ask = |arguments: &[&str]| scene.site.ask_daemon(edge, arguments).unwrap();
    let unreasoned = ask(&["bypass", ORGANISATION, "--for", "10m", "--reason", " "]);
    assert_eq!(unreasoned.code, Some(1), "{unreasoned:?}");
    assert_eq!(
        ask(&["bypass", "nobody", "--for", "10m", "--reason", "x"]).code,
        Some(1)
    );
    assert_eq!(fetch(SHOP), Ended::Reset);
    let given = ask(&[
        "bypass",
        ORGANISATION,
        "--for",
        "10m",
        "--reason",
        "a lesson",
    ]);
    assert_eq!(given.code, Some(0), "{given:?}");
    assert!(fetch(SHOP).is_page_of(SHOP));
    assert_eq!(fetch(EXACT), Ended::Reset, "the unified registry stays");
    assert!(ask(&["status"]).stdout.contains("a lesson"));
    daemon.kill();
    assert!(fetch(SHOP).is_page_of(SHOP), "without a daemon");
    let _daemon = scene.site.start(edge).unwrap();
    assert!(fetch(SHOP).is_page_of(SHOP), "after a restart");
    assert_eq!(ask(&["reload", "--wait"]).code, Some(0));
    assert!(fetch(SHOP).is_page_of(SHOP), "after a reload");
    assert_eq!(ask(&["bypass", ORGANISATION, "--end"]).code, Some(0));
    assert_eq!(fetch(SHOP), Ended::Reset);
    assert_eq!(
        ask(&["bypass", ORGANISATION, "--end"]).code,
        Some(1),
        "none is left"
    );
    let state = scene.site.path("state").join("journal.jsonl");
    let journal = std::fs::read_to_string(&state).unwrap();
    let lines: Vec<serde_json::Value> = journal
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let actions: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["action"].as_str())
        .collect();
    let wanted = ["load", "bypass", "load", "load", "bypass_end"];
    let actions: Vec<&&str> = actions.iter().filter(|it| wanted.contains(it)).collect();
    assert_eq!(actions, wanted.each_ref(), "{journal}");
    let given = lines.iter().find(|line| line["action"] == "bypass");
    let given = given.unwrap();
    assert_eq!(given["actor"], "uid 0");
    let detail = &given["detail"];
    assert_eq!(detail["organisation"], ORGANISATION);
    assert_eq!(detail["reason"], "a lesson");
}

#[test]
fn a_boundary_changes_the_policy_without_a_reload() {
    let more = format!("{}[[profiles]]\nid = \"free\"\nage = 18\n", soon("free"));
    let Some(scene) = scene("schedule = \"soon\"", &more) else {
        return;
    };
    let fetch = |name| {
        scene
            .fetch(&scene.topology.school, SERVER4.into(), name)
            .unwrap()
    };
    let _daemon = scene.site.start(&scene.topology.edge).unwrap();
    assert_eq!(fetch(SHOP), Ended::Reset);
    let begun = Instant::now();
    while fetch(SHOP) == Ended::Reset {
        assert!(begun.elapsed() < PATIENCE, "the range never began");
        sleep(Duration::from_millis(500));
    }
    assert!(fetch(SHOP).is_page_of(SHOP));
    assert_eq!(fetch(EXACT), Ended::Reset);
    // What the clock changed is what the gauge expects.
    sleep(Duration::from_secs(2));
    let edge = &scene.topology.edge;
    let told = scene.site.ask_daemon(edge, &["status"]).unwrap();
    assert!(told.stdout.contains("never a difference"), "{told:?}");
    assert!(fetch(SHOP).is_page_of(SHOP));
}

#[test]
fn a_segment_has_a_profile_and_counters_of_its_own() {
    let segment = format!(
        "[[organisations.segments]]\nid = \"lab\"\nprefixes = [\"{SCHOOL4}/32\"]\nprofile = \"free\"\n"
    );
    let Some(scene) = scene(&segment, "[[profiles]]\nid = \"free\"\nage = 18\n") else {
        return;
    };
    let edge = &scene.topology.edge;
    let _daemon = scene.site.start(edge).unwrap();
    let fetch = |to: IpAddr, name| scene.fetch(&scene.topology.school, to, name).unwrap();
    assert!(fetch(SERVER4.into(), SHOP).is_page_of(SHOP), "the segment");
    assert_eq!(fetch(SERVER4.into(), EXACT), Ended::Reset);
    assert_eq!(
        fetch(SERVER6.into(), SHOP),
        Ended::Reset,
        "what no segment takes"
    );
    let stats = |org: &str| {
        let told = scene.site.ask_json(edge, &["stats", "--org", org]).unwrap();
        told["organisations"][0].clone()
    };
    let count = |of: &serde_json::Value, reason: &str| of["reasons"][reason].as_u64().unwrap_or(0);
    let lab = format!("{ORGANISATION}/lab");
    let (whole, part) = (stats(ORGANISATION), stats(&lab));
    assert_eq!(
        (&whole["org"], &part["org"]),
        (&ORGANISATION.into(), &lab.as_str().into())
    );
    assert_eq!(whole["segments"][0]["org"], part["org"]);
    assert_eq!(count(&part, "block_nsor_name"), 0, "{part}");
    assert!(count(&part, "block_unified_name") > 0, "{part}");
    assert!(count(&whole, "block_nsor_name") > 0, "{whole}");
    assert_eq!(
        count(&whole, "block_unified_name"),
        count(&part, "block_unified_name")
    );
}

/// Organisations beside the school: more than the maps of one profile have rows for policies.
const CROWD: u32 = 100;

/// One profile for everybody; or, if `apart`, one for each from the next boundary on, that of the school without
/// shops.
fn crowd(site: &Site, apart: bool) -> String {
    let mut text = config(site) + SHOPS_CONFIG;
    let all = ["games", "social", "malware", "proxy", "doh", "shopping"];
    let begins = soon("at-it");
    for number in 0..CROWD {
        let first = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + number * 64);
        let _ = writeln!(
            text,
            "[[organisations]]\nid = \"o{number}\"\nprefixes = [\"{first}/26\"]\nprofile = \"pupils\""
        );
        if apart {
            let of = (0..).zip(all).filter(|(bit, _)| number >> bit & 1 != 0);
            let of: Vec<String> = of.map(|(_, id)| format!("\"{id}\"")).collect();
            let age = if number < 64 { 16 } else { 18 };
            let schedule = begins.replace("at-it", &format!("p{number}"));
            let _ = writeln!(
                text,
                "schedule = \"s{number}\"\n[[profiles]]\nid = \"p{number}\"\nage = {age}\nblock = [{}]\n{}",
                of.join(", "),
                schedule.replace("\"soon\"", &format!("\"s{number}\""))
            );
        }
    }
    if apart {
        // p32 is that of one other organisation, and blocks shops alone.
        text = text.replacen(
            "profile = \"pupils\"",
            "profile = \"pupils\"\nschedule = \"s32\"",
            1,
        );
    }
    text
}

#[test]
fn a_boundary_with_more_policies_than_rows_makes_new_maps() {
    let Some(scene) = scene("", "") else { return };
    let edge = &scene.topology.edge;
    scene
        .site
        .write(CONFIG, &crowd(&scene.site, false))
        .unwrap();
    let daemon = scene.site.start(edge).unwrap();
    let school = &scene.topology.school;
    let fetch = |name| scene.fetch(school, SERVER4.into(), name).unwrap();
    let generation = || {
        let told = scene.site.ask_json(edge, &["status"]).unwrap();
        told["program"]["generation"].clone()
    };
    let first = generation();
    assert!(first.is_u64(), "{first}");
    scene.site.write(CONFIG, &crowd(&scene.site, true)).unwrap();
    scene.reload().unwrap();
    assert_eq!(generation(), first, "the load itself has room");
    assert!(fetch(SHOP).is_page_of(SHOP));
    let begun = Instant::now();
    while generation() == first {
        assert!(begun.elapsed() < PATIENCE, "no new maps");
        sleep(Duration::from_secs(1));
    }
    assert_eq!(fetch(SHOP), Ended::Reset);
    assert_eq!(fetch(EXACT), Ended::Reset);
    // What was made anew is what is meant: no gauge has to repair it.
    sleep(Duration::from_secs(2));
    let log = daemon.stop().unwrap().stderr;
    assert!(log.contains("schedule: "), "{log}");
    let journal = std::fs::read_to_string(scene.site.path("state/journal.jsonl")).unwrap();
    assert!(!journal.contains("\"repair\""), "{journal}");
}

/// Organisations and profiles of the large configuration.
const ORGANISATIONS: u32 = 40_000;
const PROFILES: u32 = 200;
/// Names on its list, which an edit leaves alone.
const NAMES: u32 = 1_000_000;

/// `PROFILES` profiles, none like another; the last one but one warns of `warned`.
fn large(site: &Site, warned: &str) -> String {
    let mut text = format!(
        "organisations_file = \"schools.csv\"\n[daemon]\n{}\n[[interfaces]]\nname = \"schools\"\n",
        site.settings()
    );
    let ages = [0, 6, 12, 16, 18];
    let categories = ["games", "social", "shopping", "malware", "proxy", "doh"];
    for number in 0..PROFILES {
        let age = ages
            .get(number as usize % ages.len())
            .copied()
            .unwrap_or(18);
        let named = (0..)
            .zip(categories)
            .filter(|(bit, _)| (number / 5) >> bit & 1 != 0);
        let named: Vec<String> = named.map(|(_, id)| format!("\"{id}\"")).collect();
        let warn = if number == PROFILES - 2 { warned } else { "" };
        let _ = writeln!(
            text,
            "[[profiles]]\nid = \"p{number}\"\nage = {age}\nblock = [{}]\nwarn = [{warn}]",
            named.join(", ")
        );
    }
    text.push_str("[[registries]]\nid = \"law\"\ntier = \"unified\"\nformat = \"domains\"\n");
    text.push_str("semantics = \"suffix\"\npath = \"names.txt\"\n");
    text + &soon("p199")
}

fn schools() -> String {
    let mut text = "id,name,prefixes,profile,schedule\n".to_owned();
    for number in 0..ORGANISATIONS {
        let first = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + number * 64);
        // The profile of the range is nobody's own, so that the boundary changes everybody.
        let profile = number % (PROFILES - 1);
        let _ = writeln!(
            text,
            "school-{number},School {number},{first}/26,p{profile},soon"
        );
    }
    text
}

#[test]
fn forty_thousand_organisations_follow_an_edit_and_a_boundary() {
    let Some(program) = program_or_skip("daemon_policy") else {
        return;
    };
    let edge = Namespace::new("policy").unwrap();
    edge.ip("link add schools type veth peer name far").unwrap();
    for link in ["schools", "far"] {
        edge.ip(&format!("link set {link} up")).unwrap();
    }
    let site = Site::new(&program).unwrap();
    site.write(CONFIG, &large(&site, "")).unwrap();
    site.write("schools.csv", &schools()).unwrap();
    let names: String = (0..NAMES)
        .map(|number| format!("d{number}.bulk.example\n"))
        .collect();
    site.write("names.txt", &names).unwrap();
    let daemon = site.start(&edge).unwrap();
    site.write(CONFIG, &large(&site, "\"doh\"")).unwrap();
    let begun = Instant::now();
    let told = site.ask_daemon(&edge, &["reload", "--wait"]).unwrap();
    println!(
        "policy edit: {} ms; {}",
        begun.elapsed().as_millis(),
        told.stdout.trim()
    );
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("organisations +0 ~201 -0"), "{told:?}");
    let profile = || {
        let asked = ["explain", "a.example", "--org", "school-7", "--json"];
        let told = site.ask_daemon(&edge, &asked).unwrap().stdout;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        told["profile"].as_str().unwrap().to_owned()
    };
    let begun = Instant::now();
    while profile() != "p199" {
        assert!(begun.elapsed() < PATIENCE, "the range never began");
        sleep(Duration::from_secs(1));
    }
    sleep(Duration::from_secs(2));
    let log = daemon.stop().unwrap().stderr;
    let line = log.lines().find(|line| line.contains("schedule: "));
    println!("{}", line.unwrap_or("no boundary"));
    assert!(log.contains("schedule: 40000 organisations"), "{log}");
}
