//! Registries in each format, with what is kept of them.

use std::path::Path;

use super::load::{KeptBefore, Loaded, load};
use super::progress::Progress;
use super::*;
use crate::config::Config;
use crate::testing::TempDir;
use filter_common::name::name_key;
use filter_common::url::{path_hash, url_key};

const SEED: u64 = 5;

fn config(dir: &TempDir, registries: &str) -> Config {
    let file = dir.path().join("s.toml");
    Config::from_text(&file, registries).unwrap()
}

fn read(config: &Config, before: &[Source]) -> Result<Loaded, Vec<Problem>> {
    load(config, SEED, before, &KeptBefore::new(), Progress::Quiet)
}

fn registry(tier: &str, format: &str, rest: &str) -> String {
    format!(
        "[[registries]]\nid = \"r\"\ntier = \"{tier}\"\nformat = \"{format}\"\npath = \"list\"\n{rest}\n"
    )
}

fn flags(source: &Source, name: &str) -> Vec<u32> {
    let key = name_key(SEED, name.as_bytes()).unwrap();
    source
        .with_key(key)
        .iter()
        .map(|record| record.flags)
        .collect()
}

#[test]
fn semantics_are_those_of_the_source() {
    let dir = TempDir::new();
    dir.write("list", "bare.example\n*.wild.example\n.dot.example\n");
    let exact = config(
        &dir,
        &registry("unified", "domains", "semantics = \"exact\""),
    );
    let source = &read(&exact, &[]).unwrap().sources[0];
    assert_eq!(flags(source, "bare.example"), [0]);
    assert_eq!(flags(source, "wild.example"), [RECORD_SUFFIX]);
    assert_eq!(flags(source, "dot.example"), [RECORD_SUFFIX]);
    let suffix = config(
        &dir,
        &registry("unified", "domains", "semantics = \"suffix\""),
    );
    let source = &read(&suffix, &[]).unwrap().sources[0];
    assert_eq!(flags(source, "bare.example"), [RECORD_SUFFIX]);
}

#[test]
fn lines_are_counted_kept_and_rejected_with_their_place() {
    let dir = TempDir::new();
    let text = b"# head\n\na.example\nA.example.\nbad name\n203.0.113.5\n\xff\xfe.example\n10.0.0.1\nb.example\n";
    let list = dir.write("list", text);
    let config = config(
        &dir,
        &registry(
            "unified",
            "mixed",
            "semantics = \"exact\"\nrejected_max_percent = 50",
        ),
    );
    let loaded = read(&config, &[]).unwrap();
    let summary = &loaded.summaries[0];
    assert_eq!(summary.counts.read, 7);
    assert_eq!(summary.counts.kept, 3);
    assert_eq!(summary.counts.duplicate, 1);
    assert_eq!(summary.counts.rejected, 3);
    let lines: Vec<u32> = summary
        .rejected
        .iter()
        .map(|problem| problem.line)
        .collect();
    assert_eq!(lines, [5, 7, 8]);
    assert!(summary.rejected.iter().all(|problem| problem.file == list));
}

#[test]
fn registry_with_too_many_rejected_lines_is_refused() {
    let dir = TempDir::new();
    dir.write("list", "a.example\nbad name\n");
    let config = config(
        &dir,
        &registry("unified", "domains", "semantics = \"exact\""),
    );
    let problems = read(&config, &[]).unwrap_err();
    assert!(
        problems[0].what.contains("1 of 2 lines (50 %)"),
        "{problems:?}"
    );
    assert_eq!(problems[1].line, 2);
}

#[test]
fn empty_registry_is_refused_where_it_had_entries() {
    let dir = TempDir::new();
    dir.write("list", "# nothing\n");
    let config = config(
        &dir,
        &registry("unified", "domains", "semantics = \"exact\""),
    );
    assert!(read(&config, &[]).is_ok());
    let kept = KeptBefore::from([("r".to_owned(), 12)]);
    let problems = load(&config, SEED, &[], &kept, Progress::Quiet).unwrap_err();
    assert!(
        problems[0].what.contains("held 12 entries before"),
        "{problems:?}"
    );
}

#[test]
fn missing_file_is_named() {
    let dir = TempDir::new();
    let config = config(
        &dir,
        &registry("unified", "domains", "semantics = \"exact\""),
    );
    let problems = read(&config, &[]).unwrap_err();
    assert_eq!(problems[0].file, dir.path().join("list"));
}

#[test]
fn files_that_were_not_touched_are_not_read_again() {
    let dir = TempDir::new();
    let list = dir.write("list", "a.example\n");
    let config = config(
        &dir,
        &registry("unified", "domains", "semantics = \"exact\""),
    );
    let first = read(&config, &[]).unwrap();
    let second = read(&config, &first.sources).unwrap();
    assert!(Arc::ptr_eq(&first.sources[0].file, &second.sources[0].file));
    std::fs::write(&list, "a.example\nb.example\n").unwrap();
    let third = read(&config, &second.sources).unwrap();
    assert_eq!(third.summaries[0].counts.kept, 2);
}

#[test]
fn public_suffix_is_refused_as_a_suffix_only() {
    let dir = TempDir::new();
    dir.write("list", "*.co.uk\nbbc.co.uk\n*.com\nru\n");
    let config = config(
        &dir,
        &registry(
            "unified",
            "domains",
            "semantics = \"exact\"\nrejected_max_percent = 100",
        ),
    );
    let loaded = read(&config, &[]).unwrap();
    let refused: Vec<u32> = loaded.summaries[0]
        .rejected
        .iter()
        .map(|problem| problem.line)
        .collect();
    assert_eq!(refused, [1, 3]);
}

fn sample_config() -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/schoolgate.sample.toml");
    Config::load(&file).unwrap()
}

#[test]
fn sample_configuration_loads_without_a_rejected_line() {
    let loaded = read(&sample_config(), &[]).unwrap();
    assert_eq!(
        loaded
            .summaries
            .iter()
            .map(|summary| summary.counts.rejected)
            .sum::<u64>(),
        0
    );
    assert!(
        loaded
            .summaries
            .iter()
            .all(|summary| summary.counts.kept > 0)
    );
}

#[test]
fn ut1_directories_get_their_categories() {
    let config = sample_config();
    let loaded = read(&config, &[]).unwrap();
    let mask = |name: &str| {
        let source = loaded
            .sources
            .iter()
            .find(|source| source.spec.name == name);
        source.map(|source| config.categories.labels(source.spec.categories))
    };
    assert_eq!(
        mask("education/adult"),
        Some(vec!["adult".to_owned()]),
        "by the categories' list"
    );
    assert_eq!(
        mask("education/vaping"),
        Some(vec!["alcohol_tobacco".to_owned()]),
        "by the configuration"
    );
    assert_eq!(
        mask("education/whitelist"),
        None,
        "a list of what is allowed"
    );
    assert_eq!(
        mask("education/porn"),
        None,
        "a link is another name of the same directory"
    );
    assert!(
        loaded
            .notes
            .iter()
            .any(|note| note.what.contains("adult/expressions"))
    );
}

#[test]
fn ut1_names_are_suffixes_and_addresses_are_addresses() {
    let loaded = read(&sample_config(), &[]).unwrap();
    let adult = loaded
        .sources
        .iter()
        .find(|source| source.spec.name == "education/adult")
        .unwrap();
    assert_eq!(flags(adult, "adult.example"), [RECORD_SUFFIX]);
    let key = crate::desired::address_key(SEED, "203.0.113.44".parse().unwrap());
    assert_eq!(adult.with_key(key).len(), 1);
}

#[test]
fn ut1_urls_mean_a_page_and_everything_below_it() {
    let loaded = read(&sample_config(), &[]).unwrap();
    let urls = loaded
        .sources
        .iter()
        .find(|source| source.spec.reading.path.ends_with("adult/urls"))
        .unwrap();
    assert_eq!(urls.spec.name, "education/adult");
    assert_eq!(urls.file.counts.kept, 2);
    assert_eq!(flags(urls, "pages.example"), [RECORD_URLS]);
    let host = name_key(SEED, b"pages.example").unwrap();
    let page = url_key(host, path_hash(SEED, b"/adult/gallery"));
    let found: Vec<u32> = urls
        .with_key(page)
        .iter()
        .map(|record| record.flags)
        .collect();
    assert_eq!(found, [RECORD_SUFFIX]);
}

#[test]
fn ut1_links_are_followed_inside_the_tree_only() {
    let dir = TempDir::new();
    dir.write("list/adult/domains", "a.example\n");
    dir.write("outside/domains", "secret.example\n");
    std::os::unix::fs::symlink("adult", dir.path().join("list/pornography")).unwrap();
    std::os::unix::fs::symlink("../outside", dir.path().join("list/gambling")).unwrap();
    let directories = "directories = { pornography = \"violence\", gambling = \"gambling\" }";
    let config = config(&dir, &registry("nsor", "ut1", directories));
    let loaded = read(&config, &[]).unwrap();
    assert_eq!(loaded.sources.len(), 1);
    let labels = config.categories.labels(loaded.sources[0].spec.categories);
    assert_eq!(
        labels,
        ["adult", "violence"],
        "by both names of the directory"
    );
    assert!(
        loaded
            .notes
            .iter()
            .any(|note| note.what.contains("gambling links to a place outside"))
    );
}

#[test]
fn ut1_directory_that_is_not_there_is_named_with_the_nearest() {
    let dir = TempDir::new();
    dir.write("list/adult/domains", "a.example\n");
    let config = config(
        &dir,
        &registry("nsor", "ut1", "directories = { adlut = \"adult\" }"),
    );
    let problems = read(&config, &[]).unwrap_err();
    assert_eq!(problems[0].remedy, "did you mean adult?");
    assert_eq!(problems[0].line, 1);
}
