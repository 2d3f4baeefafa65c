//! The naive reference of policies: who an address belongs to, and which profile is in force for it at a
//! moment, by walking plain lists with a calendar and summer time of its own.

use std::net::IpAddr;

use ipnet::IpNet;

/// A zone of clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// `UTC`.
    Utc,
    /// `Europe/Moscow`: three hours ahead.
    Moscow,
    /// `Asia/Omsk`: six hours ahead.
    Omsk,
    /// `Europe/Berlin`: an hour ahead, two from the last Sunday of March to that of October, 01:00 UTC.
    Berlin,
}

impl Zone {
    /// All of them.
    pub const ALL: [Zone; 4] = [Zone::Utc, Zone::Moscow, Zone::Omsk, Zone::Berlin];

    /// Its name in the tz database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Zone::Utc => "UTC",
            Zone::Moscow => "Europe/Moscow",
            Zone::Omsk => "Asia/Omsk",
            Zone::Berlin => "Europe/Berlin",
        }
    }

    /// Minutes on its wall since 1970 began there, `second` seconds after it began in UTC.
    fn wall(self, second: i64) -> i64 {
        let minutes = second.div_euclid(60);
        minutes
            + 60 * match self {
                Zone::Utc => 0,
                Zone::Moscow => 3,
                Zone::Omsk => 6,
                Zone::Berlin if summer(second) => 2,
                Zone::Berlin => 1,
            }
    }
}

/// Whether it is summer in Berlin.
fn summer(second: i64) -> bool {
    let (year, ..) = date(second.div_euclid(86_400));
    let turn = |month| {
        let last = day_of(year, month, 31);
        // 1970-01-01 was a Thursday.
        (last - (last + 4).rem_euclid(7)) * 86_400 + 3_600
    };
    (turn(3)..turn(10)).contains(&second)
}

/// Days from 1970-01-01 to a date, by counting the days of years and months.
#[must_use]
pub fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    years + months + day - 1
}

/// Year, month and day of a day since 1970-01-01.
#[must_use]
pub fn date(mut day: i64) -> (i64, i64, i64) {
    let mut year = 1970;
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A time with a profile.
#[derive(Clone, Debug)]
pub struct Range {
    /// Days on which it begins, Monday first.
    pub days: [bool; 7],
    /// Minutes from midnight to its begin.
    pub from: i64,
    /// Minutes from midnight to its end; not above `from`: of the next day.
    pub to: i64,
    /// Number of the profile.
    pub profile: usize,
}

/// First and last day since 1970-01-01, and the region that keeps them; `None`: all do.
pub type Holidays = (i64, i64, Option<usize>);

/// A schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The first that is on counts.
    pub ranges: Vec<Range>,
    /// Days without ranges.
    pub holidays: Vec<Holidays>,
    /// The profile of those days.
    pub holiday_profile: Option<usize>,
}

/// An organisation, or a segment.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its whole id.
    pub id: String,
    /// Its prefixes.
    pub prefixes: Vec<IpNet>,
    /// Its own profile.
    pub profile: usize,
    /// Its schedule.
    pub schedule: Option<usize>,
    /// Clock of the kernel up to which a bypass was given; 0: none was.
    pub bypass: u64,
}

/// An organisation with its segments.
#[derive(Clone, Debug)]
pub struct School {
    /// What no segment takes.
    pub whole: Part,
    /// Its segments.
    pub segments: Vec<Part>,
    /// Its clock.
    pub zone: Zone,
    /// Its region.
    pub region: usize,
}

/// What an address is under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Under {
    /// Id of its organisation or segment.
    pub id: String,
    /// Number of the profile in force.
    pub profile: usize,
    /// Clock of the kernel up to which its bypass is in force; 0: none is.
    pub bypass: u64,
}

/// What an address is under at a moment, in seconds since 1970; `None`: it is nobody's.
#[must_use]
pub fn under(
    schools: &[School],
    schedules: &[Schedule],
    address: IpAddr,
    second: i64,
) -> Option<Under> {
    let holds = |part: &&Part| part.prefixes.iter().any(|net| net.contains(&address));
    for school in schools {
        let part = school.segments.iter().find(holds);
        let part = part.or(Some(&school.whole).filter(holds));
        let Some(part) = part else { continue };
        let schedule = part.schedule.and_then(|at| schedules.get(at));
        let scheduled = schedule
            .and_then(|schedule| in_force(schedule, school.region, school.zone.wall(second)));
        return Some(Under {
            id: part.id.clone(),
            profile: scheduled.unwrap_or(part.profile),
            bypass: part.bypass.max(school.whole.bypass),
        });
    }
    None
}

/// The profile that a schedule names for a minute on the wall.
fn in_force(schedule: &Schedule, region: usize, minute: i64) -> Option<usize> {
    let free = |day: i64| {
        let kept = |kept: Option<usize>| kept.is_none_or(|kept| kept == region);
        let mut holidays = schedule.holidays.iter();
        holidays.any(|(first, last, of)| (*first..=*last).contains(&day) && kept(*of))
    };
    let today = minute.div_euclid(1_440);
    if free(today) {
        return schedule.holiday_profile;
    }
    for range in &schedule.ranges {
        let length = (range.to - range.from - 1).rem_euclid(1_440) + 1;
        for day in today - 2..=today {
            let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
            let begin = day * 1_440 + range.from;
            let named = range.days.get(weekday).copied().unwrap_or(false);
            if named && !free(day) && (begin..begin + length).contains(&minute) {
                return Some(range.profile);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_that_of_gregory() {
        assert_eq!(date(day_of(2024, 2, 29)), (2024, 2, 29));
        assert_eq!(day_of(2026, 1, 1), 20_454);
        assert!(!summer(day_of(2026, 3, 29) * 86_400 + 3_599));
        assert!(summer(day_of(2026, 3, 29) * 86_400 + 3_600));
        assert!(summer(day_of(2026, 10, 25) * 86_400 + 3_599));
        assert!(!summer(day_of(2026, 10, 25) * 86_400 + 3_600));
    }
}
