//! `[portal]`: where the block page is served, and what it says of the provider.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::parse::Context;
use super::reader::{At, Section, Source};
use super::{Infrastructure, Portal};
use crate::normalise;

/// Longest texts, in characters: the largest page has to stay below 14 KB.
const NAME_MAX: usize = 120;
const CONTACT_MAX: usize = 200;
const APPEAL_MAX: usize = 500;
/// Listeners at most.
const LISTEN_MAX: usize = 16;
/// Longest grant, in minutes.
const GRANT_MINUTES: u32 = filter_common::limits::GRANT_SECONDS_MAX / 60;

/// Reads the section; none: no portal.
pub(super) fn portal(root: &mut Section<'_, '_>, context: &mut Context<'_>) -> Option<Portal> {
    let source = &mut *context.source;
    let mut section = root.table(source, "portal")?;
    let at = section.at();
    let listen = listeners(&mut section, source);
    let (address4, address6) = addresses(&mut section, source);
    let host = section
        .string(source, "host")
        .and_then(|host| host_name(source, &host));
    let mut text = |source: &mut Source, key, limit| {
        let text = section.string(source, key);
        text.map_or_else(String::new, |text| limited(source, key, text, limit))
    };
    let name = text(source, "name", NAME_MAX);
    let contact = text(source, "contact", CONTACT_MAX);
    let appeal = text(source, "appeal", APPEAL_MAX);
    let minutes = section.number(source, "grant_minutes", 1..=GRANT_MINUTES);
    if listen.is_empty() && !section.has("listen") {
        let remedy = "add listen = [\"ADDRESS:80\"]";
        source.problem(at, "[portal] has no listen", remedy);
    }
    if !section.has("address") {
        let remedy = "add address = [\"ADDRESS\"], which schools can reach";
        source.problem(at, "[portal] has no address", remedy);
    }
    section.finish(source);
    Some(Portal {
        line: source.line(at),
        listen,
        address4,
        address6,
        host,
        name,
        contact,
        appeal,
        grant_minutes: minutes.map_or(GRANT_MINUTES, |minutes| minutes.value),
    })
}

/// `listen = ["192.0.2.80:80", "[2001:db8::80]:80"]`
fn listeners(section: &mut Section<'_, '_>, source: &mut Source) -> Vec<SocketAddr> {
    let mut listen = Vec::new();
    let texts = section.strings(source, "listen");
    if let Some(text) = texts.get(LISTEN_MAX) {
        let what = format!("[portal] listen: more than {LISTEN_MAX} addresses");
        source.problem(text.at, what, "listen on fewer");
    }
    for text in &texts {
        match text.value.parse::<SocketAddr>() {
            Ok(socket) if socket.port() == 443 => {
                let what = "[portal] listen: port 443 must refuse at once";
                let remedy = "use port 80: no certificate fits the names that are asked for";
                source.problem(text.at, what, remedy);
            }
            Ok(socket) if socket.port() != 0 => listen.push(socket),
            _ => {
                let what = format!("[portal] listen: \"{}\" is no address and port", text.value);
                let remedy = "write ADDRESS:PORT, such as 192.0.2.80:80 or [2001:db8::80]:80";
                source.problem(text.at, what, remedy);
            }
        }
    }
    listen
}

/// `address = ["192.0.2.80", "2001:db8::80"]`: one of each family at most.
fn addresses(
    section: &mut Section<'_, '_>,
    source: &mut Source,
) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let (mut four, mut six) = (None, None);
    for text in section.strings(source, "address") {
        let taken = match text.value.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
                let what = format!("[portal] address: {ip} is no host's address");
                let remedy = "write the address that schools reach the portal at";
                source.problem(text.at, what, remedy);
                false
            }
            Ok(IpAddr::V4(v4)) => four.replace(v4).is_some(),
            Ok(IpAddr::V6(v6)) => six.replace(v6).is_some(),
            Err(_) => {
                let what = format!("[portal] address: \"{}\" is no address", text.value);
                source.problem(
                    text.at,
                    what,
                    "write an IPv4 or IPv6 address without a port",
                );
                false
            }
        };
        if taken {
            let what = "[portal] address: a second address of the same family";
            source.problem(text.at, what, "write one of IPv4 and one of IPv6 at most");
        }
    }
    (four, six)
}

fn host_name(source: &mut Source, host: &At<String>) -> Option<String> {
    match normalise::name(&host.value) {
        Ok(normalise::Subject::Name {
            name,
            suffix: false,
        }) => Some(name.into_owned()),
        _ => {
            let what = format!("[portal] host: \"{}\" is no host name", host.value);
            source.problem(host.at, what, "write a name such as filter.example");
            None
        }
    }
}

fn limited(source: &mut Source, key: &str, text: At<String>, limit: usize) -> String {
    if text.value.chars().count() > limit || text.value.chars().any(char::is_control) {
        let what = format!("[portal] {key}: longer than {limit} characters, or not one line");
        source.problem(text.at, what, "shorten it");
    }
    text.value
}

/// The portal's addresses are always reachable, whether or not they stand in `[infrastructure]`; they go
/// first there, as the first address of each family is the one that names lead to.
pub(super) fn always_reachable(portal: &Portal, infrastructure: &mut Vec<Infrastructure>) {
    let four = portal.address4.map(IpAddr::V4);
    let own = four.into_iter().chain(portal.address6.map(IpAddr::V6));
    let own = own.map(|address| Infrastructure {
        address,
        line: portal.line,
        role: "portal",
    });
    let own: Vec<Infrastructure> = own.collect();
    let same = |known: &Infrastructure, own: &Infrastructure| {
        known.address == own.address && known.role == own.role
    };
    infrastructure.retain(|known| !own.iter().any(|own| same(known, own)));
    infrastructure.splice(0..0, own);
}
