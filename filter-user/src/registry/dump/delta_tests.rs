//! Deltas on a registry: what they bring, replace and remove, in which order, and what stops them.

use super::*;

const NOON: &str = "2026-01-15T12:00:00+03:00";

fn lab() -> Lab {
    let lab = Lab::new("deltas = \"deltas\"");
    std::fs::create_dir(lab.dir.path().join("deltas")).unwrap();
    lab
}

fn domain(id: u32, name: &str) -> String {
    content(id, "domain", &format!("<domain>{name}</domain>"))
}

impl Lab {
    fn delta(&self, name: &str, minute: u32, records: &str) {
        let time = format!("2026-01-15T12:{minute:02}:00+03:00");
        self.dir
            .write(&format!("deltas/{name}"), made_at(&time, records));
    }
}

fn in_force(lab: &Lab, names: &[&str]) -> Loaded {
    let loaded = lab.load(&[]).unwrap();
    assert_eq!(subjects(&loaded), wanted(names));
    assert_eq!(loaded.summaries[0].counts.kept, names.len() as u64);
    loaded
}

#[test]
fn records_are_added_replaced_and_removed() {
    let lab = lab();
    // The third record lists the same as the first: it stays when that goes.
    let records = domain(1, "a.example") + &domain(2, "b.example") + &domain(3, "a.example");
    lab.dir.write("dump.xml", made_at(NOON, &records));
    assert_eq!(lab.load(&[]).unwrap().summaries[0].counts.kept, 3);
    lab.delta("1.xml", 1, "<delete id=\"1\"/>");
    in_force(&lab, &["a.example", "b.example"]);
    lab.delta("2.xml", 2, "<delete>3</delete>");
    in_force(&lab, &["b.example"]);
    lab.delta(
        "3.xml",
        3,
        &(domain(2, "c.example") + &domain(4, "d.example")),
    );
    in_force(&lab, &["c.example", "d.example"]);
    lab.delta("4.xml", 4, &domain(4, "e.example"));
    in_force(&lab, &["c.example", "e.example"]);
    lab.delta("5.xml", 5, &domain(1, "a.example"));
    in_force(&lab, &["a.example", "c.example", "e.example"]);
}

#[test]
fn deltas_are_applied_in_the_order_of_their_times_then_names() {
    let lab = lab();
    lab.dir.write("dump.xml", made_at(NOON, ""));
    lab.delta("c.xml", 1, &domain(1, "first.example"));
    lab.delta("b.xml", 3, &domain(1, "last.example"));
    lab.delta("a.xml", 2, &domain(1, "second.example"));
    in_force(&lab, &["last.example"]);
    lab.delta("d.xml", 3, &domain(1, "by-name.example"));
    in_force(&lab, &["by-name.example"]);
    // The same moment, written for another zone.
    let text = made_at("2026-01-15T09:03:00Z", &domain(1, "zone.example"));
    lab.dir.write("deltas/e.xml", text);
    in_force(&lab, &["zone.example"]);
}

#[test]
fn urls_that_are_left_out_are_counted_as_they_are_in_force() {
    let lab = lab();
    let url =
        |id: u32, count: usize| content(id, "", &"<url>https://a.example/</url>".repeat(count));
    lab.dir
        .write("dump.xml", made_at(NOON, &(url(1, 2) + &url(2, 3))));
    lab.delta("1.xml", 1, &url(2, 4));
    lab.delta("2.xml", 2, "<delete id=\"1\"/>");
    let notes = lab.load(&[]).unwrap().notes;
    assert_eq!(notes.len(), 1);
    assert!(notes[0].what.starts_with("4 URLs"), "{notes:?}");
}

#[test]
fn deltas_that_a_registry_has_already_are_passed_over() {
    let lab = lab();
    lab.dir.write(
        "dump.xml",
        made_at("2026-01-15T12:02:00+03:00", &domain(1, "a.example")),
    );
    lab.delta("1.xml", 1, "<delete id=\"1\"/>");
    lab.delta("2.xml", 2, "<delete id=\"1\"/>");
    let loaded = in_force(&lab, &["a.example"]);
    assert_eq!(loaded.sources.len(), 1);
    lab.delta("3.xml", 3, "<delete id=\"1\"/>");
    in_force(&lab, &[]);
}

#[test]
fn broken_delta_stops_those_behind_it_and_no_other() {
    let lab = lab();
    lab.dir
        .write("dump.xml", made_at(NOON, &domain(1, "a.example")));
    lab.delta("1.xml", 1, &domain(1, "b.example"));
    lab.delta("2.xml", 2, &domain(1, "c.example"));
    lab.delta("3.xml", 3, &domain(1, "d.example"));
    in_force(&lab, &["d.example"]);
    let whole = std::fs::read(lab.dir.path().join("deltas/2.xml")).unwrap();
    for end in 0..whole.len() - 1 {
        lab.dir.write("deltas/2.xml", &whole[..end]);
        let loaded = in_force(&lab, &["b.example"]);
        let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
        assert!(
            notes.iter().all(|note| note.contains("deltas/2.xml")),
            "{notes:?}"
        );
        assert!(notes[1].contains("nor are 1 behind it"), "{notes:?}");
    }
    lab.dir.write("deltas/2.xml", &whole);
    let loaded = in_force(&lab, &["d.example"]);
    assert!(loaded.notes.is_empty());
}

#[test]
fn a_delta_is_read_without_the_registry() {
    let lab = lab();
    lab.dir
        .write("dump.xml", made_at(NOON, &domain(1, "a.example")));
    lab.delta("1.xml", 1, &domain(2, "b.example"));
    let first = lab.load(&[]).unwrap();
    lab.delta("2.xml", 2, &(domain(3, "c.example") + "<delete id=\"1\"/>"));
    let second = lab.load(&first.sources).unwrap();
    for (before, now) in first.sources.iter().zip(&second.sources) {
        assert!(std::sync::Arc::ptr_eq(&before.file, &now.file));
    }
    assert_eq!(second.sources.len(), 3);
    assert_eq!(subjects(&second), wanted(&["b.example", "c.example"]));
    assert_eq!(
        second.sources[0]
            .with_key(name_key(SEED, b"a.example").unwrap())
            .len(),
        0
    );
}

#[test]
fn a_directory_of_deltas_that_is_not_there_is_a_problem() {
    let lab = Lab::new("deltas = \"nowhere\"");
    let refusal = lab.refusal(made_at(NOON, ""));
    assert!(refusal.contains("nowhere"), "{refusal}");
}

#[test]
fn registry_that_loses_half_of_its_entries_is_refused() {
    let names: String = (1..=10)
        .map(|id| domain(id, &format!("n{id}.example")))
        .collect();
    let refused = |rest: &str, gone: u32| {
        let lab = Lab::new(&format!("deltas = \"deltas\"\n{rest}"));
        lab.dir.write("dump.xml", made_at(NOON, &names));
        let removed: String = (1..=gone)
            .map(|id| format!("<delete id=\"{id}\"/>"))
            .collect();
        lab.dir.write(
            "deltas/1.xml",
            made_at("2026-01-15T12:01:00+03:00", &removed),
        );
        let kept = KeptBefore::from([("r".to_owned(), 10)]);
        let problems = load(&lab.config, SEED, &[], &kept, Progress::Quiet).err();
        problems.map(|problems| problems[0].what.clone())
    };
    assert_eq!(refused("", 5), None);
    let what = refused("", 6).unwrap();
    assert!(
        what.contains("holds 4 entries, and held 10 before"),
        "{what}"
    );
    assert_eq!(refused("shrink_max_percent = 60", 6), None);
    assert!(refused("shrink_max_percent = 0", 1).is_some());
    assert_eq!(refused("shrink_max_percent = 100", 9), None);
    assert!(refused("shrink_max_percent = 100", 10).is_some(), "all");
}
