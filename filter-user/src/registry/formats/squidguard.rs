//! squidGuard's destinations: the `dest` blocks of its configuration, with the lists that they name. Sources,
//! times, rewrites and rules of access are passed over.

use std::path::{Path, PathBuf};

use super::tree::{PROBLEMS_MAX, Tree};
use crate::normalise::Accept;
use crate::problem::Problem;

/// Longest configuration that is read.
const CONF_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One `dest` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// Its line.
    pub line: u32,
    /// Its lists, with what they hold.
    pub lists: Vec<(PathBuf, Accept)>,
    /// Lines that name lists of expressions.
    pub expressions: Vec<u32>,
}

/// The names of all destinations of a configuration file.
///
/// # Errors
/// The file cannot be read.
pub fn names(file: &Path) -> Result<Vec<String>, Problem> {
    let text = read(file)?;
    let names = text
        .lines()
        .filter_map(|line| match words(line).as_slice() {
            ["dest" | "destination", name, ..] => Some((*name).to_owned()),
            _ => None,
        });
    Ok(names.collect())
}

/// The destinations of a configuration file; `wanted` says of which the lists are looked for.
///
/// # Errors
/// The file cannot be read; by line: a list of a wanted destination is not there or lies outside `dbhome`, a
/// wanted destination holds for a part of the time only, or has a line that is not known.
pub fn destinations(
    file: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Destination>, Vec<Problem>> {
    let text = read(file).map_err(|problem| vec![problem])?;
    let mut conf = Conf {
        file,
        home: file.parent().unwrap_or(Path::new("")).to_path_buf(),
        found: Vec::new(),
        problems: Vec::new(),
    };
    let mut lines = (1u32..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let words = words(line);
        match words.as_slice() {
            ["dbhome", home, ..] => conf.home = conf.base().join(home),
            ["dest" | "destination", rest @ ..] => conf.block(number, rest, &mut lines, &wanted),
            _ => {}
        }
    }
    if conf.problems.is_empty() {
        Ok(conf.found)
    } else {
        Err(conf.problems)
    }
}

fn read(file: &Path) -> Result<String, Problem> {
    let failed = |what: String| {
        Problem::of_file(
            file,
            what,
            "give squidGuard's configuration, or the directory of its lists",
        )
    };
    let unread = |error: std::io::Error| failed(format!("cannot be read: {error}"));
    let size = std::fs::metadata(file).map_err(unread)?.len();
    if size > CONF_BYTES_MAX {
        return Err(failed(format!("{size} bytes are no configuration")));
    }
    let bytes = std::fs::read(file).map_err(unread)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The words of a line, braces apart, without a comment.
fn words(line: &str) -> Vec<&str> {
    let line = super::without_comment(line);
    let parts = line.split_inclusive(['{', '}']);
    let apart = parts.flat_map(|part| {
        let bare = part.trim_end_matches(['{', '}']);
        let brace = part.get(bare.len()..).filter(|brace| !brace.is_empty());
        bare.split_ascii_whitespace().chain(brace)
    });
    apart.collect()
}

struct Conf<'a> {
    file: &'a Path,
    /// Where the lists lie.
    home: PathBuf,
    found: Vec<Destination>,
    problems: Vec<Problem>,
}

impl Conf<'_> {
    fn base(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Reads a block whose header begins on `number` with the words behind `dest`.
    fn block<'l>(
        &mut self,
        number: u32,
        header: &[&'l str],
        lines: &mut impl Iterator<Item = (u32, &'l str)>,
        wanted: &impl Fn(&str) -> bool,
    ) {
        let Some((name, mut rest)) = header.split_first() else {
            self.problem(number, "a destination without a name".to_owned(), "name it");
            return;
        };
        let mut destination = Destination {
            name: (*name).to_owned(),
            line: number,
            lists: Vec::new(),
            expressions: Vec::new(),
        };
        let is_wanted = wanted(name);
        let mut open = false;
        let mut at = number;
        let mut held;
        loop {
            if !open {
                match rest.split_first() {
                    Some((&"{", inside)) => (open, rest) = (true, inside),
                    Some((&"within" | &"outside", _)) if is_wanted => {
                        self.timed(at, name);
                        return;
                    }
                    Some((_, more)) => {
                        rest = more;
                        continue;
                    }
                    None => {}
                }
            }
            if open {
                let (statement, closed) = match rest.iter().position(|word| *word == "}") {
                    Some(end) => (rest.get(..end).unwrap_or(rest), true),
                    None => (rest, false),
                };
                if is_wanted {
                    self.statement(at, statement, &mut destination);
                }
                if closed {
                    break;
                }
            }
            let Some((number, line)) = lines.next() else {
                self.problem(
                    destination.line,
                    format!("destination {name} has no end"),
                    "add }",
                );
                return;
            };
            (at, held) = (number, words(line));
            rest = &held;
        }
        self.found.push(destination);
    }

    fn statement(&mut self, line: u32, words: &[&str], destination: &mut Destination) {
        match words {
            [] | ["redirect" | "rewrite" | "log" | "logfile", ..] => {}
            ["domainlist", path, ..] => self.list(line, path, Accept::Names, destination),
            ["urllist", path, ..] => self.list(line, path, Accept::Urls, destination),
            ["expressionlist", ..] => destination.expressions.push(line),
            ["within" | "outside", ..] => self.timed(line, &destination.name),
            [word, ..] => {
                let what = format!("destination {}: {word} is not known", destination.name);
                self.problem(line, what, "remove the line");
            }
        }
    }

    fn list(&mut self, line: u32, path: &str, accept: Accept, destination: &mut Destination) {
        let tree = match Tree::new(&self.home) {
            Ok(tree) => tree,
            Err(problem) => {
                let what = format!("dbhome {}", problem.what);
                self.problem(line, what, "correct dbhome");
                return;
            }
        };
        match tree.file(path) {
            Ok(path) => destination.lists.push((path, accept)),
            Err(why) => self.problem(line, format!("{path} {why}"), "correct the path or dbhome"),
        }
    }

    fn timed(&mut self, line: u32, name: &str) {
        let what = format!("destination {name} holds for a part of the time only");
        self.problem(line, what, "remove the time: entries hold always");
    }

    fn problem(&mut self, line: u32, what: String, remedy: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems
                .push(Problem::at(self.file, line, what, remedy));
        }
    }
}
