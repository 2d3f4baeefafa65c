//! From configured registries to the files that they are made of: one for a plain list, up to two a
//! directory for the UT1 layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Reading, Spec};
use crate::categories::Categories;
use crate::config::{Config, Format, Registry, Tier};
use crate::normalise::Accept;
use crate::problem::{Problem, nearest};

/// The files of all registries, with notes on what is left out.
///
/// # Errors
/// Registries whose directory cannot be read or does not hold what the configuration names.
pub fn specs(config: &Config, seed: u64) -> Result<(Vec<Spec>, Vec<Problem>), Vec<Problem>> {
    let mut specs = Vec::new();
    let mut notes = Vec::new();
    let mut problems = Vec::new();
    for (index, registry) in config.registries.iter().enumerate() {
        let plain = |accept| plain(index, registry, accept, seed);
        match registry.format {
            Format::Domains => specs.push(plain(Accept::Names)),
            Format::Addresses => specs.push(plain(Accept::Addresses)),
            Format::Mixed => specs.push(plain(Accept::Mixed)),
            Format::Urls => specs.push(plain(Accept::Urls)),
            Format::Ut1 => {
                let mut walk = Walk {
                    config,
                    index,
                    registry,
                    seed,
                    notes: &mut notes,
                };
                match walk.specs() {
                    Ok(found) => specs.extend(found),
                    Err(found) => problems.extend(found),
                }
            }
        }
    }
    if problems.is_empty() {
        Ok((specs, notes))
    } else {
        Err(problems)
    }
}

fn plain(index: usize, registry: &Registry, accept: Accept, seed: u64) -> Spec {
    Spec {
        registry: index,
        name: registry.id.clone(),
        tier: registry.tier,
        categories: registry.categories,
        reading: Reading {
            path: registry.path.clone(),
            accept,
            bare_is_suffix: registry.bare_is_suffix,
            guards: registry.guards,
            seed,
            given: registry.given.clone(),
        },
    }
}

/// The walk through one UT1 tree.
struct Walk<'a> {
    config: &'a Config,
    index: usize,
    registry: &'a Registry,
    seed: u64,
    notes: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn specs(&mut self) -> Result<Vec<Spec>, Vec<Problem>> {
        let directories = directories(&self.registry.path).map_err(|problem| vec![problem])?;
        let unknown = self.unknown_directories(&directories);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let mut wanted: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for (name, directory) in &directories {
            let Some(directory) = directory else {
                let what = format!("{name} links to a place outside the collection: not followed");
                self.notes
                    .push(Problem::of_file(&self.registry.path, what, ""));
                continue;
            };
            if let Some(mask) = self.mask(name, directory) {
                *wanted.entry(directory.clone()).or_default() |= mask;
            }
        }
        Ok(wanted
            .into_iter()
            .flat_map(|(directory, mask)| self.specs_of(&directory, mask))
            .collect())
    }

    fn unknown_directories(&self, directories: &BTreeMap<String, Option<PathBuf>>) -> Vec<Problem> {
        let missing = self
            .registry
            .directories
            .iter()
            .filter(|(name, _)| !directories.contains_key(name));
        missing
            .map(|(name, _)| {
                let what = format!(
                    "[[registries]] directories: {} has no {name}",
                    self.registry.path.display()
                );
                let remedy = match nearest(name, directories.keys().map(String::as_str)) {
                    Some(known) => format!("did you mean {known}?"),
                    None => "correct or remove it".to_owned(),
                };
                Problem::at(&self.config.file, self.registry.line, what, remedy)
            })
            .collect()
    }

    /// Categories of a directory; `None`: it is not loaded.
    fn mask(&mut self, name: &str, directory: &Path) -> Option<u64> {
        if let Some((_, mask)) = self
            .registry
            .directories
            .iter()
            .find(|(known, _)| known == name)
        {
            return Some(*mask);
        }
        let local = self.registry.tier == Tier::Local;
        if local && !self.registry.directories.is_empty() {
            return None;
        }
        if !local && usage_is_white(directory) {
            let what = format!(
                "{name} is a list of what is allowed: not loaded into a registry that blocks"
            );
            self.notes.push(Problem::of_file(
                directory,
                what,
                "load it as a registry of tier local",
            ));
            return None;
        }
        let known = built_in_mask(&self.config.categories, name) | self.registry.categories;
        let is_alias = directory.file_name().is_some_and(|base| base != name);
        if known == 0 && !local && is_alias {
            return None;
        }
        if known == 0 && !local {
            let what = format!("{name} has no category: not loaded");
            self.notes.push(Problem::of_file(
                directory,
                what,
                format!("add directories.{name} = \"...\""),
            ));
            return None;
        }
        Some(known)
    }

    /// Its `domains`, and its `urls`: a host and the beginning of a path a line, without a scheme.
    fn specs_of(&mut self, directory: &Path, mask: u64) -> Vec<Spec> {
        let base = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if directory.join("expressions").exists() {
            let what = format!("{base}/expressions: expressions are not applied");
            self.notes.push(Problem::of_file(directory, what, ""));
        }
        let files = [("domains", Accept::Names), ("urls", Accept::Urls)];
        let present = files
            .into_iter()
            .map(|(file, accept)| (directory.join(file), accept))
            .filter(|(path, _)| path.exists());
        let specs: Vec<Spec> = present
            .map(|(path, accept)| {
                let mut spec = plain(self.index, self.registry, accept, self.seed);
                spec.name = format!("{}/{base}", self.registry.id);
                spec.categories = mask;
                spec.reading.path = path;
                spec
            })
            .collect();
        if specs.is_empty() {
            let what = format!("{base} has neither domains nor urls");
            self.notes.push(Problem::of_file(directory, what, ""));
        }
        specs
    }
}

fn built_in_mask(categories: &Categories, directory: &str) -> u64 {
    categories.mask(|category| category.ut1.iter().any(|known| known == directory))
}

/// Directories of the collection by name, links resolved; `None`: a link that leads outside.
fn directories(root: &Path) -> Result<BTreeMap<String, Option<PathBuf>>, Problem> {
    let failed = |error: std::io::Error| {
        Problem::of_file(
            root,
            format!("cannot be read: {error}"),
            "give the directory of the collection",
        )
    };
    let top = root.canonicalize().map_err(failed)?;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(target) = entry.path().canonicalize() else {
            continue;
        };
        if !target.is_dir() {
            continue;
        }
        let inside = target
            .strip_prefix(&top)
            .ok()
            .filter(|below| !below.as_os_str().is_empty());
        found.insert(name, inside.map(|below| root.join(below)));
    }
    Ok(found)
}

/// Whether a directory's `usage` says that it lists what is allowed, and nothing else.
fn usage_is_white(directory: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(directory.join("usage")) else {
        return false;
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    words.contains(&"white") && !words.contains(&"black")
}
