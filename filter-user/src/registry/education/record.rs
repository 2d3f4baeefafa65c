//! One record: what its fields must be, and what they mean.

use std::borrow::Cow;

use super::{Words, date};
use crate::categories::AGES;
use crate::entries::Decision;
use crate::normalise::{self, Accept, Guards, Refusal, Subject};
use crate::problem::nearest;
use crate::registry::formats::Scope;
use crate::registry::keep::shown;

/// Longest id, in characters.
const ID_MAX: usize = 64;
/// Longest number and body of a decision, in characters.
const DECISION_MAX: usize = 256;

/// Faults of one record that are told.
const FAULTS_MAX: usize = 8;

/// The words of `type`, with what a subject may then be.
pub const KINDS: [(&str, Kind); 5] = [
    ("domain", Kind::Domain),
    ("suffix", Kind::Suffix),
    ("url", Kind::Url),
    ("address", Kind::Address),
    ("prefix", Kind::Prefix),
];

/// What a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name alone.
    Domain,
    /// A name and everything below it.
    Suffix,
    /// A page of plain HTTP; with `*` at its end everything below.
    Url,
    /// An address.
    Address,
    /// A prefix.
    Prefix,
}

/// The fields of a record, as they stand in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// Id of the record.
    pub id: Cow<'a, str>,
    /// What it lists.
    pub subject: Cow<'a, str>,
    /// What that is: a word of [`KINDS`].
    pub kind: Cow<'a, str>,
    /// Ids of its categories.
    pub categories: Vec<Cow<'a, str>>,
    /// Age mark; empty: none.
    pub age: Cow<'a, str>,
    /// Day of the decision.
    pub date: Cow<'a, str>,
    /// Number of the decision.
    pub number: Cow<'a, str>,
    /// Who decided.
    pub body: Cow<'a, str>,
    /// Day of inclusion.
    pub since: Cow<'a, str>,
}

/// Why a record is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// What is counted.
    pub(super) reason: &'static str,
    /// What is wrong with this record.
    pub(super) what: String,
    /// What to do.
    pub(super) remedy: String,
}

impl Fault {
    fn new(reason: &'static str, detail: &str, remedy: impl Into<String>) -> Self {
        Fault {
            reason,
            what: format!("{reason}{detail}"),
            remedy: remedy.into(),
        }
    }

    /// A line that is no record.
    pub(super) fn line(why: &str) -> Self {
        Fault::new("no record", &format!(": {why}"), "correct the line")
    }

    /// A record of other fields than there must be.
    pub(super) fn fields(why: String) -> Self {
        Fault::new("wrong fields", &format!(": {why}"), "correct the record")
    }

    /// A record whose id was there before.
    pub(super) fn twice(id: &str) -> Self {
        let detail = format!(" {}", shown(id));
        Fault::new(
            "id is there twice:",
            &detail,
            "give every record an id of its own",
        )
    }

    /// A subject that is refused when it is kept.
    pub(super) fn of_subject(record: &Record<'_>, refusal: Refusal) -> Self {
        let mut fault = subject_fault(&record.given, refusal);
        fault.what = format!("record {}: {}", record.id, fault.what);
        fault
    }
}

fn subject_fault(text: &str, refusal: Refusal) -> Fault {
    Fault {
        reason: refusal.what(),
        what: format!("subject \"{}\": {}", shown(text), refusal.what()),
        remedy: refusal.remedy().to_owned(),
    }
}

/// A sound record.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    pub(super) id: &'a str,
    pub(super) subject: Subject<'a>,
    /// The subject as it was given.
    given: Cow<'a, str>,
    /// Everything below the name too.
    pub(super) suffix: Scope,
    /// Categories and age mark.
    pub(super) mask: u64,
    pub(super) decision: Option<Decision>,
}

/// Checks the fields of a record.
///
/// # Errors
/// Everything that is wrong with it, in one fault that is counted under the first.
pub(super) fn check<'a>(
    fields: &'a Fields<'_>,
    words: &Words,
    guards: Guards,
) -> Result<Record<'a>, Fault> {
    let mut faults = Vec::new();
    let id = fields.id.as_ref();
    let plain =
        |text: &str, max| text.chars().count() <= max && !text.chars().any(char::is_control);
    if id.is_empty() {
        faults.push(Fault::new(
            "no id",
            "",
            "give every record an id of its own",
        ));
    } else if !plain(id, ID_MAX) {
        faults.push(Fault::new("bad id", "", "use at most 64 letters"));
    }
    let mask = mask(fields, words, &mut faults);
    let decision = decision(fields, &mut faults);
    if !fields.since.is_empty() && date::iso(&fields.since).is_none() {
        let detail = format!(" since \"{}\"", shown(&fields.since));
        faults.push(Fault::new("no such day:", &detail, "write YYYY-MM-DD"));
    }
    let subject = subject(&fields.subject, &fields.kind, guards);
    match subject {
        Ok((subject, suffix)) if faults.is_empty() => Ok(Record {
            id,
            subject,
            given: Cow::Borrowed(fields.subject.as_ref()),
            suffix,
            mask,
            decision,
        }),
        Ok(_) => Err(joined(id, faults)),
        Err(fault) => {
            faults.insert(0, fault);
            Err(joined(id, faults))
        }
    }
}

/// One fault of all that is wrong with a record.
fn joined(id: &str, faults: Vec<Fault>) -> Fault {
    let all: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
    let what = format!("record {}: {}", shown(id), all.join("; "));
    let reason = faults.first().map_or("no record", |fault| fault.reason);
    let mut remedies: Vec<&str> = Vec::new();
    for fault in &faults {
        if !remedies.contains(&fault.remedy.as_str()) {
            remedies.push(&fault.remedy);
        }
    }
    let remedy = remedies.join("; ");
    Fault {
        reason,
        what,
        remedy,
    }
}

/// The bits of a record's categories and age mark.
fn mask(fields: &Fields<'_>, words: &Words, faults: &mut Vec<Fault>) -> u64 {
    let mut mask = 0;
    for id in &fields.categories {
        if let Some(bit) = words.category(id) {
            mask |= bit;
            continue;
        }
        if faults.len() >= FAULTS_MAX {
            break;
        }
        let detail = format!(" \"{}\"", shown(id));
        let remedy = match nearest(id, words.ids()) {
            Some(known) => format!("did you mean {known}?"),
            None => "`schoolgate categories` lists them".to_owned(),
        };
        faults.push(Fault::new("unknown category", &detail, remedy));
    }
    let age = fields.age.strip_suffix('+').unwrap_or(&fields.age);
    let known = AGES.into_iter().find(|known| known.to_string() == age);
    match known {
        _ if fields.age.is_empty() => {}
        Some(0) => {}
        Some(known) => match words.age(known) {
            Some(bit) => mask |= bit,
            None => {
                let detail = format!(" {known}");
                let remedy = format!("add a category age_{known} to categories_file");
                faults.push(Fault::new("no category for age mark", &detail, remedy));
            }
        },
        None => {
            let detail = format!(" \"{}\"", shown(&fields.age));
            faults.push(Fault::new(
                "no such age mark:",
                &detail,
                "use 0, 6, 12, 16, 18 or nothing",
            ));
        }
    }
    if mask == 0 && faults.is_empty() {
        let remedy = "give it a category or an age mark above 0: nothing follows from it otherwise";
        faults.push(Fault::new("neither category nor age mark", "", remedy));
    }
    mask
}

/// The decision behind a record: all of it or nothing.
fn decision(fields: &Fields<'_>, faults: &mut Vec<Fault>) -> Option<Decision> {
    let parts = [&fields.date, &fields.number, &fields.body];
    if parts.iter().all(|part| part.is_empty()) {
        return None;
    }
    let day = date::iso(&fields.date);
    if day.is_none() {
        let detail = format!(" decision of \"{}\"", shown(&fields.date));
        faults.push(Fault::new("no such day:", &detail, "write YYYY-MM-DD"));
    }
    for (word, part) in [("number", &fields.number), ("body", &fields.body)] {
        if part.is_empty() || part.chars().count() > DECISION_MAX {
            let detail = format!(" {word}");
            let remedy =
                "give date, number and body of a decision, of at most 256 letters, or none of them";
            faults.push(Fault::new("decision without", &detail, remedy));
        }
    }
    Some(Decision {
        record: fields.id.clone().into_owned(),
        date: day?,
        number: fields.number.clone().into_owned(),
        body: fields.body.clone().into_owned(),
    })
}

/// The subject, which must be what `kind` says.
fn subject<'a>(text: &'a str, kind: &str, guards: Guards) -> Result<(Subject<'a>, Scope), Fault> {
    let Some((_, known)) = KINDS.iter().find(|(word, _)| *word == kind) else {
        let remedy = match nearest(kind, KINDS.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean {word}?"),
            None => "use domain, suffix, url, address or prefix".to_owned(),
        };
        let detail = format!(" \"{}\"", shown(kind));
        return Err(Fault::new("unknown type", &detail, remedy));
    };
    let accept = match known {
        Kind::Domain | Kind::Suffix => Accept::Names,
        Kind::Url => Accept::Urls,
        Kind::Address | Kind::Prefix => Accept::Addresses,
    };
    let subject = normalise::subject(text, accept, guards);
    let subject = subject.map_err(|refusal| subject_fault(text, refusal))?;
    let is_net = text.contains('/');
    match (known, &subject) {
        (Kind::Domain, Subject::Name { suffix: false, .. }) | (Kind::Url, Subject::Url { .. }) => {
            Ok((subject, Scope::Exact))
        }
        (Kind::Suffix, Subject::Name { .. }) => Ok((subject, Scope::Suffix)),
        (Kind::Address, Subject::Address(_)) if !is_net => Ok((subject, Scope::Exact)),
        (Kind::Prefix, Subject::Net(_) | Subject::Address(_)) if is_net => {
            Ok((subject, Scope::Exact))
        }
        _ => {
            let detail = format!(" {kind}: \"{}\"", shown(text));
            Err(Fault::new(
                "subject is no",
                &detail,
                "correct the type or the subject",
            ))
        }
    }
}
