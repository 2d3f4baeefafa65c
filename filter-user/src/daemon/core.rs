//! The daemon's state, with one owner, and the two things that change it: the start and a reload. A
//! reload that fails leaves everything as it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::apply::Back;
use super::gate::{self, Refused};
use super::gauge;
use super::quic::Reader;
use crate::bypass::Bypasses;
use crate::cli::Exit;
use crate::compile::Rule;
use crate::config::{Config, Quic};
use crate::desired::Desired;
use crate::journal::{Head, Journal};
use crate::kernel::Filter;
use crate::kernel::filter::Report;
use crate::load::{Before, Everything};
use crate::portal::{Slot, View};
use crate::problem::Problem;
use crate::registry::load::{Freshness, KeptBefore, Summary};
use crate::registry::progress::Progress;
use crate::safe_search::Found;
use crate::state::{State, StateDir};
use crate::status::{GaugeStatus, Reload, TargetStatus};

/// State of the daemon.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) file: PathBuf,
    pub(super) runtime_dir: PathBuf,
    pub(super) started: Instant,
    pub(super) everything: Option<Arc<Everything>>,
    pub(super) filter: Option<Filter>,
    pub(super) last_reload: Option<Reload>,
    pub(super) state_dir: StateDir,
    /// What organisations are under, as the maps have it.
    pub(super) rules: Vec<Rule>,
    pub(super) bypasses: Bypasses,
    state: State,
    seed: u64,
    /// Where the portal finds what is in force.
    pub(super) portal: Slot,
    /// Who reads the names of QUIC.
    pub(super) quic: Reader,
    /// What became of the targets that were asked for last.
    pub(super) targets: Vec<TargetStatus>,
    /// The last comparison of the maps with what they shall hold.
    pub(super) gauge: Option<GaugeStatus>,
    /// The ways back from the last update.
    pub(super) back: Back,
    /// What changed and when; none, where it cannot be written.
    journal: Option<Journal>,
    /// Why a row of it is missing.
    pub(super) journal_problem: Option<String>,
}

/// What a reload reads, without holding up those who ask meanwhile.
pub(super) struct Reading {
    file: PathBuf,
    seed: u64,
    state: State,
    before: Option<Arc<Everything>>,
    bypasses: Bypasses,
    /// The registry whose held file is read in place of its newest copy.
    held: Option<String>,
}

impl Reading {
    /// Takes a registry of any size, this once.
    pub(super) fn accept(&mut self, id: &str) {
        self.state.kept.remove(id);
    }

    /// Reads the file of a registry that is held, where there is one.
    pub(super) fn look_at_held(&mut self, id: &str) {
        self.held = Some(id.to_owned());
    }

    /// Reads and compiles.
    pub(super) fn read(&self, progress: Progress) -> Result<Everything, Vec<Problem>> {
        let before = Before {
            state: &self.state,
            everything: self.before.as_deref(),
            bypasses: &self.bypasses,
        };
        let held = self.held.as_deref();
        Everything::read_held(
            &self.file,
            self.seed,
            before,
            progress,
            held,
            gate::interface_rows,
        )
    }
}

impl Core {
    /// A daemon that has read nothing yet.
    pub(super) fn new(
        file: &Path,
        runtime_dir: &Path,
        state_dir: StateDir,
    ) -> Result<Core, Problem> {
        let journal = Journal::open(&state_dir);
        let journal_problem = journal.as_ref().err().map(ToString::to_string);
        if let Some(problem) = &journal_problem {
            error!("journal: {problem}");
        }
        Ok(Core {
            file: file.to_path_buf(),
            runtime_dir: runtime_dir.to_path_buf(),
            started: Instant::now(),
            everything: None,
            filter: None,
            last_reload: None,
            seed: state_dir.seed()?,
            state: state_dir.load(),
            rules: Vec::new(),
            bypasses: Bypasses::load(state_dir.path()),
            back: Back::load(&state_dir),
            state_dir,
            portal: Slot::default(),
            quic: Reader::default(),
            targets: Vec::new(),
            gauge: None,
            journal: journal.ok(),
            journal_problem,
        })
    }

    /// What a reload needs.
    pub(super) fn reading(&self) -> Reading {
        Reading {
            file: self.file.clone(),
            seed: self.seed,
            state: self.state.clone(),
            before: self.everything.clone(),
            bypasses: self.bypasses.clone(),
            held: None,
        }
    }

    /// Where nothing is in force that could stay, as after a reboot, registries whose size has changed by too much are
    /// taken: without them, no school has a filter. Whether that helped.
    pub(super) fn apply_any_size(&mut self) -> bool {
        let before = self.kept();
        let mut reading = self.reading();
        reading.state.kept.clear();
        let Ok(read) = reading.read(Progress::Quiet) else {
            return false;
        };
        let had = |summary: &Summary| before.get(&summary.id).copied().unwrap_or(0);
        // An empty file is no registry of another size.
        let emptied = |summary: &Summary| summary.counts.kept == 0 && had(summary) > 0;
        if read.summaries.iter().any(emptied) {
            return false;
        }
        warn!("nothing is in force: registries are taken whatever their size is now");
        self.apply(Ok(read), "daemon").ok
    }

    /// Entries that registries held when they were last in force.
    pub(super) fn kept(&self) -> KeptBefore {
        self.state.kept.clone()
    }

    /// Adds a row to the journal. Filtering and loading go on without it, loudly.
    pub(super) fn record(
        &mut self,
        actor: &str,
        action: &str,
        detail: Value,
    ) -> Result<(), String> {
        let written = match &self.journal {
            Some(journal) => journal.append(actor, action, detail).map(|_| ()),
            None => match Journal::open(&self.state_dir) {
                Ok(journal) => {
                    let written = journal.append(actor, action, detail).map(|_| ());
                    self.journal = Some(journal);
                    written
                }
                Err(problem) => Err(problem),
            },
        };
        let written = written.map_err(|problem| problem.to_string());
        self.journal_problem = written.clone().err();
        if let Err(problem) = &written {
            error!("journal: {problem}");
        }
        written
    }

    /// Number and hash of the journal's last row.
    pub(super) fn journal_head(&self) -> Option<Head> {
        self.journal.as_ref().map(Journal::head)
    }

    /// Brings what was read into force, for `actor`.
    pub(super) fn apply(&mut self, read: Result<Everything, Vec<Problem>>, actor: &str) -> Reload {
        let reload = match read {
            Err(problems) => {
                let problems = problems.iter().map(ToString::to_string).collect();
                Reload {
                    exit: Exit::Problem as u8,
                    problems,
                    ..Reload::default()
                }
            }
            Ok(everything) => {
                let before = self.everything.clone();
                let reload = self.apply_everything(everything);
                if reload.ok && before.is_some() {
                    self.updated(before);
                }
                reload
            }
        };
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let reload = Reload { at, ..reload };
        tell(&reload);
        let action = if reload.ok { "load" } else { "load_refused" };
        let detail = self.loaded(&reload);
        // What could not be written has been told.
        let _ = self.record(actor, action, detail);
        self.last_reload = Some(reload.clone());
        reload
    }

    /// What the journal tells of a load: what changed, and which registries are in force.
    fn loaded(&self, reload: &Reload) -> Value {
        let summaries = self.everything.iter().flat_map(|all| &all.summaries);
        let registries: Vec<Value> = summaries
            .map(|of| {
                let modified = i64::try_from(of.modified).ok();
                let modified = modified.and_then(|at| Timestamp::from_second(at).ok());
                json!({
                    "id": of.id,
                    "entries": of.counts.kept,
                    "rejected": of.counts.rejected,
                    "modified": modified.map(|at| at.to_string()),
                    "revision": of.revision,
                })
            })
            .collect();
        json!({
            "config": self.file,
            "config_sha256": self.everything.as_ref().map(|all| all.config.files.revision()),
            "changes": reload.changes,
            "new_maps": reload.new_generation,
            "taken_over": reload.taken_over,
            "problems": reload.problems,
            "registries": registries,
        })
    }

    /// Brings a state into force.
    pub(super) fn apply_everything(&mut self, everything: Everything) -> Reload {
        let desired = &everything.compiled.desired;
        let started = Instant::now();
        let result = match self.filter.as_mut() {
            Some(filter) => {
                let before = self.everything.as_ref();
                let before = before.map(|before| &before.compiled.desired);
                gate::apply(filter, &everything.config, before, desired)
            }
            None => gate::start(&everything.config, desired, self.seed).map(|(filter, report)| {
                self.filter = Some(filter);
                report
            }),
        };
        let mut reload = match result {
            Ok(report) => succeeded(&report),
            Err(Refused { exit, problem }) => {
                return Reload {
                    exit: exit as u8,
                    problems: vec![problem],
                    ..Reload::default()
                };
            }
        };
        reload.apply_milliseconds = milliseconds(started);
        reload.read_milliseconds = everything.milliseconds;
        reload.notes = self.notes(&everything);
        everything.summaries.iter().for_each(tell_registry);
        self.keep(everything);
        reload
    }

    /// Leads search engines to where their targets were found.
    pub(super) fn lead(&mut self, found: Found) -> Result<(), String> {
        let (Some(filter), Some(before)) = (self.filter.as_mut(), self.everything.as_ref()) else {
            return Ok(());
        };
        if before.found == found {
            return Ok(());
        }
        let mut led = before.led(found);
        rule(&mut led.compiled.desired, &self.rules);
        let (old, new) = (&before.compiled.desired, &led.compiled.desired);
        gate::apply(filter, &led.config, Some(old), new).map_err(|refused| refused.problem)?;
        let found = serde_json::to_value(&led.found).unwrap_or_default();
        self.keep(led);
        // What could not be written has been told.
        let _ = self.record("daemon", "safe_search", found);
        Ok(())
    }

    /// Compares what is in force with what shall be, and repairs what differs.
    pub(super) fn gauge(&mut self) {
        self.follow_interfaces();
        let (Some(filter), Some(everything)) = (self.filter.as_mut(), self.everything.as_ref())
        else {
            return;
        };
        let mut desired = everything.compiled.desired.clone();
        rule(&mut desired, &self.rules);
        let before = self.gauge.take().unwrap_or_default();
        let alarms = before.alarms;
        let status = gauge::round(filter, &everything.config, &desired, before);
        if status.alarms != alarms {
            // A repair may have made new maps.
            let everything = Arc::clone(everything);
            self.follow_generation(&everything);
            let detail = serde_json::to_value(&status).unwrap_or_default();
            // What could not be written has been told.
            let _ = self.record("daemon", "repair", detail);
        }
        self.gauge = Some(status);
    }

    /// Interfaces that went and came again have other numbers: the program is attached to them anew.
    fn follow_interfaces(&mut self) {
        let (Some(filter), Some(before)) = (self.filter.as_mut(), self.everything.as_ref()) else {
            return;
        };
        let Ok(rows) = gate::interface_rows(&before.config, &before.numbers) else {
            return;
        };
        if rows == before.compiled.desired.interfaces {
            return;
        }
        let mut moved = Everything::clone(before);
        moved.compiled.desired.interfaces = rows;
        rule(&mut moved.compiled.desired, &self.rules);
        let (old, new) = (&before.compiled.desired, &moved.compiled.desired);
        match gate::apply(filter, &moved.config, Some(old), new) {
            Ok(_) => {
                warn!("interfaces were made anew: the program is attached to them again");
                self.keep(moved);
                // What could not be written has been told.
                let _ = self.record("daemon", "attach", json!({}));
            }
            Err(refused) => error!("interfaces were made anew: {}", refused.problem),
        }
    }

    /// What is in force from now on.
    fn keep(&mut self, everything: Everything) {
        self.state = everything.state();
        if let Err(problem) = self.state_dir.store(&self.state) {
            // Filtering does not depend on it: the next start makes a larger update.
            warn!("{problem}");
        }
        let everything = Arc::new(everything);
        self.follow_generation(&everything);
        let rows = everything.compiled.desired.organisations.iter();
        self.rules = rows
            .map(|row| Rule {
                policy: row.policy,
                bypass_until_ns: row.bypass_until_ns,
            })
            .collect();
        self.everything = Some(everything);
        // A boundary may have passed while everything was read.
        self.tick();
    }

    /// Points the portal and the reader of QUIC to the maps in force.
    pub(super) fn follow_generation(&mut self, everything: &Arc<Everything>) {
        if let Some(filter) = &self.filter
            && everything.config.portal.is_some()
        {
            let numbers = gate::organisation_numbers(filter, &everything.config);
            let grants = filter.generation().tables().grants.clone();
            self.portal
                .put(View::new(Arc::clone(everything), &numbers, grants));
        }
        let read = everything.config.profiles.iter();
        if let Some(filter) = &self.filter
            && read
                .map(|profile| profile.quic)
                .any(|quic| quic == Quic::Inspect)
        {
            let limit = everything.config.daemon.syn_limit;
            self.quic.follow(filter.generation(), limit);
        }
    }

    /// Left-out lines, and settings that only a restart changes.
    fn notes(&self, everything: &Everything) -> Vec<String> {
        let mut notes: Vec<String> = everything.notes.iter().map(ToString::to_string).collect();
        if everything.config.interfaces.is_empty() {
            notes.push("no [[interfaces]]: the program is attached nowhere".to_owned());
        }
        let Some(before) = &self.everything else {
            return notes;
        };
        let (old, new) = (&before.config.daemon, &everything.config.daemon);
        let fixed = old.runtime_dir != new.runtime_dir
            || old.state_dir != new.state_dir
            || old.socket != new.socket
            || old.sizes != new.sizes;
        let listen = |config: &Config| config.portal.as_ref().map(|portal| portal.listen.clone());
        if listen(&before.config) != listen(&everything.config) {
            notes.push("[portal] listen changes with the next start".to_owned());
        }
        if fixed {
            notes.push(
                "[daemon] directories, socket and table sizes change with the next start"
                    .to_owned(),
            );
        }
        notes
    }
}

/// Puts organisations under what they are under now: it changes by the clock, and the state was compiled before.
pub(super) fn rule(desired: &mut Desired, rules: &[Rule]) {
    for (row, rule) in desired.organisations.iter_mut().zip(rules) {
        (row.policy, row.bypass_until_ns) = (rule.policy, rule.bypass_until_ns);
    }
}

fn succeeded(report: &Report) -> Reload {
    let applied = &report.applied;
    let kinds = [
        ("subjects", &applied.subjects),
        ("prefixes", &applied.nets),
        ("organisations", &applied.organisations),
    ];
    let counts = kinds.map(|(kind, changes)| {
        let numbers = [changes.added, changes.changed, changes.removed].map(|count| count as u64);
        (kind.to_owned(), numbers)
    });
    Reload {
        ok: true,
        changes: counts.into_iter().collect(),
        new_generation: applied.new_generation,
        taken_over: report.taken_over,
        ..Reload::default()
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A line for each registry that was read.
fn tell_registry(summary: &Summary) {
    let counts = &summary.counts;
    if summary.state == Freshness::Read {
        info!(
            "registry {}: {} read, {} kept, {} duplicate, {} rejected, {} ms",
            summary.id,
            counts.read,
            counts.kept,
            counts.duplicate,
            counts.rejected,
            counts.milliseconds
        );
    }
    for problem in &summary.rejected {
        warn!("rejected: {problem}");
    }
}

fn tell(reload: &Reload) {
    for note in &reload.notes {
        info!("note: {note}");
    }
    for problem in &reload.problems {
        error!("{problem}");
    }
    if reload.ok {
        let changes: Vec<String> = reload
            .changes
            .iter()
            .map(|(kind, [added, changed, removed])| {
                format!("{kind} +{added} ~{changed} -{removed}")
            })
            .collect();
        info!(
            "in force: {}; read in {} ms, applied in {} ms{}{}",
            changes.join(", "),
            reload.read_milliseconds,
            reload.apply_milliseconds,
            if reload.taken_over {
                ", taken over"
            } else {
                ""
            },
            if reload.new_generation {
                ", new maps"
            } else {
                ""
            },
        );
    } else {
        let partly = reload.exit == Exit::Partly as u8;
        let what = if partly {
            "applied in part: correct the cause and reload"
        } else {
            "the last good state stays in force"
        };
        error!("{what}");
    }
}
