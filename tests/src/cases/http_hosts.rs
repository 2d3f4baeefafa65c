//! Hosts and URLs of single requests, however they are written.

use filter_common::reason::Reason;
use filter_common::verdict::Action;

use super::http::{get, one, page, passes, unified};
use super::{Case, Want, world};
use crate::reference::{Entry, Tier};
use crate::setup::Setup;

#[expect(clippy::too_many_lines, reason = "a table: a row for each case")]
pub(super) fn hosts() -> Vec<Case> {
    let blocked = unified().reads("www.unified.example");
    let malformed = || Want::of(Reason::RefuseHttpMalformed).by(Action::Reset);
    let plain = |head: &str| format!("{head}\r\n\r\n");
    let rows: Vec<(&str, String, Want)> = vec![
        (
            "a harmless host",
            plain("GET / HTTP/1.1\r\nHost: harmless.example"),
            passes().reads("harmless.example"),
        ),
        (
            "a forbidden host",
            plain("GET /a?b HTTP/1.1\r\nHost: www.unified.example"),
            blocked.clone(),
        ),
        (
            "upper case",
            plain("GET / HTTP/1.1\r\nHOST: WWW.Unified.EXAMPLE"),
            unified(),
        ),
        (
            "a trailing dot",
            plain("GET / HTTP/1.1\r\nHost: unified.example."),
            unified(),
        ),
        (
            "a port",
            plain("GET / HTTP/1.1\r\nHost: unified.example:8080"),
            unified(),
        ),
        (
            "no space",
            plain("GET / HTTP/1.1\r\nHost:unified.example"),
            unified(),
        ),
        (
            "white space",
            plain("GET / HTTP/1.1\r\nHost: \t  unified.example \t"),
            unified(),
        ),
        (
            "HTTP/1.0",
            plain("GET / HTTP/1.0\r\nHost: unified.example"),
            unified(),
        ),
        (
            "behind other lines",
            plain(&format!(
                "GET / HTTP/1.1\r\nCookie: {}\r\nHost: unified.example",
                "x".repeat(700)
            )),
            unified(),
        ),
        (
            "behind a short line",
            plain("GET / HTTP/1.1\r\nA:\r\nHost: unified.example"),
            unified(),
        ),
        (
            "bare line ends",
            "GET / HTTP/1.1\nHost: unified.example\n\n".to_owned(),
            unified(),
        ),
        (
            "empty lines in front",
            plain("\r\n\r\nGET / HTTP/1.1\r\nHost: unified.example"),
            unified(),
        ),
        (
            "POST with a body",
            plain("POST /form HTTP/1.1\r\nHost: unified.example\r\nContent-Length: 4") + "abcd",
            unified(),
        ),
        (
            "an unusual method",
            plain("PROPFIND / HTTP/1.1\r\nHost: unified.example"),
            unified(),
        ),
        (
            "a method in lower case",
            plain("get / HTTP/1.1\r\nHost: unified.example"),
            unified(),
        ),
        (
            "an absolute target",
            plain("GET http://unified.example/a HTTP/1.1\r\nHost: harmless.example"),
            unified(),
        ),
        (
            "an absolute target without path",
            plain("GET http://unified.example HTTP/1.1\r\nHost: harmless.example"),
            unified(),
        ),
        (
            "an absolute target with a user",
            plain("GET http://harmless.example:a@unified.example:80/ HTTP/1.1\r\nHost: x"),
            unified(),
        ),
        (
            "a harmless target, a forbidden host",
            plain("GET http://harmless.example/ HTTP/1.1\r\nHost: unified.example"),
            unified(),
        ),
        (
            "CONNECT",
            plain("CONNECT unified.example:443 HTTP/1.1\r\nHost: harmless.example"),
            unified(),
        ),
        (
            "OPTIONS *",
            plain("OPTIONS * HTTP/1.1\r\nHost: unified.example"),
            unified(),
        ),
        (
            "a target with spaces",
            plain("GET /a b HTTP/1.1\r\nHost: unified.example"),
            unified(),
        ),
        (
            "several spaces",
            plain("GET   HTTP/1.1\r\nHost: unified.example"),
            Want::of(Reason::PassNotTls),
        ),
        (
            "no host",
            plain("GET / HTTP/1.0\r\nAccept: */*"),
            Want::of(Reason::PassRequestNoName),
        ),
        (
            "an empty host",
            plain("GET / HTTP/1.1\r\nHost: "),
            Want::of(Reason::PassRequestNoName),
        ),
        (
            "HTTP/0.9",
            "GET /\r\n".to_owned(),
            Want::of(Reason::PassRequestNoName),
        ),
        (
            "two hosts",
            plain("GET / HTTP/1.1\r\nHost: harmless.example\r\nHost: unified.example"),
            malformed(),
        ),
        (
            "a host with a space in front of the colon",
            plain("GET / HTTP/1.1\r\nHost : unified.example"),
            malformed(),
        ),
        (
            "a folded host",
            plain("GET / HTTP/1.1\r\nHost:\r\n unified.example"),
            malformed(),
        ),
        (
            "two lengths",
            plain("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 2"),
            malformed(),
        ),
        (
            "length and chunks",
            plain(
                "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            ),
            malformed(),
        ),
        (
            "no number",
            plain("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1x"),
            malformed(),
        ),
        (
            "HTTP/2 without TLS",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            Want::of(Reason::RefuseHttp2).by(Action::Reset),
        ),
        (
            "another protocol",
            "EHLO unified.example\r\n".to_owned(),
            Want::of(Reason::PassNotTls),
        ),
        (
            "no request",
            "NICK unified\r\nUSER x 0 * :x\r\n".to_owned(),
            Want::of(Reason::PassNotTls),
        ),
        (
            "warned of",
            plain("GET / HTTP/1.1\r\nHost: warned.example"),
            page(Reason::WarnName, 5),
        ),
        (
            "education registry",
            plain("GET / HTTP/1.1\r\nHost: nsor.example"),
            page(Reason::BlockNsorName, 3),
        ),
        (
            "allowed locally",
            plain("GET / HTTP/1.1\r\nHost: allowed.example"),
            Want::of(Reason::PassLocalAllow),
        ),
    ];
    let rows = (0..).zip(rows);
    rows.map(|(number, (what, text, want))| one(what, number, world(), text.as_bytes(), want))
        .collect()
}

/// Entries for URLs, beside the usual ones.
fn with_urls() -> Setup {
    let mut setup = world();
    setup.entries.extend([
        Entry::url("pages.example/bad/page.html?id=7&x=1", Tier::Unified(7)),
        Entry::url("pages.example/exact", Tier::Unified(7)),
        Entry::url("pages.example/below/*", Tier::Nsor(3)),
        Entry::url("pages.example/below/this/one", Tier::Unified(8)),
        Entry::url("203.0.113.200/x", Tier::Unified(7)),
        Entry::url("unified.example/known", Tier::Unified(9)),
        Entry::url("allowed.example/known", Tier::Unified(9)),
    ]);
    setup
}

pub(super) fn urls() -> Vec<Case> {
    let exact = || unified();
    let below = || page(Reason::BlockNsorName, 3);
    let rows = [
        ("/bad/page.html?id=7&x=1", "pages.example", exact()),
        ("/bad/page.html?id=7&x=2", "pages.example", passes()),
        ("/bad/page.html", "pages.example", passes()),
        ("/exact", "pages.example", exact()),
        ("/exact", "www.pages.example", passes()),
        ("//exact", "pages.example", exact()),
        ("/%65xact", "pages.example", exact()),
        ("/./a/../exact", "pages.example", exact()),
        ("/exact?", "pages.example", passes()),
        ("/exact/", "pages.example", passes()),
        ("/Exact", "pages.example", passes()),
        ("/below", "pages.example", below()),
        ("/below/", "pages.example", below()),
        ("/below?x", "pages.example", below()),
        ("/below/a/b/c.html?q=1", "PAGES.example:80", below()),
        ("/belowx", "pages.example", passes()),
        ("/x/below/", "pages.example", passes()),
        (
            "/below/this/one",
            "pages.example",
            page(Reason::BlockNsorName, 3),
        ),
        ("http://pages.example/exact", "harmless.example", exact()),
        ("http://harmless.example/exact", "pages.example", exact()),
        ("/x", "203.0.113.200", exact()),
        ("/y", "203.0.113.200", passes()),
        (
            "/known",
            "unified.example",
            page(Reason::BlockUnifiedName, 9),
        ),
        ("/other", "unified.example", exact()),
        (
            "/known",
            "allowed.example",
            page(Reason::BlockUnifiedName, 9),
        ),
        (
            "/other",
            "allowed.example",
            Want::of(Reason::PassLocalAllow),
        ),
    ];
    let rows = (100..).zip(rows);
    rows.map(|(number, (target, host, want))| {
        let what = format!("URL {host} {target}");
        one(&what, number, with_urls(), &get(host, target), want)
    })
    .collect()
}
