//! One register: its bytes are read, unpacked and decoded by a thread of their own, and parsed by the
//! caller's.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use super::apply::Gatherer;
use super::fault::Fault;
use super::parse::{Item, Parser, Root};
use super::source::with_bytes;
use super::text::{Block, Blocks, Charset, Transcoder};
use super::{Contents, Shape, Xml};
use crate::problem::Problem;
use crate::registry::progress::Progress;
use crate::registry::{FileRecords, Listener, Reading, stamp};

/// Blocks that are decoded ahead of the parser.
const AHEAD: usize = 8;
/// The newest major version of the format that is known.
const MAJOR: u32 = 2;
/// Seconds by which Moscow is ahead of UTC: times without a zone are Moscow's.
const MOSCOW_SECONDS: i64 = 3 * 3600;

/// Reads a register, with somebody who listens.
///
/// # Errors
/// It cannot be read, is not what it should be, or does not end: nothing of it is used then.
pub(in crate::registry) fn read_file(
    reading: &Reading,
    xml: Xml,
    progress: Progress,
    listener: Listener<'_>,
) -> Result<FileRecords, Problem> {
    let path = &reading.path;
    let started = Instant::now();
    let read = move || -> Result<FileRecords, Fault> {
        let stamp = stamp(path)?;
        let mut keeper = Gatherer::new(reading, xml, listener);
        let contents = ahead(path, progress, |blocks| {
            whole(blocks, xml.shape, &mut keeper)
        })?;
        Ok(keeper.finish(stamp, contents))
    };
    let mut records = read().map_err(|fault| fault.problem(path))?;
    records.counts.took(started.elapsed());
    Ok(records)
}

/// When a register was made, by its root element alone.
///
/// # Errors
/// As for [`read_file`], as far as the root element tells.
pub(super) fn updated(path: &Path, shape: Shape) -> Result<Option<i64>, Problem> {
    let read = with_bytes(path, 0, |bytes, _| {
        let mut parser = Parser::new(Transcoder::peek(bytes), false);
        match parser.next()? {
            Some(Item::Root(root)) => check(&root, shape),
            _ => Err(Fault::Truncated(0)),
        }
    });
    read.map_err(|fault| fault.problem(path))
}

struct Ahead(Receiver<Result<Block, Fault>>);

impl Blocks for Ahead {
    fn next(&mut self) -> Result<Block, Fault> {
        // A sender that is gone has sent an empty block or a fault before.
        self.0.recv().unwrap_or_else(|_| Ok(Block::default()))
    }
}

/// Calls `take` with the blocks of a file.
fn ahead(
    path: &Path,
    progress: Progress,
    take: impl FnOnce(Ahead) -> Result<Contents, Fault>,
) -> Result<Contents, Fault> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let decoder = scope.spawn(move || decode(path, progress, &sender));
        let taken = take(Ahead(receiver));
        let charset = decoder.join().ok().flatten();
        let mut contents = taken?;
        contents.charset = charset.unwrap_or(Charset::Utf8);
        Ok(contents)
    })
}

fn decode(
    path: &Path,
    progress: Progress,
    sender: &SyncSender<Result<Block, Fault>>,
) -> Option<Charset> {
    let read = with_bytes(path, 0, |bytes, size| {
        let bar = progress.start(path, size);
        let mut transcoder = Transcoder::new(bytes);
        loop {
            let block = transcoder.block()?;
            bar.at(block.raw);
            let last = block.text.is_empty();
            if sender.send(Ok(block)).is_err() || last {
                break;
            }
        }
        bar.done();
        Ok(transcoder.charset())
    });
    match read {
        Ok(charset) => charset,
        Err(fault) => {
            // Nobody listens to it where the parser has given up already.
            let _ = sender.send(Err(fault));
            None
        }
    }
}

fn whole(blocks: Ahead, shape: Shape, keeper: &mut Gatherer<'_, '_>) -> Result<Contents, Fault> {
    let mut parser = Parser::new(blocks, false);
    let updated = match parser.next()? {
        Some(Item::Root(root)) => check(&root, shape)?,
        _ => return Err(Fault::Truncated(0)),
    };
    let mut places: Vec<(u32, u64)> = Vec::new();
    let mut deleted = Vec::new();
    while let Some(item) = parser.next()? {
        match item {
            Item::Content => {
                if let Some(id) = keeper.content(&parser.content) {
                    places.push((id, parser.content.at));
                }
            }
            Item::Delete(_) if shape != Shape::Delta => return Err(Fault::Delta),
            Item::Delete(Some(id)) => deleted.push(id),
            Item::Delete(None) => {
                keeper.refuse(parser.line, "<delete>", "id is no number below 2^32")
            }
            Item::Unknown(name) => {
                keeper.refuse(parser.line, &format!("<{name}>"), "element is not known")
            }
            Item::Root(_) => {}
        }
    }
    places.sort_unstable();
    deleted.sort_unstable();
    Ok(Contents {
        updated,
        hidden: Vec::new(),
        ids: places.iter().map(|(id, _)| *id).collect(),
        places: places.iter().map(|(_, at)| *at).collect(),
        deleted,
        blocks: parser.take_starts(),
        charset: Charset::Utf8,
    })
}

/// Whether the root element is that of a document that is read here; when it was made.
fn check(root: &Root, shape: Shape) -> Result<Option<i64>, Fault> {
    let wanted = match shape {
        Shape::Dump | Shape::Delta => "register",
        Shape::Social => "registerSocResources",
    };
    if root.name != wanted {
        let found = root.name.clone();
        return Err(Fault::Root { found, wanted });
    }
    // The register of socially significant sites may go without.
    if shape != Shape::Social || !root.version.is_empty() {
        let major = root.version.split('.').next().unwrap_or_default();
        let major: Option<u32> = major.trim().parse().ok();
        let known = match shape {
            Shape::Social => major.is_some_and(|major| major <= MAJOR),
            _ => major == Some(MAJOR),
        };
        if !known {
            return Err(Fault::Version(format!("\"{}\"", root.version)));
        }
    }
    if root.update_time.is_empty() && shape == Shape::Social {
        return Ok(None);
    }
    match seconds(root.update_time.trim()) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Fault::Time(format!("\"{}\"", root.update_time))),
    }
}

/// Seconds since 1970 of a time as RFC 3339 has it, or without a zone: Moscow's.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_second());
    }
    let time: jiff::civil::DateTime = text.parse().ok()?;
    let utc = jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?;
    utc.as_second().checked_sub(MOSCOW_SECONDS)
}
