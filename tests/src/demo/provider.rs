//! The provider's part: a configuration, registries and the daemon.

use anyhow::Context as _;

use super::cases::Case;
use crate::lab::daemon::{CONFIG, Counts, Daemon, Site, growth, program};
use crate::lab::namespace::Namespace;
use crate::lab::topology::SCHOOL_PREFIXES;
use crate::lab::topology::{EDGE_NEIGHBOUR, EDGE_SCHOOL, LISTED_PREFIX, LISTED4, LISTED6};

const ORGANISATION: &str = "school-1";

/// The daemon and what it reads and keeps.
pub(super) struct Provider {
    site: Site,
    _daemon: Daemon,
}

/// What was counted for the school while a request ran.
pub(super) struct Counted(Counts);

impl Provider {
    /// Writes configuration and registries, and starts the daemon at the edge.
    pub(super) fn start(edge: &Namespace) -> anyhow::Result<Provider> {
        let program = program().context("no schoolgate program: run `cargo xtask build`")?;
        let site = Site::new(&program)?;
        site.write("unified.txt", &unified())?;
        site.write("education.txt", "casino.example\n")?;
        site.write(CONFIG, &config(&site))?;
        let daemon = site.start(edge)?;
        Ok(Provider {
            site,
            _daemon: daemon,
        })
    }

    /// What is counted for the school so far.
    pub(super) fn counts(&self, edge: &Namespace) -> anyhow::Result<Counts> {
        self.site.counts(edge, ORGANISATION)
    }

    /// Detaches the filter and ends the daemon.
    pub(super) fn detach(self, edge: &Namespace) -> anyhow::Result<()> {
        let answer = self.site.ask(edge, &["detach"])?;
        anyhow::ensure!(answer.code == Some(0), "`schoolgate detach`: {answer:?}");
        Ok(())
    }
}

impl Counted {
    pub(super) fn between(before: &Counts, after: &Counts) -> Counted {
        Counted(growth(before, after))
    }

    /// Whether the case's reason was counted, or nothing at all where it has none.
    pub(super) fn is_right_for(&self, case: &Case) -> bool {
        match case.reason {
            Some(reason) => self.0.contains_key(reason.label()),
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

fn unified() -> String {
    format!(
        "pages.unlawful.example\n*.mirror.unlawful.example\n{LISTED4}\n{LISTED_PREFIX}\n{LISTED6}\n"
    )
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

[[registries]]
id = "unified"
tier = "unified"
format = "mixed"
semantics = "exact"
path = "unified.txt"

[[registries]]
id = "education"
tier = "nsor"
format = "domains"
semantics = "suffix"
path = "education.txt"
categories = ["gambling"]

[[profiles]]
id = "pupils"
age = 12
block = ["gambling"]

[[organisations]]
id = "{ORGANISATION}"
name = "School number one"
prefixes = ["{ipv4}", "{ipv6}"]
profile = "pupils"
"#
    )
}
