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
        at: None,
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
            at: None,
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

/// A school whose lessons have a profile of their own, with a segment.
const TIMED: &str = r#"
[[profiles]]
id = "home"
[[profiles]]
id = "lessons"
block = ["games"]
[[schedules]]
id = "day"
ranges = [{ days = "mon-fri", from = "08:00", to = "14:30", profile = "lessons" }]
[[registries]]
id = "games"
tier = "nsor"
format = "domains"
semantics = "suffix"
path = "games.txt"
categories = ["games"]
[[registries]]
id = "law"
tier = "unified"
format = "domains"
semantics = "suffix"
path = "law.txt"
[[organisations]]
id = "s"
timezone = "Asia/Omsk"
prefixes = ["192.0.2.0/28"]
profile = "home"
schedule = "day"
[[organisations.segments]]
id = "lab"
prefixes = ["192.0.2.8/29"]
profile = "lessons"
"#;

fn timed(dir: &crate::testing::TempDir) -> Everything {
    dir.write("games.txt", "play.example\n");
    dir.write("law.txt", "forbidden.example\n");
    offline(&dir.write("s.toml", TIMED), Progress::Quiet).unwrap()
}

fn ask_at(everything: &Everything, subject: &str, org: &str, at: &str) -> Explanation {
    let question = Question {
        subject: subject.to_owned(),
        org: org.to_owned(),
        address: None,
        at: Some(at.to_owned()),
    };
    explain(&everything.book(), everything.seed, &question).unwrap()
}

#[test]
fn the_profile_is_that_of_the_moment_asked_about() {
    let dir = crate::testing::TempDir::new();
    let everything = timed(&dir);
    // 2026-09-01 is a Tuesday; Omsk is six hours ahead.
    let rows = [
        ("s", "2026-09-01T08:00", "lessons", "block"),
        ("s", "2026-09-01T02:00:00Z", "lessons", "block"),
        ("s", "2026-09-01T07:59:59", "home", "pass"),
        ("s", "2026-09-05T09:00", "home", "pass"),
        ("s/lab", "2026-09-05T09:00", "lessons", "block"),
    ];
    for (org, at, profile, verdict) in rows {
        let told = ask_at(&everything, "play.example", org, at);
        assert_eq!(
            (told.profile.as_str(), told.verdict.as_str()),
            (profile, verdict),
            "{org} {at}"
        );
    }
    let told = ask_at(&everything, "play.example", "s", "2026-09-01T08:00");
    assert_eq!(
        told.by,
        "schedule day: mon,tue,wed,thu,fri 08:00-14:30, line 9"
    );
    assert_eq!(told.at, "Tue 2026-09-01 08:00:00 Asia/Omsk");
}

#[test]
fn a_bypass_lifts_all_but_what_is_mandatory_in_all_segments() {
    use crate::bypass::Bypass;
    let dir = crate::testing::TempDir::new();
    let everything = timed(&dir);
    let now = jiff::Timestamp::now();
    let bypass = Bypass::new(now, 600, "an exam", 0);
    everything
        .bypasses
        .put(dir.path(), now, "s", Some(bypass))
        .unwrap();
    let ask = |subject| super::tests::ask(&everything, subject, "s/lab", None);
    let told = ask("play.example");
    assert_eq!(told.reason.as_deref(), Some("pass_bypass"));
    assert!(
        told.stages
            .iter()
            .any(|stage| stage.decides && stage.step == 4)
    );
    assert!(
        told.notes.iter().any(|note| note.contains("an exam")),
        "{:?}",
        told.notes
    );
    assert_eq!(
        ask("forbidden.example").reason.as_deref(),
        Some("block_unified_name")
    );
    let later = now + jiff::SignedDuration::from_secs(601);
    let told = ask_at(&everything, "play.example", "s/lab", &later.to_string());
    assert_eq!(told.verdict, "block");
}

#[test]
fn services_are_allowed_and_denied_and_told_by_their_lines() {
    let dir = crate::testing::TempDir::new();
    dir.write(
        "services.json",
        "[{\"id\": \"chat\",\n \"domains\": [\"chat.example\"],\n \"prefixes\": [\"198.51.100.0/24\"]},\n {\"id\": \"idle\", \"domains\": [\"idle.example\"]}]",
    );
    let text = "services_file = \"services.json\"\n\
                [[services]]\nid = \"diary\"\ndomains = [\"diary.chat.example\"]\n\
                [[profiles]]\nid = \"p\"\ndeny_services = [\"chat\"]\nallow_services = [\"diary\"]\n\
                [[organisations]]\nid = \"s\"\nprefixes = [\"192.0.2.0/28\"]\nprofile = \"p\"\n";
    let everything = offline(&dir.write("s.toml", text), Progress::Quiet).unwrap();
    assert_eq!(
        everything.summaries.len(),
        2,
        "a service that is not used is no list"
    );
    let rows = [
        (
            "www.chat.example",
            "block_local_name",
            "service/chat",
            "services.json",
            2,
        ),
        (
            "198.51.100.9",
            "block_local_address",
            "service/chat",
            "services.json",
            3,
        ),
        (
            "diary.chat.example",
            "pass_local_allow",
            "service/diary",
            "s.toml",
            4,
        ),
    ];
    for (subject, reason, list, file, line) in rows {
        let told = ask(&everything, subject, "s", None);
        assert_eq!(told.reason.as_deref(), Some(reason), "{subject}");
        let winner = told.entries.iter().find(|entry| entry.wins).unwrap();
        assert_eq!(
            (winner.origin.list.as_str(), winner.origin.line),
            (list, line)
        );
        assert!(winner.origin.file.ends_with(file));
    }
    assert_eq!(ask(&everything, "idle.example", "s", None).reason, None);
}
