//! The lab's authority as browsers take it: a certificate store of NSS, copied into each profile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::lab::TempDir;
use crate::lab::pki::Authority;
use crate::lab::process;

/// Files of a store.
const FILES: [&str; 3] = ["cert9.db", "key4.db", "pkcs11.txt"];
/// Longest run of certutil.
const LIMIT: Duration = Duration::from_secs(30);

/// A store in which the lab's authority is trusted for servers.
#[derive(Debug)]
pub struct Trust(TempDir);

impl Trust {
    /// Makes the store.
    ///
    /// # Errors
    /// certutil (package libnss3-tools) is missing, or refuses.
    pub fn new(authority: &Authority) -> anyhow::Result<Trust> {
        let trust = Trust(TempDir::new()?);
        trust.certutil(&["-N", "--empty-password"], None)?;
        let file = authority.file();
        trust.certutil(&["-A", "-n", "lab", "-t", "C,,", "-i"], Some(&file))?;
        Ok(trust)
    }

    fn certutil(&self, arguments: &[&str], file: Option<&Path>) -> anyhow::Result<()> {
        let mut command = std::process::Command::new("certutil");
        command.arg("-d").arg(self.store()).args(arguments);
        command.args(file);
        let done = process::run(command, LIMIT).context("package libnss3-tools")?;
        anyhow::ensure!(done.code == Some(0), "certutil: {done:?}");
        Ok(())
    }

    fn store(&self) -> String {
        format!("sql:{}", self.0.path().display())
    }

    /// Copies the store into a directory, which is made.
    pub(super) fn copy_to(&self, directory: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(directory)?;
        for file in FILES {
            let (from, to): (PathBuf, PathBuf) = (self.0.path().join(file), directory.join(file));
            std::fs::copy(&from, &to).with_context(|| format!("copying to {}", to.display()))?;
        }
        Ok(())
    }
}
