//! A record of a register, read again from its place in the file for a person to see.

use std::fs::File;
use std::path::Path;

use super::parse::{Item, Parser};
use super::source::{is_zip, with_bytes};
use super::text::Transcoder;
use super::{Contents, Shape};
use crate::entries::Decision;

/// A record as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What it is, in a line.
    pub text: String,
    /// By whose decision it is listed.
    pub decision: Decision,
}

/// Reads a record again. `None`: it is not where it was, or stands in an archive and `unpack` is not
/// set, as everything in front of it has to be unpacked then (a second for a register of 300 MB).
#[must_use]
pub fn look_up(path: &Path, contents: &Contents, id: u32, unpack: bool) -> Option<Shown> {
    let at = contents.ids.partition_point(|known| *known < id);
    let place = *contents.places.get(at)?;
    let block = contents
        .blocks
        .partition_point(|(_, start)| *start <= place);
    let (raw, start) = *contents.blocks.get(block.checked_sub(1)?)?;
    if !unpack && is_zip(&mut File::open(path).ok()?).ok()? {
        return None;
    }
    let read = with_bytes(path, raw, |bytes, _| {
        let blocks = Transcoder::within(bytes, contents.charset, raw);
        let mut parser = Parser::within(blocks, place - start)?;
        let item = parser.next()?;
        Ok((item == Some(Item::Content)).then_some(parser.content))
    });
    let content = read.ok().flatten()?;
    let [date, number, body] = content.decision.clone();
    (content.id == Some(id)).then(|| Shown {
        text: line(&content),
        decision: Decision {
            record: content.id_text,
            date,
            number,
            body,
        },
    })
}

/// `record 100003, included 2026-01-11T00:00:00, article 15.6, domain-mask`.
fn line(content: &super::parse::Content) -> String {
    let mut text = format!("record {}", content.id_text);
    let mut add = |what: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(", ");
            text.push_str(what);
            text.push_str(value);
        }
    };
    add("included ", &content.include_time);
    match article(&content.entry_type) {
        Some(article) => add("article ", article),
        None => add("entryType ", &content.entry_type),
    }
    add("", &content.block_type);
    text
}

/// Article of the Federal Law 149-FZ that an entryType stands for.
fn article(entry_type: &str) -> Option<&'static str> {
    Some(match entry_type {
        "1" => "15.1",
        "2" => "15.2",
        "3" => "15.3",
        "4" => "15.4",
        "5" => "15.6",
        "6" => "15.5",
        "7" => "15.8",
        "8" => "15.9",
        _ => return None,
    })
}

impl Shape {
    /// Whether its records are listed by somebody's decision.
    #[must_use]
    pub fn has_decisions(self) -> bool {
        self != Shape::Social
    }
}
