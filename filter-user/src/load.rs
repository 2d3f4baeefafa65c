//! Configuration and registries into a compiled state, in one call: what `check`, `explain`, `replay`
//! and the daemon's reload have in common.

use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;

use crate::bypass::Bypasses;
use crate::categories::UNLAWFUL;
use crate::compile::{Compiled, Input, Rejected, compile, safe_forms};
use crate::config::{Config, Format, Registry, SizeLimits, Tier};
use crate::desired::InterfaceRow;
use crate::entries::Book;
use crate::normalise::Guards;
use crate::numbers::Numbers;
use crate::problem::Problem;
use crate::registry::Source;
use crate::registry::dump::Hidden;
use crate::registry::load::{KeptBefore, Loaded, Summary, load};
use crate::registry::progress::Progress;
use crate::safe_search::{self, Found};
use crate::sources::Store;
use crate::state::State;

/// Everything that follows from a configuration file.
#[derive(Clone, Debug)]
pub struct Everything {
    /// The configuration.
    pub config: Config,
    /// Registry files.
    pub sources: Vec<Source>,
    /// Registry by registry.
    pub summaries: Vec<Summary>,
    /// What was left out, and why.
    pub notes: Vec<Problem>,
    /// Numbers of realms and local lists.
    pub numbers: Numbers,
    /// The state that the maps are to be in.
    pub compiled: Compiled,
    /// Seed of the keys.
    pub seed: u64,
    /// Where targets of search engines were found.
    pub found: Found,
    /// Bypasses, shared with who changes them.
    pub bypasses: Bypasses,
    /// Milliseconds that all of it took.
    pub milliseconds: u64,
}

/// What is neither read nor compiled.
struct Common {
    seed: u64,
    found: Found,
    bypasses: Bypasses,
    started: Instant,
}

/// What was in force before.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// Numbers and counts.
    pub state: &'a State,
    /// Files and compiled state, in the daemon that read them.
    pub everything: Option<&'a Everything>,
    /// Bypasses that were given.
    pub bypasses: &'a Bypasses,
}

impl Everything {
    /// Reads and compiles. `interfaces` gives the attached interfaces once numbers are known.
    ///
    /// # Errors
    /// Every problem found, by file and line.
    pub fn read(
        file: &Path,
        seed: u64,
        before: Before<'_>,
        progress: Progress,
        interfaces: impl FnOnce(&Config, &Numbers) -> Result<Vec<InterfaceRow>, Vec<Problem>>,
    ) -> Result<Everything, Vec<Problem>> {
        Everything::read_held(file, seed, before, progress, None, interfaces)
    }

    /// Reads and compiles, and takes the file that is held, if there is one, for the registry with the id `held`.
    ///
    /// # Errors
    /// As [`Everything::read`].
    pub fn read_held(
        file: &Path,
        seed: u64,
        before: Before<'_>,
        progress: Progress,
        held: Option<&str>,
        interfaces: impl FnOnce(&Config, &Numbers) -> Result<Vec<InterfaceRow>, Vec<Problem>>,
    ) -> Result<Everything, Vec<Problem>> {
        let started = Instant::now();
        let mut config = Config::load_beside(file, before.everything.map(|before| &before.config))?;
        for registry in &mut config.registries {
            let fetch = registry
                .fetch
                .as_ref()
                .filter(|_| held == Some(&registry.id));
            let file = fetch.map(|fetch| Store::new(&fetch.directory).held());
            if let Some(file) = file.filter(|file| file.exists()) {
                registry.path = file;
            }
        }
        Everything::of_config(config, seed, before, progress, interfaces, started)
    }

    fn of_config(
        mut config: Config,
        seed: u64,
        before: Before<'_>,
        progress: Progress,
        interfaces: impl FnOnce(&Config, &Numbers) -> Result<Vec<InterfaceRow>, Vec<Problem>>,
        started: Instant,
    ) -> Result<Everything, Vec<Problem>> {
        let sources = before
            .everything
            .map_or(&[][..], |everything| &everything.sources);
        let loaded = load(&config, seed, sources, &before.state.kept, progress)?;
        let numbers = before.state.numbers.assign(&config);
        let found = before.state.found.clone();
        safe_search::follow(&mut config.engines, &found);
        let interfaces = interfaces(&config, &numbers)?;
        let compiled = compile(&Input {
            config: &config,
            sources: &loaded.sources,
            numbers: &numbers,
            interfaces: &interfaces,
            seed,
            moment: &before.bypasses.moment(Timestamp::now()),
            before: before.everything.map(|everything| &everything.compiled),
        })
        .map_err(|problem| vec![problem])?;
        Ok(Everything::assemble(
            config,
            loaded,
            numbers,
            compiled,
            Common {
                seed,
                found,
                bypasses: before.bypasses.clone(),
                started,
            },
        ))
    }

    fn assemble(
        config: Config,
        loaded: Loaded,
        numbers: Numbers,
        compiled: Compiled,
        common: Common,
    ) -> Everything {
        let Common {
            seed,
            found,
            bypasses,
            started,
        } = common;
        let mut notes = loaded.notes;
        notes.extend(compiled.rejected.iter().map(holds));
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Everything {
            config,
            sources: loaded.sources,
            summaries: loaded.summaries,
            notes,
            numbers,
            compiled,
            seed,
            found,
            bypasses,
            milliseconds,
        }
    }

    /// The same with search engines led to where their targets were found.
    #[must_use]
    pub fn led(&self, found: Found) -> Everything {
        let mut led = self.clone();
        safe_search::follow(&mut led.config.engines, &found);
        led.compiled.desired.safe_search = safe_forms(&led.config, &led.numbers);
        led.found = found;
        led
    }

    /// For finding entries.
    #[must_use]
    pub fn book(&self) -> Book<'_> {
        Book {
            config: &self.config,
            sources: &self.sources,
            numbers: &self.numbers,
            compiled: &self.compiled,
            bypasses: &self.bypasses,
            with_text: true,
        }
    }

    /// What must outlive the daemon.
    #[must_use]
    pub fn state(&self) -> State {
        let kept: KeptBefore = self
            .summaries
            .iter()
            .map(|summary| (summary.id.clone(), summary.counts.kept))
            .collect();
        State {
            numbers: self.numbers.clone(),
            kept,
            found: self.found.clone(),
        }
    }
}

/// A prefix that is not applied, as a problem of its line.
#[must_use]
pub fn holds(rejected: &Rejected) -> Problem {
    let what = format!("{} holds {}: not applied", rejected.net, rejected.holds);
    Problem::at(
        &rejected.file,
        rejected.line,
        what,
        "list narrower prefixes",
    )
}

/// Reads and compiles for a command that runs without the daemon: no interfaces, nothing before.
///
/// # Errors
/// Every problem found, by file and line.
pub fn offline(file: &Path, progress: Progress) -> Result<Everything, Vec<Problem>> {
    let seed = crate::state::random_seed().unwrap_or(1);
    let before = Before {
        state: &State::default(),
        everything: None,
        bypasses: &Bypasses::default(),
    };
    Everything::read(file, seed, before, progress, |_, _| Ok(Vec::new()))
}

/// Reads a plain list of names, `*.suffixes`, addresses and prefixes as the unified registry, without
/// a configuration and without the refusals that protect a live network.
///
/// # Errors
/// The list cannot be read.
pub fn block_list(list: &Path, progress: Progress) -> Result<Everything, Vec<Problem>> {
    let started = Instant::now();
    let mut config = Config::from_text(list, "")?;
    config.registries.push(Registry {
        id: "block".to_owned(),
        line: 0,
        tier: Tier::Unified,
        format: Format::Mixed,
        path: list.to_path_buf(),
        fetch: None,
        age_alarm: None,
        sets: Vec::new(),
        bare_is_suffix: false,
        categories: config.categories.bit(UNLAWFUL).unwrap_or(1),
        directories: Vec::new(),
        rejected_max_percent: 100,
        guards: Guards::NONE,
        deltas: None,
        hidden_urls: Hidden::Skip,
        size: SizeLimits::NONE,
        given: None,
        signature: None,
    });
    let seed = crate::state::random_seed().unwrap_or(1);
    let before = Before {
        state: &State::default(),
        everything: None,
        bypasses: &Bypasses::default(),
    };
    Everything::of_config(
        config,
        seed,
        before,
        progress,
        |_, _| Ok(Vec::new()),
        started,
    )
}
