//! `schoolgate fetch`: the sources of registries, now.

use std::path::PathBuf;

use super::daemon::{ask_for, print_reload};
use super::{Context, Exit, Failure};
use crate::control::Request;
use crate::output::json;
use crate::sources::Outcome;
use crate::status::Fetched;

/// What to fetch.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// This registry only
    id: Option<String>,
    /// Configuration that names the control socket
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let request = Request::Fetch {
        id: args.id.clone(),
    };
    let fetched: Fetched = ask_for(context, args.config.as_ref(), &request)?;
    let failed = fetched.sources.iter().any(|of| of.problem.is_some())
        || fetched.reload.as_ref().is_some_and(|reload| !reload.ok);
    let exit = if failed { Exit::Problem } else { Exit::Fine };
    if context.json {
        json(context.out, &fetched)?;
        return Ok(exit);
    }
    if fetched.sources.is_empty() {
        writeln!(context.out, "no registry has a url")?;
    }
    for of in &fetched.sources {
        let outcome = match of.outcome {
            Outcome::New => "new",
            Outcome::Unchanged => "unchanged",
            Outcome::Held => "held",
            Outcome::Failed => "failed",
        };
        match &of.problem {
            Some(problem) => writeln!(context.out, "{}: {outcome}: {problem}", of.id)?,
            None => writeln!(context.out, "{}: {outcome}", of.id)?,
        }
    }
    if let Some(reload) = &fetched.reload {
        print_reload(reload, context)?;
    }
    Ok(exit)
}
