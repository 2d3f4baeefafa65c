//! Made-up lists in the shape of the known ones (`tests/data/registries`), with all that is kept and refused of
//! them, as it stands in the `.golden` file beside each. `SCHOOLGATE_GOLDEN=1` writes these anew, to be read before
//! they are committed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use filter_common::name::name_key;
use filter_common::url::{path_hash, url_key};

use super::*;
use crate::config::Config;
use crate::desired::address_key;
use crate::normalise::{Subject, subject};
use crate::problem::Problem;
use crate::registry::load::{KeptBefore, load};
use crate::registry::progress::Progress;
use crate::registry::{
    FileRecords, Listener, RECORD_SUFFIX, RECORD_URLS, Reading, Source, read_telling, specs,
};

const SEED: u64 = 11;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/registries")
}

fn config(format: &str, path: &str, rest: &str) -> Result<Config, Vec<Problem>> {
    let text = format!(
        "[[registries]]\nid = \"r\"\ntier = \"nsor\"\nformat = \"{format}\"\npath = \"{path}\"\n\
         categories = [\"games\"]\nrejected_max_percent = 100\n{rest}\n"
    );
    Config::from_text(&data().join("s.toml"), &text)
}

fn sources(format: &str, path: &str, rest: &str) -> Result<Vec<Source>, Vec<Problem>> {
    let config = config(format, path, rest)?;
    let loaded = load(&config, SEED, &[], &KeptBefore::new(), Progress::Quiet)?;
    Ok(loaded.sources)
}

/// What the keys of a file stand for: every subject that its rules name.
fn subjects(reading: &Reading) -> HashMap<u64, String> {
    let mut subjects = HashMap::new();
    let mut parser = Parser::new(&reading.syntax);
    let mut note = |_: u32, _: &str, told: Result<Rule<'_>, Refusal>| {
        let Ok(rule) = told else { return };
        let Ok(subject) = subject(rule.subject, reading.accept, reading.guards) else {
            return;
        };
        let (key, text) = match subject {
            Subject::Name { name, .. } => (name_key(SEED, name.as_bytes()), name.to_string()),
            Subject::Address(address) => (Some(address_key(SEED, address)), address.to_string()),
            Subject::Net(_) => return,
            Subject::Url { host, path, .. } => {
                let path = path.trim_end_matches('/');
                let path = if reading.bare_is_suffix {
                    path.to_owned()
                } else {
                    format!("{path}{}", if path.is_empty() { "/" } else { "" })
                };
                let host_key = name_key(SEED, host.as_bytes());
                let key = host_key.map(|key| url_key(key, path_hash(SEED, path.as_bytes())));
                (key, format!("http://{host}{path}"))
            }
        };
        subjects.insert(key.unwrap(), text);
    };
    let bytes = std::fs::read(&reading.path).unwrap();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        parser.line(number, line, &mut note);
    }
    parser.finish(&mut note);
    subjects
}

fn render(reading: &Reading, file: &FileRecords, problems: &[Problem]) -> String {
    let subjects = subjects(reading);
    let mut rows: Vec<(u32, String)> = Vec::new();
    for record in &file.records {
        if record.flags & RECORD_URLS != 0 {
            continue;
        }
        let subject = subjects.get(&record.key).expect("a record of no rule");
        let kind = if record.flags & RECORD_SUFFIX != 0 {
            "and below"
        } else {
            ""
        };
        rows.push((
            record.line,
            format!("{subject} {kind}").trim_end().to_owned(),
        ));
    }
    rows.extend(
        file.nets
            .iter()
            .map(|record| (record.line, record.net.to_string())),
    );
    rows.extend(
        problems
            .iter()
            .map(|problem| (problem.line, format!("! {}", problem.what))),
    );
    rows.sort();
    let counts = &file.counts;
    let mut text = format!(
        "read {} kept {} duplicate {} cancelled {} rejected {}\n",
        counts.read, counts.kept, counts.duplicate, counts.cancelled, counts.rejected
    );
    for (line, row) in rows {
        writeln!(text, "{line:>3} {row}").unwrap();
    }
    text
}

/// All that a registry's files give, compared with the golden file.
fn golden(name: &str, format: &str, path: &str, rest: &str) {
    let mut text = String::new();
    for source in sources(format, path, rest).unwrap() {
        let reading = &source.file.reading;
        let mut problems = Vec::new();
        let mut sink = |problem| problems.push(problem);
        let again = {
            let listener = Listener {
                rejected: Some(&mut sink),
                ..Listener::default()
            };
            read_telling(reading, Progress::Quiet, listener)
        }
        .unwrap();
        assert_eq!(again.records, source.file.records);
        let root = data().join(path);
        let inside = reading.path.strip_prefix(&root).unwrap_or(Path::new(""));
        writeln!(text, "== {} {:?}", inside.display(), reading.syntax).unwrap();
        text += &render(reading, &source.file, &problems);
    }
    let file = data().join(format!("{name}.golden"));
    if std::env::var_os("SCHOOLGATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&file).unwrap();
    assert!(text == wanted, "{name}:\n{text}\nwanted:\n{wanted}");
}

#[test]
fn hosts() {
    golden("hosts", "hosts", "hosts.txt", "");
    golden(
        "hosts-suffix",
        "hosts",
        "hosts.txt",
        "semantics = \"suffix\"",
    );
}

#[test]
fn adguard() {
    golden("adguard", "adguard", "adguard.txt", "");
}

#[test]
fn rpz() {
    golden("zone", "rpz", "zone.rpz", "");
}

#[test]
fn dnsmasq() {
    golden("dnsmasq", "dnsmasq", "dnsmasq.conf", "");
}

#[test]
fn unbound() {
    golden("unbound", "unbound", "unbound.conf", "");
}

#[test]
fn netset() {
    golden("netset", "netset", "level1.netset", "");
}

#[test]
fn v2fly() {
    golden(
        "v2fly",
        "v2fly",
        "v2fly",
        "sets = [\"category-mix\", \"wrong\", \"press@cn\"]",
    );
}

#[test]
fn v2fly_circles_and_holes_are_told_by_file_and_line() {
    let wrong = "sets = [\"circle-a\", \"gamse\"]";
    let problems = sources("v2fly", "v2fly", wrong).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let told = told.join("\n");
    for wanted in [
        "v2fly/data/circle-b:1: circle-a includes itself: circle-a -> circle-b -> circle-a",
        "v2fly/data/circle-b:2: there is no set lost",
        "s.toml:1: there is no set gamse: did you mean games?",
    ] {
        assert!(told.contains(wanted), "{told}");
    }
    assert_eq!(problems.len(), 3, "{told}");
}

#[test]
fn squidguard_configuration() {
    let directories = "directories = { adult = \"adult\", good = \"press\" }";
    golden(
        "squidguard-conf",
        "squidguard",
        "squidguard/squidGuard.conf",
        directories,
    );
    let named = "sets = [\"games\"]";
    let found = sources("squidguard", "squidguard/squidGuard.conf", named).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].spec.name, "r/games");
    let unknown = sources(
        "squidguard",
        "squidguard/squidGuard.conf",
        "sets = [\"adlut\"]",
    );
    assert_eq!(unknown.unwrap_err()[0].remedy, "did you mean adult?");
}

#[test]
fn squidguard_directories() {
    golden("squidguard-tree", "squidguard", "squidguard/db", "");
    let found = sources("squidguard", "squidguard", "sets = [\"db/games\"]").unwrap();
    assert_eq!(found.len(), 1, "one directory deeper");
    assert_eq!(found[0].spec.name, "r/db/games");
}

#[test]
fn squidguard_destinations_for_a_part_of_the_time_are_told_by_line() {
    let dir = crate::testing::TempDir::new();
    dir.write("db/d", "a.example\n");
    let told = |text: &str| {
        let file = dir.write("sg.conf", text);
        let found = squidguard::destinations(&file, |name| name != "off");
        found.map(|found| found.len()).map_err(|problems| {
            let told: Vec<String> = problems
                .iter()
                .map(|problem| format!("{}: {}", problem.line, problem.what))
                .collect();
            told.join("\n")
        })
    };
    assert_eq!(
        told("dbhome db\ndest a { domainlist d }\n"),
        Ok(1),
        "on one line"
    );
    assert_eq!(
        told("dbhome db\ndest a\n{\ndomainlist d\n}\n"),
        Ok(1),
        "brace below"
    );
    let timed = "2: destination a holds for a part of the time only";
    assert_eq!(
        told("dbhome db\ndest a within w {\ndomainlist d\n}\n"),
        Err(timed.to_owned())
    );
    let timed = "4: destination a holds for a part of the time only";
    assert_eq!(
        told("dbhome db\ndest a {\ndomainlist d\nwithin w\n}\n"),
        Err(timed.to_owned())
    );
    assert_eq!(
        told("dbhome db\ndest off {\nwithin w\ndomainlist lost\n}\n"),
        Ok(1),
        "not wanted"
    );
    assert_eq!(
        told("dbhome db\ndest a {\ndomainlist lost\n}\n"),
        Err("3: lost is not there".to_owned())
    );
    assert_eq!(
        told("dbhome db\ndest a {\ndomainlist ../sg.conf\n}\n"),
        Err("3: ../sg.conf lies outside the collection".to_owned())
    );
    assert_eq!(
        told("dbhome db\ndest a {\nkeyword x\n}\n"),
        Err("3: destination a: keyword is not known".to_owned())
    );
    assert_eq!(
        told("dbhome db\ndest a {\n"),
        Err("2: destination a has no end".to_owned())
    );
}

#[test]
fn e2guardian() {
    let lists = "sets = [\"example.group/bannedsitelist\", \"example.group/bannedurllist\", \"example.group/bannedsiteiplist\"]";
    golden("e2guardian", "e2guardian", "e2guardian/lists", lists);
}

#[test]
fn e2guardian_lists_that_cannot_be_applied_are_told_by_file_and_line() {
    let lists = "sets = [\"example.group/late.sites\", \"example.group/loop.sites\", \"bannedregexpurllist\"]";
    let problems = sources("e2guardian", "e2guardian/lists", lists).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let told = told.join("\n");
    for wanted in [
        "example.group/late.sites:1: the list holds for a part of the day only",
        "example.group/loop.sites:1: example.group/loop.sites includes itself",
        "example.group/loop.sites:2: ../../unbound.conf lies outside the collection",
        "example.group/loop.sites:3: lost is not there",
        "s.toml:1: bannedregexpurllist holds something else",
    ] {
        assert!(told.contains(wanted), "{wanted} in\n{told}");
    }
    assert_eq!(problems.len(), 5, "{told}");
}

#[test]
fn e2guardian_lists_of_what_is_allowed_are_not_blocked() {
    let lists = "sets = [\"example.group/exceptionsitelist\", \"greyurllist\"]";
    let problems = sources("e2guardian", "e2guardian/lists", lists).unwrap_err();
    let told = |at: usize| (problems[at].line, problems[at].what.as_str());
    let allowed = "is a list of what is allowed, in a registry that blocks";
    let first = format!("example.group/exceptionsitelist {allowed}");
    assert_eq!(told(0), (1, first.as_str()));
    assert_eq!(told(1), (1, format!("greyurllist {allowed}").as_str()));
}

#[test]
fn extfilter() {
    golden("extfilter", "extfilter", "extfilter", "");
    let config = config("extfilter", "extfilter", "").unwrap();
    let (_, notes) = specs(&config, SEED).unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].file.ends_with("ssl_ips"), "{notes:?}");
}

#[test]
fn sets_are_for_the_formats_that_have_them() {
    let problems = config("v2fly", "v2fly", "").unwrap_err();
    assert_eq!(problems[0].what, "[[registries]] has no sets");
    let problems = config("hosts", "hosts.txt", "sets = [\"a\"]").unwrap_err();
    assert_eq!(
        problems[0].what,
        "[[registries]] sets: this format has none"
    );
    let problems = config("rpz", "zone.rpz", "semantics = \"suffix\"").unwrap_err();
    assert!(
        problems[0].what.contains("the file says itself"),
        "{problems:?}"
    );
}

#[test]
fn a_line_that_is_too_long_is_refused_whole() {
    let dir = crate::testing::TempDir::new();
    let long = format!("address=/{}/#\n", "abcdefgh.example/".repeat(300));
    let list = dir.write(
        "list",
        format!("local=/a.example/\n{long}# {}\n", "c".repeat(9_000)),
    );
    let text = format!(
        "[[registries]]\nid = \"r\"\ntier = \"unified\"\nformat = \"dnsmasq\"\npath = {:?}\nrejected_max_percent = 100\n",
        list
    );
    let config = Config::from_text(&dir.path().join("s.toml"), &text).unwrap();
    let loaded = load(&config, SEED, &[], &KeptBefore::new(), Progress::Quiet).unwrap();
    let counts = &loaded.summaries[0].counts;
    assert_eq!((counts.kept, counts.rejected, counts.read), (1, 1, 2));
    assert_eq!(loaded.summaries[0].rejected[0].line, 2);
}
