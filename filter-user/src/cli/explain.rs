//! `schoolgate explain`: the daemon's answer, or, where a configuration is named, that of its files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{Context, Exit, Failure};
use crate::config::DEFAULT_FILE;
use crate::control::{Request, ask};
use crate::entries::{Decision, Origin};
use crate::explain::{Explanation, Question, explain};
use crate::load::offline;
use crate::output::{json, place};
use crate::registry::progress::Progress;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Name or address
    subject: String,
    /// Id of the organisation
    #[arg(long, value_name = "ID")]
    org: String,
    /// Destination address beside a name
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// When: 2026-09-01T08:30 on the organisation's wall, or RFC 3339 (default: now)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Answer from this configuration, which need not be loaded, and its registries, without the daemon
    #[arg(short, long, visible_alias = "policy", value_name = "FILE")]
    config: Option<PathBuf>,
    /// End with 1 if access is blocked
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let question = Question {
        subject: args.subject.clone(),
        org: args.org.clone(),
        address: args.address,
        at: args.at.clone(),
    };
    let explanation = match &args.config {
        Some(file) => from_files(file, &question)?,
        None => from_daemon(context, &question)?,
    };
    print(&explanation, context)?;
    Ok(if args.exit_code && explanation.is_blocked() {
        Exit::Problem
    } else {
        Exit::Fine
    })
}

/// The daemon's answer; where no daemon answers, that of the default configuration.
fn from_daemon(context: &Context<'_>, question: &Question) -> Result<Explanation, Failure> {
    let socket = super::daemon::socket(context, None);
    match ask(&socket, &Request::Explain(question.clone())) {
        Ok(value) => serde_json::from_value(value).map_err(|error| {
            Failure::new(
                Exit::Problem,
                format!("the daemon's answer is not understood: {error}"),
            )
        }),
        Err(failure) if failure.exit == Exit::Unreachable && Path::new(DEFAULT_FILE).exists() => {
            from_files(Path::new(DEFAULT_FILE), question)
        }
        Err(failure) => Err(failure),
    }
}

fn from_files(file: &Path, question: &Question) -> Result<Explanation, Failure> {
    let everything = offline(file, Progress::of_stderr())?;
    let explained = explain(&everything.book(), everything.seed, question);
    let mut explanation = explained.map_err(|message| Failure::new(Exit::Problem, message))?;
    explanation.notes.push(format!(
        "from {}, without the daemon: what is in force may differ",
        file.display()
    ));
    Ok(explanation)
}

/// By whose decision an entry is listed, in two lines, where its register says so.
fn decided(origin: &Origin) -> String {
    let text = origin.text.as_deref().unwrap_or_default();
    let decision = origin.decision.as_ref();
    decision.map_or_else(String::new, |decision| {
        let Decision {
            date, number, body, ..
        } = decision;
        format!("      {text}\n      decision of {body}, {date}, number {number}\n")
    })
}

fn print(explanation: &Explanation, context: &mut Context<'_>) -> Result<(), Failure> {
    if context.json {
        return Ok(json(context.out, explanation)?);
    }
    let out = &mut *context.out;
    let category = explanation
        .category
        .as_ref()
        .map(|category| format!(", category {category}"))
        .unwrap_or_default();
    let reason = explanation
        .reason
        .as_ref()
        .map(|reason| format!(" ({reason}{category})"))
        .unwrap_or_default();
    writeln!(
        out,
        "{} for {} (profile {}): {}{reason}, action {}",
        explanation.subject,
        explanation.org,
        explanation.profile,
        explanation.verdict,
        explanation.action
    )?;
    if !explanation.by.is_empty() {
        writeln!(out, "at {}: by {}", explanation.at, explanation.by)?;
    }
    writeln!(out)?;
    for stage in &explanation.stages {
        let mark = if stage.decides { "->" } else { "  " };
        writeln!(
            out,
            "{mark} {:2}. {:48} {}",
            stage.step, stage.name, stage.outcome
        )?;
    }
    writeln!(out)?;
    if explanation.entries.is_empty() {
        writeln!(out, "no entry matches")?;
    }
    for entry in &explanation.entries {
        let mark = if entry.wins { "->" } else { "  " };
        let origin = &entry.origin;
        let kind = if origin.suffix { "suffix" } else { "exact" };
        writeln!(
            out,
            "{mark} {} ({kind}): {} [{}] {}{} {}",
            entry.subject,
            origin.list,
            origin.tier,
            origin.file.display(),
            place(origin.line, origin.by_record),
            origin.categories.join(" ")
        )?;
        write!(out, "{}", decided(origin))?;
    }
    for says in &explanation.dns {
        writeln!(
            out,
            "dns: {}: {} ({})",
            says.types, says.answer, says.reason
        )?;
    }
    for note in &explanation.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn entries_are_shown_by_line_and_those_of_a_register_by_record() {
        let dir = TempDir::new();
        dir.write(
            "dump.xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<reg:register xmlns:reg=\"http://rsoc.ru\" \
             updateTime=\"2026-01-15T12:00:00+03:00\" formatVersion=\"2.4\">\n<content id=\"77\" \
             blockType=\"domain\"><domain>a.example</domain></content>\n</reg:register>\n",
        );
        dir.write("list", "b.example\na.example\n");
        let config = "[[registries]]\nid = \"dump\"\ntier = \"unified\"\nformat = \"dump\"\npath = \"dump.xml\"\n\
            [[registries]]\nid = \"list\"\ntier = \"unified\"\nformat = \"mixed\"\nsemantics = \"exact\"\npath = \"list\"\n\
            [[profiles]]\nid = \"p\"\n\
            [[organisations]]\nid = \"s\"\nprefixes = [\"192.0.2.0/28\"]\nprofile = \"p\"\n";
        dir.write("s.toml", config);
        let question = Question {
            subject: "a.example".to_owned(),
            org: "s".to_owned(),
            address: None,
            at: None,
        };
        let explanation = from_files(&dir.path().join("s.toml"), &question).unwrap();
        let mut out = Vec::new();
        let mut context = Context {
            json: false,
            socket: None,
            out: &mut out,
        };
        print(&explanation, &mut context).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("/dump.xml, record 77 "), "{text}");
        assert!(text.contains("/list:2 "), "{text}");
    }
}
