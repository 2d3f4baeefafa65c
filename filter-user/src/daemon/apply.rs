//! Updates that can be taken back: what an update would do, told before; an update that goes back by itself unless
//! somebody confirms it; the way back after any update.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{error, info, warn};

use super::core::{Core, rule};
use super::gate;
use super::server::Server;
use crate::cli::Exit;
use crate::compile::Rules;
use crate::config::Registry;
use crate::control::Response;
use crate::difference::difference;
use crate::load::Everything;
use crate::problem::Problem;
use crate::registry::progress::Progress;
use crate::sources;
use crate::state::{StateDir, write_secret};
use crate::status::{Pending, Reload};

/// Longest time that an update may wait for its confirmation, in seconds.
pub(crate) const CONFIRM_SECONDS_MAX: u64 = 24 * 3600;
/// Wait after a way back that could not be gone.
const AGAIN: Duration = Duration::from_secs(5);
/// File of the state directory that is there while an update waits.
const FILE: &str = "unconfirmed.json";

/// The ways back.
#[derive(Debug, Default)]
pub(super) struct Back {
    /// What was in force before the last update.
    before: Option<Arc<Everything>>,
    /// The update that waits for its confirmation.
    pub(super) pending: Option<Pending>,
    /// Since when the files hold something else than what is in force, as an update was taken back.
    pub(super) undone: Option<i64>,
    /// The update that an earlier daemon left without a confirmation.
    pub(super) unconfirmed: Option<Pending>,
    /// Updates that waited, counted: a timer belongs to one of them.
    number: u64,
}

/// What the marker holds.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    pending: Pending,
}

impl Back {
    /// After a start: an update may have been left without a confirmation.
    pub(super) fn load(state_dir: &StateDir) -> Back {
        let text = std::fs::read(state_dir.path().join(FILE)).unwrap_or_default();
        let marker: Option<Marker> = serde_json::from_slice(&text).ok();
        let unconfirmed = marker.map(|marker| marker.pending);
        if unconfirmed.is_some() {
            error!(
                "the daemon ended while an update waited for its confirmation: that update is in force; `schoolgate confirm` keeps it, corrected files and a reload replace it"
            );
        }
        Back {
            unconfirmed,
            ..Back::default()
        }
    }

    /// Why nothing may be brought into force at this moment, for `actor`.
    pub(super) fn refuses(&self, actor: &str) -> Option<String> {
        if let Some(pending) = &self.pending {
            return Some(format!(
                "an update waits for its confirmation until {}: `schoolgate confirm` or `schoolgate undo` comes first",
                text(pending.until)
            ));
        }
        // What nobody asked for must not bring back what somebody took back.
        self.undone.filter(|_| actor == "daemon").map(|since| {
            format!(
                "an update was taken back at {}: `schoolgate apply` brings what the files hold into force",
                text(since)
            )
        })
    }
}

fn text(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), |at| at.to_string())
}

impl Core {
    /// An update is in force: the way back leads to what was before.
    pub(super) fn updated(&mut self, before: Option<Arc<Everything>>) {
        self.back.before = before;
        self.back.undone = None;
        if self.back.unconfirmed.take().is_some() {
            self.unmark();
        }
    }

    /// Notes that an update is to be confirmed: on disk, before anything changes.
    fn mark(&self, pending: &Pending) -> Result<(), Problem> {
        let path = self.state_dir.path().join(FILE);
        let marker = Marker {
            pending: pending.clone(),
        };
        let text = serde_json::to_vec(&marker).map_err(std::io::Error::from);
        text.and_then(|text| write_secret(&path, &text))
            .map_err(|error| {
                let what = format!("cannot be written: {error}");
                Problem::of_file(&path, what, "make room or correct permissions")
            })
    }

    fn unmark(&self) {
        let path = self.state_dir.path().join(FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                warn!("{}: cannot be removed: {error}", path.display());
            }
            _ => {}
        }
    }

    /// Brings what was read into force until it is confirmed. Gives the number of the wait.
    fn try_out(
        &mut self,
        read: Result<Everything, Vec<Problem>>,
        actor: &str,
        seconds: u64,
    ) -> (Reload, Option<u64>) {
        let now = Timestamp::now().as_second();
        let pending = Pending {
            until: now.saturating_add_unsigned(seconds),
            actor: actor.to_owned(),
        };
        let nowhere = self.everything.is_none();
        let refused = if nowhere {
            Some("nothing of this daemon is in force that could come back: reload first".to_owned())
        } else if read.is_ok() {
            self.mark(&pending).err().map(|problem| problem.to_string())
        } else {
            None
        };
        if let Some(problem) = refused {
            return (Reload::refused(problem), None);
        }
        let reload = self.apply(read, actor);
        if !reload.ok {
            self.unmark();
            return (reload, None);
        }
        warn!("goes back at {} unless confirmed", text(pending.until));
        let detail = json!({ "until": text(pending.until) });
        // What could not be written has been told.
        let _ = self.record(actor, "confirm_by", detail);
        self.back.pending = Some(pending);
        self.back.number += 1;
        (reload, Some(self.back.number))
    }

    /// Keeps what is in force.
    fn confirm(&mut self, actor: &str) -> Response {
        let pending = self.back.pending.take();
        let Some(pending) = pending.or_else(|| self.back.unconfirmed.take()) else {
            let problem = "nothing waits for a confirmation";
            return Response::failure(Exit::Problem, vec![problem.to_owned()]);
        };
        self.unmark();
        info!("confirmed by {actor}");
        // What could not be written has been told.
        let _ = self.record(actor, "confirm", json!({ "until": text(pending.until) }));
        Response::data(&pending)
    }

    /// Goes back to what was in force before the last update.
    fn undo(&mut self, actor: &str) -> Reload {
        let Some(before) = self.back.before.take() else {
            return Reload::refused(
                "there is nothing to go back to: one step is kept, and none over a restart"
                    .to_owned(),
            );
        };
        let mut back = Everything::clone(&before);
        let moment = back.bypasses.moment(Timestamp::now());
        let rules = Rules::at(&back.config, &back.numbers, &moment);
        rule(&mut back.compiled.desired, &rules.rules);
        if let Some(now) = &self.everything {
            back.compiled.continue_from(&now.compiled);
        }
        match gate::interface_rows(&back.config, &back.numbers) {
            Ok(rows) => back.compiled.desired.interfaces = rows,
            Err(problems) => warn!("interfaces stay as they were: {problems:?}"),
        }
        let mut reload = self.apply_everything(back);
        reload.at = Timestamp::now().as_second().unsigned_abs();
        if !reload.ok {
            error!("not taken back: {}", reload.problems.join("; "));
            self.back.before = Some(before);
            return reload;
        }
        self.back.pending = None;
        self.back.undone = Some(Timestamp::now().as_second());
        self.unmark();
        warn!("the last update was taken back by {actor}: the files hold something else");
        // What could not be written has been told.
        let _ = self.record(actor, "undo", json!({ "changes": reload.changes }));
        self.last_reload = Some(reload.clone());
        reload
    }
}

impl Server {
    /// What a reload would do now.
    pub(super) fn diff(&self, examples: usize, accept: Option<&str>) -> Response {
        let (mut reading, before, rules) = {
            let core = self.core();
            (core.reading(), core.everything.clone(), core.rules.clone())
        };
        let Some(before) = before else {
            return super::server::not_ours();
        };
        if let Some(id) = accept {
            reading.accept(id);
            reading.look_at_held(id);
        }
        match reading.read(Progress::Quiet) {
            Ok(after) => Response::data(&difference(&before, &rules, &after, examples)),
            Err(problems) => Response::failure(
                Exit::Problem,
                problems.iter().map(ToString::to_string).collect(),
            ),
        }
    }

    /// Applies what the files hold, until it is confirmed.
    pub(super) async fn try_out(&self, actor: &str, seconds: u64) -> Reload {
        if !(1..=CONFIRM_SECONDS_MAX).contains(&seconds) {
            return Reload::refused("a confirmation may be waited for from 1s to 24h".to_owned());
        }
        let server = self.clone();
        let by = actor.to_owned();
        let work = move |core: &mut Core, read| core.try_out(read, &by, seconds);
        let (reload, number) = self.bring(actor, None, work).await;
        if let Some(number) = number {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                server.go_back(number).await;
            });
        }
        reload
    }

    /// Takes a registry that is held, this once.
    pub(super) async fn accept(&self, actor: &str, id: &str) -> Reload {
        self.move_copy(actor, id, "accept", |registry, _| sources::accept(registry))
            .await
    }

    /// Goes back to the copy of a registry before the newest.
    pub(super) async fn roll_back(&self, actor: &str, id: &str) -> Reload {
        self.move_copy(actor, id, "roll_back", |registry, actor| {
            let came = sources::roll_back(registry, actor)?;
            let came = text(i64::try_from(came).unwrap_or(i64::MAX));
            info!(
                "registry {}: the copy that came at {came} is read",
                registry.id
            );
            Ok(())
        })
        .await
    }

    /// Moves copies of a registry's source, and brings into force what is to be read then.
    async fn move_copy(
        &self,
        actor: &str,
        id: &str,
        event: &str,
        work: impl FnOnce(&Registry, &str) -> Result<(), String>,
    ) -> Reload {
        // Nothing may come or go meanwhile.
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(refused) = self.core().back.refuses(actor) {
            return Reload::refused(refused);
        }
        let configured = self.configured();
        let registries = configured.config().map(|config| &config.registries);
        let registry = registries.into_iter().flatten().find(|of| of.id == id);
        let Some(registry) = registry else {
            return Reload::refused(format!("there is no registry {id}"));
        };
        if let Err(problem) = work(registry, actor) {
            return Reload::refused(problem);
        }
        // What could not be written has been told.
        let _ = self.core().record(actor, event, json!({ "registry": id }));
        let by = actor.to_owned();
        let work = move |core: &mut Core, read| (core.apply(read, &by), ());
        self.bring(actor, Some(id), work).await.0
    }

    /// The time for a confirmation is over.
    async fn go_back(&self, number: u64) {
        loop {
            let back = self.alone(move |core| {
                let waits = core.back.pending.is_some() && core.back.number == number;
                waits.then(|| core.undo("daemon"))
            });
            if back.await.is_none_or(|back| back.ok) {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    pub(super) async fn undo(&self, actor: &str) -> Reload {
        let actor = actor.to_owned();
        self.alone(move |core| core.undo(&actor)).await
    }

    pub(super) fn confirm(&self, actor: &str) -> Response {
        self.core().confirm(actor)
    }
}
