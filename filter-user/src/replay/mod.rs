//! Captures through the real program: every frame of a file, in order, by a test run of the kernel,
//! with what the program made of it. The program has maps of its own, so that neither the live
//! filter's flows nor its counters are touched; its instructions, and so its tag, are the same.

mod capture;
mod frame;
mod headers;
mod loaded;
mod row;
mod segment;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use filter_common::abi::{Control, Outcome, Policy};
use filter_common::limits::{IDLE_MS, NAME_PAD, ORGS_MAX};
use filter_common::name::org_id_key;
use filter_common::verdict::Action;
use ipnet::IpNet;

pub use capture::{CaptureError, Frame};
pub use headers::Headers;
pub use row::{Meeting, Names, is_decision};

use crate::desired::{Desired, FlowSizes, InterfaceRow, MplsReply, Organisation};
use crate::inspect::copy::Copy;
use crate::inspect::{Inspector, answer};
use crate::kernel::error::KernelError;
use crate::kernel::quic::Copies;
use crate::kernel::run::{FRAME_MIN, Runner, XDP_DROP, XDP_TX};
use crate::kernel::{Generation, Seed};
use loaded::Loaded;

/// Interface that frames of a test run come from: the loopback.
const IFINDEX: u32 = 1;

/// What to replay, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The capture.
    pub file: PathBuf,
    /// The state to judge by. Its interfaces are of no account here.
    pub desired: Desired,
    /// Seed that the subject keys of `desired` were made with.
    pub seed: Seed,
    /// Realm, VLAN realms and MPLS answer of the side that the frames come from; its name and number
    /// are of no account. `None`: realm 0.
    pub interface: Option<InterfaceRow>,
    /// Enrol each source address of the capture that is not enrolled by `desired`.
    pub enrol_all_sources: bool,
    /// Policy of the sources enrolled so.
    pub source_policy: Policy,
    /// Print frames without a decision too.
    pub all: bool,
    /// One JSON object a line in place of the table.
    pub json: bool,
    /// Sizes of the flow tables.
    pub flows: FlowSizes,
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Frames in the capture.
    pub frames: u64,
    /// Frames that met a decision.
    pub decisions: u64,
    /// Frames that could not be run.
    pub skipped: u64,
    /// Times the program ran: more than frames where large ones were cut up.
    pub runs: u64,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The capture cannot be read.
    #[error("{path}: {source}")]
    Capture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CaptureError,
    },
    /// The kernel side failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The result cannot be written.
    #[error("writing the result: {0}")]
    Output(#[from] std::io::Error),
    /// The capture has more source addresses than organisations are possible.
    #[error("{0} source addresses: at most {ORGS_MAX} can be enrolled")]
    TooManySources(usize),
}

/// Replays a capture into `out`; `names` tells the names of categories and entries, `warn` takes
/// what an operator should know and the result has no place for.
///
/// # Errors
/// If the capture cannot be read, the program not be loaded, or the result not be written. A capture
/// that ends in the middle of a frame is replayed up to there, with a warning.
pub fn run(
    options: Options,
    names: &dyn Names,
    out: &mut dyn Write,
    warn: &mut dyn FnMut(String),
) -> Result<Summary, ReplayError> {
    Replayer::default().run(options, names, out, warn)
}

/// Replays captures one after another. The program is loaded, and so verified, for the first of them,
/// and anew only where its maps do not take the next; no capture meets what another left.
#[derive(Debug, Default)]
pub struct Replayer {
    loaded: Option<Loaded>,
}

impl Replayer {
    /// As [`run`].
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(
        &mut self,
        options: Options,
        names: &dyn Names,
        out: &mut dyn Write,
        warn: &mut dyn FnMut(String),
    ) -> Result<Summary, ReplayError> {
        let Options {
            file,
            mut desired,
            seed,
            interface,
            flows,
            ..
        } = options;
        desired.interfaces = vec![loopback(interface)];
        desired.realms = desired.realms.max(1);
        // The clock of a capture does not run here: its flows all come in one second.
        desired.syn_limit = u32::MAX;
        if options.enrol_all_sources {
            enrol_sources(&file, &mut desired, options.source_policy, warn)?;
        }
        let loaded = Loaded::again(self.loaded.take(), &desired, flows, seed)?;
        let Loaded {
            generation, copies, ..
        } = self.loaded.insert(loaded);
        let organisations = organisation_names(generation, &desired);
        let output = row::Output::new(out, names, &organisations, options.json, options.all);
        let mut replay = Replay {
            generation,
            copies,
            inspector: Inspector::new(),
            runner: generation.runner()?,
            output,
            seen: HashMap::new(),
            summary: Summary::default(),
        };
        replay.output.program(&generation.facts())?;
        for_each_frame(&file, warn, |frame, warn| replay.frame(&frame, warn))?;
        replay.output.end()?;
        Ok(replay.summary)
    }
}

/// The loopback in place of `interface`.
fn loopback(interface: Option<InterfaceRow>) -> InterfaceRow {
    let row = interface.unwrap_or(InterfaceRow {
        name: String::new(),
        ifindex: IFINDEX,
        organisations: true,
        realm: 0,
        vlan_realms: Vec::new(),
        mpls_reply: MplsReply::None,
    });
    InterfaceRow {
        name: "lo".into(),
        ifindex: IFINDEX,
        organisations: true,
        ..row
    }
}

/// Ids of the organisations by their number.
fn organisation_names(generation: &Generation, desired: &Desired) -> HashMap<u32, String> {
    let numbers = generation.organisation_numbers();
    let named = desired.organisations.iter().filter_map(|org| {
        let key = org_id_key(generation.seed().0, org.id.as_bytes());
        Some((*numbers.get(&key)?, org.id.clone()))
    });
    named.collect()
}

/// Calls `each` for every frame. A damaged end is a warning, a damaged start an error.
fn for_each_frame(
    path: &Path,
    warn: &mut dyn FnMut(String),
    mut each: impl FnMut(Frame, &mut dyn FnMut(String)) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let failed = |source: CaptureError| ReplayError::Capture {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    let mut capture = capture::Reader::new(BufReader::new(file)).map_err(failed)?;
    loop {
        match capture.next_frame() {
            Ok(None) => return Ok(()),
            Ok(Some(frame)) => each(frame, warn)?,
            Err(CaptureError::Truncated) => {
                warn(format!(
                    "{}: ends in the middle of a frame; replayed up to there",
                    path.display()
                ));
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Adds an organisation for each source address that has none.
fn enrol_sources(
    path: &Path,
    desired: &mut Desired,
    policy: Policy,
    warn: &mut dyn FnMut(String),
) -> Result<(), ReplayError> {
    let realm = desired.interfaces.first().map_or(0, |row| row.realm);
    let mut sources = BTreeSet::new();
    for_each_frame(path, warn, |frame, _| {
        let ethernet = frame::to_ethernet(&frame);
        sources.extend(
            ethernet
                .and_then(|bytes| Headers::read(&bytes))
                .map(|headers| headers.source),
        );
        Ok(())
    })?;
    let enrolled = |address: &IpAddr| {
        let mut all = desired
            .organisations
            .iter()
            .filter(|org| org.realm == realm);
        all.any(|org| org.prefixes.iter().any(|prefix| prefix.contains(address)))
    };
    let new: Vec<IpAddr> = sources
        .into_iter()
        .filter(|address| !enrolled(address))
        .collect();
    let total = desired.organisations.len() + new.len();
    if total > ORGS_MAX as usize {
        return Err(ReplayError::TooManySources(total));
    }
    desired
        .organisations
        .extend(new.into_iter().map(|address| Organisation {
            id: address.to_string(),
            realm,
            prefixes: vec![IpNet::from(address)],
            policy,
            bypass_until_ns: 0,
        }));
    desired
        .organisations
        .sort_by(|one, other| one.id.cmp(&other.id));
    Ok(())
}

/// The name of a DNS query: on the wire a label's length stands where its dot is.
fn dns_name(frame: &[u8], outcome: &Outcome) -> Option<String> {
    let mut at = (outcome.name_at as usize).checked_sub(1)?;
    let end = at + 1 + outcome.name_len as usize;
    if outcome.name_len == 0 {
        return None;
    }
    let mut labels = Vec::new();
    while at < end {
        let len = usize::from(*frame.get(at)?);
        let label = frame.get(at + 1..at + 1 + len)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += 1 + len;
    }
    Some(labels.join("."))
}

/// A replay under way.
struct Replay<'a> {
    generation: &'a Generation,
    copies: &'a mut Copies,
    inspector: Inspector,
    runner: Runner<'a>,
    output: row::Output<'a>,
    /// Capture time (milliseconds) of the last frame of each flow.
    seen: HashMap<headers::Flow, u64>,
    summary: Summary,
}

impl Replay<'_> {
    fn frame(&mut self, frame: &Frame, warn: &mut dyn FnMut(String)) -> Result<(), ReplayError> {
        self.summary.frames += 1;
        let Some(bytes) = frame::to_ethernet(frame).filter(|bytes| bytes.len() >= FRAME_MIN) else {
            return self.skip(frame, "no frame that carries IP", warn);
        };
        let headers = Headers::read(&bytes);
        self.age_flow(headers.as_ref(), frame.milliseconds);
        let Some(pieces) = segment::pieces(bytes, headers.as_ref()) else {
            return self.skip(frame, "too long for a test run", warn);
        };
        let mut meeting: Option<Meeting> = None;
        for piece in pieces {
            let met = self.piece(&piece, headers.as_ref())?;
            // The first piece that is not plainly passed tells the frame's fate.
            if !meeting.as_ref().is_some_and(Meeting::is_decision) {
                meeting = Some(met);
            }
        }
        if let Some(meeting) = meeting {
            self.summary.decisions += u64::from(meeting.is_decision());
            self.output
                .frame(frame.number, headers.as_ref(), &meeting)?;
        }
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8], headers: Option<&Headers>) -> Result<Meeting, ReplayError> {
        self.summary.runs += 1;
        let (run, outcome) = self.runner.frame(bytes, None)?;
        let mut name = self.name(bytes, outcome.name_at, outcome.name_len, outcome.name_row);
        if headers.is_some_and(|headers| headers.protocol == headers::UDP) {
            name = dns_name(bytes, &outcome);
        }
        let mut meeting = Meeting {
            outcome,
            result: run.result,
            reply: run.frame,
            name,
        };
        self.inspect(&mut meeting);
        Ok(meeting)
    }

    /// Reads the copy that the program handed over, if it did: the frame that completes a name carries
    /// the verdict on it, and what its client is told.
    fn inspect(&mut self, meeting: &mut Meeting) {
        let (inspector, tables) = (&mut self.inspector, self.generation.tables());
        self.copies.next(|record| {
            let Some(copy) = Copy::read(record) else {
                return;
            };
            let Some(finding) = inspector.read(&copy, tables, copy.at_ns) else {
                return;
            };
            meeting.outcome.reason = finding.verdict.reason;
            meeting.outcome.category = finding.verdict.category;
            meeting.outcome.entry = finding.verdict.entry;
            if finding.is_answered() {
                let answer = answer::frame(&copy);
                meeting.outcome.action = Action::Answer as u32;
                meeting.result = if answer.is_some() { XDP_TX } else { XDP_DROP };
                meeting.reply = answer.unwrap_or_default();
            }
            meeting.name = finding.name;
        });
    }

    /// The name that the program read: in the frame, or put together from several.
    fn name(&self, bytes: &[u8], at: u32, len: u32, row: u32) -> Option<String> {
        let slice = |bytes: &[u8], at: usize| bytes.get(at..at + len as usize).map(<[u8]>::to_vec);
        let name = match (len, at, row.checked_sub(1)) {
            (0, _, _) => return None,
            (_, 0, Some(row)) => slice(&self.generation.tables().hellos.get(row)?.name, NAME_PAD),
            (_, at, _) => slice(bytes, at as usize),
        }?;
        Some(String::from_utf8_lossy(&name).to_lowercase())
    }

    /// The program's clock is the machine's, not the capture's: a flow that was idle in the capture
    /// for as long as an entry may be idle is told to the program as idle.
    fn age_flow(&mut self, headers: Option<&Headers>, now: u64) {
        let last = headers.and_then(|headers| self.seen.insert(headers.flow(), now));
        let idle = last.is_some_and(|last| now.saturating_sub(last) >= u64::from(IDLE_MS));
        let idle_ms = if idle { 0 } else { IDLE_MS };
        let tables = self.generation.tables();
        let control = tables.control_row();
        if control.idle_ms != idle_ms {
            tables.set_control(Control { idle_ms, ..control });
        }
    }

    fn skip(
        &mut self,
        frame: &Frame,
        why: &str,
        warn: &mut dyn FnMut(String),
    ) -> Result<(), ReplayError> {
        self.summary.skipped += 1;
        warn(format!("frame {}: {why}; skipped", frame.number));
        Ok(())
    }
}
