//! A program that verifies a signature: run without a shell, for a limited time, and heard no longer than needed.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::DELIVER;
use crate::problem::Problem;

/// How long it may take.
pub(super) const TIME: Duration = Duration::from_mins(1);
/// Bytes of its output that are kept, and of its errors as many: 4 KiB together.
const OUTPUT_BYTES: u64 = 2 * 1024;
/// Lines of them that are told.
const LINES_TOLD: usize = 3;
/// Characters of them that are told.
const CHARACTERS_TOLD: usize = 300;
/// How often it is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);
/// How long its output is waited for when it has ended: something it started may still hold it open.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Why a signature is not known to be good.
#[derive(Debug)]
pub(super) enum Fault {
    /// The program cannot be started.
    Start(std::io::Error),
    /// It did not end in time, and was stopped.
    Time(Duration),
    /// It says no; with what it told.
    No(ExitStatus, String),
}

impl Fault {
    pub(super) fn problem(&self, program: &str, file: &Path, signature: &Path) -> Problem {
        let file = file.display();
        match self {
            Fault::Start(error) => {
                let what = format!("cannot be verified: {program} cannot be started: {error}");
                let remedy = format!("install {program}, or correct verify_command");
                Problem::of_file(signature, what, remedy)
            }
            Fault::Time(time) => {
                let seconds = time.as_secs();
                let what = format!(
                    "cannot be verified: {program} had not ended after {seconds} s for {file}"
                );
                let remedy = "correct verify_command: it must wait for nobody";
                Problem::of_file(signature, what, remedy)
            }
            Fault::No(status, told) => {
                let colon = if told.is_empty() { "" } else { ": " };
                let what =
                    format!("is not good for {file}: {program} ended with {status}{colon}{told}");
                Problem::of_file(
                    signature,
                    what,
                    format!("{DELIVER}, or correct verify_command"),
                )
            }
        }
    }
}

/// Runs a program; its exit status 0 means that the signature is good. It has no input, and of the environment
/// PATH alone. Whatever it started is stopped with it where it takes longer than `time`.
pub(super) fn run(
    program: &str,
    arguments: impl Iterator<Item = OsString>,
    directory: &Path,
    time: Duration,
) -> Result<(), Fault> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn().map_err(Fault::Start)?;
    let errors = child.stderr.take().map(first_bytes);
    let output = child.stdout.take().map(first_bytes);
    let status = wait(&mut child, time)?;
    if status.success() {
        return Ok(());
    }
    let heard = |from: Option<Receiver<Vec<u8>>>| {
        let bytes = from.and_then(|from| from.recv_timeout(LAST_OUTPUT).ok());
        told(&bytes.unwrap_or_default())
    };
    let errors = heard(errors);
    let told = if errors.is_empty() {
        heard(output)
    } else {
        errors
    };
    Err(Fault::No(status, told))
}

/// Waits for the end of a program, and brings it about where it does not come in time.
fn wait(child: &mut Child, time: Duration) -> Result<ExitStatus, Fault> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(Fault::Start)? {
            return Ok(status);
        }
        if started.elapsed() >= time {
            stop(child);
            return Err(Fault::Time(time));
        }
        std::thread::sleep(POLL);
    }
}

/// Stops a program that has not ended yet, with its process group.
fn stop(child: &mut Child) {
    if let Ok(group) = libc::pid_t::try_from(child.id()) {
        // SAFETY: kill takes numbers only. The group is the child's own, and has its number: nobody has waited
        // for the child yet, so that the number is nobody else's.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    // It may have ended by itself in between: that is as good.
    let _ = child.kill();
    let _ = child.wait();
}

/// The beginning of what a program writes. The rest is read too, so that the program does not wait for it.
fn first_bytes(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut first = Vec::new();
        let _ = from.by_ref().take(OUTPUT_BYTES).read_to_end(&mut first);
        let _ = std::io::copy(&mut from, &mut std::io::sink());
        // Nobody listens where the program was stopped.
        let _ = sender.send(first);
    });
    receiver
}

/// The first lines of it, as one that a terminal bears.
fn told(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.take(LINES_TOLD).collect();
    let shown = lines.join("; ");
    let shown = shown
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    shown.take(CHARACTERS_TOLD).collect()
}
