//! The whole daemon: from its start to the policy in force, its memory, and a reload that changes
//! 3,000 of the names, at a million names and forty thousand organisations in real files.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::lab::daemon::{CONFIG, Site, program};
use crate::lab::namespace::Namespace;

/// What the daemon took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// `daemon_start` or `daemon_reload`.
    pub measure: &'static str,
    /// From the command to READY, or from the request to the answer, in milliseconds.
    pub milliseconds: f64,
    /// What the daemon says of a reload: reading and applying.
    pub told: String,
    /// Its memory that is no map of the kernel (anonymous pages), in MiB.
    pub daemon_mib: u64,
    /// Most of that since its start, in MiB, with the maps it has in its memory.
    pub peak_mib: u64,
    /// Names on the list.
    pub domains: u32,
    /// Enrolled organisations.
    pub orgs: u32,
}

/// A field of `/proc/PID/status` in MiB.
fn status_mib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn config(site: &Site, orgs: u32) -> Result<String> {
    let mut text = format!("[daemon]\n{}\n", site.settings());
    text.push_str("[[interfaces]]\nname = \"schools\"\n\n");
    text.push_str("[[registries]]\nid = \"unified\"\ntier = \"unified\"\nformat = \"domains\"\n");
    text.push_str("semantics = \"suffix\"\npath = \"names.txt\"\n\n");
    text.push_str("[[profiles]]\nid = \"usual\"\n\n");
    for number in 0..orgs {
        let first = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + number * 64);
        write!(
            text,
            "[[organisations]]\nid = \"school-{number}\"\nprofile = \"usual\"\n"
        )?;
        write!(text, "prefixes = [\"{first}/26\"]\n\n")?;
    }
    Ok(text)
}

/// `count` names; the last 1,500 of them carry `salt`.
fn names(count: u32, salt: u32) -> Result<String> {
    let mut text = String::new();
    for number in 0..count {
        let salt = if number + 1500 < count { 0 } else { salt };
        writeln!(text, "d{number}-{salt}.bulk.example")?;
    }
    Ok(text)
}

/// Starts the daemon in a namespace of its own, and reloads it with 3,000 changes.
///
/// # Errors
/// If the namespace cannot be made, or the daemon does not do what it is asked for.
pub fn measure(domains: u32, orgs: u32) -> Result<Vec<Start>> {
    let program = program().context("no schoolgate program: run `cargo xtask build`")?;
    let edge = Namespace::new("bench")?;
    edge.ip("link add schools type veth peer name far")?;
    for link in ["schools", "far"] {
        edge.ip(&format!("link set {link} up"))?;
    }
    let site = Site::new(&program)?;
    site.write(CONFIG, &config(&site, orgs)?)?;
    site.write("names.txt", &names(domains, 0)?)?;
    let begun = Instant::now();
    let mut daemon = site.start(&edge)?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let pid = daemon.process().id();
    let row = |measure, milliseconds, told| Start {
        measure,
        milliseconds,
        told,
        daemon_mib: status_mib(pid, "RssAnon:"),
        peak_mib: status_mib(pid, "VmHWM:"),
        domains,
        orgs,
    };
    let started = row("daemon_start", milliseconds, String::new());
    site.write("names.txt", &names(domains, 1)?)?;
    let begun = Instant::now();
    let answer = site.ask_daemon(&edge, &["reload", "--wait"])?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let reloaded = row(
        "daemon_reload",
        milliseconds,
        answer.stdout.trim().to_owned(),
    );
    daemon.stop()?;
    Ok(vec![started, reloaded])
}
