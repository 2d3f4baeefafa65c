//! What a request asks for, read once: the page, the language, the form of the answer. Whatever is
//! malformed reads as absent.

use std::borrow::Cow;
use std::net::IpAddr;

/// A language of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// Russian, where nothing else is asked for.
    Russian,
    /// English.
    English,
}

impl Language {
    /// The tag of `lang` attributes and of the switch.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Language::Russian => "ru",
            Language::English => "en",
        }
    }

    fn of_tag(tag: &str) -> Option<Language> {
        match tag {
            "ru" => Some(Language::Russian),
            "en" => Some(Language::English),
            _ => None,
        }
    }
}

/// The method, as far as the portal cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// GET and HEAD.
    Get,
    /// POST.
    Post,
    /// Any other.
    Other,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// `Host`, in lower case, without the default port.
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) accept: String,
    pub(super) accept_language: String,
    pub(super) origin: Option<String>,
    pub(super) fetch_site: Option<String>,
    pub(super) content_type: String,
    pub(super) body: String,
    /// Where it came from.
    pub(super) client: IpAddr,
}

impl Request {
    /// A value of the query.
    pub(super) fn query(&self, key: &str) -> Option<String> {
        value(&self.query, key)
    }

    /// A number of the query.
    pub(super) fn number(&self, key: &str) -> Option<u32> {
        self.query(key)?.parse().ok()
    }

    /// A value of the form that was sent.
    pub(super) fn form(&self, key: &str) -> Option<String> {
        let kind = self.content_type.split(';').next().unwrap_or_default();
        let is_form = kind
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded");
        is_form.then(|| value(&self.body, key)).flatten()
    }

    /// The language: that of the switch, else the one that the client likes better.
    pub(super) fn language(&self) -> Language {
        let chosen = self.query("lang").or_else(|| self.form("lang"));
        if let Some(language) = chosen.and_then(|tag| Language::of_tag(&tag)) {
            return language;
        }
        let mut best = (Language::Russian, 0);
        for (range, quality) in ranges(&self.accept_language) {
            let primary = range.split('-').next().unwrap_or_default();
            if let Some(language) = Language::of_tag(primary)
                && quality > best.1
            {
                best = (language, quality);
            }
        }
        best.0
    }

    /// Whether the client asks for JSON rather than a page.
    pub(super) fn wants_json(&self) -> bool {
        let mut json = 0;
        let mut html = 0;
        for (range, quality) in ranges(&self.accept) {
            match range.as_ref() {
                "application/json" | "application/problem+json" => json = json.max(quality),
                "text/html" | "application/xhtml+xml" | "text/*" | "*/*" => {
                    html = html.max(quality);
                }
                _ => {}
            }
        }
        // A catch-all beside JSON does not outweigh it.
        let named = self.accept.to_ascii_lowercase().contains("html");
        json > 0 && (!named || json > html)
    }
}

/// Values of an `Accept` header with their quality in thousandths (RFC 9110 section 12.4.2).
fn ranges(header: &str) -> impl Iterator<Item = (Cow<'_, str>, u32)> {
    header.split(',').map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        (Cow::Owned(range), quality.map_or(1_000, thousandths))
    })
}

fn thousandths(text: &str) -> u32 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = whole.parse().unwrap_or(0);
    let digits = part.bytes().chain(*b"000").take(3);
    let part = digits.fold(0, |sum, digit| {
        sum * 10 + u32::from(digit.saturating_sub(b'0').min(9))
    });
    (whole.min(1) * 1_000 + part).min(1_000)
}

/// A value of a query or form (`application/x-www-form-urlencoded`).
fn value(text: &str, key: &str) -> Option<String> {
    let mut pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == key)?;
    decode(value)
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => nibble(rest.next()?)? << 4 | nibble(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn nibble(digit: u8) -> Option<u8> {
    let digit = char::from(digit).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// A value as it stands in a query.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut to, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                to.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(to, "%{byte:02X}")),
        }
        to
    })
}

/// A `Host` as it is compared: lower case, without the default port and a trailing dot.
pub(super) fn plain_host(host: &str) -> String {
    let host = host.trim().to_ascii_lowercase();
    let host = host.strip_suffix(":80").unwrap_or(&host);
    host.strip_suffix('.').unwrap_or(host).to_owned()
}

#[cfg(test)]
impl Request {
    /// A browser's request for tests.
    pub(super) fn get(host: &str, target: &str) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method: Method::Get,
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8".to_owned(),
            accept_language: "ru,en;q=0.5".to_owned(),
            origin: None,
            fetch_site: None,
            content_type: String::new(),
            body: String::new(),
            client: [192, 0, 2, 1].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(accept: &str, language: &str) -> Request {
        Request {
            accept: accept.to_owned(),
            accept_language: language.to_owned(),
            ..Request::get("h", "/")
        }
    }

    #[test]
    fn language_follows_the_header_and_the_switch() {
        use Language::{English, Russian};
        for (header, language) in [
            ("", Russian),
            ("en-GB,en;q=0.9", English),
            ("en;q=0.4,ru;q=0.5", Russian),
            ("de,en;q=0.1", English),
            ("de", Russian),
            ("en;q=0", Russian),
            ("en;q=zz,,;;", Russian),
        ] {
            assert_eq!(with("", header).language(), language, "{header}");
        }
        let switched = Request {
            query: "e=1&lang=ru".to_owned(),
            ..with("", "en")
        };
        assert_eq!(switched.language(), Russian);
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        for (accept, json) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("application/json, */*;q=0.1", true),
            ("application/json, */*", true),
            ("application/problem+json", true),
            ("text/html, application/json;q=0.9", false),
            ("text/html;q=0.5, application/json;q=0.9", true),
            ("application/json;q=0", false),
        ] {
            assert_eq!(with(accept, "").wants_json(), json, "{accept}");
        }
    }

    #[test]
    fn values_are_decoded_and_encoded() {
        assert_eq!(value("a=1&b=x%2Fy+z", "b").as_deref(), Some("x/y z"));
        for broken in ["b=%", "b=%4", "b=%zz", "b=%ff", "c=1", "b"] {
            assert_eq!(value(broken, "b"), None, "{broken}");
        }
        let text = "школа & <b>?";
        assert_eq!(
            value(&format!("b={}", encode(text)), "b").as_deref(),
            Some(text)
        );
        assert_eq!(plain_host("Filter.Example.:80"), "filter.example");
        assert_eq!(plain_host("[2001:DB8::1]:80"), "[2001:db8::1]");
    }
}
