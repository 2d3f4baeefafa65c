//! `cargo xtask bench`: prints the benchmark as a table, or as JSON, one object a line.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::process::ExitCode;

use anyhow::{Result, bail};
use filter_user::kernel::Seed;
use schoolgate_tests::bench::daemon::{self, Start};
use schoolgate_tests::bench::fill::{self, Filling};
use schoolgate_tests::bench::paths::{self, Row};
use schoolgate_tests::bench::quic::{self, Verdicts};
use schoolgate_tests::bench::rig::Rig;
use schoolgate_tests::bench::{Load, state};

const ORGS: u32 = 40_000;
const SIZES: [u32; 3] = [0, 100_000, 1_000_000];
/// Names that the daemon holds at most, as promised.
const NAMES_MAX: u32 = 5_000_000;
/// Records of the largest dump that is made: 400 MB.
const RECORDS_MAX: u32 = 1_000_000;

struct Options {
    json: bool,
    /// Only how long the verdicts on QUIC take.
    quic: bool,
    /// Only what the daemon takes.
    daemon: bool,
    rounds: u32,
    sizes: Vec<u32>,
}

fn options() -> Result<Options> {
    let mut options = Options {
        json: false,
        quic: false,
        daemon: false,
        rounds: 25,
        sizes: SIZES.to_vec(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = true,
            "--quic" => options.quic = true,
            "--daemon" => options.daemon = true,
            "--rounds" => options.rounds = arguments.next().unwrap_or_default().parse()?,
            "--entries" => options.sizes = vec![arguments.next().unwrap_or_default().parse()?],
            other => {
                bail!("unknown option {other}: --json, --quic, --daemon, --rounds N, --entries N")
            }
        }
    }
    Ok(options)
}

fn print_row(row: &Row, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(row)?);
        return Ok(());
    }
    let over = if row.over_floor_ns > i64::from(row.budget_ns) {
        "  over budget"
    } else {
        ""
    };
    println!(
        "{:<22} {:<5} {:>6} {:>8} {:>7} {:>10} {:>10} {:>7}{over}",
        row.path,
        row.keys,
        format!("+{}", row.over_floor_ns),
        format!("+{}", row.median_over_floor_ns),
        row.budget_ns,
        row.domains,
        row.addresses,
        row.orgs,
    );
    Ok(())
}

fn print_filling(filling: &Filling, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(filling)?);
        return Ok(());
    }
    println!(
        "{:<10} {:>9} entries in {:>8.1} ms; maps {} MiB, this process {} MiB",
        filling.measure,
        filling.entries,
        filling.milliseconds,
        filling.kernel_mib,
        filling.process_mib
    );
    Ok(())
}

fn print_start(start: &Start, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(start)?);
        return Ok(());
    }
    println!(
        "{:<14} {:>8.0} ms with {} entries and {} organisations; daemon {} MiB, peak with maps {} MiB",
        start.measure,
        start.milliseconds,
        start.entries,
        start.orgs,
        start.daemon_mib,
        start.peak_mib
    );
    if !start.told.is_empty() {
        println!("               {}", start.told);
    }
    Ok(())
}

fn print_verdicts(verdicts: &Verdicts, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(verdicts)?);
        return Ok(());
    }
    println!(
        "{:<14} median {} us, p99 {} us, longest {} us at {} connections/s; {} without a verdict",
        verdicts.measure,
        verdicts.median_us,
        verdicts.p99_us,
        verdicts.longest_us,
        verdicts.connections_per_second,
        verdicts.without
    );
    Ok(())
}

fn run(options: &Options) -> Result<()> {
    if options.quic {
        return print_verdicts(&quic::measure()?, options.json);
    }
    if options.daemon {
        let mut sizes = options.sizes.iter();
        return sizes.try_for_each(|size| run_daemon(*size, options.json));
    }
    let seed = Seed(0x5eed_0123_4567_89ab);
    for size in &options.sizes {
        let load = Load {
            domains: *size,
            addresses: *size,
            orgs: ORGS,
        };
        let desired = state::desired(seed.0, load, 0, 0);
        let rig = Rig::new(&desired, seed)?;
        drop(desired);
        if !options.json {
            println!();
            println!(
                "path                   keys   over   median  budget    domains  addresses    orgs"
            );
        }
        for row in paths::measure_all(&rig, load, options.rounds)? {
            print_row(&row, options.json)?;
        }
        print_filling(&fill::cold(&rig, load), options.json)?;
        print_filling(&fill::gauge(&rig, seed, load)?, options.json)?;
        if *size >= 3000 {
            print_filling(&fill::delta(&rig, seed, load)?, options.json)?;
        }
        drop(rig);
        run_daemon(*size, options.json)?;
    }
    if options.sizes == SIZES {
        run_daemon(NAMES_MAX, options.json)?;
    }
    print_verdicts(&quic::measure()?, options.json)
}

/// What the daemon takes with so many names, and with a dump of so many records.
fn run_daemon(size: u32, json: bool) -> Result<()> {
    let mut starts = daemon::measure(size, ORGS)?;
    if size <= RECORDS_MAX {
        starts.extend(daemon::measure_dump(size, ORGS)?);
    }
    starts.iter().try_for_each(|start| print_start(start, json))
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
