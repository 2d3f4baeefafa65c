//! Real captures with their ground truth: where they are, what is in them, and how a test replays them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use filter_user::desired::{Desired, FlowSizes};
use filter_user::kernel::Seed;
use filter_user::replay::{Options, Replayer};
use serde_json::Value;

use crate::gate::SEED;
use crate::lab::{TempDir, daemon, patience, process, root_or_skip, skip};
use crate::reference::{Entry, Tier};
use crate::setup::{School, Setup, policy};

/// Category of the list that names are blocked by.
const CATEGORY: u8 = 7;
/// Longest run of the command.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Wrong flows that a failure shows.
const SHOWN: usize = 20;

/// A flow of the ground truth: what both independent readers say of it.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its capture, below the captures' directory.
    pub pcap: String,
    /// What its frames have in common, as [`key_of`] gives it.
    pub key: String,
    /// `None`: its ClientHello names no server.
    pub name: Option<String>,
    /// All names of a flow that may carry several (requests, queries), with its own.
    pub names: Vec<String>,
    /// The capture shows the name only out of order, in fragments, or without the flow's start.
    pub disturbed: bool,
    /// Its ClientHello has the extension of Encrypted ClientHello, as GREASE nearly always.
    pub ech: bool,
    /// Frames with a part of its ClientHello.
    pub hello_frames: Vec<u64>,
    /// `tls`, `http`, `dns` or `quic`.
    pub proto: String,
}

impl Flow {
    fn new(row: &Value) -> Flow {
        let set = |name: &str| !matches!(field(row, name), Value::Null | Value::Bool(false));
        let frames = field(row, "ch_frames").as_array();
        Flow {
            pcap: text(row, "pcap"),
            key: key_of(row),
            name: field(row, "name").as_str().map(host),
            names: names(row),
            disturbed: set("ooo") || set("ipfrag") || set("no_syn") || set("retx"),
            ech: set("ech"),
            hello_frames: frames
                .map(|frames| frames.iter().filter_map(Value::as_u64).collect())
                .unwrap_or_default(),
            proto: text(row, "proto"),
        }
    }

    /// Its rows among those of its capture.
    #[must_use]
    pub fn rows<'a>(&self, rows: &'a Rows) -> &'a [Value] {
        rows.get(&self.key).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What `replay` says of each frame of a capture, by flow.
pub type Rows = BTreeMap<String, Vec<Value>>;

/// The captures, and the program that they are replayed through.
#[derive(Debug)]
pub struct Corpus {
    directory: PathBuf,
    replayer: Replayer,
}

impl Corpus {
    /// The captures where a test can replay them: as root, and beside the repository. Otherwise says why
    /// not in the line that CI looks for.
    #[must_use]
    pub fn or_skip(test: &str) -> Option<Corpus> {
        if !root_or_skip(test) {
            return None;
        }
        let Some(directory) = directory() else {
            skip(
                test,
                "no corpus of captures beside the repository (SCHOOLGATE_SHARED)",
            );
            return None;
        };
        Some(Corpus {
            directory,
            replayer: Replayer::default(),
        })
    }

    /// The rows of the ground truth for these protocols that both independent readers agree on.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn truth(&self, protocols: &[&str]) -> Result<Vec<Value>> {
        let file = std::fs::read_to_string(self.directory.join(TRUTH))?;
        let mut rows = Vec::new();
        for line in file.lines() {
            let row: Value = serde_json::from_str(line)?;
            let proto = field(&row, "proto").as_str();
            let wanted = proto.is_some_and(|proto| protocols.contains(&proto));
            if wanted && field(&row, "oracle") == "both" {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The flows of these protocols, by capture.
    ///
    /// # Errors
    /// As [`Corpus::truth`].
    pub fn flows(&self, protocols: &[&str]) -> Result<BTreeMap<String, Vec<Flow>>> {
        let mut flows: BTreeMap<String, Vec<Flow>> = BTreeMap::new();
        for flow in self.truth(protocols)?.iter().map(Flow::new) {
            flows.entry(flow.pcap.clone()).or_default().push(flow);
        }
        Ok(flows)
    }

    /// Replays a capture against these lists at a school like this. The program stays loaded for the
    /// next one.
    ///
    /// # Errors
    /// If the capture cannot be read, or the kernel refuses.
    pub fn replay(&mut self, pcap: &str, entries: Vec<Entry>, school: &School) -> Result<Rows> {
        let setup = Setup {
            schools: Vec::new(),
            entries,
            ..Setup::default()
        };
        let options = Options {
            file: self.directory.join(pcap),
            desired: Desired {
                interfaces: Vec::new(),
                ..setup.desired(SEED)
            },
            seed: Seed(SEED),
            interface: None,
            enrol_all_sources: true,
            source_policy: policy(school),
            all: true,
            json: true,
            flows: FlowSizes {
                flows: 65_536,
                hellos: 16_384,
            },
        };
        let mut out = Vec::new();
        self.replayer
            .run(options, &(), &mut out, &mut |_warning| {})?;
        by_flow(&String::from_utf8(out)?)
    }

    /// Replays every capture with these protocols at a school like this, against a list made of its
    /// flows' names by `list`, and has each flow judged: what is wrong with it, or nothing. Gives what
    /// was judged.
    ///
    /// # Errors
    /// If a capture cannot be replayed, there is no flow, or one is wrong.
    pub fn every_flow(
        &mut self,
        protocols: &[&str],
        school: &School,
        list: impl Fn(&Flow) -> Option<String>,
        judge: impl Fn(&Flow, &[Value]) -> Option<String>,
    ) -> Result<String> {
        let (mut wrong, mut disturbed) = (Vec::new(), 0);
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for (pcap, flows) in self.flows(protocols)? {
            let names = flows.iter().filter_map(&list);
            let rows = self.replay(&pcap, entries(names), school)?;
            for flow in flows {
                disturbed += usize::from(flow.disturbed);
                wrong.extend(wrong_flow(&flow, &rows, &judge));
                *counts.entry(flow.proto).or_default() += 1;
            }
        }
        none_wrong(&wrong)?;
        ensure!(counts.len() == protocols.len(), "only {counts:?}");
        Ok(format!(
            "{counts:?} flows, {disturbed} of them out of order, repeated or in fragments"
        ))
    }

    /// Replays one capture by the command itself, against a list of the names of its flows of these
    /// protocols, and has each of them judged as [`passes_blocked`] does. Gives the number of flows, or
    /// nothing where the daemon's program is not built, which it says in the line that CI looks for.
    ///
    /// # Errors
    /// If the command fails, there is no flow, or one is wrong.
    pub fn command_blocks(
        &self,
        test: &str,
        protocols: &[&str],
        pcap: &str,
    ) -> Result<Option<usize>> {
        let Some(program) = daemon::program_or_skip(test) else {
            return Ok(None);
        };
        let flows = self.flows(protocols)?.remove(pcap).unwrap_or_default();
        let names: Vec<&str> = flows
            .iter()
            .filter_map(|flow| flow.name.as_deref())
            .collect();
        let files = TempDir::new()?;
        let list = files.path().join("list");
        std::fs::write(&list, names.join("\n"))?;
        let mut command = Command::new(program);
        command.args([
            "--json",
            "replay",
            "--all",
            "--enrol-all-sources",
            "--block",
        ]);
        command.arg(&list).arg(self.directory.join(pcap));
        let done = process::run(command, patience(COMMAND_LIMIT))?;
        ensure!(done.code == Some(0), "replay: {}", done.stderr);
        let rows = by_flow(&done.stdout)?;
        let wrong: Vec<String> = flows
            .iter()
            .filter_map(|flow| wrong_flow(flow, &rows, passes_blocked))
            .collect();
        none_wrong(&wrong)?;
        ensure!(!names.is_empty(), "{pcap} has no such flow");
        Ok(Some(flows.len()))
    }
}

/// File of the ground truth in the captures' directory.
const TRUTH: &str = "truth.jsonl";

/// Where the captures are, if they are here.
fn directory() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("SCHOOLGATE_SHARED").map(PathBuf::from);
    [
        named.unwrap_or_else(|| here.join("../../shared")),
        here.join("../../../shared"),
    ]
    .into_iter()
    .map(|shared| shared.join("corpus"))
    .find(|path| path.join(TRUTH).is_file())
}

/// A field of a row; null where there is none.
fn field<'a>(row: &'a Value, name: &str) -> &'a Value {
    row.get(name).unwrap_or(&Value::Null)
}

/// A field of a row as text.
#[must_use]
pub fn text(row: &Value, name: &str) -> String {
    match field(row, name) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What the frames of one direction of a flow have in common: addresses and ports.
#[must_use]
pub fn key_of(row: &Value) -> String {
    ["src", "sport", "dst", "dport"]
        .map(|name| text(row, name))
        .join(" ")
}

/// A host as it is looked up: in lower case, without a port.
fn host(text: &str) -> String {
    let text = text.to_lowercase();
    match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => text,
    }
}

/// The names of all requests or queries of a flow, with the flow's own.
fn names(row: &Value) -> Vec<String> {
    let column = |list: &str, at: usize| {
        let rows = field(row, list).as_array().cloned().unwrap_or_default();
        rows.into_iter()
            .filter_map(move |row| row.get(at)?.as_str().map(host))
    };
    let mut names: Vec<String> = column("requests", 2).chain(column("queries", 1)).collect();
    names.extend(field(row, "name").as_str().map(host));
    names
}

/// A list of names to block.
fn entries(names: impl Iterator<Item = String>) -> Vec<Entry> {
    names
        .map(|name| Entry::host(&name, Tier::Unified(CATEGORY)))
        .collect()
}

/// The rows of frames in what `replay` printed.
fn by_flow(printed: &str) -> Result<Rows> {
    let mut rows = Rows::new();
    for line in printed.lines() {
        let row: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if row.get("frame").is_some() {
            rows.entry(key_of(&row)).or_default().push(row);
        }
    }
    Ok(rows)
}

fn wrong_flow(
    flow: &Flow,
    rows: &Rows,
    judge: impl Fn(&Flow, &[Value]) -> Option<String>,
) -> Option<String> {
    let told = judge(flow, flow.rows(rows))?;
    Some(format!(
        "{} {} {:?}: {told}",
        flow.pcap, flow.key, flow.name
    ))
}

/// That nothing is wrong.
///
/// # Errors
/// The first of what is.
pub fn none_wrong(wrong: &[String]) -> Result<()> {
    let shown: Vec<&str> = wrong.iter().take(SHOWN).map(String::as_str).collect();
    ensure!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        shown.join("\n")
    );
    Ok(())
}

/// Whether a field of a row is this text.
fn says(row: &Value, name: &str, text: &str) -> bool {
    field(row, name) == text
}

/// The rows of a flow that completed a name.
#[must_use]
pub fn named(rows: &[Value]) -> Vec<&Value> {
    rows.iter()
        .filter(|row| field(row, "name").is_string())
        .collect()
}

/// Whether a hold or a refusal stands where the capture itself is out of order or in fragments.
#[must_use]
pub fn excused(flow: &Flow, rows: &[Value]) -> bool {
    let put_off = |row: &Value| says(row, "verdict", "refuse") || says(row, "verdict", "hold");
    flow.disturbed && rows.iter().any(put_off)
}

/// What is wrong with a flow whose name is on the list.
#[must_use]
pub fn passes_blocked(flow: &Flow, rows: &[Value]) -> Option<String> {
    let Some(name) = &flow.name else {
        return misread(flow, rows);
    };
    // Of several names, only the flow's own is surely on the list.
    let others: Vec<&String> = flow.names.iter().filter(|other| *other != name).collect();
    let other = |row: &Value| others.iter().any(|name| says(row, "name", name));
    let completed = named(rows);
    let passed = |row: &&&Value| says(row, "verdict", "pass") && !other(row);
    if let Some(row) = completed.iter().find(passed) {
        return Some(format!("the name passed: {row}"));
    }
    let blocked = completed
        .iter()
        .any(|row| says(row, "verdict", "block") && says(row, "name", name));
    (!blocked && !excused(flow, rows)).then(|| "the name was not blocked".to_owned())
}

/// What is wrong with a flow whose name is on no list.
#[must_use]
pub fn misread(flow: &Flow, rows: &[Value]) -> Option<String> {
    if let Some(row) = rows.iter().find(|row| says(row, "verdict", "block")) {
        return Some(format!("blocked: {row}"));
    }
    let completed = named(rows);
    let foreign = |row: &&&Value| !flow.names.iter().any(|name| says(row, "name", name));
    if let Some(row) = completed.iter().find(foreign) {
        return Some(format!("read {row}"));
    }
    let nameless = |row: &Value| says(row, "reason", "pass_hello_no_name");
    let read = match flow.name {
        Some(_) => !completed.is_empty(),
        None => rows.iter().any(nameless),
    };
    (!read && !excused(flow, rows)).then(|| "the hello was not read".to_owned())
}

/// A name that is like a flow's own, and is none of its names: with a label behind.
#[must_use]
pub fn like_its_name(flow: &Flow) -> Option<String> {
    Some(format!("{}.example", flow.name.as_ref()?))
}
