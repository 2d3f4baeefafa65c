//! Network namespaces by guard object.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::panic;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, bail};

use super::unique;

/// A network namespace with a generated name; removed on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: Handle,
}

/// A way into a namespace, which threads may own. It does not keep the name alive.
#[derive(Clone, Debug)]
pub struct Handle(Arc<File>);

impl Namespace {
    /// Makes a namespace whose name ends in `role`, with its loopback up.
    ///
    /// # Errors
    /// `ip` is missing or refuses, or this process has not the right to.
    pub fn new(role: &str) -> anyhow::Result<Namespace> {
        let name = format!("sg-{}-{role}", unique());
        ip(&["netns", "add", &name])?;
        let file = File::open(format!("/run/netns/{name}")).context("opening the namespace")?;
        let namespace = Namespace {
            name,
            handle: Handle(Arc::new(file)),
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A way in for threads that outlive a borrow.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `ip` in the namespace, with arguments parted by spaces.
    ///
    /// # Errors
    /// `ip` refuses; the message holds what it said.
    pub fn ip(&self, arguments: &str) -> anyhow::Result<()> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        ip(&all)
    }

    /// Runs `work` on a thread inside the namespace. Sockets that it makes stay in the namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.handle.enter(work)
    }

    /// A command that will run inside the namespace, in the mount namespace of this process.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let handle = self.handle();
        // SAFETY: the closure makes one system call and allocates nothing, as it must between
        // fork and exec; the descriptor lives as long as the closure, which owns its handle.
        unsafe { command.pre_exec(move || join(handle.0.as_raw_fd())) };
        command
    }

    /// Writes a value under `/proc/sys/net` as seen in the namespace.
    ///
    /// # Errors
    /// The kernel has no such setting or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let path = format!("/proc/sys/net/{key}");
        self.enter(|| std::fs::write(&path, value))?
            .with_context(|| format!("writing {path}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A namespace that stays behind is litter, not a wrong result.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

impl Handle {
    /// See [`Namespace::enter`].
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let descriptor = self.0.as_raw_fd();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                join(descriptor)?;
                Ok(work())
            });
            thread
                .join()
                .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })
    }
}

/// Moves the calling thread into a network namespace.
fn join(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: setns takes a descriptor and a flag; a wrong one is an error, not undefined.
    match unsafe { libc::setns(descriptor, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs `ip` and gives what it said where it refuses.
fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("running `ip` (package iproute2)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}`: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
