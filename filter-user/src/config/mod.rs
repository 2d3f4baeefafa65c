//! The configuration: one TOML file in, checked settings or every problem with its line out.

mod again;
mod enrol;
mod organisations;
mod organisations_file;
mod parse;
mod portal;
pub mod reader;
mod registries;
mod schedules;
mod segments;
mod services;
mod sources;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use again::Files;
use ipnet::IpNet;
use jiff::tz::TimeZone;

use crate::categories::Categories;
use crate::desired::{FlowSizes, MplsReply};
use crate::normalise::Guards;
use crate::problem::Problem;
use crate::registry::Given;
use crate::registry::dump::Hidden;
use crate::safe_search::{Engine, SafeSearch};
use crate::schedule::{Calendar, Schedule};
use crate::services::Service;
use crate::signature::Signature;

pub use enrol::Enrolled;

/// Where the configuration is looked for.
pub const DEFAULT_FILE: &str = "/etc/schoolgate/schoolgate.toml";
/// Where sockets and pins live.
pub const DEFAULT_RUNTIME_DIR: &str = "/run/schoolgate";
/// Where the seed and the numbers live.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/schoolgate";
/// Realm of everything that names none.
pub const DEFAULT_REALM: &str = "default";

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What its files said.
    pub files: Files,
    /// The file it came from.
    pub file: PathBuf,
    /// The daemon's own settings.
    pub daemon: Daemon,
    /// Categories in force.
    pub categories: Categories,
    /// Search engines with a safe form.
    pub engines: Vec<Engine>,
    /// Interfaces to attach to.
    pub interfaces: Vec<Interface>,
    /// Registries, in the order of the file.
    pub registries: Vec<Registry>,
    /// Services, of the configuration and of its file, in use or not.
    pub services: Vec<Service>,
    /// Enrolled organisations and their segments, sorted by id.
    pub organisations: Vec<Organisation>,
    /// Profiles, in the order of the file.
    pub profiles: Vec<Profile>,
    /// Calendars of holidays, in the order of the file.
    pub calendars: Vec<Calendar>,
    /// Schedules, in the order of the file.
    pub schedules: Vec<Schedule>,
    /// Portal, resolvers and other infrastructure.
    pub infrastructure: Vec<Infrastructure>,
    /// The block page, where there is one.
    pub portal: Option<Portal>,
    /// How much of the address space is enrolled.
    pub enrolled: Enrolled,
}

/// Settings of the daemon.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Directory of the control socket and of the private bpffs.
    pub runtime_dir: PathBuf,
    /// Directory of the seed and of the last state.
    pub state_dir: PathBuf,
    /// Control socket.
    pub socket: PathBuf,
    /// Whether the socket's group may use it (mode 0660 instead of 0600).
    pub socket_group: bool,
    /// Sizes of the flow tables.
    pub sizes: FlowSizes,
    /// New flows that one organisation may open in a second.
    pub syn_limit: u32,
    /// Seconds between two comparisons of the maps with what they shall hold.
    pub gauge_seconds: u32,
    /// Everything passes.
    pub pass_all: bool,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the network stack, where a driver has no XDP.
    Generic,
}

/// An interface to attach to.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether sources behind it are matched against organisations.
    pub organisations: bool,
    /// Native or generic.
    pub mode: Mode,
    /// Realm of untagged frames.
    pub realm: String,
    /// Realm by VLAN id.
    pub vlans: Vec<(u16, String)>,
    /// Answer behind MPLS.
    pub mpls_reply: MplsReply,
}

/// What authority a registry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Unlawful for everybody.
    Unified,
    /// Education registry.
    Nsor,
    /// The operator's own list, allowed or denied by profiles.
    Local,
    /// Warned of.
    Suspicious,
    /// Names and addresses of resolvers that are asked by encrypted DNS; acted on where a profile blocks it.
    EncryptedDns,
    /// Public names behind which Encrypted ClientHello hides the real ones; blocked where a profile withholds
    /// its keys.
    Ech,
}

impl Tier {
    /// The word in the configuration.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Tier::Unified => "unified",
            Tier::Nsor => "nsor",
            Tier::Local => "local",
            Tier::Suspicious => "suspicious",
            Tier::EncryptedDns => "encrypted_dns",
            Tier::Ech => "ech",
        }
    }
}

/// Shape of a registry's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A name a line.
    Domains,
    /// An address or prefix a line.
    Addresses,
    /// Names, addresses, prefixes and URLs, one a line.
    Mixed,
    /// A URL a line.
    Urls,
    /// A directory a category.
    Ut1,
    /// The unified registry's dump, in XML.
    Dump,
    /// The register of socially significant sites, in XML.
    SocResources,
    /// `/etc/hosts`, with addresses that lead nowhere.
    Hosts,
    /// DNS rules of AdGuard.
    Adguard,
    /// A response policy zone.
    Rpz,
    /// Options of dnsmasq.
    Dnsmasq,
    /// Options of unbound.
    Unbound,
    /// The same as [`Format::Addresses`].
    Netset,
    /// v2fly's directory of sets.
    V2fly,
    /// squidGuard's configuration, or the directory of its lists.
    Squidguard,
    /// e2guardian's directory of lists.
    E2guardian,
    /// extfilter's directory.
    Extfilter,
    /// The education registry: records with categories of their own, CSV or JSON.
    Education,
}

impl Format {
    /// Whether a registry of it is one file.
    #[must_use]
    pub fn is_one_file(self) -> bool {
        let directories = [
            Format::Ut1,
            Format::V2fly,
            Format::Squidguard,
            Format::E2guardian,
            Format::Extfilter,
        ];
        !directories.contains(&self)
    }

    /// The word in the configuration.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Format::Domains => "domains",
            Format::Addresses => "addresses",
            Format::Mixed => "mixed",
            Format::Urls => "urls",
            Format::Ut1 => "ut1",
            Format::Dump => "dump",
            Format::SocResources => "soc_resources",
            Format::Hosts => "hosts",
            Format::Adguard => "adguard",
            Format::Rpz => "rpz",
            Format::Dnsmasq => "dnsmasq",
            Format::Unbound => "unbound",
            Format::Netset => "netset",
            Format::V2fly => "v2fly",
            Format::Squidguard => "squidguard",
            Format::E2guardian => "e2guardian",
            Format::Extfilter => "extfilter",
            Format::Education => "education",
        }
    }
}

/// How a registry is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// From where: `http://` or `https://`, without a password.
    pub url: String,
    /// Where its signature is.
    pub signature_url: Option<String>,
    /// Time from one fetch to the next.
    pub interval: Duration,
    /// Longest time of one.
    pub timeout: Duration,
    /// Most bytes of the file, unpacked.
    pub size_max: u64,
    /// Certificates of the authorities that vouch for the server; none: the well-known ones.
    pub ca_file: Option<PathBuf>,
    /// User, and the file of the password.
    pub user: Option<(String, PathBuf)>,
    /// Whether what is new waits until somebody accepts it.
    pub hold_updates: bool,
    /// Directory of an archive that is the collection; none: found by itself.
    pub archive_root: Option<PathBuf>,
    /// Directory of its copies.
    pub directory: PathBuf,
}

/// By how much the number of a registry's entries may change at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// Entries in percent of those before that may be gone.
    pub shrink_max_percent: u32,
    /// Entries in percent of those before that may have come.
    pub growth_max_percent: u32,
    /// Entries below which both do not matter.
    pub from: u64,
}

impl SizeLimits {
    /// Any change.
    pub const NONE: SizeLimits = SizeLimits {
        shrink_max_percent: 100,
        growth_max_percent: u32::MAX,
        from: u64::MAX,
    };
}

/// A registry.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Its id, unique.
    pub id: String,
    /// Line of its table.
    pub line: u32,
    /// Its authority.
    pub tier: Tier,
    /// Shape of its files.
    pub format: Format,
    /// File, or directory for formats of several files.
    pub path: PathBuf,
    /// Parts that are loaded, for formats whose directory holds more: sets, destinations, lists.
    pub sets: Vec<String>,
    /// Whether a bare name means everything below it too.
    pub bare_is_suffix: bool,
    /// Categories of its entries, a mask.
    pub categories: u64,
    /// UT1 and squidGuard: categories by directory or destination, beside those that the categories themselves name.
    pub directories: Vec<(String, u64)>,
    /// Rejected lines in percent above which the registry is refused.
    pub rejected_max_percent: u32,
    /// How it is fetched; `path` is its last good copy then.
    pub fetch: Option<Fetch>,
    /// Age of what was last heard of it at which an alarm is raised.
    pub age_alarm: Option<Duration>,
    /// What is refused in its lines.
    pub guards: Guards,
    /// Dump: directory of its deltas.
    pub deltas: Option<PathBuf>,
    /// Dump: what URLs mean whose path no network sees.
    pub hidden_urls: Hidden,
    /// By how much its size may change at once.
    pub size: SizeLimits,
    /// Its entries, where they are part of another file: a service's.
    pub given: Option<Arc<Vec<Given>>>,
    /// What the signatures of its files are checked with.
    pub signature: Option<Signature>,
}

/// An enrolled organisation, or a segment: a part of its network with a profile of its own.
#[derive(Clone, Debug)]
pub struct Organisation {
    /// Its id, unique; of a segment the organisation's id, `/` and the segment's.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The region it is in, as the operator calls it; empty: none was named.
    pub region: String,
    /// The zone of its clocks.
    pub timezone: TimeZone,
    /// The address space its prefixes belong to.
    pub realm: String,
    /// Its prefixes; of an organisation with segments those that no segment takes.
    pub prefixes: Vec<IpNet>,
    /// Its own profile, an index into [`Config::profiles`].
    pub profile: usize,
    /// Index into [`Config::schedules`]: which other profile is in force when.
    pub schedule: Option<usize>,
}

impl Organisation {
    /// Id of the organisation that this segment is a part of; `None`: it is no segment.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.id.split_once(SEGMENT_MARK).map(|(parent, _)| parent)
    }
}

/// What stands between an organisation's id and that of its segment.
pub const SEGMENT_MARK: char = '/';

/// Where a table or row of a configuration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Its line, counted from 1.
    pub line: u32,
    /// What problems call it, such as `[[organisations]]`.
    pub section: &'static str,
}

/// What becomes of QUIC (HTTP/3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quic {
    /// The daemon reads the name; without the daemon as `Fallback`.
    #[default]
    Inspect,
    /// A client's first packet is answered, so that it turns to TCP at once, where its name is judged.
    Fallback,
    /// It passes unread: only addresses are judged.
    Allow,
}

impl Quic {
    /// The word in the configuration.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Quic::Inspect => "inspect",
            Quic::Fallback => "fallback",
            Quic::Allow => "allow",
        }
    }
}

/// What an organisation restricts.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id, unique.
    pub id: String,
    /// Age mark: categories marked above it are blocked.
    pub age: u32,
    /// Blocked categories, a mask.
    pub block: u64,
    /// Warned categories, a mask.
    pub warn: u64,
    /// Whether suspicious entries are warned of.
    pub suspicious: bool,
    /// Whether only what is allowed passes.
    pub allow_only: bool,
    /// Indexes into [`Config::registries`] of allowed local lists.
    pub allow: Vec<usize>,
    /// Indexes into [`Config::registries`] of denied local lists.
    pub deny: Vec<usize>,
    /// Whether a blocked TCP client is reset, or its segment dropped.
    pub reset: bool,
    /// Whether a forbidden name does not exist in DNS, or leads to the portal.
    pub nxdomain: bool,
    /// What becomes of QUIC.
    pub quic: Quic,
    /// Whether DNS that hides what is asked for is blocked.
    pub encrypted_dns: bool,
    /// Whether the keys of Encrypted ClientHello are withheld.
    pub withhold_ech: bool,
    /// Whether names of search engines lead to their safe form.
    pub safe_search: SafeSearch,
}

/// Role of the portal's addresses.
pub const PORTAL: &str = "portal";
/// Role of the resolvers' addresses.
pub const RESOLVERS: &str = "resolvers";

/// An address of the provider's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Infrastructure {
    /// The address.
    pub address: IpAddr,
    /// Line in the configuration.
    pub line: u32,
    /// [`PORTAL`], [`RESOLVERS`] or other.
    pub role: &'static str,
}

/// The block page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Line in the configuration.
    pub line: u32,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// The address that IPv4 clients are sent to.
    pub address4: Option<Ipv4Addr>,
    /// The address that IPv6 clients are sent to.
    pub address6: Option<Ipv6Addr>,
    /// A name that people can type.
    pub host: Option<String>,
    /// The provider.
    pub name: String,
    /// How the provider is reached.
    pub contact: String,
    /// How to object.
    pub appeal: String,
    /// Minutes that a "continue" lasts.
    pub grant_minutes: u32,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// Every problem found, in the order of lines.
    pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
        Config::from_text(file, &text_of(file)?)
    }

    /// Reads a configuration; relative paths are relative to the directory of `file`.
    ///
    /// # Errors
    /// Every problem found, in the order of lines.
    pub fn from_text(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
        parse::config(file, text)
    }

    /// The realms in use, without repetition: the default one first, then in the order of the file.
    #[must_use]
    pub fn realms(&self) -> Vec<&str> {
        let mut realms = vec![DEFAULT_REALM];
        let named = self.interfaces.iter().flat_map(|interface| {
            std::iter::once(&interface.realm).chain(interface.vlans.iter().map(|(_, realm)| realm))
        });
        for realm in named.chain(self.organisations.iter().map(|org| &org.realm)) {
            if !realms.contains(&realm.as_str()) {
                realms.push(realm);
            }
        }
        realms
    }

    /// The organisation with this id.
    #[must_use]
    pub fn organisation(&self, id: &str) -> Option<&Organisation> {
        let at = self
            .organisations
            .binary_search_by(|org| org.id.as_str().cmp(id))
            .ok()?;
        self.organisations.get(at)
    }
}

fn text_of(file: &Path) -> Result<String, Vec<Problem>> {
    std::fs::read_to_string(file).map_err(|error| {
        vec![Problem::of_file(
            file,
            format!("cannot be read: {error}"),
            "give the right file with -c",
        )]
    })
}

/// The control socket that a configuration names, without checking anything else of it.
#[must_use]
pub fn socket_of(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    parse::socket(file, &text)
}

#[cfg(test)]
mod tests;
