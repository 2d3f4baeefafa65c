//! Files of registries that are signed: read as what was verified, or not at all.

use std::path::Path;

use super::load::read;
use super::progress::Progress;
use super::read::unreadable;
use super::{Listener, Source, Spec, stamp};
use crate::problem::Problem;
use crate::signature::Signature;

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is not known to be its publisher's: what is in force stays, whole.
    Untrusted(Problem),
    /// It cannot be read as a whole.
    Broken(Problem),
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Problem {
        match unread {
            Unread::Untrusted(problem) | Unread::Broken(problem) => problem,
        }
    }
}

/// Checks the signature of a file where its registry has them.
///
/// # Errors
/// As [`Signature::check`].
pub(super) fn check(signature: Option<&Signature>, path: &Path) -> Result<(), Problem> {
    signature.map_or(Ok(()), |signature| {
        signature.check(path, &signature.path_for(path))
    })
}

/// Reads a file as [`read`], its signature first. A file that is replaced between the two is refused: what was
/// verified would not be what was read.
///
/// # Errors
/// The signature is not good, or the file cannot be read as a whole.
pub(super) fn read_trusted(
    spec: Spec,
    progress: Progress,
    listener: Listener<'_>,
) -> Result<Vec<Source>, Unread> {
    let Some(signature) = spec.reading.signature.clone() else {
        return read(spec, progress, listener).map_err(Unread::Broken);
    };
    let reading = spec.reading.clone();
    let before =
        stamp(&reading.path).map_err(|error| Unread::Broken(unreadable(&reading, &error)))?;
    check(Some(&signature), &reading.path).map_err(Unread::Untrusted)?;
    let sources = read(spec, progress, listener);
    let after = stamp(&reading.path).ok();
    let found = sources.as_deref().unwrap_or_default().iter();
    let mut stamps = found.map(|source| Some(source.file.stamp)).chain([after]);
    if stamps.any(|stamp| stamp != Some(before)) {
        let what = "was replaced while its signature was checked";
        let remedy = "deliver it by renaming, and load again";
        let problem = Problem::of_file(&reading.path, what, remedy);
        return Err(Unread::Untrusted(problem));
    }
    sources.map_err(Unread::Broken)
}
