//! Questions to the sample configuration, with the answers that the precedence gives.

use std::path::Path;

use super::*;
use crate::load::{Everything, offline};
use crate::registry::progress::Progress;

fn sample() -> Everything {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/schoolgate.sample.toml");
    offline(&file, Progress::Quiet).unwrap()
}

fn ask(everything: &Everything, subject: &str, org: &str, address: Option<&str>) -> Explanation {
    let address = address.map(|address| address.parse().unwrap());
    let question = Question {
        subject: subject.to_owned(),
        org: org.to_owned(),
        address,
    };
    explain(&everything.book(), everything.seed, &question).unwrap()
}

/// Subject, organisation, verdict, reason, and the winning entry's list and line.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<(&'static str, u32)>,
);

const TABLE: &[Case] = &[
    ("nobody.example", "school-1", "pass", None, None),
    (
        "forbidden.example",
        "school-1",
        "block",
        Some("block_unified_name"),
        Some(("unified", 2)),
    ),
    ("www.forbidden.example", "school-1", "pass", None, None),
    (
        "a.b.mirror.example",
        "school-1",
        "block",
        Some("block_unified_name"),
        Some(("unified", 3)),
    ),
    (
        "ПРИМЕР-запрет.example",
        "school-1",
        "block",
        Some("block_unified_name"),
        Some(("unified", 4)),
    ),
    (
        "adult.example",
        "college-7",
        "block",
        Some("block_nsor_name"),
        Some(("education/adult", 1)),
    ),
    (
        "x.casino.example",
        "school-1",
        "block",
        Some("block_age_name"),
        Some(("education/gambling", 1)),
    ),
    (
        "play.example",
        "school-1",
        "block",
        Some("block_nsor_name"),
        Some(("education/games", 2)),
    ),
    (
        "play.example",
        "college-7",
        "warn",
        Some("warn_name"),
        Some(("education/games", 2)),
    ),
    (
        "books.games.example",
        "school-1",
        "pass",
        Some("pass_local_allow"),
        Some(("library", 3)),
    ),
    (
        "chatter.example",
        "school-1",
        "block",
        Some("block_local_name"),
        Some(("messengers", 2)),
    ),
    ("chatter.example", "college-7", "pass", None, None),
    (
        "prize-draw.example",
        "college-7",
        "warn",
        Some("warn_name"),
        Some(("review", 1)),
    ),
    (
        "203.0.113.66",
        "school-1",
        "block",
        Some("block_unified_address"),
        Some(("unified", 5)),
    ),
    (
        "203.0.113.130",
        "school-1",
        "block",
        Some("block_unified_address"),
        Some(("unified", 6)),
    ),
    (
        "203.0.113.205",
        "school-1",
        "block",
        Some("block_nsor_address"),
        Some(("networks", 4)),
    ),
    (
        "203.0.113.220",
        "school-1",
        "block",
        Some("block_nsor_address"),
        Some(("networks", 3)),
    ),
    (
        "2001:db8:bad::7",
        "college-7",
        "block",
        Some("block_unified_address"),
        Some(("unified", 7)),
    ),
    (
        "1.1.1.1",
        "school-1",
        "block",
        Some("block_encrypted_dns"),
        Some(("encrypted-dns", 21)),
    ),
    (
        "mozilla.cloudflare-dns.com",
        "school-1",
        "block",
        Some("block_encrypted_dns_name"),
        Some(("encrypted-dns", 19)),
    ),
    (
        "_dns.resolver.arpa",
        "school-1",
        "block",
        Some("block_canary_name"),
        None,
    ),
    (
        "198.51.100.53",
        "school-1",
        "pass",
        Some("pass_infrastructure"),
        None,
    ),
];

#[test]
fn answers_follow_the_precedence() {
    let everything = sample();
    for (subject, org, verdict, reason, winner) in TABLE {
        let answer = ask(&everything, subject, org, None);
        let won = answer.entries.iter().find(|entry| entry.wins);
        let won = won.map(|entry| (entry.origin.list.as_str(), entry.origin.line));
        assert_eq!(
            (answer.verdict.as_str(), answer.reason.as_deref(), won),
            (*verdict, *reason, *winner),
            "{subject} {org}"
        );
    }
}

#[test]
fn every_matching_entry_is_listed_with_its_line() {
    let everything = sample();
    let answer = ask(&everything, "books.games.example", "school-1", None);
    let lists: Vec<(&str, &str, u32)> = answer
        .entries
        .iter()
        .map(|entry| {
            (
                entry.subject.as_str(),
                entry.origin.list.as_str(),
                entry.origin.line,
            )
        })
        .collect();
    assert_eq!(
        lists,
        [
            ("games.example", "education/games", 1),
            ("books.games.example", "library", 3)
        ]
    );
    assert_eq!(
        answer.entries[1].origin.text.as_deref(),
        Some("books.games.example")
    );
    assert!(
        answer
            .stages
            .last()
            .is_some_and(|stage| stage.decides && stage.step == 5)
    );
}

#[test]
fn an_address_entry_decides_before_the_name() {
    let everything = sample();
    let answer = ask(
        &everything,
        "library.example",
        "school-1",
        Some("203.0.113.66"),
    );
    assert_eq!(answer.reason.as_deref(), Some("block_unified_address"));
    assert!(
        answer
            .notes
            .iter()
            .any(|note| note.contains("allowing a name does not lift it"))
    );
}

#[test]
fn what_becomes_of_quic_is_told() {
    let everything = sample();
    let answer = ask(&everything, "library.example", "school-1", None);
    let told = |note: &String| note.contains("quic = \"inspect\"");
    assert!(answer.notes.iter().any(told), "{:?}", answer.notes);
}

#[test]
fn an_address_of_encrypted_dns_is_met_before_a_name_there() {
    let everything = sample();
    let answer = ask(&everything, "library.example", "school-1", Some("1.1.1.1"));
    assert_eq!(answer.reason.as_deref(), Some("block_encrypted_dns"));
    assert!(answer.stages.last().is_some_and(|stage| stage.step == 6));
    let unified = ask(
        &everything,
        "library.example",
        "school-1",
        Some("203.0.113.66"),
    );
    assert_eq!(unified.reason.as_deref(), Some("block_unified_address"));
}

/// What DNS says, a line for each answer.
fn dns(everything: &Everything, name: &str, org: &str) -> Vec<String> {
    let says = ask(everything, name, org, None).dns.into_iter();
    says.map(|says| format!("{}: {} ({})", says.types, says.answer, says.reason))
        .collect()
}

#[test]
fn what_dns_says_is_told_by_type() {
    let everything = sample();
    let of = |name| dns(&everything, name, "school-1");
    assert_eq!(
        of("nobody.example"),
        [
            "A, AAAA: goes to the resolver (pass_dns_name)",
            "HTTPS, SVCB: no record (pass_dns_withheld)",
            "other: goes to the resolver (pass_dns_name)",
        ]
    );
    assert_eq!(
        of("forbidden.example"),
        [
            "A: 198.51.100.80 (the portal) (block_unified_name)",
            "AAAA: 2001:db8:ffff::80 (the portal) (block_unified_name)",
            "HTTPS, SVCB, other: no record (block_unified_name)",
        ]
    );
    assert_eq!(
        of("dns.google"),
        ["A, AAAA, HTTPS, SVCB, other: no such name (block_encrypted_dns_name)"]
    );
    assert_eq!(
        of("cloudflare-ech.com"),
        ["A, AAAA, HTTPS, SVCB, other: no such name (block_ech_name)"]
    );
    assert_eq!(
        of("www.youtube.com"),
        [
            "A: 216.239.38.120 (safe search of YouTube) (pass_safe_search)",
            "AAAA: 2001:4860:4802:32::78 (safe search of YouTube) (pass_safe_search)",
            "HTTPS, SVCB: no record (pass_safe_search)",
            "other: goes to the resolver (pass_dns_name)",
        ]
    );
    let college = dns(&everything, "www.youtube.com", "college-7");
    assert!(college[0].starts_with("A: 216.239.38.119"), "{college:?}");
    assert!(ask(&everything, "1.1.1.1", "school-1", None).dns.is_empty());
}

#[test]
fn wrong_questions_are_told_apart() {
    let everything = sample();
    let ask = |subject: &str, org: &str| {
        let question = Question {
            subject: subject.to_owned(),
            org: org.to_owned(),
            address: None,
        };
        explain(&everything.book(), everything.seed, &question).unwrap_err()
    };
    assert!(ask("a.example", "school-2").contains("did you mean school-1?"));
    assert!(ask("203.0.113.0/24", "school-1").contains("is a prefix"));
    assert!(ask("two words", "school-1").contains("not a host name"));
}

#[test]
fn what_a_person_gets_to_see_is_told_where_there_is_a_portal() {
    let mut everything = sample();
    let told = |everything: &Everything, subject: &str| {
        let notes = ask(everything, subject, "school-1", None).notes;
        let has = |what: &str| notes.iter().any(|note| note.contains(what));
        (has("redirect to the portal's page"), has("for 15 minutes"))
    };
    assert_eq!(told(&everything, "prize-draw.example"), (true, true));
    assert_eq!(told(&everything, "forbidden.example"), (true, false));
    assert_eq!(told(&everything, "203.0.113.66"), (false, false));
    assert_eq!(told(&everything, "nobody.example"), (false, false));
    everything.config.portal = None;
    assert_eq!(told(&everything, "prize-draw.example"), (false, false));
}
