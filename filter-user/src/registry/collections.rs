//! The files of registries that are a collection: sets that include one another, lists by category, directories
//! of several kinds of lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Spec;
use super::formats::tree::{DEPTH_MAX, FILES_MAX};
use super::formats::{Syntax, e2guardian, extfilter, squidguard, v2fly};
use super::spec::{Walk, built_in_mask};
use crate::config::Tier;
use crate::normalise::Accept;
use crate::problem::{Problem, nearest};

/// Words in the names of e2guardian's lists of what is allowed.
const ALLOWED: [&str; 2] = ["exception", "grey"];

type Specs = Result<Vec<Spec>, Vec<Problem>>;

impl Walk<'_> {
    /// Where the configuration names the registry's sets.
    fn place(&self) -> (&Path, u32) {
        (&self.config.file, self.registry.line)
    }

    fn list(&self, path: PathBuf, accept: Accept, syntax: Syntax) -> Spec {
        let mut spec = self.plain(accept);
        spec.name = format!("{}/{}", self.registry.id, self.relative(&path));
        spec.reading.syntax = syntax;
        spec.reading.path = path;
        spec
    }

    /// A file for each set that is named or included, with what is taken of it.
    pub(super) fn v2fly(&self) -> Specs {
        let files = v2fly::files(&self.registry.path, &self.registry.sets, self.place())?;
        let specs = files
            .into_iter()
            .map(|(path, wanted)| self.list(path, Accept::Names, Syntax::V2fly(wanted)));
        Ok(specs.collect())
    }

    /// The lists that are named, and those that they include.
    pub(super) fn e2guardian(&self) -> Specs {
        let allowed = self.allowed_lists();
        if !allowed.is_empty() {
            return Err(allowed);
        }
        let files = e2guardian::files(&self.registry.path, &self.registry.sets, self.place())?;
        let specs = files
            .into_iter()
            .map(|(path, kind)| self.list(path, kind.accept(), Syntax::E2guardian));
        Ok(specs.collect())
    }

    /// Lists of what is allowed, by their names, in a registry that blocks.
    fn allowed_lists(&self) -> Vec<Problem> {
        let (file, line) = self.place();
        let sets = self.registry.sets.iter();
        let allowed = sets.filter(|set| {
            let name = set.rsplit('/').next().unwrap_or(set);
            self.registry.tier != Tier::Local && ALLOWED.iter().any(|word| name.contains(word))
        });
        allowed
            .map(|set| {
                let what = format!("{set} is a list of what is allowed, in a registry that blocks");
                Problem::at(file, line, what, "load it as a registry of tier local")
            })
            .collect()
    }

    /// The files of extfilter's directory.
    pub(super) fn extfilter(&mut self) -> Specs {
        let root = &self.registry.path;
        let files = extfilter::files(root);
        if files.is_empty() {
            let what = "has none of domains, ssl_host, urls and hosts";
            let remedy = "give the directory that extfilter reads";
            return Err(vec![Problem::of_file(root, what, remedy)]);
        }
        for (path, why) in extfilter::not_applied(root) {
            self.notes.push(Problem::of_file(&path, why, ""));
        }
        let specs = files
            .into_iter()
            .map(|(path, accept, syntax)| self.list(path, accept, syntax));
        Ok(specs.collect())
    }

    /// The destinations of squidGuard's configuration, or the directories of its lists.
    pub(super) fn squidguard(&mut self) -> Specs {
        let root = &self.registry.path;
        if root.is_dir() {
            let found = nested(root).map_err(|problem| vec![problem])?;
            return self.specs_in(&found);
        }
        let mut wanted = BTreeMap::new();
        for name in squidguard::names(root).map_err(|problem| vec![problem])? {
            if self.is_meant(&name) {
                wanted.extend(self.mask(&name, root, false).map(|mask| (name, mask)));
            } else if self.registry.sets.is_empty() {
                let what = format!("destination {name} may be one that is allowed: not loaded");
                let remedy = "name it in sets or directories, if it is to be loaded";
                self.notes.push(Problem::of_file(root, what, remedy));
            }
        }
        let found = squidguard::destinations(root, |name| wanted.contains_key(name))?;
        let unknown = self.unknown_destinations(&found);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let mut specs = Vec::new();
        for destination in found {
            let Some(mask) = wanted.get(&destination.name) else {
                continue;
            };
            for line in &destination.expressions {
                let what = format!("{}: expressions are not applied", destination.name);
                self.notes.push(Problem::at(root, *line, what, ""));
            }
            for (path, accept) in destination.lists {
                let mut spec = self.list(path, accept, Syntax::Plain);
                spec.name = format!("{}/{}", self.registry.id, destination.name);
                spec.categories = *mask;
                specs.push(spec);
            }
        }
        Ok(specs)
    }

    /// Whether a destination is one of what the registry lists: the rules of access, which are not read, may
    /// allow it instead.
    fn is_meant(&self, name: &str) -> bool {
        let registry = self.registry;
        let mapped = registry.directories.iter().any(|(known, _)| known == name);
        let known = || built_in_mask(&self.config.categories, name) != 0;
        mapped || registry.sets.iter().any(|set| set == name) || registry.sets.is_empty() && known()
    }

    fn unknown_destinations(&self, found: &[squidguard::Destination]) -> Vec<Problem> {
        let names = || found.iter().map(|destination| destination.name.as_str());
        let named = self.registry.directories.iter().map(|(name, _)| name);
        let missing = named
            .chain(&self.registry.sets)
            .filter(|name| !names().any(|known| known == name.as_str()));
        let (file, line) = self.place();
        missing
            .map(|name| {
                let path = self.registry.path.display();
                let what = format!("[[registries]]: {path} has no destination {name}");
                let remedy = match nearest(name, names()) {
                    Some(known) => format!("did you mean {known}?"),
                    None => "correct or remove it".to_owned(),
                };
                Problem::at(file, line, what, remedy)
            })
            .collect()
    }
}

/// Directories below one that hold `domains` or `urls`, by their path from it; `None`: a link that leads outside.
fn nested(root: &Path) -> Result<BTreeMap<String, Option<PathBuf>>, Problem> {
    let failed = |error: std::io::Error| {
        let what = format!("cannot be read: {error}");
        Problem::of_file(root, what, "give the directory of the lists")
    };
    let top = root.canonicalize().map_err(failed)?;
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::from([top.clone()]);
    let mut waiting = vec![(root.to_path_buf(), 0)];
    while let Some((directory, depth)) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Ok(target) = path.canonicalize() else {
                continue;
            };
            if !target.is_dir() {
                continue;
            }
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.to_string_lossy().into_owned();
            let Ok(inside) = target.strip_prefix(&top) else {
                found.insert(name, None);
                continue;
            };
            let inside = root.join(inside);
            if inside.join("domains").is_file() || inside.join("urls").is_file() {
                found.insert(name, Some(inside));
            }
            if depth < DEPTH_MAX && seen.len() < FILES_MAX && seen.insert(target) {
                waiting.push((path, depth + 1));
            }
        }
    }
    Ok(found)
}
