//! `schoolgate registry`: what is loaded, and all that is not applied of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serde_json::json;

use super::{Context, Exit, Failure};
use crate::config::{Config, DEFAULT_FILE};
use crate::control::{Request, ask};
use crate::load::offline;
use crate::output::{Table, count, json};
use crate::problem::{Problem, nearest};
use crate::registry::load::{Freshness, Summary};
use crate::registry::problems::{Kind, each};
use crate::registry::progress::Progress;
use crate::status::Status;

/// What is asked.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Args {
    /// Every registry with its format, entries, rejected lines and the age of its files
    List(ListArgs),
    /// Every line, rule and record that is not applied, and why; reads the files again
    Problems(ProblemsArgs),
    /// Take a registry that is held: its size has changed by too much, or `hold_updates` says so
    Accept(OneArgs),
    /// Go back to the copy of a fetched registry before the newest, which is held then
    Rollback(OneArgs),
}

/// Which registry.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OneArgs {
    /// Its id
    id: String,
    /// Configuration that names the control socket
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Whose registries.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Read this configuration and its registries, without the daemon
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which registry.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ProblemsArgs {
    /// Of this registry only
    #[arg(long, value_name = "ID")]
    registry: Option<String>,
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match args {
        Args::List(args) => list(args, context),
        Args::Problems(args) => problems(args, context),
        Args::Accept(args) => {
            let id = args.id.clone();
            super::apply::bring(&Request::Accept { id }, args.config.as_ref(), context)?;
            Ok(Exit::Fine)
        }
        Args::Rollback(args) => {
            let id = args.id.clone();
            super::apply::bring(&Request::RollBack { id }, args.config.as_ref(), context)?;
            Ok(Exit::Fine)
        }
    }
}

fn list(args: &ListArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let summaries = summaries(args, context)?;
    if context.json {
        for summary in &summaries {
            json(context.out, summary)?;
        }
        return Ok(Exit::Fine);
    }
    let head = [
        "registry",
        "tier",
        "format",
        "files>",
        "entries>",
        "rejected>",
        "state",
        "files changed",
    ];
    let mut table = Table::new(&head);
    for summary in &summaries {
        let state = match summary.state {
            Freshness::Read => "read",
            Freshness::Unchanged => "unchanged",
            Freshness::Held => "HELD",
        };
        table.row(vec![
            summary.id.clone(),
            summary.tier.clone(),
            summary.format.clone(),
            summary.files.to_string(),
            count(summary.counts.kept),
            count(summary.counts.rejected),
            state.to_owned(),
            age(summary.modified, SystemTime::now()),
        ]);
    }
    table.print(context.out)?;
    Ok(Exit::Fine)
}

/// What is in force by the daemon's word; without one, what the files hold.
fn summaries(args: &ListArgs, context: &Context<'_>) -> Result<Vec<Summary>, Failure> {
    let from_files = |file: &Path| Ok(offline(file, Progress::of_stderr())?.summaries);
    if let Some(file) = &args.config {
        return from_files(file);
    }
    let socket = super::daemon::socket(context, None);
    match ask(&socket, &Request::Status) {
        Ok(value) => match serde_json::from_value::<Status>(value) {
            Ok(status) => Ok(status.registries),
            Err(error) => Err(Failure::new(
                Exit::Problem,
                format!("the daemon's answer is not understood: {error}"),
            )),
        },
        Err(failure) if failure.exit == Exit::Unreachable && Path::new(DEFAULT_FILE).exists() => {
            from_files(Path::new(DEFAULT_FILE))
        }
        Err(failure) => Err(failure),
    }
}

/// How long ago a file was written, in the two largest units.
pub(super) fn age(modified: u64, now: SystemTime) -> String {
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
    let Ok(passed) = now.duration_since(written) else {
        return "in the future".to_owned();
    };
    let seconds = passed.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (modified, days, hours) {
        (0, _, _) => "unknown".to_owned(),
        (_, 0, 0) => format!("{minutes} min ago"),
        (_, 0, hours) => format!("{hours} h {minutes} min ago"),
        (_, days, hours) => format!("{days} d {hours} h ago"),
    }
}

/// The configuration with the one registry only, if one is named.
fn narrowed(args: &ProblemsArgs) -> Result<Config, Failure> {
    let mut config = Config::load(&args.config)?;
    let Some(wanted) = &args.registry else {
        return Ok(config);
    };
    let ids = config
        .registries
        .iter()
        .map(|registry| registry.id.as_str());
    let hint = nearest(wanted, ids).map(|id| format!("; did you mean {id}?"));
    config.registries.retain(|registry| registry.id == *wanted);
    if config.registries.is_empty() {
        let message = format!("there is no registry {wanted}{}", hint.unwrap_or_default());
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(config)
}

fn problems(args: &ProblemsArgs, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let config = narrowed(args)?;
    let (mut rejected, mut notes, mut broken) = (0u64, 0u64, 0u64);
    let mut written = Ok(());
    each(&config, &mut |registry, kind, problem| {
        match kind {
            Kind::Rejected => rejected += 1,
            Kind::Note => notes += 1,
            Kind::Broken => broken += 1,
        }
        if written.is_ok() {
            written = tell(context, registry, kind, &problem);
        }
    });
    written?;
    if !context.json {
        writeln!(
            context.out,
            "{} rejected, {} notes, {} broken",
            count(rejected),
            count(notes),
            count(broken)
        )?;
    }
    Ok(if broken > 0 {
        Exit::Problem
    } else {
        Exit::Fine
    })
}

fn tell(
    context: &mut Context<'_>,
    registry: &str,
    kind: Kind,
    problem: &Problem,
) -> std::io::Result<()> {
    if context.json {
        let row = json!({
            "registry": (!registry.is_empty()).then_some(registry), "kind": kind.label(),
            "file": problem.file, "line": problem.line,
            "what": problem.what, "remedy": problem.remedy,
        });
        return json(context.out, &row);
    }
    let from = if registry.is_empty() {
        String::new()
    } else {
        format!("{registry}: ")
    };
    writeln!(context.out, "{from}{}: {problem}", kind.label())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn told(dir: &TempDir, registry: Option<&str>, json: bool) -> (Result<Exit, Failure>, String) {
        let args = ProblemsArgs {
            registry: registry.map(str::to_owned),
            config: dir.path().join("s.toml"),
        };
        let mut out = Vec::new();
        let mut context = Context {
            json,
            socket: None,
            out: &mut out,
        };
        let exit = problems(&args, &mut context);
        (exit, String::from_utf8(out).unwrap())
    }

    const CONFIG: &str = "[[registries]]\nid = \"long\"\ntier = \"unified\"\nformat = \"hosts\"\npath = \"long\"\n\
        [[registries]]\nid = \"nets\"\ntier = \"unified\"\nformat = \"netset\"\npath = \"nets\"\n\
        [[profiles]]\nid = \"p\"\n\
        [[organisations]]\nid = \"s\"\nprefixes = [\"192.0.2.0/28\"]\nprofile = \"p\"\n";

    #[test]
    fn every_rejected_line_is_told_though_the_registry_would_be_refused() {
        let dir = TempDir::new();
        dir.write("s.toml", CONFIG);
        dir.write(
            "long",
            "0.0.0.0 a.example\n".to_owned() + &"bad line\n".repeat(25),
        );
        dir.write("nets", "203.0.113.0/24\n10.0.0.0/8\n192.0.2.0/24\n");
        let (exit, text) = told(&dir, None, false);
        assert_eq!(exit.unwrap(), Exit::Fine);
        assert_eq!(text.matches("long: rejected: ").count(), 25, "{text}");
        assert!(
            text.contains("long:26: \"bad line\": not a rule of this format"),
            "{text}"
        );
        assert!(text.contains("nets:2: \"10.0.0.0/8\": private"), "{text}");
        assert!(
            text.contains("nets:3: 192.0.2.0/24 holds addresses of organisation \"s\""),
            "{text}"
        );
        assert!(text.ends_with("27 rejected, 0 notes, 0 broken\n"), "{text}");
        let (exit, text) = told(&dir, Some("nets"), true);
        assert_eq!(exit.unwrap(), Exit::Fine);
        let rows: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert_eq!(
            (&rows[0]["registry"], &rows[0]["line"]),
            (&json!("nets"), &json!(2))
        );
    }

    #[test]
    fn rejected_records_of_a_dump_and_its_deltas_have_file_line_and_id() {
        let dir = TempDir::new();
        std::fs::create_dir(dir.path().join("deltas")).unwrap();
        let register = |minute: u32, records: &str| {
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<reg:register xmlns:reg=\"http://rsoc.ru\"\n \
                 updateTime=\"2026-01-15T12:{minute:02}:00+03:00\" formatVersion=\"2.4\">\n{records}</reg:register>\n"
            )
        };
        dir.write(
            "dump.xml",
            register(
                0,
                "<content id=\"7\" blockType=\"ip\">\n<ip>203.0.113.5</ip>\n<ip>10.0.0.1</ip>\n</content>\n\
                 <content id=\"9\" blockType=\"odd\"><domain>a.example</domain></content>\n<other>\n</other>\n",
            ),
        );
        let delta = "\n\n<content id=\"8\" blockType=\"domain\"><domain>no name</domain></content>\n<delete id=\"x\"/>\n";
        dir.write("deltas/1.xml", register(1, delta));
        let registry = "[[registries]]\nid = \"law\"\ntier = \"unified\"\nformat = \"dump\"\npath = \"dump.xml\"\ndeltas = \"deltas\"\n";
        let rest = CONFIG.split_once("[[profiles]]").unwrap().1;
        dir.write("s.toml", format!("{registry}[[profiles]]{rest}"));
        let (exit, text) = told(&dir, None, false);
        assert_eq!(exit.unwrap(), Exit::Fine);
        for wanted in [
            "dump.xml:4: record 7, ip \"10.0.0.1\": private",
            "dump.xml:8: record 9, blockType \"odd\"",
            "dump.xml:9: <other>",
            "deltas/1.xml:6: record 8, domain \"no name\"",
            "deltas/1.xml:7: <delete>",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(text.ends_with("5 rejected, 0 notes, 0 broken\n"), "{text}");
        let private = text.lines().find(|line| line.contains("10.0.0.1")).unwrap();
        assert!(private.contains("nothing is to be done") && !private.contains("remove"));
    }

    #[test]
    fn a_file_that_is_not_there_is_told_and_the_others_are_read() {
        let dir = TempDir::new();
        dir.write("s.toml", CONFIG);
        dir.write("nets", "10.0.0.0/8\n");
        let (exit, text) = told(&dir, None, false);
        assert_eq!(exit.unwrap(), Exit::Problem);
        assert!(
            text.contains("long: broken: ") && text.contains("cannot be read"),
            "{text}"
        );
        assert!(text.ends_with("1 rejected, 0 notes, 1 broken\n"), "{text}");
        let failure = told(&dir, Some("nest"), false).0.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.problems,
            ["there is no registry nest; did you mean nets?"]
        );
    }

    #[test]
    fn registries_are_listed_with_what_they_hold() {
        let dir = TempDir::new();
        dir.write("s.toml", CONFIG);
        dir.write("long", "0.0.0.0 a.example\n");
        dir.write("nets", "203.0.113.0/24\n");
        let args = ListArgs {
            config: Some(dir.path().join("s.toml")),
        };
        let mut out = Vec::new();
        let mut context = Context {
            json: false,
            socket: None,
            out: &mut out,
        };
        assert_eq!(list(&args, &mut context).unwrap(), Exit::Fine);
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[1][..7],
            ["long", "unified", "hosts", "1", "1", "0", "read"]
        );
        assert_eq!(
            rows[2][..7],
            ["nets", "unified", "netset", "1", "1", "0", "read"]
        );
    }

    #[test]
    fn ages_are_told_in_their_two_largest_units() {
        let after = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + seconds);
        assert_eq!(age(1_000, after(59 * 60)), "59 min ago");
        assert_eq!(age(1_000, after(2 * 3_600 + 60)), "2 h 1 min ago");
        assert_eq!(age(1_000, after(3 * 86_400 + 3_600)), "3 d 1 h ago");
        assert_eq!(age(5_000, after(0)), "in the future");
        assert_eq!(age(0, after(0)), "unknown");
    }
}
