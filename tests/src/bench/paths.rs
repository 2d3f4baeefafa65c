//! The paths of the budget table: a frame for each, the state in front of it, and what is put back
//! and drawn before each iteration.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use filter_common::abi::FlowSet;
use filter_common::reason::Reason;
use filter_user::kernel::run::{Runner, run};
use serde::Serialize;

use super::Load;
use super::rig::{Plan, Rig, words};
use super::state::{BLOCKED, LISTED, device};
use crate::dns::{Query, kind, resolver};
use crate::frames::{ACK, Path};
use crate::hello::{Hello, LAST};

/// A measured path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the path, as in the budget table.
    pub path: &'static str,
    /// `hot` or `cold`.
    pub keys: &'static str,
    /// Least of the rounds, over the empty program, in nanoseconds.
    pub over_floor_ns: i64,
    /// Median of the rounds likewise.
    pub median_over_floor_ns: i64,
    /// The empty program alone.
    pub floor_ns: u32,
    /// Names on the lists.
    pub domains: u32,
    /// Addresses on the lists.
    pub addresses: u32,
    /// Enrolled organisations.
    pub orgs: u32,
    /// The budget, for the largest load.
    pub budget_ns: u32,
}

/// A path to be measured.
struct Case {
    path: &'static str,
    keys: &'static str,
    budget: u32,
    frame: Vec<u8>,
    /// Nothing: the filter runs alone.
    plan: Option<Plan>,
    /// The path changes nothing: the plan is carried out once before each round, not before each
    /// iteration.
    once: bool,
    /// What one run must give; 0: untouched.
    reason: u32,
    filter: Vec<u32>,
    floor: Vec<u32>,
}

const SOURCE_AT: u32 = 14 + 12;
const DESTINATION_AT: u32 = 14 + 16;
const PORTS_AT: u32 = 14 + 20;
const PAYLOAD_AT: u32 = 14 + 40;
const FIRST: u32 = 1_000_000;
/// First segment of a post-quantum hello: what fits into 1,500 bytes with time stamps.
const SEGMENT: usize = 1448;
/// Offset of an early name in the payload of `Hello::named`.
const ALLOWED: &str = "aaaaaaaa.fine.example";

fn path(port: u16) -> Path {
    Path {
        source: device(),
        sport: port,
        ..Path::default()
    }
}

fn name_at(frame: &[u8], name: &str) -> Result<u32> {
    let at = frame
        .windows(name.len())
        .position(|window| window == name.as_bytes());
    Ok(u32::try_from(at.context("the name is not in the frame")?)?)
}

/// Runs `frames`, then gives the state that the last left.
fn state_after(rig: &Rig, frames: &[Vec<u8>]) -> Result<(Plan, u32)> {
    for word in rig.tables.flows.words() {
        word.store(0, std::sync::atomic::Ordering::Relaxed);
    }
    for row in 0..rig.tables.hellos.rows() {
        if let Some(stamp) = rig
            .tables
            .hellos
            .row_words(row)
            .and_then(|words| words.get(2))
        {
            stamp.store(0, std::sync::atomic::Ordering::Relaxed);
        }
    }
    for frame in frames {
        run(rig.filter.fd(), frame, None, 1)?;
    }
    let mut plan = Plan::IDLE;
    let mut found = 0;
    for set in 0..rig.tables.flows.rows() {
        let state = words::<{ size_of::<FlowSet>() / 8 }, _>(&rig.tables.flows, set);
        if state.iter().any(|word| *word != 0) {
            plan = plan.flow(set, state);
            found = set;
        }
    }
    for row in 0..rig.tables.hellos.rows() {
        let state = words::<8, _>(&rig.tables.hellos, row);
        if state.get(2).is_some_and(|stamp| *stamp != 0) {
            plan = plan.hello(row, state);
        }
    }
    Ok((plan, found))
}

fn case(
    path: &'static str,
    keys: &'static str,
    budget: u32,
    frame: Vec<u8>,
    plan: Option<Plan>,
    reason: Option<Reason>,
) -> Case {
    let reason = reason.map_or(0, Reason::number);
    Case {
        path,
        keys,
        budget,
        frame,
        plan,
        once: false,
        reason,
        filter: Vec::new(),
        floor: Vec::new(),
    }
}

/// Frames of nobody and of judged flows.
fn plain_cases(rig: &Rig) -> Result<Vec<Case>> {
    let foreign = Path {
        source: "203.0.113.9".parse()?,
        ..path(5000)
    };
    let foreign = foreign.data(FIRST, &[0x17; 1000]);
    let device_path = path(5001);
    let hello = Hello::named(ALLOWED).bytes();
    let data = device_path.data(FIRST + 5000, &[0x97; 1000]);
    let start = [
        device_path.syn(FIRST),
        device_path.data(FIRST, &hello),
        data.clone(),
    ];
    let (judged, _) = state_after(rig, &start)?;
    let ack = device_path.tcp(FIRST + 5000, ACK, &[]);
    // Any source but 100.64.0.0/10, any destination.
    let random_source = Plan::IDLE.number(SOURCE_AT, 0xc000_0000, 0x8000_0000);
    let random_destination = Plan::IDLE.number(DESTINATION_AT, 0, 0);
    Ok(vec![
        case("not_enrolled", "hot", 7, foreign.clone(), None, None),
        case(
            "not_enrolled_random",
            "cold",
            50,
            foreign,
            Some(random_source),
            None,
        ),
        case(
            "enrolled_ack",
            "hot",
            15,
            ack,
            None,
            Some(Reason::PassNoPayload),
        ),
        Case {
            once: true,
            ..case(
                "enrolled_data",
                "hot",
                30,
                data.clone(),
                Some(judged),
                Some(Reason::PassData),
            )
        },
        case(
            "enrolled_data_random",
            "cold",
            80,
            data,
            Some(random_destination),
            Some(Reason::PassNoFlow),
        ),
    ])
}

/// Frames whose destination lies in a /20 with listed addresses.
fn listed_cases() -> Vec<Case> {
    let listed = Path {
        destination: Ipv4Addr::from(LISTED | 2).into(),
        ..path(5001)
    };
    let listed_ack = listed.tcp(FIRST + 5000, ACK, &[]);
    let listed_random = Plan::IDLE.number(DESTINATION_AT, 0xff00_0001, LISTED);
    vec![
        case(
            "enrolled_ack_listed",
            "hot",
            15,
            listed_ack,
            None,
            Some(Reason::PassNoPayload),
        ),
        case(
            "enrolled_data_listed",
            "cold",
            80,
            listed.data(FIRST + 5000, &[0x17; 1000]),
            Some(listed_random),
            Some(Reason::PassNoFlow),
        ),
    ]
}

fn syn_cases(rig: &Rig) -> Result<Vec<Case>> {
    let device_path = path(5002);
    let syn = device_path.syn(FIRST);
    let (_, set) = state_after(rig, std::slice::from_ref(&syn))?;
    let empty = Plan::IDLE.flow(set, [0; size_of::<FlowSet>() / 8]);
    // The source port is drawn: flows in sets at random.
    let random = Plan::IDLE.number(PORTS_AT, 0x0000_ffff, 443);
    Ok(vec![
        case(
            "syn",
            "hot",
            60,
            syn.clone(),
            Some(empty),
            Some(Reason::PassSyn),
        ),
        case("syn", "cold", 60, syn, Some(random), Some(Reason::PassSyn)),
    ])
}

/// A frame with a `name`: always the same one, whose keys the caches hold, and one whose letters change
/// with each run.
fn hot_and_cold(
    path: &'static str,
    budget: u32,
    frame: Vec<u8>,
    plan: Plan,
    name: &str,
    reason: Reason,
) -> Result<[Case; 2]> {
    let cold = plan.letters(name_at(&frame, name)?);
    Ok([
        case(path, "hot", budget, frame.clone(), Some(plan), Some(reason)),
        case(path, "cold", budget, frame, Some(cold), Some(reason)),
    ])
}

fn hello_cases(rig: &Rig) -> Result<Vec<Case>> {
    let device_path = path(5003);
    let blocked = format!("aaaaaaaa.{BLOCKED}");
    let mut cases = Vec::new();
    for (path, name, budget, reason) in [
        ("hello_allowed", ALLOWED, 100, Reason::PassHelloName),
        (
            "hello_blocked",
            blocked.as_str(),
            130,
            Reason::BlockNsorName,
        ),
    ] {
        let frame = device_path.data(FIRST, &Hello::named(name).bytes());
        let (plan, _) = state_after(rig, &[device_path.syn(FIRST)])?;
        cases.extend(hot_and_cold(path, budget, frame, plan, name, reason)?);
    }
    Ok(cases)
}

fn post_quantum_cases(rig: &Rig) -> Result<Vec<Case>> {
    let device_path = path(5004);
    let hello = Hello {
        post_quantum: true,
        position: LAST,
        ..Hello::named(ALLOWED)
    }
    .bytes();
    let (first, second) = hello
        .split_at_checked(SEGMENT)
        .context("the hello is too short")?;
    let first = device_path.data(FIRST, first);
    let second = device_path.data(FIRST + u32::try_from(SEGMENT)?, second);
    let (before, _) = state_after(rig, &[device_path.syn(FIRST)])?;
    let (between, _) = state_after(rig, &[device_path.syn(FIRST), first.clone()])?;
    // The row that the first segment takes is put back to "free" before each iteration.
    let row = (0..rig.tables.hellos.rows())
        .find(|row| {
            words::<8, _>(&rig.tables.hellos, *row)
                .get(2)
                .is_some_and(|word| *word != 0)
        })
        .context("the first segment took no row")?;
    let before = before.hello(row, [0; 8]);
    let cold = between.letters(name_at(&second, ALLOWED)?);
    Ok(vec![
        case(
            "pq_first",
            "hot",
            300,
            first,
            Some(before),
            Some(Reason::PassHelloPart),
        ),
        case(
            "pq_second",
            "hot",
            300,
            second.clone(),
            Some(between),
            Some(Reason::PassHelloName),
        ),
        case(
            "pq_second",
            "cold",
            300,
            second,
            Some(cold),
            Some(Reason::PassHelloName),
        ),
    ])
}

/// Queries of a stub resolver with EDNS; the answer is an address.
fn dns_cases() -> Vec<Case> {
    let path = resolver(path(5005));
    let blocked = format!("aaaaaaaa.{BLOCKED}");
    let frame = |name: &str| path.udp(&Query::of(name, kind::A).with_edns(&[]).bytes());
    let (allowed, answered) = (frame(ALLOWED), frame(&blocked));
    vec![
        case(
            "dns_allowed",
            "hot",
            90,
            allowed,
            None,
            Some(Reason::PassDnsName),
        ),
        case(
            "dns_answered",
            "hot",
            250,
            answered.clone(),
            Some(Plan::IDLE.frame(&answered)),
            Some(Reason::BlockNsorName),
        ),
    ]
}

/// Requests as curl sends them; the forbidden one is turned into a redirect.
fn http_cases(rig: &Rig) -> Result<Vec<Case>> {
    let device_path = Path {
        dport: 80,
        ..path(5006)
    };
    let blocked = format!("aaaaaaaa.{BLOCKED}");
    let (plan, _) = state_after(rig, &[device_path.syn(FIRST)])?;
    let mut cases = Vec::new();
    for (path, name, budget, reason) in [
        ("http_allowed", ALLOWED, 150, Reason::PassRequestName),
        ("http_redirected", &blocked, 400, Reason::BlockNsorName),
    ] {
        let mut request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nUser-Agent: curl/8");
        // Whole words of the frame are put back.
        while !(device_path.data(FIRST, request.as_bytes()).len() + 17).is_multiple_of(8) {
            request.push('1');
        }
        request.push_str("\r\nAccept: */*\r\n\r\n");
        let frame = device_path.data(FIRST, request.as_bytes());
        let plan = if reason == Reason::BlockNsorName {
            plan.frame(&frame)
        } else {
            plan
        };
        cases.extend(hot_and_cold(path, budget, frame, plan, name, reason)?);
    }
    Ok(cases)
}

/// One measurement of `program` behind the plan, or alone.
fn measure(rig: &Rig, case: &Case, filter: bool, repeat: u32) -> Result<u32> {
    let program = if filter { &rig.filter } else { &rig.floor };
    if let Some(plan) = case.plan.filter(|_| case.once) {
        rig.prepare(plan, &rig.floor)?;
        run(rig.preparing()?, &case.frame, None, 1)?;
    }
    let run = match case.plan.filter(|_| !case.once) {
        None => run(program.fd(), &case.frame, None, repeat)?,
        Some(plan) => {
            rig.prepare(plan, program)?;
            run(rig.preparing()?, &case.frame, None, repeat)?
        }
    };
    Ok(run.nanoseconds)
}

/// Checks that the path is what its name says.
fn verify(rig: &Rig, runner: &mut Runner<'_>, case: &Case) -> Result<()> {
    let mut frame = case.frame.clone();
    if let Some(plan) = case.plan {
        rig.prepare(plan, &rig.floor)?;
        frame = run(rig.preparing()?, &frame, None, 1)?.frame;
    }
    let (_, outcome) = runner.frame(&frame, None)?;
    if outcome.reason != case.reason {
        let label = |number| Reason::from_number(number).map_or("untouched", Reason::label);
        bail!(
            "{}: {} instead of {}",
            case.path,
            label(outcome.reason),
            label(case.reason)
        );
    }
    Ok(())
}

/// Measures all paths over `rounds` rounds.
///
/// # Errors
/// If a run fails, or a path does not do what its name says.
pub fn measure_all(rig: &Rig, load: Load, rounds: u32) -> Result<Vec<Row>> {
    let mut cases = plain_cases(rig)?;
    cases.extend(listed_cases());
    cases.extend(syn_cases(rig)?);
    cases.extend(hello_cases(rig)?);
    cases.extend(post_quantum_cases(rig)?);
    cases.extend(dns_cases());
    cases.extend(http_cases(rig)?);
    let mut runner = Runner::new(rig.filter.fd(), &rig.maps)?;
    for case in &cases {
        verify(rig, &mut runner, case)?;
    }
    let mut floors = Vec::new();
    for _ in 0..rounds {
        for case in &mut cases {
            let repeat = 20_000;
            case.floor.push(measure(rig, case, false, repeat)?);
            case.filter.push(measure(rig, case, true, repeat)?);
        }
        let frame = [0u8; 60];
        floors.push(run(rig.floor.fd(), &frame, None, 100_000)?.nanoseconds);
    }
    let floor_ns = floors.into_iter().min().unwrap_or(0);
    Ok(cases
        .into_iter()
        .map(|case| row(case, load, floor_ns))
        .collect())
}

fn row(mut case: Case, load: Load, floor_ns: u32) -> Row {
    case.filter.sort_unstable();
    case.floor.sort_unstable();
    let at = |sorted: &[u32], place: usize| i64::from(sorted.get(place).copied().unwrap_or(0));
    let middle = case.filter.len() / 2;
    Row {
        path: case.path,
        keys: case.keys,
        over_floor_ns: at(&case.filter, 0) - at(&case.floor, 0),
        median_over_floor_ns: at(&case.filter, middle) - at(&case.floor, middle),
        floor_ns,
        domains: load.domains,
        addresses: load.addresses,
        orgs: load.orgs,
        budget_ns: case.budget,
    }
}

const _: () = assert!(PAYLOAD_AT == 54);
