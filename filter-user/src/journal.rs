//! What was done by whom, a line of JSON each, in a file of the state directory that is only ever
//! appended to. No address and no person of a school stands in it: an actor is a user of this machine.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

/// The file, in the state directory.
pub(crate) const FILE: &str = "journal.jsonl";

/// Appends an action with its detail, and returns when it is on disk.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn append(directory: &Path, action: &str, detail: &Value) -> io::Result<()> {
    let line = json!({ "time": Timestamp::now().to_string(), "action": action, "detail": detail });
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(directory.join(FILE))?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_none_is_lost() {
        let dir = crate::testing::TempDir::new();
        append(dir.path(), "bypass", &json!({ "organisation": "a\nb" })).unwrap();
        append(dir.path(), "bypass_end", &json!({})).unwrap();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        let lines: Vec<Value> = (text.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["detail"]["organisation"], "a\nb");
        assert_eq!(lines[1]["action"], "bypass_end");
    }
}
