//! Registries that are fetched, from servers that behave well and badly: what is good becomes the copy that is
//! read, and nothing else does.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use filter_user::config::Config;
use filter_user::problem::Problem;
use filter_user::registry::load::KeptBefore;
use filter_user::registry::progress::Progress;
use filter_user::sources::{Outcome, State, Updated, accept, roll_back, status};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use schoolgate_tests::fetched::{Site, fetch, handler};
use schoolgate_tests::lists_server::{Answer, Asked, ListsServer};

fn problem(updated: Updated) -> String {
    assert_eq!(updated.outcome, Outcome::Failed, "{updated:?}");
    updated.problem.unwrap()
}

#[test]
fn a_file_is_fetched_once_and_asked_for_by_its_tag() {
    let site = Site::new().unwrap();
    assert_eq!(site.state().unwrap(), State::None);
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    assert_eq!(site.state().unwrap(), State::Fresh);
    assert_eq!(site.in_force().unwrap(), "one.example\n");
    assert_eq!(site.fetch().unwrap().outcome, Outcome::Unchanged);
    let asked = site.server.asked();
    assert_eq!(asked.first().unwrap().field("if-none-match"), None);
    assert_eq!(asked.last().unwrap().field("if-none-match"), Some("\"1\""));
    // Another tag on the same content is no new copy.
    site.gives(Answer::file("one.example\n", "\"2\""));
    assert_eq!(site.fetch().unwrap().outcome, Outcome::Unchanged);
    site.gives(
        Answer::file("two.example\n", "\"3\"")
            .with("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT"),
    );
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    assert_eq!(site.in_force().unwrap(), "two.example\n");
    site.fetch().unwrap();
    let last = site.server.asked().pop().unwrap();
    let since = Some("Sun, 22 Nov 2026 00:00:00 GMT");
    assert_eq!(last.field("if-modified-since"), since);
    assert_eq!(site.store().copies().len(), 2);
}

#[test]
fn the_last_five_copies_are_kept() {
    let site = Site::new().unwrap();
    for round in 0..8 {
        let text = format!("n{round}.example\n");
        site.gives(Answer::file(text.clone(), &format!("\"{round}\"")));
        assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
        assert_eq!(site.in_force().unwrap(), text);
    }
    let copies = site.store().copies();
    let texts = copies
        .iter()
        .map(|copy| std::fs::read_to_string(copy).unwrap());
    let wanted: Vec<String> = (3..8).map(|round| format!("n{round}.example\n")).collect();
    assert_eq!(texts.collect::<Vec<_>>(), wanted);
    use std::os::unix::fs::PermissionsExt as _;
    for copy in copies {
        let mode = copy.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn what_goes_wrong_leaves_the_last_copy_and_the_next_good_one_follows() {
    let mut site = Site::new().unwrap();
    site.keys = "timeout_seconds = 2\nsize_max_mib = 1".to_owned();
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    let body = b"other.example\n".to_vec();
    let slow = Answer {
        pause: Duration::from_secs(20),
        ..Answer::file(body.clone(), "\"slow\"")
    };
    let short = Answer {
        missing: 10,
        ..Answer::file(body.clone(), "\"short\"")
    };
    let large = vec![b'\n'; (1 << 20) + 1];
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b'\n'; 64 << 20]).unwrap();
    let bomb = Answer::file(bomb.finish().unwrap(), "\"bomb\"").with("Content-Encoding", "gzip");
    assert!(bomb.body.len() < 1 << 17);
    let address = site.server.address;
    let turning = Answer::status("302 Found").with("Location", &format!("http://{address}/again"));
    let cases = [
        (Answer::status("404 Not Found"), "404"),
        (Answer::status("500 Internal Server Error"), "500"),
        (Answer::status("204 No Content"), "204"),
        (slow, "timeout"),
        (short, "broke off"),
        (Answer::file(large, "\"large\""), "larger than 1 mib"),
        (bomb, "larger than 1 mib"),
        (turning, "redirect"),
        (Answer::file("", "\"empty\""), "is empty"),
        (Answer::file("no name here\n?\n", "\"junk\""), "rejected"),
        (Answer::file(vec![0xff; 5_000], "\"binary\""), "rejected"),
    ];
    let kept = KeptBefore::from([("law".to_owned(), 1)]);
    for (answer, word) in cases {
        site.gives(answer);
        let told = problem(fetch(&site.config().unwrap(), &kept).unwrap());
        assert!(told.to_lowercase().contains(word), "{word}: {told}");
        assert_eq!(site.in_force().unwrap(), "one.example\n", "{word}");
        assert_eq!(site.state().unwrap(), State::Cached, "{word}");
    }
    assert!(
        site.store().rejected().exists(),
        "what was refused can be looked at"
    );
    site.gives(Answer::file("good.example\n", "\"good\""));
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    assert_eq!(site.in_force().unwrap(), "good.example\n");
    assert_eq!(site.state().unwrap(), State::Fresh);
    // Nobody there at all.
    let Site { place, server, .. } = &site;
    let gone = format!("http://{}/law.txt", server.address);
    let file = place.path().join("s.toml");
    let config = Config::from_text(&file, &site.text(&gone)).unwrap();
    drop(site.server);
    problem(fetch(&config, &kept).unwrap());
    let registry = config.registries.first().unwrap();
    assert_eq!(
        std::fs::read_to_string(&registry.path).unwrap(),
        "good.example\n"
    );
}

/// Why a file that came is held.
fn held(updated: Updated) -> String {
    assert_eq!(updated.outcome, Outcome::Held, "{updated:?}");
    updated.problem.unwrap()
}

fn names(number: u32) -> String {
    (0..number).map(|at| format!("n{at}.example\n")).collect()
}

#[test]
fn a_copy_that_lost_too_much_is_held_until_it_is_accepted() {
    let site = Site::new().unwrap();
    site.gives(Answer::file(names(2_000), "\"1\""));
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    site.gives(Answer::file(names(900), "\"2\""));
    for round in 0..3 {
        let told = held(site.fetch_after(2_000).unwrap());
        assert!(told.contains("more than 50 % are gone"), "{told}");
        assert!(told.contains("registry accept law"), "{told}");
        assert_eq!(site.in_force().unwrap(), names(2_000));
        assert_eq!(site.state().unwrap(), State::Held);
        // It is not sent again and again.
        let known = if round == 0 { "\"1\"" } else { "\"2\"" };
        let asked = site.server.asked().pop().unwrap();
        assert_eq!(asked.field("if-none-match"), Some(known));
    }
    accept(&site.registry().unwrap()).unwrap();
    assert_eq!(site.in_force().unwrap(), names(900));
    assert_eq!(site.state().unwrap(), State::Fresh);
    assert_eq!(site.fetch_after(900).unwrap().outcome, Outcome::Unchanged);
    accept(&site.registry().unwrap()).unwrap();
    assert_eq!(site.in_force().unwrap(), names(900), "nothing is held");
}

#[test]
fn what_the_server_takes_back_is_no_longer_held() {
    let site = Site::new().unwrap();
    site.gives(Answer::file(names(2_000), "\"1\""));
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    site.gives(Answer::file(names(900), "\"2\""));
    held(site.fetch_after(2_000).unwrap());
    site.gives(Answer::file(names(2_000), "\"3\""));
    assert_eq!(site.fetch_after(2_000).unwrap().outcome, Outcome::Unchanged);
    assert_eq!(site.state().unwrap(), State::Fresh);
    assert!(!site.store().held().exists());
    site.gives(Answer::file(names(900), "\"4\""));
    held(site.fetch_after(2_000).unwrap());
    site.gives(Answer::file(names(2_001), "\"5\""));
    assert_eq!(site.fetch_after(2_000).unwrap().outcome, Outcome::New);
    assert!(!site.store().held().exists());
    assert_eq!(site.in_force().unwrap(), names(2_001));
}

#[test]
fn updates_wait_for_an_operator_where_the_configuration_says_so() {
    let mut site = Site::new().unwrap();
    site.keys = "hold_updates = true".to_owned();
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New, "the first");
    site.gives(Answer::file("two.example\n", "\"2\""));
    let told = held(site.fetch_after(1).unwrap());
    assert!(told.contains("hold_updates"), "{told}");
    assert_eq!(site.in_force().unwrap(), "one.example\n");
    site.gives(Answer::file("no name here\n", "\"3\""));
    problem(site.fetch_after(1).unwrap());
    assert_eq!(site.state().unwrap(), State::Held, "what is held stays");
    accept(&site.registry().unwrap()).unwrap();
    assert_eq!(site.in_force().unwrap(), "two.example\n");
}

#[test]
fn an_operator_goes_back_and_the_next_file_goes_on() {
    let site = Site::new().unwrap();
    let registry = || site.registry().unwrap();
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    let none = roll_back(&registry(), "root").unwrap_err();
    assert!(none.contains("no earlier copy"), "{none}");
    for number in 2..4 {
        site.gives(Answer::file(
            format!("n{number}.example\n"),
            &format!("\"{number}\""),
        ));
        assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    }
    roll_back(&registry(), "root").unwrap();
    assert_eq!(site.in_force().unwrap(), "n2.example\n");
    // The server still has what was taken back.
    let told = held(site.fetch().unwrap());
    assert!(told.contains("taken back by root"), "{told}");
    assert_eq!(site.in_force().unwrap(), "n2.example\n");
    accept(&registry()).unwrap();
    assert_eq!(site.in_force().unwrap(), "n3.example\n");
    for text in ["n2.example\n", "one.example\n"] {
        roll_back(&registry(), "root").unwrap();
        assert_eq!(site.in_force().unwrap(), text);
    }
    // The server still has the first of those that were taken back.
    let told = held(site.fetch().unwrap());
    assert!(told.contains("taken back"), "{told}");
    assert_eq!(site.in_force().unwrap(), "one.example\n");
    site.gives(Answer::file("n4.example\n", "\"4\""));
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    assert_eq!(site.in_force().unwrap(), "n4.example\n");
    assert!(!site.store().held().exists());
}

#[test]
fn a_packed_answer_is_unpacked() {
    let site = Site::new().unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"packed.example\n").unwrap();
    let packed = packed.finish().unwrap();
    site.gives(Answer::file(packed, "\"z\"").with("Content-Encoding", "gzip"));
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    assert_eq!(site.in_force().unwrap(), "packed.example\n");
}

#[test]
fn what_was_cut_off_in_a_write_is_no_copy() {
    let site = Site::new().unwrap();
    site.fetch().unwrap();
    // As a daemon leaves it that was killed: a file half written, and a memo half written.
    std::fs::write(site.store().incoming(), "half.exa").unwrap();
    let directory = site.place.path().join("state/sources/law");
    std::fs::write(directory.join("memo.json"), "{\"url\": ").unwrap();
    assert_eq!(site.in_force().unwrap(), "one.example\n");
    site.gives(Answer::file("two.example\n", "\"2\""));
    assert_eq!(site.fetch().unwrap().outcome, Outcome::New);
    assert_eq!(site.in_force().unwrap(), "two.example\n");
}

#[test]
fn a_source_that_is_silent_for_too_long_is_stale() {
    let site = Site::new().unwrap();
    site.fetch().unwrap();
    let config = site.config().unwrap();
    let registry = config.registries.first().unwrap();
    let after = |hours: u64| {
        let now = SystemTime::now() + Duration::from_secs(hours * 3_600);
        status(registry, 0, now).unwrap().state
    };
    assert_eq!(after(23), State::Fresh);
    assert_eq!(after(25), State::Stale);
}

#[test]
fn a_signed_registry_comes_with_its_signature_or_not_at_all() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let sign = |text: &str| {
        let made = minisign::sign(None, &pair.sk, text.as_bytes(), None, None);
        made.unwrap().into_string()
    };
    let mut site = Site::new().unwrap();
    let given = Arc::new(Mutex::new((
        "one.example\n".to_owned(),
        sign("one.example\n"),
    )));
    let next = Arc::clone(&given);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = ListsServer::start(listener, None, move |asked| {
        let (text, signature) = next.lock().unwrap().clone();
        if asked.path == "/law.txt" {
            return Answer::file(text.clone(), &format!("\"{text:?}\"").replace('\\', ""));
        }
        assert_eq!(asked.path, "/law.txt.minisig");
        if signature.is_empty() {
            Answer::status("404 Not Found")
        } else {
            Answer::file(signature, "\"s\"")
        }
    });
    let server = server.unwrap();
    let url = format!("http://{}/law.txt", server.address);
    site.keys = format!("minisign_key = \"{}\"", pair.pk.to_base64());
    let read = || {
        let config = site.config_of(&url).unwrap();
        std::fs::read_to_string(&config.registries.first().unwrap().path).unwrap()
    };
    let kept = KeptBefore::new();
    assert_eq!(
        fetch(&site.config_of(&url).unwrap(), &kept)
            .unwrap()
            .outcome,
        Outcome::New
    );
    assert_eq!(read(), "one.example\n");
    for signature in [sign("other.example\n"), String::new()] {
        *given.lock().unwrap() = ("two.example\n".to_owned(), signature);
        let told = problem(fetch(&site.config_of(&url).unwrap(), &kept).unwrap());
        assert!(told.contains("signature"), "{told}");
        assert_eq!(read(), "one.example\n");
    }
    *given.lock().unwrap() = ("two.example\n".to_owned(), sign("two.example\n"));
    assert_eq!(
        fetch(&site.config_of(&url).unwrap(), &kept)
            .unwrap()
            .outcome,
        Outcome::New
    );
    assert_eq!(read(), "two.example\n");
    // The copy is read with its signature, as any registry is.
    let config = site.config_of(&url).unwrap();
    let loaded = || filter_user::registry::load::load(&config, 1, &[], &kept, Progress::Quiet);
    assert!(loaded().is_ok());
    std::fs::write(&config.registries.first().unwrap().path, "bad.example\n").unwrap();
    assert!(loaded().is_err());
}

/// A certificate for a name, in PEM, and a server's side of it.
fn certificate(name: &str) -> (String, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    (made.cert.pem(), Arc::new(config))
}

#[test]
fn a_server_proves_itself_and_a_password_goes_to_it_alone() {
    let mut site = Site::new().unwrap();
    let (pem, tls) = certificate("localhost");
    let (foreign, _) = certificate("localhost");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let next = Arc::clone(&site.next);
    let server = ListsServer::start(listener, Some(tls), handler(&next)).unwrap();
    let port = server.address.port();
    let url = format!("https://localhost:{port}/law.txt");
    for (name, text) in [("ca.pem", &pem), ("foreign.pem", &foreign)] {
        std::fs::write(site.place.path().join(name), text).unwrap();
    }
    std::fs::write(site.place.path().join("password"), "s3cret!\n").unwrap();
    for ca in ["", "ca_file = \"foreign.pem\""] {
        site.keys = ca.to_owned();
        let told = problem(fetch(&site.config_of(&url).unwrap(), &KeptBefore::new()).unwrap());
        assert!(told.contains("certificate"), "{told}");
    }
    assert!(server.asked().is_empty());
    site.keys = "ca_file = \"ca.pem\"\nuser = \"isp\"\npassword_file = \"password\"".to_owned();
    let config = site.config_of(&url).unwrap();
    assert_eq!(
        fetch(&config, &KeptBefore::new()).unwrap().outcome,
        Outcome::New
    );
    let authorization = |asked: &Asked| asked.field("authorization").map(str::to_owned);
    assert_eq!(
        authorization(&server.asked().pop().unwrap()).as_deref(),
        Some("Basic aXNwOnMzY3JldCE=")
    );
    // Another server is not told the password, and HTTPS does not end in HTTP.
    let plain = format!("http://{}/law.txt", site.server.address);
    site.gives(Answer::status("302 Found").with("Location", &plain));
    let told = problem(fetch(&config, &KeptBefore::new()).unwrap());
    assert!(!told.contains("s3cret"), "{told}");
    assert!(site.server.asked().is_empty(), "{:?}", site.server.asked());
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_line() {
    let mut site = Site::new().unwrap();
    let refused = |site: &Site, url: &str| -> String {
        let file = site.place.path().join("s.toml");
        let problems: Vec<Problem> = Config::from_text(&file, &site.text(url)).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        told.join("\n")
    };
    for url in [
        "ftp://lists.example/x",
        "lists.example/x",
        "http:///x",
        "https://",
    ] {
        assert!(
            refused(&site, url).contains("no URL of http or https"),
            "{url}"
        );
    }
    assert!(refused(&site, "https://u:p@lists.example/x").contains("holds a user"));
    for (keys, word) in [
        ("path = \"x.txt\"", "both path and url"),
        ("user = \"x\"", "half of a user"),
        ("interval_seconds = 1", "out of bounds"),
    ] {
        site.keys = keys.to_owned();
        let told = refused(&site, "https://lists.example/x");
        assert!(told.contains(word), "{told}");
    }
    site.keys = "user = \"x\"\npassword_file = \"p\"".to_owned();
    assert!(refused(&site, "http://lists.example/x").contains("in the clear"));
    site.keys = "archive_root = \"x\"".to_owned();
    assert!(refused(&site, "https://lists.example/x").contains("is one file"));
    site.format = "format = \"v2fly\"\ncategories = [\"games\"]\nsets = [\"x\"]".to_owned();
    for root in ["/x", "../x", "x/../../y"] {
        site.keys = format!("archive_root = \"{root}\"");
        let told = refused(&site, "https://lists.example/x");
        assert!(told.contains("leads out of the archive"), "{told}");
    }
}
