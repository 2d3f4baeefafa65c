//! Programs as children: each in a process group of its own, ended with it on drop.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::wait;

/// A running child with what it has written so far.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
    started: Instant,
}

/// A child that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; none where a signal ended it, or the deadline.
    pub code: Option<i32>,
    /// What it wrote.
    pub stdout: String,
    /// What it wrote.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Process {
    /// Starts the command, its input closed.
    ///
    /// # Errors
    /// The program is missing or cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Process> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let program = command.get_program().to_string_lossy().into_owned();
        let started = Instant::now();
        let spawned = command.process_group(0).spawn();
        let mut child = spawned.with_context(|| format!("starting {program}"))?;
        let stdout = Pipe::drain(child.stdout.take());
        let stderr = Pipe::drain(child.stderr.take());
        Ok(Process {
            child,
            stdout,
            stderr,
            started,
        })
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to its error output so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has been waited for already.
    pub fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        let id = self.child.id().cast_signed();
        // SAFETY: kill takes two numbers; the child has not been waited for while `self` can be
        // borrowed with it running, so the number is not another process's.
        if unsafe { libc::kill(id, signal) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits until it ends by itself, or `limit` has passed and it is killed.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn finish(mut self, limit: Duration) -> anyhow::Result<Finished> {
        let ended = wait::until("the end of a child", limit, || {
            self.child.try_wait().transpose()
        })
        .ok();
        let status: Option<ExitStatus> = ended.transpose()?;
        let took = self.started.elapsed();
        if status.is_none() {
            self.kill_group();
        }
        Ok(Finished {
            code: status.and_then(|s| if s.signal().is_some() { None } else { s.code() }),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            took,
        })
    }

    /// Ends it at once, without a chance to tidy up, and waits until it is gone.
    pub fn kill(mut self) {
        self.kill_group();
    }

    fn kill_group(&mut self) {
        let group = -self.child.id().cast_signed();
        // SAFETY: kill takes two numbers; the group is the child's own, made at its start.
        unsafe { libc::kill(group, libc::SIGKILL) };
        // It has been killed: the wait ends, and its status tells nothing new.
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill_group();
        }
    }
}

/// Runs the command to its end, or to the deadline.
///
/// # Errors
/// The program is missing or cannot be started.
pub fn run(command: Command, limit: Duration) -> anyhow::Result<Finished> {
    Process::start(command)?.finish(limit)
}

/// Output of a child, read by a thread so that the child never waits.
#[derive(Debug, Default)]
struct Pipe {
    text: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Pipe {
    fn drain(source: Option<impl Read + Send + 'static>) -> Pipe {
        let text = Arc::default();
        let writing = Arc::clone(&text);
        let thread = source.map(|source| thread::spawn(move || drain(source, &writing)));
        Pipe { text, thread }
    }

    fn text(&self) -> String {
        let bytes = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text once the pipe is closed. A grandchild may hold it open: it is given a moment.
    fn finish(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            let ended = || thread.is_finished();
            let _ = wait::until_true("the end of output", Duration::from_secs(2), ended);
        }
        self.text()
    }
}

fn drain(mut source: impl Read, text: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = source.read(&mut buffer) {
        let read = buffer.get(..length).unwrap_or_default();
        text.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(read);
    }
}
