//! One file: lines in, records and counts out.

use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use super::formats::{Emit, Parser};
use super::keep::{Keeper, Listener, Rejects};
use super::progress::{Bar, Progress};
use super::{FileRecords, Reading, lines, stamp};
use crate::problem::Problem;

const BUFFER_BYTES: usize = 256 * 1024;

/// Reads a file of names, addresses, prefixes and URLs.
///
/// # Errors
/// The file cannot be read. Lines that cannot be read are no error: they are counted.
pub fn read_file(reading: &Reading, progress: Progress) -> Result<FileRecords, Problem> {
    read_telling(reading, progress, Listener::default())
}

/// The same, with somebody who listens.
///
/// # Errors
/// As [`read_file`].
pub fn read_telling(
    reading: &Reading,
    progress: Progress,
    listener: Listener<'_>,
) -> Result<FileRecords, Problem> {
    if let Some(xml) = reading.syntax.xml() {
        return super::dump::read::read_file(reading, xml, progress, listener);
    }
    let started = Instant::now();
    let stamp = stamp(&reading.path).map_err(|error| unreadable(reading, &error))?;
    let mut keeper = Keeper::new(reading, listener.kept);
    let mut rejects = Rejects::new(&reading.path, listener.rejected);
    let mut last = 0;
    let bar = progress.start(&reading.path, stamp.size);
    pass(reading, &bar, &mut |line, text, told| {
        if line != last {
            rejects.counts.read += 1;
            last = line;
        }
        let (subject, kept) = match told {
            Ok(rule) => (rule.subject, keeper.rule(line, &rule)),
            Err(refusal) => (text, Err(refusal)),
        };
        if let Err(refusal) = kept {
            rejects.refuse(line, subject, refusal);
        }
    })?;
    if keeper.has_exceptions() {
        keeper.start_over();
        pass(reading, &bar, &mut |line, _, told| {
            // What is wrong with a line was told above.
            let _ = told.and_then(|rule| keeper.rule(line, &rule));
        })?;
    }
    bar.done();
    let kept = keeper.finish(&mut rejects);
    let mut counts = rejects.counts;
    (counts.kept, counts.duplicate) = (kept.kept, kept.duplicate);
    counts.cancelled = kept.cancelled;
    counts.took(started.elapsed());
    let mut file = FileRecords::new(reading, stamp, kept.records, kept.nets, counts);
    file.rejected = rejects.first;
    Ok(file)
}

/// Goes through the file once.
fn pass(reading: &Reading, bar: &Bar, emit: Emit<'_>) -> Result<(), Problem> {
    let failed = |error: std::io::Error| unreadable(reading, &error);
    let mut parser = Parser::new(&reading.syntax);
    if let Some(given) = &reading.given {
        for entry in given.iter() {
            parser.line(entry.line, entry.text.as_bytes(), emit);
        }
        parser.finish(emit);
        return Ok(());
    }
    let file = File::open(&reading.path).map_err(failed)?;
    lines::for_each(
        BufReader::with_capacity(BUFFER_BYTES, file),
        |number, line, consumed| {
            if number % 16_384 == 0 {
                bar.at(consumed);
            }
            parser.line(number, line, emit);
        },
    )
    .map_err(failed)?;
    parser.finish(emit);
    Ok(())
}

/// A file cannot be read.
pub(super) fn unreadable(reading: &Reading, error: &std::io::Error) -> Problem {
    Problem::of_file(
        &reading.path,
        format!("cannot be read: {error}"),
        "correct the path or the file's permissions",
    )
}
