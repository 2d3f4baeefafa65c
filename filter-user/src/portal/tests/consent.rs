//! "Continue": what makes a grant, and every way to one that must be closed.

use filter_common::reason::Reason;

use super::{NOW, OWN, Stage, header, token};
use crate::portal::request::{Method, Request};
use crate::portal::token::{Claim, TOKEN_SECONDS};

impl Stage {
    /// A form that must be refused.
    fn refuses(&self, what: &str, form: &Request) {
        let answer = self.ask(form);
        assert_eq!(answer.status, 403, "{what}");
        assert!(!self.granted(), "{what}");
        assert_eq!(token(&answer), None, "{what}");
    }
}

/// The form as a browser sends it.
fn form(token: &str) -> Request {
    Request {
        method: Method::Post,
        origin: Some(format!("http://{OWN}")),
        content_type: "application/x-www-form-urlencoded".to_owned(),
        body: format!("t={token}&lang=ru"),
        ..Request::get(OWN, "/continue")
    }
}

#[test]
fn continue_makes_a_grant_once() {
    let stage = Stage::new();
    let token = stage.token();
    assert!(!stage.granted());
    let answer = stage.ask(&form(&token));
    let to = header(&answer, "Location").to_owned();
    assert_eq!(answer.status, 303);
    assert!(stage.granted());
    let page = stage.get(&to);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Доступ открыт") && page.body.contains("15"));
    let replayed = stage.ask(&form(&token));
    assert_eq!(replayed.status, 403);
    assert!(replayed.body.contains("уже использовано"));
}

#[test]
fn a_grant_is_for_that_address_alone() {
    let stage = Stage::new();
    let answer = stage.ask(&form(&stage.token()));
    assert_eq!(answer.status, 303);
    let neighbour = Request {
        client: [192, 0, 2, 2].into(),
        ..Request::get(OWN, &stage.warned())
    };
    assert!(
        token(&stage.ask(&neighbour)).is_some(),
        "the neighbour is asked"
    );
}

#[test]
fn forged_expired_and_foreign_tokens_are_refused() {
    let stage = Stage::new();
    let good = stage.token();
    stage.refuses("no token", &form(""));
    stage.refuses("forged", &form(&good.replace('0', "1")));
    let elsewhere = Request {
        client: [192, 0, 2, 2].into(),
        ..form(&good)
    };
    stage.refuses("of another client", &elsewhere);
    let as_json = Request {
        content_type: "application/json".to_owned(),
        ..form(&good)
    };
    stage.refuses("no form", &as_json);
    let get = Request {
        method: Method::Get,
        query: format!("t={good}"),
        ..form(&good)
    };
    assert_eq!(stage.ask(&get).status, 405, "GET changes nothing");
    assert_eq!(
        stage.ask(&form(&good)).status,
        303,
        "it was good all the time"
    );
    let stage = Stage::new();
    let late = stage.token();
    let now = NOW + (TOKEN_SECONDS + 1) * 1_000;
    let answer = stage.portal.answer(&form(&late), now);
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("устарела") && !stage.granted());
}

#[test]
fn cross_site_forms_are_refused() {
    let stage = Stage::new();
    let good = stage.token();
    let with = |origin: Option<&str>, site: Option<&str>| Request {
        origin: origin.map(str::to_owned),
        fetch_site: site.map(str::to_owned),
        ..form(&good)
    };
    let own = Some("http://filter.example");
    for (origin, site) in [
        (None, None),
        (Some("null"), None),
        (Some("http://evil.example"), None),
        (Some("https://filter.example"), None),
        (Some("http://filter.example.evil.example"), None),
        (Some("http://198.51.100.80"), None),
        (own, Some("cross-site")),
        (own, Some("same-site")),
        (own, Some("none")),
        (None, Some("cross-site")),
        (Some("http://evil.example"), Some("same-origin")),
    ] {
        stage.refuses(&format!("{origin:?} {site:?}"), &with(origin, site));
    }
    // A name that was pointed at the portal's address: its pages have no token, its forms no effect.
    let rebound = Request {
        host: "evil.example".to_owned(),
        origin: Some("http://evil.example".to_owned()),
        ..form(&good)
    };
    let answer = stage.ask(&rebound);
    assert!(answer.status != 303 && !stage.granted());
    let target = stage.warned();
    assert_eq!(
        token(&stage.ask(&Request::get("evil.example", &target))),
        None
    );
    assert_eq!(token(&stage.ask(&Request::get("shop.example", "/"))), None);
    assert_eq!(stage.ask(&with(own, Some("same-origin"))).status, 303);
}

#[test]
fn what_is_more_than_a_warning_is_never_granted() {
    let stage = Stage::new();
    let client = [192, 0, 2, 1].into();
    let organisation = stage.view.organisation_key(1).unwrap();
    for name in [
        "forbidden.example",
        "drugs.example",
        "play.example",
        "203.0.113.66",
    ] {
        for reason in [Reason::WarnName, Reason::BlockNsorName] {
            let answer = stage.get(&stage.sent("w", name, 1, reason));
            assert_eq!(token(&answer), None, "{name}");
        }
        // Even a token that the portal itself would make.
        let entry = stage.entry(name);
        let claim = Claim {
            organisation,
            entry,
        };
        let token = stage
            .portal
            .tokens
            .issue(claim, client, NOW / 1_000)
            .unwrap();
        assert_eq!(stage.ask(&form(&token)).status, 403, "{name}");
        assert_eq!(stage.view.granted_seconds(organisation, client, entry), 0);
    }
    // An organisation that the client is not of.
    let claim = Claim {
        organisation: stage.view.organisation_key(2).unwrap(),
        entry: stage.entry("play.example"),
    };
    let token = stage
        .portal
        .tokens
        .issue(claim, client, NOW / 1_000)
        .unwrap();
    assert_eq!(stage.ask(&form(&token)).status, 403);
}
