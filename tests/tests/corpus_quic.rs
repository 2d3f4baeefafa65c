//! Real captures with their ground truth, through `replay` in the running kernel: every name of QUIC is
//! read as it was sent, none passes once it is on a list, and every client is turned to TCP where a
//! profile says so.

use filter_user::config::Quic;
use schoolgate_tests::corpus::{Corpus, Flow, excused, like_its_name, misread, passes_blocked};
use schoolgate_tests::setup::School;
use serde_json::Value;

const PROTOCOLS: [&str; 1] = ["quic"];
/// A capture with several flows of it.
const SEVERAL: &str = "pcaps/chromium-h3rr-vn-2.pcap";

/// A school that treats QUIC like this.
fn school(quic: Quic) -> School {
    School {
        quic,
        ..School::new("one", &[])
    }
}

/// Under a profile that turns QUIC to TCP, whatever the lists say.
#[test]
fn every_quic_client_is_turned_to_tcp_by_every_part_of_its_hello() {
    let test = "every_quic_client_is_turned_to_tcp_by_every_part_of_its_hello";
    let Some(mut corpus) = Corpus::or_skip(test) else {
        return;
    };
    let left = |flow: &Flow, rows: &[Value]| {
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
    };
    let turned = corpus.every_flow(&PROTOCOLS, &school(Quic::Fallback), |_flow| None, left);
    println!("{}", turned.unwrap());
}

#[test]
fn every_listed_name_is_blocked_where_quic_completes_it() {
    let Some(mut corpus) = Corpus::or_skip("every_listed_name_is_blocked_where_quic_completes_it")
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
    let inspecting = school(Quic::Inspect);
    let listed = corpus.every_flow(&PROTOCOLS, &inspecting, |flow| flow.name.clone(), completed);
    println!("{}", listed.unwrap());
}

#[test]
fn every_name_of_quic_is_read_as_it_was_sent() {
    let Some(mut corpus) = Corpus::or_skip("every_name_of_quic_is_read_as_it_was_sent") else {
        return;
    };
    let read = corpus.every_flow(&PROTOCOLS, &school(Quic::Inspect), like_its_name, misread);
    println!("{}", read.unwrap());
}

/// The other tests replay by the library what the command does for its operator.
#[test]
fn the_command_itself_blocks_every_listed_name_of_quic() {
    let test = "the_command_itself_blocks_every_listed_name_of_quic";
    let Some(corpus) = Corpus::or_skip(test) else {
        return;
    };
    let blocked = corpus.command_blocks(test, &PROTOCOLS, SEVERAL).unwrap();
    assert!(blocked.is_none_or(|flows| flows > 3), "{blocked:?}");
}
