//! `schoolgate replay`: a capture through the real program, against a configuration or a plain list.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use filter_common::abi::{POLICY_DNS_NXDOMAIN, POLICY_QUIC_INSPECT, Policy};
use filter_common::reason::Reason;
use filter_common::verdict::Action;

use super::{Context, Exit, Failure, check};
use crate::config::Interface;
use crate::desired::InterfaceRow;
use crate::entries::Book;
use crate::kernel::Seed;
use crate::load::{Everything, block_list, offline};
use crate::policy::policy;
use crate::registry::progress::Progress;
use crate::replay::{Names, Options, ReplayError, run as replay};

/// What is replayed against what.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Capture (pcap or pcapng)
    file: PathBuf,
    /// Configuration to judge by
    #[arg(short, long, value_name = "FILE", required_unless_present = "block")]
    config: Option<PathBuf>,
    /// Plain list of names, *.suffixes, addresses and prefixes to block, as the unified registry
    #[arg(long, value_name = "LIST", conflicts_with = "config")]
    block: Option<PathBuf>,
    /// Enrol each source address of the capture (for tests on foreign captures only)
    #[arg(long)]
    enrol_all_sources: bool,
    /// Profile of the sources enrolled so (default: the first one of the configuration)
    #[arg(long, value_name = "ID", requires = "config")]
    profile: Option<String>,
    /// Realm that all frames come from (default: as the first interface on the organisations' side)
    #[arg(long, value_name = "NAME", requires = "config")]
    realm: Option<String>,
    /// Print frames without a decision, too
    #[arg(long)]
    all: bool,
}

#[expect(
    clippy::print_stderr,
    reason = "what is left out is told on standard error, frames on standard output"
)]
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let progress = Progress::of_stderr();
    let everything = match (&args.config, &args.block) {
        (Some(file), _) => offline(file, progress)?,
        (None, Some(list)) => block_list(list, progress)?,
        (None, None) => {
            return Err(Failure::new(
                Exit::Usage,
                "name a configuration (-c) or a list (--block)",
            ));
        }
    };
    if args.block.is_some() {
        check::notes(
            &mut std::io::stderr(),
            &everything.summaries,
            &everything.notes,
        )?;
    }
    let options = Options {
        file: args.file.clone(),
        desired: everything.compiled.desired.clone(),
        seed: Seed(everything.seed),
        interface: interface(args, &everything)?,
        enrol_all_sources: args.enrol_all_sources,
        source_policy: source_policy(args, &everything)?,
        all: args.all,
        json: context.json,
        flows: everything.config.daemon.sizes,
    };
    let names = EntryNames::new(&everything);
    let mut warn = |message: String| eprintln!("schoolgate: {message}");
    match replay(options, &names, context.out, &mut warn) {
        Ok(_) => Ok(Exit::Fine),
        Err(ReplayError::Output(error)) => Err(error.into()),
        Err(error) => Err(Failure::new(Exit::Problem, error.to_string())),
    }
}

/// Where the frames come from.
fn interface(args: &Args, everything: &Everything) -> Result<Option<InterfaceRow>, Failure> {
    let realm_number = |name: &str| everything.numbers.realm(name).unwrap_or(0);
    let first = everything
        .config
        .interfaces
        .iter()
        .find(|interface| interface.organisations);
    let Some(realm) = &args.realm else {
        return Ok(first.map(|interface| row(interface, &realm_number)));
    };
    let Some(number) = everything.numbers.realm(realm) else {
        let known = everything.config.realms().join(", ");
        return Err(Failure::new(
            Exit::Usage,
            format!("unknown realm {realm}: known: {known}"),
        ));
    };
    let carrier = first.map(|interface| row(interface, &realm_number));
    let mpls_reply = carrier.map(|row| row.mpls_reply).unwrap_or_default();
    let (name, vlan_realms) = (String::new(), Vec::new());
    Ok(Some(InterfaceRow {
        name,
        ifindex: 0,
        organisations: true,
        realm: number,
        vlan_realms,
        mpls_reply,
    }))
}

fn row(interface: &Interface, realm: &dyn Fn(&str) -> u16) -> InterfaceRow {
    InterfaceRow {
        name: interface.name.clone(),
        ifindex: 0,
        organisations: true,
        realm: realm(&interface.realm),
        vlan_realms: interface
            .vlans
            .iter()
            .map(|(vlan, name)| (*vlan, realm(name)))
            .collect(),
        mpls_reply: interface.mpls_reply,
    }
}

/// The policy of sources that are enrolled for the replay: that of a profile, or, with a list only,
/// one that knows nothing but the list.
fn source_policy(args: &Args, everything: &Everything) -> Result<Policy, Failure> {
    let profiles = &everything.config.profiles;
    let profile = match &args.profile {
        Some(id) => {
            let found = profiles.iter().find(|profile| profile.id == *id);
            Some(found.ok_or_else(|| Failure::new(Exit::Usage, format!("unknown profile {id}")))?)
        }
        None => profiles.first(),
    };
    let bare = Policy {
        action: Action::Reset as u32,
        flags: POLICY_DNS_NXDOMAIN | POLICY_QUIC_INSPECT,
        ..Policy::default()
    };
    Ok(profile.map_or(bare, |profile| {
        policy(&everything.config, &everything.numbers, profile)
    }))
}

/// Categories and entries by their words.
struct EntryNames<'a> {
    book: Book<'a>,
    /// Under which every registry forbids, so that of several the strictest is named.
    strict: Policy,
    known: RefCell<HashMap<u32, Option<String>>>,
}

impl<'a> EntryNames<'a> {
    fn new(everything: &'a Everything) -> Self {
        let all = u64::MAX;
        let strict = Policy {
            mandatory: all,
            local_deny: all,
            block: all,
            suspicious: all,
            ..Policy::default()
        };
        EntryNames {
            book: everything.book(),
            strict,
            known: RefCell::default(),
        }
    }
}

impl Names for EntryNames<'_> {
    fn category(&self, _reason: Reason, category: u32) -> Option<String> {
        self.book
            .config
            .categories
            .label(category)
            .map(str::to_owned)
    }

    fn entry(&self, entry: u32) -> Option<String> {
        let find = || {
            let origin = self.book.winner(entry, &self.strict, None, None)?;
            let text = origin
                .text
                .map(|text| format!(" {text}"))
                .unwrap_or_default();
            Some(format!("{}:{}{text}", origin.list, origin.line))
        };
        self.known
            .borrow_mut()
            .entry(entry)
            .or_insert_with(find)
            .clone()
    }
}
