//! `organisations_file`: organisations and segments as rows of CSV (RFC 4180), separated by comma or
//! semicolon, the first line naming the columns; in UTF-8, or as spreadsheets write it.

use std::path::Path;
use std::sync::Arc;

use csv::{ReaderBuilder, StringRecord};

use super::Place;
use super::organisations::{Field, Row};
use super::reader::Source;
use crate::encoding;
use crate::problem::nearest;

/// What problems call a row.
pub(super) const SECTION: &str = "organisations_file";

/// Longest file: forty thousand rows have some six million bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Columns that a file may have; the first three it must have.
const COLUMNS: [&str; 8] = [
    "id", "prefixes", "profile", "name", "region", "realm", "timezone", "schedule",
];
const REQUIRED: usize = 3;

/// Reads all rows. What is wrong with the file is noted with its lines.
pub(super) fn rows(source: &mut Source, file: &Path) -> Vec<Row> {
    let file: Arc<Path> = Arc::from(file);
    let text = match encoding::text(&file, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(problem) => {
            source.problem_in(&file, 0, problem.what, problem.remedy);
            return Vec::new();
        }
    };
    let text = text.as_bytes();
    let head = text.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    let delimiter = if head.contains(&b';') { b';' } else { b',' };
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(text);
    let mut records = reader.records();
    let columns = match records.next() {
        Some(Ok(head)) => columns(source, &file, &head),
        Some(Err(error)) => {
            not_read(source, &file, &error);
            None
        }
        None => {
            let what = "is empty".to_owned();
            source.problem_in(
                &file,
                0,
                what,
                "write the names of the columns in its first line",
            );
            None
        }
    };
    let Some(columns) = columns else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    let mut lines = Lines::new(text);
    for record in records {
        match record {
            Ok(record) => {
                let line = lines.of(record.position());
                rows.extend(row(source, &file, &columns, &record, line));
            }
            Err(error) => not_read(source, &file, &error),
        }
    }
    rows
}

/// Lines of records, counted on from one to the next. The reader's own count is one short where lines
/// end in CR LF, as it stands between the two then.
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
}

impl<'t> Lines<'t> {
    fn new(text: &'t [u8]) -> Self {
        Lines {
            text,
            at: 0,
            line: 1,
        }
    }

    fn of(&mut self, position: Option<&csv::Position>) -> u32 {
        let start = position.and_then(|position| usize::try_from(position.byte()).ok());
        let start = start.unwrap_or(self.at).max(self.at);
        let blank = self
            .text
            .iter()
            .skip(start)
            .take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let start = start + blank.count();
        let passed = self.text.get(self.at..start).unwrap_or(&[]);
        let breaks = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line = self
            .line
            .saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
        self.at = start;
        self.line
    }
}

fn not_read(source: &mut Source, file: &Path, error: &csv::Error) {
    let line = error.position().map_or(0, csv::Position::line);
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    let remedy = "save it as CSV";
    source.problem_in(file, line, format!("no CSV: {error}"), remedy);
}

/// Which column each field stands in, as an index into [`COLUMNS`]; `None`: they are not understood.
fn columns(source: &mut Source, file: &Path, head: &StringRecord) -> Option<Vec<usize>> {
    let mut columns = Vec::new();
    let mut fine = true;
    let mut problem = |what: String, remedy: String| {
        source.problem_in(file, 1, what, remedy);
        fine = false;
    };
    for word in head {
        match COLUMNS.iter().position(|known| *known == word) {
            Some(at) if columns.contains(&at) => {
                problem(
                    format!("column {word} is there twice"),
                    "remove one".to_owned(),
                );
            }
            Some(at) => columns.push(at),
            None => {
                let remedy = nearest(word, COLUMNS).map_or_else(
                    || format!("known columns: {}", COLUMNS.join(", ")),
                    |known| format!("did you mean {known}?"),
                );
                problem(format!("unknown column \"{word}\""), remedy);
            }
        }
    }
    for (at, word) in COLUMNS.iter().enumerate().take(REQUIRED) {
        if !columns.contains(&at) {
            problem(format!("there is no column {word}"), "add it".to_owned());
        }
    }
    fine.then_some(columns)
}

fn row(
    source: &mut Source,
    file: &Arc<Path>,
    columns: &[usize],
    record: &StringRecord,
    line: u32,
) -> Option<Row> {
    if record.len() != columns.len() {
        let what = format!(
            "the row has {} fields, and there are {} columns",
            record.len(),
            columns.len()
        );
        source.problem_in(
            file,
            line,
            what,
            "correct the row; quote a field that holds the separator",
        );
        return None;
    }
    let field = |name: &str| {
        let at = COLUMNS.iter().position(|known| *known == name)?;
        let at = columns.iter().position(|column| *column == at)?;
        let text = record.get(at).filter(|text| !text.is_empty())?;
        Some(Field {
            text: text.to_owned(),
            line,
        })
    };
    let prefixes = field("prefixes").map(|all| all.text).unwrap_or_default();
    Some(Row {
        place: Place {
            file: Arc::clone(file),
            line,
            section: SECTION,
        },
        id: field("id"),
        name: field("name").map(|name| name.text).unwrap_or_default(),
        region: field("region").map(|region| region.text),
        timezone: field("timezone"),
        realm: field("realm").map(|realm| realm.text),
        profile: field("profile"),
        schedule: field("schedule"),
        prefixes: prefixes
            .split_whitespace()
            .map(|text| Field {
                text: text.to_owned(),
                line,
            })
            .collect(),
    })
}
