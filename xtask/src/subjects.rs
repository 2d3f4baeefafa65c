//! What the tests test: the daemon that ships, the one with the next ABI number, the one whose program
//! has another tag, and the program with diagnostics.

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
    diagnostics_object: PathBuf,
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
        let diagnostics_object = build::xdp_program(&toolchain, Flavour::Diagnostics)?;
        // What is left in `target/release` is the one that ships: it comes last.
        let (abi_next_object, abi_next_daemon) = both(Flavour::AbiNext)?;
        let (_, tag_next_daemon) = both(Flavour::TagNext)?;
        let (_, daemon) = both(Flavour::Shipped)?;
        Ok(Self {
            daemon,
            abi_next_daemon,
            abi_next_object,
            tag_next_daemon,
            diagnostics_object,
        })
    }

    /// The variables by which tests find them.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 5] {
        [
            ("SCHOOLGATE_BIN", &self.daemon),
            ("SCHOOLGATE_BIN_ABI_NEXT", &self.abi_next_daemon),
            ("SCHOOLGATE_BIN_TAG_NEXT", &self.tag_next_daemon),
            ("SCHOOLGATE_XDP_OBJECT_ABI_NEXT", &self.abi_next_object),
            (
                "SCHOOLGATE_XDP_OBJECT_DIAGNOSTICS",
                &self.diagnostics_object,
            ),
        ]
    }

    /// The daemons, which need their libraries beside them in the test machine.
    pub(crate) fn daemons(&self) -> [&Path; 3] {
        [&self.daemon, &self.abi_next_daemon, &self.tag_next_daemon]
    }

    /// The XDP programs that tests load from their files.
    pub(crate) fn objects(&self) -> [&Path; 2] {
        [&self.abi_next_object, &self.diagnostics_object]
    }
}
