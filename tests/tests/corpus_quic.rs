//! Real captures with their ground truth, through `replay` in the running kernel: every name of QUIC is
//! read as it was sent, none passes once it is on a list, and every client is turned to TCP where a
//! profile says so.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use filter_user::config::Quic;
use filter_user::desired::{Desired, FlowSizes};
use filter_user::kernel::Seed;
use filter_user::replay::{Options, run};
use schoolgate_tests::gate::SEED;
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::reference::{Entry, Tier};
use schoolgate_tests::setup::{School, Setup, policy};
use serde_json::Value;

/// Category of the list that the tests block by.
const CATEGORY: u8 = 7;

/// A flow of the ground truth.
#[derive(Clone, Debug)]
struct Flow {
    pcap: String,
    key: String,
    /// `None`: its ClientHello names no server.
    name: Option<String>,
    /// The capture shows the name only out of order, in fragments, or without the flow's start.
    disturbed: bool,
    /// Frames with a part of its ClientHello.
    hello_frames: Vec<u64>,
}

/// Where the captures are, if they are here.
fn corpus() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("SCHOOLGATE_SHARED").map_or(beside, PathBuf::from);
    [
        shared.join("corpus"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
    ]
    .into_iter()
    .find(|path| path.join("truth.jsonl").is_file())
}

fn corpus_or_skip(test: &str) -> Option<PathBuf> {
    if !root_or_skip(test) {
        return None;
    }
    let found = corpus();
    if found.is_none() {
        println!("SKIP: {test}: no captures beside the repository (SCHOOLGATE_SHARED)");
    }
    found
}

fn text(row: &Value, field: &str) -> String {
    match &row[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn key_of(row: &Value) -> String {
    ["src", "sport", "dst", "dport"]
        .map(|field| text(row, field))
        .join(" ")
}

/// Flows of a protocol that both independent readers agree on, by capture.
fn truth(corpus: &Path, proto: &str) -> BTreeMap<String, Vec<Flow>> {
    let file = std::fs::read_to_string(corpus.join("truth.jsonl")).unwrap();
    let mut flows: BTreeMap<String, Vec<Flow>> = BTreeMap::new();
    for line in file.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        if row["proto"] != proto || row["oracle"] != "both" {
            continue;
        }
        let set = |field: &str| !matches!(row[field], Value::Null | Value::Bool(false));
        let flow = Flow {
            pcap: text(&row, "pcap"),
            key: key_of(&row),
            name: row["name"].as_str().map(str::to_lowercase),
            hello_frames: row["ch_frames"]
                .as_array()
                .map(|frames| frames.iter().filter_map(Value::as_u64).collect())
                .unwrap_or_default(),
            disturbed: set("ooo") || set("ipfrag") || set("no_syn") || set("retx"),
        };
        flows.entry(flow.pcap.clone()).or_default().push(flow);
    }
    flows
}

/// Replays a capture against a list of names; gives the rows by flow.
fn replay(corpus: &Path, pcap: &str, names: &[String], quic: Quic) -> BTreeMap<String, Vec<Value>> {
    let entries = names
        .iter()
        .map(|name| Entry::host(name, Tier::Unified(CATEGORY)))
        .collect();
    let setup = Setup {
        schools: Vec::new(),
        entries,
        ..Setup::default()
    };
    let options = Options {
        file: corpus.join(pcap),
        desired: Desired {
            interfaces: Vec::new(),
            ..setup.desired(SEED)
        },
        seed: Seed(SEED),
        interface: None,
        enrol_all_sources: true,
        source_policy: policy(&School {
            quic,
            ..School::new("one", &[])
        }),
        all: true,
        json: true,
        flows: FlowSizes {
            flows: 65_536,
            hellos: 16_384,
        },
    };
    let mut out = Vec::new();
    run(options, &(), &mut out, &mut |_warning| {}).unwrap();
    let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in String::from_utf8(out).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        if row.get("frame").is_some() {
            rows.entry(key_of(&row)).or_default().push(row);
        }
    }
    rows
}

/// The rows of a flow that completed a name.
fn named(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|row| row["name"].is_string()).collect()
}

/// Whether a hold or a refusal stands where the capture itself is out of order or in fragments.
fn excused(flow: &Flow, rows: &[Value]) -> bool {
    flow.disturbed
        && rows
            .iter()
            .any(|row| row["verdict"] == "refuse" || row["verdict"] == "hold")
}

/// What is wrong with a flow whose name is on the list.
fn passes_blocked(flow: &Flow, rows: &[Value]) -> Option<String> {
    let Some(name) = &flow.name else {
        return misread(flow, rows);
    };
    let with =
        |verdict: &str, row: &&Value| row["verdict"] == verdict && row["name"] == name.as_str();
    if named(rows).iter().any(|row| row["verdict"] == "pass") {
        return Some("the name passed".to_owned());
    }
    let blocked = named(rows).iter().any(|row| with("block", row));
    (!blocked && !excused(flow, rows)).then(|| "the name was not blocked".to_owned())
}

/// What is wrong with a flow whose name is on no list.
fn misread(flow: &Flow, rows: &[Value]) -> Option<String> {
    if let Some(row) = rows.iter().find(|row| row["verdict"] == "block") {
        return Some(format!("blocked: {row}"));
    }
    let names = named(rows);
    if let Some(row) = names
        .iter()
        .find(|row| row["name"].as_str() != flow.name.as_deref())
    {
        return Some(format!("read {:?}", row["name"]));
    }
    let nameless = rows.iter().any(|row| row["reason"] == "pass_hello_no_name");
    let read = if flow.name.is_some() {
        !names.is_empty()
    } else {
        nameless
    };
    (!read && !excused(flow, rows)).then(|| "the hello was not read".to_owned())
}

/// Replays every capture with a list made of its names by `list`, and judges each flow.
fn every_flow(
    corpus: &Path,
    proto: &str,
    quic: Quic,
    list: impl Fn(&Flow) -> Option<String>,
    judge: impl Fn(&Flow, &[Value]) -> Option<String>,
) {
    let (mut wrong, mut count, mut disturbed) = (Vec::new(), 0, 0);
    for (pcap, flows) in truth(corpus, proto) {
        let names: Vec<String> = flows.iter().filter_map(&list).collect();
        let rows = replay(corpus, &pcap, &names, quic);
        for flow in &flows {
            count += 1;
            let of_flow = rows.get(&flow.key).map(Vec::as_slice).unwrap_or_default();
            disturbed += usize::from(flow.disturbed);
            wrong.extend(
                judge(flow, of_flow)
                    .map(|text| format!("{pcap} {} {:?}: {text}", flow.key, flow.name)),
            );
        }
    }
    println!("{count} flows, {disturbed} of them out of order, repeated or in fragments");
    let shown = wrong
        .iter()
        .take(20)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(wrong.is_empty(), "{} wrong:\n{shown}", wrong.len());
}

/// Under a profile that turns QUIC to TCP, whatever the lists say.
#[test]
fn every_quic_client_is_turned_to_tcp_by_every_part_of_its_hello() {
    let Some(corpus) =
        corpus_or_skip("every_quic_client_is_turned_to_tcp_by_every_part_of_its_hello")
    else {
        return;
    };
    every_flow(
        &corpus,
        "quic",
        Quic::Fallback,
        |_flow| None,
        |flow, rows| {
            let turned = |frame: &u64| {
                rows.iter().any(|row| {
                    row["frame"] == *frame
                        && (row["verdict"] == "fallback" || row["reason"] == "block_mpls_no_return")
                })
            };
            let left: Vec<&u64> = flow
                .hello_frames
                .iter()
                .filter(|frame| !turned(frame))
                .collect();
            (flow.hello_frames.is_empty() || !left.is_empty() && !excused(flow, rows))
                .then(|| format!("frames {left:?} passed"))
        },
    );
}

#[test]
fn every_listed_name_is_blocked_where_quic_completes_it() {
    let Some(corpus) = corpus_or_skip("every_listed_name_is_blocked_where_quic_completes_it")
    else {
        return;
    };
    let completed = |flow: &Flow, rows: &[Value]| {
        let passed = passes_blocked(flow, rows)?;
        let unanswerable = rows
            .iter()
            .any(|row| row["reason"] == "block_mpls_no_return");
        (!unanswerable).then_some(passed)
    };
    let inspect = Quic::Inspect;
    every_flow(
        &corpus,
        "quic",
        inspect,
        |flow| flow.name.clone(),
        completed,
    );
}

#[test]
fn every_name_of_quic_is_read_as_it_was_sent() {
    let Some(corpus) = corpus_or_skip("every_name_of_quic_is_read_as_it_was_sent") else {
        return;
    };
    let other = |flow: &Flow| Some(format!("{}.example", flow.name.as_ref()?));
    every_flow(&corpus, "quic", Quic::Inspect, other, misread);
}
