//! v2fly's collection: a file a set, sets that include sets, attributes by which a part of a set is meant.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::tree::{DEPTH_MAX, FILES_MAX, PROBLEMS_MAX, Tree};
use super::{Rule, Rules, Scope, check_name};
use crate::normalise::Refusal;
use crate::problem::{Problem, nearest};
use crate::registry::lines;

/// What is taken of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Attributes that an entry must have.
    pub with: BTreeSet<String>,
    /// Attributes that it must not have.
    pub without: BTreeSet<String>,
    /// The other set that it must be affiliated with.
    pub affiliated: Option<String>,
}

impl Wanted {
    fn takes(&self, line: &Line<'_>) -> bool {
        let has = |wanted: &String| {
            line.attributes()
                .any(|known| known.eq_ignore_ascii_case(wanted))
        };
        let affiliated = self
            .affiliated
            .as_ref()
            .is_none_or(|set| line.affiliations().any(|known| known == set.as_str()));
        affiliated && self.with.iter().all(has) && !self.without.iter().any(has)
    }

    /// The part of this one that `@attribute` and `@-attribute` leave.
    fn narrowed<'w>(&self, attributes: impl Iterator<Item = &'w str>) -> Wanted {
        let mut wanted = self.clone();
        for attribute in attributes {
            match attribute.strip_prefix('-') {
                Some(attribute) => wanted.without.insert(attribute.to_owned()),
                None => wanted.with.insert(attribute.to_owned()),
            };
        }
        wanted
    }
}

/// A line in parts.
struct Line<'a> {
    rule: &'a str,
    marks: std::str::SplitAsciiWhitespace<'a>,
}

impl<'a> Line<'a> {
    fn of(text: &'a str) -> Option<Line<'a>> {
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let mut marks = text.split_ascii_whitespace();
        let rule = marks.next()?;
        Some(Line { rule, marks })
    }

    fn attributes(&self) -> impl Iterator<Item = &'a str> {
        self.marks.clone().filter_map(|mark| mark.strip_prefix('@'))
    }

    fn affiliations(&self) -> impl Iterator<Item = &'a str> {
        self.marks.clone().filter_map(|mark| mark.strip_prefix('&'))
    }

    fn has_other_marks(&self) -> bool {
        let mut marks = self.marks.clone();
        marks.any(|mark| mark.len() < 2 || !mark.starts_with(['@', '&']))
    }
}

/// The rules of a line, if it is wanted. An `include` is none: [`files`] follows it.
///
/// # Errors
/// Why it is not applied.
pub fn rules(text: &str, wanted: &Wanted, each: Rules<'_>) -> Result<(), Refusal> {
    let Some(line) = Line::of(text) else {
        return Ok(());
    };
    if line.rule.starts_with("include:") || !wanted.takes(&line) {
        return Ok(());
    }
    if line.has_other_marks() {
        return Err(Refusal::Syntax);
    }
    let (name, scope) = match line.rule.split_once(':') {
        None => (line.rule, Scope::Bare),
        Some(("domain", name)) => (name, Scope::Bare),
        Some(("full", name)) => (name, Scope::Exact),
        Some(("keyword", _)) => return Err(Refusal::Keyword),
        Some(("regexp" | "regex", _)) => return Err(Refusal::Expression),
        Some(_) => return Err(Refusal::Syntax),
    };
    check_name(name)?;
    each(Rule::entry(name, scope));
    Ok(())
}

/// An `include` line.
#[derive(Clone, Debug)]
struct Include {
    line: u32,
    set: String,
    attributes: Vec<String>,
}

/// What a file refers to.
#[derive(Clone, Debug, Default)]
struct References {
    includes: Vec<Include>,
    /// Sets that entries of the file are affiliated with.
    affiliations: BTreeSet<String>,
}

/// The files that sets are made of, with what is taken of each. A set is `name`, `name@attribute` or
/// `name@-attribute`. The sets' directory is `data` below the given one, or that one itself.
///
/// # Errors
/// Includes that lead in a circle or nowhere, by file and line, and sets that are not there; `place` is where
/// the sets are named.
pub fn files(
    directory: &Path,
    sets: &[String],
    place: (&Path, u32),
) -> Result<BTreeSet<(PathBuf, Wanted)>, Vec<Problem>> {
    let data = directory.join("data");
    let root = if data.is_dir() {
        data.as_path()
    } else {
        directory
    };
    let tree = Tree::new(root).map_err(|problem| vec![problem])?;
    let mut walk = Walk {
        tree,
        known: BTreeMap::new(),
        affiliated: HashMap::new(),
        stack: Vec::new(),
        seen: BTreeSet::new(),
        found: BTreeSet::new(),
        problems: Vec::new(),
    };
    walk.survey().map_err(|problem| vec![problem])?;
    for set in sets {
        let mut parts = set.split('@');
        let name = parts.next().unwrap_or_default();
        walk.set(name, &Wanted::default().narrowed(parts), place);
    }
    if walk.problems.is_empty() {
        Ok(walk.found)
    } else {
        Err(walk.problems)
    }
}

struct Walk {
    tree: Tree,
    /// All sets, with what they refer to.
    known: BTreeMap<String, (PathBuf, References)>,
    /// Sets whose entries are affiliated with another one, by that other one.
    affiliated: HashMap<String, Vec<String>>,
    /// The sets that led to the one in hand.
    stack: Vec<String>,
    seen: BTreeSet<(String, Wanted)>,
    found: BTreeSet<(PathBuf, Wanted)>,
    problems: Vec<Problem>,
}

impl Walk {
    /// Reads what every file refers to: an entry may say that it belongs to another set.
    fn survey(&mut self) -> Result<(), Problem> {
        let root = self.tree.root().to_path_buf();
        let failed = |path: &Path, error: std::io::Error| {
            let what = format!("cannot be read: {error}");
            Problem::of_file(path, what, "correct the file's permissions")
        };
        for entry in std::fs::read_dir(&root).map_err(|error| failed(&root, error))? {
            let entry = entry.map_err(|error| failed(&root, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(path) = self.tree.file(&name) else {
                continue;
            };
            if self.known.len() >= FILES_MAX {
                let what = format!("more than {FILES_MAX} files");
                return Err(Problem::of_file(
                    &root,
                    what,
                    "give the directory of the sets",
                ));
            }
            let references = references(&path).map_err(|error| failed(&path, error))?;
            for set in &references.affiliations {
                let from = self.affiliated.entry(set.clone()).or_default();
                from.push(name.clone());
            }
            self.known.insert(name, (path, references));
        }
        Ok(())
    }

    /// Takes a set that is named in `place`.
    fn set(&mut self, name: &str, wanted: &Wanted, place: (&Path, u32)) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        if self.stack.iter().any(|above| above == name) {
            let circle = self.stack.join(" -> ");
            let what = format!("{name} includes itself: {circle} -> {name}");
            self.problem(place, what, "remove one of these includes");
            return;
        }
        if !self.seen.insert((name.to_owned(), wanted.clone())) {
            return;
        }
        if self.stack.len() >= DEPTH_MAX || self.seen.len() > FILES_MAX {
            let what = format!(
                "includes lead more than {DEPTH_MAX} deep or to more than {FILES_MAX} parts"
            );
            self.problem(place, what, "name the sets that are meant");
            return;
        }
        let from = self.affiliated.get(name).cloned().unwrap_or_default();
        let known = self.known.get(name).cloned();
        if known.is_none() && from.is_empty() {
            let names = self.known.keys().map(String::as_str);
            let remedy = match nearest(name, names) {
                Some(near) => format!("did you mean {near}?"),
                None => "correct or remove it".to_owned(),
            };
            self.problem(place, format!("there is no set {name}"), &remedy);
            return;
        }
        for other in from {
            if let Some((path, _)) = self.known.get(&other) {
                let affiliated = Some(name.to_owned());
                let wanted = Wanted {
                    affiliated,
                    ..wanted.clone()
                };
                self.found.insert((path.clone(), wanted));
            }
        }
        let Some((path, references)) = known else {
            return;
        };
        self.found.insert((path.clone(), wanted.clone()));
        self.stack.push(name.to_owned());
        for include in references.includes {
            let narrowed = wanted.narrowed(include.attributes.iter().map(String::as_str));
            self.set(&include.set, &narrowed, (&path, include.line));
        }
        self.stack.pop();
    }

    fn problem(&mut self, (file, line): (&Path, u32), what: String, remedy: &str) {
        let problem = Problem::at(file, line, what, remedy);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

fn references(path: &Path) -> std::io::Result<References> {
    let mut references = References::default();
    lines::for_each(BufReader::new(File::open(path)?), |number, raw, _| {
        let Ok(text) = std::str::from_utf8(raw) else {
            return;
        };
        let Some(line) = Line::of(text) else { return };
        match line.rule.strip_prefix("include:") {
            Some(set) => references.includes.push(Include {
                line: number,
                set: set.to_owned(),
                attributes: line.attributes().map(str::to_owned).collect(),
            }),
            None => {
                let sets = line.affiliations().filter(|set| !set.is_empty());
                references.affiliations.extend(sets.map(str::to_owned));
            }
        }
    })?;
    Ok(references)
}
