//! Stock DNS programs behind the filter: kdig over every transport, and dnsmasq as the forwarder of a
//! school's router.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::net::{IpAddr, Ipv4Addr};

use schoolgate_tests::lab::daemon::{CONFIG, Daemon, program_or_skip};
use schoolgate_tests::lab::dns_tools::{Dnsmasq, kdig};
use schoolgate_tests::lab::namespace::Namespace;
use schoolgate_tests::lab::scene::{
    ALLOWED, EXACT, ORGANISATION, PORTAL, PORTAL_CONFIG, PORTAL6, Scene, config,
};
use schoolgate_tests::lab::topology::{SERVER4, SERVER6};

const RESOLVERS: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];

struct Stage {
    scene: Scene,
    _daemon: Daemon,
    _resolver: Dnsmasq,
}

impl Stage {
    fn new() -> Option<Stage> {
        let program = program_or_skip("dns_clients")?;
        let scene = Scene::new(&program).unwrap();
        let text = config(&scene.site) + PORTAL_CONFIG;
        scene.site.write(CONFIG, &text).unwrap();
        let internet = &scene.topology.internet;
        let resolver = Dnsmasq::authority(internet, "example", &RESOLVERS, SERVER4.into()).unwrap();
        let daemon = scene.site.start(&scene.topology.edge).unwrap();
        Some(Stage {
            scene,
            _daemon: daemon,
            _resolver: resolver,
        })
    }

    /// What kdig in the school shows, its complaints too.
    fn school(&self, to: IpAddr, arguments: &[&str]) -> String {
        asks(&self.scene.topology.school, to, arguments)
    }

    fn neighbour(&self, to: IpAddr, arguments: &[&str]) -> String {
        asks(&self.scene.topology.neighbour, to, arguments)
    }

    fn count(&self, reason: &str) -> u64 {
        let edge = &self.scene.topology.edge;
        let counts = self.scene.site.counts(edge, ORGANISATION).unwrap();
        counts.get(reason).copied().unwrap_or(0)
    }
}

fn asks(from: &Namespace, to: IpAddr, arguments: &[&str]) -> String {
    let done = kdig(from, to, arguments).unwrap();
    format!("{}{}", done.stdout, done.stderr)
}

/// The records in an answer, as kdig shows them.
fn records(shown: &str, kind: &str) -> Vec<String> {
    let lines = shown.lines().filter(|line| !line.starts_with(';'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let records = words.filter(|words| words.get(3) == Some(&kind));
    records
        .filter_map(|words| words.last().map(|data| (*data).to_owned()))
        .collect()
}

#[test]
fn kdig_takes_the_answers_over_udp() {
    let Some(stage) = Stage::new() else { return };
    for to in RESOLVERS {
        let allowed = stage.school(to, &[ALLOWED, "A"]);
        assert_eq!(records(&allowed, "A"), [SERVER4.to_string()], "{allowed}");
        for (kind, portal) in [("A", PORTAL), ("AAAA", PORTAL6)] {
            let told = stage.school(to, &[EXACT, kind, "+edns", "+cookie"]);
            assert_eq!(records(&told, kind), [portal], "{told}");
            assert!(told.contains("EDE: 16 (Censored)"), "{told}");
            assert!(told.contains("COOKIE"), "{told}");
            assert!(!told.contains("WARNING"), "{told}");
        }
        let withheld = stage.school(to, &[EXACT, "HTTPS"]);
        assert!(withheld.contains("status: NOERROR"), "{withheld}");
        assert_eq!(records(&withheld, "HTTPS"), [""; 0], "{withheld}");
    }
    assert_eq!(stage.count("block_unified_name"), 6);
    assert_eq!(stage.count("refuse_dns_malformed"), 0);
}

#[test]
fn kdig_over_other_transports_is_reset() {
    let Some(stage) = Stage::new() else { return };
    for to in RESOLVERS {
        let allowed = stage.school(to, &[ALLOWED, "A", "+tcp"]);
        assert_eq!(records(&allowed, "A"), [SERVER4.to_string()], "{allowed}");
        let reset = stage.school(to, &[EXACT, "A", "+tcp"]);
        // So kdig shows a reset; of a server that says nothing it tells "response timeout".
        assert!(reset.contains("can't receive reply"), "{reset}");
        assert!(!reset.contains("timeout"), "{reset}");
        // Data in the SYN is refused, and comes again after the handshake.
        let fast = stage.school(to, &[ALLOWED, "A", "+tcp", "+fastopen"]);
        assert_eq!(records(&fast, "A"), [SERVER4.to_string()], "{fast}");
        let tls = stage.school(to, &[ALLOWED, "A", "+tls"]);
        assert!(tls.contains("can't connect"), "{tls}");
        assert!(!tls.contains("timeout"), "{tls}");
    }
    assert_eq!(stage.count("block_encrypted_dns"), 2);
    assert!(stage.count("block_unified_name") >= 2);
    let neighbour = stage.neighbour(SERVER4.into(), &[EXACT, "A", "+tcp"]);
    assert_eq!(
        records(&neighbour, "A"),
        [SERVER4.to_string()],
        "{neighbour}"
    );
}

#[test]
fn a_router_that_forwards_hands_the_answers_on() {
    let Some(stage) = Stage::new() else { return };
    let school = &stage.scene.topology.school;
    let own: IpAddr = Ipv4Addr::LOCALHOST.into();
    for to in RESOLVERS {
        let _router = Dnsmasq::forwarder(school, to, own).unwrap();
        let allowed = stage.school(own, &[ALLOWED, "A"]);
        assert_eq!(records(&allowed, "A"), [SERVER4.to_string()], "{allowed}");
        for (kind, portal) in [("A", PORTAL), ("AAAA", PORTAL6)] {
            let told = stage.school(own, &[EXACT, kind]);
            assert_eq!(records(&told, kind), [portal], "{told}");
        }
        let canary = stage.school(own, &["use-application-dns.net", "A"]);
        assert!(canary.contains("status: NXDOMAIN"), "{canary}");
        // A router that asks by TCP what it was asked by TCP gets a reset, and says that it failed.
        let failed = stage.school(own, &[EXACT, "A", "+tcp"]);
        assert_eq!(records(&failed, "A"), [""; 0], "{failed}");
    }
    assert!(stage.count("block_unified_name") >= 4);
    assert_eq!(stage.count("block_canary_name"), 2);
}
