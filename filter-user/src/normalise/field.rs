//! Fields of records (elements of XML, columns of tables): each holds one subject and nothing else, so
//! that more can be set right than in a line, which may hold a comment, or two names by mistake.

use std::borrow::Cow;
use std::net::IpAddr;

use super::guards::guard_net;
use super::{Accept, Guards, Refusal, Subject, address, name, tidy, url};

/// Reads a field.
///
/// - `Urls`: a URL of plain HTTP; white space in it is percent-encoded.
/// - `Names`: a name or an address; a scheme in front and a port or path behind are taken off.
/// - `Addresses`: an address or a prefix.
/// - `Mixed`: a URL if it has a scheme or a path, else a name, an address or a prefix.
///
/// # Errors
/// The reason why the field holds no subject that may be loaded.
pub fn field(text: &str, accept: Accept, guards: Guards) -> Result<Subject<'_>, Refusal> {
    let text = text.trim().trim_start_matches('\u{feff}');
    if text.is_empty() {
        return Err(Refusal::Empty);
    }
    match accept {
        Accept::Urls => guarded_url(text, guards),
        Accept::Names => host_field(text, guards),
        Accept::Addresses => guarded(text, guards)?.ok_or(Refusal::NotAddress),
        Accept::Mixed => match guarded(text, guards)? {
            Some(subject) => Ok(subject),
            None if text.contains(['/', '\\']) => guarded_url(text, guards),
            None => host_field(text, guards),
        },
    }
}

fn guarded(text: &str, guards: Guards) -> Result<Option<Subject<'static>>, Refusal> {
    let subject = address(&tidy::host(text))?;
    if let Some(subject) = &subject
        && guards.breadth
    {
        guard_net(subject)?;
    }
    Ok(subject)
}

fn guarded_url(text: &str, guards: Guards) -> Result<Subject<'_>, Refusal> {
    let subject = url_field(text)?;
    if guards.breadth {
        guard_net(&subject)?;
    }
    Ok(subject)
}

fn url_field(text: &str) -> Result<Subject<'_>, Refusal> {
    if !text.contains([',', ' ', '\t', '\r', '\n']) {
        return url(text);
    }
    let (head, path) = split(text);
    let head = match head.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{}", tidy::host(host)),
        None => tidy::host(head).into_owned(),
    };
    let path = path.replace(['\r', '\n', '\t'], "").replace(' ', "%20");
    url(&format!("{head}{path}")).map(Subject::into_owned)
}

/// A URL in front of its path, and the path.
fn split(text: &str) -> (&str, &str) {
    let host = text.find("://").map_or(0, |at| at + 3);
    let behind = text.get(host..).unwrap_or_default();
    let at = host + behind.find(['/', '\\', '?', '#']).unwrap_or(behind.len());
    text.split_at_checked(at).unwrap_or((text, ""))
}

fn host_field(text: &str, guards: Guards) -> Result<Subject<'_>, Refusal> {
    if let Some(subject) = guarded(text, guards)? {
        return match subject {
            Subject::Net(_) => Err(Refusal::NotHere),
            subject => Ok(subject),
        };
    }
    match tidy::url(text) {
        Cow::Borrowed(text) => host_in(text, guards),
        Cow::Owned(text) => host_in(&text, guards).map(Subject::into_owned),
    }
}

/// The host of a URL, or of what is left of one.
fn host_in(text: &str, guards: Guards) -> Result<Subject<'_>, Refusal> {
    let (head, _) = split(text);
    let host = head.split_once("://").map_or(head, |(_, host)| host);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let inner = host.strip_prefix('[').and_then(|it| it.split_once(']'));
    let host = match (inner, host.rsplit_once(':')) {
        (Some((address, _)), _) => address,
        (None, Some((host, port))) if port.bytes().all(|it| it.is_ascii_digit()) => host,
        _ => host,
    };
    if host.parse::<IpAddr>().is_ok()
        && let Some(subject) = guarded(host, guards)?
    {
        return Ok(subject);
    }
    match tidy::host(host) {
        Cow::Borrowed(host) => name(host),
        Cow::Owned(host) => name(&host).map(Subject::into_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_beside_a_dot_is_dirt_and_within_a_label_no_name() {
        let read = |text: &'static str, accept| field(text, accept, Guards::NONE);
        let name = |text: &str| {
            Ok(Subject::Name {
                name: Cow::Owned(text.to_owned()),
                suffix: false,
            })
        };
        for dirt in [
            "foo . bar.example.net",
            " foo,bar. example.net\n",
            "\u{feff}foo.bar.example.net",
        ] {
            assert_eq!(read(dirt, Accept::Names), name("foo.bar.example.net"));
            assert_eq!(read(dirt, Accept::Mixed), name("foo.bar.example.net"));
        }
        for words in [
            "foo bar.example.net",
            "foo.bar\texample.net",
            "http://foo bar.example.net/",
        ] {
            assert!(read(words, Accept::Names).is_err(), "{words}");
            assert!(read(words, Accept::Mixed).is_err(), "{words}");
            assert!(read(words, Accept::Urls).is_err(), "{words}");
        }
    }
}
