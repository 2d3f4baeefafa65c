//! A child's output line by line, with a deadline that a hanging child cannot outlive.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::shell::line;

/// How the child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// With exit status 0.
    Succeeded,
    /// With another status, or by a signal.
    Failed,
    /// It was ended because `Flow::Stop` was returned.
    Stopped,
    /// It was ended at its deadline.
    TimedOut,
}

/// What the reader of a line wants next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next line.
    Continue,
    /// The child's end.
    Stop,
}

/// How often a silent child is looked after.
const TICK: Duration = Duration::from_millis(200);
/// How long output is awaited from what a child that ended has left running.
const LINGER: Duration = Duration::from_secs(2);

/// Runs the command and hands each line of its output, standard error included, to `on_line`; every
/// `TICK` of silence it is asked with `None`.
///
/// # Errors
///
/// When the command cannot be started.
pub(crate) fn stream(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(Option<&str>) -> Flow,
) -> Result<End> {
    let deadline = Instant::now() + limit;
    let (mut child, lines) = spawn(command)?;
    let mut ended_at = None;
    let verdict = loop {
        let flow = match lines.recv_timeout(TICK) {
            Ok(line) => on_line(Some(&line)),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {
                if ended_at.is_none() && child.try_wait()?.is_some() {
                    ended_at = Some(Instant::now());
                }
                on_line(None)
            }
        };
        if ended_at.is_some_and(|at| at.elapsed() > LINGER) {
            break None;
        }
        if flow == Flow::Stop {
            break Some(End::Stopped);
        }
        if Instant::now() > deadline {
            break Some(End::TimedOut);
        }
    };
    if verdict.is_some() {
        // It may have ended by itself in the meantime.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(verdict.unwrap_or(if status.success() {
        End::Succeeded
    } else {
        End::Failed
    }))
}

fn spawn(command: &mut Command) -> Result<(Child, mpsc::Receiver<String>)> {
    let (reader, writer) = std::io::pipe()?;
    let child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    // The command still holds the pipe's writing ends, which would keep the reader from its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while reader
            .read_until(b'\n', &mut bytes)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&bytes);
            if sender
                .send(text.trim_end_matches(['\n', '\r']).to_owned())
                .is_err()
            {
                break;
            }
            bytes.clear();
        }
    });
    Ok((child, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_outputs_arrive() {
        let mut seen = Vec::new();
        let end = stream(
            &mut shell("echo a; echo b >&2; exit 3"),
            Duration::from_secs(9),
            |line| {
                seen.extend(line.map(str::to_owned));
                Flow::Continue
            },
        );
        assert_eq!(end.unwrap(), End::Failed);
        assert_eq!(seen, ["a", "b"]);
    }

    #[test]
    fn a_hanging_child_ends_at_its_deadline() {
        let limit = Duration::from_millis(300);
        let end = stream(&mut shell("exec sleep 60"), limit, |_| Flow::Continue);
        assert_eq!(end.unwrap(), End::TimedOut);
    }

    #[test]
    fn what_a_child_leaves_running_does_not_hold_us() {
        let begun = Instant::now();
        let limit = Duration::from_secs(30);
        let end = stream(&mut shell("sleep 20 & echo x"), limit, |_| Flow::Continue);
        assert_eq!(end.unwrap(), End::Succeeded);
        assert!(begun.elapsed() < Duration::from_secs(15));
    }
}
