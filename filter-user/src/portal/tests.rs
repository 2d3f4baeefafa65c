//! The portal over a small configuration: every page in both languages, and every way to a grant that
//! must be closed.

use std::sync::Arc;

use filter_common::limits::GRANT_SETS;
use filter_common::reason::Reason;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::request::Request;
use super::{Portal, Slot, View};
use crate::kernel::Grants;
use crate::kernel::memory::Array;
use crate::load::offline;
use crate::registry::progress::Progress;
use crate::testing::TempDir;

mod consent;

/// The portal's name, as `Host` has it.
const OWN: &str = "filter.example";
const NOW: u64 = 50_000;

const CONFIG: &str = r#"
[[interfaces]]
name = "edge0"
vlans = { "7" = "far" }

[[registries]]
id = "law"
tier = "unified"
format = "mixed"
semantics = "exact"
path = "law.txt"

[[registries]]
id = "dump"
tier = "unified"
format = "dump"
path = "dump.xml"

[[registries]]
id = "drugs"
tier = "nsor"
format = "domains"
semantics = "suffix"
path = "drugs.txt"
categories = ["drugs"]

[[registries]]
id = "games"
tier = "nsor"
format = "domains"
semantics = "suffix"
path = "games.txt"
categories = ["games"]

[[registries]]
id = "shops"
tier = "nsor"
format = "mixed"
semantics = "suffix"
path = "shops.txt"
categories = ["shopping"]

[[profiles]]
id = "pupils"
age = 16
block = ["games"]
warn = ["shopping"]

[[profiles]]
id = "teachers"
warn = ["games"]

[[organisations]]
id = "one"
prefixes = ["192.0.2.0/28", "2001:db8:1::/48"]
profile = "pupils"

[[organisations]]
id = "two"
prefixes = ["192.0.2.16/28", "10.0.0.0/24"]
profile = "teachers"

[[organisations]]
id = "far"
realm = "far"
prefixes = ["10.0.0.0/24"]
profile = "pupils"

[portal]
listen = ["198.51.100.80:80", "198.51.100.81:8080"]
address = ["198.51.100.80", "2001:db8:ffff::80"]
host = "filter.example"
name = "Provider <of> & \"networks\""
contact = "help@provider.example"
"#;

const DUMP: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<reg:register xmlns:reg="http://rsoc.ru" updateTime="2026-01-15T12:00:00+03:00" formatVersion="2.4">
<content id="81" includeTime="2026-01-10T09:15:00" entryType="1" blockType="domain" hash="A">
<decision date="2026-01-09" number="2/1 &lt;x&gt;" org="Authority"/><domain>unlawful.example</domain></content>
</reg:register>
"#;

struct Stage {
    portal: Portal,
    view: Arc<View>,
    _dir: TempDir,
}

impl Stage {
    fn new() -> Stage {
        let dir = TempDir::new();
        dir.write("law.txt", "forbidden.example\n203.0.113.66\n");
        dir.write("dump.xml", DUMP);
        dir.write("drugs.txt", "drugs.example\n");
        dir.write("games.txt", "play.example\n");
        let lists = "shop.example\n203.0.113.0/28\n";
        dir.write("shops.txt", lists);
        let file = dir.write("s.toml", CONFIG);
        let everything = offline(&file, Progress::Quiet).unwrap();
        let settings = everything.config.portal.clone().unwrap();
        let ids = everything
            .config
            .organisations
            .iter()
            .map(|org| org.id.as_str());
        assert_eq!(ids.collect::<Vec<_>>(), ["far", "one", "two"]);
        let grants = Grants::new(Array::heap(GRANT_SETS));
        let numbers = [(0, 5), (1, 1), (2, 2)];
        let view = View::new(Arc::new(everything), &numbers, grants);
        let slot = Slot::default();
        slot.put(view);
        let view = slot.get().unwrap();
        let portal = Portal::new(settings, slot).unwrap();
        Stage {
            portal,
            view,
            _dir: dir,
        }
    }

    fn entry(&self, subject: &str) -> u32 {
        self.view.number_of(subject).unwrap()
    }

    /// Where the data plane sends those whom it stopped.
    fn sent(&self, page: &str, subject: &str, org: u32, reason: Reason) -> String {
        let (entry, reason) = (self.entry(subject), reason.number());
        format!("/{page}?e={entry}&o={org}&r={reason}")
    }

    fn warned(&self) -> String {
        self.sent("w", "shop.example", 1, Reason::WarnName)
    }

    fn get(&self, target: &str) -> Answer {
        self.ask(&Request::get(OWN, target))
    }

    fn ask(&self, request: &Request) -> Answer {
        self.portal.answer(request, NOW)
    }

    fn token(&self) -> String {
        token(&self.get(&self.warned())).unwrap()
    }

    /// Whether the usual client may go on to the shop.
    fn granted(&self) -> bool {
        let key = self.view.organisation_key(1).unwrap();
        let client = [192, 0, 2, 1].into();
        self.view
            .granted_seconds(key, client, self.entry("shop.example"))
            > 0
    }
}

fn token(answer: &Answer) -> Option<String> {
    let (_, rest) = answer.body.split_once("name=\"t\" value=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let found = answer.headers.iter().find(|(known, _)| *known == name);
    found.map_or("", |(_, value)| value)
}

/// Everything that a visitor can be shown.
fn targets(stage: &Stage) -> Vec<(&'static str, String, u16)> {
    let own = |target: String, status| (OWN, target, status);
    let blocked = |name, reason, status| own(stage.sent("b", name, 1, reason), status);
    let host = |host, status| (host, "/any/path?x=<y>".to_owned(), status);
    vec![
        blocked("forbidden.example", Reason::BlockUnifiedName, 451),
        blocked("drugs.example", Reason::BlockNsorName, 403),
        blocked("play.example", Reason::BlockNsorName, 403),
        blocked("203.0.113.66", Reason::BlockUnifiedAddress, 451),
        own(
            stage.sent("w", "203.0.113.0/28", 1, Reason::WarnAddress),
            403,
        ),
        own(stage.warned(), 403),
        own("/b?e=0&o=1&r=40".to_owned(), 403),
        own("/b?e=4000000000&o=70000&r=999".to_owned(), 403),
        own("/b?e=4000000000&r=36".to_owned(), 451),
        own("/w".to_owned(), 403),
        own("/why".to_owned(), 200),
        own("/".to_owned(), 200),
        own("/why?name=shop.example".to_owned(), 200),
        own(
            "/why?name=https%3A%2F%2Fwww.play.example%2Fx".to_owned(),
            200,
        ),
        own(
            "/why?name=%D1%88%D0%BA%D0%BE%D0%BB%D0%B0.example".to_owned(),
            200,
        ),
        own("/why?name=%22%3E%3Cscript%3E".to_owned(), 200),
        own("/back".to_owned(), 200),
        own("/none".to_owned(), 404),
        own("/continue".to_owned(), 405),
        host("forbidden.example", 451),
        host("www.play.example:8080", 403),
        host("shop.example", 403),
        host("harmless.example", 421),
        host("203.0.113.66", 451),
        host("[2001:db8::5]", 421),
        host("<script>\"'", 421),
        host("", 421),
    ]
}

#[test]
fn every_page_is_small_and_alone_and_says_its_language() {
    let stage = Stage::new();
    let provider = "Provider &lt;of&gt; &amp; &quot;networks&quot;";
    for (host, target, status) in targets(&stage) {
        for language in ["ru", "en"] {
            let request = Request {
                accept_language: language.to_owned(),
                ..Request::get(host, &target)
            };
            let answer = stage.ask(&request);
            let (page, what) = (&answer.body, format!("{host} {target} {language}"));
            assert_eq!(answer.status, status, "{what}");
            assert!(page.len() < 14_000, "{what}: {} bytes", page.len());
            let start = format!("<!DOCTYPE html>\n<html lang=\"{language}\">");
            assert!(page.starts_with(&start), "{what}");
            for foreign in ["<script", "javascript:", "src=", "<link", "@import", "url("] {
                assert!(!page.contains(foreign), "{what}: {foreign}");
            }
            for link in page.split("href=\"").skip(1) {
                let own = ["/", "?", "http://filter.example/"];
                assert!(
                    own.iter().any(|start| link.starts_with(start)),
                    "{what}: {link}"
                );
            }
            assert!(page.contains(provider), "{what}");
            let other = if language == "ru" { "en" } else { "ru" };
            assert!(page.contains(&format!("lang={other}\" hreflang")), "{what}");
            assert_eq!(page.matches("<h1>").count(), 1, "{what}");
            assert_eq!(page.matches("<main>").count(), 1, "{what}");
            assert_eq!(header(&answer, "Content-Language"), language, "{what}");
        }
    }
}

#[test]
fn the_largest_page_is_small_too() {
    let stage = Stage::new();
    let mut settings = stage.portal.settings.clone();
    settings.name = "\"".repeat(120);
    settings.contact = "\"".repeat(200);
    settings.appeal = "\"".repeat(500);
    let portal = Portal::new(settings, Slot::default()).unwrap();
    for r in 20..=31 {
        let answer = portal.answer(&Request::get(OWN, &format!("/b?r={r}")), NOW);
        assert!(answer.body.len() < 14_000, "{}", answer.body.len());
        assert!(answer.body.contains("&quot;&quot;"));
    }
    let long = "%22".repeat(5_000);
    let page = portal.answer(&Request::get(OWN, &format!("/why?name={long}")), NOW);
    assert!(page.body.len() < 14_000, "{}", page.body.len());
}

#[test]
fn headers_let_nothing_in_and_nothing_out() {
    let stage = Stage::new();
    for (host, target, _) in targets(&stage) {
        let answer = stage.ask(&Request::get(host, &target));
        let (_, rest) = answer.body.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let policy = header(&answer, "Content-Security-Policy");
        let (_, rest) = policy.split_once("style-src 'sha256-").unwrap();
        let (hash, rest) = rest.split_once("'; ").unwrap();
        assert_eq!(unbase64(hash), Sha256::digest(style).to_vec(), "{target}");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert_eq!(
            rest,
            "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        assert_eq!(header(&answer, "X-Content-Type-Options"), "nosniff");
        assert_eq!(header(&answer, "Cache-Control"), "no-store");
        // The page with the form tells its origin to itself, no page to anybody else.
        let referrer = if token(&answer).is_some() {
            "same-origin"
        } else {
            "no-referrer"
        };
        assert_eq!(header(&answer, "Referrer-Policy"), referrer);
        let link = header(&answer, "Link");
        let wanted = "<http://filter.example/>; rel=\"blocked-by\"";
        assert_eq!(link, if answer.status == 451 { wanted } else { "" });
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = text.trim_end_matches('=').chars();
    let bits: String = bits
        .map(|letter| format!("{:06b}", letters.find(letter).unwrap()))
        .collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    bytes
        .map(|bits| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap())
        .collect()
}

#[test]
fn a_block_is_told_with_category_registry_entry_and_appeal() {
    let stage = Stage::new();
    let page = |target: &str| stage.get(&format!("{target}&lang=en")).body;
    let games = page(&stage.sent("b", "play.example", 1, Reason::BlockNsorName));
    let entry = stage.entry("play.example");
    for part in [
        "Games",
        "Education registry",
        "games:1",
        "Provider",
        "help@provider.example",
    ] {
        assert!(games.contains(part), "{part}");
    }
    assert!(games.contains(&format!("№\u{a0}{entry}")));
    assert!(games.contains("If this is a mistake"));
    let unified = page(&stage.sent("b", "forbidden.example", 1, Reason::BlockUnifiedName));
    assert!(unified.contains("Unified Registry") && unified.contains("in court"));
    // Whoever counts entries through learns no names.
    for entry in 0..20 {
        for at in ["b", "w"] {
            let page = page(&format!("/{at}?e={entry}&o=1&r=36"));
            assert!(
                !page.contains(".example\"") && !page.contains("shop.ex"),
                "{entry}"
            );
            for name in ["forbidden.", "drugs.example", "play.example", "203.0.113"] {
                assert!(!page.contains(name), "{entry}: {name}");
            }
        }
    }
}

#[test]
fn a_name_is_explained_for_the_organisation_that_asks() {
    let stage = Stage::new();
    let ask = |client: [u8; 4], name: &str| {
        let request = Request {
            client: client.into(),
            ..Request::get(OWN, &format!("/why?name={name}&lang=en"))
        };
        stage.ask(&request).body
    };
    assert!(ask([192, 0, 2, 1], "www.play.example").contains("Access is restricted"));
    assert!(ask([192, 0, 2, 20], "www.play.example").contains("may be unsuitable"));
    assert!(ask([192, 0, 2, 1], "open.example").contains("Nothing is restricted"));
    assert!(ask([192, 0, 2, 40], "play.example").contains("belongs to no educational"));
    assert!(ask([192, 0, 2, 1], "not+a+name").contains("does not look like"));
    // Two realms share this address: nobody can tell whose it is.
    assert!(ask([10, 0, 0, 1], "play.example").contains("belongs to no educational"));
    let told = Request {
        client: [10, 0, 0, 1].into(),
        ..Request::get(OWN, &stage.sent("w", "play.example", 2, Reason::WarnName))
    };
    assert!(token(&stage.ask(&told)).is_some(), "the number tells");
    assert!(token(&stage.get("/why?name=shop.example")).is_some());
}

#[test]
fn the_decision_behind_an_entry_is_shown() {
    let stage = Stage::new();
    let blocked = stage.sent("b", "unlawful.example", 1, Reason::BlockUnifiedName);
    let body = stage.get(&blocked).body;
    let shown = "Authority, 2026-01-09, №\u{a0}2/1 &lt;x&gt;";
    assert!(body.contains(shown) && body.contains("dump:81"), "{body}");
    let request = Request {
        accept: "application/json".to_owned(),
        ..Request::get(OWN, &blocked)
    };
    let told: Value = serde_json::from_str(&stage.ask(&request).body).unwrap();
    assert_eq!(told["decision"]["number"], "2/1 <x>");
    assert_eq!(told["decision"]["record"], "81");
}

#[test]
fn programs_get_problem_details() {
    let stage = Stage::new();
    let ask = |host: &str, target: &str| {
        let request = Request {
            accept: "application/json".to_owned(),
            accept_language: "en".to_owned(),
            ..Request::get(host, target)
        };
        let answer = stage.ask(&request);
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        (answer, value)
    };
    let blocked = stage.sent("b", "play.example", 1, Reason::BlockNsorName);
    let (answer, told) = ask(OWN, &blocked);
    assert_eq!(header(&answer, "Content-Type"), "application/problem+json");
    assert_eq!(told["status"], 403);
    assert_eq!(told["type"], "http://filter.example/why#education");
    assert_eq!(told["category"], "games");
    assert_eq!(told["registry"], "nsor");
    assert_eq!(told["reference"], "games:1");
    assert_eq!(told["entry"], stage.entry("play.example"));
    assert_eq!(told["decision"], Value::Null);
    let (answer, told) = ask(OWN, "/why?name=open.example");
    assert_eq!(header(&answer, "Content-Type"), "application/json");
    assert_eq!(told["restriction"], "none");
    let (_, told) = ask("shop.example", "/");
    let warning = told["warning"].as_str().unwrap();
    assert!(
        warning.starts_with("http://filter.example/w?e="),
        "{warning}"
    );
    let (answer, _) = ask(OWN, &stage.warned());
    let key = answer.body.contains("token") || answer.body.len() > 2_000;
    assert!(!key, "a program gets no token: {}", answer.body);
}

#[test]
fn without_a_state_there_still_is_a_page() {
    let stage = Stage::new();
    let portal = Portal::new(stage.portal.settings.clone(), Slot::default()).unwrap();
    for (host, target) in [
        (OWN, "/b?e=1&o=1&r=32"),
        ("any.example", "/"),
        (OWN, "/why?name=a.b"),
    ] {
        let answer = portal.answer(&Request::get(host, target), NOW);
        assert!(answer.body.contains("help@provider.example") || answer.status == 200);
        assert_eq!(token(&answer), None);
    }
}

#[test]
fn a_client_that_asks_too_much_is_told_so_and_others_go_on() {
    let stage = Stage::new();
    let statuses: Vec<u16> = (0..300).map(|_| stage.get("/why").status).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        200
    );
    assert_eq!(statuses.last(), Some(&429));
    let other = Request {
        client: [192, 0, 2, 9].into(),
        ..Request::get(OWN, "/why")
    };
    assert_eq!(stage.ask(&other).status, 200);
}
