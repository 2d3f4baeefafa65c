//! What most tests of the attached filter begin with: the topology, servers, a capture on their
//! side, and a site whose configuration enrols the school.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::capture::Capture;
use super::client::{Ended, Request};
use super::daemon::{CONFIG, Daemon, Site};
use super::namespace::Namespace;
use super::pki::Authority;
use super::process::Finished;
use super::server::Server;
use super::storm::Plan;
use super::stream;
use super::topology::{
    EDGE_NEIGHBOUR, EDGE_SCHOOL, LISTED4, SCHOOL_PREFIXES, SCHOOL4, SCHOOL6, SERVER4, SERVER6,
    Topology, UPLINK,
};

/// A name that the registry lists by itself.
pub const EXACT: &str = "blocked.example";
/// A name below one that the registry lists with everything below it.
pub const BELOW: &str = "deep.down.tree.example";
/// A name that no list holds, though it ends in the letters of one that is listed.
pub const NEAR_MISS: &str = "notblocked.example";
/// A name that no list holds.
pub const ALLOWED: &str = "open.example";
/// Id of the enrolled school.
pub const ORGANISATION: &str = "school-1";
/// The registry's file in the site.
pub const REGISTRY: &str = "law.txt";
/// What it holds.
pub const REGISTRY_TEXT: &str = "\
# what the lab forbids
blocked.example
*.tree.example
203.0.113.66
203.0.113.128/27
2001:db8:dead::1
";

/// By how much a registry may grow, in percent, where a test puts thousands of names into a file of five.
const SIZE_LIMIT_OFF: u32 = 1_000_000_000;

/// A second registry for a configuration, of shops, in the file `shops.txt`.
pub const SHOPS_CONFIG: &str = r#"
[[registries]]
id = "shops"
tier = "nsor"
format = "domains"
semantics = "suffix"
path = "shops.txt"
categories = ["shopping"]
"#;
/// The portal's address: the edge's on the school's link.
pub const PORTAL: &str = "192.0.2.1";
/// The same by IPv6.
pub const PORTAL6: &str = "2001:db8:100::1";
/// The portal's name.
pub const PORTAL_NAME: &str = "filter.example";
/// The portal for a configuration.
pub const PORTAL_CONFIG: &str = r#"
[portal]
listen = ["192.0.2.1:80", "[2001:db8:100::1]:80"]
address = ["192.0.2.1", "2001:db8:100::1"]
host = "filter.example"
name = "Example Telecom"
contact = "+7 000 000-00-00, help@telecom.example"
"#;

/// The stage of a test.
pub struct Scene {
    /// What the daemon reads and keeps. Dropped first, so that links go before their devices.
    pub site: Site,
    /// What arrives at the servers.
    pub capture: Capture,
    /// A TLS server on port 443.
    pub tls: Server,
    /// Certificates.
    pub authority: Authority,
    /// The network.
    pub topology: Topology,
}

impl Scene {
    /// Sets the stage; the daemon is not started.
    ///
    /// # Errors
    /// A right or a program is missing.
    pub fn new(program: &Path) -> anyhow::Result<Scene> {
        let site = Site::new(program)?;
        site.write(REGISTRY, REGISTRY_TEXT)?;
        site.write(CONFIG, &config(&site))?;
        let topology = Topology::new()?;
        let authority = Authority::new()?;
        let tls = Server::tls(&topology.internet, 443, &authority)?;
        let capture = Capture::start(&topology.internet, UPLINK)?;
        Ok(Scene {
            site,
            capture,
            tls,
            authority,
            topology,
        })
    }

    /// Sets the stage and starts the daemon.
    ///
    /// # Errors
    /// A right or a program is missing, or the daemon does not become ready.
    pub fn start(program: &Path) -> anyhow::Result<(Scene, Daemon)> {
        let scene = Scene::new(program)?;
        let daemon = scene.site.start(&scene.topology.edge)?;
        Ok((scene, daemon))
    }

    /// Has the daemon take over what its files hold now.
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub fn reload(&self) -> anyhow::Result<()> {
        let edge = &self.topology.edge;
        let done = self.site.ask_daemon(edge, &["reload", "--wait"])?;
        anyhow::ensure!(done.code == Some(0), "{done:?}");
        Ok(())
    }

    /// Asks the daemon.
    ///
    /// # Errors
    /// The command cannot be started. What it answers is no error.
    pub fn ask(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        self.site.ask_daemon(&self.topology.edge, arguments)
    }

    /// Whether the school is kept from a name, and not from the server.
    ///
    /// # Errors
    /// It meets neither a reset nor the name's page.
    pub fn is_blocked(&self, name: &str) -> anyhow::Result<bool> {
        let ended = self.fetch(&self.topology.school, SERVER4.into(), name)?;
        let known = ended == Ended::Reset || ended.is_page_of(name);
        anyhow::ensure!(known, "{name}: {ended:?}");
        Ok(ended == Ended::Reset)
    }

    /// Fetches a page by TLS.
    ///
    /// # Errors
    /// The namespace cannot be entered. What becomes of the request is no error.
    pub fn fetch(&self, from: &Namespace, to: IpAddr, name: &str) -> anyhow::Result<Ended> {
        Ok(Request::new(SocketAddr::new(to, 443), name)
            .fetch(from, &self.authority)?
            .0)
    }

    /// The same with the ClientHello cut in the middle of the name.
    ///
    /// # Errors
    /// The namespace cannot be entered. What becomes of the request is no error.
    pub fn fetch_split(&self, from: &Namespace, to: IpAddr, name: &str) -> anyhow::Result<Ended> {
        let request = Request::new(SocketAddr::new(to, 443), name).split();
        Ok(request.fetch(from, &self.authority)?.0)
    }

    /// A storm's plan over everything that the registry lists.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let at = |address: IpAddr| SocketAddr::new(address, 443);
        Plan {
            servers: vec![at(SERVER4.into()), at(SERVER6.into())],
            blocked: vec![EXACT.into(), BELOW.into()],
            allowed: vec![ALLOWED.into(), NEAR_MISS.into()],
            listed: Some(at(LISTED4.into())),
        }
    }

    /// What reached the servers of the school's forbidden traffic, which must be nothing: complete
    /// names that `forbidden` holds, and segments to the listed address. A capture that lost a
    /// frame is told too.
    ///
    /// # Errors
    /// The capture cannot tell whether it lost frames.
    pub fn leaks(&self, forbidden: &[&str]) -> anyhow::Result<Vec<String>> {
        let school = [IpAddr::from(SCHOOL4), IpAddr::from(SCHOOL6)];
        let frames = self.capture.frames();
        let mut leaks = Vec::new();
        for (from, name) in stream::complete_names(&frames) {
            if school.contains(&from.ip()) && forbidden.contains(&name.as_str()) {
                leaks.push(format!("{name} from {from}"));
            }
        }
        let segments = frames
            .iter()
            .filter_map(|frame| stream::segment(&frame.bytes));
        let listed = segments.filter(|s| s.to.ip() == LISTED4 && school.contains(&s.from.ip()));
        leaks.extend(listed.map(|s| format!("segment from {} to {}", s.from, s.to)));
        for heard in self.tls.log().all() {
            let name = heard.name.unwrap_or_default();
            if school.contains(&heard.client) && forbidden.contains(&name.as_str()) {
                leaks.push(format!(
                    "the server understood {name} from {}",
                    heard.client
                ));
            }
        }
        match self.capture.lost()? {
            0 => {}
            lost => leaks.push(format!("the capture lost {lost} frames")),
        }
        Ok(leaks)
    }
}

/// The configuration: both customers' interfaces, one registry that may be of any size, one school.
#[must_use]
pub fn config(site: &Site) -> String {
    let [ipv4, ipv6] = SCHOOL_PREFIXES;
    let settings = site.settings();
    format!(
        r#"[daemon]
{settings}syn_limit = 1000000

[[interfaces]]
name = "{EDGE_SCHOOL}"
side = "organisations"

[[interfaces]]
name = "{EDGE_NEIGHBOUR}"
side = "organisations"

[[registries]]
id = "law"
tier = "unified"
format = "mixed"
semantics = "exact"
path = "{REGISTRY}"
shrink_max_percent = 100
growth_max_percent = {SIZE_LIMIT_OFF}

[[profiles]]
id = "pupils"
age = 12

[[organisations]]
id = "{ORGANISATION}"
name = "School number one"
prefixes = ["{ipv4}", "{ipv6}"]
profile = "pupils"
"#
    )
}
