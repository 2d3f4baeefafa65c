//! The sections of the configuration file, one function each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::again::Files;
use super::organisations::{check_realms, infrastructure, organisations, sort};
use super::portal::{always_reachable, portal};
use super::reader::{At, Section, Source};
use super::registries::registries;
use super::schedules::schedules;
use super::services::{Named, put_in_use, services};
use super::{
    Config, DEFAULT_REALM, DEFAULT_RUNTIME_DIR, DEFAULT_STATE_DIR, Daemon, Interface, Mode,
    Profile, Quic, Registry, Tier, enrol, segments,
};
use crate::categories::{AGES, BUILT_IN, Categories};
use crate::desired::{FlowSizes, MplsReply};
use crate::problem::{Problem, nearest};
use crate::safe_search::{self, Engine, SafeSearch};

/// Limit of new flows that suits a school of some hundred pupils by an order of magnitude.
const GAUGE_SECONDS_DEFAULT: u32 = 60;
const SYN_LIMIT_DEFAULT: u32 = 4_000;

/// Reads a whole configuration.
pub(super) fn config(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let mut source = Source::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        source.problem(at, one_line(error.message()), "correct the TOML");
    }
    if !errors.is_empty() {
        // What stands behind a broken line may be misread: no further complaints.
        return Err(source.into_problems());
    }
    // Before they are read: what changes meanwhile is read again.
    let files = Files::of(file, text, table.get_ref());
    let mut root = Section::new("the file", 0, table.get_ref());
    let base = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let (categories, mut foreign) = categories(&mut root, &mut source, &base);
    let (engines, problems) = engines(&mut root, &mut source, &base);
    foreign.extend(problems);
    let mut context = Context {
        source: &mut source,
        base: &base,
        categories: &categories,
    };
    let daemon = daemon(&mut root, &mut context);
    let interfaces = interfaces(&mut root, &mut context);
    let mut registries = registries(&mut root, &mut context, &daemon.state_dir);
    let (services, problems) = services(&mut root, &mut context);
    foreign.extend(problems);
    let (mut profiles, named) = profiles(&mut root, &mut context, &registries);
    put_in_use(
        context.source,
        &services,
        &named,
        &mut registries,
        &mut profiles,
    );
    let (calendars, schedules) = schedules(&mut root, &mut context, &profiles);
    let organisations = organisations(&mut root, &mut context, &profiles, &schedules);
    let mut infrastructure = infrastructure(&mut root, &mut context);
    let portal = portal(&mut root, &mut context);
    if let Some(portal) = &portal {
        always_reachable(portal, &mut infrastructure);
    }
    check_realms(context.source, &interfaces, &organisations);
    let organisations = sort(context.source, organisations);
    let organisations = segments::part(context.source, organisations);
    let enrolled = enrol::check(context.source, &organisations);
    root.finish(&mut source);
    foreign.extend(source.into_problems());
    if !foreign.is_empty() {
        return Err(foreign);
    }
    Ok(Config {
        file: file.to_path_buf(),
        files,
        daemon,
        categories,
        engines,
        interfaces,
        registries,
        services,
        organisations,
        profiles,
        calendars,
        schedules,
        infrastructure,
        portal,
        enrolled,
    })
}

/// The control socket, and nothing else.
pub(super) fn socket(file: &Path, text: &str) -> Option<PathBuf> {
    let mut source = Source::new(file, text);
    let (table, _) = DeTable::parse_recoverable(text);
    let mut root = Section::new("the file", 0, table.get_ref());
    let base = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let categories = Categories::default();
    let mut context = Context {
        source: &mut source,
        base: &base,
        categories: &categories,
    };
    Some(daemon(&mut root, &mut context).socket)
}

/// What every section needs.
pub(super) struct Context<'a> {
    pub(super) source: &'a mut Source,
    pub(super) base: &'a Path,
    pub(super) categories: &'a Categories,
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join("; ")
}

/// Notes ids that occur twice.
pub(super) fn check_unique(
    source: &mut Source,
    section: &str,
    seen: &mut HashMap<String, u32>,
    id: &At<String>,
) {
    let line = source.line(id.at);
    if let Some(first) = seen.insert(id.value.clone(), line) {
        let what = format!("{section} id \"{}\" is there twice", id.value);
        source.problem(
            id.at,
            what,
            format!("give it another id: the first one is on line {first}"),
        );
    }
}

fn categories(
    root: &mut Section<'_, '_>,
    source: &mut Source,
    base: &Path,
) -> (Categories, Vec<Problem>) {
    let Some((file, text)) = data_file(root, source, base, "categories_file") else {
        return (Categories::built_in(), Vec::new());
    };
    match Categories::from_text(&file, &text) {
        Ok(categories) => (categories, Vec::new()),
        Err(problems) => (
            Categories::from_text(&file, BUILT_IN).unwrap_or_default(),
            problems,
        ),
    }
}

/// The search engines.
fn engines(
    root: &mut Section<'_, '_>,
    source: &mut Source,
    base: &Path,
) -> (Vec<Engine>, Vec<Problem>) {
    let Some((file, text)) = data_file(root, source, base, "safe_search_file") else {
        return (safe_search::built_in(), Vec::new());
    };
    match safe_search::from_text(&file, &text) {
        Ok(engines) => (engines, Vec::new()),
        Err(problems) => (Vec::new(), problems),
    }
}

/// A file of data that takes the place of a built-in one, with its text; `None`: the built-in one serves.
fn data_file(
    root: &mut Section<'_, '_>,
    source: &mut Source,
    base: &Path,
    key: &'static str,
) -> Option<(PathBuf, String)> {
    let path = root.string(source, key)?;
    let file = base.join(&path.value);
    match std::fs::read_to_string(&file) {
        Ok(text) => Some((file, text)),
        Err(error) => {
            let what = format!("{key}: {} cannot be read: {error}", file.display());
            let remedy = "correct the path, or leave the key out for the built-in list";
            source.problem(path.at, what, remedy);
            None
        }
    }
}

fn daemon(root: &mut Section<'_, '_>, context: &mut Context<'_>) -> Daemon {
    let defaults = FlowSizes::default();
    let mut daemon = Daemon {
        runtime_dir: PathBuf::from(DEFAULT_RUNTIME_DIR),
        state_dir: PathBuf::from(DEFAULT_STATE_DIR),
        socket: PathBuf::new(),
        socket_group: false,
        sizes: defaults,
        syn_limit: SYN_LIMIT_DEFAULT,
        gauge_seconds: GAUGE_SECONDS_DEFAULT,
        pass_all: false,
    };
    let source = &mut *context.source;
    if let Some(mut section) = root.table(source, "daemon") {
        let mut path = |key| {
            section
                .string(source, key)
                .map(|text| context.base.join(text.value))
        };
        daemon.runtime_dir = path("runtime_dir").unwrap_or(daemon.runtime_dir);
        daemon.state_dir = path("state_dir").unwrap_or(daemon.state_dir);
        daemon.socket = path("socket").unwrap_or(daemon.socket);
        daemon.socket_group = section.flag(source, "socket_group").unwrap_or(false);
        daemon.pass_all = section.flag(source, "pass_all").unwrap_or(false);
        daemon.sizes.flows = power_of_two(
            &mut section,
            source,
            "flows",
            1 << 12..=1 << 24,
            defaults.flows,
        );
        daemon.sizes.hellos = power_of_two(
            &mut section,
            source,
            "hellos",
            1 << 10..=1 << 20,
            defaults.hellos,
        );
        let limit = section.number(source, "syn_limit", 1..=10_000_000);
        daemon.syn_limit = limit.map_or(SYN_LIMIT_DEFAULT, |limit| limit.value);
        let gauge = section.number(source, "gauge_seconds", 1..=3600);
        daemon.gauge_seconds = gauge.map_or(GAUGE_SECONDS_DEFAULT, |gauge| gauge.value);
        section.finish(source);
    }
    if daemon.socket.as_os_str().is_empty() {
        daemon.socket = daemon.runtime_dir.join("control.sock");
    }
    daemon
}

fn power_of_two(
    section: &mut Section<'_, '_>,
    source: &mut Source,
    key: &'static str,
    bounds: std::ops::RangeInclusive<u32>,
    default: u32,
) -> u32 {
    let Some(number) = section.number(source, key, bounds) else {
        return default;
    };
    if !number.value.is_power_of_two() {
        let what = format!("[daemon] {key}: {} is no power of two", number.value);
        source.problem(
            number.at,
            what,
            format!("write {}", number.value.next_power_of_two()),
        );
    }
    number.value
}

fn interfaces(root: &mut Section<'_, '_>, context: &mut Context<'_>) -> Vec<Interface> {
    let source = &mut *context.source;
    let mut seen = HashMap::new();
    let mut interfaces = Vec::new();
    for mut section in root.tables(source, "interfaces") {
        let name = section.required(source, "name");
        let side = section.choice(
            source,
            "side",
            &[("organisations", true), ("internet", false)],
        );
        let mode = section.choice(
            source,
            "mode",
            &[("native", Mode::Native), ("generic", Mode::Generic)],
        );
        let realm = section
            .string(source, "realm")
            .map_or(DEFAULT_REALM.to_owned(), |realm| realm.value);
        let vlans = vlans(&mut section, source);
        let mpls_reply = mpls_reply(&mut section, source);
        section.finish(source);
        let (Some(name), Some(organisations), Some(mode)) = (name, side, mode) else {
            continue;
        };
        check_unique(source, "[[interfaces]]", &mut seen, &name);
        interfaces.push(Interface {
            name: name.value,
            organisations,
            mode,
            realm,
            vlans,
            mpls_reply,
        });
    }
    interfaces
}

/// `vlans = { "101" = "realm", ... }`
fn vlans(section: &mut Section<'_, '_>, source: &mut Source) -> Vec<(u16, String)> {
    let Some(table) = section.table(source, "vlans") else {
        return Vec::new();
    };
    let mut vlans = Vec::new();
    for (key, at, value) in table.pairs() {
        let id = key.parse::<u16>().ok().filter(|id| (1..=4094).contains(id));
        if id.is_none() {
            source.problem(
                at,
                format!("vlans: \"{key}\" is no VLAN id"),
                "use a number from 1 to 4094",
            );
        }
        let realm = value.get_ref().as_str();
        if realm.is_none() {
            let what = format!("vlans {key}: not a string");
            source.problem(value.span().start, what, "write the realm's name");
        }
        if let (Some(id), Some(realm)) = (id, realm) {
            vlans.push((id, realm.to_owned()));
        }
    }
    vlans.sort();
    vlans
}

/// `mpls_reply = "none" | "unlabelled" | 16..1048575`
fn mpls_reply(section: &mut Section<'_, '_>, source: &mut Source) -> MplsReply {
    let Some(value) = section.any("mpls_reply") else {
        return MplsReply::None;
    };
    match value.get_ref() {
        DeValue::String(text) if text == "none" => return MplsReply::None,
        DeValue::String(text) if text == "unlabelled" => return MplsReply::Unlabelled,
        DeValue::Integer(number) => {
            // Labels below 16 are reserved, RFC 3032 section 2.1.
            if let Ok(label @ 16..=0xf_ffff) = u32::from_str_radix(number.as_str(), number.radix())
            {
                return MplsReply::Label(label);
            }
        }
        _ => {}
    }
    let remedy = "use \"none\", \"unlabelled\" or a label from 16 to 1048575";
    source.problem(
        value.span().start,
        "[[interfaces]] mpls_reply: unknown answer",
        remedy,
    );
    MplsReply::None
}

/// Mask of category ids, unknown ones noted.
pub(super) fn category_mask(context: &mut Context<'_>, section: &str, ids: &[At<String>]) -> u64 {
    let mut mask = 0;
    for id in ids {
        match context.categories.bit(&id.value) {
            Some(bit) => mask |= bit,
            None => {
                let remedy = match context.categories.nearest(&id.value) {
                    Some(known) => format!("did you mean \"{known}\"?"),
                    None => "`schoolgate categories` lists those that there are".to_owned(),
                };
                context.source.problem(
                    id.at,
                    format!("{section}: unknown category \"{}\"", id.value),
                    remedy,
                );
            }
        }
    }
    mask
}

fn profiles(
    root: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    registries: &[Registry],
) -> (Vec<Profile>, Vec<Named>) {
    let mut seen = HashMap::new();
    let (mut profiles, mut all_named) = (Vec::new(), Vec::new());
    for section in root.tables(context.source, "profiles") {
        let Some((id, profile, named)) = profile(section, context, registries) else {
            continue;
        };
        check_unique(context.source, "[[profiles]]", &mut seen, &id);
        profiles.push(profile);
        all_named.push(named);
    }
    (profiles, all_named)
}

const SAFE_SEARCH: &[(&str, SafeSearch)] = &[
    ("off", SafeSearch::Off),
    ("moderate", SafeSearch::Moderate),
    ("strict", SafeSearch::Strict),
];

fn profile(
    mut section: Section<'_, '_>,
    context: &mut Context<'_>,
    registries: &[Registry],
) -> Option<(At<String>, Profile, Named)> {
    let source = &mut *context.source;
    let id = section.required(source, "id");
    let age = section.number(source, "age", 0..=18);
    if let Some(age) = age.as_ref().filter(|age| !AGES.contains(&age.value)) {
        source.problem(
            age.at,
            format!("[[profiles]] age: {} is no age mark", age.value),
            "use 0, 6, 12, 16 or 18",
        );
    }
    let block = section.strings(source, "block");
    let warn = section.strings(source, "warn");
    let suspicious = section.flag(source, "suspicious").unwrap_or(true);
    let allow_only = section.flag(source, "allow_only").unwrap_or(false);
    let allow = section.strings(source, "allow");
    let deny = section.strings(source, "deny");
    let named = Named {
        allow: section.strings(source, "allow_services"),
        deny: section.strings(source, "deny_services"),
    };
    let reset = section.choice(source, "action", &[("reset", true), ("drop", false)]);
    let dns = section.choice(source, "dns", &[("portal", false), ("nxdomain", true)]);
    let quic = section.choice(
        source,
        "quic",
        &[
            ("inspect", Quic::Inspect),
            ("fallback", Quic::Fallback),
            ("allow", Quic::Allow),
        ],
    );
    let encrypted_dns = section.choice(
        source,
        "encrypted_dns",
        &[("block", true), ("allow", false)],
    );
    let ech = section.choice(source, "ech", &[("withhold", true), ("allow", false)]);
    let safe_search = section.choice(source, "safe_search", SAFE_SEARCH);
    section.finish(source);
    let profile = Profile {
        id: id.as_ref().map_or_else(String::new, |id| id.value.clone()),
        age: age.map_or(18, |age| age.value),
        block: category_mask(context, "[[profiles]] block", &block),
        warn: category_mask(context, "[[profiles]] warn", &warn),
        suspicious,
        allow_only,
        allow: local_lists(context.source, "[[profiles]] allow", &allow, registries),
        deny: local_lists(context.source, "[[profiles]] deny", &deny, registries),
        reset: reset.unwrap_or(true),
        nxdomain: dns.unwrap_or(false),
        quic: quic.unwrap_or_default(),
        encrypted_dns: encrypted_dns.unwrap_or(true),
        withhold_ech: ech.unwrap_or(true),
        safe_search: safe_search.unwrap_or(SafeSearch::Off),
    };
    Some((id?, profile, named))
}

/// Indexes of the local registries with these ids.
fn local_lists(
    source: &mut Source,
    key: &str,
    ids: &[At<String>],
    registries: &[Registry],
) -> Vec<usize> {
    let mut lists = Vec::new();
    for id in ids {
        let found = registries
            .iter()
            .position(|registry| registry.id == id.value);
        match found.and_then(|at| registries.get(at).map(|registry| (at, registry.tier))) {
            Some((at, Tier::Local)) => lists.push(at),
            Some((_, tier)) => {
                let what = format!(
                    "{key}: registry \"{}\" is of tier {}",
                    id.value,
                    tier.label()
                );
                source.problem(id.at, what, "name registries of tier local here");
            }
            None => {
                let known = registries
                    .iter()
                    .filter(|registry| registry.tier == Tier::Local);
                let hint = nearest(&id.value, known.map(|registry| registry.id.as_str()));
                source.problem(
                    id.at,
                    format!("{key}: unknown registry \"{}\"", id.value),
                    did_you_mean(hint, "registries"),
                );
            }
        }
    }
    lists
}

pub(super) fn did_you_mean(hint: Option<&str>, section: &str) -> String {
    match hint {
        Some(known) => format!("did you mean \"{known}\"?"),
        None => format!("add it as [[{section}]]"),
    }
}
