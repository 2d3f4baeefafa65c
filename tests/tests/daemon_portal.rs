//! The portal of the real daemon: pages by curl from a school, "continue" as a grant in the kernel, and
//! what the pages look like.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use schoolgate_tests::lab::client::{Ended, connect};
use schoolgate_tests::lab::commands::screenshot;
use schoolgate_tests::lab::daemon::{CONFIG, Daemon, program_or_skip};
use schoolgate_tests::lab::namespace::Namespace;
use schoolgate_tests::lab::scene::{
    ALLOWED, EXACT, ORGANISATION, PORTAL, PORTAL_CONFIG, PORTAL6, SHOPS_CONFIG, Scene, config,
};
use schoolgate_tests::lab::server::Server;
use schoolgate_tests::lab::topology::{SCHOOL4, SCHOOL6, SERVER4, SERVER6};
use schoolgate_tests::lab::{artefacts, patience, process, skip};

/// A name that the profile warns of.
const WARNED: &str = "warned.example";
/// Number of the only organisation.
const ORG: u32 = 1;

fn start(program: &Path) -> (Scene, Daemon) {
    let scene = Scene::new(program).unwrap();
    let profile = "id = \"pupils\"\n";
    let text = config(&scene.site).replace(profile, &format!("{profile}warn = [\"shopping\"]\n"));
    scene
        .site
        .write(CONFIG, &(text + SHOPS_CONFIG + PORTAL_CONFIG))
        .unwrap();
    scene
        .site
        .write("shops.txt", &format!("{WARNED}\n"))
        .unwrap();
    let daemon = scene.site.start(&scene.topology.edge).unwrap();
    (scene, daemon)
}

/// An answer as curl shows it.
#[derive(Debug)]
struct Told {
    status: u16,
    headers: String,
    body: String,
}

impl Told {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.lines();
        lines.find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn token(&self) -> Option<&str> {
        let (_, rest) = self.body.split_once("name=\"t\" value=\"")?;
        Some(rest.split_once('"')?.0)
    }

    /// Number of the entry, as a person would read it out.
    fn entry(&self) -> u32 {
        let (_, rest) = self.body.split_once("№\u{a0}").unwrap();
        rest.split_once([' ', '<']).unwrap().0.parse().unwrap()
    }
}

fn curl(namespace: &Namespace, arguments: &[&str]) -> Told {
    let mut command = namespace.command("curl");
    command.args(["--silent", "--show-error", "--include", "--noproxy", "*"]);
    command.args(["--max-time", "10"]).args(arguments);
    let done = process::run(command, Duration::from_secs(15)).unwrap();
    let (head, body) = done
        .stdout
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{done:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Told {
        status: status.unwrap(),
        headers: head.to_owned(),
        body: body.to_owned(),
    }
}

fn page(scene: &Scene, target: &str) -> Told {
    curl(
        &scene.topology.school,
        &[&format!("http://{PORTAL}{target}")],
    )
}

fn asked_by_host(scene: &Scene, host: &str) -> Told {
    let url = format!("http://{PORTAL}/some/page");
    curl(
        &scene.topology.school,
        &["--header", &format!("Host: {host}"), &url],
    )
}

fn go_on(from: &Namespace, token: &str, origin: &str) -> Told {
    let url = format!("http://{PORTAL}/continue");
    let origin = format!("Origin: {origin}");
    let form = format!("t={token}&lang=en");
    curl(from, &["--header", &origin, "--data", &form, &url])
}

fn grants(scene: &Scene) -> u64 {
    let status = scene
        .site
        .ask_json(&scene.topology.edge, &["status"])
        .unwrap();
    let fill = status.get("fill").and_then(|fill| fill.as_array()).unwrap();
    let level = fill.iter().find(|level| level["map"] == "GRANTS").unwrap();
    level["used"].as_u64().unwrap()
}

fn fetch(scene: &Scene, ipv6: bool, name: &str) -> Ended {
    let to: IpAddr = if ipv6 { SERVER6.into() } else { SERVER4.into() };
    scene.fetch(&scene.topology.school, to, name).unwrap()
}

#[test]
fn pages_tell_what_was_blocked_and_by_whom() {
    let Some(program) = program_or_skip("daemon_portal") else {
        return;
    };
    let (scene, mut daemon) = start(&program);
    let law = asked_by_host(&scene, EXACT);
    assert_eq!(law.status, 451);
    let link = "<http://filter.example/>; rel=\"blocked-by\"";
    assert_eq!(law.header("link"), Some(link));
    assert!(law.body.contains("law:2") && law.body.contains("Example Telecom"));
    let by_number = page(&scene, &format!("/b?e={}&o={ORG}&r=36", law.entry()));
    assert_eq!(by_number.status, 451);
    assert!(by_number.body.contains("law:2") && !by_number.body.contains(EXACT));
    assert_eq!(page(&scene, "/b?e=0&o=1&r=40").status, 403);
    assert_eq!(asked_by_host(&scene, ALLOWED).status, 421);
    let json = ["--header", "Accept: application/json"];
    let url = format!("http://[{PORTAL6}]/b?e={}&o={ORG}&r=36", law.entry());
    let problem = curl(&scene.topology.school, &[json[0], json[1], &url]);
    assert_eq!(
        problem.header("content-type"),
        Some("application/problem+json")
    );
    let members: serde_json::Value = serde_json::from_str(&problem.body).unwrap();
    assert_eq!(
        (&members["registry"], &members["status"]),
        (&"unified".into(), &451.into())
    );
    // A head that is too long, and a client that is not enrolled.
    let long = format!("X: {}", "x".repeat(30_000));
    let url = format!("http://{PORTAL}/");
    assert_eq!(
        curl(&scene.topology.school, &["--header", &long, &url]).status,
        431
    );
    let url = format!("http://{PORTAL}/why?name={WARNED}");
    let stranger = curl(&scene.topology.neighbour, &[&url]);
    assert_eq!((stranger.status, stranger.token()), (200, None));
    // Neither addresses nor names are logged.
    let log = daemon.process().stderr();
    let school = [SCHOOL4.to_string(), SCHOOL6.to_string()];
    for secret in school.iter().map(String::as_str).chain([EXACT, WARNED]) {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// What a program of the school's makes of `http://NAME/`, whose server is the lab's: the last answer's
/// status, the number of redirects, and the body.
fn followed(scene: &Scene, name: &str) -> (u16, u32, String) {
    let resolve = format!("{name}:80:{SERVER4}");
    let url = format!("http://{name}/some/page?and=more");
    let mut command = scene.topology.school.command("curl");
    command.args(["--silent", "--show-error", "--location", "--noproxy", "*"]);
    command.args(["--max-time", "10", "--resolve", &resolve]);
    command.args(["--resolve", &format!("filter.example:80:{PORTAL}")]);
    command.args(["--write-out", "\n%{http_code} %{num_redirects}", &url]);
    let done = process::run(command, Duration::from_secs(15)).unwrap();
    let (body, numbers) = done.stdout.rsplit_once('\n').unwrap();
    let (status, redirects) = numbers.split_once(' ').unwrap();
    let body = body.to_owned();
    (status.parse().unwrap(), redirects.parse().unwrap(), body)
}

/// Writes these parts of a stream one by one, waits for each to be on its way, and reads what comes up to
/// the end of a head.
fn say(stream: &mut TcpStream, parts: &[&str]) -> String {
    for part in parts {
        stream.write_all(part.as_bytes()).unwrap();
        stream.flush().unwrap();
    }
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_blocked_request_leads_to_its_page() {
    let Some(program) = program_or_skip("daemon_portal") else {
        return;
    };
    let (scene, _daemon) = start(&program);
    let server = Server::http(&scene.topology.internet, 80).unwrap();
    let (status, redirects, body) = followed(&scene, ALLOWED);
    assert_eq!((status, redirects), (200, 0));
    assert!(body.contains(&format!("served as {ALLOWED}")));
    let (status, redirects, body) = followed(&scene, EXACT);
    assert_eq!((status, redirects), (451, 1), "{body}");
    assert!(body.contains("law:2"), "{body}");
    let (status, redirects, body) = followed(&scene, WARNED);
    assert_eq!((status, redirects), (403, 1), "{body}");
    assert!(body.contains("name=\"t\""), "a form to go on: {body}");
    // Several requests of one connection, each in two segments.
    let to = SocketAddr::new(SERVER4.into(), 80);
    let school = &scene.topology.school;
    let connected = || connect(to, patience(Duration::from_secs(5)));
    let mut stream = school.enter(connected).unwrap().unwrap();
    let rest = format!("{ALLOWED}\r\n\r\n");
    let served = say(&mut stream, &["GET / HTTP/1.1\r\nHo", "st: ", &rest]);
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    let mut page = vec![0; schoolgate_tests::lab::server::page(ALLOWED).len()];
    stream.read_exact(&mut page).unwrap();
    let (front, back) = EXACT.split_at(4);
    let rest = format!("{back}\r\n\r\n");
    let start = format!("GET /again HTTP/1.1\r\nHost: {front}");
    let redirected = say(&mut stream, &[&start, &rest]);
    assert!(redirected.starts_with("HTTP/1.1 302"), "{redirected}");
    let location = "\r\nLocation: http://filter.example/b?e=";
    assert!(redirected.contains(location), "{redirected}");
    let heard = server.log().all();
    let named = |name: &str| {
        heard
            .iter()
            .any(|heard| heard.name.as_deref() == Some(name))
    };
    assert!(
        named(ALLOWED) && !named(EXACT) && !named(WARNED),
        "{heard:?}"
    );
}

#[test]
fn port_443_of_the_portal_refuses_at_once() {
    let Some(program) = program_or_skip("daemon_portal") else {
        return;
    };
    let (scene, _daemon) = start(&program);
    for address in [PORTAL, PORTAL6] {
        let to = SocketAddr::new(address.parse().unwrap(), 443);
        let started = Instant::now();
        let school = &scene.topology.school;
        let refused = school
            .enter(|| connect(to, Duration::from_secs(5)))
            .unwrap();
        let kind = refused.map(drop).map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::ConnectionRefused), "{to}");
        assert!(started.elapsed() < patience(Duration::from_secs(1)));
    }
}

#[test]
fn continue_opens_what_was_warned_of_for_that_address() {
    let Some(program) = program_or_skip("daemon_portal") else {
        return;
    };
    let (scene, daemon) = start(&program);
    let (school, neighbour) = (&scene.topology.school, &scene.topology.neighbour);
    let own = format!("http://{PORTAL}");
    assert_eq!(fetch(&scene, false, WARNED), Ended::Reset);
    let asked = page(&scene, &format!("/why?name={WARNED}"));
    let target = format!("/w?e={}&o={ORG}&r=42", asked.entry());
    let warning = page(&scene, &target);
    assert_eq!(warning.status, 403);
    let token = warning.token().unwrap();
    // Refused: another site's form, another client, a token with one digit changed.
    let forged = token.replace('a', "b");
    assert_eq!(go_on(school, token, "http://evil.example").status, 403);
    assert_eq!(go_on(neighbour, token, &own).status, 403);
    assert_eq!(go_on(school, &forged, &own).status, 403);
    assert_eq!(
        (fetch(&scene, false, WARNED), grants(&scene)),
        (Ended::Reset, 0)
    );
    let opened = go_on(school, token, &own);
    assert_eq!(opened.status, 303);
    assert_eq!(grants(&scene), 1);
    let to = opened.header("location").unwrap();
    let granted = page(&scene, to);
    assert_eq!((granted.status, granted.token()), (200, None));
    assert!(fetch(&scene, false, WARNED).is_page_of(WARNED));
    let www = format!("www.{WARNED}");
    assert!(
        fetch(&scene, false, &www).is_page_of(&www),
        "the entry is a suffix"
    );
    // The same school by IPv6 is another address, and the law is no warning.
    assert_eq!(fetch(&scene, true, WARNED), Ended::Reset);
    assert_eq!(fetch(&scene, false, EXACT), Ended::Reset);
    assert_eq!(go_on(school, token, &own).status, 403, "replayed");
    let counts = scene
        .site
        .counts(&scene.topology.edge, ORGANISATION)
        .unwrap();
    assert_eq!(counts.get("pass_grant"), Some(&2), "{counts:?}");
    // A reload that leaves the entry leaves the grant; another daemon numbers its entries anew.
    scene
        .site
        .ask(&scene.topology.edge, &["reload", "--wait"])
        .unwrap();
    assert!(fetch(&scene, false, WARNED).is_page_of(WARNED));
    daemon.kill();
    assert!(
        fetch(&scene, false, WARNED).is_page_of(WARNED),
        "filtering goes on"
    );
    let _next = scene.site.start(&scene.topology.edge).unwrap();
    assert_eq!(
        (fetch(&scene, false, WARNED), grants(&scene)),
        (Ended::Reset, 0)
    );
    assert_eq!(
        go_on(school, token, &own).status,
        403,
        "of an earlier daemon"
    );
}

#[test]
fn a_client_that_says_nothing_is_cut_off() {
    let Some(program) = program_or_skip("daemon_portal") else {
        return;
    };
    let (scene, _daemon) = start(&program);
    let to = SocketAddr::new(PORTAL.parse().unwrap(), 80);
    let limit = patience(Duration::from_secs(15));
    let school = &scene.topology.school;
    for said in ["", "GET / HTTP/1.1\r\nHost: x\r\nX: "] {
        let stream = school.enter(|| connect(to, limit)).unwrap();
        let mut stream = stream.unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // An end, or a reset; what may not come is the end of our patience.
        let ended = stream.read_to_end(&mut answer);
        let waiting = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!waiting, "still open after {limit:?}: {said:?}");
    }
}

#[test]
fn pages_can_be_seen() {
    let Some(program) = program_or_skip("daemon_portal") else {
        return;
    };
    if !Path::new("/usr/bin/chromium").exists() {
        skip("pages_can_be_seen", "no chromium");
        return;
    }
    let (scene, _daemon) = start(&program);
    let law = asked_by_host(&scene, EXACT).entry();
    let shop = page(&scene, &format!("/why?name={WARNED}")).entry();
    let directory = artefacts().unwrap();
    for (name, target) in [
        ("block", format!("/b?e={law}&o={ORG}&r=36")),
        ("warn", format!("/w?e={shop}&o={ORG}&r=42")),
        ("why", format!("/why?name={EXACT}")),
        ("ask", "/why?".to_owned()),
    ] {
        for (language, size) in [("ru", "320,1200"), ("en", "320,1200"), ("ru", "1100,800")] {
            let (width, _) = size.split_once(',').unwrap();
            let file = directory.join(format!("portal-{name}-{language}-{width}.png"));
            let _ = std::fs::remove_file(&file);
            let url = format!("http://{PORTAL}{target}&lang={language}");
            screenshot(&scene.topology.school, &url, size, &file).unwrap();
            let length = std::fs::metadata(&file).unwrap().len();
            assert!(length > 5_000, "{}: {length} bytes", file.display());
        }
    }
}
