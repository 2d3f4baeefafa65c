//! The text formats: a line in, the rules that it holds, or why it is refused, out. What a rule cannot say
//! faithfully as an entry is refused whole: nothing is applied half.

pub mod adguard;
pub mod dnsmasq;
pub mod e2guardian;
pub mod extfilter;
pub mod hosts;
pub mod rpz;
pub mod squidguard;
pub mod tree;
pub mod unbound;
pub mod v2fly;

use std::net::IpAddr;
use std::sync::Arc;

use super::dump::Xml;
use super::education::Words;
use super::lines::LINE_BYTES_MAX;
use crate::normalise::{Refusal, strip};

/// Syntax of a file's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// One subject a line.
    #[default]
    Plain,
    /// `/etc/hosts`: an address that leads nowhere, and names.
    Hosts,
    /// DNS rules of AdGuard.
    Adguard,
    /// A response policy zone.
    Rpz,
    /// Options of dnsmasq.
    Dnsmasq,
    /// Options of unbound.
    Unbound,
    /// A file of v2fly's collection, with what is taken of it.
    V2fly(v2fly::Wanted),
    /// A site, URL or address list of e2guardian.
    E2guardian,
    /// The address list of extfilter, with ports.
    ExtfilterHosts,
    /// The education registry, with the words of its records.
    Education(Arc<Words>),
    /// A register in XML.
    Xml(Xml),
}

impl Syntax {
    /// How a register in XML is read.
    #[must_use]
    pub fn xml(&self) -> Option<Xml> {
        match self {
            Syntax::Xml(xml) => Some(*xml),
            _ => None,
        }
    }

    /// Whether the file's records have categories of their own, so that it is a source for each set of them.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        matches!(self, Syntax::Education(_))
    }
}

/// Which names a rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// As the registry's `semantics` says; `*.name` and `.name` are suffixes.
    Bare,
    /// The name alone.
    Exact,
    /// The name and everything below it.
    Suffix,
    /// Everything below the name: an entry only where another rule lists the name itself.
    Below,
}

/// How far an exception reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Over every rule that it covers.
    Covered,
    /// Over rules of the same subject.
    Subject,
    /// Over the very same rule.
    Rule,
    /// Over entries above it that give way to it ([`Rule::yields`]).
    Above,
    /// Over nothing, as the list itself prefers the narrower of two rules: where an entry covers it, that is told.
    Nothing,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Lists its subject.
    Entry,
    /// Takes back what is listed.
    Exception(Reach),
}

/// One rule of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Its subject, for the normaliser.
    pub subject: &'a str,
    /// Which names it means.
    pub scope: Scope,
    /// What it does.
    pub effect: Effect,
    /// Goes before rules without this mark.
    pub important: bool,
    /// Holds only where no name of it is answered by the list itself.
    pub yields: bool,
}

impl<'a> Rule<'a> {
    /// A name that is to stay open, whatever is listed above it.
    #[must_use]
    pub fn open(subject: &'a str) -> Self {
        Rule {
            effect: Effect::Exception(Reach::Nothing),
            ..Rule::entry(subject, Scope::Bare)
        }
    }

    /// An entry.
    #[must_use]
    pub fn entry(subject: &'a str, scope: Scope) -> Self {
        Rule {
            subject,
            scope,
            effect: Effect::Entry,
            important: false,
            yields: false,
        }
    }
}

/// Takes what a line holds: its number, its text, and each of its rules or why it is refused.
pub type Emit<'e> = &'e mut dyn FnMut(u32, &str, Result<Rule<'_>, Refusal>);

/// Takes the rules of one line.
pub type Rules<'e> = &'e mut dyn FnMut(Rule<'_>);

/// A reader of one file's lines.
#[derive(Debug)]
pub enum Parser<'a> {
    /// Every line stands for itself.
    Lines(&'a Syntax),
    /// Lines belong together.
    Zone(Box<rpz::Zone>),
}

impl<'a> Parser<'a> {
    /// A reader at the start of a file.
    #[must_use]
    pub fn new(syntax: &'a Syntax) -> Self {
        match syntax {
            Syntax::Rpz => Parser::Zone(Box::default()),
            _ => Parser::Lines(syntax),
        }
    }

    /// Reads the next line.
    pub fn line(&mut self, number: u32, raw: &[u8], emit: Emit<'_>) {
        if raw.len() >= LINE_BYTES_MAX && !is_comment(raw) {
            emit(
                number,
                &String::from_utf8_lossy(raw),
                Err(Refusal::LineTooLong),
            );
            return;
        }
        let Parser::Lines(syntax) = self else {
            if let Parser::Zone(zone) = self {
                zone.line(number, raw, emit);
            }
            return;
        };
        let raw = match syntax {
            Syntax::Plain => strip(raw),
            _ => without_mark(raw).trim_ascii(),
        };
        let Ok(text) = std::str::from_utf8(raw) else {
            if !is_comment(raw) {
                emit(number, &String::from_utf8_lossy(raw), Err(Refusal::NotUtf8));
            }
            return;
        };
        let mut each = |rule: Rule<'_>| emit(number, text, Ok(rule));
        if let Err(refusal) = rules(syntax, text, &mut each) {
            emit(number, text, Err(refusal));
        }
    }

    /// The file has no more lines.
    pub fn finish(&mut self, emit: Emit<'_>) {
        if let Parser::Zone(zone) = self {
            zone.finish(emit);
        }
    }
}

/// The rules of a line that stands for itself.
///
/// # Errors
/// Why it is not applied; what it leaves open is told all the same.
pub fn rules(syntax: &Syntax, text: &str, each: Rules<'_>) -> Result<(), Refusal> {
    match syntax {
        Syntax::Plain => {
            if !text.is_empty() {
                each(Rule::entry(text, Scope::Bare));
            }
            Ok(())
        }
        Syntax::Hosts => hosts::rules(text, each),
        Syntax::Adguard => adguard::rules(text, each),
        Syntax::Dnsmasq => dnsmasq::rules(text, each),
        Syntax::Unbound => unbound::rules(text, each),
        Syntax::V2fly(wanted) => v2fly::rules(text, wanted, each),
        Syntax::E2guardian => e2guardian::rules(text, each),
        Syntax::ExtfilterHosts => extfilter::rules(text, each),
        // Their lines do not stand for themselves.
        Syntax::Rpz | Syntax::Education(_) | Syntax::Xml(_) => Err(Refusal::Syntax),
    }
}

fn without_mark(raw: &[u8]) -> &[u8] {
    raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw)
}

fn is_comment(raw: &[u8]) -> bool {
    matches!(
        without_mark(raw).trim_ascii_start().first(),
        Some(b'#' | b'!' | b';')
    )
}

/// Without a comment that begins with `#` at the start or behind white space.
fn without_comment(text: &str) -> &str {
    let bytes = text.as_bytes();
    let starts = |at: usize| {
        at.checked_sub(1)
            .is_none_or(|before| matches!(bytes.get(before), Some(b' ' | b'\t')))
    };
    let found = text
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| starts(*at));
    found
        .and_then(|at| text.get(..at))
        .unwrap_or(text)
        .trim_ascii()
}

/// Whether an answer with this address is what lists use for a block.
fn leads_nowhere(address: IpAddr) -> bool {
    address.is_unspecified() || address.is_loopback()
}

/// Refuses what stands for a name and is none: an address, which a resolver is never asked for by name, a
/// wildcard, or a dot in front, which the normaliser takes for one.
fn check_name(text: &str) -> Result<(), Refusal> {
    if text.contains('*') {
        Err(Refusal::Wildcard)
    } else if text.starts_with('.') || text.parse::<IpAddr>().is_ok() {
        Err(Refusal::NotName)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
