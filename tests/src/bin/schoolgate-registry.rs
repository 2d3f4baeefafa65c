//! Writes synthetic unified registries and deltas, and measures how long they take from their files to
//! the state that the maps are to be in.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use filter_user::bypass::Bypasses;
use filter_user::load::{Before, Everything};
use filter_user::problem::Problem;
use filter_user::registry::progress::Progress;
use schoolgate_tests::register::{Delta, Register};

const USAGE: &str = "usage: schoolgate-registry write DIRECTORY [--records N] [--seed N] [--zip]\n\
                     \x20      schoolgate-registry measure DIRECTORY [--delta N] [--host]\n\
                     write: dump.xml, and with --zip dump.zip; measure: reads it, then five deltas of N records";
/// Deltas that are measured.
const DELTAS: u32 = 5;
const SEED: u64 = 1;

struct Options {
    directory: PathBuf,
    records: u32,
    seed: u64,
    delta: u32,
    zip: bool,
    host: bool,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        directory: arguments.next().context(USAGE)?.into(),
        records: 1_000_000,
        seed: 1,
        delta: 3_000,
        zip: false,
        host: false,
    };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            arguments
                .next()
                .context(USAGE)?
                .parse::<u32>()
                .context(USAGE)
        };
        match argument.as_str() {
            "--records" => options.records = number()?,
            "--seed" => options.seed = u64::from(number()?),
            "--delta" => options.delta = number()?,
            "--zip" => options.zip = true,
            "--host" => options.host = true,
            _ => bail!(USAGE),
        }
    }
    Ok(options)
}

fn write(options: &Options) -> Result<()> {
    let register = Register {
        records: options.records,
        seed: options.seed,
    };
    std::fs::create_dir_all(options.directory.join("deltas"))?;
    let path = options.directory.join("dump.xml");
    register.write(BufWriter::with_capacity(1 << 20, File::create(&path)?))?;
    println!("{}: {} bytes", path.display(), path.metadata()?.len());
    std::fs::write(
        options.directory.join("records"),
        options.records.to_string(),
    )?;
    if options.zip {
        let path = options.directory.join("dump.zip");
        let mut archive = zip::ZipWriter::new(File::create(&path)?);
        archive.start_file("dump.xml", zip::write::SimpleFileOptions::default())?;
        register.write(BufWriter::with_capacity(1 << 20, &mut archive))?;
        archive.finish()?;
        println!("{}: {} bytes", path.display(), path.metadata()?.len());
    }
    Ok(())
}

fn read(config: &Path, before: Option<&Everything>) -> Result<Everything> {
    let state = before.map(Everything::state).unwrap_or_default();
    let before = Before {
        state: &state,
        everything: before,
        bypasses: &Bypasses::default(),
    };
    let read = Everything::read(config, SEED, before, Progress::Quiet, |_, _| Ok(Vec::new()));
    read.map_err(|problems: Vec<Problem>| {
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        anyhow::anyhow!(lines.join("\n"))
    })
}

fn measure(options: &Options) -> Result<()> {
    let directory = &options.directory;
    let deltas = directory.join("deltas");
    for entry in std::fs::read_dir(&deltas)? {
        std::fs::remove_file(entry?.path())?;
    }
    let records = std::fs::read_to_string(directory.join("records"))?;
    let register = Register {
        records: records.trim().parse()?,
        seed: options.seed,
    };
    let file = if options.zip { "dump.zip" } else { "dump.xml" };
    let https = if options.host { "host" } else { "skip" };
    let config = directory.join("schoolgate.toml");
    let text = format!(
        "[[registries]]\nid = \"unified\"\ntier = \"unified\"\nformat = \"dump\"\npath = \"{file}\"\n\
         deltas = \"deltas\"\nhttps_urls = \"{https}\"\n"
    );
    std::fs::write(&config, text)?;
    let started = Instant::now();
    let mut everything = read(&config, None)?;
    tell("whole", started, &everything);
    for minute in 1..=DELTAS {
        let out = File::create(deltas.join(format!("{minute:02}.xml")))?;
        let delta = Delta {
            minute,
            records: options.delta,
        };
        register.write_delta(delta, BufWriter::new(out))?;
        let started = Instant::now();
        let next = read(&config, Some(&everything))?;
        tell("delta", started, &next);
        everything = next;
    }
    Ok(())
}

fn tell(what: &str, started: Instant, everything: &Everything) {
    let milliseconds = started.elapsed().as_millis();
    let kept: u64 = everything.summaries.iter().map(|it| it.counts.kept).sum();
    let subjects = everything.compiled.desired.subjects.len();
    println!("{what}: {milliseconds} ms, {kept} entries, {subjects} subjects");
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("write") => write(&options(arguments)?),
        Some("measure") => measure(&options(arguments)?),
        _ => bail!(USAGE),
    }
}

#[expect(clippy::print_stderr, reason = "printing is what it is for")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
