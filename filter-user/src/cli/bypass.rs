//! `schoolgate bypass`: lift all but the unified registry and mandatory categories for some time.

use std::path::PathBuf;

use super::{Context, Exit, Failure};
use crate::bypass::SECONDS_MAX;
use crate::control::{Request, ask};
use crate::output::json;
use crate::status::Given;

/// Whose bypass, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the organisation, or ORGANISATION/SEGMENT
    org: String,
    /// For so long, such as 30m or 1h30m; at most 12h
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, required_unless_present = "end")]
    seconds: Option<u64>,
    /// Why; it is written to the journal
    #[arg(long, value_name = "TEXT", required_unless_present = "end")]
    reason: Option<String>,
    /// End it now
    #[arg(long, conflicts_with_all = ["seconds", "reason"])]
    end: bool,
    /// Configuration that names the control socket
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<u64, String> {
    super::seconds(text, SECONDS_MAX / 3_600)
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let request = Request::Bypass {
        org: args.org.clone(),
        seconds: args.seconds.filter(|_| !args.end),
        reason: args.reason.clone().unwrap_or_default(),
    };
    let socket = super::daemon::socket(context, args.config.as_ref());
    let given: Given = serde_json::from_value(ask(&socket, &request)?).map_err(|error| {
        let message = format!("the daemon's answer is not understood: {error}");
        Failure::new(Exit::Problem, message)
    })?;
    if context.json {
        json(context.out, &given)?;
    } else {
        writeln!(context.out, "{}", line(&given))?;
    }
    Ok(Exit::Fine)
}

/// A bypass in one line.
pub(super) fn line(given: &Given) -> String {
    let until = jiff::Timestamp::from_second(given.until).ok();
    match until.filter(|_| given.until != 0) {
        Some(until) => format!("bypass of {} until {until}: {}", given.org, given.reason),
        None => format!("bypass of {} ended", given.org),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_bounded() {
        assert_eq!(seconds("30m"), Ok(1_800));
        assert_eq!(seconds("1h30m"), Ok(5_400));
        assert_eq!(seconds("12h"), Ok(SECONDS_MAX));
        assert!(
            ["13h", "0s", "-5m", "30", "x"]
                .iter()
                .all(|text| seconds(text).is_err())
        );
    }
}
