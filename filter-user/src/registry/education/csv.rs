//! Records as CSV: a header, then a record a line. A field may be quoted and hold separators, but no line break:
//! so an open quote costs one record, and each has its line.

use std::path::Path;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::Each;
use super::record::{Fault, Fields};
use crate::problem::{Problem, nearest};
use crate::registry::lines::LINE_BYTES_MAX;

/// Columns, in the order of [`Fields`].
const COLUMNS: [&str; 9] = [
    "id",
    "subject",
    "type",
    "categories",
    "age",
    "decision_date",
    "decision_number",
    "decision_body",
    "since",
];
/// Columns that there must be: the first ones.
const NEEDED: usize = 3;
/// Columns of a line that are looked at: more are an error in any case.
const COLUMNS_MAX: usize = 64;

/// Calls `each` for every record.
///
/// # Errors
/// Columns that are not known, are missing, or are there twice.
pub(super) fn records(path: &Path, text: &str, each: Each<'_>) -> Result<(), Problem> {
    let mut lines = (1u32..).zip(text.lines());
    // Spreadsheets put a line with the separator in front.
    let mut head = lines.find(|(_, line)| !line.trim_ascii().is_empty());
    if head.is_some_and(|(_, line)| line.len() == 5 && line.starts_with("sep=")) {
        head = lines.find(|(_, line)| !line.trim_ascii().is_empty());
    }
    let Some((number, head)) = head else {
        return Ok(());
    };
    let (table, mut row) = Table::new(path, number, head)?;
    for (number, line) in lines {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let fields = table.fields(line, &mut row);
        each(number, fields);
    }
    Ok(())
}

/// The columns of a file.
struct Table {
    /// Which of [`COLUMNS`] stands in each column.
    columns: Vec<usize>,
}

/// A line cut into fields; kept for the next one, as making a reader costs more than reading a line.
struct Row {
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Row {
    fn new(separator: u8) -> Self {
        Row {
            reader: ReaderBuilder::new().delimiter(separator).build(),
            text: vec![0; LINE_BYTES_MAX],
            ends: vec![0; COLUMNS_MAX],
        }
    }
}

impl Table {
    fn new(path: &Path, line: u32, head: &str) -> Result<(Table, Row), Problem> {
        let separators = [b'\t', b',', b';'];
        let rows = separators.map(Row::new).into_iter().map(|mut row| {
            let count = cut(head, &mut row).map_or(0, |fields| fields.len());
            (count, row)
        });
        let best = rows.max_by_key(|(count, _)| *count);
        let mut row = best.map_or_else(|| Row::new(b';'), |(_, row)| row);
        let failed = |what: String, remedy: String| Problem::at(path, line, what, remedy);
        let Ok(words) = cut(head, &mut row) else {
            let remedy = format!("write the columns: {}", COLUMNS.join(";"));
            return Err(failed("the first line is no header".to_owned(), remedy));
        };
        let mut columns = Vec::new();
        let mut wrong = Vec::new();
        for word in words {
            let lower = word.to_ascii_lowercase();
            match COLUMNS.iter().position(|known| *known == lower) {
                Some(at) if columns.contains(&at) => {
                    wrong.push(format!("column {word} is there twice"))
                }
                Some(at) => columns.push(at),
                None => {
                    let hint = nearest(&lower, COLUMNS);
                    let hint = hint.map(|known| format!(" (did you mean {known}?)"));
                    let shown = crate::registry::keep::shown(word);
                    wrong.push(format!(
                        "unknown column \"{shown}\"{}",
                        hint.unwrap_or_default()
                    ));
                }
            }
        }
        for (at, column) in COLUMNS.iter().enumerate().take(NEEDED) {
            if !columns.contains(&at) {
                wrong.push(format!("column {column} is missing"));
            }
        }
        if wrong.is_empty() {
            Ok((Table { columns }, row))
        } else {
            let remedy = format!("known columns: {}", COLUMNS.join(", "));
            Err(failed(wrong.join("; "), remedy))
        }
    }

    fn fields<'r>(&self, line: &str, row: &'r mut Row) -> Result<Fields<'r>, Fault> {
        if line.len() >= LINE_BYTES_MAX {
            return Err(Fault::line("longer than 4,095 bytes"));
        }
        let words = cut(line, row)?;
        if words.len() != self.columns.len() {
            let what = format!(
                "{} fields where {} are wanted",
                words.len(),
                self.columns.len()
            );
            return Err(Fault::fields(what));
        }
        let mut fields = Fields::default();
        for (word, column) in words.into_iter().zip(&self.columns) {
            match COLUMNS.get(*column).copied().unwrap_or_default() {
                "id" => fields.id = word.into(),
                "subject" => fields.subject = word.into(),
                "type" => fields.kind = word.into(),
                "categories" => {
                    let parts = word.split(['|', ',', ' ']).filter(|part| !part.is_empty());
                    fields.categories = parts.map(Into::into).collect();
                }
                "age" => fields.age = word.into(),
                "decision_date" => fields.date = word.into(),
                "decision_number" => fields.number = word.into(),
                "decision_body" => fields.body = word.into(),
                _ => fields.since = word.into(),
            }
        }
        Ok(fields)
    }
}

/// Cuts a line into its fields, white space around each taken away.
fn cut<'r>(line: &str, row: &'r mut Row) -> Result<Vec<&'r str>, Fault> {
    let reader = &mut row.reader;
    reader.reset();
    let line = line.as_bytes();
    let (result, read, written, count) = reader.read_record(line, &mut row.text, &mut row.ends);
    match result {
        ReadRecordResult::InputEmpty if read == line.len() => {}
        ReadRecordResult::InputEmpty | ReadRecordResult::Record | ReadRecordResult::End => {
            return Err(Fault::line("not one record"));
        }
        ReadRecordResult::OutputFull => return Err(Fault::line("longer than 4,095 bytes")),
        ReadRecordResult::OutputEndsFull => {
            return Err(Fault::fields("too many fields".to_owned()));
        }
    }
    // A line break ends the record, unless it stands within quotes.
    let rest = row.text.get_mut(written..).unwrap_or_default();
    let ends = row.ends.get_mut(count..).unwrap_or_default();
    let (result, _, _, more) = reader.read_record(b"\n", rest, ends);
    match result {
        ReadRecordResult::Record => {}
        ReadRecordResult::OutputEndsFull => {
            return Err(Fault::fields("too many fields".to_owned()));
        }
        _ => return Err(Fault::line("a quote is not closed")),
    }
    let count = count + more;
    let mut fields = Vec::with_capacity(count);
    let mut from = 0;
    for end in row.ends.get(..count).unwrap_or_default() {
        let bytes = row.text.get(from..*end).unwrap_or_default();
        let Ok(field) = std::str::from_utf8(bytes) else {
            return Err(Fault::line("not one record"));
        };
        fields.push(field.trim_ascii());
        from = *end;
    }
    Ok(fields)
}
