//! A configuration that was read before: where none of its files says anything else it is taken as it was, as a
//! delta of a registry is often all that is new, and forty thousand organisations take time to read.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::Config;
use crate::digest::{self, Digest, hexadecimal};
use crate::problem::Problem;
use crate::sources::Store;

/// End of the keys, at the top of a configuration, that name further files of it.
const FILE_KEY: &str = "_file";

/// What the files of a configuration said: SHA-256 of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<Digest>)>);

impl Files {
    /// Those of a configuration with this text, as they are now.
    pub(super) fn of(file: &Path, text: &str, table: &DeTable<'_>) -> Files {
        let base = file.parent().unwrap_or(Path::new(""));
        let mut files = vec![(file.to_path_buf(), Some(digest::of(text.as_bytes())))];
        for (key, value) in table {
            if let (true, DeValue::String(path)) =
                (key.get_ref().ends_with(FILE_KEY), value.get_ref())
            {
                files.push(now(base.join(path.as_ref())));
            }
        }
        Files(files)
    }

    /// What they said, as one: SHA-256 of the first where there are no others, else over the digests of all, in
    /// hexadecimal digits. Empty where one could not be read.
    #[must_use]
    pub fn revision(&self) -> String {
        let said: Option<Vec<Digest>> = self.0.iter().map(|(_, said)| *said).collect();
        match said.as_deref() {
            None => String::new(),
            Some([only]) => hexadecimal(only),
            Some(all) => hexadecimal(&digest::of(&all.concat())),
        }
    }

    /// Whether they say the same now, `text` being that of the first.
    fn are_the_same(&self, file: &Path, text: &str) -> bool {
        let Some(((first, said), further)) = self.0.split_first() else {
            return false;
        };
        let same = |(path, said): &(PathBuf, Option<Digest>)| {
            said.is_some() && now(path.clone()).1 == *said
        };
        first == file && *said == Some(digest::of(text.as_bytes())) && further.iter().all(same)
    }
}

fn now(path: PathBuf) -> (PathBuf, Option<Digest>) {
    let said = std::fs::read(&path).ok().map(|bytes| digest::of(&bytes));
    (path, said)
}

impl Config {
    /// Reads a configuration file, or takes `before` where its files say the same.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_beside(file: &Path, before: Option<&Config>) -> Result<Config, Vec<Problem>> {
        let text = super::text_of(file)?;
        let Some(before) = before.filter(|before| before.files.are_the_same(file, &text)) else {
            return Config::from_text(file, &text);
        };
        let mut config = before.clone();
        for registry in &mut config.registries {
            if let Some(fetch) = &registry.fetch {
                registry.path = Store::new(&fetch.directory).to_read();
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    const TEXT: &str = "organisations_file = \"schools.csv\"\n[[profiles]]\nid = \"p\"\n";

    #[test]
    fn what_says_the_same_is_taken_and_any_file_that_does_not_is_read() {
        let dir = TempDir::new();
        let file = dir.write("s.toml", TEXT);
        let schools = |ids: &[&str]| {
            let rows = ids.iter().zip(1..);
            let rows: String = rows
                .map(|(id, at)| format!("{id},p,192.0.2.{at}/32\n"))
                .collect();
            dir.write("schools.csv", format!("id,profile,prefixes\n{rows}"));
        };
        schools(&["a"]);
        let mut first = Config::load(&file).unwrap();
        // Shows whether it was taken: no file says it.
        first.daemon.gauge_seconds = 77;
        let again = || Config::load_beside(&file, Some(&first)).unwrap();
        assert_eq!(again().daemon.gauge_seconds, 77);
        schools(&["a"]);
        assert_eq!(again().daemon.gauge_seconds, 77, "written anew, the same");
        schools(&["b"]);
        let read = again();
        assert_eq!(read.daemon.gauge_seconds, 60);
        assert!(read.organisation("b").is_some());
        schools(&["a"]);
        dir.write("s.toml", format!("{TEXT}age = 6\n"));
        assert_eq!(again().daemon.gauge_seconds, 60);
        std::fs::remove_file(dir.path().join("schools.csv")).unwrap();
        assert!(Config::load_beside(&file, Some(&first)).is_err());
        let elsewhere = dir.write("other/s.toml", TEXT);
        assert!(Config::load_beside(&elsewhere, Some(&first)).is_err());
    }
}
