//! The real daemon, in a directory of its own.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::namespace::Namespace;
use super::process::{self, Finished, Process};
use super::{TempDir, root_or_skip, skip, unique};

/// Longest wait for a start, a stop and a command.
const LIMIT: Duration = Duration::from_secs(60);
/// Name of the configuration file in a site's directory.
pub const CONFIG: &str = "schoolgate.toml";

/// The daemon's program where a test of it can run: as root, and built. Otherwise says why not in
/// the line that CI looks for.
#[must_use]
pub fn program_or_skip(test: &str) -> Option<PathBuf> {
    if !root_or_skip(test) {
        return None;
    }
    let program = program();
    if program.is_none() {
        skip(
            test,
            "no schoolgate program: set SCHOOLGATE_BIN or run `cargo xtask build`",
        );
    }
    program
}

/// The daemon's program: `SCHOOLGATE_BIN`, or the release build beside this program.
#[must_use]
pub fn program() -> Option<PathBuf> {
    named_by("SCHOOLGATE_BIN").or_else(|| built("release/schoolgate"))
}

/// The daemon's program with the next map layout, of the upgrade tests: `SCHOOLGATE_BIN_ABI_NEXT`,
/// or what `cargo xtask build --abi-next` leaves for it.
#[must_use]
pub fn program_abi_next() -> Option<PathBuf> {
    named_by("SCHOOLGATE_BIN_ABI_NEXT").or_else(|| built("abi-next/schoolgate"))
}

/// The daemon's program with the same map layout and another program tag, of the upgrade tests:
/// `SCHOOLGATE_BIN_TAG_NEXT`, or what `cargo xtask build --tag-next` leaves for it.
#[must_use]
pub fn program_tag_next() -> Option<PathBuf> {
    named_by("SCHOOLGATE_BIN_TAG_NEXT").or_else(|| built("tag-next/schoolgate"))
}

fn named_by(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    path.is_file().then_some(path)
}

/// What stands there below `target`.
pub(crate) fn built(below_target: &str) -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let candidates = this
        .ancestors()
        .map(|directory| directory.join(below_target));
    candidates.into_iter().find(|path| path.is_file())
}

/// A directory with a configuration, registries, and what the daemon keeps: outlives daemons. On
/// drop the pins are given up, and with them the attachment.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    program: PathBuf,
}

impl Site {
    /// An empty site.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(program: &Path) -> anyhow::Result<Site> {
        Ok(Site {
            directory: TempDir::new()?,
            program: program.to_path_buf(),
        })
    }

    /// Where a file of the site is.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Writes a file of the site at one stroke, as an operator's tools would.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let (new, path) = (self.path(&format!("{file}.new")), self.path(file));
        std::fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
        std::fs::rename(&new, &path).with_context(|| format!("renaming to {}", path.display()))
    }

    /// The `[daemon]` settings that keep everything inside the site's directory.
    #[must_use]
    pub fn settings(&self) -> String {
        "runtime_dir = \"run\"\nstate_dir = \"state\"\n".to_owned()
    }

    /// Directory of the daemon's pins.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.path("run/bpf")
    }

    /// Starts the daemon in `edge`, and waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends, or does not become ready in time; the message holds what it said.
    pub fn start(&self, edge: &Namespace) -> anyhow::Result<Daemon> {
        self.start_program(edge, &self.program)
    }

    /// The same with another program.
    ///
    /// # Errors
    /// See [`Site::start`].
    pub fn start_program(&self, edge: &Namespace, program: &Path) -> anyhow::Result<Daemon> {
        let mut daemon = self.launch(edge, program)?;
        daemon.wait_for("READY=1")?;
        Ok(daemon)
    }

    /// Starts the daemon in `edge` without waiting for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_only(&self, edge: &Namespace) -> anyhow::Result<Daemon> {
        self.launch(edge, &self.program)
    }

    fn launch(&self, edge: &Namespace, program: &Path) -> anyhow::Result<Daemon> {
        let path = self.path(&format!("notify-{}", unique()));
        let notify = UnixDatagram::bind(&path).context("binding the notify socket")?;
        notify.set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut command = edge.command(program);
        command
            .arg("run")
            .arg("-c")
            .arg(self.path(CONFIG))
            .env("NOTIFY_SOCKET", &path);
        let process = Process::start(command)?;
        Ok(Daemon {
            process,
            told: listen(notify),
        })
    }

    /// Runs a command of the program: `schoolgate ARGUMENTS -c CONFIG`.
    ///
    /// # Errors
    /// It cannot be started. What it answers is no error.
    pub fn ask(&self, edge: &Namespace, arguments: &[&str]) -> anyhow::Result<Finished> {
        let mut command = edge.command(&self.program);
        command.args(arguments).arg("-c").arg(self.path(CONFIG));
        process::run(command, LIMIT)
    }

    /// Asks the daemon itself, by its control socket and without the configuration.
    ///
    /// # Errors
    /// See [`Site::ask`].
    pub fn ask_daemon(&self, edge: &Namespace, arguments: &[&str]) -> anyhow::Result<Finished> {
        let mut command = edge.command(&self.program);
        command
            .args(arguments)
            .arg("--socket")
            .arg(self.path("run/control.sock"));
        process::run(command, LIMIT)
    }

    /// Runs a command that answers in JSON.
    ///
    /// # Errors
    /// It fails, or answers something else.
    pub fn ask_json(
        &self,
        edge: &Namespace,
        arguments: &[&str],
    ) -> anyhow::Result<serde_json::Value> {
        let answer = self.ask(edge, &[arguments, &["--json"]].concat())?;
        if answer.code != Some(0) {
            bail!("`schoolgate {}`: {answer:?}", arguments.join(" "));
        }
        serde_json::from_str(&answer.stdout)
            .with_context(|| format!("`schoolgate {}`: {}", arguments.join(" "), answer.stdout))
    }
}

/// Packets of an organisation by reason, as `schoolgate stats` tells them.
pub type Counts = BTreeMap<String, u64>;

impl Site {
    /// What is counted for an organisation so far.
    ///
    /// # Errors
    /// The command fails, or its answer holds no such organisation.
    pub fn counts(&self, edge: &Namespace, organisation: &str) -> anyhow::Result<Counts> {
        let stats = self.ask_json(edge, &["stats"])?;
        let all = stats.get("organisations").and_then(|all| all.as_array());
        let mut found = all
            .into_iter()
            .flatten()
            .filter(|one| one.get("org").and_then(|id| id.as_str()) == Some(organisation));
        let reasons = found.next().and_then(|one| one.get("reasons")).cloned();
        let reasons = reasons.with_context(|| format!("no {organisation} in {stats}"))?;
        serde_json::from_value(reasons).with_context(|| format!("reasons in {stats}"))
    }
}

/// Reasons whose counts grew, with by how much.
#[must_use]
pub fn growth(before: &Counts, after: &Counts) -> Counts {
    let grown = after.iter().map(|(reason, count)| {
        (
            reason.clone(),
            count.saturating_sub(before.get(reason).copied().unwrap_or_default()),
        )
    });
    grown.filter(|(_, more)| *more > 0).collect()
}

impl Drop for Site {
    fn drop(&mut self) {
        use std::os::unix::ffi::OsStrExt as _;
        let Ok(path) = std::ffi::CString::new(self.pins().as_os_str().as_bytes()) else {
            return;
        };
        // SAFETY: the path is a C string that lives through the call. Where `detach` has unmounted
        // the file system already the call fails, and nothing is left to do.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A running daemon; killed on drop. What it has attached stays.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    /// What it told its service manager and nobody has waited for yet.
    told: Receiver<String>,
}

/// Reads what the daemon tells on a thread, so that it never has to wait for a reader. The thread
/// ends soon after the receiver is gone.
fn listen(notify: UnixDatagram) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let text = match notify.recv(&mut buffer) {
                Ok(length) => String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => "".into(),
                Err(_) => return,
            };
            if sender.send(text.into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Daemon {
    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits for a line that it tells its service manager.
    ///
    /// # Errors
    /// It ends, or says nothing of the kind in time; the message holds what it said.
    pub fn wait_for(&mut self, line: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let told = self
                .told
                .recv_timeout(LIMIT)
                .context("the notify socket is gone")?;
            if told.lines().any(|told| told == line) {
                return Ok(());
            }
            if told.is_empty() && !self.process.is_running() {
                bail!("schoolgate ended before {line}: {}", self.process.stderr());
            }
        }
        bail!("schoolgate did not tell {line}: {}", self.process.stderr())
    }

    /// Tells it by SIGHUP to read everything again.
    ///
    /// # Errors
    /// It is gone.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        self.process.signal(libc::SIGHUP).context("SIGHUP")
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(self) -> anyhow::Result<Finished> {
        self.process.signal(libc::SIGTERM).context("SIGTERM")?;
        self.process.finish(LIMIT)
    }

    /// Kills it as a crash would.
    pub fn kill(self) {
        self.process.kill();
    }
}
