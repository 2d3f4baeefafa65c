//! Updates of small lists, with what each does to whom.

use super::*;
use crate::bypass::Bypasses;
use crate::compile::Rules;
use crate::load::Before;
use crate::registry::progress::Progress;
use crate::state::State;
use crate::testing::TempDir;

const CONFIG: &str = r#"
[[registries]]
id = "unified"
tier = "unified"
format = "mixed"
semantics = "exact"
path = "unified.txt"

[[registries]]
id = "games"
tier = "nsor"
format = "mixed"
semantics = "suffix"
path = "games.txt"
categories = ["games"]

[[registries]]
id = "library"
tier = "local"
format = "mixed"
semantics = "suffix"
path = "library.txt"

[[profiles]]
id = "pupils"
block = ["games"]
allow = ["library"]

[[profiles]]
id = "staff"

[[organisations]]
id = "school-1"
profile = "pupils"
prefixes = ["10.1.0.0/24"]

[[organisations]]
id = "school-2"
profile = "pupils"
prefixes = ["10.2.0.0/24"]

[[organisations]]
id = "office"
profile = "staff"
prefixes = ["10.3.0.0/24"]
"#;

const UNIFIED: &str = "old.example\n*.dark.example\n203.0.113.66\n";
const GAMES: &str = "play.example\n*.fun.example\n";
const LIBRARY: &str = "books.play.example\n";

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new());
        place.write("s.toml", CONFIG);
        place.write("unified.txt", UNIFIED);
        place.write("games.txt", GAMES);
        place.write("library.txt", LIBRARY);
        place
    }

    /// A new file each time: what was there before is gone, as in an update by renaming.
    fn write(&self, name: &str, text: &str) {
        let _ = std::fs::remove_file(self.0.path().join(name));
        self.0.write(name, text);
    }

    fn read(&self, before: Option<&Everything>) -> Everything {
        let state = before.map_or_else(State::default, Everything::state);
        let before = Before {
            state: &state,
            everything: before,
            bypasses: &Bypasses::default(),
        };
        let file = self.0.path().join("s.toml");
        let read = Everything::read(&file, 7, before, Progress::Quiet, |_, _| Ok(Vec::new()));
        read.unwrap()
    }

    /// What an update of one file does.
    fn update(&self, name: &str, text: &str) -> Difference {
        let before = self.read(None);
        self.write(name, text);
        compare(&before, &self.read(Some(&before)))
    }
}

fn compare(before: &Everything, after: &Everything) -> Difference {
    let moment = before.bypasses.moment(jiff::Timestamp::now());
    let rules = Rules::at(&before.config, &before.numbers, &moment);
    difference(before, &rules.rules, after, 10)
}

/// Counts by organisation.
fn effects(found: &Difference) -> Vec<(&str, [u64; 3])> {
    let mut all: Vec<(&str, [u64; 3])> = Vec::new();
    for group in &found.groups {
        let ids = group.organisations.iter();
        all.extend(ids.map(|id| (id.as_str(), group.effects)));
    }
    all.sort_unstable();
    all
}

fn subjects(found: &Difference, effect: Effect) -> Vec<&str> {
    let examples = found.examples.iter();
    let mut named: Vec<&str> = examples
        .filter(|example| example.effect == effect)
        .map(|example| example.subject.as_str())
        .collect();
    named.sort_unstable();
    named
}

#[test]
fn nothing_is_told_where_nothing_changes() {
    let place = Place::new();
    let before = place.read(None);
    let found = compare(&before, &place.read(Some(&before)));
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(
        effects(&found),
        [
            ("office", [0; 3]),
            ("school-1", [0; 3]),
            ("school-2", [0; 3])
        ]
    );
    // The same lines in other files are the same.
    let found = place.update("unified.txt", UNIFIED);
    assert!(found.is_empty() && found.registries.is_empty(), "{found:?}");
}

#[test]
fn new_entries_count_where_nothing_above_them_stopped_their_subject() {
    let place = Place::new();
    let text = format!(
        "{UNIFIED}new.example\nbelow.dark.example\nhttp://page.example/x\n203.0.113.0/28\n"
    );
    let found = place.update("unified.txt", &text);
    assert_eq!(found.entries, [4, 0, 0]);
    assert_eq!(found.registries.len(), 1);
    assert_eq!(
        (found.registries[0].added, found.registries[0].removed),
        (4, 0)
    );
    assert_eq!(
        effects(&found),
        [
            ("office", [3, 0, 0]),
            ("school-1", [3, 0, 0]),
            ("school-2", [3, 0, 0])
        ]
    );
    assert_eq!(
        subjects(&found, Effect::Blocked),
        ["203.0.113.0/28", "http://page.example/x", "new.example"]
    );
    let new = found.examples.iter().find(|of| of.subject == "new.example");
    let new = new.unwrap();
    assert_eq!((new.line, new.organisations), (4, 3));
    assert_eq!(new.category.as_deref(), Some("unlawful"));
    assert_eq!(found.categories["unlawful"], [3, 0, 0]);
    assert_eq!(found.unnamed, 0);
}

#[test]
fn an_entry_that_comes_to_cover_what_is_below_is_new_below() {
    let place = Place::new();
    let found = place.update(
        "unified.txt",
        "*.old.example\n*.dark.example\n203.0.113.66\n",
    );
    assert_eq!(found.entries, [0, 1, 0]);
    assert_eq!(subjects(&found, Effect::Blocked), ["old.example"]);
}

#[test]
fn removed_entries_are_free_unless_another_entry_stops_them() {
    let place = Place::new();
    place.write("games.txt", "play.example\nold.example\n");
    let before = place.read(None);
    place.write("unified.txt", "*.dark.example\n");
    let found = compare(&before, &place.read(Some(&before)));
    // Games are blocked for pupils: for them the name stays blocked.
    assert_eq!(
        effects(&found),
        [
            ("office", [0, 0, 2]),
            ("school-1", [0, 0, 1]),
            ("school-2", [0, 0, 1])
        ]
    );
    // The old file is gone, and with it the text of the address; the name stands in the other list.
    assert_eq!(found.unnamed, 1);
    assert_eq!(found.categories["unlawful"], [0, 0, 2]);
}

#[test]
fn allow_listed_names_are_touched_from_above_at_and_below() {
    let place = Place::new();
    place.write("library.txt", "books.play.example\nhall.example\n");
    let text = format!("{UNIFIED}*.play.example\nhall.example\ndeep.hall.example\n");
    let found = place.update("unified.txt", &text);
    let mut touched: Vec<(&str, &str, usize)> = (found.touched.iter())
        .map(|touched| {
            assert_eq!(touched.list, "library");
            let (subject, by) = (touched.subject.as_str(), touched.by.as_str());
            (subject, by, touched.stopped_for)
        })
        .collect();
    touched.sort_unstable();
    assert_eq!(
        touched,
        [
            ("books.play.example", "play.example", 3),
            ("deep.hall.example", "deep.hall.example", 3),
            ("hall.example", "hall.example", 3)
        ]
    );
    assert_eq!(found.touched_count, 3);
    // What is blocked by a category stays allowed below it.
    let found = place.update("games.txt", &format!("{GAMES}*.hall.example\n"));
    assert_eq!(found.touched.len(), 1);
    assert_eq!(found.touched[0].subject, "hall.example");
    assert_eq!(
        found.touched[0].stopped_for, 3,
        "as the unified registry has it"
    );
    let found = place.update("games.txt", &format!("{GAMES}*.play.example\n"));
    assert_eq!(effects(&found)[1], ("school-1", [0, 0, 0]));
}

#[test]
fn an_allow_list_that_grows_touches_nothing_and_frees() {
    let place = Place::new();
    let found = place.update("library.txt", "books.play.example\nx.fun.example\n");
    assert_eq!(found.touched_count, 0);
    assert_eq!(subjects(&found, Effect::Free), ["x.fun.example"]);
    assert_eq!(effects(&found)[0], ("office", [0; 3]));
    assert_eq!(effects(&found)[1], ("school-1", [0, 0, 1]));
}

#[test]
fn a_category_that_a_profile_takes_up_counts_its_entries() {
    let place = Place::new();
    let before = place.read(None);
    place.write(
        "s.toml",
        &CONFIG.replace("id = \"staff\"", "id = \"staff\"\nwarn = [\"games\"]"),
    );
    let found = compare(&before, &place.read(Some(&before)));
    assert_eq!(found.entries, [0; 3]);
    assert!(!found.is_empty());
    assert_eq!(found.other_policy, 1);
    assert_eq!(effects(&found)[0], ("office", [0, 2, 0]));
    assert_eq!(effects(&found)[1], ("school-1", [0; 3]));
    let group = found
        .groups
        .iter()
        .find(|of| of.organisations == ["office"]);
    assert_eq!(group.unwrap().before, ["staff"]);
    assert_eq!(found.categories["games"], [0, 2, 0]);
}

#[test]
fn an_allow_only_profile_is_freed_by_its_list() {
    let place = Place::new();
    let config = CONFIG.replace(
        "id = \"staff\"",
        "id = \"staff\"\nallow_only = true\nallow = [\"library\"]",
    );
    place.write("s.toml", &config);
    let found = place.update("library.txt", "books.play.example\nwiki.example\n");
    assert_eq!(effects(&found)[0], ("office", [0, 0, 1]));
    assert_eq!(subjects(&found, Effect::Free), ["wiki.example"]);
}

#[test]
fn organisations_come_and_go() {
    let place = Place::new();
    let before = place.read(None);
    place.write("s.toml", &CONFIG.replace("school-2", "school-9"));
    let found = compare(&before, &place.read(Some(&before)));
    assert_eq!(found.enrolled, ["school-9"]);
    assert_eq!(found.left, ["school-2"]);
    assert!(!found.is_empty());
    assert_eq!(effects(&found), [("office", [0; 3]), ("school-1", [0; 3])]);
}

#[test]
fn examples_are_bounded_and_counts_are_not() {
    let place = Place::new();
    let many: String = (0..50).map(|at| format!("n{at}.example\n")).collect();
    let found = place.update("unified.txt", &format!("{UNIFIED}{many}"));
    assert_eq!(subjects(&found, Effect::Blocked).len(), 10);
    assert_eq!(effects(&found)[0], ("office", [50, 0, 0]));
}
