//! Real captures with their ground truth, through `replay` in the running kernel: every name is read
//! as it was sent, and none passes once it is on a list.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// All names of a flow that carries several: requests, queries.
    names: Vec<String>,
    /// The capture shows the name only out of order, in fragments, or without the flow's start.
    disturbed: bool,
    /// Its ClientHello has the extension of Encrypted ClientHello, as GREASE nearly always.
    ech: bool,
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
        let rows = row[list].as_array().cloned().unwrap_or_default();
        rows.into_iter()
            .filter_map(move |row| row[at].as_str().map(host))
    };
    let mut names: Vec<String> = column("requests", 2).chain(column("queries", 1)).collect();
    names.extend(row["name"].as_str().map(host));
    names
}

/// Protocols whose names are read.
const PROTOCOLS: [&str; 3] = ["tls", "http", "dns"];

/// Flows that both independent readers agree on, by capture.
fn truth(corpus: &Path) -> BTreeMap<String, Vec<Flow>> {
    let file = std::fs::read_to_string(corpus.join("truth.jsonl")).unwrap();
    let mut flows: BTreeMap<String, Vec<Flow>> = BTreeMap::new();
    for line in file.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let read = row["proto"]
            .as_str()
            .is_some_and(|proto| PROTOCOLS.contains(&proto));
        if !read || row["oracle"] != "both" {
            continue;
        }
        let set = |field: &str| !matches!(row[field], Value::Null | Value::Bool(false));
        let flow = Flow {
            pcap: text(&row, "pcap"),
            key: key_of(&row),
            name: row["name"].as_str().map(host),
            names: names(&row),
            disturbed: set("ooo") || set("ipfrag") || set("no_syn") || set("retx"),
            ech: set("ech"),
        };
        flows.entry(flow.pcap.clone()).or_default().push(flow);
    }
    flows
}

/// Replays a capture against a list of names; gives the rows by flow.
fn replay(corpus: &Path, pcap: &str, names: &[String]) -> BTreeMap<String, Vec<Value>> {
    let entry = |name: &String| Entry::host(name, Tier::Unified(CATEGORY));
    let entries = names.iter().map(entry).collect();
    replay_at(corpus, pcap, entries, &School::new("one", &[]))
}

/// Replays a capture against these lists at a school like this; gives the rows by flow.
fn replay_at(
    corpus: &Path,
    pcap: &str,
    entries: Vec<Entry>,
    school: &School,
) -> BTreeMap<String, Vec<Value>> {
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
        source_policy: policy(school),
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
    let listed = |row: &&&Value| row["name"] == name.as_str();
    let passed = |row: &Value| row["verdict"] == "pass";
    if named(rows).iter().filter(listed).any(|row| passed(row)) {
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
        .find(|row| !flow.names.iter().any(|name| row["name"] == name.as_str()))
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
    list: impl Fn(&Flow) -> Option<String>,
    judge: impl Fn(&Flow, &[Value]) -> Option<String>,
) {
    let (mut wrong, mut count, mut disturbed) = (Vec::new(), 0, 0);
    for (pcap, flows) in truth(corpus) {
        let names: Vec<String> = flows.iter().filter_map(&list).collect();
        let rows = replay(corpus, &pcap, &names);
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

#[test]
fn every_listed_name_is_blocked_where_it_completes() {
    let Some(corpus) = corpus_or_skip("every_listed_name_is_blocked_where_it_completes") else {
        return;
    };
    every_flow(&corpus, |flow| flow.name.clone(), passes_blocked);
}

/// The list holds names that differ by a label in front or behind.
#[test]
fn every_name_is_read_as_it_was_sent_and_none_like_it_is_blocked() {
    let Some(corpus) =
        corpus_or_skip("every_name_is_read_as_it_was_sent_and_none_like_it_is_blocked")
    else {
        return;
    };
    let other = |flow: &Flow| Some(format!("{}.example", flow.name.as_ref()?));
    every_flow(&corpus, other, misread);
}

/// The public name of the captures' provider of Encrypted ClientHello.
const OUTER: &str = "public.ech-provider.example";

#[test]
fn greased_hellos_pass_and_the_name_that_hides_others_does_not() {
    let Some(corpus) =
        corpus_or_skip("greased_hellos_pass_and_the_name_that_hides_others_does_not")
    else {
        return;
    };
    let mut school = School::new("one", &[]);
    school.profile.withhold_ech = true;
    let (mut passed, mut hidden, mut wrong) = (0, 0, Vec::new());
    for (pcap, flows) in truth(&corpus) {
        if !flows.iter().any(|flow| flow.ech) {
            continue;
        }
        let entries = vec![Entry::host(OUTER, Tier::Ech)];
        let rows = replay_at(&corpus, &pcap, entries, &school);
        for flow in flows.iter().filter(|flow| flow.ech) {
            let of_flow = rows.get(&flow.key).map(Vec::as_slice).unwrap_or_default();
            let outer = flow.name.as_deref() == Some(OUTER);
            let count = if outer { &mut hidden } else { &mut passed };
            *count += 1;
            let reason = ["pass_hello_name", "block_ech_name"][usize::from(outer)];
            let met = named(of_flow).iter().any(|row| row["reason"] == reason);
            if !met && !excused(flow, of_flow) {
                wrong.push(format!("{pcap} {} {:?}: {of_flow:?}", flow.key, flow.name));
            }
        }
    }
    println!(
        "{passed} hellos with the extension and their own name, {hidden} with that of a provider"
    );
    assert!(passed > 100 && hidden > 5, "{passed} {hidden}");
    assert!(
        wrong.is_empty(),
        "{} wrong: {:?}",
        wrong.len(),
        wrong.first()
    );
}

/// Every query of the captures: its name is read, and service bindings are withheld.
#[test]
fn every_query_is_read_and_service_bindings_are_withheld() {
    let Some(corpus) = corpus_or_skip("every_query_is_read_and_service_bindings_are_withheld")
    else {
        return;
    };
    let mut school = School::new("one", &[]);
    school.profile.withhold_ech = true;
    let (mut count, mut bindings, mut wrong) = (0, 0, Vec::new());
    for (pcap, flows) in queries(&corpus) {
        let rows = replay_at(&corpus, &pcap, Vec::new(), &school);
        for (key, asked) in flows {
            let of_flow = rows.get(&key).map(Vec::as_slice).unwrap_or_default();
            let seen: Vec<(String, String)> = named(of_flow)
                .iter()
                .map(|row| (text(row, "name"), text(row, "reason")))
                .collect();
            count += asked.len();
            bindings += (asked.iter())
                .filter(|(_, reason)| reason != "pass_dns_name")
                .count();
            if seen != asked {
                wrong.push(format!("{pcap} {key}: {seen:?}, not {asked:?}"));
            }
        }
    }
    println!("{count} queries, {bindings} of them for service bindings");
    assert!(count > 500 && bindings > 100, "{count} {bindings}");
    assert!(
        wrong.is_empty(),
        "{} wrong: {:#?}",
        wrong.len(),
        wrong.first()
    );
}

/// Queries by flow, in order, by capture: the name, and the reason that is to be counted.
type Queries = BTreeMap<String, BTreeMap<String, Vec<(String, String)>>>;

/// The queries that both independent readers agree on.
fn queries(corpus: &Path) -> Queries {
    let file = std::fs::read_to_string(corpus.join("truth.jsonl")).unwrap();
    let mut all = Queries::new();
    for line in file.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        if row["proto"] != "dns" || row["oracle"] != "both" {
            continue;
        }
        let flows = all.entry(text(&row, "pcap")).or_default();
        let asked = flows.entry(key_of(&row)).or_default();
        for question in row["queries"].as_array().unwrap() {
            let binding = matches!(question[2].as_str(), Some("64" | "65"));
            // In the captures' own world no label leads back.
            let answered = match row["encap"].as_str() {
                Some("mpls") => "block_mpls_no_return",
                _ => "pass_dns_withheld",
            };
            let reason = ["pass_dns_name", answered][usize::from(binding)];
            asked.push((
                question[1].as_str().unwrap().to_lowercase(),
                reason.to_owned(),
            ));
        }
    }
    all
}
