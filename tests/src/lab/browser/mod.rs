//! Real browsers without a window, driven as a person would: an address is typed, a button pressed, and
//! what stands there is read and photographed.
//!
//! Each runs in a mount and process namespace of its own, with its own profile, its own table of hosts and
//! resolver, and the lab's authority as the only addition to what it trusts.

mod chromium;
mod firefox;
mod socket;
mod trust;

use std::fmt::{self, Display, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

pub use trust::Trust;

use chromium::Chromium;
use firefox::Firefox;

use super::client::Ended;
use super::namespace::Namespace;
use super::pki::Authority;
use super::server::page;
use super::{TempDir, daemon, patience, skip};

/// Longest start of a browser.
const START: Duration = Duration::from_secs(60);
/// Longest answer to anything that needs no network.
const COMMAND: Duration = Duration::from_secs(30);
/// Longest visit of [`fetch`].
const FETCH: Duration = Duration::from_secs(40);

/// What stands on a page, as an object in JSON. Firefox writes its own errors in the shadow of an element.
const LOOK: &str = "(() => {\
const shadows = [...document.querySelectorAll('*')].map(one => one.openOrClosedShadowRoot || one.shadowRoot);\
const written = root => [...root.children].filter(one => one.tagName != 'STYLE').map(one => one.innerText).join(' ');\
const text = (document.body ? document.body.innerText : '').trim();\
return JSON.stringify({url: document.URL, title: document.title,\
text: text || shadows.filter(root => root).map(written).join(' ').trim(),\
protocol: (performance.getEntriesByType('navigation')[0] || {}).nextHopProtocol || ''})})()";

/// Which browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Chromium.
    Chromium,
    /// Firefox with extended support.
    Firefox,
}

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::Chromium, Kind::Firefox];

    /// The program's name.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Kind::Chromium => "chromium",
            Kind::Firefox => "firefox-esr",
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Chromium => "chromium",
            Kind::Firefox => "firefox",
        })
    }
}

/// The daemon's program where a test of it by browsers can run. Otherwise says why not in the line that CI
/// looks for.
#[must_use]
pub fn program_or_skip(test: &str) -> Option<PathBuf> {
    let program = daemon::program_or_skip(test)?;
    let needed = Kind::ALL.map(Kind::program).into_iter().chain(["certutil"]);
    for needed in needed {
        if !Path::new("/usr/bin").join(needed).exists() {
            skip(
                test,
                &format!("no {needed}: `cargo xtask test` installs it"),
            );
            return None;
        }
    }
    Some(program)
}

/// How a browser is set up.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Where it runs.
    pub namespace: &'a Namespace,
    /// What it trusts.
    pub trust: &'a Trust,
    /// Names whose addresses it knows without asking.
    pub hosts: &'a [(String, IpAddr)],
    /// Whom it asks for all others.
    pub resolver: IpAddr,
    /// Languages in the order of preference, as `ru,en`.
    pub languages: &'a str,
    /// Names whose servers it is to believe that they speak HTTP/3, though their certificates come from no
    /// authority that it has from its makers.
    pub http3: &'a [String],
}

/// What a person sees after an address was typed or a button pressed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Seen {
    /// The page's address.
    pub url: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// The protocol it came by, as ALPN calls it; empty for an error page.
    pub protocol: String,
    /// The browser's error, where no page came.
    #[serde(default)]
    pub error: Option<String>,
    /// How long it took.
    #[serde(default)]
    pub took: Duration,
}

impl Seen {
    /// Whether this is the page that a server gives as `name`.
    #[must_use]
    pub fn is_page_of(&self, name: &str) -> bool {
        self.error.is_none() && self.text.contains(&format!("served as {name}"))
    }

    /// A few words for tables.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.error {
            Some(error) => error.clone(),
            None if self.text.contains("served as ") => "page".to_owned(),
            None => format!("\u{201c}{}\u{201d}", self.title),
        }
    }
}

/// A running browser with one page; ends on drop with everything that it started.
pub struct Browser(Running);

enum Running {
    Chromium(Chromium),
    Firefox(Firefox),
}

impl Browser {
    /// Starts a browser, and waits until it can be driven.
    ///
    /// # Errors
    /// It is missing, or does not start in time.
    pub fn start(kind: Kind, setup: &Setup<'_>) -> anyhow::Result<Browser> {
        let running = match kind {
            Kind::Chromium => Running::Chromium(Chromium::start(setup)?),
            Kind::Firefox => Running::Firefox(Firefox::start(setup)?),
        };
        Ok(Browser(running))
    }

    /// Types an address, and waits for what comes of it: a page with all that belongs to it, or an error.
    ///
    /// # Errors
    /// The browser is gone. That nothing came within `limit` is no error.
    pub fn visit(&mut self, url: &str, limit: Duration) -> anyhow::Result<Seen> {
        let began = Instant::now();
        let error = match &mut self.0 {
            Running::Chromium(chromium) => chromium.navigate(url, limit)?,
            Running::Firefox(firefox) => firefox.navigate(url, limit)?,
        };
        let took = began.elapsed();
        let mut seen = self.look()?;
        let deadline = soon();
        // An error is told before its page is written.
        while error.is_some() && seen.text.is_empty() && Instant::now() < deadline {
            seen = self.look()?;
        }
        Ok(Seen {
            error,
            took,
            ..seen
        })
    }

    /// Presses the first thing that a CSS selector finds, and waits for the next page.
    ///
    /// # Errors
    /// The browser is gone, or nothing comes.
    pub fn press(&mut self, selector: &str) -> anyhow::Result<Seen> {
        let began = Instant::now();
        let script = format!("document.querySelector({selector:?}).click()");
        match &mut self.0 {
            Running::Chromium(chromium) => chromium.act(&script)?,
            Running::Firefox(firefox) => firefox.act(&script)?,
        }
        let took = began.elapsed();
        Ok(Seen {
            took,
            ..self.look()?
        })
    }

    /// Asks for pages in these languages from now on, as `en`.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn prefer(&mut self, languages: &str) -> anyhow::Result<()> {
        match &mut self.0 {
            Running::Chromium(chromium) => chromium.prefer(languages),
            Running::Firefox(firefox) => firefox.prefer(languages),
        }
    }

    /// What stands there now.
    fn look(&mut self) -> anyhow::Result<Seen> {
        let json = match &mut self.0 {
            Running::Chromium(chromium) => chromium.evaluate(LOOK)?,
            Running::Firefox(firefox) => firefox.evaluate(LOOK)?,
        };
        serde_json::from_str(&json).with_context(|| format!("what the page says: {json}"))
    }

    /// Takes a picture of the page as PNG.
    ///
    /// # Errors
    /// The browser is gone, or the file cannot be written.
    pub fn photograph(&mut self, file: &Path) -> anyhow::Result<()> {
        let picture = match &mut self.0 {
            Running::Chromium(chromium) => chromium.screenshot()?,
            Running::Firefox(firefox) => firefox.screenshot()?,
        };
        let picture = STANDARD.decode(picture).context("a picture in base64")?;
        std::fs::write(file, picture).with_context(|| format!("writing {}", file.display()))
    }
}

/// Loads `https://name/` with a browser of its own, the name resolved to `to`. Gives how long the visit took,
/// without the browser's start.
///
/// # Errors
/// The browser is missing. What becomes of the page is no error.
pub fn fetch(
    kind: Kind,
    namespace: &Namespace,
    authority: &Authority,
    name: &str,
    to: IpAddr,
) -> anyhow::Result<(Ended, Duration)> {
    let trust = Trust::new(authority)?;
    let setup = Setup {
        namespace,
        trust: &trust,
        hosts: &[(name.to_owned(), to)],
        resolver: to,
        languages: "en",
        http3: &[],
    };
    let mut browser = Browser::start(kind, &setup)?;
    let seen = browser.visit(&format!("https://{name}/"), patience(FETCH))?;
    let failed = |how: &str| seen.error.as_ref().is_some_and(|error| error.contains(how));
    let ended = if seen.is_page_of(name) {
        Ended::Page(page(name))
    } else if failed("RESET") {
        Ended::Reset
    } else if failed("REFUSED") {
        Ended::Refused
    } else if failed("nothing within") {
        Ended::Silence
    } else {
        Ended::Other(format!("{kind}: {}", seen.words()))
    };
    Ok((ended, seen.took))
}

/// A command that runs a browser with the table of hosts and the resolver of its setup, which lie in
/// `directory`. Whoever ends it ends everything that it started.
fn alone(setup: &Setup<'_>, directory: &Path, program: &str) -> anyhow::Result<Command> {
    const SCRIPT: &str = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && \
                          shift 2 && exec \"$@\"";
    let (hosts, resolver) = (directory.join("hosts"), directory.join("resolv.conf"));
    let mut table = "127.0.0.1 localhost\n".to_owned();
    for (name, address) in setup.hosts {
        writeln!(table, "{address} {name}")?;
    }
    std::fs::write(&hosts, table)?;
    let settings = format!(
        "nameserver {}\noptions timeout:2 attempts:2\n",
        setup.resolver
    );
    std::fs::write(&resolver, settings)?;
    let mut command = setup.namespace.command("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", SCRIPT, "sh"]);
    command.arg(hosts).arg(resolver).arg(program);
    command
        .env("HOME", directory)
        .env("XDG_CONFIG_HOME", directory)
        .env("XDG_CACHE_HOME", directory)
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env_remove("DISPLAY");
    Ok(command)
}

/// A directory for a browser, and its profile in it.
fn home() -> anyhow::Result<(TempDir, PathBuf)> {
    let home = TempDir::new()?;
    let profile = home.path().join("profile");
    std::fs::create_dir(&profile)?;
    Ok((home, profile))
}

/// The moment at which something that needs no network has failed.
fn soon() -> Instant {
    Instant::now() + patience(COMMAND)
}
