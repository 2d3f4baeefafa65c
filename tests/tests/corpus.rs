//! Real captures with their ground truth, through `replay` in the running kernel: every name is read
//! as it was sent, and none passes once it is on a list.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::collections::BTreeMap;

use schoolgate_tests::corpus::{
    Corpus, excused, key_of, like_its_name, misread, named, none_wrong, passes_blocked, text,
};
use schoolgate_tests::reference::{Entry, Tier};
use schoolgate_tests::setup::School;

/// Protocols whose names are read.
const PROTOCOLS: [&str; 3] = ["tls", "http", "dns"];
/// A capture with flows of all of them.
const MIXED: &str = "pcaps/chromium-h3rr-allowed.pcap";

#[test]
fn every_listed_name_is_blocked_where_it_completes() {
    let Some(mut corpus) = Corpus::or_skip("every_listed_name_is_blocked_where_it_completes")
    else {
        return;
    };
    let school = School::new("one", &[]);
    let listed = corpus.every_flow(
        &PROTOCOLS,
        &school,
        |flow| flow.name.clone(),
        passes_blocked,
    );
    println!("{}", listed.unwrap());
}

/// The list holds names that differ by a label in front or behind.
#[test]
fn every_name_is_read_as_it_was_sent_and_none_like_it_is_blocked() {
    let test = "every_name_is_read_as_it_was_sent_and_none_like_it_is_blocked";
    let Some(mut corpus) = Corpus::or_skip(test) else {
        return;
    };
    let school = School::new("one", &[]);
    let read = corpus.every_flow(&PROTOCOLS, &school, like_its_name, misread);
    println!("{}", read.unwrap());
}

/// The public name of the captures' provider of Encrypted ClientHello.
const OUTER: &str = "public.ech-provider.example";

/// A school that withholds the keys of Encrypted ClientHello.
fn withholding() -> School {
    let mut school = School::new("one", &[]);
    school.profile.withhold_ech = true;
    school
}

#[test]
fn greased_hellos_pass_and_the_name_that_hides_others_does_not() {
    let test = "greased_hellos_pass_and_the_name_that_hides_others_does_not";
    let Some(mut corpus) = Corpus::or_skip(test) else {
        return;
    };
    let school = withholding();
    let (mut passed, mut hidden, mut wrong) = (0, 0, Vec::new());
    for (pcap, mut flows) in corpus.flows(&PROTOCOLS).unwrap() {
        flows.retain(|flow| flow.ech);
        if flows.is_empty() {
            continue;
        }
        let entries = vec![Entry::host(OUTER, Tier::Ech)];
        let rows = corpus.replay(&pcap, entries, &school).unwrap();
        for flow in &flows {
            let of_flow = flow.rows(&rows);
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
    none_wrong(&wrong).unwrap();
}

/// Every query of the captures: its name is read, and service bindings are withheld.
#[test]
fn every_query_is_read_and_service_bindings_are_withheld() {
    let Some(mut corpus) = Corpus::or_skip("every_query_is_read_and_service_bindings_are_withheld")
    else {
        return;
    };
    let school = withholding();
    let (mut count, mut bindings, mut wrong) = (0, 0, Vec::new());
    for (pcap, flows) in queries(&corpus) {
        let rows = corpus.replay(&pcap, Vec::new(), &school).unwrap();
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
    none_wrong(&wrong).unwrap();
}

/// Queries by flow, in order, by capture: the name, and the reason that is to be counted.
type Queries = BTreeMap<String, BTreeMap<String, Vec<(String, String)>>>;

/// The queries that both independent readers agree on.
fn queries(corpus: &Corpus) -> Queries {
    let mut all = Queries::new();
    for row in corpus.truth(&["dns"]).unwrap() {
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

/// The other tests replay by the library what the command does for its operator.
#[test]
fn the_command_itself_blocks_every_listed_name_of_a_capture() {
    let test = "the_command_itself_blocks_every_listed_name_of_a_capture";
    let Some(corpus) = Corpus::or_skip(test) else {
        return;
    };
    let blocked = corpus.command_blocks(test, &PROTOCOLS, MIXED).unwrap();
    assert!(blocked.is_none_or(|flows| flows > 10), "{blocked:?}");
}
