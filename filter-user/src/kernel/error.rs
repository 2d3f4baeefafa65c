//! What can go wrong on the way into the kernel, each with what was being done.

use std::io;
use std::path::PathBuf;

/// An error of the kernel side.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The daemon was built before the XDP program was.
    #[error("built without the XDP program: run cargo xtask build, then build the daemon again")]
    NoProgram,
    /// The kernel or the loader refused the program or its maps.
    #[error("cannot load the XDP program: {0}")]
    Load(String),
    /// The object or the pinned set lacks a map.
    #[error("the map {0} is missing")]
    MissingMap(&'static str),
    /// A map has another shape than this daemon knows.
    #[error("the map {map} has {found} bytes a row where {expected} are expected")]
    MapShape {
        /// Map name.
        map: &'static str,
        /// Bytes a row, as found.
        found: u32,
        /// Bytes a row, as expected.
        expected: u32,
    },
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: String,
        /// The system's error.
        source: io::Error,
    },
    /// An operation of the BPF library failed.
    #[error("{action}: {message}")]
    Bpf {
        /// What was being done.
        action: String,
        /// The library's message.
        message: String,
    },
    /// A path that must be private is not.
    #[error("{path} is not private: {why}; refuse to use it")]
    NotPrivate {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The desired state does not fit these maps; larger ones hold it.
    #[error("the desired state does not fit the maps in place: {0}")]
    NeedsNewGeneration(&'static str),
    /// The hold on the old program ended before its flows were handed over.
    #[error("handing the flows over took longer than the old program waits; it goes on as it was")]
    HandOver,
    /// The desired state does not fit any maps.
    #[error("over the limit: {what}: {wanted} wanted, {limit} possible")]
    OverLimit {
        /// What there is too much of.
        what: &'static str,
        /// How much is wanted.
        wanted: u64,
        /// How much is possible.
        limit: u64,
    },
    /// An interface does not exist.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// Attaching to an interface failed.
    #[error("cannot attach to {interface}: {message}")]
    Attach {
        /// Interface name.
        interface: String,
        /// What the kernel said.
        message: String,
    },
}

impl KernelError {
    /// The last system error, met while doing `action`.
    pub(crate) fn last(action: impl Into<String>) -> Self {
        Self::io(action)(io::Error::last_os_error())
    }

    /// Makes a `map_err` argument for system errors.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| KernelError::System { action, source }
    }

    /// Makes a `map_err` argument for errors of the BPF library.
    pub(crate) fn bpf<E: std::error::Error>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| KernelError::Bpf {
            action,
            message: chain(&error),
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
