//! The lab: a small internet in network namespaces, with real servers and real clients.
//!
//! Everything here is a guard: what it made (namespaces, links, processes, threads, directories)
//! is gone when the value is dropped, also when a test panics. Names carry the process id and a
//! counter, so that tests run side by side.

pub mod browser;
pub mod capture;
pub mod client;
pub mod commands;
pub mod daemon;
pub mod device;
pub mod distance;
pub mod dns_tools;
pub mod http3;
pub mod namespace;
pub mod nobody;
pub mod pki;
pub mod process;
pub mod quic;
pub mod resolver;
pub mod scene;
pub mod server;
pub mod storm;
pub mod stream;
pub mod topology;
pub mod wait;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A part of a name that no other run and no other guard of this run has.
#[must_use]
pub fn unique() -> String {
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Whether this process may make namespaces and load programs. Otherwise says so in the line that
/// CI looks for, and the test ends at once.
#[must_use]
pub fn root_or_skip(test: &str) -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        skip(test, "needs root");
    }
    root
}

/// Says that a test does not run here, in the line that CI looks for.
#[expect(
    clippy::print_stdout,
    reason = "the SKIP line is read by the test runner"
)]
pub fn skip(test: &str, reason: &str) {
    println!("SKIP: {test}: {reason}");
}

/// A longest wait, stretched where the machine is emulated.
#[must_use]
pub fn patience(usual: Duration) -> Duration {
    if std::env::var_os("SCHOOLGATE_VM").is_some() {
        usual * 6
    } else {
        usual
    }
}

/// Where tests leave what people are to look at: `SCHOOLGATE_TEST_ARTEFACTS`, or `target/test-artefacts`
/// beside this program. It is made.
///
/// # Errors
/// It cannot be made, or this program is in no build directory.
pub fn artefacts() -> anyhow::Result<PathBuf> {
    use anyhow::Context as _;
    let directory = match std::env::var_os("SCHOOLGATE_TEST_ARTEFACTS") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let this = std::env::current_exe()?;
            // target/release/deps/THIS
            let target = this.ancestors().nth(3).context("no build directory")?;
            target.join("test-artefacts")
        }
    };
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("making {}", directory.display()))?;
    Ok(directory)
}

/// A directory of its own under the system's temporary directory, mode 0700, removed on drop.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes the directory.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new() -> anyhow::Result<TempDir> {
        use anyhow::Context as _;
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("schoolgate-lab-{}", unique()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("making {}", path.display()))?;
        Ok(TempDir(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory that stays behind is litter, not a wrong result.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
