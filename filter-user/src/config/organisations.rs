//! `[[organisations]]` and `[infrastructure]`: whose addresses are whose.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::organisations_file::{self, SECTION as ORGANISATIONS_FILE};
use super::parse::{Context, did_you_mean};
use super::reader::{At, Section, Source};
use super::{
    DEFAULT_REALM, Infrastructure, Interface, Organisation, PORTAL, Place, Profile, RESOLVERS,
    SEGMENT_MARK,
};
use crate::problem::nearest;
use crate::schedule::Schedule;

/// A value with its line.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) text: String,
    pub(super) line: u32,
}

/// An organisation or a segment as its table or its row of CSV has it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) id: Option<Field>,
    pub(super) name: String,
    pub(super) region: Option<String>,
    pub(super) timezone: Option<Field>,
    pub(super) realm: Option<String>,
    pub(super) profile: Option<Field>,
    pub(super) schedule: Option<Field>,
    pub(super) prefixes: Vec<Field>,
}

/// Reads all organisations and segments.
pub(super) fn organisations(
    root: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    profiles: &[Profile],
    schedules: &[Schedule],
) -> Vec<Organisation> {
    let timezone = root.string(context.source, "timezone").map(|name| Field {
        line: context.source.line(name.at),
        text: name.value,
    });
    let file: Arc<Path> = Arc::from(context.source.file());
    let mut rows = Vec::new();
    for section in root.tables(context.source, "organisations") {
        tables(section, context.source, &file, &mut rows);
    }
    if let Some(path) = root.string(context.source, "organisations_file") {
        let path = context.base.join(path.value);
        rows.extend(organisations_file::rows(context.source, &path));
    }
    let mut known = Known {
        source: context.source,
        profiles: (profiles.iter().enumerate())
            .map(|(at, profile)| (profile.id.as_str(), at))
            .collect(),
        schedules: (schedules.iter().enumerate())
            .map(|(at, schedule)| (schedule.id.as_str(), at))
            .collect(),
        timezone: TimeZone::UTC,
        whole: HashMap::new(),
    };
    if let Some(name) = timezone
        && let Some(zone) = known.zone("timezone", &file, &name)
    {
        known.timezone = zone;
    }
    known.inherit(&rows);
    let rows = rows.iter();
    rows.filter_map(|row| known.organisation(row)).collect()
}

/// Reads a table of `[[organisations]]` with its segments.
fn tables(
    mut section: Section<'_, '_>,
    source: &mut Source,
    file: &Arc<Path>,
    rows: &mut Vec<Row>,
) {
    let mut row = table(&mut section, source, file, "[[organisations]]");
    if let Some(id) = row.id.as_ref().filter(|id| id.text.contains(SEGMENT_MARK)) {
        let what = format!("[[organisations]] id: \"{}\" holds a \"/\"", id.text);
        let remedy = "leave it out; segments are [[organisations.segments]]";
        source.problem_on_line(id.line, what, remedy);
        row.id = None;
    }
    for mut part in section.tables(source, "segments") {
        let mut segment = table(&mut part, source, file, "[[organisations.segments]]");
        part.finish(source);
        let id = segment.id.take();
        if let Some(id) = id.as_ref().filter(|id| id.text.contains(SEGMENT_MARK)) {
            let what = format!(
                "[[organisations.segments]] id: \"{}\" holds a \"/\"",
                id.text
            );
            source.problem_on_line(id.line, what, "write the segment's own id");
        } else if let (Some(whole), Some(own)) = (&row.id, id) {
            segment.id = Some(Field {
                text: format!("{}{SEGMENT_MARK}{}", whole.text, own.text),
                line: own.line,
            });
            rows.push(segment);
        }
    }
    section.finish(source);
    rows.push(row);
}

/// The keys that organisations and segments share.
fn table(
    section: &mut Section<'_, '_>,
    source: &mut Source,
    file: &Arc<Path>,
    name: &'static str,
) -> Row {
    let field = |source: &Source, text: At<String>| Field {
        line: source.line(text.at),
        text: text.value,
    };
    let id = section.required(source, "id");
    let value = |text: At<String>| text.value;
    let whole = name == "[[organisations]]";
    let text = section.string(source, "name").map(value);
    let region = whole.then(|| section.string(source, "region")).flatten();
    let timezone = whole.then(|| section.string(source, "timezone")).flatten();
    let realm = section.string(source, "realm").map(value);
    let prefixes = section.strings(source, "prefixes");
    let profile = section.string(source, "profile");
    let schedule = section.string(source, "schedule");
    Row {
        place: Place {
            file: Arc::clone(file),
            line: source.line(section.at()),
            section: name,
        },
        id: id.map(|id| field(source, id)),
        name: text.unwrap_or_default(),
        region: region.map(value),
        timezone: timezone.map(|timezone| field(source, timezone)),
        realm,
        profile: profile.map(|profile| field(source, profile)),
        schedule: schedule.map(|schedule| field(source, schedule)),
        prefixes: (prefixes.into_iter())
            .map(|prefix| field(source, prefix))
            .collect(),
    }
}

/// What an organisation's segments take from it where they name nothing.
#[derive(Clone)]
struct Whole {
    realm: String,
    region: String,
    timezone: TimeZone,
}

/// What rows are checked against.
struct Known<'a> {
    source: &'a mut Source,
    profiles: HashMap<&'a str, usize>,
    schedules: HashMap<&'a str, usize>,
    timezone: TimeZone,
    whole: HashMap<String, Whole>,
}

impl Known<'_> {
    /// Takes note of the organisations that segments may be parts of.
    fn inherit(&mut self, rows: &[Row]) {
        for row in rows {
            let Some(id) = row.id.as_ref().filter(|id| !id.text.contains(SEGMENT_MARK)) else {
                continue;
            };
            let zone = row.timezone.as_ref();
            let zone = zone.and_then(|zone| self.zone(row.place.section, &row.place.file, zone));
            let whole = Whole {
                realm: row
                    .realm
                    .clone()
                    .unwrap_or_else(|| DEFAULT_REALM.to_owned()),
                region: row.region.clone().unwrap_or_default(),
                timezone: zone.unwrap_or_else(|| self.timezone.clone()),
            };
            self.whole.insert(id.text.clone(), whole);
        }
    }

    fn problem(&mut self, row: &Row, line: u32, what: &str, remedy: impl Into<String>) {
        let what = format!("{} {what}", row.place.section);
        self.source.problem_in(&row.place.file, line, what, remedy);
    }

    fn zone(&mut self, section: &str, file: &Path, name: &Field) -> Option<TimeZone> {
        TimeZone::get(&name.text)
            .map_err(|_unknown| {
                let what = format!("{section} timezone: unknown time zone \"{}\"", name.text);
                let remedy = "write its name in the tz database, such as \"Europe/Moscow\"";
                self.source.problem_in(file, name.line, what, remedy);
            })
            .ok()
    }

    fn organisation(&mut self, row: &Row) -> Option<Organisation> {
        let line = row.place.line;
        if row.prefixes.is_empty() {
            self.problem(
                row,
                line,
                "has no prefixes",
                "add prefixes, address/length each",
            );
        }
        let prefixes = (row.prefixes.iter())
            .filter_map(|text| self.prefix(row, text))
            .collect();
        let profile = self.profile(row);
        let schedule = self.schedule(row);
        let Some(id) = &row.id else {
            if row.place.section == ORGANISATIONS_FILE {
                self.problem(row, line, "has no id", "write one");
            }
            return None;
        };
        let parent = id.text.split_once(SEGMENT_MARK);
        if let Some((whole, part)) = parent
            && (whole.is_empty() || part.is_empty() || part.contains(SEGMENT_MARK))
        {
            let what = format!("id: \"{}\" is no id of a segment", id.text);
            self.problem(row, id.line, &what, "write ORGANISATION/SEGMENT");
            return None;
        }
        let whole = self
            .whole
            .get(parent.map_or(id.text.as_str(), |(whole, _)| whole));
        let whole = whole.cloned().unwrap_or_else(|| Whole {
            realm: DEFAULT_REALM.to_owned(),
            region: String::new(),
            timezone: self.timezone.clone(),
        });
        Some(Organisation {
            id: id.text.clone(),
            name: row.name.clone(),
            place: row.place.clone(),
            region: whole.region,
            timezone: whole.timezone,
            realm: row.realm.clone().unwrap_or(whole.realm),
            prefixes,
            profile: profile?,
            schedule,
        })
    }

    fn profile(&mut self, row: &Row) -> Option<usize> {
        let Some(name) = &row.profile else {
            self.problem(row, row.place.line, "has no profile", "name its profile");
            return None;
        };
        let index = self.profiles.get(name.text.as_str()).copied();
        if index.is_none() {
            let hint = nearest(&name.text, self.profiles.keys().copied());
            let remedy = did_you_mean(hint, "profiles");
            let what = format!("profile: unknown profile \"{}\"", name.text);
            self.problem(row, name.line, &what, remedy);
        }
        index
    }

    fn schedule(&mut self, row: &Row) -> Option<usize> {
        let name = row.schedule.as_ref()?;
        let index = self.schedules.get(name.text.as_str()).copied();
        if index.is_none() {
            let hint = nearest(&name.text, self.schedules.keys().copied());
            let remedy = did_you_mean(hint, "schedules");
            let what = format!("schedule: unknown schedule \"{}\"", name.text);
            self.problem(row, name.line, &what, remedy);
        }
        index
    }

    /// A prefix without host bits; a bare address is a prefix of one.
    fn prefix(&mut self, row: &Row, field: &Field) -> Option<IpNet> {
        let text = &field.text;
        let parsed = match text.split_once('/') {
            None => text.parse::<IpAddr>().ok().map(IpNet::from),
            Some(_) => text.parse::<IpNet>().ok(),
        };
        let Some(net) = parsed else {
            let what = format!("prefixes: \"{text}\" is no prefix");
            let remedy = "write address/length, such as 192.0.2.0/28 or 2001:db8::/56";
            self.problem(row, field.line, &what, remedy);
            return None;
        };
        if net.trunc() != net {
            let what = format!("prefixes: \"{text}\" has host bits set");
            self.problem(row, field.line, &what, format!("write {}", net.trunc()));
        }
        Some(net.trunc())
    }
}

/// Sorts organisations by id, and notes ids that occur twice.
pub(super) fn sort(source: &mut Source, mut organisations: Vec<Organisation>) -> Vec<Organisation> {
    organisations.sort_by(|left, right| left.id.cmp(&right.id));
    for pair in organisations.windows(2) {
        if let [first, second] = pair
            && first.id == second.id
        {
            let what = format!(
                "{} id \"{}\" is there twice",
                second.place.section, second.id
            );
            let Place { file, line, .. } = &first.place;
            let remedy = if first.place.file == second.place.file {
                format!("give it another id: the first one is on line {line}")
            } else {
                format!(
                    "give it another id: the first one is in {}:{line}",
                    file.display()
                )
            };
            source.problem_in(&second.place.file, second.place.line, what, remedy);
        }
    }
    organisations
}

/// Refuses organisations in realms that no interface carries.
pub(super) fn check_realms(
    source: &mut Source,
    interfaces: &[Interface],
    organisations: &[Organisation],
) {
    let carried: Vec<&str> = interfaces
        .iter()
        .filter(|interface| interface.organisations)
        .flat_map(|interface| {
            let vlans = interface.vlans.iter().map(|(_, realm)| realm.as_str());
            std::iter::once(interface.realm.as_str()).chain(vlans)
        })
        .collect();
    if carried.is_empty() {
        return;
    }
    for organisation in organisations
        .iter()
        .filter(|org| !carried.contains(&org.realm.as_str()))
    {
        let what = format!(
            "{} realm: no interface carries realm \"{}\"",
            organisation.place.section, organisation.realm
        );
        let remedy = did_you_mean(
            nearest(&organisation.realm, carried.iter().copied()),
            "interfaces",
        );
        source.problem_in(
            &organisation.place.file,
            organisation.place.line,
            what,
            remedy,
        );
    }
}

/// Reads the provider's own addresses.
pub(super) fn infrastructure(
    root: &mut Section<'_, '_>,
    context: &mut Context<'_>,
) -> Vec<Infrastructure> {
    let source = &mut *context.source;
    let Some(mut section) = root.table(source, "infrastructure") else {
        return Vec::new();
    };
    let mut addresses = Vec::new();
    for role in [PORTAL, RESOLVERS, "other"] {
        for text in section.strings(source, role) {
            match text.value.parse::<IpAddr>() {
                Ok(address) => {
                    let line = source.line(text.at);
                    addresses.push(Infrastructure {
                        address: address.to_canonical(),
                        line,
                        role,
                    });
                }
                Err(_) => {
                    let what = format!("[infrastructure] {role}: \"{}\" is no address", text.value);
                    source.problem(text.at, what, "write single IPv4 or IPv6 addresses");
                }
            }
        }
    }
    section.finish(source);
    addresses
}
