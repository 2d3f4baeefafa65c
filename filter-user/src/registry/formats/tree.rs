//! Lists that name other lists: paths that stay inside a tree, and how deep and how many are followed.

use std::path::{Path, PathBuf};

use crate::problem::Problem;

/// Files that one leads to, one inside the other. The deepest known collection has seven.
pub const DEPTH_MAX: usize = 32;
/// Files of one registry. The largest known collection has 1,536.
pub const FILES_MAX: usize = 20_000;
/// Problems of one registry that are told at once.
pub const PROBLEMS_MAX: usize = 100;

/// A tree of lists.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
    resolved: PathBuf,
}

impl Tree {
    /// The tree below a directory.
    ///
    /// # Errors
    /// The directory is not there.
    pub fn new(root: &Path) -> Result<Tree, Problem> {
        let resolved = root.canonicalize().map_err(|error| {
            let what = format!("cannot be read: {error}");
            Problem::of_file(root, what, "give the directory of the collection")
        })?;
        Ok(Tree {
            root: root.to_path_buf(),
            resolved,
        })
    }

    /// Where it begins.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the tree by its path, absolute or from the root.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow its name.
    pub fn file(&self, path: &str) -> Result<PathBuf, &'static str> {
        let joined = self.root.join(path);
        let Ok(resolved) = joined.canonicalize() else {
            return Err("is not there");
        };
        let Ok(inside) = resolved.strip_prefix(&self.resolved) else {
            return Err("lies outside the collection");
        };
        if resolved.is_file() {
            Ok(self.root.join(inside))
        } else {
            Err("is no file")
        }
    }
}
