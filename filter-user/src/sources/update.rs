//! One round of a source: fetched, tried, and made the copy that is read, or set aside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::get::{self, Got};
use super::store::Store;
use super::{Memo, seconds};
use crate::config::{Config, Registry};
use crate::digest::{self, hexadecimal};
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
    /// Why it failed.
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
    let unwritten = store.keep(&memo).err().map(|error| {
        let path = fetch.directory.display();
        format!("{path}: cannot be written: {error}: make room or correct permissions")
    });
    Some(Updated {
        id: registry.id.clone(),
        outcome,
        problem: problem.or(unwritten),
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
    // What is known of a copy says nothing where the copy is gone, or its signature is not there.
    let newest = store.copies().pop();
    let whole = |copy: &PathBuf| {
        let signature = registry.signature.as_ref();
        signature.is_none_or(|signature| signature.path_for(copy).exists())
    };
    let known = newest.filter(whole).map(|_| &*memo);
    let (etag, last_modified, sha256) = match get::file(fetch, known, &incoming)? {
        Got::Same => return Ok(Outcome::Unchanged),
        Got::File {
            etag,
            last_modified,
            sha256,
        } => (etag, last_modified, sha256),
    };
    let same = known.is_some_and(|known| known.sha256 == sha256);
    if same {
        fs::remove_file(&incoming).map_err(io)?;
    } else {
        if let Some(signature) = &registry.signature {
            let beside = signature.path_for(Path::new(&fetch.url));
            let url = fetch.signature_url.clone();
            let url = url.unwrap_or_else(|| beside.to_string_lossy().into_owned());
            get::signature(fetch, &url, &signature.path_for(&incoming))
                .map_err(|error| format!("the signature, {url}: {error}"))?;
        }
        if let Err(problems) = tried(config, registry, kept, store) {
            return Err(set_aside(config, registry, kept, store, &problems).map_err(io)?);
        }
        store.promote(&incoming).map_err(io)?;
    }
    (memo.etag, memo.last_modified, memo.sha256) = (etag, last_modified, sha256);
    Ok(if same {
        Outcome::Unchanged
    } else {
        Outcome::New
    })
}

/// Puts a file away that is not used; why.
fn set_aside(
    config: &Config,
    registry: &Registry,
    kept: &KeptBefore,
    store: &Store,
    problems: &[Problem],
) -> std::io::Result<String> {
    let mut of_any_size = kept.clone();
    let sized = of_any_size.remove(&registry.id).is_some_and(|had| had > 0);
    if sized && tried(config, registry, &of_any_size, store).is_ok() {
        store.put_away(&store.held())?;
        let first = problems.first().map(|problem| problem.what.as_str());
        let id = &registry.id;
        return Ok(format!(
            "{}: held; if it is right, `schoolgate registry accept {id}` takes it, and `schoolgate undo` goes back",
            first.unwrap_or_default()
        ));
    }
    store.put_away(&store.rejected())?;
    Ok(told(problems, store))
}

/// Makes the file that is held, if there is one, the copy that is read.
///
/// # Errors
/// It cannot be moved.
pub fn accept(registry: &Registry) -> Result<(), String> {
    let Some(fetch) = &registry.fetch else {
        return Ok(());
    };
    let store = Store::new(&fetch.directory);
    if !store.held().exists() {
        return Err(format!("registry {}: no copy is held", registry.id));
    }
    let io = |error: std::io::Error| format!("{}: {error}", fetch.directory.display());
    store.promote(&store.held()).map_err(io)?;
    let now = seconds(SystemTime::now());
    let memo = Memo {
        url: fetch.url.clone(),
        attempted: now,
        checked: now,
        changed: now,
        // The next fetch asks for all of it, and compares.
        sha256: sha256_of(&store).map_err(io)?,
        ..Memo::default()
    };
    store.keep(&memo).map_err(io)
}

/// SHA-256 of the newest copy, in hexadecimal digits.
fn sha256_of(store: &Store) -> std::io::Result<String> {
    let mut file = File::open(store.to_read())?;
    Ok(hexadecimal(&digest::of_file(&mut file)?))
}

/// Reads the file that came as its registry would be read.
fn tried(
    config: &Config,
    registry: &Registry,
    kept: &KeptBefore,
    store: &Store,
) -> Result<(), Vec<Problem>> {
    let mut trial = config.clone();
    trial.registries = vec![Registry {
        path: store.incoming(),
        fetch: None,
        ..registry.clone()
    }];
    // Nobody looks for the keys: any seed will do.
    load(&trial, 1, &[], kept, Progress::Quiet).map(|_| ())
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
