//! What commands print: tables for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

/// A table with aligned columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads. Columns whose head ends in `>` are aligned to the right.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Table {
            head: head.iter().map(|cell| (*cell).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints the table.
    ///
    /// # Errors
    /// The writer's.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let right: Vec<bool> = self.head.iter().map(|head| head.ends_with('>')).collect();
        let head: Vec<String> = self
            .head
            .iter()
            .map(|head| head.trim_end_matches('>').to_owned())
            .collect();
        let width = |column: usize| {
            let cells = self.rows.iter().chain(std::iter::once(&head));
            cells
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
                let width = *width;
                line.push_str(&if *right {
                    format!("{cell:>width$}  ")
                } else {
                    format!("{cell:width$}  ")
                });
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Prints a value as JSON, on one line.
///
/// # Errors
/// The writer's, or a value that JSON cannot hold.
pub fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// Where an entry stands, behind the name of its file: its line, or the id of its record.
#[must_use]
pub fn place(line: u32, by_record: bool) -> String {
    if by_record {
        format!(", record {line}")
    } else {
        format!(":{line}")
    }
}

/// A count with thin spaces between thousands, as people read it.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", "count>"]);
        table.row(vec!["a".into(), "5".into()]);
        table.row(vec!["longer".into(), "12345".into()]);
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "name    count\na           5\nlonger  12345\n"
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [count(7), count(1000), count(1_234_567)],
            ["7", "1 000", "1 234 567"]
        );
    }
}
