//! The whole daemon: from its start to the policy in force, its memory, and a reload that changes
//! 3,000 of the names, at a million names and forty thousand organisations in real files. The same with
//! a dump of the unified registry, and a delta on top of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::lab::daemon::{CONFIG, Site, program};
use crate::lab::namespace::Namespace;
use crate::register::{Delta, Register};

/// What the daemon took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// `daemon_start` or `daemon_reload`; of a dump, `dump_start` or `dump_delta`.
    pub measure: &'static str,
    /// From the command to READY, or from the request to the answer, in milliseconds.
    pub milliseconds: f64,
    /// What the daemon says of a reload: reading and applying.
    pub told: String,
    /// Its memory that is no map of the kernel (anonymous pages), in MiB.
    pub daemon_mib: u64,
    /// Most of that since its start, in MiB, with the maps it has in its memory.
    pub peak_mib: u64,
    /// Names on the list, or records of the dump.
    pub entries: u32,
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

/// Keys of the registry, by what it is read from.
const NAMES: &str = "format = \"domains\"\nsemantics = \"suffix\"\npath = \"names.txt\"";
const DUMP: &str = "format = \"dump\"\npath = \"dump.xml\"\ndeltas = \"deltas\"";

fn config(site: &Site, registry: &str, orgs: u32) -> Result<String> {
    let mut text = format!("[daemon]\n{}\n", site.settings());
    text.push_str("[[interfaces]]\nname = \"schools\"\n\n");
    text.push_str("[[registries]]\nid = \"unified\"\ntier = \"unified\"\n");
    writeln!(text, "{registry}\n")?;
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
    let write = |site: &Site, salt| site.write("names.txt", &names(domains, salt)?);
    run(Run {
        measures: ["daemon_start", "daemon_reload"],
        registry: NAMES,
        entries: domains,
        orgs,
        first: &|site| write(site, 0),
        second: &|site| write(site, 1),
    })
}

/// The same with a dump of so many records, and a delta of 3,000 on top of it.
///
/// # Errors
/// As for [`measure`].
pub fn measure_dump(records: u32, orgs: u32) -> Result<Vec<Start>> {
    let register = Register { records, seed: 1 };
    let delta = Delta {
        minute: 1,
        records: 3_000,
    };
    let to = |path| Ok::<_, std::io::Error>(BufWriter::with_capacity(1 << 20, File::create(path)?));
    run(Run {
        measures: ["dump_start", "dump_delta"],
        registry: DUMP,
        entries: records,
        orgs,
        first: &|site| {
            std::fs::create_dir(site.path("deltas"))?;
            Ok(register.write(to(site.path("dump.xml"))?)?)
        },
        second: &|site| Ok(register.write_delta(delta, to(site.path("deltas/1.xml"))?)?),
    })
}

/// A daemon that is started with the first files, and reloaded with the second.
struct Run<'a> {
    measures: [&'static str; 2],
    registry: &'a str,
    entries: u32,
    orgs: u32,
    first: &'a dyn Fn(&Site) -> Result<()>,
    second: &'a dyn Fn(&Site) -> Result<()>,
}

fn run(run: Run<'_>) -> Result<Vec<Start>> {
    let program = program().context("no schoolgate program: run `cargo xtask build`")?;
    let edge = Namespace::new("bench")?;
    edge.ip("link add schools type veth peer name far")?;
    for link in ["schools", "far"] {
        edge.ip(&format!("link set {link} up"))?;
    }
    let site = Site::new(&program)?;
    site.write(CONFIG, &config(&site, run.registry, run.orgs)?)?;
    (run.first)(&site)?;
    let begun = Instant::now();
    let mut daemon = site.start(&edge)?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let pid = daemon.process().id();
    let [start, reload] = run.measures;
    let row = |measure, milliseconds, told| Start {
        measure,
        milliseconds,
        told,
        daemon_mib: status_mib(pid, "RssAnon:"),
        peak_mib: status_mib(pid, "VmHWM:"),
        entries: run.entries,
        orgs: run.orgs,
    };
    let started = row(start, milliseconds, String::new());
    (run.second)(&site)?;
    let begun = Instant::now();
    let answer = site.ask_daemon(&edge, &["reload", "--wait"])?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let reloaded = row(reload, milliseconds, answer.stdout.trim().to_owned());
    daemon.stop()?;
    Ok(vec![started, reloaded])
}
