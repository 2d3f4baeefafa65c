//! What the tests test: the daemon that ships, and the one with the next ABI number.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::build::{self, Abi};
use crate::packages::Install;
use crate::setup;

/// The programs under test, built.
pub(crate) struct Subjects {
    daemon: PathBuf,
    next_daemon: PathBuf,
    next_object: PathBuf,
}

impl Subjects {
    /// Builds them.
    ///
    /// # Errors
    ///
    /// When the toolchain is missing or a compiler fails.
    pub(crate) fn build(install: Install) -> Result<Self> {
        let toolchain = setup::toolchain(install)?;
        // The next one first: what is left in `target/release` is the one that ships.
        let next_object = build::xdp_program(&toolchain, Abi::Next)?;
        let next_daemon = build::daemon(Abi::Next)?;
        build::xdp_program(&toolchain, Abi::Current)?;
        let daemon = build::daemon(Abi::Current)?;
        Ok(Self {
            daemon,
            next_daemon,
            next_object,
        })
    }

    /// The variables by which tests find them.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 3] {
        [
            ("SCHOOLGATE_BIN", &self.daemon),
            ("SCHOOLGATE_BIN_ABI_NEXT", &self.next_daemon),
            ("SCHOOLGATE_XDP_OBJECT_ABI_NEXT", &self.next_object),
        ]
    }

    /// The daemons, which need their libraries beside them in the test machine.
    pub(crate) fn daemons(&self) -> [&Path; 2] {
        [&self.daemon, &self.next_daemon]
    }

    /// The XDP program that no daemon carries.
    pub(crate) fn object(&self) -> &Path {
        &self.next_object
    }
}
