//! One row a frame: as a table for people, as JSON for programs.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use filter_common::abi::Outcome;
use filter_common::reason::Reason;
use filter_common::rule::CATEGORY_NONE;
use filter_common::verdict::Action;
use serde::Serialize;

use super::headers::{Headers, UDP};
use crate::kernel::load::{PROGRAM, ProgramFacts};
use crate::kernel::run::{XDP_PASS, XDP_TX};

/// Names of what the program knows by numbers.
pub trait Names {
    /// Name of a category that `reason` gave.
    fn category(&self, reason: Reason, category: u32) -> Option<String>;
    /// Where an entry stands: its list and line.
    fn entry(&self, entry: u32) -> Option<String>;
}

/// Numbers only.
impl Names for () {
    fn category(&self, _reason: Reason, _category: u32) -> Option<String> {
        None
    }

    fn entry(&self, _entry: u32) -> Option<String> {
        None
    }
}

/// What a frame met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// What the program says of it.
    pub outcome: Outcome,
    /// `XDP_*`.
    pub result: u32,
    /// The frame as the program left it.
    pub reply: Vec<u8>,
    /// The name read.
    pub name: Option<String>,
}

impl Meeting {
    /// Whether something decided on the frame.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        self.reason().is_some_and(is_decision)
    }

    /// The reason; `None` for a frame of nobody enrolled.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Reason::from_number(self.outcome.reason)
    }

    /// What was done with the frame.
    fn action(&self) -> Action {
        match self.result {
            XDP_PASS => Action::Pass,
            XDP_TX => Action::from_number(self.outcome.action),
            _ => Action::Drop,
        }
    }
}

/// Whether a reason is a decision, and not the plain passing of a packet that asks for nothing, or
/// whose name is still to come.
#[must_use]
pub fn is_decision(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::PassData
            | Reason::PassNoPayload
            | Reason::PassSyn
            | Reason::PassHelloPart
            | Reason::PassRetransmission
            | Reason::PassUdp
            | Reason::PassQuic
            | Reason::PassQuicPart
            | Reason::PassOtherProtocol
            | Reason::PassUdpFragment
            | Reason::PassNoFlow
            | Reason::PassAll
    )
}

/// Whether a reason was found in a TLS record.
fn is_tls(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PassHelloPart
            | Reason::PassHelloName
            | Reason::PassHelloNoName
            | Reason::BlockUnifiedName
            | Reason::BlockNsorName
            | Reason::BlockLocalName
            | Reason::BlockAgeName
            | Reason::WarnName
            | Reason::RefuseStepLimit
            | Reason::RefuseHelloName
    )
}

/// Whether a reason is of DNS messages only.
fn is_dns(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PassDnsName
            | Reason::PassDnsOther
            | Reason::RefuseDnsMalformed
            | Reason::RefuseDnsQuestions
    )
}

/// The first row.
#[derive(Serialize)]
struct ProgramRow<'a> {
    program: &'a str,
    tag: String,
    instructions: u32,
    verified_instructions: u32,
    id: u32,
}

/// A frame's row.
#[derive(Serialize)]
struct FrameRow<'a> {
    frame: u64,
    org: Option<&'a str>,
    proto: String,
    reason: Option<&'static str>,
    category: Option<String>,
    verdict: &'static str,
    action: &'static str,
    entry: Option<String>,
    src: Option<String>,
    sport: Option<u16>,
    dst: Option<String>,
    dport: Option<u16>,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
}

/// Where rows go.
pub(crate) struct Output<'a> {
    to: &'a mut dyn Write,
    names: &'a dyn Names,
    organisations: &'a HashMap<u32, String>,
    json: bool,
    all: bool,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        to: &'a mut dyn Write,
        names: &'a dyn Names,
        organisations: &'a HashMap<u32, String>,
        json: bool,
        all: bool,
    ) -> Self {
        Output {
            to,
            names,
            organisations,
            json,
            all,
        }
    }

    /// The first row: which program judges.
    pub(crate) fn program(&mut self, facts: &ProgramFacts) -> io::Result<()> {
        let row = ProgramRow {
            program: PROGRAM,
            tag: facts.tag_text(),
            instructions: facts.instructions,
            verified_instructions: facts.verified_instructions,
            id: facts.id,
        };
        if self.json {
            return self.line(&row);
        }
        let ProgramRow {
            program,
            tag,
            instructions,
            ..
        } = row;
        writeln!(
            self.to,
            "program {program}, tag {tag}, {instructions} instructions"
        )?;
        writeln!(
            self.to,
            "{:>7}  {:<20} {:<5} {:<8} {:<6} {:<24} {:<16} {:<32} flow",
            "frame", "org", "proto", "verdict", "action", "reason", "category", "name"
        )
    }

    /// A frame's row, if it is to be shown.
    pub(crate) fn frame(
        &mut self,
        number: u64,
        headers: Option<&Headers>,
        meeting: &Meeting,
    ) -> io::Result<()> {
        if !self.all && !meeting.is_decision() {
            return Ok(());
        }
        let organisations = self.organisations;
        let row = self.row(number, headers, meeting, organisations);
        if self.json {
            self.line(&row)
        } else {
            self.table(&row)
        }
    }

    /// The end of the output.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn row<'m>(
        &self,
        number: u64,
        headers: Option<&Headers>,
        meeting: &'m Meeting,
        organisations: &'m HashMap<u32, String>,
    ) -> FrameRow<'m> {
        let (reason, outcome) = (meeting.reason(), &meeting.outcome);
        let category = reason
            .filter(|_| outcome.category != CATEGORY_NONE)
            .map(|reason| {
                let name = self.names.category(reason, outcome.category);
                name.unwrap_or_else(|| outcome.category.to_string())
            });
        let entry = (reason.is_some() && outcome.entry != 0).then(|| {
            self.names
                .entry(outcome.entry)
                .unwrap_or_else(|| outcome.entry.to_string())
        });
        let udp = headers.is_some_and(|headers| headers.protocol == UDP);
        let dns = reason.is_some_and(is_dns) || udp && meeting.name.is_some();
        let tls = reason.is_some_and(is_tls) || meeting.name.is_some();
        let protocol = headers.map_or_else(|| "other".into(), Headers::protocol_label);
        let ports = headers.and_then(|headers| headers.ports);
        FrameRow {
            frame: number,
            org: reason
                .and_then(|_| organisations.get(&outcome.org))
                .map(String::as_str),
            proto: if outcome.http != 0 {
                "http".into()
            } else if dns {
                "dns".into()
            } else if tls {
                "tls".into()
            } else {
                protocol
            },
            reason: reason.map(Reason::label),
            category,
            verdict: reason.map_or("pass", |reason| reason.verdict().label()),
            action: meeting.action().label(),
            entry,
            src: headers.map(|headers| headers.source.to_string()),
            sport: ports.map(|(source, _)| source),
            dst: headers.map(|headers| headers.destination.to_string()),
            dport: ports.map(|(_, destination)| destination),
            name: meeting.name.as_deref(),
            reply: (meeting.result == XDP_TX).then(|| hex(&meeting.reply)),
        }
    }

    fn line(&mut self, row: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.to, row)?;
        self.to.write_all(b"\n")
    }

    fn table(&mut self, row: &FrameRow<'_>) -> io::Result<()> {
        writeln!(
            self.to,
            "{:>7}  {:<20} {:<5} {:<8} {:<6} {:<24} {:<16} {:<32} {}",
            row.frame,
            row.org.unwrap_or("-"),
            row.proto,
            row.verdict,
            row.action,
            row.reason.unwrap_or("not_enrolled"),
            row.category.as_deref().unwrap_or("-"),
            row.name.unwrap_or("-"),
            flow_text(row),
        )?;
        match &row.reply {
            Some(reply) => writeln!(self.to, "{:>9}reply {reply}", ""),
            None => Ok(()),
        }
    }
}

fn flow_text(row: &FrameRow<'_>) -> String {
    let side = |address: &Option<String>, port: Option<u16>| match (address, port) {
        (None, _) => "-".to_string(),
        (Some(address), None) => address.clone(),
        (Some(address), Some(port)) if address.contains(':') => format!("[{address}]:{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
    };
    format!(
        "{} > {}",
        side(&row.src, row.sport),
        side(&row.dst, row.dport)
    )
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meeting(reason: Reason, result: u32) -> Meeting {
        let outcome = Outcome {
            reason: reason.number(),
            action: Action::Reset as u32,
            category: 3,
            entry: 7,
            org: 1,
            ..Outcome::default()
        };
        Meeting {
            outcome,
            result,
            reply: vec![0xab, 1],
            name: Some("a.example".into()),
        }
    }

    fn printed(meeting: &Meeting, json: bool, all: bool) -> String {
        let organisations = HashMap::from([(1, "school-1".to_string())]);
        let mut out = Vec::new();
        let mut output = Output::new(&mut out, &(), &organisations, json, all);
        output.frame(5, None, meeting).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_blocked_name_in_json() {
        let row = printed(&meeting(Reason::BlockUnifiedName, XDP_TX), true, false);
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        let expected = serde_json::json!({
            "frame": 5, "org": "school-1", "proto": "tls", "reason": "block_unified_name",
            "category": "3", "verdict": "block", "action": "reset", "entry": "7", "src": null,
            "sport": null, "dst": null, "dport": null, "name": "a.example", "reply": "ab01",
        });
        assert_eq!(row, expected);
    }

    #[test]
    fn plain_passes_are_shown_with_all_only() {
        let plain = meeting(Reason::PassData, XDP_PASS);
        assert_eq!(printed(&plain, true, false), "");
        assert!(printed(&plain, true, true).contains("pass_data"));
        assert!(printed(&plain, false, true).contains("pass_data"));
    }

    #[test]
    fn a_frame_of_nobody_has_no_reason() {
        let nobody = Meeting {
            outcome: Outcome::default(),
            result: XDP_PASS,
            reply: vec![],
            name: None,
        };
        assert_eq!(printed(&nobody, true, false), "");
        let row: serde_json::Value = serde_json::from_str(&printed(&nobody, true, true)).unwrap();
        assert_eq!(
            (&row["org"], &row["reason"], &row["verdict"]),
            (
                &serde_json::Value::Null,
                &serde_json::Value::Null,
                &"pass".into()
            )
        );
    }
}
