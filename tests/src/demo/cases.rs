//! What is asked for, by whom and with which program, and what is expected of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use filter_common::reason::Reason;

use crate::lab::browser::{self, Kind};
use crate::lab::client::Ended;
use crate::lab::commands::{chromium, curl, dig, getent, openssl_client};
use crate::lab::namespace::Namespace;
use crate::lab::patience;
use crate::lab::pki::Authority;
use crate::lab::quic::{self, Quic};
use crate::lab::server;
use crate::lab::topology::{LISTED_NET4, LISTED4, LISTED6, NARROW4, SERVER4, SERVER6, Topology};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The enrolled school.
    School,
    /// The customer next door, of no organisation.
    Neighbour,
}

/// With which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// curl, HTTPS.
    Curl,
    /// curl, HTTP.
    CurlPlain,
    /// openssl s_client.
    Openssl,
    /// Headless Chromium: its ClientHello holds post-quantum keys and comes in two segments.
    Chromium,
    /// Headless Firefox with extended support.
    Firefox,
    /// quinn, a QUIC client without a browser around it.
    Quinn,
    /// dig, for an IPv4 address.
    Dig,
    /// dig, for a service binding of HTTPS.
    DigHttps,
    /// The C library's resolver, for addresses of both families.
    Getent,
    /// curl, TLS to the port of DNS over TLS.
    CurlDot,
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The server's page.
    Page,
    /// A reset connection.
    Reset,
    /// A refused connection.
    Refused,
    /// This DNS answer.
    Told(&'static str),
    /// A redirect to the portal's page.
    Redirected,
}

/// A request with what is expected of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) who: Who,
    pub(super) program: Program,
    pub(super) name: &'static str,
    pub(super) to: IpAddr,
    pub(super) expect: Expect,
    /// The reason that must be counted for the school; none at all where there is none.
    pub(super) reason: Option<Reason>,
}

/// Requests with something in common.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) cases: &'static [Case],
}

/// A name that no list holds.
pub(super) const ALLOWED: &str = "lessons.example";
/// A name that the unified registry lists by itself.
const EXACT: &str = "forbidden.example";
/// A name below one that the unified registry lists with everything below it.
const BELOW: &str = "www.mirror.example";
/// A name that the education registry lists in a category that the school blocks.
const EDUCATION: &str = "casino.example";

/// What the resolver answers to every query for an address.
pub(super) const RESOLVED: &str = "203.0.113.99";
/// What it answers to every query for a service binding, as dig shows it.
const BINDING: &str = "1 .";
/// The address of Google's strict form, and of YouTube's.
const GOOGLE: &str = "216.239.38.120";
/// What dig shows of an answer without a record.
const NOTHING: &str = "NOERROR";
/// What a QUIC client learns by Version Negotiation.
const USE_TCP: &str = "use TCP";
/// The QUIC server's port: names are read on any.
pub(super) const QUIC_PORT: u16 = 8443;
/// Longer than a connection takes, with a packet that is sent again.
const QUIC_WAIT: Duration = Duration::from_secs(8);
/// The portal's address.
pub(super) const PORTAL: &str = "203.0.113.80";

const V4: IpAddr = IpAddr::V4(SERVER4);
const V6: IpAddr = IpAddr::V6(SERVER6);
const MANY: IpAddr = IpAddr::V4(NARROW4);
const LISTED: IpAddr = IpAddr::V4(LISTED4);

/// Every request of the demo, in order.
pub(super) const GROUPS: &[Group] = &[
    Group {
        title: "names, the ClientHello in one segment",
        cases: &[
            page(Program::Curl, ALLOWED, V4),
            blocked(Program::Curl, EXACT, V4, Reason::BlockUnifiedName),
            page(Program::Curl, "www.forbidden.example", V4),
            blocked(Program::Curl, BELOW, V4, Reason::BlockUnifiedName),
            blocked(Program::Curl, EDUCATION, V4, Reason::BlockNsorName),
            page(Program::Curl, "notcasino.example", V4),
            blocked(Program::Curl, "social.example", V4, Reason::BlockAgeName),
            blocked(Program::Curl, "chatter.example", V4, Reason::BlockLocalName),
            blocked(Program::Curl, "prize-draw.example", V4, Reason::WarnName),
            blocked(Program::Curl, "games.example", V4, Reason::BlockNsorName),
            Case {
                reason: Some(Reason::PassLocalAllow),
                ..page(Program::Curl, "books.games.example", V4)
            },
            page(Program::Curl, ALLOWED, V6),
            blocked(Program::Curl, EDUCATION, V6, Reason::BlockNsorName),
        ],
    },
    Group {
        title: "names, the ClientHello in segments of 68 bytes",
        cases: &[
            page(Program::Openssl, ALLOWED, MANY),
            blocked(Program::Openssl, EDUCATION, MANY, Reason::BlockNsorName),
            blocked(Program::Curl, BELOW, MANY, Reason::BlockUnifiedName),
        ],
    },
    Group {
        title: "names, a browser's post-quantum ClientHello in two segments",
        cases: &[
            page(Program::Chromium, ALLOWED, V4),
            blocked(Program::Chromium, EDUCATION, V4, Reason::BlockNsorName),
            blocked(Program::Chromium, EXACT, V6, Reason::BlockUnifiedName),
            page(Program::Firefox, ALLOWED, V4),
            blocked(Program::Firefox, EXACT, V4, Reason::BlockUnifiedName),
        ],
    },
    Group {
        title: "QUIC: the daemon reads the name, and who is stopped is told at once to use TCP",
        cases: &[
            Case {
                reason: Some(Reason::PassQuicName),
                ..page(Program::Quinn, ALLOWED, V4)
            },
            told_to_use_tcp(EXACT, V4),
            told_to_use_tcp(BELOW, V6),
        ],
    },
    Group {
        title: "addresses: one listed, one in a listed prefix, one of IPv6",
        cases: &[
            refused(LISTED),
            refused(IpAddr::V4(LISTED_NET4)),
            refused(IpAddr::V6(LISTED6)),
        ],
    },
    Group {
        title: "DNS: a forbidden name leads to the portal, whichever resolver is asked",
        cases: &[
            asked(ALLOWED, V4, RESOLVED, Reason::PassDnsName),
            asked(EXACT, V4, PORTAL, Reason::BlockUnifiedName),
            asked(BELOW, V6, PORTAL, Reason::BlockUnifiedName),
            asked(EDUCATION, V4, PORTAL, Reason::BlockNsorName),
        ],
    },
    Group {
        title: "ways to hide names: encrypted DNS, and keys of Encrypted ClientHello",
        cases: &[
            asked("dns.google", V4, "NXDOMAIN", Reason::BlockEncryptedDnsName),
            asked("mask.icloud.com", V4, "NXDOMAIN", Reason::BlockCanaryName),
            Case {
                expect: Expect::Refused,
                reason: Some(Reason::BlockEncryptedDns),
                ..page(Program::CurlDot, ALLOWED, V4)
            },
            blocked(
                Program::Curl,
                "cloudflare-ech.com",
                V4,
                Reason::BlockEchName,
            ),
            Case {
                program: Program::DigHttps,
                ..asked(ALLOWED, V6, NOTHING, Reason::PassDnsWithheld)
            },
        ],
    },
    Group {
        title: "safe search: a search engine's name leads to the form that filters",
        cases: &[
            asked("www.google.com", V4, GOOGLE, Reason::PassSafeSearch),
            asked("www.google.co.uk", V6, GOOGLE, Reason::PassSafeSearch),
            Case {
                program: Program::DigHttps,
                ..asked("www.google.com", V4, NOTHING, Reason::PassSafeSearch)
            },
            Case {
                program: Program::Getent,
                ..asked("www.youtube.com", V4, GOOGLE, Reason::PassSafeSearch)
            },
        ],
    },
    Group {
        title: "plain HTTP: a blocked request is sent to the page that says why",
        cases: &[
            Case {
                reason: Some(Reason::PassRequestName),
                ..page(Program::CurlPlain, ALLOWED, V4)
            },
            redirected(EXACT, V4, Reason::BlockUnifiedName),
            redirected(BELOW, V6, Reason::BlockUnifiedName),
            redirected("prize-draw.example", V4, Reason::WarnName),
            Case {
                program: Program::CurlPlain,
                ..refused(LISTED)
            },
        ],
    },
    Group {
        title: "the neighbour, of no organisation: never touched, never counted (the school is off now)",
        cases: &[
            neighbour(Program::Curl, EXACT, V4),
            neighbour(Program::Curl, EDUCATION, V6),
            neighbour(Program::Curl, ALLOWED, LISTED),
            Case {
                expect: Expect::Told(RESOLVED),
                ..neighbour(Program::Dig, EXACT, V4)
            },
            Case {
                expect: Expect::Told(BINDING),
                ..neighbour(Program::DigHttps, ALLOWED, V4)
            },
            neighbour(Program::CurlDot, ALLOWED, V4),
            neighbour(Program::Openssl, EDUCATION, MANY),
            neighbour(Program::Chromium, EDUCATION, V4),
            neighbour(Program::Quinn, ALLOWED, V4),
        ],
    },
];

const fn page(program: Program, name: &'static str, to: IpAddr) -> Case {
    let reason = Some(Reason::PassHelloName);
    Case {
        who: Who::School,
        program,
        name,
        to,
        expect: Expect::Page,
        reason,
    }
}

const fn blocked(program: Program, name: &'static str, to: IpAddr, reason: Reason) -> Case {
    Case {
        expect: Expect::Reset,
        reason: Some(reason),
        ..page(program, name, to)
    }
}

/// The packet that completes the name passes, as the server cannot go on without the next one.
const fn told_to_use_tcp(name: &'static str, to: IpAddr) -> Case {
    Case {
        expect: Expect::Told(USE_TCP),
        ..blocked(Program::Quinn, name, to, Reason::PassQuicPart)
    }
}

const fn redirected(name: &'static str, to: IpAddr, reason: Reason) -> Case {
    Case {
        expect: Expect::Redirected,
        ..blocked(Program::CurlPlain, name, to, reason)
    }
}

const fn asked(name: &'static str, to: IpAddr, answer: &'static str, reason: Reason) -> Case {
    Case {
        expect: Expect::Told(answer),
        reason: Some(reason),
        ..page(Program::Dig, name, to)
    }
}

const fn refused(to: IpAddr) -> Case {
    let reason = Some(Reason::BlockUnifiedAddress);
    Case {
        expect: Expect::Refused,
        reason,
        ..page(Program::Curl, ALLOWED, to)
    }
}

const fn neighbour(program: Program, name: &'static str, to: IpAddr) -> Case {
    Case {
        who: Who::Neighbour,
        reason: None,
        ..page(program, name, to)
    }
}

impl Case {
    /// Sends the request and waits for what becomes of it.
    ///
    /// # Errors
    /// The program is missing.
    pub(super) fn run(
        &self,
        topology: &Topology,
        authority: &Authority,
        quic: &Quic,
    ) -> anyhow::Result<(Ended, Duration)> {
        let from: &Namespace = match self.who {
            Who::School => &topology.school,
            Who::Neighbour => &topology.neighbour,
        };
        match self.program {
            Program::Curl => curl(from, authority, &format!("https://{}/", self.name), self.to),
            Program::CurlPlain => curl(from, authority, &format!("http://{}/", self.name), self.to),
            Program::Openssl => {
                openssl_client(from, authority, self.name, SocketAddr::new(self.to, 443))
            }
            Program::Chromium => chromium(from, self.name, self.to),
            Program::Firefox => browser::fetch(Kind::Firefox, from, authority, self.name, self.to),
            Program::Quinn => self.quinn(from, authority, quic),
            Program::CurlDot => {
                let url = format!("https://{}:853/", self.name);
                curl(from, authority, &url, self.to)
            }
            Program::Dig => dig(from, self.name, "A", self.to),
            Program::Getent => getent(from, self.name, self.to),
            Program::DigHttps => dig(from, self.name, "HTTPS", self.to),
        }
    }

    fn quinn(
        &self,
        from: &Namespace,
        authority: &Authority,
        quic: &Quic,
    ) -> anyhow::Result<(Ended, Duration)> {
        let (to, began) = (SocketAddr::new(self.to, QUIC_PORT), Instant::now());
        let ended = match quic.ask(from, to, self.name, authority, patience(QUIC_WAIT))? {
            quic::Ended::Answered => Ended::Page(server::page(self.name)),
            quic::Ended::Negotiated => Ended::Told(USE_TCP.to_owned()),
            quic::Ended::Silence => Ended::Silence,
            quic::Ended::Other(what) => Ended::Other(format!("quinn: {what}")),
        };
        Ok((ended, began.elapsed()))
    }

    /// Whether this is what was expected.
    pub(super) fn is_met_by(&self, ended: &Ended) -> bool {
        match self.expect {
            Expect::Page => ended.is_page_of(self.name),
            Expect::Reset => *ended == Ended::Reset,
            Expect::Refused => *ended == Ended::Refused,
            Expect::Told(answer) => *ended == Ended::Told(answer.to_owned()),
            Expect::Redirected => match ended {
                Ended::Redirect(to) => to.starts_with(&format!("http://{PORTAL}/")),
                _ => false,
            },
        }
    }

    /// Whether the client's kernel cuts the ClientHello into segments of 68 bytes.
    pub(super) fn is_in_small_segments(&self) -> bool {
        self.to == MANY
    }

    /// What is asked for: the name, or the address where that is what the case is about.
    pub(super) fn asks_for(&self) -> String {
        let listed = [LISTED, IpAddr::V4(LISTED_NET4), IpAddr::V6(LISTED6)];
        if listed.contains(&self.to) {
            self.to.to_string()
        } else {
            self.name.to_owned()
        }
    }

    /// Who asks, with what.
    pub(super) fn client(&self) -> String {
        let family = if self.to.is_ipv6() { " -6" } else { "" };
        format!("{} {}{family}", self.who.label(), self.program.label())
    }

    /// The same request where nothing is filtered.
    pub(super) fn unfiltered(self) -> Case {
        let expect = match self.program {
            Program::Dig | Program::Getent => Expect::Told(RESOLVED),
            Program::DigHttps => Expect::Told(BINDING),
            _ => Expect::Page,
        };
        Case {
            expect,
            reason: None,
            ..self
        }
    }
}

impl Who {
    fn label(self) -> &'static str {
        match self {
            Who::School => "school",
            Who::Neighbour => "neighbour",
        }
    }
}

impl Program {
    fn label(self) -> &'static str {
        match self {
            Program::Curl | Program::CurlPlain => "curl",
            Program::Openssl => "openssl",
            Program::Chromium => "chromium",
            Program::Firefox => "firefox",
            Program::Quinn => "quinn",
            Program::Dig => "dig",
            Program::DigHttps => "dig HTTPS",
            Program::Getent => "getent",
            Program::CurlDot => "curl :853",
        }
    }
}

impl Expect {
    pub(super) fn label(self) -> &'static str {
        match self {
            Expect::Page => "page",
            Expect::Reset => "reset",
            Expect::Refused => "refused",
            Expect::Told(answer) => answer,
            Expect::Redirected => "redirect",
        }
    }
}
