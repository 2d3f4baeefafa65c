//! `schoolgate journal`: what changed and when, and whether the file still says what was written.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{Context, Exit, Failure};
use crate::config::{Config, DEFAULT_FILE};
use crate::journal::{self, Checked};
use crate::output::{count, json};

/// What is asked.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Args {
    /// The last rows
    Show(ShowArgs),
    /// Check the chain of hashes from the first row to the last; works on a copy, and without the daemon
    Verify(VerifyArgs),
}

/// Where the journal is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    /// The journal (default: journal.jsonl in the configured state_dir)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
}

/// Which rows.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    place: Place,
    /// So many
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
}

/// Against what.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: Place,
    /// A hash that was kept elsewhere: it must be that of a row
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match args {
        Args::Show(args) => show(args, context),
        Args::Verify(args) => verify(args, context),
    }
}

fn read(place: &Place) -> Result<(PathBuf, Checked), Failure> {
    let file = match &place.file {
        Some(file) => file.clone(),
        None => Config::load(&place.config)?
            .daemon
            .state_dir
            .join(journal::FILE),
    };
    let text = std::fs::read(&file).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::PermissionDenied {
            Exit::Permission
        } else {
            Exit::Problem
        };
        let message = format!(
            "{}: cannot be read: {error}: name the journal, or the configuration with -c",
            file.display()
        );
        Failure::new(exit, message)
    })?;
    let checked = journal::check(&file, &text);
    Ok((file, checked))
}

fn show(args: &ShowArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (_, checked) = read(&args.place)?;
    let skip = checked.rows.len().saturating_sub(args.last);
    for row in checked.rows.iter().skip(skip) {
        if context.json {
            json(context.out, row)?;
        } else {
            writeln!(
                context.out,
                "{:>6}  {}  {:<8}  {:<12}  {}",
                row.seq, row.time, row.actor, row.action, row.detail
            )?;
        }
    }
    Ok(Exit::Fine)
}

fn verify(args: &VerifyArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (file, checked) = read(&args.place)?;
    let mut problems: Vec<String> = checked.breaks.iter().map(ToString::to_string).collect();
    if let Some(head) = &args.head {
        let known = checked
            .rows
            .iter()
            .any(|row| row.hash.eq_ignore_ascii_case(head));
        if !known {
            problems.push(format!(
                "{}: no row has the hash {head}: rows were cut off, or the hash is of another journal",
                file.display()
            ));
        }
    }
    if !problems.is_empty() {
        return Err(Failure {
            exit: Exit::Problem,
            problems,
        });
    }
    let rows = checked.rows.len() as u64;
    if context.json {
        json(
            context.out,
            &json!({ "ok": true, "rows": rows, "head": checked.head }),
        )?;
    } else {
        writeln!(
            context.out,
            "{}: {} rows, unbroken; head {} (seq {})",
            file.display(),
            count(rows),
            checked.head.hash,
            checked.head.seq
        )?;
    }
    Ok(Exit::Fine)
}
