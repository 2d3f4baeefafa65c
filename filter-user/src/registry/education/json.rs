//! Records as JSON: one array of objects. Each object is read by itself, so that a wrong one costs itself alone.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Each;
use super::record::{Fault, Fields};
use crate::problem::Problem;
use crate::registry::keep::shown;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    categories: Vec<Cow<'a, str>>,
    #[serde(default)]
    age: Option<u32>,
    #[serde(borrow, default)]
    decision: Option<Decision<'a>>,
    #[serde(borrow, default)]
    since: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision<'a> {
    #[serde(borrow)]
    date: Cow<'a, str>,
    #[serde(borrow)]
    number: Cow<'a, str>,
    #[serde(borrow)]
    body: Cow<'a, str>,
}

/// Calls `each` for every record.
///
/// # Errors
/// The file is no JSON, or no array.
pub(super) fn records(path: &Path, text: &str, each: Each<'_>) -> Result<(), Problem> {
    let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
        let what = format!("no JSON array of records: {error}");
        Problem::at(path, line, what, "deliver the whole file again")
    })?;
    let start = text.as_ptr().addr();
    let (mut line, mut counted) = (1u32, 0);
    for value in values {
        let at = value.get().as_ptr().addr().saturating_sub(start);
        let passed = text.as_bytes().get(counted..at).unwrap_or(&[]);
        let breaks = passed.iter().filter(|byte| **byte == b'\n').count();
        line = line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
        counted = at;
        each(line, fields(value.get()));
    }
    Ok(())
}

fn fields(text: &str) -> Result<Fields<'_>, Fault> {
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| {
        // Lines and columns are those within the object.
        let why = error.to_string();
        let why = why
            .split_once(" at line ")
            .map_or(why.as_str(), |(why, _)| why);
        Fault::fields(shown(why))
    })?;
    let (date, number, body) = match object.decision {
        Some(decision) => (decision.date, decision.number, decision.body),
        None => Default::default(),
    };
    Ok(Fields {
        id: object.id,
        subject: object.subject,
        kind: object.kind,
        categories: object.categories,
        age: object
            .age
            .map(|age| age.to_string().into())
            .unwrap_or_default(),
        date,
        number,
        body,
        since: object.since.unwrap_or_default(),
    })
}
