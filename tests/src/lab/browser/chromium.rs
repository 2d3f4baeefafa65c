//! Chromium, driven by its own protocol.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::socket::Socket;
use super::{START, Setup, alone, home, soon};
use crate::lab::process::Process;
use crate::lab::{TempDir, patience, wait};

/// What keeps it from anything that the page did not ask for. QUIC, upgrades to HTTPS and all else that a
/// person's browser does are as they come.
const SWITCHES: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1100,800",
    "--remote-debugging-port=0",
];

/// A running Chromium.
pub(super) struct Chromium {
    socket: Socket,
    session: String,
    // Ended before its directory goes.
    _process: Process,
    _home: TempDir,
}

impl Chromium {
    pub(super) fn start(setup: &Setup<'_>) -> anyhow::Result<Chromium> {
        let (home, profile) = home()?;
        setup.trust.copy_to(&home.path().join(".pki/nssdb"))?;
        let mut command = alone(setup, home.path(), "chromium")?;
        command.args(SWITCHES);
        command.arg(format!("--user-data-dir={}", profile.display()));
        command.arg(format!("--accept-lang={}", setup.languages));
        if !setup.http3.is_empty() {
            // A name in this list may have a certificate of an authority that was added. Its port here is
            // not the one that is asked for, so that QUIC is chosen as it would be anywhere.
            let origins: Vec<_> = setup.http3.iter().map(|name| format!("{name}:1")).collect();
            command.arg(format!("--origin-to-force-quic-on={}", origins.join(",")));
        }
        command.arg("about:blank");
        let mut process = Process::start(command)?;
        let (port, path) = await_port(&mut process, &profile.join("DevToolsActivePort"))?;
        let mut socket = Socket::open(setup.namespace, port, &path)?;
        let session = attach(&mut socket)?;
        let mut chromium = Chromium {
            socket,
            session,
            _process: process,
            _home: home,
        };
        for domain in ["Page.enable", "Runtime.enable", "Network.enable"] {
            chromium.command(domain, json!({}))?;
        }
        Ok(chromium)
    }

    fn send(&mut self, method: &str, parameters: Value) -> anyhow::Result<u64> {
        self.socket.send(method, parameters, Some(&self.session))
    }

    fn command(&mut self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        let number = self.send(method, parameters)?;
        let answer = self.socket.answer(number, soon())?;
        let answer = answer.with_context(|| format!("no answer to {method}"))?;
        answer.map_err(|refused| anyhow!("{method}: {refused}"))
    }

    /// Goes to an address. Gives the error, where no page came.
    pub(super) fn navigate(
        &mut self,
        url: &str,
        limit: Duration,
    ) -> anyhow::Result<Option<String>> {
        self.socket.forget_events();
        let deadline = Instant::now() + limit;
        let number = self.send("Page.navigate", json!({ "url": url }))?;
        let Some(answer) = self.socket.answer(number, deadline)? else {
            return Ok(Some(self.give_up(limit)?));
        };
        let answer = answer.map_err(|refused| anyhow!("going to {url}: {refused}"))?;
        let error = answer.get("errorText").and_then(Value::as_str);
        // Error pages are loaded, too.
        let loaded = self.socket.event("Page.loadEventFired", deadline)?;
        if loaded.is_none() {
            return Ok(Some(self.give_up(limit)?));
        }
        Ok(error.map(str::to_owned))
    }

    fn give_up(&mut self, limit: Duration) -> anyhow::Result<String> {
        self.command("Page.stopLoading", json!({}))?;
        Ok(format!("nothing within {} s", limit.as_secs()))
    }

    /// Asks for pages in these languages from now on.
    pub(super) fn prefer(&mut self, languages: &str) -> anyhow::Result<()> {
        let headers = json!({ "headers": { "Accept-Language": languages } });
        self.command("Network.setExtraHTTPHeaders", headers)?;
        Ok(())
    }

    /// Runs a script, and waits for the page that comes of it.
    pub(super) fn act(&mut self, script: &str) -> anyhow::Result<()> {
        self.socket.forget_events();
        let expression = json!({ "expression": script, "userGesture": true });
        self.command("Runtime.evaluate", expression)?;
        let loaded = self.socket.event("Page.loadEventFired", soon())?;
        loaded.map(|_| ()).context("no page came")
    }

    /// The text that a script gives.
    pub(super) fn evaluate(&mut self, script: &str) -> anyhow::Result<String> {
        let given = self.command("Runtime.evaluate", json!({ "expression": script }))?;
        let text = given.pointer("/result/value").and_then(Value::as_str);
        text.map(str::to_owned)
            .with_context(|| format!("a script gave {given}"))
    }

    /// A picture in base64.
    pub(super) fn screenshot(&mut self) -> anyhow::Result<String> {
        let given = self.command("Page.captureScreenshot", json!({ "format": "png" }))?;
        let data = given.get("data").and_then(Value::as_str);
        data.map(str::to_owned).context("no picture")
    }
}

/// The port and path of its web socket, which it writes into a file.
fn await_port(process: &mut Process, file: &Path) -> anyhow::Result<(u16, String)> {
    let read = || {
        let text = std::fs::read_to_string(file).ok()?;
        let (port, path) = text.split_once('\n')?;
        Some((port.parse().ok()?, path.trim().to_owned()))
    };
    wait::until("Chromium", patience(START), || {
        process.is_running().then(read).flatten()
    })
    .with_context(|| process.stderr())
}

/// Takes its first page in hand.
fn attach(socket: &mut Socket) -> anyhow::Result<String> {
    let mut command = |method: &str, parameters: Value| -> anyhow::Result<Value> {
        let number = socket.send(method, parameters, None)?;
        let answer = socket.answer(number, soon())?;
        let answer = answer.with_context(|| format!("no answer to {method}"))?;
        answer.map_err(|refused| anyhow!("{method}: {refused}"))
    };
    let text = |value: &Value, member: &str| -> anyhow::Result<String> {
        let found = value.get(member).and_then(Value::as_str);
        found
            .map(str::to_owned)
            .with_context(|| format!("no {member} in {value}"))
    };
    let made = command("Target.createTarget", json!({ "url": "about:blank" }))?;
    let target = text(&made, "targetId")?;
    let attached = json!({ "targetId": target, "flatten": true });
    text(&command("Target.attachToTarget", attached)?, "sessionId")
}
