//! Deltas on top of a registry: which of them are in force, in their order, and what each of them
//! leaves of those in front of it. The registry itself is not read again: records that are replaced
//! or removed are masked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::updated;
use super::{Mask, Shape};
use crate::problem::Problem;
use crate::registry::trusted::{Unread, check};
use crate::registry::{Source, Spec, Syntax};

/// The sources of a registry with deltas: `base`, and those that are in force behind it. `read` gives a
/// delta's source, from the state before if its file was not touched, and `known` the time of such a
/// one; `notes` takes what is not applied.
///
/// # Errors
/// The directory cannot be read, or a delta is not signed as it should be.
pub(in crate::registry) fn follow(
    directory: &Path,
    mut base: Source,
    known: impl Fn(&Path) -> Option<i64>,
    mut read: impl FnMut(Spec) -> Result<Vec<Source>, Unread>,
    notes: &mut Vec<Problem>,
) -> Result<Vec<Source>, Problem> {
    let spec = base.spec.clone();
    let made = base.file.contents.as_ref().and_then(|it| it.updated);
    let mut deltas = Vec::new();
    let order = order(directory, &spec, made.unwrap_or(i64::MIN), known)?;
    for (at, path) in order.iter().enumerate() {
        match read(of_delta(&spec, path)) {
            Ok(source) => deltas.extend(source),
            // Not a broken delta, but perhaps a forged one: what is in force stays.
            Err(Unread::Untrusted(problem)) => return Err(problem),
            Err(Unread::Broken(problem)) => {
                notes.push(problem);
                let behind = order.len() - at - 1;
                let what = format!("this delta is not applied, nor are {behind} behind it");
                let remedy = "deliver it again; what is in front of it is in force";
                notes.push(Problem::of_file(path, what, remedy));
                break;
            }
        }
    }
    mask(&mut base, &mut deltas);
    let mut sources = vec![base];
    sources.append(&mut deltas);
    Ok(sources)
}

fn of_delta(base: &Spec, path: &Path) -> Spec {
    let mut spec = base.clone();
    spec.reading.path = path.to_owned();
    if let Syntax::Xml(xml) = &mut spec.reading.syntax {
        xml.shape = Shape::Delta;
    }
    spec
}

/// The deltas that are newer than the registry, in the order of their times, those of one time by name.
/// One whose time cannot be read stands in front of the next by name that has one: where names follow
/// time that is its place, and none behind it is applied without it.
fn order(
    directory: &Path,
    base: &Spec,
    made: i64,
    known: impl Fn(&Path) -> Option<i64>,
) -> Result<Vec<PathBuf>, Problem> {
    let failed = |error: std::io::Error| {
        let what = format!("cannot be read: {error}");
        Problem::of_file(directory, what, "correct deltas, or create the directory")
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().map(|it| it.to_ascii_lowercase());
        let known = extension.is_some_and(|it| it == "xml" || it == "zip");
        // Hidden files are those that somebody is still writing.
        let hidden = path
            .file_name()
            .is_some_and(|it| it.as_encoded_bytes().starts_with(b"."));
        if known && !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut next = i64::MAX;
    let mut deltas = Vec::new();
    for path in paths.into_iter().rev() {
        let time = match known(&path) {
            Some(time) => Some(time),
            None => {
                // Before anything of it is believed: a delta with a wrong time would be passed over.
                check(base.reading.signature.as_deref(), &path)?;
                updated(&path, Shape::Delta).ok().flatten()
            }
        };
        let time = time.unwrap_or(next);
        next = next.min(time);
        if time > made {
            deltas.push((time, path));
        }
    }
    deltas.sort();
    Ok(deltas.into_iter().map(|(_, path)| path).collect())
}

/// Masks in each source the records that a later one brings or removes.
fn mask(base: &mut Source, deltas: &mut [Source]) {
    let mut touched: Vec<u32> = Vec::new();
    let all = std::iter::once(base).chain(deltas);
    let mut all: Vec<&mut Source> = all.collect();
    while let Some(source) = all.pop() {
        source.mask = (!touched.is_empty()).then(|| Arc::new(Mask::new(touched.clone())));
        if let Some(contents) = &source.file.contents {
            touched.extend(contents.touched());
        }
    }
}
