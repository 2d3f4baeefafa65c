//! The moment that is asked about, and what is in force then, in words.

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::bypass::Bypass;
use crate::config::{Config, Organisation};
use crate::schedule::{By, Standing};

/// The moment that is meant: now, RFC 3339, or date and time on the organisation's wall.
///
/// # Errors
/// It is none of these.
pub(super) fn moment(text: Option<&str>, organisation: &Organisation) -> Result<Timestamp, String> {
    let Some(text) = text else {
        return Ok(Timestamp::now());
    };
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let unknown = || {
        format!(
            "{text} is no time: write such as 2026-09-01T08:30 (on the organisation's wall) or 2026-09-01T05:30:00Z"
        )
    };
    let local: DateTime = text.parse().map_err(|_none| unknown())?;
    // Of a time that comes twice the first is meant, of one left out the same time later.
    let when = organisation.timezone.to_ambiguous_timestamp(local);
    when.compatible().map_err(|_beyond| unknown())
}

/// A moment on the organisation's wall.
pub(super) fn local(moment: Timestamp, organisation: &Organisation) -> String {
    let zoned = moment.to_zoned(organisation.timezone.clone());
    let day = zoned.strftime("%a %Y-%m-%d %H:%M:%S");
    let zone = organisation.timezone.iana_name().unwrap_or("UTC");
    format!("{day} {zone}")
}

/// By what the profile in force is.
pub(super) fn by(config: &Config, organisation: &Organisation, standing: Standing) -> String {
    let schedule = organisation
        .schedule
        .and_then(|at| config.schedules.get(at));
    let Some(schedule) = schedule else {
        return "its own profile".to_owned();
    };
    let id = &schedule.id;
    match standing.by {
        By::Default => format!("its own profile: no range of schedule {id} is on"),
        By::Holiday => format!("schedule {id}: a holiday"),
        By::Range(at) => {
            let range = schedule.ranges.get(at);
            let label = range.map(|range| format!("{}, line {}", range.label(), range.line));
            format!("schedule {id}: {}", label.unwrap_or_default())
        }
    }
}

/// The bypass in force.
pub(super) fn bypass_note(id: &str, bypass: &Bypass, organisation: &Organisation) -> String {
    let until = Timestamp::from_second(bypass.until);
    let until = until
        .map(|until| local(until, organisation))
        .unwrap_or_default();
    format!(
        "bypass of {id} until {until} ({}): only the unified registry and mandatory categories are filtered",
        bypass.reason
    )
}
