//! `schoolgate diff`, `apply`, `confirm` and `undo`: what an update does, and the way back from it.

use std::io::Write;
use std::path::PathBuf;

use jiff::{Timestamp, tz::TimeZone};

use super::daemon::{ask_for, print_reload};
use super::{Context, Exit, Failure};
use crate::control::Request;
use crate::daemon::CONFIRM_SECONDS_MAX;
use crate::difference::{Difference, Effect, Group};
use crate::output::{Table, count, json, place};
use crate::status::{Pending, Reload, Status};

/// Organisations and profiles of a group that are named.
const NAMED: usize = 3;

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// Name so many entries of each effect
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    examples: usize,
    /// As if this registry were accepted, whose size has changed by too much
    #[arg(long, value_name = "ID")]
    accept: Option<String>,
    /// Configuration that names the control socket
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How to apply.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ApplyArgs {
    /// Go back after so long, such as 5m, unless `schoolgate confirm` comes; at most 24h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    confirm: Option<u64>,
    /// Configuration that names the control socket
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<u64, String> {
    super::seconds(text, CONFIRM_SECONDS_MAX / 3_600)
}

pub(super) fn diff(args: &DiffArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let request = Request::Diff {
        examples: args.examples,
        accept: args.accept.clone(),
    };
    let found: Difference = ask_for(context, args.config.as_ref(), &request)?;
    if context.json {
        json(context.out, &found)?;
    } else {
        print(&found, context.out)?;
    }
    Ok(Exit::Fine)
}

fn print(found: &Difference, out: &mut dyn Write) -> Result<(), Failure> {
    for note in &found.notes {
        writeln!(out, "note: {note}")?;
    }
    if found.is_empty() {
        writeln!(out, "nothing would change")?;
        return Ok(());
    }
    if !found.registries.is_empty() {
        let mut table = Table::new(&["registry", "added>", "removed>", "entries then>"]);
        for of in &found.registries {
            let counts = [of.added, of.removed, of.entries].map(count);
            table.row([vec![of.id.clone()], counts.to_vec()].concat());
        }
        table.print(out)?;
        writeln!(out)?;
    }
    print_effects(found, out)?;
    for effect in Effect::ALL {
        print_examples(found, effect, out)?;
    }
    print_touched(found, out)?;
    for (ids, what) in [
        (&found.enrolled, "enrolled"),
        (&found.left, "no longer enrolled"),
    ] {
        if !ids.is_empty() {
            writeln!(out, "{what}: {}", named(ids))?;
        }
    }
    if found.unnamed > 0 {
        writeln!(
            out,
            "{} entries have no name any more, as their files were replaced: each is judged by itself",
            count(found.unnamed)
        )?;
    }
    writeln!(
        out,
        "nothing was applied; read in {} ms, compared in {} ms",
        found.read_milliseconds, found.milliseconds
    )?;
    Ok(())
}

fn print_effects(found: &Difference, out: &mut dyn Write) -> Result<(), Failure> {
    let head = ["newly blocked>", "newly warned>", "free>"];
    let mut table = Table::new(&[&["category"], &head[..]].concat());
    for (category, counts) in &found.categories {
        table.row([vec![category.clone()], counts.map(count).to_vec()].concat());
    }
    if !table.is_empty() {
        table.print(out)?;
        writeln!(out)?;
    }
    let mut table = Table::new(&[&["organisations>", "profile", "such as"], &head[..]].concat());
    for group in &found.groups {
        let own = vec![
            count(group.organisations.len() as u64),
            profile(group),
            named(&group.organisations),
        ];
        table.row([own, group.effects.map(count).to_vec()].concat());
    }
    table.print(out)?;
    writeln!(out)?;
    Ok(())
}

fn profile(group: &Group) -> String {
    let (before, after) = (named(&group.before), named(&group.after));
    if before == after {
        after
    } else {
        format!("{before} -> {after}")
    }
}

/// The first of some ids.
fn named(ids: &[String]) -> String {
    let shown: Vec<&str> = ids.iter().take(NAMED).map(String::as_str).collect();
    let rest = ids.len().saturating_sub(NAMED);
    let more = if rest > 0 {
        format!(" and {} more", count(rest as u64))
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}

fn print_examples(found: &Difference, effect: Effect, out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = Table::new(&["", "category", "list", "file", "organisations>"]);
    for example in found.examples.iter().filter(|of| of.effect == effect) {
        table.row(vec![
            example.subject.clone(),
            example.category.clone().unwrap_or_else(|| "-".to_owned()),
            example.list.clone(),
            format!(
                "{}{}",
                example.file.display(),
                place(example.line, example.by_record)
            ),
            count(example.organisations as u64),
        ]);
    }
    if !table.is_empty() {
        writeln!(out, "{}, for instance", effect.label())?;
        table.print(out)?;
        writeln!(out)?;
    }
    Ok(())
}

fn print_touched(found: &Difference, out: &mut dyn Write) -> Result<(), Failure> {
    if found.touched_count == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "touches {} allow-listed names, addresses or prefixes",
        count(found.touched_count)
    )?;
    let mut table = Table::new(&["", "allowed by", "touched by", "stopped for>"]);
    for touched in &found.touched {
        table.row(vec![
            touched.subject.clone(),
            touched.list.clone(),
            touched.by.clone(),
            match touched.stopped_for {
                0 => "nobody".to_owned(),
                number => format!("{} organisations", count(number as u64)),
            },
        ]);
    }
    table.print(out)?;
    writeln!(out)?;
    Ok(())
}

pub(super) fn apply(args: &ApplyArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let request = Request::Apply {
        confirm_seconds: args.confirm,
    };
    bring(&request, args.config.as_ref(), context)?;
    if let (Some(seconds), false) = (args.confirm, context.json) {
        let until = Timestamp::now()
            .as_second()
            .saturating_add_unsigned(seconds);
        writeln!(
            context.out,
            "goes back at {} unless `schoolgate confirm` comes before",
            clock(until)
        )?;
    }
    Ok(Exit::Fine)
}

pub(super) fn undo(config: Option<&PathBuf>, context: &mut Context<'_>) -> Result<Exit, Failure> {
    bring(&Request::Undo, config, context)?;
    if !context.json {
        writeln!(
            context.out,
            "what was before is in force; the files hold something else: correct them and `schoolgate apply`"
        )?;
    }
    Ok(Exit::Fine)
}

pub(super) fn bring(
    request: &Request,
    config: Option<&PathBuf>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let reload: Reload = ask_for(context, config, request)?;
    if context.json {
        json(context.out, &reload)?;
    } else {
        print_reload(&reload, context)?;
    }
    Ok(())
}

pub(super) fn confirm(
    config: Option<&PathBuf>,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    let confirmed: Pending = ask_for(context, config, &Request::Confirm)?;
    if context.json {
        json(context.out, &confirmed)?;
    } else {
        writeln!(context.out, "confirmed: it stays in force")?;
    }
    Ok(Exit::Fine)
}

/// Whether what is in force is what the files hold, for good.
pub(super) fn print_state(status: &Status, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(pending) = &status.pending {
        writeln!(
            out,
            "NOT CONFIRMED: the last update, by {}, goes back at {} unless `schoolgate confirm` comes before",
            pending.actor,
            clock(pending.until)
        )?;
    }
    if let Some(since) = status.undone {
        writeln!(
            out,
            "TAKEN BACK at {}: the files hold something else than what is in force; correct them and `schoolgate apply`",
            clock(since)
        )?;
    }
    if let Some(left) = &status.unconfirmed {
        writeln!(
            out,
            "NEVER CONFIRMED: the update by {}, to be confirmed by {}, was in force when the daemon ended, and is again: `schoolgate confirm` keeps it, corrected files and `schoolgate apply` replace it",
            left.actor,
            clock(left.until)
        )?;
    }
    Ok(())
}

/// A time on this machine's wall.
fn clock(second: i64) -> String {
    let at = Timestamp::from_second(second).map(|at| at.to_zoned(TimeZone::system()));
    at.map_or_else(
        |_| second.to_string(),
        |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}
