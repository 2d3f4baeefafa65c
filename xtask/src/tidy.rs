//! `cargo xtask tidy`: the rules of this repository that neither rustfmt nor clippy knows.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::paths;
use crate::shell::{output, say};

/// A Rust file longer than this holds more than one stage.
const LINES_MAX: usize = 600;

/// Words that no tracked source may hold, and what to do instead. Split, lest they be found here.
const BANNED: [(&str, &str); 7] = [
    (
        concat!("TO", "DO"),
        "do it, or write down why it is not needed",
    ),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("place", "holder"), "put the real thing there"),
    (
        concat!("#[", "ignore"),
        "a test runs, or prints `SKIP: <test>: <reason>`",
    ),
    (concat!("#[", "allow("), "`#[expect(…, reason = \"…\")]`"),
    (
        concat!("/wo", "rk/"),
        "a path below the repository, or one that is configured",
    ),
    (concat!("@", "@@"), "resolve the merge"),
];

/// The `tidy` task.
///
/// # Errors
///
/// When a rule is broken; each place is printed.
pub(crate) fn tidy() -> Result<()> {
    let root = paths::root();
    let listing = output(Command::new("git").args(["ls-files"]).current_dir(&root))?;
    let mut faults = Vec::new();
    for path in listing.lines().filter(|path| is_source(path)) {
        // A file that is deleted but still tracked is git's affair.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            check_source(path, &text, &mut faults);
        }
    }
    check_changelog(&root, &mut faults);
    check_promises(&root, &mut faults);
    for fault in &faults {
        say(&format!("  {fault}"));
    }
    if !faults.is_empty() {
        bail!("{} places are untidy", faults.len());
    }
    Ok(())
}

/// Sources and documents, not the data of others that lies beside them.
fn is_source(path: &str) -> bool {
    let foreign = path.starts_with("tests/data/") || path.starts_with("rules/");
    let kinds = ["rs", "md", "toml", "sh", "yml"];
    let extension = Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str());
    !foreign && (extension.is_some_and(|e| kinds.contains(&e)) || path == ".ci/run")
}

fn check_source(path: &str, text: &str, faults: &mut Vec<String>) {
    for (number, line) in (1..).zip(text.lines()) {
        for (word, instead) in BANNED {
            if line.contains(word) {
                faults.push(format!("{path}:{number}: `{word}`: {instead}"));
            }
        }
    }
    if !path.ends_with(".rs") {
        return;
    }
    if !text.starts_with("//!") {
        faults.push(format!(
            "{path}:1: begin with `//!`: what the file takes and gives"
        ));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!(
            "{path}: {lines} lines, at most {LINES_MAX}: split it"
        ));
    }
}

fn check_changelog(root: &Path, faults: &mut Vec<String>) {
    let text = fs::read_to_string(root.join("CHANGELOG.md")).unwrap_or_default();
    if !text
        .lines()
        .any(|line| line.starts_with("## ") && line.contains("Unreleased"))
    {
        faults.push("CHANGELOG.md: no heading `## [Unreleased]`".to_owned());
    }
}

fn check_promises(root: &Path, faults: &mut Vec<String>) {
    let text = fs::read_to_string(root.join("docs/promises.md")).unwrap_or_default();
    let rows = promises_without_command(&text);
    match rows {
        None => faults.push("docs/promises.md: no table of promises".to_owned()),
        Some(rows) => faults.extend(
            rows.iter()
                .map(|row| format!("docs/promises.md: no command proves this: {row}")),
        ),
    }
}

/// The rows of the tables that name no command; `None` without any row.
fn promises_without_command(text: &str) -> Option<Vec<&str>> {
    let lines: Vec<_> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("|-") || line.starts_with("| -");
    // A table's heading is the row above its rule.
    let is_heading = |at: usize| lines.get(at + 1).is_some_and(|next| is_rule(next));
    let rows: Vec<_> = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| line.starts_with('|') && !is_rule(line) && !is_heading(*at))
        .map(|(_, line)| *line)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let names_command = |row: &&str| row.contains("`cargo ") || row.contains("`schoolgate ");
    Some(rows.into_iter().filter(|row| !names_command(row)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_fault() {
        let faults = |path: &str, text: &str| {
            let mut faults = Vec::new();
            check_source(path, text, &mut faults);
            faults.len()
        };
        assert_eq!(faults("a.rs", "//! Good.\nfn f() {}\n"), 0);
        assert_eq!(faults("a.rs", "fn f() {}\n"), 1);
        assert_eq!(faults("a.rs", &"//! Long.\n".repeat(LINES_MAX + 1)), 1);
        for (word, _) in BANNED {
            assert_eq!(faults("a.md", &format!("so {word} it\n")), 1, "{word}");
        }
    }

    #[test]
    fn a_promise_without_a_command_is_found() {
        let table = "| promise | proof |\n|---|---|\n| a | `cargo xtask test` |\n| b | trust |\n";
        assert_eq!(promises_without_command(table), Some(vec!["| b | trust |"]));
        assert_eq!(promises_without_command("nothing"), None);
    }
}
