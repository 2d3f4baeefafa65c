//! One round of a source: fetched, tried, and made the copy that is read, or set aside.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::get::{self, Got};
use super::{Memo, Store, Version, Waiting, held, seconds, unpack};
use crate::config::{Config, Fetch, Registry};
use crate::problem::Problem;
use crate::registry::load::{KeptBefore, load};
use crate::registry::progress::Progress;

/// Problems of a file that are told.
const TOLD: usize = 3;

/// What a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is a new good copy.
    New,
    /// There is nothing newer.
    Unchanged,
    /// What came waits until somebody accepts it.
    Held,
    /// Nothing came that could be used: what there was stays.
    Failed,
}

/// A fetch of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// Id of the registry.
    pub id: String,
    /// What it came to.
    pub outcome: Outcome,
    /// Why it failed, or is held.
    pub problem: Option<String>,
}

/// Fetches a registry, once. `kept`: the entries that registries held when they were last in force. None: it has no
/// URL.
#[must_use]
pub fn update(config: &Config, registry: &Registry, kept: &KeptBefore) -> Option<Updated> {
    let fetch = registry.fetch.as_ref()?;
    let store = Store::new(&fetch.directory);
    let now = seconds(SystemTime::now());
    let mut memo = store.memo();
    if memo.url != fetch.url {
        memo = Memo {
            url: fetch.url.clone(),
            ..Memo::default()
        };
    }
    memo.attempted = now;
    let done = round(config, registry, kept, &store, &mut memo);
    let (outcome, problem) = match done {
        Ok(outcome) => {
            memo.checked = now;
            memo.failures = 0;
            (outcome, None)
        }
        Err(problem) => {
            memo.failures = memo.failures.saturating_add(1);
            (Outcome::Failed, Some(problem))
        }
    };
    if outcome == Outcome::New {
        memo.changed = now;
    }
    memo.problem.clone_from(&problem);
    let waiting = memo.waiting.as_ref().map(|waiting| waiting.why.clone());
    let waiting = waiting.filter(|_| outcome == Outcome::Held);
    let unwritten = store.keep(&memo).err().map(|error| {
        let path = fetch.directory.display();
        format!("{path}: cannot be written: {error}: make room or correct permissions")
    });
    Some(Updated {
        id: registry.id.clone(),
        outcome,
        problem: problem.or(waiting).or(unwritten),
    })
}

fn round(
    config: &Config,
    registry: &Registry,
    kept: &KeptBefore,
    store: &Store,
    memo: &mut Memo,
) -> Result<Outcome, String> {
    let Some(fetch) = &registry.fetch else {
        return Ok(Outcome::Unchanged);
    };
    let io = |error: std::io::Error| format!("{}: {error}", fetch.directory.display());
    store.make().map_err(io)?;
    let incoming = store.incoming();
    store.remove(&incoming).map_err(io)?;
    memo.waiting.take_if(|_| !store.held().exists());
    // What is known of a copy says nothing where the copy is gone, or its signature is not there.
    let whole = |copy: &PathBuf| {
        let signature = registry.signature.as_ref();
        signature.is_none_or(|signature| signature.path_for(copy).exists())
    };
    let newest = store.copies().pop().filter(whole).map(|_| &memo.newest);
    let waiting = memo.waiting.as_ref().map(|waiting| &waiting.version);
    let unchanged = match waiting {
        Some(_) => Outcome::Held,
        None => Outcome::Unchanged,
    };
    let version = match get::file(fetch, waiting.or(newest), &incoming)? {
        Got::Same => return Ok(unchanged),
        Got::File(version) => version,
    };
    let same = |known: &Version| known.sha256 == version.sha256;
    if waiting.is_some_and(same) {
        store.remove(&incoming).map_err(io)?;
        if let Some(waiting) = &mut memo.waiting {
            waiting.version = version;
        }
        return Ok(Outcome::Held);
    }
    if newest.is_some_and(same) {
        store.remove(&incoming).map_err(io)?;
        // The server has taken back what is held.
        held::discard(store, memo).map_err(io)?;
        memo.newest = version;
        return Ok(Outcome::Unchanged);
    }
    prepare(registry, fetch, &incoming)?;
    let judged = judge(config, registry, kept, store)?;
    let gone_back = memo.taken_back.contains(&version.sha256);
    let id = &registry.id;
    let again = gone_back.then(|| {
        format!("was taken back before: `schoolgate registry accept {id}` brings it again")
    });
    if let Some(why) = judged.or(again) {
        store.put_away(&incoming, &store.held()).map_err(io)?;
        memo.waiting = Some(Waiting { version, why });
        return Ok(Outcome::Held);
    }
    store.promote(&incoming).map_err(io)?;
    held::discard(store, memo).map_err(io)?;
    memo.newest = version;
    Ok(Outcome::New)
}

/// Fetches the signature of what came, and unpacks a collection.
fn prepare(registry: &Registry, fetch: &Fetch, incoming: &Path) -> Result<(), String> {
    if let Some(signature) = &registry.signature {
        let beside = signature.path_for(Path::new(&fetch.url));
        let url = fetch.signature_url.clone();
        let url = url.unwrap_or_else(|| beside.to_string_lossy().into_owned());
        get::signature(fetch, &url, &signature.path_for(incoming))
            .map_err(|error| format!("the signature, {url}: {error}"))?;
    }
    if registry.format.is_one_file() {
        Ok(())
    } else {
        unpack::in_place(incoming, fetch)
    }
}

/// Reads what came: why it is to be held, if it is.
///
/// # Errors
/// Why it cannot be used.
fn judge(
    config: &Config,
    registry: &Registry,
    kept: &KeptBefore,
    store: &Store,
) -> Result<Option<String>, String> {
    let id = &registry.id;
    let remedy = format!(
        "`schoolgate diff --accept {id}` tells what it does, `schoolgate registry accept {id}` takes it"
    );
    let problems = match tried(config, registry, kept, store) {
        Ok(_) => {
            let fetch = registry.fetch.as_ref();
            let holds = fetch.is_some_and(|fetch| fetch.hold_updates);
            let first = store.copies().is_empty();
            return Ok((holds && !first).then(|| format!("waits, as hold_updates says: {remedy}")));
        }
        Err(problems) => problems,
    };
    if store.copies().is_empty() {
        // Nothing of it could stay.
        let mut of_any_size = kept.clone();
        of_any_size.remove(id);
        if tried(config, registry, &of_any_size, store).is_ok_and(|kept| kept > 0) {
            return Ok(None);
        }
    }
    let mut of_any_size = kept.clone();
    let sized = of_any_size.remove(id).is_some_and(|had| had > 0);
    // A file without any entry is broken rather than right.
    let holds_some = || tried(config, registry, &of_any_size, store).is_ok_and(|kept| kept > 0);
    if sized && holds_some() {
        let first = problems.first().map(|problem| problem.what.as_str());
        return Ok(Some(format!("{}: {remedy}", first.unwrap_or_default())));
    }
    let aside = store.put_away(&store.incoming(), &store.rejected());
    aside.map_err(|error| format!("{}: {error}", store.rejected().display()))?;
    Err(told(&problems, store))
}

/// Reads the file that came as its registry would be read. Gives the number of its entries.
fn tried(
    config: &Config,
    registry: &Registry,
    kept: &KeptBefore,
    store: &Store,
) -> Result<u64, Vec<Problem>> {
    let mut trial = config.clone();
    trial.registries = vec![Registry {
        path: store.incoming(),
        fetch: None,
        ..registry.clone()
    }];
    // Nobody looks for the keys: any seed will do.
    let loaded = load(&trial, 1, &[], kept, Progress::Quiet)?;
    let counts = loaded.summaries.iter().map(|summary| summary.counts.kept);
    Ok(counts.sum())
}

/// The first problems of a file that was set aside.
fn told(problems: &[Problem], store: &Store) -> String {
    let first: Vec<String> = (problems.iter().take(TOLD))
        .map(|problem| problem.what.clone())
        .collect();
    let more = problems.len().saturating_sub(TOLD);
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    let place = store.rejected();
    format!(
        "what came is not used: {}{more} (see {})",
        first.join("; "),
        place.display()
    )
}
