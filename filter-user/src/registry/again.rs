//! What stands behind an entry, read from its file when somebody asks: nothing of it is kept.

use ipnet::IpNet;

use super::{Source, Syntax, education, lines, stamp};
use crate::entries::Decision;

/// Which entry of a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A name, an address or a URL, by its key.
    Key(u64),
    /// A prefix.
    Net(IpNet),
}

/// The text of an entry and the decision behind it, where its file has not changed since it was read.
#[must_use]
pub fn shown(source: &Source, line: u32, wanted: Wanted) -> (Option<String>, Option<Decision>) {
    let reading = &source.file.reading;
    if !stamp(&reading.path).is_ok_and(|now| now == source.file.stamp) {
        return (None, None);
    }
    match &reading.syntax {
        Syntax::Education(words) => match education::find(reading, words, line, wanted) {
            Some((text, decision)) => (Some(text), decision),
            None => (None, None),
        },
        _ => (lines::line_of(&reading.path, line).ok().flatten(), None),
    }
}
