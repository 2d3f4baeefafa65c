//! The operator's commands. Exit codes: 0 fine, 1 problem found, 2 usage, 3 daemon unreachable,
//! 4 permission, 5 partly applied.
#![expect(
    clippy::print_stderr,
    reason = "commands tell their problems on standard error"
)]

mod apply;
mod bypass;
mod check;
mod daemon;
mod explain;
mod fetch;
mod journal;
mod lists;
mod registry;
mod replay;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::DEFAULT_FILE;
use crate::problem::Problem;

/// An XDP content filter for schools.
#[derive(Debug, Parser)]
#[command(name = "schoolgate", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// Control socket of the daemon (default: as in the configuration)
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    command: Command,
}

/// A configuration file.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArg {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: bring everything into force, answer commands, reload on SIGHUP
    Run(ConfigArg),
    /// Validate the configuration and all registries, without touching the kernel
    Check(ConfigArg),
    /// Read configuration and registries again and apply the difference
    Reload(daemon::ReloadArgs),
    /// What a reload would newly block, newly warn of and set free, without applying it
    Diff(apply::DiffArgs),
    /// Apply what the files hold, in a way that can be taken back
    Apply(apply::ApplyArgs),
    /// Keep the update that waits for its confirmation
    Confirm(daemon::StatusArgs),
    /// Go back to what was in force before the last update
    Undo(daemon::StatusArgs),
    /// How things are: interfaces, registries, fill levels, the last reload
    Status(daemon::StatusArgs),
    /// Packets by organisation, reason and category
    Stats(daemon::StatsArgs),
    /// Why is this name or address blocked, or not
    Explain(explain::Args),
    /// Fetch the registries that have a url now, and apply what is new
    Fetch(fetch::Args),
    /// What is loaded, and what of it is not applied
    #[command(subcommand)]
    Registry(registry::Args),
    /// Filter an organisation only by what is unlawful, for some time
    Bypass(bypass::Args),
    /// What changed and when, and whether that is still what was written
    #[command(subcommand)]
    Journal(journal::Args),
    /// End filtering: remove links and pins
    Detach(daemon::DetachArgs),
    /// Run a capture through the real program in this kernel and tell what each frame met
    Replay(replay::Args),
    /// List the categories
    Categories(lists::Args),
    /// List the reasons that packets are counted by
    Reasons,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Fine.
    Fine = 0,
    /// Problem found.
    Problem = 1,
    /// The command was not understood.
    Usage = 2,
    /// The daemon does not answer.
    Unreachable = 3,
    /// Not allowed.
    Permission = 4,
    /// Applied in part.
    Partly = 5,
}

impl Exit {
    /// The end that a code stands for; an unknown one is a problem.
    #[must_use]
    pub fn from_code(code: u8) -> Exit {
        match code {
            0 => Exit::Fine,
            2 => Exit::Usage,
            3 => Exit::Unreachable,
            4 => Exit::Permission,
            5 => Exit::Partly,
            _ => Exit::Problem,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A command's failure: how it ends, and what is told.
#[derive(Debug)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// What is told.
    pub problems: Vec<String>,
}

impl Failure {
    /// One message.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            problems: vec![message.into()],
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied {
            Exit::Permission
        } else {
            Exit::Problem
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        let problems = problems.iter().map(ToString::to_string).collect();
        Failure {
            exit: Exit::Problem,
            problems,
        }
    }
}

/// What a command is given besides its arguments.
pub struct Context<'a> {
    /// Print JSON.
    pub json: bool,
    /// Control socket, if one was named.
    pub socket: Option<PathBuf>,
    /// Standard output.
    pub out: &'a mut dyn Write,
}

/// Reads a duration such as 5m or 1h30m, of at most so many hours, as seconds.
fn seconds(text: &str, hours_max: u64) -> Result<u64, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|_none| "write such as 5m or 1h30m".to_owned())?;
    u64::try_from(duration.as_secs())
        .ok()
        .filter(|seconds| (1..=hours_max * 3_600).contains(seconds))
        .ok_or_else(|| format!("from 1s to {hours_max}h are possible"))
}

/// Runs the command line.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let stdout = io::stdout();
    let mut out = stdout.lock();
    let json = cli.json;
    let mut context = Context {
        json,
        socket: cli.socket,
        out: &mut out,
    };
    let result = match cli.command {
        Command::Run(args) => daemon::run(&args),
        Command::Reload(args) => daemon::reload(&args, &mut context),
        Command::Fetch(args) => fetch::run(&args, &mut context),
        Command::Diff(args) => apply::diff(&args, &mut context),
        Command::Apply(args) => apply::apply(&args, &mut context),
        Command::Confirm(args) => apply::confirm(args.config.as_ref(), &mut context),
        Command::Undo(args) => apply::undo(args.config.as_ref(), &mut context),
        Command::Status(args) => daemon::status(&args, &mut context),
        Command::Stats(args) => daemon::stats(&args, &mut context),
        Command::Bypass(args) => bypass::run(&args, &mut context),
        Command::Detach(args) => daemon::detach(&args, &mut context),
        Command::Replay(args) => replay::run(&args, &mut context),
        Command::Journal(args) => journal::run(&args, &mut context),
        Command::Check(args) => check::run(&args, &mut context),
        Command::Registry(args) => registry::run(&args, &mut context),
        Command::Explain(args) => explain::run(&args, &mut context),
        Command::Categories(args) => lists::categories(&args, &mut context),
        Command::Reasons => lists::reasons(&mut context),
    };
    match result {
        Ok(exit) => exit.into(),
        // Whoever reads us has gone away, as `head` does.
        Err(failure)
            if failure
                .problems
                .iter()
                .any(|problem| problem.contains("Broken pipe")) =>
        {
            Exit::Fine.into()
        }
        Err(failure) => {
            if json {
                let value = serde_json::json!({ "ok": false, "problems": failure.problems });
                let _ = crate::output::json(&mut out, &value);
            }
            for problem in &failure.problems {
                eprintln!("schoolgate: {problem}");
            }
            failure.exit.into()
        }
    }
}
