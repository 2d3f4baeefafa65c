//! Signatures of registry files: of minisign, verified here, or of any other kind, verified by a program that
//! the operator names.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use minisign_verify::{Error, PublicKey, Signature as Minisign};

use crate::problem::Problem;

mod command;

/// Stands for the file in an argument of `verify_command`.
const FILE_MARK: &str = "{file}";
/// Stands for the signature in an argument of `verify_command`.
const SIGNATURE_MARK: &str = "{signature}";
/// What is behind a file's name in that of its signature.
pub(crate) const ENDINGS: [&str; 2] = [MINISIGN_ENDING, COMMAND_ENDING];
const MINISIGN_ENDING: &str = ".minisig";
const COMMAND_ENDING: &str = ".sig";
/// Largest signature of minisign that is read; one has some 300 bytes.
const MINISIGN_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of a file that are hashed at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// What helps where a signature and a file do not belong together.
const DELIVER: &str = "deliver the file and its signature again, the signature first";

/// How the files of a registry are known to be its publisher's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(How);

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Minisign(PublicKey),
    Command {
        program: String,
        arguments: Vec<String>,
        /// Where it runs.
        directory: PathBuf,
    },
}

impl Signature {
    /// Signatures of minisign by the holder of this key: 56 characters of base64, the second line of a file
    /// `minisign.pub`.
    ///
    /// # Errors
    /// It is no such key.
    pub fn minisign(key: &str) -> Result<Self, Error> {
        Ok(Signature(How::Minisign(PublicKey::from_base64(key)?)))
    }

    /// Signatures that a program verifies: its name or path, and its arguments, in which `{file}` and
    /// `{signature}` stand for the two paths. It runs in `directory`.
    ///
    /// # Errors
    /// What is wrong with the words.
    pub fn command(words: Vec<String>, directory: &Path) -> Result<Self, &'static str> {
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default();
        let arguments: Vec<String> = words.collect();
        let has = |mark: &str| arguments.iter().any(|argument| argument.contains(mark));
        if program.is_empty() {
            return Err("names no program");
        }
        if !has(FILE_MARK) {
            return Err("has no argument with {file}");
        }
        if !has(SIGNATURE_MARK) {
            return Err("has no argument with {signature}");
        }
        Ok(Signature(How::Command {
            program,
            arguments,
            directory: absolute(&directory.join(".")),
        }))
    }

    /// Where the signature of a file is: beside it, its name with `.minisig` or `.sig` behind it.
    #[must_use]
    pub fn path_for(&self, file: &Path) -> PathBuf {
        let mut path = file.as_os_str().to_owned();
        path.push(match self.0 {
            How::Minisign(_) => MINISIGN_ENDING,
            How::Command { .. } => COMMAND_ENDING,
        });
        PathBuf::from(path)
    }

    /// Checks the signature of a file; a program gets a minute for it.
    ///
    /// # Errors
    /// The signature is not there, or is not the publisher's of what the file holds, or that cannot be found out.
    pub fn check(&self, file: &Path, signature: &Path) -> Result<(), Problem> {
        if !signature.is_file() {
            let what = format!(
                "there is no such signature: {} is not read without it",
                file.display()
            );
            return Err(Problem::of_file(signature, what, DELIVER));
        }
        match &self.0 {
            How::Minisign(key) => check_minisign(key, file, signature),
            How::Command {
                program,
                arguments,
                directory,
            } => {
                let (of_file, of_signature) = (absolute(file), absolute(signature));
                let arguments = arguments
                    .iter()
                    .map(|argument| filled(argument, &of_file, &of_signature));
                command::run(program, arguments, directory, command::TIME)
                    .map_err(|fault| fault.problem(program, file, signature))
            }
        }
    }
}

/// A path that means the same in any directory. One that starts with `/` is no option to any program.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// An argument with the paths in place of their marks. What a path holds is no mark.
fn filled(argument: &str, file: &Path, signature: &Path) -> OsString {
    let mut filled = OsString::new();
    let mut rest = argument;
    let marks = [
        (FILE_MARK, file.as_os_str()),
        (SIGNATURE_MARK, signature.as_os_str()),
    ];
    let next = |rest: &str| -> Option<(usize, &str, &OsStr)> {
        let found = marks
            .iter()
            .filter_map(|(mark, path)| Some((rest.find(mark)?, *mark, *path)));
        found.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, mark, path)) = next(rest) {
        let (before, behind) = rest.split_at(at);
        filled.push(before);
        filled.push(path);
        rest = behind.strip_prefix(mark).unwrap_or_default();
    }
    filled.push(rest);
    filled
}

fn check_minisign(key: &PublicKey, file: &Path, signature: &Path) -> Result<(), Problem> {
    let unreadable = |path: &Path, error: &std::io::Error| {
        let remedy = "correct the file's permissions";
        Problem::of_file(path, format!("cannot be read: {error}"), remedy)
    };
    let bad = |error: Error| {
        let (what, remedy) = match error {
            Error::UnexpectedKeyId => (
                "is made with another key than minisign_key".to_owned(),
                "deliver one that is made with it; if the publisher has a new key, correct minisign_key",
            ),
            Error::UnsupportedLegacyMode => (
                "is of a kind that old releases of minisign make".to_owned(),
                "sign with minisign 0.10 or later, or with its option -H",
            ),
            Error::InvalidSignature => (
                format!("is not the signature of {}", file.display()),
                DELIVER,
            ),
            _ => ("is no signature of minisign".to_owned(), DELIVER),
        };
        Problem::of_file(signature, what, remedy)
    };
    let opened = File::open(signature).map_err(|error| unreadable(signature, &error))?;
    let mut bytes = Vec::new();
    let read = opened.take(MINISIGN_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(signature, &error))?;
    // What is no text is no signature either.
    let text = String::from_utf8_lossy(&bytes);
    let made = Minisign::decode(&text).map_err(bad)?;
    let mut verifier = key.verify_stream(&made).map_err(bad)?;
    let failed = |error: std::io::Error| unreadable(file, &error);
    let mut of = File::open(file).map_err(failed)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match of.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => verifier.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    verifier.finalize().map_err(bad)
}

#[cfg(test)]
mod tests;
