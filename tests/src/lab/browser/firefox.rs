//! Firefox, driven by WebDriver BiDi.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::socket::Socket;
use super::{START, Setup, alone, home, soon};
use crate::lab::process::Process;
use crate::lab::{TempDir, patience, wait};

/// What Firefox says of a visit that another took the place of.
const INTERRUPTED: &str = "interrupted an unfinished navigation";

/// What keeps it from anything that the page did not ask for. HTTP/3, DNS over HTTPS, upgrades to HTTPS and
/// all else that a person's browser does are as they come.
const PREFERENCES: &[(&str, &str)] = &[
    // Only BiDi, and none of the settings that tests of web sites like.
    ("remote.active-protocols", "1"),
    ("remote.prefs.recommended", "false"),
    // HTTP/3 also where an authority was added, as the lab's is.
    (
        "network.http.http3.disable_when_third_party_roots_found",
        "false",
    ),
    ("app.normandy.enabled", "false"),
    ("app.update.disabledForTesting", "true"),
    ("browser.aboutwelcome.enabled", "false"),
    ("browser.contentblocking.database.enabled", "false"),
    ("browser.discovery.enabled", "false"),
    ("browser.newtabpage.enabled", "false"),
    ("browser.region.network.url", "\"\""),
    ("browser.safebrowsing.blockedURIs.enabled", "false"),
    ("browser.safebrowsing.downloads.enabled", "false"),
    ("browser.safebrowsing.malware.enabled", "false"),
    ("browser.safebrowsing.phishing.enabled", "false"),
    ("browser.safebrowsing.update.enabled", "false"),
    ("browser.search.update", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.page", "0"),
    ("browser.topsites.contile.enabled", "false"),
    ("captivedetect.canonicalURL", "\"\""),
    ("datareporting.healthreport.uploadEnabled", "false"),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("dom.ipc.processPrelaunch.enabled", "false"),
    ("dom.push.connection.enabled", "false"),
    ("extensions.getAddons.cache.enabled", "false"),
    ("extensions.systemAddon.update.enabled", "false"),
    ("extensions.update.enabled", "false"),
    ("media.gmp-manager.updateEnabled", "false"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("security.remote_settings.crlite_filters.enabled", "false"),
    ("security.remote_settings.intermediates.enabled", "false"),
    ("security.OCSP.enabled", "0"),
    (
        "services.settings.server",
        "\"data:,#remote-settings-dummy/v1\"",
    ),
    ("startup.homepage_welcome_url", "\"about:blank\""),
    ("termsofuse.bypassNotification", "true"),
    ("toolkit.telemetry.enabled", "false"),
    ("toolkit.telemetry.server", "\"\""),
    ("toolkit.telemetry.unified", "false"),
];

/// A running Firefox.
pub(super) struct Firefox {
    socket: Socket,
    context: String,
    // Ended before its directory goes.
    _process: Process,
    _home: TempDir,
}

impl Firefox {
    pub(super) fn start(setup: &Setup<'_>) -> anyhow::Result<Firefox> {
        let (home, profile) = home()?;
        setup.trust.copy_to(&profile)?;
        std::fs::write(profile.join("user.js"), preferences(setup)?)?;
        let mut command = alone(setup, home.path(), "firefox-esr")?;
        command.args(["--headless", "--no-remote", "--remote-debugging-port", "0"]);
        command.args(["--width", "1100", "--height", "800"]);
        command.arg("--profile").arg(&profile);
        let mut process = Process::start(command)?;
        let port = await_port(&mut process, &profile.join("WebDriverBiDiServer.json"))?;
        let mut socket = Socket::open(setup.namespace, port, "/session")?;
        let new = json!({ "capabilities": {} });
        command_on(&mut socket, "session.new", new)?;
        let wanted = json!({ "events": ["browsingContext.load"] });
        command_on(&mut socket, "session.subscribe", wanted)?;
        let made = json!({ "type": "tab" });
        let made = command_on(&mut socket, "browsingContext.create", made)?;
        let context = made.get("context").and_then(Value::as_str);
        let context = context.map(str::to_owned).context("no page")?;
        Ok(Firefox {
            socket,
            context,
            _process: process,
            _home: home,
        })
    }

    fn command(&mut self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        command_on(&mut self.socket, method, parameters)
    }

    /// Goes to an address. Gives the error, where no page came.
    pub(super) fn navigate(
        &mut self,
        url: &str,
        limit: Duration,
    ) -> anyhow::Result<Option<String>> {
        let deadline = Instant::now() + limit;
        let parameters = json!({ "context": self.context, "url": url, "wait": "complete" });
        loop {
            let method = "browsingContext.navigate";
            let number = self.socket.send(method, parameters.clone(), None)?;
            let error = match self.socket.answer(number, deadline)? {
                None => return Ok(Some(format!("nothing within {} s", limit.as_secs()))),
                Some(Ok(_)) => return Ok(None),
                Some(Err(error)) => short(&error),
            };
            // The error page of the visit before may come late, and take this one's place for a moment.
            if !error.contains(INTERRUPTED) || Instant::now() > deadline {
                return Ok(Some(error));
            }
        }
    }

    /// Asks for pages in these languages from now on.
    pub(super) fn prefer(&mut self, languages: &str) -> anyhow::Result<()> {
        let value = json!({ "type": "string", "value": languages });
        let headers = json!([{ "name": "Accept-Language", "value": value }]);
        let parameters = json!({ "contexts": [self.context], "headers": headers });
        self.command("network.setExtraHeaders", parameters)?;
        Ok(())
    }

    /// Runs a script, and waits for the page that comes of it.
    pub(super) fn act(&mut self, script: &str) -> anyhow::Result<()> {
        self.socket.forget_events();
        self.run(script)?;
        let loaded = self.socket.event("browsingContext.load", soon())?;
        loaded.map(|_| ()).context("no page came")
    }

    /// The text that a script gives.
    pub(super) fn evaluate(&mut self, script: &str) -> anyhow::Result<String> {
        let given = self.run(script)?;
        let text = given.pointer("/result/value").and_then(Value::as_str);
        text.map(str::to_owned)
            .with_context(|| format!("a script gave {given}"))
    }

    fn run(&mut self, script: &str) -> anyhow::Result<Value> {
        let target = json!({ "context": self.context });
        let parameters = json!({
            "expression": script, "target": target, "awaitPromise": false, "userActivation": true
        });
        self.command("script.evaluate", parameters)
    }

    /// A picture in base64.
    pub(super) fn screenshot(&mut self) -> anyhow::Result<String> {
        let parameters = json!({ "context": self.context });
        let given = self.command("browsingContext.captureScreenshot", parameters)?;
        let data = given.get("data").and_then(Value::as_str);
        data.map(str::to_owned).context("no picture")
    }
}

fn command_on(socket: &mut Socket, method: &str, parameters: Value) -> anyhow::Result<Value> {
    let number = socket.send(method, parameters, None)?;
    let answer = socket.answer(number, soon())?;
    let answer = answer.with_context(|| format!("no answer to {method}"))?;
    answer.map_err(|refused| anyhow!("{method}: {refused}"))
}

/// The error's name alone.
fn short(error: &str) -> String {
    error.strip_prefix("Error: ").unwrap_or(error).to_owned()
}

/// The profile's `user.js`.
fn preferences(setup: &Setup<'_>) -> anyhow::Result<String> {
    let mut text = String::new();
    for (name, value) in PREFERENCES {
        writeln!(text, "user_pref(\"{name}\", {value});")?;
    }
    let languages = setup.languages;
    writeln!(
        text,
        "user_pref(\"intl.accept_languages\", \"{languages}\");"
    )?;
    let known: Vec<_> = setup
        .http3
        .iter()
        .map(|name| format!("{name};h3=:443"))
        .collect();
    let known = known.join(",");
    let mapping = "network.http.http3.alt-svc-mapping-for-testing";
    writeln!(text, "user_pref(\"{mapping}\", \"{known}\");")?;
    Ok(text)
}

/// The port of its web socket, which it writes into a file.
fn await_port(process: &mut Process, file: &Path) -> anyhow::Result<u16> {
    let read = || {
        let text = std::fs::read_to_string(file).ok()?;
        let told: Value = serde_json::from_str(&text).ok()?;
        told.get("ws_port")?.as_u64()?.try_into().ok()
    };
    wait::until("Firefox", patience(START), || {
        process.is_running().then(read).flatten()
    })
    .with_context(|| process.stderr())
}
