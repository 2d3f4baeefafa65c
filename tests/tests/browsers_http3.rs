//! HTTP/3 of Chromium and Firefox under each setting of `quic`, with servers at several distances.
//! Durations are told, not judged: they stand in `browsers.txt` and `browsers.json` of the artefacts.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use schoolgate_tests::lab::browser::{Browser, Kind, Seen, Setup, Trust, program_or_skip};
use schoolgate_tests::lab::daemon::{CONFIG, Counts, Daemon, growth};
use schoolgate_tests::lab::distance::Distance;
use schoolgate_tests::lab::http3::Http3;
use schoolgate_tests::lab::scene::{ORGANISATION, Scene, config};
use schoolgate_tests::lab::topology::{SCHOOL4, SCHOOL6, SERVER4, SERVER6};
use schoolgate_tests::lab::{artefacts, patience};
use serde_json::{Value, json};

/// Longer than any browser waits for an answer.
const LIMIT: Duration = Duration::from_secs(100);
/// How much longer a round trip to the servers takes than in the lab, in milliseconds.
const DISTANCES: [u64; 4] = [0, 1, 10, 50];
/// From this distance on, the verdict comes before the server's answer, however busy the machine is.
const NEVER_LATE: u64 = 10;
/// Who tells of HTTP/3.
const ALTERNATIVE: &str = "Alt-Svc: h3=\":443\"; ma=3600\r\n";

/// What becomes of QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No filter is attached.
    Unfiltered,
    /// `quic = "inspect"`.
    Inspect,
    /// `quic = "fallback"`.
    Fallback,
}

impl Mode {
    const ALL: [Mode; 3] = [Mode::Unfiltered, Mode::Inspect, Mode::Fallback];

    fn word(self) -> &'static str {
        match self {
            Mode::Unfiltered => "unfiltered",
            Mode::Inspect => "inspect",
            Mode::Fallback => "fallback",
        }
    }
}

/// A visit to a name that nobody has visited under this setting.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    mode: Mode,
    distance: u64,
    listed: bool,
    six: bool,
}

impl Case {
    fn all(kind: Kind, mode: Mode) -> impl Iterator<Item = Case> {
        let places = [false, true].map(|six| DISTANCES.map(|distance| (six, distance)));
        let places = places.into_iter().flatten();
        let cases = places.flat_map(|place| [false, true].map(|listed| (place, listed)));
        cases.map(move |((six, distance), listed)| Case {
            kind,
            mode,
            distance,
            listed,
            six,
        })
    }

    fn name(self) -> String {
        let below = if self.listed { "tree" } else { "open" };
        let (mode, family) = (self.mode.word(), self.family());
        format!("{mode}-{}-{family}.{below}.example", self.distance)
    }

    fn family(self) -> &'static str {
        if self.six { "ipv6" } else { "ipv4" }
    }

    /// The client's address and the server's.
    fn addresses(self) -> (IpAddr, IpAddr) {
        if self.six {
            (SCHOOL6.into(), SERVER6.into())
        } else {
            (SCHOOL4.into(), SERVER4.into())
        }
    }
}

/// What came of it.
struct Row {
    case: Case,
    seen: Seen,
    counted: Counts,
    completed: usize,
}

impl Row {
    fn check(&self) {
        let Row { case, seen, .. } = self;
        let tell = || format!("{case:?}: {seen:?}, counted {:?}", self.counted);
        let count = |reason: &str| self.counted.get(reason).copied().unwrap_or(0);
        let is_blocked = case.listed && case.mode != Mode::Unfiltered;
        assert_eq!(seen.is_page_of(&case.name()), !is_blocked, "{}", tell());
        if is_blocked {
            assert_eq!(self.completed, 0, "{}", tell());
            assert!(seen.error.is_some(), "{}", tell());
        }
        match case.mode {
            Mode::Unfiltered => {}
            Mode::Inspect => assert!(count("pass_quic_part") > 0, "{}", tell()),
            Mode::Fallback => {
                assert_eq!(self.completed, 0, "{}", tell());
                assert_ne!(seen.protocol, "h3", "{}", tell());
                assert!(count("fallback_quic_policy") > 0, "{}", tell());
            }
        }
        // Behind a nearer server a browser may wait for QUIC longer than for anything.
        if is_blocked && case.distance >= NEVER_LATE {
            assert!(seen.words().contains("RESET"), "{}", tell());
            assert!(count("block_unified_name") > 0, "{}", tell());
        }
    }

    fn text(&self) -> String {
        let Case {
            kind,
            mode,
            distance,
            listed,
            ..
        } = self.case;
        let family = self.case.family();
        let name = if listed { "listed" } else { "other" };
        let (seen, protocol) = (self.seen.words(), &self.seen.protocol);
        let seconds = self.seen.took.as_secs_f64();
        let mode = mode.word();
        format!(
            "{kind:<8}  {mode:<10}  {family}  {distance:>5}  {name:<6}  {seen:<25}  {protocol:<8}  {seconds:>7.2}"
        )
    }

    fn json(&self) -> Value {
        json!({
            "browser": self.case.kind.to_string(),
            "quic": self.case.mode.word(),
            "over": self.case.family(),
            "distance_ms": self.case.distance,
            "listed": self.case.listed,
            "seen": self.seen.words(),
            "protocol": self.seen.protocol,
            "seconds": self.seen.took.as_secs_f64(),
            "connections_completed": self.completed,
            "counted": self.counted,
        })
    }
}

struct Stage {
    http3: Http3,
    distance: Distance,
    trust: Trust,
    scene: Scene,
}

impl Stage {
    fn set(program: &Path) -> Stage {
        let scene = Scene::new(program).unwrap();
        scene.tls.say(ALTERNATIVE);
        let internet = &scene.topology.internet;
        Stage {
            http3: Http3::new(internet, 443, &scene.authority).unwrap(),
            distance: Distance::new(&scene.topology).unwrap(),
            trust: Trust::new(&scene.authority).unwrap(),
            scene,
        }
    }

    /// Starts a browser that knows of every name's HTTP/3 from before.
    fn browser(&self, kind: Kind) -> Browser {
        let cases = Mode::ALL.into_iter().flat_map(|mode| Case::all(kind, mode));
        let hosts: Vec<(String, IpAddr)> = cases
            .map(|case| (case.name(), case.addresses().1))
            .collect();
        let names: Vec<String> = hosts.iter().map(|(name, _)| name.clone()).collect();
        let setup = Setup {
            namespace: &self.scene.topology.school,
            trust: &self.trust,
            hosts: &hosts,
            resolver: SERVER4.into(),
            languages: "ru,en",
            http3: &names,
        };
        let mut browser = Browser::start(kind, &setup).unwrap();
        // Firefox takes it from its settings.
        let told = names.iter().filter(|_| kind == Kind::Chromium);
        self.scene.tls.hang_up();
        for name in told {
            let seen = browser
                .visit(&format!("https://{name}/"), patience(LIMIT))
                .unwrap();
            assert!(seen.is_page_of(name), "{seen:?}");
        }
        browser
    }

    /// Puts a setting in force. `Unfiltered` must come first.
    fn enforce(&self, mode: Mode, daemon: &mut Option<Daemon>) {
        if mode == Mode::Unfiltered {
            return;
        }
        let quic = format!("age = 12\nquic = \"{}\"\n", mode.word());
        let text = config(&self.scene.site).replace("age = 12\n", &quic);
        self.scene.site.write(CONFIG, &text).unwrap();
        if daemon.is_some() {
            self.scene.reload().unwrap();
        } else {
            *daemon = Some(self.scene.site.start(&self.scene.topology.edge).unwrap());
        }
    }

    fn run(&self, browser: &mut Browser, case: Case) -> Row {
        let count = || match case.mode {
            Mode::Unfiltered => Counts::new(),
            _ => self
                .scene
                .site
                .counts(&self.scene.topology.edge, ORGANISATION)
                .unwrap(),
        };
        let name = case.name();
        if case.mode != Mode::Unfiltered {
            // No connection of before is used again.
            self.http3.hang_up();
            self.scene.tls.hang_up();
        }
        let completed = || self.http3.completed(case.addresses().0, &name);
        let (before, completed_before) = (count(), completed());
        self.distance.set(Duration::from_millis(case.distance));
        let seen = browser
            .visit(&format!("https://{name}/"), patience(LIMIT))
            .unwrap();
        self.distance.set(Duration::ZERO);
        Row {
            case,
            seen,
            counted: growth(&before, &count()),
            completed: completed() - completed_before,
        }
    }
}

#[test]
fn a_name_is_read_or_its_client_turned_to_tcp() {
    let Some(program) = program_or_skip("browsers_http3") else {
        return;
    };
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        let stage = Stage::set(&program);
        let mut browser = stage.browser(kind);
        let mut daemon = None;
        for mode in Mode::ALL {
            stage.enforce(mode, &mut daemon);
            rows.extend(Case::all(kind, mode).map(|case| stage.run(&mut browser, case)));
        }
    }
    let mut table =
        "browser   quic        over   + ms   name    seen                       protocol  seconds\n"
            .to_owned();
    for row in &rows {
        table += &format!("{}\n", row.text());
    }
    println!("{table}");
    let directory = artefacts().unwrap();
    std::fs::write(directory.join("browsers.txt"), table).unwrap();
    let json = Value::from(rows.iter().map(Row::json).collect::<Vec<_>>());
    let json = serde_json::to_string_pretty(&json).unwrap();
    std::fs::write(directory.join("browsers.json"), json).unwrap();
    rows.iter().for_each(Row::check);
    // A browser may prefer TCP where QUIC is late, but it is not always late.
    for (kind, mode) in Kind::ALL
        .into_iter()
        .flat_map(|kind| [(kind, Mode::Unfiltered), (kind, Mode::Inspect)])
    {
        let these = |row: &&Row| row.case.kind == kind && row.case.mode == mode;
        let mut these = rows.iter().filter(these);
        assert!(
            these.any(|row| row.seen.protocol == "h3"),
            "{kind} {mode:?}"
        );
    }
}
