//! Moments at which schedules are easily wrong: midnights, holidays, and the changes of summer time.

use std::path::Path;

use super::*;
use crate::config::Config;

const TEXT: &str = r#"
[[profiles]]
id = "home"
[[profiles]]
id = "lessons"
[[profiles]]
id = "night"
[[profiles]]
id = "feast"
[[holidays]]
id = "land"
regions = ["BE"]
dates = ["2026-06-03"]
[[schedules]]
id = "day"
holidays = ["land", "2026-05-01", "2026-12-31..2027-01-02"]
holiday_profile = "feast"
ranges = [
  { days = "mon-fri", from = "08:00", to = "14:30", profile = "lessons" },
  { days = "mon-fri", from = "14:00", to = "16:00", profile = "home" },
  { days = "fri,sat", from = "22:00", to = "06:00", profile = "night" },
  { days = "sun", from = "02:15", to = "02:45", profile = "lessons" },
  { days = "sun", from = "18:00", to = "24:00", profile = "night" },
]
[[organisations]]
id = "a"
timezone = "Europe/Berlin"
region = "BE"
prefixes = ["192.0.2.0/28"]
profile = "home"
schedule = "day"
[[organisations]]
id = "b"
timezone = "Europe/Berlin"
prefixes = ["192.0.2.16/28"]
profile = "home"
schedule = "day"
[[organisations]]
id = "c"
timezone = "Asia/Omsk"
prefixes = ["192.0.2.32/28"]
profile = "home"
schedule = "day"
"#;

fn config() -> Config {
    Config::from_text(Path::new("s.toml"), TEXT).unwrap()
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The profile in force and by what, at a moment in UTC.
fn at(config: &Config, org: &str, time: &str) -> (String, By) {
    let organisation = config.organisation(org).unwrap();
    let standing = of(config, organisation, moment(time));
    let profile = standing.profile.unwrap_or(organisation.profile);
    (config.profiles[profile].id.clone(), standing.by)
}

fn check(org: &str, rows: &[(&str, &str, By)]) {
    let config = config();
    for (time, profile, by) in rows {
        assert_eq!(
            at(&config, org, time),
            ((*profile).to_owned(), *by),
            "{org} {time}"
        );
    }
}

#[test]
fn ranges_begin_with_their_minute_and_end_before_it_and_the_first_counts() {
    // 2026-06-01 is a Monday; Berlin is two hours ahead.
    check(
        "b",
        &[
            ("2026-06-01T05:59:59Z", "home", By::Default),
            ("2026-06-01T06:00:00Z", "lessons", By::Range(0)),
            ("2026-06-01T12:15:00Z", "lessons", By::Range(0)),
            ("2026-06-01T12:30:00Z", "home", By::Range(1)),
            ("2026-06-01T14:00:00Z", "home", By::Default),
            ("2026-06-06T06:30:00Z", "home", By::Default),
        ],
    );
}

#[test]
fn ranges_past_midnight_belong_to_the_day_they_begin_on() {
    check(
        "b",
        &[
            ("2026-06-05T19:59:00Z", "home", By::Default),
            ("2026-06-05T20:00:00Z", "night", By::Range(2)),
            ("2026-06-05T22:00:00Z", "night", By::Range(2)),
            ("2026-06-06T03:59:59Z", "night", By::Range(2)),
            ("2026-06-06T04:00:00Z", "home", By::Default),
            ("2026-06-04T22:30:00Z", "home", By::Default),
            ("2026-06-07T21:59:59Z", "night", By::Range(4)),
            ("2026-06-07T22:00:00Z", "home", By::Default),
        ],
    );
}

#[test]
fn holidays_take_whole_days_and_end_what_began_before() {
    // 2026-05-01 is a Friday: neither its lessons nor its night begin.
    check(
        "b",
        &[
            ("2026-04-30T21:59:59Z", "home", By::Default),
            ("2026-04-30T22:00:00Z", "feast", By::Holiday),
            ("2026-05-01T07:00:00Z", "feast", By::Holiday),
            ("2026-05-01T21:59:59Z", "feast", By::Holiday),
            ("2026-05-01T22:30:00Z", "home", By::Default),
            ("2027-01-01T22:30:00Z", "feast", By::Holiday),
            ("2027-01-02T23:00:00Z", "home", By::Default),
        ],
    );
    // A calendar is kept in its regions only.
    check("a", &[("2026-06-03T08:00:00Z", "feast", By::Holiday)]);
    check("b", &[("2026-06-03T08:00:00Z", "lessons", By::Range(0))]);
}

#[test]
fn summer_time_leaves_out_and_repeats_what_the_wall_does() {
    // 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC. 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC.
    check(
        "b",
        &[
            ("2026-03-22T01:20:00Z", "night", By::Range(2)),
            ("2026-03-29T00:59:59Z", "night", By::Range(2)),
            ("2026-03-29T01:20:00Z", "night", By::Range(2)),
            ("2026-03-29T04:00:00Z", "home", By::Default),
            ("2026-10-25T04:59:59Z", "night", By::Range(2)),
            ("2026-10-25T05:00:00Z", "home", By::Default),
        ],
    );
    let late = TEXT.replace("fri,sat", "fri");
    let config = Config::from_text(Path::new("s.toml"), &late).unwrap();
    let twice = ["2026-10-25T00:20:00Z", "2026-10-25T01:20:00Z"];
    for time in twice {
        assert_eq!(
            at(&config, "b", time),
            ("lessons".to_owned(), By::Range(3)),
            "{time}"
        );
    }
    let between = [
        "2026-10-25T00:50:00Z",
        "2026-10-25T01:10:00Z",
        "2026-03-29T01:20:00Z",
    ];
    for time in between {
        assert_eq!(at(&config, "b", time).1, By::Default, "{time}");
    }
}

#[test]
fn every_organisation_has_its_own_clock() {
    let config = config();
    let standings = standings(&config, moment("2026-06-01T06:30:00Z"));
    let names: Vec<&str> = (standings.profiles.iter())
        .map(|at| config.profiles[*at].id.as_str())
        .collect();
    assert_eq!(names, ["lessons", "lessons", "lessons"]);
    let standings = super::standings(&config, moment("2026-06-01T02:30:00Z"));
    let names: Vec<&str> = (standings.profiles.iter())
        .map(|at| config.profiles[*at].id.as_str())
        .collect();
    assert_eq!(names, ["home", "home", "lessons"]);
}

/// Between a moment and the next boundary nothing changes: a walk by minutes through weeks that hold
/// changes of summer time and holidays.
#[test]
fn nothing_changes_before_the_next_boundary() {
    let config = config();
    for organisation in &config.organisations {
        let schedule = &config.schedules[organisation.schedule.unwrap()];
        for start in [
            "2026-03-27T00:00:00Z",
            "2026-10-23T00:00:00Z",
            "2026-12-30T00:00:00Z",
        ] {
            let mut last = of(&config, organisation, moment(start));
            let mut boundary =
                next_boundary(schedule, &organisation.timezone, moment(start)).unwrap();
            for minute in 1..=4 * 24 * 60 {
                let now = moment(start) + jiff::SignedDuration::from_mins(minute);
                let standing = of(&config, organisation, now);
                if now < boundary {
                    assert_eq!(standing, last, "{} {now}", organisation.id);
                    continue;
                }
                last = standing;
                boundary = next_boundary(schedule, &organisation.timezone, now).unwrap();
                assert!(boundary > now);
            }
        }
    }
}
