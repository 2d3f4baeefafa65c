//! What `schoolgate diff` tells of random updates is what `schoolgate explain` tells of every changed entry before
//! and after, for every organisation.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use filter_user::bypass::Bypasses;
use filter_user::compile::Rules;
use filter_user::difference::difference;
use filter_user::explain::{Question, explain};
use filter_user::load::{Before, Everything};
use filter_user::registry::progress::Progress;
use filter_user::state::State;
use schoolgate_tests::evasion::Random;
use schoolgate_tests::lab::TempDir;

/// Random updates.
const UPDATES: u64 = 600;
const SEED: u64 = 11;
const LISTS: [&str; 5] = ["law", "adult", "games", "library", "deny"];
const ORGANISATIONS: [&str; 3] = ["pupils", "staff", "closed"];

const CONFIG: &str = r#"
[[registries]]
id = "law"
tier = "unified"
format = "mixed"
semantics = "exact"
path = "law"

[[registries]]
id = "adult"
tier = "nsor"
format = "mixed"
semantics = "exact"
path = "adult"
categories = ["adult"]

[[registries]]
id = "games"
tier = "nsor"
format = "mixed"
semantics = "exact"
path = "games"
categories = ["games"]

[[registries]]
id = "library"
tier = "local"
format = "mixed"
semantics = "exact"
path = "library"

[[registries]]
id = "deny"
tier = "local"
format = "mixed"
semantics = "exact"
path = "deny"

[[profiles]]
id = "pupils"
block = ["adult", "games"]
allow = ["library"]

[[profiles]]
id = "staff"
warn = ["games", "adult"]
deny = ["deny"]

[[profiles]]
id = "closed"
allow_only = true
allow = ["library"]
warn = ["games"]

[[organisations]]
id = "pupils"
profile = "pupils"
prefixes = ["10.1.0.0/24"]

[[organisations]]
id = "staff"
profile = "staff"
prefixes = ["10.2.0.0/24"]

[[organisations]]
id = "closed"
profile = "closed"
prefixes = ["10.3.0.0/24"]
"#;

/// A list: its lines.
type Lines = BTreeSet<String>;

/// A small world of names, so that entries meet.
fn line(random: &mut Random) -> String {
    let label = |random: &mut Random| ["a", "b", "c"][random.below(3)];
    let mut name = format!("{}.example", label(random));
    for _ in 0..random.below(3) {
        name = format!("{}.{name}", label(random));
    }
    if random.once_in(2) {
        name.insert_str(0, "*.");
    }
    name
}

fn lists(random: &mut Random) -> BTreeMap<&'static str, Lines> {
    let list = |random: &mut Random| -> Lines {
        // An empty list is refused, as one that was lost would be.
        let mut lines = Lines::from(["kept.example".to_owned()]);
        lines.extend((0..random.below(9)).map(|_| line(random)));
        lines
    };
    LISTS.map(|id| (id, list(random))).into()
}

/// Some lines more, some less.
fn update(
    lists: &BTreeMap<&'static str, Lines>,
    random: &mut Random,
) -> BTreeMap<&'static str, Lines> {
    let mut next = lists.clone();
    for lines in next.values_mut() {
        if random.once_in(2) {
            continue;
        }
        lines.retain(|line| line == "kept.example" || !random.once_in(4));
        lines.extend((0..random.below(4)).map(|_| line(random)));
    }
    next
}

fn write(place: &TempDir, lists: &BTreeMap<&'static str, Lines>) {
    for (id, lines) in lists {
        let mut text = String::new();
        for line in lines {
            writeln!(text, "{line}").unwrap();
        }
        let path = place.path().join(id);
        let _ = std::fs::remove_file(&path);
        std::fs::write(path, text).unwrap();
    }
}

fn read(place: &TempDir, before: Option<&Everything>) -> Everything {
    let state = before.map_or_else(State::default, Everything::state);
    let before = Before {
        state: &state,
        everything: before,
        bypasses: &Bypasses::default(),
    };
    let file = place.path().join("s.toml");
    Everything::read(&file, SEED, before, Progress::Quiet, |_, _| Ok(Vec::new())).unwrap()
}

/// Entries by name: in which lists, and whether with all below.
fn entries(
    lists: &BTreeMap<&'static str, Lines>,
) -> BTreeMap<String, BTreeSet<(&'static str, bool)>> {
    let mut entries: BTreeMap<String, BTreeSet<(&'static str, bool)>> = BTreeMap::new();
    for (id, lines) in lists {
        for line in lines {
            let name = line.trim_start_matches("*.").to_owned();
            let below = line.starts_with("*.");
            entries.entry(name).or_default().insert((id, below));
        }
    }
    entries
}

/// Verdict and category.
fn verdict(everything: &Everything, name: &str, org: &str) -> (String, Option<String>) {
    let question = Question {
        subject: name.to_owned(),
        org: org.to_owned(),
        address: None,
        at: None,
    };
    let told = explain(&everything.book(), everything.seed, &question).unwrap();
    (told.verdict, told.category)
}

fn turn(before: &Everything, after: &Everything, name: &str, org: &str) -> Option<(usize, String)> {
    let (was, old) = verdict(before, name, org);
    let (is, new) = verdict(after, name, org);
    let label = |category: Option<String>| category.unwrap_or_else(|| "local lists".to_owned());
    match (was.as_str(), is.as_str()) {
        (was, is) if was == is => None,
        (_, "block") => Some((0, label(new))),
        (_, "warn") => Some((1, label(new))),
        _ => Some((2, label(old))),
    }
}

#[test]
fn effects_are_those_that_explain_tells_entry_by_entry() {
    let place = TempDir::new().unwrap();
    std::fs::write(place.path().join("s.toml"), CONFIG).unwrap();
    let mut random = Random::new(5);
    let mut effects = [0u64; 3];
    for round in 0..UPDATES {
        let old = lists(&mut random);
        let new = update(&old, &mut random);
        write(&place, &old);
        let before = read(&place, None);
        // The files of before stay as they were: their names can be read.
        let beside = TempDir::new().unwrap();
        std::fs::write(beside.path().join("s.toml"), CONFIG).unwrap();
        write(&beside, &new);
        let after = read(&beside, Some(&before));
        let rules = Rules::at(
            &before.config,
            &before.numbers,
            &before.bypasses.moment(jiff::Timestamp::now()),
        );
        let found = difference(&before, &rules.rules, &after, 1_000);
        assert_eq!(found.unnamed, 0);
        let (was, is) = (entries(&old), entries(&new));
        let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let changed = names
            .into_iter()
            .filter(|name| was.get(*name) != is.get(*name));
        let changed: Vec<&String> = changed.collect();
        assert_eq!(found.entries.iter().sum::<u64>(), changed.len() as u64);
        for org in ORGANISATIONS {
            let mut wanted: BTreeMap<String, [u64; 3]> = BTreeMap::new();
            for name in &changed {
                let itself = turn(&before, &after, name, org);
                let below = || turn(&before, &after, &format!("zz.{name}"), org);
                if let Some((effect, category)) = itself.or_else(below) {
                    wanted.entry(category).or_default()[effect] += 1;
                    effects[effect] += 1;
                }
            }
            let group = found.groups.iter();
            let mut group = group.filter(|group| group.organisations == [org]);
            let told = &group.next().unwrap().categories;
            assert_eq!(*told, wanted, "{round} {org}: {old:#?} {new:#?}");
        }
        for example in &found.examples {
            let org = ORGANISATIONS.iter().find(|org| {
                let itself = turn(&before, &after, &example.subject, org);
                let below = || turn(&before, &after, &format!("zz.{}", example.subject), org);
                let told = itself.or_else(below).map(|(effect, _)| effect);
                told == Some(example.effect as usize)
            });
            assert!(org.is_some(), "{round}: {example:?}");
        }
    }
    println!("{effects:?}");
    assert!(effects.iter().all(|count| *count > 100), "{effects:?}");
}
