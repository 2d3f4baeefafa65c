//! The provider's part: a configuration, registries and the daemon.

use std::path::Path;

use anyhow::Context as _;

use filter_common::reason::Reason;

use super::cases::{Case, PORTAL};
use crate::lab::daemon::{CONFIG, Counts, Daemon, Site, growth, program};
use crate::lab::namespace::Namespace;
use crate::lab::topology::{EDGE_NEIGHBOUR, EDGE_SCHOOL, SCHOOL_PREFIXES};

/// The rules of this repository.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules");
/// Lists of these that the daemon loads beside the samples.
const LISTS: [&str; 2] = ["encrypted-dns.txt", "ech.txt"];
const ORGANISATION: &str = "school-1";

/// The daemon and what it reads and keeps.
pub(super) struct Provider {
    site: Site,
    daemon: Daemon,
}

/// What was counted for the school while a request ran.
pub(super) struct Counted(Counts);

impl Provider {
    /// Writes configuration and registries, and starts the daemon at the edge.
    pub(super) fn start(edge: &Namespace) -> anyhow::Result<Provider> {
        let program = program().context("no schoolgate program: run `cargo xtask build`")?;
        let site = Site::new(&program)?;
        let rules = Path::new(RULES);
        copy(&rules.join("samples"), &site.path("samples"))?;
        for list in LISTS {
            std::fs::copy(rules.join(list), site.path(list))
                .with_context(|| format!("copying {list}"))?;
        }
        site.write(CONFIG, &config(&site))?;
        let daemon = site.start(edge)?;
        Ok(Provider { site, daemon })
    }

    /// What is counted for the school so far.
    pub(super) fn counts(&self, edge: &Namespace) -> anyhow::Result<Counts> {
        self.site.counts(edge, ORGANISATION)
    }

    /// Ends the daemon and detaches the filter.
    pub(super) fn detach(self, edge: &Namespace) -> anyhow::Result<()> {
        self.daemon.stop()?;
        let answer = self.site.ask(edge, &["detach"])?;
        anyhow::ensure!(answer.code == Some(0), "`schoolgate detach`: {answer:?}");
        Ok(())
    }
}

/// Copies a directory with the files, directories and links in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to).with_context(|| format!("making {}", to.display()))?;
    let entries = std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

impl Counted {
    pub(super) fn between(before: &Counts, after: &Counts) -> Counted {
        Counted(growth(before, after))
    }

    /// Whether the case's reason was counted, or nothing at all where it has none.
    pub(super) fn is_right_for(&self, case: &Case) -> bool {
        match case.reason {
            Some(reason) => {
                // A ClientHello in small segments is one that passed in part before it was judged.
                let parts = !case.is_in_small_segments()
                    || self.0.contains_key(Reason::PassHelloPart.label());
                parts && self.0.contains_key(reason.label())
            }
            None => self.0.is_empty(),
        }
    }

    /// The case's reason with its count. Where it has none, or it was not counted: what else was.
    pub(super) fn text(&self, case: &Case) -> String {
        let wanted = case.reason.map_or("", |reason| reason.label());
        match self
            .0
            .get_key_value(wanted)
            .or_else(|| self.0.first_key_value())
        {
            Some((reason, more)) => format!("{reason} +{more}"),
            None => "nothing".to_owned(),
        }
    }
}

fn config(site: &Site) -> String {
    let [ipv4, ipv6] = SCHOOL_PREFIXES;
    let settings = site.settings();
    format!(
        r#"[daemon]
{settings}
[[interfaces]]
name = "{EDGE_SCHOOL}"

[[interfaces]]
name = "{EDGE_NEIGHBOUR}"
{REGISTRIES}
[[organisations]]
id = "{ORGANISATION}"
name = "School number one"
prefixes = ["{ipv4}", "{ipv6}"]
profile = "pupils"

[infrastructure]
portal = ["{PORTAL}"]
"#
    )
}

const REGISTRIES: &str = r#"
[[registries]]
id = "unified"
tier = "unified"
format = "mixed"
semantics = "exact"
path = "samples/unified.txt"

[[registries]]
id = "education"
tier = "nsor"
format = "ut1"
path = "samples/ut1"
directories = { vaping = "alcohol_tobacco", party_games = "games" }

[[registries]]
id = "networks"
tier = "nsor"
format = "addresses"
path = "samples/networks.txt"
categories = ["malware"]

[[registries]]
id = "review"
tier = "suspicious"
format = "domains"
semantics = "exact"
path = "samples/suspicious.txt"

[[registries]]
id = "library"
tier = "local"
format = "domains"
semantics = "suffix"
path = "samples/library.txt"

[[registries]]
id = "messengers"
tier = "local"
format = "mixed"
semantics = "suffix"
path = "samples/messengers.txt"

[[registries]]
id = "encrypted-dns"
tier = "encrypted_dns"
format = "mixed"
semantics = "suffix"
path = "encrypted-dns.txt"

[[registries]]
id = "ech"
tier = "ech"
format = "domains"
semantics = "exact"
path = "ech.txt"

[[profiles]]
id = "pupils"
age = 6
block = ["gambling", "games", "malware"]
allow = ["library"]
deny = ["messengers"]
safe_search = "strict"
"#;
