//! Which profile is in force at a moment, and when that may change. Pure: the moment is an argument.
//!
//! All is decided by the clock on the wall of the organisation: where summer time begins, what lies in
//! the hour left out never comes; where it ends, what lies in the hour that comes twice comes twice.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::config::{Config, Organisation};

/// Minutes of a day on the wall.
pub const DAY_MINUTES: u16 = 24 * 60;

/// Days from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// The first day.
    pub first: Date,
    /// The last day.
    pub last: Date,
}

/// A calendar of holidays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Its id, unique.
    pub id: String,
    /// Regions whose organisations keep them; empty: all.
    pub regions: Vec<String>,
    /// The holidays.
    pub dates: Vec<Dates>,
}

/// A time of some days with a profile of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Days on which it begins, a mask; Monday is the lowest bit.
    pub days: u8,
    /// Minutes from midnight to its begin.
    pub from: u16,
    /// Minutes from midnight to its end, which is no part of it; not above `from`: of the next day.
    pub to: u16,
    /// Index into [`Config::profiles`].
    pub profile: usize,
    /// Line in the configuration.
    pub line: u32,
}

impl Range {
    /// A range of every day.
    pub const EVERY_DAY: u8 = 0b111_1111;

    fn begins_on(&self, day: Date) -> bool {
        self.days >> day.weekday().to_monday_zero_offset() & 1 != 0
    }

    fn passes_midnight(&self) -> bool {
        self.to <= self.from
    }

    /// The range as an operator writes it.
    #[must_use]
    pub fn label(&self) -> String {
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days = (0..).zip(DAYS).filter(|(bit, _)| self.days >> bit & 1 != 0);
        let days: Vec<&str> = days.map(|(_, day)| day).collect();
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        format!("{} {}-{}", days.join(","), time(self.from), time(self.to))
    }
}

/// Which profile is in force when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its id, unique.
    pub id: String,
    /// Its ranges; of several at one time the first counts.
    pub ranges: Vec<Range>,
    /// Its own holidays.
    pub holidays: Vec<Dates>,
    /// Indexes into [`Config::calendars`].
    pub calendars: Vec<usize>,
    /// Profile of holidays, an index into [`Config::profiles`]; `None`: the organisation's own.
    pub holiday_profile: Option<usize>,
}

/// By what a profile is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The organisation's own: no range is on.
    Default,
    /// The range with this index.
    Range(usize),
    /// It is a holiday.
    Holiday,
}

/// What a schedule says of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Index into [`Config::profiles`]; `None`: the organisation's own.
    pub profile: Option<usize>,
    /// By what.
    pub by: By,
}

impl Standing {
    const DEFAULT: Standing = Standing {
        profile: None,
        by: By::Default,
    };
}

/// What a schedule says of a moment on the wall, in a region. A range belongs to the day on which it
/// begins; on a holiday none begins, and none that began before goes on.
#[must_use]
pub fn standing(
    schedule: &Schedule,
    calendars: &[Calendar],
    region: &str,
    local: DateTime,
) -> Standing {
    let holiday = |day| is_holiday(schedule, calendars, region, day);
    let today = local.date();
    if holiday(today) {
        return Standing {
            profile: schedule.holiday_profile,
            by: By::Holiday,
        };
    }
    let yesterday = today.yesterday().ok().filter(|day| !holiday(*day));
    let minute = minute_of(local.time());
    let on = |range: &Range| {
        let evening = range.begins_on(today)
            && minute >= range.from
            && (minute < range.to || range.passes_midnight());
        let morning = range.passes_midnight()
            && minute < range.to
            && yesterday.is_some_and(|day| range.begins_on(day));
        evening || morning
    };
    let found = schedule
        .ranges
        .iter()
        .enumerate()
        .find(|(_, range)| on(range));
    found.map_or(Standing::DEFAULT, |(at, range)| Standing {
        profile: Some(range.profile),
        by: By::Range(at),
    })
}

fn minute_of(time: Time) -> u16 {
    // Hours and minutes of a time are never negative.
    u16::try_from(i16::from(time.hour()) * 60 + i16::from(time.minute())).unwrap_or(0)
}

fn is_holiday(schedule: &Schedule, calendars: &[Calendar], region: &str, day: Date) -> bool {
    let named = schedule
        .calendars
        .iter()
        .filter_map(|at| calendars.get(*at));
    let kept = named.filter(|calendar| {
        calendar.regions.is_empty() || calendar.regions.iter().any(|known| known == region)
    });
    let all = kept
        .flat_map(|calendar| &calendar.dates)
        .chain(&schedule.holidays);
    all.into_iter()
        .any(|dates| dates.first <= day && day <= dates.last)
}

/// The first moment behind `at` at which a schedule may say something else: a midnight, an end of a
/// range, or a change of the zone's offset.
#[must_use]
pub fn next_boundary(schedule: &Schedule, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    let today = zone.to_datetime(at).date();
    let days = today
        .yesterday()
        .ok()
        .into_iter()
        .chain(today.series(jiff::Span::new().days(1)).take(3));
    let ends = schedule
        .ranges
        .iter()
        .flat_map(|range| [range.from, range.to]);
    let minutes: Vec<u16> = ends.map(|end| end % DAY_MINUTES).chain([0]).collect();
    let mut next = zone.following(at).next().map(|change| change.timestamp());
    for day in days {
        for minute in &minutes {
            let time = |of: u16| i8::try_from(of).unwrap_or(0);
            let local = day.at(time(minute / 60), time(minute % 60), 0, 0);
            let when = zone.to_ambiguous_timestamp(local);
            for moment in [when.earlier(), when.later()].into_iter().flatten() {
                if moment > at && next.is_none_or(|next| moment < next) {
                    next = Some(moment);
                }
            }
        }
    }
    next
}

/// What is in force of every organisation at a moment.
#[derive(Clone, Debug)]
pub struct Standings {
    /// Indexes into [`Config::profiles`], in the order of [`Config::organisations`].
    pub profiles: Vec<usize>,
    /// When something may change; `None`: there is no schedule.
    pub next: Option<Timestamp>,
}

/// The profiles in force of all organisations: a schedule is asked once for each zone and region.
#[must_use]
pub fn standings(config: &Config, at: Timestamp) -> Standings {
    let mut known: HashMap<(usize, &str, &str), Standing> = HashMap::new();
    let mut next: Option<Timestamp> = None;
    let mut profiles = Vec::with_capacity(config.organisations.len());
    for organisation in &config.organisations {
        let schedule = organisation
            .schedule
            .and_then(|at| Some((at, config.schedules.get(at)?)));
        let Some((number, schedule)) = schedule else {
            profiles.push(organisation.profile);
            continue;
        };
        let zone = organisation.timezone.iana_name().unwrap_or_default();
        let key = (number, zone, organisation.region.as_str());
        let standing = *known.entry(key).or_insert_with(|| {
            let boundary = next_boundary(schedule, &organisation.timezone, at);
            next = match (next, boundary) {
                (Some(left), Some(right)) => Some(left.min(right)),
                (left, right) => left.or(right),
            };
            of(config, organisation, at)
        });
        profiles.push(standing.profile.unwrap_or(organisation.profile));
    }
    Standings { profiles, next }
}

/// What an organisation's schedule says of a moment.
#[must_use]
pub fn of(config: &Config, organisation: &Organisation, at: Timestamp) -> Standing {
    let schedule = organisation
        .schedule
        .and_then(|at| config.schedules.get(at));
    schedule.map_or(Standing::DEFAULT, |schedule| {
        let local = organisation.timezone.to_datetime(at);
        standing(schedule, &config.calendars, &organisation.region, local)
    })
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
