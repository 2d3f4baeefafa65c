//! The commands that run, steer or ask the daemon.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{ConfigArg, Context, Exit, Failure, check};
use crate::config::{Config, DEFAULT_RUNTIME_DIR, socket_of};
use crate::control::{Request, ask};
use crate::output::{Table, count, json};
use crate::status::{GaugeStatus, OrgStats, Reload, Stats, Status};

/// How to reload.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReloadArgs {
    /// Wait until it is done, and end as it ended
    #[arg(long)]
    wait: bool,
    /// Configuration that names the control socket
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Whose daemon.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Configuration that names the control socket
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Whose counters.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StatsArgs {
    /// Of this organisation only, in full
    #[arg(long, value_name = "ID")]
    org: Option<String>,
    /// Configuration that names the control socket
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What to detach.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DetachArgs {
    /// Configuration that names the runtime directory
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The control socket: as named, as configured, or the default one.
pub(super) fn socket(context: &Context<'_>, config: Option<&PathBuf>) -> PathBuf {
    let configured = || config.and_then(|file| socket_of(file));
    let default = || PathBuf::from(DEFAULT_RUNTIME_DIR).join("control.sock");
    context
        .socket
        .clone()
        .or_else(configured)
        .unwrap_or_else(default)
}

pub(super) fn ask_for<T: DeserializeOwned>(
    context: &Context<'_>,
    config: Option<&PathBuf>,
    request: &Request,
) -> Result<T, Failure> {
    let value = ask(&socket(context, config), request)?;
    serde_json::from_value(value).map_err(|error| {
        let message =
            format!("the daemon's answer is not understood ({error}): is it of this version?");
        Failure::new(Exit::Problem, message)
    })
}

pub(super) fn run(args: &ConfigArg) -> Result<Exit, Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    crate::daemon::run(&args.config)
}

pub(super) fn reload(args: &ReloadArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let request = Request::Reload { wait: args.wait };
    if !args.wait {
        ask(&socket(context, args.config.as_ref()), &request)?;
        if context.json {
            json(context.out, &json!({ "started": true }))?;
        } else {
            writeln!(
                context.out,
                "started; `schoolgate status` tells how it ends"
            )?;
        }
        return Ok(Exit::Fine);
    }
    let reload: Reload = ask_for(context, args.config.as_ref(), &request)?;
    if context.json {
        json(context.out, &reload)?;
    } else {
        print_reload(&reload, context)?;
    }
    Ok(Exit::Fine)
}

pub(super) fn print_reload(reload: &Reload, context: &mut Context<'_>) -> Result<(), Failure> {
    for note in &reload.notes {
        writeln!(context.out, "note: {note}")?;
    }
    for problem in &reload.problems {
        writeln!(context.out, "problem: {problem}")?;
    }
    let result = if reload.ok {
        "in force"
    } else {
        "failed, the last good state stays"
    };
    let mut line = format!(
        "{result}; read in {} ms, applied in {} ms",
        reload.read_milliseconds, reload.apply_milliseconds
    );
    for (kind, [added, changed, removed]) in &reload.changes {
        line.push_str(&format!("; {kind} +{added} ~{changed} -{removed}"));
    }
    if reload.new_generation {
        line.push_str("; new maps");
    }
    writeln!(context.out, "{line}")?;
    Ok(())
}

pub(super) fn status(args: &StatusArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let status: Status = ask_for(context, args.config.as_ref(), &Request::Status)?;
    let reload = status.last_reload.as_ref();
    let gauge = status.gauge.as_ref();
    let failed = reload.is_some_and(|reload| !reload.ok)
        || status.journal_problem.is_some()
        || status.undone.is_some()
        || status.registries.iter().any(|of| of.held.is_some())
        || status.sources.iter().any(|source| source.state.is_alarm())
        || status.unconfirmed.is_some()
        || gauge.is_some_and(|gauge| gauge.problem.is_some() || !gauge.differences.is_empty());
    if context.json {
        json(context.out, &status)?;
    } else {
        print_status(&status, context)?;
    }
    Ok(if failed { Exit::Problem } else { Exit::Fine })
}

fn print_status(status: &Status, context: &mut Context<'_>) -> Result<(), Failure> {
    let out = &mut *context.out;
    writeln!(
        out,
        "schoolgate {} (layout {}), process {}, up {} s, {}",
        status.version,
        status.abi,
        status.pid,
        status.uptime_seconds,
        status.config.display()
    )?;
    match &status.program {
        Some(program) => writeln!(
            out,
            "program: tag {}, id {}, generation {}, {} instructions verified",
            program.tag,
            program.id,
            program.generation,
            count(program.verified_instructions)
        )?,
        None => writeln!(
            out,
            "program: that of an earlier daemon, in force until a reload succeeds"
        )?,
    }
    super::apply::print_state(status, out)?;
    if status.pass_all {
        writeln!(out, "PASS ALL is on: nothing is filtered")?;
    }
    writeln!(out)?;
    interfaces(status).print(out)?;
    writeln!(out)?;
    check::registries(out, &status.registries)?;
    writeln!(out)?;
    print_held(status, out)?;
    print_sources(status, out)?;
    fill(status).print(out)?;
    writeln!(out)?;
    writeln!(out, "{}", check::enrolled(&status.enrolled))?;
    writeln!(
        out,
        "entries: {} names and addresses, {} prefixes",
        count(status.subjects),
        count(status.prefixes)
    )?;
    if let Some(gauge) = &status.gauge {
        print_gauge(gauge, out)?;
    }
    writeln!(
        out,
        "memory of the maps: {} KiB",
        count(status.memory_bytes / 1024)
    )?;
    writeln!(
        out,
        "untouched packets of others: {}",
        count(status.untouched)
    )?;
    print_names(status, out)?;
    print_journal(status, out)?;
    for given in &status.bypasses {
        writeln!(out, "{}", super::bypass::line(given))?;
    }
    if let Some(reload) = &status.last_reload {
        write!(out, "last reload: ")?;
        print_reload(reload, context)?;
    }
    Ok(())
}

/// Registries that wait to be accepted.
fn print_held(status: &Status, out: &mut dyn std::io::Write) -> Result<(), Failure> {
    for of in &status.registries {
        if let Some(waiting) = of.held {
            writeln!(
                out,
                "HELD: registry {0}: {1} entries in force, {2} wait: `schoolgate diff --accept {0}`, `schoolgate registry accept {0}`",
                of.id,
                count(of.counts.kept),
                count(waiting)
            )?;
        }
    }
    Ok(())
}

/// Where registries come from, and how that stands.
fn print_sources(status: &Status, out: &mut dyn std::io::Write) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "source of",
        "state",
        "heard of",
        "copy of",
        "copies>",
        "from",
    ]);
    let now = std::time::SystemTime::now();
    for source in &status.sources {
        table.row(vec![
            source.id.clone(),
            source.state.label().to_owned(),
            super::registry::age(source.checked, now),
            super::registry::age(source.changed, now),
            source.copies.to_string(),
            source.url.clone().unwrap_or_else(|| "a file".to_owned()),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    table.print(out)?;
    for source in &status.sources {
        if let Some(problem) = &source.problem {
            writeln!(out, "source of {}: {problem}", source.id)?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// Whether the maps hold what they shall.
fn print_gauge(gauge: &GaugeStatus, out: &mut dyn std::io::Write) -> Result<(), Failure> {
    write!(
        out,
        "gauge: {} of {} entries in force, compared in {} ms",
        count(gauge.present),
        count(gauge.expected),
        gauge.milliseconds
    )?;
    for (what, differ) in &gauge.differences {
        write!(out, "; {} {what} DIFFER", count(*differ))?;
    }
    match &gauge.problem {
        Some(problem) => writeln!(out, "; not repaired: {problem}")?,
        None if gauge.alarms == 0 => writeln!(out, ", never a difference")?,
        None => writeln!(out, "; {} alarms, repaired", count(gauge.alarms))?,
    }
    Ok(())
}

/// The journal's head, to be kept elsewhere, or why it has none.
fn print_journal(status: &Status, out: &mut dyn std::io::Write) -> Result<(), Failure> {
    if let Some(head) = &status.journal {
        writeln!(out, "journal: {} rows, head {}", count(head.seq), head.hash)?;
    }
    if let Some(problem) = &status.journal_problem {
        writeln!(out, "journal: ROWS ARE MISSING: {problem}")?;
    }
    Ok(())
}

/// How names are read that the program cannot read or know by itself.
fn print_names(status: &Status, out: &mut dyn std::io::Write) -> Result<(), Failure> {
    match &status.quic {
        Some(quic) => writeln!(
            out,
            "QUIC: {} names read, {} stopped, {} verdicts late, {} turned to TCP for want of room",
            count(quic.names),
            count(quic.stopped),
            count(quic.late),
            count(quic.crowded)
        )?,
        None => writeln!(
            out,
            "QUIC: names are not read; what is not allowed turns to TCP"
        )?,
    }
    for target in &status.safe_search {
        writeln!(out, "safe search: {target}")?;
    }
    Ok(())
}

fn interfaces(status: &Status) -> Table {
    let mut table = Table::new(&["interface", "side", "mode", "realm", "link>", "program>"]);
    for interface in &status.interfaces {
        let cells = [
            &interface.name,
            &interface.side,
            &interface.mode,
            &interface.realm,
        ];
        let mut row: Vec<String> = cells.map(String::clone).to_vec();
        row.extend([interface.link.to_string(), interface.program.to_string()]);
        table.row(row);
    }
    table
}

fn fill(status: &Status) -> Table {
    let mut table = Table::new(&["map", "used>", "capacity>", "fill>"]);
    for level in &status.fill {
        let percent = format!("{} %", level.used * 100 / level.capacity.max(1));
        table.row(vec![
            level.map.clone(),
            count(level.used),
            count(level.capacity),
            percent,
        ]);
    }
    table
}

pub(super) fn stats(args: &StatsArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let request = Request::Stats {
        org: args.org.clone(),
    };
    let stats: Stats = ask_for(context, args.config.as_ref(), &request)?;
    if context.json {
        json(context.out, &stats)?;
        return Ok(Exit::Fine);
    }
    match (&args.org, stats.organisations.as_slice()) {
        (Some(_), [one]) => print_org(one, context)?,
        _ => print_stats(&stats, context)?,
    }
    Ok(Exit::Fine)
}

const VERDICTS: [&str; 6] = ["pass", "block", "warn", "hold", "refuse", "fallback"];

fn print_stats(stats: &Stats, context: &mut Context<'_>) -> Result<(), Failure> {
    let head: Vec<String> = VERDICTS
        .iter()
        .map(|verdict| format!("{verdict}>"))
        .collect();
    let head: Vec<&str> = ["organisation"]
        .into_iter()
        .chain(head.iter().map(String::as_str))
        .collect();
    let mut table = Table::new(&head);
    let rows = stats.organisations.iter();
    for of in rows.flat_map(|of| std::iter::once(of).chain(&of.segments)) {
        let mut row = vec![of.org.clone()];
        row.extend(VERDICTS.map(|verdict| count(of.verdicts.get(verdict).copied().unwrap_or(0))));
        table.row(row);
    }
    table.print(context.out)?;
    if !stats.reason_categories.is_empty() {
        let mut table = Table::new(&["reason", "category", "packets>"]);
        for (reason, categories) in &stats.reason_categories {
            for (category, packets) in categories {
                table.row(vec![reason.clone(), category.clone(), count(*packets)]);
            }
        }
        writeln!(context.out)?;
        table.print(context.out)?;
    }
    writeln!(
        context.out,
        "\nuntouched packets of others: {}",
        count(stats.untouched)
    )?;
    Ok(())
}

fn print_org(of: &OrgStats, context: &mut Context<'_>) -> Result<(), Failure> {
    writeln!(context.out, "{} {}", of.org, of.name)?;
    for (kind, counts) in [("reason", &of.reasons), ("category", &of.categories)] {
        let mut table = Table::new(&[kind, "packets>"]);
        for (label, packets) in counts {
            table.row(vec![label.clone(), count(*packets)]);
        }
        writeln!(context.out)?;
        table.print(context.out)?;
    }
    for segment in &of.segments {
        writeln!(context.out)?;
        print_org(segment, context)?;
    }
    Ok(())
}

pub(super) fn detach(args: &DetachArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let runtime_dir = match &args.config {
        Some(file) => Config::load(file)?.daemon.runtime_dir,
        None => PathBuf::from(DEFAULT_RUNTIME_DIR),
    };
    let running = runtime_dir.exists() && crate::daemon::lock::Lock::take(&runtime_dir)?.is_none();
    if running {
        let message = format!(
            "a daemon runs in {}: stop it first, or it attaches again",
            runtime_dir.display()
        );
        return Err(Failure::new(Exit::Problem, message));
    }
    let interfaces = crate::kernel::Filter::detach(&runtime_dir)
        .map_err(|error| Failure::new(Exit::Partly, crate::kernel::error::chain(&error)))?;
    if context.json {
        json(context.out, &json!({ "detached": interfaces }))?;
    } else if interfaces.is_empty() {
        writeln!(context.out, "nothing is attached")?;
    } else {
        writeln!(
            context.out,
            "detached from {}: nothing is filtered any more",
            interfaces.join(", ")
        )?;
    }
    Ok(Exit::Fine)
}
