//! `[[registries]]`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use filter_common::abi::LOCAL_LISTS;

use super::parse::{Context, category_mask, check_unique};
use super::reader::{At, Section, Source, one_or_more};
use super::sources::from;
use super::{Format, Registry, SizeLimits, Tier};
use crate::categories::{SUSPICIOUS, UNLAWFUL};
use crate::normalise::Guards;
use crate::registry::dump::Hidden;
use crate::signature::Signature;

/// Rejected lines in percent above which a registry is refused.
const REJECTED_PERCENT_DEFAULT: u32 = 20;
/// Entries in percent above which a registry has lost too many at once to be whole: in a day about a tenth
/// of the published unified registry changed, and a third of that was removed.
const SHRINK_PERCENT_DEFAULT: u32 = 50;
/// Entries in percent above which it has gained too many at once to be what it was.
const GROWTH_PERCENT_DEFAULT: u32 = 100;

/// The greatest growth that can be let through: from one entry to ten million, which is as good as no limit.
const GROWTH_PERCENT_MAX: u32 = 1_000_000_000;
/// Entries below which a list changes as it likes, where nothing is said: a dump is never that small.
const SIZE_FROM_DEFAULT: u64 = 1_000;
/// Local lists are bits of a mask.
const LOCAL_LISTS_MAX: usize = LOCAL_LISTS as usize;

/// Reads all of them.
pub(super) fn registries(
    root: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    state_dir: &Path,
) -> Vec<Registry> {
    let mut seen = HashMap::new();
    let mut registries = Vec::new();
    for section in root.tables(context.source, "registries") {
        let Some((id, registry)) = registry(section, context, state_dir) else {
            continue;
        };
        check_unique(context.source, "[[registries]]", &mut seen, &id);
        registries.push(registry);
    }
    let local = registries
        .iter()
        .filter(|registry| registry.tier == Tier::Local)
        .count();
    if local > LOCAL_LISTS_MAX {
        let what = format!("{local} registries of tier local");
        context.source.problem(
            0,
            what,
            format!("join some of them: at most {LOCAL_LISTS_MAX} are possible"),
        );
    }
    registries
}

fn registry(
    mut section: Section<'_, '_>,
    context: &mut Context<'_>,
    state_dir: &Path,
) -> Option<(At<String>, Registry)> {
    let at = section.at();
    let source = &mut *context.source;
    let id = section.required(source, "id");
    let tier = section.required(source, "tier").is_some();
    let tier = if tier {
        section.choice(source, "tier", TIERS)
    } else {
        None
    };
    let format = section.choice(source, "format", FORMATS);
    let known = id.as_ref().map(|id| id.value.clone());
    let place = from(&mut section, context, known.as_deref(), format, state_dir);
    let source = &mut *context.source;
    let default_semantics: &[(&str, bool)] = match format {
        Some(
            Format::Ut1
            | Format::Dnsmasq
            | Format::Unbound
            | Format::V2fly
            | Format::Squidguard
            | Format::E2guardian
            | Format::SocResources,
        ) => &[("suffix", true), ("exact", false)],
        _ => &[("exact", false), ("suffix", true)],
    };
    if matches!(format, Some(Format::Domains | Format::Mixed)) && !section.has("semantics") {
        let remedy = "say semantics = \"exact\" (the name alone) or \"suffix\" (all below it too)";
        source.problem(at, "[[registries]] has no semantics", remedy);
    }
    refuse_what_files_say(source, &section, format, tier);
    let bare_is_suffix = section.choice(source, "semantics", default_semantics);
    let percent = section.number(source, "rejected_max_percent", 0..=100);
    let ids = section.strings(source, "categories");
    let categories = category_mask(context, "[[registries]] categories", &ids);
    let directories = directories(&mut section, context);
    let dump = of_dump(&mut section, context, format);
    let sets = sets(&mut section, context, format);
    let size = size(&mut section, context, format);
    let signature = signature(&mut section, context, format);
    if let (Some(place), None) = (&place, &signature) {
        place.refuse_signature(context.source, at);
    }
    section.finish(context.source);
    let (id, tier, format, place) = (id?, tier?, format?, place?);
    if tier == Tier::Ech && format != Format::Domains {
        let remedy = "use format = \"domains\"";
        (context.source).problem(at, "[[registries]] of tier ech holds names only", remedy);
    }
    let categories = default_categories(context, at, tier, format, categories);
    let registry = Registry {
        id: id.value.clone(),
        line: context.source.line(at),
        tier,
        format,
        path: place.path,
        fetch: place.fetch,
        age_alarm: place.age_alarm,
        sets,
        bare_is_suffix: bare_is_suffix?,
        categories,
        directories,
        rejected_max_percent: percent.map_or(REJECTED_PERCENT_DEFAULT, |percent| percent.value),
        guards: Guards::ALL,
        deltas: dump.deltas,
        hidden_urls: dump.hidden_urls,
        size,
        given: None,
        signature,
    };
    Some((id, registry))
}

/// Keys that only a dump has; elsewhere they are unknown.
struct OfDump {
    deltas: Option<PathBuf>,
    hidden_urls: Hidden,
}

fn of_dump(
    section: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    format: Option<Format>,
) -> OfDump {
    if format.is_none() {
        // Whether they fit shows when the format's name is corrected.
        for key in ["deltas", "https_urls", "shrink_max_percent"] {
            let _ = section.any(key);
        }
    }
    if format != Some(Format::Dump) {
        return OfDump {
            deltas: None,
            hidden_urls: Hidden::Skip,
        };
    }
    let words = &[("skip", Hidden::Skip), ("host", Hidden::Host)];
    let deltas = section.string(context.source, "deltas");
    let hidden = section.choice(context.source, "https_urls", words);
    OfDump {
        deltas: deltas.map(|deltas| context.base.join(deltas.value)),
        hidden_urls: hidden.unwrap_or(Hidden::Skip),
    }
}

/// `shrink_max_percent` and `growth_max_percent`
fn size(
    section: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    format: Option<Format>,
) -> SizeLimits {
    let shrink = section.number(context.source, "shrink_max_percent", 0..=100);
    let growth = section.number(context.source, "growth_max_percent", 0..=GROWTH_PERCENT_MAX);
    let said = shrink.is_some() || growth.is_some() || format == Some(Format::Dump);
    SizeLimits {
        shrink_max_percent: shrink.map_or(SHRINK_PERCENT_DEFAULT, |percent| percent.value),
        growth_max_percent: growth.map_or(GROWTH_PERCENT_DEFAULT, |percent| percent.value),
        from: if said { 0 } else { SIZE_FROM_DEFAULT },
    }
}

/// What must not be said of a format whose files say it themselves.
fn refuse_what_files_say(
    source: &mut Source,
    section: &Section<'_, '_>,
    format: Option<Format>,
    tier: Option<Tier>,
) {
    let education = format == Some(Format::Education);
    let mut refuse = |wrong: bool, what: &str, remedy: &str| {
        if wrong {
            source.problem(section.at(), format!("[[registries]] {what}"), remedy);
        }
    };
    let itself = education || matches!(format, Some(Format::Rpz | Format::Dump));
    let remove = "remove the line";
    refuse(
        itself && section.has("semantics"),
        "semantics: the file says itself what its names mean",
        remove,
    );
    refuse(
        education && section.has("categories"),
        "categories: the file's records have their own",
        remove,
    );
    refuse(
        education && tier != Some(Tier::Nsor),
        "of format education is of another tier",
        "write tier = \"nsor\"",
    );
    refuse(
        format == Some(Format::SocResources) && tier != Some(Tier::Local),
        "of format soc_resources lists what is allowed",
        "write tier = \"local\"",
    );
}

const TIERS: &[(&str, Tier)] = &[
    ("unified", Tier::Unified),
    ("nsor", Tier::Nsor),
    ("local", Tier::Local),
    ("suspicious", Tier::Suspicious),
    ("encrypted_dns", Tier::EncryptedDns),
    ("ech", Tier::Ech),
];

const FORMATS: &[(&str, Format)] = &[
    ("domains", Format::Domains),
    ("addresses", Format::Addresses),
    ("mixed", Format::Mixed),
    ("urls", Format::Urls),
    ("ut1", Format::Ut1),
    ("dump", Format::Dump),
    ("soc_resources", Format::SocResources),
    ("hosts", Format::Hosts),
    ("adguard", Format::Adguard),
    ("rpz", Format::Rpz),
    ("dnsmasq", Format::Dnsmasq),
    ("unbound", Format::Unbound),
    ("netset", Format::Netset),
    ("v2fly", Format::V2fly),
    ("squidguard", Format::Squidguard),
    ("e2guardian", Format::E2guardian),
    ("extfilter", Format::Extfilter),
    ("education", Format::Education),
];

/// An entry is in a registry only if it has a category: each tier but the education registry has one
/// of its own.
fn default_categories(
    context: &mut Context<'_>,
    at: usize,
    tier: Tier,
    format: Format,
    mask: u64,
) -> u64 {
    if mask != 0 {
        return mask;
    }
    match tier {
        Tier::Unified => context.categories.bit(UNLAWFUL).unwrap_or(1),
        Tier::Suspicious => context.categories.bit(SUSPICIOUS).unwrap_or(1),
        Tier::Local | Tier::EncryptedDns | Tier::Ech => 0,
        Tier::Nsor if matches!(format, Format::Ut1 | Format::Squidguard | Format::Education) => 0,
        Tier::Nsor => {
            let remedy = "add categories = [\"...\"]: a profile blocks by them";
            context
                .source
                .problem(at, "[[registries]] of tier nsor has no categories", remedy);
            0
        }
    }
}

/// `directories = { porn = "adult", forums = ["forums", "social"] }`
fn directories(section: &mut Section<'_, '_>, context: &mut Context<'_>) -> Vec<(String, u64)> {
    let Some(table) = section.table(context.source, "directories") else {
        return Vec::new();
    };
    let mut directories = Vec::new();
    for (directory, _, value) in table.pairs() {
        let ids = one_or_more(context.source, "[[registries]] directories", value);
        let mask = category_mask(context, "[[registries]] directories", &ids);
        directories.push((directory.to_owned(), mask));
    }
    directories
}

/// `sets = ["category-porn", "google@ads"]`
fn sets(
    section: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    format: Option<Format>,
) -> Vec<String> {
    let at = section.at();
    let sets = section.strings(context.source, "sets");
    let needed = matches!(format, Some(Format::V2fly | Format::E2guardian));
    if needed && sets.is_empty() {
        let remedy = "add sets = [\"...\"]: the directory holds more than is meant";
        context
            .source
            .problem(at, "[[registries]] has no sets", remedy);
    }
    let taken = needed || matches!(format, Some(Format::Squidguard) | None);
    if let Some(first) = sets.first().filter(|_| !taken) {
        let what = "[[registries]] sets: this format has none";
        let remedy = "remove the line; v2fly, squidguard and e2guardian have sets";
        context.source.problem(first.at, what, remedy);
    }
    sets.into_iter().map(|set| set.value).collect()
}

/// `minisign_key = "RW..."`, or `verify_command = ["openssl", ..., "{file}", ..., "{signature}"]`
fn signature(
    section: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    format: Option<Format>,
) -> Option<Signature> {
    let source = &mut *context.source;
    let is_command = section.has("verify_command");
    let key = section.string(source, "minisign_key");
    let words = section.strings(source, "verify_command");
    let word = words.first().map(|word| word.at);
    let of_command = word.unwrap_or(section.at());
    let at = key.as_ref().map(|key| key.at);
    let at = at.or(is_command.then_some(of_command))?;
    if is_directory(format) {
        let what = "[[registries]] of this format is a directory: it has no signature";
        let remedy =
            "remove minisign_key or verify_command; verify what is delivered before it is unpacked";
        source.problem(at, what, remedy);
        return None;
    }
    let Some(key) = key else {
        let words = words.into_iter().map(|word| word.value).collect();
        let made = Signature::command(words, context.base);
        let report = |fault| {
            let remedy =
                "write [\"program\", \"argument\", ...] with {file} and {signature} in arguments";
            source.problem(
                at,
                format!("[[registries]] verify_command: {fault}"),
                remedy,
            );
        };
        return made.map_err(report).ok();
    };
    if is_command {
        let what = "[[registries]] has both minisign_key and verify_command";
        source.problem(at, what, "remove one of them");
        return None;
    }
    let report = |_| {
        let what = "[[registries]] minisign_key: is no public key of minisign";
        let remedy = "copy the second line of the publisher's minisign.pub, 56 characters that begin with RW";
        source.problem(at, what, remedy);
    };
    Signature::minisign(&key.value).map_err(report).ok()
}

/// Whether a registry of that format is more than the file at its path.
fn is_directory(format: Option<Format>) -> bool {
    matches!(
        format,
        Some(
            Format::Ut1
                | Format::V2fly
                | Format::E2guardian
                | Format::Extfilter
                | Format::Squidguard
        )
    )
}
