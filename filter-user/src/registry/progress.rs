//! What a long load shows: a bar on a terminal, nothing elsewhere (the summary has a line a source).

use std::io::IsTerminal as _;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A bar on the terminal.
    Bar,
    /// Nowhere.
    Quiet,
}

/// Bytes below which a file is read before a bar could be seen.
const BAR_BYTES_MIN: u64 = 1 << 20;

impl Progress {
    /// A bar if standard error is a terminal.
    #[must_use]
    pub fn of_stderr() -> Progress {
        if std::io::stderr().is_terminal() {
            Progress::Bar
        } else {
            Progress::Quiet
        }
    }

    /// Starts a bar for a file of that many bytes.
    #[must_use]
    pub fn start(self, path: &Path, bytes: u64) -> Bar {
        if self == Progress::Quiet || bytes < BAR_BYTES_MIN {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(bytes);
        if let Ok(style) =
            ProgressStyle::with_template("{msg:32} {bar:30} {bytes}/{total_bytes} {eta}")
        {
            bar.set_style(style);
        }
        let name = path.file_name().unwrap_or(path.as_os_str());
        bar.set_message(name.to_string_lossy().into_owned());
        Bar(bar)
    }
}

/// A bar in progress.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// So many bytes are read.
    pub fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// The file is read.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
