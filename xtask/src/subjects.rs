//! What the tests test: the daemon that ships, the one with the next ABI number, and the one whose
//! program has another tag.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::build::{self, Flavour};
use crate::packages::Install;
use crate::setup;

/// The programs under test, built.
pub(crate) struct Subjects {
    daemon: PathBuf,
    abi_next_daemon: PathBuf,
    abi_next_object: PathBuf,
    tag_next_daemon: PathBuf,
}

impl Subjects {
    /// Builds them.
    ///
    /// # Errors
    ///
    /// When the toolchain is missing or a compiler fails.
    pub(crate) fn build(install: Install) -> Result<Self> {
        let toolchain = setup::toolchain(install)?;
        let both = |flavour| {
            let object = build::xdp_program(&toolchain, flavour)?;
            Ok::<_, anyhow::Error>((object, build::daemon(flavour)?))
        };
        // What is left in `target/release` is the one that ships: it comes last.
        let (abi_next_object, abi_next_daemon) = both(Flavour::AbiNext)?;
        let (_, tag_next_daemon) = both(Flavour::TagNext)?;
        let (_, daemon) = both(Flavour::Shipped)?;
        Ok(Self {
            daemon,
            abi_next_daemon,
            abi_next_object,
            tag_next_daemon,
        })
    }

    /// The variables by which tests find them.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("SCHOOLGATE_BIN", &self.daemon),
            ("SCHOOLGATE_BIN_ABI_NEXT", &self.abi_next_daemon),
            ("SCHOOLGATE_BIN_TAG_NEXT", &self.tag_next_daemon),
            ("SCHOOLGATE_XDP_OBJECT_ABI_NEXT", &self.abi_next_object),
        ]
    }

    /// The daemons, which need their libraries beside them in the test machine.
    pub(crate) fn daemons(&self) -> [&Path; 3] {
        [&self.daemon, &self.abi_next_daemon, &self.tag_next_daemon]
    }

    /// The XDP program that no daemon carries.
    pub(crate) fn object(&self) -> &Path {
        &self.abi_next_object
    }
}
