//! Registries that are fetched: before a load that is asked for where there is no copy, then each by its interval, and
//! when an operator asks. New copies come into force by a reload like any other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tracing::{info, warn};

use super::server::Server;
use crate::config::{Config, Registry};
use crate::load::Everything;
use crate::registry::load::KeptBefore;
use crate::sources::{Memo, Outcome, SourceStatus, State, Store, Updated, seconds, update};
use crate::status::Fetched;

/// Longest wait: a configuration with other sources is noticed after so long.
const RECHECK: Duration = Duration::from_secs(60);
/// Wait after the first fetch that failed; it doubles with each further one, up to the interval.
const RETRY_SECONDS: u64 = 30;

/// Fetches what has no copy yet.
pub(super) fn first(config: &Config, kept: &KeptBefore) -> Vec<Updated> {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for registry in &config.registries {
            let Some(fetch) = &registry.fetch else {
                continue;
            };
            if is_missing(registry) {
                info!("fetching {} for the first time", fetch.url);
                threads.push(scope.spawn(move || update(config, registry, kept)));
            }
        }
        // A panic in there has been printed.
        let done = threads.into_iter().filter_map(|it| it.join().ok()?);
        done.inspect(tell).collect()
    })
}

/// Whether no copy of a registry can be read as it is configured now: there is none, it is another URL's, or it has no
/// signature.
fn is_missing(registry: &Registry) -> bool {
    let Some(fetch) = &registry.fetch else {
        return false;
    };
    let store = Store::new(&fetch.directory);
    let newest = store.copies().pop();
    let signed = |copy: &PathBuf| {
        let signature = registry.signature.as_ref();
        signature.is_none_or(|signature| signature.path_for(copy).exists())
    };
    newest.is_none_or(|copy| !signed(&copy)) || store.memo().url != fetch.url
}

/// Fetches for ever.
pub(super) async fn follow(server: Server) {
    let mut told: HashMap<String, State> = HashMap::new();
    loop {
        // Where the configuration cannot be read, a reload tells of it.
        let _ = server.fetch(None, None).await;
        let wait = tokio::task::spawn_blocking({
            let server = server.clone();
            move || {
                let configured = server.configured();
                (next(configured.config()), server.sources())
            }
        });
        let (wait, sources) = wait.await.unwrap_or((RECHECK, Vec::new()));
        tell_states(&sources, &mut told);
        tokio::time::sleep(wait).await;
    }
}

/// Tells the changes of sources' states.
fn tell_states(sources: &[SourceStatus], told: &mut HashMap<String, State>) {
    for source in sources {
        let before = told.insert(source.id.clone(), source.state);
        if before == Some(source.state) {
            continue;
        }
        let hours = seconds(SystemTime::now()).saturating_sub(source.checked) / 3_600;
        match source.state {
            State::None => warn!("source of {}: there is no copy", source.id),
            State::Stale => warn!("source of {}: last heard of {hours} h ago", source.id),
            state => info!("source of {}: {}", source.id, state.label()),
        }
    }
}

/// When a source is due, in seconds since 1970.
fn due(registry: &Registry) -> Option<u64> {
    let fetch = registry.fetch.as_ref()?;
    let memo = Store::new(&fetch.directory).memo();
    if memo.url != fetch.url {
        return Some(0);
    }
    Some(
        memo.attempted
            .saturating_add(pause(&memo, fetch.interval.as_secs())),
    )
}

/// Seconds from one fetch to the next: the interval, or after failures less; a tenth more or less, so that many
/// routers do not ask at once.
fn pause(memo: &Memo, interval: u64) -> u64 {
    let pause = match memo.failures {
        0 => interval,
        failures => {
            let doubled = RETRY_SECONDS.saturating_mul(1 << (failures - 1).min(20));
            doubled.min(interval)
        }
    };
    let random = crate::state::random_seed().unwrap_or(0) % 201;
    pause.saturating_mul(900 + random) / 1_000
}

fn next(config: Option<&Config>) -> Duration {
    let registries = config.map_or(&[][..], |config| &config.registries);
    let first = registries.iter().filter_map(due).min();
    let now = seconds(SystemTime::now());
    let wait = first.map_or(RECHECK, |due| Duration::from_secs(due.saturating_sub(now)));
    wait.clamp(Duration::from_secs(1), RECHECK)
}

fn tell(updated: &Updated) {
    let id = &updated.id;
    match (updated.outcome, &updated.problem) {
        (_, Some(problem)) => warn!("source of {id}: {problem}"),
        (Outcome::New, None) => info!("source of {id}: a new copy"),
        (_, None) => {}
    }
}

/// The configuration in force, else the one in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Configured {
    everything: Option<Arc<Everything>>,
    file: Option<Arc<Config>>,
}

impl Configured {
    pub(super) fn config(&self) -> Option<&Config> {
        let in_force = self.everything.as_ref().map(|all| &all.config);
        in_force.or(self.file.as_deref())
    }
}

impl Server {
    pub(super) fn configured(&self) -> Configured {
        let (everything, file) = {
            let core = self.core();
            (core.everything.clone(), core.file.clone())
        };
        let read = || Config::load(&file).ok().map(Arc::new);
        let file = if everything.is_none() { read() } else { None };
        Configured { everything, file }
    }

    /// Fetches what the configuration file names and has no copy yet: what is in force does not know of it.
    pub(super) async fn fetch_new(&self) -> Vec<Updated> {
        let (file, kept) = {
            let core = self.core();
            (core.file.clone(), core.kept())
        };
        // Where the configuration cannot be read, a reload tells of it.
        let read = tokio::task::spawn_blocking(move || {
            let config = Config::load(&file).ok()?;
            config.registries.iter().any(is_missing).then_some(config)
        });
        let Some(config) = read.await.unwrap_or_default() else {
            return Vec::new();
        };
        let _one_at_a_time = self.fetching.lock().await;
        let work = move || first(&config, &kept);
        // A panic in there has been printed.
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_default()
    }

    /// Fetches all sources, or the one with this id, at once, those among them that are new to the daemon.
    ///
    /// # Errors
    /// As [`Server::fetch`].
    pub(super) async fn fetch_asked(
        &self,
        only: Option<&str>,
        by: &str,
    ) -> Result<Fetched, String> {
        let mut new = self.fetch_new().await;
        new.retain(|updated| only.is_none_or(|id| updated.id == id));
        let mut fetched = match self.fetch(only, Some(by)).await {
            Err(_) if !new.is_empty() => Fetched {
                sources: Vec::new(),
                reload: None,
            },
            fetched => fetched?,
        };
        let is_new = |updated: &Updated| new.iter().any(|of| of.id == updated.id);
        fetched.sources.retain(|updated| !is_new(updated));
        let came = new.iter().any(|of| of.outcome == Outcome::New);
        if came && fetched.reload.is_none() {
            fetched.reload = Some(self.reload(by).await);
        }
        fetched.sources.append(&mut new);
        Ok(fetched)
    }

    /// How all sources stand.
    pub(super) fn sources(&self) -> Vec<SourceStatus> {
        super::report::sources(&self.core())
    }

    /// Fetches the sources that are due, or all of them, or the one with this id, where somebody asks (`by`). Brings
    /// new copies into force.
    ///
    /// # Errors
    /// There is no such source, or no configuration.
    pub(super) async fn fetch(
        &self,
        only: Option<&str>,
        by: Option<&str>,
    ) -> Result<Fetched, String> {
        let _one_at_a_time = self.fetching.lock().await;
        let configured = self.configured();
        let unreadable = "the configuration cannot be read: `schoolgate check`";
        let config = configured.config().ok_or(unreadable)?;
        let mut tasks = JoinSet::new();
        let moment = seconds(SystemTime::now());
        for (at, registry) in config.registries.iter().enumerate() {
            let asked = only.is_none_or(|id| registry.id == id);
            let due = due(registry).is_some_and(|due| by.is_some() || due <= moment);
            if asked && due {
                let (configured, kept) = (configured.clone(), self.core().kept());
                tasks.spawn_blocking(move || {
                    let config = configured.config()?;
                    update(config, config.registries.get(at)?, &kept)
                });
            }
        }
        if let (Some(id), true) = (only, tasks.is_empty()) {
            return Err(format!("registry {id} has no url"));
        }
        let mut sources: Vec<Updated> = Vec::new();
        while let Some(done) = tasks.join_next().await {
            // A panic in there has been printed.
            sources.extend(done.ok().flatten());
        }
        sources.iter().for_each(tell);
        sources.sort_by(|left, right| left.id.cmp(&right.id));
        // A number that was given back may be given again, so that the path alone does not tell.
        let came = sources.iter().any(|of| of.outcome == Outcome::New);
        let moved = came || config.registries.iter().any(has_newer);
        let reload = if moved && !sources.is_empty() {
            Some(self.reload(by.unwrap_or("daemon")).await)
        } else {
            None
        };
        Ok(Fetched { sources, reload })
    }
}

/// Whether there is a newer copy than the one that is read.
fn has_newer(registry: &Registry) -> bool {
    let newest = |directory: &Path| Store::new(directory).copies().pop();
    let newest = registry
        .fetch
        .as_ref()
        .map(|fetch| newest(&fetch.directory));
    newest
        .flatten()
        .is_some_and(|newest| newest != registry.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_soon_then_later_and_never_later_than_usual() {
        let pause_after = |failures| {
            let memo = Memo {
                failures,
                ..Memo::default()
            };
            pause(&memo, 3_600)
        };
        assert!((3_240..=3_960).contains(&pause_after(0)));
        assert!((27..=33).contains(&pause_after(1)));
        assert!((108..=132).contains(&pause_after(3)));
        for failures in [8, 21, 64, u32::MAX] {
            assert!((3_240..=3_960).contains(&pause_after(failures)));
        }
    }
}
