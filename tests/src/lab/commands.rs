//! Real clients and servers that are programs: curl, openssl, Chromium.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::TempDir;
use super::client::Ended;
use super::namespace::Namespace;
use super::pki::{Authority, ServerFiles};
use super::process::{self, Finished, Process};
use super::server::page;
use super::wait;

/// curl's exit codes: could not connect, timeout, TLS connect error, receive failure.
const CURL_CONNECT: i32 = 7;
const CURL_TIMEOUT: i32 = 28;
const CURL_TLS: i32 = 35;
const CURL_RECEIVE: i32 = 56;

/// Fetches `url` with curl, its host name resolved to `to`.
///
/// # Errors
/// curl is missing. What becomes of the request is no error.
pub fn curl(
    namespace: &Namespace,
    authority: &Authority,
    url: &str,
    to: IpAddr,
) -> anyhow::Result<(Ended, Duration)> {
    let mut command = namespace.command("curl");
    let address = match to {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    command.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "8",
    ]);
    command.arg("--cacert").arg(authority.file());
    command.args(["--write-out", "\n%{redirect_url}"]);
    command.args(["--connect-to", &format!("::{address}:"), url]);
    let done = process::run(command, Duration::from_secs(10))?;
    let ended = match done.code {
        Some(0) => match done.stdout.rsplit_once('\n') {
            Some((_, to)) if !to.is_empty() => Ended::Redirect(to.to_owned()),
            Some((page, _)) => Ended::Page(page.to_owned()),
            None => Ended::Page(done.stdout),
        },
        Some(CURL_CONNECT) => connect_error(&done.stderr),
        Some(CURL_TLS | CURL_RECEIVE) if says_reset(&done.stderr) => Ended::Reset,
        Some(CURL_TIMEOUT) | None => Ended::Silence,
        Some(code) => Ended::Other(format!("curl {code}: {}", done.stderr.trim())),
    };
    Ok((ended, done.took))
}

fn connect_error(said: &str) -> Ended {
    // Older versions of curl say only that they could not connect.
    if said.contains("refused") || said.contains("Couldn't connect") {
        Ended::Refused
    } else {
        Ended::Other(said.trim().to_owned())
    }
}

fn says_reset(said: &str) -> bool {
    said.contains("reset") || said.contains("errno 104") || said.contains("SSL_ERROR_SYSCALL")
}

/// Makes a TLS handshake with `openssl s_client`, verified against the lab's authority.
///
/// # Errors
/// openssl is missing. What becomes of the handshake is no error.
pub fn openssl_client(
    namespace: &Namespace,
    authority: &Authority,
    name: &str,
    to: SocketAddr,
) -> anyhow::Result<(Ended, Duration)> {
    let mut command = namespace.command("openssl");
    command.args([
        "s_client",
        "-brief",
        "-verify_return_error",
        "-servername",
        name,
    ]);
    command.args(["-verify_hostname", name, "-connect", &to.to_string()]);
    command.arg("-CAfile").arg(authority.file());
    let done = process::run(command, Duration::from_secs(8))?;
    let ended = match done.code {
        Some(0) if done.stderr.contains("Verification: OK") => Ended::Page(page(name)),
        None => Ended::Silence,
        Some(_) if done.stderr.contains("errno=104") => Ended::Reset,
        Some(_) if done.stderr.contains("errno=111") => Ended::Refused,
        Some(code) => Ended::Other(format!("openssl {code}: {}", last_line(&done.stderr))),
    };
    Ok((ended, done.took))
}

fn last_line(text: &str) -> &str {
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default()
}

/// Asks the resolver at `to` for the records of this type of `name` with dig; an answer without one is told by
/// its code.
///
/// # Errors
/// dig is missing. What becomes of the query is no error.
pub fn dig(
    namespace: &Namespace,
    name: &str,
    kind: &str,
    to: IpAddr,
) -> anyhow::Result<(Ended, Duration)> {
    let mut command = namespace.command("dig");
    command.args(["+tries=1", "+time=3", "+noall", "+comments", "+answer"]);
    command.args([&format!("@{to}"), name, kind]);
    let done = process::run(command, Duration::from_secs(8))?;
    let mut words = done.stdout.lines().filter(|line| !line.starts_with(';'));
    let column = format!("\t{kind}\t");
    let address = words.find_map(|line| line.split_once(&column).map(|(_, address)| address));
    let code = done.stdout.split_once("status: ").map(|(_, rest)| rest);
    let code = code
        .and_then(|rest| rest.split_once(','))
        .map(|(code, _)| code);
    let ended = match (done.code, address, code) {
        (Some(0), Some(address), Some("NOERROR")) => Ended::Told(address.trim().to_owned()),
        (Some(0), None, Some(code)) => Ended::Told(code.to_owned()),
        (Some(9) | None, ..) => Ended::Silence,
        _ => Ended::Other(format!("dig: {}", done.stdout.trim())),
    };
    Ok((ended, done.took))
}

/// Asks the C library for the addresses of `name`, with `to` as the one resolver; tells the IPv4 address. Both
/// families are asked for at once, and one that is not answered would be waited for.
///
/// # Errors
/// `unshare` or `getent` is missing. What becomes of the queries is no error.
pub fn getent(namespace: &Namespace, name: &str, to: IpAddr) -> anyhow::Result<(Ended, Duration)> {
    /// In a mount namespace of its own, so that nobody else has this resolver.
    const SCRIPT: &str = r#"mount --bind "$1" /etc/resolv.conf && exec getent ahosts "$2""#;
    let directory = TempDir::new()?;
    let settings = directory.path().join("resolv.conf");
    std::fs::write(
        &settings,
        format!("nameserver {to}\noptions timeout:3 attempts:1\n"),
    )?;
    let mut command = namespace.command("unshare");
    command.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
    command.arg(&settings).arg(name);
    let done = process::run(command, Duration::from_secs(10))?;
    let mut addresses = done
        .stdout
        .lines()
        .filter_map(|line| line.split(' ').next());
    let address = addresses.find(|address| address.parse::<Ipv4Addr>().is_ok());
    let ended = match (done.code, address) {
        (Some(0), Some(address)) => Ended::Told(address.to_owned()),
        (Some(2), None) => Ended::Told("nothing".to_owned()),
        _ => Ended::Other(format!(
            "getent: {} {}",
            done.stdout.trim(),
            done.stderr.trim()
        )),
    };
    Ok((ended, done.took))
}

/// Loads `https://name/` with headless Chromium, every name resolved to `to`, in a profile of its
/// own.
///
/// # Errors
/// Chromium is missing. What becomes of the page is no error.
pub fn chromium(
    namespace: &Namespace,
    name: &str,
    to: IpAddr,
) -> anyhow::Result<(Ended, Duration)> {
    let profile = TempDir::new()?;
    let done = run_chromium(namespace, profile.path(), name, to)?;
    let failed = |how: &str| done.stdout.contains(how) || done.stderr.contains(how);
    let ended = if done.stdout.contains(&format!("served as {name}")) {
        Ended::Page(page(name))
    } else if failed("ERR_CONNECTION_RESET") {
        Ended::Reset
    } else if failed("ERR_CONNECTION_REFUSED") {
        Ended::Refused
    } else if done.code.is_none() {
        Ended::Silence
    } else {
        Ended::Other(format!(
            "chromium {:?}: {}",
            done.code,
            last_line(&done.stderr)
        ))
    };
    Ok((ended, done.took))
}

fn run_chromium(
    namespace: &Namespace,
    profile: &Path,
    name: &str,
    to: IpAddr,
) -> anyhow::Result<Finished> {
    let mut command = headless(namespace, profile);
    command.arg("--dump-dom");
    command.arg(match to {
        IpAddr::V4(v4) => format!("--host-resolver-rules=MAP * {v4}"),
        IpAddr::V6(v6) => format!("--host-resolver-rules=MAP * [{v6}]"),
    });
    command.arg(format!("https://{name}/"));
    process::run(command, Duration::from_secs(40))
}

/// Chromium without a window; everything it writes stays in its profile.
fn headless(namespace: &Namespace, profile: &Path) -> Command {
    let mut command = namespace.command("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--ignore-certificate-errors",
    ]);
    command
        .env("HOME", profile)
        .env("XDG_CONFIG_HOME", profile)
        .env("XDG_CACHE_HOME", profile);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command
}

/// Writes a picture of a page, `size` being `WIDTH,HEIGHT`, to `file`.
///
/// # Errors
/// Chromium is missing, or made no picture.
pub fn screenshot(namespace: &Namespace, url: &str, size: &str, file: &Path) -> anyhow::Result<()> {
    let profile = TempDir::new()?;
    let mut command = headless(namespace, profile.path());
    command.args(["--hide-scrollbars", &format!("--window-size={size}")]);
    command.arg(format!("--screenshot={}", file.display()));
    command.arg(url);
    let done = process::run(command, Duration::from_secs(60))?;
    anyhow::ensure!(file.exists(), "no picture of {url}: {done:?}");
    Ok(())
}

/// A stock OpenSSL server. It serves one connection at a time.
#[derive(Debug)]
pub struct OpensslServer(Process);

impl OpensslServer {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// openssl is missing, or the port is taken.
    pub fn start(
        namespace: &Namespace,
        port: u16,
        authority: &Authority,
    ) -> anyhow::Result<OpensslServer> {
        let ServerFiles { certificate, key } = authority.write_server_files("stock.invalid")?;
        // Line by line, as it would write to a terminal.
        let mut command = namespace.command("stdbuf");
        command.args(["--output=L", "openssl"]);
        command.args(["s_server", "-accept", &port.to_string(), "-www"]);
        // The second name and certificate make it tell each server name that it understood.
        command.args(["-servername", "second.invalid"]);
        command.arg("-cert").arg(&certificate).arg("-key").arg(&key);
        command
            .arg("-cert2")
            .arg(&certificate)
            .arg("-key2")
            .arg(&key);
        let server = Process::start(command)?;
        let listens = || server.stdout().contains("ACCEPT");
        wait::until_true(
            "openssl s_server to listen",
            Duration::from_secs(10),
            listens,
        )?;
        Ok(OpensslServer(server))
    }

    /// The server names it understood so far, in order.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        let text = self.0.stdout() + &self.0.stderr();
        let mark = "Hostname in TLS extension: \"";
        let named = text.lines().filter_map(|line| line.split_once(mark));
        named
            .filter_map(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()))
            .collect()
    }
}
