//! e2guardian's lists of sites, URLs and addresses, and the lists that they include.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::tree::{DEPTH_MAX, FILES_MAX, PROBLEMS_MAX, Tree};
use super::{Rule, Rules, Scope, without_comment};
use crate::normalise::{Accept, Refusal};
use crate::problem::Problem;
use crate::registry::lines;

/// Words in the names of lists that hold something else than sites, URLs and addresses.
const OTHER_LISTS: [&str; 8] = [
    "regexp",
    "phrase",
    "mime",
    "extension",
    "header",
    "time",
    "client",
    "user",
];

/// The rules of a line.
///
/// # Errors
/// Why it is not applied.
pub fn rules(text: &str, each: Rules<'_>) -> Result<(), Refusal> {
    if text.starts_with(".Include<") {
        // The walk through the tree has followed it.
        return Ok(());
    }
    let text = without_comment(text);
    if text.is_empty() {
        return Ok(());
    }
    if text.starts_with("**") || text.starts_with("*ip") {
        return Err(Refusal::Blanket);
    }
    if text.starts_with("*.") || text.contains('*') && !text.contains('/') {
        return Err(Refusal::Wildcard);
    }
    each(Rule::entry(text, Scope::Bare));
    Ok(())
}

/// The files of the lists that are named, and of those that they include, with what they hold. `place` is where
/// the lists are named.
///
/// # Errors
/// Includes that lead in a circle, out of the tree or nowhere, lists for a part of the day, and lists of another
/// kind, by file and line.
pub fn files(
    directory: &Path,
    lists: &[String],
    place: (&Path, u32),
) -> Result<BTreeSet<(PathBuf, Kind)>, Vec<Problem>> {
    let tree = Tree::new(directory).map_err(|problem| vec![problem])?;
    let mut walk = Walk {
        tree,
        stack: Vec::new(),
        found: BTreeSet::new(),
        problems: Vec::new(),
    };
    for list in lists {
        match kind(list) {
            Some(kind) => walk.list(list, kind, place),
            None => {
                let what = format!("{list} holds something else than sites, URLs or addresses");
                walk.problem(place, what, "remove it: it cannot be applied");
            }
        }
    }
    if walk.problems.is_empty() {
        Ok(walk.found)
    } else {
        Err(walk.problems)
    }
}

/// What a list holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Names, each with all below it.
    Sites,
    /// Hosts with the beginning of a path.
    Urls,
    /// Addresses and prefixes.
    Addresses,
}

impl Kind {
    /// What its lines may hold.
    #[must_use]
    pub fn accept(self) -> Accept {
        match self {
            Kind::Sites => Accept::Names,
            Kind::Urls => Accept::Urls,
            Kind::Addresses => Accept::Addresses,
        }
    }
}

fn kind(list: &str) -> Option<Kind> {
    let name = list.rsplit('/').next().unwrap_or(list);
    if OTHER_LISTS.iter().any(|word| name.contains(word)) {
        None
    } else if name.contains("iplist") {
        Some(Kind::Addresses)
    } else if name.contains("url") {
        Some(Kind::Urls)
    } else {
        Some(Kind::Sites)
    }
}

struct Walk {
    tree: Tree,
    /// The files that led to the one in hand.
    stack: Vec<PathBuf>,
    found: BTreeSet<(PathBuf, Kind)>,
    problems: Vec<Problem>,
}

impl Walk {
    fn list(&mut self, name: &str, kind: Kind, place: (&Path, u32)) {
        let path = match self.tree.file(name) {
            Ok(path) => path,
            Err(why) => {
                let remedy = "correct the path: it is one from the registry's path, or an absolute one below it";
                self.problem(place, format!("{name} {why}"), remedy);
                return;
            }
        };
        if self.stack.contains(&path) {
            let what = format!("{name} includes itself");
            self.problem(place, what, "remove one of these includes");
            return;
        }
        if self.stack.len() >= DEPTH_MAX || self.found.len() >= FILES_MAX {
            let what = format!(
                "includes lead more than {DEPTH_MAX} deep or to more than {FILES_MAX} files"
            );
            self.problem(place, what, "name the lists that are meant");
            return;
        }
        if !self.found.insert((path.clone(), kind)) {
            return;
        }
        match directives(&path) {
            Ok(directives) => {
                self.stack.push(path.clone());
                for (line, directive) in directives {
                    match directive {
                        Directive::Include(name) => self.list(&name, kind, (&path, line)),
                        Directive::Time => {
                            let what = "the list holds for a part of the day only";
                            let remedy =
                                "remove the line, or leave the list out: entries hold all day";
                            self.problem((&path, line), what.to_owned(), remedy);
                        }
                    }
                }
                self.stack.pop();
            }
            Err(error) => {
                let what = format!("cannot be read: {error}");
                self.problem((&path, 0), what, "correct the file's permissions");
            }
        }
    }

    fn problem(&mut self, (file, line): (&Path, u32), what: String, remedy: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem::at(file, line, what, remedy));
        }
    }
}

enum Directive {
    Include(String),
    Time,
}

fn directives(path: &Path) -> std::io::Result<Vec<(u32, Directive)>> {
    let mut directives = Vec::new();
    lines::for_each(BufReader::new(File::open(path)?), |number, raw, _| {
        let text = String::from_utf8_lossy(raw);
        let text = text.trim_ascii();
        if let Some(name) = text.strip_prefix(".Include<") {
            let name = name.split_once('>').map_or(name, |(name, _)| name);
            directives.push((number, Directive::Include(name.to_owned())));
        } else if text.starts_with("#time:") {
            directives.push((number, Directive::Time));
        }
    })?;
    Ok(directives)
}
