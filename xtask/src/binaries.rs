//! The workspace's test binaries: builds them and tells where they are.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::shell::{cargo, line};

/// A binary that runs one target's tests.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TestBinary {
    /// Whether it is an integration test; unit tests come first.
    integration: bool,
    /// The package's directory, where its tests expect to run.
    pub(crate) package: PathBuf,
    /// The target's name.
    pub(crate) target: String,
    pub(crate) executable: PathBuf,
}

impl TestBinary {
    /// The suite's name for people.
    pub(crate) fn suite(&self) -> String {
        let package = self
            .package
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let kind = if self.integration { "" } else { " (unit)" };
        format!("{package}/{}{kind}", self.target)
    }
}

/// Builds the test binaries that `selection` (arguments of `cargo test`) names, in the order to run.
///
/// # Errors
///
/// When they do not compile.
pub(crate) fn build(selection: &[&str]) -> Result<Vec<TestBinary>> {
    let mut command = cargo();
    command.args([
        "test",
        "--quiet",
        "--no-run",
        // One profile for daemon, tests and demo: dependencies are built once, and a hundred thousand
        // frames are built and read in seconds.
        "--release",
        "--message-format=json-render-diagnostics",
    ]);
    command
        .args(selection)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command
        .output()
        .with_context(|| format!("could not start `{}`", line(&command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", line(&command), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut binaries: Vec<_> = text.lines().filter_map(parse).collect();
    binaries.sort();
    Ok(binaries)
}

fn parse(message: &str) -> Option<TestBinary> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message.pointer("/profile/test")?.as_bool()?;
    let kinds = message.pointer("/target/kind")?.as_array()?;
    if !is_test {
        return None;
    }
    Some(TestBinary {
        integration: kinds.iter().any(|kind| kind == "test"),
        package: Path::new(message.get("manifest_path")?.as_str()?)
            .parent()?
            .to_owned(),
        target: message.pointer("/target/name")?.as_str()?.to_owned(),
        executable: message.get("executable")?.as_str()?.into(),
    })
}
