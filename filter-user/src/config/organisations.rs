//! `[[organisations]]` and `[infrastructure]`: whose addresses are whose.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::parse::{Context, check_unique, did_you_mean};
use super::reader::{At, Section, Source};
use super::{DEFAULT_REALM, Infrastructure, Interface, Organisation, PORTAL, Profile, RESOLVERS};
use crate::problem::nearest;

/// Reads all organisations.
pub(super) fn organisations(
    root: &mut Section<'_, '_>,
    context: &mut Context<'_>,
    profiles: &[Profile],
) -> Vec<Organisation> {
    let by_id: HashMap<&str, usize> = profiles
        .iter()
        .enumerate()
        .map(|(at, profile)| (profile.id.as_str(), at))
        .collect();
    let mut seen = HashMap::new();
    let mut organisations = Vec::new();
    for section in root.tables(context.source, "organisations") {
        let line = context.source.line(section.at());
        if let Some((id, organisation)) = organisation(section, context, line, &by_id) {
            check_unique(context.source, "[[organisations]]", &mut seen, &id);
            organisations.push(organisation);
        }
    }
    organisations
}

fn organisation(
    mut section: Section<'_, '_>,
    context: &mut Context<'_>,
    line: u32,
    profiles: &HashMap<&str, usize>,
) -> Option<(At<String>, Organisation)> {
    let at = section.at();
    let source = &mut *context.source;
    let id = section.required(source, "id");
    let name = section
        .string(source, "name")
        .map_or_else(String::new, |name| name.value);
    let realm = section
        .string(source, "realm")
        .map_or(DEFAULT_REALM.to_owned(), |realm| realm.value);
    let texts = section.strings(source, "prefixes");
    if texts.is_empty() {
        source.problem(
            at,
            "[[organisations]] has no prefixes",
            "add prefixes = [\"address/length\"]",
        );
    }
    let prefixes = texts
        .iter()
        .filter_map(|text| prefix(source, text))
        .collect();
    let profile = section.required(source, "profile");
    let index = profile
        .as_ref()
        .and_then(|profile| profiles.get(profile.value.as_str()).copied());
    if let (Some(profile), None) = (&profile, index) {
        let hint = nearest(&profile.value, profiles.keys().copied());
        let what = format!(
            "[[organisations]] profile: unknown profile \"{}\"",
            profile.value
        );
        source.problem(profile.at, what, did_you_mean(hint, "profiles"));
    }
    section.finish(source);
    let id = id?;
    let value = id.value.clone();
    Some((
        id,
        Organisation {
            id: value,
            name,
            line,
            realm,
            prefixes,
            profile: index?,
        },
    ))
}

/// A prefix without host bits; a bare address is a prefix of one.
fn prefix(source: &mut Source, text: &At<String>) -> Option<IpNet> {
    let parsed = match text.value.split_once('/') {
        None => text.value.parse::<IpAddr>().ok().map(IpNet::from),
        Some(_) => text.value.parse::<IpNet>().ok(),
    };
    let Some(net) = parsed else {
        let what = format!(
            "[[organisations]] prefixes: \"{}\" is no prefix",
            text.value
        );
        source.problem(
            text.at,
            what,
            "write address/length, such as 192.0.2.0/28 or 2001:db8::/56",
        );
        return None;
    };
    if net.trunc() != net {
        let what = format!(
            "[[organisations]] prefixes: \"{}\" has host bits set",
            text.value
        );
        source.problem(text.at, what, format!("write {}", net.trunc()));
    }
    Some(net.trunc())
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
            "[[organisations]] realm: no interface carries realm \"{}\"",
            organisation.realm
        );
        let remedy = did_you_mean(
            nearest(&organisation.realm, carried.iter().copied()),
            "interfaces",
        );
        source.problem_on_line(organisation.line, what, remedy);
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
