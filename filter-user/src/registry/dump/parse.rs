//! Records out of a register's XML, one after the other, in bounded memory: attributes, children and
//! white space in any order and number.

use std::io::BufRead as _;

use quick_xml::Reader;
use quick_xml::errors::SyntaxError;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use super::fault::Fault;
use super::text::{Blocks, Text};

/// Elements within elements. A register has three levels.
const DEPTH_MAX: usize = 16;
/// Values of one record. The largest of the real ones have some hundreds.
const VALUES_MAX: usize = 1 << 16;
/// Bytes of all values of one record.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// Records of a register.
const RECORDS_MAX: u32 = 1 << 24;

/// A child of a record that says what it lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Url,
    Domain,
    Ip,
    IpSubnet,
    Ipv6,
    Ipv6Subnet,
    /// Name of a resource, for people.
    Name,
}

impl Element {
    fn of(name: &str) -> Option<Element> {
        Some(match name {
            "url" => Element::Url,
            "domain" => Element::Domain,
            "ip" => Element::Ip,
            "ipSubnet" => Element::IpSubnet,
            "ipv6" => Element::Ipv6,
            "ipv6Subnet" => Element::Ipv6Subnet,
            "resourceName" => Element::Name,
            _ => return None,
        })
    }

    /// Its name in the register.
    pub(super) fn label(self) -> &'static str {
        match self {
            Element::Url => "url",
            Element::Domain => "domain",
            Element::Ip => "ip",
            Element::IpSubnet => "ipSubnet",
            Element::Ipv6 => "ipv6",
            Element::Ipv6Subnet => "ipv6Subnet",
            Element::Name => "resourceName",
        }
    }
}

/// The root element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Root {
    /// Its name without the prefix.
    pub(super) name: String,
    /// `updateTime`.
    pub(super) update_time: String,
    /// `formatVersion`.
    pub(super) version: String,
}

/// One `<content>`.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Offset of its `<` in the decoded text.
    pub(super) at: u64,
    /// Line of its `<` in the text, counted from 1.
    pub(super) line: u32,
    /// `id`; `None`: it is no number of 32 bits.
    pub(super) id: Option<u32>,
    /// `id` as it stands there.
    pub(super) id_text: String,
    /// `blockType`; empty: none.
    pub(super) block_type: String,
    /// `includeTime`.
    pub(super) include_time: String,
    /// `entryType`.
    pub(super) entry_type: String,
    /// `date`, `number` and `org` of the decision.
    pub(super) decision: [String; 3],
    /// Name of the first child that is not known.
    pub(super) unknown: Option<String>,
    text: String,
    values: Vec<(Element, usize, usize)>,
}

impl Content {
    /// What it lists, in its order, without white space around.
    pub(super) fn values(&self) -> impl Iterator<Item = (Element, &str)> {
        self.values.iter().map(|(element, from, to)| {
            let value = self.text.get(*from..*to).unwrap_or_default();
            (*element, value.trim())
        })
    }

    fn clear(&mut self, at: u64, line: u32) {
        self.at = at;
        self.line = line;
        self.id = None;
        self.unknown = None;
        let [date, number, org] = &mut self.decision;
        for text in [
            &mut self.id_text,
            &mut self.block_type,
            &mut self.include_time,
            &mut self.entry_type,
            &mut self.text,
            date,
            number,
            org,
        ] {
            text.clear();
        }
        self.values.clear();
    }
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// The root element begins.
    Root(Root),
    /// A record ends: it is in [`Parser::content`].
    Content,
    /// A record is removed; `None`: its id is no number of 32 bits.
    Delete(Option<u32>),
    /// Something else stands between the records.
    Unknown(String),
}

/// Reads a register.
pub(super) struct Parser<B: Blocks> {
    reader: Reader<Text<B>>,
    buffer: Vec<u8>,
    /// The record that was read last.
    pub(super) content: Content,
    /// Names of the elements that are open.
    depth: usize,
    root_seen: bool,
    records: u32,
    /// The child of a record that is open: where its text begins.
    open: Option<(Element, usize)>,
    /// A `<delete>` is open.
    deleting: Option<String>,
    /// Within a `<content>`.
    inside: bool,
    /// Keep what only people read.
    for_people: bool,
    /// Line at which the event in hand begins, counted from 1.
    pub(super) line: u32,
}

impl<B: Blocks> Parser<B> {
    /// With `for_people` times and decisions of records are kept.
    pub(super) fn new(blocks: B, for_people: bool) -> Self {
        Parser {
            reader: Reader::from_reader(Text::new(blocks)),
            buffer: Vec::new(),
            content: Content::default(),
            depth: 0,
            root_seen: false,
            records: 0,
            open: None,
            deleting: None,
            inside: false,
            for_people,
            line: 1,
        }
    }

    /// From an offset within a register on: as if a root element had just begun. `skip`: bytes of the
    /// decoded text in front of the record.
    pub(super) fn within(blocks: B, skip: u64) -> Result<Self, Fault> {
        let mut parser = Parser::new(blocks, true);
        let mut left = skip;
        let text = parser.reader.get_mut();
        while left > 0 {
            text.next_event();
            let here = text.fill_buf().map_or(0, <[u8]>::len) as u64;
            if here == 0 {
                return Err(text.fault().unwrap_or(Fault::Truncated(0)));
            }
            let step = here.min(left);
            text.consume(usize::try_from(step).unwrap_or(usize::MAX));
            left -= step;
        }
        parser.depth = 1;
        parser.root_seen = true;
        Ok(parser)
    }

    /// Offsets in the file and in the decoded text of all blocks.
    pub(super) fn take_starts(&mut self) -> Vec<(u64, u64)> {
        self.reader.get_mut().take_starts()
    }

    /// The next item; `None` behind the end of the root element.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Fault> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.step(&mut buffer);
        self.buffer = buffer;
        result
    }

    fn step(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Item>, Fault> {
        loop {
            buffer.clear();
            self.reader.get_mut().next_event();
            self.line = self.reader.get_ref().line();
            let at = self.reader.buffer_position();
            let event = match self.reader.read_event_into(buffer) {
                Ok(event) => event,
                Err(error) => return Err(self.fault(&error)),
            };
            let item = match &event {
                Event::Start(start) => {
                    self.depth += 1;
                    self.start(start, at)?
                }
                Event::Empty(start) => {
                    self.depth += 1;
                    match self.start(start, at)? {
                        Some(item) => {
                            // A root without records.
                            self.depth -= 1;
                            Some(item)
                        }
                        None => self.end(),
                    }
                }
                Event::End(_) => self.end(),
                Event::Text(text) => {
                    self.text(text, at)?;
                    None
                }
                Event::CData(text) => {
                    self.text(text, at)?;
                    None
                }
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref();
                    let character = character.map_err(|error| self.fault(&error))?;
                    let mut bytes = [0; 4];
                    let text = match &character {
                        Some(character) => Some(&*character.encode_utf8(&mut bytes)),
                        None => resolve_predefined_entity(reference),
                    };
                    let text = text.ok_or_else(|| self.ill("an entity that is not defined"))?;
                    self.text(text, at)?;
                    None
                }
                Event::DocType(_) => return Err(self.ill("a document type definition")),
                Event::Eof if self.root_seen && self.depth == 0 => return Ok(None),
                Event::Eof => return Err(Fault::Truncated(self.content.id.unwrap_or(0))),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => None,
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    fn start(&mut self, start: &BytesStart<'_>, at: u64) -> Result<Option<Item>, Fault> {
        let name = start.local_name().into_inner();
        match self.depth {
            1 if self.root_seen => return Err(self.ill("a second root element")),
            1 => {
                self.root_seen = true;
                return self.root(start, name).map(Some);
            }
            2 if name == "content" => {
                self.records += 1;
                if self.records > RECORDS_MAX {
                    return Err(Fault::TooMuch("16,777,216 records"));
                }
                self.begin(start, at)?;
            }
            2 if name == "delete" => {
                let mut id = String::new();
                self.attributes(start, |key, value| {
                    if key == "id" {
                        value.clone_into(&mut id);
                    }
                })?;
                self.deleting = Some(id);
            }
            2 => return Ok(Some(Item::Unknown(name.to_owned()))),
            3 if self.inside => self.child(start, name)?,
            DEPTH_MAX.. => return Err(Fault::TooMuch("16 levels of elements")),
            _ => {}
        }
        Ok(None)
    }

    fn root(&mut self, start: &BytesStart<'_>, name: &str) -> Result<Item, Fault> {
        let mut root = Root {
            name: name.to_owned(),
            ..Root::default()
        };
        self.attributes(start, |key, value| match key {
            "updateTime" => value.clone_into(&mut root.update_time),
            "formatVersion" => value.clone_into(&mut root.version),
            _ => {}
        })?;
        Ok(Item::Root(root))
    }

    fn begin(&mut self, start: &BytesStart<'_>, at: u64) -> Result<(), Fault> {
        let mut content = std::mem::take(&mut self.content);
        content.clear(at, self.line);
        self.inside = true;
        let for_people = self.for_people;
        let (mut ids, mut block_types) = (0, 0);
        let read = self.attributes(start, |key, value| match key {
            "id" => {
                ids += 1;
                content.id = id_of(value);
                content.id_text.push_str(value);
            }
            "blockType" => {
                block_types += 1;
                content.block_type.push_str(value.trim());
            }
            "includeTime" if for_people => content.include_time.push_str(value),
            "entryType" if for_people => content.entry_type.push_str(value),
            _ => {}
        });
        self.content = content;
        // Of two the one that counts would be anybody's guess.
        if ids > 1 || block_types > 1 {
            return Err(self.ill("an attribute that stands twice"));
        }
        read
    }

    fn child(&mut self, start: &BytesStart<'_>, name: &str) -> Result<(), Fault> {
        if let Some(element) = Element::of(name) {
            if self.content.values.len() >= VALUES_MAX {
                return Err(Fault::TooMuch("65,536 values in a record"));
            }
            self.open = Some((element, self.content.text.len()));
        } else if name == "decision" {
            if self.for_people {
                let mut decision = std::mem::take(&mut self.content.decision);
                let [date, number, org] = &mut decision;
                // What nobody but people reads refuses no record: that much is shown.
                let _ = self.attributes(start, |key, value| match key {
                    "date" => value.clone_into(date),
                    "number" => value.clone_into(number),
                    "org" => value.clone_into(org),
                    _ => {}
                });
                self.content.decision = decision;
            }
        } else {
            let unknown = &mut self.content.unknown;
            unknown.get_or_insert_with(|| name.to_owned());
        }
        Ok(())
    }

    fn end(&mut self) -> Option<Item> {
        self.depth = self.depth.saturating_sub(1);
        match self.depth {
            1 if self.inside => {
                self.inside = false;
                Some(Item::Content)
            }
            1 => {
                let id = self.deleting.take()?;
                Some(Item::Delete(id_of(&id)))
            }
            2 => {
                let (element, from) = self.open.take()?;
                let to = self.content.text.len();
                self.content.values.push((element, from, to));
                None
            }
            _ => None,
        }
    }

    fn text(&mut self, text: &str, at: u64) -> Result<(), Fault> {
        if self.open.is_some() {
            if self.depth == 3 {
                self.content.text.push_str(text);
            }
            if self.content.text.len() > RECORD_BYTES_MAX {
                return Err(Fault::TooMuch("4 MiB in a record"));
            }
        } else if let Some(id) = &mut self.deleting {
            id.push_str(text);
        } else if self.depth == 0 && !text.trim_start_matches('\u{feff}').trim().is_empty() {
            return Err(Fault::Xml {
                at,
                record: self.content.id.unwrap_or(0),
                what: "text outside the root element".to_owned(),
            });
        }
        Ok(())
    }

    fn attributes(
        &self,
        start: &BytesStart<'_>,
        mut each: impl FnMut(&str, &str),
    ) -> Result<(), Fault> {
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| self.ill(error.to_string()))?;
            let key = attribute.key.local_name().into_inner();
            if attribute.value.contains(['&', '\n', '\t', '\r']) {
                let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0);
                each(key, &value.map_err(|error| self.fault_of(&error))?);
            } else {
                each(key, &attribute.value);
            }
        }
        Ok(())
    }

    fn fault(&mut self, error: &quick_xml::Error) -> Fault {
        match self.reader.get_mut().fault() {
            Some(fault) => fault,
            None => self.fault_of(error),
        }
    }

    fn fault_of(&self, error: &quick_xml::Error) -> Fault {
        match error {
            quick_xml::Error::Syntax(what) if *what != SyntaxError::InvalidBangMarkup => {
                Fault::Truncated(self.content.id.unwrap_or(0))
            }
            error => self.ill(error.to_string()),
        }
    }

    fn ill(&self, what: impl Into<String>) -> Fault {
        Fault::Xml {
            at: self.reader.buffer_position(),
            record: self.content.id.unwrap_or(0),
            what: what.into(),
        }
    }
}

/// An id as a number.
fn id_of(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}
