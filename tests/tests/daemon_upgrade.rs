//! Another daemon put in place of the running one while a storm goes on: the same layout of maps with
//! another program, larger flow tables, and a layout with another number.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use aya::maps::MapInfo;
use schoolgate_tests::lab::client::{Ended, client_hello, connect, ended_by, middle_of_name};
use schoolgate_tests::lab::daemon::{
    CONFIG, Daemon, program_abi_next, program_or_skip, program_tag_next,
};
use schoolgate_tests::lab::scene::{ALLOWED, BELOW, EXACT, ORGANISATION, Scene, config};
use schoolgate_tests::lab::storm::{Storm, Tally};
use schoolgate_tests::lab::topology::SERVER4;
use schoolgate_tests::lab::{skip, stream, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const NOTHING: Vec<String> = Vec::new();

/// A storm over daemons that follow each other, each killed before the next one starts. Gives what
/// became of its connections; that none leaked has been seen to.
fn storm_over(scene: &Scene, daemons: &[&Path]) -> anyhow::Result<Tally> {
    let storm = Storm::start(&scene.topology.school, &scene.authority, &scene.plan())?;
    for program in daemons {
        let daemon = scene.site.start_program(&scene.topology.edge, program)?;
        storm.go_on(60, 40, LIMIT)?;
        daemon.kill();
        storm.go_on(20, 10, LIMIT)?;
    }
    let tally = storm.end();
    assert_eq!(tally.leaked, NOTHING);
    assert_eq!(scene.leaks(&[EXACT, BELOW])?, NOTHING);
    Ok(tally)
}

fn abi(scene: &Scene) -> u64 {
    let status = scene.site.ask_json(&scene.topology.edge, &["status"]);
    let status = status.unwrap_or_else(|error| panic!("{error:#}"));
    status
        .get("abi")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_default()
}

#[test]
fn larger_flow_tables_take_the_flows_over() {
    let Some(program) = program_or_skip("daemon_upgrade") else {
        return;
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    daemon.kill();
    let tally = {
        let larger = config(&scene.site).replace("[daemon]\n", "[daemon]\nflows = 524288\n");
        scene.site.write(CONFIG, &larger).unwrap();
        storm_over(&scene, &[&program]).unwrap()
    };
    assert_eq!(tally.failed, vec![], "flows of the same layout are kept");
}

#[test]
fn next_layout_is_put_in_place_and_taken_back_without_a_leak() {
    let Some(program) = program_or_skip("daemon_upgrade") else {
        return;
    };
    let Some(next) = program_abi_next() else {
        return skip(
            "daemon_upgrade",
            "no daemon with the next layout: run `cargo xtask build --abi-next`",
        );
    };
    let (scene, daemon) = Scene::start(&program).unwrap();
    let before = abi(&scene);
    daemon.kill();
    let upgraded = scene
        .site
        .start_program(&scene.topology.edge, &next)
        .unwrap();
    assert_ne!(abi(&scene), before, "the other daemon has another layout");
    upgraded.kill();
    let tally = storm_over(&scene, &[&program, &next, &program, &next]).unwrap();
    // Unfinished flows are reset in a change of layout: each of the storm's senders has at most one.
    assert!(tally.failed.len() <= 4 * 6, "{:?}", tally.failed);
    assert!(
        tally.failed.iter().all(|(_, how)| how.ends_with("Reset")),
        "{:?}",
        tally.failed
    );
}

/// A connection of the school whose ClientHello ends in the middle of its name.
struct Unfinished {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Unfinished {
    /// Sends the first part, and waits until the server's side has it.
    fn start(scene: &Scene, name: &str) -> anyhow::Result<Unfinished> {
        let hello = client_hello(&scene.authority, name)?;
        let cut = middle_of_name(&hello, name).unwrap_or_default();
        let (first, rest) = hello.split_at(cut);
        let to = SocketAddr::new(SERVER4.into(), 443);
        let mut stream = scene.topology.school.enter(|| connect(to, LIMIT))??;
        stream.write_all(first)?;
        let from = stream.local_addr()?;
        let arrived = || {
            let frames = scene.capture.frames();
            let mut segments = frames.iter().filter_map(|f| stream::segment(&f.bytes));
            segments.any(|segment| segment.from == from && segment.payload == first)
        };
        wait::until_true("the first part of a hello", LIMIT, arrived)?;
        let rest = rest.to_vec();
        Ok(Unfinished { stream, rest })
    }

    /// Sends the rest, and reads how it ends: a page is whatever the server answers.
    fn finish(mut self) -> Ended {
        let mut answer = [0; 1];
        let sent = self.stream.write_all(&self.rest);
        let ended = sent.and_then(|()| self.stream.read_exact(&mut answer));
        ended.map_or_else(|error| ended_by(&error), |()| Ended::Page(String::new()))
    }
}

/// What is in force: the program and what it stands on.
#[derive(Debug, PartialEq, Eq)]
struct InForce {
    tag: String,
    /// The program's number in the kernel, as pinned, and as each interface's link runs it.
    program: u64,
    running: Vec<u64>,
    links: Vec<u64>,
    generation: u64,
    /// The kernel's numbers of the pinned maps.
    maps: BTreeMap<String, u32>,
}

impl InForce {
    fn now(scene: &Scene) -> anyhow::Result<InForce> {
        let status = scene.site.ask_json(&scene.topology.edge, &["status"])?;
        let number = |at: &Value, name: &str| at.get(name).and_then(Value::as_u64).unwrap_or(0);
        let program = status.get("program").cloned().unwrap_or_default();
        let interfaces = status.get("interfaces").and_then(Value::as_array);
        let each = |name| {
            let interfaces = interfaces.into_iter().flatten();
            interfaces.map(|one| number(one, name)).collect()
        };
        let generation = number(&program, "generation");
        let mut maps = BTreeMap::new();
        let directory = scene.site.pins().join(format!("gen-{generation}"));
        for pin in std::fs::read_dir(directory)? {
            let pin = pin?;
            let name = pin.file_name().to_string_lossy().into_owned();
            if name != "program" {
                maps.insert(name, MapInfo::from_pin(pin.path())?.id());
            }
        }
        Ok(InForce {
            tag: program.get("tag").map(Value::to_string).unwrap_or_default(),
            program: number(&program, "id"),
            running: each("program"),
            links: each("link"),
            generation,
            maps,
        })
    }
}

/// Kills `old` and starts `next`, whose program has another tag, while hellos are cut in the middle of
/// their names. They go on where they were, and so does the counting.
fn replace_program(scene: &Scene, old: Daemon, next: &Path) -> anyhow::Result<Daemon> {
    let edge = &scene.topology.edge;
    let before = InForce::now(scene)?;
    let allowed = Unfinished::start(scene, ALLOWED)?;
    let blocked = [
        Unfinished::start(scene, EXACT)?,
        Unfinished::start(scene, BELOW)?,
    ];
    let counts = scene.site.counts(edge, ORGANISATION)?;
    old.kill();
    let daemon = scene.site.start_program(edge, next)?;
    let after = InForce::now(scene)?;
    for unfinished in blocked {
        assert_eq!(unfinished.finish(), Ended::Reset);
    }
    assert_eq!(allowed.finish(), Ended::Page(String::new()));
    let went_on = scene.site.counts(edge, ORGANISATION)?;
    for (reason, count) in counts {
        assert!(
            went_on.get(&reason) >= Some(&count),
            "{reason} started over"
        );
    }
    assert_ne!((&after.tag, after.program), (&before.tag, before.program));
    assert_eq!(
        after.running, [after.program; 2],
        "each link runs the new program"
    );
    assert_eq!(
        (&after.links, after.generation, &after.maps),
        (&before.links, before.generation, &before.maps),
        "links and maps are the same ones"
    );
    assert!(after.maps.contains_key("FLOWS") && after.maps.contains_key("HELLOS"));
    Ok(daemon)
}

#[test]
fn another_program_of_the_same_layout_goes_on_with_the_same_flows() {
    let Some(program) = program_or_skip("daemon_upgrade") else {
        return;
    };
    let Some(next) = program_tag_next() else {
        return skip(
            "daemon_upgrade",
            "no daemon with another program tag: run `cargo xtask build --tag-next`",
        );
    };
    let (scene, mut daemon) = Scene::start(&program).unwrap();
    let storm = Storm::start(&scene.topology.school, &scene.authority, &scene.plan()).unwrap();
    for program in [&next, &program, &next, &program] {
        storm.go_on(30, 20, LIMIT).unwrap();
        daemon = replace_program(&scene, daemon, program).unwrap();
    }
    storm.go_on(60, 40, LIMIT).unwrap();
    let tally = storm.end();
    assert_eq!((&tally.leaked, &tally.failed), (&NOTHING, &vec![]));
    assert_eq!(scene.leaks(&[EXACT, BELOW]).unwrap(), NOTHING);
    daemon.kill();
}
