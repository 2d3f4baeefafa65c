//! Policies against their naive reference: random organisations, segments, schedules, holidays, services
//! and bypasses are written as configurations and tables; what they compile to for an address at a moment
//! is what a walk over plain lists says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use filter_user::bypass::Moment;
use filter_user::compile::{Compiled, Input, compile};
use filter_user::config::Config;
use filter_user::numbers::Numbers;
use filter_user::registry::load::{KeptBefore, Loaded, load};
use filter_user::registry::progress::Progress;
use jiff::Timestamp;
use schoolgate_tests::evasion::Random;
use schoolgate_tests::gate::scaled;
use schoolgate_tests::reference::policies::{
    Part, Range, Schedule, School, Under, Zone, date, day_of, under,
};

const WORLDS: usize = 150;
const MOMENTS: usize = 12;
const ADDRESSES: usize = 40;
const SEED: u64 = 30_000;
const CATEGORIES: [&str; 4] = ["games", "social", "shopping", "malware"];
const SERVICES: usize = 4;
const REGIONS: usize = 2;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What a profile blocks, and the services that it denies and allows.
#[derive(Debug)]
struct Profile {
    block: Vec<usize>,
    deny: Vec<usize>,
    allow: Vec<usize>,
}

#[derive(Debug)]
struct World {
    profiles: Vec<Profile>,
    schedules: Vec<Schedule>,
    schools: Vec<School>,
    /// Whether organisations stand in a table of CSV, and what separates its fields.
    csv: Option<char>,
}

fn some(random: &mut Random, count: usize) -> Vec<usize> {
    (0..count).filter(|_| random.once_in(2)).collect()
}

/// A day of the year from October 2026 on, often near a change of summer time or of the year.
fn day(random: &mut Random) -> i64 {
    let near = [
        day_of(2026, 10, 25),
        day_of(2026, 12, 31),
        day_of(2027, 3, 28),
        day_of(2027, 5, 1),
    ];
    let near = near.get(random.below(near.len())).copied().unwrap_or(0);
    near - 3 + number(random, 7)
}

fn number(random: &mut Random, below: usize) -> i64 {
    i64::try_from(random.below(below)).unwrap_or(0)
}

fn schedule(random: &mut Random, profiles: usize) -> Schedule {
    let mut ranges = Vec::new();
    for _ in 0..random.below(5) {
        let from = number(random, 96) * 15;
        let to = (from + 15 + number(random, 95) * 15) % 1_440;
        ranges.push(Range {
            days: std::array::from_fn(|_| random.once_in(2)),
            from,
            to: if to == 0 { 1_440 } else { to },
            profile: random.below(profiles),
        });
    }
    ranges.retain(|range| range.days.contains(&true));
    let holidays = (0..random.below(4)).map(|_| {
        let first = day(random);
        let region = random.once_in(2).then(|| random.below(REGIONS));
        (first, first + number(random, 3), region)
    });
    Schedule {
        ranges,
        holidays: holidays.collect(),
        holiday_profile: random.once_in(2).then(|| random.below(profiles)),
    }
}

fn part(random: &mut Random, id: String, prefixes: &[String], world: &World) -> Part {
    let nets = prefixes.iter().filter_map(|text| text.parse().ok());
    Part {
        id,
        prefixes: nets.collect(),
        profile: random.below(world.profiles.len()),
        schedule: (!random.once_in(3)).then(|| random.below(world.schedules.len())),
        bypass: if random.once_in(5) {
            1 + u64::from(random.once_in(2))
        } else {
            0
        },
    }
}

fn school(random: &mut Random, at: usize, world: &World) -> School {
    let prefixes = [format!("10.0.{at}.0/24"), format!("fd00:{at:x}::/48")];
    let whole = part(random, format!("s{at}"), &prefixes, world);
    let mut segments = Vec::new();
    for block in 0..8 {
        if !random.once_in(3) {
            continue;
        }
        let (first, length) = (block * 32 + random.below(4) * 8, 29 + random.below(4));
        let mut prefixes = vec![format!("10.0.{at}.{first}/{length}")];
        if random.once_in(2) {
            prefixes.push(format!("fd00:{at:x}:0:{block:x}::/64"));
        }
        segments.push(part(random, format!("s{at}/p{block}"), &prefixes, world));
    }
    School {
        whole,
        segments,
        zone: Zone::ALL.get(random.below(4)).copied().unwrap_or(Zone::Utc),
        region: random.below(REGIONS),
    }
}

impl World {
    fn new(random: &mut Random) -> World {
        let profiles = 2 + random.below(5);
        let mut world = World {
            profiles: (0..profiles)
                .map(|_| Profile {
                    block: some(random, CATEGORIES.len()),
                    deny: some(random, SERVICES),
                    allow: some(random, SERVICES),
                })
                .collect(),
            schedules: (0..1 + random.below(3))
                .map(|_| schedule(random, profiles))
                .collect(),
            schools: Vec::new(),
            csv: random
                .once_in(2)
                .then(|| if random.once_in(2) { ';' } else { ',' }),
        };
        for at in 0..1 + random.below(4) {
            let school = school(random, at, &world);
            world.schools.push(school);
        }
        world
    }

    /// The configuration, and the table if there is one.
    fn write(&self) -> (String, String) {
        let mut text = String::new();
        if self.csv.is_some() {
            text.push_str("organisations_file = \"schools.csv\"\n");
        }
        for at in 0..SERVICES {
            let _ = writeln!(
                text,
                "[[services]]\nid = \"v{at}\"\ndomains = [\"v{at}.example\"]"
            );
        }
        let list = |ids: Vec<String>| {
            ids.iter()
                .map(|id| format!("\"{id}\""))
                .collect::<Vec<_>>()
                .join(", ")
        };
        for (at, profile) in self.profiles.iter().enumerate() {
            let block = profile.block.iter().filter_map(|at| CATEGORIES.get(*at));
            let block = list(block.map(ToString::to_string).collect());
            let services = |ids: &[usize]| list(ids.iter().map(|at| format!("v{at}")).collect());
            let (deny, allow) = (services(&profile.deny), services(&profile.allow));
            let _ = writeln!(
                text,
                "[[profiles]]\nid = \"p{at}\"\nblock = [{block}]\ndeny_services = [{deny}]\nallow_services = [{allow}]"
            );
        }
        for (at, schedule) in self.schedules.iter().enumerate() {
            write_schedule(&mut text, at, schedule);
        }
        let mut table = String::new();
        match self.csv {
            Some(mark) => table = self.table(mark),
            None => self
                .schools
                .iter()
                .for_each(|school| write_school(&mut text, school)),
        }
        (text, table)
    }

    /// Segments first, so that they stand before what they are parts of.
    fn table(&self, mark: char) -> String {
        let fields = [
            "id", "region", "timezone", "schedule", "profile", "prefixes",
        ];
        let mut table = fields.join(&mark.to_string()) + "\r\n";
        for school in &self.schools {
            let parts = school.segments.iter().chain([&school.whole]);
            for part in parts {
                let own = part.id == school.whole.id;
                let prefixes: Vec<String> = part.prefixes.iter().map(ToString::to_string).collect();
                let row = [
                    part.id.clone(),
                    if own {
                        format!("r{}", school.region)
                    } else {
                        String::new()
                    },
                    if own {
                        school.zone.name().to_owned()
                    } else {
                        String::new()
                    },
                    part.schedule
                        .map_or_else(String::new, |at| format!("t{at}")),
                    format!("p{}", part.profile),
                    prefixes.join(" "),
                ];
                table += &(row.join(&mark.to_string()) + "\r\n");
            }
        }
        table
    }
}

fn write_school(text: &mut String, school: &School) {
    let (region, zone) = (school.region, school.zone.name());
    let _ = writeln!(
        text,
        "[[organisations]]\nregion = \"r{region}\"\ntimezone = \"{zone}\""
    );
    write_part(text, &school.whole, &school.whole.id);
    for segment in &school.segments {
        let _ = writeln!(text, "[[organisations.segments]]");
        let own = segment.id.rsplit('/').next().unwrap_or_default();
        write_part(text, segment, own);
    }
}

fn write_part(text: &mut String, part: &Part, id: &str) {
    let prefixes: Vec<String> = part
        .prefixes
        .iter()
        .map(|net| format!("\"{net}\""))
        .collect();
    let _ = writeln!(
        text,
        "id = \"{id}\"\nprofile = \"p{}\"\nprefixes = [{}]",
        part.profile,
        prefixes.join(", ")
    );
    if let Some(at) = part.schedule {
        let _ = writeln!(text, "schedule = \"t{at}\"");
    }
}

fn write_schedule(text: &mut String, at: usize, schedule: &Schedule) {
    let written = |(first, last): (i64, i64)| {
        let day = |day| {
            let (year, month, day) = date(day);
            format!("{year}-{month:02}-{day:02}")
        };
        format!("\"{}..{}\"", day(first), day(last))
    };
    let mut own = Vec::new();
    for (number, (first, last, region)) in schedule.holidays.iter().enumerate() {
        let dates = written((*first, *last));
        match region {
            None => own.push(dates),
            Some(region) => {
                let _ = writeln!(
                    text,
                    "[[holidays]]\nid = \"h{at}-{number}\"\nregions = [\"r{region}\"]\ndates = [{dates}]"
                );
                own.push(format!("\"h{at}-{number}\""));
            }
        }
    }
    let _ = writeln!(
        text,
        "[[schedules]]\nid = \"t{at}\"\nholidays = [{}]",
        own.join(", ")
    );
    if let Some(profile) = schedule.holiday_profile {
        let _ = writeln!(text, "holiday_profile = \"p{profile}\"");
    }
    let time = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let _ = writeln!(text, "ranges = [");
    for range in &schedule.ranges {
        let days = range.days.iter().zip(DAYS).filter(|(named, _)| **named);
        let days: Vec<&str> = days.map(|(_, day)| day).collect();
        let (days, from, to) = (days.join(","), time(range.from), time(range.to));
        let _ = writeln!(
            text,
            "  {{ days = \"{days}\", from = \"{from}\", to = \"{to}\", profile = \"p{}\" }},",
            range.profile
        );
    }
    let _ = writeln!(text, "]");
}

/// A directory of this test's own, removed with it.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A configuration that was read.
struct Built {
    config: Config,
    loaded: Loaded,
    numbers: Numbers,
}

impl Built {
    fn new(directory: &Path, (text, table): &(String, String)) -> Built {
        let file = directory.join("s.toml");
        let written = std::fs::write(&file, text);
        let written = written.and_then(|()| std::fs::write(directory.join("schools.csv"), table));
        written.unwrap_or_else(|error| panic!("{error}"));
        let config = Config::load(&file);
        let config = config.unwrap_or_else(|problems| panic!("{problems:#?}\n{text}\n{table}"));
        let loaded = load(&config, SEED, &[], &KeptBefore::new(), Progress::Quiet);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:#?}"));
        let numbers = Numbers::default().assign(&config);
        Built {
            config,
            loaded,
            numbers,
        }
    }

    fn compile(&self, moment: &Moment) -> Compiled {
        let input = Input {
            config: &self.config,
            sources: &self.loaded.sources,
            numbers: &self.numbers,
            interfaces: &[],
            seed: SEED,
            moment,
            before: None,
        };
        compile(&input).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// What an address is under by what was compiled; the profile by what it blocks, denies and allows.
    fn under(&self, compiled: &Compiled, address: IpAddr) -> Option<(String, [u64; 3], u64)> {
        let all = compiled.desired.organisations.iter();
        let mut holders = all.filter(|row| row.prefixes.iter().any(|net| net.contains(&address)));
        let row = holders.next()?;
        assert!(holders.next().is_none(), "{address} is of two");
        let lists = (1 << filter_common::abi::LOCAL_LISTS) - 1;
        let masks = [
            row.policy.block,
            row.policy.local_deny & lists,
            row.policy.local_allow & lists,
        ];
        Some((row.id.clone(), masks, row.bypass_until_ns))
    }

    fn wanted(&self, world: &World, under: &Under) -> (String, [u64; 3], u64) {
        let masks = world.profiles.get(under.profile).map(|profile| {
            let category = |at: &usize| {
                CATEGORIES
                    .get(*at)
                    .and_then(|id| self.config.categories.bit(id))
            };
            let service = |at: &usize| self.numbers.local(&format!("service/v{at}"));
            let services = |ids: &[usize]| {
                ids.iter()
                    .filter_map(service)
                    .fold(0, |mask, at| mask | 1 << at)
            };
            let block = profile
                .block
                .iter()
                .filter_map(category)
                .fold(0, |mask, bit| mask | bit);
            [block, services(&profile.deny), services(&profile.allow)]
        });
        (under.id.clone(), masks.unwrap_or_default(), under.bypass)
    }
}

fn address(random: &mut Random, schools: usize) -> IpAddr {
    let school = u8::try_from(random.below(schools + 1)).unwrap_or(0);
    let low = u8::try_from(random.below(256)).unwrap_or(0);
    if random.once_in(3) {
        IpAddr::from([0xfd00, u16::from(school), 0, u16::from(low % 9), 0, 0, 0, 5])
    } else {
        IpAddr::V4(Ipv4Addr::new(10, 0, school, low))
    }
}

#[test]
fn compiled_policies_are_those_of_the_naive_reference() {
    let directory =
        std::env::temp_dir().join(format!("schoolgate-policies-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let directory = Directory(directory);
    let (mut compared, mut scheduled, mut bypassed) = (0, 0, 0);
    for seed in (SEED..).take(scaled(WORLDS)) {
        let mut random = Random::new(seed);
        let world = World::new(&mut random);
        let written = world.write();
        let built = Built::new(&directory.0, &written);
        let parts = world
            .schools
            .iter()
            .flat_map(|school| school.segments.iter().chain([&school.whole]));
        let bypasses: BTreeMap<String, u64> = parts
            .filter(|part| part.bypass > 0)
            .map(|part| (part.id.clone(), part.bypass))
            .collect();
        for _ in 0..MOMENTS {
            let second = day(&mut random) * 86_400 + number(&mut random, 86_400);
            let at = Timestamp::from_second(second).unwrap();
            let moment = Moment {
                at,
                bypasses: bypasses.clone(),
            };
            let compiled = built.compile(&moment);
            for _ in 0..ADDRESSES {
                let address = address(&mut random, world.schools.len());
                let told = under(&world.schools, &world.schedules, address, second);
                let wanted = told.as_ref().map(|under| built.wanted(&world, under));
                let seen = built.under(&compiled, address);
                assert_eq!(
                    seen, wanted,
                    "seed {seed}: {address} at {at}\n{}\n{}",
                    written.0, written.1
                );
                compared += 1;
                bypassed += usize::from(told.as_ref().is_some_and(|told| told.bypass > 0));
                let own = told.as_ref().and_then(|told| {
                    let mut parts = world
                        .schools
                        .iter()
                        .flat_map(|school| school.segments.iter().chain([&school.whole]));
                    parts
                        .find(|part| part.id == told.id)
                        .map(|part| part.profile != told.profile)
                });
                scheduled += usize::from(own == Some(true));
            }
        }
    }
    assert!(
        compared >= 1_000 && bypassed > compared / 20,
        "{compared} {bypassed}"
    );
    assert!(
        scheduled > compared / 20,
        "{scheduled} of {compared} by a schedule"
    );
}
