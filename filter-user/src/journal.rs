//! The journal: what changed and when, a JSON object a line, each bound to the one before by a
//! hash, so that a row that was altered, removed, inserted or moved shows. Who appends decides what
//! a row tells; no address of a client belongs into one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::digest::{self, hexadecimal};
use crate::problem::Problem;
use crate::state::StateDir;

/// The file, in the state directory.
pub const FILE: &str = "journal.jsonl";

const REMEDY: &str = "make room or correct permissions (0600)";

/// What to do about a break.
const BREAK: &str =
    "compare with a copy that was kept elsewhere: somebody or something changed the file";

/// One row, its fields in the order in which they are written and hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Number of the row, from 1.
    pub seq: u64,
    /// When, in UTC (RFC 3339).
    pub time: String,
    /// `daemon`, `signal`, or `uid N`.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// What belongs to it.
    pub detail: Value,
    /// Hash of the row before; zeroes in the first.
    pub prev: String,
    /// SHA-256 of this row's JSON without this field, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

impl Row {
    fn digest(&self) -> io::Result<String> {
        let mut bare = self.clone();
        bare.hash.clear();
        Ok(hexadecimal(&digest::of(&serde_json::to_vec(&bare)?)))
    }
}

/// Number and hash of the last row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the row; 0: there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Head {
            seq: 0,
            hash: "0".repeat(64),
        }
    }
}

/// What a look at a whole journal found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Rows that can be read, in their order.
    pub rows: Vec<Row>,
    /// The last of them.
    pub head: Head,
    /// Every break of the chain.
    pub breaks: Vec<Problem>,
}

/// Checks the chain of `text`; `file` is for the problems. A chain that was cut at its end is whole
/// in itself: only a head that was kept elsewhere shows the loss.
#[must_use]
pub fn check(file: &Path, text: &[u8]) -> Checked {
    let mut checked = Checked::default();
    for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
        let Ok(row) = serde_json::from_slice::<Row>(line) else {
            let broken = Problem::at(file, number, "is no row of a journal", BREAK);
            checked.breaks.push(broken);
            continue;
        };
        for what in faults(&row, line, &checked.head) {
            let what = format!("seq {}: {what}", row.seq);
            checked.breaks.push(Problem::at(file, number, what, BREAK));
        }
        checked.head = Head {
            seq: row.seq,
            hash: row.hash.clone(),
        };
        checked.rows.push(row);
    }
    checked
}

fn faults(row: &Row, line: &[u8], before: &Head) -> Vec<String> {
    let mut faults = Vec::new();
    if Some(row.seq) != before.seq.checked_add(1) {
        faults.push(format!("follows seq {}", before.seq));
    }
    if row.prev != before.hash {
        faults.push("prev is not the hash of the row before".to_owned());
    }
    if !row.digest().is_ok_and(|digest| digest == row.hash) {
        faults.push("hash is not that of the row".to_owned());
    }
    let written = serde_json::to_vec(row).unwrap_or_default();
    if line.strip_suffix(b"\n") != Some(&written) {
        faults.push("is not written as a journal writes".to_owned());
    }
    faults
}

/// The journal of a state directory, open to append.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    open: Mutex<(File, Head)>,
}

impl Journal {
    /// Opens the journal and makes it (mode 0600) where there is none. A last line that was torn
    /// goes to `journal.torn`; another break stays as it is. Either is told by a new row `repair`.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(state_dir: &StateDir) -> Result<Journal, Problem> {
        let path = state_dir.path().join(FILE);
        let failed =
            |error: io::Error| Problem::of_file(&path, format!("cannot be used: {error}"), REMEDY);
        let mut file = private()
            .append(true)
            .read(true)
            .open(&path)
            .map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let torn = text.split_off(whole);
        if !torn.is_empty() {
            let beside = path.with_extension("torn");
            set_aside(&beside, &torn).map_err(failed)?;
            file.set_len(whole as u64).map_err(failed)?;
        }
        let checked = check(&path, &text);
        let journal = Journal {
            path: path.clone(),
            open: Mutex::new((file, checked.head)),
        };
        if !torn.is_empty() || !checked.breaks.is_empty() {
            let breaks: Vec<String> = checked.breaks.iter().map(ToString::to_string).collect();
            let detail = json!({ "torn_bytes": torn.len(), "breaks": breaks });
            journal.append("daemon", "repair", detail)?;
        }
        Ok(journal)
    }

    /// Number and hash of the last row.
    #[must_use]
    pub fn head(&self) -> Head {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.1.clone()
    }

    /// Appends a row; it is on the disk when this returns.
    ///
    /// # Errors
    /// It cannot be written: the journal is as before.
    pub fn append(&self, actor: &str, action: &str, detail: Value) -> Result<Head, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, head) = &mut *open;
        let written = write(file, head, actor, action, detail);
        written.map_err(|error| {
            Problem::of_file(&self.path, format!("cannot be written: {error}"), REMEDY)
        })
    }
}

fn write(
    file: &mut File,
    head: &mut Head,
    actor: &str,
    action: &str,
    detail: Value,
) -> io::Result<Head> {
    let mut row = Row {
        seq: head.seq.saturating_add(1),
        time: jiff::Timestamp::now().to_string(),
        actor: actor.to_owned(),
        action: action.to_owned(),
        detail,
        prev: head.hash.clone(),
        hash: String::new(),
    };
    row.hash = row.digest()?;
    let mut line = serde_json::to_vec(&row)?;
    line.push(b'\n');
    let end = file.seek(SeekFrom::End(0))?;
    if let Err(error) = file.write_all(&line).and_then(|()| file.sync_data()) {
        // What stays of a row that could not be written would break the chain.
        file.set_len(end)?;
        return Err(error);
    }
    *head = Head {
        seq: row.seq,
        hash: row.hash,
    };
    Ok(head.clone())
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

fn set_aside(path: &Path, torn: &[u8]) -> io::Result<()> {
    let mut file = private().append(true).open(path)?;
    file.write_all(torn)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn three(dir: &Path) -> (PathBuf, Vec<u8>) {
        let journal = Journal::open(&StateDir::open(dir).unwrap()).unwrap();
        for number in 1..=3 {
            journal
                .append("daemon", "load", json!({ "number": number }))
                .unwrap();
        }
        let path = dir.join("journal.jsonl");
        let text = fs::read(&path).unwrap();
        (path, text)
    }

    #[test]
    fn every_altered_byte_breaks_the_chain() {
        let dir = crate::testing::TempDir::new();
        let (path, text) = three(dir.path());
        assert!(check(&path, &text).breaks.is_empty());
        for at in 0..text.len() {
            let mut altered = text.clone();
            altered[at] ^= 1;
            assert!(!check(&path, &altered).breaks.is_empty(), "byte {at}");
        }
    }

    #[test]
    fn rows_removed_swapped_or_doubled_are_named() {
        let dir = crate::testing::TempDir::new();
        let (path, text) = three(dir.path());
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        for order in [&[0, 2][..], &[1, 2], &[1, 0, 2], &[0, 1, 1, 2]] {
            let text: Vec<u8> = order.iter().flat_map(|at| lines[*at]).copied().collect();
            let breaks = check(&path, &text).breaks;
            assert!(breaks.iter().all(|problem| problem.line > 0));
            assert!(!breaks.is_empty(), "{order:?}");
        }
    }

    #[test]
    fn torn_line_is_set_aside_and_told() {
        let dir = crate::testing::TempDir::new();
        let (path, text) = three(dir.path());
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        let journal = Journal::open(&StateDir::open(dir.path()).unwrap()).unwrap();
        assert_eq!(journal.head().seq, 3);
        let checked = check(&path, &fs::read(&path).unwrap());
        assert!(checked.breaks.is_empty());
        assert_eq!(checked.rows[2].action, "repair");
        assert!(fs::read(path.with_extension("torn")).unwrap().len() > 9);
    }

    #[test]
    fn rows_appended_at_once_are_one_chain() {
        let dir = crate::testing::TempDir::new();
        let journal = Journal::open(&StateDir::open(dir.path()).unwrap()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..8 {
                        journal.append("uid 0", "load", json!({})).unwrap();
                    }
                });
            }
        });
        let path = dir.path().join("journal.jsonl");
        let checked = check(&path, &fs::read(&path).unwrap());
        assert!(checked.breaks.is_empty());
        assert_eq!(checked.head, journal.head());
        assert_eq!(checked.head.seq, 32);
    }
}
