//! Why a register in XML is refused as a whole.

use std::io;
use std::path::Path;

use crate::problem::Problem;

/// What stops the reading. Nothing of such a file is applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Its container is broken, or holds no register.
    #[error("broken archive: {0}")]
    Zip(String),
    /// More than a register can be.
    #[error("holds more than {0}")]
    TooMuch(&'static str),
    /// Neither windows-1251 nor UTF-8.
    #[error("is in the encoding {0}")]
    Encoding(String),
    /// Bytes that the declared encoding does not have.
    #[error("byte {0} is not UTF-8, which the file says it is in")]
    NotUtf8(u64),
    /// Not well-formed XML: what the parser says, and where.
    #[error("is not well-formed at byte {at}{}: {what}", behind(*.record))]
    Xml {
        /// Byte of the decoded text.
        at: u64,
        /// The last record in front of it; 0: none.
        record: u32,
        /// What is wrong.
        what: String,
    },
    /// It ends in front of its end.
    #[error("ends before its root element does{}", behind(*.0))]
    Truncated(u32),
    /// Another document.
    #[error("has the root element <{found}> instead of <{wanted}>")]
    Root {
        /// The name it has.
        found: String,
        /// The name it should have.
        wanted: &'static str,
    },
    /// A version that nobody here has seen.
    #[error("formatVersion {0} is not read, only 2.x")]
    Version(String),
    /// The time of its making cannot be read.
    #[error("updateTime {0} is no time")]
    Time(String),
    /// A delta where a whole register should be.
    #[error("removes records (<delete>): it is a delta")]
    Delta,
}

fn behind(record: u32) -> String {
    if record == 0 {
        String::new()
    } else {
        format!(" behind record {record}")
    }
}

impl Fault {
    fn remedy(&self) -> &'static str {
        match self {
            Fault::Read(_) => "correct the path or the file's permissions",
            Fault::Encoding(_) => "deliver it in windows-1251 or UTF-8, as its first line declares",
            Fault::Root { .. } => "correct the path or the registry's format",
            Fault::Version(_) => "a newer release of schoolgate may read it",
            Fault::Delta => {
                "give the whole register as path, and the directory of deltas as deltas"
            }
            _ => "deliver the file again, whole",
        }
    }

    /// For the operator.
    pub(super) fn problem(&self, path: &Path) -> Problem {
        Problem::of_file(path, self.to_string(), self.remedy())
    }
}
