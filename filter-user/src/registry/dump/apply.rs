//! What a record lists, by its blockType, as subjects.
//!
//! | blockType | applied |
//! |---|---|
//! | none, `default` | its URLs; without any its domains; without those its addresses; prefixes always |
//! | `domain` | its domains, those names alone |
//! | `domain-mask` | its domains with everything below |
//! | `ip` | its addresses and prefixes |
//! | `custom` | all that it has |
//!
//! Addresses beside URLs or domains are information. A domain that is written with `*.` in front means
//! everything below, whatever the blockType.

use super::parse::{Content, Element};
use super::{Contents, Hidden, Shape, Xml};
use crate::normalise::{self, Accept, Refusal, Subject};
use crate::registry::keep::{Keeper, Listener, Rejects};
use crate::registry::{FileRecords, RECORD_BY_HOST, Reading, Stamp};

/// What is applied of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Applied {
    pub(in crate::registry) urls: bool,
    pub(in crate::registry) domains: bool,
    pub(in crate::registry) below: bool,
    pub(in crate::registry) addresses: bool,
    pub(in crate::registry) nets: bool,
}

const NOTHING: Applied = Applied {
    urls: false,
    domains: false,
    below: false,
    addresses: false,
    nets: false,
};

impl Applied {
    /// `None`: the blockType is not known.
    fn of(content: &Content) -> Option<Applied> {
        let has = |wanted: Element| content.values().any(|(element, _)| element == wanted);
        Some(match content.block_type.as_str() {
            "" | "default" => {
                let urls = has(Element::Url);
                let domains = !urls && has(Element::Domain);
                Applied {
                    urls,
                    domains,
                    addresses: !urls && !domains,
                    nets: true,
                    ..NOTHING
                }
            }
            "domain" => Applied {
                domains: true,
                ..NOTHING
            },
            "domain-mask" => Applied {
                domains: true,
                below: true,
                ..NOTHING
            },
            "ip" => Applied {
                addresses: true,
                nets: true,
                ..NOTHING
            },
            "custom" => Applied {
                urls: true,
                domains: true,
                addresses: true,
                nets: true,
                ..NOTHING
            },
            _ => return None,
        })
    }

    fn takes(self, element: Element) -> bool {
        match element {
            Element::Url => self.urls,
            Element::Domain => self.domains,
            Element::Ip | Element::Ipv6 => self.addresses,
            Element::IpSubnet | Element::Ipv6Subnet => self.nets,
            Element::Name => false,
        }
    }
}

/// Gathers what records list.
pub(super) struct Gatherer<'a, 's> {
    reading: &'a Reading,
    keeper: Keeper<'a, 's>,
    rejects: Rejects<'s>,
    xml: Xml,
    hidden: Vec<u32>,
    /// Line at which the record in hand begins.
    line: u32,
}

/// A register is its keeper's: whoever loads it has no line to correct.
const REMEDY: &str = "tell the register's keeper; all else is applied";

impl<'a, 's> Gatherer<'a, 's> {
    pub(super) fn new(reading: &'a Reading, xml: Xml, listener: Listener<'s>) -> Self {
        Gatherer {
            reading,
            keeper: Keeper::new(reading, listener.kept),
            rejects: Rejects::new(&reading.path, listener.rejected),
            xml,
            hidden: Vec::new(),
            line: 0,
        }
    }

    /// Takes a record; its id, if it has one. A record without is not applied, as no delta could
    /// replace it.
    pub(super) fn content(&mut self, content: &Content) -> Option<u32> {
        self.line = content.line;
        let Some(id) = content.id else {
            self.refuse(self.line, &record(content), "id is no number below 2^32");
            return None;
        };
        if let Some(name) = &content.unknown {
            let what = format!("{}, <{name}>", record(content));
            self.refuse(self.line, &what, "element is not known");
        }
        let applied = match self.xml.shape {
            Shape::Social => Some(crate::registry::social::APPLIED),
            Shape::Dump | Shape::Delta => None,
        };
        let Some(applied) = applied.or_else(|| Applied::of(content)) else {
            let what = format!("{}, blockType \"{}\"", record(content), content.block_type);
            self.refuse(self.line, &what, "blockType is not known");
            return Some(id);
        };
        let mut any = false;
        for (element, value) in content.values() {
            if applied.takes(element) {
                any = true;
                self.value(id, element, value, applied.below);
            }
        }
        if !any {
            self.refuse(
                self.line,
                &record(content),
                "record has nothing that its blockType applies",
            );
        }
        Some(id)
    }

    fn value(&mut self, id: u32, element: Element, value: &str, below: bool) {
        let accept = match element {
            Element::Url => Accept::Urls,
            Element::Domain => Accept::Names,
            _ => Accept::Addresses,
        };
        let guards = self.reading.guards;
        let read = match normalise::field(value, accept, guards) {
            Err(Refusal::NotHttp) => {
                self.hidden.push(id);
                if self.xml.hidden == Hidden::Skip {
                    return;
                }
                let host = normalise::field(value, Accept::Names, guards);
                host.map(|host| (host, RECORD_BY_HOST))
            }
            read => read.map(|subject| (subject, 0)),
        };
        let kept = read.and_then(|(mut subject, flags)| {
            if let Subject::Name { suffix, .. } = &mut subject {
                *suffix |= below;
            }
            self.keeper.take_as(id, &subject, flags)
        });
        self.rejects.counts.read += 1;
        if let Err(refusal) = kept {
            let value: String = value.chars().take(80).collect();
            let what = format!("record {id}, {} \"{value}\"", element.label());
            let remedy = match refusal {
                Refusal::NotPublic => {
                    "nothing is to be done: such addresses are never filtered by a registry; all else is applied"
                }
                _ => REMEDY,
            };
            self.note(self.line, &what, refusal.what(), remedy);
        }
    }

    /// Counts something that is not applied, and keeps it as a problem.
    pub(super) fn refuse(&mut self, line: u32, whose: &str, why: &str) {
        self.rejects.counts.read += 1;
        self.note(line, whose, why, REMEDY);
    }

    fn note(&mut self, line: u32, whose: &str, why: &str, remedy: &str) {
        self.rejects
            .reject(line, why, format!("{whose}: {why}"), remedy);
    }

    pub(super) fn finish(self, stamp: Stamp, mut contents: Contents) -> FileRecords {
        contents.hidden = self.hidden;
        let mut rejects = self.rejects;
        let kept = self.keeper.finish(&mut rejects);
        let mut counts = rejects.counts;
        (counts.kept, counts.duplicate) = (kept.kept, kept.duplicate);
        let mut file = FileRecords::new(self.reading, stamp, kept.records, kept.nets, counts);
        file.rejected = rejects.first;
        file.contents = Some(contents);
        file
    }
}

fn record(content: &Content) -> String {
    let id: String = content.id_text.chars().take(20).collect();
    format!("record {id}")
}
