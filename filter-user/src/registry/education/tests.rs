//! Files of the education registry, in every way they are written, with what is kept and refused of them.

use std::path::Path;

use encoding_rs::WINDOWS_1251;
use serde_json::Value;

use super::*;
use crate::categories::AGES;
use crate::config::Config;
use crate::registry::load::{KeptBefore, Loaded, load};
use crate::registry::progress::Progress;
use crate::registry::{RECORD_SUFFIX, RECORD_URLS, Source, shown};
use crate::testing::TempDir;

const SEED: u64 = 3;

fn config(dir: &TempDir, rest: &str) -> Config {
    let text = format!(
        "[[registries]]\nid = \"ministry\"\ntier = \"nsor\"\nformat = \"education\"\npath = \"list\"\n\
         rejected_max_percent = 100\n{rest}"
    );
    Config::from_text(&dir.path().join("s.toml"), &text).unwrap()
}

fn loaded(dir: &TempDir, before: &[Source]) -> Result<Loaded, Vec<Problem>> {
    let config = config(dir, "");
    load(&config, SEED, before, &KeptBefore::new(), Progress::Quiet)
}

/// What is listed: for each set of categories the number of its entries.
fn parts(dir: &TempDir) -> Vec<(Vec<String>, usize)> {
    let config = config(dir, "");
    let loaded = load(&config, SEED, &[], &KeptBefore::new(), Progress::Quiet).unwrap();
    let parts = loaded.sources.iter().map(|source| {
        let records = source.file.records.iter();
        let entries = records.filter(|record| record.flags & RECORD_URLS == 0);
        let labels = config.categories.labels(source.spec.categories);
        (labels, entries.count() + source.file.nets.len())
    });
    parts.collect()
}

fn problems(dir: &TempDir) -> Vec<String> {
    let loaded = loaded(dir, &[]).unwrap();
    let rejected = loaded.summaries[0].rejected.iter();
    rejected
        .map(|problem| format!("{}: {} -> {}", problem.line, problem.what, problem.remedy))
        .collect()
}

const HEAD: &str =
    "id;subject;type;categories;age;decision_date;decision_number;decision_body;since\n";

fn sample(name: &str) -> String {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/samples");
    std::fs::read_to_string(samples.join(name)).unwrap()
}

#[test]
fn samples_give_a_source_for_each_set_of_categories() {
    let dir = TempDir::new();
    dir.write("list", sample("education.csv"));
    let wanted = [
        (vec!["gambling", "age_18"], 1),
        (vec!["proxy"], 1),
        (vec!["malware"], 1),
        (vec!["social", "forums"], 1),
        (vec!["age_12"], 1),
        (vec!["age_16"], 1),
    ];
    let mut wanted: Vec<(Vec<String>, usize)> = wanted
        .into_iter()
        .map(|(labels, count)| (labels.into_iter().map(str::to_owned).collect(), count))
        .collect();
    let mut found = parts(&dir);
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    assert_eq!(problems(&dir), Vec::<String>::new());
    let summary = &loaded(&dir, &[]).unwrap().summaries[0];
    assert_eq!(
        (summary.files, summary.counts.read, summary.counts.kept),
        (1, 6, 6)
    );
    dir.write("list", sample("education.json"));
    assert_eq!(parts(&dir).len(), 2);
    assert_eq!(problems(&dir), Vec::<String>::new());
}

#[test]
fn types_are_what_the_keys_say() {
    let dir = TempDir::new();
    dir.write(
        "list",
        format!(
            "{HEAD}1;Exact.example;domain;games;;;;;\n2;*.wide.example;suffix;games;;;;;\n\
             3;http://pages.example/a?b=1;url;games;;;;;\n4;http://pages.example/c/*;url;games;;;;;\n\
             5;2001:db8::5;address;games;;;;;\n6;203.0.113.0/24;prefix;games;;;;;\n7;203.0.113.9/32;prefix;games;;;;;\n"
        ),
    );
    let loaded = loaded(&dir, &[]).unwrap();
    assert_eq!(loaded.sources.len(), 1);
    let source = &loaded.sources[0];
    let flags = |key: u64| -> Vec<u32> {
        let records = source.with_key(key).into_iter();
        records
            .filter(|record| record.flags & RECORD_URLS == 0)
            .map(|record| record.flags & RECORD_SUFFIX)
            .collect()
    };
    let name = |name: &str| name_key(SEED, name.as_bytes()).unwrap();
    assert_eq!(flags(name("exact.example")), [0]);
    assert_eq!(flags(name("wide.example")), [RECORD_SUFFIX]);
    let page = |path: &str| url_key(name("pages.example"), path_hash(SEED, path.as_bytes()));
    assert_eq!(flags(page("/a?b=1")), [0]);
    assert_eq!(flags(page("/c")), [RECORD_SUFFIX]);
    assert_eq!(
        flags(address_key(SEED, "2001:db8::5".parse().unwrap())),
        [0]
    );
    assert_eq!(
        flags(address_key(SEED, "203.0.113.9".parse().unwrap())),
        [0]
    );
    assert_eq!(source.file.nets[0].net, "203.0.113.0/24".parse().unwrap());
    assert_eq!(source.file.counts.kept, 7);
}

#[test]
fn every_spelling_of_a_table_is_the_same() {
    let plain = format!("{HEAD}Ж-1;a.example;domain;games,social;16;2026-01-31;№ 5;Орган;\n");
    let comma = plain
        .replace("games,social", "games|social")
        .replace(';', ",");
    let spellings = [
        plain.clone().into_bytes(),
        plain.replace('\n', "\r\n").into_bytes(),
        format!("\u{feff}{plain}").into_bytes(),
        format!("sep=;\n{plain}").into_bytes(),
        plain.replace(';', "\t").into_bytes(),
        comma.into_bytes(),
        WINDOWS_1251.encode(&plain).0.into_owned(),
        plain
            .replace("games,social", "\"games|social\"")
            .replace(";16;", ";16+;")
            .into_bytes(),
        plain.replace("2026-01-31", "31.01.2026").into_bytes(),
        plain.replace("id;subject", "ID;Subject").into_bytes(),
        plain
            .replace(";Орган;", "; Орган\t ;")
            .replace('\n', "\n\n")
            .into_bytes(),
        "type;id;subject;categories;age;decision_body;decision_number;decision_date\n\
         domain;Ж-1;a.example;social games;16;Орган;№ 5;2026-01-31"
            .as_bytes()
            .to_vec(),
    ];
    let dir = TempDir::new();
    for (number, bytes) in spellings.into_iter().enumerate() {
        dir.write("list", &bytes);
        assert_eq!(problems(&dir), Vec::<String>::new(), "{number}");
        let loaded = loaded(&dir, &[]).unwrap();
        let source = &loaded.sources[0];
        let record = source.file.records[0];
        let (text, decision) = shown(source, record.line, Wanted::Key(record.key));
        assert_eq!(
            text.as_deref(),
            Some("record Ж-1: domain a.example"),
            "{number}"
        );
        let decision = decision.unwrap();
        assert_eq!(decision.date, "2026-01-31", "{number}");
        assert_eq!(
            (decision.number.as_str(), decision.body.as_str()),
            ("№ 5", "Орган"),
            "{number}"
        );
        let labels = config(&dir, "").categories.labels(source.spec.categories);
        assert_eq!(labels, ["social", "games", "age_16"], "{number}");
    }
}

#[test]
fn wrong_records_are_told_by_line_with_all_that_is_wrong() {
    let dir = TempDir::new();
    let rows = "1;a.example;domain;games;;;;;\n\
                1;b.example;domain;games;;;;;\n\
                3;c.example;domian;games;;;;;\n\
                4;d.example;domain;gmaes;13;;;;2026-02-30\n\
                5;*.e.example;domain;games;;;;;\n\
                6;203.0.113.5;domain;games;;;;;\n";
    let more = "7;f.example;domain;;;;;;\n\
                8;g.example;domain;games;;2026-01-01;;Орган;\n\
                9;10.0.0.0/8;prefix;games;;;;;\n\
                10;ru;suffix;games;;;;;\n\
                11;https://h.example/x;url;games;;;;;\n\
                12;i.example;domain;games;;;;\n\
                13;\"j.example;domain;games;;;;;\n\
                ;k.example;domain;games;;;;;\n\
                15;l.example;domain;games;0;;;;\n";
    dir.write("list", format!("{HEAD}{rows}"));
    let told = problems(&dir);
    let wanted = [
        "3: id is there twice: 1 -> give every record an id of its own",
        "4: record 3: unknown type \"domian\" -> did you mean domain?",
        "5: record 4: unknown category \"gmaes\"; no such age mark: \"13\"; no such day: since \"2026-02-30\" -> did you mean games?; use 0, 6, 12, 16, 18 or nothing; write YYYY-MM-DD",
        "6: record 5: subject is no domain: \"*.e.example\" -> correct the type or the subject",
        "7: record 6: subject is no domain: \"203.0.113.5\" -> correct the type or the subject",
    ];
    assert_eq!(told, wanted);
    dir.write("list", format!("{HEAD}{more}"));
    let told = problems(&dir);
    for (row, wanted) in told.iter().zip([
        "2: record 7: neither category nor age mark",
        "3: record 8: decision without number",
        "4: record 9: subject \"10.0.0.0/8\": private",
        "5: record 10: subject \"ru\": public suffix",
        "6: record 11: subject \"https://h.example/x\": URL of another scheme",
        "7: wrong fields: 8 fields where 9 are wanted",
        "8: no record: a quote is not closed",
        "9: record : no id",
    ]) {
        assert!(row.starts_with(wanted), "{row}");
    }
    assert_eq!(told.len(), 8, "{told:#?}");
    assert_eq!(
        loaded(&dir, &[]).unwrap().summaries[0].counts.kept,
        1,
        "the mark 0 beside a category"
    );
}

#[test]
fn objects_of_json_are_strict_and_each_has_its_line() {
    let dir = TempDir::new();
    dir.write(
        "list",
        r#"[
          {"id": "1", "subject": "a.example", "type": "domain", "age": 16},
          {"id": "2", "subject": "b.example", "type": "domain", "categores": ["games"]},
          {"id": "3", "subject": "c.example", "type": "domain", "categories": ["games"], "age": "16"},
          {"id": "4",
           "subject": "d.example", "type": "suffix", "categories": ["games"], "decision": {"date": "2026-01-01", "number": "7"}},
          7,
          {"id": "6", "id": "7", "subject": "e.example", "type": "domain", "age": 16}
        ]"#,
    );
    let told = problems(&dir);
    let lines: Vec<&str> = told
        .iter()
        .filter_map(|row| row.split(':').next())
        .collect();
    assert_eq!(lines, ["3", "4", "5", "7", "8"], "{told:#?}");
    assert!(told[0].contains("unknown field `categores`"), "{told:#?}");
    assert!(told[2].contains("missing field `body`"), "{told:#?}");
    assert!(told[4].contains("duplicate field `id`"), "{told:#?}");
}

#[test]
fn several_records_on_a_line_are_told_apart_by_their_entry() {
    let dir = TempDir::new();
    let record = |id: u32, subject: &str| {
        format!(
            r#"{{"id": "{id}", "subject": "{subject}", "type": "domain", "age": 16,
            "decision": {{"date": "2026-01-01", "number": "nr {id}", "body": "Орган"}}}}"#
        )
        .replace('\n', " ")
    };
    dir.write(
        "list",
        format!("[{},{}]", record(1, "a.example"), record(2, "b.example")),
    );
    let loaded = loaded(&dir, &[]).unwrap();
    let source = &loaded.sources[0];
    let key = name_key(SEED, b"b.example").unwrap();
    let (text, decision) = shown(source, 1, Wanted::Key(key));
    assert_eq!(text.as_deref(), Some("record 2: domain b.example"));
    assert_eq!(
        decision.map(|decision| decision.number).as_deref(),
        Some("nr 2")
    );
}

#[test]
fn files_that_are_no_registry_are_refused_as_a_whole() {
    let dir = TempDir::new();
    for (bytes, wanted) in [
        (
            &b"id;subject;typ;categories\n1;a.example;domain;games\n"[..],
            "unknown column \"typ\" (did you mean type?); column type is missing",
        ),
        (b"id;subject;type;id\n", "column id is there twice"),
        (b"a.example\nb.example\n", "column subject is missing"),
        (b"[{\"id\": \"1\"", "no JSON array of records"),
        (b"{\"id\": \"1\"}", "no JSON array of records"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0", "holds zero bytes"),
    ] {
        dir.write("list", bytes);
        let problems = loaded(&dir, &[]).unwrap_err();
        assert!(problems[0].what.contains(wanted), "{problems:?}");
        assert!(problems[0].file.ends_with("list"));
    }
    dir.write("list", "");
    assert!(
        loaded(&dir, &[]).is_ok(),
        "empty, and nothing was there before"
    );
    let kept = KeptBefore::from([("ministry".to_owned(), 3)]);
    let empty = load(&config(&dir, ""), SEED, &[], &kept, Progress::Quiet).unwrap_err();
    assert!(empty[0].what.contains("held 3 entries before"), "{empty:?}");
}

#[test]
fn a_file_that_was_not_touched_is_not_read_again() {
    let dir = TempDir::new();
    dir.write("list", sample("education.csv"));
    let first = loaded(&dir, &[]).unwrap();
    let second = loaded(&dir, &first.sources).unwrap();
    assert_eq!(first.sources.len(), second.sources.len());
    for (first, second) in first.sources.iter().zip(&second.sources) {
        assert!(Arc::ptr_eq(&first.file, &second.file));
        assert_eq!(first.spec, second.spec);
    }
    let counts = &second.summaries[0].counts;
    assert_eq!((counts.read, counts.kept), (6, 6));
}

#[test]
fn what_the_file_says_itself_is_refused_in_the_configuration() {
    let wrong = |tier: &str, rest: &str| {
        let text = format!(
            "[[registries]]\nid = \"m\"\ntier = \"{tier}\"\nformat = \"education\"\npath = \"l\"\n{rest}"
        );
        Config::from_text(Path::new("s.toml"), &text).unwrap_err()[0]
            .what
            .clone()
    };
    assert!(wrong("nsor", "categories = [\"games\"]").contains("records have their own"));
    assert!(wrong("nsor", "semantics = \"exact\"").contains("says itself"));
    assert!(wrong("local", "").contains("another tier"));
}

#[test]
fn age_marks_are_categories_of_that_age() {
    let categories = Categories::built_in();
    for age in AGES.into_iter().filter(|age| *age > 0) {
        let category = categories.by_id(&format!("{AGE_PREFIX}{age}")).unwrap();
        assert_eq!(category.age, age);
        assert!(!category.mandatory);
    }
}

#[test]
fn the_schema_says_what_the_reader_takes() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/education-registry.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let record = &schema["items"]["properties"];
    let kinds: Vec<&str> = record["type"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap())
        .collect();
    assert_eq!(kinds, KINDS.map(|(word, _)| word));
    let ages: Vec<u64> = record["age"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!(ages, AGES.map(u64::from));
    // Every field of the schema is taken, and no other.
    let whole = r#"[{"id": "1", "subject": "a.example", "type": "domain", "categories": ["games"], "age": 6,
        "decision": {"date": "2026-01-01", "number": "1", "body": "b"}, "since": "2026-01-01"}]"#;
    let whole: Value = serde_json::from_str(whole).unwrap();
    let mut fields: Vec<&String> = whole[0].as_object().unwrap().keys().collect();
    let mut known: Vec<&String> = record.as_object().unwrap().keys().collect();
    fields.sort();
    known.sort();
    assert_eq!(fields, known);
    let dir = TempDir::new();
    dir.write("list", whole.to_string());
    assert_eq!(problems(&dir), Vec::<String>::new());
    for wanted in ["id", "subject", "type"] {
        let mut less = whole.clone();
        less[0].as_object_mut().unwrap().remove(wanted);
        dir.write("list", less.to_string());
        assert!(problems(&dir)[0].contains(wanted), "{wanted}");
    }
}
