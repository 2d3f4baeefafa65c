//! `[[holidays]]` and `[[schedules]]`: which profile is in force when, by the clock on the wall.

use std::collections::HashMap;

use jiff::civil::Date;
use toml::de::DeValue;

use super::Profile;
use super::parse::{Context, check_unique, did_you_mean};
use super::reader::{At, Section, Source};
use crate::problem::nearest;
use crate::schedule::{Calendar, DAY_MINUTES, Dates, Range, Schedule};

/// Reads all schedules, with the calendars that they name.
pub(super) fn schedules(
    root: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    profiles: &[Profile],
) -> (Vec<Calendar>, Vec<Schedule>) {
    let source = &mut *context.source;
    let mut seen = HashMap::new();
    let mut calendars = Vec::new();
    for section in root.tables(source, "holidays") {
        if let Some((id, calendar)) = calendar(section, source) {
            check_unique(source, "[[holidays]]", &mut seen, &id);
            calendars.push(calendar);
        }
    }
    let mut seen = HashMap::new();
    let mut schedules = Vec::new();
    for section in root.tables(source, "schedules") {
        if let Some((id, schedule)) = schedule(section, source, profiles, &calendars) {
            check_unique(source, "[[schedules]]", &mut seen, &id);
            schedules.push(schedule);
        }
    }
    (calendars, schedules)
}

fn calendar(mut section: Section<'_, '_>, source: &mut Source) -> Option<(At<String>, Calendar)> {
    let id = section.required(source, "id");
    let regions = section.strings(source, "regions");
    let texts = section.strings(source, "dates");
    section.finish(source);
    let dates = texts.iter().filter_map(|text| {
        let dates = dates(&text.value);
        if dates.is_none() {
            no_dates(source, "[[holidays]] dates", text);
        }
        dates
    });
    let dates = dates.collect();
    let id = id?;
    let calendar = Calendar {
        id: id.value.clone(),
        regions: regions.into_iter().map(|region| region.value).collect(),
        dates,
    };
    Some((id, calendar))
}

fn no_dates(source: &mut Source, key: &str, text: &At<String>) {
    let what = format!("{key}: \"{}\" is no date", text.value);
    let remedy = "write YYYY-MM-DD, or YYYY-MM-DD..YYYY-MM-DD from the first to the last";
    source.problem(text.at, what, remedy);
}

/// `2026-05-09`, or `2026-01-01..2026-01-08` with both included.
fn dates(text: &str) -> Option<Dates> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let date = |text: &str| (text.trim().len() == 10).then(|| text.trim().parse::<Date>().ok());
    let (first, last) = (date(first)??, date(last)??);
    (first <= last).then_some(Dates { first, last })
}

fn schedule(
    mut section: Section<'_, '_>,
    source: &mut Source,
    profiles: &[Profile],
    calendars: &[Calendar],
) -> Option<(At<String>, Schedule)> {
    let id = section.required(source, "id");
    let mut ranges = Vec::new();
    for range in section.tables(source, "ranges") {
        ranges.extend(self::range(range, source, profiles));
    }
    let (mut own, mut named) = (Vec::new(), Vec::new());
    for text in section.strings(source, "holidays") {
        let calendar = calendars.iter().position(|known| known.id == text.value);
        if let Some(dates) = dates(&text.value) {
            own.push(dates);
        } else if let Some(at) = calendar {
            named.push(at);
        } else if text.value.starts_with(|first: char| first.is_ascii_digit()) {
            no_dates(source, "[[schedules]] holidays", &text);
        } else {
            let ids = calendars.iter().map(|known| known.id.as_str());
            let remedy = did_you_mean(nearest(&text.value, ids), "holidays");
            let what = format!(
                "[[schedules]] holidays: unknown calendar \"{}\"",
                text.value
            );
            source.problem(text.at, what, remedy);
        }
    }
    let holiday = section.string(source, "holiday_profile");
    let holiday_profile =
        holiday.and_then(|name| profile(source, "[[schedules]] holiday_profile", &name, profiles));
    section.finish(source);
    let id = id?;
    let schedule = Schedule {
        id: id.value.clone(),
        ranges,
        holidays: own,
        calendars: named,
        holiday_profile,
    };
    Some((id, schedule))
}

fn profile(
    source: &mut Source,
    key: &str,
    name: &At<String>,
    profiles: &[Profile],
) -> Option<usize> {
    let found = profiles.iter().position(|known| known.id == name.value);
    if found.is_none() {
        let ids = profiles.iter().map(|known| known.id.as_str());
        let remedy = did_you_mean(nearest(&name.value, ids), "profiles");
        let what = format!("{key}: unknown profile \"{}\"", name.value);
        source.problem(name.at, what, remedy);
    }
    found
}

/// `{ days = "mon-fri", from = "08:00", to = "14:30", profile = "lessons" }`
fn range(mut section: Section<'_, '_>, source: &mut Source, profiles: &[Profile]) -> Option<Range> {
    let at = section.at();
    let line = source.line(at);
    let days = match section
        .any("days")
        .map(|value| (value.get_ref(), value.span().start))
    {
        None => Some(Range::EVERY_DAY),
        Some((DeValue::String(text), at)) => {
            let found = days(text);
            if found.is_none() {
                let what = format!("[[schedules]] ranges days: \"{text}\" names no days");
                let remedy = "write such as \"mon-fri\" or \"sat, sun\"";
                source.problem(at, what, remedy);
            }
            found
        }
        Some((_, at)) => {
            source.problem(
                at,
                "[[schedules]] ranges days: not a string",
                "write a string",
            );
            None
        }
    };
    let mut time = |key: &'static str| {
        let text = section.required(source, key)?;
        let minutes = minutes(&text.value);
        if minutes.is_none() {
            let what = format!("[[schedules]] ranges {key}: \"{}\" is no time", text.value);
            source.problem(text.at, what, "write HH:MM, from 00:00 to 24:00");
        }
        minutes
    };
    let (from, to) = (time("from"), time("to"));
    let name = section.required(source, "profile");
    let profile =
        name.and_then(|name| profile(source, "[[schedules]] ranges profile", &name, profiles));
    section.finish(source);
    let (from, to) = (from?, to?);
    if from == to || from == DAY_MINUTES {
        let what = "[[schedules]] ranges: a range without length";
        source.problem(
            at,
            what,
            "for a whole day write from = \"00:00\", to = \"24:00\"",
        );
    }
    Some(Range {
        days: days?,
        from,
        to,
        profile: profile?,
        line,
    })
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A mask of days, Monday lowest: `mon-fri`, `sat,sun`, `fri-mon`.
fn days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name.trim());
    let mut mask = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + DAYS.len() - first) % DAYS.len() + 1;
        for at in first..first + count {
            mask |= 1 << (at % DAYS.len());
        }
    }
    Some(mask)
}

/// Minutes since midnight: `08:30`, up to `24:00`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= DAY_MINUTES).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_every_form() {
        assert_eq!(days("mon-fri"), Some(0b001_1111));
        assert_eq!(days("sat, sun"), Some(0b110_0000));
        assert_eq!(days("fri-mon"), Some(0b111_0001));
        assert_eq!(days("wed"), Some(0b000_0100));
        assert_eq!([days(""), days("mon-"), days("monday")], [None; 3]);
    }

    #[test]
    fn times_and_dates_are_strict() {
        assert_eq!(minutes("08:30"), Some(510));
        assert_eq!(minutes("24:00"), Some(1440));
        let wrong = ["8:30", "24:01", "12:60", "1200", "-1:00", "+1:00", "25:00"];
        assert!(wrong.iter().all(|text| minutes(text).is_none()));
        assert!(dates("2026-01-01..2026-01-08").is_some());
        let wrong = [
            "2026-02-30",
            "2026-01-08..2026-01-01",
            "2026-1-1",
            "2026-01-01T00:00",
        ];
        assert!(wrong.iter().all(|text| dates(text).is_none()));
    }
}
