//! Where a registry comes from: `url` and its keys, beside `path`.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use hyper::Uri;

use super::parse::Context;
use super::reader::{Section, Source};
use super::{Fetch, Format};
use crate::sources::Store;

const INTERVAL_SECONDS: u32 = 3_600;
const TIMEOUT_SECONDS: u32 = 300;
const SIZE_MAX_MIB: u32 = 1_024;
const AGE_ALARM_HOURS: u32 = 24;

/// Keys that a registry with a `path` does not have.
const OF_URL: [&str; 9] = [
    "interval_seconds",
    "timeout_seconds",
    "size_max_mib",
    "ca_file",
    "user",
    "password_file",
    "signature_url",
    "hold_updates",
    "archive_root",
];

/// What a table says of its registry's place.
pub(super) struct From {
    /// The file or directory to read; of a URL the last good copy.
    pub(super) path: PathBuf,
    /// How it is fetched.
    pub(super) fetch: Option<Fetch>,
    /// Age at which an alarm is raised.
    pub(super) age_alarm: Option<Duration>,
}

impl From {
    /// Refuses the place of a signature that nothing verifies.
    pub(super) fn refuse_signature(&self, source: &mut Source, at: usize) {
        let fetch = self.fetch.as_ref();
        if fetch.is_some_and(|fetch| fetch.signature_url.is_some()) {
            let what = "[[registries]] signature_url: the registry has no key";
            source.problem(at, what, "add minisign_key or verify_command");
        }
    }
}

/// Reads the keys of a registry with this id.
pub(super) fn from(
    section: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    id: Option<&str>,
    format: Option<Format>,
    state_dir: &Path,
) -> Option<From> {
    let hours = section.number(context.source, "age_alarm_hours", 1..=8_760);
    let hour = |hours: u32| Duration::from_secs(u64::from(hours) * 3_600);
    let at = section.at();
    if !section.has("url") {
        for key in OF_URL {
            if section.has(key) {
                let what = format!("[[registries]] {key}: the registry has no url");
                let remedy = "remove the line, or give url instead of path";
                context.source.problem(at, what, remedy);
                let _ = section.any(key);
            }
        }
        let path = section.required(context.source, "path")?;
        return Some(From {
            path: context.base.join(path.value),
            fetch: None,
            age_alarm: hours.map(|hours| hour(hours.value)),
        });
    }
    if section.has("path") {
        let remedy = "remove one of them";
        let what = "[[registries]] has both path and url";
        context.source.problem(at, what, remedy);
        let _ = section.any("path");
    }
    if section.has("archive_root") && format.is_some_and(Format::is_one_file) {
        let what = "[[registries]] archive_root: this format is one file";
        context.source.problem(at, what, "remove the line");
    }
    let fetch = fetch(section, context)?;
    let directory = state_dir.join("sources").join(id?);
    let fetch = Fetch { directory, ..fetch };
    Some(From {
        path: Store::new(&fetch.directory).to_read(),
        fetch: Some(fetch),
        age_alarm: Some(hour(hours.map_or(AGE_ALARM_HOURS, |hours| hours.value))),
    })
}

fn fetch(section: &mut Section<'_, '_>, context: &mut Context<'_>) -> Option<Fetch> {
    let at = section.at();
    let source = &mut *context.source;
    let url = checked(section, source, "url");
    let signature_url = checked(section, source, "signature_url");
    let mut number = |key, bounds, default: u32| {
        let number = section.number(source, key, bounds);
        u64::from(number.map_or(default, |number| number.value))
    };
    let interval = number("interval_seconds", 10..=604_800, INTERVAL_SECONDS);
    let timeout = number("timeout_seconds", 1..=3_600, TIMEOUT_SECONDS);
    let size_max_mib = number("size_max_mib", 1..=4_096, SIZE_MAX_MIB);
    let hold_updates = section.flag(source, "hold_updates").unwrap_or(false);
    let archive_root = section.string(source, "archive_root");
    let ca_file = section.string(source, "ca_file");
    let user = section.string(source, "user");
    let password_file = section.string(source, "password_file");
    let url = url?;
    if user.is_some() != password_file.is_some() {
        let remedy = "give both user and password_file, or none";
        source.problem(at, "[[registries]] has half of a user and password", remedy);
    }
    if user.is_some() && !url.starts_with("https://") {
        let what = "[[registries]] user: the password would cross the network in the clear";
        source.problem(at, what, "write an https:// url");
    }
    if let Some(root) = &archive_root {
        let inward = |part| matches!(part, Component::Normal(_));
        if !Path::new(&root.value).components().all(inward) {
            let what = "[[registries]] archive_root: leads out of the archive";
            source.problem(root.at, what, "write such as collection/data");
        }
    }
    let base = context.base;
    Some(Fetch {
        url,
        signature_url,
        interval: Duration::from_secs(interval),
        timeout: Duration::from_secs(timeout),
        size_max: size_max_mib << 20,
        ca_file: ca_file.map(|file| base.join(file.value)),
        user: user
            .zip(password_file)
            .map(|(user, file)| (user.value, base.join(file.value))),
        hold_updates,
        archive_root: archive_root.map(|root| PathBuf::from(root.value)),
        directory: PathBuf::new(),
    })
}

/// A URL that can be asked, without a password in it.
fn checked(
    section: &mut Section<'_, '_>,
    source: &mut Source,
    key: &'static str,
) -> Option<String> {
    let url = section.string(source, key)?;
    let parsed = url.value.parse::<Uri>().ok();
    let parsed = parsed.filter(|uri| {
        let scheme = uri.scheme_str();
        uri.host().is_some_and(|host| !host.is_empty())
            && (scheme == Some("http") || scheme == Some("https"))
    });
    let Some(uri) = parsed else {
        let what = format!("[[registries]] {key}: no URL of http or https");
        source.problem(
            url.at,
            what,
            "write such as https://lists.example/unified.xml",
        );
        return None;
    };
    if uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        let what = format!("[[registries]] {key}: holds a user or a password");
        source.problem(
            url.at,
            what,
            "use user and password_file: they are never shown",
        );
        return None;
    }
    Some(url.value)
}
