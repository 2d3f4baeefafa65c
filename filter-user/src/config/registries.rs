//! `[[registries]]`.

use std::collections::HashMap;

use filter_common::abi::LOCAL_LISTS;

use super::parse::{Context, category_mask, check_unique};
use super::reader::{At, Section, one_or_more};
use super::{Format, Registry, Tier};
use crate::categories::{SUSPICIOUS, UNLAWFUL};
use crate::normalise::Guards;

/// Rejected lines in percent above which a registry is refused.
const REJECTED_PERCENT_DEFAULT: u32 = 20;
/// Local lists are bits of a mask.
const LOCAL_LISTS_MAX: usize = LOCAL_LISTS as usize;

/// Reads all of them.
pub(super) fn registries(root: &mut Section<'_, '_>, context: &mut Context<'_>) -> Vec<Registry> {
    let mut seen = HashMap::new();
    let mut registries = Vec::new();
    for section in root.tables(context.source, "registries") {
        let Some((id, registry)) = registry(section, context) else {
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
    let path = section.required(source, "path");
    let default_semantics: &[(&str, bool)] = match format {
        Some(Format::Ut1) => &[("suffix", true), ("exact", false)],
        _ => &[("exact", false), ("suffix", true)],
    };
    if matches!(format, Some(Format::Domains | Format::Mixed)) && !section.has("semantics") {
        let remedy = "say semantics = \"exact\" (the name alone) or \"suffix\" (all below it too)";
        source.problem(at, "[[registries]] has no semantics", remedy);
    }
    let bare_is_suffix = section.choice(source, "semantics", default_semantics);
    let percent = section.number(source, "rejected_max_percent", 0..=100);
    let ids = section.strings(source, "categories");
    let categories = category_mask(context, "[[registries]] categories", &ids);
    let directories = directories(&mut section, context);
    section.finish(context.source);
    let (id, tier, format, path) = (id?, tier?, format?, path?);
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
        path: context.base.join(path.value),
        bare_is_suffix: bare_is_suffix?,
        categories,
        directories,
        rejected_max_percent: percent.map_or(REJECTED_PERCENT_DEFAULT, |percent| percent.value),
        guards: Guards::ALL,
        given: None,
    };
    Some((id, registry))
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
        Tier::Nsor if format == Format::Ut1 => 0,
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
