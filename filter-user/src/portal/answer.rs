//! Which page a request gets. Everything is decided here, from the request and what is in force; the
//! only effect is a grant.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use filter_common::reason::Reason;

use super::Portal;
use super::page::{Next, Notice, POLICY};
use super::request::{Method, Request, encode};
use super::texts::{Texts, texts};
use super::token::{Claim, Refusal};
use super::view::{Finding, View, Why, why_of};
use crate::config;
use crate::normalise;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// A request with what is needed to answer it.
struct Ask<'a> {
    request: &'a Request,
    texts: &'static Texts,
    settings: &'a config::Portal,
    view: Option<&'a View>,
    /// Whether it was sent to the portal by one of its own names.
    own: bool,
    now_ms: u64,
}

impl Portal {
    /// Answers; `now_ms` of any clock that only goes forward.
    pub(super) fn answer(&self, request: &Request, now_ms: u64) -> Answer {
        let view = self.slot.get();
        let view: Option<&View> = view.as_ref().map(Arc::as_ref);
        let settings = view.and_then(|view| view.config().portal.as_ref());
        let settings = settings.unwrap_or(&self.settings);
        let ask = Ask {
            request,
            texts: texts(request.language()),
            settings,
            view,
            own: authorities(settings).contains(&request.host),
            now_ms,
        };
        if !self.limiter.allows(request.client, now_ms) {
            let notice = ask.notice(429, ask.texts.busy, ask.texts.busy_lead);
            return ask.told(&notice);
        }
        if !ask.own {
            return ask.by_host();
        }
        match (request.method, request.path.as_str()) {
            (Method::Get, "/b" | "/w") => self.by_numbers(&ask),
            (Method::Get, "/" | "/why") => self.why(&ask),
            (Method::Get, "/back") => {
                ask.told(&ask.notice(200, ask.texts.back, ask.texts.back_lead))
            }
            (Method::Post, "/continue") => self.go_on(&ask),
            (_, "/" | "/b" | "/w" | "/why" | "/back" | "/continue") => {
                let mut answer =
                    ask.told(&ask.notice(405, ask.texts.refused, ask.texts.not_found_lead));
                let allow = if request.path == "/continue" {
                    "POST"
                } else {
                    "GET, HEAD"
                };
                answer.headers.push(("Allow", allow.to_owned()));
                answer
            }
            _ => ask.told(&ask.notice(404, ask.texts.not_found, ask.texts.not_found_lead)),
        }
    }

    /// `/b?e=ENTRY&o=ORG&r=REASON`, `/w?…`: where the data plane sends those whom it stopped.
    fn by_numbers(&self, ask: &Ask<'_>) -> Answer {
        let request = ask.request;
        let reason = request.number("r").and_then(Reason::from_number);
        let entry = request.number("e").unwrap_or(0);
        let organisation = ask.organisation();
        let finding = match ask.view {
            Some(view) if entry != 0 => view.by_entry(entry, organisation, reason),
            _ => Finding::bare(why_of(reason)),
        };
        ask.told(&self.finding(ask, finding, None))
    }

    /// `/why?name=NAME`: a person types a name.
    fn why(&self, ask: &Ask<'_>) -> Answer {
        let typed = cut(&ask.request.query("name").unwrap_or_default());
        let texts = ask.texts;
        let mut notice = match (bare_name(&typed), ask.view, ask.organisation()) {
            ("", _, _) => ask.notice(200, texts.why, texts.why_lead),
            (_, None, _) => ask.notice(200, texts.unknown, texts.unknown_lead),
            (_, Some(_), None) => ask.notice(200, texts.nothing, texts.not_enrolled_lead),
            (name, Some(view), Some(organisation)) => match view.by_name(name, organisation) {
                Ok(finding) => self.finding(ask, finding, Some(name)),
                Err(_) => ask.notice(200, texts.why, texts.not_a_name),
            },
        };
        notice.status = 200;
        notice.form = Some(typed);
        ask.told(&notice)
    }

    /// What was found, with the way on from a warning.
    fn finding<'a>(&self, ask: &Ask<'a>, finding: Finding, asked: Option<&str>) -> Notice<'a> {
        let texts = ask.texts;
        let claim = ask.claim(&finding);
        let client = ask.request.client;
        let mut notice = match (finding.why, claim) {
            (Why::Warned, Some((view, claim))) => {
                let seconds = view.granted_seconds(claim.organisation, client, claim.entry);
                if seconds > 0 {
                    let [before, after] = texts.granted_lead;
                    let lead = format!("{before}{}{after}", seconds.div_ceil(60));
                    ask.notice(200, texts.granted, &lead)
                } else {
                    let mut notice = ask.notice(403, texts.warned, texts.warned_lead);
                    let token = self.tokens.issue(claim, client, ask.now_ms / 1_000);
                    notice.next = token.map_or(Next::Nothing, Next::Continue);
                    notice
                }
            }
            (why, _) => ask.stopped(why),
        };
        notice.finding = Some(finding);
        notice.asked = asked.map(shown);
        notice
    }

    /// `POST /continue`: the token is worth one grant.
    fn go_on(&self, ask: &Ask<'_>) -> Answer {
        match self.redeem(ask) {
            Ok(to) => Answer {
                status: 303,
                headers: vec![("Location", to)],
                body: String::new(),
            },
            Err(refusal) => {
                let lead = ask.texts.refusal(refusal);
                ask.told(&ask.notice(403, ask.texts.refused, lead))
            }
        }
    }

    fn redeem(&self, ask: &Ask<'_>) -> Result<String, Option<Refusal>> {
        let request = ask.request;
        let view = ask.view.ok_or(None)?;
        if !ask.is_own_form() {
            return Err(None);
        }
        let token = request.form("t").ok_or(None)?;
        let claim = self
            .tokens
            .redeem(&token, request.client, ask.now_ms / 1_000)?;
        let organisation = view
            .organisation_with_key(request.client, claim.organisation)
            .ok_or(None)?;
        // What is in force may have changed since the page was served.
        let reason = Some(Reason::WarnName);
        let finding = view.by_entry(claim.entry, Some(organisation), reason);
        if finding.may_go_on != Some(organisation) {
            return Err(Some(Refusal::Expired));
        }
        let seconds = u64::from(ask.settings.grant_minutes) * 60;
        view.grant(claim.organisation, request.client, claim.entry, seconds);
        let mut to = format!("/w?e={}&r={}", claim.entry, Reason::WarnName.number());
        if let Some(number) = view.number(organisation) {
            // Writing to a string cannot fail.
            let _ = write!(to, "&o={number}");
        }
        let _ = write!(to, "&lang={}", ask.texts.language.tag());
        Ok(to)
    }
}

impl<'a> Ask<'a> {
    fn organisation(&self) -> Option<usize> {
        let number = self.request.number("o");
        self.view?.organisation(self.request.client, number)
    }

    /// What a grant of this finding would hold.
    fn claim(&self, finding: &Finding) -> Option<(&'a View, Claim)> {
        let view = self.view?;
        let claim = Claim {
            organisation: view.organisation_key(finding.may_go_on?)?,
            entry: finding.entry,
        };
        Some((view, claim))
    }

    /// Whether a form was sent by a page of ours, as the browser tells: a page of another site can send
    /// a form here, too.
    fn is_own_form(&self) -> bool {
        let request = self.request;
        let own = format!("http://{}", request.host);
        let site = request.fetch_site.as_deref();
        match (request.origin.as_deref(), site) {
            (None, None) => false,
            (origin, site) => {
                origin.is_none_or(|origin| origin.strip_suffix(":80").unwrap_or(origin) == own)
                    && site.is_none_or(|site| site == "same-origin")
            }
        }
    }

    /// A visitor who asked for another server and was sent here.
    fn by_host(&self) -> Answer {
        let host = bare_name(&self.request.host);
        let texts = self.texts;
        let found = match (self.view, self.organisation()) {
            (None, _) => Ok(Finding::bare(Why::Unknown)),
            (Some(_), None) => Err(texts.not_enrolled_lead),
            (Some(view), Some(organisation)) => {
                let found = view.by_name(host, organisation);
                found.map_err(|_no_name| texts.not_found_lead)
            }
        };
        let mut notice = match &found {
            Ok(finding) => self.stopped(finding.why),
            Err(lead) => self.notice(421, texts.nothing, lead),
        };
        if let Ok(finding) = found {
            // The form is served under the portal's own name only: a page of another name could be
            // made to read it (DNS rebinding).
            if finding.may_go_on.is_some() {
                let reason = Reason::WarnName.number();
                let (base, entry) = (&notice.base, finding.entry);
                let language = texts.language.tag();
                let link = format!("{base}/w?e={entry}&r={reason}&lang={language}");
                notice.next = Next::Elsewhere(link);
            }
            if finding.why == Why::Nothing {
                notice.status = 421;
            }
            if finding.why != Why::Unknown {
                notice.asked = Some(shown(host));
            }
            notice.finding = Some(finding);
        }
        self.told(&notice)
    }

    /// The page for a reason, without what is known of the entry.
    fn stopped(&self, why: Why) -> Notice<'a> {
        let texts = self.texts;
        match why {
            // RFC 7725: for legal demands.
            Why::Unified => self.notice(451, texts.blocked, texts.blocked_lead),
            Why::Warned => self.notice(403, texts.warned, texts.warned_lead),
            Why::Nothing => self.notice(200, texts.nothing, texts.nothing_lead),
            Why::Unknown => self.notice(403, texts.unknown, texts.unknown_lead),
            _ => self.notice(403, texts.blocked, texts.blocked_lead),
        }
    }

    fn notice(&self, status: u16, heading: &'static str, lead: &str) -> Notice<'a> {
        let base = if self.own {
            String::new()
        } else {
            base(self.settings, self.request.client)
        };
        Notice {
            texts: self.texts,
            settings: self.settings,
            status,
            heading,
            lead: lead.to_owned(),
            asked: None,
            finding: None,
            next: Next::Nothing,
            form: None,
            switch: self.switch(),
            base,
        }
    }

    /// This page in the other language.
    fn switch(&self) -> String {
        let mut link = "?".to_owned();
        if self.own {
            let page = match self.request.path.as_str() {
                page @ ("/b" | "/w" | "/why" | "/back") => page,
                _ => "/why",
            };
            link.insert_str(0, page);
            for key in ["e", "o", "r", "name"] {
                if let Some(value) = self.request.query(key) {
                    // Writing to a string cannot fail.
                    let _ = write!(link, "{key}={}&", encode(&cut(&value)));
                }
            }
        }
        link + "lang=" + self.texts.other.tag()
    }

    /// The notice as it leaves.
    fn told(&self, notice: &Notice<'_>) -> Answer {
        let json = self.request.wants_json();
        let kind = match (json, notice.status >= 400) {
            (true, true) => "application/problem+json",
            (true, false) => "application/json",
            (false, _) => "text/html; charset=utf-8",
        };
        // A browser tells its form's origin only under a policy that sends a referrer to this site.
        let referrer = match notice.next {
            Next::Continue(_) => "same-origin",
            _ => "no-referrer",
        };
        let mut headers = vec![
            ("Content-Type", kind.to_owned()),
            ("Content-Language", self.texts.language.tag().to_owned()),
            ("Content-Security-Policy", POLICY.clone()),
            ("Referrer-Policy", referrer.to_owned()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
            ("X-Robots-Tag", "noindex".to_owned()),
            ("Cache-Control", "no-store".to_owned()),
            ("Vary", "Accept, Accept-Language".to_owned()),
        ];
        if notice.status == 451 {
            // Who implements the block, not who ordered it (RFC 7725 section 4).
            let provider = base(self.settings, self.request.client);
            headers.push(("Link", format!("<{provider}/>; rel=\"blocked-by\"")));
        }
        if notice.status == 429 {
            headers.push(("Retry-After", "10".to_owned()));
        }
        Answer {
            status: notice.status,
            headers,
            body: if json { notice.json() } else { notice.html() },
        }
    }
}

impl Notice<'_> {
    /// The portal as an absolute address.
    pub(super) fn base(&self) -> String {
        base(self.settings, IpAddr::from([0; 4]))
    }
}

/// The portal as clients of this family reach it: by its name, or by its address.
fn base(settings: &config::Portal, client: IpAddr) -> String {
    let four = settings.address4.map(IpAddr::V4);
    let six = settings.address6.map(IpAddr::V6);
    let address = match client.to_canonical() {
        IpAddr::V4(_) => four.or(six),
        IpAddr::V6(_) => six.or(four),
    };
    match (&settings.host, address) {
        (Some(host), _) => format!("http://{host}"),
        (None, Some(address)) => format!("http://{}", host_of(address)),
        (None, None) => String::new(),
    }
}

fn host_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// `Host` values by which the portal itself is meant.
fn authorities(settings: &config::Portal) -> Vec<String> {
    let four = settings.address4.map(IpAddr::V4);
    let six = settings.address6.map(IpAddr::V6);
    let listening = settings.listen.iter().map(SocketAddr::ip);
    let mut hosts: Vec<String> = four
        .into_iter()
        .chain(six)
        .chain(listening.filter(|ip| !ip.is_unspecified()))
        .map(host_of)
        .chain(settings.host.clone())
        .collect();
    let ports = settings.listen.iter().map(SocketAddr::port);
    let other: Vec<u16> = ports.filter(|port| *port != 80).collect();
    let with_port = hosts
        .iter()
        .flat_map(|host| other.iter().map(move |port| format!("{host}:{port}")));
    let with_port: Vec<String> = with_port.collect();
    hosts.extend(with_port);
    hosts
}

/// The host of what a person typed or pasted: a name, an address, a URL.
fn bare_name(text: &str) -> &str {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next().unwrap_or_default();
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    if let Some((inside, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    match text.split_once(':') {
        // More than one colon is an IPv6 address.
        Some((host, port)) if !port.contains(':') => host,
        _ => text,
    }
}

/// The canonical form of a name to show; the text itself where it is none.
fn shown(name: &str) -> String {
    match normalise::name(name) {
        Ok(normalise::Subject::Name { name, .. }) => name.into_owned(),
        _ => cut(name),
    }
}

/// As much of a text as a name can be long: a page stays small.
fn cut(text: &str) -> String {
    text.chars().take(253).collect()
}
