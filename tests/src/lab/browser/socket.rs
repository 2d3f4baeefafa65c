//! The web socket by which a browser is driven. Chromium's own protocol and WebDriver BiDi share their
//! shape: commands with a number, answers with the same one, and events without.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tungstenite::{Error, Message, WebSocket};

use crate::lab::namespace::Namespace;

/// One look at the socket.
const TURN: Duration = Duration::from_millis(50);

/// An open socket.
pub(super) struct Socket {
    stream: WebSocket<TcpStream>,
    last: u64,
    events: VecDeque<Value>,
}

impl Socket {
    /// Opens `ws://127.0.0.1:PORT/PATH` in a namespace.
    pub(super) fn open(namespace: &Namespace, port: u16, path: &str) -> anyhow::Result<Socket> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = namespace.enter(|| TcpStream::connect(to))??;
        stream.set_nodelay(true)?;
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (stream, _) = tungstenite::client(&url, stream)
            .map_err(|error| anyhow::anyhow!("a web socket to {url}: {error}"))?;
        stream.get_ref().set_read_timeout(Some(TURN))?;
        Ok(Socket {
            stream,
            last: 0,
            events: VecDeque::new(),
        })
    }

    /// Sends a command. Gives its number.
    pub(super) fn send(
        &mut self,
        method: &str,
        parameters: Value,
        session: Option<&str>,
    ) -> anyhow::Result<u64> {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let (Some(session), Some(members)) = (session, command.as_object_mut()) {
            members.insert("sessionId".into(), session.into());
        }
        self.stream
            .send(Message::text(command.to_string()))
            .with_context(|| format!("sending {method}"))?;
        Ok(self.last)
    }

    /// The answer to a command: what it gave, or the sentence by which it was refused. None where
    /// `deadline` passed.
    pub(super) fn answer(
        &mut self,
        number: u64,
        deadline: Instant,
    ) -> anyhow::Result<Option<Result<Value, String>>> {
        while let Some(message) = self.read(deadline)? {
            if message.get("id").and_then(Value::as_u64) == Some(number) {
                return Ok(Some(read_answer(message)));
            }
            if message.get("method").is_some() {
                self.events.push_back(message);
            }
        }
        Ok(None)
    }

    /// The first event of this name, which is taken off. None where `deadline` passed.
    pub(super) fn event(
        &mut self,
        method: &str,
        deadline: Instant,
    ) -> anyhow::Result<Option<Value>> {
        let is_it = |event: &Value| event.get("method").and_then(Value::as_str) == Some(method);
        if let Some(at) = self.events.iter().position(is_it) {
            return Ok(self.events.remove(at));
        }
        while let Some(message) = self.read(deadline)? {
            if is_it(&message) {
                return Ok(Some(message));
            }
            if message.get("method").is_some() {
                self.events.push_back(message);
            }
        }
        Ok(None)
    }

    /// Forgets the events that came so far.
    pub(super) fn forget_events(&mut self) {
        self.events.clear();
    }

    fn read(&mut self, deadline: Instant) -> anyhow::Result<Option<Value>> {
        while Instant::now() < deadline {
            match self.stream.read() {
                Ok(Message::Text(text)) => {
                    return serde_json::from_str(&text)
                        .context("reading a browser's message")
                        .map(Some);
                }
                Ok(Message::Close(_)) => bail!("the browser closed its socket"),
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("reading from the browser"),
            }
        }
        Ok(None)
    }
}

/// Refusals are an object with a message (Chromium), or a code and a message (BiDi).
fn read_answer(mut message: Value) -> Result<Value, String> {
    if let Some(result) = message.get_mut("result") {
        return Ok(result.take());
    }
    let text = |value: &Value| {
        value
            .get("message")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let said = message
        .get("error")
        .and_then(text)
        .or_else(|| text(&message));
    Err(said.unwrap_or_else(|| message.to_string()))
}
