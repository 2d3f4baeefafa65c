//! What is wrong with a file, where exactly, and what to do about it. Readers gather problems and go
//! on, so that an operator sees all of them at once.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One thing that is wrong in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Its line, counted from 1; 0: the file as a whole.
    pub line: u32,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    /// A problem on a line of a file.
    #[must_use]
    pub fn at(file: &Path, line: u32, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem {
            file: file.to_path_buf(),
            line,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// A problem of a whole file.
    #[must_use]
    pub fn of_file(file: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem::at(file, 0, what, remedy)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(out, "{}:", self.line)?;
        }
        write!(out, " {}", self.what)?;
        if self.remedy.is_empty() {
            Ok(())
        } else {
            write!(out, ": {}", self.remedy)
        }
    }
}

impl std::error::Error for Problem {}

/// Bytes of a word that may be a typing error; the comparison takes time with the product of both lengths.
const TYPED_MAX: usize = 64;

/// The nearest of `known` to what was typed, if it is near enough to be meant. Words of more than 64 bytes have none.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > TYPED_MAX {
        return None;
    }
    let limit = typed.chars().count() / 3 + 1;
    known
        .into_iter()
        .filter(|word| word.len() <= 2 * TYPED_MAX)
        .map(|word| (edit_distance(typed, word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into another.
pub(crate) fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut last = None;
    for (at, left_char) in left.chars().enumerate() {
        let mut next = vec![at + 1];
        for (to, right_char) in right.iter().enumerate() {
            let cell =
                |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX / 2);
            let replace = cell(&row, to) + usize::from(left_char != *right_char);
            let mut best = replace.min(cell(&row, to + 1) + 1).min(cell(&next, to) + 1);
            let swapped =
                to > 0 && last == Some(*right_char) && right.get(to - 1) == Some(&left_char);
            if swapped {
                best = best.min(cell(&before, to - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(left_char);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_typing_errors_and_no_strangers() {
        let known = ["interfaces", "registries", "prefixes", "side"];
        assert_eq!(nearest("interface", known), Some("interfaces"));
        assert_eq!(nearest("perfixes", known), Some("prefixes"));
        assert_eq!(nearest("sied", known), Some("side"));
        assert_eq!(nearest("zzzzzz", known), None);
        assert_eq!(nearest(&"interfaces".repeat(9), known), None);
    }

    #[test]
    fn display_names_file_line_and_remedy() {
        let problem = Problem::at(Path::new("a.toml"), 3, "it is broken", "mend it");
        assert_eq!(problem.to_string(), "a.toml:3: it is broken: mend it");
        let problem = Problem::of_file(Path::new("a.toml"), "it is gone", "");
        assert_eq!(problem.to_string(), "a.toml: it is gone");
    }
}
