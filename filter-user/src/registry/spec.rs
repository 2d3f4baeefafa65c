//! From configured registries to the files that they are made of: one for a plain list, up to two a
//! directory for the UT1 layout, as many as include one another for others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dump::Shape;
use super::education::Words;
use super::{Reading, Spec, Syntax, Xml};
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
        if registry.fetch.is_some() && !registry.path.exists() {
            let what = format!("registry {}: nothing has been fetched yet", registry.id);
            let remedy = "`schoolgate fetch` tries again and says why";
            let problem = Problem::at(&config.file, registry.line, what, remedy);
            // What is unlawful must never be missing unnoticed.
            let list = match registry.tier {
                Tier::Unified => &mut problems,
                _ => &mut notes,
            };
            list.push(problem);
            continue;
        }
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
            syntax: Syntax::Plain,
            accept,
            bare_is_suffix: registry.bare_is_suffix,
            guards: registry.guards,
            seed,
            given: registry.given.clone(),
            signature: registry.signature.clone().map(Arc::new),
        },
    }
}

/// The way from one registry to its files.
pub(super) struct Walk<'a> {
    pub(super) config: &'a Config,
    pub(super) index: usize,
    pub(super) registry: &'a Registry,
    pub(super) seed: u64,
    pub(super) notes: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn specs(&mut self) -> Result<Vec<Spec>, Vec<Problem>> {
        let one = |syntax, accept| {
            let mut spec = self.plain(accept);
            spec.reading.syntax = syntax;
            Ok(vec![spec])
        };
        match self.registry.format {
            Format::Domains => one(Syntax::Plain, Accept::Names),
            Format::Addresses | Format::Netset => one(Syntax::Plain, Accept::Addresses),
            Format::Mixed => one(Syntax::Plain, Accept::Mixed),
            Format::Urls => one(Syntax::Plain, Accept::Urls),
            Format::Hosts => one(Syntax::Hosts, Accept::Names),
            Format::Adguard => one(Syntax::Adguard, Accept::Names),
            Format::Rpz => one(Syntax::Rpz, Accept::Mixed),
            Format::Dnsmasq => one(Syntax::Dnsmasq, Accept::Names),
            Format::Unbound => one(Syntax::Unbound, Accept::Names),
            Format::V2fly => self.v2fly(),
            Format::E2guardian => self.e2guardian(),
            Format::Extfilter => self.extfilter(),
            Format::Squidguard => self.squidguard(),
            Format::Education => {
                let words = Words::new(&self.config.categories);
                one(Syntax::Education(words), Accept::Mixed)
            }
            Format::Dump => one(self.xml(Shape::Dump), Accept::Mixed),
            Format::SocResources => one(self.xml(Shape::Social), Accept::Mixed),
            Format::Ut1 => {
                let found = directories(&self.registry.path).map_err(|problem| vec![problem])?;
                self.specs_in(&found)
            }
        }
    }

    fn xml(&self, shape: Shape) -> Syntax {
        let hidden = self.registry.hidden_urls;
        Syntax::Xml(Xml { shape, hidden })
    }

    /// The registry's path as a list.
    pub(super) fn plain(&self, accept: Accept) -> Spec {
        plain(self.index, self.registry, accept, self.seed)
    }

    /// The lists of a tree, a directory a category.
    pub(super) fn specs_in(
        &mut self,
        directories: &BTreeMap<String, Option<PathBuf>>,
    ) -> Result<Vec<Spec>, Vec<Problem>> {
        let unknown = self.unknown_directories(directories);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let mut wanted: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for (name, directory) in directories {
            let Some(directory) = directory else {
                let what = format!("{name} links to a place outside the collection: not followed");
                self.notes
                    .push(Problem::of_file(&self.registry.path, what, ""));
                continue;
            };
            let is_alias = self.relative(directory) != *name;
            if let Some(mask) = self.mask(name, directory, is_alias) {
                *wanted.entry(directory.clone()).or_default() |= mask;
            }
        }
        Ok(wanted
            .into_iter()
            .flat_map(|(directory, mask)| self.specs_of(&directory, mask))
            .collect())
    }

    /// A path of the tree, from the registry's path.
    pub(super) fn relative(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.registry.path).unwrap_or(path);
        inside.to_string_lossy().into_owned()
    }

    fn unknown_directories(&self, directories: &BTreeMap<String, Option<PathBuf>>) -> Vec<Problem> {
        let named = self.registry.directories.iter().map(|(name, _)| name);
        let missing = named
            .chain(&self.registry.sets)
            .filter(|name| !directories.contains_key(*name));
        missing
            .map(|name| {
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

    /// Categories of a directory or a destination; `None`: it is not loaded, and where it has not to be an
    /// alias, a note says why.
    pub(super) fn mask(&mut self, name: &str, directory: &Path, is_alias: bool) -> Option<u64> {
        let sets = &self.registry.sets;
        if !sets.is_empty() && !sets.iter().any(|set| set == name) {
            return None;
        }
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
        let base = self.relative(directory);
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
                let mut spec = self.plain(accept);
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

/// Categories that know a directory or destination of that name.
pub(super) fn built_in_mask(categories: &Categories, directory: &str) -> u64 {
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
