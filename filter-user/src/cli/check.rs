//! `schoolgate check`: everything that `run` and `reload` would read, and nothing of the kernel.

use serde_json::json;

use super::{ConfigArg, Context, Exit, Failure};
use crate::config::Enrolled;
use crate::load::{Everything, offline};
use crate::output::{Table, count, json};
use crate::problem::Problem;
use crate::registry::load::Summary;
use crate::registry::progress::Progress;

pub(super) fn run(args: &ConfigArg, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match offline(&args.config, Progress::of_stderr()) {
        Ok(everything) => report(&everything, context)?,
        Err(problems) if context.json => {
            json(context.out, &json!({ "ok": false, "problems": problems }))?;
            return Ok(Exit::Problem);
        }
        Err(problems) => {
            let count = problems.len();
            let mut failure = Failure::from(problems);
            failure.problems.push(format!(
                "{}: {count} problem(s) found",
                args.config.display()
            ));
            return Err(failure);
        }
    }
    Ok(Exit::Fine)
}

fn report(everything: &Everything, context: &mut Context<'_>) -> Result<(), Failure> {
    let desired = &everything.compiled.desired;
    if context.json {
        let report = json!({
            "ok": true,
            "config": everything.config.file,
            "registries": everything.summaries,
            "notes": everything.notes,
            "enrolled": everything.config.enrolled,
            "subjects": desired.subjects.len(),
            "prefixes": desired.nets4.len() + desired.nets6.len(),
            "classes": desired.classes.len(),
            "milliseconds": everything.milliseconds,
        });
        return Ok(json(context.out, &report)?);
    }
    registries(context.out, &everything.summaries)?;
    notes(context.out, &everything.summaries, &everything.notes)?;
    let engines = &everything.config.engines;
    writeln!(
        context.out,
        "safe search: {} engines, {} names",
        engines.len(),
        engines
            .iter()
            .map(|engine| engine.names.len())
            .sum::<usize>()
    )?;
    writeln!(context.out, "{}", enrolled(&everything.config.enrolled))?;
    writeln!(
        context.out,
        "entries: {} names and addresses, {} prefixes, {} classes",
        count(desired.subjects.len() as u64),
        count((desired.nets4.len() + desired.nets6.len()) as u64),
        desired.classes.len(),
    )?;
    writeln!(
        context.out,
        "{}: fine ({} ms)",
        everything.config.file.display(),
        everything.milliseconds
    )?;
    Ok(())
}

/// How much is enrolled, in one line.
pub(super) fn enrolled(total: &Enrolled) -> String {
    format!(
        "enrolled: {} organisations, {} segments, {} IPv4 addresses, {} IPv6 networks of /64",
        count(total.organisations),
        count(total.segments),
        count(total.ipv4_addresses),
        count(total.ipv6_subnets),
    )
}

/// The table of registries.
pub(super) fn registries(
    out: &mut dyn std::io::Write,
    summaries: &[Summary],
) -> std::io::Result<()> {
    let head = [
        "registry",
        "tier",
        "format",
        "read>",
        "kept>",
        "duplicate>",
        "rejected>",
        "ms>",
    ];
    let mut table = Table::new(&head);
    for summary in summaries {
        let counts = &summary.counts;
        let mut cells = vec![
            summary.id.clone(),
            summary.tier.clone(),
            summary.format.clone(),
        ];
        let numbers = [
            counts.read,
            counts.kept,
            counts.duplicate,
            counts.rejected,
            counts.milliseconds,
        ];
        cells.extend(numbers.map(count));
        table.row(cells);
    }
    if table.is_empty() {
        Ok(())
    } else {
        table.print(out)
    }
}

/// Rejected lines and what else was left out.
pub(super) fn notes(
    out: &mut dyn std::io::Write,
    summaries: &[Summary],
    notes: &[Problem],
) -> std::io::Result<()> {
    for summary in summaries
        .iter()
        .filter(|summary| summary.counts.rejected > 0)
    {
        let by_reason = summary
            .counts
            .reasons
            .iter()
            .map(|(reason, times)| format!("{times} {reason}"));
        writeln!(
            out,
            "{}: rejected: {}",
            summary.id,
            by_reason.collect::<Vec<_>>().join("; ")
        )?;
        for problem in &summary.rejected {
            writeln!(out, "  {problem}")?;
        }
    }
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}
