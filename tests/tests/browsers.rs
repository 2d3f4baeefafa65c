//! What a person at Chromium and Firefox sees behind the attached filter: the page that says why, the
//! browser's own error, and how soon. Pictures of all of it are left in the artefacts.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use schoolgate_tests::lab::browser::{Browser, Kind, Seen, Setup, Trust, program_or_skip};
use schoolgate_tests::lab::daemon::{CONFIG, Daemon};
use schoolgate_tests::lab::resolver::Resolver;
use schoolgate_tests::lab::scene::{
    ALLOWED, EXACT, ORGANISATION, PORTAL, PORTAL_CONFIG, PORTAL_NAME, REGISTRY, REGISTRY_TEXT,
    SHOPS_CONFIG, Scene, config,
};
use schoolgate_tests::lab::server::Server;
use schoolgate_tests::lab::topology::{SERVER4, UPLINK};
use schoolgate_tests::lab::{artefacts, patience};

/// Longer than any browser waits for an answer.
const LIMIT: Duration = Duration::from_secs(100);

/// A name that becomes forbidden after a browser has learnt to go there by HTTPS only.
const STRICT: &str = "strict.example";
/// Who tells it so.
const STRICTLY: &str = "Strict-Transport-Security: max-age=3600\r\n";
/// A forbidden name that browsers ask DNS for.
const BY_DNS: &str = "asked.tree.example";
/// A name whose search is to be safe.
const SEARCH: &str = "www.google.com";
/// Where it is.
const SAFE: Ipv4Addr = Ipv4Addr::new(216, 239, 38, 120);
/// What the resolver answers to every query: nobody is there.
const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
/// A name that each browser is warned of by itself, as "continue" is for the address of both.
const WARNED: [&str; 2] = ["chromium.warned.example", "firefox.warned.example"];

struct Stage {
    trust: Trust,
    _daemon: Daemon,
    _http: Server,
    _resolver: Resolver,
    scene: Scene,
}

impl Stage {
    fn set(program: &Path) -> Stage {
        let scene = Scene::new(program).unwrap();
        let profile = "id = \"pupils\"\n";
        let more = format!("{profile}warn = [\"shopping\"]\nsafe_search = \"strict\"\n");
        let text = config(&scene.site).replace(profile, &more) + SHOPS_CONFIG + PORTAL_CONFIG;
        scene.site.write(CONFIG, &text).unwrap();
        scene.site.write("shops.txt", &WARNED.join("\n")).unwrap();
        let (internet, edge) = (&scene.topology.internet, &scene.topology.edge);
        internet
            .ip(&format!("addr add {SAFE}/32 dev {UPLINK}"))
            .unwrap();
        edge.ip(&format!("route add {SAFE} via {SERVER4}")).unwrap();
        Stage {
            trust: Trust::new(&scene.authority).unwrap(),
            _http: Server::http(internet, 80).unwrap(),
            _resolver: Resolver::new(internet, NOBODY).unwrap(),
            _daemon: scene.site.start(edge).unwrap(),
            scene,
        }
    }

    /// Forbids these names beside the usual ones.
    fn list(&self, more: &[&str]) {
        let text = format!("{REGISTRY_TEXT}{}\n", more.join("\n"));
        self.scene.site.write(REGISTRY, &text).unwrap();
        self.scene.reload().unwrap();
    }

    fn person(&self, kind: Kind) -> Person {
        let mut hosts: Vec<(String, IpAddr)> = Vec::new();
        let known = [ALLOWED, EXACT, STRICT].into_iter().chain(WARNED);
        hosts.extend(known.map(|name| (name.to_owned(), SERVER4.into())));
        hosts.push((PORTAL_NAME.to_owned(), PORTAL.parse().unwrap()));
        let setup = Setup {
            namespace: &self.scene.topology.school,
            trust: &self.trust,
            hosts: &hosts,
            resolver: SERVER4.into(),
            languages: "ru,en",
            http3: &[],
        };
        Person {
            kind,
            browser: Browser::start(kind, &setup).unwrap(),
            lines: Vec::new(),
        }
    }
}

/// Somebody at a browser, who writes down what she sees.
struct Person {
    kind: Kind,
    browser: Browser,
    lines: Vec<String>,
}

impl Person {
    /// Types an address, and takes a picture of what comes.
    fn types(&mut self, url: &str, picture: &str) -> Seen {
        let seen = self.browser.visit(url, patience(LIMIT)).unwrap();
        self.notes(url, &seen, picture);
        seen
    }

    fn notes(&mut self, what: &str, seen: &Seen, picture: &str) {
        let kind = self.kind;
        assert_ne!(seen.text, "", "nothing stands there: {seen:?}");
        let file = format!("browser-{kind}-{picture}.png");
        let path = artefacts().unwrap().join(&file);
        let _ = std::fs::remove_file(&path);
        self.browser.photograph(&path).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        assert!(length > 2_000, "{file}: {length} bytes");
        let (words, url) = (seen.words(), &seen.url);
        let seconds = seen.took.as_secs_f64();
        self.lines.push(format!(
            "{kind:<8}  {what:<34}  {words:<36}  {seconds:>5.2}  {file:<42}  {url}"
        ));
    }

    fn is_told_why(&self, seen: &Seen, heading: &str) {
        let portal = format!("http://{PORTAL_NAME}/");
        let has = |text: &str| assert!(seen.text.contains(text), "{text} in {seen:?}");
        assert_eq!(seen.error, None, "{seen:?}");
        assert!(seen.url.starts_with(&portal), "{seen:?}");
        has("Example Telecom");
        has(heading);
    }
}

/// Addresses without TLS: the page that says why, in the language that the browser asks for.
fn open_http(person: &mut Person) {
    let allowed = person.types(&format!("http://{ALLOWED}/"), "http-allowed");
    assert!(allowed.is_page_of(ALLOWED), "{allowed:?}");
    let url = format!("http://{EXACT}/some/page");
    let russian = person.types(&url, "http-blocked-ru");
    person.is_told_why(&russian, "Доступ ограничен");
    person.browser.prefer("en").unwrap();
    let english = person.types(&url, "http-blocked-en");
    person.is_told_why(&english, "Access is restricted");
    person.browser.prefer("ru,en").unwrap();
}

/// A warning leads on, and then the page comes.
fn open_warned(person: &mut Person) {
    let name = format!("{}.warned.example", person.kind);
    let url = format!("http://{name}/");
    let warning = person.types(&url, "warned");
    person.is_told_why(&warning, "Возможно, это неподходящий ресурс");
    let open = person.browser.press("form button").unwrap();
    person.notes(
        "\u{201c}continue\u{201d} is pressed",
        &open,
        "warned-continued",
    );
    person.is_told_why(&open, "Доступ открыт");
    let page = person.types(&url, "warned-open");
    assert!(page.is_page_of(&name), "{page:?}");
}

/// Addresses with TLS: no page can say why, but the error comes at once.
fn open_https(person: &mut Person, stage: &Stage) {
    let reset = person.types(&format!("https://{EXACT}/"), "https-blocked");
    assert!(reset.words().contains("RESET"), "{reset:?}");
    // Open yesterday, and only by HTTPS ever since; listed today.
    stage.list(&[]);
    stage.scene.tls.say(STRICTLY);
    let before = person.types(&format!("https://{STRICT}/"), "hsts-allowed");
    assert!(before.is_page_of(STRICT), "{before:?}");
    stage.scene.tls.say("");
    stage.list(&[STRICT]);
    let typed = person.types(&format!("http://{STRICT}/"), "hsts-blocked");
    assert!(typed.words().contains("RESET"), "{typed:?}");
}

/// Names that DNS leads elsewhere.
fn ask_dns(person: &mut Person) {
    let page = person.types(&format!("http://{BY_DNS}/"), "dns-http");
    assert_eq!(page.error, None, "{page:?}");
    assert!(page.text.contains("Доступ ограничен"), "{page:?}");
    let refused = person.types(&format!("https://{BY_DNS}/"), "dns-https");
    assert!(refused.words().contains("REFUSED"), "{refused:?}");
    let safe = person.types(&format!("https://{SEARCH}/"), "safe-search");
    assert!(safe.is_page_of(SEARCH), "{safe:?}");
}

#[test]
fn a_person_sees_why_or_an_error_at_once() {
    let Some(program) = program_or_skip("browsers") else {
        return;
    };
    let stage = Stage::set(&program);
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        let mut person = stage.person(kind);
        open_http(&mut person);
        open_warned(&mut person);
        open_https(&mut person, &stage);
        ask_dns(&mut person);
        lines.append(&mut person.lines);
    }
    let table = lines.join("\n") + "\n";
    println!("{table}");
    std::fs::write(artefacts().unwrap().join("browsers-seen.txt"), table).unwrap();
    let counts = stage
        .scene
        .site
        .counts(&stage.scene.topology.edge, ORGANISATION)
        .unwrap();
    assert!(counts.contains_key("pass_safe_search"), "{counts:?}");
}
