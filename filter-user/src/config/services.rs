//! `[[services]]`, `services_file`, and the lists that services in use become.

use std::path::Path;
use std::sync::Arc;

use filter_common::abi::LOCAL_LISTS;

use super::parse::Context;
use super::parse::did_you_mean;
use super::reader::{At, Section, Source};
use super::{Format, Profile, Registry, Tier};
use crate::normalise::Guards;
use crate::problem::{Problem, nearest};
use crate::registry::Given;
use crate::registry::dump::Hidden;
use crate::services::{Service, check, from_json};

/// Services that a profile names, with the place for the problems.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub(super) allow: Vec<At<String>>,
    pub(super) deny: Vec<At<String>>,
}

/// Reads all services; problems of the file come back.
pub(super) fn services(
    root: &mut Section<'_, '_>,
    context: &mut Context<'_>,
) -> (Vec<Service>, Vec<Problem>) {
    let source = &mut *context.source;
    let file: Arc<Path> = Arc::from(source.file());
    let mut services = Vec::new();
    for mut section in root.tables(source, "services") {
        let line = source.line(section.at());
        let id = section.required(source, "id");
        let mut text = |key| section.string(source, key).map(|text| text.value);
        let titles = ["title_ru", "title_en", "group"].map(|key| text(key).unwrap_or_default());
        let mut entries = section.strings(source, "domains");
        entries.extend(section.strings(source, "prefixes"));
        section.finish(source);
        let [title_ru, title_en, group] = titles;
        let Some(id) = id else { continue };
        let entries = entries.into_iter().map(|entry| Given {
            line: source.line(entry.at),
            text: entry.value,
        });
        services.push(Service {
            id: id.value,
            title_ru,
            title_en,
            group,
            line,
            file: Arc::clone(&file),
            entries: entries.collect(),
        });
    }
    let mut problems = Vec::new();
    if let Some(path) = root.string(source, "services_file") {
        let path = context.base.join(path.value);
        let read = std::fs::read_to_string(&path).map_err(|error| {
            let what = format!("cannot be read: {error}");
            vec![Problem::of_file(&path, what, "correct services_file")]
        });
        match read.and_then(|text| from_json(&path, &text)) {
            Ok(read) => services.extend(read),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        problems.extend(check(&services));
    }
    (services, problems)
}

/// Makes a local list of every service that a profile names, so that it takes a number like any other, and
/// gives the lists to the profiles.
pub(super) fn put_in_use(
    source: &mut Source,
    services: &[Service],
    named: &[Named],
    registries: &mut Vec<Registry>,
    profiles: &mut [Profile],
) {
    for (profile, named) in profiles.iter_mut().zip(named) {
        let keys = [
            ("allow_services", &named.allow, &mut profile.allow),
            ("deny_services", &named.deny, &mut profile.deny),
        ];
        for (key, ids, lists) in keys {
            for id in ids {
                lists.extend(list(source, key, id, services, registries));
            }
        }
    }
    let local = registries
        .iter()
        .filter(|registry| registry.tier == Tier::Local);
    let (local, limit) = (local.count(), LOCAL_LISTS as usize);
    let served = registries
        .iter()
        .filter(|registry| registry.given.is_some())
        .count();
    if served > 0 && local > limit {
        let what = format!(
            "{served} services in use and {} registries of tier local",
            local - served
        );
        let remedy = format!("name fewer in profiles, or join some: together {limit} are possible");
        source.problem(0, what, remedy);
    }
}

/// The list of a service; made, where there is none yet.
fn list(
    source: &mut Source,
    key: &str,
    id: &At<String>,
    services: &[Service],
    registries: &mut Vec<Registry>,
) -> Option<usize> {
    let Some(service) = services.iter().find(|service| service.id == id.value) else {
        let hint = nearest(
            &id.value,
            services.iter().map(|service| service.id.as_str()),
        );
        let what = format!("[[profiles]] {key}: unknown service \"{}\"", id.value);
        source.problem(id.at, what, did_you_mean(hint, "services"));
        return None;
    };
    let name = service.list();
    if let Some(at) = registries.iter().position(|registry| registry.id == name) {
        if registries
            .get(at)
            .is_some_and(|registry| registry.given.is_none())
        {
            let what = format!("[[registries]] id: \"{name}\" is the list of a service");
            source.problem(id.at, what, "give the registry another id");
        }
        return Some(at);
    }
    registries.push(Registry {
        id: name,
        line: service.line,
        tier: Tier::Local,
        format: Format::Mixed,
        path: service.file.to_path_buf(),
        bare_is_suffix: true,
        categories: 0,
        directories: Vec::new(),
        rejected_max_percent: 0,
        guards: Guards::ALL,
        sets: Vec::new(),
        deltas: None,
        hidden_urls: Hidden::Skip,
        fetch: None,
        age_alarm: None,
        size: super::SizeLimits::NONE,
        given: Some(Arc::new(service.entries.clone())),
        signature: None,
    });
    Some(registries.len() - 1)
}
