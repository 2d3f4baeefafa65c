//! What stands behind an entry, read from its file when somebody asks: nothing of it is kept.

use ipnet::IpNet;

use super::{RECORD_BY_HOST, Source, Syntax, dump, education, lines, stamp};
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
        Syntax::Xml(xml) => {
            let found = look_up_in(source, line, true);
            let note = if is_by_host(source, line, wanted) {
                ": https URL applied as its whole host"
            } else {
                ""
            };
            let text = found
                .as_ref()
                .map(|record| format!("{}{note}", record.text));
            let decision = found.filter(|_| xml.shape.has_decisions());
            (text, decision.map(|record| record.decision))
        }
        _ => (lines::line_of(&reading.path, line).ok().flatten(), None),
    }
}

/// The decision behind an entry of a register in XML, where one seek finds it: not in an archive.
#[must_use]
pub fn decision(source: &Source, line: u32) -> Option<Decision> {
    let reading = &source.file.reading;
    let xml = reading.syntax.xml()?;
    let untouched = stamp(&reading.path).is_ok_and(|now| now == source.file.stamp);
    if !xml.shape.has_decisions() || !untouched {
        return None;
    }
    look_up_in(source, line, false).map(|record| record.decision)
}

fn look_up_in(source: &Source, line: u32, unpack: bool) -> Option<dump::Shown> {
    let contents = source.file.contents.as_ref()?;
    dump::look_up(&source.file.reading.path, contents, line, unpack)
}

fn is_by_host(source: &Source, line: u32, wanted: Wanted) -> bool {
    let Wanted::Key(key) = wanted else {
        return false;
    };
    let records = source.with_key(key);
    let mut here = records.iter().filter(|record| record.line == line);
    here.any(|record| record.flags & RECORD_BY_HOST != 0)
}
