//! Files of a source that wait: taken into use when somebody accepts them, and put there when somebody goes back to an
//! earlier copy.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::{Memo, Store, Version, Waiting, seconds};
use crate::config::Registry;
use crate::digest::{self, hexadecimal};

/// Files that are remembered as taken back.
const TAKEN_BACK_MAX: usize = 16;

/// Makes the file that is held, if there is one, the copy that is read. Where none is, the copy that is there may be
/// what somebody accepts.
///
/// # Errors
/// It cannot be moved.
pub fn accept(registry: &Registry) -> Result<(), String> {
    let Some(fetch) = &registry.fetch else {
        return Ok(());
    };
    let store = Store::new(&fetch.directory);
    if !store.held().exists() {
        return Ok(());
    }
    let io = |error: io::Error| format!("{}: {error}", fetch.directory.display());
    store.promote(&store.held()).map_err(io)?;
    let mut memo = store.memo();
    // Of a file that nothing is known of, the next fetch asks for all, and compares.
    memo.newest = match memo.waiting.take() {
        Some(waiting) => waiting.version,
        None => Version::default(),
    };
    let accepted = memo.newest.sha256.clone();
    memo.taken_back.retain(|sha256| *sha256 != accepted);
    memo.changed = seconds(SystemTime::now());
    memo.checked = memo.changed;
    memo.problem = None;
    store.keep(&memo).map_err(io)
}

/// Goes back to the copy before the newest, which is held from then on: the server's next file replaces it, and
/// `accept` brings it back. Gives when the copy came that is read now, in seconds since 1970.
///
/// # Errors
/// There is no earlier copy, or they cannot be moved.
pub fn roll_back(registry: &Registry, actor: &str) -> Result<u64, String> {
    let id = &registry.id;
    let Some(fetch) = &registry.fetch else {
        return Err(format!(
            "registry {id} has no url, and no copies: put its earlier file back, or `schoolgate undo`"
        ));
    };
    let store = Store::new(&fetch.directory);
    let mut copies = store.copies();
    let (Some(newest), Some(earlier)) = (copies.pop(), copies.pop()) else {
        return Err(format!("registry {id}: there is no earlier copy"));
    };
    let io = |error: io::Error| format!("{}: {error}", fetch.directory.display());
    let mut memo = store.memo();
    let version = std::mem::take(&mut memo.newest);
    // A file that was held before makes room for this one; the server still has it, maybe.
    let before = memo.waiting.take().map(|waiting| waiting.version.sha256);
    let gone = before.into_iter().chain([version.sha256.clone()]);
    memo.taken_back
        .extend(gone.filter(|sha256| !sha256.is_empty()));
    let excess = memo.taken_back.len().saturating_sub(TAKEN_BACK_MAX);
    memo.taken_back.drain(..excess);
    store.put_away(&newest, &store.held()).map_err(io)?;
    memo.newest = version_of(&earlier).map_err(io)?;
    memo.waiting = Some(Waiting {
        version,
        why: format!("taken back by {actor}: `schoolgate registry accept {id}` brings it again"),
    });
    let came = earlier.metadata().and_then(|found| found.modified());
    memo.changed = came.map_or(0, seconds);
    store.keep(&memo).map_err(io)?;
    Ok(memo.changed)
}

/// Forgets what is held.
pub(super) fn discard(store: &Store, memo: &mut Memo) -> io::Result<()> {
    memo.waiting = None;
    store.remove(&store.held())
}

fn version_of(copy: &Path) -> io::Result<Version> {
    if copy.is_dir() {
        // What it was unpacked from is gone.
        return Ok(Version::default());
    }
    let mut file = File::open(copy)?;
    Ok(Version {
        sha256: hexadecimal(&digest::of_file(&mut file)?),
        ..Version::default()
    })
}
