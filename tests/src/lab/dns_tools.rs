//! Stock programs of DNS: dnsmasq, the forwarder of many a school's router, and kdig, a client of every
//! transport.

use std::net::IpAddr;
use std::time::Duration;

use super::namespace::Namespace;
use super::process::{self, Finished, Process};
use super::wait;

/// Longest wait for a start and for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A dnsmasq in a namespace; ends on drop.
#[derive(Debug)]
pub struct Dnsmasq(Option<Process>);

impl Dnsmasq {
    /// Answers for everything below each name with these addresses.
    ///
    /// # Errors
    /// dnsmasq is missing, or does not begin to answer on the namespace's own `ready` address.
    pub fn authority(
        namespace: &Namespace,
        below: &str,
        addresses: &[IpAddr],
        ready: IpAddr,
    ) -> anyhow::Result<Dnsmasq> {
        let told = addresses.iter();
        let told = told.map(|address| format!("--address=/{below}/{address}"));
        start(namespace, told.collect(), ready)
    }

    /// Forwards every query to the resolver at `to`, keeping no answer.
    ///
    /// # Errors
    /// As [`Dnsmasq::authority`].
    pub fn forwarder(namespace: &Namespace, to: IpAddr, ready: IpAddr) -> anyhow::Result<Dnsmasq> {
        let arguments = vec![format!("--server={to}"), "--cache-size=0".to_owned()];
        start(namespace, arguments, ready)
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            process.kill();
        }
    }
}

fn start(namespace: &Namespace, more: Vec<String>, ready: IpAddr) -> anyhow::Result<Dnsmasq> {
    let mut command = namespace.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-hosts",
    ]);
    command.args([
        "--no-resolv",
        "--pid-file=",
        "--user=root",
        "--log-facility=-",
    ]);
    command.args(more);
    let server = Dnsmasq(Some(Process::start(command)?));
    // It answers for itself whatever it forwards.
    let answers = || {
        let asked = kdig(
            namespace,
            ready,
            &["version.bind", "CH", "TXT", "+timeout=1"],
        );
        asked.is_ok_and(|done| done.stdout.contains("status: NOERROR"))
    };
    wait::until_true("dnsmasq answers", LIMIT, answers)?;
    Ok(server)
}

/// Asks the resolver at `to` with kdig, once.
///
/// # Errors
/// kdig is missing. What becomes of the query is no error.
pub fn kdig(namespace: &Namespace, to: IpAddr, arguments: &[&str]) -> anyhow::Result<Finished> {
    let mut command = namespace.command("kdig");
    command
        .arg(format!("@{to}"))
        .arg("+retry=0")
        .args(arguments);
    process::run(command, LIMIT)
}
