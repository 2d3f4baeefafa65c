//! The control socket's protocol: one JSON object a line, a request and its response. And its client.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::{Exit, Failure};
use crate::explain::Question;

/// Longest request, in bytes.
pub const REQUEST_BYTES_MAX: u64 = 16 * 1024;
/// Longest response that a client takes: statistics of 65,534 organisations at two kilobytes.
const RESPONSE_BYTES_MAX: u64 = 256 << 20;

/// What the daemon is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How things are.
    Status,
    /// Counters.
    Stats {
        /// Of this organisation only.
        org: Option<String>,
    },
    /// Why something is blocked.
    Explain(Question),
    /// Give a bypass, or end it.
    Bypass {
        /// Of this organisation or segment.
        org: String,
        /// For so long; none: end it.
        seconds: Option<u64>,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// What a reload would do.
    Diff {
        /// So many entries of each effect are named.
        examples: usize,
        /// As if this registry were accepted whose size has changed by too much.
        #[serde(default)]
        accept: Option<String>,
    },
    /// Read everything again and apply the difference, in a way that can be taken back.
    Apply {
        /// Go back after so long unless it is confirmed.
        confirm_seconds: Option<u64>,
    },
    /// Take a registry whose size has changed by too much, this once.
    Accept {
        /// Its id.
        id: String,
    },
    /// Go back to the copy of a registry before the newest.
    RollBack {
        /// Its id.
        id: String,
    },
    /// Keep what waits for its confirmation.
    Confirm,
    /// Go back to what was in force before the last update.
    Undo,
    /// Fetch registries that have a URL now, and apply what is new.
    Fetch {
        /// This one only.
        id: Option<String>,
    },
    /// Read everything again and apply the difference.
    Reload {
        /// Answer when it is done.
        wait: bool,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Response {
    /// How the command ends.
    pub exit: u8,
    /// What is wrong.
    #[serde(default)]
    pub problems: Vec<String>,
    /// The answer.
    #[serde(default)]
    pub data: serde_json::Value,
}

impl Response {
    /// An answer.
    #[must_use]
    pub fn data(value: &impl Serialize) -> Response {
        match serde_json::to_value(value) {
            Ok(data) => Response {
                exit: 0,
                problems: Vec::new(),
                data,
            },
            Err(error) => Response::failure(Exit::Problem, vec![error.to_string()]),
        }
    }

    /// A failure.
    #[must_use]
    pub fn failure(exit: Exit, problems: Vec<String>) -> Response {
        Response {
            exit: exit as u8,
            problems,
            data: serde_json::Value::Null,
        }
    }
}

/// Asks the daemon behind `socket`.
///
/// # Errors
/// It does not answer (exit code 3), we may not ask it (4), or it answers with a failure.
pub fn ask(socket: &Path, request: &Request) -> Result<serde_json::Value, Failure> {
    let response = exchange(socket, request).map_err(|error| unreachable(socket, &error))?;
    let exit = Exit::from_code(response.exit);
    if exit == Exit::Fine {
        Ok(response.data)
    } else {
        Err(Failure {
            exit,
            problems: response.problems,
        })
    }
}

fn exchange(socket: &Path, request: &Request) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream)
        .take(RESPONSE_BYTES_MAX)
        .read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the daemon hung up",
        ));
    }
    Ok(serde_json::from_slice(&answer)?)
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        let message =
            format!("{path}: permission denied: run as root, or as a member of the socket's group");
        return Failure::new(Exit::Permission, message);
    }
    let remedy = "start it with `schoolgate run`, or name its socket with --socket";
    Failure::new(
        Exit::Unreachable,
        format!("{path}: the daemon does not answer ({error}): {remedy}"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use crate::testing::TempDir;

    /// Answers one request with `response`, and gives the request.
    fn answer(
        dir: &TempDir,
        response: &'static str,
    ) -> (std::path::PathBuf, thread::JoinHandle<String>) {
        let path = dir.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut request)
                .unwrap();
            stream.write_all(response.as_bytes()).unwrap();
            request
        });
        (path, daemon)
    }

    #[test]
    fn request_and_answer_are_one_line_each() {
        let dir = TempDir::new();
        let (path, daemon) = answer(&dir, "{\"exit\":0,\"data\":7}\n");
        let org = Some("s".to_owned());
        assert_eq!(ask(&path, &Request::Stats { org }).unwrap(), 7);
        assert_eq!(
            daemon.join().unwrap(),
            "{\"command\":\"stats\",\"org\":\"s\"}\n"
        );
    }

    #[test]
    fn failures_keep_their_exit_code_and_problems() {
        let dir = TempDir::new();
        let (path, daemon) = answer(&dir, "{\"exit\":5,\"problems\":[\"a.toml:3: bad\"]}\n");
        let failure = ask(&path, &Request::Reload { wait: true }).unwrap_err();
        assert_eq!(failure.exit, Exit::Partly);
        assert_eq!(failure.problems, ["a.toml:3: bad"]);
        daemon.join().unwrap();
    }

    #[test]
    fn daemon_that_is_not_there_is_unreachable() {
        let dir = TempDir::new();
        let failure = ask(&dir.path().join("none"), &Request::Status).unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        let (path, daemon) = answer(&dir, "");
        assert_eq!(
            ask(&path, &Request::Status).unwrap_err().exit,
            Exit::Unreachable
        );
        daemon.join().unwrap();
    }
}
