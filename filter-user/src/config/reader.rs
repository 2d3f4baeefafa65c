//! Strict reading of TOML tables: every key is asked for once, what nobody asked for is unknown, and
//! every problem carries its line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Problem, nearest};

/// A file under reading: where its lines start, and what was found wrong.
#[derive(Debug)]
pub struct Source {
    file: PathBuf,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
}

impl Source {
    /// Takes note of where the lines of `text` start.
    #[must_use]
    pub fn new(file: &Path, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at + 1))
            .collect();
        Source {
            file: file.to_path_buf(),
            line_starts,
            problems: Vec::new(),
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line of a byte offset, counted from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> u32 {
        u32::try_from(self.line_starts.partition_point(|start| *start <= at)).unwrap_or(u32::MAX)
    }

    /// Notes what is wrong with a key or value at `at`.
    pub fn problem(&mut self, at: usize, what: impl Into<String>, remedy: impl Into<String>) {
        let line = self.line(at);
        self.problem_on_line(line, what, remedy);
    }

    /// Notes what is wrong on a line.
    pub fn problem_on_line(
        &mut self,
        line: u32,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems
            .push(Problem::at(&self.file, line, what, remedy));
    }

    /// Notes what is wrong on a line of this or another file.
    pub fn problem_in(&mut self, file: &Path, line: u32, what: String, remedy: impl Into<String>) {
        self.problems.push(Problem::at(file, line, what, remedy));
    }

    /// What was found wrong, in the order of lines; that of other files behind it.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        let Source {
            file, mut problems, ..
        } = self;
        problems.sort_by(|left, right| {
            let rank = |problem: &Problem| problem.file != file;
            (rank(left), &left.file, left.line).cmp(&(rank(right), &right.file, right.line))
        });
        problems
    }
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Byte offset in the file.
    pub at: usize,
}

/// A table under reading.
#[derive(Debug)]
pub struct Section<'t, 'i> {
    name: String,
    at: usize,
    table: &'t DeTable<'i>,
    asked: Vec<&'static str>,
}

type Value<'t, 'i> = (&'t DeValue<'i>, Range<usize>);

impl<'t, 'i> Section<'t, 'i> {
    /// A table called `name` in messages (such as `[[registries]]`), which starts at `at`.
    #[must_use]
    pub fn new(name: impl Into<String>, at: usize, table: &'t DeTable<'i>) -> Self {
        Section {
            name: name.into(),
            at,
            table,
            asked: Vec::new(),
        }
    }

    /// Byte offset of the table.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    fn value(&mut self, key: &'static str) -> Option<Value<'t, 'i>> {
        self.asked.push(key);
        self.table
            .get(key)
            .map(|value| (value.get_ref(), value.span()))
    }

    /// Notes that `key` has a value of the wrong type.
    fn wrong_type(&self, source: &mut Source, key: &str, value: &Value<'_, '_>, wanted: &str) {
        let what = format!(
            "{} {key}: {} where {wanted} is wanted",
            self.name,
            value.0.type_str()
        );
        source.problem(value.1.start, what, format!("write {wanted}"));
    }

    /// A string.
    pub fn string(&mut self, source: &mut Source, key: &'static str) -> Option<At<String>> {
        let value = self.value(key)?;
        match value.0 {
            DeValue::String(text) => Some(At {
                value: text.clone().into_owned(),
                at: value.1.start,
            }),
            _ => {
                self.wrong_type(source, key, &value, "a string");
                None
            }
        }
    }

    /// A string that must be there and not be empty.
    pub fn required(&mut self, source: &mut Source, key: &'static str) -> Option<At<String>> {
        if !self.table.contains_key(key) {
            self.asked.push(key);
            source.problem(
                self.at,
                format!("{} has no {key}", self.name),
                format!("add {key} = \"...\""),
            );
            return None;
        }
        let text = self.string(source, key)?;
        if text.value.is_empty() {
            source.problem(
                text.at,
                format!("{} {key}: is empty", self.name),
                "write a value",
            );
            return None;
        }
        Some(text)
    }

    /// One of a few words; the first is the default.
    pub fn choice<T: Copy>(
        &mut self,
        source: &mut Source,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let Some(text) = self.string(source, key) else {
            return words.first().map(|(_, first)| *first);
        };
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = nearest(&text.value, known.iter().copied());
            let remedy = match hint {
                Some(word) => format!("did you mean \"{word}\"? known: {}", known.join(", ")),
                None => format!("use one of {}", known.join(", ")),
            };
            source.problem(
                text.at,
                format!("{} {key}: unknown word \"{}\"", self.name, text.value),
                remedy,
            );
        }
        found.map(|(_, value)| *value)
    }

    /// A whole number within bounds.
    pub fn number(
        &mut self,
        source: &mut Source,
        key: &'static str,
        bounds: std::ops::RangeInclusive<u32>,
    ) -> Option<At<u32>> {
        let value = self.value(key)?;
        let DeValue::Integer(number) = value.0 else {
            self.wrong_type(source, key, &value, "a whole number");
            return None;
        };
        let parsed = u32::from_str_radix(&number.as_str().replace('_', ""), number.radix());
        match parsed {
            Ok(number) if bounds.contains(&number) => Some(At {
                value: number,
                at: value.1.start,
            }),
            _ => {
                let what = format!("{} {key}: {} is out of bounds", self.name, number.as_str());
                let remedy = format!("write a number from {} to {}", bounds.start(), bounds.end());
                source.problem(value.1.start, what, remedy);
                None
            }
        }
    }

    /// True or false.
    pub fn flag(&mut self, source: &mut Source, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match value.0 {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong_type(source, key, &value, "true or false");
                None
            }
        }
    }

    /// A list of strings; empty if the key is not there.
    pub fn strings(&mut self, source: &mut Source, key: &'static str) -> Vec<At<String>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.0 else {
            self.wrong_type(source, key, &value, "a list of strings");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    texts.push(At {
                        value: text.clone().into_owned(),
                        at: item.span().start,
                    });
                }
                other => {
                    let value = (other, item.span());
                    self.wrong_type(source, key, &value, "a string in the list");
                }
            }
        }
        texts
    }

    /// Whether the key is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A value of any type, for keys whose shape is their own affair.
    pub fn any(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// A table below this one.
    pub fn table(&mut self, source: &mut Source, key: &'static str) -> Option<Section<'t, 'i>> {
        let value = self.value(key)?;
        match value.0 {
            DeValue::Table(table) => Some(Section::new(format!("[{key}]"), value.1.start, table)),
            _ => {
                self.wrong_type(source, key, &value, "a table");
                None
            }
        }
    }

    /// A list of tables below this one.
    pub fn tables(&mut self, source: &mut Source, key: &'static str) -> Vec<Section<'t, 'i>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.0 else {
            self.wrong_type(source, key, &value, "a list of tables ([[...]])");
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Section::new(format!("[[{key}]]"), item.span().start, table));
                }
                other => self.wrong_type(source, key, &(other, item.span()), "a table"),
            }
        }
        sections
    }

    /// The pairs of a table whose keys are the operator's own words.
    pub fn pairs(&self) -> impl Iterator<Item = (&'t str, usize, &'t Spanned<DeValue<'i>>)> {
        self.table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), key.span().start, value))
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, source: &mut Source) {
        for key in self.table.keys() {
            let word = key.get_ref().as_ref();
            if self.asked.contains(&word) {
                continue;
            }
            let remedy = match nearest(word, self.asked.iter().copied()) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known keys: {}", self.asked.join(", ")),
            };
            source.problem(
                key.span().start,
                format!("{} unknown key {word}", self.name),
                remedy,
            );
        }
    }
}

/// The strings of a value that is a string or a list of strings.
pub fn one_or_more(
    source: &mut Source,
    name: &str,
    value: &Spanned<DeValue<'_>>,
) -> Vec<At<String>> {
    let at = value.span().start;
    let items: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    let texts: Vec<At<String>> = items
        .iter()
        .filter_map(|item| {
            let text = item.get_ref().as_str()?.to_owned();
            Some(At {
                value: text,
                at: item.span().start,
            })
        })
        .collect();
    if texts.len() < items.len() {
        source.problem(
            at,
            format!("{name}: not a string or a list of strings"),
            "write strings",
        );
    }
    texts
}
