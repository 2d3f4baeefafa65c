//! Collections come as archives: tar, plain or packed by gzip, or zip. They are unpacked into a directory of ours, and
//! nothing of them gets out of it: paths that climb are refused, links come last and lead nowhere else.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use zip::ZipArchive;

use crate::config::Fetch;

/// Files, directories and links of an archive. The largest known collection has 1,536 files.
const ENTRIES_MAX: usize = 40_000;
/// Directories inside one another.
const DEPTH_MAX: usize = 32;
/// Bytes from the end of one file to the beginning of the next.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Bytes that are written at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Directories that hold nothing but one other, at the top of an archive.
const LONE_MAX: usize = 8;
/// Names of lists that make a directory a category of UT1 or squidGuard.
const LISTS: [&str; 2] = ["domains", "urls"];

/// Puts the directory of a collection in the place of the archive that it came in.
///
/// # Errors
/// What is wrong with the archive.
pub(super) fn in_place(archive: &Path, fetch: &Fetch) -> Result<(), String> {
    let into = archive.with_extension("unpacked");
    let failed = |error: io::Error| format!("{}: {error}", into.display());
    match fs::remove_dir_all(&into) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir(&into).map_err(failed)?;
    let done = unpack(archive, &into, fetch.size_max).and_then(|links| {
        let root = root(&into, fetch.archive_root.as_deref())?;
        keep_inside(&root, &links)
            .and_then(|()| fs::remove_file(archive))
            .and_then(|()| fs::rename(root, archive))
            .map_err(failed)
    });
    // What is left is of no use, and goes with the next archive at the latest.
    let _ = fs::remove_dir_all(&into);
    done.map_err(|why| format!("the archive: {why}"))
}

/// Where the collection begins.
fn root(top: &Path, named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(named) = named {
        let found = top
            .canonicalize()
            .ok()
            .zip(top.join(named).canonicalize().ok());
        let found = found.filter(|(top, root)| root.starts_with(top) && root.is_dir());
        let none = || {
            let named = named.display();
            format!("has no directory {named}: correct archive_root")
        };
        return found.map(|(_, root)| root).ok_or_else(none);
    }
    let mut root = top.to_path_buf();
    for _ in 0..LONE_MAX {
        match lone(&root) {
            Some(below) => root = below,
            None => break,
        }
    }
    Ok(root)
}

/// Removes links that lead out of the collection, or nowhere. How they are written does not tell, where they lead by
/// way of one another.
fn keep_inside(root: &Path, links: &[PathBuf]) -> io::Result<()> {
    let real = root.canonicalize()?;
    for link in links {
        let leads = link.canonicalize();
        if !leads.is_ok_and(|to| to.starts_with(&real)) {
            fs::remove_file(link)?;
        }
    }
    Ok(())
}

/// The directory that is all that a directory holds, unless that is a category.
fn lone(directory: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(directory).ok()?;
    let (only, next) = (entries.next()?.ok()?, entries.next());
    let path = only.path();
    let is_category = LISTS.iter().any(|name| path.join(name).exists());
    let goes_on = next.is_none() && only.file_type().ok()?.is_dir() && !is_category;
    goes_on.then_some(path)
}

/// Writes what an archive holds. Gives the links.
fn unpack(archive: &Path, into: &Path, size_max: u64) -> Result<Vec<PathBuf>, String> {
    let broken = |error: io::Error| format!("cannot be read: {error}");
    let mut file = File::open(archive).map_err(broken)?;
    let mut magic = [0u8; 4];
    let _ = file.read(&mut magic).map_err(broken)?;
    file.rewind().map_err(broken)?;
    let mut target = Target::new(into, size_max);
    match magic {
        [0x1f, 0x8b, ..] => tar(MultiGzDecoder::new(BufReader::new(file)), &mut target)?,
        [b'P', b'K', ..] => zip(BufReader::new(file), &mut target)?,
        _ => tar(BufReader::new(file), &mut target)?,
    }
    target.end()
}

fn tar(reader: impl Read, target: &mut Target<'_>) -> Result<(), String> {
    let broken = |error: io::Error| format!("no tar, tar.gz or zip, or cut off: {error}");
    let left = Rc::new(Cell::new(HEADER_BYTES_MAX));
    let mut archive = tar::Archive::new(Metered {
        from: reader,
        left: Rc::clone(&left),
    });
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        // The target counts what files hold.
        left.set(u64::MAX);
        let path = entry.path().map_err(broken)?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            target.directory(&path)?;
        } else if kind.is_file() {
            target.file(&path, &mut entry)?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            let to = entry.link_name().map_err(broken)?.unwrap_or_default();
            if kind.is_symlink() {
                target.link(&path, &to)?;
            } else {
                target.same(&path, &to)?;
            }
        } else if !kind.is_pax_global_extensions() {
            return Err(format!(
                "{}: neither file, directory nor link",
                path.display()
            ));
        }
        left.set(HEADER_BYTES_MAX);
    }
    Ok(())
}

/// A reader of an archive that gives so much and no more: names in headers are taken into memory as long as they are.
struct Metered<R> {
    from: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            let what = format!("headers of more than {HEADER_BYTES_MAX} bytes");
            return Err(io::Error::other(what));
        }
        let room = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.from.read(buffer.get_mut(..room).unwrap_or_default())?;
        self.left.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}

fn zip(reader: BufReader<File>, target: &mut Target<'_>) -> Result<(), String> {
    let broken = |error: zip::result::ZipError| format!("no zip, or cut off: {error}");
    let mut archive = ZipArchive::new(reader).map_err(broken)?;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(broken)?;
        let path = PathBuf::from(entry.name().map_err(broken)?.into_owned());
        if entry.is_dir() {
            target.directory(&path)?;
        } else if entry.is_symlink() {
            let mut to = String::new();
            let longest = 4_096;
            let read = (&mut entry).take(longest).read_to_string(&mut to);
            read.map_err(|error| format!("{}: {error}", path.display()))?;
            target.link(&path, Path::new(&to))?;
        } else {
            target.file(&path, &mut entry)?;
        }
    }
    Ok(())
}

/// The directory that an archive is written to.
struct Target<'p> {
    root: &'p Path,
    entries: usize,
    files: usize,
    left: u64,
    size_max: u64,
    /// Links, made when all else is there: nothing is ever written through one.
    links: BTreeMap<PathBuf, PathBuf>,
    buffer: Vec<u8>,
}

impl<'p> Target<'p> {
    fn new(root: &'p Path, size_max: u64) -> Target<'p> {
        Target {
            root,
            entries: 0,
            files: 0,
            left: size_max,
            size_max,
            links: BTreeMap::new(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// A place below the root; none for the root itself.
    fn place(&mut self, path: &Path) -> Result<Option<PathBuf>, String> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(format!("holds more than {ENTRIES_MAX} files"));
        }
        if path.components().count() > DEPTH_MAX {
            return Err(format!("directories deeper than {DEPTH_MAX}"));
        }
        match inside(Path::new(""), path) {
            Some(place) if place.as_os_str().is_empty() => Ok(None),
            Some(place) => Ok(Some(self.root.join(place))),
            None => Err(format!("{}: leads out of the archive", path.display())),
        }
    }

    fn directory(&mut self, path: &Path) -> Result<(), String> {
        match self.place(path)? {
            Some(place) => fs::create_dir_all(place).map_err(|error| at(path, &error)),
            None => Ok(()),
        }
    }

    fn file(&mut self, path: &Path, from: &mut dyn Read) -> Result<(), String> {
        let place = self.parented(path)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(place)
            .map_err(|error| at(path, &error))?;
        loop {
            let read = match from.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(at(path, &error)),
            };
            self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
                let most = self.size_max >> 20;
                format!("larger than {most} MiB, unpacked: raise size_max_mib if it is meant to be")
            })?;
            let part = self.buffer.get(..read).unwrap_or_default();
            file.write_all(part).map_err(|error| at(path, &error))?;
        }
        self.files += 1;
        Ok(())
    }

    /// Where a file is to be, with the directories above it.
    fn parented(&mut self, path: &Path) -> Result<PathBuf, String> {
        let place = self.place(path)?;
        let place = place.ok_or_else(|| format!("{}: a file without a name", path.display()))?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(|error| at(path, &error))?;
        }
        Ok(place)
    }

    fn link(&mut self, path: &Path, to: &Path) -> Result<(), String> {
        let place = self.parented(path)?;
        // A link that leads elsewhere, or nowhere, is no part of the collection.
        let from = path.parent().unwrap_or(Path::new(""));
        if !to.is_absolute() && inside(from, to).is_some() {
            self.links.insert(place, to.to_path_buf());
        }
        Ok(())
    }

    /// A file that the archive holds under another name already.
    fn same(&mut self, path: &Path, to: &Path) -> Result<(), String> {
        let place = self.parented(path)?;
        let first = self.place(to)?;
        let first = first.ok_or_else(|| format!("{}: a link to nothing", path.display()))?;
        fs::hard_link(first, place).map_err(|error| at(path, &error))
    }

    fn end(self) -> Result<Vec<PathBuf>, String> {
        if self.files == 0 {
            return Err("holds no file".to_owned());
        }
        for (place, to) in &self.links {
            symlink(to, place).map_err(|error| at(to, &error))?;
        }
        Ok(self.links.into_keys().collect())
    }
}

fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Where a path leads from a directory, without ever leaving the root; none: it does leave.
fn inside(from: &Path, path: &Path) -> Option<PathBuf> {
    let mut place = PathBuf::new();
    for component in from.components().chain(path.components()) {
        match component {
            Component::Normal(name) => place.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !place.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}
