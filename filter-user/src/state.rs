//! The state directory: the secret seed of the keys, and what must outlive the daemon so that a
//! restart changes nothing in the maps.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::numbers::Numbers;
use crate::problem::Problem;
use crate::registry::load::KeptBefore;
use crate::safe_search::Found;

/// What outlives the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Numbers in force.
    pub numbers: Numbers,
    /// Entries that each registry held when it was last in force.
    pub kept: KeptBefore,
    /// Where targets of search engines were found last.
    #[serde(default)]
    pub found: Found,
}

/// The state directory, ours alone.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory and makes it (mode 0700) where there is none.
    ///
    /// # Errors
    /// It cannot be made, or others may write to it.
    pub fn open(path: &Path) -> Result<StateDir, Problem> {
        let failed = |error: io::Error| {
            Problem::of_file(
                path,
                format!("state directory: {error}"),
                "run as root, or set [daemon] state_dir",
            )
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let metadata = fs::metadata(path).map_err(failed)?;
        // SAFETY: `geteuid` has no precondition and cannot fail.
        let own = unsafe { libc::geteuid() };
        if metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            let what = format!(
                "state directory is open to others (owner {}, mode {:o})",
                metadata.uid(),
                metadata.mode() & 0o777
            );
            return Err(Problem::of_file(
                path,
                what,
                format!("chown {own} and chmod 0700 it"),
            ));
        }
        Ok(StateDir {
            path: path.to_path_buf(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The seed; a new random one where there is none.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds no seed.
    pub fn seed(&self) -> Result<u64, Problem> {
        let path = self.path.join("seed");
        let failed = |error: io::Error| {
            Problem::of_file(
                &path,
                format!("cannot be used: {error}"),
                "correct its owner and permissions (0600)",
            )
        };
        match fs::read_to_string(&path) {
            Ok(text) => u64::from_str_radix(text.trim(), 16)
                .ok()
                .filter(|seed| *seed != 0)
                .ok_or_else(|| {
                    let remedy =
                        "remove it and the pinned maps (`schoolgate detach`): a new one is made";
                    Problem::of_file(&path, "holds no seed of 16 hexadecimal digits", remedy)
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = random_seed().map_err(failed)?;
                write_secret(&path, format!("{seed:016x}\n").as_bytes()).map_err(failed)?;
                Ok(seed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// What was in force last; nothing, where nothing readable was left. A lost state costs one
    /// larger update and no more.
    #[must_use]
    pub fn load(&self) -> State {
        let text = fs::read(self.path.join("state.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes what is in force.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn store(&self, state: &State) -> Result<(), Problem> {
        let path = self.path.join("state.json");
        let text = serde_json::to_vec_pretty(state).map_err(io::Error::from);
        text.and_then(|text| write_secret(&path, &text))
            .map_err(|error| {
                Problem::of_file(
                    &path,
                    format!("cannot be written: {error}"),
                    "make room or correct permissions",
                )
            })
    }
}

/// Writes a file of mode 0600 in one step.
pub(crate) fn write_secret(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// A seed from the system, never 0.
///
/// # Errors
/// The system has none to give.
pub fn random_seed() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_is_made_once_and_secret() {
        let dir = crate::testing::TempDir::new();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let seed = state.seed().unwrap();
        assert_eq!(state.seed().unwrap(), seed);
        let mode = fs::metadata(dir.path().join("state/seed")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mode = fs::metadata(dir.path().join("state")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn broken_seed_is_no_new_seed() {
        let dir = crate::testing::TempDir::new();
        let state = StateDir::open(dir.path()).unwrap();
        fs::write(dir.path().join("seed"), "zzz").unwrap();
        assert!(state.seed().unwrap_err().what.contains("no seed"));
    }

    #[test]
    fn state_comes_back() {
        let dir = crate::testing::TempDir::new();
        let state_dir = StateDir::open(dir.path()).unwrap();
        assert_eq!(state_dir.load(), State::default());
        let mut state = State::default();
        state.kept.insert("law".to_owned(), 7);
        state.numbers.realms.insert("lan".to_owned(), 1);
        let there = crate::desired::PortalAddresses {
            v4: Some([192, 0, 2, 1].into()),
            v6: None,
        };
        state.found.insert("safe.example".to_owned(), there);
        state_dir.store(&state).unwrap();
        assert_eq!(state_dir.load(), state);
    }

    #[test]
    fn directory_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = crate::testing::TempDir::new();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(StateDir::open(dir.path()).is_err());
    }
}
