//! The directory of a source: its last good copies, and what is known of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::signature::ENDINGS as SIGNATURES;
use crate::state::write_secret;

/// Good copies that are kept.
pub(super) const COPIES: usize = 5;
/// Beginning of a copy's name; its number follows.
const COPY: &str = "copy-";

/// What a server gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its entity tag (RFC 9110 section 8.8.3).
    pub etag: Option<String>,
    /// When it was changed, in the server's words.
    pub last_modified: Option<String>,
    /// SHA-256 of what came, in hexadecimal digits.
    pub sha256: String,
}

/// A file that is not read until somebody accepts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What it is.
    #[serde(flatten)]
    pub version: Version,
    /// Why it waits.
    pub why: String,
}

/// What is known of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    /// The URL that the newest copy came from.
    pub url: String,
    /// The newest copy.
    #[serde(flatten)]
    pub newest: Version,
    /// The file that is held.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// SHA-256 of files that operators went back from, oldest first.
    #[serde(default)]
    pub taken_back: Vec<String>,
    /// When a fetch last succeeded, in seconds since 1970; 0: never.
    pub checked: u64,
    /// When the newest copy came.
    pub changed: u64,
    /// When a fetch was last tried.
    #[serde(default)]
    pub attempted: u64,
    /// Why the last fetch failed.
    pub problem: Option<String>,
    /// Fetches that failed since the last one that did not.
    pub failures: u32,
}

/// A source's directory.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The store in a directory, which need not be there.
    #[must_use]
    pub fn new(directory: &Path) -> Store {
        Store {
            directory: directory.to_path_buf(),
        }
    }

    /// Makes the directory, for its owner alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.directory)
    }

    /// The good copies, oldest first.
    #[must_use]
    pub fn copies(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut copies: Vec<String> = names.filter(|name| number(name).is_some()).collect();
        copies.sort_by_key(|name| number(name));
        let paths = copies.iter().map(|name| self.directory.join(name));
        paths.collect()
    }

    /// What a registry is read from: the newest good copy. Where there is none, a file that there is not.
    #[must_use]
    pub fn to_read(&self) -> PathBuf {
        let newest = self.copies().pop();
        newest.unwrap_or_else(|| self.directory.join("no-copy"))
    }

    /// Where a file is put until it is known to be good.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.directory.join("incoming")
    }

    /// Where the last file that was not good is left to be looked at.
    #[must_use]
    pub fn rejected(&self) -> PathBuf {
        self.directory.join("rejected")
    }

    /// Where a file waits until somebody accepts it.
    #[must_use]
    pub fn held(&self) -> PathBuf {
        self.directory.join("held")
    }

    /// Moves a file, and its signature, to another place of the store.
    ///
    /// # Errors
    /// It cannot be moved.
    pub(super) fn put_away(&self, file: &Path, to: &Path) -> io::Result<()> {
        self.remove(to)?;
        // The signature first: a file without it is not to be trusted.
        for kind in SIGNATURES {
            let signature = beside(file, kind);
            if signature.exists() {
                fs::rename(signature, beside(to, kind))?;
            }
        }
        fs::rename(file, to)
    }

    /// Removes a file, or the directory of a collection, and its signature, where they are there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn remove(&self, file: &Path) -> io::Result<()> {
        let gone = match fs::symlink_metadata(file) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(file),
            Ok(_) => fs::remove_file(file),
            Err(error) => Err(error),
        };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for kind in SIGNATURES {
            // Most files have none.
            let _ = fs::remove_file(beside(file, kind));
        }
        Ok(())
    }

    /// What is known; nothing, where nothing readable was left.
    #[must_use]
    pub fn memo(&self) -> Memo {
        let text = fs::read(self.directory.join("memo.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps what is known.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, memo: &Memo) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(memo)?;
        write_secret(&self.directory.join("memo.json"), &text)
    }

    /// Makes a file the newest good copy: at one stroke, and on disk before anything reads it. Copies beyond the
    /// last ones go.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn promote(&self, file: &Path) -> io::Result<PathBuf> {
        let copies = self.copies();
        let last = copies
            .last()
            .and_then(|path| number(path.file_name()?.to_str()?));
        let next = last.map_or(1, |last| last.saturating_add(1));
        let path = self.directory.join(format!("{COPY}{next:08}"));
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
        for kind in SIGNATURES {
            let signature = beside(file, kind);
            if signature.exists() {
                fs::rename(signature, beside(&path, kind))?;
            }
        }
        // The signature first: a copy without it is none.
        sync(file)?;
        fs::rename(file, &path)?;
        File::open(&self.directory)?.sync_all()?;
        let old = (copies.len() + 1).saturating_sub(COPIES);
        for copy in copies.iter().take(old) {
            self.remove(copy)?;
        }
        Ok(path)
    }
}

/// Writes a file, or all that a directory holds, to the disk.
fn sync(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?;
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            sync(&entry?.path())?;
        }
    }
    // A link is part of its directory.
    if kind.is_dir() || kind.is_file() {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(COPY)?;
    let all = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    all.then(|| digits.parse().ok())?
}
